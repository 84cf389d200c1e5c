//! The matrix as one JSON document.

use schemars::JsonSchema;
use serde::Serialize;

use super::{MatrixCellView, MatrixPromiseView, MatrixView, checked, ruling};
use crate::json::{SCHEMA, document};

#[derive(Serialize, JsonSchema)]
pub(crate) struct MatrixDoc<'a> {
    schema: u32,
    definition: &'a str,
    title: &'a str,
    from: u64,
    seeds: u64,
    wall_ms: u64,
    columns: Vec<ColumnDoc<'a>>,
    sections: Vec<SectionDoc<'a>>,
    advice: Vec<AdviceDoc<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct ColumnDoc<'a> {
    id: &'a str,
    title: &'a str,
    about: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct SectionDoc<'a> {
    id: &'a str,
    title: &'a str,
    level: &'static str,
    rows: Vec<RowDoc<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct RowDoc<'a> {
    id: &'a str,
    title: &'a str,
    scenario: &'a str,
    set: &'a [String],
    cells: Vec<CellDoc<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct CellDoc<'a> {
    column: &'a str,
    /// At the section's level.
    verdict: &'static str,
    seeds: u64,
    struck: u64,
    not_live: u64,
    bug: Option<&'a str>,
    guarantees: Vec<PromiseDoc<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct PromiseDoc<'a> {
    level: Option<&'static str>,
    guarantee: &'static str,
    verdict: &'static str,
    held: u64,
    violated: u64,
    unknown: u64,
    bound_95: f64,
    counterexample: Option<CounterexampleDoc<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct CounterexampleDoc<'a> {
    seed: u64,
    faults: u64,
    events: u64,
    anomaly: &'a str,
    sentence: &'a str,
    command: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct AdviceDoc<'a> {
    id: &'a str,
    says: &'a str,
    ruling: &'static str,
    checks: Vec<CheckDoc<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct CheckDoc<'a> {
    row: &'a str,
    guarantee: String,
    held: u64,
    violated: u64,
    command: Option<String>,
}

/// All counts of all cells, with the cheapest counterexamples.
#[must_use]
pub fn matrix_json(view: &MatrixView) -> String {
    let sections = view.sections.iter().map(|section| SectionDoc {
        id: &section.id,
        title: &section.title,
        level: section.level.name(),
        rows: section
            .rows
            .iter()
            .map(|row| RowDoc {
                id: &row.id,
                title: &row.title,
                scenario: &row.scenario,
                set: &row.sets,
                cells: section
                    .columns
                    .iter()
                    .zip(&row.cells)
                    .map(|(column, cell)| {
                        let verdict = cell.delivery(section.level).words();
                        cell_doc(&view.columns[*column].id, verdict, cell)
                    })
                    .collect(),
            })
            .collect(),
    });
    document(&MatrixDoc {
        schema: SCHEMA,
        definition: &view.definition,
        title: &view.title,
        from: view.from,
        seeds: view.seeds,
        wall_ms: u64::try_from(view.wall.as_millis()).unwrap_or(u64::MAX),
        columns: view
            .columns
            .iter()
            .map(|it| ColumnDoc { id: &it.id, title: &it.title, about: &it.about })
            .collect(),
        sections: sections.collect(),
        advice: advice(view),
    })
}

fn cell_doc<'a>(column: &'a str, verdict: &'static str, cell: &'a MatrixCellView) -> CellDoc<'a> {
    CellDoc {
        column,
        verdict,
        seeds: cell.seeds,
        struck: cell.struck,
        not_live: cell.not_live,
        bug: cell.bug.as_deref(),
        guarantees: cell.promises.iter().map(promise).collect(),
    }
}

fn promise(promise: &MatrixPromiseView) -> PromiseDoc<'_> {
    PromiseDoc {
        level: promise.what.map(|(level, _)| level.name()),
        guarantee: promise.what.map_or("ordering", |(_, guarantee)| guarantee.name()),
        verdict: promise.holds().name(),
        held: promise.held,
        violated: promise.violated,
        unknown: promise.unknown,
        bound_95: promise.bound_95,
        counterexample: promise.cheapest.as_ref().map(|found| CounterexampleDoc {
            seed: found.seed,
            faults: found.faults,
            events: found.events,
            anomaly: &found.anomaly,
            sentence: &found.sentence,
            command: &found.command,
        }),
    }
}

fn advice(view: &MatrixView) -> Vec<AdviceDoc<'_>> {
    let one = |advice: &'_ super::MatrixAdviceView| {
        let checks: Vec<_> = advice.checks.iter().map(|check| checked(view, check)).collect();
        (ruling(&checks).words(), checks)
    };
    view.advice
        .iter()
        .map(|advice| {
            let (ruling, checks) = one(advice);
            AdviceDoc {
                id: &advice.id,
                says: &advice.says,
                ruling,
                checks: checks
                    .into_iter()
                    .map(|check| CheckDoc {
                        row: &check.row.id,
                        guarantee: check.name,
                        held: check.total.held,
                        violated: check.total.violated,
                        command: check.total.cheapest.map(|found| found.command),
                    })
                    .collect(),
            }
        })
        .collect()
}
