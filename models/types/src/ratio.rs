//! Probabilities without floats: seeds that live in a repository must outlive every libm.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `numerator` in `denominator`; the denominator is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ratio {
    /// How many of ...
    pub numerator: u32,
    /// ... how many.
    pub denominator: u32,
}

impl Ratio {
    /// Never.
    pub const ZERO: Ratio = Ratio { numerator: 0, denominator: 1 };

    /// `numerator` in `denominator`.
    ///
    /// # Panics
    /// When the denominator is 0.
    #[must_use]
    pub const fn new(numerator: u32, denominator: u32) -> Self {
        assert!(denominator > 0, "a ratio has a denominator");
        Ratio { numerator, denominator }
    }

    /// Whether it can never happen.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.numerator == 0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.numerator, self.denominator)
    }
}
