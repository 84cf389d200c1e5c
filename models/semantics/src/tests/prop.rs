//! What must not change a verdict, and what must.

use oncesim_history::{History, HistoryBuilder, Promise};
use oncesim_types::{ActorId, RecordId};
use proptest::prelude::*;

use super::{ids, orders};

/// What happens to one record: whether it is acknowledged, how often it is in the log, and how
/// often it is processed.
type Fate = (bool, u8, u8);

/// A run with these fates, in one partition. `spare` actors stand before the producer, and the
/// producer has sent `skip` records before that the history does not show.
fn run(fates: &[Fate], spare: usize, skip: u64) -> History {
    let mut b = HistoryBuilder::new();
    for _ in 0..spare {
        b.broker("spare");
    }
    let topic = b.topic("orders", 1);
    let group = b.group("mailer", &[topic]);
    let promise = Promise { durable: true, idempotent: false, ordered: false };
    let shop = b.producer_with("shop", promise);
    let (auditor, mailer) = (b.auditor(), b.consumer("mailer-0", group));
    b.client(mailer, oncesim_history::ClientKind::Subscribe { group });
    let mut log = Vec::new();
    for (n, (acked, copies, _)) in (skip..).zip(fates) {
        let record = RecordId::new(shop, n);
        b.send_again(shop, orders(0), record, None);
        if *acked {
            b.send_end(record, Some(orders(0)), oncesim_history::Outcome::Ok, None);
        } else {
            b.unknown(record);
        }
        log.extend((0..*copies).map(|_| record));
    }
    for (offset, record) in (0..).zip(&log) {
        let fate = fates[usize::try_from(record.ordinal() - skip).unwrap()];
        for _ in 0..fate.2 {
            b.processed(mailer, orders(0), offset, *record);
        }
    }
    b.drain(auditor, orders(0), &log);
    b.finish()
}

/// A processor that makes an invoice of one order per transaction; an aborted one is made again by
/// the next that commits. `spare` actors stand before everybody.
pub(super) fn transactions(fates: &[bool], spare: usize) -> History {
    let mut s = super::transactions::Scene::new();
    for _ in 0..spare {
        s.b.broker("spare");
    }
    let committed = fates.iter().filter(|commit| **commit).count();
    let orders = s.orders(i64::try_from(committed).unwrap());
    let (mut next, mut end, mut shown) = (0usize, 0i64, Vec::new());
    for (number, commit) in (1..).zip(fates) {
        let Some(order) = orders.get(next) else { break };
        let input = i64::try_from(next).unwrap();
        s.b.begin(s.producer[0], number);
        let made = s.invoice(0, (input, *order), end);
        s.b.send_offsets(s.producer[0], number, s.billing[0], &[(orders_of(), input + 1)]);
        let result = if *commit {
            shown.push((end, made));
            next += 1;
            oncesim_types::TransactionResult::Commit
        } else {
            oncesim_types::TransactionResult::Abort
        };
        s.b.end_transaction(s.producer[0], number, result, oncesim_history::Outcome::Ok);
        end += 2;
    }
    s.drained(&orders, &shown, end)
}

const fn orders_of() -> oncesim_types::TopicPartition {
    super::transactions::orders(0)
}

/// A sink that inserts a row for each of these: which record, whether the answer came, and whether
/// the process died afterwards. `spare` actors stand before everybody.
fn effects(applied: &[(u8, bool, bool)], spare: usize) -> History {
    use oncesim_history::{AskOutcome, SystemKind};
    use oncesim_types::{EffectId, Operation, SystemError};
    let mut b = HistoryBuilder::new();
    for _ in 0..spare {
        b.broker("spare");
    }
    let topic = b.topic("orders", 1);
    let group = b.group("mailer", &[topic]);
    let (shop, auditor, mailer) = (b.producer("shop"), b.auditor(), b.consumer("mailer-0", group));
    let ledger = b.system("ledger", SystemKind::Database);
    let sink = b.sink("ledger", ledger, group);
    b.client(mailer, oncesim_history::ClientKind::Subscribe { group });
    let records: Vec<_> = (0..8).map(|_| b.send(shop, orders(0))).collect();
    for (offset, record) in (0..).zip(&records) {
        b.acked(*record, orders(0), offset);
    }
    for (commit, (record, answered, died)) in (1..).zip(applied) {
        let effect = EffectId { record: records[usize::from(record % 8)], sink, step: 0 };
        let call = b.ask(mailer, ledger, Operation::Execute, Some(effect), 0);
        b.apply(effect, commit, &[(commit, 0, 7)]);
        let outcome = match answered {
            true => AskOutcome::Ok,
            false => AskOutcome::Unknown(SystemError::ConnectionLost),
        };
        b.answer(mailer, call, outcome, 1);
        if *died {
            b.crash(mailer, false);
        }
    }
    b.drain(auditor, orders(0), &records);
    b.finish()
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    prop::collection::vec((any::<bool>(), 0..3u8, 0..3u8), 1..40)
}

/// Ids, counts and guarantees: what a verdict says apart from names.
pub(super) fn said(history: &History) -> String {
    let verdict = super::check(history);
    let counts: Vec<_> = verdict.anomalies.iter().map(|a| (a.id(), a.severity, a.count)).collect();
    format!("{counts:?} {:?} {}", verdict.guarantees, verdict.excused)
}

pub(super) fn count(history: &History, id: &str) -> u64 {
    super::check(history).anomalies.iter().find(|a| a.id() == id).map_or(0, |a| a.count)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn renaming_actors_and_records_changes_nothing(
        fates in fates(), spare in 0..4usize, skip in prop_oneof![Just(0), 1..9u64, Just(1 << 39)],
    ) {
        prop_assert_eq!(said(&run(&fates, 0, 0)), said(&run(&fates, spare, skip)));
    }

    #[test]
    fn an_effect_more_is_no_loss_or_a_duplicate(
        applied in prop::collection::vec((0..8u8, any::<bool>(), any::<bool>()), 0..12),
        one in (0..8u8, any::<bool>(), any::<bool>()),
        spare in 0..4usize,
    ) {
        let times = applied.iter().filter(|(record, ..)| *record == one.0).count();
        let before = effects(&applied, 0);
        let mut more = applied;
        more.push(one);
        let after = effects(&more, 0);
        prop_assert_eq!(said(&after), said(&effects(&more, spare)));
        let lost = count(&before, "effect-lost") - u64::from(times == 0);
        prop_assert_eq!(count(&after, "effect-lost"), lost);
        let doubled = count(&before, "effect-duplicate") + u64::from(times == 1);
        prop_assert_eq!(count(&after, "effect-duplicate"), doubled);
    }

    #[test]
    fn moving_the_arenas_changes_nothing(fates in fates()) {
        let history = run(&fates, 0, 0);
        let mut moved = history.clone();
        // A second copy of every arena behind the first, and every span points to the copy.
        moved.polled.extend_from_slice(&history.polled);
        for event in &mut moved.events {
            if let oncesim_history::EventKind::Client(
                oncesim_history::ClientKind::PollEnd { records, .. }
            ) = &mut event.kind {
                records.start += u32::try_from(history.polled.len()).unwrap();
            }
        }
        prop_assert_eq!(said(&history), said(&moved));
    }

    #[test]
    fn removing_an_acknowledged_record_from_the_log_is_one_more_loss(
        fates in fates(), at in any::<prop::sample::Index>(),
    ) {
        let mut with = fates;
        let at = at.index(with.len());
        with[at] = (true, 1, 1);
        let mut without = with.clone();
        without[at].1 = 0;
        let (with, without) = (run(&with, 0, 0), run(&without, 0, 0));
        let lost = "lost-write-final";
        prop_assert_eq!(count(&with, lost) + 1, count(&without, lost));
    }

    #[test]
    fn writing_a_record_twice_is_one_more_duplicate(
        fates in fates(), at in any::<prop::sample::Index>(),
    ) {
        let mut once = fates;
        let at = at.index(once.len());
        once[at] = (true, 1, 1);
        let mut twice = once.clone();
        twice[at].1 = 2;
        let (once, twice) = (run(&once, 0, 0), run(&twice, 0, 0));
        prop_assert_eq!(count(&once, "dup-retry") + 1, count(&twice, "dup-retry"));
    }

    #[test]
    fn an_aborted_transaction_more_changes_nothing(
        fates in prop::collection::vec(any::<bool>(), 1..20), at in any::<prop::sample::Index>(),
    ) {
        let at = at.index(fates.len());
        let mut with = fates.clone();
        with.insert(at, false);
        let [less, more] = [fates, with].map(|f| super::check(&transactions(&f, 0)));
        prop_assert_eq!(ids(&less), ids(&more));
        prop_assert_eq!(less.guarantees, more.guarantees);
    }

    #[test]
    fn hiding_a_committed_transaction_is_a_loss_of_all_of_it(
        fates in prop::collection::vec(any::<bool>(), 1..20), spare in 0..3usize,
    ) {
        let mut with = fates;
        with.push(true);
        let history = transactions(&with, spare);
        let mut hidden = history.clone();
        // The last order's invoice is the last that the final read shows.
        hidden.polled.pop();
        for event in &mut hidden.events {
            if let oncesim_history::EventKind::Client(
                oncesim_history::ClientKind::PollEnd { records, .. }
            ) = &mut event.kind
                && records.start + records.len > u32::try_from(hidden.polled.len()).unwrap()
            {
                records.len -= 1;
            }
        }
        for id in ["lost-write-final", "lost-processing"] {
            prop_assert_eq!(count(&history, id) + 1, count(&hidden, id));
        }
    }

    #[test]
    fn equal_histories_have_equal_verdicts(fates in fates()) {
        let history = run(&fates, 0, 0);
        prop_assert_eq!(super::check(&history), super::check(&history.clone()));
    }
}

#[test]
fn far_apart_numbers_cost_no_more_than_their_history() {
    let mut b = HistoryBuilder::new();
    b.topic("orders", 1);
    let (shop, mailer) = (b.producer("shop"), b.actor("app", oncesim_history::ActorRole::Other));
    assert_eq!(shop, ActorId(0));
    for n in [0u64, 1 << 38, 1 << 39] {
        let record = RecordId::new(shop, n);
        b.send_again(shop, orders(0), record, None);
        let offset = i64::try_from(n << 20).unwrap();
        b.acked(record, orders(0), offset);
        if n != 1 << 38 {
            let polled = b.polled(orders(0), offset, record);
            b.poll(mailer, &[polled]);
        }
    }
    let verdict = super::check(&b.finish());
    assert!(ids(&verdict).contains(&"lost-write"));
}
