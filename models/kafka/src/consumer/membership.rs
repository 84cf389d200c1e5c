//! The consumer's membership in its group: coordinator, join, sync, heartbeat, leave.
//!
//! Mirrors `AbstractCoordinator` with its `HeartbeatThread` and `Heartbeat`.
//!
//! Simplifications:
//! - The heartbeat thread wakes when something is due instead of every `retry.backoff.ms`.
//! - The connection to the coordinator also carries fetches (Kafka: a connection of its own), so an
//!   unknown coordinator does not close it. What is in flight to an old coordinator is answered
//!   with NOT_COORDINATOR, or times out.
//! - No rejoin on changed partition counts: topics do not change.

use oncesim_types::{ActorId, ErrorCode, GenerationId, Instant, MemberId, TopicId, TopicPartition};

use super::commit::Identity;
use super::machine::{Consumer, HEARTBEAT_TIMER, Purpose};
use super::rebalance::JoinPhase;
use crate::group::assignor;
use crate::machine::Effects;
use crate::message::{
    Assignor, CoordinatorKey, FindCoordinatorRequest, FindCoordinatorResponse, GroupMetadata,
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, Request,
    Subscription, SyncGroupRequest, SyncGroupResponse,
};
use crate::note::Note;

/// `MemberState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberState {
    /// Not part of the group.
    Unjoined,
    /// JoinGroup is in flight.
    PreparingRebalance,
    /// SyncGroup is in flight.
    CompletingRebalance,
    /// A member with an assignment.
    Stable,
}

/// `AbstractCoordinator` without its requests.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) state: MemberState,
    pub(super) generation: GenerationId,
    pub(super) member: Option<MemberId>,
    /// What `groupMetadata()` says: the last generation that was joined, also after the membership
    /// was lost, so that a zombie is fenced.
    pub(super) metadata: GroupMetadata,
    pub(super) rejoin_needed: bool,
    pub(super) needs_join_prepare: bool,
    pub(super) phase: JoinPhase,
    /// Joins so far: makes member ids unique, and tells an answer to an older join apart.
    joins: u32,
    pub(super) join_not_before: Instant,
    /// Joins in a row that were refused for a reason that passes (KIP-580).
    failed_joins: u32,
    /// Whether the membership was reset while the join was in flight.
    reset: bool,
    pub(super) coordinator: Option<ActorId>,
    finding: bool,
    find_not_before: Instant,
    failed_finds: u32,
    /// What the member was last assigned, and in which generation.
    pub(super) assigned: (Vec<TopicPartition>, GenerationId),
    /// Whether LeaveGroup is in flight.
    pub(super) leaving: bool,
    heartbeating: bool,
    heartbeat_in_flight: bool,
    /// Whether no heartbeat was answered since the coordinator was lost.
    unheard: bool,
    next_heartbeat: Instant,
    session_deadline: Instant,
    pub(super) poll_deadline: Instant,
    pub(super) heartbeat_armed: Instant,
}

impl Membership {
    pub(super) fn new() -> Self {
        Membership {
            state: MemberState::Unjoined,
            generation: GenerationId::NONE,
            member: None,
            metadata: GroupMetadata::NONE,
            rejoin_needed: true,
            needs_join_prepare: true,
            phase: JoinPhase::Idle,
            joins: 0,
            join_not_before: Instant::ZERO,
            failed_joins: 0,
            reset: false,
            coordinator: None,
            finding: false,
            find_not_before: Instant::ZERO,
            failed_finds: 0,
            assigned: (Vec::new(), GenerationId::NONE),
            leaving: false,
            heartbeating: false,
            heartbeat_in_flight: false,
            unheard: false,
            next_heartbeat: Instant::NEVER,
            session_deadline: Instant::NEVER,
            poll_deadline: Instant::NEVER,
            heartbeat_armed: Instant::NEVER,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { member: self.member, generation: self.generation }
    }

    /// `resetStateAndRejoin`: the membership is gone.
    pub(super) fn reset_and_rejoin(&mut self, forget_member: bool) {
        self.state = MemberState::Unjoined;
        self.generation = GenerationId::NONE;
        if forget_member {
            self.member = None;
        }
        self.reset = true;
        self.rejoin_needed = true;
        self.needs_join_prepare = true;
        self.heartbeating = false;
    }

    /// Whether its group may have gone on without it, as far as it knows.
    pub(super) fn may_be_deposed(&self) -> bool {
        self.heartbeating && self.unheard
    }

    /// Whether a rebalance is needed or under way (`rejoinNeededOrPending`).
    pub(super) fn is_rebalancing(&self) -> bool {
        self.rejoin_needed || self.phase != JoinPhase::Idle
    }
}

impl Consumer {
    /// `coordinatorUnknownAndUnreadySync`: the coordinator, or a search for it.
    pub(super) fn ensure_coordinator(
        &mut self,
        now: Instant,
        effects: &mut Effects,
    ) -> Option<ActorId> {
        if self.membership.coordinator.is_some() || self.membership.finding {
            return self.membership.coordinator;
        }
        let group = self.config.group?;
        let at = self.membership.find_not_before;
        if at > now {
            self.wake_at(at);
            return None;
        }
        let Some(broker) = self.connections.any_broker(now) else {
            let at = self.connections.any_ready_at();
            self.wake_at(at);
            return None;
        };
        self.membership.finding = true;
        let request = FindCoordinatorRequest { key: CoordinatorKey::Group(group) };
        let request = Request::FindCoordinator(request);
        self.connections.send(now, broker, request, Purpose::FindCoordinator, effects);
        None
    }

    pub(super) fn coordinator_found(
        &mut self,
        now: Instant,
        response: FindCoordinatorResponse,
        effects: &mut Effects,
    ) {
        self.membership.finding = false;
        match response.coordinator {
            Some(coordinator) if response.error == ErrorCode::None => {
                self.membership.coordinator = Some(coordinator);
                self.membership.failed_finds = 0;
                self.membership.session_deadline = now + self.config.session_timeout;
                if self.membership.heartbeating {
                    self.heartbeat_thread(now, effects);
                }
            }
            _ => self.coordinator_not_found(now, effects),
        }
    }

    pub(super) fn coordinator_not_found(&mut self, now: Instant, effects: &mut Effects) {
        self.membership.finding = false;
        let wait = self.backoff.after(self.membership.failed_finds);
        self.membership.failed_finds = self.membership.failed_finds.saturating_add(1);
        self.membership.find_not_before = now + wait;
        self.fail_waiting_commits(now, effects);
        self.arm_heartbeat(now, effects);
    }

    pub(super) fn mark_coordinator_unknown(&mut self) {
        self.membership.coordinator = None;
        self.membership.unheard = true;
    }

    /// What every answer of a coordinator means for the knowledge of it.
    pub(super) fn coordinator_error(&mut self, error: ErrorCode) {
        if matches!(
            error,
            ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
                | ErrorCode::NetworkException
        ) {
            self.mark_coordinator_unknown();
        }
    }

    /// `sendJoinGroupRequest`. False if the coordinator is not known or has to be spared for now.
    pub(super) fn send_join_group(&mut self, now: Instant, effects: &mut Effects) -> bool {
        let (Some(group), Some(coordinator)) =
            (self.config.group, self.ensure_coordinator(now, effects))
        else {
            return false;
        };
        let at = self.membership.join_not_before.max(self.connections.ready_at(coordinator));
        if at > now {
            self.wake_at(at);
            return false;
        }
        let subscription = self.subscription_for_assignor();
        let membership = &mut self.membership;
        membership.joins = membership.joins.wrapping_add(1);
        membership.state = MemberState::PreparingRebalance;
        membership.heartbeating = false;
        membership.reset = false;
        let request = JoinGroupRequest {
            group,
            member: membership.member,
            candidate: candidate(self.actor, self.incarnation, membership.joins),
            instance: self.config.instance,
            session_timeout: self.config.session_timeout,
            rebalance_timeout: self.config.max_poll_interval,
            protocols: self.config.assignors.clone(),
            subscription: subscription.into(),
        };
        let purpose = Purpose::JoinGroup(membership.joins);
        // The coordinator answers when every member has joined, within the rebalance timeout.
        let patience = self.config.max_poll_interval + JOIN_GROUP_TIMEOUT_LAPSE;
        let timeout = self.config.request_timeout.max(patience);
        let request = Request::JoinGroup(Box::new(request));
        self.connections.send_within(now, timeout, coordinator, request, purpose, effects);
        true
    }

    fn subscription_for_assignor(&self) -> Subscription {
        let (assigned, generation) = &self.membership.assigned;
        let owned = if self.is_cooperative() {
            self.subscription.assigned()
        } else if self.config.assignors.contains(&Assignor::Sticky) {
            assigned.clone()
        } else {
            Vec::new()
        };
        let generation = *generation;
        Subscription { topics: self.subscription.topics().to_vec(), owned, generation }
    }

    /// `RebalanceProtocol`: cooperative only if every configured assignor is.
    pub(super) fn is_cooperative(&self) -> bool {
        self.config.assignors.iter().all(|it| *it == Assignor::CooperativeSticky)
    }

    /// `JoinGroupResponseHandler`.
    pub(super) fn group_joined(
        &mut self,
        now: Instant,
        join: u32,
        response: &JoinGroupResponse,
        effects: &mut Effects,
    ) {
        if join != self.membership.joins || self.membership.phase != JoinPhase::Joining {
            return;
        }
        match response.error {
            ErrorCode::None if self.membership.state == MemberState::PreparingRebalance => {
                let membership = &mut self.membership;
                membership.state = MemberState::CompletingRebalance;
                membership.generation = response.generation;
                membership.member = Some(response.member);
                self.start_heartbeats(now, effects);
                self.send_sync_group(now, response, effects);
            }
            ErrorCode::None => self.join_failed(now, false), // it has left meanwhile
            ErrorCode::MemberIdRequired => {
                if !self.membership.reset {
                    self.membership.member = Some(response.member);
                    self.membership.generation = GenerationId::NONE;
                }
                self.join_failed(now, false);
            }
            error => self.join_error(now, error),
        }
    }

    /// The connection broke under JoinGroup or SyncGroup.
    pub(super) fn join_lost(&mut self, now: Instant, join: u32) {
        if join == self.membership.joins && self.membership.phase == JoinPhase::Joining {
            self.join_error(now, ErrorCode::NetworkException);
        }
    }

    /// What an error of JoinGroup or SyncGroup means.
    fn join_error(&mut self, now: Instant, error: ErrorCode) {
        match error {
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                if !self.membership.reset {
                    self.membership.reset_and_rejoin(error == ErrorCode::UnknownMemberId);
                }
                self.join_failed(now, false);
            }
            ErrorCode::RebalanceInProgress => self.join_failed(now, false),
            ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::RequestTimedOut
            | ErrorCode::NetworkException => {
                self.coordinator_error(error);
                self.join_failed(now, true);
            }
            fatal => {
                self.failed = Some(fatal);
                self.membership.reset_and_rejoin(true);
                self.join_failed(now, true);
            }
        }
    }

    /// Joins again: at once, or after the backoff.
    fn join_failed(&mut self, now: Instant, back_off: bool) {
        let membership = &mut self.membership;
        membership.phase = JoinPhase::Idle;
        membership.state = MemberState::Unjoined;
        membership.heartbeating = false;
        membership.rejoin_needed = true;
        if back_off {
            membership.join_not_before = now + self.backoff.after(membership.failed_joins);
            membership.failed_joins = membership.failed_joins.saturating_add(1);
        }
    }

    fn send_sync_group(&mut self, now: Instant, joined: &JoinGroupResponse, effects: &mut Effects) {
        let (Some(group), Some(coordinator)) = (self.config.group, self.membership.coordinator)
        else {
            self.join_failed(now, true);
            return;
        };
        let leads = joined.leader == Some(joined.member) && !joined.skip_assignment;
        let assignments = match joined.protocol {
            Some(protocol) if leads => {
                let topics = &self.topics;
                let partitions_of = |topic: TopicId| {
                    topics.iter().find(|it| it.topic == topic).map_or(0, |it| it.partitions)
                };
                let (assignment, hit) = assignor::assign_with(
                    protocol,
                    &joined.members,
                    &partitions_of,
                    self.mutations,
                );
                if hit {
                    effects.note(Note::MutationHit);
                }
                assignment
            }
            _ => Vec::new(),
        };
        let request = SyncGroupRequest {
            group,
            member: joined.member,
            instance: self.config.instance,
            generation: joined.generation,
            assignments,
        };
        let purpose = Purpose::SyncGroup(self.membership.joins);
        let request = Request::SyncGroup(Box::new(request));
        self.connections.send(now, coordinator, request, purpose, effects);
    }

    /// `SyncGroupResponseHandler`.
    pub(super) fn group_synced(&mut self, now: Instant, join: u32, response: SyncGroupResponse) {
        if join != self.membership.joins || self.membership.phase != JoinPhase::Joining {
            return;
        }
        if response.error != ErrorCode::None {
            self.join_error(now, response.error);
        } else if self.membership.reset || self.membership.state != MemberState::CompletingRebalance
        {
            self.join_failed(now, false);
        } else {
            self.membership.state = MemberState::Stable;
            self.membership.rejoin_needed = false;
            self.membership.failed_joins = 0;
            self.membership.phase = JoinPhase::Synced(response.assignment);
        }
    }

    /// `HeartbeatThread.enable`.
    fn start_heartbeats(&mut self, now: Instant, effects: &mut Effects) {
        let membership = &mut self.membership;
        membership.heartbeating = true;
        membership.heartbeat_in_flight = false;
        membership.unheard = false;
        membership.next_heartbeat = now + self.config.heartbeat_interval;
        membership.session_deadline = now + self.config.session_timeout;
        membership.poll_deadline = now + self.config.max_poll_interval;
        self.arm_heartbeat(now, effects);
    }

    /// Sets the timer for whatever the heartbeat thread does next; lazily, it may find nothing.
    pub(super) fn arm_heartbeat(&mut self, now: Instant, effects: &mut Effects) {
        let membership = &self.membership;
        if !membership.heartbeating {
            return;
        }
        let mut at = membership.session_deadline;
        if membership.finding {
            return; // the answer goes on from here
        } else if membership.coordinator.is_none() {
            at = membership.find_not_before.max(now + self.config.retry_backoff);
        } else {
            if !membership.heartbeat_in_flight {
                at = at.min(membership.next_heartbeat);
            }
            if self.is_application_busy() {
                at = at.min(membership.poll_deadline);
            }
        }
        if at < membership.heartbeat_armed {
            self.membership.heartbeat_armed = at;
            effects.set_timer(HEARTBEAT_TIMER, at.since(now));
        }
    }

    /// Whether the application computes: outside of `poll()`, or in a callback.
    fn is_application_busy(&self) -> bool {
        self.polling.is_none() || self.callback.is_some()
    }

    /// One round of `HeartbeatThread.run`. It goes on while the application computes.
    pub(super) fn heartbeat_thread(&mut self, now: Instant, effects: &mut Effects) {
        if !self.membership.heartbeating {
            return;
        }
        match self.membership.coordinator {
            None => {
                self.ensure_coordinator(now, effects);
            }
            Some(_) if self.membership.session_deadline <= now => self.mark_coordinator_unknown(),
            Some(coordinator) => {
                if self.is_application_busy() && self.membership.poll_deadline <= now {
                    self.leave_group(now, effects);
                    return;
                }
                if self.membership.next_heartbeat <= now && !self.membership.heartbeat_in_flight {
                    self.send_heartbeat(now, coordinator, effects);
                }
            }
        }
        self.arm_heartbeat(now, effects);
    }

    fn send_heartbeat(&mut self, now: Instant, coordinator: ActorId, effects: &mut Effects) {
        let (Some(group), Some(member)) = (self.config.group, self.membership.member) else {
            return;
        };
        self.membership.heartbeat_in_flight = true;
        self.membership.next_heartbeat = now + self.config.heartbeat_interval;
        let request = HeartbeatRequest {
            group,
            member,
            instance: self.config.instance,
            generation: self.membership.generation,
        };
        let purpose = Purpose::Heartbeat(self.membership.identity());
        let request = Request::Heartbeat(request);
        self.connections.send(now, coordinator, request, purpose, effects);
    }

    /// `HeartbeatResponseHandler`; a lost answer is `NETWORK_EXCEPTION`.
    pub(super) fn heartbeat_answered(
        &mut self,
        now: Instant,
        sent: Identity,
        error: ErrorCode,
        effects: &mut Effects,
    ) {
        self.membership.heartbeat_in_flight = false;
        let unchanged = sent == self.membership.identity();
        match error {
            ErrorCode::None => {
                self.membership.unheard = false;
                self.membership.session_deadline = now + self.config.session_timeout;
            }
            ErrorCode::RebalanceInProgress => {
                self.membership.unheard = false;
                self.membership.session_deadline = now + self.config.session_timeout;
                if self.membership.state == MemberState::Stable {
                    self.membership.rejoin_needed = true;
                }
            }
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration if unchanged => {
                self.membership.reset_and_rejoin(error == ErrorCode::UnknownMemberId);
            }
            ErrorCode::FencedInstanceId if unchanged => {
                self.membership.reset_and_rejoin(true);
                self.failed = Some(error);
            }
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedInstanceId => {}
            _ => {
                self.coordinator_error(error);
                self.membership.next_heartbeat = now + self.config.retry_backoff;
            }
        }
        self.arm_heartbeat(now, effects);
    }

    /// `maybeLeaveGroup`: a static member does not say that it goes.
    pub(super) fn leave_group(&mut self, now: Instant, effects: &mut Effects) {
        if let (Some(group), Some(coordinator), Some(member), None) = (
            self.config.group,
            self.membership.coordinator,
            self.membership.member,
            self.config.instance,
        ) && self.membership.state != MemberState::Unjoined
        {
            let request = LeaveGroupRequest { group, member, instance: None };
            let request = Request::LeaveGroup(request);
            self.connections.send(now, coordinator, request, Purpose::LeaveGroup, effects);
            self.membership.leaving = true;
        }
        self.membership.reset_and_rejoin(true);
    }
}

/// `JOIN_GROUP_TIMEOUT_LAPSE`.
const JOIN_GROUP_TIMEOUT_LAPSE: oncesim_types::Duration =
    oncesim_types::Duration::from_millis(5_000);

/// The member id of a join without one: never used twice in a run.
fn candidate(actor: ActorId, incarnation: u32, join: u32) -> MemberId {
    let low = |n: u32| u64::from(n) & 0xff_ffff;
    MemberId(u64::from(actor.0) << 48 | low(incarnation) << 24 | low(join))
}
