use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use oncesim_semantics::WitnessCount;
use oncesim_spec::{FaultPlan, Scenario};
use proptest::prelude::*;

use super::*;
use crate::coverage::Coverage;
use crate::outcome::{Digest, RunOptions};
use crate::search::StrategyKind;

fn scenario() -> Arc<Scenario> {
    let loaded = oncesim_spec::parse(
        "test.toml",
        r#"
        title = "A test"
        claim = { log = "exactly-once" }
        cluster = { brokers = 1 }
        topics.t = { partitions = 1, replication-factor = 1 }
        producers.shop = { to = "t", records = 3, keys = 1, interval = "1ms" }
        "#,
        None,
    );
    Arc::new(loaded.unwrap_or_else(|d| panic!("{}", d.render(false))).scenario)
}

fn options(from: u64, seeds: u64, shard: Option<(u64, u64)>) -> CampaignOptions {
    CampaignOptions {
        from,
        seeds,
        budget: None,
        jobs: 2,
        strategy: StrategyKind::default(),
        shard,
        fail_fast: false,
        recheck: 5,
        stop: Arc::new(AtomicBool::new(false)),
    }
}

/// A world that costs nothing: what happens is a function of the seed.
fn cheap(scenario: &Arc<Scenario>, options: &RunOptions) -> Outcome {
    let seed = options.seed;
    let hash = blake3::hash(&seed.to_le_bytes());
    let bits = u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("32 bytes"));
    let end = match bits % 19 {
        0 => RunEnd::Panicked("one".to_owned()),
        1 | 2 => RunEnd::BudgetExhausted,
        _ => RunEnd::Settled,
    };
    let point = usize::try_from(bits >> 32).expect("32 bits") % 12;
    let all: Vec<_> = Coverage::all().collect();
    let reached = all.iter().skip(point).take(1).map(|(area, name)| (*area, name.as_str()));
    let mut verdict = oncesim_semantics::Verdict::default();
    verdict.witnesses.push(WitnessCount { what: "sends", count: bits % 7 });
    Outcome {
        digest: Digest(*hash.as_bytes()),
        end,
        virtual_time: oncesim_types::Duration(bits % 1_000),
        messages: bits % 100,
        verdict,
        coverage: Coverage::from_points(reached),
        history: options.keep_history.then(oncesim_history::History::default),
        ..crate::run::panicked(scenario, seed, FaultPlan::default(), String::new())
    }
}

fn campaign(from: u64, seeds: u64, shard: Option<(u64, u64)>) -> Campaign {
    Campaign { scenario: scenario(), options: options(from, seeds, shard) }
}

fn part(from: u64, seeds: u64, shard: Option<(u64, u64)>) -> Part {
    campaign(from, seeds, shard).run_with(&mut |_| {}, &cheap).part
}

/// What parts say together, without what differs from machine to machine.
fn said(parts: &[Part]) -> Sum {
    let parts: Vec<&Part> = parts.iter().collect();
    let mut sum = Sum::of(&ScenarioFacts::of(&scenario()), &parts);
    sum.wall = Duration::ZERO;
    sum.failures.iter_mut().for_each(|failure| failure.found_after.1 = Duration::ZERO);
    sum
}

fn joined(parts: impl IntoIterator<Item = Part>) -> Vec<Part> {
    let mut all = Vec::new();
    for part in parts {
        part.join(&mut all).expect("shards of one campaign");
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shards_partition_the_seeds(from in prop_oneof![0..50u64, (u64::MAX - 60)..=u64::MAX],
                                  seeds in 1..60u64, of in 1..9u64) {
        let whole = Seeds { from, planned: Some(seeds), shard: 1, of: 1 };
        let of_shard = |seeds: Seeds| (0..seeds.count().expect("planned")).map(move |i| seeds.seed(i));
        let all: Vec<Option<u64>> = of_shard(whole).collect();
        prop_assert!(all.iter().all(Option::is_some));
        let shards: Vec<Seeds> = (1..=of).map(|shard| Seeds { shard, of, ..whole }).collect();
        let mut union: Vec<Option<u64>> = shards.iter().flat_map(|shard| of_shard(*shard)).collect();
        union.sort_unstable();
        prop_assert_eq!(union, all.clone());
        for shard in &shards {
            let done = shard.count().expect("planned");
            prop_assert_eq!(shard.seed(done), None, "and no seed more");
            for seed in all.iter().flatten() {
                let mine = of_shard(*shard).flatten().filter(|it| it <= seed).count() as u64;
                prop_assert_eq!(shard.up_to(*seed, done), mine);
            }
        }
    }

    #[test]
    fn overlapping_is_having_a_seed_in_common(
        a in (0..40u64, 1..6u64, 1..9u64), b in (0..40u64, 1..6u64, 1..9u64), k in 0..5u64, l in 0..5u64,
    ) {
        let seeds = |(from, of, _): (u64, u64, u64), k| {
            Seeds { from, planned: None, shard: k % of + 1, of }
        };
        let (left, right) = (seeds(a, k), seeds(b, l));
        let run = |seeds: Seeds, done: u64| (0..done).filter_map(move |i| seeds.seed(i)).collect::<BTreeSet<u64>>();
        let common = !run(left, a.2).is_disjoint(&run(right, b.2));
        prop_assert_eq!(left.overlap(a.2, &right, b.2), common);
        prop_assert_eq!(right.overlap(b.2, &left, a.2), common);
    }

    #[test]
    fn merged_shards_say_what_the_whole_says(from in 0..1_000u64, seeds in 1..150u64, of in 1..6u64,
                                             order in any::<u64>()) {
        let whole = said(&[part(from, seeds, None)]);
        let mut shards: Vec<Part> = (1..=of).map(|shard| part(from, seeds, Some((shard, of)))).collect();
        let merged = joined(shards.clone());
        prop_assert_eq!(&said(&merged), &whole);
        // In any order, in any grouping, and each of them twice.
        let turn = usize::try_from(order % of).expect("small");
        shards.rotate_left(turn);
        let (left, right) = shards.split_at(turn);
        let (left, right) = (joined(left.to_vec()), joined(right.to_vec()));
        let twice = right.iter().chain(&left).chain(&right).cloned();
        prop_assert_eq!(&joined(twice), &merged);
    }

    #[test]
    fn a_campaign_that_was_stopped_goes_on_where_it_was(seeds in 2..120u64, stops in prop::collection::vec(1..60u64, 0..4)) {
        let whole = part(7, seeds, None);
        let mut state = campaign(7, seeds, None).start();
        for after in stops {
            let campaign = campaign(7, seeds, None);
            let stop = Arc::clone(&campaign.options.stop);
            let goal = state.done + after;
            // What was written when it was killed, not what it returned.
            let mut written = state.clone();
            let _ = campaign.go_on(state, &mut |standing| {
                if standing.part.done <= goal { written = standing.checkpoint(); }
                if standing.part.done >= goal { stop.store(true, Relaxed); }
            }, &cheap);
            let text = serde_json::to_string(&written).expect("it is plain data");
            state = serde_json::from_str(&text).expect("it is what was written");
        }
        let resumed = campaign(7, seeds, None).go_on(state, &mut |_| {}, &cheap).expect("its own state");
        prop_assert!(resumed.part.agrees(&whole), "{:?}\n{:?}", resumed.part, whole);
        prop_assert_eq!(said(&[resumed.part]), said(&[whole]));
    }
}

/// A world in which faults break the claim, and in which there is something to learn.
fn guided(seeds: u64, jobs: usize) -> Campaign {
    let text = r#"
        title = "Retries of a producer that is not idempotent"
        claim = { log = "exactly-once" }
        cluster = { brokers = 3 }
        topics.t = { partitions = 2, replication-factor = 3 }
        network.latency = { mean = "1ms" }

        [producers.shop]
        to = "t"
        records = 6
        keys = 2
        interval = "5ms"
        config.acks = 1
        config.enable.idempotence = false

        [faults]
        swarm = { kinds = ["ack-loss", "delay", "leader-change", "crash"], count = 4 }
        vary = { "producers.shop.config.linger.ms" = [0, 5] }
        "#;
    let loaded = oncesim_spec::parse("learning.toml", text, None);
    let scenario = loaded.unwrap_or_else(|d| panic!("{}", d.render(false))).scenario;
    let options =
        CampaignOptions { jobs, strategy: StrategyKind::Guided, ..options(3, seeds, Some((2, 3))) };
    Campaign { scenario: Arc::new(scenario), options }
}

/// What a campaign had written down after so many seeds; those in hand are lost.
fn cut(campaign: &Campaign, state: Part, after: u64) -> Part {
    let mut written = state.clone();
    let watch = &mut |standing: &Standing<'_>| {
        if standing.part.done == after {
            written = standing.checkpoint();
            campaign.options.stop.store(true, Relaxed);
        }
    };
    campaign.go_on(state, watch, &run).expect("its own state");
    let text = serde_json::to_string(&written).expect("it is plain data");
    serde_json::from_str(&text).expect("it is what was written")
}

#[test]
fn a_strategy_that_learns_goes_on_as_if_nothing_had_happened() {
    let whole = guided(300, 2).run_with(&mut |_| {}, &run);
    assert_eq!((whole.part.done, whole.part.memory.as_ref()), (100, None));
    assert!(whole.failures.len() > 1, "{:?}", whole.part.found);
    let digests = |report: &CampaignReport| {
        let firsts = report.failures.iter().map(|it| (it.fingerprint.clone(), it.first.digest));
        firsts.collect::<Vec<_>>()
    };
    for (jobs, cuts) in
        [([1, 3], &[1][..]), ([3, 1], &[16, 17, 18]), ([3, 3], &[5, 41, 99]), ([1, 1], &[63])]
    {
        let mut state = guided(300, jobs[0]).start();
        for after in cuts {
            state = cut(&guided(300, jobs[0]), state, *after);
            assert_eq!(state.done, *after);
        }
        let resumed = guided(300, jobs[1]).go_on(state, &mut |_| {}, &run).expect("its own state");
        assert!(resumed.part.agrees(&whole.part), "{cuts:?}");
        assert_eq!(digests(&resumed), digests(&whole), "{cuts:?}");
    }
}

#[test]
fn what_a_strategy_knows_is_the_same_however_often_it_was_killed() {
    let at = |cuts: &[u64], jobs| {
        let state = guided(300, jobs).start();
        cuts.iter().fold(state, |state, after| cut(&guided(300, jobs), state, *after))
    };
    let once = at(&[70], 1);
    assert!(once.memory.is_some());
    assert!(once.agrees(&at(&[2, 19, 44, 70], 3)));
}

#[test]
fn a_memory_that_is_missing_or_damaged_is_refused() {
    let state = cut(&guided(300, 2), guided(300, 2).start(), 40);
    let text = serde_json::to_string(&state).expect("it is plain data");
    let first = state.found.values().next().expect("something was found");
    let fault = first.run.as_ref().and_then(|run| run.plan.faults.first());
    let quoted = serde_json::to_string(fault.expect("it failed by a fault")).expect("a text");
    for (from, to, cause) in [
        ("\"memory\":", "\"forgotten\":", "what guided had learned is not in it"),
        ("\"runs\":40", "\"runs\":39", "of 39 runs and not of 40"),
        ("\"seen\":\"", "\"seen\":\"!", "what was learned is damaged"),
        ("\"seen\":\"", "\"seen\":\"_____A", "what was learned is damaged"),
        ("\"novelty\":", "\"novelty\":99999999", "what was learned is damaged"),
        ("\"varied\":", "\"varied\":99999999", "what was learned is damaged"),
        ("leader-change", "leader-chance", "there is no fault `leader-chance`"),
        ("\\\"t-1\\\"", "\\\"t-9\\\"", "`t` has no partition 9"),
        ("linger.ms", "linger.us", "a plan sets `producers.shop.config.linger.us` otherwise"),
        (&quoted, "\"\"", "is damaged"),
    ] {
        let damaged = text.replace(from, to);
        assert_ne!(damaged, text, "{from}");
        let damaged = serde_json::from_str(&damaged).expect("it has the shape of a part");
        let refused = guided(300, 2).go_on(damaged, &mut |_| {}, &run);
        let refused = refused.map(|report| report.part).expect_err(cause);
        assert!(refused.contains(cause), "{refused}");
    }
    let mut swarm = guided(300, 2);
    swarm.options.strategy = StrategyKind::Swarm;
    let refused = swarm.go_on(state, &mut |_| {}, &run).map(|report| report.part);
    assert_eq!(refused.expect_err("it learns nothing"), "swarm has no memory");
}

#[test]
fn seeds_in_common_and_other_results_are_refused() {
    let mut parts = vec![part(0, 40, Some((1, 2)))];
    let clash = part(0, 40, Some((1, 4))).join(&mut parts).expect_err("seed 0 is in both");
    assert_eq!(clash, "shard 1/4 from seed 0 and shard 1/2 from seed 0 have seeds in common");
    let mut other = part(0, 40, Some((1, 2)));
    other.messages += 1;
    let clash = other.join(&mut parts).expect_err("the same seeds gave something else");
    assert_eq!(clash, "shard 1/2 from seed 0 is there twice, with different results");
    part(40, 40, Some((1, 2))).join(&mut parts).expect("a later range");
    assert_eq!(parts.len(), 2);
    let longer = part(0, 40, Some((1, 2)));
    let mut shorter = campaign(0, 40, Some((1, 2))).start();
    std::mem::swap(&mut parts[0], &mut shorter);
    assert_eq!(parts[0].done, 0);
    longer.join(&mut parts).expect("it is a later state");
    assert_eq!(parts[0].done, 20);
}

#[test]
fn a_share_of_the_seeds_runs_twice_and_after_another_seed() {
    let runs = std::sync::Mutex::new(Vec::new());
    let one = |scenario: &Arc<Scenario>, options: &RunOptions| {
        let who = (options.seed, std::thread::current().id());
        runs.lock().expect("no panic").push(who);
        cheap(scenario, options)
    };
    let mut campaign = campaign(0, 1_000, None);
    campaign.options.jobs = 1;
    let report = campaign.run_with(&mut |_| {}, &one);
    let share = report.sum.rechecked;
    assert!((30..70).contains(&share), "{share} of 1,000 at 5 per cent");
    let runs = runs.into_inner().expect("no panic");
    let mut first: BTreeMap<u64, (usize, std::thread::ThreadId)> = BTreeMap::new();
    let mut twice = 0;
    for (at, (seed, thread)) in runs.into_iter().enumerate() {
        if let Some((before, other)) = first.insert(seed, (at, thread)) {
            assert!(at > before + 1, "seed {seed}: another one in between");
            assert_ne!(thread, other, "seed {seed}: another thread");
            twice += 1;
        }
    }
    assert_eq!(twice, share);
    campaign.options.recheck = 0;
    assert_eq!(campaign.run_with(&mut |_| {}, &cheap).sum.rechecked, 0);
}

/// A world with a bug: the second run of seed 30 is not its first one.
fn fickle(calls: &AtomicU64) -> impl Fn(&Arc<Scenario>, &RunOptions) -> Outcome + Sync {
    move |scenario, options| {
        if options.seed != 30 || calls.fetch_add(1, Relaxed) == 0 {
            return run(scenario, options);
        }
        // Somebody reads what is no part of the seed: another world after the third event.
        let mut outcome = run(scenario, options);
        let other = run(scenario, &RunOptions { seed: 31, ..options.clone() });
        outcome.digest = other.digest;
        if let (Some(history), Some(other)) = (&mut outcome.history, other.history) {
            history.events.truncate(3);
            history.events.extend(other.events.into_iter().skip(3));
        }
        outcome
    }
}

#[test]
fn another_run_of_the_same_seed_ends_the_campaign() {
    for jobs in [1, 3] {
        let mut campaign = campaign(0, 1_000, None);
        campaign.options.jobs = jobs;
        campaign.options.recheck = 100;
        let report = campaign.run_with(&mut |_| {}, &fickle(&AtomicU64::new(0)));
        assert_eq!(report.sum.range, (0, 30), "what came later does not count, at {jobs} jobs");
        let [found] = &report.sum.nondeterministic[..] else { panic!("one: {report:?}") };
        assert_eq!(found.seed, 30);
        assert_ne!(found.digests[0], found.digests[1]);
        assert!(found.event.is_some_and(|event| event >= 3), "{found:?}");
        assert_ne!(found.sides[0], found.sides[1]);
        let histories = found.histories.as_ref().expect("both are evidence");
        assert_ne!(histories[0].events, histories[1].events);
        assert!(report.part.stopped && !report.sum.interrupted);
    }
}
