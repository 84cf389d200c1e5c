//! A consumer group lives through everything that can happen to its members.

use std::path::Path;
use std::sync::Arc;

use oncesim::semantics::Severity;
use oncesim::{RunEnd, RunOptions, run};

const SCENARIO: &str = "a-group-under-every-client-fault-keeps-at-least-once-processing.toml";

#[test]
fn no_client_fault_breaks_a_group_or_leaves_it_stuck() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/corpus/groups").join(SCENARIO);
    let loaded = oncesim::spec::load(&path);
    let scenario =
        Arc::new(loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false))).scenario);
    let mut zombies = 0;
    let mut processed_twice = 0;
    for seed in 0..300 {
        let outcome = run(&scenario, &RunOptions { seed, ..RunOptions::default() });
        assert_eq!(outcome.end, RunEnd::Settled, "seed {seed}");
        for anomaly in &outcome.verdict.anomalies {
            let sentence = &anomaly.witness.sentence;
            assert!(
                !matches!(anomaly.severity, Severity::Always | Severity::UnderThisConfiguration),
                "seed {seed}: {}: {sentence}",
                anomaly.id(),
            );
            zombies += u32::from(anomaly.id() == "zombie-ownership");
            processed_twice += u32::from(anomaly.id() == "dup-processing");
        }
    }
    assert!(zombies > 0 && processed_twice > 0, "the faults did not reach the groups");
}
