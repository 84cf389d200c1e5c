//! A sink with two phases: effects are prepared durably and become visible when they are committed.

use oncesim_types::{Duration, Instant};

use crate::machine::{Effects, Input};

/// What a two-phase sink is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagingConfig {
    /// How long it works on a request.
    pub service_time: Duration,
    /// How long it keeps what is prepared and not finished; `None`: for ever.
    pub prepared_timeout: Option<Duration>,
}

/// A two-phase sink.
#[derive(Debug)]
pub struct Staging {
    #[expect(dead_code, reason = "the machine comes next")]
    config: StagingConfig,
}

impl Staging {
    /// One where nothing is prepared.
    #[must_use]
    pub fn new(config: StagingConfig) -> Self {
        Staging { config }
    }

    pub(crate) fn step(&mut self, _now: Instant, _input: Input, _effects: &mut Effects) {}

    pub(crate) fn crash(&mut self) {}
}
