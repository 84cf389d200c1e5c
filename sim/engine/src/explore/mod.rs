//! Bounded exhaustive search: every placement of up to K faults in one small world.
//!
//! The world is a scenario with one seed: its latencies and all other draws are those of that seed,
//! keyed, so that a fault shifts none of them. The scenario's own scripted faults strike as they
//! say; its swarm draws nothing.
//!
//! A run that is known offers places for one more fault: each message that was sent or delivered
//! while faults may strike ([`Sighting`](crate::Sighting)), and each step in which a process did
//! something ([`Act`](crate::Act)): a timer went off, a flush was done, an application woke up, a
//! connection was gone, a process started. A fault of a message strikes each message once. Every
//! other fault strikes a process after each step of it, and after each step that sends it a message
//! or receives one from it; faults of the cluster strike after each step of a broker or the
//! controller. What is between two processes is placed at the messages between the two: from one of
//! them to the next it has nothing to hold. Durations are of classes: short, and a second beyond
//! each timeout that notices the absence of that process; what is a continuum besides (how slow a
//! link is, how far a clock jumps, how wrong it runs) has a few values.
//!
//! At a message a fault has a logical address. A step that no message tells from the next has none:
//! the fault strikes at the moment of that step and a nanosecond. An event that the plan has put at a
//! moment comes before all others there, so it strikes behind everything of the step's moment and
//! before everything later; a test compares the steps. Several such steps at one moment are one
//! place.
//!
//! The second fault is placed in the run with the first, where only what strikes after the first is
//! enumerated: before it, that run is the run without it, and the pair is found from the other side.
//! Each unordered set is therefore met once. Of two faults at the same moment one order is run.
//!
//! Two placements are merged if they are the same run: the same fault after the same step, by
//! whichever of the step's messages it is addressed, and named from whichever end. The strike is an
//! event of its own at the moment of the step; if the run has no other event at that moment, it is the
//! next one in either case, and everything from there on is equal. A test runs all merged placements
//! and compares digests; another runs all that are not merged and finds no fault twice.
//!
//! Nothing else is merged. Actors are not symmetric: under a seed no two links have the same latencies,
//! so no two brokers are exchangeable. Whether a fault made no difference (a pause in which nobody
//! spoke to the process, a partition of two that had nothing to say) shows in its run only: most such
//! faults keep the phase of faults from ending, so the run without them does not tell what would have
//! happened until then. Nor would it save much: in the worlds of `scenarios/corpus/small`, with the
//! default kinds and with pairs of crashes and losses, 3 to 10 % of the runs have the history of
//! another one but for the strike itself. Messages to the dead need no rule: on a connection that is
//! gone nothing is sent, so there is no place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant as WallInstant;

use oncesim_spec::{FaultKind, FaultPlan, PlannedFault, Scenario};

use crate::campaign::Failure;
use crate::outcome::{Judgement, Outcome, RunOptions, judge};
use crate::run::run;
use crate::search::swarm;
use crate::shrink::failure;

mod placements;
mod repertoire;

#[cfg(test)]
mod tests;

use placements::{Placement, Placer};

/// What is placed when nobody says otherwise: the kinds under which the scenario makes its claim
/// (those of its swarm), else every fault of processes and the network that a claim has to survive.
#[must_use]
pub fn default_kinds(scenario: &Scenario) -> Vec<FaultKind> {
    let declared = scenario.swarm.as_ref().map_or_else(
        || {
            vec![
                FaultKind::Crash,
                FaultKind::Pause,
                FaultKind::Partition,
                FaultKind::RequestLoss,
                FaultKind::AckLoss,
                FaultKind::Duplicate,
                FaultKind::Delay,
                FaultKind::LeaderChange,
                FaultKind::CoordinatorMove,
                FaultKind::Rebalance,
                FaultKind::ControllerFailover,
            ]
        },
        |swarm| swarm.kinds.clone(),
    );
    FaultKind::ALL.iter().filter(|kind| declared.contains(kind)).copied().collect()
}

/// How much is explored.
#[derive(Debug, Clone)]
pub struct ExploreOptions {
    /// Whose draws the world has.
    pub seed: u64,
    /// Up to how many faults.
    pub faults: u32,
    /// Of which kinds.
    pub kinds: Vec<FaultKind>,
    /// Threads. The result does not depend on them.
    pub jobs: usize,
    /// Wall time, at most.
    pub budget: Option<std::time::Duration>,
    /// Set from outside to end it with what there is.
    pub stop: Arc<AtomicBool>,
    /// Whether placements that are the same run are run once.
    pub merge: bool,
}

/// How far an exploration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExploreProgress {
    /// How many faults are placed at present.
    pub faults: u32,
    /// Runs of that many faults so far ...
    pub done: u64,
    /// ... of so many.
    pub runs: u64,
    /// Runs that failed, or showed what was looked for.
    pub found: u64,
}

/// The placements of exactly so many faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DepthReport {
    /// How many faults.
    pub faults: u32,
    /// How many placements there are ...
    pub placements: u64,
    /// ... and how many runs they are: the others are the same as one of these.
    pub runs: u64,
    /// How many of the placements were run, or are the same as one that was.
    pub covered: u64,
    /// How many runs that took.
    pub done: u64,
    /// Runs that failed, or showed what was looked for.
    pub found: u64,
    /// Runs that exercised nothing of the claim.
    pub vacuous: u64,
}

/// What an exploration found.
#[derive(Debug, Clone)]
pub struct ExploreReport {
    /// The run without any placed fault.
    pub base: Outcome,
    /// By number of faults, from 1; it ends with the first number that is enough for a failure.
    pub depths: Vec<DepthReport>,
    /// Distinct failures and finds, by fingerprint; the first of each in the order of placements.
    pub failures: Vec<Failure>,
    /// Whether every placement was run, or is the same as one that was.
    pub complete: bool,
    /// What it means: the worst of the failures; vacuous, if nothing is wrong and not everything
    /// was run, or nothing exercised the claim, or an expected anomaly was not shown.
    pub judgement: Judgement,
    /// Wall time.
    pub wall: std::time::Duration,
}

/// A world to explore: its run without any placed fault is known.
pub struct Exploration {
    scenario: Arc<Scenario>,
    options: ExploreOptions,
    placer: Placer,
    given: Vec<PlannedFault>,
    base: Outcome,
    first: Vec<Placement>,
    started: WallInstant,
}

impl Exploration {
    /// Runs the world once and looks where faults can be placed.
    #[must_use]
    pub fn new(scenario: &Arc<Scenario>, options: ExploreOptions) -> Self {
        let started = WallInstant::now();
        let quiet = Scenario { swarm: None, ..Scenario::clone(scenario) };
        let given = swarm::plan(&quiet, options.seed).faults;
        let placer = Placer::new(scenario, &options.kinds);
        let scenario = Arc::clone(scenario);
        let base = one(&scenario, options.seed, given.clone(), true);
        let first = placer.of(&base, None, options.merge);
        Exploration { scenario, options, placer, given, base, first, started }
    }

    /// About how many runs all placements are: for one fault exactly, for more as if every run
    /// offered as many places as the first.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        let places = self.first.len() as u64;
        let (mut all, mut sets) = (0u64, 1u64);
        for depth in 1..=u64::from(self.options.faults) {
            sets = sets.saturating_mul(places) / depth;
            all = all.saturating_add(sets);
        }
        all
    }

    /// The run without any placed fault.
    #[must_use]
    pub fn base(&self) -> &Outcome {
        &self.base
    }

    /// Explores. `progress` is called on the calling thread.
    #[must_use]
    pub fn run(self, progress: &mut dyn FnMut(&ExploreProgress)) -> ExploreReport {
        let mut tally = Tally::default();
        let mut depths = Vec::new();
        let mut complete = true;
        tally.look(&self.scenario, self.base.clone());
        let mut next = (count(&self.first), self.first.len() as u64);
        if tally.failures.is_empty() {
            for faults in 1..=self.options.faults {
                let (placements, runs) = next;
                let mut report = DepthReport { faults, placements, runs, ..Default::default() };
                next = self.pass(&mut report, &mut tally, progress);
                depths.push(report);
                complete = report.done == report.runs;
                if !complete || report.found > 0 {
                    break;
                }
            }
        }
        let judgement = self.judgement(&tally, &depths, complete);
        ExploreReport {
            base: self.base,
            depths,
            failures: tally.failures.into_values().collect(),
            complete,
            judgement,
            wall: self.started.elapsed(),
        }
    }

    fn judgement(&self, tally: &Tally, depths: &[DepthReport], complete: bool) -> Judgement {
        let worst = tally.failures.values().map(|failure| failure.judgement).max();
        worst.unwrap_or_else(|| {
            let runs: u64 = depths.iter().map(|depth| depth.done).sum();
            let vacuous: u64 = depths.iter().map(|depth| depth.vacuous).sum();
            let proved = complete && vacuous < runs && self.scenario.expect.is_none();
            if proved { Judgement::AsClaimed } else { Judgement::Vacuous }
        })
    }

    /// Runs all placements of `depth.faults` faults: how many placements of one more there are, and
    /// how many runs.
    fn pass(
        &self,
        depth: &mut DepthReport,
        tally: &mut Tally,
        progress: &mut dyn FnMut(&ExploreProgress),
    ) -> (u64, u64) {
        let (next, done, found) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let (sender, receiver) = mpsc::channel();
        let faults = depth.faults;
        let mut batches = BTreeMap::new();
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs.clamp(1, self.first.len().max(1)) {
                let (sender, counters) = (sender.clone(), (&next, &done, &found));
                scope.spawn(move || self.work(faults, counters, &sender));
            }
            drop(sender);
            loop {
                let got = receiver.recv_timeout(std::time::Duration::from_millis(100));
                let (done, found) = (done.load(Relaxed), found.load(Relaxed));
                progress(&ExploreProgress { faults, done, runs: depth.runs, found });
                match got {
                    Ok((index, batch)) => drop(batches.insert(index, batch)),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        });
        // Whatever is kept is kept in the order of placements.
        let mut offered = (0, 0);
        for (_, batch) in batches {
            let Batch { tally: part, offered: more, covered, done, found, vacuous } = batch;
            offered = (offered.0 + more.0, offered.1 + more.1);
            depth.covered += covered;
            depth.done += done;
            depth.found += found;
            depth.vacuous += vacuous;
            tally.merge(part);
        }
        offered
    }

    fn work(
        &self,
        faults: u32,
        (next, done, found): (&AtomicUsize, &AtomicU64, &AtomicU64),
        sender: &mpsc::Sender<(usize, Batch)>,
    ) {
        while !self.is_over() {
            let index = next.fetch_add(1, Relaxed);
            let Some(placement) = self.first.get(index) else { return };
            let mut batch = Batch::default();
            let visit = Visit { leaf: faults, done, found };
            self.visit(&visit, &[], placement, placement.stands_for, &mut batch);
            if sender.send((index, batch)).is_err() {
                return;
            }
        }
    }

    /// Runs one placement behind `before`, if it has as many faults as are wanted; else those that
    /// can be placed after it.
    fn visit(
        &self,
        visit: &Visit<'_>,
        before: &[PlannedFault],
        placement: &Placement,
        stands_for: u64,
        batch: &mut Batch,
    ) {
        if self.is_over() {
            return;
        }
        let mut placed = before.to_vec();
        placed.push(placement.fault.clone());
        let depth = u32::try_from(placed.len()).expect("few faults");
        let (is_leaf, goes_on) = (depth == visit.leaf, depth < self.options.faults);
        let plan: Vec<PlannedFault> = self.given.iter().chain(&placed).cloned().collect();
        let mut outcome = one(&self.scenario, self.options.seed, plan, goes_on);
        let more = if goes_on {
            self.placer.of(&outcome, Some(placement.at), self.options.merge)
        } else {
            Vec::new()
        };
        if !is_leaf {
            for child in &more {
                self.visit(visit, &placed, child, stands_for * child.stands_for, batch);
            }
            return;
        }
        outcome.trace = oncesim_history::trace::Trace::default();
        (outcome.sightings, outcome.acts) = (Vec::new(), Vec::new());
        batch.offered.0 += stands_for * count(&more);
        batch.offered.1 += more.len() as u64;
        batch.covered += stands_for;
        batch.done += 1;
        visit.done.fetch_add(1, Relaxed);
        batch.vacuous += u64::from(judge(&self.scenario, &outcome) == Judgement::Vacuous);
        if batch.tally.look(&self.scenario, outcome) {
            batch.found += 1;
            visit.found.fetch_add(1, Relaxed);
        }
    }

    fn is_over(&self) -> bool {
        let spent = |budget| self.started.elapsed() >= budget;
        self.options.stop.load(Relaxed) || self.options.budget.is_some_and(spent)
    }
}

/// What one walk through the placements looks for.
struct Visit<'a> {
    /// At how many faults it runs.
    leaf: u32,
    done: &'a AtomicU64,
    found: &'a AtomicU64,
}

/// What came of one placement of the first fault.
#[derive(Default)]
struct Batch {
    tally: Tally,
    /// Placements of one more fault, and how many runs they are.
    offered: (u64, u64),
    covered: u64,
    done: u64,
    found: u64,
    vacuous: u64,
}

/// Distinct failures.
#[derive(Default)]
struct Tally {
    failures: BTreeMap<String, Failure>,
}

impl Tally {
    /// Notes a run if it fails, or shows what is looked for.
    fn look(&mut self, scenario: &Scenario, outcome: Outcome) -> bool {
        let Some((fingerprint, judgement)) = failure(scenario, &outcome) else { return false };
        let seeds = vec![outcome.seed];
        let failure = Failure {
            fingerprint: fingerprint.clone(),
            judgement,
            seeds,
            count: 1,
            first: outcome,
        };
        self.add(fingerprint, failure);
        true
    }

    fn add(&mut self, fingerprint: String, failure: Failure) {
        match self.failures.entry(fingerprint) {
            std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(failure)),
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.count += failure.count;
                known.judgement = known.judgement.max(failure.judgement);
            }
        }
    }

    fn merge(&mut self, other: Tally) {
        for (fingerprint, failure) in other.failures {
            self.add(fingerprint, failure);
        }
    }
}

fn count(placements: &[Placement]) -> u64 {
    placements.iter().map(|placement| placement.stands_for).sum()
}

fn one(scenario: &Arc<Scenario>, seed: u64, faults: Vec<PlannedFault>, trace: bool) -> Outcome {
    let plan = Some(FaultPlan::from(faults));
    run(scenario, &RunOptions { seed, plan, keep_trace: trace, ..RunOptions::default() })
}
