//! Finding the position of each partition: committed offset, reset policy, validation.
//!
//! Mirrors `OffsetFetcher`, `OffsetFetcherUtils` and `ConsumerCoordinator.initWithCommittedOffsets`
//! (KIP-207, KIP-320).
//!
//! Simplifications: none that a broker or an application could see; a lookup of several partitions
//! of one leader is one request, as in Kafka.

use oncesim_types::{ActorId, ErrorCode, Instant, LeaderEpoch, Offset, TopicPartition};

use super::machine::{Consumer, Purpose};
use super::subscription::{FetchState, PartitionState};
use crate::client::Leader;
use crate::config::OffsetResetStrategy;
use crate::machine::Effects;
use crate::message::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, OffsetFetchRequest, OffsetFetchResponse,
    OffsetForLeaderEpochPartitionResponse, OffsetForLeaderEpochRequest, OffsetSpec, Request,
};
use crate::note::{Note, ResetReason};

impl Consumer {
    /// `updateFetchPositions`: asks for what is missing. Does nothing when every position is valid.
    pub(super) fn update_fetch_positions(&mut self, now: Instant, effects: &mut Effects) {
        let is_valid = |state: &PartitionState| state.has_valid_position();
        if self.positions_settled || self.subscription.partitions.iter().all(is_valid) {
            return;
        }
        self.init_with_committed_offsets(now, effects);
        self.find_leaders();
        self.ask_leaders(now, effects);
    }

    /// Asks the coordinator for committed offsets; without a group, the reset policy decides.
    fn init_with_committed_offsets(&mut self, now: Instant, effects: &mut Effects) {
        let missing = |state: &FetchState| *state == FetchState::Initializing;
        if !self.subscription.partitions.iter().any(|it| missing(&it.state)) {
            return;
        }
        let Some(group) = self.config.group else {
            for partition in self.subscription.assigned() {
                if self.subscription.get(partition).is_some_and(|it| missing(&it.state)) {
                    self.reset_by_policy(partition, ResetReason::NoCommittedOffset);
                }
            }
            return;
        };
        let Some(coordinator) = self.ensure_coordinator(now, effects) else { return };
        let ready_at = self.connections.ready_at(coordinator);
        let ticket = self.next_ticket();
        let mut partitions = Vec::new();
        let mut wake = Instant::NEVER;
        for state in &mut self.subscription.partitions {
            if state.state != FetchState::Initializing || state.lookup.is_some() {
                continue;
            }
            if state.retry_at.max(ready_at) > now {
                wake = wake.min(state.retry_at.max(ready_at));
                continue;
            }
            state.lookup = Some(ticket);
            partitions.push(state.partition);
        }
        self.wake_at(wake);
        if !partitions.is_empty() {
            let request = OffsetFetchRequest { group, partitions, require_stable: true };
            let purpose = Purpose::OffsetFetch(ticket);
            self.connections.send(
                now,
                coordinator,
                Request::OffsetFetch(request),
                purpose,
                effects,
            );
        }
    }

    /// Positions that came without a leader get one as soon as it is known.
    fn find_leaders(&mut self) {
        for state in &mut self.subscription.partitions {
            if state.state == FetchState::Initializing {
                continue;
            }
            let leader = self.metadata.leader(state.partition);
            // An epoch seen in a commit that is newer than the metadata: the leader is not known.
            let known = leader.filter(|leader| leader.epoch >= state.offset_epoch);
            if known.is_none() {
                self.metadata.request_update();
            }
            if state.leader.is_none() {
                state.leader = known;
            }
        }
    }

    fn ask_leaders(&mut self, now: Instant, effects: &mut Effects) {
        let mut asked: Vec<ActorId> = Vec::new();
        for index in 0..self.subscription.partitions.len() {
            let Some(leader) = self.lookup_leader(now, index) else { continue };
            if !asked.contains(&leader.broker) {
                asked.push(leader.broker);
                self.list_offsets(now, leader.broker, effects);
                self.offsets_for_leader_epoch(now, leader.broker, effects);
            }
        }
    }

    /// Whom to ask about the partition at `index`, if it needs to be asked now.
    fn lookup_leader(&mut self, now: Instant, index: usize) -> Option<Leader> {
        let state = &self.subscription.partitions[index];
        if !matches!(state.state, FetchState::AwaitReset(..) | FetchState::AwaitValidation)
            || state.lookup.is_some()
        {
            return None;
        }
        let leader = self.metadata.leader(state.partition)?;
        if state.state == FetchState::AwaitValidation && leader.epoch < state.offset_epoch {
            return None;
        }
        let ready_at = state.retry_at.max(self.connections.ready_at(leader.broker));
        if ready_at > now {
            self.wake_at(ready_at);
            return None;
        }
        Some(leader)
    }

    fn list_offsets(&mut self, now: Instant, broker: ActorId, effects: &mut Effects) {
        let ticket = self.next_ticket();
        let mut partitions = Vec::new();
        for index in 0..self.subscription.partitions.len() {
            let Some(leader) = self.lookup_leader(now, index) else { continue };
            let state = &mut self.subscription.partitions[index];
            if let FetchState::AwaitReset(spec, _) = state.state
                && leader.broker == broker
            {
                state.lookup = Some(ticket);
                partitions.push((state.partition, leader.epoch, spec));
            }
        }
        if !partitions.is_empty() {
            let body = ListOffsetsRequest { isolation: self.config.isolation, partitions };
            let purpose = Purpose::ListOffsets(ticket);
            self.connections.send(now, broker, Request::ListOffsets(body), purpose, effects);
        }
    }

    fn offsets_for_leader_epoch(&mut self, now: Instant, broker: ActorId, effects: &mut Effects) {
        let ticket = self.next_ticket();
        let mut partitions = Vec::new();
        for index in 0..self.subscription.partitions.len() {
            let Some(leader) = self.lookup_leader(now, index) else { continue };
            let state = &mut self.subscription.partitions[index];
            if state.state == FetchState::AwaitValidation && leader.broker == broker {
                state.lookup = Some(ticket);
                state.leader = Some(leader);
                partitions.push((state.partition, leader.epoch, state.offset_epoch));
            }
        }
        if !partitions.is_empty() {
            let body = OffsetForLeaderEpochRequest { partitions };
            let purpose = Purpose::OffsetForLeaderEpoch(ticket);
            let request = Request::OffsetForLeaderEpoch(body);
            self.connections.send(now, broker, request, purpose, effects);
        }
    }

    /// A committed offset was found, or there is none (`OffsetFetchResponseHandler`).
    pub(super) fn offsets_fetched(
        &mut self,
        now: Instant,
        ticket: u32,
        response: &OffsetFetchResponse,
    ) {
        if response.error != ErrorCode::None {
            self.coordinator_error(response.error);
            self.lookup_failed(now, ticket);
            return;
        }
        for &(partition, error, offset) in &response.offsets {
            let leader = self.metadata.leader(partition);
            let Some(state) = self.subscription.get_mut(partition) else { continue };
            if state.lookup != Some(ticket) {
                continue;
            }
            state.lookup = None;
            if error != ErrorCode::None {
                // UNSTABLE_OFFSET_COMMIT: an open transaction decides; ask again (KIP-447).
                state.retry_at = now + self.config.retry_backoff;
            } else if let Some((offset, epoch)) = offset {
                state.seek(offset, epoch, leader, ResetReason::Committed);
            } else {
                self.reset_by_policy(partition, ResetReason::NoCommittedOffset);
            }
        }
        self.lookup_failed(now, ticket); // what the answer left out is asked for again
    }

    /// `resetPositionIfNeeded`.
    pub(super) fn offsets_listed(
        &mut self,
        now: Instant,
        ticket: u32,
        response: &[ListOffsetsPartitionResponse],
    ) {
        for answer in response {
            let leader = self.metadata.leader(answer.partition);
            let Some(state) = self.subscription.get_mut(answer.partition) else { continue };
            let FetchState::AwaitReset(spec, reason) = state.state else { continue };
            if state.lookup != Some(ticket) {
                continue;
            }
            if answer.error != ErrorCode::None {
                self.metadata.request_update();
                continue; // retried below
            }
            if spec == OffsetSpec::Latest {
                state.end_offset = Some(answer.offset);
            }
            // No epoch, so that the position needs no validation.
            state.seek(answer.offset, LeaderEpoch::NONE, leader, reason);
        }
        self.lookup_failed(now, ticket);
    }

    /// `maybeCompleteValidation`.
    pub(super) fn offset_for_leader_epoch_answered(
        &mut self,
        now: Instant,
        ticket: u32,
        response: &[OffsetForLeaderEpochPartitionResponse],
    ) {
        let has_policy = self.config.auto_offset_reset != OffsetResetStrategy::None;
        for answer in response {
            let Some(state) = self.subscription.get_mut(answer.partition) else { continue };
            if state.lookup != Some(ticket) || state.state != FetchState::AwaitValidation {
                continue;
            }
            if answer.error != ErrorCode::None {
                self.metadata.request_update();
                continue; // retried below
            }
            state.lookup = None;
            let unknown =
                answer.end_offset == Offset::UNKNOWN || answer.leader_epoch == LeaderEpoch::NONE;
            if unknown || (answer.end_offset < state.position && !has_policy) {
                self.reset_by_policy(answer.partition, ResetReason::Truncated);
            } else if answer.end_offset < state.position {
                state.position = answer.end_offset;
                state.offset_epoch = answer.leader_epoch;
                state.moved = Some(ResetReason::Truncated);
                state.state = FetchState::Fetching;
            } else {
                state.state = FetchState::Fetching;
            }
        }
        self.lookup_failed(now, ticket);
    }

    /// What lookup `ticket` did not settle is asked again after the backoff.
    pub(super) fn lookup_failed(&mut self, now: Instant, ticket: u32) {
        for state in &mut self.subscription.partitions {
            if state.lookup == Some(ticket) {
                state.lookup = None;
                state.retry_at = now + self.config.retry_backoff;
            }
        }
    }

    /// `requestOffsetReset` by `auto.offset.reset`.
    pub(super) fn reset_by_policy(&mut self, partition: TopicPartition, reason: ResetReason) {
        let spec = match self.config.auto_offset_reset {
            OffsetResetStrategy::Earliest => OffsetSpec::Earliest,
            OffsetResetStrategy::Latest => OffsetSpec::Latest,
            OffsetResetStrategy::None => {
                self.failed = Some(ErrorCode::OffsetOutOfRange);
                return;
            }
        };
        self.positions_settled = false;
        if let Some(state) = self.subscription.get_mut(partition) {
            state.await_reset(spec, reason);
        }
    }

    /// Tells the recorder about positions that have moved and are valid now.
    pub(super) fn note_moved_positions(&mut self, effects: &mut Effects) {
        if self.positions_settled {
            return;
        }
        self.positions_settled = true;
        for state in &mut self.subscription.partitions {
            self.positions_settled &= state.has_valid_position();
            if state.has_valid_position()
                && let Some(reason) = state.moved.take()
            {
                if reason != ResetReason::Committed {
                    self.subscription.version += 1;
                }
                let (partition, to) = (state.partition, state.position);
                effects.note(Note::PositionReset { partition, to, reason });
            }
        }
    }
}
