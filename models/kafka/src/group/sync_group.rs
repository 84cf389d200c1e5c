//! `SyncGroup`: the leader hands in the assignment, the others wait for it.
//!
//! Mirrors `GroupMetadataManager.classicGroupSync`: the assignment is in the log before anybody is
//! told about it.

use oncesim_types::{ErrorCode, Instant, TopicPartition};

use crate::group::classic_group::{ClassicGroup, GroupState};
use crate::group::writes::{Turn, Work};
use crate::machine::ReplyTo;
use crate::message::{Assignor, Response, SyncGroupRequest, SyncGroupResponse};

/// A sync's answer.
pub(super) fn response(
    error: ErrorCode,
    protocol: Option<Assignor>,
    assignment: Vec<TopicPartition>,
) -> Response {
    Response::SyncGroup(Box::new(SyncGroupResponse { error, protocol, assignment }))
}

/// A sync's answer with an error.
pub(super) fn refused(error: ErrorCode) -> Response {
    response(error, None, Vec::new())
}

impl ClassicGroup {
    pub(super) fn sync(&mut self, to: ReplyTo, request: SyncGroupRequest, turn: &mut Turn<'_>) {
        if let Err(error) = self.check_sync(&request) {
            turn.reply(to, refused(error));
            return;
        }
        let id = request.member;
        self.synced(id, turn);
        let Some(member) = self.members.get_mut(&id) else { return };
        if self.state == GroupState::Stable {
            let assignment = member.assignment.clone();
            turn.reply(to, response(ErrorCode::None, self.protocol, assignment));
            self.touch(id, turn);
            return;
        }
        member.awaiting_sync = Some(to);
        member.deadline = Instant::NEVER;
        if self.leader == Some(id) {
            let members = &self.members;
            let mut assignments = request.assignments;
            assignments.retain(|(member, _)| members.contains_key(member));
            let record = self.record(Some(&assignments));
            let (group, generation) = (self.id, self.generation);
            turn.append(vec![record], Work::Assignment { group, generation, assignments });
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.check_member(request.member, request.instance)?;
        if request.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.state {
            GroupState::Empty => Err(ErrorCode::UnknownMemberId),
            GroupState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }
}
