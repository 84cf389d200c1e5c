//! Committed offsets, auto commit and its timing, lost answers.

use oncesim_types::{Duration, ErrorCode, LeaderEpoch, Offset};

use super::group::grouped;
use super::world::{B1, B2, P0, P1, World, data, empty, refused};
use crate::config::{ConsumerConfig, OffsetResetStrategy};
use crate::consumer::{ConsumerCall, ConsumerCompletion};
use crate::machine::Input;
use crate::message::{OffsetForLeaderEpochPartitionResponse, OffsetSpec, Request, Response};
use crate::mutation::{Mutation, Mutations};
use crate::note::{Note, ResetReason};

fn auto() -> ConsumerConfig {
    ConsumerConfig { auto_commit: true, ..grouped() }
}

/// Assigned P0 by itself, with a group for its offsets, polling; OffsetFetch is in flight.
fn assigned(config: ConsumerConfig) -> World {
    let mut world = World::new(config);
    world.call(ConsumerCall::Assign(vec![P0]));
    world.returned.clear();
    world.call(ConsumerCall::Poll);
    world.answer_find_coordinator(B2);
    world
}

#[test]
fn a_committed_offset_is_where_reading_goes_on() {
    let mut world = assigned(grouped());
    world.answer_offset_fetch(Some((7, -1)));
    assert_eq!(world.resets(), [(0, 7, ResetReason::Committed)]);
    let (_, _, fetch) = world.take_fetch().expect("a fetch");
    assert_eq!(fetch.partitions[0].fetch_offset, Offset(7));
}

#[test]
fn a_committed_epoch_is_validated_before_the_offset_counts() {
    let mut world = assigned(grouped());
    world.answer_offset_fetch(Some((7, 1)));
    assert!(world.take_fetch().is_none() && world.resets().is_empty());
    let (from, correlation, ()) = world
        .take(|it| matches!(it, Request::OffsetForLeaderEpoch(_)).then_some(()))
        .expect("the leader is asked");
    let answer = OffsetForLeaderEpochPartitionResponse {
        partition: P0,
        error: ErrorCode::None,
        leader_epoch: LeaderEpoch(1),
        end_offset: Offset(7),
    };
    world.respond((from, correlation), Response::OffsetForLeaderEpoch(vec![answer]));
    assert_eq!(world.resets(), [(0, 7, ResetReason::Committed)]);
}

#[test]
fn without_a_committed_offset_the_policy_decides() {
    use OffsetResetStrategy::{Earliest, Latest};
    for (policy, spec) in [(Earliest, OffsetSpec::Earliest), (Latest, OffsetSpec::Latest)] {
        let mut world = assigned(ConsumerConfig { auto_offset_reset: policy, ..grouped() });
        world.answer_offset_fetch(None);
        let asked = world.sent.iter().find_map(|it| match &it.2 {
            Request::ListOffsets(list) => Some(list.partitions[0].2),
            _ => None,
        });
        assert_eq!(asked, Some(spec));
        world.answer_list_offsets(3);
        assert_eq!(world.resets(), [(0, 3, ResetReason::NoCommittedOffset)]);
    }
    let none = ConsumerConfig { auto_offset_reset: OffsetResetStrategy::None, ..grouped() };
    let mut world = assigned(none);
    world.answer_offset_fetch(None);
    let (_, end) = world.returned.pop().expect("poll() fails");
    assert!(matches!(end, ConsumerCompletion::Failed(ErrorCode::OffsetOutOfRange)), "{end:?}");
}

/// What makes auto commit at-least-once for an application that processes inside its poll loop.
#[test]
fn auto_commit_covers_what_earlier_polls_returned_and_only_inside_poll() {
    let config = ConsumerConfig { max_poll_records: 2, ..auto() };
    let mut world = World::stable(config, 0);
    world.answer_fetch(vec![data(P0, 0, 6, 1)]);
    assert_eq!(world.polled().expect("the first poll"), [(0, 0), (0, 1)]);
    world.pass(Duration::from_secs(20));
    assert!(world.take_commit().is_none(), "never between polls");
    world.call(ConsumerCall::Poll);
    assert_eq!(world.polled().expect("the second poll"), [(0, 2), (0, 3)]);
    assert_eq!(world.answer_commit(ErrorCode::None), [(0, 2), (1, 0)], "the first poll's records");
    world.call(ConsumerCall::Poll);
    assert_eq!(world.polled().expect("the third poll"), [(0, 4), (0, 5)]);
    assert!(world.take_commit().is_none(), "the interval has not elapsed");
}

#[test]
fn the_interval_elapses_in_a_waiting_poll_too_and_only_while_there_is_something_to_commit() {
    let mut world = World::stable(auto(), 0);
    world.answer_fetch(vec![data(P0, 0, 3, 1)]);
    world.returned.clear();
    world.call(ConsumerCall::Poll);
    world.answer_fetch(vec![empty(P0, 3, 3)]);
    assert!(!world.consumer.idle_at_end(), "three records are not committed");
    world.millis(2_900);
    assert!(world.take_commit().is_none());
    world.millis(2_100);
    assert_eq!(world.answer_commit(ErrorCode::None), [(0, 3), (1, 0)]);
    world.pass(Duration::from_secs(20));
    assert!(world.take_commit().is_none(), "nothing new");
}

#[test]
fn auto_commits_are_told_with_their_outcome() {
    let mut world = World::stable(auto(), 0);
    world.answer_fetch(vec![data(P0, 0, 3, 1)]);
    world.call(ConsumerCall::Poll);
    world.millis(5_000);
    let (to, _, _) = world.take_commit().expect("in flight");
    world.step(Input::Disconnected { peer: to });
    let told: Vec<_> = world
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::AutoCommitInvoke { offsets, .. } => Some(format!("{} offsets", offsets.len())),
            Note::AutoCommitEnd { error, maybe_committed, .. } => {
                Some(format!("{error} maybe={maybe_committed}"))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, ["2 offsets", "NETWORK_EXCEPTION maybe=true"]);
}

/// KAFKA-18641.
#[test]
fn the_planted_auto_commit_covers_records_that_nobody_was_given() {
    let config = ConsumerConfig { max_poll_records: 2, ..auto() };
    let planted = Mutations::only(Mutation::ConsumerAutocommitFetchPosition);
    let mut world = World::with(config, planted).into_stable(0);
    world.answer_fetch(vec![data(P0, 0, 6, 1)]);
    world.pass(Duration::from_secs(20));
    world.call(ConsumerCall::Poll);
    assert_eq!(world.answer_commit(ErrorCode::None), [(0, 6), (1, 0)]);
    assert!(world.notes.iter().any(|it| matches!(it, Note::MutationHit)));
}

/// KAFKA-14196: while the commit before a revocation is under way, nothing more is returned.
#[test]
fn nothing_is_returned_between_the_commit_before_a_revocation_and_the_revocation() {
    for bug in [false, true] {
        let planted = Mutations::only(Mutation::ConsumerFetchWhileRevoking);
        let mutations = if bug { planted } else { Mutations::NONE };
        let config = ConsumerConfig { max_poll_records: 1, ..auto() };
        let mut world = World::with(config, mutations).into_stable(0);
        world.answer_fetch(vec![data(P0, 0, 2, 1)]);
        assert_eq!(world.polled().expect("records"), [(0, 0)]);
        world.millis(3_000);
        world.answer_heartbeat(ErrorCode::RebalanceInProgress);
        world.call(ConsumerCall::Poll);
        let returned = world.polled().unwrap_or_default();
        assert_eq!(returned, if bug { vec![(0, 1)] } else { vec![] });
        let hit = world.notes.iter().any(|it| matches!(it, Note::MutationHit));
        assert_eq!(hit, bug);
        assert_eq!(world.answer_commit(ErrorCode::None), [(0, 1), (1, 0)]);
        if !bug {
            assert_eq!(world.callback(), "revoked 0,1");
        }
    }
}

#[test]
fn commit_sync_is_repeated_and_remembers_that_an_attempt_may_have_counted() {
    let mut world = World::stable(grouped(), 0);
    world.answer_fetch(vec![data(P0, 0, 3, 1)]);
    world.returned.clear();
    world.call(ConsumerCall::CommitSync(None));
    let (to, _, _) = world.take_commit().expect("in flight");
    world.step(Input::Disconnected { peer: to });
    world.millis(100);
    world.answer_find_coordinator(B1);
    world.answer_commit(ErrorCode::IllegalGeneration);
    let (_, end) = world.returned.pop().expect("the commit ends");
    let ConsumerCompletion::Committed { offsets, error, maybe_committed } = end else { panic!() };
    assert_eq!(offsets, [(P0, Offset(3)), (P1, Offset(0))]);
    assert_eq!((error, maybe_committed), (ErrorCode::IllegalGeneration, true));
}

#[test]
fn commit_sync_ends_at_its_timeout() {
    let mut world = World::stable(grouped(), 0);
    world.answer_fetch(vec![data(P0, 0, 3, 1)]);
    world.returned.clear();
    world.call(ConsumerCall::CommitSync(None));
    while world.returned.is_empty()
        && world.now.since(oncesim_types::Instant::ZERO).as_millis() < 90_000
    {
        if world.take_commit().is_some() {
            world.step(Input::Disconnected { peer: B2 });
        } else if world.sent.iter().any(|it| matches!(it.2, Request::FindCoordinator(_))) {
            world.answer_find_coordinator(B2);
        }
        world.millis(100);
    }
    let (_, end) = world.returned.pop().expect("default.api.timeout.ms");
    let ConsumerCompletion::Committed { error, maybe_committed, .. } = end else { panic!() };
    assert_eq!((error, maybe_committed), (ErrorCode::RequestTimedOut, true));
}

#[test]
fn commit_async_is_not_repeated() {
    let mut world = World::stable(grouped(), 0);
    world.answer_fetch(vec![data(P0, 0, 3, 1)]);
    world.returned.clear();
    world.call(ConsumerCall::CommitAsync(None));
    world.answer_commit(ErrorCode::CoordinatorLoadInProgress);
    let (_, end) = world.returned.pop().expect("the commit ends");
    let ConsumerCompletion::Committed { error, maybe_committed, .. } = end else { panic!() };
    assert_eq!((error, maybe_committed), (ErrorCode::CoordinatorLoadInProgress, false));
}

#[test]
fn a_position_in_doubt_is_left_out_of_an_auto_commit_and_covered_by_the_next() {
    let mut world = World::stable(auto(), 0);
    world.answer_fetch(vec![data(P0, 0, 3, 1), data(P1, 0, 2, 1)]);
    world.returned.clear();
    world.call(ConsumerCall::Poll);
    world.leaders[0] = (B2, 2);
    world.answer_fetch(vec![refused(P0, 3, ErrorCode::NotLeaderOrFollower)]);
    world.millis(5_000);
    assert_eq!(world.answer_commit(ErrorCode::None), [(1, 2)], "P0 is being validated");
    let (from, correlation, ()) = world
        .take(|it| matches!(it, Request::OffsetForLeaderEpoch(_)).then_some(()))
        .expect("the new leader is asked");
    let answer = OffsetForLeaderEpochPartitionResponse {
        partition: P0,
        error: ErrorCode::None,
        leader_epoch: LeaderEpoch(1),
        end_offset: Offset(3),
    };
    world.respond((from, correlation), Response::OffsetForLeaderEpoch(vec![answer]));
    world.millis(5_000);
    assert_eq!(world.answer_commit(ErrorCode::None), [(0, 3), (1, 2)]);
}

/// A member that lost everything has nothing to commit, and does not wake up for it either.
#[test]
fn a_member_without_partitions_is_idle() {
    let mut world = World::stable(auto(), 0);
    world.answer_fetch(vec![data(P0, 0, 3, 1)]);
    world.call(ConsumerCall::Poll);
    world.millis(3_000);
    world.answer_heartbeat(ErrorCode::RebalanceInProgress);
    world.answer_commit(ErrorCode::RebalanceInProgress);
    world.callback_done();
    world.answer_join(2);
    world.answer_sync(&[]);
    world.callback_done();
    world.call(ConsumerCall::Poll);
    assert!(world.consumer.idle_at_end());
    world.pass(Duration::from_millis(2_999));
    assert!(world.take_commit().is_none());
}

#[test]
fn committed_waits_until_no_open_transaction_has_a_say() {
    use crate::message::OffsetFetchResponse;
    let mut world = World::new(grouped());
    world.call(ConsumerCall::Assign(vec![P0, P1]));
    world.returned.clear();
    let call = world.call(ConsumerCall::Committed(vec![P0, P1]));
    world.answer_find_coordinator(B2);
    let asked = |world: &mut World| {
        let taken = world.take(|it| match it {
            Request::OffsetFetch(fetch) => Some(fetch.clone()),
            _ => None,
        });
        taken.expect("the coordinator is asked")
    };
    let (from, correlation, fetch) = asked(&mut world);
    assert!(fetch.require_stable);
    let offsets = vec![
        (P0, ErrorCode::UnstableOffsetCommit, None),
        (P1, ErrorCode::None, Some((Offset(4), LeaderEpoch(1)))),
    ];
    let body = OffsetFetchResponse { error: ErrorCode::None, offsets };
    world.respond((from, correlation), Response::OffsetFetch(Box::new(body)));
    assert!(world.returned.is_empty());
    world.millis(100);
    let (from, correlation, fetch) = asked(&mut world);
    assert_eq!(fetch.partitions, [P0]);
    let offsets = vec![(P0, ErrorCode::None, None)];
    let body = OffsetFetchResponse { error: ErrorCode::None, offsets };
    world.respond((from, correlation), Response::OffsetFetch(Box::new(body)));
    let Some((id, ConsumerCompletion::Offsets(Ok(offsets)))) = world.returned.pop() else {
        panic!("committed() has not returned")
    };
    assert_eq!((id, offsets), (call, vec![(P1, Some(Offset(4))), (P0, None)]));
}
