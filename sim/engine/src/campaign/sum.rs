//! From what is kept of seeds to what is said about them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bound::bound_95;
use super::part::{ClaimCount, DigestSum, FaultCount, Found, Part};
use super::recheck::Nondeterminism;
use super::vacuity::{ScenarioFacts, SilentKind};
use crate::coverage::Coverage;
use crate::outcome::Judgement;

/// One distinct failure (or find).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct {
    /// The ids of its anomalies.
    pub fingerprint: String,
    /// What it means.
    pub judgement: Judgement,
    /// Seeds that show it, ascending; the first 100.
    pub seeds: Vec<u64>,
    /// How many seeds show it.
    pub count: u64,
    /// The digest of the first.
    pub digest: String,
    /// After how many seeds, and how much wall time of their shard, it was found first.
    pub found_after: (u64, Duration),
}

/// What the seeds say about one claim.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimSum {
    /// `log exactly-once`.
    pub claim: String,
    /// Seeds that decided it.
    pub exercised: u64,
    /// Those that broke it.
    pub broken: u64,
    /// Upper 95 % bound on the share of seeds that break it, among those that exercise it.
    pub bound_95: f64,
}

/// What a campaign, or its shards together, found.
#[derive(Debug, Clone, PartialEq)]
pub struct Sum {
    /// Seeds that ran.
    pub seeds: u64,
    /// Lowest and highest seed that ran.
    pub range: (u64, u64),
    /// Whether it was ended before all seeds had run.
    pub interrupted: bool,
    /// Wall time; of all shards together.
    pub wall: Duration,
    /// Virtual time covered.
    pub virtual_time: oncesim_types::Duration,
    /// Messages delivered.
    pub messages: u64,
    /// The sum of all runs' digests.
    pub digest: DigestSum,
    /// Distinct failures and finds, by fingerprint.
    pub failures: Vec<Distinct>,
    /// Seeds that ran twice.
    pub rechecked: u64,
    /// Those of them whose second run was another.
    pub nondeterministic: Vec<Nondeterminism>,
    /// How often each kind of fault was planned, and struck.
    pub faults: Vec<(String, FaultCount)>,
    /// Declared kinds that never struck.
    pub silent: Vec<SilentKind>,
    /// What the checkers saw.
    pub witnesses: Vec<(String, u64)>,
    /// What is claimed and no checker saw anything of.
    pub unseen: Vec<String>,
    /// The claims, one by one.
    pub claims: Vec<ClaimSum>,
    /// What was reached of what there is.
    pub coverage: Coverage,
    /// How many points had been reached after how many seeds: a staircase.
    pub growth: Vec<(u64, u64)>,
    /// Seeds since the last new point.
    pub seeds_since_new: u64,
    /// Seeds that proved nothing: a declared fault never struck, or the claim was not exercised.
    pub vacuous: u64,
    /// The judgement on the whole: the worst, or vacuous.
    pub judgement: Judgement,
    /// Upper 95 % bound on the share of seeds that break the claim, among those that exercise it.
    pub bound_95: f64,
}

impl Sum {
    /// The sum of parts, which have no seed in common. The order of the parts does not matter.
    #[must_use]
    pub fn of(subject: &ScenarioFacts, parts: &[&Part]) -> Sum {
        let total =
            |value: &dyn Fn(&Part) -> u64| parts.iter().map(|part| value(part)).sum::<u64>();
        let seeds = total(&|part| part.done);
        let (failing, vacuous) = (total(&|part| part.failing), total(&|part| part.vacuous));
        let faults = added(
            parts,
            |part| &part.faults,
            |a: &mut FaultCount, b| {
                a.planned += b.planned;
                a.struck += b.struck;
            },
        );
        let witnesses = added(parts, |part| &part.witnesses, |a, b| *a += b);
        let claims = added(
            parts,
            |part| &part.claims,
            |a: &mut ClaimCount, b| {
                a.exercised += b.exercised;
                a.broken += b.broken;
            },
        );
        let reached = reached(parts);
        let growth = growth(parts, &reached);
        let names = reached.keys().map(|(area, name)| (*area, *name));
        let mut nondeterministic: Vec<Nondeterminism> =
            parts.iter().flat_map(|part| &part.nondeterministic).cloned().collect();
        nondeterministic.sort_by_key(|it| it.seed);
        let mut sum = Sum {
            seeds,
            range: range(parts),
            interrupted: parts
                .iter()
                .any(|part| part.seeds.planned.is_some() && !part.is_complete() && !part.stopped),
            wall: Duration::from_millis(total(&|part| part.wall_ms)),
            virtual_time: oncesim_types::Duration(total(&|part| part.virtual_ns)),
            messages: total(&|part| part.messages),
            digest: DigestSum(parts.iter().fold(0, |sum, part| sum.wrapping_add(part.digest.0))),
            failures: distinct(parts),
            rechecked: total(&|part| part.rechecked),
            nondeterministic,
            silent: subject.silent(seeds, |kind| faults.get(kind).copied().unwrap_or_default()),
            unseen: unseen(subject, &claims, &witnesses),
            faults: faults.into_iter().collect(),
            witnesses: witnesses.into_iter().collect(),
            claims: claims.into_iter().map(|(claim, count)| claim_sum(claim, count)).collect(),
            coverage: Coverage::from_points(names),
            seeds_since_new: seeds - growth.last().map_or(0, |(after, _)| *after),
            growth,
            vacuous,
            judgement: Judgement::AsClaimed,
            bound_95: bound_95(failing, seeds - vacuous),
        };
        sum.judge(subject, total(&|part| part.expected) > 0);
        sum
    }

    /// The runs were chosen by what earlier ones had shown: nothing follows from their counts.
    pub fn is_no_sample(&mut self) {
        self.bound_95 = 1.0;
        self.claims.iter_mut().for_each(|claim| claim.bound_95 = 1.0);
    }

    fn judge(&mut self, subject: &ScenarioFacts, found: bool) {
        let worst = self.failures.iter().map(|failure| failure.judgement).max();
        let not_found = subject.expect.is_some() && !found;
        let nothing = self.seeds == 0 || self.vacuous == self.seeds;
        // A pitfall that was found has proved all that it had to.
        let silent = subject.expect.is_none()
            && (self.silent.iter().any(|kind| kind.telling) || !self.unseen.is_empty());
        let vacuous = not_found || nothing || silent;
        self.judgement = worst
            .into_iter()
            .chain(vacuous.then_some(Judgement::Vacuous))
            .max()
            .unwrap_or(Judgement::AsClaimed);
    }
}

fn claim_sum(claim: String, count: ClaimCount) -> ClaimSum {
    let ClaimCount { exercised, broken } = count;
    ClaimSum { claim, exercised, broken, bound_95: bound_95(broken, exercised) }
}

/// Lowest and highest seed that ran.
fn range(parts: &[&Part]) -> (u64, u64) {
    let ran = parts.iter().filter(|part| part.done > 0);
    let ends = ran.filter_map(|part| Some((part.seeds.seed(0)?, part.seeds.seed(part.done - 1)?)));
    let from = parts.iter().map(|part| part.seeds.from).min().unwrap_or_default();
    ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((from, from))
}

/// The counts of all parts, name by name.
fn added<V: Copy + Default>(
    parts: &[&Part],
    of: impl Fn(&Part) -> &BTreeMap<String, V>,
    add: impl Fn(&mut V, V),
) -> BTreeMap<String, V> {
    let mut all = BTreeMap::new();
    for (name, value) in parts.iter().flat_map(|part| of(part)) {
        add(all.entry(name.clone()).or_default(), *value);
    }
    all
}

/// Each point with the first seed that reached it.
fn reached<'a>(parts: &[&'a Part]) -> BTreeMap<(&'a str, &'a str), u64> {
    let mut all: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for part in parts {
        for (area, names) in &part.reached {
            for (name, seed) in names {
                let first = all.entry((area, name)).or_insert(*seed);
                *first = (*first).min(*seed);
            }
        }
    }
    all
}

/// How many seeds that ran are not above this one.
fn up_to(parts: &[&Part], seed: u64) -> u64 {
    parts.iter().map(|part| part.seeds.up_to(seed, part.done)).sum()
}

fn growth(parts: &[&Part], reached: &BTreeMap<(&str, &str), u64>) -> Vec<(u64, u64)> {
    let mut firsts: BTreeMap<u64, u64> = BTreeMap::new();
    for seed in reached.values() {
        *firsts.entry(*seed).or_default() += 1;
    }
    let mut points = 0;
    let step = |(seed, new): (&u64, &u64)| {
        points += new;
        (up_to(parts, *seed), points)
    };
    firsts.iter().map(step).collect()
}

fn distinct(parts: &[&Part]) -> Vec<Distinct> {
    let mut all: BTreeMap<&str, Found> = BTreeMap::new();
    for (fingerprint, found) in parts.iter().flat_map(|part| &part.found) {
        match all.get_mut(fingerprint.as_str()) {
            Some(known) => known.join(found),
            None => {
                all.insert(fingerprint, found.clone());
            }
        }
    }
    let one = |(fingerprint, found): (&str, Found)| {
        let seeds = found.seeds.first().map_or(0, |seed| up_to(parts, *seed));
        Distinct {
            fingerprint: fingerprint.to_owned(),
            judgement: found.judgement,
            seeds: found.seeds,
            count: found.count,
            digest: found.digest,
            found_after: (seeds, Duration::from_millis(found.after_ms)),
        }
    };
    all.into_iter().map(one).collect()
}

/// Claims that no seed decided, and what checkers should have seen and did not.
fn unseen(
    subject: &ScenarioFacts,
    claims: &BTreeMap<String, ClaimCount>,
    witnesses: &BTreeMap<String, u64>,
) -> Vec<String> {
    let exercised = |claim: &String| claims.get(claim).is_some_and(|count| count.exercised > 0);
    let seen = |what: &String| witnesses.get(what).is_some_and(|count| *count > 0);
    let claims = subject.claims.iter().filter(|claim| !exercised(claim));
    claims.chain(subject.checkers.iter().filter(|what| !seen(what))).cloned().collect()
}
