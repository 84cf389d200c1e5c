//! From a failing run to a small one that fails in the same way.
//!
//! Four passes, repeated until none of them finds anything: faults (delta debugging over the
//! plan; a fault carries its own heal), workload (groups, records, keys, instances, partitions,
//! brokers), numbers (times and durations shortened and rounded), settings (back to their
//! defaults). Then faults that strike at a moment are tied to messages, once each. A candidate is
//! taken when its run has the fingerprint and the judgement of the first one. It is always smaller
//! in one respect and larger in none, so the result never grows and the search ends.
//!
//! Every decision of the world is a keyed draw: what was taken out shifts no draw of what is left,
//! which is why deletion alone gets so far.
//!
//! Replication factors, acknowledgements and what else a promise is made of stay: a loss under one
//! replica is another story than a loss under three.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Instant as WallInstant;

use oncesim_spec::{FaultPlan, Scenario};

use crate::campaign::fingerprint;
use crate::outcome::{Judgement, Outcome, RunOptions, judge, shows_expected};
use crate::run::run;

mod anchor;
mod faults;
mod numbers;
mod settings;
mod workload;

#[cfg(test)]
mod tests;

/// How much a shrink may cost.
#[derive(Debug, Clone)]
pub struct ShrinkOptions {
    /// Threads. The result does not depend on them.
    pub jobs: usize,
    /// Runs, at most.
    pub max_runs: u64,
    /// Wall time, at most. A result that was cut short by it depends on the machine.
    pub budget: Option<std::time::Duration>,
    /// Set from outside to end it with what there is.
    pub stop: Arc<AtomicBool>,
    /// Whether faults that strike at a moment are tied to messages.
    pub anchor: bool,
}

impl Default for ShrinkOptions {
    fn default() -> Self {
        ShrinkOptions {
            jobs: 1,
            max_runs: u64::MAX,
            budget: None,
            stop: Arc::default(),
            anchor: true,
        }
    }
}

/// How large a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Faults of the plan.
    pub faults: u64,
    /// Records that all producers send, and operations that all services begin.
    pub records: u64,
    /// Distinct keys of all producers and services.
    pub keys: u64,
    /// Instances of producers and services.
    pub producers: u64,
    /// Consumer instances.
    pub consumers: u64,
    /// Instances of processors and relays.
    pub processors: u64,
    /// Partitions of all topics of the scenario.
    pub partitions: u64,
    /// Brokers.
    pub brokers: u64,
}

impl Size {
    /// The size of a scenario whose faults are all scripted.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        // A service is a producer of the log.
        let producers = scenario.producers.iter();
        let producers = producers.map(|spec| (spec.instances, spec.records, spec.keys));
        let services = scenario.services.iter();
        let services = services.map(|spec| (spec.instances, spec.records, spec.keys));
        let sources: Vec<_> = producers.chain(services).collect();
        let topics = scenario.topics.iter().filter(|topic| !topic.config.is_internal());
        let processors = scenario.processors.iter().map(|spec| spec.instances);
        let processors = processors.chain(scenario.relays.iter().map(|spec| spec.instances));
        Size {
            faults: scenario.scripted.len() as u64,
            records: sources.iter().map(|(n, records, _)| records * u64::from(*n)).sum(),
            keys: sources.iter().map(|(_, _, keys)| u64::from(*keys)).sum(),
            producers: sources.iter().map(|(instances, ..)| u64::from(*instances)).sum(),
            consumers: scenario.consumers.iter().map(|spec| u64::from(spec.instances)).sum(),
            processors: processors.map(u64::from).sum(),
            partitions: topics.map(|topic| u64::from(topic.config.partitions)).sum(),
            brokers: u64::from(scenario.brokers),
        }
    }

    /// What is counted, with its name.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, u64); 8] {
        [
            ("faults", self.faults),
            ("records", self.records),
            ("keys", self.keys),
            ("producers", self.producers),
            ("consumers", self.consumers),
            ("processors", self.processors),
            ("partitions", self.partitions),
            ("brokers", self.brokers),
        ]
    }
}

/// Why a shrink ended before nothing more could be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShrinkEnd {
    /// It had used up its runs.
    Runs,
    /// It had used up its time.
    Time,
    /// Somebody stopped it.
    Stopped,
}

/// How far a shrink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShrinkProgress {
    /// Runs so far.
    pub runs: u64,
    /// The size of the first run.
    pub before: Size,
    /// The size of the smallest so far.
    pub now: Size,
}

/// The small run.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// Its scenario; its faults are all scripted.
    pub scenario: Arc<Scenario>,
    /// What it does.
    pub outcome: Outcome,
    /// What it has in common with the first run.
    pub fingerprint: String,
    /// And what that means.
    pub judgement: Judgement,
    /// The size of the first run.
    pub before: Size,
    /// The size of this one.
    pub after: Size,
    /// How many faults of each kind were taken out, by name.
    pub removed: Vec<(&'static str, u64)>,
    /// Settings that were taken out, by their dotted paths.
    pub settings: Vec<String>,
    /// How many runs it took.
    pub runs: u64,
    /// `None`: it is 1-minimal, taking out any one fault loses the failure.
    pub ended: Option<ShrinkEnd>,
}

/// There is nothing to shrink: the run is as claimed. This is what it did.
#[derive(Debug, Clone)]
pub struct DoesNotFail(pub Box<Outcome>);

/// How a run fails, if it does (or shows what its scenario expects): its fingerprint and what that
/// means. What a candidate has to have in common with the first run.
#[must_use]
pub fn failure(scenario: &Scenario, outcome: &Outcome) -> Option<(String, Judgement)> {
    let judgement = judge(scenario, outcome);
    let fails = match judgement {
        Judgement::AsClaimed => shows_expected(scenario, outcome),
        Judgement::Vacuous => false,
        Judgement::NotLive | Judgement::Violated | Judgement::Bug => true,
    };
    fails.then(|| (fingerprint(scenario, outcome), judgement))
}

/// Shrinks the run of `seed` and `plan`. `progress` is called on the calling thread.
///
/// # Errors
/// When the run does not fail.
pub fn shrink(
    scenario: &Arc<Scenario>,
    plan: &FaultPlan,
    seed: u64,
    options: &ShrinkOptions,
    progress: &mut dyn FnMut(&ShrinkProgress),
) -> Result<Shrunk, DoesNotFail> {
    let scenario = scenario.with(&plan.settings);
    let first = Scenario {
        swarm: None,
        variants: Vec::new(),
        scripted: plan.faults.clone(),
        ..Scenario::clone(scenario)
    };
    let first = Arc::new(first);
    let outcome = run(&first, &RunOptions { seed, ..RunOptions::default() });
    let Some(goal) = failure(&first, &outcome) else {
        return Err(DoesNotFail(Box::new(outcome)));
    };
    let before = Size::of(&first);
    let kinds: Vec<&'static str> = outcome.faults.iter().map(|fault| fault.kind).collect();
    let mut shrinker = Shrinker {
        trial: Trial { options, seed, goal, started: WallInstant::now() },
        before,
        runs: 1,
        current: (Arc::clone(&first), outcome),
        tried: BTreeSet::new(),
        ended: None,
        progress,
    };
    shrinker.all_passes();
    let Shrinker { trial, runs, current: (scenario, outcome), ended, .. } = shrinker;
    Ok(Shrunk {
        removed: removed(&kinds, &outcome),
        settings: settings::removed(&first, &scenario),
        after: Size::of(&scenario),
        fingerprint: trial.goal.0,
        judgement: trial.goal.1,
        scenario,
        outcome,
        before,
        runs,
        ended,
    })
}

/// The kinds of `before` that are not among the faults of `outcome`, counted.
fn removed(before: &[&'static str], outcome: &Outcome) -> Vec<(&'static str, u64)> {
    let kinds: BTreeSet<&'static str> = before.iter().copied().collect();
    let mut removed = Vec::new();
    for kind in kinds {
        let had = before.iter().filter(|had| **had == kind).count();
        let has = outcome.faults.iter().filter(|fault| fault.kind == kind).count();
        if had > has {
            removed.push((kind, (had - has) as u64));
        }
    }
    removed
}

/// A shrink at work.
struct Shrinker<'a> {
    trial: Trial<'a>,
    before: Size,
    runs: u64,
    /// The smallest run so far.
    current: (Arc<Scenario>, Outcome),
    /// Candidates that did not fail in the same way. A pass that is repeated costs nothing for
    /// what it knows.
    tried: BTreeSet<[u8; 32]>,
    ended: Option<ShrinkEnd>,
    progress: &'a mut dyn FnMut(&ShrinkProgress),
}

impl Shrinker<'_> {
    /// Until a whole round has found nothing: its first pass has then verified, for the run as it
    /// is, that no single fault can be taken out.
    fn all_passes(&mut self) {
        loop {
            let mut smaller = self.shrink_faults();
            smaller |= self.shrink_workload();
            smaller |= self.shrink_numbers();
            smaller |= self.shrink_settings();
            if !smaller && self.ended.is_none() && self.trial.options.anchor {
                smaller = self.anchor();
            }
            if !smaller || self.ended.is_some() {
                return;
            }
        }
    }

    /// Takes the first of `candidates` that fails in the same way: its index. Candidates run in
    /// parallel, but which one is taken, and how many runs are counted, is as if they had run one
    /// after the other.
    fn take_first(&mut self, candidates: &[Arc<Scenario>]) -> Option<usize> {
        let mut fresh = Vec::new();
        for (index, candidate) in candidates.iter().enumerate() {
            let key = identity(candidate);
            if !self.tried.contains(&key) {
                fresh.push((index, key, Arc::clone(candidate)));
            }
        }
        if self.ended.is_some() || fresh.is_empty() {
            return None;
        }
        let left = usize::try_from(self.trial.options.max_runs.saturating_sub(self.runs));
        let left = left.unwrap_or(usize::MAX).min(fresh.len());
        let (done, found) = self.trial.search(&fresh[..left]);
        let used = found.as_ref().map_or(left, |(at, _)| at + 1);
        self.runs += used as u64;
        for ((_, key, _), done) in fresh.iter().zip(&done).take(used) {
            // The one that was taken is no longer a candidate either.
            if *done {
                self.tried.insert(*key);
            }
        }
        let taken = found.map(|(at, outcome)| {
            let (index, _, scenario) = &fresh[at];
            self.current = (Arc::clone(scenario), outcome);
            *index
        });
        if taken.is_none() {
            if let Some(end) = self.trial.over() {
                self.ended = Some(end);
            } else if left < fresh.len() {
                self.ended = Some(ShrinkEnd::Runs);
            }
        }
        let now = Size::of(&self.current.0);
        (self.progress)(&ShrinkProgress { runs: self.runs, before: self.before, now });
        taken
    }
}

/// How a candidate is tried.
struct Trial<'a> {
    options: &'a ShrinkOptions,
    seed: u64,
    goal: (String, Judgement),
    started: WallInstant,
}

impl Trial<'_> {
    fn over(&self) -> Option<ShrinkEnd> {
        if self.options.stop.load(Relaxed) {
            return Some(ShrinkEnd::Stopped);
        }
        let over = self.options.budget.is_some_and(|budget| self.started.elapsed() >= budget);
        over.then_some(ShrinkEnd::Time)
    }

    /// Runs candidates until the first that fails in the same way is known: which have run, and
    /// that one.
    fn search(
        &self,
        candidates: &[(usize, [u8; 32], Arc<Scenario>)],
    ) -> (Vec<bool>, Option<(usize, Outcome)>) {
        let next = AtomicUsize::new(0);
        let best = AtomicUsize::new(usize::MAX);
        let results = Mutex::new((vec![false; candidates.len()], None::<(usize, Outcome)>));
        let work = || {
            while self.over().is_none() {
                let at = next.fetch_add(1, Relaxed);
                let Some((_, _, scenario)) = candidates.get(at) else { return };
                if at > best.load(Relaxed) {
                    return;
                }
                let outcome = run(scenario, &RunOptions { seed: self.seed, ..Default::default() });
                let same = failure(scenario, &outcome).as_ref() == Some(&self.goal);
                let mut results = results.lock().expect("no run panics outside of its thread");
                results.0[at] = true;
                if same && results.1.as_ref().is_none_or(|(found, _)| at < *found) {
                    best.fetch_min(at, Relaxed);
                    results.1 = Some((at, outcome));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs.clamp(1, candidates.len().max(1)) {
                scope.spawn(work);
            }
        });
        results.into_inner().expect("no run panics outside of its thread")
    }
}

/// What makes a candidate the candidate that it is.
fn identity(scenario: &Scenario) -> [u8; 32] {
    let Scenario { brokers, topics, producers, consumers, processors, scripted, .. } = scenario;
    let Scenario { systems, sinks, services, relays, .. } = scenario;
    let kafka = (brokers, topics, producers, consumers, processors);
    let Scenario { broker_config, network, limits, .. } = scenario;
    let outside = (systems, sinks, services, relays);
    let text = format!("{:?}", (kafka, outside, (broker_config, network, limits), scripted));
    *blake3::hash(text.as_bytes()).as_bytes()
}
