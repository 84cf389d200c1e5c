//! Where the threads of a campaign get their next run, and leave what it reached.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Feedback, Proposal, Strategy};

/// Hands out proposals in the order of the indices, and lets the strategy learn in that order.
pub(crate) struct Desk {
    state: Mutex<State>,
    delivered: Condvar,
    lag: Option<u64>,
}

struct State {
    strategy: Box<dyn Strategy>,
    /// The index that is proposed next.
    next: u64,
    /// Everything before it has been learned.
    learned: u64,
    /// What runs reached that are not learned yet.
    waiting: BTreeMap<u64, Feedback>,
}

impl Desk {
    /// A desk whose next index is `next`: 0, unless the strategy learns nothing.
    pub(crate) fn new(strategy: Box<dyn Strategy>, next: u64) -> Desk {
        let lag = strategy.lag();
        assert!(next == 0 || lag.is_none(), "what was learned before is not known any more");
        let state = State { strategy, next, learned: 0, waiting: BTreeMap::new() };
        Desk { state: Mutex::new(state), delivered: Condvar::new(), lag }
    }

    /// Whether runs must be followed by [`Desk::deliver`].
    pub(crate) fn learns(&self) -> bool {
        self.lag.is_some()
    }

    /// The next run: its index, the seed that `seed` means for it, and what is proposed. `None`
    /// when `seed` has no more. Waits until everything has been delivered that the proposal has to
    /// know: whoever takes a run must deliver.
    pub(crate) fn next(&self, seed: impl Fn(u64) -> Option<u64>) -> Option<(u64, u64, Proposal)> {
        let mut state = self.state();
        loop {
            let due = self.lag.map_or(0, |lag| state.next.saturating_sub(lag));
            if state.learn_to(due) {
                let index = state.next;
                let seed = seed(index)?;
                state.next += 1;
                return Some((index, seed, state.strategy.propose(index, seed)));
            }
            state = self.delivered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What the run of an index reached.
    pub(crate) fn deliver(&self, index: u64, feedback: Feedback) {
        self.state().waiting.insert(index, feedback);
        self.delivered.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Learns everything before `due`; false when something is missing.
    fn learn_to(&mut self, due: u64) -> bool {
        while self.learned < due {
            let Some(feedback) = self.waiting.remove(&self.learned) else { return false };
            self.strategy.learn(self.learned, feedback);
            self.learned += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proposes as its seed how much it has learned.
    struct Counting(u64);

    impl Strategy for Counting {
        fn lag(&self) -> Option<u64> {
            Some(3)
        }

        fn propose(&mut self, _: u64, _: u64) -> Proposal {
            Proposal { seed: self.0, plan: None }
        }

        fn learn(&mut self, index: u64, _: Feedback) {
            assert_eq!(index, self.0, "in order");
            self.0 += 1;
        }
    }

    #[test]
    fn a_proposal_knows_the_same_at_any_number_of_threads() {
        for jobs in [1, 2, 7] {
            let desk = Desk::new(Box::new(Counting(0)), 0);
            std::thread::scope(|scope| {
                for _ in 0..jobs {
                    scope.spawn(|| {
                        while let Some((index, _, proposal)) =
                            desk.next(|index| (index < 200).then_some(index))
                        {
                            assert_eq!(proposal.seed, index.saturating_sub(3));
                            desk.deliver(index, Feedback::default());
                        }
                    });
                }
            });
        }
    }
}
