//! Transactions from end to end at the brokers: coordinator, leaders and their replicas are real,
//! the producer is a script (KIP-98, KIP-890).

use std::rc::Rc;

use oncesim_types::{
    ActorId, Duration, ErrorCode, GroupId, LeaderEpoch, ProducerEpoch, ProducerId, TopicId,
    TopicPartition, TransactionNumber, TransactionResult, TransactionState, TransactionalId,
};

use super::cluster::{B1, B2, B3, Cluster, topic};
use crate::broker::Crash;
use crate::config::{BrokerConfig, InternalTopic, TopicConfig, TransactionVersion};
use crate::log::batch::{RecordBatch, Records};
use crate::message::{
    Acks, AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, CoordinatorKey, EndTxnRequest,
    FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest, ProduceTransaction, Request,
    Response,
};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;

use TransactionResult::{Abort, Commit};
use TransactionState::{
    CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit, PrepareEpochFence,
};
use TransactionVersion::{V1, V2};

const ID: TransactionalId = TransactionalId(0);
const GROUP: GroupId = GroupId(0);
pub(super) const STATE: TopicPartition = TopicPartition::new(TopicId(1), 0);
const OFFSETS: TopicPartition = TopicPartition::new(TopicId(2), 0);
pub(super) const BROKERS: [ActorId; 3] = [B1, B2, B3];

/// Partition `n` of the topic of the stories; each has another leader.
pub(super) const fn data(n: u16) -> TopicPartition {
    TopicPartition::new(TopicId(0), n)
}

fn cluster(version: TransactionVersion, mutations: Mutations) -> Cluster {
    cluster_with(version, mutations, None)
}

pub(super) fn cluster_with(
    version: TransactionVersion,
    mutations: Mutations,
    random: Option<u64>,
) -> Cluster {
    let config = BrokerConfig { transaction_version: version, ..BrokerConfig::default() };
    let internal = |partition: TopicPartition, internal| TopicConfig {
        topic: partition.topic,
        internal: Some(internal),
        ..topic(3, 2)
    };
    let topics = vec![
        TopicConfig { partitions: 3, ..topic(3, 2) },
        internal(STATE, InternalTopic::TransactionState),
        internal(OFFSETS, InternalTopic::ConsumerOffsets),
    ];
    Cluster::with(3, topics, mutations, config, random)
}

/// A producer as a script.
#[derive(Debug, Clone)]
pub(super) struct Producer {
    version: TransactionVersion,
    id: ProducerId,
    epoch: ProducerEpoch,
    number: u64,
    sequences: [i32; 3],
    /// Whether its session is no good any more.
    pub(super) is_lost: bool,
}

impl Producer {
    /// Initializes its transactions, trying again while it has to.
    pub(super) fn start(t: &mut Cluster, version: TransactionVersion) -> Producer {
        for _ in 0..1_000 {
            match t.init() {
                Ok((id, epoch)) => {
                    let (number, sequences, is_lost) = (0, [0; 3], false);
                    return Producer { version, id, epoch, number, sequences, is_lost };
                }
                Err(_) => t.run_ms(100),
            }
        }
        panic!("the coordinator comes back");
    }

    /// Sends a record to partition `n`, trying again while it has to.
    fn send(&mut self, t: &mut Cluster, n: u16) -> Result<(), ErrorCode> {
        self.send_amid(t, n, |_| ())
    }

    /// Ends its transaction, trying again while it has to, and goes on with the session it is told.
    fn end(&mut self, t: &mut Cluster, result: TransactionResult) -> Result<(), ErrorCode> {
        self.end_amid(t, result, |_| ())
    }

    /// Like `send`; something happens between the tries.
    pub(super) fn send_amid(
        &mut self,
        t: &mut Cluster,
        n: u16,
        mut between: impl FnMut(&mut Cluster),
    ) -> Result<(), ErrorCode> {
        let sequence = &mut self.sequences[usize::from(n)];
        let batch = t.batch(Some((self.id.0, self.epoch.0, *sequence)));
        *sequence += 1;
        let batch = Rc::new(RecordBatch { transactional: true, ..RecordBatch::clone(&batch) });
        let transaction = ProduceTransaction {
            transactional_id: ID,
            version: self.version,
            number: TransactionNumber(self.number),
        };
        if self.version == V1 {
            t.until_done_amid(&mut between, |t| t.add(self, n))?;
        }
        t.until_done_amid(between, |t| {
            let request = Request::Produce(ProduceRequest {
                acks: Acks::All,
                timeout: Duration::from_secs(30),
                transaction: Some(Box::new(transaction)),
                batches: vec![(data(n), Rc::clone(&batch))],
            });
            let leader = t.leader_of(data(n)).ok_or(ErrorCode::LeaderNotAvailable)?;
            match t.call(leader, request) {
                Some(Response::Produce(answers)) => ok((), answers[0].error),
                _ => Err(ErrorCode::NetworkException),
            }
        })
    }

    /// Like `end`; something happens between the tries.
    pub(super) fn end_amid(
        &mut self,
        t: &mut Cluster,
        result: TransactionResult,
        between: impl FnMut(&mut Cluster),
    ) -> Result<(), ErrorCode> {
        let own = self.clone();
        let ended = t.until_done_amid(between, |t| t.end_once(&own, result));
        self.is_lost = ended.is_err();
        let (id, epoch) = ended?;
        if self.version == V2 {
            (self.id, self.epoch, self.sequences) = (id, epoch, [0; 3]);
        }
        self.number += 1;
        Ok(())
    }
}

fn ok<T>(value: T, error: ErrorCode) -> Result<T, ErrorCode> {
    if error == ErrorCode::None { Ok(value) } else { Err(error) }
}

impl Cluster {
    fn init(&mut self) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
        let request = Request::InitProducerId(InitProducerIdRequest {
            transactional_id: Some(ID),
            transaction_timeout: Duration::from_secs(60),
            current: None,
        });
        let coordinator = self.leader_of(STATE).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        match self.call(coordinator, request) {
            Some(Response::InitProducerId(answer)) => {
                ok((answer.producer_id, answer.producer_epoch), answer.error)
            }
            _ => Err(ErrorCode::NetworkException),
        }
    }

    fn add(&mut self, producer: &Producer, n: u16) -> Result<(), ErrorCode> {
        let request = Request::AddPartitionsToTxn(Box::new(AddPartitionsToTxnRequest {
            transactional_id: ID,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            verify_only: false,
            version: producer.version,
            number: TransactionNumber(producer.number),
            partitions: vec![data(n)],
        }));
        let coordinator = self.leader_of(STATE).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        match self.call(coordinator, request) {
            Some(Response::AddPartitionsToTxn(answers)) => ok((), answers[0].1),
            _ => Err(ErrorCode::NetworkException),
        }
    }

    fn end_request(producer: &Producer, result: TransactionResult) -> Request {
        Request::EndTxn(EndTxnRequest {
            transactional_id: ID,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            result,
            version: producer.version,
            number: TransactionNumber(producer.number),
        })
    }

    fn end_once(
        &mut self,
        producer: &Producer,
        result: TransactionResult,
    ) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
        let coordinator = self.leader_of(STATE).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        match self.call(coordinator, Cluster::end_request(producer, result)) {
            Some(Response::EndTxn(answer)) => {
                ok((answer.producer_id, answer.producer_epoch), answer.error)
            }
            _ => Err(ErrorCode::NetworkException),
        }
    }

    /// Tries again every 100 ms while the error says so.
    fn until_done<T>(
        &mut self,
        attempt: impl FnMut(&mut Cluster) -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        self.until_done_amid(|_| (), attempt)
    }

    /// Like `until_done`; something happens between the tries.
    fn until_done_amid<T>(
        &mut self,
        mut between: impl FnMut(&mut Cluster),
        mut attempt: impl FnMut(&mut Cluster) -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        for _ in 0..600 {
            match attempt(self) {
                Err(error) if error.is_retriable() => {
                    self.run_ms(100);
                    between(self);
                }
                done => return done,
            }
        }
        panic!("it ends one way or the other");
    }

    /// The states of the id, and who was its coordinator.
    fn story(&self) -> Vec<TransactionState> {
        let states = self.notes.iter().filter_map(|(_, note)| match note {
            Note::TransactionState { to, .. } => Some(*to),
            _ => None,
        });
        states.collect()
    }

    /// Runs until the id is in `state`, not a millisecond longer.
    fn until(&mut self, state: TransactionState) {
        for _ in 0..60_000 {
            if self.story().last() == Some(&state) {
                return;
            }
            self.run_ms(1);
        }
        panic!("{state:?} is never reached; {:?}", self.story());
    }

    /// The markers in a log: result, epoch, coordinator epoch.
    fn markers_of(
        &self,
        broker: ActorId,
        partition: TopicPartition,
    ) -> Vec<(TransactionResult, i16, LeaderEpoch)> {
        let batches = self.broker(broker).batches(partition).iter();
        let markers = batches.filter_map(|batch| match batch.batch.records {
            Records::Control(marker) => {
                let epoch = batch.batch.producer_epoch.0;
                Some((marker.result, epoch, marker.coordinator_epoch))
            }
            Records::Data(_) | Records::Coordinator(_) => None,
        });
        markers.collect()
    }

    /// Whether every running broker has exactly these results in a partition.
    fn ends_are(&self, partition: TopicPartition, expected: &[TransactionResult]) -> bool {
        BROKERS.into_iter().filter(|broker| self.is_up(*broker)).all(|broker| {
            let results = self.markers_of(broker, partition).into_iter().map(|(result, ..)| result);
            results.eq(expected.iter().copied())
        })
    }
}

#[test]
fn everybody_finds_the_coordinator_and_nobody_else_serves() {
    let mut t = cluster(V2, Mutations::NONE);
    let coordinator = t.leader_of(STATE);
    for broker in BROKERS {
        let request = FindCoordinatorRequest { key: CoordinatorKey::Transaction(ID) };
        match t.call(broker, Request::FindCoordinator(request)) {
            Some(Response::FindCoordinator(answer)) => {
                assert_eq!((answer.error, answer.coordinator), (ErrorCode::None, coordinator));
            }
            other => panic!("not a coordinator: {other:?}"),
        }
        let request = Request::InitProducerId(InitProducerIdRequest {
            transactional_id: Some(ID),
            transaction_timeout: Duration::from_secs(60),
            current: None,
        });
        let Some(Response::InitProducerId(answer)) = t.call(broker, request) else {
            panic!("every broker answers");
        };
        let serves = answer.error != ErrorCode::NotCoordinator;
        assert_eq!(serves, Some(broker) == coordinator);
    }
}

#[test]
fn a_commit_walks_through_prepare_markers_and_complete_on_three_brokers() {
    for version in [V1, V2] {
        let mut t = cluster(version, Mutations::NONE);
        let mut producer = Producer::start(&mut t, version);
        for n in 0..3 {
            producer.send(&mut t, n).unwrap();
        }
        let told = t.broker(t.leader_of(STATE).unwrap()).settled().unwrap_err();
        assert!(told.contains("txn-0 is Ongoing"), "{told}");
        producer.end(&mut t, Commit).unwrap();
        t.settle();
        let walk = [Empty, Ongoing, Ongoing, Ongoing, PrepareCommit, CompleteCommit];
        assert_eq!(t.story(), walk);
        let epoch = i16::from(version == V2);
        for n in 0..3 {
            let marker = (Commit, epoch, t.broker(B1).is_leader(STATE).unwrap_or(LeaderEpoch(0)));
            assert_eq!(t.markers_of(B1, data(n)), [marker]);
            assert!(t.ends_are(data(n), &[Commit]));
        }
        // The next one, of another epoch in generation 2.
        producer.send(&mut t, 1).unwrap();
        producer.end(&mut t, Abort).unwrap();
        t.settle();
        assert!(t.ends_are(data(1), &[Commit, Abort]) && t.ends_are(data(0), &[Commit]));
    }
}

#[test]
fn a_new_coordinator_writes_the_markers_of_what_was_decided() {
    for version in [V1, V2] {
        let mut t = cluster(version, Mutations::NONE);
        let mut producer = Producer::start(&mut t, version);
        for n in 0..3 {
            producer.send(&mut t, n).unwrap();
        }
        let coordinator = t.leader_of(STATE).unwrap();
        t.ask(coordinator, Cluster::end_request(&producer, Commit));
        t.until(PrepareCommit);
        t.crash(coordinator, Crash::Process);
        t.until(CompleteCommit);
        assert_ne!(t.leader_of(STATE), Some(coordinator));
        t.start(coordinator);
        t.settle();
        for n in 0..3 {
            let leader = t.leader_of(data(n)).unwrap();
            let markers = t.markers_of(leader, data(n));
            assert!(markers.iter().all(|(result, ..)| *result == Commit));
            assert!(markers.last().unwrap().2 > LeaderEpoch(0), "from the new one");
        }
        // The producer, whose answer was lost, asks again.
        producer.end(&mut t, Commit).unwrap();
        producer.send(&mut t, 0).unwrap();
        producer.end(&mut t, Commit).unwrap();
        t.settle();
    }
}

#[test]
fn without_resumption_the_transaction_hangs() {
    let mut t = cluster(V2, Mutations::only(Mutation::CoordinatorNoResumePrepare));
    let mut producer = Producer::start(&mut t, V2);
    producer.send(&mut t, 0).unwrap();
    let coordinator = t.leader_of(STATE).unwrap();
    t.ask(coordinator, Cluster::end_request(&producer, Commit));
    t.until(PrepareCommit);
    t.crash(coordinator, Crash::Process);
    t.run_ms(60_000);
    assert_eq!(t.story().last(), Some(&PrepareCommit));
    let next = t.leader_of(STATE).unwrap();
    let told = t.broker(next).settled().unwrap_err();
    assert!(told.contains("PrepareCommit: 1 markers are missing"), "{told}");
    assert!(t.hits > 0);
}

#[test]
fn an_open_transaction_survives_its_coordinator() {
    for version in [V1, V2] {
        let mut t = cluster(version, Mutations::NONE);
        let mut producer = Producer::start(&mut t, version);
        producer.send(&mut t, 0).unwrap();
        let coordinator = t.leader_of(STATE).unwrap();
        t.crash(coordinator, Crash::Process);
        t.run_ms(12_000);
        producer.send(&mut t, 0).unwrap();
        producer.send(&mut t, 1).unwrap();
        producer.end(&mut t, Commit).unwrap();
        t.start(coordinator);
        t.settle();
        assert!(t.ends_are(data(0), &[Commit]) && t.ends_are(data(1), &[Commit]));
    }
}

#[test]
fn markers_follow_the_leader_of_their_partition() {
    let mut t = cluster(V2, Mutations::NONE);
    let mut producer = Producer::start(&mut t, V2);
    for n in 0..3 {
        producer.send(&mut t, n).unwrap();
    }
    let coordinator = t.leader_of(STATE).unwrap();
    let n = (0..3).find(|n| t.leader_of(data(*n)) != Some(coordinator)).unwrap();
    let leader = t.leader_of(data(n)).unwrap();
    t.crash(leader, Crash::Process);
    producer.end(&mut t, Commit).unwrap();
    t.until(CompleteCommit);
    assert_ne!(t.leader_of(data(n)), Some(leader));
    t.start(leader);
    t.settle();
    for n in 0..3 {
        assert!(t.ends_are(data(n), &[Commit]), "partition {n}");
    }
}

#[test]
fn a_zombie_is_fenced_by_its_successor() {
    for version in [V1, V2] {
        let mut t = cluster(version, Mutations::NONE);
        let mut zombie = Producer::start(&mut t, version);
        zombie.send(&mut t, 0).unwrap();
        // The successor finds the transaction open: it is aborted before it may begin.
        assert_eq!(t.init(), Err(ErrorCode::ConcurrentTransactions));
        let mut successor = Producer::start(&mut t, version);
        let walk = [Empty, Ongoing, PrepareEpochFence, PrepareAbort, CompleteAbort, Empty];
        assert_eq!(t.story(), walk);
        assert_eq!(zombie.end(&mut t, Commit), Err(ErrorCode::ProducerFenced));
        assert!(zombie.send(&mut t, 0).is_err() && zombie.send(&mut t, 1).is_err());
        successor.send(&mut t, 1).unwrap();
        assert_eq!(zombie.end(&mut t, Abort), Err(ErrorCode::ProducerFenced));
        successor.end(&mut t, Commit).unwrap();
        t.settle();
        assert!(t.ends_are(data(0), &[Abort]) && t.ends_are(data(1), &[Commit]));
    }
}

#[test]
fn a_transaction_whose_producer_is_gone_is_aborted() {
    for version in [V1, V2] {
        let mut t = cluster(version, Mutations::NONE);
        let mut producer = Producer::start(&mut t, version);
        producer.send(&mut t, 0).unwrap();
        t.run_ms(59_000);
        assert_eq!(t.story().last(), Some(&Ongoing));
        t.run_ms(12_000);
        assert_eq!(t.story().last(), Some(&CompleteAbort));
        let timed_out = |note: &Note| matches!(note, Note::TransactionTimedOut { .. });
        assert_eq!(t.notes.iter().filter(|(_, note)| timed_out(note)).count(), 1);
        t.settle();
        assert!(t.ends_are(data(0), &[Abort]));
        assert!(producer.end(&mut t, Commit).is_err(), "whoever comes back learns it");
    }
}

#[test]
fn kafka_17754_a_delayed_end_txn_ends_the_next_transaction() {
    let story = |version, mutations| {
        let mut t = cluster(version, mutations);
        let mut producer = Producer::start(&mut t, version);
        producer.send(&mut t, 0).unwrap();
        let delayed = producer.clone();
        producer.end(&mut t, Commit).unwrap();
        t.settle();
        producer.send(&mut t, 0).unwrap();
        let outcome = t.end_once(&delayed, Commit).map(|_| ());
        t.run_ms(1_000);
        let applied = t.notes.iter().rev().find_map(|(_, note)| match note {
            Note::EndTxnApplied { issued, applied, .. } => Some((issued.0, applied.0)),
            _ => None,
        });
        (outcome, applied.unwrap(), t.story().pop().unwrap())
    };
    assert_eq!(story(V1, Mutations::NONE), (Ok(()), (0, 1), CompleteCommit));
    let fenced = Err(ErrorCode::ProducerFenced);
    assert_eq!(story(V2, Mutations::NONE), (fenced, (0, 0), Ongoing));
    let planted = Mutations::only(Mutation::TxnNoEpochBump);
    assert_eq!(story(V2, planted), (Ok(()), (0, 1), CompleteCommit));
}

#[test]
fn a_group_takes_part_through_its_offsets_partition() {
    let mut t = cluster(V1, Mutations::NONE);
    let mut producer = Producer::start(&mut t, V1);
    let request = AddOffsetsToTxnRequest {
        transactional_id: ID,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        number: TransactionNumber(0),
        group: GROUP,
    };
    let coordinator = t.leader_of(STATE).unwrap();
    match t.call(coordinator, Request::AddOffsetsToTxn(request)) {
        Some(Response::AddOffsetsToTxn(error)) => assert_eq!(error, ErrorCode::None),
        other => panic!("not an answer: {other:?}"),
    }
    producer.end(&mut t, Commit).unwrap();
    t.settle();
    assert!(t.ends_are(OFFSETS, &[Commit]));
}

#[test]
fn a_coordinator_that_cannot_replicate_decides_nothing() {
    let mut t = cluster(V2, Mutations::NONE);
    let mut producer = Producer::start(&mut t, V2);
    producer.send(&mut t, 0).unwrap();
    let coordinator = t.leader_of(STATE).unwrap();
    let others = BROKERS.into_iter().filter(|broker| *broker != coordinator);
    let others: Vec<ActorId> = others.collect();
    for other in &others {
        t.crash(*other, Crash::Process);
    }
    t.run_ms(12_000);
    assert_eq!(t.end_once(&producer, Commit), Err(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(t.story().last(), Some(&Ongoing));
    for other in others {
        t.start(other);
    }
    producer.end(&mut t, Commit).unwrap();
    t.settle();
    assert!(t.ends_are(data(0), &[Commit]));
}

#[test]
fn a_decision_that_only_one_broker_knew_is_reversed() {
    // T26: the coordinator acts on what its replicas do not have, and takes it with it.
    let story = |mutations| {
        let mut t = cluster(V2, mutations);
        let mut producer = Producer::start(&mut t, V2);
        producer.send(&mut t, 0).unwrap();
        let coordinator = t.leader_of(STATE).unwrap();
        let end = t.ask(coordinator, Cluster::end_request(&producer, Commit));
        // Long enough for the request and the answer, too short for the replicas.
        t.run_ms(2);
        let told = t.responses.remove(&end).is_some();
        (told, t.story().contains(&PrepareCommit))
    };
    assert_eq!(story(Mutations::NONE), (false, false));
    let planted = Mutations::only(Mutation::CoordinatorReplyBeforeHighWatermark);
    assert_eq!(story(planted), (true, true));
}

mod offsets;
