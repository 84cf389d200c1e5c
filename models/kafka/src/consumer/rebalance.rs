//! Rebalances as the application lives through them, and closing.
//!
//! Mirrors `AbstractCoordinator.joinGroupIfNeeded`, `ConsumerCoordinator.onJoinPrepare`,
//! `onJoinComplete`, `onLeavePrepare` and `ConsumerRebalanceListenerInvoker` (KIP-429).
//!
//! Simplifications: `onPartitionsRevoked` is not called for an empty set, which an application
//! could not act on.

use oncesim_types::{CallId, Duration, GenerationId, Instant, MemberId, TopicPartition};

use super::commit::Committer;
use super::machine::{Consumer, complete};
use super::membership::MemberState;
use super::{ConsumerCompletion, RebalanceCallback};
use crate::machine::{Effect, Effects};
use crate::message::GroupMetadata;
use crate::mutation::Mutation;

/// How far a rejoin has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JoinPhase {
    /// Nothing is under way.
    Idle,
    /// Auto commit before the partitions are revoked.
    Committing,
    /// The application is being told what it loses.
    Revoking,
    /// JoinGroup, then SyncGroup, is in flight.
    Joining,
    /// The assignment has come; the next `poll()` takes it.
    Synced(Vec<TopicPartition>),
    /// The application is being told what changed.
    Completing,
}

/// What follows when the application returns from a callback.
#[derive(Debug)]
pub(super) enum AfterCallback {
    /// The assignment becomes this, and the join goes out.
    Join { keep: Vec<TopicPartition>, lost: bool },
    /// The partitions that stay, then the new assignment.
    Assign { member: MemberId, generation: GenerationId, assignment: Vec<TopicPartition> },
    /// The rebalance is over.
    Resume,
    /// `close()` goes on.
    Leave,
}

/// How far `close()` has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseStage {
    Commit,
    Callback,
    Leave,
    AwaitPending,
}

/// A `close()` that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    id: CallId,
    deadline: Instant,
    stage: CloseStage,
}

impl Closing {
    pub(super) fn new(id: CallId, now: Instant) -> Self {
        Closing { id, deadline: now + DEFAULT_CLOSE_TIMEOUT, stage: CloseStage::Commit }
    }
}

/// `ConsumerUtils.DEFAULT_CLOSE_TIMEOUT_MS`.
const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_millis(30_000);

impl Consumer {
    /// The group's part of one pass of `poll()` (`ConsumerCoordinator.poll`). False while the
    /// consumer is not a stable member.
    pub(super) fn poll_coordinator(&mut self, now: Instant, effects: &mut Effects) -> bool {
        if !self.subscription.is_subscribed() {
            return true;
        }
        if self.ensure_coordinator(now, effects).is_none() {
            return false;
        }
        self.join_group_if_needed(now, effects);
        !self.membership.is_rebalancing()
    }

    /// `joinGroupIfNeeded`: as far as it gets without waiting.
    fn join_group_if_needed(&mut self, now: Instant, effects: &mut Effects) {
        loop {
            match &mut self.membership.phase {
                JoinPhase::Idle if !self.membership.rejoin_needed => return,
                JoinPhase::Idle if self.membership.needs_join_prepare => {
                    self.membership.needs_join_prepare = false;
                    self.membership.phase = JoinPhase::Committing;
                    self.commit_before_rejoin(now, effects);
                }
                JoinPhase::Idle => {
                    if !self.send_join_group(now, effects) {
                        return;
                    }
                    self.membership.phase = JoinPhase::Joining;
                }
                JoinPhase::Committing => {
                    if self.is_committing(Committer::JoinPrepare) {
                        return;
                    }
                    self.membership.phase = JoinPhase::Revoking;
                    self.revoke_before_rejoin(now, effects);
                }
                JoinPhase::Synced(assignment) => {
                    let assignment = std::mem::take(assignment);
                    self.membership.phase = JoinPhase::Completing;
                    self.complete_join(now, assignment, effects);
                }
                JoinPhase::Joining | JoinPhase::Revoking | JoinPhase::Completing => return,
            }
        }
    }

    /// First half of `onJoinPrepare`. What is about to be revoked is not returned any more while
    /// its commit is under way (KAFKA-14196).
    fn commit_before_rejoin(&mut self, now: Instant, effects: &mut Effects) {
        if !self.config.auto_commit || self.membership.state != MemberState::Stable {
            return;
        }
        if !self.is_cooperative() {
            for state in &mut self.subscription.partitions {
                state.pending_revocation = true;
            }
        }
        if self.has_uncommitted_positions() {
            let deadline = now + self.config.max_poll_interval;
            self.auto_commit(now, Committer::JoinPrepare, deadline, effects);
        }
    }

    /// Second half of `onJoinPrepare`: revoked or lost?
    fn revoke_before_rejoin(&mut self, now: Instant, effects: &mut Effects) {
        let assigned = self.subscription.assigned();
        let lost =
            self.membership.generation == GenerationId::NONE || self.membership.member.is_none();
        let keep: Vec<TopicPartition> = if lost || !self.is_cooperative() {
            Vec::new()
        } else {
            let topics = self.subscription.topics();
            assigned.iter().copied().filter(|it| topics.contains(&it.topic)).collect()
        };
        let partitions: Vec<_> = assigned.into_iter().filter(|it| !keep.contains(it)).collect();
        if partitions.is_empty() {
            self.membership.phase = JoinPhase::Idle;
            return;
        }
        let callback = if lost {
            RebalanceCallback::Lost { partitions }
        } else {
            RebalanceCallback::Revoked { partitions }
        };
        self.call_back(now, callback, AfterCallback::Join { keep, lost }, effects);
    }

    /// `onJoinComplete`.
    fn complete_join(
        &mut self,
        now: Instant,
        assignment: Vec<TopicPartition>,
        effects: &mut Effects,
    ) {
        let (MemberState::Stable, Some(member)) = (self.membership.state, self.membership.member)
        else {
            // The heartbeat thread has given the membership up meanwhile.
            self.membership.rejoin_needed = true;
            self.membership.phase = JoinPhase::Idle;
            return;
        };
        self.membership.needs_join_prepare = true;
        let topics = self.subscription.topics();
        if assignment.iter().any(|it| !topics.contains(&it.topic)) {
            self.membership.rejoin_needed = true; // subscribed to something else meanwhile
            self.membership.phase = JoinPhase::Idle;
            return;
        }
        let generation = self.membership.generation;
        let instance = self.config.instance;
        self.membership.metadata = GroupMetadata { member: Some(member), instance, generation };
        let owned = self.subscription.assigned();
        let partitions: Vec<_> = owned.into_iter().filter(|it| !assignment.contains(it)).collect();
        if self.is_cooperative() && !partitions.is_empty() {
            self.membership.rejoin_needed = true; // so that their next owner gets them
            let then = AfterCallback::Assign { member, generation, assignment };
            self.call_back(now, RebalanceCallback::Revoked { partitions }, then, effects);
        } else {
            self.take_assignment(now, member, generation, &assignment, effects);
        }
    }

    fn take_assignment(
        &mut self,
        now: Instant,
        member: MemberId,
        generation: GenerationId,
        assignment: &[TopicPartition],
        effects: &mut Effects,
    ) {
        self.next_auto_commit = now + self.config.auto_commit_interval;
        let is_new = |it: &TopicPartition| self.subscription.index_of(*it).is_none();
        let mut added: Vec<_> = assignment.iter().copied().filter(is_new).collect();
        added.sort_unstable();
        self.assign(assignment, false);
        for state in &mut self.subscription.partitions {
            state.pending_revocation = false;
        }
        let owned = self.subscription.assigned();
        self.membership.assigned = (owned.clone(), generation);
        let callback = RebalanceCallback::Assigned { member, generation, added, owned };
        self.call_back(now, callback, AfterCallback::Resume, effects);
    }

    fn call_back(
        &mut self,
        now: Instant,
        callback: RebalanceCallback,
        then: AfterCallback,
        effects: &mut Effects,
    ) {
        self.callback = Some(then);
        self.membership.poll_deadline = now + self.config.max_poll_interval;
        effects.0.push(Effect::Callback(callback));
        self.arm_heartbeat(now, effects);
    }

    /// The application has returned from its callback.
    pub(super) fn callback_done(&mut self, now: Instant, effects: &mut Effects) {
        match self.callback.take() {
            None => {}
            Some(AfterCallback::Join { keep, lost }) => {
                let bug = lost && self.mutations.has(Mutation::ConsumerReturnAfterLost);
                self.assign(&keep, bug);
                self.membership.phase = JoinPhase::Idle;
            }
            Some(AfterCallback::Assign { member, generation, assignment }) => {
                self.take_assignment(now, member, generation, &assignment, effects);
            }
            Some(AfterCallback::Resume) => {
                self.membership.phase = JoinPhase::Idle;
                self.rebalanced = true;
            }
            Some(AfterCallback::Leave) => {
                self.assign(&[], false);
                self.set_close_stage(CloseStage::Leave);
            }
        }
    }

    /// `close()`, as far as it gets without waiting.
    pub(super) fn advance_close(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(Closing { id, deadline, stage }) = self.closing {
            match stage {
                CloseStage::Commit => {
                    if self.is_committing(Committer::Close) {
                        return;
                    }
                    self.leave_prepare(now, effects);
                }
                CloseStage::Callback => return,
                CloseStage::Leave => {
                    self.set_close_stage(CloseStage::AwaitPending);
                    self.leave_group(now, effects);
                }
                CloseStage::AwaitPending => {
                    let pending = self.membership.leaving || !self.commits.is_empty();
                    if pending && deadline > now {
                        self.wake_at(deadline);
                        return;
                    }
                    complete(id, ConsumerCompletion::Done, effects);
                    self.closing = None;
                    self.closed = true;
                }
            }
        }
    }

    fn set_close_stage(&mut self, stage: CloseStage) {
        if let Some(closing) = &mut self.closing {
            closing.stage = stage;
        }
    }

    pub(super) fn begin_close(&mut self, now: Instant, id: CallId, effects: &mut Effects) {
        // An application that closes does not wait for records any more.
        self.end_poll(now, ConsumerCompletion::Polled(Vec::new()), effects);
        let closing = Closing::new(id, now);
        let deadline = closing.deadline;
        self.closing = Some(closing);
        if self.has_uncommitted_positions() {
            self.auto_commit(now, Committer::Close, deadline, effects);
        }
    }

    /// `onLeavePrepare`.
    fn leave_prepare(&mut self, now: Instant, effects: &mut Effects) {
        let partitions = self.subscription.assigned();
        if !self.subscription.is_subscribed() || partitions.is_empty() {
            self.set_close_stage(CloseStage::Leave);
            return;
        }
        self.set_close_stage(CloseStage::Callback);
        let membership = &self.membership;
        let lost = membership.generation == GenerationId::NONE
            || membership.member.is_none()
            || membership.state == MemberState::PreparingRebalance
            || membership.state == MemberState::CompletingRebalance;
        let callback = if lost {
            RebalanceCallback::Lost { partitions }
        } else {
            RebalanceCallback::Revoked { partitions }
        };
        self.call_back(now, callback, AfterCallback::Leave, effects);
    }
}
