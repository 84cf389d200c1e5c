//! A service: a business row in a database, and an event in the log that announces it.

use oncesim_kafka::producer::ProducerCompletion;
use oncesim_spec::ServiceSpec;
use oncesim_types::{ActorId, CallId, Instant};

use super::{Answer, AppEffect};

/// The application of one service instance.
#[derive(Debug)]
pub(crate) struct ServiceApp {
    spec: ServiceSpec,
}

impl ServiceApp {
    pub(crate) fn new(_actor: ActorId, spec: ServiceSpec, _seed: u64) -> Self {
        ServiceApp { spec }
    }

    pub(crate) fn spec(&self) -> &ServiceSpec {
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

    /// Whether every operation has ended; else what it is about.
    pub(crate) fn is_settled(&self) -> Result<(), String> {
        Ok(())
    }
}
