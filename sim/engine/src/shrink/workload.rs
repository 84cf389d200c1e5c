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
    let topics = scenario.topics.iter().filter(|topic| !topic.config.is_internal());
    let topics = topics.map(|topic| ("topics", &topic.name));
    consumers
        .chain(processors)
        .chain(producers)
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
        plan: &FaultPlan { faults },
        seed: 0,
        digest: "",
        fingerprint: "",
    });
    let (text, sets) = match cut {
        Cut::Table { section, name } => (without(&text, section, name)?, Vec::new()),
        Cut::Count { path, value, .. } => (text, vec![(path.clone(), value.to_string())]),
    };
    let smaller = parse_with(&scenario.path, &text, None, &sets).ok()?.scenario;
    Some(Arc::new(smaller))
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
