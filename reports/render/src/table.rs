//! Tables: scenarios, planted bugs, measured figures.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use crate::model::{BenchLine, MutantView};
use crate::number::{grouped, short_count};
use crate::style::{BAD, DOUBT, FAINT, GOOD, STRONG, paint};

/// One scenario of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRow {
    /// Its path.
    pub path: String,
    /// Its title.
    pub title: String,
    /// What it claims or expects, in words; or why it cannot be read.
    pub promise: String,
    /// Whether it can be read.
    pub valid: bool,
}

/// `text`, padded to `width` columns on a terminal.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// The widest of some texts, in columns on a terminal.
pub(crate) fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(UnicodeWidthStr::width).max().unwrap_or(0)
}

/// Scenarios with what they claim, a line each.
#[must_use]
pub fn list_text(rows: &[ListRow], styled: bool) -> String {
    let paths = widest(rows.iter().map(|row| row.path.as_str()));
    let promises = widest(rows.iter().map(|row| row.promise.as_str()));
    let mut out = String::new();
    for row in rows {
        let style = if row.valid { STRONG } else { BAD };
        let line = format!(
            "{}  {}  {}",
            paint(styled, style, pad(&row.path, paths)),
            pad(&row.promise, promises),
            paint(styled, FAINT, &row.title),
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let _ = writeln!(out, "{}", short_count(rows.len() as u64, "scenario", "scenarios"));
    out
}

/// The planted bugs: found or missed, by which anomaly, after how many seeds.
#[must_use]
pub fn mutants_text(mutants: &[MutantView], styled: bool) -> String {
    let ids = widest(mutants.iter().map(|mutant| mutant.id.as_str()));
    let anomalies = widest(mutants.iter().map(|mutant| mutant.anomaly.as_str()));
    let mut out = String::new();
    for mutant in mutants {
        let (style, word) = match (&mutant.problem, mutant.found) {
            (Some(_), _) => (BAD, "wrong "),
            (None, Some(_)) => (GOOD, "found "),
            (None, None) => (BAD, "missed"),
        };
        let how = match mutant.found {
            Some(seed) => format!(
                "after {}, at seed {seed}; {}; the clean model passes {}",
                short_count(mutant.seeds, "seed", "seeds"),
                short_count(mutant.hits, "hit", "hits"),
                short_count(mutant.clean_seeds, "seed", "seeds"),
            ),
            None => format!(
                "in {}; {}",
                short_count(mutant.seeds, "seed", "seeds"),
                short_count(mutant.hits, "hit", "hits"),
            ),
        };
        let _ = writeln!(
            out,
            "{}  {}  {}  {how}",
            paint(styled, style, word),
            paint(styled, STRONG, pad(&mutant.id, ids)),
            pad(&mutant.anomaly, anomalies),
        );
        let _ = writeln!(out, "        {}", paint(styled, FAINT, &mutant.imitates));
        if let Some(problem) = &mutant.problem {
            let _ = writeln!(out, "        {}", paint(styled, BAD, problem));
        }
    }
    let caught = mutants.iter().filter(|mutant| mutant.caught()).count() as u64;
    let _ = writeln!(
        out,
        "{} of {} found, each by its named anomaly",
        grouped(caught),
        short_count(mutants.len() as u64, "planted bug", "planted bugs"),
    );
    out
}

/// The same as a table of Markdown, without colours.
#[must_use]
pub fn mutants_markdown(mutants: &[MutantView]) -> String {
    let mut out = String::from(
        "| planted bug | imitates | found by | seeds needed | hits in that run | clean twin |\n\
         |---|---|---|---|---|---|\n",
    );
    for mutant in mutants {
        let needed = match mutant.found {
            Some(_) => mutant.seeds.to_string(),
            None => format!("not in {}", mutant.seeds),
        };
        let twin = match &mutant.problem {
            Some(problem) => problem.replace('|', "\\|"),
            None => format!("passes {}", short_count(mutant.clean_seeds, "seed", "seeds")),
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | `{}` | {needed} | {} | {twin} |",
            mutant.id,
            mutant.imitates.replace('|', "\\|"),
            mutant.anomaly,
            mutant.hits,
        );
    }
    out
}

/// Measured figures beside their targets.
#[must_use]
pub fn bench_text(lines: &[BenchLine], styled: bool) -> String {
    let what = widest(lines.iter().map(|line| line.what.as_str())).max("what".len());
    let measured = widest(lines.iter().map(|line| line.measured.as_str())).max("measured".len());
    let mut out = String::new();
    let header = format!("{}  {}  {}", pad("what", what), pad("measured", measured), "target");
    let _ = writeln!(out, "{}", paint(styled, FAINT, header));
    for line in lines {
        let (style, verdict) = match line.met {
            Some(true) => (GOOD, "  met"),
            Some(false) => (BAD, "  not met"),
            None => (DOUBT, ""),
        };
        let text = format!(
            "{}  {}  {}{}",
            pad(&line.what, what),
            paint(styled, STRONG, pad(&line.measured, measured)),
            line.target,
            if verdict.is_empty() { String::new() } else { paint(styled, style, verdict) },
        );
        let _ = writeln!(out, "{}", text.trim_end());
    }
    out
}
