//! `AlterPartition`: a leader asks the controller for other in-sync replicas.
//!
//! Mirrors `AlterPartitionManager`, `Partition.maybeExpandIsr`, `Partition.maybeShrinkIsr`,
//! `Partition.handleAlterPartitionUpdate` (KIP-497, KIP-841, KIP-903).
//!
//! Simplifications: one request per partition (Kafka batches them per broker, and answers each
//! partition alone).

use oncesim_types::{ActorId, BrokerEpoch, CorrelationId, Duration, ErrorCode, Instant};

use crate::broker::leadership::is_eligible;
use crate::broker::{Broker, TIMER_ALTER_RETRY, TIMER_ISR_SHRINK, hit};
use crate::machine::{Effects, TimerKey};
use crate::message::{AlterPartitionRequest, AlterPartitionResponse, RecoveryState, Request};
use crate::mutation::{Mutation, Mutations};
use crate::replica::leader::PendingIsr;

/// Before a failed AlterPartition is sent again.
const RETRY_BACKOFF: Duration = Duration::from_millis(50);

impl Broker {
    /// The set of in-sync replicas changed, or a follower may join it now.
    pub(super) fn after_isr_change(&mut self, now: Instant, index: u32, effects: &mut Effects) {
        self.advance_high_watermark(now, index, effects);
        self.expand_isr(now, index, effects);
        self.watch_for_laggards(effects);
    }

    /// Asks to add the first follower that has caught up with the high watermark and with the
    /// leader epoch's start.
    pub(super) fn expand_isr(&mut self, now: Instant, index: u32, effects: &mut Effects) {
        let (image, mutations) = (&self.image, self.mutations);
        let lag = self.config.replica_lag_time_max;
        let Some(replica) = self.slots[index as usize].replica.as_deref() else { return };
        let Some(leader) = replica.leader() else { return };
        if leader.pending.is_some() || leader.isr.len() > leader.remotes.len() {
            return;
        }
        let joins = leader.remotes.iter().find(|remote| {
            !leader.isr.contains(&remote.broker)
                && remote
                    .log_end
                    .is_some_and(|end| end >= replica.high_watermark && end >= leader.epoch_start)
                && remote.is_heard(replica.log.log_end(), now, lag)
                && is_eligible(image, mutations, remote)
        });
        let Some(joins) = joins else { return };
        if !is_eligible(image, Mutations::NONE, joins) {
            hit(effects);
        }
        let mut isr = leader.isr.clone();
        isr.push(joins.broker);
        self.propose(index, &isr, true, effects);
    }

    /// A broker is active again: it may join wherever it waits for that.
    pub(super) fn expand_for(&mut self, now: Instant, broker: ActorId, effects: &mut Effects) {
        for index in 0..self.slots.len() {
            let index = u32::try_from(index).expect("a cluster has fewer than 2^32 partitions");
            let leader = self.replica(index).and_then(|replica| replica.leader());
            if leader.is_some_and(|l| l.remote(broker).is_some() && !l.isr.contains(&broker)) {
                self.after_isr_change(now, index, effects);
            }
        }
    }

    /// Arms the check for followers that lag, if one does.
    pub(super) fn watch_for_laggards(&mut self, effects: &mut Effects) {
        if !self.timers.isr_shrink {
            self.timers.isr_shrink = true;
            let interval = Duration(self.config.replica_lag_time_max.as_nanos() / 2);
            effects.set_timer(TimerKey(TIMER_ISR_SHRINK), interval);
        }
    }

    pub(super) fn on_isr_shrink_timer(&mut self, now: Instant, effects: &mut Effects) {
        self.timers.isr_shrink = false;
        let lag = self.config.replica_lag_time_max;
        let mut lagging = false;
        for index in 0..self.slots.len() {
            let Some(replica) = self.slots[index].replica.as_deref() else { continue };
            let Some(leader) = replica.leader() else { continue };
            let log_end = replica.log.log_end();
            if !leader.has_laggard(log_end) {
                continue;
            }
            lagging = true;
            if leader.pending.is_none()
                && let Some(isr) = leader.shrunk_isr(log_end, now, lag)
            {
                let index = u32::try_from(index).expect("a cluster has fewer than 2^32 partitions");
                self.propose(index, &isr, false, effects);
            }
        }
        if lagging {
            self.watch_for_laggards(effects);
        }
    }

    fn propose(&mut self, index: u32, isr: &[ActorId], expand: bool, effects: &mut Effects) {
        let Broker { image, slots, mutations, epoch, .. } = self;
        let no_broker_epoch = mutations.has(Mutation::IsrNoBrokerEpoch);
        let replica = slots[index as usize].replica.as_deref_mut().expect("leads");
        let leader = replica.leader_mut().expect("leads");
        let with_epoch = |&broker: &ActorId| {
            let known = image.broker(broker).map_or(BrokerEpoch::NONE, |image| image.epoch);
            let epoch = match leader.remote(broker) {
                None => *epoch,
                Some(r) if r.broker_epoch == BrokerEpoch::NONE || no_broker_epoch => known,
                Some(remote) => remote.broker_epoch,
            };
            (broker, epoch)
        };
        let isr = isr.iter().map(with_epoch).collect();
        leader.pending = Some(PendingIsr { isr, expand, sent: None });
        self.send_alter_partition(index, effects);
    }

    /// Sends a proposed change, or sends it again as it was.
    fn send_alter_partition(&mut self, index: u32, effects: &mut Effects) {
        let correlation = self.correlation();
        let (broker, broker_epoch) = (self.id, self.epoch);
        let replica = self.replica_mut(index).expect("leads");
        let (partition, partition_epoch) = (replica.partition, replica.partition_epoch);
        let leader = replica.leader_mut().expect("leads");
        let leader_epoch = leader.epoch;
        let Some(pending) = &mut leader.pending else { return };
        pending.sent = Some(correlation);
        let request = AlterPartitionRequest {
            broker,
            broker_epoch,
            partition,
            leader_epoch,
            partition_epoch,
            new_isr: pending.isr.clone(),
            recovery: RecoveryState::Recovered,
        };
        self.link.alter_partition.push((correlation, index));
        effects.send(self.controller, correlation, Request::AlterPartition(Box::new(request)));
    }

    pub(super) fn on_isr_altered(
        &mut self,
        now: Instant,
        correlation: CorrelationId,
        response: &AlterPartitionResponse,
        effects: &mut Effects,
    ) {
        let link = &mut self.link.alter_partition;
        let Some(at) = link.iter().position(|(sent, _)| *sent == correlation) else { return };
        let (_, index) = link.swap_remove(at);
        let apply_stale = self.mutations.has(Mutation::IsrApplyStaleReply);
        let Some(replica) = self.replica_mut(index) else { return };
        let (leader_epoch, known) = (replica.leader_epoch, replica.partition_epoch);
        let Some(leader) = replica.leader_mut() else { return };
        let is_current = leader.pending.as_ref().is_some_and(|p| p.sent == Some(correlation));
        match (response.error, &response.state) {
            (ErrorCode::None, Some(state)) => {
                let stale = !is_current
                    || state.leader_epoch != leader_epoch
                    || state.partition_epoch < known;
                if stale && !apply_stale {
                    return;
                }
                if stale && state.isr != leader.isr {
                    hit(effects);
                }
                leader.isr.clone_from(&state.isr);
                leader.pending = None;
                replica.partition_epoch = known.max(state.partition_epoch);
                self.after_isr_change(now, index, effects);
            }
            _ if !is_current => {}
            (ErrorCode::OperationNotAttempted | ErrorCode::IneligibleReplica, _) => {
                leader.pending = None;
            }
            // The metadata log will say more.
            (
                ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion
                | ErrorCode::InvalidRequest
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId,
                _,
            ) => {}
            _ => {
                self.isr_unanswered(correlation, index);
                if !self.timers.alter_retry {
                    self.timers.alter_retry = true;
                    effects.set_timer(TimerKey(TIMER_ALTER_RETRY), RETRY_BACKOFF);
                }
            }
        }
    }

    /// A change has no answer: it is sent again later.
    pub(super) fn isr_unanswered(&mut self, correlation: CorrelationId, index: u32) {
        let leader = self.replica_mut(index).and_then(|replica| replica.leader_mut());
        if let Some(pending) = leader.and_then(|leader| leader.pending.as_mut())
            && pending.sent == Some(correlation)
        {
            pending.sent = None;
        }
    }

    pub(super) fn on_alter_retry(&mut self, effects: &mut Effects) {
        self.timers.alter_retry = false;
        self.resend_alter_partition(effects);
    }

    /// Sends every change again that waits for it.
    pub(super) fn resend_alter_partition(&mut self, effects: &mut Effects) {
        for index in 0..self.slots.len() {
            let index = u32::try_from(index).expect("a cluster has fewer than 2^32 partitions");
            let leader = self.replica(index).and_then(|replica| replica.leader());
            if leader.is_some_and(|l| l.pending.as_ref().is_some_and(|p| p.sent.is_none())) {
                self.send_alter_partition(index, effects);
            }
        }
    }
}
