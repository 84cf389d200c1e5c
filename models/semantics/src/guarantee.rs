//! Guarantees, levels and claims.

use serde::{Deserialize, Serialize};

/// Where a guarantee is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Producer to topic.
    Log,
    /// Topic to committed output, or to a consumer's processing.
    Processing,
    /// Topic to external system.
    Effect,
}

impl Level {
    /// All of them, upstream first.
    pub const ALL: [Level; 3] = [Level::Log, Level::Processing, Level::Effect];

    /// Its name in scenarios and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Level::Log => "log",
            Level::Processing => "processing",
            Level::Effect => "effect",
        }
    }
}

/// What is delivered how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Never twice.
    AtMostOnce,
    /// Never lost.
    AtLeastOnce,
    /// Neither.
    ExactlyOnce,
}

impl Guarantee {
    /// All of them.
    pub const ALL: [Guarantee; 3] =
        [Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::ExactlyOnce];

    /// Its name in scenarios and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Guarantee::AtMostOnce => "at-most-once",
            Guarantee::AtLeastOnce => "at-least-once",
            Guarantee::ExactlyOnce => "exactly-once",
        }
    }
}

/// Which order a pipeline promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ordering {
    /// Records of one producer keep their order within a partition.
    PerPartition,
    /// Records of one producer and key keep their order.
    PerKey,
}

/// What a scenario promises, per level; `None` promises nothing there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claim {
    /// Producer to topic.
    pub log: Option<Guarantee>,
    /// Topic to committed output.
    pub processing: Option<Guarantee>,
    /// Topic to external system.
    pub effect: Option<Guarantee>,
    /// Order.
    pub ordering: Option<Ordering>,
}

impl Claim {
    /// What is promised at `level`.
    #[must_use]
    pub const fn at(&self, level: Level) -> Option<Guarantee> {
        match level {
            Level::Log => self.log,
            Level::Processing => self.processing,
            Level::Effect => self.effect,
        }
    }
}

/// Whether a guarantee held in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// It was exercised, and held.
    Holds,
    /// It was broken; an anomaly says how.
    Violated,
    /// Not exercised, or not decidable from what was recorded. Never a pass.
    Unknown,
}

impl Holds {
    /// What runs say together: broken by any, held by at least one, or unknown.
    #[must_use]
    pub const fn together(held: u64, violated: u64) -> Holds {
        match (violated, held) {
            (1.., _) => Holds::Violated,
            (0, 1..) => Holds::Holds,
            (0, 0) => Holds::Unknown,
        }
    }

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Holds::Holds => "holds",
            Holds::Violated => "violated",
            Holds::Unknown => "unknown",
        }
    }
}
