use std::collections::BTreeSet;
use std::path::Path;

use oncesim_kafka::mutation::{Mutation, Mutations};

use super::*;
use crate::outcome::Digest;

fn small(name: &str) -> Arc<Scenario> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/corpus/small");
    let file = file.join(name).with_extension("toml");
    Arc::new(oncesim_spec::load(&file).expect("it is well-formed").scenario)
}

fn options(faults: u32, kinds: &[FaultKind], jobs: usize) -> ExploreOptions {
    ExploreOptions {
        seed: 0,
        faults,
        kinds: kinds.to_vec(),
        jobs,
        budget: None,
        stop: Arc::default(),
        merge: true,
    }
}

fn explore(scenario: &Arc<Scenario>, options: ExploreOptions) -> ExploreReport {
    Exploration::new(scenario, options).run(&mut |_| {})
}

/// What does not depend on threads and wall time.
#[derive(Debug, PartialEq)]
struct Facts {
    depths: Vec<DepthReport>,
    complete: bool,
    judgement: Judgement,
    failures: Vec<(String, u64, Digest)>,
}

fn facts(report: &ExploreReport) -> Facts {
    let ExploreReport { depths, complete, judgement, failures, .. } = report;
    let failures = failures.iter();
    let failures = failures.map(|it| (it.fingerprint.clone(), it.count, it.first.digest));
    let (complete, judgement, failures) = (*complete, *judgement, failures.collect());
    Facts { depths: depths.clone(), complete, judgement, failures }
}

#[test]
fn every_placement_of_a_fault_in_a_small_world_is_as_claimed() {
    let scenario = small("an-idempotent-producer");
    let report = explore(&scenario, options(1, &default_kinds(&scenario), 2));
    assert_eq!(report.judgement, Judgement::AsClaimed);
    let [depth] = report.depths[..] else { panic!("one fault was asked for") };
    assert!(report.complete && depth.placements > depth.runs && depth.runs > 100, "{depth:?}");
    assert_eq!((depth.covered, depth.done), (depth.placements, depth.runs));
}

#[test]
fn one_fault_finds_a_planted_bug_and_the_clean_model_passes() {
    let clean = small("an-idempotent-producer");
    let mut planted = Scenario::clone(&clean);
    planted.mutations = Mutations::only(Mutation::PsmNoDupCache);
    let kinds = [FaultKind::AckLoss];
    let report = explore(&Arc::new(planted), options(1, &kinds, 2));
    assert_eq!(report.judgement, Judgement::Violated);
    assert_eq!(report.depths.len(), 1);
    let [fault] = &report.failures[0].first.plan.faults[..] else { panic!("it needs one fault") };
    assert_eq!(fault.action, oncesim_spec::FaultAction::Drop);
    let report = explore(&clean, options(1, &kinds, 2));
    assert_eq!(report.judgement, Judgement::AsClaimed);
}

#[test]
fn merged_placements_are_the_same_run() {
    let scenario = small("an-idempotent-producer");
    let kinds = [FaultKind::Crash, FaultKind::Pause, FaultKind::AckLoss];
    let placer = Placer::new(&scenario, &kinds);
    let base = one(&scenario, 0, Vec::new(), true);
    let digest = |it: &Placement| one(&scenario, 0, vec![it.fault.clone()], false).digest;
    let merged = placer.of(&base, None, true);
    let all = placer.of(&base, None, false);
    assert_eq!(count(&merged), all.len() as u64);
    assert!(merged.len() < all.len());
    // Each of the others has the digest of the one that stands for it.
    for one in &merged {
        let step = |it: &Placement| base.sightings[it.at.0 as usize].step;
        let same: Vec<_> = all
            .iter()
            .filter(|it| it.fault.action == one.fault.action && step(it) == step(one))
            .collect();
        if one.stands_for > 1 {
            assert_eq!(one.stands_for, same.len() as u64);
            let digests: BTreeSet<Digest> = same.into_iter().map(digest).collect();
            assert_eq!(digests, BTreeSet::from([digest(one)]), "{:?}", one.fault);
        }
    }
}

/// Losses of messages, counted by hand: one per message, and one more per message of each of those
/// runs that was sent later.
#[test]
fn the_count_is_that_of_brute_force() {
    let scenario = small("an-idempotent-producer");
    let kinds = [FaultKind::RequestLoss, FaultKind::AckLoss];
    let report = explore(&scenario, options(2, &kinds, 2));
    let sent = |outcome: &Outcome| {
        let sent = outcome.sightings.iter().filter(|it| it.moment == crate::Moment::Sent);
        sent.count()
    };
    let base = one(&scenario, 0, Vec::new(), true);
    let (mut pairs, mut nth) = (0, 0);
    for (index, sighting) in base.sightings.iter().enumerate() {
        if sighting.moment != crate::Moment::Sent {
            continue;
        }
        nth += 1;
        let placement = Placer::new(&scenario, &kinds).of(&base, None, true).remove(nth - 1);
        assert_eq!(placement.at.0 as usize, index);
        let with = one(&scenario, 0, vec![placement.fault], true);
        assert_eq!(with.sightings[..=index], base.sightings[..=index], "the past is the same");
        pairs += sent(&with) - nth;
    }
    let runs: Vec<u64> = report.depths.iter().map(|depth| depth.runs).collect();
    assert_eq!(runs, [nth as u64, pairs as u64]);
    assert!(report.complete && report.depths.iter().all(|depth| depth.done == depth.runs));
}

#[test]
fn the_result_is_the_same_at_any_number_of_jobs() {
    let scenario = small("a-retry-without-idempotence");
    let explore = |jobs| facts(&explore(&scenario, options(2, &default_kinds(&scenario), jobs)));
    let one = explore(1);
    assert_eq!(one.judgement, Judgement::AsClaimed, "the pitfall shows");
    assert_eq!(one.depths.len(), 1, "one fault is enough: two were not tried");
    assert_eq!(one, explore(5));
}

#[test]
fn an_exploration_that_is_stopped_claims_nothing() {
    let scenario = small("one-transaction");
    let options = options(1, &default_kinds(&scenario), 1);
    let stop = Arc::clone(&options.stop);
    let exploration = Exploration::new(&scenario, options);
    stop.store(true, Relaxed);
    let report = exploration.run(&mut |_| {});
    assert!(!report.complete);
    assert_eq!(report.judgement, Judgement::Vacuous);
    assert_eq!(report.depths[0].done, 0);
    assert!(report.depths[0].placements > 0, "how many there are is known");
}

/// A fault strikes where it was placed: at that step of that run.
#[test]
fn addresses_name_their_message() {
    let scenario = small("one-transaction");
    let placer = Placer::new(&scenario, &[FaultKind::Rebalance, FaultKind::AckLoss]);
    let base = one(&scenario, 3, Vec::new(), true);
    for placement in placer.of(&base, None, true) {
        let sighting = base.sightings[placement.at.0 as usize];
        let with = one(&scenario, 3, vec![placement.fault.clone()], false);
        assert_eq!(with.faults[0].struck, Some(sighting.time), "{:?}", placement.fault);
    }
}
