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

use crate::broker::Broker;
use crate::broker::produce::Appender;
use crate::group::{
    GroupCoordination, GroupEffect, TransactionalWrite, coordinator_partition,
    txn_offset_commit_refused,
};
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
        coordinator.loaded(now, partition, &mut replica.log.batches().iter(), group_effects);
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
    /// is committed: in the step in which it acts (KAFKA-17507).
    pub(super) fn group_marker_appended(
        &mut self,
        now: Instant,
        index: u32,
        producer_id: ProducerId,
        _producer_epoch: ProducerEpoch,
        result: TransactionResult,
        offset: Offset,
    ) {
        let partition = self.slot(index).partition.partition;
        let out = &mut self.group_effects;
        self.coordinator.marker_appended(now, partition, producer_id, result, offset, out);
    }

    /// The partition of a transactional commit of offsets is in the transaction, or not: then this
    /// is the coordinator's error.
    pub(super) fn group_offsets_verified(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: TxnOffsetCommitRequest,
        verdict: Result<Option<VerificationGuard>, ErrorCode>,
        effects: &mut Effects,
    ) {
        let guard = match verdict {
            Ok(guard) => guard,
            Err(error) => return effects.reply(to, txn_offset_commit_refused(&request, error)),
        };
        let index = self.group_partition(request.group);
        // Without a partition nobody coordinates the group.
        let partition = index.map_or(u16::MAX, |index| self.slot(index).partition.partition);
        let out = &mut self.group_effects;
        self.coordinator.commit_transactional(now, to, request, guard, partition, out);
    }

    /// Does what the coordinator wants, and what follows from it, until it wants nothing more.
    pub(super) fn perform_group_effects(&mut self, now: Instant, effects: &mut Effects) {
        while !self.group_effects.is_empty() {
            for effect in std::mem::take(&mut self.group_effects) {
                match effect {
                    GroupEffect::Append { partition, records, ticket, transaction } => {
                        let place = (partition, transaction);
                        self.append_for_group(now, place, records, ticket, effects);
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
        (partition, transaction): (u16, Option<TransactionalWrite>),
        records: Vec<CoordinatorRecord>,
        ticket: u64,
        effects: &mut Effects,
    ) {
        let topic = self.topics.iter().find(|topic| topic.is_offsets_topic());
        let index = topic
            .map(|topic| oncesim_types::TopicPartition::new(topic.topic, partition))
            .and_then(|partition| self.index_of(partition));
        let batch = Rc::new(RecordBatch {
            producer_id: transaction.map_or(ProducerId::NONE, |it| it.producer_id),
            producer_epoch: transaction.map_or(ProducerEpoch::NONE, |it| it.producer_epoch),
            base_sequence: Sequence::NONE,
            transactional: transaction.is_some(),
            records: Records::Coordinator(records),
        });
        let appended = match index {
            Some(index) if !batch.is_empty() => {
                let appender = Appender::Coordinator(transaction.and_then(|it| it.guard));
                self.append_from(now, index, batch, appender, true, effects)
                    .map(|appended| (index, appended))
            }
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
