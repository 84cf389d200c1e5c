//! The coordinator of one broker: all its shards behind the interface that the broker calls.
//!
//! Mirrors `GroupCoordinatorService` and `CoordinatorRuntime`.
//!
//! Simplifications: the event loop is the broker's own; a request, a timer and the progress of the
//! log are handled in the step that brings them.

use std::rc::Rc;

use oncesim_types::{
    ActorId, ErrorCode, GroupId, Instant, LeaderEpoch, Offset, ProducerId, TopicPartition,
    TransactionResult,
};

use crate::config::BrokerConfig;
use crate::group::shard::{self, Shard, ShardState};
use crate::group::writes::{Turn, Writes, read_timer_key};
use crate::group::{GroupCoordination, GroupEffect, txn_offset_commit};
use crate::log::VerificationGuard;
use crate::log::batch::LogBatch;
use crate::machine::{ReplyTo, TimerKey};
use crate::message::{Request, TxnOffsetCommitRequest};
use crate::mutation::Mutations;

/// The group coordinator of one broker.
#[derive(Debug)]
pub struct GroupCoordinator {
    broker: ActorId,
    config: Rc<BrokerConfig>,
    mutations: Mutations,
    /// By partition of `__consumer_offsets`.
    shards: Vec<Shard>,
    /// The time of the last call that brought it.
    now: Instant,
}

/// Takes a shard apart: its groups, and the turn that works on them.
macro_rules! turn {
    ($self:ident, $shard:ident, $out:expr) => {
        Turn {
            now: $self.now,
            config: &$self.config,
            mutations: $self.mutations,
            writes: &mut $shard.writes,
            pending: &mut $shard.pending,
            out: $out,
        }
    };
}

impl GroupCoordinator {
    /// A coordinator that has not been elected for anything.
    #[must_use]
    pub fn new(
        broker: ActorId,
        config: Rc<BrokerConfig>,
        mutations: Mutations,
    ) -> GroupCoordinator {
        GroupCoordinator { broker, config, mutations, shards: Vec::new(), now: Instant::ZERO }
    }

    /// The broker that it is a part of.
    #[must_use]
    pub fn broker(&self) -> ActorId {
        self.broker
    }

    /// Serves a request of a group that maps to `partition` of `__consumer_offsets`: `JoinGroup`,
    /// `SyncGroup`, `Heartbeat`, `LeaveGroup`, `OffsetCommit` or `OffsetFetch`; others are ignored.
    /// It answers NOT_COORDINATOR when it is not elected, COORDINATOR_LOAD_IN_PROGRESS while it
    /// loads.
    pub fn request(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: Request,
        partition: u16,
        out: &mut Vec<GroupEffect>,
    ) {
        self.now = now;
        let state = self.shards.get(usize::from(partition)).map(|shard| shard.state);
        let error = match state {
            Some(ShardState::Active) => {
                let shard = &mut self.shards[usize::from(partition)];
                shard::serve(&mut shard.groups, to, request, &mut turn!(self, shard, out));
                return;
            }
            Some(ShardState::Loading) => ErrorCode::CoordinatorLoadInProgress,
            Some(ShardState::Resigned) | None => ErrorCode::NotCoordinator,
        };
        if let Some(response) = shard::refuse(&request, error) {
            out.push(GroupEffect::Reply(to, response));
        }
    }

    /// Serves a transaction's commit of offsets, after the verification that `guard` stands for.
    pub fn commit_transactional(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: TxnOffsetCommitRequest,
        guard: Option<VerificationGuard>,
        partition: u16,
        out: &mut Vec<GroupEffect>,
    ) {
        self.now = now;
        let error = match self.shards.get_mut(usize::from(partition)) {
            Some(shard) if shard.state == ShardState::Active => {
                let mut turn = turn!(self, shard, out);
                txn_offset_commit::commit(&mut shard.groups, to, request, guard, &mut turn);
                return;
            }
            Some(shard) if shard.state == ShardState::Loading => {
                ErrorCode::CoordinatorLoadInProgress
            }
            _ => ErrorCode::NotCoordinator,
        };
        let response = txn_offset_commit::txn_offset_commit_refused(&request, error);
        out.push(GroupEffect::Reply(to, response));
    }

    /// Whether nothing is under way: every group is stable or empty, nothing waits for the log.
    ///
    /// # Errors
    /// Says what is under way.
    pub fn settled(&self) -> Result<(), String> {
        let shards = self.shards.iter().enumerate();
        for (partition, shard) in shards {
            shard.settled().map_err(|why| format!("__consumer_offsets-{partition}: {why}"))?;
        }
        Ok(())
    }

    /// The committed offset of `group` for `partition` with its leader epoch, if this broker
    /// coordinates the group and it has one.
    #[must_use]
    pub fn committed(
        &self,
        group: GroupId,
        partition: TopicPartition,
    ) -> Option<(Offset, LeaderEpoch)> {
        self.shards
            .iter()
            .filter(|shard| shard.state == ShardState::Active)
            .find_map(|shard| shard.groups.get(&group)?.offsets.get(&partition))
            .map(|committed| (committed.offset, committed.leader_epoch))
    }

    fn shard(&mut self, partition: u16) -> &mut Shard {
        while self.shards.len() <= usize::from(partition) {
            let next = u16::try_from(self.shards.len()).expect("not above a partition's 16 bits");
            self.shards.push(Shard::new(next));
        }
        &mut self.shards[usize::from(partition)]
    }
}

impl GroupCoordination for GroupCoordinator {
    fn elected(&mut self, partition: u16, epoch: LeaderEpoch) {
        self.shard(partition).elected(epoch);
    }

    fn loaded(
        &mut self,
        now: Instant,
        partition: u16,
        batches: &mut dyn Iterator<Item = &LogBatch>,
        out: &mut Vec<GroupEffect>,
    ) {
        self.now = now;
        let Some(shard) = self.shards.get_mut(usize::from(partition)) else { return };
        if shard.state != ShardState::Loading {
            return;
        }
        shard.state = ShardState::Active;
        let end = shard::load(&mut shard.groups, batches, &mut turn!(self, shard, out));
        shard.writes.loaded(end);
    }

    fn resigned(&mut self, partition: u16, out: &mut Vec<GroupEffect>) {
        let Some(shard) = self.shards.get_mut(usize::from(partition)) else { return };
        shard.state = ShardState::Resigned;
        let groups = std::mem::take(&mut shard.groups);
        let mut turn = turn!(self, shard, out);
        shard::unload(&groups, &mut turn);
    }

    fn appended(&mut self, ticket: u64, base_offset: Offset, last_offset: Offset) {
        if let Some(shard) = self.shards.get_mut(Writes::partition_of(ticket)) {
            shard.writes.appended(ticket, base_offset, last_offset);
        }
    }

    fn append_failed(&mut self, ticket: u64, error: ErrorCode, out: &mut Vec<GroupEffect>) {
        let Some(shard) = self.shards.get_mut(Writes::partition_of(ticket)) else { return };
        let Some(work) = shard.writes.take(ticket) else { return };
        let mut turn = turn!(self, shard, out);
        shard::finish(&mut shard.groups, work, Err(error), &mut turn);
        shard::drain(&mut shard.groups, &mut turn);
    }

    fn marker_appended(
        &mut self,
        now: Instant,
        partition: u16,
        producer_id: ProducerId,
        result: TransactionResult,
        offset: Offset,
        out: &mut Vec<GroupEffect>,
    ) {
        self.now = now;
        let Some(shard) = self.shards.get_mut(usize::from(partition)) else { return };
        if shard.state == ShardState::Active {
            let mut turn = turn!(self, shard, out);
            turn.after_marker(producer_id, result, offset);
            shard::drain(&mut shard.groups, &mut turn);
        }
    }

    fn high_watermark(
        &mut self,
        now: Instant,
        partition: u16,
        high_watermark: Offset,
        out: &mut Vec<GroupEffect>,
    ) {
        self.now = now;
        let Some(shard) = self.shards.get_mut(usize::from(partition)) else { return };
        if shard.state != ShardState::Active {
            return;
        }
        shard.writes.advance(high_watermark);
        let mut turn = turn!(self, shard, out);
        turn.tell_loaded();
        shard::drain(&mut shard.groups, &mut turn);
    }

    fn timer(&mut self, now: Instant, key: TimerKey, out: &mut Vec<GroupEffect>) {
        self.now = now;
        let Some((kind, partition, group)) = read_timer_key(key) else { return };
        let Some(shard) = self.shards.get_mut(usize::from(partition)) else { return };
        if shard.state == ShardState::Active {
            shard::on_timer(&mut shard.groups, kind, group, &mut turn!(self, shard, out));
        }
    }
}
