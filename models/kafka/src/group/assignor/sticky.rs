//! As balanced as subscriptions allow, and as little moved as balance allows.
//!
//! Mirrors `StickyAssignor` (KIP-54).
//!
//! Simplifications: one greedy algorithm for equal and for different subscriptions, instead of
//! Kafka's two. Both keep what is owned, then move single partitions from the fullest to the
//! emptiest member; which of several equally good partitions moves is not part of the contract.

use std::collections::BTreeMap;

use oncesim_types::{TopicId, TopicPartition};

use super::claims::Claim;
use super::{GroupMember, order, partitions, subscribes};

pub(super) fn assign(
    members: &[GroupMember],
    claims: &BTreeMap<TopicPartition, Claim>,
    partitions_of: &dyn Fn(TopicId) -> u16,
) -> Vec<Vec<TopicPartition>> {
    let mut owners: Vec<Vec<TopicPartition>> = vec![Vec::new(); members.len()];
    let order = order(members);
    let mut free = Vec::new();
    for partition in partitions(members, partitions_of) {
        match claims.get(&partition) {
            Some(Claim::Owned(place)) => owners[*place].push(partition),
            Some(Claim::Disputed) | None => free.push(partition),
        }
    }
    for partition in free {
        let emptiest = order
            .iter()
            .copied()
            .filter(|place| subscribes(&members[*place], partition.topic))
            .min_by_key(|place| owners[*place].len())
            .expect("a partition is listed because a member subscribes to it");
        owners[emptiest].push(partition);
    }
    while let Some((from, at, to)) = improvement(members, &owners, &order) {
        let partition = owners[from].remove(at);
        owners[to].push(partition);
    }
    owners
}

/// A move from a fuller to an emptier member that brings them closer: from, which, to. Each one
/// lowers the sum of squared loads, so that moves end.
fn improvement(
    members: &[GroupMember],
    owners: &[Vec<TopicPartition>],
    order: &[usize],
) -> Option<(usize, usize, usize)> {
    let mut by_load = order.to_vec();
    by_load.sort_by_key(|place| owners[*place].len());
    for &from in by_load.iter().rev() {
        for &to in &by_load {
            if owners[from].len() < owners[to].len() + 2 {
                break;
            }
            let movable = owners[from]
                .iter()
                .rposition(|partition| subscribes(&members[to], partition.topic));
            if let Some(at) = movable {
                return Some((from, at, to));
            }
        }
    }
    None
}
