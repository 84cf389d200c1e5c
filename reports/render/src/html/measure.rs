//! The page of `oncesim measure`: tables, and a plot of each figure over a sweep.
//!
//! A plot is drawn here, as SVG without a program: it takes its colours from the page, so that it
//! is right in light, in dark and on paper. Series differ by dashes and marks, not by colour alone.

use askama::Template;

use super::page::{Markup, Page};
use crate::measure::{
    Compared, Figure, MeasureView, SectionView, Unit, compared, in_words, varies,
};

const STYLE: &str = include_str!("../../templates/measure.css");

/// The page, complete in itself.
#[must_use]
pub fn measure_html(view: &MeasureView) -> String {
    let mut notes: Vec<String> = Vec::new();
    for note in view.points.iter().flat_map(|point| &point.notes) {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    let body = Body {
        title: &view.title,
        scenario: &view.scenario,
        seeds: view.seeds_in_words(),
        command: &view.command,
        notes,
        tables: tables(view),
        plots: plots(view),
        paths: view.sweeps.iter().map(|(path, _)| path.as_str()).collect(),
        comparison: comparison(view),
    };
    let page = Page {
        title: format!("{}: costs", view.title),
        body: Markup::of(&body),
        style: STYLE,
        scripts: Vec::new(),
        footer: "Every time on this page is virtual: the world has latency, and work takes the \
                 time that the scenario says; there is no CPU and no bandwidth."
            .to_owned(),
    };
    page.render()
}

#[derive(Template)]
#[template(path = "measure.html")]
struct Body<'a> {
    title: &'a str,
    scenario: &'a str,
    seeds: String,
    command: &'a str,
    notes: Vec<String>,
    tables: Vec<Table>,
    plots: Vec<Plot>,
    /// What is swept; empty without a sweep.
    paths: Vec<&'a str>,
    comparison: Option<Table>,
}

/// A table of figures.
struct Table {
    title: String,
    note: String,
    heads: Vec<String>,
    rows: Vec<TableRow>,
}

struct TableRow {
    heads: Vec<String>,
    cells: Vec<Cell>,
}

#[derive(Default)]
struct Cell {
    text: String,
    range: String,
}

fn cell(figure: Option<&Figure>) -> Cell {
    figure.map(|it| Cell { text: it.text(), range: it.range() }).unwrap_or_default()
}

fn tables(view: &MeasureView) -> Vec<Table> {
    let alone = view.points.first().filter(|_| view.sweeps.is_empty());
    alone.map_or_else(Vec::new, |point| point.sections.iter().map(table).collect())
}

fn table(section: &SectionView) -> Table {
    let rows = section.rows.iter().map(|row| TableRow {
        heads: vec![row.subject.clone()],
        cells: row.cells.iter().map(|it| cell(it.as_ref())).collect(),
    });
    let columns = section.columns.iter().map(|(_, title)| (*title).to_owned());
    Table {
        title: section.title.to_owned(),
        note: section.note.to_owned(),
        heads: [String::new()].into_iter().chain(columns).collect(),
        rows: rows.collect(),
    }
}

/// All points, with every figure that is compared.
fn comparison(view: &MeasureView) -> Option<Table> {
    if view.sweeps.is_empty() {
        return None;
    }
    let figures = compared(view);
    let names = figures.iter().map(|(name, _)| (*name).to_owned());
    let paths = view.sweeps.iter().map(|(path, _)| path.clone());
    let rows = view.points.iter().enumerate().map(|(index, point)| TableRow {
        heads: point.values.clone(),
        cells: figures.iter().map(|(_, points)| cell(points[index].1)).collect(),
    });
    Some(Table {
        title: "all values".to_owned(),
        note: String::new(),
        heads: paths.chain(names).collect(),
        rows: rows.collect(),
    })
}

// ---- plots ----

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

struct Plot {
    title: String,
    /// What the horizontal axis is.
    axis: String,
    ticks: Vec<(String, String)>,
    labels: Vec<(String, String)>,
    series: Vec<Series>,
}

struct Series {
    /// Which values of the other sweeps; empty if there is one series.
    name: String,
    class: usize,
    /// Points of the line.
    line: String,
    marks: Vec<Mark>,
}

struct Mark {
    x: String,
    y: String,
    low: String,
    high: String,
    ranges: bool,
    says: String,
}

impl Plot {
    fn legend(&self) -> bool {
        self.series.len() > 1
    }
}

/// A plot per figure that is compared; the sweep with the most values is the horizontal axis.
fn plots(view: &MeasureView) -> Vec<Plot> {
    let most = view.sweeps.iter().enumerate().max_by_key(|(i, (_, it))| (it.len(), usize::MAX - i));
    let Some((axis, (path, values))) = most.filter(|(_, (_, values))| values.len() > 1) else {
        return Vec::new();
    };
    let figures = compared(view).into_iter().filter(|(_, points)| varies(points));
    figures.filter_map(|(title, points)| plot(view, (axis, path, values), title, &points)).collect()
}

fn plot(
    view: &MeasureView,
    (axis, path, values): (usize, &str, &[String]),
    title: &str,
    points: &Compared<'_>,
) -> Option<Plot> {
    let figures = points.iter().filter_map(|(_, figure)| *figure);
    let highest = figures.clone().map(|it| it.high).fold(0.0, f64::max);
    let unit = figures.clone().next()?.unit;
    let step = nice_step(highest, unit);
    let top = (highest / step - 1e-9).ceil().max(1.0) * step;
    let x =
        |index: usize| LEFT + (WIDTH - LEFT - RIGHT) * (index as f64 + 0.5) / values.len() as f64;
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top;
    let mut series: Vec<Series> = Vec::new();
    for (point, (name, figure)) in view.points.iter().zip(points) {
        let Some(figure) = figure else { continue };
        let others = point.values.iter().zip(&view.sweeps).enumerate();
        let others = others.filter(|(sweep, _)| *sweep != axis);
        let called: Vec<String> =
            others.map(|(_, (value, (path, _)))| format!("{path}={value}")).collect();
        let called = called.join(", ");
        let index = values.iter().position(|value| *value == point.values[axis])?;
        let at = format!("{:.1},{:.1} ", x(index), y(figure.median));
        let mark = Mark {
            x: format!("{:.1}", x(index)),
            y: format!("{:.1}", y(figure.median)),
            low: format!("{:.1}", y(figure.low)),
            high: format!("{:.1}", y(figure.high)),
            ranges: figure.low < figure.high,
            says: format!("{name}: {} {}", figure.text(), figure.range()).trim_end().to_owned(),
        };
        let known = series.iter_mut().find(|it| it.name == called);
        match known {
            Some(known) => {
                known.line += &at;
                known.marks.push(mark);
            }
            None => {
                let class = series.len() % 4;
                series.push(Series { name: called, class, line: at, marks: vec![mark] });
            }
        }
    }
    let lines = (0..).map(|n| f64::from(n) * step).take_while(|value| *value <= top * 1.000_001);
    Some(Plot {
        title: title.to_owned(),
        axis: path.to_owned(),
        ticks: lines.map(|it| (format!("{:.1}", y(it)), in_words(unit, it))).collect(),
        labels: labels(values, x),
        series,
    })
}

/// Names of the values, as many as fit.
fn labels(values: &[String], x: impl Fn(usize) -> f64) -> Vec<(String, String)> {
    let every = values.len().div_ceil(8);
    let shown = values.iter().enumerate().step_by(every);
    shown.map(|(index, value)| (format!("{:.1}", x(index)), value.clone())).collect()
}

/// 1, 2 or 5 times a power of ten (of the unit that is shown), so that about four lines are drawn.
fn nice_step(highest: f64, unit: Unit) -> f64 {
    if highest <= 0.0 {
        return 1.0;
    }
    let rough = highest / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let whole = matches!(unit, Unit::Count | Unit::Bytes);
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|it| *it >= rough);
    let step = step.unwrap_or(rough);
    if whole { step.max(1.0) } else { step }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_plot_are_round_numbers() {
        for (highest, step) in [(3.9, 1.0), (8.0, 2.0), (17.0, 5.0), (0.43, 0.2), (1e9, 5e8)] {
            let found = nice_step(highest, Unit::PerInput);
            assert!((found - step).abs() < step / 1e6, "{highest}: {found}");
        }
        assert!((nice_step(0.0, Unit::Time) - 1.0).abs() < 1e-9);
    }
}
