//! `ConsumerConfig`.

use oncesim_types::{Duration, GroupId, GroupInstanceId};

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
