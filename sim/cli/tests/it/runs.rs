//! The contract of commands that run something: exit codes, JSON, counterexamples, interruption.

use serde_json::Value;

use crate::shell::{Done, Folder};

/// A claim that holds ...
const HOLDS: &str =
    "scenarios/corpus/exactly-once/a-retry-older-than-the-five-cached-batches-is-refused.toml";
/// ... and what breaks it.
const BREAK: &str = "producers.shop.config.enable.idempotence=false";
/// A scenario that expects an anomaly.
const EXPECTS: &str =
    "scenarios/corpus/at-least-once/a-lost-acknowledgement-makes-a-retry-a-duplicate.toml";

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// A campaign that finds violations, and the file of the first, as it was found.
fn violated(folder: &Folder) -> (Value, String) {
    let args = ["fuzz", HOLDS, "--seeds", "40", "--set", BREAK, "--no-shrink", "--format", "json"];
    let done = folder.oncesim(&args);
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    let found = done.json();
    let file = found["scenarios"][0]["anomalies"][0]["counterexample"].as_str();
    let file = file.expect("a counterexample was written").to_owned();
    (found, file)
}

#[test]
fn a_run_is_one_document_of_the_documented_shape() {
    let done = Folder::new().oncesim(&["run", EXPECTS, "--seed", "1", "--format", "json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let run = done.json();
    let mut expected = [
        "schema",
        "scenario",
        "seed",
        "digest",
        "virtual_ms",
        "wall_ms",
        "events",
        "outcome",
        "guarantees",
        "anomalies",
        "faults",
    ];
    expected.sort_unstable();
    assert_eq!(keys(&run), expected);
    assert_eq!(run["schema"], 1);
    assert_eq!(run["seed"], 1);
    for level in ["log", "processing", "effect"] {
        for guarantee in ["at-most-once", "at-least-once", "exactly-once"] {
            let holds = run["guarantees"][level][guarantee].as_str().expect("a word");
            assert!(["holds", "violated", "unknown"].contains(&holds), "{holds}");
        }
    }
    let anomaly = &run["anomalies"][0];
    assert_eq!(keys(anomaly), ["count", "id", "level", "witness"]);
    assert!(anomaly["witness"]["sentence"].as_str().is_some_and(|text| text.len() > 10));
}

#[test]
fn a_run_tells_a_person_the_world_the_verdict_and_how_to_see_it_again() {
    let folder = Folder::new();
    let done = folder.oncesim(&["run", EXPECTS, "--seed", "1"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.is_empty(), "{}", done.err);
    for part in ["world", "faults (virtual time)", "at-most-once", "dup-retry", "  > "] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    let last: Vec<&str> = done.out.lines().rev().take(2).collect();
    let again = last[1].strip_prefix("again: oncesim run ").expect("a command to paste");
    assert_eq!(last[0], format!("why: oncesim explain {again}"));
    let again: Vec<&str> = std::iter::once("run").chain(again.split(' ')).collect();
    let digest = |done: &Done| {
        let at = done.out.find("digest ").expect("the digest is shown");
        done.out[at + 7..].split(';').next().map(str::to_owned)
    };
    assert_eq!(digest(&folder.oncesim(&again)), digest(&done));
}

#[test]
fn a_commit_is_a_seed_and_so_is_its_abbreviation() {
    let folder = Folder::new();
    let digest = |seed: &str| {
        folder.oncesim(&["run", HOLDS, "--seed", seed, "--format", "json"]).json()["digest"].clone()
    };
    let whole = digest("4fc39be38e0fc2e1eb0cf516ed0ab77d2787d136");
    assert_eq!(whole, digest("4fc39be"));
    assert_ne!(whole, digest("5fc39be"));
}

#[test]
fn a_campaign_is_one_document_of_the_documented_shape() {
    let folder = Folder::new();
    let (found, file) = violated(&folder);
    assert_eq!(keys(&found), ["coverage", "scenarios", "schema"]);
    let scenario = &found["scenarios"][0];
    for key in ["scenario", "seeds", "outcome", "anomalies", "runs_per_s", "bound_95"] {
        assert!(!scenario[key].is_null(), "{key}: {scenario}");
    }
    assert_eq!(scenario["outcome"], "violated");
    assert_eq!(scenario["seeds"], 40);
    for key in ["id", "seeds", "counterexample"] {
        assert!(!scenario["anomalies"][0][key].is_null(), "{key}: {scenario}");
    }
    assert!(file.starts_with("reports/out/"), "{file}");
    assert!(folder.path(&file).is_file());
}

#[test]
fn a_counterexample_is_the_same_run_again() {
    let folder = Folder::new();
    let (found, file) = violated(&folder);
    let seed = &found["scenarios"][0]["anomalies"][0]["seeds"][0];
    let done = folder.oncesim(&["replay", &file]);
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    assert!(done.out.contains("this is the same run"), "{}", done.out);
    let seed = seed.as_u64().expect("a seed").to_string();
    let args = ["run", HOLDS, "--seed", &seed, "--set", BREAK, "--format", "json"];
    let drawn = folder.oncesim(&args).json();
    let replayed = folder.oncesim(&["replay", &file, "--format", "json"]).json();
    assert_eq!(drawn["digest"], replayed["digest"]);
    assert_eq!(drawn["anomalies"], replayed["anomalies"]);
    let with_seed = folder.oncesim(&["replay", &file, "--seed", "7"]);
    assert_eq!(with_seed.code, 2, "a counterexample has its own seed");
}

#[test]
fn an_edited_counterexample_is_another_run_and_another_version_is_refused() {
    let folder = Folder::new();
    let (_, file) = violated(&folder);
    let text = std::fs::read_to_string(folder.path(&file)).expect("it was written");
    let line = |key: &str| {
        text.lines().find(|line| line.starts_with(key)).expect("[replay] says it").to_owned()
    };
    let other = format!("digest = \"{}\"", "0".repeat(32));
    folder.write("edited.toml", &text.replace(&line("digest = "), &other));
    let done = folder.oncesim(&["replay", "edited.toml"]);
    assert_eq!(done.code, 4, "{}{}", done.out, done.err);
    assert!(done.out.contains("another run"), "{}", done.out);
    folder.write("newer.toml", &text.replace(&line("version = "), "version = \"99.0.0\""));
    let done = folder.oncesim(&["replay", "newer.toml"]);
    assert_eq!(done.code, 2, "{}{}", done.out, done.err);
    assert!(done.err.contains("99.0.0"), "{}", done.err);
    assert!(done.out.is_empty());
}

#[test]
fn an_expected_anomaly_is_found_or_the_campaign_is_vacuous() {
    let folder = Folder::new();
    let done = folder.oncesim(&["fuzz", EXPECTS]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(done.out.starts_with("found"), "{}", done.out);
    let never = ["--set", "expect.anomaly=mutated-record", "--set", "expect.within=4"];
    let done = folder.oncesim(&[&["fuzz", EXPECTS][..], &never].concat());
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    assert!(done.out.starts_with("not found"), "{}", done.out);
    let done = folder.oncesim(&[&["run", EXPECTS][..], &never].concat());
    assert_eq!(done.code, 0, "one seed cannot say that an anomaly is never found");
    assert!(done.out.contains("does not show mutated-record"), "{}", done.out);
}

#[test]
fn a_claim_that_held_says_what_that_is_worth() {
    let done = Folder::new().oncesim(&["fuzz", HOLDS, "--seeds", "30"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let bound =
        "0 violations in 30 seeds: at most 9.5 % of seeds break this claim (95 % confidence)";
    assert!(done.out.contains(bound), "{}", done.out);
    assert!(done.out.contains("seeds 0 to 29"), "{}", done.out);
    assert!(done.out.contains("1 of 1 scenario as claimed"), "{}", done.out);
    assert!(done.err.is_empty(), "no progress line in a pipe: {}", done.err);
}

#[test]
fn a_used_up_budget_of_events_is_not_live_and_says_what_was_left() {
    let folder = Folder::new();
    let done = folder.oncesim(&["run", HOLDS, "--set", "limits.events=50"]);
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    assert!(done.out.contains("limits.events") && done.out.contains("shop"), "{}", done.out);
    let done = folder.oncesim(&["fuzz", HOLDS, "--seeds", "4", "--set", "limits.events=50"]);
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    assert!(done.out.contains("every one of 4 seeds fails"), "{}", done.out);
    assert!(done.out.contains("limits.events"), "{}", done.out);
}

#[test]
fn a_fault_that_never_strikes_proves_nothing() {
    let folder = Folder::new();
    let never = ["--set", "fault.0.duplicate.nth=99999"];
    for command in [&["run", HOLDS][..], &["fuzz", HOLDS, "--seeds", "4"]] {
        let done = folder.oncesim(&[command, &never].concat());
        assert_eq!(done.code, 5, "{}{}", done.out, done.err);
        assert!(done.out.contains("never struck"), "{}", done.out);
    }
}

#[test]
fn shards_share_the_seeds() {
    let folder = Folder::new();
    let seeds = |shard: &str| {
        let args = ["fuzz", HOLDS, "--seeds", "10", "--shard", shard, "--format", "json"];
        folder.oncesim(&args).json()["scenarios"][0]["seeds"].as_u64().expect("a count")
    };
    assert_eq!(seeds("1/3") + seeds("2/3") + seeds("3/3"), 10);
}

#[test]
fn a_budget_ends_a_campaign() {
    let began = std::time::Instant::now();
    let args = ["fuzz", HOLDS, "--budget", "500ms", "--format", "json"];
    let done = Folder::new().oncesim(&args);
    assert_eq!(done.code, 0, "{}", done.err);
    let seeds = done.json()["scenarios"][0]["seeds"].as_u64().expect("a count");
    assert!(seeds > 0);
    assert!(began.elapsed().as_secs() < 60, "it ended soon after its budget");
}

#[test]
fn an_interrupt_keeps_what_was_found() {
    let folder = Folder::new();
    let args = ["fuzz", HOLDS, "--seeds", "100000000", "--set", BREAK];
    let child = folder
        .command(&args)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("oncesim starts");
    std::thread::sleep(std::time::Duration::from_secs(2));
    let pid = child.id().to_string();
    let killed = std::process::Command::new("kill").args(["-INT", &pid]).status();
    assert!(killed.expect("kill starts").success());
    let output = child.wait_with_output().expect("oncesim ends");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("ended early") && out.contains("oncesim replay"), "{out}");
    let files = std::fs::read_dir(folder.path("reports/out")).expect("it was made");
    assert!(files.count() > 0, "the counterexamples are there");
}

#[test]
fn a_trace_is_shown_whole_or_in_part() {
    let folder = Folder::new();
    let trace = |args: &[&str]| {
        folder.oncesim(&[&["run", EXPECTS, "--seed", "1", "--trace"][..], args].concat())
    };
    let whole = trace(&[]);
    assert_eq!(whole.code, 0, "{}", whole.err);
    for part in ["shop", "o--> a message arrives", "times are virtual", "sends shop #0"] {
        assert!(whole.out.contains(part), "{part}: {}", whole.out);
    }
    assert!(!whole.out.contains('\u{1b}'), "no colour in a pipe");
    assert_eq!(whole.out, trace(&[]).out, "the same run, the same trace");
    let record = trace(&["--record", "shop#0"]).out;
    assert!(record.contains("send of shop #0") && record.contains("append"), "{record}");
    assert!(record.lines().count() < whole.out.lines().count());
    assert_eq!(record, trace(&["--record", "shop #0"]).out, "as reports write it");
    assert!(record.contains("Produce p0") && record.contains("Produce answered"), "{record}");
    let lines = |text: &str| text.lines().count();
    let partition = trace(&["--partition", "orders-0"]).out;
    assert!(partition.contains("leads orders-0") && lines(&partition) < lines(&whole.out));
    let both = trace(&["--partition", "orders-0", "--record", "shop#0", "--actor", "b1"]).out;
    assert!(lines(&both) <= lines(&record) && both.contains("shop"), "{both}");
    let actor = trace(&["--actor", "shop"]).out;
    assert!(actor.lines().count() < whole.out.lines().count());
    for around in ["1", "0.1s", "100ms"] {
        let part = trace(&["--around", around]);
        assert_eq!(part.code, 0, "{around}: {}", part.err);
        assert!(part.out.lines().count() <= 41 * 2 + 4, "{around}: {}", part.out);
        assert!(part.out.lines().any(|line| line.starts_with("> ")), "{around}: {}", part.out);
    }
    for (args, what) in [
        (&["--actor", "nobody"][..], "one of"),
        (&["--record", "shop"], "shop#7"),
        (&["--record", "nobody#1"], "one of"),
        (&["--record", "shop#1099511627775"], "no event concerns"),
        (&["--record", "shop#99999999999999999"], "shop#7"),
        (&["--txn", "nobody"], "leave --txn out"),
        (&["--partition", "orders-99"], "orders-0"),
        (&["--around", "4000000000"], "events go from 0"),
        (&["--around", "1h"], "0.25s"),
        (&["--around", "-1s"], "--around"),
        (&["--format", "json"], "--trace"),
    ] {
        let done = trace(args);
        assert_eq!(done.code, 2, "{args:?}: {}", done.err);
        assert!(done.err.contains(what) && done.out.is_empty(), "{args:?}: {}", done.err);
    }
    let alone = folder.oncesim(&["run", EXPECTS, "--actor", "shop"]);
    assert_eq!(alone.code, 2, "{}", alone.err);
    assert!(alone.err.contains("--trace"), "{}", alone.err);
}

#[test]
fn a_trace_of_a_transactional_id_is_its_requests_states_records_and_markers() {
    let folder = Folder::new();
    let scenario = "scenarios/corpus/exactly-once/orders-to-invoices.toml";
    let args = ["run", scenario, "--seed", "3", "--trace", "--txn", "billing-0"];
    let text = folder.oncesim(&args).out;
    for part in ["InitProducerId billing-0", "EndTxn ok", "Ongoing", "WriteTxnMarkers", "marker"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("billing-1:"), "another id's states");
}

#[test]
fn a_replay_shows_its_trace_as_well() {
    let folder = Folder::new();
    let (_, file) = violated(&folder);
    let done = folder.oncesim(&["replay", &file, "--trace", "--actor", "shop"]);
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    assert!(done.out.contains("o--> a message arrives"), "{}", done.out);
    assert!(done.err.contains("this is the same run"), "{}", done.err);
}
