//! Strategies: the same at any number of threads, and every run can be written down.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use oncesim::spec::{
    Counterexample, FaultAction, PlannedFault, Scenario, Trigger, load, parse, write_counterexample,
};
use oncesim::{Feedback, RunOptions, StrategyKind, hunt, run};

fn scenario(file: &str) -> Arc<Scenario> {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    Arc::new(load(&scenarios.join(file)).expect("the corpus is valid").scenario)
}

const VARIED: &str = r#"
title = "Values that seeds draw"
claim = { log = "at-least-once" }
topics.orders = { partitions = 2 }
producers.shop = { to = "orders", records = 20 }

[faults]
swarm = { kinds = ["crash", "ack-loss", "delay"], count = 4 }
vary = { "network.latency.mean" = ["1ms", "5ms"], "producers.shop.config.linger.ms" = [0, 20] }
"#;

/// Runs what a strategy proposes: the worlds, and how many faults each plan had.
fn campaign(scenario: &Arc<Scenario>, kind: StrategyKind, runs: u64) -> Vec<oncesim::Outcome> {
    let mut strategy = kind.begin(scenario, 7);
    let mut outcomes = Vec::new();
    for index in 0..runs {
        let proposal = strategy.propose(index, 7 + index);
        let options = RunOptions {
            seed: proposal.seed,
            plan: proposal.plan,
            keep_history: true,
            ..RunOptions::default()
        };
        let outcome = run(scenario, &options);
        strategy.learn(index, &Feedback::of(&outcome));
        outcomes.push(outcome);
    }
    outcomes
}

#[test]
fn a_master_seed_means_the_same_campaign() {
    let scenario = scenario("mutants/gc-txn-commit-no-generation.toml");
    let once = campaign(&scenario, StrategyKind::Guided, 40);
    let again = campaign(&scenario, StrategyKind::Guided, 40);
    assert!(once.iter().map(|it| it.digest).eq(again.iter().map(|it| it.digest)));
    let most = scenario.swarm.as_ref().expect("it draws faults").count as usize;
    assert!(once.iter().all(|it| it.plan.faults.len() <= most), "within what is declared");
}

#[test]
fn every_run_replays_from_its_counterexample() {
    let varied = Arc::new(parse("varied.toml", VARIED, None).expect("it is valid").scenario);
    for scenario in [scenario("mutants/gc-txn-commit-no-generation.toml"), varied] {
        for kind in StrategyKind::ALL {
            for outcome in campaign(&scenario, *kind, 30) {
                let text = write_counterexample(&Counterexample {
                    scenario: &scenario,
                    plan: &outcome.plan,
                    seed: outcome.seed,
                    digest: &outcome.digest.to_string(),
                    fingerprint: "",
                });
                let read = parse("kept.toml", &text, None).expect("what is written can be read");
                let options = RunOptions { seed: outcome.seed, ..RunOptions::default() };
                let again = run(&Arc::new(read.scenario), &options);
                assert_eq!(again.digest, outcome.digest, "{text}");
            }
        }
    }
}

#[test]
fn seeds_draw_settings_and_say_so() {
    let scenario = Arc::new(parse("varied.toml", VARIED, None).expect("it is valid").scenario);
    let outcomes = campaign(&scenario, StrategyKind::Swarm, 40);
    let drawn: BTreeSet<_> = outcomes.iter().map(|it| it.plan.settings.clone()).collect();
    assert_eq!(drawn.len(), 4, "every combination");
    for outcome in outcomes {
        for setting in &outcome.plan.settings {
            let said = format!("{} = {}", setting.path, setting.value);
            assert!(outcome.world.iter().any(|line| line.contains(&said)), "{said}");
        }
    }
}

#[test]
fn a_hunt_ends_with_what_it_looks_for() {
    let found = hunt(&scenario("mutants/repl-truncate-to-hw.toml"), StrategyKind::Swarm, 0, 200);
    assert!(found.found && found.runs <= 200);
}

const NARROW: &str = r#"
title = "Faults on some"
claim = { log = "at-least-once" }
topics.orders = { partitions = 2, replication-factor = 3 }
producers.shop = { to = "orders", records = 20 }
consumers.mailer = { from = "orders" }
cluster.brokers = 3
"#;

#[test]
fn every_fault_is_declared_and_strikes_whom_it_may() {
    let swarm = "faults.swarm = { kinds = [\"crash\", \"pause\", \"leader-change\"], count = 6, \
                 targets = [\"TARGET\"] }";
    for (target, may) in [
        ("b1", vec!["b1"]),
        ("mailer", vec!["mailer"]),
        ("brokers", vec!["b1", "b2", "b3", "leader of ", "coordinator of "]),
    ] {
        let text = format!("{NARROW}{}", swarm.replace("TARGET", target));
        let scenario = Arc::new(parse("narrow.toml", &text, None).expect("it is valid").scenario);
        let mut struck = BTreeSet::new();
        for seed in 0..300 {
            for fault in oncesim::plan(&scenario, seed).faults {
                let actor = match fault.action {
                    FaultAction::Crash { actor, .. } | FaultAction::Pause { actor, .. } => actor,
                    FaultAction::LeaderChange { .. } => continue,
                    other => panic!("{other:?} was not declared"),
                };
                let whom = may.iter().find(|name| actor.starts_with(**name));
                struck.insert(*whom.unwrap_or_else(|| panic!("{actor} is not {target}")));
            }
        }
        assert_eq!(struck.len(), may.len(), "each of {may:?}");
    }
}

#[test]
fn seeds_differ_in_character() {
    let scenario = scenario("corpus/exactly-once/orders-to-invoices.toml");
    let count = scenario.swarm.as_ref().expect("it draws faults").count as usize;
    let plans: Vec<_> = (0..400).map(|seed| oncesim::plan(&scenario, seed)).collect();
    let share = |is: &dyn Fn(&oncesim::spec::FaultPlan) -> bool| {
        plans.iter().filter(|plan| is(plan)).count()
    };
    let aims = |fault: &PlannedFault| {
        matches!(fault.trigger, Trigger::Sent { .. } | Trigger::Delivered { .. })
    };
    assert!((150..350).contains(&share(&|plan| plan.faults.iter().any(aims))), "half of them aim");
    assert!(share(&|plan| plan.faults.len() == count) > 300, "most have as many as are declared");
    assert!(share(&|plan| plan.settings.is_empty()) > 90, "a third has the network as it is");
    assert!(share(&|plan| !plan.settings.is_empty()) > 220, "the others another one");
    let moments = |plan: &oncesim::spec::FaultPlan| -> Vec<u64> {
        let at = |fault: &PlannedFault| match fault.trigger {
            Trigger::At(at) => Some(at.0),
            _ => None,
        };
        plan.faults.iter().filter_map(at).collect()
    };
    let burst = |plan: &oncesim::spec::FaultPlan| {
        let moments = moments(plan);
        let spread = moments.iter().max().zip(moments.iter().min());
        moments.len() > 2 && spread.is_some_and(|(last, first)| last - first < 100_000_000)
    };
    assert!(share(&burst) > 10, "some strike within a tenth of a second");
}
