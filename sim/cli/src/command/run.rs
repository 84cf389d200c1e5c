//! `oncesim run`: one seed of a scenario.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oncesim::history::{jepsen, jsonl};
use oncesim::{Outcome, RunOptions};
use oncesim_render::RunView;
pub(crate) use oncesim_render::quoted;
use oncesim_spec::Scenario;

use crate::args::{Format, RunArgs, ViewArgs};
use crate::exit::{Exit, Refusal};
use crate::{artifact, convert, export, output, page, source};

pub(crate) fn run(args: &RunArgs) -> Result<Exit, Refusal> {
    let loaded = source::load(&args.scenario, &args.set)?;
    // A counterexample carries its faults, and its seed unless another is asked for.
    let recorded = loaded.replay.as_ref().map_or(0, |replay| replay.seed);
    let seed = args.seed.unwrap_or(recorded);
    super::trace::sensible(&args.view, args.format)?;
    let files = [(args.history.as_deref(), "--history"), (args.html.as_deref(), "--html")];
    export::ensure(&args.export, &files)?;
    let traced = args.view.trace || args.html.is_some() || export::wanted(&args.export);
    let (outcome, wall) = once(&loaded.scenario, seed, args.format, traced);
    if let Some(path) = &args.history {
        record(&loaded.scenario, seed, &outcome, path)?;
    }
    let which = format!("{} --seed {seed}{}", quoted_path(&args.scenario), given(&args.set));
    let mut view = convert::run(&loaded.scenario, &outcome, wall, format!("oncesim run {which}"));
    // A counterexample has its own seed, and a run of another is not what it recorded.
    let which = match loaded.replay {
        Some(replay) if replay.seed == seed => {
            Some(format!("{}{}", quoted_path(&args.scenario), given(&args.set)))
        }
        Some(_) => None,
        None => Some(which),
    };
    view.why = which.and_then(|which| why(&loaded.scenario, &outcome, &which));
    page::run(args.html.as_deref(), &view, None)?;
    export::write(&args.export, &view)?;
    show(&view, args.format, &args.view)
}

/// Runs once; a second time with its trace when there is something to explain to a person, or when
/// it is asked for. The wall time is that of the first.
pub(crate) fn once(
    scenario: &Arc<Scenario>,
    seed: u64,
    format: Format,
    traced: bool,
) -> (Outcome, Duration) {
    let began = Instant::now();
    let options = RunOptions { seed, ..RunOptions::default() };
    let outcome = oncesim::run(scenario, &options);
    let wall = began.elapsed();
    if !traced && (format == Format::Json || outcome.verdict.anomalies.is_empty()) {
        return (outcome, wall);
    }
    let traced =
        oncesim::run(scenario, &RunOptions { keep_trace: true, keep_history: true, ..options });
    (traced, wall)
}

/// Writes what the clients saw to a file.
fn record(
    scenario: &Arc<Scenario>,
    seed: u64,
    outcome: &Outcome,
    path: &Path,
) -> Result<(), Refusal> {
    let again;
    let history = match &outcome.history {
        Some(history) => history,
        None => {
            let options = RunOptions { seed, keep_history: true, ..RunOptions::default() };
            again = oncesim::run(scenario, &options).history.unwrap_or_default();
            &again
        }
    };
    let text = if path.extension().is_some_and(|extension| extension == "edn") {
        jepsen::write_edn(&jepsen::export(history))
    } else {
        jsonl::write_jsonl(history)
    };
    artifact::write(path, &text)
}

/// Prints a run, or its trace; the exit code is its verdict.
pub(crate) fn show(view: &RunView, format: Format, part: &ViewArgs) -> Result<Exit, Refusal> {
    if part.trace {
        super::trace::trace(part, &view.recording)?;
        return Ok(view.judgement.into());
    }
    let text = match format {
        Format::Text => oncesim_render::run_text(view, output::styled()),
        Format::Json => oncesim_render::run_json(view),
    };
    output::result(&text)?;
    Ok(view.judgement.into())
}

/// The command that explains a run, if there is something to explain.
pub(crate) fn why(scenario: &Scenario, outcome: &Outcome, which: &str) -> Option<String> {
    oncesim::explainable(scenario, outcome).then(|| format!("oncesim explain {which}"))
}

/// Changed values, as a command line has them.
pub(crate) fn given(sets: &[String]) -> String {
    sets.iter().map(|set| format!(" --set {}", quoted(set))).collect()
}

pub(crate) fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}
