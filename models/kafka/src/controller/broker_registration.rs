//! `BrokerRegistration`: a broker process announces itself and gets its broker epoch.
//!
//! Mirrors `ClusterControlManager.registerBroker` (KIP-631), with the detection of unclean shutdown
//! by the previous broker epoch (KIP-966).
//!
//! Simplifications: the registration of the process that is already registered changes nothing
//! (Kafka amends listeners and features with the same epoch).

use oncesim_types::{BrokerEpoch, ErrorCode, Instant};

use crate::controller::Controller;
use crate::machine::Effects;
use crate::message::{BrokerRegistrationRequest, BrokerRegistrationResponse};
use crate::note::Note;

impl Controller {
    pub(super) fn on_registration(
        &mut self,
        now: Instant,
        request: BrokerRegistrationRequest,
        effects: &mut Effects,
    ) -> BrokerRegistrationResponse {
        let refused = |error| BrokerRegistrationResponse { error, broker_epoch: BrokerEpoch::NONE };
        let Some(slot) = self.slot(request.broker) else {
            return refused(ErrorCode::InvalidRequest);
        };
        let registration = *self.disk.broker(slot);
        if registration.incarnation == request.incarnation {
            if !registration.fenced {
                self.sessions[usize::from(slot)] = now;
            }
            let broker_epoch = registration.epoch;
            return BrokerRegistrationResponse { error: ErrorCode::None, broker_epoch };
        }
        if self.has_valid_session(slot, now) {
            return refused(ErrorCode::DuplicateBrokerRegistration);
        }
        let clean = request.previous_broker_epoch == registration.epoch;
        if !registration.fenced {
            effects.note(Note::BrokerFenced { broker: request.broker, fenced: true });
        }
        let epoch = self.disk.register_broker(slot, request.incarnation);
        effects.note(Note::BrokerRegistered { broker: request.broker, epoch, clean });
        self.applied[usize::from(slot)] = 0;
        self.sessions[usize::from(slot)] = now;
        self.replace_process(request.broker, clean, effects);
        BrokerRegistrationResponse { error: ErrorCode::None, broker_epoch: epoch }
    }
}
