use oncesim_kafka::message::ApiKey;
use oncesim_kafka::mutation::{Mutation, Mutations};
use oncesim_semantics::{Guarantee, Ordering};
use oncesim_types::{Duration, GroupId, Instant, TopicId};

use super::*;
use crate::fault::{FaultAction, FaultKind, MessagePattern, PlannedFault, Trigger};
use crate::scenario::CommitStrategy;

pub(crate) const TYPICAL: &str = r#"
title = "Orders arrive exactly once"

[claim]
log = "exactly-once"
processing = "at-least-once"
ordering = "per-partition"

[cluster]
brokers = 3
transaction-version = 2
config.min.insync.replicas = 2

[topics]
orders = { partitions = 3, replication-factor = 3 }
mails = { partitions = 2 }

[producers.shop]
to = "orders"
records = 300
keys = 40
interval = "3ms"
config.enable.idempotence = true

[consumers.mailer]
instances = 2
group = "mail"
from = ["orders", "mails"]
commit = "per-record"
config.auto.offset.reset = "earliest"

[network]
latency = { min = "200us", mean = "1ms", max = "40ms" }
loss = "1 in 1000"
links = [{ between = ["shop", "b1"], latency = "5ms" }]

[faults]
swarm = { kinds = ["crash", "ack-loss"], count = 6, targets = ["brokers", "shop"] }

[[fault]]
drop = { response = "Produce", from = "b1", to = "shop", nth = 2 }
[[fault]]
pause = { actor = "mailer-0", after = { sent = "OffsetCommit", nth = 1, delay = "2ms" }, for = "60s" }
[[fault]]
crash = { actor = "leader of orders-0", at = "2s", for = "1.5s" }
[[fault]]
partition = { from = ["b1"], to = ["b2", "consumers"], one-way = true, at = "1s", for = "5s" }
"#;

#[test]
fn a_typical_scenario_is_read_whole() {
    let loaded =
        parse("typical.toml", TYPICAL, None).unwrap_or_else(|d| panic!("{}", d.render(false)));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    let scenario = loaded.scenario;
    let claim = scenario.claim.unwrap();
    assert_eq!(claim.log, Some(Guarantee::ExactlyOnce));
    assert_eq!(claim.ordering, Some(Ordering::PerPartition));
    assert_eq!(scenario.brokers, 3);
    let names: Vec<_> = scenario.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["orders", "mails", "__consumer_offsets"]);
    assert!(scenario.topics[2].config.is_offsets_topic());
    assert_eq!(scenario.topics[2].config.partitions, 1);
    assert_eq!(scenario.topics[1].config.replication_factor, 3);
    let shop = &scenario.producers[0];
    assert_eq!((shop.records, shop.keys, shop.instances), (300, 40, 1));
    assert_eq!(shop.interval, Duration::from_millis(3));
    let mailer = &scenario.consumers[0];
    assert_eq!(mailer.commit, CommitStrategy::PerRecord);
    assert_eq!((mailer.group, mailer.config.group), (GroupId(0), Some(GroupId(0))));
    assert_eq!(mailer.from, [TopicId(0), TopicId(1)]);
    let swarm = scenario.swarm.unwrap();
    assert_eq!(swarm.kinds, [FaultKind::Crash, FaultKind::AckLoss]);
    assert_eq!(swarm.targets, ["brokers", "shop"]);
    assert_eq!(scenario.scripted.len(), 4);
    assert_eq!(
        scenario.scripted[0],
        PlannedFault {
            trigger: Trigger::OnMessage {
                pattern: MessagePattern {
                    response: Some(true),
                    api: Some(crate::MessageApi::Kafka(ApiKey::Produce)),
                    from: Some("b1".into()),
                    to: Some("shop".into()),
                },
                nth: 2,
            },
            action: FaultAction::Drop,
        }
    );
    assert_eq!(scenario.scripted[2].trigger, Trigger::At(Instant(2_000_000_000)));
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = r#"
title = 3
[claim]
log = "exactly-onse"
[topics]
orders = { partitions = 3, replication-factor = 5 }
[producers.shop]
to = "oders"
interval = "250 m s"
recods = 10
[[fault]]
crash = { actor = "b9", at = 2 }
"#;
    let diagnostics = parse("wrong.toml", text, None).unwrap_err();
    let ids: Vec<_> = diagnostics.items().iter().map(|item| item.id).collect();
    assert_eq!(
        ids,
        ["S0104", "S0109", "S0301", "S0201", "S0105", "S0103", "S0202", "S0105"],
        "{}",
        diagnostics.render(false)
    );
}

#[test]
fn values_can_be_set_by_path() {
    let sets = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(path, value)| ((*path).into(), (*value).into())).collect()
    };
    let given = sets(&[("cluster.brokers", "5"), ("producers.shop.interval", "7ms")]);
    let loaded = parse_with("typical.toml", TYPICAL, None, &given)
        .unwrap_or_else(|d| panic!("{}", d.render(false)));
    assert_eq!(loaded.scenario.brokers, 5);
    assert_eq!(loaded.scenario.producers[0].interval, Duration::from_millis(7));
    assert!(loaded.scenario.source.contains("brokers = 5"), "{}", loaded.scenario.source);
    assert!(loaded.scenario.source.contains("interval = \"7ms\""));
    let again = parse("typical.toml", &loaded.scenario.source, None).unwrap();
    assert_eq!(again.scenario.brokers, 5);
    for (path, value) in [
        ("producers.shop.recods", "5"),
        ("producers.shop.records", "many"),
        ("title.x", "1"),
        ("fault.9.crash", "1"),
        ("..", "1"),
    ] {
        let errors = parse_with("typical.toml", TYPICAL, None, &sets(&[(path, value)]));
        let errors = errors.map(|_| path).unwrap_err();
        assert!(errors.render(false).contains("--set"), "{}", errors.render(false));
    }
}

/// Every scenario of the corpus and of the mutation bank can run as it stands.
#[test]
fn the_corpus_is_read_without_warnings() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut wrong = String::new();
    for path in crate::discover(scenarios).unwrap() {
        match load(&path) {
            Ok(loaded) if loaded.warnings.is_empty() => {}
            Ok(loaded) => {
                // A scenario about a mistake says which warning it gets.
                let shown = loaded.warnings.render(false);
                let text = std::fs::read_to_string(&path).unwrap();
                let mut ids = shown.split("warning[").skip(1).map(|rest| &rest[..5]);
                if !ids.all(|id| text.contains(id)) {
                    wrong.push_str(&shown);
                }
            }
            Err(errors) => wrong.push_str(&errors.render(false)),
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let schema = text.lines().next().and_then(|line| line.strip_prefix("#:schema "));
        let schema = schema.map(|relative| path.parent().unwrap().join(relative));
        assert!(
            schema.is_some_and(|schema| schema.is_file()),
            "{} names its schema",
            path.display()
        );
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The mutation bank is complete: one scenario for each planted bug, and its file says which.
#[test]
fn every_planted_bug_has_a_scenario() {
    let mutants = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("mutants");
    let mut planted: Vec<_> = crate::discover(&mutants)
        .unwrap()
        .iter()
        .map(|path| {
            let scenario = load(path).unwrap_or_else(|e| panic!("{}", e.render(false))).scenario;
            assert!(scenario.expect.is_some(), "{} expects an anomaly", path.display());
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let mut of_file = Mutation::ALL.iter().filter(|m| m.id().replace('.', "-") == stem);
            let mutation = *of_file.next().expect("a mutant's file is called like its bug");
            assert_eq!(scenario.mutations, Mutations::only(mutation), "{stem}");
            mutation
        })
        .collect();
    planted.sort();
    assert_eq!(planted, Mutation::ALL);
}

mod external;
mod transactions;
