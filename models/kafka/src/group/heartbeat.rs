//! `Heartbeat`: a member stays, and learns that a rebalance has begun.
//!
//! Mirrors `GroupMetadataManager.classicGroupHeartbeat`.

use oncesim_types::ErrorCode;

use crate::group::classic_group::{ClassicGroup, GroupState};
use crate::group::writes::Turn;
use crate::message::HeartbeatRequest;

impl ClassicGroup {
    pub(super) fn heartbeat(
        &mut self,
        request: HeartbeatRequest,
        turn: &mut Turn<'_>,
    ) -> ErrorCode {
        if let Err(error) = self.check_member(request.member, request.instance) {
            return error;
        }
        if request.generation != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        let answer = match self.state {
            GroupState::Empty => return ErrorCode::UnknownMemberId,
            GroupState::PreparingRebalance => ErrorCode::RebalanceInProgress,
            // Members send heartbeats from their join's answer on.
            GroupState::CompletingRebalance | GroupState::Stable => ErrorCode::None,
        };
        let owed = |m: &super::classic_group::Member| {
            m.awaiting_join.is_some() || m.awaiting_sync.is_some()
        };
        // While the coordinator owes the member an answer, no session runs.
        if !self.members.get(&request.member).is_some_and(owed) {
            self.touch(request.member, turn);
        }
        answer
    }
}
