//! Rows of table E.

use oncesim_history::WorldEvent;
use oncesim_types::Offset;

use super::orders;
use super::rows::{Row, Scene};
use crate::Severity::{Always, Legal};

pub(super) const TABLE_E: &[Row] = &[
    ("log-divergence", Always, || {
        let mut s = Scene::new();
        let r = s.acked(2);
        s.append(0, 0, 0, &r[..1]);
        s.append(1, 0, 0, &r[1..]);
        s.high_watermark(0, 1, true, 2);
        s.high_watermark(1, 1, false, 0);
        s.drained(&r)
    }),
    ("leader-incomplete", Always, || {
        let mut s = Scene::new();
        s.high_watermark(0, 4, true, 2);
        s.leads(1, 1, 3);
        s.b.finish()
    }),
    ("minisr-violation", Always, || {
        let mut s = Scene::new();
        let event = WorldEvent::AckedAll {
            partition: orders(0),
            next_offset: Offset(1),
            isr: 1,
            min_isr: 2,
        };
        s.world(0, event);
        s.b.finish()
    }),
    ("hw-regress", Always, || {
        let mut s = Scene::new();
        s.high_watermark(0, 4, true, 2);
        s.high_watermark(0, 3, true, 2);
        s.b.finish()
    }),
    ("two-leaders-same-epoch", Always, || {
        let mut s = Scene::new();
        s.leads(0, 1, 0);
        s.leads(1, 1, 0);
        s.b.finish()
    }),
    ("committed-lost-globally", Legal, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        for broker in 0..2 {
            s.append(broker, 0, 0, &r);
        }
        for broker in 0..2 {
            s.b.crash(s.broker[broker], true);
            s.world(broker, WorldEvent::DiskLoss { partition: orders(0), to: Offset(0) });
        }
        s.drained(&[])
    }),
    ("candidate-incomplete", Always, || {
        let mut s = Scene::new();
        let r = s.acked(1);
        let brokers = s.broker;
        s.partition_changed(Some(brokers[0]), &brokers);
        s.append(0, 0, 0, &r);
        s.high_watermark(0, 1, true, 2);
        s.b.finish()
    }),
    ("leader-not-in-isr", Always, || {
        let mut s = Scene::new();
        let [leader, follower] = s.broker;
        s.partition_changed(Some(leader), &[follower]);
        s.b.finish()
    }),
    ("unclean-replica-in-isr", Always, || {
        let mut s = Scene::new();
        let [leader, follower] = [s.broker[0], s.broker[1]];
        s.partition_changed(Some(leader), &[leader]);
        s.world(0, WorldEvent::BrokerFenced { broker: follower, fenced: true });
        s.partition_changed(Some(leader), &[leader, follower]);
        s.b.finish()
    }),
];
