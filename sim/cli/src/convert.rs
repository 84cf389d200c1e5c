//! What the engine gives, as what reports show.

use std::time::Duration;

use oncesim::{
    CampaignReport, Failure, FaultReport, Outcome, RunEnd, ShrinkEnd, ShrinkOptions, Shrunk, Size,
};
use oncesim_render as render;
use oncesim_spec::Scenario;

pub(crate) const fn judgement(judgement: oncesim::Judgement) -> render::Judgement {
    match judgement {
        oncesim::Judgement::AsClaimed => render::Judgement::AsClaimed,
        oncesim::Judgement::Vacuous => render::Judgement::Vacuous,
        oncesim::Judgement::NotLive => render::Judgement::NotLive,
        oncesim::Judgement::Violated => render::Judgement::Violated,
        oncesim::Judgement::Bug => render::Judgement::Bug,
    }
}

fn end(end: &RunEnd) -> render::End {
    match end {
        RunEnd::Settled => render::End::Settled,
        RunEnd::NotSettled => render::End::NotSettled,
        RunEnd::BudgetExhausted => render::End::BudgetExhausted,
        RunEnd::Panicked(message) => render::End::Panicked(message.clone()),
    }
}

fn fault(fault: &FaultReport) -> render::FaultView {
    render::FaultView {
        description: fault.description.clone(),
        kind: fault.kind.to_owned(),
        struck: fault.struck,
        scripted: fault.scripted,
    }
}

/// What a run recorded of itself, if it was asked to.
pub(crate) fn recording(outcome: &Outcome) -> render::Recording {
    let history = outcome.history.clone();
    history.map_or_else(render::Recording::default, |history| render::Recording {
        history,
        trace: outcome.trace.clone(),
    })
}

pub(crate) fn expectation(scenario: &Scenario) -> Option<(String, u64)> {
    scenario.expect.as_ref().map(|expect| (expect.anomaly.clone(), expect.within))
}

/// One run, judged by its scenario.
pub(crate) fn run(
    scenario: &Scenario,
    outcome: &Outcome,
    wall: Duration,
    command: String,
) -> render::RunView {
    render::RunView {
        scenario: scenario.path.clone(),
        title: scenario.title.clone(),
        claim: scenario.claim,
        expect: expectation(scenario),
        seed: outcome.seed,
        digest: outcome.digest.to_string(),
        end: end(&outcome.end),
        virtual_time: outcome.virtual_time,
        wall,
        events: outcome.events,
        messages: outcome.messages,
        verdict: outcome.verdict.clone(),
        faults: outcome.faults.iter().map(fault).collect(),
        world: outcome.world.clone(),
        recording: recording(outcome),
        judgement: judgement(oncesim::judge(scenario, outcome)),
        note: None,
        command,
    }
}

/// The sentence of the anomaly that gave a failure its name; else of what was stuck.
fn telling<'a>(fingerprint: &str, outcome: &'a Outcome) -> Option<&'a str> {
    let anomalies = &outcome.verdict.anomalies;
    let named = anomalies.iter().find(|a| fingerprint.split('+').any(|id| id == a.id()));
    let stuck = || anomalies.iter().find(|anomaly| anomaly.class.violates.liveness);
    let told = named.or_else(stuck).or_else(|| anomalies.first());
    told.map(|anomaly| anomaly.witness.sentence.as_str())
}

/// What happened in a run that failed, in a sentence.
pub(crate) fn sentence(fingerprint: &str, outcome: &Outcome) -> String {
    let told = telling(fingerprint, outcome);
    match &outcome.end {
        RunEnd::Panicked(message) => message.clone(),
        RunEnd::BudgetExhausted => format!(
            "its budget of events was used up (limits.events); {}",
            told.unwrap_or("nothing says why"),
        ),
        RunEnd::Settled | RunEnd::NotSettled => match told {
            Some(sentence) => sentence.to_owned(),
            None => "not everything had settled when the liveness bound passed".to_owned(),
        },
    }
}

pub(crate) fn sizes(before: &Size, after: &Size) -> Vec<(String, u64, u64)> {
    before
        .parts()
        .into_iter()
        .zip(after.parts())
        .map(|((what, before), (_, after))| (what.to_owned(), before, after))
        .collect()
}

/// A failure that was made smaller.
pub(crate) fn shrunk(
    shrunk: &Shrunk,
    scenario: &str,
    wall: Duration,
    options: &ShrinkOptions,
) -> render::ShrinkView {
    let ended = shrunk.ended.map(|end| match end {
        ShrinkEnd::Runs => format!("{} runs were used up", options.max_runs),
        ShrinkEnd::Time => {
            let budget = options.budget.unwrap_or(wall).as_secs_f64();
            format!("{} of wall time were used up", render::seconds(budget))
        }
        ShrinkEnd::Stopped => "it was interrupted".to_owned(),
    });
    render::ShrinkView {
        id: shrunk.fingerprint.clone(),
        judgement: judgement(shrunk.judgement),
        sentence: sentence(&shrunk.fingerprint, &shrunk.outcome),
        scenario: scenario.to_owned(),
        seed: shrunk.outcome.seed,
        sizes: sizes(&shrunk.before, &shrunk.after),
        removed: shrunk.removed.iter().map(|&(kind, n)| (kind.to_owned(), n)).collect(),
        runs: shrunk.runs,
        wall,
        ended,
    }
}

/// What was kept of a failure.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The file to replay.
    pub(crate) file: Option<String>,
    /// How it was made smaller.
    pub(crate) shrunk: Option<render::ShrinkView>,
}

fn failure(failure: &Failure, kept: Kept) -> render::FailureView {
    let first = &failure.first;
    let sentence = format!("seed {}: {}", first.seed, sentence(&failure.fingerprint, first));
    render::FailureView {
        id: failure.fingerprint.clone(),
        judgement: judgement(failure.judgement),
        seeds: failure.seeds.clone(),
        count: failure.count,
        sentence,
        counterexample: kept.file,
        shrunk: kept.shrunk,
        found_after: (0, Duration::ZERO),
    }
}

/// One campaign; `kept` is what was kept of its failures, in their order.
pub(crate) fn campaign(
    scenario: &Scenario,
    report: &CampaignReport,
    kept: Vec<Kept>,
) -> render::CampaignView {
    let mut verdict = judgement(report.judgement);
    if !report.nondeterministic.is_empty() {
        verdict = verdict.max(render::Judgement::Nondeterministic);
    }
    // A search that ended because it had found what it looked for was not interrupted.
    let found = scenario.expect.is_some() && verdict == render::Judgement::AsClaimed;
    let named = |counts: &[(&'static str, u64)]| {
        counts.iter().map(|&(name, n)| (name.to_owned(), n)).collect()
    };
    render::CampaignView {
        scenario: scenario.path.clone(),
        title: scenario.title.clone(),
        expect: expectation(scenario),
        seeds: report.seeds,
        range: report.range,
        interrupted: report.interrupted && !found,
        wall: report.wall,
        virtual_time: report.virtual_time,
        messages: report.messages,
        failures: report.failures.iter().zip(kept).map(|(f, kept)| failure(f, kept)).collect(),
        nondeterministic: report.nondeterministic.clone(),
        faults_struck: named(&report.faults_struck),
        witnesses: named(&report.witnesses),
        vacuous: report.vacuous,
        judgement: verdict,
        bound_95: report.bound_95,
        faults_declared: Vec::new(),
        coverage: Vec::new(),
        growth: Vec::new(),
        seeds_since_new: 0,
    }
}
