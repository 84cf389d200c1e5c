//! `vary` in `[faults]`: values that each seed draws, as `--set` would change them; and the networks
//! of a scenario that draws faults and says nothing about its network.
//!
//! A configuration is what a scenario is about, so none of its values is another one in some seed
//! unless the scenario says so. The network is its surroundings: a promise has to hold on a fast one
//! and on a slow one.
//!
//! Every combination is read as a scenario of its own, so that no seed can draw one that Kafka would
//! refuse.

use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, DiagnosticLevel, Diagnostics, Place};
use crate::fault::Setting;
use crate::id;
use crate::node::{Entry, Node, Table, Value};
use crate::scenario::{Scenario, Variant};
use crate::section::{Section, wrong_type};

/// Combinations of values that a scenario may have.
const MOST: usize = 64;

/// What cannot be another thing in another seed: what is promised, and the faults themselves.
const FIXED: [&str; 6] = ["title", "claim", "expect", "faults", "fault", "mutation"];

/// Mean latencies that seeds draw beside the default one, if the network is open.
const NETWORK: (&str, [&str; 2]) = ("network.latency.mean", ["300us", "6ms"]);

/// One path, and the values that it may have.
#[derive(Debug, Clone)]
pub(super) struct Varied {
    path: String,
    place: Place,
    values: Vec<(String, Place)>,
}

/// The paths and values, as far as they can be read.
pub(super) fn read(entry: &Entry, out: &mut Diagnostics) -> Vec<Varied> {
    let Some(section) = Section::of(entry, "`vary`", out) else { return Vec::new() };
    let varied: Vec<Varied> = section.entries().iter().filter_map(|it| path(it, out)).collect();
    let combinations: usize = varied.iter().map(|it| it.values.len().max(1)).product();
    if combinations > MOST {
        let message = format!("{combinations} combinations of values are too many");
        out.push(
            Diagnostic::error(id::BAD_VARIATION, message)
                .at(entry.key_place)
                .help(format!("at most {MOST}: vary fewer paths, or give them fewer values")),
        );
    }
    varied
}

fn path(entry: &Entry, out: &mut Diagnostics) -> Option<Varied> {
    let place = entry.key_place;
    let first = entry.key.split('.').next().unwrap_or_default();
    if FIXED.contains(&first) {
        let message = format!("`{}` is the same in every seed", entry.key);
        out.push(
            Diagnostic::error(id::BAD_VARIATION, message)
                .at(place)
                .help("vary the network, the configuration, the workload"),
        );
        return None;
    }
    let Value::Array(nodes) = &entry.node.value else {
        if matches!(entry.node.value, Value::Table(_)) {
            out.push(
                Diagnostic::error(id::BAD_VARIATION, "a path to vary is one key")
                    .at(place)
                    .help("write it in quotes: \"network.latency.mean\" = [\"1ms\", \"5ms\"]"),
            );
        } else {
            wrong_type(&entry.node, &entry.key, "an array of values", out);
        }
        return None;
    };
    let values: Vec<_> = nodes.iter().filter_map(|node| value(node, &entry.key, out)).collect();
    if nodes.is_empty() {
        out.push(
            Diagnostic::error(id::BAD_VARIATION, format!("`{}` has no values", entry.key))
                .at(entry.node.place)
                .help("name the values that seeds draw from"),
        );
    }
    Some(Varied { path: entry.key.clone(), place, values })
}

fn value(node: &Node, path: &str, out: &mut Diagnostics) -> Option<(String, Place)> {
    let text = match &node.value {
        Value::Array(_) => None,
        _ => node.as_property(),
    };
    if text.is_none() {
        wrong_type(node, path, "an array of strings, numbers, true or false", out);
    }
    text.map(|text| (text, node.place))
}

/// What seeds draw of a scenario's world.
#[derive(Debug, Clone)]
pub(super) struct Varies {
    values: Vec<Varied>,
    /// Whether the network, too: neither the scenario nor what it varies says anything of it.
    network: bool,
}

impl Varies {
    /// Whether seeds draw the scenario as it stands, too.
    pub(super) fn nothing(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn new(values: Vec<Varied>, root: &Table, scenario: &Scenario) -> Varies {
        let said = |it: &Varied| it.path.split('.').next() == Some("network");
        let said = root.get("network").is_some() || values.iter().any(said);
        Varies { values, network: scenario.swarm.is_some() && !said }
    }
}

/// Every combination as a scenario; `None` after a complaint.
pub(super) fn variants(
    scenario: &Scenario,
    base_dir: Option<&Path>,
    varies: &Varies,
    out: &mut Diagnostics,
) -> Option<Vec<Variant>> {
    let varied = &varies.values;
    if varied.is_empty() && !varies.network {
        return Some(Vec::new());
    }
    // Each value alone first: what is wrong with it is said at its place.
    let mut sound = true;
    for it in varied {
        for (value, place) in &it.values {
            let settings = [Setting { path: it.path.clone(), value: value.clone() }];
            if let Err(complaint) = variant(scenario, base_dir, &settings) {
                let message = format!("`{}` cannot be `{value}`: {complaint}", it.path);
                out.push(Diagnostic::error(id::BAD_VARIATION, message).at(*place));
                sound = false;
            }
        }
    }
    if !sound {
        out.sort();
        return None;
    }
    let mut variants = Vec::new();
    // The scenario as it stands is no variant of itself.
    for settings in combinations(varies).into_iter().filter(|settings| !settings.is_empty()) {
        match variant(scenario, base_dir, &settings) {
            Ok(scenario) => variants.push(Variant { settings, scenario }),
            Err(complaint) => {
                let words: Vec<String> =
                    settings.iter().map(|it| format!("{}={}", it.path, it.value)).collect();
                let message = format!("{} do not go together: {complaint}", words.join(", "));
                let mut diagnostic = Diagnostic::error(id::BAD_VARIATION, message);
                if let Some(first) = varied.first() {
                    diagnostic = diagnostic.at(first.place);
                }
                out.push(diagnostic);
                out.sort();
                return None;
            }
        }
    }
    Some(variants)
}

fn combinations(varies: &Varies) -> Vec<Vec<Setting>> {
    let mut all = vec![Vec::new()];
    if varies.network {
        let (path, means) = NETWORK;
        let mean = |mean: &str| vec![Setting { path: path.to_owned(), value: mean.to_owned() }];
        all.extend(means.map(mean));
    }
    for it in &varies.values {
        let longer = |settings: &Vec<Setting>| {
            let each = it.values.iter().map(|(value, _)| {
                let mut settings = settings.clone();
                settings.push(Setting { path: it.path.clone(), value: value.clone() });
                settings
            });
            each.collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// The scenario with other values, or what is wrong with it.
fn variant(
    scenario: &Scenario,
    base_dir: Option<&Path>,
    settings: &[Setting],
) -> Result<Arc<Scenario>, String> {
    let sets: Vec<(String, String)> =
        settings.iter().map(|it| (it.path.clone(), it.value.clone())).collect();
    let mut out = Diagnostics::default();
    match super::one(&scenario.path, &scenario.source, base_dir, &sets, &mut out) {
        Ok((scenario, ..)) => Ok(Arc::new(scenario)),
        Err(complaints) => {
            let mut items = complaints.items().iter();
            let first = items.find(|item| item.level == DiagnosticLevel::Error);
            Err(first.map_or_else(String::new, |item| item.message.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    fn settings(faults: &str) -> Vec<String> {
        let text = format!(
            "title = \"Open or not\"\nclaim = {{ log = \"at-least-once\" }}\n\
             topics.orders = {{ partitions = 1 }}\nproducers.shop = {{ to = \"orders\" }}\n{faults}"
        );
        let scenario = parse("open.toml", &text, None).expect("it is valid").scenario;
        let words = |it: &crate::Variant| {
            assert_eq!(scenario.brokers, it.scenario.brokers);
            let each = it.settings.iter().map(|it| format!("{}={}", it.path, it.value));
            each.collect::<Vec<_>>().join(" ")
        };
        scenario.variants.iter().map(words).collect()
    }

    #[test]
    fn a_network_is_drawn_where_nothing_is_said_of_it() {
        let swarm = "faults.swarm = { kinds = [\"crash\"] }\n";
        let drawn = ["network.latency.mean=300us", "network.latency.mean=6ms"];
        assert_eq!(settings(swarm), drawn, "beside the one that it has");
        let fixed = format!("{swarm}network.latency = \"1ms\"\n");
        assert!(settings(&fixed).is_empty());
        let lossy = format!("{swarm}network.loss = \"1 in 100\"\n");
        assert!(settings(&lossy).is_empty(), "who writes of the network means it as it stands");
        assert!(settings("").is_empty(), "nothing is drawn without a swarm");
    }

    #[test]
    fn values_that_vary_and_networks_go_together() {
        let swarm = "faults.swarm = { kinds = [\"crash\"] }\n";
        let linger = "faults.vary = { \"producers.shop.config.linger.ms\" = [0, 20] }\n";
        let both = settings(&format!("{swarm}{linger}"));
        assert_eq!(both.len(), 6);
        assert_eq!(both[0], "producers.shop.config.linger.ms=0");
        assert_eq!(both[5], "network.latency.mean=6ms producers.shop.config.linger.ms=20");
        let network = "faults.vary = { \"network.latency.mean\" = [\"2ms\", \"5ms\"] }\n";
        let own = settings(&format!("{swarm}{network}"));
        assert_eq!(own, ["network.latency.mean=2ms", "network.latency.mean=5ms"]);
        assert_eq!(settings(linger).len(), 2, "without a swarm, what varies alone");
    }
}
