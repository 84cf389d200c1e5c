//! What each planted bug changes.

use super::*;

fn expiring(config: &ProducerConfig) -> ProducerConfig {
    ProducerConfig { delivery_timeout: Duration::from_millis(1_000), ..config.clone() }
}

#[test]
fn a_commit_without_the_record_that_failed() {
    let planted = Mutations::only(Mutation::ClientCommitAfterAbortable);
    let mut story = opened(expiring(&v2()), planted);
    story.send_to(1, 1);
    story.take();
    story.pass(1_000);
    assert_eq!(story.outcome(1), (ErrorCode::RequestTimedOut, true));
    let commit = story.call(COMMIT);
    assert_eq!(story.coordinate_all(), ["actor-1 EndTxn(commit, 0) #1"]);
    story.ok(commit);
    assert!(story.mutated());
}

#[test]
fn an_abort_that_overtakes_its_batches() {
    let planted = Mutations::only(Mutation::ClientCompleteAfterAbort);
    let mut story = opened(v1(), planted);
    story.send_to(1, 1);
    let sent = story.take();
    let abort = story.call(ABORT);
    assert_eq!(story.outcome(1), (ErrorCode::TransactionAbortable, false), "so it says");
    assert_eq!(story.coordinate_all(), ["actor-1 EndTxn(abort, 0) #1"]);
    story.ok(abort);
    story.answer(&sent, ErrorCode::None, 1);
    assert!(story.mutated());
}

#[test]
fn a_transaction_that_goes_on_after_a_send_was_given_up() {
    let planted = Mutations::only(Mutation::ClientSurfaceRetriable);
    let mut story = opened(expiring(&v2()), planted);
    story.send_to(1, 1);
    story.take();
    story.pass(1_000);
    assert_eq!(story.outcome(1), (ErrorCode::RequestTimedOut, true));
    story.send_to(1, 2);
    assert_eq!(story.take().batches(), [(1, 0, 2, vec![2])], "the application sent it again");
    assert!(story.mutated());
}

#[test]
fn a_timeout_that_is_told_as_being_fenced() {
    let planted = Mutations::only(Mutation::ClientMisclassify);
    let mut story = opened(v2(), planted);
    let commit = story.call(COMMIT);
    for _ in 0..7 {
        story.pass(10_000);
        if !story.quiet() {
            story.coordinate(ErrorCode::ConcurrentTransactions);
        }
    }
    story.fails(commit, ErrorCode::ProducerFenced, ErrorClass::Fatal, false);
    assert!(story.mutated());
}

#[test]
fn sequences_that_are_used_twice_in_one_epoch() {
    let planted = Mutations::only(Mutation::ClientReuseSequencesAfterAbort);
    let mut story = opened(expiring(&v1()), planted);
    story.send_to(1, 1);
    assert_eq!(story.take().batches(), [(1, 0, 1, vec![1])]);
    story.pass(1_000);
    let abort = story.call(ABORT);
    assert_eq!(story.coordinate_all(), ["actor-1 EndTxn(abort, 0) #1"]);
    story.ok(abort);
    story.begin(2);
    story.send_to(1, 2);
    story.coordinate_all();
    assert_eq!(story.take().batches(), [(1, 0, 0, vec![2])]);
    assert!(story.mutated());
}
