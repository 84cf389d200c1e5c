//! `ConsumerConfig`: the typed configuration, the property table and Kafka's rules.
//!
//! Mirrors `ConsumerConfig` and the constructors of `ClassicKafkaConsumer` and `Heartbeat`.

use std::collections::BTreeMap;

use oncesim_types::{Duration, GroupId, GroupInstanceId};

use super::client::CLIENT_PROPERTIES;
use super::property::{ConfigIssue, INT, IssueKind, LONG, Property, PropertyKind, Reader};
use crate::message::{Assignor, IsolationLevel};

/// A consumer's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// `group.id`
    pub group: Option<GroupId>,
    /// `group.instance.id`
    pub instance: Option<GroupInstanceId>,
    /// `enable.auto.commit`
    pub auto_commit: bool,
    /// `auto.commit.interval.ms`
    pub auto_commit_interval: Duration,
    /// `auto.offset.reset`
    pub auto_offset_reset: OffsetResetStrategy,
    /// `isolation.level`
    pub isolation: IsolationLevel,
    /// `session.timeout.ms`
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`
    pub max_poll_interval: Duration,
    /// `max.poll.records`
    pub max_poll_records: u32,
    /// `partition.assignment.strategy`, the preferred first
    pub assignors: Vec<Assignor>,
    /// `fetch.max.wait.ms`
    pub fetch_max_wait: Duration,
    /// `fetch.max.bytes`
    pub fetch_max_bytes: u32,
    /// `request.timeout.ms`
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`
    pub default_api_timeout: Duration,
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
}

/// `auto.offset.reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetResetStrategy {
    /// From the log start.
    Earliest,
    /// From the log end.
    Latest,
    /// Throw to the application.
    None,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        ConsumerConfig {
            group: None,
            instance: None,
            auto_commit: true,
            auto_commit_interval: Duration::from_millis(5_000),
            auto_offset_reset: OffsetResetStrategy::Latest,
            isolation: IsolationLevel::ReadUncommitted,
            session_timeout: Duration::from_millis(45_000),
            heartbeat_interval: Duration::from_millis(3_000),
            max_poll_interval: Duration::from_millis(300_000),
            max_poll_records: 500,
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            fetch_max_wait: Duration::from_millis(500),
            fetch_max_bytes: 52_428_800,
            request_timeout: Duration::from_millis(30_000),
            default_api_timeout: Duration::from_millis(60_000),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_millis(1_000),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_millis(1_000),
            metadata_max_age: Duration::from_millis(300_000),
        }
    }
}

const MILLIS_INT: PropertyKind = PropertyKind::Millis { min: 0, max: INT };
const MILLIS_LONG: PropertyKind = PropertyKind::Millis { min: 0, max: LONG };

const PROPERTIES: &[Property] = &[
    Property::modelled("group.id", PropertyKind::Text, "", "The group that shares the work."),
    Property::modelled(
        "group.instance.id",
        PropertyKind::Text,
        "",
        "A name that keeps a member's place over restarts (static membership).",
    ),
    Property::modelled(
        "enable.auto.commit",
        PropertyKind::Bool,
        "true",
        "Commit positions in the background.",
    ),
    Property::modelled(
        "auto.commit.interval.ms",
        MILLIS_INT,
        "5000",
        "How often positions are committed in the background.",
    ),
    Property::modelled(
        "auto.offset.reset",
        PropertyKind::Text,
        "latest",
        "Where to start without a committed offset, or when it is out of range.",
    ),
    Property::modelled(
        "isolation.level",
        PropertyKind::Enum(&["read_uncommitted", "read_committed"]),
        "read_uncommitted",
        "Whether records of open and aborted transactions are read.",
    ),
    Property::modelled(
        "session.timeout.ms",
        MILLIS_INT,
        "45000",
        "When a member without heartbeats is removed from its group.",
    ),
    Property::modelled(
        "heartbeat.interval.ms",
        MILLIS_INT,
        "3000",
        "How often a member tells that it lives.",
    ),
    Property::modelled(
        "max.poll.interval.ms",
        PropertyKind::Millis { min: 1, max: INT },
        "300000",
        "When a member that does not call poll() leaves its group.",
    ),
    Property::modelled(
        "max.poll.records",
        PropertyKind::Int { min: 1, max: INT },
        "500",
        "How many records one poll() returns at most.",
    ),
    Property::modelled(
        "partition.assignment.strategy",
        PropertyKind::List,
        "RangeAssignor,CooperativeStickyAssignor",
        "How a group's partitions are distributed; the first that all members support.",
    ),
    Property::modelled(
        "fetch.max.wait.ms",
        MILLIS_INT,
        "500",
        "How long a broker waits for data before it answers a fetch.",
    ),
    Property::modelled(
        "fetch.max.bytes",
        PropertyKind::Bytes { min: 0, max: INT },
        "52428800",
        "How much one fetch returns at most, a first batch excepted.",
    ),
    Property::modelled(
        "request.timeout.ms",
        MILLIS_INT,
        "30000",
        "When a request without an answer takes its connection down.",
    ),
    Property::modelled(
        "default.api.timeout.ms",
        MILLIS_INT,
        "60000",
        "How long commitSync() and others try.",
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
    Property::modelled("bootstrap.servers", PropertyKind::List, "", "Given by the cluster."),
    Property::modelled("client.id", PropertyKind::Text, "", "Given by the scenario."),
    Property::modelled("key.deserializer", PropertyKind::Text, "", "Records have no bytes here."),
    Property::modelled("value.deserializer", PropertyKind::Text, "", "Records have no bytes here."),
    Property::modelled(
        "group.protocol",
        PropertyKind::Enum(&["classic"]),
        "classic",
        "The rebalance protocol; `consumer` (KIP-848) is not modelled.",
    ),
    Property::other("allow.auto.create.topics"),
    Property::other("check.crcs"),
    Property::other("client.rack"),
    Property::other("exclude.internal.topics"),
    Property::other("fetch.min.bytes"),
    Property::other("group.remote.assignor"),
    Property::other("max.partition.fetch.bytes"),
    Property::other("share.acknowledgement.mode"),
    Property::other("share.acquire.mode"),
];

/// What older versions had.
const REMOVED: &[(&str, &str)] =
    &[("auto.include.jmx.reporter", "removed in Kafka 4.0; use metric.reporters")];

/// What consumers can be configured with.
pub fn consumer_properties() -> impl Iterator<Item = &'static Property> {
    PROPERTIES.iter().chain(CLIENT_PROPERTIES)
}

/// Reads a consumer's properties by Kafka's rules. The configuration is usable whatever the issues:
/// what is wrong reads as its default. `group` and `instance` stay `None`: names are interned by the
/// caller.
#[must_use]
pub fn consumer_config(
    properties: &BTreeMap<String, String>,
) -> (ConsumerConfig, Vec<ConfigIssue>) {
    let mut reader = Reader::new([PROPERTIES, CLIENT_PROPERTIES], REMOVED, properties);
    let isolation = match reader.text("isolation.level") {
        "read_committed" => IsolationLevel::ReadCommitted,
        _ => IsolationLevel::ReadUncommitted,
    };
    let config = ConsumerConfig {
        group: None,
        instance: None,
        auto_commit: reader.bool("enable.auto.commit"),
        auto_commit_interval: reader.millis("auto.commit.interval.ms"),
        auto_offset_reset: resolve_offset_reset(&mut reader),
        isolation,
        session_timeout: reader.millis("session.timeout.ms"),
        heartbeat_interval: reader.millis("heartbeat.interval.ms"),
        max_poll_interval: reader.millis("max.poll.interval.ms"),
        max_poll_records: reader.small("max.poll.records"),
        assignors: resolve_assignors(&mut reader),
        fetch_max_wait: reader.millis("fetch.max.wait.ms"),
        fetch_max_bytes: reader.small("fetch.max.bytes"),
        request_timeout: reader.millis("request.timeout.ms"),
        default_api_timeout: reader.millis("default.api.timeout.ms"),
        retry_backoff: reader.millis("retry.backoff.ms"),
        retry_backoff_max: reader.millis("retry.backoff.max.ms"),
        reconnect_backoff: reader.millis("reconnect.backoff.ms"),
        reconnect_backoff_max: reader.millis("reconnect.backoff.max.ms"),
        metadata_max_age: reader.millis("metadata.max.age.ms"),
    };
    check_timeouts(&mut reader, &config);
    (config, reader.issues)
}

fn resolve_offset_reset(reader: &mut Reader<'_>) -> OffsetResetStrategy {
    const NAME: &str = "auto.offset.reset";
    match reader.text(NAME) {
        "earliest" => OffsetResetStrategy::Earliest,
        "latest" => OffsetResetStrategy::Latest,
        "none" => OffsetResetStrategy::None,
        value => {
            if value.starts_with("by_duration:") {
                let message = format!("{NAME}={value} is not modelled: it reads as latest");
                let fix = format!("{NAME}=earliest");
                reader.report(NAME, IssueKind::NotModelled, message, fix);
            } else {
                let expected = "one of earliest, latest, none, by_duration:<duration>".to_owned();
                reader.report_invalid(NAME, value, expected);
            }
            OffsetResetStrategy::Latest
        }
    }
}

/// Assignors by their full or their short class name.
fn resolve_assignors(reader: &mut Reader<'_>) -> Vec<Assignor> {
    const NAME: &str = "partition.assignment.strategy";
    let mut assignors = Vec::new();
    let mut wrong = None;
    for class in reader.list(NAME) {
        let short = class.strip_prefix("org.apache.kafka.clients.consumer.").unwrap_or(class);
        let assignor = match short {
            "RangeAssignor" => Assignor::Range,
            "RoundRobinAssignor" => Assignor::RoundRobin,
            "StickyAssignor" => Assignor::Sticky,
            "CooperativeStickyAssignor" => Assignor::CooperativeSticky,
            _ => {
                wrong = Some(class);
                continue;
            }
        };
        if assignors.contains(&assignor) {
            wrong = Some(class);
        } else {
            assignors.push(assignor);
        }
    }
    if let Some(class) = wrong {
        let expected = "RangeAssignor, RoundRobinAssignor, StickyAssignor, \
                        CooperativeStickyAssignor, each at most once";
        reader.report_invalid(NAME, class, expected.to_owned());
    } else if assignors.is_empty() {
        reader.report_invalid(NAME, "(nothing)", "at least one assignor".to_owned());
    }
    if assignors.is_empty() { ConsumerConfig::default().assignors } else { assignors }
}

fn check_timeouts(reader: &mut Reader<'_>, config: &ConsumerConfig) {
    if config.heartbeat_interval >= config.session_timeout {
        let message = "heartbeat must be set lower than the session timeout".to_owned();
        let third = config.session_timeout.as_millis() / 3;
        let kind = IssueKind::Conflict { with: "session.timeout.ms" };
        let fix = format!("heartbeat.interval.ms={third}");
        reader.report("heartbeat.interval.ms", kind, message, fix);
    }
    if config.fetch_max_wait >= config.request_timeout {
        let message = "fetch.max.wait.ms is not below request.timeout.ms: every fetch that waits \
                       for data times out and takes its connection down";
        let kind = IssueKind::Hazard { with: "request.timeout.ms" };
        let fix = format!("fetch.max.wait.ms={}", config.request_timeout.as_millis() / 2);
        reader.report("fetch.max.wait.ms", kind, message.to_owned(), fix);
    }
}

#[cfg(test)]
mod tests;
