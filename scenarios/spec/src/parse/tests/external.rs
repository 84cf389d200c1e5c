use oncesim_semantics::Guarantee;
use oncesim_types::{Operation, Ratio, SinkId, StatementId, StatementRole, SystemId};

use super::*;
use crate::MessageApi;
use crate::external::{
    Announce, DedupPlacement, IdempotencyKey, OnUnknown, PositionStore, RelayKind, SinkKind,
    SinkTransaction, SystemSpecKind,
};
use crate::fault::SystemTrouble;
use crate::scenario::Scenario;

const SYSTEMS: &str = r#"
title = "The whole way"
claim = { effect = "exactly-once", ordering = "per-key" }

[topics]
orders = { partitions = 3 }
connect-offsets = { partitions = 1 }
connect-offsets-2 = { partitions = 1 }

[databases.shop]
schema = """
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer, amount);
CREATE TABLE outbox(sequence INTEGER, id INTEGER PRIMARY KEY, key, value, sent DEFAULT 0);
CREATE TABLE position(cursor INTEGER);
INSERT INTO position VALUES (0);
"""
service-time = "300us"
client-timeout = "3s"
lock-timeout = "4s"
idle-timeout = "20s"

[services.ordering]
instances = 2
database = "shop"
to = "orders"
records = 30
keys = 5
interval = "2ms"
hold = "1ms"
abort = "10%"
tombstones = 0.25
statement = ["INSERT INTO orders(id, customer, amount) VALUES (:id, :key, :value)"]
announce = "outbox"
outbox = "INSERT INTO outbox(sequence, id, key, value) VALUES (:sequence, :id, :key, :value)"

[relays.poller]
database = "shop"
to = "orders"
interval = "50ms"
batch = 10
select = "SELECT sequence, id, key, value FROM outbox WHERE sent = 0 ORDER BY sequence LIMIT :batch"
mark = "UPDATE outbox SET sent = 1 WHERE id = :id"

[relays.stream]
database = "shop"
to = "orders"
capture = "outbox"
snapshot = false
position = { topic = "connect-offsets", flush-interval = "2s" }
producer.transactional.id = "stream-{instance}"

[sinks.ledger]
retry-after = "5ms"
retries = 3
client-timeout = "1s"

[sinks.ledger.sqlite]
schema = """
CREATE TABLE accounts(key PRIMARY KEY, balance NOT NULL DEFAULT 0);
CREATE TABLE seen(id INTEGER PRIMARY KEY, at);
CREATE TABLE offsets(partition PRIMARY KEY, next, token);
"""
statement = [
  "INSERT INTO accounts(key) VALUES (:key) ON CONFLICT DO NOTHING",
  "UPDATE accounts SET balance = balance + :value WHERE key = :key",
]
tombstone = "DELETE FROM accounts WHERE key = :key"
transaction = "per-poll"
dedup = { check = "SELECT 1 FROM seen WHERE id = :id", mark = "INSERT INTO seen VALUES (:id, :now)", window = "400s", evict = "DELETE FROM seen WHERE at < :horizon" }
offsets = { read = "SELECT next FROM offsets WHERE partition = :partition", write = "INSERT INTO offsets VALUES (:partition, :next, :token) ON CONFLICT DO UPDATE SET next = :next, token = :token WHERE token <= :token" }

[sinks.audit]
sqlite = { database = "shop", statement = "INSERT INTO orders(id) VALUES (-:id) ON CONFLICT DO NOTHING" }

[sinks.payments]
api = { idempotency-key = "per-record", key-ttl = "1h", rejects-other-payload = false, token = true, checks-token = true }
on-unknown = "retry"

[sinks.lake]
two-phase = { prepared-timeout = "2h" }

[consumers.accountant]
from = "orders"
sink = "ledger"
commit = "in-sink"
config.auto.offset.reset = "earliest"

[consumers.auditor]
from = "orders"
sink = "audit"
commit = "connect"
flush-interval = "1s"
config.auto.offset.reset = "earliest"

[consumers.lake-writer]
from = "orders"
sink = "lake"
commit = "two-phase"
config.auto.offset.reset = "earliest"

[consumers.payer]
from = "orders"
sink = "payments"
config.auto.offset.reset = "earliest"

[faults]
swarm = { kinds = ["crash", "sink-errors", "deadlock", "slow-sink", "unknown-commit"], targets = ["services", "relays", "systems", "ledger"] }

[[fault]]
drop = { response = "Commit", from = "ledger", nth = 2 }
[[fault]]
sink-errors = { actor = "payments", at = "1s", for = "2s" }
[[fault]]
slow-sink = { actor = "shop", extra = "1s", at = "1s", for = "2s" }
[[fault]]
deadlock = { actor = "shop", at = "1s", for = "2s" }
[[fault]]
unknown-commit = { actor = "shop", after = { sent = "Execute", from = "ordering-1", to = "shop", nth = 3 }, for = "2s" }
[[fault]]
crash = { actor = "poller", at = "2s" }
"#;

fn read(text: &str) -> Loaded {
    parse("systems.toml", text, None).unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

fn systems() -> Scenario {
    let loaded = read(SYSTEMS);
    assert!(!loaded.warnings.has_errors(), "{}", loaded.warnings.render(false));
    loaded.scenario
}

#[test]
fn databases_are_read_whole() {
    let scenario = systems();
    assert_eq!(scenario.claim.unwrap().effect, Some(Guarantee::ExactlyOnce));
    let names: Vec<_> = scenario.systems.iter().map(|system| system.name.as_str()).collect();
    assert_eq!(names, ["lake", "ledger", "payments", "shop"]);
    let shop = &scenario.systems[3];
    assert_eq!(shop.service_time, Duration::from_micros(300));
    assert_eq!(shop.client_timeout, Duration::from_secs(3));
    let SystemSpecKind::Database(database) = &shop.kind else { panic!("{shop:?}") };
    assert_eq!(database.captured, ["outbox"]);
    assert_eq!(database.lock_timeout, Duration::from_secs(4));
    assert_eq!(database.idle_timeout, Duration::from_secs(20));
    let roles: Vec<_> = database.statements.iter().map(|statement| statement.role).collect();
    assert_eq!(
        roles,
        [
            StatementRole::Effect,
            StatementRole::Business,
            StatementRole::Outbox,
            StatementRole::RelaySelect,
            StatementRole::RelayMark,
        ]
    );
    assert_eq!(scenario.systems[1].client_timeout, Duration::from_secs(1));
    let SystemSpecKind::Api(api) = &scenario.systems[2].kind else { panic!() };
    assert_eq!(api.key_ttl, Some(Duration::from_secs(3_600)));
    assert!(!api.rejects_other_payload && api.checks_token);
    let lake = SystemSpecKind::Staging { prepared_timeout: Some(Duration::from_secs(7_200)) };
    assert_eq!(scenario.systems[0].kind, lake);
}

#[test]
fn sinks_are_read_whole() {
    let scenario = systems();
    let names: Vec<_> = scenario.sinks.iter().map(|sink| (sink.name.as_str(), sink.id)).collect();
    assert_eq!(
        names,
        [("audit", SinkId(0)), ("lake", SinkId(1)), ("ledger", SinkId(2)), ("payments", SinkId(3)),]
    );
    let ids: Vec<_> = scenario.sinks.iter().map(|sink| sink.system).collect();
    assert_eq!(ids, [SystemId(3), SystemId(0), SystemId(1), SystemId(2)]);
    let ledger = &scenario.sinks[2];
    assert_eq!((ledger.retry_after, ledger.retries), (Duration::from_millis(5), 3));
    let SinkKind::Sql(sql) = &ledger.kind else { panic!() };
    assert_eq!(sql.effect, [StatementId(0), StatementId(1)]);
    assert_eq!(sql.tombstone, Some(StatementId(2)));
    assert_eq!(sql.transaction, SinkTransaction::PerPoll);
    let dedup = sql.dedup.unwrap();
    assert_eq!(dedup.placement, DedupPlacement::SameTransaction);
    assert_eq!(dedup.evict.unwrap().1, Duration::from_secs(400));
    assert!(!dedup.inbox && sql.offsets.unwrap().fenced && !sql.absorbs);
    let SinkKind::Sql(audit) = &scenario.sinks[0].kind else { panic!() };
    assert!(audit.absorbs);
    let payments = SinkKind::Api { key: IdempotencyKey::PerRecord, token: true };
    assert_eq!(scenario.sinks[3].kind, payments);
    assert_eq!(scenario.sinks[3].on_unknown, OnUnknown::Retry);
    let commits: Vec<_> = scenario.consumers.iter().map(|it| (it.commit, it.sink)).collect();
    assert_eq!(
        commits,
        [
            (CommitStrategy::InSink, Some(SinkId(2))),
            (CommitStrategy::Connect { interval: Duration::from_secs(1) }, Some(SinkId(0))),
            (CommitStrategy::TwoPhase, Some(SinkId(1))),
            (CommitStrategy::AfterProcessing, Some(SinkId(3))),
        ]
    );
}

#[test]
fn services_and_relays_are_read_whole() {
    let scenario = systems();
    let service = &scenario.services[0];
    assert_eq!((service.instances, service.records, service.keys), (2, 30, 5));
    assert_eq!(service.database, SystemId(3));
    assert_eq!(service.announce, Announce::Outbox(StatementId(2)));
    assert_eq!((service.abort, service.tombstones), (Ratio::new(10, 100), Ratio::new(25, 100)));
    let [poller, stream] = scenario.relays.as_slice() else { panic!() };
    let RelayKind::Poll { select, mark } = &poller.kind else { panic!() };
    assert_eq!((*select, mark.unwrap().statement), (StatementId(3), StatementId(4)));
    assert_eq!(poller.position, PositionStore::None);
    let captured = RelayKind::Capture { table: "outbox".into(), snapshot: false };
    assert_eq!(stream.kind, captured);
    let flush_interval = Duration::from_secs(2);
    assert_eq!(stream.position, PositionStore::Topic { topic: TopicId(1), flush_interval });
    assert_eq!(scenario.transactional_ids, ["stream-0"]);
    assert_eq!(scenario.topics.last().unwrap().name, "__transaction_state");
    let FaultAction::System { actor, trouble, .. } = &scenario.scripted[2].action else { panic!() };
    let slow = SystemTrouble::Slow(Duration::from_secs(1));
    assert_eq!((actor.as_str(), *trouble), ("shop", slow));
    let Trigger::OnMessage { pattern, .. } = &scenario.scripted[0].trigger else { panic!() };
    assert_eq!(pattern.api, Some(MessageApi::System(Operation::Commit)));
}

/// Reads a scenario beside files.
fn beside(name: &str, files: &[(&str, &str)], text: &str) -> Result<Loaded, Diagnostics> {
    let folder = std::env::temp_dir().join(format!("oncesim-spec-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (file, content) in files {
        std::fs::write(folder.join(file), content).unwrap();
    }
    let read = parse("systems.toml", text, Some(&folder));
    std::fs::remove_dir_all(&folder).unwrap();
    read
}

const FILES: &str = r#"
title = "SQL in files"
claim = { effect = "at-least-once" }
topics.orders = { partitions = 1 }
producers.shop = { to = "orders" }

[consumers.mailer]
from = "orders"
sink = "mails"
config.auto.offset.reset = "earliest"

[sinks.mails]
# The real one.
sqlite = { schema = "mails.sql", statement = ["insert.sql", "UPDATE mails SET at = 1"], dedup = { mark = "mark.sql" } }
"#;

#[test]
fn sql_from_files_is_written_out() {
    let schema = "CREATE TABLE mails(id, at);\r\n-- \"\"\" and '''\n\tCREATE TABLE seen(id);\n";
    let files = [
        ("mails.sql", schema),
        ("insert.sql", "INSERT INTO mails VALUES (:id, NULL)"),
        ("mark.sql", "INSERT INTO seen VALUES (:id)\n"),
    ];
    let loaded =
        beside("files", &files, FILES).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    let source = &loaded.scenario.source;
    assert!(source.contains("# The real one.") && !source.contains(".sql\""), "{source}");
    let again = read(source).scenario;
    assert_eq!(again, Scenario { source: again.source.clone(), ..loaded.scenario.clone() });
    let SystemSpecKind::Database(database) = &again.systems[0].kind else { panic!() };
    assert_eq!(&*database.schema, schema);
}

#[test]
fn a_complaint_about_a_file_points_into_the_file() {
    let files = [
        ("mails.sql", "CREATE TABLE mails(id, at);\n"),
        ("insert.sql", "-- Once.\nINSERT INTO mails\n  VALUES (:id, :horizon)"),
        ("mark.sql", "seen"),
    ];
    let errors = beside("wrong", &files, FILES).map(|_| ()).unwrap_err();
    let places: Vec<_> = errors
        .items()
        .iter()
        .map(|item| {
            let place = item.place.unwrap();
            let path = &errors.sources()[usize::from(place.source)].path;
            let file = path.rsplit('/').next().unwrap().to_owned();
            (item.id, file, errors.line_and_column(place))
        })
        .collect();
    assert_eq!(
        places,
        [("S0902", "insert.sql".to_owned(), (3, 16)), ("S0901", "mark.sql".to_owned(), (1, 1))],
        "{}",
        errors.render(false)
    );
}

#[test]
fn sql_can_be_set_from_the_command_line() {
    let set = |value: &str| {
        let sets = [("sinks.mails.sqlite.statement".to_owned(), value.to_owned())];
        let text = FILES
            .replace("\"mails.sql\"", "\"CREATE TABLE mails(id, at)\"")
            .replace(", dedup = { mark = \"mark.sql\" }", "");
        parse_with("systems.toml", &text, None, &sets)
    };
    let loaded = set("DELETE FROM mails").unwrap();
    assert!(loaded.scenario.source.contains("statement = \"DELETE FROM mails\""));
    let errors = set("DELETE FROM mials").map(|_| ()).unwrap_err();
    assert_eq!(errors.line_and_column(errors.items()[0].place.unwrap()), (1, 42));
}

/// What each line makes doubtful, with a claim and without.
#[test]
fn what_is_rarely_meant_is_said() {
    let doubts = |text: &str| -> Vec<String> {
        let loaded = read(text);
        let items = loaded.warnings.items().iter();
        items.filter(|item| item.id == "S0502").map(|item| item.message.clone()).collect()
    };
    let sound = doubts(SYSTEMS);
    assert!(sound.is_empty(), "{sound:?}");
    for (from, to, message) in [
        ("\"per-record\"", "\"none\"", "`payments` sends no idempotency key"),
        ("\"per-record\"", "\"per-attempt\"", "`payments` sends another idempotency key"),
        ("\"per-record\"", "\"by-key\"", "the second effect of a key"),
        ("key-ttl = \"1h\"", "key-ttl = \"10s\"", "an idempotency key of `payments` is forgotten"),
        ("window = \"400s\"", "window = \"4s\"", "a mark of `ledger` is forgotten after 4s"),
        ("window =", "when = \"before-effect\", window =", "before its effect"),
        ("window =", "when = \"after-effect\", window =", "after its effect"),
        (
            "offsets = { read",
            "offsets = { fenced = false, read",
            "`ledger` stores offsets without a fence",
        ),
        (
            "on-unknown = \"retry\"",
            "on-unknown = \"assume-done\"",
            "takes an unknown outcome for done",
        ),
        (
            "id = :id\"\n\n[relays",
            "id = :id\"\nmark-when = \"before-ack\"\n\n[relays",
            "`poller` marks a row",
        ),
        ("snapshot = false", "stores-before-ack = true", "`stream` stores its position before"),
        (
            "mark = \"UPDATE outbox SET sent = 1 WHERE id = :id\"",
            "position = \"memory\"",
            "2 writers commit",
        ),
        (
            "INTO orders(id) VALUES (-:id) ON CONFLICT DO NOTHING",
            "INTO position VALUES (:id)",
            "`audit` changes something each time",
        ),
        (
            "to = \"orders\"\nrecords = 30",
            "to = \"connect-offsets-2\"",
            "`ordering` writes to an outbox",
        ),
    ] {
        assert!(SYSTEMS.contains(from), "{from}");
        let mut text = SYSTEMS.replacen(from, to, 1);
        if to == "position = \"memory\"" {
            text = text.replace("WHERE sent = 0", "WHERE sequence > :cursor");
        }
        let found = doubts(&text);
        assert!(found.len() == 1 && found[0].contains(message), "{to}: {found:?}");
        let expected = text.replace(
            "claim = { effect = \"exactly-once\", ordering = \"per-key\" }",
            "expect = { anomaly = \"effect-lost\" }",
        );
        assert!(doubts(&expected).is_empty());
    }
}
