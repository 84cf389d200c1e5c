//! `ProducerConfig`.

use oncesim_types::Duration;

use crate::message::Acks;

/// A producer's configuration, valid and with `enable.idempotence` resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerConfig {
    /// `acks`
    pub acks: Acks,
    /// `enable.idempotence`, after Kafka's rule: silently off when acks, retries or in-flight
    /// conflict and it was not asked for.
    pub idempotence: bool,
    /// `retries`
    pub retries: u32,
    /// `max.in.flight.requests.per.connection`
    pub max_in_flight: u32,
    /// `linger.ms`
    pub linger: Duration,
    /// `batch.size`, bytes
    pub batch_size: u32,
    /// `buffer.memory`, bytes
    pub buffer_memory: u64,
    /// `delivery.timeout.ms`
    pub delivery_timeout: Duration,
    /// `request.timeout.ms`
    pub request_timeout: Duration,
    /// `max.block.ms`
    pub max_block: Duration,
    /// `retry.backoff.ms`
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`
    pub retry_backoff_max: Duration,
    /// `reconnect.backoff.ms`
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms`
    pub reconnect_backoff_max: Duration,
    /// `metadata.max.age.ms`
    pub metadata_max_age: Duration,
    /// `max.request.size`, bytes
    pub max_request_size: u32,
    /// How records without a partition are placed.
    pub partitioner: Partitioner,
}

/// `partitioner.class` and `partitioner.ignore.keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// The default: by key hash; records without a key stick to one partition per batch (KIP-480,
    /// KIP-794 without its adaptive part).
    Default,
    /// `org.apache.kafka.clients.producer.RoundRobinPartitioner`.
    RoundRobin,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        ProducerConfig {
            acks: Acks::All,
            idempotence: true,
            retries: i32::MAX as u32,
            max_in_flight: 5,
            linger: Duration::from_millis(5),
            batch_size: 16_384,
            buffer_memory: 33_554_432,
            delivery_timeout: Duration::from_millis(120_000),
            request_timeout: Duration::from_millis(30_000),
            max_block: Duration::from_millis(60_000),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_millis(1_000),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_millis(1_000),
            metadata_max_age: Duration::from_millis(300_000),
            max_request_size: 1_048_576,
            partitioner: Partitioner::Default,
        }
    }
}
