//! Why a run fails: its causal chain, the faults that it needs, when it was too late, what helps.
//!
//! Everything is found by running: a run takes milliseconds and is a function of scenario, seed and
//! plan, so the run without a fault, the run with other luck from a moment on, and the run under
//! another configuration are simply tried.

mod candidates;
mod changes;
mod facts;
mod lab;
mod necessity;
mod slice;
mod subject;
mod unavoidable;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration as WallDuration, Instant as WallInstant};

use oncesim_semantics::Anomaly;
use oncesim_spec::{FaultPlan, Scenario};
use oncesim_types::ActorId;

pub use changes::{Change, Changes, Edit, Sources};
pub use lab::Seen;
pub use necessity::{Necessities, Necessity};
pub use slice::{LeftOut, Link, LinkWhat};
pub use subject::Subject;
pub use unavoidable::{Share, Unavoidable};

use crate::cast::{Part, cast};
use crate::outcome::{Judgement, Outcome, RunOptions};
use crate::run::run;
use crate::shrink::failure;
use lab::Lab;

/// How to explain.
#[derive(Debug, Clone)]
pub struct ExplainOptions {
    /// Threads. The result does not depend on it, unless the budget ends it.
    pub jobs: usize,
    /// Wall time, if there is a limit.
    pub budget: Option<WallDuration>,
    /// Set by somebody else to end it early.
    pub stop: Arc<AtomicBool>,
}

/// What an explanation found out.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The run, with its history and its trace.
    pub outcome: Outcome,
    /// What it means.
    pub judgement: Judgement,
    /// Its fingerprint.
    pub fingerprint: String,
    /// The anomaly that is explained.
    pub anomaly: Anomaly,
    /// What that is about.
    pub subject: Subject,
    /// The causal chain.
    pub chain: Vec<Link>,
    /// What the faults have to do with it.
    pub necessities: Necessities,
    /// When it became unavoidable; `None`: there was no time to find out.
    pub moment: Option<Unavoidable>,
    /// Changes of the configuration that were tried; `None`: there was no time for all of them.
    pub changes: Option<Changes>,
    /// How many runs it took.
    pub runs: u64,
    /// Whether it ended early.
    pub cut_short: bool,
}

/// Why a run cannot be explained.
#[derive(Debug, Clone)]
pub enum Unexplained {
    /// It is as claimed. This is what it did.
    DoesNotFail(Box<Outcome>),
    /// It fails, but no checker found an anomaly: a bug of oncesim, or a budget that was used up.
    NoAnomaly(Box<Outcome>),
}

/// Explains the run of `seed` and `plan`.
///
/// # Errors
/// When the run does not fail, or fails without an anomaly.
pub fn explain(
    scenario: &Arc<Scenario>,
    plan: &FaultPlan,
    seed: u64,
    sources: &Sources<'_>,
    options: &ExplainOptions,
) -> Result<Explanation, Unexplained> {
    let outcome = run(
        scenario,
        &RunOptions {
            seed,
            plan: Some(plan.clone()),
            keep_history: true,
            keep_trace: true,
            ..RunOptions::default()
        },
    );
    let Some((fingerprint, judgement)) = failure(scenario, &outcome) else {
        return Err(Unexplained::DoesNotFail(Box::new(outcome)));
    };
    let Some(anomaly) = telling(scenario, &fingerprint, &outcome).cloned() else {
        return Err(Unexplained::NoAnomaly(Box::new(outcome)));
    };
    let lab = Lab {
        anomaly: anomaly.id(),
        jobs: options.jobs,
        deadline: options.budget.map(|budget| WallInstant::now() + budget),
        stop: &options.stop,
        runs: AtomicU64::new(1),
    };
    let necessities = necessity::necessities(&lab, scenario, &outcome);
    let (subject, chain) = sliced(scenario, &outcome, &anomaly, &necessities);
    let moment = unavoidable::moment(&lab, scenario, &outcome, &chain);
    let changes = changes::changes(&lab, scenario, &outcome, &anomaly, sources);
    Ok(Explanation {
        judgement,
        fingerprint,
        subject,
        chain,
        cut_short: moment.is_none() || changes.is_none(),
        necessities,
        moment,
        changes,
        runs: lab.runs.load(Relaxed),
        outcome,
        anomaly,
    })
}

/// The anomaly to explain: the expected one; else of those that gave the failure its name the first
/// that is not only what was stuck in the end.
fn telling<'a>(
    scenario: &Scenario,
    fingerprint: &str,
    outcome: &'a Outcome,
) -> Option<&'a Anomaly> {
    let anomalies = &outcome.verdict.anomalies;
    let expected = scenario.expect.as_ref().and_then(|expect| {
        let is = |it: &&Anomaly| it.id() == expect.anomaly || it.class.id == expect.anomaly;
        anomalies.iter().find(is)
    });
    let named = || {
        let mut named = anomalies.iter().filter(|a| fingerprint.split('+').any(|id| id == a.id()));
        let safety = named.clone().find(|anomaly| !anomaly.class.violates.liveness);
        safety.or_else(|| named.next())
    };
    let stuck = || anomalies.iter().find(|anomaly| anomaly.class.violates.liveness);
    expected.or_else(named).or_else(stuck).or_else(|| anomalies.first())
}

fn sliced(
    scenario: &Scenario,
    outcome: &Outcome,
    anomaly: &Anomaly,
    necessities: &Necessities,
) -> (Subject, Vec<Link>) {
    let Some(history) = &outcome.history else { return Default::default() };
    let processes = processes(scenario);
    let subject = Subject::of(history, anomaly, &processes);
    let needed: BTreeSet<u32> =
        necessities.needed().into_iter().filter_map(|at| u32::try_from(at).ok()).collect();
    let run = slice::Run { history, trace: &outcome.trace, processes: &processes };
    let chain = slice::slice(&run, anomaly, &subject, &needed);
    (subject, chain)
}

/// The first actor of each actor's process, by actor.
fn processes(scenario: &Scenario) -> Vec<ActorId> {
    let cast = cast(scenario, &[]);
    let of = |(n, part): (usize, Part<'_>)| match part {
        Part::ProcessorProducer(_, process, _)
        | Part::ProcessorRestore(_, process)
        | Part::RelayRestore(_, process) => process,
        _ => ActorId(u16::try_from(n).expect("few actors")),
    };
    cast.iter().enumerate().map(|(n, member)| of((n, member.part))).collect()
}
