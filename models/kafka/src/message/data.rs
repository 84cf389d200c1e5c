//! Bodies of the data plane: produce, fetch, offsets, metadata, epochs.

use std::rc::Rc;

use oncesim_types::{
    ActorId, BrokerEpoch, Duration, ErrorCode, LeaderEpoch, Offset, ProducerId, TopicId,
    TopicPartition, TransactionNumber, TransactionalId,
};
use serde::{Deserialize, Serialize};

use crate::config::TransactionVersion;
use crate::log::batch::{LogBatch, RecordBatch};

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
    /// The transaction that the batches belong to; `None` outside of one.
    pub transaction: Option<Box<ProduceTransaction>>,
    /// The batches, one per partition.
    pub batches: Vec<(TopicPartition, Rc<RecordBatch>)>,
}

/// The transaction of a produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceTransaction {
    /// The producer's `transactional.id`.
    pub transactional_id: TransactionalId,
    /// The client's protocol generation: version 12 of this API is generation 2, where the leader
    /// adds its partition to the transaction.
    pub version: TransactionVersion,
    /// The client's number of the transaction. No protocol rule reads it.
    pub number: TransactionNumber,
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
