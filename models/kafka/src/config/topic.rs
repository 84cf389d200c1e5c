//! Topics as the cluster knows them, and their properties.
//!
//! Mirrors `TopicConfig` and `LogConfig`.

use std::collections::BTreeMap;

use oncesim_types::TopicId;

use super::BrokerConfig;
use super::property::{ConfigIssue, LONG, Property, PropertyKind, Reader};

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
    /// Which of Kafka's own topics it is, if any. Of those only the partitions exist that some group
    /// or transactional id of the scenario maps to; the others would stay empty.
    pub internal: Option<InternalTopic>,
}

/// A topic that coordinators keep their state in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InternalTopic {
    /// `__consumer_offsets`
    ConsumerOffsets,
    /// `__transaction_state`
    TransactionState,
}

impl TopicConfig {
    /// Whether it is Kafka's own.
    #[must_use]
    pub const fn is_internal(&self) -> bool {
        self.internal.is_some()
    }

    /// Whether it is `__consumer_offsets`.
    #[must_use]
    pub fn is_offsets_topic(&self) -> bool {
        self.internal == Some(InternalTopic::ConsumerOffsets)
    }

    /// Whether it is `__transaction_state`.
    #[must_use]
    pub fn is_transaction_topic(&self) -> bool {
        self.internal == Some(InternalTopic::TransactionState)
    }
}

const PROPERTIES: &[Property] = &[
    Property::modelled(
        "min.insync.replicas",
        PropertyKind::Int { min: 1, max: 255 },
        "1",
        "How many in-sync replicas an acks=all write needs.",
    ),
    Property::modelled(
        "unclean.leader.election.enable",
        PropertyKind::Bool,
        "false",
        "Whether a replica that may lack records can lead when no other is left.",
    ),
    Property::modelled(
        "flush.messages",
        PropertyKind::Int { min: 1, max: LONG },
        "9223372036854775807",
        "Flush a partition after this many records.",
    ),
    Property::other("cleanup.policy"),
    Property::other("compression.gzip.level"),
    Property::other("compression.lz4.level"),
    Property::other("compression.type"),
    Property::other("compression.zstd.level"),
    Property::other("delete.retention.ms"),
    Property::other("file.delete.delay.ms"),
    Property::other("flush.ms"),
    Property::other("follower.replication.throttled.replicas"),
    Property::other("index.interval.bytes"),
    Property::other("leader.replication.throttled.replicas"),
    Property::other("local.retention.bytes"),
    Property::other("local.retention.ms"),
    Property::other("max.compaction.lag.ms"),
    Property::other("max.message.bytes"),
    Property::other("message.timestamp.after.max.ms"),
    Property::other("message.timestamp.before.max.ms"),
    Property::other("message.timestamp.type"),
    Property::other("min.cleanable.dirty.ratio"),
    Property::other("min.compaction.lag.ms"),
    Property::other("preallocate"),
    Property::other("remote.log.copy.disable"),
    Property::other("remote.log.delete.on.disable"),
    Property::other("remote.storage.enable"),
    Property::other("retention.bytes"),
    Property::other("retention.ms"),
    Property::other("segment.bytes"),
    Property::other("segment.index.bytes"),
    Property::other("segment.jitter.ms"),
    Property::other("segment.ms"),
];

/// What older versions had.
const REMOVED: &[(&str, &str)] = &[
    ("message.downconversion.enable", "removed in Kafka 4.0"),
    ("message.format.version", "removed in Kafka 4.0"),
    ("message.timestamp.difference.max.ms", "removed in Kafka 4.0"),
];

/// What topics can be configured with.
pub fn topic_properties() -> impl Iterator<Item = &'static Property> {
    PROPERTIES.iter()
}

/// Reads a topic's properties over the brokers' defaults. The configuration is usable whatever the
/// issues: what is wrong reads as the default.
#[must_use]
pub fn topic_config(
    base: &BrokerConfig,
    topic: TopicId,
    partitions: u16,
    replication_factor: u8,
    properties: &BTreeMap<String, String>,
) -> (TopicConfig, Vec<ConfigIssue>) {
    let reader = Reader::new([PROPERTIES, &[]], REMOVED, properties);
    let mut config = TopicConfig {
        topic,
        partitions,
        replication_factor,
        min_insync_replicas: base.min_insync_replicas,
        unclean_leader_election: base.unclean_leader_election,
        flush_messages: base.log_flush_interval_messages,
        internal: None,
    };
    if reader.is_set("min.insync.replicas") {
        config.min_insync_replicas = reader.small("min.insync.replicas");
    }
    if reader.is_set("unclean.leader.election.enable") {
        config.unclean_leader_election = reader.bool("unclean.leader.election.enable");
    }
    if reader.is_set("flush.messages") {
        config.flush_messages = reader.unless_never("flush.messages");
    }
    (config, reader.issues)
}

#[cfg(test)]
mod tests;
