//! What a run reached of what there is to reach: a green campaign says how much it saw.
//!
//! A point is one thing that can happen in the protocol: an edge between two states of a state
//! machine, an error that a client can see, a kind of fault that strikes while a transaction is
//! open. All points are known beforehand, by area; a run reaches some of them. They are read off the
//! history (a group's states off its coordinator's notes), so that nothing of a run changes.
//!
//! What follows a fault is the next step in time, not in cause: with one fault in hand the two are
//! the same more often than not, and order is what a search can aim at.

mod errors;
mod point;
mod read;

use oncesim_history::History;
use oncesim_kafka::group::GroupState;
use oncesim_spec::{FaultKind, FaultPlan, PlannedFault, Trigger};
use oncesim_types::Instant;

use crate::world::fault_kind;
use point::Point;
use read::Reader;

/// What can be reached in one area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AreaCoverage {
    /// The area: `transaction coordinator`.
    pub area: &'static str,
    /// Points that were reached.
    pub reached: u64,
    /// Points that there are.
    pub known: u64,
    /// The names of those that were not reached.
    pub missing: Vec<String>,
}

/// A point as a search sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Its number; one behind the last for what no known point stands for.
    pub(crate) index: usize,
    /// Whether it happens all the time.
    pub(crate) routine: bool,
}

/// A set of reached points. Merging is a union: associative, commutative and idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// One bit per point, in the order of [`Coverage::all`].
    bits: Vec<u64>,
}

impl Coverage {
    /// What a run reached, as far as its history says; `plan` is the run's.
    #[must_use]
    pub fn of(history: &History, plan: &FaultPlan) -> Coverage {
        let mut coverage = Coverage::default();
        let kinds: Vec<Option<FaultKind>> = plan.faults.iter().map(kind_of).collect();
        let mut reached = |point: Point, _| {
            if let Some(index) = point.index() {
                coverage.reach(index);
            }
        };
        Reader::new(history, &kinds, &mut reached).read();
        coverage
    }

    /// The points of a run one after the other, as often as they are reached, with their times.
    pub(crate) fn sequence(
        history: &History,
        plan: &FaultPlan,
        each: &mut dyn FnMut(Reached, Instant),
    ) {
        let kinds: Vec<Option<FaultKind>> = plan.faults.iter().map(kind_of).collect();
        let mut reached = |point: Point, at| {
            let index = point.index().unwrap_or(point::known().len());
            each(Reached { index, routine: point.is_routine() }, at);
        };
        Reader::new(history, &kinds, &mut reached).read();
    }

    /// What happened in a run that no known point stands for: nothing, unless a planted bug is in
    /// it or the model does what this module has not heard of.
    #[must_use]
    pub fn strays(history: &History, plan: &FaultPlan) -> Vec<String> {
        let mut strays = Vec::new();
        let kinds: Vec<Option<FaultKind>> = plan.faults.iter().map(kind_of).collect();
        let mut reached = |point: Point, _| {
            if point.index().is_none() {
                strays.push(format!("{}: {point}", point.area()));
            }
        };
        Reader::new(history, &kinds, &mut reached).read();
        strays.sort_unstable();
        strays.dedup();
        strays
    }

    /// A group went from one state to another.
    pub(crate) fn group_edge(&mut self, from: GroupState, to: GroupState) {
        let index = Point::GroupEdge(from, to).index();
        index.into_iter().for_each(|index| self.reach(index));
    }

    /// Every point that there is: its area and its name. The order is that of the bits.
    pub fn all() -> impl Iterator<Item = (&'static str, String)> {
        point::known().iter().map(|point| (point.area(), point.to_string()))
    }

    fn reach(&mut self, index: usize) {
        let word = index / 64;
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (index % 64);
    }

    fn has(&self, index: usize) -> bool {
        self.bits.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Takes in what another run reached: how many points of it are new.
    pub fn merge(&mut self, other: &Coverage) -> u64 {
        if self.bits.len() < other.bits.len() {
            self.bits.resize(other.bits.len(), 0);
        }
        let mut new = 0;
        for (mine, theirs) in self.bits.iter_mut().zip(&other.bits) {
            new += u64::from((theirs & !*mine).count_ones());
            *mine |= theirs;
        }
        new
    }

    /// How many points were reached.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.bits.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The points that were reached, by area and name: what a file keeps.
    pub fn points(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        Coverage::all().enumerate().filter(|(index, _)| self.has(*index)).map(|(_, point)| point)
    }

    /// The set of these points; those that this version does not know are left out.
    #[must_use]
    pub fn from_points<'a>(points: impl IntoIterator<Item = (&'a str, &'a str)>) -> Coverage {
        let all: Vec<_> = Coverage::all().collect();
        let mut coverage = Coverage::default();
        for (area, name) in points {
            let index = all.iter().position(|(a, n)| *a == area && n == name);
            index.into_iter().for_each(|index| coverage.reach(index));
        }
        coverage
    }

    /// How much was reached, area by area.
    #[must_use]
    pub fn by_area(&self) -> Vec<AreaCoverage> {
        let mut areas: Vec<AreaCoverage> = Vec::new();
        for (index, (area, name)) in Coverage::all().enumerate() {
            let at = areas.iter().position(|it| it.area == area).unwrap_or_else(|| {
                areas.push(AreaCoverage { area, reached: 0, known: 0, missing: Vec::new() });
                areas.len() - 1
            });
            areas[at].known += 1;
            if self.has(index) {
                areas[at].reached += 1;
            } else {
                areas[at].missing.push(name);
            }
        }
        areas
    }
}

/// The kind of a planned fault, as `swarm.kinds` names it. A message that is lost is a request
/// unless the plan says that it is a response.
pub(crate) fn kind_of(fault: &PlannedFault) -> Option<FaultKind> {
    let name = fault_kind(&fault.action);
    let known = FaultKind::ALL.iter().copied().find(|kind| kind.name() == name);
    known.or_else(|| match &fault.trigger {
        Trigger::OnMessage { pattern, .. } if pattern.response == Some(true) => {
            Some(FaultKind::AckLoss)
        }
        Trigger::OnMessage { .. } => Some(FaultKind::RequestLoss),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some() -> impl Strategy<Value = Coverage> {
        let points = prop::collection::vec(0..point::known().len(), 0..40);
        points.prop_map(|points| {
            let mut coverage = Coverage::default();
            points.into_iter().for_each(|point| coverage.reach(point));
            coverage
        })
    }

    /// Equal as sets: trailing empty words do not count.
    fn same(a: &Coverage, b: &Coverage) -> bool {
        a.points().eq(b.points())
    }

    fn merged(a: &Coverage, b: &Coverage) -> Coverage {
        let mut all = a.clone();
        all.merge(b);
        all
    }

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let mut names: Vec<_> = Coverage::all().collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for (index, point) in point::known().iter().enumerate() {
            assert_eq!(point.index(), Some(index));
        }
    }

    proptest! {
        #[test]
        fn merging_is_a_union(a in some(), b in some(), c in some()) {
            prop_assert!(same(&merged(&a, &b), &merged(&b, &a)), "commutative");
            prop_assert!(
                same(&merged(&merged(&a, &b), &c), &merged(&a, &merged(&b, &c))),
                "associative"
            );
            prop_assert!(same(&merged(&a, &a), &a), "idempotent");
            prop_assert!(same(&merged(&a, &Coverage::default()), &a), "nothing adds nothing");
            let mut all = a.clone();
            let new = all.merge(&b);
            prop_assert_eq!(all.reached(), a.reached() + new);
        }

        #[test]
        fn what_is_written_down_is_read_back(coverage in some()) {
            let points: Vec<_> = coverage.points().collect();
            let points = points.iter().map(|(area, name)| (*area, name.as_str()));
            prop_assert!(same(&Coverage::from_points(points), &coverage));
        }

        #[test]
        fn areas_add_up(coverage in some()) {
            let areas = coverage.by_area();
            let reached: u64 = areas.iter().map(|area| area.reached).sum();
            let known: u64 = areas.iter().map(|area| area.known).sum();
            prop_assert_eq!(reached, coverage.reached());
            prop_assert_eq!(known, Coverage::all().count() as u64);
            for area in areas {
                prop_assert_eq!(area.known - area.reached, area.missing.len() as u64);
            }
        }
    }
}
