//! One small history per row of table G.

use oncesim_types::EffectId;

use super::effects::{ORDERS, Scene};
use super::rows::Row;
use crate::Severity::{Legal, UnderThisConfiguration};

pub(super) const TABLE_G: &[Row] = &[
    ("effect-lost", Legal, || Scene::new(1).done()),
    ("effect-duplicate", Legal, || {
        let mut s = Scene::new(1);
        s.applies(0, &[(1, 0, 11)]);
        s.applies(0, &[(2, 0, 11)]);
        s.done()
    }),
    ("effect-phantom", UnderThisConfiguration, || {
        let mut s = Scene::new(1);
        for mailer in s.mailer {
            s.b.read_committed(mailer);
        }
        let stranger = s.b.send(s.shop, ORDERS);
        s.b.unknown(stranger);
        s.b.apply(EffectId { record: stranger, ..s.effect(0) }, 9, &[(7, 0, 5)]);
        s.done()
    }),
    ("partial-effect", Legal, || {
        let mut s = Scene::new(1);
        s.b.sink_info(s.sink).steps = 2;
        s.applies(0, &[(1, 0, 11)]);
        s.done()
    }),
];
