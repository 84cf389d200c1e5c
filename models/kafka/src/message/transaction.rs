//! Bodies of producer ids and transactions (KIP-98, KIP-360, KIP-447, KIP-890).

use oncesim_types::{
    Duration, ErrorCode, GenerationId, GroupId, GroupInstanceId, LeaderEpoch, MemberId, Offset,
    ProducerEpoch, ProducerId, TopicPartition, TransactionNumber, TransactionResult,
    TransactionalId,
};

use crate::config::TransactionVersion;

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

/// Key 24: from a client (transaction version 1), or from a partition leader: to verify, or, for
/// a client of transaction version 2, to add on its behalf (KIP-890).
#[derive(Debug, Clone)]
pub struct AddPartitionsToTxnRequest {
    /// Whose transaction.
    pub transactional_id: TransactionalId,
    /// The session.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// What the partitions are for: adding, or only looking whether they are added.
    pub verify_only: bool,
    /// The client's protocol generation.
    pub version: TransactionVersion,
    /// The client's number of the transaction that it means. No protocol rule reads it.
    pub number: TransactionNumber,
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
}

/// Key 25: the group's partition of `__consumer_offsets` joins the transaction.
#[derive(Debug, Clone, Copy)]
pub struct AddOffsetsToTxnRequest {
    /// Whose transaction.
    pub transactional_id: TransactionalId,
    /// The session.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// The client's number of the transaction that it means. No protocol rule reads it.
    pub number: TransactionNumber,
    /// The group whose offsets will be committed.
    pub group: GroupId,
}

/// Key 26.
#[derive(Debug, Clone, Copy)]
pub struct EndTxnRequest {
    /// Whose transaction.
    pub transactional_id: TransactionalId,
    /// The session.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Commit or abort.
    pub result: TransactionResult,
    /// The client's protocol generation: version 5 of this API is generation 2.
    pub version: TransactionVersion,
    /// The client's number of the transaction that it means. No protocol rule reads it: under
    /// transaction version 1 nothing says which transaction a request ends (KAFKA-17754).
    pub number: TransactionNumber,
}

/// Key 26.
#[derive(Debug, Clone, Copy)]
pub struct EndTxnResponse {
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The session for the next transaction (generation 2); [`ProducerId::NONE`] in generation 1.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
}

/// Key 27: a coordinator tells partition leaders how transactions ended.
#[derive(Debug, Clone)]
pub struct WriteTxnMarkersRequest {
    /// One entry per transaction.
    pub markers: Vec<TxnMarker>,
}

/// How one transaction ended, for the partitions that one broker leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnMarker {
    /// The session.
    pub producer_id: ProducerId,
    /// The epoch that the marker carries: bumped in generation 2.
    pub producer_epoch: ProducerEpoch,
    /// The leader epoch of the coordinator's partition of `__transaction_state`.
    pub coordinator_epoch: LeaderEpoch,
    /// Commit or abort.
    pub result: TransactionResult,
    /// The generation under which it was decided.
    pub version: TransactionVersion,
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
}

/// Key 27: per producer id, what became of each partition's marker.
pub type WrittenMarkers = Vec<(ProducerId, Vec<(TopicPartition, ErrorCode)>)>;

/// Key 28: offsets that count when the transaction commits.
#[derive(Debug, Clone)]
pub struct TxnOffsetCommitRequest {
    /// Whose transaction.
    pub transactional_id: TransactionalId,
    /// The group.
    pub group: GroupId,
    /// The session.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// The client's protocol generation: with 2 the coordinator adds its own partition to the
    /// transaction.
    pub version: TransactionVersion,
    /// The client's number of the transaction that it means. No protocol rule reads it.
    pub number: TransactionNumber,
    /// The consumer whose offsets these are (KIP-447); [`GroupMetadata::NONE`] fences nobody.
    pub consumer: GroupMetadata,
    /// The next offset to consume per partition, and the leader epoch of the last one consumed.
    pub offsets: Vec<(TopicPartition, Offset, LeaderEpoch)>,
}

/// `ConsumerGroupMetadata`: who consumed what a transaction's offsets say (KIP-447).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupMetadata {
    /// The member.
    pub member: Option<MemberId>,
    /// Its `group.instance.id`.
    pub instance: Option<GroupInstanceId>,
    /// Its generation; [`GenerationId::NONE`] without a membership.
    pub generation: GenerationId,
}

impl GroupMetadata {
    /// What clients before KIP-447 sent: no fencing by the group.
    pub const NONE: GroupMetadata =
        GroupMetadata { member: None, instance: None, generation: GenerationId::NONE };
}
