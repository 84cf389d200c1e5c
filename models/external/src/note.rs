//! What a system notes about itself: its apply log, which is the truth about effects.
//!
//! Everything but `Read`, `Deduplicated` and `RolledBack` is noted when it is durable, in commit
//! order.

use oncesim_types::{EffectId, Offset, RecordId, RowChange, StatementRole, TopicPartition};

use crate::message::StagedName;

/// One line of a system's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// An effect was applied. A statement that changed nothing is noted with no changes.
    Applied {
        /// Which.
        effect: EffectId,
        /// By which commit of this system, from 1.
        commit: u64,
        /// The rows that it changed; of an API or a two-phase sink one, without an image before.
        changes: Vec<RowChange>,
        /// The idempotency key that it came with.
        key: Option<u64>,
        /// The fencing token that it came with.
        token: Option<i64>,
        /// The newest commit when its client read what it computed it from, if it did.
        read_at: Option<u64>,
    },
    /// An API answered a request with the stored answer of an earlier one: nothing was applied.
    Replayed {
        /// What was asked for.
        effect: EffectId,
        /// What had been applied under the same key.
        original: EffectId,
        /// The key.
        key: u64,
        /// Whether the payloads are the same.
        same_payload: bool,
    },
    /// An idempotency key is forgotten.
    KeyEvicted {
        /// The key.
        key: u64,
        /// What had been applied under it.
        effect: EffectId,
    },
    /// A statement of bookkeeping or business was committed.
    Committed {
        /// What for.
        role: StatementRole,
        /// Which record it was about, if about one.
        record: Option<RecordId>,
        /// By which commit, from 1.
        commit: u64,
        /// The transaction's number from the sequence.
        sequence: i64,
        /// Rows that it changed: 0 says that a mark existed, or that a fence held.
        changed: u64,
    },
    /// Marks of records were forgotten: so many.
    DedupEvicted {
        /// By which commit, from 1.
        commit: u64,
        /// How many rows.
        rows: u64,
    },
    /// How far a partition was consumed was stored.
    OffsetStored {
        /// Which.
        partition: TopicPartition,
        /// The offset to go on from.
        next: Offset,
        /// The fencing token that it came with.
        token: i64,
        /// By which commit, from 1.
        commit: u64,
        /// Whether it changed a row: if not, the fence held.
        accepted: bool,
    },
    /// A client was told how far a partition was consumed; `None`: nothing is stored.
    OffsetServed {
        /// Which.
        partition: TopicPartition,
        /// The offset.
        next: Option<Offset>,
    },
    /// A transaction with writes ended without a commit.
    RolledBack {
        /// The record of its first statement, if about one.
        record: Option<RecordId>,
    },
    /// Effects are prepared.
    Prepared {
        /// Under this name.
        name: StagedName,
        /// How many.
        effects: u32,
    },
    /// Prepared effects are committed (each is noted as applied, too) or dropped.
    Finished {
        /// Which.
        name: StagedName,
        /// Which of the two.
        commit: bool,
    },
}
