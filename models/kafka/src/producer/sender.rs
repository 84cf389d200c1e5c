//! Sending batches, and what becomes of them.
//!
//! Mirrors `Sender` and the draining half of `RecordAccumulator`: one request per broker at a time,
//! with one batch of each partition; retries with backoff; expiry after `delivery.timeout.ms`.
//!
//! Simplifications:
//! - With `acks=0` a batch is complete as soon as its request is given to the connection, even if
//!   that cannot be opened (Kafka drains only to connections that are open): such a batch is lost
//!   in silence, as it is when the connection breaks a moment later.
//! - `MESSAGE_TOO_LARGE` fails the batch instead of splitting it: no broker limits a batch's size.

use std::rc::Rc;

use oncesim_types::{ActorId, ErrorCode, Instant, Offset};

use super::accumulator::{BatchId, Contents};
use super::{Producer, ProducerCompletion, Purpose, SendResult};
use crate::log::batch::{RecordBatch, Records};
use crate::machine::{Completion, Effect, Effects};
use crate::message::{Acks, ProducePartitionResponse, ProduceRequest, Request};
use crate::mutation::Mutation;
use crate::note::Note;

/// Whether a broker that answers `error` has certainly not appended the batch in that attempt
/// (an earlier attempt is another matter).
fn refused_before_append(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::CorruptMessage
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::MessageTooLarge
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::InvalidRequiredAcks
            | ErrorCode::TopicAuthorizationFailed
            | ErrorCode::ClusterAuthorizationFailed
            | ErrorCode::UnsupportedVersion
            | ErrorCode::InvalidRequest
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::InvalidTxnState
            | ErrorCode::InvalidProducerIdMapping
            | ErrorCode::UnknownProducerId
            | ErrorCode::ProducerFenced
            | ErrorCode::TransactionAbortable
            | ErrorCode::ThrottlingQuotaExceeded
            | ErrorCode::UnknownTopicId
    )
}

impl Producer {
    /// Sends what is ready to `broker`, as many requests as may be in flight.
    pub(super) fn drain_broker(&mut self, now: Instant, broker: ActorId, effects: &mut Effects) {
        let limit = usize::try_from(self.config.max_in_flight).unwrap_or(usize::MAX);
        loop {
            if self.connections.in_flight_to(broker) >= limit {
                return;
            }
            if self.config.idempotence && !self.session.has_producer_id() {
                return;
            }
            let connected = self.connections.ready_at(broker);
            let mut slots = self.accumulator.take_pending(broker);
            let ready = slots.iter().map(|&slot| self.slot_ready_at(now, slot)).min();
            let ready = ready.unwrap_or(Instant::NEVER).max(connected);
            if ready > now {
                self.accumulator.return_pending(broker, slots);
                if ready < Instant::NEVER {
                    self.drain.ensure(now, ready, effects);
                }
                return;
            }
            let drained = self.drain_slots(now, &mut slots, effects);
            self.accumulator.return_pending(broker, slots);
            if drained.is_empty() {
                return;
            }
            self.send_produce(now, broker, drained, effects);
        }
    }

    /// When a batch of `slot` may go; [`Instant::NEVER`] while something else must happen first.
    fn slot_ready_at(&self, now: Instant, slot: usize) -> Instant {
        let Some(id) = self.head(now, slot) else { return Instant::NEVER };
        let batch = self.accumulator.batch(id).expect("a queued batch is incomplete");
        let hurry = batch.flush < self.flushes.current()
            || !self.waiting.is_empty()
            || self.transaction_hurries();
        if !batch.is_closed() && (hurry || self.accumulator.is_full(slot, batch)) {
            return Instant::ZERO;
        }
        batch.ready_at
    }

    /// The batch of `slot` that goes next, if the order of sequences allows one.
    fn head(&self, now: Instant, slot: usize) -> Option<BatchId> {
        let partition = &self.accumulator.partitions[slot];
        let head = *partition.queue.front()?;
        if self.drains_past_retry() {
            let mut others = partition.queue.iter().copied();
            return others.find(|&id| self.is_drainable(now, id)).or(Some(head));
        }
        // `guaranteeMessageOrder`: with one request in flight per connection, a partition has one
        // batch in flight, even while it moves from one broker to another.
        let muted = self.config.max_in_flight == 1 && !partition.in_flight.is_empty();
        let waits = self.config.idempotence && self.must_wait_for_sequence(slot, head);
        (!muted && !waits && self.may_send_to(slot)).then_some(head)
    }

    /// KAFKA-3197 planted: partitions are not muted, and whatever is not backing off goes.
    fn drains_past_retry(&self) -> bool {
        self.mutations.has(Mutation::ClientDrainPastRetry) && !self.config.idempotence
    }

    fn is_drainable(&self, now: Instant, id: BatchId) -> bool {
        let batch = self.accumulator.batch(id).expect("a queued batch is incomplete");
        !batch.is_closed() || batch.ready_at <= now
    }

    /// Takes one batch of each partition, ready or not, as long as the request has room.
    fn drain_slots(
        &mut self,
        now: Instant,
        slots: &mut [usize],
        effects: &mut Effects,
    ) -> Vec<BatchId> {
        let mut drained = Vec::with_capacity(slots.len());
        let mut size = 0_u32;
        for index in 0..slots.len() {
            let slot = slots[index];
            let Some(id) = self.head(now, slot).filter(|&id| self.is_drainable(now, id)) else {
                continue;
            };
            let bytes = self.accumulator.batch(id).map_or(0, |batch| batch.bytes);
            size = size.saturating_add(bytes);
            if size > self.config.max_request_size && !drained.is_empty() {
                // The rest goes first the next time.
                slots.rotate_left(index);
                break;
            }
            let partition = &mut self.accumulator.partitions[slot];
            let overtakes = partition.queue.front() != Some(&id);
            let unmuted = self.config.max_in_flight == 1 && !partition.in_flight.is_empty();
            if overtakes || unmuted {
                effects.note(Note::MutationHit);
            }
            partition.queue.retain(|&other| other != id);
            partition.in_flight.push(id);
            drained.push(id);
        }
        drained
    }

    fn send_produce(
        &mut self,
        now: Instant,
        broker: ActorId,
        drained: Vec<BatchId>,
        effects: &mut Effects,
    ) {
        let mut batches = Vec::with_capacity(drained.len());
        for &id in &drained {
            let sent = self.close(id);
            let batch = self.accumulator.batch(id).expect("a drained batch is incomplete");
            let partition = self.accumulator.partitions[batch.slot].partition;
            if batch.retries > 0 {
                let (attempt, error) = (batch.retries.saturating_add(1), batch.error);
                effects.note(Note::Retry { partition, attempt, error });
            }
            batches.push((partition, sent));
        }
        let body = Request::Produce(ProduceRequest {
            acks: self.config.acks,
            timeout: self.config.request_timeout,
            transaction: self.produce_transaction(),
            batches,
        });
        if self.config.acks == Acks::None {
            self.connections.send_unanswered(broker, body, effects);
            for id in drained {
                self.succeed(id, Offset::UNKNOWN, effects);
            }
            return;
        }
        self.produce_requests += 1;
        let purpose = Purpose::Produce(drained);
        let deadline = self.connections.send(now, broker, body, purpose, effects);
        self.timeout.ensure(now, deadline, effects);
    }

    /// The immutable batch of `id`: the same for each attempt.
    fn close(&mut self, id: BatchId) -> Rc<RecordBatch> {
        let batch = self.accumulator.batch_mut(id).expect("a drained batch is incomplete");
        let slot = batch.slot;
        let records = match &mut batch.contents {
            Contents::Closed(sent) => return Rc::clone(sent),
            Contents::Open(records) => std::mem::take(records),
        };
        let (producer_id, producer_epoch, base_sequence) = self.take_sequences(slot, records.len());
        let sent = Rc::new(RecordBatch {
            producer_id,
            producer_epoch,
            base_sequence,
            transactional: self.is_transactional(),
            records: Records::Data(records),
        });
        let batch = self.accumulator.batch_mut(id).expect("a drained batch is incomplete");
        batch.contents = Contents::Closed(Rc::clone(&sent));
        sent
    }

    /// The answer to a produce request.
    pub(super) fn on_produce(
        &mut self,
        now: Instant,
        ids: &[BatchId],
        answers: &[ProducePartitionResponse],
        effects: &mut Effects,
    ) {
        self.produce_requests -= 1;
        for (index, &id) in ids.iter().enumerate() {
            // Batches that expired meanwhile are gone.
            let Some(batch) = self.accumulator.batch(id) else { continue };
            let partition = self.accumulator.partitions[batch.slot].partition;
            let same_place = answers.get(index).filter(|answer| answer.partition == partition);
            let answer =
                same_place.or_else(|| answers.iter().find(|answer| answer.partition == partition));
            match answer {
                Some(answer) => self.on_answer(now, id, answer.error, answer.base_offset, effects),
                None => {
                    let error = ErrorCode::UnknownServerError;
                    self.on_answer(now, id, error, Offset::UNKNOWN, effects);
                }
            }
        }
    }

    /// The connection of a produce request broke, or the request timed out.
    pub(super) fn on_produce_lost(&mut self, now: Instant, ids: &[BatchId], effects: &mut Effects) {
        self.produce_requests -= 1;
        for &id in ids {
            if self.accumulator.batch(id).is_some() {
                let error = ErrorCode::NetworkException;
                self.on_answer(now, id, error, Offset::UNKNOWN, effects);
            }
        }
    }

    fn on_answer(
        &mut self,
        now: Instant,
        id: BatchId,
        error: ErrorCode,
        base_offset: Offset,
        effects: &mut Effects,
    ) {
        match error {
            ErrorCode::None => return self.succeed(id, base_offset, effects),
            // An earlier attempt was appended, too long ago for the broker to know its offset.
            ErrorCode::DuplicateSequenceNumber => {
                return self.succeed(id, Offset::UNKNOWN, effects);
            }
            _ => {}
        }
        let batch = self.accumulator.batch_mut(id).expect("the caller has looked");
        let slot = batch.slot;
        batch.error = error;
        batch.maybe_appended |= !refused_before_append(error);
        if error.invalidates_metadata() {
            self.metadata.request_update();
        }
        if self.can_retry(now, id, error) {
            let batch = self.accumulator.batch_mut(id).expect("the caller has looked");
            let wait = self.backoff.after(batch.retries);
            batch.retries += 1;
            batch.ready_at = now + wait;
            self.drain.ensure(now, batch.ready_at, effects);
            self.accumulator.reenqueue(id, self.config.idempotence);
        } else {
            let batch = self.accumulator.batch(id).expect("the caller has looked");
            let adjust = batch.retries < self.config.retries;
            let maybe_appended = batch.maybe_appended;
            let sent = batch.sent().filter(|_| adjust && self.is_transactional()).cloned();
            if self.config.idempotence && !self.is_transactional() {
                self.sequence_failed(slot, error, adjust);
            }
            self.complete(id, error, Offset::UNKNOWN, maybe_appended, effects);
            if self.is_transactional() {
                self.transaction_failed(error, effects);
            }
            if let Some(sent) = sent {
                self.close_sequence_gap(slot, &sent);
            }
        }
        self.mark_dirty(slot);
    }

    fn can_retry(&mut self, now: Instant, id: BatchId, error: ErrorCode) -> bool {
        let batch = self.accumulator.batch(id).expect("the caller has looked");
        let expired = batch.created + self.config.delivery_timeout <= now;
        if expired || batch.retries >= self.config.retries {
            return false;
        }
        if self.config.idempotence {
            self.can_retry_sequence(id, error)
        } else {
            error.is_retriable()
        }
    }

    fn succeed(&mut self, id: BatchId, base_offset: Offset, effects: &mut Effects) {
        let batch = self.accumulator.batch(id).expect("the caller has looked");
        let slot = batch.slot;
        if let Some(last) = batch.sent().map(|sent| sent.last_sequence()) {
            self.sequence_acked(slot, last);
        }
        self.complete(id, ErrorCode::None, base_offset, false, effects);
        self.mark_dirty(slot);
    }

    /// Completes the `send` calls of a batch.
    pub(super) fn complete(
        &mut self,
        id: BatchId,
        error: ErrorCode,
        base_offset: Offset,
        maybe_appended: bool,
        effects: &mut Effects,
    ) {
        let batch = self.accumulator.complete(id).expect("a batch completes once");
        let partition = Some(self.accumulator.partitions[batch.slot].partition);
        let mut offset = base_offset;
        for &call in &batch.calls {
            let result = SendResult { partition, error, offset, maybe_appended };
            let completion = Completion::Producer(ProducerCompletion::Sent(result));
            effects.0.push(Effect::Return(call, completion));
            if offset != Offset::UNKNOWN {
                offset = offset.next();
            }
        }
        self.flushes.end(batch.flush, batch.calls.len(), effects);
        self.memory_freed = true;
    }

    /// Gives up what is older than `delivery.timeout.ms`, in the order of creation.
    pub(super) fn expire_batches(&mut self, now: Instant, effects: &mut Effects) {
        while let Some((id, batch)) = self.accumulator.oldest() {
            if batch.created + self.config.delivery_timeout > now {
                break;
            }
            let slot = batch.slot;
            let in_flight = self.accumulator.partitions[slot].in_flight.contains(&id);
            let maybe_appended = batch.maybe_appended || in_flight;
            let retried = batch.sent().filter(|_| batch.retries > 0);
            let last = retried.map(|sent| sent.last_sequence());
            if let Some(last) = last.filter(|_| self.config.idempotence) {
                self.sequence_unresolved(slot, last);
            }
            let error = ErrorCode::RequestTimedOut;
            self.complete(id, error, Offset::UNKNOWN, maybe_appended, effects);
            self.mark_dirty(slot);
            if self.is_transactional() {
                self.transaction_failed(error, effects);
            }
        }
    }
}
