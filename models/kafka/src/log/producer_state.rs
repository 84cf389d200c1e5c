//! What a partition remembers of its idempotent and transactional producers.
//!
//! Mirrors `ProducerStateManager`, `ProducerStateEntry` and `ProducerAppendInfo` (KIP-98, KIP-360,
//! KIP-890, KIP-1228). Only a leader validates; every replica updates, so that a new leader
//! recognises the duplicates that the old one would have, and knows which transactions are open.
//!
//! Simplifications:
//! - Expiry is judged when an entry is read, for the last scan that Kafka would have made by then:
//!   nobody can see an entry between two reads.
//! - Markers and records of coordinators carry no timestamp: they do not prolong an entry's life
//!   (Kafka: by the time since its last batch).

use oncesim_types::{
    Duration, ErrorCode, Instant, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence,
    TransactionResult,
};

use crate::config::TransactionVersion;
use crate::log::batch::{EndTransactionMarker, LogBatch, RecordBatch, Records};
use crate::log::transactions::{CompletedTransaction, Transactions};
use crate::log::verification_state::Verification;

/// How many batches per producer are remembered: `max.in.flight.requests.per.connection` at most.
const BATCHES: usize = 5;
/// After this epoch a producer gets another id: a marker may carry it, a transaction does not.
const LAST_EPOCH: ProducerEpoch = ProducerEpoch(i16::MAX);

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
    /// The coordinator epoch of its last marker.
    pub coordinator_epoch: LeaderEpoch,
    /// Where its open transaction begins; `None` without one.
    pub current_txn_first_offset: Option<Offset>,
    /// Its last batches, the oldest first; at most five.
    batches: Vec<BatchMetadata>,
}

impl ProducerEntry {
    /// Its remembered batches, the oldest first.
    #[must_use]
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches
    }

    fn set_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    fn add(&mut self, batch: &LogBatch) {
        self.set_epoch(batch.batch.producer_epoch);
        if self.batches.len() == BATCHES {
            self.batches.remove(0);
        }
        self.batches.push(BatchMetadata {
            first_sequence: batch.batch.base_sequence,
            last_sequence: batch.batch.last_sequence(),
            first_offset: batch.base_offset,
            last_offset: batch.last_offset(),
        });
        let timestamps = batch.batch.data().iter().map(|record| record.timestamp);
        self.last_timestamp = timestamps.max().unwrap_or(self.last_timestamp);
    }
}

/// Who wrote what a leader appends (`AppendOrigin`); a follower validates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer.
    Client,
    /// A coordinator on this broker: sequences do not count.
    Coordinator,
}

/// What a leader does with a producer's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// Append it.
    New,
    /// It is in the log already.
    Duplicate(BatchMetadata),
    /// INVALID_PRODUCER_EPOCH, OUT_OF_ORDER_SEQUENCE_NUMBER or INVALID_TXN_STATE.
    Refused(ErrorCode),
}

/// The producers of one partition, sorted by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerStates {
    entries: Vec<ProducerEntry>,
    /// `None` until the first transaction: other partitions pay nothing.
    transactions: Option<Box<Transactions>>,
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
        *self = ProducerStates::default();
    }

    /// Whether a transaction was ever seen here.
    #[must_use]
    pub fn has_transactions(&self) -> bool {
        self.transactions.is_some()
    }

    /// Where the first transaction begins that is open, or whose marker may be lost: readers of
    /// committed data stop there.
    #[must_use]
    pub fn first_unstable_offset(&self) -> Option<Offset> {
        self.transactions.as_ref()?.first_unstable_offset()
    }

    /// Markers below the high watermark are there to stay.
    pub fn high_watermark_moved(&mut self, to: Offset) {
        if let Some(transactions) = &mut self.transactions {
            transactions.high_watermark_moved(to);
        }
    }

    /// Whether a producer has a transaction of this epoch open here.
    #[must_use]
    pub fn has_ongoing_transaction(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.entry(producer_id)
            .is_some_and(|entry| entry.current_txn_first_offset.is_some() && entry.epoch == epoch)
    }

    /// What is known of one producer.
    #[must_use]
    pub fn entry(&self, producer_id: ProducerId) -> Option<&ProducerEntry> {
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

    /// Whether a batch would begin a transaction that nobody has verified.
    #[must_use]
    pub fn lacks_verification(&self, batch: &RecordBatch, verification: &Verification<'_>) -> bool {
        batch.transactional
            && !verification.is_given()
            && !self.has_ongoing_transaction(batch.producer_id, batch.producer_epoch)
    }

    /// Judges a batch in Kafka's order: duplicate, verification, epoch, sequence, transaction.
    #[must_use]
    pub fn validate(
        &self,
        batch: &RecordBatch,
        origin: AppendOrigin,
        verification: &Verification<'_>,
    ) -> Validation {
        if !batch.has_producer_id() {
            return Validation::New;
        }
        let is_client = origin == AppendOrigin::Client;
        if is_client && let Some(known) = self.duplicate_of(batch) {
            return Validation::Duplicate(known);
        }
        // KAFKA-19690: an old epoch says so even if nothing was verified.
        if self.is_fenced(batch) {
            return Validation::Refused(ErrorCode::InvalidProducerEpoch);
        }
        if self.lacks_verification(batch, verification) {
            return Validation::Refused(ErrorCode::InvalidTxnState);
        }
        if is_client && (self.overtakes(batch, verification) || !self.is_in_sequence(batch)) {
            return Validation::Refused(ErrorCode::OutOfOrderSequenceNumber);
        }
        if !batch.transactional
            && self
                .entry(batch.producer_id)
                .is_some_and(|entry| entry.current_txn_first_offset.is_some())
        {
            return Validation::Refused(ErrorCode::InvalidTxnState);
        }
        Validation::New
    }

    /// Whether an earlier batch of the transaction is still being verified (KAFKA-14920), or must
    /// be, because an epoch that is new with the transaction begins at 0 (KAFKA-18202).
    fn overtakes(&self, batch: &RecordBatch, verification: &Verification<'_>) -> bool {
        let Some(state) = verification.state else { return false };
        let is_unknown = self.entry(batch.producer_id).is_none_or(|entry| entry.batches.is_empty());
        (state.supports_epoch_bump && is_unknown && batch.base_sequence != Sequence::ZERO)
            || batch.base_sequence > state.lowest_sequence
    }

    /// Judges a marker: `checkProducerEpoch` and `checkCoordinatorEpoch`.
    ///
    /// # Errors
    /// INVALID_PRODUCER_EPOCH, or TRANSACTION_COORDINATOR_FENCED.
    pub fn validate_marker(
        &self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        coordinator_epoch: LeaderEpoch,
        version: TransactionVersion,
    ) -> Result<(), ErrorCode> {
        let Some(entry) = self.entry(producer_id) else { return Ok(()) };
        let is_old = if version.bumps_per_transaction() && epoch == entry.epoch {
            // Of the transaction that is open now, or of the one before? KIP-1228: a marker has a
            // larger epoch than its transaction. The same marker again does no harm (KAFKA-19999).
            entry.current_txn_first_offset.is_some() && epoch != LAST_EPOCH
        } else {
            epoch < entry.epoch
        };
        if is_old {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if coordinator_epoch < entry.coordinator_epoch {
            return Err(ErrorCode::TransactionCoordinatorFenced);
        }
        Ok(())
    }

    /// Remembers a batch that was appended, by whichever replica. A marker that ends a transaction
    /// with records says which.
    pub fn update(&mut self, batch: &LogBatch) -> Option<CompletedTransaction> {
        let producer_id = batch.batch.producer_id;
        if producer_id == ProducerId::NONE {
            return None;
        }
        let at = match self.entries.binary_search_by_key(&producer_id, |e| e.producer_id) {
            Ok(at) => at,
            Err(at) => {
                let entry = ProducerEntry {
                    producer_id,
                    epoch: batch.batch.producer_epoch,
                    last_timestamp: Instant::ZERO,
                    coordinator_epoch: LeaderEpoch::NONE,
                    current_txn_first_offset: None,
                    batches: Vec::with_capacity(BATCHES),
                };
                self.entries.insert(at, entry);
                at
            }
        };
        if let Records::Control(marker) = &batch.batch.records {
            return self.end_transaction(at, batch, *marker);
        }
        let entry = &mut self.entries[at];
        entry.add(batch);
        if batch.batch.transactional && entry.current_txn_first_offset.is_none() {
            entry.current_txn_first_offset = Some(batch.base_offset);
            self.transactions.get_or_insert_default().begin(batch.base_offset);
        }
        None
    }

    fn end_transaction(
        &mut self,
        at: usize,
        batch: &LogBatch,
        marker: EndTransactionMarker,
    ) -> Option<CompletedTransaction> {
        let entry = &mut self.entries[at];
        entry.set_epoch(batch.batch.producer_epoch);
        entry.coordinator_epoch = marker.coordinator_epoch;
        let first_offset = entry.current_txn_first_offset.take();
        let producer_id = entry.producer_id;
        let transactions = self.transactions.get_or_insert_default();
        let (first_offset, last_offset) = (first_offset?, batch.base_offset);
        let last_stable_offset = transactions.end(first_offset, last_offset);
        let aborted = marker.result == TransactionResult::Abort;
        Some(CompletedTransaction {
            producer_id,
            first_offset,
            last_offset,
            last_stable_offset,
            aborted,
        })
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
        self.entries.retain(|entry| {
            entry.current_txn_first_offset.is_some()
                || scan.since(entry.last_timestamp) <= expiration
        });
    }

    /// A snapshot as it is written to disk: only the last batch of each producer, and nothing of
    /// transactions whose marker may be lost.
    #[must_use]
    pub fn snapshot(&self) -> ProducerStates {
        let mut snapshot = self.clone();
        for entry in &mut snapshot.entries {
            let first = entry.batches.len().saturating_sub(1);
            entry.batches.drain(..first);
        }
        if let Some(transactions) = &mut snapshot.transactions {
            transactions.forget_unreplicated();
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
            let got = match states.validate(
                &batch(epoch, base, len),
                AppendOrigin::Client,
                &Verification::default(),
            ) {
                Validation::New => Ok(None),
                Validation::Duplicate(known) => Ok(Some(known.first_offset.0)),
                Validation::Refused(error) => Err(error),
            };
            assert_eq!(got, expected, "epoch {epoch}, sequence {base}, {len} records");
        }
    }

    #[test]
    fn without_state_every_sequence_is_accepted() {
        assert_eq!(
            ProducerStates::default().validate(
                &batch(3, 17, 1),
                AppendOrigin::Client,
                &Verification::default()
            ),
            Validation::New
        );
    }

    #[test]
    fn sequences_wrap() {
        let mut states = ProducerStates::default();
        states.update(&LogBatch {
            base_offset: Offset(0),
            leader_epoch: LeaderEpoch(0),
            batch: Rc::new(batch(0, i32::MAX - 1, 2)),
        });
        assert_eq!(
            states.validate(&batch(0, 0, 1), AppendOrigin::Client, &Verification::default()),
            Validation::New
        );
    }

    #[test]
    fn a_snapshot_keeps_the_last_batch_only() {
        let snapshot = after(7).snapshot();
        assert!(matches!(
            snapshot.validate(&batch(1, 6, 1), AppendOrigin::Client, &Verification::default()),
            Validation::Duplicate(_)
        ));
        assert!(matches!(
            snapshot.validate(&batch(1, 5, 1), AppendOrigin::Client, &Verification::default()),
            Validation::Refused(_)
        ));
        assert_eq!(
            snapshot.validate(&batch(1, 7, 1), AppendOrigin::Client, &Verification::default()),
            Validation::New
        );
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

    fn marker(epoch: i16, coordinator_epoch: i32, offset: i64) -> LogBatch {
        LogBatch {
            base_offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            batch: Rc::new(RecordBatch {
                base_sequence: Sequence::NONE,
                transactional: true,
                records: Records::Control(EndTransactionMarker {
                    result: TransactionResult::Abort,
                    coordinator_epoch: LeaderEpoch(coordinator_epoch),
                }),
                ..batch(epoch, 0, 1)
            }),
        }
    }

    /// An open transaction of `epoch` at offset 0, after a marker of coordinator epoch 7.
    fn open(epoch: i16) -> ProducerStates {
        let mut states = ProducerStates::default();
        states.update(&marker(epoch, 7, 0));
        states.update(&LogBatch {
            base_offset: Offset(1),
            leader_epoch: LeaderEpoch(0),
            batch: Rc::new(RecordBatch { transactional: true, ..batch(epoch, 0, 1) }),
        });
        states
    }

    #[test]
    fn markers_are_judged_by_epoch_generation_and_coordinator() {
        use ErrorCode::{InvalidProducerEpoch, TransactionCoordinatorFenced};
        use TransactionVersion::{V1, V2};
        let mut ended = open(4);
        ended.update(&marker(5, 7, 2));
        let last = open(i16::MAX);
        for (states, epoch, coordinator_epoch, version, expected) in [
            (&open(4), 4, 7, V1, Ok(())),
            (&open(4), 3, 7, V1, Err(InvalidProducerEpoch)),
            (&open(4), 5, 7, V1, Ok(())), // The coordinator fences with an epoch of its own.
            (&open(4), 5, 6, V1, Err(TransactionCoordinatorFenced)),
            (&open(4), 3, 6, V1, Err(InvalidProducerEpoch)), // The producer's epoch first.
            (&open(4), 5, 7, V2, Ok(())),
            (&open(4), 4, 7, V2, Err(InvalidProducerEpoch)), // Of the transaction before.
            (&open(4), 3, 7, V2, Err(InvalidProducerEpoch)),
            (&ended, 5, 7, V2, Ok(())), // Again: KAFKA-19999.
            (&ended, 5, 6, V2, Err(TransactionCoordinatorFenced)),
            (&ended, 4, 7, V2, Err(InvalidProducerEpoch)),
            (&last, i16::MAX, 7, V2, Ok(())), // No epoch is left to tell them apart.
            (&ProducerStates::default(), 0, 0, V2, Ok(())),
        ] {
            let (id, epoch) = (ProducerId(1000), ProducerEpoch(epoch));
            let got = states.validate_marker(id, epoch, LeaderEpoch(coordinator_epoch), version);
            assert_eq!(got, expected, "epoch {epoch}, {coordinator_epoch}, {version:?}");
        }
    }

    #[test]
    fn transactional_batches_are_judged_in_kafkas_order() {
        use ErrorCode::{InvalidProducerEpoch, InvalidTxnState, OutOfOrderSequenceNumber};
        let required = Verification { required: true, ..Verification::default() };
        let free = Verification::default();
        for (epoch, base, transactional, verification, expected) in [
            (4, 0, true, required, Ok(Some(1))), // A duplicate, before anything else.
            (4, 1, true, required, Ok(None)),    // Its transaction is open.
            (4, 2, true, required, Err(OutOfOrderSequenceNumber)),
            (4, 1, false, free, Err(InvalidTxnState)),
            (4, 2, false, free, Err(OutOfOrderSequenceNumber)), // The sequence first.
            (3, 1, true, required, Err(InvalidProducerEpoch)),
            (5, 0, true, required, Err(InvalidTxnState)), // Another transaction: not verified.
            (5, 0, true, free, Ok(None)),
            (5, 1, true, free, Err(OutOfOrderSequenceNumber)),
        ] {
            let batch = RecordBatch { transactional, ..batch(epoch, base, 1) };
            let got = match open(4).validate(&batch, AppendOrigin::Client, &verification) {
                Validation::New => Ok(None),
                Validation::Duplicate(known) => Ok(Some(known.first_offset.0)),
                Validation::Refused(error) => Err(error),
            };
            assert_eq!(got, expected, "epoch {epoch}, sequence {base}, {transactional}");
        }
        // Coordinators have no sequences.
        let batch = RecordBatch { transactional: true, ..batch(4, 9, 1) };
        assert_eq!(open(4).validate(&batch, AppendOrigin::Coordinator, &free), Validation::New);
    }

    #[test]
    fn a_marker_clears_the_batches_of_an_older_epoch_only() {
        let mut states = open(4);
        states.update(&marker(4, 8, 2));
        let next = |states: &ProducerStates, epoch, base| {
            states.validate(&batch(epoch, base, 1), AppendOrigin::Client, &Verification::default())
        };
        assert_eq!(next(&states, 4, 1), Validation::New, "the epoch goes on");
        states.update(&marker(5, 8, 3));
        assert_eq!(next(&states, 5, 0), Validation::New);
        assert!(matches!(next(&states, 5, 1), Validation::Refused(_)));
        assert!(matches!(next(&states, 4, 1), Validation::Refused(_)));
    }

    #[test]
    fn a_producer_with_an_open_transaction_is_not_forgotten() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let mut states = open(4);
        states.expire(Instant::ZERO + hour * 3, Instant::ZERO, minute, hour);
        assert!(!states.is_empty());
        states.update(&marker(4, 7, 2));
        states.expire(Instant::ZERO + hour * 3, Instant::ZERO, minute, hour);
        assert!(states.is_empty());
    }
}
