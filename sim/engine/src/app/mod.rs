//! Applications: what drives the clients. They see what an application of a real cluster sees, and
//! make the mistakes that their scenario asks for.

pub(crate) mod auditor;
pub(crate) mod consumer;
pub(crate) mod producer;

use oncesim_kafka::machine::Call;
use oncesim_types::{CallId, Duration, Offset, RecordId, TopicPartition};

/// What an application wants.
#[derive(Debug)]
pub(crate) enum AppEffect {
    /// Call the client. `attempt` counts the `send()`s of one record, from 1.
    Call { call: CallId, attempt: u32, body: Call },
    /// Wake it after a while; of several requests the earliest counts.
    Wake(Duration),
    /// One record is processed: its outcome at the processing level.
    Processed { partition: TopicPartition, offset: Offset, record: RecordId },
    /// A rebalance callback has returned.
    CallbackReturned,
    /// It has closed its client and is done for good.
    Finished,
    /// It has closed its client and wants its process started anew.
    Restart,
}
