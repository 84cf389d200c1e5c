//! The broker's side of the group coordinator: its log, its timers, its answers.
//!
//! Mirrors `GroupCoordinatorService`, `CoordinatorRuntime`, `CoordinatorPartitionWriter`.
//!
//! Simplifications: a new leader loads its partition in the step that makes it leader, up to the
//! log end; a coordinator that is still loading is only seen by requests in between, and there are
//! none (Kafka answers COORDINATOR_LOAD_IN_PROGRESS, which the client waits out).

use std::rc::Rc;

use oncesim_types::{
    ErrorCode, GroupId, Instant, Offset, ProducerEpoch, ProducerId, Sequence, TransactionResult,
};

use crate::broker::{Broker, close};
use crate::group::{GroupCoordination, GroupEffect, coordinator_partition};
use crate::log::VerificationGuard;
use crate::log::batch::{CoordinatorRecord, RecordBatch, Records};
use crate::machine::{Effect, Effects, ReplyTo, TimerKey};
use crate::message::{Request, TxnOffsetCommitRequest};
use crate::note::Note;

/// The group that a request is about.
fn group_of(request: &Request) -> Option<GroupId> {
    Some(match request {
        Request::OffsetCommit(request) => request.group,
        Request::OffsetFetch(request) => request.group,
        Request::JoinGroup(request) => request.group,
        Request::Heartbeat(request) => request.group,
        Request::LeaveGroup(request) => request.group,
        Request::SyncGroup(request) => request.group,
        _ => return None,
    })
}

impl Broker {
    /// Index of the partition of `__consumer_offsets` that a group belongs to.
    pub(super) fn group_partition(&self, group: GroupId) -> Option<u32> {
        let topic = self.topics.iter().find(|topic| topic.is_offsets_topic())?;
        let first = self.first_partition[usize::from(topic.topic.0)];
        (topic.partitions > 0)
            .then(|| first + u32::from(coordinator_partition(group, topic.partitions)))
    }

    pub(super) fn is_offsets_partition(&self, index: u32) -> bool {
        self.topics[usize::from(self.slot(index).topic)].is_offsets_topic()
    }

    pub(super) fn on_group_request(&mut self, now: Instant, to: ReplyTo, request: Request) {
        let index = group_of(&request).and_then(|group| self.group_partition(group));
        // Without a partition nobody coordinates the group.
        let partition = index.map_or(u16::MAX, |index| self.slot(index).partition.partition);
        self.coordinator.request(now, to, request, partition, &mut self.group_effects);
    }

    pub(super) fn on_group_timer(&mut self, now: Instant, key: TimerKey) {
        self.coordinator.timer(now, key, &mut self.group_effects);
    }

    /// This broker became leader of a partition: if it is one of groups, they are loaded.
    pub(super) fn group_led(&mut self, now: Instant, index: u32) {
        if !self.is_offsets_partition(index) {
            return;
        }
        let Broker { slots, coordinator, group_effects, .. } = self;
        let slot = &slots[index as usize];
        let replica = slot.replica.as_deref().expect("leads");
        let partition = slot.partition.partition;
        coordinator.elected(partition, replica.leader_epoch);
        let mut records = replica.log.batches().iter().flat_map(|batch| {
            let records: &[CoordinatorRecord] = match &batch.batch.records {
                Records::Coordinator(records) => records,
                Records::Data(_) | Records::Control(_) => &[],
            };
            (batch.base_offset.0..).map(Offset).zip(records.iter().cloned())
        });
        coordinator.loaded(now, partition, &mut records, group_effects);
        group_effects.push(GroupEffect::Note(Note::CoordinatorLoaded {
            partition: slot.partition,
            leader_epoch: replica.leader_epoch,
        }));
        coordinator.high_watermark(now, partition, replica.high_watermark, group_effects);
    }

    pub(super) fn group_resigned(&mut self, index: u32) {
        if self.is_offsets_partition(index) {
            let partition = self.slot(index).partition.partition;
            self.coordinator.resigned(partition, &mut self.group_effects);
        }
    }

    pub(super) fn group_committed(&mut self, now: Instant, index: u32, high_watermark: Offset) {
        if self.is_offsets_partition(index) {
            let partition = self.slot(index).partition.partition;
            let out = &mut self.group_effects;
            self.coordinator.high_watermark(now, partition, high_watermark, out);
        }
    }

    /// A transaction's marker is in the log of a partition of groups, and will be answered when it
    /// is committed.
    pub(super) fn group_marker_appended(
        &mut self,
        _now: Instant,
        _index: u32,
        _producer_id: ProducerId,
        _producer_epoch: ProducerEpoch,
        _result: TransactionResult,
        _offset: Offset,
    ) {
    }

    /// The partition of a transactional commit of offsets is in the transaction: append it with
    /// [`Broker::append_from`] as [`Appender::Coordinator`](super::produce::Appender) with this
    /// guard. Or not: this is the coordinator's error.
    pub(super) fn group_offsets_verified(
        &mut self,
        _now: Instant,
        to: ReplyTo,
        _request: TxnOffsetCommitRequest,
        _verdict: Result<Option<VerificationGuard>, ErrorCode>,
        effects: &mut Effects,
    ) {
        close(to, effects);
    }

    /// Does what the coordinator wants, and what follows from it, until it wants nothing more.
    pub(super) fn perform_group_effects(&mut self, now: Instant, effects: &mut Effects) {
        while !self.group_effects.is_empty() {
            for effect in std::mem::take(&mut self.group_effects) {
                match effect {
                    GroupEffect::Append { partition, records, ticket } => {
                        self.append_for_group(now, partition, records, ticket, effects);
                    }
                    GroupEffect::Reply(to, body) => effects.reply(to, body),
                    GroupEffect::SetTimer(key, after) => effects.set_timer(key, after),
                    GroupEffect::CancelTimer(key) => effects.0.push(Effect::CancelTimer(key)),
                    GroupEffect::Note(note) => effects.note(note),
                }
            }
        }
    }

    fn append_for_group(
        &mut self,
        now: Instant,
        partition: u16,
        records: Vec<CoordinatorRecord>,
        ticket: u64,
        effects: &mut Effects,
    ) {
        let topic = self.topics.iter().find(|topic| topic.is_offsets_topic());
        let index = topic
            .map(|topic| oncesim_types::TopicPartition::new(topic.topic, partition))
            .and_then(|partition| self.index_of(partition));
        let batch = Rc::new(RecordBatch {
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            transactional: false,
            records: Records::Coordinator(records),
        });
        let appended = match index {
            Some(index) if !batch.is_empty() => self
                .append_as_leader(now, index, batch, true, effects)
                .map(|appended| (index, appended)),
            _ => Err(ErrorCode::UnknownTopicOrPartition),
        };
        match appended {
            Ok((index, appended)) => {
                self.coordinator.appended(ticket, appended.base_offset, appended.last_offset);
                self.advance_high_watermark(now, index, effects);
            }
            Err(error) => {
                self.coordinator.append_failed(ticket, error, &mut self.group_effects);
            }
        }
    }
}
