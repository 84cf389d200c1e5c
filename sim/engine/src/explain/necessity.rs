//! Which faults a failure needs: the same run without each of them, and if it needs no single one,
//! without each pair.
//!
//! Every decision of the world is keyed, so that the run without a fault is the same run in
//! everything that the fault did not touch. This is Lewis' counterfactual, taken literally: a fault
//! is necessary when the nearest world without it does not show the anomaly. A run may show an anomaly
//! of many records, and its witness is the first: when another record is the first without a fault,
//! that fault has decided which one it is, and belongs to the story of this one.

use std::sync::Arc;

use oncesim_spec::{FaultPlan, Scenario};
use oncesim_types::Instant;

use super::lab::{Lab, Seen, Task};
use crate::outcome::{Outcome, RunOptions};

/// What one fault has to do with a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Necessity {
    /// The fault, in words.
    pub description: String,
    /// Its kind, as scenarios name it.
    pub kind: &'static str,
    /// When it struck; `None`: never.
    pub struck: Option<Instant>,
    /// Whether the run without it does not show the anomaly.
    pub necessary: bool,
    /// Whether that run shows the anomaly of another record.
    pub for_this_one: bool,
    /// What the run without it showed; `None`: it was not tried, or it never struck.
    pub without: Option<Seen>,
}

/// What the faults of a plan have to do with a failure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Necessities {
    /// By fault, in plan order.
    pub faults: Vec<Necessity>,
    /// Faults without which the anomaly is gone, when no single one is necessary: it needs one of
    /// these. The smallest such set that was found by taking out ever more.
    pub either: Vec<usize>,
    /// What the run without any fault shows.
    pub without_any: Option<Seen>,
}

impl Necessities {
    /// The faults that the failure needs, or needs one of.
    #[must_use]
    pub fn needed(&self) -> Vec<usize> {
        let single = (0..self.faults.len()).filter(|at| self.faults[*at].necessary);
        single.chain(self.either.iter().copied()).collect()
    }

    /// The faults that belong to the story: those that the failure needs, or needs one of, and those
    /// that decided which record it is; all of them while nobody knows.
    pub(super) fn concerned(&self) -> Vec<usize> {
        let known = self.faults.iter().any(|fault| fault.necessary || fault.without.is_some());
        if !known {
            return (0..self.faults.len()).collect();
        }
        let mut concerned = self.needed();
        concerned.extend((0..self.faults.len()).filter(|at| self.faults[*at].for_this_one));
        concerned.sort_unstable();
        concerned.dedup();
        concerned
    }

    /// Of a run beside which nothing is tried: its faults are all necessary, or nobody knows.
    pub(super) fn untried(outcome: &Outcome, necessary: bool) -> Self {
        let faults = outcome.faults.iter().map(|report| Necessity {
            description: report.description.clone(),
            kind: report.kind,
            struck: report.struck,
            necessary,
            for_this_one: false,
            without: None,
        });
        Necessities { faults: faults.collect(), ..Necessities::default() }
    }
}

/// Tries the run without each fault.
pub(super) fn necessities(lab: &Lab<'_>, scenario: &Arc<Scenario>, first: &Outcome) -> Necessities {
    let plan = &first.plan.faults;
    let without = |out: &[usize]| {
        let left = (0..plan.len()).filter(|at| !out.contains(at));
        let faults = left.map(|at| plan[at].clone()).collect();
        let options = RunOptions {
            seed: first.seed,
            plan: Some(FaultPlan { faults, ..first.plan.clone() }),
            ..RunOptions::default()
        };
        Task { scenario: Arc::clone(scenario), options }
    };
    let struck: Vec<usize> =
        (0..plan.len()).filter(|at| first.faults[*at].struck.is_some()).collect();
    let mut tasks: Vec<Task> = struck.iter().map(|at| without(&[*at])).collect();
    tasks.push(without(&(0..plan.len()).collect::<Vec<_>>()));
    let mut seen = lab.all(&tasks).unwrap_or_default();
    let without_any = seen.pop();
    let mut seen = struck.iter().copied().zip(seen).collect::<std::collections::BTreeMap<_, _>>();
    let faults: Vec<Necessity> = first
        .faults
        .iter()
        .enumerate()
        .map(|(at, report)| {
            let without = seen.remove(&at);
            Necessity {
                description: report.description.clone(),
                kind: report.kind,
                struck: report.struck,
                necessary: without.as_ref().is_some_and(|seen| seen.same.is_none()),
                for_this_one: without.as_ref().is_some_and(|seen| {
                    seen.same.is_some() && lab.record.is_some() && seen.record != lab.record
                }),
                without,
            }
        })
        .collect();
    let mut found = Necessities { faults, either: Vec::new(), without_any };
    let gone = found.without_any.as_ref().is_some_and(|seen| seen.same.is_none());
    if gone && found.needed().is_empty() {
        found.either = either(lab, &struck, &without);
    }
    found
}

/// A set of faults of which one is enough: without all of them the anomaly is gone, with any of
/// them back it is there. Pairs first; else what is left of all faults when none can go.
fn either(lab: &Lab<'_>, struck: &[usize], without: &dyn Fn(&[usize]) -> Task) -> Vec<usize> {
    let mut pairs = Vec::new();
    for (n, a) in struck.iter().enumerate() {
        pairs.extend(struck[n + 1..].iter().map(|b| [*a, *b]));
    }
    let tasks: Vec<Task> = pairs.iter().map(|pair| without(pair)).collect();
    let Some(seen) = lab.all(&tasks) else { return Vec::new() };
    if let Some(at) = seen.iter().position(|seen| seen.same.is_none()) {
        return pairs[at].to_vec();
    }
    let mut out = struck.to_vec();
    while out.len() > 2 {
        let smaller: Vec<Vec<usize>> = (0..out.len())
            .map(|skip| (0..out.len()).filter(|at| *at != skip).map(|at| out[at]).collect())
            .collect();
        let tasks: Vec<Task> = smaller.iter().map(|set| without(set)).collect();
        let Some(seen) = lab.all(&tasks) else { return out };
        let Some(at) = seen.iter().position(|seen| seen.same.is_none()) else { return out };
        out.clone_from(&smaller[at]);
    }
    out
}
