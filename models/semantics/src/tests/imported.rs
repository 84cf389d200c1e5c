//! The checkers on histories that were recorded elsewhere: what Jepsen's checker misses is found,
//! and its false alarms are not raised.

use std::io::Read as _;

use oncesim_history::jepsen::{import, read_json};
use serde_json::Value;

use crate::{Severity, Verdict, check};

/// The histories of the oracle, judged.
fn judged() -> Vec<(Value, Verdict)> {
    let mut text = include_str!("../../tests/oracle/cases.jsonl").to_owned();
    flate2::read::GzDecoder::new(&include_bytes!("../../tests/oracle/generated.jsonl.gz")[..])
        .read_to_string(&mut text)
        .expect("a gzip file");
    text.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).expect("a JSON document");
            let history = read_json(line.as_bytes(), false).expect("a history").value;
            let verdict = check(&import(&history).expect("a small history").history);
            (value, verdict)
        })
        .collect()
}

fn ids(verdict: &Verdict) -> Vec<&'static str> {
    verdict.anomalies.iter().map(crate::Anomaly::id).collect()
}

#[test]
fn every_probe_that_jepsen_misses_is_flagged() {
    let judged = judged();
    for (probe, expected) in [
        ("probe-00", "phantom-record"),
        ("probe-01", "misrouted-record"),
        ("probe-04", "dup-processing"),
        ("probe-05", "unseen"),
        ("probe-06", "unseen"),
        ("probe-07", "unseen"),
        ("probe-08", "unseen"),
        ("probe-09", "failed-write-visible"),
        ("probe-10", "failed-write-visible"),
        ("probe-12", "resume-skip"),
        ("probe-13", "unseen"),
        ("probe-14", "time-travel-read"),
        ("probe-15", "append-realtime-inversion"),
        ("probe-16", "append-realtime-inversion"),
        ("probe-17", "dup-app-resend"),
    ] {
        let (_, verdict) =
            judged.iter().find(|(line, _)| line["id"] == probe).expect("the oracle has this probe");
        assert!(ids(verdict).contains(&expected), "{probe}: {:?}", ids(verdict));
    }
}

#[test]
fn no_false_alarm_of_jepsen_is_raised() {
    for (line, verdict) in judged() {
        let id = line["id"].as_str().expect("an id");
        if ["probe-02", "probe-03", "probe-11"].contains(&id) {
            let found = ids(&verdict);
            assert!(!found.contains(&"unseen"), "{id}: {found:?}");
            assert!(verdict.anomalies.iter().all(|a| a.severity > Severity::Legal), "{found:?}");
        }
    }
}

#[test]
fn histories_without_an_injected_bug_have_no_defect() {
    let mut clean = 0;
    for (line, verdict) in judged() {
        if line["injected_kinds"].as_array().is_some_and(Vec::is_empty) {
            clean += 1;
            let defects: Vec<_> =
                verdict.anomalies.iter().filter(|a| a.severity < Severity::Legal).collect();
            assert!(defects.is_empty(), "{}: {defects:#?}", line["id"]);
        }
    }
    assert!(clean > 20, "some histories are clean: {clean}");
}

#[test]
fn what_jepsen_holds_against_a_log_is_found_as_well() {
    let mut missed = Vec::new();
    for (line, verdict) in judged() {
        let jepsen = line["jepsen"]["noww"]["error-types"].to_string();
        let found = ids(&verdict);
        for (theirs, ours) in [
            ("\"duplicate\"", &["dup-idempotent", "dup-app-resend", "ack-offset-mismatch"][..]),
            ("\"inconsistent-offsets\"", &["inconsistent-offset", "offset-collision-ack"]),
            ("\"lost-write\"", &["lost-write"]),
            ("\"G1a\"", &["failed-write-visible"]),
            ("\"int-poll-skip\"", &["int-poll-skip", "lost-write", "poll-skip"]),
        ] {
            // Jepsen numbers a value by its last copy, so that a duplicate looks like a skip, and
            // does not count what failed operations have read.
            let echo = theirs == "\"int-poll-skip\"" && jepsen.contains("\"duplicate\"")
                || line["id"] == "up-32";
            if !echo && jepsen.contains(theirs) && !ours.iter().any(|id| found.contains(id)) {
                missed.push(format!("{} {theirs}: {found:?}", line["id"]));
            }
        }
    }
    assert!(missed.is_empty(), "{}\n{}", missed.len(), missed.join("\n"));
}
