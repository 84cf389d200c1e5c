//! What a partition remembers of its idempotent producers.
//!
//! Mirrors `ProducerStateManager`, `ProducerStateEntry` and `ProducerAppendInfo` (KIP-98, KIP-360).
//! Only a leader validates; every replica updates, so that a new leader recognises the duplicates
//! that the old one would have.
//!
//! Simplifications:
//! - Expiry is judged when an entry is read, for the last scan that Kafka would have made by then:
//!   nobody can see an entry between two reads.
//! - No transactions yet: they add a verification entry before the epoch check and markers to
//!   `update`; the order of the checks leaves their places free.

use oncesim_types::{Duration, ErrorCode, Instant, Offset, ProducerEpoch, ProducerId, Sequence};

use crate::log::batch::{LogBatch, RecordBatch, Records};

/// How many batches per producer are remembered: `max.in.flight.requests.per.connection` at most.
const BATCHES: usize = 5;

/// Where one batch of a producer is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMetadata {
    /// Sequence of its first record.
    pub first_sequence: Sequence,
    /// Sequence of its last record.
    pub last_sequence: Sequence,
    /// Offset of its first record.
    pub first_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
}

/// One producer's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Whose.
    pub producer_id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// Timestamp of its last batch.
    pub last_timestamp: Instant,
    /// Its last batches, the oldest first; at most five.
    batches: Vec<BatchMetadata>,
}

impl ProducerEntry {
    /// Its remembered batches, the oldest first.
    #[must_use]
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches
    }

    fn add(&mut self, batch: &LogBatch) {
        if self.epoch != batch.batch.producer_epoch {
            self.epoch = batch.batch.producer_epoch;
            self.batches.clear();
        }
        if self.batches.len() == BATCHES {
            self.batches.remove(0);
        }
        self.batches.push(BatchMetadata {
            first_sequence: batch.batch.base_sequence,
            last_sequence: batch.batch.last_sequence(),
            first_offset: batch.base_offset,
            last_offset: batch.last_offset(),
        });
        self.last_timestamp = timestamp_of(&batch.batch);
    }
}

fn timestamp_of(batch: &RecordBatch) -> Instant {
    match &batch.records {
        Records::Data(records) => {
            records.iter().map(|record| record.timestamp).max().unwrap_or(Instant::ZERO)
        }
        Records::Coordinator(_) | Records::Control(_) => Instant::ZERO,
    }
}

/// What a leader does with a producer's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// Append it.
    New,
    /// It is in the log already.
    Duplicate(BatchMetadata),
    /// INVALID_PRODUCER_EPOCH or OUT_OF_ORDER_SEQUENCE_NUMBER.
    Refused(ErrorCode),
}

/// The producers of one partition, sorted by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerStates {
    entries: Vec<ProducerEntry>,
}

impl ProducerStates {
    /// The entries, by producer id.
    #[must_use]
    pub fn entries(&self) -> &[ProducerEntry] {
        &self.entries
    }

    /// Whether no producer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    fn entry(&self, producer_id: ProducerId) -> Option<&ProducerEntry> {
        // Most partitions have one producer, and a new producer has the largest id.
        if let Some(last) = self.entries.last()
            && last.producer_id == producer_id
        {
            return Some(last);
        }
        let at = self.entries.binary_search_by_key(&producer_id, |entry| entry.producer_id).ok()?;
        Some(&self.entries[at])
    }

    /// The remembered batch that `batch` repeats, if any: same epoch, same sequences.
    #[must_use]
    pub fn duplicate_of(&self, batch: &RecordBatch) -> Option<BatchMetadata> {
        let entry = self.entry(batch.producer_id)?;
        if entry.epoch != batch.producer_epoch {
            return None;
        }
        let last_sequence = batch.last_sequence();
        let same = |known: &&BatchMetadata| {
            known.first_sequence == batch.base_sequence && known.last_sequence == last_sequence
        };
        entry.batches.iter().find(same).copied()
    }

    /// Whether a producer older than this one's newest epoch sent `batch`.
    #[must_use]
    pub fn is_fenced(&self, batch: &RecordBatch) -> bool {
        self.entry(batch.producer_id).is_some_and(|entry| batch.producer_epoch < entry.epoch)
    }

    /// Whether `batch` follows its producer's last one. Without any state of the producer, every
    /// sequence does (KIP-360).
    #[must_use]
    pub fn is_in_sequence(&self, batch: &RecordBatch) -> bool {
        let Some(entry) = self.entry(batch.producer_id) else { return true };
        if entry.epoch == ProducerEpoch::NONE {
            return true;
        }
        if entry.epoch != batch.producer_epoch {
            return batch.base_sequence == Sequence::ZERO;
        }
        match entry.batches.last() {
            Some(last) => batch.base_sequence == last.last_sequence.plus(1),
            None => batch.base_sequence == Sequence::ZERO,
        }
    }

    /// Judges a batch of a client in Kafka's order: duplicate, epoch, sequence.
    #[must_use]
    pub fn validate(&self, batch: &RecordBatch) -> Validation {
        if !batch.has_producer_id() {
            return Validation::New;
        }
        if let Some(known) = self.duplicate_of(batch) {
            return Validation::Duplicate(known);
        }
        if self.is_fenced(batch) {
            return Validation::Refused(ErrorCode::InvalidProducerEpoch);
        }
        if !self.is_in_sequence(batch) {
            return Validation::Refused(ErrorCode::OutOfOrderSequenceNumber);
        }
        Validation::New
    }

    /// Remembers a batch that was appended, by whichever replica.
    pub fn update(&mut self, batch: &LogBatch) {
        let producer_id = batch.batch.producer_id;
        if producer_id == ProducerId::NONE {
            return;
        }
        let at = match self.entries.binary_search_by_key(&producer_id, |e| e.producer_id) {
            Ok(at) => at,
            Err(at) => {
                let entry = ProducerEntry {
                    producer_id,
                    epoch: batch.batch.producer_epoch,
                    last_timestamp: Instant::ZERO,
                    batches: Vec::with_capacity(BATCHES),
                };
                self.entries.insert(at, entry);
                at
            }
        };
        self.entries[at].add(batch);
    }

    /// Forgets producers that the last scan before `now` found idle for longer than `expiration`
    /// (`producer.id.expiration.ms`); a scan happens every `interval` from `started` on.
    pub fn expire(
        &mut self,
        now: Instant,
        started: Instant,
        interval: Duration,
        expiration: Duration,
    ) {
        let elapsed = now.since(started).as_nanos();
        let scans = elapsed.checked_div(interval.as_nanos()).unwrap_or(0);
        if scans == 0 {
            return;
        }
        let scan = started + interval * scans;
        self.entries.retain(|entry| scan.since(entry.last_timestamp) <= expiration);
    }

    /// A snapshot as it is written to disk: only the last batch of each producer.
    #[must_use]
    pub fn snapshot(&self) -> ProducerStates {
        let mut snapshot = self.clone();
        for entry in &mut snapshot.entries {
            let first = entry.batches.len().saturating_sub(1);
            entry.batches.drain(..first);
        }
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use oncesim_types::{ActorId, LeaderEpoch, RecordId};

    use super::*;
    use crate::log::batch::Record;

    fn batch(epoch: i16, base: i32, len: i32) -> RecordBatch {
        let record = |n| Record {
            id: RecordId::new(ActorId(1), n),
            key: None,
            value: Some(0),
            size: 100,
            timestamp: Instant::ZERO,
        };
        RecordBatch {
            producer_id: ProducerId(1000),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(base),
            transactional: false,
            records: Records::Data((0..len as u64).map(record).collect()),
        }
    }

    /// A producer's state after it wrote batches of one record: epoch 1, sequences `0..n`.
    fn after(n: i32) -> ProducerStates {
        let mut states = ProducerStates::default();
        for i in 0..n {
            states.update(&LogBatch {
                base_offset: Offset(i64::from(i)),
                leader_epoch: LeaderEpoch(0),
                batch: Rc::new(batch(1, i, 1)),
            });
        }
        states
    }

    #[test]
    fn a_leader_judges_batches_as_kafka_does() {
        use ErrorCode::{InvalidProducerEpoch, OutOfOrderSequenceNumber};
        let states = after(7);
        for (epoch, base, len, expected) in [
            (1, 7, 1, Ok(None)),
            (1, 6, 1, Ok(Some(6))),
            (1, 2, 1, Ok(Some(2))), // The oldest of the five.
            (1, 1, 1, Err(OutOfOrderSequenceNumber)), // A duplicate, but forgotten.
            (1, 6, 2, Err(OutOfOrderSequenceNumber)), // Overlaps, but is not equal.
            (1, 8, 1, Err(OutOfOrderSequenceNumber)),
            (0, 7, 1, Err(InvalidProducerEpoch)),
            (0, 6, 1, Err(InvalidProducerEpoch)), // The epoch is judged before the sequence.
            (2, 0, 1, Ok(None)),
            (2, 7, 1, Err(OutOfOrderSequenceNumber)), // A new epoch starts at 0.
        ] {
            let got = match states.validate(&batch(epoch, base, len)) {
                Validation::New => Ok(None),
                Validation::Duplicate(known) => Ok(Some(known.first_offset.0)),
                Validation::Refused(error) => Err(error),
            };
            assert_eq!(got, expected, "epoch {epoch}, sequence {base}, {len} records");
        }
    }

    #[test]
    fn without_state_every_sequence_is_accepted() {
        assert_eq!(ProducerStates::default().validate(&batch(3, 17, 1)), Validation::New);
    }

    #[test]
    fn sequences_wrap() {
        let mut states = ProducerStates::default();
        states.update(&LogBatch {
            base_offset: Offset(0),
            leader_epoch: LeaderEpoch(0),
            batch: Rc::new(batch(0, i32::MAX - 1, 2)),
        });
        assert_eq!(states.validate(&batch(0, 0, 1)), Validation::New);
    }

    #[test]
    fn a_snapshot_keeps_the_last_batch_only() {
        let snapshot = after(7).snapshot();
        assert!(matches!(snapshot.validate(&batch(1, 6, 1)), Validation::Duplicate(_)));
        assert!(matches!(snapshot.validate(&batch(1, 5, 1)), Validation::Refused(_)));
        assert_eq!(snapshot.validate(&batch(1, 7, 1)), Validation::New);
    }

    #[test]
    fn an_idle_producer_is_forgotten_by_a_scan() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let mut states = after(3);
        states.expire(Instant::ZERO + hour, Instant::ZERO, minute, hour);
        assert!(!states.is_empty(), "not longer than the expiration yet");
        states.expire(Instant::ZERO + hour + Duration::from_secs(59), Instant::ZERO, minute, hour);
        assert!(!states.is_empty(), "no scan since");
        states.expire(Instant::ZERO + hour + minute, Instant::ZERO, minute, hour);
        assert!(states.is_empty());
    }
}
