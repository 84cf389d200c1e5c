//! Why a run fails, as people read it: golden explanations of ten pitfalls of different families.

use crate::shell::{Folder, root};

/// Each with the part of its text that may not get lost.
const PITFALLS: [(&str, &str); 10] = [
    ("at-least-once/a-lost-acknowledgement-makes-a-retry-a-duplicate", "no sequence number"),
    (
        "at-least-once/acks-1-loses-when-the-leader-dies-before-replication",
        "With acks=1 a leader answers",
    ),
    ("at-most-once/commit-before-processing-loses-on-a-crash", "behind the record"),
    ("groups/exceeding-max-poll-interval-redelivers", "max.poll.interval.ms"),
    ("exactly-once/a-producer-restart-duplicates", "producer id"),
    ("transactions/a-delayed-end-of-transaction-ends-the-next-one", "transaction version 1"),
    ("transactions/a-late-produce-hangs-a-transaction", "last stable offset"),
    ("external/an-upsert-without-a-version-goes-backwards", "last writer wins"),
    ("external/a-plain-insert-doubles-on-redelivery", "without an answer"),
    ("external/marking-before-the-acknowledgement-loses", "without a mark"),
];

/// The text without what differs from machine to machine.
fn stable(text: &str) -> String {
    let moves = |line: &&str| !line.starts_with("explained by ");
    text.lines().filter(moves).map(|line| format!("{line}\n")).collect()
}

#[test]
fn ten_pitfalls_are_explained_as_an_engineer_would() {
    let folder = Folder::new();
    let golden = root().join("sim/cli/tests/explained");
    for (name, part) in PITFALLS {
        let file = format!("scenarios/corpus/{name}.toml");
        let done = folder.oncesim(&["explain", &file, "--budget", "10m"]);
        assert_eq!(done.code, 0, "a pitfall is expected: {}{}", done.out, done.err);
        let stem = name.split_once('/').map_or(name, |(_, stem)| stem);
        let path = golden.join(format!("{stem}.txt"));
        let text = stable(&done.out);
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(&golden).expect("the checkout is writable");
            std::fs::write(&path, &text).expect("the checkout is writable");
        }
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(part), "{part}: {text}");
        let expected = std::fs::read_to_string(&path).expect("there is a golden explanation");
        assert_eq!(text, expected, "{name}: BLESS=1 writes it anew");
    }
}

#[test]
fn the_documentation_shows_a_golden_explanation() {
    let page =
        std::fs::read_to_string(root().join("docs/explain.md")).expect("it is in the checkout");
    let golden = "sim/cli/tests/explained/exceeding-max-poll-interval-redelivers.txt";
    let golden = std::fs::read_to_string(root().join(golden)).expect("it is in the checkout");
    assert!(page.contains(&golden), "docs/explain.md shows another explanation than {golden}");
}

#[test]
fn an_explanation_does_not_depend_on_the_number_of_jobs() {
    let folder = Folder::new();
    let file = format!("scenarios/corpus/{}.toml", PITFALLS[0].0);
    let with = |jobs| {
        let args = ["explain", &file, "--jobs", jobs, "--budget", "10m", "--format", "json"];
        let mut document = folder.oncesim(&args).json();
        document["wall_ms"] = 0.into();
        document
    };
    let one = with("1");
    assert_eq!(one, with("7"));
    assert_eq!(one["anomaly"], "dup-retry");
    assert_eq!(one["faults"][0]["necessary"], true);
    assert_eq!(one["complete"], true);
    assert_eq!(one["unavoidable"]["after"]["failed"], 32);
    let curve = one["curve"].as_array().expect("there is a curve");
    assert!(curve.len() >= 8, "{curve:?}");
    let first = |point: &serde_json::Value| point["without_further_faults"]["failed"].as_u64();
    assert_eq!((first(&curve[0]), first(&curve[curve.len() - 1])), (Some(0), Some(32)));
    let sentences = one["story"].as_array().map_or(0, Vec::len) as u64;
    let paragraphs = one["paragraphs"].as_array().expect("there are paragraphs");
    assert_eq!(paragraphs.len(), 4, "{paragraphs:?}");
    let counted: u64 = paragraphs.iter().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(counted, sentences);
    let changes = one["changes"].as_array().expect("something helps");
    assert!(changes.iter().any(|change| change["holds"] == true), "{one}");
    let times: Vec<u64> = one["chain"]
        .as_array()
        .expect("there is a chain")
        .iter()
        .filter_map(|link| link["virtual_ns"].as_u64())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!((4..=25).contains(&times.len()), "{times:?}");
}

/// The command in a line of a report, as a shell would split it: none of these has quotes.
fn command<'a>(out: &'a str, starts: &str) -> Vec<&'a str> {
    let line = out.lines().find_map(|line| line.trim_start().strip_prefix(starts));
    let line = line.unwrap_or_else(|| panic!("no line starts with {starts}: {out}"));
    assert!(!line.contains('\''), "{line}");
    // What follows a gap says what the command does.
    line.split("  ").next().unwrap_or_default().split(' ').collect()
}

#[test]
fn a_run_that_fails_names_the_command_that_explains_it() {
    let folder = Folder::new();
    let holds =
        "scenarios/corpus/exactly-once/a-retry-older-than-the-five-cached-batches-is-refused.toml";
    let set = "producers.shop.config.enable.idempotence=false";
    let done = folder.oncesim(&["run", holds, "--seed", "3"]);
    assert_eq!(done.code, 0, "{}", done.out);
    assert!(!done.out.contains("why: "), "there is nothing to explain: {}", done.out);
    let done = folder.oncesim(&["run", holds, "--seed", "3", "--set", set]);
    assert_eq!(done.code, 1, "{}", done.out);
    let args = command(&done.out, "why: oncesim ");
    assert_eq!(args, ["explain", holds, "--seed", "3", "--set", set]);
    let explained = folder.oncesim(&args);
    assert_eq!(explained.code, 1, "{}{}", explained.out, explained.err);
    let out = explained.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(out.contains("explained: dup-retry"), "{out}");
    // Changes are made on top of those that were given.
    assert!(out.contains("What prevents it: enable.idempotence=true for shop."), "{out}");
    let again = folder.oncesim(&command(&explained.out, "oncesim "));
    let digest = |out: &str| {
        let line = out.lines().find(|line| line.starts_with("seed 3, digest ")).map(str::to_owned);
        line.and_then(|line| line.split(';').next().map(str::to_owned)).expect("it has a digest")
    };
    assert_eq!(digest(&again.out), digest(&done.out), "{}", again.out);

    let args = ["fuzz", holds, "--seeds", "1", "--set", set];
    let found = folder.oncesim(&args);
    assert_eq!(found.code, 1, "{}", found.out);
    let args = command(&found.out, "oncesim explain ");
    let done = folder.oncesim(&["explain", args[0], "--budget", "10m"]);
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    let replayed = folder.oncesim(&["replay", args[0]]);
    assert_eq!(command(&replayed.out, "why: oncesim explain "), args, "{}", replayed.out);
}

#[test]
fn what_there_was_no_time_for_is_said() {
    let folder = Folder::new();
    let file = "scenarios/corpus/external/a-plain-insert-doubles-on-redelivery.toml";
    let args = ["explain", file, "--seed", "1", "--jobs", "1", "--budget", "1ms"];
    let done = folder.oncesim(&args);
    let words = done.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["These faults struck: ", "Which it needs was not tried.", "ended early: its 1 ms"]
    {
        assert!(words.contains(part), "{part}: {}", done.out);
    }
    assert!(!done.out.contains("not needed"), "nobody knows: {}", done.out);
    let faults = done.out.lines().filter(|line| line.starts_with("! "));
    assert_eq!(faults.count(), 2, "what a fault did belongs to the chain: {}", done.out);
}

#[test]
fn what_cannot_be_explained_is_refused() {
    let folder = Folder::new();
    let holds = "scenarios/corpus/at-least-once/acks-all-survives-leader-crashes.toml";
    let done = folder.oncesim(&["explain", holds, "--seed", "1"]);
    assert_eq!(done.code, 2, "{}", done.out);
    assert!(done.err.contains("does not fail") && done.err.contains("help"), "{}", done.err);
    let done = folder.oncesim(&["explain", holds]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("--seed"), "{}", done.err);
    let done = folder.oncesim(&["explain", "nowhere.toml"]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("nowhere.toml"), "{}", done.err);
}
