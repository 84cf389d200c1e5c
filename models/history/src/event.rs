//! Events: one line each of what happened, in the order in which it happened.
//!
//! Mirrors the vocabulary of Jepsen's histories (invoke, then ok, fail or info) for what clients
//! see, and Kafka's own words for the white-box notes.

use oncesim_types::{
    ActorId, CallId, ErrorCode, GenerationId, GroupId, Instant, LeaderEpoch, MemberId, Offset,
    ProducerEpoch, ProducerId, RecordId, TopicPartition, TransactionNumber, TransactionResult,
    TransactionalId,
};

use crate::external_event::ExternalEvent;
use crate::world_event::WorldEvent;

/// One event. Its position in [`crate::History::events`] is its sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// Virtual time of the world (not of a skewed host).
    pub time: Instant,
    /// Whose event.
    pub actor: ActorId,
    /// Which process of that actor, from 0; each start is a new one.
    pub incarnation: u32,
    /// What.
    pub kind: EventKind,
}

/// A range of one of the history's arenas: `start .. start + len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SpanIndex {
    /// First index.
    pub start: u32,
    /// How many.
    pub len: u32,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It did not and will not happen.
    Fail(ErrorCode),
    /// Unknown: it may have happened, or may still happen.
    Info(ErrorCode),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// What a client did or saw.
    Client(ClientKind),
    /// What a machine noted about its inside, or the world did (the white-box tier).
    World(WorldEvent),
    /// What happened between applications and systems outside of Kafka: both tiers.
    External(ExternalEvent),
}

/// The black-box tier: what a client of a real cluster could log as well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientKind {
    /// `send()` is called.
    SendInvoke {
        /// The call; paired with [`ClientKind::SendEnd`] of the same actor and incarnation.
        call: CallId,
        /// To which topic, and partition if the application chose it (else `u16::MAX`).
        partition: TopicPartition,
        /// The logical send.
        record: RecordId,
        /// Record key.
        key: Option<u32>,
        /// Hash of the payload.
        payload: u64,
        /// 1 for the first `send()` of this record, more when the application repeats it.
        attempt: u32,
    },
    /// `send()`'s callback.
    SendEnd {
        /// The call.
        call: CallId,
        /// The record.
        record: RecordId,
        /// The partition, once the partitioner has chosen.
        partition: Option<TopicPartition>,
        /// How it ended.
        outcome: Outcome,
        /// Where, if the client was told.
        offset: Option<Offset>,
    },
    /// A producer has (a new epoch of) a producer id.
    ProducerSession {
        /// The id.
        producer_id: ProducerId,
        /// The epoch.
        producer_epoch: ProducerEpoch,
    },
    /// `initTransactions()` is called.
    InitTransactions {
        /// The call.
        call: CallId,
        /// The id: an index of [`crate::History::transactional_ids`].
        transactional_id: TransactionalId,
    },
    /// `initTransactions()` ended; the session is in the [`ClientKind::ProducerSession`] before it.
    InitTransactionsEnd {
        /// The call.
        call: CallId,
        /// How.
        outcome: Outcome,
    },
    /// `beginTransaction()`: every `send()` of this actor and incarnation belongs to it, until
    /// [`ClientKind::TransactionEnd`].
    TransactionBegin {
        /// Which.
        number: TransactionNumber,
    },
    /// `sendOffsetsToTransaction()` is called.
    SendOffsets {
        /// The call.
        call: CallId,
        /// The transaction.
        number: TransactionNumber,
        /// The group.
        group: GroupId,
        /// A span of [`crate::History::commits`].
        offsets: SpanIndex,
        /// The member whose offsets these are, if the group is to fence it (KIP-447).
        member: Option<MemberId>,
        /// Its generation.
        generation: GenerationId,
    },
    /// `sendOffsetsToTransaction()` ended.
    SendOffsetsEnd {
        /// The call.
        call: CallId,
        /// How.
        outcome: Outcome,
    },
    /// `commitTransaction()` or `abortTransaction()` is called, for the first time or again.
    EndTransaction {
        /// The call.
        call: CallId,
        /// The transaction.
        number: TransactionNumber,
        /// Which of the two.
        result: TransactionResult,
    },
    /// `commitTransaction()` or `abortTransaction()` ended.
    TransactionEnd {
        /// The call.
        call: CallId,
        /// How.
        outcome: Outcome,
    },
    /// A processor made a record from an input; the `send()` of it follows, by the producer that
    /// belongs to it.
    Emitted {
        /// The record, unique to this attempt.
        record: RecordId,
        /// The record that it was made from.
        input: RecordId,
        /// Where that was.
        partition: TopicPartition,
        /// At which offset.
        offset: Offset,
        /// What it is: equal inputs and equal outputs are one logical output.
        output: Output,
    },
    /// A processor has restored its store of one partition from its changelog.
    StateRestored {
        /// The changelog.
        changelog: TopicPartition,
        /// How far it read (exclusive).
        to: Offset,
        /// How many keys it has.
        keys: u32,
        /// Wrapping sum of [`oncesim_types::lineage::store_entry`] over them.
        fingerprint: u64,
    },
    /// A record of a transfer: the amounts of a transaction's records add up to zero.
    Transfer {
        /// The record.
        record: RecordId,
        /// What it adds to its account.
        amount: i64,
    },
    /// A consumer subscribed.
    Subscribe {
        /// Its group.
        group: GroupId,
    },
    /// A consumer without a group assigned its partitions itself.
    Assign,
    /// `onPartitionsAssigned`.
    Assigned {
        /// The group.
        group: GroupId,
        /// The member.
        member: MemberId,
        /// The generation.
        generation: GenerationId,
        /// What was added: a span of [`crate::History::partitions`].
        added: SpanIndex,
        /// Everything it owns now: a span of [`crate::History::partitions`].
        owned: SpanIndex,
    },
    /// `onPartitionsRevoked`, when it returned.
    Revoked {
        /// The group.
        group: GroupId,
        /// A span of [`crate::History::partitions`].
        partitions: SpanIndex,
    },
    /// `onPartitionsLost`.
    Lost {
        /// The group.
        group: GroupId,
        /// A span of [`crate::History::partitions`].
        partitions: SpanIndex,
    },
    /// `poll()` is called.
    PollInvoke,
    /// `poll()` returned records.
    PollEnd {
        /// The group; `None` for a consumer without one.
        group: Option<GroupId>,
        /// A span of [`crate::History::polled`].
        records: SpanIndex,
    },
    /// The application finished the processing of one record: its outcome at the processing level.
    Processed {
        /// The group.
        group: GroupId,
        /// From where.
        partition: TopicPartition,
        /// At which offset.
        offset: Offset,
        /// The record.
        record: RecordId,
    },
    /// A commit is asked for.
    CommitInvoke {
        /// The call, or an internal number for auto commits (unique per incarnation, shared with
        /// calls).
        call: CallId,
        /// The group.
        group: GroupId,
        /// A span of [`crate::History::commits`].
        offsets: SpanIndex,
        /// `commitSync`, or a commit that its caller does not wait for.
        sync: bool,
    },
    /// A commit ended.
    CommitEnd {
        /// The call.
        call: CallId,
        /// How.
        outcome: Outcome,
    },
    /// The position of a partition was set from somewhere else than the last poll.
    PositionReset {
        /// The group.
        group: Option<GroupId>,
        /// Which.
        partition: TopicPartition,
        /// To where: the next offset to be polled.
        to: Offset,
        /// Why.
        reason: PositionReason,
    },
    /// The application closed its client in good order; everything before is complete.
    Closed,
    /// The final drain of a topic partition: this fresh client has read it from the log start to
    /// the end, `to`, after every fault had healed.
    Drained {
        /// Which.
        partition: TopicPartition,
        /// The log start offset that it began at.
        from: Offset,
        /// The end offset that it reached.
        to: Offset,
    },
}

/// What a processor made from an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Output {
    /// The n-th output of the input, from 0.
    Ordinal(u16),
    /// The aggregate of the input's key, with it.
    Aggregate,
    /// The same, for the changelog.
    Changelog,
}

/// Why a consumer's position moved without records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PositionReason {
    /// The group's committed offset.
    Committed,
    /// No committed offset: `auto.offset.reset`.
    NoCommittedOffset,
    /// Position outside of the log: `auto.offset.reset`.
    OutOfRange,
    /// The log was truncated below the position.
    Truncated,
    /// The application asked.
    Seek,
}

/// A record as a consumer got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolledRecord {
    /// From where.
    pub partition: TopicPartition,
    /// At which offset.
    pub offset: Offset,
    /// Epoch of the leader that appended it; [`LeaderEpoch::NONE`] when not known.
    pub leader_epoch: LeaderEpoch,
    /// The record.
    pub record: RecordId,
    /// Its key.
    pub key: Option<u32>,
    /// Hash of its payload.
    pub payload: u64,
}
