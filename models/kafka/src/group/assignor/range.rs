//! Each topic by itself, cut into ranges of neighbouring partitions.
//!
//! Mirrors `RangeAssignor` (without racks).

use oncesim_types::{TopicId, TopicPartition};

use super::{GroupMember, order, subscribes, topics};

pub(super) fn assign(
    members: &[GroupMember],
    partitions_of: &dyn Fn(TopicId) -> u16,
) -> Vec<Vec<TopicPartition>> {
    let mut owners = vec![Vec::new(); members.len()];
    let order = order(members);
    for topic in topics(members) {
        let subscribed: Vec<usize> =
            order.iter().copied().filter(|place| subscribes(&members[*place], topic)).collect();
        let count = usize::from(partitions_of(topic));
        let (each, extra) = (count / subscribed.len(), count % subscribed.len());
        let mut next = (0..partitions_of(topic)).map(|p| TopicPartition::new(topic, p));
        for (rank, place) in subscribed.into_iter().enumerate() {
            owners[place].extend(next.by_ref().take(each + usize::from(rank < extra)));
        }
    }
    owners
}
