//! Laws of explanations: what they say about a run is what running says.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use oncesim::history::trace::{LineKind, StepId};
use oncesim::history::{EventKind, WorldEvent};
use oncesim::types::ActorId;
use oncesim::{
    ExplainOptions, Explanation, Fork, Link, LinkWhat, Outcome, RunOptions, Share, Sources,
    explain, explainable, plan, run, tell,
};
use oncesim_spec::{FaultPlan, Scenario};
use proptest::prelude::*;

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

/// The steps that happened before one of `ends`, and these: by one walk from the last step to the
/// first, along causes (messages, timers, flushes, connections) and the steps of each process.
fn before(outcome: &Outcome, ends: &BTreeSet<StepId>) -> BTreeSet<StepId> {
    let trace = &outcome.trace;
    let events = &outcome.history.as_ref().expect("it was kept").events;
    let mut found = BTreeSet::new();
    let mut causes = ends.clone();
    let mut processes = BTreeSet::new();
    let mut end = events.len();
    for (id, step) in (0..).zip(&trace.steps).collect::<Vec<(StepId, _)>>().into_iter().rev() {
        let recorded = &events[step.events as usize..end];
        end = step.events as usize;
        let touched: BTreeSet<ActorId> = recorded
            .iter()
            .map(|event| event.actor)
            .chain([step.actor])
            .map(|actor| trace.process_of(actor))
            .collect();
        if causes.contains(&id) || !touched.is_disjoint(&processes) {
            found.insert(id);
            processes.extend(touched);
            causes.extend(step.cause);
        }
    }
    found
}

/// What every chain is. `concerned`: faults of which it may not leave out one that struck before the
/// end of the witness.
fn check_chain(told: &Explanation, concerned: &[usize]) -> Result<(), String> {
    let (chain, trace) = (&told.chain, &told.outcome.trace);
    let history = told.outcome.history.as_ref().expect("it was kept");
    let events = &told.anomaly.witness.events;
    if !chain.windows(2).all(|pair| pair[0].step <= pair[1].step) {
        return Err("it is out of order".to_owned());
    }
    let link_of = |event: u32| chain.iter().find(|link| link.what == LinkWhat::Event(event));
    let is_fault = |link: &&Link| match link.what {
        LinkWhat::Event(event) => {
            let kind = &history.events[event as usize].kind;
            matches!(kind, EventKind::World(WorldEvent::Fault { .. }))
        }
        LinkWhat::Line(_) => false,
    };
    // A fault stands for the crash or the pause that it is.
    let stands_for = |event: u32| {
        let step = trace.step_of(event);
        chain.iter().filter(is_fault).find(|link| Some(link.step) == step)
    };
    let named = |event: u32| link_of(event).or_else(|| stands_for(event));
    if let Some(event) = events.iter().find(|it| !named(**it).is_some_and(|it| it.witness)) {
        return Err(format!("event {event} of the witness is not in it"));
    }
    let ends: BTreeSet<StepId> = events.iter().filter_map(|it| trace.step_of(*it)).collect();
    let cone = before(&told.outcome, &ends);
    for link in chain {
        let step = match link.what {
            LinkWhat::Event(event) => match history.events[event as usize].kind {
                EventKind::World(WorldEvent::Fault { index }) => {
                    let index = index as usize;
                    if !concerned.contains(&index) {
                        return Err(format!("fault {index} has nothing to do with it"));
                    }
                    continue; // a fault may work by what does not happen
                }
                _ => link.step,
            },
            LinkWhat::Line(line) => {
                let line = &trace.lines[line as usize];
                let arrived = line.kind == LineKind::Arrived;
                line.sent.filter(|_| !arrived).map_or(link.step, |(_, step)| step)
            }
        };
        if !cone.contains(&step) {
            return Err(format!("{link:?} did not happen before the witness"));
        }
    }
    let last = events.last().copied().unwrap_or(0);
    for (position, event) in (0..=last).zip(&history.events) {
        if let EventKind::World(WorldEvent::Fault { index }) = event.kind
            && concerned.contains(&(index as usize))
            && link_of(position).is_none()
        {
            return Err(format!("fault {index} is not in it"));
        }
    }
    Ok(())
}

#[test]
fn the_chain_of_an_explanation_holds_the_faults_that_it_needs_and_no_others() {
    for path in SCENARIOS {
        let scenario = scenario(path);
        let explanation =
            (0..20).find_map(|seed| explained(&scenario, seed)).expect("some seed fails");
        let needed = explanation.necessities.needed();
        assert!(!needed.is_empty() || explanation.necessities.faults.is_empty(), "{path}");
        let faults = explanation.necessities.faults.iter().enumerate();
        let mut concerned = needed;
        concerned.extend(faults.filter(|(_, it)| it.for_this_one).map(|(at, _)| at));
        check_chain(&explanation, &concerned).unwrap_or_else(|why| panic!("{path}: {why}"));
        let curve = &explanation.curve;
        assert!((2..=24).contains(&curve.len()), "{path}: {curve:?}");
        assert!(curve.is_sorted_by_key(|point| (point.link, point.after)), "{path}: {curve:?}");
        let moment = explanation.moment.expect("there was time");
        let at = |share: Share| curve.iter().any(|point| point.without == share);
        assert!(at(moment.before) && at(moment.after), "{path}: {moment:?} in {curve:?}");
    }
}

/// Pitfalls of every family: logs, groups, processors, transactions, systems, relays.
const PITFALLS: [&str; 13] = [
    "exactly-once/without-idempotence-a-retry-reorders.toml",
    "exactly-once/a-producer-restart-duplicates.toml",
    "at-least-once/a-lost-acknowledgement-makes-a-retry-a-duplicate.toml",
    "at-least-once/acks-1-loses-when-the-leader-dies-before-replication.toml",
    "at-most-once/commit-before-processing-loses-on-a-crash.toml",
    "at-most-once/a-processor-that-commits-before-its-outputs-loses-on-a-crash.toml",
    "groups/exceeding-max-poll-interval-redelivers.toml",
    "transactions/a-delayed-end-of-transaction-ends-the-next-one.toml",
    "transactions/a-late-produce-hangs-a-transaction.toml",
    "transactions/without-group-metadata-a-zombie-processes-twice.toml",
    "external/a-plain-insert-doubles-on-redelivery.toml",
    "external/an-upsert-without-a-version-goes-backwards.toml",
    "external/marking-before-the-acknowledgement-loses.toml",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(52) })]

    #[test]
    fn a_chain_holds_its_witness_and_what_happened_before(
        pitfall in 0..PITFALLS.len(),
        from in 0u64..1_000,
    ) {
        let path = PITFALLS[pitfall];
        let scenario = scenario(path);
        let tell = |seed, minimal| tell(&scenario, &plan(&scenario, seed), seed, minimal);
        let failing = (from..from + 300).find_map(|seed| Some((seed, tell(seed, false).ok()?)));
        let (seed, told) = failing.expect("a pitfall is there to be found");
        let all: Vec<usize> = (0..told.outcome.faults.len()).collect();
        let lawful = check_chain(&told, &all);
        prop_assert!(lawful.is_ok(), "{path} seed {seed}: {lawful:?}");
        let again = tell(seed, true).expect("the same run fails again");
        prop_assert_eq!(&again.chain, &told.chain);
        prop_assert_eq!(&again.subject, &told.subject);
        prop_assert!(again.necessities.faults.iter().all(|fault| fault.necessary));
        prop_assert!(told.necessities.needed().is_empty() && told.runs == 1);
        prop_assert!(explainable(&scenario, &told.outcome));
    }
}

/// Two answers are lost, each to another record: either alone doubles one.
#[test]
fn a_fault_that_decides_which_record_it_is_belongs_to_its_story() {
    let text = r#"
        title = "Two lost answers"
        claim = { log = "exactly-once" }
        topics.orders = { partitions = 1 }
        network.latency = "1ms"

        [producers.shop]
        to = "orders"
        records = 4
        interval = "100ms"
        config.linger.ms = 0
        config.enable.idempotence = false

        [[fault]]
        drop = { response = "Produce", to = "shop", nth = 2 }
        [[fault]]
        drop = { response = "Produce", to = "shop", nth = 4 }
        "#;
    let scenario = Arc::new(oncesim::spec::parse("two.toml", text, None).expect("valid").scenario);
    let explanation = explained(&scenario, 0).expect("it fails");
    let told: Vec<_> = explanation.necessities.faults.iter().collect();
    assert!(told.iter().all(|fault| !fault.necessary), "either is enough");
    assert_eq!(told.iter().map(|it| it.for_this_one).collect::<Vec<_>>(), [true, false]);
    let faults: Vec<u32> = struck(&explanation);
    assert_eq!(faults.first(), Some(&0), "what doubled this record comes first");
}

/// The faults of a chain, by number.
fn struck(explanation: &Explanation) -> Vec<u32> {
    let history = explanation.outcome.history.as_ref().expect("it was kept");
    let fault = |link: &Link| match link.what {
        LinkWhat::Event(at) => match history.events[at as usize].kind {
            EventKind::World(WorldEvent::Fault { index }) => Some(index),
            _ => None,
        },
        LinkWhat::Line(_) => None,
    };
    explanation.chain.iter().filter_map(fault).collect()
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
                assert_eq!(necessity.necessary, !fails, "seed {seed}, fault {at}");
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
