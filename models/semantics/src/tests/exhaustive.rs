//! The core checkers against a literal reading of the definitions, on every tiny history.

use oncesim_history::HistoryBuilder;
use oncesim_types::RecordId;

use super::{cells, check, orders};
use crate::{Level, Verdict};

pub(super) fn count(verdict: &Verdict, id: &str) -> u64 {
    verdict.anomalies.iter().filter(|a| a.class.id == id).map(|a| a.count).sum()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ok,
    Fail,
    Unknown,
}

/// The cells of a level as a word, from the two halves of its definition.
pub(super) fn word(twice: bool, never: bool, more: bool) -> String {
    [twice, never, twice || never || more].iter().map(|v| if *v { 'v' } else { 'h' }).collect()
}

/// Every way to fill `slots` places with one of `symbols`.
pub(super) fn fillings(slots: u32, symbols: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..symbols.pow(slots)).map(move |mut n| {
        (0..slots)
            .map(|_| {
                let symbol = n % symbols;
                n /= symbols;
                symbol
            })
            .collect()
    })
}

#[test]
fn the_log_level_is_its_definition_on_every_history_of_two_records() {
    let ends = [End::Ok, End::Fail, End::Unknown];
    let mut histories = 0;
    for outcome in fillings(2, 3) {
        for lengths in [(0, 0), (1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2), (0, 2)] {
            for content in fillings(lengths.0 + lengths.1, 2) {
                let mut b = HistoryBuilder::new();
                b.topic("orders", 2);
                let (shop, auditor) = (b.producer("shop"), b.auditor());
                // Neither send chooses its partition, so that every place is a legal one.
                let unchosen = orders(u16::MAX);
                let records = [b.send(shop, unchosen), b.send(shop, unchosen)];
                for (record, end) in records.iter().zip(&outcome) {
                    match ends[*end] {
                        End::Ok => {
                            b.send_end(*record, None, oncesim_history::Outcome::Ok, None);
                        }
                        End::Fail => {
                            b.failed(*record);
                        }
                        End::Unknown => {
                            b.unknown(*record);
                        }
                    }
                }
                let log: Vec<RecordId> = content.iter().map(|r| records[*r]).collect();
                let (first, second) = log.split_at(lengths.0 as usize);
                b.drain(auditor, orders(0), first);
                b.drain(auditor, orders(1), second);
                let verdict = check(&b.finish());

                let n = |r: usize| content.iter().filter(|x| **x == r).count();
                let of = |r: usize| ends[outcome[r]];
                let lost = (0..2).filter(|r| of(*r) == End::Ok && n(*r) == 0).count() as u64;
                let twice = (0..2).filter(|r| n(*r) > 1).count() as u64;
                let failed = (0..2).filter(|r| of(*r) == End::Fail && n(*r) > 0).count() as u64;
                let excused = (0..2).filter(|r| of(*r) != End::Ok && n(*r) == 0).count() as u64;
                let context = format!("{outcome:?} {lengths:?} {content:?}");
                assert_eq!(count(&verdict, "lost-write-final"), lost, "{context}");
                assert_eq!(count(&verdict, "duplicate-append"), twice, "{context}");
                assert_eq!(count(&verdict, "failed-write-visible"), failed, "{context}");
                assert_eq!(verdict.excused, excused, "{context}");
                // A visible failure is a defect that breaks at-most-once as well.
                let expected = word(twice + failed > 0, lost > 0, false);
                let exercised = (0..2).any(|r| of(r) == End::Ok);
                for (got, want) in cells(&verdict, Level::Log).chars().zip(expected.chars()) {
                    let want = if want == 'h' && !exercised { 'u' } else { want };
                    assert_eq!(got, want, "{context}");
                }
                histories += 1;
            }
        }
    }
    assert_eq!(histories, 9 * (1 + 2 + 4 + 8 + 4 + 8 + 8 + 4));
}

#[test]
fn the_processing_level_is_its_definition_on_every_history_of_two_members() {
    // Each of two members processes a multiset of the inputs: up to twice each of three.
    for outcomes in fillings(6, 3) {
        for log in [vec![0, 1], vec![0, 1, 0], vec![1]] {
            let mut b = HistoryBuilder::new();
            let topic = b.topic("orders", 1);
            let group = b.group("mailer", &[topic]);
            let (shop, auditor) = (b.producer("shop"), b.auditor());
            let mailers = [b.consumer("mailer-0", group), b.consumer("mailer-1", group)];
            let records = [b.send(shop, orders(0)), b.send(shop, orders(0))];
            let inputs: Vec<RecordId> = log.iter().map(|r| records[*r]).collect();
            b.client(mailers[0], oncesim_history::ClientKind::Subscribe { group });
            for (member, mailer) in mailers.iter().enumerate() {
                for (offset, record) in inputs.iter().enumerate() {
                    for _ in 0..outcomes[member * 3 + offset] {
                        b.processed(*mailer, orders(0), offset as i64, *record);
                    }
                }
            }
            b.drain(auditor, orders(0), &inputs);
            let verdict = check(&b.finish());

            let n = |i: usize| outcomes[i] + outcomes[3 + i];
            let never = (0..inputs.len()).filter(|i| n(*i) == 0).count() as u64;
            let twice = (0..inputs.len()).filter(|i| n(*i) > 1).count() as u64;
            let any = (0..inputs.len()).any(|i| n(i) > 0);
            let context = format!("{outcomes:?} {log:?}");
            assert_eq!(count(&verdict, "lost-processing"), never, "{context}");
            assert_eq!(count(&verdict, "dup-processing"), twice, "{context}");
            let expected = word(twice > 0, never > 0, false);
            for (got, want) in cells(&verdict, Level::Processing).chars().zip(expected.chars()) {
                let want = if want == 'h' && !any { 'u' } else { want };
                assert_eq!(got, want, "{context}");
            }
        }
    }
}

/// What a transaction makes of two orders: which of them (bits), its end, and which of its records
/// the final read shows (bits).
type Made = (usize, End, usize);

/// Every transaction on two orders.
fn made() -> Vec<Made> {
    let ends = [End::Ok, End::Fail, End::Unknown];
    let all = (0..4).flat_map(|sent| (0..4).map(move |shown| (sent, shown)));
    all.filter(|(sent, shown)| shown & !sent == 0)
        .flat_map(|(sent, shown)| ends.map(|end| (sent, end, shown)))
        .collect()
}

#[test]
fn transactions_are_their_definition_on_every_history_of_two() {
    use oncesim_history::Outcome::{Info, Ok};
    use oncesim_types::{ErrorCode, TransactionResult};
    let mut histories = 0;
    for (first, second) in made().iter().flat_map(|a| made().into_iter().map(move |b| (*a, b))) {
        let mut s = super::transactions::Scene::new();
        let orders = s.orders(2);
        let group = oncesim_types::GroupId(0);
        s.b.client(s.billing[0], oncesim_history::ClientKind::Subscribe { group });
        let (mut end, mut shown) = (0, Vec::new());
        for (number, (sent, how, visible)) in (1..).zip([first, second]) {
            s.b.begin(s.producer[0], number);
            for (order, bit) in orders.iter().zip([1, 2]) {
                if sent & bit != 0 {
                    let record = s.invoice(0, (bit as i64 - 1, *order), end);
                    if visible & bit != 0 {
                        shown.push((end, record));
                    }
                    end += 1;
                }
            }
            end += 1;
            let (result, outcome) = match how {
                End::Ok => (TransactionResult::Commit, Ok),
                End::Fail => (TransactionResult::Abort, Ok),
                End::Unknown => (TransactionResult::Commit, Info(ErrorCode::RequestTimedOut)),
            };
            s.b.end_transaction(s.producer[0], number, result, outcome);
        }
        let verdict = check(&s.drained(&orders, &shown, end));

        let both = [first, second];
        let bits = |n: usize| u64::from(n.count_ones());
        let committed = |t: &Made| t.1 == End::Ok || t.1 == End::Unknown && t.2 != 0;
        let sum = |of: &dyn Fn(&Made) -> u64| both.iter().map(of).sum::<u64>();
        let copies = |bit: usize| both.iter().filter(|t| t.2 & bit != 0).count();
        let aborted = sum(&|t| if committed(t) { 0 } else { bits(t.2) });
        let torn = sum(&|t| u64::from(t.2 != 0 && t.2 != t.0));
        let gone = sum(&|t| if committed(t) { bits(t.0 & !t.2) } else { 0 });
        let lost = [1, 2].iter().filter(|bit| copies(**bit) == 0).count() as u64;
        let twice = [1, 2].iter().filter(|bit| copies(**bit) > 1).count() as u64;
        let context = format!("{both:?}");
        assert_eq!(count(&verdict, "aborted-read"), aborted, "{context}");
        assert_eq!(count(&verdict, "torn-txn"), torn, "{context}");
        assert_eq!(count(&verdict, "lost-write-final"), gone, "{context}");
        assert_eq!(count(&verdict, "lost-processing"), lost, "{context}");
        assert_eq!(count(&verdict, "dup-processing"), twice, "{context}");
        assert_eq!(count(&verdict, "failed-write-visible"), 0, "{context}");
        assert_eq!(count(&verdict, "duplicate-append"), 0, "{context}");
        histories += 1;
    }
    assert_eq!(histories, 27 * 27);
}
