//! What a machine tells the recorder about its inside.
//!
//! Notes are the white-box tier of the history: no protocol rule reads them.
//! The engine translates them into history events and runs the internal invariants on them.

use std::rc::Rc;

use oncesim_types::ActorId;
use oncesim_types::{
    BrokerEpoch, ErrorCode, GenerationId, GroupId, LeaderEpoch, MemberId, Offset, PartitionEpoch,
    ProducerEpoch, ProducerId, TopicPartition, TransactionNumber, TransactionResult,
    TransactionState, TransactionalId,
};

use crate::log::batch::LogBatch;
use crate::message::RecoveryState;

/// Something that happened inside a machine.
#[derive(Debug, Clone)]
pub enum Note {
    /// A replica appended a batch.
    Append {
        /// Where.
        partition: TopicPartition,
        /// The batch with its offset and epoch.
        batch: LogBatch,
        /// Whether by the leader (else: copied by a follower).
        leader: bool,
    },
    /// A replica removed everything from `to` on.
    Truncate {
        /// Where.
        partition: TopicPartition,
        /// The log end offset afterwards.
        to: Offset,
    },
    /// Everything below `to` is on the platter.
    Flushed {
        /// Where.
        partition: TopicPartition,
        /// Exclusive.
        to: Offset,
    },
    /// A replica's high watermark moved (also back, on a follower).
    HighWatermark {
        /// Where.
        partition: TopicPartition,
        /// The new one.
        high_watermark: Offset,
        /// Whether at the leader.
        leader: bool,
        /// Size of the leader's committed in-sync set; 0 at a follower.
        isr: u8,
        /// `min(min.insync.replicas, replication factor)`; 0 at a follower.
        min_isr: u8,
    },
    /// A broker began to lead.
    BecameLeader {
        /// What.
        partition: TopicPartition,
        /// With this epoch.
        leader_epoch: LeaderEpoch,
        /// Its log end offset at that moment (the leader epoch start offset).
        log_end: Offset,
    },
    /// A broker began to follow.
    BecameFollower {
        /// What.
        partition: TopicPartition,
        /// Whom; `None` when nobody leads.
        leader: Option<ActorId>,
        /// The leader's epoch.
        leader_epoch: LeaderEpoch,
    },
    /// A leader answered an `acks=all` produce with success.
    AckedAll {
        /// Where.
        partition: TopicPartition,
        /// Offset after the last acknowledged record.
        next_offset: Offset,
        /// Size of the leader's committed in-sync set at the answer.
        isr: u8,
        /// `min(min.insync.replicas, replication factor)`.
        min_isr: u8,
    },
    /// A leader refused a batch of an idempotent producer, or recognised it as a duplicate
    /// (`error` is then [`ErrorCode::DuplicateSequenceNumber`] although the client sees success).
    ProducerStateRejected {
        /// Where.
        partition: TopicPartition,
        /// Whose.
        producer_id: ProducerId,
        /// The batch's epoch.
        producer_epoch: ProducerEpoch,
        /// Why.
        error: ErrorCode,
    },
    /// A consumer fetch was served.
    Served {
        /// Where.
        partition: TopicPartition,
        /// First offset returned.
        from: Offset,
        /// Offset after the last returned.
        to: Offset,
        /// The serving replica's high watermark, read in the same step.
        high_watermark: Offset,
        /// Its last stable offset, read in the same step.
        last_stable_offset: Offset,
        /// Whether the reader is `read_committed`.
        read_committed: bool,
    },
    /// The controller changed a partition.
    PartitionChanged {
        /// Which.
        partition: TopicPartition,
        /// Its leader now.
        leader: Option<ActorId>,
        /// With this epoch.
        leader_epoch: LeaderEpoch,
        /// And this partition epoch.
        partition_epoch: PartitionEpoch,
        /// The in-sync replicas.
        isr: Rc<[ActorId]>,
        /// The eligible leader replicas (KIP-966).
        elr: Rc<[ActorId]>,
        /// Whether the leader was elected outside of ISR and ELR.
        unclean: bool,
        /// Whether an unclean leader still has to recover.
        recovery: RecoveryState,
    },
    /// The controller registered a broker process.
    BrokerRegistered {
        /// Which broker.
        broker: ActorId,
        /// With this epoch.
        epoch: BrokerEpoch,
        /// Whether its earlier process ended cleanly.
        clean: bool,
    },
    /// The controller fenced (no heartbeat) or unfenced a broker.
    BrokerFenced {
        /// Which broker.
        broker: ActorId,
        /// Fenced or not.
        fenced: bool,
    },
    /// A group coordinator completed a rebalance: members and what the leader assigned to them.
    Generation {
        /// The group.
        group: GroupId,
        /// Its new generation.
        generation: GenerationId,
        /// Members with their partitions.
        assignment: Rc<[(MemberId, Vec<TopicPartition>)]>,
        /// Whether members may own partitions while they rebalance (cooperative).
        cooperative: bool,
        /// The epoch in which the coordinator leads its offsets partition: one that was deposed may
        /// learn late that what it wrote in its time is durable.
        coordinator_epoch: LeaderEpoch,
    },
    /// A group coordinator began a rebalance.
    Rebalance {
        /// The group.
        group: GroupId,
        /// Why, in a few words.
        reason: &'static str,
    },
    /// A group has another state at its coordinator. No part of the history: what follows from it
    /// has notes of its own.
    GroupState {
        /// The group.
        group: GroupId,
        /// The state before.
        from: crate::group::GroupState,
        /// The state now.
        to: crate::group::GroupState,
    },
    /// A group coordinator removed a member.
    MemberRemoved {
        /// The group.
        group: GroupId,
        /// Whom.
        member: MemberId,
        /// Whether its session expired (else: it left, or missed a rebalance).
        expired: bool,
    },
    /// A group coordinator's commit of an offset became durable (its reply goes out).
    OffsetAccepted {
        /// The group.
        group: GroupId,
        /// Who committed; `None` without a group membership.
        member: Option<MemberId>,
        /// The generation that the request carried.
        generation: GenerationId,
        /// The group's generation when the request was validated.
        current: GenerationId,
        /// The partition.
        partition: TopicPartition,
        /// The next offset to consume.
        offset: Offset,
        /// The epoch in which the coordinator leads its offsets partition: one that was deposed may
        /// learn late that what it wrote in its time is durable.
        coordinator_epoch: LeaderEpoch,
    },
    /// A group coordinator refused a commit.
    OffsetRejected {
        /// The group.
        group: GroupId,
        /// Who.
        member: Option<MemberId>,
        /// The generation that the request carried.
        generation: GenerationId,
        /// Why.
        error: ErrorCode,
    },
    /// A broker began to coordinate the groups of one `__consumer_offsets` partition, or the
    /// transactional ids of one `__transaction_state` partition, and has loaded its log.
    CoordinatorLoaded {
        /// The coordinator's partition.
        partition: TopicPartition,
        /// Its leader epoch.
        leader_epoch: LeaderEpoch,
    },
    /// A producer client began a session, or bumped its epoch.
    ProducerSession {
        /// The producer id.
        producer_id: ProducerId,
        /// The epoch.
        producer_epoch: ProducerEpoch,
    },
    /// A producer client sends a batch again.
    Retry {
        /// To where.
        partition: TopicPartition,
        /// How many times it has been sent, this one included.
        attempt: u32,
        /// What went wrong before.
        error: ErrorCode,
    },
    /// A client sees a partition's position move without records: reset by policy, or truncation.
    PositionReset {
        /// Which.
        partition: TopicPartition,
        /// To where.
        to: Offset,
        /// Why.
        reason: ResetReason,
    },
    /// A consumer commits on its own (`enable.auto.commit`): inside `poll()`, before it rejoins its
    /// group, or in `close()`.
    AutoCommitInvoke {
        /// Pairs it with its end, unique per incarnation.
        id: u64,
        /// The next offset to consume per partition.
        offsets: Rc<[(TopicPartition, Offset)]>,
    },
    /// The end of an auto commit.
    AutoCommitEnd {
        /// Which.
        id: u64,
        /// [`ErrorCode::None`] when committed.
        error: ErrorCode,
        /// Whether it may have been applied although `error` is set.
        maybe_committed: bool,
    },
    /// A transaction coordinator's log has a new state of a transactional id (or, for
    /// `PrepareEpochFence` and `Dead`, its memory).
    TransactionState {
        /// The id.
        transactional_id: TransactionalId,
        /// The session.
        producer_id: ProducerId,
        /// The epoch.
        producer_epoch: ProducerEpoch,
        /// The state before.
        from: TransactionState,
        /// The state now.
        to: TransactionState,
        /// The client's number of the transaction that was begun last.
        number: TransactionNumber,
        /// The partitions of the transaction now.
        partitions: Rc<[TopicPartition]>,
        /// Leader epoch of the coordinator's partition.
        coordinator_epoch: LeaderEpoch,
        /// The coordinator's partition of `__transaction_state`.
        coordinator: TopicPartition,
    },
    /// A coordinator accepted an `EndTxn`: it decides a transaction now.
    EndTxnApplied {
        /// The id.
        transactional_id: TransactionalId,
        /// The epoch of the request.
        producer_epoch: ProducerEpoch,
        /// The transaction that the client meant.
        issued: TransactionNumber,
        /// The transaction that it ends.
        applied: TransactionNumber,
        /// How.
        result: TransactionResult,
    },
    /// A coordinator aborts a transaction that took longer than `transaction.timeout.ms`.
    TransactionTimedOut {
        /// The id.
        transactional_id: TransactionalId,
        /// The transaction.
        number: TransactionNumber,
    },
    /// The first unstable offset of a leader's log moved, or its high watermark below it.
    LastStableOffset {
        /// Where.
        partition: TopicPartition,
        /// The new one.
        last_stable_offset: Offset,
    },
    /// A leader refused a transaction marker.
    MarkerRejected {
        /// Where.
        partition: TopicPartition,
        /// Whose transaction.
        producer_id: ProducerId,
        /// The marker's epoch.
        producer_epoch: ProducerEpoch,
        /// Why.
        error: ErrorCode,
    },
    /// A group coordinator wrote an offset that waits for its transaction to end.
    OffsetPending {
        /// The group.
        group: GroupId,
        /// The session.
        producer_id: ProducerId,
        /// The epoch.
        producer_epoch: ProducerEpoch,
        /// Who consumed.
        member: Option<MemberId>,
        /// With this generation.
        generation: GenerationId,
        /// While the group was in this one.
        current: GenerationId,
        /// The partition.
        partition: TopicPartition,
        /// The next offset to consume.
        offset: Offset,
        /// Leader epoch of the coordinator's partition.
        coordinator_epoch: LeaderEpoch,
    },
    /// A transaction's end made a pending offset count, or dropped it; told when the end is
    /// durable. After a failover the new coordinator tells again what the one before may not have
    /// told.
    OffsetResolved {
        /// The group.
        group: GroupId,
        /// Whose transaction.
        producer_id: ProducerId,
        /// The partition.
        partition: TopicPartition,
        /// After a commit, the group's next offset to consume: the pending one, unless another was
        /// written later. After an abort, the one that was dropped.
        offset: Offset,
        /// How the transaction ended.
        result: TransactionResult,
        /// Leader epoch of the coordinator's partition.
        coordinator_epoch: LeaderEpoch,
    },
    /// A planted bug changed what happened.
    MutationHit,
}

/// Why a consumer's position moved without records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    /// A group's committed offset was found.
    Committed,
    /// No committed offset: `auto.offset.reset`.
    NoCommittedOffset,
    /// The position is outside of the log: `auto.offset.reset`.
    OutOfRange,
    /// The log was truncated below the position (KIP-320).
    Truncated,
    /// The application asked for it.
    Seek,
}
