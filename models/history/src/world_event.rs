//! The white-box tier: what machines noted about their inside, and what the world did to them.

use oncesim_types::{
    ActorId, BrokerEpoch, ErrorCode, GenerationId, GroupId, LeaderEpoch, MemberId, Offset,
    PartitionEpoch, ProducerEpoch, ProducerId, Sequence, TopicPartition, TransactionNumber,
    TransactionResult, TransactionState, TransactionalId,
};

use crate::event::SpanIndex;

/// The white-box tier. The event's actor is the broker (or controller) that noted it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WorldEvent {
    /// A process started (incarnation 0: with the world).
    Started,
    /// A process died.
    Crashed {
        /// Whether the power failed: what was not flushed is gone.
        power: bool,
    },
    /// A process stands still (GC, VM freeze).
    Paused,
    /// It goes on.
    Resumed,
    /// A fault struck; index into [`crate::History::faults`].
    Fault {
        /// Which fault of the plan.
        index: u32,
    },
    /// A fault ended.
    Healed {
        /// Which fault of the plan.
        index: u32,
    },
    /// All faults have healed; the liveness phase begins.
    QuiesceBegin,
    /// The world had settled; the drain begins.
    Settled,
    /// The liveness bound passed and the world had not settled.
    NotSettled,
    /// A replica appended a batch of `len` records from an application:
    /// a span of [`crate::History::appended`] (record ids in log order).
    Append {
        /// Where.
        partition: TopicPartition,
        /// Offset of the first record.
        base_offset: Offset,
        /// The record ids; empty for coordinator and control batches.
        records: SpanIndex,
        /// How many offsets the batch takes.
        len: u32,
        /// Leader epoch of the batch.
        leader_epoch: LeaderEpoch,
        /// Producer id, or none.
        producer_id: ProducerId,
        /// Producer epoch, or none.
        producer_epoch: ProducerEpoch,
        /// First sequence, or none.
        base_sequence: Sequence,
        /// Whether by the leader.
        leader: bool,
        /// Whether it belongs to a transaction.
        transactional: bool,
    },
    /// A replica appended the end of a transaction.
    Marker {
        /// Where.
        partition: TopicPartition,
        /// Its offset.
        offset: Offset,
        /// Whose transaction.
        producer_id: ProducerId,
        /// Epoch of the marker.
        producer_epoch: ProducerEpoch,
        /// How the transaction ended.
        result: TransactionResult,
        /// Leader epoch of the coordinator's partition.
        coordinator_epoch: LeaderEpoch,
        /// Epoch of the partition's leader.
        leader_epoch: LeaderEpoch,
        /// Whether by the leader.
        leader: bool,
    },
    /// A leader refused the end of a transaction.
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
    /// A leader's last stable offset moved.
    LastStableOffset {
        /// Where.
        partition: TopicPartition,
        /// The new one.
        last_stable_offset: Offset,
    },
    /// A transactional id changed its state at its coordinator.
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
        /// The transaction's partitions now: a span of [`crate::History::partitions`].
        partitions: SpanIndex,
        /// Leader epoch of the coordinator's partition.
        coordinator_epoch: LeaderEpoch,
        /// The coordinator's partition of `__transaction_state`.
        coordinator: TopicPartition,
    },
    /// A coordinator accepted an `EndTxn`.
    EndTxnApplied {
        /// The id.
        transactional_id: TransactionalId,
        /// Epoch of the request.
        producer_epoch: ProducerEpoch,
        /// The transaction that the client meant.
        issued: TransactionNumber,
        /// The transaction that it ends.
        applied: TransactionNumber,
        /// How.
        result: TransactionResult,
    },
    /// A coordinator aborts a transaction that took too long.
    TransactionTimedOut {
        /// The id.
        transactional_id: TransactionalId,
        /// The transaction.
        number: TransactionNumber,
    },
    /// An offset waits for its transaction to end.
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
    /// A transaction's end made a pending offset count, or dropped it.
    OffsetResolved {
        /// The group.
        group: GroupId,
        /// Whose transaction.
        producer_id: ProducerId,
        /// The partition.
        partition: TopicPartition,
        /// The next offset to consume.
        offset: Offset,
        /// How the transaction ended.
        result: TransactionResult,
        /// Leader epoch of the coordinator's partition.
        coordinator_epoch: LeaderEpoch,
    },
    /// A replica removed everything from `to` on.
    Truncate {
        /// Where.
        partition: TopicPartition,
        /// The log end offset afterwards.
        to: Offset,
    },
    /// A power failure cut a replica's log.
    DiskLoss {
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
    /// A replica's high watermark moved.
    HighWatermark {
        /// Where.
        partition: TopicPartition,
        /// The new one.
        high_watermark: Offset,
        /// Whether at the leader.
        leader: bool,
        /// Leader's committed in-sync set, size.
        isr: u8,
        /// Effective `min.insync.replicas`.
        min_isr: u8,
    },
    /// A broker began to lead.
    BecameLeader {
        /// What.
        partition: TopicPartition,
        /// Epoch.
        leader_epoch: LeaderEpoch,
        /// Its log end offset then.
        log_end: Offset,
    },
    /// A broker began to follow.
    BecameFollower {
        /// What.
        partition: TopicPartition,
        /// Whom.
        leader: Option<ActorId>,
        /// Epoch.
        leader_epoch: LeaderEpoch,
    },
    /// A leader answered `acks=all` with success.
    AckedAll {
        /// Where.
        partition: TopicPartition,
        /// Offset after the last acknowledged record.
        next_offset: Offset,
        /// Leader's committed in-sync set, size.
        isr: u8,
        /// Effective `min.insync.replicas`.
        min_isr: u8,
    },
    /// A leader refused, or recognised as a duplicate, a batch of an idempotent producer.
    ProducerStateRejected {
        /// Where.
        partition: TopicPartition,
        /// Whose.
        producer_id: ProducerId,
        /// Epoch of the batch.
        producer_epoch: ProducerEpoch,
        /// Why.
        error: ErrorCode,
    },
    /// A consumer fetch was served.
    Served {
        /// Where.
        partition: TopicPartition,
        /// First offset.
        from: Offset,
        /// Offset after the last.
        to: Offset,
        /// The replica's high watermark.
        high_watermark: Offset,
        /// Its last stable offset.
        last_stable_offset: Offset,
        /// Whether the reader is `read_committed`.
        read_committed: bool,
    },
    /// The controller changed a partition.
    PartitionChanged {
        /// Which.
        partition: TopicPartition,
        /// Leader now.
        leader: Option<ActorId>,
        /// Leader epoch.
        leader_epoch: LeaderEpoch,
        /// Partition epoch.
        partition_epoch: PartitionEpoch,
        /// In-sync replicas: a span of [`crate::History::actors_arena`].
        isr: SpanIndex,
        /// Eligible leader replicas: a span of [`crate::History::actors_arena`].
        elr: SpanIndex,
        /// Whether elected outside of both.
        unclean: bool,
    },
    /// The controller registered a broker process.
    BrokerRegistered {
        /// Which.
        broker: ActorId,
        /// Its epoch.
        epoch: BrokerEpoch,
        /// Whether the earlier process ended cleanly.
        clean: bool,
    },
    /// The controller fenced or unfenced a broker.
    BrokerFenced {
        /// Which.
        broker: ActorId,
        /// Fenced or not.
        fenced: bool,
    },
    /// A coordinator completed a rebalance.
    Generation {
        /// The group.
        group: GroupId,
        /// The generation.
        generation: GenerationId,
        /// Who owns what: a span of [`crate::History::assignments`].
        assignment: SpanIndex,
        /// Whether members keep partitions while they rebalance.
        cooperative: bool,
        /// The epoch in which the coordinator leads its offsets partition: one that was deposed may
        /// learn late that what it wrote in its time is durable.
        coordinator_epoch: LeaderEpoch,
    },
    /// A coordinator began a rebalance.
    Rebalance {
        /// The group.
        group: GroupId,
        /// Why.
        reason: &'static str,
    },
    /// A coordinator removed a member.
    MemberRemoved {
        /// The group.
        group: GroupId,
        /// Whom.
        member: MemberId,
        /// By session timeout.
        expired: bool,
    },
    /// A commit became durable.
    OffsetAccepted {
        /// The group.
        group: GroupId,
        /// By whom.
        member: Option<MemberId>,
        /// With this generation.
        generation: GenerationId,
        /// While the group was in this one.
        current: GenerationId,
        /// The partition.
        partition: TopicPartition,
        /// The next offset to consume.
        offset: Offset,
        /// The epoch in which the coordinator leads its offsets partition: one that was deposed may
        /// learn late that what it wrote in its time is durable.
        coordinator_epoch: LeaderEpoch,
    },
    /// A commit was refused.
    OffsetRejected {
        /// The group.
        group: GroupId,
        /// From whom.
        member: Option<MemberId>,
        /// With this generation.
        generation: GenerationId,
        /// Why.
        error: ErrorCode,
    },
    /// A coordinator has loaded its partition.
    CoordinatorLoaded {
        /// The partition of `__consumer_offsets`.
        partition: TopicPartition,
        /// Its leader epoch.
        leader_epoch: LeaderEpoch,
    },
    /// A producer sends a batch again.
    Retry {
        /// Where to.
        partition: TopicPartition,
        /// How many times now.
        attempt: u32,
        /// What went wrong before.
        error: ErrorCode,
    },
    /// A planted bug changed what happened.
    MutationHit,
    /// An internal invariant of the model broke; `id` is the anomaly.
    InvariantBroken {
        /// Anomaly id, `leader-incomplete` for example.
        id: &'static str,
        /// Where, if it concerns one partition.
        partition: Option<TopicPartition>,
        /// Offset, if it concerns one.
        offset: Option<Offset>,
        /// In words.
        detail: String,
    },
    /// Something that has not ended when the run did: an operation, a consumer, a rebalance.
    Stuck {
        /// Anomaly id: `unresolved-op`, `stuck-consumer`, `no-leader`, `rebalance-livelock`, ...
        id: &'static str,
        /// Where, if it concerns one partition.
        partition: Option<TopicPartition>,
        /// In words.
        detail: String,
    },
}
