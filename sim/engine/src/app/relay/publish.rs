//! How a relay publishes: one round at a time, and with a `transactional.id` as a transaction.
//!
//! Mirrors `AbstractWorkerSourceTask.sendRecords`, and with transactions
//! `ExactlyOnceWorkerSourceTask` (KIP-618, `transaction.boundary=poll`): the records of a round and
//! its position are one transaction; after an abort the task goes on from the committed position.

use oncesim_kafka::log::batch::Record;
use oncesim_kafka::machine::Call;
use oncesim_kafka::producer::ProducerCall;
use oncesim_types::{CallId, Instant, RecordId, TopicId, TransactionNumber, TransactionResult};

use super::super::AppEffect;
use super::{Doing, RECORD_SIZE, RelayApp, Then};

impl RelayApp {
    pub(super) fn publish(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        if !self.is_transactional() {
            return self.send_round(now, out);
        }
        self.transactions += 1;
        let number = TransactionNumber(self.starts << 32 | self.transactions);
        let call = ProducerCall::BeginTransaction { number };
        self.await_producer(Doing::BeginningTransaction, call, out);
    }

    /// Gives the events of the round to `send()`, in order.
    pub(super) fn send_round(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        if let Some(mark) = self.marking().filter(|mark| mark.before_ack) {
            return self.mark_first(now, mark, 0, out);
        }
        for at in 0..self.round.events.len() {
            self.send_event(now, at, out);
        }
        self.all_sent(now, out);
    }

    pub(super) fn send_event(&mut self, now: Instant, at: usize, out: &mut Vec<AppEffect>) {
        let event = self.round.events[at];
        let record = Record {
            id: event.record,
            key: event.key,
            value: event.value,
            size: RECORD_SIZE,
            timestamp: now,
        };
        let call = self.send(self.spec.to, None, record, out);
        self.outstanding.insert(call);
    }

    pub(super) fn send(
        &mut self,
        topic: TopicId,
        partition: Option<u16>,
        record: Record,
        out: &mut Vec<AppEffect>,
    ) -> CallId {
        let attempts = self.attempts.entry(record.id).or_insert(0);
        *attempts += 1;
        let attempt = *attempts;
        let call = CallId(self.next_call().0 | u64::from(attempt.min(0xffff)));
        let body = Call::Producer(ProducerCall::Send { topic, partition, record });
        out.push(AppEffect::Call { call, attempt, body });
        call
    }

    /// Everything of the round is given to `send()`.
    pub(super) fn all_sent(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        if self.position_is_stored_with_events() {
            if let Some(position) = self.round.next {
                let call = self.send_position(now, position, out);
                self.outstanding.insert(call);
            }
        } else if self.spec.stores_before_ack {
            // The mistake: the position runs ahead of what is acknowledged.
            self.move_on(out);
            return self.store_first(now, out);
        }
        self.await_acks(now, out);
    }

    pub(super) fn await_acks(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        self.doing = Doing::Publishing;
        if !self.outstanding.is_empty() {
            return;
        }
        if !self.is_transactional() {
            self.published(now, out);
        } else if self.round.given_up {
            self.end_transaction(TransactionResult::Abort, out);
        } else {
            self.end_transaction(TransactionResult::Commit, out);
        }
    }

    pub(super) fn end_transaction(&mut self, result: TransactionResult, out: &mut Vec<AppEffect>) {
        self.await_producer(Doing::Ending(result), ProducerCall::EndTransaction(result), out);
    }

    /// A `send()` ended.
    pub(super) fn sent(
        &mut self,
        now: Instant,
        call: CallId,
        acknowledged: bool,
        out: &mut Vec<AppEffect>,
    ) {
        if let Some((_, position)) = self.storing.take_if(|it| it.0 == call) {
            // If it failed, the next flush tries again.
            if acknowledged {
                self.stored = Some(position);
            }
            return self.flush(now, out);
        }
        if !self.outstanding.remove(&call) {
            return;
        }
        if !acknowledged && !self.is_transactional() {
            return self.drop_producer(now, out);
        }
        self.round.given_up |= !acknowledged;
        if self.doing == Doing::Publishing {
            self.await_acks(now, out);
        }
    }

    /// There is a gap: nothing that comes after it may go out.
    fn drop_producer(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        self.outstanding.clear();
        self.storing = None;
        out.push(AppEffect::NewProducer(self.actor));
        self.back_off(now, Then::Round, out);
    }

    /// A record of the relay's own.
    pub(super) fn next_record(&mut self) -> RecordId {
        self.position_records += 1;
        RecordId::new(self.actor, self.position_records - 1)
    }
}
