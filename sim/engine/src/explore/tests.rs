use std::collections::BTreeSet;
use std::path::Path;

use oncesim_history::trace::{LineKind, Via};
use oncesim_kafka::mutation::{Mutation, Mutations};
use oncesim_spec::{FaultAction, Trigger};
use oncesim_types::{Duration, Instant};

use super::placements::Position;
use super::*;
use crate::outcome::Digest;

fn corpus(name: &str) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/corpus");
    let file = file.join(name).with_extension("toml");
    Scenario::clone(&oncesim_spec::load(&file).expect("it is well-formed").scenario)
}

fn small(name: &str) -> Arc<Scenario> {
    Arc::new(corpus(&format!("small/{name}")))
}

/// Everything that a process can do by itself: flushes, groups, a database, a relay that polls it.
fn lively() -> Arc<Scenario> {
    let mut scenario = corpus("external/a-topic-through-a-database-into-another-topic");
    scenario.broker_config.log_flush_interval = Some(Duration::from_millis(20));
    Arc::new(scenario)
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
    assert_eq!(fault.action, FaultAction::Drop);
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
        let step = |it: &Placement| {
            let sighting = base.sightings.get(it.at.sighting as usize);
            sighting.map_or((it.at.moment, None), |it| (it.time, Some(it.step)))
        };
        let same: Vec<_> = all
            .iter()
            .filter(|it| it.fault.action == one.fault.action && step(it) == step(one))
            .collect();
        assert_eq!(one.stands_for, same.len() as u64, "{:?}", one.fault);
        if one.stands_for > 1 {
            let digests: BTreeSet<Digest> = same.into_iter().map(digest).collect();
            assert_eq!(digests, BTreeSet::from([digest(one)]), "{:?}", one.fault);
        }
    }
}

/// The other direction: what is run is not the same as anything else that is run, neither at a
/// message nor after a silent step. What befalls links that carry nothing until it ends makes no
/// difference, and so none to another such fault; that only the runs tell. But it is not the same
/// fault, not even under another name.
#[test]
fn no_run_is_placed_twice() {
    let scenario = small("one-transaction");
    let kinds = [&default_kinds(&scenario)[..], &[FaultKind::Clog]].concat();
    let base = one(&scenario, 0, Vec::new(), true);
    let of_links = |action: &FaultAction| match action {
        FaultAction::Partition { from, to, duration, .. } => {
            let ends: BTreeSet<String> = from.iter().chain(to).cloned().collect();
            Some((ends, None, *duration))
        }
        FaultAction::Clog { from, to, extra, duration } => {
            Some((BTreeSet::from([from.clone(), to.clone()]), Some(*extra), *duration))
        }
        _ => None,
    };
    let mut known = BTreeMap::from([(base.digest, Vec::new())]);
    for Placement { fault, .. } in Placer::new(&scenario, &kinds).of(&base, None, true) {
        let digest = one(&scenario, 0, vec![fault.clone()], false).digest;
        assert_ne!(digest, base.digest, "{fault:?} is nothing");
        let same: &mut Vec<FaultAction> = known.entry(digest).or_default();
        let links = of_links(&fault.action);
        let another = |other: &FaultAction| links.is_some() && of_links(other) != links;
        assert!(same.iter().all(another), "{fault:?} is the same run as {same:?}");
        same.push(fault.action);
    }
}

/// The trace says in its own words who does something: each such step is a place of a crash, at a
/// message of that step or, if it has none, when its moment is over.
#[test]
fn every_step_of_a_process_is_a_place() {
    let scenario = lively();
    let placer = Placer::new(&scenario, &[FaultKind::Crash]);
    let base = one(&scenario, 0, Vec::new(), true);
    let mut placed = BTreeSet::new();
    for Placement { at, fault, .. } in placer.of(&base, None, false) {
        let FaultAction::Crash { actor, .. } = fault.action else { panic!("it crashes") };
        let sighting = base.sightings.get(at.sighting as usize);
        assert_eq!(sighting.is_none(), fault.trigger == Trigger::At(Instant(at.moment.0 + 1)));
        placed.insert((at.moment, sighting.map(|it| it.step), actor));
    }
    let quiet = base.trace.lines.iter().find(|line| line.kind == LineKind::Phase);
    let quiet = quiet.expect("faults end").step;
    let said = base.trace.lines.iter().filter_map(|line| match line.kind {
        LineKind::Arrived => Some((line.step, line.peer?)),
        LineKind::Started | LineKind::ConnectionGone | LineKind::Note => {
            Some((line.step, line.actor))
        }
        _ => None,
    });
    // A flush is done without a word.
    let steps = (0u32..).zip(&base.trace.steps);
    let done = steps.filter(|(_, step)| matches!(step.via, Via::Disk | Via::Start));
    let done = done.map(|(id, step)| (id, step.actor));
    let deeds: BTreeSet<_> = said.chain(done).filter(|(step, _)| *step < quiet).collect();
    let mut silent = BTreeSet::new();
    for &(id, actor) in &deeds {
        let step = base.trace.steps[id as usize];
        let name = &base.actor_names[usize::from(base.trace.process_of(actor).0)];
        let at_message = placed.contains(&(step.time, Some(id), name.clone()));
        // The controller does not crash, it fails over, and nothing befalls an operator.
        if !at_message && name != "controller" && name != "operator" {
            assert!(placed.contains(&(step.time, None, name.clone())), "{name}: {step:?}");
            silent.insert(format!("{:?}", step.via));
        }
    }
    assert!(deeds.len() > 1_000, "{}", deeds.len());
    for via in ["Connection", "Disk", "Start"] {
        assert!(silent.contains(via), "{via}: {silent:?}");
    }
}

/// After everything of that moment, and before anything later: the past is that of the run without
/// it, step by step.
#[test]
fn a_fault_after_a_silent_step_strikes_before_anything_else_happens() {
    let scenario = lively();
    let kinds = [FaultKind::UncleanElection, FaultKind::Rebalance, FaultKind::SinkErrors];
    let base = one(&scenario, 0, Vec::new(), true);
    let placements = Placer::new(&scenario, &kinds).of(&base, None, true);
    let silent = placements.iter().filter(|it| it.at.sighting == Position::END);
    let some: Vec<_> = silent.step_by(97).collect();
    assert!(some.len() > 10, "{}", some.len());
    for Placement { at, fault, .. } in some {
        let with = one(&scenario, 0, vec![fault.clone()], true);
        let past = base.trace.steps.partition_point(|step| step.time <= at.moment);
        assert_eq!(with.trace.steps[..past], base.trace.steps[..past]);
        let strikes = with.trace.steps[past];
        assert_eq!((strikes.via, strikes.time.0), (Via::Fault, at.moment.0 + 1), "{fault:?}");
        assert_eq!(with.faults[0].struck, Some(strikes.time), "{fault:?}");
    }
}

/// A change of leader, counted by hand: after each step that touches a broker or the controller.
#[test]
fn the_count_of_steps_is_that_of_brute_force() {
    let scenario = small("an-idempotent-producer");
    let kinds = [FaultKind::LeaderChange];
    let placer = Placer::new(&scenario, &kinds);
    let by_hand = |outcome: &Outcome| {
        let names = &outcome.actor_names;
        let of_cluster = |actor: oncesim_types::ActorId| {
            ["controller", "b1", "b2"].contains(&names[usize::from(actor.0)].as_str())
        };
        let spoken = |actor| names[usize::from(actor)] != "operator";
        let at_messages: BTreeSet<_> = outcome
            .sightings
            .iter()
            .filter(|it| spoken(it.from.0) && spoken(it.to.0))
            .map(|it| it.step)
            .collect();
        let silent: BTreeSet<_> = outcome
            .acts
            .iter()
            .filter(|act| of_cluster(act.actor) && !at_messages.contains(&act.step))
            .map(|act| act.time)
            .collect();
        assert!(!silent.is_empty());
        at_messages.len() + silent.len()
    };
    let base = one(&scenario, 0, Vec::new(), true);
    let first = placer.of(&base, None, true);
    assert_eq!(first.len(), by_hand(&base));
    let (mut pairs, mut sets) = (0, BTreeSet::new());
    for (index, placement) in first.iter().enumerate() {
        let with = one(&scenario, 0, vec![placement.fault.clone()], true);
        // What comes after it in that run; before it, that run is the run without it.
        pairs += by_hand(&with) - (index + 1);
        for second in placer.of(&with, Some(placement.at), true) {
            let mut set = [&placement.fault, &second.fault].map(|fault| format!("{fault:?}"));
            set.sort_unstable();
            assert!(sets.insert(set), "each set is met once");
        }
    }
    assert_eq!(sets.len(), pairs);
    let report = explore(&scenario, options(2, &kinds, 2));
    let runs: Vec<u64> = report.depths.iter().map(|depth| depth.runs).collect();
    assert_eq!(runs, [first.len() as u64, pairs as u64]);
}

#[test]
fn every_kind_is_placed() {
    let scenario = lively();
    let base = one(&scenario, 0, Vec::new(), true);
    for kind in FaultKind::ALL {
        let placements = Placer::new(&scenario, &[*kind]).of(&base, None, true);
        let placed = |it: &&Placement| match crate::world::fault_kind(&it.fault.action) {
            "drop" => matches!(kind, FaultKind::RequestLoss | FaultKind::AckLoss),
            name => name == kind.name(),
        };
        assert!(!placements.is_empty(), "{}", kind.name());
        assert_eq!(placements.iter().filter(placed).count(), placements.len(), "{}", kind.name());
    }
}

/// How slow, how far, how fast: few values each, and they do something.
#[test]
fn what_is_a_continuum_has_classes() {
    let scenario = small("one-transaction");
    let base = one(&scenario, 0, Vec::new(), true);
    let classes = |kind| {
        let placements = Placer::new(&scenario, &[kind]).of(&base, None, true);
        let mut amounts = BTreeSet::new();
        let mut bites = false;
        for (index, Placement { fault, .. }) in placements.iter().enumerate() {
            amounts.insert(match fault.action {
                FaultAction::Clog { extra, duration, .. } => (extra.0.cast_signed(), duration.0),
                FaultAction::ClockJump { by_ns, .. } => (by_ns, 0),
                FaultAction::ClockSkew { ppm, duration, .. } => (ppm, duration.0),
                _ => panic!("{fault:?}"),
            });
            if index % 20 == 0 {
                let with = one(&scenario, 0, vec![fault.clone()], false);
                assert!(with.faults[0].struck.is_some(), "{fault:?}");
                bites |= with.messages != base.messages;
            }
        }
        assert!(bites, "{}", kind.name());
        amounts.into_iter().collect::<Vec<_>>()
    };
    let s = |seconds: u64| seconds * 1_000_000_000;
    let ms = 1_000_000;
    // A client waits for 2 s, a broker for 9 s; the transaction for 10 s, delivery for 30 s.
    let clogs = classes(FaultKind::Clog);
    let expected =
        [(100 * ms, s(10)), (100 * ms, s(11)), (3_000 * ms, s(11)), (10_000 * ms, s(10))];
    assert_eq!(clogs, expected);
    let far = s(31).cast_signed();
    let jumps = [-far, -100 * ms, 100 * ms, far].map(|by| (by, 0));
    assert_eq!(classes(FaultKind::ClockJump), jumps);
    assert_eq!(classes(FaultKind::ClockSkew), [(-50_000, s(31)), (50_000, s(31))]);
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
        assert_eq!(placement.at.sighting as usize, index);
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
        let sighting = base.sightings[placement.at.sighting as usize];
        assert_eq!(placement.at.moment, sighting.time);
        let with = one(&scenario, 3, vec![placement.fault.clone()], false);
        assert_eq!(with.faults[0].struck, Some(sighting.time), "{:?}", placement.fault);
    }
}
