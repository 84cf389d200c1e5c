//! Cycles of dependencies between operations, by their existence.
//!
//! An operation depends on another if it read what that wrote (wr), wrote what follows what that
//! wrote (ww), or began after that had completed (real time). Real time is a chain of barriers, one
//! per completion, so that its edges are as many as the operations. A cycle exists where a strongly
//! connected component has more than one node.

use oncesim_history::jepsen::{Mop, OpType};

use super::Case;
use super::orders::{NONE, Tables, number};
use super::scc::Graph;

type Edges = Vec<(u32, u32)>;

/// The kinds of cycles that a history has, with the operations of each component; or the read of a
/// record that nobody wrote.
#[expect(clippy::result_large_err, reason = "at most one case per history")]
pub(super) fn find(
    tables: &Tables<'_>,
    ww_deps: bool,
) -> Result<Vec<(&'static str, Vec<Case>)>, Case> {
    let wr = reads(tables)?;
    let ww = if ww_deps { writes(tables)? } else { Edges::new() };
    let (real_time, linked, nodes) = barriers(tables);
    if wr.is_empty() && ww.is_empty() && !linked {
        return Ok(vec![("empty-transaction-graph", vec![Case::default()])]);
    }
    let mut found = Found { tables, nodes, explained: vec![false; nodes as usize], kinds: vec![] };
    found.pass("G0", &[&ww], &ww);
    found.pass("G1c", &[&ww, &wr], &wr);
    found.pass("G0-realtime", &[&ww, &real_time], &ww);
    found.pass("G1c-realtime", &[&ww, &wr, &real_time], &wr);
    Ok(found.kinds)
}

struct Found<'t> {
    tables: &'t Tables<'t>,
    nodes: u32,
    /// Nodes of cycles that were found with fewer kinds of edges.
    explained: Vec<bool>,
    kinds: Vec<(&'static str, Vec<Case>)>,
}

impl Found<'_> {
    /// Components of these edges that have an edge of `needed` inside, and no simpler cycle.
    fn pass(&mut self, id: &'static str, edges: &[&[(u32, u32)]], needed: &[(u32, u32)]) {
        if needed.is_empty() {
            return;
        }
        let component = Graph::of(self.nodes, edges).components();
        let mut cyclic = vec![false; self.nodes as usize];
        for (from, to) in needed {
            let (from, to) = (component[*from as usize], component[*to as usize]);
            cyclic[from as usize] |= from == to;
        }
        for (node, explained) in self.explained.iter().enumerate() {
            if *explained {
                cyclic[component[node] as usize] = false;
            }
        }
        let ops = number(self.tables.history.ops.len());
        let mut members: Vec<(u32, u32)> = (0..ops)
            .map(|node| (component[node as usize], node))
            .filter(|(c, _)| cyclic[*c as usize])
            .collect();
        members.sort_unstable();
        let mut cases = Vec::new();
        for members in members.chunk_by(|a, b| a.0 == b.0) {
            let ops = members.iter().map(|(_, node)| self.tables.op_index(*node)).collect();
            cases.push(Case { ops, ..Case::default() });
            members.iter().for_each(|(_, node)| self.explained[*node as usize] = true);
        }
        if !cases.is_empty() {
            self.kinds.push((id, cases));
        }
    }
}

fn no_writer(tables: &Tables<'_>, record: u32) -> Case {
    tables.case(&[record])
}

/// From the writer of each record to each of its readers.
#[expect(clippy::result_large_err, reason = "at most one case per history")]
fn reads(tables: &Tables<'_>) -> Result<Edges, Case> {
    let mut edges = Edges::new();
    for (reader, op) in tables.completions() {
        for mop in tables.history.mops(op) {
            let Mop::Poll(span) = mop else { continue };
            for polled in tables.history.polled(*span) {
                let writer = tables.writer[polled.record as usize];
                if writer == NONE {
                    return Err(no_writer(tables, polled.record));
                }
                if writer != reader && edges.last() != Some(&(writer, reader)) {
                    edges.push((writer, reader));
                }
            }
        }
    }
    Ok(edges)
}

/// From the writer of each record to the writer of the next one of its key.
#[expect(clippy::result_large_err, reason = "at most one case per history")]
fn writes(tables: &Tables<'_>) -> Result<Edges, Case> {
    let mut edges = Edges::new();
    for order in &tables.orders {
        for index in 1..order.len() {
            let pair = [order.by_index(index - 1), order.by_index(index)];
            let [from, to] = pair.map(|record| tables.writer[record as usize]);
            if from == NONE || to == NONE {
                return Err(no_writer(tables, pair[usize::from(from != NONE)]));
            }
            if from != to {
                edges.push((from, to));
            }
        }
    }
    Ok(edges)
}

/// From each ok completion to a barrier, from barrier to barrier, and from the last barrier to the
/// completion of what begins; whether any operation follows another; and the number of nodes.
fn barriers(tables: &Tables<'_>) -> (Edges, bool, u32) {
    let history = tables.history;
    let mut edges = Edges::new();
    let mut nodes = number(history.ops.len());
    let (mut barrier, mut linked) = (NONE, false);
    let mut begun: std::collections::BTreeMap<i64, u32> = std::collections::BTreeMap::new();
    let data = (0u32..).zip(&history.ops).filter(|(_, op)| op.kind.is_data());
    for (position, op) in data {
        match op.ty {
            OpType::Invoke => {
                begun.insert(op.process, barrier);
                continue;
            }
            OpType::Ok | OpType::Info => {
                if let Some(since) = begun.remove(&op.process).filter(|since| *since != NONE) {
                    edges.push((since, position));
                    linked = true;
                }
            }
            OpType::Fail => {}
        }
        if op.ty == OpType::Ok {
            edges.push((position, nodes));
            if barrier != NONE {
                edges.push((barrier, nodes));
            }
            barrier = nodes;
            nodes += 1;
        }
    }
    (edges, linked, nodes)
}
