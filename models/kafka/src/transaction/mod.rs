//! The transaction coordinator: one shard per partition of `__transaction_state` that this broker
//! leads (KIP-98, KIP-360, KIP-588, KIP-890).
//!
//! It is a part of the broker, not a machine of its own: the broker gives it requests, timers,
//! answers of partition leaders and the progress of its log, and performs what it returns. See
//! [`TransactionEffect`].
//!
//! Simplifications: no two-phase commit (KIP-939), no admin API (`ListTransactions`,
//! `DescribeTransactions`), and only the partitions that transactional ids of the scenario map to
//! exist.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod coordinator;
mod end_txn;
mod expiration;
mod init_producer_id;
mod markers;
mod producer_ids;
mod shard;
mod state;
#[cfg(test)]
mod tests;
mod writes;

pub use coordinator::TransactionCoordinator;
use oncesim_types::{ActorId, Duration, TopicPartition, TransactionalId};
pub use producer_ids::ProducerIds;
pub use state::valid_previous_states;

use crate::log::batch::CoordinatorRecord;
use crate::machine::{ReplyTo, TimerKey};
use crate::message::{Request, Response};
use crate::note::Note;

/// What the coordinator wants done by its broker.
#[derive(Debug)]
pub enum TransactionEffect {
    /// Append this record to a partition of `__transaction_state` with `acks=all`. The broker
    /// answers with `appended` or `append_failed` and the same ticket.
    Append {
        /// Where.
        partition: TopicPartition,
        /// The record.
        record: CoordinatorRecord,
        /// The coordinator's number for it.
        ticket: u64,
    },
    /// Answer a request.
    Reply(ReplyTo, Response),
    /// Give the request again when there is a block of producer ids.
    AwaitProducerId(ReplyTo, Request),
    /// Close the connection to a leader that does not answer.
    Disconnect(ActorId),
    /// Set a timer; the broker passes it back to `timer`. Keys have [`TRANSACTION_TIMER`] set.
    SetTimer(TimerKey, Duration),
    /// Tell the recorder.
    Note(Note),
}

/// Set in every timer key of the coordinator; other keys of the broker do not have it.
pub const TRANSACTION_TIMER: u64 = 1 << 62;

/// The partition of `id` when `partitions` (not 0) of `__transaction_state` exist: ids are spread by
/// their number instead of by the hash of their name.
#[must_use]
pub fn coordinator_partition(id: TransactionalId, partitions: u16) -> u16 {
    id.0 % partitions.max(1)
}
