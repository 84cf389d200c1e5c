//! When a failure became unavoidable: the run forked at the links of its chain, with other luck from
//! there on.
//!
//! The question is the engineer's: from when on could nothing have saved it? So faults that had not
//! struck by then are left out of the other futures, while those that had struck go on and end as
//! they do; latencies, losses and what a power failure takes are drawn anew. The share of futures
//! that fail estimates how sure the failure is at that moment. It jumps where something that cannot
//! be taken back happens: the response is lost, the leader is gone, the commit is accepted.
//!
//! The share is assumed not to fall again along the chain, so the moment is found by bisection; the
//! futures of all points have the same salts. With [`FORKS`] futures, all of which fail, the failure
//! has a probability of at least 0.91 (95 % one-sided, Clopper-Pearson).

use std::sync::Arc;

use oncesim_history::trace::StepId;
use oncesim_spec::Scenario;

use super::lab::{Lab, Task};
use super::slice::Link;
use crate::outcome::{Fork, Outcome, RunOptions};

/// Futures per point.
pub(super) const FORKS: u64 = 32;
/// Of a hundred futures so many fail when a failure is called unavoidable.
const CERTAIN: u64 = 95;

/// Of how many futures how many fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// They show the anomaly ...
    pub failed: u64,
    /// ... of so many.
    pub of: u64,
}

impl Share {
    /// Whether the failure can be called unavoidable.
    #[must_use]
    pub fn certain(self) -> bool {
        self.failed * 100 >= self.of * CERTAIN
    }
}

/// What was found out about the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavoidable {
    /// The link of the chain at which the failure became unavoidable; `None`: it never was, before
    /// its end.
    pub link: Option<usize>,
    /// It happened between the link before and this one, not at this one.
    pub earlier: bool,
    /// How sure it was just before ...
    pub before: Share,
    /// ... and just after. If it never became unavoidable: at the first and at the last link.
    pub after: Share,
    /// How sure it was just before, with the faults that were still to come.
    pub kept: Share,
}

/// Looks for the moment; `None` when there was no time, or there is no chain.
pub(super) fn moment(
    lab: &Lab<'_>,
    scenario: &Arc<Scenario>,
    first: &Outcome,
    chain: &[Link],
) -> Option<Unavoidable> {
    let points = points(chain);
    let try_at = |at: usize| share(lab, scenario, first, (points[at].1, false));
    let kept = |at: usize| share(lab, scenario, first, (points[at].1, true));
    let last = points.len().checked_sub(1)?;
    let (mut low, mut high) = (0, last);
    let (mut before, mut after) = (try_at(low)?, try_at(high)?);
    if !after.certain() {
        return Some(Unavoidable { link: None, earlier: false, before, after, kept: kept(low)? });
    }
    if before.certain() {
        let (link, earlier) = (Some(points[0].0), true);
        return Some(Unavoidable { link, earlier, before, after: before, kept: kept(low)? });
    }
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        let found = try_at(middle)?;
        if found.certain() {
            (high, after) = (middle, found);
        } else {
            (low, before) = (middle, found);
        }
    }
    let link = points[high].0;
    let earlier = points[low].0 != link;
    Some(Unavoidable { link: Some(link), earlier, before, after, kept: kept(low)? })
}

/// Where to fork: before and after the step of each link; the link, and the first step of the other
/// future. Links of one step are one point.
fn points(chain: &[Link]) -> Vec<(usize, StepId)> {
    let mut points: Vec<(usize, StepId)> = Vec::new();
    for (at, link) in chain.iter().enumerate() {
        if at > 0 && chain[at - 1].step == link.step {
            continue;
        }
        // Of the links of one step that is told which weighs most.
        let same = chain[at..].iter().take_while(|other| other.step == link.step).enumerate();
        let heaviest = same.max_by_key(|(n, other)| (other.weight, std::cmp::Reverse(*n)));
        let told = at + heaviest.map_or(0, |(n, _)| n);
        points.extend([(told, link.step), (told, link.step + 1)]);
    }
    points.retain(|(_, step)| *step > 0);
    points
}

fn share(
    lab: &Lab<'_>,
    scenario: &Arc<Scenario>,
    first: &Outcome,
    (before, keep_faults): (StepId, bool),
) -> Option<Share> {
    let task = |salt: u64| Task {
        scenario: Arc::clone(scenario),
        options: RunOptions {
            seed: first.seed,
            plan: Some(first.plan.clone()),
            fork: Some(Fork { before, salt, keep_faults }),
            ..RunOptions::default()
        },
    };
    let seen = lab.all(&(1..=FORKS).map(task).collect::<Vec<_>>())?;
    let failed = seen.iter().filter(|seen| seen.same.is_some()).count() as u64;
    Some(Share { failed, of: FORKS })
}
