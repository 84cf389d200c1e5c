//! Many seeds of one scenario, on all cores, collected in the order of the seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;

use oncesim_semantics::{Anomaly, Severity};
use oncesim_spec::{Scenario, read_plans};

use crate::outcome::{Judgement, Outcome, RunEnd, RunOptions, judge};
use crate::run::run;
use crate::search::{Course, Desk, Feedback, Proposal, StrategyKind, WrittenRun};

mod bound;
mod part;
mod recheck;
mod sum;
mod union;
mod vacuity;

#[cfg(test)]
mod tests;

pub use bound::bound_95;
pub use part::{ClaimCount, DigestSum, FaultCount, Found, Part, Seeds};
pub use recheck::Nondeterminism;
pub use sum::{ClaimSum, Distinct, Sum};
pub use vacuity::{ScenarioFacts, SilentKind};

/// What runs one seed: [`run`], or something around it.
pub type One<'a> = dyn Fn(&Arc<Scenario>, &RunOptions) -> Outcome + Sync + 'a;

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
    /// So many per cent of the seeds run twice, the second time on another thread after another
    /// seed; 0 none.
    pub recheck: u8,
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

/// Where a campaign stands after some of its seeds.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// What is kept of them; without what its strategy has learned.
    pub part: &'a Part,
    course: Option<&'a Course>,
}

impl Standing<'_> {
    /// Everything that another process needs to go on from here.
    #[must_use]
    pub fn checkpoint(&self) -> Part {
        let course = self.course.filter(|_| self.part.is_open());
        let mut part = self.part.clone();
        part.memory = course.and_then(Course::memory);
        part
    }
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
    /// What is kept of its seeds: goes into a file, and adds up with those of other shards.
    pub part: Part,
    /// What that means.
    pub sum: Sum,
    /// Distinct failures and finds, by fingerprint.
    pub failures: Vec<Failure>,
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
    pub fn run_with(&self, progress: &mut dyn FnMut(&Progress), one: &One<'_>) -> CampaignReport {
        let mut watch = |standing: &Standing<'_>| progress(&standing.part.progress());
        let report = self.go_on(self.start(), &mut watch, one);
        report.expect("a campaign that has not begun has nothing to remember")
    }

    /// Nothing has run yet.
    #[must_use]
    pub fn start(&self) -> Part {
        Part::new(&self.scenario, self.seeds())
    }

    /// Runs the seeds that `part` does not have; each seed counts once, however often this was
    /// killed. `watch` sees where the campaign stands after each further seed.
    ///
    /// # Errors
    /// Why `part` is none of this campaign, a fragment: what its strategy had learned is missing or
    /// damaged.
    pub fn go_on(
        &self,
        mut part: Part,
        watch: &mut dyn FnMut(&Standing<'_>),
        one: &One<'_>,
    ) -> Result<CampaignReport, String> {
        part.reopen();
        let mut tally = Tally::new(self, part);
        tally.remember(one)?;
        if !tally.is_enough() && !tally.part.is_complete() {
            let course = self.course(&tally.part)?;
            if course.learns() {
                tally.course = Some(self.course(&tally.part)?);
                tally.part.memory = None;
            }
            self.search(&mut tally, course, watch, one);
        }
        Ok(tally.report())
    }

    /// Runs what a course proposes, on all threads.
    fn search(
        &self,
        tally: &mut Tally<'_>,
        course: Course,
        watch: &mut dyn FnMut(&Standing<'_>),
        one: &One<'_>,
    ) {
        let (started, from) = (tally.started, tally.part.done);
        let (desk, halt) = (Desk::new(course), AtomicBool::new(false));
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
            let mut expected = from;
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
                    halt.store(tally.is_enough(), Relaxed);
                    watch(&tally.standing());
                }
            }
        });
    }

    /// What proposes the runs behind those of `part`.
    fn course(&self, part: &Part) -> Result<Course, String> {
        let kind = self.options.strategy;
        let begin = || kind.begin(&self.scenario, self.master());
        match &part.memory {
            Some(memory) => {
                Course::recall(kind, (&self.scenario, self.master()), part.done, memory)
            }
            None if part.done > 0 && begin().lag().is_some() => {
                Err(format!("what {} had learned is not in it", kind.name()))
            }
            None => Ok(Course::begin(begin(), part.done)),
        }
    }

    /// The seeds of this shard.
    #[must_use]
    pub fn seeds(&self) -> Seeds {
        let (shard, of) = self.options.shard.unwrap_or((1, 1));
        let planned = (self.options.seeds != u64::MAX).then_some(self.options.seeds);
        Seeds { from: self.options.from, planned, shard, of }
    }

    /// What a strategy that learns draws from: its own for each shard.
    fn master(&self) -> u64 {
        let (shard, _) = self.options.shard.unwrap_or((1, 1));
        self.options.from.wrapping_add((shard - 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn work(
        &self,
        started: std::time::Instant,
        (desk, halt): (&Desk, &AtomicBool),
        one: &One<'_>,
        sender: &mpsc::Sender<(u64, Done)>,
    ) {
        let seeds = self.seeds();
        // A seed that runs twice waits for the next one, so that its second run comes after that.
        let mut waiting: Option<Waiting> = None;
        loop {
            let over = self.options.budget.is_some_and(|budget| started.elapsed() >= budget);
            if over || halt.load(Relaxed) || self.options.stop.load(Relaxed) {
                break;
            }
            let Some((index, seed, proposal)) = desk.next(|index| seeds.seed(index)) else { break };
            let due = recheck::is_due(seed, self.options.from, self.options.recheck);
            let options = RunOptions {
                seed: proposal.seed,
                plan: proposal.plan,
                keep_history: due || desk.learns(),
                ..RunOptions::default()
            };
            let mut outcome = one(&self.scenario, &options);
            let feedback = desk.learns().then(|| Arc::new(Feedback::of(&outcome)));
            if let Some(feedback) = &feedback {
                desk.deliver(index, Arc::clone(feedback));
            }
            if !due {
                outcome.history = None;
            }
            if let Some(waiting) = waiting.take() {
                let _ = sender.send(self.twice(waiting, one));
            }
            let judgement = judge(&self.scenario, &outcome);
            let done = Done { seed, outcome, judgement, rechecked: due, differs: None, feedback };
            if due {
                waiting = Some((index, options, done));
            } else if sender.send((index, done)).is_err() {
                return;
            }
        }
        if let Some(waiting) = waiting {
            let other = RunOptions { seed: waiting.1.seed ^ 0x5eed, ..RunOptions::default() };
            let _ = one(&self.scenario, &other);
            let _ = sender.send(self.twice(waiting, one));
        }
    }

    /// What ran by a seed of the campaign.
    fn again(&self, seed: u64, run: Option<&WrittenRun>) -> Result<Proposal, String> {
        let Some(run) = run else {
            let mut strategy = self.options.strategy.begin(&self.scenario, 0);
            return Ok(strategy.propose(0, seed));
        };
        let plans = read_plans(&self.scenario, std::slice::from_ref(&run.plan));
        let plans = plans.map_err(|cause| format!("the run of seed {seed} is damaged: {cause}"))?;
        Ok(Proposal { seed: run.seed, plan: plans.into_iter().next() })
    }

    /// Runs a seed a second time.
    fn twice(&self, (index, options, mut done): Waiting, one: &One<'_>) -> (u64, Done) {
        let differs = recheck::again(&self.scenario, &options, &mut done.outcome, one);
        done.differs = differs.map(|differs| Nondeterminism { seed: done.seed, ..differs });
        (index, done)
    }
}

/// A run that will be done a second time.
type Waiting = (u64, RunOptions, Done);

/// One seed that has run.
struct Done {
    /// The campaign's seed: its place in it.
    seed: u64,
    outcome: Outcome,
    judgement: Judgement,
    rechecked: bool,
    differs: Option<Nondeterminism>,
    /// What it reached, for a strategy that learns.
    feedback: Option<Arc<Feedback>>,
}

/// A campaign in progress.
struct Tally<'a> {
    campaign: &'a Campaign,
    /// Wall time of earlier processes.
    before: u64,
    started: std::time::Instant,
    part: Part,
    /// The first run of each distinct failure.
    firsts: BTreeMap<String, Outcome>,
    /// A strategy that learns, exactly as far as the part: threads are ahead with theirs.
    course: Option<Course>,
}

impl<'a> Tally<'a> {
    fn new(campaign: &'a Campaign, part: Part) -> Self {
        let (before, started) = (part.wall_ms, std::time::Instant::now());
        Tally { campaign, before, started, part, firsts: BTreeMap::new(), course: None }
    }

    fn standing(&self) -> Standing<'_> {
        Standing { part: &self.part, course: self.course.as_ref() }
    }

    /// Whether nothing more has to run.
    fn is_enough(&mut self) -> bool {
        let part = &mut self.part;
        let failed = part.failing > 0 || part.expected > 0;
        part.stopped =
            !part.nondeterministic.is_empty() || (self.campaign.options.fail_fast && failed);
        part.stopped
    }

    fn wall_ms(&self) -> u64 {
        let here = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.before.saturating_add(here)
    }

    /// Runs the first seed of each known failure again: a file keeps no runs.
    fn remember(&mut self, one: &One<'_>) -> Result<(), String> {
        let scenario = &self.campaign.scenario;
        for (fingerprint, found) in &self.part.found {
            let Some(seed) = found.seeds.first().copied() else { continue };
            let proposal = self.campaign.again(seed, found.run.as_ref())?;
            let options =
                RunOptions { seed: proposal.seed, plan: proposal.plan, ..RunOptions::default() };
            let outcome = one(scenario, &options);
            if outcome.digest.to_string() != found.digest {
                self.part.nondeterministic.push(Nondeterminism {
                    seed,
                    digests: [found.digest.clone(), outcome.digest.to_string()],
                    event: None,
                    sides: ["the campaign before it was continued", "the same seed, now"]
                        .map(str::to_owned),
                    files: None,
                    histories: None,
                });
            }
            self.firsts.insert(fingerprint.clone(), outcome);
        }
        Ok(())
    }

    fn add(&mut self, done: Done) {
        let Done { seed, outcome, judgement, rechecked, differs, feedback } = done;
        self.part.rechecked += u64::from(rechecked);
        self.part.nondeterministic.extend(differs);
        if let (Some(course), Some(feedback)) = (&mut self.course, feedback) {
            let index = course.next();
            let proposal = course.propose(seed);
            assert_eq!(proposal.seed, outcome.seed, "every thread walks the same course");
            course.deliver(index, feedback);
        }
        let wall = self.wall_ms();
        let first = self.part.add(&self.campaign.scenario, (seed, outcome), judgement, wall);
        let Some((fingerprint, outcome)) = first else { return };
        if self.course.is_some()
            && let Some(found) = self.part.found.get_mut(&fingerprint)
        {
            found.run = Some(WrittenRun::of(outcome.seed, &outcome.plan));
        }
        self.firsts.insert(fingerprint, outcome);
    }

    fn report(mut self) -> CampaignReport {
        self.part.wall_ms = self.wall_ms();
        self.part = self.standing().checkpoint();
        let mut sum = Sum::of(&ScenarioFacts::of(&self.campaign.scenario), &[&self.part]);
        if self.campaign.options.strategy == StrategyKind::Guided {
            sum.is_no_sample();
        }
        let failures = sum.failures.iter().filter_map(|distinct| {
            let first = self.firsts.remove(&distinct.fingerprint)?;
            Some(Failure {
                fingerprint: distinct.fingerprint.clone(),
                judgement: distinct.judgement,
                seeds: distinct.seeds.clone(),
                count: distinct.count,
                first,
            })
        });
        CampaignReport { failures: failures.collect(), part: self.part, sum }
    }
}

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
