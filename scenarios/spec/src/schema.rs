//! The JSON Schema of scenarios, for editors: built from the tables that the parser reads with.

mod external;

use oncesim_kafka::config::{
    Property, PropertyKind, broker_properties, consumer_properties, producer_properties,
    topic_properties,
};
use oncesim_kafka::message::ApiKey;
use oncesim_kafka::mutation::Mutation;
use oncesim_types::Operation;
use serde_json::{Map, Value, json};

use crate::anomaly;
use crate::fault::FaultKind;
use crate::parse::{API_ANY, COMMITS, MISTAKES, PROCESSOR_COMMITS, PRODUCER_MISTAKES, RESTARTS};

const DURATION: &str = r"^[0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|min|h)$";

/// The schema of a scenario file.
#[must_use]
pub fn schema() -> Value {
    let mut schema = table(
        "A scenario of oncesim: what runs, under which faults, and what it promises.",
        json!({
            "title": text("One sentence: what this pipeline promises, or which pitfall it shows."),
            "claim": claim(),
            "expect": expect(),
            "cluster": cluster(),
            "topics": map("Topics by name.", topic()),
            "producers": map("Producer applications by name.", producer()),
            "consumers": map("Consumer applications by name.", consumer()),
            "processors": map("Processors by name: consume, transform, produce.", processor()),
            "databases": external::databases(),
            "sinks": external::sinks(),
            "services": external::services(),
            "relays": external::relays(),
            "network": network(),
            "faults": table("Faults that are drawn anew for each seed.", json!({
                "swarm": swarm(),
                "vary": map(
                    "Values that each seed draws, by their dotted paths; as --set would change them.",
                    json!({"type": "array", "minItems": 1}),
                ),
                "walk": boolean("Whether each run takes one of the [[fault]]s, in the order of the seeds."),
            })),
            "fault": {
                "type": "array",
                "description": "Faults that strike in every run.",
                "items": fault(),
            },
            "limits": limits(),
            "mutation": table(
                "A planted bug, for the mutation bank.",
                json!({"plant": words("Which bug.", Mutation::ALL.iter().map(|m| m.id()))}),
            ),
            "replay": replay(),
        }),
    );
    schema["required"] = json!(["title", "topics"]);
    schema["oneOf"] = json!([{"required": ["claim"]}, {"required": ["expect"]}]);
    schema["anyOf"] = json!([{"required": ["producers"]}, {"required": ["services"]}]);
    schema["definitions"] = definitions();
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema
}

#[expect(clippy::needless_pass_by_value, reason = "built by json! in the call")]
fn table(description: &str, properties: Value) -> Value {
    json!({
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn required(mut schema: Value, keys: &[&str]) -> Value {
    schema["required"] = json!(keys);
    schema
}

#[expect(clippy::needless_pass_by_value, reason = "built by json! in the call")]
fn map(description: &str, values: Value) -> Value {
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": values,
        "minProperties": 1,
    })
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn boolean(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

fn integer(description: &str, minimum: i64, maximum: i64) -> Value {
    json!({
        "type": "integer", "description": description, "minimum": minimum, "maximum": maximum,
    })
}

fn duration(description: &str) -> Value {
    json!({"type": "string", "description": description, "pattern": DURATION})
}

fn words<'a>(description: &str, words: impl Iterator<Item = &'a str>) -> Value {
    json!({"type": "string", "description": description, "enum": words.collect::<Vec<_>>()})
}

fn texts(description: &str) -> Value {
    json!({
        "description": description,
        "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    })
}

fn claim() -> Value {
    let levels = ["at-most-once", "at-least-once", "exactly-once"];
    let mut claim = table(
        "What the pipeline promises, per level. A run that breaks it fails.",
        json!({
            "log": words("Producer to topic.", levels.into_iter()),
            "processing": words("Topic to what a consumer does with it.", levels.into_iter()),
            "effect": words("Record to what happens outside of Kafka.", levels.into_iter()),
            "ordering": words("Which order is kept.", ["per-partition", "per-key"].into_iter()),
        }),
    );
    claim["minProperties"] = json!(1);
    claim
}

fn expect() -> Value {
    required(
        table(
            "A pitfall that must be found, or the scenario fails as vacuous.",
            json!({
                "anomaly": words("Which anomaly.", anomaly::ids()),
                "within": integer("Within so many seeds; 500 by default.", 1, 10_000_000),
            }),
        ),
        &["anomaly"],
    )
}

fn cluster() -> Value {
    table(
        "The brokers b1 to bn and the controller.",
        json!({
            "brokers": integer("How many; 3 by default.", 1, 1_000),
            "transaction-version": integer("transaction.version; 2 by default.", 1, 2),
            "properties": text("A server.properties to take over; keys below override it."),
            "config": config(broker_properties()),
        }),
    )
}

fn topic() -> Value {
    table(
        "A topic.",
        json!({
            "partitions": integer("How many; 1 by default.", 1, 10_000),
            "replication-factor": integer("How many; up to 3 by default.", 1, 255),
            "config": config(topic_properties()),
        }),
    )
}

fn producer() -> Value {
    let most = i64::from(u32::MAX);
    let schema = table(
        "A producer application: sends its records one after the other.",
        json!({
            "to": text("The topic."),
            "instances": integer("How many run at the same time; 1 by default.", 1, 1_000),
            "records": integer("How many records each instance sends; 100 by default.", 0, most),
            "keys": integer("How many distinct keys; 0 sends none; 10 by default.", 0, most),
            "record-size": integer("Bytes per record; 100 by default.", 1, 100_000_000),
            "interval": duration("Time from one send() to the next; 1ms by default."),
            "resend-on-error": boolean("Whether the application sends a failed record again."),
            "synchronous": boolean("Whether it waits for each acknowledgement."),
            "on-restart": words(
                "What it does when its process starts again; continue by default.",
                RESTARTS.iter().map(|(name, _)| *name),
            ),
            "tombstones": chance("Chance of a record to have no value; 0 by default."),
            "transactions": transactions(),
            "properties": text("A producer.properties to take over; keys below override it."),
            "config": config(producer_properties()),
        }),
    );
    required(schema, &["to"])
}

fn consumer() -> Value {
    let schema = table(
        "A consumer application: poll, process, commit.",
        json!({
            "from": texts("The topics."),
            "instances": integer("How many run at the same time; 1 by default.", 1, 1_000),
            "group": text("group.id; the name of the consumer by default."),
            "commit": words(
                "When it commits; after-processing by default.",
                COMMITS.iter().map(|(name, _)| *name),
            ),
            "flush-interval": duration("Of `commit = \"connect\"`: time between two commits; 60s by default."),
            "sink": text("What it does outside of Kafka for each record."),
            "processing-time": duration("How long one record takes; 100us by default."),
            "static-membership": boolean("Whether each instance has a group.instance.id."),
            "properties": text("A consumer.properties to take over; keys below override it."),
            "config": config(consumer_properties()),
        }),
    );
    required(schema, &["from"])
}

fn chance(description: &str) -> Value {
    json!({
        "description": description,
        "oneOf": [
            {"type": "number", "minimum": 0, "maximum": 1},
            {"type": "string", "pattern": r"^([0-9]+ in [0-9]+|[0-9]+(\.[0-9]+)?%)$"},
        ],
    })
}

fn mistakes<'a>(words: impl Iterator<Item = &'a str>) -> Value {
    let one = json!({"type": "string", "enum": words.collect::<Vec<_>>()});
    json!({
        "description": "What the application does wrong with its transactions.",
        "oneOf": [one.clone(), {"type": "array", "items": one, "uniqueItems": true}],
    })
}

fn transactions() -> Value {
    table(
        "The producer sends its records in transactions.",
        json!({
            "id": text("transactional.id; NAME-{instance} by default."),
            "size": integer("Records in a transaction; 10 by default.", 1, 1_000_000),
            "abort": chance("Chance of the application to abort one; 0 by default."),
            "hold": duration("From the last send() to the end of the transaction; 0s by default."),
            "transfer-to": text("A second record, with the opposite amount, to this topic."),
            "mistakes": mistakes(PRODUCER_MISTAKES.iter().map(|(name, _)| *name)),
        }),
    )
}

fn transform() -> Value {
    let time = || duration("How long one record takes; 100us by default.");
    let outputs = integer("Outputs to each topic; 1 by default.", 1, 1_000);
    let filter = table(
        "One output for some inputs.",
        json!({"keep": chance("Which part of the inputs."), "time": time()}),
    );
    let aggregate = table(
        "Per key, an aggregate of all inputs so far.",
        json!({"changelog": text("The topic that keeps the store."), "time": time()}),
    );
    let mut forms = table(
        "With settings.",
        json!({
            "map": table("One output.", json!({"time": time()})),
            "fan-out": table("Outputs to each topic.", json!({"outputs": outputs, "time": time()})),
            "filter": required(filter, &["keep"]),
            "aggregate": required(aggregate, &["changelog"]),
        }),
    );
    forms["minProperties"] = json!(1);
    forms["maxProperties"] = json!(1);
    let words = words("Without settings.", ["map", "fan-out"].into_iter());
    json!({"description": "What it makes of a record; map by default.", "oneOf": [words, forms]})
}

fn processor() -> Value {
    let side = |properties: &mut dyn Iterator<Item = &'static Property>, file: &str| {
        let mut side = config(properties);
        side["properties"]["properties"] = text(file);
        side
    };
    let consumer = side(
        &mut consumer_properties(),
        "A consumer.properties to take over; keys beside it override it.",
    );
    let producer = side(
        &mut producer_properties(),
        "A producer.properties to take over; keys beside it override it.",
    );
    let schema = table(
        "A processor: consume, transform, produce.",
        json!({
            "from": texts("The topics that it reads."),
            "to": texts("The topics that it writes."),
            "instances": integer("How many run at the same time; 1 by default.", 1, 1_000),
            "group": text("group.id; the name of the processor by default."),
            "transform": transform(),
            "commit": words("How it commits.", PROCESSOR_COMMITS.iter().map(|(name, _)| *name)),
            "commit-interval": duration("How often at most; after each poll by default."),
            "batch": integer("Records between two commits at most; 500 by default.", 1, 1_000_000),
            "sink": text("What it does outside of Kafka for each record, before it commits."),
            "mistakes": mistakes(MISTAKES.iter().map(|(name, _)| *name)),
            "static-membership": boolean("Whether each instance has a group.instance.id."),
            "consumer": consumer,
            "producer": producer,
        }),
    );
    required(schema, &["from", "to", "commit"])
}

fn latency() -> Value {
    json!({
        "description": "One duration, or min, mean and max.",
        "oneOf": [
            duration("Always the same."),
            table("min, plus an exponential part.", json!({
                "min": duration("The fastest."),
                "mean": duration("The mean."),
                "max": duration("The slowest."),
            })),
        ],
    })
}

fn network() -> Value {
    let link = table(
        "A link with its own latency.",
        json!({
            "between": {
                "type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2,
            },
            "latency": latency(),
        }),
    );
    table(
        "The network.",
        json!({
            "latency": latency(),
            "loss": chance("Chance of each message to be lost together with its connection."),
            "links": {"type": "array", "items": required(link, &["between", "latency"])},
        }),
    )
}

fn swarm() -> Value {
    let kinds = words("A kind of fault.", FaultKind::ALL.iter().map(|kind| kind.name()));
    let schema = table(
        "Each seed draws how many faults, of which kinds, when and on whom.",
        json!({
            "kinds": {"type": "array", "items": kinds, "uniqueItems": true, "minItems": 1},
            "count": integer("How many at most; 5 by default.", 1, 10_000),
            "targets": texts("On whom; anybody that the kind fits by default."),
            "until": duration("Until when they strike; while the workload lasts by default."),
        }),
    );
    required(schema, &["kinds"])
}

fn api() -> Value {
    json!({"$ref": "#/definitions/api"})
}

/// What many faults share.
fn definitions() -> Value {
    let [request, response, both, from, to, nth] = message();
    let which = json!({"oneOf": [api(), object(vec![request, response, both])]});
    let after = object(vec![
        ("sent", which.clone()),
        ("delivered", which),
        from,
        to,
        nth,
        ("delay", duration("How long after that.")),
    ]);
    let operations = Operation::ALL.iter().map(|operation| operation.name());
    let apis = ApiKey::ALL.iter().map(|api| api.name()).chain(operations).chain([API_ANY]);
    json!({"api": words("An API.", apis), "after": after})
}

fn message() -> [(&'static str, Value); 6] {
    [
        ("request", api()),
        ("response", api()),
        ("message", api()),
        ("from", text("The sender: a name, a role or a group of actors.")),
        ("to", text("The receiver: a name, a role or a group of actors.")),
        ("nth", integer("Which of them, from 1; 1 by default.", 1, i64::from(u32::MAX))),
    ]
}

fn fault() -> Value {
    let actor = || ("actor", text("Whom: b1, shop, mailer-0, or a role: leader of orders-0."));
    let lasts = || ("for", duration("For how long."));
    let by = |what| ("by", duration(what));
    let whom = |more: Vec<(&'static str, Value)>| timed([vec![actor()], more].concat());
    let named = |key, what| (key, text(what));
    let message = |more: Vec<(&'static str, Value)>| object([message().to_vec(), more].concat());
    let signed = json!({"type": "string", "description": "How far: 5s, -5s."});
    let kinds = json!({
        "drop": message(vec![]),
        "delay": message(vec![by("How much longer it and all behind it take.")]),
        "duplicate": message(vec![by("How much later the copy arrives; 1ms by default.")]),
        "crash": whom(vec![lasts()]),
        "power-failure": whom(vec![lasts()]),
        "pause": whom(vec![lasts()]),
        "application-pause": whom(vec![lasts()]),
        "partition": timed(vec![
            ("from", texts("One side.")),
            ("to", texts("The other; everybody else by default.")),
            ("one-way", boolean("Only messages from `from` to `to` are held.")),
            lasts(),
        ]),
        "clog": timed(vec![
            named("from", "One end."),
            named("to", "The other."),
            by("How much longer each message takes."),
            lasts(),
        ]),
        "leader-change": timed(vec![
            named("partition", "Which: orders-0."),
            named("to", "To whom; another in-sync replica by default."),
        ]),
        "unclean-election": timed(vec![named("partition", "Which: orders-0.")]),
        "coordinator-move": timed(vec![
            named("group", "Whose coordinator."),
            named("transaction", "Or whose transaction coordinator: an id, or who has it."),
        ]),
        "rebalance": whom(vec![]),
        "controller-failover": timed(vec![lasts()]),
        "clock-jump": whom(vec![("by", signed)]),
        "clock-skew": whom(vec![
            ("ppm", integer("Millionths too fast.", -1_000_000, 1_000_000)), lasts(),
        ]),
        "disk-full": whom(vec![lasts()]),
        "lost-flush": whom(vec![lasts()]),
        "sink-errors": whom(vec![lasts()]),
        "deadlock": whom(vec![lasts()]),
        "slow-sink": whom(vec![("extra", duration("How much later each reply comes.")), lasts()]),
        "unknown-commit": whom(vec![lasts()]),
    });
    let mut fault = table("One fault.", kinds);
    fault["minProperties"] = json!(1);
    fault["maxProperties"] = json!(1);
    fault
}

fn object(fields: Vec<(&'static str, Value)>) -> Value {
    let properties: Map<String, Value> =
        fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// A fault that strikes at a time or after a message.
fn timed(mut fields: Vec<(&'static str, Value)>) -> Value {
    fields.push(("at", duration("When, from the start of the run.")));
    fields.push(("after", json!({"$ref": "#/definitions/after"})));
    let mut schema = object(fields);
    schema["oneOf"] = json!([{"required": ["at"]}, {"required": ["after"]}]);
    schema
}

fn limits() -> Value {
    table(
        "Bounds of a run.",
        json!({
            "events": integer("Events of the kernel; 20000000 by default.", 1, i64::MAX),
            "liveness": duration("Time after the last heal until all has settled."),
            "duration": duration("Time of the fault phase, at most."),
        }),
    )
}

fn replay() -> Value {
    let seed = json!({"oneOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]});
    table(
        "The run that a counterexample reproduces; written by oncesim.",
        json!({
            "version": text("The version that wrote it."),
            "seed": seed,
            "digest": text("The digest of the run."),
            "scenario": text("The scenario that it came from."),
            "fingerprint": text("The anomalies of the run."),
        }),
    )
}

/// Kafka's names as nested objects, as TOML reads them: `enable = { idempotence = .. }`.
fn config(properties: impl Iterator<Item = &'static Property>) -> Value {
    let mut root = json!({
        "type": "object",
        "description": "Kafka's own properties.",
        "properties": {},
    });
    for property in properties {
        let mut at = &mut root;
        for part in property.name.split('.') {
            if at.get("properties").is_none() {
                at["properties"] = json!({});
            }
            at = &mut at["properties"][part];
        }
        let longer = at.get("properties").cloned();
        *at = kafka_property(property);
        if let Some(longer) = longer {
            // A value here, and a table of longer names.
            at["properties"] = longer;
            at["type"] = json!(["object", "string", "number", "boolean"]);
        }
    }
    root
}

fn kafka_property(property: &Property) -> Value {
    let mut description = property.doc.to_owned();
    if !property.default.is_empty() {
        description.push_str(&format!(" Default: {}.", property.default));
    }
    if !property.modelled {
        description.push_str(" Not modelled: no effect here.");
    }
    let mut schema = match property.kind {
        PropertyKind::Bool => json!({"type": ["boolean", "string"]}),
        PropertyKind::Int { min, max }
        | PropertyKind::Millis { min, max }
        | PropertyKind::Bytes { min, max } => {
            json!({"type": ["integer", "string"], "minimum": min, "maximum": max})
        }
        PropertyKind::Enum(words) => {
            let numbers = words.iter().filter_map(|word| word.parse::<i64>().ok());
            let all: Vec<Value> =
                words.iter().map(|word| json!(word)).chain(numbers.map(|n| json!(n))).collect();
            json!({"enum": all})
        }
        PropertyKind::List => json!({"type": ["string", "array"]}),
        PropertyKind::Text => json!({"type": ["string", "number", "boolean"]}),
    };
    schema["description"] = json!(description.trim());
    schema
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn path() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("scenario.schema.json")
    }

    fn printed() -> String {
        serde_json::to_string_pretty(&schema()).unwrap() + "\n"
    }

    #[test]
    fn the_committed_schema_is_current() {
        let committed = std::fs::read_to_string(path()).unwrap();
        assert!(
            committed == printed(),
            "run `cargo test -p oncesim-spec --lib schema -- --ignored` and commit the result"
        );
    }

    #[test]
    #[ignore = "writes the schema"]
    fn bless() {
        std::fs::write(path(), printed()).unwrap();
    }

    /// Looks a path of keys up in the schema.
    fn at<'a>(schema: &'a Value, keys: &[&str]) -> &'a Value {
        keys.iter().fold(schema, |at, key| match at["properties"].get(*key) {
            Some(inner) => inner,
            None => &at["additionalProperties"],
        })
    }

    #[test]
    fn kafka_properties_are_nested_as_toml_reads_them() {
        let schema = schema();
        let idempotence = at(&schema, &["producers", "shop", "config", "enable", "idempotence"]);
        assert_eq!(idempotence["type"], json!(["boolean", "string"]));
        let acks = at(&schema, &["producers", "shop", "config", "acks"]);
        assert!(acks["enum"].as_array().unwrap().contains(&json!(1)), "{acks}");
        // A name that is also the beginning of another is both a value and a table.
        for property in producer_properties().chain(consumer_properties()) {
            let side = if producer_properties().any(|p| p.name == property.name) {
                "producers"
            } else {
                "consumers"
            };
            let mut keys = vec![side, "x", "config"];
            keys.extend(property.name.split('.'));
            let found = at(&schema, &keys);
            assert!(found["description"].is_string(), "{} is {found}", property.name);
        }
    }

    #[test]
    fn the_schema_knows_every_fault_that_the_parser_knows() {
        let schema = schema();
        let faults = schema["properties"]["fault"]["items"]["properties"].as_object().unwrap();
        let mut known: Vec<_> = faults.keys().map(String::as_str).collect();
        let mut read = crate::parse::KINDS.to_vec();
        known.sort_unstable();
        read.sort_unstable();
        assert_eq!(known, read);
    }
}
