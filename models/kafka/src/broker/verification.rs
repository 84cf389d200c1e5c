//! Verification: before the first batch of a transaction is appended, its coordinator is asked
//! whether the partition is in the transaction, or told to add it.
//!
//! Mirrors `ReplicaManager.maybeSendPartitionsToTransactionCoordinator`,
//! `ReplicaManager.handleProduceAppend` and `AddPartitionsToTxnManager` (KIP-890).
//!
//! Simplifications:
//! - One request per transaction, at most one in flight and one waiting per transactional id and
//!   coordinator (Kafka: one request in flight per coordinator for all ids). Ids do not wait for
//!   each other, which is a matter of time only.
//! - Clients of transaction version 1 know TRANSACTION_ABORTABLE (Produce v11).

use oncesim_types::{
    ActorId, CorrelationId, Duration, ErrorCode, Instant, ProducerEpoch, ProducerId, Sequence,
    TopicPartition, TransactionalId,
};

use crate::broker::planted::has_any_transaction;
use crate::broker::{Broker, REQUEST_TIMEOUT, TIMER_VERIFICATION, hit};
use crate::config::TransactionVersion;
use crate::log::VerificationGuard;
use crate::machine::{Effects, ReplyTo, TimerKey};
use crate::message::{
    AddPartitionsToTxnRequest, ProduceRequest, ProduceTransaction, Request, TxnOffsetCommitRequest,
};
use crate::mutation::Mutation;

/// `add.partitions.to.txn.retry.backoff.ms`
const RETRY_BACKOFF: Duration = Duration::from_millis(20);
/// `add.partitions.to.txn.retry.backoff.max.ms`
const RETRY_LIMIT: Duration = Duration::from_millis(100);

/// What became of one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    pub(super) partition: TopicPartition,
    /// Not set when the transaction has records in the partition already.
    guard: Option<VerificationGuard>,
    error: ErrorCode,
}

impl Checked {
    pub(super) fn verdict(&self) -> Result<Option<VerificationGuard>, ErrorCode> {
        match self.error {
            ErrorCode::None => Ok(self.guard),
            error => Err(error),
        }
    }
}

/// What waits for a verification.
#[derive(Debug)]
enum Purpose {
    Produce(ReplyTo, ProduceRequest),
    Offsets(ReplyTo, Box<TxnOffsetCommitRequest>),
}

/// A transaction's partitions that are being verified.
#[derive(Debug)]
struct Verifying {
    purpose: Purpose,
    transaction: ProduceTransaction,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    started: Instant,
    checked: Vec<Checked>,
}

impl Verifying {
    fn set_error(&mut self, error: ErrorCode) {
        for check in self.checked.iter_mut().filter(|check| check.guard.is_some()) {
            check.error = error;
        }
    }
}

/// A question to a coordinator.
#[derive(Debug)]
struct Question {
    coordinator: ActorId,
    /// `None` while an earlier question of the same id is in flight.
    sent: Option<(CorrelationId, Instant)>,
    verifying: Verifying,
}

impl Question {
    fn is_about(&self, coordinator: ActorId, transactional_id: TransactionalId) -> bool {
        self.coordinator == coordinator
            && self.verifying.transaction.transactional_id == transactional_id
    }
}

/// Verifications under way.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    /// In the order in which they were asked.
    questions: Vec<Question>,
    /// To be asked again then.
    retries: Vec<(Instant, Verifying)>,
    timer: Option<Instant>,
}

impl Verifications {
    pub(super) fn is_empty(&self) -> bool {
        self.questions.is_empty() && self.retries.is_empty()
    }
}

impl Broker {
    /// Whether a client's transactional batches involve the coordinator.
    pub(super) fn asks_coordinator(&self, version: TransactionVersion) -> bool {
        version.bumps_per_transaction()
            || self.config.transaction_partition_verification
                && !self.mutations.has(Mutation::TxnNoVerification)
    }

    /// The broker that coordinates a transactional id, as far as this one knows.
    fn transaction_coordinator(&self, transactional_id: TransactionalId) -> Option<ActorId> {
        let index = self.transaction_partition(transactional_id)?;
        let leader = self.slot(index).registration.as_ref()?.leader?;
        self.image.is_alive(leader).then_some(leader)
    }

    /// Verifies the partitions of a produce request, then appends. The whole request waits.
    pub(super) fn verify_produce(
        &mut self,
        now: Instant,
        to: ReplyTo,
        transaction: ProduceTransaction,
        request: ProduceRequest,
        effects: &mut Effects,
    ) {
        let first = request.batches.iter().find(|(_, batch)| batch.transactional);
        let Some((producer_id, producer_epoch)) =
            first.map(|(_, batch)| (batch.producer_id, batch.producer_epoch))
        else {
            self.append_produce(now, to, request, &[], effects);
            return;
        };
        let verifying = Verifying {
            purpose: Purpose::Produce(to, request),
            transaction,
            producer_id,
            producer_epoch,
            started: now,
            checked: Vec::new(),
        };
        self.begin_verification(now, verifying, effects);
    }

    /// Verifies the partition of `__consumer_offsets` that a transaction's offsets go to; then
    /// [`Broker::group_offsets_verified`] goes on.
    pub(super) fn verify_offsets(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: Box<TxnOffsetCommitRequest>,
        effects: &mut Effects,
    ) {
        if !self.asks_coordinator(request.version) {
            self.group_offsets_verified(now, to, *request, Ok(None), effects);
            return;
        }
        let transaction = ProduceTransaction {
            transactional_id: request.transactional_id,
            version: request.version,
            number: request.number,
        };
        let (producer_id, producer_epoch) = (request.producer_id, request.producer_epoch);
        let verifying = Verifying {
            purpose: Purpose::Offsets(to, request),
            transaction,
            producer_id,
            producer_epoch,
            started: now,
            checked: Vec::new(),
        };
        self.begin_verification(now, verifying, effects);
    }

    /// Looks which partitions have to be verified, and asks.
    fn begin_verification(
        &mut self,
        now: Instant,
        mut verifying: Verifying,
        effects: &mut Effects,
    ) {
        verifying.checked.clear();
        let (id, epoch) = (verifying.producer_id, verifying.producer_epoch);
        let bumps = verifying.transaction.version.bumps_per_transaction();
        let mut checked = std::mem::take(&mut verifying.checked);
        match &verifying.purpose {
            Purpose::Produce(_, request) => {
                for (partition, batch) in request.batches.iter().filter(|(_, b)| b.transactional) {
                    if self.mutations.has(Mutation::TxnTv2StaleGuard)
                        && bumps
                        && self.has_older_transaction(*partition, batch)
                    {
                        hit(effects);
                        continue;
                    }
                    let sequence = batch.base_sequence;
                    checked.push(self.check_partition(*partition, id, epoch, sequence, bumps));
                }
            }
            Purpose::Offsets(_, request) => {
                let index = self.group_partition(request.group);
                if let Some(partition) = index.map(|index| self.slot(index).partition) {
                    let sequence = Sequence::NONE;
                    checked.push(self.check_partition(partition, id, epoch, sequence, bumps));
                }
            }
        }
        verifying.checked = checked;
        if verifying.checked.iter().all(|check| check.guard.is_none()) {
            self.verified(now, verifying, effects);
            return;
        }
        match self.transaction_coordinator(verifying.transaction.transactional_id) {
            Some(coordinator) => self.enqueue_question(now, coordinator, verifying, effects),
            None => {
                verifying.set_error(ErrorCode::CoordinatorNotAvailable);
                self.verified(now, verifying, effects);
            }
        }
    }

    /// The planted bug: an open transaction is this one, whatever its epoch.
    fn has_older_transaction(
        &self,
        partition: TopicPartition,
        batch: &crate::log::batch::RecordBatch,
    ) -> bool {
        let replica = self.index_of(partition).and_then(|index| self.replica(index));
        replica.is_some_and(|replica| {
            let producers = replica.log.producers();
            has_any_transaction(producers, batch)
                && !producers.has_ongoing_transaction(batch.producer_id, batch.producer_epoch)
        })
    }

    fn check_partition(
        &mut self,
        partition: TopicPartition,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        sequence: Sequence,
        bumps: bool,
    ) -> Checked {
        let failed = |error| Checked { partition, guard: None, error };
        let Some(index) = self.index_of(partition) else {
            return failed(ErrorCode::UnknownTopicOrPartition);
        };
        match self.replica_mut(index) {
            Some(replica) if replica.leader().is_some() => {
                let log = &mut replica.log;
                let guard = log.begin_verification(producer_id, epoch, sequence, bumps);
                Checked { partition, guard, error: ErrorCode::None }
            }
            _ => failed(ErrorCode::NotLeaderOrFollower),
        }
    }

    fn enqueue_question(
        &mut self,
        now: Instant,
        coordinator: ActorId,
        mut verifying: Verifying,
        effects: &mut Effects,
    ) {
        let id = verifying.transaction.transactional_id;
        let questions = &mut self.verifications.questions;
        let waiting =
            questions.iter().position(|q| q.sent.is_none() && q.is_about(coordinator, id));
        let mut replaced = None;
        if let Some(at) = waiting {
            let known = questions[at].verifying.producer_epoch;
            if known > verifying.producer_epoch {
                verifying.set_error(ErrorCode::InvalidProducerEpoch);
                self.verified(now, verifying, effects);
                return;
            }
            let mut old = questions.remove(at).verifying;
            // Of the same epoch: the client has probably given up on the old one.
            old.set_error(if known < verifying.producer_epoch {
                ErrorCode::InvalidProducerEpoch
            } else {
                ErrorCode::NetworkException
            });
            replaced = Some(old);
        }
        questions.push(Question { coordinator, sent: None, verifying });
        if let Some(old) = replaced {
            self.verified(now, old, effects);
        }
        self.ask(now, coordinator, id, effects);
    }

    /// Sends the question that waits for a transactional id, unless one is in flight.
    fn ask(
        &mut self,
        now: Instant,
        coordinator: ActorId,
        id: TransactionalId,
        effects: &mut Effects,
    ) {
        let correlation = self.correlation();
        let questions = &mut self.verifications.questions;
        if questions.iter().any(|q| q.sent.is_some() && q.is_about(coordinator, id)) {
            return;
        }
        let Some(question) = questions.iter_mut().find(|q| q.is_about(coordinator, id)) else {
            return;
        };
        question.sent = Some((correlation, now));
        let Verifying { transaction, producer_id, producer_epoch, checked, .. } =
            &question.verifying;
        let guarded = checked.iter().filter(|check| check.guard.is_some());
        let request = AddPartitionsToTxnRequest {
            transactional_id: transaction.transactional_id,
            producer_id: *producer_id,
            producer_epoch: *producer_epoch,
            verify_only: !transaction.version.bumps_per_transaction(),
            version: transaction.version,
            number: transaction.number,
            partitions: guarded.map(|check| check.partition).collect(),
        };
        effects.send(coordinator, correlation, Request::AddPartitionsToTxn(Box::new(request)));
        self.wake_verifications_at(now, now + REQUEST_TIMEOUT, effects);
    }

    /// A coordinator's word.
    pub(super) fn on_partitions_verified(
        &mut self,
        now: Instant,
        correlation: CorrelationId,
        answers: &[(TopicPartition, ErrorCode)],
        effects: &mut Effects,
    ) {
        let questions = &mut self.verifications.questions;
        let is_it = |q: &Question| q.sent.is_some_and(|(sent, _)| sent == correlation);
        let Some(at) = questions.iter().position(is_it) else { return };
        let mut question = questions.remove(at);
        for check in &mut question.verifying.checked {
            let answer = answers.iter().find(|(partition, _)| *partition == check.partition);
            if let (Some(_), Some((_, error))) = (check.guard, answer) {
                check.error = *error;
            }
        }
        self.answered(now, question, effects);
    }

    fn answered(&mut self, now: Instant, question: Question, effects: &mut Effects) {
        let Question { coordinator, verifying, .. } = question;
        let transaction = verifying.transaction;
        let is_concurrent =
            verifying.checked.iter().any(|check| check.error == ErrorCode::ConcurrentTransactions);
        // The transaction before is about to end, and a round trip to the client takes longer. Of
        // offsets, the client has to take care itself.
        if is_concurrent
            && transaction.version.bumps_per_transaction()
            && matches!(verifying.purpose, Purpose::Produce(..))
            && now.since(verifying.started) < RETRY_LIMIT
        {
            let at = now + RETRY_BACKOFF;
            self.verifications.retries.push((at, verifying));
            self.wake_verifications_at(now, at, effects);
        } else {
            self.verified(now, verifying, effects);
        }
        self.ask(now, coordinator, transaction.transactional_id, effects);
    }

    /// Goes on with what waited.
    fn verified(&mut self, now: Instant, verifying: Verifying, effects: &mut Effects) {
        let Verifying { purpose, transaction, mut checked, .. } = verifying;
        match purpose {
            Purpose::Produce(to, request) => {
                for check in &mut checked {
                    check.error = produce_error(check.error, transaction.version);
                }
                self.append_produce(now, to, request, &checked, effects);
            }
            Purpose::Offsets(to, request) => {
                let verdict = match checked.first().map(|check| (check.guard, check.error)) {
                    None => Err(ErrorCode::CoordinatorNotAvailable),
                    Some((guard, ErrorCode::None)) => Ok(guard),
                    Some((_, error)) => Err(offsets_error(error)),
                };
                self.group_offsets_verified(now, to, *request, verdict, effects);
            }
        }
    }

    /// The connection to a coordinator is gone, and with it the answers.
    pub(super) fn on_verifier_lost(&mut self, now: Instant, peer: ActorId, effects: &mut Effects) {
        self.give_up_questions(now, |q, _| q.coordinator == peer, effects);
    }

    /// Ends the questions in flight that are `lost`, given when they were sent.
    fn give_up_questions(
        &mut self,
        now: Instant,
        lost: impl Fn(&Question, Instant) -> bool,
        effects: &mut Effects,
    ) {
        let questions = &mut self.verifications.questions;
        if questions.is_empty() {
            return;
        }
        let is_lost = |q: &mut Question| q.sent.is_some_and(|(_, sent)| lost(q, sent));
        let given_up: Vec<Question> = questions.extract_if(.., is_lost).collect();
        for mut question in given_up {
            question.verifying.set_error(ErrorCode::NetworkException);
            self.answered(now, question, effects);
        }
    }

    fn wake_verifications_at(&mut self, now: Instant, at: Instant, effects: &mut Effects) {
        if self.verifications.timer.is_none_or(|armed| at < armed) {
            self.verifications.timer = Some(at);
            effects.set_timer(TimerKey(TIMER_VERIFICATION), at.since(now));
        }
    }

    pub(super) fn on_verification_timer(&mut self, now: Instant, effects: &mut Effects) {
        self.verifications.timer = None;
        let retries = &mut self.verifications.retries;
        let due: Vec<_> = retries.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, verifying) in due {
            self.begin_verification(now, verifying, effects);
        }
        self.give_up_questions(now, |_, sent| now.since(sent) >= REQUEST_TIMEOUT, effects);
        let verifications = &self.verifications;
        let sent = verifications.questions.iter().filter_map(|q| q.sent);
        let deadlines = sent.map(|(_, sent)| sent + REQUEST_TIMEOUT);
        let next = deadlines.chain(verifications.retries.iter().map(|(at, _)| *at)).min();
        if let Some(next) = next {
            self.wake_verifications_at(now, next, effects);
        }
    }
}

/// What a producer is told about a failed verification.
fn produce_error(error: ErrorCode, version: TransactionVersion) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        // Errors that older producers do not expect: this one they retry without new metadata.
        ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        ErrorCode::ConcurrentTransactions if !version.bumps_per_transaction() => {
            ErrorCode::NotEnoughReplicas
        }
        error => error,
    }
}

/// What a group's member is told about a failed verification.
fn offsets_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        // An error that older clients do not expect; this one does not make them look for the
        // group's coordinator.
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::NotLeaderOrFollower => ErrorCode::NotCoordinator,
        ErrorCode::UnknownTopicOrPartition => ErrorCode::CoordinatorNotAvailable,
        error => error,
    }
}
