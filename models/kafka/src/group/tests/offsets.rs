//! Whose commits count, and when.

use super::*;

#[test]
fn a_zombie_past_its_session_cannot_commit() {
    let mut broker = Broker::group_of_two();
    let before = broker.commit(B, 1, 10);
    assert_eq!(broker.committed(before), Some(ErrorCode::None));
    for _ in 0..16 {
        broker.pass(Duration::from_secs(3));
        broker.heartbeat(A, 1);
    }
    assert!(
        broker
            .notes
            .iter()
            .any(|n| matches!(n, Note::MemberRemoved { member: B, expired: true, .. }))
    );
    let rejoin = broker.send(join(Some(A), A, None));
    assert_eq!(broker.joined(rejoin).expect("A is alone").generation, GenerationId(2));
    let leader = broker.send(sync(A, 2, &[(A, vec![TP])]));
    assert!(broker.synced(leader).is_some());
    let zombie = broker.commit(B, 1, 3);
    assert_eq!(broker.committed(zombie), Some(ErrorCode::UnknownMemberId));
    assert_eq!(broker.coordinator.committed(G, TP).map(|(o, _)| o.0), Some(10));
    assert_eq!(broker.accepted(), [10]);
}

#[test]
fn commits_are_validated_in_kafkas_order() {
    let static_b = Some(7);
    // state, member, instance, generation, answer
    let rows = [
        ("stable", Some(A), None, 1, ErrorCode::None),
        ("stable", Some(MemberId(99)), None, 1, ErrorCode::UnknownMemberId),
        ("stable", Some(MemberId(99)), static_b, 0, ErrorCode::UnknownMemberId),
        ("stable", Some(A), None, 0, ErrorCode::IllegalGeneration),
        ("stable", Some(A), None, 2, ErrorCode::IllegalGeneration),
        ("stable", None, None, -1, ErrorCode::UnknownMemberId),
        ("preparing", Some(A), None, 1, ErrorCode::None),
        ("preparing", Some(A), None, 0, ErrorCode::IllegalGeneration),
        ("completing", Some(A), None, 2, ErrorCode::RebalanceInProgress),
        ("completing", Some(A), None, 1, ErrorCode::IllegalGeneration),
        ("empty", None, None, -1, ErrorCode::None),
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
        let id = broker.send(commit(member, instance, generation, 4));
        let row = (state, member, instance, generation);
        assert_eq!(broker.committed(id), Some(expected), "{row:?}");
        let stored = broker.coordinator.committed(G, TP).is_some();
        assert_eq!(stored, expected.is_ok(), "{row:?}");
    }
}

#[test]
fn a_commit_counts_when_the_high_watermark_covers_it() {
    let mut broker = Broker::group_of_two();
    broker.mode = Log::Stuck;
    let id = broker.commit(A, 1, 8);
    let (plain, stable) = (broker.fetch(false), broker.fetch(true));
    assert_eq!(broker.committed(id), None);
    assert_eq!(broker.fetched(plain), Some((ErrorCode::None, None)), "committed state only");
    assert_eq!(broker.fetched(stable), None, "behind the write");
    broker.coordinator.settled().expect_err("a commit is in flight");
    broker.heal();
    assert_eq!(broker.committed(id), Some(ErrorCode::None));
    assert_eq!(broker.fetched(stable), Some((ErrorCode::None, Some(8))));
}

#[test]
fn a_commit_that_timed_out_may_still_count() {
    let mut broker = Broker::group_of_two();
    broker.mode = Log::Stuck;
    let (id, read) = (broker.commit(A, 1, 8), broker.fetch(true));
    broker.pass(Duration::from_secs(5));
    assert_eq!(broker.committed(id), Some(ErrorCode::RequestTimedOut));
    assert_eq!(broker.fetched(read), Some((ErrorCode::CoordinatorNotAvailable, None)));
    assert_eq!(broker.coordinator.committed(G, TP), None);
    broker.heal();
    assert_eq!(broker.committed(id), None, "nobody is told twice");
    assert_eq!(broker.accepted(), [8]);
}

#[test]
fn a_commit_that_was_not_appended_leaves_no_trace() {
    for (error, told) in [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
    ] {
        let mut broker = Broker::group_of_two();
        broker.mode = Log::Refusing(error);
        let id = broker.commit(A, 1, 8);
        assert_eq!(broker.committed(id), Some(told));
        let read = broker.fetch(true);
        assert_eq!(broker.fetched(read), Some((ErrorCode::None, None)));
        broker.coordinator.settled().expect("nothing waits");
    }
}
