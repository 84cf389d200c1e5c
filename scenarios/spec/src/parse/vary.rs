//! `vary` in `[faults]`: values that each seed draws, as `--set` would change them.
//!
//! Every combination is read as a scenario of its own, so that no seed can draw one that Kafka would
//! refuse.

use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, DiagnosticLevel, Diagnostics, Place};
use crate::fault::Setting;
use crate::id;
use crate::node::{Entry, Node, Value};
use crate::scenario::{Scenario, Variant};
use crate::section::{Section, wrong_type};

/// Combinations of values that a scenario may have.
const MOST: usize = 64;

/// What cannot be another thing in another seed: what is promised, and the faults themselves.
const FIXED: [&str; 6] = ["title", "claim", "expect", "faults", "fault", "mutation"];

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

/// Every combination as a scenario; `None` after a complaint.
pub(super) fn variants(
    scenario: &Scenario,
    base_dir: Option<&Path>,
    varied: &[Varied],
    out: &mut Diagnostics,
) -> Option<Vec<Variant>> {
    if varied.is_empty() {
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
    for settings in combinations(varied) {
        match variant(scenario, base_dir, &settings) {
            Ok(scenario) => variants.push(Variant { settings, scenario }),
            Err(complaint) => {
                let words: Vec<String> =
                    settings.iter().map(|it| format!("{}={}", it.path, it.value)).collect();
                let message = format!("{} do not go together: {complaint}", words.join(", "));
                out.push(Diagnostic::error(id::BAD_VARIATION, message).at(varied[0].place));
                out.sort();
                return None;
            }
        }
    }
    Some(variants)
}

fn combinations(varied: &[Varied]) -> Vec<Vec<Setting>> {
    let mut all = vec![Vec::new()];
    for it in varied {
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
