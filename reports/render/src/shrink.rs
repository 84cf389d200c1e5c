//! What became of a failure: its size before and after, and the story in the file.

use std::fmt::Write;

use crate::explain::{beside, wrapped as plain};
use crate::model::{ExplanationView, ShrinkView};
use crate::number::{grouped, seconds, short_count};
use crate::style::{FAINT, STRONG, of_judgement, paint};

/// Columns of a story, without the comment sign.
const COLUMNS: usize = 98;

/// `faults 14 -> 2, records 500 -> 12`: what has become smaller; faults always.
#[must_use]
pub fn sizes_text(sizes: &[(String, u64, u64)]) -> String {
    let mut parts = Vec::new();
    for (what, before, after) in sizes {
        if before != after || what == "faults" {
            parts.push(format!("{what} {} -> {}", grouped(*before), grouped(*after)));
        }
    }
    parts.join(", ")
}

/// The comment at the head of a shrunk counterexample, in lines: what happened, as it is `told`
/// where an anomaly says it, and how the run became small.
#[must_use]
pub fn shrink_story(shrink: &ShrinkView, told: Option<&ExplanationView>) -> Vec<String> {
    let Some(told) = told else {
        let mut lines = wrapped(&format!("{}: {}", shrink.id, shrink.sentence));
        let facts = facts(shrink).into_iter().chain([minimal(shrink)]);
        lines.extend(facts.flat_map(|line| wrapped(&line)));
        return lines;
    };
    let mut lines = vec![format!("{}{}", told.anomaly, beside(told))];
    for paragraph in &told.story {
        lines.push(String::new());
        lines.extend(plain(&paragraph.join(" "), COLUMNS));
    }
    lines.push(String::new());
    // Which faults it needs is a part of the story, if that is known.
    let open = shrink.ended.as_ref().map(|_| minimal(shrink));
    lines.extend(facts(shrink).into_iter().chain(open).flat_map(|line| wrapped(&line)));
    lines
}

/// Where a shrunk run comes from, and what went.
fn facts(shrink: &ShrinkView) -> Vec<String> {
    let mut story = vec![format!(
        "From {}, seed {}: {}, in {}.",
        shrink.scenario,
        shrink.seed,
        sizes_text(&shrink.sizes),
        short_count(shrink.runs, "run", "runs"),
    )];
    if !shrink.removed.is_empty() {
        let removed: Vec<String> =
            shrink.removed.iter().map(|(kind, n)| format!("{} {kind}", grouped(*n))).collect();
        story.push(format!("Not needed for it: {}.", removed.join(", ")));
    }
    if !shrink.settings.is_empty() {
        story.push(format!("As well with the defaults of: {}.", shrink.settings.join(", ")));
    }
    story
}

fn minimal(shrink: &ShrinkView) -> String {
    match (&shrink.ended, shrink.faults()) {
        (Some(why), _) => format!("The search ended early ({why}): more could go."),
        (None, 0) => "It needs no fault at all.".to_owned(),
        (None, 1) => "Without its fault it does not happen.".to_owned(),
        (None, _) => "Without any one of its faults it does not happen.".to_owned(),
    }
}

fn wrapped(line: &str) -> Vec<String> {
    // A count stays on one line with what became of it.
    let line = line.replace(" -> ", "\u{a0}->\u{a0}");
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.last_mut().expect("there is a first line");
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= COLUMNS {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines.iter().map(|line| line.replace('\u{a0}', " ")).collect()
}

/// The report of `oncesim shrink`.
#[must_use]
pub fn shrink_text(shrink: &ShrinkView, file: &str, styled: bool) -> String {
    let mut out = String::new();
    let id = paint(styled, of_judgement(shrink.judgement), &shrink.id);
    let _ = writeln!(out, "shrunk  {id}  seed {} of {}", shrink.seed, shrink.scenario);
    let _ = writeln!(out, "  {}", shrink.sentence);
    let _ = writeln!(out, "  {}", paint(styled, STRONG, sizes_text(&shrink.sizes)));
    let _ = writeln!(out, "  {}", minimal(shrink));
    if !shrink.settings.is_empty() {
        let _ = writeln!(out, "  as well with the defaults of {}", shrink.settings.join(", "));
    }
    let line = format!(
        "{} in {} wall",
        short_count(shrink.runs, "run", "runs"),
        seconds(shrink.wall.as_secs_f64()),
    );
    let _ = writeln!(out, "  {}", paint(styled, FAINT, line));
    let _ = writeln!(out, "  {}", paint(styled, STRONG, format!("oncesim replay {file}")));
    out
}

/// One line for a failure of a campaign.
pub(crate) fn shrink_line(shrink: &ShrinkView) -> String {
    let early = shrink.ended.as_ref().map(|why| format!("; ended early: {why}"));
    format!(
        "shrunk in {}: {}{}",
        short_count(shrink.runs, "run", "runs"),
        sizes_text(&shrink.sizes),
        early.unwrap_or_default(),
    )
}
