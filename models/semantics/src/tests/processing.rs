//! Histories of the processing level.

use oncesim_history::{HistoryBuilder, PositionReason};
use oncesim_types::{ActorId, RecordId};

use super::{cells, check, found, ids, orders};
use crate::Level;

/// Three records in orders-0, and a consumer of the group mailer.
fn three_orders() -> (HistoryBuilder, ActorId, ActorId, Vec<RecordId>) {
    let mut b = HistoryBuilder::new();
    let topic = b.topic("orders", 1);
    let group = b.group("mailer", &[topic]);
    let (shop, auditor) = (b.producer("shop"), b.auditor());
    let mailer = b.consumer("mailer-0", group);
    let records: Vec<_> = (0..3).map(|_| b.send(shop, orders(0))).collect();
    for (offset, record) in (0..).zip(&records) {
        b.acked(*record, orders(0), offset);
    }
    (b, mailer, auditor, records)
}

#[test]
fn each_record_processed_once_is_exactly_once() {
    let (mut b, mailer, auditor, records) = three_orders();
    for (offset, record) in (0..).zip(&records) {
        b.processed(mailer, orders(0), offset, *record);
    }
    b.drain(auditor, orders(0), &records);
    let verdict = check(&b.finish());
    assert_eq!(ids(&verdict), [""; 0]);
    assert_eq!(cells(&verdict, Level::Processing), "hhh");
}

#[test]
fn a_record_processed_again_after_a_crash_breaks_at_most_once() {
    let (mut b, mailer, auditor, records) = three_orders();
    for (offset, record) in [(0, 0), (1, 1), (1, 1), (2, 2), (2, 2), (2, 2)] {
        b.processed(mailer, orders(0), offset, records[record]);
    }
    b.drain(auditor, orders(0), &records);
    let verdict = check(&b.finish());
    let anomaly = found(&verdict, "dup-processing");
    assert_eq!(anomaly.count, 2);
    assert!(anomaly.witness.sentence.starts_with(
        "group mailer processed shop #1 (orders-0 offset 1) 2 times: by mailer-0 at 0.008000s"
    ));
    assert_eq!(cells(&verdict, Level::Processing), "vhv");
}

#[test]
fn a_record_that_was_never_processed_breaks_at_least_once() {
    let (mut b, mailer, auditor, records) = three_orders();
    b.processed(mailer, orders(0), 0, records[0]);
    b.processed(mailer, orders(0), 2, records[2]);
    b.drain(auditor, orders(0), &records);
    let verdict = check(&b.finish());
    assert_eq!(found(&verdict, "lost-processing").count, 1);
    assert_eq!(cells(&verdict, Level::Processing), "hvv");
}

#[test]
fn a_duplicate_in_the_log_is_two_inputs() {
    let (mut b, mailer, auditor, records) = three_orders();
    let log = [records[0], records[1], records[1], records[2]];
    for (offset, record) in (0..).zip(log) {
        b.processed(mailer, orders(0), offset, record);
    }
    b.drain(auditor, orders(0), &log);
    let verdict = check(&b.finish());
    assert_eq!(cells(&verdict, Level::Processing), "hhh");
    assert_eq!(cells(&verdict, Level::Log), "vhv");
}

#[test]
fn a_group_that_starts_at_the_end_owes_nothing_before_its_first_position() {
    let (mut b, mailer, auditor, records) = three_orders();
    b.from_latest(oncesim_types::GroupId(0));
    b.position(mailer, orders(0), 1, PositionReason::NoCommittedOffset);
    b.processed(mailer, orders(0), 1, records[1]);
    b.drain(auditor, orders(0), &records);
    let verdict = check(&b.finish());
    let anomaly = found(&verdict, "lost-processing");
    assert_eq!((anomaly.count, anomaly.witness.record), (1, Some(records[2])));
}
