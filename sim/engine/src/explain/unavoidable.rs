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
//!
//! Beside it stands the share of futures with the faults that were still to come. Where that jumps at
//! something that is no fault, luck was decided: a step of the protocol has sealed it.

use std::collections::{BTreeMap, BTreeSet};
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
/// Points of a curve, unless the bisections tried more.
const CURVE: usize = 8;

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
    /// When luck was decided, if it took any: with the faults that were still to come.
    pub sealed: Option<Sealed>,
}

/// From when on a failure was certain, given the faults that were still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// The link of the chain at which that was so, and not just before it.
    pub link: usize,
    /// How sure it was just before ...
    pub before: Share,
    /// ... and just after.
    pub after: Share,
}

/// How sure a failure was at one point of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurvePoint {
    /// The link of the chain.
    pub link: usize,
    /// Just after it; else just before.
    pub after: bool,
    /// Of the futures without the faults that were still to come, how many fail.
    pub without: Share,
    /// Of the futures with them.
    pub kept: Share,
}

/// Where a run is forked.
#[derive(Debug, Clone, Copy)]
struct Point {
    link: usize,
    after: bool,
    /// The first step of the other future.
    step: StepId,
}

/// The futures of a run at the points of its chain, each tried once.
pub(super) struct Forks<'a> {
    lab: &'a Lab<'a>,
    scenario: &'a Arc<Scenario>,
    first: &'a Outcome,
    points: Vec<Point>,
    known: BTreeMap<(usize, Future), Share>,
}

/// Whether the faults that have not struck yet will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Future {
    NoMoreFaults,
    FaultsToCome,
}

impl<'a> Forks<'a> {
    pub(super) fn new(
        lab: &'a Lab<'a>,
        scenario: &'a Arc<Scenario>,
        first: &'a Outcome,
        chain: &[Link],
    ) -> Self {
        Forks { lab, scenario, first, points: points(chain), known: BTreeMap::new() }
    }

    /// Looks for the moment; `None` when there was no time, or there is no chain.
    pub(super) fn moment(&mut self) -> Option<Unavoidable> {
        let (low, high) = self.bisect(Future::NoMoreFaults)?;
        let before = self.share(low, Future::NoMoreFaults)?;
        let after = self.share(high, Future::NoMoreFaults)?;
        let kept = self.share(low, Future::FaultsToCome)?;
        let link = after.certain().then_some(self.points[high].link);
        // At a link, unless it is certain at the first point already, or between two links.
        let at_a_link = low < high && self.points[low].link == self.points[high].link;
        let (below, above) = self.bisect(Future::FaultsToCome)?;
        let sealed = self.sealed(below, above);
        let earlier = link.is_some() && !at_a_link;
        Some(Unavoidable { link, earlier, before, after, kept, sealed })
    }

    /// Whether luck was decided at a link, between two points that are known.
    fn sealed(&self, below: usize, above: usize) -> Option<Sealed> {
        let before = *self.known.get(&(below, Future::FaultsToCome))?;
        let after = *self.known.get(&(above, Future::FaultsToCome))?;
        let (link, same) = (self.points[above].link, self.points[below].link);
        let jumps = link == same && !before.certain() && after.certain();
        jumps.then_some(Sealed { link, before, after })
    }

    /// The last point at which the failure is not certain, and the next. Twice the first if it is
    /// certain there; the first and the last if it never is.
    fn bisect(&mut self, future: Future) -> Option<(usize, usize)> {
        let last = self.points.len().checked_sub(1)?;
        let (mut low, mut high) = (0, last);
        if self.share(low, future)?.certain() {
            return Some((low, low));
        }
        if !self.share(high, future)?.certain() {
            return Some((low, high));
        }
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.share(middle, future)?.certain() {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some((low, high))
    }

    /// How sure it was at the points that were tried, and at others evenly between them; `None` when
    /// there was no time for all of it.
    pub(super) fn curve(&mut self) -> Option<Vec<CurvePoint>> {
        let last = self.points.len().checked_sub(1)?;
        let mut at: BTreeSet<usize> = self.known.keys().map(|(at, _)| *at).collect();
        let even = (0..CURVE).map(|n| n * last / (CURVE - 1));
        for point in even {
            if at.len() >= CURVE {
                break;
            }
            at.insert(point);
        }
        let mut curve = Vec::new();
        for at in at {
            let Point { link, after, .. } = self.points[at];
            let without = self.share(at, Future::NoMoreFaults)?;
            let kept = self.share(at, Future::FaultsToCome)?;
            curve.push(CurvePoint { link, after, without, kept });
        }
        Some(curve)
    }

    /// Of the futures at a point, how many fail; `None` when there was no time.
    fn share(&mut self, at: usize, future: Future) -> Option<Share> {
        if let Some(known) = self.known.get(&(at, future)) {
            return Some(*known);
        }
        let (before, keep_faults) = (self.points[at].step, future == Future::FaultsToCome);
        let task = |salt: u64| Task {
            scenario: Arc::clone(self.scenario),
            options: RunOptions {
                seed: self.first.seed,
                plan: Some(self.first.plan.clone()),
                fork: Some(Fork { before, salt, keep_faults }),
                ..RunOptions::default()
            },
        };
        let seen = self.lab.all(&(1..=FORKS).map(task).collect::<Vec<_>>())?;
        let failed = seen.iter().filter(|seen| seen.same.is_some()).count() as u64;
        let share = Share { failed, of: FORKS };
        self.known.insert((at, future), share);
        Some(share)
    }
}

/// Where to fork: before and after the step of each link; links of one step are one point.
fn points(chain: &[Link]) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for (at, link) in chain.iter().enumerate() {
        if at > 0 && chain[at - 1].step == link.step {
            continue;
        }
        // Of the links of one step that is told which weighs most.
        let same = chain[at..].iter().take_while(|other| other.step == link.step).enumerate();
        let heaviest = same.max_by_key(|(n, other)| (other.weight, std::cmp::Reverse(*n)));
        let told = at + heaviest.map_or(0, |(n, _)| n);
        points.push(Point { link: told, after: false, step: link.step });
        points.push(Point { link: told, after: true, step: link.step + 1 });
    }
    points.retain(|point| point.step > 0);
    points
}
