//! Which partition a record goes to.
//!
//! Mirrors `BuiltInPartitioner` (KIP-480, KIP-794) and `RoundRobinPartitioner`.
//!
//! Simplifications:
//! - A key is a number, hashed by Kafka's murmur2 of its four bytes.
//! - The sticky partition moves to the next one with a leader instead of a random one, and clients
//!   begin at different partitions: a model draws nothing, and no guarantee depends on the choice.
//! - No adaptive choice by queue length: it balances load, which is not modelled.

use oncesim_types::{ActorId, TopicId, TopicPartition};

use crate::client::Metadata;
use crate::config::Partitioner;

/// The partitioner's memory of one topic.
#[derive(Debug, Clone, Copy)]
struct TopicState {
    /// The sticky partition, or the next in turn; modulo the number of partitions.
    current: u16,
    /// Bytes placed on the sticky partition since it was chosen.
    bytes: u32,
}

/// Places records that don't say where they go.
#[derive(Debug)]
pub(super) struct Placement {
    partitioner: Partitioner,
    batch_size: u32,
    start: u16,
    /// Indexed by topic.
    topics: Vec<TopicState>,
}

impl Placement {
    pub(super) fn new(client: ActorId, partitioner: Partitioner, batch_size: u32) -> Self {
        Placement { partitioner, batch_size, start: client.0, topics: Vec::new() }
    }

    /// A partition of `topic`, which has at least one.
    pub(super) fn choose(
        &mut self,
        metadata: &Metadata,
        topic: TopicId,
        key: Option<u32>,
        size: u32,
    ) -> u16 {
        let count = metadata.partition_count(topic);
        let count = u16::try_from(count).unwrap_or(u16::MAX).max(1);
        match (self.partitioner, key) {
            (Partitioner::Default, Some(key)) => by_key(key, count),
            (Partitioner::RoundRobin, _) => {
                let state = self.state(topic);
                let chosen = led_from(metadata, topic, state.current, count);
                state.current = (chosen + 1) % count;
                chosen
            }
            (Partitioner::Default | Partitioner::IgnoreKeys, _) => {
                let limit = self.batch_size.max(1);
                let state = self.state(topic);
                if state.bytes >= limit {
                    *state = TopicState { current: state.current.wrapping_add(1), bytes: 0 };
                }
                if state.bytes == 0 {
                    state.current = led_from(metadata, topic, state.current, count);
                }
                state.bytes = state.bytes.saturating_add(size);
                state.current % count
            }
        }
    }

    fn state(&mut self, topic: TopicId) -> &mut TopicState {
        let index = usize::from(topic.0);
        if index >= self.topics.len() {
            let fresh = TopicState { current: self.start, bytes: 0 };
            self.topics.resize(index + 1, fresh);
        }
        &mut self.topics[index]
    }
}

/// The first partition from `start` on, in a circle, that has a leader; `start` if none has.
fn led_from(metadata: &Metadata, topic: TopicId, start: u16, count: u16) -> u16 {
    let start = start % count;
    let circle = (start..count).chain(0..start);
    let mut led = circle.filter(|&p| metadata.leader(TopicPartition::new(topic, p)).is_some());
    led.next().unwrap_or(start)
}

fn by_key(key: u32, count: u16) -> u16 {
    let positive = murmur2(key) & 0x7fff_ffff;
    u16::try_from(positive % u32::from(count)).expect("a remainder is smaller than its divisor")
}

/// `Utils.murmur2` of four bytes.
fn murmur2(key: u32) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut k = key.wrapping_mul(M);
    k ^= k >> 24;
    let mut hash = (SEED ^ 4).wrapping_mul(M) ^ k.wrapping_mul(M);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use oncesim_types::{Duration, ErrorCode, Instant, LeaderEpoch};

    use super::*;
    use crate::client::Backoff;
    use crate::message::{MetadataResponse, PartitionMetadata, TopicMetadata};

    const T: TopicId = TopicId(0);

    /// Topic 0 with these partitions, led or not.
    fn metadata(led: &[bool]) -> Metadata {
        let second = Duration::from_secs(1);
        let mut metadata = Metadata::new(second, Backoff::new(second, second));
        let partition = |&led: &bool| PartitionMetadata {
            leader: led.then_some(ActorId(1)),
            leader_epoch: LeaderEpoch(0),
        };
        let partitions = led.iter().map(partition).collect();
        let topics = vec![TopicMetadata { topic: T, error: ErrorCode::None, partitions }];
        metadata.update(Instant::ZERO, &MetadataResponse { brokers: vec![ActorId(1)], topics });
        metadata
    }

    #[test]
    fn a_key_always_goes_to_the_same_partition_and_keys_spread() {
        let metadata = metadata(&[true; 8]);
        let mut placement = Placement::new(ActorId(5), Partitioner::Default, 100);
        let mut used = [0; 8];
        for key in 0..800 {
            let chosen = placement.choose(&metadata, T, Some(key), 10);
            assert_eq!(chosen, placement.choose(&metadata, T, Some(key), 10));
            used[usize::from(chosen)] += 1;
        }
        assert!(used.iter().all(|&n| (50..=150).contains(&n)), "{used:?}");
    }

    #[test]
    fn records_without_a_key_stick_until_a_batch_is_full() {
        let metadata = metadata(&[true, true, true]);
        let mut placement = Placement::new(ActorId(1), Partitioner::Default, 100);
        let chosen: Vec<_> = (0..6).map(|_| placement.choose(&metadata, T, None, 50)).collect();
        assert_eq!(chosen, [1, 1, 2, 2, 0, 0]);
        let mut placement = Placement::new(ActorId(1), Partitioner::IgnoreKeys, 100);
        let chosen: Vec<_> = (0..3).map(|k| placement.choose(&metadata, T, Some(k), 50)).collect();
        assert_eq!(chosen, [1, 1, 2]);
    }

    #[test]
    fn round_robin_takes_turns_among_partitions_with_a_leader() {
        let metadata = metadata(&[true, false, true]);
        let mut placement = Placement::new(ActorId(3), Partitioner::RoundRobin, 100);
        let chosen: Vec<_> = (0..4).map(|k| placement.choose(&metadata, T, Some(k), 1)).collect();
        assert_eq!(chosen, [0, 2, 0, 2]);
    }

    #[test]
    fn without_any_leader_a_partition_is_chosen_all_the_same() {
        let metadata = metadata(&[false, false]);
        let mut placement = Placement::new(ActorId(1), Partitioner::RoundRobin, 100);
        assert_eq!(placement.choose(&metadata, T, None, 1), 1);
        assert_eq!(placement.choose(&metadata, T, None, 1), 0);
    }
}
