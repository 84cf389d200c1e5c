//! One small history per row of table G, and its healthy twin, which differs in what matters alone.

use oncesim_history::{
    AskOutcome, ClientKind, ExternalEvent, History, HistoryBuilder, Outcome, Output,
    PositionReason, ProcessorInfo, SystemKind, WorldEvent,
};
use oncesim_types::{
    EffectId, Offset, Operation, SystemError, TopicPartition, TransactionResult, Transform,
};

use super::effects::{ORDERS, Scene};
use super::rows::Row;
use super::{check, ids};
use crate::Severity::{Legal, UnderThisConfiguration};

/// A story, told with what is wrong in it (`true`) or without.
type Story = (&'static str, fn(bool) -> History);

const STORIES: [Story; 17] = [
    ("effect-lost", |wrong| {
        let mut s = Scene::new(2);
        s.applies(1, &[(2, 0, 12)]);
        if !wrong {
            s.applies(0, &[(1, 0, 11)]);
        }
        s.done()
    }),
    ("effect-duplicate", |wrong| {
        let mut s = Scene::new(1);
        s.applies(0, &[(1, 0, 11)]);
        s.applies(0, &[if wrong { (2, 0, 11) } else { (1, 11, 11) }]);
        s.done()
    }),
    ("effect-phantom", phantom),
    ("partial-effect", |wrong| {
        let mut s = Scene::new(1);
        s.b.sink_info(s.sink).steps = 2;
        s.applies(0, &[(1, 0, 11)]);
        if !wrong {
            s.b.apply(EffectId { step: 1, ..s.effect(0) }, 1, &[(2, 0, 12)]);
        }
        s.done()
    }),
    ("effect-before-commit", |wrong| {
        let result = if wrong { TransactionResult::Abort } else { TransactionResult::Commit };
        before_commit(&[result])
    }),
    ("offset-effect-skew", |wrong| {
        let mut s = Scene::new(2);
        s.b.sink_info(s.sink).stores_offsets = true;
        for order in [0, 1] {
            let commit = s.applies(order, &[(1, order as u64, 1 + order as u64)]);
            let (ledger, next) = (s.ledger(), i64::try_from(order).unwrap() + 1);
            let next = if wrong && order == 1 { 1 } else { next };
            s.b.offset_stored(ledger, (ORDERS, next), -1, commit, true);
        }
        s.done()
    }),
    ("stale-upsert", |wrong| {
        let mut s = Scene::new(2);
        s.b.sink_info(s.sink).overwrites = true;
        s.b.sink_info(s.sink).absorbs = true;
        s.applies(0, &[(1, 0, 11)]);
        s.applies(1, &[(1, 11, 12)]);
        s.applies(0, &[(1, 12, 11)]);
        if !wrong {
            s.applies(1, &[(1, 11, 12)]);
        }
        s.done()
    }),
    ("tombstone-resurrect", |wrong| {
        let mut s = Scene::new(0);
        s.order(7, true);
        s.order(7, false);
        let info = s.b.sink_info(s.sink);
        (info.overwrites, info.absorbs, info.tombstones) = (true, true, true);
        s.applies(0, &[(1, 0, 11)]);
        s.applies(1, &[(1, 11, 0)]);
        s.applies(0, &[(1, 0, 11)]);
        if !wrong {
            s.applies(1, &[(1, 11, 0)]);
        }
        s.done()
    }),
    ("lost-update", |wrong| {
        let mut s = Scene::new(2);
        s.applies(0, &[(1, 0, 11)]);
        let read_at = u64::from(!wrong);
        s.b.apply_with(s.effect(1), 2, &[(1, 11, 15)], -1, read_at);
        s.done()
    }),
    ("idem-key-collision", |wrong| {
        let mut s = api(2);
        s.asks(0, 0, 7, (AskOutcome::Ok, 1));
        s.b.apply(s.effect(0), 1, &[(1, 0, 11)]);
        s.asks(0, 1, 7 + u64::from(!wrong), (AskOutcome::Ok, 1));
        if wrong {
            let (effect, original) = (s.effect(1), s.effect(0));
            let same_payload = true;
            let api = s.ledger();
            s.b.external(api, ExternalEvent::Replayed { effect, original, same_payload });
        } else {
            s.b.apply(s.effect(1), 2, &[(2, 0, 11)]);
        }
        s.done()
    }),
    ("idem-key-instability", |wrong| {
        let mut s = api(1);
        s.asks(0, 0, 7, (AskOutcome::Unknown(SystemError::Timeout), 0));
        s.asks(0, 0, 7 + u64::from(wrong), (AskOutcome::Ok, 1));
        s.b.apply(s.effect(0), 1, &[(1, 0, 11)]);
        s.done()
    }),
    ("dedup-window-miss", |wrong| {
        let mut s = api(1);
        s.asks(0, 0, 7, (AskOutcome::Unknown(SystemError::Timeout), 0));
        s.b.apply(s.effect(0), 1, &[(1, 0, 11)]);
        let (effect, api) = (s.effect(0), s.ledger());
        s.b.external(api, ExternalEvent::KeyEvicted { effect });
        s.asks(0, 0, 7, (AskOutcome::Ok, 2));
        if wrong {
            s.b.apply(s.effect(0), 2, &[(2, 0, 11)]);
        }
        s.done()
    }),
    ("dedup-before-effect", |wrong| {
        let mut s = dedup();
        s.marks(0, 1);
        s.commits = 1;
        if !wrong {
            s.applies(0, &[(1, 0, 11)]);
        }
        s.done()
    }),
    ("dedup-after-effect", |wrong| {
        let mut s = dedup();
        let commit = s.applies(0, &[(1, 0, 11)]);
        s.marks(0, commit + 1);
        s.commits += 1;
        if wrong {
            s.applies(0, &[(2, 0, 11)]);
        }
        s.done()
    }),
    ("dedup-replay-mismatch", |wrong| {
        let mut s = api(1);
        s.asks(0, 0, 7, (AskOutcome::Ok, 1));
        s.b.apply(s.effect(0), 1, &[(1, 0, 11)]);
        s.asks(0, 0, 7, (AskOutcome::Ok, 1));
        let (effect, original, same_payload) = (s.effect(0), s.effect(0), !wrong);
        let api = s.ledger();
        s.b.external(api, ExternalEvent::Replayed { effect, original, same_payload });
        s.done()
    }),
    ("zombie-effect", |wrong| {
        let mut s = Scene::new(2);
        s.b.apply_with(s.effect(0), 1, &[(1, 0, 11)], 3, u64::MAX);
        s.b.apply_with(s.effect(1), 2, &[(2, 0, 12)], if wrong { 2 } else { 3 }, u64::MAX);
        s.done()
    }),
    ("effect-indeterminate-unresolved", |wrong| {
        let mut s = api(1);
        s.asks(0, 0, 7, (AskOutcome::Unknown(SystemError::Timeout), 0));
        if !wrong {
            s.b.effect_done(s.mailer[0], s.effect(0), false);
        }
        s.done()
    }),
];

fn api(orders: i64) -> Scene {
    Scene::with(SystemKind::Api, orders)
}

fn dedup() -> Scene {
    let mut s = Scene::new(1);
    s.b.sink_info(s.sink).dedups = true;
    s
}

fn phantom(wrong: bool) -> History {
    let mut s = Scene::new(1);
    for mailer in s.mailer {
        s.b.read_committed(mailer);
    }
    s.applies(0, &[(1, 0, 11)]);
    let other = s.b.send(s.shop, ORDERS);
    s.b.unknown(other);
    s.b.apply(EffectId { record: other, ..s.effect(0) }, 9, &[(7, 0, 5)]);
    if !wrong {
        s.records.push(other);
    }
    s.done()
}

/// A processor that has an effect for each order before it makes an invoice of it; one delivery of
/// the one order for each of these ends.
fn before_commit(ends: &[TransactionResult]) -> History {
    let mut b = HistoryBuilder::new();
    let (orders, invoices) = (b.topic("orders", 1), b.topic("invoices", 1));
    let billing = b.group("billing", &[orders]);
    let info = ProcessorInfo { to: vec![invoices], transform: Transform::Map, transactional: true };
    b.processor(billing, info);
    let (shop, auditor) = (b.producer("shop"), b.auditor());
    let by = (b.consumer("billing-0", billing), b.producer("billing-0-producer"));
    b.read_committed(auditor).read_committed(by.0);
    let payments = b.system("payments", SystemKind::Api);
    let sink = b.sink("payments", payments, billing);
    b.sink_info(sink).before_commit = true;
    b.client(by.0, ClientKind::Subscribe { group: billing });
    b.init_transactions(by.1, "billing", (4, 0));
    let order = b.send(shop, ORDERS);
    b.acked(order, ORDERS, 0);
    let effect = EffectId { record: order, sink, step: 0 };
    let to = TopicPartition::new(invoices, 0);
    let (mut end, mut shown) = (0, Vec::new());
    for (number, result) in (1..).zip(ends) {
        b.begin(by.1, number);
        let call = b.ask(by.0, payments, Operation::Perform, Some(effect), 7);
        if number == 1 {
            b.apply(effect, 1, &[(1, 0, 11)]);
        }
        b.answer(by.0, call, AskOutcome::Ok, 1);
        let value = oncesim_types::lineage::transformed(order, 0);
        let record = b.emit(by, (ORDERS, 0, order), Output::Ordinal(0), to, value);
        b.acked(record, to, end);
        if *result == TransactionResult::Commit {
            b.send_offsets(by.1, number, by.0, &[(ORDERS, 1)]);
            shown.push((end, record));
        }
        b.end_transaction(by.1, number, *result, Outcome::Ok);
        end += 2;
    }
    b.drain(auditor, ORDERS, &[order]);
    b.drain_at(auditor, to, &shown, end);
    b.finish()
}

macro_rules! row {
    ($id:literal, $severity:ident) => {
        ($id, $severity, || {
            let (_, story) = STORIES.iter().find(|(id, _)| *id == $id).expect("a story");
            story(true)
        })
    };
}

pub(super) const TABLE_G: &[Row] = &[
    row!("effect-lost", Legal),
    row!("effect-duplicate", Legal),
    row!("effect-phantom", UnderThisConfiguration),
    row!("effect-before-commit", UnderThisConfiguration),
    row!("offset-effect-skew", UnderThisConfiguration),
    row!("stale-upsert", Legal),
    row!("tombstone-resurrect", Legal),
    row!("lost-update", Legal),
    row!("idem-key-collision", Legal),
    row!("idem-key-instability", Legal),
    row!("dedup-window-miss", Legal),
    row!("dedup-before-effect", Legal),
    row!("dedup-after-effect", Legal),
    row!("dedup-replay-mismatch", Legal),
    row!("partial-effect", Legal),
    row!("zombie-effect", Legal),
    row!("effect-indeterminate-unresolved", UnderThisConfiguration),
];

#[test]
fn a_healthy_twin_shows_nothing_of_it() {
    assert_eq!(TABLE_G.len(), STORIES.len());
    for (id, story) in STORIES {
        let verdict = check(&story(false));
        assert!(!ids(&verdict).contains(&id), "{id}: {:?}", ids(&verdict));
    }
}

#[test]
fn an_early_effect_of_a_record_that_was_committed_later_is_legal() {
    use TransactionResult::{Abort, Commit};
    let verdict = check(&before_commit(&[Abort, Commit]));
    assert_eq!(super::found(&verdict, "effect-before-commit").severity, Legal);
    assert_eq!(super::cells(&verdict, crate::Level::Effect), "hhh");
    let verdict = check(&before_commit(&[Abort]));
    assert_eq!(super::cells(&verdict, crate::Level::Effect), "hhv");
}

#[test]
fn a_mark_that_was_forgotten_does_not_stop_a_redelivery() {
    for (forgotten, found) in [(true, "dedup-window-miss"), (false, "dedup-after-effect")] {
        let mut s = dedup();
        s.b.sink_info(s.sink).window = Some(oncesim_types::Duration::from_secs(10));
        let commit = s.applies(0, &[(1, 0, 11)]);
        s.marks(0, commit + u64::from(!forgotten));
        let ledger = s.ledger();
        if forgotten {
            s.b.external(ledger, ExternalEvent::DedupEvicted { commit: 3, rows: 1 });
        }
        s.commits = 3;
        s.applies(0, &[(2, 0, 11)]);
        let verdict = check(&s.done());
        let dedup: Vec<_> =
            ids(&verdict).into_iter().filter(|id| id.starts_with("dedup")).collect();
        assert_eq!(dedup, [found]);
    }
}

#[test]
fn a_key_that_was_refused_for_another_payload_is_a_collision() {
    let mut s = api(2);
    s.asks(0, 0, 7, (AskOutcome::Ok, 1));
    s.b.apply(s.effect(0), 1, &[(1, 0, 11)]);
    s.asks(0, 1, 7, (AskOutcome::Refused(SystemError::KeyReused), 0));
    let verdict = check(&s.done());
    let collision = super::found(&verdict, "idem-key-collision");
    assert_eq!(
        collision.witness.sentence,
        "a request to ledger for the effect of shop #1 was refused: its idempotency key stands for \
         shop #0"
    );
}

#[test]
fn another_answer_to_the_same_request_is_a_mismatch() {
    for (answers, found) in [([1, 1], false), ([1, 2], true)] {
        let mut s = api(1);
        for answer in answers {
            s.asks(0, 0, 7, (AskOutcome::Ok, answer));
        }
        s.b.apply(s.effect(0), 1, &[(1, 0, 11)]);
        assert_eq!(ids(&check(&s.done())).contains(&"dedup-replay-mismatch"), found);
    }
}

#[test]
fn a_deletion_that_finds_nothing_still_ends_a_row() {
    for (offsets, found) in [([0, 1], true), ([1, 0], false)] {
        let mut s = Scene::new(0);
        for offset in 0..2 {
            s.order(7, offsets[0] == offset);
        }
        s.b.sink_info(s.sink).tombstones = true;
        s.applies(offsets[1], &[]);
        s.applies(offsets[0], &[(1, 0, 11)]);
        let verdict = check(&s.done());
        assert_eq!(ids(&verdict).contains(&"tombstone-resurrect"), found, "{offsets:?}");
    }
}

#[test]
fn an_older_record_of_another_partition_has_no_order() {
    let mut s = Scene::new(1);
    s.b.sink_info(s.sink).overwrites = true;
    let other = TopicPartition { partition: 1, ..ORDERS };
    let record = s.b.send(s.shop, other);
    s.b.acked(record, other, 0);
    s.b.apply(EffectId { record, ..s.effect(0) }, 1, &[(1, 0, 12)]);
    s.commits = 1;
    s.applies(0, &[(1, 12, 11)]);
    s.b.drain(s.auditor, other, &[record]);
    assert!(!ids(&check(&s.done())).contains(&"stale-upsert"));
}

#[test]
fn an_offset_that_passes_a_missing_effect_is_a_skew() {
    for (applied, found) in [(true, false), (false, true)] {
        let mut s = Scene::new(2);
        s.b.sink_info(s.sink).stores_offsets = true;
        if applied {
            let commit = s.applies(0, &[(1, 0, 11)]);
            let ledger = s.ledger();
            s.b.offset_stored(ledger, (ORDERS, 1), 1, commit, true);
        }
        let commit = s.applies(1, &[(2, 0, 12)]);
        let ledger = s.ledger();
        s.b.offset_stored(ledger, (ORDERS, 2), 1, commit, true);
        let verdict = check(&s.done());
        assert_eq!(ids(&verdict).contains(&"offset-effect-skew"), found, "{:?}", ids(&verdict));
    }
}

#[test]
fn a_consumer_goes_on_where_it_is_told_to() {
    for (told, seek, first, found) in [
        (1, Some(1), 1, false),
        (1, Some(0), 0, true),
        (1, Some(2), 2, true),
        (1, None, 1, false),
        (1, None, 2, true),
        (1, None, 0, true),
        // Nobody has stored anything: it goes on where it likes.
        (-1, Some(0), 0, false),
        (-1, None, 2, false),
    ] {
        let mut s = Scene::new(3);
        s.b.sink_info(s.sink).stores_offsets = true;
        for order in 0..3 {
            let commit = s.applies(order, &[(order as u64, 0, 11)]);
            let (ledger, next) = (s.ledger(), order as i64 + 1);
            s.b.offset_stored(ledger, (ORDERS, next), 1, commit, true);
        }
        let (mailer, ledger) = (s.mailer[1], s.ledger());
        let call = s.b.ask(mailer, ledger, Operation::Execute, None, 0);
        let served = ExternalEvent::OffsetServed { partition: ORDERS, next: Offset(told) };
        s.b.external(ledger, served);
        s.b.answer(mailer, call, AskOutcome::Ok, 0);
        if let Some(to) = seek {
            s.b.position(mailer, ORDERS, to, PositionReason::Seek);
        }
        let polled = s.b.polled(ORDERS, first, s.records[usize::try_from(first).unwrap()]);
        s.b.poll(mailer, &[polled]);
        let verdict = check(&s.done());
        let skew = ids(&verdict).contains(&"offset-effect-skew");
        assert_eq!(skew, found, "{told} {seek:?} {first}");
    }
}

#[test]
fn a_consumer_may_go_on_with_what_it_has() {
    for (told, revoked, found) in [(1, false, false), (3, false, true), (1, true, true)] {
        let mut s = Scene::new(4);
        s.b.sink_info(s.sink).stores_offsets = true;
        let (mailer, ledger) = (s.mailer[0], s.ledger());
        for order in 0..4 {
            let commit = s.applies(order, &[(order as u64, 0, 11)]);
            s.b.offset_stored(ledger, (ORDERS, order as i64 + 1), 1, commit, true);
        }
        let polled = [0, 1].map(|o| s.b.polled(ORDERS, o, s.records[usize::try_from(o).unwrap()]));
        s.b.poll(mailer, &polled);
        if revoked {
            s.b.revoked(mailer, &[ORDERS]);
        }
        let call = s.b.ask(mailer, ledger, Operation::Execute, None, 0);
        let served = ExternalEvent::OffsetServed { partition: ORDERS, next: Offset(told) };
        s.b.external(ledger, served);
        s.b.answer(mailer, call, AskOutcome::Ok, 0);
        let polled = s.b.polled(ORDERS, 2, s.records[2]);
        s.b.poll(mailer, &[polled]);
        let verdict = check(&s.done());
        assert_eq!(ids(&verdict).contains(&"offset-effect-skew"), found, "{told} {revoked}");
    }
}

#[test]
fn what_is_prepared_is_finished() {
    for (finished, attempt) in [(None, 1), (Some(true), 1), (Some(false), 1), (Some(true), 2)] {
        let mut s = Scene::with(SystemKind::Staging, 1);
        let lake = s.ledger();
        let (first, next, partition) = (Offset(0), Offset(1), ORDERS);
        s.b.external(lake, ExternalEvent::Prepared { partition, first, next, attempt: 1 });
        if let Some(commit) = finished {
            s.b.external(lake, ExternalEvent::Finished { partition, attempt, commit });
        }
        s.applies(0, &[(1, 0, 11)]);
        let verdict = check(&s.done());
        let open = finished.is_none() || attempt != 1;
        assert_eq!(ids(&verdict).contains(&"effect-indeterminate-unresolved"), open);
    }
}

#[test]
fn a_commit_of_unknown_end_leaves_its_statements_open() {
    for (end, found) in [
        (Some(AskOutcome::Unknown(SystemError::ConnectionLost)), true),
        (Some(AskOutcome::Refused(SystemError::Deadlock)), false),
        (None, true),
    ] {
        let mut s = Scene::new(1);
        let (mailer, ledger, effect) = (s.mailer[0], s.ledger(), s.effect(0));
        for (operation, effect, end) in [
            (Operation::Begin, None, Some(AskOutcome::Ok)),
            (Operation::Execute, Some(effect), Some(AskOutcome::Ok)),
            (Operation::Commit, None, end),
        ] {
            let call = s.b.ask(mailer, ledger, operation, effect, 0);
            if let Some(end) = end {
                s.b.answer(mailer, call, end, 0);
            }
        }
        let verdict = check(&s.done());
        assert_eq!(ids(&verdict).contains(&"effect-indeterminate-unresolved"), found, "{end:?}");
        super::found(&verdict, "effect-lost");
    }
}

#[test]
fn a_run_that_never_came_to_rest_may_still_resolve_everything() {
    let mut s = api(1);
    s.asks(0, 0, 7, (AskOutcome::Unknown(SystemError::Timeout), 0));
    s.b.world(s.auditor, WorldEvent::NotSettled);
    let verdict = check(&s.done());
    assert!(!ids(&verdict).iter().any(|id| id.starts_with("effect")), "{:?}", ids(&verdict));
}
