//! Histories of the log level.

use oncesim_history::{HistoryBuilder, Outcome, Promise};

use super::{cells, check, found, ids, orders};
use crate::{Level, Severity};

#[test]
fn an_acknowledged_record_that_the_drain_shows_once_is_exactly_once() {
    let mut b = HistoryBuilder::new();
    b.topic("orders", 1);
    let (shop, auditor) = (b.producer("shop"), b.auditor());
    let records = [b.send(shop, orders(0)), b.send(shop, orders(0))];
    b.acked(records[0], orders(0), 0);
    b.acked(records[1], orders(0), 1);
    b.drain(auditor, orders(0), &records);
    let verdict = check(&b.finish());
    assert_eq!(ids(&verdict), [""; 0]);
    assert_eq!(cells(&verdict, Level::Log), "hhh");
    assert_eq!(cells(&verdict, Level::Processing), "uuu");
}

#[test]
fn an_acknowledged_record_that_the_drain_does_not_show_is_lost() {
    let mut b = HistoryBuilder::new();
    b.topic("orders", 1);
    let (shop, auditor) = (b.producer("shop"), b.auditor());
    let (kept, lost) = (b.send(shop, orders(0)), b.send(shop, orders(0)));
    b.acked(kept, orders(0), 0);
    b.acked(lost, orders(0), 1);
    b.drain(auditor, orders(0), &[kept]);
    let verdict = check(&b.finish());
    let anomaly = found(&verdict, "lost-write-final");
    assert_eq!((anomaly.count, anomaly.severity), (1, Severity::Always));
    assert_eq!(
        anomaly.witness.sentence,
        "shop #1 was acknowledged at 0.004000s for orders-0 offset 1; the final read of orders-0 \
         covers offsets 0 to 1 and does not show it"
    );
    assert_eq!(anomaly.witness.events, [1, 3, 6]);
    assert_eq!(cells(&verdict, Level::Log), "hvv");
}

#[test]
fn without_acknowledgements_a_loss_is_legal_and_still_breaks_at_least_once() {
    let mut b = HistoryBuilder::new();
    b.topic("orders", 1);
    let promise = Promise { durable: false, idempotent: false, ordered: true };
    let (shop, auditor) = (b.producer_with("shop", promise), b.auditor());
    let lost = b.send(shop, orders(0));
    b.send_end(lost, Some(orders(0)), Outcome::Ok, None);
    b.drain(auditor, orders(0), &[]);
    let verdict = check(&b.finish());
    assert_eq!(found(&verdict, "lost-write-final").severity, Severity::Legal);
    assert_eq!(cells(&verdict, Level::Log), "hvv");
}

#[test]
fn a_record_that_the_application_knows_to_be_doubtful_is_excused() {
    let mut b = HistoryBuilder::new();
    b.topic("orders", 1);
    let (shop, auditor) = (b.producer("shop"), b.auditor());
    let records: Vec<_> = (0..4).map(|_| b.send(shop, orders(0))).collect();
    b.acked(records[0], orders(0), 0);
    b.failed(records[1]);
    b.unknown(records[2]);
    b.crash(shop, false);
    b.drain(auditor, orders(0), &records[..1]);
    let verdict = check(&b.finish());
    assert_eq!(ids(&verdict), [""; 0]);
    assert_eq!(verdict.excused, 3);
    assert_eq!(cells(&verdict, Level::Log), "hhh");
}

#[test]
fn nothing_holds_without_a_drain() {
    let mut b = HistoryBuilder::new();
    b.topic("orders", 1);
    let shop = b.producer("shop");
    let record = b.send(shop, orders(0));
    b.acked(record, orders(0), 0);
    assert_eq!(cells(&check(&b.finish()), Level::Log), "uuu");
}

#[test]
fn a_duplicate_is_named_after_its_cause() {
    let durable = Promise { durable: true, idempotent: true, ordered: true };
    for (promise, sends, kind, severity) in [
        (durable, 1, "dup-idempotent", Severity::Always),
        (durable, 2, "dup-app-resend", Severity::Legal),
        (Promise { idempotent: false, ..durable }, 1, "dup-retry", Severity::Legal),
    ] {
        let mut b = HistoryBuilder::new();
        b.topic("orders", 1);
        let (shop, auditor) = (b.producer_with("shop", promise), b.auditor());
        let record = b.send(shop, orders(0));
        if sends == 2 {
            b.unknown(record);
            b.send_again(shop, orders(0), record, None);
        }
        b.acked(record, orders(0), 1);
        b.drain(auditor, orders(0), &[record, record]);
        let verdict = check(&b.finish());
        let anomaly = found(&verdict, kind);
        assert_eq!((anomaly.count, anomaly.severity), (1, severity));
        assert_eq!(cells(&verdict, Level::Log), "vhv");
    }
}

#[test]
fn a_send_that_died_with_its_process_leaves_nothing_open_when_it_comes_again() {
    let mut b = HistoryBuilder::new();
    b.topic("orders", 1);
    let (shop, auditor) = (b.producer("shop"), b.auditor());
    let record = b.send(shop, orders(0));
    b.crash(shop, false);
    b.send_again(shop, orders(0), record, None);
    b.acked(record, orders(0), 0);
    b.drain(auditor, orders(0), &[record]);
    assert_eq!(ids(&check(&b.finish())), [""; 0]);
}
