//! Histories of the effect level.

use oncesim_history::{AskOutcome, ClientKind, HistoryBuilder, Output, SystemKind};
use oncesim_types::{
    ActorId, EffectId, GroupId, Operation, RecordId, SinkId, StatementRole, TopicId, TopicPartition,
};

use super::{cells, check, found, ids};
use crate::Level;

/// A shop, the topic orders, and a mailer that writes into the ledger.
pub(super) struct Scene {
    pub(super) b: HistoryBuilder,
    pub(super) shop: ActorId,
    pub(super) auditor: ActorId,
    pub(super) mailer: [ActorId; 2],
    pub(super) sink: SinkId,
    pub(super) records: Vec<RecordId>,
    pub(super) commits: u64,
}

pub(super) const ORDERS: TopicPartition = TopicPartition::new(TopicId(0), 0);

impl Scene {
    /// So many orders in the log.
    pub(super) fn new(orders: i64) -> Scene {
        Scene::with(SystemKind::Database, orders)
    }

    pub(super) fn with(kind: SystemKind, orders: i64) -> Scene {
        let mut b = HistoryBuilder::new();
        let topic = b.topic("orders", 1);
        let group = b.group("mailer", &[topic]);
        let (shop, auditor) = (b.producer("shop"), b.auditor());
        let mailer = [b.consumer("mailer-0", group), b.consumer("mailer-1", group)];
        let ledger = b.system("ledger", kind);
        let sink = b.sink("ledger", ledger, group);
        b.client(mailer[0], ClientKind::Subscribe { group });
        let records: Vec<_> = (0..orders)
            .map(|offset| {
                let record = b.send(shop, ORDERS);
                b.acked(record, ORDERS, offset);
                record
            })
            .collect();
        Scene { b, shop, auditor, mailer, sink, records, commits: 0 }
    }

    pub(super) fn effect(&self, order: usize) -> EffectId {
        EffectId { record: self.records[order], sink: self.sink, step: 0 }
    }

    /// The next commit of the ledger applies an order: row, before, after.
    pub(super) fn applies(&mut self, order: usize, rows: &[(u64, u64, u64)]) -> u64 {
        let (effect, client) = (self.effect(order), self.mailer[0]);
        self.b.asked_and_done(client, (self.sink, effect.record), Operation::Execute);
        self.commits += 1;
        self.b.apply(effect, self.commits, rows);
        self.b.effect_done(client, effect, false);
        self.b.processed(client, ORDERS, i64::try_from(order).unwrap(), effect.record);
        self.commits
    }

    /// The system of the sink.
    pub(super) fn ledger(&mut self) -> ActorId {
        self.b.sink_info(self.sink).system
    }

    /// A mailer asks for an order's effect under a key, and is told this.
    pub(super) fn asks(&mut self, mailer: usize, order: usize, key: u64, told: (AskOutcome, u64)) {
        let (effect, ledger) = (self.effect(order), self.ledger());
        let call = self.b.ask(self.mailer[mailer], ledger, Operation::Perform, Some(effect), key);
        self.b.answer(self.mailer[mailer], call, told.0, told.1);
    }

    /// A commit marks an order as seen.
    pub(super) fn marks(&mut self, order: usize, commit: u64) {
        let (ledger, record) = (self.ledger(), self.records[order]);
        self.b.committed(ledger, StatementRole::DedupMark, Some(record), commit, 1);
    }

    /// One more record in the log.
    pub(super) fn order(&mut self, key: u32, value: bool) {
        let offset = i64::try_from(self.records.len()).unwrap();
        let record = match value {
            true => self.b.send_keyed(self.shop, ORDERS, Some(key)),
            false => self.b.send_tombstone(self.shop, ORDERS, Some(key)),
        };
        self.b.acked(record, ORDERS, offset);
        self.records.push(record);
    }

    pub(super) fn done(mut self) -> oncesim_history::History {
        let records = self.records.clone();
        self.b.drain(self.auditor, ORDERS, &records);
        self.b.finish()
    }
}

#[test]
fn each_effect_once_is_exactly_once() {
    let mut s = Scene::new(2);
    s.applies(0, &[(1, 0, 11)]);
    s.applies(1, &[(2, 0, 12)]);
    let verdict = check(&s.done());
    assert_eq!(ids(&verdict), [""; 0]);
    assert_eq!(cells(&verdict, Level::Effect), "hhh");
    let count = |what| verdict.witnesses.iter().find(|w| w.what == what).unwrap().count;
    assert_eq!((count("effects asked for"), count("effects applied")), (2, 2));
}

#[test]
fn nothing_is_proved_of_a_sink_that_did_nothing() {
    let verdict = check(&Scene::new(0).done());
    assert_eq!(cells(&verdict, Level::Effect), "uuu");
    let verdict = check(&Scene::new(1).done());
    assert_eq!(cells(&verdict, Level::Effect), "uvv");
}

#[test]
fn an_effect_that_is_missing_is_lost() {
    let mut s = Scene::new(2);
    s.applies(1, &[(2, 0, 12)]);
    let verdict = check(&s.done());
    let lost = found(&verdict, "effect-lost");
    assert_eq!(
        lost.witness.sentence,
        "ledger never applied the effect of shop #0 (orders-0 offset 0), and nobody asked for it"
    );
    assert_eq!(cells(&verdict, Level::Effect), "hvv");
}

#[test]
fn a_second_row_is_a_duplicate_and_the_same_row_is_not() {
    for (again, absorbs, cell) in [
        ((2, 0, 11), false, "vhv"),
        ((2, 0, 11), true, "vhv"),
        ((1, 11, 12), false, "vhv"),
        ((1, 11, 12), true, "hhh"),
        ((1, 11, 11), false, "hhh"),
    ] {
        let mut s = Scene::new(1);
        s.b.sink_info(s.sink).absorbs = absorbs;
        s.applies(0, &[(1, 0, 11)]);
        s.applies(0, &[again]);
        assert_eq!(cells(&check(&s.done()), Level::Effect), cell, "{again:?} {absorbs}");
    }
}

#[test]
fn a_call_of_an_api_cannot_be_absorbed() {
    let mut s = Scene::with(SystemKind::Api, 1);
    s.b.sink_info(s.sink).absorbs = true;
    s.applies(0, &[(1, 0, 11)]);
    s.applies(0, &[(1, 0, 11)]);
    let verdict = check(&s.done());
    assert!(found(&verdict, "effect-duplicate").witness.sentence.contains("2 times: in commit 1"));
}

#[test]
fn a_record_that_is_in_the_log_twice_asks_for_one_effect() {
    for (row, cell) in [(1, "hhh"), (2, "vhv")] {
        let mut s = Scene::new(1);
        s.b.sink_info(s.sink).absorbs = true;
        s.records.push(s.records[0]);
        s.applies(0, &[(1, 0, 11)]);
        s.applies(1, &[(row, if row == 1 { 11 } else { 0 }, 11)]);
        assert_eq!(cells(&check(&s.done()), Level::Effect), cell);
    }
}

#[test]
fn an_output_that_was_made_twice_asks_for_one_effect() {
    for (rows, cell) in [([1, 1], "hhh"), ([1, 2], "vhv")] {
        let mut b = HistoryBuilder::new();
        let (orders, invoices) = (b.topic("orders", 1), b.topic("invoices", 1));
        let (billing, mailing) = (b.group("billing", &[orders]), b.group("mailer", &[invoices]));
        let (shop, auditor) = (b.producer("shop"), b.auditor());
        let (consumer, producer) = (b.consumer("billing-0", billing), b.producer("billing-0-p"));
        let mailer = b.consumer("mailer-0", mailing);
        let ledger = b.system("ledger", SystemKind::Database);
        let sink = b.sink("ledger", ledger, mailing);
        b.sink_info(sink).absorbs = true;
        b.client(mailer, ClientKind::Subscribe { group: mailing });
        let order = b.send(shop, ORDERS);
        b.acked(order, ORDERS, 0);
        let to = TopicPartition::new(invoices, 0);
        let mut made = Vec::new();
        for (offset, row) in (0..).zip(rows) {
            let by = (consumer, producer);
            let record = b.emit(by, (ORDERS, 0, order), Output::Ordinal(0), to, 5);
            b.acked(record, to, offset);
            b.asked_and_done(mailer, (sink, record), Operation::Execute);
            let effect = EffectId { record, sink, step: 0 };
            b.apply(effect, 1 + u64::try_from(offset).unwrap(), &[(row, 0, 11)]);
            made.push(record);
        }
        b.drain(auditor, ORDERS, &[order]);
        b.drain(auditor, to, &made);
        let verdict = check(&b.finish());
        assert_eq!(cells(&verdict, Level::Effect), cell, "{:?}", ids(&verdict));
    }
}

#[test]
fn tombstones_ask_only_where_they_are_wanted() {
    for (wanted, cell) in [(false, "hhh"), (true, "hvv")] {
        let mut s = Scene::new(1);
        s.b.sink_info(s.sink).tombstones = wanted;
        let record = s.b.send_tombstone(s.shop, ORDERS, Some(1));
        s.b.acked(record, ORDERS, 1);
        s.records.push(record);
        s.applies(0, &[(1, 0, 11)]);
        assert_eq!(cells(&check(&s.done()), Level::Effect), cell);
    }
}

#[test]
fn an_effect_of_several_steps_is_all_or_nothing() {
    for (steps, found) in
        [(0, &["effect-lost"][..]), (1, &["effect-lost", "partial-effect"]), (2, &[])]
    {
        let mut s = Scene::new(1);
        s.b.sink_info(s.sink).steps = 2;
        for step in 0..steps {
            let effect = EffectId { step, ..s.effect(0) };
            s.b.asked_and_done(s.mailer[0], (s.sink, effect.record), Operation::Execute);
            s.b.apply(effect, 1 + u64::from(step), &[(1 + u64::from(step), 0, 11)]);
        }
        let verdict = check(&s.done());
        let got: Vec<_> = ids(&verdict).into_iter().filter(|id| id.contains("effect")).collect();
        assert_eq!(got, found);
    }
}

#[test]
fn an_effect_of_a_record_that_never_was_visible_is_a_phantom() {
    let mut s = Scene::new(1);
    s.applies(0, &[(1, 0, 11)]);
    let stranger = s.b.send(s.shop, ORDERS);
    s.b.unknown(stranger);
    s.b.apply(EffectId { record: stranger, ..s.effect(0) }, 9, &[(7, 0, 5)]);
    let verdict = check(&s.done());
    let phantom = found(&verdict, "effect-phantom");
    assert_eq!(
        phantom.witness.sentence,
        "ledger applied the effect of shop #1 in commit 9 at 0.011000s, which is not in the log"
    );
    assert_eq!(cells(&verdict, Level::Effect).chars().last(), Some('v'));
}

#[test]
fn a_group_that_starts_at_the_end_owes_nothing_before() {
    let mut s = Scene::new(2);
    s.b.from_latest(GroupId(0));
    let reason = oncesim_history::PositionReason::NoCommittedOffset;
    s.b.position(s.mailer[0], ORDERS, 1, reason);
    s.applies(1, &[(2, 0, 12)]);
    assert_eq!(cells(&check(&s.done()), Level::Effect), "hhh");
}
