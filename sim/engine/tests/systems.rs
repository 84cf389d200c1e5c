//! Systems outside of Kafka, end to end: services with a database, relays, sinks.

use std::collections::BTreeSet;
use std::sync::Arc;

use oncesim::history::{EventKind, ExternalEvent, History};
use oncesim::spec::Scenario;
use oncesim::types::{RecordId, StatementRole};
use oncesim::{Judgement, Outcome, RunEnd, RunOptions, judge, run};

/// How many seeds a property is tried on.
const SEEDS: u64 = 60;

const OUTBOX: &str = r#"
title = "A service with an outbox"

[claim]
log = "at-least-once"

[cluster]
brokers = 3

[topics]
orders = { partitions = 2, replication-factor = 3, config.min.insync.replicas = 2 }

[databases.shop]
schema = """
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER, amount INTEGER);
CREATE TABLE outbox(sequence INTEGER, id INTEGER, key INTEGER, value INTEGER, sent INTEGER DEFAULT 0);
"""

[services.checkout]
instances = 2
database = "shop"
to = "orders"
records = 30
keys = 5
interval = "5ms"
statement = "INSERT INTO orders(id, customer, amount) VALUES (:id, :key, :value)"
announce = "outbox"
outbox = "INSERT INTO outbox(sequence, id, key, value) VALUES (:sequence, :id, :key, :value)"

[relays.publisher]
database = "shop"
to = "orders"
interval = "20ms"
batch = 10
select = "SELECT sequence, id, key, value FROM outbox WHERE sent = 0 ORDER BY sequence LIMIT :batch"
mark = "UPDATE outbox SET sent = 1 WHERE id = :id"
mark-when = "after-ack"
"#;

fn scenario(text: &str) -> Arc<Scenario> {
    let loaded = oncesim::spec::parse("systems.toml", text, None);
    Arc::new(loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false))).scenario)
}

fn run_seed(scenario: &Arc<Scenario>, seed: u64) -> Outcome {
    let outcome = run(scenario, &RunOptions { seed, keep_history: true, ..RunOptions::default() });
    assert_eq!(outcome.end, RunEnd::Settled, "seed {seed}: {:?}", outcome.verdict.anomalies);
    outcome
}

fn history(outcome: &Outcome) -> &History {
    outcome.history.as_ref().expect("it was asked for")
}

fn external(outcome: &Outcome) -> impl Iterator<Item = &ExternalEvent> {
    history(outcome).events.iter().filter_map(|event| match &event.kind {
        EventKind::External(event) => Some(event),
        _ => None,
    })
}

/// What rows of the outbox that are committed announce.
fn announced(outcome: &Outcome) -> BTreeSet<RecordId> {
    let rows = external(outcome).filter_map(|event| match event {
        ExternalEvent::Committed { role: StatementRole::Outbox, record, .. } => *record,
        _ => None,
    });
    rows.collect()
}

fn in_log(outcome: &Outcome) -> BTreeSet<RecordId> {
    history(outcome).appended.iter().copied().collect()
}

#[test]
fn an_outbox_reaches_the_log() {
    let scenario = scenario(OUTBOX);
    let outcome = run_seed(&scenario, 1);
    assert_eq!(announced(&outcome).len(), 60);
    assert_eq!(announced(&outcome), in_log(&outcome));
    let lines = [
        "2 services checkout: 30 operations each in shop, announced in orders by outbox",
        "relay publisher: shop to orders, polls every 20ms, marks after-ack",
        "database shop: 4 statements, service time 200us, clients wait 2s",
    ];
    assert_eq!(outcome.world[2..5], lines);
}

/// What can go wrong with and around systems.
const SWARM: &str = r#"
[faults.swarm]
kinds = ["crash", "power-failure", "pause", "partition", "one-way-partition", "clog", "request-loss", "ack-loss", "duplicate", "delay", "clock-jump", "clock-skew", "sink-errors", "deadlock", "slow-sink", "unknown-commit"]
count = 8
"#;

/// Tries a scenario under all kinds of faults, and looks at each run.
fn whatever_happens(text: &str, look: impl Fn(u64, &Outcome)) {
    let scenario = scenario(&format!("{text}{SWARM}"));
    // Where everything failed nothing is proved: a run may be vacuous.
    let mut vacuous = 0;
    for seed in 0..SEEDS {
        let outcome = run_seed(&scenario, seed);
        look(seed, &outcome);
        match judge(&scenario, &outcome) {
            Judgement::AsClaimed => {}
            Judgement::Vacuous => vacuous += 1,
            _ => panic!("seed {seed}: {:?}", outcome.verdict.anomalies),
        }
    }
    assert!(vacuous < SEEDS / 10, "{vacuous} of {SEEDS}");
}

#[test]
fn an_outbox_reaches_the_log_whatever_happens() {
    whatever_happens(OUTBOX, |seed, outcome| {
        assert_eq!(announced(outcome), in_log(outcome), "seed {seed}");
    });
}

/// A statement waits for the end of a partition, its client gives up and closes the connection: the
/// database reads the statement first and the end of the session then, so that the statement is not
/// taken for a transaction of its own.
#[test]
fn what_was_sent_before_a_connection_closed_belongs_to_its_session() {
    let holding = OUTBOX.replace("statement = ", "hold = \"20ms\"\nstatement = ");
    let cut = "[[fault]]\npartition = { from = [\"checkout-0\"], at = \"100ms\", for = \"5s\" }\n";
    let scenario = scenario(&format!("{holding}{cut}"));
    for seed in 0..10 {
        let outcome = run_seed(&scenario, seed);
        let rows = |of: StatementRole| {
            external(&outcome)
                .filter_map(move |event| match event {
                    ExternalEvent::Committed { role, record, commit, .. } if *role == of => {
                        Some((*commit, *record))
                    }
                    _ => None,
                })
                .collect::<BTreeSet<_>>()
        };
        let (business, outbox) = (rows(StatementRole::Business), rows(StatementRole::Outbox));
        assert_eq!(business, outbox, "seed {seed}");
    }
}

#[test]
fn a_run_with_systems_is_a_function_of_its_seed() {
    let scenario = scenario(&format!("{OUTBOX}{SWARM}"));
    let digests = |seed| run_seed(&scenario, seed).digest;
    for seed in 0..10 {
        assert_eq!(digests(seed), digests(seed), "seed {seed}");
    }
    assert_ne!(digests(0), digests(1));
}

const API: &str = r#"
title = "A consumer that calls an API"

[claim]
effect = "exactly-once"

[cluster]
brokers = 3

[topics]
orders = { partitions = 2, replication-factor = 3, config.min.insync.replicas = 2 }

[producers.shop]
to = "orders"
records = 40
keys = 5
interval = "5ms"

[sinks.payments]
api = { idempotency-key = "per-record" }

[consumers.mailer]
instances = 2
from = "orders"
commit = "after-processing"
sink = "payments"
config.auto.offset.reset = "earliest"
"#;

fn applied(outcome: &Outcome) -> Vec<RecordId> {
    let applied = external(outcome).filter_map(|event| match event {
        ExternalEvent::Applied { effect, .. } => Some(effect.record),
        _ => None,
    });
    applied.collect()
}

#[test]
fn a_consumer_with_an_api_performs_once_for_each_record() {
    let outcome = run_seed(&scenario(API), 1);
    let mut records = applied(&outcome);
    records.sort_unstable();
    let all: Vec<_> = (0..40).map(|n| RecordId::new(records[0].origin(), n)).collect();
    assert_eq!(records, all);
    let asked = external(&outcome).filter(|it| matches!(it, ExternalEvent::Asked { .. })).count();
    let done = external(&outcome).filter(|it| matches!(it, ExternalEvent::EffectDone { .. }));
    assert_eq!((asked, done.count()), (40, 40));
}

#[test]
fn idempotency_keys_keep_effects_apart_whatever_happens() {
    whatever_happens(API, |seed, outcome| {
        let mut records = applied(outcome);
        records.sort_unstable();
        let before = records.len();
        records.dedup();
        assert_eq!(records.len(), before, "seed {seed}: an effect was applied twice");
    });
}
