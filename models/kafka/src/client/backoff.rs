//! Exponential backoff.
//!
//! Mirrors `ExponentialBackoff` (KIP-144, KIP-580): `initial * 2^attempts`, at most `max`.
//!
//! Simplifications: no 20 % jitter. A model draws nothing, and the simulated network already
//! spreads arrival times, which is what the jitter is for; a client that wants it would have to be
//! given the draw as an input.

use oncesim_types::Duration;

/// How long to wait after how many failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    /// From `initial`, doubling up to `max` (at least `initial` is not required: Kafka lets `max`
    /// win).
    #[must_use]
    pub fn new(initial: Duration, max: Duration) -> Self {
        Backoff { initial, max }
    }

    /// The wait after `failures` earlier failures in a row; `after(0)` is the initial one.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        let factor = 1_u64.checked_shl(failures.min(63)).unwrap_or(u64::MAX);
        Duration(self.initial.0.saturating_mul(factor)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_maximum() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(1_000));
        let waits: Vec<u64> = (0..6).map(|n| backoff.after(n).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.after(u32::MAX), Duration::from_millis(1_000));
    }

    #[test]
    fn a_maximum_below_the_initial_wait_wins() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(30));
        assert_eq!(backoff.after(0), Duration::from_millis(30));
    }
}
