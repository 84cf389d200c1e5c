//! Fetch sessions, the buffer, positions and their resets, without a group.

use std::rc::Rc;

use oncesim_types::{Duration, ErrorCode, LeaderEpoch, Offset, ProducerId, TransactionResult};

use super::world::{B1, B2, P0, P1, World, config, data, empty, refused};
use crate::config::ConsumerConfig;
use crate::consumer::ConsumerCall;
use crate::log::batch::{EndTransactionMarker, LogBatch, RecordBatch, Records};
use crate::machine::Input;
use crate::message::{
    AbortedTransaction, FetchResponse, IsolationLevel, OffsetForLeaderEpochPartitionResponse,
    Request, Response,
};
use crate::note::ResetReason;

/// Assigned both partitions, polling, positions at `offset`, the first fetch in flight.
fn fetching_from(offset: i64, config: ConsumerConfig) -> World {
    let mut world = World::new(config);
    world.call(ConsumerCall::Assign(vec![P1, P0]));
    world.call(ConsumerCall::SeekToBeginning);
    world.returned.clear();
    world.call(ConsumerCall::Poll);
    world.answer_list_offsets(offset);
    world
}

#[test]
fn a_reader_without_group_drains_the_partitions_and_knows_when_it_is_done() {
    let mut world = fetching_from(0, config());
    assert_eq!(world.resets(), [(0, 0, ResetReason::Seek), (1, 0, ResetReason::Seek)]);
    let fetched = [&world.sent[0].2].map(|it| match it {
        Request::Fetch(fetch) => (fetch.full, fetch.partitions.len()),
        other => panic!("{other:?}"),
    });
    assert_eq!(fetched, [(true, 2)]);
    world.answer_fetch(vec![data(P0, 0, 3, 1), empty(P1, 0, 0)]);
    assert_eq!(world.polled().expect("records"), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!(world.consumer.position(P0), Some(Offset(3)));
    assert_eq!(world.consumer.end_offset(P0), Some(Offset(3)));
    assert_eq!(world.consumer.end_offset(P1), Some(Offset(0)), "an empty partition has an end");
    let (_, _, fetch) = world.take_fetch().expect("the next fetch goes out before poll() returns");
    assert!(!fetch.full);
    let changes: Vec<_> =
        fetch.partitions.iter().map(|it| (it.partition, it.fetch_offset)).collect();
    assert_eq!(changes, [(P0, Offset(3))], "only what changed");
}

#[test]
fn max_poll_records_splits_a_batch_and_the_broker_is_left_alone_until_it_is_returned() {
    let mut world = fetching_from(0, ConsumerConfig { max_poll_records: 2, ..config() });
    world.answer_fetch(vec![data(P0, 0, 3, 1), data(P1, 0, 2, 1)]);
    assert_eq!(world.polled().expect("records"), [(0, 0), (0, 1)]);
    assert_eq!(world.consumer.position(P0), Some(Offset(2)), "only what was returned counts");
    world.call(ConsumerCall::Poll);
    assert_eq!(world.polled().expect("records"), [(0, 2), (1, 0)]);
    assert!(world.take_fetch().is_none(), "data of this broker is still buffered");
    world.call(ConsumerCall::Poll);
    assert_eq!(world.polled().expect("records"), [(1, 1)]);
    assert!(world.take_fetch().is_some());
}

#[test]
fn a_waiting_reader_wakes_nobody() {
    let mut world = fetching_from(0, config());
    world.answer_fetch(vec![empty(P0, 0, 0), empty(P1, 0, 0)]);
    world.take_fetch().expect("a long poll");
    world.pass(Duration::from_secs(19));
    assert!(world.sent.is_empty() && world.returned.is_empty(), "{:?}", world.sent);
}

#[test]
fn a_seek_drops_what_is_buffered_and_what_is_still_under_way() {
    let mut world = fetching_from(0, ConsumerConfig { max_poll_records: 1, ..config() });
    world.answer_fetch(vec![data(P0, 0, 2, 1)]);
    assert_eq!(world.polled().expect("records"), [(0, 0)]);
    world.resets();
    world.call(ConsumerCall::Seek(P0, Offset(7)));
    world.returned.clear();
    assert_eq!(world.resets(), [(0, 7, ResetReason::Seek)]);
    world.call(ConsumerCall::Poll);
    assert!(world.returned.is_empty(), "offset 1 was buffered, but nobody wants it any more");
    let (_, _, fetch) = world.take_fetch().expect("the fetch from the new position");
    assert_eq!(fetch.partitions[0].fetch_offset, Offset(7));
}

#[test]
fn out_of_range_resets_by_policy_unless_the_position_moved_meanwhile() {
    let mut world = fetching_from(4, config());
    world.resets();
    world.answer_fetch(vec![refused(P0, 3, ErrorCode::OffsetOutOfRange)]);
    assert_eq!(world.consumer.position(P0), Some(Offset(4)), "an answer to an older question");
    world.answer_fetch(vec![refused(P0, 4, ErrorCode::OffsetOutOfRange)]);
    assert_eq!(world.consumer.position(P0), None);
    world.answer_list_offsets(9);
    assert_eq!(world.resets(), [(0, 9, ResetReason::OutOfRange)]);
}

/// KIP-320: the reader is at 5 in epoch 1, the new leader's epoch 1 ended at 3.
#[test]
fn a_new_leader_whose_log_is_shorter_takes_the_position_back() {
    let mut world = fetching_from(0, config());
    world.resets();
    world.answer_fetch(vec![data(P0, 0, 5, 1), empty(P1, 0, 0)]);
    world.call(ConsumerCall::Poll);
    world.returned.clear();
    world.leaders[0] = (B2, 2);
    world.answer_fetch(vec![refused(P0, 5, ErrorCode::FencedLeaderEpoch)]);
    world.millis(100); // the metadata backoff
    let (to, correlation, asked) = world
        .take(|it| match it {
            Request::OffsetForLeaderEpoch(it) => Some(it.partitions.clone()),
            _ => None,
        })
        .expect("the position is validated before the next fetch");
    assert_eq!((to, &asked[..]), (B2, &[(P0, LeaderEpoch(2), LeaderEpoch(1))][..]));
    assert_eq!(world.consumer.position(P0), None, "no position counts meanwhile");
    let answer = OffsetForLeaderEpochPartitionResponse {
        partition: P0,
        error: ErrorCode::None,
        leader_epoch: LeaderEpoch(1),
        end_offset: Offset(3),
    };
    world.respond((to, correlation), Response::OffsetForLeaderEpoch(vec![answer]));
    assert_eq!(world.resets(), [(0, 3, ResetReason::Truncated)]);
    let fetches: Vec<_> = std::iter::from_fn(|| world.take_fetch()).collect();
    let to_b2 = fetches.iter().find(|it| it.0 == B2).expect("a fetch from the new leader");
    assert_eq!(to_b2.2.partitions[0].fetch_offset, Offset(3));
    let to_b1 = fetches.iter().rfind(|it| it.0 == B1).expect("P1 still lives there");
    assert!(!to_b1.2.partitions.iter().any(|it| it.partition == P0));
}

#[test]
fn a_broken_connection_ends_the_session_and_backs_off() {
    let mut world = fetching_from(0, config());
    world.take_fetch().expect("in flight");
    world.step(Input::Disconnected { peer: B1 });
    assert!(world.take_fetch().is_none(), "not before the reconnect backoff");
    world.millis(50);
    let (_, _, fetch) = world.take_fetch().expect("again");
    assert!(fetch.full && fetch.partitions.len() == 2);
}

/// A broker may hold an empty fetch for long; a partition that joins the session need not wait.
#[test]
fn a_fetch_that_is_held_for_long_is_overtaken_when_the_session_has_to_change() {
    let mut world = World::new(config());
    world.call(ConsumerCall::Assign(vec![P0]));
    world.call(ConsumerCall::Seek(P0, Offset(0)));
    world.returned.clear();
    world.call(ConsumerCall::Poll);
    let (held_by, held, _) = world.take_fetch().expect("held by the broker");
    world.call(ConsumerCall::Assign(vec![P0, P1]));
    world.answer_list_offsets(4);
    assert!(world.take_fetch().is_none(), "not within fetch.max.wait.ms");
    world.millis(500);
    let (_, _, fetch) = world.take_fetch().expect("overtakes");
    let added: Vec<_> = fetch.partitions.iter().map(|it| it.partition).collect();
    assert_eq!((fetch.full, &added[..]), (false, &[P1][..]));
    let body = FetchResponse { to_replica: false, partitions: vec![data(P0, 0, 1, 1)] };
    world.returned.clear();
    world.respond((held_by, held), Response::Fetch(Box::new(body)));
    assert_eq!(world.polled().expect("its data counts all the same"), [(0, 0)]);
    assert!(world.take_fetch().is_none(), "the younger one is still in flight");
}

#[test]
fn read_committed_skips_aborted_records_and_markers_without_losing_its_place() {
    let isolation = IsolationLevel::ReadCommitted;
    let mut world = fetching_from(0, ConsumerConfig { isolation, ..config() });
    let aborted = AbortedTransaction { producer_id: ProducerId(1), first_offset: Offset(0) };
    let mut fetched = empty(P0, 0, 9);
    fetched.aborted = vec![aborted];
    fetched.batches = vec![
        transactional(0, 1, 2, None),
        transactional(2, 2, 2, None),
        transactional(4, 1, 1, Some(TransactionResult::Abort)),
        transactional(5, 1, 2, None),
        transactional(7, 1, 1, Some(TransactionResult::Commit)),
        transactional(8, 2, 1, Some(TransactionResult::Commit)),
    ];
    world.answer_fetch(vec![fetched]);
    assert_eq!(world.polled().expect("records"), [(0, 2), (0, 3), (0, 5), (0, 6)]);
    assert_eq!(world.consumer.position(P0), Some(Offset(9)));
}

fn transactional(
    at: i64,
    producer: i64,
    count: i64,
    marker: Option<TransactionResult>,
) -> LogBatch {
    let plain = data(P0, at, count, 1).batches.remove(0);
    let batch = RecordBatch {
        producer_id: ProducerId(producer),
        transactional: true,
        records: marker.map_or(plain.batch.records.clone(), |result| {
            Records::Control(EndTransactionMarker { result, coordinator_epoch: LeaderEpoch(0) })
        }),
        ..(*plain.batch).clone()
    };
    LogBatch { batch: Rc::new(batch), ..plain }
}
