//! Feature levels that a cluster has finalized.
//!
//! Mirrors `TransactionVersion` (KIP-890).

/// `transaction.version`: the generation of the transaction protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TransactionVersion {
    /// Partitions are added by the client; the epoch changes with each `initTransactions()` only.
    V1,
    /// KIP-890 part 2, the default since Kafka 4.0: the epoch changes with each transaction, and
    /// partition leaders add their partitions.
    #[default]
    V2,
}

impl TransactionVersion {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            TransactionVersion::V1 => 1,
            TransactionVersion::V2 => 2,
        }
    }

    /// Whether each transaction has its own epoch.
    #[must_use]
    pub const fn bumps_per_transaction(self) -> bool {
        matches!(self, TransactionVersion::V2)
    }
}
