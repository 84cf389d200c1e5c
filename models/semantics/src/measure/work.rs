//! What was done for the records of a workload: appends, markers, bookkeeping, effects.

use std::collections::BTreeSet;

use oncesim_history::{EventKind, ExternalEvent, History, WorldEvent};
use oncesim_types::{Instant, RecordId};

/// What replicas appended: each copy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copies {
    /// By leaders.
    pub by_leaders: u64,
    /// By followers.
    pub by_followers: u64,
}

impl Copies {
    fn add(&mut self, leader: bool, n: u64) {
        if leader {
            self.by_leaders += n;
        } else {
            self.by_followers += n;
        }
    }

    /// By all replicas.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.by_leaders + self.by_followers
    }
}

/// What was done while the workload lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Distinct records of applications that leaders appended: the least that can be.
    pub distinct: u64,
    /// Records of applications.
    pub records: Copies,
    /// Batches of any kind.
    pub batches: Copies,
    /// Ends of transactions.
    pub markers: Copies,
    /// Records of coordinators: offsets, groups, transactions.
    pub coordinators: Copies,
    /// Effects that systems applied, and answers that they gave again.
    pub effects: u64,
    /// Batches that producers sent again.
    pub retries: u64,
}

pub(super) fn work(history: &History, ended: Instant) -> Work {
    let mut work = Work::default();
    let mut distinct: BTreeSet<RecordId> = BTreeSet::new();
    for event in history.events.iter().take_while(|event| event.time <= ended) {
        match &event.kind {
            EventKind::World(WorldEvent::Append { partition, records, len, leader, .. }) => {
                let topic = history.topics.get(usize::from(partition.topic.0));
                let n = u64::from(*len);
                work.batches.add(*leader, 1);
                if topic.is_some_and(|topic| topic.internal) {
                    work.coordinators.add(*leader, n);
                } else {
                    work.records.add(*leader, n);
                    if *leader {
                        distinct.extend(history.appended(*records));
                    }
                }
            }
            EventKind::World(WorldEvent::Marker { leader, .. }) => {
                work.batches.add(*leader, 1);
                work.markers.add(*leader, 1);
            }
            EventKind::World(WorldEvent::Retry { .. }) => work.retries += 1,
            EventKind::External(ExternalEvent::Applied { .. } | ExternalEvent::Replayed { .. }) => {
                work.effects += 1
            }
            _ => {}
        }
    }
    work.distinct = distinct.len() as u64;
    work
}
