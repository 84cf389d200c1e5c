//! A classic group: its members, generations and the rebalance between two of them.
//!
//! Mirrors `ClassicGroup` and the `classicGroup*` methods of `GroupMetadataManager`.
//!
//! Simplifications:
//! - `Dead` is the absence of the group: groups are neither deleted nor expired while a run lasts
//!   (`offsets.retention.minutes` is a week), and an unloaded group is gone with its shard.
//! - Session deadlines share one timer per group that is re-armed only when it goes off: an idle
//!   stable group costs its members' heartbeats and nothing else.
//! - Where Kafka picks any member (a new leader), the one with the smallest member id is picked.

use std::collections::BTreeMap;
use std::rc::Rc;

use oncesim_types::{
    Duration, ErrorCode, GenerationId, GroupId, GroupInstanceId, Instant, MemberId, TopicPartition,
};

use crate::group::pending_offsets::CommittedOffset;
use crate::group::writes::{TimerKind, Turn, Work, response_error};
use crate::log::batch::{CoordinatorRecord, GroupMetadataMember, GroupMetadataValue};
use crate::machine::ReplyTo;
use crate::message::{Assignor, Response, Subscription};
use crate::note::Note;

/// `classicGroupNewMemberJoinTimeoutMs`: a new member that has waited for so long is expected to
/// have given up.
pub(super) const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(300);

/// Where a group stands (`ClassicGroupState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    /// No members; it may hold offsets.
    Empty,
    /// Waits for its members to join again.
    PreparingRebalance,
    /// Has a generation, and waits for its leader's assignment.
    CompletingRebalance,
    /// Has an assignment.
    Stable,
}

impl GroupState {
    /// All of them.
    pub const ALL: [GroupState; 4] = [
        GroupState::Empty,
        GroupState::PreparingRebalance,
        GroupState::CompletingRebalance,
        GroupState::Stable,
    ];

    /// Its name, as Kafka's tools print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }

    /// The states that it may follow (`ClassicGroupState.validPreviousStates`, without `Dead`).
    #[must_use]
    pub const fn valid_previous(self) -> &'static [GroupState] {
        use GroupState::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        match self {
            Empty | CompletingRebalance => &[PreparingRebalance],
            PreparingRebalance => &[Stable, CompletingRebalance, Empty],
            Stable => &[CompletingRebalance],
        }
    }
}

/// What the join phase waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinPhase {
    /// There is none.
    Idle,
    /// A new group gives members time to come, in portions of the initial delay.
    Initial { delay: Duration, remaining: Duration },
    /// Every known member, or the rebalance timeout.
    Barrier,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<GroupInstanceId>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<Assignor>,
    pub(super) subscription: Rc<Subscription>,
    pub(super) assignment: Vec<TopicPartition>,
    pub(super) awaiting_join: Option<ReplyTo>,
    pub(super) awaiting_sync: Option<ReplyTo>,
    /// Has joined the generation, and not synced yet.
    pub(super) pending_sync: bool,
    /// Has never been told a generation: it cannot send heartbeats.
    pub(super) is_new: bool,
    /// When its session ends; `NEVER` while the coordinator owes it an answer.
    pub(super) deadline: Instant,
}

/// A static member's change of member id that is being written (KAFKA-10284).
#[derive(Debug)]
pub(super) struct StaticReplacement {
    pub(super) group: GroupId,
    pub(super) instance: GroupInstanceId,
    pub(super) generation: GenerationId,
    pub(super) old: MemberId,
    pub(super) new: MemberId,
    /// To undo it.
    pub(super) protocols: Vec<Assignor>,
    pub(super) subscription: Rc<Subscription>,
    pub(super) timeouts: (Duration, Duration),
}

/// One group of the classic protocol.
#[derive(Debug)]
pub(super) struct ClassicGroup {
    pub(super) id: GroupId,
    pub(super) state: GroupState,
    pub(super) generation: GenerationId,
    pub(super) protocol: Option<Assignor>,
    pub(super) leader: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) static_members: BTreeMap<GroupInstanceId, MemberId>,
    /// Member ids that were given out, until they join, and when they lapse.
    pub(super) pending_join: BTreeMap<MemberId, Instant>,
    /// Committed offsets: durable ones only.
    pub(super) offsets: BTreeMap<TopicPartition, CommittedOffset>,
    join_phase: JoinPhase,
    /// Whether somebody came during the initial delay.
    new_member_added: bool,
    sync_timer: bool,
    /// When the session timer goes off, if it is set.
    session_due: Option<Instant>,
}

impl ClassicGroup {
    pub(super) fn new(id: GroupId) -> ClassicGroup {
        ClassicGroup {
            id,
            state: GroupState::Empty,
            generation: GenerationId(0),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeMap::new(),
            offsets: BTreeMap::new(),
            join_phase: JoinPhase::Idle,
            new_member_added: false,
            sync_timer: false,
            session_due: None,
        }
    }

    /// Takes the state that a log record describes.
    pub(super) fn replay(&mut self, value: Option<&GroupMetadataValue>) {
        let offsets = std::mem::take(&mut self.offsets);
        *self = ClassicGroup { offsets, ..ClassicGroup::new(self.id) };
        let Some(value) = value else { return };
        self.generation = value.generation;
        self.protocol = value.protocol;
        self.leader = value.leader;
        for member in &value.members {
            if let Some(instance) = member.instance {
                self.static_members.insert(instance, member.member);
            }
            let restored = Member {
                instance: member.instance,
                session_timeout: member.session_timeout,
                rebalance_timeout: member.rebalance_timeout,
                protocols: value.protocol.into_iter().collect(),
                subscription: Rc::clone(&member.subscription),
                assignment: member.assignment.clone(),
                awaiting_join: None,
                awaiting_sync: None,
                pending_sync: false,
                is_new: false,
                deadline: Instant::NEVER,
            };
            self.members.insert(member.member, restored);
        }
        if !self.members.is_empty() {
            self.state = GroupState::Stable;
        }
    }

    /// Gives every restored member a fresh session.
    pub(super) fn loaded(&mut self, turn: &mut Turn<'_>) {
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        for member in members {
            self.touch(member, turn);
        }
    }

    /// The record of the group as it is, with `assignments` in place of the members' own if given.
    pub(super) fn record(
        &self,
        assignments: Option<&[(MemberId, Vec<TopicPartition>)]>,
    ) -> CoordinatorRecord {
        let members = self.members.iter().map(|(id, member)| GroupMetadataMember {
            member: *id,
            instance: member.instance,
            session_timeout: member.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            subscription: Rc::clone(&member.subscription),
            assignment: match assignments {
                Some(given) => assignment_of(given, *id),
                None => member.assignment.clone(),
            },
        });
        let value = GroupMetadataValue {
            generation: self.generation,
            protocol: self.protocol,
            leader: self.leader,
            members: members.collect(),
        };
        CoordinatorRecord::GroupMetadata { group: self.id, metadata: Some(Rc::new(value)) }
    }

    /// Whether `member` may speak for itself (`ClassicGroup.validateMember`).
    pub(super) fn check_member(
        &self,
        member: MemberId,
        instance: Option<GroupInstanceId>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            return match self.static_members.get(&instance) {
                None => Err(ErrorCode::UnknownMemberId),
                Some(current) if *current != member => Err(ErrorCode::FencedInstanceId),
                Some(_) => Ok(()),
            };
        }
        if self.members.contains_key(&member) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// A member was heard: its session begins again.
    pub(super) fn touch(&mut self, member: MemberId, turn: &mut Turn<'_>) {
        if let Some(found) = self.members.get_mut(&member) {
            found.deadline = turn.now + found.session_timeout;
            let deadline = found.deadline;
            self.watch(deadline, turn);
        }
    }

    /// Makes sure that the session timer goes off by `deadline`.
    pub(super) fn watch(&mut self, deadline: Instant, turn: &mut Turn<'_>) {
        if deadline != Instant::NEVER && self.session_due.is_none_or(|due| deadline < due) {
            self.session_due = Some(deadline);
            turn.set_timer(TimerKind::Session, self.id, deadline.since(turn.now));
        }
    }

    pub(super) fn on_session_timer(&mut self, turn: &mut Turn<'_>) {
        self.session_due = None;
        let now = turn.now;
        for member in self.members.values_mut().filter(|m| m.deadline != Instant::NEVER) {
            // A clock that jumped back does not make a session longer.
            let longest =
                if member.is_new { NEW_MEMBER_JOIN_TIMEOUT } else { member.session_timeout };
            member.deadline = member.deadline.min(now + longest);
        }
        let lapsed = self.pending_join.len();
        self.pending_join.retain(|_, deadline| *deadline > now);
        if self.pending_join.len() < lapsed {
            self.maybe_complete_join(turn);
        }
        let silent = |(id, member): (&MemberId, &Member)| (member.deadline <= now).then_some(*id);
        while let Some(member) = self.members.iter().find_map(silent) {
            self.remove_and_rebalance(member, true, "a member's session expired", turn);
        }
        let deadlines = self.members.values().map(|member| member.deadline);
        if let Some(next) = deadlines.chain(self.pending_join.values().copied()).min() {
            self.watch(next, turn);
        }
    }

    pub(super) fn on_join_timer(&mut self, turn: &mut Turn<'_>) {
        match std::mem::replace(&mut self.join_phase, JoinPhase::Idle) {
            JoinPhase::Idle => {}
            JoinPhase::Initial { delay, remaining } => {
                if self.new_member_added && remaining > Duration::ZERO {
                    self.new_member_added = false;
                    let next = turn.config.group_initial_rebalance_delay.min(remaining);
                    let remaining = remaining - delay;
                    self.join_phase = JoinPhase::Initial { delay: next, remaining };
                    turn.set_timer(TimerKind::Join, self.id, next);
                } else {
                    self.complete_join(turn);
                }
            }
            JoinPhase::Barrier => self.complete_join(turn),
        }
    }

    pub(super) fn on_sync_timer(&mut self, turn: &mut Turn<'_>) {
        self.sync_timer = false;
        let missing = |(id, member): (&MemberId, &Member)| member.pending_sync.then_some(*id);
        let missing: Vec<MemberId> = self.members.iter().filter_map(missing).collect();
        if missing.is_empty() {
            return;
        }
        for member in missing {
            self.remove(member, false, turn);
        }
        self.maybe_rebalance("members did not sync in time", turn);
    }

    pub(super) fn remove_and_rebalance(
        &mut self,
        member: MemberId,
        expired: bool,
        reason: &'static str,
        turn: &mut Turn<'_>,
    ) {
        self.remove(member, expired, turn);
        self.maybe_rebalance(reason, turn);
    }

    /// Takes a member out. Who still waits for an answer may join again with a new member id.
    fn remove(&mut self, member: MemberId, expired: bool, turn: &mut Turn<'_>) {
        let Some(removed) = self.members.remove(&member) else { return };
        if let Some(instance) = removed.instance {
            self.static_members.retain(|other, id| *other != instance || *id != member);
        }
        self.fail(member, &removed, ErrorCode::UnknownMemberId, turn);
        if self.leader == Some(member) {
            self.leader = self.members.keys().next().copied();
        }
        turn.note(Note::MemberRemoved { group: self.id, member, expired });
    }

    /// Answers what `member` waits for with an error.
    pub(super) fn fail(
        &self,
        id: MemberId,
        member: &Member,
        error: ErrorCode,
        turn: &mut Turn<'_>,
    ) {
        if let Some(to) = member.awaiting_join {
            turn.reply(to, super::join_group::refused(id, error));
        }
        if let Some(to) = member.awaiting_sync {
            turn.reply(to, super::sync_group::refused(error));
        }
    }

    /// Begins a rebalance, or moves the one that is on (`maybePrepareRebalanceOrCompleteJoin`).
    pub(super) fn maybe_rebalance(&mut self, reason: &'static str, turn: &mut Turn<'_>) {
        if self.state == GroupState::PreparingRebalance {
            self.maybe_complete_join(turn);
        } else {
            self.prepare_rebalance(reason, turn);
        }
    }

    fn prepare_rebalance(&mut self, reason: &'static str, turn: &mut Turn<'_>) {
        if self.state == GroupState::CompletingRebalance {
            self.reset_assignment(ErrorCode::RebalanceInProgress, turn);
        }
        self.cancel_sync_timer(turn);
        let initial = self.state == GroupState::Empty;
        self.enter(GroupState::PreparingRebalance, turn);
        turn.note(Note::Rebalance { group: self.id, reason });
        if initial {
            let delay = turn.config.group_initial_rebalance_delay;
            let remaining = self.rebalance_timeout() - delay;
            self.new_member_added = false;
            self.join_phase = JoinPhase::Initial { delay, remaining };
            turn.set_timer(TimerKind::Join, self.id, delay);
        } else if self.all_joined() {
            self.complete_join(turn);
        } else {
            self.wait_for_members(turn);
        }
    }

    fn enter(&mut self, to: GroupState, turn: &mut Turn<'_>) {
        let from = std::mem::replace(&mut self.state, to);
        debug_assert!(to.valid_previous().contains(&from), "{to:?} does not follow {from:?}");
        turn.note(Note::GroupState { group: self.id, from, to });
    }

    fn wait_for_members(&mut self, turn: &mut Turn<'_>) {
        self.join_phase = JoinPhase::Barrier;
        turn.set_timer(TimerKind::Join, self.id, self.rebalance_timeout());
    }

    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|m| m.rebalance_timeout).max().unwrap_or(Duration::ZERO)
    }

    fn all_joined(&self) -> bool {
        self.pending_join.is_empty() && self.members.values().all(|m| m.awaiting_join.is_some())
    }

    /// A new group's initial delay is sat out; otherwise the last member ends the wait.
    pub(super) fn maybe_complete_join(&mut self, turn: &mut Turn<'_>) {
        if self.join_phase == JoinPhase::Barrier && self.all_joined() {
            self.complete_join(turn);
        }
    }

    /// The join phase is over: who is here makes up the next generation.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        if self.join_phase != JoinPhase::Idle {
            self.join_phase = JoinPhase::Idle;
            turn.cancel_timer(TimerKind::Join, self.id);
        }
        let absent = |(id, member): (&MemberId, &Member)| {
            (member.awaiting_join.is_none() && member.instance.is_none()).then_some(*id)
        };
        let absent: Vec<MemberId> = self.members.iter().filter_map(absent).collect();
        for member in absent {
            self.remove(member, false, turn);
        }
        let joined = |id: &MemberId| {
            self.members.get(id).is_some_and(|member| member.awaiting_join.is_some())
        };
        if !self.leader.as_ref().is_some_and(joined) {
            match self.members.keys().copied().find(joined) {
                Some(leader) => self.leader = Some(leader),
                // Only static members, and none has come back: wait for their sessions to end.
                None if !self.members.is_empty() => return self.wait_for_members(turn),
                None => self.leader = None,
            }
        }
        self.next_generation(turn);
    }

    fn next_generation(&mut self, turn: &mut Turn<'_>) {
        self.generation = GenerationId(self.generation.0.checked_add(1).unwrap_or(1));
        if self.members.is_empty() {
            self.enter(GroupState::Empty, turn);
            self.protocol = None;
            turn.append(vec![self.record(None)], Work::Emptied);
            return;
        }
        self.enter(GroupState::CompletingRebalance, turn);
        self.protocol = self.choose_protocol();
        let waiting: Vec<MemberId> = self.members.keys().copied().collect();
        for id in waiting {
            let member = self.members.get_mut(&id).expect("its id was just listed");
            member.is_new = false;
            member.pending_sync = true;
            let to = member.awaiting_join.take();
            if let Some(to) = to {
                turn.reply(to, self.join_response(id, self.leader == Some(id), false));
            }
            self.touch(id, turn);
        }
        self.sync_timer = true;
        turn.set_timer(TimerKind::Sync, self.id, self.rebalance_timeout());
    }

    /// The assignor that all members support and most prefer (`ClassicGroup.selectProtocol`).
    pub(super) fn choose_protocol(&self) -> Option<Assignor> {
        let first = self.members.values().next()?;
        let common = |assignor: &Assignor| {
            self.members.values().all(|member| member.protocols.contains(assignor))
        };
        let candidates: Vec<Assignor> = first.protocols.iter().copied().filter(common).collect();
        let votes = |candidate: Assignor| {
            let vote = |member: &&Member| {
                member.protocols.iter().find(|p| candidates.contains(p)) == Some(&candidate)
            };
            self.members.values().filter(vote).count()
        };
        // The first of equals, as `max_by_key` would take the last.
        candidates.iter().copied().rev().max_by_key(|candidate| votes(*candidate)).or(self.protocol)
    }

    /// Whether a member with `protocols` could agree with the others.
    pub(super) fn supports(&self, protocols: &[Assignor], except: Option<MemberId>) -> bool {
        protocols.iter().any(|protocol| {
            let others = self.members.iter().filter(|(id, _)| Some(**id) != except);
            others.into_iter().all(|(_, member)| member.protocols.contains(protocol))
        })
    }

    /// The members' syncs fail, and nobody has an assignment any more.
    fn reset_assignment(&mut self, error: ErrorCode, turn: &mut Turn<'_>) {
        self.answer_syncs(error, |_, member| member.assignment.clear(), turn);
    }

    fn answer_syncs(
        &mut self,
        error: ErrorCode,
        mut change: impl FnMut(MemberId, &mut Member),
        turn: &mut Turn<'_>,
    ) {
        let mut answered = Vec::new();
        for (id, member) in &mut self.members {
            change(*id, member);
            if let Some(to) = member.awaiting_sync.take() {
                let assignment = member.assignment.clone();
                turn.reply(to, super::sync_group::response(error, self.protocol, assignment));
                answered.push(*id);
            }
        }
        for member in answered {
            self.touch(member, turn);
        }
    }

    /// The leader's assignment was written, or could not be.
    pub(super) fn assignment_written(
        &mut self,
        generation: GenerationId,
        assignments: Vec<(MemberId, Vec<TopicPartition>)>,
        result: Result<(), ErrorCode>,
        turn: &mut Turn<'_>,
    ) {
        if self.state != GroupState::CompletingRebalance || self.generation != generation {
            return;
        }
        if let Err(error) = result {
            self.reset_assignment(response_error(error), turn);
            self.maybe_rebalance("the assignment could not be stored", turn);
            return;
        }
        self.enter(GroupState::Stable, turn);
        let given = |id, member: &mut Member| member.assignment = assignment_of(&assignments, id);
        self.answer_syncs(ErrorCode::None, given, turn);
        turn.note(Note::Generation {
            group: self.id,
            generation,
            assignment: assignments.into(),
            cooperative: self.protocol == Some(Assignor::CooperativeSticky),
            coordinator_epoch: turn.coordinator_epoch(),
        });
    }

    /// A member has synced; the last one ends the wait for syncs.
    pub(super) fn synced(&mut self, member: MemberId, turn: &mut Turn<'_>) {
        if let Some(member) = self.members.get_mut(&member) {
            member.pending_sync = false;
        }
        if self.members.values().all(|member| !member.pending_sync) {
            self.cancel_sync_timer(turn);
        }
    }

    fn cancel_sync_timer(&mut self, turn: &mut Turn<'_>) {
        if std::mem::take(&mut self.sync_timer) {
            turn.cancel_timer(TimerKind::Sync, self.id);
        }
    }

    /// Marks that a member came while a new group waits for more.
    pub(super) fn member_added(&mut self) {
        self.new_member_added |= matches!(self.join_phase, JoinPhase::Initial { .. })
            && self.generation == GenerationId(0);
    }

    /// The broker coordinates this group no more: everybody is sent away.
    pub(super) fn unload(&self, turn: &mut Turn<'_>) {
        for (id, member) in &self.members {
            self.fail(*id, member, ErrorCode::NotCoordinator, turn);
        }
        if self.join_phase != JoinPhase::Idle {
            turn.cancel_timer(TimerKind::Join, self.id);
        }
        if self.session_due.is_some() {
            turn.cancel_timer(TimerKind::Session, self.id);
        }
        if self.sync_timer {
            turn.cancel_timer(TimerKind::Sync, self.id);
        }
    }

    /// # Errors
    /// Says what the group waits for.
    pub(super) fn settled(&self) -> Result<(), String> {
        match self.state {
            GroupState::Empty | GroupState::Stable if !self.pending_join.is_empty() => {
                Err(format!("{} waits for a new member to join", self.id))
            }
            GroupState::Empty | GroupState::Stable => Ok(()),
            GroupState::PreparingRebalance => Err(format!("{} waits for members to join", self.id)),
            GroupState::CompletingRebalance => Err(format!("{} waits for an assignment", self.id)),
        }
    }

    /// A join's answer for `member` in the current generation.
    pub(super) fn join_response(
        &self,
        member: MemberId,
        with_members: bool,
        skip_assignment: bool,
    ) -> Response {
        let all = || {
            self.members
                .iter()
                .map(|(id, member)| (*id, member.instance, Rc::clone(&member.subscription)))
                .collect()
        };
        Response::JoinGroup(Box::new(crate::message::JoinGroupResponse {
            error: ErrorCode::None,
            generation: self.generation,
            protocol: self.protocol,
            leader: self.leader,
            member,
            members: if with_members { all() } else { Vec::new() },
            skip_assignment,
        }))
    }
}

fn assignment_of(
    assignments: &[(MemberId, Vec<TopicPartition>)],
    member: MemberId,
) -> Vec<TopicPartition> {
    let found = assignments.iter().find(|(id, _)| *id == member);
    found.map(|(_, partitions)| partitions.clone()).unwrap_or_default()
}
