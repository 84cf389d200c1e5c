//! The broker's, the coordinators' and the controller's configuration.

use oncesim_types::Duration;

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
        }
    }
}
