//! Laws of explanations: what they say about a run is what running says.

use std::path::Path;
use std::sync::Arc;

use oncesim::{
    ExplainOptions, Explanation, Fork, LinkWhat, RunOptions, Sources, explain, plan, run,
};
use oncesim_spec::{FaultPlan, Scenario};

fn scenario(path: &str) -> Arc<Scenario> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/corpus").join(path);
    let loaded =
        oncesim_spec::load(&path).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    Arc::new(loaded.scenario)
}

/// Explains without asking for changes.
fn explained(scenario: &Arc<Scenario>, seed: u64) -> Option<Explanation> {
    let sources = Sources { edit: &|_| None, fresh: None };
    let options = ExplainOptions { jobs: 2, budget: None, stop: Arc::default() };
    explain(scenario, &plan(scenario, seed), seed, &sources, &options).ok()
}

const SCENARIOS: [&str; 4] = [
    "exactly-once/without-idempotence-a-retry-reorders.toml",
    "at-most-once/a-processor-that-commits-before-its-outputs-loses-on-a-crash.toml",
    "external/a-plain-insert-doubles-on-redelivery.toml",
    "at-least-once/acks-1-loses-when-the-leader-dies-before-replication.toml",
];

#[test]
fn a_chain_is_ordered_holds_its_witness_and_only_what_happened_before() {
    for path in SCENARIOS {
        let scenario = scenario(path);
        let explanation =
            (0..20).find_map(|seed| explained(&scenario, seed)).expect("some seed fails");
        let trace = &explanation.outcome.trace;
        let chain = &explanation.chain;
        assert!(chain.windows(2).all(|pair| {
            let time = |at: usize| trace.steps[pair[at].step as usize].time;
            time(0) <= time(1)
        }));
        let last = chain.iter().filter(|link| link.witness).map(|link| link.step).max();
        assert!(
            chain.iter().all(|link| Some(link.step) <= last),
            "{path}: nothing after the witness"
        );
        for event in &explanation.anomaly.witness.events {
            let named = chain.iter().find(|link| link.what == LinkWhat::Event(*event));
            assert!(named.is_some_and(|link| link.witness), "{path}: event {event}");
        }
        let needed = explanation.necessities.needed();
        assert!(!needed.is_empty() || explanation.necessities.faults.is_empty(), "{path}");
    }
}

#[test]
fn a_fault_is_necessary_when_the_run_without_it_does_not_fail() {
    let scenario = scenario(SCENARIOS[0]);
    for seed in 0..6 {
        let Some(explanation) = explained(&scenario, seed) else { continue };
        let plan = &explanation.outcome.plan;
        for (at, necessity) in explanation.necessities.faults.iter().enumerate() {
            let mut faults = plan.faults.clone();
            faults.remove(at);
            let plan = FaultPlan { faults, ..plan.clone() };
            let options = RunOptions { seed, plan: Some(plan), ..RunOptions::default() };
            let outcome = run(&scenario, &options);
            let id = explanation.anomaly.id();
            let fails = outcome.verdict.anomalies.iter().any(|anomaly| anomaly.id() == id);
            if necessity.struck.is_some() {
                assert_eq!(necessity.necessary(), !fails, "seed {seed}, fault {at}");
            }
        }
    }
}

#[test]
fn a_fork_is_the_same_run_up_to_its_step_and_another_from_there_on() {
    let scenario = scenario(SCENARIOS[3]);
    let keep = RunOptions { keep_trace: true, keep_history: true, ..RunOptions::default() };
    let whole = run(&scenario, &keep);
    let before = u32::try_from(whole.trace.steps.len() / 3).expect("a short run");
    let fork = Fork { before, salt: 1, keep_faults: true };
    let other = run(&scenario, &RunOptions { fork: Some(fork), ..keep.clone() });
    let same = before as usize;
    assert_eq!(whole.trace.steps[..same], other.trace.steps[..same]);
    assert_ne!(whole.digest, other.digest);
    let again = run(&scenario, &RunOptions { fork: Some(fork), ..keep.clone() });
    assert_eq!(again.digest, other.digest, "a fork is a function of its salt");
    let never = Fork { before: u32::MAX - 1, ..fork };
    let end = run(&scenario, &RunOptions { fork: Some(never), ..keep });
    assert_eq!(end.digest, whole.digest);
}
