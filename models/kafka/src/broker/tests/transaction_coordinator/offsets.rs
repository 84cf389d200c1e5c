//! Offsets in transactions from end to end (KIP-447, KIP-890): the group coordinator's log is one
//! partition of the transaction.

use oncesim_types::{GenerationId, Offset};

use super::*;
use crate::message::{
    GroupMetadata, JoinGroupRequest, OffsetFetchRequest, Subscription, TxnOffsetCommitRequest,
};

const TP: TopicPartition = data(0);

impl Producer {
    /// `AddOffsetsToTxn` (generation 1), then `TxnOffsetCommit`, trying again while it has to.
    fn send_offsets(&mut self, t: &mut Cluster, next: i64) -> Result<(), ErrorCode> {
        if self.version == V1 {
            t.until_done(|t| t.add_offsets(self))?;
        }
        t.until_done(|t| t.commit_offsets(self, GroupMetadata::NONE, next))
    }
}

impl Cluster {
    fn add_offsets(&mut self, producer: &Producer) -> Result<(), ErrorCode> {
        let request = Request::AddOffsetsToTxn(AddOffsetsToTxnRequest {
            transactional_id: ID,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            number: TransactionNumber(producer.number),
            group: GROUP,
        });
        let coordinator = self.leader_of(STATE).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        match self.call(coordinator, request) {
            Some(Response::AddOffsetsToTxn(error)) => ok((), error),
            _ => Err(ErrorCode::NetworkException),
        }
    }

    fn commit_offsets(
        &mut self,
        producer: &Producer,
        consumer: GroupMetadata,
        next: i64,
    ) -> Result<(), ErrorCode> {
        let request = Request::TxnOffsetCommit(Box::new(TxnOffsetCommitRequest {
            transactional_id: ID,
            group: GROUP,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            version: producer.version,
            number: TransactionNumber(producer.number),
            consumer,
            offsets: vec![(TP, Offset(next), LeaderEpoch(0))],
        }));
        let coordinator = self.leader_of(OFFSETS).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        match self.call(coordinator, request) {
            Some(Response::TxnOffsetCommit(answers)) => ok((), answers[0].1),
            _ => Err(ErrorCode::NetworkException),
        }
    }

    /// Where the group stands; `Err` while that may still change.
    fn stands_at(&mut self, require_stable: bool) -> Result<Option<i64>, ErrorCode> {
        let request = OffsetFetchRequest { group: GROUP, partitions: vec![TP], require_stable };
        let coordinator = self.leader_of(OFFSETS).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        match self.call(coordinator, Request::OffsetFetch(request)) {
            Some(Response::OffsetFetch(answer)) => {
                let (_, error, committed) =
                    *answer.offsets.first().ok_or(ErrorCode::CoordinatorNotAvailable)?;
                ok(committed.map(|(offset, _)| offset.0), error)
            }
            _ => Err(ErrorCode::NetworkException),
        }
    }
}

const UNSTABLE: Result<Option<i64>, ErrorCode> = Err(ErrorCode::UnstableOffsetCommit);

#[test]
fn offsets_count_with_the_records_of_their_transaction() {
    for version in [V1, V2] {
        let mut t = cluster(version, Mutations::NONE);
        let mut producer = Producer::start(&mut t, version);
        for (result, next, after) in [(Commit, 5, Some(5)), (Abort, 9, Some(5))] {
            let before = t.stands_at(false);
            producer.send(&mut t, 1).unwrap();
            producer.send_offsets(&mut t, next).unwrap();
            assert_eq!((t.stands_at(false), t.stands_at(true)), (before, UNSTABLE));
            producer.end(&mut t, result).unwrap();
            // A new owner that asks at once gets the new offset or has to wait, never the old one.
            assert_eq!(t.until_done(|t| t.stands_at(true)), Ok(after));
            assert_eq!(t.stands_at(false), Ok(after));
        }
        t.settle();
        assert!(t.ends_are(OFFSETS, &[Commit, Abort]) && t.ends_are(data(1), &[Commit, Abort]));
    }
}

/// Under generation 1 nobody adds the group's partition but the client; verification finds out.
#[test]
fn offsets_outside_of_any_transaction_are_refused() {
    let mut t = cluster(V1, Mutations::NONE);
    let mut producer = Producer::start(&mut t, V1);
    producer.send(&mut t, 1).unwrap();
    let refused = t.commit_offsets(&producer, GroupMetadata::NONE, 5);
    assert_eq!(refused, Err(ErrorCode::TransactionAbortable));
    assert_eq!(t.stands_at(true), Ok(None));
    // A producer that was fenced is told so.
    let old = producer.clone();
    let mut new = Producer::start(&mut t, V1);
    let refused = t.until_done(|t| t.commit_offsets(&old, GroupMetadata::NONE, 5));
    assert_eq!(refused, Err(ErrorCode::InvalidProducerEpoch));
    new.send_offsets(&mut t, 3).unwrap();
    new.end(&mut t, Commit).unwrap();
    t.settle();
    assert_eq!(t.stands_at(true), Ok(Some(3)));
}

/// The story that KIP-447 ends, at brokers that know who is in the group.
#[test]
fn a_member_that_was_replaced_cannot_commit_in_its_transaction() {
    let mut t = cluster(V2, Mutations::NONE);
    let mut producer = Producer::start(&mut t, V2);
    let member = oncesim_types::MemberId(1);
    let join = |member| {
        Request::JoinGroup(Box::new(JoinGroupRequest {
            group: GROUP,
            member,
            candidate: oncesim_types::MemberId(1),
            instance: None,
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(60),
            protocols: vec![crate::message::Assignor::Range],
            subscription: Rc::new(Subscription {
                topics: vec![TP.topic],
                owned: Vec::new(),
                generation: GenerationId::NONE,
            }),
        }))
    };
    let coordinator = t.leader_of(OFFSETS).unwrap();
    t.call(coordinator, join(None));
    t.ask(coordinator, join(Some(member)));
    t.run_ms(4_000);
    let consumer = |generation| GroupMetadata {
        member: Some(member),
        instance: None,
        generation: GenerationId(generation),
    };
    // In the middle of the rebalance it belongs to the generation already.
    assert_eq!(t.commit_offsets(&producer, consumer(1), 5), Ok(()));
    producer.end(&mut t, Commit).unwrap();
    assert_eq!(t.until_done(|t| t.stands_at(true)), Ok(Some(5)));
    // Its session ends.
    t.run_ms(80_000);
    for (generation, error) in [(1, ErrorCode::UnknownMemberId), (0, ErrorCode::UnknownMemberId)] {
        let refused = t.until_done(|t| t.commit_offsets(&producer, consumer(generation), 3));
        assert_eq!(refused, Err(error));
    }
    producer.end(&mut t, Abort).unwrap();
    t.settle();
    assert_eq!(t.stands_at(true), Ok(Some(5)));
}

#[test]
fn pending_offsets_survive_their_coordinator() {
    for version in [V1, V2] {
        for result in [Commit, Abort] {
            let mut t = cluster(version, Mutations::NONE);
            let mut producer = Producer::start(&mut t, version);
            producer.send_offsets(&mut t, 5).unwrap();
            let coordinator = t.leader_of(OFFSETS).unwrap();
            t.crash(coordinator, Crash::Process);
            t.run_ms(12_000);
            assert_ne!(t.leader_of(OFFSETS), Some(coordinator));
            assert_eq!(t.stands_at(true), UNSTABLE);
            producer.end(&mut t, result).unwrap();
            let after = if result == Commit { Some(5) } else { None };
            assert_eq!(t.until_done(|t| t.stands_at(true)), Ok(after));
            t.start(coordinator);
            t.settle();
            assert!(t.ends_are(OFFSETS, &[result]));
            assert_eq!(t.stands_at(true), Ok(after));
        }
    }
}

/// The commit is decided, and the group's coordinator dies before its marker is there.
#[test]
fn a_decided_commit_reaches_the_next_group_coordinator() {
    for version in [V1, V2] {
        let mut t = cluster(version, Mutations::NONE);
        let mut producer = Producer::start(&mut t, version);
        producer.send_offsets(&mut t, 5).unwrap();
        let coordinator = t.leader_of(OFFSETS).unwrap();
        t.ask(t.leader_of(STATE).unwrap(), Cluster::end_request(&producer, Commit));
        t.until(PrepareCommit);
        t.crash(coordinator, Crash::Process);
        t.until(CompleteCommit);
        assert_eq!(t.until_done(|t| t.stands_at(true)), Ok(Some(5)));
        t.start(coordinator);
        t.settle();
        let resolved = t.notes.iter().filter(|(_, note)| {
            matches!(note, Note::OffsetResolved { offset: Offset(5), result: Commit, .. })
        });
        assert!(resolved.count() >= 1);
    }
}
