//! `ProducerConfig`: the typed configuration, the property table and Kafka's rules.
//!
//! Mirrors `ProducerConfig.postProcessAndValidateIdempotenceConfigs`,
//! `KafkaProducer.configureDeliveryTimeout` and `CommonClientConfigs.postProcessReconnectBackoff`.

use std::collections::BTreeMap;

use oncesim_types::{Duration, TransactionalId};

use super::client::CLIENT_PROPERTIES;
use super::property::{ConfigIssue, INT, IssueKind, LONG, Property, PropertyKind, Reader};
use super::version::TransactionVersion;
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
    /// `transactional.id`, interned by the scenario; `None` for a producer without transactions.
    pub transactional_id: Option<TransactionalId>,
    /// `transaction.timeout.ms`
    pub transaction_timeout: Duration,
    /// The cluster's `transaction.version`, which clients learn from their brokers.
    pub transaction_version: TransactionVersion,
}

/// `partitioner.class` and `partitioner.ignore.keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// The default: by key hash; records without a key stick to one partition per batch (KIP-480,
    /// KIP-794 without its adaptive part).
    Default,
    /// `org.apache.kafka.clients.producer.RoundRobinPartitioner`.
    RoundRobin,
    /// The default with `partitioner.ignore.keys`: every record is placed as if it had no key.
    IgnoreKeys,
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
            transactional_id: None,
            transaction_timeout: Duration::from_millis(60_000),
            transaction_version: TransactionVersion::V2,
        }
    }
}

const MILLIS_INT: PropertyKind = PropertyKind::Millis { min: 0, max: INT };
const MILLIS_LONG: PropertyKind = PropertyKind::Millis { min: 0, max: LONG };
const BYTES_INT: PropertyKind = PropertyKind::Bytes { min: 0, max: INT };

const PROPERTIES: &[Property] = &[
    Property::modelled(
        "acks",
        PropertyKind::Enum(&["all", "-1", "0", "1"]),
        "all",
        "How many replicas must have a batch before it is acknowledged.",
    ),
    Property::modelled(
        "enable.idempotence",
        PropertyKind::Bool,
        "true",
        "Number the batches of each partition, so that brokers drop what a retry sends twice.",
    ),
    Property::modelled(
        "retries",
        PropertyKind::Int { min: 0, max: INT },
        "2147483647",
        "How many times a batch is sent again after a retriable error.",
    ),
    Property::modelled(
        "max.in.flight.requests.per.connection",
        PropertyKind::Int { min: 1, max: INT },
        "5",
        "How many requests may be unanswered on one connection.",
    ),
    Property::modelled("linger.ms", MILLIS_LONG, "5", "How long a batch waits for more records."),
    Property::modelled("batch.size", BYTES_INT, "16384", "How large a batch may grow."),
    Property::modelled(
        "buffer.memory",
        PropertyKind::Bytes { min: 0, max: LONG },
        "33554432",
        "How much may wait to be acknowledged before send() blocks.",
    ),
    Property::modelled(
        "delivery.timeout.ms",
        MILLIS_INT,
        "120000",
        "When the producer gives a record up, whatever state it is in.",
    ),
    Property::modelled(
        "request.timeout.ms",
        MILLIS_INT,
        "30000",
        "When a request without an answer takes its connection down.",
    ),
    Property::modelled(
        "max.block.ms",
        MILLIS_LONG,
        "60000",
        "How long send() waits for metadata and for memory.",
    ),
    Property::modelled("retry.backoff.ms", MILLIS_LONG, "100", "The first wait before a retry."),
    Property::modelled(
        "retry.backoff.max.ms",
        MILLIS_LONG,
        "1000",
        "The longest wait before a retry; waits double up to it.",
    ),
    Property::modelled(
        "reconnect.backoff.ms",
        MILLIS_LONG,
        "50",
        "The first wait before a broken connection is opened again.",
    ),
    Property::modelled(
        "reconnect.backoff.max.ms",
        MILLIS_LONG,
        "1000",
        "The longest wait before a broken connection is opened again.",
    ),
    Property::modelled(
        "metadata.max.age.ms",
        MILLIS_LONG,
        "300000",
        "When metadata is refreshed although nothing went wrong.",
    ),
    Property::modelled("max.request.size", BYTES_INT, "1048576", "How large a request may be."),
    Property::modelled(
        "partitioner.class",
        PropertyKind::Text,
        "",
        "How records without a partition are placed; by key hash when not set.",
    ),
    Property::modelled(
        "partitioner.ignore.keys",
        PropertyKind::Bool,
        "false",
        "Place records with a key as if they had none.",
    ),
    Property::modelled(
        "transactional.id",
        PropertyKind::Text,
        "",
        "The name that survives restarts; a producer with it writes in transactions.",
    ),
    Property::modelled(
        "transaction.timeout.ms",
        PropertyKind::Millis { min: 1, max: INT },
        "60000",
        "When the coordinator aborts a transaction that its producer does not end.",
    ),
    Property::modelled("bootstrap.servers", PropertyKind::List, "", "Given by the cluster."),
    Property::modelled("client.id", PropertyKind::Text, "", "Given by the scenario."),
    Property::modelled("key.serializer", PropertyKind::Text, "", "Records have no bytes here."),
    Property::modelled("value.serializer", PropertyKind::Text, "", "Records have no bytes here."),
    Property::other("transaction.two.phase.commit.enable"),
    Property::other("compression.type"),
    Property::other("compression.gzip.level"),
    Property::other("compression.lz4.level"),
    Property::other("compression.zstd.level"),
    Property::other("partitioner.adaptive.partitioning.enable"),
    Property::other("partitioner.availability.timeout.ms"),
    Property::other("metadata.max.idle.ms"),
];

/// What producers can be configured with.
pub fn producer_properties() -> impl Iterator<Item = &'static Property> {
    PROPERTIES.iter().chain(CLIENT_PROPERTIES)
}

/// What older versions had.
const REMOVED: &[(&str, &str)] = &[
    ("auto.include.jmx.reporter", "removed in Kafka 4.0; use metric.reporters"),
    ("block.on.buffer.full", "removed in Kafka 0.11; use max.block.ms"),
    ("metadata.fetch.timeout.ms", "removed in Kafka 0.11; use max.block.ms"),
    ("timeout.ms", "removed in Kafka 0.11; use request.timeout.ms"),
];

/// Reads a producer's properties by Kafka's rules. The configuration is usable whatever the issues:
/// what is wrong reads as its default.
#[must_use]
pub fn producer_config(
    properties: &BTreeMap<String, String>,
) -> (ProducerConfig, Vec<ConfigIssue>) {
    let mut reader = Reader::new([PROPERTIES, CLIENT_PROPERTIES], REMOVED, properties);
    let acks = match reader.text("acks") {
        "0" => Acks::None,
        "1" => Acks::Leader,
        _ => Acks::All,
    };
    let mut config = ProducerConfig {
        acks,
        idempotence: true,
        retries: reader.small("retries"),
        max_in_flight: reader.small("max.in.flight.requests.per.connection"),
        linger: reader.millis("linger.ms"),
        batch_size: reader.small("batch.size"),
        buffer_memory: reader.small("buffer.memory"),
        delivery_timeout: reader.millis("delivery.timeout.ms"),
        request_timeout: reader.millis("request.timeout.ms"),
        max_block: reader.millis("max.block.ms"),
        retry_backoff: reader.millis("retry.backoff.ms"),
        retry_backoff_max: reader.millis("retry.backoff.max.ms"),
        reconnect_backoff: reader.millis("reconnect.backoff.ms"),
        reconnect_backoff_max: reader.millis("reconnect.backoff.max.ms"),
        metadata_max_age: reader.millis("metadata.max.age.ms"),
        max_request_size: reader.small("max.request.size"),
        partitioner: Partitioner::Default,
        transactional_id: None,
        transaction_timeout: reader.millis("transaction.timeout.ms"),
        transaction_version: TransactionVersion::V2,
    };
    config.partitioner = resolve_partitioner(&mut reader);
    config.idempotence = resolve_idempotence(&mut reader, &config);
    if !config.idempotence && properties.contains_key("transactional.id") {
        let message = "cannot set a transactional.id without also enabling idempotence".to_owned();
        let kind = IssueKind::Conflict { with: "enable.idempotence" };
        reader.report("transactional.id", kind, message, "enable.idempotence=true".to_owned());
    }
    config.delivery_timeout = resolve_delivery_timeout(&mut reader, &config);
    (config, reader.issues)
}

/// `partitioner.class`, by its full or its short name; `partitioner.ignore.keys` counts without it.
fn resolve_partitioner(reader: &mut Reader<'_>) -> Partitioner {
    const NAME: &str = "partitioner.class";
    let class = reader.text(NAME);
    match class.strip_prefix("org.apache.kafka.clients.producer.").unwrap_or(class) {
        "" if reader.bool("partitioner.ignore.keys") => Partitioner::IgnoreKeys,
        "" => Partitioner::Default,
        "RoundRobinPartitioner" => Partitioner::RoundRobin,
        _ => {
            let expected = "RoundRobinPartitioner, or not set".to_owned();
            reader.report_invalid(NAME, class, expected);
            Partitioner::Default
        }
    }
}

/// `enable.idempotence` with acks, retries or in-flight limit that it cannot live with: refused if
/// it was asked for, silently off otherwise; too many in flight are always refused (Kafka 4.0).
fn resolve_idempotence(reader: &mut Reader<'_>, config: &ProducerConfig) -> bool {
    const NAME: &str = "enable.idempotence";
    if !reader.bool(NAME) {
        return false;
    }
    let explicit = reader.is_set(NAME);
    let mut enabled = true;
    let mut clash = |reader: &mut Reader<'_>, with: &'static str, refusal: &str, fix: &str| {
        if explicit {
            let kind = IssueKind::Conflict { with };
            reader.report(NAME, kind, refusal.to_owned(), format!("{fix}, or {NAME}=false"));
        } else {
            let value = reader.text(with);
            let message = format!("idempotence is off because {with} is set to {value}");
            let fix = format!("{fix}, or {NAME}=false to say that it is meant");
            reader.report(with, IssueKind::Adjusted { with: NAME }, message, fix);
        }
        enabled = false;
    };
    if config.retries == 0 {
        let refusal = "must set retries to non-zero when using the idempotent producer";
        clash(reader, "retries", refusal, "remove retries=0");
    }
    if config.acks != Acks::All {
        let refusal = "must set acks to all in order to use the idempotent producer; \
                       otherwise we cannot guarantee idempotence";
        clash(reader, "acks", refusal, "acks=all");
    }
    if config.max_in_flight > 5 {
        const LIMIT: &str = "max.in.flight.requests.per.connection";
        let value = config.max_in_flight;
        let message = format!(
            "to use the idempotent producer, {LIMIT} must be set to at most 5; \
             current value is {value}"
        );
        let fix = format!("{LIMIT}=5, or {NAME}=false");
        reader.report(LIMIT, IssueKind::Conflict { with: NAME }, message, fix);
        enabled = false;
    }
    enabled
}

/// `delivery.timeout.ms` below `linger.ms` + `request.timeout.ms`: refused if it was asked for,
/// raised otherwise.
fn resolve_delivery_timeout(reader: &mut Reader<'_>, config: &ProducerConfig) -> Duration {
    const NAME: &str = "delivery.timeout.ms";
    let least = config.linger + config.request_timeout;
    if config.delivery_timeout >= least {
        return config.delivery_timeout;
    }
    let fix = format!("{NAME}={}", least.as_millis());
    if reader.is_set(NAME) {
        let message = format!(
            "{NAME} should be equal to or larger than linger.ms + \
             request.timeout.ms"
        );
        reader.report(NAME, IssueKind::Conflict { with: "request.timeout.ms" }, message, fix);
    } else {
        let message = format!(
            "{NAME} is raised to {} ms, the sum of linger.ms and request.timeout.ms",
            least.as_millis()
        );
        reader.report(NAME, IssueKind::Adjusted { with: "request.timeout.ms" }, message, fix);
    }
    least
}

#[cfg(test)]
mod tests;
