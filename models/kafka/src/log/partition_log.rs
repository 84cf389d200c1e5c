//! A replica's log: batches in memory, of which a prefix is on the platter.
//!
//! Mirrors `UnifiedLog` and `LogLoader`: append as leader and as follower, truncation, recovery.
//!
//! Simplifications:
//! - No segments or indexes: a log is searched by bisection. No retention and no compaction, so the
//!   log start offset only moves when a follower starts over.
//! - Producer snapshots are taken at a clean shutdown only: Kafka also takes one when it rolls a
//!   segment, which needs a gigabyte of records.

use std::rc::Rc;

use oncesim_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

use crate::log::batch::{LogBatch, RecordBatch, Records};
use crate::log::{
    LeaderEpochCache, ProducerStates, TransactionIndex, VerificationGuard, VerificationStates,
};
use crate::message::AbortedTransaction;

/// What a batch costs besides its records (the header of magic 2).
const BATCH_OVERHEAD_BYTES: u64 = 61;
/// What one record of a coordinator costs, about.
const COORDINATOR_RECORD_BYTES: u64 = 100;

/// A producer snapshot file.
#[derive(Debug, Clone)]
pub struct ProducerSnapshot {
    /// It covers everything below.
    pub offset: Offset,
    /// The state.
    pub producers: ProducerStates,
}

/// The end of a batch.
#[derive(Debug, Clone, Copy)]
struct End {
    /// The offset after its last record.
    next: Offset,
    /// Bytes up to and including it.
    bytes: u64,
}

/// One replica's log.
#[derive(Debug, Clone, Default)]
pub struct PartitionLog {
    batches: Vec<LogBatch>,
    /// Where the batch of the same index ends. Beside the batches, so that a search touches no
    /// batch.
    ends: Vec<End>,
    log_start: Offset,
    log_end: Offset,
    /// Everything below is on the platter.
    durable: Offset,
    epochs: LeaderEpochCache,
    producers: ProducerStates,
    verifications: VerificationStates,
    aborted: TransactionIndex,
    snapshots: Vec<ProducerSnapshot>,
}

/// Batches read from a log.
#[derive(Debug, Default)]
pub struct Read {
    /// The batches.
    pub batches: Vec<LogBatch>,
    /// Their size.
    pub bytes: u64,
}

impl PartitionLog {
    /// All batches, in order.
    #[must_use]
    pub fn batches(&self) -> &[LogBatch] {
        &self.batches
    }

    /// The first offset.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The next offset.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Everything below is on the platter.
    #[must_use]
    pub fn durable(&self) -> Offset {
        self.durable
    }

    /// The epochs.
    #[must_use]
    pub fn epochs(&self) -> &LeaderEpochCache {
        &self.epochs
    }

    /// The producers.
    #[must_use]
    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// The producers, to expire or to lose them.
    pub fn producers_mut(&mut self) -> &mut ProducerStates {
        &mut self.producers
    }

    /// The verifications under way.
    #[must_use]
    pub fn verifications(&self) -> &VerificationStates {
        &self.verifications
    }

    /// The aborted transactions.
    #[must_use]
    pub fn transaction_index(&self) -> &TransactionIndex {
        &self.aborted
    }

    /// The aborted transactions that a reader of `from..to` must know
    /// (`collectAbortedTransactions`).
    #[must_use]
    pub fn aborted_transactions(&self, from: Offset, to: Offset) -> Vec<AbortedTransaction> {
        self.aborted.overlapping(from, to)
    }

    /// Begins to verify a transaction of which nothing is in the log; `None` if something is
    /// (`maybeStartTransactionVerification`).
    pub fn begin_verification(
        &mut self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        sequence: Sequence,
        supports_epoch_bump: bool,
    ) -> Option<VerificationGuard> {
        if self.producers.has_ongoing_transaction(producer_id, epoch) {
            return None;
        }
        Some(self.verifications.begin(producer_id, epoch, sequence, supports_epoch_bump))
    }

    /// The high watermark is `to` now.
    pub fn high_watermark_moved(&mut self, to: Offset) {
        self.producers.high_watermark_moved(to);
    }

    /// Up to where readers of committed data may read, with this high watermark: before the first
    /// record of a transaction that is open or whose marker is not committed.
    #[must_use]
    pub fn last_stable_offset(&self, high_watermark: Offset) -> Offset {
        match self.producers.first_unstable_offset() {
            Some(first_unstable) => first_unstable.min(high_watermark),
            None => high_watermark,
        }
    }

    /// A new leader's epoch begins at the log end, even if nothing is ever written in it.
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs.assign(epoch, self.log_end);
    }

    /// Appends a batch as the leader of `epoch`: it gets the next offset.
    pub fn append_as_leader(&mut self, epoch: LeaderEpoch, batch: Rc<RecordBatch>) -> LogBatch {
        let batch = LogBatch { base_offset: self.log_end, leader_epoch: epoch, batch };
        self.push(batch.clone());
        batch
    }

    /// Appends a batch as the leader gave it. False, and nothing happens, if it would overwrite
    /// what is there or is empty.
    pub fn append_as_follower(&mut self, batch: &LogBatch) -> bool {
        if batch.base_offset < self.log_end || batch.batch.is_empty() {
            return false;
        }
        self.push(batch.clone());
        true
    }

    fn push(&mut self, batch: LogBatch) {
        let size = size_of(&batch.batch);
        let bytes = self.ends.last().map_or(0, |end| end.bytes) + size;
        self.ends.push(End { next: batch.next_offset(), bytes });
        self.epochs.assign(batch.leader_epoch, batch.base_offset);
        if let Some(completed) = self.producers.update(&batch) {
            self.aborted.add(completed);
        }
        self.verifications.appended(&batch.batch);
        self.log_end = batch.next_offset();
        self.batches.push(batch);
    }

    /// Everything below `to` is on the platter now.
    pub fn flushed(&mut self, to: Offset) {
        self.durable = self.durable.max(to.min(self.log_end));
    }

    /// Reads whole batches from the one that contains `from`, up to `bound` (exclusive; a batch
    /// that reaches beyond is left out) and `max_bytes` (but at least one batch if `at_least_one`).
    #[must_use]
    pub fn read(&self, from: Offset, bound: Offset, max_bytes: u64, at_least_one: bool) -> Read {
        let bound = bound.min(self.log_end);
        if from >= bound {
            return Read::default();
        }
        let first = self.index_at_or_after(from);
        // Readers are mostly near the end.
        let mut end = self.batches.len();
        if bound < self.log_end {
            end = first + self.ends[first..].partition_point(|end| end.next <= bound);
        }
        if end == first {
            return Read::default();
        }
        let before = first.checked_sub(1).map_or(0, |i| self.ends[i].bytes);
        if self.ends[end - 1].bytes - before > max_bytes {
            let fits = self.ends[first..end].partition_point(|e| e.bytes - before <= max_bytes);
            end = first + if at_least_one { fits.max(1) } else { fits };
        }
        if end == first {
            return Read::default();
        }
        Read {
            batches: self.batches[first..end].to_vec(),
            bytes: self.ends[end - 1].bytes - before,
        }
    }

    /// Index of the batch that contains `offset`, or of the first one after it.
    fn index_at_or_after(&self, offset: Offset) -> usize {
        // Readers are mostly near the end: steps that double, back from there, then bisection.
        let (mut low, mut high) = (self.ends.len(), self.ends.len());
        let mut step = 1;
        while low > 0 && self.ends[low - 1].next > offset {
            high = low - 1;
            low = high.saturating_sub(step);
            step *= 2;
        }
        low + self.ends[low..high].partition_point(|end| end.next <= offset)
    }

    /// The largest batch boundary up to `offset`.
    #[must_use]
    pub fn boundary(&self, offset: Offset) -> Offset {
        if offset >= self.log_end {
            return self.log_end;
        }
        match self.batches.get(self.index_at_or_after(offset)) {
            Some(batch) => batch.base_offset.min(offset),
            None => self.log_end,
        }
    }

    /// Removes every batch that reaches beyond `to`. False if there was none.
    pub fn truncate(&mut self, to: Offset) -> bool {
        if to >= self.log_end {
            // This replica may have led in an epoch in which nothing was written.
            self.epochs.truncate(self.log_end);
            return false;
        }
        let keep = self.index_at_or_after(to);
        self.batches.truncate(keep);
        self.ends.truncate(keep);
        self.log_end =
            self.batches.last().map_or(self.log_start, LogBatch::next_offset).max(self.log_start);
        self.durable = self.durable.min(self.log_end);
        self.epochs.truncate(self.log_end);
        self.aborted.truncate(self.log_end);
        self.rebuild_producers();
        true
    }

    /// Throws everything away and starts over at `start`.
    pub fn start_over(&mut self, start: Offset) {
        let verifications = std::mem::take(&mut self.verifications);
        *self = PartitionLog {
            log_start: start,
            log_end: start,
            durable: start,
            verifications,
            ..PartitionLog::default()
        };
    }

    /// The producers as a restart finds them: the newest snapshot, and what the log says after it.
    pub fn rebuild_producers(&mut self) {
        let log_end = self.log_end;
        self.snapshots.retain(|snapshot| snapshot.offset <= log_end);
        let (from, producers) = match self.snapshots.last() {
            Some(snapshot) => (snapshot.offset, snapshot.producers.clone()),
            None => (self.log_start, ProducerStates::default()),
        };
        self.producers = producers;
        for batch in &self.batches[self.index_at_or_after(from)..] {
            self.producers.update(batch);
        }
    }

    /// A new process begins with the log: only what was in memory is gone.
    pub fn restart(&mut self) {
        self.verifications.clear();
        self.rebuild_producers();
    }

    /// A clean shutdown: everything is flushed, and a producer snapshot is taken.
    pub fn close(&mut self) {
        self.durable = self.log_end;
        self.snapshots
            .push(ProducerSnapshot { offset: self.log_end, producers: self.producers.snapshot() });
        if self.snapshots.len() > 2 {
            self.snapshots.remove(0);
        }
    }

    /// How many records follow `offset`.
    #[must_use]
    pub fn records_after(&self, offset: Offset) -> i64 {
        (self.log_end - offset).max(0)
    }
}

fn size_of(batch: &RecordBatch) -> u64 {
    BATCH_OVERHEAD_BYTES
        + match &batch.records {
            Records::Data(records) => records.iter().map(|record| u64::from(record.size)).sum(),
            Records::Coordinator(records) => records.len() as u64 * COORDINATOR_RECORD_BYTES,
            Records::Control(_) => 0,
        }
}
