//! For a terminal.

use std::fmt::Write;

use super::plot::bars;
use super::{MeasureView, PointView, SectionView};
use crate::style::{DOUBT, FAINT, STRONG, paint};
use crate::table::{pad, widest};

/// The report; `width` is that of the terminal.
#[must_use]
pub fn measure_text(view: &MeasureView, width: usize, styled: bool) -> String {
    let mut out = String::new();
    let title = paint(styled, STRONG, &view.scenario);
    let _ = writeln!(out, "{title}: {}", view.title);
    let _ = writeln!(out, "{}. Every time is virtual.", view.seeds_in_words());
    if view.sweeps.is_empty() {
        for point in &view.points {
            for section in &point.sections {
                section_text(section, styled, &mut out);
            }
        }
    } else {
        sweep_text(view, width, styled, &mut out);
    }
    notes_text(view, styled, &mut out);
    let _ = writeln!(out, "\n{}", view.command);
    out
}

fn notes_text(view: &MeasureView, styled: bool, out: &mut String) {
    let mut said: Vec<String> = Vec::new();
    for point in &view.points {
        for note in &point.notes {
            // What is true of every point is no news of one.
            let common = view.points.iter().all(|point| point.notes.contains(note));
            let note = match common {
                true => note.clone(),
                false => format!("{}: {note}", named(view, point)),
            };
            if !said.contains(&note) {
                said.push(note);
            }
        }
    }
    if !said.is_empty() {
        out.push('\n');
    }
    for note in said {
        let _ = writeln!(out, "{} {note}", paint(styled, DOUBT, "note:"));
    }
}

/// `a=1, b=2`, with the last part of each path.
pub(super) fn named(view: &MeasureView, point: &PointView) -> String {
    let parts = view.sweeps.iter().zip(&point.values);
    let parts = parts.map(|((path, _), value)| format!("{}={value}", short_path(path)));
    parts.collect::<Vec<_>>().join(", ")
}

/// What a path ends with: enough to tell people what it is.
pub(super) fn short_path(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// One table, columns to the right; ranges on a line of their own.
fn section_text(section: &SectionView, styled: bool, out: &mut String) {
    let title = paint(styled, STRONG, section.title);
    let _ = writeln!(out, "\n{title} {}", paint(styled, FAINT, format!("({})", section.note)));
    let ranges = section
        .rows
        .iter()
        .any(|row| row.cells.iter().flatten().any(|cell| cell.runs() > 1 && cell.low < cell.high));
    let mut lines: Vec<(String, Vec<String>, bool)> = Vec::new();
    if section.columns.iter().any(|(_, title)| !title.is_empty()) {
        let titles = section.columns.iter().map(|(_, title)| (*title).to_owned()).collect();
        lines.push((String::new(), titles, true));
    }
    for row in &section.rows {
        let texts = |of: &dyn Fn(&super::Figure) -> String| -> Vec<String> {
            row.cells.iter().map(|cell| cell.as_ref().map_or(String::new(), of)).collect()
        };
        lines.push((row.subject.clone(), texts(&|cell| cell.text()), false));
        if ranges && row.cells.iter().flatten().any(|cell| cell.low < cell.high) {
            lines.push((String::new(), texts(&|cell| cell.range()), true));
        }
    }
    let first = widest(lines.iter().map(|(subject, ..)| subject.as_str()));
    let widths: Vec<usize> = (0..section.columns.len())
        .map(|column| widest(lines.iter().map(|(_, cells, _)| cells[column].as_str())))
        .collect();
    for (subject, cells, faint) in lines {
        let mut line = format!("  {}", pad(&subject, first));
        for (cell, width) in cells.iter().zip(&widths) {
            let gap = " ".repeat(2 + width - cell.chars().count().min(*width));
            line += &format!("{gap}{cell}");
        }
        let line = line.trim_end();
        let _ =
            writeln!(out, "{}", if faint { paint(styled, FAINT, line) } else { line.to_owned() });
    }
}

/// The summaries of all points, and a plot of each figure that varies.
fn sweep_text(view: &MeasureView, width: usize, styled: bool, out: &mut String) {
    for (title, rows) in super::plot::compared(view) {
        let title = paint(styled, STRONG, title);
        if !super::plot::varies(&rows) && rows.len() > 1 {
            let same = rows.iter().find_map(|(_, it)| it.map(super::Figure::text));
            let _ = writeln!(out, "\n{title}: {} at every point", same.unwrap_or_default());
            continue;
        }
        let _ = writeln!(out, "\n{title}");
        for line in bars(&rows, width) {
            let _ = writeln!(out, "  {line}");
        }
    }
}
