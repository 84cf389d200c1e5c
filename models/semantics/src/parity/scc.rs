//! Strongly connected components of a graph with millions of nodes: Tarjan's algorithm with a stack
//! of its own, since recursion as deep as a history is long would overflow the thread's.

/// Edges, grouped by where they begin.
#[derive(Debug)]
pub(crate) struct Graph {
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Graph {
    /// The graph of `nodes` nodes with these edges.
    pub(crate) fn of(nodes: u32, edges: &[&[(u32, u32)]]) -> Graph {
        let mut starts = vec![0u32; nodes as usize + 1];
        let all = || edges.iter().copied().flatten();
        for (from, _) in all() {
            starts[*from as usize + 1] += 1;
        }
        for node in 0..nodes as usize {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut targets = vec![0u32; starts[nodes as usize] as usize];
        for (from, to) in all() {
            let place = &mut next[*from as usize];
            targets[*place as usize] = *to;
            *place += 1;
        }
        Graph { starts, targets }
    }

    fn edge(&self, node: u32, nth: u32) -> Option<u32> {
        let place = self.starts[node as usize] + nth;
        (place < self.starts[node as usize + 1]).then(|| self.targets[place as usize])
    }

    /// The component of each node; nodes share a number if and only if each can reach the other.
    pub(crate) fn components(&self) -> Vec<u32> {
        const NEW: u32 = u32::MAX;
        let nodes = self.starts.len() - 1;
        let mut component = vec![NEW; nodes];
        let mut order = vec![NEW; nodes];
        let mut low = vec![0u32; nodes];
        let mut open: Vec<u32> = Vec::new();
        let mut path: Vec<(u32, u32)> = Vec::new();
        let (mut visited, mut found) = (0u32, 0u32);
        for root in 0..super::orders::number(nodes) {
            if order[root as usize] != NEW {
                continue;
            }
            path.push((root, 0));
            while let Some((node, nth)) = path.last_mut() {
                let here = *node as usize;
                if *nth == 0 && order[here] == NEW {
                    (order[here], low[here]) = (visited, visited);
                    visited += 1;
                    open.push(*node);
                }
                if let Some(target) = self.edge(*node, *nth) {
                    *nth += 1;
                    let there = target as usize;
                    if order[there] == NEW {
                        path.push((target, 0));
                    } else if component[there] == NEW {
                        low[here] = low[here].min(order[there]);
                    }
                    continue;
                }
                let node = *node;
                path.pop();
                if low[here] == order[here] {
                    while let Some(member) = open.pop() {
                        component[member as usize] = found;
                        if member == node {
                            break;
                        }
                    }
                    found += 1;
                }
                if let Some((parent, _)) = path.last() {
                    let parent = *parent as usize;
                    low[parent] = low[parent].min(low[here]);
                }
            }
        }
        component
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_cycles() {
        let edges = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 5), (5, 4)];
        let c = Graph::of(6, &[&edges]).components();
        assert!(c[0] == c[1] && c[1] == c[2]);
        assert!(c[4] == c[5] && c[3] != c[4] && c[3] != c[2]);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let edges: Vec<(u32, u32)> = (0..1_000_000).map(|n| (n, n + 1)).collect();
        let c = Graph::of(1_000_001, &[&edges, &[(1_000_000, 0)]]).components();
        assert!(c.iter().all(|c| *c == 0));
    }
}
