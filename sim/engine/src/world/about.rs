//! What a message or a note is about: what a trace can be filtered by.

use oncesim_external as external;
use oncesim_history::trace::About;
use oncesim_kafka::log::batch::{RecordBatch, Records};
use oncesim_kafka::message::{CoordinatorKey, Request, Response};
use oncesim_kafka::note::Note;
use oncesim_types::{GroupId, ProducerId, RecordId, TopicPartition, TransactionalId};

use crate::network::Body;

/// What a message is about.
pub(super) fn of_message(body: &Body) -> About {
    let mut gathered = Gathered::default();
    match body {
        Body::Request(body) => gathered.request(body),
        Body::Response(body) => gathered.response(body),
        Body::Ask(body, _) => gathered.ask(body),
        Body::Answer(..) => {}
    }
    gathered.0
}

/// What a machine's note is about.
pub(super) fn of_note(note: &Note) -> About {
    let mut gathered = Gathered::default();
    match note {
        Note::Append { partition, batch, .. } => {
            gathered.partition(*partition);
            gathered.batch(&batch.batch);
        }
        Note::Truncate { partition, .. }
        | Note::HighWatermark { partition, .. }
        | Note::BecameLeader { partition, .. }
        | Note::PartitionChanged { partition, .. }
        | Note::Retry { partition, .. }
        | Note::LastStableOffset { partition, .. } => gathered.partition(*partition),
        Note::MarkerRejected { partition, producer_id, .. } => {
            gathered.partition(*partition);
            gathered.producer(*producer_id);
        }
        Note::Generation { group, .. }
        | Note::Rebalance { group, .. }
        | Note::MemberRemoved { group, .. } => gathered.of_group(*group),
        Note::TransactionState { transactional_id, .. }
        | Note::TransactionTimedOut { transactional_id, .. } => {
            gathered.of_transaction(*transactional_id);
        }
        _ => {}
    }
    gathered.0
}

#[derive(Default)]
struct Gathered(About);

impl Gathered {
    fn partition(&mut self, partition: TopicPartition) {
        if !self.0.partitions.contains(&partition) {
            self.0.partitions.push(partition);
        }
    }

    fn all<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        partitions.into_iter().for_each(|partition| self.partition(*partition));
    }

    fn record(&mut self, record: RecordId) {
        if !self.0.records.contains(&record) {
            self.0.records.push(record);
        }
    }

    fn producer(&mut self, producer: ProducerId) {
        if producer != ProducerId::NONE && !self.0.producers.contains(&producer) {
            self.0.producers.push(producer);
        }
    }

    fn batch(&mut self, batch: &RecordBatch) {
        self.producer(batch.producer_id);
        if let Records::Data(records) = &batch.records {
            self.0.records.extend(records.iter().map(|record| record.id));
        }
    }

    fn of_group(&mut self, group: GroupId) {
        self.0.groups.push(group);
    }

    fn of_transaction(&mut self, id: TransactionalId) {
        self.0.transactional_ids.push(id);
    }

    fn request(&mut self, body: &Request) {
        match body {
            Request::Produce(produce) => {
                for (partition, batch) in &produce.batches {
                    self.partition(*partition);
                    self.batch(batch);
                }
                self.0
                    .transactional_ids
                    .extend(produce.transaction.as_ref().map(|it| it.transactional_id));
            }
            Request::Fetch(fetch) => {
                self.all(fetch.partitions.iter().map(|it| &it.partition));
            }
            Request::ListOffsets(list) => self.all(list.partitions.iter().map(|(at, ..)| at)),
            Request::OffsetCommit(commit) => {
                self.of_group(commit.group);
                self.all(commit.offsets.iter().map(|(at, ..)| at));
            }
            Request::OffsetFetch(fetch) => {
                self.of_group(fetch.group);
                self.all(&fetch.partitions);
            }
            Request::FindCoordinator(find) => match find.key {
                CoordinatorKey::Group(group) => self.of_group(group),
                CoordinatorKey::Transaction(id) => self.of_transaction(id),
            },
            Request::JoinGroup(join) => self.of_group(join.group),
            Request::Heartbeat(heartbeat) => self.of_group(heartbeat.group),
            Request::LeaveGroup(leave) => self.of_group(leave.group),
            Request::SyncGroup(sync) => self.of_group(sync.group),
            Request::InitProducerId(init) => self.0.transactional_ids.extend(init.transactional_id),
            Request::AddPartitionsToTxn(add) => {
                self.of_transaction(add.transactional_id);
                self.all(&add.partitions);
            }
            Request::AddOffsetsToTxn(add) => {
                self.of_transaction(add.transactional_id);
                self.of_group(add.group);
            }
            Request::EndTxn(end) => self.of_transaction(end.transactional_id),
            Request::WriteTxnMarkers(write) => {
                write.markers.iter().for_each(|marker| self.producer(marker.producer_id));
                self.all(write.markers.iter().flat_map(|marker| &marker.partitions));
            }
            Request::TxnOffsetCommit(commit) => {
                self.of_transaction(commit.transactional_id);
                self.of_group(commit.group);
                self.all(commit.offsets.iter().map(|(at, ..)| at));
            }
            Request::ElectLeaders(elect) => self.partition(elect.partition),
            _ => {}
        }
    }

    fn response(&mut self, body: &Response) {
        match body {
            Response::Produce(parts) => self.all(parts.iter().map(|part| &part.partition)),
            Response::Fetch(fetch) => {
                for part in &fetch.partitions {
                    self.partition(part.partition);
                    part.batches.iter().for_each(|batch| self.batch(&batch.batch));
                }
            }
            Response::OffsetCommit(parts) | Response::TxnOffsetCommit(parts) => {
                self.all(parts.iter().map(|(at, _)| at));
            }
            _ => {}
        }
    }

    fn ask(&mut self, body: &external::Request) {
        match body {
            external::Request::Execute(execute) => {
                let effect = execute.effect.map(|effect| effect.record);
                effect.into_iter().chain(execute.record).for_each(|record| self.record(record));
            }
            external::Request::Perform(perform) => self.record(perform.effect.record),
            external::Request::Prepare(prepare) => {
                self.partition(prepare.name.partition);
                prepare.effects.iter().for_each(|(effect, _)| self.record(effect.record));
            }
            external::Request::Finish { name, .. } => self.partition(name.partition),
            external::Request::Pending { partition, .. } => self.partition(*partition),
            _ => {}
        }
    }
}
