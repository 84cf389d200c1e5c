//! Stories of transactions (KIP-98, KIP-360, KIP-447, KIP-890). The test plays the coordinators.

mod planted;

use oncesim_types::{GroupId, TransactionalId};

use super::*;
use crate::config::TransactionVersion;
use crate::message::{
    CoordinatorKey, EndTxnRequest, EndTxnResponse, FindCoordinatorResponse, TxnOffsetCommitRequest,
};

const ID: TransactionalId = TransactionalId(3);
const G: GroupId = GroupId(0);
const COMMIT: ProducerCall = ProducerCall::EndTransaction(TransactionResult::Commit);
const ABORT: ProducerCall = ProducerCall::EndTransaction(TransactionResult::Abort);

fn transactional(transaction_version: TransactionVersion) -> ProducerConfig {
    ProducerConfig { transactional_id: Some(ID), transaction_version, ..singly() }
}

fn v1() -> ProducerConfig {
    transactional(TransactionVersion::V1)
}

fn v2() -> ProducerConfig {
    transactional(TransactionVersion::V2)
}

impl Story {
    /// The transactional request that is under way.
    fn coordinator_request(&mut self) -> (ActorId, CorrelationId, Request) {
        let metadata =
            |it: &(ActorId, CorrelationId, Request)| !matches!(it.2, Request::Metadata(_));
        let index = self.asked.iter().position(metadata).expect("a request to a coordinator");
        self.asked.remove(index)
    }

    /// Whether no transactional request is under way.
    fn quiet(&self) -> bool {
        self.asked.iter().all(|it| matches!(it.2, Request::Metadata(_)))
    }

    /// Answers the transactional request that is under way as a coordinator would, or with `error`.
    /// A line about it: whom it asked, and what.
    fn coordinate(&mut self, error: ErrorCode) -> String {
        let (from, correlation, request) = self.coordinator_request();
        let line = format!("{from} {}", describe(&request));
        let body = answer(&request, error);
        self.step(Input::Response { from, correlation, body });
        line
    }

    /// Answers everything without errors, until nothing is asked any more.
    fn coordinate_all(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while !self.quiet() {
            lines.push(self.coordinate(ErrorCode::None));
            self.pass(100);
        }
        lines
    }

    /// A call of the transaction API, and its number.
    fn call(&mut self, call: ProducerCall) -> u64 {
        self.calls = 1_000 + self.transaction_calls;
        self.transaction_calls += 1;
        self.step_call(call);
        self.calls
    }

    fn begin(&mut self, number: u64) -> u64 {
        self.call(ProducerCall::BeginTransaction { number: TransactionNumber(number) })
    }

    fn send_offsets(&mut self, offset: i64) -> u64 {
        let offsets = vec![(P1, Offset(offset), LeaderEpoch(0))];
        let consumer = GroupMetadata::NONE;
        self.call(ProducerCall::SendOffsets { group: G, offsets, consumer })
    }

    /// What a call of the transaction API returned; `None` while it blocks.
    fn returned(&self, call: u64) -> Option<Result<(), TransactionError>> {
        let mut found = self.returned.iter().filter_map(|(id, completion)| match completion {
            ProducerCompletion::Transaction(outcome) if *id == call => Some(*outcome),
            _ => None,
        });
        let first = found.next();
        assert_eq!(found.next(), None, "a call returns once");
        first
    }

    #[track_caller]
    fn ok(&self, call: u64) {
        assert_eq!(self.returned(call), Some(Ok(())));
    }

    #[track_caller]
    fn fails(&self, call: u64, error: ErrorCode, class: ErrorClass, maybe_done: bool) {
        let error = TransactionError { error, class, maybe_done };
        assert_eq!(self.returned(call), Some(Err(error)));
    }

    #[track_caller]
    fn illegal(&mut self, call: ProducerCall) {
        let call = self.call(call);
        self.fails(call, ErrorCode::InvalidRequest, ErrorClass::IllegalState, false);
    }

    fn sessions(&self) -> Vec<i16> {
        let epoch = |note: &Note| match note {
            Note::ProducerSession { producer_epoch, .. } => Some(producer_epoch.0),
            _ => None,
        };
        self.notes.iter().filter_map(epoch).collect()
    }

    fn mutated(&self) -> bool {
        self.notes.iter().any(|note| matches!(note, Note::MutationHit))
    }
}

fn describe(request: &Request) -> String {
    match request {
        Request::FindCoordinator(it) => match it.key {
            CoordinatorKey::Group(_) => "FindCoordinator(group)".to_owned(),
            CoordinatorKey::Transaction(_) => "FindCoordinator(transaction)".to_owned(),
        },
        Request::InitProducerId(it) => {
            let epoch = it.current.map(|(_, epoch)| epoch.0);
            format!("InitProducerId({epoch:?})")
        }
        Request::AddPartitionsToTxn(it) => {
            assert!(!it.verify_only);
            let partitions: Vec<_> = it.partitions.iter().map(|p| p.partition).collect();
            format!("AddPartitionsToTxn({partitions:?}) #{}", it.number.0)
        }
        Request::AddOffsetsToTxn(it) => format!("AddOffsetsToTxn #{}", it.number.0),
        Request::TxnOffsetCommit(it) => {
            format!("TxnOffsetCommit({}) #{}", it.offsets[0].1, it.number.0)
        }
        Request::EndTxn(it) => {
            let epoch = it.producer_epoch;
            format!("EndTxn({}, {epoch}) #{}", it.result.name(), it.number.0)
        }
        other => panic!("a producer does not ask {other:?}"),
    }
}

/// Broker 1 coordinates transactions, broker 2 the group.
fn answer(request: &Request, error: ErrorCode) -> Response {
    let pid = ProducerId(7);
    match request {
        Request::FindCoordinator(it) => {
            let coordinator = match it.key {
                CoordinatorKey::Group(_) => B2,
                CoordinatorKey::Transaction(_) => B1,
            };
            let coordinator = error.is_ok().then_some(coordinator);
            Response::FindCoordinator(FindCoordinatorResponse { error, coordinator })
        }
        Request::InitProducerId(it) => {
            let producer_epoch = it.current.map_or(ProducerEpoch(0), |(_, epoch)| epoch.next());
            Response::InitProducerId(InitProducerIdResponse {
                error,
                producer_id: pid,
                producer_epoch,
            })
        }
        Request::AddPartitionsToTxn(it) => {
            Response::AddPartitionsToTxn(it.partitions.iter().map(|&p| (p, error)).collect())
        }
        Request::AddOffsetsToTxn(_) => Response::AddOffsetsToTxn(error),
        Request::TxnOffsetCommit(it) => {
            Response::TxnOffsetCommit(it.offsets.iter().map(|&(p, ..)| (p, error)).collect())
        }
        Request::EndTxn(EndTxnRequest { version, producer_epoch, .. }) => {
            let bumps = version.bumps_per_transaction() && error.is_ok();
            Response::EndTxn(EndTxnResponse {
                error,
                producer_id: if bumps { pid } else { ProducerId::NONE },
                producer_epoch: if bumps { producer_epoch.next() } else { ProducerEpoch::NONE },
            })
        }
        other => panic!("a producer does not ask {other:?}"),
    }
}

/// A story with metadata and a session in epoch 0; transaction 1 is open.
fn opened(config: ProducerConfig, mutations: Mutations) -> Story {
    let mut story = ready(config, mutations);
    let begin = story.begin(1);
    story.ok(begin);
    story.send_to(1, 0);
    story.answer_metadata();
    story.coordinate_all();
    let first = story.take();
    story.answer(&first, ErrorCode::None, 0);
    assert_eq!(story.outcome(0), (ErrorCode::None, false));
    story
}

fn ready(config: ProducerConfig, mutations: Mutations) -> Story {
    let mut story = Story::unready(config, mutations);
    story.step(Input::Start);
    let init = story.call(ProducerCall::InitTransactions);
    story.coordinate_all();
    story.ok(init);
    story
}

#[test]
fn version_1_on_the_wire() {
    let mut story = ready(v1(), Mutations::NONE);
    story.begin(1);
    story.send(&[1]);
    story.send_to(1, 2);
    story.answer_metadata();
    let added = story.coordinate(ErrorCode::None);
    assert_eq!(added, "actor-1 AddPartitionsToTxn([0, 1]) #1");
    let (one, two) = (story.take(), story.take());
    assert!(one.request.batches[0].1.transactional);
    let transaction = *one.request.transaction.as_deref().expect("in a transaction");
    assert_eq!((transaction.transactional_id, transaction.number), (ID, TransactionNumber(1)));
    let offsets = story.send_offsets(5);
    story.answer(&one, ErrorCode::None, 0);
    let lines = story.coordinate_all();
    assert_eq!(
        lines,
        [
            "actor-1 AddOffsetsToTxn #1",
            "actor-1 FindCoordinator(group)",
            "actor-2 TxnOffsetCommit(5) #1",
        ]
    );
    story.ok(offsets);
    let commit = story.call(COMMIT);
    assert!(story.quiet(), "a batch is not complete");
    story.answer(&two, ErrorCode::None, 0);
    assert_eq!(story.coordinate(ErrorCode::None), "actor-1 EndTxn(commit, 0) #1");
    story.ok(commit);
    // The session goes on: same epoch, following sequences, and partitions are added again.
    story.begin(2);
    story.send(&[3]);
    assert!(story.sent.is_empty());
    assert_eq!(story.coordinate(ErrorCode::None), "actor-1 AddPartitionsToTxn([0]) #2");
    assert_eq!(story.take().batches(), [(0, 0, 1, vec![3])]);
    assert_eq!(story.sessions(), [0]);
}

#[test]
fn version_2_on_the_wire() {
    let mut story = ready(v2(), Mutations::NONE);
    story.begin(1);
    story.send(&[1]);
    story.answer_metadata();
    let one = story.take();
    let transaction = *one.request.transaction.as_deref().expect("in a transaction");
    assert_eq!(transaction.version, TransactionVersion::V2);
    assert_eq!(one.batches(), [(0, 0, 0, vec![1])]);
    story.answer(&one, ErrorCode::None, 0);
    let offsets = story.send_offsets(5);
    let lines = story.coordinate_all();
    assert_eq!(lines, ["actor-2 FindCoordinator(group)", "actor-2 TxnOffsetCommit(5) #1"]);
    story.ok(offsets);
    let commit = story.call(COMMIT);
    assert_eq!(story.coordinate(ErrorCode::None), "actor-1 EndTxn(commit, 0) #1");
    story.ok(commit);
    assert_eq!(story.sessions(), [0, 1]);
    story.begin(2);
    story.send(&[2]);
    assert_eq!(story.take().batches(), [(0, 1, 0, vec![2])]);
}

#[test]
fn an_empty_transaction_tells_nobody() {
    for config in [v1(), v2()] {
        for end in [COMMIT, ABORT] {
            let mut story = ready(config.clone(), Mutations::NONE);
            story.begin(1);
            let end = story.call(end);
            story.ok(end);
            assert!(story.quiet());
            let next = story.begin(2);
            story.ok(next);
        }
    }
}

#[test]
fn calls_out_of_turn_are_refused_and_change_nothing() {
    let mut story = Story::unready(v2(), Mutations::NONE);
    story.step(Input::Start);
    for call in [COMMIT, ABORT, ProducerCall::BeginTransaction { number: TransactionNumber(1) }] {
        story.illegal(call);
    }
    story.send(&[1]);
    assert_eq!(story.outcome(1), (ErrorCode::InvalidRequest, false));
    let init = story.call(ProducerCall::InitTransactions);
    story.illegal(COMMIT);
    story.coordinate_all();
    story.ok(init);
    story.illegal(ProducerCall::InitTransactions);
    story.illegal(COMMIT);
    story.illegal(ABORT);
    let begin = story.begin(1);
    story.ok(begin);
    story.illegal(ProducerCall::BeginTransaction { number: TransactionNumber(2) });
    let commit = story.call(COMMIT);
    story.ok(commit);
    let mut plain = Story::new(singly(), Mutations::NONE);
    plain.illegal(ProducerCall::InitTransactions);
    plain.illegal(COMMIT);
}

#[test]
fn a_fenced_commit_is_fatal() {
    for error in [ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch] {
        let mut story = opened(v2(), Mutations::NONE);
        let commit = story.call(COMMIT);
        story.coordinate(error);
        story.fails(commit, ErrorCode::ProducerFenced, ErrorClass::Fatal, false);
        for call in [ABORT, COMMIT, ProducerCall::InitTransactions] {
            let call = story.call(call);
            story.fails(call, ErrorCode::ProducerFenced, ErrorClass::Fatal, false);
        }
        story.send(&[1]);
        assert_eq!(story.outcome(1), (ErrorCode::ProducerFenced, false));
        story.call(ProducerCall::Close);
        assert!(matches!(story.returned.last(), Some((_, ProducerCompletion::Closed))));
        assert!(story.quiet(), "nothing is left that it could do");
        assert_eq!(story.producer.settled(), Ok(()));
    }
}

#[test]
fn fenced_after_a_lost_answer_the_commit_may_have_happened() {
    let mut story = opened(v2(), Mutations::NONE);
    let commit = story.call(COMMIT);
    story.coordinator_request();
    story.step(Input::Disconnected { peer: B1 });
    story.coordinate(ErrorCode::None);
    story.pass(100);
    assert_eq!(story.coordinate(ErrorCode::ProducerFenced), "actor-1 EndTxn(commit, 0) #1");
    story.fails(commit, ErrorCode::ProducerFenced, ErrorClass::Fatal, true);
}

#[test]
fn a_commit_that_times_out_goes_on_and_only_the_same_call_is_legal() {
    let mut story = opened(v2(), Mutations::NONE);
    let commit = story.call(COMMIT);
    let (from, correlation, request) = story.coordinator_request();
    story.producer.config = Rc::new(ProducerConfig {
        request_timeout: Duration::from_secs(600),
        ..(*story.producer.config).clone()
    });
    for _ in 0..2 {
        story.pass(29_000);
        assert_eq!(story.returned(commit), None);
    }
    story.asked.clear();
    story.pass(2_000);
    story.fails(commit, ErrorCode::RequestTimedOut, ErrorClass::Timeout, true);
    story.illegal(ABORT);
    story.illegal(ProducerCall::BeginTransaction { number: TransactionNumber(2) });
    story.send(&[1]);
    assert_eq!(story.outcome(1), (ErrorCode::InvalidRequest, false));
    let again = story.call(COMMIT);
    assert_eq!(story.returned(again), None, "it waits for the same outcome");
    let _ = (from, correlation, request);
    story.asked.clear();
    story.step(Input::Disconnected { peer: B1 });
    story.step(Input::Disconnected { peer: B2 });
    story.pass(2_000);
    story.coordinate_all();
    story.ok(again);
    let begin = story.begin(2);
    story.ok(begin);
}

#[test]
fn an_outcome_that_arrives_after_the_timeout_is_kept_for_the_same_call() {
    let mut story = opened(v1(), Mutations::NONE);
    let commit = story.call(COMMIT);
    for _ in 0..7 {
        story.pass(10_000);
        if !story.quiet() {
            story.coordinate(ErrorCode::ConcurrentTransactions);
        }
    }
    story.fails(commit, ErrorCode::RequestTimedOut, ErrorClass::Timeout, true);
    story.pass(100);
    story.coordinate(ErrorCode::None);
    story.illegal(ProducerCall::BeginTransaction { number: TransactionNumber(2) });
    let again = story.call(COMMIT);
    story.ok(again);
    let begin = story.begin(2);
    story.ok(begin);
}

#[test]
fn the_coordinator_moves_during_the_end_of_a_transaction() {
    let mut story = opened(v2(), Mutations::NONE);
    let commit = story.call(COMMIT);
    assert_eq!(story.coordinate(ErrorCode::NotCoordinator), "actor-1 EndTxn(commit, 0) #1");
    let (from, correlation, request) = story.coordinator_request();
    assert!(matches!(request, Request::FindCoordinator(_)));
    let found = FindCoordinatorResponse { error: ErrorCode::None, coordinator: Some(B2) };
    let body = Response::FindCoordinator(found);
    story.step(Input::Response { from, correlation, body });
    assert!(story.quiet(), "a repeated request backs off");
    story.pass(100);
    let busy = ErrorCode::ConcurrentTransactions;
    assert_eq!(story.coordinate(busy), "actor-2 EndTxn(commit, 0) #1");
    story.pass(99);
    assert!(story.quiet());
    story.pass(1);
    assert_eq!(story.coordinate(ErrorCode::None), "actor-2 EndTxn(commit, 0) #1");
    story.ok(commit);
}

#[test]
fn a_broken_connection_to_the_coordinator_repeats_the_request() {
    let mut story = opened(v1(), Mutations::NONE);
    let commit = story.call(COMMIT);
    story.coordinator_request();
    story.step(Input::Disconnected { peer: B1 });
    let lines = story.coordinate_all();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with("FindCoordinator(transaction)"));
    assert_eq!(lines[1], "actor-1 EndTxn(commit, 0) #1");
    story.ok(commit);
}

#[test]
fn after_a_failed_send_only_an_abort_is_left_and_version_1_bumps_the_epoch() {
    let timeout = Duration::from_millis(1_000);
    for (base, bump) in [(v1(), true), (v2(), false)] {
        let config = ProducerConfig { delivery_timeout: timeout, ..base };
        let mut story = opened(config, Mutations::NONE);
        story.send_to(1, 1);
        let sent = story.take();
        story.pass(1_000);
        assert_eq!(story.outcome(1), (ErrorCode::RequestTimedOut, true));
        let commit = story.call(COMMIT);
        story.fails(commit, ErrorCode::TransactionAbortable, ErrorClass::Abortable, false);
        story.send_to(1, 2);
        assert_eq!(story.outcome(2), (ErrorCode::TransactionAbortable, false));
        let abort = story.call(ABORT);
        let mut expected = vec!["actor-1 EndTxn(abort, 0) #1"];
        if bump {
            expected.push("actor-1 InitProducerId(Some(0))");
        }
        assert_eq!(story.coordinate_all(), expected);
        story.ok(abort);
        assert_eq!(story.sessions(), [0, 1]);
        story.answer(&sent, ErrorCode::None, 9);
        story.begin(2);
        story.send_to(1, 3);
        story.coordinate_all();
        assert_eq!(story.take().batches(), [(1, 1, 0, vec![3])]);
    }
}

#[test]
fn a_send_that_fails_during_the_commit_fails_the_commit() {
    let mut story = opened(v2(), Mutations::NONE);
    story.send_to(1, 1);
    let sent = story.take();
    let commit = story.call(COMMIT);
    story.answer(&sent, ErrorCode::InvalidProducerEpoch, -1);
    let epoch = ErrorCode::InvalidProducerEpoch;
    assert_eq!(story.outcome(1), (epoch, false));
    story.fails(commit, epoch, ErrorClass::Abortable, false);
    assert!(story.quiet(), "nothing was committed");
    let abort = story.call(ABORT);
    assert_eq!(story.coordinate_all(), ["actor-1 EndTxn(abort, 0) #1"]);
    story.ok(abort);
}

#[test]
fn an_abort_fails_what_was_never_sent_and_waits_for_what_was() {
    let linger = Duration::from_secs(1);
    let config = ProducerConfig { linger, batch_size: 200, ..v1() };
    let mut story = ready(config, Mutations::NONE);
    story.begin(1);
    story.send(&[1, 2]);
    story.answer_metadata();
    story.coordinate(ErrorCode::None);
    let sent = story.take();
    assert_eq!(sent.records(), [1, 2]);
    story.send(&[3]);
    let abort = story.call(ABORT);
    assert_eq!(story.outcome(3), (ErrorCode::TransactionAbortable, false));
    assert!(story.quiet() && story.result(1).is_none());
    story.answer(&sent, ErrorCode::NotEnoughReplicas, -1);
    story.pass(100);
    let again = story.take();
    assert!(story.quiet(), "a batch that was sent is sent until it is answered");
    story.answer(&again, ErrorCode::None, 0);
    assert_eq!(story.coordinate(ErrorCode::None), "actor-1 EndTxn(abort, 0) #1");
    story.ok(abort);
    // Nothing went wrong: the same epoch, and sequences go on.
    story.begin(2);
    story.send(&[4, 5]);
    story.coordinate_all();
    assert_eq!(story.take().batches(), [(0, 0, 2, vec![4, 5])]);
}

#[test]
fn offsets_of_a_member_that_the_group_does_not_know_are_abortable() {
    for error in [
        ErrorCode::IllegalGeneration,
        ErrorCode::UnknownMemberId,
        ErrorCode::FencedInstanceId,
        ErrorCode::StaleMemberEpoch,
    ] {
        let mut story = opened(v2(), Mutations::NONE);
        let offsets = story.send_offsets(5);
        story.coordinate(ErrorCode::None);
        story.pass(100);
        story.coordinate(ErrorCode::CoordinatorLoadInProgress);
        story.pass(100);
        story.coordinate(error);
        story.fails(offsets, error, ErrorClass::Abortable, false);
        let commit = story.call(COMMIT);
        story.fails(commit, error, ErrorClass::Abortable, false);
        let abort = story.call(ABORT);
        story.coordinate_all();
        story.ok(abort);
    }
}

#[test]
fn only_offsets_that_are_not_written_yet_are_sent_again() {
    let mut story = opened(v2(), Mutations::NONE);
    let offsets = vec![(P0, Offset(1), LeaderEpoch(0)), (P1, Offset(2), LeaderEpoch(0))];
    let consumer = GroupMetadata::NONE;
    let call = story.call(ProducerCall::SendOffsets { group: G, offsets, consumer });
    story.coordinate(ErrorCode::None);
    story.pass(100);
    let (from, correlation, _) = story.coordinator_request();
    let half = vec![(P0, ErrorCode::None), (P1, ErrorCode::NotCoordinator)];
    story.step(Input::Response { from, correlation, body: Response::TxnOffsetCommit(half) });
    let found = story.coordinate(ErrorCode::None);
    assert!(found.ends_with("FindCoordinator(group)"), "{found}");
    story.pass(100);
    let (from, correlation, request) = story.coordinator_request();
    let Request::TxnOffsetCommit(commit) = &request else { panic!("{request:?}") };
    let TxnOffsetCommitRequest { offsets, .. } = &**commit;
    assert_eq!(offsets[..], [(P1, Offset(2), LeaderEpoch(0))]);
    let body = answer(&request, ErrorCode::None);
    story.step(Input::Response { from, correlation, body });
    story.ok(call);
}

#[test]
fn the_first_partition_of_a_transaction_does_not_wait_long_for_the_previous_one() {
    let mut story = ready(v1(), Mutations::NONE);
    story.begin(1);
    story.send(&[1]);
    story.answer_metadata();
    story.coordinate(ErrorCode::ConcurrentTransactions);
    story.pass(19);
    assert!(story.quiet());
    story.pass(1);
    story.coordinate(ErrorCode::None);
    story.send_to(1, 2);
    story.coordinate(ErrorCode::ConcurrentTransactions);
    story.pass(99);
    assert!(story.quiet());
    story.pass(1);
    story.coordinate(ErrorCode::None);
    assert_eq!(story.sent.len(), 2);
}

#[test]
fn batches_wait_while_a_coordinator_is_asked() {
    let mut story = opened(v2(), Mutations::NONE);
    story.send_offsets(5);
    story.send_to(1, 1);
    assert!(story.sent.is_empty());
    story.coordinate_all();
    assert_eq!(story.take().records(), [1]);
}

#[test]
fn a_transaction_that_can_not_be_aborted_is_fatal() {
    let mut story = opened(v2(), Mutations::NONE);
    let abort = story.call(ABORT);
    story.coordinate(ErrorCode::TransactionAbortable);
    story.fails(abort, ErrorCode::TransactionAbortable, ErrorClass::Fatal, false);
}

#[test]
fn a_commit_that_the_coordinator_refuses_can_be_aborted() {
    let mut story = opened(v2(), Mutations::NONE);
    let commit = story.call(COMMIT);
    story.coordinate(ErrorCode::TransactionAbortable);
    story.fails(commit, ErrorCode::TransactionAbortable, ErrorClass::Abortable, false);
    let abort = story.call(ABORT);
    assert_eq!(story.coordinate_all(), ["actor-1 EndTxn(abort, 0) #1"]);
    story.ok(abort);
}

#[test]
fn a_batch_with_a_gap_before_it_fails_and_so_does_its_transaction() {
    let mut story = opened(v1(), Mutations::NONE);
    story.send_to(1, 1);
    story.send_to(1, 2);
    let (one, two) = (story.take(), story.take());
    story.answer(&two, ErrorCode::OutOfOrderSequenceNumber, -1);
    assert!(story.result(2).is_none(), "an earlier one is under way");
    let gap = ErrorCode::OutOfOrderSequenceNumber;
    story.answer(&one, gap, -1);
    assert_eq!(story.outcome(1), (gap, false));
    // What is sent already is sent on, and closes the gap.
    story.pass(100);
    let again = story.take();
    assert_eq!(again.batches(), [(1, 0, 1, vec![2])]);
    story.answer(&again, ErrorCode::None, 1);
    let commit = story.call(COMMIT);
    story.fails(commit, gap, ErrorClass::Abortable, false);
    let abort = story.call(ABORT);
    let lines = story.coordinate_all();
    assert_eq!(lines, ["actor-1 EndTxn(abort, 0) #1", "actor-1 InitProducerId(Some(0))"]);
    story.ok(abort);
}

#[test]
fn close_aborts_an_open_transaction() {
    let linger = Duration::from_secs(1);
    let config = ProducerConfig { linger, batch_size: 1_000, ..v2() };
    let mut story = ready(config, Mutations::NONE);
    story.begin(1);
    story.send(&[1]);
    story.answer_metadata();
    let close = story.call(ProducerCall::Close);
    let sent = story.take();
    story.answer(&sent, ErrorCode::None, 0);
    assert_eq!(story.coordinate(ErrorCode::None), "actor-1 EndTxn(abort, 0) #1");
    let closed = story.returned.last().expect("something returned");
    assert!(matches!(closed, (call, ProducerCompletion::Closed) if *call == close), "{closed:?}");
    assert_eq!(story.producer.settled(), Ok(()));
    story.illegal(ProducerCall::BeginTransaction { number: TransactionNumber(2) });
}

#[test]
fn close_waits_for_a_commit_that_timed_out() {
    let mut story = opened(v2(), Mutations::NONE);
    let commit = story.call(COMMIT);
    for _ in 0..7 {
        story.pass(10_000);
        if !story.quiet() {
            story.coordinate(ErrorCode::ConcurrentTransactions);
        }
    }
    story.fails(commit, ErrorCode::RequestTimedOut, ErrorClass::Timeout, true);
    let close = story.call(ProducerCall::Close);
    let is_closed = |story: &Story| story.returned.iter().any(|(call, _)| *call == close);
    story.pass(100);
    assert!(!is_closed(&story));
    assert_eq!(story.coordinate(ErrorCode::None), "actor-1 EndTxn(commit, 0) #1");
    assert!(is_closed(&story));
}

#[test]
fn a_send_that_blocks_for_too_long_fails_its_transaction() {
    let mut story = ready(v2(), Mutations::NONE);
    story.begin(1);
    story.send(&[1]);
    story.pass(1);
    let commit = story.call(COMMIT);
    assert!(story.quiet());
    story.pass(60_000);
    assert_eq!(story.outcome(1), (ErrorCode::RequestTimedOut, false));
    let failed = ErrorCode::TransactionAbortable;
    assert_eq!(story.result(1).map(|it| it.partition), Some(None));
    story.fails(commit, failed, ErrorClass::Abortable, false);
}
