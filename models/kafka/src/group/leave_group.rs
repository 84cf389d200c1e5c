//! `LeaveGroup`: a member goes, and the others share what it had.
//!
//! Mirrors `GroupMetadataManager.classicGroupLeave`.

use oncesim_types::ErrorCode;

use crate::group::classic_group::ClassicGroup;
use crate::group::writes::Turn;
use crate::message::LeaveGroupRequest;

impl ClassicGroup {
    pub(super) fn leave(&mut self, request: LeaveGroupRequest, turn: &mut Turn<'_>) -> ErrorCode {
        if self.pending_join.remove(&request.member).is_some() {
            self.maybe_complete_join(turn);
            return ErrorCode::None;
        }
        if let Err(error) = self.check_member(request.member, request.instance) {
            return error;
        }
        self.remove_and_rebalance(request.member, false, "a member left", turn);
        ErrorCode::None
    }
}
