//! Kafka's configuration classes, with their complaints placed in the scenario.

use oncesim_kafka::config::{BrokerConfig, ConsumerConfig, ProducerConfig, TopicConfig};

use crate::diagnostic::Diagnostics;
use crate::property::Properties;

pub(crate) fn broker(properties: &Properties, out: &mut Diagnostics) -> BrokerConfig {
    let _ = (properties, out);
    BrokerConfig::default()
}

pub(crate) fn producer(properties: &Properties, out: &mut Diagnostics) -> ProducerConfig {
    let _ = (properties, out);
    ProducerConfig::default()
}

pub(crate) fn consumer(properties: &Properties, out: &mut Diagnostics) -> ConsumerConfig {
    let _ = (properties, out);
    ConsumerConfig::default()
}

/// The configuration of a topic, on top of what the brokers say.
pub(crate) fn topic(
    properties: &Properties,
    base: TopicConfig,
    out: &mut Diagnostics,
) -> TopicConfig {
    let _ = (properties, out);
    base
}
