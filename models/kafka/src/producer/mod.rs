//! The producer client.

use oncesim_types::{ErrorCode, Offset, TopicId, TopicPartition};

use crate::log::batch::Record;

/// What an application asks of its producer.
#[derive(Debug)]
pub enum ProducerCall {
    /// `send()`: completes when the record is acknowledged, or given up.
    Send {
        /// To which topic.
        topic: TopicId,
        /// To which partition; `None` leaves it to the partitioner.
        partition: Option<u16>,
        /// The record.
        record: Record,
    },
    /// `flush()`: completes when every earlier `send` is complete.
    Flush,
    /// `close()`: completes when every earlier `send` is complete, or given up after the timeout.
    Close,
}

/// The end of a producer's call.
#[derive(Debug, Clone, Copy)]
pub enum ProducerCompletion {
    /// Of `send()`.
    Sent(SendResult),
    /// Of `flush()`.
    Flushed,
    /// Of `close()`.
    Closed,
}

/// What became of one record.
#[derive(Debug, Clone, Copy)]
pub struct SendResult {
    /// The partition that the partitioner chose; `None` if it failed before that.
    pub partition: Option<TopicPartition>,
    /// [`ErrorCode::None`] when acknowledged.
    pub error: ErrorCode,
    /// Its offset; [`Offset::UNKNOWN`] with `acks=0` or after a recognised duplicate.
    pub offset: Offset,
    /// Whether an earlier or the last attempt may have been appended although `error` is set
    /// (kafka-rules.md section 8: timeout, disconnect, NOT_LEADER_OR_FOLLOWER, ...).
    pub maybe_appended: bool,
}
