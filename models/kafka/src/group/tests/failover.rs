//! What survives the coordinator, and what planted bugs do to it.

use super::*;

#[test]
fn a_new_coordinator_continues_where_the_log_ends() {
    let mut broker = Broker::group_of_two();
    for next in [3, 8] {
        let id = broker.commit(A, 1, next);
        assert_eq!(broker.committed(id), Some(ErrorCode::None));
    }
    broker.fail_over();
    assert_eq!(broker.coordinator.committed(G, TP).map(|(o, _)| o.0), Some(8), "the latest wins");
    assert_eq!(broker.heartbeat(A, 1), ErrorCode::None, "nobody has to join again");
    let id = broker.commit(A, 1, 9);
    assert_eq!(broker.committed(id), Some(ErrorCode::None));
    // Sessions are fresh, and run out as ever.
    broker.pass(SESSION);
    assert_eq!(broker.heartbeat(B, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn what_was_loaded_is_not_read_before_it_is_durable() {
    let mut broker = Broker::group_of_two();
    broker.mode = Log::Stuck;
    broker.commit(A, 1, 8);
    broker.fail_over();
    let (plain, stable) = (broker.fetch(false), broker.fetch(true));
    assert_eq!((broker.fetched(plain), broker.fetched(stable)), (None, None));
    broker.heal();
    assert_eq!(broker.fetched(plain), Some((ErrorCode::None, Some(8))));
    assert_eq!(broker.fetched(stable), Some((ErrorCode::None, Some(8))));
}

#[test]
fn a_broker_that_resigns_sends_everybody_away() {
    let mut broker = Broker::group_of_two();
    broker.mode = Log::Stuck;
    let (waiting_commit, waiting_read) = (broker.commit(A, 1, 8), broker.fetch(true));
    let waiting_join = broker.send(join(Some(A), A, None));
    let mut out = Vec::new();
    broker.coordinator.resigned(0, &mut out);
    broker.perform(out);
    assert_eq!(broker.committed(waiting_commit), Some(ErrorCode::NotCoordinator));
    assert_eq!(broker.fetched(waiting_read), Some((ErrorCode::NotCoordinator, None)));
    assert_eq!(broker.joined(waiting_join).map(|a| a.error), Some(ErrorCode::NotCoordinator));
    assert!(broker.timers.is_empty(), "{:?}", broker.timers);
    assert_eq!(broker.heartbeat(A, 1), ErrorCode::NotCoordinator);
    broker.coordinator.elected(0, LeaderEpoch(5));
    assert_eq!(broker.heartbeat(A, 1), ErrorCode::CoordinatorLoadInProgress);
    broker.load();
    assert_eq!(broker.heartbeat(A, 1), ErrorCode::None);
}

#[test]
fn planted_bugs_show() {
    let planted = |mutation| {
        let mut broker = Broker::with(Mutations::only(mutation));
        broker.form_group();
        broker
    };
    let mut broker = planted(Mutation::GroupCommitAnyGeneration);
    let stale = broker.commit(A, 0, 2);
    assert_eq!(broker.committed(stale), Some(ErrorCode::None));
    let stranger = broker.commit(MemberId(99), 0, 1);
    assert_eq!((broker.committed(stranger), broker.hits()), (Some(ErrorCode::None), 2));

    let mut broker = planted(Mutation::GroupReplyBeforeHighWatermark);
    broker.mode = Log::Stuck;
    let early = broker.commit(A, 1, 2);
    assert_eq!((broker.committed(early), broker.hits()), (Some(ErrorCode::None), 1));
    broker.log.truncate(broker.high_watermark);
    broker.fail_over();
    assert_eq!(broker.coordinator.committed(G, TP), None, "acknowledged, and lost");

    let mut broker = planted(Mutation::GroupLoadFirstWins);
    broker.commit(A, 1, 2);
    broker.commit(A, 1, 6);
    broker.fail_over();
    assert_eq!(broker.coordinator.committed(G, TP).map(|(o, _)| o.0), Some(2));
    assert_eq!(broker.hits(), 1);
}
