//! A hunt: how many runs a strategy needs until it shows what a scenario expects.

use std::sync::Arc;

use oncesim_spec::Scenario;

use super::{Course, Feedback, Proposal, StrategyKind};
use crate::outcome::{RunOptions, shows_expected};
use crate::run::run;

/// How a hunt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hunt {
    /// Runs, the one that shows it included.
    pub runs: u64,
    /// Whether one did.
    pub found: bool,
}

/// Runs what a strategy proposes, from seed `master` on, until a run shows the anomaly that the
/// scenario expects, or `most` runs have not. It is what a campaign would run.
#[must_use]
pub fn hunt(scenario: &Arc<Scenario>, kind: StrategyKind, master: u64, most: u64) -> Hunt {
    let mut course = Course::begin(kind.begin(scenario, master), 0);
    for index in 0..most {
        let Proposal { seed, plan } = course.propose(master.wrapping_add(index));
        let keep_history = course.learns();
        let options = RunOptions { seed, plan, keep_history, ..RunOptions::default() };
        let outcome = run(scenario, &options);
        if shows_expected(scenario, &outcome) {
            return Hunt { runs: index + 1, found: true };
        }
        if course.learns() {
            course.deliver(index, Arc::new(Feedback::of(&outcome)));
        }
    }
    Hunt { runs: most, found: false }
}
