//! Acknowledgements, min.insync.replicas, deduplication and flushing.

use std::rc::Rc;

use oncesim_types::{ErrorCode, LeaderEpoch, Offset};

use super::cluster::{B1, B2, B3, Cluster, P, id_of, topic};
use crate::broker::Crash;
use crate::config::BrokerConfig;
use crate::log::batch::RecordBatch;
use crate::message::{Acks, InitProducerIdRequest, Request, Response};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;

/// A batch is acknowledged by B1, B2 takes over, and the client sends the batch again.
fn retry_after_failover(mutations: Mutations) -> (Cluster, Rc<RecordBatch>, ErrorCode) {
    let mut t = Cluster::new(3, topic(3, 2), mutations);
    let batch = t.batch(Some((1000, 0, 0)));
    assert_eq!(t.produce(B1, Acks::All, &batch), Some((ErrorCode::None, Offset(0))));
    t.crash(B1, Crash::Process);
    t.run_ms(12_000);
    let leader = t.leader().unwrap();
    let (error, _) = t.produce(leader, Acks::All, &batch).unwrap();
    t.start(B1);
    t.settle();
    (t, batch, error)
}

#[test]
fn a_new_leader_recognises_the_duplicate() {
    let copies = |t: &Cluster, batch: &RecordBatch| {
        t.records(B2).iter().filter(|record| **record == id_of(batch)).count()
    };
    let (t, batch, error) = retry_after_failover(Mutations::NONE);
    assert_eq!((error, copies(&t, &batch)), (ErrorCode::None, 1));
    let planted = Mutations::only(Mutation::PsmDropOnFailover);
    let (t, batch, error) = retry_after_failover(planted);
    assert_eq!((error, copies(&t, &batch)), (ErrorCode::None, 2));
    assert!(t.hits > 0);
    let (t, batch, error) = retry_after_failover(Mutations::only(Mutation::PsmNoDupCache));
    assert_eq!((error, copies(&t, &batch)), (ErrorCode::OutOfOrderSequenceNumber, 1));
    assert!(t.hits > 0);
}

#[test]
fn kip_207_a_new_leader_does_not_say_that_its_log_ends_before_what_was_acknowledged() {
    let mut t = Cluster::new(3, topic(3, 2), Mutations::NONE);
    let batch = t.batch(Some((1000, 0, 0)));
    assert_eq!(t.produce(B1, Acks::All, &batch), Some((ErrorCode::None, Offset(0))));
    assert_eq!(t.broker(B1).latest_offset(P), Some(Offset(1)));
    assert_eq!(t.broker(B2).latest_offset(P), None, "a follower does not say");
    t.crash(B1, Crash::Process);
    for _ in 0..12_000 {
        t.run_ms(1);
        for id in [B2, B3] {
            assert_ne!(t.broker(id).latest_offset(P), Some(Offset(0)));
        }
    }
    let leader = t.leader().unwrap();
    assert_eq!(t.broker(leader).latest_offset(P), Some(Offset(1)));
}

#[test]
fn a_sequence_gap_is_refused_unless_the_check_is_missing() {
    for (mutations, expected) in [
        (Mutations::NONE, ErrorCode::OutOfOrderSequenceNumber),
        (Mutations::only(Mutation::PsmAcceptNonzeroFirstSequence), ErrorCode::None),
    ] {
        let mut t = Cluster::new(1, topic(1, 1), mutations);
        let (first, third) = (t.batch(Some((1000, 0, 0))), t.batch(Some((1000, 0, 2))));
        assert_eq!(t.produce(B1, Acks::All, &first).unwrap().0, ErrorCode::None);
        assert_eq!(t.produce(B1, Acks::All, &third).unwrap().0, expected);
    }
}

#[test]
fn too_few_in_sync_replicas_refuse_acks_all_only() {
    let mut t = Cluster::new(3, topic(3, 2), Mutations::NONE);
    t.crash(B2, Crash::Process);
    t.crash(B3, Crash::Process);
    t.run_ms(12_000);
    assert_eq!(t.isr(), [B1]);
    let batch = t.batch(None);
    assert_eq!(t.produce(B1, Acks::All, &batch).unwrap().0, ErrorCode::NotEnoughReplicas);
    assert_eq!(t.broker(B1).log_end(P), Some(Offset(0)), "nothing was appended");
    assert_eq!(t.produce(B1, Acks::Leader, &batch), Some((ErrorCode::None, Offset(0))));
    assert_eq!(t.fetch(B1, 0, LeaderEpoch::NONE), Some((ErrorCode::None, vec![])), "KIP-966");
}

/// The in-sync set shrinks below the minimum while an acks=all batch waits.
fn shrunk_while_waiting(mutations: Mutations) -> (Cluster, ErrorCode) {
    let mut t = Cluster::new(2, topic(2, 2), mutations);
    t.crash(B2, Crash::Process);
    let batch = t.batch(None);
    let (error, offset) = t.produce(B1, Acks::All, &batch).unwrap();
    assert_eq!(offset, Offset::UNKNOWN);
    assert_eq!(t.records(B1), [id_of(&batch)], "it stays in the log");
    (t, error)
}

#[test]
fn kip_966_under_the_minimum_the_high_watermark_stands_still() {
    let (t, error) = shrunk_while_waiting(Mutations::NONE);
    assert_eq!(error, ErrorCode::RequestTimedOut);
    assert_eq!(t.broker(B1).high_watermark(P), Some(Offset(0)));
    // Without that rule the batch is committed by too few, and the client is told so.
    let (t, error) = shrunk_while_waiting(Mutations::only(Mutation::HwIgnoreMinIsr));
    assert_eq!(error, ErrorCode::NotEnoughReplicasAfterAppend);
    assert!(t.hits > 0 && t.broker(B1).high_watermark(P) == Some(Offset(1)));
}

#[test]
fn acks_all_waits_for_the_high_watermark_unless_the_wait_is_missing() {
    for (mutations, answered) in
        [(Mutations::NONE, false), (Mutations::only(Mutation::AckBeforeHighWatermark), true)]
    {
        let mut t = Cluster::new(2, topic(2, 1), mutations);
        t.cut(B1, B2);
        let batch = t.batch(None);
        let correlation = t.ask(B1, Cluster::produce_request(Acks::All, &batch));
        t.run_ms(1_000);
        assert_eq!(t.responses.contains_key(&correlation), answered);
    }
}

#[test]
fn a_consumer_reads_up_to_the_high_watermark_unless_the_bound_is_missing() {
    for (mutations, offsets) in
        [(Mutations::NONE, vec![]), (Mutations::only(Mutation::FetchReadAboveHw), vec![0])]
    {
        let mut t = Cluster::new(2, topic(2, 1), mutations);
        t.cut(B1, B2);
        let batch = t.batch(None);
        t.produce(B1, Acks::Leader, &batch);
        assert_eq!(t.fetch(B1, 0, LeaderEpoch::NONE), Some((ErrorCode::None, offsets)));
    }
}

#[test]
fn a_waiting_fetch_is_answered_as_soon_as_the_high_watermark_moves() {
    let mut t = Cluster::new(3, topic(3, 2), Mutations::NONE);
    let fetch = t.ask(B1, Cluster::fetch_request(0, LeaderEpoch::NONE));
    t.run_ms(5_000);
    assert!(!t.responses.contains_key(&fetch));
    let batch = t.batch(None);
    t.produce(B1, Acks::All, &batch);
    t.run_ms(2);
    assert!(t.responses.contains_key(&fetch));
}

#[test]
fn a_flush_is_part_of_the_append_that_is_due_for_it() {
    let mut config = topic(1, 1);
    config.flush_messages = Some(2);
    let mut t = Cluster::new(1, config, Mutations::NONE);
    let batch = t.batch(None);
    t.produce(B1, Acks::Leader, &batch);
    let sent = t.now;
    let batch = t.batch(None);
    t.produce(B1, Acks::Leader, &batch);
    assert!(t.now.since(sent).as_millis() >= 4, "1 ms there, 2 ms for the disk, 1 ms back");
    assert!(t.notes.iter().any(|(_, note)| matches!(note, Note::Flushed { to: Offset(2), .. })));
    let batch = t.batch(None);
    t.produce(B1, Acks::Leader, &batch);
    let mut bounds = Vec::new();
    t.crash(
        B1,
        Crash::Power(&mut |_, lo, hi| {
            bounds.push((lo, hi));
            lo
        }),
    );
    assert_eq!(bounds, [(Offset(2), Offset(3))]);
}

#[test]
fn a_lost_flush_is_acknowledged_but_not_on_the_platter() {
    let mut config = topic(1, 1);
    config.flush_messages = Some(1);
    let mut t = Cluster::new(1, config, Mutations::NONE);
    t.broker_mut(B1).set_lost_flush(true);
    let batch = t.batch(None);
    assert_eq!(t.produce(B1, Acks::All, &batch), Some((ErrorCode::None, Offset(0))));
    t.crash(B1, Crash::Power(&mut |_, lo, _| lo));
    t.run_ms(12_000);
    t.start(B1);
    t.settle();
    assert!(t.records(B1).is_empty());
}

#[test]
fn producer_ids_are_unique_across_brokers() {
    let mut t = Cluster::new(2, topic(2, 1), Mutations::NONE);
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout: BrokerConfig::default().broker_session_timeout,
        current: None,
    };
    let mut ids = Vec::new();
    for broker in [B1, B1, B2, B1] {
        let Some(Response::InitProducerId(answer)) =
            t.call(broker, Request::InitProducerId(request))
        else {
            panic!("a broker answers");
        };
        assert_eq!(answer.error, ErrorCode::None);
        ids.push(answer.producer_id.0);
    }
    assert_eq!(ids[1], ids[0] + 1);
    assert_eq!(ids[3], ids[1] + 1);
    assert_eq!(ids[2] - ids[0], 1000, "another block");
}
