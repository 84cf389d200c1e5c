//! Your own async code in the simulated world: `cargo run -p oncesim --example hosted_task`.
//!
//! A billing service sends one invoice after the other. Brokers crash, acknowledgements get lost,
//! and the checkers say what became of it: with the idempotent producer every invoice is in the log
//! once; without it a lost acknowledgement makes the client's retry a second invoice.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use oncesim::kafka::config::ProducerConfig;
use oncesim::spec::Scenario;
use oncesim::types::ErrorCode;
use oncesim::{HostedProducer, HostedTask, Judgement, RunOptions, judge, run_hosted, sleep};

const SCENARIO: &str = r#"
title = "Billing sends invoices while brokers crash"

[claim]
log = "exactly-once"
ordering = "per-partition"

[cluster]
brokers = 3
config.min.insync.replicas = 2

[topics]
invoices = { partitions = 3, replication-factor = 3 }

[producers.background]
to = "invoices"
records = 20
interval = "10ms"

[faults]
swarm = { kinds = ["crash", "ack-loss", "delay"], count = 6, targets = ["brokers"] }
"#;

/// The code under test. `Instant` is `std`'s: inside a run it shows virtual time.
async fn bill(producer: HostedProducer) {
    let began = Instant::now();
    for customer in 0..40 {
        // Topics are counted in the order of their names: 0 is `invoices`.
        let sent = producer.send(0, Some(customer), 990).await;
        if sent.error != ErrorCode::None || began.elapsed() > Duration::from_secs(300) {
            break;
        }
        sleep(Duration::from_millis(25)).await;
    }
    producer.close().await;
}

/// Runs seeds until one breaks the claim.
fn hunt(scenario: &Arc<Scenario>, producer: ProducerConfig) {
    let name = "billing".to_owned();
    let task = HostedTask { name, producer, task: Arc::new(|client| Box::pin(bill(client))) };
    for seed in 0..100 {
        let options = RunOptions { seed, ..RunOptions::default() };
        let outcome = run_hosted(scenario, &options, std::slice::from_ref(&task));
        let judgement = judge(scenario, &outcome);
        if judgement != Judgement::AsClaimed {
            println!("  seed {seed}, digest {}: {judgement:?}", outcome.digest);
            for anomaly in &outcome.verdict.anomalies {
                println!("  {}: {}", anomaly.id(), anomaly.witness.sentence);
            }
            return;
        }
    }
    println!("  as claimed in 100 seeds");
}

fn main() {
    let scenario = oncesim::spec::parse("invoices.toml", SCENARIO, None)
        .unwrap_or_else(|errors| panic!("{}", errors.render(false)))
        .scenario;
    let scenario = Arc::new(scenario);
    println!("Kafka's defaults:");
    hunt(&scenario, ProducerConfig::default());
    println!("enable.idempotence=false:");
    hunt(&scenario, ProducerConfig { idempotence: false, ..ProducerConfig::default() });
}
