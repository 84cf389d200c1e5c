//! Kafka's configuration: typed structs with Kafka 4.x defaults.
//!
//! Mirrors `ProducerConfig`, `ConsumerConfig`, `GroupCoordinatorConfig`, `ServerLogConfigs`,
//! `ReplicationConfigs`, `TopicConfig`. Times are [`Duration`]s; a property `x.ms` is the field `x`.

mod broker;
mod consumer;
mod producer;
mod topic;

pub use broker::BrokerConfig;
pub use consumer::{ConsumerConfig, OffsetResetStrategy};
pub use producer::{Partitioner, ProducerConfig};
pub use topic::TopicConfig;
