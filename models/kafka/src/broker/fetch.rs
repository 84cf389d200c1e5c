//! `Fetch`: reads for consumers and followers, and what a leader learns from its followers.
//!
//! Mirrors `ReplicaManager.fetchMessages`, `Partition.fetchRecords`,
//! `Partition.updateFollowerFetchState`, `DelayedFetch`, `UnifiedLog.read` (KIP-74, KIP-98, KIP-227,
//! KIP-320, KIP-903). The last stable offset only moves with the high watermark: what waits for the
//! one is woken by the other.
//!
//! Simplifications:
//! - Incremental in its work too: only partitions that may have news are looked at.
//! - A follower hears of a new high watermark with the next data, or after
//!   `replica.fetch.wait.max.ms` at the latest (Kafka: when its waiting fetch times out, which is
//!   between at once and the same bound).
//! - A new fetch on a connection answers the one that waits there, with what there is.
//! - An OFFSET_OUT_OF_RANGE answer to a follower has the leader's log end in `last_stable_offset`:
//!   it stands for the ListOffsets round trip that Kafka's follower makes next.
//! - No fetching from followers (KIP-392).

use oncesim_types::{
    ActorId, BrokerEpoch, ConnectionId, CorrelationId, ErrorCode, Instant, LeaderEpoch, Offset,
    TopicPartition,
};

use crate::broker::session::{Parked, Position, Sessions, Watcher};
use crate::broker::{Armed, Broker, PARK_LIMIT, Slot, TIMER_PROPAGATE, hit};
use crate::config::BrokerConfig;
use crate::machine::{Effects, ReplyTo, TimerKey};
use crate::message::{
    FetchPartition, FetchRequest, FetchResponse, FetchedPartition, IsolationLevel, Response,
};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;
use crate::replica::Replica;

/// Where a follower's log stops agreeing with the leader's.
type Divergence = Option<(LeaderEpoch, Offset)>;

impl Broker {
    pub(super) fn on_fetch(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: &FetchRequest,
        effects: &mut Effects,
    ) {
        let key = match self.sessions.find(to.connection) {
            Some(key) => key,
            None => self.sessions.open(to.client, to.connection),
        };
        self.serve(key, true, effects);
        if request.full {
            self.clear_session(now, key);
        }
        self.session(key).replica = request.replica;
        for partition in &request.forgotten {
            if let Some(index) = self.index_of(*partition) {
                self.forget(now, key, index);
            }
        }
        for fetch in &request.partitions {
            match self.index_of(fetch.partition) {
                Some(index) => {
                    self.position(key, index, *fetch, request.replica.is_some());
                    if let Some((broker, epoch)) = request.replica {
                        self.follower_fetched(now, index, broker, epoch, fetch, effects);
                    }
                }
                None => self.session(key).unknown.push(failed(
                    fetch.partition,
                    fetch.fetch_offset,
                    ErrorCode::UnknownTopicOrPartition,
                )),
            }
        }
        if std::mem::take(&mut self.session(key).recount) {
            self.recount(now, key, &request.partitions, effects);
        }
        self.session(key).parked = Some(Parked {
            correlation: to.correlation,
            since: now,
            max_bytes: request.max_bytes,
            isolation: request.isolation,
            delayed: false,
        });
        self.sessions.wake(key);
    }

    fn session(&mut self, key: u32) -> &mut super::session::Session {
        self.sessions.get_mut(key).expect("found or opened by the caller")
    }

    /// Adds a partition to a session, or moves its position.
    fn position(&mut self, key: u32, index: u32, fetch: FetchPartition, is_follower: bool) {
        let known = self.slot(index).watchers.iter().find(|watcher| watcher.session == key);
        let at = if let Some(watcher) = known {
            watcher.at
        } else {
            let session = self.session(key);
            let at = session.free.pop().unwrap_or_else(|| {
                session.positions.push(Position {
                    index,
                    live: false,
                    dirty: false,
                    served: false,
                    fetch,
                    sent_high_watermark: Offset::UNKNOWN,
                });
                u32::try_from(session.positions.len() - 1).expect("fewer than 2^32 partitions")
            });
            self.slot_mut(index).watchers.push(Watcher { session: key, at, is_follower });
            at
        };
        let session = self.session(key);
        let position = &mut session.positions[at as usize];
        if !position.live {
            position.live = true;
            position.index = index;
            position.sent_high_watermark = Offset::UNKNOWN;
        }
        position.fetch = fetch;
        session.mark(at);
    }

    fn forget(&mut self, now: Instant, key: u32, index: u32) {
        let watchers = &mut self.slots[index as usize].watchers;
        let Some(found) = watchers.iter().position(|watcher| watcher.session == key) else {
            return;
        };
        let watcher = watchers.swap_remove(found);
        let session = self.session(key);
        session.positions[watcher.at as usize].live = false;
        session.free.push(watcher.at);
        if let Some((broker, _)) = session.replica {
            self.follower_left(now, index, broker);
        }
    }

    fn clear_session(&mut self, now: Instant, key: u32) {
        let session = self.session(key);
        let positions = std::mem::take(&mut session.positions);
        session.free.clear();
        session.dirty.clear();
        session.unknown.clear();
        let replica = session.replica;
        for position in positions.iter().filter(|position| position.live) {
            self.slot_mut(position.index).watchers.retain(|watcher| watcher.session != key);
            if let Some((broker, _)) = replica {
                self.follower_left(now, position.index, broker);
            }
        }
    }

    /// A client's connection is gone, and its session with it.
    pub(super) fn close_session(&mut self, now: Instant, connection: ConnectionId) {
        if let Some(key) = self.sessions.find(connection) {
            self.clear_session(now, key);
            self.sessions.close(connection);
        }
    }

    fn follower_left(&mut self, now: Instant, index: u32, broker: ActorId) {
        // The connection that it gave up ends after the one that it opened instead has begun.
        let elsewhere = self.slot(index).watchers.iter().any(|watcher| {
            let session = self.sessions.get(watcher.session);
            session.and_then(|session| session.replica).is_some_and(|(other, _)| other == broker)
        });
        if elsewhere {
            return;
        }
        let Some(replica) = self.replica_mut(index) else { return };
        let log_end = replica.log.log_end();
        let Some(remote) = replica.leader_mut().and_then(|l| l.remote_mut(broker)) else { return };
        if remote.in_session && remote.log_end == Some(log_end) {
            remote.last_caught_up = remote.last_caught_up.max(now);
        }
        remote.in_session = false;
    }

    /// What a fetch says about its follower: it has everything below the offset that it asks for.
    fn follower_fetched(
        &mut self,
        now: Instant,
        index: u32,
        broker: ActorId,
        broker_epoch: BrokerEpoch,
        fetch: &FetchPartition,
        effects: &mut Effects,
    ) {
        let mutations = self.mutations;
        let Some(replica) = self.replica_mut(index) else { return };
        let counted = match check_follower(replica, (broker, broker_epoch), fetch, mutations) {
            Ok(None) => true,
            Ok(Some(_)) => false,
            Err(ErrorCode::FencedLeaderEpoch)
                if mutations.has(Mutation::LeaderCountStaleEpochFetch)
                    && replica.leader().is_some() =>
            {
                hit(effects);
                true
            }
            Err(_) => false,
        };
        note_epoch_mutations(replica, fetch, mutations, effects);
        if !counted {
            return;
        }
        let log_end = replica.log.log_end();
        let Some(remote) = replica.leader_mut().and_then(|l| l.remote_mut(broker)) else { return };
        remote.broker_epoch = broker_epoch;
        remote.in_session = true;
        let goes_back = remote.log_end.is_some_and(|known| fetch.fetch_offset < known);
        remote.fetched(fetch.fetch_offset, log_end, now);
        if goes_back {
            self.doubt(broker, effects);
        }
        self.after_isr_change(now, index, effects);
    }

    /// A follower has less than before: it truncated, or this fetch is a late one of a connection
    /// that it gave up, and what it said elsewhere still holds. Kafka counts all positions of a
    /// session with each of its fetches; here they are asked for within the same time.
    fn doubt(&mut self, broker: ActorId, effects: &mut Effects) {
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            if session.replica.is_some_and(|(follower, _)| follower == broker) {
                session.recount = true;
                let Broker { sessions, timers, config, .. } = self;
                propagate_to(key, sessions, timers, config, effects);
            }
        }
    }

    /// Counts the positions of a follower's session that its fetch does not repeat.
    fn recount(&mut self, now: Instant, key: u32, told: &[FetchPartition], effects: &mut Effects) {
        let session = self.session(key);
        let Some((broker, epoch)) = session.replica else { return };
        let untold = |position: &&Position| {
            position.live && !told.iter().any(|fetch| fetch.partition == position.fetch.partition)
        };
        let positions: Vec<(u32, FetchPartition)> = (session.positions.iter())
            .filter(untold)
            .map(|position| (position.index, position.fetch))
            .collect();
        for (index, fetch) in positions {
            self.follower_fetched(now, index, broker, epoch, &fetch, effects);
        }
        self.session(key).recount = false;
    }

    /// Marks a partition in every session that wants it: its role changed.
    pub(super) fn wake_watchers(&mut self, index: u32) {
        for watcher in &self.slots[index as usize].watchers {
            if let Some(session) = self.sessions.get_mut(watcher.session) {
                session.mark(watcher.at);
            }
            self.sessions.wake(watcher.session);
        }
    }

    /// A leader appended: followers may read it.
    pub(super) fn wake_followers(&mut self, index: u32) {
        let reads_above = self.mutations.has(Mutation::FetchReadAboveHw);
        for watcher in &self.slots[index as usize].watchers {
            if watcher.is_follower || reads_above {
                if let Some(session) = self.sessions.get_mut(watcher.session) {
                    session.mark(watcher.at);
                }
                self.sessions.wake(watcher.session);
            }
        }
    }

    /// The high watermark moved: consumers may read more at once, followers hear of it soon.
    pub(super) fn wake_for_high_watermark(&mut self, index: u32, effects: &mut Effects) {
        let Broker { slots, sessions, timers, config, .. } = self;
        for watcher in &slots[index as usize].watchers {
            if let Some(session) = sessions.get_mut(watcher.session) {
                session.mark(watcher.at);
            }
            if watcher.is_follower {
                propagate_to(watcher.session, sessions, timers, config, effects);
            } else {
                sessions.wake(watcher.session);
            }
        }
    }

    pub(super) fn on_propagate_timer(&mut self, effects: &mut Effects) {
        self.timers.propagate = false;
        for key in std::mem::take(&mut self.sessions.lazy) {
            if let Some(session) = self.sessions.get_mut(key) {
                session.lazy = false;
                let force = session.recount;
                self.serve_with(key, force, true, effects);
            }
        }
    }

    /// Answers fetches that have waited for long enough.
    pub(super) fn expire_parked(&mut self, now: Instant, effects: &mut Effects) {
        for key in self.sessions.keys() {
            let parked = self.sessions.get(key).and_then(|session| session.parked);
            if parked.is_some_and(|parked| now.since(parked.since) >= PARK_LIMIT) {
                self.serve(key, true, effects);
            }
        }
    }

    pub(super) fn serve_awake(&mut self, effects: &mut Effects) {
        while let Some(key) = self.sessions.awake.pop() {
            if let Some(session) = self.sessions.get_mut(key) {
                session.awake = false;
                self.serve(key, false, effects);
            }
        }
    }

    fn serve(&mut self, key: u32, force: bool, effects: &mut Effects) {
        self.serve_with(key, force, force, effects);
    }

    /// Answers the fetch that waits in a session if it has news; with `force`, in any case. With
    /// `propagate`, a high watermark that the follower has not heard is news enough.
    fn serve_with(&mut self, key: u32, force: bool, propagate: bool, effects: &mut Effects) {
        let Broker { sessions, slots, mutations, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return };
        let Some(parked) = session.parked else { return };
        let mut partitions = std::mem::take(&mut session.unknown);
        let mut budget = Budget { left: u64::from(parked.max_bytes), spent: false };
        let (mut quiet, mut full) = (false, false);
        let reader = match session.replica {
            Some((broker, epoch)) => Reader::Follower(broker, epoch),
            None => Reader::Consumer { isolation: parked.isolation, delayed: parked.delayed },
        };
        let mut dirty = std::mem::take(&mut session.dirty);
        dirty.retain(|at| {
            let position = &mut session.positions[*at as usize];
            position.served = false;
            let slot = &slots[position.index as usize];
            let look = if position.live {
                look(slot, position, reader, &mut budget, *mutations, effects)
            } else {
                Look::Nothing
            };
            match look {
                Look::News(news) => {
                    // Looked at again with the next fetch: the client may not take it.
                    position.sent_high_watermark = news.high_watermark;
                    position.served = true;
                    partitions.push(news);
                }
                Look::NoRoom => full = true,
                Look::HighWatermark => quiet = true,
                Look::Nothing => position.dirty = false,
            }
            position.dirty
        });
        if quiet && (!partitions.is_empty() || propagate) {
            dirty.retain(|at| {
                let position = &mut session.positions[*at as usize];
                let replica = slots[position.index as usize].replica.as_deref();
                let Some(replica) = replica.filter(|_| !position.served) else { return true };
                if position.fetch.fetch_offset < replica.log.log_end() {
                    return true;
                }
                position.dirty = false;
                position.sent_high_watermark = replica.high_watermark;
                partitions.push(found(replica, position.fetch.fetch_offset));
                false
            });
        }
        if full {
            // Who found no room comes first next time.
            dirty.sort_by_key(|at| session.positions[*at as usize].served);
        }
        session.dirty = dirty;
        if partitions.is_empty() && !force {
            session.parked = Some(Parked { delayed: true, ..parked });
            return;
        }
        session.parked = None;
        let to = ReplyTo {
            client: session.client,
            connection: session.connection,
            correlation: parked.correlation,
        };
        let to_replica = session.replica.is_some();
        let response = FetchResponse { to_replica, partitions };
        effects.reply(to, Response::Fetch(Box::new(response)));
    }

    /// Whether `broker` has heard the high watermark of a partition and waits for more.
    pub(super) fn follower_is_current(&self, index: u32, broker: ActorId) -> bool {
        let slot = self.slot(index);
        let Some(replica) = slot.replica.as_deref() else { return false };
        slot.watchers.iter().any(|watcher| {
            self.sessions.get(watcher.session).is_some_and(|session| {
                session.client == broker
                    && session.replica.is_some()
                    && session.parked.is_some()
                    && session.positions[watcher.at as usize].sent_high_watermark
                        == replica.high_watermark
            })
        })
    }

    /// A fetch that waits at this broker, if any: for tests and traces.
    #[must_use]
    pub fn has_parked_fetch(&self, connection: ConnectionId) -> Option<CorrelationId> {
        Some(self.sessions.get(self.sessions.find(connection)?)?.parked?.correlation)
    }
}

/// Lets a follower's fetch be answered within `replica.fetch.wait.max.ms`.
fn propagate_to(
    key: u32,
    sessions: &mut Sessions,
    timers: &mut Armed,
    config: &BrokerConfig,
    effects: &mut Effects,
) {
    sessions.defer(key);
    if !timers.propagate {
        timers.propagate = true;
        effects.set_timer(TimerKey(TIMER_PROPAGATE), config.replica_fetch_wait_max);
    }
}

/// What is left of a response.
struct Budget {
    left: u64,
    /// Whether something is in it already: the first batch always fits.
    spent: bool,
}

enum Look {
    /// Data, divergence or an error.
    News(FetchedPartition),
    /// Data, but the response is full.
    NoRoom,
    /// Only a high watermark that the follower has not heard.
    HighWatermark,
    Nothing,
}

/// Who fetches.
#[derive(Clone, Copy)]
enum Reader {
    Follower(ActorId, BrokerEpoch),
    Consumer {
        isolation: IsolationLevel,
        /// Whether the fetch has waited.
        delayed: bool,
    },
}

fn look(
    slot: &Slot,
    position: &Position,
    reader: Reader,
    budget: &mut Budget,
    mutations: Mutations,
    effects: &mut Effects,
) -> Look {
    let fetch = &position.fetch;
    let Some(replica) = slot.replica.as_deref() else {
        let error = ErrorCode::NotLeaderOrFollower;
        return Look::News(failed(fetch.partition, fetch.fetch_offset, error));
    };
    let checked = match reader {
        Reader::Follower(broker, epoch) => {
            check_follower(replica, (broker, epoch), fetch, mutations)
        }
        Reader::Consumer { .. } => check_reader(replica, fetch, mutations).and(Ok(None)),
    };
    let is_follower = matches!(reader, Reader::Follower(..));
    match checked {
        Err(error) => {
            if error == ErrorCode::FencedLeaderEpoch || error == ErrorCode::UnknownLeaderEpoch {
                return Look::News(failed(fetch.partition, fetch.fetch_offset, error));
            }
            let mut answer = found(replica, fetch.fetch_offset);
            answer.error = error;
            if is_follower && error == ErrorCode::OffsetOutOfRange {
                answer.last_stable_offset = replica.log.log_end();
            }
            return Look::News(answer);
        }
        Ok(Some(diverging)) => {
            let mut answer = found(replica, fetch.fetch_offset);
            answer.diverging = Some(diverging);
            return Look::News(answer);
        }
        Ok(None) => {}
    }
    let bound = match reader {
        Reader::Follower(..) => replica.log.log_end(),
        Reader::Consumer { isolation, .. } => bound_for(replica, isolation, mutations),
    };
    if fetch.fetch_offset < bound {
        let read = replica.log.read(fetch.fetch_offset, bound, budget.left, !budget.spent);
        if let Some(last) = read.batches.last() {
            budget.left = budget.left.saturating_sub(read.bytes);
            budget.spent = true;
            let mut answer = found(replica, fetch.fetch_offset);
            if let Reader::Consumer { isolation, delayed } = reader {
                let to = last.next_offset();
                served(replica, &mut answer, to, isolation, effects);
                if delayed
                    && mutations.has(Mutation::FetchNoAbortedListOnDelayed)
                    && !answer.aborted.is_empty()
                {
                    hit(effects);
                    answer.aborted.clear();
                }
            }
            answer.batches = read.batches;
            return Look::News(answer);
        }
        if budget.spent {
            return Look::NoRoom;
        }
    }
    if is_follower && position.sent_high_watermark != replica.high_watermark {
        return Look::HighWatermark;
    }
    Look::Nothing
}

/// Up to where a consumer may read. High watermark and last stable offset are of one moment
/// (KAFKA-9807).
fn bound_for(replica: &Replica, isolation: IsolationLevel, mutations: Mutations) -> Offset {
    if mutations.has(Mutation::FetchReadAboveHw) {
        return replica.log.log_end();
    }
    if isolation == IsolationLevel::ReadUncommitted || mutations.has(Mutation::FetchCommittedUpToHw)
    {
        return replica.high_watermark;
    }
    let stable = replica.last_stable_offset();
    match replica.stale_high_watermark {
        // The planted bug: no transaction was open below the high watermark a moment ago.
        Some(stale) if replica.log.last_stable_offset(stale) == stale => replica.high_watermark,
        _ => stable,
    }
}

/// Completes the answer to a consumer that gets everything below `to`.
fn served(
    replica: &Replica,
    answer: &mut FetchedPartition,
    to: Offset,
    isolation: IsolationLevel,
    effects: &mut Effects,
) {
    let (from, high_watermark) = (answer.fetch_offset, replica.high_watermark);
    let last_stable_offset = answer.last_stable_offset;
    let read_committed = isolation == IsolationLevel::ReadCommitted;
    if read_committed {
        answer.aborted = replica.log.aborted_transactions(from, to);
    }
    if to > high_watermark || read_committed && to > last_stable_offset {
        hit(effects);
    }
    effects.note(Note::Served {
        partition: replica.partition,
        from,
        to,
        high_watermark,
        last_stable_offset,
        read_committed,
    });
}

fn failed(partition: TopicPartition, fetch_offset: Offset, error: ErrorCode) -> FetchedPartition {
    FetchedPartition {
        partition,
        error,
        fetch_offset,
        high_watermark: Offset::UNKNOWN,
        last_stable_offset: Offset::UNKNOWN,
        log_start_offset: Offset::UNKNOWN,
        diverging: None,
        batches: Vec::new(),
        aborted: Vec::new(),
    }
}

fn found(replica: &Replica, fetch_offset: Offset) -> FetchedPartition {
    FetchedPartition {
        high_watermark: replica.high_watermark,
        last_stable_offset: replica.last_stable_offset(),
        log_start_offset: replica.log.log_start(),
        ..failed(replica.partition, fetch_offset, ErrorCode::None)
    }
}

/// What a consumer's fetch must fulfil.
fn check_reader(
    replica: &Replica,
    fetch: &FetchPartition,
    mutations: Mutations,
) -> Result<(), ErrorCode> {
    if !mutations.has(Mutation::FetchNoEpochCheck) {
        replica.check_epoch(fetch.current_leader_epoch)?;
    }
    if replica.leader().is_none() {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let log = &replica.log;
    if fetch.fetch_offset < log.log_start() || fetch.fetch_offset > log.log_end() {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    Ok(())
}

/// What a follower's fetch must fulfil, and whether its log diverges.
fn check_follower(
    replica: &Replica,
    (broker, broker_epoch): (ActorId, BrokerEpoch),
    fetch: &FetchPartition,
    mutations: Mutations,
) -> Result<Divergence, ErrorCode> {
    let epoch = replica.check_epoch(fetch.current_leader_epoch);
    // The planted bug: nobody compares epochs, and a follower that has missed an election is served
    // from wherever it asks (truncation was a question of its own, asked once per election).
    let unchecked = epoch.is_err() && mutations.has(Mutation::FetchNoEpochCheck);
    if !unchecked {
        epoch?;
    }
    let leader = replica.leader().ok_or(ErrorCode::NotLeaderOrFollower)?;
    let remote = leader.remote(broker).ok_or(ErrorCode::NotLeaderOrFollower)?;
    if broker_epoch < remote.broker_epoch && !mutations.has(Mutation::IsrNoBrokerEpoch) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let log = &replica.log;
    if fetch.last_fetched_epoch != LeaderEpoch::NONE && !unchecked {
        let diverging = if mutations.has(Mutation::ReplEpochReplyWithoutEpoch) {
            divergence_without_epoch(replica, fetch)
        } else {
            divergence(replica, fetch)
        };
        match diverging {
            Ok(None) => {}
            other => return other,
        }
    }
    if fetch.fetch_offset < log.log_start() || fetch.fetch_offset > log.log_end() {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    Ok(None)
}

/// KIP-279: the answer names the epoch that it is about.
fn divergence(replica: &Replica, fetch: &FetchPartition) -> Result<Divergence, ErrorCode> {
    let log = &replica.log;
    let (epoch, end) = log
        .epochs()
        .end_offset_for(fetch.last_fetched_epoch, log.log_end())
        .ok_or(ErrorCode::OffsetOutOfRange)?;
    let diverges = epoch < fetch.last_fetched_epoch || end < fetch.fetch_offset;
    Ok(diverges.then_some((epoch, end)))
}

/// The planted bug: only where the epoch asked for ends, in whatever lineage.
fn divergence_without_epoch(
    replica: &Replica,
    fetch: &FetchPartition,
) -> Result<Divergence, ErrorCode> {
    let log = &replica.log;
    let (_, end) = log
        .epochs()
        .end_offset_for(fetch.last_fetched_epoch, log.log_end())
        .ok_or(ErrorCode::OffsetOutOfRange)?;
    Ok((end < fetch.fetch_offset).then_some((fetch.last_fetched_epoch, end)))
}

/// Says when a planted bug of the epoch checks makes a difference to this fetch.
fn note_epoch_mutations(
    replica: &Replica,
    fetch: &FetchPartition,
    mutations: Mutations,
    effects: &mut Effects,
) {
    if mutations.has(Mutation::FetchNoEpochCheck)
        && replica.leader().is_some()
        && replica.check_epoch(fetch.current_leader_epoch).is_err()
    {
        hit(effects);
    }
    if mutations.has(Mutation::ReplEpochReplyWithoutEpoch)
        && replica.leader().is_some()
        && fetch.last_fetched_epoch != LeaderEpoch::NONE
        && divergence(replica, fetch) != divergence_without_epoch(replica, fetch)
    {
        hit(effects);
    }
}
