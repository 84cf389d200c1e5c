//! `TxnOffsetCommit`: offsets that count when a transaction commits.
//!
//! Mirrors `OffsetMetadataManager.commitTransactionalOffset`, `validateTransactionalOffsetCommit`
//! and `ClassicGroup.validateOffsetCommit` (KIP-447).
//!
//! The partition of the log has been verified, or added to the transaction, before (KIP-890): see
//! the broker's verification.

use oncesim_types::{ErrorCode, GenerationId, Offset};

use crate::group::TransactionalWrite;
use crate::group::classic_group::ClassicGroup;
use crate::group::shard::Groups;
use crate::group::writes::{Commit, Turn, Work};
use crate::log::VerificationGuard;
use crate::log::batch::CoordinatorRecord;
use crate::machine::ReplyTo;
use crate::message::{GroupMetadata, Response, TxnOffsetCommitRequest};
use crate::mutation::Mutation;
use crate::note::Note;

/// A commit that was refused: the same answer for each partition.
#[must_use]
pub fn txn_offset_commit_refused(request: &TxnOffsetCommitRequest, error: ErrorCode) -> Response {
    Response::TxnOffsetCommit(request.offsets.iter().map(|(tp, ..)| (*tp, error)).collect())
}

pub(super) fn commit(
    groups: &mut Groups,
    to: ReplyTo,
    request: TxnOffsetCommitRequest,
    guard: Option<VerificationGuard>,
    turn: &mut Turn<'_>,
) {
    let GroupMetadata { member, generation, .. } = request.consumer;
    let id = request.group;
    // A group that nobody has joined, or a producer that does not say for whom it commits.
    let mut verdict = match groups.get(&id) {
        Some(group) => group.check_transactional_commit(request.consumer),
        None if generation < GenerationId(0) => Ok(()),
        None => Err(ErrorCode::IllegalGeneration),
    };
    if verdict.is_err() && turn.mutations.has(Mutation::GroupTxnCommitNoGeneration) {
        turn.note(Note::MutationHit);
        verdict = Ok(());
    }
    if let Err(error) = verdict {
        turn.note(Note::OffsetRejected { group: id, member, generation, error });
        turn.reply(to, txn_offset_commit_refused(&request, error));
        return;
    }
    if request.offsets.is_empty() {
        turn.reply(to, Response::TxnOffsetCommit(Vec::new()));
        return;
    }
    let current = groups.entry(id).or_insert_with(|| ClassicGroup::new(id)).generation;
    let record = |&(partition, offset, leader_epoch)| CoordinatorRecord::OffsetCommit {
        group: id,
        partition,
        offset: Some((offset, leader_epoch)),
    };
    let records = request.offsets.iter().map(record).collect();
    let (producer_id, producer_epoch) = (request.producer_id, request.producer_epoch);
    let commit = Commit {
        group: id,
        member,
        generation,
        current,
        offsets: request.offsets,
        transaction: Some((producer_id, producer_epoch)),
        reply: Some(to),
        applied: false,
        base_offset: Offset::UNKNOWN,
    };
    let write = TransactionalWrite { producer_id, producer_epoch, guard };
    turn.append_in(Some(write), records, Work::Commit(commit));
}

impl ClassicGroup {
    /// Unlike other commits it may come in the middle of a rebalance, and it does not prolong a
    /// session.
    fn check_transactional_commit(&self, consumer: GroupMetadata) -> Result<(), ErrorCode> {
        let GroupMetadata { member, instance, generation } = consumer;
        if generation < GenerationId(0) && member.is_none() && instance.is_none() {
            return Ok(());
        }
        if generation < GenerationId(0) && self.members.is_empty() {
            return Ok(());
        }
        let member = member.ok_or(ErrorCode::UnknownMemberId)?;
        self.check_member(member, instance)?;
        if generation == self.generation { Ok(()) } else { Err(ErrorCode::IllegalGeneration) }
    }
}
