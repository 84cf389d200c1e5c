//! Search: which run comes next.
//!
//! A strategy proposes runs by index, and may learn from what they reached. Proposals are made in
//! the order of the indices, and the proposal of an index knows of exactly the runs that lie more
//! than [`Strategy::lag`] before it: what a campaign runs is therefore the same on any number of
//! threads.

mod course;
mod desk;
mod elsewhere;
mod fault;
mod features;
mod guided;
mod hunt;
mod memory;
mod mutate;
mod random;
pub(crate) mod swarm;

use std::sync::Arc;

use oncesim_spec::{FaultPlan, Scenario};
use oncesim_types::Instant;
use serde::{Deserialize, Serialize};

use crate::coverage::Coverage;
use crate::outcome::Outcome;

pub(crate) use course::Course;
pub(crate) use desk::Desk;
use guided::Guided;
pub use hunt::{Hunt, hunt};
pub use memory::{Memory, WrittenRun};

/// How a campaign chooses its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum StrategyKind {
    /// `random`: faults of all declared kinds alike.
    Random,
    /// `swarm`: each seed draws which of the declared kinds it uses (Groce et al. 2012).
    #[default]
    Swarm,
    /// `guided`: keeps plans that reached something new, and varies them.
    Guided,
}

impl StrategyKind {
    /// All of them.
    pub const ALL: &'static [StrategyKind] =
        &[StrategyKind::Random, StrategyKind::Swarm, StrategyKind::Guided];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            StrategyKind::Random => "random",
            StrategyKind::Swarm => "swarm",
            StrategyKind::Guided => "guided",
        }
    }

    /// A strategy that knows nothing yet. Those that learn draw from their master seed.
    #[must_use]
    pub fn begin(self, scenario: &Arc<Scenario>, master: u64) -> Box<dyn Strategy> {
        match self {
            StrategyKind::Random => Box::new(Random(Arc::clone(scenario))),
            StrategyKind::Swarm => Box::new(Swarm),
            StrategyKind::Guided => Box::new(Guided::new(Arc::clone(scenario), master)),
        }
    }
}

/// Chooses runs.
pub trait Strategy: Send {
    /// How many runs behind a proposal is with what it has learned: the proposal of index `i` knows
    /// the runs before `i - lag`. `None`: it learns nothing.
    fn lag(&self) -> Option<u64> {
        None
    }

    /// The run of an index. The campaign means `seed` for it; indices come in order, from 0.
    fn propose(&mut self, index: u64, seed: u64) -> Proposal;

    /// What the run of an index reached; in the order of the indices.
    fn learn(&mut self, _index: u64, _feedback: &Feedback) {}

    /// What has to be written down after so many proposals, so that another process can go on from
    /// there; `recent` is what the runs reached that are not learned yet. `None`: nothing.
    fn memory(&self, _runs: u64, _recent: &[&Feedback]) -> Option<Memory> {
        None
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// What its world draws from.
    pub seed: u64,
    /// Its faults; `None`: those that the seed draws.
    pub plan: Option<FaultPlan>,
}

/// What a run reached, for a strategy that learns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Feedback {
    /// What happened, in more detail than the known points of coverage have: hashes, each once.
    pub features: Vec<u64>,
    /// Moments at which the protocol took a step that it does not take all the time.
    pub moments: Vec<Instant>,
}

impl Feedback {
    /// Of a run that kept its history.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Feedback {
        let mut feedback = Feedback::default();
        if let Some(history) = &outcome.history {
            let mut reader = features::Reader::default();
            Coverage::sequence(history, &outcome.plan, &mut |point, at| reader.next(point, at));
            (feedback.features, feedback.moments) = reader.finish();
        }
        feedback
    }
}

/// Faults of all declared kinds alike.
struct Random(Arc<Scenario>);

impl Strategy for Random {
    fn propose(&mut self, _: u64, seed: u64) -> Proposal {
        Proposal { seed, plan: Some(random::plan(&self.0, seed)) }
    }
}

/// What a seed means by itself.
struct Swarm;

impl Strategy for Swarm {
    fn propose(&mut self, _: u64, seed: u64) -> Proposal {
        Proposal { seed, plan: None }
    }
}
