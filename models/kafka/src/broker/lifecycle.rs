//! A broker's life as the controller sees it: registration, heartbeats, controlled shutdown; and
//! everything else that goes to the controller.
//!
//! Mirrors `BrokerLifecycleManager`, `NodeToControllerChannelManager` (KIP-631).
//!
//! Simplifications: reconnection to the controller has a constant backoff.

use oncesim_types::{BrokerEpoch, CorrelationId, Duration, ErrorCode, Instant};

use crate::broker::{Broker, REQUEST_TIMEOUT, TIMER_CONTROLLER_RETRY, TIMER_HEARTBEAT};
use crate::machine::{Effect, Effects, TimerKey};
use crate::message::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest,
    BrokerRegistrationResponse, FetchMetadataRequest, Request,
};

/// Between two attempts to reach the controller.
const RETRY_BACKOFF: Duration = Duration::from_millis(500);

/// Where a broker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has no epoch yet.
    Registering,
    /// It reads the metadata log up to its own registration.
    CatchingUp,
    /// It serves.
    Running,
}

/// Requests that the controller has not answered.
#[derive(Debug, Default)]
pub(super) struct ControllerLink {
    pub(super) registration: Option<CorrelationId>,
    pub(super) heartbeat: Option<(CorrelationId, Instant)>,
    pub(super) metadata_fetch: Option<CorrelationId>,
    pub(super) producer_ids: Option<CorrelationId>,
    /// Changes of in-sync replicas, with the partition's index.
    pub(super) alter_partition: Vec<(CorrelationId, u32)>,
    /// Whether the broker wants to leave.
    pub(super) want_shutdown: bool,
}

impl Broker {
    pub(super) fn start(&mut self, now: Instant, effects: &mut Effects) {
        self.started = now;
        self.register(effects);
    }

    /// Asks the controller to let this broker go in good order: leaders move away first. The broker
    /// halts when it may; end it with [`Crash::Clean`](crate::broker::Crash::Clean) then.
    pub fn shutdown(&mut self, now: Instant, effects: &mut Effects) {
        self.link.want_shutdown = true;
        if self.epoch == BrokerEpoch::NONE {
            self.halt("controlled shutdown", effects);
        } else {
            self.heartbeat(now, effects);
        }
    }

    fn register(&mut self, effects: &mut Effects) {
        let correlation = self.correlation();
        self.link.registration = Some(correlation);
        let request = BrokerRegistrationRequest {
            broker: self.id,
            incarnation: self.incarnation,
            previous_broker_epoch: self.previous_epoch,
        };
        effects.send(self.controller, correlation, Request::BrokerRegistration(request));
    }

    pub(super) fn on_registered(
        &mut self,
        now: Instant,
        correlation: CorrelationId,
        response: BrokerRegistrationResponse,
        effects: &mut Effects,
    ) {
        if self.link.registration != Some(correlation) {
            return;
        }
        self.link.registration = None;
        if response.error != ErrorCode::None {
            self.retry_controller(effects);
            return;
        }
        self.epoch = response.broker_epoch;
        self.phase = Phase::CatchingUp;
        self.fetch_metadata(effects);
        self.heartbeat(now, effects);
        effects.set_timer(TimerKey(TIMER_HEARTBEAT), self.config.broker_heartbeat_interval);
    }

    pub(super) fn fetch_metadata(&mut self, effects: &mut Effects) {
        let correlation = self.correlation();
        self.link.metadata_fetch = Some(correlation);
        let request = FetchMetadataRequest { broker: self.id, from: self.image.applied };
        effects.send(self.controller, correlation, Request::FetchMetadata(request));
    }

    pub(super) fn heartbeat(&mut self, now: Instant, effects: &mut Effects) {
        let correlation = self.correlation();
        self.link.heartbeat = Some((correlation, now));
        let request = BrokerHeartbeatRequest {
            broker: self.id,
            broker_epoch: self.epoch,
            metadata_offset: self.image.applied,
            want_shutdown: self.link.want_shutdown,
        };
        effects.send(self.controller, correlation, Request::BrokerHeartbeat(request));
    }

    pub(super) fn on_heartbeat_timer(&mut self, now: Instant, effects: &mut Effects) {
        effects.set_timer(TimerKey(TIMER_HEARTBEAT), self.config.broker_heartbeat_interval);
        self.expire_parked(now, effects);
        self.expire_fetches(now, effects);
        let patience = Duration(self.config.broker_session_timeout.as_nanos() / 2);
        match self.link.heartbeat {
            // Its answer is late; a second one would only queue behind it.
            Some((_, sent)) if now.since(sent) < patience.min(REQUEST_TIMEOUT) => {}
            Some(_) => {
                effects.0.push(Effect::Disconnect { peer: self.controller });
                self.on_controller_lost(effects);
            }
            None if self.timers.controller_retry => {}
            None => self.heartbeat(now, effects),
        }
    }

    pub(super) fn on_heartbeat_answered(
        &mut self,
        correlation: CorrelationId,
        response: BrokerHeartbeatResponse,
        effects: &mut Effects,
    ) {
        if self.link.heartbeat.is_none_or(|(sent, _)| sent != correlation) {
            return;
        }
        self.link.heartbeat = None;
        if response.error == ErrorCode::None && response.should_shutdown {
            self.halt("controlled shutdown", effects);
        }
    }

    /// The connection to the controller is gone: what was in flight on it has no answer.
    pub(super) fn on_controller_lost(&mut self, effects: &mut Effects) {
        self.link.registration = None;
        self.link.heartbeat = None;
        self.link.metadata_fetch = None;
        self.link.producer_ids = None;
        let alters = std::mem::take(&mut self.link.alter_partition);
        for (correlation, index) in alters {
            self.isr_unanswered(correlation, index);
        }
        self.refuse_producer_ids(effects);
        self.retry_controller(effects);
    }

    fn retry_controller(&mut self, effects: &mut Effects) {
        if !self.timers.controller_retry {
            self.timers.controller_retry = true;
            effects.set_timer(TimerKey(TIMER_CONTROLLER_RETRY), RETRY_BACKOFF);
        }
    }

    pub(super) fn on_controller_retry(&mut self, now: Instant, effects: &mut Effects) {
        self.timers.controller_retry = false;
        if self.phase == Phase::Registering {
            if self.link.registration.is_none() {
                self.register(effects);
            }
            return;
        }
        if self.link.heartbeat.is_none() {
            self.heartbeat(now, effects);
        }
        if self.link.metadata_fetch.is_none() {
            self.fetch_metadata(effects);
        }
        self.resend_alter_partition(effects);
    }
}
