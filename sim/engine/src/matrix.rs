//! Cells of a matrix: many seeds of many scenarios, and for each guarantee at each level how many
//! of the seeds keep it.
//!
//! A guarantee counts as it is, whatever the scenario claims. A seed counts only if a fault of the
//! cell's class struck: what did not happen proves nothing. Everything that is kept (sums, and the
//! smallest of some keys) is the same in whatever order the seeds finish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc;

use oncesim_semantics::{Anomaly, Guarantee, GuaranteeTable, Holds, Level};
use oncesim_spec::{FaultAction, FaultKind, FaultPlan, PlannedFault, Scenario, Trigger};

use crate::campaign::bound_95;
use crate::outcome::{Outcome, RunEnd, RunOptions};
use crate::run::{planned, run};
use crate::world::fault_kind;

/// A configuration under a fault class.
#[derive(Debug, Clone)]
pub struct Cell {
    /// What runs.
    pub scenario: Arc<Scenario>,
    /// A seed in which none of these struck is not exercised; empty: nothing has to strike.
    pub strikes: Vec<FaultKind>,
}

impl Cell {
    /// Whether a fault is of the cell's class.
    fn counts(&self, fault: &PlannedFault) -> bool {
        self.strikes.iter().any(|kind| match (&fault.action, &fault.trigger) {
            (FaultAction::Drop, Trigger::OnMessage { pattern, .. }) => match kind {
                FaultKind::AckLoss => pattern.response != Some(false),
                FaultKind::RequestLoss => pattern.response != Some(true),
                _ => false,
            },
            (action, _) => fault_kind(action) == kind.name(),
        })
    }

    fn can_strike(&self, plan: &FaultPlan) -> bool {
        self.strikes.is_empty() || plan.faults.iter().any(|fault| self.counts(fault))
    }
}

/// Which seeds, and how.
#[derive(Debug, Clone)]
pub struct MatrixOptions {
    /// The first seed of each cell.
    pub from: u64,
    /// Seeds per cell.
    pub seeds: u64,
    /// Threads.
    pub jobs: usize,
    /// Set from outside to end early.
    pub stop: Arc<AtomicBool>,
}

/// What a row of guarantees is about: a level with a guarantee, or order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// What is delivered how often, and where.
    Delivery(Level, Guarantee),
    /// The records of each producer keep their order.
    Ordering,
}

impl Promise {
    /// All of them, upstream first.
    pub fn all() -> impl Iterator<Item = Promise> {
        let deliveries = Level::ALL.into_iter().flat_map(|level| {
            Guarantee::ALL.into_iter().map(move |guarantee| Promise::Delivery(level, guarantee))
        });
        deliveries.chain([Promise::Ordering])
    }

    fn of(self, guarantees: &GuaranteeTable) -> Holds {
        match self {
            Promise::Delivery(level, guarantee) => guarantees.get(level, guarantee),
            Promise::Ordering => guarantees.ordering,
        }
    }

    /// Whether an anomaly breaks it.
    fn broken_by(self, anomaly: &Anomaly) -> bool {
        match self {
            Promise::Delivery(level, guarantee) => anomaly.breaks(level, guarantee),
            Promise::Ordering => anomaly.breaks_order(),
        }
    }
}

/// A seed that breaks a guarantee: the one with the fewest faults, then events.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cheapest {
    /// Faults that struck.
    pub faults: u64,
    /// Events of the kernel.
    pub events: u64,
    /// The seed.
    pub seed: u64,
    /// The id of the anomaly that breaks it.
    pub anomaly: String,
    /// What happened, in a sentence.
    pub sentence: String,
}

/// How a guarantee fared in a cell, over the seeds that exercise it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Seeds that keep it.
    pub held: u64,
    /// Seeds that break it.
    pub violated: u64,
    /// Seeds that decide nothing although faults of the class struck.
    pub unknown: u64,
    /// The cheapest of those that break it.
    pub cheapest: Option<Cheapest>,
}

impl Tally {
    /// What the seeds say together: broken by any, held by at least one, or unknown.
    #[must_use]
    pub fn holds(&self) -> Holds {
        Holds::together(self.held, self.violated)
    }

    /// Seeds that exercise it.
    #[must_use]
    pub fn exercised(&self) -> u64 {
        self.held + self.violated
    }

    /// Upper 95 % bound on the share of exercising seeds that break it.
    #[must_use]
    pub fn bound_95(&self) -> f64 {
        bound_95(self.violated, self.exercised())
    }

    fn add(&mut self, holds: Holds, cheapest: impl FnOnce() -> Cheapest) {
        match holds {
            Holds::Holds => self.held += 1,
            Holds::Unknown => self.unknown += 1,
            Holds::Violated => {
                self.violated += 1;
                let found = cheapest();
                if self.cheapest.as_ref().is_none_or(|best| found < *best) {
                    self.cheapest = Some(found);
                }
            }
        }
    }
}

/// What the seeds of one cell say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CellReport {
    /// Seeds that ran.
    pub seeds: u64,
    /// Those in which a fault of the class struck; all of them if none has to.
    pub struck: u64,
    /// Seeds that never came to rest.
    pub not_live: u64,
    /// Seeds that met a bug of oncesim: how many, the first, and its message.
    pub bugs: Option<(u64, u64, String)>,
    /// Each guarantee.
    pub tallies: BTreeMap<Promise, Tally>,
}

impl CellReport {
    /// How a guarantee fared.
    #[must_use]
    pub fn tally(&self, promise: Promise) -> Tally {
        self.tallies.get(&promise).cloned().unwrap_or_default()
    }

    fn add(&mut self, seed: u64, cell: &Cell, outcome: Option<&Outcome>) {
        self.seeds += 1;
        let Some(outcome) = outcome else { return };
        match &outcome.end {
            RunEnd::Panicked(message) => {
                let (count, first, text) = self.bugs.take().unwrap_or((0, seed, message.clone()));
                let earlier = seed < first;
                let (first, text) = if earlier { (seed, message.clone()) } else { (first, text) };
                self.bugs = Some((count + 1, first, text));
                return;
            }
            RunEnd::NotSettled | RunEnd::BudgetExhausted => self.not_live += 1,
            RunEnd::Settled => {}
        }
        let reports = outcome.faults.iter().zip(&outcome.plan.faults);
        let struck = || reports.clone().filter(|(report, _)| report.struck.is_some());
        if !cell.strikes.is_empty() && !struck().any(|(_, fault)| cell.counts(fault)) {
            return;
        }
        self.struck += 1;
        let faults = struck().count() as u64;
        for promise in Promise::all() {
            let holds = promise.of(&outcome.verdict.guarantees);
            let tally = self.tallies.entry(promise).or_default();
            tally.add(holds, || cheapest(promise, outcome, faults));
        }
    }
}

fn cheapest(promise: Promise, outcome: &Outcome, faults: u64) -> Cheapest {
    let anomaly = outcome.verdict.anomalies.iter().find(|anomaly| promise.broken_by(anomaly));
    Cheapest {
        faults,
        events: outcome.events,
        seed: outcome.seed,
        anomaly: anomaly.map_or_else(String::new, |anomaly| anomaly.id().to_owned()),
        sentence: anomaly.map_or_else(String::new, |anomaly| anomaly.witness.sentence.clone()),
    }
}

/// Runs all seeds of all cells. `progress` is called on the calling thread with the number of runs
/// that are done. `None` when it was stopped before the end.
#[must_use]
pub fn run_cells(
    cells: &[Cell],
    options: &MatrixOptions,
    progress: &mut dyn FnMut(u64),
) -> Option<Vec<CellReport>> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut reports = vec![CellReport::default(); cells.len()];
    let mut done = 0;
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                // A batch is the seeds of one cell: it is small, and few things are sent.
                while !options.stop.load(Relaxed) {
                    let index = next.fetch_add(1, Relaxed);
                    let Some(cell) = cells.get(index) else { return };
                    let report = one(cell, options);
                    if sender.send((index, report)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (index, report) in receiver {
            done += report.seeds;
            reports[index] = report;
            progress(done);
        }
    });
    let complete = reports.iter().all(|report| report.seeds == options.seeds);
    complete.then_some(reports)
}

fn one(cell: &Cell, options: &MatrixOptions) -> CellReport {
    let mut report = CellReport::default();
    for seed in (0..options.seeds).filter_map(|index| options.from.checked_add(index)) {
        if options.stop.load(Relaxed) {
            break;
        }
        let options = RunOptions { seed, ..RunOptions::default() };
        match planned(&cell.scenario, &options) {
            // A plan without a fault of the class needs no run to say that none struck.
            Ok(plan) if !cell.can_strike(&plan) => report.add(seed, cell, None),
            Ok(plan) => {
                let options = RunOptions { plan: Some(plan), ..options };
                report.add(seed, cell, Some(&run(&cell.scenario, &options)));
            }
            Err(outcome) => report.add(seed, cell, Some(&*outcome)),
        }
    }
    report
}
