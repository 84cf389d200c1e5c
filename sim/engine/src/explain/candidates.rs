//! What engineers change when a guarantee breaks, as edits of a scenario, by what it contains.
//!
//! The cost orders them: 1 is a property of a client, 2 one of a broker or a topic, 3 a change of an
//! application, 4 another design. What is there already is no candidate.

use oncesim_kafka::message::{Acks, IsolationLevel};
use oncesim_semantics::{Anomaly, Level};
use oncesim_spec::{
    Announce, CommitStrategy, DedupPlacement, IdempotencyKey, PositionStore, ProcessorCommit,
    ProcessorSpec, RelayKind, Scenario, SinkKind, SinkSpec, SinkTransaction, SqlSink, SystemSpec,
    SystemSpecKind,
};

/// One change that may help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// In words.
    pub(super) what: String,
    /// As `--set` takes it.
    pub(super) sets: Vec<String>,
    /// How far it goes.
    pub(super) cost: u8,
    /// What else is worth a word.
    pub(super) note: Option<&'static str>,
}

/// What may help against an anomaly, the nearest first.
pub(super) fn candidates(scenario: &Scenario, anomaly: &Anomaly) -> Vec<Candidate> {
    let mut table = Table(Vec::new());
    let level = anomaly.class.level;
    if level != Level::Effect {
        table.producers(scenario);
        table.cluster(scenario);
    }
    table.processors(scenario);
    table.consumers(scenario);
    table.sinks(scenario);
    table.services(scenario);
    table.relays(scenario);
    table.0.sort_by_key(|candidate| candidate.cost);
    table.0
}

struct Table(Vec<Candidate>);

/// A string, as TOML has it.
fn quoted(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("\"{}\"", words.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Table {
    fn add(&mut self, cost: u8, what: impl Into<String>, sets: Vec<String>) {
        self.0.push(Candidate { what: what.into(), sets, cost, note: None });
    }

    fn with_note(
        &mut self,
        cost: u8,
        what: impl Into<String>,
        sets: Vec<String>,
        note: &'static str,
    ) {
        self.0.push(Candidate { what: what.into(), sets, cost, note: Some(note) });
    }

    fn producers(&mut self, scenario: &Scenario) {
        for producer in &scenario.producers {
            let name = &producer.name;
            let config = format!("producers.{name}.config");
            let all = format!("{config}.acks=all");
            let idempotence = format!("{config}.enable.idempotence=true");
            let in_flight = format!("{config}.max.in.flight.requests.per.connection");
            if producer.config.acks != Acks::All {
                self.with_note(
                    1,
                    format!("acks=all for {name}"),
                    vec![all.clone(), format!("{config}.retries=2147483647")],
                    "an acknowledgement then waits for the in-sync replicas",
                );
            }
            if !producer.config.idempotence {
                let mut sets = vec![idempotence];
                if producer.config.acks != Acks::All {
                    sets.extend([all, format!("{config}.retries=2147483647")]);
                }
                let all = if sets.len() > 1 { "acks=all and " } else { "" };
                self.add(1, format!("{all}enable.idempotence=true for {name}"), sets);
                self.add(
                    1,
                    format!("one request in flight for {name}"),
                    vec![format!("{in_flight}=1")],
                );
                self.with_note(
                    1,
                    format!("no retries for {name}"),
                    vec![format!("{config}.retries=0")],
                    "what is not acknowledged is then lost",
                );
            } else {
                self.add(
                    1,
                    format!("one request in flight for {name}"),
                    vec![format!("{in_flight}=1")],
                );
            }
            if producer.restart == oncesim_spec::RestartStrategy::ResendUnacknowledged {
                self.with_note(
                    3,
                    format!("{name} goes on after a restart instead of sending again"),
                    vec![format!("producers.{name}.on-restart=continue")],
                    "what was not acknowledged before the restart is then lost",
                );
            }
            if producer.transactions.as_ref().is_some_and(|it| !it.mistakes.is_empty()) {
                self.add(
                    3,
                    format!("{name} without its mistakes"),
                    vec![format!("producers.{name}.transactions.mistakes=[]")],
                );
            }
        }
    }

    fn cluster(&mut self, scenario: &Scenario) {
        if scenario.topics.iter().any(|topic| topic.config.min_insync_replicas < 2) {
            let min = "cluster.config.min.insync.replicas=2".to_owned();
            let note = "sends then fail while fewer than two replicas are in sync";
            let few: Vec<_> = scenario
                .topics
                .iter()
                .filter(|topic| !topic.config.is_internal() && topic.config.replication_factor < 3)
                .collect();
            if few.is_empty() {
                self.with_note(2, "min.insync.replicas=2", vec![min.clone()], note);
                for producer in &scenario.producers {
                    if producer.config.acks != Acks::All {
                        self.with_note(
                            2,
                            format!("acks=all for {} with min.insync.replicas=2", producer.name),
                            vec![
                                format!("producers.{}.config.acks=all", producer.name),
                                format!("producers.{}.config.retries=2147483647", producer.name),
                                min.clone(),
                            ],
                            note,
                        );
                    }
                }
            } else if scenario.brokers >= 3 {
                let mut sets: Vec<String> = few
                    .iter()
                    .map(|topic| format!("topics.{}.replication-factor=3", topic.name))
                    .collect();
                self.add(2, "replication factor 3", sets.clone());
                sets.push(min);
                self.with_note(2, "replication factor 3 with min.insync.replicas=2", sets, note);
            }
        } else if scenario.brokers >= 3
            && scenario.topics.iter().any(|topic| topic.config.min_insync_replicas == 2)
        {
            self.with_note(
                2,
                "min.insync.replicas=3",
                vec!["cluster.config.min.insync.replicas=3".to_owned()],
                "sends then fail while one replica is away",
            );
        }
        if scenario.topics.iter().any(|topic| topic.config.unclean_leader_election) {
            self.with_note(
                2,
                "unclean.leader.election.enable=false",
                vec!["cluster.config.unclean.leader.election.enable=false".to_owned()],
                "the partition then has no leader until a replica that knows everything is back",
            );
        }
        self.broker_config(scenario);
    }

    fn broker_config(&mut self, scenario: &Scenario) {
        if scenario.source.contains("transaction-version = 1") {
            self.add(
                2,
                "transaction version 2 (every transaction has its own epoch)",
                vec!["cluster.transaction-version=2".to_owned()],
            );
        }
        for (written, property, value) in [
            (
                "transaction.partition.verification.enable = false",
                "transaction.partition.verification.enable",
                "true",
            ),
            ("producer.id.expiration.ms", "producer.id.expiration.ms", "86400000"),
        ] {
            if scenario.source.contains(written) {
                self.add(
                    2,
                    format!("{property}={value}"),
                    vec![format!("cluster.config.{property}={value}")],
                );
            }
        }
    }

    fn consumers(&mut self, scenario: &Scenario) {
        for group in &scenario.consumers {
            let name = &group.name;
            let commit = |word: &str| format!("consumers.{name}.commit={word}");
            if group.config.isolation == IsolationLevel::ReadUncommitted {
                self.add(
                    1,
                    format!("isolation.level=read_committed for {name}"),
                    vec![format!("consumers.{name}.config.isolation.level=read_committed")],
                );
            }
            match group.commit {
                CommitStrategy::Auto
                | CommitStrategy::AutoAsyncProcessing
                | CommitStrategy::BeforeProcessing => self.with_note(
                    3,
                    format!("{name} commits after processing"),
                    vec![commit("after-processing")],
                    "records may then be processed twice",
                ),
                CommitStrategy::AfterProcessing | CommitStrategy::AsyncAfterProcessing => {
                    self.add(
                        3,
                        format!("{name} commits after each record"),
                        vec![commit("per-record")],
                    );
                    self.with_note(
                        3,
                        format!("{name} commits before processing"),
                        vec![commit("before-processing")],
                        "a crash may then lose records",
                    );
                }
                _ => {}
            }
            let config = format!("consumers.{name}.config");
            self.liveness(name, &config, &group.config);
        }
    }

    /// Timeouts after which a member is taken for dead.
    fn liveness(&mut self, name: &str, config: &str, of: &oncesim_kafka::config::ConsumerConfig) {
        if of.session_timeout.as_millis() < 45_000 {
            self.with_note(
                1,
                format!("session.timeout.ms=45000 for {name} (Kafka's default)"),
                vec![format!("{config}.session.timeout.ms=45000")],
                "a dead member is then noticed later",
            );
        }
        if of.max_poll_interval.as_millis() < 300_000 {
            self.with_note(
                1,
                format!("max.poll.interval.ms=300000 for {name} (Kafka's default)"),
                vec![format!("{config}.max.poll.interval.ms=300000")],
                "a member that hangs is then noticed later",
            );
        }
        if of.max_poll_records > 1 {
            self.with_note(
                1,
                format!("max.poll.records=1 for {name}"),
                vec![format!("{config}.max.poll.records=1")],
                "costs throughput",
            );
        }
    }

    fn processors(&mut self, scenario: &Scenario) {
        for processor in &scenario.processors {
            let name = &processor.name;
            let consumer = format!("processors.{name}.consumer");
            if processor.commit != ProcessorCommit::Transaction {
                self.add(
                    3,
                    format!("{name} commits outputs and offsets in one transaction"),
                    transactional(processor, &consumer),
                );
                if processor.commit != ProcessorCommit::AfterProcessing {
                    self.with_note(
                        3,
                        format!("{name} commits after its outputs are acknowledged"),
                        vec![format!("processors.{name}.commit=after-processing")],
                        "outputs may then be doubled",
                    );
                }
                if processor.commit != ProcessorCommit::BeforeProcessing {
                    self.with_note(
                        3,
                        format!("{name} commits before it produces"),
                        vec![format!("processors.{name}.commit=before-processing")],
                        "a crash may then lose outputs",
                    );
                }
            }
            if !processor.mistakes.is_empty() {
                let what = if processor.mistakes == [oncesim_spec::Mistake::NoGroupMetadata] {
                    format!("{name} sends its offsets with the group's metadata (KIP-447)")
                } else {
                    format!("{name} without its mistakes")
                };
                self.add(3, what, vec![format!("processors.{name}.mistakes=[]")]);
            }
            if processor.transactional_id.as_ref().is_some_and(|it| it.per_restart) {
                let id =
                    format!("processors.{name}.producer.transactional.id=\"{name}-{{instance}}\"");
                self.add(
                    3,
                    format!("a transactional.id of {name} that survives restarts"),
                    vec![id.clone()],
                );
                if !processor.mistakes.is_empty() {
                    let mistakes = format!("processors.{name}.mistakes=[]");
                    self.add(
                        3,
                        format!("a transactional.id of {name} that survives restarts, and group metadata"),
                        vec![id, mistakes],
                    );
                }
            }
            if processor.consumer.isolation == IsolationLevel::ReadUncommitted {
                self.add(
                    1,
                    format!("isolation.level=read_committed for {name}"),
                    vec![format!("{consumer}.isolation.level=read_committed")],
                );
            }
            self.liveness(name, &consumer, &processor.consumer);
        }
    }

    fn sinks(&mut self, scenario: &Scenario) {
        for sink in &scenario.sinks {
            let system = scenario.systems.get(usize::from(sink.system.0));
            match &sink.kind {
                SinkKind::Sql(sql) => self.sql(scenario, sink, sql, system),
                SinkKind::Api { key, .. } => {
                    let at = format!("sinks.{}.api", sink.name);
                    if *key != IdempotencyKey::PerRecord {
                        self.add(
                            3,
                            format!("an idempotency key per record for {}", sink.name),
                            vec![format!("{at}.idempotency-key=per-record")],
                        );
                    }
                    if let Some(SystemSpecKind::Api(api)) = system.map(|it| &it.kind)
                        && api.key_ttl.is_some()
                    {
                        self.add(
                            2,
                            format!("{} remembers idempotency keys for a day", sink.name),
                            vec![format!("{at}.key-ttl=24h")],
                        );
                    }
                }
                SinkKind::TwoPhase => {}
            }
        }
    }

    fn sql(
        &mut self,
        scenario: &Scenario,
        sink: &SinkSpec,
        sql: &SqlSink,
        system: Option<&SystemSpec>,
    ) {
        let at = format!("sinks.{}.sqlite", sink.name);
        if sql.transaction == SinkTransaction::None {
            self.add(
                3,
                format!("one transaction per record at {}", sink.name),
                vec![format!("{at}.transaction=per-record")],
            );
        }
        match &sql.dedup {
            Some(dedup) => {
                let kind = if dedup.inbox { "inbox" } else { "dedup" };
                if dedup.placement != DedupPlacement::SameTransaction {
                    self.add(
                        3,
                        format!("the mark in the transaction of the effect at {}", sink.name),
                        vec![format!("{at}.{kind}.when=same-transaction")],
                    );
                }
                if dedup.evict.is_some() {
                    self.with_note(
                        2,
                        format!("{} keeps its marks for a day", sink.name),
                        vec![format!("{at}.{kind}.window=24h")],
                        "the table grows",
                    );
                }
            }
            None => self.dedup(scenario, sink, sql, system, &at),
        }
        if sql.offsets.is_some_and(|offsets| !offsets.fenced) {
            self.fence(sink, system, &at);
        }
        self.versioned(sink, sql, system, &at);
    }

    /// A table of what was seen, marked in the transaction of the effect.
    fn dedup(
        &mut self,
        scenario: &Scenario,
        sink: &SinkSpec,
        sql: &SqlSink,
        system: Option<&SystemSpec>,
        at: &str,
    ) {
        let Some(schema) = schema_of(system) else { return };
        let inbox = !scenario.relays.is_empty();
        let (kind, table) = if inbox { ("inbox", "inbox") } else { ("dedup", "seen") };
        let mut sets = vec![
            format!(
                "{at}.schema={}",
                quoted(&format!(
                    "{}; CREATE TABLE {table} (id INTEGER PRIMARY KEY);",
                    schema.trim_end().trim_end_matches(';')
                ))
            ),
            format!(
                "{at}.{kind}={{ mark = \"INSERT INTO {table} (id) VALUES (:id) ON CONFLICT (id) DO \
                 NOTHING\", when = \"same-transaction\" }}"
            ),
        ];
        if sql.transaction == SinkTransaction::None {
            sets.push(format!("{at}.transaction=per-record"));
        }
        let name = if inbox { "an inbox" } else { "a dedup table" };
        self.add(
            4,
            format!("{name} at {}, marked in the transaction of the effect", sink.name),
            sets,
        );
    }

    /// A fencing token in the statements that keep offsets.
    fn fence(&mut self, sink: &SinkSpec, system: Option<&SystemSpec>, at: &str) {
        let Some(schema) = schema_of(system) else { return };
        if !schema.contains("CREATE TABLE progress") {
            return;
        }
        let read = "INSERT INTO progress (partition, next, token) VALUES (:partition, 0, :token) \
                    ON CONFLICT (partition) DO UPDATE SET token = :token WHERE token <= :token \
                    RETURNING next";
        let write = "INSERT INTO progress (partition, next, token) VALUES (:partition, :next, \
                     :token) ON CONFLICT (partition) DO UPDATE SET next = excluded.next, token = \
                     excluded.token WHERE excluded.token >= progress.token";
        self.add(
            3,
            format!("{} refuses offsets of an older generation (a fencing token)", sink.name),
            vec![
                format!("{at}.offsets.read={}", quoted(read)),
                format!("{at}.offsets.write={}", quoted(write)),
                format!("{at}.offsets.fenced=true"),
            ],
        );
    }

    /// An upsert that keeps the newest version.
    fn versioned(&mut self, sink: &SinkSpec, sql: &SqlSink, system: Option<&SystemSpec>, at: &str) {
        let Some(schema) = schema_of(system) else { return };
        let Some(SystemSpecKind::Database(database)) = system.map(|it| &it.kind) else { return };
        let [effect] = sql.effect.as_slice() else { return };
        let Some(statement) = database.statements.get(usize::from(effect.0)) else { return };
        let Some((table, statement)) = with_version(&statement.text) else { return };
        let schema = schema.trim_end().trim_end_matches(';');
        let mut sets = vec![
            format!(
                "{at}.schema={}",
                quoted(&format!("{schema}; ALTER TABLE {table} ADD COLUMN version INTEGER;"))
            ),
            format!("{at}.statement={}", quoted(&statement)),
        ];
        if sql.tombstone.is_some() {
            // A deletion has to leave its version behind.
            let column = first_value_column(&statement);
            sets.push(format!(
                "{at}.tombstone={}",
                quoted(&format!(
                    "INSERT INTO {table} (id, {column}, version) VALUES (:key, NULL, :version) ON \
                     CONFLICT (id) DO UPDATE SET {column} = NULL, version = excluded.version WHERE \
                     excluded.version > {table}.version"
                ))
            ));
        }
        self.add(4, format!("a version in {table}: {} takes only what is newer", sink.name), sets);
    }

    fn services(&mut self, scenario: &Scenario) {
        for service in &scenario.services {
            if matches!(service.announce, Announce::Outbox(_)) {
                continue;
            }
            let system = scenario.systems.get(usize::from(service.database.0));
            let Some((schema, database)) = schema_of(system).zip(system.map(|it| &it.name)) else {
                continue;
            };
            let to = scenario.topics.get(usize::from(service.to.0)).map_or("", |it| &it.name);
            let schema = schema.trim_end().trim_end_matches(';');
            self.with_note(
                4,
                format!("{} announces through an outbox, and a relay publishes it", service.name),
                vec![
                    format!(
                        "databases.{database}.schema={}",
                        quoted(&format!(
                            "{schema}; CREATE TABLE outbox (sequence INTEGER PRIMARY KEY \
                             AUTOINCREMENT, id INTEGER UNIQUE, key INTEGER, value INTEGER, sent \
                             INTEGER DEFAULT 0);"
                        ))
                    ),
                    format!("services.{}.announce=outbox", service.name),
                    format!(
                        "services.{}.outbox=\"INSERT INTO outbox (id, key, value) VALUES (:id, :key, \
                         :value)\"",
                        service.name
                    ),
                    format!(
                        "relays.relay={{ database = \"{database}\", to = \"{to}\", interval = \
                         \"50ms\", batch = 20, select = \"SELECT sequence, id, key, value FROM \
                         outbox WHERE sent = 0 ORDER BY sequence LIMIT :batch\", mark = \"UPDATE \
                         outbox SET sent = 1 WHERE id = :id\", mark-when = \"after-ack\" }}"
                    ),
                ],
                "an event may then be published twice: its readers need an inbox",
            );
        }
    }

    fn relays(&mut self, scenario: &Scenario) {
        for relay in &scenario.relays {
            let at = format!("relays.{}", relay.name);
            match &relay.kind {
                RelayKind::Poll { mark: Some(mark), .. } if mark.before_ack => self.with_note(
                    3,
                    format!("{} marks rows when the log has them", relay.name),
                    vec![format!("{at}.mark-when=after-ack")],
                    "a row may then be published twice",
                ),
                RelayKind::Poll { .. } if !relay_captures(scenario) => {
                    self.capture(scenario, relay, &at)
                }
                RelayKind::Poll { .. } | RelayKind::Capture { .. } => {}
            }
            if matches!(relay.position, PositionStore::Topic { .. })
                && relay.transactional_id.is_none()
            {
                self.add(
                    3,
                    format!("{} writes records and its position in one transaction", relay.name),
                    vec![
                        format!("{at}.producer.transactional.id={}", relay.name),
                        format!("{at}.producer.transaction.timeout.ms=10000"),
                        format!("{at}.snapshot=false"),
                    ],
                );
            }
        }
    }

    /// The database's log instead of a query over a column.
    fn capture(&mut self, scenario: &Scenario, relay: &oncesim_spec::RelaySpec, at: &str) {
        let system = scenario.systems.get(usize::from(relay.database.0));
        let Some(database) = system.map(|it| &it.name) else { return };
        let to = scenario.topics.get(usize::from(relay.to.0)).map_or("", |it| &it.name);
        self.with_note(
            4,
            format!("{} reads the database's log, in the order of its commits", relay.name),
            vec![
                format!("topics.relay-positions={{ partitions = 1, replication-factor = 3 }}"),
                format!(
                    "{at}={{ database = \"{database}\", to = \"{to}\", interval = \"20ms\", batch = \
                     20, capture = \"outbox\", snapshot = true, position = {{ topic = \
                     \"relay-positions\", flush-interval = \"200ms\" }} }}"
                ),
            ],
            "an event may then be published twice",
        );
    }
}

fn relay_captures(scenario: &Scenario) -> bool {
    scenario.relays.iter().any(|relay| matches!(relay.kind, RelayKind::Capture { .. }))
}

/// What makes a processor commit in transactions.
fn transactional(processor: &ProcessorSpec, consumer: &str) -> Vec<String> {
    let name = &processor.name;
    let mut sets = vec![
        format!("processors.{name}.commit=transaction"),
        format!("processors.{name}.producer.transactional.id=\"{name}-{{instance}}\""),
    ];
    if processor.consumer.isolation == IsolationLevel::ReadUncommitted {
        sets.push(format!("{consumer}.isolation.level=read_committed"));
    }
    sets
}

fn schema_of(system: Option<&SystemSpec>) -> Option<String> {
    match system.map(|it| &it.kind) {
        Some(SystemSpecKind::Database(database)) => Some(database.schema.to_string()),
        _ => None,
    }
}

/// `INSERT INTO t (a, b) VALUES (..) ON CONFLICT (k) DO UPDATE SET b = ..`, with a version: the table
/// and the statement. `None` for any other.
fn with_version(statement: &str) -> Option<(String, String)> {
    let text = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.contains("version") || text.contains(" WHERE ") {
        return None;
    }
    let rest = text.strip_prefix("INSERT INTO ")?;
    let (table, rest) = rest.split_once(" (")?;
    let (columns, rest) = rest.split_once(") VALUES (")?;
    let (values, rest) = rest.split_once(") ON CONFLICT (")?;
    let (key, updates) = rest.split_once(") DO UPDATE SET ")?;
    let statement = format!(
        "INSERT INTO {table} ({columns}, version) VALUES ({values}, :version) ON CONFLICT ({key}) DO \
         UPDATE SET {updates}, version = excluded.version WHERE excluded.version > {table}.version"
    );
    Some((table.to_owned(), statement))
}

/// The second column of an insert.
fn first_value_column(statement: &str) -> &str {
    let columns = statement.split_once(" (").map_or("", |(_, rest)| rest);
    let columns = columns.split_once(')').map_or("", |(columns, _)| columns);
    columns.split(", ").nth(1).unwrap_or("value")
}
