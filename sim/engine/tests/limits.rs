//! Nothing hangs: a run that uses up its budget ends as not live and says what was left.

use std::sync::Arc;

use oncesim::spec::Scenario;
use oncesim::types::Duration;
use oncesim::{Judgement, RunEnd, RunOptions, judge, run};

const SCENARIO: &str = r#"
title = "Limits"

[claim]
log = "exactly-once"

[cluster]
brokers = 1
config.min.insync.replicas = 1

[topics]
orders = { partitions = 1, replication-factor = 1 }

[producers.shop]
to = "orders"
records = 50
interval = "1ms"
"#;

fn scenario(change: impl FnOnce(&mut Scenario)) -> Arc<Scenario> {
    let loaded = oncesim::spec::parse("limits.toml", SCENARIO, None);
    let mut scenario = loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false))).scenario;
    change(&mut scenario);
    Arc::new(scenario)
}

#[test]
fn a_used_up_event_budget_ends_a_run_as_not_live() {
    let scenario = scenario(|scenario| scenario.limits.events = 20);
    let outcome = run(&scenario, &RunOptions::default());
    assert_eq!(outcome.end, RunEnd::BudgetExhausted);
    assert_eq!(outcome.events, 21, "the event that was one too many is the last");
    assert_eq!(judge(&scenario, &outcome), Judgement::NotLive);
    let said = |anomaly: &oncesim::semantics::Anomaly| anomaly.witness.sentence.contains("shop: ");
    assert!(outcome.verdict.anomalies.iter().any(said), "{:?}", outcome.verdict.anomalies);
}

#[test]
fn a_fault_phase_that_is_cut_short_settles_all_the_same() {
    let scenario = scenario(|scenario| scenario.limits.duration = Duration::from_millis(200));
    let outcome = run(&scenario, &RunOptions::default());
    assert_eq!(outcome.end, RunEnd::Settled);
    assert_eq!(judge(&scenario, &outcome), Judgement::AsClaimed);
}

#[test]
fn a_liveness_bound_of_nothing_is_missed() {
    let scenario = scenario(|scenario| {
        scenario.limits.duration = Duration::from_millis(20);
        scenario.limits.liveness = Duration::ZERO;
    });
    let outcome = run(&scenario, &RunOptions::default());
    assert_eq!(outcome.end, RunEnd::NotSettled);
    assert_eq!(judge(&scenario, &outcome), Judgement::NotLive);
    assert!(!outcome.verdict.anomalies.is_empty(), "what was left is an anomaly");
}
