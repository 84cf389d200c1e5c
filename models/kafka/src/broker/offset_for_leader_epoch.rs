//! `OffsetForLeaderEpoch`: where an epoch ended, for consumers that validate their position.
//!
//! Mirrors `ReplicaManager.lastOffsetForLeaderEpoch` (KIP-101, KIP-320).

use oncesim_types::{ErrorCode, LeaderEpoch, Offset};

use crate::broker::Broker;
use crate::message::{OffsetForLeaderEpochPartitionResponse, OffsetForLeaderEpochRequest};

impl Broker {
    pub(super) fn on_offset_for_leader_epoch(
        &self,
        request: &OffsetForLeaderEpochRequest,
    ) -> Vec<OffsetForLeaderEpochPartitionResponse> {
        let mut answers = Vec::with_capacity(request.partitions.len());
        for &(partition, known, asked) in &request.partitions {
            let mut answer = OffsetForLeaderEpochPartitionResponse {
                partition,
                error: ErrorCode::None,
                leader_epoch: LeaderEpoch::NONE,
                end_offset: Offset::UNKNOWN,
            };
            match self.led(partition, known) {
                Err(error) => answer.error = error,
                Ok(replica) => {
                    let log = &replica.log;
                    let end = log.epochs().end_offset_for(asked, log.log_end());
                    if let Some((epoch, end)) = end {
                        (answer.leader_epoch, answer.end_offset) = (epoch, end);
                    }
                }
            }
            answers.push(answer);
        }
        answers
    }
}
