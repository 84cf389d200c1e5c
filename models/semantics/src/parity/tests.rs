//! Against the verdicts of the real checker.

use std::io::Read as _;

use oncesim_history::Name;
use oncesim_history::jepsen::{JepsenHistory, read_json};
use serde_json::Value;

use super::{Case, ParityOptions, ParityVerdict, parity};

const INDEPENDENT: [&str; 2] = ["duplicate", "inconsistent-offsets"];
const CYCLES: [&str; 6] = ["G0", "G0-process", "G0-realtime", "G1c", "G1c-process", "G1c-realtime"];

fn lines() -> Vec<Value> {
    let cases = include_str!("../../tests/oracle/cases.jsonl").to_owned();
    let mut generated = String::new();
    flate2::read::GzDecoder::new(&include_bytes!("../../tests/oracle/generated.jsonl.gz")[..])
        .read_to_string(&mut generated)
        .expect("a gzip file");
    cases
        .lines()
        .chain(generated.lines())
        .map(|line| serde_json::from_str(line).expect("a JSON document"))
        .collect()
}

fn history(line: &Value) -> JepsenHistory {
    let text = serde_json::json!({ "history": line["history"] }).to_string();
    read_json(text.as_bytes(), false).expect("a history").value
}

fn name(value: &Value) -> Name {
    match value {
        Value::Number(n) => Name::Int(n.as_i64().expect("an integer")),
        Value::String(text) => Name::Text(text.as_str().into()),
        other => panic!("no name: {other}"),
    }
}

fn key(value: &Value) -> Name {
    match value {
        Value::String(text) => text.parse().map_or_else(|_| name(value), Name::Int),
        _ => name(value),
    }
}

fn list<T>(value: &Value, of: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().map(|items| items.iter().map(of).collect()).unwrap_or_default()
}

/// What Jepsen says about an error type, as our cases.
fn expected(id: &str, errors: &Value) -> Vec<Case> {
    let int = |value: &Value| value.as_i64().expect("an integer");
    if id == "unseen" {
        let messages = errors["messages"].as_object().expect("messages by key");
        let cases = messages.iter().map(|(k, values)| Case {
            key: Some(key(&Value::from(k.as_str()))),
            values: list(values, name),
            ..Case::default()
        });
        return cases.filter(|case| !case.values.is_empty()).collect();
    }
    let mut cases: Vec<Case> = list(errors, |error| {
        let mut case = Case {
            key: error.get("key").map(key),
            values: list(&error["values"], name),
            ops: list(&error["ops"], int),
            offsets: list(&error["offsets"], int),
            delta: error.get("delta").map(int),
            skipped: list(&error["skipped"], name),
            index: error.get("index").map(int),
            max_read_index: error.get("max-read-index").map(int),
        };
        case.values.extend(error.get("value").map(name));
        case.offsets.extend(error.get("offset").map(int));
        for field in ["writer", "reader", "op"] {
            case.ops.extend(error.get(field).map(int));
        }
        case
    });
    if id == "poll-skip" {
        cases.iter_mut().for_each(|case| case.values.clear());
    }
    cases
}

fn sorted(mut cases: Vec<Case>) -> Vec<Case> {
    cases.iter_mut().for_each(|case| {
        if case.delta.is_none() {
            case.values.sort();
        }
    });
    cases.sort();
    cases
}

fn found(verdict: &ParityVerdict, id: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = verdict
        .anomalies
        .iter()
        .find(|anomaly| anomaly.id == id)
        .map(|anomaly| anomaly.cases.clone())
        .unwrap_or_default();
    if id == "poll-skip" {
        cases.iter_mut().for_each(|case| case.values.clear());
    }
    cases
}

fn compare(line: &Value, ww_deps: bool, mismatches: &mut Vec<String>) {
    let mode = if ww_deps { "ww" } else { "noww" };
    let jepsen = &line["jepsen"][mode];
    let verdict = parity(&history(line), ParityOptions { ww_deps, subscribe: false });
    let id = line["id"].as_str().expect("an id");
    let mut differ = |what: &str, theirs: String, ours: String| {
        mismatches.push(format!("{id} {mode} {what}\n   jepsen {theirs}\n   ours   {ours}"));
    };
    if jepsen.get("exception").is_some() {
        if verdict.thrown.is_none() {
            differ("exception", jepsen["exception"].to_string(), "none".to_owned());
        }
        return;
    }
    if let Some(case) = &verdict.thrown {
        return differ("exception", "none".to_owned(), format!("{case:?}"));
    }
    let types: Vec<&str> = list(&jepsen["error-types"], |t| t.as_str().unwrap_or("").to_owned())
        .iter()
        .map(|t| &*t.clone().leak())
        .collect();
    let unstable = types.contains(&"inconsistent-offsets");
    let mut ids: Vec<&str> =
        types.iter().copied().filter(|t| !t.ends_with("cycle-exists")).collect();
    ids.extend(verdict.anomalies.iter().map(|a| a.id));
    ids.sort_unstable();
    ids.dedup();
    for error in ids {
        if CYCLES.contains(&error) || error == "empty-transaction-graph" {
            let ours = verdict.anomalies.iter().any(|a| a.id == error);
            if ours != types.contains(&error) {
                differ(error, types.contains(&error).to_string(), ours.to_string());
            }
            continue;
        }
        let positional = !INDEPENDENT.contains(&error)
            && !["unseen", "G1a", "precommitted-read"].contains(&error);
        if positional && unstable {
            continue;
        }
        let (mut theirs, mut ours) =
            (expected(error, &jepsen["errors"][error]), found(&verdict, error));
        if error == "precommitted-read" {
            for case in theirs.iter_mut().chain(&mut ours) {
                *case = Case { ops: case.ops.clone(), ..Case::default() };
            }
        }
        let (theirs, ours) = (sorted(theirs), sorted(ours));
        if theirs != ours {
            differ(error, format!("{theirs:?}"), format!("{ours:?}"));
        }
    }
    if !unstable && jepsen["valid"] != verdict.valid {
        differ("valid", jepsen["valid"].to_string(), verdict.valid.to_string());
    }
}

#[test]
fn every_verdict_is_that_of_the_real_checker() {
    let mut mismatches = Vec::new();
    let lines = lines();
    assert_eq!(lines.len(), 255, "cases and generated histories");
    for line in &lines {
        compare(line, true, &mut mismatches);
        compare(line, false, &mut mismatches);
    }
    let shown: Vec<&str> = mismatches.iter().take(12).map(String::as_str).collect();
    assert!(mismatches.is_empty(), "{} mismatches\n{}", mismatches.len(), shown.join("\n"));
}
