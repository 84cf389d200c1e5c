//! One small history per row of tables C and F.

use oncesim_history::{
    AppendedBatch, ClientKind, History, HistoryBuilder, Outcome, Output, PositionReason,
    ProcessorInfo, WorldEvent,
};
use oncesim_types::{
    ActorId, CallId, ErrorCode, GenerationId, GroupId, LeaderEpoch, Offset, ProducerEpoch,
    ProducerId, RecordId, TopicId, TopicPartition, TransactionNumber, TransactionResult,
    TransactionState, TransactionalId, Transform, lineage,
};

use super::rows::Row;
use super::{check, ids};
use crate::Severity::{Always, Informative, Legal, UnderThisConfiguration};
use TransactionResult::{Abort, Commit};

/// Orders and invoices of two partitions, a changelog; a shop and a processor of two instances.
pub(super) struct Scene {
    pub(super) b: HistoryBuilder,
    pub(super) shop: ActorId,
    pub(super) billing: [ActorId; 2],
    pub(super) producer: [ActorId; 2],
    pub(super) mailer: ActorId,
    pub(super) auditor: ActorId,
    pub(super) broker: [ActorId; 2],
}

pub(super) const fn orders(n: u16) -> TopicPartition {
    TopicPartition::new(TopicId(0), n)
}

pub(super) const fn invoices(n: u16) -> TopicPartition {
    TopicPartition::new(TopicId(1), n)
}

const CHANGELOG: TopicPartition = TopicPartition::new(TopicId(2), 0);

impl Scene {
    pub(super) fn new() -> Scene {
        Scene::with(Transform::Map, true)
    }

    pub(super) fn with(transform: Transform, transactional: bool) -> Scene {
        let mut b = HistoryBuilder::new();
        let input = b.topic("orders", 2);
        let to = b.topic("invoices", 2);
        b.topic("counts", 1);
        let group = b.group("billing", &[input]);
        let mail = b.group("mailer", &[to]);
        b.processor(group, ProcessorInfo { to: vec![to], transform, transactional });
        let shop = b.producer("shop");
        let billing = [b.consumer("billing-0", group), b.consumer("billing-1", group)];
        let producer = [b.producer("billing-0-producer"), b.producer("billing-1-producer")];
        let (mailer, auditor) = (b.consumer("mailer-0", mail), b.auditor());
        let broker = [b.broker("b1"), b.broker("b2")];
        for reader in [billing[0], billing[1], auditor] {
            b.read_committed(reader);
        }
        Scene { b, shop, billing, producer, mailer, auditor, broker }
    }

    /// Orders with key 7 at the offsets of orders-0 from 0.
    pub(super) fn orders(&mut self, count: i64) -> Vec<RecordId> {
        let order = |offset| {
            let record = self.b.send_keyed(self.shop, orders(0), Some(7));
            self.b.acked(record, orders(0), offset);
            record
        };
        (0..count).map(order).collect()
    }

    /// A record of a transaction, without an input.
    fn sent(&mut self, n: usize, to: TopicPartition, offset: i64) -> RecordId {
        let record = self.b.send(self.producer[n], to);
        self.b.acked(record, to, offset);
        record
    }

    pub(super) fn invoice(&mut self, n: usize, input: (i64, RecordId), offset: i64) -> RecordId {
        let value = lineage::transformed(input.1, 0);
        self.made(n, input, Output::Ordinal(0), (invoices(0), offset), value)
    }

    fn made(
        &mut self,
        n: usize,
        (offset, input): (i64, RecordId),
        output: Output,
        (to, at): (TopicPartition, i64),
        value: i64,
    ) -> RecordId {
        let clients = (self.billing[n], self.producer[n]);
        let record = self.b.emit(clients, (orders(0), offset, input), output, to, value);
        self.b.acked(record, to, at);
        record
    }

    /// A transaction of the first instance: one invoice per order, offsets, and an end.
    fn transaction(
        &mut self,
        number: u64,
        inputs: &[(i64, RecordId)],
        at: i64,
        result: TransactionResult,
    ) -> Vec<RecordId> {
        self.b.begin(self.producer[0], number);
        let mut made = Vec::new();
        for (input, offset) in inputs.iter().zip(at..) {
            made.push(self.invoice(0, *input, offset));
        }
        let next = inputs.last().map_or(0, |last| last.0 + 1);
        self.b.send_offsets(self.producer[0], number, self.billing[0], &[(orders(0), next)]);
        self.b.end_transaction(self.producer[0], number, result, Outcome::Ok);
        made
    }

    fn init(&mut self, n: usize, epoch: i16) {
        self.b.init_transactions(self.producer[n], "billing", (4, epoch));
    }

    fn append(&mut self, at: TopicPartition, base_offset: i64, epoch: i16, records: &[RecordId]) {
        let sequence = i32::try_from(base_offset).expect("a short log");
        let producer = Some((4, epoch, sequence));
        let (leader_epoch, leader, transactional) = (0, true, true);
        let batch = AppendedBatch { base_offset, leader_epoch, producer, leader, transactional };
        self.b.append(self.broker[0], at, batch, records);
    }

    fn state(&mut self, from: TransactionState, to: TransactionState, broker: usize) {
        self.b.world(
            self.broker[broker],
            WorldEvent::TransactionState {
                transactional_id: TransactionalId(0),
                producer_id: ProducerId(4),
                producer_epoch: ProducerEpoch(0),
                from,
                to,
                number: TransactionNumber(1),
                partitions: oncesim_history::SpanIndex::default(),
                coordinator_epoch: LeaderEpoch(0),
                coordinator: invoices(1),
            },
        );
    }

    fn settled(&mut self) {
        self.b.world(self.broker[0], WorldEvent::Settled);
    }

    /// The final read: these orders and invoices.
    /// A group coordinator holds offset 1 of orders-0 back for producer id 4.
    fn pending(&mut self, coordinator_epoch: i32, producer_epoch: i16) {
        let event = WorldEvent::OffsetPending {
            group: GroupId(0),
            producer_id: ProducerId(4),
            producer_epoch: ProducerEpoch(producer_epoch),
            member: None,
            generation: GenerationId(-1),
            current: GenerationId(1),
            partition: orders(0),
            offset: Offset(1),
            coordinator_epoch: LeaderEpoch(coordinator_epoch),
        };
        self.b.world(self.broker[0], event);
    }

    fn resolved(&mut self, coordinator_epoch: i32) {
        let event = WorldEvent::OffsetResolved {
            group: GroupId(0),
            producer_id: ProducerId(4),
            partition: orders(0),
            offset: Offset(1),
            result: Commit,
            coordinator_epoch: LeaderEpoch(coordinator_epoch),
        };
        self.b.world(self.broker[1], event);
    }

    pub(super) fn drained(
        mut self,
        input: &[RecordId],
        output: &[(i64, RecordId)],
        end: i64,
    ) -> History {
        self.b.drain(self.auditor, orders(0), input);
        self.b.drain_at(self.auditor, invoices(0), output, end);
        for empty in [orders(1), invoices(1), CHANGELOG] {
            self.b.drain(self.auditor, empty, &[]);
        }
        self.b.finish()
    }

    fn poll(&mut self, reader: ActorId, offset: i64, record: RecordId) {
        let polled = self.b.polled(invoices(0), offset, record);
        self.b.poll(reader, &[polled]);
    }
}

pub(super) const TABLE_C: &[Row] = &[
    ("aborted-read", Legal, || {
        let mut s = Scene::new();
        s.init(0, 0);
        let o = s.orders(1);
        let made = s.transaction(1, &[(0, o[0])], 0, Abort);
        s.poll(s.mailer, 0, made[0]);
        s.drained(&o, &[], 2)
    }),
    ("precommitted-read", Always, || {
        let mut s = Scene::new();
        s.b.begin(s.producer[0], 1);
        let o = s.orders(1);
        let made = s.invoice(0, (0, o[0]), 0);
        s.poll(s.billing[0], 0, made);
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
        s.drained(&o, &[(0, made)], 2)
    }),
    ("read-uncommitted-leak", Always, || {
        let mut s = Scene::new();
        s.b.read_committed(s.mailer);
        s.b.begin(s.producer[0], 1);
        let r = s.sent(0, invoices(0), 0);
        s.poll(s.mailer, 0, r);
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
        s.drained(&[], &[(0, r)], 2)
    }),
    ("read-past-lso", Always, || {
        let mut s = Scene::new();
        let served = WorldEvent::Served {
            partition: orders(0),
            from: Offset(4),
            to: Offset(9),
            high_watermark: Offset(9),
            last_stable_offset: Offset(6),
            read_committed: true,
        };
        s.b.world(s.broker[0], served);
        s.b.finish()
    }),
    ("g1c-wr", Always, || {
        let mut s = Scene::new();
        for n in 0..2 {
            s.b.begin(s.producer[n], 1);
        }
        let first = s.sent(0, orders(0), 0);
        let second = s.sent(1, orders(0), 1);
        let a = s.invoice(0, (1, second), 0);
        let b = s.invoice(1, (0, first), 1);
        for n in 0..2 {
            s.b.end_transaction(s.producer[n], 1, Commit, Outcome::Ok);
        }
        s.drained(&[first, second], &[(0, a), (1, b)], 4)
    }),
    ("torn-txn", Always, || {
        let mut s = Scene::new();
        s.b.begin(s.producer[0], 1);
        let r = [s.sent(0, invoices(0), 0), s.sent(0, invoices(1), 0)];
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
        s.drained(&[], &[(0, r[0])], 2)
    }),
    ("torn-offsets", Always, || {
        let mut s = Scene::new();
        let o = s.orders(1);
        s.transaction(1, &[(0, o[0])], 0, Abort);
        s.b.position(s.billing[1], orders(0), 1, PositionReason::Committed);
        s.drained(&o, &[], 2)
    }),
    ("decision-mismatch", Always, || {
        let mut s = Scene::new();
        s.b.begin(s.producer[0], 1);
        let r = s.sent(0, invoices(0), 0);
        s.b.end_transaction(s.producer[0], 1, Abort, Outcome::Ok);
        s.drained(&[], &[(0, r)], 2)
    }),
    ("decision-mismatch", Always, || {
        // It failed for good, says the client: whoever believes that does the work again.
        let mut s = Scene::new();
        s.init(0, 0);
        s.b.begin(s.producer[0], 1);
        let r = s.sent(0, invoices(0), 0);
        s.append(invoices(0), 0, 0, &[r]);
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Fail(ErrorCode::ProducerFenced));
        s.b.marker(s.broker[0], invoices(0), 1, (4, 0), Commit);
        s.drained(&[], &[(0, r)], 2)
    }),
    ("late-commit", Always, || {
        let mut s = Scene::new();
        s.b.read_committed(s.mailer);
        s.b.begin(s.producer[0], 1);
        let early = s.sent(0, invoices(0), 1);
        let others = [s.b.send(s.shop, invoices(0)), s.b.send(s.shop, invoices(0))];
        s.b.acked(others[0], invoices(0), 0);
        s.b.acked(others[1], invoices(0), 2);
        s.poll(s.mailer, 0, others[0]);
        s.poll(s.mailer, 2, others[1]);
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
        s.drained(&[], &[(0, others[0]), (1, early), (2, others[1])], 4)
    }),
    ("marker-mismatch", Always, || {
        let mut s = Scene::new();
        s.init(0, 0);
        s.b.begin(s.producer[0], 1);
        let r = [s.sent(0, invoices(0), 0), s.sent(0, invoices(1), 0)];
        s.append(invoices(0), 0, 0, &r[..1]);
        s.append(invoices(1), 0, 0, &r[1..]);
        s.b.marker(s.broker[0], invoices(0), 1, (4, 0), Commit);
        s.b.marker(s.broker[0], invoices(1), 1, (4, 0), Abort);
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Info(ErrorCode::RequestTimedOut));
        s.drained(&[], &[(0, r[0])], 2)
    }),
    ("delayed-endtxn", Always, || {
        let mut s = Scene::new();
        let applied = WorldEvent::EndTxnApplied {
            transactional_id: TransactionalId(0),
            producer_epoch: ProducerEpoch(0),
            issued: TransactionNumber(1),
            applied: TransactionNumber(2),
            result: Commit,
        };
        s.b.world(s.broker[0], applied);
        s.b.finish()
    }),
    ("late-append-after-marker", Always, || {
        let mut s = Scene::new();
        late_append(&mut s);
        s.b.finish()
    }),
    ("hanging-txn", Always, || {
        let mut s = Scene::new();
        late_append(&mut s);
        s.settled();
        s.b.finish()
    }),
    ("zombie-write-after-fence", Always, || {
        let mut s = Scene::new();
        s.init(0, 0);
        s.b.begin(s.producer[0], 1);
        s.init(1, 1);
        let r = s.sent(0, invoices(0), 0);
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Info(ErrorCode::RequestTimedOut));
        s.drained(&[], &[(0, r)], 2)
    }),
    ("zombie-commit", Always, || {
        let mut s = Scene::new();
        s.init(0, 0);
        s.b.begin(s.producer[0], 1);
        s.init(1, 1);
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
        s.b.finish()
    }),
    ("pid-epoch-collision", Always, || {
        let mut s = Scene::new();
        s.b.init_transactions(s.producer[0], "billing-0", (4, 0));
        s.b.init_transactions(s.producer[1], "billing-1", (4, 0));
        s.b.finish()
    }),
    ("epoch-regress", Always, || {
        let mut s = Scene::new();
        s.init(0, 3);
        s.init(1, 2);
        s.b.finish()
    }),
    ("spurious-fence", Always, || {
        let mut s = Scene::new();
        s.init(0, 0);
        s.b.begin(s.producer[0], 1);
        s.state(TransactionState::Ongoing, TransactionState::PrepareCommit, 0);
        let fenced = Outcome::Fail(ErrorCode::ProducerFenced);
        s.b.end_transaction(s.producer[0], 1, Abort, fenced);
        s.b.finish()
    }),
    ("illegal-txn-state", Always, || {
        let mut s = Scene::new();
        s.state(TransactionState::PrepareCommit, TransactionState::CompleteAbort, 0);
        s.b.finish()
    }),
    ("two-txn-coordinators", Always, || {
        let mut s = Scene::new();
        s.state(TransactionState::Empty, TransactionState::Ongoing, 0);
        s.state(TransactionState::Ongoing, TransactionState::PrepareAbort, 1);
        s.b.finish()
    }),
    ("lso-regress", Always, || {
        let mut s = Scene::new();
        for last_stable_offset in [Offset(9), Offset(6)] {
            let partition = orders(0);
            let moved = WorldEvent::LastStableOffset { partition, last_stable_offset };
            s.b.world(s.broker[0], moved);
        }
        s.b.finish()
    }),
    ("conservation", Always, || {
        let mut s = Scene::new();
        s.b.begin(s.producer[0], 1);
        let r = [s.sent(0, invoices(0), 0), s.sent(0, invoices(1), 0)];
        for (record, amount) in [(r[0], -10), (r[1], 10)] {
            s.b.client(s.producer[0], ClientKind::Transfer { record, amount });
        }
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
        s.drained(&[], &[(0, r[0])], 2)
    }),
    ("stuck-lso", Always, || {
        let mut s = Scene::new();
        let (partition, high_watermark) = (invoices(0), Offset(9));
        let (leader, isr, min_isr) = (true, 2, 2);
        let moved = WorldEvent::HighWatermark { partition, high_watermark, leader, isr, min_isr };
        s.b.world(s.broker[0], moved);
        s.drained(&[], &[], 4)
    }),
];

/// A record of a transaction that ends up behind its end.
fn late_append(s: &mut Scene) {
    s.init(0, 0);
    s.b.begin(s.producer[0], 1);
    let r = [s.sent(0, invoices(0), 0), s.b.send(s.producer[0], invoices(0))];
    s.append(invoices(0), 0, 0, &r[..1]);
    s.b.marker(s.broker[0], invoices(0), 1, (4, 0), Abort);
    let producer = Some((4, 0, 1));
    let (base_offset, leader_epoch, leader, transactional) = (2, 0, true, true);
    let batch = AppendedBatch { base_offset, leader_epoch, producer, leader, transactional };
    s.b.append(s.broker[0], invoices(0), batch, &r[1..]);
}

const AGGREGATE: Transform = Transform::Aggregate { changelog: TopicId(2) };

/// One aggregated order with this value in output and changelog.
fn aggregated(value: impl Fn(RecordId) -> i64, restored: i64) -> History {
    let mut s = Scene::with(AGGREGATE, true);
    let o = s.orders(1);
    s.b.begin(s.producer[0], 1);
    let value = value(o[0]);
    let out = s.made(0, (0, o[0]), Output::Aggregate, (invoices(0), 0), value);
    let log = s.made(0, (0, o[0]), Output::Changelog, (CHANGELOG, 0), value);
    s.b.send_offsets(s.producer[0], 1, s.billing[0], &[(orders(0), 1)]);
    s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
    let fingerprint = lineage::store_entry(7, restored);
    let (changelog, to, keys) = (CHANGELOG, Offset(2), 1);
    s.b.client(s.billing[1], ClientKind::StateRestored { changelog, to, keys, fingerprint });
    s.b.drain(s.auditor, orders(0), &o);
    s.b.drain_at(s.auditor, invoices(0), &[(0, out)], 2);
    s.b.drain_at(s.auditor, CHANGELOG, &[(0, log)], 2);
    s.b.drain(s.auditor, orders(1), &[]);
    s.b.drain(s.auditor, invoices(1), &[]);
    s.b.finish()
}

pub(super) const TABLE_F: &[Row] = &[
    ("lost-processing", Legal, || {
        let mut s = Scene::new();
        let o = s.orders(2);
        let made = s.transaction(1, &[(0, o[0])], 0, Commit);
        s.drained(&o, &[(0, made[0])], 2)
    }),
    ("dup-processing", Legal, || {
        let mut s = Scene::with(Transform::Map, false);
        let o = s.orders(1);
        let made = [s.invoice(0, (0, o[0]), 0), s.invoice(1, (0, o[0]), 1)];
        s.drained(&o, &[(0, made[0]), (1, made[1])], 2)
    }),
    ("eos-prefix-mismatch", Legal, || {
        let mut s = Scene::new();
        let o = s.orders(1);
        let a = s.transaction(1, &[(0, o[0])], 0, Commit);
        let b = s.transaction(2, &[(0, o[0])], 2, Commit);
        s.drained(&o, &[(0, a[0]), (2, b[0])], 4)
    }),
    ("output-ahead-of-offset", Legal, || {
        let mut s = Scene::new();
        let o = s.orders(2);
        s.b.begin(s.producer[0], 1);
        let made = [s.invoice(0, (0, o[0]), 0), s.invoice(0, (1, o[1]), 1)];
        s.b.send_offsets(s.producer[0], 1, s.billing[0], &[(orders(0), 1)]);
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
        s.drained(&o, &[(0, made[0]), (1, made[1])], 3)
    }),
    ("offset-ahead-of-output", Legal, || {
        let mut s = Scene::new();
        let o = s.orders(2);
        s.transaction(1, &[(0, o[0])], 0, Abort);
        let made = s.transaction(2, &[(1, o[1])], 2, Commit);
        s.drained(&o, &[(2, made[0])], 4)
    }),
    ("orphan-output", Legal, || {
        let mut s = Scene::new();
        let o = s.orders(1);
        s.b.begin(s.producer[1], 1);
        let aborted = s.sent(1, orders(0), 1);
        s.b.end_transaction(s.producer[1], 1, Abort, Outcome::Ok);
        let made = s.transaction(1, &[(0, o[0]), (1, aborted)], 0, Commit);
        s.drained(&o, &[(0, made[0]), (1, made[1])], 3)
    }),
    ("wrong-transform", Always, || {
        let mut s = Scene::new();
        let o = s.orders(1);
        let made = s.made(0, (0, o[0]), Output::Ordinal(0), (invoices(0), 0), 5);
        s.drained(&o, &[(0, made)], 1)
    }),
    ("pipeline-key-order", UnderThisConfiguration, || {
        let mut s = Scene::new();
        let o = s.orders(2);
        s.b.begin(s.producer[0], 1);
        let made = [s.invoice(0, (1, o[1]), 0), s.invoice(0, (0, o[0]), 1)];
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
        s.drained(&o, &[(0, made[0]), (1, made[1])], 3)
    }),
    ("restore-mismatch", UnderThisConfiguration, || aggregated(|id| lineage::aggregated(0, id), 5)),
    ("zombie-output", Legal, || {
        let mut s = Scene::new();
        let o = s.orders(1);
        s.b.assigned(s.billing[0], 1, &[orders(0)], &[orders(0)]);
        s.b.begin(s.producer[0], 1);
        let made = s.invoice(0, (0, o[0]), 0);
        s.b.assigned(s.billing[1], 2, &[orders(0)], &[orders(0)]);
        s.b.position(s.billing[1], orders(0), 0, PositionReason::NoCommittedOffset);
        s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
        s.drained(&o, &[(0, made)], 2)
    }),
];

#[test]
fn a_wrong_aggregate_is_told_for_output_and_changelog() {
    let verdict = check(&aggregated(|_| 5, 5));
    let anomaly = super::found(&verdict, "state-fingerprint-mismatch");
    assert_eq!((anomaly.count, anomaly.severity), (2, Legal));
}

#[test]
fn a_session_never_goes_back() {
    let told = |sessions: &[(i64, i16)]| {
        let mut s = Scene::new();
        s.init(0, 7);
        for &(id, epoch) in sessions {
            let (producer_id, producer_epoch) = (ProducerId(id), ProducerEpoch(epoch));
            let kind = ClientKind::ProducerSession { producer_id, producer_epoch };
            s.b.client(s.producer[0], kind);
        }
        let verdict = check(&s.b.finish());
        ids(&verdict).contains(&"epoch-regress")
    };
    assert!(!told(&[(4, 8), (4, 9)]));
    assert!(!told(&[(4, 8), (5, 0)]), "another producer id begins with epoch 0");
    assert!(told(&[(4, 8), (4, 0)]));
}

#[test]
fn a_clean_pipeline_is_clean() {
    let mut s = Scene::new();
    s.init(0, 0);
    let o = s.orders(3);
    s.b.assigned(s.billing[0], 1, &[orders(0)], &[orders(0)]);
    let a = s.transaction(1, &[(0, o[0])], 0, Abort);
    let b = s.transaction(2, &[(0, o[0]), (1, o[1])], 2, Commit);
    let c = s.transaction(3, &[(2, o[2])], 5, Commit);
    for (at, made, result) in [(0, &a, Abort), (2, &b, Commit), (5, &c, Commit)] {
        s.append(invoices(0), at, 0, made);
        let end = at + made.len() as i64;
        s.b.marker(s.broker[0], invoices(0), end, (4, 0), result);
    }
    let shown = [(2, b[0]), (3, b[1]), (5, c[0])];
    s.settled();
    let verdict = check(&s.drained(&o, &shown, 7));
    let bad: Vec<_> =
        verdict.anomalies.iter().filter(|a| a.severity < Informative).map(|a| a.id()).collect();
    // The markers take no sequence: those of the batches follow their offsets here.
    assert!(bad.iter().all(|id| *id == "seq-gap"), "{bad:?}");
    for level in [crate::Level::Log, crate::Level::Processing] {
        assert_eq!(super::cells(&verdict, level).chars().filter(|c| *c == 'u').count(), 0);
    }
    assert_eq!(super::cells(&verdict, crate::Level::Processing), "hhh", "{:?}", ids(&verdict));
}

#[test]
fn a_commit_without_an_answer_may_be_fenced_and_done() {
    let mut s = Scene::new();
    s.init(0, 0);
    s.b.begin(s.producer[0], 1);
    let r = s.sent(0, invoices(0), 0);
    s.append(invoices(0), 0, 0, &[r]);
    s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Info(ErrorCode::RequestTimedOut));
    s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Fail(ErrorCode::ProducerFenced));
    s.b.marker(s.broker[0], invoices(0), 1, (4, 0), Commit);
    assert!(!ids(&check(&s.drained(&[], &[(0, r)], 2))).contains(&"decision-mismatch"));
}

#[test]
fn a_record_that_came_again_is_not_seen_of_the_transaction_that_died() {
    let mut s = Scene::new();
    s.init(0, 0);
    s.b.begin(s.producer[0], 1);
    let event = s.b.send(s.producer[0], invoices(0));
    // What it wrote beside it has another identity the next time.
    s.b.send(s.producer[0], invoices(0));
    s.b.crash(s.producer[0], false);
    s.init(0, 1);
    s.b.begin(s.producer[0], 2);
    s.b.send_again(s.producer[0], invoices(0), event, None);
    s.b.acked(event, invoices(0), 0);
    s.b.end_transaction(s.producer[0], 2, Commit, Outcome::Ok);
    let found = check(&s.drained(&[], &[(0, event)], 2));
    assert!(!ids(&found).contains(&"torn-txn"), "{:?}", ids(&found));
}

#[test]
fn two_producers_of_one_record_may_number_their_calls_alike() {
    let mut s = Scene::new();
    s.init(0, 0);
    s.b.begin(s.producer[0], 1);
    let event = s.b.send(s.producer[0], invoices(0));
    let own = s.b.send(s.producer[0], invoices(0));
    // Another instance takes the id over and publishes the same.
    s.b.init_transactions(s.producer[1], "billing", (4, 1));
    s.b.begin(s.producer[1], 1);
    let call = CallId(event.0 << 4 | 1);
    let (key, payload, attempt) = (None, HistoryBuilder::payload(event), 1);
    let partition = invoices(0);
    let again = ClientKind::SendInvoke { call, partition, record: event, key, payload, attempt };
    s.b.client(s.producer[1], again);
    s.b.acked(event, invoices(0), 0);
    s.b.acked(own, invoices(0), 1);
    let (partition, outcome, offset) = (Some(invoices(0)), Outcome::Ok, Some(Offset(3)));
    let acked = ClientKind::SendEnd { call, record: event, partition, outcome, offset };
    s.b.client(s.producer[1], acked);
    s.b.end_transaction(s.producer[1], 1, Commit, Outcome::Ok);
    let found = check(&s.drained(&[], &[(3, event)], 5));
    assert!(!ids(&found).contains(&"torn-txn"), "{:?}", ids(&found));
}

#[test]
fn a_commit_that_is_asked_for_again_may_be_as_old_as_the_first_call() {
    let mut s = Scene::new();
    let o = s.orders(2);
    s.b.begin(s.producer[0], 1);
    let first = s.invoice(0, (0, o[0]), 0);
    s.b.send_offsets(s.producer[0], 1, s.billing[0], &[(orders(0), 1)]);
    s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Info(ErrorCode::RequestTimedOut));
    // Another instance goes on from there before the answer comes.
    s.b.begin(s.producer[1], 1);
    let second = s.invoice(1, (1, o[1]), 2);
    s.b.send_offsets(s.producer[1], 1, s.billing[1], &[(orders(0), 2)]);
    s.b.end_transaction(s.producer[1], 1, Commit, Outcome::Ok);
    s.b.end_transaction(s.producer[0], 1, Commit, Outcome::Ok);
    s.settled();
    let found = check(&s.drained(&o, &[(0, first), (2, second)], 4));
    assert!(!ids(&found).contains(&"output-ahead-of-offset"), "{:?}", ids(&found));
}

#[test]
fn a_deposed_group_coordinator_learns_late_what_its_successor_has_loaded() {
    for (epoch, bad) in [(0, false), (1, true)] {
        let mut s = Scene::new();
        s.init(0, 0);
        s.pending(1, 1);
        s.init(1, 1);
        s.pending(epoch, 0);
        s.resolved(1);
        assert_eq!(ids(&check(&s.drained(&[], &[], 0))).contains(&"zombie-commit"), bad, "{epoch}");
    }
}

#[test]
fn a_deposed_transaction_coordinator_learns_late_what_its_successor_has_ended() {
    for (epoch, bad) in [(0, false), (1, true)] {
        let mut s = Scene::new();
        s.init(0, 0);
        let told = |epoch| WorldEvent::TransactionState {
            transactional_id: TransactionalId(0),
            producer_id: ProducerId(4),
            producer_epoch: ProducerEpoch(0),
            from: TransactionState::Ongoing,
            to: TransactionState::PrepareCommit,
            number: TransactionNumber(1),
            partitions: oncesim_history::SpanIndex::default(),
            coordinator_epoch: LeaderEpoch(epoch),
            coordinator: orders(0),
        };
        s.b.world(s.broker[1], told(1));
        s.init(1, 1);
        s.b.world(s.broker[0], told(epoch));
        let applied = WorldEvent::EndTxnApplied {
            transactional_id: TransactionalId(0),
            producer_epoch: ProducerEpoch(0),
            issued: TransactionNumber(1),
            applied: TransactionNumber(1),
            result: Commit,
        };
        s.b.world(s.broker[0], applied);
        assert_eq!(ids(&check(&s.b.finish())).contains(&"zombie-commit"), bad, "{epoch}");
    }
}

#[test]
fn nothing_committed_proves_nothing() {
    let mut s = Scene::new();
    let o = s.orders(1);
    s.transaction(1, &[(0, o[0])], 0, Abort);
    let verdict = check(&s.drained(&o, &[], 2));
    assert_eq!(super::cells(&verdict, crate::Level::Processing), "uvv");
    assert!(ids(&verdict).contains(&"vacuous-pass"));
}
