//! `BrokerHeartbeat`: keeps a broker's session, unfences it, leads it through controlled shutdown.
//!
//! Mirrors `ReplicationControlManager.processBrokerHeartbeat`,
//! `BrokerHeartbeatManager.calculateNextBrokerState` (KIP-631, KIP-841).
//!
//! Simplifications: no broker asks to stay fenced (`WantFence` is only sent while a broker recovers
//! its logs, and recovery takes no virtual time).

use oncesim_types::{BrokerEpoch, ErrorCode, Instant};

use crate::controller::Controller;
use crate::machine::Effects;
use crate::message::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};

impl Controller {
    pub(super) fn on_heartbeat(
        &mut self,
        now: Instant,
        request: BrokerHeartbeatRequest,
        effects: &mut Effects,
    ) -> BrokerHeartbeatResponse {
        let slot = match self.checked_slot(request.broker, request.broker_epoch) {
            Ok(slot) => slot,
            Err(error) => {
                return BrokerHeartbeatResponse { error, fenced: true, should_shutdown: false };
            }
        };
        let at = usize::from(slot);
        self.sessions[at] = now;
        self.applied[at] = request.metadata_offset;
        let registration = *self.disk.broker(slot);
        let mut should_shutdown = false;
        if registration.fenced {
            if request.want_shutdown {
                should_shutdown = true;
            } else if has_applied(request.metadata_offset, registration.epoch) {
                self.unfence(slot, now, effects);
            }
        } else if registration.in_controlled_shutdown {
            should_shutdown = !self.leads_anything(slot)
                && self.shutdown_offset[at] <= self.lowest_active_offset();
        } else if request.want_shutdown {
            if self.leads_anything(slot) {
                self.enter_controlled_shutdown(slot, effects);
            } else {
                should_shutdown = true;
            }
        }
        if should_shutdown && !registration.fenced {
            self.fence(slot, effects);
        }
        BrokerHeartbeatResponse {
            error: ErrorCode::None,
            fenced: self.disk.broker(slot).fenced,
            should_shutdown,
        }
    }

    fn leads_anything(&self, slot: u16) -> bool {
        let broker = self.disk.broker(slot).broker;
        self.disk.partitions().iter().any(|partition| partition.leader == Some(broker))
    }

    /// What every broker that stays has applied: leaders elsewhere are known to all of them.
    fn lowest_active_offset(&self) -> u64 {
        (self.disk.brokers().iter().zip(&self.applied))
            .filter(|(registration, _)| registration.is_active())
            .map(|(_, applied)| *applied)
            .min()
            .unwrap_or(u64::MAX)
    }
}

/// Whether a broker with `applied` records of the log knows its own registration, whose record's
/// index is the broker epoch.
fn has_applied(applied: u64, registered: BrokerEpoch) -> bool {
    i64::try_from(applied).is_ok_and(|applied| applied > registered.0)
}
