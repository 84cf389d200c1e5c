use std::sync::Arc;

use crate::MessageApi;
use oncesim_kafka::message::ApiKey;
use oncesim_types::{Duration, Instant, Operation};
use proptest::prelude::*;

use super::*;
use crate::fault::{
    Coordinated, DiskFault, FaultAction, MessagePattern, PlannedFault, SystemTrouble, Trigger,
};
use crate::parse;

/// Everything that faults can name.
const CAST: &str = r#"# A story.
title = "A cast for every fault"   # with a comment

[claim]
log = "at-least-once"

[topics]
orders = { partitions = 3 }

[producers.shop]
to = "orders"
transactions = { size = 5 }

[consumers.mailer]
instances = 2
from = "orders"
sink = "mails"

[sinks.mails.sqlite]
schema = "CREATE TABLE mails(id INTEGER PRIMARY KEY)"
statement = "INSERT INTO mails(id) VALUES (:id)"

[databases.store]
schema = "CREATE TABLE outbox(id INTEGER PRIMARY KEY, key, value)"

[services.ordering]
instances = 2
database = "store"
to = "orders"
statement = "INSERT INTO outbox(id, key, value) VALUES (:id, :key, :value)"
announce = "log-first"

[relays.publisher]
database = "store"
to = "orders"
capture = "outbox"
position = "memory"

[faults] # drawn
swarm = { kinds = ["crash"], count = 3 }

[[fault]]
crash = { actor = "b1", at = "2s" }
"#;

fn one() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "b1",
        "b3",
        "shop",
        "mailer-0",
        "transaction coordinator of shop-0",
        "mailer-1",
        "controller",
        "leader of orders-2",
        "follower of orders-0",
        "coordinator of mailer",
        "mails",
        "ordering-1",
        "publisher",
    ])
    .prop_map(str::to_owned)
}

fn many() -> impl Strategy<Value = String> {
    prop_oneof![
        one(),
        prop::sample::select(vec![
            "brokers",
            "producers",
            "consumers",
            "mailer",
            "services",
            "relays",
            "systems",
            "ordering",
        ])
        .prop_map(str::to_owned)
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration)
}

fn pattern() -> impl Strategy<Value = MessagePattern> {
    let kafka = prop::sample::select(ApiKey::ALL).prop_map(MessageApi::Kafka);
    let system = prop::sample::select(Operation::ALL.to_vec()).prop_map(MessageApi::System);
    let api = prop::option::of(prop_oneof![kafka, system]);
    (any::<Option<bool>>(), api, prop::option::of(many()), prop::option::of(many()))
        .prop_map(|(response, api, from, to)| MessagePattern { response, api, from, to })
}

fn nth() -> impl Strategy<Value = u32> {
    1u32..
}

fn timed() -> impl Strategy<Value = Trigger> {
    prop_oneof![
        any::<u64>().prop_map(|at| Trigger::At(Instant(at))),
        (pattern(), nth(), duration()).prop_map(|(pattern, nth, delay)| Trigger::Sent {
            pattern,
            nth,
            delay
        }),
        (pattern(), nth(), duration()).prop_map(|(pattern, nth, delay)| Trigger::Delivered {
            pattern,
            nth,
            delay
        }),
    ]
}

fn partition() -> impl Strategy<Value = String> {
    (0..3u8).prop_map(|n| format!("orders-{n}"))
}

fn machine_fault() -> impl Strategy<Value = FaultAction> {
    prop_oneof![
        (one(), any::<bool>(), prop::option::of(duration()))
            .prop_map(|(actor, power, down)| FaultAction::Crash { actor, power, down }),
        (one(), any::<bool>(), duration()).prop_map(|(actor, application_only, duration)| {
            FaultAction::Pause { actor, application_only, duration }
        }),
        (one(), -i64::MAX..=i64::MAX)
            .prop_map(|(actor, by_ns)| FaultAction::ClockJump { actor, by_ns }),
        (one(), -1_000_000..=1_000_000i64, duration())
            .prop_map(|(actor, ppm, duration)| FaultAction::ClockSkew { actor, ppm, duration }),
        (one(), any::<bool>(), duration()).prop_map(|(actor, full, duration)| {
            let fault = if full { DiskFault::Full } else { DiskFault::LostFlush };
            FaultAction::Disk { actor, fault, duration }
        }),
    ]
}

fn system_fault() -> impl Strategy<Value = FaultAction> {
    let trouble = prop_oneof![
        Just(SystemTrouble::Errors),
        Just(SystemTrouble::Deadlocks),
        duration().prop_map(SystemTrouble::Slow),
        Just(SystemTrouble::UnknownCommits),
    ];
    let system = prop::sample::select(vec!["mails", "store"]).prop_map(str::to_owned);
    (system, trouble, duration()).prop_map(|(actor, trouble, duration)| FaultAction::System {
        actor,
        trouble,
        duration,
    })
}

fn network_fault() -> impl Strategy<Value = FaultAction> {
    let side = |least| prop::collection::vec(many(), least..4);
    prop_oneof![
        (side(1), side(0), any::<bool>(), duration()).prop_map(|(from, to, one_way, duration)| {
            FaultAction::Partition { from, to, one_way, duration }
        }),
        (one(), one(), duration(), duration()).prop_map(|(from, to, extra, duration)| {
            FaultAction::Clog { from, to, extra, duration }
        }),
    ]
}

fn cluster_fault() -> impl Strategy<Value = FaultAction> {
    prop_oneof![
        (partition(), prop::option::of(one()))
            .prop_map(|(partition, to)| FaultAction::LeaderChange { partition, to }),
        partition().prop_map(|partition| FaultAction::UncleanElection { partition }),
        Just(FaultAction::CoordinatorMove { of: Coordinated::Group("mailer".into()) }),
        Just(FaultAction::CoordinatorMove { of: Coordinated::Transaction("shop-0".into()) }),
        Just(FaultAction::Rebalance { actor: "mailer-1".into() }),
        duration().prop_map(|duration| FaultAction::ControllerFailover { duration }),
    ]
}

fn planned() -> impl Strategy<Value = PlannedFault> {
    let message = prop_oneof![
        Just(FaultAction::Drop),
        duration().prop_map(FaultAction::Delay),
        duration().prop_map(FaultAction::Duplicate),
    ];
    let on_message = (pattern(), nth(), message).prop_map(|(pattern, nth, action)| PlannedFault {
        trigger: Trigger::OnMessage { pattern, nth },
        action,
    });
    let other = prop_oneof![machine_fault(), network_fault(), cluster_fault(), system_fault()];
    let timed = (timed(), other).prop_map(|(trigger, action)| PlannedFault { trigger, action });
    prop_oneof![on_message, timed]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_counterexample_reads_back_as_its_scenario_and_plan(
        faults in prop::collection::vec(planned(), 0..6),
        seed: u64,
        digest in "[0-9a-f]{32}",
        fingerprint in "[a-z,\"\\\\-]{0,20}",
    ) {
        let original = parse("cast.toml", CAST, None).unwrap().scenario;
        let plan = FaultPlan::from(faults);
        let text = write_counterexample(&Counterexample {
            scenario: &original,
            plan: &plan,
            seed,
            digest: &digest,
            fingerprint: &fingerprint,
        });
        let read = parse("cast.toml", &text, None)
            .unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        prop_assert_eq!(&read.scenario.scripted, &plan.faults);
        let replay = read.replay.unwrap();
        prop_assert_eq!(replay.seed, seed);
        prop_assert_eq!((replay.digest, replay.fingerprint), (digest.clone(), fingerprint.clone()));
        prop_assert_eq!(replay.scenario.as_str(), "cast.toml");
        // Apart from the faults it is the scenario that it was.
        let expected = Scenario {
            swarm: None,
            variants: Vec::new(),
            scripted: plan.faults.clone(),
            source: Arc::clone(&read.scenario.source),
            ..original
        };
        prop_assert_eq!(&read.scenario, &expected);
        // A counterexample of a counterexample is the same file.
        let again = write_counterexample(&Counterexample {
            scenario: &read.scenario,
            plan: &plan,
            seed,
            digest: &digest,
            fingerprint: &fingerprint,
        });
        prop_assert_eq!(again, text);
    }
}

#[test]
fn comments_survive_and_faults_are_replaced() {
    let scenario = parse("cast.toml", CAST, None).unwrap().scenario;
    let plan = FaultPlan::from(scenario.scripted.clone());
    let text = write_counterexample(&Counterexample {
        scenario: &scenario,
        plan: &plan,
        seed: 7,
        digest: "00",
        fingerprint: "lost-write",
    });
    assert!(text.starts_with("# A story.\n"), "{text}");
    assert!(text.contains("# with a comment"), "{text}");
    assert!(!text.contains("swarm"), "{text}");
    assert_eq!(text.matches("[[fault]]").count(), 1, "{text}");
}

#[test]
fn a_counterexample_of_another_version_is_refused() {
    let ours = env!("CARGO_PKG_VERSION");
    for (version, readable) in
        [(ours, true), ("1.0.0", false), ("0.999.0", false), ("soon", false), ("", false)]
    {
        let text = format!("{CAST}\n[replay]\nversion = \"{version}\"\nseed = 1\n");
        assert_eq!(parse("c.toml", &text, None).is_ok(), readable, "{version}");
    }
}
