//! What a run reached of what there is to reach: a green campaign says how much it saw.
//!
//! A point is one thing that can happen in the protocol: an edge between two states of a state
//! machine, for example. All points are known beforehand, by area; a run reaches some of them. Read
//! off the history alone, so that it changes no run.

use oncesim_history::{EventKind, History, WorldEvent};
use oncesim_types::TransactionState;

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

/// A set of reached points. Merging is a union: associative, commutative and idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// One bit per point, in the order of [`Coverage::all`].
    bits: Vec<u64>,
}

/// The edges of the transaction coordinator's states: `TransactionState.validPreviousStates`.
const TRANSACTION_EDGES: [(TransactionState, TransactionState); 15] = {
    use TransactionState::{
        CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit,
        PrepareEpochFence,
    };
    [
        (Empty, Empty),
        (Empty, Ongoing),
        (Empty, PrepareAbort),
        (CompleteCommit, Empty),
        (CompleteAbort, Empty),
        (CompleteCommit, Ongoing),
        (CompleteAbort, Ongoing),
        (Ongoing, Ongoing),
        (Ongoing, PrepareCommit),
        (Ongoing, PrepareAbort),
        (Ongoing, PrepareEpochFence),
        (PrepareEpochFence, PrepareAbort),
        (PrepareCommit, CompleteCommit),
        (PrepareAbort, CompleteAbort),
        (CompleteAbort, PrepareAbort),
    ]
};

impl Coverage {
    /// What a run reached.
    #[must_use]
    pub fn of(history: &History) -> Coverage {
        let mut coverage = Coverage::default();
        for event in &history.events {
            if let EventKind::World(WorldEvent::TransactionState { from, to, .. }) = &event.kind
                && let Some(index) = TRANSACTION_EDGES.iter().position(|it| it == &(*from, *to))
            {
                coverage.reach(index);
            }
        }
        coverage
    }

    /// Every point that there is: its area and its name. The order is that of the bits.
    pub fn all() -> impl Iterator<Item = (&'static str, String)> {
        TRANSACTION_EDGES.iter().map(|(from, to)| {
            ("transaction coordinator", format!("{} to {}", from.name(), to.name()))
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_back() {
        let mut coverage = Coverage::default();
        coverage.reach(3);
        coverage.reach(11);
        let points: Vec<_> = coverage.points().collect();
        let back = Coverage::from_points(points.iter().map(|(area, name)| (*area, name.as_str())));
        assert_eq!(back, coverage);
        assert_eq!(coverage.reached(), 2);
    }

    #[test]
    fn merging_counts_what_is_new() {
        let (mut a, mut b) = (Coverage::default(), Coverage::default());
        a.reach(1);
        b.reach(1);
        b.reach(70);
        assert_eq!(a.merge(&b), 1);
        assert_eq!(a.merge(&b), 0);
        assert_eq!(a.reached(), 2);
    }
}
