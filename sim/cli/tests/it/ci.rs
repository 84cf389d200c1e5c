//! The contract of reports for machines: JUnit, GitHub, SARIF.

use crate::shell::{Done, Folder};

const HOLDS: &str =
    "scenarios/corpus/exactly-once/a-retry-older-than-the-five-cached-batches-is-refused.toml";
const BREAK: &str = "producers.shop.config.enable.idempotence=false";

fn fuzz(folder: &Folder, args: &[&str]) -> Done {
    let all = [&["fuzz", HOLDS, "--seeds", "10", "--set", BREAK][..], args].concat();
    let mut command = folder.command(&all);
    command.env("GITHUB_STEP_SUMMARY", folder.path("summary.txt"));
    Done::of(command.output().expect("oncesim starts"))
}

fn read(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_failing_campaign_leaves_every_report() {
    let folder = Folder::new();
    folder.write("summary.txt", "before\n");
    let done = fuzz(&folder, &["--junit", "out.xml", "--sarif", "out.sarif", "--github"]);
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    let replay = "oncesim replay reports/out/";
    let junit = read(&folder, "out.xml");
    for part in
        ["<testsuites", "failures=\"1\"", "dup-retry", replay, "name=\"seeds\" value=\"10\""]
    {
        assert!(junit.contains(part), "{part}: {junit}");
    }
    let sarif: serde_json::Value =
        serde_json::from_str(&read(&folder, "out.sarif")).expect("it is JSON");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(result["ruleId"], "duplicate-append", "a sub-kind is of its class");
    let location = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(location, HOLDS);
    let annotation = format!("::error file={HOLDS},title=");
    assert_eq!(done.out.lines().filter(|line| line.starts_with(&annotation)).count(), 1);
    let summary = read(&folder, "summary.txt");
    assert!(summary.starts_with("before\n## oncesim: 0 of 1 scenario as claimed"), "{summary}");
    assert!(summary.contains(replay) && summary.contains("| scenario |"), "{summary}");
}

#[test]
fn annotations_leave_a_document_alone_and_nothing_is_written_unasked() {
    let folder = Folder::new();
    let done = fuzz(&folder, &["--format", "json", "--github"]);
    assert_eq!(done.json()["schema"], 1);
    assert!(done.err.starts_with("::error file="), "{}", done.err);
    std::fs::remove_file(folder.path("summary.txt")).expect("it was written");
    let done = fuzz(&folder, &[]);
    assert!(!done.out.contains("::error") && !folder.path("summary.txt").exists());
}

#[test]
fn a_place_that_takes_no_file_is_refused_before_anything_runs() {
    let folder = Folder::new();
    folder.write("file", "in the way");
    std::fs::create_dir(folder.path("folder")).expect("the folder is writable");
    for option in ["--junit", "--sarif"] {
        for place in ["folder", "file/out", "missing/out", "/dev/null", "..", ""] {
            let done = fuzz(&folder, &[option, place]);
            assert_eq!(done.code, 2, "{option} {place}: {}", done.err);
            assert!(done.err.contains(option), "{option} {place}: {}", done.err);
            assert!(done.out.is_empty(), "{option} {place}: nothing ran");
        }
    }
    let done = fuzz(&folder, &["--junit", "same", "--sarif", "same"]);
    assert_eq!(done.code, 2, "{}", done.err);
    assert!(!folder.path("same").exists());
    std::fs::create_dir(folder.path("summary.txt")).expect("the folder is writable");
    let done = fuzz(&folder, &["--github"]);
    assert_eq!(done.code, 2, "{}", done.err);
    assert!(done.err.contains("GITHUB_STEP_SUMMARY") && done.out.is_empty(), "{}", done.err);
    let left = std::fs::read_dir(folder.path("")).expect("it is readable");
    let hidden = left.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with('.'))
    });
    assert_eq!(hidden.count(), 0, "nothing half-written is left");
}

#[test]
fn an_interrupted_campaign_still_leaves_a_whole_report() {
    let folder = Folder::new();
    folder.write("out.xml", "old");
    let args = ["fuzz", HOLDS, "--seeds", "100000000", "--junit", "out.xml"];
    let mut command = folder.command(&args);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("oncesim starts");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(read(&folder, "out.xml"), "old", "no half report while it runs");
    let killed =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill starts").success());
    assert_eq!(child.wait().expect("oncesim ends").code(), Some(0));
    let junit = read(&folder, "out.xml");
    assert!(junit.contains("name=\"interrupted\" value=\"true\""), "{junit}");
    assert!(junit.trim_end().ends_with("</testsuites>"), "{junit}");
}
