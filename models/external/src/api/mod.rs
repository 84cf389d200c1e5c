//! An API with side effects that cannot be undone, and a store of idempotency keys.

use oncesim_types::{Duration, Instant};

use crate::machine::{Effects, Input};

/// What an API is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// How long it works on a request.
    pub service_time: Duration,
    /// How long it remembers a key; `None`: for ever.
    pub key_ttl: Option<Duration>,
    /// Whether a key with another payload is refused; else the stored answer is given.
    pub rejects_other_payload: bool,
    /// Whether a request whose token is below the highest that was seen is refused.
    pub checks_token: bool,
}

/// An API.
#[derive(Debug)]
pub struct Api {
    #[expect(dead_code, reason = "the machine comes next")]
    config: ApiConfig,
}

impl Api {
    /// One that has never been asked anything.
    #[must_use]
    pub fn new(config: ApiConfig) -> Self {
        Api { config }
    }

    pub(crate) fn step(&mut self, _now: Instant, _input: Input, _effects: &mut Effects) {}

    pub(crate) fn crash(&mut self) {}
}
