//! The application with nobody around it: the test is its clients.

use oncesim_kafka::config::{ConsumerConfig, ProducerConfig};
use oncesim_kafka::log::batch::Record;
use oncesim_spec::{IdempotencyKey, OnUnknown, SinkKind, SinkSpec, TransactionalIdPattern};
use oncesim_types::{
    ErrorCode, GenerationId, GroupId, LeaderEpoch, MemberId, Operation, RecordId, SinkId,
    SystemError, SystemId, TopicId, TransactionalId, Transform,
};

use super::*;

const ORDERS: TopicId = TopicId(0);
const INVOICES: TopicId = TopicId(1);
const CHANGELOG: TopicId = TopicId(2);
const PRODUCER: ActorId = ActorId(6);
const P0: TopicPartition = TopicPartition::new(ORDERS, 0);
const P1: TopicPartition = TopicPartition::new(ORDERS, 1);

fn spec(commit: ProcessorCommit) -> ProcessorSpec {
    let id = TransactionalIdPattern {
        text: "billing-0".to_owned(),
        ids: vec![TransactionalId(0)],
        per_restart: false,
        per_partition: false,
    };
    ProcessorSpec {
        sink: None,
        name: "billing".to_owned(),
        instances: 1,
        group: GroupId(0),
        from: vec![ORDERS],
        to: vec![INVOICES],
        transform: Transform::Map,
        processing_time: Duration::ZERO,
        commit,
        commit_interval: Duration::ZERO,
        batch: 500,
        transactional_id: (commit == ProcessorCommit::Transaction).then_some(id),
        mistakes: Vec::new(),
        static_membership: false,
        consumer: ConsumerConfig::default(),
        producer: ProducerConfig::default(),
    }
}

/// What the application did, in words as short as its API.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Did {
    Init,
    Begin,
    Send(TopicId),
    SendOffsets(Vec<(u16, i64)>, i32),
    Commit,
    Abort,
    Flush,
    Subscribe,
    Poll,
    CommitSync(Vec<(u16, i64)>),
    Committed(Vec<u16>),
    Seek(u16, i64),
    Returned,
    CloseConsumer,
    CloseProducer,
    NewProducer,
    Restart,
    Restored(i64, u32),
    LogEnds,
    Assign,
    Beginning,
    RestorePoll,
    Ask(Operation),
}

struct Test {
    app: ProcessorApp,
    now: Instant,
    records: u64,
    last: CallId,
}

impl Test {
    fn new(spec: ProcessorSpec) -> Test {
        let app = ProcessorApp::new(spec, vec![(None, PRODUCER)], None);
        Test { app, now: Instant(1), records: 0, last: CallId(0) }
    }

    /// A member of its group that waits in `poll()`.
    fn polling(spec: ProcessorSpec, partitions: &[TopicPartition]) -> Test {
        let mut test = Test::new(spec);
        let did = test.act(|app, now, out| app.start(now, 0, out));
        if did == [Did::Init] {
            assert_eq!(test.ok(), [Did::Subscribe]);
        }
        assert_eq!(test.consumer(ConsumerCompletion::Done), [Did::Poll]);
        test.assigned(partitions, 1);
        test
    }

    fn assigned(&mut self, partitions: &[TopicPartition], generation: i32) -> Vec<Did> {
        self.called_back(&RebalanceCallback::Assigned {
            member: MemberId(1),
            generation: GenerationId(generation),
            added: partitions.to_vec(),
            owned: partitions.to_vec(),
        })
    }

    fn called_back(&mut self, callback: &RebalanceCallback) -> Vec<Did> {
        self.act(|app, now, out| app.callback(now, callback, out))
    }

    fn act(
        &mut self,
        input: impl FnOnce(&mut ProcessorApp, Instant, &mut Vec<AppEffect>),
    ) -> Vec<Did> {
        let mut out = Vec::new();
        input(&mut self.app, self.now, &mut out);
        self.last = self.app.awaited;
        out.into_iter().filter_map(did).collect()
    }

    fn end(&mut self, end: Completion) -> Vec<Did> {
        let call = self.last;
        self.act(|app, now, out| app.completed(now, call, end, out))
    }

    fn consumer(&mut self, end: ConsumerCompletion) -> Vec<Did> {
        self.end(Completion::Consumer(end))
    }

    /// The call of the transaction API under way returns.
    fn ok(&mut self) -> Vec<Did> {
        self.end(Completion::Producer(ProducerCompletion::Transaction(Ok(()))))
    }

    fn throws(&mut self, class: ErrorClass) -> Vec<Did> {
        let error = ErrorCode::UnknownServerError;
        let thrown = TransactionError { error, class, maybe_done: true };
        self.end(Completion::Producer(ProducerCompletion::Transaction(Err(thrown))))
    }

    fn polled(&mut self, offsets: &[(TopicPartition, i64)]) -> Vec<Did> {
        let records = offsets
            .iter()
            .map(|&(partition, offset)| {
                self.records += 1;
                let id = RecordId::new(ActorId(3), self.records);
                let record =
                    Record { id, key: Some(7), value: None, size: 10, timestamp: self.now };
                let (offset, leader_epoch) = (Offset(offset), LeaderEpoch(0));
                PolledRecord { partition, offset, leader_epoch, record }
            })
            .collect();
        self.consumer(ConsumerCompletion::Polled(records))
    }

    fn offsets(&mut self, offsets: &[(TopicPartition, Option<i64>)]) -> Vec<Did> {
        let offsets = offsets.iter().map(|&(at, offset)| (at, offset.map(Offset))).collect();
        self.consumer(ConsumerCompletion::Offsets(Ok(offsets)))
    }

    /// One record in a transaction, and `commitTransaction()` under way.
    fn committing(spec: ProcessorSpec) -> Test {
        let mut test = Test::polling(spec, &[P0, P1]);
        assert_eq!(test.polled(&[(P0, 4)]), [Did::Begin]);
        assert_eq!(test.ok(), [Did::Send(INVOICES), Did::SendOffsets(vec![(0, 5)], 1)]);
        assert_eq!(test.ok(), [Did::Commit]);
        test
    }
}

fn did(effect: AppEffect) -> Option<Did> {
    let numbers = |it: &[(TopicPartition, Offset, LeaderEpoch)]| {
        it.iter().map(|(at, offset, _)| (at.partition, offset.0)).collect()
    };
    Some(match effect {
        AppEffect::Produce { body, .. } => match body {
            ProducerCall::InitTransactions => Did::Init,
            ProducerCall::BeginTransaction { .. } => Did::Begin,
            ProducerCall::Send { topic, .. } => Did::Send(topic),
            ProducerCall::SendOffsets { offsets, consumer, .. } => {
                Did::SendOffsets(numbers(&offsets), consumer.generation.0)
            }
            ProducerCall::EndTransaction(TransactionResult::Commit) => Did::Commit,
            ProducerCall::EndTransaction(TransactionResult::Abort) => Did::Abort,
            ProducerCall::Flush => Did::Flush,
            ProducerCall::Close => Did::CloseProducer,
        },
        AppEffect::Call { body: Call::Consumer(call), .. } => match call {
            ConsumerCall::Subscribe(_) => Did::Subscribe,
            ConsumerCall::Poll => Did::Poll,
            ConsumerCall::CommitSync(Some(offsets)) => Did::CommitSync(numbers(&offsets)),
            ConsumerCall::Committed(of) => {
                Did::Committed(of.iter().map(|it| it.partition).collect())
            }
            ConsumerCall::Seek(at, offset) => Did::Seek(at.partition, offset.0),
            ConsumerCall::CallbackDone => Did::Returned,
            ConsumerCall::Close => Did::CloseConsumer,
            other => panic!("a processor does not call {other:?}"),
        },
        AppEffect::Restore { body, .. } => match body {
            ConsumerCall::Assign(_) => Did::Assign,
            ConsumerCall::SeekToBeginning => Did::Beginning,
            ConsumerCall::Poll => Did::RestorePoll,
            other => panic!("a restore consumer is not asked for {other:?}"),
        },
        AppEffect::Ask { body, .. } => Did::Ask(body.operation()),
        AppEffect::LogEnds(_) => Did::LogEnds,
        AppEffect::NewProducer(_) => Did::NewProducer,
        AppEffect::Restart => Did::Restart,
        AppEffect::StateRestored { to, keys, .. } => Did::Restored(to.0, keys),
        _ => return None,
    })
}

#[test]
fn outputs_and_offsets_go_into_one_transaction() {
    let mut test = Test::committing(spec(ProcessorCommit::Transaction));
    assert_eq!(test.ok(), [Did::Poll]);
    assert!(test.app.is_idle());
}

#[test]
fn a_batch_ends_a_transaction_before_its_poll_is_worked_off() {
    let mut test =
        Test::polling(ProcessorSpec { batch: 1, ..spec(ProcessorCommit::Transaction) }, &[P0]);
    assert_eq!(test.polled(&[(P0, 0), (P0, 1)]), [Did::Begin]);
    assert_eq!(test.ok(), [Did::Send(INVOICES), Did::SendOffsets(vec![(0, 1)], 1)]);
    assert_eq!(test.ok(), [Did::Commit]);
    assert_eq!(test.ok(), [Did::Begin]);
    assert_eq!(test.ok(), [Did::Send(INVOICES), Did::SendOffsets(vec![(0, 2)], 1)]);
}

#[test]
fn a_commit_interval_keeps_a_transaction_open_over_polls() {
    let commit_interval = Duration::from_millis(100);
    let spec = ProcessorSpec { commit_interval, ..spec(ProcessorCommit::Transaction) };
    let mut test = Test::polling(spec, &[P0]);
    assert_eq!(test.polled(&[(P0, 0)]), [Did::Begin]);
    assert_eq!(test.ok(), [Did::Send(INVOICES), Did::Poll]);
    assert!(!test.app.is_idle());
    assert_eq!(test.polled(&[(P0, 1)]), [Did::Send(INVOICES), Did::Poll]);
    test.now = Instant::ZERO + commit_interval * 2;
    assert_eq!(test.polled(&[]), [Did::SendOffsets(vec![(0, 2)], 1)]);
}

#[test]
fn after_an_abort_reading_goes_on_from_the_committed_offsets() {
    let mut test = Test::committing(spec(ProcessorCommit::Transaction));
    assert_eq!(test.throws(ErrorClass::Abortable), [Did::Abort]);
    assert_eq!(test.ok(), [Did::Committed(vec![0, 1])]);
    // Nothing is committed for P0: back to the first record. P1 was never read.
    assert_eq!(test.offsets(&[(P0, None), (P1, None)]), [Did::Seek(0, 4), Did::Poll]);
    assert_eq!(test.polled(&[(P0, 4)]), [Did::Begin]);
}

#[test]
fn without_the_seek_the_records_of_an_aborted_transaction_are_passed_over() {
    let mistakes = vec![Mistake::NoSeekAfterAbort];
    let mut test =
        Test::committing(ProcessorSpec { mistakes, ..spec(ProcessorCommit::Transaction) });
    assert_eq!(test.throws(ErrorClass::Abortable), [Did::Abort]);
    assert_eq!(test.ok(), [Did::Poll]);
    assert!(test.app.is_idle());
    assert_eq!(test.polled(&[(P0, 5)]), [Did::Begin]);
    assert_eq!(test.ok(), [Did::Send(INVOICES), Did::SendOffsets(vec![(0, 6)], 1)]);
}

#[test]
fn a_commit_that_timed_out_is_called_again() {
    let mut test = Test::committing(spec(ProcessorCommit::Transaction));
    assert_eq!(test.throws(ErrorClass::Timeout), [Did::Commit]);
    assert_eq!(test.ok(), [Did::Poll]);
    let mistakes = vec![Mistake::AbortAfterCommitTimeout];
    let mut test =
        Test::committing(ProcessorSpec { mistakes, ..spec(ProcessorCommit::Transaction) });
    assert_eq!(test.throws(ErrorClass::Timeout), [Did::Abort]);
}

#[test]
fn a_fatal_error_ends_the_process() {
    let mut test = Test::committing(spec(ProcessorCommit::Transaction));
    assert_eq!(test.throws(ErrorClass::Fatal), [Did::CloseConsumer]);
    assert_eq!(test.consumer(ConsumerCompletion::Done), [Did::CloseProducer]);
    let closed = Completion::Producer(ProducerCompletion::Closed);
    assert_eq!(test.end(closed), [Did::Restart]);
    let mistakes = vec![Mistake::ContinueAfterFatal];
    let mut test =
        Test::committing(ProcessorSpec { mistakes, ..spec(ProcessorCommit::Transaction) });
    assert_eq!(test.throws(ErrorClass::Fatal), [Did::NewProducer, Did::Init]);
    assert_eq!(test.ok(), [Did::Poll]);
}

#[test]
fn what_is_open_is_committed_before_partitions_are_given_up() {
    let commit_interval = Duration::from_secs(10);
    let spec = ProcessorSpec { commit_interval, ..spec(ProcessorCommit::Transaction) };
    let mut test = Test::polling(spec, &[P0, P1]);
    assert_eq!(test.polled(&[(P0, 0)]), [Did::Begin]);
    assert_eq!(test.ok(), [Did::Send(INVOICES), Did::Poll]);
    let poll = test.last;
    let revoked = RebalanceCallback::Revoked { partitions: vec![P0, P1] };
    assert_eq!(test.called_back(&revoked), [Did::SendOffsets(vec![(0, 1)], 1)]);
    assert_eq!(test.ok(), [Did::Commit]);
    assert_eq!(test.ok(), [Did::Returned]);
    assert_eq!(test.last, poll, "the callback returns into the poll");
    assert_eq!(test.assigned(&[P1], 2), [Did::Returned]);
    assert_eq!(test.polled(&[(P1, 3)]), [Did::Begin]);
}

#[test]
fn what_is_open_is_aborted_when_partitions_are_lost() {
    let commit_interval = Duration::from_secs(10);
    let spec = ProcessorSpec { commit_interval, ..spec(ProcessorCommit::Transaction) };
    let mut test = Test::polling(spec, &[P0]);
    assert_eq!(test.polled(&[(P0, 0)]), [Did::Begin]);
    assert_eq!(test.ok(), [Did::Send(INVOICES), Did::Poll]);
    let lost = RebalanceCallback::Lost { partitions: vec![P0] };
    assert_eq!(test.called_back(&lost), [Did::Abort]);
    assert_eq!(test.ok(), [Did::Returned]);
    assert!(test.app.is_idle());
}

#[test]
fn without_transactions_outputs_are_flushed_before_offsets_are_committed() {
    let mut test = Test::polling(spec(ProcessorCommit::AfterProcessing), &[P0]);
    assert_eq!(test.polled(&[(P0, 0)]), [Did::Send(INVOICES), Did::Flush]);
    let flushed = Completion::Producer(ProducerCompletion::Flushed);
    assert_eq!(test.end(flushed), [Did::CommitSync(vec![(0, 1)])]);
    let offsets = vec![(P0, Offset(1))];
    let done =
        ConsumerCompletion::Committed { offsets, error: ErrorCode::None, maybe_committed: false };
    assert_eq!(test.consumer(done), [Did::Poll]);
}

#[test]
fn a_store_is_read_to_the_end_of_its_changelog_before_its_partition() {
    let transform = Transform::Aggregate { changelog: CHANGELOG };
    let spec = ProcessorSpec { transform, ..spec(ProcessorCommit::Transaction) };
    let mut test = Test::new(spec);
    test.act(|app, now, out| app.start(now, 0, out));
    test.ok();
    test.consumer(ConsumerCompletion::Done);
    assert_eq!(test.assigned(&[P0, P1], 1), [Did::LogEnds]);
    let log = |n| TopicPartition::new(CHANGELOG, n);
    let ends = [(log(0), Some(Offset(3))), (log(1), Some(Offset(0)))];
    let did = test.act(|app, now, out| app.log_ends(now, &ends, out));
    assert_eq!(did, [Did::Restored(0, 0), Did::Assign, Did::Beginning, Did::RestorePoll]);
    let record = |n: u64, value| {
        let id = RecordId::new(PRODUCER, n);
        let record = Record { id, key: Some(7), value, size: 10, timestamp: Instant(1) };
        let (offset, leader_epoch) = (Offset(n.cast_signed()), LeaderEpoch(0));
        PolledRecord { partition: log(0), offset, leader_epoch, record }
    };
    let records = ConsumerCompletion::Polled(vec![record(0, Some(1)), record(1, Some(2))]);
    // The marker at the end is not passed yet.
    let did =
        test.act(|app, now, out| app.restore_completed(now, &records, |_| Some(Offset(2)), out));
    assert_eq!(did, [Did::RestorePoll]);
    let nothing = ConsumerCompletion::Polled(Vec::new());
    let did =
        test.act(|app, now, out| app.restore_completed(now, &nothing, |_| Some(Offset(3)), out));
    assert_eq!(did, [Did::Restored(3, 1), Did::Returned]);
    assert_eq!(test.app.stores.get(0, 7), Some(2));
}

/// A producer per partition: the first of these is that of P0.
const PRODUCERS: [ActorId; 2] = [ActorId(6), ActorId(7)];

/// A processor that polls, and has begun a transaction in each of its two partitions.
fn two_transactions() -> Test {
    let mut spec = ProcessorSpec {
        commit_interval: Duration::from_secs(10),
        ..spec(ProcessorCommit::Transaction)
    };
    let id = spec.transactional_id.as_mut().expect("it commits by transaction");
    id.per_partition = true;
    let producers = vec![(Some(P0), PRODUCERS[0]), (Some(P1), PRODUCERS[1])];
    let app = ProcessorApp::new(spec, producers, None);
    let mut test = Test { app, now: Instant(1), records: 0, last: CallId(0) };
    assert_eq!(test.act(|app, now, out| app.start(now, 0, out)), [Did::Subscribe]);
    assert_eq!(test.consumer(ConsumerCompletion::Done), [Did::Poll]);
    // Nothing is read before the producers of both have their sessions.
    assert_eq!(test.assigned(&[P0, P1], 1), [Did::Init]);
    assert_eq!(test.ok(), [Did::Init]);
    assert_eq!(test.ok(), [Did::Returned]);
    assert_eq!(test.polled(&[(P0, 4), (P1, 8)]), [Did::Begin]);
    assert_eq!(test.ok(), [Did::Send(INVOICES), Did::Begin]);
    assert_eq!(test.ok(), [Did::Send(INVOICES), Did::Poll]);
    test
}

#[test]
fn each_partition_is_committed_by_its_own_producer() {
    let mut test = two_transactions();
    test.now = Instant(1) + Duration::from_secs(20);
    // No generation: before KIP-447 the group was told none.
    assert_eq!(test.polled(&[]), [Did::SendOffsets(vec![(0, 5)], -1)]);
    assert_eq!(test.app.session().actor, PRODUCERS[0]);
    assert_eq!(test.ok(), [Did::Commit]);
    assert_eq!(test.ok(), [Did::SendOffsets(vec![(1, 9)], -1)]);
    assert_eq!(test.app.session().actor, PRODUCERS[1]);
    assert_eq!(test.ok(), [Did::Commit]);
    assert_eq!(test.ok(), [Did::Poll]);
    assert!(test.app.is_idle());
}

#[test]
fn an_abort_takes_back_its_partition_alone() {
    let mut test = two_transactions();
    test.now = Instant(1) + Duration::from_secs(20);
    test.polled(&[]);
    test.ok();
    assert_eq!(test.throws(ErrorClass::Abortable), [Did::Abort]);
    assert_eq!(test.ok(), [Did::Committed(vec![0])]);
    assert_eq!(test.offsets(&[(P0, None)]), [Did::Seek(0, 4), Did::Poll]);
    assert!(test.app.has_open_transaction(), "that of the other partition");
}

#[test]
fn a_partition_that_is_given_up_takes_its_producer_along() {
    let mut test = two_transactions();
    let revoked = RebalanceCallback::Revoked { partitions: vec![P0] };
    assert_eq!(test.called_back(&revoked), [Did::SendOffsets(vec![(0, 5)], -1)]);
    assert_eq!(test.ok(), [Did::Commit]);
    assert_eq!(test.ok(), [Did::CloseProducer]);
    let closed = || Completion::Producer(ProducerCompletion::Closed);
    assert_eq!(test.end(closed()), [Did::NewProducer, Did::Returned]);
    assert!(test.app.has_open_transaction(), "that of the other partition");
    let lost = RebalanceCallback::Lost { partitions: vec![P1] };
    assert_eq!(test.called_back(&lost), [Did::Abort]);
    assert_eq!(test.ok(), [Did::CloseProducer]);
    assert_eq!(test.end(closed()), [Did::NewProducer, Did::Returned]);
    assert_eq!(test.assigned(&[P0], 2), [Did::Init], "it comes back to a new session");
}

#[test]
fn a_fenced_producer_of_one_partition_ends_the_process() {
    let mut test = two_transactions();
    let revoked = RebalanceCallback::Revoked { partitions: vec![P0, P1] };
    test.called_back(&revoked);
    assert_eq!(test.throws(ErrorClass::Fatal), [Did::Returned, Did::CloseConsumer]);
    assert_eq!(test.consumer(ConsumerCompletion::Done), [Did::CloseProducer]);
    let closed = || Completion::Producer(ProducerCompletion::Closed);
    assert_eq!(test.end(closed()), [Did::CloseProducer]);
    assert_eq!(test.end(closed()), [Did::Restart]);
}

// ---- side effects ----

fn with_sink(spec: ProcessorSpec) -> Test {
    let sink = SinkSpec {
        name: "mails".to_owned(),
        id: SinkId(0),
        system: SystemId(0),
        kind: SinkKind::Api { key: IdempotencyKey::None, token: false },
        retry_after: Duration::from_millis(10),
        retries: 1,
        on_unknown: OnUnknown::Retry,
    };
    let sink = Sink::new(sink.into(), super::super::sink::Identities::default(), ActorId(5));
    let mut test = Test::new(spec.clone());
    test.app = ProcessorApp::new(spec, vec![(None, PRODUCER)], Some(sink));
    test.act(|app, now, out| app.start(now, 0, out));
    if test.app.is_transactional() {
        assert_eq!(test.ok(), [Did::Subscribe]);
    }
    assert_eq!(test.consumer(ConsumerCompletion::Done), [Did::Poll]);
    test.assigned(&[P0], 1);
    test
}

impl Test {
    fn answered(&mut self, answer: Answer) -> Vec<Did> {
        let call = CallId(self.app.calls);
        self.act(|app, now, out| app.answered(now, call, answer, out))
    }
}

const PERFORMED: Answer = Ok(oncesim_external::Response::Performed { result: 1, replayed: false });

#[test]
fn an_effect_is_there_before_the_transaction_ends() {
    let spec = spec(ProcessorCommit::Transaction);
    let mut test = with_sink(ProcessorSpec { batch: 2, ..spec });
    assert_eq!(test.polled(&[(P0, 4), (P0, 5)]), [Did::Begin]);
    assert_eq!(test.ok(), [Did::Ask(Operation::Perform)]);
    // A fault of the system is met with another request; the transaction stays open.
    assert_eq!(test.answered(Err(SystemError::Timeout)), []);
    test.now += Duration::from_millis(10);
    assert_eq!(test.act(|app, now, out| app.wake(now, out)), [Did::Ask(Operation::Perform)]);
    assert_eq!(test.answered(PERFORMED), [Did::Send(INVOICES), Did::Ask(Operation::Perform)]);
    let outputs = [Did::Send(INVOICES), Did::SendOffsets(vec![(0, 6)], 1)];
    assert_eq!(test.answered(PERFORMED), outputs);
    // The effect cannot be taken back, and comes again with the record.
    assert_eq!(test.throws(ErrorClass::Abortable), [Did::Abort]);
    assert_eq!(test.ok(), [Did::Committed(vec![0])]);
    assert_eq!(test.offsets(&[(P0, Some(4))]), [Did::Seek(0, 4), Did::Poll]);
    assert_eq!(test.polled(&[(P0, 4)]), [Did::Begin]);
    assert_eq!(test.ok(), [Did::Ask(Operation::Perform)]);
}

#[test]
fn a_record_has_its_processing_time_once() {
    let processing_time = Duration::from_millis(5);
    let spec = spec(ProcessorCommit::AfterProcessing);
    let mut test = with_sink(ProcessorSpec { processing_time, ..spec });
    assert_eq!(test.polled(&[(P0, 4)]), []);
    test.now += processing_time;
    assert_eq!(test.act(|app, now, out| app.wake(now, out)), [Did::Ask(Operation::Perform)]);
    assert_eq!(test.answered(PERFORMED), [Did::Send(INVOICES), Did::Flush]);
}

#[test]
fn a_processor_whose_sink_fails_too_often_ends_itself() {
    let mut test = with_sink(spec(ProcessorCommit::AfterProcessing));
    assert_eq!(test.polled(&[(P0, 4)]), [Did::Ask(Operation::Perform)]);
    assert_eq!(test.answered(Err(SystemError::Unavailable)), []);
    test.now += Duration::from_millis(10);
    assert_eq!(test.act(|app, now, out| app.wake(now, out)), [Did::Ask(Operation::Perform)]);
    assert_eq!(test.answered(Err(SystemError::Unavailable)), [Did::Restart]);
}
