//! Positions: of records in a partition, and of records in a producer's session.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A position in a partition's log, from 0. As an end (`log_end_offset`, `high_watermark`,
/// `last_stable_offset`) it is exclusive; as a consumer's position or commit it is the next to read.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// The first offset of a log.
    pub const ZERO: Offset = Offset(0);
    /// Not known (Kafka's -1): a lost acknowledgement, or `acks=0`.
    pub const UNKNOWN: Offset = Offset(-1);

    /// The following offset.
    #[must_use]
    pub const fn next(self) -> Self {
        Offset(self.0 + 1)
    }
}

impl Add<i64> for Offset {
    type Output = Offset;
    fn add(self, n: i64) -> Offset {
        Offset(self.0 + n)
    }
}

impl Sub for Offset {
    type Output = i64;
    fn sub(self, other: Offset) -> i64 {
        self.0 - other.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A record's number in its producer's session on one partition: 0 to 2147483647, then 0 again
/// (`DefaultRecordBatch.incrementSequence`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub i32);

impl Sequence {
    /// No sequence: the producer is not idempotent.
    pub const NONE: Sequence = Sequence(-1);
    /// The first of a session.
    pub const ZERO: Sequence = Sequence(0);

    /// The sequence `n` records later, wrapping after 2147483647 to 0. `n` is not negative.
    #[must_use]
    pub const fn plus(self, n: i32) -> Self {
        let sum = self.0 as i64 + n as i64;
        Sequence((sum % (i32::MAX as i64 + 1)) as i32)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_after_the_largest_int() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(3), Sequence(1));
        assert_eq!(Sequence(4).plus(1), Sequence(5));
    }
}
