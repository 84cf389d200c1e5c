//! Keyed draws: every decision of the world is `draw(seed, stream, index)`.
//!
//! A stream is one purpose at one place (the latency of one link, the loss on one link, the plan of
//! one seed), the index is the n-th decision there. Taking one fault away therefore leaves every
//! unrelated decision as it was, which is what makes shrinking and explaining work.
//!
//! The samplers are our own and use integers only: seeds live in repositories for years, libraries
//! change how they sample, and floats differ between platforms.

use oncesim_types::{Duration, Ratio};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// What a stream of draws is for. The numbers are part of the meaning of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Latency of messages on one directed link.
    Latency = 1,
    /// Loss of messages on one directed link.
    Loss = 2,
    /// The faults of a seed.
    Plan = 3,
    /// Where a power failure cuts the logs of one actor.
    DiskCut = 4,
    /// The records of one producer.
    Workload = 5,
    /// Choices of a hosted task.
    Hosted = 6,
    /// Start times of processes.
    Start = 7,
    /// Microbenchmarks.
    Bench = 8,
    /// What a database draws by itself.
    System = 9,
    /// Whether a seed of a campaign runs twice.
    Recheck = 10,
    /// What a guided search proposes.
    Guided = 11,
    /// The settings of a seed.
    Settings = 12,
    /// The luck of a fork.
    Fork = 13,
}

/// One stream of draws, positioned at its next index.
#[derive(Debug, Clone)]
pub struct Draws {
    rng: ChaCha8Rng,
}

impl Draws {
    /// The stream for `purpose` at place (`a`, `b`) of the run `seed`, at index 0.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose, a: u16, b: u16) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(b"oncesim1");
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream((purpose as u64) << 32 | u64::from(a) << 16 | u64::from(b));
        Draws { rng }
    }

    /// The draw at `index` of a stream, without a stream at hand: random access.
    #[must_use]
    pub fn at(seed: u64, purpose: Purpose, a: u16, b: u16, index: u64) -> u64 {
        let mut draws = Draws::new(seed, purpose, a, b);
        draws.seek(index);
        draws.next_bits()
    }

    /// How many draws were taken.
    #[must_use]
    pub(crate) fn index(&self) -> u64 {
        // Each draw is two words of 32 bits.
        u64::try_from(self.rng.get_word_pos() / 2).unwrap_or(u64::MAX)
    }

    /// Goes to an index.
    pub(crate) fn seek(&mut self, index: u64) {
        self.rng.set_word_pos(u128::from(index) * 2);
    }

    /// The next draw: 64 uniform bits.
    pub fn next_bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Uniform in `0 ..= last`.
    pub fn below_inclusive(&mut self, last: u64) -> u64 {
        // Multiply and shift: a bias below 2^-64 times the range, and always exactly one draw, so
        // that the index of a decision never depends on the values drawn before it.
        let wide = u128::from(self.next_bits()) * (u128::from(last) + 1);
        u64::try_from(wide >> 64).expect("the high half of a product fits")
    }

    /// Uniform in `first ..= last`; `first` when the range is empty.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below_inclusive(last.saturating_sub(first))
    }

    /// True with probability `ratio`.
    pub fn chance(&mut self, ratio: Ratio) -> bool {
        self.below_inclusive(u64::from(ratio.denominator) - 1) < u64::from(ratio.numerator)
    }

    /// One of `items`, uniformly; `None` when there are none (a draw is used all the same).
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below_inclusive((items.len() as u64).saturating_sub(1));
        items.get(usize::try_from(index).expect("an index of a slice"))
    }

    /// Uniform on a logarithmic scale in `first ..= last`: short and long spans alike.
    /// `first` is not zero.
    pub fn log_between(&mut self, first: Duration, last: Duration) -> Duration {
        let (low, high) = (first.0.max(1), last.0.max(first.0.max(1)));
        let octaves = u64::from(high.ilog2() - low.ilog2());
        let octave = self.below_inclusive(octaves);
        let start = low << octave;
        let end = (start.saturating_mul(2) - 1).min(high);
        Duration(self.between(start.min(end), end))
    }

    /// Exponential with the given mean, cut off at 6.2 means (an integer table, linear between its
    /// entries).
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let bits = self.next_bits();
        let slot = usize::try_from(bits >> 56).expect("eight bits");
        let fraction = bits >> 24 & 0xffff_ffff;
        let (low, high) = (u64::from(EXPONENTIAL[slot]), u64::from(EXPONENTIAL[slot + 1]));
        let scaled = (low << 32) + (high - low) * fraction;
        // Value in units of mean / 2^16, with 32 more bits of fraction.
        let product = u128::from(scaled) * u128::from(mean.0);
        Duration(u64::try_from(product >> 48).unwrap_or(u64::MAX))
    }
}

/// `-ln(1 - i / 256) * 2^16`; the last entry stands for `i = 255.5`.
const EXPONENTIAL: [u32; 257] = [
    0, 257, 514, 773, 1032, 1293, 1554, 1817, 2081, 2345, 2611, 2878, 3146, 3415, 3686, 3957, 4230,
    4503, 4778, 5054, 5331, 5609, 5889, 6169, 6451, 6734, 7019, 7304, 7591, 7879, 8169, 8459, 8751,
    9044, 9339, 9635, 9932, 10231, 10530, 10832, 11135, 11439, 11744, 12051, 12360, 12669, 12981,
    13294, 13608, 13924, 14241, 14560, 14880, 15202, 15526, 15851, 16178, 16507, 16837, 17169,
    17502, 17837, 18174, 18513, 18854, 19196, 19540, 19886, 20233, 20583, 20934, 21288, 21643,
    22000, 22359, 22720, 23083, 23448, 23815, 24185, 24556, 24929, 25305, 25683, 26063, 26445,
    26829, 27216, 27605, 27996, 28390, 28786, 29184, 29585, 29988, 30394, 30802, 31213, 31627,
    32043, 32461, 32883, 33307, 33734, 34164, 34596, 35032, 35470, 35911, 36356, 36803, 37254,
    37707, 38164, 38624, 39087, 39553, 40023, 40496, 40973, 41453, 41937, 42424, 42915, 43409,
    43908, 44410, 44916, 45426, 45940, 46458, 46980, 47507, 48037, 48572, 49112, 49656, 50204,
    50757, 51315, 51877, 52445, 53017, 53595, 54177, 54765, 55358, 55957, 56561, 57170, 57786,
    58407, 59034, 59667, 60307, 60952, 61604, 62263, 62928, 63600, 64280, 64966, 65659, 66360,
    67069, 67785, 68509, 69241, 69982, 70731, 71489, 72255, 73031, 73816, 74610, 75414, 76228,
    77053, 77887, 78733, 79590, 80458, 81338, 82229, 83133, 84050, 84979, 85922, 86879, 87850,
    88836, 89836, 90852, 91884, 92933, 93999, 95082, 96183, 97304, 98443, 99603, 100784, 101987,
    103212, 104460, 105733, 107030, 108354, 109706, 111085, 112495, 113935, 115408, 116915, 118457,
    120036, 121654, 123314, 125016, 126764, 128559, 130405, 132305, 134262, 136278, 138359, 140508,
    142730, 145029, 147413, 149886, 152457, 155132, 157921, 160834, 163883, 167080, 170442, 173985,
    177731, 181704, 185934, 190455, 195312, 200558, 206260, 212507, 219411, 227130, 235882, 245984,
    257933, 272557, 291410, 317983, 363409, 408835,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        // Golden vectors: if one of these changes, every seed in every repository changes its
        // meaning.
        assert_eq!(Draws::at(42, Purpose::Latency, 1, 2, 0), GOLDEN[0]);
        assert_eq!(Draws::at(42, Purpose::Latency, 1, 2, 7), GOLDEN[1]);
        assert_eq!(Draws::at(43, Purpose::Plan, 0, 0, 0), GOLDEN[2]);
    }

    const GOLDEN: [u64; 3] =
        [5_613_258_034_359_823_318, 1_354_477_965_038_747_831, 16_264_787_781_625_960_165];

    #[test]
    fn exponential_draws_have_their_mean() {
        let mut draws = Draws::new(1, Purpose::Bench, 0, 0);
        let n = 100_000;
        let sum: u64 = (0..n).map(|_| draws.exponential(Duration(1_000_000)).0).sum();
        let mean = sum / n;
        assert!((985_000..1_015_000).contains(&mean), "mean {mean}");
    }

    proptest! {
        #[test]
        fn random_access_equals_sequence(seed: u64, a: u16, b: u16, index in 0u64..300) {
            let mut draws = Draws::new(seed, Purpose::Loss, a, b);
            for _ in 0..index {
                draws.next_bits();
            }
            prop_assert_eq!(draws.next_bits(), Draws::at(seed, Purpose::Loss, a, b, index));
        }

        #[test]
        fn streams_do_not_share(seed: u64, a: u16, b: u16, used in 0usize..50) {
            // However much one stream is used, its neighbour's draws stay what they were.
            let before = Draws::new(seed, Purpose::Latency, b, a.wrapping_add(1)).next_bits();
            let mut other = Draws::new(seed, Purpose::Latency, a, b);
            for _ in 0..used {
                other.next_bits();
            }
            prop_assert_eq!(
                Draws::new(seed, Purpose::Latency, b, a.wrapping_add(1)).next_bits(),
                before
            );
        }

        #[test]
        fn ranges_are_inclusive(seed: u64, first in 0u64..1_000, width in 0u64..1_000) {
            let mut draws = Draws::new(seed, Purpose::Bench, 1, 1);
            let value = draws.between(first, first + width);
            prop_assert!((first..=first + width).contains(&value));
            let span = draws.log_between(Duration(first + 1), Duration(first + 1 + width));
            prop_assert!((first + 1..=first + 1 + width).contains(&span.0));
        }
    }
}
