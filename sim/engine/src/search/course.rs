//! A strategy on its way through a campaign: what it proposes, and what it may know then.

use std::collections::BTreeMap;
use std::sync::Arc;

use oncesim_spec::Scenario;

use super::guided::Guided;
use super::{Feedback, Memory, Proposal, Strategy, StrategyKind};

/// Takes proposals in the order of the indices, and lets the strategy learn in that order, exactly
/// as far behind as its lag says.
pub(crate) struct Course {
    strategy: Box<dyn Strategy>,
    lag: Option<u64>,
    /// The index that is proposed next.
    next: u64,
    /// Everything before it has been learned.
    learned: u64,
    /// What runs reached that are not learned yet.
    waiting: BTreeMap<u64, Arc<Feedback>>,
}

impl Course {
    /// A strategy that knows nothing yet, and proposes `next` first: 0, unless it learns nothing.
    pub(crate) fn begin(strategy: Box<dyn Strategy>, next: u64) -> Course {
        let lag = strategy.lag();
        assert!(next == 0 || lag.is_none(), "what was learned before is not known any more");
        Course { strategy, lag, next, learned: 0, waiting: BTreeMap::new() }
    }

    /// A strategy that goes on from `next` with what it had learned.
    ///
    /// # Errors
    /// What is wrong with its memory, a fragment.
    pub(crate) fn recall(
        kind: StrategyKind,
        (scenario, master): (&Arc<Scenario>, u64),
        next: u64,
        memory: &Memory,
    ) -> Result<Course, String> {
        if kind != StrategyKind::Guided {
            return Err(format!("{} has no memory", kind.name()));
        }
        let (strategy, recent) = Guided::recall(Arc::clone(scenario), master, next, memory)?;
        let learned = next - recent.len() as u64;
        let waiting = (learned..).zip(recent.into_iter().map(Arc::new)).collect();
        let (lag, strategy) = (strategy.lag(), Box::new(strategy));
        Ok(Course { strategy, lag, next, learned, waiting })
    }

    /// Whether each proposal's run must be followed by [`Course::deliver`].
    pub(crate) fn learns(&self) -> bool {
        self.lag.is_some()
    }

    /// The index that is proposed next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Whether everything has been delivered that the next proposal has to know.
    pub(crate) fn is_ready(&mut self) -> bool {
        let due = self.lag.map_or(0, |lag| self.next.saturating_sub(lag));
        while self.learned < due {
            let Some(feedback) = self.waiting.remove(&self.learned) else { return false };
            self.strategy.learn(self.learned, &feedback);
            self.learned += 1;
        }
        true
    }

    /// The next proposal; `seed` is what the campaign means by its index.
    pub(crate) fn propose(&mut self, seed: u64) -> Proposal {
        assert!(self.is_ready(), "a proposal knows every run that lies behind its lag");
        let index = self.next;
        self.next += 1;
        self.strategy.propose(index, seed)
    }

    /// What the run of an index reached.
    pub(crate) fn deliver(&mut self, index: u64, feedback: Arc<Feedback>) {
        self.waiting.insert(index, feedback);
    }

    /// What has to be written down to go on from here; every run that was proposed has been
    /// delivered.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let recent: Vec<&Feedback> = self.waiting.values().map(AsRef::as_ref).collect();
        self.strategy.memory(self.next, &recent)
    }
}
