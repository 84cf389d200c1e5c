//! JSON documents. Their shape is a contract, numbered by `schema`; a field may be added under the
//! same number, never changed or removed.

use std::collections::BTreeMap;

use oncesim_semantics::{Anomaly, Guarantee, Level, Verdict};
use schemars::JsonSchema;
use serde::Serialize;

use crate::model::{
    AreaView, BenchLine, CampaignView, MutantView, NondeterminismView, RunView, ShrinkView,
    SummaryView,
};

/// Version of all documents.
pub(crate) const SCHEMA: u32 = 1;

#[derive(Serialize, JsonSchema)]
pub(crate) struct RunDoc<'a> {
    schema: u32,
    scenario: &'a str,
    seed: u64,
    digest: &'a str,
    virtual_ms: u64,
    wall_ms: u64,
    events: u64,
    outcome: &'static str,
    guarantees: GuaranteesDoc,
    anomalies: Vec<AnomalyDoc<'a>>,
    faults: BTreeMap<&'a str, u64>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct GuaranteesDoc {
    log: LevelDoc,
    processing: LevelDoc,
    effect: LevelDoc,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct LevelDoc {
    at_most_once: &'static str,
    at_least_once: &'static str,
    exactly_once: &'static str,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct AnomalyDoc<'a> {
    id: &'static str,
    level: &'static str,
    count: u64,
    witness: WitnessDoc<'a>,
}

#[derive(Serialize, JsonSchema)]
struct WitnessDoc<'a> {
    sentence: &'a str,
    events: &'a [u32],
    record: Option<u64>,
    offsets: Vec<i64>,
    actors: Vec<u16>,
    virtual_ms: u64,
}

/// One run.
#[must_use]
pub fn run_json(run: &RunView) -> String {
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for fault in &run.faults {
        *faults.entry(fault.kind.as_str()).or_default() += u64::from(fault.struck.is_some());
    }
    document(&RunDoc {
        schema: SCHEMA,
        scenario: &run.scenario,
        seed: run.seed,
        digest: &run.digest,
        virtual_ms: run.virtual_time.as_millis(),
        wall_ms: millis(run.wall),
        events: run.events,
        outcome: run.judgement.name(),
        guarantees: guarantees(&run.verdict),
        anomalies: run.verdict.anomalies.iter().map(anomaly).collect(),
        faults,
    })
}

pub(crate) fn guarantees(verdict: &Verdict) -> GuaranteesDoc {
    let level = |level: Level| {
        let name = |guarantee: Guarantee| verdict.guarantees.get(level, guarantee).name();
        LevelDoc {
            at_most_once: name(Guarantee::AtMostOnce),
            at_least_once: name(Guarantee::AtLeastOnce),
            exactly_once: name(Guarantee::ExactlyOnce),
        }
    };
    GuaranteesDoc {
        log: level(Level::Log),
        processing: level(Level::Processing),
        effect: level(Level::Effect),
    }
}

pub(crate) fn anomaly(anomaly: &Anomaly) -> AnomalyDoc<'_> {
    let witness = &anomaly.witness;
    AnomalyDoc {
        id: anomaly.id(),
        level: anomaly.class.level.name(),
        count: anomaly.count,
        witness: WitnessDoc {
            sentence: &witness.sentence,
            events: &witness.events,
            record: witness.record.map(|record| record.0),
            offsets: witness.offsets.iter().map(|offset| offset.0).collect(),
            actors: witness.actors.iter().map(|actor| actor.0).collect(),
            virtual_ms: witness.time.0 / 1_000_000,
        },
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct FuzzDoc<'a> {
    schema: u32,
    scenarios: Vec<CampaignDoc<'a>>,
    /// What all of them reached together, with the names of what none of them did.
    coverage: Vec<TogetherDoc>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    regressions: Vec<RegressionDoc<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    missing_shards: &'a [String],
}

#[derive(Serialize, JsonSchema)]
struct RegressionDoc<'a> {
    file: &'a str,
    id: &'a str,
    state: &'static str,
    now: Option<&'a str>,
    outcome: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct CampaignDoc<'a> {
    scenario: &'a str,
    seeds: u64,
    outcome: &'static str,
    anomalies: Vec<FailureDoc<'a>>,
    runs_per_s: f64,
    /// Of a claim; a pitfall that must be found has none.
    bound_95: Option<f64>,
    first_seed: u64,
    last_seed: u64,
    interrupted: bool,
    virtual_ms: u64,
    wall_ms: u64,
    rechecked: u64,
    nondeterminism: Vec<NondeterminismDoc<'a>>,
    claims: Vec<ClaimDoc<'a>>,
    faults: BTreeMap<&'a str, FaultDoc>,
    /// What checkers saw, by what they count.
    checkers: BTreeMap<&'a str, u64>,
    /// What they should have seen and did not.
    unseen: &'a [String],
    coverage: Vec<AreaDoc<'a>>,
    /// After how many seeds so many points had been reached.
    growth: &'a [(u64, u64)],
    seeds_since_new: u64,
}

#[derive(Serialize, JsonSchema)]
struct NondeterminismDoc<'a> {
    seed: u64,
    digests: &'a [String; 2],
    event: Option<u64>,
    sides: &'a [String; 2],
    histories: Option<&'a [String; 2]>,
    command: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct ClaimDoc<'a> {
    claim: &'a str,
    exercised: u64,
    broken: u64,
    bound_95: f64,
}

#[derive(Serialize, JsonSchema)]
struct FaultDoc {
    declared: bool,
    struck: u64,
    /// Of one that never struck: whether there were enough seeds to say that it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    telling: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
struct AreaDoc<'a> {
    area: &'a str,
    reached: u64,
    known: u64,
}

#[derive(Serialize, JsonSchema)]
struct TogetherDoc {
    area: String,
    reached: u64,
    known: u64,
    missing: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct FailureDoc<'a> {
    id: &'a str,
    seeds: &'a [u64],
    counterexample: Option<&'a str>,
    count: u64,
    found_after: u64,
    found_after_wall_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shrunk: Option<ShrinkDoc<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct ShrinkDoc<'a> {
    runs: u64,
    ended_early: Option<&'a str>,
    sizes: BTreeMap<&'a str, BeforeAfterDoc>,
}

#[derive(Serialize, JsonSchema)]
struct BeforeAfterDoc {
    before: u64,
    after: u64,
}

/// All campaigns of one command.
#[must_use]
pub fn campaign_json(summary: &SummaryView) -> String {
    document(&FuzzDoc {
        schema: SCHEMA,
        scenarios: summary.campaigns.iter().map(campaign).collect(),
        coverage: crate::coverage::areas(summary)
            .into_iter()
            .map(|AreaView { area, reached, known, missing }| TogetherDoc {
                area,
                reached,
                known,
                missing,
            })
            .collect(),
        missing_shards: &summary.missing,
        regressions: summary
            .regressions
            .iter()
            .map(|one| RegressionDoc {
                file: &one.file,
                id: &one.id,
                state: one.state.name(),
                now: one.now.as_deref(),
                outcome: one.judgement.name(),
            })
            .collect(),
    })
}

fn shrunk(shrink: &ShrinkView) -> ShrinkDoc<'_> {
    ShrinkDoc {
        runs: shrink.runs,
        ended_early: shrink.ended.as_deref(),
        sizes: shrink
            .sizes
            .iter()
            .map(|(what, before, after)| {
                (what.as_str(), BeforeAfterDoc { before: *before, after: *after })
            })
            .collect(),
    }
}

fn campaign(campaign: &CampaignView) -> CampaignDoc<'_> {
    CampaignDoc {
        scenario: &campaign.scenario,
        seeds: campaign.seeds,
        outcome: campaign.judgement.name(),
        anomalies: campaign
            .failures
            .iter()
            .map(|failure| FailureDoc {
                id: &failure.id,
                seeds: &failure.seeds,
                counterexample: failure.counterexample.as_deref(),
                count: failure.count,
                found_after: failure.found_after.0,
                found_after_wall_ms: millis(failure.found_after.1),
                shrunk: failure.shrunk.as_ref().map(shrunk),
            })
            .collect(),
        runs_per_s: (campaign.runs_per_second() * 10.0).round() / 10.0,
        bound_95: campaign.expect.is_none().then_some(campaign.bound_95),
        first_seed: campaign.range.0,
        last_seed: campaign.range.1,
        interrupted: campaign.interrupted,
        virtual_ms: campaign.virtual_time.as_millis(),
        wall_ms: millis(campaign.wall),
        rechecked: campaign.rechecked,
        nondeterminism: campaign.nondeterminism.iter().map(nondeterminism).collect(),
        claims: campaign
            .claims
            .iter()
            .map(|claim| ClaimDoc {
                claim: &claim.claim,
                exercised: claim.exercised,
                broken: claim.broken,
                bound_95: claim.bound_95,
            })
            .collect(),
        faults: faults(campaign),
        checkers: campaign.witnesses.iter().map(|(what, n)| (what.as_str(), *n)).collect(),
        unseen: &campaign.unseen,
        coverage: campaign
            .coverage
            .iter()
            .map(|area| AreaDoc { area: &area.area, reached: area.reached, known: area.known })
            .collect(),
        growth: &campaign.growth,
        seeds_since_new: campaign.seeds_since_new,
    }
}

fn nondeterminism(found: &NondeterminismView) -> NondeterminismDoc<'_> {
    NondeterminismDoc {
        seed: found.seed,
        digests: &found.digests,
        event: found.event,
        sides: &found.sides,
        histories: found.histories.as_ref(),
        command: &found.command,
    }
}

/// Kinds that struck, and those that were declared.
fn faults(campaign: &CampaignView) -> BTreeMap<&str, FaultDoc> {
    let struck = campaign.faults_struck.iter().map(|(kind, n)| (kind.as_str(), *n, None));
    let silent =
        campaign.silent.iter().map(|silent| (silent.kind.as_str(), 0, Some(silent.telling)));
    let doc = |(kind, struck, telling)| {
        let declared = campaign.faults_declared.iter().any(|it| it == kind);
        (kind, FaultDoc { declared, struck, telling })
    };
    struck.chain(silent).map(doc).collect()
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct MutantsDoc<'a> {
    schema: u32,
    mutants: Vec<MutantDoc<'a>>,
    found: usize,
}

#[derive(Serialize, JsonSchema)]
struct MutantDoc<'a> {
    id: &'a str,
    scenario: &'a str,
    anomaly: &'a str,
    found: bool,
    seed: Option<u64>,
    seeds: u64,
    hits: u64,
    also: &'a [String],
    clean_seeds: u64,
    problem: Option<&'a str>,
}

/// The planted bugs.
#[must_use]
pub fn mutants_json(mutants: &[MutantView]) -> String {
    document(&MutantsDoc {
        schema: SCHEMA,
        mutants: mutants
            .iter()
            .map(|mutant| MutantDoc {
                id: &mutant.id,
                scenario: &mutant.scenario,
                anomaly: &mutant.anomaly,
                found: mutant.caught(),
                seed: mutant.found,
                seeds: mutant.seeds,
                hits: mutant.hits,
                also: &mutant.others,
                clean_seeds: mutant.clean_seeds,
                problem: mutant.problem.as_deref(),
            })
            .collect(),
        found: mutants.iter().filter(|mutant| mutant.caught()).count(),
    })
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct BenchDoc<'a> {
    schema: u32,
    figures: Vec<FigureDoc<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct FigureDoc<'a> {
    what: &'a str,
    measured: &'a str,
    target: &'a str,
    met: Option<bool>,
}

/// Measured figures.
#[must_use]
pub fn bench_json(lines: &[BenchLine]) -> String {
    let figures = lines
        .iter()
        .map(|line| FigureDoc {
            what: &line.what,
            measured: &line.measured,
            target: &line.target,
            met: line.met,
        })
        .collect();
    document(&BenchDoc { schema: SCHEMA, figures })
}

pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `value` as one pretty document with a newline at its end.
pub(crate) fn document<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value)
        .expect("documents hold strings, integers and finite numbers only");
    text.push('\n');
    text
}
