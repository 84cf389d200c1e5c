//! Leader and follower transitions, and the high watermark.
//!
//! Mirrors `Partition.makeLeader`, `Partition.makeFollower`, `Partition.maybeIncrementLeaderHW`,
//! `ReplicaManager.applyDelta`, `ReplicaManager.checkpointHighWatermarks`.

use std::collections::VecDeque;

use oncesim_types::{ActorId, BrokerEpoch, ErrorCode, Instant, Offset};

use crate::broker::image::ClusterImage;
use crate::broker::{Broker, TIMER_CHECKPOINT, hit};
use crate::log::PartitionLog;
use crate::machine::{Effects, TimerKey};
use crate::message::PartitionRegistration;
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;
use crate::replica::follower::FollowerState;
use crate::replica::leader::{LeaderState, RemoteReplica};
use crate::replica::{Replica, Role};

/// Whether a follower may be in sync as far as this broker's image knows
/// (`Partition.isReplicaIsrEligible`).
pub(super) fn is_eligible(
    image: &ClusterImage,
    mutations: Mutations,
    remote: &RemoteReplica,
) -> bool {
    let Some(broker) = image.broker(remote.broker) else { return false };
    (broker.is_active() || mutations.has(Mutation::IsrAllowFenced))
        && (broker.epoch == remote.broker_epoch || mutations.has(Mutation::IsrNoBrokerEpoch))
}

impl Broker {
    /// A partition's newer state arrived with the metadata log.
    pub(super) fn apply_partition(&mut self, now: Instant, index: u32, effects: &mut Effects) {
        let id = self.id;
        let slot = self.slot_mut(index);
        slot.changed = false;
        let registration = slot.registration.clone().expect("set before it is applied");
        if !registration.replicas.contains(&id) {
            return;
        }
        let replica = slot.replica.get_or_insert_with(|| {
            Box::new(Replica::new(slot.partition, PartitionLog::default(), Offset::ZERO))
        });
        let known = replica.partition_epoch;
        if registration.partition_epoch < known
            || (registration.partition_epoch == known
                && registration.leader_epoch == replica.leader_epoch
                && !matches!(replica.role, Role::Unassigned))
        {
            return;
        }
        if registration.leader == Some(id) {
            self.make_leader(now, index, &registration, effects);
        } else {
            self.make_follower(now, index, &registration, effects);
        }
    }

    fn make_leader(
        &mut self,
        now: Instant,
        index: u32,
        registration: &PartitionRegistration,
        effects: &mut Effects,
    ) {
        let replica = self.replica_mut(index).expect("made before a role is given");
        replica.partition_epoch = registration.partition_epoch;
        if let Role::Leader(leader) = &mut replica.role
            && leader.epoch == registration.leader_epoch
        {
            leader.isr.clone_from(&registration.isr);
            leader.pending = None;
            self.after_isr_change(now, index, effects);
            return;
        }
        self.stop_following(index);
        self.answer_all_waiting(index, ErrorCode::NotLeaderOrFollower, effects);
        let leader = self.new_leader_state(now, index, registration);
        let drop_producers = self.mutations.has(Mutation::PsmDropOnFailover);
        let replica = self.replica_mut(index).expect("made before a role is given");
        replica.leader_epoch = registration.leader_epoch;
        replica.log.begin_epoch(registration.leader_epoch);
        if drop_producers && !replica.log.producers().is_empty() {
            replica.log.producers_mut().clear();
            hit(effects);
        }
        effects.note(Note::BecameLeader {
            partition: registration.partition,
            leader_epoch: registration.leader_epoch,
            log_end: replica.log.log_end(),
        });
        replica.role = Role::Leader(Box::new(leader));
        replica.noted_stable = Offset::UNKNOWN;
        self.note_last_stable_offset(index, effects);
        self.group_led(now, index);
        self.transaction_led(now, index);
        self.advance_high_watermark(now, index, effects);
        self.wake_watchers(index);
    }

    fn new_leader_state(
        &self,
        now: Instant,
        index: u32,
        registration: &PartitionRegistration,
    ) -> LeaderState {
        let slot = self.slot(index);
        let topic = &self.topics[usize::from(slot.topic)];
        let replica = slot.replica.as_deref().expect("made before a role is given");
        let remote = |broker: ActorId| RemoteReplica {
            broker,
            log_end: None,
            broker_epoch: BrokerEpoch::NONE,
            last_caught_up: if registration.isr.contains(&broker) { now } else { Instant::ZERO },
            last_fetch: Instant::ZERO,
            last_fetch_leader_log_end: Offset::ZERO,
            in_session: false,
        };
        let followers = registration.replicas.iter().copied().filter(|replica| *replica != self.id);
        let replicas = u8::try_from(registration.replicas.len()).unwrap_or(u8::MAX);
        LeaderState {
            epoch: registration.leader_epoch,
            epoch_start: replica.log.log_end(),
            remotes: followers.map(remote).collect(),
            isr: registration.isr.clone(),
            pending: None,
            min_isr: topic.min_insync_replicas.min(replicas),
            waiting: VecDeque::new(),
            unflushed: VecDeque::new(),
        }
    }

    fn make_follower(
        &mut self,
        now: Instant,
        index: u32,
        registration: &PartitionRegistration,
        effects: &mut Effects,
    ) {
        let replica = self.replica_mut(index).expect("made before a role is given");
        replica.partition_epoch = registration.partition_epoch;
        if replica.leader_epoch == registration.leader_epoch
            && replica.follower().is_some_and(|follower| follower.leader == registration.leader)
        {
            return;
        }
        let had_leader = replica.follower().and_then(|follower| follower.leader);
        let led = replica.leader().is_some();
        self.stop_following(index);
        if led {
            self.answer_all_waiting(index, ErrorCode::NotLeaderOrFollower, effects);
        }
        let mut follower = FollowerState::new(registration.leader);
        let same_leader = had_leader.is_some() && had_leader == registration.leader;
        follower.skips_truncation =
            same_leader && self.mutations.has(Mutation::ReplTruncateOnlyOnLeaderChange);
        let replica = self.replica_mut(index).expect("made before a role is given");
        replica.leader_epoch = registration.leader_epoch;
        replica.role = Role::Follower(follower);
        effects.note(Note::BecameFollower {
            partition: registration.partition,
            leader: registration.leader,
            leader_epoch: registration.leader_epoch,
        });
        if led {
            self.group_resigned(index);
            self.transaction_resigned(now, index);
        }
        if self.mutations.has(Mutation::ReplTruncateToHighWatermark) {
            let high_watermark = self.replica(index).map_or(Offset::ZERO, |r| r.high_watermark);
            if self.truncate(index, high_watermark, effects) {
                hit(effects);
            }
        }
        self.wake_watchers(index);
        if let Some(leader) = registration.leader {
            self.follow(now, index, leader);
        }
    }

    /// Cuts a log, and what depends on it. False if it was not longer.
    pub(super) fn truncate(&mut self, index: u32, to: Offset, effects: &mut Effects) -> bool {
        let replica = self.replica_mut(index).expect("only replicas are truncated");
        if !replica.log.truncate(to) {
            return false;
        }
        let log_end = replica.log.log_end();
        replica.held = None;
        replica.flushed = replica.flushed.min(log_end);
        effects.note(Note::Truncate { partition: replica.partition, to: log_end });
        let high_watermark = replica.high_watermark;
        replica.log.high_watermark_moved(high_watermark);
        if high_watermark > log_end {
            self.set_high_watermark(index, log_end, effects);
        }
        true
    }

    /// Moves the high watermark if the in-sync replicas allow it, and answers who waited for that.
    pub(super) fn advance_high_watermark(
        &mut self,
        now: Instant,
        index: u32,
        effects: &mut Effects,
    ) {
        let (image, mutations) = (&self.image, self.mutations);
        let replica = self.slots[index as usize].replica.as_deref();
        let Some(replica) = replica else { return };
        let Some(leader) = replica.leader() else { return };
        let candidate = leader.high_watermark_candidate(
            replica.visible_end(),
            replica.log.log_end(),
            now,
            self.config.replica_lag_time_max,
            |remote| is_eligible(image, mutations, remote),
        );
        let Some(candidate) = candidate.filter(|candidate| *candidate > replica.high_watermark)
        else {
            return;
        };
        if leader.is_under_min_isr() {
            if !self.mutations.has(Mutation::HwIgnoreMinIsr) {
                return;
            }
            hit(effects);
        }
        if self.mutations.has(Mutation::FetchLsoReadBeforeHw) {
            let replica = self.replica_mut(index).expect("leads");
            replica.stale_high_watermark.get_or_insert(replica.high_watermark);
            self.raced.push(index);
        }
        self.set_high_watermark(index, candidate, effects);
        self.answer_committed(index, effects);
        self.group_committed(now, index, candidate);
        self.transaction_committed(now, index, candidate);
        self.wake_for_high_watermark(index, effects);
    }

    /// Records a new high watermark.
    pub(super) fn set_high_watermark(&mut self, index: u32, to: Offset, effects: &mut Effects) {
        let slot = &mut self.slots[index as usize];
        let replica = slot.replica.as_deref_mut().expect("only replicas have a high watermark");
        replica.high_watermark = to;
        replica.log.high_watermark_moved(to);
        let size = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        let (isr, min_isr) =
            replica.leader().map_or((0, 0), |leader| (size(leader.isr.len()), leader.min_isr));
        effects.note(Note::HighWatermark {
            partition: replica.partition,
            high_watermark: to,
            leader: replica.leader().is_some(),
            isr,
            min_isr,
        });
        if !slot.unsaved {
            slot.unsaved = true;
            self.unsaved.push(index);
            if !self.timers.checkpoint {
                self.timers.checkpoint = true;
                let interval = self.config.high_watermark_checkpoint_interval;
                effects.set_timer(TimerKey(TIMER_CHECKPOINT), interval);
            }
        }
        self.note_last_stable_offset(index, effects);
    }

    /// Says where readers of committed data stop now, if this broker leads and that has changed.
    fn note_last_stable_offset(&mut self, index: u32, effects: &mut Effects) {
        let Some(replica) = self.replica_mut(index) else { return };
        if !replica.log.producers().has_transactions() || replica.leader().is_none() {
            return;
        }
        let last_stable_offset = replica.last_stable_offset();
        if replica.noted_stable != last_stable_offset {
            replica.noted_stable = last_stable_offset;
            let partition = replica.partition;
            effects.note(Note::LastStableOffset { partition, last_stable_offset });
        }
    }

    pub(super) fn on_checkpoint_timer(&mut self) {
        self.timers.checkpoint = false;
        for index in self.unsaved.drain(..) {
            let slot = &mut self.slots[index as usize];
            slot.unsaved = false;
            if let Some(replica) = &mut slot.replica {
                replica.checkpoint = replica.high_watermark;
            }
        }
    }
}
