//! An API with side effects that cannot be undone, and a store of idempotency keys.
//!
//! Mirrors the convention of the `Idempotency-Key` header field (draft-ietf-httpapi-idempotency-key-header,
//! sections 2.3 to 2.7) and what Stripe's API documents of its keys:
//! - The first request with a key is executed, and its answer is kept; a later one is given the kept
//!   answer. Nothing is kept of a request that was refused before it was executed: it may be made
//!   again with its key.
//! - A key that comes with another payload is refused with [`SystemError::KeyReused`] (HTTP 422); an
//!   API without a fingerprint of the payload gives the kept answer.
//! - A key whose first request is still being worked on is refused with [`SystemError::InProgress`]
//!   (HTTP 409).
//! - Keys expire. A key that was forgotten is a new key.
//!
//! The fencing token is Kleppmann's: a request with a token below the highest that this API has
//! accepted is refused with [`SystemError::Fenced`] (HTTP 412), before its key is looked at.
//!
//! A request takes effect when it is accepted: the effect, its receipt, the answer, the key and the
//! token are durable together at that moment, as if they were one transaction of the API's own
//! database, and the answer goes out when the work is done. A crash in between loses the answer and
//! neither effect nor key; after it nobody works on the request any more, and the same key is given
//! the kept answer.
//!
//! Simplifications:
//! - Effect and key are one durable write. An API that writes them apart doubles or loses on its own
//!   account; what is studied here is what its clients do with a sound one.
//! - Keys are forgotten at the next request, whatever its key, and not when they expire. Sound:
//!   nobody sees the store but through requests, and a key that has expired is never honoured.
//! - A key lives for the time to live from the moment its answer was due. So it outlives the work
//!   on it, and a retry after the answer finds it for that long.
//! - One API is one resource: there is one highest token. A token that is a group's generation grows
//!   for all of its members at once when assignments are eager; one that stays with a partition over
//!   generations would need a token per partition.
//! - A request without a token is not fenced, one without a key is always executed: the scenario says
//!   what its clients send.
//! - Deadlocks are a database's; an API knows none.

use std::collections::{BTreeMap, BTreeSet};

use oncesim_types::{
    ActorId, ConnectionId, CorrelationId, Duration, EffectId, Instant, RowChange, SystemError,
};

use crate::fault::Faults;
use crate::image::image;
use crate::machine::{Effect, Effects, Input, SystemFault};
use crate::message::{ApiRequest, Request, Response};
use crate::note::Note;

#[cfg(test)]
mod tests;

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
    config: ApiConfig,
    faults: Faults,

    // ---- durable ----
    /// Receipts are numbered from 1; each is a commit of its own.
    receipts: u64,
    keys: BTreeMap<u64, Kept>,
    /// The keys by when they expire.
    expiries: BTreeSet<(Instant, u64)>,
    /// The highest token that was accepted.
    token: i64,

    // ---- gone with the process ----
    /// Keys whose first request is being worked on, and until when.
    under_way: BTreeMap<u64, Instant>,
}

/// What is kept under a key.
#[derive(Debug, Clone, Copy)]
struct Kept {
    effect: EffectId,
    payload: u64,
    receipt: u64,
}

/// How a request ended, before its answer is on its way.
enum Outcome {
    /// The effect took place.
    Executed(Response),
    /// Nothing changed.
    Answered(Response),
}

impl Api {
    /// One that has never been asked anything.
    #[must_use]
    pub fn new(config: ApiConfig) -> Self {
        Api {
            config,
            faults: Faults::default(),
            receipts: 0,
            keys: BTreeMap::new(),
            expiries: BTreeSet::new(),
            token: i64::MIN,
            under_way: BTreeMap::new(),
        }
    }

    pub(crate) fn step(&mut self, now: Instant, input: Input, effects: &mut Effects) {
        match input {
            Input::Request { from, connection, correlation, body } => {
                let Request::Perform(request) = body else {
                    panic!(
                        "an API is asked for side effects only, not to {}",
                        body.operation().name()
                    )
                };
                self.on_perform(now, (from, connection, correlation), &request, effects);
            }
            Input::Fault(fault, begins) => self.faults.set(fault, begins),
            // An API has no sessions: what a client that went away asked for is done all the same.
            Input::Start | Input::ConnectionClosed { .. } | Input::Timer(_) => {}
        }
    }

    pub(crate) fn crash(&mut self) {
        self.under_way.clear();
    }

    fn on_perform(
        &mut self,
        now: Instant,
        (to, connection, correlation): (ActorId, ConnectionId, CorrelationId),
        request: &ApiRequest,
        effects: &mut Effects,
    ) {
        let after = self.config.service_time + self.faults.delay();
        let breaks = self.faults.contains(SystemFault::UnknownCommits);
        let body = match self.perform(now, request, effects) {
            Outcome::Executed(_) if breaks => {
                self.remember(now, request);
                effects.0.push(Effect::CloseConnection { connection });
                return;
            }
            Outcome::Executed(body) => {
                self.remember(now + after, request);
                body
            }
            Outcome::Answered(body) => body,
        };
        effects.0.push(Effect::Reply { to, connection, correlation, after, body });
    }

    fn perform(&mut self, now: Instant, request: &ApiRequest, effects: &mut Effects) -> Outcome {
        let refused = |error| Outcome::Answered(Response::Refused(error));
        if self.faults.contains(SystemFault::Errors) {
            return refused(SystemError::Unavailable);
        }
        self.forget_expired(now, effects);
        if let Some(token) = request.token
            && self.config.checks_token
        {
            if token < self.token {
                return refused(SystemError::Fenced);
            }
            self.token = token;
        }
        let kept = request.key.and_then(|key| Some((key, *self.keys.get(&key)?)));
        let Some((key, kept)) = kept else {
            return Outcome::Executed(self.execute(request, effects));
        };
        let same_payload = kept.payload == request.payload;
        if !same_payload && self.config.rejects_other_payload {
            return refused(SystemError::KeyReused);
        }
        if self.under_way.get(&key).is_some_and(|until| now < *until) {
            return refused(SystemError::InProgress);
        }
        effects.note(Note::Replayed {
            effect: request.effect,
            original: kept.effect,
            key,
            same_payload,
        });
        Outcome::Answered(Response::Performed { result: kept.receipt, replayed: true })
    }

    /// The side effect takes place, and is durable with its receipt.
    fn execute(&mut self, request: &ApiRequest, effects: &mut Effects) -> Response {
        self.receipts += 1;
        let receipt = self.receipts;
        if let Some(key) = request.key {
            let kept = Kept { effect: request.effect, payload: request.payload, receipt };
            let before = self.keys.insert(key, kept);
            assert!(before.is_none(), "a key that is kept is not executed again");
        }
        let change = RowChange {
            row: image(&[receipt]),
            before: 0,
            after: image(&[receipt, request.payload]),
        };
        effects.note(Note::Applied {
            effect: request.effect,
            commit: receipt,
            changes: vec![change],
            key: request.key,
            token: request.token,
            read_at: None,
        });
        Response::Performed { result: receipt, replayed: false }
    }

    /// The work on a request that was executed ends at `done`; its key lives on from there.
    fn remember(&mut self, done: Instant, request: &ApiRequest) {
        let Some(key) = request.key else { return };
        self.under_way.insert(key, done);
        if let Some(ttl) = self.config.key_ttl {
            self.expiries.insert((done + ttl, key));
        }
    }

    fn forget_expired(&mut self, now: Instant, effects: &mut Effects) {
        while let Some((expiry, key)) = self.expiries.first().copied()
            && expiry <= now
        {
            self.expiries.pop_first();
            self.under_way.remove(&key);
            let kept = self.keys.remove(&key).expect("a key that expires is kept");
            effects.note(Note::KeyEvicted { key, effect: kept.effect });
        }
    }
}
