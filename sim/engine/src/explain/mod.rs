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

pub use changes::{Change, Changes, Edit, Sources};
pub use lab::Seen;
pub use necessity::{Necessities, Necessity};
pub use slice::{LeftOut, Link, LinkWhat};
pub use subject::Subject;
pub use unavoidable::{CurvePoint, Sealed, Share, Unavoidable};

use crate::outcome::{Judgement, Outcome, RunOptions};
use crate::run::run;
use crate::shrink::failure;
use lab::Lab;
use unavoidable::Forks;

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
    /// When it became unavoidable; `None`: nobody asked, or there was no time to find out.
    pub moment: Option<Unavoidable>,
    /// How sure it was at points of the chain, in the order of time.
    pub curve: Vec<CurvePoint>,
    /// Changes of the configuration that were tried; `None`: nobody asked, or there was no time for
    /// all of them.
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
    let case = case(scenario, plan, seed)?;
    let lab = Lab {
        anomaly: case.anomaly.id(),
        record: case.anomaly.witness.record,
        jobs: options.jobs,
        deadline: options.budget.map(|budget| WallInstant::now() + budget),
        stop: &options.stop,
        runs: AtomicU64::new(1),
    };
    let necessities = necessity::necessities(&lab, scenario, &case.outcome);
    let mut explanation = case.told(necessities);
    let (outcome, chain) = (&explanation.outcome, &explanation.chain);
    let mut forks = Forks::new(&lab, scenario, outcome, chain);
    let moment = forks.moment();
    let changes = changes::changes(&lab, scenario, outcome, &explanation.anomaly, sources);
    // Last, because it is worth least when the time runs out.
    let curve = moment.as_ref().and_then(|_| forks.curve());
    explanation.cut_short = moment.is_none() || changes.is_none() || curve.is_none();
    explanation.moment = moment;
    explanation.changes = changes;
    explanation.curve = curve.unwrap_or_default();
    explanation.runs = lab.runs.load(Relaxed);
    Ok(explanation)
}

/// Tells what led to the failure of `seed` and `plan`, from this one run: nothing else is tried.
/// `minimal`: its faults are known to be necessary, each of them, as they are after a shrink that
/// came to its end. Otherwise nothing is known of them, and what they did belongs to the chain.
///
/// # Errors
/// When the run does not fail, or fails without an anomaly.
pub fn tell(
    scenario: &Arc<Scenario>,
    plan: &FaultPlan,
    seed: u64,
    minimal: bool,
) -> Result<Explanation, Unexplained> {
    let case = case(scenario, plan, seed)?;
    let necessities = Necessities::untried(&case.outcome, minimal);
    Ok(case.told(necessities))
}

/// Whether a run can be explained: it fails (or shows what its scenario expects), by an anomaly.
#[must_use]
pub fn explainable(scenario: &Scenario, outcome: &Outcome) -> bool {
    let failure = failure(scenario, outcome);
    failure.is_some_and(|(fingerprint, _)| telling(scenario, &fingerprint, outcome).is_some())
}

/// A run that fails, and by what.
struct Case {
    outcome: Outcome,
    fingerprint: String,
    judgement: Judgement,
    anomaly: Anomaly,
}

/// Runs once, with everything that a run records of itself.
fn case(scenario: &Arc<Scenario>, plan: &FaultPlan, seed: u64) -> Result<Case, Unexplained> {
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
    Ok(Case { outcome, fingerprint, judgement, anomaly })
}

impl Case {
    /// What the run itself says.
    fn told(self, necessities: Necessities) -> Explanation {
        let Case { outcome, fingerprint, judgement, anomaly } = self;
        let (subject, chain) = sliced(&outcome, &anomaly, &necessities.concerned());
        Explanation {
            outcome,
            judgement,
            fingerprint,
            anomaly,
            subject,
            chain,
            necessities,
            moment: None,
            curve: Vec::new(),
            changes: None,
            runs: 1,
            cut_short: false,
        }
    }
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

fn sliced(outcome: &Outcome, anomaly: &Anomaly, concerned: &[usize]) -> (Subject, Vec<Link>) {
    let Some(history) = &outcome.history else { return Default::default() };
    let processes = &outcome.trace.processes;
    let subject = Subject::of(history, anomaly, processes);
    let concerned: BTreeSet<u32> =
        concerned.iter().filter_map(|at| u32::try_from(*at).ok()).collect();
    let run = slice::Run { history, trace: &outcome.trace, processes };
    let chain = slice::slice(&run, anomaly, &subject, &concerned);
    (subject, chain)
}
