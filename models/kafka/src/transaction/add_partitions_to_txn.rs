//! `AddPartitionsToTxn`: from a client of generation 1, from a leader on behalf of a client of
//! generation 2, or from a leader that verifies.
//!
//! Mirrors `TransactionCoordinator.handleAddPartitionsToTransaction`,
//! `handleVerifyPartitionsInTransaction` (KIP-98, KIP-890).
//!
//! Simplifications: partitions are not looked up in the metadata: every topic of a scenario exists
//! from the beginning.

use oncesim_types::{
    ErrorCode, ProducerEpoch, ProducerId, TopicPartition, TransactionNumber, TransactionState,
    TransactionalId,
};

use crate::config::TransactionVersion;
use crate::machine::ReplyTo;
use crate::message::{AddPartitionsToTxnRequest, Response};
use crate::transaction::shard::{Shard, Turn};
use crate::transaction::state::Transit;
use crate::transaction::writes::After;

/// What joins whose transaction.
pub(super) struct Addition<'a> {
    pub(super) transactional_id: TransactionalId,
    pub(super) producer_id: ProducerId,
    pub(super) producer_epoch: ProducerEpoch,
    pub(super) version: TransactionVersion,
    pub(super) number: TransactionNumber,
    pub(super) partitions: &'a [TopicPartition],
}

pub(super) fn serve(
    shard: &mut Shard,
    to: ReplyTo,
    request: AddPartitionsToTxnRequest,
    turn: &mut Turn<'_>,
) {
    if request.verify_only {
        let answers = verify(shard, &request);
        turn.reply(to, Response::AddPartitionsToTxn(answers));
        return;
    }
    let addition = Addition {
        transactional_id: request.transactional_id,
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        version: request.version,
        number: request.number,
        partitions: &request.partitions,
    };
    match prepare(shard, &addition, turn) {
        Ok(transit) => {
            let after = After::AddPartitions(to, request.partitions);
            shard.append(request.transactional_id, Some(transit), after, turn);
        }
        Err(error) => {
            let answers = request.partitions.into_iter().map(|p| (p, error)).collect();
            turn.reply(to, Response::AddPartitionsToTxn(answers));
        }
    }
}

/// Prepares that partitions join; an `Err` is the answer, also if there is nothing to do.
pub(super) fn prepare(
    shard: &mut Shard,
    addition: &Addition<'_>,
    turn: &mut Turn<'_>,
) -> Result<Transit, ErrorCode> {
    let metadata = shard.ids.get_mut(&addition.transactional_id);
    let metadata = metadata.ok_or(ErrorCode::InvalidProducerIdMapping)?;
    if metadata.pending.is_some() {
        // First, so that a change of producer ids can finish.
        return Err(ErrorCode::ConcurrentTransactions);
    }
    if metadata.producer_id != addition.producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if metadata.producer_epoch != addition.producer_epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    if metadata.is_preparing() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    let is_known = |partition| metadata.partitions.binary_search(partition).is_ok();
    if metadata.state == TransactionState::Ongoing && addition.partitions.iter().all(is_known) {
        metadata.number = metadata.number.max(addition.number);
        return Err(ErrorCode::None);
    }
    let Addition { partitions, version, number, .. } = *addition;
    Ok(metadata.prepare_add_partitions(partitions, version, number, turn.now))
}

/// A pending change is not looked at: the leader checks again when it appends.
fn verify(shard: &Shard, request: &AddPartitionsToTxnRequest) -> Vec<(TopicPartition, ErrorCode)> {
    let metadata = shard.ids.get(&request.transactional_id);
    let verdict = |partition| match metadata {
        None => ErrorCode::InvalidProducerIdMapping,
        Some(m) if m.producer_id != request.producer_id => ErrorCode::InvalidProducerIdMapping,
        Some(m) if m.producer_epoch != request.producer_epoch => ErrorCode::ProducerFenced,
        Some(m) if m.is_preparing() => ErrorCode::ConcurrentTransactions,
        Some(m) if m.partitions.binary_search(partition).is_ok() => ErrorCode::None,
        Some(_) => ErrorCode::TransactionAbortable,
    };
    request.partitions.iter().map(|partition| (*partition, verdict(partition))).collect()
}
