//! Broker sessions: who has not been heard for `broker.session.timeout.ms` is fenced.
//!
//! Mirrors `BrokerHeartbeatManager`, `ReplicationControlManager.handleBrokerFenced`,
//! `handleBrokerUnfenced`, `handleBrokerInControlledShutdown`, `handleBrokerShutdown`.
//!
//! Simplifications: one timer is armed for the earliest expiry and re-armed only when it goes off,
//! so that a heartbeat costs no timer (Kafka: a periodic check); an expiry is exact to the
//! nanosecond instead of up to a check later, which is one of the delays Kafka may show.

use oncesim_types::{ActorId, Instant};

use crate::controller::Controller;
use crate::controller::disk::BrokerRegistration;
use crate::controller::partition_change::{Change, PartitionChange};
use crate::machine::{Effects, TimerKey};
use crate::mutation::Mutation;
use crate::note::Note;

/// The controller's only timer.
pub(super) const SESSION_TIMER: TimerKey = TimerKey(0);

/// Which broker's change moves leaders and in-sync sets (`generateLeaderAndIsrUpdates`).
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause {
    /// It is fenced, or leaves: out of every in-sync set, and leads nothing.
    Remove(ActorId),
    /// A broker was unfenced: it may lead what nobody leads.
    Unfenced,
    /// It came back and its disk may have lost its end: out of ISR and ELR.
    UncleanShutdown(ActorId),
}

impl Controller {
    /// Arms the timer for the earliest expiry, unless it is armed.
    pub(super) fn arm_session_timer(&mut self, now: Instant, effects: &mut Effects) {
        if self.session_timer {
            return;
        }
        let earliest = (self.disk.brokers().iter().zip(&self.sessions))
            .filter(|(registration, _)| !registration.fenced)
            .map(|(_, heard)| *heard)
            .min();
        if let Some(heard) = earliest {
            self.session_timer = true;
            let expiry = heard + self.config.broker_session_timeout;
            effects.set_timer(SESSION_TIMER, expiry.since(now));
        }
    }

    pub(super) fn on_session_timer(&mut self, now: Instant, effects: &mut Effects) {
        self.session_timer = false;
        for heard in &mut self.sessions {
            // A clock that jumped back does not make a session longer.
            *heard = now.min(*heard);
        }
        for slot in (0..).take(self.sessions.len()) {
            let expiry = self.sessions[usize::from(slot)] + self.config.broker_session_timeout;
            if !self.disk.broker(slot).fenced && expiry <= now {
                self.fence(slot, effects);
            }
        }
        self.arm_session_timer(now, effects);
    }

    /// Whether the broker's process is alive as far as the controller knows.
    pub(super) fn has_valid_session(&self, slot: u16, now: Instant) -> bool {
        let expiry = self.sessions[usize::from(slot)] + self.config.broker_session_timeout;
        !self.disk.broker(slot).fenced && now < expiry
    }

    pub(super) fn fence(&mut self, slot: u16, effects: &mut Effects) {
        let registration = *self.disk.broker(slot);
        self.update_partitions(Cause::Remove(registration.broker), effects);
        let next =
            BrokerRegistration { fenced: true, in_controlled_shutdown: false, ..registration };
        self.write_broker(slot, next, effects);
    }

    pub(super) fn unfence(&mut self, slot: u16, now: Instant, effects: &mut Effects) {
        let registration = *self.disk.broker(slot);
        self.write_broker(slot, BrokerRegistration { fenced: false, ..registration }, effects);
        self.update_partitions(Cause::Unfenced, effects);
        self.arm_session_timer(now, effects);
    }

    pub(super) fn enter_controlled_shutdown(&mut self, slot: u16, effects: &mut Effects) {
        let registration = *self.disk.broker(slot);
        let next = BrokerRegistration { in_controlled_shutdown: true, ..registration };
        self.write_broker(slot, next, effects);
        self.update_partitions(Cause::Remove(registration.broker), effects);
        self.shutdown_offset[usize::from(slot)] = self.disk.log_end();
    }

    /// A new process took the place of a broker whose last one is over.
    pub(super) fn replace_process(&mut self, broker: ActorId, clean: bool, effects: &mut Effects) {
        if clean || !self.elr_enabled() {
            // KIP-966, planted bug: the last in-sync replica keeps its place with a torn disk.
            let kept = || self.disk.partitions().iter().any(|p| p.isr == [broker]);
            if !clean
                && self.config.eligible_leader_replicas
                && self.mutations.has(Mutation::CtrlNoElr)
                && kept()
            {
                effects.note(Note::MutationHit);
            }
            self.update_partitions(Cause::Remove(broker), effects);
        } else {
            self.update_partitions(Cause::UncleanShutdown(broker), effects);
        }
    }

    fn update_partitions(&mut self, cause: Cause, effects: &mut Effects) {
        for index in 0..self.disk.partitions().len() {
            if let Some(change) = self.partition_change(index, cause) {
                self.write_partition(index, change, effects);
            }
        }
    }

    fn partition_change(&self, index: usize, cause: Cause) -> Option<Change> {
        let partition = self.disk.partition(index);
        let concerned = match cause {
            Cause::Remove(broker) => partition.isr.contains(&broker),
            Cause::UncleanShutdown(broker) => {
                partition.isr.contains(&broker) || partition.elr.contains(&broker)
            }
            Cause::Unfenced => partition.leader.is_none(),
        };
        if !concerned {
            return None;
        }
        let (gone, unclean_shutdown) = match cause {
            Cause::Remove(broker) => (Some(broker), None),
            Cause::UncleanShutdown(broker) => (Some(broker), Some(broker)),
            Cause::Unfenced => (None, None),
        };
        let topic = self.topic_config(partition.partition.topic)?;
        let target_isr = partition.isr.iter().copied().filter(|r| Some(*r) != gone).collect();
        PartitionChange {
            partition,
            target_isr,
            recovery: partition.recovery,
            unclean_shutdown,
            elr_enabled: self.elr_enabled(),
            min_isr: topic.min_insync_replicas,
            unclean_election: topic.unclean_leader_election,
        }
        .build(|replica| Some(replica) != gone && self.is_active(replica))
    }
}
