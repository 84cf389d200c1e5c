//! The contract of the command line: exit codes, streams, messages, JSON.

use crate::shell::Folder;

#[test]
fn a_missing_file_is_named_with_cause_and_fix() {
    let folder = Folder::new();
    for command in ["run", "fuzz", "replay", "check", "list"] {
        let done = folder.oncesim(&[command, "nowhere.toml"]);
        assert_eq!(done.code, 2, "{command}: {}", done.err);
        assert!(done.out.is_empty(), "{command} prints no result: {}", done.out);
        assert!(done.err.contains("nowhere.toml"), "the place: {}", done.err);
        assert!(done.err.contains("help"), "the fix: {}", done.err);
        assert!(done.err.lines().count() < 24, "one screen: {}", done.err);
    }
}

#[test]
fn a_folder_without_scenarios_is_refused() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("empty")).expect("the folder is writable");
    for command in ["fuzz", "check", "list", "mutants"] {
        let done = folder.oncesim(&[command, "empty"]);
        assert_eq!(done.code, 2, "{command}: {}", done.err);
        assert!(done.err.contains("empty") && done.err.contains("help"), "{}", done.err);
    }
}

#[test]
fn arguments_out_of_range_are_refused() {
    let folder = Folder::new();
    for (args, what) in [
        (&["run", "a.toml", "--seed", "18446744073709551616"][..], "seeds go from 0"),
        (&["run", "a.toml", "--seed", "-1"], "seeds go from 0"),
        (&["run", "a.toml", "--seed", "xyz"], "seeds go from 0"),
        (&["fuzz", "a.toml", "--shard", "0/4"], "a shard is K/N"),
        (&["fuzz", "a.toml", "--shard", "5/4"], "a shard is K/N"),
        (&["fuzz", "a.toml", "--budget", "60"], "units ms, s, m, h"),
        (&["fuzz", "a.toml", "--budget", "0s"], "positive"),
        (&["fuzz", "a.toml", "--seeds", "0"], "--seeds"),
        (&["fuzz", "a.toml", "--jobs", "0"], "--jobs"),
        (&["fuzz"], "PATH"),
        (&["nonsense"], "nonsense"),
    ] {
        let done = folder.oncesim(args);
        assert_eq!(done.code, 2, "{args:?}: {}", done.err);
        assert!(done.err.contains(what), "{args:?}: {}", done.err);
    }
}

#[test]
fn completions_are_made_for_a_shell() {
    let done = Folder::new().oncesim(&["completions", "bash"]);
    assert_eq!(done.code, 0);
    assert!(done.out.contains("_oncesim"), "a bash function");
}

#[test]
fn help_goes_to_standard_output_and_lists_exit_codes() {
    let done = Folder::new().oncesim(&["--help"]);
    assert_eq!(done.code, 0);
    for command in ["run", "fuzz", "replay", "check", "list", "mutants", "bench"] {
        assert!(done.out.contains(command), "{command}");
    }
    assert!(done.out.contains("Exit codes"));
    assert!(!done.out.contains('\u{1b}'), "no colour in a pipe");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::new();
    let mut command = folder.command(&["completions", "bash"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("oncesim starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("oncesim ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn anomalies_are_explained_one_or_all() {
    let folder = Folder::new();
    let all = folder.oncesim(&["anomalies", "--format", "json"]).json();
    let count = all["anomalies"].as_array().expect("a list").len();
    assert_eq!(all["schema"], 1);
    assert!(count > 20, "the catalogue has {count} rows");
    let one = folder.oncesim(&["anomalies", "lost-write"]);
    assert_eq!(one.code, 0);
    for part in ["meaning", "example", "causes", "fixes"] {
        assert!(one.out.contains(part), "{part}: {}", one.out);
    }
    let kind = folder.oncesim(&["anomalies", "dup-retry"]);
    assert!(kind.out.starts_with("duplicate-append"), "a sub-kind finds its class: {}", kind.out);
    let unknown = folder.oncesim(&["anomalies", "lost-wirte"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("lost-write"), "did you mean: {}", unknown.err);
}

#[test]
fn a_new_scenario_is_well_formed_and_never_overwrites() {
    let folder = Folder::new();
    let done = folder.oncesim(&["new", "first-try"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let text = std::fs::read_to_string(folder.path("first-try.toml")).expect("it was written");
    assert_eq!(folder.oncesim(&["check", "first-try.toml"]).code, 0);
    let again = folder.oncesim(&["new", "first-try", "--template", "at-most-once"]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("first-try.toml") && again.err.contains("exists"), "{}", again.err);
    let now = std::fs::read_to_string(folder.path("first-try.toml")).expect("it is still there");
    assert_eq!(now, text);
}

#[test]
fn an_unknown_template_lists_the_known_ones() {
    let folder = Folder::new();
    let done = folder.oncesim(&["new", "x", "--template", "nothing"]);
    assert_eq!(done.code, 2);
    for (name, _) in oncesim_spec::TEMPLATES {
        assert!(done.err.contains(name), "{name}: {}", done.err);
        let made = folder.oncesim(&["new", name, "--template", name]);
        assert_eq!(made.code, 0, "{}", made.err);
    }
    assert!(!folder.path("x.toml").exists(), "nothing is half-written");
}

#[test]
fn check_reports_every_error_of_a_file() {
    let folder = Folder::new();
    folder.write(
        "wrong.toml",
        "title = \"Wrong\"\n[claim]\nlog = \"exactly-twice\"\n[cluster]\nbrockers = 3\n\
         [topics]\norders = { partitions = \"three\" }\n",
    );
    let done = folder.oncesim(&["check", "wrong.toml"]);
    assert_eq!(done.code, 2);
    for word in ["exactly-twice", "brockers", "partitions", "wrong.toml:"] {
        assert!(done.err.contains(word), "{word}: {}", done.err);
    }
    for command in ["run", "fuzz"] {
        let done = folder.oncesim(&[command, "wrong.toml"]);
        assert_eq!(done.code, 2, "{command}");
        assert!(done.out.is_empty(), "{command} runs nothing");
    }
    folder.write("broken.toml", "title = \n");
    assert_eq!(folder.oncesim(&["check", "broken.toml"]).code, 2);
}

#[test]
fn the_corpus_is_well_formed_and_listed() {
    let folder = Folder::new();
    let done = folder.oncesim(&["check", "scenarios"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let done = folder.oncesim(&["list"]);
    assert_eq!(done.code, 0);
    let scenarios = crate::shell::files("scenarios/corpus", ".toml");
    assert!(!scenarios.is_empty());
    for scenario in scenarios {
        assert!(done.out.contains(&scenario), "{scenario}");
    }
}

#[test]
fn a_value_that_cannot_be_set_is_refused() {
    let folder = Folder::new();
    assert_eq!(folder.oncesim(&["new", "a"]).code, 0);
    for set in ["nonsense", "=1", "producers.shop.recrods=1", "cluster.brokers=many"] {
        let done = folder.oncesim(&["run", "a.toml", "--set", set]);
        assert_eq!(done.code, 2, "{set}: {}", done.err);
        assert!(done.err.contains("--set"), "{set}: {}", done.err);
    }
}

#[test]
fn a_folder_that_takes_no_files_is_refused_before_anything_runs() {
    let folder = Folder::new();
    assert_eq!(folder.oncesim(&["new", "a"]).code, 0);
    folder.write("file", "in the way");
    for out in ["file", "file/below", "/proc/nowhere", "/dev/full"] {
        let done = folder.oncesim(&["fuzz", "a.toml", "--out", out]);
        assert_eq!(done.code, 2, "{out}: {}", done.err);
        assert!(done.err.contains(out) && done.err.contains("--out"), "{out}: {}", done.err);
        assert!(done.out.is_empty(), "{out}: nothing ran");
    }
}

#[test]
fn what_cannot_be_read_is_named_with_cause_and_fix() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("folder")).expect("the folder is writable");
    std::fs::write(folder.path("bytes.toml"), [0xff, 0xfe, 0x00]).expect("it is writable");
    folder.write("broken.toml", "title = \"no end\n[claim\n");
    for (args, cause) in [
        (&["run", "folder"][..], "it is a folder"),
        (&["replay", "folder"], "it is a folder"),
        (&["run", "bytes.toml"], "not text in UTF-8"),
        (&["check", "bytes.toml"], "not text in UTF-8"),
        (&["check", "broken.toml"], "invalid basic string"),
        (&["run", "nowhere.toml"], "there is no such file"),
    ] {
        let done = folder.oncesim(args);
        assert_eq!(done.code, 2, "{args:?}: {}", done.err);
        assert!(done.err.contains(cause) && done.err.contains(args[1]), "{args:?}: {}", done.err);
        assert!(done.err.contains("help: "), "{args:?}: the fix: {}", done.err);
        assert!(!done.err.contains("os error"), "{args:?}: {}", done.err);
    }
}

#[test]
fn an_impossible_cluster_a_unit_and_a_key_are_reported_together() {
    let folder = Folder::new();
    assert_eq!(folder.oncesim(&["new", "a"]).code, 0);
    let text = std::fs::read_to_string(folder.path("a.toml")).expect("it was written");
    let wrong = text
        .replace("brokers = 3", "brockers = 3")
        .replace("\"3ms\"", "\"3 parsecs\"")
        .replace("replication-factor = 3", "replication-factor = 5");
    folder.write("wrong.toml", &wrong);
    let done = folder.oncesim(&["check", "wrong.toml"]);
    assert_eq!(done.code, 2);
    for part in ["did you mean `brokers`?", "parsecs", "replication factor of 5", "wrong.toml:"] {
        assert!(done.err.contains(part), "{part}: {}", done.err);
    }
    assert!(done.err.lines().count() < 40, "one screen: {}", done.err);
}

#[test]
fn a_full_device_is_refused_and_leaves_nothing() {
    let folder = Folder::new();
    assert_eq!(folder.oncesim(&["new", "a"]).code, 0);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let done = folder.command(&["run", "a.toml"]).stdout(full).output().expect("oncesim starts");
    let told = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{told}");
    assert!(told.contains("no room left") && told.contains("help: "), "{told}");
    folder.write("file", "in the way");
    for name in ["file/x", "nowhere/x", "a/b/c"] {
        let done = folder.oncesim(&["new", name]);
        assert_eq!(done.code, 2, "{name}: {}", done.err);
        assert!(done.err.contains(name) && done.err.contains("help: "), "{name}: {}", done.err);
    }
    let left = std::fs::read_dir(folder.path(".")).expect("readable").count();
    assert_eq!(left, 3, "a.toml, file and the scenarios: nothing half-written");
}

#[test]
fn replay_wants_a_run() {
    let folder = Folder::new();
    assert_eq!(folder.oncesim(&["new", "a"]).code, 0);
    let done = folder.oncesim(&["replay", "a.toml"]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("--seed"), "{}", done.err);
}
