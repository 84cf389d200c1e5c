//! `oncesim measure`: what a scenario costs, in virtual time; over seeds, and over values of it.

use std::sync::Arc;

use oncesim::semantics::measure::measure;
use oncesim::{Outcome, RunEnd, RunOptions};
use oncesim_render::{
    MeasureView, MeasuredFault, MeasuredRun, PointView, SectionView, grouped, measure_html,
    measure_json, measure_markdown, measure_text, measured_sections, merged,
};
use oncesim_spec::Scenario;

use crate::args::{MeasureArgs, TableFormat};
use crate::command::run::{quoted, quoted_path};
use crate::exit::{Exit, Refusal};
use crate::progress::ProgressLine;
use crate::{artifact, convert, output, page, source};

/// The most choices of values in one sweep.
const MOST_POINTS: usize = 200;
/// Columns of a report that goes into a file or a pipe.
const WIDTH: usize = 100;

/// One path with the values that it takes, one after the other.
struct Sweep {
    path: String,
    values: Vec<String>,
}

/// A choice of values, and the scenario with them.
struct Point {
    values: Vec<String>,
    scenario: Arc<Scenario>,
}

pub(crate) fn run(args: &MeasureArgs) -> Result<Exit, Refusal> {
    let sweeps = args.sweep.iter().map(|text| sweep(text)).collect::<Result<Vec<_>, _>>()?;
    let points = points(args, &sweeps)?;
    page::ensure(args.html.as_deref())?;
    let (first, count) = (args.seed.unwrap_or(0), args.seeds.unwrap_or(1));
    if first.checked_add(count).is_none() {
        let fix = "begin earlier, or take fewer";
        return Err(Refusal::new("there are not so many seeds", "--seeds", fix));
    }
    let by_kind = count > 1 || !sweeps.is_empty();
    let mut line = ProgressLine::new("measure", Some(points.len() as u64 * count));
    let (mut views, mut bug) = (Vec::new(), false);
    for point in &points {
        let mut tally = Tally::default();
        for seed in first..first + count {
            let outcome = once(&point.scenario, seed);
            line.count(&outcome);
            tally.add(&point.scenario, &outcome, by_kind);
        }
        bug |= tally.judgement == oncesim::Judgement::Bug;
        views.push(tally.finish(point.values.clone()));
    }
    line.finish();
    let scenario = &points[0].scenario;
    let mut view = MeasureView {
        scenario: scenario.path.clone(),
        title: scenario.title.clone(),
        seeds: (first, count),
        sweeps: sweeps.into_iter().map(|it| (it.path, it.values)).collect(),
        points: views,
        command: again(args),
    };
    only(&mut view, &args.figure)?;
    if let Some(path) = &args.html {
        artifact::write(path, &measure_html(&view))?;
    }
    show(args, &view)?;
    Ok(match (bug, view.is_vacuous()) {
        (true, _) => Exit::Bug,
        (false, true) => Exit::Vacuous,
        (false, false) => Exit::AsClaimed,
    })
}

fn once(scenario: &Arc<Scenario>, seed: u64) -> Outcome {
    let options =
        RunOptions { seed, keep_history: true, keep_traffic: true, ..RunOptions::default() };
    oncesim::run(scenario, &options)
}

/// Keeps only the figures of the summary that are asked for, in that order.
fn only(view: &mut MeasureView, figures: &[String]) -> Result<(), Refusal> {
    if figures.is_empty() {
        return Ok(());
    }
    let mut known: Vec<String> = Vec::new();
    for point in &mut view.points {
        let Some(summary) = point.sections.first_mut() else { continue };
        let rows = std::mem::take(&mut summary.rows);
        known.extend(rows.iter().map(|row| row.subject.clone()));
        let named = |name: &String| rows.iter().find(|row| row.subject == *name).cloned();
        summary.rows = figures.iter().filter_map(named).collect();
    }
    if let Some(unknown) = figures.iter().find(|name| !known.contains(name)) {
        let mut names: Vec<String> = Vec::new();
        for name in known {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        return Err(Refusal::new(
            format!("no summary has the figure `{unknown}`"),
            "--figure",
            format!("one of\n      {}", names.join("\n      ")),
        ));
    }
    Ok(())
}

fn show(args: &MeasureArgs, view: &MeasureView) -> Result<(), Refusal> {
    let text = match args.format {
        TableFormat::Text => {
            let terminal = terminal_size::terminal_size_of(std::io::stdout());
            let width = terminal.map_or(WIDTH, |(width, _)| usize::from(width.0));
            measure_text(view, width, output::styled())
        }
        TableFormat::Json => measure_json(view),
        TableFormat::Markdown => measure_markdown(view),
    };
    output::result(&text)
}

fn again(args: &MeasureArgs) -> String {
    let mut command = format!("oncesim measure {}", quoted_path(&args.scenario));
    if let Some(seed) = args.seed {
        command += &format!(" --seed {seed}");
    }
    if let Some(seeds) = args.seeds {
        command += &format!(" --seeds {seeds}");
    }
    for (option, values) in
        [("--sweep", &args.sweep), ("--figure", &args.figure), ("--set", &args.set)]
    {
        for value in values {
            command += &format!(" {option} {}", quoted(value));
        }
    }
    command
}

// ---- what is asked for ----

/// `PATH=V1,V2,...`; commas inside of quotes and brackets belong to a value.
fn sweep(text: &str) -> Result<Sweep, Refusal> {
    let refuse = |cause: String| {
        let fix = "write PATH=V1,V2: --sweep producers.shop.interval=1ms,10ms,100ms";
        Refusal::new(cause, "--sweep", fix)
    };
    let Some((path, list)) = text.split_once('=').filter(|(path, _)| !path.trim().is_empty())
    else {
        return Err(refuse(format!("`{text}` does not say which value takes which values")));
    };
    let values = values(list);
    if values.iter().any(String::is_empty) {
        return Err(refuse(format!("`{text}` leaves a value empty")));
    }
    if let Some(twice) = values.iter().enumerate().find(|(i, it)| values[..*i].contains(it)) {
        return Err(refuse(format!("`{text}` has {} twice", twice.1)));
    }
    Ok(Sweep { path: path.trim().to_owned(), values })
}

fn values(list: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let (mut depth, mut quote) = (0_u32, None);
    for c in list.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                values.push(String::new());
                continue;
            }
            _ => {}
        }
        values.last_mut().expect("never empty").push(c);
    }
    values.into_iter().map(|value| value.trim().to_owned()).collect()
}

/// Every choice of values, the last sweep the fastest; all are checked before anything runs.
fn points(args: &MeasureArgs, sweeps: &[Sweep]) -> Result<Vec<Point>, Refusal> {
    for (i, sweep) in sweeps.iter().enumerate() {
        if sweeps[..i].iter().any(|other| other.path == sweep.path) {
            let fix = "give all its values in one: --sweep PATH=V1,V2,V3";
            return Err(Refusal::new(format!("`{}` is swept twice", sweep.path), "--sweep", fix));
        }
    }
    let count = sweeps.iter().try_fold(1_usize, |n, sweep| n.checked_mul(sweep.values.len()));
    match count {
        Some(count) if count <= MOST_POINTS => {}
        _ => {
            let all = count.map_or("too many".to_owned(), |n| grouped(n as u64));
            return Err(Refusal::new(
                format!("the sweeps make {all} choices of values"),
                "--sweep",
                format!("take fewer values: {MOST_POINTS} choices at most"),
            ));
        }
    }
    let mut choices: Vec<Vec<String>> = vec![Vec::new()];
    for sweep in sweeps {
        let longer = choices.iter().flat_map(|choice| {
            sweep
                .values
                .iter()
                .map(move |value| [choice.as_slice(), std::slice::from_ref(value)].concat())
        });
        choices = longer.collect();
    }
    let mut points = Vec::new();
    for (index, values) in choices.into_iter().enumerate() {
        let mut sets = args.set.clone();
        sets.extend(sweeps.iter().zip(&values).map(|(it, value)| format!("{}={value}", it.path)));
        let loaded = if index == 0 {
            source::load(&args.scenario, &sets)
        } else {
            source::load_quietly(&args.scenario, &sets)
        };
        let scenario = loaded.map_err(|refusal| swept(refusal, sweeps, &values))?.scenario;
        points.push(Point { values, scenario });
    }
    Ok(points)
}

/// Diagnostics speak of `--set`: that is how a sweep changes a scenario.
fn swept(refusal: Refusal, sweeps: &[Sweep], values: &[String]) -> Refusal {
    if sweeps.is_empty() {
        return refusal;
    }
    let pairs = sweeps.iter().zip(values).map(|(sweep, value)| format!("{}={value}", sweep.path));
    let pairs = pairs.collect::<Vec<_>>().join(" ");
    let text = refusal.to_string();
    Refusal::Diagnostics(format!("{}\n  while sweeping: {pairs}", text.trim_end()))
}

// ---- what comes out ----

/// The runs of one choice of values.
struct Tally {
    runs: Vec<Vec<SectionView>>,
    judgement: oncesim::Judgement,
    vacuous: bool,
    notes: Vec<String>,
    not_as_claimed: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            runs: Vec::new(),
            judgement: oncesim::Judgement::AsClaimed,
            vacuous: true,
            notes: Vec::new(),
            not_as_claimed: 0,
        }
    }
}

impl Tally {
    fn add(&mut self, scenario: &Scenario, outcome: &Outcome, by_kind: bool) {
        let judgement = oncesim::judge(scenario, outcome);
        self.judgement = self.judgement.max(judgement);
        let seed = outcome.seed;
        if let RunEnd::Panicked(message) = &outcome.end {
            self.notes.push(format!("seed {seed} is not measured, a bug of oncesim: {message}"));
            return;
        }
        let history = outcome.history.clone().unwrap_or_default();
        let measures = measure(&history);
        if measures.is_vacuous() {
            self.notes.push(match measures.inputs {
                0 => format!("seed {seed} measures nothing: no record was given to send()"),
                n => format!(
                    "seed {seed} measures nothing: none of {} records arrived anywhere",
                    grouped(n)
                ),
            });
        }
        self.vacuous &= measures.is_vacuous();
        if let Some(late) = measures.last_stage().filter(|it| it.arrived < it.latency.count) {
            let after =
                measures.began.map_or(measures.ended.0, |began| measures.ended.since(began).0);
            self.notes.push(format!(
                "seed {seed}: the workload ended after {}, before {} of {} records had arrived at \
                 the end; the rest counts for latencies alone",
                oncesim::types::Duration(after),
                grouped(late.latency.count - late.arrived),
                grouped(late.latency.count),
            ));
        }
        self.said(scenario, judgement, outcome);
        if scenario.consumers.is_empty() && scenario.processors.is_empty() {
            let note = "nobody consumes: the way ends where send() is acknowledged, or committed";
            if !self.notes.iter().any(|known| known == note) {
                self.notes.push(note.to_owned());
            }
        }
        let faults: Vec<MeasuredFault> = outcome
            .faults
            .iter()
            .map(|fault| MeasuredFault {
                kind: fault.kind.to_owned(),
                description: fault.description.clone(),
            })
            .collect();
        self.runs.push(measured_sections(MeasuredRun {
            history: &history,
            measures: &measures,
            traffic: &outcome.traffic,
            faults: &faults,
            by_kind,
        }));
    }

    /// A run that is not as claimed is measured all the same; the first is named.
    fn said(&mut self, scenario: &Scenario, judgement: oncesim::Judgement, outcome: &Outcome) {
        if matches!(judgement, oncesim::Judgement::Violated | oncesim::Judgement::NotLive) {
            self.not_as_claimed += 1;
            if self.not_as_claimed == 1 {
                let fingerprint = oncesim::fingerprint(scenario, outcome);
                let sentence = convert::sentence(&fingerprint, outcome);
                let seed = outcome.seed;
                self.notes
                    .push(format!("seed {seed} is not as claimed ({fingerprint}): {sentence}"));
            }
        }
    }

    fn finish(mut self, values: Vec<String>) -> PointView {
        if self.not_as_claimed > 1 {
            let others = self.not_as_claimed - 1;
            self.notes.push(format!("{others} more seeds are not as claimed"));
        }
        PointView {
            values,
            sections: merged(self.runs),
            judgement: convert::judgement(self.judgement),
            vacuous: self.vacuous,
            notes: self.notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_of_a_value_are_its_own() {
        for (list, expected) in [
            ("1,2,3", &["1", "2", "3"][..]),
            ("1ms", &["1ms"]),
            ("[1, 2],[3]", &["[1, 2]", "[3]"]),
            ("{ map = { time = '1ms', x = 2 } },b", &["{ map = { time = '1ms', x = 2 } }", "b"]),
            ("\"a,b\",'c,]'", &["\"a,b\"", "'c,]'"]),
            (" a , b ", &["a", "b"]),
            ("1,,2", &["1", "", "2"]),
        ] {
            assert_eq!(values(list), expected, "{list}");
        }
    }

    #[test]
    fn a_sweep_names_a_path_and_different_values() {
        assert!(sweep("a.b=1,2").is_ok());
        for wrong in ["a.b", "=1,2", "a.b=", "a.b=1,,2", "a.b=1,1"] {
            assert!(sweep(wrong).is_err(), "{wrong}");
        }
    }
}
