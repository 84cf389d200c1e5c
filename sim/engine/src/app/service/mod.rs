//! A service: business operations in a database, which it announces in the log.
//!
//! Mirrors the loop of a request handler with a SQL transaction (`@Transactional` and the like), and
//! the ways in which such services tell Kafka: a transactional outbox (a row in the same
//! transaction, for a relay to publish), or a dual write: commit and send, send and commit, or send
//! inside of the transaction. A dual write is the mistake that the outbox is there to avoid.
//!
//! What it does about errors is what frameworks do by default. A transaction that ended for certain
//! without a commit for a reason that passes (a deadlock, a lock, no service, a connection that
//! broke before the commit was asked for) is done again, as a new transaction, a few times. After a
//! commit whose outcome is unknown it does nothing: to do it again could double the row, and to
//! announce it could announce what is not there. A `send()` that fails after the commit is logged.
//!
//! What survives a crash: which operation is the next. Operations are requests of callers, each
//! with a number of its own; the one under way is lost with the process, and its caller is told
//! nothing.
//!
//! Simplifications:
//! - One operation at a time per instance; services are as concurrent as they have instances.
//! - The business rule that refuses an operation is a draw, and refuses it at the end of the
//!   transaction: what came before has happened.

#[cfg(test)]
mod tests;

use oncesim_external::{Execute, Parameters, Request, Response};
use oncesim_history::AskOutcome;
use oncesim_kafka::log::batch::Record;
use oncesim_kafka::machine::Call;
use oncesim_kafka::producer::{ProducerCall, ProducerCompletion, SendResult};
use oncesim_spec::{Announce, ServiceSpec};
use oncesim_types::{
    ActorId, CallId, Duration, Instant, RecordId, StatementId, StatementRole, SystemError,
};

use super::deadline::Deadline;
use super::{Answer, AppEffect};
use crate::draw::{Draws, Purpose};

/// How often a transaction that failed for a reason that passes is done again.
const RETRIES: u32 = 3;

/// How long the service waits before it does a transaction again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Bytes per event.
const RECORD_SIZE: u32 = 100;

/// What the thread of the service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Waits for the next operation.
    Idle,
    /// Sends the event before the transaction is committed.
    Sending,
    Beginning,
    Holding(Deadline),
    /// Executes the statement of this number.
    Executing(usize),
    Committing,
    RollingBack(After),
    /// Sends the event of what is committed.
    Announcing,
    /// Waits before it does the transaction again.
    BackingOff(Deadline),
    Closing,
    Stopped,
}

/// What comes after a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Retry,
    End(AskOutcome),
}

/// What an operation is to do, whatever happens to it or to others: drawn.
#[derive(Debug, Clone, Copy)]
struct Plan {
    aggregate: u32,
    aborts: bool,
    deletes: bool,
}

/// The application of one service instance.
#[derive(Debug)]
pub(crate) struct ServiceApp {
    actor: ActorId,
    spec: ServiceSpec,
    aggregates: Draws,
    aborts: Draws,
    tombstones: Draws,
    plans: Vec<Plan>,
    /// The number of the next operation. Survives crashes.
    next: u64,
    finished: bool,
    /// The number of the operation under way.
    current: u64,
    doing: Doing,
    /// When the next operation may begin.
    due: Deadline,
    calls: u64,
    awaited: CallId,
    /// Transactions of the operation under way, and `send()`s of its event.
    tries: u32,
    sends: u32,
}

impl ServiceApp {
    pub(crate) fn new(actor: ActorId, spec: ServiceSpec, seed: u64) -> Self {
        let draws = |decision| Draws::new(seed, Purpose::Workload, actor.0, decision);
        ServiceApp {
            actor,
            aggregates: draws(0),
            aborts: draws(1),
            tombstones: draws(2),
            plans: Vec::new(),
            next: 0,
            finished: false,
            current: 0,
            doing: Doing::Stopped,
            due: Deadline::after(Instant::ZERO, Duration::ZERO),
            calls: 0,
            awaited: CallId(0),
            tries: 0,
            sends: 0,
            spec,
        }
    }

    pub(crate) fn spec(&self) -> &ServiceSpec {
        &self.spec
    }

    /// Whether all of its operations have ended.
    pub(crate) fn is_settled(&self) -> Result<(), String> {
        if self.finished {
            return Ok(());
        }
        let left = self.spec.records - self.next;
        Err(format!("{left} operations have not begun ({:?})", self.doing))
    }

    /// The process starts (again).
    pub(crate) fn start(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        self.due = Deadline::after(now, Duration::ZERO);
        self.awaited = CallId(0);
        self.tries = 0;
        self.sends = 0;
        self.go_on(now, out);
    }

    /// Time to begin an operation, or to go on with one.
    pub(crate) fn wake(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        match self.doing {
            Doing::Idle => self.go_on(now, out),
            Doing::Holding(until) if until.is_due(now) => self.execute(now, 0, out),
            Doing::BackingOff(until) if until.is_due(now) => self.begin_transaction(out),
            Doing::Holding(until) | Doing::BackingOff(until) => {
                out.push(AppEffect::Wake(until.left(now)));
            }
            Doing::Sending
            | Doing::Beginning
            | Doing::Executing(_)
            | Doing::Committing
            | Doing::RollingBack(_)
            | Doing::Announcing
            | Doing::Closing
            | Doing::Stopped => {}
        }
    }

    /// A call of the producer ended.
    pub(crate) fn completed(
        &mut self,
        now: Instant,
        call: CallId,
        end: ProducerCompletion,
        out: &mut Vec<AppEffect>,
    ) {
        if call != self.awaited {
            return;
        }
        match (self.doing, end) {
            (Doing::Sending, ProducerCompletion::Sent(sent)) => self.sent(now, &sent, out),
            (Doing::Announcing, ProducerCompletion::Sent(_)) => self.end(now, AskOutcome::Ok, out),
            (Doing::Closing, ProducerCompletion::Closed) => {
                self.doing = Doing::Stopped;
                self.finished = true;
                out.push(AppEffect::HangUp(self.spec.database));
                out.push(AppEffect::Finished);
            }
            _ => {}
        }
    }

    /// The database answered, or will not.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        call: CallId,
        answer: Answer,
        out: &mut Vec<AppEffect>,
    ) {
        if call != self.awaited {
            return;
        }
        match (self.doing, answer) {
            (Doing::Beginning, Ok(Response::Begun { .. })) => self.begun(now, out),
            (Doing::Executing(step), Ok(Response::Executed { .. })) => {
                self.execute(now, step + 1, out);
            }
            (Doing::Committing, Ok(Response::Committed)) => self.committed(now, out),
            (Doing::Committing, Err(error)) if error.is_unknown() => {
                self.end(now, AskOutcome::Unknown(error), out);
            }
            (Doing::RollingBack(after), answer) => {
                // Whatever else may be wrong: what is open ends with the session.
                if answer.is_err() {
                    out.push(AppEffect::HangUp(self.spec.database));
                }
                self.rolled_back(now, after, out);
            }
            (Doing::Beginning | Doing::Executing(_) | Doing::Committing, Err(error)) => {
                self.failed(now, error, out);
            }
            _ => {}
        }
    }

    // ---- operations ----

    /// Begins the next operation, if it is time.
    fn go_on(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        self.doing = Doing::Idle;
        if self.next == self.spec.records {
            self.doing = Doing::Closing;
            self.produce(ProducerCall::Close, out);
        } else if !self.due.is_due(now) {
            out.push(AppEffect::Wake(self.due.left(now)));
        } else {
            self.due = Deadline::after(now, self.spec.interval);
            self.current = self.next;
            self.next += 1;
            self.tries = 0;
            self.sends = 0;
            let (record, aggregate) = (self.record(), self.plan().aggregate);
            out.push(AppEffect::Intended { record, aggregate });
            match self.spec.announce {
                Announce::LogFirst => self.send(now, Doing::Sending, out),
                Announce::Outbox(_) | Announce::DatabaseFirst | Announce::InsideTransaction => {
                    self.begin_transaction(out);
                }
            }
        }
    }

    /// The operation under way ended.
    fn end(&mut self, now: Instant, outcome: AskOutcome, out: &mut Vec<AppEffect>) {
        out.push(AppEffect::IntentEnded { record: self.record(), outcome });
        self.go_on(now, out);
    }

    /// The event's identity.
    fn record(&self) -> RecordId {
        RecordId::new(self.actor, self.current)
    }

    /// What the operation under way is to do. One draw per operation and decision: what became of
    /// others does not change it.
    fn plan(&mut self) -> Plan {
        let index = usize::try_from(self.current).expect("a workload fits in memory");
        while self.plans.len() <= index {
            let last = u64::from(self.spec.keys.max(1)) - 1;
            let aggregate = self.aggregates.below_inclusive(last);
            self.plans.push(Plan {
                aggregate: u32::try_from(aggregate).expect("keys are numbered in 32 bits"),
                aborts: self.aborts.chance(self.spec.abort),
                deletes: self.tombstones.chance(self.spec.tombstones),
            });
        }
        self.plans[index]
    }

    fn value(&mut self) -> Option<i64> {
        (!self.plan().deletes).then_some(self.current.cast_signed())
    }

    // ---- the transaction ----

    fn ask(&mut self, doing: Doing, body: Request, out: &mut Vec<AppEffect>) {
        self.doing = doing;
        let (system, call) = (self.spec.database, self.next_call());
        out.push(AppEffect::Ask { system, call, effect: None, body });
    }

    fn next_call(&mut self) -> CallId {
        self.calls += 1;
        // Ids of `send()`s have their attempt, from 1, in the low half.
        self.awaited = CallId(self.calls << 16);
        self.awaited
    }

    fn begin_transaction(&mut self, out: &mut Vec<AppEffect>) {
        self.tries += 1;
        self.ask(Doing::Beginning, Request::Begin, out);
    }

    fn begun(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        if self.spec.hold > Duration::ZERO {
            self.doing = Doing::Holding(Deadline::after(now, self.spec.hold));
            out.push(AppEffect::Wake(self.spec.hold));
        } else {
            self.execute(now, 0, out);
        }
    }

    /// The statement of this number, if there are so many.
    fn statement(&self, step: usize) -> Option<(StatementId, StatementRole)> {
        let business = self.spec.statements.get(step);
        if let Some(statement) = business {
            return Some((*statement, StatementRole::Business));
        }
        match self.spec.announce {
            Announce::Outbox(statement) if step == self.spec.statements.len() => {
                Some((statement, StatementRole::Outbox))
            }
            _ => None,
        }
    }

    fn execute(&mut self, now: Instant, step: usize, out: &mut Vec<AppEffect>) {
        let Some((statement, role)) = self.statement(step) else {
            return match self.spec.announce {
                Announce::InsideTransaction => self.send(now, Doing::Sending, out),
                _ => self.end_transaction(out),
            };
        };
        let record = self.record();
        let parameters = Parameters {
            id: record.0.cast_signed(),
            key: Some(i64::from(self.plan().aggregate)),
            value: self.value(),
            version: self.current.cast_signed(),
            attempt: i64::from(self.tries),
            ..Parameters::default()
        };
        let execute = Execute { statement, role, effect: None, record: Some(record), parameters };
        self.ask(Doing::Executing(step), Request::Execute(Box::new(execute)), out);
    }

    /// Everything is done, and was to be.
    fn end_transaction(&mut self, out: &mut Vec<AppEffect>) {
        if self.plan().aborts {
            let refused = AskOutcome::Refused(SystemError::Constraint);
            self.roll_back(After::End(refused), out);
        } else {
            self.ask(Doing::Committing, Request::Commit, out);
        }
    }

    fn committed(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        match self.spec.announce {
            Announce::DatabaseFirst => self.send(now, Doing::Announcing, out),
            _ => self.end(now, AskOutcome::Ok, out),
        }
    }

    fn roll_back(&mut self, after: After, out: &mut Vec<AppEffect>) {
        self.ask(Doing::RollingBack(after), Request::Rollback, out);
    }

    fn rolled_back(&mut self, now: Instant, after: After, out: &mut Vec<AppEffect>) {
        match after {
            After::Retry => {
                self.doing = Doing::BackingOff(Deadline::after(now, RETRY_AFTER));
                out.push(AppEffect::Wake(RETRY_AFTER));
            }
            After::End(outcome) => self.end(now, outcome, out),
        }
    }

    /// The transaction will not be committed: for certain, because nobody has asked for that, or it
    /// was refused.
    fn failed(&mut self, now: Instant, error: SystemError, out: &mut Vec<AppEffect>) {
        let passes = error.is_unknown()
            || matches!(
                error,
                SystemError::Deadlock | SystemError::LockTimeout | SystemError::Unavailable
            );
        let after = if passes && self.tries <= RETRIES {
            After::Retry
        } else {
            After::End(AskOutcome::Refused(error))
        };
        let is_over = error.is_unknown()
            || self.doing == Doing::Beginning
            || matches!(
                error,
                SystemError::Deadlock
                    | SystemError::LockTimeout
                    | SystemError::IdleTimeout
                    | SystemError::NoTransaction
            );
        if is_over { self.rolled_back(now, after, out) } else { self.roll_back(after, out) }
    }

    // ---- the event ----

    fn produce(&mut self, body: ProducerCall, out: &mut Vec<AppEffect>) {
        let call = self.next_call();
        out.push(AppEffect::Call { call, attempt: 0, body: Call::Producer(body) });
    }

    fn send(&mut self, now: Instant, doing: Doing, out: &mut Vec<AppEffect>) {
        self.doing = doing;
        self.sends += 1;
        let record = Record {
            id: self.record(),
            key: Some(self.plan().aggregate),
            value: self.value(),
            size: RECORD_SIZE,
            timestamp: now,
        };
        let body =
            Call::Producer(ProducerCall::Send { topic: self.spec.to, partition: None, record });
        self.awaited = CallId(self.current << 16 | u64::from(self.sends));
        out.push(AppEffect::Call { call: self.awaited, attempt: self.sends, body });
    }

    /// `send()` ended before the transaction did, or began.
    fn sent(&mut self, now: Instant, sent: &SendResult, out: &mut Vec<AppEffect>) {
        let failure = if sent.maybe_appended {
            AskOutcome::Unknown(SystemError::Timeout)
        } else {
            AskOutcome::Refused(SystemError::Unavailable)
        };
        match (self.spec.announce, sent.error.is_ok()) {
            (Announce::InsideTransaction, true) => self.end_transaction(out),
            (Announce::InsideTransaction, false) => self.roll_back(After::End(failure), out),
            (_, true) => self.begin_transaction(out),
            (_, false) => self.end(now, failure, out),
        }
    }
}
