//! `EndTxn`: a client's decision, and the coordinator's own when it fences.
//!
//! Mirrors `TransactionCoordinator.endTransaction`, `endTransactionWithTV1`,
//! `TransactionMetadata.prepareFenceProducerEpoch` (KIP-98, KIP-588, KIP-890).
//!
//! Simplifications: a producer whose open transaction was fenced with the very last epoch is fenced
//! when it aborts. Kafka seems to hand it that epoch, with which nothing can be ended or fenced any
//! more.

use oncesim_types::{
    ErrorCode, ProducerEpoch, ProducerId, TransactionResult, TransactionState, TransactionalId,
};

use crate::config::TransactionVersion;
use crate::machine::ReplyTo;
use crate::message::{EndTxnRequest, EndTxnResponse, Request, Response};
use crate::mutation::Mutation;
use crate::transaction::TransactionEffect;
use crate::transaction::init_producer_id::Session;
use crate::transaction::shard::{Shard, Turn};
use crate::transaction::state::{TransactionMetadata, bumped};
use crate::transaction::writes::{After, End, EndReply};

/// What an acceptable `EndTxn` leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The transaction ends.
    End,
    /// There is none: the epoch is bumped nevertheless (generation 2).
    EndNothing,
    /// A retry: it has ended already, with this result.
    Done,
}

pub(super) fn serve(shard: &mut Shard, to: ReplyTo, request: EndTxnRequest, turn: &mut Turn<'_>) {
    let v2 = request.version.bumps_per_transaction();
    let verdict = match shard.ids.get(&request.transactional_id) {
        None => Err(ErrorCode::InvalidProducerIdMapping),
        Some(metadata) if !v2 => judge_v1(metadata, &request),
        Some(metadata) => judge_v2(metadata, &request, turn),
    };
    match verdict {
        Err(error) => answer(to, error, NO_SESSION, v2, turn),
        Ok(Verdict::Done) if v2 && shard.ids[&request.transactional_id].has_no_epoch_left() => {
            answer(to, ErrorCode::ProducerFenced, NO_SESSION, v2, turn);
        }
        Ok(Verdict::Done) => {
            let metadata = &shard.ids[&request.transactional_id];
            let session = (metadata.producer_id, metadata.producer_epoch);
            answer(to, ErrorCode::None, session, v2, turn);
        }
        Ok(verdict) => prepare(shard, to, request, verdict, turn),
    }
}

/// Nothing identifies the transaction: a delayed request ends whichever is open (KAFKA-17754).
fn judge_v1(metadata: &TransactionMetadata, request: &EndTxnRequest) -> Result<Verdict, ErrorCode> {
    use TransactionResult::{Abort, Commit};
    use TransactionState::{
        CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit,
        PrepareEpochFence,
    };
    if metadata.producer_id != request.producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if metadata.producer_epoch != request.producer_epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    if metadata.pending.is_some() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    match (metadata.state, request.result) {
        (Ongoing, _) => Ok(Verdict::End),
        (CompleteCommit, Commit) | (CompleteAbort, Abort) => Ok(Verdict::Done),
        (PrepareCommit, Commit) | (PrepareAbort, Abort) => Err(ErrorCode::ConcurrentTransactions),
        (CompleteCommit | PrepareCommit, Abort)
        | (CompleteAbort | PrepareAbort, Commit)
        | (Empty | Dead | PrepareEpochFence, _) => Err(ErrorCode::InvalidTxnState),
    }
}

/// The epoch says which transaction is meant: a retry has the one before the coordinator's.
fn judge_v2(
    metadata: &TransactionMetadata,
    request: &EndTxnRequest,
    turn: &mut Turn<'_>,
) -> Result<Verdict, ErrorCode> {
    use TransactionState::{
        CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit,
        PrepareEpochFence,
    };
    if turn.mutations.has(Mutation::TxnNoEpochBump) {
        return judge_without_bump(metadata, request);
    }
    let current = request.producer_epoch == metadata.producer_epoch;
    let retry_on_overflow = metadata.previous_producer_id == request.producer_id
        && request.producer_epoch == ProducerEpoch(i16::MAX - 1)
        && metadata.producer_epoch == ProducerEpoch(0);
    let retry_on_bump = metadata.version.bumps_per_transaction()
        && i32::from(request.producer_epoch.0) + 1 == i32::from(metadata.producer_epoch.0);
    let is_retry = retry_on_bump || retry_on_overflow;
    let is_valid = match metadata.state {
        Ongoing | Empty | Dead | PrepareEpochFence => current,
        PrepareCommit | PrepareAbort => retry_on_bump,
        CompleteCommit | CompleteAbort => is_retry || current,
    };
    if !is_valid
        && metadata.pending.is_some()
        && turn.mutations.has(Mutation::TxnEpochCheckBeforePending)
    {
        turn.hits(Mutation::TxnEpochCheckBeforePending);
        return Err(ErrorCode::ProducerFenced);
    }
    if metadata.pending.is_some() {
        // First, so that the change can finish: the client may know the next session already.
        return Err(ErrorCode::ConcurrentTransactions);
    }
    if metadata.producer_id != request.producer_id && !retry_on_overflow {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if !is_valid {
        return Err(ErrorCode::ProducerFenced);
    }
    let commit = request.result == TransactionResult::Commit;
    match metadata.state {
        Ongoing => Ok(Verdict::End),
        PrepareCommit if commit => Err(ErrorCode::ConcurrentTransactions),
        PrepareAbort if !commit => Err(ErrorCode::ConcurrentTransactions),
        CompleteCommit if commit && is_retry => Ok(Verdict::Done),
        CompleteAbort if !commit && is_retry => Ok(Verdict::Done),
        CompleteCommit | CompleteAbort if !commit && !is_retry => Ok(Verdict::EndNothing),
        Empty if !commit => Ok(Verdict::EndNothing),
        Empty | PrepareCommit | PrepareAbort | CompleteCommit | CompleteAbort | Dead
        | PrepareEpochFence => Err(ErrorCode::InvalidTxnState),
    }
}

/// The planted bug: as in generation 1, but a transaction without partitions can be aborted.
fn judge_without_bump(
    metadata: &TransactionMetadata,
    request: &EndTxnRequest,
) -> Result<Verdict, ErrorCode> {
    let abort = request.result == TransactionResult::Abort;
    match judge_v1(metadata, request) {
        Err(ErrorCode::InvalidTxnState) if abort && !metadata.is_preparing() => {
            Ok(Verdict::EndNothing)
        }
        verdict => verdict,
    }
}

fn prepare(
    shard: &mut Shard,
    to: ReplyTo,
    request: EndTxnRequest,
    verdict: Verdict,
    turn: &mut Turn<'_>,
) {
    let EndTxnRequest { transactional_id: id, result, number, version, .. } = request;
    let v2 = version.bumps_per_transaction();
    let generation =
        if v2 && turn.hits(Mutation::TxnNoEpochBump) { TransactionVersion::V1 } else { version };
    let metadata = shard.ids.get_mut(&id).expect("judged before");
    let mut next = ProducerId::NONE;
    if generation.bumps_per_transaction() && metadata.is_exhausted() {
        let Some(taken) = turn.producer_ids.take() else {
            turn.out.push(TransactionEffect::AwaitProducerId(to, Request::EndTxn(request)));
            return;
        };
        next = taken;
    }
    if verdict == Verdict::EndNothing {
        metadata.started = turn.now;
        metadata.number = number;
    }
    let transit = metadata.prepare_abort_or_commit(result, generation, next, turn.now);
    let mut reply = EndReply::Client { to, with_session: v2 };
    if turn.hits(Mutation::CoordinatorEndTxnReplyEarly) {
        reply = EndReply::Told;
        let session = match next {
            ProducerId::NONE => (transit.value.producer_id, transit.value.producer_epoch),
            next => (next, ProducerEpoch(0)),
        };
        answer(to, ErrorCode::None, session, v2, turn);
    }
    let issued = Some((number, request.producer_epoch));
    shard.append(id, Some(transit), After::End(End { reply, result, issued }), turn);
}

impl Shard {
    /// Fences whoever has the open transaction, and aborts it. False when no epoch is left for
    /// that.
    pub(super) fn fence_and_abort(
        &mut self,
        id: TransactionalId,
        told: Option<ReplyTo>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let metadata = self.ids.get_mut(&id).expect("checked by the caller");
        if metadata.has_no_epoch_left() && !metadata.has_failed_epoch_fence {
            return false;
        }
        let version = turn.config.transaction_version;
        let reuse = metadata.has_failed_epoch_fence || turn.hits(Mutation::TxnInitNoBump);
        let fence = if reuse { metadata.producer_epoch } else { bumped(metadata.producer_epoch) };
        // In generation 2 the abort itself bumps the epoch (KAFKA-19367).
        if !version.bumps_per_transaction() || turn.hits(Mutation::TxnDoubleBump) {
            metadata.producer_epoch = fence;
            metadata.last_producer_epoch = ProducerEpoch::NONE;
        }
        let (result, none) = (TransactionResult::Abort, ProducerId::NONE);
        let transit = metadata.prepare_abort_or_commit(result, version, none, turn.now);
        let end = End { reply: EndReply::Fence(told), result, issued: None };
        self.append(id, Some(transit), After::End(end), turn);
        true
    }
}

const NO_SESSION: Session = (ProducerId::NONE, ProducerEpoch::NONE);

/// The session of the next transaction, once this one's end is decided.
pub(super) fn next_session(metadata: &TransactionMetadata, turn: &mut Turn<'_>) -> Session {
    let rolls_over = metadata.next_producer_id != ProducerId::NONE;
    match rolls_over {
        false => (metadata.producer_id, metadata.producer_epoch),
        true if turn.hits(Mutation::TxnOverflowWrongPid) => {
            (metadata.producer_id, ProducerEpoch(0))
        }
        true => (metadata.next_producer_id, ProducerEpoch(0)),
    }
}

/// Answers, with the session to go on with in generation 2.
pub(super) fn answer(
    to: ReplyTo,
    error: ErrorCode,
    session: Session,
    with_session: bool,
    turn: &mut Turn<'_>,
) {
    let tell = with_session && error == ErrorCode::None;
    let (producer_id, producer_epoch) = if tell { session } else { NO_SESSION };
    let answer = EndTxnResponse { error, producer_id, producer_epoch };
    turn.reply(to, Response::EndTxn(answer));
}
