//! Judges a history exactly as Jepsen's checker of its Kafka workload does, under its own names,
//! with its blind spots and false alarms.
//!
//! Two people who compare results need one common yardstick; the checkers beside this folder are
//! what a verdict should be based on. Differences that are known, and kept here on purpose: polls
//! of failed operations take part in the version order but never in `G1a`; a read of a record that
//! nobody sent ends the analysis; `unseen` also reports records of keys that only the last operation
//! has read and nobody is known to have written; nothing is said about double consumption or about
//! writes whose offset nobody knows.

mod cases;
mod cycles;
mod orders;
mod polls;
pub(crate) mod scc;

use oncesim_history::Name;
use oncesim_history::jepsen::JepsenHistory;

use orders::Tables;

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParityOptions {
    /// `:ww-deps`: whether the order of writes counts in cycles.
    pub ww_deps: bool,
    /// `:sub-via #{:subscribe}`: rebalances move positions, so that jumps between polls are allowed.
    pub subscribe: bool,
}

/// One occurrence, with what Jepsen says about it; what does not apply is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Case {
    /// The key.
    pub key: Option<Name>,
    /// The value or values concerned.
    pub values: Vec<Name>,
    /// `:index` of the completions concerned.
    pub ops: Vec<i64>,
    /// Offsets concerned.
    pub offsets: Vec<i64>,
    /// How far apart two values are in the version order.
    pub delta: Option<i64>,
    /// What lies between them.
    pub skipped: Vec<Name>,
    /// Position in the version order.
    pub index: Option<i64>,
    /// The highest position that was read.
    pub max_read_index: Option<i64>,
}

/// All occurrences of one of Jepsen's error types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParityAnomaly {
    /// Jepsen's name: `lost-write`, `G1c-realtime`.
    pub id: &'static str,
    /// Whether a test with this error is still valid.
    pub allowed: bool,
    /// How many; of cycles, how many strongly connected components have one.
    pub count: u64,
    /// The occurrences; of cycles, the operations of each component.
    pub cases: Vec<Case>,
}

/// Jepsen's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParityVerdict {
    /// Whether the history is valid.
    pub valid: bool,
    /// Where Jepsen throws `:no-writer-of-value` instead of a verdict.
    pub thrown: Option<Case>,
    /// The error types, by name.
    pub anomalies: Vec<ParityAnomaly>,
}

/// Judges a history as Jepsen does.
#[must_use]
pub fn parity(history: &JepsenHistory, options: ParityOptions) -> ParityVerdict {
    let tables = Tables::of(history);
    let mut found: Vec<(&'static str, Vec<Case>)> = Vec::new();
    let mut add = |id, cases: Vec<Case>| {
        if !cases.is_empty() {
            found.push((id, cases));
        }
    };
    add("duplicate", cases::duplicates(&tables));
    add("inconsistent-offsets", cases::inconsistent_offsets(&tables));
    add("lost-write", cases::lost_writes(&tables));
    add("unseen", cases::unseen(&tables));
    add("G1a", cases::aborted_reads(&tables));
    add("precommitted-read", cases::precommitted_reads(&tables));
    let streams = polls::streams(&tables);
    for (id, cases) in polls::NAMES.into_iter().zip(streams) {
        add(id, cases);
    }
    let mut thrown = None;
    if !history.ops.is_empty() {
        match cycles::find(&tables, options.ww_deps) {
            Ok(cycles) => cycles.into_iter().for_each(|(id, cases)| add(id, cases)),
            Err(case) => thrown = Some(case),
        }
    }
    found.sort_by_key(|(id, _)| *id);
    let anomalies: Vec<ParityAnomaly> = found
        .into_iter()
        .map(|(id, cases)| ParityAnomaly {
            id,
            allowed: is_allowed(id, options),
            count: cases.len() as u64,
            cases,
        })
        .collect();
    let valid = thrown.is_none() && anomalies.iter().all(|anomaly| anomaly.allowed);
    ParityVerdict { valid, thrown, anomalies }
}

/// Errors that Jepsen expects of any Kafka, or of this way to use it.
fn is_allowed(id: &str, options: ParityOptions) -> bool {
    match id {
        "int-send-skip" | "G0" | "G0-process" | "G0-realtime" => true,
        "poll-skip" | "nonmonotonic-poll" => options.subscribe,
        "G1c" | "G1c-process" | "G1c-realtime" => options.ww_deps,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
