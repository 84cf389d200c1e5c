//! The matrix as a page: tables whose cells open into their counts and commands.

use askama::Template;
use serde::Serialize;

use super::{
    Delivery, MatrixCellView, MatrixCounterexample, MatrixPromiseView, MatrixRowView,
    MatrixSectionView, MatrixView, Ruling, check_in_words, checked, proofs, ruling,
};
use crate::html::page::{Markup, Page, Script};
use crate::number::{grouped, seconds, short_count};

const STYLE: &str = include_str!("../../templates/matrix.css");
const PROGRAM: &str = include_str!("../../templates/matrix.js");

#[derive(Template)]
#[template(path = "matrix.html")]
struct Body<'a> {
    view: &'a MatrixView,
    size: String,
    legend: Vec<LegendEntry>,
    sections: Vec<Section<'a>>,
    advice: Vec<Advice<'a>>,
    proofs: Vec<Proof<'a>>,
}

struct LegendEntry {
    class: &'static str,
    words: &'static str,
    meaning: &'static str,
}

struct Section<'a> {
    title: &'a str,
    level: &'static str,
    about: &'a str,
    heads: Vec<&'a super::MatrixColumnView>,
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    title: &'a str,
    edits: String,
    cells: Vec<Cell>,
}

struct Cell {
    index: usize,
    class: &'static str,
    words: &'static str,
    share: String,
    hint: String,
}

struct Advice<'a> {
    says: &'a str,
    note: &'a str,
    class: &'static str,
    ruling: &'static str,
    checks: Vec<Check>,
}

struct Check {
    text: String,
    found: Option<MatrixCounterexample>,
}

struct Proof<'a> {
    row: &'a str,
    verb: &'static str,
    column: &'a str,
    found: MatrixCounterexample,
}

/// What a cell shows when it is opened.
#[derive(Serialize)]
struct CellData<'a> {
    row: &'a str,
    column: &'a str,
    counts: String,
    bug: Option<&'a str>,
    promises: Vec<PromiseData>,
    found: Vec<FoundData<'a>>,
}

#[derive(Serialize)]
struct PromiseData {
    name: String,
    verdict: &'static str,
    words: String,
}

/// A counterexample, with all guarantees that it is the cheapest for.
#[derive(Serialize)]
struct FoundData<'a> {
    names: String,
    anomaly: &'a str,
    sentence: &'a str,
    command: &'a str,
}

const fn class_of(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Exactly => "good",
        Delivery::AtLeast | Delivery::AtMost | Delivery::Inexact => "doubt",
        Delivery::Neither | Delivery::Doubles | Delivery::Loses => "bad",
        Delivery::Unknown => "faint",
    }
}

const fn class_of_ruling(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Right => "good",
        Ruling::HalfRight | Ruling::Open => "doubt",
        Ruling::Wrong => "bad",
    }
}

/// One self-contained file.
#[must_use]
pub fn matrix_html(view: &MatrixView) -> String {
    let mut data = Vec::new();
    let sections: Vec<Section<'_>> =
        view.sections.iter().map(|section| section_of(view, section, &mut data)).collect();
    let body = Body {
        view,
        size: format!(
            "{} of {} each, from seed {}; {} wall",
            short_count(data.len() as u64, "cell", "cells"),
            short_count(view.seeds, "seed", "seeds"),
            view.from,
            seconds(view.wall.as_secs_f64()),
        ),
        legend: Delivery::ALL
            .into_iter()
            .map(|it| LegendEntry { class: class_of(it), words: it.words(), meaning: it.meaning() })
            .collect(),
        sections,
        advice: advice(view),
        proofs: all_proofs(view),
    };
    let json = serde_json::to_string(&data).expect("strings only");
    let page = Page {
        title: view.title.clone(),
        body: Markup::of(&body),
        style: STYLE,
        scripts: vec![Script::data("cells", &json), Script::program(PROGRAM)],
        footer:
            "Times are virtual unless they say wall; shares are of seeds as they are drawn, not \
                 of all executions."
                .to_owned(),
    };
    page.render()
}

fn section_of<'a>(
    view: &'a MatrixView,
    section: &'a MatrixSectionView,
    data: &mut Vec<CellData<'a>>,
) -> Section<'a> {
    let mut rows = Vec::new();
    for row in &section.rows {
        let mut cells = Vec::new();
        for (column, cell) in section.columns.iter().zip(&row.cells) {
            cells.push(cell_of(section, cell, data.len()));
            data.push(data_of(row, &view.columns[*column].title, cell));
        }
        let edits = std::iter::once(row.scenario.as_str());
        let edits: Vec<&str> = edits.chain(row.sets.iter().map(String::as_str)).collect();
        rows.push(Row { title: &row.title, edits: edits.join("\n"), cells });
    }
    Section {
        title: &section.title,
        level: section.level.name(),
        about: &section.about,
        heads: section.columns.iter().map(|column| &view.columns[*column]).collect(),
        rows,
    }
}

fn cell_of(section: &MatrixSectionView, cell: &MatrixCellView, index: usize) -> Cell {
    let delivery = cell.delivery(section.level);
    let order = if cell.out_of_order() { ", disorder" } else { "" };
    let share = cell.share(section.level);
    let of_level =
        |promise: &&MatrixPromiseView| promise.what.is_none_or(|(level, _)| level == section.level);
    let hint: Vec<String> = cell
        .promises
        .iter()
        .filter(of_level)
        .map(|it| format!("{} {}: {}", super::name_of(it.what), it.holds().name(), it.in_words()))
        .collect();
    Cell {
        index,
        class: class_of(delivery),
        words: delivery.words(),
        share: format!("{}{order}", share.as_deref().unwrap_or_else(|| cell.why_unknown())),
        hint: hint.join("\n"),
    }
}

fn data_of<'a>(row: &'a MatrixRowView, column: &'a str, cell: &'a MatrixCellView) -> CellData<'a> {
    let mut found: Vec<(u64, Vec<String>, &MatrixCounterexample)> = Vec::new();
    for promise in &cell.promises {
        let Some(cheapest) = &promise.cheapest else { continue };
        let name = super::name_of(promise.what);
        match found
            .iter_mut()
            .find(|(seed, _, it)| *seed == cheapest.seed && it.anomaly == cheapest.anomaly)
        {
            Some((_, names, _)) => names.push(name),
            None => found.push((cheapest.seed, vec![name], cheapest)),
        }
    }
    let mut counts = format!(
        "{}; a fault of the class struck in {}",
        short_count(cell.seeds, "seed", "seeds"),
        grouped(cell.struck)
    );
    if cell.not_live > 0 {
        counts.push_str(&format!("; {} never came to rest", grouped(cell.not_live)));
    }
    CellData {
        row: &row.title,
        column,
        counts,
        bug: cell.bug.as_deref(),
        promises: cell
            .promises
            .iter()
            .map(|promise| PromiseData {
                name: super::name_of(promise.what),
                verdict: promise.holds().name(),
                words: promise.in_words(),
            })
            .collect(),
        found: found
            .into_iter()
            .map(|(_, names, it)| FoundData {
                names: names.join(", "),
                anomaly: &it.anomaly,
                sentence: &it.sentence,
                command: &it.command,
            })
            .collect(),
    }
}

fn advice(view: &MatrixView) -> Vec<Advice<'_>> {
    let mut all = Vec::new();
    for advice in &view.advice {
        let checks: Vec<_> = advice.checks.iter().map(|check| checked(view, check)).collect();
        let ruling = ruling(&checks);
        all.push(Advice {
            says: &advice.says,
            note: &advice.note,
            class: class_of_ruling(ruling),
            ruling: ruling.words(),
            checks: checks
                .into_iter()
                .map(|check| Check {
                    text: check_in_words(view, &check),
                    found: check.total.cheapest,
                })
                .collect(),
        });
    }
    all
}

fn all_proofs(view: &MatrixView) -> Vec<Proof<'_>> {
    let mut all = Vec::new();
    for section in &view.sections {
        for row in &section.rows {
            for (verb, column, found) in proofs(section, row) {
                let column = &view.columns[column].title;
                all.push(Proof { row: &row.title, verb, column, found });
            }
        }
    }
    all
}
