//! The sticky assignment in two rounds: a partition is taken away in one, and given in the next.
//!
//! Mirrors `CooperativeStickyAssignor.adjustAssignment` (KIP-429).

use std::collections::BTreeMap;

use oncesim_types::{TopicId, TopicPartition};

use super::claims::Claim;
use super::{GroupMember, sticky};

/// What stays, and what is free to be given now: a partition that somebody else owns, or that two
/// members claim with equal right, goes to nobody in this round. Its owners revoke it and rejoin.
pub(super) fn assign(
    members: &[GroupMember],
    claims: &BTreeMap<TopicPartition, Claim>,
    partitions_of: &dyn Fn(TopicId) -> u16,
) -> Vec<Vec<TopicPartition>> {
    let mut owners = sticky::assign(members, claims, partitions_of);
    for (place, owned) in owners.iter_mut().enumerate() {
        owned.retain(|partition| match claims.get(partition) {
            Some(Claim::Owned(owner)) => *owner == place,
            Some(Claim::Disputed) => false,
            None => true,
        });
    }
    owners
}
