//! Who owns a partition now, when the members' own words disagree.
//!
//! Mirrors the generation rules of `AbstractStickyAssignor` (KAFKA-12984, KAFKA-13406,
//! KAFKA-14639): the claim of the highest generation counts; equal ones cancel each other.

use std::collections::BTreeMap;

use oncesim_types::{GenerationId, TopicId, TopicPartition};

use super::{GroupMember, subscribes};
use crate::mutation::{Mutation, Mutations};

/// What the members say about one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// This member owns it, by its place in the list.
    Owned(usize),
    /// Several members of one generation say that they own it, or its owner has unsubscribed: who
    /// has it must let go first.
    Disputed,
}

/// The claims on partitions that exist, and whether a planted bug changed one.
pub(super) fn resolve(
    members: &[GroupMember],
    partitions_of: &dyn Fn(TopicId) -> u16,
    mutations: Mutations,
) -> (BTreeMap<TopicPartition, Claim>, bool) {
    let newest_only = mutations.has(Mutation::AssignorNewestGenerationOnly);
    let newest = members.iter().map(|(_, _, subscription)| subscription.generation).max();
    let mut forgotten: Vec<TopicPartition> = Vec::new();
    let mut claims: BTreeMap<TopicPartition, (GenerationId, Claim)> = BTreeMap::new();
    for (place, (_, _, subscription)) in members.iter().enumerate() {
        if newest_only && newest.is_some_and(|newest| subscription.generation < newest) {
            forgotten.extend(&subscription.owned);
            continue;
        }
        for partition in &subscription.owned {
            if partition.partition >= partitions_of(partition.topic) {
                continue;
            }
            let mine = (subscription.generation, Claim::Owned(place));
            match claims.get_mut(partition) {
                None => {
                    claims.insert(*partition, mine);
                }
                Some(other) if other.0 < mine.0 => *other = mine,
                Some(other) if other.0 == mine.0 => other.1 = Claim::Disputed,
                Some(_) => {}
            }
        }
    }
    // An owner that does not want it any more still has to let go.
    for (partition, (_, claim)) in &mut claims {
        if let Claim::Owned(place) = *claim
            && !subscribes(&members[place], partition.topic)
        {
            *claim = Claim::Disputed;
        }
    }
    let hit = forgotten.iter().any(|partition| !claims.contains_key(partition));
    (claims.into_iter().map(|(partition, (_, claim))| (partition, claim)).collect(), hit)
}
