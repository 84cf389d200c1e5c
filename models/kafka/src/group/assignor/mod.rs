//! Assignors: pure functions from a group's members to who gets which partition, computed by the
//! group's leader.
//!
//! Mirrors `ConsumerPartitionAssignor` and its four implementations in `clients`.
//!
//! Simplifications: no racks (KIP-881) and no user data: a member's owned partitions and generation
//! travel in its subscription (version 2 and later), where Kafka's sticky assignor reads them too.

mod claims;
mod cooperative_sticky;
mod range;
mod round_robin;
mod sticky;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use oncesim_types::{GroupInstanceId, MemberId, TopicId, TopicPartition};

use crate::message::{Assignor, Subscription};
use crate::mutation::Mutations;

/// A member as the group's leader sees it.
pub type GroupMember = (MemberId, Option<GroupInstanceId>, Rc<Subscription>);

/// Each member's partitions, sorted.
pub type Assignment = Vec<(MemberId, Vec<TopicPartition>)>;

/// Assigns every partition of the subscribed topics. `partitions_of` is how many partitions a topic
/// has (0 when it is unknown). Every member appears once in the answer, in the order given.
#[must_use]
pub fn assign(
    assignor: Assignor,
    members: &[GroupMember],
    partitions_of: &dyn Fn(TopicId) -> u16,
) -> Assignment {
    assign_with(assignor, members, partitions_of, Mutations::NONE).0
}

/// [`assign`] with planted bugs; also says whether one of them changed the answer.
#[must_use]
pub fn assign_with(
    assignor: Assignor,
    members: &[GroupMember],
    partitions_of: &dyn Fn(TopicId) -> u16,
    mutations: Mutations,
) -> (Assignment, bool) {
    let mut hit = false;
    let mut owners = match assignor {
        Assignor::Range => range::assign(members, partitions_of),
        Assignor::RoundRobin => round_robin::assign(members, partitions_of),
        Assignor::Sticky => {
            let (claims, changed) = claims::resolve(members, partitions_of, mutations);
            hit = changed;
            sticky::assign(members, &claims, partitions_of)
        }
        Assignor::CooperativeSticky => {
            let (claims, changed) = claims::resolve(members, partitions_of, mutations);
            hit = changed;
            cooperative_sticky::assign(members, &claims, partitions_of)
        }
    };
    for owned in &mut owners {
        owned.sort_unstable();
    }
    (members.iter().map(|(member, ..)| *member).zip(owners).collect(), hit)
}

/// Every topic that somebody subscribes to, sorted.
fn topics(members: &[GroupMember]) -> Vec<TopicId> {
    let mut topics: Vec<TopicId> = members
        .iter()
        .flat_map(|(_, _, subscription)| subscription.topics.iter().copied())
        .collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// Every partition that somebody subscribes to, sorted.
fn partitions(
    members: &[GroupMember],
    partitions_of: &dyn Fn(TopicId) -> u16,
) -> Vec<TopicPartition> {
    let all = topics(members).into_iter();
    all.flat_map(|topic| (0..partitions_of(topic)).map(move |p| TopicPartition::new(topic, p)))
        .collect()
}

/// The members' places in the order of assignment (`MemberInfo.compareTo`): static members first,
/// by instance id, then dynamic ones, by member id.
fn order(members: &[GroupMember]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..members.len()).collect();
    places.sort_by_key(|place| {
        let (member, instance, _) = &members[*place];
        (instance.is_none(), *instance, *member)
    });
    places
}

fn subscribes(member: &GroupMember, topic: TopicId) -> bool {
    member.2.topics.contains(&topic)
}
