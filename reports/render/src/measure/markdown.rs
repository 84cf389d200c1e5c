//! As GitHub shows it: tables for a page or a job summary.

use std::fmt::Write;

use super::plot::compared;
use super::text::short_path;
use super::{Figure, MeasureView, PointView, SectionView};

/// The report.
#[must_use]
pub fn measure_markdown(view: &MeasureView) -> String {
    let mut out = format!("### {}\n\n", view.title);
    let _ = writeln!(out, "`{}`, {}. Every time is virtual.", view.scenario, view.seeds_in_words());
    if view.sweeps.is_empty() {
        for section in view.points.iter().flat_map(|point| &point.sections) {
            section_markdown(section, &mut out);
        }
    } else {
        sweep_markdown(view, &mut out);
    }
    for note in view.points.iter().flat_map(|point: &PointView| &point.notes) {
        let line = format!("\nNote: {note}\n");
        if !out.contains(&line) {
            out += &line;
        }
    }
    let _ = writeln!(out, "\n```\n{}\n```", view.command);
    out
}

fn cell(figure: Option<&Figure>) -> String {
    let Some(figure) = figure else { return String::new() };
    match figure.range() {
        range if range.is_empty() => figure.text(),
        range => format!("{} ({range})", figure.text()),
    }
}

fn line(cells: impl Iterator<Item = String>, out: &mut String) {
    let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn section_markdown(section: &SectionView, out: &mut String) {
    let _ = writeln!(out, "\n**{}** ({})\n", section.title, section.note);
    let titles = section.columns.iter().map(|(_, title)| (*title).to_owned());
    line([String::new()].into_iter().chain(titles), out);
    line(["---".to_owned()].into_iter().chain(section.columns.iter().map(|_| "---:".into())), out);
    for row in &section.rows {
        let cells = row.cells.iter().map(|it| cell(it.as_ref()));
        line([row.subject.trim().to_owned()].into_iter().chain(cells), out);
    }
}

/// A line per point, a column per figure.
fn sweep_markdown(view: &MeasureView, out: &mut String) {
    let figures = compared(view);
    out.push('\n');
    let paths = view.sweeps.iter().map(|(path, _)| format!("`{}`", short_path(path)));
    line(paths.chain(figures.iter().map(|(name, _)| (*name).to_owned())), out);
    let columns = view.sweeps.len() + figures.len();
    line((0..columns).map(|_| "---:".to_owned()), out);
    for (index, point) in view.points.iter().enumerate() {
        let values = point.values.iter().cloned();
        let cells = figures.iter().map(|(_, points)| cell(points[index].1));
        line(values.chain(cells), out);
    }
}
