//! A consumer with nobody around it: the test is network, brokers, timers and application.

use std::collections::BTreeMap;
use std::rc::Rc;

use oncesim_types::{
    ActorId, CallId, CorrelationId, Duration, ErrorCode, GroupId, Instant, LeaderEpoch, Offset,
    ProducerEpoch, ProducerId, RecordId, Sequence, TopicId, TopicPartition,
};

use crate::config::{ConsumerConfig, OffsetResetStrategy, TopicConfig};
use crate::consumer::{
    Consumer, ConsumerCall, ConsumerCompletion, PolledRecord, RebalanceCallback,
};
use crate::log::batch::{LogBatch, Record, RecordBatch, Records};
use crate::machine::{Call, Completion, Effect, Effects, Input, Machine, TimerKey};
use crate::message::{
    FetchRequest, FetchResponse, FetchedPartition, MetadataResponse, PartitionMetadata, Request,
    Response, TopicMetadata,
};
use crate::mutation::Mutations;
use crate::note::{Note, ResetReason};

pub(super) const B1: ActorId = ActorId(1);
pub(super) const B2: ActorId = ActorId(2);
pub(super) const T: TopicId = TopicId(0);
pub(super) const P0: TopicPartition = TopicPartition::new(T, 0);
pub(super) const P1: TopicPartition = TopicPartition::new(T, 1);
pub(super) const GROUP: GroupId = GroupId(0);

pub(super) fn config() -> ConsumerConfig {
    ConsumerConfig {
        auto_offset_reset: OffsetResetStrategy::Earliest,
        auto_commit: false,
        ..ConsumerConfig::default()
    }
}

/// The consumer and everything that it has asked for and the test has not looked at yet.
pub(super) struct World {
    pub(super) consumer: Consumer,
    pub(super) now: Instant,
    calls: u64,
    pub(super) sent: Vec<(ActorId, CorrelationId, Request)>,
    pub(super) returned: Vec<(CallId, ConsumerCompletion)>,
    pub(super) callbacks: Vec<RebalanceCallback>,
    pub(super) notes: Vec<Note>,
    pub(super) timers: BTreeMap<TimerKey, Instant>,
    /// Leader and epoch of each partition, as brokers answer Metadata at once.
    pub(super) leaders: Vec<(ActorId, i32)>,
}

impl World {
    pub(super) fn new(config: ConsumerConfig) -> World {
        World::with(config, Mutations::NONE)
    }

    pub(super) fn with(config: ConsumerConfig, mutations: Mutations) -> World {
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
        let topics = Rc::new([topic]);
        let consumer = Consumer::new(ActorId(5), 1, brokers, Rc::new(config), topics, mutations);
        let mut world = World {
            consumer,
            now: Instant::ZERO,
            calls: 0,
            sent: Vec::new(),
            returned: Vec::new(),
            callbacks: Vec::new(),
            notes: Vec::new(),
            timers: BTreeMap::new(),
            leaders: vec![(B1, 1), (B1, 1)],
        };
        world.step(Input::Start);
        world
    }

    pub(super) fn step(&mut self, input: Input) {
        let mut effects = Effects::default();
        self.consumer.step(self.now, input, &mut effects);
        for effect in effects.0 {
            match effect {
                Effect::Send { to, correlation, body, .. } => {
                    self.sent.push((to, correlation, body));
                }
                Effect::SetTimer { key, after } => {
                    self.timers.insert(key, self.now + after);
                }
                Effect::CancelTimer(key) => {
                    self.timers.remove(&key);
                }
                Effect::Return(id, Completion::Consumer(it)) => self.returned.push((id, it)),
                Effect::Callback(it) => self.callbacks.push(it),
                Effect::Note(it) => self.notes.push(it),
                Effect::Disconnect { .. } => {}
                other => panic!("a consumer does not do this: {other:?}"),
            }
        }
        self.answer_metadata();
    }

    fn answer_metadata(&mut self) {
        let is_metadata = |it: &(_, _, Request)| matches!(it.2, Request::Metadata(_));
        let Some(index) = self.sent.iter().position(is_metadata) else { return };
        let (from, correlation, _) = self.sent.remove(index);
        let partitions = self
            .leaders
            .iter()
            .map(|&(leader, epoch)| PartitionMetadata {
                leader: Some(leader),
                leader_epoch: LeaderEpoch(epoch),
            })
            .collect();
        let topics = vec![TopicMetadata { topic: T, error: ErrorCode::None, partitions }];
        let body = Response::Metadata(Box::new(MetadataResponse { brokers: vec![B1, B2], topics }));
        self.step(Input::Response { from, correlation, body });
    }

    pub(super) fn call(&mut self, call: ConsumerCall) -> CallId {
        self.calls += 1;
        let id = CallId(self.calls);
        self.step(Input::Call(id, Call::Consumer(call)));
        id
    }

    /// Lets time pass, with every timer that is due in between.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((&key, &at)) = self.timers.iter().min_by_key(|(key, at)| (**at, **key)) {
            if at > end {
                break;
            }
            self.timers.remove(&key);
            self.now = self.now.max(at);
            self.step(Input::Timer(key));
        }
        self.now = end;
    }

    pub(super) fn millis(&mut self, n: u64) {
        self.pass(Duration::from_millis(n));
    }

    /// Takes the oldest unanswered request that `pick` recognises.
    pub(super) fn take<R>(
        &mut self,
        pick: impl Fn(&Request) -> Option<R>,
    ) -> Option<(ActorId, CorrelationId, R)> {
        let found = self.sent.iter().enumerate().find_map(|(n, it)| Some((n, pick(&it.2)?)));
        let (index, request) = found?;
        let (to, correlation, _) = self.sent.remove(index);
        Some((to, correlation, request))
    }

    pub(super) fn respond(&mut self, to: (ActorId, CorrelationId), body: Response) {
        self.step(Input::Response { from: to.0, correlation: to.1, body });
    }

    pub(super) fn take_fetch(&mut self) -> Option<(ActorId, CorrelationId, Box<FetchRequest>)> {
        self.take(|it| match it {
            Request::Fetch(fetch) => Some(fetch.clone()),
            _ => None,
        })
    }

    /// Answers the oldest ListOffsets: `offset` for all its partitions.
    pub(super) fn answer_list_offsets(&mut self, offset: i64) {
        use crate::message::ListOffsetsPartitionResponse as Answer;
        let asked = self.take(|it| match it {
            Request::ListOffsets(list) => Some(list.clone()),
            _ => None,
        });
        let (from, correlation, list) = asked.expect("a ListOffsets is in flight");
        let answer = |it: &(TopicPartition, LeaderEpoch, _)| Answer {
            partition: it.0,
            error: ErrorCode::None,
            offset: Offset(offset),
            leader_epoch: it.1,
        };
        let body = Response::ListOffsets(list.partitions.iter().map(answer).collect());
        self.respond((from, correlation), body);
    }

    /// Answers the oldest Fetch.
    pub(super) fn answer_fetch(&mut self, partitions: Vec<FetchedPartition>) {
        let (from, correlation, _) = self.take_fetch().expect("a Fetch is in flight");
        let body = Response::Fetch(Box::new(FetchResponse { to_replica: false, partitions }));
        self.respond((from, correlation), body);
    }

    /// The records of the last completed poll, as `(partition, offset)`.
    pub(super) fn polled(&mut self) -> Option<Vec<(u16, i64)>> {
        let (_, completion) = self.returned.pop()?;
        let ConsumerCompletion::Polled(records) = completion else {
            panic!("not a poll: {completion:?}")
        };
        let seen = |it: &PolledRecord| (it.partition.partition, it.offset.0);
        Some(records.iter().map(seen).collect())
    }

    pub(super) fn resets(&mut self) -> Vec<(u16, i64, ResetReason)> {
        let notes = std::mem::take(&mut self.notes);
        let reset = |note| match note {
            Note::PositionReset { partition, to, reason } => {
                Some((partition.partition, to.0, reason))
            }
            _ => None,
        };
        notes.into_iter().filter_map(reset).collect()
    }
}

/// What a leader returns: `records` from `from` on in one batch of `epoch`.
pub(super) fn data(
    partition: TopicPartition,
    from: i64,
    records: i64,
    epoch: i32,
) -> FetchedPartition {
    let record = |n: i64| Record {
        id: RecordId(n as u64),
        key: None,
        value: Some(n),
        size: 100,
        timestamp: Instant::ZERO,
    };
    let batch = RecordBatch {
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
        base_sequence: Sequence::NONE,
        transactional: false,
        records: Records::Data((from..from + records).map(record).collect()),
    };
    let batch = LogBatch {
        base_offset: Offset(from),
        leader_epoch: LeaderEpoch(epoch),
        batch: Rc::new(batch),
    };
    FetchedPartition { batches: vec![batch], ..empty(partition, from, from + records) }
}

/// What a leader returns without records.
pub(super) fn empty(partition: TopicPartition, from: i64, end: i64) -> FetchedPartition {
    FetchedPartition {
        partition,
        error: ErrorCode::None,
        fetch_offset: Offset(from),
        high_watermark: Offset(end),
        last_stable_offset: Offset(end),
        log_start_offset: Offset(0),
        diverging: None,
        batches: Vec::new(),
        aborted: Vec::new(),
    }
}

/// What a leader refuses.
pub(super) fn refused(partition: TopicPartition, from: i64, error: ErrorCode) -> FetchedPartition {
    FetchedPartition { error, ..empty(partition, from, -1) }
}
