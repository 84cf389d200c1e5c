//! The trace, one aligned line per event: time, actor, text.
//!
//! ```text
//!   12.004210s  shop  -> b1   Produce orders-0 seq 3..5
//! > 12.006001s  b1   -> shop  NOT_ENOUGH_REPLICAS
//!               ... 31 lines, 4.20 s (virtual) ...
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use crate::number::seconds;
use crate::row::Row;
use crate::style::{FAINT, STRONG, paint};

/// The positions in `trace` that explain `events`: their own lines and `around` lines of the
/// same actors before and after each, at most `limit` in all (the witness lines come first).
pub(crate) fn excerpt(
    trace: &[Row<'_>],
    events: &[u32],
    around: usize,
    limit: usize,
) -> Vec<usize> {
    let events: BTreeSet<u32> = events.iter().copied().collect();
    let own: Vec<usize> = (0..trace.len())
        .filter(|&i| trace[i].event().is_some_and(|event| events.contains(&event)))
        .take(limit)
        .collect();
    let mut chosen: BTreeSet<usize> = own.iter().copied().collect();
    for distance in 1..=around {
        for &i in &own {
            if chosen.len() >= limit {
                break;
            }
            chosen.extend(neighbour(trace, i, distance, true));
            if chosen.len() < limit {
                chosen.extend(neighbour(trace, i, distance, false));
            }
        }
    }
    fill(&chosen, limit)
}

/// Positions with the lines of gaps that are shorter than the line that would announce them.
fn fill(chosen: &BTreeSet<usize>, limit: usize) -> Vec<usize> {
    let mut filled: Vec<usize> = Vec::new();
    let mut room = limit.saturating_sub(chosen.len());
    for &i in chosen {
        if let Some(&before) = filled.last() {
            let missing = i - before - 1;
            if missing <= SHORT_GAP.min(room) {
                filled.extend(before + 1..i);
                room -= missing;
            }
        }
        filled.push(i);
    }
    filled
}

/// Lines that are shown instead of being left out.
const SHORT_GAP: usize = 2;

/// The `distance`-th line before (or after) line `i` that has an actor in common with it.
fn neighbour(trace: &[Row<'_>], i: usize, distance: usize, before: bool) -> Option<usize> {
    let related = |&j: &usize| {
        let (a, b) = (&trace[i], &trace[j]);
        b.actor() == a.actor() || b.peer() == Some(a.actor()) || a.peer() == Some(b.actor())
    };
    if before {
        (0..i).rev().take(400).filter(related).nth(distance - 1)
    } else {
        (i + 1..trace.len()).take(400).filter(related).nth(distance - 1)
    }
}

/// The lines at `positions` (ascending), aligned, each behind `indent`; a gap says how much it
/// leaves out. Lines of `events` are marked.
pub(crate) fn trace_text(
    trace: &[Row<'_>],
    positions: &[usize],
    events: &[u32],
    indent: &str,
    styled: bool,
) -> String {
    let who: Vec<String> = positions.iter().map(|&i| speaker(&trace[i])).collect();
    let width = who.iter().map(|name| name.width()).max().unwrap_or(0);
    let time_width =
        positions.iter().map(|&i| trace[i].time().to_string().len()).max().unwrap_or(0);
    let mut out = String::new();
    let mut last: Option<usize> = None;
    for (&i, name) in positions.iter().zip(&who) {
        let line = &trace[i];
        if let Some(before) = last.filter(|&before| i > before + 1) {
            gap(&mut out, trace, before, i, (indent, time_width), styled);
        }
        last = Some(i);
        let marked = line.event().is_some_and(|event| events.contains(&event));
        let padding = " ".repeat(width - name.width());
        let text =
            format!("{:>time_width$}  {name}{padding}  {}", line.time().to_string(), line.text());
        let mark = if marked { ">" } else { " " };
        let text = if marked { paint(styled, STRONG, text.trim_end()) } else { text };
        let _ = writeln!(out, "{}", format!("{indent}{mark} {text}").trim_end());
    }
    out
}

fn gap(
    out: &mut String,
    trace: &[Row<'_>],
    before: usize,
    after: usize,
    (indent, time_width): (&str, usize),
    styled: bool,
) {
    let time = trace[after].time().since(trace[before].time());
    let lines = after - before - 1;
    let text = format!(
        "... {lines} {}, {} (virtual) ...",
        if lines == 1 { "line" } else { "lines" },
        seconds(crate::number::virtual_seconds(time)),
    );
    let _ = writeln!(out, "{indent}  {:time_width$}  {}", "", paint(styled, FAINT, text));
}

fn speaker(line: &Row<'_>) -> String {
    match line.peer_name() {
        Some(peer) => format!("{} -> {peer}", line.actor_name()),
        None => line.actor_name().to_owned(),
    }
}
