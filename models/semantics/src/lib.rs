//! Delivery guarantees, anomalies and their checkers: pure functions of a history.

mod anomaly;
mod catalogue;
mod check;
mod guarantee;
pub mod measure;
mod parity;
mod verdict;

pub use anomaly::{Anomaly, AnomalyClass, Severity, Violates, Witness};
pub use catalogue::{DUPLICATE_KINDS, catalogue, find};
pub use guarantee::{Claim, Guarantee, Holds, Level, Ordering};
pub use parity::{Case, ParityAnomaly, ParityOptions, ParityVerdict, parity};
pub use verdict::{GuaranteeTable, Verdict, WitnessCount};

use oncesim_history::History;

/// Judges a history: runs every checker that its events allow, and decides each guarantee at each
/// level. Pure: equal histories give equal verdicts.
#[must_use]
pub fn check(history: &History) -> Verdict {
    check::run(history)
}

#[cfg(test)]
mod tests;
