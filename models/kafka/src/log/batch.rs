//! Record batches: the unit of append, of deduplication, of truncation and of loss.
//!
//! Mirrors `DefaultRecordBatch` (magic 2) without its bytes. A batch is immutable once its producer
//! has drained it: replicas share one allocation, and a retry sends the very same batch.
//!
//! Simplifications: no compression, no headers; a record's value is a number and a size, because
//! checkers follow [`RecordId`]s and nothing in the protocol depends on a value's bytes.

use std::rc::Rc;

use oncesim_types::{
    GenerationId, GroupId, GroupInstanceId, Instant, LeaderEpoch, MemberId, Offset, ProducerEpoch,
    ProducerId, RecordId, Sequence, TopicPartition, TransactionNumber, TransactionResult,
    TransactionState, TransactionalId,
};

use crate::config::TransactionVersion;
use crate::message::{Assignor, Subscription};

/// A record of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The logical send that it belongs to.
    pub id: RecordId,
    /// The record key, interned by the workload; `None` for a record without one.
    pub key: Option<u32>,
    /// The value; `None` is a tombstone.
    pub value: Option<i64>,
    /// Size of key, value and overhead, in bytes.
    pub size: u32,
    /// Timestamp set by the producer (CreateTime), in its host's time.
    pub timestamp: Instant,
}

/// What a coordinator writes to its log (`CoordinatorRecord`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoordinatorRecord {
    /// `OffsetCommitKey`: a committed offset, or its removal.
    OffsetCommit {
        /// The group.
        group: GroupId,
        /// The partition consumed.
        partition: TopicPartition,
        /// The next offset to consume and its leader epoch; `None` is a tombstone.
        offset: Option<(Offset, LeaderEpoch)>,
    },
    /// `GroupMetadataKey`: a classic group after a completed rebalance; `None` is a tombstone.
    GroupMetadata {
        /// The group.
        group: GroupId,
        /// Its state.
        metadata: Option<Rc<GroupMetadataValue>>,
    },
    /// `TransactionLogKey`: a transactional id at its coordinator; `None` is a tombstone.
    Transaction {
        /// The id.
        transactional_id: TransactionalId,
        /// Its state.
        metadata: Option<Rc<TransactionMetadataValue>>,
    },
}

/// A transactional id as its coordinator persists it (`TransactionLogValue`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionMetadataValue {
    /// The session.
    pub producer_id: ProducerId,
    /// The producer id before the last one ran out of epochs (KAFKA-20310).
    pub previous_producer_id: ProducerId,
    /// The producer id of the next transaction, when this one has run out of epochs.
    pub next_producer_id: ProducerId,
    /// The epoch.
    pub producer_epoch: ProducerEpoch,
    /// `transaction.timeout.ms`
    pub timeout: oncesim_types::Duration,
    /// The state; never `PrepareEpochFence`.
    pub state: TransactionState,
    /// The partitions of the transaction, sorted.
    pub partitions: Vec<TopicPartition>,
    /// When the transaction began, in its coordinator's time.
    pub started: Instant,
    /// When this was written.
    pub updated: Instant,
    /// The client's protocol generation.
    pub version: TransactionVersion,
    /// The client's number of the transaction, for the recorder alone.
    pub number: TransactionNumber,
}

/// A classic group as its coordinator persists it (`GroupMetadataValue`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadataValue {
    /// The generation that these members make up.
    pub generation: GenerationId,
    /// The assignor that they agreed on; `None` when the group is empty.
    pub protocol: Option<Assignor>,
    /// The member that computes assignments.
    pub leader: Option<MemberId>,
    /// The members.
    pub members: Vec<GroupMetadataMember>,
}

/// One member of a persisted classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadataMember {
    /// Its id.
    pub member: MemberId,
    /// Its `group.instance.id`, if it is static.
    pub instance: Option<GroupInstanceId>,
    /// Its `session.timeout.ms`, in nanoseconds.
    pub session_timeout: oncesim_types::Duration,
    /// Its rebalance timeout (`max.poll.interval.ms`).
    pub rebalance_timeout: oncesim_types::Duration,
    /// Its subscription.
    pub subscription: Rc<Subscription>,
    /// Its assignment.
    pub assignment: Vec<TopicPartition>,
}

/// The end of a transaction, written to each of its partitions (`EndTransactionMarker`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// Whether the transaction's records count.
    pub result: TransactionResult,
    /// The leader epoch of the coordinator's partition of `__transaction_state`.
    pub coordinator_epoch: LeaderEpoch,
}

/// What a batch carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// Records of an application.
    Data(Vec<Record>),
    /// Records of a group coordinator.
    Coordinator(Vec<CoordinatorRecord>),
    /// One transaction marker.
    Control(EndTransactionMarker),
}

/// A batch as its producer made it; it has no offset yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordBatch {
    /// [`ProducerId::NONE`] when the producer is not idempotent.
    pub producer_id: ProducerId,
    /// The session's epoch; [`ProducerEpoch::NONE`] when the producer is not idempotent.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record; [`Sequence::NONE`] when the producer is not idempotent.
    pub base_sequence: Sequence,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
    /// The records; never empty.
    pub records: Records,
}

impl RecordBatch {
    /// How many offsets it takes.
    #[must_use]
    pub fn len(&self) -> i64 {
        match &self.records {
            Records::Data(records) => records.len() as i64,
            Records::Coordinator(records) => records.len() as i64,
            Records::Control(_) => 1,
        }
    }

    /// Never true: a batch holds at least one record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sequence of the last record.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence == Sequence::NONE {
            return Sequence::NONE;
        }
        self.base_sequence.plus(i32::try_from(self.len() - 1).expect("a batch is small"))
    }

    /// Whether an idempotent producer made it.
    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id != ProducerId::NONE
    }

    /// The application's records; empty for coordinator and control batches.
    #[must_use]
    pub fn data(&self) -> &[Record] {
        match &self.records {
            Records::Data(records) => records,
            Records::Coordinator(_) | Records::Control(_) => &[],
        }
    }
}

/// A batch in a log: the leader gave it an offset and its epoch.
#[derive(Debug, Clone)]
pub struct LogBatch {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// The batch, shared by all replicas and readers.
    pub batch: Rc<RecordBatch>,
}

impl LogBatch {
    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset + (self.batch.len() - 1)
    }

    /// The offset after the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.base_offset + self.batch.len()
    }

    /// Whether two replicas hold the same batch at the same place.
    #[must_use]
    pub fn same_as(&self, other: &LogBatch) -> bool {
        self.base_offset == other.base_offset
            && self.leader_epoch == other.leader_epoch
            && (Rc::ptr_eq(&self.batch, &other.batch) || self.batch == other.batch)
    }
}
