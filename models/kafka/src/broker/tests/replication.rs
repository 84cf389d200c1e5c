//! The stories of KIP-101, KIP-279, KIP-320, KIP-966 and of in-sync replicas.

use oncesim_types::{Duration, ErrorCode, LeaderEpoch, Offset};

use super::cluster::{B1, B2, B3, CONTROLLER, Cluster, P, id_of, topic};
use crate::broker::Crash;
use crate::message::Acks;
use crate::mutation::{Mutation, Mutations};

#[test]
fn followers_copy_and_the_high_watermark_follows() {
    let mut t = Cluster::new(3, topic(3, 2), Mutations::NONE);
    for n in 0..5 {
        let batch = t.batch(None);
        assert_eq!(t.produce(B1, Acks::All, &batch), Some((ErrorCode::None, Offset(n))));
    }
    t.settle();
    for broker in [B1, B2, B3] {
        assert_eq!(t.broker(broker).log_end(P), Some(Offset(5)));
        assert_eq!(t.broker(broker).high_watermark(P), Some(Offset(5)));
    }
    assert_eq!(t.fetch(B1, 2, LeaderEpoch::NONE), Some((ErrorCode::None, vec![2, 3, 4])));
}

#[test]
fn an_idle_cluster_only_sends_heartbeats() {
    let mut t = Cluster::new(3, topic(3, 2), Mutations::NONE);
    t.run_ms(60_000);
    let before = t.messages;
    t.run_ms(60_000);
    // 30 heartbeats of 3 brokers with their answers, and at most 4 fetches of 2 followers.
    let count = t.messages - before;
    assert!((180..=180 + 16).contains(&count), "{count} messages in a minute");
}

/// Two leader changes in a row, while the followers have not heard of the high watermark.
fn kip_101(mutations: Mutations) -> (Cluster, bool) {
    let mut t = Cluster::new(3, topic(3, 2), mutations);
    let first = t.batch(None);
    t.produce(B1, Acks::All, &first);
    t.settle();
    let second = t.batch(None);
    assert_eq!(t.produce(B1, Acks::All, &second), Some((ErrorCode::None, Offset(1))));
    assert_eq!(t.broker(B2).high_watermark(P), Some(Offset(1)), "it lags");
    t.elect(B3);
    t.elect(B2);
    t.settle();
    let survives = t.records(B2).contains(&id_of(&second));
    (t, survives)
}

#[test]
fn kip_101_an_acknowledged_record_survives_a_follower_with_a_lagging_high_watermark() {
    let (t, survives) = kip_101(Mutations::NONE);
    assert!(survives && t.logs_agree());
    let (t, survives) = kip_101(Mutations::only(Mutation::ReplTruncateToHighWatermark));
    assert!(!survives && t.hits > 0);
}

/// B1 writes two records that B2 never sees, B2 leads and writes one, B1 leads again.
fn kip_279(mutations: Mutations) -> Cluster {
    let mut t = Cluster::new(2, topic(2, 1), mutations);
    let common = t.batch(None);
    t.produce(B1, Acks::All, &common);
    t.settle();
    t.cut(B1, B2);
    for _ in 0..2 {
        let lonely = t.batch(None);
        assert_eq!(t.produce(B1, Acks::Leader, &lonely).unwrap().0, ErrorCode::None);
    }
    t.elect(B2);
    t.run_ms(10);
    let other = t.batch(None);
    assert_eq!(t.produce(B2, Acks::Leader, &other), Some((ErrorCode::None, Offset(1))));
    t.elect(B1);
    t.run_ms(10);
    t.heal();
    t.run_ms(5_000);
    t
}

#[test]
fn kip_279_fast_leader_changes_do_not_make_logs_diverge() {
    let mut t = kip_279(Mutations::NONE);
    t.settle();
    assert!(t.logs_agree());
    assert_eq!(t.broker(B2).log_end(P), Some(Offset(3)));
    let t = kip_279(Mutations::only(Mutation::ReplEpochReplyWithoutEpoch));
    assert!(!t.logs_agree() && t.hits > 0);
}

/// The controller fences B1, which does not know and goes on leading.
fn deposed_leader(mutations: Mutations) -> Cluster {
    let mut t = Cluster::new(3, topic(3, 1), mutations);
    let batch = t.batch(None);
    t.produce(B1, Acks::All, &batch);
    t.settle();
    for other in [CONTROLLER, B2, B3] {
        t.cut(B1, other);
    }
    t.run_ms(12_000);
    assert_eq!(t.leader(), Some(B2));
    assert!(t.broker(B1).is_leader(P).is_some() && t.broker(B2).is_leader(P).is_some());
    t
}

#[test]
fn kip_320_a_deposed_leader_does_not_serve_who_knows_a_newer_epoch() {
    let mut t = deposed_leader(Mutations::NONE);
    let (old, new) = (t.broker(B1).is_leader(P).unwrap(), t.broker(B2).is_leader(P).unwrap());
    assert_eq!(t.fetch(B1, 0, new), Some((ErrorCode::UnknownLeaderEpoch, vec![])));
    assert_eq!(t.fetch(B2, 0, old), Some((ErrorCode::FencedLeaderEpoch, vec![])));
    assert_eq!(t.fetch(B2, 0, new), Some((ErrorCode::None, vec![0])));
    let mut t = deposed_leader(Mutations::only(Mutation::FetchNoEpochCheck));
    assert_eq!(t.fetch(B1, 0, new), Some((ErrorCode::None, vec![0])));
}

#[test]
fn a_deposed_leader_truncates_what_only_it_has() {
    let mut t = deposed_leader(Mutations::NONE);
    let lonely = t.batch(None);
    assert_eq!(t.produce(B1, Acks::Leader, &lonely), Some((ErrorCode::None, Offset(1))));
    let kept = t.batch(None);
    assert_eq!(t.produce(B2, Acks::All, &kept), Some((ErrorCode::None, Offset(1))));
    t.heal();
    t.settle();
    assert!(t.logs_agree());
    assert!(t.records(B1).contains(&id_of(&kept)) && !t.records(B1).contains(&id_of(&lonely)));
}

/// KAFKA-7164: the leader loses its unflushed tail and leads again, its follower never stops.
fn same_leader_again(mutations: Mutations) -> Cluster {
    let mut config = topic(2, 1);
    config.unclean_leader_election = true;
    let mut t = Cluster::new(2, config, mutations);
    let first = t.batch(None);
    t.produce(B1, Acks::All, &first);
    t.settle();
    // B2 does not hear that nobody leads in between.
    t.cut(B2, CONTROLLER);
    t.run_ms(1);
    t.crash(B1, Crash::Power(&mut |_, lo, _| lo));
    t.run_ms(20_000);
    t.start(B1);
    t.run_ms(20_000);
    assert_eq!(t.broker(B1).log_end(P), Some(Offset(0)), "it lost everything");
    for _ in 0..2 {
        let other = t.batch(None);
        assert_eq!(t.produce(B1, Acks::Leader, &other).unwrap().0, ErrorCode::None);
    }
    t.heal();
    t.run_ms(20_000);
    t
}

#[test]
fn kafka_7164_a_follower_truncates_for_the_same_leader_too() {
    let t = same_leader_again(Mutations::NONE);
    assert!(t.logs_agree());
    let t = same_leader_again(Mutations::only(Mutation::ReplTruncateOnlyOnLeaderChange));
    assert!(!t.logs_agree() && t.hits > 0);
}

#[test]
fn a_replica_that_stays_away_leaves_the_isr_and_comes_back() {
    let mut t = Cluster::new(3, topic(3, 2), Mutations::NONE);
    t.crash(B3, Crash::Process);
    t.run_ms(12_000);
    assert_eq!(t.isr(), [B1, B2]);
    let batch = t.batch(None);
    assert_eq!(t.produce(B1, Acks::All, &batch), Some((ErrorCode::None, Offset(0))));
    t.start(B3);
    t.settle();
    assert_eq!(t.isr(), [B1, B2, B3]);
    assert!(t.logs_agree());
}

#[test]
fn a_follower_that_cannot_reach_its_leader_is_shrunk_by_it() {
    let mut t = Cluster::new(3, topic(3, 2), Mutations::NONE);
    t.cut(B1, B3);
    let batch = t.batch(None);
    let request = Cluster::produce_request(Acks::All, &batch);
    let correlation = t.ask(B1, request);
    t.run_ms(29_000);
    assert!(!t.responses.contains_key(&correlation), "B3 is still in sync");
    t.run_ms(31_000);
    assert_eq!(t.isr(), [B1, B2]);
    assert_eq!(t.broker(B1).high_watermark(P), Some(Offset(1)));
    t.heal();
    t.settle();
    assert_eq!(t.isr(), [B1, B2, B3]);
}

#[test]
fn a_clean_leader_change_by_controlled_shutdown_loses_nothing() {
    let mut t = Cluster::new(3, topic(3, 2), Mutations::NONE);
    let batch = t.batch(None);
    t.produce(B1, Acks::All, &batch);
    let mut effects = crate::machine::Effects::default();
    let now = t.now;
    t.broker_mut(B1).shutdown(now, &mut effects);
    // The heartbeat that asks for it goes out with the next one, too.
    t.run_ms(10_000);
    assert_ne!(t.leader(), Some(B1), "the leaders moved away");
    t.crash(B1, Crash::Clean);
    t.start(B1);
    t.settle();
    assert!(t.logs_agree() && t.records(B2) == [id_of(&batch)]);
}

#[test]
fn power_takes_the_unflushed_suffix_and_replication_restores_it() {
    let mut t = Cluster::new(3, topic(3, 2), Mutations::NONE);
    for _ in 0..3 {
        let batch = t.batch(None);
        t.produce(B1, Acks::All, &batch);
    }
    let mut asked = Vec::new();
    t.crash(
        B1,
        Crash::Power(&mut |p, lo, hi| {
            asked.push((p, lo, hi));
            Offset(1)
        }),
    );
    assert_eq!(asked, [(P, Offset(0), Offset(3))]);
    t.run_for(Duration::from_secs(12));
    t.start(B1);
    t.settle();
    assert!(t.logs_agree());
    assert_eq!(t.broker(B1).log_end(P), Some(Offset(3)));
}
