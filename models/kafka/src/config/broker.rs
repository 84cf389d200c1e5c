//! The broker's, the coordinators' and the controller's configuration.
//!
//! Mirrors `ServerLogConfigs`, `ReplicationConfigs`, `KRaftConfigs`, `GroupCoordinatorConfig` and
//! `TransactionLogConfigs`, as far as a model reads them.

use std::collections::BTreeMap;

use oncesim_types::Duration;

use super::property::{ConfigIssue, INT, IssueKind, LONG, Property, PropertyKind, Reader};
use super::version::TransactionVersion;

/// Configuration of every broker and of the controller. Topic-level values (`min.insync.replicas`,
/// `unclean.leader.election.enable`, `flush.messages`) are the cluster's defaults for topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `min.insync.replicas`
    pub min_insync_replicas: u8,
    /// `default.replication.factor`
    pub default_replication_factor: u8,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election: bool,
    /// `replica.lag.time.max.ms`
    pub replica_lag_time_max: Duration,
    /// `replica.fetch.wait.max.ms`
    pub replica_fetch_wait_max: Duration,
    /// `replica.fetch.backoff.ms`
    pub replica_fetch_backoff: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`
    pub high_watermark_checkpoint_interval: Duration,
    /// `log.flush.interval.messages`: flush each partition after this many records; `None` never.
    pub log_flush_interval_messages: Option<u64>,
    /// `log.flush.interval.ms`: flush each partition this often; `None` never.
    pub log_flush_interval: Option<Duration>,
    /// `broker.session.timeout.ms`
    pub broker_session_timeout: Duration,
    /// `broker.heartbeat.interval.ms`
    pub broker_heartbeat_interval: Duration,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration: Duration,
    /// `producer.id.expiration.check.interval.ms`
    pub producer_id_expiration_check_interval: Duration,
    /// `eligible.leader.replicas.version` is 1 (KIP-966; the default of new 4.1+ clusters)
    pub eligible_leader_replicas: bool,
    /// `offsets.topic.num.partitions`
    pub offsets_topic_partitions: u16,
    /// `offsets.topic.replication.factor`
    pub offsets_topic_replication_factor: u8,
    /// `offsets.commit.timeout.ms`
    pub offsets_commit_timeout: Duration,
    /// `group.initial.rebalance.delay.ms`
    pub group_initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`
    pub group_min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`
    pub group_max_session_timeout: Duration,
    /// `controlled.shutdown.enable`
    pub controlled_shutdown: bool,
    /// `transaction.version`, the generation of the transaction protocol
    pub transaction_version: TransactionVersion,
    /// `transaction.state.log.num.partitions`
    pub transaction_state_log_partitions: u16,
    /// `transaction.state.log.replication.factor`
    pub transaction_state_log_replication_factor: u8,
    /// `transaction.state.log.min.isr`
    pub transaction_state_log_min_isr: u8,
    /// `transaction.max.timeout.ms`
    pub transaction_max_timeout: Duration,
    /// `transactional.id.expiration.ms`
    pub transactional_id_expiration: Duration,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
    pub transaction_abort_interval: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub transaction_remove_expired_interval: Duration,
    /// `transaction.partition.verification.enable` (KIP-890 part 1)
    pub transaction_partition_verification: bool,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        BrokerConfig {
            min_insync_replicas: 1,
            default_replication_factor: 1,
            unclean_leader_election: false,
            replica_lag_time_max: Duration::from_millis(30_000),
            replica_fetch_wait_max: Duration::from_millis(500),
            replica_fetch_backoff: Duration::from_millis(1_000),
            high_watermark_checkpoint_interval: Duration::from_millis(5_000),
            log_flush_interval_messages: None,
            log_flush_interval: None,
            broker_session_timeout: Duration::from_millis(9_000),
            broker_heartbeat_interval: Duration::from_millis(2_000),
            producer_id_expiration: Duration::from_millis(86_400_000),
            producer_id_expiration_check_interval: Duration::from_millis(600_000),
            eligible_leader_replicas: true,
            offsets_topic_partitions: 50,
            offsets_topic_replication_factor: 3,
            offsets_commit_timeout: Duration::from_millis(5_000),
            group_initial_rebalance_delay: Duration::from_millis(3_000),
            group_min_session_timeout: Duration::from_millis(6_000),
            group_max_session_timeout: Duration::from_millis(1_800_000),
            controlled_shutdown: true,
            transaction_version: TransactionVersion::V2,
            transaction_state_log_partitions: 50,
            transaction_state_log_replication_factor: 3,
            transaction_state_log_min_isr: 2,
            transaction_max_timeout: Duration::from_millis(900_000),
            transactional_id_expiration: Duration::from_millis(604_800_000),
            transaction_abort_interval: Duration::from_millis(10_000),
            transaction_remove_expired_interval: Duration::from_millis(3_600_000),
            transaction_partition_verification: true,
        }
    }
}

const MILLIS_INT: PropertyKind = PropertyKind::Millis { min: 1, max: INT };
const MILLIS_LONG: PropertyKind = PropertyKind::Millis { min: 1, max: LONG };
const COUNT: PropertyKind = PropertyKind::Int { min: 1, max: 255 };

const PROPERTIES: &[Property] = &[
    Property::modelled(
        "min.insync.replicas",
        COUNT,
        "1",
        "How many in-sync replicas an acks=all write needs.",
    ),
    Property::modelled(
        "default.replication.factor",
        COUNT,
        "1",
        "How many replicas a topic has that does not say.",
    ),
    Property::modelled(
        "unclean.leader.election.enable",
        PropertyKind::Bool,
        "false",
        "Whether a replica that may lack records can lead when no other is left.",
    ),
    Property::modelled(
        "replica.lag.time.max.ms",
        MILLIS_LONG,
        "30000",
        "When a follower that has not caught up leaves the in-sync replicas.",
    ),
    Property::modelled(
        "replica.fetch.wait.max.ms",
        MILLIS_INT,
        "500",
        "How long a follower's fetch waits for data.",
    ),
    Property::modelled(
        "replica.fetch.backoff.ms",
        PropertyKind::Millis { min: 0, max: INT },
        "1000",
        "How long a follower waits after a failed fetch.",
    ),
    Property::modelled(
        "replica.high.watermark.checkpoint.interval.ms",
        MILLIS_LONG,
        "5000",
        "How often high watermarks are written to disk.",
    ),
    Property::modelled(
        "log.flush.interval.messages",
        PropertyKind::Int { min: 1, max: LONG },
        "9223372036854775807",
        "Flush a partition after this many records.",
    ),
    Property::modelled(
        "log.flush.interval.ms",
        PropertyKind::Millis { min: 0, max: LONG },
        "",
        "Flush a partition this often; never when not set.",
    ),
    Property::modelled(
        "broker.session.timeout.ms",
        MILLIS_INT,
        "9000",
        "When the controller fences a broker without heartbeats.",
    ),
    Property::modelled(
        "broker.heartbeat.interval.ms",
        MILLIS_INT,
        "2000",
        "How often a broker tells the controller that it lives.",
    ),
    Property::modelled(
        "producer.id.expiration.ms",
        MILLIS_INT,
        "86400000",
        "When a partition forgets a producer that is idle.",
    ),
    Property::modelled(
        "producer.id.expiration.check.interval.ms",
        MILLIS_INT,
        "600000",
        "How often idle producers are looked for.",
    ),
    Property::modelled(
        "eligible.leader.replicas.version",
        PropertyKind::Int { min: 0, max: 1 },
        "1",
        "Whether replicas that left the in-sync set below the minimum can still be elected (KIP-966).",
    ),
    Property::modelled(
        "offsets.topic.num.partitions",
        PropertyKind::Int { min: 1, max: 65_535 },
        "50",
        "How many partitions __consumer_offsets has.",
    ),
    Property::modelled(
        "offsets.topic.replication.factor",
        COUNT,
        "3",
        "How many replicas __consumer_offsets has.",
    ),
    Property::modelled(
        "offsets.commit.timeout.ms",
        MILLIS_INT,
        "5000",
        "How long an offset commit waits for its replicas.",
    ),
    Property::modelled(
        "group.initial.rebalance.delay.ms",
        PropertyKind::Millis { min: 0, max: INT },
        "3000",
        "How long an empty group waits for more members before its first rebalance.",
    ),
    Property::modelled(
        "group.min.session.timeout.ms",
        MILLIS_INT,
        "6000",
        "The shortest session.timeout.ms that a member may ask for.",
    ),
    Property::modelled(
        "group.max.session.timeout.ms",
        MILLIS_INT,
        "1800000",
        "The longest session.timeout.ms that a member may ask for.",
    ),
    Property::modelled(
        "controlled.shutdown.enable",
        PropertyKind::Bool,
        "true",
        "Whether a broker hands its leaderships over before it stops.",
    ),
    Property::modelled(
        "transaction.state.log.num.partitions",
        PropertyKind::Int { min: 1, max: 65_535 },
        "50",
        "How many partitions __transaction_state has.",
    ),
    Property::modelled(
        "transaction.state.log.replication.factor",
        COUNT,
        "3",
        "How many replicas __transaction_state has.",
    ),
    Property::modelled(
        "transaction.state.log.min.isr",
        COUNT,
        "2",
        "How many in-sync replicas a write to __transaction_state needs.",
    ),
    Property::modelled(
        "transaction.max.timeout.ms",
        MILLIS_INT,
        "900000",
        "The longest transaction.timeout.ms that a producer may ask for.",
    ),
    Property::modelled(
        "transactional.id.expiration.ms",
        MILLIS_INT,
        "604800000",
        "When a coordinator forgets a transactional id that is idle.",
    ),
    Property::modelled(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        MILLIS_INT,
        "10000",
        "How often transactions that take too long are looked for.",
    ),
    Property::modelled(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        MILLIS_INT,
        "3600000",
        "How often idle transactional ids are looked for.",
    ),
    Property::modelled(
        "transaction.partition.verification.enable",
        PropertyKind::Bool,
        "true",
        "Whether a leader asks the coordinator before a transaction's first write (KIP-890).",
    ),
    Property::other("advertised.listeners"),
    Property::other("alter.config.policy.class.name"),
    Property::other("authorizer.class.name"),
    Property::other("auto.create.topics.enable"),
    Property::other("auto.leader.rebalance.enable"),
    Property::other("background.threads"),
    Property::other("broker.id"),
    Property::other("broker.rack"),
    Property::other("compression.type"),
    Property::other("connections.max.idle.ms"),
    Property::other("connections.max.reauth.ms"),
    Property::other("controller.listener.names"),
    Property::other("controller.quorum.bootstrap.servers"),
    Property::other("controller.quorum.election.backoff.max.ms"),
    Property::other("controller.quorum.election.timeout.ms"),
    Property::other("controller.quorum.fetch.timeout.ms"),
    Property::other("controller.quorum.voters"),
    Property::other("create.topic.policy.class.name"),
    Property::other("delegation.token.expiry.time.ms"),
    Property::other("delete.topic.enable"),
    Property::other("fetch.max.bytes"),
    Property::other("fetch.purgatory.purge.interval.requests"),
    Property::other("group.consumer.assignors"),
    Property::other("group.consumer.heartbeat.interval.ms"),
    Property::other("group.consumer.max.session.timeout.ms"),
    Property::other("group.consumer.migration.policy"),
    Property::other("group.consumer.min.session.timeout.ms"),
    Property::other("group.consumer.session.timeout.ms"),
    Property::other("group.coordinator.append.linger.ms"),
    Property::other("group.coordinator.rebalance.protocols"),
    Property::other("group.coordinator.threads"),
    Property::other("group.max.size"),
    Property::other("inter.broker.listener.name"),
    Property::other("leader.imbalance.check.interval.seconds"),
    Property::other("leader.imbalance.per.broker.percentage"),
    Property::other("listener.security.protocol.map"),
    Property::other("listeners"),
    Property::other("log.cleaner.backoff.ms"),
    Property::other("log.cleaner.dedupe.buffer.size"),
    Property::other("log.cleaner.delete.retention.ms"),
    Property::other("log.cleaner.enable"),
    Property::other("log.cleaner.max.compaction.lag.ms"),
    Property::other("log.cleaner.min.cleanable.ratio"),
    Property::other("log.cleaner.min.compaction.lag.ms"),
    Property::other("log.cleaner.threads"),
    Property::other("log.cleanup.policy"),
    Property::other("log.dir"),
    Property::other("log.dirs"),
    Property::other("log.flush.offset.checkpoint.interval.ms"),
    Property::other("log.flush.scheduler.interval.ms"),
    Property::other("log.flush.start.offset.checkpoint.interval.ms"),
    Property::other("log.index.interval.bytes"),
    Property::other("log.index.size.max.bytes"),
    Property::other("log.local.retention.bytes"),
    Property::other("log.local.retention.ms"),
    Property::other("log.message.timestamp.after.max.ms"),
    Property::other("log.message.timestamp.before.max.ms"),
    Property::other("log.message.timestamp.type"),
    Property::other("log.preallocate"),
    Property::other("log.retention.bytes"),
    Property::other("log.retention.check.interval.ms"),
    Property::other("log.retention.hours"),
    Property::other("log.retention.minutes"),
    Property::other("log.retention.ms"),
    Property::other("log.roll.hours"),
    Property::other("log.roll.ms"),
    Property::other("log.segment.bytes"),
    Property::other("log.segment.delete.delay.ms"),
    Property::other("max.connections"),
    Property::other("max.connections.per.ip"),
    Property::other("max.incremental.fetch.session.cache.slots"),
    Property::other("message.max.bytes"),
    Property::other("metadata.log.dir"),
    Property::other("metadata.log.max.record.bytes.between.snapshots"),
    Property::other("metadata.log.segment.bytes"),
    Property::other("metadata.max.idle.interval.ms"),
    Property::other("metadata.max.retention.bytes"),
    Property::other("metadata.max.retention.ms"),
    Property::other("metric.reporters"),
    Property::other("metrics.num.samples"),
    Property::other("metrics.recording.level"),
    Property::other("metrics.sample.window.ms"),
    Property::other("node.id"),
    Property::other("num.io.threads"),
    Property::other("num.network.threads"),
    Property::other("num.partitions"),
    Property::other("num.recovery.threads.per.data.dir"),
    Property::other("num.replica.alter.log.dirs.threads"),
    Property::other("num.replica.fetchers"),
    Property::other("offset.metadata.max.bytes"),
    Property::other("offsets.load.buffer.size"),
    Property::other("offsets.retention.check.interval.ms"),
    Property::other("offsets.retention.minutes"),
    Property::other("offsets.topic.compression.codec"),
    Property::other("offsets.topic.segment.bytes"),
    Property::other("process.roles"),
    Property::other("queued.max.request.bytes"),
    Property::other("queued.max.requests"),
    Property::other("remote.log.storage.system.enable"),
    Property::other("replica.fetch.max.bytes"),
    Property::other("replica.fetch.min.bytes"),
    Property::other("replica.fetch.response.max.bytes"),
    Property::other("replica.selector.class"),
    Property::other("replica.socket.receive.buffer.bytes"),
    Property::other("replica.socket.timeout.ms"),
    Property::other("request.timeout.ms"),
    Property::other("sasl.enabled.mechanisms"),
    Property::other("security.inter.broker.protocol"),
    Property::other("socket.listen.backlog.size"),
    Property::other("socket.receive.buffer.bytes"),
    Property::other("socket.request.max.bytes"),
    Property::other("socket.send.buffer.bytes"),
    Property::other("transaction.state.log.segment.bytes"),
    Property::other("transaction.two.phase.commit.enable"),
];

/// What older versions had.
const REMOVED: &[(&str, &str)] = &[
    ("control.plane.listener.name", "removed in Kafka 4.0 with ZooKeeper"),
    ("controlled.shutdown.max.retries", "removed in Kafka 4.1"),
    ("controlled.shutdown.retry.backoff.ms", "removed in Kafka 4.1"),
    ("inter.broker.protocol.version", "removed in Kafka 4.0; use metadata.version"),
    ("log.message.downconversion.enable", "removed in Kafka 4.0"),
    ("log.message.format.version", "removed in Kafka 4.0"),
    ("log.message.timestamp.difference.max.ms", "removed in Kafka 4.0"),
    ("offsets.commit.required.acks", "removed in Kafka 4.0; commits always need acks=all"),
    ("zookeeper.connect", "removed in Kafka 4.0 with ZooKeeper"),
    ("zookeeper.session.timeout.ms", "removed in Kafka 4.0 with ZooKeeper"),
];

/// What brokers can be configured with.
pub fn broker_properties() -> impl Iterator<Item = &'static Property> {
    PROPERTIES.iter()
}

/// Reads the brokers' properties by Kafka's rules. The configuration is usable whatever the issues:
/// what is wrong reads as its default.
#[must_use]
pub fn broker_config(properties: &BTreeMap<String, String>) -> (BrokerConfig, Vec<ConfigIssue>) {
    let mut reader = Reader::new([PROPERTIES, &[]], REMOVED, properties);
    let config = BrokerConfig {
        min_insync_replicas: reader.small("min.insync.replicas"),
        default_replication_factor: reader.small("default.replication.factor"),
        unclean_leader_election: reader.bool("unclean.leader.election.enable"),
        replica_lag_time_max: reader.millis("replica.lag.time.max.ms"),
        replica_fetch_wait_max: reader.millis("replica.fetch.wait.max.ms"),
        replica_fetch_backoff: reader.millis("replica.fetch.backoff.ms"),
        high_watermark_checkpoint_interval: reader
            .millis("replica.high.watermark.checkpoint.interval.ms"),
        log_flush_interval_messages: reader.unless_never("log.flush.interval.messages"),
        log_flush_interval: reader
            .unless_never("log.flush.interval.ms")
            .map(|_| reader.millis("log.flush.interval.ms")),
        broker_session_timeout: reader.millis("broker.session.timeout.ms"),
        broker_heartbeat_interval: reader.millis("broker.heartbeat.interval.ms"),
        producer_id_expiration: reader.millis("producer.id.expiration.ms"),
        producer_id_expiration_check_interval: reader
            .millis("producer.id.expiration.check.interval.ms"),
        eligible_leader_replicas: reader.int("eligible.leader.replicas.version") == 1,
        offsets_topic_partitions: reader.small("offsets.topic.num.partitions"),
        offsets_topic_replication_factor: reader.small("offsets.topic.replication.factor"),
        offsets_commit_timeout: reader.millis("offsets.commit.timeout.ms"),
        group_initial_rebalance_delay: reader.millis("group.initial.rebalance.delay.ms"),
        group_min_session_timeout: reader.millis("group.min.session.timeout.ms"),
        group_max_session_timeout: reader.millis("group.max.session.timeout.ms"),
        controlled_shutdown: reader.bool("controlled.shutdown.enable"),
        transaction_version: TransactionVersion::V2,
        transaction_state_log_partitions: reader.small("transaction.state.log.num.partitions"),
        transaction_state_log_replication_factor: reader
            .small("transaction.state.log.replication.factor"),
        transaction_state_log_min_isr: reader.small("transaction.state.log.min.isr"),
        transaction_max_timeout: reader.millis("transaction.max.timeout.ms"),
        transactional_id_expiration: reader.millis("transactional.id.expiration.ms"),
        transaction_abort_interval: reader
            .millis("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
        transaction_remove_expired_interval: reader
            .millis("transaction.remove.expired.transaction.cleanup.interval.ms"),
        transaction_partition_verification: reader
            .bool("transaction.partition.verification.enable"),
    };
    check(&mut reader, &config);
    (config, reader.issues)
}

fn check(reader: &mut Reader<'_>, config: &BrokerConfig) {
    if config.replica_fetch_wait_max > config.replica_lag_time_max {
        let name = "replica.fetch.wait.max.ms";
        let message = format!(
            "{name} should always be less than or equal to replica.lag.time.max.ms to prevent \
             frequent changes in ISR"
        );
        let kind = IssueKind::Conflict { with: "replica.lag.time.max.ms" };
        reader.report(name, kind, message, format!("{name}=500"));
    }
    if config.broker_heartbeat_interval >= config.broker_session_timeout {
        let name = "broker.heartbeat.interval.ms";
        let message = format!("{name} is not below broker.session.timeout.ms: brokers are fenced");
        let fix = format!("{name}={}", config.broker_session_timeout.as_millis() / 4);
        let kind = IssueKind::Hazard { with: "broker.session.timeout.ms" };
        reader.report(name, kind, message, fix);
    }
    if config.group_min_session_timeout > config.group_max_session_timeout {
        let name = "group.min.session.timeout.ms";
        let message = format!("{name} is above group.max.session.timeout.ms: no member can join");
        let kind = IssueKind::Hazard { with: "group.max.session.timeout.ms" };
        reader.report(name, kind, message, format!("{name}=6000"));
    }
}

#[cfg(test)]
mod tests;
