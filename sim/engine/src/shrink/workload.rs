//! Workload: whole applications and topics, then how many of everything.

use std::sync::Arc;

use oncesim_spec::{
    Counterexample, FaultPlan, PlannedFault, Scenario, parse_with, without, write_counterexample,
};

use super::Shrinker;
use super::numbers::{self, names};

/// One way to make a scenario smaller.
#[derive(Debug, Clone)]
enum Cut {
    /// A table goes.
    Table { section: &'static str, name: String },
    /// A count gets a smaller value. Faults on what is no longer there move to the last that is.
    Count { path: String, value: u64, numbered: Option<String> },
}

/// A count of a scenario.
struct Count {
    path: String,
    value: u64,
    /// The name of what is counted, if faults name it with a number: `mailer-1`, `orders-2`.
    numbered: Option<String>,
}

impl Shrinker<'_> {
    /// Makes the workload smaller. Whether anything went.
    pub(super) fn shrink_workload(&mut self) -> bool {
        let mut smaller = false;
        while self.cut(&tables(&self.current.0)) {
            smaller = true;
        }
        let paths: Vec<String> =
            counts(&self.current.0).into_iter().map(|count| count.path).collect();
        for path in paths {
            loop {
                let count = counts(&self.current.0).into_iter().find(|count| count.path == path);
                let Some(Count { path, value, numbered }) = count else { break };
                let cuts: Vec<Cut> = numbers::smaller_counts(value)
                    .into_iter()
                    .map(|value| Cut::Count {
                        path: path.clone(),
                        value,
                        numbered: numbered.clone(),
                    })
                    .collect();
                if !self.cut(&cuts) {
                    break;
                }
                smaller = true;
            }
        }
        smaller
    }

    fn cut(&mut self, cuts: &[Cut]) -> bool {
        let scenario = Arc::clone(&self.current.0);
        let candidates: Vec<_> = cuts.iter().filter_map(|cut| apply(&scenario, cut)).collect();
        self.take_first(&candidates).is_some()
    }
}

/// The tables that may go.
fn tables(scenario: &Scenario) -> Vec<Cut> {
    let consumers = scenario.consumers.iter().map(|spec| ("consumers", &spec.name));
    let processors = scenario.processors.iter().map(|spec| ("processors", &spec.name));
    let producers = scenario.producers.iter().map(|spec| ("producers", &spec.name));
    let services = scenario.services.iter().map(|spec| ("services", &spec.name));
    let relays = scenario.relays.iter().map(|spec| ("relays", &spec.name));
    // Those of sinks go with their sinks.
    let databases = scenario.systems.iter().map(|spec| ("databases", &spec.name));
    let sinks = scenario.sinks.iter().map(|sink| ("sinks", &sink.name));
    let topics = scenario.topics.iter().filter(|topic| !topic.config.is_internal());
    let topics = topics.map(|topic| ("topics", &topic.name));
    consumers
        .chain(processors)
        .chain(producers)
        .chain(services)
        .chain(relays)
        .chain(sinks)
        .chain(databases)
        .chain(topics)
        .map(|(section, name)| Cut::Table { section, name: name.clone() })
        .collect()
}

/// The counts that may become smaller.
fn counts(scenario: &Scenario) -> Vec<Count> {
    let mut counts = Vec::new();
    let mut add = |section: &str, name: &str, key: &str, value: u64, numbered: bool| {
        let path = format!("{section}.\"{name}\".{key}");
        counts.push(Count { path, value, numbered: numbered.then(|| name.to_owned()) });
    };
    for spec in &scenario.producers {
        add("producers", &spec.name, "instances", spec.instances.into(), true);
        add("producers", &spec.name, "records", spec.records, false);
        add("producers", &spec.name, "keys", spec.keys.into(), false);
    }
    for spec in &scenario.consumers {
        add("consumers", &spec.name, "instances", spec.instances.into(), true);
    }
    for spec in &scenario.processors {
        add("processors", &spec.name, "instances", spec.instances.into(), true);
    }
    for spec in &scenario.services {
        add("services", &spec.name, "instances", spec.instances.into(), true);
        add("services", &spec.name, "records", spec.records, false);
        add("services", &spec.name, "keys", spec.keys.into(), false);
    }
    for spec in &scenario.relays {
        add("relays", &spec.name, "instances", spec.instances.into(), true);
    }
    for topic in scenario.topics.iter().filter(|topic| !topic.config.is_internal()) {
        add("topics", &topic.name, "partitions", topic.config.partitions.into(), true);
    }
    let brokers = u64::from(scenario.brokers);
    counts.push(Count { path: "cluster.brokers".to_owned(), value: brokers, numbered: None });
    counts
}

/// The smaller scenario, if it is one that could have been written.
fn apply(scenario: &Scenario, cut: &Cut) -> Option<Arc<Scenario>> {
    let mut faults = scenario.scripted.clone();
    if let Cut::Count { value, numbered: Some(name), .. } = cut {
        faults.iter_mut().for_each(|fault| renumber(fault, name, *value));
    }
    // The whole text, faults included, so that the parser also refuses faults on what is gone.
    let text = write_counterexample(&Counterexample {
        scenario,
        plan: &FaultPlan::from(faults),
        seed: 0,
        digest: "",
        fingerprint: "",
    });
    let (text, sets) = match cut {
        Cut::Table { section, name } => {
            let text = without(&text, section, name)?;
            let sinks = only_sinks_of(scenario, section, name);
            let text = sinks.iter().try_fold(text, |text, sink| without(&text, "sinks", sink))?;
            (text, Vec::new())
        }
        Cut::Count { path, value, .. } => (text, vec![(path.clone(), value.to_string())]),
    };
    let smaller = parse_with(&scenario.path, &text, None, &sets).ok()?.scenario;
    Some(Arc::new(smaller))
}

/// The sinks that nobody else uses: they go with their user.
fn only_sinks_of<'s>(scenario: &'s Scenario, section: &str, name: &str) -> Vec<&'s String> {
    let consumers = scenario.consumers.iter().map(|spec| ("consumers", &spec.name, spec.sink));
    let processors = scenario.processors.iter().map(|spec| ("processors", &spec.name, spec.sink));
    let users: Vec<_> = consumers.chain(processors).collect();
    let is_own = |user: &(&str, &String, _)| user.0 == section && user.1 == name;
    let sinks = scenario.sinks.iter().filter(|sink| {
        let mut users = users.iter().filter(|(_, _, used)| *used == Some(sink.id)).peekable();
        users.peek().is_some() && users.all(is_own)
    });
    sinks.map(|sink| &sink.name).collect()
}

/// `mailer-3` becomes `mailer-1` when two are left.
fn renumber(fault: &mut PlannedFault, name: &str, left: u64) {
    for reference in names(fault) {
        let Some((stem, number)) = reference.rsplit_once('-') else { continue };
        let meant = stem == name || stem.ends_with(&format!(" of {name}"));
        if meant && number.parse().is_ok_and(|number: u64| number >= left) {
            *reference = format!("{stem}-{}", left - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = r#"
title = "Everything that may become smaller outside of Kafka"
expect = { anomaly = "effect-lost" }
topics.orders = { partitions = 1 }

[databases.store]
schema = "CREATE TABLE orders(id INTEGER PRIMARY KEY, key, value)"

[services.ordering]
instances = 3
database = "store"
to = "orders"
records = 40
keys = 8
statement = "INSERT INTO orders(id, key, value) VALUES (:id, :key, :value)"
announce = "log-first"

[services.other]
database = "store"
to = "orders"
statement = "INSERT INTO orders(id) VALUES (:id)"
announce = "log-first"

[relays.stream]
database = "store"
to = "orders"
capture = "orders"
position = "memory"

[consumers.mailer]
from = "orders"
sink = "mails"

[sinks.mails]
api = { key-ttl = "1h" }

[consumers.auditor]
from = "orders"

[[fault]]
pause = { actor = "ordering-2", at = "1s", for = "1s" }
"#;

    fn scenario() -> Scenario {
        let parsed = parse_with("outside.toml", SCENARIO, None, &[]);
        parsed.unwrap_or_else(|errors| panic!("{}", errors.render(false))).scenario
    }

    #[test]
    fn services_have_counts() {
        let scenario = scenario();
        let counted: Vec<_> = counts(&scenario)
            .into_iter()
            .filter(|count| count.path.starts_with("services.\"ordering\""))
            .map(|count| (count.path, count.value))
            .collect();
        let path = |key: &str| format!("services.\"ordering\".{key}");
        assert_eq!(counted, [(path("instances"), 3), (path("records"), 40), (path("keys"), 8)]);
        let cut =
            Cut::Count { path: path("instances"), value: 2, numbered: Some("ordering".to_owned()) };
        let smaller = apply(&scenario, &cut).expect("two are enough");
        assert_eq!(smaller.services[0].instances, 2);
        assert!(smaller.source.contains("ordering-1") && !smaller.source.contains("ordering-2"));
    }

    #[test]
    fn a_consumer_goes_with_its_sink() {
        let scenario = scenario();
        let table = |section, name: &str| Cut::Table { section, name: name.to_owned() };
        let smaller = apply(&scenario, &table("consumers", "mailer")).expect("nobody needs it");
        assert!(smaller.sinks.is_empty() && !smaller.source.contains("mails"));
        assert_eq!(smaller.systems.len(), 1);
        // What is in use stays.
        assert!(apply(&scenario, &table("databases", "store")).is_none());
        let smaller = apply(&scenario, &table("services", "other")).expect("there is another");
        assert_eq!(smaller.services.len(), 1);
        let smaller = apply(&scenario, &table("relays", "stream")).expect("nobody needs it");
        assert!(smaller.relays.is_empty());
    }
}
