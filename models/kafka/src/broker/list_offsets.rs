//! `ListOffsets`: where a partition begins, and where its readers may read to.
//!
//! Mirrors `Partition.fetchOffsetForTimestamp` (KIP-207, KIP-320).

use oncesim_types::{ErrorCode, LeaderEpoch, Offset, TopicPartition};

use crate::broker::Broker;
use crate::message::{
    IsolationLevel, ListOffsetsPartitionResponse, ListOffsetsRequest, OffsetSpec,
};

impl Broker {
    pub(super) fn on_list_offsets(
        &self,
        request: &ListOffsetsRequest,
    ) -> Vec<ListOffsetsPartitionResponse> {
        let answer = |&(partition, known, spec)| match self.list_offset(
            partition,
            known,
            spec,
            request.isolation,
        ) {
            Ok((offset, leader_epoch)) => ListOffsetsPartitionResponse {
                partition,
                error: ErrorCode::None,
                offset,
                leader_epoch,
            },
            Err(error) => ListOffsetsPartitionResponse {
                partition,
                error,
                offset: Offset::UNKNOWN,
                leader_epoch: LeaderEpoch::NONE,
            },
        };
        request.partitions.iter().map(answer).collect()
    }

    /// What `ListOffsets` would answer about the end of `partition` now; `None` for an error.
    #[must_use]
    pub fn latest_offset(&self, partition: TopicPartition) -> Option<Offset> {
        let (any, uncommitted) = (LeaderEpoch::NONE, IsolationLevel::ReadUncommitted);
        let answer = self.list_offset(partition, any, OffsetSpec::Latest, uncommitted);
        answer.ok().map(|(offset, _)| offset)
    }

    fn list_offset(
        &self,
        partition: TopicPartition,
        known: LeaderEpoch,
        spec: OffsetSpec,
        isolation: IsolationLevel,
    ) -> Result<(Offset, LeaderEpoch), ErrorCode> {
        let replica = self.led(partition, known)?;
        match spec {
            OffsetSpec::Earliest => {
                let first = replica.log.batches().first();
                let epoch = first.map_or(LeaderEpoch::NONE, |batch| batch.leader_epoch);
                Ok((replica.log.log_start(), epoch))
            }
            OffsetSpec::Latest => {
                // KIP-207: a new leader's high watermark may be behind what was exposed before.
                let leader = replica.leader().expect("checked by led");
                if replica.high_watermark < leader.epoch_start {
                    return Err(ErrorCode::OffsetNotAvailable);
                }
                let end = match isolation {
                    IsolationLevel::ReadUncommitted => replica.high_watermark,
                    IsolationLevel::ReadCommitted => replica.last_stable_offset(),
                };
                Ok((end, replica.leader_epoch))
            }
        }
    }
}
