//! Where each leader epoch begins in a log.
//!
//! Mirrors `LeaderEpochFileCache` (KIP-101, KIP-279).
//!
//! Simplifications: the checkpoint file is written and flushed with each change, as Kafka does, so
//! there is nothing to lose; after a power failure the entries are truncated to the log's end.

use oncesim_types::{LeaderEpoch, Offset};

/// Entries in which both the epoch and its start offset strictly increase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochCache {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochCache {
    /// The entries, in order.
    #[must_use]
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// The newest epoch; [`LeaderEpoch::NONE`] when there is none.
    #[must_use]
    pub fn latest(&self) -> LeaderEpoch {
        self.entries.last().map_or(LeaderEpoch::NONE, |&(epoch, _)| epoch)
    }

    /// `epoch` begins at `start`. An epoch that is known already keeps its start; entries that
    /// would not increase any more (an epoch in which nothing was written) make room.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        if epoch == self.latest() {
            return;
        }
        while let Some(&(last, last_start)) = self.entries.last() {
            if last < epoch && last_start < start {
                break;
            }
            self.entries.pop();
        }
        self.entries.push((epoch, start));
    }

    /// Forgets epochs that begin at or after `end`.
    pub fn truncate(&mut self, end: Offset) {
        while self.entries.last().is_some_and(|&(_, start)| start >= end) {
            self.entries.pop();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The largest epoch up to `epoch` with the offset where it ended; `None` when undefined: this
    /// log does not know an epoch as new as that.
    #[must_use]
    pub fn end_offset_for(
        &self,
        epoch: LeaderEpoch,
        log_end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        if epoch == LeaderEpoch::NONE {
            return None;
        }
        if epoch == self.latest() {
            return Some((epoch, log_end));
        }
        let higher = self.entries.partition_point(|&(known, _)| known <= epoch);
        let &(_, end) = self.entries.get(higher)?;
        let floor = higher.checked_sub(1).map_or(epoch, |floor| self.entries[floor].0);
        Some((floor, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        let mut cache = LeaderEpochCache::default();
        for &(epoch, start) in entries {
            cache.assign(LeaderEpoch(epoch), Offset(start));
        }
        cache
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let cache = cache(&[(2, 0), (4, 10), (7, 25)]);
        for (asked, answer) in [
            (1, Some((1, 0))), // Older than everything: nothing of it is here.
            (2, Some((2, 10))),
            (3, Some((2, 10))), // KIP-279: the answer says which epoch it is about.
            (4, Some((4, 25))),
            (6, Some((4, 25))),
            (7, Some((7, 30))), // The latest ends at the log's end.
            (8, None),
            (-1, None),
        ] {
            let got = cache.end_offset_for(LeaderEpoch(asked), Offset(30));
            assert_eq!(got, answer.map(|(e, o)| (LeaderEpoch(e), Offset(o))), "epoch {asked}");
        }
    }

    #[test]
    fn an_epoch_without_records_gives_way_to_the_next() {
        assert_eq!(cache(&[(1, 0), (2, 5), (3, 5)]).entries(), cache(&[(1, 0), (3, 5)]).entries());
        assert_eq!(cache(&[(1, 0), (1, 5)]).entries(), cache(&[(1, 0)]).entries());
    }

    #[test]
    fn truncation_forgets_epochs_that_begin_at_or_after_the_end() {
        let mut cache = cache(&[(2, 0), (4, 10), (7, 25)]);
        cache.truncate(Offset(11));
        assert_eq!(cache.latest(), LeaderEpoch(4));
        cache.truncate(Offset(10));
        assert_eq!(cache.latest(), LeaderEpoch(2));
    }
}
