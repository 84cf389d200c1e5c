//! `OffsetFetch`: where a group stands.
//!
//! Mirrors `OffsetMetadataManager.fetchOffsets`: what is committed up to the high watermark; with
//! `require_stable` behind every write so far (KIP-447).
//!
//! Simplifications: no transaction writes offsets yet, so that every offset is stable.

use oncesim_types::ErrorCode;

use crate::group::classic_group::ClassicGroup;
use crate::message::{OffsetFetchRequest, OffsetFetchResponse, Response};

/// A fetch's answer with an error.
pub(super) fn refused(error: ErrorCode) -> Response {
    Response::OffsetFetch(Box::new(OffsetFetchResponse { error, offsets: Vec::new() }))
}

/// The answer for `group`; an unknown group has no offsets.
pub(super) fn response(group: Option<&ClassicGroup>, request: &OffsetFetchRequest) -> Response {
    let one = |partition| {
        let committed = group.and_then(|group| group.offsets.get(&partition)).copied();
        (partition, ErrorCode::None, committed)
    };
    let offsets = request.partitions.iter().copied().map(one).collect();
    Response::OffsetFetch(Box::new(OffsetFetchResponse { error: ErrorCode::None, offsets }))
}
