//! How transactions stand and end.

use serde::{Deserialize, Serialize};

/// How a transaction ends (`TransactionResult`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransactionResult {
    /// Its records and offsets count.
    Commit,
    /// They don't.
    Abort,
}

impl TransactionResult {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TransactionResult::Commit => "commit",
            TransactionResult::Abort => "abort",
        }
    }
}

/// The state of a `transactional.id` at its coordinator (`TransactionState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransactionState {
    /// No transaction yet.
    Empty,
    /// Partitions have been added.
    Ongoing,
    /// The commit is decided; markers are being written.
    PrepareCommit,
    /// The abort is decided; markers are being written.
    PrepareAbort,
    /// Every marker of a commit is written.
    CompleteCommit,
    /// Every marker of an abort is written.
    CompleteAbort,
    /// The id has expired and is about to be removed.
    Dead,
    /// The epoch is being bumped to fence the producer; never logged.
    PrepareEpochFence,
}

impl TransactionState {
    /// Its name in reports, as Kafka's tools print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TransactionState::Empty => "Empty",
            TransactionState::Ongoing => "Ongoing",
            TransactionState::PrepareCommit => "PrepareCommit",
            TransactionState::PrepareAbort => "PrepareAbort",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
            TransactionState::Dead => "Dead",
            TransactionState::PrepareEpochFence => "PrepareEpochFence",
        }
    }
}
