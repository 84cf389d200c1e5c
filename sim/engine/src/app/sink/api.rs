//! Effects by requests to an API.
//!
//! Mirrors clients of APIs that follow the convention of the `Idempotency-Key` header: the key is
//! sent again with every retry of a request; 409 (a request with the key is under way) is tried again
//! later; 422 (the key was used with another payload) is an error of the program, which its handler
//! logs and drops as no retry can mend it: the effect is never asked for again. 412 says that somebody
//! with a higher fencing token was there.

use oncesim_external::{ApiRequest, Request};
use oncesim_spec::SinkKind;
use oncesim_types::EffectId;

use super::session::{Planned, Step};
use super::{Delivery, Sink};

/// One request for each record, with a value or without.
pub(super) fn plan(batch: &[Delivery]) -> Vec<Planned> {
    (0..batch.len()).map(|record| Planned { step: Step::Perform(record), again: record }).collect()
}

impl Sink {
    pub(super) fn perform(&mut self, delivery: &Delivery) -> (Option<EffectId>, Request) {
        let request = self.unique();
        let SinkKind::Api { key, token } = self.spec.kind else {
            unreachable!("requests of this kind belong to an API")
        };
        let effect = self.effect_id(delivery, 0);
        let body = ApiRequest {
            effect,
            key: self.identities.idempotency_key(key, &delivery.polled, request),
            payload: self.identities.payload(&delivery.polled),
            token: token.then_some(delivery.token),
        };
        (Some(effect), Request::Perform(body))
    }
}
