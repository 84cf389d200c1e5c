//! Campaigns on several machines, and campaigns that were killed: the same result as one machine
//! that was left alone.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::shell::{Done, Folder};

/// A claim that holds, one that is broken, and a pitfall that has to be found.
const HOLDS: &str =
    "scenarios/corpus/exactly-once/a-retry-older-than-the-five-cached-batches-is-refused.toml";
const FINDS: &str =
    "scenarios/corpus/at-least-once/a-lost-acknowledgement-makes-a-retry-a-duplicate.toml";
const BREAK: &str = "producers.shop.config.enable.idempotence=false";

/// A claim that drawn faults break, if producers are not idempotent: there is something to learn.
const LEARNS: &str = r#"
title = "A producer under drawn faults"
claim = { log = "exactly-once" }
cluster = { brokers = 3 }
topics.orders = { partitions = 2, replication-factor = 3 }
producers.shop = { to = "orders", records = 20, keys = 4, interval = "3ms" }

[faults]
swarm = { kinds = ["ack-loss", "delay", "leader-change", "crash", "pause", "clog"], count = 4 }
vary = { "producers.shop.config.linger.ms" = [0, 5] }
"#;

/// A folder with a scenario that suits a strategy.
fn suited(strategy: &str) -> (Folder, &'static str) {
    let folder = Folder::new();
    folder.write("learns.toml", LEARNS);
    (folder, if strategy == "guided" { "learns.toml" } else { HOLDS })
}

/// Takes out what no two machines have in common: wall time.
pub(crate) fn timeless(value: &mut Value) {
    const WALL: [&str; 6] =
        ["wall_ms", "after_ms", "found_after_wall_ms", "runs_per_s", "wall", "time"];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !WALL.contains(&name.as_str()));
            fields.values_mut().for_each(timeless);
        }
        Value::Array(items) => items.iter_mut().for_each(timeless),
        _ => {}
    }
}

fn results(folder: &Folder, name: &str) -> Value {
    let text = std::fs::read_to_string(folder.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    timeless(&mut value);
    value
}

fn document(done: &Done) -> Value {
    let mut value = done.json();
    timeless(&mut value);
    value
}

fn fuzz(folder: &Folder, args: &[&str]) -> Done {
    let all = ["fuzz", HOLDS, FINDS, "--seeds", "50", "--no-shrink", "--format", "json"];
    folder.oncesim(&[&all[..], args].concat())
}

/// Three shards, with a claim that holds or is broken.
fn shards(folder: &Folder, more: &[&str]) {
    for shard in 1..=3 {
        let (part, file) = (format!("{shard}/3"), format!("{shard}.json"));
        let done = fuzz(folder, &[&["--shard", &part, "--results", &file][..], more].concat());
        assert!([0, 1].contains(&done.code), "{}", done.err);
    }
}

#[test]
fn merged_shards_are_the_whole_campaign() {
    for more in [&[][..], &["--set", BREAK]] {
        let folder = Folder::new();
        let whole = fuzz(&folder, &[&["--results", "whole.json"][..], more].concat());
        shards(&folder, more);
        for files in [&["1.json", "2.json", "3.json"], &["3.json", "1.json", "2.json"]] {
            let merge = ["merge", "--format", "json", "--out", "all.json"];
            let merged = folder.oncesim(&[&merge[..], files].concat());
            assert_eq!(merged.code, whole.code, "{}", merged.err);
            assert_eq!(document(&merged), document(&whole), "{files:?} of {more:?}");
        }
        // In two steps, with a file twice, and of the whole alone: the same.
        let all = results(&folder, "all.json");
        let some = folder.oncesim(&["merge", "3.json", "2.json", "--out", "some.json"]);
        assert_eq!(some.code, if whole.code == 0 { 5 } else { whole.code }, "a shard is missing");
        let twice = ["merge", "some.json", "1.json", "2.json", "--out", "again.json"];
        assert_eq!(folder.oncesim(&twice).code, whole.code);
        assert_eq!(results(&folder, "again.json"), all);
        let alone = folder.oncesim(&["merge", "whole.json", "--format", "json"]);
        assert_eq!((alone.code, document(&alone)), (whole.code, document(&whole)));
    }
}

#[test]
fn a_missing_shard_is_named_and_nothing_is_proved() {
    let folder = Folder::new();
    shards(&folder, &[]);
    let merge = ["merge", "1.json", "3.json", "--junit", "out.xml", "--github"];
    let mut command = folder.command(&merge);
    let some = command.env("GITHUB_STEP_SUMMARY", folder.path("summary.txt")).output();
    let some = Done::of(some.expect("oncesim starts"));
    assert_eq!(some.code, 5, "{}{}", some.out, some.err);
    let missing = "missing: the results of shard 2/3";
    assert!(some.out.contains(missing), "{}", some.out);
    assert!(some.out.contains(&format!("::error title=oncesim::{missing}")), "{}", some.out);
    for file in ["out.xml", "summary.txt"] {
        let text = std::fs::read_to_string(folder.path(file)).expect("it was written");
        assert!(text.contains(missing), "{file}: {text}");
    }
    let document = folder.oncesim(&["merge", "1.json", "3.json", "--format", "json"]).json();
    assert_eq!(document["missing_shards"], serde_json::json!(["2/3"]));
    // The shard that searched for the pitfall is the second one.
    assert_eq!(document["scenarios"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = Folder::new();
    shards(&folder, &[]);
    for (name, args) in [
        ("two.json", &["--shard", "1/2"][..]),
        ("other.json", &["--shard", "2/3", "--set", BREAK]),
        ("often.json", &["--shard", "2/3", "--recheck", "50"]),
    ] {
        fuzz(&folder, &[args, &["--results", name]].concat());
    }
    folder.oncesim(&["fuzz", HOLDS, "--seeds", "5", "--results", "one.json"]);
    folder.write("text.json", "not JSON\n");
    folder.write("foreign.json", "{\"schema\": 1, \"scenarios\": []}\n");
    let newer = results(&folder, "1.json").to_string().replace("\"0.1.0\"", "\"9.9.9\"");
    folder.write("newer.json", &newer);
    let text = std::fs::read_to_string(folder.path("2.json")).expect("it was written");
    folder.write("half.json", &text[..text.len() / 2]);
    folder.write("wrong.json", &text.replace("\"of\":3", "\"of\":0"));
    folder.write("changed.json", &{
        let at = text.find("\"messages\":").expect("it is counted") + "\"messages\":".len();
        format!("{}1{}", &text[..at], &text[at..])
    });
    for (files, cause) in [
        (&["1.json", "two.json"][..], "seeds in common"),
        (&["1.json", "other.json"], "is not the same scenario in both"),
        (&["1.json", "often.json"], "--recheck 50"),
        (&["1.json", "one.json"], "scenarios"),
        (&["1.json", "text.json"], "these are no results"),
        (&["foreign.json", "1.json"], "these are no results"),
        (&["1.json", "newer.json"], "oncesim 9.9.9"),
        (&["1.json", "half.json"], "these are no results"),
        (&["1.json", "wrong.json"], "damaged"),
        (&["2.json", "changed.json"], "different results"),
        (&["1.json", "nowhere.json"], "there is no such file"),
    ] {
        let done = folder.oncesim(&[&["merge", "--out", "all.json"][..], files].concat());
        assert_eq!(done.code, 2, "{files:?}: {}", done.err);
        assert!(done.err.contains(cause) && done.err.contains("help: "), "{files:?}: {}", done.err);
        assert!(done.out.is_empty() && !folder.path("all.json").exists(), "{files:?}");
    }
}

#[test]
fn a_shard_without_seeds_has_nothing_to_do() {
    let folder = Folder::new();
    let args = ["fuzz", HOLDS, "--seeds", "2", "--shard", "3/3", "--results", "3.json"];
    let done = folder.oncesim(&args);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(folder.path("3.json").exists(), "and says so");
}

/// Kills a campaign each time that it has written down more, and goes on; gives how often.
fn killed_and_continued(folder: &Folder, args: &[&str]) -> u32 {
    let size =
        || std::fs::metadata(folder.path("state.json")).and_then(|file| file.modified()).ok();
    for kills in 0.. {
        let before = size();
        let mut command = folder.command(args);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().expect("oncesim starts");
        let began = Instant::now();
        // The first time before anything is written.
        let patience = Duration::from_millis(if kills == 0 { 40 } else { 60_000 });
        while size() == before && began.elapsed() < patience {
            if child.try_wait().expect("it is our child").is_some() {
                return kills;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if kills == 4 {
            child.wait().expect("oncesim ends");
            return kills;
        }
        // Not at a moment that it chooses.
        std::thread::sleep(Duration::from_millis(290 + 37 * u64::from(kills)));
        child.kill().expect("it is our child");
        child.wait().expect("it was killed");
    }
    unreachable!("it ends")
}

#[test]
fn a_campaign_that_is_killed_loses_and_repeats_no_seed() {
    for strategy in ["swarm", "guided"] {
        let (folder, path) = suited(strategy);
        let args = ["fuzz", path, FINDS, "--seeds", "1200", "--set", BREAK, "--no-shrink"];
        let args = [&args[..], &["--strategy", strategy]].concat();
        let whole = folder.oncesim(&[&args[..], &["--resume", "whole.json"]].concat());
        assert_eq!(whole.code, 1, "{}", whole.err);
        let no_sample = whole.out.contains("chosen by what others had shown");
        assert_eq!(no_sample, strategy == "guided", "{}", whole.out);
        let resumed = [&args[..], &["--resume", "state.json", "--format", "json"]].concat();
        let kills = killed_and_continued(&folder, &resumed);
        // The rest on another number of threads.
        let last = folder.oncesim(&[&resumed[..], &["--jobs", "3"]].concat());
        assert_eq!(last.code, 1, "{}", last.err);
        assert!(kills > 1, "it was killed {kills} times");
        assert_eq!(results(&folder, "state.json"), results(&folder, "whole.json"), "{strategy}");
        assert_eq!(last.json()["scenarios"][0]["seeds"], 1200);
        let other = if strategy == "swarm" { "guided" } else { "swarm" };
        for (more, cause) in [
            (&["--shard", "1/2"][..], "shard 1/1 from seed 0"),
            (&["--from", "7"], "from seed 7"),
            (&["--recheck", "9"], "--recheck 9"),
            (&["--strategy", other], "--recheck 5 and not --strategy"),
            (&["--seeds", "800"], "it has 1200 seeds per scenario, and this one 800"),
            (&["--set", "producers.shop.records=50"], "is not the same scenario"),
        ] {
            let mut args = resumed.clone();
            // An option that is there is replaced.
            let known = args.iter().position(|arg| *arg == more[0] && *arg != "--set");
            known.into_iter().for_each(|at| drop(args.drain(at..at + 2)));
            let done = folder.oncesim(&[&args[..], more].concat());
            assert_eq!(done.code, 2, "{more:?}: {}", done.err);
            assert!(done.err.contains(cause), "{more:?}: {}", done.err);
        }
    }
}

/// Kills a campaign as soon as its file knows a failure; gives what the file says.
fn killed_with_a_failure(folder: &Folder, args: &[&str]) -> Value {
    let mut command = folder.command(args);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("oncesim starts");
    let began = Instant::now();
    let read = || -> Option<Value> {
        let text = std::fs::read_to_string(folder.path("state.json")).ok()?;
        let value: Value = serde_json::from_str(&text).expect("it is whole at any time");
        let found = &value["scenarios"][0]["parts"][0]["found"];
        found.as_object().is_some_and(|found| !found.is_empty()).then_some(value)
    };
    while read().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "it finds something soon");
        assert!(child.try_wait().expect("it is our child").is_none(), "it has much to do");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("it is our child");
    child.wait().expect("it was killed");
    read().expect("it was there before")
}

#[test]
fn a_campaign_that_does_not_run_as_before_ends_with_4() {
    for strategy in ["swarm", "guided"] {
        let (folder, path) = suited(strategy);
        let args = ["fuzz", path, "--set", BREAK, "--seeds", "1000000", "--no-shrink"];
        let args = [&args[..], &["--strategy", strategy, "--resume", "state.json"]].concat();
        let mut state = killed_with_a_failure(&folder, &args);
        // As if the machine that ran it before had computed something else.
        let found = &mut state["scenarios"][0]["parts"][0]["found"];
        let found = found.as_object_mut().expect("failures").values_mut().next().expect("one");
        let (seed, digest) = (found["seeds"][0].clone(), found["digest"].clone());
        found["digest"] = "00000000000000000000000000000000".into();
        folder.write("state.json", &state.to_string());
        folder.write("again.json", &state.to_string());
        let done = folder.oncesim(&args);
        assert_eq!(done.code, 4, "{}{}", done.out, done.err);
        let digest = digest.as_str().expect("a digest");
        for part in [
            "nondeterministic  ",
            &format!("seed {seed}"),
            &format!("digests 00000000000000000000000000000000 and {digest}"),
            "the campaign before it was continued",
            "the same seed, now",
        ] {
            assert!(done.out.contains(part), "{part}: {}", done.out);
        }
        // In JSON, and of what the file holds from then on.
        let last = args.len() - 1;
        let again = [&args[..last], &["again.json", "--format", "json"]].concat();
        let again = folder.oncesim(&again);
        assert_eq!(again.code, 4, "{}", again.err);
        let scenario = &again.json()["scenarios"][0];
        assert_eq!(scenario["outcome"], "nondeterministic");
        assert_eq!(scenario["nondeterminism"][0]["seed"], seed);
        assert_eq!(scenario["nondeterminism"][0]["digests"][1], digest);
        let merged = folder.oncesim(&["merge", "again.json"]);
        assert_eq!(merged.code, 4, "{}{}", merged.out, merged.err);
    }
}

#[test]
fn a_budget_goes_on_where_it_was() {
    let folder = Folder::new();
    let args = ["fuzz", HOLDS, "--budget", "2s", "--resume", "state.json", "--format", "json"];
    let first = folder.oncesim(&args).json();
    let again = folder.oncesim(&args).json();
    assert!(first["scenarios"][0]["seeds"].as_u64() > Some(0));
    assert_eq!(first, again, "it is spent");
}

#[test]
fn some_seeds_run_twice_and_a_number_says_how_many() {
    let folder = Folder::new();
    for (percent, least, most) in [("0", 0, 0), ("5", 1, 30), ("100", 100, 100)] {
        let args = ["fuzz", HOLDS, "--seeds", "100", "--recheck", percent, "--format", "json"];
        let done = folder.oncesim(&args).json();
        let twice = done["scenarios"][0]["rechecked"].as_u64().expect("a count");
        assert!((least..=most).contains(&twice), "{twice} at {percent} per cent");
    }
    assert_eq!(folder.oncesim(&["fuzz", HOLDS, "--recheck", "101"]).code, 2);
}

#[test]
fn faults_that_cannot_strike_prove_nothing() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(
        crate::shell::root()
            .join("scenarios/corpus/at-most-once/fire-and-forget-never-duplicates.toml"),
    );
    let text = text.expect("it is in the corpus").replace("\"request-loss\"", "\"deadlock\"");
    folder.write("a.toml", &text);
    let done = folder.oncesim(&["fuzz", "a.toml", "--seeds", "3"]);
    assert_eq!(done.code, 0, "three seeds tell nothing: {}{}", done.out, done.err);
    assert!(done.out.contains("not enough seeds to tell why: deadlock"), "{}", done.out);
    let done = folder.oncesim(&["fuzz", "a.toml", "--seeds", "80"]);
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    assert!(done.out.contains("faults that never struck in 80 seeds: deadlock"), "{}", done.out);
}
