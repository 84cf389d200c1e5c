//! Commits as a sink task of Kafka Connect makes them.
//!
//! Mirrors `WorkerSinkTask`: `iteration()` commits what was put when `offset.flush.interval.ms` has
//! passed (`preCommit()`, then `commitAsync`), then polls and puts; partitions that are given away
//! and a task that ends commit synchronously (`closePartitions`, `closeAllPartitions`); partitions
//! that are lost are not committed. `put()` of a batch that met a retriable error is called again
//! with the same batch; any other error ends the task, and the worker starts another one.
//!
//! Simplifications:
//! - `put()` brings the effects about itself, and `flush()` has nothing to do.
//! - While a batch waits for its next `put()` the task does not poll. The real one polls its paused
//!   consumer, so that it stays in the group for longer than `max.poll.interval.ms`.
//! - What a task cannot put after `retries` counts as fatal; how long a real one tries is up to its
//!   connector.
//! - A commit that is still under way does not bring the next one forward.

use oncesim_spec::CommitStrategy;
use oncesim_types::{Duration, Instant};

use super::super::AppEffect;
use super::ConsumerApp;

impl ConsumerApp {
    pub(super) fn is_connect(&self) -> bool {
        matches!(self.spec.commit, CommitStrategy::Connect { .. })
    }

    /// When the flush after the moment `now` is due.
    pub(super) fn flush_after(&self, now: Instant) -> Instant {
        match self.spec.commit {
            CommitStrategy::Connect { interval } => now + interval,
            _ => Instant::NEVER,
        }
    }

    pub(super) fn until_flush(&self) -> Duration {
        // A clock that was set back must not hold a commit up.
        let interval = self.flush_after(self.now).since(self.now);
        self.next_flush.since(self.now).min(interval)
    }

    pub(super) fn flush_if_due(&mut self, out: &mut Vec<AppEffect>) {
        if !self.is_connect() || self.until_flush() > Duration::ZERO {
            return;
        }
        self.next_flush = self.flush_after(self.now);
        if !self.processed.is_empty() && self.async_commits == 0 {
            self.commit_async(out);
        }
    }
}
