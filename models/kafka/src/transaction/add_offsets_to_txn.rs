//! `AddOffsetsToTxn`: the group's partition of `__consumer_offsets` joins the transaction.
//!
//! Mirrors `KafkaApis.handleAddOffsetsToTxnRequest` (KIP-98).

use oncesim_types::TopicPartition;

use crate::config::TransactionVersion;
use crate::machine::ReplyTo;
use crate::message::{AddOffsetsToTxnRequest, Response};
use crate::transaction::add_partitions_to_txn::{Addition, prepare};
use crate::transaction::shard::{Shard, Turn};
use crate::transaction::writes::After;

pub(super) fn serve(
    shard: &mut Shard,
    to: ReplyTo,
    request: AddOffsetsToTxnRequest,
    offsets: TopicPartition,
    turn: &mut Turn<'_>,
) {
    let addition = Addition {
        transactional_id: request.transactional_id,
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        // Clients of generation 2 do not send it.
        version: TransactionVersion::V1,
        number: request.number,
        partitions: &[offsets],
    };
    match prepare(shard, &addition, turn) {
        Ok(transit) => {
            shard.append(request.transactional_id, Some(transit), After::AddOffsets(to), turn);
        }
        Err(error) => turn.reply(to, Response::AddOffsetsToTxn(error)),
    }
}
