//! Changes of a history with a known effect on its verdict: none at all (independent events change
//! places, polls are split and merged), or exactly the one that is predicted (an outcome is flipped,
//! two offsets are swapped, a record is doubled), with and without transactions.

use std::collections::BTreeMap;

use oncesim_history::{
    ClientKind, Event, EventKind, History, HistoryBuilder, Outcome, Promise, SpanIndex,
};
use oncesim_types::{ErrorCode, Offset, RecordId, TransactionResult};
use proptest::prelude::*;

use super::prop::{count, said, transactions};
use super::{check, ids, orders};

/// What happens to one record: which of two shops sends it, how the call ends, how often it is in
/// the log, how often it is processed, and whether its consumer polls it.
#[derive(Debug, Clone, Copy)]
struct Fate {
    shop: usize,
    end: End,
    copies: u8,
    processed: u8,
    polled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ok,
    Fail,
    Unknown,
}

/// Two shops, each with a partition and a consumer of its own: sends, their ends, polls, processing,
/// and the final read, in this order.
fn shops(fates: &[Fate]) -> History {
    let mut b = HistoryBuilder::new();
    let topic = b.topic("orders", 2);
    let group = b.group("mailer", &[topic]);
    let promise = Promise { durable: true, idempotent: false, ordered: false };
    let shops = [b.producer_with("shop-0", promise), b.producer_with("shop-1", promise)];
    let mailers = [b.consumer("mailer-0", group), b.consumer("mailer-1", group)];
    let auditor = b.auditor();
    for mailer in mailers {
        b.client(mailer, ClientKind::Subscribe { group });
    }
    let partitions = [orders(0), orders(1)];
    let records: Vec<RecordId> =
        fates.iter().map(|fate| b.send(shops[fate.shop], partitions[fate.shop])).collect();
    for (fate, record) in fates.iter().zip(&records) {
        let outcome = match fate.end {
            End::Ok => Outcome::Ok,
            End::Fail => Outcome::Fail(ErrorCode::InvalidRequiredAcks),
            End::Unknown => Outcome::Info(ErrorCode::RequestTimedOut),
        };
        b.send_end(*record, Some(partitions[fate.shop]), outcome, None);
    }
    let mut logs: [Vec<(RecordId, Fate)>; 2] = [Vec::new(), Vec::new()];
    for (fate, record) in fates.iter().zip(&records) {
        logs[fate.shop].extend((0..fate.copies).map(|_| (*record, *fate)));
    }
    for n in 0..2 {
        let polled: Vec<_> = (0..)
            .zip(&logs[n])
            .filter(|(_, (_, fate))| fate.polled)
            .map(|(offset, (record, _))| b.polled(partitions[n], offset, *record))
            .collect();
        b.poll(mailers[n], &polled);
    }
    let longest = logs.iter().map(Vec::len).max().unwrap_or(0);
    for offset in 0..longest {
        for n in 0..2 {
            let Some((record, fate)) = logs[n].get(offset) else { continue };
            for _ in 0..fate.processed {
                let offset = i64::try_from(offset).unwrap();
                b.processed(mailers[n], partitions[n], offset, *record);
            }
        }
    }
    for n in 0..2 {
        let log: Vec<RecordId> = logs[n].iter().map(|(record, _)| *record).collect();
        b.drain(auditor, partitions[n], &log);
    }
    b.finish()
}

fn fate() -> impl Strategy<Value = Fate> {
    let end = prop_oneof![Just(End::Ok), Just(End::Fail), Just(End::Unknown)];
    (0..2usize, end, 0..3u8, 0..3u8, any::<bool>()).prop_map(
        |(shop, end, copies, processed, polled)| Fate { shop, end, copies, processed, polled },
    )
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    prop::collection::vec(fate(), 2..30)
}

/// Ids with counts. A jump within a poll is one between two polls once the poll is split.
fn counts(history: &History) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for anomaly in check(history).anomalies {
        let id = anomaly.id().trim_start_matches("int-");
        *counts.entry(format!("{id} {:?}", anomaly.severity)).or_insert(0) += anomaly.count;
    }
    counts
}

/// Events of two actors that neither saw nor caused each other: both begin something, both end
/// something, or both have done something by themselves.
fn independent(a: &Event, b: &Event) -> bool {
    let kind = |event: &Event| match &event.kind {
        EventKind::Client(ClientKind::SendInvoke { .. }) => 1,
        EventKind::Client(ClientKind::SendEnd { .. }) => 2,
        EventKind::Client(ClientKind::Processed { .. }) => 3,
        EventKind::Client(ClientKind::PollEnd { .. }) => 4,
        _ => 0,
    };
    a.actor != b.actor && kind(a) == kind(b) && kind(a) != 0
}

/// Swaps neighbours that are independent; the times stay where they are.
fn permuted(history: &History, picks: &[prop::sample::Index]) -> History {
    let mut permuted = history.clone();
    for pick in picks {
        let at = pick.index(permuted.events.len() - 1);
        let (a, b) = (&permuted.events[at], &permuted.events[at + 1]);
        if independent(a, b) {
            let (first, second) = (a.time, b.time);
            permuted.events.swap(at, at + 1);
            permuted.events[at].time = first;
            permuted.events[at + 1].time = second;
        }
    }
    permuted
}

/// Every poll returns one record.
fn split(history: &History) -> History {
    let mut split = history.clone();
    split.events.clear();
    for event in &history.events {
        let EventKind::Client(ClientKind::PollEnd { group, records }) = event.kind else {
            split.events.push(event.clone());
            continue;
        };
        for start in records.start..records.start + records.len {
            if start > records.start {
                let kind = EventKind::Client(ClientKind::PollInvoke);
                split.events.push(Event { kind, ..event.clone() });
            }
            let records = SpanIndex { start, len: 1 };
            let kind = EventKind::Client(ClientKind::PollEnd { group, records });
            split.events.push(Event { kind, ..event.clone() });
        }
        if records.len == 0 {
            split.events.push(event.clone());
        }
    }
    split
}

/// Polls of one process right after each other are one.
fn merged(history: &History) -> History {
    let mut merged = history.clone();
    merged.events.clear();
    for event in &history.events {
        let before = merged.events.len().checked_sub(2).map(|at| merged.events[at].clone());
        if let EventKind::Client(ClientKind::PollEnd { records: next, .. }) = event.kind
            && let Some(mut last) = before
            && (last.actor, last.incarnation) == (event.actor, event.incarnation)
            && let EventKind::Client(ClientKind::PollEnd { records, .. }) = &mut last.kind
            && records.start + records.len == next.start
        {
            // What stands between them is the beginning of the second.
            records.len += next.len;
            merged.events.truncate(merged.events.len() - 2);
            merged.events.push(last);
            continue;
        }
        merged.events.push(event.clone());
    }
    merged
}

/// How many more of `id` the second history has.
fn more(less: &History, more: &History, id: &str) -> u64 {
    count(more, id) - count(less, id)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn permuting_independent_events_changes_nothing(
        fates in fates(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        let history = shops(&fates);
        prop_assert_eq!(said(&history), said(&permuted(&history, &picks)));
    }

    #[test]
    fn splitting_and_merging_polls_changes_nothing(
        fates in fates(), ends in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        for history in [shops(&fates), transactions(&ends, 0)] {
            let (single, joined) = (split(&history), merged(&split(&history)));
            prop_assert_eq!(counts(&history), counts(&single));
            prop_assert_eq!(counts(&history), counts(&joined));
            prop_assert_eq!(check(&history).guarantees, check(&single).guarantees);
            prop_assert_eq!(check(&history).guarantees, check(&joined).guarantees);
        }
    }

    #[test]
    fn renaming_everybody_changes_nothing_in_transactions(
        ends in prop::collection::vec(any::<bool>(), 1..20), spare in 1..5usize,
    ) {
        prop_assert_eq!(said(&transactions(&ends, 0)), said(&transactions(&ends, spare)));
    }

    #[test]
    fn flipping_an_outcome_changes_what_it_says(
        fates in fates(), at in any::<prop::sample::Index>(),
    ) {
        let mut fates = fates;
        let at = at.index(fates.len());
        let mut with = |end, copies| {
            fates[at] = Fate { end, copies, processed: 1, ..fates[at] };
            shops(&fates)
        };
        let (kept, failed) = (with(End::Ok, 1), with(End::Fail, 1));
        prop_assert_eq!(more(&kept, &failed, "failed-write-visible"), 1);
        let (doubtful, lost) = (with(End::Unknown, 0), with(End::Ok, 0));
        prop_assert_eq!(more(&doubtful, &lost, "lost-write-final"), 1);
        prop_assert_eq!(check(&doubtful).excused, check(&lost).excused + 1);
    }

    #[test]
    fn swapping_two_offsets_of_the_log_breaks_both_and_the_order(
        length in 2..20i64, at in any::<prop::sample::Index>(),
    ) {
        let mut b = HistoryBuilder::new();
        b.topic("orders", 1);
        let (shop, auditor) = (b.producer("shop"), b.auditor());
        let mut log: Vec<RecordId> = (0..length)
            .map(|offset| {
                let record = b.send(shop, orders(0));
                b.acked(record, orders(0), offset);
                record
            })
            .collect();
        let straight = { let mut b = b.clone(); b.drain(auditor, orders(0), &log); b.finish() };
        let at = at.index(log.len() - 1);
        log.swap(at, at + 1);
        b.drain(auditor, orders(0), &log);
        let swapped = b.finish();
        prop_assert_eq!(ids(&check(&straight)), [""; 0]);
        prop_assert_eq!(count(&swapped, "inconsistent-offset"), 2);
        prop_assert_eq!(count(&swapped, "ack-offset-mismatch"), 2);
        prop_assert!(count(&swapped, "nonmonotonic-send") > 0);
    }

    #[test]
    fn what_the_final_read_shows_of_transactions_decides(
        ends in prop::collection::vec(any::<bool>(), 0..20),
    ) {
        // The last two commit, and their invoices are the last that the final read shows.
        let ends = [ends, vec![true, true]].concat();
        let history = transactions(&ends, 0);
        let last = history.polled.len() - 1;

        let mut swapped = history.clone();
        let (a, b) = (swapped.polled[last - 1].offset, swapped.polled[last].offset);
        swapped.polled[last - 1].offset = b;
        swapped.polled[last].offset = a;
        swapped.polled.swap(last - 1, last);
        prop_assert_eq!(more(&history, &swapped, "inconsistent-offset"), 2);
        prop_assert!(ids(&check(&swapped)).contains(&"pipeline-key-order"));

        let mut aborted = history.clone();
        let end = aborted.events.iter_mut().rev().find_map(|event| match &mut event.kind {
            EventKind::Client(ClientKind::EndTransaction { result, .. }) => Some(result),
            _ => None,
        });
        *end.expect("a transaction ends") = TransactionResult::Abort;
        prop_assert_eq!(more(&history, &aborted, "aborted-read"), 1);

        // The last invoice once more, behind everything.
        let mut doubled = history.clone();
        let behind = Offset(doubled.polled[last].offset.0 + 7);
        doubled.polled.push(doubled.polled[last]);
        doubled.polled[last + 1].offset = behind;
        for event in &mut doubled.events {
            match &mut event.kind {
                EventKind::Client(ClientKind::PollEnd { records, .. })
                    if (records.start + records.len) as usize == last + 1 =>
                {
                    records.len += 1;
                }
                EventKind::Client(ClientKind::Drained { to, .. }) if to.0 < behind.0 => {
                    to.0 = behind.0 + 1;
                }
                _ => {}
            }
        }
        let copies = |history: &History| -> u64 {
            let found = check(history).anomalies;
            found.iter().filter(|a| a.class.id == "duplicate-append").map(|a| a.count).sum()
        };
        prop_assert_eq!(copies(&history) + 1, copies(&doubled));
    }
}
