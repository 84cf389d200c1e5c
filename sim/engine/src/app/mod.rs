//! Applications: what drives the clients. They see what an application of a real cluster sees, and
//! make the mistakes that their scenario asks for.

pub(crate) mod auditor;
pub(crate) mod consumer;
pub(crate) mod deadline;
pub(crate) mod processor;
pub(crate) mod producer;
pub(crate) mod relay;
pub(crate) mod service;
pub(crate) mod sink;
pub(crate) mod transactional;

use oncesim_history::{AskOutcome, Output};
use oncesim_kafka::consumer::ConsumerCall;
use oncesim_kafka::consumer::PolledRecord;
use oncesim_kafka::machine::Call;
use oncesim_kafka::producer::ProducerCall;
use oncesim_types::{
    ActorId, CallId, Duration, EffectId, LeaderEpoch, Offset, RecordId, SystemError, SystemId,
    TopicPartition,
};

/// The end of a request to a system: its answer, or why there is none. A refusal is definite; after
/// an error that [`SystemError::is_unknown`] nobody knows.
pub(crate) type Answer = Result<oncesim_external::Response, SystemError>;

/// What an application wants.
#[derive(Debug)]
pub(crate) enum AppEffect {
    /// Call the client; of a processor's, its consumer. `attempt` counts the `send()`s of one record,
    /// from 1.
    Call { call: CallId, attempt: u32, body: Call },
    /// Call a producer of a processor.
    Produce { producer: ActorId, call: CallId, attempt: u32, body: ProducerCall },
    /// Call the restore consumer.
    Restore { call: CallId, body: ConsumerCall },
    /// Where do these partitions end?
    LogEnds(Vec<TopicPartition>),
    /// Drop this producer client and make another one.
    NewProducer(ActorId),
    /// Wake it after a while; of several requests the earliest counts.
    Wake(Duration),
    /// One record is processed: its outcome at the processing level.
    Processed { partition: TopicPartition, offset: Offset, record: RecordId },
    /// A record is made from an input; its `send()` follows.
    Emitted {
        record: RecordId,
        input: RecordId,
        partition: TopicPartition,
        offset: Offset,
        output: Output,
    },
    /// A store is restored from its changelog, up to `to`.
    StateRestored { changelog: TopicPartition, to: Offset, keys: u32, fingerprint: u64 },
    /// A record of a transfer is made; its `send()` follows.
    Transfer { record: RecordId, amount: i64 },
    /// Ask a system outside of Kafka; [`Answer`] follows, unless the process dies before.
    Ask {
        system: SystemId,
        call: CallId,
        /// The effect that is asked for, for the recorder.
        effect: Option<EffectId>,
        body: oncesim_external::Request,
    },
    /// Close the connection to a system: whatever is open there is rolled back.
    HangUp(SystemId),
    /// An effect is taken for done: the application goes on.
    EffectDone { effect: EffectId, skipped: bool },
    /// A business operation begins.
    Intended { record: RecordId, aggregate: u32 },
    /// It ended, as its caller is told.
    IntentEnded { record: RecordId, outcome: AskOutcome },
    /// A relay goes on from a stored position.
    RelayStarted { position: i64, snapshot: bool },
    /// A relay's cursor moved.
    RelayPosition { position: i64 },
    /// A rebalance callback has returned.
    CallbackReturned,
    /// It has closed its client and is done for good.
    Finished,
    /// It has closed its client and wants its process started anew.
    Restart,
}

/// Remembers that `record` is consumed: the offset after it, and its leader epoch. With the epoch a
/// consumer that takes over asks no leader older than the one that appended it (KIP-320).
fn set_consumed(offsets: &mut Vec<(TopicPartition, Offset, LeaderEpoch)>, record: &PolledRecord) {
    let consumed = (record.partition, record.offset.next(), record.leader_epoch);
    match offsets.iter_mut().find(|(at, ..)| *at == record.partition) {
        Some(current) => *current = consumed,
        None => offsets.push(consumed),
    }
}
