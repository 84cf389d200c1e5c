//! Guided search: plans that reached something new are kept, and varied.
//!
//! The corpus begins with what swarm would run. A run that shows a feature which no earlier one had
//! is kept with its plan, the seed of its world and the moments of its steps. Later proposals vary
//! what is kept, in the same world most of the time, so that everything before the first difference
//! happens again; or they are swarm's once more, so that nothing is out of reach.

use std::collections::VecDeque;
use std::sync::Arc;

use oncesim_spec::{FaultPlan, Scenario};
use oncesim_types::Instant;

use super::mutate::Mutator;
use super::swarm::{self, Swarm};
use super::{Feedback, Proposal, Strategy};
use crate::draw::{Draws, Purpose};

/// How far a proposal is behind with what it has learned: so many threads never wait.
const LAG: u64 = 16;
/// Bits of the set of features that have been seen; a collision hides a feature.
const FEATURE_BITS: usize = 1 << 21;
/// Plans that are kept; then the least promising one goes.
const CORPUS: usize = 256;

/// See the module.
pub(super) struct Guided {
    scenario: Arc<Scenario>,
    draws: Draws,
    seen: Vec<u64>,
    corpus: Vec<Kept>,
    /// What was proposed and is not learned yet, in order.
    proposed: VecDeque<Proposal>,
}

/// A plan that reached something new.
struct Kept {
    seed: u64,
    plan: FaultPlan,
    moments: Vec<Instant>,
    /// How much was new.
    novelty: u64,
    /// How often it was varied.
    varied: u64,
}

impl Kept {
    /// Much that is new, and not varied often.
    fn promise(&self) -> u64 {
        (self.novelty.min(64) + 4) * 16 / (self.varied + 1)
    }
}

impl Guided {
    pub(super) fn new(scenario: Arc<Scenario>, master: u64) -> Guided {
        Guided {
            scenario,
            draws: Draws::new(master, Purpose::Guided, 0, 0),
            seen: vec![0; FEATURE_BITS / 64],
            corpus: Vec::new(),
            proposed: VecDeque::new(),
        }
    }

    /// The more promising of some.
    fn pick(&mut self) -> usize {
        let last = self.corpus.len() as u64 - 1;
        let draw = |draws: &mut Draws| {
            usize::try_from(draws.below_inclusive(last)).expect("an index of the corpus")
        };
        let among: Vec<usize> = (0..3).map(|_| draw(&mut self.draws)).collect();
        let best = among.into_iter().max_by_key(|index| self.corpus[*index].promise());
        best.expect("three were drawn")
    }

    fn variation(&mut self, seed: u64) -> Option<Proposal> {
        let scenario = Arc::clone(&self.scenario);
        let spec = scenario.swarm.as_ref()?;
        if self.corpus.is_empty() || self.draws.below_inclusive(9) < 4 {
            return None;
        }
        let (parent, other) = (self.pick(), self.pick());
        let same_world = self.draws.below_inclusive(3) > 0;
        let draws = Draws::new(self.draws.next_bits(), Purpose::Guided, 1, 0);
        let scripted = if scenario.walk { 1 } else { scenario.scripted.len() };
        let mut mutator =
            Mutator { swarm: Swarm::with_draws(&scenario, spec, draws), spec, scripted };
        self.corpus[parent].varied += 1;
        let parent = &self.corpus[parent];
        let plan = mutator.vary(&parent.plan, &self.corpus[other].plan, &parent.moments);
        let seed = if same_world { parent.seed } else { seed };
        Some(Proposal { seed, plan: Some(plan) })
    }

    /// Marks features as seen: how many were not.
    fn see(&mut self, features: &[u64]) -> u64 {
        let mut new = 0;
        for feature in features {
            let bit = usize::try_from(feature % FEATURE_BITS as u64).expect("below a length");
            let (word, mask) = (&mut self.seen[bit / 64], 1 << (bit % 64));
            new += u64::from(*word & mask == 0);
            *word |= mask;
        }
        new
    }
}

impl Strategy for Guided {
    fn lag(&self) -> Option<u64> {
        Some(LAG)
    }

    fn propose(&mut self, _: u64, seed: u64) -> Proposal {
        let proposal = self.variation(seed).unwrap_or_else(|| {
            let plan = swarm::plan(&self.scenario, seed);
            Proposal { seed, plan: Some(plan) }
        });
        self.proposed.push_back(proposal.clone());
        proposal
    }

    fn learn(&mut self, _: u64, feedback: Feedback) {
        let Some(Proposal { seed, plan: Some(plan) }) = self.proposed.pop_front() else { return };
        let novelty = self.see(&feedback.features);
        if novelty == 0 {
            return;
        }
        if self.corpus.len() == CORPUS {
            let least = (0..CORPUS).min_by_key(|index| self.corpus[*index].promise());
            self.corpus.swap_remove(least.expect("the corpus is not empty"));
        }
        let moments = feedback.moments;
        self.corpus.push(Kept { seed, plan, moments, novelty, varied: 0 });
    }
}
