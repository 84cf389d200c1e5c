//! A client's view of who leads which partition.
//!
//! Mirrors `Metadata`, `MetadataCache` and `NetworkClient.DefaultMetadataUpdater`: one refresh in
//! flight; refreshes are `retry.backoff.ms` apart, growing while they fail or bring no news
//! (KIP-580); an answer with an older leader epoch than the cached one is ignored per partition
//! (KIP-320).
//!
//! Simplifications:
//! - Every broker is a bootstrap server, and a client never forgets a broker; rebootstrapping
//!   (KIP-899) is not needed then.
//! - A topic that the answer reports as unknown keeps its cached partitions and asks for another
//!   refresh: no topic is deleted in this world, so the answer only says that a broker lags.

use oncesim_types::{ActorId, Duration, ErrorCode, Instant, LeaderEpoch, TopicId, TopicPartition};

use super::{Backoff, Connections};
use crate::machine::Effects;
use crate::message::{MetadataRequest, MetadataResponse, PartitionMetadata, Request};

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker.
    pub broker: ActorId,
    /// Its leader epoch.
    pub epoch: LeaderEpoch,
}

/// The metadata cache of one client incarnation.
#[derive(Debug)]
pub struct Metadata {
    /// The topics to ask for, in the order in which they became of interest.
    wanted: Vec<TopicId>,
    /// Indexed by topic, then by partition. Empty when the topic is not known yet.
    topics: Vec<Vec<PartitionMetadata>>,
    max_age: Duration,
    backoff: Backoff,
    /// Whether somebody asked for a refresh.
    needed: bool,
    in_flight: bool,
    /// How many of `wanted` the refresh in flight asked for.
    asked: usize,
    /// When the last good answer came; `None` before the first.
    updated: Option<Instant>,
    /// No refresh before this moment.
    not_before: Instant,
    /// Refreshes in a row that failed or brought no news.
    fruitless: u32,
}

impl Metadata {
    /// An empty cache; `backoff` is made of `retry.backoff.ms` and `retry.backoff.max.ms`,
    /// `max_age` is `metadata.max.age.ms`.
    #[must_use]
    pub fn new(max_age: Duration, backoff: Backoff) -> Self {
        Metadata {
            wanted: Vec::new(),
            topics: Vec::new(),
            max_age,
            backoff,
            needed: false,
            in_flight: false,
            asked: 0,
            updated: None,
            not_before: Instant::ZERO,
            fruitless: 0,
        }
    }

    /// Adds a topic of interest; asks for a refresh, without backoff, if it is not known.
    pub fn want(&mut self, topic: TopicId) {
        if self.wanted.contains(&topic) {
            return;
        }
        self.wanted.push(topic);
        self.needed = true;
        self.not_before = Instant::ZERO;
    }

    /// How many partitions `topic` has; 0 when it is not known yet.
    #[must_use]
    pub fn partition_count(&self, topic: TopicId) -> usize {
        self.topics.get(usize::from(topic.0)).map_or(0, Vec::len)
    }

    /// Who leads `partition`, if anybody is known to.
    #[must_use]
    pub fn leader(&self, partition: TopicPartition) -> Option<Leader> {
        let known = self.known(partition)?;
        known.leader.map(|broker| Leader { broker, epoch: known.leader_epoch })
    }

    /// The newest leader epoch seen of `partition`; [`LeaderEpoch::NONE`] when it is not known.
    #[must_use]
    pub fn leader_epoch(&self, partition: TopicPartition) -> LeaderEpoch {
        self.known(partition).map_or(LeaderEpoch::NONE, |known| known.leader_epoch)
    }

    fn known(&self, partition: TopicPartition) -> Option<&PartitionMetadata> {
        self.topics.get(usize::from(partition.topic.0))?.get(usize::from(partition.partition))
    }

    /// Asks for a refresh: an `InvalidMetadataException`, a missing leader, a lost connection.
    pub fn request_update(&mut self) {
        self.needed = true;
    }

    /// Whether a refresh was asked for and has not been answered.
    #[must_use]
    pub fn update_requested(&self) -> bool {
        self.needed || self.in_flight
    }

    /// When the next refresh is to be sent; [`Instant::NEVER`] while one is in flight, or when
    /// nothing is of interest.
    #[must_use]
    pub fn due(&self) -> Instant {
        if self.in_flight || self.wanted.is_empty() {
            return Instant::NEVER;
        }
        let wished = match self.updated {
            Some(updated) if !self.needed => updated + self.max_age,
            _ => Instant::ZERO,
        };
        wished.max(self.not_before)
    }

    /// Sends a refresh if one is due and a broker can be asked. Returns when to call again:
    /// [`Instant::NEVER`] while the answer is awaited.
    pub fn poll<T>(
        &mut self,
        now: Instant,
        connections: &mut Connections<T>,
        purpose: T,
        effects: &mut Effects,
    ) -> Instant {
        let due = self.due();
        if due > now {
            return due;
        }
        let Some(broker) = connections.any_broker(now) else {
            return connections.any_ready_at();
        };
        self.in_flight = true;
        self.asked = self.wanted.len();
        let body = Request::Metadata(MetadataRequest { topics: self.wanted.clone() });
        connections.send(now, broker, body, purpose, effects);
        Instant::NEVER
    }

    /// The refresh failed: its connection broke.
    pub fn failed(&mut self, now: Instant) {
        self.in_flight = false;
        self.needed = true;
        self.back_off(now);
    }

    /// Takes the answer to a refresh. True if a leader or a leader epoch changed.
    pub fn update(&mut self, now: Instant, response: &MetadataResponse) -> bool {
        self.in_flight = false;
        self.updated = Some(now);
        let mut changed = false;
        let mut incomplete = false;
        for topic in &response.topics {
            if topic.error != ErrorCode::None {
                incomplete = true;
                continue;
            }
            let index = usize::from(topic.topic.0);
            if index >= self.topics.len() {
                self.topics.resize_with(index + 1, Vec::new);
            }
            let known = &mut self.topics[index];
            for (partition, new) in topic.partitions.iter().enumerate() {
                incomplete |= new.leader.is_none();
                match known.get_mut(partition) {
                    None => {
                        known.push(*new);
                        changed = true;
                    }
                    Some(old) if new.leader_epoch < old.leader_epoch => {}
                    Some(old) => {
                        changed |= old.leader != new.leader || old.leader_epoch != new.leader_epoch;
                        *old = *new;
                    }
                }
            }
        }
        // Like Kafka, an answer also satisfies who asked while it was under way.
        self.needed = incomplete || self.asked < self.wanted.len();
        if changed {
            self.fruitless = 0;
        }
        self.back_off(now);
        changed
    }

    fn back_off(&mut self, now: Instant) {
        self.not_before = now + self.backoff.after(self.fruitless);
        self.fruitless = self.fruitless.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::message::TopicMetadata;

    const T: TopicId = TopicId(0);
    const P0: TopicPartition = TopicPartition::new(T, 0);
    const B1: ActorId = ActorId(1);
    const B2: ActorId = ActorId(2);

    fn ms(n: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(n)
    }

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_millis(1_000))
    }

    fn answer(leader: Option<ActorId>, epoch: i32) -> MetadataResponse {
        let partitions = vec![PartitionMetadata { leader, leader_epoch: LeaderEpoch(epoch) }];
        let topics = vec![TopicMetadata { topic: T, error: ErrorCode::None, partitions }];
        MetadataResponse { brokers: vec![B1, B2], topics }
    }

    fn wanting() -> Metadata {
        let mut metadata = Metadata::new(Duration::from_millis(300_000), backoff());
        metadata.want(T);
        metadata.asked = 1;
        metadata
    }

    #[test]
    fn an_older_leader_epoch_does_not_come_back() {
        let mut it = wanting();
        assert!(it.update(ms(0), &answer(Some(B1), 4)));
        assert!(!it.update(ms(1), &answer(Some(B2), 3)));
        assert_eq!(it.leader(P0), Some(Leader { broker: B1, epoch: LeaderEpoch(4) }));
        assert!(it.update(ms(2), &answer(Some(B2), 5)));
        assert_eq!(it.leader(P0), Some(Leader { broker: B2, epoch: LeaderEpoch(5) }));
        assert!(it.update(ms(3), &answer(None, 6)));
        assert_eq!((it.leader(P0), it.leader_epoch(P0)), (None, LeaderEpoch(6)));
    }

    #[test]
    fn one_refresh_is_in_flight_and_the_next_waits_for_the_backoff() {
        let (mut it, mut effects) = (wanting(), Effects::default());
        let brokers: Rc<[ActorId]> = Rc::new([B1, B2]);
        let timeout = Duration::from_millis(30_000);
        let mut connections = Connections::new(ActorId(0), brokers, timeout, backoff());
        assert_eq!(it.poll(ms(0), &mut connections, (), &mut effects), Instant::NEVER);
        it.request_update();
        assert_eq!(it.poll(ms(0), &mut connections, (), &mut effects), Instant::NEVER);
        assert_eq!(effects.0.len(), 1, "{effects:?}");
        it.update(ms(10), &answer(Some(B1), 1));
        assert_eq!(it.due(), ms(300_010), "the answer served who asked meanwhile");
        it.request_update();
        assert_eq!(it.poll(ms(10), &mut connections, (), &mut effects), ms(110));
        assert_eq!(it.poll(ms(110), &mut connections, (), &mut effects), Instant::NEVER);
        it.update(ms(120), &answer(Some(B1), 1));
        assert_eq!(it.due(), ms(300_120), "its age, as nobody asks");
    }

    #[test]
    fn fruitless_refreshes_are_ever_farther_apart_until_there_is_news() {
        let mut it = wanting();
        it.update(ms(0), &answer(Some(B1), 1));
        for wait in [200, 400, 800, 1_000, 1_000] {
            it.request_update();
            it.update(ms(0), &answer(Some(B1), 1));
            it.request_update();
            assert_eq!(it.due(), ms(wait));
        }
        it.update(ms(0), &answer(Some(B2), 2));
        it.request_update();
        assert_eq!(it.due(), ms(100));
    }

    #[test]
    fn a_partition_without_leader_asks_again() {
        let mut it = wanting();
        it.update(ms(0), &answer(None, 1));
        assert_eq!(it.due(), ms(100));
        it.update(ms(100), &answer(Some(B1), 2));
        assert_eq!(it.due(), ms(300_100));
    }

    #[test]
    fn a_lost_refresh_is_repeated_after_the_backoff() {
        let (mut it, mut effects) = (wanting(), Effects::default());
        let timeout = Duration::from_millis(30_000);
        let mut connections = Connections::new(ActorId(0), Rc::new([B1]), timeout, backoff());
        it.poll(ms(0), &mut connections, (), &mut effects);
        connections.disconnected(ms(5), B1);
        it.failed(ms(5));
        assert_eq!(it.poll(ms(5), &mut connections, (), &mut effects), ms(105));
    }
}
