//! Transactions under crashes, cuts and elections at random, with the real coordinator: all or
//! nothing in every partition, and nothing stays open.

use std::collections::BTreeMap;
use std::rc::Rc;

use oncesim_types::{
    ActorId, Duration, ErrorCode, Offset, ProducerEpoch, ProducerId, RecordId, Sequence, TopicId,
    TopicPartition, TransactionNumber, TransactionResult, TransactionalId,
};

use super::cluster::{B1, Cluster, id_of, topic};
use super::random_walk::disturb;
use crate::config::{BrokerConfig, InternalTopic, TopicConfig, TransactionVersion};
use crate::log::batch::{RecordBatch, Records};
use crate::message::{
    Acks, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest,
    ProduceTransaction, Request, Response,
};
use crate::mutation::Mutations;

use TransactionResult::{Abort, Commit};

const ID: TransactionalId = TransactionalId(0);
const STATE: TopicPartition = TopicPartition::new(TopicId(1), 0);
const DATA: [TopicPartition; 2] =
    [TopicPartition::new(TopicId(0), 0), TopicPartition::new(TopicId(0), 1)];

/// What became of a transaction, as its producer knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Known(TransactionResult),
    /// Its producer gave up before it heard.
    Unknown,
}

/// One transactional producer that does one thing at a time.
struct Producer {
    version: TransactionVersion,
    down: Option<ActorId>,
    session: (ProducerId, ProducerEpoch),
    sequences: BTreeMap<TopicPartition, i32>,
    number: TransactionNumber,
    /// Acknowledged records of each transaction, and its fate.
    done: Vec<(Vec<RecordId>, Fate)>,
}

impl Producer {
    /// Sends a request and waits for a while. `None` without an answer.
    fn ask(&mut self, t: &mut Cluster, at: TopicPartition, request: Request) -> Option<Response> {
        disturb(t, &mut self.down);
        let to = t.leader_of(at).unwrap_or(B1);
        let correlation = t.ask(to, request);
        let wait = 20 + t.draw(150);
        t.run_ms(wait);
        t.responses.remove(&correlation)
    }

    fn begin_session(&mut self, t: &mut Cluster) {
        loop {
            let request = InitProducerIdRequest {
                transactional_id: Some(ID),
                transaction_timeout: Duration::from_secs(60),
                current: None,
            };
            let answer = self.ask(t, STATE, Request::InitProducerId(request));
            if let Some(Response::InitProducerId(answer)) = answer
                && answer.error == ErrorCode::None
            {
                self.begin_epoch((answer.producer_id, answer.producer_epoch));
                return;
            }
        }
    }

    fn begin_epoch(&mut self, session: (ProducerId, ProducerEpoch)) {
        if self.session != session {
            self.session = session;
            self.sequences.clear();
        }
    }

    fn add_partition(
        &mut self,
        t: &mut Cluster,
        partition: TopicPartition,
    ) -> Result<(), ErrorCode> {
        loop {
            let request = AddPartitionsToTxnRequest {
                transactional_id: ID,
                producer_id: self.session.0,
                producer_epoch: self.session.1,
                verify_only: false,
                version: self.version,
                number: self.number,
                partitions: vec![partition],
            };
            let request = Request::AddPartitionsToTxn(Box::new(request));
            if let Some(Response::AddPartitionsToTxn(answers)) = self.ask(t, STATE, request) {
                match answers[0].1 {
                    ErrorCode::None => return Ok(()),
                    error if error.is_retriable() => {}
                    error => return Err(error),
                }
            }
        }
    }

    /// Produces one record; gives up after a few attempts.
    fn send(&mut self, t: &mut Cluster, partition: TopicPartition) -> Result<RecordId, ErrorCode> {
        let sequence = self.sequences.get(&partition).copied().unwrap_or(0);
        let plain = t.batch(None);
        let batch = Rc::new(RecordBatch {
            producer_id: self.session.0,
            producer_epoch: self.session.1,
            base_sequence: Sequence(sequence),
            transactional: true,
            ..RecordBatch::clone(&plain)
        });
        for _ in 0..4 {
            let transaction = ProduceTransaction {
                transactional_id: ID,
                version: self.version,
                number: self.number,
            };
            let request = ProduceRequest {
                acks: Acks::All,
                timeout: Duration::from_secs(30),
                transaction: Some(Box::new(transaction)),
                batches: vec![(partition, Rc::clone(&batch))],
            };
            let request = Request::Produce(request);
            if let Some(Response::Produce(answers)) = self.ask(t, partition, request) {
                match answers[0].error {
                    ErrorCode::None => {
                        self.sequences.insert(partition, sequence + 1);
                        return Ok(id_of(&batch));
                    }
                    error if error.is_retriable() => {}
                    error => return Err(error),
                }
            }
        }
        Err(ErrorCode::RequestTimedOut)
    }

    fn end(&mut self, t: &mut Cluster, result: TransactionResult) -> Fate {
        loop {
            let request = EndTxnRequest {
                transactional_id: ID,
                producer_id: self.session.0,
                producer_epoch: self.session.1,
                result,
                version: self.version,
                number: self.number,
            };
            match self.ask(t, STATE, Request::EndTxn(request)) {
                Some(Response::EndTxn(answer)) if answer.error == ErrorCode::None => {
                    if self.version.bumps_per_transaction() {
                        self.begin_epoch((answer.producer_id, answer.producer_epoch));
                    }
                    return Fate::Known(result);
                }
                Some(Response::EndTxn(answer)) if !answer.error.is_retriable() => {
                    return Fate::Unknown;
                }
                _ => {}
            }
        }
    }

    fn transaction(&mut self, t: &mut Cluster) {
        self.number = TransactionNumber(self.number.0 + 1);
        let mut sent = Vec::new();
        let mut failed = false;
        for _ in 0..1 + t.draw(3) {
            let partition = DATA[usize::try_from(t.draw(2)).unwrap()];
            let added = if self.version.bumps_per_transaction() {
                Ok(())
            } else {
                self.add_partition(t, partition)
            };
            match added.and_then(|()| self.send(t, partition)) {
                Ok(record) => sent.push(record),
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
        let result = if failed || t.draw(4) == 0 { Abort } else { Commit };
        let fate = self.end(t, result);
        self.done.push((sent, fate));
        // What was given up may still arrive: generation 1 needs another epoch against it.
        if fate == Fate::Unknown || failed && !self.version.bumps_per_transaction() {
            self.begin_session(t);
        }
    }
}

/// The records of a log whose transaction was committed; nothing may be open.
fn committed(t: &Cluster, partition: TopicPartition) -> Vec<RecordId> {
    let mut open: BTreeMap<ProducerId, Vec<RecordId>> = BTreeMap::new();
    let mut committed = Vec::new();
    for batch in t.broker(B1).batches(partition) {
        let ours = open.entry(batch.batch.producer_id).or_default();
        match &batch.batch.records {
            Records::Control(marker) => {
                let records = std::mem::take(ours);
                if marker.result == Commit {
                    committed.extend(records);
                }
            }
            _ => ours.push(id_of(&batch.batch)),
        }
    }
    assert!(open.values().all(Vec::is_empty), "a transaction is open in {partition}");
    committed
}

/// Returns how many transactions were committed and known to be.
fn walk(seed: u64, version: TransactionVersion) -> usize {
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let config = BrokerConfig { transaction_version: version, ..BrokerConfig::default() };
    let data = TopicConfig { partitions: 2, ..topic(3, 2) };
    let internal = Some(InternalTopic::TransactionState);
    let state = TopicConfig { topic: TopicId(1), internal, ..topic(3, 2) };
    let mut t = Cluster::with(3, vec![data, state], Mutations::NONE, config, Some(seed));
    let mut producer = Producer {
        version,
        down: None,
        session: (ProducerId::NONE, ProducerEpoch::NONE),
        sequences: BTreeMap::new(),
        number: TransactionNumber::NONE,
        done: Vec::new(),
    };
    producer.begin_session(&mut t);
    for _ in 0..12 {
        producer.transaction(&mut t);
    }
    if let Some(broker) = producer.down {
        t.start(broker);
    }
    t.heal();
    t.run_ms(80_000);
    t.settle();
    let records: Vec<_> = DATA.iter().flat_map(|data| committed(&t, *data)).collect();
    for data in DATA {
        let replica = t.broker(t.leader_of(data).expect("healed"));
        assert_eq!(replica.last_stable_offset(data), replica.log_end(data), "{data}");
        assert_ne!(replica.log_end(data), Some(Offset(0)), "{data} was used");
    }
    let mut known = 0;
    for (sent, fate) in &producer.done {
        let copies = |record| records.iter().filter(|found| *found == record).count();
        let copies: Vec<_> = sent.iter().map(copies).collect();
        let expected = match fate {
            Fate::Known(Commit) => 1,
            Fate::Known(Abort) => 0,
            Fate::Unknown => copies.first().copied().unwrap_or(0).min(1),
        };
        assert!(copies.iter().all(|n| *n == expected), "{fate:?}: {copies:?}");
        known += usize::from(*fate == Fate::Known(Commit));
    }
    known
}

#[test]
fn transactions_are_all_or_nothing_and_end() {
    for version in [TransactionVersion::V1, TransactionVersion::V2] {
        let mut known = 0;
        for seed in 1..=60 {
            match std::panic::catch_unwind(|| walk(seed, version)) {
                Ok(count) => known += count,
                Err(panic) => {
                    let said = panic.downcast_ref::<String>().map(String::as_str);
                    panic!("{version:?}, seed {seed}: {}", said.unwrap_or("a panic"));
                }
            }
        }
        assert!(known > 60 * 3, "{version:?}: only {known} transactions were committed");
    }
}
