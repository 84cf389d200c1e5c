//! What happened between applications and the systems outside of Kafka.
//!
//! Two tiers, as everywhere: what a client asked and was told, and the system's own log, which is
//! the truth about effects. An event of a system's own log has the system as its actor.

use oncesim_types::{
    ActorId, CallId, EffectId, Offset, Operation, RecordId, StatementRole, SystemError,
    TopicPartition,
};

use crate::event::SpanIndex;

/// How a request to a system ended, as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AskOutcome {
    /// It was done.
    Ok,
    /// It was refused: nothing was done.
    Refused(SystemError),
    /// Unknown: it may have been done, or may still be.
    Unknown(SystemError),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExternalEvent {
    // ---- what a client sees ----
    /// A client asks a system for something.
    Asked {
        /// The call; paired with [`ExternalEvent::Answered`] of the same actor and incarnation.
        call: CallId,
        /// The system.
        system: ActorId,
        /// What.
        operation: Operation,
        /// For which effect.
        effect: Option<EffectId>,
        /// The idempotency key that is sent; 0: none.
        key: u64,
    },
    /// It is answered, or not.
    Answered {
        /// The call.
        call: CallId,
        /// How.
        outcome: AskOutcome,
        /// What the system said: an API's receipt; of a statement, the rows that it changed.
        result: u64,
    },
    /// The application takes an effect for done and goes on: it will commit past its record.
    EffectDone {
        /// Which.
        effect: EffectId,
        /// Because it had been done before (dedup), not by this delivery.
        skipped: bool,
    },
    /// A service begins a business operation: a row, and an event that announces it.
    Intended {
        /// The event's identity.
        record: RecordId,
        /// The aggregate (an order, an account): the record's key.
        aggregate: u32,
    },
    /// The operation ended, as the service told its caller.
    IntentEnded {
        /// Which.
        record: RecordId,
        /// How.
        outcome: AskOutcome,
    },
    /// A relay goes on from a position that it had stored.
    RelayStarted {
        /// The position: a cursor, or a commit of the database's log; -1: from the beginning.
        position: i64,
        /// Whether it begins with a snapshot.
        snapshot: bool,
    },
    /// A relay has moved its cursor, in memory.
    RelayPosition {
        /// The new cursor.
        position: i64,
    },

    // ---- the systems' own log ----
    /// An effect was applied, durably.
    Applied {
        /// Which.
        effect: EffectId,
        /// By which commit of this system, from 1.
        commit: u64,
        /// The rows that it changed: a span of [`crate::History::row_changes`]. Empty: the statement
        /// changed nothing. An API's or a two-phase sink's side effect is one row without an image
        /// before.
        changes: SpanIndex,
        /// The fencing token that it came with; -1: none.
        token: i64,
        /// The newest commit when its client read what it computed it from; `u64::MAX`: it read
        /// nothing.
        read_at: u64,
    },
    /// An API gave the stored answer of an earlier request: nothing was applied.
    Replayed {
        /// What was asked for.
        effect: EffectId,
        /// What had been applied under the key.
        original: EffectId,
        /// Whether the payloads are the same.
        same_payload: bool,
    },
    /// An API has forgotten an idempotency key.
    KeyEvicted {
        /// What had been applied under it.
        effect: EffectId,
    },
    /// A row of business, outbox, dedup or a relay's bookkeeping was committed.
    Committed {
        /// What it is.
        role: StatementRole,
        /// Which record it is about.
        record: Option<RecordId>,
        /// By which commit, from 1.
        commit: u64,
        /// The transaction's number from the database's sequence, drawn when it began.
        sequence: i64,
        /// How many rows changed: 0 says that a mark existed.
        changed: u32,
    },
    /// Marks of records that were seen long ago were forgotten.
    DedupEvicted {
        /// By which commit, from 1.
        commit: u64,
        /// How many.
        rows: u32,
    },
    /// How far a partition was consumed was stored in the system.
    OffsetStored {
        /// Which.
        partition: TopicPartition,
        /// The offset to go on from.
        next: Offset,
        /// The fencing token that it came with; -1: none.
        token: i64,
        /// By which commit, from 1.
        commit: u64,
        /// Whether it changed a row: if not, the fence held.
        accepted: bool,
    },
    /// The system told a client how far a partition was consumed.
    OffsetServed {
        /// Which.
        partition: TopicPartition,
        /// The offset to go on from; -1: nothing is stored.
        next: Offset,
    },
    /// A transaction with writes ended without a commit.
    RolledBack {
        /// The record of its first statement.
        record: Option<RecordId>,
    },
    /// A two-phase sink made effects durable, not yet visible.
    Prepared {
        /// The partition that they come from.
        partition: TopicPartition,
        /// The first offset.
        first: Offset,
        /// The offset to go on from.
        next: Offset,
        /// Which attempt.
        attempt: u64,
    },
    /// A two-phase sink committed or dropped what was prepared.
    Finished {
        /// The partition.
        partition: TopicPartition,
        /// Which attempt.
        attempt: u64,
        /// Which of the two.
        commit: bool,
    },
}
