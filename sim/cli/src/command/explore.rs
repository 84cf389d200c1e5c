//! `oncesim explore`: every placement of up to K faults in one small world.

use std::sync::Arc;

use oncesim::{
    Exploration, ExploreOptions, ExploreReport, Failure, FaultReport, Judgement, ShrinkOptions,
    default_kinds,
};
use oncesim_render::{
    DepthView, ExploreView, FindView, explore_json, explore_text, grouped, seconds, short_count,
};
use oncesim_spec::{FaultKind, PlannedFault, Scenario, Trigger};

use crate::args::{ExploreArgs, Format};
use crate::command::fuzz::{
    SHRINK_RUNS, SHRINK_TIME, cores, file_name, smaller, stop_on_interrupt,
};
use crate::command::run::quoted_path;
use crate::exit::{Exit, Refusal};
use crate::progress::ExploreLine;
use crate::{artifact, convert, output, source};

/// So many runs take a minute or two; more need somebody who wants them.
const RUNS: u64 = 250_000;

pub(crate) fn explore(args: &ExploreArgs) -> Result<Exit, Refusal> {
    let scenario = source::load(&args.scenario, &args.set)?.scenario;
    let kinds = kinds(args, &scenario)?;
    artifact::ensure_writable(&args.out)?;
    let options = ExploreOptions {
        seed: args.seed,
        faults: args.faults,
        kinds: kinds.clone(),
        jobs: args.jobs.map_or_else(cores, usize::from),
        budget: args.budget,
        stop: stop_on_interrupt(),
        merge: true,
    };
    let shrinking = ShrinkOptions {
        jobs: options.jobs.min(cores()),
        max_runs: SHRINK_RUNS,
        budget: Some(SHRINK_TIME),
        stop: Arc::clone(&options.stop),
        ..ShrinkOptions::default()
    };
    let exploration = Exploration::new(&scenario, options);
    refuse_too_large(args, &exploration)?;
    let mut line = ExploreLine::new(&args.scenario.display().to_string());
    let report = exploration.run(&mut |progress| line.update(progress));
    line.finish();
    let mut finds = Vec::new();
    for failure in &report.failures {
        finds.push(keep(args, &scenario, failure, &shrinking)?);
    }
    let view = view(args, &scenario, &kinds, &report, finds);
    output::result(&match args.format {
        Format::Text => explore_text(&view, output::styled()),
        Format::Json => explore_json(&view),
    })?;
    Ok(view.judgement.into())
}

fn kinds(args: &ExploreArgs, scenario: &Scenario) -> Result<Vec<FaultKind>, Refusal> {
    if args.kinds.is_empty() {
        return Ok(default_kinds(scenario));
    }
    let mut kinds = Vec::new();
    for name in &args.kinds {
        let name = name.trim();
        let Some(kind) = FaultKind::ALL.iter().find(|kind| kind.name() == name) else {
            let names: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
            let fix = format!("some of: {}", names.join(", "));
            let cause = format!("there is no kind of fault `{name}`");
            return Err(Refusal::new(cause, "--kinds", fix));
        };
        kinds.push(*kind);
    }
    // In one order, however they were given: it is the order of placements.
    Ok(FaultKind::ALL.iter().filter(|kind| kinds.contains(kind)).copied().collect())
}

fn refuse_too_large(args: &ExploreArgs, exploration: &Exploration) -> Result<(), Refusal> {
    let estimate = exploration.estimate();
    if estimate <= RUNS || args.budget.is_some() {
        return Ok(());
    }
    let faults = short_count(u64::from(args.faults), "fault", "faults");
    let about = if args.faults == 1 { "" } else { "about " };
    Err(Refusal::new(
        format!("up to {faults} have {about}{} placements in this world", grouped(estimate)),
        args.scenario.display().to_string(),
        format!(
            "explore fewer kinds (--kinds crash,ack-loss), fewer faults, or a smaller scenario; or \
             a part, as far as it gets: --budget 5m. Without a budget it runs up to {}",
            grouped(RUNS)
        ),
    ))
}

/// One file per distinct failure: the first placement that shows it, then the smaller run in its
/// place.
fn keep(
    args: &ExploreArgs,
    scenario: &Arc<Scenario>,
    failure: &Failure,
    shrinking: &ShrinkOptions,
) -> Result<FindView, Refusal> {
    let path = args.out.join(file_name(scenario, failure));
    artifact::write(&path, &source::counterexample(scenario, failure))?;
    let wanted = failure.judgement != Judgement::AsClaimed;
    let shrunk = if wanted { smaller(scenario, failure, shrinking) } else { None };
    if let Some((text, _)) = &shrunk {
        artifact::write(&path, text)?;
    }
    let planned = failure.first.faults.iter().zip(&failure.first.plan.faults);
    let placed = planned.filter(|(fault, _)| !fault.scripted);
    Ok(FindView {
        id: failure.fingerprint.clone(),
        judgement: convert::judgement(failure.judgement),
        runs: failure.count,
        sentence: convert::sentence(&failure.fingerprint, &failure.first),
        faults: placed.map(|(fault, planned)| in_words(fault, planned)).collect(),
        counterexample: Some(quoted_path(&path)),
        shrunk: shrunk.map(|(_, view)| view),
    })
}

/// A fault, and the moment of one that has no message to go by.
fn in_words(fault: &FaultReport, planned: &PlannedFault) -> String {
    match planned.trigger {
        Trigger::At(at) => format!("{} at {at}", fault.description),
        Trigger::Sent { .. } | Trigger::Delivered { .. } | Trigger::OnMessage { .. } => {
            fault.description.clone()
        }
    }
}

fn view(
    args: &ExploreArgs,
    scenario: &Scenario,
    kinds: &[FaultKind],
    report: &ExploreReport,
    finds: Vec<FindView>,
) -> ExploreView {
    let ended = (!report.complete).then(|| match args.budget {
        Some(budget) if report.wall >= budget => {
            format!("{} of wall time were used up", seconds(budget.as_secs_f64()))
        }
        _ => "it was interrupted".to_owned(),
    });
    ExploreView {
        scenario: scenario.path.clone(),
        title: scenario.title.clone(),
        expect: scenario.expect.as_ref().map(|expect| expect.anomaly.clone()),
        seed: args.seed,
        faults: u64::from(args.faults),
        kinds: kinds.iter().map(|kind| kind.name().to_owned()).collect(),
        given: report.base.plan.faults.len() as u64,
        ignores_swarm: scenario.swarm.is_some(),
        depths: report
            .depths
            .iter()
            .map(|depth| DepthView {
                faults: u64::from(depth.faults),
                placements: depth.placements,
                covered: depth.covered,
                done: depth.done,
                found: depth.found,
                vacuous: depth.vacuous,
            })
            .collect(),
        finds,
        complete: report.complete,
        ended,
        judgement: convert::judgement(report.judgement),
        wall: report.wall,
    }
}
