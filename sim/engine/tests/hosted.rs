//! A user's async code in the simulated world: hosted tasks with their own producers.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use oncesim::history::{ClientKind, EventKind};
use oncesim::kafka::config::ProducerConfig;
use oncesim::semantics::Holds;
use oncesim::spec::Scenario;
use oncesim::types::{ErrorCode, RecordId};
use oncesim::{
    Campaign, CampaignOptions, HostedProducer, HostedTask, Judgement, Outcome, RunEnd, RunOptions,
    StrategyKind, judge, run_hosted, sleep,
};

/// A leader crashes, and acknowledgements to the task are lost with others.
const SCENARIO: &str = r#"
title = "A hosted task sends while brokers crash"

[claim]
log = "exactly-once"
ordering = "per-partition"

[cluster]
brokers = 3
config.min.insync.replicas = 2

[topics]
orders = { partitions = 2, replication-factor = 3 }

[producers.background]
to = "orders"
records = 20
interval = "10ms"

[faults]
swarm = { kinds = ["crash", "ack-loss", "delay"], count = 5, targets = ["brokers"] }

[[fault]]
crash = { actor = "leader of orders-0", at = "300ms", for = "5s" }
"#;

fn scenario(text: &str) -> Arc<Scenario> {
    let loaded = oncesim::spec::parse("hosted.toml", text, None);
    Arc::new(loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false))).scenario)
}

fn task<F>(name: &str, body: impl Fn(HostedProducer) -> F + Send + Sync + 'static) -> HostedTask
where
    F: Future<Output = ()> + Send + 'static,
{
    HostedTask {
        name: name.to_owned(),
        producer: ProducerConfig::default(),
        task: Arc::new(move |producer| Box::pin(body(producer))),
    }
}

fn options(seed: u64) -> RunOptions {
    RunOptions { seed, keep_history: true, ..RunOptions::default() }
}

/// Sends thirty records, one every 20 ms.
fn thirty(acknowledged: &Arc<Mutex<u32>>) -> HostedTask {
    let acknowledged = Arc::clone(acknowledged);
    task("billing", move |producer| {
        let acknowledged = Arc::clone(&acknowledged);
        async move {
            for n in 0..30 {
                let sent = producer.send(0, Some(n), 7).await;
                if sent.error == ErrorCode::None {
                    *acknowledged.lock().expect("one thread") += 1;
                }
                sleep(Duration::from_millis(20)).await;
            }
            producer.close().await;
        }
    })
}

/// The records of `actor` that the final read saw.
fn drained(outcome: &Outcome, actor: &str) -> Vec<RecordId> {
    let history = outcome.history.as_ref().expect("it was asked for");
    let mut found = Vec::new();
    for event in &history.events {
        let EventKind::Client(ClientKind::PollEnd { records, .. }) = &event.kind else { continue };
        if history.actor_name(event.actor) == "auditor" {
            let records = history.polled(*records).iter().map(|polled| polled.record);
            found.extend(records.filter(|id| history.actor_name(id.origin()) == actor));
        }
    }
    found
}

#[test]
fn its_records_reach_the_history_and_the_final_read() {
    let scenario = scenario(SCENARIO);
    for seed in 0..10 {
        let acknowledged = Arc::new(Mutex::new(0));
        let outcome = run_hosted(&scenario, &options(seed), &[thirty(&acknowledged)]);
        assert_eq!(outcome.end, RunEnd::Settled, "seed {seed}: {:?}", outcome.verdict.anomalies);
        // A partition that has no leader at that moment has none to crash.
        let leaderless = outcome.faults.iter().any(|it| it.scripted && it.struck.is_none());
        let due = if leaderless { Judgement::Vacuous } else { Judgement::AsClaimed };
        assert_eq!(judge(&scenario, &outcome), due, "seed {seed}");
        assert_eq!(*acknowledged.lock().expect("nobody panicked"), 30, "seed {seed}");
        assert_eq!(drained(&outcome, "billing").len(), 30, "seed {seed}");
        assert_eq!(drained(&outcome, "background").len(), 20, "seed {seed}");
        assert!(outcome.faults.iter().any(|fault| fault.struck.is_some()), "seed {seed}");
        assert!(outcome.actor_names.iter().any(|name| name == "billing"));
    }
}

#[test]
fn a_task_without_idempotence_duplicates_like_any_other_producer() {
    let scenario = scenario(SCENARIO);
    let violated = (0..40).any(|seed| {
        let mut task = thirty(&Arc::default());
        task.producer.idempotence = false;
        let outcome = run_hosted(&scenario, &options(seed), &[task]);
        let guarantees = outcome.verdict.guarantees;
        guarantees.get(oncesim::semantics::Level::Log, oncesim::semantics::Guarantee::ExactlyOnce)
            == Holds::Violated
    });
    assert!(violated, "a lost acknowledgement makes a retry a duplicate");
}

#[test]
fn a_run_is_the_same_again_on_another_thread_and_with_its_trace() {
    let scenario = scenario(SCENARIO);
    let run = |seed, keep_trace| {
        let options = RunOptions { keep_trace, ..options(seed) };
        let tasks = [thirty(&Arc::default()), two_at_a_time()];
        run_hosted(&scenario, &options, &tasks).digest
    };
    for seed in [1, 2] {
        let first = run(seed, false);
        assert_eq!(first, run(seed, true), "seed {seed}: a trace changes nothing");
        let elsewhere = std::thread::scope(|scope| {
            scope.spawn(|| run(seed, false)).join().expect("it reports its panics")
        });
        assert_eq!(first, elsewhere, "seed {seed}");
    }
    assert_ne!(run(1, false), run(2, false));
}

/// Polls two futures until the first of them is ready; the other is dropped.
struct Either<A, B>(Pin<Box<A>>, Pin<Box<B>>);

impl<A: Future<Output = ()>, B: Future<Output = ()>> Future for Either<A, B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        self.1.as_mut().poll(context)
    }
}

fn two_at_a_time() -> HostedTask {
    task("impatient", |producer| async move {
        for n in 0..5 {
            let send = async {
                let _ = producer.send(0, None, n).await;
            };
            Either(Box::pin(send), Box::pin(sleep(Duration::from_millis(3)))).await;
        }
    })
}

#[test]
fn a_wake_after_the_end_of_a_task_does_not_stop_time() {
    // The sleep that lost the race comes to its end when the task is long gone.
    let late = task("late", |_| async {
        let soon = sleep(Duration::from_millis(1));
        Either(Box::pin(soon), Box::pin(sleep(Duration::from_secs(2)))).await;
    });
    let outcome = run_hosted(&scenario(SCENARIO), &options(3), &[late, two_at_a_time()]);
    assert_eq!(outcome.end, RunEnd::Settled);
}

#[test]
fn virtual_time_passes_only_where_a_task_waits() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let clocks = task("clocks", move |producer| {
        let log = Arc::clone(&log);
        async move {
            let began = std::time::Instant::now();
            let wall = std::time::SystemTime::now();
            // Work costs nothing ...
            let sum: u64 = std::hint::black_box((0..3_000_000_u64).map(|n| n ^ 0x55).sum());
            assert!(sum > 0);
            let after_work = began.elapsed();
            // ... a wait what it says ...
            sleep(Duration::from_millis(250)).await;
            let after_sleep = began.elapsed();
            // ... and a call as long as its round trips.
            let _ = producer.send(0, None, 1).await;
            let after_send = began.elapsed();
            let system = wall.elapsed().expect("it does not run backwards");
            let measured = [after_work, after_sleep, after_send, system];
            log.lock().expect("one thread").extend(measured);
        }
    });
    let outcome = run_hosted(&scenario(SCENARIO), &options(5), &[clocks]);
    assert_eq!(outcome.end, RunEnd::Settled);
    let seen = seen.lock().expect("nobody panicked");
    let [work, slept, sent, system] = seen[..] else { panic!("it ran once: {seen:?}") };
    // The host moves its clock by some nanoseconds whenever it polls a task.
    let little = Duration::from_micros(10);
    assert!(work < little, "{work:?}");
    let pause = Duration::from_millis(250);
    assert!(slept >= pause && slept < pause + little, "{slept:?}");
    assert!(sent > slept + Duration::from_micros(400), "two hops of 200 us at least: {sent:?}");
    assert!(sent < Duration::from_secs(60));
    assert!(system >= sent && system < sent + little, "{system:?}");
}

#[test]
fn a_panic_of_a_task_is_a_bug_with_its_seed() {
    let scenario = scenario(SCENARIO);
    for wait in [false, true] {
        let careless = task("careless", move |producer| async move {
            if wait {
                let _ = producer.send(0, None, 1).await;
            }
            panic!("out of luck");
        });
        let outcome = run_hosted(&scenario, &options(77), &[careless, thirty(&Arc::default())]);
        assert_eq!(outcome.seed, 77);
        assert_eq!(judge(&scenario, &outcome), Judgement::Bug);
        let RunEnd::Panicked(message) = &outcome.end else { panic!("{:?}", outcome.end) };
        for part in ["the task careless", "out of luck", "hosted.rs:"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}

#[test]
fn a_seed_that_panics_does_not_stop_the_others() {
    let options = CampaignOptions {
        from: 0,
        seeds: 12,
        budget: None,
        jobs: 4,
        strategy: StrategyKind::default(),
        shard: None,
        fail_fast: false,
        recheck: 25,
        stop: Arc::new(AtomicBool::new(false)),
    };
    let campaign = Campaign { scenario: scenario(SCENARIO), options };
    let report = campaign.run_with(&mut |_| {}, &|scenario, options| {
        let unlucky = options.seed == 5;
        let fragile = task("fragile", move |producer| async move {
            let _ = producer.send(0, None, 1).await;
            assert!(!unlucky, "the fifth seed");
        });
        run_hosted(scenario, options, &[fragile])
    });
    assert_eq!(report.sum.seeds, 12, "all of them ran");
    assert_eq!(report.sum.judgement, Judgement::Bug);
    let [failure] = &report.failures[..] else { panic!("one failure: {:?}", report.failures) };
    assert_eq!(failure.seeds, [5]);
    assert!(failure.fingerprint.starts_with("panic: ") && failure.fingerprint.contains("fifth"));
    assert!(report.sum.nondeterministic.is_empty());
}

/// Wakes itself again and again.
struct Restless;

impl Future for Restless {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[test]
fn a_task_that_never_waits_ends_the_run_as_not_live() {
    let scenario = scenario(SCENARIO);
    let outcome = run_hosted(&scenario, &options(0), &[task("restless", |_| Restless)]);
    assert_eq!(outcome.end, RunEnd::BudgetExhausted);
    assert_eq!(judge(&scenario, &outcome), Judgement::NotLive);
    let told = outcome.verdict.anomalies.iter().any(|anomaly| {
        anomaly.witness.sentence.contains("restless") && anomaly.witness.sentence.contains("waits")
    });
    assert!(told, "{:?}", outcome.verdict.anomalies);
}

#[test]
fn a_task_that_waits_for_ever_is_named() {
    let text = format!("{SCENARIO}\n[limits]\nduration = \"30s\"\nliveness = \"60s\"\n");
    let scenario = scenario(&text);
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dropped);
    let patient = task("patient", move |_| {
        let guard = Guard(Arc::clone(&flag));
        async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        }
    });
    let outcome = run_hosted(&scenario, &options(0), &[patient]);
    assert_eq!(outcome.end, RunEnd::NotSettled);
    let sentences: Vec<_> =
        outcome.verdict.anomalies.iter().map(|anomaly| &anomaly.witness.sentence).collect();
    let named = |sentence: &&&String| sentence.contains("patient: the task has not ended");
    assert!(sentences.iter().any(|sentence| named(&sentence)), "{sentences:?}");
    assert!(dropped.load(Ordering::Relaxed), "a run leaves no task behind");
}

struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
