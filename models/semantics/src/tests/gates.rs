//! How configuration, faults, doubt and the engine's own word bear on a verdict.

use oncesim_history::{ClientKind, HistoryBuilder, Outcome, PositionReason, WorldEvent};
use oncesim_types::{CallId, ErrorCode, Offset, TransactionResult};

use super::rows::{Scene, committed};
use super::{check, ids, orders};
use crate::Severity::{Always, Legal, UnderThisConfiguration};

#[test]
fn the_word_of_the_engine_counts_once() {
    let mut s = Scene::new();
    s.high_watermark(0, 4, true, 2);
    s.leads(1, 1, 3);
    s.world(
        1,
        WorldEvent::InvariantBroken {
            id: "leader-incomplete",
            partition: Some(orders(0)),
            offset: Some(Offset(3)),
            detail: "b2 leads without offset 3".to_owned(),
        },
    );
    let verdict = check(&s.b.finish());
    let anomaly = super::found(&verdict, "leader-incomplete");
    assert_eq!(anomaly.count, 1);
    assert!(anomaly.witness.sentence.starts_with("orders-0: b2 leads without offset 3"));
}

#[test]
fn power_failures_within_the_tolerance_do_not_excuse_a_loss() {
    for (lossy, severity) in [(0, Always), (1, UnderThisConfiguration), (2, Legal)] {
        let mut s = Scene::new();
        let r = s.acked(1);
        s.high_watermark(0, 0, true, 2);
        for broker in 0..lossy {
            s.world(broker, WorldEvent::DiskLoss { partition: orders(0), to: Offset(0) });
        }
        assert_eq!(r.len(), 1);
        let verdict = check(&s.drained(&[]));
        assert_eq!(super::found(&verdict, "lost-write-final").severity, severity);
    }
}

#[test]
fn a_commit_of_unknown_outcome_may_or_may_not_count() {
    for (first, anomaly) in
        [(1, None), (3, None), (0, Some("resume-rewind")), (4, Some("resume-skip"))]
    {
        let mut s = Scene::new();
        let r = s.acked(6);
        committed(&mut s, 1);
        let call = s.b.commit_begin(s.mailer[0], &[(orders(0), 3)], true);
        s.b.commit_end(s.mailer[0], call, Outcome::Info(ErrorCode::NetworkException));
        s.b.assigned(s.mailer[1], 2, &[orders(0)], &[orders(0)]);
        s.poll(1, &[(first, r[usize::try_from(first).unwrap()])]);
        let verdict = check(&s.drained(&r));
        let resumes: Vec<_> =
            ids(&verdict).into_iter().filter(|id| id.starts_with("resume")).collect();
        assert_eq!(resumes, anomaly.into_iter().collect::<Vec<_>>(), "resumed at {first}");
    }
}

#[test]
fn an_end_without_a_beginning_voids_the_verdict() {
    let mut s = Scene::new();
    let r = s.acked(1);
    s.b.client(s.mailer[0], ClientKind::CommitEnd { call: CallId(99), outcome: Outcome::Ok });
    let verdict = check(&s.drained(&r));
    super::found(&verdict, "history-malformed");
    assert_eq!(super::cells(&verdict, crate::Level::Log), "uuu");
}

#[test]
fn a_reference_to_nothing_is_reported_and_does_not_panic() {
    let mut s = Scene::new();
    let records = oncesim_history::SpanIndex { start: u32::MAX, len: 2 };
    s.b.client(s.mailer[0], ClientKind::PollEnd { group: None, records });
    super::found(&check(&s.b.finish()), "history-malformed");
}

#[test]
fn a_poll_that_returned_nothing_need_not_have_an_end() {
    let mut s = Scene::new();
    let r = s.acked(1);
    s.b.client(s.mailer[0], ClientKind::PollInvoke);
    s.poll(0, &[(0, r[0])]);
    assert!(!ids(&check(&s.drained(&r))).contains(&"history-malformed"));
}

#[test]
fn in_a_world_that_never_came_to_rest_what_is_missing_may_be_late() {
    for (committed_to, restless, lost) in [(0, false, 2), (0, true, 0), (1, true, 1)] {
        let mut s = Scene::new();
        let r = s.acked(3);
        s.append(0, 0, 0, &r);
        if committed_to > 0 {
            committed(&mut s, committed_to);
        }
        s.b.client(s.mailer[0], ClientKind::Subscribe { group: s.group });
        if restless {
            s.world(0, WorldEvent::NotSettled);
        }
        let verdict = check(&s.drained(&r[..2]));
        let count = |id| verdict.anomalies.iter().find(|a| a.id() == id).map_or(0, |a| a.count);
        assert_eq!(count("lost-processing"), lost);
        assert_eq!(count("lost-write-final"), u64::from(!restless));
        let log = if restless { "uuu" } else { "hvv" };
        assert_eq!(super::cells(&verdict, crate::Level::Log), log);
    }
}

#[test]
fn a_lost_record_is_not_overtaken_by_the_one_that_got_an_offset_after_it() {
    let mut s = Scene::new();
    let kept = s.b.send(s.shop, orders(0));
    let lost = s.b.send(s.shop, orders(0));
    s.b.acked(kept, orders(0), 0);
    s.b.acked(lost, orders(0), 7);
    let next = s.b.send(s.shop, orders(0));
    s.b.acked(next, orders(0), 1);
    let verdict = check(&s.drained(&[kept, next]));
    assert_eq!(ids(&verdict), ["lost-write-final"]);
    assert_eq!(verdict.guarantees.ordering, crate::Holds::Holds);
}

#[test]
fn a_broker_that_wakes_up_after_its_time_leads_nobody() {
    let mut s = Scene::new();
    s.leads(0, 3, 0);
    s.high_watermark(0, 4, true, 2);
    s.leads(1, 2, 3);
    assert!(!ids(&check(&s.b.finish())).contains(&"leader-incomplete"));
}

#[test]
fn in_different_generations_there_is_one_owner_and_a_zombie() {
    for (first, second, found) in [
        (2, 2, "double-ownership"),
        (2, 3, "zombie-ownership"),
        // A sleeper wakes up between the coordinator's answer and its callback.
        (4, 2, "zombie-ownership"),
    ] {
        let mut s = Scene::new();
        s.b.assigned(s.mailer[0], first, &[orders(0)], &[orders(0)]);
        s.b.assigned(s.mailer[1], second, &[orders(0)], &[orders(0)]);
        let verdict = check(&s.b.finish());
        let owners: Vec<_> =
            ids(&verdict).into_iter().filter(|id| id.ends_with("ownership")).collect();
        assert_eq!(owners, [found], "generation {first}, then {second}");
    }
}

#[test]
fn the_owner_of_the_latest_generation_stays_the_owner() {
    let mut s = Scene::new();
    s.b.assigned(s.mailer[0], 4, &[orders(0)], &[orders(0)]);
    s.b.assigned(s.mailer[1], 2, &[orders(0)], &[orders(0)]);
    s.b.assigned(s.mailer[1], 4, &[orders(0)], &[orders(0)]);
    let verdict = check(&s.b.finish());
    super::found(&verdict, "double-ownership");
}

#[test]
fn a_deposed_coordinator_takes_nothing_back() {
    for (epoch, found) in [(0, None), (1, Some("offset-commit-regress"))] {
        let mut s = Scene::new();
        s.accepted_in_epoch(1, 1, (2, 2), 70);
        s.accepted_in_epoch(epoch, 2, (2, 2), 43);
        let verdict = check(&s.b.finish());
        let regress = ids(&verdict).into_iter().find(|id| *id == "offset-commit-regress");
        assert_eq!(regress, found);
    }
}

#[test]
fn a_member_of_the_same_generation_that_has_not_heard_of_it_is_no_zombie() {
    for (in_generation, id) in [(true, "double-ownership"), (false, "zombie-ownership")] {
        let mut s = Scene::new();
        s.b.assigned(s.mailer[0], 2, &[orders(0)], &[orders(0)]);
        let [old, new] = [s.mailer[0], s.mailer[1]].map(|mailer| s.b.member(mailer));
        let mut assignment = vec![(new, orders(0))];
        if in_generation {
            assignment.push((old, orders(1)));
        }
        s.b.generation(s.broker[0], s.group, 3, &assignment);
        s.b.assigned(s.mailer[1], 3, &[orders(0)], &[orders(0)]);
        assert!(ids(&check(&s.b.finish())).contains(&id), "{in_generation}");
    }
}

#[test]
fn a_replica_without_committed_records_is_not_in_sync() {
    let mut s = Scene::new();
    let r = s.acked(2);
    let [leader, follower] = [s.broker[0], s.broker[1]];
    s.partition_changed(Some(leader), &[leader]);
    s.append(0, 0, 0, &r);
    s.append(1, 0, 0, &r[..1]);
    s.high_watermark(0, 2, true, 2);
    s.partition_changed(Some(leader), &[leader, follower]);
    assert!(ids(&check(&s.b.finish())).contains(&"unclean-replica-in-isr"));
}

#[test]
fn a_final_read_that_breaks_off_has_read_what_it_has_read() {
    let mut s = Scene::new();
    let r = s.acked(3);
    let polled: Vec<_> = (0..).zip(&r[..2]).map(|(o, r)| s.b.polled(orders(0), o, *r)).collect();
    s.b.poll(s.auditor, &polled);
    let verdict = check(&s.b.finish());
    assert!(!ids(&verdict).iter().any(|id| id.starts_with("lost")), "{:?}", ids(&verdict));
}

#[test]
fn what_somebody_read_and_was_aborted_is_not_skipped() {
    let mut b = HistoryBuilder::new();
    let topic = b.topic("orders", 1);
    let group = b.group("mailer", &[topic]);
    let bank = b.producer("bank");
    let [early, committed] = [b.consumer("early", group), b.consumer("committed", group)];
    b.read_committed(committed);
    b.init_transactions(bank, "bank", (4, 0));
    let mut records = Vec::new();
    for (number, result) in [(1, TransactionResult::Abort), (2, TransactionResult::Commit)] {
        b.begin(bank, number);
        let record = b.send(bank, orders(0));
        b.acked(record, orders(0), 2 * records.len() as i64);
        b.end_transaction(bank, number, result, Outcome::Ok);
        records.push(record);
    }
    let both = [b.polled(orders(0), 0, records[0]), b.polled(orders(0), 2, records[1])];
    b.poll(early, &both);
    b.position(committed, orders(0), 0, PositionReason::Seek);
    b.poll(committed, &both[1..]);
    let verdict = check(&b.finish());
    for id in ["poll-skip", "late-commit"] {
        assert!(!ids(&verdict).contains(&id), "{:?}", ids(&verdict));
    }
}

#[test]
fn who_reads_at_another_isolation_level_sees_other_successors() {
    for (committed, conflict) in [(true, false), (false, true)] {
        let mut s = Scene::new();
        let r = s.acked(3);
        if committed {
            s.b.read_committed(s.mailer[1]);
        }
        s.poll(0, &[(0, r[0]), (1, r[1])]);
        s.poll(1, &[(0, r[0]), (2, r[2])]);
        let found = ids(&check(&s.b.finish())).contains(&"next-pointer-conflict");
        assert_eq!(found, conflict, "read_committed: {committed}");
    }
}

#[test]
fn what_was_read_and_is_gone_is_a_conflict_although_nothing_was_skipped() {
    let mut s = Scene::new();
    let r = s.acked(3);
    s.poll(0, &[(0, r[0]), (1, r[1])]);
    s.poll(1, &[(0, r[0]), (2, r[2])]);
    let shown =
        [(0, r[0]), (2, r[2])].map(|(offset, record)| s.b.polled(orders(0), offset, record));
    s.b.poll(s.auditor, &shown);
    let drained = ClientKind::Drained { partition: orders(0), from: Offset::ZERO, to: Offset(3) };
    s.b.client(s.auditor, drained);
    let found = ids(&check(&s.b.finish()));
    assert!(found.contains(&"next-pointer-conflict"), "{found:?}");
    assert!(!found.contains(&"int-poll-skip"), "{found:?}");
}

#[test]
fn a_poll_that_ends_before_a_young_record_is_not_stale() {
    let mut s = Scene::new();
    let r = s.acked(2);
    s.b.wait(oncesim_types::Duration::from_secs(29));
    s.poll(0, &[(0, r[0])]);
    s.b.wait(oncesim_types::Duration::from_secs(90));
    s.poll(0, &[(1, r[1])]);
    assert!(!ids(&check(&s.drained(&r))).contains(&"stale-read"));
}

#[test]
fn a_log_that_was_cut_goes_on_where_it_ends() {
    let mut s = Scene::new();
    let r = s.acked(3);
    s.append(0, 0, 0, &r);
    s.world(0, WorldEvent::Truncate { partition: orders(0), to: Offset(0) });
    s.append(0, 0, 1, &r[..1]);
    s.append(0, 1, 1, &r[1..]);
    assert!(!ids(&check(&s.b.finish())).contains(&"illegal-offset-gap"));
}

#[test]
fn a_commit_without_ownership_counts_once_it_is_taken() {
    for (outcome, found) in
        [(Outcome::Ok, true), (Outcome::Fail(ErrorCode::IllegalGeneration), false)]
    {
        let mut s = Scene::new();
        committed(&mut s, 3);
        let call = s.b.commit_begin(s.mailer[0], &[(orders(0), 3)], true);
        s.b.commit_end(s.mailer[0], call, outcome);
        let ids = ids(&check(&s.b.finish()));
        assert_eq!(ids.contains(&"commit-without-ownership"), found);
    }
    // Asked for in time, and taken after the partition was given back.
    let mut s = Scene::new();
    s.b.assigned(s.mailer[0], 1, &[orders(0)], &[orders(0)]);
    let call = s.b.commit_begin(s.mailer[0], &[(orders(0), 3)], false);
    s.b.revoked(s.mailer[0], &[orders(0)]);
    s.b.commit_end(s.mailer[0], call, Outcome::Ok);
    assert!(!ids(&check(&s.b.finish())).contains(&"commit-without-ownership"));
}

#[test]
fn a_partition_that_was_given_back_may_go_to_anybody() {
    for (revoked, died, early) in [(false, false, true), (true, false, false), (false, true, false)]
    {
        let mut s = Scene::new();
        let both = [orders(0), orders(1)];
        s.cooperative(2, [&[0, 1], &[]]);
        s.b.assigned(s.mailer[0], 2, &both, &both);
        if revoked {
            s.b.revoked(s.mailer[0], &both[1..]);
        }
        if died {
            s.b.crash(s.mailer[0], false);
        }
        s.cooperative(3, [&[0], &[1]]);
        let found = ids(&check(&s.b.finish())).contains(&"revoke-without-commit-window");
        assert_eq!(found, early, "revoked {revoked}, died {died}");
    }
}

#[test]
fn a_candidate_that_is_away_or_not_in_sync_may_lag() {
    for away in [0, 1, 2] {
        let mut s = Scene::new();
        let r = s.acked(1);
        let [leader, follower] = s.broker;
        let in_sync = if away == 0 { vec![leader] } else { vec![leader, follower] };
        s.partition_changed(Some(leader), &in_sync);
        s.append(0, 0, 0, &r);
        match away {
            1 => drop(s.b.crash(follower, false)),
            2 => s.append(1, 0, 0, &r),
            _ => {}
        }
        s.high_watermark(0, 1, true, 2);
        let ids = ids(&check(&s.b.finish()));
        assert!(!ids.contains(&"candidate-incomplete"), "{away}: {ids:?}");
        assert!(!ids.contains(&"leader-not-in-isr"), "{away}: {ids:?}");
    }
}
