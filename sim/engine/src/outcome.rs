//! What a run is asked for and what it gives back.

use std::fmt;

use oncesim_history::History;
use oncesim_history::trace::Trace;
use oncesim_history::traffic::Traffic;
use oncesim_kafka::mutation::Mutations;
use oncesim_semantics::{Claim, GuaranteeTable, Holds, Level, Severity, Verdict};
use oncesim_spec::{FaultPlan, Scenario};
use oncesim_types::{Duration, Instant};
use serde::{Deserialize, Serialize};

use crate::coverage::Coverage;
use crate::sighting::{Act, Sighting};

/// What to run, besides the scenario.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Picks the run.
    pub seed: u64,
    /// The faults, instead of those that the seed draws.
    pub plan: Option<FaultPlan>,
    /// Keep the history in the outcome.
    pub keep_history: bool,
    /// Keep steps with their causes, and one line per message and event, in the outcome. Does not
    /// change the digest.
    pub keep_trace: bool,
    /// Count requests, bytes and flushes. Does not change the digest.
    pub keep_traffic: bool,
    /// From some step on, other luck.
    pub fork: Option<Fork>,
}

/// Another future for a run: up to a step it is the same, from there on the network and the disks
/// draw anew, and faults that have not struck yet never do, unless they are kept. It asks whether the
/// run could still have been saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// The first step of the other future, as in [`oncesim_history::trace::Trace::steps`].
    pub before: oncesim_history::trace::StepId,
    /// Which future.
    pub salt: u64,
    /// Faults that have not struck yet still do.
    pub keep_faults: bool,
}

/// The identity of a run: BLAKE3 over its whole trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    /// The first 16 bytes in hexadecimal: enough to tell runs apart, short enough to paste.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..16].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// Everything came to rest, and the drain read every topic.
    Settled,
    /// The liveness bound passed; the reasons are anomalies of the verdict.
    NotSettled,
    /// The event budget was used up: a livelock of the system or of the model.
    BudgetExhausted,
    /// A bug of oncesim.
    Panicked(String),
}

/// One fault of the plan, and whether it struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultReport {
    /// In words.
    pub description: String,
    /// The kind, as `swarm.kinds` names it.
    pub kind: &'static str,
    /// When it struck; `None`: never.
    pub struck: Option<Instant>,
    /// Whether the scenario declares it (else: the seed drew it).
    pub scripted: bool,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// The faults that were planned.
    pub plan: FaultPlan,
    /// The run's identity.
    pub digest: Digest,
    /// How it ended.
    pub end: RunEnd,
    /// Virtual time from start to end.
    pub virtual_time: Duration,
    /// Events of the kernel.
    pub events: u64,
    /// Messages delivered.
    pub messages: u64,
    /// What the checkers say.
    pub verdict: Verdict,
    /// The faults, in plan order.
    pub faults: Vec<FaultReport>,
    /// How often a planted bug changed what happened.
    pub mutation_hits: u64,
    /// The drawn world in a few lines: brokers, links, faults.
    pub world: Vec<String>,
    /// Actor names by id.
    pub actor_names: Vec<String>,
    /// What was reached of what there is.
    pub coverage: Coverage,
    /// The history, if it was asked for.
    pub history: Option<History>,
    /// The trace, if it was asked for; else empty.
    pub trace: Trace,
    /// What was counted, if it was asked for; else nothing.
    pub traffic: Traffic,
    /// Messages as triggers count them, if the trace was asked for.
    pub sightings: Vec<Sighting>,
    /// The steps in which processes act, if the trace was asked for.
    pub acts: Vec<Act>,
}

/// What an outcome means for the claim of its scenario. The order is the order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// Everything as claimed (or the expected anomaly was found).
    AsClaimed,
    /// Nothing wrong, but nothing proved either: nothing was delivered, a scripted fault never
    /// struck, or (over a campaign) the expected anomaly was not found.
    Vacuous,
    /// The system never recovered.
    NotLive,
    /// A claimed guarantee was violated.
    Violated,
    /// A bug of oncesim.
    Bug,
}

/// Judges one run by its scenario's claim. For a scenario with an expectation, a run without the
/// anomaly is [`Judgement::AsClaimed`] here: only a campaign can say that it was never found.
#[must_use]
pub fn judge(scenario: &Scenario, outcome: &Outcome) -> Judgement {
    let live = match &outcome.end {
        RunEnd::Panicked(_) => return Judgement::Bug,
        RunEnd::BudgetExhausted => return Judgement::NotLive,
        RunEnd::NotSettled => false,
        RunEnd::Settled => true,
    };
    if shows_expected(scenario, outcome) {
        return Judgement::AsClaimed;
    }
    let defect =
        outcome.verdict.anomalies.iter().any(|anomaly| {
            anomaly.severity == Severity::Always && !anomaly.class.violates.liveness
        });
    let claimed = scenario
        .claim
        .map_or(Judgement::AsClaimed, |claim| judge_claim(&claim, &outcome.verdict.guarantees));
    if claimed == Judgement::Violated || (defect && scenario.mutations == Mutations::NONE) {
        return Judgement::Violated;
    }
    if !live {
        return Judgement::NotLive;
    }
    let missed = outcome.faults.iter().any(|fault| fault.scripted && fault.struck.is_none());
    if missed && scenario.expect.is_none() { Judgement::Vacuous } else { claimed }
}

/// Whether a run shows the anomaly that its scenario expects.
pub(crate) fn shows_expected(scenario: &Scenario, outcome: &Outcome) -> bool {
    scenario.expect.as_ref().is_some_and(|expected| {
        outcome
            .verdict
            .anomalies
            .iter()
            .any(|anomaly| anomaly.id() == expected.anomaly || anomaly.class.id == expected.anomaly)
    })
}

fn judge_claim(claim: &Claim, guarantees: &GuaranteeTable) -> Judgement {
    let promised = Level::ALL
        .iter()
        .filter_map(|level| claim.at(*level).map(|guarantee| guarantees.get(*level, guarantee)))
        .chain(claim.ordering.map(|_| guarantees.ordering));
    promised
        .map(|holds| match holds {
            Holds::Holds => Judgement::AsClaimed,
            Holds::Unknown => Judgement::Vacuous,
            Holds::Violated => Judgement::Violated,
        })
        .max()
        .unwrap_or(Judgement::AsClaimed)
}
