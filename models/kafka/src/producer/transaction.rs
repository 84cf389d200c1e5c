//! The transaction API: what an application may call, and what its calls wait for.
//!
//! Mirrors `TransactionManager` and the transactional half of `KafkaProducer` and
//! `Sender.run()` (KIP-98, KIP-360, KIP-588, KIP-890, KAFKA-14831).
//!
//! A call that takes longer than `max.block.ms` returns, and what it began goes on: then only the
//! same call is legal, and gets that outcome. `sendOffsetsToTransaction()` is no transition: after
//! its timeout every call is legal, and the end of the transaction waits for its request.
//!
//! Simplifications:
//! - `send()` in a transaction that has failed is refused before the record joins a batch (Kafka
//!   appends it, refuses then, and fails the batch a moment later).
//! - The protocol generation is the cluster's, and does not change between two transactions.
//! - An epoch bump that turns out to be necessary while an abort is under way is made before the
//!   abort returns (Kafka forgets to ask for it, and its producer is stuck).
//! - No two-phase commit (KIP-939).

use oncesim_types::{
    CallId, ErrorCode, GroupId, Instant, LeaderEpoch, Offset, TopicPartition, TransactionNumber,
    TransactionResult,
};

use super::coordinator::{Coordinators, Rpc, What};
use super::{ErrorClass, Producer, ProducerCall, ProducerCompletion, TransactionError};
use crate::config::TransactionVersion;
use crate::machine::{Completion, Effect, Effects};
use crate::message::GroupMetadata;
use crate::mutation::Mutation;
use crate::note::Note;

/// `TransactionManager.State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Uninitialized,
    Initializing,
    Ready,
    InTransaction,
    Committing,
    Aborting,
    /// Only `abortTransaction()` is legal.
    AbortableError,
    /// Only `close()` is legal.
    FatalError,
}

/// A call that changes the state when it is over (`PendingStateTransition`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Init,
    End(TransactionResult),
}

/// Who waits for a request to a coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    Nobody,
    /// The call in [`Transaction::pending`].
    Operation,
    /// A `sendOffsetsToTransaction()`.
    Offsets(CallId),
}

/// Whether batches of a partition may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    Out,
    /// It has a record, and is to be added.
    New,
    /// Its `AddPartitionsToTxn` is queued or in flight.
    Pending,
    Added,
}

type Outcome = Result<(), TransactionError>;

/// An operation whose outcome has not been returned.
#[derive(Debug)]
pub(super) struct Pending {
    operation: Operation,
    /// The calls, with their deadlines; none after `max.block.ms`.
    calls: Vec<(CallId, Instant)>,
    /// What the next call will get.
    outcome: Option<Outcome>,
}

/// Everything about transactions; idle in a producer without a `transactional.id`.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) state: State,
    /// Why the state is an error.
    pub(super) last_error: ErrorCode,
    pub(super) number: TransactionNumber,
    /// Whether the coordinator knows, or may know, of something in the transaction.
    pub(super) started: bool,
    /// Whether the client must bump the epoch before the next transaction (KIP-360).
    pub(super) bump_required: bool,
    /// By partition slot.
    pub(super) membership: Vec<Membership>,
    /// Whether a partition is [`Membership::New`].
    pub(super) any_new: bool,
    pub(super) pending: Option<Pending>,
    /// `sendOffsetsToTransaction()` calls that have not returned, with their deadlines.
    offsets: Vec<(CallId, Instant)>,
    /// A `close()` that waits for the transaction to end.
    pub(super) closing: Option<CallId>,
    pub(super) coordinators: Coordinators,
}

impl Transaction {
    pub(super) fn new() -> Self {
        Transaction {
            state: State::Uninitialized,
            last_error: ErrorCode::None,
            number: TransactionNumber::NONE,
            started: false,
            bump_required: false,
            membership: Vec::new(),
            any_new: false,
            pending: None,
            offsets: Vec::new(),
            closing: None,
            coordinators: Coordinators::new(),
        }
    }

    /// `isCompleting`.
    pub(super) fn is_completing(&self) -> bool {
        matches!(self.state, State::Committing | State::Aborting)
    }

    /// `hasOngoingTransaction`.
    fn is_ongoing(&self) -> bool {
        self.is_completing() || matches!(self.state, State::InTransaction | State::AbortableError)
    }

    /// `maybeFailWithError`: what every call but `abortTransaction()` throws now.
    pub(super) fn error(&self) -> Option<TransactionError> {
        let class = match self.state {
            State::AbortableError => ErrorClass::Abortable,
            State::FatalError => ErrorClass::Fatal,
            _ => return None,
        };
        Some(TransactionError { error: self.last_error, class, maybe_done: false })
    }

    /// Whether partitions have been added to the transaction.
    pub(super) fn has_partitions(&self) -> bool {
        self.membership.contains(&Membership::Added)
    }

    pub(super) fn member(&mut self, slot: usize) -> &mut Membership {
        if slot >= self.membership.len() {
            self.membership.resize(slot + 1, Membership::Out);
        }
        &mut self.membership[slot]
    }

    /// The partitions that have to be added, which are then pending.
    pub(super) fn take_new_partitions(&mut self) -> Vec<usize> {
        let mut new = Vec::new();
        if !std::mem::take(&mut self.any_new) {
            return new;
        }
        for (slot, member) in self.membership.iter_mut().enumerate() {
            if *member == Membership::New {
                *member = Membership::Pending;
                new.push(slot);
            }
        }
        new
    }

    /// The answer about partitions that were to be added.
    pub(super) fn partitions_answered(&mut self, slots: &[usize], added: bool) {
        for &slot in slots {
            *self.member(slot) = if added { Membership::Added } else { Membership::Out };
        }
    }

    /// When a blocked call gives up.
    pub(super) fn next_deadline(&self) -> Instant {
        let calls = self.pending.iter().flat_map(|pending| &pending.calls).chain(&self.offsets);
        calls.map(|&(_, deadline)| deadline).min().unwrap_or(Instant::NEVER)
    }

    /// Whether nothing is under way.
    pub(super) fn settled(&self) -> Result<(), String> {
        if let Some(what) = self.coordinators.under_way() {
            return Err(format!("{what} has no answer that ends it"));
        }
        if self.pending.as_ref().is_some_and(|pending| !pending.calls.is_empty()) {
            return Err("a call of the transaction API has not returned".to_owned());
        }
        if self.is_completing() {
            return Err("the end of a transaction waits for its batches".to_owned());
        }
        Ok(())
    }
}

/// What a call may not do now; it does nothing.
const ILLEGAL: TransactionError = TransactionError {
    error: ErrorCode::InvalidRequest,
    class: ErrorClass::IllegalState,
    maybe_done: false,
};

impl Producer {
    pub(super) fn is_transactional(&self) -> bool {
        self.config.transactional_id.is_some()
    }

    pub(super) fn is_v2(&self) -> bool {
        self.config.transaction_version == TransactionVersion::V2
    }

    /// A call of the transaction API.
    pub(super) fn on_transaction_call(
        &mut self,
        now: Instant,
        call: CallId,
        what: &ProducerCall,
        effects: &mut Effects,
    ) {
        let deadline = now + self.config.max_block;
        let outcome = if self.closed || !self.is_transactional() {
            Some(Err(ILLEGAL))
        } else {
            match what {
                ProducerCall::InitTransactions => self.init_transactions(call, deadline),
                ProducerCall::BeginTransaction { number } => Some(self.begin_transaction(*number)),
                ProducerCall::SendOffsets { group, offsets, consumer } => {
                    self.send_offsets((call, deadline), *group, offsets, *consumer)
                }
                ProducerCall::EndTransaction(result) => {
                    self.end_transaction(call, deadline, *result, effects)
                }
                ProducerCall::Send { .. } | ProducerCall::Flush | ProducerCall::Close => None,
            }
        };
        match outcome {
            Some(outcome) => complete(call, outcome, effects),
            None => self.timeout.ensure(now, deadline, effects),
        }
    }

    /// `handleCachedTransactionRequestResult`: an operation that is not over and returned is joined
    /// by the same call, and forbids every other.
    fn join(&mut self, operation: Operation, call: CallId, deadline: Instant) -> Joined {
        let Some(pending) = &mut self.transaction.pending else { return Joined::Begins };
        if pending.operation != operation {
            return Joined::Returns(ILLEGAL);
        }
        match pending.outcome.take() {
            Some(outcome) => {
                self.transaction.pending = None;
                outcome.map_or_else(Joined::Returns, |()| Joined::Done)
            }
            None => {
                pending.calls.push((call, deadline));
                Joined::Waits
            }
        }
    }

    /// Starts the operation whose first call is `call`.
    fn begin_operation(&mut self, operation: Operation, call: CallId, deadline: Instant) {
        let calls = vec![(call, deadline)];
        self.transaction.pending = Some(Pending { operation, calls, outcome: None });
    }

    fn init_transactions(&mut self, call: CallId, deadline: Instant) -> Option<Outcome> {
        if let Some(error) = self.transaction.error() {
            return Some(Err(error));
        }
        match self.join(Operation::Init, call, deadline) {
            Joined::Begins => {}
            joined => return joined.outcome(),
        }
        if self.transaction.state != State::Uninitialized {
            return Some(Err(ILLEGAL));
        }
        self.transaction.state = State::Initializing;
        self.begin_operation(Operation::Init, call, deadline);
        let rpc = Rpc::new(What::InitProducerId { bump: false }, Waiter::Operation);
        self.transaction.coordinators.enqueue(rpc);
        None
    }

    fn begin_transaction(&mut self, number: TransactionNumber) -> Outcome {
        if self.transaction.pending.is_some() {
            return Err(ILLEGAL);
        }
        if let Some(error) = self.transaction.error() {
            return Err(error);
        }
        if self.transaction.state != State::Ready {
            return Err(ILLEGAL);
        }
        self.transaction.state = State::InTransaction;
        self.transaction.number = number;
        Ok(())
    }

    fn send_offsets(
        &mut self,
        (call, deadline): (CallId, Instant),
        group: GroupId,
        offsets: &[(TopicPartition, Offset, LeaderEpoch)],
        consumer: GroupMetadata,
    ) -> Option<Outcome> {
        if offsets.is_empty() {
            return Some(Ok(()));
        }
        if self.transaction.pending.is_some() {
            return Some(Err(ILLEGAL));
        }
        if let Some(error) = self.transaction.error() {
            return Some(Err(error));
        }
        if self.transaction.state != State::InTransaction {
            return Some(Err(ILLEGAL));
        }
        let offsets = offsets.to_vec();
        let what = if self.is_v2() {
            self.transaction.started = true;
            What::TxnOffsetCommit { group, offsets, consumer }
        } else {
            What::AddOffsets { group, offsets, consumer }
        };
        self.transaction.offsets.push((call, deadline));
        self.transaction.coordinators.enqueue(Rpc::new(what, Waiter::Offsets(call)));
        None
    }

    /// `beginCommit` and `beginAbort`.
    fn end_transaction(
        &mut self,
        call: CallId,
        deadline: Instant,
        result: TransactionResult,
        effects: &mut Effects,
    ) -> Option<Outcome> {
        let operation = Operation::End(result);
        match self.join(operation, call, deadline) {
            Joined::Begins => {}
            joined => return joined.outcome(),
        }
        let abortable = self.transaction.state == State::AbortableError;
        let legal = match result {
            TransactionResult::Abort => abortable,
            // T25 planted: a failed send does not keep the rest from being committed.
            TransactionResult::Commit if abortable => {
                let planted = self.mutations.has(Mutation::ClientCommitAfterAbortable);
                if planted {
                    effects.note(Note::MutationHit);
                }
                planted
            }
            TransactionResult::Commit => false,
        };
        if !legal {
            if let Some(error) = self.transaction.error() {
                return Some(Err(error));
            }
            if self.transaction.state != State::InTransaction {
                return Some(Err(ILLEGAL));
            }
        }
        self.begin_operation(operation, call, deadline);
        self.begin_completing(result, Waiter::Operation);
        None
    }

    /// `beginCompletingTransaction`.
    fn begin_completing(&mut self, result: TransactionResult, waiter: Waiter) {
        let transaction = &mut self.transaction;
        transaction.last_error = ErrorCode::None;
        transaction.state = match result {
            TransactionResult::Commit => State::Committing,
            TransactionResult::Abort => State::Aborting,
        };
        if result == TransactionResult::Abort {
            for member in &mut transaction.membership {
                if *member == Membership::New {
                    *member = Membership::Out;
                }
            }
        }
        transaction.coordinators.enqueue(Rpc::new(What::EndTxn(result), waiter));
        self.all_dirty();
    }

    /// `completeTransaction`: the coordinator has decided it, or never heard of it. Whoever waited
    /// for the end waits for the epoch bump, if one is due.
    pub(super) fn complete_transaction(
        &mut self,
        result: TransactionResult,
        waiter: Waiter,
        maybe_done: bool,
        effects: &mut Effects,
    ) {
        let restart = result == TransactionResult::Abort
            && !self.is_v2()
            && self.mutations.has(Mutation::ClientReuseSequencesAfterAbort);
        if restart {
            effects.note(Note::MutationHit);
            self.transaction.bump_required = false;
            self.forget_sequences();
        }
        let bump = std::mem::take(&mut self.transaction.bump_required);
        let transaction = &mut self.transaction;
        transaction.last_error = ErrorCode::None;
        transaction.started = false;
        transaction.membership.clear();
        if bump {
            transaction.state = State::Initializing;
            let mut rpc = Rpc::new(What::InitProducerId { bump: true }, waiter);
            rpc.maybe_done = maybe_done;
            transaction.coordinators.enqueue(rpc);
            return;
        }
        let known = self.session.has_producer_id();
        self.transaction.state = if known { State::Ready } else { State::Uninitialized };
        self.finish(waiter, Ok(()), effects);
    }

    /// A request that somebody waits for is over.
    pub(super) fn finish(&mut self, waiter: Waiter, outcome: Outcome, effects: &mut Effects) {
        match waiter {
            Waiter::Nobody => {}
            Waiter::Offsets(call) => {
                let waiting = &mut self.transaction.offsets;
                if let Some(index) = waiting.iter().position(|&(other, _)| other == call) {
                    waiting.remove(index);
                    complete(call, outcome, effects);
                }
            }
            Waiter::Operation => {
                let Some(pending) = &mut self.transaction.pending else { return };
                if pending.calls.is_empty() {
                    pending.outcome.get_or_insert(outcome);
                    return;
                }
                for (call, _) in std::mem::take(&mut pending.calls) {
                    complete(call, outcome, effects);
                }
                self.transaction.pending = None;
            }
        }
    }

    /// `transitionToAbortableError`.
    pub(super) fn abortable_error(&mut self, error: ErrorCode, effects: &mut Effects) {
        match self.transaction.state {
            // The transaction is on its way out anyway.
            State::Aborting | State::FatalError => return,
            State::Uninitialized | State::Ready => return,
            State::Committing if self.mutations.has(Mutation::ClientCommitAfterAbortable) => {
                return effects.note(Note::MutationHit);
            }
            State::Initializing
            | State::InTransaction
            | State::Committing
            | State::AbortableError => {}
        }
        if self.mutations.has(Mutation::ClientMisclassify) {
            effects.note(Note::MutationHit);
            return self.fatal_error(ErrorCode::ProducerFenced, effects);
        }
        self.transaction.state = State::AbortableError;
        self.transaction.last_error = error;
        self.all_dirty();
    }

    /// `transitionToFatalError`.
    pub(super) fn fatal_error(&mut self, error: ErrorCode, effects: &mut Effects) {
        self.transaction.state = State::FatalError;
        self.transaction.last_error = error;
        let failure = TransactionError { error, class: ErrorClass::Fatal, maybe_done: false };
        for rpc in self.transaction.coordinators.take_queue() {
            let failure = TransactionError { maybe_done: rpc.maybe_done, ..failure };
            self.finish(rpc.waiter, Err(failure), effects);
        }
        self.finish(Waiter::Operation, Err(failure), effects);
        self.give_up_batches(error, true, effects);
    }

    /// The client itself must bump the epoch after this transaction.
    pub(super) fn require_bump(&mut self) {
        self.transaction.bump_required |= !self.is_v2();
    }

    /// Calls that have blocked for `max.block.ms` return; what they began goes on.
    pub(super) fn expire_blocked_calls(&mut self, now: Instant, effects: &mut Effects) {
        let timeout = if self.mutations.has(Mutation::ClientMisclassify) {
            let (error, class) = (ErrorCode::ProducerFenced, ErrorClass::Fatal);
            TransactionError { error, class, maybe_done: false }
        } else {
            let (error, class) = (ErrorCode::RequestTimedOut, ErrorClass::Timeout);
            TransactionError { error, class, maybe_done: true }
        };
        let transaction = &mut self.transaction;
        let operation = transaction.pending.iter_mut().map(|pending| &mut pending.calls);
        for calls in operation.chain([&mut transaction.offsets]) {
            calls.retain(|&(call, deadline)| {
                let expired = deadline <= now;
                if expired {
                    if timeout.class == ErrorClass::Fatal {
                        effects.note(Note::MutationHit);
                    }
                    complete(call, Err(timeout), effects);
                }
                !expired
            });
        }
    }

    /// `close()` of a transactional producer.
    pub(super) fn close_transaction(&mut self, call: CallId, effects: &mut Effects) {
        if self.transaction.closing.is_some() {
            // The one before says when it is done.
            let completion = Completion::Producer(ProducerCompletion::Closed);
            return effects.0.push(Effect::Return(call, completion));
        }
        self.transaction.closing = Some(call);
        self.all_dirty();
    }

    /// The end of `Sender.run()`: when everything sent is complete, a transaction that is still open
    /// is aborted; one that is ending is waited for, and so is a request in flight.
    pub(super) fn run_close(&mut self, effects: &mut Effects) {
        let Some(call) = self.transaction.closing else { return };
        if !self.accumulator.is_empty() || !self.waiting.is_empty() {
            return;
        }
        let transaction = &mut self.transaction;
        if transaction.is_ongoing() {
            if !transaction.is_completing() && transaction.coordinators.under_way().is_none() {
                self.begin_completing(TransactionResult::Abort, Waiter::Nobody);
            }
            return;
        }
        if transaction.coordinators.is_in_flight() {
            return;
        }
        // A call that another thread is still blocked in.
        transaction.coordinators.take_queue();
        let failure = TransactionError { maybe_done: true, ..ILLEGAL };
        self.finish(Waiter::Operation, Err(failure), effects);
        self.transaction.closing = None;
        let completion = Completion::Producer(ProducerCompletion::Closed);
        effects.0.push(Effect::Return(call, completion));
    }
}

/// What a call finds that may join an operation.
enum Joined {
    /// Nothing to join: it begins the operation.
    Begins,
    /// It waits with the others.
    Waits,
    /// It is over, and was successful.
    Done,
    /// It throws.
    Returns(TransactionError),
}

impl Joined {
    fn outcome(self) -> Option<Outcome> {
        match self {
            Joined::Begins | Joined::Waits => None,
            Joined::Done => Some(Ok(())),
            Joined::Returns(error) => Some(Err(error)),
        }
    }
}

fn complete(call: CallId, outcome: Outcome, effects: &mut Effects) {
    let completion = Completion::Producer(ProducerCompletion::Transaction(outcome));
    effects.0.push(Effect::Return(call, completion));
}
