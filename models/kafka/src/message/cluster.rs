//! Bodies between brokers and the controller: registration, elections, the metadata log.

use std::rc::Rc;

use oncesim_types::{
    ActorId, BrokerEpoch, ErrorCode, LeaderEpoch, PartitionEpoch, ProducerId, TopicPartition,
};

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
