//! `oncesim matrix`: configurations against fault classes, and which guarantee holds.

use std::time::{Duration, Instant};

use oncesim::{Cell, CellReport, MatrixOptions, Promise, Tally, run_cells};
use oncesim_render::{
    MatrixAdviceView, MatrixCellView, MatrixCheckView, MatrixColumnView, MatrixCounterexample,
    MatrixPromiseView, MatrixRowView, MatrixSectionView, MatrixView, matrix_html, matrix_json,
    matrix_markdown, matrix_text,
};
use oncesim_spec::MatrixSpec;

use crate::args::{MatrixArgs, TableFormat};
use crate::command::fuzz::{cores, stop_on_interrupt};
use crate::command::run::{quoted, quoted_path};
use crate::exit::{Exit, Refusal};
use crate::progress::MatrixLine;
use crate::{artifact, output, source};

pub(crate) fn matrix(args: &MatrixArgs) -> Result<Exit, Refusal> {
    let mut spec = source::matrix(&args.paths)?;
    select(&mut spec, args)?;
    if let Some(path) = &args.html {
        artifact::ensure_file(path, "--html")?;
    }
    let cells = cells(&spec)?;
    let options = MatrixOptions {
        from: args.from,
        seeds: args.seeds.unwrap_or(spec.seeds),
        jobs: args.jobs.map_or_else(cores, usize::from),
        stop: stop_on_interrupt(),
    };
    if options.from.checked_add(options.seeds - 1).is_none() {
        return Err(Refusal::new(
            format!("there are no {} seeds from {} on", options.seeds, options.from),
            "--from",
            "begin earlier, or ask for fewer with --seeds",
        ));
    }
    let began = Instant::now();
    let line = MatrixLine::new(cells.len() as u64, options.seeds);
    let runs: Vec<Cell> = cells.iter().map(|cell| cell.cell.clone()).collect();
    let reports = run_cells(&runs, &options, &mut |done| line.update(done));
    line.finish();
    let Some(reports) = reports else {
        return Err(Refusal::new(
            "interrupted: a matrix that lacks cells is none",
            "oncesim matrix",
            "ask for less: --rows, --columns, --seeds",
        ));
    };
    let view = view(&spec, &cells, &reports, &options, began.elapsed());
    if let Some(path) = &args.html {
        artifact::write(path, &matrix_html(&view))?;
    }
    output::result(&match args.format {
        TableFormat::Text => matrix_text(&view, width(), output::styled()),
        TableFormat::Markdown => matrix_markdown(&view),
        TableFormat::Json => matrix_json(&view),
    })?;
    Ok(exit(&reports))
}

fn width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0))
}

fn select(spec: &mut MatrixSpec, args: &MatrixArgs) -> Result<(), Refusal> {
    spec.select(&args.rows, &args.columns).map_err(|unknown| {
        let place = format!("--{}s", unknown.what);
        Refusal::new(
            format!("there is no {} `{}`", unknown.what, unknown.name),
            place,
            unknown.help,
        )
    })?;
    if spec.sections.is_empty() {
        return Err(Refusal::new(
            "no cell is left",
            "--rows, --columns",
            "choose rows whose sections have the chosen columns",
        ));
    }
    Ok(())
}

/// A bug of oncesim is one here as well; what is broken is a result, not a failure. Cells in which
/// nothing was exercised say so themselves, unless there is nothing else.
fn exit(reports: &[CellReport]) -> Exit {
    if reports.iter().any(|report| report.bugs.is_some()) {
        return Exit::Bug;
    }
    let exercised = |report: &CellReport| report.tallies.values().any(|it| it.exercised() > 0);
    if reports.iter().any(exercised) { Exit::AsClaimed } else { Exit::Vacuous }
}

/// A cell that can run, with how to run one of its seeds.
struct Planned {
    cell: Cell,
    /// `oncesim run FILE` ...
    command: String,
    /// ... and its `--set`s.
    edits: String,
}

/// The cells, row by row.
fn cells(spec: &MatrixSpec) -> Result<Vec<Planned>, Refusal> {
    let mut planned = Vec::new();
    let mut complaints: Vec<String> = Vec::new();
    for section in &spec.sections {
        for row in &section.rows {
            let written = |sets: &[(String, String)]| -> Vec<String> {
                sets.iter().map(|(path, value)| format!("{path}={value}")).collect()
            };
            let base = match source::load_quietly(&row.scenario, &written(&row.sets)) {
                Ok(base) => base.scenario,
                Err(refusal) => {
                    complaints.push(refusal.to_string());
                    continue;
                }
            };
            for column in &section.columns {
                let column = &spec.columns[*column];
                let mut sets = written(&row.sets);
                sets.extend(written(&column.edits(&base)));
                match source::load_quietly(&row.scenario, &sets) {
                    Ok(loaded) => planned.push(Planned {
                        cell: Cell { scenario: loaded.scenario, strikes: column.strikes.clone() },
                        command: format!("oncesim run {}", quoted_path(&row.scenario)),
                        edits: sets.iter().map(|set| format!(" --set {}", quoted(set))).collect(),
                    }),
                    Err(refusal) => complaints.push(refusal.to_string()),
                }
            }
        }
    }
    complaints.dedup();
    if complaints.is_empty() {
        Ok(planned)
    } else {
        Err(Refusal::Diagnostics(complaints.join("\n\n")))
    }
}

fn view(
    spec: &MatrixSpec,
    cells: &[Planned],
    reports: &[CellReport],
    options: &MatrixOptions,
    wall: Duration,
) -> MatrixView {
    let mut done = cells.iter().zip(reports);
    let sections = spec.sections.iter().map(|section| MatrixSectionView {
        id: section.id.clone(),
        title: section.title.clone(),
        about: section.about.clone(),
        level: section.level,
        columns: section.columns.clone(),
        rows: section
            .rows
            .iter()
            .map(|row| MatrixRowView {
                id: row.id.clone(),
                title: row.title.clone(),
                scenario: row.scenario.display().to_string(),
                sets: row.sets.iter().map(|(path, value)| format!("{path}={value}")).collect(),
                cells: done
                    .by_ref()
                    .take(section.columns.len())
                    .map(|(cell, report)| cell_view(cell, report))
                    .collect(),
            })
            .collect(),
    });
    MatrixView {
        definition: spec.path.clone(),
        title: spec.title.clone(),
        about: spec.about.clone(),
        from: options.from,
        seeds: options.seeds,
        wall,
        columns: spec
            .columns
            .iter()
            .map(|column| MatrixColumnView {
                id: column.id.clone(),
                title: column.title.clone(),
                about: column.about.clone(),
            })
            .collect(),
        sections: sections.collect(),
        advice: spec
            .advice
            .iter()
            .map(|advice| MatrixAdviceView {
                id: advice.id.clone(),
                says: advice.says.clone(),
                note: advice.note.clone(),
                checks: advice
                    .checks
                    .iter()
                    .map(|check| MatrixCheckView {
                        row: check.row,
                        what: check.guarantee.map(|guarantee| (check.level, guarantee)),
                        columns: check.columns.clone(),
                    })
                    .collect(),
            })
            .collect(),
    }
}

fn cell_view(cell: &Planned, report: &CellReport) -> MatrixCellView {
    let bug = report.bugs.as_ref().map(|(count, seed, message)| {
        format!(
            "{count} of {} seeds met a bug of oncesim, first seed {seed}: {message}",
            report.seeds
        )
    });
    MatrixCellView {
        seeds: report.seeds,
        struck: report.struck,
        not_live: report.not_live,
        bug,
        promises: Promise::all()
            .map(|promise| promise_view(cell, promise, &report.tally(promise)))
            .collect(),
    }
}

fn promise_view(cell: &Planned, promise: Promise, tally: &Tally) -> MatrixPromiseView {
    MatrixPromiseView {
        what: match promise {
            Promise::Delivery(level, guarantee) => Some((level, guarantee)),
            Promise::Ordering => None,
        },
        held: tally.held,
        violated: tally.violated,
        unknown: tally.unknown,
        bound_95: tally.bound_95(),
        cheapest: tally.cheapest.as_ref().map(|found| MatrixCounterexample {
            seed: found.seed,
            faults: found.faults,
            events: found.events,
            anomaly: found.anomaly.clone(),
            sentence: found.sentence.clone(),
            command: format!("{} --seed {}{}", cell.command, found.seed, cell.edits),
        }),
    }
}
