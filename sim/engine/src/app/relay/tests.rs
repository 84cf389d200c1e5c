//! The relay with nobody around it: the test is its database, its log and its clients.

use oncesim_external::{CapturedRow, Datum, LogPosition, Rows};
use oncesim_kafka::config::ProducerConfig;
use oncesim_kafka::consumer::{ConsumerCall, ConsumerCompletion, PolledRecord};
use oncesim_kafka::log::batch::Record;
use oncesim_kafka::producer::{SendResult, TransactionError};
use oncesim_spec::{RelayMarking, TransactionalIdPattern};
use oncesim_types::{
    ErrorCode, LeaderEpoch, Offset, StatementId, StatementRole, SystemError, SystemId, TopicId,
    TopicPartition, TransactionalId,
};

use super::*;

pub(super) const SERVICE: ActorId = ActorId(3);
pub(super) const RELAY: ActorId = ActorId(8);
const ORDERS: TopicId = TopicId(0);
pub(super) const OFFSETS: TopicId = TopicId(1);
const OFFSETS_0: TopicPartition = TopicPartition::new(OFFSETS, 0);
const SELECT: StatementId = StatementId(0);
const MARK: StatementId = StatementId(1);
pub(super) const DATABASE: PositionStore =
    PositionStore::Database { read: StatementId(2), write: StatementId(3) };
pub(super) const TOPIC: PositionStore =
    PositionStore::Topic { topic: OFFSETS, flush_interval: Duration::from_millis(60) };

pub(super) fn poller(mark: Option<bool>, position: PositionStore) -> RelaySpec {
    let mark = mark.map(|before_ack| RelayMarking { statement: MARK, before_ack });
    RelaySpec {
        name: "outbox".to_owned(),
        instances: 1,
        database: SystemId(0),
        to: ORDERS,
        kind: RelayKind::Poll { select: SELECT, mark },
        interval: Duration::from_millis(50),
        batch: 3,
        position,
        stores_before_ack: false,
        transactional_id: None,
        producer: ProducerConfig::default(),
    }
}

pub(super) fn capture(snapshot: bool, position: PositionStore) -> RelaySpec {
    let kind = RelayKind::Capture { table: "outbox".to_owned(), snapshot };
    RelaySpec { kind, ..poller(None, position) }
}

pub(super) fn transactional(spec: RelaySpec) -> RelaySpec {
    let id = TransactionalIdPattern {
        text: "relay".to_owned(),
        ids: vec![TransactionalId(0)],
        per_restart: false,
        per_partition: false,
    };
    RelaySpec { transactional_id: Some(id), ..spec }
}

/// What the relay did, in words as short as its work.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Did {
    Started(i64),
    StartedWithSnapshot,
    ReadCursor,
    WriteCursor(i64),
    Select(i64),
    Mark(u64),
    ReadTable,
    Capture(u64, u32),
    /// A record's ordinal, and which attempt.
    Send(u64, u32),
    Store(i64),
    Moved(i64),
    Wake(u64),
    NewProducer,
    Init,
    Begin,
    Commit,
    Abort,
    HangUp,
    Close,
    Restart,
    LogEnds,
    Assign,
    Beginning,
    Poll,
    PollTimeout,
}

use Did::*;

fn did(effect: AppEffect) -> Did {
    match effect {
        AppEffect::RelayStarted { position, snapshot: false } => Started(position),
        AppEffect::RelayStarted { position: -1, snapshot: true } => StartedWithSnapshot,
        AppEffect::RelayPosition { position } => Moved(position),
        AppEffect::Ask { body, .. } => asked(body),
        AppEffect::Wake(after) => Wake(after.0 / 1_000_000),
        AppEffect::NewProducer(RELAY) => NewProducer,
        AppEffect::HangUp(_) => HangUp,
        AppEffect::Restart => Restart,
        AppEffect::LogEnds(partitions) => {
            assert_eq!(partitions, [OFFSETS_0]);
            LogEnds
        }
        AppEffect::Restore { body, .. } => match body {
            ConsumerCall::Assign(_) => Assign,
            ConsumerCall::SeekToBeginning => Beginning,
            ConsumerCall::Poll => Poll,
            ConsumerCall::PollTimeout => PollTimeout,
            other => panic!("{other:?}"),
        },
        AppEffect::Call { body: Call::Producer(body), attempt, .. } => match body {
            ProducerCall::Send { topic: ORDERS, record, .. } => {
                assert_eq!(record.id.origin(), SERVICE);
                Send(record.id.ordinal(), attempt)
            }
            ProducerCall::Send { topic: OFFSETS, partition, record } => {
                assert_eq!((partition, record.id.origin(), attempt), (Some(0), RELAY, 1));
                Store(record.value.expect("a position is a number"))
            }
            ProducerCall::InitTransactions => Init,
            ProducerCall::BeginTransaction { .. } => Begin,
            ProducerCall::EndTransaction(TransactionResult::Commit) => Commit,
            ProducerCall::EndTransaction(TransactionResult::Abort) => Abort,
            ProducerCall::Close => Close,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn asked(body: Request) -> Did {
    match body {
        Request::Snapshot { .. } => ReadTable,
        Request::Capture { after, max: 3 } => Capture(after.commit, after.changes),
        Request::Execute(execute) => match execute.role {
            StatementRole::RelaySelect => {
                assert_eq!(execute.parameters.batch, 3);
                Select(execute.parameters.cursor)
            }
            StatementRole::RelayMark => {
                let record = execute.record.expect("it is about one");
                assert_eq!(execute.parameters.id, record.0.cast_signed());
                Mark(record.ordinal())
            }
            StatementRole::CursorRead => ReadCursor,
            StatementRole::CursorWrite => WriteCursor(execute.parameters.cursor),
            other => panic!("{other:?} is no business of a relay"),
        },
        other => panic!("{other:?}"),
    }
}

/// A row of the outbox: the n-th record has the sequence 10 n.
fn row(n: u64) -> Vec<Datum> {
    let id = RecordId::new(SERVICE, n).0.cast_signed();
    let sequence = 10 * n.cast_signed();
    [id, 1, n.cast_signed(), sequence].map(Datum::Integer).to_vec()
}

fn rows(ordinals: &[u64]) -> Rows {
    let columns = ["id", "key", "value", "sequence"].map(str::to_owned).to_vec();
    Rows { columns, rows: ordinals.iter().map(|n| row(*n)).collect() }
}

struct Test {
    app: RelayApp,
    now: Instant,
    /// `send()`s that have not ended.
    sends: VecDeque<CallId>,
}

impl Test {
    fn new(spec: RelaySpec) -> Test {
        Test {
            app: RelayApp::new(RELAY, spec, vec![SERVICE]),
            now: Instant(1),
            sends: VecDeque::new(),
        }
    }

    fn act(&mut self, input: impl FnOnce(&mut RelayApp, Instant, &mut Vec<AppEffect>)) -> Vec<Did> {
        let mut out = Vec::new();
        input(&mut self.app, self.now, &mut out);
        for effect in &out {
            match effect {
                AppEffect::Call { call, attempt, .. } if *attempt > 0 => {
                    self.sends.push_back(*call);
                }
                AppEffect::NewProducer(_) => self.sends.clear(),
                _ => {}
            }
        }
        out.into_iter().map(did).collect()
    }

    fn start(&mut self) -> Vec<Did> {
        self.sends.clear();
        self.act(|app, now, out| app.start(now, out))
    }

    fn after(&mut self, millis: u64) -> Vec<Did> {
        self.now += Duration::from_millis(millis);
        self.act(|app, now, out| app.wake(now, out))
    }

    fn answer(&mut self, answer: Answer) -> Vec<Did> {
        let call = self.app.awaited;
        self.act(|app, now, out| app.answered(now, call, answer, out))
    }

    fn rows(&mut self, ordinals: &[u64]) -> Vec<Did> {
        self.answer(Ok(Response::Executed { changed: 0, rows: rows(ordinals) }))
    }

    fn done(&mut self) -> Vec<Did> {
        self.answer(Ok(Response::Executed { changed: 1, rows: Rows::default() }))
    }

    fn error(&mut self) -> Vec<Did> {
        self.answer(Err(SystemError::ConnectionLost))
    }

    fn sent(&mut self, error: ErrorCode) -> Vec<Did> {
        let call = self.sends.pop_front().expect("something was sent");
        let sent =
            SendResult { partition: None, error, offset: Offset::UNKNOWN, maybe_appended: true };
        self.act(|app, now, out| app.completed(now, call, ProducerCompletion::Sent(sent), out))
    }

    /// All that was sent is acknowledged; what the relay does then.
    fn acked(&mut self) -> Vec<Did> {
        while self.sends.len() > 1 {
            assert_eq!(self.sent(ErrorCode::None), []);
        }
        self.sent(ErrorCode::None)
    }

    fn end(&mut self, end: ProducerCompletion) -> Vec<Did> {
        let call = self.app.awaited;
        self.act(|app, now, out| app.completed(now, call, end, out))
    }

    fn ok(&mut self) -> Vec<Did> {
        self.end(ProducerCompletion::Transaction(Ok(())))
    }

    fn throws(&mut self, class: ErrorClass) -> Vec<Did> {
        let error = ErrorCode::InvalidProducerEpoch;
        let error = TransactionError { error, class, maybe_done: false };
        self.end(ProducerCompletion::Transaction(Err(error)))
    }

    fn log_end(&mut self, end: Option<i64>) -> Vec<Did> {
        let ends = [(OFFSETS_0, end.map(Offset))];
        self.act(|app, now, out| app.log_ends(now, &ends, out))
    }

    /// Position records are read, up to `position`.
    fn restored(&mut self, values: &[(u32, i64)], position: i64) -> Vec<Did> {
        let polled = |(key, value): &(u32, i64)| {
            let id = RecordId::new(RELAY, 0);
            let (key, value) = (Some(*key), Some(*value));
            let record = Record { id, key, value, size: 1, timestamp: Instant(0) };
            let leader_epoch = LeaderEpoch(0);
            PolledRecord { partition: OFFSETS_0, offset: Offset(0), leader_epoch, record }
        };
        let end = ConsumerCompletion::Polled(values.iter().map(polled).collect());
        let position = |_| Some(Offset(position));
        self.act(|app, now, out| app.restore_completed(now, &end, position, out))
    }

    fn captured(&mut self, rows: &[(u64, bool, u64)]) -> Vec<Did> {
        let row = |(commit, deleted, n): &(u64, bool, u64)| CapturedRow {
            position: LogPosition { commit: *commit, changes: 1 },
            table: "outbox".to_owned(),
            deleted: *deleted,
            values: row(*n),
        };
        self.answer(Ok(Response::Captured { rows: rows.iter().map(row).collect() }))
    }

    fn table(&mut self, ordinals: &[u64], commit: u64) -> Vec<Did> {
        let position = LogPosition { commit, changes: 0 };
        self.answer(Ok(Response::Snapshot { rows: rows(ordinals), position }))
    }
}

fn at(commit: u64, changes: u32) -> i64 {
    capture::pack(LogPosition { commit, changes })
}

// ---- pollers ----

#[test]
fn rows_are_marked_when_the_log_has_acknowledged_them() {
    let mut test = Test::new(poller(Some(false), PositionStore::None));
    assert_eq!(test.start(), [Started(-1), Select(-1)]);
    assert_eq!(test.rows(&[1, 2]), [Send(1, 1), Send(2, 1)]);
    assert!(test.app.is_settled().is_err());
    assert_eq!(test.acked(), [Mark(1)]);
    assert_eq!(test.done(), [Mark(2)]);
    assert_eq!(test.done(), [Wake(50)]);
    assert!(test.app.is_settled().is_err());
    assert_eq!(test.after(20), [Wake(30)]);
    assert_eq!(test.after(30), [Select(-1)]);
    assert_eq!(test.rows(&[]), [Wake(50)]);
    assert_eq!(test.app.is_settled(), Ok(()));
    // Whoever asks must know that the round began after what it is about.
    let rounds = test.app.rounds();
    assert!(test.app.is_settled_since(rounds).is_err());
    assert_eq!(test.after(50), [Select(-1)]);
    assert!(test.app.is_settled_since(rounds).is_err());
    assert_eq!(test.rows(&[]), [Wake(50)]);
    assert_eq!(test.app.is_settled_since(rounds), Ok(()));
}

#[test]
fn a_mark_that_fails_publishes_the_row_again() {
    let mut test = Test::new(poller(Some(false), PositionStore::None));
    test.start();
    test.rows(&[1, 2]);
    test.acked();
    assert_eq!(test.error(), [Wake(100)]);
    assert_eq!(test.after(100), [Select(-1)]);
    assert_eq!(test.rows(&[1, 2]), [Send(1, 2), Send(2, 2)]);
}

#[test]
fn nothing_is_sent_behind_a_gap() {
    let mut test = Test::new(poller(Some(false), PositionStore::None));
    test.start();
    test.rows(&[1, 2, 3]);
    assert_eq!(test.sent(ErrorCode::None), []);
    assert_eq!(test.sent(ErrorCode::RequestTimedOut), [NewProducer, Wake(100)]);
    assert_eq!(test.after(100), [Select(-1)]);
    assert_eq!(test.rows(&[1, 2, 3]), [Send(1, 2), Send(2, 2), Send(3, 2)]);
}

#[test]
fn a_row_that_is_marked_first_is_lost_with_its_send() {
    let mut test = Test::new(poller(Some(true), PositionStore::None));
    test.start();
    assert_eq!(test.rows(&[1, 2]), [Mark(1)]);
    assert_eq!(test.done(), [Send(1, 1), Mark(2)]);
    assert_eq!(test.done(), [Send(2, 1)]);
    assert_eq!(test.sent(ErrorCode::RequestTimedOut), [NewProducer, Wake(100)]);
    assert_eq!(test.after(100), [Select(-1)]);
    assert_eq!(test.rows(&[]), [Wake(50)]);
}

#[test]
fn a_first_mark_that_fails_ends_the_round_when_the_rest_is_acknowledged() {
    let mut test = Test::new(poller(Some(true), PositionStore::None));
    test.start();
    test.rows(&[1, 2]);
    test.done();
    assert_eq!(test.error(), []);
    assert_eq!(test.acked(), [Wake(100)]);
    assert_eq!(test.after(100), [Select(-1)]);
}

#[test]
fn a_full_batch_is_followed_at_once() {
    let mut test = Test::new(poller(None, PositionStore::Memory));
    test.start();
    test.rows(&[1, 2, 3]);
    assert_eq!(test.acked(), [Moved(30), Select(30)]);
}

#[test]
fn a_cursor_in_memory_dies_with_the_process() {
    let mut test = Test::new(poller(None, PositionStore::Memory));
    assert_eq!(test.start(), [Started(-1), Select(-1)]);
    test.rows(&[1, 2]);
    assert_eq!(test.acked(), [Moved(20), Wake(50)]);
    assert_eq!(test.after(50), [Select(20)]);
    assert_eq!(test.error(), [Wake(100)]);
    assert_eq!(test.after(100), [Select(20)]);
    assert_eq!(test.start(), [Started(-1), Select(-1)]);
    assert_eq!(test.rows(&[1, 2]), [Send(1, 2), Send(2, 2)]);
}

#[test]
fn a_cursor_in_the_database_is_read_at_the_start_and_written_after_the_acks() {
    let mut test = Test::new(poller(None, DATABASE));
    assert_eq!(test.start(), [ReadCursor]);
    assert_eq!(test.error(), [Wake(100)]);
    assert_eq!(test.after(100), [ReadCursor]);
    let rows = Rows { columns: vec!["at".to_owned()], rows: vec![vec![Datum::Integer(10)]] };
    assert_eq!(test.answer(Ok(Response::Executed { changed: 0, rows })), [Started(10), Select(10)]);
    assert_eq!(test.rows(&[2]), [Send(2, 1)]);
    assert_eq!(test.acked(), [Moved(20), WriteCursor(20)]);
    assert_eq!(test.error(), [Wake(50)]);
    assert!(test.app.is_settled().is_err());
    // The next round stores it, even if it finds nothing.
    assert_eq!(test.after(50), [Select(20)]);
    assert_eq!(test.rows(&[]), [WriteCursor(20)]);
    assert_eq!(test.done(), [Wake(50)]);
    assert_eq!(test.app.is_settled(), Ok(()));
}

#[test]
fn a_cursor_that_nobody_has_written_is_before_everything() {
    let mut test = Test::new(poller(None, DATABASE));
    test.start();
    assert_eq!(test.done(), [Started(-1), Select(-1)]);
}

#[test]
fn a_position_that_is_stored_first_runs_ahead() {
    let mut test = Test::new(RelaySpec { stores_before_ack: true, ..poller(None, DATABASE) });
    test.start();
    test.done();
    let sent = [Send(1, 1), Send(2, 1), Moved(20), WriteCursor(20)];
    assert_eq!(test.rows(&[1, 2]), sent);
    assert_eq!(test.done(), []);
    assert_eq!(test.sent(ErrorCode::RequestTimedOut), [NewProducer, Wake(100)]);
    assert_eq!(test.after(100), [Select(20)]);
}

// ---- positions in a topic ----

#[test]
fn a_position_is_read_from_its_topic_and_flushed_to_it() {
    let mut test = Test::new(poller(None, TOPIC));
    let key = event::short(b"outbox");
    assert_eq!(test.start(), [LogEnds]);
    assert_eq!(test.log_end(None), [Wake(100)]);
    assert_eq!(test.after(100), [LogEnds]);
    assert_eq!(test.log_end(Some(3)), [Assign, Beginning, Wake(100), Poll]);
    assert_eq!(test.after(100), [Wake(100), PollTimeout]);
    // The last record of this relay counts.
    assert_eq!(test.restored(&[(key, 10)], 1), [Wake(100), Poll]);
    assert_eq!(test.restored(&[(key, 20), (key ^ 1, 70)], 3), [Started(20), Select(20)]);
    test.rows(&[3]);
    // 200 ms have passed since the start: it is time.
    assert_eq!(test.acked(), [Moved(30), Store(30), Wake(50)]);
    assert!(test.app.is_settled().is_err());
    assert_eq!(test.after(50), [Select(30)]);
    assert_eq!(test.rows(&[4]), [Send(4, 1)]);
    // The one before is under way.
    assert_eq!(test.sent(ErrorCode::None), []);
    assert_eq!(test.acked(), [Moved(40), Wake(10), Wake(50)]);
    assert_eq!(test.after(10), [Store(40), Wake(40)]);
    // It failed: the next flush tries again.
    assert_eq!(test.sent(ErrorCode::RequestTimedOut), [Wake(60)]);
    assert_eq!(test.after(40), [Wake(20), Select(40)]);
    assert_eq!(test.rows(&[]), [Wake(20), Wake(50)]);
    assert!(test.app.is_settled().is_err());
    assert_eq!(test.after(20), [Store(40), Wake(30)]);
    assert_eq!(test.sent(ErrorCode::None), []);
    assert_eq!(test.app.is_settled(), Ok(()));
}

#[test]
fn an_empty_topic_says_nothing() {
    let mut test = Test::new(poller(None, TOPIC));
    test.start();
    assert_eq!(test.log_end(Some(0)), [Started(-1), Select(-1)]);
}

// ---- transactions ----

#[test]
fn events_and_position_are_one_transaction() {
    let mut test = Test::new(transactional(poller(None, TOPIC)));
    assert_eq!(test.start(), [Init]);
    assert_eq!(test.throws(ErrorClass::Timeout), [Init]);
    assert_eq!(test.ok(), [LogEnds]);
    assert_eq!(test.log_end(Some(0)), [Started(-1), Select(-1)]);
    assert_eq!(test.rows(&[1, 2]), [Begin]);
    assert_eq!(test.ok(), [Send(1, 1), Send(2, 1), Store(20)]);
    assert_eq!(test.acked(), [Commit]);
    assert_eq!(test.throws(ErrorClass::Timeout), [Commit]);
    assert_eq!(test.ok(), [Moved(20), Wake(50)]);
    assert_eq!(test.after(50), [Select(20)]);
    assert_eq!(test.rows(&[]), [Wake(50)]);
    assert_eq!(test.app.is_settled(), Ok(()));
}

#[test]
fn after_an_abort_it_goes_on_from_the_committed_position() {
    let mut test = Test::new(transactional(poller(None, TOPIC)));
    test.start();
    test.ok();
    test.log_end(Some(0));
    test.rows(&[1]);
    test.ok();
    assert_eq!(test.sent(ErrorCode::RequestTimedOut), []);
    assert_eq!(test.acked(), [Abort]);
    assert_eq!(test.ok(), [Wake(100)]);
    assert_eq!(test.after(100), [Select(-1)]);
    assert_eq!(test.rows(&[1]), [Begin]);
    assert_eq!(test.ok(), [Send(1, 2), Store(10)]);
    test.acked();
    assert_eq!(test.throws(ErrorClass::Abortable), [Abort]);
    assert_eq!(test.ok(), [Wake(100)]);
    assert_eq!(test.after(100), [Select(-1)]);
}

#[test]
fn a_fenced_relay_starts_anew() {
    let mut test = Test::new(transactional(poller(None, TOPIC)));
    test.start();
    test.ok();
    test.log_end(Some(0));
    test.rows(&[1]);
    test.ok();
    test.acked();
    assert_eq!(test.throws(ErrorClass::Fatal), [HangUp, Close]);
    assert_eq!(test.end(ProducerCompletion::Closed), [Restart]);
    assert_eq!(test.start(), [Init]);
    assert_eq!(test.ok(), [LogEnds]);
}

// ---- change data capture ----

#[test]
fn a_first_start_publishes_a_snapshot_and_streams_from_there() {
    let mut test = Test::new(capture(true, PositionStore::Memory));
    assert_eq!(test.start(), [ReadTable]);
    let first = [StartedWithSnapshot, Send(1, 1), Send(2, 1), Send(3, 1)];
    assert_eq!(test.table(&[1, 2, 3, 4], 9), first);
    assert_eq!(test.acked(), [Send(4, 1)]);
    assert_eq!(test.acked(), [Moved(9), Capture(9, 0)]);
    // What is deleted was published when it was inserted.
    assert_eq!(test.captured(&[(10, false, 5), (11, true, 5)]), [Send(5, 1)]);
    assert_eq!(test.acked(), [Moved(11), Wake(50)]);
    assert_eq!(test.after(50), [Capture(11, 1)]);
    assert_eq!(test.captured(&[(12, true, 4)]), [Moved(12), Wake(50)]);
    assert_eq!(test.app.is_settled(), Ok(()));
}

#[test]
fn a_snapshot_that_is_interrupted_begins_anew() {
    let mut test = Test::new(capture(true, PositionStore::Memory));
    test.start();
    test.table(&[1, 2, 3, 4], 9);
    test.acked();
    assert_eq!(test.sent(ErrorCode::RequestTimedOut), [NewProducer, Wake(100)]);
    assert_eq!(test.after(100), [ReadTable]);
    let first = [StartedWithSnapshot, Send(1, 2), Send(2, 2), Send(3, 2)];
    assert_eq!(test.table(&[1, 2, 3, 4], 12), first);
    assert_eq!(test.start(), [ReadTable]);
    assert_eq!(test.table(&[], 13), [StartedWithSnapshot, Moved(13), Capture(13, 0)]);
}

#[test]
fn a_restart_goes_on_from_the_last_position_that_was_stored() {
    let mut test = Test::new(capture(true, TOPIC));
    let key = event::short(b"outbox");
    test.start();
    test.log_end(Some(1));
    assert_eq!(test.restored(&[(key, at(7, 2))], 1), [ReadTable]);
    assert_eq!(test.table(&[1, 2, 3], 9), [Started(7), Capture(7, 2)]);
    assert_eq!(test.captured(&[(8, false, 6)]), [Send(6, 1)]);
    // Nothing is stored that is not acknowledged.
    assert_eq!(test.after(70), []);
    assert_eq!(test.acked(), [Moved(8), Store(at(8, 1)), Capture(8, 1)]);
}

#[test]
fn without_a_snapshot_the_log_is_read_from_its_beginning() {
    let mut test = Test::new(capture(false, PositionStore::Memory));
    test.start();
    assert_eq!(test.table(&[1, 2], 9), [Started(-1), Capture(0, 0)]);
    let many = [(1, false, 1), (2, true, 1), (3, false, 2)];
    assert_eq!(test.captured(&many), [Send(1, 1), Send(2, 1)]);
    assert_eq!(test.acked(), [Moved(3), Capture(3, 1)]);
}
