//! A follower's fetches: one loop per leader broker.
//!
//! Mirrors `ReplicaFetcherThread`, `AbstractFetcherThread`, `RemoteLeaderEndPoint` (KIP-101,
//! KIP-279, KIP-320, KIP-595's truncation on fetch).
//!
//! Simplifications:
//! - One fetcher per leader (`num.replica.fetchers` is 1, Kafka's default).
//! - A partition that joins the loop while a fetch waits at the leader causes a second fetch, which
//!   ends the waiting one (Kafka's would end by itself after `replica.fetch.wait.max.ms`).
//! - Brokers of a new world start at the same moment, and a leader that is not up yet refuses the
//!   first fetches. These are tried again soon instead of after `replica.fetch.backoff.ms`, so that
//!   no run begins with a second without replication: the cluster is meant to have run before.

use oncesim_types::{
    ActorId, CorrelationId, Duration, ErrorCode, Instant, LeaderEpoch, Offset, TopicPartition,
};

use crate::broker::{
    Broker, PARK_LIMIT, REQUEST_TIMEOUT, TIMER_FETCH_BACKOFF, TIMER_PARTITION_BACKOFF, hit,
};
use crate::machine::{Effect, Effects, TimerKey};
use crate::message::{
    FetchPartition, FetchRequest, FetchResponse, FetchedPartition, IsolationLevel, Request,
};
use crate::mutation::Mutation;
use crate::note::Note;
use crate::replica::follower::truncation_offset;

/// `replica.fetch.response.max.bytes`
const RESPONSE_MAX_BYTES: u32 = 10 * 1024 * 1024;

/// In a new world a broker tries again so soon ...
const FIRST_BACKOFF: Duration = Duration::from_millis(10);

/// ... and so often, before `replica.fetch.backoff.ms` holds.
const FIRST_TRIES: u8 = 8;

/// The fetch loop to one leader.
#[derive(Debug, Default)]
pub(super) struct Fetcher {
    /// How many requests the leader has not answered: two when one had to be ended.
    in_flight: u8,
    /// When the newest was sent.
    sent: Instant,
    /// Whether the leader knows this fetcher's session.
    in_session: bool,
    /// How many partitions it follows.
    followed: u32,
    /// Partitions whose position the leader has to hear.
    queue: Vec<u32>,
    forgotten: Vec<TopicPartition>,
    /// Whether it waits before it connects again.
    delayed: bool,
    /// Whether it is in the list of fetchers that may have to send.
    eager: bool,
}

impl Broker {
    fn fetcher(&mut self, leader: ActorId) -> &mut Fetcher {
        let at = usize::from(leader.0);
        if self.fetchers.len() <= at {
            self.fetchers.resize_with(at + 1, || None);
        }
        self.fetchers[at].get_or_insert_default()
    }

    /// Lets a fetcher send at the end of this step if it has to.
    fn stir(&mut self, leader: ActorId) {
        let fetcher = self.fetcher(leader);
        if !fetcher.eager {
            fetcher.eager = true;
            self.eager_fetchers.push(leader);
        }
    }

    /// Starts to copy `leader`.
    pub(super) fn follow(&mut self, _now: Instant, index: u32, leader: ActorId) {
        self.fetcher(leader).followed += 1;
        self.queue_position(index);
    }

    /// Ends copying whomever the replica copied.
    pub(super) fn stop_following(&mut self, index: u32) {
        let partition = self.slot(index).partition;
        let Some(follower) = self.replica_mut(index).and_then(|r| r.follower_mut()) else { return };
        let Some(leader) = follower.leader.take() else { return };
        let (was_queued, was_in_session) = (follower.queued, follower.in_session);
        let fetcher = self.fetcher(leader);
        fetcher.followed -= 1;
        if was_queued {
            fetcher.queue.retain(|queued| *queued != index);
        }
        if was_in_session && fetcher.in_session {
            fetcher.forgotten.push(partition);
        }
    }

    /// The leader has to hear this follower's position.
    fn queue_position(&mut self, index: u32) {
        let Some(replica) = self.replica_mut(index) else { return };
        if replica.held.is_some() {
            return;
        }
        let Some(follower) = replica.follower_mut() else { return };
        let Some(leader) = follower.leader else { return };
        if follower.queued || follower.delayed {
            return;
        }
        follower.queued = true;
        self.fetcher(leader).queue.push(index);
        self.stir(leader);
    }

    /// A flush that a follower's append waited for is done.
    pub(super) fn resume_following(&mut self, index: u32) {
        self.queue_position(index);
    }

    /// Sends the fetches that are due.
    pub(super) fn send_fetches(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(leader) = self.eager_fetchers.pop() {
            let fetcher = self.fetcher(leader);
            fetcher.eager = false;
            let idle = fetcher.in_flight == 0 && fetcher.followed > 0;
            let interrupts = fetcher.in_flight == 1 && !fetcher.queue.is_empty();
            if !fetcher.delayed && (idle || interrupts) {
                self.send_fetch(now, leader, effects);
            }
        }
    }

    fn send_fetch(&mut self, now: Instant, leader: ActorId, effects: &mut Effects) {
        let correlation = self.correlation();
        let fetcher = self.fetcher(leader);
        let full = !fetcher.in_session;
        let mut queue = std::mem::take(&mut fetcher.queue);
        let mut forgotten = std::mem::take(&mut fetcher.forgotten);
        fetcher.in_session = true;
        fetcher.in_flight += 1;
        fetcher.sent = now;
        let mut partitions = Vec::with_capacity(queue.len());
        for index in queue.drain(..) {
            partitions.push(self.take_position(index, correlation));
        }
        self.fetcher(leader).queue = queue;
        // What left and came back is only an update.
        forgotten.retain(|gone| !partitions.iter().any(|fetch| fetch.partition == *gone));
        let request = FetchRequest {
            replica: Some((self.id, self.epoch)),
            isolation: IsolationLevel::ReadUncommitted,
            full,
            partitions,
            forgotten,
            max_wait: PARK_LIMIT,
            max_bytes: RESPONSE_MAX_BYTES,
        };
        effects.send(leader, correlation, Request::Fetch(Box::new(request)));
    }

    fn take_position(&mut self, index: u32, correlation: CorrelationId) -> FetchPartition {
        let no_truncation = self.mutations.has(Mutation::ReplTruncateToHighWatermark);
        let replica = self.replica_mut(index).expect("only replicas are queued");
        let (partition, current_leader_epoch) = (replica.partition, replica.leader_epoch);
        let fetch_offset = replica.log.log_end();
        let mut last_fetched_epoch = replica.log.epochs().latest();
        let follower = replica.follower_mut().expect("only followers are queued");
        follower.queued = false;
        follower.in_session = true;
        follower.sent = correlation;
        if follower.hides_epoch {
            last_fetched_epoch = LeaderEpoch::NONE;
        }
        if no_truncation {
            last_fetched_epoch = LeaderEpoch::NONE;
        }
        FetchPartition { partition, current_leader_epoch, fetch_offset, last_fetched_epoch }
    }

    pub(super) fn on_replica_fetched(
        &mut self,
        now: Instant,
        leader: ActorId,
        correlation: CorrelationId,
        response: &FetchResponse,
        effects: &mut Effects,
    ) {
        let fetcher = self.fetcher(leader);
        fetcher.in_flight = fetcher.in_flight.saturating_sub(1);
        for fetched in &response.partitions {
            self.on_partition_fetched(now, leader, correlation, fetched, effects);
        }
        self.stir(leader);
    }

    fn on_partition_fetched(
        &mut self,
        now: Instant,
        leader: ActorId,
        correlation: CorrelationId,
        fetched: &FetchedPartition,
        effects: &mut Effects,
    ) {
        let Some(index) = self.index_of(fetched.partition) else { return };
        let Some(replica) = self.replica(index) else { return };
        let Some(follower) = replica.follower() else { return };
        // The position moved, or the epoch changed, since this was asked for.
        if follower.leader != Some(leader)
            || follower.queued
            || correlation.0 < follower.sent.0
            || fetched.fetch_offset != replica.log.log_end()
        {
            return;
        }
        match fetched.error {
            ErrorCode::None => self.on_data(now, index, fetched, effects),
            ErrorCode::OffsetOutOfRange => self.on_out_of_range(index, fetched, effects),
            // Nothing to do before the metadata log says more; the planted bug goes on fetching.
            ErrorCode::FencedLeaderEpoch
                if !self.mutations.has(Mutation::LeaderCountStaleEpochFetch) =>
            {
                let replica = self.replica_mut(index).expect("checked above");
                let follower = replica.follower_mut().expect("checked above");
                follower.in_session = false;
                self.fetcher(leader).forgotten.push(fetched.partition);
            }
            _ => self.delay_partition(index, leader, effects),
        }
    }

    fn on_data(
        &mut self,
        now: Instant,
        index: u32,
        fetched: &FetchedPartition,
        effects: &mut Effects,
    ) {
        if let Some((epoch, end)) = fetched.diverging {
            let replica = self.replica_mut(index).expect("a follower has a log");
            let follower = replica.follower_mut().expect("checked by the caller");
            if follower.skips_truncation {
                hit(effects);
                follower.hides_epoch = true;
                self.queue_position(index);
                return;
            }
            let without_epoch = self.mutations.has(Mutation::ReplEpochReplyWithoutEpoch);
            let log = &self.replica(index).expect("a follower has a log").log;
            let to = if without_epoch {
                end.min(log.log_end())
            } else {
                truncation_offset(log, epoch, end)
            };
            self.truncate(index, to, effects);
            self.queue_position(index);
            return;
        }
        if !fetched.batches.is_empty() && !self.append_fetched(now, index, fetched, effects) {
            return;
        }
        let replica = self.replica(index).expect("a follower has a log");
        let high_watermark = fetched.high_watermark.min(replica.log.log_end());
        if high_watermark != replica.high_watermark && fetched.high_watermark >= Offset::ZERO {
            self.set_high_watermark(index, high_watermark, effects);
        }
        if !fetched.batches.is_empty() {
            self.queue_position(index);
        }
    }

    /// False if the disk is full.
    fn append_fetched(
        &mut self,
        _now: Instant,
        index: u32,
        fetched: &FetchedPartition,
        effects: &mut Effects,
    ) -> bool {
        if self.disk_full {
            self.halt("the log directory is full", effects);
            return false;
        }
        let any_epoch = self.mutations.has(Mutation::FetchNoEpochCheck);
        let replica = self.replica_mut(index).expect("a follower has a log");
        let (partition, epoch) = (replica.partition, replica.leader_epoch);
        let before = replica.log.log_end();
        for batch in &fetched.batches {
            // KAFKA-18723: a batch of a later epoch is not this leader's.
            if (batch.leader_epoch > epoch && !any_epoch) || !replica.log.append_as_follower(batch)
            {
                break;
            }
            effects.note(Note::Append { partition, batch: batch.clone(), leader: false });
        }
        self.flush_if_due(index, before, effects);
        true
    }

    /// The leader cannot read from where this follower's log ends: it ends earlier, or it begins
    /// later.
    fn on_out_of_range(&mut self, index: u32, fetched: &FetchedPartition, effects: &mut Effects) {
        let replica = self.replica_mut(index).expect("a follower has a log");
        let log_end = replica.log.log_end();
        let leader_end = fetched.last_stable_offset;
        if leader_end < log_end {
            self.truncate(index, leader_end, effects);
        } else if fetched.log_start_offset > log_end {
            let start = fetched.log_start_offset;
            replica.log.start_over(start);
            replica.flushed = start;
            effects.note(Note::Truncate { partition: replica.partition, to: start });
            self.set_high_watermark(index, start, effects);
        } else {
            // The leader does not know this follower's epoch, although its log is as long.
            let leader = self.replica(index).and_then(|r| r.follower()).and_then(|f| f.leader);
            if let Some(leader) = leader {
                self.delay_partition(index, leader, effects);
            }
            return;
        }
        self.queue_position(index);
    }

    /// An error that time may heal: the partition leaves the session for a while.
    fn delay_partition(&mut self, index: u32, leader: ActorId, effects: &mut Effects) {
        let replica = self.replica_mut(index).expect("a follower has a log");
        let partition = replica.partition;
        let follower = replica.follower_mut().expect("checked by the caller");
        if follower.delayed {
            return;
        }
        follower.delayed = true;
        follower.in_session = false;
        self.fetcher(leader).forgotten.push(partition);
        let key = TimerKey(TIMER_PARTITION_BACKOFF | u64::from(index));
        let backoff = self.fetch_backoff();
        effects.set_timer(key, backoff);
    }

    /// `replica.fetch.backoff.ms`, but for the first tries in a new world.
    fn fetch_backoff(&mut self) -> Duration {
        if self.incarnation > 0 || self.first_tries == FIRST_TRIES {
            return self.config.replica_fetch_backoff;
        }
        self.first_tries += 1;
        FIRST_BACKOFF
    }

    pub(super) fn on_partition_backoff(&mut self, index: u32) {
        if (index as usize) < self.slots.len() {
            if let Some(follower) = self.replica_mut(index).and_then(|r| r.follower_mut()) {
                follower.delayed = false;
            }
            self.queue_position(index);
        }
    }

    /// The connection to a leader is gone, and the session with it.
    pub(super) fn on_leader_lost(&mut self, leader: ActorId, effects: &mut Effects) {
        let Some(Some(fetcher)) = self.fetchers.get_mut(usize::from(leader.0)) else { return };
        fetcher.in_flight = 0;
        fetcher.in_session = false;
        fetcher.forgotten.clear();
        fetcher.queue.clear();
        if fetcher.delayed {
            return;
        }
        fetcher.delayed = true;
        let key = TimerKey(TIMER_FETCH_BACKOFF | u64::from(leader.0));
        let backoff = self.fetch_backoff();
        effects.set_timer(key, backoff);
    }

    pub(super) fn on_fetch_backoff(&mut self, leader: u32) {
        let Ok(leader) = u16::try_from(leader) else { return };
        let leader = ActorId(leader);
        self.fetcher(leader).delayed = false;
        self.fetcher(leader).queue.clear();
        for index in 0..self.slots.len() {
            let index = u32::try_from(index).expect("a cluster has fewer than 2^32 partitions");
            let Some(follower) = self.replica_mut(index).and_then(|r| r.follower_mut()) else {
                continue;
            };
            if follower.leader == Some(leader) {
                follower.queued = false;
                follower.in_session = false;
                self.queue_position(index);
            }
        }
        self.stir(leader);
    }

    /// Gives up on leaders that have not answered for too long.
    pub(super) fn expire_fetches(&mut self, now: Instant, effects: &mut Effects) {
        for leader in 0..self.fetchers.len() {
            let Some(fetcher) = &self.fetchers[leader] else { continue };
            if fetcher.in_flight > 0 && now.since(fetcher.sent) >= REQUEST_TIMEOUT {
                let peer = ActorId(u16::try_from(leader).expect("indexed by actor id"));
                effects.0.push(Effect::Disconnect { peer });
                self.on_leader_lost(peer, effects);
            }
        }
    }
}
