//! What a report is made of: plain data, filled by whoever ran something.

use oncesim_semantics::{Claim, Verdict};
use oncesim_types::{Duration, Instant};
use serde::{Deserialize, Serialize};

use crate::row::Recording;

/// What a run or a campaign means for what its scenario claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// Everything as claimed, or the expected anomaly was found.
    AsClaimed,
    /// Nothing wrong and nothing proved.
    Vacuous,
    /// The system never recovered.
    NotLive,
    /// A claimed guarantee was violated.
    Violated,
    /// The same input gave another digest.
    Nondeterministic,
    /// A bug of oncesim.
    Bug,
}

impl Judgement {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Judgement::AsClaimed => "as-claimed",
            Judgement::Vacuous => "vacuous",
            Judgement::NotLive => "not-live",
            Judgement::Violated => "violated",
            Judgement::Nondeterministic => "nondeterministic",
            Judgement::Bug => "bug",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Everything came to rest.
    Settled,
    /// The liveness bound passed first.
    NotSettled,
    /// The event budget was used up.
    BudgetExhausted,
    /// A bug of oncesim, with its message.
    Panicked(String),
}

/// One fault of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultView {
    /// In words.
    pub description: String,
    /// Its kind, as scenarios name it.
    pub kind: String,
    /// When it struck; `None`: never.
    pub struck: Option<Instant>,
    /// Whether the scenario declares it (else the seed drew it).
    pub scripted: bool,
}

/// One run.
#[derive(Debug, Clone)]
pub struct RunView {
    /// The scenario's path, as the user gave it.
    pub scenario: String,
    /// The scenario's title.
    pub title: String,
    /// What it claims.
    pub claim: Option<Claim>,
    /// The anomaly that it expects, and within how many seeds.
    pub expect: Option<(String, u64)>,
    /// The seed.
    pub seed: u64,
    /// The run's identity.
    pub digest: String,
    /// How it ended.
    pub end: End,
    /// Virtual time.
    pub virtual_time: Duration,
    /// Wall time.
    pub wall: std::time::Duration,
    /// Events of the kernel.
    pub events: u64,
    /// Messages delivered.
    pub messages: u64,
    /// What the checkers say.
    pub verdict: Verdict,
    /// The faults, in plan order.
    pub faults: Vec<FaultView>,
    /// The drawn world in a few lines.
    pub world: Vec<String>,
    /// What it recorded of itself, or nothing: what the excerpts of its trace are taken from.
    pub recording: Recording,
    /// What it means.
    pub judgement: Judgement,
    /// A note that belongs to this report alone, such as how a replay compares.
    pub note: Option<String>,
    /// The command that shows the same run again.
    pub command: String,
    /// The command that explains it, if there is something to explain.
    pub why: Option<String>,
}

/// One distinct failure (or find) of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureView {
    /// The ids of its anomalies, or `panic`, `not-live`.
    pub id: String,
    /// What it means.
    pub judgement: Judgement,
    /// The first seeds that show it.
    pub seeds: Vec<u64>,
    /// How many seeds show it.
    pub count: u64,
    /// What happened in the first of them, in a sentence.
    pub sentence: String,
    /// The file to replay, if one was written or is known.
    pub counterexample: Option<String>,
    /// How the run in that file was made smaller, if it was.
    pub shrunk: Option<ShrinkView>,
    /// After how many seeds, and how much wall time, it was found first.
    pub found_after: (u64, std::time::Duration),
}

/// One area of what a campaign reached: the states and edges of one state machine, say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AreaView {
    /// Its name: `transaction coordinator`.
    pub area: String,
    /// How many of its points were reached ...
    pub reached: u64,
    /// ... of all that there are.
    pub known: u64,
    /// Those that were not, by name.
    pub missing: Vec<String>,
}

/// Why a run fails: what `oncesim explain` found out.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplanationView {
    /// The scenario's path.
    pub scenario: String,
    /// The scenario's title.
    pub title: String,
    /// The seed.
    pub seed: u64,
    /// The ids of its anomalies.
    pub id: String,
    /// The one that is explained.
    pub anomaly: String,
    /// What it means.
    pub judgement: Judgement,
    /// The story: paragraphs of sentences.
    pub story: Vec<Vec<String>>,
    /// The causal chain: only what the witness depends on, in the order of time.
    pub chain: Vec<LinkView>,
    /// The faults of the plan, with what runs without them showed.
    pub faults: Vec<NecessityView>,
    /// What the run without any fault shows, in a sentence, if that is worth one.
    pub without_any: Option<String>,
    /// When the failure became unavoidable, if that could be found.
    pub unavoidable: Option<UnavoidableView>,
    /// When luck was decided, if the faults alone did not decide it.
    pub sealed: Option<UnavoidableView>,
    /// What was found out about the moment, in a sentence: always, if it was looked for.
    pub moment: Option<String>,
    /// How sure the failure was at points of the chain, in the order of time.
    pub curve: Vec<CurveView>,
    /// The nearest changes of the configuration that were tried, those that help first.
    pub changes: Vec<ChangeView>,
    /// What the seeds are with which the changes were tried, in words.
    pub changes_over: String,
    /// How many runs all of it took.
    pub runs: u64,
    /// Wall time.
    pub wall: std::time::Duration,
    /// Why it ended before everything was tried, if it did.
    pub ended: Option<String>,
    /// Commands that go on from here, with what they do.
    pub commands: Vec<(String, String)>,
}

/// One event of a causal chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// When.
    pub time: Instant,
    /// Whose.
    pub actor: String,
    /// The other end of a message.
    pub peer: Option<String>,
    /// The event of the history that it is, if it is one.
    pub event: Option<u32>,
    /// The step of the trace that it belongs to.
    pub step: u32,
    /// What happened.
    pub text: String,
    /// Whether the anomaly's witness names it.
    pub witness: bool,
    /// Whether it is a fault that strikes.
    pub fault: bool,
    /// Lines of the trace before it that were left out: heartbeats and fetches, and others.
    pub left_out: (u64, u64),
}

/// What a fault has to do with a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NecessityView {
    /// The fault, in words.
    pub description: String,
    /// When it struck; `None`: never.
    pub struck: Option<Instant>,
    /// Whether it is known if the failure needs it.
    pub known: bool,
    /// Whether the run without it does not fail in the same way.
    pub necessary: bool,
    /// Whether that run fails in the same way, but on another record.
    pub for_this_one: bool,
    /// Whether it is one of several of which any is enough.
    pub either: bool,
    /// What the run without it does, in a sentence.
    pub without: String,
}

/// When a failure became unavoidable.
#[derive(Debug, Clone, PartialEq)]
pub struct UnavoidableView {
    /// The moment.
    pub at: Instant,
    /// What happens then.
    pub event: String,
    /// Which link of the chain that is.
    pub link: usize,
    /// Of so many forks before it, with other draws from there on, so many fail.
    pub before: (u64, u64),
    /// The same after it.
    pub after: (u64, u64),
}

/// How sure a failure was at one point of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurveView {
    /// When.
    pub at: Instant,
    /// Just after what happens then; else just before.
    pub after: bool,
    /// What happens then.
    pub event: String,
    /// Which link of the chain that is.
    pub link: usize,
    /// Of so many forks without the faults that were still to come, so many fail.
    pub without: (u64, u64),
    /// The same with them.
    pub kept: (u64, u64),
}

/// A change of the configuration that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeView {
    /// In words.
    pub what: String,
    /// Why it works, in a sentence; empty if there is nothing to say.
    pub because: String,
    /// As `--set` takes it: `producers.shop.config.acks=all`; several are one change.
    pub set: Vec<String>,
    /// Seeds that failed with it ...
    pub failed: u64,
    /// ... of so many.
    pub seeds: u64,
    /// Seeds that failed without it, of as many.
    pub failed_before: u64,
    /// The same for the faults of the explained run, where the seeds above draw others: how many
    /// fail with it, of how many, and how many without.
    pub same_faults: Option<(u64, u64, u64)>,
    /// Anomalies that come in its place.
    pub instead: Vec<String>,
    /// What else it does, if that is worth a word.
    pub note: Option<String>,
}

impl ChangeView {
    /// What comes in its place, and what else it does.
    #[must_use]
    pub fn remarks(&self) -> Option<String> {
        let instead = || format!("but then there is {}", self.instead.join(", "));
        let instead = (!self.instead.is_empty()).then(instead);
        let remarks: Vec<String> = instead.into_iter().chain(self.note.clone()).collect();
        (!remarks.is_empty()).then(|| remarks.join("; "))
    }

    /// Whether no run failed with it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failed == 0 && self.same_faults.is_none_or(|(failed, ..)| failed == 0)
    }
}

/// A failure that was made smaller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShrinkView {
    /// The ids of its anomalies, or `panic`, `not-live`.
    pub id: String,
    /// What it means.
    pub judgement: Judgement,
    /// What happens in the small run, in a sentence.
    pub sentence: String,
    /// The scenario's path.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What is counted, before and after; faults are among it.
    pub sizes: Vec<(String, u64, u64)>,
    /// How many faults of each kind were taken out.
    pub removed: Vec<(String, u64)>,
    /// Settings that were taken out, by their dotted paths.
    pub settings: Vec<String>,
    /// How many runs it took.
    pub runs: u64,
    /// Wall time.
    pub wall: std::time::Duration,
    /// Why it ended before nothing more could be taken out, if it did.
    pub ended: Option<String>,
}

impl ShrinkView {
    /// How many faults are left.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.sizes.iter().find(|(what, ..)| what == "faults").map_or(0, |(_, _, after)| *after)
    }
}

/// An exploration of one small world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExploreView {
    /// The scenario's path.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// The anomaly that it expects.
    pub expect: Option<String>,
    /// The seed of the world.
    pub seed: u64,
    /// Up to how many faults were to be placed.
    pub faults: u64,
    /// Of which kinds.
    pub kinds: Vec<String>,
    /// Scripted faults of the scenario, which strike in every run.
    pub given: u64,
    /// Whether the scenario has a swarm, which draws nothing here.
    pub ignores_swarm: bool,
    /// By number of faults, from 1; empty: it fails without any.
    pub depths: Vec<DepthView>,
    /// What was found.
    pub finds: Vec<FindView>,
    /// Whether every placement is covered.
    pub complete: bool,
    /// If not: why.
    pub ended: Option<String>,
    /// What it means.
    pub judgement: Judgement,
    /// Wall time.
    pub wall: std::time::Duration,
}

/// The placements of exactly so many faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthView {
    /// How many faults.
    pub faults: u64,
    /// How many placements there are.
    pub placements: u64,
    /// How many of them were run, or are the same as one that was.
    pub covered: u64,
    /// How many runs that took.
    pub done: u64,
    /// Runs that failed, or showed what was looked for.
    pub found: u64,
    /// Runs that exercised nothing of the claim.
    pub vacuous: u64,
}

/// One distinct failure (or find) of an exploration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindView {
    /// The ids of its anomalies, or `panic`, `not-live`.
    pub id: String,
    /// What it means.
    pub judgement: Judgement,
    /// How many runs show it.
    pub runs: u64,
    /// What happens in the first of them, in a sentence.
    pub sentence: String,
    /// The faults of the first of them, in words.
    pub faults: Vec<String>,
    /// The file to replay.
    pub counterexample: Option<String>,
    /// How the run in that file was made smaller, if it was.
    pub shrunk: Option<ShrinkView>,
}

/// What a regression does today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegressionState {
    /// What it did when it was found.
    Fails,
    /// It fails in another way.
    FailsOtherwise,
    /// It does not fail.
    NoLongerFails,
}

impl RegressionState {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RegressionState::Fails => "fails",
            RegressionState::FailsOtherwise => "fails-otherwise",
            RegressionState::NoLongerFails => "no-longer-fails",
        }
    }
}

/// One regression, replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegressionView {
    /// Its file.
    pub file: String,
    /// The ids of the anomalies that it showed when it was found.
    pub id: String,
    /// Those that it shows today, if it fails.
    pub now: Option<String>,
    /// What it does today ...
    pub state: RegressionState,
    /// ... and what that means.
    pub judgement: Judgement,
    /// What happens, in a sentence; empty if it does not fail.
    pub sentence: String,
}

/// What a campaign says about one claim.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimView {
    /// `log exactly-once`.
    pub claim: String,
    /// Seeds that put it to the test.
    pub exercised: u64,
    /// Those that broke it.
    pub broken: u64,
    /// Upper 95 % bound on the share of seeds that break it, 0 to 1.
    pub bound_95: f64,
}

/// A declared kind of fault that never struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentView {
    /// Its name.
    pub kind: String,
    /// How often it was planned all the same.
    pub planned: u64,
    /// Whether there were enough seeds to say that it cannot strike.
    pub telling: bool,
}

/// Two runs of one seed that are not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NondeterminismView {
    /// The seed.
    pub seed: u64,
    /// The digest of each run.
    pub digests: [String; 2],
    /// The number of the first event that differs.
    pub event: Option<u64>,
    /// What each run has there.
    pub sides: [String; 2],
    /// The files with the two histories, if they were kept.
    pub histories: Option<[String; 2]>,
    /// The command that runs the seed again.
    pub command: String,
}

/// A campaign over one scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignView {
    /// The scenario's path.
    pub scenario: String,
    /// The scenario's title.
    pub title: String,
    /// The anomaly that it expects, and within how many seeds.
    pub expect: Option<(String, u64)>,
    /// Seeds that ran.
    pub seeds: u64,
    /// First and last seed.
    pub range: (u64, u64),
    /// Whether it was ended early.
    pub interrupted: bool,
    /// Wall time.
    pub wall: std::time::Duration,
    /// Virtual time covered.
    pub virtual_time: Duration,
    /// Messages delivered.
    pub messages: u64,
    /// Distinct failures and finds.
    pub failures: Vec<FailureView>,
    /// Seeds whose second run had another digest.
    pub nondeterministic: Vec<u64>,
    /// How often each fault kind struck.
    pub faults_struck: Vec<(String, u64)>,
    /// What the checkers saw.
    pub witnesses: Vec<(String, u64)>,
    /// Seeds that proved nothing; the bound leaves them out.
    pub vacuous: u64,
    /// What it means.
    pub judgement: Judgement,
    /// Upper 95 % bound on the share of seeds that break the claim, 0 to 1.
    pub bound_95: f64,
    /// Fault kinds that the scenario declares, also those that never struck.
    pub faults_declared: Vec<String>,
    /// What was reached of all that is known, by area.
    pub coverage: Vec<AreaView>,
    /// How many points had been reached after how many seeds: a staircase.
    pub growth: Vec<(u64, u64)>,
    /// Seeds since the last new point.
    pub seeds_since_new: u64,
    /// The claims, one by one.
    pub claims: Vec<ClaimView>,
    /// Declared kinds of fault that never struck.
    pub silent: Vec<SilentView>,
    /// Claims and checkers that should have seen something, and did not.
    pub unseen: Vec<String>,
    /// Seeds that ran twice, to see whether they are the same run.
    pub rechecked: u64,
    /// Those that were not.
    pub nondeterminism: Vec<NondeterminismView>,
}

impl CampaignView {
    /// Runs per second of wall time.
    #[must_use]
    pub fn runs_per_second(&self) -> f64 {
        let seconds = self.wall.as_secs_f64();
        if seconds > 0.0 { self.seeds as f64 / seconds } else { 0.0 }
    }
}

/// All campaigns of one command.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryView {
    /// Regressions, which were replayed first.
    pub regressions: Vec<RegressionView>,
    /// One per scenario, in the order in which they ran.
    pub campaigns: Vec<CampaignView>,
    /// Scenarios that did not run because the campaign was ended.
    pub skipped: Vec<String>,
    /// Shards whose results are missing: `2/3`.
    pub missing: Vec<String>,
    /// Wall time of everything.
    pub wall: std::time::Duration,
}

impl SummaryView {
    /// The worst of everything; `None` when nothing ran. With a shard missing nothing is proved.
    #[must_use]
    pub fn worst(&self) -> Option<Judgement> {
        let campaigns = self.campaigns.iter().map(|campaign| campaign.judgement);
        let missing = (!self.missing.is_empty()).then_some(Judgement::Vacuous);
        campaigns.chain(missing).chain(self.regressions.iter().map(|one| one.judgement)).max()
    }
}

/// One planted bug, hunted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutantView {
    /// Its id: `repl.truncate-to-hw`.
    pub id: String,
    /// The real bug that it imitates.
    pub imitates: String,
    /// The scenario's path.
    pub scenario: String,
    /// The anomaly that must show it.
    pub anomaly: String,
    /// The seed that showed it first.
    pub found: Option<u64>,
    /// After how many seeds it was found, or how many were tried.
    pub seeds: u64,
    /// How often the planted bug changed what happened.
    pub hits: u64,
    /// Other anomalies in the run that found it.
    pub others: Vec<String>,
    /// What went wrong besides: a panic, an anomaly of the clean model.
    pub problem: Option<String>,
    /// Seeds that the clean model passed.
    pub clean_seeds: u64,
}

impl MutantView {
    /// Whether the mutation bank can count on it.
    #[must_use]
    pub fn caught(&self) -> bool {
        self.found.is_some() && self.problem.is_none()
    }
}

/// One measured figure beside its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchLine {
    /// What was measured.
    pub what: String,
    /// The figure, with its unit.
    pub measured: String,
    /// What it should reach, with its unit.
    pub target: String,
    /// Whether it does; `None`: there is no target.
    pub met: Option<bool>,
}
