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
