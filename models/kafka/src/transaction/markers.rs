//! Markers on their way to the leaders of a transaction's partitions.
//!
//! Mirrors `TransactionMarkerChannelManager`, `TransactionMarkerRequestCompletionHandler`.
//!
//! Simplifications:
//! - A partition without a known leader waits for one; Kafka takes a partition that its metadata
//!   does not know for deleted, and nothing here deletes partitions.
//! - What has to be sent again waits for `retry.backoff.ms` once for all that failed meanwhile.

use std::collections::BTreeMap;

use oncesim_types::{
    ActorId, CorrelationId, Duration, ErrorCode, Instant, LeaderEpoch, TopicPartition,
    TransactionalId,
};

use crate::message::{TxnMarker, WriteTxnMarkersRequest, WrittenMarkers};
use crate::transaction::TransactionEffect;
use crate::transaction::writes::{TimerKind, timer_key};

/// `retry.backoff.ms` of a broker's own clients.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);
/// `request.timeout.ms` of a broker's own clients.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A transaction's marker for some of its partitions (`PendingCompleteTxnAndMarkerEntry`).
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) transactional_id: TransactionalId,
    /// Index of the coordinator's partition.
    pub(super) shard: u16,
    pub(super) marker: TxnMarker,
}

/// What has to be tried again after the backoff.
#[derive(Debug)]
pub(super) enum Retry {
    /// A marker.
    Marker(Entry),
    /// Writing that all markers are there.
    Completion { shard: u16, epoch: LeaderEpoch, transactional_id: TransactionalId },
}

#[derive(Debug, Default)]
struct Destination {
    queue: Vec<Entry>,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    correlation: CorrelationId,
    sent: Instant,
    entries: Vec<Entry>,
}

/// What a leader said of the partitions of one entry.
pub(super) type Answered = (Entry, Vec<(TopicPartition, ErrorCode)>);

/// All markers of one broker's coordinator, at most one request under way to each leader.
#[derive(Debug, Default)]
pub(super) struct MarkerChannel {
    brokers: BTreeMap<ActorId, Destination>,
    /// For whom is not known yet.
    unrouted: Vec<Entry>,
    retries: Vec<Retry>,
    retry_timer: bool,
    timeout_timer: bool,
}

impl MarkerChannel {
    /// Has a marker sent to the leaders of its partitions.
    pub(super) fn add(&mut self, entry: Entry) {
        self.unrouted.push(entry);
    }

    /// Has something tried again after the backoff.
    pub(super) fn retry(&mut self, retry: Retry, out: &mut Vec<TransactionEffect>) {
        self.retries.push(retry);
        if !self.retry_timer {
            self.retry_timer = true;
            let key = timer_key(TimerKind::MarkerRetry);
            out.push(TransactionEffect::SetTimer(key, RETRY_BACKOFF));
        }
    }

    /// The backoff is over.
    pub(super) fn take_retries(&mut self) -> Vec<Retry> {
        self.retry_timer = false;
        std::mem::take(&mut self.retries)
    }

    /// Whether `dispatch` may have something to do.
    pub(super) fn has_work(&self) -> bool {
        !self.unrouted.is_empty()
            || self.brokers.values().any(|to| to.in_flight.is_none() && !to.queue.is_empty())
    }

    /// Finds out who leads what, and says what to send where now.
    pub(super) fn dispatch(
        &mut self,
        leader_of: impl Fn(TopicPartition) -> Option<ActorId>,
        out: &mut Vec<TransactionEffect>,
    ) -> Vec<(ActorId, WriteTxnMarkersRequest)> {
        for entry in std::mem::take(&mut self.unrouted) {
            let Entry { transactional_id, shard, marker } = entry;
            let mut routes: BTreeMap<Option<ActorId>, Vec<TopicPartition>> = BTreeMap::new();
            for partition in &marker.partitions {
                routes.entry(leader_of(*partition)).or_default().push(*partition);
            }
            for (leader, partitions) in routes {
                let marker = TxnMarker { partitions, ..marker.clone() };
                let entry = Entry { transactional_id, shard, marker };
                match leader {
                    Some(leader) => self.brokers.entry(leader).or_default().queue.push(entry),
                    None => self.retry(Retry::Marker(entry), out),
                }
            }
        }
        let ready = |to: &Destination| to.in_flight.is_none() && !to.queue.is_empty();
        let markers = |to: &Destination| to.queue.iter().map(|e| e.marker.clone()).collect();
        let ready = self.brokers.iter().filter(|(_, to)| ready(to));
        ready.map(|(id, to)| (*id, WriteTxnMarkersRequest { markers: markers(to) })).collect()
    }

    /// What `dispatch` said for `broker` was sent.
    pub(super) fn sent(
        &mut self,
        now: Instant,
        broker: ActorId,
        correlation: CorrelationId,
        out: &mut Vec<TransactionEffect>,
    ) {
        let to = self.brokers.entry(broker).or_default();
        let entries = std::mem::take(&mut to.queue);
        to.in_flight = Some(InFlight { correlation, sent: now, entries });
        if !self.timeout_timer {
            self.timeout_timer = true;
            let key = timer_key(TimerKind::MarkerTimeout);
            out.push(TransactionEffect::SetTimer(key, REQUEST_TIMEOUT));
        }
    }

    /// A leader answered. `None` if nobody waits for that any more.
    pub(super) fn answered(
        &mut self,
        broker: ActorId,
        correlation: CorrelationId,
        written: &WrittenMarkers,
    ) -> Option<Vec<Answered>> {
        let to = self.brokers.get_mut(&broker)?;
        let in_flight = to.in_flight.take_if(|sent| sent.correlation == correlation)?;
        let result = |entry: &Entry, partition: TopicPartition| {
            let own = written.iter().filter(|(id, _)| *id == entry.marker.producer_id);
            let mut results = own.flat_map(|(_, results)| results);
            let found = results.find(|(answered, _)| *answered == partition);
            (partition, found.map_or(ErrorCode::NetworkException, |(_, error)| *error))
        };
        let answered = in_flight.entries.into_iter().map(|entry| {
            let partitions = entry.marker.partitions.iter();
            let results = partitions.map(|partition| result(&entry, *partition)).collect();
            (entry, results)
        });
        Some(answered.collect())
    }

    /// The connection to a leader is gone: what was under way has an unknown outcome.
    pub(super) fn disconnected(&mut self, broker: ActorId, out: &mut Vec<TransactionEffect>) {
        let Some(to) = self.brokers.remove(&broker) else { return };
        let in_flight = to.in_flight.map(|sent| sent.entries).unwrap_or_default();
        for entry in in_flight.into_iter().chain(to.queue) {
            self.retry(Retry::Marker(entry), out);
        }
    }

    /// Leaders that have not answered in time; the broker closes the connections.
    pub(super) fn take_overdue(
        &mut self,
        now: Instant,
        out: &mut Vec<TransactionEffect>,
    ) -> Vec<ActorId> {
        self.timeout_timer = false;
        let is_due = |sent: &InFlight| sent.sent + REQUEST_TIMEOUT <= now;
        let waiting =
            self.brokers.iter().filter_map(|(id, to)| Some((*id, to.in_flight.as_ref()?)));
        let overdue = waiting.clone().filter(|(_, sent)| is_due(sent)).map(|(id, _)| id).collect();
        if let Some(oldest) =
            waiting.map(|(_, s)| s.sent).filter(|s| *s + REQUEST_TIMEOUT > now).min()
        {
            self.timeout_timer = true;
            // A clock that jumped back does not make a timeout longer.
            let after = (oldest + REQUEST_TIMEOUT).since(now).min(REQUEST_TIMEOUT);
            out.push(TransactionEffect::SetTimer(timer_key(TimerKind::MarkerTimeout), after));
        }
        overdue
    }

    /// Nothing of this shard is sent any more.
    pub(super) fn remove_shard(&mut self, shard: u16) {
        for to in self.brokers.values_mut() {
            to.queue.retain(|entry| entry.shard != shard);
        }
        self.unrouted.retain(|entry| entry.shard != shard);
        self.retries.retain(|retry| match retry {
            Retry::Marker(entry) => entry.shard != shard,
            Retry::Completion { shard: of, .. } => *of != shard,
        });
    }
}
