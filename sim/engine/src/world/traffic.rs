//! Counts of what the history does not say: requests, bytes, flushes.
//!
//! Mirrors `DefaultRecordBatch` (61 bytes of header), `DefaultRecord` (about 7 bytes of lengths and
//! deltas per record), `EndTransactionMarker`, and the schemas of `OffsetCommitKey`/`Value`,
//! `GroupMetadataKey`/`Value` and `TransactionLogKey`/`Value`.
//!
//! Simplifications: records of coordinators have no bytes in the model, so their sizes are worked
//! out from the schemas, without compression; a member of a group counts with 150 bytes, which is
//! what its id, its client and a short subscription take.

use oncesim_history::traffic::{AppendedBytes, Traffic};
use oncesim_kafka::log::batch::{CoordinatorRecord, LogBatch, Records};
use oncesim_kafka::note::Note;
use oncesim_types::TopicPartition;

use super::{Phase, World};
use crate::network::Message;

/// `DefaultRecordBatch.RECORD_BATCH_OVERHEAD`.
const BATCH_HEADER: u64 = 61;
/// Length, attributes, two deltas, two lengths and the count of headers of a record.
const RECORD_HEADER: u64 = 7;
/// Key (version, type) and value (version, coordinator epoch) of a marker.
const MARKER: u64 = 4 + 6;
/// A member in `GroupMetadataValue`.
const MEMBER: u64 = 150;

impl World {
    /// Counts traffic from now on.
    pub(crate) fn count_traffic(&mut self) {
        self.traffic = Some(Box::default());
    }

    /// A request arrives.
    #[inline]
    pub(super) fn count_message(&mut self, message: &Message) {
        let counts = self.phase == Phase::Faults && message.body.is_request();
        if let Some(traffic) = self.traffic.as_deref_mut().filter(|_| counts) {
            *traffic.requests.entry(message.body.api().name()).or_default() += 1;
        }
    }

    /// A machine asks its disk for a flush.
    #[inline]
    pub(super) fn count_flush(&mut self) {
        if let Some(traffic) = self.traffic.as_deref_mut().filter(|_| self.phase == Phase::Faults) {
            traffic.flushes += 1;
        }
    }

    /// A machine noted something: an append, perhaps.
    #[inline]
    pub(super) fn count_note(&mut self, note: &Note) {
        if self.traffic.is_some()
            && let Note::Append { batch, leader, .. } = note
        {
            self.count_append(batch, *leader);
        }
    }

    #[cold]
    fn count_append(&mut self, batch: &LogBatch, leader: bool) {
        let mut appended = AppendedBytes::default();
        add(&mut appended, batch, |record| self.record_bytes(record));
        let counts = self.phase == Phase::Faults;
        let Some(traffic) = self.traffic.as_deref_mut().filter(|_| counts) else { return };
        let side = if leader { &mut traffic.by_leaders } else { &mut traffic.by_followers };
        side.records += appended.records;
        side.coordinators += appended.coordinators;
        side.markers += appended.markers;
    }

    /// Key and value of a coordinator's record.
    fn record_bytes(&self, record: &CoordinatorRecord) -> u64 {
        let history = &self.recorder.history;
        let string = |text: &str| 2 + text.len() as u64;
        let topic = |at: TopicPartition| {
            let info = history.topics.get(usize::from(at.topic.0));
            info.map_or(2, |info| string(&info.name)) + 4
        };
        match record {
            CoordinatorRecord::OffsetCommit { group, partition, offset } => {
                let value = if offset.is_some() { 2 + 8 + 4 + 2 + 8 } else { 0 };
                2 + string(history.group_name(*group)) + topic(*partition) + value
            }
            CoordinatorRecord::GroupMetadata { group, metadata } => {
                let value = metadata.as_ref().map_or(0, |it| 60 + MEMBER * it.members.len() as u64);
                2 + string(history.group_name(*group)) + value
            }
            CoordinatorRecord::Transaction { transactional_id, metadata } => {
                let id = history.transactional_ids.get(usize::from(transactional_id.0));
                let value = metadata.as_ref().map_or(0, |it| {
                    35 + it.partitions.iter().map(|partition| topic(*partition)).sum::<u64>()
                });
                2 + id.map_or(2, |id| string(id)) + value
            }
        }
    }
}

fn add(to: &mut AppendedBytes, batch: &LogBatch, coordinator: impl Fn(&CoordinatorRecord) -> u64) {
    match &batch.batch.records {
        // An application's record has its headers in its size.
        Records::Data(records) => {
            to.records +=
                BATCH_HEADER + records.iter().map(|record| u64::from(record.size)).sum::<u64>();
        }
        Records::Coordinator(records) => {
            let bytes = records.iter().map(|record| RECORD_HEADER + coordinator(record));
            to.coordinators += BATCH_HEADER + bytes.sum::<u64>();
        }
        Records::Control(_) => to.markers += BATCH_HEADER + RECORD_HEADER + MARKER,
    }
}

impl World {
    /// What was counted.
    pub(super) fn take_traffic(&mut self) -> Traffic {
        self.traffic.take().map(|it| *it).unwrap_or_default()
    }
}
