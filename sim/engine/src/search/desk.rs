//! Where the threads of a campaign get their next run, and leave what it reached.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Course, Feedback, Proposal};

/// Lets threads share a course. One that comes for a proposal waits until the runs that it has to
/// know have come back.
pub(crate) struct Desk {
    course: Mutex<Course>,
    delivered: Condvar,
    learns: bool,
}

impl Desk {
    pub(crate) fn new(course: Course) -> Desk {
        let learns = course.learns();
        Desk { course: Mutex::new(course), delivered: Condvar::new(), learns }
    }

    /// Whether runs must be followed by [`Desk::deliver`].
    pub(crate) fn learns(&self) -> bool {
        self.learns
    }

    /// The next run: its index, the seed that `seed` means for it, and what is proposed. `None`
    /// when `seed` has no more. Whoever takes a run must deliver.
    pub(crate) fn next(&self, seed: impl Fn(u64) -> Option<u64>) -> Option<(u64, u64, Proposal)> {
        let mut course = self.course();
        while !course.is_ready() {
            course = self.delivered.wait(course).unwrap_or_else(PoisonError::into_inner);
        }
        let index = course.next();
        let seed = seed(index)?;
        Some((index, seed, course.propose(seed)))
    }

    /// What the run of an index reached.
    pub(crate) fn deliver(&self, index: u64, feedback: Arc<Feedback>) {
        self.course().deliver(index, feedback);
        self.delivered.notify_all();
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Strategy;

    /// Proposes as its seed how much it has learned.
    struct Counting(u64);

    impl Strategy for Counting {
        fn lag(&self) -> Option<u64> {
            Some(3)
        }

        fn propose(&mut self, _: u64, _: u64) -> Proposal {
            Proposal { seed: self.0, plan: None }
        }

        fn learn(&mut self, index: u64, _: &Feedback) {
            assert_eq!(index, self.0, "in order");
            self.0 += 1;
        }
    }

    #[test]
    fn a_proposal_knows_the_same_at_any_number_of_threads() {
        for jobs in [1, 2, 7] {
            let desk = Desk::new(Course::begin(Box::new(Counting(0)), 0));
            std::thread::scope(|scope| {
                for _ in 0..jobs {
                    scope.spawn(|| {
                        while let Some((index, _, proposal)) =
                            desk.next(|index| (index < 200).then_some(index))
                        {
                            assert_eq!(proposal.seed, index.saturating_sub(3));
                            desk.deliver(index, Arc::default());
                        }
                    });
                }
            });
        }
    }
}
