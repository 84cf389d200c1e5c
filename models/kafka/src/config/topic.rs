//! Topics as the cluster knows them.

use oncesim_types::TopicId;

/// One topic with its effective configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// The topic.
    pub topic: TopicId,
    /// How many partitions.
    pub partitions: u16,
    /// How many replicas of each.
    pub replication_factor: u8,
    /// `min.insync.replicas`
    pub min_insync_replicas: u8,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election: bool,
    /// `flush.messages`: flush after this many records; `None` never.
    pub flush_messages: Option<u64>,
    /// Whether it is `__consumer_offsets`. Only the partitions that some group of the scenario maps
    /// to exist; the others would stay empty.
    pub is_offsets_topic: bool,
}
