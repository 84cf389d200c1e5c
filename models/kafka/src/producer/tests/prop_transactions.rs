//! A transactional producer against two brokers, one of which coordinates at a time, over
//! connections that break, with requests that are executed late, refused, or not at all. Nobody
//! else has its `transactional.id`, and a transaction ends everywhere at once.

use std::collections::{BTreeMap, BTreeSet};

use oncesim_types::{
    Duration, GroupId, LeaderEpoch, ProducerEpoch, ProducerId, RecordId, Sequence, TransactionalId,
};
use proptest::prelude::*;

use super::super::*;
use crate::config::TransactionVersion;
use crate::log::batch::RecordBatch;
use crate::message::{
    EndTxnRequest, EndTxnResponse, FindCoordinatorResponse, InitProducerIdRequest,
    InitProducerIdResponse, MetadataResponse, PartitionMetadata, ProducePartitionResponse,
    ProduceRequest, Request, TopicMetadata,
};

const T: TopicId = TopicId(0);
const BROKERS: [ActorId; 2] = [ActorId(1), ActorId(2)];
const ME: ActorId = ActorId(9);
const PID: ProducerId = ProducerId(1);

#[derive(Default)]
struct Log {
    /// Ordinals by offset, and whether they were committed, once that is decided.
    records: Vec<(u64, Option<bool>)>,
    epoch: Option<ProducerEpoch>,
    /// First and last sequence, base offset.
    cached: Vec<(Sequence, Sequence, i64)>,
    leader: usize,
    leader_epoch: i32,
}

impl Log {
    fn append(&mut self, batch: &RecordBatch) -> (ErrorCode, i64) {
        let (first, last) = (batch.base_sequence, batch.last_sequence());
        let base = self.records.len() as i64;
        if self.epoch == Some(batch.producer_epoch) {
            let same = self.cached.iter().find(|cached| (cached.0, cached.1) == (first, last));
            if let Some(&(.., base)) = same {
                return (ErrorCode::None, base);
            }
            let next = self.cached.last().map_or(Sequence::ZERO, |cached| cached.1.plus(1));
            if first != next {
                return (ErrorCode::OutOfOrderSequenceNumber, -1);
            }
        } else if self.epoch > Some(batch.producer_epoch) {
            return (ErrorCode::InvalidProducerEpoch, -1);
        } else if first != Sequence::ZERO {
            return (ErrorCode::OutOfOrderSequenceNumber, -1);
        } else {
            self.cached.clear();
        }
        self.epoch = Some(batch.producer_epoch);
        self.cached.push((first, last, base));
        self.records.extend(batch.data().iter().map(|record| (record.id.ordinal(), None)));
        (ErrorCode::None, base)
    }

    /// The marker, with the epoch that it carries.
    fn end(&mut self, result: TransactionResult, epoch: ProducerEpoch) {
        for (_, committed) in &mut self.records {
            committed.get_or_insert(result == TransactionResult::Commit);
        }
        if self.epoch < Some(epoch) {
            self.epoch = Some(epoch);
            self.cached.clear();
        }
    }
}

/// What the coordinator, wherever it is, knows.
struct Coordinator {
    broker: usize,
    epoch: ProducerEpoch,
    ongoing: bool,
    partitions: BTreeSet<u16>,
    completed: Option<TransactionResult>,
}

/// What the application knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum App {
    /// It may call this.
    Next(Step),
    /// It waits for this.
    Waits(Step, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Init,
    Begin,
    /// Send, send offsets, or end it.
    Work,
    Offsets,
    End(TransactionResult),
}

struct World {
    producer: Producer,
    version: TransactionVersion,
    now: Instant,
    timers: BTreeMap<TimerKey, Instant>,
    logs: [Log; 2],
    coordinator: Coordinator,
    requests: [VecDeque<(CorrelationId, Request)>; 2],
    responses: VecDeque<(usize, CorrelationId, Response)>,
    /// Produce requests of broken connections, which may still be executed.
    limbo: VecDeque<(usize, ProduceRequest)>,
    app: App,
    calls: u64,
    number: u64,
    /// The transaction of each send.
    sends: BTreeMap<u64, u64>,
    results: BTreeMap<u64, SendResult>,
    returned: BTreeMap<u64, Result<(), TransactionError>>,
    /// How transactions ended, for certain.
    ended: BTreeMap<u64, TransactionResult>,
    /// Under version 2: the transaction that an epoch belongs to.
    epochs: BTreeMap<ProducerEpoch, u64>,
    closed: bool,
    /// Whether batches expire, also in flight.
    expires: bool,
}

impl World {
    fn new(config: ProducerConfig) -> Self {
        let topic = TopicConfig {
            topic: T,
            partitions: 2,
            replication_factor: 2,
            min_insync_replicas: 1,
            unclean_leader_election: false,
            flush_messages: None,
            internal: None,
        };
        let version = config.transaction_version;
        let expires = config.delivery_timeout < Duration::from_secs(10);
        let (brokers, topics) = (Rc::new(BROKERS), Rc::new([topic]));
        let producer = Producer::new(ME, brokers, Rc::new(config), topics, Mutations::NONE);
        let coordinator = Coordinator {
            broker: 0,
            epoch: ProducerEpoch(0),
            ongoing: false,
            partitions: BTreeSet::new(),
            completed: None,
        };
        let mut world = World {
            producer,
            version,
            now: Instant::ZERO,
            timers: BTreeMap::new(),
            logs: Default::default(),
            coordinator,
            requests: Default::default(),
            responses: VecDeque::new(),
            limbo: VecDeque::new(),
            app: App::Next(Step::Init),
            calls: 0,
            number: 0,
            sends: BTreeMap::new(),
            results: BTreeMap::new(),
            returned: BTreeMap::new(),
            ended: BTreeMap::new(),
            epochs: BTreeMap::new(),
            closed: false,
            expires,
        };
        world.step(Input::Start);
        world
    }

    fn step(&mut self, input: Input) {
        let mut effects = Effects::default();
        self.producer.step(self.now, input, &mut effects);
        for effect in effects.0 {
            match effect {
                Effect::Send { to, correlation, body, .. } => {
                    self.check_request(&body);
                    self.requests[usize::from(to.0) - 1].push_back((correlation, body));
                }
                Effect::SetTimer { key, after } => {
                    self.timers.insert(key, self.now + after);
                }
                Effect::Return(call, Completion::Producer(completion)) => match completion {
                    ProducerCompletion::Sent(result) => {
                        let before = self.results.insert(call.0, result);
                        assert!(before.is_none(), "send {} completed twice", call.0);
                    }
                    ProducerCompletion::Transaction(outcome) => {
                        let before = self.returned.insert(call.0, outcome);
                        assert!(before.is_none(), "call {} completed twice", call.0);
                    }
                    ProducerCompletion::Closed => {
                        assert!(!std::mem::replace(&mut self.closed, true));
                    }
                    ProducerCompletion::Flushed => panic!("nobody flushes"),
                },
                Effect::Disconnect { peer } => self.lose(usize::from(peer.0) - 1),
                Effect::Note(note) => {
                    assert!(!matches!(note, crate::note::Note::MutationHit));
                }
                other => panic!("a producer does not {other:?}"),
            }
        }
    }

    /// Laws of what a client sends.
    fn check_request(&mut self, request: &Request) {
        match request {
            Request::EndTxn(end) => {
                for (_, request) in self.requests.iter().flatten() {
                    let Request::Produce(produce) = request else { continue };
                    let number = produce.transaction.as_deref().map(|it| it.number);
                    let overtaken = number == Some(end.number);
                    assert!(!overtaken || self.expires, "EndTxn overtakes a batch");
                }
                let of_it = self.sends.iter().filter(|(_, number)| **number == end.number.0);
                for (send, _) in of_it {
                    let done = self.results.get(send);
                    assert!(done.is_some(), "EndTxn overtakes send {send}");
                    if end.result == TransactionResult::Commit {
                        let error = done.map(|result| result.error);
                        assert_eq!(error, Some(ErrorCode::None), "a torn commit");
                    }
                }
            }
            Request::Produce(produce) => {
                let number =
                    produce.transaction.as_deref().expect("always in a transaction").number.0;
                for (_, batch) in &produce.batches {
                    assert!(batch.transactional);
                    for record in batch.data() {
                        assert_eq!(self.sends.get(&record.id.ordinal()), Some(&number));
                    }
                    if self.version == TransactionVersion::V2 {
                        let owner = *self.epochs.entry(batch.producer_epoch).or_insert(number);
                        assert_eq!(owner, number, "two transactions in one epoch");
                    }
                }
            }
            _ => {}
        }
    }

    fn lose(&mut self, broker: usize) {
        for (_, request) in std::mem::take(&mut self.requests[broker]) {
            if let Request::Produce(produce) = request {
                self.limbo.push_back((broker, produce));
            }
        }
        self.responses.retain(|&(from, ..)| from != broker);
    }

    fn produce(&mut self, broker: usize, produce: &ProduceRequest, refuse: bool) -> Response {
        let mut answers = Vec::new();
        for (partition, batch) in &produce.batches {
            let log = &mut self.logs[usize::from(partition.partition)];
            let coordinator = &mut self.coordinator;
            let v2 = self.version == TransactionVersion::V2;
            let known = coordinator.partitions.contains(&partition.partition);
            let (error, base) = if log.leader != broker {
                (ErrorCode::NotLeaderOrFollower, -1)
            } else if refuse {
                (ErrorCode::NotEnoughReplicas, -1)
            } else if batch.producer_epoch != coordinator.epoch {
                (ErrorCode::InvalidProducerEpoch, -1)
            } else if !v2 && !known {
                (ErrorCode::InvalidTxnState, -1)
            } else {
                coordinator.ongoing = true;
                coordinator.partitions.insert(partition.partition);
                log.append(batch)
            };
            let base_offset = Offset(base);
            answers.push(ProducePartitionResponse { partition: *partition, error, base_offset });
        }
        Response::Produce(answers)
    }

    fn init(&mut self, init: &InitProducerIdRequest) -> ErrorCode {
        let coordinator = &mut self.coordinator;
        if let Some((_, epoch)) = init.current {
            if epoch.next() == coordinator.epoch {
                return ErrorCode::None;
            }
            if epoch != coordinator.epoch {
                return ErrorCode::ProducerFenced;
            }
        }
        coordinator.epoch = coordinator.epoch.next();
        coordinator.completed = None;
        if std::mem::take(&mut coordinator.ongoing) {
            // Added partitions of which the client never heard.
            coordinator.partitions.clear();
            let (abort, epoch) = (TransactionResult::Abort, coordinator.epoch);
            self.logs.iter_mut().for_each(|log| log.end(abort, epoch));
        }
        ErrorCode::None
    }

    fn end_txn(&mut self, end: &EndTxnRequest) -> EndTxnResponse {
        let v2 = self.version == TransactionVersion::V2;
        let coordinator = &mut self.coordinator;
        let retry = v2 && end.producer_epoch.next() == coordinator.epoch;
        let abort = end.result == TransactionResult::Abort;
        let repeated = (retry || !v2) && coordinator.completed == Some(end.result);
        let error = if !retry && end.producer_epoch != coordinator.epoch {
            ErrorCode::ProducerFenced
        } else if repeated || !retry && (coordinator.ongoing || v2 && abort) {
            ErrorCode::None
        } else {
            ErrorCode::InvalidTxnState
        };
        let executes = error.is_ok() && !retry && (v2 || coordinator.ongoing);
        if executes {
            coordinator.ongoing = false;
            coordinator.completed = Some(end.result);
            coordinator.partitions.clear();
            if v2 {
                coordinator.epoch = coordinator.epoch.next();
            } else {
                // Under version 1 they could join the next transaction: those of broken connections,
                // and those that a batch's deadline has let the end of the transaction overtake.
                self.limbo.clear();
                for queue in &mut self.requests {
                    queue.retain(|(_, request)| !matches!(request, Request::Produce(_)));
                }
            }
            let epoch = coordinator.epoch;
            self.logs.iter_mut().for_each(|log| log.end(end.result, epoch));
        }
        let (pid, epoch) = match v2 && error.is_ok() {
            true => (PID, self.coordinator.epoch),
            false => (ProducerId::NONE, ProducerEpoch::NONE),
        };
        EndTxnResponse { error, producer_id: pid, producer_epoch: epoch }
    }

    /// Executes the oldest request at `broker`; a coordinator answers `refusal` instead.
    fn execute(&mut self, broker: usize, refusal: ErrorCode) {
        let Some((correlation, request)) = self.requests[broker].pop_front() else { return };
        let moved = match (self.coordinator.broker == broker, refusal) {
            (true, refusal) => refusal,
            (false, _) => ErrorCode::NotCoordinator,
        };
        let response = match request {
            Request::Produce(produce) => self.produce(broker, &produce, !refusal.is_ok()),
            Request::Metadata(_) => {
                let of = |log: &Log| PartitionMetadata {
                    leader: Some(BROKERS[log.leader]),
                    leader_epoch: LeaderEpoch(log.leader_epoch),
                };
                let partitions = self.logs.iter().map(of).collect();
                let topics = vec![TopicMetadata { topic: T, error: ErrorCode::None, partitions }];
                Response::Metadata(Box::new(MetadataResponse { brokers: BROKERS.into(), topics }))
            }
            Request::FindCoordinator(_) => Response::FindCoordinator(FindCoordinatorResponse {
                error: ErrorCode::None,
                coordinator: Some(BROKERS[self.coordinator.broker]),
            }),
            Request::InitProducerId(init) => {
                let error = if moved.is_ok() { self.init(&init) } else { moved };
                let producer_epoch = self.coordinator.epoch;
                let answer = InitProducerIdResponse { error, producer_id: PID, producer_epoch };
                Response::InitProducerId(answer)
            }
            Request::AddPartitionsToTxn(add) => {
                assert_eq!(add.producer_epoch, self.coordinator.epoch);
                assert_eq!(self.version, TransactionVersion::V1);
                if moved.is_ok() {
                    self.coordinator.ongoing = true;
                    self.coordinator.partitions.extend(add.partitions.iter().map(|p| p.partition));
                }
                let answers = add.partitions.iter().map(|&p| (p, moved)).collect();
                Response::AddPartitionsToTxn(answers)
            }
            Request::AddOffsetsToTxn(_) => {
                assert_eq!(self.version, TransactionVersion::V1);
                self.coordinator.ongoing |= moved.is_ok();
                Response::AddOffsetsToTxn(moved)
            }
            Request::TxnOffsetCommit(commit) => {
                assert_eq!(commit.producer_epoch, self.coordinator.epoch);
                self.coordinator.ongoing |= moved.is_ok();
                let answers = commit.offsets.iter().map(|&(p, ..)| (p, moved)).collect();
                Response::TxnOffsetCommit(answers)
            }
            Request::EndTxn(end) => Response::EndTxn(if moved.is_ok() {
                self.end_txn(&end)
            } else {
                let (producer_id, producer_epoch) = (ProducerId::NONE, ProducerEpoch::NONE);
                EndTxnResponse { error: moved, producer_id, producer_epoch }
            }),
            other => panic!("a producer does not ask {other:?}"),
        };
        self.responses.push_back((broker, correlation, response));
    }

    fn respond(&mut self) {
        if let Some((broker, correlation, body)) = self.responses.pop_front() {
            self.step(Input::Response { from: BROKERS[broker], correlation, body });
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some((&key, &at)) = self.timers.iter().min_by_key(|&(key, at)| (*at, *key)) {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.timers.remove(&key);
            self.step(Input::Timer(key));
        }
        self.now = end;
    }

    fn call(&mut self, call: ProducerCall) -> u64 {
        let number = self.calls;
        self.calls += 1;
        self.step(Input::Call(CallId(number), Call::Producer(call)));
        number
    }

    fn send(&mut self, partition: u16) {
        let ordinal = self.calls;
        let id = RecordId::new(ME, ordinal);
        let (key, value, timestamp) = (None, Some(1), self.now);
        let record = Record { id, key, value, size: 50, timestamp };
        let partition = Some(partition);
        self.sends.insert(ordinal, self.number);
        self.call(ProducerCall::Send { topic: T, partition, record });
    }

    /// What the application does, following the documentation.
    fn run_app(&mut self, which: u8) {
        match self.app {
            App::Next(step) => self.app_calls(step, which),
            App::Waits(step, call) => {
                let Some(outcome) = self.returned.get(&call).copied() else { return };
                self.app_sees(step, outcome);
            }
        }
    }

    fn app_calls(&mut self, step: Step, which: u8) {
        let (step, call) = match step {
            Step::Init => (step, ProducerCall::InitTransactions),
            Step::Begin => {
                self.number += 1;
                let number = TransactionNumber(self.number);
                (step, ProducerCall::BeginTransaction { number })
            }
            Step::Work if which % 8 < 5 => return self.send(u16::from(which % 2)),
            Step::Work if which % 8 == 5 => {
                let offsets = vec![(TopicPartition::new(T, 0), Offset(1), LeaderEpoch(0))];
                let (group, consumer) = (GroupId(0), GroupMetadata::NONE);
                (Step::Offsets, ProducerCall::SendOffsets { group, offsets, consumer })
            }
            Step::Work | Step::Offsets => {
                let result = match which % 8 {
                    6 => TransactionResult::Commit,
                    _ => TransactionResult::Abort,
                };
                (Step::End(result), ProducerCall::EndTransaction(result))
            }
            Step::End(result) => (step, ProducerCall::EndTransaction(result)),
        };
        let call = self.call(call);
        self.app = App::Waits(step, call);
    }

    fn app_sees(&mut self, step: Step, outcome: Result<(), TransactionError>) {
        const ABORT: Step = Step::End(TransactionResult::Abort);
        let next = match (step, outcome) {
            (Step::Init, Ok(())) => Step::Begin,
            (Step::Begin | Step::Offsets, Ok(())) => Step::Work,
            (Step::End(result), Ok(())) => {
                self.ended.insert(self.number, result);
                Step::Begin
            }
            (step, Err(error)) => match (error.class, step) {
                (ErrorClass::Abortable, _) => ABORT,
                (ErrorClass::Timeout, Step::Offsets) => ABORT,
                (ErrorClass::Timeout, again) => again,
                (ErrorClass::Fatal | ErrorClass::IllegalState, _) => {
                    panic!("nobody fences, and every call is legal: {step:?}, {error:?}")
                }
            },
            (Step::Work, Ok(())) => unreachable!("work is no call"),
        };
        self.app = App::Next(next);
    }

    fn act(&mut self, (what, which): (u8, u8)) {
        let either = usize::from(which % 2);
        match what {
            0..=5 => self.run_app(which),
            6..=8 => {
                while !self.requests[either].is_empty() {
                    self.execute(either, ErrorCode::None);
                }
            }
            9 => self.execute(either, ErrorCode::None),
            10 => {
                let refusals = [
                    ErrorCode::ConcurrentTransactions,
                    ErrorCode::CoordinatorLoadInProgress,
                    ErrorCode::CoordinatorNotAvailable,
                    ErrorCode::NotCoordinator,
                    ErrorCode::RequestTimedOut,
                ];
                self.execute(either, refusals[usize::from(which) % refusals.len()]);
            }
            11..=13 => {
                while !self.responses.is_empty() {
                    self.respond();
                }
            }
            14 => self.respond(),
            // Faults are rarer than work.
            15..=18 if which >= 60 => self.run_app(which),
            15 => {
                self.lose(either);
                self.step(Input::Disconnected { peer: BROKERS[either] });
            }
            16 => {
                self.logs[either].leader ^= 1;
                self.logs[either].leader_epoch += 1;
            }
            17 => self.coordinator.broker ^= 1,
            18 => {
                if let Some((broker, produce)) = self.limbo.pop_front() {
                    self.produce(broker, &produce, false);
                }
            }
            _ => self.pass(Duration::from_millis(u64::from(which) / 2)),
        }
    }

    /// No more faults: everything is answered, the application ends its transaction and closes.
    fn heal(&mut self) {
        let mut closing = false;
        for _ in 0..4_000 {
            if closing && self.closed && self.producer.settled().is_ok() {
                break;
            }
            match self.app {
                App::Next(Step::Work) => self.run_app(6),
                App::Next(Step::Begin) if closing => {}
                App::Next(Step::Begin) => {
                    closing = true;
                    self.call(ProducerCall::Close);
                }
                _ => self.run_app(0),
            }
            for broker in [0, 1] {
                while !self.requests[broker].is_empty() {
                    self.execute(broker, ErrorCode::None);
                }
            }
            while !self.responses.is_empty() {
                self.respond();
            }
            self.pass(Duration::from_millis(50));
        }
        assert_eq!(self.producer.settled(), Ok(()));
        assert!(self.closed, "{:?}", self.app);
        for send in self.sends.keys() {
            assert!(self.results.contains_key(send), "send {send} was lost");
        }
    }

    /// All or nothing, and what the application was told.
    fn check(&self) {
        let mut committed = BTreeMap::<u64, usize>::new();
        for &(ordinal, end) in self.logs.iter().flat_map(|log| &log.records) {
            assert!(end.is_some(), "{ordinal} is in no transaction that ended");
            if end == Some(true) {
                *committed.entry(ordinal).or_default() += 1;
            }
        }
        for (ordinal, number) in &self.sends {
            let times = committed.get(ordinal).copied().unwrap_or(0);
            let expected = match self.ended.get(number) {
                Some(TransactionResult::Commit) => {
                    let error = self.results[ordinal].error;
                    if error == ErrorCode::None { 1 } else { 0 }
                }
                Some(TransactionResult::Abort) => 0,
                // `send()` outside of a transaction.
                None => 0,
            };
            assert_eq!(times, expected, "send {ordinal} of {number}");
        }
    }
}

fn script() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((0_u8..22, 0_u8..200), 0..500)
}

fn config(v2: bool, linger: u64, batch_size: u32) -> ProducerConfig {
    ProducerConfig {
        linger: Duration::from_millis(linger),
        batch_size,
        retry_backoff: Duration::from_millis(10),
        transactional_id: Some(TransactionalId(0)),
        transaction_version: if v2 { TransactionVersion::V2 } else { TransactionVersion::V1 },
        ..ProducerConfig::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// An application that follows the documentation gets all or nothing of each transaction, is
    /// never fenced by itself, and every call returns once.
    #[test]
    fn transactions_are_all_or_nothing(
        script in script(), v2 in any::<bool>(), linger in 0_u64..10, size in 50_u32..200,
    ) {
        let mut world = World::new(config(v2, linger, size));
        script.into_iter().for_each(|choice| world.act(choice));
        world.heal();
        world.check();
    }

    /// So it is when batches expire and calls time out.
    #[test]
    fn transactions_are_all_or_nothing_with_short_deadlines(
        script in script(), v2 in any::<bool>(), linger in 0_u64..10, size in 50_u32..200,
        expire in 50_u64..800, memory in 200_u64..2_000,
    ) {
        let config = ProducerConfig {
            delivery_timeout: Duration::from_millis(expire),
            request_timeout: Duration::from_millis(expire / 2),
            max_block: Duration::from_millis(expire),
            buffer_memory: memory,
            ..config(v2, linger, size)
        };
        let mut world = World::new(config);
        script.into_iter().for_each(|choice| world.act(choice));
        world.heal();
        world.check();
    }
}
