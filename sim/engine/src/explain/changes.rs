//! The nearest changes of the configuration that make a failure go away, each tried.
//!
//! A candidate is an edit of the scenario, as `--set` makes it. It is tried with the faults of the
//! explained run over many seeds, and, if the scenario draws faults, with faults that fresh seeds
//! draw: the same seeds with and without it. First a few runs each say which candidates lower the
//! rate at all; only these are tried over all seeds. Pairs are tried when no single one is enough.

use std::collections::BTreeSet;
use std::sync::Arc;

use oncesim_semantics::Anomaly;
use oncesim_spec::{FaultPlan, Scenario};

use super::candidates::{Candidate, candidates};
use super::lab::{Lab, Seen, Task};
use super::unavoidable::Share;
use crate::outcome::{Outcome, RunOptions};

/// Seeds over which a change is tried with the explained run's faults ...
const SEEDS: u64 = 32;
/// ... and with faults that fresh seeds draw.
const FRESH: u64 = 96;
/// Seeds of the first look.
const LOOK: u64 = 6;
/// Changes that are tried over all seeds, at most.
const TRIED: usize = 6;

/// A scenario with some values changed; `None`: it would not be valid.
pub type Edit<'a> = dyn Fn(&[String]) -> Option<Arc<Scenario>> + 'a;

/// Where changed scenarios come from.
pub struct Sources<'a> {
    /// The explained scenario.
    pub edit: &'a Edit<'a>,
    /// The scenario that it came from, if that draws its faults.
    pub fresh: Option<&'a Edit<'a>>,
}

/// A change that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// In words.
    pub what: String,
    /// Why it works, in a sentence; empty if there is nothing to say.
    pub because: String,
    /// As `--set` takes it.
    pub sets: Vec<String>,
    /// With the faults of the explained run: how many seeds fail, with it and without.
    pub same_faults: (Share, Share),
    /// With faults that fresh seeds draw: the same.
    pub fresh: Option<(Share, Share)>,
    /// What comes in its place: anomalies that were not there without it.
    pub instead: Vec<&'static str>,
    /// Runs that never came to rest, of those with it.
    pub stuck: u64,
    /// Sends that fail with it, of all, in per cent, above those without.
    pub refused: u64,
    /// What else is worth a word.
    pub note: Option<&'static str>,
    /// How far it goes: 1 is a property of a client, 2 one of the cluster, 3 a change of an
    /// application, 4 another design.
    pub cost: u8,
}

impl Change {
    /// Whether no run fails with it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.same_faults.0.failed == 0 && self.fresh.is_none_or(|(with, _)| with.failed == 0)
    }
}

/// What was tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Those that lower the rate, the nearest first.
    pub found: Vec<Change>,
    /// How many were tried.
    pub tried: usize,
    /// Seeds of each kind.
    pub seeds: u64,
    /// Fresh seeds, if there are any.
    pub fresh: Option<u64>,
}

/// Runs of one world: with the faults of the explained run, and with fresh ones.
struct Measured {
    same: Vec<Seen>,
    fresh: Vec<Seen>,
}

struct Bench<'a> {
    lab: &'a Lab<'a>,
    sources: &'a Sources<'a>,
    plan: &'a FaultPlan,
    seed: u64,
}

/// Tries what may help.
pub(super) fn changes(
    lab: &Lab<'_>,
    scenario: &Scenario,
    first: &Outcome,
    anomaly: &Anomaly,
    sources: &Sources<'_>,
) -> Option<Changes> {
    let bench = Bench { lab, sources, plan: &first.plan, seed: first.seed };
    let before = bench.measure(&[], SEEDS, FRESH)?;
    let all = candidates(scenario, anomaly);
    let mut looked: Vec<(u64, Candidate)> = Vec::new();
    let short = before.same.iter().take(usize::try_from(LOOK).unwrap_or(0));
    let short = short.filter(|seen| seen.same.is_some()).count() as u64;
    let mut tried = 0;
    for candidate in all {
        if (sources.edit)(&candidate.sets).is_none() {
            continue;
        }
        tried += 1;
        let seen = bench.measure(&candidate.sets, LOOK, 0)?;
        let failed = seen.same.iter().filter(|seen| seen.same.is_some()).count() as u64;
        if failed < short || short == 0 {
            looked.push((failed, candidate));
        }
    }
    // Those that may hold first; among these the cheapest, as the table has them.
    looked.sort_by_key(|(failed, candidate)| (*failed, candidate.cost));
    looked.truncate(TRIED);
    let mut found = Vec::new();
    for (_, candidate) in &looked {
        found.extend(bench.change(candidate, &before)?);
    }
    if !found.iter().any(Change::holds) {
        for pair in pairs(&found, &looked) {
            tried += 1;
            found.extend(bench.change(&pair, &before)?);
        }
    }
    found.sort_by_key(|change| {
        let fresh = change.fresh.map_or(0, |(with, _)| with.failed);
        let clean = change.instead.is_empty() && change.stuck == 0;
        (!change.holds(), !clean, fresh + change.same_faults.0.failed, change.cost)
    });
    let fresh = sources.fresh.map(|_| FRESH);
    Some(Changes { found, tried, seeds: SEEDS, fresh })
}

/// Pairs of the changes that help most.
fn pairs(found: &[Change], looked: &[(u64, Candidate)]) -> Vec<Candidate> {
    let helps = |candidate: &&Candidate| found.iter().any(|it| it.sets == candidate.sets);
    let best: Vec<&Candidate> = looked.iter().map(|(_, it)| it).filter(helps).take(3).collect();
    let mut pairs = Vec::new();
    for (n, a) in best.iter().enumerate() {
        for b in &best[n + 1..] {
            let keys: BTreeSet<&str> =
                a.sets.iter().filter_map(|set| set.split('=').next()).collect();
            if b.sets.iter().filter_map(|set| set.split('=').next()).any(|key| keys.contains(key)) {
                continue;
            }
            pairs.push(Candidate {
                what: format!("{}, and {}", a.what, b.what),
                because: format!("{} {}", a.because, b.because).trim().to_owned(),
                sets: a.sets.iter().chain(&b.sets).cloned().collect(),
                cost: a.cost + b.cost,
                note: a.note.or(b.note),
            });
        }
    }
    pairs
}

impl Bench<'_> {
    /// Runs the changed scenario over so many seeds of each kind; the explained seed comes first.
    fn measure(&self, sets: &[String], seeds: u64, fresh: u64) -> Option<Measured> {
        let scenario = (self.sources.edit)(sets)?;
        let others = (0..).filter(|seed| *seed != self.seed);
        let seeds = std::iter::once(self.seed).chain(others).take(usize::try_from(seeds).ok()?);
        let with_plan = |seed| Task {
            scenario: Arc::clone(&scenario),
            options: RunOptions { seed, plan: Some(self.plan.clone()), ..RunOptions::default() },
        };
        let same = self.lab.all(&seeds.map(with_plan).collect::<Vec<_>>())?;
        let mut drawn = Vec::new();
        if fresh > 0
            && let Some(edit) = self.sources.fresh
        {
            let scenario = edit(sets)?;
            let drawing = |seed| Task {
                scenario: Arc::clone(&scenario),
                options: RunOptions { seed, ..RunOptions::default() },
            };
            drawn = self.lab.all(&(0..fresh).map(drawing).collect::<Vec<_>>())?;
        }
        Some(Measured { same, fresh: drawn })
    }

    /// A candidate over all seeds; nothing in it when it does not lower the rate. `None`: there was
    /// no time.
    fn change(&self, candidate: &Candidate, before: &Measured) -> Option<Option<Change>> {
        let with = self.measure(&candidate.sets, SEEDS, FRESH)?;
        let same_faults = (share(&with.same), share(&before.same));
        let fresh = self.sources.fresh.map(|_| (share(&with.fresh), share(&before.fresh)));
        let (drawn, drawn_before) = fresh.unwrap_or(same_faults);
        let lowers =
            same_faults.0.failed < same_faults.1.failed && drawn.failed <= drawn_before.failed;
        if !lowers {
            return Some(None);
        }
        let had: BTreeSet<&'static str> = before.all().flat_map(|it| it.others.clone()).collect();
        let instead: BTreeSet<&'static str> = with.all().flat_map(|it| it.others.clone()).collect();
        let live = |measured: &Measured| measured.all().filter(|it| !it.live).count() as u64;
        let refused = with.refused().saturating_sub(before.refused());
        Some(Some(Change {
            what: candidate.what.clone(),
            because: candidate.because.clone(),
            sets: candidate.sets.clone(),
            same_faults,
            fresh,
            instead: instead.difference(&had).copied().collect(),
            stuck: live(&with).saturating_sub(live(before)),
            refused,
            note: candidate.note,
            cost: candidate.cost,
        }))
    }
}

impl Measured {
    fn all(&self) -> impl Iterator<Item = &Seen> {
        self.same.iter().chain(&self.fresh)
    }

    /// Sends that failed, of all, in per cent.
    fn refused(&self) -> u64 {
        let (ok, failed) = self
            .all()
            .fold((0, 0), |(ok, failed), seen| (ok + seen.sends.0, failed + seen.sends.1));
        (failed * 100).checked_div(ok + failed).unwrap_or(0)
    }
}

fn share(seen: &[Seen]) -> Share {
    let failed = seen.iter().filter(|seen| seen.same.is_some()).count() as u64;
    Share { failed, of: seen.len() as u64 }
}
