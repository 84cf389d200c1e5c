//! Requests and responses: one variant per API key, typed bodies, no bytes.
//!
//! Mirrors the schemas of `clients/src/main/resources/common/message` of Kafka 4.x, with the fields
//! that delivery depends on. Bodies that are large or rare are boxed, so that a message stays small
//! in the kernel's heap.
//!
//! Simplifications:
//! - Topic ids, client ids, racks, quotas and authorisation do not exist; nothing here recreates a
//!   topic.
//! - A fetch session lives exactly as long as its connection (Kafka: also until evicted). A client
//!   re-sends the full partition list on a new connection, as Kafka does after a session error.
//! - Brokers read the metadata log from the one controller with `FetchMetadata` (KRaft: `Fetch` on
//!   `__cluster_metadata`); the quorum is one linearizable log.

use std::rc::Rc;

use oncesim_types::{
    ActorId, BrokerEpoch, Duration, ErrorCode, GenerationId, GroupId, GroupInstanceId, LeaderEpoch,
    MemberId, Offset, PartitionEpoch, ProducerEpoch, ProducerId, TopicId, TopicPartition,
    TransactionalId,
};
use serde::{Deserialize, Serialize};

use crate::log::batch::{LogBatch, RecordBatch};

/// The name of an API, for faults ("the 3rd Produce response from b1") and for traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ApiKey {
    /// Key 0.
    Produce,
    /// Key 1, from a consumer.
    Fetch,
    /// Key 1, from a follower.
    ReplicaFetch,
    /// Key 2.
    ListOffsets,
    /// Key 3.
    Metadata,
    /// Key 8.
    OffsetCommit,
    /// Key 9.
    OffsetFetch,
    /// Key 10.
    FindCoordinator,
    /// Key 11.
    JoinGroup,
    /// Key 12.
    Heartbeat,
    /// Key 13.
    LeaveGroup,
    /// Key 14.
    SyncGroup,
    /// Key 22.
    InitProducerId,
    /// Key 23.
    OffsetForLeaderEpoch,
    /// Key 43.
    ElectLeaders,
    /// Key 56.
    AlterPartition,
    /// Key 62.
    BrokerRegistration,
    /// Key 63.
    BrokerHeartbeat,
    /// Key 67.
    AllocateProducerIds,
    /// Brokers reading the metadata log.
    FetchMetadata,
}

impl ApiKey {
    /// All of them.
    pub const ALL: &'static [ApiKey] = &[
        ApiKey::Produce,
        ApiKey::Fetch,
        ApiKey::ReplicaFetch,
        ApiKey::ListOffsets,
        ApiKey::Metadata,
        ApiKey::OffsetCommit,
        ApiKey::OffsetFetch,
        ApiKey::FindCoordinator,
        ApiKey::JoinGroup,
        ApiKey::Heartbeat,
        ApiKey::LeaveGroup,
        ApiKey::SyncGroup,
        ApiKey::InitProducerId,
        ApiKey::OffsetForLeaderEpoch,
        ApiKey::ElectLeaders,
        ApiKey::AlterPartition,
        ApiKey::BrokerRegistration,
        ApiKey::BrokerHeartbeat,
        ApiKey::AllocateProducerIds,
        ApiKey::FetchMetadata,
    ];

    /// Kafka's name: `OffsetCommit`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ApiKey::Produce => "Produce",
            ApiKey::Fetch => "Fetch",
            ApiKey::ReplicaFetch => "ReplicaFetch",
            ApiKey::ListOffsets => "ListOffsets",
            ApiKey::Metadata => "Metadata",
            ApiKey::OffsetCommit => "OffsetCommit",
            ApiKey::OffsetFetch => "OffsetFetch",
            ApiKey::FindCoordinator => "FindCoordinator",
            ApiKey::JoinGroup => "JoinGroup",
            ApiKey::Heartbeat => "Heartbeat",
            ApiKey::LeaveGroup => "LeaveGroup",
            ApiKey::SyncGroup => "SyncGroup",
            ApiKey::InitProducerId => "InitProducerId",
            ApiKey::OffsetForLeaderEpoch => "OffsetForLeaderEpoch",
            ApiKey::ElectLeaders => "ElectLeaders",
            ApiKey::AlterPartition => "AlterPartition",
            ApiKey::BrokerRegistration => "BrokerRegistration",
            ApiKey::BrokerHeartbeat => "BrokerHeartbeat",
            ApiKey::AllocateProducerIds => "AllocateProducerIds",
            ApiKey::FetchMetadata => "FetchMetadata",
        }
    }
}

/// What a client asks.
#[derive(Debug, Clone)]
pub enum Request {
    /// Append batches: exactly one per partition.
    Produce(ProduceRequest),
    /// Read batches, as a consumer or as a follower; waits for data.
    Fetch(Box<FetchRequest>),
    /// Find the earliest or the latest offset.
    ListOffsets(ListOffsetsRequest),
    /// Who leads what.
    Metadata(MetadataRequest),
    /// Commit a group's offsets.
    OffsetCommit(Box<OffsetCommitRequest>),
    /// Read a group's committed offsets.
    OffsetFetch(OffsetFetchRequest),
    /// Who coordinates a group.
    FindCoordinator(FindCoordinatorRequest),
    /// Join a group; answered when its rebalance has gathered all members.
    JoinGroup(Box<JoinGroupRequest>),
    /// Stay in a group.
    Heartbeat(HeartbeatRequest),
    /// Leave a group.
    LeaveGroup(LeaveGroupRequest),
    /// Distribute, or wait for, a group's assignment.
    SyncGroup(Box<SyncGroupRequest>),
    /// Get a producer id, or bump its epoch (KIP-360).
    InitProducerId(InitProducerIdRequest),
    /// Find where an epoch ended, to detect truncation (KIP-101, KIP-320).
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
    /// Move leadership, as an operator does.
    ElectLeaders(ElectLeadersRequest),
    /// A leader asks for other in-sync replicas (KIP-497).
    AlterPartition(Box<AlterPartitionRequest>),
    /// A broker process announces itself (KIP-631).
    BrokerRegistration(BrokerRegistrationRequest),
    /// A broker stays alive (KIP-631).
    BrokerHeartbeat(BrokerHeartbeatRequest),
    /// A broker wants a block of producer ids (KIP-730).
    AllocateProducerIds(AllocateProducerIdsRequest),
    /// A broker reads the metadata log; waits for records.
    FetchMetadata(FetchMetadataRequest),
}

impl Request {
    /// Its API.
    #[must_use]
    pub fn api_key(&self) -> ApiKey {
        match self {
            Request::Produce(_) => ApiKey::Produce,
            Request::Fetch(fetch) if fetch.replica.is_some() => ApiKey::ReplicaFetch,
            Request::Fetch(_) => ApiKey::Fetch,
            Request::ListOffsets(_) => ApiKey::ListOffsets,
            Request::Metadata(_) => ApiKey::Metadata,
            Request::OffsetCommit(_) => ApiKey::OffsetCommit,
            Request::OffsetFetch(_) => ApiKey::OffsetFetch,
            Request::FindCoordinator(_) => ApiKey::FindCoordinator,
            Request::JoinGroup(_) => ApiKey::JoinGroup,
            Request::Heartbeat(_) => ApiKey::Heartbeat,
            Request::LeaveGroup(_) => ApiKey::LeaveGroup,
            Request::SyncGroup(_) => ApiKey::SyncGroup,
            Request::InitProducerId(_) => ApiKey::InitProducerId,
            Request::OffsetForLeaderEpoch(_) => ApiKey::OffsetForLeaderEpoch,
            Request::ElectLeaders(_) => ApiKey::ElectLeaders,
            Request::AlterPartition(_) => ApiKey::AlterPartition,
            Request::BrokerRegistration(_) => ApiKey::BrokerRegistration,
            Request::BrokerHeartbeat(_) => ApiKey::BrokerHeartbeat,
            Request::AllocateProducerIds(_) => ApiKey::AllocateProducerIds,
            Request::FetchMetadata(_) => ApiKey::FetchMetadata,
        }
    }
}

/// What a server answers.
#[derive(Debug, Clone)]
pub enum Response {
    /// Key 0: per partition.
    Produce(Vec<ProducePartitionResponse>),
    /// Key 1.
    Fetch(Box<FetchResponse>),
    /// Key 2: per partition.
    ListOffsets(Vec<ListOffsetsPartitionResponse>),
    /// Key 3.
    Metadata(Box<MetadataResponse>),
    /// Key 8: per partition.
    OffsetCommit(Vec<(TopicPartition, ErrorCode)>),
    /// Key 9.
    OffsetFetch(Box<OffsetFetchResponse>),
    /// Key 10.
    FindCoordinator(FindCoordinatorResponse),
    /// Key 11.
    JoinGroup(Box<JoinGroupResponse>),
    /// Key 12.
    Heartbeat(ErrorCode),
    /// Key 13.
    LeaveGroup(ErrorCode),
    /// Key 14.
    SyncGroup(Box<SyncGroupResponse>),
    /// Key 22.
    InitProducerId(InitProducerIdResponse),
    /// Key 23: per partition.
    OffsetForLeaderEpoch(Vec<OffsetForLeaderEpochPartitionResponse>),
    /// Key 43.
    ElectLeaders(ErrorCode),
    /// Key 56.
    AlterPartition(Box<AlterPartitionResponse>),
    /// Key 62.
    BrokerRegistration(BrokerRegistrationResponse),
    /// Key 63.
    BrokerHeartbeat(BrokerHeartbeatResponse),
    /// Key 67.
    AllocateProducerIds(AllocateProducerIdsResponse),
    /// Records of the metadata log.
    FetchMetadata(FetchMetadataResponse),
}

impl Response {
    /// The API that it answers. A fetch response does not know who asked: the kernel keeps that.
    #[must_use]
    pub fn api_key(&self) -> ApiKey {
        match self {
            Response::Produce(_) => ApiKey::Produce,
            Response::Fetch(fetch) if fetch.to_replica => ApiKey::ReplicaFetch,
            Response::Fetch(_) => ApiKey::Fetch,
            Response::ListOffsets(_) => ApiKey::ListOffsets,
            Response::Metadata(_) => ApiKey::Metadata,
            Response::OffsetCommit(_) => ApiKey::OffsetCommit,
            Response::OffsetFetch(_) => ApiKey::OffsetFetch,
            Response::FindCoordinator(_) => ApiKey::FindCoordinator,
            Response::JoinGroup(_) => ApiKey::JoinGroup,
            Response::Heartbeat(_) => ApiKey::Heartbeat,
            Response::LeaveGroup(_) => ApiKey::LeaveGroup,
            Response::SyncGroup(_) => ApiKey::SyncGroup,
            Response::InitProducerId(_) => ApiKey::InitProducerId,
            Response::OffsetForLeaderEpoch(_) => ApiKey::OffsetForLeaderEpoch,
            Response::ElectLeaders(_) => ApiKey::ElectLeaders,
            Response::AlterPartition(_) => ApiKey::AlterPartition,
            Response::BrokerRegistration(_) => ApiKey::BrokerRegistration,
            Response::BrokerHeartbeat(_) => ApiKey::BrokerHeartbeat,
            Response::AllocateProducerIds(_) => ApiKey::AllocateProducerIds,
            Response::FetchMetadata(_) => ApiKey::FetchMetadata,
        }
    }
}

/// How many replicas must have a batch before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Acks {
    /// `acks=0`: no answer at all.
    None,
    /// `acks=1`: the leader's page cache.
    Leader,
    /// `acks=all`: the in-sync replicas.
    All,
}

/// What a reader may see of open and aborted transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IsolationLevel {
    /// Up to the high watermark, aborted records included.
    ReadUncommitted,
    /// Up to the last stable offset, without aborted records.
    ReadCommitted,
}

/// Key 0.
#[derive(Debug, Clone)]
pub struct ProduceRequest {
    /// When to answer.
    pub acks: Acks,
    /// How long the leader waits for the in-sync replicas: the client's `request.timeout.ms`.
    pub timeout: Duration,
    /// The producer's `transactional.id`.
    pub transactional_id: Option<TransactionalId>,
    /// The batches, one per partition.
    pub batches: Vec<(TopicPartition, Rc<RecordBatch>)>,
}

/// One partition's answer to a produce request.
#[derive(Debug, Clone, Copy)]
pub struct ProducePartitionResponse {
    /// The partition.
    pub partition: TopicPartition,
    /// What became of its batch.
    pub error: ErrorCode,
    /// Offset of the batch's first record; [`Offset::UNKNOWN`] on an error.
    pub base_offset: Offset,
}

/// Key 1.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The follower with its broker epoch (KIP-903); `None` from a consumer.
    pub replica: Option<(ActorId, BrokerEpoch)>,
    /// What a consumer may see.
    pub isolation: IsolationLevel,
    /// Whether `partitions` is everything the client wants (a new session), or the changes.
    pub full: bool,
    /// The partitions that are new in the session, or whose fetch position changed.
    pub partitions: Vec<FetchPartition>,
    /// Partitions that leave the session.
    pub forgotten: Vec<TopicPartition>,
    /// When to answer without data.
    pub max_wait: Duration,
    /// At most this many bytes of records in the answer; at least one batch is returned.
    pub max_bytes: u32,
}

/// One partition of a fetch request.
#[derive(Debug, Clone, Copy)]
pub struct FetchPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch that the client knows; the leader fences others (KIP-320).
    pub current_leader_epoch: LeaderEpoch,
    /// From where.
    pub fetch_offset: Offset,
    /// Epoch of the last batch that the client has, so that the leader can see divergence;
    /// [`LeaderEpoch::NONE`] when it has none, or from a consumer.
    pub last_fetched_epoch: LeaderEpoch,
}

/// Key 1.
#[derive(Debug, Clone)]
pub struct FetchResponse {
    /// Whether a follower asked.
    pub to_replica: bool,
    /// Partitions with data, news or errors.
    pub partitions: Vec<FetchedPartition>,
}

/// One partition of a fetch response.
#[derive(Debug, Clone)]
pub struct FetchedPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The offset that was asked for: a client drops a response when its position moved meanwhile.
    pub fetch_offset: Offset,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// The leader's last stable offset.
    pub last_stable_offset: Offset,
    /// Where the leader's log begins.
    pub log_start_offset: Offset,
    /// The logs differ: the largest epoch that the leader knows up to the one asked for, and its
    /// end offset.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Whole batches, from the one that contains `fetch_offset`.
    pub batches: Vec<LogBatch>,
    /// Aborted transactions that overlap `batches`, for a `read_committed` reader.
    pub aborted: Vec<AbortedTransaction>,
}

/// An aborted transaction of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// Offset of its first record.
    pub first_offset: Offset,
}

/// Key 2.
#[derive(Debug, Clone)]
pub struct ListOffsetsRequest {
    /// Whether "latest" means the high watermark or the last stable offset.
    pub isolation: IsolationLevel,
    /// The partitions with the leader epoch that the client knows.
    pub partitions: Vec<(TopicPartition, LeaderEpoch, OffsetSpec)>,
}

/// Which offset a client wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start offset.
    Earliest,
    /// The end that the client's isolation level may read to.
    Latest,
}

/// One partition's answer to a list offsets request.
#[derive(Debug, Clone, Copy)]
pub struct ListOffsetsPartitionResponse {
    /// The partition.
    pub partition: TopicPartition,
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The offset.
    pub offset: Offset,
    /// Its leader epoch.
    pub leader_epoch: LeaderEpoch,
}

/// Key 3.
#[derive(Debug, Clone)]
pub struct MetadataRequest {
    /// The topics that the client needs.
    pub topics: Vec<TopicId>,
}

/// Key 3.
#[derive(Debug, Clone)]
pub struct MetadataResponse {
    /// Brokers that are registered and not fenced.
    pub brokers: Vec<ActorId>,
    /// The topics that were asked for.
    pub topics: Vec<TopicMetadata>,
}

/// One topic of a metadata response.
#[derive(Debug, Clone)]
pub struct TopicMetadata {
    /// The topic.
    pub topic: TopicId,
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionMetadata>,
}

/// One partition of a metadata response.
#[derive(Debug, Clone, Copy)]
pub struct PartitionMetadata {
    /// Who leads it, if anybody.
    pub leader: Option<ActorId>,
    /// With this epoch.
    pub leader_epoch: LeaderEpoch,
}

/// Key 8.
#[derive(Debug, Clone)]
pub struct OffsetCommitRequest {
    /// The group.
    pub group: GroupId,
    /// The committing member; `None` for a consumer that assigns its partitions itself.
    pub member: Option<MemberId>,
    /// Its `group.instance.id`.
    pub instance: Option<GroupInstanceId>,
    /// Its generation; [`GenerationId::NONE`] without a membership.
    pub generation: GenerationId,
    /// The next offset to consume per partition, and the leader epoch of the last one consumed.
    pub offsets: Vec<(TopicPartition, Offset, LeaderEpoch)>,
}

/// Key 9.
#[derive(Debug, Clone)]
pub struct OffsetFetchRequest {
    /// The group.
    pub group: GroupId,
    /// Which partitions.
    pub partitions: Vec<TopicPartition>,
    /// Refuse offsets of open transactions with UNSTABLE_OFFSET_COMMIT (KIP-447).
    pub require_stable: bool,
}

/// Key 9.
#[derive(Debug, Clone)]
pub struct OffsetFetchResponse {
    /// What went wrong with the group, if anything.
    pub error: ErrorCode,
    /// The committed offset and its leader epoch; `None` where the group has none.
    pub offsets: Vec<FetchedOffset>,
}

/// One partition of an offset fetch response: its error, and the committed offset with its leader
/// epoch if there is one.
pub type FetchedOffset = (TopicPartition, ErrorCode, Option<(Offset, LeaderEpoch)>);

/// Key 10.
#[derive(Debug, Clone, Copy)]
pub struct FindCoordinatorRequest {
    /// Whose.
    pub key: CoordinatorKey,
}

/// What a coordinator coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinatorKey {
    /// A consumer group.
    Group(GroupId),
    /// The transactions of one transactional id.
    Transaction(TransactionalId),
}

/// Key 10.
#[derive(Debug, Clone, Copy)]
pub struct FindCoordinatorResponse {
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The broker.
    pub coordinator: Option<ActorId>,
}

/// How a group's partitions are assigned (`partition.assignment.strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Assignor {
    /// `RangeAssignor`, eager.
    Range,
    /// `RoundRobinAssignor`, eager.
    RoundRobin,
    /// `StickyAssignor`, eager.
    Sticky,
    /// `CooperativeStickyAssignor`: members keep what they own while they rebalance (KIP-429).
    CooperativeSticky,
}

/// What a member tells the assignor (`ConsumerProtocolSubscription`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The topics that it wants, sorted.
    pub topics: Vec<TopicId>,
    /// What it owns.
    pub owned: Vec<TopicPartition>,
    /// The generation in which it got what it owns.
    pub generation: GenerationId,
}

/// Key 11.
#[derive(Debug, Clone)]
pub struct JoinGroupRequest {
    /// The group.
    pub group: GroupId,
    /// The member id, once it has one.
    pub member: Option<MemberId>,
    /// The id that the coordinator gives to a member without one (Kafka: a random UUID). The client
    /// makes it from its actor, incarnation and join attempt, so that it is never reused.
    pub candidate: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<GroupInstanceId>,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `max.poll.interval.ms`.
    pub rebalance_timeout: Duration,
    /// The assignors that it supports, the preferred first.
    pub protocols: Vec<Assignor>,
    /// Its subscription.
    pub subscription: Rc<Subscription>,
}

/// Key 11.
#[derive(Debug, Clone)]
pub struct JoinGroupResponse {
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The new generation.
    pub generation: GenerationId,
    /// The assignor that was chosen.
    pub protocol: Option<Assignor>,
    /// The member that computes the assignment.
    pub leader: Option<MemberId>,
    /// The receiver's member id.
    pub member: MemberId,
    /// All members with their subscriptions, for the leader only.
    pub members: Vec<(MemberId, Option<GroupInstanceId>, Rc<Subscription>)>,
    /// Whether the leader keeps the stored assignment (static rejoin, KIP-814).
    pub skip_assignment: bool,
}

/// Key 14.
#[derive(Debug, Clone)]
pub struct SyncGroupRequest {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<GroupInstanceId>,
    /// The generation that it joined.
    pub generation: GenerationId,
    /// The assignment, from the leader only.
    pub assignments: Vec<(MemberId, Vec<TopicPartition>)>,
}

/// Key 14.
#[derive(Debug, Clone)]
pub struct SyncGroupResponse {
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The assignor that was chosen.
    pub protocol: Option<Assignor>,
    /// The receiver's partitions.
    pub assignment: Vec<TopicPartition>,
}

/// Key 12.
#[derive(Debug, Clone, Copy)]
pub struct HeartbeatRequest {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<GroupInstanceId>,
    /// Its generation.
    pub generation: GenerationId,
}

/// Key 13.
#[derive(Debug, Clone, Copy)]
pub struct LeaveGroupRequest {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<GroupInstanceId>,
}

/// Key 22.
#[derive(Debug, Clone, Copy)]
pub struct InitProducerIdRequest {
    /// `None` for a producer that is idempotent only.
    pub transactional_id: Option<TransactionalId>,
    /// `transaction.timeout.ms`.
    pub transaction_timeout: Duration,
    /// The session to bump (KIP-360).
    pub current: Option<(ProducerId, ProducerEpoch)>,
}

/// Key 22.
#[derive(Debug, Clone, Copy)]
pub struct InitProducerIdResponse {
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The producer id.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
}

/// Key 23.
#[derive(Debug, Clone)]
pub struct OffsetForLeaderEpochRequest {
    /// The partition, the leader epoch that the client knows, and the epoch in question.
    pub partitions: Vec<(TopicPartition, LeaderEpoch, LeaderEpoch)>,
}

/// One partition's answer to an epoch question.
#[derive(Debug, Clone, Copy)]
pub struct OffsetForLeaderEpochPartitionResponse {
    /// The partition.
    pub partition: TopicPartition,
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The largest epoch up to the one in question; [`LeaderEpoch::NONE`] when undefined.
    pub leader_epoch: LeaderEpoch,
    /// Where that epoch ended; [`Offset::UNKNOWN`] when undefined.
    pub end_offset: Offset,
}

/// Key 43. Faults of the kind "leader change" and "unclean election" are this request.
#[derive(Debug, Clone)]
pub struct ElectLeadersRequest {
    /// Which partition.
    pub partition: TopicPartition,
    /// Who should lead it; `None` lets the controller choose another in-sync replica.
    pub preferred: Option<ActorId>,
    /// Whether a replica outside of the in-sync set may lead.
    pub unclean: bool,
}

/// Whether a partition's leader still has to recover from an unclean election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryState {
    /// Nothing to recover.
    Recovered,
    /// Elected uncleanly; only itself may be in sync until it has recovered.
    Recovering,
}

/// Key 56.
#[derive(Debug, Clone)]
pub struct AlterPartitionRequest {
    /// The leader that asks.
    pub broker: ActorId,
    /// Its broker epoch.
    pub broker_epoch: BrokerEpoch,
    /// The partition.
    pub partition: TopicPartition,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch that the new set is based on.
    pub partition_epoch: PartitionEpoch,
    /// The in-sync replicas wanted, each with the broker epoch that the leader saw (KIP-903).
    pub new_isr: Vec<(ActorId, BrokerEpoch)>,
    /// The recovery state wanted.
    pub recovery: RecoveryState,
}

/// Key 56.
#[derive(Debug, Clone)]
pub struct AlterPartitionResponse {
    /// The partition.
    pub partition: TopicPartition,
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The partition's state after the change; meaningless on an error.
    pub state: Option<Rc<PartitionRegistration>>,
}

/// Key 62.
#[derive(Debug, Clone, Copy)]
pub struct BrokerRegistrationRequest {
    /// The broker.
    pub broker: ActorId,
    /// Its process: different after each start.
    pub incarnation: u32,
    /// The broker epoch in its clean-shutdown file, if its last process ended cleanly (KIP-966).
    pub previous_broker_epoch: BrokerEpoch,
}

/// Key 62.
#[derive(Debug, Clone, Copy)]
pub struct BrokerRegistrationResponse {
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The new broker epoch.
    pub broker_epoch: BrokerEpoch,
}

/// Key 63.
#[derive(Debug, Clone, Copy)]
pub struct BrokerHeartbeatRequest {
    /// The broker.
    pub broker: ActorId,
    /// Its epoch.
    pub broker_epoch: BrokerEpoch,
    /// How many records of the metadata log it has applied.
    pub metadata_offset: u64,
    /// Whether it wants to leave in good order.
    pub want_shutdown: bool,
}

/// Key 63.
#[derive(Debug, Clone, Copy)]
pub struct BrokerHeartbeatResponse {
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// Whether it is fenced.
    pub fenced: bool,
    /// Whether it may end now.
    pub should_shutdown: bool,
}

/// Key 67.
#[derive(Debug, Clone, Copy)]
pub struct AllocateProducerIdsRequest {
    /// The broker.
    pub broker: ActorId,
    /// Its epoch.
    pub broker_epoch: BrokerEpoch,
}

/// Key 67.
#[derive(Debug, Clone, Copy)]
pub struct AllocateProducerIdsResponse {
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// First id of the block.
    pub first: ProducerId,
    /// Length of the block.
    pub count: i64,
}

/// Brokers reading the metadata log.
#[derive(Debug, Clone, Copy)]
pub struct FetchMetadataRequest {
    /// The broker.
    pub broker: ActorId,
    /// How many records it has.
    pub from: u64,
}

/// Records of the metadata log, from the one asked for.
#[derive(Debug, Clone)]
pub struct FetchMetadataResponse {
    /// Index of the first of `records`.
    pub from: u64,
    /// The records.
    pub records: Vec<Rc<MetadataRecord>>,
}

/// One record of the cluster's metadata log.
#[derive(Debug, Clone)]
pub enum MetadataRecord {
    /// A broker process registered; it starts out fenced.
    RegisterBroker {
        /// Which.
        broker: ActorId,
        /// Its new epoch.
        epoch: BrokerEpoch,
        /// Its process.
        incarnation: u32,
    },
    /// A broker was fenced or unfenced, or is about to leave.
    BrokerChange {
        /// Which.
        broker: ActorId,
        /// Its epoch.
        epoch: BrokerEpoch,
        /// Fenced or not.
        fenced: bool,
        /// Whether it is in controlled shutdown.
        in_controlled_shutdown: bool,
    },
    /// A partition was created or changed.
    Partition(Rc<PartitionRegistration>),
}

/// A partition in the metadata log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRegistration {
    /// Which.
    pub partition: TopicPartition,
    /// Where its replicas are, the preferred leader first.
    pub replicas: Vec<ActorId>,
    /// The in-sync replicas.
    pub isr: Vec<ActorId>,
    /// The eligible leader replicas (KIP-966).
    pub elr: Vec<ActorId>,
    /// The last leader, when neither ISR nor ELR has anybody (KIP-966); at most one.
    pub last_known_elr: Vec<ActorId>,
    /// Who leads, if anybody.
    pub leader: Option<ActorId>,
    /// Bumped with each leader.
    pub leader_epoch: LeaderEpoch,
    /// Bumped with each change.
    pub partition_epoch: PartitionEpoch,
    /// Whether an unclean leader still has to recover.
    pub recovery: RecoveryState,
}
