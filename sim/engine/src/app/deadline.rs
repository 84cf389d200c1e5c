//! A moment that an application waits for, by its host's clock.

use oncesim_types::{Duration, Instant};

/// Due after a while, also when the clock was set back meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    since: Instant,
    until: Instant,
}

impl Deadline {
    pub(crate) fn after(now: Instant, wait: Duration) -> Self {
        Deadline { since: now, until: now + wait }
    }

    pub(crate) fn is_due(self, now: Instant) -> bool {
        now < self.since || now >= self.until
    }

    /// How long it is until then; zero when it is due.
    pub(crate) fn left(self, now: Instant) -> Duration {
        if self.is_due(now) { Duration::ZERO } else { self.until.since(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up() {
        let deadline = Deadline::after(Instant(100), Duration(50));
        assert_eq!(
            (deadline.is_due(Instant(120)), deadline.left(Instant(120))),
            (false, Duration(30))
        );
        assert!(deadline.is_due(Instant(150)));
        assert!(deadline.is_due(Instant(99)));
        assert_eq!(deadline.left(Instant(200)), Duration::ZERO);
    }
}
