//! Bodies of consumer groups: membership, committed offsets, coordinators.

use std::rc::Rc;

use oncesim_types::{
    ActorId, Duration, ErrorCode, GenerationId, GroupId, GroupInstanceId, LeaderEpoch, MemberId,
    Offset, TopicId, TopicPartition, TransactionalId,
};
use serde::{Deserialize, Serialize};

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
