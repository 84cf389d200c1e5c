//! Sessions, transactions and what ends them, with the log and the leaders in good health.

use TransactionState::{
    CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit, PrepareEpochFence,
};

use super::*;

#[test]
fn a_commit_walks_through_prepare_and_complete() {
    let mut world = World::new(V2);
    let first = world.init(None).unwrap();
    assert_eq!(first, session(1000, 0));
    assert_eq!(world.add(first, 1, V2, X), ErrorCode::None);
    assert_eq!(world.add(first, 1, V2, Y), ErrorCode::None);
    world.leaders = Leaders::Silent;
    let second = world.end(first, 1, V2, Commit).unwrap();
    assert_eq!(second, session(1000, 1), "each transaction has an epoch of its own");
    assert_eq!(world.state(), Some(PrepareCommit));
    assert_eq!(world.under_way.len(), 2, "one request for each leader");
    assert_eq!(world.add(second, 2, V2, X), ErrorCode::ConcurrentTransactions);
    world.heal();
    assert_eq!(
        world.story(),
        [(Empty, 0), (Ongoing, 0), (Ongoing, 0), (PrepareCommit, 1), (CompleteCommit, 1)]
    );
    assert!(world.markers.iter().all(|m| m.producer_epoch == ProducerEpoch(1)));
    assert!(world.markers.iter().all(|m| m.result == Commit && m.version == V2));
    assert_eq!(world.add(second, 2, V2, X), ErrorCode::None);
    assert!(world.coordinator.settled(true).unwrap_err().contains("Ongoing"));
    world.end(second, 2, V2, Abort).unwrap();
    world.coordinator.settled(true).unwrap();
}

#[test]
fn generation_1_keeps_the_epoch() {
    let mut world = World::new(V1);
    let own = world.init(None).unwrap();
    for number in 1..4 {
        world.add(own, number, V1, X);
        world.end(own, number, V1, Commit).unwrap();
    }
    assert_eq!(world.markers.len(), 3);
    assert!(world.markers.iter().all(|m| m.producer_epoch == own.1 && m.version == V1));
}

#[test]
fn a_new_session_fences_the_one_before() {
    for (version, epochs) in [(V1, (1, 2)), (V2, (1, 2))] {
        let mut world = World::new(version);
        let zombie = world.init(None).unwrap();
        world.add(zombie, 1, version, X);
        // The open transaction is aborted first, with an epoch that nobody is told.
        assert_eq!(world.init(None), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(world.state(), Some(CompleteAbort));
        assert_eq!(world.markers[0].producer_epoch, ProducerEpoch(epochs.0));
        assert_eq!(world.markers[0].result, Abort);
        let next = world.init(None).unwrap();
        assert_eq!(next, session(1000, epochs.1));
        assert_eq!(world.end(zombie, 1, version, Commit), Err(ErrorCode::ProducerFenced));
        assert_eq!(world.add(zombie, 1, version, X), ErrorCode::ProducerFenced);
        assert_eq!(world.init(Some(zombie)), Err(ErrorCode::ProducerFenced));
        assert!(world.story().contains(&(PrepareEpochFence, 1)));
    }
}

#[test]
fn a_lost_answer_to_a_bump_is_repeated() {
    let mut world = World::new(V2);
    let first = world.init(None).unwrap();
    let second = world.init(Some(first)).unwrap();
    assert_eq!(second, session(1000, 1));
    assert_eq!(world.init(Some(first)), Ok(second), "the same request again");
    world.fail_over();
    // The last epoch is not in the log.
    assert_eq!(world.init(Some(first)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn a_delayed_end_txn_ends_the_next_transaction_of_generation_1() {
    let mut world = World::new(V1);
    let own = world.init(None).unwrap();
    world.add(own, 1, V1, X);
    world.end(own, 1, V1, Commit).unwrap();
    world.add(own, 2, V1, X);
    // KAFKA-17754: the first copy of the request arrives now.
    world.end(own, 1, V1, Commit).unwrap();
    assert_eq!(world.state(), Some(CompleteCommit));
    let applied = world.notes.iter().filter_map(|note| match note {
        Note::EndTxnApplied { issued, applied, .. } => Some((issued.0, applied.0)),
        _ => None,
    });
    assert_eq!(applied.collect::<Vec<_>>(), [(1, 1), (1, 2)]);
}

#[test]
fn a_delayed_end_txn_is_recognised_in_generation_2() {
    let mut world = World::new(V2);
    let first = world.init(None).unwrap();
    world.add(first, 1, V2, X);
    let second = world.end(first, 1, V2, Commit).unwrap();
    assert_eq!(world.end(first, 1, V2, Commit), Ok(second), "a retry");
    world.add(second, 2, V2, X);
    assert_eq!(world.end(first, 1, V2, Commit), Err(ErrorCode::ProducerFenced));
    assert_eq!(world.state(), Some(Ongoing));
    let third = world.end(second, 2, V2, Commit).unwrap();
    assert_eq!(world.end(first, 1, V2, Commit), Err(ErrorCode::ProducerFenced));
    assert_eq!(world.end(third, 3, V2, Abort), Ok(session(1000, 3)), "an empty abort");
    assert_eq!(world.state(), Some(CompleteAbort));
    for note in &world.notes {
        if let Note::EndTxnApplied { issued, applied, .. } = note {
            assert_eq!(issued, applied);
        }
    }
}

#[test]
fn an_empty_abort_waits_for_the_transaction_before() {
    // KAFKA-18464: the client has its next epoch before the markers are written.
    let story = |mutations| {
        let mut world = World::with(V2, mutations, Vec::new());
        let first = world.init(None).unwrap();
        world.add(first, 1, V2, X);
        world.leaders = Leaders::Silent;
        let second = world.end(first, 1, V2, Commit).unwrap();
        let early = world.end(second, 2, V2, Abort);
        world.heal();
        (early, world.end(second, 2, V2, Abort), world.hits())
    };
    let third = Ok(session(1000, 2));
    let concurrent = Err(ErrorCode::ConcurrentTransactions);
    assert_eq!(story(Mutations::NONE), (concurrent, third, 0));
    let planted = Mutations::only(Mutation::TxnEpochCheckBeforePending);
    assert_eq!(story(planted).0, Err(ErrorCode::ProducerFenced));
}

#[test]
fn epochs_run_out_within_a_transaction() {
    let story = |mutations| {
        let log = log_of(Empty, i16::MAX - 1, V2);
        let mut world = World::with(V2, mutations, log);
        let last = session(500, i16::MAX - 1);
        world.add(last, 1, V2, X);
        let told = world.end(last, 1, V2, Commit);
        (world, last, told)
    };
    let (mut world, last, told) = story(Mutations::NONE);
    assert_eq!(told, Ok(session(1000, 0)), "a new producer id");
    // The marker still has the old id, and the epoch that no client ever has.
    assert_eq!(world.markers[0].producer_id, ProducerId(500));
    assert_eq!(world.markers[0].producer_epoch, ProducerEpoch(i16::MAX));
    assert_eq!(world.end(last, 1, V2, Commit), told, "a retry over the change of ids");
    world.fail_over();
    assert_eq!(world.end(last, 1, V2, Commit), told, "KAFKA-20310: also at another coordinator");
    world.add(told.unwrap(), 2, V2, X);
    assert_eq!(
        world.end(last, 1, V2, Commit),
        Err(ErrorCode::InvalidProducerIdMapping),
        "not any more once the next transaction has begun"
    );
    let planted = Mutations::only(Mutation::TxnOverflowWrongPid);
    assert_eq!(story(planted).2, Ok(session(500, 0)));
}

#[test]
fn epochs_run_out_between_sessions() {
    let rotate = |epoch, current| {
        let mut world = World::with(V2, Mutations::NONE, log_of(CompleteAbort, epoch, V2));
        let next = world.init(current);
        (next, world)
    };
    let last = i16::MAX - 1;
    assert_eq!(rotate(last - 1, None).0, Ok(session(500, last)));
    assert_eq!(rotate(last, None).0, Ok(session(1000, 0)));
    assert_eq!(rotate(i16::MAX, None).0, Ok(session(1000, 0)), "after a fence took the last");
    let (next, mut world) = rotate(last, Some(session(500, last)));
    assert_eq!(next, Ok(session(1000, 0)));
    // The answer was lost: the old id is known as the one before, its epoch as the last.
    assert_eq!(world.init(Some(session(500, last))), Ok(session(1000, 0)));
    assert_eq!(world.init(Some(session(500, 3))), Err(ErrorCode::ProducerFenced));
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    for version in [V1, V2] {
        let mut world = World::new(version);
        let own = world.init(None).unwrap();
        world.add(own, 1, version, X);
        world.pass(Duration::from_secs(60));
        assert_eq!(world.state(), Some(Ongoing));
        // Scans happen every 10 s.
        world.pass(Duration::from_secs(10));
        assert_eq!(world.state(), Some(CompleteAbort));
        assert_eq!(world.markers[0].producer_epoch, own.1.next());
        let timed_out = |note: &Note| matches!(note, Note::TransactionTimedOut { .. });
        assert_eq!(world.notes.iter().filter(|note| timed_out(note)).count(), 1);
        let late = world.end(own, 1, version, Commit);
        match version {
            V1 => assert_eq!(late, Err(ErrorCode::ProducerFenced)),
            // The epoch looks like a retry, and the result is the other one.
            V2 => {
                assert_eq!(late, Err(ErrorCode::InvalidTxnState));
                // Whoever aborts gets the session to go on with: KAFKA-19367.
                assert_eq!(world.end(own, 1, version, Abort), Ok(session(1000, 1)));
            }
        }
        world.coordinator.settled(true).unwrap();
    }
}

#[test]
fn fencing_bumps_once() {
    let epoch = |mutations| {
        let mut world = World::with(V2, mutations, Vec::new());
        let own = world.init(None).unwrap();
        world.add(own, 1, V2, X);
        let _ = world.init(None);
        world.logged().unwrap().producer_epoch.0
    };
    assert_eq!(epoch(Mutations::NONE), 1);
    assert_eq!(epoch(Mutations::only(Mutation::TxnDoubleBump)), 2);
}

#[test]
fn an_idle_id_is_forgotten_and_an_open_one_is_not() {
    let mut world = World::new(V2);
    let own = world.init(None).unwrap();
    let week = Duration::from_secs(7 * 24 * 3600);
    world.pass(Duration::from_secs(5 * 24 * 3600));
    let own = world.init(Some(own)).unwrap();
    world.pass(Duration::from_secs(3 * 24 * 3600));
    assert_eq!(world.state(), Some(Empty), "used five days later");
    world.pass(week);
    assert_eq!(world.state(), None);
    assert_eq!(world.logged(), None, "a tombstone");
    assert_eq!(world.story().last().map(|(state, _)| *state), Some(TransactionState::Dead));
    assert_eq!(world.add(own, 1, V2, X), ErrorCode::InvalidProducerIdMapping);
    world.fail_over();
    assert_eq!(world.state(), None);
    assert!(world.timers.is_empty(), "nothing is looked for where nothing is");
}

#[test]
fn nothing_is_armed_while_nothing_is_open() {
    let mut world = World::new(V2);
    assert!(world.timers.is_empty());
    let own = world.init(None).unwrap();
    world.add(own, 1, V2, X);
    world.end(own, 1, V2, Commit).unwrap();
    world.pass(Duration::from_secs(120));
    assert_eq!(world.timers.len(), 1, "only the scan for idle ids, a week away");
    assert_eq!(world.timers[0].1.since(Instant::ZERO).as_millis() / 86_400_000, 7);
}

#[test]
fn planted_bugs_change_the_story() {
    // KAFKA-17754 again: the epoch stays.
    let mut world = World::with(V2, Mutations::only(Mutation::TxnNoEpochBump), Vec::new());
    let own = world.init(None).unwrap();
    world.add(own, 1, V2, X);
    assert_eq!(world.end(own, 1, V2, Commit), Ok(own));
    world.add(own, 2, V2, X);
    assert_eq!(world.end(own, 1, V2, Commit), Ok(own), "a late one ends the second");
    assert_eq!(world.end(own, 3, V2, Abort), Ok(own), "an empty abort");
    assert!(world.hits() > 0);
    // A session that joins the zombie's transaction.
    let mut world = World::with(V2, Mutations::only(Mutation::TxnInitNoAbort), Vec::new());
    let own = world.init(None).unwrap();
    world.add(own, 1, V2, X);
    assert_eq!(world.init(None), Ok(own));
    assert_eq!(world.state(), Some(Ongoing));
    // A session that is the zombie's.
    let mut world = World::with(V1, Mutations::only(Mutation::TxnInitNoBump), Vec::new());
    let own = world.init(None).unwrap();
    assert_eq!(world.init(None), Ok(own));
    assert_eq!(world.add(own, 1, V1, X), ErrorCode::None);
}

#[test]
fn prepare_abort_may_be_logged_without_a_transaction() {
    let mut world = World::new(V2);
    let own = world.init(None).unwrap();
    assert_eq!(world.end(own, 1, V2, Abort), Ok(session(1000, 1)));
    assert_eq!(world.story(), [(Empty, 0), (PrepareAbort, 1), (CompleteAbort, 1)]);
    assert!(world.markers.is_empty());
}

#[test]
fn a_transaction_that_a_late_request_of_the_one_before_began_is_the_newer_one() {
    for partition in [X, Y] {
        let mut world = World::new(V1);
        let own = world.init(None).unwrap();
        world.add(own, 1, V1, X);
        world.end(own, 1, V1, Commit).unwrap();
        world.add(own, 1, V1, X);
        world.add(own, 2, V1, partition);
        world.end(own, 2, V1, Commit).unwrap();
        let mut decided = world.notes.iter().filter_map(|note| match note {
            Note::EndTxnApplied { issued, applied, .. } => Some((issued.0, applied.0)),
            _ => None,
        });
        assert_eq!((decided.next(), decided.next()), (Some((1, 1)), Some((2, 2))));
    }
}
