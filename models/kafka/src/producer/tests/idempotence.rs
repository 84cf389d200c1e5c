//! Stories of sequences, epochs and producer ids (KIP-98, KIP-360).

use super::*;

#[test]
fn a_lost_ack_is_retried_with_the_same_batch_and_the_same_sequence() {
    let mut story = begun(singly(), Mutations::NONE);
    story.send(&[1]);
    let lost = story.take();
    story.step(Input::Disconnected { peer: B1 });
    story.answer_others(&[Some(B1), Some(B2)], 0);
    story.pass(100);
    story.answer_others(&[Some(B1), Some(B2)], 0);
    let again = story.take();
    assert_eq!(again.batches(), lost.batches());
    assert!(Rc::ptr_eq(&again.request.batches[0].1, &lost.request.batches[0].1));
    assert!(story.notes.iter().any(|note| matches!(note, Note::Retry { attempt: 2, .. })));
    story.answer(&again, ErrorCode::None, 1);
    assert_eq!(story.outcome(1), (ErrorCode::None, false));
}

#[test]
fn five_in_flight_keep_their_order_through_a_broken_connection() {
    let mut story = begun(singly(), Mutations::NONE);
    story.send(&[1, 2, 3, 4, 5, 6, 7]);
    let flying: Vec<_> = story.sent.drain(..).flat_map(|sent| sent.records()).collect();
    assert_eq!(flying, [1, 2, 3, 4, 5]);
    story.step(Input::Disconnected { peer: B1 });
    story.pass(100);
    story.answer_others(&[Some(B1), Some(B2)], 0);
    for (n, sequence) in (1..=7).zip(1..) {
        // One retry at a time until all are done; then new batches.
        let sent = story.take();
        assert_eq!(sent.batches(), [(0, 0, sequence, vec![n])]);
        assert_eq!(story.sent.is_empty(), n < 5 || n == 7, "{n}");
        story.answer(&sent, ErrorCode::None, i64::from(sequence));
    }
    assert_eq!(story.producer.settled(), Ok(()));
}

#[test]
fn after_a_retried_batch_expires_the_epoch_is_bumped_before_anything_new_goes() {
    let config = ProducerConfig { delivery_timeout: Duration::from_millis(31_000), ..singly() };
    let mut story = begun(config, Mutations::NONE);
    story.send(&[1]);
    story.sent.clear();
    story.step(Input::Disconnected { peer: B1 });
    story.pass(30_990);
    story.answer_others(&[Some(B1), Some(B2)], 0);
    let retry = story.sent.pop_back().expect("a retry after the request timeout");
    assert_eq!(retry.batches(), [(0, 0, 1, vec![1])]);
    story.sent.clear();
    story.send(&[2]);
    let next = story.take();
    assert_eq!(next.batches(), [(0, 0, 2, vec![2])]);
    story.pass(10);
    assert_eq!(story.outcome(1), (ErrorCode::RequestTimedOut, true));
    story.send(&[3]);
    assert!(story.sent.is_empty(), "unresolved: nothing new goes");
    story.answer(&next, ErrorCode::OutOfOrderSequenceNumber, -1);
    story.pass(100);
    let bumped: Vec<_> = story.sent.drain(..).flat_map(|sent| sent.batches()).collect();
    assert_eq!(bumped[0], (0, 1, 0, vec![2]), "the batch in between got the new epoch");
    let epochs = story.notes.iter().filter(|n| matches!(n, Note::ProducerSession { .. }));
    assert_eq!(epochs.count(), 2);
}

#[test]
fn an_expired_batch_that_was_the_last_leads_to_a_bump() {
    let config = ProducerConfig { delivery_timeout: Duration::from_millis(31_000), ..singly() };
    let mut story = begun(config, Mutations::NONE);
    story.send(&[1]);
    story.sent.clear();
    story.step(Input::Disconnected { peer: B1 });
    story.answer_others(&[None, None], 1);
    story.pass(31_000);
    assert_eq!(story.outcome(1), (ErrorCode::RequestTimedOut, true));
    story.answer_others(&[Some(B1), Some(B2)], 2);
    story.send(&[2]);
    assert_eq!(story.sent.pop_back().map(|s| s.batches()), Some(vec![(0, 1, 0, vec![2])]));
}

#[test]
fn an_expired_batch_that_was_followed_by_a_success_needs_no_bump() {
    let config = ProducerConfig { delivery_timeout: Duration::from_millis(1_000), ..singly() };
    let mut story = begun(config, Mutations::NONE);
    story.send(&[1]);
    let one = story.take();
    story.answer(&one, ErrorCode::RequestTimedOut, -1);
    story.pass(900);
    let again = story.take();
    story.send(&[2]);
    let two = story.take();
    story.pass(100);
    assert_eq!(story.outcome(1), (ErrorCode::RequestTimedOut, true));
    story.answer(&again, ErrorCode::None, 1);
    story.answer(&two, ErrorCode::None, 2);
    story.send(&[3]);
    assert_eq!(story.take().batches(), [(0, 0, 3, vec![3])]);
}

#[test]
fn out_of_order_while_an_earlier_batch_is_pending_is_only_a_retry() {
    let mut story = begun(singly(), Mutations::NONE);
    story.send(&[1, 2]);
    let (one, two) = (story.take(), story.take());
    story.answer(&one, ErrorCode::NotEnoughReplicas, -1);
    story.answer(&two, ErrorCode::OutOfOrderSequenceNumber, -1);
    story.pass(100);
    let again = story.take();
    assert_eq!(again.batches(), [(0, 0, 1, vec![1])]);
    story.answer(&again, ErrorCode::None, 1);
    let again = story.take();
    assert_eq!(again.batches(), [(0, 0, 2, vec![2])]);
}

#[test]
fn out_of_order_of_the_next_batch_bumps_and_rewrites_what_is_in_flight() {
    let mut story = begun(singly(), Mutations::NONE);
    story.send(&[1, 2]);
    let (one, two) = (story.take(), story.take());
    story.answer(&one, ErrorCode::OutOfOrderSequenceNumber, -1);
    story.answer(&two, ErrorCode::OutOfOrderSequenceNumber, -1);
    story.pass(100);
    let one = story.take();
    assert_eq!(one.batches(), [(0, 1, 0, vec![1])]);
    story.answer(&one, ErrorCode::None, 1);
    assert_eq!(story.take().batches(), [(0, 1, 1, vec![2])]);
}

#[test]
fn a_recognised_duplicate_is_a_success_without_an_offset() {
    let mut story = begun(singly(), Mutations::NONE);
    story.send(&[1]);
    let sent = story.take();
    story.answer(&sent, ErrorCode::DuplicateSequenceNumber, -1);
    let result = story.result(1).expect("complete");
    assert_eq!((result.error, result.offset), (ErrorCode::None, Offset::UNKNOWN));
}

#[test]
fn a_batch_whose_successor_was_accepted_first_waits_out_its_delivery_timeout() {
    // A partition that has no state of a producer takes any first sequence. If it refuses batch 0
    // and then takes batch 1, batch 0 is out of order for ever, and there is no gap to bump for.
    let mut story = Story::new(singly(), Mutations::NONE);
    story.send(&[0, 1]);
    story.answer_others(&[Some(B1), Some(B2)], 0);
    let (zero, one) = (story.take(), story.take());
    story.answer(&zero, ErrorCode::NotEnoughReplicas, -1);
    story.answer(&one, ErrorCode::None, 0);
    let mut attempts = 0;
    while story.result(0).is_none() {
        story.pass(100);
        while let Some(again) = story.sent.pop_front() {
            assert_eq!(again.batches(), zero.batches());
            story.answer(&again, ErrorCode::OutOfOrderSequenceNumber, -1);
            attempts += 1;
        }
    }
    assert_eq!(story.outcome(0), (ErrorCode::RequestTimedOut, false), "every attempt was refused");
    assert_eq!(story.now, Instant::ZERO + Duration::from_secs(120));
    assert!((100..200).contains(&attempts), "{attempts} attempts, with backoff");
    story.send(&[2]);
    assert_eq!(story.take().batches(), [(0, 0, 2, vec![2])]);
}

#[test]
fn a_producer_id_is_asked_for_again_after_an_error_and_after_a_disconnect() {
    let mut story = Story::unready(singly(), Mutations::NONE);
    story.step(Input::Start);
    let (from, correlation, _) = story.asked.remove(0);
    let body = Response::InitProducerId(InitProducerIdResponse {
        error: ErrorCode::CoordinatorLoadInProgress,
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
    });
    story.step(Input::Response { from, correlation, body });
    story.pass(99);
    assert!(story.asked.is_empty());
    story.pass(1);
    let (second, ..) = story.asked.remove(0);
    assert_ne!(second, from, "another broker");
    story.step(Input::Disconnected { peer: second });
    story.pass(200);
    assert_eq!(story.asked.len(), 1);
    story.answer_others(&[], 0);
    assert!(matches!(story.notes[..], [Note::ProducerSession { .. }]), "{:?}", story.notes);
}

#[test]
fn when_epochs_run_out_the_batch_continues_with_a_new_producer_id() {
    let mut story = begun(singly(), Mutations::NONE);
    story.producer.session.producer_epoch = ProducerEpoch(i16::MAX);
    story.send(&[1]);
    let sent = story.take();
    assert_eq!(sent.batches(), [(0, i16::MAX, 0, vec![1])]);
    story.answer(&sent, ErrorCode::OutOfOrderSequenceNumber, -1);
    story.pass(100);
    assert!(story.sent.is_empty());
    story.answer_others(&[], 0);
    assert_eq!(story.take().batches(), [(0, 0, 0, vec![1])]);
}

#[test]
fn a_refused_batch_lets_the_following_ones_start_a_new_epoch() {
    let mut story = begun(singly(), Mutations::NONE);
    story.send(&[1, 2]);
    let (one, two) = (story.take(), story.take());
    story.answer(&one, ErrorCode::InvalidRequest, -1);
    assert_eq!(story.outcome(1), (ErrorCode::InvalidRequest, false));
    story.answer(&two, ErrorCode::OutOfOrderSequenceNumber, -1);
    story.pass(100);
    assert_eq!(story.take().batches(), [(0, 1, 0, vec![2])]);
}

#[test]
fn other_partitions_keep_their_epoch_until_nothing_of_theirs_is_in_flight() {
    let mut story = begun(singly(), Mutations::NONE);
    story.send_to(1, 1);
    let elsewhere = story.take();
    story.send(&[2]);
    let gap = story.take();
    story.answer(&gap, ErrorCode::OutOfOrderSequenceNumber, -1);
    story.pass(100);
    assert_eq!(story.take().batches(), [(0, 1, 0, vec![2])]);
    story.send_to(1, 3);
    assert!(story.sent.is_empty(), "a new batch would have the new epoch");
    story.answer(&elsewhere, ErrorCode::None, 0);
    assert_eq!(story.take().batches(), [(1, 1, 0, vec![3])]);
}
