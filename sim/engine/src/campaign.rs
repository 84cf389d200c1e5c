//! Many seeds of one scenario, on all cores, collected in the order of the seeds.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use oncesim_spec::Scenario;

use crate::outcome::{Judgement, Outcome};

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
    /// The judgement on the whole: the worst, or vacuous.
    pub judgement: Judgement,
    /// Upper 95 % bound on the share of seeds that break the claim.
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
    /// Runs it. `progress` is called on the calling thread.
    #[must_use]
    pub fn run(&self, progress: &mut dyn FnMut(&Progress)) -> CampaignReport {
        let _ = progress;
        unimplemented!("the kernel lands next")
    }
}
