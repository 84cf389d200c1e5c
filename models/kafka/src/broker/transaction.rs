//! The broker's side of the transaction coordinator: its log, its timers, its answers, and the
//! markers that it sends.
//!
//! Mirrors `KafkaApis.handleInitProducerIdRequest` and friends, `BrokerMetadataPublisher` (elections
//! of `__transaction_state`), `TransactionMarkerChannelManager`.
//!
//! Simplifications: a new leader reads its partition in the step that makes it leader, up to the
//! log end.

use std::rc::Rc;

use oncesim_types::{
    ActorId, CorrelationId, Instant, Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition,
    TransactionalId,
};

use crate::broker::Broker;
use crate::log::batch::{CoordinatorRecord, RecordBatch, Records};
use crate::machine::{Effect, Effects, ReplyTo, TimerKey};
use crate::message::{Request, WrittenMarkers};
use crate::transaction::{TransactionEffect, coordinator_partition};

/// The transactional id that a request is about.
fn id_of(request: &Request) -> Option<TransactionalId> {
    Some(match request {
        Request::InitProducerId(request) => request.transactional_id?,
        Request::AddPartitionsToTxn(request) => request.transactional_id,
        Request::AddOffsetsToTxn(request) => request.transactional_id,
        Request::EndTxn(request) => request.transactional_id,
        _ => return None,
    })
}

impl Broker {
    /// Index of the partition of `__transaction_state` that an id belongs to.
    pub(super) fn transaction_partition(&self, id: TransactionalId) -> Option<u32> {
        let topic = self.topics.iter().find(|topic| topic.is_transaction_topic())?;
        let first = self.first_partition[usize::from(topic.topic.0)];
        (topic.partitions > 0)
            .then(|| first + u32::from(coordinator_partition(id, topic.partitions)))
    }

    fn is_transaction_partition(&self, index: u32) -> bool {
        self.topics[usize::from(self.slot(index).topic)].is_transaction_topic()
    }

    pub(super) fn on_transaction_request(&mut self, now: Instant, to: ReplyTo, request: Request) {
        let index = id_of(&request).and_then(|id| self.transaction_partition(id));
        // Without a partition nobody coordinates the id.
        let partition = index.map_or(u16::MAX, |index| self.slot(index).partition.partition);
        let offsets = match &request {
            Request::AddOffsetsToTxn(request) => self.group_partition(request.group),
            _ => None,
        };
        let offsets = offsets.map(|index| self.slot(index).partition);
        let out = &mut self.transaction_effects;
        self.transactions.request(now, to, request, partition, offsets, out);
    }

    pub(super) fn on_transaction_timer(&mut self, now: Instant, key: TimerKey) {
        self.transactions.timer(now, key, &mut self.transaction_effects);
    }

    /// This broker became leader of a partition: if it is one of transactional ids, they are loaded.
    pub(super) fn transaction_led(&mut self, now: Instant, index: u32) {
        if !self.is_transaction_partition(index) {
            return;
        }
        let Broker { slots, transactions, transaction_effects, .. } = self;
        let slot = &slots[index as usize];
        let replica = slot.replica.as_deref().expect("leads");
        let partition = slot.partition;
        transactions.elected(now, partition, replica.leader_epoch, transaction_effects);
        let mut records = replica.log.batches().iter().flat_map(|batch| {
            let records: &[CoordinatorRecord] = match &batch.batch.records {
                Records::Coordinator(records) => records,
                Records::Data(_) | Records::Control(_) => &[],
            };
            (batch.base_offset.0..).map(Offset).zip(records.iter().cloned())
        });
        let (records, high_watermark) = (&mut records, replica.high_watermark);
        let partition = partition.partition;
        transactions.loaded(now, partition, records, high_watermark, transaction_effects);
    }

    pub(super) fn transaction_resigned(&mut self, now: Instant, index: u32) {
        if self.is_transaction_partition(index) {
            let partition = self.slot(index).partition.partition;
            self.transactions.resigned(now, partition, &mut self.transaction_effects);
        }
    }

    pub(super) fn transaction_committed(
        &mut self,
        now: Instant,
        index: u32,
        high_watermark: Offset,
    ) {
        if self.is_transaction_partition(index) {
            let partition = self.slot(index).partition.partition;
            let out = &mut self.transaction_effects;
            self.transactions.high_watermark(now, partition, high_watermark, out);
        }
    }

    pub(super) fn on_markers_written(
        &mut self,
        now: Instant,
        from: ActorId,
        correlation: CorrelationId,
        written: &WrittenMarkers,
    ) {
        let out = &mut self.transaction_effects;
        self.transactions.markers_written(now, from, correlation, written, out);
    }

    /// The connection to a broker is gone.
    pub(super) fn markers_lost(&mut self, peer: ActorId) {
        self.transactions.disconnected(peer, &mut self.transaction_effects);
    }

    /// Does what the coordinator wants, and what follows from it, until it wants nothing more.
    pub(super) fn perform_transaction_effects(&mut self, now: Instant, effects: &mut Effects) {
        loop {
            if self.transaction_effects.is_empty() {
                if !self.transactions.has_markers_to_send() {
                    return;
                }
                self.send_markers(now, effects);
            }
            for effect in std::mem::take(&mut self.transaction_effects) {
                match effect {
                    TransactionEffect::Append { partition, record, ticket } => {
                        self.append_for_transaction(now, partition, record, ticket, effects);
                    }
                    TransactionEffect::Reply(to, body) => effects.reply(to, body),
                    TransactionEffect::AwaitProducerId(to, request) => {
                        self.waiting_for_producer_id.push_back((to, Some(request)));
                        self.hand_out_producer_ids(now, effects);
                    }
                    TransactionEffect::Disconnect(peer) => {
                        effects.0.push(Effect::Disconnect { peer });
                    }
                    TransactionEffect::SetTimer(key, after) => effects.set_timer(key, after),
                    TransactionEffect::Note(note) => effects.note(note),
                }
            }
        }
    }

    /// Sends what is ready for each leader, also to this broker itself: over the network.
    fn send_markers(&mut self, now: Instant, effects: &mut Effects) {
        let mut out = std::mem::take(&mut self.transaction_effects);
        let Broker { slots, first_partition, transactions, image, .. } = self;
        let leader_of = |partition: TopicPartition| {
            let first = *first_partition.get(usize::from(partition.topic.0))?;
            let slot = slots.get(first as usize + usize::from(partition.partition))?;
            let leader = slot.registration.as_ref()?.leader?;
            image.is_alive(leader).then_some(leader)
        };
        for (broker, request) in transactions.dispatch_markers(leader_of, &mut out) {
            let correlation = self.correlation();
            self.transactions.markers_sent(now, broker, correlation, &mut out);
            effects.send(broker, correlation, Request::WriteTxnMarkers(request));
        }
        self.transaction_effects = out;
    }

    fn append_for_transaction(
        &mut self,
        now: Instant,
        partition: TopicPartition,
        record: CoordinatorRecord,
        ticket: u64,
        effects: &mut Effects,
    ) {
        let batch = Rc::new(RecordBatch {
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            transactional: false,
            records: Records::Coordinator(vec![record]),
        });
        let index = self.index_of(partition).expect("the coordinator was elected for it");
        match self.append_as_leader(now, index, batch, true, effects) {
            Ok(appended) => {
                let out = &mut self.transaction_effects;
                self.transactions.appended(now, ticket, appended.last_offset, out);
                self.advance_high_watermark(now, index, effects);
            }
            Err(error) => {
                let out = &mut self.transaction_effects;
                self.transactions.append_failed(now, ticket, error, out);
            }
        }
    }
}
