//! A relay: it publishes what a database holds.

use oncesim_kafka::consumer::ConsumerCompletion;
use oncesim_kafka::producer::ProducerCompletion;
use oncesim_spec::RelaySpec;
use oncesim_types::{ActorId, CallId, Instant, Offset, TopicPartition};

use super::{Answer, AppEffect};

/// The application of one relay instance.
#[derive(Debug)]
pub(crate) struct RelayApp {
    spec: RelaySpec,
}

impl RelayApp {
    pub(crate) fn new(_actor: ActorId, spec: RelaySpec, _seed: u64) -> Self {
        RelayApp { spec }
    }

    pub(crate) fn spec(&self) -> &RelaySpec {
        &self.spec
    }

    /// The process starts (again).
    pub(crate) fn start(&mut self, _now: Instant, _out: &mut Vec<AppEffect>) {}

    /// A wake-up that it asked for.
    pub(crate) fn wake(&mut self, _now: Instant, _out: &mut Vec<AppEffect>) {}

    /// A call of its producer ended.
    pub(crate) fn completed(
        &mut self,
        _now: Instant,
        _call: CallId,
        _end: ProducerCompletion,
        _out: &mut Vec<AppEffect>,
    ) {
    }

    /// A request to its database ended.
    pub(crate) fn answered(
        &mut self,
        _now: Instant,
        _call: CallId,
        _answer: Answer,
        _out: &mut Vec<AppEffect>,
    ) {
    }

    /// Where the partitions end that it asked about, as far as their leaders can tell.
    pub(crate) fn log_ends(
        &mut self,
        _now: Instant,
        _ends: &[(TopicPartition, Option<Offset>)],
        _out: &mut Vec<AppEffect>,
    ) {
    }

    /// A call of the restore consumer ended; `position` is its `position()`.
    pub(crate) fn restore_completed(
        &mut self,
        _now: Instant,
        _end: &ConsumerCompletion,
        _position: impl Fn(TopicPartition) -> Option<Offset>,
        _out: &mut Vec<AppEffect>,
    ) {
    }

    /// Whether it has published all that it was told of; else what is left.
    pub(crate) fn is_settled(&self) -> Result<(), String> {
        Ok(())
    }
}
