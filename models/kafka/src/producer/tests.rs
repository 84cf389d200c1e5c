//! Stories of one producer and its brokers. The test plays the brokers.

mod idempotence;
mod prop;
mod prop_transactions;
mod transactions;

use oncesim_types::{Duration, ProducerEpoch, ProducerId, RecordId, Sequence};

use super::*;
use crate::message::{
    Acks, InitProducerIdResponse, MetadataResponse, PartitionMetadata, ProducePartitionResponse,
    ProduceRequest, Request, TopicMetadata,
};
use crate::mutation::Mutation;
use crate::note::Note;

const T: TopicId = TopicId(0);
const P0: TopicPartition = TopicPartition::new(T, 0);
const P1: TopicPartition = TopicPartition::new(T, 1);
const B1: ActorId = ActorId(1);
const B2: ActorId = ActorId(2);
const ME: ActorId = ActorId(9);

/// A produce request on its way.
struct Sent {
    to: ActorId,
    correlation: CorrelationId,
    request: ProduceRequest,
}

impl Sent {
    /// Per batch: partition, epoch, first sequence, ordinals of its records.
    fn batches(&self) -> Vec<(u16, i16, i32, Vec<u64>)> {
        let of = |(partition, batch): &(TopicPartition, Rc<crate::log::batch::RecordBatch>)| {
            let records = batch.data().iter().map(|record| record.id.ordinal()).collect();
            let (epoch, sequence) = (batch.producer_epoch.0, batch.base_sequence.0);
            (partition.partition, epoch, sequence, records)
        };
        self.request.batches.iter().map(of).collect()
    }

    fn records(&self) -> Vec<u64> {
        self.batches().into_iter().flat_map(|(.., records)| records).collect()
    }
}

struct Story {
    producer: Producer,
    now: Instant,
    timers: Vec<(Instant, TimerKey)>,
    /// Requests that are not produce requests.
    asked: Vec<(ActorId, CorrelationId, Request)>,
    sent: VecDeque<Sent>,
    returned: Vec<(u64, ProducerCompletion)>,
    notes: Vec<Note>,
    disconnects: Vec<ActorId>,
    calls: u64,
    /// Calls of the transaction API, numbered from 1000.
    transaction_calls: u64,
}

impl Story {
    /// Two brokers; partition 0 is led by broker 1, partition 1 by broker 2. The session is ready.
    fn new(config: ProducerConfig, mutations: Mutations) -> Self {
        let mut story = Story::unready(config, mutations);
        story.step(Input::Start);
        story.answer_others(&[Some(B1), Some(B2)], 0);
        story.step_call(ProducerCall::Flush);
        story.returned.clear();
        story
    }

    fn unready(config: ProducerConfig, mutations: Mutations) -> Self {
        let topic = TopicConfig {
            topic: T,
            partitions: 2,
            replication_factor: 2,
            min_insync_replicas: 1,
            unclean_leader_election: false,
            flush_messages: None,
            internal: None,
        };
        let brokers = Rc::new([B1, B2]);
        let producer = Producer::new(ME, brokers, Rc::new(config), Rc::new([topic]), mutations);
        Story {
            producer,
            now: Instant::ZERO,
            timers: Vec::new(),
            asked: Vec::new(),
            sent: VecDeque::new(),
            returned: Vec::new(),
            notes: Vec::new(),
            disconnects: Vec::new(),
            calls: 0,
            transaction_calls: 0,
        }
    }

    fn step(&mut self, input: Input) {
        let mut effects = Effects::default();
        self.producer.step(self.now, input, &mut effects);
        for effect in effects.0 {
            match effect {
                Effect::Send { to, correlation, body: Request::Produce(request), .. } => {
                    self.sent.push_back(Sent { to, correlation, request });
                }
                Effect::Send { to, correlation, body, .. } => {
                    self.asked.push((to, correlation, body));
                }
                Effect::SetTimer { key, after } => {
                    self.timers.retain(|&(_, other)| other != key);
                    self.timers.push((self.now + after, key));
                }
                Effect::Return(call, Completion::Producer(completion)) => {
                    self.returned.push((call.0, completion));
                }
                Effect::Note(note) => self.notes.push(note),
                Effect::Disconnect { peer } => self.disconnects.push(peer),
                other => panic!("a producer does not {other:?}"),
            }
        }
    }

    fn step_call(&mut self, call: ProducerCall) {
        self.calls += 1;
        self.step(Input::Call(CallId(self.calls), Call::Producer(call)));
    }

    /// Sends records with these ordinals to partition 0, each in a batch of its own (if they are
    /// that large).
    fn send(&mut self, ordinals: &[u64]) {
        for &ordinal in ordinals {
            self.send_to(0, ordinal);
        }
    }

    fn send_to(&mut self, partition: u16, ordinal: u64) {
        let record = Record {
            id: RecordId::new(ME, ordinal),
            key: None,
            value: Some(1),
            size: 100,
            timestamp: self.now,
        };
        self.calls = ordinal;
        let call = ProducerCall::Send { topic: T, partition: Some(partition), record };
        self.step(Input::Call(CallId(ordinal), Call::Producer(call)));
    }

    /// Lets `ms` milliseconds pass, with whatever timers go off.
    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(&(at, key)) = self.timers.iter().filter(|(at, _)| *at <= end).min() {
            self.now = self.now.max(at);
            self.timers.retain(|&timer| timer != (at, key));
            self.step(Input::Timer(key));
        }
        self.now = end;
    }

    fn take(&mut self) -> Sent {
        self.sent.pop_front().expect("a produce request")
    }

    fn answer(&mut self, sent: &Sent, error: ErrorCode, offset: i64) {
        let of = |&(partition, _): &(TopicPartition, _)| ProducePartitionResponse {
            partition,
            error,
            base_offset: Offset(offset),
        };
        let answers = sent.request.batches.iter().map(of).collect();
        let body = Response::Produce(answers);
        self.step(Input::Response { from: sent.to, correlation: sent.correlation, body });
    }

    /// Answers metadata (with these leaders in `epoch`) and producer id requests.
    fn answer_others(&mut self, leaders: &[Option<ActorId>], epoch: i32) {
        for (from, correlation, request) in std::mem::take(&mut self.asked) {
            let body = match request {
                Request::Metadata(_) => {
                    let of =
                        |&leader| PartitionMetadata { leader, leader_epoch: LeaderEpoch(epoch) };
                    let partitions = leaders.iter().map(of).collect();
                    let topic = TopicMetadata { topic: T, error: ErrorCode::None, partitions };
                    let brokers = vec![B1, B2];
                    Response::Metadata(Box::new(MetadataResponse { brokers, topics: vec![topic] }))
                }
                Request::InitProducerId(_) => Response::InitProducerId(InitProducerIdResponse {
                    error: ErrorCode::None,
                    producer_id: ProducerId(7),
                    producer_epoch: ProducerEpoch(0),
                }),
                other => panic!("a producer does not ask {other:?}"),
            };
            self.step(Input::Response { from, correlation, body });
        }
    }

    /// Answers metadata requests alone: broker 1 leads partition 0, broker 2 partition 1.
    fn answer_metadata(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        let is_metadata = |it: &(_, _, Request)| matches!(it.2, Request::Metadata(_));
        let (metadata, others) = asked.into_iter().partition(is_metadata);
        self.asked = metadata;
        self.answer_others(&[Some(B1), Some(B2)], 0);
        self.asked.extend(others);
    }

    /// What became of the record with this ordinal.
    fn result(&self, ordinal: u64) -> Option<SendResult> {
        self.returned.iter().find_map(|(call, completion)| match completion {
            ProducerCompletion::Sent(result) if *call == ordinal => Some(*result),
            _ => None,
        })
    }

    fn outcome(&self, ordinal: u64) -> (ErrorCode, bool) {
        let result = self.result(ordinal).expect("a completed send");
        (result.error, result.maybe_appended)
    }
}

/// Every record is a batch of its own, and goes at once.
fn singly() -> ProducerConfig {
    ProducerConfig { linger: Duration::ZERO, batch_size: 100, ..ProducerConfig::default() }
}

fn plain() -> ProducerConfig {
    ProducerConfig { idempotence: false, ..singly() }
}

/// A story whose metadata is known: record 0 is acknowledged at offset 0.
fn begun(config: ProducerConfig, mutations: Mutations) -> Story {
    let mut story = Story::new(config, mutations);
    story.send(&[0]);
    story.answer_others(&[Some(B1), Some(B2)], 0);
    let first = story.take();
    story.answer(&first, ErrorCode::None, 0);
    assert_eq!(story.outcome(0), (ErrorCode::None, false));
    story.returned.clear();
    story
}

#[test]
fn a_first_send_waits_for_producer_id_and_metadata() {
    let mut story = Story::unready(singly(), Mutations::NONE);
    story.step(Input::Start);
    story.send(&[0]);
    assert_eq!(story.asked.len(), 2);
    assert!(story.sent.is_empty());
    story.answer_others(&[Some(B1), Some(B2)], 0);
    let first = story.take();
    assert_eq!((first.to, first.batches()), (B1, vec![(0, 0, 0, vec![0])]));
    assert!(matches!(story.notes[..], [Note::ProducerSession { .. }]), "{:?}", story.notes);
}

#[test]
fn lingering_records_share_a_batch_and_partitions_of_a_broker_share_a_request() {
    let config = ProducerConfig { linger: Duration::from_millis(5), ..ProducerConfig::default() };
    let mut story = Story::new(config, Mutations::NONE);
    story.send(&[0]);
    story.answer_others(&[Some(B1), Some(B1)], 0);
    story.pass(4);
    story.send(&[1]);
    story.send_to(1, 2);
    assert!(story.sent.is_empty());
    story.pass(1);
    let only = story.take();
    assert_eq!(only.batches(), [(0, 0, 0, vec![0, 1]), (1, 0, 0, vec![2])]);
    assert!(story.sent.is_empty());
    story.answer(&only, ErrorCode::None, 40);
    let offsets: Vec<_> = (0..3).map(|n| story.result(n).map(|r| r.offset.0)).collect();
    assert_eq!(offsets, [Some(40), Some(41), Some(40)]);
    story.pass(200_000);
    assert_eq!(story.producer.settled(), Ok(()));
}

#[test]
fn without_idempotence_a_retry_after_a_later_batch_reorders() {
    let mut story = begun(plain(), Mutations::NONE);
    story.send(&[1, 2]);
    let (one, two) = (story.take(), story.take());
    assert_eq!(one.batches(), [(0, -1, -1, vec![1])]);
    story.answer(&one, ErrorCode::NotEnoughReplicas, -1);
    story.answer(&two, ErrorCode::None, 1);
    story.pass(100);
    let again = story.take();
    assert_eq!(again.records(), [1]);
    story.answer(&again, ErrorCode::None, 2);
    assert_eq!(story.result(1).map(|r| r.offset), Some(Offset(2)));
}

#[test]
fn without_idempotence_a_broken_connection_turns_what_was_in_flight_around() {
    let mut story = begun(plain(), Mutations::NONE);
    story.send(&[1, 2]);
    story.sent.clear();
    story.step(Input::Disconnected { peer: B1 });
    story.pass(100);
    assert_eq!(story.take().records(), [2]);
    assert_eq!(story.take().records(), [1]);
}

#[test]
fn not_leader_refreshes_metadata_and_the_retry_goes_to_the_new_leader_at_once() {
    let mut story = begun(singly(), Mutations::NONE);
    story.send(&[1]);
    let sent = story.take();
    story.pass(100);
    story.answer(&sent, ErrorCode::NotLeaderOrFollower, -1);
    assert!(matches!(story.asked[..], [(_, _, Request::Metadata(_))]), "{:?}", story.asked);
    assert!(story.sent.is_empty());
    story.answer_others(&[Some(B2), Some(B2)], 1);
    let again = story.take();
    assert_eq!((again.to, again.batches()), (B2, sent.batches()));
}

#[test]
fn a_batch_that_expires_in_flight_may_have_been_appended() {
    let timeout = Duration::from_millis(1_000);
    let config = ProducerConfig { delivery_timeout: timeout, ..singly() };
    let mut story = begun(config, Mutations::NONE);
    story.send(&[1]);
    let sent = story.take();
    story.pass(999);
    assert!(story.result(1).is_none());
    story.pass(1);
    assert_eq!(story.outcome(1), (ErrorCode::RequestTimedOut, true));
    assert!(story.producer.settled().is_err(), "its request is still under way");
    story.answer(&sent, ErrorCode::None, 1);
    assert_eq!(story.producer.settled(), Ok(()));
}

#[test]
fn a_batch_that_was_never_sent_expires_for_certain() {
    let timeout = Duration::from_millis(1_000);
    let config = ProducerConfig { delivery_timeout: timeout, ..singly() };
    let mut story = Story::new(config, Mutations::NONE);
    story.send(&[0]);
    story.answer_others(&[None, None], 0);
    story.pass(1_000);
    assert_eq!(story.outcome(0), (ErrorCode::RequestTimedOut, false));
}

#[test]
fn a_batch_that_every_attempt_refused_is_a_definite_failure() {
    let config = ProducerConfig { retries: 1, ..plain() };
    for (first, maybe) in
        [(ErrorCode::NotEnoughReplicas, false), (ErrorCode::NotEnoughReplicasAfterAppend, true)]
    {
        let mut story = begun(config.clone(), Mutations::NONE);
        story.send(&[1]);
        let sent = story.take();
        story.answer(&sent, first, -1);
        story.pass(100);
        let again = story.take();
        story.answer(&again, ErrorCode::NotEnoughReplicas, -1);
        assert_eq!(story.outcome(1), (ErrorCode::NotEnoughReplicas, maybe));
    }
}

#[test]
fn a_request_without_an_answer_takes_its_connection_down_and_is_retried() {
    let mut story = begun(singly(), Mutations::NONE);
    story.send(&[1]);
    let lost = story.take();
    story.pass(29_999);
    assert!(story.disconnects.is_empty());
    story.pass(1);
    assert_eq!(story.disconnects, [B1]);
    story.pass(100);
    assert_eq!(story.take().batches(), lost.batches());
}

#[test]
fn acks_0_is_done_when_it_is_sent_and_a_broken_connection_loses_in_silence() {
    let config = ProducerConfig { acks: Acks::None, ..plain() };
    let mut story = Story::new(config, Mutations::NONE);
    story.send(&[0]);
    story.answer_others(&[Some(B1), Some(B2)], 0);
    assert_eq!(story.take().records(), [0]);
    let result = story.result(0).expect("complete");
    assert_eq!((result.error, result.offset), (ErrorCode::None, Offset::UNKNOWN));
    story.step(Input::Disconnected { peer: B1 });
    story.pass(10_000);
    assert!(story.sent.is_empty());
    assert_eq!(story.producer.settled(), Ok(()));
}

#[test]
fn one_in_flight_keeps_the_order_even_without_idempotence_unless_the_bug_is_planted() {
    let config = ProducerConfig { max_in_flight: 1, ..plain() };
    let mutation = Mutations::only(Mutation::ClientDrainPastRetry);
    for (mutations, first, hit) in [(Mutations::NONE, vec![1], false), (mutation, vec![2], true)] {
        let mut story = begun(config.clone(), mutations);
        story.send(&[1, 2]);
        let one = story.take();
        assert!(story.sent.is_empty());
        story.answer(&one, ErrorCode::NotEnoughReplicas, -1);
        story.pass(100);
        assert_eq!(story.take().records(), first);
        assert_eq!(story.notes.iter().any(|n| matches!(n, Note::MutationHit)), hit);
    }
}

#[test]
fn memory_blocks_send_until_a_batch_completes_or_max_block_passes() {
    let config =
        ProducerConfig { buffer_memory: 200, max_block: Duration::from_millis(500), ..singly() };
    let mut story = begun(config, Mutations::NONE);
    story.send(&[1, 2, 3, 4]);
    let (one, two) = (story.take(), story.take());
    assert!(story.sent.is_empty());
    story.pass(400);
    story.answer(&one, ErrorCode::None, 1);
    assert_eq!(story.take().records(), [3]);
    story.pass(100);
    assert_eq!(story.outcome(4), (ErrorCode::RequestTimedOut, false));
    assert_eq!(story.result(4).expect("complete").partition, None);
    story.answer(&two, ErrorCode::None, 2);
}

#[test]
fn a_topic_that_nobody_has_blocks_for_max_block() {
    let mut story = Story::new(singly(), Mutations::NONE);
    let record = Record { id: RecordId(1), key: None, value: None, size: 1, timestamp: story.now };
    story.step_call(ProducerCall::Send { topic: TopicId(5), partition: None, record });
    let call = story.calls;
    story.pass(59_999);
    assert!(story.result(call).is_none());
    story.pass(1);
    assert_eq!(story.outcome(call), (ErrorCode::RequestTimedOut, false));
}

#[test]
fn flush_and_close_return_when_everything_before_them_is_complete() {
    let config = ProducerConfig { linger: Duration::from_secs(1), ..ProducerConfig::default() };
    let mut story = Story::new(config, Mutations::NONE);
    story.send(&[10]);
    story.answer_others(&[Some(B1), Some(B2)], 0);
    assert!(story.sent.is_empty(), "it lingers");
    story.step_call(ProducerCall::Flush);
    let first = story.take();
    story.send(&[20]);
    story.step_call(ProducerCall::Close);
    let second = story.take();
    assert_eq!((first.records(), second.records()), (vec![10], vec![20]));
    story.answer(&first, ErrorCode::None, 0);
    assert!(matches!(story.returned[..], [(10, _), (11, ProducerCompletion::Flushed)]));
    story.answer(&second, ErrorCode::None, 1);
    assert!(matches!(story.returned[2..], [(20, _), (21, ProducerCompletion::Closed)]));
    story.send(&[30]);
    assert_eq!(story.outcome(30), (ErrorCode::InvalidRequest, false));
}

#[test]
fn a_record_that_is_too_large_never_leaves() {
    let config = ProducerConfig { max_request_size: 99, ..singly() };
    let mut story = Story::new(config, Mutations::NONE);
    story.send(&[1]);
    assert_eq!(story.outcome(1), (ErrorCode::MessageTooLarge, false));
}

#[test]
fn a_request_holds_no_more_than_its_maximum_size() {
    let config = ProducerConfig { max_request_size: 150, ..singly() };
    let mut story = Story::new(config, Mutations::NONE);
    story.send(&[0]);
    story.send_to(1, 1);
    story.answer_others(&[Some(B1), Some(B1)], 0);
    let (one, two) = (story.take(), story.take());
    assert_eq!((one.records(), two.records()), (vec![0], vec![1]));
    assert_eq!((P0, P1), (one.request.batches[0].0, two.request.batches[0].0));
}

#[test]
fn answers_that_make_no_sense_change_nothing_that_is_not_theirs() {
    let mut story = begun(singly(), Mutations::NONE);
    let stray = Response::Produce(Vec::new());
    let (from, correlation) = (B2, CorrelationId(4_000));
    story.step(Input::Response { from, correlation, body: stray });
    story.send(&[1]);
    let sent = story.take();
    let body = Response::Produce(Vec::new());
    story.step(Input::Response { from: sent.to, correlation: sent.correlation, body });
    assert_eq!(story.outcome(1), (ErrorCode::UnknownServerError, true));
    assert_eq!(Sequence(1), sent.request.batches[0].1.base_sequence);
}
