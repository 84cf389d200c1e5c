//! The consumer client.
//!
//! Mirrors `ClassicKafkaConsumer`, `SubscriptionState`, `Fetcher`, `OffsetFetcher`,
//! `ConsumerCoordinator`. Simplifications are listed in each file.

mod commit;
mod committed;
mod fetcher;
mod machine;
mod membership;
mod position;
mod rebalance;
mod subscription;
#[cfg(test)]
mod tests;

pub use machine::Consumer;

use oncesim_types::{
    ErrorCode, GenerationId, LeaderEpoch, MemberId, Offset, TopicId, TopicPartition,
};

use crate::log::batch::Record;

/// What an application asks of its consumer.
#[derive(Debug)]
pub enum ConsumerCall {
    /// `subscribe(topics)`: the group assigns partitions. Completes at once.
    Subscribe(Vec<TopicId>),
    /// `assign(partitions)`: no group membership. Completes at once.
    Assign(Vec<TopicPartition>),
    /// `poll()`: completes with records (at most `max.poll.records`); it waits for them, and calls
    /// the application back on a rebalance meanwhile. Also completes, empty, after a rebalance.
    Poll,
    /// The timeout of the `poll()` that waits has elapsed: it completes, empty. Completes nothing
    /// of its own, and changes nothing while the application is in a callback.
    PollTimeout,
    /// `commitSync(offsets)`: `OffsetAndMetadata` per partition, the next offset to consume and the
    /// leader epoch of the last record before it. With `None`, the positions.
    CommitSync(Option<Vec<(TopicPartition, Offset, LeaderEpoch)>>),
    /// `commitAsync(offsets)`; with `None`, the positions. Not retried.
    CommitAsync(Option<Vec<(TopicPartition, Offset, LeaderEpoch)>>),
    /// `committed(partitions)`: what the group has committed, once no open transaction has a say in
    /// it (KIP-447).
    Committed(Vec<TopicPartition>),
    /// `seek()`. Completes at once.
    Seek(TopicPartition, Offset),
    /// `seekToBeginning()` on every assigned partition. Completes at once.
    SeekToBeginning,
    /// The application has returned from a rebalance callback. Completes nothing: what called back
    /// goes on.
    CallbackDone,
    /// `close()`: commits if `enable.auto.commit`, leaves the group (unless static), completes.
    Close,
}

/// The end of a consumer's call.
#[derive(Debug)]
pub enum ConsumerCompletion {
    /// Of `poll()`.
    Polled(Vec<PolledRecord>),
    /// Of `commitSync()` and `commitAsync()`.
    Committed {
        /// What was to be committed.
        offsets: Vec<(TopicPartition, Offset)>,
        /// [`ErrorCode::None`] when committed.
        error: ErrorCode,
        /// Whether it may have been applied although `error` is set.
        maybe_committed: bool,
    },
    /// Of `committed()`: per partition the offset, `None` where the group has none; or why it could
    /// not be told.
    Offsets(Result<Vec<(TopicPartition, Option<Offset>)>, ErrorCode>),
    /// Of the calls that complete at once, and of `close()`.
    Done,
    /// Of `poll()`: the group refuses this member for good (`FENCED_INSTANCE_ID`), or no reset
    /// policy is set and the position is gone. Only `close()` makes sense now.
    Failed(ErrorCode),
}

/// A record as an application gets it.
#[derive(Debug, Clone, Copy)]
pub struct PolledRecord {
    /// From where.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: Offset,
    /// The epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// The record.
    pub record: Record,
}

/// A rebalance listener's callback, inside `poll()` or `close()`. Answered with
/// [`ConsumerCall::CallbackDone`]; the application may commit in between.
#[derive(Debug, Clone)]
pub enum RebalanceCallback {
    /// `onPartitionsAssigned`: what was added.
    Assigned {
        /// The member.
        member: MemberId,
        /// The generation.
        generation: GenerationId,
        /// Partitions that were added.
        added: Vec<TopicPartition>,
        /// Everything that the member owns now.
        owned: Vec<TopicPartition>,
    },
    /// `onPartitionsRevoked`: what is taken away; it may still be committed.
    Revoked {
        /// Partitions that are taken away.
        partitions: Vec<TopicPartition>,
    },
    /// `onPartitionsLost`: somebody else may own them already.
    Lost {
        /// Partitions that are gone.
        partitions: Vec<TopicPartition>,
    },
}
