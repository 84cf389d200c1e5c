//! A producer against two brokers that share one log per partition and obey the sequence rules, over
//! connections that break, with requests that are executed late, refused, or not at all.

use std::collections::BTreeMap;

use oncesim_types::{Duration, LeaderEpoch, ProducerEpoch, ProducerId, RecordId, Sequence};
use proptest::prelude::*;

use super::super::*;
use crate::log::batch::RecordBatch;
use crate::message::{
    InitProducerIdResponse, MetadataResponse, PartitionMetadata, ProducePartitionResponse,
    ProduceRequest, Request, TopicMetadata,
};

const T: TopicId = TopicId(0);
const BROKERS: [ActorId; 2] = [ActorId(1), ActorId(2)];
const ME: ActorId = ActorId(9);

#[derive(Default)]
struct Log {
    /// Ordinals by offset.
    records: Vec<u64>,
    epoch: Option<ProducerEpoch>,
    /// First and last sequence, base offset. Kafka remembers five, which is too few when a partition
    /// has moved: five more are in flight on the connection to its new leader (KAFKA-9199).
    cached: Vec<(Sequence, Sequence, i64)>,
    leader: usize,
    leader_epoch: i32,
}

impl Log {
    /// Duplicate, epoch, sequence. Stricter than Kafka, where a partition without state takes any
    /// first sequence: then a refused first batch can never follow the second one.
    fn append(&mut self, batch: &RecordBatch) -> (ErrorCode, i64) {
        let base = self.records.len() as i64;
        if batch.has_producer_id() {
            let (first, last) = (batch.base_sequence, batch.last_sequence());
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
        }
        self.records.extend(batch.data().iter().map(|record| record.id.ordinal()));
        (ErrorCode::None, base)
    }
}

struct World {
    producer: Producer,
    now: Instant,
    timers: BTreeMap<TimerKey, Instant>,
    logs: [Log; 2],
    /// Per broker: requests that have not been executed.
    requests: [VecDeque<(CorrelationId, Request)>; 2],
    /// Answers on their way.
    responses: VecDeque<(usize, CorrelationId, Response)>,
    /// Produce requests of broken connections, which may still be executed.
    limbo: VecDeque<(usize, ProduceRequest)>,
    results: BTreeMap<u64, SendResult>,
    sent: u64,
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
        let (brokers, topics) = (Rc::new(BROKERS), Rc::new([topic]));
        let producer = Producer::new(ME, brokers, Rc::new(config), topics, Mutations::NONE);
        let mut world = World {
            producer,
            now: Instant::ZERO,
            timers: BTreeMap::new(),
            logs: Default::default(),
            requests: Default::default(),
            responses: VecDeque::new(),
            limbo: VecDeque::new(),
            results: BTreeMap::new(),
            sent: 0,
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
                    self.requests[usize::from(to.0) - 1].push_back((correlation, body));
                }
                Effect::SetTimer { key, after } => {
                    self.timers.insert(key, self.now + after);
                }
                Effect::Return(call, Completion::Producer(ProducerCompletion::Sent(result))) => {
                    let before = self.results.insert(call.0, result);
                    assert!(before.is_none(), "send {} completed twice", call.0);
                }
                Effect::Disconnect { peer } => self.lose(usize::from(peer.0) - 1),
                Effect::Note(_) => {}
                other => panic!("a producer does not {other:?}"),
            }
        }
    }

    /// What is on the connection to `broker` is not delivered; produce requests may come late.
    fn lose(&mut self, broker: usize) {
        for (_, request) in std::mem::take(&mut self.requests[broker]) {
            if let Request::Produce(produce) = request {
                self.limbo.push_back((broker, produce));
            }
        }
        self.responses.retain(|&(from, ..)| from != broker);
    }

    fn produce(&mut self, broker: usize, produce: &ProduceRequest, refuse: bool) -> Response {
        let answer = |(partition, batch): &(TopicPartition, Rc<RecordBatch>)| {
            let log = &mut self.logs[usize::from(partition.partition)];
            let (error, base) = if log.leader != broker {
                (ErrorCode::NotLeaderOrFollower, -1)
            } else if refuse {
                (ErrorCode::NotEnoughReplicas, -1)
            } else {
                log.append(batch)
            };
            ProducePartitionResponse { partition: *partition, error, base_offset: Offset(base) }
        };
        Response::Produce(produce.batches.iter().map(answer).collect())
    }

    fn execute(&mut self, broker: usize, refuse: bool) {
        let Some((correlation, request)) = self.requests[broker].pop_front() else { return };
        let response = match &request {
            Request::Produce(produce) => self.produce(broker, produce, refuse),
            Request::Metadata(_) => {
                let of = |log: &Log| PartitionMetadata {
                    leader: Some(BROKERS[log.leader]),
                    leader_epoch: LeaderEpoch(log.leader_epoch),
                };
                let partitions = self.logs.iter().map(of).collect();
                let topics = vec![TopicMetadata { topic: T, error: ErrorCode::None, partitions }];
                Response::Metadata(Box::new(MetadataResponse { brokers: BROKERS.into(), topics }))
            }
            Request::InitProducerId(_) => Response::InitProducerId(InitProducerIdResponse {
                error: ErrorCode::None,
                producer_id: ProducerId(1),
                producer_epoch: ProducerEpoch(0),
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

    fn act(&mut self, choice: (u8, u8)) {
        let (what, which) = choice;
        let either = usize::from(which % 2);
        match what {
            0..=3 => {
                let id = RecordId::new(ME, self.sent);
                let call = CallId(self.sent);
                self.sent += 1;
                let (key, value, timestamp) = (None, Some(1), self.now);
                let record = Record { id, key, value, size: 50, timestamp };
                let partition = Some(u16::from(which % 2));
                let send = ProducerCall::Send { topic: T, partition, record };
                self.step(Input::Call(call, Call::Producer(send)));
            }
            4..=6 => self.execute(either, false),
            7 => self.execute(either, true),
            8..=10 => self.respond(),
            11 => {
                self.lose(either);
                self.step(Input::Disconnected { peer: BROKERS[either] });
            }
            12 => {
                self.logs[either].leader ^= 1;
                self.logs[either].leader_epoch += 1;
            }
            13 => {
                if let Some((broker, produce)) = self.limbo.pop_front() {
                    self.produce(broker, &produce, false);
                }
            }
            _ => self.pass(Duration::from_millis(u64::from(which))),
        }
    }

    /// No more faults: everything is answered.
    fn heal(&mut self) {
        for _ in 0..2_000 {
            if self.producer.settled().is_ok() {
                break;
            }
            for broker in [0, 1] {
                while !self.requests[broker].is_empty() {
                    self.execute(broker, false);
                }
            }
            while !self.responses.is_empty() {
                self.respond();
            }
            self.pass(Duration::from_millis(50));
        }
        assert_eq!(self.producer.settled(), Ok(()));
        assert_eq!(self.results.len() as u64, self.sent, "every send completes");
        while let Some((broker, produce)) = self.limbo.pop_front() {
            self.produce(broker, &produce, false);
        }
    }

    fn times_in_log(&self, ordinal: u64) -> usize {
        self.logs.iter().flat_map(|log| &log.records).filter(|&&other| other == ordinal).count()
    }

    /// What holds with and without idempotence.
    fn check_results(&self) {
        for (&ordinal, result) in &self.results {
            match (result.error, result.partition) {
                (ErrorCode::None, Some(partition)) => {
                    let log = &self.logs[usize::from(partition.partition)];
                    let offset = usize::try_from(result.offset.0).expect("an offset");
                    assert_eq!(log.records.get(offset), Some(&ordinal));
                }
                _ if !result.maybe_appended => {
                    assert_eq!(self.times_in_log(ordinal), 0, "{ordinal}: {result:?}");
                }
                _ => {}
            }
        }
    }
}

fn script() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((0_u8..16, 0_u8..200), 0..250)
}

fn config(idempotence: bool, linger: u64, batch_size: u32, max_in_flight: u32) -> ProducerConfig {
    let linger = Duration::from_millis(linger);
    ProducerConfig { idempotence, linger, batch_size, max_in_flight, ..ProducerConfig::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// As long as nothing expires, an idempotent producer is exactly-once and in order.
    #[test]
    fn idempotent_sends_are_there_once_and_in_order(
        script in script(), linger in 0_u64..10, size in 50_u32..200, in_flight in 1_u32..6,
    ) {
        let mut world = World::new(config(true, linger, size, in_flight));
        script.into_iter().for_each(|choice| world.act(choice));
        world.heal();
        world.check_results();
        for log in &world.logs {
            prop_assert!(log.records.is_sorted_by(|a, b| a < b), "{:?}", log.records);
        }
        for (ordinal, result) in &world.results {
            prop_assert_eq!(result.error, ErrorCode::None, "{}", ordinal);
        }
    }

    /// One request in flight keeps the order without sequences, as long as nothing is executed
    /// late; several, and duplicates, are legal.
    #[test]
    fn sends_without_idempotence_complete_and_tell_the_truth(
        script in script(), linger in 0_u64..10, size in 50_u32..200, in_flight in 1_u32..8,
        retries in 0_u32..5,
    ) {
        let config = ProducerConfig { retries, ..config(false, linger, size, in_flight) };
        let mut world = World::new(config);
        script.into_iter().for_each(|choice| world.act(choice));
        world.heal();
        world.check_results();
    }

    /// With short deadlines everything still completes, and certain failures are certain.
    #[test]
    fn batches_that_expire_tell_the_truth(
        script in script(), linger in 0_u64..10, size in 50_u32..200, expire in 50_u64..800,
        memory in 200_u64..2_000, idempotence in any::<bool>(),
    ) {
        let config = ProducerConfig {
            delivery_timeout: Duration::from_millis(expire),
            request_timeout: Duration::from_millis(expire / 2),
            max_block: Duration::from_millis(expire),
            buffer_memory: memory,
            ..config(idempotence, linger, size, 5)
        };
        let mut world = World::new(config);
        script.into_iter().for_each(|choice| world.act(choice));
        world.heal();
        world.check_results();
    }
}
