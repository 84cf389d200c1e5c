//! Fetching: one incremental fetch session per broker, and the buffer between it and `poll()`.
//!
//! Mirrors `Fetcher`, `AbstractFetch`, `FetchSessionHandler` (KIP-227), `FetchCollector`,
//! `CompletedFetch`.
//!
//! Simplifications:
//! - Errors of a fetched partition are handled when the response arrives, not when `poll()` comes
//!   to it. They only ask for metadata or a reset, which themselves wait for the next `poll()`.
//! - A partition whose leader refused a fetch waits for the next metadata answer; Kafka repeats the
//!   same fetch until then, to the same effect.
//! - A broker may hold an empty fetch for longer than `fetch.max.wait.ms`, as nothing but data ends
//!   the wait in a quiet world. So when the session has to change after that time, the next fetch
//!   does not wait for the one in flight.

use std::collections::VecDeque;

use oncesim_types::{
    ActorId, ErrorCode, Instant, LeaderEpoch, Offset, ProducerId, TopicPartition, TransactionResult,
};

use super::PolledRecord;
use super::machine::{Consumer, Purpose};
use super::subscription::{PartitionState, Sent};
use crate::log::batch::{LogBatch, Records};
use crate::machine::Effects;
use crate::message::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, FetchedPartition,
    IsolationLevel, Request,
};
use crate::mutation::Mutation;
use crate::note::{Note, ResetReason};

/// `FetchSessionHandler` of one broker.
#[derive(Debug)]
pub(super) struct FetchSession {
    pub(super) broker: ActorId,
    /// Number of the last fetch; an older one that is still in flight was overtaken.
    last: u32,
    pub(super) in_flight: bool,
    sent_at: Instant,
    /// Whether the next fetch begins a new session.
    full: bool,
    /// Partitions that left the assignment while the session had them.
    forgotten: Vec<TopicPartition>,
    /// How many completed fetches of this broker wait in the buffer.
    buffered: usize,
    /// Whether a partition wants to be fetched from this broker (during one pass).
    wanted: bool,
    /// Whether the session does not match the positions (during one pass).
    changed: bool,
}

/// `CompletedFetch`: one partition's data on its way to the application.
#[derive(Debug)]
pub(super) struct CompletedFetch {
    pub(super) partition: TopicPartition,
    broker: ActorId,
    batches: Vec<LogBatch>,
    /// Index of the batch that comes next.
    batch: usize,
    /// The offset that comes next.
    next_offset: Offset,
    /// Epoch of the last batch passed.
    last_epoch: LeaderEpoch,
    /// Sorted by first offset, the first one last.
    aborted: Vec<AbortedTransaction>,
    aborted_producers: Vec<ProducerId>,
    /// Lost by the group but still returned: a planted bug.
    lost: bool,
}

/// `Fetcher` and `FetchBuffer`.
#[derive(Debug, Default)]
pub(super) struct Fetcher {
    sessions: Vec<FetchSession>,
    pub(super) buffer: VecDeque<CompletedFetch>,
    fetches: u32,
}

impl Fetcher {
    fn session(&mut self, broker: ActorId) -> &mut FetchSession {
        let index = self.sessions.iter().position(|session| session.broker == broker);
        let index = index.unwrap_or_else(|| {
            self.sessions.push(FetchSession {
                broker,
                last: 0,
                in_flight: false,
                sent_at: Instant::ZERO,
                full: true,
                forgotten: Vec::new(),
                buffered: 0,
                wanted: false,
                changed: false,
            });
            self.sessions.len() - 1
        });
        &mut self.sessions[index]
    }

    /// Forgets partitions that are not assigned any more, with what is buffered of them.
    pub(super) fn unassigned(&mut self, removed: &[PartitionState], keep_buffered: bool) {
        for state in removed {
            if let Some(sent) = state.sent {
                self.session(sent.broker).forgotten.push(state.partition);
            }
            if keep_buffered {
                let of_it = |fetch: &&mut CompletedFetch| fetch.partition == state.partition;
                self.buffer.iter_mut().filter(of_it).for_each(|fetch| fetch.lost = true);
            } else {
                self.drop_buffered(state.partition);
            }
        }
    }

    /// Drops what is buffered of a partition.
    pub(super) fn drop_buffered(&mut self, partition: TopicPartition) {
        let Fetcher { buffer, sessions, .. } = self;
        buffer.retain(|fetch| {
            let keep = fetch.partition != partition;
            if !keep && let Some(session) = sessions.iter_mut().find(|s| s.broker == fetch.broker) {
                session.buffered -= 1;
            }
            keep
        });
    }

    fn pop(&mut self) {
        if let Some(done) = self.buffer.pop_front() {
            self.session(done.broker).buffered -= 1;
        }
    }

    /// The connection to `broker` is gone, and the session with it.
    pub(super) fn disconnected(&mut self, broker: ActorId) {
        if let Some(session) = self.sessions.iter_mut().find(|s| s.broker == broker) {
            session.full = true;
            session.in_flight = false;
            session.forgotten.clear();
        }
    }

    /// The end of what is buffered of a partition.
    fn buffered_end(&self, partition: TopicPartition) -> Option<(Offset, LeaderEpoch)> {
        let fetch = self.buffer.iter().rfind(|fetch| fetch.partition == partition)?;
        fetch.batches.last().map(|batch| (batch.next_offset(), batch.leader_epoch))
    }
}

impl Consumer {
    /// `sendFetches`: to every broker that leads a fetchable partition, unless a fetch to it is in
    /// flight or some of its data has not been returned yet (KAFKA-17182).
    pub(super) fn send_fetches(&mut self, now: Instant, effects: &mut Effects) {
        for state in &mut self.subscription.partitions {
            let wanted = match state.leader {
                Some(leader) if state.is_fetchable() && !state.awaits_metadata => Some(Sent {
                    broker: leader.broker,
                    epoch: leader.epoch,
                    offset: state.position,
                }),
                _ => None,
            };
            if let Some(sent) = state.sent
                && wanted.is_none_or(|wanted| wanted.broker != sent.broker)
            {
                self.fetcher.session(sent.broker).forgotten.push(state.partition);
                state.sent = None;
            }
            if let Some(wanted) = wanted {
                let session = self.fetcher.session(wanted.broker);
                session.wanted = true;
                session.changed |= state.sent != Some(wanted);
            }
        }
        for index in 0..self.fetcher.sessions.len() {
            let session = &mut self.fetcher.sessions[index];
            let (wanted, changed) = (session.wanted, session.changed);
            (session.wanted, session.changed) = (false, false);
            if !wanted || session.buffered > 0 {
                continue;
            }
            let broker = session.broker;
            let mut ready_at = self.connections.ready_at(broker);
            if session.in_flight {
                if !changed {
                    continue;
                }
                ready_at = ready_at.max(session.sent_at + self.config.fetch_max_wait);
            }
            if ready_at > now {
                self.wake_at(ready_at);
            } else {
                self.send_fetch(now, index, effects);
            }
        }
    }

    fn send_fetch(&mut self, now: Instant, index: usize, effects: &mut Effects) {
        let session = &mut self.fetcher.sessions[index];
        let broker = session.broker;
        let mut partitions = Vec::new();
        for state in &mut self.subscription.partitions {
            let Some(leader) = state.leader.filter(|leader| leader.broker == broker) else {
                continue;
            };
            if !state.is_fetchable() || state.awaits_metadata {
                continue;
            }
            let sent = Sent { broker, epoch: leader.epoch, offset: state.position };
            if session.full || state.sent != Some(sent) {
                state.sent = Some(sent);
                partitions.push(FetchPartition {
                    partition: state.partition,
                    current_leader_epoch: leader.epoch,
                    fetch_offset: state.position,
                    last_fetched_epoch: LeaderEpoch::NONE,
                });
            }
        }
        let mut forgotten = std::mem::take(&mut session.forgotten);
        if session.full {
            forgotten.clear();
        } else if !forgotten.is_empty() {
            forgotten.retain(|gone| partitions.iter().all(|it| it.partition != *gone));
        }
        let request = FetchRequest {
            replica: None,
            isolation: self.config.isolation,
            full: session.full,
            partitions,
            forgotten,
            max_wait: self.config.fetch_max_wait,
            max_bytes: self.config.fetch_max_bytes,
        };
        self.fetcher.fetches = self.fetcher.fetches.wrapping_add(1);
        session.last = self.fetcher.fetches;
        session.full = false;
        session.in_flight = true;
        session.sent_at = now;
        let purpose = Purpose::Fetch(session.last);
        self.connections.send(now, broker, Request::Fetch(Box::new(request)), purpose, effects);
    }

    /// `handleFetchSuccess`.
    pub(super) fn fetched(&mut self, from: ActorId, number: u32, response: FetchResponse) {
        let session = self.fetcher.session(from);
        if session.last == number {
            session.in_flight = false;
        }
        for fetched in response.partitions {
            self.fetched_partition(from, fetched);
        }
    }

    fn fetched_partition(&mut self, from: ActorId, fetched: FetchedPartition) {
        let Some(state) = self.subscription.get_mut(fetched.partition) else { return };
        if fetched.error != ErrorCode::None {
            self.fetch_failed(&fetched);
            return;
        }
        state.end_offset = Some(match self.config.isolation {
            IsolationLevel::ReadUncommitted => fetched.high_watermark,
            IsolationLevel::ReadCommitted => fetched.last_stable_offset,
        });
        let current = state.is_fetchable() && state.position == fetched.fetch_offset;
        if fetched.batches.is_empty() || !current || state.buffered {
            return;
        }
        state.buffered = true;
        let mut aborted = fetched.aborted;
        aborted.sort_unstable_by_key(|it| std::cmp::Reverse(it.first_offset));
        self.fetcher.session(from).buffered += 1;
        self.fetcher.buffer.push_back(CompletedFetch {
            partition: fetched.partition,
            broker: from,
            batches: fetched.batches,
            batch: 0,
            next_offset: fetched.fetch_offset,
            last_epoch: LeaderEpoch::NONE,
            aborted,
            aborted_producers: Vec::new(),
            lost: false,
        });
    }

    /// `handleInitializeErrors`.
    fn fetch_failed(&mut self, fetched: &FetchedPartition) {
        let Some(state) = self.subscription.get_mut(fetched.partition) else { return };
        if !state.has_valid_position() || state.position != fetched.fetch_offset {
            return; // it moved meanwhile: the answer is to an older question
        }
        if fetched.error == ErrorCode::OffsetOutOfRange {
            self.reset_by_policy(fetched.partition, ResetReason::OutOfRange);
            return;
        }
        state.awaits_metadata = true;
        self.metadata.request_update();
    }

    /// `collectFetch`: up to `max.poll.records` of the buffered records, moving the positions.
    pub(super) fn collect_records(&mut self, effects: &mut Effects) -> Vec<PolledRecord> {
        let max = self.config.max_poll_records as usize;
        let mut records = Vec::new();
        while records.len() < max {
            let Some(fetch) = self.fetcher.buffer.front_mut() else { break };
            if fetch.lost {
                let before = records.len();
                fetch.drain(max, self.config.isolation, &mut records);
                if records.len() > before {
                    effects.note(Note::MutationHit);
                }
                if fetch.is_drained() {
                    self.fetcher.pop();
                }
                continue;
            }
            let Some(state) = self.subscription.get_mut(fetch.partition) else {
                self.fetcher.pop();
                continue;
            };
            let bug = self.mutations.has(Mutation::ConsumerFetchWhileRevoking);
            let revoking = state.pending_revocation;
            let usable = state.has_valid_position()
                && state.position == fetch.next_offset
                && (!revoking || bug);
            if !usable {
                state.buffered = false;
                self.fetcher.pop();
                continue;
            }
            let before = records.len();
            fetch.drain(max, self.config.isolation, &mut records);
            if revoking && records.len() > before {
                effects.note(Note::MutationHit);
            }
            let moved = fetch.next_offset != state.position;
            if moved {
                state.position = fetch.next_offset;
                state.offset_epoch = fetch.last_epoch;
            }
            if fetch.is_drained() {
                state.buffered = false;
                self.fetcher.pop();
            }
            self.subscription.version += u64::from(moved);
        }
        records
    }

    /// The bug of KAFKA-18641: positions as they will be when everything buffered is returned.
    pub(super) fn fetch_positions(
        &self,
        consumed: &mut [(TopicPartition, Offset, LeaderEpoch)],
    ) -> bool {
        let mut hit = false;
        for (partition, offset, epoch) in consumed {
            if let Some((end, last)) = self.fetcher.buffered_end(*partition)
                && end > *offset
            {
                (*offset, *epoch, hit) = (end, last, true);
            }
        }
        hit
    }
}

impl CompletedFetch {
    fn is_drained(&self) -> bool {
        self.batch == self.batches.len()
    }

    /// `fetchRecords`: appends records to `into` until it has `max`.
    fn drain(&mut self, max: usize, isolation: IsolationLevel, into: &mut Vec<PolledRecord>) {
        while let Some(batch) = self.batches.get(self.batch) {
            if batch.next_offset() > self.next_offset && !self.is_filtered(isolation) {
                let batch = &self.batches[self.batch];
                let first = usize::try_from((self.next_offset - batch.base_offset).max(0))
                    .expect("a batch is small");
                let data = &batch.batch.data()[first..];
                let take = data.len().min(max - into.len());
                let (partition, leader_epoch) = (self.partition, batch.leader_epoch);
                let mut offset = batch.base_offset + first as i64;
                into.extend(data[..take].iter().map(|record| {
                    let at = offset;
                    offset = offset.next();
                    PolledRecord { partition, offset: at, leader_epoch, record: *record }
                }));
                self.last_epoch = batch.leader_epoch;
                if take < data.len() {
                    self.next_offset = offset;
                    return;
                }
            }
            let batch = &self.batches[self.batch];
            self.next_offset = self.next_offset.max(batch.next_offset());
            self.last_epoch = batch.leader_epoch;
            self.batch += 1;
            if into.len() == max {
                return;
            }
        }
    }

    /// Whether the next batch has nothing for the application: a marker, a coordinator's records,
    /// or, for `read_committed`, records of an aborted transaction.
    fn is_filtered(&mut self, isolation: IsolationLevel) -> bool {
        let batch = &self.batches[self.batch];
        if isolation == IsolationLevel::ReadCommitted {
            while let Some(aborted) = self.aborted.last() {
                if aborted.first_offset > batch.last_offset() {
                    break;
                }
                self.aborted_producers.push(aborted.producer_id);
                self.aborted.pop();
            }
            let producer = batch.batch.producer_id;
            if let Records::Control(marker) = &batch.batch.records
                && marker.result == TransactionResult::Abort
            {
                self.aborted_producers.retain(|it| *it != producer);
            } else if batch.batch.transactional && self.aborted_producers.contains(&producer) {
                return true;
            }
        }
        !matches!(batch.batch.records, Records::Data(_))
    }
}
