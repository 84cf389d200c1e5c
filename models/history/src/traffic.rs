//! What a run did that its events do not say: requests, bytes, flushes.
//!
//! Counted when it is asked for, while the workload runs and its faults strike; what happens later,
//! when the world comes to rest and is drained, is not workload.

use std::collections::BTreeMap;

/// Counts of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Requests that arrived, by Kafka's name of their API; of systems, by the operation.
    pub requests: BTreeMap<&'static str, u64>,
    /// Bytes that leaders appended.
    pub by_leaders: AppendedBytes,
    /// Bytes that followers appended.
    pub by_followers: AppendedBytes,
    /// Flushes (`fsync`) that brokers and the controller asked their disks for.
    pub flushes: u64,
}

/// Bytes that replicas appended to their logs, by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendedBytes {
    /// Records of applications, with the headers of their batches.
    pub records: u64,
    /// Records of coordinators: offsets, groups, transactions.
    pub coordinators: u64,
    /// Ends of transactions.
    pub markers: u64,
}

impl AppendedBytes {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.records + self.coordinators + self.markers
    }
}
