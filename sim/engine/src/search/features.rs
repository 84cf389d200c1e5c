//! What a run did in more detail than coverage keeps: pairs of steps, and how often.
//!
//! A feature is a hash of one of these, as in coverage-guided fuzzing (AFL's edges with their
//! buckets of counts): a point that was reached about so often (once, twice, up to 4, 8, ...); two
//! steps one after the other, which is what a state and the event that meets it look like in a
//! history; three with a fault or an error among them.

use oncesim_types::Instant;

use crate::coverage::Reached;

/// Moments that are kept of a run.
const MOMENTS: usize = 48;

/// Gathers the features of one run.
#[derive(Debug, Default)]
pub(super) struct Reader {
    counts: Vec<u32>,
    last: (usize, usize),
    features: Vec<u64>,
    moments: Vec<Instant>,
}

impl Reader {
    pub(super) fn next(&mut self, point: Reached, at: Instant) {
        if self.counts.len() <= point.index {
            self.counts.resize(point.index + 1, 0);
        }
        let count = &mut self.counts[point.index];
        *count += 1;
        let buckets = if point.routine { *count == 1 } else { count.is_power_of_two() };
        if buckets {
            let bucket = u64::from(count.ilog2());
            self.features.push(mix(1, point.index as u64, bucket, 0));
        }
        if point.routine {
            return;
        }
        let (before, last) = self.last;
        self.features.push(mix(2, last as u64, point.index as u64, 0));
        self.features.push(mix(3, before as u64, last as u64, point.index as u64));
        self.last = (last, point.index);
        if self.moments.last() != Some(&at) {
            self.moments.push(at);
        }
    }

    /// The features, each once, and moments from all over the run.
    pub(super) fn finish(mut self) -> (Vec<u64>, Vec<Instant>) {
        self.features.sort_unstable();
        self.features.dedup();
        let every = self.moments.len().div_ceil(MOMENTS).max(1);
        (self.features, self.moments.into_iter().step_by(every).collect())
    }
}

/// A hash of four numbers that stays what it is.
fn mix(kind: u64, a: u64, b: u64, c: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = kind;
    for value in [a, b, c] {
        hash = (hash ^ value).wrapping_mul(ODD);
        hash ^= hash >> 29;
    }
    hash.wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
