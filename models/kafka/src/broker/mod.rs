//! The broker: serves clients and followers, follows other brokers, obeys the controller.
//!
//! Mirrors `KafkaApis`, `ReplicaManager`, `BrokerServer`.
//!
//! Simplifications:
//! - A broker refuses connections until it has read the metadata log up to its own registration, as
//!   Kafka opens its port only then.
//! - Fetches that find nothing wait until there is something, or for [`PARK_LIMIT`], whatever
//!   `fetch.max.wait.ms` says: an empty answer changes nothing, and idle time costs nothing.
//! - Periodic scans of Kafka are timers that are armed only while there is something to find.

mod disk;
mod fetch;
mod find_coordinator;
mod flush;
mod group;
mod image;
mod init_producer_id;
mod isr;
mod leadership;
mod lifecycle;
mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;
mod planted;
mod produce;
mod replica_fetcher;
mod session;
mod settled;
#[cfg(test)]
mod tests;
mod transaction;
mod verification;
mod write_txn_markers;

use std::collections::VecDeque;
use std::rc::Rc;

pub use disk::{BrokerDisk, Crash};
use oncesim_types::{
    ActorId, BrokerEpoch, CorrelationId, Duration, ErrorCode, Instant, LeaderEpoch, Offset,
    TopicPartition,
};

use crate::broker::image::ClusterImage;
use crate::broker::lifecycle::{ControllerLink, Phase};
use crate::broker::produce::Produces;
use crate::broker::replica_fetcher::Fetcher;
use crate::broker::session::{Sessions, Watcher};
use crate::broker::verification::Verifications;
use crate::config::{BrokerConfig, TopicConfig};
use crate::group::{GROUP_TIMER, GroupCoordinator, GroupEffect};
use crate::log::batch::LogBatch;
use crate::machine::{Effect, Effects, Input, Machine, ReplyTo, TimerKey, WriteId};
use crate::message::{PartitionRegistration, Request, Response};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;
use crate::replica::Replica;
use crate::transaction::{TRANSACTION_TIMER, TransactionCoordinator, TransactionEffect};

/// How long a fetch waits at most. Fetching clients time out after 30 s.
pub const PARK_LIMIT: Duration = Duration::from_secs(20);
/// How long a broker waits for an answer to its own requests (`request.timeout.ms`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

const TIMER_HEARTBEAT: u64 = 1 << 32;
const TIMER_CONTROLLER_RETRY: u64 = 2 << 32;
const TIMER_ISR_SHRINK: u64 = 3 << 32;
const TIMER_CHECKPOINT: u64 = 4 << 32;
const TIMER_PRODUCE: u64 = 5 << 32;
const TIMER_PROPAGATE: u64 = 6 << 32;
const TIMER_FLUSH: u64 = 7 << 32;
const TIMER_ALTER_RETRY: u64 = 8 << 32;
/// The leader's actor id is in the low half.
const TIMER_FETCH_BACKOFF: u64 = 9 << 32;
/// The partition's index is in the low half.
const TIMER_PARTITION_BACKOFF: u64 = 10 << 32;
const TIMER_VERIFICATION: u64 = 16 << 32;
const TIMER_KIND: u64 = !0 << 32;

/// What a broker keeps for one partition of the cluster, whether or not it has a replica of it.
#[derive(Debug)]
struct Slot {
    partition: TopicPartition,
    /// Which of the topics.
    topic: u16,
    /// Its newest state in the metadata image.
    registration: Option<Rc<PartitionRegistration>>,
    /// Whether that state is still to be acted on.
    changed: bool,
    replica: Option<Box<Replica>>,
    /// Fetch sessions that want it.
    watchers: Vec<Watcher>,
    /// Whether its high watermark moved since the checkpoint.
    unsaved: bool,
    /// Whether it was appended to since the last flush by time.
    unflushed: bool,
    /// The last scan for expired producers.
    expiry_scans: u64,
}

/// A broker process.
#[derive(Debug)]
pub struct Broker {
    id: ActorId,
    incarnation: u32,
    controller: ActorId,
    config: Rc<BrokerConfig>,
    topics: Rc<[TopicConfig]>,
    mutations: Mutations,
    started: Instant,
    /// Fetches tried again early because the world is new.
    first_tries: u8,
    phase: Phase,
    link: ControllerLink,
    /// Its own epoch, once registered.
    epoch: BrokerEpoch,
    /// The epoch of the clean-shutdown file.
    previous_epoch: BrokerEpoch,
    image: ClusterImage,
    /// Index of each topic's first partition, by topic id.
    first_partition: Vec<u32>,
    slots: Vec<Slot>,
    sessions: Sessions,
    /// One per leader, by actor id.
    fetchers: Vec<Option<Box<Fetcher>>>,
    /// Leaders to which a fetch may have to be sent.
    eager_fetchers: Vec<ActorId>,
    produces: Produces,
    verifications: Verifications,
    coordinator: GroupCoordinator,
    group_effects: Vec<GroupEffect>,
    transactions: TransactionCoordinator,
    transaction_effects: Vec<TransactionEffect>,
    /// Requests that wait for a block of producer ids; `None` is a producer that is idempotent only.
    waiting_for_producer_id: VecDeque<(ReplyTo, Option<Request>)>,
    next_correlation: u32,
    next_write: u64,
    writes: Vec<flush::Write>,
    timers: Armed,
    /// Partitions with `unsaved`.
    unsaved: Vec<u32>,
    /// Partitions with `unflushed`.
    unflushed: Vec<u32>,
    /// For a planted bug: partitions whose high watermark moved in this step.
    raced: Vec<u32>,
    lost_flush: bool,
    disk_full: bool,
    halted: bool,
}

/// Which of the shared timers are set.
#[derive(Debug, Default)]
struct Armed {
    isr_shrink: bool,
    checkpoint: bool,
    propagate: bool,
    flush: bool,
    alter_retry: bool,
    controller_retry: bool,
}

impl Broker {
    /// A broker process on what survived of its disk. `topics` have dense ids; a partition of the
    /// offsets topic exists if it is below that topic's `partitions`.
    #[must_use]
    pub fn new(
        id: ActorId,
        incarnation: u32,
        controller: ActorId,
        config: Rc<BrokerConfig>,
        topics: Rc<[TopicConfig]>,
        mutations: Mutations,
        disk: BrokerDisk,
    ) -> Broker {
        let ids = topics.iter().map(|topic| usize::from(topic.topic.0) + 1).max().unwrap_or(0);
        let mut first_partition = vec![u32::MAX; ids];
        let mut slots = Vec::new();
        for (index, topic) in (0..).zip(topics.iter()) {
            first_partition[usize::from(topic.topic.0)] =
                u32::try_from(slots.len()).expect("a cluster has fewer than 2^32 partitions");
            for partition in 0..topic.partitions {
                slots.push(Slot {
                    partition: TopicPartition::new(topic.topic, partition),
                    topic: index,
                    registration: None,
                    changed: false,
                    replica: None,
                    watchers: Vec::new(),
                    unsaved: false,
                    unflushed: false,
                    expiry_scans: 0,
                });
            }
        }
        let mut broker = Broker {
            id,
            incarnation,
            controller,
            coordinator: GroupCoordinator::new(id, Rc::clone(&config), mutations),
            transactions: TransactionCoordinator::new(Rc::clone(&config), mutations),
            config,
            topics,
            mutations,
            started: Instant::ZERO,
            first_tries: 0,
            phase: Phase::Registering,
            link: ControllerLink::default(),
            epoch: BrokerEpoch::NONE,
            previous_epoch: disk.clean_shutdown_epoch,
            image: ClusterImage::default(),
            first_partition,
            slots,
            sessions: Sessions::default(),
            fetchers: Vec::new(),
            eager_fetchers: Vec::new(),
            produces: Produces::default(),
            verifications: Verifications::default(),
            group_effects: Vec::new(),
            transaction_effects: Vec::new(),
            waiting_for_producer_id: VecDeque::new(),
            next_correlation: 0,
            next_write: 0,
            writes: Vec::new(),
            timers: Armed::default(),
            unsaved: Vec::new(),
            unflushed: Vec::new(),
            raced: Vec::new(),
            lost_flush: false,
            disk_full: false,
            halted: false,
        };
        broker.load(disk);
        broker
    }

    /// Its actor.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.id
    }

    /// From now on a flush is acknowledged without reaching the platter (or no longer so).
    pub fn set_lost_flush(&mut self, lost: bool) {
        self.lost_flush = lost;
    }

    /// Index of a partition among the slots.
    fn index_of(&self, partition: TopicPartition) -> Option<u32> {
        let first = *self.first_partition.get(usize::from(partition.topic.0))?;
        let slot = self.slots.get(first as usize)?;
        let count = self.topics[usize::from(slot.topic)].partitions;
        (partition.partition < count).then(|| first + u32::from(partition.partition))
    }

    fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    fn slot_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    fn replica(&self, index: u32) -> Option<&Replica> {
        self.slot(index).replica.as_deref()
    }

    fn replica_mut(&mut self, index: u32) -> Option<&mut Replica> {
        self.slot_mut(index).replica.as_deref_mut()
    }

    /// The replica of a partition that a client names, if this broker leads it and the client knows
    /// the right epoch.
    fn led(&self, partition: TopicPartition, known: LeaderEpoch) -> Result<&Replica, ErrorCode> {
        let index = self.index_of(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let replica = self.replica(index).ok_or(ErrorCode::NotLeaderOrFollower)?;
        if !self.mutations.has(Mutation::FetchNoEpochCheck) {
            replica.check_epoch(known)?;
        }
        replica.leader().ok_or(ErrorCode::NotLeaderOrFollower)?;
        Ok(replica)
    }

    fn correlation(&mut self) -> CorrelationId {
        self.next_correlation = self.next_correlation.wrapping_add(1);
        CorrelationId(self.next_correlation)
    }

    fn write_id(&mut self) -> WriteId {
        self.next_write += 1;
        WriteId(self.next_write)
    }

    fn halt(&mut self, reason: &'static str, effects: &mut Effects) {
        self.halted = true;
        effects.0.push(Effect::Halt(reason));
    }

    /// How much of the metadata log it has applied.
    #[must_use]
    pub fn metadata_offset(&self) -> u64 {
        self.image.applied
    }

    /// Where the log of `partition` ends; `None` without a replica.
    #[must_use]
    pub fn log_end(&self, partition: TopicPartition) -> Option<Offset> {
        Some(self.replica(self.index_of(partition)?)?.log.log_end())
    }

    /// The high watermark of `partition`; `None` without a replica.
    #[must_use]
    pub fn high_watermark(&self, partition: TopicPartition) -> Option<Offset> {
        Some(self.replica(self.index_of(partition)?)?.high_watermark)
    }

    /// The last stable offset of `partition`; `None` without a replica.
    #[must_use]
    pub fn last_stable_offset(&self, partition: TopicPartition) -> Option<Offset> {
        Some(self.replica(self.index_of(partition)?)?.last_stable_offset())
    }

    /// The epoch in which this broker believes to lead `partition`.
    #[must_use]
    pub fn is_leader(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        Some(self.replica(self.index_of(partition)?)?.leader()?.epoch)
    }

    /// The log of `partition`; empty without a replica.
    #[must_use]
    pub fn batches(&self, partition: TopicPartition) -> &[LogBatch] {
        let index = self.index_of(partition);
        index.and_then(|index| self.replica(index)).map_or(&[], |replica| replica.log.batches())
    }

    fn on_request(&mut self, now: Instant, to: ReplyTo, body: Request, effects: &mut Effects) {
        match body {
            Request::Produce(request) => self.on_produce(now, to, request, effects),
            Request::Fetch(request) => self.on_fetch(now, to, &request, effects),
            Request::ListOffsets(request) => {
                let answer = self.on_list_offsets(&request);
                effects.reply(to, Response::ListOffsets(answer));
            }
            Request::Metadata(request) => {
                let answer = self.on_metadata(&request);
                effects.reply(to, Response::Metadata(Box::new(answer)));
            }
            Request::FindCoordinator(request) => {
                let answer = self.on_find_coordinator(request);
                effects.reply(to, Response::FindCoordinator(answer));
            }
            Request::InitProducerId(request) => {
                self.on_init_producer_id(now, to, request, effects);
            }
            Request::OffsetForLeaderEpoch(request) => {
                let answer = self.on_offset_for_leader_epoch(&request);
                effects.reply(to, Response::OffsetForLeaderEpoch(answer));
            }
            Request::OffsetCommit(_)
            | Request::OffsetFetch(_)
            | Request::JoinGroup(_)
            | Request::Heartbeat(_)
            | Request::LeaveGroup(_)
            | Request::SyncGroup(_) => self.on_group_request(now, to, body),
            Request::ElectLeaders(_) => {
                effects.reply(to, Response::ElectLeaders(ErrorCode::NotController));
            }
            Request::WriteTxnMarkers(request) => {
                self.on_write_txn_markers(now, to, &request, effects);
            }
            Request::TxnOffsetCommit(request) => self.verify_offsets(now, to, request, effects),
            Request::AddPartitionsToTxn(_) | Request::AddOffsetsToTxn(_) | Request::EndTxn(_) => {
                self.on_transaction_request(now, to, body);
            }
            // Requests for a controller only: Kafka closes such a connection.
            Request::AlterPartition(_)
            | Request::BrokerRegistration(_)
            | Request::BrokerHeartbeat(_)
            | Request::AllocateProducerIds(_)
            | Request::FetchMetadata(_) => close(to, effects),
        }
    }

    fn on_response(
        &mut self,
        now: Instant,
        from: ActorId,
        correlation: CorrelationId,
        body: Response,
        effects: &mut Effects,
    ) {
        match body {
            Response::Fetch(response) => {
                self.on_replica_fetched(now, from, correlation, &response, effects);
            }
            Response::FetchMetadata(response) => {
                self.on_metadata_records(now, correlation, &response, effects);
            }
            Response::BrokerRegistration(response) => {
                self.on_registered(now, correlation, response, effects);
            }
            Response::BrokerHeartbeat(response) => {
                self.on_heartbeat_answered(correlation, response, effects);
            }
            Response::AlterPartition(response) => {
                self.on_isr_altered(now, correlation, &response, effects);
            }
            Response::AllocateProducerIds(response) => {
                self.on_producer_ids_allocated(now, correlation, response, effects);
            }
            Response::WriteTxnMarkers(written) => {
                self.on_markers_written(now, from, correlation, &written);
            }
            Response::AddPartitionsToTxn(answers) => {
                self.on_partitions_verified(now, correlation, &answers, effects);
            }
            // A broker asks nobody else anything.
            _ => {}
        }
    }

    fn on_timer(&mut self, now: Instant, key: TimerKey, effects: &mut Effects) {
        if key.0 & GROUP_TIMER != 0 {
            self.on_group_timer(now, key);
            return;
        }
        if key.0 & TRANSACTION_TIMER != 0 {
            self.on_transaction_timer(now, key);
            return;
        }
        let low = u32::try_from(key.0 & !TIMER_KIND).expect("the low half has 32 bits");
        match key.0 & TIMER_KIND {
            TIMER_HEARTBEAT => self.on_heartbeat_timer(now, effects),
            TIMER_CONTROLLER_RETRY => self.on_controller_retry(now, effects),
            TIMER_ISR_SHRINK => self.on_isr_shrink_timer(now, effects),
            TIMER_CHECKPOINT => self.on_checkpoint_timer(),
            TIMER_PRODUCE => self.on_produce_timer(now, effects),
            TIMER_PROPAGATE => self.on_propagate_timer(effects),
            TIMER_FLUSH => self.on_flush_timer(effects),
            TIMER_ALTER_RETRY => self.on_alter_retry(effects),
            TIMER_FETCH_BACKOFF => self.on_fetch_backoff(low),
            TIMER_PARTITION_BACKOFF => self.on_partition_backoff(low),
            TIMER_VERIFICATION => self.on_verification_timer(now, effects),
            _ => {}
        }
    }

    /// What one input set going: coordinator, waiting fetches, own fetches.
    fn finish(&mut self, now: Instant, effects: &mut Effects) {
        self.perform_group_effects(now, effects);
        self.perform_transaction_effects(now, effects);
        self.serve_awake(effects);
        for index in std::mem::take(&mut self.raced) {
            if let Some(replica) = self.replica_mut(index) {
                replica.stale_high_watermark = None;
            }
        }
        self.send_fetches(now, effects);
    }
}

fn close(to: ReplyTo, effects: &mut Effects) {
    effects.0.push(Effect::CloseConnection { peer: to.client, connection: to.connection });
}

fn hit(effects: &mut Effects) {
    effects.note(Note::MutationHit);
}

impl Machine for Broker {
    fn step(&mut self, now: Instant, input: Input, effects: &mut Effects) {
        if self.halted {
            return;
        }
        match input {
            Input::Start => self.start(now, effects),
            Input::Request { from, connection, correlation, body } => {
                let to = ReplyTo { client: from, connection, correlation };
                if self.phase == Phase::Running {
                    self.on_request(now, to, body, effects);
                } else {
                    close(to, effects);
                }
            }
            Input::Response { from, correlation, body } => {
                self.on_response(now, from, correlation, body, effects);
            }
            Input::Disconnected { peer } if peer == self.controller => {
                self.on_controller_lost(effects);
            }
            Input::Disconnected { peer } => {
                self.on_leader_lost(peer, effects);
                self.on_verifier_lost(now, peer, effects);
                self.markers_lost(peer);
            }
            Input::ConnectionClosed { connection, .. } => self.close_session(now, connection),
            Input::Timer(key) => self.on_timer(now, key, effects),
            Input::Durable(write) => self.on_durable(now, write, effects),
            Input::DiskFull(full) => self.disk_full = full,
            Input::Call(..) => {}
        }
        self.finish(now, effects);
    }
}
