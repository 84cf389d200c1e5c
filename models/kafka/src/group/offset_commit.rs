//! `OffsetCommit`: a group's next offsets to consume.
//!
//! Mirrors `OffsetMetadataManager.commitOffset`, `ClassicGroup.validateOffsetCommit`.
//!
//! Simplifications: an offset counts when the high watermark covers it, and only then enters
//! memory: validation never reads offsets, so that nothing has to be rolled back. No metadata
//! string and no expiry of offsets.

use oncesim_types::{ErrorCode, GenerationId, GroupId, Offset};

use crate::group::classic_group::{ClassicGroup, GroupState};
use crate::group::pending_offsets::CommittedOffset;
use crate::group::writes::{Commit, Turn, Work};
use crate::log::batch::CoordinatorRecord;
use crate::machine::ReplyTo;
use crate::message::{OffsetCommitRequest, Response};
use crate::mutation::Mutation;
use crate::note::Note;

/// The answer to a commit: the same for each partition.
pub(super) fn response(commit: &Commit, error: ErrorCode) -> Response {
    let partitions = commit.offsets.iter().map(|(tp, ..)| (*tp, error)).collect();
    match commit.transaction {
        None => Response::OffsetCommit(partitions),
        Some(_) => Response::TxnOffsetCommit(partitions),
    }
}

/// A commit that was refused.
pub(super) fn refused(request: &OffsetCommitRequest, error: ErrorCode) -> Response {
    Response::OffsetCommit(request.offsets.iter().map(|(tp, ..)| (*tp, error)).collect())
}

/// Tells the recorder about a refusal.
pub(super) fn note_refused(request: &OffsetCommitRequest, error: ErrorCode, turn: &mut Turn<'_>) {
    let OffsetCommitRequest { group, member, generation, .. } = *request;
    turn.note(Note::OffsetRejected { group, member, generation, error });
}

impl ClassicGroup {
    pub(super) fn commit(
        &mut self,
        to: ReplyTo,
        request: OffsetCommitRequest,
        turn: &mut Turn<'_>,
    ) {
        if let Err(error) = self.check_commit(&request) {
            if !turn.mutations.has(Mutation::GroupCommitAnyGeneration) {
                note_refused(&request, error, turn);
                turn.reply(to, refused(&request, error));
                return;
            }
            turn.note(Note::MutationHit);
        }
        if request.offsets.is_empty() {
            turn.reply(to, Response::OffsetCommit(Vec::new()));
            return;
        }
        if let Some(member) = request.member
            && self.members.get(&member).is_some_and(|m| m.awaiting_join.is_none())
        {
            self.touch(member, turn);
        }
        let records = records(request.group, &request);
        let mut commit = Commit {
            group: request.group,
            member: request.member,
            generation: request.generation,
            current: self.generation,
            offsets: request.offsets,
            transaction: None,
            reply: Some(to),
            applied: false,
            base_offset: Offset::UNKNOWN,
        };
        if turn.mutations.has(Mutation::GroupReplyBeforeHighWatermark) {
            turn.note(Note::MutationHit);
            self.accept(&mut commit, turn);
        }
        turn.append(records, Work::Commit(commit));
    }

    fn check_commit(&self, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        let generation = request.generation;
        // A consumer without group membership, in a group that nobody has joined.
        if generation < GenerationId(0) && self.state == GroupState::Empty {
            return Ok(());
        }
        let member = request.member.ok_or(ErrorCode::UnknownMemberId)?;
        self.check_member(member, request.instance)?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        // A member that has not synced yet cannot have read anything in this generation; one that
        // commits before it rejoins (PreparingRebalance) is still in the old one, and welcome.
        if self.state == GroupState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// A commit was written, could not be, or took too long.
    pub(super) fn commit_written(
        &mut self,
        mut commit: Commit,
        result: Result<(), ErrorCode>,
        turn: &mut Turn<'_>,
    ) {
        match result {
            Ok(()) if commit.applied => {}
            Ok(()) => self.accept(&mut commit, turn),
            // The records are in the log: the commit may still count, and nobody knows yet.
            Err(ErrorCode::RequestTimedOut) if commit.transaction.is_none() => {
                if let Some(to) = commit.reply {
                    turn.reply(to, response(&commit, ErrorCode::RequestTimedOut));
                }
            }
            Err(error) => {
                let error = super::writes::response_error(error);
                let Commit { group, member, generation, reply, .. } = commit;
                if let Some(to) = reply {
                    if result != Err(ErrorCode::RequestTimedOut) {
                        turn.note(Note::OffsetRejected { group, member, generation, error });
                    }
                    turn.reply(to, response(&commit, error));
                }
            }
        }
    }

    fn accept(&mut self, commit: &mut Commit, turn: &mut Turn<'_>) {
        commit.applied = true;
        let Commit { group, member, generation, current, .. } = *commit;
        let coordinator_epoch = turn.coordinator_epoch();
        let places = (commit.base_offset.0..).map(Offset);
        for (&(partition, offset, leader_epoch), record) in commit.offsets.iter().zip(places) {
            let committed = CommittedOffset { offset, leader_epoch, record };
            if let Some((producer_id, producer_epoch)) = commit.transaction {
                turn.pending.insert(producer_id, group, partition, committed);
                turn.note(Note::OffsetPending {
                    group,
                    producer_id,
                    producer_epoch,
                    member,
                    generation,
                    current,
                    partition,
                    offset,
                    coordinator_epoch,
                });
                continue;
            }
            self.offsets.insert(partition, committed);
            turn.note(Note::OffsetAccepted {
                group,
                member,
                generation,
                current,
                partition,
                offset,
                coordinator_epoch,
            });
        }
        if let Some(to) = commit.reply.take() {
            turn.reply(to, response(commit, ErrorCode::None));
        }
    }
}

fn records(group: GroupId, request: &OffsetCommitRequest) -> Vec<CoordinatorRecord> {
    let record = |&(partition, offset, leader_epoch)| CoordinatorRecord::OffsetCommit {
        group,
        partition,
        offset: Some((offset, leader_epoch)),
    };
    request.offsets.iter().map(record).collect()
}
