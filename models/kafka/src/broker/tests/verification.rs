//! Verification before a transaction's first append (KIP-890). The test plays the coordinator.

use oncesim_types::{CorrelationId, ErrorCode, Offset, TransactionResult};

use super::cluster::{B1, B2, Cluster, P};
use super::transactions::{cluster, unverified};
use crate::config::{BrokerConfig, TransactionVersion};
use crate::message::{IsolationLevel, Response};
use crate::mutation::{Mutation, Mutations};

use TransactionResult::{Abort, Commit};
use TransactionVersion::{V1, V2};

fn verified(mutations: Mutations) -> Cluster {
    let mut t = cluster(1, mutations, BrokerConfig::default());
    t.play_coordinator();
    t
}

impl Cluster {
    /// Sends a record of a transaction to B1.
    fn send_in_txn(&mut self, version: TransactionVersion, epoch: i16, seq: i32) -> CorrelationId {
        let batch = self.in_txn(epoch, seq);
        self.ask(B1, Self::txn_request(version, &batch))
    }

    /// What came back, if anything.
    fn outcome(&mut self, correlation: CorrelationId) -> Option<ErrorCode> {
        self.run_ms(3);
        match self.responses.remove(&correlation) {
            None => None,
            Some(Response::Produce(answers)) => Some(answers[0].error),
            other => panic!("not an answer to a produce: {other:?}"),
        }
    }

    /// Sends a record, and answers the leader's question with `error`.
    fn verify(
        &mut self,
        version: TransactionVersion,
        epoch: i16,
        seq: i32,
        error: ErrorCode,
    ) -> Option<ErrorCode> {
        let produce = self.send_in_txn(version, epoch, seq);
        let question = self.question().expect("the leader asks");
        assert_eq!(question.request.verify_only, version == V1);
        assert_eq!((question.leader, question.coordinator), (B1, B1), "itself, over the network");
        self.answer_question(&question, error);
        self.outcome(produce)
    }
}

#[test]
fn a_leader_asks_once_per_transaction() {
    for version in [V1, V2] {
        let mut t = verified(Mutations::NONE);
        assert_eq!(t.verify(version, 0, 0, ErrorCode::None), Some(ErrorCode::None));
        let second = t.send_in_txn(version, 0, 1);
        assert_eq!(t.outcome(second), Some(ErrorCode::None), "it knows");
        assert!(t.question().is_none());
    }
}

#[test]
fn kafka_14402_a_late_batch_is_refused_when_its_transaction_is_over() {
    let mut t = verified(Mutations::NONE);
    t.end_txn(B1, (0, V1), Abort, 0);
    let abortable = ErrorCode::TransactionAbortable;
    assert_eq!(t.verify(V1, 0, 0, abortable), Some(abortable));
    assert_eq!(t.broker(B1).log_end(P), Some(Offset(1)), "nothing after the marker");
    // Without verification it opens a transaction that nobody will end.
    let planted = verified(Mutations::only(Mutation::TxnNoVerification));
    for mut t in [unverified(1, Mutations::NONE), planted] {
        t.end_txn(B1, (0, V1), Abort, 0);
        assert_eq!(t.produce_in_txn(B1, 0, 0), (ErrorCode::None, 1));
        assert_eq!(t.latest(B1, IsolationLevel::ReadCommitted), 1);
        assert_eq!(t.latest(B1, IsolationLevel::ReadUncommitted), 2);
    }
}

#[test]
fn a_verification_is_void_when_a_marker_comes_between() {
    let mut t = verified(Mutations::NONE);
    let produce = t.send_in_txn(V1, 0, 0);
    let question = t.question().expect("the leader asks");
    assert_eq!(t.end_txn(B1, (0, V1), Abort, 0), ErrorCode::None);
    t.answer_question(&question, ErrorCode::None);
    assert_eq!(t.outcome(produce), Some(ErrorCode::InvalidTxnState));
    // The client's next try is verified anew.
    assert_eq!(t.verify(V1, 0, 0, ErrorCode::None), Some(ErrorCode::None));
}

#[test]
fn kafka_18575_the_marker_of_the_transaction_before_leaves_the_verification_alone() {
    let mut t = verified(Mutations::NONE);
    t.verify(V2, 0, 0, ErrorCode::None);
    // The commit is decided, the client goes on; here the marker is still to come.
    let produce = t.send_in_txn(V2, 1, 0);
    let question = t.question().expect("the open transaction is another one");
    assert_eq!(t.end_txn(B1, (1, V2), Commit, 0), ErrorCode::None);
    t.answer_question(&question, ErrorCode::None);
    assert_eq!(t.outcome(produce), Some(ErrorCode::None));
    // The planted bug takes the open transaction for the batch's own.
    let mut t = verified(Mutations::only(Mutation::TxnTv2StaleGuard));
    t.verify(V2, 0, 0, ErrorCode::None);
    let produce = t.send_in_txn(V2, 1, 0);
    assert_eq!(t.outcome(produce), Some(ErrorCode::None), "nobody was asked");
    assert!(t.hits > 0);
    assert_eq!(t.end_txn(B1, (1, V2), Commit, 0), ErrorCode::InvalidProducerEpoch);
}

#[test]
fn kafka_19690_a_fenced_producer_is_told_so_even_if_it_was_not_verified() {
    let mut t = verified(Mutations::NONE);
    let produce = t.send_in_txn(V1, 0, 0);
    let question = t.question().expect("the leader asks");
    t.end_txn(B1, (1, V1), Abort, 0);
    t.answer_question(&question, ErrorCode::None);
    assert_eq!(t.outcome(produce), Some(ErrorCode::InvalidProducerEpoch));
}

#[test]
fn what_a_coordinator_says_is_told_to_producers_in_their_words() {
    use ErrorCode::{
        ConcurrentTransactions, CoordinatorLoadInProgress, InvalidProducerEpoch,
        InvalidProducerIdMapping, NotCoordinator, NotEnoughReplicas, ProducerFenced,
    };
    for (said, told) in [
        (ProducerFenced, InvalidProducerEpoch),
        (NotCoordinator, NotEnoughReplicas),
        (CoordinatorLoadInProgress, NotEnoughReplicas),
        (InvalidProducerIdMapping, InvalidProducerIdMapping),
        (ConcurrentTransactions, NotEnoughReplicas),
    ] {
        let mut t = verified(Mutations::NONE);
        assert_eq!(t.verify(V1, 0, 0, said), Some(told), "{said:?}");
    }
}

#[test]
fn a_transaction_that_is_about_to_end_is_waited_for_inside_the_broker() {
    let mut t = verified(Mutations::NONE);
    let (produce, sent) = (t.send_in_txn(V2, 1, 0), t.now);
    let mut questions = 0;
    while let Some(question) = t.question() {
        questions += 1;
        t.answer_question(&question, ErrorCode::ConcurrentTransactions);
    }
    assert_eq!(questions, 6, "every 20 ms and a round trip, until 100 ms are over");
    assert_eq!(t.outcome(produce), Some(ErrorCode::ConcurrentTransactions));
    assert!(t.now.since(sent).as_millis() > 100);
}

#[test]
fn of_questions_that_wait_only_the_newest_counts() {
    let mut t = verified(Mutations::NONE);
    let first = t.send_in_txn(V1, 0, 0);
    let in_flight = t.question().expect("the leader asks");
    let second = t.send_in_txn(V1, 0, 1);
    assert_eq!(t.outcome(second), None);
    let third = t.send_in_txn(V1, 0, 2);
    assert_eq!(t.outcome(second), Some(ErrorCode::NotEnoughReplicas), "network error: try again");
    t.answer_question(&in_flight, ErrorCode::None);
    assert_eq!(t.outcome(first), Some(ErrorCode::None));
    let question = t.question().expect("now the next one");
    t.answer_question(&question, ErrorCode::None);
    assert_eq!(t.outcome(third), Some(ErrorCode::OutOfOrderSequenceNumber));
    // Another epoch is another matter.
    let old = t.send_in_txn(V1, 1, 0);
    let in_flight = t.question().expect("the leader asks");
    let older = t.send_in_txn(V1, 1, 1);
    let newer = t.send_in_txn(V1, 2, 0);
    assert_eq!(t.outcome(older), Some(ErrorCode::InvalidProducerEpoch), "fenced by the next");
    let late = t.send_in_txn(V1, 1, 1);
    assert_eq!(t.outcome(late), Some(ErrorCode::InvalidProducerEpoch), "fenced by the one before");
    assert_eq!((t.outcome(old), t.outcome(newer)), (None, None));
    t.answer_question(&in_flight, ErrorCode::None);
}

#[test]
fn kafka_14920_a_later_batch_does_not_overtake_one_that_is_being_verified() {
    let mut t = verified(Mutations::NONE);
    let first = t.send_in_txn(V1, 0, 0);
    let question = t.question().expect("the leader asks");
    let second = t.send_in_txn(V1, 0, 1);
    t.run_ms(3);
    t.answer_question(&question, ErrorCode::NotCoordinator);
    assert_eq!(t.outcome(first), Some(ErrorCode::NotEnoughReplicas));
    let question = t.question().expect("for the second batch");
    t.answer_question(&question, ErrorCode::None);
    assert_eq!(t.outcome(second), Some(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(t.broker(B1).log_end(P), Some(Offset(0)));
}

#[test]
fn kafka_18202_an_epoch_begins_at_sequence_0() {
    for (version, error) in [(V1, ErrorCode::None), (V2, ErrorCode::OutOfOrderSequenceNumber)] {
        let mut t = verified(Mutations::NONE);
        assert_eq!(t.verify(version, 0, 7, ErrorCode::None), Some(error));
    }
}

#[test]
fn a_coordinator_that_is_gone_is_an_error_to_try_again() {
    let mut t = cluster(2, Mutations::NONE, BrokerConfig::default());
    t.play_coordinator();
    let coordinator = t.leader_of(oncesim_types::TopicPartition::new(oncesim_types::TopicId(1), 0));
    assert_eq!(coordinator, Some(B2), "else this story needs another topic");
    let produce = t.send_in_txn(V1, 0, 0);
    t.question().expect("the leader asks");
    t.cut(B1, B2);
    t.run_ms(2);
    assert_eq!(t.outcome(produce), Some(ErrorCode::NotEnoughReplicas));
    // One that says nothing for 30 s is as good as gone.
    t.heal();
    let mut t = verified(Mutations::NONE);
    let produce = t.send_in_txn(V1, 0, 0);
    t.question().expect("the leader asks");
    t.run_ms(29_000);
    assert_eq!(t.outcome(produce), None);
    t.run_ms(1_000);
    assert_eq!(t.outcome(produce), Some(ErrorCode::NotEnoughReplicas));
}

#[test]
fn a_plain_batch_within_its_producers_transaction_is_refused() {
    let mut t = unverified(1, Mutations::NONE);
    t.produce_in_txn(B1, 0, 0);
    let plain = t.batch(Some((super::transactions::PID, 0, 1)));
    let (error, _) = t.produce(B1, crate::message::Acks::All, &plain).unwrap();
    assert_eq!(error, ErrorCode::InvalidTxnState);
}
