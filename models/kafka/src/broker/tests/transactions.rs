//! Markers, the last stable offset and aborted transactions at a leader (KIP-98, KIP-1228). The
//! client plays the transaction coordinator.

use std::rc::Rc;

use oncesim_types::{
    ActorId, Duration, ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId,
    TransactionNumber, TransactionResult, TransactionalId,
};

use super::cluster::{B1, B2, Cluster, P, topic};
use crate::broker::Crash;
use crate::config::{BrokerConfig, InternalTopic, TopicConfig, TransactionVersion};
use crate::log::batch::RecordBatch;
use crate::message::{
    Acks, FetchedPartition, IsolationLevel, ListOffsetsRequest, OffsetSpec, ProduceRequest,
    ProduceTransaction, Request, Response, TxnMarker, WriteTxnMarkersRequest,
};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;

use IsolationLevel::{ReadCommitted, ReadUncommitted};
use TransactionResult::{Abort, Commit};
use TransactionVersion::{V1, V2};

/// The producer of the stories.
pub(super) const PID: i64 = 1000;

/// A cluster with a transaction topic; partitions are not verified.
pub(super) fn unverified(replicas: u8, mutations: Mutations) -> Cluster {
    let config =
        BrokerConfig { transaction_partition_verification: false, ..BrokerConfig::default() };
    cluster(replicas, mutations, config)
}

pub(super) fn cluster(replicas: u8, mutations: Mutations, config: BrokerConfig) -> Cluster {
    let min_isr = replicas.min(2);
    let state = TopicConfig {
        topic: TopicId(1),
        internal: Some(InternalTopic::TransactionState),
        ..topic(replicas, min_isr)
    };
    Cluster::with(replicas, vec![topic(replicas, min_isr), state], mutations, config, None)
}

impl Cluster {
    /// A batch of one record in a transaction of the producer.
    pub(super) fn in_txn(&mut self, epoch: i16, sequence: i32) -> Rc<RecordBatch> {
        let batch = self.batch(Some((PID, epoch, sequence)));
        Rc::new(RecordBatch { transactional: true, ..RecordBatch::clone(&batch) })
    }

    pub(super) fn txn_request(version: TransactionVersion, batch: &Rc<RecordBatch>) -> Request {
        Request::Produce(ProduceRequest {
            acks: Acks::All,
            timeout: Duration::from_secs(30),
            transaction: Some(Box::new(ProduceTransaction {
                transactional_id: TransactionalId(0),
                version,
                number: TransactionNumber(1),
            })),
            batches: vec![(P, Rc::clone(batch))],
        })
    }

    /// Produces a record in a transaction: the error and the offset.
    pub(super) fn produce_in_txn(
        &mut self,
        to: ActorId,
        epoch: i16,
        sequence: i32,
    ) -> (ErrorCode, i64) {
        let batch = self.in_txn(epoch, sequence);
        let Some(Response::Produce(answers)) = self.call(to, Self::txn_request(V1, &batch)) else {
            panic!("a leader answers");
        };
        (answers[0].error, answers[0].base_offset.0)
    }

    /// Writes a marker as the coordinator of `coordinator_epoch`.
    pub(super) fn end_txn(
        &mut self,
        to: ActorId,
        (epoch, version): (i16, TransactionVersion),
        result: TransactionResult,
        coordinator_epoch: i32,
    ) -> ErrorCode {
        let marker = TxnMarker {
            producer_id: ProducerId(PID),
            producer_epoch: ProducerEpoch(epoch),
            coordinator_epoch: LeaderEpoch(coordinator_epoch),
            result,
            version,
            partitions: vec![P],
        };
        let request = WriteTxnMarkersRequest { markers: vec![marker] };
        match self.call(to, Request::WriteTxnMarkers(request)) {
            Some(Response::WriteTxnMarkers(written)) => written[0].1[0].1,
            other => panic!("not an answer to markers: {other:?}"),
        }
    }

    pub(super) fn isolated_fetch(from: i64, isolation: IsolationLevel) -> Request {
        let Request::Fetch(mut fetch) = Self::fetch_request(from, LeaderEpoch::NONE) else {
            unreachable!("a fetch request is one");
        };
        fetch.isolation = isolation;
        Request::Fetch(fetch)
    }

    /// Fetches from `from`; a second fetch makes the broker answer the first at once.
    pub(super) fn read(
        &mut self,
        to: ActorId,
        from: i64,
        isolation: IsolationLevel,
    ) -> Option<FetchedPartition> {
        let first = self.ask(to, Self::isolated_fetch(from, isolation));
        self.run_ms(4);
        self.ask(to, Self::isolated_fetch(1_000, isolation));
        self.run_ms(4);
        match self.responses.remove(&first) {
            Some(Response::Fetch(mut response)) => response.partitions.pop(),
            other => panic!("not an answer to a fetch: {other:?}"),
        }
    }

    /// The offsets that a reader gets from the beginning.
    pub(super) fn offsets(&mut self, to: ActorId, isolation: IsolationLevel) -> Vec<i64> {
        let fetched = self.read(to, 0, isolation);
        let batches = fetched.map(|fetched| fetched.batches).unwrap_or_default();
        batches.iter().map(|batch| batch.base_offset.0).collect()
    }

    pub(super) fn latest(&mut self, to: ActorId, isolation: IsolationLevel) -> i64 {
        let request = ListOffsetsRequest {
            isolation,
            partitions: vec![(P, LeaderEpoch::NONE, OffsetSpec::Latest)],
        };
        match self.call(to, Request::ListOffsets(request)) {
            Some(Response::ListOffsets(answers)) => answers[0].offset.0,
            other => panic!("not an answer to list offsets: {other:?}"),
        }
    }
}

#[test]
fn an_open_transaction_holds_back_every_reader_of_committed_data() {
    let mut t = unverified(3, Mutations::NONE);
    let plain = t.batch(None);
    t.produce(B1, Acks::All, &plain);
    assert_eq!(t.produce_in_txn(B1, 0, 0), (ErrorCode::None, 1));
    // Of somebody else, and not transactional at all.
    let other = t.batch(None);
    t.produce(B1, Acks::All, &other);
    assert_eq!((t.latest(B1, ReadUncommitted), t.latest(B1, ReadCommitted)), (3, 1));
    assert_eq!(t.offsets(B1, ReadUncommitted), [0, 1, 2]);
    assert_eq!(t.offsets(B1, ReadCommitted), [0]);
    let waiting = t.ask(B1, Cluster::isolated_fetch(1, ReadCommitted));
    t.run_ms(5_000);
    assert!(!t.responses.contains_key(&waiting));
    assert_eq!(t.end_txn(B1, (0, V1), Commit, 0), ErrorCode::None);
    t.run_ms(2);
    assert!(t.responses.contains_key(&waiting), "it hears of it at once");
    assert_eq!(t.offsets(B1, ReadCommitted), [0, 1, 2, 3]);
    assert_eq!(t.latest(B1, ReadCommitted), 4);
    let stable: Vec<i64> = (t.notes.iter())
        .filter_map(|(_, note)| match note {
            Note::LastStableOffset { last_stable_offset, .. } => Some(last_stable_offset.0),
            _ => None,
        })
        .collect();
    assert_eq!(stable, [1, 4]);
}

#[test]
fn a_marker_counts_when_it_is_committed() {
    let mut t = unverified(2, Mutations::NONE);
    t.produce_in_txn(B1, 0, 0);
    t.cut(B1, B2);
    let request = WriteTxnMarkersRequest {
        markers: vec![TxnMarker {
            producer_id: ProducerId(PID),
            producer_epoch: ProducerEpoch(0),
            coordinator_epoch: LeaderEpoch(0),
            result: Commit,
            version: V1,
            partitions: vec![P],
        }],
    };
    let marker = t.ask(B1, Request::WriteTxnMarkers(request.clone()));
    t.run_ms(1_000);
    assert_eq!(t.broker(B1).log_end(P), Some(Offset(2)), "it is in the leader's log");
    assert!(!t.responses.contains_key(&marker));
    assert_eq!(t.offsets(B1, ReadCommitted), [], "it may be lost");
    t.heal();
    t.settle();
    assert!(t.responses.contains_key(&marker));
    assert_eq!(t.offsets(B1, ReadCommitted), [0, 1]);
    // The planted bug does not wait.
    let mut t = unverified(2, Mutations::only(Mutation::MarkersEarlyReply));
    t.produce_in_txn(B1, 0, 0);
    t.cut(B1, B2);
    let marker = t.ask(B1, Request::WriteTxnMarkers(request));
    t.run_ms(10);
    assert!(t.responses.contains_key(&marker) && t.hits > 0);
}

/// A transaction of offsets 0 and 2 around a plain record, aborted at 3; a plain record at 4.
fn aborted(mutations: Mutations) -> Cluster {
    let mut t = unverified(1, mutations);
    t.produce_in_txn(B1, 0, 0);
    let plain = t.batch(None);
    t.produce(B1, Acks::All, &plain);
    t.produce_in_txn(B1, 0, 1);
    assert_eq!(t.end_txn(B1, (0, V1), Abort, 0), ErrorCode::None);
    t.produce(B1, Acks::All, &plain);
    t
}

#[test]
fn a_reader_of_committed_data_learns_which_transactions_were_aborted() {
    let mut t = aborted(Mutations::NONE);
    let list = |t: &mut Cluster, from, isolation| {
        let fetched = t.read(B1, from, isolation).expect("there is data");
        let aborted = fetched.aborted.iter().map(|a| (a.producer_id.0, a.first_offset.0));
        aborted.collect::<Vec<_>>()
    };
    for from in 0..=3 {
        assert_eq!(list(&mut t, from, ReadCommitted), [(PID, 0)], "from {from}");
    }
    assert_eq!(list(&mut t, 4, ReadCommitted), [], "it ended before");
    assert_eq!(list(&mut t, 0, ReadUncommitted), []);
}

#[test]
fn kafka_5376_a_fetch_that_has_waited_gets_the_list_too() {
    for (mutations, listed) in
        [(Mutations::NONE, 1), (Mutations::only(Mutation::FetchNoAbortedListOnDelayed), 0)]
    {
        let mut t = unverified(1, mutations);
        let fetch = t.ask(B1, Cluster::isolated_fetch(0, ReadCommitted));
        t.run_ms(10);
        t.produce_in_txn(B1, 0, 0);
        t.end_txn(B1, (0, V1), Abort, 0);
        t.run_ms(2);
        let Some(Response::Fetch(answer)) = t.responses.remove(&fetch) else { panic!("answered") };
        assert_eq!(answer.partitions[0].aborted.len(), listed);
        assert_eq!(t.hits > 0, listed == 0);
    }
}

#[test]
fn without_the_bound_open_transactions_are_read() {
    for (mutations, offsets) in
        [(Mutations::NONE, vec![]), (Mutations::only(Mutation::FetchCommittedUpToHw), vec![0])]
    {
        let mut t = unverified(1, mutations);
        t.produce_in_txn(B1, 0, 0);
        assert_eq!(t.offsets(B1, ReadCommitted), offsets);
        assert_eq!(t.hits > 0, !offsets.is_empty());
    }
}

#[test]
fn kafka_9807_a_fetch_that_the_high_watermark_wakes_reads_no_open_transaction() {
    for (mutations, read) in
        [(Mutations::NONE, false), (Mutations::only(Mutation::FetchLsoReadBeforeHw), true)]
    {
        let mut t = unverified(1, mutations);
        let fetch = t.ask(B1, Cluster::isolated_fetch(0, ReadCommitted));
        t.run_ms(10);
        t.produce_in_txn(B1, 0, 0);
        t.run_ms(10);
        assert_eq!(t.responses.contains_key(&fetch), read);
        assert_eq!(t.hits > 0, read);
        t.run_ms(60_000);
        assert_eq!(t.offsets(B1, ReadCommitted), [], "only in that moment");
    }
}

#[test]
fn a_new_leader_knows_what_is_open_and_what_was_aborted() {
    let mut t = unverified(3, Mutations::NONE);
    t.produce_in_txn(B1, 0, 0);
    t.end_txn(B1, (0, V1), Abort, 0);
    t.produce_in_txn(B1, 0, 1);
    t.crash(B1, Crash::Process);
    t.run_ms(12_000);
    let leader = t.leader().unwrap();
    t.start(B1);
    t.settle();
    let fetched = t.read(leader, 0, ReadCommitted).expect("there is data");
    assert_eq!((fetched.batches.len(), fetched.aborted.len()), (2, 1));
    assert_eq!(t.latest(leader, ReadCommitted), 2);
    // The transaction goes on there, and ends there.
    assert_eq!(t.produce_in_txn(leader, 0, 2), (ErrorCode::None, 3));
    assert_eq!(t.end_txn(leader, (0, V1), Commit, 0), ErrorCode::None);
    assert_eq!(t.offsets(leader, ReadCommitted), [0, 1, 2, 3, 4]);
}

#[test]
fn kafka_19999_a_marker_may_be_written_again_but_ends_no_later_transaction() {
    use ErrorCode::{InvalidProducerEpoch, None};
    let strict = Mutations::only(Mutation::TxnTv2MarkerStrict);
    let lenient = Mutations::only(Mutation::TxnTv2MarkerLenient);
    for (mutations, again, late) in [
        (Mutations::NONE, None, InvalidProducerEpoch),
        (strict, InvalidProducerEpoch, InvalidProducerEpoch),
        (lenient, None, None),
    ] {
        let mut t = unverified(1, mutations);
        t.produce_in_txn(B1, 0, 0);
        assert_eq!(t.end_txn(B1, (1, V2), Commit, 0), None, "one epoch more than its transaction");
        assert_eq!(t.end_txn(B1, (1, V2), Commit, 0), again);
        assert_eq!(t.produce_in_txn(B1, 1, 0).0, None, "the next transaction");
        assert_eq!(t.end_txn(B1, (1, V2), Abort, 0), late);
        assert_eq!(t.hits > 0, mutations != Mutations::NONE);
        let refused = t.notes.iter().filter(|(_, n)| matches!(n, Note::MarkerRejected { .. }));
        assert_eq!(refused.count(), usize::from(again != None) + usize::from(late != None));
    }
}

#[test]
fn a_coordinator_that_was_replaced_ends_nothing() {
    for (mutations, error) in [
        (Mutations::NONE, ErrorCode::TransactionCoordinatorFenced),
        (Mutations::only(Mutation::TxnNoCoordinatorEpoch), ErrorCode::None),
    ] {
        let mut t = unverified(1, mutations);
        t.produce_in_txn(B1, 0, 0);
        assert_eq!(t.end_txn(B1, (0, V1), Commit, 5), ErrorCode::None);
        t.produce_in_txn(B1, 0, 1);
        assert_eq!(t.end_txn(B1, (0, V1), Abort, 4), error);
        assert_eq!(t.end_txn(B1, (0, V1), Commit, 5), ErrorCode::None);
    }
}

#[test]
fn markers_need_a_leader_and_enough_replicas() {
    let mut t = unverified(2, Mutations::NONE);
    assert_eq!(t.end_txn(B2, (0, V1), Commit, 0), ErrorCode::NotLeaderOrFollower);
    t.crash(B2, Crash::Process);
    t.run_ms(12_000);
    assert_eq!(t.end_txn(B1, (0, V1), Commit, 0), ErrorCode::NotEnoughReplicas);
    assert_eq!(t.broker(B1).log_end(P), Some(Offset(0)));
}
