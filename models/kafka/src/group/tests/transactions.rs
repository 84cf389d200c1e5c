//! Offsets in transactions (KIP-447): who may commit them, when they count, who may read them.

use std::collections::BTreeMap;

use oncesim_types::{TransactionNumber, TransactionResult, TransactionalId};
use proptest::prelude::*;

use super::*;
use crate::config::TransactionVersion;
use crate::log::batch::EndTransactionMarker;
use crate::message::{GroupMetadata, TxnOffsetCommitRequest};

const P1: i64 = 1_000;
const P2: i64 = 1_001;
const COMMIT: TransactionResult = TransactionResult::Commit;
const ABORT: TransactionResult = TransactionResult::Abort;

fn consumer(member: Option<MemberId>, instance: Option<u16>, generation: i32) -> GroupMetadata {
    let instance = instance.map(GroupInstanceId);
    GroupMetadata { member, instance, generation: GenerationId(generation) }
}

impl Broker {
    /// A producer sends its consumer's next offset in its transaction.
    fn send_offsets(&mut self, producer: i64, consumer: GroupMetadata, next: i64) -> u32 {
        self.next += 1;
        let correlation = CorrelationId(self.next);
        let to = ReplyTo { client: ActorId(9), connection: ConnectionId(0), correlation };
        let request = TxnOffsetCommitRequest {
            transactional_id: TransactionalId(0),
            group: G,
            producer_id: ProducerId(producer),
            producer_epoch: ProducerEpoch(0),
            version: TransactionVersion::V2,
            number: TransactionNumber(1),
            consumer,
            offsets: vec![(TP, Offset(next), LeaderEpoch(0))],
        };
        let mut out = Vec::new();
        self.coordinator.commit_transactional(self.now, to, request, None, 0, &mut out);
        self.perform(out);
        self.next
    }

    /// The marker of a producer's transaction is appended.
    fn end(&mut self, producer: i64, result: TransactionResult) {
        let at = offset(self.log.len());
        let marker = EndTransactionMarker { result, coordinator_epoch: LeaderEpoch(0) };
        let producer = ProducerId(producer);
        self.store(Some(producer), Records::Control(marker));
        let mut out = Vec::new();
        self.coordinator.marker_appended(self.now, 0, producer, result, at, &mut out);
        self.perform(out);
        if self.mode == Log::Healthy {
            self.replicate(self.log.len());
        }
    }

    fn sent(&mut self, id: u32) -> Option<ErrorCode> {
        match self.answer(id)? {
            Response::TxnOffsetCommit(partitions) => Some(partitions[0].1),
            other => panic!("offsets are answered with {other:?}"),
        }
    }

    /// What a plain read finds.
    fn offset(&mut self) -> Option<i64> {
        let id = self.fetch(false);
        let (error, offset) = self.fetched(id).expect("a plain read does not wait");
        assert_eq!(error, ErrorCode::None);
        offset
    }

    /// What a read finds that must be stable; `None` while it waits.
    fn stable(&mut self) -> Option<Result<Option<i64>, ErrorCode>> {
        let id = self.fetch(true);
        match self.answer(id)? {
            Response::OffsetFetch(answer) => {
                let (_, error, committed) = answer.offsets[0];
                let offset = committed.map(|(offset, _)| offset.0);
                Some(if error.is_ok() { Ok(offset) } else { Err(error) })
            }
            other => panic!("an offset fetch is answered with {other:?}"),
        }
    }

    fn resolved(&self) -> Vec<(i64, i64, TransactionResult)> {
        let resolved = |note: &Note| match note {
            Note::OffsetResolved { producer_id, offset, result, .. } => {
                Some((producer_id.0, offset.0, *result))
            }
            _ => None,
        };
        self.notes.iter().filter_map(resolved).collect()
    }

    /// B leaves, A is alone in generation 2.
    fn without_b(&mut self) {
        self.send(leave(B));
        let rejoin = self.send(join(Some(A), A, None));
        assert_eq!(self.joined(rejoin).expect("A is alone").generation, GenerationId(2));
        let leader = self.send(sync(A, 2, &[(A, vec![TP])]));
        assert!(self.synced(leader).is_some());
    }
}

const UNSTABLE: Option<Result<Option<i64>, ErrorCode>> = Some(Err(ErrorCode::UnstableOffsetCommit));

#[test]
fn an_offset_counts_when_its_transaction_commits() {
    let mut broker = Broker::group_of_two();
    let plain = broker.commit(A, 1, 5);
    assert_eq!(broker.committed(plain), Some(ErrorCode::None));
    for (result, next, after) in [(COMMIT, 10, 10), (ABORT, 20, 10), (COMMIT, 30, 30)] {
        let before = broker.offset();
        let sent = broker.send_offsets(P1, consumer(Some(A), None, 1), next);
        assert_eq!(broker.sent(sent), Some(ErrorCode::None));
        assert!(broker.coordinator.settled().is_err(), "a transaction is open");
        assert_eq!(broker.offset(), before, "a plain read sees what was committed before");
        assert_eq!(broker.stable(), UNSTABLE);
        broker.end(P1, result);
        assert_eq!(broker.offset(), Some(after));
        assert_eq!(broker.stable(), Some(Ok(Some(after))));
        broker.coordinator.settled().expect("nothing is pending");
    }
    assert_eq!(broker.resolved(), [(P1, 10, COMMIT), (P1, 20, ABORT), (P1, 30, COMMIT)]);
    // Another partition, another group: nobody waits for this transaction.
    broker.send_offsets(P1, consumer(Some(A), None, 1), 40);
    let other = TopicPartition::new(TopicId(0), 1);
    for (group, partition) in [(G, other), (GroupId(1), TP)] {
        let partitions = vec![partition];
        let request = OffsetFetchRequest { group, partitions, require_stable: true };
        let id = broker.send(Request::OffsetFetch(request));
        assert_eq!(broker.fetched(id), Some((ErrorCode::None, None)));
    }
}

/// The last records of a transaction's offsets decide, not the first.
#[test]
fn the_offsets_that_were_sent_last_count() {
    let mut broker = Broker::new();
    broker.send_offsets(P1, GroupMetadata::NONE, 10);
    broker.send_offsets(P1, GroupMetadata::NONE, 12);
    broker.end(P1, COMMIT);
    assert_eq!(broker.offset(), Some(12));
    // A marker without offsets, and one that comes again: nothing.
    broker.end(P1, ABORT);
    broker.end(P2, COMMIT);
    assert_eq!(broker.offset(), Some(12));
    assert_eq!(broker.resolved(), [(P1, 12, COMMIT)]);
}

#[test]
fn a_marker_acts_when_the_high_watermark_covers_it() {
    let mut broker = Broker::new();
    broker.mode = Log::Stuck;
    let sent = broker.send_offsets(P1, GroupMetadata::NONE, 10);
    assert_eq!(broker.sent(sent), None, "not durable");
    let between = broker.fetch(true);
    broker.end(P1, COMMIT);
    let behind = broker.fetch(true);
    assert_eq!((broker.offset(), broker.resolved().len()), (None, 0));
    broker.replicate(1);
    assert_eq!(broker.sent(sent), Some(ErrorCode::None));
    let Some(Response::OffsetFetch(answer)) = broker.answer(between) else {
        panic!("all that was written before is durable")
    };
    assert_eq!(answer.offsets[0].1, ErrorCode::UnstableOffsetCommit);
    assert!(broker.answer(behind).is_none(), "the marker is not");
    assert_eq!((broker.offset(), broker.resolved().len()), (None, 0));
    broker.replicate(2);
    assert_eq!((broker.offset(), broker.resolved()), (Some(10), vec![(P1, 10, COMMIT)]));
    assert_eq!(broker.fetched(behind), Some((ErrorCode::None, Some(10))));
}

#[test]
fn a_commit_that_takes_too_long_may_still_count() {
    let mut broker = Broker::new();
    broker.mode = Log::Stuck;
    let sent = broker.send_offsets(P1, GroupMetadata::NONE, 10);
    broker.pass(Duration::from_secs(5));
    assert_eq!(broker.sent(sent), Some(ErrorCode::CoordinatorNotAvailable));
    broker.heal();
    assert_eq!(broker.stable(), UNSTABLE);
    broker.end(P1, COMMIT);
    assert_eq!(broker.offset(), Some(10));
    // Refused by the log: nothing is pending.
    broker.mode = Log::Refusing(ErrorCode::InvalidTxnState);
    let refused = broker.send_offsets(P1, GroupMetadata::NONE, 20);
    assert_eq!(broker.sent(refused), Some(ErrorCode::InvalidTxnState));
    broker.mode = Log::Refusing(ErrorCode::NotEnoughReplicas);
    let refused = broker.send_offsets(P1, GroupMetadata::NONE, 20);
    assert_eq!(broker.sent(refused), Some(ErrorCode::CoordinatorNotAvailable));
    broker.heal();
    assert_eq!(broker.stable(), Some(Ok(Some(10))));
}

#[test]
fn transactional_commits_are_validated_in_kafkas_order() {
    let static_b = Some(7);
    // state, member, instance, generation, answer
    let rows = [
        ("stable", Some(A), None, 1, ErrorCode::None),
        ("stable", None, None, -1, ErrorCode::None), // before KIP-447: nobody is fenced
        ("stable", Some(MemberId(99)), None, 1, ErrorCode::UnknownMemberId),
        ("stable", Some(MemberId(99)), static_b, 1, ErrorCode::UnknownMemberId),
        ("stable", None, static_b, -1, ErrorCode::UnknownMemberId),
        ("stable", None, None, 1, ErrorCode::UnknownMemberId),
        ("stable", Some(A), None, -1, ErrorCode::IllegalGeneration),
        ("stable", Some(A), None, 0, ErrorCode::IllegalGeneration),
        ("stable", Some(A), None, 2, ErrorCode::IllegalGeneration),
        ("preparing", Some(A), None, 1, ErrorCode::None),
        ("completing", Some(A), None, 2, ErrorCode::None), // unlike a plain commit
        ("completing", Some(A), None, 1, ErrorCode::IllegalGeneration),
        ("empty", None, None, -1, ErrorCode::None),
        ("empty", Some(A), None, -1, ErrorCode::None),
        ("empty", Some(A), None, 1, ErrorCode::UnknownMemberId),
        ("unknown", None, None, -1, ErrorCode::None),
        ("unknown", Some(A), None, 1, ErrorCode::IllegalGeneration),
    ];
    for (state, member, instance, generation, expected) in rows {
        let mut broker = if state == "unknown" { Broker::new() } else { Broker::group_of_two() };
        if state == "empty" {
            broker.send(leave(A));
            broker.send(leave(B));
        }
        if state == "preparing" || state == "completing" {
            broker.send(join(Some(A), A, None));
        }
        if state == "completing" {
            broker.send(join(Some(B), B, None));
        }
        let id = broker.send_offsets(P1, consumer(member, instance, generation), 4);
        let row = (state, member, instance, generation);
        assert_eq!(broker.sent(id), Some(expected), "{row:?}");
        let unstable = broker.stable() == UNSTABLE;
        assert_eq!(unstable, expected.is_ok(), "{row:?}");
        let rejected = broker.notes.iter().any(|n| matches!(n, Note::OffsetRejected { .. }));
        assert_eq!(rejected, !expected.is_ok(), "{row:?}");
    }
}

/// The story that KIP-447 ends: B is paused past its session and its partition goes to A, who
/// commits further. B wakes up with outputs for records that A has processed again.
#[test]
fn a_zombie_is_fenced_by_its_group_metadata_and_not_without() {
    for (zombie, fenced, after) in
        [(consumer(Some(B), None, 1), true, 20), (GroupMetadata::NONE, false, 10)]
    {
        let mut broker = Broker::group_of_two();
        broker.without_b();
        broker.send_offsets(P1, consumer(Some(A), None, 2), 20);
        broker.end(P1, COMMIT);
        let sent = broker.send_offsets(P2, zombie, 10);
        let answer = if fenced { ErrorCode::UnknownMemberId } else { ErrorCode::None };
        assert_eq!(broker.sent(sent), Some(answer));
        broker.end(P2, if fenced { ABORT } else { COMMIT });
        assert_eq!(broker.offset(), Some(after), "fenced: {fenced}");
    }
}

/// The other half of KIP-447: A has committed its transaction, the marker is on its way, and the
/// partition's next owner asks where to begin.
#[test]
fn a_new_owner_waits_for_the_marker_of_the_last() {
    let mut broker = Broker::group_of_two();
    let sent = broker.send_offsets(P1, consumer(Some(B), None, 1), 10);
    assert_eq!(broker.sent(sent), Some(ErrorCode::None));
    broker.without_b();
    assert_eq!(broker.stable(), UNSTABLE);
    broker.end(P1, COMMIT);
    assert_eq!(broker.stable(), Some(Ok(Some(10))));
}

#[test]
fn what_was_written_later_stands_whoever_ends_last() {
    // A plain commit after the transaction's.
    let mut broker = Broker::group_of_two();
    broker.send_offsets(P1, consumer(Some(A), None, 1), 5);
    let plain = broker.commit(A, 1, 9);
    assert_eq!(broker.committed(plain), Some(ErrorCode::None));
    assert_eq!(broker.offset(), Some(9), "a plain commit does not wait for transactions");
    assert_eq!(broker.stable(), UNSTABLE);
    broker.end(P1, COMMIT);
    assert_eq!(broker.stable(), Some(Ok(Some(9))));
    assert_eq!(broker.resolved(), [(P1, 9, COMMIT)], "the group's offset afterwards");
    // Two transactions, the first to write ends last.
    broker.send_offsets(P1, consumer(Some(A), None, 1), 10);
    broker.send_offsets(P2, consumer(Some(A), None, 1), 12);
    broker.end(P2, COMMIT);
    assert_eq!((broker.offset(), broker.stable()), (Some(12), UNSTABLE));
    broker.end(P1, COMMIT);
    assert_eq!(broker.stable(), Some(Ok(Some(12))));
    broker.fail_over();
    assert_eq!(broker.stable(), Some(Ok(Some(12))), "a new coordinator agrees");
}

#[test]
fn a_new_coordinator_finds_pending_offsets_and_markers_in_the_log() {
    let mut broker = Broker::new();
    broker.send_offsets(P1, GroupMetadata::NONE, 10);
    broker.send_offsets(P2, GroupMetadata::NONE, 11);
    broker.end(P2, ABORT);
    broker.fail_over();
    assert_eq!((broker.offset(), broker.stable()), (None, UNSTABLE));
    broker.end(P1, COMMIT);
    assert_eq!(broker.stable(), Some(Ok(Some(10))));
    assert_eq!(broker.resolved(), [(P2, 11, ABORT), (P1, 10, COMMIT)], "each told once");

    // A marker that the old coordinator did not know to be durable.
    broker.send_offsets(P1, GroupMetadata::NONE, 20);
    broker.mode = Log::Stuck;
    broker.end(P1, COMMIT);
    broker.notes.clear();
    broker.fail_over();
    let waiting = broker.fetch(true);
    assert!(broker.answer(waiting).is_none(), "what was loaded is not durable yet");
    assert!(broker.resolved().is_empty());
    broker.heal();
    assert!(broker.answer(waiting).is_some());
    assert_eq!(broker.resolved(), [(P1, 20, COMMIT)], "told by the new coordinator");
    assert_eq!(broker.stable(), Some(Ok(Some(20))));
}

#[test]
fn a_coordinator_that_resigns_sends_everybody_on() {
    let mut broker = Broker::new();
    broker.send_offsets(P1, GroupMetadata::NONE, 10);
    broker.mode = Log::Stuck;
    let waiting = broker.send_offsets(P2, GroupMetadata::NONE, 11);
    broker.end(P1, COMMIT);
    let mut out = Vec::new();
    broker.coordinator.resigned(0, &mut out);
    broker.perform(out);
    assert_eq!(broker.sent(waiting), Some(ErrorCode::NotCoordinator));
    let refused = broker.send_offsets(P2, GroupMetadata::NONE, 11);
    assert_eq!(broker.sent(refused), Some(ErrorCode::NotCoordinator));
    broker.coordinator.settled().expect("nothing is left of it");
    broker.coordinator.elected(0, LeaderEpoch(1));
    let refused = broker.send_offsets(P2, GroupMetadata::NONE, 11);
    assert_eq!(broker.sent(refused), Some(ErrorCode::CoordinatorLoadInProgress));
    broker.load();
    broker.heal();
    assert_eq!((broker.offset(), broker.stable()), (Some(10), UNSTABLE), "P2's are pending");
}

/// Each planted bug changes the end of one story, and says so.
#[test]
fn planted_bugs_bite() {
    type Story = fn(&mut Broker) -> Option<Result<Option<i64>, ErrorCode>>;
    let zombie: Story = |broker| {
        broker.form_group();
        broker.without_b();
        broker.send_offsets(P1, consumer(Some(A), None, 2), 20);
        broker.end(P1, COMMIT);
        broker.send_offsets(P2, consumer(Some(B), None, 1), 10);
        broker.end(P2, COMMIT);
        broker.stable()
    };
    let unstable: Story = |broker| {
        broker.send_offsets(P1, GroupMetadata::NONE, 10);
        broker.stable()
    };
    // KAFKA-17507: the next transaction of the same producer aborts, and its offsets count.
    let next_transaction: Story = |broker| {
        broker.send_offsets(P1, GroupMetadata::NONE, 5);
        broker.end(P1, COMMIT);
        broker.send_offsets(P1, GroupMetadata::NONE, 9);
        broker.pass(Duration::from_secs(1));
        broker.end(P1, ABORT);
        broker.pass(Duration::from_secs(1));
        broker.stable()
    };
    let later_write: Story = |broker| {
        broker.send_offsets(P1, GroupMetadata::NONE, 5);
        broker.send_offsets(P2, GroupMetadata::NONE, 9);
        broker.end(P2, COMMIT);
        broker.end(P1, COMMIT);
        broker.stable()
    };
    let failover: Story = |broker| {
        broker.send_offsets(P1, GroupMetadata::NONE, 5);
        broker.fail_over();
        broker.end(P1, COMMIT);
        broker.stable()
    };
    let rows = [
        (Mutation::GroupTxnCommitNoGeneration, zombie, Some(Ok(Some(20))), Some(Ok(Some(10)))),
        (Mutation::GroupNoRequireStable, unstable, UNSTABLE, Some(Ok(None))),
        (Mutation::GroupAsyncMaterialize, next_transaction, Some(Ok(Some(5))), Some(Ok(Some(9)))),
        (Mutation::GroupMaterializeNoOrderCheck, later_write, Some(Ok(Some(9))), Some(Ok(Some(5)))),
        (Mutation::GroupPendingLostOnFailover, failover, Some(Ok(Some(5))), Some(Ok(None))),
    ];
    for (mutation, story, right, wrong) in rows {
        let mut broker = Broker::new();
        assert_eq!(story(&mut broker), right, "{}", mutation.id());
        assert_eq!(broker.hits(), 0);
        let mut broker = Broker::with(Mutations::only(mutation));
        assert_eq!(story(&mut broker), wrong, "{}", mutation.id());
        assert!(broker.hits() > 0, "{} says so", mutation.id());
    }
}

/// What a log says, read naively.
fn naive(log: &[LogBatch]) -> (Option<i64>, bool) {
    let mut committed: Option<(i64, usize)> = None;
    let mut pending: BTreeMap<ProducerId, (i64, usize)> = BTreeMap::new();
    for (at, batch) in log.iter().enumerate() {
        let producer = batch.batch.producer_id;
        match &batch.batch.records {
            Records::Coordinator(records) => {
                let CoordinatorRecord::OffsetCommit { offset: Some((offset, _)), .. } = records[0]
                else {
                    continue;
                };
                if batch.batch.transactional {
                    pending.insert(producer, (offset.0, at));
                } else {
                    committed = Some((offset.0, at));
                }
            }
            Records::Control(marker) => {
                if let Some(ended) = pending.remove(&producer)
                    && marker.result == COMMIT
                    && committed.is_none_or(|(_, known)| ended.1 > known)
                {
                    committed = Some(ended);
                }
            }
            Records::Data(_) => {}
        }
    }
    (committed.map(|(offset, _)| offset), !pending.is_empty())
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Plain,
    Send(i64),
    End(i64, bool),
    Stuck,
    Replicate(usize),
    Refuse,
    Heal,
    FailOver,
    Resign,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Plain),
        5 => (0i64..3).prop_map(Step::Send),
        4 => (0i64..3, any::<bool>()).prop_map(|(p, commit)| Step::End(p, commit)),
        2 => Just(Step::Stuck),
        2 => (1usize..4).prop_map(Step::Replicate),
        1 => Just(Step::Refuse),
        2 => Just(Step::Heal),
        1 => Just(Step::FailOver),
        1 => Just(Step::Resign),
        1 => (1u64..10).prop_map(Step::Pass),
    ]
}

proptest! {
    /// A coordinator that has lived through any history, and one that only reads its log, both
    /// stand where the durable log says.
    #[test]
    fn memory_is_what_the_durable_log_says(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut broker = Broker::new();
        let mut next = 0;
        for step in steps {
            next += 1;
            match step {
                Step::Plain => {
                    broker.send(commit(None, None, -1, next));
                }
                Step::Send(producer) => {
                    broker.send_offsets(producer, GroupMetadata::NONE, next);
                }
                Step::End(producer, commit) => {
                    broker.end(producer, if commit { COMMIT } else { ABORT });
                }
                Step::Stuck => broker.mode = Log::Stuck,
                Step::Replicate(more) => {
                    let to = broker.log.len().min(broker.high_watermark + more);
                    broker.replicate(to);
                }
                Step::Refuse => broker.mode = Log::Refusing(ErrorCode::NotEnoughReplicas),
                Step::Heal => broker.heal(),
                Step::FailOver => broker.fail_over(),
                Step::Resign => {
                    let mut out = Vec::new();
                    broker.coordinator.resigned(0, &mut out);
                    broker.perform(out);
                    broker.load();
                }
                Step::Pass(seconds) => broker.pass(Duration::from_secs(seconds)),
            }
        }
        broker.heal();
        let (committed, pending) = naive(&broker.log);
        let stable = if pending { Err(ErrorCode::UnstableOffsetCommit) } else { Ok(committed) };
        prop_assert_eq!(broker.offset(), committed);
        prop_assert_eq!(broker.stable(), Some(stable));
        broker.fail_over();
        prop_assert_eq!(broker.offset(), committed);
        prop_assert_eq!(broker.stable(), Some(stable));
        for producer in 0..3 {
            broker.end(producer, ABORT);
        }
        prop_assert_eq!(broker.stable(), Some(Ok(committed)));
        broker.coordinator.settled().map_err(TestCaseError::fail)?;
    }
}
