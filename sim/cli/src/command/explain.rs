//! `oncesim explain`: why a run fails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oncesim::{ExplainOptions, RunOptions, Sources, Unexplained};
use oncesim_render::{ExplanationView, explain_json, explain_text};
use oncesim_spec::{FaultPlan, Scenario};

use crate::args::{ExplainArgs, Format};
use crate::command::fuzz::{cores, stop_on_interrupt};
use crate::command::run::{given, quoted_path};
use crate::exit::{Exit, Refusal};
use crate::explained::{self, Told};
use crate::progress::Working;
use crate::source::Loaded;
use crate::{convert, output, page, source};

/// Wall time, unless somebody says otherwise.
const BUDGET: Duration = Duration::from_secs(20);

pub(crate) fn explain(args: &ExplainArgs) -> Result<Exit, Refusal> {
    let loaded = source::load(&args.file, &args.set)?;
    page::ensure(args.html.as_deref())?;
    let (seed, plan) = which_run(args, &loaded)?;
    let options = ExplainOptions {
        jobs: args.jobs.map_or_else(cores, usize::from),
        budget: Some(args.budget.unwrap_or(BUDGET)),
        stop: stop_on_interrupt(),
    };
    let began = Instant::now();
    let line = Working::new("explaining", &args.file.display().to_string());
    let origin = origin(args, &loaded);
    let edit = |sets: &[String]| changed(&args.file, &args.set, sets);
    let fresh = |sets: &[String]| origin.as_ref().and_then(|it| changed(it, &args.set, sets));
    let sources = Sources { edit: &edit, fresh: origin.is_some().then_some(&fresh) };
    let done = oncesim::explain(&loaded.scenario, &plan, seed, &sources, &options);
    line.finish();
    let explanation = done.map_err(|why| unexplained(&why, &args.file, seed))?;
    let told = Told {
        scenario: &loaded.scenario,
        wall: began.elapsed(),
        budget: options.budget.unwrap_or_default(),
        commands: commands(args, &loaded, seed),
    };
    let again = told.commands[0].0.clone();
    let view = explained::view(&explanation, told);
    if args.html.is_some() {
        let kept = RunOptions { keep_history: true, keep_trace: true, ..RunOptions::default() };
        let options = RunOptions { seed, plan: Some(plan), ..kept };
        let outcome = oncesim::run(&loaded.scenario, &options);
        let run = convert::run(&loaded.scenario, &outcome, Duration::ZERO, again);
        page::run(args.html.as_deref(), &run, Some(&view))?;
    }
    show(&view, args.format)
}

fn show(view: &ExplanationView, format: Format) -> Result<Exit, Refusal> {
    let text = match format {
        Format::Text => explain_text(view, output::styled()),
        Format::Json => explain_json(view),
    };
    output::result(&text)?;
    Ok(view.judgement.into())
}

/// The scenario that the run came from, if it draws its faults.
fn origin(args: &ExplainArgs, loaded: &Loaded) -> Option<PathBuf> {
    if loaded.scenario.swarm.is_some() {
        return Some(args.file.clone());
    }
    let path = PathBuf::from(&loaded.replay.as_ref()?.scenario);
    let origin = source::load_quietly(&path, &args.set).ok()?;
    origin.scenario.swarm.is_some().then_some(path)
}

/// A scenario with the values that are `given`, and some more of its values changed, if it is valid
/// then.
fn changed(path: &Path, given: &[String], sets: &[String]) -> Option<Arc<Scenario>> {
    source::load_quietly(path, &[given, sets].concat()).ok().map(|loaded| loaded.scenario)
}

/// The run that a counterexample recorded, the one of `--seed`, or the first that shows the anomaly
/// that the scenario expects.
fn which_run(args: &ExplainArgs, loaded: &Loaded) -> Result<(u64, FaultPlan), Refusal> {
    let scenario = &loaded.scenario;
    let seed = match (loaded.seed(args.seed)?, &scenario.expect) {
        (Some(seed), _) => seed,
        (None, Some(expect)) => first_that_shows(scenario, expect.within).ok_or_else(|| {
            Refusal::new(
                format!("none of the first {} seeds shows {}", expect.within, expect.anomaly),
                args.file.display().to_string(),
                "raise expect.within, or name a seed: --seed N",
            )
        })?,
        (None, None) => return Err(source::which_run(&args.file)),
    };
    Ok((seed, oncesim::plan(scenario, seed)))
}

fn first_that_shows(scenario: &Arc<Scenario>, within: u64) -> Option<u64> {
    (0..within).find(|seed| {
        let outcome = oncesim::run(scenario, &RunOptions { seed: *seed, ..Default::default() });
        oncesim::failure(scenario, &outcome).is_some()
    })
}

fn unexplained(why: &Unexplained, file: &Path, seed: u64) -> Refusal {
    let place = file.display().to_string();
    match why {
        Unexplained::DoesNotFail(_) => Refusal::new(
            format!("the run of seed {seed} does not fail: there is nothing to explain"),
            place,
            "`oncesim replay` shows what it does today; `oncesim fuzz` finds runs that fail",
        ),
        Unexplained::NoAnomaly(_) => Refusal::new(
            format!("the run of seed {seed} fails without an anomaly that could be explained"),
            place,
            "`oncesim replay` shows how it ended",
        ),
    }
}

fn commands(args: &ExplainArgs, loaded: &Loaded, seed: u64) -> Vec<(String, String)> {
    let mut which = quoted_path(&args.file);
    if loaded.replay.is_none() {
        which.push_str(&format!(" --seed {seed}"));
    }
    // The other commands take a file as it is.
    if !args.set.is_empty() {
        let again = format!("oncesim run {which}{}", given(&args.set));
        return vec![(again, "the same run again".to_owned())];
    }
    let told = loaded.scenario.source.contains("# Shrunk by oncesim");
    let mut commands = vec![(format!("oncesim replay {which}"), "the same run again".to_owned())];
    let faults: BTreeSet<usize> = (0..loaded.scenario.scripted.len()).collect();
    if !told && (loaded.scenario.swarm.is_some() || !faults.is_empty()) {
        commands.push((format!("oncesim shrink {which}"), "the same failure, smaller".to_owned()));
    }
    commands
}
