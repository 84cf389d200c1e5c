//! `InitProducerId` of a transactional producer: a new session fences the one before.
//!
//! Mirrors `TransactionCoordinator.handleInitProducerId`, `prepareInitProducerIdTransit` (KIP-98,
//! KIP-360).

use std::collections::btree_map::Entry;

use oncesim_types::{
    Duration, ErrorCode, ProducerEpoch, ProducerId, TransactionState, TransactionalId,
};

use crate::machine::ReplyTo;
use crate::message::{InitProducerIdRequest, InitProducerIdResponse, Request, Response};
use crate::mutation::Mutation;
use crate::transaction::TransactionEffect;
use crate::transaction::shard::{Shard, Turn};
use crate::transaction::state::{TransactionMetadata, bumped, is_exhausted};
use crate::transaction::writes::After;

/// A session of a producer.
pub(super) type Session = (ProducerId, ProducerEpoch);

pub(super) fn serve(
    shard: &mut Shard,
    to: ReplyTo,
    id: TransactionalId,
    request: InitProducerIdRequest,
    turn: &mut Turn<'_>,
) {
    let timeout = request.transaction_timeout;
    if timeout == Duration::ZERO || timeout > turn.config.transaction_max_timeout {
        return answer(to, ErrorCode::InvalidTransactionTimeout, None, turn);
    }
    let metadata = match shard.ids.entry(id) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => {
            let Some(producer_id) = turn.producer_ids.take() else {
                let request = Request::InitProducerId(request);
                turn.out.push(TransactionEffect::AwaitProducerId(to, request));
                return;
            };
            place.insert(TransactionMetadata::new(producer_id, timeout, turn.now))
        }
    };
    let is_valid = |(producer_id, epoch): Session| {
        metadata.producer_epoch == ProducerEpoch::NONE
            || producer_id == metadata.producer_id
            || (producer_id == metadata.previous_producer_id && is_exhausted(epoch))
    };
    if metadata.pending.is_some() {
        return answer(to, ErrorCode::ConcurrentTransactions, None, turn);
    }
    if !request.current.is_none_or(is_valid) {
        return answer(to, ErrorCode::ProducerFenced, None, turn);
    }
    match metadata.state {
        TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
            answer(to, ErrorCode::ConcurrentTransactions, None, turn);
        }
        TransactionState::Ongoing if turn.hits(Mutation::TxnInitNoAbort) => {
            let session = (metadata.producer_id, metadata.producer_epoch);
            answer(to, ErrorCode::None, Some(session), turn);
        }
        TransactionState::Ongoing => {
            if !shard.fence_and_abort(id, Some(to), turn) {
                answer(to, ErrorCode::UnknownServerError, None, turn);
            }
        }
        TransactionState::Empty
        | TransactionState::CompleteCommit
        | TransactionState::CompleteAbort
        | TransactionState::Dead
        | TransactionState::PrepareEpochFence => begin_session(shard, to, id, request, turn),
    }
}

fn begin_session(
    shard: &mut Shard,
    to: ReplyTo,
    id: TransactionalId,
    request: InitProducerIdRequest,
    turn: &mut Turn<'_>,
) {
    let metadata = shard.ids.get_mut(&id).expect("checked by the caller");
    let expected = request.current.map(|(_, epoch)| epoch);
    let (timeout, current) = (request.transaction_timeout, metadata.producer_epoch);
    let (producer_id, epoch, last);
    if metadata.is_exhausted() {
        if expected.is_some_and(|expected| expected != current) {
            // Kafka throws here: no epoch is left, and the client is not the one that used them up.
            return answer(to, ErrorCode::UnknownServerError, None, turn);
        }
        let Some(next) = turn.producer_ids.take() else {
            turn.out.push(TransactionEffect::AwaitProducerId(to, Request::InitProducerId(request)));
            return;
        };
        last = if expected.is_some() { current } else { ProducerEpoch::NONE };
        (producer_id, epoch) = (next, ProducerEpoch(0));
    } else {
        producer_id = metadata.producer_id;
        (epoch, last) = match next_epoch(metadata, expected, turn) {
            Ok(epochs) => epochs,
            Err(error) => return answer(to, error, None, turn),
        };
    }
    let metadata = shard.ids.get_mut(&id).expect("checked by the caller");
    let transit = metadata.prepare_session(producer_id, epoch, last, timeout, turn.now);
    shard.append(id, Some(transit), After::InitProducerId(to), turn);
}

/// The epoch of the new session and the one to recognise a retry by
/// (`prepareIncrementProducerEpoch`).
fn next_epoch(
    metadata: &TransactionMetadata,
    expected: Option<ProducerEpoch>,
    turn: &mut Turn<'_>,
) -> Result<(ProducerEpoch, ProducerEpoch), ErrorCode> {
    let (current, last) = (metadata.producer_epoch, metadata.last_producer_epoch);
    let is_new = current == ProducerEpoch::NONE;
    let next =
        if !is_new && turn.hits(Mutation::TxnInitNoBump) { current } else { bumped(current) };
    match expected {
        // A later retry of an older session is fenced: nobody has the last epoch.
        None => Ok((next, ProducerEpoch::NONE)),
        Some(expected) if is_new || expected == current => Ok((next, current)),
        // The answer to the same request was lost.
        Some(expected) if expected == last => Ok((current, last)),
        Some(_) => Err(ErrorCode::ProducerFenced),
    }
}

/// Answers; without a session there is an error.
pub(super) fn answer(to: ReplyTo, error: ErrorCode, session: Option<Session>, turn: &mut Turn<'_>) {
    let session = session.filter(|_| error == ErrorCode::None);
    let (producer_id, producer_epoch) = session.unwrap_or((ProducerId::NONE, ProducerEpoch::NONE));
    let answer = InitProducerIdResponse { error, producer_id, producer_epoch };
    turn.reply(to, Response::InitProducerId(answer));
}
