//! Which partition of `__consumer_offsets` a group belongs to.
//!
//! Mirrors `GroupCoordinatorService.partitionFor`.
//!
//! Simplifications: only the partitions that groups of the scenario map to exist, and groups are
//! spread over them by their number instead of by the hash of their name. Partitions without groups
//! carry no traffic, and no rule depends on which partition a group has.

use oncesim_types::GroupId;

/// The partition of `group` when `partitions` (not 0) exist.
#[must_use]
pub fn coordinator_partition(group: GroupId, partitions: u16) -> u16 {
    group.0 % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_spread_over_the_partitions_that_exist() {
        let spread: Vec<u16> = (0..5).map(|n| coordinator_partition(GroupId(n), 3)).collect();
        assert_eq!(spread, [0, 1, 2, 0, 1]);
    }
}
