//! Requests of a transactional producer to coordinators: one at a time, until each has an answer.
//!
//! Mirrors `TransactionManager.nextRequest`, its `TxnRequestHandler`s and
//! `Sender.maybeSendAndPollTransactionalRequest`: the queue is ordered by priority, a request that
//! is under way keeps batches from being sent, and a request is repeated until its coordinator
//! answers, with a new search when it moved or the connection broke.
//!
//! Simplifications:
//! - Batches may expire while a request is under way (Kafka's sender looks at them afterwards).
//! - A search for a coordinator is queued once, not once per request that misses it.
//! - Two `sendOffsetsToTransaction()` of which the first timed out are two requests; Kafka sends
//!   the offsets of both in one.

use oncesim_types::{
    ActorId, Duration, ErrorCode, GroupId, Instant, LeaderEpoch, Offset, ProducerId,
    TopicPartition, TransactionResult, TransactionalId,
};

use super::errors::{Api, Reaction, may_be_done, reaction};
use super::transaction::{State, Waiter};
use super::{ErrorClass, Producer, Purpose, TransactionError};
use crate::machine::Effects;
use crate::message::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, CoordinatorKey, EndTxnRequest,
    EndTxnResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupMetadata,
    InitProducerIdRequest, InitProducerIdResponse, Request, Response, TxnOffsetCommitRequest,
};

/// How soon the first `AddPartitionsToTxn` is repeated while the previous transaction is still
/// completing (KAFKA-5477).
const ADD_PARTITIONS_RETRY_BACKOFF: Duration = Duration::from_millis(20);

type Offsets = Vec<(TopicPartition, Offset, LeaderEpoch)>;

/// What is asked.
#[derive(Debug)]
pub(super) enum What {
    FindCoordinator(CoordinatorKey),
    InitProducerId {
        /// Within the session, to get another epoch (KIP-360).
        bump: bool,
    },
    /// By partition slot.
    AddPartitions(Vec<usize>),
    AddOffsets {
        group: GroupId,
        offsets: Offsets,
        consumer: GroupMetadata,
    },
    TxnOffsetCommit {
        group: GroupId,
        offsets: Offsets,
        consumer: GroupMetadata,
    },
    EndTxn(TransactionResult),
}

impl What {
    fn api(&self) -> Api {
        match *self {
            What::FindCoordinator(_) => Api::FindCoordinator,
            What::InitProducerId { .. } => Api::InitProducerId,
            What::AddPartitions(_) => Api::AddPartitionsToTxn,
            What::AddOffsets { .. } => Api::AddOffsetsToTxn,
            What::TxnOffsetCommit { .. } => Api::TxnOffsetCommit,
            What::EndTxn(result) => Api::EndTxn(result),
        }
    }

    /// `TransactionManager.Priority`: the lower, the earlier.
    fn priority(&self) -> u8 {
        match self {
            What::FindCoordinator(_) => 0,
            What::InitProducerId { bump: false } => 1,
            What::AddPartitions(_) | What::AddOffsets { .. } | What::TxnOffsetCommit { .. } => 2,
            What::EndTxn(_) => 3,
            What::InitProducerId { bump: true } => 4,
        }
    }

    /// Kafka's name for it.
    fn name(&self) -> &'static str {
        match self {
            What::FindCoordinator(_) => "FindCoordinator",
            What::InitProducerId { .. } => "InitProducerId",
            What::AddPartitions(_) => "AddPartitionsToTxn",
            What::AddOffsets { .. } => "AddOffsetsToTxn",
            What::TxnOffsetCommit { .. } => "TxnOffsetCommit",
            What::EndTxn(TransactionResult::Commit) => "EndTxn(commit)",
            What::EndTxn(TransactionResult::Abort) => "EndTxn(abort)",
        }
    }
}

/// A request until it is over.
#[derive(Debug)]
pub(super) struct Rpc {
    pub(super) what: What,
    pub(super) waiter: Waiter,
    /// Whether some attempt may have been executed.
    pub(super) maybe_done: bool,
    /// How long to wait before it is sent again.
    backoff: Option<Duration>,
}

impl Rpc {
    pub(super) fn new(what: What, waiter: Waiter) -> Self {
        Rpc { what, waiter, maybe_done: false, backoff: None }
    }
}

/// What a producer knows of coordinators, and wants from them.
#[derive(Debug)]
pub(super) struct Coordinators {
    transaction: Option<ActorId>,
    group: Option<ActorId>,
    /// In the order of arrival; [`What::priority`] comes first.
    queue: Vec<Rpc>,
    in_flight: Option<Rpc>,
    /// Nothing is sent before this moment, no batches either: Kafka's sender sleeps.
    sleep_until: Instant,
}

impl Coordinators {
    pub(super) fn new() -> Self {
        Coordinators {
            transaction: None,
            group: None,
            queue: Vec::new(),
            in_flight: None,
            sleep_until: Instant::ZERO,
        }
    }

    pub(super) fn enqueue(&mut self, rpc: Rpc) {
        self.queue.push(rpc);
    }

    pub(super) fn take_queue(&mut self) -> Vec<Rpc> {
        std::mem::take(&mut self.queue)
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The name of a request that is queued or in flight.
    pub(super) fn under_way(&self) -> Option<&'static str> {
        self.in_flight.iter().chain(&self.queue).next().map(|rpc| rpc.what.name())
    }

    /// Puts a request back, before others of its kind.
    fn put_back(&mut self, rpc: Rpc) {
        self.queue.insert(0, rpc);
    }

    fn find(&mut self, key: CoordinatorKey) {
        match key {
            CoordinatorKey::Group(_) => self.group = None,
            CoordinatorKey::Transaction(_) => self.transaction = None,
        }
        let same = |rpc: &Rpc| matches!(rpc.what, What::FindCoordinator(other) if other == key);
        if !self.queue.iter().any(same) {
            self.queue.push(Rpc::new(What::FindCoordinator(key), Waiter::Nobody));
        }
    }

    /// Index of the request that goes next.
    fn next(&self) -> Option<usize> {
        let order = |&(index, rpc): &(usize, &Rpc)| (rpc.what.priority(), index);
        self.queue.iter().enumerate().min_by_key(order).map(|(index, _)| index)
    }
}

impl Producer {
    fn transactional_id(&self) -> TransactionalId {
        self.config.transactional_id.expect("only transactional producers ask coordinators")
    }

    /// Sends what coordinators are to be asked next. Whether batches have to wait for that.
    pub(super) fn run_transaction(&mut self, now: Instant, effects: &mut Effects) -> bool {
        if !self.is_transactional() {
            return false;
        }
        loop {
            self.run_close(effects);
            let coordinators = &self.transaction.coordinators;
            if coordinators.in_flight.is_some() {
                return true;
            }
            if coordinators.sleep_until > now {
                let until = coordinators.sleep_until;
                self.drain.ensure(now, until, effects);
                return true;
            }
            if matches!(self.transaction.state, State::AbortableError | State::Aborting) {
                self.abort_undrained_batches(effects);
            }
            let new = self.transaction.take_new_partitions();
            if !new.is_empty() {
                let rpc = Rpc::new(What::AddPartitions(new), Waiter::Nobody);
                self.transaction.coordinators.enqueue(rpc);
            }
            let Some(index) = self.transaction.coordinators.next() else { return false };
            let is_end = matches!(self.transaction.coordinators.queue[index].what, What::EndTxn(_));
            if is_end && !(self.accumulator.is_empty() && self.waiting.is_empty()) {
                return false;
            }
            let rpc = self.transaction.coordinators.queue.remove(index);
            self.run_request(now, rpc, effects);
        }
    }

    fn run_request(&mut self, now: Instant, rpc: Rpc, effects: &mut Effects) {
        let searching = matches!(rpc.what, What::FindCoordinator(_));
        if let Some(failure) = self.transaction.error()
            && !(searching && failure.class == ErrorClass::Abortable)
        {
            let failure = TransactionError { maybe_done: rpc.maybe_done, ..failure };
            return self.finish(rpc.waiter, Err(failure), effects);
        }
        if let What::EndTxn(result) = rpc.what
            && !self.transaction.started
        {
            // The coordinator has heard of nothing that it could end.
            return self.complete_transaction(result, rpc.waiter, rpc.maybe_done, effects);
        }
        self.send_request(now, rpc, effects);
    }

    /// Sends a request to its coordinator, or sees to what is missing for that.
    fn send_request(&mut self, now: Instant, mut rpc: Rpc, effects: &mut Effects) {
        let (target, ready_at) = match self.coordinator_of(&rpc.what) {
            None => (self.connections.any_broker(now), self.connections.any_ready_at()),
            Some((Some(broker), _)) => (Some(broker), self.connections.ready_at(broker)),
            Some((None, key)) => {
                rpc.backoff = Some(self.config.retry_backoff);
                self.transaction.coordinators.put_back(rpc);
                return self.transaction.coordinators.find(key);
            }
        };
        let wait = rpc.backoff.take().map_or(now, |backoff| now + backoff).max(ready_at);
        let Some(target) = target.filter(|_| wait <= now) else {
            self.transaction.coordinators.put_back(rpc);
            self.transaction.coordinators.sleep_until = wait;
            return;
        };
        let body = self.request(&rpc.what);
        let deadline = self.connections.send(now, target, body, Purpose::Coordinator, effects);
        self.timeout.ensure(now, deadline, effects);
        self.transaction.coordinators.in_flight = Some(rpc);
    }

    /// The coordinator that serves a request, if it is known, and whose; `None` when any broker does.
    fn coordinator_of(&self, what: &What) -> Option<(Option<ActorId>, CoordinatorKey)> {
        let coordinators = &self.transaction.coordinators;
        match what {
            What::FindCoordinator(_) => None,
            What::TxnOffsetCommit { group, .. } => {
                Some((coordinators.group, CoordinatorKey::Group(*group)))
            }
            What::InitProducerId { .. }
            | What::AddPartitions(_)
            | What::AddOffsets { .. }
            | What::EndTxn(_) => {
                let key = CoordinatorKey::Transaction(self.transactional_id());
                Some((coordinators.transaction, key))
            }
        }
    }

    fn request(&self, what: &What) -> Request {
        let transactional_id = self.transactional_id();
        let (producer_id, producer_epoch) = self.session.current();
        let number = self.transaction.number;
        let version = self.config.transaction_version;
        match what {
            What::FindCoordinator(key) => {
                Request::FindCoordinator(FindCoordinatorRequest { key: *key })
            }
            What::InitProducerId { bump } => Request::InitProducerId(InitProducerIdRequest {
                transactional_id: Some(transactional_id),
                transaction_timeout: self.config.transaction_timeout,
                current: bump.then_some((producer_id, producer_epoch)),
            }),
            What::AddPartitions(slots) => {
                let of = |&slot: &usize| self.accumulator.partitions[slot].partition;
                Request::AddPartitionsToTxn(Box::new(AddPartitionsToTxnRequest {
                    transactional_id,
                    producer_id,
                    producer_epoch,
                    verify_only: false,
                    version,
                    number,
                    partitions: slots.iter().map(of).collect(),
                }))
            }
            What::AddOffsets { group, .. } => Request::AddOffsetsToTxn(AddOffsetsToTxnRequest {
                transactional_id,
                producer_id,
                producer_epoch,
                number,
                group: *group,
            }),
            What::TxnOffsetCommit { group, offsets, consumer } => {
                Request::TxnOffsetCommit(Box::new(TxnOffsetCommitRequest {
                    transactional_id,
                    group: *group,
                    producer_id,
                    producer_epoch,
                    version,
                    number,
                    consumer: *consumer,
                    offsets: offsets.clone(),
                }))
            }
            What::EndTxn(result) => Request::EndTxn(EndTxnRequest {
                transactional_id,
                producer_id,
                producer_epoch,
                result: *result,
                version,
                number,
            }),
        }
    }

    /// A coordinator answered.
    pub(super) fn on_coordinator_response(&mut self, body: Response, effects: &mut Effects) {
        let Some(rpc) = self.transaction.coordinators.in_flight.take() else { return };
        match (&rpc.what, body) {
            (&What::FindCoordinator(key), Response::FindCoordinator(answer)) => {
                self.on_coordinator_found(rpc, key, answer, effects);
            }
            (What::InitProducerId { .. }, Response::InitProducerId(answer)) => {
                self.on_transactional_id_initialized(rpc, answer, effects);
            }
            (What::AddPartitions(_), Response::AddPartitionsToTxn(answer)) => {
                self.on_partitions_added(rpc, &answer, effects);
            }
            (What::AddOffsets { .. }, Response::AddOffsetsToTxn(error)) => {
                self.on_offsets_added(rpc, error, effects);
            }
            (What::TxnOffsetCommit { .. }, Response::TxnOffsetCommit(answer)) => {
                self.on_offsets_committed(rpc, &answer, effects);
            }
            (&What::EndTxn(result), Response::EndTxn(answer)) => {
                self.on_transaction_ended(rpc, result, answer, effects);
            }
            // An answer of another kind is as good as none.
            _ => {
                self.transaction.coordinators.in_flight = Some(rpc);
                self.on_coordinator_lost();
            }
        }
        self.all_dirty();
    }

    /// A request will have no answer: its coordinator is looked for again.
    pub(super) fn on_coordinator_lost(&mut self) {
        let Some(mut rpc) = self.transaction.coordinators.in_flight.take() else { return };
        rpc.maybe_done = true;
        if let Some((_, key)) = self.coordinator_of(&rpc.what) {
            self.transaction.coordinators.find(key);
        }
        self.retry(rpc);
        self.all_dirty();
    }

    fn retry(&mut self, mut rpc: Rpc) {
        rpc.backoff = Some(self.config.retry_backoff);
        self.transaction.coordinators.put_back(rpc);
    }

    /// What follows from an error.
    fn react(&mut self, mut rpc: Rpc, error: ErrorCode, effects: &mut Effects) {
        rpc.maybe_done |= may_be_done(error);
        let class = match reaction(rpc.what.api(), error) {
            Reaction::Done => unreachable!("an answer without an error is no error"),
            Reaction::Retry => return self.retry(rpc),
            Reaction::Lookup => {
                if let Some((_, key)) = self.coordinator_of(&rpc.what) {
                    self.transaction.coordinators.find(key);
                }
                return self.retry(rpc);
            }
            Reaction::AbortableWithBump => {
                self.require_bump();
                ErrorClass::Abortable
            }
            Reaction::Abortable => ErrorClass::Abortable,
            Reaction::Fatal | Reaction::Fenced => ErrorClass::Fatal,
        };
        let fenced = reaction(rpc.what.api(), error) == Reaction::Fenced;
        let error = if fenced { ErrorCode::ProducerFenced } else { error };
        let failure = TransactionError { error, class, maybe_done: rpc.maybe_done };
        self.finish(rpc.waiter, Err(failure), effects);
        match class {
            ErrorClass::Abortable => self.abortable_error(error, effects),
            _ => self.fatal_error(error, effects),
        }
    }

    fn on_coordinator_found(
        &mut self,
        rpc: Rpc,
        key: CoordinatorKey,
        answer: FindCoordinatorResponse,
        effects: &mut Effects,
    ) {
        match (answer.error, answer.coordinator) {
            (ErrorCode::None, Some(broker)) => {
                let coordinators = &mut self.transaction.coordinators;
                match key {
                    CoordinatorKey::Group(_) => coordinators.group = Some(broker),
                    CoordinatorKey::Transaction(_) => coordinators.transaction = Some(broker),
                }
            }
            (ErrorCode::None, None) => self.retry(rpc),
            (error, _) => self.react(rpc, error, effects),
        }
    }

    fn on_transactional_id_initialized(
        &mut self,
        rpc: Rpc,
        answer: InitProducerIdResponse,
        effects: &mut Effects,
    ) {
        if answer.error != ErrorCode::None {
            return self.react(rpc, answer.error, effects);
        }
        self.adopt_session(answer.producer_id, answer.producer_epoch, effects);
        if self.transaction.state == State::Initializing {
            self.transaction.state = State::Ready;
        }
        self.finish(rpc.waiter, Ok(()), effects);
    }

    fn on_partitions_added(
        &mut self,
        mut rpc: Rpc,
        answer: &[(TopicPartition, ErrorCode)],
        effects: &mut Effects,
    ) {
        let What::AddPartitions(slots) = &rpc.what else { return };
        let failed = answer.iter().map(|&(_, error)| error).filter(|error| !error.is_ok());
        let ranked = failed.map(|error| (reaction(Api::AddPartitionsToTxn, error), error));
        // What stops the whole request counts before what concerns one partition.
        let worst = ranked.min_by_key(|&(reaction, _)| reaction == Reaction::Abortable);
        let Some((reaction, error)) = worst else {
            self.transaction.partitions_answered(slots, true);
            self.transaction.started = true;
            return self.finish(rpc.waiter, Ok(()), effects);
        };
        match reaction {
            Reaction::Retry | Reaction::Lookup => {
                let first = !self.transaction.has_partitions();
                self.react(rpc, error, effects);
                if first && error == ErrorCode::ConcurrentTransactions {
                    let queued = self.transaction.coordinators.queue.first_mut();
                    let shorter = ADD_PARTITIONS_RETRY_BACKOFF.min(self.config.retry_backoff);
                    queued.expect("it was put back").backoff = Some(shorter);
                }
            }
            _ => {
                let slots = std::mem::take(slots_of(&mut rpc));
                self.transaction.partitions_answered(&slots, false);
                self.react(rpc, error, effects);
            }
        }
    }

    fn on_offsets_added(&mut self, mut rpc: Rpc, error: ErrorCode, effects: &mut Effects) {
        if error != ErrorCode::None {
            return self.react(rpc, error, effects);
        }
        if let What::AddOffsets { group, offsets, consumer } = rpc.what {
            self.transaction.started = true;
            rpc.what = What::TxnOffsetCommit { group, offsets, consumer };
            rpc.maybe_done = false;
            self.transaction.coordinators.enqueue(rpc);
        }
    }

    fn on_offsets_committed(
        &mut self,
        mut rpc: Rpc,
        answer: &[(TopicPartition, ErrorCode)],
        effects: &mut Effects,
    ) {
        let mut worst: Option<(u8, ErrorCode)> = None;
        if let What::TxnOffsetCommit { offsets, .. } = &mut rpc.what {
            offsets.retain(|&(partition, ..)| {
                let own = answer.iter().find(|&&(answered, _)| answered == partition);
                let error = own.map_or(ErrorCode::UnknownServerError, |&(_, error)| error);
                let rank = match reaction(Api::TxnOffsetCommit, error) {
                    Reaction::Done => return false,
                    Reaction::Retry => 0,
                    Reaction::Lookup => 1,
                    _ => 2,
                };
                if worst.is_none_or(|(other, _)| rank > other) {
                    worst = Some((rank, error));
                }
                true
            });
        }
        match worst {
            None => self.finish(rpc.waiter, Ok(()), effects),
            Some((_, error)) => self.react(rpc, error, effects),
        }
    }

    fn on_transaction_ended(
        &mut self,
        rpc: Rpc,
        result: TransactionResult,
        answer: EndTxnResponse,
        effects: &mut Effects,
    ) {
        if answer.error != ErrorCode::None {
            return self.react(rpc, answer.error, effects);
        }
        if answer.producer_id != ProducerId::NONE {
            self.adopt_session(answer.producer_id, answer.producer_epoch, effects);
        }
        self.complete_transaction(result, rpc.waiter, true, effects);
    }
}

fn slots_of(rpc: &mut Rpc) -> &mut Vec<usize> {
    match &mut rpc.what {
        What::AddPartitions(slots) => slots,
        _ => unreachable!("the caller has looked"),
    }
}
