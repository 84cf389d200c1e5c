//! How a group gets from one generation to the next.

use super::*;

#[test]
fn a_group_forms_and_then_costs_nothing_but_heartbeats() {
    let mut broker = Broker::group_of_two();
    assert!(broker.notes.iter().any(|note| {
        matches!(note, Note::Generation { generation: GenerationId(1), cooperative: false, .. })
    }));
    broker.fired = 0;
    for _ in 0..100 {
        broker.pass(Duration::from_secs(3));
        assert_eq!(broker.heartbeat(A, 1), ErrorCode::None);
        assert_eq!(broker.heartbeat(B, 1), ErrorCode::None);
    }
    assert!(broker.fired <= 8, "{} timers in five idle minutes", broker.fired);
    assert_eq!(broker.timers.len(), 1);
}

#[test]
fn latecomers_extend_the_initial_delay_within_the_rebalance_timeout() {
    let mut broker = Broker::new();
    broker.send(join(None, A, None));
    let a = broker.send(join(Some(A), A, None));
    broker.pass(Duration::from_secs(2));
    broker.send(join(None, B, None));
    let b = broker.send(join(Some(B), B, None));
    broker.pass(Duration::from_secs(2));
    assert!(broker.joined(a).is_none(), "somebody came: another three seconds");
    broker.pass(Duration::from_secs(2));
    assert_eq!(broker.joined(a).expect("over").members.len(), 2);
    assert!(broker.joined(b).is_some());
}

#[test]
fn a_rebalance_waits_for_every_known_member_and_removes_who_does_not_come() {
    let mut broker = Broker::group_of_two();
    let join_a = broker.send(join(Some(A), A, None));
    assert_eq!(broker.heartbeat(B, 1), ErrorCode::RebalanceInProgress);
    broker.pass(Duration::from_secs(1));
    let c = MemberId(3);
    broker.send(join(None, c, None));
    let join_c = broker.send(join(Some(c), c, None));
    assert!(broker.joined(join_a).is_none(), "B is not back yet");
    // B processes a long batch; its heartbeat thread keeps its session alive.
    for _ in 0..99 {
        broker.pass(Duration::from_secs(3));
        assert_eq!(broker.heartbeat(B, 1), ErrorCode::RebalanceInProgress);
    }
    assert!(broker.joined(join_a).is_none());
    broker.pass(Duration::from_secs(6));
    let leader = broker.joined(join_a).expect("max.poll.interval.ms is over");
    assert_eq!((leader.generation, leader.members.len()), (GenerationId(2), 2));
    assert!(broker.joined(join_c).is_some());
    assert_eq!(broker.heartbeat(B, 1), ErrorCode::UnknownMemberId);
    let late = broker.commit(B, 1, 5);
    assert_eq!(broker.committed(late), Some(ErrorCode::UnknownMemberId));
}

#[test]
fn an_assignment_that_was_not_stored_is_told_to_nobody() {
    let mut broker = Broker::group_of_two();
    let (a, b) = (broker.send(join(Some(A), A, None)), broker.send(join(Some(B), B, None)));
    assert!(broker.joined(a).is_some() && broker.joined(b).is_some());
    broker.mode = Log::Refusing(ErrorCode::NotEnoughReplicas);
    let follower = broker.send(sync(B, 2, &[]));
    let leader = broker.send(sync(A, 2, &[(A, vec![TP])]));
    let refused = Some((ErrorCode::CoordinatorNotAvailable, vec![]));
    assert_eq!((broker.synced(leader), broker.synced(follower)), (refused.clone(), refused));
    assert_eq!(broker.heartbeat(A, 2), ErrorCode::RebalanceInProgress);
}

#[test]
fn members_agree_on_what_all_support_and_most_prefer() {
    let mut broker = Broker::new();
    let prefer = [
        [Assignor::RoundRobin, Assignor::Range],
        [Assignor::Range, Assignor::RoundRobin],
        [Assignor::Range, Assignor::RoundRobin],
    ];
    let mut last = 0;
    for (n, protocols) in (1..).zip(prefer) {
        let (id, topics) = (MemberId(n), vec![TopicId(0)]);
        broker.send(join_with(None, id, None, &protocols, topics.clone()));
        last = broker.send(join_with(Some(id), id, None, &protocols, topics));
    }
    let stranger = broker.send(join_with(None, B, None, &[Assignor::Sticky], vec![]));
    let refused = broker.joined(stranger).expect("at once");
    assert_eq!(refused.error, ErrorCode::InconsistentGroupProtocol);
    broker.pass(Duration::from_secs(6));
    assert_eq!(broker.joined(last).expect("joined").protocol, Some(Assignor::Range));
}

#[test]
fn a_member_that_joins_and_never_syncs_is_removed() {
    let mut broker = Broker::group_of_two();
    let (a, b) = (broker.send(join(Some(A), A, None)), broker.send(join(Some(B), B, None)));
    assert!(broker.joined(a).is_some() && broker.joined(b).is_some());
    let leader = broker.send(sync(A, 2, &[(A, vec![]), (B, vec![TP])]));
    assert_eq!(broker.synced(leader), Some((ErrorCode::None, vec![])));
    for _ in 0..99 {
        broker.pass(Duration::from_secs(3));
        assert_eq!(broker.heartbeat(A, 2), ErrorCode::None);
        assert_eq!(broker.heartbeat(B, 2), ErrorCode::None);
    }
    broker.pass(Duration::from_secs(3));
    assert_eq!(broker.heartbeat(B, 2), ErrorCode::UnknownMemberId);
    assert_eq!(broker.heartbeat(A, 2), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_clock_that_jumps_back_does_not_lengthen_a_session() {
    let mut broker = Broker::new();
    let hour = Duration::from_secs(3_600);
    broker.pass(hour);
    broker.form_group();
    broker.now = Instant(broker.now.0 - hour.0);
    for (_, due) in &mut broker.timers {
        *due = Instant(due.0 - hour.0);
    }
    broker.pass(SESSION + SESSION);
    assert_eq!(broker.heartbeat(A, 1), ErrorCode::UnknownMemberId);
    assert_eq!(broker.coordinator.settled(), Ok(()));
}
