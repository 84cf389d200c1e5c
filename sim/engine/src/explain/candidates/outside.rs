//! What lies outside of Kafka: sinks, services that announce what they commit, relays.

use oncesim_spec::{
    Announce, DedupPlacement, IdempotencyKey, PositionStore, RelayKind, Scenario, SinkKind,
    SinkSpec, SinkTransaction, SqlSink, SystemSpec, SystemSpecKind,
};

use super::{Table, quoted};

impl Table {
    pub(super) fn sinks(&mut self, scenario: &Scenario) {
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
                            "Each record then has one key of its own, the same at every attempt: a \
                     repetition is recognised, and nothing else is taken for one.",
                            vec![format!("{at}.idempotency-key=per-record")],
                        );
                    }
                    if let Some(SystemSpecKind::Api(api)) = system.map(|it| &it.kind)
                        && api.key_ttl.is_some()
                    {
                        self.add(
                            2,
                            format!("{} remembers idempotency keys for a day", sink.name),
                            "The key is then still known when the request comes again.",
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
                "Its statements are then committed together or not at all.",
                vec![format!("{at}.transaction=per-record")],
            );
        }
        // What overwrites needs a version more than it needs a mark: it repeats without harm.
        if sql.overwrites {
            self.versioned(sink, sql, system, &at);
        }
        match &sql.dedup {
            Some(dedup) => {
                let kind = if dedup.inbox { "inbox" } else { "dedup" };
                if dedup.placement != DedupPlacement::SameTransaction {
                    self.add(
                        3,
                        format!("the mark in the transaction of the effect at {}", sink.name),
                        "The mark is then there exactly when the effect is.",
                        vec![format!("{at}.{kind}.when=same-transaction")],
                    );
                }
                if dedup.evict.is_some() {
                    self.with_note(
                        2,
                        format!("{} keeps its marks for a day", sink.name),
                        "The mark is then still there when the record comes again.",
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
        if !sql.overwrites {
            self.versioned(sink, sql, system, &at);
        }
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
            "Mark and effect are then committed together: a record that comes again \
                     finds its mark, and changes nothing.",
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
            "A member that was replaced can then no longer move the offsets that \
                     its successor has taken over.",
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
        self.add(
            4,
            format!("a version in {table}: {} takes only what is newer", sink.name),
            "An older record then finds a newer version in the row, and changes nothing.",
            sets,
        );
    }

    pub(super) fn services(&mut self, scenario: &Scenario) {
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
                    "The row and its announcement are then one commit, and the relay sends \
                     what is in the table until the log has it.",
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

    pub(super) fn relays(&mut self, scenario: &Scenario) {
        for relay in &scenario.relays {
            let at = format!("relays.{}", relay.name);
            match &relay.kind {
                RelayKind::Poll { mark: Some(mark), .. } if mark.before_ack => self.with_note(
                    3,
                    format!("{} marks rows when the log has them", relay.name),
                    "A row then stays without a mark until the log has its record, so \
                     whoever comes next sends it again.",
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
                    "Records and position are then committed together or aborted together.",
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
                    "That log has every commit, in the order of the commits: there is no \
                     cursor that could pass one.",
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
