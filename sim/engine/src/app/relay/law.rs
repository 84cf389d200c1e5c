//! What a relay without a mistake promises, whatever fails in whichever order.
//!
//! The test is a database with an outbox, a log with an idempotent or a transactional producer, and
//! somebody who fails requests, loses answers, drops sends and kills the process.

use std::collections::{BTreeSet, VecDeque};

use oncesim_external::{CapturedRow, Datum, LogPosition, Request, Response, Rows};
use oncesim_kafka::consumer::{ConsumerCall, ConsumerCompletion, PolledRecord};
use oncesim_kafka::log::batch::Record;
use oncesim_kafka::producer::{SendResult, TransactionError};
use oncesim_spec::PositionStore;
use oncesim_types::{ErrorCode, LeaderEpoch, Offset, StatementRole, SystemError, TopicPartition};
use proptest::prelude::*;

use super::tests::{DATABASE, OFFSETS, RELAY, SERVICE, TOPIC, capture, poller, transactional};
use super::*;

/// What somebody does to the relay; the number chooses among the ways.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A service commits a row.
    Insert,
    /// What was asked for is done (0), not done (1), or done and the answer is lost (2).
    Answer(u8),
    /// The oldest send is acknowledged, or (1) fails: appended with so many after it, or not.
    Ack,
    FailSend(u8),
    /// A call of the transaction API is done (0), times out (1), or cannot be done (2).
    Transaction(u8),
    Wait,
    /// The process dies; of what it sent, so much gets through.
    Crash(u8),
}

/// The world of one relay.
struct Around {
    app: RelayApp,
    now: Instant,
    wakes: bool,
    ask: Option<(CallId, Request)>,
    transaction_call: Option<(CallId, ProducerCall)>,
    sends: VecDeque<(CallId, Record)>,
    /// The outbox in commit order, and which of its rows are marked.
    rows: Vec<u64>,
    marked: BTreeSet<i64>,
    cursor: Option<i64>,
    /// What is in the log for good: events and positions. And what an open transaction has sent.
    log: Vec<Record>,
    open: Vec<Record>,
    restore: bool,
}

impl Around {
    fn new(spec: RelaySpec) -> Self {
        let mut around = Around {
            app: RelayApp::new(RELAY, spec, vec![SERVICE]),
            now: Instant(1),
            wakes: false,
            ask: None,
            transaction_call: None,
            sends: VecDeque::new(),
            rows: Vec::new(),
            marked: BTreeSet::new(),
            cursor: None,
            log: Vec::new(),
            open: Vec::new(),
            restore: false,
        };
        around.act(|app, now, out| app.start(now, out));
        around
    }

    fn act(&mut self, input: impl FnOnce(&mut RelayApp, Instant, &mut Vec<AppEffect>)) {
        let mut out = Vec::new();
        input(&mut self.app, self.now, &mut out);
        for effect in out {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: AppEffect) {
        match effect {
            AppEffect::Ask { call, body, .. } => self.ask = Some((call, body)),
            AppEffect::Call { call, body: Call::Producer(body), .. } => match body {
                ProducerCall::Send { record, .. } => self.sends.push_back((call, record)),
                body => self.transaction_call = Some((call, body)),
            },
            AppEffect::NewProducer(_) => {
                self.sends.clear();
                self.ask = None;
            }
            AppEffect::Restart => self.crash(0),
            AppEffect::Wake(_) => self.wakes = true,
            AppEffect::LogEnds(_) => {
                let positions = self.log.iter().filter(|it| it.id.origin() == RELAY).count();
                let end = Offset(i64::try_from(positions).expect("few"));
                let ends = [(TopicPartition::new(OFFSETS, 0), Some(end))];
                self.act(|app, now, out| app.log_ends(now, &ends, out));
            }
            AppEffect::Restore { body: ConsumerCall::Poll, .. } => self.restore = true,
            AppEffect::RelayPosition { .. }
            | AppEffect::RelayStarted { .. }
            | AppEffect::Restore { .. }
            | AppEffect::HangUp(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn step(&mut self, step: Step) {
        if std::mem::take(&mut self.restore) {
            self.restored();
        }
        match step {
            Step::Insert => self.rows.push(self.rows.len() as u64 + 1),
            Step::Answer(how) => self.answer(how),
            Step::Ack => self.send_ends(true),
            Step::FailSend(through) => {
                self.get_through(through);
                self.send_ends(false);
            }
            Step::Transaction(how) => self.transaction(how),
            Step::Wait => {
                self.now += Duration::from_millis(100);
                if std::mem::take(&mut self.wakes) {
                    self.act(|app, now, out| app.wake(now, out));
                }
            }
            Step::Crash(through) => self.crash(through),
        }
    }

    // ---- the database ----

    fn row(&self, n: u64) -> Vec<Datum> {
        let id = RecordId::new(SERVICE, n).0.cast_signed();
        [id, 1, n.cast_signed(), n.cast_signed()].map(Datum::Integer).to_vec()
    }

    fn query(&self, ordinals: impl Iterator<Item = u64>) -> Rows {
        let columns = ["id", "key", "value", "sequence"].map(str::to_owned).to_vec();
        Rows { columns, rows: ordinals.map(|n| self.row(n)).collect() }
    }

    fn execute(&mut self, request: &Request) -> Response {
        let executed = |rows| Response::Executed { changed: 1, rows };
        let end = self.rows.len() as u64;
        match request {
            Request::Snapshot { .. } => Response::Snapshot {
                rows: self.query(1..=end),
                position: LogPosition { commit: end, changes: 1 },
            },
            Request::Capture { after, max } => {
                let new = (1..=end).filter(|n| *n > after.commit).take(*max as usize);
                let row = |n| CapturedRow {
                    position: LogPosition { commit: n, changes: 1 },
                    table: "outbox".to_owned(),
                    deleted: false,
                    values: self.row(n),
                };
                Response::Captured { rows: new.map(row).collect() }
            }
            Request::Execute(execute) => {
                let parameters = execute.parameters;
                match execute.role {
                    StatementRole::RelaySelect => {
                        let marks_tell = self.app.spec.position == PositionStore::None;
                        let is_new = |n: &u64| match marks_tell {
                            true => !self.marked.contains(&n.cast_signed()),
                            false => n.cast_signed() > parameters.cursor,
                        };
                        let new = (1..=end).filter(is_new).take(3).collect::<Vec<_>>();
                        return executed(self.query(new.into_iter()));
                    }
                    StatementRole::RelayMark => drop(self.marked.insert(parameters.cursor)),
                    StatementRole::CursorWrite => self.cursor = Some(parameters.cursor),
                    StatementRole::CursorRead => {
                        let rows = self.cursor.iter().map(|at| vec![Datum::Integer(*at)]);
                        let rows = rows.collect();
                        return executed(Rows { columns: vec!["at".to_owned()], rows });
                    }
                    other => panic!("{other:?}"),
                }
                executed(Rows::default())
            }
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, how: u8) {
        let Some((call, request)) = self.ask.take() else { return };
        let answer = match how % 3 {
            0 => Ok(self.execute(&request)),
            1 => Err(SystemError::Unavailable),
            _ => {
                self.execute(&request);
                Err(SystemError::Timeout)
            }
        };
        self.act(|app, now, out| app.answered(now, call, answer, out));
    }

    // ---- the log ----

    fn is_transactional(&self) -> bool {
        self.app.spec.transactional_id.is_some()
    }

    fn append(&mut self, record: Record) {
        if self.is_transactional() { self.open.push(record) } else { self.log.push(record) }
    }

    /// So many of what was sent get through although nobody hears of it.
    fn get_through(&mut self, through: u8) {
        let sent: Vec<_> = self.sends.iter().map(|it| it.1).collect();
        for record in sent.into_iter().take(usize::from(through)) {
            self.append(record);
        }
    }

    fn send_ends(&mut self, acknowledged: bool) {
        let Some((call, record)) = self.sends.pop_front() else { return };
        let error = if acknowledged {
            self.append(record);
            ErrorCode::None
        } else {
            ErrorCode::RequestTimedOut
        };
        let sent =
            SendResult { partition: None, error, offset: Offset::UNKNOWN, maybe_appended: true };
        self.act(|app, now, out| app.completed(now, call, ProducerCompletion::Sent(sent), out));
        if !acknowledged && self.is_transactional() {
            // What is behind it in the transaction fails with it.
            while !self.sends.is_empty() {
                self.send_ends(false);
            }
        }
    }

    fn transaction(&mut self, how: u8) {
        let Some((call, body)) = self.transaction_call.take() else { return };
        let throws = |class| {
            let error = ErrorCode::InvalidTxnState;
            let error = TransactionError { error, class, maybe_done: false };
            ProducerCompletion::Transaction(Err(error))
        };
        let ok = ProducerCompletion::Transaction(Ok(()));
        let end = match (how % 3, &body) {
            (_, ProducerCall::Close) => ProducerCompletion::Closed,
            (0, ProducerCall::EndTransaction(TransactionResult::Commit)) => {
                self.log.append(&mut self.open);
                ok
            }
            (0, _) => {
                self.open.clear();
                ok
            }
            (1, ProducerCall::BeginTransaction { .. }) => ok,
            (1, ProducerCall::EndTransaction(TransactionResult::Commit)) => {
                self.log.append(&mut self.open);
                throws(ErrorClass::Timeout)
            }
            (1, _) => throws(ErrorClass::Timeout),
            (_, ProducerCall::EndTransaction(_)) if !self.open.is_empty() => {
                throws(ErrorClass::Abortable)
            }
            _ => throws(ErrorClass::Fatal),
        };
        self.act(|app, now, out| app.completed(now, call, end, out));
    }

    // ---- the process ----

    fn crash(&mut self, through: u8) {
        self.get_through(through);
        let commits = matches!(
            self.transaction_call.take(),
            Some((_, ProducerCall::EndTransaction(TransactionResult::Commit)))
        );
        if commits && through % 2 == 1 && self.sends.is_empty() {
            self.log.append(&mut self.open);
        }
        // The next `initTransactions()` aborts it.
        self.open.clear();
        self.sends.clear();
        self.ask = None;
        self.restore = false;
        self.act(|app, now, out| app.start(now, out));
    }

    fn restored(&mut self) {
        let polled = |record: &Record| PolledRecord {
            partition: TopicPartition::new(OFFSETS, 0),
            offset: Offset(0),
            leader_epoch: LeaderEpoch(0),
            record: *record,
        };
        let positions = self.log.iter().filter(|it| it.id.origin() == RELAY);
        let end = ConsumerCompletion::Polled(positions.map(polled).collect());
        let position = |_| Some(Offset(i64::MAX));
        self.act(|app, now, out| app.restore_completed(now, &end, position, out));
    }

    /// Nothing fails any more.
    fn heal(&mut self) {
        let rounds = self.app.rounds();
        for _ in 0..500 {
            for step in [Step::Transaction(0), Step::Ack, Step::Answer(0), Step::Wait] {
                self.step(step);
            }
            if self.app.is_settled_since(rounds).is_ok() {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.app.is_settled());
    }

    fn published(&self) -> Vec<u64> {
        let events = self.log.iter().filter(|it| it.id.origin() == SERVICE);
        events.map(|it| it.id.ordinal()).collect()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Insert),
        6 => Just(Step::Answer(0)),
        1 => (1u8..3).prop_map(Step::Answer),
        6 => Just(Step::Ack),
        1 => (0u8..4).prop_map(Step::FailSend),
        4 => Just(Step::Transaction(0)),
        1 => (1u8..3).prop_map(Step::Transaction),
        4 => Just(Step::Wait),
        1 => (0u8..4).prop_map(Step::Crash),
    ];
    proptest::collection::vec(step, 0..120)
}

/// Every kind of relay that makes no mistake.
fn faithful() -> impl Strategy<Value = RelaySpec> {
    prop_oneof![
        Just(poller(Some(false), PositionStore::None)),
        Just(poller(None, PositionStore::Memory)),
        Just(poller(None, DATABASE)),
        Just(poller(None, TOPIC)),
        Just(capture(true, PositionStore::Memory)),
        Just(capture(false, DATABASE)),
        Just(capture(true, TOPIC)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// At least once, and the first time in commit order: nothing overtakes what failed.
    #[test]
    fn nothing_is_lost_or_overtaken(spec in faithful(), steps in steps()) {
        let mut around = Around::new(spec);
        for step in steps {
            around.step(step);
        }
        around.heal();
        let mut seen = BTreeSet::new();
        let first: Vec<_> =
            around.published().into_iter().filter(|n| seen.insert(*n)).collect();
        prop_assert_eq!(first, around.rows);
    }

    /// With the position in the transaction of the events, exactly once.
    #[test]
    fn transactions_publish_once(polls: bool, steps in steps()) {
        let spec = if polls { poller(None, TOPIC) } else { capture(true, TOPIC) };
        let mut around = Around::new(transactional(spec));
        for step in steps {
            around.step(step);
        }
        around.heal();
        prop_assert_eq!(around.published(), around.rows);
    }
}
