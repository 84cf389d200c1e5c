//! `oncesim matrix`: known truths, commands that show what they say, and a page that is current.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::html::{Browser, attribute};
use crate::shell::{Done, Folder, root};

/// A cell of a document by its row and column.
fn cell<'a>(document: &'a Value, row: &str, column: &str) -> &'a Value {
    let rows = document["sections"].as_array().into_iter().flatten();
    let rows = rows.flat_map(|section| section["rows"].as_array().into_iter().flatten());
    let mut cells = rows
        .filter(|it| it["id"] == row)
        .flat_map(|row| row["cells"].as_array().into_iter().flatten());
    cells.find(|cell| cell["column"] == column).unwrap_or_else(|| panic!("no {row}, {column}"))
}

fn promise<'a>(cell: &'a Value, level: &str, guarantee: &str) -> &'a Value {
    let mut all = cell["guarantees"].as_array().into_iter().flatten();
    all.find(|it| it["level"] == level && it["guarantee"] == guarantee).expect("every one is there")
}

fn matrix(rows: &str, columns: &str, seeds: &str) -> Value {
    let args = ["matrix", "--rows", rows, "--columns", columns, "--seeds", seeds];
    let done = Folder::new().oncesim(&[&args[..], &["--format", "json"]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    done.json()
}

#[test]
fn what_is_known_comes_out() {
    let document =
        matrix("acks-0,acks-all,idempotent,transaction-tv2,auto-async", "none,crash,pause", "60");
    let verdict = |row, column| cell(&document, row, column)["verdict"].as_str().unwrap_or("");
    assert_eq!(verdict("acks-0", "none"), "exactly once", "nobody dies");
    assert_eq!(verdict("acks-0", "crash"), "at most once");
    assert_eq!(verdict("acks-all", "crash"), "at least once", "a retry doubles");
    assert_eq!(verdict("idempotent", "crash"), "exactly once");
    for column in ["none", "crash", "pause"] {
        assert_eq!(verdict("transaction-tv2", column), "exactly once", "{column}");
    }
    assert_eq!(verdict("auto-async", "crash"), "neither", "auto commit with a worker");
    let crash = cell(&document, "acks-0", "crash");
    let struck = crash["struck"].as_u64().unwrap_or(0);
    let lost = promise(crash, "log", "at-least-once");
    let of = lost["held"].as_u64().zip(lost["violated"].as_u64()).map(|(a, b)| a + b);
    assert!(of.is_some_and(|of| of <= struck && struck <= 60), "{crash}");
    assert_eq!(promise(crash, "effect", "at-least-once")["verdict"], "unknown", "there is none");
}

#[test]
fn a_fault_that_never_struck_proves_nothing() {
    let folder = Folder::new();
    let done = folder.oncesim(&[
        "matrix",
        "scenarios/matrix/log.toml",
        "--columns=rebalance",
        "--seeds=5",
        "--format=json",
    ]);
    assert_eq!(done.code, 5, "nothing was proved: {}", done.err);
    let document = done.json();
    let rebalance = cell(&document, "log", "rebalance");
    assert_eq!((&rebalance["struck"], &rebalance["verdict"]), (&0.into(), &"unknown".into()));
}

#[test]
fn every_counterexample_is_a_command_that_shows_it() {
    let document =
        matrix("acks-1,commit-after,dedup-before,upsert", "unclean,pause,ack-loss", "60");
    let mut shown = 0;
    for (row, column, level, guarantee) in [
        ("acks-1", "unclean", "log", "at-least-once"),
        ("acks-1", "ack-loss", "log", "at-most-once"),
        ("commit-after", "pause", "processing", "at-most-once"),
        ("dedup-before", "ack-loss", "effect", "at-least-once"),
        ("upsert", "pause", "effect", "exactly-once"),
    ] {
        let found = &promise(cell(&document, row, column), level, guarantee)["counterexample"];
        let command = found["command"].as_str().unwrap_or_else(|| panic!("{row} {column}"));
        let line = command.replacen("oncesim", env!("CARGO_BIN_EXE_oncesim"), 1);
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &format!("{line} --format json")]).current_dir(root());
        let output = shell.output().expect("a shell starts");
        let run: Value = serde_json::from_slice(&output.stdout).expect("one document");
        assert_eq!(run["guarantees"][level][guarantee], "violated", "{command}");
        assert!(run["anomalies"].to_string().contains(found["anomaly"].as_str().unwrap_or("?")));
        shown += 1;
    }
    assert_eq!(shown, 5);
}

#[test]
fn the_result_does_not_depend_on_threads() {
    let run = |jobs: &str| {
        let args = ["matrix", "--rows=acks-0,upsert", "--columns=crash,pause", "--seeds=12"];
        let done = Folder::new().oncesim(&[&args[..], &["--format=markdown", jobs]].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        done.out
    };
    assert_eq!(run("--jobs=1"), run("--jobs=5"));
}

#[test]
fn a_matrix_of_ones_own_is_a_file() {
    let folder = Folder::new();
    folder.write(
        "mine.toml",
        r#"
title = "Mine"
seeds = 4
[columns.stop]
kinds = ["pause"]
[sections.all]
level = "log"
scenario = "scenarios/matrix/log.toml"
rows.weak = { title = "acks=0", set = ["producers.shop.config.acks=0", "producers.shop.config.enable.idempotence=false"] }
"#,
    );
    let done = folder.oncesim(&["matrix", "mine.toml", "--html", "mine.html"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(
        done.out.starts_with("Mine\n") && done.out.contains("1 cell of 4 seeds"),
        "{}",
        done.out
    );
    let page = std::fs::read_to_string(folder.path("mine.html")).expect("it was written");
    assert!(page.contains("<title>Mine</title>") && page.contains("data-cell=\"0\""));
}

#[test]
fn a_cell_of_the_page_opens_into_its_counts_and_commands() {
    let folder = Folder::new();
    let args = ["--rows=acks-0", "--columns=none,crash", "--seeds=40", "--html=page.html"];
    let done = folder.oncesim(&[&["matrix"][..], &args].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    let Some(browser) = Browser::find("the page of a matrix") else { return };
    let page = folder.path("page.html").canonicalize().expect("the page was written");
    let closed = browser.open(&page, "");
    assert_eq!(attribute(&closed, "data-ready"), "1");
    assert!(!closed.contains("<dialog id=\"detail\" aria-labelledby=\"detail-title\" open"));
    let opened = browser.open(&page, "#cell=1");
    let dialog = opened.split("<dialog").nth(1).unwrap_or_default();
    assert!(dialog.split('>').next().is_some_and(|tag| tag.contains("open")), "it is open");
    assert!(dialog.contains("acks=0, crash") && dialog.contains("log at-least-once"), "{dialog}");
    assert!(dialog.contains("oncesim run scenarios/matrix/log.toml --seed"), "{dialog}");
}

#[test]
fn wrong_input_is_named_with_its_fix() {
    let folder = Folder::new();
    folder.write("broken.toml", "title = \"T\"\n[sections.a]\nlevel = \"log\"\nrows.b = {}\n");
    let wrong = "[sections.a]\nlevel = \"log\"\nscenario = \"scenarios/matrix/log.toml\"\n\
                 rows.b = { set = [\"producers.shop.config.ack=0\"] }\n";
    folder.write("wrong.toml", &format!("title = \"T\"\n{wrong}"));
    for (args, what) in [
        (&["matrix", "nowhere.toml"][..], "nowhere.toml"),
        (&["matrix", "broken.toml"], "has no `scenario`"),
        (&["matrix", "wrong.toml"], "did you mean"),
        (&["matrix", "broken.toml", "scenarios/matrix/log.toml"], "stands alone"),
        (&["matrix", "--rows", "acks-2"], "did you mean `acks-0`?"),
        (&["matrix", "--columns", "rain"], "one of: none, crash"),
        (&["matrix", "--rows", "acks-0", "--columns", "rebalance"], "no cell is left"),
        (&["matrix", "--from", "18446744073709551615"], "--from"),
        (&["matrix", "--html", "no/folder/x.html"], "--html"),
        (&["matrix", "--seeds", "0"], "--seeds"),
    ] {
        let done: Done = folder.oncesim(args);
        assert_eq!(done.code, 2, "{args:?}: {}", done.err);
        assert!(done.out.is_empty() && done.err.contains(what), "{args:?}: {}", done.err);
    }
    assert!(!folder.path("no").exists());
}

/// The cells of all tables of a page: by section, row and column.
fn cells_of_page(page: &str) -> BTreeMap<(String, String, String), String> {
    let mut cells = BTreeMap::new();
    let (mut section, mut heads) = (String::new(), Vec::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            (section, heads) = (title.to_owned(), Vec::new());
        }
        let Some(inner) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            continue;
        };
        let texts: Vec<String> = inner.split(" | ").map(str::to_owned).collect();
        if texts[0].ends_with(" level") {
            heads = texts;
        } else if !heads.is_empty() {
            for (head, text) in heads.iter().zip(&texts).skip(1) {
                let key = (section.clone(), texts[0].clone(), head.clone());
                cells.insert(key, text.clone());
            }
        }
    }
    cells
}

/// The whole page would take a minute: a few cells of each section are run again, and every row and
/// column must be there. `cargo test -- --ignored the_whole_page` compares all of it.
#[test]
fn the_page_of_guarantees_is_current() {
    let page = std::fs::read_to_string(root().join("docs/guarantees.md")).expect("it is there");
    let written = cells_of_page(&page);
    let mut compared = 0;
    for (rows, columns) in [
        ("acks-0,idempotent-min-isr-1", "crash,unclean"),
        ("auto-async,commit-before", "crash,rebalance"),
        ("read-uncommitted", "none"),
        ("transaction-tv2,processor-after", "ack-loss"),
        ("upsert,dedup-before,outbox", "pause,sink"),
    ] {
        let args = ["matrix", "--format=markdown", "--rows", rows, "--columns", columns];
        let done = Folder::new().oncesim(&args);
        assert_eq!(done.code, 0, "{}", done.err);
        for (key, text) in cells_of_page(&done.out) {
            assert_eq!(written.get(&key), Some(&text), "{key:?}: {REGENERATE}");
            compared += 1;
        }
    }
    assert_eq!(compared, 4 + 4 + 1 + 2 + 6);
    // One seed of each cell tells which there are.
    let all = Folder::new().oncesim(&["matrix", "--format=markdown", "--seeds=1"]);
    assert_eq!(all.code, 0, "{}", all.err);
    let all = cells_of_page(&all.out);
    assert!(all.keys().eq(written.keys()), "other rows or columns: {REGENERATE}");
}

const REGENERATE: &str = "just guarantees writes docs/guarantees.md anew";

#[test]
#[ignore = "takes a minute: just guarantees-check"]
fn the_whole_page_of_guarantees_is_current() {
    let page = std::fs::read_to_string(root().join("docs/guarantees.md")).expect("it is there");
    let done = Folder::new().oncesim(&["matrix", "--format=markdown"]);
    assert_eq!(done.out, page, "{REGENERATE}");
}
