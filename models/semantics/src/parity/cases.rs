//! The rules about single records: `duplicate`, `inconsistent-offsets`, `lost-write`, `unseen`,
//! `G1a` and `precommitted-read`.

use oncesim_history::jepsen::{Mop, OpType};

use super::Case;
use super::orders::{NONE, Tables, number};

/// A value at several offsets of its key.
pub(super) fn duplicates(tables: &Tables<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for order in &tables.orders {
        let mut twice: Vec<(u32, i64)> = order
            .log
            .iter()
            .filter(|(_, record)| {
                let place = tables.places[*record as usize];
                place.first != place.last
            })
            .map(|(offset, record)| (*record, *offset))
            .collect();
        twice.sort_unstable();
        for copies in twice.chunk_by(|a, b| a.0 == b.0) {
            let offsets = copies.iter().map(|(_, offset)| *offset).collect();
            cases.push(Case { offsets, ..tables.case(&[copies[0].0]) });
        }
    }
    cases
}

/// An offset that holds several values.
pub(super) fn inconsistent_offsets(tables: &Tables<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for order in &tables.orders {
        if order.log.len() == order.starts.len() {
            continue;
        }
        for index in 0..order.len() {
            let held = order.at(index);
            if held.len() > 1 {
                let records: Vec<u32> = held.iter().map(|(_, record)| *record).collect();
                cases.push(Case {
                    offsets: vec![held[0].0],
                    index: Some(i64::from(index)),
                    ..tables.case(&records)
                });
            }
        }
    }
    cases
}

/// A committed value below the highest value that was read, and read by nobody.
pub(super) fn lost_writes(tables: &Tables<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for order in &tables.orders {
        let mut bound = None;
        for (_, record) in &order.log {
            if tables.read[*record as usize] {
                bound = bound.max(Some(tables.places[*record as usize].first));
            }
        }
        let Some(bound) = bound else { continue };
        for index in 0..=bound {
            for (_, record) in order.at(index) {
                let writer = tables.writer[*record as usize];
                if tables.read[*record as usize]
                    || tables.places[*record as usize].last != index
                    || writer == NONE
                    || !tables.must_have_committed(&tables.history.ops[writer as usize])
                {
                    continue;
                }
                cases.push(Case {
                    ops: vec![tables.op_index(writer)],
                    index: Some(i64::from(index)),
                    max_read_index: Some(i64::from(bound)),
                    ..tables.case(&[*record])
                });
            }
        }
    }
    cases
}

/// What was sent by ok operations and read by none, one case per key; and, for a key that only the
/// last ok operation has touched, and only by reading, what it read.
pub(super) fn unseen(tables: &Tables<'_>) -> Vec<Case> {
    let history = tables.history;
    let keys = history.keys.keys().len();
    let oks = || tables.completions().filter(|(_, op)| op.ty == OpType::Ok);
    let Some((last, _)) = oks().last() else { return Vec::new() };
    let mut sent = vec![false; history.records.keys().len()];
    let mut known = vec![false; keys];
    let mut late: Vec<u32> = Vec::new();
    for (position, op) in oks() {
        for mop in history.mops(op) {
            match mop {
                Mop::Send { record, .. } => {
                    sent[*record as usize] = true;
                    known[history.key_of(*record) as usize] = true;
                }
                Mop::Poll(span) if position == last => {
                    late.extend(history.polled(*span).iter().map(|p| p.record));
                }
                Mop::Poll(span) => {
                    for polled in history.polled(*span) {
                        known[history.key_of(polled.record) as usize] = true;
                    }
                }
            }
        }
    }
    late.retain(|record| !known[history.key_of(*record) as usize]);
    let mut missing: Vec<u32> = (0..number(sent.len()))
        .filter(|record| sent[*record as usize] && !tables.read[*record as usize])
        .chain(late)
        .collect();
    missing.sort_by_key(|record| (history.key_of(*record), *record));
    missing.dedup();
    missing
        .chunk_by(|a, b| history.key_of(*a) == history.key_of(*b))
        .map(|records| tables.case(records))
        .collect()
}

/// A value of a failed operation, read by an ok operation.
pub(super) fn aborted_reads(tables: &Tables<'_>) -> Vec<Case> {
    let history = tables.history;
    let mut failed = vec![NONE; 0];
    for (position, op) in tables.completions().filter(|(_, op)| op.ty == OpType::Fail) {
        for mop in history.mops(op) {
            if let Mop::Send { record, .. } = mop {
                failed.resize(tables.read.len(), NONE);
                failed[*record as usize] = position;
            }
        }
    }
    let mut cases = Vec::new();
    if failed.is_empty() {
        return cases;
    }
    for (position, op) in tables.completions().filter(|(_, op)| op.ty == OpType::Ok) {
        for mop in history.mops(op) {
            let Mop::Poll(span) = mop else { continue };
            for polled in history.polled(*span) {
                let writer = failed[polled.record as usize];
                if writer != NONE {
                    let ops = vec![tables.op_index(writer), tables.op_index(position)];
                    cases.push(Case { ops, ..tables.case(&[polled.record]) });
                }
            }
        }
    }
    cases.sort();
    cases.dedup();
    cases
}

/// An operation that polls what it sends itself: one case per operation.
pub(super) fn precommitted_reads(tables: &Tables<'_>) -> Vec<Case> {
    let history = tables.history;
    let mut sender = vec![NONE; tables.read.len()];
    let mut cases = Vec::new();
    for (position, op) in tables.completions() {
        let mops = history.mops(op);
        for mop in mops {
            if let Mop::Send { record, .. } = mop {
                sender[*record as usize] = position;
            }
        }
        let own = mops.iter().find_map(|mop| match mop {
            Mop::Poll(span) => {
                history.polled(*span).iter().find(|p| sender[p.record as usize] == position)
            }
            Mop::Send { .. } => None,
        });
        if let Some(polled) = own {
            let ops = vec![tables.op_index(position)];
            cases.push(Case { ops, ..tables.case(&[polled.record]) });
        }
    }
    cases
}
