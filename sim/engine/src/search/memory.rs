//! What a strategy that learns knows, as a file keeps it: enough to go on as if nothing had happened.

use oncesim_spec::{FaultPlan, WrittenPlan};
use oncesim_types::Instant;
use serde::{Deserialize, Serialize};

use super::{Feedback, Proposal};

/// The state of a guided search between two runs of its campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// How many runs it has proposed.
    pub(super) runs: u64,
    /// How many draws that took.
    pub(super) drawn: u64,
    /// The features that were seen: [`written_bits`].
    pub(super) seen: String,
    /// The plans that are kept.
    pub(super) kept: Vec<WrittenKept>,
    /// The last runs that were proposed: what they reached is not learned yet.
    pub(super) recent: Vec<WrittenRecent>,
}

/// One run, whatever its strategy has learned by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenRun {
    /// What its world draws from.
    pub seed: u64,
    /// Its faults and settings.
    pub plan: WrittenPlan,
}

/// A plan that reached something new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WrittenKept {
    pub(super) run: WrittenRun,
    pub(super) moments: Vec<Instant>,
    pub(super) novelty: u64,
    pub(super) varied: u64,
}

/// A run, and what it reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WrittenRecent {
    pub(super) run: WrittenRun,
    pub(super) feedback: Feedback,
}

impl WrittenRun {
    pub(crate) fn of(seed: u64, plan: &FaultPlan) -> WrittenRun {
        WrittenRun { seed, plan: plan.into() }
    }

    pub(super) fn proposal(&self, plan: FaultPlan) -> Proposal {
        Proposal { seed: self.seed, plan: Some(plan) }
    }
}

/// Digits of 5 bits; those behind the 32nd say that another digit follows.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A set of bits: the distance of each from the one before it, lowest digit first. A set of which one
/// bit in 32 is there takes little more than a character for each.
pub(super) fn written_bits(words: &[u64]) -> String {
    let (mut text, mut next) = (String::new(), 0);
    for (at, word) in words.iter().enumerate() {
        let mut word = *word;
        while word != 0 {
            let bit = at * 64 + word.trailing_zeros() as usize;
            let mut distance = bit - next;
            while distance >= 32 {
                text.push(char::from(DIGITS[32 + distance % 32]));
                distance /= 32;
            }
            text.push(char::from(DIGITS[distance]));
            next = bit + 1;
            word &= word - 1;
        }
    }
    text
}

/// The set that [`written_bits`] wrote; `None`: it wrote no such text for a set of this size.
pub(super) fn read_bits(text: &str, words: usize) -> Option<Vec<u64>> {
    let mut bits = vec![0; words];
    let (mut next, mut distance, mut shift) = (0_usize, 0_usize, 0);
    for character in text.bytes() {
        let digit = DIGITS.iter().position(|it| *it == character)?;
        distance |= (digit % 32).checked_shl(shift).filter(|_| shift < 32)?;
        shift += 5;
        if digit < 32 {
            let bit = next.checked_add(distance)?;
            *bits.get_mut(bit / 64)? |= 1 << (bit % 64);
            (next, distance, shift) = (bit + 1, 0, 0);
        }
    }
    (shift == 0).then_some(bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_is_read_as_it_was_written(set in prop::collection::btree_set(0..4_096_usize, 0..200)) {
            let mut words = vec![0; 64];
            set.iter().for_each(|bit| words[bit / 64] |= 1 << (bit % 64));
            let text = written_bits(&words);
            prop_assert!(text.len() <= set.len() * 3);
            prop_assert_eq!(read_bits(&text, 64), Some(words.clone()));
            if let Some(last) = set.last() {
                prop_assert_eq!(read_bits(&text, last / 64), None, "there is no room for the last");
            }
        }

        #[test]
        fn any_text_is_a_set_or_none(text in "[A-Za-f9_ ]{0,30}") {
            if let Some(words) = read_bits(&text, 64) {
                prop_assert_eq!(read_bits(&written_bits(&words), 64), Some(words));
            }
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["g", "Ag", "_______A", "__________________________", "A A", "\u{e9}"] {
            assert_eq!(read_bits(text, 64), None, "{text}");
        }
        assert_eq!(read_bits("", 2), Some(vec![0, 0]));
        assert_eq!(
            read_bits("ABgB", 2),
            Some(vec![0b101, 0]).map(|mut it| {
                it[0] |= 1 << 35;
                it
            })
        );
    }
}
