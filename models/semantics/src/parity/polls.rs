//! The rules about what follows what: within one operation, and from one operation of a process to
//! its next.

use std::collections::BTreeMap;

use oncesim_history::jepsen::{Mop, Op, OpKind, OpType};

use super::Case;
use super::orders::Tables;

/// Jepsen's names, in the order of [`streams`].
pub(super) const NAMES: [&str; 7] = [
    "int-poll-skip",
    "int-nonmonotonic-poll",
    "int-send-skip",
    "int-nonmonotonic-send",
    "poll-skip",
    "nonmonotonic-poll",
    "nonmonotonic-send",
];

/// What a process has seen of a key: the last operation and its last record.
type Last = BTreeMap<u32, (u32, u32)>;

/// The polls and sends of one operation by key, in order.
#[derive(Debug, Default)]
struct ByKey {
    /// Key, position in the operation, record.
    polls: Vec<(u32, u32)>,
    sends: Vec<(u32, u32)>,
}

impl ByKey {
    fn fill(&mut self, tables: &Tables<'_>, op: &Op) {
        let history = tables.history;
        self.polls.clear();
        self.sends.clear();
        for mop in history.mops(op) {
            match mop {
                Mop::Send { record, .. } => self.sends.push((history.key_of(*record), *record)),
                Mop::Poll(span) => {
                    let polled = history.polled(*span).iter();
                    self.polls.extend(polled.map(|p| (history.key_of(p.record), p.record)));
                }
            }
        }
        // Stable: the records of a key stay in their order.
        self.polls.sort_by_key(|(key, _)| *key);
        self.sends.sort_by_key(|(key, _)| *key);
    }
}

#[derive(Debug, Default)]
struct Streams {
    cases: [Vec<Case>; 7],
}

/// All cases, by the order of [`NAMES`].
pub(super) fn streams(tables: &Tables<'_>) -> [Vec<Case>; 7] {
    let history = tables.history;
    let mut streams = Streams::default();
    let mut processes: BTreeMap<i64, (Last, Last)> = BTreeMap::new();
    let mut by_key = ByKey::default();
    for (position, op) in tables.completions() {
        if matches!(op.kind, OpKind::Assign | OpKind::Subscribe) {
            if op.ty != OpType::Fail
                && let Some((polls, sends)) = processes.get_mut(&op.process)
            {
                let kept = history.key_list(op.keys);
                polls.retain(|key, _| kept.contains(key));
                sends.retain(|key, _| kept.contains(key));
            }
            continue;
        }
        if op.mops.len == 0 {
            continue;
        }
        by_key.fill(tables, op);
        let rebalanced = history.key_list(op.rebalanced);
        let (polls, sends) = processes.entry(op.process).or_default();
        for run in by_key.polls.chunk_by(|a, b| a.0 == b.0) {
            let (key, first) = run[0];
            if !rebalanced.contains(&key) {
                streams.within(tables, position, run, [0, 1]);
            }
            if let Some((before, last)) = polls.get(&key) {
                streams.across(tables, (*before, *last), (position, first), Some(4), 5);
            }
            if op.ty == OpType::Ok {
                polls.insert(key, (position, run[run.len() - 1].1));
            }
        }
        for run in by_key.sends.chunk_by(|a, b| a.0 == b.0) {
            let (key, first) = run[0];
            streams.within(tables, position, run, [2, 3]);
            if let Some((before, last)) = sends.get(&key) {
                streams.across(tables, (*before, *last), (position, first), None, 6);
            }
            if op.ty == OpType::Ok {
                sends.insert(key, (position, run[run.len() - 1].1));
            }
        }
    }
    streams.cases
}

impl Streams {
    /// Neighbours within an operation.
    fn within(
        &mut self,
        tables: &Tables<'_>,
        op: u32,
        run: &[(u32, u32)],
        [skip, nonmonotonic]: [usize; 2],
    ) {
        for pair in run.windows(2) {
            let (from, to) = (pair[0].1, pair[1].1);
            let Some(delta) = tables.delta(from, to) else { continue };
            if delta == 1 {
                continue;
            }
            let case = Case {
                delta: Some(delta),
                ops: vec![tables.op_index(op)],
                ..tables.case(&[from, to])
            };
            if delta > 1 {
                self.cases[skip].push(Case { skipped: tables.between(from, to), ..case });
            } else {
                self.cases[nonmonotonic].push(case);
            }
        }
    }

    /// The last record of an operation, and the first of the next.
    fn across(
        &mut self,
        tables: &Tables<'_>,
        (before, last): (u32, u32),
        (op, first): (u32, u32),
        skip: Option<usize>,
        nonmonotonic: usize,
    ) {
        let Some(delta) = tables.delta(last, first) else { return };
        let case = Case {
            delta: Some(delta),
            ops: vec![tables.op_index(before), tables.op_index(op)],
            ..tables.case(&[last, first])
        };
        match skip {
            Some(skip) if delta > 1 => {
                let skipped = tables.between(last, first);
                self.cases[skip].push(Case { skipped, ..case });
            }
            _ if delta < 1 => self.cases[nonmonotonic].push(case),
            _ => {}
        }
    }
}
