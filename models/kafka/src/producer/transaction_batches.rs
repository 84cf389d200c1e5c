//! What a transaction means for the batches of its producer.
//!
//! Mirrors the part of `TransactionManager` that `RecordAccumulator` and `Sender` ask:
//! `maybeAddPartition`, `isSendToPartitionAllowed`, `maybeTransitionToErrorState`,
//! `abortUndrainedBatches` (KIP-98, KIP-360, KIP-890, KAFKA-19176).

use oncesim_types::{ErrorCode, Offset};

use super::errors::{is_fatal_for_producer, of_failed_batch};
use super::transaction::{Membership, State};
use super::{Producer, never_left};
use crate::machine::Effects;
use crate::message::ProduceTransaction;
use crate::mutation::Mutation;
use crate::note::Note;

impl Producer {
    /// A batch of a transaction failed for good, or a `send()` before it had one
    /// (`maybeTransitionToErrorState`).
    pub(super) fn transaction_failed(&mut self, error: ErrorCode, effects: &mut Effects) {
        if is_fatal_for_producer(error) {
            return self.fatal_error(error, effects);
        }
        if error.is_retriable() && self.mutations.has(Mutation::ClientSurfaceRetriable) {
            return effects.note(Note::MutationHit);
        }
        if !self.transaction.is_completing() {
            self.require_bump();
        }
        self.abortable_error(of_failed_batch(error), effects);
    }

    /// Nobody knows whether the last batches of a partition were appended.
    pub(super) fn transaction_has_gap(&mut self, effects: &mut Effects) {
        if self.mutations.has(Mutation::ClientSurfaceRetriable) {
            return effects.note(Note::MutationHit);
        }
        self.require_bump();
        self.abortable_error(ErrorCode::TransactionAbortable, effects);
    }

    /// Why `send()` throws instead of taking a record, if it does.
    pub(super) fn refuses_send(&self) -> Option<ErrorCode> {
        if !self.is_transactional() {
            return None;
        }
        if let Some(failure) = self.transaction.error() {
            return Some(failure.error);
        }
        let open = self.transaction.state == State::InTransaction;
        (!open || self.transaction.pending.is_some()).then_some(ErrorCode::InvalidRequest)
    }

    /// A record joined a batch of `slot` (`maybeAddPartition`).
    pub(super) fn partition_sent_to(&mut self, slot: usize) {
        if !self.is_transactional() {
            return;
        }
        let v2 = self.is_v2();
        let member = self.transaction.member(slot);
        if v2 {
            *member = Membership::Added;
            self.transaction.started = true;
        } else if *member == Membership::Out {
            *member = Membership::New;
            self.transaction.any_new = true;
        }
    }

    /// Whether batches of `slot` may be sent (`isSendToPartitionAllowed`).
    pub(super) fn may_send_to(&self, slot: usize) -> bool {
        !self.is_transactional()
            || self.transaction.membership.get(slot) == Some(&Membership::Added)
    }

    /// Whether batches that linger go at once: the transaction, or the producer, ends.
    pub(super) fn transaction_hurries(&self) -> bool {
        self.transaction.is_completing() || self.transaction.closing.is_some()
    }

    /// What produce requests say about the transaction.
    pub(super) fn produce_transaction(&self) -> Option<Box<ProduceTransaction>> {
        self.config.transactional_id.map(|transactional_id| {
            Box::new(ProduceTransaction {
                transactional_id,
                version: self.config.transaction_version,
                number: self.transaction.number,
            })
        })
    }

    /// `abortUndrainedBatches`: what has never been sent is not sent any more.
    pub(super) fn abort_undrained_batches(&mut self, effects: &mut Effects) {
        let error = match self.transaction.last_error {
            ErrorCode::None => ErrorCode::TransactionAbortable,
            error => error,
        };
        if self.accumulator.is_empty() && self.waiting.is_empty() {
            return;
        }
        let everything = self.mutations.has(Mutation::ClientCompleteAfterAbort);
        self.give_up_batches(error, everything, effects);
    }

    /// Fails the batches that have never been sent, or all of them.
    pub(super) fn give_up_batches(
        &mut self,
        error: ErrorCode,
        everything: bool,
        effects: &mut Effects,
    ) {
        let fatal = self.transaction.state == State::FatalError;
        for id in self.accumulator.incomplete() {
            let Some(batch) = self.accumulator.batch(id) else { continue };
            let sent = batch.is_closed();
            if sent && !everything {
                continue;
            }
            let in_flight = self.accumulator.partitions[batch.slot].in_flight.contains(&id);
            let mut maybe_appended = batch.maybe_appended || in_flight;
            if sent && !fatal {
                // KAFKA-5429 planted: what is in flight counts as aborted, and as never appended.
                effects.note(Note::MutationHit);
                maybe_appended = false;
            }
            self.complete(id, error, Offset::UNKNOWN, maybe_appended, effects);
        }
        for send in std::mem::take(&mut self.waiting) {
            never_left(send.call, error, effects);
            self.flushes.end(send.flush, 1, effects);
        }
    }
}
