//! The faults that a system is under.

use oncesim_types::Duration;

use crate::machine::SystemFault;

/// The faults that have begun and not ended, oldest first. They are the surroundings' and not the
/// process's: a crash ends none of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Vec<SystemFault>);

impl Faults {
    /// One begins, or ends. Faults may overlap, also with others of their kind; the end of one that
    /// never began is nothing.
    pub(crate) fn set(&mut self, fault: SystemFault, begins: bool) {
        if begins {
            self.0.push(fault);
        } else if let Some(index) = self.0.iter().position(|f| *f == fault) {
            self.0.remove(index);
        }
    }

    /// Whether this one is under way.
    pub(crate) fn contains(&self, fault: SystemFault) -> bool {
        self.0.contains(&fault)
    }

    /// How much later every reply comes: the longest delay of those under way.
    pub(crate) fn delay(&self) -> Duration {
        let delay = |fault: &SystemFault| match fault {
            SystemFault::Slow(delay) => Some(*delay),
            SystemFault::Errors | SystemFault::Deadlocks | SystemFault::UnknownCommits => None,
        };
        self.0.iter().filter_map(delay).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: SystemFault = SystemFault::Slow(Duration::from_millis(3));
    const SLOWER: SystemFault = SystemFault::Slow(Duration::from_millis(5));

    #[test]
    fn faults_overlap_and_end_one_by_one() {
        let mut faults = Faults::default();
        assert_eq!(faults.delay(), Duration::ZERO);
        for (fault, begins, delay, errors) in [
            (SLOW, true, 3, false),
            (SLOWER, true, 5, false),
            (SystemFault::Errors, true, 5, true),
            (SystemFault::Errors, true, 5, true),
            (SLOWER, false, 3, true),
            (SystemFault::Errors, false, 3, true),
            (SLOW, false, 0, true),
            (SystemFault::Errors, false, 0, false),
            (SystemFault::Errors, false, 0, false),
        ] {
            faults.set(fault, begins);
            assert_eq!(faults.delay(), Duration::from_millis(delay), "{fault:?} {begins}");
            assert_eq!(faults.contains(SystemFault::Errors), errors, "{fault:?} {begins}");
        }
    }
}
