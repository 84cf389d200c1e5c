//! The verdict on one run.

use crate::anomaly::Anomaly;
use crate::guarantee::{Guarantee, Holds, Level};

/// Each guarantee at each level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuaranteeTable {
    cells: [[Holds; 3]; 3],
    /// Whether the records of each producer kept their order.
    pub ordering: Holds,
}

impl GuaranteeTable {
    /// Whether `guarantee` held at `level`.
    #[must_use]
    pub fn get(&self, level: Level, guarantee: Guarantee) -> Holds {
        self.cells[level as usize][guarantee as usize]
    }

    /// Decides `guarantee` at `level`.
    pub fn set(&mut self, level: Level, guarantee: Guarantee, holds: Holds) {
        self.cells[level as usize][guarantee as usize] = holds;
    }
}

impl Default for GuaranteeTable {
    fn default() -> Self {
        GuaranteeTable { cells: [[Holds::Unknown; 3]; 3], ordering: Holds::Unknown }
    }
}

/// How much one checker saw: a checker that saw nothing proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WitnessCount {
    /// What was counted: `acknowledged sends`, `polled records`, `rebalances`.
    pub what: &'static str,
    /// How many.
    pub count: u64,
}

/// What a history proves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Each guarantee at each level.
    pub guarantees: GuaranteeTable,
    /// What was found, most severe first.
    pub anomalies: Vec<Anomaly>,
    /// What the checkers saw.
    pub witnesses: Vec<WitnessCount>,
    /// Records whose obligation was lifted by configuration (`acks=0`, unknown outcome, ...).
    pub excused: u64,
}
