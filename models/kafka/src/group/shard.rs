//! One partition of `__consumer_offsets` and the groups that it holds.
//!
//! Mirrors `GroupCoordinatorShard` and the loading and unloading of `CoordinatorRuntime`.
//!
//! Simplifications: a group that has been replaced by a later record in the log is replayed
//! anyway; loading takes no virtual time beyond what the broker gives it.

use std::collections::BTreeMap;

use oncesim_types::{ErrorCode, GroupId, LeaderEpoch, Offset};

use crate::group::classic_group::ClassicGroup;
use crate::group::writes::{TimerKind, Turn, Work, Writes};
use crate::group::{join_group, offset_commit, offset_fetch, sync_group};
use crate::log::batch::CoordinatorRecord;
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
}

/// The groups of a shard, apart from its writes.
pub(super) type Groups = BTreeMap<GroupId, ClassicGroup>;

impl Shard {
    pub(super) fn new(partition: u16) -> Shard {
        Shard {
            state: ShardState::Resigned,
            groups: BTreeMap::new(),
            writes: Writes::new(partition),
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
        self.groups.values().try_for_each(ClassicGroup::settled)
    }
}

/// Replays a log; returns its end.
pub(super) fn load(
    groups: &mut Groups,
    records: &mut dyn Iterator<Item = (Offset, CoordinatorRecord)>,
    turn: &mut Turn<'_>,
) -> Offset {
    let mut end = Offset::ZERO;
    for (offset, record) in records {
        end = offset.next();
        match record {
            CoordinatorRecord::OffsetCommit { group, partition, offset } => {
                let group = groups.entry(group).or_insert_with(|| ClassicGroup::new(group));
                let first_wins = turn.mutations.has(Mutation::GroupLoadFirstWins);
                match (group.offsets.get(&partition).copied(), offset) {
                    (Some(first), Some(later)) if first_wins => {
                        if first != later {
                            turn.note(Note::MutationHit);
                        }
                    }
                    (_, Some(committed)) => {
                        group.offsets.insert(partition, committed);
                    }
                    (_, None) => {
                        group.offsets.remove(&partition);
                    }
                }
            }
            CoordinatorRecord::GroupMetadata { group, metadata } => groups
                .entry(group)
                .or_insert_with(|| ClassicGroup::new(group))
                .replay(metadata.as_deref()),
            // Of another coordinator's log.
            CoordinatorRecord::Transaction { .. } => {}
        }
    }
    for group in groups.values_mut() {
        group.loaded(turn);
    }
    end
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
        let response = offset_fetch::response(groups.get(&request.group), &request);
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
        Work::Read { to, request } => {
            let response = match result {
                Ok(()) => offset_fetch::response(groups.get(&request.group), &request),
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
    let Some(group) = groups.get_mut(&group) else { return };
    match kind {
        TimerKind::Session => group.on_session_timer(turn),
        TimerKind::Join => group.on_join_timer(turn),
        TimerKind::Sync => group.on_sync_timer(turn),
        TimerKind::Write => {}
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
            Work::Assignment { .. } | Work::Replacement(_) | Work::Emptied => {}
        }
    }
    for group in groups.values() {
        group.unload(turn);
    }
    turn.cancel_write_timer();
}
