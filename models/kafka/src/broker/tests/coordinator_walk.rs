//! Crashes, cuts and elections at random while a producer commits and aborts: every transaction is
//! all or nothing, in the end, and none stays open.

use std::collections::BTreeMap;

use oncesim_types::{ActorId, RecordId, TopicPartition, TransactionResult};

use super::cluster::{B1, B2, B3, CONTROLLER, Cluster};
use super::transaction_coordinator::{BROKERS, Producer, STATE, cluster_with, data};
use crate::broker::Crash;
use crate::config::TransactionVersion;
use crate::log::batch::Records;
use crate::message::{ElectLeadersRequest, Request};
use crate::mutation::Mutations;

use TransactionResult::{Abort, Commit};

/// What the application knows of a transaction.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Committed,
    Aborted,
    /// Its commit was asked for, and the answer was not one.
    Unknown,
}

fn disturb(t: &mut Cluster, down: &mut Option<ActorId>) {
    let broker = BROKERS[usize::try_from(t.draw(3)).unwrap()];
    match t.draw(24) {
        0 | 1 if down.is_none() => {
            t.crash(broker, Crash::Process);
            *down = Some(broker);
        }
        2..=4 => {
            if let Some(broker) = down.take() {
                t.start(broker);
            }
        }
        5 => {
            let other = [CONTROLLER, B1, B2, B3][usize::try_from(t.draw(4)).unwrap()];
            if other != broker {
                t.cut(broker, other);
            }
        }
        6..=8 => t.heal(),
        9..=11 => {
            let n = u16::try_from(t.draw(4)).unwrap();
            let partition = if n == 3 { STATE } else { data(n) };
            let preferred = Some(broker);
            let request = ElectLeadersRequest { partition, preferred, unclean: false };
            t.ask(CONTROLLER, Request::ElectLeaders(request));
        }
        12 => {
            let wait = t.draw(15_000);
            t.run_ms(wait);
        }
        _ => {}
    }
}

/// One transaction of a few records; the disturbances go on around each step.
fn transaction(
    t: &mut Cluster,
    producer: &mut Producer,
    down: &mut Option<ActorId>,
) -> (Vec<RecordId>, Outcome) {
    let mut records = Vec::new();
    let mut failed = false;
    for _ in 0..1 + t.draw(4) {
        disturb(t, down);
        let n = u16::try_from(t.draw(3)).unwrap();
        records.push(t.next_record_id());
        if producer.send_amid(t, n, |t| disturb(t, down)).is_err() {
            failed = true;
            break;
        }
    }
    disturb(t, down);
    let result = if failed || t.draw(3) == 0 { Abort } else { Commit };
    let outcome = match (producer.end_amid(t, result, |t| disturb(t, down)), result) {
        (Ok(()), Commit) => Outcome::Committed,
        (_, Abort) => Outcome::Aborted,
        (Err(_), Commit) => Outcome::Unknown,
    };
    (records, outcome)
}

/// What a log makes of its records, and the producers whose transaction is open.
fn read(t: &Cluster, partition: TopicPartition) -> (BTreeMap<RecordId, TransactionResult>, usize) {
    let mut open: BTreeMap<_, Vec<RecordId>> = BTreeMap::new();
    let mut ended = BTreeMap::new();
    for batch in t.broker(B1).batches(partition) {
        let id = batch.batch.producer_id;
        match &batch.batch.records {
            Records::Data(records) => {
                open.entry(id).or_default().extend(records.iter().map(|record| record.id));
            }
            Records::Control(marker) => {
                for record in open.remove(&id).unwrap_or_default() {
                    assert!(ended.insert(record, marker.result).is_none(), "{record:?} is doubled");
                }
            }
            Records::Coordinator(_) => {}
        }
    }
    (ended, open.len())
}

fn walk(seed: u64, version: TransactionVersion) -> usize {
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut t = cluster_with(version, Mutations::NONE, Some(seed));
    let mut producer = Producer::start(&mut t, version);
    let (mut down, mut story) = (None, Vec::new());
    for _ in 0..12 {
        let (records, outcome) = transaction(&mut t, &mut producer, &mut down);
        story.push((records, outcome));
        if producer.is_lost || t.draw(8) == 0 {
            // A crash of the producer: another instance takes over.
            t.heal();
            if let Some(broker) = down.take() {
                t.start(broker);
            }
            producer = Producer::start(&mut t, version);
        }
    }
    if let Some(broker) = down {
        t.start(broker);
    }
    t.heal();
    t.settle();
    let mut ended = BTreeMap::new();
    for n in 0..3 {
        let (records, open) = read(&t, data(n));
        assert_eq!(open, 0, "an open transaction in partition {n}");
        ended.extend(records);
    }
    for (records, outcome) in &story {
        let committed = records.iter().filter(|r| ended.get(r) == Some(&Commit)).count();
        match outcome {
            Outcome::Committed => assert_eq!(committed, records.len(), "{records:?}"),
            Outcome::Aborted => assert_eq!(committed, 0, "{records:?}"),
            Outcome::Unknown => assert!(committed == 0 || committed == records.len()),
        }
    }
    story.iter().filter(|(_, outcome)| *outcome == Outcome::Committed).count()
}

fn walks(version: TransactionVersion) {
    let mut committed = 0;
    for seed in 1..=60 {
        match std::panic::catch_unwind(|| walk(seed, version)) {
            Ok(count) => committed += count,
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                panic!("seed {seed}: {}", said.unwrap_or("a panic"));
            }
        }
    }
    assert!(committed > 60 * 3, "only {committed} transactions were committed");
}

#[test]
fn every_transaction_of_generation_1_is_all_or_nothing() {
    walks(TransactionVersion::V1);
}

#[test]
fn every_transaction_of_generation_2_is_all_or_nothing() {
    walks(TransactionVersion::V2);
}
