//! What the engine gives, as what reports show.

use std::collections::BTreeMap;
use std::time::Duration;

use oncesim::{
    Distinct, FaultReport, Nondeterminism, Outcome, RunEnd, ScenarioFacts, ShrinkEnd,
    ShrinkOptions, Shrunk, Size, Sum,
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
        why: None,
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
        settings: shrunk.settings.clone(),
        removed: shrunk.removed.iter().map(|&(kind, n)| (kind.to_owned(), n)).collect(),
        runs: shrunk.runs,
        wall,
        ended,
    }
}

/// What people are told of a failure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// What happened in the first run, in a sentence.
    pub(crate) sentence: String,
    /// The file to replay.
    pub(crate) file: Option<String>,
    /// How it was made smaller.
    pub(crate) shrunk: Option<render::ShrinkView>,
}

fn failure(failure: &Distinct, kept: Option<Kept>) -> render::FailureView {
    let kept = kept.unwrap_or_default();
    let first = failure.seeds.first().copied().unwrap_or_default();
    render::FailureView {
        id: failure.fingerprint.clone(),
        judgement: judgement(failure.judgement),
        seeds: failure.seeds.clone(),
        count: failure.count,
        sentence: format!("seed {first}: {}", kept.sentence),
        counterexample: kept.file,
        shrunk: kept.shrunk,
        found_after: failure.found_after,
    }
}

/// What reports call the judgement on a campaign.
fn verdict(sum: &Sum) -> render::Judgement {
    let verdict = judgement(sum.judgement);
    if sum.nondeterministic.is_empty() {
        verdict
    } else {
        verdict.max(render::Judgement::Nondeterministic)
    }
}

/// One campaign; `kept` is what people are told of its failures, by fingerprint.
pub(crate) fn campaign(
    subject: &ScenarioFacts,
    sum: &Sum,
    mut kept: BTreeMap<String, Kept>,
) -> render::CampaignView {
    let verdict = verdict(sum);
    // A search that ended because it had found what it looked for was not interrupted.
    let found = subject.expect.is_some() && verdict == render::Judgement::AsClaimed;
    let faults = sum.faults.iter().filter(|(_, count)| count.struck > 0);
    render::CampaignView {
        scenario: subject.path.clone(),
        title: subject.title.clone(),
        expect: subject.expect.clone(),
        seeds: sum.seeds,
        range: sum.range,
        interrupted: sum.interrupted && !found,
        wall: sum.wall,
        virtual_time: sum.virtual_time,
        messages: sum.messages,
        failures: sum.failures.iter().map(|it| failure(it, kept.remove(&it.fingerprint))).collect(),
        nondeterministic: sum.nondeterministic.iter().map(|it| it.seed).collect(),
        faults_struck: faults.map(|(kind, count)| (kind.clone(), count.struck)).collect(),
        witnesses: sum.witnesses.clone(),
        vacuous: sum.vacuous,
        judgement: verdict,
        bound_95: sum.bound_95,
        faults_declared: subject.declared().into_iter().map(str::to_owned).collect(),
        coverage: sum.coverage.by_area().into_iter().map(area).collect(),
        growth: sum.growth.clone(),
        seeds_since_new: sum.seeds_since_new,
        claims: sum.claims.iter().map(claim).collect(),
        silent: sum.silent.iter().map(silent).collect(),
        unseen: sum.unseen.clone(),
        rechecked: sum.rechecked,
        nondeterminism: sum.nondeterministic.iter().map(nondeterminism).collect(),
    }
}

fn area(area: oncesim::AreaCoverage) -> render::AreaView {
    let oncesim::AreaCoverage { area, reached, known, missing } = area;
    render::AreaView { area: area.to_owned(), reached, known, missing }
}

fn claim(claim: &oncesim::ClaimSum) -> render::ClaimView {
    render::ClaimView {
        claim: claim.claim.clone(),
        exercised: claim.exercised,
        broken: claim.broken,
        bound_95: claim.bound_95,
    }
}

fn silent(kind: &oncesim::SilentKind) -> render::SilentView {
    render::SilentView { kind: kind.kind.clone(), planned: kind.planned, telling: kind.telling }
}

fn nondeterminism(found: &Nondeterminism) -> render::NondeterminismView {
    render::NondeterminismView {
        seed: found.seed,
        digests: found.digests.clone(),
        event: found.event,
        sides: found.sides.clone(),
        histories: found.files.clone(),
        command: String::new(),
    }
}

/// An event of a history, with its time and its actor.
pub(crate) fn event_in_words(history: &oncesim::history::History, event: u64) -> String {
    let event = usize::try_from(event).ok().and_then(|event| history.events.get(event));
    event.map_or_else(
        || "the history has ended".to_owned(),
        |event| {
            let actor = history.actors.get(usize::from(event.actor.0));
            let actor = actor.map_or_else(|| event.actor.to_string(), |actor| actor.name.clone());
            format!("{} {actor}: {}", event.time, render::event_text(history, event))
        },
    )
}
