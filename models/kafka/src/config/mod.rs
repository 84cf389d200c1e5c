//! Kafka's configuration: typed structs with Kafka 4.x defaults.
//!
//! Mirrors `ProducerConfig`, `ConsumerConfig`, `GroupCoordinatorConfig`, `ServerLogConfigs`,
//! `ReplicationConfigs`, `TopicConfig`. Times are `Duration`s; a property `x.ms` is the field `x`.

mod broker;
mod client;
mod consumer;
mod producer;
mod property;
mod topic;
mod version;

pub use broker::{BrokerConfig, broker_config, broker_properties};
pub use consumer::{ConsumerConfig, OffsetResetStrategy, consumer_config, consumer_properties};
pub use producer::{Partitioner, ProducerConfig, producer_config, producer_properties};
pub use property::{ConfigIssue, IssueKind, Property, PropertyKind};
pub use topic::{InternalTopic, TopicConfig, topic_config, topic_properties};
pub use version::TransactionVersion;
