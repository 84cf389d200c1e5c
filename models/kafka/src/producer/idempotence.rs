//! The idempotent session: producer id, epoch and sequences.
//!
//! Mirrors `TransactionManager` and `TxnPartitionMap` (KIP-98, KIP-360, KAFKA-5494); what is about
//! transactions is in `transaction.rs`.
//!
//! Simplifications:
//! - Any error of `InitProducerId` is retried after a backoff: no broker refuses it for good.
//! - `UNKNOWN_PRODUCER_ID` is an ordinary refusal that bumps the epoch: brokers since 2.5 don't
//!   send it.

use oncesim_types::{ErrorCode, Instant, ProducerEpoch, ProducerId, Sequence};

use super::accumulator::{BatchId, Contents};
use super::{Producer, Purpose};
use crate::log::batch::RecordBatch;
use crate::machine::Effects;
use crate::message::{InitProducerIdRequest, InitProducerIdResponse, Request};
use crate::note::Note;

/// A producer's session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) producer_id: ProducerId,
    pub(super) producer_epoch: ProducerEpoch,
    /// Whether an `InitProducerId` is not answered.
    asked: bool,
    /// No `InitProducerId` before this moment.
    not_before: Instant,
    failures: u32,
    /// Partitions whose sequences restart with the next epoch.
    pub(super) rewrite: Vec<usize>,
    /// Partitions with [`super::accumulator::Partition::unresolved`].
    pub(super) unresolved: Vec<usize>,
}

impl Session {
    pub(super) fn new() -> Self {
        Session {
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            asked: false,
            not_before: Instant::ZERO,
            failures: 0,
            rewrite: Vec::new(),
            unresolved: Vec::new(),
        }
    }

    pub(super) fn has_producer_id(&self) -> bool {
        self.producer_id != ProducerId::NONE
    }

    pub(super) fn current(&self) -> (ProducerId, ProducerEpoch) {
        (self.producer_id, self.producer_epoch)
    }
}

/// Whether `a` is at or after `b`, in a circle of 2^31.
fn at_or_after(a: Sequence, b: Sequence) -> bool {
    (i64::from(a.0) - i64::from(b.0)).rem_euclid(1 << 31) < (1 << 30)
}

/// The sequence `n` records earlier, in the same circle.
fn earlier(sequence: Sequence, n: i32) -> Sequence {
    let circle = 1_i64 << 31;
    let moved = (i64::from(sequence.0) - i64::from(n)).rem_euclid(circle);
    Sequence(i32::try_from(moved).expect("below 2^31"))
}

impl Producer {
    /// What the session needs done before batches are drained
    /// (`maybeResolveSequences`, `bumpIdempotentEpochAndResetIdIfNeeded`).
    pub(super) fn run_session(&mut self, now: Instant, effects: &mut Effects) {
        if !self.config.idempotence {
            return;
        }
        if !self.session.unresolved.is_empty() {
            self.resolve_sequences(effects);
        }
        if self.is_transactional() {
            return;
        }
        if !self.session.rewrite.is_empty() && self.session.has_producer_id() {
            self.bump_epoch(effects);
        }
        if !self.session.has_producer_id() && !self.session.asked {
            self.request_producer_id(now, effects);
        }
    }

    fn request_producer_id(&mut self, now: Instant, effects: &mut Effects) {
        if self.session.not_before > now {
            self.drain.ensure(now, self.session.not_before, effects);
            return;
        }
        let Some(broker) = self.connections.any_broker(now) else {
            self.drain.ensure(now, self.connections.any_ready_at(), effects);
            return;
        };
        self.session.asked = true;
        let body = Request::InitProducerId(InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout: oncesim_types::Duration::ZERO,
            current: None,
        });
        let deadline = self.connections.send(now, broker, body, Purpose::InitProducerId, effects);
        self.timeout.ensure(now, deadline, effects);
    }

    /// An `InitProducerId` failed: try again after a backoff.
    pub(super) fn producer_id_refused(&mut self, now: Instant) {
        self.session.asked = false;
        self.session.not_before = now + self.backoff.after(self.session.failures);
        self.session.failures = self.session.failures.saturating_add(1);
    }

    pub(super) fn on_init_producer_id(
        &mut self,
        now: Instant,
        response: InitProducerIdResponse,
        effects: &mut Effects,
    ) {
        if response.error != ErrorCode::None {
            self.producer_id_refused(now);
            return;
        }
        self.session.asked = false;
        self.session.failures = 0;
        self.session.producer_id = response.producer_id;
        self.session.producer_epoch = response.producer_epoch;
        self.note_session(effects);
        for slot in std::mem::take(&mut self.session.rewrite) {
            self.start_sequences_at_beginning(slot);
        }
        self.all_dirty();
    }

    /// A coordinator gave a transactional producer its session, or the one of its next transaction:
    /// every partition's sequences start at 0.
    pub(super) fn adopt_session(
        &mut self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        effects: &mut Effects,
    ) {
        self.session.producer_id = producer_id;
        self.session.producer_epoch = producer_epoch;
        self.note_session(effects);
        self.forget_sequences();
    }

    /// `resetSequenceNumbers`.
    pub(super) fn forget_sequences(&mut self) {
        self.session.unresolved.clear();
        for partition in &mut self.accumulator.partitions {
            partition.next_sequence = Sequence::ZERO;
            partition.last_acked = Sequence::NONE;
            partition.unresolved = None;
        }
    }

    /// A batch of a transaction failed for good: later ones of its partition close the gap
    /// (`adjustSequencesDueToFailedBatch`).
    pub(super) fn close_sequence_gap(&mut self, slot: usize, failed: &RecordBatch) {
        let count = i32::try_from(failed.len()).expect("a batch is small");
        let partition = &mut self.accumulator.partitions[slot];
        if partition.session != (failed.producer_id, failed.producer_epoch) {
            return;
        }
        partition.next_sequence = earlier(partition.next_sequence, count);
        for id in self.accumulator.sequenced(slot) {
            let batch = self.accumulator.batch_mut(id).expect("sequenced batches are incomplete");
            if let Contents::Closed(sent) = &mut batch.contents
                && sent.base_sequence != failed.base_sequence
                && at_or_after(sent.base_sequence, failed.base_sequence)
            {
                let mut moved = (**sent).clone();
                moved.base_sequence = earlier(moved.base_sequence, count);
                *sent = std::rc::Rc::new(moved);
                batch.sequence_reset = true;
            }
        }
    }

    fn note_session(&self, effects: &mut Effects) {
        let (producer_id, producer_epoch) = self.session.current();
        effects.note(Note::ProducerSession { producer_id, producer_epoch });
    }

    /// Whether a batch at the head of its queue must wait although its time has come
    /// (`shouldStopDrainBatchesForPartition`).
    pub(super) fn must_wait_for_sequence(&self, slot: usize, id: BatchId) -> bool {
        let partition = &self.accumulator.partitions[slot];
        let batch = self.accumulator.batch(id).expect("a queued batch is incomplete");
        if batch.is_closed() {
            // A retry goes only when everything before it is complete, so that in the worst case
            // one request is in flight.
            return partition.in_flight.iter().any(|&other| other < id);
        }
        let stale = partition.session != self.session.current();
        partition.unresolved.is_some() || (stale && self.accumulator.has_sequenced(slot))
    }

    /// Takes sequences for `count` records of `slot`: producer id, epoch and first sequence.
    pub(super) fn take_sequences(
        &mut self,
        slot: usize,
        count: usize,
    ) -> (ProducerId, ProducerEpoch, Sequence) {
        let (producer_id, producer_epoch) = self.session.current();
        if !self.config.idempotence {
            return (ProducerId::NONE, ProducerEpoch::NONE, Sequence::NONE);
        }
        let partition = &mut self.accumulator.partitions[slot];
        if partition.session != (producer_id, producer_epoch) {
            partition.session = (producer_id, producer_epoch);
            partition.next_sequence = Sequence::ZERO;
            partition.last_acked = Sequence::NONE;
        }
        let first = partition.next_sequence;
        partition.next_sequence = first.plus(i32::try_from(count).expect("a batch is small"));
        (producer_id, producer_epoch, first)
    }

    /// A batch was acknowledged (`handleCompletedBatch`).
    pub(super) fn sequence_acked(&mut self, slot: usize, last: Sequence) {
        if last == Sequence::NONE {
            return;
        }
        let partition = &mut self.accumulator.partitions[slot];
        if partition.last_acked == Sequence::NONE || at_or_after(last, partition.last_acked) {
            partition.last_acked = last;
        }
    }

    /// Whether an idempotent producer sends a batch again after `error`; asks for an epoch bump if
    /// there is a gap before it (`TransactionManager.canRetry`).
    pub(super) fn can_retry_sequence(&mut self, id: BatchId, error: ErrorCode) -> bool {
        if error != ErrorCode::OutOfOrderSequenceNumber {
            return error.is_retriable();
        }
        let batch = self.accumulator.batch(id).expect("the caller has looked");
        let slot = batch.slot;
        let base = batch.sent().map_or(Sequence::NONE, |sent| sent.base_sequence);
        let partition = &self.accumulator.partitions[slot];
        if self.is_transactional() {
            // With a gap before it, the batch fails, and its transaction with it.
            let no_gap_yet = batch.sequence_reset || !partition.is_next(base);
            return no_gap_yet && partition.unresolved.is_none();
        }
        match partition.unresolved {
            // An earlier batch is under way, or this one has a new sequence: no gap yet.
            None if batch.sequence_reset || !partition.is_next(base) => {}
            None => self.request_bump(slot),
            Some(after) if after == base => self.request_bump(slot),
            Some(_) => {}
        }
        true
    }

    /// A batch failed for good: its sequences will never arrive, unless retries ran out, when
    /// nobody knows (`handleFailedBatch`).
    pub(super) fn sequence_failed(&mut self, slot: usize, error: ErrorCode, adjust: bool) {
        if adjust || error == ErrorCode::OutOfOrderSequenceNumber {
            self.request_bump(slot);
        }
    }

    /// A batch expired after it was retried: nothing new is drained until it is clear whether its
    /// sequences were taken (`markSequenceUnresolved`).
    pub(super) fn sequence_unresolved(&mut self, slot: usize, last: Sequence) {
        let partition = &mut self.accumulator.partitions[slot];
        let after = last.plus(1);
        match partition.unresolved {
            None => self.session.unresolved.push(slot),
            Some(known) if at_or_after(known, after) => return,
            Some(_) => {}
        }
        partition.unresolved = Some(after);
    }

    fn resolve_sequences(&mut self, effects: &mut Effects) {
        for slot in std::mem::take(&mut self.session.unresolved) {
            if self.accumulator.has_sequenced(slot) {
                self.session.unresolved.push(slot);
                continue;
            }
            let partition = &mut self.accumulator.partitions[slot];
            partition.unresolved = None;
            if partition.is_next(partition.next_sequence) {
                // A later batch was acknowledged, so this one was appended.
            } else if self.is_transactional() {
                self.transaction_has_gap(effects);
            } else {
                self.request_bump(slot);
            }
            self.mark_dirty(slot);
        }
    }

    fn request_bump(&mut self, slot: usize) {
        if !self.session.rewrite.contains(&slot) {
            self.session.rewrite.push(slot);
        }
    }

    /// KIP-360: the client raises its epoch itself, and only asks for a new producer id when epochs
    /// have run out.
    fn bump_epoch(&mut self, effects: &mut Effects) {
        if self.session.producer_epoch.0 == i16::MAX {
            self.session.producer_id = ProducerId::NONE;
            self.session.producer_epoch = ProducerEpoch::NONE;
            return;
        }
        self.session.producer_epoch = self.session.producer_epoch.next();
        self.note_session(effects);
        for slot in std::mem::take(&mut self.session.rewrite) {
            self.start_sequences_at_beginning(slot);
        }
    }

    /// Gives every drained, incomplete batch of `slot` a sequence in the new epoch, from 0 on. If an
    /// earlier attempt was appended, brokers can't tell any more: a duplicate is possible.
    fn start_sequences_at_beginning(&mut self, slot: usize) {
        let (producer_id, producer_epoch) = self.session.current();
        let mut next = Sequence::ZERO;
        for id in self.accumulator.sequenced(slot) {
            let batch = self.accumulator.batch_mut(id).expect("sequenced batches are incomplete");
            if let Contents::Closed(sent) = &mut batch.contents {
                let mut rewritten = (**sent).clone();
                rewritten.producer_id = producer_id;
                rewritten.producer_epoch = producer_epoch;
                rewritten.base_sequence = next;
                next = rewritten.last_sequence().plus(1);
                *sent = std::rc::Rc::new(rewritten);
                batch.sequence_reset = true;
            }
        }
        let partition = &mut self.accumulator.partitions[slot];
        partition.session = (producer_id, producer_epoch);
        partition.next_sequence = next;
        partition.last_acked = Sequence::NONE;
        self.mark_dirty(slot);
    }
}
