//! The log in trouble, leaders in trouble, and coordinators that come and go.

use TransactionState::{
    CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit,
};

use super::*;

/// A transaction of one partition that is open.
fn open(version: TransactionVersion, mutations: Mutations) -> (World, Session) {
    let mut world = World::with(version, mutations, Vec::new());
    let own = world.init(None).unwrap();
    assert_eq!(world.add(own, 1, version, X), ErrorCode::None);
    (world, own)
}

#[test]
fn nothing_is_answered_before_it_is_replicated() {
    let story = |mutations| {
        let (mut world, own) = open(V2, mutations);
        world.mode = Log::Stuck;
        let id = world.send(end(own, 1, V2, Commit));
        let early = world.ended(id);
        let state = world.state();
        let markers = world.markers.len();
        world.heal();
        (early, state, markers, world.ended(id), world.state())
    };
    let told = Some(Ok(session(1000, 1)));
    assert_eq!(
        story(Mutations::NONE),
        (None, Some(Ongoing), 0, told, Some(CompleteCommit)),
        "neither the answer nor a marker"
    );
    let planted = Mutations::only(Mutation::CoordinatorEndTxnReplyEarly);
    assert_eq!(story(planted), (told, Some(Ongoing), 0, None, Some(CompleteCommit)));
    let planted = Mutations::only(Mutation::CoordinatorReplyBeforeHighWatermark);
    let (early, state, markers, ..) = story(planted);
    assert_eq!((early, state, markers), (told, Some(CompleteCommit), 1));
}

#[test]
fn a_write_that_fails_is_undone_in_memory() {
    for (refused, told) in [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
    ] {
        let (mut world, own) = open(V2, Mutations::NONE);
        world.mode = Log::Refusing(refused);
        assert_eq!(world.end(own, 1, V2, Commit), Err(told));
        assert_eq!(world.add(own, 1, V2, Y), told);
        assert_eq!(world.state(), Some(Ongoing));
        world.heal();
        assert_eq!(world.end(own, 1, V2, Commit), Ok(session(1000, 1)));
    }
}

#[test]
fn a_write_that_takes_too_long_may_come_to_light_later() {
    let (mut world, own) = open(V2, Mutations::NONE);
    world.mode = Log::Stuck;
    let id = world.send(end(own, 1, V2, Commit));
    world.pass(TIMEOUT);
    assert_eq!(world.ended(id), Some(Err(ErrorCode::CoordinatorNotAvailable)));
    assert_eq!(world.state(), Some(Ongoing), "memory does not believe in it");
    world.mode = Log::Healthy;
    world.fail_over();
    assert_eq!(world.state(), Some(CompleteCommit), "the log does");
}

#[test]
fn a_failed_fence_keeps_its_epoch() {
    let epoch = |mutations| {
        let (mut world, _) = open(V1, mutations);
        world.mode = Log::Refusing(ErrorCode::NotEnoughReplicas);
        for _ in 0..5 {
            assert_eq!(world.init(None), Err(ErrorCode::CoordinatorNotAvailable));
        }
        world.mode = Log::Healthy;
        assert_eq!(world.init(None), Err(ErrorCode::ConcurrentTransactions));
        world.logged().unwrap().producer_epoch.0
    };
    assert_eq!(epoch(Mutations::NONE), 1, "KAFKA-9666");
    assert_eq!(epoch(Mutations::only(Mutation::CoordinatorBumpOnFailedFence)), 6);
}

#[test]
fn markers_are_tried_again_until_they_are_written() {
    for error in [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::NotEnoughReplicas,
        ErrorCode::NotEnoughReplicasAfterAppend,
        ErrorCode::RequestTimedOut,
        ErrorCode::KafkaStorageError,
    ] {
        let (mut world, own) = open(V2, Mutations::NONE);
        world.leaders = Leaders::Refusing(error);
        world.end(own, 1, V2, Commit).unwrap();
        world.pass(Duration::from_secs(3));
        assert_eq!(world.state(), Some(PrepareCommit), "{error:?}");
        assert!(world.next_correlation > 25, "every 100 ms");
        world.leaders = Leaders::Writing;
        world.pass(Duration::from_millis(100));
        assert_eq!(world.state(), Some(CompleteCommit));
    }
}

#[test]
fn markers_that_somebody_newer_forbids_are_given_up() {
    for error in [ErrorCode::InvalidProducerEpoch, ErrorCode::TransactionCoordinatorFenced] {
        let (mut world, own) = open(V2, Mutations::NONE);
        world.leaders = Leaders::Refusing(error);
        let next = world.end(own, 1, V2, Commit).unwrap();
        world.leaders = Leaders::Writing;
        world.pass(Duration::from_secs(3));
        assert_eq!(world.state(), Some(PrepareCommit));
        assert_eq!(world.add(next, 2, V2, X), ErrorCode::ConcurrentTransactions);
        let stuck = world.coordinator.settled(true).unwrap_err();
        assert!(stuck.contains(error.name()), "{stuck}");
        world.fail_over();
        assert_eq!(world.state(), Some(CompleteCommit), "another coordinator tries for itself");
    }
}

#[test]
fn a_leader_that_is_lost_or_silent_gets_its_markers_again() {
    let (mut world, own) = open(V2, Mutations::NONE);
    world.leaders = Leaders::Silent;
    world.end(own, 1, V2, Commit).unwrap();
    assert_eq!(world.under_way.len(), 1);
    let mut out = Vec::new();
    world.coordinator.disconnected(ActorId(1), &mut out);
    world.perform(out);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.under_way.len(), 2);
    // Nothing more until the request is overdue.
    world.pass(Duration::from_millis(29_700));
    assert_eq!(world.under_way.len(), 2);
    world.pass(Duration::from_millis(400));
    assert_eq!(world.under_way.len(), 3);
    world.heal();
    assert_eq!(world.state(), Some(CompleteCommit));
    assert_eq!(world.story().len(), 4, "completed once");
}

#[test]
fn a_completion_is_written_again_until_the_log_takes_it() {
    let (mut world, own) = open(V2, Mutations::NONE);
    world.leaders = Leaders::Silent;
    world.end(own, 1, V2, Commit).unwrap();
    world.mode = Log::Refusing(ErrorCode::NotEnoughReplicas);
    world.answer_markers();
    world.pass(Duration::from_secs(2));
    assert_eq!(world.state(), Some(PrepareCommit));
    world.mode = Log::Healthy;
    world.pass(Duration::from_millis(100));
    assert_eq!(world.state(), Some(CompleteCommit));
    assert_eq!(world.markers.len(), 1, "the markers are not sent again");
}

#[test]
fn a_new_coordinator_resumes_what_was_decided() {
    for (result, prepared, completed) in
        [(Commit, PrepareCommit, CompleteCommit), (Abort, PrepareAbort, CompleteAbort)]
    {
        let story = |mutations| {
            let (mut world, own) = open(V2, mutations);
            world.leaders = Leaders::Silent;
            world.end(own, 1, V2, result).unwrap();
            assert_eq!(world.state(), Some(prepared));
            world.leaders = Leaders::Writing;
            world.fail_over();
            world
        };
        let world = story(Mutations::NONE);
        assert_eq!(world.state(), Some(completed));
        let marker = &world.markers[0];
        assert_eq!((marker.result, marker.coordinator_epoch), (result, LeaderEpoch(2)));
        let mut world = story(Mutations::only(Mutation::CoordinatorNoResumePrepare));
        world.pass(Duration::from_secs(600));
        assert_eq!(world.state(), Some(prepared));
        assert!(world.coordinator.settled(true).is_err() && world.hits() > 0);
    }
}

#[test]
fn a_new_coordinator_goes_on_with_what_is_open() {
    let (mut world, own) = open(V2, Mutations::NONE);
    world.pass(Duration::from_secs(55));
    world.fail_over();
    assert_eq!(world.verify(own, X), ErrorCode::None);
    // The timeout counts from the beginning of the transaction.
    world.pass(Duration::from_secs(15));
    assert_eq!(world.state(), Some(CompleteAbort));
}

#[test]
fn who_resigns_answers_and_forgets() {
    let (mut world, own) = open(V2, Mutations::NONE);
    world.mode = Log::Stuck;
    let id = world.send(end(own, 1, V2, Commit));
    let mut out = Vec::new();
    world.coordinator.resigned(world.now, 0, &mut out);
    world.perform(out);
    assert_eq!(world.ended(id), Some(Err(ErrorCode::NotCoordinator)));
    assert_eq!(world.end(own, 1, V2, Commit), Err(ErrorCode::NotCoordinator));
    assert_eq!(world.state(), None);
    world.coordinator.settled(true).unwrap();
    // What was under way changes nothing when it comes to its end.
    world.replicate(world.log.len());
    world.pass(Duration::from_secs(120));
    assert!(world.markers.is_empty());
}

#[test]
fn late_answers_of_an_older_epoch_are_ignored() {
    let (mut world, own) = open(V2, Mutations::NONE);
    world.leaders = Leaders::Silent;
    world.end(own, 1, V2, Commit).unwrap();
    world.elect_again();
    assert_eq!(world.under_way.len(), 1, "one request at a time for each leader");
    world.answer_markers();
    assert_eq!(world.under_way.len(), 1, "the answer was for the old epoch; now the new one's go");
    assert_eq!(world.state(), Some(PrepareCommit));
    world.heal();
    assert_eq!(world.state(), Some(CompleteCommit));
    let epochs: Vec<_> = world.markers.iter().map(|m| m.coordinator_epoch.0).collect();
    assert_eq!(epochs, [1, 2]);
}

#[test]
fn a_stale_copy_serves_under_a_planted_bug() {
    let (mut world, own) = open(V2, Mutations::only(Mutation::CoordinatorKeepStateAfterResign));
    let mut out = Vec::new();
    world.coordinator.resigned(world.now, 0, &mut out);
    world.perform(out);
    assert_eq!(world.verify(own, X), ErrorCode::None);
    assert_eq!(world.state(), Some(Ongoing));
    assert!(world.hits() > 0);
    world.coordinator.settled(true).unwrap();
}

#[test]
fn an_id_whose_first_write_failed_is_usable() {
    let mut world = World::new(V2);
    world.mode = Log::Refusing(ErrorCode::NotEnoughReplicas);
    assert_eq!(world.init(None), Err(ErrorCode::CoordinatorNotAvailable));
    world.mode = Log::Healthy;
    assert_eq!(world.init(None), Ok(session(1000, 0)));
    assert_eq!(world.state(), Some(Empty));
}

#[test]
fn a_new_coordinator_waits_until_its_log_is_replicated() {
    let story = |mutations| {
        let (mut world, own) = open(V2, mutations);
        world.mode = Log::Stuck;
        world.send(end(own, 1, V2, Commit));
        // The decision is in this log alone.
        world.fail_over();
        let early = world.end(own, 1, V2, Commit);
        let markers = world.markers.len();
        let told = world.coordinator.settled(true);
        world.heal();
        (early, markers, told.is_ok(), world.state())
    };
    let loading = Err(ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(story(Mutations::NONE), (loading, 0, false, Some(CompleteCommit)));
    let planted = Mutations::only(Mutation::CoordinatorServesUnreplicated);
    let concurrent = Err(ErrorCode::ConcurrentTransactions);
    assert_eq!(story(planted), (concurrent, 1, false, Some(CompleteCommit)));
}
