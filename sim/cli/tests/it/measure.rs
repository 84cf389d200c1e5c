//! `oncesim measure`: what it says, what it refuses, and the page that it writes.

use crate::shell::{Folder, root};

const SCENARIO: &str = "scenarios/corpus/costs/commit-interval-against-overhead.toml";

/// A scenario of a producer, with more of it.
fn scenario(producer: &str, rest: &str) -> String {
    format!(
        "title = \"A producer\"\nclaim = {{ log = \"at-least-once\" }}\n\n[cluster]\nbrokers = 3\n\n\
         [topics]\norders = {{ partitions = 1, replication-factor = 3 }}\n\n\
         [producers.shop]\nto = \"orders\"\nrecords = 20\n{producer}\n{rest}\n"
    )
}

#[test]
fn a_run_is_measured_for_people_and_for_machines() {
    let folder = Folder::new();
    let path = "scenarios/corpus/exactly-once/orders-to-invoices.toml";
    let text = folder.oncesim(&["measure", path, "--seed", "3"]);
    assert_eq!(text.code, 0, "{}", text.err);
    for part in ["virtual", "latency", "p99.9", "throughput", "unavailability", "last stable"] {
        assert!(text.out.contains(part), "{part}: {}", text.out);
    }
    assert!(!text.out.contains('\u{1b}'), "no colour in a pipe");
    let done = folder.oncesim(&["measure", path, "--seed", "3", "--format", "json"]);
    let document = done.json();
    assert_eq!(document["schema"], 1);
    let measures = &document["points"][0]["measures"];
    let latency = measures["latency"].as_array().expect("rows");
    for row in latency {
        let figure = |name: &str| row[name]["median"].as_u64().expect("nanoseconds");
        assert!(figure("p50") <= figure("p99") && figure("p99") <= figure("max"), "{row}");
        assert_eq!(row["p50"]["unit"], "virtual ns");
    }
    let again = folder.oncesim(&["measure", path, "--seed", "3", "--format", "json"]);
    assert_eq!(again.out, done.out, "virtual time is the same each time");
}

#[test]
fn seeds_give_medians_and_a_sweep_a_line_per_value() {
    let folder = Folder::new();
    folder.write("p.toml", &scenario("", ""));
    let sweep = "producers.shop.interval=1ms,5ms";
    let args = ["measure", "p.toml", "--seeds", "3", "--sweep", sweep, "--format", "json"];
    let document = folder.oncesim(&args).json();
    let points = document["points"].as_array().expect("points");
    assert_eq!(points.len(), 2);
    assert_eq!(points[1]["set"]["producers.shop.interval"], "5ms");
    let time = |point: usize| &points[point]["measures"]["summary"][1]["value"];
    assert_eq!(time(0)["n"], 3);
    assert!(time(0)["median"].as_f64() < time(1)["median"].as_f64(), "five times the interval");
    let grid = ["measure", "p.toml", "--sweep", sweep, "--sweep", "cluster.brokers=3,4"];
    let text = folder.oncesim(&[&grid[..], &["--figure", "requests"]].concat());
    assert_eq!(text.code, 0, "{}", text.err);
    assert_eq!(text.out.matches("interval=5ms, brokers=4").count(), 1, "{}", text.out);
    assert!(text.out.contains('█'), "a plot: {}", text.out);
}

#[test]
fn a_page_is_written_whole_and_needs_nothing() {
    let folder = Folder::new();
    folder.write("p.toml", &scenario("", ""));
    let sweep = "producers.shop.interval=1ms,5ms,10ms";
    let done = folder.oncesim(&["measure", "p.toml", "--sweep", sweep, "--html", "costs.html"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let page = std::fs::read_to_string(folder.path("costs.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("</html>"));
    assert!(!page.contains("http://") && !page.contains("https://"), "no network");
    let done = folder.oncesim(&["measure", "p.toml", "--html", "nowhere/costs.html"]);
    assert_eq!(done.code, 2);
    assert!(done.out.is_empty() && done.err.contains("--html"), "{}", done.err);
}

#[test]
fn a_scenario_without_consumers_ends_at_the_acknowledgement() {
    let folder = Folder::new();
    folder.write("p.toml", &scenario("", ""));
    let done = folder.oncesim(&["measure", "p.toml"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("nobody consumes"), "{}", done.out);
    assert!(done.out.contains("acknowledged by orders"), "{}", done.out);
}

/// Every Produce request is lost: nothing is ever acknowledged.
#[test]
fn a_run_in_which_everything_is_lost_measures_nothing() {
    let folder = Folder::new();
    let timeouts = "config.delivery.timeout.ms = 2000\nconfig.request.timeout.ms = 1000\n\
                    config.linger.ms = 0\nconfig.retries = 0\n\
                    config.enable.idempotence = false\nconfig.acks = \"1\"";
    let faults: String = (1..=20)
        .map(|n| {
            format!("[[fault]]\ndrop = {{ request = \"Produce\", from = \"shop\", nth = {n} }}\n")
        })
        .collect();
    folder.write("p.toml", &scenario(&format!("interval = \"50ms\"\n{timeouts}"), &faults));
    let done = folder.oncesim(&["measure", "p.toml"]);
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    assert!(done.out.contains("measures nothing: none of 20 records"), "{}", done.out);
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let folder = Folder::new();
    folder.write("p.toml", &scenario("", ""));
    let many =
        format!("cluster.brokers={}", (3..=203).map(|n| n.to_string() + ",").collect::<String>());
    for (args, what) in [
        (&["--sweep", "producers.shop.interval"][..], "which values"),
        (&["--sweep", "producers.shop.interval=1ms,,2ms"], "empty"),
        (&["--sweep", "producers.shop.interval=1ms,1ms"], "twice"),
        (
            &["--sweep", "producers.shop.interval=1ms", "--sweep", "producers.shop.interval=2ms"],
            "twice",
        ),
        (&["--sweep", "producers.shop.intervall=1ms,2ms"], "intervall"),
        (&["--sweep", "producers.shop.interval=1ms,soon"], "soon"),
        (&["--sweep", "producers.nobody.interval=1ms"], "nobody"),
        (&["--sweep", many.trim_end_matches(',')], "200"),
        (&["--sweep", "cluster.brokers=3,4", "--figure", "speed"], "throughput"),
        (&["--figure", "requests"], "--sweep"),
        (&["--seeds", "0"], "--seeds"),
        (&["--seed", "18446744073709551615", "--seeds", "2"], "seeds"),
    ] {
        let done = folder.oncesim(&[&["measure", "p.toml"], args].concat());
        assert_eq!(done.code, 2, "{args:?}: {}", done.err);
        assert!(done.out.is_empty(), "{args:?} prints no result: {}", done.out);
        assert!(done.err.contains(what), "{args:?}: {}", done.err);
    }
    let done = folder.oncesim(&["measure", "nowhere.toml"]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("nowhere.toml") && done.err.contains("help"), "{}", done.err);
}

#[test]
fn a_commit_takes_what_it_is_said_to_take() {
    let folder = Folder::new();
    let args = ["measure", SCENARIO, "--set", "producers.shop.records=300", "--format", "json"];
    let document = folder.oncesim(&args).json();
    let calls = document["points"][0]["measures"]["calls"].as_array().expect("calls");
    let commit = calls.iter().find(|row| row["subject"] == "commitTransaction()").expect("commits");
    let p50 = commit["p50"]["median"].as_u64().expect("a time");
    assert!((2_000_000..50_000_000).contains(&p50), "{p50} ns");
}

// ---- docs/costs.md ----

/// The words of a command, as a shell takes them apart.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (String::new(), false);
    for c in command.replace("\\\n", " ").chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The page with the table after each of its commands as the command prints it.
fn regenerated(page: &str) -> String {
    let folder = Folder::new();
    let mut out = String::new();
    let mut rest = page;
    while let Some((before, block)) = rest.split_once("```console\n$ oncesim ") {
        let (command, after) = block.split_once("\n```\n").expect("a block ends");
        let mut args = words(command);
        args.extend(["--format".to_owned(), "markdown".to_owned()]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let done = folder.oncesim(&args);
        assert_eq!(done.code, 0, "{command}: {}", done.err);
        let table = done.out.lines().filter(|line| line.starts_with("| "));
        let table: String = table.map(|line| format!("{line}\n")).collect();
        out += &format!("{before}```console\n$ oncesim {command}\n```\n\n{table}");
        let after = after.trim_start_matches('\n');
        let old =
            after.lines().take_while(|line| line.starts_with("| ")).map(|line| line.len() + 1);
        rest = &after[old.sum::<usize>()..];
        if !rest.starts_with('\n') {
            out.push('\n');
        }
    }
    out + rest
}

#[test]
fn the_page_of_costs_is_current() {
    let path = root().join("docs/costs.md");
    let page = std::fs::read_to_string(&path).expect("there is the page");
    let now = regenerated(&page);
    if std::env::var_os("ONCESIM_BLESS").is_some() {
        std::fs::write(&path, &now).expect("the page is writable");
        return;
    }
    for (line, (shown, is)) in (1..).zip(page.lines().zip(now.lines())) {
        assert_eq!(shown, is, "docs/costs.md:{line} is out of date: run `just bless`");
    }
    assert_eq!(page.len(), now.len(), "docs/costs.md is out of date: run `just bless`");
}
