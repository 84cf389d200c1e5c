//! Guided search: plans that reached something new are kept, and varied.
//!
//! A run that shows a feature which no earlier one had is kept with its plan, the seed of its world
//! and the moments of its steps. Later proposals vary what is kept, half of the time in the same world,
//! so that everything before the first difference happens again. The others are what swarm makes of
//! their seeds.
//!
//! The shares are measured with `oncesim mutants --strategies`.

use std::collections::VecDeque;
use std::sync::Arc;

use oncesim_spec::{FaultPlan, Scenario, Setting, read_plans};
use oncesim_types::Instant;

use super::elsewhere::settled;
use super::memory::{Memory, WrittenKept, WrittenRecent, WrittenRun, read_bits, written_bits};
use super::mutate::Mutator;
use super::swarm;
use super::{Feedback, Proposal, Strategy};
use crate::draw::{Draws, Purpose};

/// How far a proposal is behind with what it has learned: so many threads never wait.
const LAG: u64 = 16;
/// Bits of the set of features that have been seen; a collision hides a feature.
const FEATURE_BITS: usize = 1 << 21;
/// Of a hundred proposals, those that swarm makes too. The others vary what is kept,
const FRESH: u64 = 60;
/// so many in a hundred of them in the same world.
const SAME_WORLD: u64 = 50;
/// Of a hundred variations of a scenario with several worlds, those whose world is drawn anew.
const OTHER_SETTINGS: u64 = 15;
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

    /// A number below 100.
    fn percent(&mut self) -> u64 {
        self.draws.below_inclusive(99)
    }

    /// What comes next; `None`: what swarm makes of the seed.
    fn other(&mut self, seed: u64) -> Option<Proposal> {
        let scenario = Arc::clone(&self.scenario);
        scenario.swarm.as_ref()?;
        if self.percent() < FRESH || self.corpus.is_empty() {
            return None;
        }
        let draws = Draws::new(self.draws.next_bits(), Purpose::Guided, 1, 0);
        self.variation(&scenario, seed, draws)
    }

    /// A variation of something that was kept.
    fn variation(&mut self, scenario: &Arc<Scenario>, seed: u64, draws: Draws) -> Option<Proposal> {
        let (parent, other) = (self.pick(), self.pick());
        let same_world = self.percent() < SAME_WORLD;
        let settings = self.settings(parent);
        self.corpus[parent].varied += 1;
        let world = scenario.with(&settings);
        let scripted = if world.walk { 1 } else { world.scripted.len() };
        // What goes into a plan must know its actors.
        let here = |index: usize| settled(&self.corpus[index].plan, scripted, world, &settings);
        let (plan, other) = (here(parent), here(other));
        let mut mutator = Mutator::new(world, draws, scripted)?;
        let parent = &self.corpus[parent];
        let plan = mutator.vary(&plan, &other, &parent.moments);
        let seed = if same_world { parent.seed } else { seed };
        Some(Proposal { seed, plan: Some(plan) })
    }

    /// The settings of a variation: those of its parent most of the time.
    fn settings(&mut self, parent: usize) -> Vec<Setting> {
        let scenario = Arc::clone(&self.scenario);
        if !scenario.variants.is_empty() && self.percent() < OTHER_SETTINGS {
            return swarm::world(&scenario, self.draws.next_bits()).1;
        }
        self.corpus[parent].plan.settings.clone()
    }

    /// Marks features as seen: how many were not.
    fn see(&mut self, features: &[u64]) -> u64 {
        let mut new = 0;
        for feature in features {
            let (word, mask) = place(*feature);
            let word = &mut self.seen[word];
            new += u64::from(*word & mask == 0);
            *word |= mask;
        }
        new
    }

    /// What of a run's feedback will count: most of what runs reach has been seen before.
    fn news(&self, feedback: &Feedback) -> Feedback {
        let new = |feature: &&u64| {
            let (word, mask) = place(**feature);
            self.seen[word] & mask == 0
        };
        let new = feedback.features.iter().filter(new);
        let features: Vec<u64> = new.map(|feature| feature % FEATURE_BITS as u64).collect();
        let moments = if features.is_empty() { Vec::new() } else { feedback.moments.clone() };
        Feedback { features, moments }
    }

    /// Goes on after `runs` proposals with what was written down then; and gives what the runs
    /// reached that are not learned yet.
    pub(super) fn recall(
        scenario: Arc<Scenario>,
        master: u64,
        runs: u64,
        memory: &Memory,
    ) -> Result<(Guided, Vec<Feedback>), String> {
        let Memory { kept, recent, .. } = memory;
        if memory.runs != runs {
            return Err(format!("what was learned is of {} runs and not of {runs}", memory.runs));
        }
        let counts = |it: &WrittenKept| it.varied <= runs && it.novelty <= FEATURE_BITS as u64;
        let sound = recent.len() as u64 == runs.min(LAG + 1) && kept.len() <= CORPUS;
        let seen = read_bits(&memory.seen, FEATURE_BITS / 64);
        let (Some(seen), true) = (seen, sound && kept.iter().all(counts)) else {
            return Err("what was learned is damaged".to_owned());
        };
        let written = kept.iter().map(|it| &it.run).chain(recent.iter().map(|it| &it.run));
        let plans: Vec<_> = written.map(|run| run.plan.clone()).collect();
        let plans = read_plans(&scenario, &plans)
            .map_err(|cause| format!("what was learned is damaged: {cause}"))?;
        let mut plans = plans.into_iter();
        let corpus = kept.iter().zip(plans.by_ref()).map(|(it, plan)| Kept {
            seed: it.run.seed,
            plan,
            moments: it.moments.clone(),
            novelty: it.novelty,
            varied: it.varied,
        });
        let corpus = corpus.collect();
        let proposed = recent.iter().zip(plans).map(|(it, plan)| it.run.proposal(plan)).collect();
        let mut guided = Guided { seen, corpus, proposed, ..Guided::new(scenario, master) };
        guided.draws.seek(memory.drawn);
        Ok((guided, recent.iter().map(|it| it.feedback.clone()).collect()))
    }
}

/// Where the bit of a feature is: a word, and its bit in it.
fn place(feature: u64) -> (usize, u64) {
    let bit = usize::try_from(feature % FEATURE_BITS as u64).expect("below a length");
    (bit / 64, 1 << (bit % 64))
}

impl Strategy for Guided {
    fn lag(&self) -> Option<u64> {
        Some(LAG)
    }

    fn propose(&mut self, _: u64, seed: u64) -> Proposal {
        let proposal = self.other(seed).unwrap_or_else(|| {
            let plan = swarm::plan(&self.scenario, seed);
            Proposal { seed, plan: Some(plan) }
        });
        self.proposed.push_back(proposal.clone());
        proposal
    }

    fn learn(&mut self, _: u64, feedback: &Feedback) {
        let Some(Proposal { seed, plan: Some(plan) }) = self.proposed.pop_front() else { return };
        let novelty = self.see(&feedback.features);
        if novelty == 0 {
            return;
        }
        if self.corpus.len() == CORPUS {
            let least = (0..CORPUS).min_by_key(|index| self.corpus[*index].promise());
            self.corpus.swap_remove(least.expect("the corpus is not empty"));
        }
        let moments = feedback.moments.clone();
        self.corpus.push(Kept { seed, plan, moments, novelty, varied: 0 });
    }

    fn memory(&self, runs: u64, recent: &[&Feedback]) -> Option<Memory> {
        let run = |proposal: &Proposal| {
            let plan = proposal.plan.as_ref().expect("it is always proposed with its plan");
            WrittenRun::of(proposal.seed, plan)
        };
        let kept = self.corpus.iter().map(|it| WrittenKept {
            run: WrittenRun::of(it.seed, &it.plan),
            moments: it.moments.clone(),
            novelty: it.novelty,
            varied: it.varied,
        });
        let recent = self.proposed.iter().zip(recent).map(|(proposal, feedback)| WrittenRecent {
            run: run(proposal),
            feedback: self.news(feedback),
        });
        Some(Memory {
            runs,
            drawn: self.draws.index(),
            seen: written_bits(&self.seen),
            kept: kept.collect(),
            recent: recent.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use oncesim_spec::WrittenPlan;

    use super::*;

    const VARIED: &str = r#"
        title = "Values that seeds draw"
        claim = { log = "at-least-once" }
        cluster = { brokers = 3 }
        topics.orders = { partitions = 2, replication-factor = 3 }
        producers.shop = { to = "orders", records = 20 }

        [faults]
        swarm = { kinds = ["crash", "ack-loss", "delay", "leader-change"], count = 6 }

        [faults.vary]
        "producers.shop.instances" = [1, 2]
        "network.latency.mean" = ["1ms", "5ms"]
        "#;

    fn scenario() -> Arc<Scenario> {
        let loaded = oncesim_spec::parse("varied.toml", VARIED, None);
        Arc::new(loaded.unwrap_or_else(|d| panic!("{}", d.render(false))).scenario)
    }

    #[test]
    fn a_plan_that_is_kept_is_varied_under_other_settings_too() {
        let scenario = scenario();
        let mut guided = Guided::new(Arc::clone(&scenario), 5);
        let parent = (0..).find_map(|seed| {
            let proposal = guided.propose(0, seed);
            guided.learn(0, &Feedback { features: vec![seed], moments: Vec::new() });
            let plan = proposal.plan.expect("it has one");
            (plan.faults.len() == 6 && plan.settings[0].value == "2").then_some(plan)
        });
        let parent = parent.expect("some plan is like that");
        guided.corpus.retain(|kept| kept.plan == parent);
        let (mut same, mut other, mut moved) = (0, 0, 0);
        for index in 0..400 {
            let draws = Draws::new(index, Purpose::Guided, 9, 9);
            let varied = guided.variation(&scenario, index, draws).expect("it declares faults");
            let plan = varied.plan.expect("it has one");
            assert!(read_plans(&scenario, &[WrittenPlan::from(&plan)]).is_ok(), "{plan:?}");
            let kept = plan.faults.iter().filter(|fault| parent.faults.contains(fault)).count();
            if plan.settings == parent.settings {
                same += 1;
            } else {
                other += 1;
                moved += u64::from(kept > 0);
            }
        }
        assert!(same > other && other > 40, "{same} under the same settings, {other} under others");
        assert!(moved > other / 2, "{moved} of {other} have faults of their parent");
    }

    #[test]
    fn settings_that_are_drawn_anew_are_all_drawn() {
        let scenario = scenario();
        let mut guided = Guided::new(Arc::clone(&scenario), 1);
        let plans = (0..80).filter_map(|seed| guided.propose(seed, seed).plan);
        let drawn: std::collections::BTreeSet<_> = plans.map(|plan| plan.settings).collect();
        assert_eq!(drawn.len(), scenario.variants.len());
    }
}
