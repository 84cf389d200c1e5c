//! `oncesim mutants`: every planted bug must be found by its named anomaly, and the clean model
//! must pass the same scenario.

use std::sync::Arc;

use oncesim::kafka::mutation::Mutation;
use oncesim::semantics::Severity;
use oncesim::{Outcome, RunEnd, RunOptions};
use oncesim_render::{MutantView, mutants_json, mutants_markdown, mutants_text};
use oncesim_spec::Scenario;

use crate::args::{MutantsArgs, TableFormat};
use crate::command::fuzz::cores;
use crate::command::strategies;
use crate::exit::{Exit, Refusal};
use crate::progress::ProgressLine;
use crate::{output, source};

/// The clean model runs at least so many seeds of each scenario.
const CLEAN_SEEDS: u64 = 25;

pub(crate) fn mutants(args: &MutantsArgs) -> Result<Exit, Refusal> {
    let format = if args.markdown { TableFormat::Markdown } else { args.format };
    if args.strategies {
        return strategies::strategies(args, format);
    }
    let paths = source::discover(std::slice::from_ref(&args.path))?;
    let scenarios = source::load_all(&paths, &[])?;
    let mut found = Vec::new();
    let mut line = ProgressLine::new("planted bugs", None);
    for scenario in scenarios {
        found.push(hunt(&scenario, args.seeds, &mut line)?);
    }
    line.finish();
    let text = match format {
        TableFormat::Markdown => mutants_markdown(&found),
        TableFormat::Text => mutants_text(&found, output::styled()),
        TableFormat::Json => mutants_json(&found),
    };
    output::result(&text)?;
    if found.iter().any(|mutant| mutant.problem.is_some()) {
        Ok(Exit::Violated)
    } else if found.iter().all(MutantView::caught) {
        Ok(Exit::AsClaimed)
    } else {
        Ok(Exit::Vacuous)
    }
}

/// Why a scenario is none of the mutation bank.
pub(crate) fn no_hunt(scenario: &Scenario) -> Refusal {
    Refusal::new(
        "this scenario plants no bug, or does not name the anomaly that shows it",
        scenario.path.clone(),
        "give it [mutation] with `plant` and [expect] with `anomaly` and `within`, or name a \
         folder of such scenarios",
    )
}

fn hunt(
    scenario: &Arc<Scenario>,
    seeds: Option<u64>,
    line: &mut ProgressLine,
) -> Result<MutantView, Refusal> {
    let planted = Mutation::ALL.iter().find(|&&mutation| scenario.mutations.has(mutation));
    let (Some(mutation), Some(expect)) = (planted, &scenario.expect) else {
        return Err(no_hunt(scenario));
    };
    let limit = seeds.unwrap_or(expect.within);
    let mut view = MutantView {
        id: mutation.id().to_owned(),
        imitates: mutation.imitates().to_owned(),
        scenario: scenario.path.clone(),
        anomaly: expect.anomaly.clone(),
        found: None,
        seeds: 0,
        hits: 0,
        others: Vec::new(),
        problem: None,
        clean_seeds: 0,
    };
    sweep(scenario, limit, &mut |outcome| {
        view.seeds += 1;
        line.count(outcome);
        // Of the run that shows it, or of all of them.
        view.hits += outcome.mutation_hits;
        if let RunEnd::Panicked(message) = &outcome.end {
            view.problem = Some(format!("seed {}: a panic: {message}", outcome.seed));
            return false;
        }
        if shows(outcome, &expect.anomaly) {
            view.found = Some(outcome.seed);
            view.hits = outcome.mutation_hits;
            view.others = others(outcome, &expect.anomaly);
        }
        view.found.is_none()
    });
    if view.found.is_some() && view.hits == 0 {
        view.problem = Some("the anomaly was found although the bug changed nothing".to_owned());
    }
    if view.problem.is_none() {
        clean(scenario, &expect.anomaly, &mut view, line);
    }
    Ok(view)
}

/// Runs the same seeds without the planted bug.
fn clean(scenario: &Arc<Scenario>, anomaly: &str, view: &mut MutantView, line: &mut ProgressLine) {
    let faithful = scenario.without_bugs();
    let limit = view.seeds.max(CLEAN_SEEDS);
    sweep(&Arc::new(faithful), limit, &mut |outcome| {
        view.clean_seeds += 1;
        line.count(outcome);
        view.problem = complaint(outcome, anomaly)
            .map(|complaint| format!("the clean model at seed {}: {complaint}", outcome.seed));
        view.problem.is_none()
    });
}

/// What the clean model must not do.
fn complaint(outcome: &Outcome, anomaly: &str) -> Option<String> {
    match &outcome.end {
        RunEnd::Panicked(message) => return Some(format!("a panic: {message}")),
        RunEnd::BudgetExhausted => return Some("its budget of events was used up".to_owned()),
        RunEnd::NotSettled => return Some("it never recovered".to_owned()),
        RunEnd::Settled => {}
    }
    if shows(outcome, anomaly) {
        return Some(format!("{anomaly} as well"));
    }
    let defect = outcome.verdict.anomalies.iter().find(|a| a.severity == Severity::Always);
    defect.map(|defect| format!("{}: {}", defect.id(), defect.witness.sentence))
}

fn shows(outcome: &Outcome, anomaly: &str) -> bool {
    outcome.verdict.anomalies.iter().any(|a| a.id() == anomaly || a.class.id == anomaly)
}

fn others(outcome: &Outcome, anomaly: &str) -> Vec<String> {
    let ids = outcome.verdict.anomalies.iter().map(oncesim::semantics::Anomaly::id);
    ids.filter(|id| *id != anomaly).map(str::to_owned).collect()
}

/// Runs seeds from 0 on, as many at a time as there are cores, and hands them over in order until
/// `next` has seen enough.
fn sweep(scenario: &Arc<Scenario>, seeds: u64, next: &mut dyn FnMut(&Outcome) -> bool) {
    let jobs = cores() as u64;
    let mut from = 0;
    while from < seeds {
        let upto = from.saturating_add(jobs).min(seeds);
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let runs: Vec<_> = (from..upto)
                .map(|seed| {
                    let options = RunOptions { seed, ..RunOptions::default() };
                    scope.spawn(move || oncesim::run(scenario, &options))
                })
                .collect();
            runs.into_iter().map(|run| run.join().expect("a run reports its panics")).collect()
        });
        if !outcomes.iter().all(&mut *next) {
            return;
        }
        from = upto;
    }
}
