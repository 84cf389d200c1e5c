//! Many seeds of one scenario, on all cores, collected in the order of the seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;

use oncesim_semantics::{Anomaly, Severity};
use oncesim_spec::Scenario;

use crate::outcome::{Judgement, Outcome, RunEnd, RunOptions, judge, shows_expected};
use crate::run::run;
use crate::search::{Desk, Feedback, Proposal, StrategyKind};

/// Which seeds, and how.
#[derive(Debug, Clone)]
pub struct CampaignOptions {
    /// The first seed.
    pub from: u64,
    /// How many seeds; `u64::MAX` with a budget.
    pub seeds: u64,
    /// Wall time after which no further seed starts.
    pub budget: Option<std::time::Duration>,
    /// Threads.
    pub jobs: usize,
    /// How runs are chosen. One that learns has `from` and the shard as its master seed, and its
    /// seeds name places in the campaign: a run is told by its plan.
    pub strategy: StrategyKind,
    /// This shard (from 1) of so many: seed `s` belongs to shard `s % n + 1`.
    pub shard: Option<(u64, u64)>,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// One seed in so many runs twice, the second time on another thread after another seed; 0 none.
    pub recheck_every: u64,
    /// Set from outside to end the campaign after the seeds in hand.
    pub stop: Arc<AtomicBool>,
}

/// How far a campaign is; given to the progress callback after each seed, in seed order.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Seeds done.
    pub done: u64,
    /// Runs that were not as claimed.
    pub failures: u64,
    /// Virtual time covered.
    pub virtual_time: oncesim_types::Duration,
    /// Messages delivered.
    pub messages: u64,
}

/// One distinct failure (or find): runs with the same anomalies in the same places.
#[derive(Debug, Clone)]
pub struct Failure {
    /// `lost-write`, `dup-retry`, ...: the ids of its anomalies, sorted, or `panic`, `not-live`.
    pub fingerprint: String,
    /// What it means.
    pub judgement: Judgement,
    /// Seeds that show it, ascending; the first 100.
    pub seeds: Vec<u64>,
    /// How many seeds show it.
    pub count: u64,
    /// The first of them.
    pub first: Outcome,
}

/// What a campaign found.
#[derive(Debug, Clone)]
pub struct CampaignReport {
    /// Seeds that ran.
    pub seeds: u64,
    /// Lowest and highest seed that ran.
    pub range: (u64, u64),
    /// Whether it was ended before all seeds had run.
    pub interrupted: bool,
    /// Wall time.
    pub wall: std::time::Duration,
    /// Virtual time covered.
    pub virtual_time: oncesim_types::Duration,
    /// Messages delivered.
    pub messages: u64,
    /// Distinct failures and finds, by fingerprint.
    pub failures: Vec<Failure>,
    /// Seeds whose second run had another digest, with both.
    pub nondeterministic: Vec<u64>,
    /// How often each fault kind struck, over all seeds, by name.
    pub faults_struck: Vec<(&'static str, u64)>,
    /// What the checkers saw, over all seeds.
    pub witnesses: Vec<(&'static str, u64)>,
    /// Seeds that proved nothing: a declared fault never struck, or the claim was not exercised.
    pub vacuous: u64,
    /// The judgement on the whole: the worst, or vacuous.
    pub judgement: Judgement,
    /// Upper 95 % bound on the share of seeds that break the claim, among those that exercise it.
    pub bound_95: f64,
}

/// A campaign over one scenario.
#[derive(Debug)]
pub struct Campaign {
    /// What runs.
    pub scenario: Arc<Scenario>,
    /// Which seeds.
    pub options: CampaignOptions,
}

impl Campaign {
    /// Runs it. `progress` is called on the calling thread, after each seed, in seed order.
    #[must_use]
    pub fn run(&self, progress: &mut dyn FnMut(&Progress)) -> CampaignReport {
        self.run_with(progress, &run)
    }

    /// Like [`Campaign::run`], with `one` in the place of [`run`]: for worlds with hosted tasks
    /// ([`crate::run_hosted`]).
    #[must_use]
    pub fn run_with(
        &self,
        progress: &mut dyn FnMut(&Progress),
        one: &(dyn Fn(&Arc<Scenario>, &RunOptions) -> Outcome + Sync),
    ) -> CampaignReport {
        let started = std::time::Instant::now();
        let mut tally = Tally::new(&self.scenario, self.options.from);
        let desk = Desk::new(self.options.strategy.begin(&self.scenario, self.master()));
        let halt = AtomicBool::new(false);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs.max(1) {
                let sender = sender.clone();
                let (desk, halt) = (&desk, &halt);
                scope.spawn(move || self.work(started, (desk, halt), one, &sender));
            }
            drop(sender);
            // Seeds finish in any order; everything that is kept is kept in the order of seeds.
            let mut early = BTreeMap::new();
            let mut expected = 0;
            for (index, done) in receiver {
                early.insert(index, done);
                while let Some(done) = early.remove(&expected) {
                    expected += 1;
                    // What other threads had in hand when a campaign failed fast does not
                    // count, so that its report is the same at any parallelism.
                    if halt.load(Relaxed) {
                        continue;
                    }
                    tally.add(done);
                    progress(&tally.progress);
                    if self.options.fail_fast && tally.has_failed() {
                        halt.store(true, Relaxed);
                    }
                }
            }
        });
        let interrupted = self.options.seeds != u64::MAX && tally.progress.done < self.planned();
        tally.report(started.elapsed(), interrupted)
    }

    /// What a strategy that learns draws from: its own for each shard.
    fn master(&self) -> u64 {
        let (shard, _) = self.shard();
        self.options.from.wrapping_add((shard - 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn shard(&self) -> (u64, u64) {
        self.options.shard.unwrap_or((1, 1))
    }

    /// The `index`-th seed of this shard, if it is one of the campaign's.
    fn seed(&self, index: u64) -> Option<u64> {
        let (shard, of) = self.shard();
        let first = self.options.from;
        // Seed s belongs to shard s % n + 1: the first of ours at or above `from`.
        let skip = (shard - 1 + of - first % of) % of;
        let offset = index.checked_mul(of)?.checked_add(skip)?;
        (offset < self.options.seeds).then(|| first.checked_add(offset))?
    }

    /// How many seeds this shard has.
    fn planned(&self) -> u64 {
        let (shard, of) = self.shard();
        let skip = (shard - 1 + of - self.options.from % of) % of;
        self.options.seeds.saturating_sub(skip).div_ceil(of)
    }

    fn work(
        &self,
        started: std::time::Instant,
        (desk, halt): (&Desk, &AtomicBool),
        one: &(dyn Fn(&Arc<Scenario>, &RunOptions) -> Outcome + Sync),
        sender: &mpsc::Sender<(u64, Done)>,
    ) {
        loop {
            let over = self.options.budget.is_some_and(|budget| started.elapsed() >= budget);
            if over || halt.load(Relaxed) || self.options.stop.load(Relaxed) {
                return;
            }
            let Some((index, seed, proposal)) = desk.next(|index| self.seed(index)) else {
                return;
            };
            if sender.send((index, self.one((index, seed), proposal, desk, one))).is_err() {
                return;
            }
        }
    }

    fn one(
        &self,
        (index, seed): (u64, u64),
        proposal: Proposal,
        desk: &Desk,
        run: &(dyn Fn(&Arc<Scenario>, &RunOptions) -> Outcome + Sync),
    ) -> Done {
        let Proposal { seed: of_world, plan } = proposal;
        let options = RunOptions {
            seed: of_world,
            plan,
            keep_history: desk.learns(),
            ..RunOptions::default()
        };
        let mut outcome = run(&self.scenario, &options);
        if desk.learns() {
            desk.deliver(index, Feedback::of(&outcome));
            outcome.history = None;
        }
        let every = self.options.recheck_every;
        let again = (every > 0 && index.is_multiple_of(every)).then(|| {
            // Another run in between, so that nothing of this thread's past is the same.
            let other = RunOptions { seed: of_world ^ 0x5eed, ..RunOptions::default() };
            let _ = run(&self.scenario, &other);
            run(&self.scenario, &options).digest
        });
        let judgement = judge(&self.scenario, &outcome);
        let differs = again.is_some_and(|digest| digest != outcome.digest);
        Done { seed, outcome, judgement, differs }
    }
}

/// One seed that has run.
struct Done {
    /// The campaign's seed: its place in it.
    seed: u64,
    outcome: Outcome,
    judgement: Judgement,
    differs: bool,
}

/// What is kept of the seeds so far.
struct Tally<'a> {
    scenario: &'a Scenario,
    progress: Progress,
    failures: BTreeMap<String, Failure>,
    found: bool,
    nondeterministic: Vec<u64>,
    faults_struck: BTreeMap<&'static str, u64>,
    witnesses: Vec<(&'static str, u64)>,
    vacuous: u64,
    range: (u64, u64),
}

impl<'a> Tally<'a> {
    fn new(scenario: &'a Scenario, from: u64) -> Self {
        Tally {
            scenario,
            progress: Progress::default(),
            failures: BTreeMap::new(),
            found: false,
            nondeterministic: Vec::new(),
            faults_struck: BTreeMap::new(),
            witnesses: Vec::new(),
            vacuous: 0,
            range: (from, from),
        }
    }

    fn has_failed(&self) -> bool {
        self.found || self.progress.failures > 0 || !self.nondeterministic.is_empty()
    }

    fn add(&mut self, done: Done) {
        let Done { seed, outcome, judgement, differs } = done;
        if self.progress.done == 0 {
            self.range.0 = seed;
        }
        self.range.1 = seed;
        self.progress.done += 1;
        self.progress.virtual_time = self.progress.virtual_time + outcome.virtual_time;
        self.progress.messages += outcome.messages;
        if differs {
            self.nondeterministic.push(seed);
        }
        for fault in outcome.faults.iter().filter(|fault| fault.struck.is_some()) {
            *self.faults_struck.entry(fault.kind).or_default() += 1;
        }
        for witness in &outcome.verdict.witnesses {
            match self.witnesses.iter_mut().find(|(what, _)| *what == witness.what) {
                Some((_, count)) => *count += witness.count,
                None => self.witnesses.push((witness.what, witness.count)),
            }
        }
        let expected = shows_expected(self.scenario, &outcome);
        self.found |= expected;
        match judgement {
            Judgement::AsClaimed if !expected => {}
            Judgement::Vacuous => self.vacuous += 1,
            Judgement::AsClaimed => self.keep(seed, outcome, judgement),
            Judgement::NotLive | Judgement::Violated | Judgement::Bug => {
                self.progress.failures += 1;
                self.keep(seed, outcome, judgement);
            }
        }
    }

    fn keep(&mut self, seed: u64, outcome: Outcome, judgement: Judgement) {
        let fingerprint = fingerprint(self.scenario, &outcome);
        let failure = self.failures.entry(fingerprint.clone()).or_insert_with(|| Failure {
            fingerprint,
            judgement,
            seeds: Vec::new(),
            count: 0,
            first: outcome,
        });
        failure.count += 1;
        if failure.seeds.len() < SEEDS_KEPT {
            failure.seeds.push(seed);
        }
    }

    fn report(self, wall: std::time::Duration, interrupted: bool) -> CampaignReport {
        let done = self.progress.done;
        let worst = self
            .failures
            .values()
            .map(|failure| failure.judgement)
            .max()
            .unwrap_or(Judgement::AsClaimed);
        let not_found = self.scenario.expect.is_some() && !self.found;
        let proved_nothing = done == 0 || self.vacuous == done;
        let judgement =
            if not_found || proved_nothing { worst.max(Judgement::Vacuous) } else { worst };
        CampaignReport {
            seeds: done,
            range: self.range,
            interrupted,
            wall,
            virtual_time: self.progress.virtual_time,
            messages: self.progress.messages,
            vacuous: self.vacuous,
            bound_95: bound_95(self.progress.failures, done - self.vacuous),
            failures: self.failures.into_values().collect(),
            nondeterministic: self.nondeterministic,
            faults_struck: self.faults_struck.into_iter().collect(),
            witnesses: self.witnesses,
            judgement,
        }
    }
}

/// Seeds listed per failure.
const SEEDS_KEPT: usize = 100;

/// What two runs must have in common to be the same failure: the ids of the anomalies that break
/// something in this scenario, sorted.
#[must_use]
pub fn fingerprint(scenario: &Scenario, outcome: &Outcome) -> String {
    match &outcome.end {
        RunEnd::Panicked(message) => {
            return format!("panic: {}", message.lines().next().unwrap_or(""));
        }
        RunEnd::BudgetExhausted => return "budget-exhausted".to_owned(),
        RunEnd::Settled | RunEnd::NotSettled => {}
    }
    let matters = |anomaly: &&Anomaly| match &scenario.expect {
        Some(expect) => {
            anomaly.id() == expect.anomaly
                || anomaly.class.id == expect.anomaly
                || anomaly.severity == Severity::Always
        }
        // What is legal at a level of which nothing is claimed is no part of the failure.
        None => match anomaly.severity {
            Severity::Informative => false,
            Severity::Legal => scenario.claim.is_none_or(|claim| {
                claim.at(anomaly.class.level).is_some()
                    || claim.ordering.is_some() && anomaly.class.violates.ordering
            }),
            Severity::UnderThisConfiguration | Severity::Always => true,
        },
    };
    let ids: BTreeSet<&str> =
        outcome.verdict.anomalies.iter().filter(matters).map(Anomaly::id).collect();
    if ids.is_empty() {
        return "not-live".to_owned();
    }
    ids.into_iter().collect::<Vec<_>>().join("+")
}

/// Upper 95 % bound (Clopper-Pearson, one-sided) on the share of seeds that fail, after `failures`
/// of `seeds`. It speaks of the distribution of seeds, not of all executions.
#[must_use]
pub fn bound_95(failures: u64, seeds: u64) -> f64 {
    if seeds == 0 || failures >= seeds {
        return 1.0;
    }
    if failures == 0 {
        return 1.0 - 0.05_f64.powf(1.0 / to_f64(seeds));
    }
    let (k, n) = (to_f64(failures), to_f64(seeds));
    statrs::distribution::Beta::new(k + 1.0, n - k)
        .map_or(1.0, |beta| statrs::distribution::ContinuousCDF::inverse_cdf(&beta, 0.95))
}

#[expect(clippy::cast_precision_loss, reason = "counts of seeds are far below 2^52")]
fn to_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_rule_of_three_and_the_beta_quantile() {
        assert!((bound_95(0, 10_000) - 0.000_299_5).abs() < 1e-6);
        assert!((bound_95(3, 10_000) - 0.000_775).abs() < 1e-5);
        assert!((bound_95(0, 0) - 1.0).abs() < 1e-12);
    }
}
