use oncesim_kafka::config::{InternalTopic, TransactionVersion};
use oncesim_kafka::message::IsolationLevel;
use oncesim_types::{Ratio, TransactionalId, Transform};

use super::*;
use crate::fault::Coordinated;
use crate::scenario::{Mistake, ProcessorCommit, Scenario};

const PIPELINE: &str = r#"
title = "Orders become invoices exactly once"
claim = { processing = "exactly-once" }

[cluster]
brokers = 2
transaction-version = 1

[topics]
orders = { partitions = 3 }
invoices = { partitions = 3 }
counts-changelog = { partitions = 3 }

[producers.shop]
to = "orders"
transactions = { id = "shop", size = 3, abort = 0.25, hold = "2s", transfer-to = "invoices", mistakes = "continue-after-fatal" }

[processors.billing]
instances = 2
from = ["orders"]
to = "invoices"
transform = { map = { time = "2ms" } }
commit = "transaction"
commit-interval = "100ms"
mistakes = ["no-seek-after-abort", "no-group-metadata"]
consumer.auto.offset.reset = "earliest"
consumer.isolation.level = "read_committed"
producer.linger.ms = 0

[processors.counting]
group = "count"
from = "orders"
to = "invoices"
transform = { aggregate = { changelog = "counts-changelog" } }
commit = "after-processing"
batch = 7
consumer = { auto = { offset.reset = "earliest" }, isolation = { level = "read_committed" } }
"#;

fn read(text: &str) -> Loaded {
    parse("pipeline.toml", text, None).unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

fn pipeline() -> Scenario {
    let loaded = read(PIPELINE);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    loaded.scenario
}

#[test]
fn processors_are_read_whole() {
    let scenario = pipeline();
    assert_eq!(scenario.groups, ["billing", "count"]);
    let [billing, counting] = scenario.processors.as_slice() else { panic!("two processors") };
    assert_eq!((billing.name.as_str(), billing.instances), ("billing", 2));
    assert_eq!((billing.group, billing.consumer.group), (GroupId(0), Some(GroupId(0))));
    assert_eq!((&*billing.from, &*billing.to), (&[TopicId(0)][..], &[TopicId(1)][..]));
    assert_eq!((billing.transform, billing.processing_time.as_millis()), (Transform::Map, 2));
    assert_eq!(billing.commit, ProcessorCommit::Transaction);
    assert_eq!((billing.commit_interval, billing.batch), (Duration::from_millis(100), 500));
    assert_eq!(billing.mistakes, [Mistake::NoGroupMetadata, Mistake::NoSeekAfterAbort]);
    assert_eq!(billing.consumer.isolation, IsolationLevel::ReadCommitted);
    assert!(!billing.consumer.auto_commit && billing.producer.idempotence);
    assert_eq!(billing.producer.linger, Duration::ZERO);
    assert_eq!(billing.producer.transaction_version, TransactionVersion::V1);
    let id = billing.transactional_id.as_ref().expect("it commits by transaction");
    assert_eq!((id.text.as_str(), id.per_restart), ("billing-{instance}", false));
    assert_eq!(counting.transform, Transform::Aggregate { changelog: TopicId(2) });
    assert_eq!((counting.batch, counting.commit_interval), (7, Duration::ZERO));
    assert_eq!(counting.transactional_id, None);
}

#[test]
fn transactional_ids_are_numbered_and_have_their_topic() {
    let scenario = pipeline();
    assert_eq!(scenario.transactional_ids, ["shop", "billing-0", "billing-1"]);
    let id = |n| TransactionalId(n);
    let billing = scenario.processors[0].transactional_id.as_ref().expect("it has one");
    assert_eq!(billing.ids, [id(1), id(2)]);
    let shop = scenario.producers[0].transactions.as_ref().expect("it has transactions");
    assert_eq!((&*shop.id.ids, shop.size), (&[id(0)][..], 3));
    assert_eq!((shop.abort, shop.hold), (Ratio::new(25, 100), Duration::from_secs(2)));
    assert_eq!(shop.transfer_to, Some(TopicId(1)));
    assert_eq!(shop.mistakes, [Mistake::ContinueAfterFatal]);
    assert_eq!(scenario.producers[0].config.transactional_id, None, "the engine sets it");

    let state = scenario.topics.last().expect("it is the last");
    assert_eq!(state.name, "__transaction_state");
    assert_eq!(state.config.internal, Some(InternalTopic::TransactionState));
    // Two brokers: factor 3 and minimum 2 by default, as far as there are replicas.
    let config = &state.config;
    assert_eq!((config.partitions, config.replication_factor), (3, 2));
    assert_eq!(config.min_insync_replicas, 2);
    let alone = read(&PIPELINE.replace("brokers = 2", "brokers = 1")).scenario;
    assert_eq!(alone.topics.last().map(|topic| topic.config.min_insync_replicas), Some(1));
    let few = "brokers = 2\nconfig.transaction.state.log.num.partitions = 2";
    let few = read(&PIPELINE.replace("brokers = 2", few)).scenario;
    assert_eq!(few.topics.last().map(|topic| topic.config.partitions), Some(2));
}

fn warned(from: &str, to: &str, word: &str) {
    assert!(PIPELINE.contains(from), "{from}");
    let warnings = read(&PIPELINE.replace(from, to)).warnings;
    assert_eq!(warnings.len(), 1, "{}", warnings.render(false));
    assert!(warnings.items()[0].message.contains(word), "{}", warnings.render(false));
}

#[test]
fn what_is_legal_and_rarely_meant_is_a_warning() {
    let linger = "producer.linger.ms = 0";
    warned(linger, "producer.transactional.id = \"billing\"", "share");
    warned(linger, "producer.transactional.id = \"b-{instance}-{restart}\"", "fences nobody");
    warned(
        "\nconsumer.isolation.level = \"read_committed\"",
        "",
        "`billing` reads records of open and aborted transactions in `orders`",
    );
    warned(linger, "consumer.enable.auto.commit = true", "auto commit runs beside it");
    // Who expects a pitfall knows of it.
    let text = PIPELINE.replace(linger, "producer.transactional.id = \"billing\"").replace(
        "claim = { processing = \"exactly-once\" }",
        "expect = { anomaly = \"lost-write\" }",
    );
    let loaded = read(&text);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    let shared = loaded.scenario.processors[0].transactional_id.as_ref().expect("it has one");
    assert_eq!(shared.ids, [TransactionalId(1); 2]);
}

#[test]
fn ids_with_restarts_begin_at_zero() {
    let text = PIPELINE.replace(
        "producer.linger.ms = 0",
        "producer.transactional.id = \"b-{instance}-{restart}\"",
    );
    let scenario = read(&text).scenario;
    assert_eq!(scenario.transactional_ids, ["shop", "b-0-0", "b-1-0"]);
    assert!(scenario.processors[0].transactional_id.as_ref().is_some_and(|id| id.per_restart));
}

#[test]
fn ids_of_partitions_are_the_same_for_all_instances() {
    let id = "producer.transactional.id = \"b-{partition}\"";
    let text = PIPELINE.replace("producer.linger.ms = 0", id);
    let text = text.replace(", \"no-group-metadata\"]", "]");
    let scenario = read(&text).scenario;
    let orders = scenario.topics.iter().find(|topic| topic.name == "orders").expect("it is there");
    let partitions = 0..orders.config.partitions;
    let ids: Vec<_> = partitions.map(|index| format!("b-orders-{index}")).collect();
    assert_eq!(scenario.transactional_ids[1..], ids);
    let id = scenario.processors[0].transactional_id.as_ref().expect("it has some");
    assert!(id.per_partition);
    assert_eq!(id.ids.len(), ids.len());
}

/// The one fault of the pipeline with `fault` added.
fn fault(fault: &str) -> PlannedFault {
    read(&format!("{PIPELINE}\n[[fault]]\n{fault}\n")).scenario.scripted.remove(0)
}

#[test]
fn coordinators_are_named_by_what_they_coordinate() {
    for name in ["shop", "shop-0"] {
        let action =
            fault(&format!("coordinator-move = {{ transaction = \"{name}\", at = \"1s\" }}"));
        let of = Coordinated::Transaction("shop".into());
        assert_eq!(action.action, FaultAction::CoordinatorMove { of });
    }
    let ends = |message: &str| match fault(message).trigger {
        Trigger::OnMessage { pattern: MessagePattern { from, to, .. }, .. } => {
            [from, to].map(Option::unwrap_or_default)
        }
        other => panic!("{other:?}"),
    };
    let group = ["counting-producer".to_owned(), "coordinator of count".to_owned()];
    for (message, expected) in [
        (
            "drop = { response = \"EndTxn\", from = \"coordinator\", to = \"billing-1\" }",
            ["transaction coordinator of billing-1".to_owned(), "billing-1".to_owned()],
        ),
        (
            "drop = { request = \"AddPartitionsToTxn\", from = \"shop-0\", to = \"coordinator\" }",
            ["shop".to_owned(), "transaction coordinator of shop".to_owned()],
        ),
        (
            "drop = { request = \"TxnOffsetCommit\", from = \"counting-producer\", to = \"coordinator\" }",
            group.clone(),
        ),
        (
            "drop = { request = \"TxnOffsetCommit\", from = \"counting-0-producer\", to = \"coordinator\" }",
            group,
        ),
        (
            "drop = { request = \"OffsetFetch\", from = \"billing-0\", to = \"coordinator\" }",
            ["billing-0".to_owned(), "coordinator of billing".to_owned()],
        ),
        (
            "drop = { request = \"any\", from = \"processors\", to = \"transaction coordinator of billing-0\" }",
            ["processors".to_owned(), "transaction coordinator of billing-0".to_owned()],
        ),
    ] {
        assert_eq!(ends(message), expected, "{message}");
    }
    let rebalance = fault("rebalance = { actor = \"billing-1\", at = \"1s\" }");
    assert_eq!(rebalance.action, FaultAction::Rebalance { actor: "billing-1".into() });
}

#[test]
fn pasted_properties_of_both_sides_are_written_out() {
    let folder = std::env::temp_dir().join(format!("oncesim-sides-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    std::fs::write(folder.join("in.properties"), "isolation.level=read_committed\n")
        .expect("written");
    std::fs::write(folder.join("out.properties"), "linger.ms=7\ntransactional.id=b-{instance}\n")
        .expect("written");
    let text = PIPELINE
        .replace(
            "consumer.isolation.level = \"read_committed\"",
            "consumer.properties = \"in.properties\"",
        )
        .replace("producer.linger.ms = 0", "producer.properties = \"out.properties\"");
    let loaded = parse("pipeline.toml", &text, Some(&folder));
    std::fs::remove_dir_all(&folder).expect("it was made above");
    let loaded = loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let again = read(&loaded.scenario.source).scenario;
    assert_eq!(again.processors, loaded.scenario.processors);
    assert_eq!(again.transactional_ids, ["shop", "b-0", "b-1"]);
    assert_eq!(again.processors[0].producer.linger, Duration::from_millis(7));
    assert_eq!(again.processors[0].consumer.isolation, IsolationLevel::ReadCommitted);
}
