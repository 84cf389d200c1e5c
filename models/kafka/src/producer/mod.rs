//! The producer client.
//!
//! Mirrors `KafkaProducer`: the application's thread and the sender's are one machine here. What
//! the sender's loop does in each round, [`Producer`] does at the end of each step.
//!
//! Simplifications:
//! - `send` never blocks its caller: a call that Kafka would block (no metadata, no memory) waits in
//!   a queue in front of the accumulator, and so do all later ones, for at most `max.block.ms`.
//! - No interceptors, serializers, compression and quotas.

mod accumulator;
mod coordinator;
mod errors;
mod flush;
mod idempotence;
mod partitioner;
mod sender;
mod transaction;
mod transaction_batches;

use std::collections::VecDeque;
use std::rc::Rc;

use oncesim_types::{
    ActorId, CallId, CorrelationId, ErrorCode, GroupId, Instant, LeaderEpoch, Offset, TopicId,
    TopicPartition, TransactionNumber, TransactionResult,
};

use self::accumulator::{Accumulator, Appended, BatchId};
use self::flush::Flushes;
use self::idempotence::Session;
use self::partitioner::Placement;
use self::transaction::Transaction;
use crate::client::{Alarm, Backoff, Connections, InFlight, Metadata};
use crate::config::{ProducerConfig, TopicConfig};
use crate::log::batch::Record;
use crate::machine::{Call, Completion, Effect, Effects, Input, Machine, TimerKey};
use crate::message::{GroupMetadata, Response};
use crate::mutation::Mutations;

/// What an application asks of its producer.
#[derive(Debug)]
pub enum ProducerCall {
    /// `send()`: completes when the record is acknowledged, or given up.
    Send {
        /// To which topic.
        topic: TopicId,
        /// To which partition; `None` leaves it to the partitioner.
        partition: Option<u16>,
        /// The record.
        record: Record,
    },
    /// `initTransactions()`: a new session that fences every earlier one of the same
    /// `transactional.id`.
    InitTransactions,
    /// `beginTransaction()`.
    BeginTransaction {
        /// The application's number for it.
        number: TransactionNumber,
    },
    /// `sendOffsetsToTransaction()`.
    SendOffsets {
        /// The group.
        group: GroupId,
        /// The next offset to consume per partition, and the leader epoch of the last one consumed.
        offsets: Vec<(TopicPartition, Offset, LeaderEpoch)>,
        /// The consumer's `groupMetadata()`; [`GroupMetadata::NONE`] as before KIP-447.
        consumer: GroupMetadata,
    },
    /// `commitTransaction()` or `abortTransaction()`.
    EndTransaction(TransactionResult),
    /// `flush()`: completes when every earlier `send` is complete.
    Flush,
    /// `close()`: completes when every earlier `send` is complete, or given up after the timeout.
    Close,
}

/// The end of a producer's call.
#[derive(Debug, Clone, Copy)]
pub enum ProducerCompletion {
    /// Of `send()`.
    Sent(SendResult),
    /// Of `initTransactions()`, `beginTransaction()`, `sendOffsetsToTransaction()`,
    /// `commitTransaction()` and `abortTransaction()`.
    Transaction(Result<(), TransactionError>),
    /// Of `flush()`.
    Flushed,
    /// Of `close()`.
    Closed,
}

/// Why a call of the transaction API threw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionError {
    /// The protocol's word for it.
    pub error: ErrorCode,
    /// What the application may do next.
    pub class: ErrorClass,
    /// Whether the call may have taken effect, or may still (a commit that timed out).
    pub maybe_done: bool,
}

/// What an application that follows the documentation does after an error (KIP-1050).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// `TimeoutException` after `max.block.ms`: the operation goes on in the background, and the
    /// only legal next call is the same one again.
    Timeout,
    /// `abortTransaction()`, then do all of it again.
    Abortable,
    /// Close the producer; a new one with `initTransactions()` goes on from the committed state
    /// (`ProducerFencedException` and the like).
    Fatal,
    /// `IllegalStateException`: the call is not allowed now, and did nothing.
    IllegalState,
}

/// What became of one record.
#[derive(Debug, Clone, Copy)]
pub struct SendResult {
    /// The partition that the partitioner chose; `None` if it failed before that.
    pub partition: Option<TopicPartition>,
    /// [`ErrorCode::None`] when acknowledged.
    pub error: ErrorCode,
    /// Its offset; [`Offset::UNKNOWN`] with `acks=0` or after a recognised duplicate.
    pub offset: Offset,
    /// Whether an earlier or the last attempt may have been appended although `error` is set
    /// (timeout, disconnect, NOT_LEADER_OR_FOLLOWER, ...).
    pub maybe_appended: bool,
}

/// Wakes for linger, retry backoff, reconnects.
const DRAIN: TimerKey = TimerKey(0);
/// Wakes for request, delivery and blocking timeouts.
const TIMEOUT: TimerKey = TimerKey(1);
/// Wakes for metadata refreshes.
const REFRESH: TimerKey = TimerKey(2);

/// What a request was for.
#[derive(Debug)]
enum Purpose {
    /// These batches.
    Produce(Vec<BatchId>),
    Metadata,
    InitProducerId,
    /// The request of the transaction that is under way.
    Coordinator,
}

/// A `send` that Kafka would block.
#[derive(Debug)]
struct Waiting {
    call: CallId,
    topic: TopicId,
    partition: Option<u16>,
    record: Record,
    /// The flush that waits for it.
    flush: u64,
    deadline: Instant,
}

/// One incarnation of a producer client.
#[derive(Debug)]
pub struct Producer {
    config: Rc<ProducerConfig>,
    topics: Rc<[TopicConfig]>,
    mutations: Mutations,
    backoff: Backoff,
    connections: Connections<Purpose>,
    metadata: Metadata,
    accumulator: Accumulator,
    placement: Placement,
    session: Session,
    transaction: Transaction,
    flushes: Flushes,
    waiting: VecDeque<Waiting>,
    drain: Alarm,
    timeout: Alarm,
    refresh: Alarm,
    /// Brokers that something may be sent to.
    dirty: Vec<ActorId>,
    /// Whether a batch completed since waiting calls were last looked at.
    memory_freed: bool,
    /// Produce requests that are not answered.
    produce_requests: usize,
    closed: bool,
}

impl Producer {
    /// A new producer of actor `id`. `brokers` are its bootstrap servers; `topics` is what exists: a
    /// `send` to another topic times out.
    #[must_use]
    pub fn new(
        id: ActorId,
        brokers: Rc<[ActorId]>,
        config: Rc<ProducerConfig>,
        topics: Rc<[TopicConfig]>,
        mutations: Mutations,
    ) -> Producer {
        let backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max);
        let reconnect = Backoff::new(config.reconnect_backoff, config.reconnect_backoff_max);
        Producer {
            topics,
            mutations,
            backoff,
            connections: Connections::new(id, brokers, config.request_timeout, reconnect),
            metadata: Metadata::new(config.metadata_max_age, backoff),
            accumulator: Accumulator::new(config.buffer_memory),
            placement: Placement::new(id, config.partitioner, config.batch_size),
            session: Session::new(),
            transaction: Transaction::new(),
            flushes: Flushes::new(),
            waiting: VecDeque::new(),
            drain: Alarm::new(DRAIN),
            timeout: Alarm::new(TIMEOUT),
            refresh: Alarm::new(REFRESH),
            dirty: Vec::new(),
            memory_freed: false,
            produce_requests: 0,
            closed: false,
            config,
        }
    }

    /// Whether nothing is queued, in flight or unresolved.
    ///
    /// # Errors
    /// Says what is.
    pub fn settled(&self) -> Result<(), String> {
        if !self.waiting.is_empty() {
            return Err(format!("{} sends wait for metadata or memory", self.waiting.len()));
        }
        if let Some((id, batch)) = self.accumulator.oldest() {
            let partition = self.accumulator.partitions[batch.slot].partition;
            let (records, retries) = (batch.calls.len(), batch.retries);
            return Err(format!(
                "batch {id} of {records} records to {partition} is not complete \
                 after {retries} retries, last error {}",
                batch.error
            ));
        }
        if self.produce_requests > 0 {
            return Err(format!("{} produce requests are in flight", self.produce_requests));
        }
        if !self.session.unresolved.is_empty() || !self.session.rewrite.is_empty() {
            return Err("sequences are unresolved".to_owned());
        }
        if self.flushes.is_waiting() {
            return Err("a flush has not returned".to_owned());
        }
        self.transaction.settled()
    }

    fn on_call(&mut self, now: Instant, call: CallId, what: &ProducerCall, effects: &mut Effects) {
        match *what {
            ProducerCall::Send { topic, partition, record } => {
                self.on_send(now, call, (topic, partition), record, effects);
            }
            ProducerCall::InitTransactions
            | ProducerCall::BeginTransaction { .. }
            | ProducerCall::SendOffsets { .. }
            | ProducerCall::EndTransaction(_) => {
                self.on_transaction_call(now, call, what, effects);
            }
            ProducerCall::Flush => {
                self.flushes.wait(call, ProducerCompletion::Flushed, effects);
                self.all_dirty();
            }
            ProducerCall::Close if self.is_transactional() => {
                self.closed = true;
                self.close_transaction(call, effects);
            }
            ProducerCall::Close => {
                self.closed = true;
                self.flushes.wait(call, ProducerCompletion::Closed, effects);
                self.all_dirty();
            }
        }
    }

    fn on_send(
        &mut self,
        now: Instant,
        call: CallId,
        (topic, partition): (TopicId, Option<u16>),
        record: Record,
        effects: &mut Effects,
    ) {
        if let Some(error) = self.refuses_send() {
            return never_left(call, error, effects);
        }
        let too_large = record.size > self.config.max_request_size
            || u64::from(record.size) > self.config.buffer_memory;
        if self.closed || too_large {
            let error =
                if too_large { ErrorCode::MessageTooLarge } else { ErrorCode::InvalidRequest };
            never_left(call, error, effects);
            if self.is_transactional() && !self.closed {
                self.transaction_failed(error, effects);
            }
            return;
        }
        let flush = self.flushes.begin();
        let deadline = now + self.config.max_block;
        let mut send = Waiting { call, topic, partition, record, flush, deadline };
        if self.waiting.is_empty() && self.try_send(now, &mut send, effects) {
            return;
        }
        self.timeout.ensure(now, deadline, effects);
        if self.waiting.is_empty() {
            // Memory is exhausted: nothing lingers any more.
            self.all_dirty();
        }
        self.waiting.push_back(send);
    }

    /// Appends a record to a batch, unless it has to wait for metadata or memory.
    fn try_send(&mut self, now: Instant, send: &mut Waiting, effects: &mut Effects) -> bool {
        let topic = send.topic;
        let count = self.metadata.partition_count(topic);
        if count == 0 {
            if self.topics.iter().any(|known| known.topic == topic) {
                self.metadata.want(topic);
            }
            return false;
        }
        let (key, size) = (send.record.key, send.record.size);
        let partition = match send.partition {
            Some(partition) if usize::from(partition) < count => partition,
            Some(_) => return false,
            None => self.placement.choose(&self.metadata, topic, key, size),
        };
        send.partition = Some(partition);
        let known = self.accumulator.partitions.len();
        let slot = self.accumulator.slot(topic, partition, count);
        if self.accumulator.partitions.len() > known {
            self.update_leaders(now);
        }
        let place = (slot, send.flush);
        let ready = match self.accumulator.append(now, &self.config, place, send.call, send.record)
        {
            Appended::NoMemory => return false,
            Appended::Joined { ready } => ready,
            Appended::Began { ready } => {
                self.timeout.ensure(now, now + self.config.delivery_timeout, effects);
                if !ready {
                    self.drain.ensure(now, now + self.config.linger, effects);
                }
                ready
            }
        };
        self.partition_sent_to(slot);
        if ready || send.flush < self.flushes.current() {
            self.mark_dirty(slot);
        }
        true
    }

    fn update_leaders(&mut self, now: Instant) {
        let metadata = &self.metadata;
        self.accumulator.update_leaders(now, |partition| -> (Option<ActorId>, LeaderEpoch) {
            let leader = metadata.leader(partition).map(|leader| leader.broker);
            (leader, metadata.leader_epoch(partition))
        });
    }

    fn on_response(
        &mut self,
        now: Instant,
        (from, correlation): (ActorId, CorrelationId),
        body: Response,
        effects: &mut Effects,
    ) {
        let Some(purpose) = self.connections.complete(from, correlation) else { return };
        if !self.dirty.contains(&from) {
            self.dirty.push(from);
        }
        match (purpose, body) {
            (Purpose::Produce(ids), Response::Produce(answers)) => {
                self.on_produce(now, &ids, &answers, effects);
            }
            (Purpose::Metadata, Response::Metadata(answer)) => {
                if self.metadata.update(now, &answer) {
                    self.update_leaders(now);
                    self.all_dirty();
                }
                self.memory_freed = true;
            }
            (Purpose::InitProducerId, Response::InitProducerId(answer)) => {
                self.on_init_producer_id(now, answer, effects);
            }
            (Purpose::Coordinator, body) => self.on_coordinator_response(body, effects),
            // An answer of another kind is as good as none.
            (purpose, _) => self.on_lost(now, purpose, effects),
        }
    }

    fn on_lost(&mut self, now: Instant, purpose: Purpose, effects: &mut Effects) {
        match purpose {
            Purpose::Produce(ids) => self.on_produce_lost(now, &ids, effects),
            Purpose::Metadata => self.metadata.failed(now),
            Purpose::InitProducerId => self.producer_id_refused(now),
            Purpose::Coordinator => self.on_coordinator_lost(),
        }
    }

    fn on_disconnected(
        &mut self,
        now: Instant,
        peer: ActorId,
        lost: VecDeque<InFlight<Purpose>>,
        effects: &mut Effects,
    ) {
        self.metadata.request_update();
        for request in lost {
            self.on_lost(now, request.purpose, effects);
        }
        self.dirty.push(peer);
    }

    fn on_timeout(&mut self, now: Instant, effects: &mut Effects) {
        self.timeout.fired();
        while let Some(peer) = self.connections.overdue(now) {
            let lost = self.connections.close(now, peer, effects);
            self.on_disconnected(now, peer, lost, effects);
        }
        self.expire_batches(now, effects);
        while self.waiting.front().is_some_and(|send| send.deadline <= now) {
            let send = self.waiting.pop_front().expect("the condition saw it");
            never_left(send.call, ErrorCode::RequestTimedOut, effects);
            self.flushes.end(send.flush, 1, effects);
            self.memory_freed = true;
            if self.is_transactional() {
                self.transaction_failed(ErrorCode::RequestTimedOut, effects);
            }
        }
        self.expire_blocked_calls(now, effects);
        let mut next = self.connections.next_deadline();
        if let Some((_, oldest)) = self.accumulator.oldest() {
            next = next.min(oldest.created + self.config.delivery_timeout);
        }
        if let Some(send) = self.waiting.front() {
            next = next.min(send.deadline);
        }
        next = next.min(self.transaction.next_deadline());
        self.timeout.ensure(now, next, effects);
    }

    /// Remembers to look at the leader of `slot` at the end of the step.
    fn mark_dirty(&mut self, slot: usize) {
        if let Some(leader) = self.accumulator.partitions[slot].leader
            && !self.dirty.contains(&leader)
        {
            self.dirty.push(leader);
        }
    }

    fn all_dirty(&mut self) {
        self.dirty.clear();
        self.dirty.extend(self.accumulator.pending_brokers());
    }

    /// What Kafka's sender does in each round (`Sender.runOnce`).
    fn run_once(&mut self, now: Instant, effects: &mut Effects) {
        loop {
            self.run_session(now, effects);
            let busy = self.run_transaction(now, effects);
            self.poll_metadata(now, effects);
            let mut next = 0;
            while let Some(&broker) = self.dirty.get(next).filter(|_| !busy) {
                self.drain_broker(now, broker, effects);
                next += 1;
            }
            self.dirty.clear();
            if !std::mem::take(&mut self.memory_freed) || self.waiting.is_empty() {
                return;
            }
            while let Some(mut send) = self.waiting.pop_front() {
                if !self.try_send(now, &mut send, effects) {
                    self.waiting.push_front(send);
                    break;
                }
            }
        }
    }

    fn poll_metadata(&mut self, now: Instant, effects: &mut Effects) {
        if self.closed && self.accumulator.is_empty() && self.waiting.is_empty() {
            return;
        }
        let before = self.connections.in_flight();
        let next = self.metadata.poll(now, &mut self.connections, Purpose::Metadata, effects);
        if self.connections.in_flight() > before {
            self.timeout.ensure(now, now + self.config.request_timeout, effects);
        }
        self.refresh.ensure(now, next, effects);
    }
}

impl Machine for Producer {
    fn step(&mut self, now: Instant, input: Input, effects: &mut Effects) {
        match input {
            Input::Start => {}
            Input::Call(call, Call::Producer(what)) => self.on_call(now, call, &what, effects),
            Input::Response { from, correlation, body } => {
                self.on_response(now, (from, correlation), body, effects);
            }
            Input::Disconnected { peer } => {
                let lost = self.connections.disconnected(now, peer);
                self.on_disconnected(now, peer, lost, effects);
            }
            Input::Timer(DRAIN) => {
                self.drain.fired();
                self.all_dirty();
            }
            Input::Timer(TIMEOUT) => self.on_timeout(now, effects),
            Input::Timer(REFRESH) => self.refresh.fired(),
            Input::Timer(_)
            | Input::Call(_, Call::Consumer(_))
            | Input::Request { .. }
            | Input::ConnectionClosed { .. }
            | Input::Durable(_)
            | Input::DiskFull(_) => {}
        }
        self.run_once(now, effects);
    }
}

/// A `send` fails before its record is in a batch.
fn never_left(call: CallId, error: ErrorCode, effects: &mut Effects) {
    let result =
        SendResult { partition: None, error, offset: Offset::UNKNOWN, maybe_appended: false };
    let completion = Completion::Producer(ProducerCompletion::Sent(result));
    effects.0.push(Effect::Return(call, completion));
}

#[cfg(test)]
mod tests;
