//! All partitions of all topics dealt out in turn.
//!
//! Mirrors `RoundRobinAssignor`.

use oncesim_types::{TopicId, TopicPartition};

use super::{GroupMember, order, partitions, subscribes};

pub(super) fn assign(
    members: &[GroupMember],
    partitions_of: &dyn Fn(TopicId) -> u16,
) -> Vec<Vec<TopicPartition>> {
    let mut owners = vec![Vec::new(); members.len()];
    let order = order(members);
    let mut turn = 0;
    for partition in partitions(members, partitions_of) {
        while !subscribes(&members[order[turn % order.len()]], partition.topic) {
            turn += 1;
        }
        owners[order[turn % order.len()]].push(partition);
        turn += 1;
    }
    owners
}
