//! What is kept of the seeds that have run: counts, and first seeds. Everything that a report says
//! is computed from parts, so that a campaign that was killed goes on, and shards add up.

use std::collections::{BTreeMap, BTreeSet};

use oncesim_semantics::{Claim, Holds, Level, Ordering};
use oncesim_spec::Scenario;
use serde::{Deserialize, Serialize};

use super::recheck::Nondeterminism;
use super::vacuity::kind_of;
use super::{Progress, fingerprint};
use crate::coverage::Coverage;
use crate::outcome::{Judgement, Outcome, shows_expected};
use crate::search::{Memory, WrittenRun};

/// Seeds listed per failure.
const SEEDS_KEPT: usize = 100;

/// Which seeds: every `of`-th one, from the first of this shard at or above `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seeds {
    /// The first seed of the whole campaign.
    pub from: u64,
    /// How many seeds the whole campaign has; `None`: as many as a budget allows.
    pub planned: Option<u64>,
    /// This shard, from 1 ...
    pub shard: u64,
    /// ... of so many: seed `s` belongs to shard `s % of + 1`.
    pub of: u64,
}

impl Seeds {
    /// How far the shard's first seed is from the campaign's.
    fn skip(&self) -> u64 {
        (self.shard - 1 + self.of - self.from % self.of) % self.of
    }

    /// The `index`-th seed, if there is one.
    #[must_use]
    pub fn seed(&self, index: u64) -> Option<u64> {
        let offset = index.checked_mul(self.of)?.checked_add(self.skip())?;
        let there = self.planned.is_none_or(|planned| offset < planned);
        there.then(|| self.from.checked_add(offset))?
    }

    /// How many seeds this shard has.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        // The last seed is the largest number that there is.
        let room = (u64::MAX - self.from).saturating_add(1);
        Some(self.planned?.min(room).saturating_sub(self.skip()).div_ceil(self.of))
    }

    /// How many of the first `done` seeds are not above `seed`.
    #[must_use]
    pub fn up_to(&self, seed: u64, done: u64) -> u64 {
        let offset = seed.checked_sub(self.from).and_then(|o| o.checked_sub(self.skip()));
        offset.map_or(0, |offset| (offset / self.of + 1).min(done))
    }

    /// Whether two shards have a seed in common, among those that they have done.
    #[must_use]
    pub fn overlap(&self, done: u64, other: &Seeds, other_done: u64) -> bool {
        let ends =
            |seeds: &Seeds, done: u64| Some((seeds.seed(0)?, seeds.seed(done.checked_sub(1)?)?));
        let (Some((a, a_end)), Some((b, b_end))) = (ends(self, done), ends(other, other_done))
        else {
            return false;
        };
        let (low, high) = (a.max(b), a_end.min(b_end));
        // A common seed shows within one round of the other shard's steps.
        let from = low - a;
        let start = a.checked_add(from.div_ceil(self.of).saturating_mul(self.of));
        std::iter::successors(start, |seed| seed.checked_add(self.of))
            .take(usize::try_from(other.of).unwrap_or(usize::MAX))
            .take_while(|seed| *seed <= high)
            .any(|seed| (seed - b).is_multiple_of(other.of))
    }
}

/// How often a kind of fault was planned, and struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FaultCount {
    /// Faults of the plans.
    pub planned: u64,
    /// Those that struck.
    pub struck: u64,
}

/// How often one claim was put to the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClaimCount {
    /// Seeds that decided it.
    pub exercised: u64,
    /// Those that broke it.
    pub broken: u64,
}

/// One distinct failure, or find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it means.
    pub judgement: Judgement,
    /// Seeds that show it, ascending; the first 100.
    pub seeds: Vec<u64>,
    /// How many seeds show it.
    pub count: u64,
    /// The digest of the first.
    pub digest: String,
    /// What ran first, if that seed alone does not say it: its strategy had learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<WrittenRun>,
    /// Wall time after which it was found.
    pub after_ms: u64,
}

/// The seeds of one shard that have run, from its first one on, without a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Which seeds are the shard's.
    pub seeds: Seeds,
    /// How many of them have run.
    pub done: u64,
    /// Whether it stopped because it had found what ends it: a failure that was enough, the expected
    /// anomaly, a difference between two runs of one seed.
    pub stopped: bool,
    /// Wall time.
    pub wall_ms: u64,
    /// Virtual time covered, in nanoseconds.
    pub virtual_ns: u64,
    /// Messages delivered.
    pub messages: u64,
    /// The sum of all runs' digests: the identity of the campaign, in whatever order it was done.
    pub digest: DigestSum,
    /// Runs that were not as claimed.
    pub failing: u64,
    /// Runs that proved nothing.
    pub vacuous: u64,
    /// Runs that show the expected anomaly.
    pub expected: u64,
    /// Seeds that ran twice.
    pub rechecked: u64,
    /// Those of them whose runs differ.
    pub nondeterministic: Vec<Nondeterminism>,
    /// Distinct failures and finds, by fingerprint.
    pub found: BTreeMap<String, Found>,
    /// Faults by kind.
    pub faults: BTreeMap<String, FaultCount>,
    /// What the checkers saw.
    pub witnesses: BTreeMap<String, u64>,
    /// The claims: `log exactly-once`.
    pub claims: BTreeMap<String, ClaimCount>,
    /// By area and name of each point that was reached: the first seed that did.
    pub reached: BTreeMap<String, BTreeMap<String, u64>>,
    /// What a strategy that learns knew after them, while there are more seeds to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// The same points as a set.
    #[serde(skip)]
    coverage: Coverage,
}

/// A sum of digests, modulo 2^128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DigestSum(pub u128);

impl Serialize for DigestSum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for DigestSum {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(DigestSum).map_err(serde::de::Error::custom)
    }
}

/// What a scenario claims, one name per claim.
pub(super) fn claims(claim: &Claim) -> Vec<(String, Option<Level>)> {
    let levels = Level::ALL.iter().filter_map(|level| {
        let guarantee = claim.at(*level)?;
        Some((format!("{} {}", level.name(), guarantee.name()), Some(*level)))
    });
    let ordering = claim.ordering.map(|ordering| {
        let name = match ordering {
            Ordering::PerPartition => "ordering per-partition",
            Ordering::PerKey => "ordering per-key",
        };
        (name.to_owned(), None)
    });
    levels.chain(ordering).collect()
}

/// Adds to the count of a name; the name is copied only once.
fn count<'a, V: Default>(counts: &'a mut BTreeMap<String, V>, name: &str) -> &'a mut V {
    if !counts.contains_key(name) {
        counts.insert(name.to_owned(), V::default());
    }
    counts.get_mut(name).expect("it is there")
}

impl Part {
    /// A part of which nothing has run.
    #[must_use]
    pub fn new(scenario: &Scenario, seeds: Seeds) -> Self {
        let claims = scenario.claim.iter().flat_map(claims);
        Part {
            seeds,
            done: 0,
            stopped: false,
            wall_ms: 0,
            virtual_ns: 0,
            messages: 0,
            digest: DigestSum::default(),
            failing: 0,
            vacuous: 0,
            expected: 0,
            rechecked: 0,
            nondeterministic: Vec::new(),
            found: BTreeMap::new(),
            faults: BTreeMap::new(),
            witnesses: BTreeMap::new(),
            claims: claims.map(|(name, _)| (name, ClaimCount::default())).collect(),
            reached: BTreeMap::new(),
            memory: None,
            coverage: Coverage::default(),
        }
    }

    /// Makes a part that was read from a file ready for more seeds.
    pub(super) fn reopen(&mut self) {
        let points = self.reached.iter();
        let points =
            points.flat_map(|(area, names)| names.keys().map(|n| (area.as_str(), n.as_str())));
        self.coverage = Coverage::from_points(points);
    }

    /// Whether all of its seeds have run.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.seeds.count().is_some_and(|count| self.done >= count)
    }

    /// Whether more of its seeds have to run.
    pub(super) fn is_open(&self) -> bool {
        !self.stopped && !self.is_complete()
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            done: self.done,
            failures: self.failing,
            virtual_time: oncesim_types::Duration(self.virtual_ns),
            messages: self.messages,
        }
    }

    /// Whether two parts say the same of the same seeds; how long it took is another matter.
    #[must_use]
    pub fn agrees(&self, other: &Part) -> bool {
        let timeless = |part: &Part| {
            let mut part = Part { wall_ms: 0, coverage: Coverage::default(), ..part.clone() };
            part.found.values_mut().for_each(|found| found.after_ms = 0);
            part
        };
        timeless(self) == timeless(other)
    }

    /// Takes in the next seed; gives its run back if it is the first of a distinct failure.
    pub(super) fn add(
        &mut self,
        scenario: &Scenario,
        (seed, outcome): (u64, Outcome),
        judgement: Judgement,
        wall_ms: u64,
    ) -> Option<(String, Outcome)> {
        self.done += 1;
        self.wall_ms = wall_ms;
        self.virtual_ns = self.virtual_ns.saturating_add(outcome.virtual_time.0);
        self.messages += outcome.messages;
        let bytes = outcome.digest.0.first_chunk().expect("a digest has 32 bytes");
        self.digest.0 = self.digest.0.wrapping_add(u128::from_be_bytes(*bytes));
        self.add_faults(&outcome);
        for witness in &outcome.verdict.witnesses {
            *count(&mut self.witnesses, witness.what) += witness.count;
        }
        self.add_claims(scenario, &outcome);
        self.add_coverage(seed, &outcome);
        let expected = shows_expected(scenario, &outcome);
        self.expected += u64::from(expected);
        match judgement {
            Judgement::AsClaimed if !expected => None,
            Judgement::Vacuous => {
                self.vacuous += 1;
                None
            }
            Judgement::AsClaimed => self.keep(scenario, (seed, outcome), judgement),
            Judgement::NotLive | Judgement::Violated | Judgement::Bug => {
                self.failing += 1;
                self.keep(scenario, (seed, outcome), judgement)
            }
        }
    }

    fn add_faults(&mut self, outcome: &Outcome) {
        for (fault, report) in outcome.plan.faults.iter().zip(&outcome.faults) {
            let count = count(&mut self.faults, kind_of(fault));
            count.planned += 1;
            count.struck += u64::from(report.struck.is_some());
        }
    }

    fn add_claims(&mut self, scenario: &Scenario, outcome: &Outcome) {
        let Some(claim) = &scenario.claim else { return };
        let guarantees = &outcome.verdict.guarantees;
        for (name, level) in claims(claim) {
            let promised = level.and_then(|level| Some((level, claim.at(level)?)));
            let holds = match promised {
                Some((level, guarantee)) => guarantees.get(level, guarantee),
                None => guarantees.ordering,
            };
            let count = count(&mut self.claims, &name);
            count.exercised += u64::from(holds != Holds::Unknown);
            count.broken += u64::from(holds == Holds::Violated);
        }
    }

    fn add_coverage(&mut self, seed: u64, outcome: &Outcome) {
        let before = self.coverage.clone();
        if self.coverage.merge(&outcome.coverage) == 0 {
            return;
        }
        let known: BTreeSet<(&str, String)> = before.points().collect();
        let new: Vec<_> = self.coverage.points().filter(|point| !known.contains(point)).collect();
        for (area, name) in new {
            count(&mut self.reached, area).insert(name, seed);
        }
    }

    fn keep(
        &mut self,
        scenario: &Scenario,
        (seed, outcome): (u64, Outcome),
        judgement: Judgement,
    ) -> Option<(String, Outcome)> {
        let fingerprint = fingerprint(scenario, &outcome);
        if let Some(found) = self.found.get_mut(&fingerprint) {
            found.count += 1;
            if found.seeds.len() < SEEDS_KEPT {
                found.seeds.push(seed);
            }
            return None;
        }
        let found = Found {
            judgement,
            seeds: vec![seed],
            count: 1,
            digest: outcome.digest.to_string(),
            run: None,
            after_ms: self.wall_ms,
        };
        self.found.insert(fingerprint.clone(), found);
        Some((fingerprint, outcome))
    }
}

impl Found {
    /// Takes in the same failure of another shard.
    pub(super) fn join(&mut self, other: &Found) {
        if other.seeds.first() < self.seeds.first() {
            self.judgement = other.judgement;
            self.digest.clone_from(&other.digest);
            self.run.clone_from(&other.run);
            self.after_ms = other.after_ms;
        }
        self.count += other.count;
        self.seeds.extend(&other.seeds);
        self.seeds.sort_unstable();
        self.seeds.truncate(SEEDS_KEPT);
    }
}
