//! Every transcript of the README is run, and prints what it shows.
//!
//! In a `console` block, a line `$ command` is run in one folder for the whole file. What follows
//! is its standard output: `...` on a line of its own stands for any lines, `[..]` inside a line
//! for any text. `? 1` right after a command is its exit code, 0 if not given.

use crate::shell::{Folder, root};

#[derive(Debug)]
struct Transcript {
    line: usize,
    command: String,
    code: i32,
    expected: Vec<String>,
}

fn transcripts(text: &str) -> Vec<Transcript> {
    let mut found: Vec<Transcript> = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            if let Some(command) = line.strip_prefix("$ ") {
                let command = command.to_owned();
                found.push(Transcript { line: number, command, code: 0, expected: Vec::new() });
            } else if let Some(current) = found.last_mut() {
                match line.strip_prefix("? ").filter(|_| current.expected.is_empty()) {
                    Some(code) => current.code = code.trim().parse().expect("an exit code"),
                    None => current.expected.push(line.trim_end().to_owned()),
                }
            }
        }
    }
    found
}

/// Whether a line is as it is shown, with `[..]` for any text.
fn line_matches(shown: &str, line: &str) -> bool {
    let mut parts = shown.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    match last {
        None => rest.is_empty(),
        Some("") => true,
        Some(part) => rest.is_empty() || line.ends_with(part),
    }
}

/// Whether lines are as they are shown, with `...` for any lines.
fn lines_match(shown: &[String], lines: &[&str]) -> bool {
    match shown.split_first() {
        None => lines.iter().all(|line| line.is_empty()),
        Some((dots, rest)) if dots == "..." => {
            (0..=lines.len()).any(|skipped| lines_match(rest, &lines[skipped..]))
        }
        Some((first, rest)) => lines.split_first().is_some_and(|(line, more)| {
            line_matches(first, line.trim_end()) && lines_match(rest, more)
        }),
    }
}

#[test]
fn wildcards_stand_for_what_they_should() {
    assert!(line_matches("a [..] c", "a b c"));
    assert!(!line_matches("a [..] c", "a b d"));
    assert!(!line_matches("a", "a b"));
    let shown = ["x", "...", "y"].map(str::to_owned);
    assert!(lines_match(&shown, &["x", "1", "2", "y"]));
    assert!(!lines_match(&shown, &["x", "1", "2"]));
}

#[test]
fn the_transcripts_of_the_readme_are_true() {
    let text = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let folder = Folder::new();
    let all = transcripts(&text);
    assert!(all.len() >= 4, "the tour has at least four stops");
    for transcript in all {
        let Transcript { line, command, code, expected } = transcript;
        let args = command.strip_prefix("cargo run -- ").or(command.strip_prefix("oncesim "));
        let args = args.unwrap_or_else(|| panic!("README.md:{line}: not a command of ours"));
        let done = folder.oncesim(&args.split_whitespace().collect::<Vec<_>>());
        let lines: Vec<&str> = done.out.lines().collect();
        assert!(
            done.code == code && lines_match(&expected, &lines),
            "README.md:{line}: `{command}` gave exit code {} and\n{}{}",
            done.code,
            done.out,
            done.err,
        );
    }
}
