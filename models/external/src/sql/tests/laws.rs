//! Whatever clients do and whatever goes wrong: what is committed is the serial application of the
//! committed transactions, in the order of their commits, and the apply log tells exactly that.

use proptest::prelude::*;
use std::collections::VecDeque;

use super::*;

const SCHEMA: &str = "CREATE TABLE t(k INTEGER PRIMARY KEY, v INTEGER)";
const STATEMENTS: &[(&str, StatementRole)] = &[
    ("INSERT INTO t VALUES (:key, :value)", StatementRole::Effect),
    (
        "INSERT INTO t VALUES (:key, :value) ON CONFLICT DO UPDATE SET v = v + :value",
        StatementRole::Effect,
    ),
    ("UPDATE t SET v = :value WHERE k = :key", StatementRole::Effect),
    ("DELETE FROM t WHERE k >= :key", StatementRole::Effect),
    ("REPLACE INTO t VALUES (:key, :value)", StatementRole::Effect),
    ("SELECT k, v FROM t ORDER BY k", StatementRole::DedupCheck),
];
const SELECT: u16 = 5;

/// What happens next. Clients are numbered; each has one connection at a time.
#[derive(Debug, Clone)]
enum Step {
    Begin(usize),
    Execute(usize, u16, i64, i64),
    Commit(usize),
    Rollback(usize),
    Close(usize),
    Crash,
    Pass(u64),
    Fault(SystemFault, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..4_usize;
    let step = prop_oneof![
        6 => client.clone().prop_map(Step::Begin),
        20 => (client.clone(), 0..6_u16, 0..4_i64, 0..3_i64)
            .prop_map(|(client, statement, key, value)| Step::Execute(client, statement, key, value)),
        6 => client.clone().prop_map(Step::Commit),
        2 => client.clone().prop_map(Step::Rollback),
        1 => client.prop_map(Step::Close),
        1 => Just(Step::Crash),
        2 => (1..40_u64).prop_map(Step::Pass),
        1 => (
            prop::sample::select(vec![
                SystemFault::Errors,
                SystemFault::Deadlocks,
                SystemFault::UnknownCommits,
            ]),
            any::<bool>(),
        )
            .prop_map(|(fault, active)| Step::Fault(fault, active)),
    ];
    prop::collection::vec(step, 0..120)
}

type Table = BTreeMap<i64, i64>;

/// A client as the reference sees it.
#[derive(Debug, Default)]
struct Client {
    connection: u32,
    asked: VecDeque<(CorrelationId, Request)>,
    in_transaction: bool,
    /// The table as its transaction sees it, from its first statement on, and what it did.
    view: Option<(Table, Vec<(EffectId, bool)>)>,
}

/// The naive database.
#[derive(Debug, Default)]
struct Reference {
    committed: Table,
    /// Effects in commit order, and whether they changed a row.
    applied: Vec<(EffectId, bool)>,
    clients: [Client; 4],
}

/// Executes a statement: rows that it changed, or that a constraint forbids it.
fn execute(table: &mut Table, execute: &Execute) -> Option<u64> {
    let (key, value) = (execute.parameters.key.unwrap(), execute.parameters.value.unwrap());
    match execute.statement.0 {
        0 if table.contains_key(&key) => return None,
        0 | 4 => {
            table.insert(key, value);
        }
        1 => *table.entry(key).or_insert(0) += value,
        2 => match table.get_mut(&key) {
            Some(current) => *current = value,
            None => return Some(0),
        },
        3 => return Some(table.split_off(&key).len() as u64),
        _ => return Some(0),
    }
    Some(1)
}

fn rows(table: &Table) -> Vec<Vec<Datum>> {
    table.iter().map(|(k, v)| vec![Datum::Integer(*k), Datum::Integer(*v)]).collect()
}

impl Reference {
    /// A statement was answered, or (`None`) executed without an answer.
    fn executed(&mut self, client: usize, request: &Execute, response: Option<&Response>) {
        let Reference { committed, applied, clients } = self;
        let client = &mut clients[client];
        let (table, effects) = if client.in_transaction {
            let view = client.view.get_or_insert_with(|| (committed.clone(), Vec::new()));
            (&mut view.0, &mut view.1)
        } else {
            (committed, applied)
        };
        let before = table.clone();
        let changed = execute(table, request);
        if changed.is_some() && request.statement.0 != SELECT {
            effects.push((request.effect.unwrap(), before != *table));
        }
        match response {
            Some(Response::Executed { changed: said, rows: found }) => {
                assert_eq!(Some(*said), changed, "{request:?}");
                if request.statement.0 == SELECT {
                    assert_eq!(found.rows, rows(table), "a transaction sees its own");
                }
            }
            Some(Response::Refused(SystemError::Constraint)) => assert_eq!(changed, None),
            Some(other) => panic!("{other:?}"),
            None => assert!(changed.is_some()),
        }
    }

    fn committed(&mut self, client: usize) {
        if let Some((table, mut effects)) = self.clients[client].view.take() {
            self.committed = table;
            self.applied.append(&mut effects);
        }
        self.clients[client].in_transaction = false;
    }

    fn answered(&mut self, client: usize, correlation: CorrelationId, response: &Response) {
        let (asked, request) = self.clients[client].asked.pop_front().expect("it was asked");
        assert_eq!(asked, correlation, "answers keep the order of requests");
        match (&request, response) {
            (_, Response::Refused(SystemError::Unavailable)) => {}
            (
                _,
                Response::Refused(
                    SystemError::Deadlock | SystemError::LockTimeout | SystemError::IdleTimeout,
                ),
            ) => {
                self.clients[client].view = None;
                self.clients[client].in_transaction = false;
            }
            (Request::Begin, Response::Begun { .. }) => {
                self.clients[client].view = None;
                self.clients[client].in_transaction = true;
            }
            (Request::Begin, Response::Refused(SystemError::Statement)) => {
                assert!(self.clients[client].in_transaction);
            }
            (Request::Execute(request), response) => {
                self.executed(client, request, Some(response));
            }
            (Request::Commit, Response::Committed) => self.committed(client),
            (Request::Commit, Response::Refused(SystemError::NoTransaction)) => {
                assert!(!self.clients[client].in_transaction);
            }
            (Request::Rollback, Response::RolledBack) => {
                self.clients[client].view = None;
                self.clients[client].in_transaction = false;
            }
            other => panic!("{other:?}"),
        }
    }

    /// The database broke the connection: it executed the oldest request all the same.
    fn broken(&mut self, client: usize) {
        match self.clients[client].asked.pop_front() {
            Some((_, Request::Execute(request))) => self.executed(client, &request, None),
            Some((_, Request::Commit)) => self.committed(client),
            other => panic!("nothing that commits: {other:?}"),
        }
        self.gone(client);
    }

    /// The client's session is over.
    fn gone(&mut self, client: usize) {
        let connection = self.clients[client].connection + 4;
        self.clients[client] = Client { connection, ..Client::default() };
    }
}

/// A database beside its reference.
struct Pair {
    lab: Lab,
    reference: Reference,
}

impl Pair {
    fn connection(&self, client: usize) -> ConnectionId {
        ConnectionId(self.reference.clients[client].connection)
    }

    fn send(&mut self, client: usize, body: Request) {
        let connection = self.connection(client);
        let correlation = CorrelationId(self.lab.asked + 1);
        self.reference.clients[client].asked.push_back((correlation, body.clone()));
        self.lab.send(connection, body);
    }

    /// Takes what the database said since the last time, in its order.
    fn compare(&mut self) {
        let replies = std::mem::take(&mut self.lab.replies);
        for (connection, reply) in std::mem::take(&mut self.lab.order) {
            let client = (connection.0 % 4) as usize;
            if let Some(reply) = reply {
                let (_, correlation, _, response) = &replies[reply];
                self.reference.answered(client, *correlation, response);
            } else {
                self.reference.broken(client);
                self.lab.input(Input::ConnectionClosed { connection });
            }
        }
    }

    /// Whether the apply log tells what the reference did, and images follow on each other.
    fn compare_log(&mut self) {
        let mut images: BTreeMap<u64, u64> = BTreeMap::new();
        let mut told = Vec::new();
        let mut newest = 0;
        for note in self.lab.notes() {
            let Note::Applied { effect, commit, changes, .. } = note else { continue };
            assert!(commit == newest || commit == newest + 1, "{commit} after {newest}");
            newest = commit;
            for change in &changes {
                let image = images.entry(change.row).or_insert(0);
                assert_eq!(*image, change.before, "{effect} changes what was there");
                *image = change.after;
            }
            told.push((effect, changes.iter().any(|change| change.before != change.after)));
        }
        assert_eq!(told, self.reference.applied);
        let rows = images.values().filter(|image| **image != 0).count();
        assert_eq!(rows, self.reference.committed.len());
    }

    fn step(&mut self, ordinal: i64, step: &Step) {
        match *step {
            Step::Begin(client) => self.send(client, Request::Begin),
            Step::Commit(client) => self.send(client, Request::Commit),
            Step::Rollback(client) => self.send(client, Request::Rollback),
            Step::Execute(client, statement, key, value) => {
                let parameters = record(ordinal, key, value);
                let body = self.lab.statement(statement, parameters);
                self.send(client, body);
            }
            Step::Close(client) => {
                let connection = self.connection(client);
                self.reference.gone(client);
                self.lab.input(Input::ConnectionClosed { connection });
            }
            Step::Crash => {
                (0..4).for_each(|client| self.reference.gone(client));
                self.lab.crash();
            }
            Step::Pass(seconds) => self.lab.pass(Duration::from_secs(seconds)),
            Step::Fault(fault, active) => self.lab.input(Input::Fault(fault, active)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_committed_is_serial(steps in steps()) {
        let mut pair = Pair { lab: lab(SCHEMA, STATEMENTS), reference: Reference::default() };
        for (client, number) in pair.reference.clients.iter_mut().zip(4..) {
            client.connection = number;
        }
        for (ordinal, step) in (0..).zip(&steps) {
            pair.step(ordinal, step);
            pair.compare();
        }
        pair.lab.crash();
        // Every fault that has begun ends.
        for step in &steps {
            if let Step::Fault(fault, true) = step {
                pair.lab.input(Input::Fault(*fault, false));
            }
        }
        let (_, found) = pair.lab.execute(ConnectionId(0), SELECT, record(0, 0, 0)).unwrap();
        prop_assert_eq!(found.rows, rows(&pair.reference.committed));
        pair.compare_log();
    }

    #[test]
    fn a_run_is_a_function_of_its_inputs(steps in steps()) {
        let run = || {
            let mut pair = Pair { lab: lab(SCHEMA, STATEMENTS), reference: Reference::default() };
            for (ordinal, step) in (0..).zip(&steps) {
                pair.step(ordinal, step);
            }
            format!("{:?} {:?}", pair.lab.notes, pair.lab.replies)
        };
        prop_assert_eq!(run(), run());
    }
}
