//! The effect level against a literal reading of its definition, on every tiny history: the final
//! state of a small database is compared with that of one in which each effect was applied once, in
//! the order of the log.

use std::collections::BTreeMap;

use oncesim_types::EffectId;

use super::effects::{ORDERS, Scene};
use super::exhaustive::{count, fillings, word};
use super::{cells, check};
use crate::{Level, Verdict};

/// What an effect does to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A new row for each application.
    Insert,
    /// The row of the record is set.
    ById,
    /// The row of the key, the same for both records, is set.
    ByKey,
    /// The same, unless it has a newer version.
    Versioned,
    /// The row of the key is added to.
    Increment,
}

/// Rows by their number; what they hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Database {
    rows: BTreeMap<u64, u64>,
}

impl Database {
    /// Applies a record's effect, and says which row it changed, from what, and to what.
    fn apply(&mut self, kind: Kind, record: usize) -> (u64, u64, u64) {
        let value = [1, 10][record];
        let next = self.rows.len() as u64 + 100;
        let (row, after) = match kind {
            Kind::Insert => (next, value),
            Kind::ById => (record as u64 + 1, value),
            Kind::ByKey => (1, value),
            Kind::Versioned => (1, self.rows.get(&1).copied().unwrap_or(0).max(value)),
            Kind::Increment => (1, self.rows.get(&1).copied().unwrap_or(0) + value),
        };
        let before = self.rows.insert(row, after).unwrap_or(0);
        (row, before, after)
    }

    /// What people see: the values, not in which row of a table without a key they are.
    fn seen(&self, kind: Kind) -> Vec<(u64, u64)> {
        let mut seen: Vec<(u64, u64)> = self
            .rows
            .iter()
            .map(|(row, value)| (if kind == Kind::Insert { 0 } else { *row }, *value))
            .collect();
        seen.sort_unstable();
        seen
    }
}

/// A history in which the log has these records, and the database applied those.
fn run(kind: Kind, log: &[usize], applied: &[usize]) -> (Verdict, Database) {
    let mut s = Scene::new(0);
    let info = s.b.sink_info(s.sink);
    info.absorbs = matches!(kind, Kind::ById | Kind::ByKey | Kind::Versioned);
    info.overwrites = kind == Kind::ByKey;
    let sent: Vec<_> = (0..2).map(|_| s.b.send(s.shop, ORDERS)).collect();
    for record in &sent {
        s.b.unknown(*record);
    }
    s.records = sent.clone();
    let mut database = Database::default();
    for (commit, record) in (1..).zip(applied) {
        let change = database.apply(kind, *record);
        s.asks(0, *record, 0, (oncesim_history::AskOutcome::Ok, 0));
        let effect = EffectId { record: sent[*record], ..s.effect(0) };
        s.b.apply(effect, commit, &[change]);
        s.b.effect_done(s.mailer[0], effect, false);
    }
    s.records = log.iter().map(|record| sent[*record]).collect();
    (check(&s.done()), database)
}

#[test]
fn the_effect_level_is_its_definition_on_every_history_of_two_records() {
    let mut histories = 0;
    for kind in [Kind::Insert, Kind::ById, Kind::ByKey, Kind::Versioned, Kind::Increment] {
        for log in [&[0, 1][..], &[0, 1, 0], &[0]] {
            for applied in (0..5).flat_map(|len| fillings(len, 2)) {
                let (verdict, database) = run(kind, log, &applied);
                let context = format!("{kind:?} {log:?} {applied:?}");

                let owed: Vec<usize> = (0..2).filter(|record| log.contains(record)).collect();
                let times = |record: usize| applied.iter().filter(|r| **r == record).count();
                let lost = owed.iter().filter(|record| times(**record) == 0).count() as u64;
                let phantoms = (0..2).filter(|r| !owed.contains(r) && times(*r) > 0).count() as u64;
                let mut once = Database::default();
                for record in &owed {
                    once.apply(kind, *record);
                }
                let repeatable = !matches!(kind, Kind::Insert | Kind::Increment);
                let twice = match repeatable {
                    true => 0,
                    false => (0..2).filter(|r| times(*r) > 1).count() as u64,
                };
                assert_eq!(count(&verdict, "effect-lost"), lost, "{context}");
                assert_eq!(count(&verdict, "effect-duplicate"), twice, "{context}");
                assert_eq!(count(&verdict, "effect-phantom"), phantoms, "{context}");
                let as_it_should_be = database.seen(kind) == once.seen(kind);
                if lost + phantoms == 0 {
                    assert_eq!(count(&verdict, "stale-upsert") == 0, as_it_should_be || twice > 0);
                }
                let more = phantoms > 0 || !as_it_should_be;
                let expected = word(twice > 0, lost > 0, more);
                let proved = !applied.is_empty();
                for (got, want) in cells(&verdict, Level::Effect).chars().zip(expected.chars()) {
                    let want = if want == 'h' && !proved { 'u' } else { want };
                    assert_eq!(got, want, "{context}");
                }
                histories += 1;
            }
        }
    }
    assert_eq!(histories, 5 * 3 * 31);
}

/// How a delivery goes: whole, or broken off between the mark and the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placement {
    Same,
    Before,
    After,
}

#[test]
fn a_dedup_table_is_as_good_as_its_place_on_every_history_of_four_deliveries() {
    for placement in [Placement::Same, Placement::Before, Placement::After] {
        // A delivery is of record 0 or 1, and whole or broken off.
        for deliveries in (0..5).flat_map(|len| fillings(len, 4)) {
            let mut s = Scene::new(2);
            s.b.sink_info(s.sink).dedups = true;
            let (mut marked, mut applied, mut commit) = ([false; 2], [0u64; 2], 0);
            for delivery in &deliveries {
                let (record, whole) = (delivery % 2, delivery / 2 == 0);
                if marked[record] {
                    s.b.effect_done(s.mailer[0], s.effect(record), true);
                    continue;
                }
                let (mark, effect) = match (placement, whole) {
                    (_, true) => (true, true),
                    (Placement::Same, false) => (false, false),
                    (Placement::Before, false) => (true, false),
                    (Placement::After, false) => (false, true),
                };
                s.asks(0, record, 0, (oncesim_history::AskOutcome::Ok, 0));
                // Mark first, or effect first, each in a commit of its own or both in one.
                let alone = u64::from(placement != Placement::Same);
                let of_mark = commit + 1 + if placement == Placement::After { alone } else { 0 };
                let of_effect = commit + 1 + if placement == Placement::Before { alone } else { 0 };
                if mark && placement != Placement::After {
                    s.marks(record, of_mark);
                }
                if effect {
                    applied[record] += 1;
                    let row = 10 * (record as u64 + 1) + applied[record];
                    s.b.apply(s.effect(record), of_effect, &[(row, 0, 5)]);
                }
                if mark && placement == Placement::After {
                    s.marks(record, of_mark);
                }
                marked[record] |= mark;
                commit += 2;
            }
            let verdict = check(&s.done());
            let context = format!("{placement:?} {deliveries:?}");
            let lost = applied.iter().filter(|n| **n == 0).count() as u64;
            let twice = applied.iter().filter(|n| **n > 1).count() as u64;
            let gone = (0..2).filter(|r| applied[*r] == 0 && marked[*r]).count() as u64;
            assert_eq!(count(&verdict, "effect-lost"), lost, "{context}");
            assert_eq!(count(&verdict, "effect-duplicate"), twice, "{context}");
            assert_eq!(count(&verdict, "dedup-before-effect"), gone, "{context}");
            assert_eq!(count(&verdict, "dedup-after-effect"), twice, "{context}");
            assert_eq!(count(&verdict, "dedup-window-miss"), 0, "{context}");
            if placement == Placement::Same {
                assert_eq!((twice, gone), (0, 0), "{context}");
            }
        }
    }
}
