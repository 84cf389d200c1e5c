//! `JoinGroup`: a member enters a group, or enters its next generation.
//!
//! Mirrors `GroupMetadataManager.classicGroupJoin` (KIP-394: a member id first; KIP-345 and KIP-814:
//! static members; KAFKA-10284: a replaced member id is written before it is told).
//!
//! Simplifications: the member id that a coordinator gives (Kafka: a random UUID) comes with the
//! request, so that the coordinator draws nothing. No `group.max.size`.

use std::rc::Rc;

use oncesim_types::{ErrorCode, GenerationId, GroupInstanceId, Instant, MemberId};

use crate::group::classic_group::{
    ClassicGroup, GroupState, Member, NEW_MEMBER_JOIN_TIMEOUT, StaticReplacement,
};
use crate::group::writes::{Turn, Work, response_error};
use crate::machine::ReplyTo;
use crate::message::{JoinGroupRequest, JoinGroupResponse, Response};
use crate::note::Note;

/// A join's answer with an error.
pub(super) fn refused(member: MemberId, error: ErrorCode) -> Response {
    Response::JoinGroup(Box::new(JoinGroupResponse {
        error,
        generation: GenerationId::NONE,
        protocol: None,
        leader: None,
        member,
        members: Vec::new(),
        skip_assignment: false,
    }))
}

/// What can be said before the group is looked at.
pub(super) fn check(request: &JoinGroupRequest, turn: &Turn<'_>) -> Result<(), ErrorCode> {
    let allowed = turn.config.group_min_session_timeout..=turn.config.group_max_session_timeout;
    if !allowed.contains(&request.session_timeout) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    if request.protocols.is_empty() {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    Ok(())
}

impl ClassicGroup {
    pub(super) fn join(&mut self, to: ReplyTo, request: &JoinGroupRequest, turn: &mut Turn<'_>) {
        let result = match request.member {
            None => self.join_new_member(to, request, turn),
            Some(member) => self.join_known_member(to, member, request, turn),
        };
        if let Err(error) = result {
            let member = request.member.unwrap_or(request.candidate);
            turn.reply(to, refused(member, error));
        }
    }

    fn join_new_member(
        &mut self,
        to: ReplyTo,
        request: &JoinGroupRequest,
        turn: &mut Turn<'_>,
    ) -> Result<(), ErrorCode> {
        let Some(instance) = request.instance else {
            if !self.supports(&request.protocols, None) {
                return Err(ErrorCode::InconsistentGroupProtocol);
            }
            // A request that the network delivers twice must not leave a ghost behind.
            if !self.members.contains_key(&request.candidate) {
                let lapse = turn.now + request.session_timeout;
                self.pending_join.insert(request.candidate, lapse);
                self.watch(lapse, turn);
            }
            return Err(ErrorCode::MemberIdRequired);
        };
        let old = self.static_members.get(&instance).copied();
        if self.members.contains_key(&request.candidate) {
            return self.join_known_member(to, request.candidate, request, turn);
        }
        if !self.supports(&request.protocols, old) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match old {
            Some(old) => self.replace_static_member(to, instance, old, request, turn),
            None => self.add_member(to, request.candidate, request, turn),
        }
        Ok(())
    }

    fn join_known_member(
        &mut self,
        to: ReplyTo,
        member: MemberId,
        request: &JoinGroupRequest,
        turn: &mut Turn<'_>,
    ) -> Result<(), ErrorCode> {
        if !self.supports(&request.protocols, Some(member)) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if request.instance.is_none() && self.pending_join.remove(&member).is_some() {
            self.add_member(to, member, request, turn);
            return Ok(());
        }
        self.check_member(member, request.instance)?;
        let known = &self.members[&member];
        let unchanged =
            known.protocols == request.protocols && known.subscription == request.subscription;
        let is_leader = self.leader == Some(member);
        match self.state {
            // It has not heard the answer to its join: the generation has not changed since.
            GroupState::CompletingRebalance if unchanged => {
                turn.reply(to, self.join_response(member, is_leader, false));
            }
            // A follower without news goes on with a sync.
            GroupState::Stable if unchanged && !is_leader => {
                turn.reply(to, self.join_response(member, false, false));
            }
            GroupState::Empty => return Err(ErrorCode::UnknownMemberId),
            GroupState::PreparingRebalance => {
                self.update_member(member, Some(to), request);
                self.maybe_complete_join(turn);
            }
            // A leader that joins asks for a rebalance: it has seen other partitions, say.
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.update_member(member, Some(to), request);
                let reason = if unchanged {
                    "the leader joined again"
                } else {
                    "a member's subscription changed"
                };
                self.maybe_rebalance(reason, turn);
            }
        }
        Ok(())
    }

    fn add_member(
        &mut self,
        to: ReplyTo,
        id: MemberId,
        request: &JoinGroupRequest,
        turn: &mut Turn<'_>,
    ) {
        self.member_added();
        self.pending_join.remove(&id);
        if let Some(instance) = request.instance {
            self.static_members.insert(instance, id);
        }
        self.leader.get_or_insert(id);
        let deadline = turn.now + NEW_MEMBER_JOIN_TIMEOUT;
        let member = Member {
            instance: request.instance,
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: request.protocols.clone(),
            subscription: Rc::clone(&request.subscription),
            assignment: Vec::new(),
            awaiting_join: Some(to),
            awaiting_sync: None,
            pending_sync: false,
            is_new: true,
            deadline,
        };
        self.members.insert(id, member);
        self.watch(deadline, turn);
        self.maybe_rebalance("a member joined", turn);
    }

    /// The member waits for the join phase to end; nothing is expected of it meanwhile.
    fn update_member(&mut self, id: MemberId, to: Option<ReplyTo>, request: &JoinGroupRequest) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.protocols.clone_from(&request.protocols);
        member.subscription = Rc::clone(&request.subscription);
        member.session_timeout = request.session_timeout;
        member.rebalance_timeout = request.rebalance_timeout;
        if to.is_some() {
            member.awaiting_join = to;
            if !member.is_new {
                member.deadline = Instant::NEVER;
            }
        }
    }

    /// A static member is back under a new member id; the old one is fenced from now on.
    fn replace_static_member(
        &mut self,
        to: ReplyTo,
        instance: GroupInstanceId,
        old: MemberId,
        request: &JoinGroupRequest,
        turn: &mut Turn<'_>,
    ) {
        let new = request.candidate;
        self.rename_static_member(instance, old, new, turn);
        let before = &self.members[&new];
        let undo = StaticReplacement {
            group: self.id,
            instance,
            generation: self.generation,
            old,
            new,
            protocols: before.protocols.clone(),
            subscription: Rc::clone(&before.subscription),
            timeouts: (before.session_timeout, before.rebalance_timeout),
        };
        self.update_member(new, Some(to), request);
        match self.state {
            GroupState::Stable if self.choose_protocol() == self.protocol => {
                let record = self.record(None);
                turn.append(vec![record], Work::Replacement(Box::new(undo)));
            }
            // KAFKA-9801: the leader may be assigning to the old member id right now.
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.maybe_rebalance("a static member came back", turn);
            }
            GroupState::PreparingRebalance => self.maybe_complete_join(turn),
            GroupState::Empty => {}
        }
    }

    fn rename_static_member(
        &mut self,
        instance: GroupInstanceId,
        old: MemberId,
        new: MemberId,
        turn: &mut Turn<'_>,
    ) {
        let mut member =
            self.members.remove(&old).expect("a static instance names a member of the group");
        self.fail(old, &member, ErrorCode::FencedInstanceId, turn);
        (member.awaiting_join, member.awaiting_sync) = (None, None);
        self.members.insert(new, member);
        self.static_members.insert(instance, new);
        if self.leader == Some(old) {
            self.leader = Some(new);
        }
    }

    /// A static member's new member id was written, or could not be.
    pub(super) fn replacement_written(
        &mut self,
        replacement: StaticReplacement,
        result: Result<(), ErrorCode>,
        turn: &mut Turn<'_>,
    ) {
        let StaticReplacement { instance, old, new, .. } = replacement;
        if self.static_members.get(&instance) != Some(&new) {
            return;
        }
        match result {
            Ok(()) => {
                turn.note(Note::MemberRemoved { group: self.id, member: old, expired: false });
                // A rebalance that has begun meanwhile answers the join at its end.
                if self.state != GroupState::Stable || self.generation != replacement.generation {
                    return;
                }
                let waiting = self.members.get_mut(&new).and_then(|m| m.awaiting_join.take());
                if let Some(to) = waiting {
                    let is_leader = self.leader == Some(new);
                    turn.reply(to, self.join_response(new, is_leader, is_leader));
                }
                self.touch(new, turn);
            }
            Err(error) => {
                let waiting = self.members.get_mut(&new).and_then(|m| m.awaiting_join.take());
                if let Some(to) = waiting {
                    turn.reply(to, refused(new, response_error(error)));
                }
                // Whatever has happened since, as in `GroupMetadataManager`: if the group has
                // rebalanced with the new id, its assignment goes with it, and nobody reads that.
                self.rename_static_member(instance, new, old, turn);
                if let Some(member) = self.members.get_mut(&old) {
                    member.protocols = replacement.protocols;
                    member.subscription = replacement.subscription;
                    (member.session_timeout, member.rebalance_timeout) = replacement.timeouts;
                }
                self.touch(old, turn);
            }
        }
    }
}
