//! A builder of small histories: what tests and importers write instead of running a world.
//!
//! Each call appends events one virtual millisecond apart; [`HistoryBuilder::wait`] moves the clock
//! further. Records carry a payload that is derived from their id, so that equal ids have equal
//! payloads unless a caller says otherwise.

mod external;

use std::collections::BTreeMap;

use oncesim_types::{
    ActorId, CallId, Duration, ErrorCode, GenerationId, GroupId, Instant, LeaderEpoch, MemberId,
    Offset, ProducerEpoch, ProducerId, RecordId, Sequence, TopicId, TopicPartition,
    TransactionNumber, TransactionResult, TransactionalId,
};

use crate::event::{
    ClientKind, Event, EventKind, Outcome, Output, PolledRecord, PositionReason, SpanIndex,
};
use crate::history::{
    ActorInfo, ActorRole, CommitEntry, GroupInfo, History, ProcessorInfo, Promise, TopicInfo,
};
use crate::world_event::WorldEvent;

/// Builds a [`History`] event by event.
#[derive(Debug, Clone, Default)]
pub struct HistoryBuilder {
    history: History,
    incarnations: Vec<u32>,
    ordinals: Vec<u64>,
    sent: BTreeMap<RecordId, Sent>,
    next_call: u64,
    now: Instant,
}

/// What the builder remembers of a record: how often it was sent, and its key.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    attempt: u32,
    key: Option<u32>,
    /// Its payload, if it is not derived from its id alone.
    payload: Option<u64>,
}

/// A batch as [`HistoryBuilder::append`] writes it.
#[derive(Debug, Clone, Copy)]
pub struct AppendedBatch {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Leader epoch.
    pub leader_epoch: i32,
    /// Producer id, epoch and first sequence; `None` without idempotence.
    pub producer: Option<(i64, i16, i32)>,
    /// Whether the leader wrote it (else: a follower copied it).
    pub leader: bool,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
}

impl HistoryBuilder {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an actor.
    pub fn actor(&mut self, name: &str, role: ActorRole) -> ActorId {
        let id =
            ActorId(u16::try_from(self.history.actors.len()).expect("fewer than 65536 actors"));
        let read_committed = false;
        self.history.actors.push(ActorInfo { name: name.to_owned(), role, read_committed });
        self.incarnations.push(0);
        self.ordinals.push(0);
        id
    }

    /// Adds a producer whose acknowledged records are durable, once and in order.
    pub fn producer(&mut self, name: &str) -> ActorId {
        let promise = Promise { durable: true, idempotent: true, ordered: true };
        self.actor(name, ActorRole::Producer(promise))
    }

    /// Adds a producer with another promise.
    pub fn producer_with(&mut self, name: &str, promise: Promise) -> ActorId {
        self.actor(name, ActorRole::Producer(promise))
    }

    /// Adds a broker.
    pub fn broker(&mut self, name: &str) -> ActorId {
        self.actor(name, ActorRole::Broker)
    }

    /// Adds a consumer of `group`.
    pub fn consumer(&mut self, name: &str, group: GroupId) -> ActorId {
        self.actor(name, ActorRole::Consumer(group))
    }

    /// Adds the client of the final drain.
    pub fn auditor(&mut self) -> ActorId {
        self.actor("auditor", ActorRole::Auditor)
    }

    /// Adds a topic on which only clean elections are allowed.
    pub fn topic(&mut self, name: &str, partitions: u16) -> TopicId {
        let id =
            TopicId(u16::try_from(self.history.topics.len()).expect("fewer than 65536 topics"));
        self.history.topics.push(TopicInfo {
            name: name.to_owned(),
            partitions,
            internal: name.starts_with("__"),
            unclean_election: false,
        });
        id
    }

    /// Allows unclean elections on a topic.
    pub fn allow_unclean_election(&mut self, topic: TopicId) -> &mut Self {
        self.history.topics[usize::from(topic.0)].unclean_election = true;
        self
    }

    /// Adds a group that consumes `topics` from their start.
    pub fn group(&mut self, name: &str, topics: &[TopicId]) -> GroupId {
        let id =
            GroupId(u16::try_from(self.history.groups.len()).expect("fewer than 65536 groups"));
        self.history.groups.push(GroupInfo {
            name: name.to_owned(),
            topics: topics.to_vec(),
            from_earliest: true,
            processor: None,
        });
        id
    }

    /// Makes a group start at the log end when it has no offset.
    pub fn from_latest(&mut self, group: GroupId) -> &mut Self {
        self.history.groups[usize::from(group.0)].from_earliest = false;
        self
    }

    /// Lets virtual time pass.
    pub fn wait(&mut self, duration: Duration) -> &mut Self {
        self.now += duration;
        self
    }

    /// Appends an event of a client and returns its position.
    pub fn client(&mut self, actor: ActorId, kind: ClientKind) -> u32 {
        self.push(actor, EventKind::Client(kind))
    }

    /// Appends an event of the world and returns its position.
    pub fn world(&mut self, actor: ActorId, event: WorldEvent) -> u32 {
        self.push(actor, EventKind::World(event))
    }

    fn push(&mut self, actor: ActorId, kind: EventKind) -> u32 {
        self.now += Duration::from_millis(1);
        let incarnation = self.incarnations[usize::from(actor.0)];
        let position = u32::try_from(self.history.events.len()).expect("fewer than 2^32 events");
        self.history.events.push(Event { time: self.now, actor, incarnation, kind });
        position
    }

    fn call(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }

    /// The payload that the builder gives to a record.
    #[must_use]
    pub const fn payload(record: RecordId) -> u64 {
        record.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// A process of `actor` dies, and the next one begins.
    pub fn crash(&mut self, actor: ActorId, power: bool) -> &mut Self {
        self.world(actor, WorldEvent::Crashed { power });
        self.incarnations[usize::from(actor.0)] += 1;
        self
    }

    /// `send()` of the producer's next record.
    pub fn send(&mut self, producer: ActorId, to: TopicPartition) -> RecordId {
        self.send_keyed(producer, to, None)
    }

    /// `send()` of the producer's next record with a key.
    pub fn send_keyed(
        &mut self,
        producer: ActorId,
        to: TopicPartition,
        key: Option<u32>,
    ) -> RecordId {
        let record = self.next_record(producer);
        self.send_again(producer, to, record, key);
        record
    }

    /// `send()` of a record that may have been sent before.
    pub fn send_again(
        &mut self,
        producer: ActorId,
        to: TopicPartition,
        record: RecordId,
        key: Option<u32>,
    ) -> u32 {
        let sent = self.sent.entry(record).or_default();
        sent.attempt += 1;
        sent.key = key;
        let attempt = sent.attempt;
        let call = CallId(record.0 << 4 | u64::from(attempt));
        let payload = Self::payload(record);
        self.client(
            producer,
            ClientKind::SendInvoke { call, partition: to, record, key, payload, attempt },
        )
    }

    /// `send()`'s callback, for the last `send()` of the record.
    pub fn send_end(
        &mut self,
        record: RecordId,
        partition: Option<TopicPartition>,
        outcome: Outcome,
        offset: Option<i64>,
    ) -> u32 {
        self.send_end_at(record.origin(), record, partition, outcome, offset)
    }

    /// The same at a producer that sends what somebody else has made: a relay.
    pub fn send_end_at(
        &mut self,
        producer: ActorId,
        record: RecordId,
        partition: Option<TopicPartition>,
        outcome: Outcome,
        offset: Option<i64>,
    ) -> u32 {
        let attempt = self.sent.get(&record).map_or(1, |sent| sent.attempt);
        let call = CallId(record.0 << 4 | u64::from(attempt));
        let offset = offset.map(Offset);
        self.client(producer, ClientKind::SendEnd { call, record, partition, outcome, offset })
    }

    /// The record is acknowledged at an offset.
    pub fn acked(&mut self, record: RecordId, at: TopicPartition, offset: i64) -> u32 {
        self.send_end(record, Some(at), Outcome::Ok, Some(offset))
    }

    /// The record was definitely not written.
    pub fn failed(&mut self, record: RecordId) -> u32 {
        self.send_end(record, None, Outcome::Fail(ErrorCode::MessageTooLarge), None)
    }

    /// Nobody knows whether the record was written.
    pub fn unknown(&mut self, record: RecordId) -> u32 {
        self.send_end(record, None, Outcome::Info(ErrorCode::RequestTimedOut), None)
    }

    /// The record as a consumer gets it.
    #[must_use]
    pub fn polled(&self, partition: TopicPartition, offset: i64, record: RecordId) -> PolledRecord {
        PolledRecord {
            partition,
            offset: Offset(offset),
            leader_epoch: LeaderEpoch::NONE,
            record,
            key: self.sent.get(&record).and_then(|sent| sent.key),
            payload: self
                .sent
                .get(&record)
                .and_then(|sent| sent.payload)
                .unwrap_or(Self::payload(record)),
        }
    }

    /// A `poll()` that returns these records; returns the position of its end.
    pub fn poll(&mut self, consumer: ActorId, records: &[PolledRecord]) -> u32 {
        self.client(consumer, ClientKind::PollInvoke);
        let records = span(&mut self.history.polled, records);
        let group = match self.history.actors[usize::from(consumer.0)].role {
            ActorRole::Consumer(group) => Some(group),
            _ => None,
        };
        self.client(consumer, ClientKind::PollEnd { group, records })
    }

    /// The final drain of a partition: these records, at the offsets from 0.
    pub fn drain(&mut self, auditor: ActorId, partition: TopicPartition, records: &[RecordId]) {
        let polled: Vec<PolledRecord> =
            (0..).zip(records).map(|(offset, r)| self.polled(partition, offset, *r)).collect();
        let to = Offset(i64::try_from(records.len()).expect("a short drain"));
        if !polled.is_empty() {
            self.poll(auditor, &polled);
        }
        self.client(auditor, ClientKind::Drained { partition, from: Offset::ZERO, to });
    }

    /// `onPartitionsAssigned`.
    pub fn assigned(
        &mut self,
        consumer: ActorId,
        generation: i32,
        added: &[TopicPartition],
        owned: &[TopicPartition],
    ) -> u32 {
        let group = self.group_of(consumer);
        let added = span(&mut self.history.partitions, added);
        let owned = span(&mut self.history.partitions, owned);
        let member = self.member(consumer);
        let generation = GenerationId(generation);
        self.client(consumer, ClientKind::Assigned { group, member, generation, added, owned })
    }

    /// The member id that the builder gives to the current process of a consumer.
    #[must_use]
    pub fn member(&self, consumer: ActorId) -> MemberId {
        let incarnation = self.incarnations[usize::from(consumer.0)];
        MemberId(u64::from(consumer.0) << 32 | u64::from(incarnation))
    }

    /// `onPartitionsRevoked`.
    pub fn revoked(&mut self, consumer: ActorId, partitions: &[TopicPartition]) -> u32 {
        let group = self.group_of(consumer);
        let partitions = span(&mut self.history.partitions, partitions);
        self.client(consumer, ClientKind::Revoked { group, partitions })
    }

    /// The application has processed a record.
    pub fn processed(
        &mut self,
        consumer: ActorId,
        partition: TopicPartition,
        offset: i64,
        record: RecordId,
    ) -> u32 {
        let group = self.group_of(consumer);
        let offset = Offset(offset);
        self.client(consumer, ClientKind::Processed { group, partition, offset, record })
    }

    /// A commit is asked for.
    pub fn commit_begin(
        &mut self,
        consumer: ActorId,
        offsets: &[(TopicPartition, i64)],
        sync: bool,
    ) -> CallId {
        let group = self.group_of(consumer);
        let entries: Vec<CommitEntry> = offsets
            .iter()
            .map(|&(partition, offset)| CommitEntry {
                partition,
                offset: Offset(offset),
                leader_epoch: LeaderEpoch::NONE,
            })
            .collect();
        let offsets = span(&mut self.history.commits, &entries);
        let call = self.call();
        self.client(consumer, ClientKind::CommitInvoke { call, group, offsets, sync });
        call
    }

    /// A commit ends.
    pub fn commit_end(&mut self, consumer: ActorId, call: CallId, outcome: Outcome) -> u32 {
        self.client(consumer, ClientKind::CommitEnd { call, outcome })
    }

    /// A `commitSync` that succeeds.
    pub fn commit(&mut self, consumer: ActorId, offsets: &[(TopicPartition, i64)]) -> u32 {
        let call = self.commit_begin(consumer, offsets, true);
        self.commit_end(consumer, call, Outcome::Ok)
    }

    /// A consumer's position is set.
    pub fn position(
        &mut self,
        consumer: ActorId,
        partition: TopicPartition,
        to: i64,
        reason: PositionReason,
    ) -> u32 {
        let group = Some(self.group_of(consumer));
        let to = Offset(to);
        self.client(consumer, ClientKind::PositionReset { group, partition, to, reason })
    }

    /// A replica appends a batch.
    pub fn append(
        &mut self,
        broker: ActorId,
        partition: TopicPartition,
        batch: AppendedBatch,
        records: &[RecordId],
    ) -> u32 {
        let len = u32::try_from(records.len()).expect("a short batch");
        let records = span(&mut self.history.appended, records);
        let (id, epoch, sequence) = batch.producer.unwrap_or((-1, -1, -1));
        self.world(
            broker,
            WorldEvent::Append {
                partition,
                base_offset: Offset(batch.base_offset),
                records,
                len,
                leader_epoch: LeaderEpoch(batch.leader_epoch),
                producer_id: ProducerId(id),
                producer_epoch: ProducerEpoch(epoch),
                base_sequence: Sequence(sequence),
                leader: batch.leader,
                transactional: batch.transactional,
            },
        )
    }

    /// A coordinator completes a rebalance.
    pub fn generation(
        &mut self,
        broker: ActorId,
        group: GroupId,
        generation: i32,
        assignment: &[(MemberId, TopicPartition)],
    ) -> u32 {
        self.rebalanced(broker, group, (generation, false), assignment)
    }

    /// The same, where members keep their partitions while they rebalance.
    pub fn cooperative_generation(
        &mut self,
        broker: ActorId,
        group: GroupId,
        generation: i32,
        assignment: &[(MemberId, TopicPartition)],
    ) -> u32 {
        self.rebalanced(broker, group, (generation, true), assignment)
    }

    fn rebalanced(
        &mut self,
        broker: ActorId,
        group: GroupId,
        (generation, cooperative): (i32, bool),
        assignment: &[(MemberId, TopicPartition)],
    ) -> u32 {
        let assignment = span(&mut self.history.assignments, assignment);
        let generation = GenerationId(generation);
        let coordinator_epoch = LeaderEpoch(0);
        let event = WorldEvent::Generation {
            group,
            generation,
            assignment,
            cooperative,
            coordinator_epoch,
        };
        self.world(broker, event)
    }

    /// Makes an actor read at `read_committed`.
    pub fn read_committed(&mut self, actor: ActorId) -> &mut Self {
        self.history.actors[usize::from(actor.0)].read_committed = true;
        self
    }

    /// Makes the members of a group processors.
    pub fn processor(&mut self, group: GroupId, processor: ProcessorInfo) -> &mut Self {
        self.history.groups[usize::from(group.0)].processor = Some(processor);
        self
    }

    /// `initTransactions()` that succeeds with a session.
    pub fn init_transactions(&mut self, producer: ActorId, id: &str, session: (i64, i16)) -> u32 {
        let known = self.history.transactional_ids.iter().position(|name| name == id);
        let at = known.unwrap_or_else(|| {
            self.history.transactional_ids.push(id.to_owned());
            self.history.transactional_ids.len() - 1
        });
        let transactional_id = TransactionalId(u16::try_from(at).expect("a few ids"));
        let call = self.call();
        self.client(producer, ClientKind::InitTransactions { call, transactional_id });
        let (producer_id, producer_epoch) = (ProducerId(session.0), ProducerEpoch(session.1));
        self.client(producer, ClientKind::ProducerSession { producer_id, producer_epoch });
        self.client(producer, ClientKind::InitTransactionsEnd { call, outcome: Outcome::Ok })
    }

    /// `beginTransaction()`.
    pub fn begin(&mut self, producer: ActorId, number: u64) -> u32 {
        let number = TransactionNumber(number);
        self.client(producer, ClientKind::TransactionBegin { number })
    }

    /// `commitTransaction()` or `abortTransaction()`, and its end.
    pub fn end_transaction(
        &mut self,
        producer: ActorId,
        number: u64,
        result: TransactionResult,
        outcome: Outcome,
    ) -> u32 {
        let call = self.call();
        let number = TransactionNumber(number);
        self.client(producer, ClientKind::EndTransaction { call, number, result });
        self.client(producer, ClientKind::TransactionEnd { call, outcome })
    }

    /// `sendOffsetsToTransaction()` that succeeds, of a member of `consumer`'s group.
    pub fn send_offsets(
        &mut self,
        producer: ActorId,
        number: u64,
        consumer: ActorId,
        offsets: &[(TopicPartition, i64)],
    ) -> u32 {
        let group = self.group_of(consumer);
        let member = Some(self.member(consumer));
        let entries: Vec<CommitEntry> = offsets
            .iter()
            .map(|&(partition, offset)| CommitEntry {
                partition,
                offset: Offset(offset),
                leader_epoch: LeaderEpoch::NONE,
            })
            .collect();
        let offsets = span(&mut self.history.commits, &entries);
        let (call, number, generation) = (self.call(), TransactionNumber(number), GenerationId(1));
        let sent = ClientKind::SendOffsets { call, number, group, offsets, member, generation };
        self.client(producer, sent);
        self.client(producer, ClientKind::SendOffsetsEnd { call, outcome: Outcome::Ok })
    }

    /// A processor makes a record from an input and sends it, with a value of its own.
    pub fn emit(
        &mut self,
        (consumer, producer): (ActorId, ActorId),
        (partition, offset, input): (TopicPartition, i64, RecordId),
        output: Output,
        to: TopicPartition,
        value: i64,
    ) -> RecordId {
        let record = self.next_record(producer);
        let offset = Offset(offset);
        self.client(consumer, ClientKind::Emitted { record, input, partition, offset, output });
        let key = self.sent.get(&input).and_then(|sent| sent.key);
        self.send_value(producer, to, record, key, Some(value));
        record
    }

    /// The identity of the next record that a producer makes.
    fn next_record(&mut self, producer: ActorId) -> RecordId {
        let ordinal = &mut self.ordinals[usize::from(producer.0)];
        *ordinal += 1;
        RecordId::new(producer, *ordinal - 1)
    }

    /// The first `send()` of a record, whose payload follows from its value.
    fn send_value(
        &mut self,
        producer: ActorId,
        partition: TopicPartition,
        record: RecordId,
        key: Option<u32>,
        value: Option<i64>,
    ) {
        let payload = oncesim_types::lineage::payload(record, value);
        self.sent.insert(record, Sent { attempt: 1, key, payload: Some(payload) });
        let call = CallId(record.0 << 4 | 1);
        let attempt = 1;
        let invoke = ClientKind::SendInvoke { call, partition, record, key, payload, attempt };
        self.client(producer, invoke);
    }

    /// A replica appends the end of a transaction.
    pub fn marker(
        &mut self,
        broker: ActorId,
        partition: TopicPartition,
        offset: i64,
        (id, epoch): (i64, i16),
        result: TransactionResult,
    ) -> u32 {
        self.world(
            broker,
            WorldEvent::Marker {
                partition,
                offset: Offset(offset),
                producer_id: ProducerId(id),
                producer_epoch: ProducerEpoch(epoch),
                result,
                coordinator_epoch: LeaderEpoch(0),
                leader_epoch: LeaderEpoch(0),
                leader: true,
            },
        )
    }

    /// The final drain of a partition that has records at these offsets, and ends at `to`.
    pub fn drain_at(
        &mut self,
        auditor: ActorId,
        partition: TopicPartition,
        records: &[(i64, RecordId)],
        to: i64,
    ) {
        let polled: Vec<PolledRecord> =
            records.iter().map(|(offset, r)| self.polled(partition, *offset, *r)).collect();
        if !polled.is_empty() {
            self.poll(auditor, &polled);
        }
        let (from, to) = (Offset::ZERO, Offset(to));
        self.client(auditor, ClientKind::Drained { partition, from, to });
    }

    /// A list of actors, for [`WorldEvent::PartitionChanged`].
    pub fn actor_span(&mut self, actors: &[ActorId]) -> SpanIndex {
        span(&mut self.history.actors_arena, actors)
    }

    fn group_of(&self, consumer: ActorId) -> GroupId {
        match self.history.actors[usize::from(consumer.0)].role {
            ActorRole::Consumer(group) => group,
            _ => GroupId(0),
        }
    }

    /// The history so far.
    #[must_use]
    pub fn finish(mut self) -> History {
        self.history.end = self.now;
        self.history
    }
}

fn span<T: Copy>(arena: &mut Vec<T>, items: &[T]) -> SpanIndex {
    let start = u32::try_from(arena.len()).expect("an arena below 2^32");
    arena.extend_from_slice(items);
    SpanIndex { start, len: u32::try_from(items.len()).expect("a span below 2^32") }
}
