//! A relay: it publishes what a database holds.
//!
//! Mirrors two kinds of programs. A poller selects rows that it has not published, by a cursor or by
//! a mark, as hand-written outbox relays and Kafka Connect's JDBC source do (`poll.rs`). Change data
//! capture reads the database's log in commit order, as Debezium does (`capture.rs`). Both keep
//! their position as Kafka Connect keeps source offsets (`OffsetStorageWriter`,
//! `KafkaOffsetBackingStore`), in a database, or not at all (`position.rs`), and with a
//! `transactional.id` write events and position in one transaction (KIP-618,
//! `ExactlyOnceWorkerSourceTask`): `publish.rs`.
//!
//! A round reads rows, gives their events to `send()` in order, and waits for the acknowledgements
//! before anything is marked or a position moves (unless a mistake is asked for). After a failed
//! `send()` nothing of the round may go out any more: what comes behind the gap would overtake it.
//! So the producer is dropped in the very callback (`close(Duration.ZERO)`), and the round begins
//! again with a new one. What its broker has already got is in order: an idempotent producer's
//! batches are refused behind a gap.
//!
//! What survives a crash: nothing that a decision depends on. Kept are the attempts of each event,
//! for the recorder, and numbers that must not come twice (starts, rounds, position records).
//!
//! Simplifications:
//! - One round at a time: Kafka Connect polls on while acknowledgements are awaited, and a position
//!   moves to the end of the acknowledged prefix (`SubmittedRecords`), here to the end of a round. It
//!   is never ahead of what is acknowledged in both.
//! - A relay does not end; it polls until the run is over.

mod capture;
mod event;
#[cfg(test)]
mod law;
mod poll;
mod position;
mod publish;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use oncesim_external::{Request, Response};
use oncesim_kafka::machine::Call;
use oncesim_kafka::producer::{ErrorClass, ProducerCall, ProducerCompletion};
use oncesim_spec::{PositionStore, RelayKind, RelaySpec};
use oncesim_types::{ActorId, CallId, Duration, Instant, RecordId, TransactionResult};

use self::event::{Columns, Event, Naming};
use self::position::Restoring;
use super::deadline::Deadline;
use super::{Answer, AppEffect};

/// How long the relay waits after something went wrong.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Bytes per record.
const RECORD_SIZE: u32 = 100;

/// What the relay is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Initializing,
    /// Reads its position from a database, or from a topic.
    ReadingCursor,
    Restoring,
    /// Reads the table's columns, and its rows for a snapshot.
    ReadingTable,
    /// Waits for the next round.
    Waiting,
    /// Reads rows.
    Fetching,
    BeginningTransaction,
    /// Marks the event of this number, and sends it then.
    MarkingFirst(usize),
    /// Stores the position of what is not acknowledged yet.
    StoringFirst,
    /// Waits for acknowledgements.
    Publishing,
    Ending(TransactionResult),
    /// Marks the event of this number, which is published.
    Marking(usize),
    Storing,
    /// Something went wrong: waits before it goes on with this.
    BackingOff(Deadline, Then),
    Closing,
    Stopped,
}

/// What comes after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Load,
    ReadTable,
    Round,
}

/// What is published at a time.
#[derive(Debug, Default)]
struct Round {
    events: Vec<Event>,
    /// The position behind it, if it has one.
    next: Option<i64>,
    /// There may be more: the next round follows at once.
    full: bool,
    /// Something went wrong: it is done again.
    given_up: bool,
}

/// The application of one relay instance.
#[derive(Debug)]
pub(crate) struct RelayApp {
    actor: ActorId,
    spec: RelaySpec,
    /// `send()`s of each record.
    attempts: BTreeMap<RecordId, u32>,
    /// Numbers that never come twice: starts of the process, rounds, position records.
    starts: u64,
    rounds: u64,
    position_records: u64,
    /// The last round that found nothing and left nothing to do.
    empty_round: u64,
    // From here on it is memory.
    doing: Doing,
    calls: u64,
    awaited: CallId,
    /// Behind what is published; `None`: nothing is.
    position: Option<i64>,
    /// What is known to be stored.
    stored: Option<i64>,
    restoring: Restoring,
    columns: Columns,
    naming: Naming,
    /// What is left of a snapshot, and where the log was then.
    snapshot: VecDeque<Event>,
    snapshot_position: Option<i64>,
    /// The snapshot is not published yet, all of it.
    snapshotting: bool,
    round: Round,
    next_round: Deadline,
    /// `send()`s that have not ended.
    outstanding: BTreeSet<CallId>,
    /// The position record under way, outside of a transaction.
    storing: Option<(CallId, i64)>,
    next_flush: Deadline,
    transactions: u64,
}

impl RelayApp {
    /// A relay of rows that `services` have written, if a service has.
    pub(crate) fn new(actor: ActorId, spec: RelaySpec, services: Vec<ActorId>) -> Self {
        let now = Deadline::after(Instant::ZERO, Duration::ZERO);
        RelayApp {
            actor,
            spec,
            attempts: BTreeMap::new(),
            starts: 0,
            // A round before the first: nothing is settled by it.
            rounds: 1,
            position_records: 0,
            empty_round: 0,
            doing: Doing::Stopped,
            calls: 0,
            awaited: CallId(0),
            position: None,
            stored: None,
            restoring: Restoring::default(),
            naming: Naming { relay: actor, services },
            columns: Columns::default(),
            snapshot: VecDeque::new(),
            snapshot_position: None,
            snapshotting: false,
            round: Round::default(),
            next_round: now,
            outstanding: BTreeSet::new(),
            storing: None,
            next_flush: now,
            transactions: 0,
        }
    }

    pub(crate) fn spec(&self) -> &RelaySpec {
        &self.spec
    }

    /// Rounds that it has begun.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Whether a round that began after so many had found nothing, with nothing left to do since.
    pub(crate) fn is_settled_since(&self, rounds: u64) -> Result<(), String> {
        if self.empty_round > rounds && self.doing != Doing::Stopped {
            return self.is_settled();
        }
        Err(format!("it has not looked for rows again ({:?})", self.doing))
    }

    /// Whether it has published all that it has heard of, and stored its position.
    pub(crate) fn is_settled(&self) -> Result<(), String> {
        let is_at_rest = matches!(self.doing, Doing::Waiting | Doing::Fetching)
            && self.outstanding.is_empty()
            && self.storing.is_none()
            && !self.is_unstored()
            && self.empty_round + 1 >= self.rounds;
        if is_at_rest {
            return Ok(());
        }
        let events = self.round.events.len() + self.snapshot.len();
        let position = if self.is_unstored() { ", its position is not stored" } else { "" };
        Err(format!("{:?}, {events} events to publish{position}", self.doing))
    }

    fn is_transactional(&self) -> bool {
        self.spec.transactional_id.is_some()
    }

    /// The process starts (again).
    pub(crate) fn start(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        self.starts += 1;
        self.awaited = CallId(0);
        self.position = None;
        self.stored = None;
        self.restoring = Restoring::default();
        self.columns = Columns::default();
        self.snapshot.clear();
        self.snapshot_position = None;
        self.snapshotting = false;
        self.round = Round::default();
        self.next_round = Deadline::after(now, Duration::ZERO);
        self.outstanding.clear();
        self.storing = None;
        self.transactions = 0;
        self.empty_round = 0;
        let interval = match self.spec.position {
            PositionStore::Topic { flush_interval, .. } => flush_interval,
            _ => Duration::ZERO,
        };
        self.next_flush = Deadline::after(now, interval);
        if self.is_transactional() {
            // Fences whoever else has the id, and ends what it has left open.
            self.await_producer(Doing::Initializing, ProducerCall::InitTransactions, out);
        } else {
            self.load(now, out);
        }
    }

    /// Some time has passed.
    pub(crate) fn wake(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        self.flush(now, out);
        match self.doing {
            Doing::Waiting => self.wait(now, out),
            Doing::Restoring => self.restore_poll_timeout(out),
            Doing::BackingOff(until, _) if !until.is_due(now) => {
                out.push(AppEffect::Wake(until.left(now)));
            }
            Doing::BackingOff(_, Then::Load) => self.load(now, out),
            Doing::BackingOff(_, Then::ReadTable) => self.read_table(out),
            Doing::BackingOff(_, Then::Round) => self.begin_round(now, out),
            _ => {}
        }
    }

    // ---- calls ----

    fn next_call(&mut self) -> CallId {
        self.calls += 1;
        // Ids of `send()`s have their attempt, from 1, in the low half.
        CallId(self.calls << 16)
    }

    fn await_producer(&mut self, doing: Doing, body: ProducerCall, out: &mut Vec<AppEffect>) {
        self.doing = doing;
        self.awaited = self.next_call();
        let body = Call::Producer(body);
        out.push(AppEffect::Call { call: self.awaited, attempt: 0, body });
    }

    fn ask(&mut self, doing: Doing, body: Request, out: &mut Vec<AppEffect>) {
        self.doing = doing;
        self.awaited = self.next_call();
        let (system, call) = (self.spec.database, self.awaited);
        out.push(AppEffect::Ask { system, call, effect: None, body });
    }

    /// A call of the producer ended.
    pub(crate) fn completed(
        &mut self,
        now: Instant,
        call: CallId,
        end: ProducerCompletion,
        out: &mut Vec<AppEffect>,
    ) {
        match end {
            ProducerCompletion::Sent(sent) => self.sent(now, call, sent.error.is_ok(), out),
            ProducerCompletion::Transaction(result) if call == self.awaited => match result {
                Ok(()) => self.transaction_call_done(now, out),
                Err(error) => self.transaction_call_failed(error.class, out),
            },
            ProducerCompletion::Closed if call == self.awaited => {
                self.doing = Doing::Stopped;
                out.push(AppEffect::Restart);
            }
            _ => {}
        }
    }

    fn transaction_call_done(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        match self.doing {
            Doing::Initializing => self.load(now, out),
            Doing::BeginningTransaction => self.send_round(now, out),
            Doing::Ending(TransactionResult::Commit) => self.published(now, out),
            Doing::Ending(TransactionResult::Abort) => self.back_off(now, Then::Round, out),
            _ => {}
        }
    }

    /// A call of the transaction API threw.
    fn transaction_call_failed(&mut self, error: ErrorClass, out: &mut Vec<AppEffect>) {
        match (error, self.doing) {
            (ErrorClass::Timeout, Doing::Initializing) => {
                self.await_producer(Doing::Initializing, ProducerCall::InitTransactions, out);
            }
            // The only legal next call is the same one again.
            (ErrorClass::Timeout, Doing::Ending(result)) => self.end_transaction(result, out),
            (ErrorClass::Abortable, Doing::Ending(TransactionResult::Commit)) => {
                self.end_transaction(TransactionResult::Abort, out);
            }
            // The task fails, and is started anew: what is committed tells where to go on.
            _ => {
                self.outstanding.clear();
                out.push(AppEffect::HangUp(self.spec.database));
                self.await_producer(Doing::Closing, ProducerCall::Close, out);
            }
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
            (Doing::ReadingCursor, Ok(Response::Executed { rows, .. })) => {
                self.cursor_read(now, &rows, out);
            }
            (Doing::ReadingCursor, Err(_)) => self.back_off(now, Then::Load, out),
            (Doing::ReadingTable, Ok(Response::Snapshot { rows, position })) => {
                self.table_read(now, &rows, position, out);
            }
            (Doing::ReadingTable, Err(_)) => self.back_off(now, Then::ReadTable, out),
            (Doing::Fetching, Ok(Response::Executed { rows, .. })) => {
                self.selected(now, &rows, out);
            }
            (Doing::Fetching, Ok(Response::Captured { rows })) => self.captured(now, &rows, out),
            (Doing::Fetching, Err(_)) => self.back_off(now, Then::Round, out),
            (Doing::MarkingFirst(at), answer) => self.marked_first(now, at, answer.is_ok(), out),
            (Doing::Marking(at), Ok(_)) => self.mark(now, at + 1, out),
            // What is not marked comes again.
            (Doing::Marking(_), Err(_)) => self.back_off(now, Then::Round, out),
            (doing @ (Doing::StoringFirst | Doing::Storing), answer) => {
                self.cursor_written(answer.is_ok());
                if doing == Doing::Storing {
                    self.end_round(now, out);
                } else {
                    self.await_acks(now, out);
                }
            }
            _ => {}
        }
    }

    // ---- rounds ----

    fn back_off(&mut self, now: Instant, then: Then, out: &mut Vec<AppEffect>) {
        // A snapshot that is interrupted begins anew.
        let then = if then == Then::Round && self.snapshotting { Then::ReadTable } else { then };
        self.round = Round::default();
        self.awaited = CallId(0);
        self.doing = Doing::BackingOff(Deadline::after(now, RETRY_AFTER), then);
        out.push(AppEffect::Wake(RETRY_AFTER));
    }

    fn wait(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        self.doing = Doing::Waiting;
        if self.next_round.is_due(now) {
            return self.begin_round(now, out);
        }
        out.push(AppEffect::Wake(self.next_round.left(now)));
    }

    fn begin_round(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        self.rounds += 1;
        self.next_round = Deadline::after(now, self.spec.interval);
        self.round = Round::default();
        match &self.spec.kind {
            RelayKind::Poll { select, .. } => self.select(*select, out),
            RelayKind::Capture { .. } if self.snapshot_position.is_some() => {
                self.publish_snapshot(now, out);
            }
            RelayKind::Capture { .. } => self.capture(out),
        }
    }

    /// Rows are read.
    fn fetched(&mut self, now: Instant, round: Round, out: &mut Vec<AppEffect>) {
        self.round = round;
        if self.round.events.is_empty() {
            // Changes that are none of its business are behind it all the same.
            self.move_on(out);
            self.store(now, out);
        } else {
            self.publish(now, out);
        }
    }

    /// The log has acknowledged the round, or committed it.
    fn published(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        if self.round.given_up {
            self.back_off(now, Then::Round, out);
        } else {
            self.mark(now, 0, out);
        }
    }

    /// The position moves behind the round.
    fn move_on(&mut self, out: &mut Vec<AppEffect>) {
        if self.marks_tell() {
            return;
        }
        let Some(next) = self.round.next.filter(|next| self.position != Some(*next)) else {
            return;
        };
        self.position = Some(next);
        self.snapshotting = false;
        if self.position_is_stored_with_events() {
            self.stored = self.position;
        }
        out.push(AppEffect::RelayPosition { position: self.reported(next) });
    }

    /// Whether it has no position: its query finds what is not marked.
    fn marks_tell(&self) -> bool {
        self.spec.position == PositionStore::None
            && matches!(self.spec.kind, RelayKind::Poll { .. })
    }

    fn end_round(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        let round = std::mem::take(&mut self.round);
        if round.events.is_empty() && !round.full {
            self.empty_round = self.rounds;
        }
        if round.full {
            self.begin_round(now, out);
        } else {
            self.wait(now, out);
        }
    }
}
