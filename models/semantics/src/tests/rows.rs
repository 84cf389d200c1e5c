//! One small history per row of the catalogue: each row can fire, and says so at the severity that
//! the configuration gives it.

use oncesim_history::{
    AppendedBatch, History, HistoryBuilder, Outcome, PositionReason, Promise, WorldEvent,
};
use oncesim_types::{
    ActorId, GenerationId, GroupId, LeaderEpoch, MemberId, Offset, PartitionEpoch, RecordId,
    TopicId, TopicPartition,
};

use super::effect_rows::TABLE_G;
use super::outbox_rows::TABLE_H;
use super::replication_rows::TABLE_E;
use super::transactions::{TABLE_C, TABLE_F};
use super::{check, orders};
use crate::Severity;
use crate::Severity::{Always, Informative, Legal, UnderThisConfiguration};

/// A shop, two consumers of the group mailer, two brokers, and the topic orders.
pub(super) struct Scene {
    pub(super) b: HistoryBuilder,
    pub(super) shop: ActorId,
    pub(super) auditor: ActorId,
    pub(super) mailer: [ActorId; 2],
    pub(super) broker: [ActorId; 2],
    pub(super) group: GroupId,
}

const AT_MOST: Promise = Promise { durable: false, idempotent: false, ordered: false };

impl Scene {
    pub(super) fn new() -> Scene {
        Scene::with(Promise { durable: true, idempotent: true, ordered: true })
    }

    fn with(promise: Promise) -> Scene {
        let mut b = HistoryBuilder::new();
        let topic = b.topic("orders", 2);
        let group = b.group("mailer", &[topic]);
        let shop = b.producer_with("shop", promise);
        let auditor = b.auditor();
        let mailer = [b.consumer("mailer-0", group), b.consumer("mailer-1", group)];
        let broker = [b.broker("b1"), b.broker("b2")];
        Scene { b, shop, auditor, mailer, broker, group }
    }

    /// Records that are acknowledged at the offsets of orders-0 from 0.
    pub(super) fn acked(&mut self, count: i64) -> Vec<RecordId> {
        (0..count)
            .map(|offset| {
                let record = self.b.send(self.shop, orders(0));
                self.b.acked(record, orders(0), offset);
                record
            })
            .collect()
    }

    pub(super) fn poll(&mut self, mailer: usize, records: &[(i64, RecordId)]) -> u32 {
        let polled: Vec<_> =
            records.iter().map(|(o, record)| self.b.polled(orders(0), *o, *record)).collect();
        self.b.poll(self.mailer[mailer], &polled)
    }

    pub(super) fn append(&mut self, broker: usize, base: i64, epoch: i32, records: &[RecordId]) {
        self.append_as(broker, base, epoch, None, broker == 0, records);
    }

    fn append_as(
        &mut self,
        broker: usize,
        base_offset: i64,
        leader_epoch: i32,
        producer: Option<(i64, i16, i32)>,
        leader: bool,
        records: &[RecordId],
    ) {
        let batch =
            AppendedBatch { base_offset, leader_epoch, producer, leader, transactional: false };
        self.b.append(self.broker[broker], orders(0), batch, records);
    }

    pub(super) fn world(&mut self, broker: usize, event: WorldEvent) {
        self.b.world(self.broker[broker], event);
    }

    pub(super) fn high_watermark(&mut self, broker: usize, to: i64, leader: bool, isr: u8) {
        self.world(
            broker,
            WorldEvent::HighWatermark {
                partition: orders(0),
                high_watermark: Offset(to),
                leader,
                isr,
                min_isr: 2,
            },
        );
    }

    pub(super) fn leads(&mut self, broker: usize, epoch: i32, log_end: i64) {
        self.world(
            broker,
            WorldEvent::BecameLeader {
                partition: orders(0),
                leader_epoch: LeaderEpoch(epoch),
                log_end: Offset(log_end),
            },
        );
    }

    /// A cooperative rebalance gives each consumer partitions of orders.
    pub(super) fn cooperative(&mut self, generation: i32, owned: [&[u16]; 2]) {
        let members = self.mailer.map(|mailer| self.b.member(mailer));
        let assignment: Vec<_> = members
            .into_iter()
            .zip(owned)
            .flat_map(|(member, owned)| owned.iter().map(move |p| (member, orders(*p))))
            .collect();
        self.b.cooperative_generation(self.broker[0], self.group, generation, &assignment);
    }

    pub(super) fn partition_changed(&mut self, leader: Option<ActorId>, isr: &[ActorId]) {
        let isr = self.b.actor_span(isr);
        self.world(
            0,
            WorldEvent::PartitionChanged {
                partition: orders(0),
                leader,
                leader_epoch: LeaderEpoch(1),
                partition_epoch: PartitionEpoch(1),
                isr,
                elr: oncesim_history::SpanIndex::default(),
                unclean: false,
            },
        );
    }

    fn accepted(&mut self, member: u64, generation: i32, current: i32, offset: i64) {
        self.accepted_in_epoch(0, member, (generation, current), offset);
    }

    pub(super) fn accepted_in_epoch(
        &mut self,
        epoch: i32,
        member: u64,
        (generation, current): (i32, i32),
        offset: i64,
    ) {
        let group = self.group;
        self.world(
            0,
            WorldEvent::OffsetAccepted {
                group,
                member: Some(MemberId(member)),
                generation: GenerationId(generation),
                current: GenerationId(current),
                partition: orders(0),
                offset: Offset(offset),
                coordinator_epoch: LeaderEpoch(epoch),
            },
        );
    }

    pub(super) fn drained(mut self, records: &[RecordId]) -> History {
        self.b.drain(self.auditor, orders(0), records);
        self.b.drain(self.auditor, orders(1), &[]);
        self.b.finish()
    }
}

pub(super) type Row = (&'static str, Severity, fn() -> History);

const LOG: &[Row] = &[
    ("lost-write", Always, || {
        let mut s = Scene::new();
        let r = s.acked(3);
        s.poll(0, &[(0, r[0]), (2, r[2])]);
        s.b.finish()
    }),
    ("lost-write-final", Legal, || {
        let mut s = Scene::with(AT_MOST);
        let r = s.acked(2);
        s.drained(&r[..1])
    }),
    ("acked-truncated", Legal, || {
        let mut s = Scene::with(AT_MOST);
        s.leads(0, 0, 0);
        let r = s.b.send(s.shop, orders(0));
        s.append(0, 0, 0, &[r]);
        s.b.acked(r, orders(0), 0);
        s.leads(1, 1, 0);
        s.drained(&[])
    }),
    ("dup-idempotent", Always, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        s.append_as(0, 0, 0, Some((7, 0, 0)), true, &r);
        s.append_as(0, 1, 0, Some((7, 0, 0)), true, &r);
        s.drained(&[r[0], r[0]])
    }),
    ("dup-retry", Legal, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        s.append(0, 0, 0, &r);
        s.append(0, 1, 0, &r);
        s.drained(&[r[0], r[0]])
    }),
    ("dup-app-resend", Legal, || {
        let mut s = Scene::new();
        let r = s.b.send(s.shop, orders(0));
        s.b.unknown(r);
        s.b.send_again(s.shop, orders(0), r, None);
        s.b.acked(r, orders(0), 1);
        s.append_as(0, 0, 0, Some((7, 0, 0)), true, &[r]);
        s.append_as(0, 1, 0, Some((7, 0, 1)), true, &[r]);
        s.drained(&[r, r])
    }),
    ("dup-cross-epoch", UnderThisConfiguration, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        s.append_as(0, 0, 0, Some((7, 0, 0)), true, &r);
        s.append_as(0, 1, 0, Some((7, 1, 0)), true, &r);
        s.drained(&[r[0], r[0]])
    }),
    ("inconsistent-offset", Always, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        s.poll(0, &[(0, r[1])]);
        s.b.finish()
    }),
    ("mutated-record", Always, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        let polled = s.b.polled(orders(0), 0, r[0]);
        s.b.poll(s.mailer[0], &[oncesim_history::PolledRecord { payload: 1, ..polled }]);
        s.b.finish()
    }),
    ("offset-collision-ack", Always, || {
        let mut s = Scene::new();
        s.acked(1);
        s.acked(1);
        s.b.finish()
    }),
    ("ack-offset-mismatch", Always, || {
        let mut s = Scene::new();
        let r = s.b.send(s.shop, orders(0));
        let other = s.b.send(s.shop, orders(0));
        s.b.acked(r, orders(0), 5);
        s.drained(&[r, other])
    }),
    ("missing-ack-offset", Informative, || {
        let mut s = Scene::new();
        let r = s.b.send(s.shop, orders(0));
        s.b.send_end(r, Some(orders(0)), Outcome::Ok, None);
        s.drained(&[r])
    }),
    ("phantom-record", Always, || {
        let s = Scene::new();
        let r = RecordId::new(s.shop, 9);
        s.drained(&[r])
    }),
    ("misrouted-record", Always, || {
        let mut s = Scene::new();
        let r = s.b.send(s.shop, orders(1));
        s.b.unknown(r);
        s.drained(&[r])
    }),
    ("time-travel-read", Always, || {
        let mut s = Scene::new();
        s.poll(0, &[(0, RecordId::new(s.shop, 0))]);
        let r = s.acked(1);
        s.drained(&r)
    }),
    ("failed-write-visible", Always, || {
        let mut s = Scene::new();
        let r = s.b.send(s.shop, orders(0));
        s.b.failed(r);
        s.drained(&[r])
    }),
    ("append-realtime-inversion", Always, || {
        let mut s = Scene::new();
        let r = [s.b.send(s.shop, orders(0)), s.b.send(s.shop, orders(0))];
        s.b.acked(r[0], orders(0), 1);
        s.b.acked(r[1], orders(0), 2);
        let late = s.b.send(s.shop, orders(0));
        s.b.acked(late, orders(0), 0);
        s.drained(&[late, r[0], r[1]])
    }),
    ("nonmonotonic-send", Always, || {
        let mut s = Scene::new();
        let r = [s.b.send(s.shop, orders(0)), s.b.send(s.shop, orders(0))];
        s.b.acked(r[0], orders(0), 1);
        s.b.acked(r[1], orders(0), 0);
        s.drained(&[r[1], r[0]])
    }),
    ("key-order-violation", Legal, || {
        let mut s = Scene::new();
        let first = s.b.send_keyed(s.shop, orders(0), Some(4));
        s.b.unknown(first);
        let second = s.b.send_keyed(s.shop, orders(0), Some(4));
        s.b.acked(second, orders(0), 0);
        s.b.send_again(s.shop, orders(0), first, Some(4));
        s.b.acked(first, orders(0), 1);
        s.drained(&[second, first])
    }),
    ("seq-gap", Always, || sequence(&[(7, 0, 0), (7, 0, 2)])),
    ("seq-dup", Always, || sequence(&[(7, 0, 0), (7, 0, 1), (7, 0, 0)])),
    ("producer-epoch-regress", Always, || sequence(&[(7, 1, 0), (7, 0, 1)])),
    ("leader-epoch-regress", Always, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        let polled = [(0, 3), (1, 2)].map(|(offset, epoch)| oncesim_history::PolledRecord {
            leader_epoch: LeaderEpoch(epoch),
            ..s.b.polled(orders(0), i64::from(offset), r[offset as usize])
        });
        s.b.poll(s.mailer[0], &polled);
        s.b.finish()
    }),
    ("illegal-offset-gap", Always, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        s.append(0, 0, 0, &r[..1]);
        s.append(0, 2, 0, &r[1..]);
        s.b.finish()
    }),
    ("consistent-read", Always, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        s.poll(0, &[(0, r[0]), (1, r[1])]);
        s.drained(&r[..1])
    }),
];

/// One-record batches of these producer ids, epochs and sequences.
fn sequence(batches: &[(i64, i16, i32)]) -> History {
    let mut s = Scene::new();
    let r = s.acked(i64::try_from(batches.len()).unwrap());
    for ((offset, batch), record) in (0..).zip(batches).zip(&r) {
        s.append_as(0, offset, 0, Some(*batch), true, &[*record]);
    }
    s.drained(&r)
}

const CONSUMER: &[Row] = &[
    ("next-pointer-conflict", Always, || {
        let mut s = Scene::new();
        let r = s.acked(3);
        s.poll(0, &[(0, r[0]), (1, r[1])]);
        s.poll(1, &[(0, r[0]), (2, r[2])]);
        s.b.finish()
    }),
    ("stale-read", Informative, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        s.b.wait(oncesim_types::Duration::from_secs(31));
        s.poll(0, &[(0, r[0])]);
        s.poll(0, &[(1, r[1])]);
        s.drained(&r)
    }),
    ("int-poll-skip", Always, || {
        let mut s = Scene::new();
        let r = s.acked(3);
        s.poll(0, &[(0, r[0]), (2, r[2])]);
        s.drained(&r)
    }),
    ("poll-skip", Always, || {
        let mut s = Scene::new();
        let r = s.acked(3);
        s.poll(0, &[(0, r[0])]);
        s.poll(0, &[(2, r[2])]);
        s.drained(&r)
    }),
    ("int-nonmonotonic-poll", Always, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        s.poll(0, &[(1, r[1]), (0, r[0])]);
        s.drained(&r)
    }),
    ("nonmonotonic-poll", Always, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        s.poll(0, &[(1, r[1])]);
        s.poll(0, &[(0, r[0])]);
        s.drained(&r)
    }),
    ("nonmonotonic-position", Always, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        s.b.position(s.mailer[0], orders(0), 1, PositionReason::Seek);
        s.poll(0, &[(0, r[0])]);
        s.drained(&r)
    }),
    ("resume-skip", Always, || {
        let mut s = Scene::new();
        let r = s.acked(4);
        committed(&mut s, 1);
        s.b.assigned(s.mailer[1], 2, &[orders(0)], &[orders(0)]);
        s.poll(1, &[(2, r[2])]);
        s.drained(&r)
    }),
    ("resume-rewind", UnderThisConfiguration, || {
        let mut s = Scene::new();
        let r = s.acked(4);
        committed(&mut s, 3);
        s.b.assigned(s.mailer[1], 2, &[orders(0)], &[orders(0)]);
        s.poll(1, &[(2, r[2])]);
        s.drained(&r)
    }),
    ("reset-jump", UnderThisConfiguration, || {
        let mut s = Scene::new();
        committed(&mut s, 3);
        s.b.assigned(s.mailer[1], 2, &[orders(0)], &[orders(0)]);
        s.b.position(s.mailer[1], orders(0), 9, PositionReason::NoCommittedOffset);
        s.b.finish()
    }),
    ("unassigned-delivery", Always, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        s.b.assigned(s.mailer[0], 1, &[orders(0)], &[orders(0)]);
        s.b.revoked(s.mailer[0], &[orders(0)]);
        s.poll(0, &[(0, r[0])]);
        s.drained(&r)
    }),
    ("read-beyond-hw", Always, || {
        let mut s = Scene::new();
        let event = WorldEvent::Served {
            partition: orders(0),
            from: Offset(0),
            to: Offset(2),
            high_watermark: Offset(1),
            last_stable_offset: Offset(0),
            read_committed: false,
        };
        s.world(0, event);
        s.b.finish()
    }),
    ("unseen", Informative, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        s.poll(0, &[(0, r[0])]);
        s.b.finish()
    }),
    ("duplicate-delivery", Informative, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        s.poll(0, &[(0, r[0])]);
        s.poll(1, &[(0, r[0])]);
        s.drained(&r)
    }),
    ("lost-processing", Legal, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        s.b.processed(s.mailer[0], orders(0), 1, r[1]);
        s.drained(&r)
    }),
    ("dup-processing", Legal, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        s.b.processed(s.mailer[0], orders(0), 0, r[0]);
        s.b.processed(s.mailer[1], orders(0), 0, r[0]);
        s.drained(&r)
    }),
    ("commit-before-process", Informative, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        s.poll(0, &[(0, r[0])]);
        s.b.commit(s.mailer[0], &[(orders(0), 1)]);
        s.b.processed(s.mailer[0], orders(0), 0, r[0]);
        s.drained(&r)
    }),
];

/// The first consumer owns orders-0, has committed an offset, and gives it back.
pub(super) fn committed(s: &mut Scene, offset: i64) {
    s.b.assigned(s.mailer[0], 1, &[orders(0)], &[orders(0)]);
    s.b.commit(s.mailer[0], &[(orders(0), offset)]);
    s.b.revoked(s.mailer[0], &[orders(0)]);
}

const GROUP: &[Row] = &[
    ("offset-commit-regress", UnderThisConfiguration, || {
        let mut s = Scene::new();
        committed(&mut s, 3);
        s.b.commit(s.mailer[1], &[(orders(0), 2)]);
        s.b.finish()
    }),
    ("committed-offset-lost", UnderThisConfiguration, || {
        let mut s = Scene::new();
        committed(&mut s, 1);
        committed(&mut s, 3);
        s.b.assigned(s.mailer[1], 2, &[orders(0)], &[orders(0)]);
        s.b.position(s.mailer[1], orders(0), 1, PositionReason::Committed);
        s.b.finish()
    }),
    ("committed-offset-phantom", UnderThisConfiguration, || {
        let mut s = Scene::new();
        committed(&mut s, 3);
        s.b.assigned(s.mailer[1], 2, &[orders(0)], &[orders(0)]);
        s.b.position(s.mailer[1], orders(0), 2, PositionReason::Committed);
        s.b.finish()
    }),
    ("commit-beyond-position", UnderThisConfiguration, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        s.poll(0, &[(0, r[0])]);
        s.b.commit(s.mailer[0], &[(orders(0), 2)]);
        s.b.finish()
    }),
    ("commit-without-ownership", UnderThisConfiguration, || {
        let mut s = Scene::new();
        committed(&mut s, 3);
        s.b.commit(s.mailer[0], &[(orders(0), 3)]);
        s.b.finish()
    }),
    ("stale-generation-commit", Always, || {
        let mut s = Scene::new();
        s.accepted(1, 1, 2, 5);
        s.b.finish()
    }),
    ("double-ownership", Always, || {
        let mut s = Scene::new();
        s.b.assigned(s.mailer[0], 2, &[orders(0)], &[orders(0)]);
        s.b.assigned(s.mailer[1], 2, &[orders(0)], &[orders(0)]);
        s.b.finish()
    }),
    ("zombie-ownership", Informative, || {
        let mut s = Scene::new();
        s.b.assigned(s.mailer[0], 1, &[orders(0)], &[orders(0)]);
        s.b.assigned(s.mailer[1], 2, &[orders(0)], &[orders(0)]);
        s.b.finish()
    }),
    ("unowned-partition", Always, || {
        let mut s = Scene::new();
        s.b.generation(s.broker[0], s.group, 1, &[(MemberId(1), orders(0))]);
        s.world(0, WorldEvent::Settled);
        s.drained(&[])
    }),
    ("illegal-assignment", Always, || {
        let mut s = Scene::new();
        let other = TopicPartition::new(TopicId(1), 0);
        s.b.assigned(s.mailer[0], 2, &[other], &[other]);
        s.b.finish()
    }),
    ("revoke-without-commit-window", Informative, || {
        let mut s = Scene::new();
        s.cooperative(2, [&[0, 1], &[]]);
        s.b.assigned(s.mailer[0], 2, &[orders(0), orders(1)], &[orders(0), orders(1)]);
        s.cooperative(3, [&[0], &[1]]);
        s.b.finish()
    }),
    ("generation-regress", UnderThisConfiguration, || {
        let mut s = Scene::new();
        s.b.generation(s.broker[0], s.group, 5, &[]);
        s.b.generation(s.broker[0], s.group, 3, &[]);
        s.b.finish()
    }),
];

const REST: &[Row] = &[
    ("unresolved-op", Always, || {
        let mut s = Scene::new();
        s.b.send(s.shop, orders(0));
        s.drained(&[])
    }),
    ("stuck-consumer", Always, || stuck("stuck-consumer")),
    ("rebalance-livelock", Always, || stuck("rebalance-livelock")),
    ("unnamed-invariant", Always, || stuck("unnamed-invariant")),
    ("no-leader", Always, || {
        let mut s = Scene::new();
        s.partition_changed(None, &[]);
        s.world(0, WorldEvent::Settled);
        s.b.finish()
    }),
    ("under-replicated", Informative, || {
        let mut s = Scene::new();
        let brokers = s.broker;
        s.partition_changed(Some(brokers[0]), &brokers);
        s.partition_changed(Some(brokers[0]), &brokers[..1]);
        s.world(0, WorldEvent::Settled);
        s.b.finish()
    }),
    ("drain-incomplete", Always, || {
        let mut s = Scene::new();
        s.b.drain(s.auditor, orders(0), &[]);
        s.b.finish()
    }),
    ("commit-lag-final", Informative, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        committed(&mut s, 1);
        s.b.processed(s.mailer[0], orders(0), 0, r[0]);
        s.b.processed(s.mailer[0], orders(0), 1, r[1]);
        s.drained(&r)
    }),
    ("history-malformed", Always, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        s.b.acked(r[0], orders(0), 0);
        s.drained(&r)
    }),
    ("vacuous-pass", Informative, || Scene::new().b.finish()),
];

fn stuck(id: &'static str) -> History {
    let mut s = Scene::new();
    let detail = "nothing has moved for 900 s".to_owned();
    s.world(0, WorldEvent::Stuck { id, partition: Some(orders(0)), detail });
    s.b.finish()
}

fn rows() -> impl Iterator<Item = &'static Row> {
    [LOG, TABLE_E, CONSUMER, GROUP, REST, TABLE_C, TABLE_F, TABLE_G, TABLE_H].into_iter().flatten()
}

#[test]
fn every_row_fires_on_the_history_that_shows_it() {
    for (id, severity, history) in rows() {
        let verdict = check(&history());
        let anomaly = super::found(&verdict, id);
        assert_eq!((anomaly.count, anomaly.severity), (1, *severity), "{id}");
        assert!(anomaly.witness.sentence.len() > 20, "{}", anomaly.witness.sentence);
    }
}

#[test]
fn no_row_of_the_catalogue_is_out_of_reach() {
    for class in crate::catalogue() {
        let reached = |row: &Row| crate::find(row.0).is_some_and(|c| c.id == class.id);
        // An aggregate has two outputs, which its own test counts.
        let own = class.id == "state-fingerprint-mismatch";
        assert!(own || rows().any(reached), "no history shows {}", class.id);
    }
}
