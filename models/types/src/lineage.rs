//! What a processor makes of a record: values that a checker can compute again from identities alone.
//!
//! The sum of [`contribution`]s identifies a multiset of records: one lost or doubled record changes
//! it, their order does not.

use crate::{RecordId, TopicId};

/// A deterministic transform; the functions here give its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// One output, to the first topic.
    Map,
    /// So many outputs to each topic.
    FanOut {
        /// Per topic.
        outputs: u16,
    },
    /// One output for so many inputs in a million ([`keeps`]).
    Filter {
        /// Inputs in a million.
        per_million: u32,
    },
    /// Per key: one output and one changelog record with the aggregate of all inputs so far.
    Aggregate {
        /// Where the store is kept.
        changelog: TopicId,
    },
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser: every bit of the input reaches every bit of the result.
#[must_use]
pub const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hash of what a record carries besides its id. `None` is a tombstone.
#[must_use]
pub const fn payload(record: RecordId, value: Option<i64>) -> u64 {
    let value = match value {
        Some(value) => value.cast_unsigned(),
        None => 0x5bd1_e995,
    };
    (record.0 ^ value.rotate_left(17)).wrapping_mul(ODD)
}

/// The value of the `ordinal`-th output that a stateless transform makes of `input`.
#[must_use]
pub const fn transformed(input: RecordId, ordinal: u16) -> i64 {
    mix(input.0.wrapping_add(ODD.wrapping_mul(ordinal as u64 + 1))).cast_signed()
}

/// What `input` adds (wrapping) to an aggregate: 1 to the count in the low 16 bits, and a hash
/// above.
#[must_use]
pub const fn contribution(input: RecordId) -> i64 {
    (mix(input.0) & !0xffff | 1).cast_signed()
}

/// The aggregate after one more input.
#[must_use]
pub const fn aggregated(before: i64, input: RecordId) -> i64 {
    before.wrapping_add(contribution(input))
}

/// Whether a filter that keeps `per_million` of its inputs keeps `input`.
#[must_use]
pub const fn keeps(input: RecordId, per_million: u32) -> bool {
    mix(input.0 ^ ODD) % 1_000_000 < per_million as u64
}

/// What one key adds (wrapping) to the fingerprint of a store.
#[must_use]
pub const fn store_entry(key: u32, value: i64) -> u64 {
    mix(mix(key as u64 + 1) ^ value.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ActorId;

    #[test]
    fn an_aggregate_tells_loss_and_doubling_but_not_order() {
        let id = |n| RecordId::new(ActorId(3), n);
        let sum = |ids: &[u64]| ids.iter().fold(0, |sum, n| aggregated(sum, id(*n)));
        assert_eq!(sum(&[1, 2, 3]), sum(&[3, 1, 2]));
        assert_ne!(sum(&[1, 2, 3]), sum(&[1, 2]));
        assert_ne!(sum(&[1, 2, 3]), sum(&[1, 2, 3, 3]));
        assert_ne!(sum(&[1, 1]), sum(&[2, 2]));
        assert_eq!(sum(&[1, 2, 3]) & 0xffff, 3);
    }

    #[test]
    fn outputs_of_one_input_differ() {
        let input = RecordId::new(ActorId(1), 7);
        assert_ne!(transformed(input, 0), transformed(input, 1));
        assert_ne!(payload(input, Some(0)), payload(input, None));
    }
}
