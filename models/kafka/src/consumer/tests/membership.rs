//! Rebalances, zombies, fencing, moving coordinators.

use oncesim_types::{Duration, ErrorCode, GenerationId, LeaderEpoch, Offset};

use super::group::grouped;
use super::world::{B1, B2, P0, P1, World, data, empty};
use crate::config::ConsumerConfig;
use crate::consumer::{ConsumerCall, ConsumerCompletion};
use crate::machine::Input;
use crate::message::{Assignor, Request};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;

fn cooperative() -> ConsumerConfig {
    ConsumerConfig { assignors: vec![Assignor::CooperativeSticky], ..grouped() }
}

fn hits(world: &World) -> usize {
    world.notes.iter().filter(|it| matches!(it, Note::MutationHit)).count()
}

/// Lets the next heartbeat say that the group rebalances.
fn rebalance(world: &mut World) {
    world.millis(3_000);
    world.answer_heartbeat(ErrorCode::RebalanceInProgress);
}

#[test]
fn an_eager_member_gives_everything_back_before_it_rejoins() {
    let mut world = World::stable(grouped(), 0);
    rebalance(&mut world);
    assert_eq!(world.callback(), "revoked 0,1");
    world.call(ConsumerCall::CommitSync(Some(vec![(P0, Offset(4), LeaderEpoch::NONE)])));
    let (_, _, commit) = world.take_commit().expect("a commit inside the callback");
    assert_eq!(commit.generation, GenerationId(1), "the old generation still counts");
    world.callback_done();
    assert_eq!(world.consumer.position(P0), None);
    let (_, _, join) = world.take_join().expect("and then it rejoins");
    assert!(join.subscription.owned.is_empty() && join.member.is_some());
}

#[test]
fn a_cooperative_member_keeps_reading_and_revokes_only_what_moves() {
    let mut world = World::stable(cooperative(), 0);
    rebalance(&mut world);
    assert!(world.callbacks.is_empty(), "nothing is revoked before the assignment is known");
    world.answer_fetch(vec![data(P0, 0, 2, 1)]);
    assert_eq!(world.polled().expect("records meanwhile"), [(0, 0), (0, 1)]);
    world.call(ConsumerCall::Poll);
    world.answer_join(2);
    world.answer_sync(&[P0]);
    assert_eq!(world.callback(), "revoked 1");
    world.callback_done();
    assert_eq!(world.callback(), "assigned  of 0 in 2");
    assert_eq!(world.consumer.position(P0), Some(Offset(2)), "what stays keeps its position");
    world.callback_done();
    let (_, _, join) = world.take_join().expect("a second join frees the partition");
    assert_eq!(
        (&join.subscription.owned[..], join.subscription.generation),
        (&[P0][..], GenerationId(2))
    );
}

#[test]
fn a_paused_member_wakes_as_a_zombie_whose_commit_is_fenced() {
    let mut world = World::stable(grouped(), 0);
    world.answer_fetch(vec![data(P0, 0, 5, 1)]);
    assert_eq!(world.polled().expect("records").len(), 5);
    let metadata = world.consumer.group_metadata();
    assert_eq!((metadata.member.is_some(), metadata.generation), (true, GenerationId(1)));
    world.now += Duration::from_secs(60); // nothing of it ran meanwhile
    world.call(ConsumerCall::CommitSync(Some(vec![(P0, Offset(5), LeaderEpoch::NONE)])));
    world.answer_commit(ErrorCode::UnknownMemberId);
    let (_, end) = world.returned.pop().expect("the commit ends");
    let ConsumerCompletion::Committed { error, maybe_committed, .. } = end else { panic!() };
    assert_eq!((error, maybe_committed), (ErrorCode::UnknownMemberId, false));
    // A transaction that it is in the middle of is fenced as well: it keeps its old identity.
    assert_eq!(world.consumer.group_metadata(), metadata);
    world.call(ConsumerCall::Poll);
    assert_eq!(world.callback(), "lost 0,1");
    world.callback_done();
    let (_, _, join) = world.take_join().expect("it starts over");
    assert_eq!(join.member, None);
}

#[test]
fn buffered_records_of_lost_partitions_are_not_returned() {
    for (bug, expected) in [(false, vec![]), (true, vec![(0, 1)])] {
        let planted = Mutations::only(Mutation::ConsumerReturnAfterLost);
        let mutations = if bug { planted } else { Mutations::NONE };
        let config = ConsumerConfig { max_poll_records: 1, ..grouped() };
        let mut world = World::with(config, mutations).into_stable(0);
        world.answer_fetch(vec![data(P0, 0, 2, 1)]);
        assert_eq!(world.polled().expect("records"), [(0, 0)]);
        world.millis(3_000);
        world.answer_heartbeat(ErrorCode::UnknownMemberId);
        world.call(ConsumerCall::Poll);
        assert_eq!(world.callback(), "lost 0,1");
        world.callback_done();
        assert_eq!(world.polled().unwrap_or_default(), expected, "bug: {bug}");
        assert_eq!(hits(&world), usize::from(bug));
    }
}

#[test]
fn an_application_that_computes_for_too_long_leaves_its_group() {
    let mut world = World::stable(grouped(), 0);
    world.answer_fetch(vec![data(P0, 0, 1, 1)]);
    let start = world.now;
    while world.now.since(start) < Duration::from_secs(299) {
        world.millis(1_000);
        if world.sent.iter().any(|it| matches!(it.2, Request::Heartbeat(_))) {
            world.answer_heartbeat(ErrorCode::None);
        }
    }
    let leaves = |world: &mut World| {
        world.take(|it| matches!(it, Request::LeaveGroup(_)).then_some(())).is_some()
    };
    assert!(!leaves(&mut world));
    world.millis(1_000);
    assert!(leaves(&mut world), "max.poll.interval.ms");
    world.returned.clear();
    world.call(ConsumerCall::CommitSync(None));
    let (_, end) = world.returned.pop().expect("at once");
    assert!(
        matches!(end, ConsumerCompletion::Committed { error: ErrorCode::UnknownMemberId, .. }),
        "{end:?}"
    );
    world.call(ConsumerCall::Poll);
    assert_eq!(world.callback(), "lost 0,1");
}

#[test]
fn a_static_member_goes_without_a_word() {
    let instance = Some(oncesim_types::GroupInstanceId(0));
    let config =
        ConsumerConfig { instance, max_poll_interval: Duration::from_secs(10), ..grouped() };
    let mut world = World::stable(config, 0);
    world.answer_fetch(vec![data(P0, 0, 1, 1)]);
    world.pass(Duration::from_secs(11));
    let said = |it: &Request| matches!(it, Request::LeaveGroup(_));
    assert!(!world.sent.iter().any(|it| said(&it.2)));
    world.sent.clear();
    world.pass(Duration::from_secs(20));
    assert!(world.sent.is_empty(), "and its heartbeats stop: {:?}", world.sent);
}

#[test]
fn a_waiting_poll_counts_as_polling() {
    let config = ConsumerConfig { max_poll_interval: Duration::from_secs(10), ..grouped() };
    let mut world = World::stable(config, 0);
    for _ in 0..10 {
        world.millis(3_000);
        world.answer_heartbeat(ErrorCode::None);
    }
    assert!(!world.sent.iter().any(|it| matches!(it.2, Request::LeaveGroup(_))));
}

#[test]
fn a_waiting_member_causes_nothing_but_heartbeats() {
    let mut world = World::stable(grouped(), 0);
    world.answer_fetch(vec![empty(P0, 0, 0), empty(P1, 0, 0)]);
    world.take_fetch().expect("a long poll");
    assert_eq!((world.consumer.settled(), world.consumer.idle_at_end()), (Ok(()), true));
    let mut fired = 0;
    for _ in 0..6 {
        fired +=
            world.timers.values().filter(|at| **at <= world.now + Duration::from_secs(3)).count();
        world.millis(3_000);
        world.answer_heartbeat(ErrorCode::None);
    }
    assert!(world.sent.is_empty());
    assert!(fired <= 7, "six heartbeats and one lazy timer, but {fired} timers fired");
}

#[test]
fn a_moved_coordinator_is_found_again() {
    let mut world = World::stable(grouped(), 0);
    world.answer_fetch(vec![data(P0, 0, 5, 1)]);
    world.returned.clear();
    world.call(ConsumerCall::CommitSync(None));
    world.answer_commit(ErrorCode::NotCoordinator);
    world.millis(100);
    world.answer_find_coordinator(B1);
    let (to, _, _) = world.take_commit().expect("the commit is repeated");
    assert_eq!(to, B1);
    world.millis(3_000);
    let (to, _, ()) =
        world.take(|it| matches!(it, Request::Heartbeat(_)).then_some(())).expect("heartbeats too");
    assert_eq!(to, B1);
}

#[test]
fn a_coordinator_that_is_lost_while_joining_is_joined_again_elsewhere() {
    let mut world = World::new(grouped());
    world.call(ConsumerCall::Subscribe(vec![P0.topic]));
    world.call(ConsumerCall::Poll);
    world.answer_find_coordinator(B2);
    let (_, _, first) = world.take_join().expect("a join");
    world.step(Input::Disconnected { peer: B2 });
    world.answer_find_coordinator(B1);
    world.millis(100);
    let (to, _, second) = world.take_join().expect("another join");
    assert_eq!(to, B1);
    assert_ne!(first.candidate, second.candidate, "a member id is never used twice");
}

#[test]
fn a_fenced_instance_fails_for_good() {
    let mut world = World::stable(grouped(), 0);
    world.millis(3_000);
    world.answer_heartbeat(ErrorCode::FencedInstanceId);
    let (_, end) = world.returned.pop().expect("poll() ends");
    assert!(matches!(end, ConsumerCompletion::Failed(ErrorCode::FencedInstanceId)), "{end:?}");
    world.call(ConsumerCall::Close);
    assert_eq!(world.callback(), "lost 0,1");
    world.callback_done();
    let (_, end) = world.returned.pop().expect("close() ends");
    assert!(matches!(end, ConsumerCompletion::Done), "{end:?}");
    assert!(world.take_join().is_none(), "it does not come back by itself");
}

#[test]
fn a_refused_join_backs_off_or_does_not_by_its_error() {
    let mut world = World::new(grouped());
    world.call(ConsumerCall::Subscribe(vec![P0.topic]));
    world.call(ConsumerCall::Poll);
    world.answer_find_coordinator(B2);
    world.refuse_join(ErrorCode::CoordinatorLoadInProgress);
    assert!(world.take_join().is_none());
    world.millis(100);
    world.refuse_join(ErrorCode::UnknownMemberId);
    assert!(world.take_join().is_some(), "a new member joins at once");
}

#[test]
fn close_commits_calls_back_and_leaves() {
    let config = ConsumerConfig { auto_commit: true, ..grouped() };
    let mut world = World::stable(config, 0);
    world.answer_fetch(vec![data(P0, 0, 3, 1)]);
    world.returned.clear();
    let id = world.call(ConsumerCall::Close);
    assert!(world.callbacks.is_empty(), "the commit comes first");
    assert_eq!(world.answer_commit(ErrorCode::None), [(0, 3), (1, 0)]);
    assert_eq!(world.callback(), "revoked 0,1");
    world.callback_done();
    let (from, correlation, ()) =
        world.take(|it| matches!(it, Request::LeaveGroup(_)).then_some(())).expect("it leaves");
    assert!(world.returned.is_empty());
    let body = crate::message::Response::LeaveGroup(ErrorCode::None);
    world.respond((from, correlation), body);
    assert_eq!(world.returned.pop().map(|it| it.0), Some(id));
    world.sent.clear();
    world.pass(Duration::from_secs(120));
    assert!(world.sent.is_empty(), "a closed consumer is silent");
}

#[test]
fn the_groups_leader_assigns() {
    let mut world = World::new(grouped());
    world.call(ConsumerCall::Subscribe(vec![P0.topic]));
    world.call(ConsumerCall::Poll);
    world.answer_find_coordinator(B2);
    let me = world.answer_join_as_leader(1);
    let (_, _, sync) = world.take_sync().expect("a SyncGroup");
    assert_eq!(sync.assignments, [(me, vec![P0, P1])]);
}

#[test]
fn a_sync_that_another_rebalance_overtook_is_joined_again_at_once() {
    let mut world = World::new(grouped());
    world.call(ConsumerCall::Subscribe(vec![P0.topic]));
    world.call(ConsumerCall::Poll);
    world.answer_find_coordinator(B2);
    let me = world.answer_join(1);
    world.refuse_sync(ErrorCode::RebalanceInProgress);
    let (_, _, join) = world.take_join().expect("it joins again");
    assert_eq!(join.member, Some(me), "as the same member");
    assert!(world.callbacks.is_empty());
}

#[test]
fn close_while_waiting_ends_the_poll_and_a_static_member_stays_in_the_group() {
    let instance = Some(oncesim_types::GroupInstanceId(0));
    let mut world = World::stable(ConsumerConfig { instance, ..grouped() }, 0);
    world.call(ConsumerCall::Close);
    assert_eq!(world.polled().expect("the poll ends"), []);
    assert_eq!(world.callback(), "revoked 0,1");
    world.callback_done();
    let (_, end) = world.returned.pop().expect("close() ends");
    assert!(matches!(end, ConsumerCompletion::Done), "{end:?}");
    assert!(!world.sent.iter().any(|it| matches!(it.2, Request::LeaveGroup(_))));
}

#[test]
fn the_heartbeat_thread_survives_a_missing_coordinator_while_the_application_computes() {
    let config = ConsumerConfig { max_poll_interval: Duration::from_secs(10), ..grouped() };
    let mut world = World::stable(config, 0);
    world.answer_fetch(vec![data(P0, 0, 1, 1)]);
    world.step(Input::Disconnected { peer: B2 });
    world.pass(Duration::from_secs(20));
    world.answer_find_coordinator(B1);
    let left = world.take(|it| matches!(it, Request::LeaveGroup(_)).then_some(()));
    assert_eq!(left.map(|it| it.0), Some(B1), "found too late to stay");
}

#[test]
fn a_poll_that_times_out_ends_empty_but_never_inside_a_callback() {
    let mut world = World::stable(grouped(), 0);
    world.call(ConsumerCall::PollTimeout);
    assert_eq!(world.polled().expect("poll() has ended"), []);
    world.call(ConsumerCall::PollTimeout);
    assert!(world.polled().is_none(), "nobody polls");
    world.call(ConsumerCall::Poll);
    rebalance(&mut world);
    assert_eq!(world.callback(), "revoked 0,1");
    world.call(ConsumerCall::PollTimeout);
    assert!(world.polled().is_none(), "the application is busy");
}
