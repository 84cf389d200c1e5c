//! `OffsetFetch`: where a group stands.
//!
//! Mirrors `OffsetMetadataManager.fetchOffsets`: what is committed up to the high watermark; with
//! `require_stable` behind every write so far, and not while a transaction is open that may move
//! an offset (KIP-447).

use oncesim_types::{ErrorCode, TopicPartition};

use crate::group::classic_group::ClassicGroup;
use crate::group::writes::Turn;
use crate::message::{OffsetFetchRequest, OffsetFetchResponse, Response};
use crate::mutation::Mutation;
use crate::note::Note;

/// A fetch's answer with an error.
pub(super) fn refused(error: ErrorCode) -> Response {
    Response::OffsetFetch(Box::new(OffsetFetchResponse { error, offsets: Vec::new() }))
}

/// The answer for `group`; an unknown group has no offsets.
pub(super) fn response(
    group: Option<&ClassicGroup>,
    request: &OffsetFetchRequest,
    turn: &mut Turn<'_>,
) -> Response {
    let mut stable = request.require_stable && !turn.pending.is_empty();
    if stable && turn.mutations.has(Mutation::GroupNoRequireStable) {
        let concerned = |tp: &TopicPartition| turn.pending.concerns(request.group, *tp);
        if request.partitions.iter().any(concerned) {
            turn.note(Note::MutationHit);
        }
        stable = false;
    }
    let one = |partition| {
        if stable && turn.pending.concerns(request.group, partition) {
            return (partition, ErrorCode::UnstableOffsetCommit, None);
        }
        let committed = group.and_then(|group| group.offsets.get(&partition));
        let committed = committed.map(|committed| (committed.offset, committed.leader_epoch));
        (partition, ErrorCode::None, committed)
    };
    let offsets = request.partitions.iter().copied().map(one).collect();
    Response::OffsetFetch(Box::new(OffsetFetchResponse { error: ErrorCode::None, offsets }))
}
