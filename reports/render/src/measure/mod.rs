//! What runs cost, in virtual time: latencies, throughput, outages, work; over seeds and over
//! values of a scenario.
//!
//! A report is made of tables of figures, each a median with its range over the seeds. Text,
//! Markdown, JSON and HTML show the same tables.

mod figure;
mod json;
mod markdown;
mod plot;
mod sections;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use figure::in_words;
pub use figure::{Figure, Unit};
pub use json::measure_json;
pub use markdown::measure_markdown;
pub(crate) use plot::{Compared, compared, varies};
pub use sections::{MeasuredFault, MeasuredRun, measured_sections};
pub use text::measure_text;

use crate::model::Judgement;

/// One table.
#[derive(Debug, Clone, PartialEq)]
pub struct SectionView {
    /// Its key in JSON: `latency`.
    pub id: &'static str,
    /// Its title for people.
    pub title: &'static str,
    /// What has to be known to read it.
    pub note: &'static str,
    /// Keys of its columns, and their titles.
    pub columns: Vec<(&'static str, &'static str)>,
    /// What is measured, line by line.
    pub rows: Vec<RowView>,
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct RowView {
    /// Of what.
    pub subject: String,
    /// A figure per column, where there is one.
    pub cells: Vec<Option<Figure>>,
}

/// The runs of one choice of values.
#[derive(Debug, Clone, PartialEq)]
pub struct PointView {
    /// The values, in the order of the sweeps.
    pub values: Vec<String>,
    /// The tables; the first is the summary, whose figures are what sweeps compare.
    pub sections: Vec<SectionView>,
    /// What the runs mean for what the scenario claims, the worst of them.
    pub judgement: Judgement,
    /// Whether no record arrived anywhere, in any run.
    pub vacuous: bool,
    /// What should be known about the runs, a sentence each.
    pub notes: Vec<String>,
}

/// A whole report.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasureView {
    /// The scenario's path.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// The first seed, and how many.
    pub seeds: (u64, u64),
    /// The paths that were swept, with their values.
    pub sweeps: Vec<(String, Vec<String>)>,
    /// One per choice of values; without a sweep one.
    pub points: Vec<PointView>,
    /// The command that shows the same again.
    pub command: String,
}

impl MeasureView {
    /// Whether nothing was measured at any point.
    #[must_use]
    pub fn is_vacuous(&self) -> bool {
        self.points.iter().all(|point| point.vacuous)
    }

    /// The seeds, in words.
    pub(crate) fn seeds_in_words(&self) -> String {
        match self.seeds {
            (first, 1) => format!("seed {first}"),
            (first, n) => {
                format!("seeds {first} to {}: median, and lowest to highest", first + n - 1)
            }
        }
    }
}

/// The figures of several runs as one table each: what they have in common keeps its place, what
/// only some runs have comes after it.
#[must_use]
pub fn merged(runs: Vec<Vec<SectionView>>) -> Vec<SectionView> {
    let mut runs = runs.into_iter();
    let mut all = runs.next().unwrap_or_default();
    for run in runs {
        for section in run {
            match all.iter_mut().find(|known| known.id == section.id) {
                Some(known) => merge_rows(known, section.rows),
                None => all.push(section),
            }
        }
    }
    for row in all.iter_mut().flat_map(|section| &mut section.rows) {
        row.cells.iter_mut().flatten().for_each(Figure::settle);
    }
    all
}

fn merge_rows(section: &mut SectionView, rows: Vec<RowView>) {
    for row in rows {
        let Some(known) = section.rows.iter_mut().find(|known| known.subject == row.subject) else {
            section.rows.push(row);
            continue;
        };
        for (cell, more) in known.cells.iter_mut().zip(row.cells) {
            match (cell, more) {
                (Some(cell), Some(more)) => cell.join(&more),
                (cell @ None, more) => *cell = more,
                (Some(_), None) => {}
            }
        }
    }
}
