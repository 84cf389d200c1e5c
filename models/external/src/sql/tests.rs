mod capture;
mod laws;

mod sessions;
mod speed;
mod statements;

use std::collections::BTreeMap;

use oncesim_types::{
    ActorId, ConnectionId, CorrelationId, EffectId, Instant, RecordId, SinkId, StatementId,
    StatementRole, SystemError, TopicId, TopicPartition,
};

use super::{Database, DatabaseConfig, Duration, StatementText};
use crate::machine::{Effect, Effects, Input, SystemFault, TimerKey};
use crate::message::{Datum, Execute, LogPosition, Parameters, Request, Response, Rows};
use crate::note::Note;

const SERVICE: Duration = Duration::from_micros(200);
const LOCK: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(30);

/// A database and a clock, with what the database said so far.
struct Lab {
    database: Database,
    now: Instant,
    roles: Vec<StatementRole>,
    timers: BTreeMap<TimerKey, Instant>,
    notes: Vec<Note>,
    replies: Vec<(ConnectionId, CorrelationId, Duration, Response)>,
    closed: Vec<ConnectionId>,
    /// Replies (by index) and broken connections, in the order in which they came.
    order: Vec<(ConnectionId, Option<usize>)>,
    asked: u32,
}

/// Its statements, by name and role.
fn lab(schema: &str, statements: &[(&str, StatementRole)]) -> Lab {
    lab_with(schema, statements, &[])
}

fn lab_with(schema: &str, statements: &[(&str, StatementRole)], captured: &[&str]) -> Lab {
    let texts = statements.iter().map(|&(text, role)| StatementText { text: text.into(), role });
    let config = DatabaseConfig {
        schema: schema.into(),
        statements: texts.collect(),
        captured: captured.iter().map(|&name| name.to_owned()).collect(),
        service_time: SERVICE,
        lock_timeout: LOCK,
        idle_timeout: IDLE,
        topics: ["orders".to_owned(), "events".to_owned()].as_slice().into(),
        seed: 7,
    };
    Lab {
        database: Database::new(config),
        now: Instant::ZERO,
        roles: statements.iter().map(|&(_, role)| role).collect(),
        timers: BTreeMap::new(),
        notes: Vec::new(),
        replies: Vec::new(),
        closed: Vec::new(),
        order: Vec::new(),
        asked: 0,
    }
}

const A: ConnectionId = ConnectionId(1);
const B: ConnectionId = ConnectionId(2);
const C: ConnectionId = ConnectionId(3);

/// Parameters of record `id` with this key and value.
fn record(id: i64, key: i64, value: i64) -> Parameters {
    Parameters {
        id,
        key: Some(key),
        value: Some(value),
        partition: Some(TopicPartition::new(TopicId(0), 2)),
        ..Parameters::default()
    }
}

fn effect(id: i64) -> EffectId {
    EffectId { record: RecordId(id.cast_unsigned()), sink: SinkId(0), step: 0 }
}

impl Lab {
    fn input(&mut self, input: Input) {
        let mut effects = Effects::default();
        self.database.step(self.now, input, &mut effects);
        for effect in effects.0 {
            match effect {
                Effect::Reply { connection, correlation, after, body, .. } => {
                    self.order.push((connection, Some(self.replies.len())));
                    self.replies.push((connection, correlation, after, body));
                }
                Effect::CloseConnection { connection } => {
                    self.order.push((connection, None));
                    self.closed.push(connection);
                }
                Effect::SetTimer { key, after } => {
                    self.timers.insert(key, self.now + after);
                }
                Effect::CancelTimer(key) => {
                    self.timers.remove(&key);
                }
                Effect::Note(note) => self.notes.push(note),
            }
        }
    }

    /// Sends a request and returns its number.
    fn send(&mut self, connection: ConnectionId, body: Request) -> CorrelationId {
        self.asked += 1;
        let correlation = CorrelationId(self.asked);
        let from = ActorId(u16::try_from(connection.0).unwrap());
        self.input(Input::Request { from, connection, correlation, body });
        correlation
    }

    /// Sends a request that is answered at once.
    fn ask(&mut self, connection: ConnectionId, body: Request) -> Response {
        let correlation = self.send(connection, body);
        self.answer(correlation).expect("it is answered at once")
    }

    /// The answer to a request, if there is one by now.
    fn answer(&self, correlation: CorrelationId) -> Option<Response> {
        let reply = self.replies.iter().find(|(_, number, ..)| *number == correlation);
        reply.map(|(.., body)| body.clone())
    }

    fn statement(&self, statement: u16, parameters: Parameters) -> Request {
        let role = self.roles[usize::from(statement)];
        let has_effect = matches!(role, StatementRole::Effect | StatementRole::Read);
        Request::Execute(Box::new(Execute {
            statement: StatementId(statement),
            role,
            effect: has_effect.then(|| effect(parameters.id)),
            record: Some(RecordId(parameters.id.cast_unsigned())),
            parameters,
        }))
    }

    /// Executes a statement that is answered at once.
    fn execute(
        &mut self,
        connection: ConnectionId,
        statement: u16,
        parameters: Parameters,
    ) -> Result<(u64, Rows), SystemError> {
        let request = self.statement(statement, parameters);
        match self.ask(connection, request) {
            Response::Executed { changed, rows } => Ok((changed, rows)),
            Response::Refused(error) => Err(error),
            other => panic!("not an answer to a statement: {other:?}"),
        }
    }

    /// Executes a query outside of transactions; its integers.
    fn query(&mut self, statement: u16) -> Vec<Vec<Option<i64>>> {
        let (_, rows) = self.execute(ConnectionId(99), statement, record(0, 0, 0)).expect("query");
        rows.rows.iter().map(|row| row.iter().map(Datum::integer).collect()).collect()
    }

    fn begin(&mut self, connection: ConnectionId) -> i64 {
        match self.ask(connection, Request::Begin) {
            Response::Begun { sequence } => sequence,
            other => panic!("not begun: {other:?}"),
        }
    }

    fn commit(&mut self, connection: ConnectionId) {
        assert_eq!(self.ask(connection, Request::Commit), Response::Committed);
    }

    /// Lets time pass, with the timers that become due.
    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some((&key, &at)) = self.timers.iter().min_by_key(|&(key, at)| (*at, *key)) {
            if at > until {
                break;
            }
            self.timers.remove(&key);
            self.now = at;
            self.input(Input::Timer(key));
        }
        self.now = until;
    }

    fn crash(&mut self) {
        self.database.crash();
        self.timers.clear();
        self.input(Input::Start);
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }
}
