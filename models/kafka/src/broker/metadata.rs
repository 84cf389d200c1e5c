//! `Metadata`: brokers and leaders as this broker's image knows them.
//!
//! Mirrors `KafkaApis.handleTopicMetadataRequest`, `KRaftMetadataCache`.

use oncesim_types::{ErrorCode, LeaderEpoch, TopicId};

use crate::broker::Broker;
use crate::message::{MetadataRequest, MetadataResponse, PartitionMetadata, TopicMetadata};

impl Broker {
    pub(super) fn on_metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        MetadataResponse {
            brokers: self.image.alive().collect(),
            topics: request.topics.iter().map(|topic| self.describe(*topic)).collect(),
        }
    }

    fn describe(&self, topic: TopicId) -> TopicMetadata {
        let first = self.first_partition.get(usize::from(topic.0)).copied();
        let Some(first) = first.filter(|first| (*first as usize) < self.slots.len()) else {
            let error = ErrorCode::UnknownTopicOrPartition;
            return TopicMetadata { topic, error, partitions: Vec::new() };
        };
        let first = first as usize;
        let count = usize::from(self.topics[usize::from(self.slots[first].topic)].partitions);
        let describe = |slot: &super::Slot| match &slot.registration {
            Some(known) => {
                PartitionMetadata { leader: known.leader, leader_epoch: known.leader_epoch }
            }
            None => PartitionMetadata { leader: None, leader_epoch: LeaderEpoch::NONE },
        };
        let partitions = self.slots[first..first + count].iter().map(describe).collect();
        TopicMetadata { topic, error: ErrorCode::None, partitions }
    }
}
