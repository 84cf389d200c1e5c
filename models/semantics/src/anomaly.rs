//! Anomalies: ways in which a guarantee is broken, each with a name and a witness.

use oncesim_types::{ActorId, Instant, Offset, RecordId, TopicPartition};

use crate::check;
use crate::guarantee::{Guarantee, Level};

/// What an anomaly says about the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Never legal: a defect of the system (or of the model).
    Always,
    /// A defect under the configuration and faults of this run.
    UnderThisConfiguration,
    /// Legal in this configuration, and breaks the guarantees that it violates: at-least-once
    /// redelivery, a duplicate without idempotence, loss with `acks=1`.
    Legal,
    /// A number worth reporting.
    Informative,
}

/// What an anomaly breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Violates {
    /// Never twice.
    pub at_most_once: bool,
    /// Never lost.
    pub at_least_once: bool,
    /// Order.
    pub ordering: bool,
    /// Isolation.
    pub isolation: bool,
    /// Atomicity.
    pub atomicity: bool,
    /// Integrity: what is stored is what was sent.
    pub integrity: bool,
    /// Liveness.
    pub liveness: bool,
}

/// One row of the catalogue: what an anomaly means.
#[derive(Debug, PartialEq, Eq)]
pub struct AnomalyClass {
    /// `lost-write`
    pub id: &'static str,
    /// Where it counts.
    pub level: Level,
    /// What it breaks.
    pub violates: Violates,
    /// Jepsen's name for it, if `jepsen.tests.kafka` has it.
    pub jepsen: Option<&'static str>,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// What usually causes it.
    pub causes: &'static str,
    /// What fixes it.
    pub fixes: &'static str,
    /// A small history that shows it, in words.
    pub example: &'static str,
}

/// What proves one occurrence of an anomaly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Witness {
    /// One plain sentence with names, offsets and times.
    pub sentence: String,
    /// Positions in [`oncesim_history::History::events`] that prove it, ascending.
    pub events: Vec<u32>,
    /// The record concerned.
    pub record: Option<RecordId>,
    /// The partition concerned.
    pub partition: Option<TopicPartition>,
    /// The offsets concerned.
    pub offsets: Vec<Offset>,
    /// The actors concerned.
    pub actors: Vec<ActorId>,
    /// When it was complete.
    pub time: Instant,
}

/// All occurrences of one anomaly in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// What it is.
    pub class: &'static AnomalyClass,
    /// `duplicate-append` has sub-kinds: `dup-retry`, `dup-idempotent`, ...; else empty.
    pub sub_kind: &'static str,
    /// What it says about the system in this run.
    pub severity: Severity,
    /// How many occurrences.
    pub count: u64,
    /// The first occurrence, proved.
    pub witness: Witness,
}

impl Anomaly {
    /// Its id, with its sub-kind if it has one: `dup-retry`, `lost-write`.
    #[must_use]
    pub fn id(&self) -> &'static str {
        if self.sub_kind.is_empty() { self.class.id } else { self.sub_kind }
    }

    /// Whether it is one of those for which a verdict says that a guarantee is violated at a level.
    #[must_use]
    pub fn breaks(&self, level: Level, guarantee: Guarantee) -> bool {
        check::breaks(self, level, guarantee)
    }

    /// Whether it is one of those for which a verdict says that the order of records is violated.
    #[must_use]
    pub fn breaks_order(&self) -> bool {
        check::breaks_order(self)
    }
}
