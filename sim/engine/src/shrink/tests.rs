use std::path::{Path, PathBuf};
use std::sync::Arc;

use oncesim_spec::{FaultKind, Scenario, SwarmSpec, discover, load};
use proptest::prelude::*;

use super::*;
use crate::search::swarm;

fn files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(folder);
    discover(&root).expect("the folder has scenarios")
}

/// Scenarios that are built to fail: pitfalls and planted bugs.
fn failing() -> Vec<PathBuf> {
    let mut failing = files("corpus");
    failing.extend(files("mutants"));
    failing.retain(|file| load(file).expect("it is well-formed").scenario.expect.is_some());
    failing
}

fn scenario(file: &Path) -> Arc<Scenario> {
    Arc::new(load(file).expect("it is well-formed").scenario)
}

/// What the scenario scripts, and a swarm of unrelated faults around it.
fn crowded(scenario: &Scenario, seed: u64, count: u32) -> FaultPlan {
    let kinds = vec![
        FaultKind::Crash,
        FaultKind::Pause,
        FaultKind::Partition,
        FaultKind::Clog,
        FaultKind::AckLoss,
        FaultKind::RequestLoss,
        FaultKind::Duplicate,
        FaultKind::Delay,
        FaultKind::LeaderChange,
        FaultKind::ClockJump,
    ];
    let spec = SwarmSpec { kinds, count, targets: Vec::new(), until: None };
    let crowd = Scenario { swarm: Some(spec), ..scenario.clone() };
    swarm::plan(&crowd, seed)
}

fn quick() -> ShrinkOptions {
    ShrinkOptions { jobs: 2, max_runs: 120, ..ShrinkOptions::default() }
}

fn again(scenario: &Arc<Scenario>, seed: u64) -> Outcome {
    run(scenario, &RunOptions { seed, ..RunOptions::default() })
}

/// The laws of a shrunk run.
fn lawful(shrunk: &Shrunk, seed: u64) {
    let outcome = again(&shrunk.scenario, seed);
    assert_eq!(outcome.digest, shrunk.outcome.digest, "it is the run of its own scenario");
    let same = Some((shrunk.fingerprint.clone(), shrunk.judgement));
    assert_eq!(failure(&shrunk.scenario, &outcome), same, "it fails in the same way");
    for ((what, before), (_, after)) in shrunk.before.parts().into_iter().zip(shrunk.after.parts())
    {
        assert!(after <= before, "{what} grew from {before} to {after}");
    }
    if shrunk.ended.is_some() {
        return;
    }
    for fault in 0..shrunk.scenario.scripted.len() {
        let mut fewer = Scenario::clone(&shrunk.scenario);
        fewer.scripted.remove(fault);
        let fewer = Arc::new(fewer);
        let outcome = again(&fewer, seed);
        assert_ne!(failure(&fewer, &outcome), same, "fault {fault} is not necessary");
    }
}

proptest! {
    // Shrinking what shrinking found is no use here: the cases are runs, not data.
    #![proptest_config(ProptestConfig {
        cases: 24, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_shrunk_run_fails_in_the_same_way_is_minimal_and_has_not_grown(
        file in prop::sample::select(failing()),
        seed in 0u64..1_000,
        count in 1u32..16,
    ) {
        let scenario = scenario(&file);
        // The crowd can keep a pitfall from happening: some seed nearby shows it.
        for seed in seed..seed + 40 {
            let plan = crowded(&scenario, seed, count);
            if let Ok(shrunk) = shrink(&scenario, &plan, seed, &quick(), &mut |_| {}) {
                lawful(&shrunk, seed);
                return Ok(());
            }
        }
        prop_assume!(false);
    }
}

/// A pitfall among fourteen faults, and a seed that shows it.
fn fourteen() -> (Arc<Scenario>, FaultPlan, u64) {
    let file = files("corpus")
        .into_iter()
        .find(|file| file.ends_with("an-unclean-election-loses.toml"))
        .expect("it is in the corpus");
    let scenario = scenario(&file);
    let found = (0..1_000).find_map(|seed| {
        let mut plan = crowded(&scenario, seed, 24);
        plan.faults.truncate(14);
        let first =
            Scenario { swarm: None, scripted: plan.faults.clone(), ..Scenario::clone(&scenario) };
        let fails = || failure(&first, &again(&Arc::new(first.clone()), seed)).is_some();
        (plan.faults.len() == 14 && fails()).then_some((plan, seed))
    });
    let (plan, seed) = found.expect("most of them show it");
    (scenario, plan, seed)
}

#[test]
fn fourteen_faults_become_two_at_any_number_of_jobs() {
    let (scenario, plan, seed) = fourteen();
    let options = |jobs| ShrinkOptions { jobs, ..ShrinkOptions::default() };
    let one = shrink(&scenario, &plan, seed, &options(1), &mut |_| {}).expect("it fails");
    assert_eq!(one.before.faults, 14);
    assert!(one.after.faults <= 2, "{:?}", one.scenario.scripted);
    assert!(one.after.records < one.before.records);
    assert_eq!(one.ended, None);
    lawful(&one, seed);
    let many = shrink(&scenario, &plan, seed, &options(5), &mut |_| {}).expect("it fails");
    assert_eq!(many.scenario, one.scenario);
    assert_eq!((many.runs, many.outcome.digest), (one.runs, one.outcome.digest));
}

#[test]
fn a_shrink_that_may_not_run_is_what_it_was() {
    let (scenario, plan, seed) = fourteen();
    let options = ShrinkOptions { max_runs: 1, ..ShrinkOptions::default() };
    let shrunk = shrink(&scenario, &plan, seed, &options, &mut |_| {}).expect("it fails");
    assert_eq!((shrunk.before, shrunk.runs), (shrunk.after, 1));
    assert_eq!(shrunk.ended, Some(ShrinkEnd::Runs));
    let stop = Arc::new(AtomicBool::new(true));
    let options = ShrinkOptions { stop, ..ShrinkOptions::default() };
    let shrunk = shrink(&scenario, &plan, seed, &options, &mut |_| {}).expect("it fails");
    assert_eq!((shrunk.before, shrunk.ended), (shrunk.after, Some(ShrinkEnd::Stopped)));
}

#[test]
fn a_run_as_claimed_is_not_shrunk() {
    let (scenario, _, seed) = fourteen();
    assert!(shrink(&scenario, &FaultPlan::default(), seed, &quick(), &mut |_| {}).is_err());
}

#[test]
fn settings_that_are_not_needed_go_and_promises_stay() {
    let (scenario, plan, seed) = fourteen();
    let text = scenario.source.replace(
        "[topics]",
        "[network]\nlatency = { min = \"300us\", mean = \"1ms\", max = \"40ms\" }\n\n[topics]",
    );
    let crowded = oncesim_spec::parse("crowded.toml", &text, None).expect("it is well-formed");
    let crowded = Arc::new(crowded.scenario);
    let options = ShrinkOptions { jobs: 2, ..ShrinkOptions::default() };
    let shrunk = (seed..seed + 100).find_map(|seed| {
        shrink(&crowded, &plan, seed, &options, &mut |_| {}).ok().map(|shrunk| (shrunk, seed))
    });
    let (shrunk, seed) = shrunk.expect("some seed nearby shows it");
    assert!(shrunk.settings.iter().any(|path| path.starts_with("network.latency")));
    assert!(!shrunk.scenario.source.contains("300us"), "{}", shrunk.scenario.source);
    for key in ["unclean.leader.election.enable", "replication-factor", "acks"] {
        let kept = |text: &str| text.contains(key);
        assert_eq!(kept(&shrunk.scenario.source), kept(&crowded.source), "{key}");
    }
    lawful(&shrunk, seed);
}

/// Failures that are shrunk with their faults at moments, and tied to messages; then something
/// unrelated changes. Those that are tied fail more often.
#[test]
fn a_counterexample_that_is_tied_to_messages_survives_unrelated_changes() {
    let (mut tied, mut timed, mut tried) = (0, 0, 0);
    for name in [
        "an-unclean-election-loses",
        "a-crash-between-processing-and-commit-redelivers",
        "acks-1-loses-when-the-leader-dies-before-replication",
        "fire-and-forget-loses",
    ] {
        let file = files("corpus").into_iter().find(|file| file.file_stem() == Some(name.as_ref()));
        let scenario = scenario(&file.expect("it is in the corpus"));
        for seed in 0..6 {
            let plan = swarm::plan(&scenario, seed);
            if !plan.faults.iter().any(|it| matches!(it.trigger, oncesim_spec::Trigger::At(_))) {
                continue;
            }
            let by = |anchor| {
                let options = ShrinkOptions { anchor, max_runs: 200, ..quick() };
                shrink(&scenario, &plan, seed, &options, &mut |_| {}).ok()
            };
            let (Some(with), Some(without)) = (by(true), by(false)) else { continue };
            tried += 1;
            let (a, b) = (survives(&with, seed), survives(&without, seed));
            tied += a;
            timed += b;
        }
    }
    assert!(tried >= 6, "{tried}");
    assert!(tied > timed, "{tied} of those tied to messages, {timed} of the others survive");
}

/// Under how many unrelated changes a shrunk run fails in the same way.
fn survives(shrunk: &Shrunk, seed: u64) -> u32 {
    let text: &str = &shrunk.scenario.source;
    let more = format!(
        "{text}\n[topics.unrelated]\npartitions = 1\n\n[producers.aside]\nto = \"unrelated\"\n\
         records = 20\ninterval = \"2ms\"\n"
    );
    let mut survived = 0;
    for (text, latency) in
        [(more.as_str(), None), (text, Some("1200us")), (text, Some("900us")), (text, Some("2ms"))]
    {
        let sets: Vec<(String, String)> = latency
            .map(|mean| ("network.latency.mean".to_owned(), format!("\"{mean}\"")))
            .into_iter()
            .collect();
        let Ok(changed) = oncesim_spec::parse_with("changed.toml", text, None, &sets) else {
            continue;
        };
        let changed = Scenario {
            swarm: None,
            walk: false,
            scripted: shrunk.scenario.scripted.clone(),
            ..changed.scenario
        };
        let changed = Arc::new(changed);
        let outcome = again(&changed, seed);
        let same = failure(&changed, &outcome).is_some_and(|(id, _)| id == shrunk.fingerprint);
        survived += u32::from(same);
    }
    survived
}
