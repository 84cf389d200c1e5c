//! Consume, transform, produce: what a fresh reader finds at the end, against an oracle that looks at
//! nothing but inputs and outputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use oncesim::history::{ActorRole, ClientKind, EventKind, History, Outcome, Output, WorldEvent};
use oncesim::spec::Scenario;
use oncesim::types::lineage::aggregated;
use oncesim::types::{RecordId, TopicId, TransactionResult};
use oncesim::{RunEnd, RunOptions, run};

const SCENARIO: &str = r#"
title = "Orders become invoices"
claim = { processing = "exactly-once" }

[cluster]
brokers = 3
transaction-version = VERSION
config.min.insync.replicas = 2
config.group.initial.rebalance.delay.ms = 0

[topics]
counts = { partitions = 3, replication-factor = 3 }
invoices = { partitions = 3, replication-factor = 3 }
orders = { partitions = 3, replication-factor = 3 }

[producers.shop]
to = "orders"
records = 120
keys = 10
interval = "5ms"

[processors.billing]
instances = 2
from = "orders"
to = "invoices"
transform = TRANSFORM
commit = "transaction"
commit-interval = "40ms"
mistakes = [MISTAKES]
consumer.auto.offset.reset = "earliest"
consumer.isolation.level = "read_committed"
consumer.session.timeout.ms = 6000
consumer.heartbeat.interval.ms = 2000
consumer.max.poll.interval.ms = 10000
producer.transaction.timeout.ms = 10000
producer.max.block.ms = 2000
producer.request.timeout.ms = 1500
producer.delivery.timeout.ms = 2000

[faults.swarm]
kinds = [
  "crash", "ack-loss", "request-loss", "delay", "pause", "application-pause", "leader-change",
  "coordinator-move", "rebalance", "partition", "clog", "controller-failover", "clock-jump",
]
count = 8
"#;

const MAP: &str = r#"{ map = { time = "1ms" } }"#;
const FAN_OUT: &str = r#"{ fan-out = { outputs = 2, time = "1ms" } }"#;
const AGGREGATE: &str = r#"{ aggregate = { changelog = "counts", time = "1ms" } }"#;

fn scenario(version: u8, transform: &str, mistakes: &str) -> Arc<Scenario> {
    let text = SCENARIO
        .replace("VERSION", &version.to_string())
        .replace("TRANSFORM", transform)
        .replace("MISTAKES", mistakes);
    let loaded = oncesim::spec::parse("processors.toml", &text, None);
    Arc::new(loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false))).scenario)
}

fn topic(history: &History, name: &str) -> TopicId {
    let index = history.topics.iter().position(|topic| topic.name == name).expect("it is there");
    TopicId(u16::try_from(index).expect("few topics"))
}

/// How often each record of a topic was drained, with its key.
fn drained(history: &History, topic: TopicId) -> BTreeMap<RecordId, (u32, Option<u32>, u64)> {
    let auditor = history.actors.iter().position(|actor| actor.role == ActorRole::Auditor);
    let mut records = BTreeMap::new();
    for event in &history.events {
        let EventKind::Client(ClientKind::PollEnd { records: span, .. }) = &event.kind else {
            continue;
        };
        if Some(usize::from(event.actor.0)) != auditor {
            continue;
        }
        for polled in history.polled(*span).iter().filter(|it| it.partition.topic == topic) {
            let entry = records.entry(polled.record).or_insert((0, polled.key, polled.payload));
            entry.0 += 1;
        }
    }
    records
}

/// What a run exercised.
#[derive(Debug, Default)]
struct Seen {
    aborts: u32,
    unknown_ends: u32,
    failed_ends: u32,
    restores: u32,
    crashes: u32,
}

impl Seen {
    fn add(&mut self, history: &History) {
        for event in &history.events {
            match &event.kind {
                EventKind::Client(ClientKind::EndTransaction { result, .. }) => {
                    self.aborts += u32::from(*result == TransactionResult::Abort);
                }
                EventKind::Client(ClientKind::TransactionEnd { outcome, .. }) => match outcome {
                    Outcome::Ok => {}
                    Outcome::Info(_) => self.unknown_ends += 1,
                    Outcome::Fail(_) => self.failed_ends += 1,
                },
                EventKind::Client(ClientKind::StateRestored { .. }) => self.restores += 1,
                EventKind::World(WorldEvent::Crashed { .. }) => self.crashes += 1,
                _ => {}
            }
        }
    }
}

/// Every input that counts has each of its outputs once, and no other output counts.
fn exactly_once(history: &History, outputs: &[Output]) -> Result<(), String> {
    let mut made: BTreeMap<RecordId, (RecordId, Output)> = BTreeMap::new();
    for event in &history.events {
        if let EventKind::Client(ClientKind::Emitted { record, input, output, .. }) = &event.kind {
            made.insert(*record, (*input, *output));
        }
    }
    let mut found: BTreeMap<(RecordId, Output), u32> = BTreeMap::new();
    for name in ["invoices", "counts"] {
        for (record, (times, ..)) in drained(history, topic(history, name)) {
            let (input, output) = made[&record];
            *found.entry((input, output)).or_default() += times;
        }
    }
    for order in drained(history, topic(history, "orders")).keys() {
        for output in outputs {
            match found.remove(&(*order, *output)) {
                Some(1) => {}
                times => {
                    let name = history.record_name(*order);
                    return Err(format!("{output:?} of {name} counts {times:?} times"));
                }
            }
        }
    }
    match found.first_key_value() {
        None => Ok(()),
        Some((odd, _)) => Err(format!("{odd:?} comes from nowhere")),
    }
}

/// The newest aggregate of each key is that of all its inputs.
fn aggregates(history: &History) -> Result<(), String> {
    let mut expected: BTreeMap<Option<u32>, i64> = BTreeMap::new();
    for (order, (_, key, _)) in drained(history, topic(history, "orders")) {
        let value = expected.entry(key).or_default();
        *value = aggregated(*value, order);
    }
    let mut newest: BTreeMap<Option<u32>, (RecordId, u64)> = BTreeMap::new();
    let auditor = history.actors.iter().position(|actor| actor.role == ActorRole::Auditor);
    let counts = topic(history, "counts");
    for event in &history.events {
        if let EventKind::Client(ClientKind::PollEnd { records, .. }) = &event.kind
            && Some(usize::from(event.actor.0)) == auditor
        {
            for polled in history.polled(*records).iter().filter(|it| it.partition.topic == counts)
            {
                newest.insert(polled.key, (polled.record, polled.payload));
            }
        }
    }
    for (key, value) in expected {
        let Some((record, payload)) = newest.get(&key) else {
            return Err(format!("key {key:?} has no aggregate"));
        };
        if *payload != oncesim::types::lineage::payload(*record, Some(value)) {
            return Err(format!("the aggregate of key {key:?} is wrong"));
        }
    }
    Ok(())
}

fn runs(
    scenario: &Arc<Scenario>,
    seeds: u64,
    mut look: impl FnMut(u64, &History) -> Result<(), String>,
) -> (Seen, Vec<String>) {
    let mut seen = Seen::default();
    let mut failures = Vec::new();
    for seed in 0..seeds {
        let options = RunOptions { seed, keep_history: true, ..RunOptions::default() };
        let outcome = run(scenario, &options);
        assert!(matches!(outcome.end, RunEnd::Settled), "seed {seed}: {:?}", outcome.end);
        let history = outcome.history.expect("it was asked for");
        seen.add(&history);
        if let Err(reason) = look(seed, &history) {
            failures.push(format!("seed {seed}: {reason}"));
        }
    }
    (seen, failures)
}

#[test]
fn transactions_process_exactly_once() {
    for version in [1, 2] {
        let (seen, failures) = runs(&scenario(version, MAP, ""), 150, |_, history| {
            exactly_once(history, &[Output::Ordinal(0)])
        });
        assert!(failures.is_empty(), "version {version}: {failures:#?}");
        assert!(seen.aborts > 10 && seen.crashes > 50, "version {version}: {seen:?}");
    }
}

#[test]
fn a_fan_out_is_all_or_nothing() {
    let outputs = [Output::Ordinal(0), Output::Ordinal(1)];
    let look = |_, history: &History| exactly_once(history, &outputs);
    let (_, failures) = runs(&scenario(2, FAN_OUT, ""), 80, look);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn aggregates_survive_failover() {
    let (seen, failures) = runs(&scenario(2, AGGREGATE, ""), 150, |_, history| {
        exactly_once(history, &[Output::Aggregate, Output::Changelog])?;
        aggregates(history)
    });
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(seen.restores > 500, "{seen:?}");
}

#[test]
fn without_the_seek_after_an_abort_orders_are_lost() {
    let scenario = scenario(2, MAP, "\"no-seek-after-abort\"");
    let (_, failures) =
        runs(&scenario, 150, |_, history| exactly_once(history, &[Output::Ordinal(0)]));
    assert!(!failures.is_empty(), "the mistake did no harm");
}

#[test]
fn what_befalls_a_process_befalls_both_its_clients() {
    let text = SCENARIO.replace("VERSION", "2").replace("TRANSFORM", MAP).replace("MISTAKES", "");
    let (quiet, _) = text.split_once("[faults.swarm]").expect("it has drawn faults");
    let text = format!(
        "{quiet}\n[[fault]]\ncrash = {{ actor = \"billing-0\", at = \"300ms\", for = \"1s\" }}"
    );
    let loaded = oncesim::spec::parse("processors.toml", &text, None);
    let scenario = loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false))).scenario;
    let options = RunOptions { seed: 1, keep_history: true, ..RunOptions::default() };
    let outcome = run(&Arc::new(scenario), &options);
    let history = outcome.history.expect("it was asked for");
    let crashed: Vec<_> = history
        .events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::World(WorldEvent::Crashed { .. })))
        .map(|event| (event.time, history.actor_name(event.actor)))
        .collect();
    assert_eq!(crashed.len(), 2);
    assert_eq!(crashed[0].0, crashed[1].0);
    assert_eq!((crashed[0].1, crashed[1].1), ("billing-0", "billing-0-producer"));
}
