//! From a failure to a small one, and to a regression.

use std::path::Path;

use crate::shell::Folder;

/// A claim that holds ...
const HOLDS: &str =
    "scenarios/corpus/exactly-once/a-retry-older-than-the-five-cached-batches-is-refused.toml";
/// ... and what breaks it.
const BREAK: &str = "producers.shop.config.enable.idempotence=false";
/// A scenario that expects an anomaly.
const EXPECTS: &str = "scenarios/corpus/at-least-once/an-unclean-election-loses.toml";

/// Its own copy of the broken scenario, and regressions beside it.
fn broken(folder: &Folder) -> &'static str {
    let text = std::fs::read_to_string(folder.path(HOLDS)).expect("it is in the corpus");
    let (from, to) = ("config.enable.idempotence = true", "config.enable.idempotence = false");
    assert!(text.contains(from));
    std::fs::create_dir_all(folder.path("mine/regressions")).expect("a folder can be made");
    folder.write("mine/broken.toml", &text.replace(from, to));
    "mine/broken.toml"
}

fn regressions(folder: &Folder) -> Vec<String> {
    let names = std::fs::read_dir(folder.path("mine/regressions")).expect("it was made");
    names
        .map(|name| name.expect("it is readable").file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_counterexample_becomes_smaller_and_fails_in_the_same_way() {
    let folder = Folder::new();
    let args = ["fuzz", HOLDS, "--seeds", "2", "--set", BREAK, "--no-shrink", "--format", "json"];
    let found = folder.oncesim(&args).json();
    let failure = &found["scenarios"][0]["anomalies"][0];
    assert!(failure["shrunk"].is_null());
    let file = failure["counterexample"].as_str().expect("it was written");
    let done = folder.oncesim(&["shrink", file]);
    assert_eq!(done.code, 1, "what it shows is a violation: {}{}", done.out, done.err);
    assert!(done.err.is_empty(), "no progress line in a pipe: {}", done.err);
    for part in ["shrunk  dup-retry", "faults 2 -> 1, records 300 -> 1", "runs in"] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    let small = file.replace(".toml", "-shrunk.toml");
    let text = std::fs::read_to_string(folder.path(&small)).expect("it is beside the other");
    assert!(text.contains("# Shrunk by oncesim.\n# dup-retry\n#\n# No record should"), "{text}");
    assert!(text.contains("# One fault opened the window"), "{text}");
    assert!(text.contains("records = 1\n"), "{text}");
    let replayed = folder.oncesim(&["replay", &small]);
    assert_eq!(replayed.code, 1, "{}", replayed.out);
    assert!(replayed.out.contains("this is the same run"), "{}", replayed.out);
    let run = folder.oncesim(&["run", &small, "--seed", "0", "--format", "json"]).json();
    assert_eq!(run["anomalies"][0]["id"], "dup-retry");
    assert_eq!(run["outcome"], "violated");
    // What is small stays as it is.
    let again = folder.oncesim(&["shrink", &small, "--out", "again.toml", "--jobs", "7"]);
    assert!(again.out.contains("faults 1 -> 1\n"), "{}", again.out);
    let again = std::fs::read_to_string(folder.path("again.toml")).expect("it was written");
    assert_eq!(again.matches("# Shrunk by oncesim").count(), 1);
}

#[test]
fn the_file_of_a_shrunk_pitfall_tells_its_story() {
    let folder = Folder::new();
    let args = ["shrink", EXPECTS, "--seed", "1", "--out", "small.toml", "--jobs", "1"];
    let done = folder.oncesim(&args);
    assert_eq!(done.code, 0, "a pitfall is expected: {}{}", done.out, done.err);
    let one = std::fs::read_to_string(folder.path("small.toml")).expect("it was written");
    let args = ["shrink", EXPECTS, "--seed", "1", "--out", "small.toml", "--jobs", "5"];
    assert_eq!(folder.oncesim(&args).code, 0);
    let five = std::fs::read_to_string(folder.path("small.toml")).expect("it was written");
    assert_eq!(one, five, "the file does not depend on the number of jobs");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/shrunk.golden");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&golden, &one).expect("the checkout is writable");
    }
    let expected = std::fs::read_to_string(&golden).expect("it is beside this file");
    // How many runs it took and which digest came out may change with the model.
    let stable = |text: &str| -> Vec<String> {
        let moves = |line: &&str| !line.starts_with("digest") && !line.starts_with('#');
        text.lines().filter(moves).map(str::to_owned).collect()
    };
    assert_eq!(stable(&one), stable(&expected), "BLESS=1 writes it anew");
    let comment: Vec<&str> = one.lines().take_while(|line| line.starts_with('#')).collect();
    assert!(comment.iter().skip(1).all(|line| line.len() <= 100), "{comment:#?}");
    let story = comment.iter().flat_map(|line| line[1..].split_whitespace());
    let story = story.collect::<Vec<_>>().join(" ");
    for part in [
        "lost-write-final What a producer was told is stored should stay stored. Here shop #0",
        "unclean.leader.election.enable let the controller elect",
        "It took two faults together",
        "Without either of them this does not happen.",
        "seed 1: faults 2 -> 2",
    ] {
        assert!(story.contains(part), "{part}: {one}");
    }
    assert!(!story.contains("too late"), "nothing is tried for a comment: {one}");
}

#[test]
fn what_does_not_fail_is_not_shrunk() {
    let folder = Folder::new();
    let done = folder.oncesim(&["shrink", HOLDS, "--seed", "1", "--out", "small.toml"]);
    assert_eq!(done.code, 2, "{}", done.out);
    assert!(done.err.contains("does not fail"), "{}", done.err);
    assert!(!folder.path("small.toml").exists());
    let done = folder.oncesim(&["shrink", HOLDS]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("--seed"), "{}", done.err);
    let done = folder.oncesim(&["shrink", EXPECTS, "--seed", "1", "--out", "/proc/nowhere/x.toml"]);
    assert_eq!(done.code, 2, "{}", done.out);
}

#[test]
fn fuzz_shrinks_what_it_finds_and_keeps_regressions() {
    let folder = Folder::new();
    let scenario = broken(&folder);
    let fuzz = |seeds: &[&str]| {
        let args = ["fuzz", "mine", "--out", "mine/regressions", "--format", "json"];
        folder.oncesim(&[&args[..], seeds].concat())
    };
    let done = fuzz(&["--seeds", "4"]);
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    let found = done.json();
    assert!(found["regressions"].is_null(), "there were none: {found}");
    let shrunk = &found["scenarios"][0]["anomalies"][0]["shrunk"];
    assert_eq!(shrunk["sizes"]["faults"]["after"], 1, "{found}");
    assert_eq!(shrunk["sizes"]["records"]["before"], 300);
    assert!(shrunk["ended_early"].is_null());
    let files = regressions(&folder);
    assert_eq!(files.len(), 1, "{files:?}");

    // Other seeds, the same fingerprint: no second file.
    let done = fuzz(&["--seeds", "4", "--from", "100"]);
    assert_eq!(done.code, 1);
    let found = done.json();
    assert_eq!(found["regressions"][0]["state"], "fails", "{found}");
    assert_eq!(found["scenarios"].as_array().map(Vec::len), Some(1), "a regression is replayed");
    let file = found["scenarios"][0]["anomalies"][0]["counterexample"].as_str();
    assert_eq!(file, found["regressions"][0]["file"].as_str());
    assert_eq!(regressions(&folder), files);

    // A scenario that is named alone has the regressions beside it, and no others.
    let alone = folder.oncesim(&["fuzz", scenario, "--seeds", "4", "--format", "json"]).json();
    assert_eq!(alone["regressions"][0]["state"], "fails", "{alone}");
    assert_eq!(alone["scenarios"][0]["anomalies"][0]["counterexample"].as_str(), file);

    // The scenario's own repair, in the regression.
    let kept = format!("mine/regressions/{}", files[0]);
    let text = std::fs::read_to_string(folder.path(&kept)).expect("it was written");
    let repaired = text.replace("enable.idempotence = false", "enable.idempotence = true");
    folder.write(&kept, &repaired);
    std::fs::remove_file(folder.path(scenario)).expect("it is there");
    let done = folder.oncesim(&["fuzz", "mine"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(done.out.contains("0 fail, 1 no longer"), "{}", done.out);
    assert!(done.out.contains(&format!("no longer fails  {kept}")), "{}", done.out);
}
