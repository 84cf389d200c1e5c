//! Crashes, cuts and elections at random: nothing acknowledged is lost or doubled.

use std::rc::Rc;

use oncesim_types::{ActorId, ErrorCode, RecordId};

use super::cluster::{B1, B2, B3, CONTROLLER, Cluster, id_of, topic};
use crate::broker::Crash;
use crate::config::BrokerConfig;
use crate::log::batch::RecordBatch;
use crate::message::{Acks, ElectLeadersRequest, Request, Response};
use crate::mutation::Mutations;

/// One idempotent producer that retries each batch until it is acknowledged.
#[derive(Default)]
struct Producer {
    sequence: i32,
    batch: Option<Rc<RecordBatch>>,
    acknowledged: Vec<RecordId>,
}

impl Producer {
    fn attempt(&mut self, t: &mut Cluster) {
        let batch = self.batch.take().unwrap_or_else(|| t.batch(Some((1000, 0, self.sequence))));
        let to = t.leader().unwrap_or(B1);
        let correlation = t.ask(to, Cluster::produce_request(Acks::All, &batch));
        let wait = 5 + t.draw(100);
        t.run_ms(wait);
        match t.responses.remove(&correlation) {
            Some(Response::Produce(answers)) if answers[0].error == ErrorCode::None => {
                self.acknowledged.push(id_of(&batch));
                self.sequence += 1;
            }
            Some(Response::Produce(answers)) => {
                let error = answers[0].error;
                assert!(error.is_retriable(), "{error} for sequence {}", self.sequence);
                self.batch = Some(batch);
            }
            _ => self.batch = Some(batch),
        }
    }
}

pub(super) fn disturb(t: &mut Cluster, down: &mut Option<ActorId>) {
    let broker = ActorId(1 + u16::try_from(t.draw(3)).unwrap());
    match t.draw(12) {
        0 | 1 if down.is_none() => {
            // Power may take what is not flushed: one replica at a time has no more to lose.
            t.crash(broker, Crash::Process);
            *down = Some(broker);
        }
        2 | 3 => {
            if let Some(broker) = down.take() {
                t.start(broker);
            }
        }
        4 => {
            let other = [CONTROLLER, B1, B2, B3][usize::try_from(t.draw(4)).unwrap()];
            if other != broker {
                t.cut(broker, other);
            }
        }
        5 | 6 => t.heal(),
        7 | 8 => {
            let partition = super::cluster::P;
            let request =
                ElectLeadersRequest { partition, preferred: Some(broker), unclean: false };
            t.ask(CONTROLLER, Request::ElectLeaders(request));
        }
        9 => {
            let wait = t.draw(15_000);
            t.run_ms(wait);
        }
        _ => {}
    }
}

/// Returns how many batches were acknowledged.
fn walk(seed: u64) -> usize {
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let config = BrokerConfig::default();
    let mut t = Cluster::with(3, vec![topic(3, 2)], Mutations::NONE, config, Some(seed));
    let mut producer = Producer::default();
    let mut down = None;
    for _ in 0..60 {
        disturb(&mut t, &mut down);
        producer.attempt(&mut t);
    }
    if let Some(broker) = down {
        t.start(broker);
    }
    t.heal();
    t.settle();
    assert!(t.logs_agree(), "logs differ");
    let log = t.records(B1);
    for record in &producer.acknowledged {
        let copies = log.iter().filter(|found| *found == record).count();
        assert_eq!(copies, 1, "copies of {record:?}");
    }
    let in_order: Vec<_> =
        log.iter().filter(|record| producer.acknowledged.contains(record)).copied().collect();
    assert_eq!(in_order, producer.acknowledged);
    producer.acknowledged.len()
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled() {
    let mut acknowledged = 0;
    for seed in 1..=200 {
        match std::panic::catch_unwind(|| walk(seed)) {
            Ok(count) => acknowledged += count,
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                panic!("seed {seed}: {}", said.unwrap_or("a panic"));
            }
        }
    }
    assert!(acknowledged > 200 * 10, "only {acknowledged} batches were acknowledged");
}
