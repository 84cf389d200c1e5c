//! One small history per row of table H, and what becomes of each when a thing is different.

use oncesim_history::{
    AnnouncementInfo, Announcing, ExternalEvent, History, HistoryBuilder, Outcome, ProcessorInfo,
    Promise, RelayInfo, RelayProgress, SystemKind, WorldEvent,
};
use oncesim_types::{
    ActorId, EffectId, ErrorCode, Operation, RecordId, SinkId, StatementRole, TopicId,
    TopicPartition, Transform,
};

use super::rows::Row;
use super::{cells, check, found, ids, orders};
use crate::Severity::{self, Always, Informative, Legal, UnderThisConfiguration};
use crate::{Anomaly, Level, Verdict};

/// Two instances of a service, their database, and a relay that publishes to the topic orders.
struct Shop {
    b: HistoryBuilder,
    service: [ActorId; 2],
    database: ActorId,
    relay: ActorId,
    auditor: ActorId,
    next: u64,
    commits: u64,
    log: Vec<RecordId>,
}

impl Shop {
    /// An outbox with a relay.
    fn relayed(progress: RelayProgress) -> Shop {
        Shop::new(Announcing::Outbox, Some(progress))
    }

    fn new(how: Announcing, progress: Option<RelayProgress>) -> Shop {
        let mut b = HistoryBuilder::new();
        let to = b.topic("orders", 2);
        let service = [b.producer("shop-0"), b.producer("shop-1")];
        let database = b.system("shop", SystemKind::Database);
        let relay = b.producer("relay");
        let auditor = b.auditor();
        for service in service {
            b.announcement(AnnouncementInfo { service, database, to, how });
        }
        if let Some(progress) = progress {
            b.relay(RelayInfo { relay, database, to, progress });
        }
        Shop { b, service, database, relay, auditor, next: 0, commits: 0, log: Vec::new() }
    }

    /// The first instance begins an operation on an aggregate.
    fn intends(&mut self, aggregate: u32) -> RecordId {
        self.intends_at(0, aggregate)
    }

    fn intends_at(&mut self, instance: usize, aggregate: u32) -> RecordId {
        let service = self.service[instance];
        let record = RecordId::new(service, self.next);
        self.next += 1;
        self.b.external(service, ExternalEvent::Intended { record, aggregate });
        record
    }

    /// The database commits its transaction, which had drawn this number.
    fn commits(&mut self, record: RecordId, sequence: i64) {
        self.commits += 1;
        for role in [StatementRole::Business, StatementRole::Outbox] {
            self.notes(role, record, sequence, 1);
        }
    }

    fn notes(&mut self, role: StatementRole, record: RecordId, sequence: i64, changed: u32) {
        let (record, commit) = (Some(record), self.commits);
        let committed = ExternalEvent::Committed { role, record, commit, sequence, changed };
        self.b.external(self.database, committed);
    }

    /// An operation from its beginning to its commit.
    fn order(&mut self, aggregate: u32) -> RecordId {
        let record = self.intends(aggregate);
        let sequence = i64::try_from(self.commits).unwrap() + 1;
        self.commits(record, sequence);
        record
    }

    fn sends(&mut self, by: ActorId, record: RecordId) {
        self.b.send_again(by, orders(0), record, None);
    }

    /// The log has it, and says so.
    fn acks(&mut self, by: ActorId, record: RecordId) {
        let offset = i64::try_from(self.log.len()).unwrap();
        self.b.send_end_at(by, record, Some(orders(0)), Outcome::Ok, Some(offset));
        self.log.push(record);
    }

    /// The relay publishes it.
    fn publishes(&mut self, record: RecordId) {
        self.sends(self.relay, record);
        self.acks(self.relay, record);
    }

    fn marks(&mut self, record: RecordId) {
        self.commits += 1;
        self.notes(StatementRole::RelayMark, record, 0, 1);
    }

    fn moves_to(&mut self, position: i64) {
        self.b.external(self.relay, ExternalEvent::RelayPosition { position });
    }

    fn starts_from(&mut self, position: i64) {
        let started = ExternalEvent::RelayStarted { position, snapshot: false };
        self.b.external(self.relay, started);
    }

    fn done(mut self) -> History {
        self.b.drain(self.auditor, orders(0), &self.log);
        self.b.drain(self.auditor, orders(1), &[]);
        self.b.finish()
    }
}

/// The rows of this table that were found.
fn of_table(verdict: &Verdict) -> Vec<(&'static str, Severity)> {
    let table = |a: &&Anomaly| a.id().starts_with("outbox") || a.id().starts_with("inbox");
    verdict.anomalies.iter().filter(table).map(|a| (a.id(), a.severity)).collect()
}

pub(super) const TABLE_H: &[Row] = &[
    ("outbox-missing", Legal, || {
        let mut s = Shop::new(Announcing::DatabaseFirst, None);
        s.order(1);
        s.done()
    }),
    ("outbox-phantom", Legal, || {
        let mut s = Shop::new(Announcing::LogFirst, None);
        announced(&mut s);
        s.done()
    }),
    ("outbox-duplicate", Legal, || {
        let mut s = Shop::relayed(RelayProgress::MarkAfterAck);
        let record = s.order(1);
        s.publishes(record);
        s.publishes(record);
        s.done()
    }),
    ("outbox-skip-gap", Legal, || overtaken(RelayProgress::Cursor, true)),
    ("outbox-order", Legal, || swapped(RelayProgress::MarkAfterAck, [1, 1])),
    ("outbox-premature-mark", Legal, || marked(RelayProgress::MarkBeforeAck, Marked::AndLost)),
    ("outbox-stuck", UnderThisConfiguration, || {
        let mut s = Shop::relayed(RelayProgress::MarkAfterAck);
        s.order(1);
        s.done()
    }),
    ("inbox-dup", Legal, || Inbox::new().done(&[(1, 0, 11), (2, 0, 11)], 2)),
    ("inbox-miss", UnderThisConfiguration, || Inbox::new().done(&[], 1)),
];

/// A dual write that sends first.
fn announced(s: &mut Shop) -> RecordId {
    let (service, record) = (s.service[0], s.intends(1));
    s.sends(service, record);
    s.acks(service, record);
    record
}

/// The second transaction commits first, and the relay reads between the two commits.
fn overtaken(progress: RelayProgress, between: bool) -> History {
    let mut s = Shop::relayed(progress);
    let [first, second] = [1, 2].map(|aggregate| s.intends(aggregate));
    s.commits(second, 8);
    if between {
        s.publishes(second);
    }
    s.commits(first, 7);
    if !between {
        s.publishes(first);
        s.publishes(second);
    }
    // It had read before the second commit, and moves its cursor after it.
    s.moves_to(if progress == RelayProgress::Cursor { 8 } else { 1 });
    s.done()
}

/// Two operations are published in the other order than they were committed in.
fn swapped(progress: RelayProgress, aggregates: [u32; 2]) -> History {
    let mut s = Shop::relayed(progress);
    let [first, second] = aggregates.map(|aggregate| s.order(aggregate));
    s.publishes(second);
    s.publishes(first);
    s.done()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marked {
    /// It is never sent.
    AndLost,
    /// It is sent later.
    AndSent,
    /// It had been acknowledged before, and the log lost it.
    LostByTheLog,
}

/// A relay marks a row.
fn marked(progress: RelayProgress, marked: Marked) -> History {
    let mut s = Shop::relayed(progress);
    let record = s.order(1);
    if marked == Marked::LostByTheLog {
        s.publishes(record);
        s.log.clear();
    }
    s.marks(record);
    if marked == Marked::AndSent {
        s.publishes(record);
    }
    s.done()
}

#[test]
fn what_is_committed_is_published_and_nothing_else() {
    for (how, progress) in [
        (Announcing::Outbox, Some(RelayProgress::MarkAfterAck)),
        (Announcing::Outbox, Some(RelayProgress::Cursor)),
        (Announcing::Outbox, Some(RelayProgress::Capture)),
        (Announcing::DatabaseFirst, None),
    ] {
        let mut s = Shop::new(how, progress);
        for aggregate in [1, 2, 1] {
            let record = s.order(aggregate);
            match progress {
                None => {
                    s.sends(s.service[0], record);
                    s.acks(s.service[0], record);
                }
                Some(_) => s.publishes(record),
            }
        }
        // A transaction that was rolled back owes nothing.
        s.intends(1);
        let verdict = check(&s.done());
        assert_eq!(of_table(&verdict), [], "{how:?} {progress:?}");
        assert_eq!(cells(&verdict, Level::Effect), "hhh");
        let count = |what| verdict.witnesses.iter().find(|w| w.what == what).unwrap().count;
        assert_eq!((count("committed operations"), count("announced operations")), (3, 3));
    }
}

#[test]
fn nothing_is_proved_of_services_that_committed_nothing() {
    let mut s = Shop::relayed(RelayProgress::Capture);
    s.intends(1);
    assert_eq!(cells(&check(&s.done()), Level::Effect), "uuu");
    // Nor of a topic that was not read to its end.
    let mut s = Shop::relayed(RelayProgress::Capture);
    let record = s.order(1);
    s.publishes(record);
    s.b.drain(s.auditor, orders(0), &s.log);
    assert_eq!(cells(&check(&s.b.finish()), Level::Effect), "uuu");
}

#[test]
fn a_dual_write_loses_or_invents() {
    let verdict = check(&TABLE_H[0].2());
    assert_eq!(
        found(&verdict, "outbox-missing").witness.sentence,
        "shop-0 #0 was committed at 0.002000s in commit 1 of shop, and orders does not have it"
    );
    assert_eq!(cells(&verdict, Level::Effect), "hvv");
    let verdict = check(&TABLE_H[1].2());
    assert_eq!(
        found(&verdict, "outbox-phantom").witness.sentence,
        "shop-0 #0 is in the log at orders-0 offset 0, and shop never committed it"
    );
    assert_eq!(cells(&verdict, Level::Effect), "uuv");
}

#[test]
fn a_phantom_of_an_outbox_is_a_defect() {
    for (how, severity) in [
        (Announcing::Outbox, Always),
        (Announcing::DatabaseFirst, UnderThisConfiguration),
        (Announcing::LogFirst, Legal),
        (Announcing::InsideTransaction, Legal),
    ] {
        let mut s = Shop::new(how, None);
        announced(&mut s);
        assert_eq!(of_table(&check(&s.done())), [("outbox-phantom", severity)], "{how:?}");
    }
}

#[test]
fn a_transaction_that_changed_nothing_announces_nothing_that_is_wrong() {
    let mut s = Shop::new(Announcing::LogFirst, None);
    let record = announced(&mut s);
    s.commits += 1;
    s.notes(StatementRole::Business, record, 1, 0);
    let quiet = s.intends(1);
    s.commits += 1;
    s.notes(StatementRole::Business, quiet, 2, 0);
    assert_eq!(of_table(&check(&s.done())), []);
}

#[test]
fn a_duplicate_is_counted_only_where_effects_come_of_the_topic() {
    let sinks = [(None, Legal), (Some(false), Informative), (Some(true), Informative)];
    for (through_processor, severity) in sinks {
        let mut s = Shop::relayed(RelayProgress::MarkAfterAck);
        let record = s.order(1);
        if let Some(through_processor) = through_processor {
            feeds(&mut s.b, through_processor, record);
        }
        s.publishes(record);
        s.publishes(record);
        let verdict = check(&s.done());
        assert!(of_table(&verdict).contains(&("outbox-duplicate", severity)));
        let at_most_once = cells(&verdict, Level::Effect).chars().next();
        assert_eq!(at_most_once == Some('v'), severity == Legal, "{through_processor:?}");
    }
}

/// A sink on the topic, or behind a processor of it.
fn feeds(b: &mut HistoryBuilder, through_processor: bool, record: RecordId) {
    let mut group = b.group("mailer", &[TopicId(0)]);
    if through_processor {
        let to = b.topic("invoices", 1);
        let processor =
            ProcessorInfo { to: vec![to], transform: Transform::Map, transactional: false };
        b.processor(group, processor);
        group = b.group("billing", &[to]);
    }
    let mailer = b.consumer("mailer-0", group);
    let ledger = b.system("ledger", SystemKind::Database);
    let sink = b.sink("ledger", ledger, group);
    b.asked_and_done(mailer, (sink, record), Operation::Execute);
    b.apply(EffectId { record, sink, step: 0 }, 1, &[(1, 0, 11)]);
}

#[test]
fn a_cursor_skips_what_is_committed_behind_it() {
    let verdict = check(&overtaken(RelayProgress::Cursor, true));
    assert_eq!(of_table(&verdict), [("outbox-missing", Legal), ("outbox-skip-gap", Legal)]);
    assert_eq!(
        found(&verdict, "outbox-skip-gap").witness.sentence,
        "shop-0 #0 was committed at 0.007000s in commit 2 of shop, and orders does not have it: \
         the relay's cursor went past 7 at 0.009000s, with what it had read before that commit"
    );
    assert_eq!(of_table(&check(&overtaken(RelayProgress::Cursor, false))), []);
    // A position in the database's log passes nothing that is committed later.
    let verdict = check(&overtaken(RelayProgress::Capture, true));
    assert_eq!(of_table(&verdict), [("outbox-stuck", UnderThisConfiguration)]);
}

#[test]
fn a_row_that_was_committed_before_the_cursor_passed_is_missing_for_another_reason() {
    for (progress, to, severity) in [
        (RelayProgress::Cursor, 2, UnderThisConfiguration),
        (RelayProgress::Cursor, 9, UnderThisConfiguration),
        (RelayProgress::Capture, 2, UnderThisConfiguration),
    ] {
        let mut s = Shop::relayed(progress);
        let (_lost, second) = (s.order(1), s.order(2));
        s.publishes(second);
        s.moves_to(to);
        assert_eq!(of_table(&check(&s.done())), [("outbox-missing", severity)], "{progress:?}");
    }
}

#[test]
fn a_relay_that_would_still_publish_is_stuck() {
    for (progress, positions, stuck) in [
        (RelayProgress::Cursor, &[][..], true),
        (RelayProgress::Cursor, &[0], true),
        (RelayProgress::Cursor, &[1], false),
        // It went back to where it would find the row.
        (RelayProgress::Cursor, &[1, -1], true),
        (RelayProgress::Capture, &[0], true),
        (RelayProgress::Capture, &[1], false),
        (RelayProgress::MarkBeforeAck, &[], true),
    ] {
        let mut s = Shop::relayed(progress);
        s.order(1);
        for &position in positions {
            if position < 0 { s.starts_from(position) } else { s.moves_to(position) }
        }
        let id = if stuck { "outbox-stuck" } else { "outbox-missing" };
        let verdict = check(&s.done());
        assert_eq!(ids(&verdict)[0], id, "{progress:?} {positions:?}");
        assert_eq!(of_table(&verdict).len(), 1);
        assert_eq!(cells(&verdict, Level::Effect), "hvv", "what never comes is lost");
    }
    // Where there is no row, nobody is to come.
    let mut s = Shop::relayed(RelayProgress::MarkAfterAck);
    let record = s.intends(1);
    s.commits += 1;
    s.notes(StatementRole::Business, record, 1, 1);
    let verdict = check(&s.done());
    assert_eq!(of_table(&verdict), [("outbox-missing", UnderThisConfiguration)]);
    // Where nobody is to come, nobody is late.
    let mut s = Shop::new(Announcing::Outbox, None);
    s.order(1);
    assert_eq!(of_table(&check(&s.done())), [("outbox-missing", Legal)]);
}

#[test]
fn in_a_world_that_never_rested_everything_may_be_late() {
    let mut s = Shop::new(Announcing::DatabaseFirst, None);
    s.order(1);
    s.b.world(s.auditor, WorldEvent::NotSettled);
    assert_eq!(of_table(&check(&s.done())), [("outbox-stuck", Informative)]);
    let mut s = Shop::new(Announcing::LogFirst, None);
    announced(&mut s);
    s.b.world(s.auditor, WorldEvent::NotSettled);
    assert_eq!(of_table(&check(&s.done())), []);
}

#[test]
fn a_mark_is_premature_only_if_the_event_never_came() {
    use RelayProgress::{MarkAfterAck, MarkBeforeAck};
    let missing = ("outbox-missing", UnderThisConfiguration);
    for (progress, what, expected) in [
        (
            MarkBeforeAck,
            Marked::AndLost,
            &[("outbox-missing", Legal), ("outbox-premature-mark", Legal)][..],
        ),
        (MarkBeforeAck, Marked::AndSent, &[]),
        (
            MarkAfterAck,
            Marked::AndLost,
            &[missing, ("outbox-premature-mark", UnderThisConfiguration)],
        ),
        (MarkAfterAck, Marked::LostByTheLog, &[missing]),
    ] {
        let verdict = check(&marked(progress, what));
        assert_eq!(of_table(&verdict), expected, "{progress:?} {what:?}");
    }
}

#[test]
fn an_acknowledgement_that_promises_little_may_lose_an_event() {
    let mut s = Shop::relayed(RelayProgress::MarkAfterAck);
    let promise = Promise { durable: false, idempotent: true, ordered: true };
    let relay = s.b.producer_with("careless", promise);
    let record = s.order(1);
    s.sends(relay, record);
    s.acks(relay, record);
    s.log.clear();
    s.marks(record);
    assert_eq!(of_table(&check(&s.done())), [("outbox-missing", Legal)]);
}

#[test]
fn what_the_log_owes_an_outbox_is_what_its_relays_promise() {
    for (durable, severity) in [(true, Always), (false, Legal)] {
        let mut s = Shop::relayed(RelayProgress::MarkAfterAck);
        let promise = Promise { durable, idempotent: true, ordered: true };
        let relay = s.b.producer_with("other", promise);
        let (database, to) = (s.database, TopicId(0));
        let progress = RelayProgress::MarkAfterAck;
        s.b.relay(RelayInfo { relay, database, to, progress });
        let record = s.order(1);
        s.sends(relay, record);
        s.acks(relay, record);
        s.log.clear();
        assert_eq!(found(&check(&s.done()), "lost-write-final").severity, severity);
    }
}

#[test]
fn an_event_that_was_never_acknowledged_and_is_there_is_there() {
    let mut s = Shop::relayed(RelayProgress::MarkBeforeAck);
    let record = s.order(1);
    s.marks(record);
    s.sends(s.relay, record);
    let lost = Outcome::Info(ErrorCode::RequestTimedOut);
    s.b.send_end_at(s.relay, record, None, lost, None);
    s.log.push(record);
    assert_eq!(of_table(&check(&s.done())), []);
}

#[test]
fn a_relay_that_started_again_has_nothing_unresolved() {
    for (again, unresolved) in [(true, false), (false, true)] {
        let mut s = Shop::relayed(RelayProgress::MarkAfterAck);
        let record = s.order(1);
        s.sends(s.relay, record);
        if again {
            let relay = s.relay;
            s.b.crash(relay, false);
            s.publishes(record);
            s.moves_to(1);
        }
        let verdict = check(&s.done());
        assert_eq!(ids(&verdict).contains(&"unresolved-op"), unresolved, "{:?}", ids(&verdict));
    }
}

#[test]
fn order_counts_per_aggregate_and_by_first_places() {
    use RelayProgress::{Capture, Cursor, MarkAfterAck};
    for (progress, aggregates, severity) in [
        (MarkAfterAck, [1, 1], Some(Legal)),
        (Cursor, [1, 1], Some(Legal)),
        (Capture, [1, 1], Some(UnderThisConfiguration)),
        (Capture, [1, 2], None),
    ] {
        let verdict = check(&swapped(progress, aggregates));
        let expected: Vec<_> = severity.map(|s| ("outbox-order", s)).into_iter().collect();
        assert_eq!(of_table(&verdict), expected, "{progress:?} {aggregates:?}");
        let ordered = verdict.guarantees.ordering;
        assert_eq!(ordered == crate::Holds::Violated, severity.is_some(), "{progress:?}");
    }
    // A relay that starts again repeats: the first places are in order.
    let mut s = Shop::relayed(Capture);
    let records = [1, 1, 1].map(|aggregate| s.order(aggregate));
    for record in records.into_iter().chain(records) {
        s.publishes(record);
    }
    assert_eq!(of_table(&check(&s.done())), [("outbox-duplicate", Legal)]);
}

#[test]
fn two_instances_share_an_outbox_and_its_aggregates() {
    let mut s = Shop::relayed(RelayProgress::Capture);
    let [first, second] = [0, 1].map(|instance| s.intends_at(instance, 3));
    s.commits(second, 2);
    s.commits(first, 1);
    s.publishes(first);
    s.publishes(second);
    let verdict = check(&s.done());
    let sentence = &found(&verdict, "outbox-order").witness.sentence;
    assert!(sentence.starts_with("shop-1 #1 of aggregate 3 was committed"), "{sentence}");
    assert!(sentence.ends_with("in orders-0: at offset 1, not below 0"), "{sentence}");
}

/// A consumer of relayed events with an inbox.
struct Inbox {
    b: HistoryBuilder,
    auditor: ActorId,
    mailer: ActorId,
    ledger: ActorId,
    sink: SinkId,
    record: RecordId,
}

impl Inbox {
    fn new() -> Inbox {
        let mut b = HistoryBuilder::new();
        let topic = b.topic("orders", 1);
        let group = b.group("mailer", &[topic]);
        let (shop, auditor) = (b.producer("shop"), b.auditor());
        let mailer = b.consumer("mailer-0", group);
        let ledger = b.system("ledger", SystemKind::Database);
        let sink = b.sink("ledger", ledger, group);
        let info = b.sink_info(sink);
        (info.dedups, info.inbox) = (true, true);
        let record = b.send(shop, ORDERS);
        b.acked(record, ORDERS, 0);
        Inbox { b, auditor, mailer, ledger, sink, record }
    }

    /// These rows are applied, one commit each, and so many marks are accepted.
    fn done(mut self, rows: &[(u64, u64, u64)], marks: u64) -> History {
        let (record, sink) = (self.record, self.sink);
        for commit in 1..=marks.max(rows.len() as u64) {
            self.b.asked_and_done(self.mailer, (sink, record), Operation::Execute);
            let (role, accepted) = (StatementRole::DedupMark, u32::from(commit <= marks));
            self.b.committed(self.ledger, role, Some(record), commit, accepted);
            if let Some(row) = usize::try_from(commit - 1).ok().and_then(|n| rows.get(n)) {
                self.b.apply(EffectId { record, sink, step: 0 }, commit, &[*row]);
            }
        }
        self.b.drain(self.auditor, ORDERS, &[record]);
        self.b.finish()
    }
}

const ORDERS: TopicPartition = orders(0);

#[test]
fn a_mark_and_an_effect_go_together() {
    for (rows, marks, expected) in [
        (&[(1, 0, 11)][..], 1, &[][..]),
        (&[(1, 0, 11), (2, 0, 11)], 2, &[("inbox-dup", Legal)]),
        // The second effect changed nothing that counts.
        (&[(1, 0, 11), (1, 11, 11)], 2, &[]),
        // The inbox took the event once; what doubled the effect is another matter.
        (&[(1, 0, 11), (2, 0, 11)], 1, &[]),
        (&[], 1, &[("inbox-miss", UnderThisConfiguration)]),
        (&[], 0, &[]),
    ] {
        let verdict = check(&Inbox::new().done(rows, marks));
        assert_eq!(of_table(&verdict), expected, "{rows:?} {marks}");
    }
    let sentence = |rows: &[_], marks, id| {
        let verdict = check(&Inbox::new().done(rows, marks));
        found(&verdict, id).witness.sentence.clone()
    };
    assert_eq!(
        sentence(&[(1, 0, 11), (2, 0, 11)], 2, "inbox-dup"),
        "ledger marked shop #0 as seen at 0.005000s, and again at 0.009000s, and applied its effect \
         in commit 1 and in commit 2"
    );
    assert_eq!(
        sentence(&[], 1, "inbox-miss"),
        "ledger marked shop #0 as seen at 0.005000s, and never applied its effect"
    );
}

#[test]
fn marks_that_may_be_of_another_sink_are_not_judged() {
    let mut inbox = Inbox::new();
    let group = oncesim_types::GroupId(0);
    let other = inbox.b.sink("audit", inbox.ledger, group);
    inbox.b.sink_info(other).dedups = true;
    assert_eq!(of_table(&check(&inbox.done(&[], 1))), []);
}
