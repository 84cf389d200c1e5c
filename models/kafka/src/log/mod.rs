//! A partition's log at one broker.

pub mod batch;
mod leader_epoch_cache;
mod partition_log;
mod producer_state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transaction_tests;
mod transactions;
mod verification_state;

pub use leader_epoch_cache::LeaderEpochCache;
pub use partition_log::{PartitionLog, ProducerSnapshot, Read};
pub use producer_state::{AppendOrigin, BatchMetadata, ProducerEntry, ProducerStates, Validation};
pub use transactions::{CompletedTransaction, TransactionIndex, Transactions};
pub use verification_state::{
    Verification, VerificationGuard, VerificationStateEntry, VerificationStates,
};
