//! Runs that somebody asks for: many at once, their results in order.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant as WallInstant;

use oncesim_semantics::Severity;
use oncesim_spec::Scenario;
use oncesim_types::RecordId;

use crate::outcome::{Judgement, Outcome, RunEnd, RunOptions, judge};
use crate::run::run;

/// One run that is asked for.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) scenario: Arc<Scenario>,
    pub(super) options: RunOptions,
}

/// What a run showed, of what an explanation asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// It shows the anomaly in question: what its witness says.
    pub same: Option<String>,
    /// Of which record that is.
    pub record: Option<RecordId>,
    /// Other anomalies that it shows, those for information left out.
    pub others: Vec<&'static str>,
    /// Whether it came to rest.
    pub live: bool,
    /// What it means for what its scenario claims.
    pub judgement: Judgement,
    /// Sends that were acknowledged, and sends that failed.
    pub sends: (u64, u64),
}

impl Seen {
    /// What a run showed of `anomaly`.
    pub(super) fn of(scenario: &Scenario, outcome: &Outcome, anomaly: &str) -> Self {
        let anomalies = &outcome.verdict.anomalies;
        let same = anomalies.iter().find(|it| it.id() == anomaly);
        let others: BTreeSet<&'static str> = anomalies
            .iter()
            .filter(|it| it.id() != anomaly && it.severity != Severity::Informative)
            .map(oncesim_semantics::Anomaly::id)
            .collect();
        let count = |what: &str| {
            let found = outcome.verdict.witnesses.iter().find(|it| it.what == what);
            found.map_or(0, |it| it.count)
        };
        Seen {
            same: same.map(|it| it.witness.sentence.clone()),
            record: same.and_then(|it| it.witness.record),
            others: others.into_iter().collect(),
            live: outcome.end == RunEnd::Settled,
            judgement: judge(scenario, outcome),
            sends: (count("acknowledged sends"), count("failed sends")),
        }
    }
}

/// Where runs are tried.
pub(super) struct Lab<'a> {
    /// The anomaly that is looked for.
    pub(super) anomaly: &'a str,
    /// Of which record, if of one.
    pub(super) record: Option<RecordId>,
    pub(super) jobs: usize,
    pub(super) deadline: Option<WallInstant>,
    pub(super) stop: &'a AtomicBool,
    pub(super) runs: AtomicU64,
}

impl Lab<'_> {
    /// Whether there is no time left, or somebody stopped it.
    pub(super) fn over(&self) -> bool {
        self.stop.load(Relaxed) || self.deadline.is_some_and(|at| WallInstant::now() >= at)
    }

    /// What each task shows, in their order; `None` when there was no time for all of them.
    pub(super) fn all(&self, tasks: &[Task]) -> Option<Vec<Seen>> {
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<Seen>>> = Mutex::new(vec![None; tasks.len()]);
        let work = || {
            while !self.over() {
                let at = next.fetch_add(1, Relaxed);
                let Some(task) = tasks.get(at) else { return };
                let outcome = run(&task.scenario, &task.options);
                let seen = Seen::of(&task.scenario, &outcome, self.anomaly);
                results.lock().expect("no run panics outside of its thread")[at] = Some(seen);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.clamp(1, tasks.len().max(1)) {
                scope.spawn(work);
            }
        });
        let results = results.into_inner().expect("no run panics outside of its thread");
        let seen: Option<Vec<Seen>> = results.into_iter().collect();
        if seen.is_some() {
            self.runs.fetch_add(tasks.len() as u64, Relaxed);
        }
        seen
    }
}
