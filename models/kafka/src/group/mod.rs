//! The group coordinator: one shard per partition of `__consumer_offsets` that this broker leads.
//!
//! It is a part of the broker, not a machine of its own: the broker gives it requests, timers and
//! the progress of its log, and performs what it returns. See [`GroupEffect`].

pub mod assignor;
mod classic_group;
mod coordinator;
mod heartbeat;
mod join_group;
mod leave_group;
mod offset_commit;
mod offset_fetch;
mod partition;
mod pending_offsets;
mod shard;
mod sync_group;
#[cfg(test)]
mod tests;
mod txn_offset_commit;
mod writes;

pub use classic_group::GroupState;
pub use coordinator::GroupCoordinator;
pub use partition::coordinator_partition;
pub use txn_offset_commit::txn_offset_commit_refused;

use oncesim_types::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TransactionResult};

use crate::log::VerificationGuard;
use crate::log::batch::{CoordinatorRecord, LogBatch};
use crate::machine::{ReplyTo, TimerKey};
use crate::message::Response;
use crate::note::Note;

/// What the coordinator wants done by its broker.
#[derive(Debug)]
pub enum GroupEffect {
    /// Append these records as one batch to partition `partition` of `__consumer_offsets` with
    /// `acks=all`. The broker answers with `appended` or `append_failed` and the same ticket.
    Append {
        /// Index of the partition.
        partition: u16,
        /// The records.
        records: Vec<CoordinatorRecord>,
        /// The coordinator's number for it.
        ticket: u64,
        /// The transaction that the batch belongs to, if any.
        transaction: Option<TransactionalWrite>,
    },
    /// Answer a request.
    Reply(ReplyTo, Response),
    /// Set a timer; the broker passes it back to `timer`. Keys have [`GROUP_TIMER`] set.
    SetTimer(TimerKey, oncesim_types::Duration),
    /// Cancel a timer.
    CancelTimer(TimerKey),
    /// Tell the recorder.
    Note(Note),
}

/// On whose behalf a coordinator writes within a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionalWrite {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Stands for the verification of the partition.
    pub guard: Option<VerificationGuard>,
}

/// Set in every timer key of the coordinator; the broker's own keys do not have it.
pub const GROUP_TIMER: u64 = 1 << 63;

/// What the broker calls. The method names are the contract between broker and coordinator.
pub trait GroupCoordination {
    /// The broker has become leader of `partition` with `epoch`: start loading. Requests for its
    /// groups get COORDINATOR_LOAD_IN_PROGRESS until `loaded`.
    fn elected(&mut self, partition: u16, epoch: LeaderEpoch);

    /// The whole log of `partition` up to its log end offset, in order. Follows `elected`, in the
    /// same step or later. The broker then reports the high watermark that it has at that moment
    /// with `high_watermark`, even if it is not new: until it covers what was loaded, offsets are
    /// not read. A broker that is elected again while it coordinates need not load: batches of
    /// `loaded` are ignored then.
    fn loaded(
        &mut self,
        now: oncesim_types::Instant,
        partition: u16,
        batches: &mut dyn Iterator<Item = &LogBatch>,
        out: &mut Vec<GroupEffect>,
    );

    /// The broker does not lead `partition` any more: waiting requests get NOT_COORDINATOR.
    fn resigned(&mut self, partition: u16, out: &mut Vec<GroupEffect>);

    /// The records of `ticket` are in the leader's log at `base_offset ..= last_offset`. Called
    /// before the `high_watermark` that covers them, and in the order of the appends.
    fn appended(&mut self, ticket: u64, base_offset: Offset, last_offset: Offset);

    /// The records of `ticket` were not appended (NOT_LEADER_OR_FOLLOWER, NOT_ENOUGH_REPLICAS,
    /// KAFKA_STORAGE_ERROR): undo and answer.
    fn append_failed(&mut self, ticket: u64, error: ErrorCode, out: &mut Vec<GroupEffect>);

    /// The marker of a transaction is in the leader's log at `offset`. Called before the
    /// `high_watermark` that covers it: then it acts.
    fn marker_appended(
        &mut self,
        now: oncesim_types::Instant,
        partition: u16,
        producer_id: ProducerId,
        result: TransactionResult,
        offset: Offset,
        out: &mut Vec<GroupEffect>,
    );

    /// The high watermark of `partition` is `high_watermark`: what is below is durable.
    fn high_watermark(
        &mut self,
        now: oncesim_types::Instant,
        partition: u16,
        high_watermark: Offset,
        out: &mut Vec<GroupEffect>,
    );

    /// A timer of the coordinator is due.
    fn timer(&mut self, now: oncesim_types::Instant, key: TimerKey, out: &mut Vec<GroupEffect>);
}
