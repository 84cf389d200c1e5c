//! Systems outside of Kafka, end to end: services with a database, relays, sinks.

use std::sync::Arc;

use oncesim::history::{EventKind, ExternalEvent};
use oncesim::spec::Scenario;
use oncesim::{Outcome, RunEnd, RunOptions, run};

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

fn count(outcome: &Outcome, wanted: impl Fn(&ExternalEvent) -> bool) -> usize {
    let events = outcome.history.iter().flat_map(|history| &history.events);
    events.filter(|it| matches!(&it.kind, EventKind::External(event) if wanted(event))).count()
}

#[test]
fn an_outbox_reaches_the_log() {
    let scenario = scenario(OUTBOX);
    let outcome = run_seed(&scenario, 1);
    let is_outbox = |event: &ExternalEvent| {
        matches!(event, ExternalEvent::Committed { role, .. }
            if *role == oncesim::types::StatementRole::Outbox)
    };
    assert_eq!(count(&outcome, is_outbox), 60);
    for line in &outcome.world {
        println!("{line}");
    }
}
