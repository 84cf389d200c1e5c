//! The contract of `--perfetto` and `--shiviz`: whole files that their readers take, and nothing else
//! changes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::shell::Folder;

const SCENARIO: &str = "scenarios/corpus/exactly-once/orders-to-invoices.toml";

fn read(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_run_can_be_seen_elsewhere() {
    let folder = Folder::new();
    let run = |more: &[&str]| {
        folder.oncesim(&[&["run", SCENARIO, "--seed", "3", "--format", "json"], more].concat())
    };
    let done = run(&["--perfetto", "run.json", "--shiviz", "run.log"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(done.json()["digest"], run(&[]).json()["digest"], "looking changes nothing");
    let trace: Value = serde_json::from_str(&read(&folder, "run.json")).expect("it is JSON");
    let entries = trace["traceEvents"].as_array().expect("entries");
    let of = |ph: &str| entries.iter().filter(|entry| entry["ph"] == ph).count();
    assert!(of("s") > 1_000 && of("s") == of("f"), "{} begin, {} end", of("s"), of("f"));
    for (ph, category) in
        [("X", "leadership"), ("X", "transaction"), ("X", "group"), ("C", "offset"), ("i", "fault")]
    {
        let there = entries.iter().any(|entry| entry["ph"] == ph && entry["cat"] == category);
        assert!(there, "{category}");
    }
    let log = read(&folder, "run.log");
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for line in log.lines().skip(3).step_by(2) {
        let (host, clock) = line.split_once(' ').expect("a host and its clock");
        let clock: BTreeMap<String, u64> = serde_json::from_str(clock).expect("a clock");
        let count = counts.entry(host).or_default();
        *count += 1;
        assert_eq!(clock.get(host), Some(&*count), "{line}");
    }
    assert!(counts.len() > 5 && counts.contains_key("billing-0"), "{counts:?}");
    assert!(!counts.contains_key("billing-0-producer"), "a client is a part of its process");
    let (perfetto, shiviz) = (read(&folder, "run.json"), log.clone());
    run(&["--perfetto", "run.json", "--shiviz", "run.log", "--trace", "--format", "text"]);
    assert_eq!((perfetto, shiviz), (read(&folder, "run.json"), read(&folder, "run.log")));
}

#[test]
fn a_place_that_takes_no_file_is_refused_before_anything_runs() {
    let folder = Folder::new();
    folder.write("file", "in the way");
    for option in ["--perfetto", "--shiviz", "--html", "--history"] {
        for place in ["scenarios", "file/out", "missing/out", "/dev/null", "/dev/full", "..", ""] {
            let done = folder.oncesim(&["run", SCENARIO, option, place]);
            assert_eq!(done.code, 2, "{option} {place}: {}", done.err);
            assert!(
                done.err.contains(option) && done.out.is_empty(),
                "{option} {place}: {}",
                done.err
            );
        }
    }
    let done = folder.oncesim(&["run", SCENARIO, "--perfetto", "same", "--shiviz", "./same"]);
    assert_eq!(done.code, 2, "{}", done.err);
    assert!(done.err.contains("--perfetto and --shiviz a file each"), "{}", done.err);
    assert!(!folder.path("same").exists());
}
