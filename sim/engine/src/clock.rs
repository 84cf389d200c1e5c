//! The clock of one host: its offset and rate against the time of the world.

use oncesim_types::{Duration, Instant};

/// Every host starts one hour after its epoch, so that a jump back has room.
const START: i128 = 3_600_000_000_000;

/// How one host sees time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// World time at which `local` was right.
    since: Instant,
    /// The host's time then, in nanoseconds.
    local: i128,
    /// How much too fast it runs, in millionths.
    ppm: i64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock { since: Instant::ZERO, local: START, ppm: 0 }
    }

    /// The host's time at world time `now`.
    pub(crate) fn read(&self, now: Instant) -> Instant {
        if self.ppm == 0 {
            return clamp(self.local + i128::from(now.0 - self.since.0));
        }
        let passed = i128::from(now.0 - self.since.0);
        clamp(self.local + passed + (passed * i128::from(self.ppm)).div_euclid(1_000_000))
    }

    /// How long the world takes while the host measures `span`: rounded up, so that whoever sleeps
    /// until a moment does not wake up just before it, again and again.
    pub(crate) fn in_world(&self, span: Duration) -> Duration {
        if self.ppm == 0 {
            return span;
        }
        // Rounded up: a timer that goes off before its host sees its time come is set again for no
        // time at all, and again.
        let rate = u128::try_from(1_000_000 + i128::from(self.ppm)).unwrap_or(1).max(1);
        let scaled = (u128::from(span.0) * 1_000_000).div_ceil(rate);
        Duration(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    /// The clock jumps by `by_ns` nanoseconds.
    pub(crate) fn jump(&mut self, now: Instant, by_ns: i64) {
        self.local = i128::from(self.read(now).0) + i128::from(by_ns);
        self.since = now;
    }

    /// The clock runs `ppm` millionths too fast from now on.
    pub(crate) fn set_rate(&mut self, now: Instant, ppm: i64) {
        self.local = i128::from(self.read(now).0);
        self.since = now;
        self.ppm = ppm.clamp(-900_000, 10_000_000);
    }
}

fn clamp(ns: i128) -> Instant {
    Instant(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_jumps_and_drifts() {
        let mut clock = Clock::new();
        let at = |s: u64| Instant(s * 1_000_000_000);
        assert_eq!(clock.read(at(1)).0, 3_601_000_000_000);
        clock.jump(at(1), -600_000_000_000);
        assert_eq!(clock.read(at(1)).0, 3_001_000_000_000);
        clock.set_rate(at(1), 500_000);
        assert_eq!(clock.read(at(3)).0, 3_004_000_000_000);
        assert_eq!(clock.in_world(Duration::from_secs(3)), Duration::from_secs(2));
    }

    #[test]
    fn who_sleeps_until_a_moment_wakes_up_at_that_moment_or_later() {
        for ppm in [-900_000, -50_000, -1, 1, 11_346, 50_000, 10_000_000] {
            let mut clock = Clock::new();
            clock.set_rate(Instant(7), ppm);
            for now in (0..10_000).step_by(97).map(|ns| Instant(10 + ns)) {
                for span in [1, 2, 3, 1_000, 999_999_937] {
                    let due = clock.read(now).0 + span;
                    let wakes = now + clock.in_world(Duration(span));
                    assert!(clock.read(wakes).0 >= due, "{ppm} ppm, {span} ns from {now}");
                }
            }
        }
    }
}
