//! The consumer as a machine: its calls, its responses, its timers, and the loop of `poll()`.
//!
//! Mirrors `ClassicKafkaConsumer` (`group.protocol=classic`) with its `ConsumerNetworkClient`.
//!
//! Simplifications:
//! - `poll()` has no timeout: it waits for records or for a rebalance. An application that polls
//!   with a timeout in a loop sees the same records at the same time. One that has something else
//!   to do in its loop ends the wait with `PollTimeout`.
//! - Between two polls only the heartbeat thread works, as in Kafka; a response that arrives then
//!   is taken in at once instead of by the next poll, and acts no earlier than that.

use std::rc::Rc;

use oncesim_types::{
    ActorId, CallId, ErrorCode, Instant, LeaderEpoch, Offset, TopicId, TopicPartition,
};

use super::commit::{Commit, Committer, Identity};
use super::committed::CommittedCall;
use super::fetcher::Fetcher;
use super::membership::Membership;
use super::rebalance::{AfterCallback, Closing};
use super::subscription::{PartitionState, SubscriptionState, SubscriptionType};
use super::{ConsumerCall, ConsumerCompletion};
use crate::client::{Backoff, Connections, InFlight, Metadata};
use crate::config::{ConsumerConfig, TopicConfig};
use crate::machine::{Call, Completion, Effect, Effects, Input, Machine, TimerKey};
use crate::message::{GroupMetadata, OffsetSpec, Response};
use crate::mutation::Mutations;
use crate::note::ResetReason;

/// What a request in flight is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Metadata,
    Fetch(u32),
    ListOffsets(u32),
    OffsetForLeaderEpoch(u32),
    OffsetFetch(u32),
    Committed(u32),
    OffsetCommit(u32, Identity),
    FindCoordinator,
    JoinGroup(u32),
    SyncGroup(u32),
    Heartbeat(Identity),
    LeaveGroup,
}

/// A request in flight is overdue.
const REQUEST_TIMER: TimerKey = TimerKey(0);
/// A backoff or a deadline of the application's thread is over.
const WAKE_TIMER: TimerKey = TimerKey(1);
/// The heartbeat thread has something to do.
pub(super) const HEARTBEAT_TIMER: TimerKey = TimerKey(2);

/// A consumer client of one process.
#[derive(Debug)]
pub struct Consumer {
    pub(super) actor: ActorId,
    pub(super) incarnation: u32,
    pub(super) config: Rc<ConsumerConfig>,
    pub(super) topics: Rc<[TopicConfig]>,
    pub(super) mutations: Mutations,
    pub(super) connections: Connections<Purpose>,
    pub(super) metadata: Metadata,
    pub(super) subscription: SubscriptionState,
    pub(super) fetcher: Fetcher,
    pub(super) membership: Membership,
    pub(super) backoff: Backoff,
    /// Commits that are not over, the oldest first.
    pub(super) commits: Vec<Commit>,
    /// The `committed()` that waits.
    pub(super) committed: Option<CommittedCall>,
    /// Version of the positions that were committed last.
    pub(super) committed_version: u64,
    pub(super) next_auto_commit: Instant,
    /// What follows when the application returns from its callback; it is in one while this is set.
    pub(super) callback: Option<AfterCallback>,
    /// Whether the `poll()` that waits has been through a rebalance.
    pub(super) rebalanced: bool,
    pub(super) closing: Option<Closing>,
    pub(super) closed: bool,
    /// The `poll()` that waits.
    pub(super) polling: Option<CallId>,
    /// Whether every position is valid and told: a waiting consumer need not look at them.
    pub(super) positions_settled: bool,
    /// What every further `poll()` ends with.
    pub(super) failed: Option<ErrorCode>,
    tickets: u32,
    /// When the application's thread wants to go on, found out anew in each step.
    wake: Instant,
    wake_armed: Instant,
    request_armed: Instant,
}

impl Consumer {
    /// A consumer of process `incarnation` of actor `id`, with its bootstrap `brokers`.
    #[must_use]
    pub fn new(
        id: ActorId,
        incarnation: u32,
        brokers: Rc<[ActorId]>,
        config: Rc<ConsumerConfig>,
        topics: Rc<[TopicConfig]>,
        mutations: Mutations,
    ) -> Consumer {
        let retry = Backoff::new(config.retry_backoff, config.retry_backoff_max);
        let reconnect = Backoff::new(config.reconnect_backoff, config.reconnect_backoff_max);
        Consumer {
            actor: id,
            incarnation,
            connections: Connections::new(id, brokers, config.request_timeout, reconnect),
            metadata: Metadata::new(config.metadata_max_age, retry),
            config,
            topics,
            mutations,
            subscription: SubscriptionState::new(),
            fetcher: Fetcher::default(),
            membership: Membership::new(),
            backoff: retry,
            commits: Vec::new(),
            committed: None,
            committed_version: 0,
            next_auto_commit: Instant::ZERO,
            callback: None,
            rebalanced: false,
            closing: None,
            closed: false,
            polling: None,
            positions_settled: false,
            failed: None,
            tickets: 0,
            wake: Instant::NEVER,
            wake_armed: Instant::NEVER,
            request_armed: Instant::NEVER,
        }
    }

    /// The next offset that the application gets of an assigned partition, once it is known and
    /// valid.
    #[must_use]
    pub fn position(&self, partition: TopicPartition) -> Option<Offset> {
        let state = self.subscription.get(partition)?;
        state.has_valid_position().then_some(state.position)
    }

    /// `groupMetadata()`: as whom this consumer has joined its group the last time, for the producer
    /// that commits its offsets (KIP-447).
    #[must_use]
    pub fn group_metadata(&self) -> GroupMetadata {
        GroupMetadata { instance: self.config.instance, ..self.membership.metadata }
    }

    /// The end of an assigned partition as its leader last told: its high watermark, or its last
    /// stable offset for `read_committed`.
    #[must_use]
    pub fn end_offset(&self, partition: TopicPartition) -> Option<Offset> {
        self.subscription.get(partition)?.end_offset
    }

    /// Whether nothing is under way: no commit, no rebalance, no records that the application has
    /// not been given.
    ///
    /// # Errors
    ///
    /// What is under way, for a person.
    pub fn settled(&self) -> Result<(), String> {
        let reason = if self.closed || self.failed.is_some() {
            return Ok(());
        } else if self.closing.is_some() {
            "it is closing"
        } else if self.callback.is_some() {
            "the application is in a rebalance callback"
        } else if !self.commits.is_empty() {
            "a commit is not over"
        } else if self.subscription.is_subscribed() && self.membership.is_rebalancing() {
            "its group rebalances"
        } else if self.subscription.is_subscribed() && self.membership.may_be_deposed() {
            "it has not heard from its group since it lost the coordinator"
        } else if !self.fetcher.buffer.is_empty() {
            "records are buffered that the application has not been given"
        } else {
            return Ok(());
        };
        Err(reason.to_owned())
    }

    /// Whether the application has been given everything up to the last known end of each assigned
    /// partition, and, with auto commit, all of it is committed.
    #[must_use]
    pub fn idle_at_end(&self) -> bool {
        let at_end = |state: &PartitionState| {
            // A leader without news holds the fetch, and then tells no end.
            let is_at_end =
                state.end_offset.map_or(state.sent.is_some(), |end| end <= state.position);
            state.has_valid_position() && is_at_end
        };
        self.subscription.partitions.iter().all(at_end) && !self.has_uncommitted_positions()
    }

    pub(super) fn next_ticket(&mut self) -> u32 {
        self.tickets = self.tickets.wrapping_add(1);
        self.tickets
    }

    /// The application's thread goes on at `at` at the latest.
    pub(super) fn wake_at(&mut self, at: Instant) {
        self.wake = self.wake.min(at);
    }

    fn call(&mut self, now: Instant, id: CallId, call: ConsumerCall, effects: &mut Effects) {
        match call {
            ConsumerCall::Assign(partitions) => {
                self.maybe_auto_commit(now, effects);
                self.subscription.kind = SubscriptionType::UserAssigned;
                self.assign(&partitions, false);
                complete(id, ConsumerCompletion::Done, effects);
            }
            ConsumerCall::Seek(partition, offset) => {
                self.seek(partition, offset, effects);
                complete(id, ConsumerCompletion::Done, effects);
            }
            ConsumerCall::SeekToBeginning => {
                self.positions_settled = false;
                for state in &mut self.subscription.partitions {
                    state.await_reset(OffsetSpec::Earliest, ResetReason::Seek);
                    state.buffered = false;
                    self.fetcher.drop_buffered(state.partition);
                }
                complete(id, ConsumerCompletion::Done, effects);
            }
            ConsumerCall::Subscribe(topics) => {
                self.subscribe(topics);
                complete(id, ConsumerCompletion::Done, effects);
            }
            ConsumerCall::Poll if self.closing.is_some() || self.closed => {
                complete(id, ConsumerCompletion::Failed(ErrorCode::InvalidRequest), effects);
            }
            ConsumerCall::Poll => self.polling = Some(id),
            ConsumerCall::PollTimeout => {
                if self.callback.is_none() {
                    self.end_poll(now, ConsumerCompletion::Polled(Vec::new()), effects);
                }
            }
            ConsumerCall::CommitSync(offsets) => {
                self.commit_call(now, Committer::Sync(id), offsets, effects);
            }
            ConsumerCall::CommitAsync(offsets) => {
                self.commit_call(now, Committer::Async(id), offsets, effects);
            }
            ConsumerCall::Committed(partitions) => {
                self.committed_call(now, id, partitions, effects);
            }
            ConsumerCall::CallbackDone => self.callback_done(now, effects),
            ConsumerCall::Close => self.begin_close(now, id, effects),
        }
    }

    fn subscribe(&mut self, mut topics: Vec<TopicId>) {
        topics.sort_unstable();
        topics.dedup();
        for topic in &topics {
            self.metadata.want(*topic);
        }
        if self.config.group.is_none() {
            self.failed = Some(ErrorCode::InvalidRequest); // InvalidGroupIdException
        }
        self.subscription.kind = SubscriptionType::AutoTopics(topics);
        self.membership.rejoin_needed = true;
    }

    /// `assignFromUser`, `assignFromSubscribed`.
    pub(super) fn assign(&mut self, partitions: &[TopicPartition], keep_buffered: bool) {
        self.positions_settled = false;
        let removed = self.subscription.assign(partitions);
        self.fetcher.unassigned(&removed, keep_buffered);
        for partition in partitions {
            self.metadata.want(partition.topic);
        }
    }

    fn seek(&mut self, partition: TopicPartition, offset: Offset, effects: &mut Effects) {
        let leader = self.metadata.leader(partition);
        let Some(state) = self.subscription.get_mut(partition) else { return };
        state.seek(offset, LeaderEpoch::NONE, leader, ResetReason::Seek);
        state.buffered = false;
        self.fetcher.drop_buffered(partition);
        self.positions_settled = false;
        self.note_moved_positions(effects);
    }

    fn response(
        &mut self,
        now: Instant,
        from: ActorId,
        purpose: Purpose,
        body: Response,
        effects: &mut Effects,
    ) {
        match (purpose, body) {
            (Purpose::Metadata, Response::Metadata(it)) => {
                self.metadata.update(now, &it);
                self.positions_settled = false;
                for state in &mut self.subscription.partitions {
                    state.leader_changed(self.metadata.leader(state.partition));
                }
            }
            (Purpose::Fetch(number), Response::Fetch(it)) => self.fetched(from, number, *it),
            (Purpose::ListOffsets(ticket), Response::ListOffsets(it)) => {
                self.offsets_listed(now, ticket, &it);
            }
            (Purpose::OffsetForLeaderEpoch(ticket), Response::OffsetForLeaderEpoch(it)) => {
                self.offset_for_leader_epoch_answered(now, ticket, &it);
            }
            (Purpose::OffsetFetch(ticket), Response::OffsetFetch(it)) => {
                self.offsets_fetched(now, ticket, &it);
            }
            (Purpose::Committed(ticket), Response::OffsetFetch(it)) => {
                self.committed_fetched(now, ticket, &it);
            }
            (Purpose::OffsetCommit(ticket, identity), Response::OffsetCommit(it)) => {
                let failed = it.iter().map(|it| it.1).find(|it| *it != ErrorCode::None);
                let error = failed.unwrap_or(ErrorCode::None);
                self.commit_answered(now, ticket, identity, error, effects);
            }
            (Purpose::FindCoordinator, Response::FindCoordinator(it)) => {
                self.coordinator_found(now, it, effects);
            }
            (Purpose::JoinGroup(join), Response::JoinGroup(it)) => {
                self.group_joined(now, join, &it, effects);
            }
            (Purpose::SyncGroup(join), Response::SyncGroup(it)) => {
                self.group_synced(now, join, *it);
            }
            (Purpose::Heartbeat(identity), Response::Heartbeat(error)) => {
                self.heartbeat_answered(now, identity, error, effects);
            }
            (Purpose::LeaveGroup, Response::LeaveGroup(_)) => self.membership.leaving = false,
            // An answer of another kind than the question: as good as none.
            (purpose, _) => self.lost(now, from, purpose, effects),
        }
    }

    fn lost(&mut self, now: Instant, from: ActorId, purpose: Purpose, effects: &mut Effects) {
        match purpose {
            Purpose::Metadata => self.metadata.failed(now),
            Purpose::Fetch(_) => self.fetcher.disconnected(from),
            Purpose::ListOffsets(ticket)
            | Purpose::OffsetForLeaderEpoch(ticket)
            | Purpose::OffsetFetch(ticket) => self.lookup_failed(now, ticket),
            Purpose::Committed(ticket) => self.committed_lost(now, ticket),
            Purpose::OffsetCommit(ticket, identity) => {
                let error = ErrorCode::NetworkException;
                self.commit_answered(now, ticket, identity, error, effects);
            }
            Purpose::FindCoordinator => self.coordinator_not_found(now, effects),
            Purpose::JoinGroup(join) | Purpose::SyncGroup(join) => self.join_lost(now, join),
            Purpose::Heartbeat(identity) => {
                let error = ErrorCode::NetworkException;
                self.heartbeat_answered(now, identity, error, effects);
            }
            Purpose::LeaveGroup => self.membership.leaving = false,
        }
    }

    fn disconnected(
        &mut self,
        now: Instant,
        peer: ActorId,
        lost: impl IntoIterator<Item = InFlight<Purpose>>,
        effects: &mut Effects,
    ) {
        self.fetcher.disconnected(peer);
        self.metadata.request_update();
        if self.membership.coordinator == Some(peer) {
            self.mark_coordinator_unknown();
        }
        for request in lost {
            self.lost(now, peer, request.purpose, effects);
        }
    }

    /// Goes on where the application's thread waits.
    fn advance(&mut self, now: Instant, effects: &mut Effects) {
        self.wake = Instant::NEVER;
        self.advance_commits(now, effects);
        self.advance_committed(now, effects);
        if self.callback.is_none() {
            self.advance_close(now, effects);
            if self.polling.is_some() {
                self.poll(now, effects);
            }
        }
        if self.polling.is_some() && self.callback.is_none() {
            let due = self.metadata.poll(now, &mut self.connections, Purpose::Metadata, effects);
            self.wake_at(due);
        }
        self.arm_timers(now, effects);
    }

    /// One pass of the loop in `poll()`.
    fn poll(&mut self, now: Instant, effects: &mut Effects) {
        if let Some(error) = self.failed {
            self.end_poll(now, ConsumerCompletion::Failed(error), effects);
            return;
        }
        let stable = self.poll_coordinator(now, effects);
        if self.callback.is_some() {
            return;
        }
        if stable {
            self.maybe_auto_commit(now, effects);
        }
        self.update_fetch_positions(now, effects);
        self.note_moved_positions(effects);
        if let Some(error) = self.failed {
            self.end_poll(now, ConsumerCompletion::Failed(error), effects);
            return;
        }
        let records = self.collect_records(effects);
        self.send_fetches(now, effects);
        if !records.is_empty() || std::mem::take(&mut self.rebalanced) {
            self.end_poll(now, ConsumerCompletion::Polled(records), effects);
        } else if stable && self.has_uncommitted_positions() {
            self.wake_at(self.next_auto_commit);
        }
    }

    pub(super) fn end_poll(
        &mut self,
        now: Instant,
        completion: ConsumerCompletion,
        effects: &mut Effects,
    ) {
        self.rebalanced = false;
        if let Some(id) = self.polling.take() {
            self.membership.poll_deadline = now + self.config.max_poll_interval;
            self.arm_heartbeat(now, effects);
            complete(id, completion, effects);
        }
    }

    /// Both timers are lazy: one that is set too early finds nothing to do, and is set again.
    fn arm_timers(&mut self, now: Instant, effects: &mut Effects) {
        if self.wake < self.wake_armed {
            self.wake_armed = self.wake;
            effects.set_timer(WAKE_TIMER, self.wake.since(now));
        }
        if self.connections.in_flight() > 0
            && self.request_armed > now + self.config.request_timeout
        {
            self.request_armed = now + self.config.request_timeout;
            effects.set_timer(REQUEST_TIMER, self.config.request_timeout);
        }
    }

    fn close_overdue(&mut self, now: Instant, effects: &mut Effects) {
        self.request_armed = Instant::NEVER;
        while let Some(peer) = self.connections.overdue(now) {
            let lost = self.connections.close(now, peer, effects);
            self.disconnected(now, peer, lost, effects);
        }
        let next = self.connections.next_deadline();
        if next != Instant::NEVER {
            self.request_armed = next;
            effects.set_timer(REQUEST_TIMER, next.since(now));
        }
    }
}

pub(super) fn complete(id: CallId, completion: ConsumerCompletion, effects: &mut Effects) {
    effects.0.push(Effect::Return(id, Completion::Consumer(completion)));
}

impl Machine for Consumer {
    fn step(&mut self, now: Instant, input: Input, effects: &mut Effects) {
        match input {
            Input::Response { from, correlation, body } => {
                if let Some(purpose) = self.connections.complete(from, correlation) {
                    self.response(now, from, purpose, body, effects);
                }
            }
            Input::Disconnected { peer } => {
                let lost = self.connections.disconnected(now, peer);
                self.disconnected(now, peer, lost, effects);
            }
            Input::Timer(REQUEST_TIMER) => self.close_overdue(now, effects),
            Input::Start => self.next_auto_commit = now + self.config.auto_commit_interval,
            Input::Timer(HEARTBEAT_TIMER) => {
                self.membership.heartbeat_armed = Instant::NEVER;
                self.heartbeat_thread(now, effects);
            }
            Input::Timer(WAKE_TIMER) => self.wake_armed = Instant::NEVER,
            Input::Call(id, Call::Consumer(call)) => self.call(now, id, call, effects),
            _ => {}
        }
        self.advance(now, effects);
    }
}
