//! The schema of what lies outside of Kafka.

use oncesim_kafka::config::producer_properties;
use serde_json::{Value, json};

use super::{boolean, chance, config, duration, integer, map, required, table, text, texts, words};
use crate::parse::{
    ANNOUNCE, DEDUP_PLACEMENTS, IDEMPOTENCY_KEYS, MARK_WHEN, ON_UNKNOWN, TRANSACTIONS,
};

const MOST: i64 = u32::MAX as i64;

pub(super) fn databases() -> Value {
    let database = table(
        "A SQL database (SQLite's dialect).",
        json!({
            "schema": sql("Its schema."),
            "service-time": service_time(),
            "client-timeout": client_timeout(),
            "lock-timeout": lock_timeout(),
            "idle-timeout": idle_timeout(),
        }),
    );
    map("Databases that several use, by name.", required(database, &["schema"]))
}

fn sql(description: &str) -> Value {
    text(&format!("{description} SQL, or the path of a .sql file."))
}

fn service_time() -> Value {
    duration("How long it works on a request; 200us by default.")
}

fn client_timeout() -> Value {
    duration("How long its clients wait for an answer; 2s by default.")
}

fn lock_timeout() -> Value {
    duration("How long a statement waits for another transaction; 5s by default.")
}

fn idle_timeout() -> Value {
    duration("How long a session may do nothing inside of a transaction; 30s by default.")
}

pub(super) fn sinks() -> Value {
    let mut sink = table(
        "What an application does outside of Kafka for each record: exactly one of sqlite, api and \
         two-phase.",
        json!({
            "sqlite": sqlite(),
            "api": api(),
            "two-phase": table("A sink that prepares and commits.", json!({
                "prepared-timeout": duration("How long it keeps what is prepared; for ever by default."),
            })),
            "retry-after": duration("Time until a request is made again; 100ms by default."),
            "retries": integer("How often at most; 10 by default.", 0, MOST),
            "on-unknown": words(
                "What an unknown outcome is taken for; retry by default.",
                ON_UNKNOWN.iter().map(|(name, _)| *name),
            ),
            "service-time": service_time(),
            "client-timeout": client_timeout(),
            "lock-timeout": lock_timeout(),
            "idle-timeout": idle_timeout(),
        }),
    );
    let kinds = ["sqlite", "api", "two-phase"].map(|kind| json!({"required": [kind]}));
    sink["oneOf"] = json!(kinds);
    map("Sinks by name.", sink)
}

fn sqlite() -> Value {
    let dedup = |what| {
        let dedup = table(
            what,
            json!({
                "check": sql("Returns a row if the record was seen."),
                "mark": sql("Remembers the record."),
                "when": words(
                    "As against the effect; same-transaction by default.",
                    DEDUP_PLACEMENTS.iter().map(|(name, _)| *name),
                ),
                "window": duration("For how long; for ever by default."),
                "evict": sql("Forgets what is older: :horizon."),
            }),
        );
        required(dedup, &["mark"])
    };
    let offsets = table(
        "Offsets in the transaction of the effects.",
        json!({
            "read": sql("Returns the offset to go on from, for :partition."),
            "write": sql("Stores :next for :partition."),
            "fenced": boolean("Whether a write that changes no row rolls back; true by default."),
        }),
    );
    let mut schema = table(
        "Statements of a database.",
        json!({
            "schema": sql("The schema of a database of its own."),
            "database": text("Or the name of a shared one."),
            "statement": texts("The effect: SQL or a .sql file, or a list of steps."),
            "tombstone": sql("For a record without a value."),
            "read": sql("A query before the effect: its first column is :read."),
            "transaction": words(
                "What goes into one transaction; per-record by default.",
                TRANSACTIONS.iter().map(|(name, _)| *name),
            ),
            "dedup": dedup("A table of records that were seen."),
            "inbox": dedup("The same, for relayed events."),
            "offsets": required(offsets, &["read", "write"]),
        }),
    );
    schema["oneOf"] = json!([{"required": ["schema"]}, {"required": ["database"]}]);
    required(schema, &["statement"])
}

fn api() -> Value {
    table(
        "Requests to an API.",
        json!({
            "idempotency-key": words(
                "What is sent as idempotency key; per-record by default.",
                IDEMPOTENCY_KEYS.iter().map(|(name, _)| *name),
            ),
            "key-ttl": duration("How long the API remembers a key; for ever by default."),
            "rejects-other-payload": boolean(
                "Whether a key with another payload is refused; true by default.",
            ),
            "token": boolean("Whether the group's generation is sent as fencing token."),
            "checks-token": boolean("Whether the API refuses a token that is too old."),
        }),
    )
}

pub(super) fn services() -> Value {
    let service = table(
        "A service: business rows in a database, events in the log.",
        json!({
            "instances": integer("How many run at the same time; 1 by default.", 1, 1_000),
            "database": text("Its database."),
            "to": text("The topic of its events."),
            "records": integer("How many operations each instance begins; 100 by default.", 0, MOST),
            "keys": integer("How many distinct keys; 10 by default.", 1, MOST),
            "interval": duration("Time from one operation to the next; 5ms by default."),
            "hold": duration("Work inside of the transaction, before its first statement; 0s by default."),
            "abort": chance("Chance of an operation to be rolled back; 0 by default."),
            "tombstones": chance("Chance of an operation to be a deletion; 0 by default."),
            "statement": texts("Its rows: SQL or a .sql file, or a list."),
            "announce": words("How it tells the log.", ANNOUNCE.iter().map(|(name, _)| *name)),
            "outbox": sql("Writes the row of the outbox."),
            "properties": text("A producer.properties to take over; keys below override it."),
            "config": config(producer_properties()),
        }),
    );
    map("Services by name.", required(service, &["database", "to", "statement", "announce"]))
}

pub(super) fn relays() -> Value {
    let mut producer = config(producer_properties());
    producer["properties"]["properties"] =
        text("A producer.properties to take over; keys beside it override it.");
    let mut relay = table(
        "A relay: what a database holds, into the log.",
        json!({
            "instances": integer("How many run at the same time; 1 by default.", 1, 1_000),
            "database": text("The database."),
            "to": text("The topic."),
            "interval": duration("Time from one round to the next; 100ms by default."),
            "batch": integer("Rows of one round at most; 50 by default.", 1, 1_000_000),
            "select": sql("A poller's query: columns id, key, value, sequence."),
            "mark": sql("Marks or deletes a row that was published."),
            "mark-when": words("When; after-ack by default.", MARK_WHEN.iter().map(|(name, _)| *name)),
            "capture": text("Or the table whose changes are captured."),
            "snapshot": boolean("Whether the first start begins with a snapshot; true by default."),
            "position": position(),
            "stores-before-ack": boolean("Whether a position is stored before the events are acknowledged."),
            "producer": producer,
        }),
    );
    relay["oneOf"] = json!([{"required": ["select"]}, {"required": ["capture"]}]);
    map("Relays by name.", required(relay, &["database", "to"]))
}

fn position() -> Value {
    let database = table(
        "In the database.",
        json!({"read": sql("Reads the cursor."), "write": sql("Writes :cursor.")}),
    );
    let mut stored = table(
        "Stored.",
        json!({
            "database": required(database, &["read", "write"]),
            "topic": text("In a topic of its own."),
            "flush-interval": duration("Time between two positions at most; 60s by default."),
        }),
    );
    stored["oneOf"] = json!([{"required": ["database"]}, {"required": ["topic"]}]);
    json!({
        "description": "Where it keeps its position.",
        "oneOf": [{"type": "string", "enum": ["memory"]}, stored],
    })
}
