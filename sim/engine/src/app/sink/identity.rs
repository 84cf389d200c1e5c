//! What a record is called outside of Kafka: business ids, versions, payloads, idempotency keys.
//!
//! Records of producers and services carry the identity that their maker gave them, as real events
//! carry an id in their payload. What a processor makes is made again after an abort, as another
//! record with the same content: its identity is its value, which is the same each time.

use std::sync::Arc;

use oncesim_kafka::consumer::PolledRecord;
use oncesim_spec::IdempotencyKey;
use oncesim_types::{ActorId, RecordId, TopicPartition, lineage};

/// Tells records that were made from other records from those that began their life outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identities {
    /// The producers of processors.
    processors: Arc<[ActorId]>,
}

impl Identities {
    /// `processors` are the actors whose records are made from other records.
    pub(crate) fn new(processors: impl IntoIterator<Item = ActorId>) -> Self {
        Identities { processors: processors.into_iter().collect() }
    }

    fn is_derived(&self, record: RecordId) -> bool {
        self.processors.contains(&record.origin())
    }

    /// `:id`: the same in every redelivery, and in every attempt to make the record.
    pub(crate) fn business_id(&self, it: &PolledRecord) -> i64 {
        match it.record.value {
            Some(value) if self.is_derived(it.record.id) => value,
            _ => it.record.id.0.cast_signed(),
        }
    }

    /// `:version`: growing per key.
    pub(crate) fn version(&self, it: &PolledRecord) -> i64 {
        if self.is_derived(it.record.id) {
            it.offset.0
        } else {
            it.record.id.ordinal().cast_signed()
        }
    }

    /// Hash of what an API is sent: of a processor's record its content, of others also the id.
    pub(crate) fn payload(&self, it: &PolledRecord) -> u64 {
        let id = if self.is_derived(it.record.id) {
            RecordId(it.record.key.map_or(0, |key| u64::from(key) + 1))
        } else {
            it.record.id
        };
        lineage::payload(id, it.record.value)
    }

    /// The idempotency key of one request, which is the `request`-th of all requests in a run. Never
    /// 0, which stands for no key.
    pub(crate) fn idempotency_key(
        &self,
        kind: IdempotencyKey,
        it: &PolledRecord,
        request: u64,
    ) -> Option<u64> {
        let (tag, words) = match kind {
            IdempotencyKey::None => return None,
            IdempotencyKey::PerRecord => (1, [self.business_id(it).cast_unsigned(), 0]),
            IdempotencyKey::PerAttempt => (2, [request, 0]),
            IdempotencyKey::ByKey => (3, [it.record.key.map_or(0, |key| u64::from(key) + 1), 0]),
            IdempotencyKey::ByOffset => {
                (4, [partition_bits(it.partition), it.offset.0.cast_unsigned()])
            }
        };
        Some(hash(tag, words).max(1))
    }
}

fn partition_bits(partition: TopicPartition) -> u64 {
    u64::from(partition.topic.0) << 16 | u64::from(partition.partition)
}

/// Each step is a bijection of the word that it takes in, so that within one kind of key, where at
/// most one word is large, different inputs do not meet by accident.
fn hash(tag: u64, words: [u64; 2]) -> u64 {
    words
        .into_iter()
        .fold(tag, |hash, word| lineage::payload(RecordId(hash), Some(word.cast_signed())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use oncesim_kafka::log::batch::Record;
    use oncesim_types::{Instant, LeaderEpoch, Offset, TopicId};

    use super::*;

    const SHOP: ActorId = ActorId(4);
    const BILLING: ActorId = ActorId(6);

    fn polled(origin: ActorId, n: u64, offset: i64, value: Option<i64>) -> PolledRecord {
        PolledRecord {
            partition: TopicPartition::new(TopicId(0), 1),
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            record: Record {
                id: RecordId::new(origin, n),
                key: Some(7),
                value,
                size: 10,
                timestamp: Instant::ZERO,
            },
        }
    }

    #[test]
    fn a_record_that_is_made_again_keeps_its_identity() {
        let identities = Identities::new([BILLING]);
        let (first, again) = (polled(BILLING, 3, 8, Some(55)), polled(BILLING, 9, 20, Some(55)));
        assert_eq!(identities.business_id(&first), identities.business_id(&again));
        assert_eq!(identities.payload(&first), identities.payload(&again));
        let key = |it| identities.idempotency_key(IdempotencyKey::PerRecord, it, 0);
        assert_eq!(key(&first), key(&again));
        assert_eq!(identities.version(&again), 20, "order of the log");
    }

    #[test]
    fn a_record_from_outside_is_known_by_its_id() {
        let identities = Identities::new([BILLING]);
        let record = polled(SHOP, 3, 8, Some(55));
        assert_eq!(identities.business_id(&record), RecordId::new(SHOP, 3).0.cast_signed());
        assert_eq!(identities.version(&record), 3);
        assert_eq!(identities.payload(&record), lineage::payload(record.record.id, Some(55)));
        assert_ne!(identities.payload(&record), identities.payload(&polled(SHOP, 3, 8, None)));
    }

    #[test]
    fn keys_tell_apart_what_they_are_made_of_and_nothing_else() {
        let identities = Identities::default();
        let keys = |kind| {
            let records = (0..50).flat_map(|n| {
                // Every record twice in the log: its producer had no idempotence.
                [
                    polled(SHOP, n, 2 * n.cast_signed(), Some(1)),
                    polled(SHOP, n, 2 * n.cast_signed() + 1, Some(1)),
                ]
            });
            let keys: BTreeSet<_> = records
                .enumerate()
                .filter_map(|(request, it)| identities.idempotency_key(kind, &it, request as u64))
                .collect();
            keys.len()
        };
        assert_eq!(keys(IdempotencyKey::None), 0);
        assert_eq!(keys(IdempotencyKey::PerRecord), 50);
        assert_eq!(keys(IdempotencyKey::ByKey), 1);
        assert_eq!(keys(IdempotencyKey::ByOffset), 100);
        assert_eq!(keys(IdempotencyKey::PerAttempt), 100);
    }
}
