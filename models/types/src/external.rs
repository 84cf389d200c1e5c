//! The words for what lies outside of Kafka: systems, the effects that are asked of them, and what
//! can go wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::RecordId;
use crate::id::{SinkId, StatementId};

/// One effect that a record asks for: the identity that checkers follow. A retry keeps it; so does
/// a redelivery of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectId {
    /// Whose.
    pub record: RecordId,
    /// By which use of a system.
    pub sink: SinkId,
    /// Which of the record's steps there, from 0.
    pub step: u16,
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}.{}", self.record, self.sink, self.step)
    }
}

/// What a statement of a scenario is for. Only effects and business rows count as such; the rest is
/// bookkeeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatementRole {
    /// What a record is to bring about.
    Effect,
    /// Reads what the effect is computed from.
    Read,
    /// Looks whether a record was seen before.
    DedupCheck,
    /// Remembers that a record was seen.
    DedupMark,
    /// Forgets records that were seen long ago.
    DedupEvict,
    /// Reads how far a partition was consumed.
    OffsetRead,
    /// Writes how far a partition was consumed.
    OffsetWrite,
    /// Writes a row of the business.
    Business,
    /// Writes a row of the outbox.
    Outbox,
    /// Reads rows that a relay is to publish.
    RelaySelect,
    /// Marks or deletes a row that a relay has published.
    RelayMark,
    /// Reads a relay's cursor.
    CursorRead,
    /// Writes a relay's cursor.
    CursorWrite,
}

/// What is asked of a system, as faults and reports name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Opens a transaction of a database.
    Begin,
    /// Executes a statement, in the open transaction or as one of its own.
    Execute,
    /// Commits a transaction of a database.
    Commit,
    /// Rolls it back.
    Rollback,
    /// Reads a database's log (change data capture).
    Capture,
    /// Reads a table and where the log was at that moment.
    Snapshot,
    /// Asks an API for a side effect.
    Perform,
    /// First phase: makes effects durable, and not yet visible.
    Prepare,
    /// Second phase: makes prepared effects visible, or drops them.
    Finish,
    /// Which prepared effects wait for their second phase?
    Pending,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 10] = [
        Operation::Begin,
        Operation::Execute,
        Operation::Commit,
        Operation::Rollback,
        Operation::Capture,
        Operation::Snapshot,
        Operation::Perform,
        Operation::Prepare,
        Operation::Finish,
        Operation::Pending,
    ];

    /// Its name in scenarios and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Begin => "Begin",
            Operation::Execute => "Execute",
            Operation::Commit => "Commit",
            Operation::Rollback => "Rollback",
            Operation::Capture => "Capture",
            Operation::Snapshot => "Snapshot",
            Operation::Perform => "Perform",
            Operation::Prepare => "Prepare",
            Operation::Finish => "Finish",
            Operation::Pending => "Pending",
        }
    }
}

/// Why a system refused, or why nobody knows what became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SystemError {
    /// The connection broke: unknown whether the request was executed.
    ConnectionLost,
    /// No answer in time: unknown whether the request was executed, or will be.
    Timeout,
    /// It serves nobody now (HTTP 503); nothing was done.
    Unavailable,
    /// The transaction was chosen to end a deadlock: it is rolled back.
    Deadlock,
    /// Another transaction held the lock for too long: this one is rolled back.
    LockTimeout,
    /// The session did nothing inside of a transaction for too long: it was rolled back.
    IdleTimeout,
    /// A constraint forbids it (a key that exists); the statement did nothing.
    Constraint,
    /// The statement failed for another reason; it did nothing.
    Statement,
    /// There is no open transaction to commit.
    NoTransaction,
    /// The idempotency key was used with another payload (HTTP 422); nothing was done.
    KeyReused,
    /// A request with the same idempotency key is under way (HTTP 409); nothing was done.
    InProgress,
    /// The fencing token is below one that was seen before (HTTP 412); nothing was done.
    Fenced,
    /// No transaction of this name is prepared, or it has ended the other way.
    UnknownTransaction,
}

impl SystemError {
    /// Whether the request may have been executed all the same, or may still be.
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        matches!(self, SystemError::ConnectionLost | SystemError::Timeout)
    }

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SystemError::ConnectionLost => "connection-lost",
            SystemError::Timeout => "timeout",
            SystemError::Unavailable => "unavailable",
            SystemError::Deadlock => "deadlock",
            SystemError::LockTimeout => "lock-timeout",
            SystemError::IdleTimeout => "idle-timeout",
            SystemError::Constraint => "constraint",
            SystemError::Statement => "statement",
            SystemError::NoTransaction => "no-transaction",
            SystemError::KeyReused => "key-reused",
            SystemError::InProgress => "in-progress",
            SystemError::Fenced => "fenced",
            SystemError::UnknownTransaction => "unknown-transaction",
        }
    }
}

/// One row that a statement changed: identities and images are hashes, 0 is "no row".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowChange {
    /// Of table and primary key (or rowid).
    pub row: u64,
    /// Of the row's values before.
    pub before: u64,
    /// Of its values after.
    pub after: u64,
}

/// A prepared statement of a system with what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prepared {
    /// Which.
    pub statement: StatementId,
    /// What for.
    pub role: StatementRole,
}
