//! A campaign as SARIF 2.1.0: anomalies are rules, failures are results in their scenario's file, and
//! regressions that fail again in theirs.

use serde::Serialize;

use crate::model::{Judgement, SummaryView};
use crate::problem::{Failing, Problem, class, failing, meaning};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    invocations: [Invocation; 1],
    results: Vec<Finding>,
    column_kind: &'static str,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: String,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    short_description: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    full_description: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<Text>,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Text,
    locations: [Location; 1],
    partial_fingerprints: Fingerprints,
    properties: Properties,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
}

#[derive(Serialize)]
struct Fingerprints {
    #[serde(rename = "oncesimFailure/v1")]
    failure: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    seeds: Vec<u64>,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_seeds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound95: Option<f64>,
    regression: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<String>,
}

/// All campaigns of one command; `version` is that of the program.
#[must_use]
pub fn sarif_json(summary: &SummaryView, version: &str) -> String {
    let mut rules: Vec<Rule> = Vec::new();
    let mut results: Vec<Finding> = Vec::new();
    for mut failing in failing(summary) {
        for problem in std::mem::take(&mut failing.problems) {
            let rule = rule(&problem);
            let index = rules.iter().position(|known| known.id == rule.id).unwrap_or_else(|| {
                rules.push(rule);
                rules.len() - 1
            });
            results.push(finding(&failing, problem, &rules[index].id, index));
        }
    }
    crate::json::document(&Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool { driver: Driver { name: "oncesim", version: version.to_owned(), rules } },
            invocations: [Invocation { execution_successful: true }],
            results,
            column_kind: "unicodeCodePoints",
        }],
    })
}

/// The rule that a problem breaks: the class of its first anomaly, else what its judgement means.
fn rule(problem: &Problem) -> Rule {
    let text = |text: &str| Text { text: text.to_owned() };
    match class(&problem.id) {
        Some(class) => Rule {
            id: class.id.to_owned(),
            short_description: text(class.meaning),
            full_description: Some(Text {
                text: format!("{} Causes: {}", class.meaning, class.causes),
            }),
            help: Some(text(class.fixes)).filter(|help| !help.text.is_empty()),
        },
        None => Rule {
            id: problem.judgement.name().to_owned(),
            short_description: text(meaning(problem.judgement)),
            full_description: None,
            help: None,
        },
    }
}

fn finding(failing: &Failing<'_>, problem: Problem, rule: &str, index: usize) -> Finding {
    let lines: Vec<&str> =
        problem.story.iter().chain(&problem.replay).map(String::as_str).collect();
    Finding {
        rule_id: rule.to_owned(),
        rule_index: index,
        level: if problem.judgement == Judgement::Vacuous { "warning" } else { "error" },
        message: Text { text: lines.join("\n") },
        locations: [Location {
            physical_location: PhysicalLocation {
                artifact_location: ArtifactLocation { uri: uri(failing.file) },
                region: Region { start_line: 1 },
            },
        }],
        partial_fingerprints: Fingerprints { failure: format!("{}:{}", failing.file, problem.id) },
        properties: Properties {
            seeds: problem.seeds,
            count: problem.count,
            campaign_seeds: failing.campaign.map(|campaign| campaign.seeds),
            bound95: failing.campaign.map(|campaign| campaign.bound_95),
            regression: failing.campaign.is_none(),
            replay: problem.replay,
        },
    }
}

/// A path as a URI reference: relative as it is, absolute as a file; other bytes are encoded.
fn uri(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let mut out = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
