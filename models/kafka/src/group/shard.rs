//! One partition of `__consumer_offsets` and the groups that it holds.
//!
//! Mirrors `GroupCoordinatorShard` and the loading and unloading of `CoordinatorRuntime`.
//!
//! Simplifications: a group that has been replaced by a later record in the log is replayed
//! anyway; loading takes no virtual time beyond what the broker gives it.

use std::collections::BTreeMap;

use oncesim_types::{ErrorCode, GroupId, LeaderEpoch, Offset, ProducerId};

use crate::group::classic_group::ClassicGroup;
use crate::group::pending_offsets::{self, CommittedOffset, PendingOffsets};
use crate::group::writes::{TimerKind, Turn, Work, Writes};
use crate::group::{join_group, offset_commit, offset_fetch, sync_group};
use crate::log::batch::{CoordinatorRecord, LogBatch, Records};
use crate::machine::ReplyTo;
use crate::message::{
    JoinGroupRequest, OffsetCommitRequest, OffsetFetchRequest, Request, Response,
};
use crate::mutation::Mutation;
use crate::note::Note;

/// Whether a shard serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShardState {
    /// Another broker coordinates.
    Resigned,
    /// Elected; the log is being read.
    Loading,
    /// Serves.
    Active,
}

/// One shard. It stays when the broker resigns, so that tickets are never reused.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) state: ShardState,
    pub(super) groups: BTreeMap<GroupId, ClassicGroup>,
    pub(super) writes: Writes,
    pub(super) pending: PendingOffsets,
}

/// The groups of a shard, apart from its writes.
pub(super) type Groups = BTreeMap<GroupId, ClassicGroup>;

impl Shard {
    pub(super) fn new(partition: u16) -> Shard {
        Shard {
            state: ShardState::Resigned,
            groups: BTreeMap::new(),
            writes: Writes::new(partition),
            pending: PendingOffsets::default(),
        }
    }

    pub(super) fn elected(&mut self, epoch: LeaderEpoch) {
        self.writes.elected(epoch);
        if self.state == ShardState::Resigned {
            self.state = ShardState::Loading;
        }
    }

    /// # Errors
    /// Says what the shard waits for.
    pub(super) fn settled(&self) -> Result<(), String> {
        match self.state {
            ShardState::Resigned => return Ok(()),
            ShardState::Loading => return Err("a group coordinator is loading".to_owned()),
            ShardState::Active => {}
        }
        if !self.writes.is_empty() {
            return Err("a group coordinator waits for its log".to_owned());
        }
        if !self.pending.is_empty() {
            return Err("offsets wait for their transaction to end".to_owned());
        }
        self.groups.values().try_for_each(ClassicGroup::settled)
    }
}

/// Replays a log; returns its end.
pub(super) fn load(
    groups: &mut Groups,
    batches: &mut dyn Iterator<Item = &LogBatch>,
    turn: &mut Turn<'_>,
) -> Offset {
    let mut end = Offset::ZERO;
    for batch in batches {
        end = batch.next_offset();
        let producer_id =
            if batch.batch.transactional { batch.batch.producer_id } else { ProducerId::NONE };
        match &batch.batch.records {
            Records::Coordinator(records) => {
                let offsets = (batch.base_offset.0..).map(Offset);
                for (offset, record) in offsets.zip(records) {
                    replay(groups, offset, producer_id, record, turn);
                }
            }
            Records::Control(marker) => {
                let at = batch.base_offset;
                pending_offsets::resolve(groups, producer_id, marker.result, turn, |turn, note| {
                    turn.writes.tell_later(at, note);
                });
            }
            Records::Data(_) => {}
        }
    }
    if !turn.pending.is_empty() && turn.mutations.has(Mutation::GroupPendingLostOnFailover) {
        turn.note(Note::MutationHit);
        turn.pending.clear();
    }
    for group in groups.values_mut() {
        group.loaded(turn);
    }
    end
}

fn replay(
    groups: &mut Groups,
    at: Offset,
    producer_id: ProducerId,
    record: &CoordinatorRecord,
    turn: &mut Turn<'_>,
) {
    match record {
        CoordinatorRecord::OffsetCommit { group, partition, offset } => {
            let committed = offset.map(|(offset, leader_epoch)| CommittedOffset {
                offset,
                leader_epoch,
                record: at,
            });
            if let (Some(committed), true) = (committed, producer_id != ProducerId::NONE) {
                turn.pending.insert(producer_id, *group, *partition, committed);
                return;
            }
            let group = groups.entry(*group).or_insert_with(|| ClassicGroup::new(*group));
            let first_wins = turn.mutations.has(Mutation::GroupLoadFirstWins);
            match (group.offsets.get(partition).copied(), committed) {
                (Some(first), Some(later)) if first_wins => {
                    if first.offset != later.offset {
                        turn.note(Note::MutationHit);
                    }
                }
                (_, Some(committed)) => {
                    group.offsets.insert(*partition, committed);
                }
                (_, None) => {
                    group.offsets.remove(partition);
                }
            }
        }
        CoordinatorRecord::GroupMetadata { group, metadata } => groups
            .entry(*group)
            .or_insert_with(|| ClassicGroup::new(*group))
            .replay(metadata.as_deref()),
        // Of another coordinator's log.
        CoordinatorRecord::Transaction { .. } => {}
    }
}

/// Serves one request.
pub(super) fn serve(groups: &mut Groups, to: ReplyTo, request: Request, turn: &mut Turn<'_>) {
    match request {
        Request::JoinGroup(request) => join(groups, to, &request, turn),
        Request::SyncGroup(request) => match groups.get_mut(&request.group) {
            Some(group) => group.sync(to, *request, turn),
            None => turn.reply(to, sync_group::refused(ErrorCode::UnknownMemberId)),
        },
        Request::Heartbeat(request) => {
            let error = match groups.get_mut(&request.group) {
                Some(group) => group.heartbeat(request, turn),
                None => ErrorCode::UnknownMemberId,
            };
            turn.reply(to, Response::Heartbeat(error));
        }
        Request::LeaveGroup(request) => {
            let error = match groups.get_mut(&request.group) {
                Some(group) => group.leave(request, turn),
                None => ErrorCode::UnknownMemberId,
            };
            turn.reply(to, Response::LeaveGroup(error));
        }
        Request::OffsetCommit(request) => commit(groups, to, *request, turn),
        Request::OffsetFetch(request) => fetch(groups, to, request, turn),
        _ => {}
    }
}

fn join(groups: &mut Groups, to: ReplyTo, request: &JoinGroupRequest, turn: &mut Turn<'_>) {
    let id = request.group;
    let refused = |error| join_group::refused(request.member.unwrap_or(request.candidate), error);
    if let Err(error) = join_group::check(request, turn) {
        turn.reply(to, refused(error));
    } else if request.member.is_none() {
        groups.entry(id).or_insert_with(|| ClassicGroup::new(id)).join(to, request, turn);
    } else if let Some(group) = groups.get_mut(&id) {
        group.join(to, request, turn);
    } else {
        turn.reply(to, refused(ErrorCode::UnknownMemberId));
    }
}

fn commit(groups: &mut Groups, to: ReplyTo, request: OffsetCommitRequest, turn: &mut Turn<'_>) {
    let id = request.group;
    let may_create = request.generation < oncesim_types::GenerationId(0)
        || turn.mutations.has(Mutation::GroupCommitAnyGeneration);
    if may_create {
        groups.entry(id).or_insert_with(|| ClassicGroup::new(id)).commit(to, request, turn);
    } else if let Some(group) = groups.get_mut(&id) {
        group.commit(to, request, turn);
    } else {
        offset_commit::note_refused(&request, ErrorCode::IllegalGeneration, turn);
        turn.reply(to, offset_commit::refused(&request, ErrorCode::IllegalGeneration));
    }
}

fn fetch(groups: &Groups, to: ReplyTo, request: OffsetFetchRequest, turn: &mut Turn<'_>) {
    let at_once = if request.require_stable {
        turn.writes.is_durable()
    } else {
        turn.writes.has_loaded_durably()
    };
    if at_once {
        let response = offset_fetch::response(groups.get(&request.group), &request, turn);
        turn.reply(to, response);
    } else {
        turn.read_behind_writes(to, request);
    }
}

/// Finishes everything that the high watermark covers.
pub(super) fn drain(groups: &mut Groups, turn: &mut Turn<'_>) {
    while let Some(work) = turn.writes.pop_durable() {
        finish(groups, work, Ok(()), turn);
    }
}

/// A write is durable, or failed.
pub(super) fn finish(
    groups: &mut Groups,
    work: Work,
    result: Result<(), ErrorCode>,
    turn: &mut Turn<'_>,
) {
    match work {
        Work::Commit(commit) => {
            if let Some(group) = groups.get_mut(&commit.group) {
                group.commit_written(commit, result, turn);
            }
        }
        Work::Assignment { group, generation, assignments } => {
            if let Some(group) = groups.get_mut(&group) {
                group.assignment_written(generation, assignments, result, turn);
            }
        }
        Work::Replacement(replacement) => {
            if let Some(group) = groups.get_mut(&replacement.group) {
                group.replacement_written(*replacement, result, turn);
            }
        }
        Work::Emptied => {}
        Work::Marker { producer_id, result: ended } => {
            pending_offsets::marker_written(groups, producer_id, ended, turn);
        }
        Work::Read { to, request } => {
            let response = match result {
                Ok(()) => offset_fetch::response(groups.get(&request.group), &request, turn),
                Err(error) => offset_fetch::refused(super::writes::response_error(error)),
            };
            turn.reply(to, response);
        }
    }
}

pub(super) fn on_timer(groups: &mut Groups, kind: TimerKind, group: GroupId, turn: &mut Turn<'_>) {
    if kind == TimerKind::Write {
        turn.write_timer_fired();
        for work in turn.writes.expire(turn.now, turn.config.offsets_commit_timeout) {
            finish(groups, work, Err(ErrorCode::RequestTimedOut), turn);
        }
        turn.arm_write_timer();
        drain(groups, turn);
        return;
    }
    if kind == TimerKind::Materialize {
        return pending_offsets::on_timer(groups, turn);
    }
    let Some(group) = groups.get_mut(&group) else { return };
    match kind {
        TimerKind::Session => group.on_session_timer(turn),
        TimerKind::Join => group.on_join_timer(turn),
        TimerKind::Sync => group.on_sync_timer(turn),
        TimerKind::Write | TimerKind::Materialize => {}
    }
}

/// The answer to `request` when this broker cannot serve it.
pub(super) fn refuse(request: &Request, error: ErrorCode) -> Option<Response> {
    Some(match request {
        Request::JoinGroup(request) => {
            join_group::refused(request.member.unwrap_or(request.candidate), error)
        }
        Request::SyncGroup(_) => sync_group::refused(error),
        Request::Heartbeat(_) => Response::Heartbeat(error),
        Request::LeaveGroup(_) => Response::LeaveGroup(error),
        Request::OffsetCommit(request) => offset_commit::refused(request, error),
        Request::OffsetFetch(_) => offset_fetch::refused(error),
        _ => return None,
    })
}

/// The broker has resigned: everybody who waits is sent to the next coordinator.
pub(super) fn unload(groups: &Groups, turn: &mut Turn<'_>) {
    for work in turn.writes.take_all() {
        // What memory holds is dropped with the groups; only answers are owed. A commit may become
        // durable under the next leader.
        match work {
            Work::Commit(commit) => {
                if let Some(to) = commit.reply {
                    turn.reply(to, offset_commit::response(&commit, ErrorCode::NotCoordinator));
                }
            }
            Work::Read { to, .. } => {
                turn.reply(to, offset_fetch::refused(ErrorCode::NotCoordinator))
            }
            Work::Assignment { .. }
            | Work::Replacement(_)
            | Work::Emptied
            | Work::Marker { .. } => {}
        }
    }
    pending_offsets::unload(turn);
    for group in groups.values() {
        group.unload(turn);
    }
    turn.cancel_write_timer();
}
