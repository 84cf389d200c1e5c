//! The invariants of the house that a reader of its files can check.

use std::collections::BTreeMap;

use crate::shell::{files, root};

/// Lines of Rust in one file, at most.
const LINES: usize = 700;
/// Files that may be longer, and how long: vocabulary that reads better in one place.
const LONGER: &[(&str, usize)] = &[("models/kafka/src/message.rs", 900)];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Complaints, one per line; none is what a test wants.
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn rust_files() -> Vec<String> {
    files(".", ".rs")
}

/// The names under `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in read(manifest).lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if let Some((name, _)) = line.split_once('=').filter(|_| inside) {
            names.push(name.trim().trim_end_matches(".workspace").to_owned());
        }
    }
    names
}

#[test]
fn dependencies_point_down() {
    let floors: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("models/types", &[][..]),
        ("models/kafka", &["oncesim-types"]),
        ("models/external", &["oncesim-types"]),
        ("models/history", &["oncesim-types"]),
        ("models/semantics", &["oncesim-history", "oncesim-types"]),
        (
            "scenarios/spec",
            &["oncesim-external", "oncesim-kafka", "oncesim-semantics", "oncesim-types"],
        ),
        (
            "sim/engine",
            &[
                "oncesim-external",
                "oncesim-history",
                "oncesim-kafka",
                "oncesim-semantics",
                "oncesim-spec",
                "oncesim-types",
                "madsim",
            ],
        ),
        (
            "reports/render",
            &["oncesim-history", "oncesim-semantics", "oncesim-spec", "oncesim-types"],
        ),
        ("sim/cli", &["oncesim", "oncesim-render", "oncesim-spec"]),
    ]);
    let mut complaints = Vec::new();
    let mut seen = 0;
    for manifest in files(".", "Cargo.toml") {
        let Some((folder, _)) = manifest.rsplit_once('/') else { continue };
        seen += 1;
        let Some(allowed) = floors.get(folder) else {
            complaints.push(format!("{manifest}: a crate that is on no floor"));
            continue;
        };
        for name in dependencies(&manifest) {
            let ours = name == "oncesim" || name.starts_with("oncesim-") || name == "madsim";
            if ours && !allowed.contains(&name.as_str()) {
                complaints.push(format!("{manifest}: depends on {name}, which is not below it"));
            }
        }
    }
    assert_eq!(seen, floors.len(), "every crate of the house was read");
    none(&complaints);
}

#[test]
fn models_depend_on_nothing_but_data() {
    let mut complaints = Vec::new();
    for manifest in files("models", "Cargo.toml") {
        for name in dependencies(&manifest) {
            let plain = matches!(
                name.as_str(),
                "serde"
                    | "serde_json"
                    | "clojure-reader"
                    | "statrs"
                    | "petgraph"
                    | "rusqlite"
                    | "hdrhistogram"
            );
            if !plain && !name.starts_with("oncesim-") {
                complaints.push(format!("{manifest}: {name} is no pure function of data"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn one_file_names_the_host() {
    let host = ["madsim", "::"].concat();
    let naming: Vec<String> = rust_files()
        .into_iter()
        .filter(|path| code_lines(&read(path)).any(|(_, line)| line.contains(&host)))
        .collect();
    assert!(
        naming.iter().all(|path| path == "sim/engine/src/host.rs"),
        "only sim/engine/src/host.rs may name the host's runtime: {naming:?}"
    );
}

/// Lines that are not comments, numbered from 1.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn nothing_below_the_command_line_prints() {
    let words = ["println!(", "print!(", "eprintln!(", "eprint!(", "dbg!("];
    let mut complaints = Vec::new();
    for path in rust_files() {
        if path.starts_with("sim/cli/")
            || path.contains("tests")
            || path.contains("/benches/")
            || path.contains("/examples/")
        {
            continue;
        }
        for (number, line) in code_lines(&read(&path)) {
            if words.iter().any(|word| line.contains(word)) {
                complaints.push(format!("{path}:{number}: prints"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn nothing_is_left_for_later() {
    let words = [["FIX", "ME"].concat(), ["TO", "DO"].concat(), ["XX", "X"].concat()];
    let mut complaints = Vec::new();
    for path in
        ["rs", "toml", "md", "yml", "run", "justfile"].iter().flat_map(|end| files(".", end))
    {
        for (number, line) in (1..).zip(read(&path).lines()) {
            let mut parts = line.split(|c: char| !c.is_ascii_alphanumeric());
            if parts.any(|part| words.iter().any(|word| word == part)) {
                complaints.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    none(&complaints);
}

#[test]
fn no_file_names_a_machine() {
    let roots = ["home", "tmp", "root", "Users", "work"].map(|name| format!("/{name}/"));
    let mut complaints = Vec::new();
    for path in ["rs", "toml", "md", "yml", "run", "justfile", "snap"]
        .iter()
        .flat_map(|end| files(".", end))
    {
        for (number, line) in (1..).zip(read(&path).lines()) {
            let absolute = |root: &String| {
                line.match_indices(root.as_str()).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || "._-/}".contains(c))
                })
            };
            if roots.iter().any(absolute) {
                complaints.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    none(&complaints);
}

#[test]
fn files_fit_in_a_head() {
    let mut complaints = Vec::new();
    for path in rust_files() {
        let lines = read(&path).lines().count();
        let limit = LONGER.iter().find(|(name, _)| *name == path).map_or(LINES, |(_, n)| *n);
        if lines > limit {
            complaints.push(format!("{path}: {lines} lines, {limit} are allowed"));
        }
    }
    none(&complaints);
}

#[test]
fn every_file_says_what_it_is() {
    let mut complaints = Vec::new();
    for path in rust_files() {
        if path.contains("/src/") && !path.contains("tests") && !read(&path).starts_with("//!") {
            complaints.push(format!("{path}: begins without a `//!` line"));
        }
    }
    none(&complaints);
}

#[test]
fn every_scenario_claims_or_expects() {
    let mut complaints = Vec::new();
    let all = [files("scenarios/corpus", ".toml"), files("scenarios/mutants", ".toml")].concat();
    for path in all {
        let text = read(&path);
        let has = |header: &str| text.lines().any(|line| line.trim_end() == header);
        if has("[claim]") == has("[expect]") {
            complaints.push(format!("{path}: needs one of [claim] and [expect]"));
        }
    }
    none(&complaints);
}

#[test]
fn the_flag_that_makes_a_build_possible_is_set() {
    let config = read(".cargo/config.toml");
    assert!(config.contains("rustflags = [\"--cfg\", \"madsim\"]"), "plain cargo run works");
    let steps = read(".ci/run");
    for (number, line) in (1..).zip(steps.lines()) {
        let sets = line.trim_start().trim_start_matches("export ").starts_with("RUSTFLAGS=");
        assert!(!sets, ".ci/run:{number}: RUSTFLAGS would replace the flag");
    }
}

#[test]
fn pages_that_are_named_exist() {
    let known = files(".", ".md");
    let mut complaints = Vec::new();
    for path in rust_files() {
        for (number, line) in (1..).zip(read(&path).lines()) {
            let words = line.split(|c: char| !(c.is_alphanumeric() || "._/-".contains(c)));
            for word in words.filter(|word| word.len() > 3 && word.ends_with(".md")) {
                let page = word.trim_start_matches("../");
                if !known.iter().any(|known| known == page) {
                    complaints.push(format!("{path}:{number}: there is no {word}"));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn the_page_of_planted_bugs_names_each_with_its_anomaly() {
    let page = read("docs/mutants.md");
    let value = |text: &str, key: &str| -> String {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.and_then(|rest| rest.split('"').next()).expect("a planted bug and its anomaly").into()
    };
    let mut complaints = Vec::new();
    for path in files("scenarios/mutants", ".toml") {
        let text = read(&path);
        let row = format!("| `{}` |", value(&text, "plant"));
        let anomaly = format!("| `{}` |", value(&text, "anomaly"));
        if !page.lines().any(|line| line.starts_with(&row) && line.contains(&anomaly)) {
            complaints.push(format!("docs/mutants.md lacks {path}: oncesim mutants --markdown"));
        }
    }
    none(&complaints);
}

#[test]
fn the_schema_of_scenarios_is_current() {
    let printed = crate::shell::Folder::new().oncesim(&["schema"]);
    assert_eq!(printed.code, 0, "{}", printed.err);
    let kept: serde_json::Value =
        serde_json::from_str(&read("scenarios/scenario.schema.json")).expect("it is JSON");
    assert_eq!(printed.json(), kept, "oncesim schema > scenarios/scenario.schema.json");
}
#[test]
fn the_page_of_strategies_is_the_generators_and_names_each_planted_bug() {
    let page = read("docs/strategies.md");
    assert!(
        page.starts_with(oncesim_render::STRATEGIES_HEADER),
        "docs/strategies.md: oncesim mutants --strategies --format markdown"
    );
    let mut complaints = Vec::new();
    for path in files("scenarios/mutants", ".toml") {
        let text = read(&path);
        let line = text.lines().find_map(|line| line.strip_prefix("plant = \""));
        let id = line.and_then(|rest| rest.split('"').next()).expect("a planted bug");
        let starts = [format!("| {id} |"), format!("| {id} (scripted) |")];
        if !page.lines().any(|line| starts.iter().any(|start| line.starts_with(start))) {
            complaints.push(format!("docs/strategies.md lacks {path}"));
        }
    }
    none(&complaints);
}
