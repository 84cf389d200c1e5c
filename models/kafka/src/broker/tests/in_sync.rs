//! Who may be in sync: KIP-841, KIP-903, and the first try at KIP-320.

use oncesim_types::{ErrorCode, LeaderEpoch, Offset};

use super::cluster::{B1, B2, B3, CONTROLLER, Cluster, P, topic};
use crate::broker::Crash;
use crate::message::{Acks, Request};
use crate::mutation::{Mutation, Mutations};

#[test]
fn kip_841_a_fenced_follower_is_not_in_sync_although_it_has_everything() {
    for (mutations, isr) in [
        (Mutations::NONE, vec![B1, B3]),
        (Mutations::only(Mutation::IsrAllowFenced), vec![B1, B2, B3]),
    ] {
        let mut t = Cluster::new(3, topic(3, 1), mutations);
        t.cut(B2, CONTROLLER);
        t.run_ms(12_000);
        assert_eq!(t.isr(), isr, "{mutations:?}");
        assert_eq!(t.hits > 0, mutations != Mutations::NONE);
    }
}

/// B2 has caught up and is about to join. While its leader's request is under way, it loses what it
/// has not flushed, and is another process when the request arrives.
fn late_alter_partition(mutations: Mutations) -> Cluster {
    let mut t = Cluster::new(2, topic(2, 1), mutations);
    t.crash(B2, Crash::Clean);
    t.run_ms(12_000);
    let batch = t.batch(None);
    assert_eq!(t.produce(B1, Acks::All, &batch), Some((ErrorCode::None, Offset(0))));
    assert_eq!(t.isr(), [B1]);
    t.delay_alter_partition();
    t.start(B2);
    t.run_ms(2_000);
    assert_eq!(t.broker(B2).log_end(P), Some(Offset(1)));
    t.crash(B2, Crash::Power(&mut |_, lo, _| lo));
    t.cut(B1, B2);
    t.run_ms(12_000);
    t.start(B2);
    t.run_ms(2_000);
    assert_eq!(t.broker(B2).log_end(P), Some(Offset(0)));
    assert_eq!(t.release_alter_partition(), 1);
    t.run_ms(100);
    t
}

#[test]
fn kip_903_a_change_keeps_the_broker_epochs_of_its_making() {
    let t = late_alter_partition(Mutations::NONE);
    assert_eq!(t.isr(), [B1]);
    let t = late_alter_partition(Mutations::only(Mutation::IsrNoBrokerEpoch));
    assert_eq!(t.isr(), [B1, B2], "in sync without an acknowledged record");
    assert!(t.hits > 0);
}

/// B2 misses two leader changes, after which B1 has another record where B2 has its own.
fn stale_follower(mutations: Mutations) -> Cluster {
    let mut t = Cluster::new(3, topic(3, 1), mutations);
    let common = t.batch(None);
    t.produce(B1, Acks::All, &common);
    t.settle();
    t.cut(B1, B3);
    let lonely = t.batch(None);
    assert_eq!(t.produce(B1, Acks::Leader, &lonely), Some((ErrorCode::None, Offset(1))));
    t.run_ms(10);
    assert_eq!(t.broker(B2).log_end(P), Some(Offset(2)));
    t.cut(B2, CONTROLLER);
    t.elect(B3);
    t.run_ms(10);
    let other = t.batch(None);
    assert_eq!(t.produce(B3, Acks::Leader, &other), Some((ErrorCode::None, Offset(1))));
    t.mend(B1, B3);
    t.run_ms(2_500);
    assert_eq!(t.records(B1), t.records(B3), "B1 follows B3");
    t.elect(B1);
    t.run_ms(3_000);
    t
}

#[test]
fn kip_320_first_try_a_follower_in_an_older_epoch_does_not_count() {
    let t = stale_follower(Mutations::NONE);
    assert_eq!(t.isr(), [B1, B2, B3]);
    assert_eq!(t.broker(B1).high_watermark(P), Some(Offset(1)), "B2 has another record there");
    let t = stale_follower(Mutations::only(Mutation::LeaderCountStaleEpochFetch));
    assert_eq!(t.isr(), [B1, B2, B3]);
    assert_eq!(t.broker(B1).high_watermark(P), Some(Offset(2)), "committed without B2");
    assert!(t.hits > 0);
}

/// B2 gave up a connection to its leader while a partition lasted, and has caught up on another
/// when what it had sent on the first one arrives.
#[test]
fn a_late_fetch_of_a_connection_that_was_given_up_does_not_lose_a_follower() {
    let mut t = Cluster::new(3, topic(3, 2), Mutations::NONE);
    let batch = t.batch(None);
    t.produce(B1, Acks::All, &batch);
    t.settle();
    let Request::Fetch(mut late) = Cluster::fetch_request(0, LeaderEpoch(0)) else {
        unreachable!("a fetch is a fetch");
    };
    late.replica = Some((B2, t.broker_epoch(B2)));
    t.ask(B1, Request::Fetch(late));
    t.run_ms(10);
    assert!(t.broker(B1).settled().is_err(), "B2 seems to have nothing");
    t.run_ms(1_000);
    assert_eq!(t.broker(B1).settled(), Ok(()), "B2 has said again what it has");
    let batch = t.batch(None);
    assert_eq!(t.produce(B1, Acks::All, &batch), Some((ErrorCode::None, Offset(1))));
    t.run_ms(60_000);
    assert_eq!(t.isr(), [B1, B2, B3]);
}
