use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use oncesim_types::{GenerationId, GroupInstanceId, MemberId, TopicId, TopicPartition};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::{Assignment, GroupMember, assign, assign_with};
use crate::message::{Assignor, Subscription};
use crate::mutation::{Mutation, Mutations};

const ALL: [Assignor; 4] =
    [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky];

fn tp(topic: u16, partition: u16) -> TopicPartition {
    TopicPartition::new(TopicId(topic), partition)
}

fn member(id: u64, topics: &[u16], generation: i32, owned: &[TopicPartition]) -> GroupMember {
    let subscription = Subscription {
        topics: topics.iter().map(|topic| TopicId(*topic)).collect(),
        owned: owned.to_vec(),
        generation: GenerationId(generation),
    };
    (MemberId(id), None, Rc::new(subscription))
}

/// The same members in the next round, owning what they were given.
fn rejoin(members: &[GroupMember], given: &Assignment, generation: i32) -> Vec<GroupMember> {
    (members.iter().zip(given))
        .map(|((id, instance, old), (_, owned))| {
            let topics = old.topics.clone();
            let generation = GenerationId(generation);
            (*id, *instance, Rc::new(Subscription { topics, owned: owned.clone(), generation }))
        })
        .collect()
}

#[test]
fn range_cuts_each_topic_and_round_robin_deals() {
    let members = [member(2, &[0, 1], 0, &[]), member(1, &[0, 1], 0, &[])];
    let three = |_| 3;
    assert_eq!(
        assign(Assignor::Range, &members, &three),
        [
            (MemberId(2), vec![tp(0, 2), tp(1, 2)]),
            (MemberId(1), vec![tp(0, 0), tp(0, 1), tp(1, 0), tp(1, 1)]),
        ]
    );
    assert_eq!(
        assign(Assignor::RoundRobin, &members, &three),
        [
            (MemberId(2), vec![tp(0, 1), tp(1, 0), tp(1, 2)]),
            (MemberId(1), vec![tp(0, 0), tp(0, 2), tp(1, 1)]),
        ]
    );
}

#[test]
fn static_members_keep_their_range_when_their_member_id_changes() {
    let with = |id, instance| {
        let (member, _, subscription) = member(id, &[0], 0, &[]);
        (member, Some(GroupInstanceId(instance)), subscription)
    };
    let before = assign(Assignor::Range, &[with(1, 7), with(2, 8)], &|_| 4);
    let after = assign(Assignor::Range, &[with(9, 7), with(2, 8)], &|_| 4);
    assert_eq!(before[0].1, after[0].1);
}

/// KAFKA-12984: a member that was removed in generation 1 comes back claiming all that it had,
/// while the group has moved on.
#[test]
fn a_claim_of_an_older_generation_does_not_count() {
    let everything = [tp(0, 0), tp(0, 1)];
    let members = [member(1, &[0], 1, &everything), member(2, &[0], 2, &everything)];
    let given = assign(Assignor::CooperativeSticky, &members, &|_| 2);
    assert_eq!(given[0].1, [], "everything is still with member 2, which has to revoke first");
    assert_eq!(given[1].1.len(), 1);
}

/// KAFKA-13406: two members claim the same partition in the same generation.
#[test]
fn equal_claims_cancel_each_other() {
    let members = [member(1, &[0], 5, &[tp(0, 0)]), member(2, &[0], 5, &[tp(0, 0)])];
    let given = assign(Assignor::CooperativeSticky, &members, &|_| 1);
    assert!(given.iter().all(|(_, owned)| owned.is_empty()));
    let eager = assign(Assignor::Sticky, &members, &|_| 1);
    assert_eq!(eager.iter().map(|(_, owned)| owned.len()).sum::<usize>(), 1);
}

/// KAFKA-14639: member 1 missed the sync of generation 2 and still owns what it had in generation
/// 1, although a member of generation 2 exists.
#[test]
fn an_old_claim_that_nobody_contests_is_not_free() {
    let members = [member(1, &[0], 1, &[tp(0, 0), tp(0, 1)]), member(2, &[0], 2, &[])];
    let given = assign(Assignor::CooperativeSticky, &members, &|_| 2);
    assert_eq!(given[0].1.len(), 1);
    assert_eq!(given[1].1, [], "it is given once member 1 has revoked it");
    let next = assign(Assignor::CooperativeSticky, &rejoin(&members, &given, 3), &|_| 2);
    assert_eq!((next[0].1.len(), next[1].1.len()), (1, 1));
    let planted = Mutations::only(Mutation::AssignorNewestGenerationOnly);
    let (given, hit) = assign_with(Assignor::CooperativeSticky, &members, &|_| 2, planted);
    assert!(hit);
    assert_eq!(given[1].1.len(), 1, "planted: member 2 starts on what member 1 still owns");
}

#[derive(Debug, Clone)]
struct Group {
    members: Vec<GroupMember>,
    partitions: Vec<u16>,
}

impl Group {
    fn partitions_of(&self) -> impl Fn(TopicId) -> u16 + '_ {
        |topic| self.partitions.get(usize::from(topic.0)).copied().unwrap_or(0)
    }

    fn wanted(&self) -> BTreeSet<TopicPartition> {
        let topics = self.members.iter().flat_map(|(_, _, s)| s.topics.iter().copied());
        topics
            .flat_map(|t| (0..self.partitions_of()(t)).map(move |p| TopicPartition::new(t, p)))
            .collect()
    }
}

/// Members with any claims at all: stale, overlapping, on partitions that are gone.
fn group(equal_subscriptions: bool) -> impl Strategy<Value = Group> {
    let claims = btree_set((0u16..3, 0u16..8), 0..6);
    let one = (btree_set(0u16..3, 1..=3), 0i32..4, claims, proptest::option::of(0u16..4));
    (vec(one, 1..7), vec(0u16..8, 3)).prop_map(move |(members, partitions)| {
        let first = members[0].0.clone();
        let members = (0..).zip(members).map(|(id, (topics, generation, owned, instance))| {
            let topics = if equal_subscriptions { first.clone() } else { topics };
            let topics: Vec<u16> = topics.into_iter().collect();
            let owned: Vec<_> = owned.into_iter().map(|(t, p)| tp(t, p)).collect();
            let (id, _, subscription) = member(id, &topics, generation, &owned);
            let instance = instance.map(|_| GroupInstanceId(u16::try_from(id.0).unwrap()));
            (id, instance, subscription)
        });
        Group { members: members.collect(), partitions }
    })
}

fn loads(given: &Assignment) -> (usize, usize) {
    let loads = || given.iter().map(|(_, owned)| owned.len());
    (loads().min().unwrap(), loads().max().unwrap())
}

proptest! {
    #[test]
    fn every_partition_has_exactly_one_owner_that_wants_it(group in group(false)) {
        for assignor in ALL {
            let given = assign(assignor, &group.members, &group.partitions_of());
            let mut seen = BTreeSet::new();
            for ((id, owned), member) in given.iter().zip(&group.members) {
                prop_assert_eq!(*id, member.0);
                for partition in owned {
                    prop_assert!(member.2.topics.contains(&partition.topic));
                    prop_assert!(seen.insert(*partition), "{assignor:?}: two owners");
                }
            }
            if assignor == Assignor::CooperativeSticky {
                prop_assert!(seen.is_subset(&group.wanted()));
            } else {
                prop_assert_eq!(&seen, &group.wanted());
            }
        }
    }

    #[test]
    fn equal_subscriptions_are_balanced(group in group(true)) {
        for assignor in [Assignor::RoundRobin, Assignor::Sticky] {
            let (min, max) = loads(&assign(assignor, &group.members, &group.partitions_of()));
            prop_assert!(max - min <= 1, "{assignor:?}: {min} and {max}");
        }
        let given = assign(Assignor::Range, &group.members, &group.partitions_of());
        for topic in &group.members[0].2.topics {
            let of_topic = |owned: &[TopicPartition]| {
                owned.iter().filter(|partition| partition.topic == *topic).count()
            };
            let counts: Vec<usize> = given.iter().map(|(_, owned)| of_topic(owned)).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_balanced_assignment_sticks_and_a_leaver_moves_only_what_it_had(group in group(true)) {
        let first = assign(Assignor::Sticky, &group.members, &group.partitions_of());
        let members = rejoin(&group.members, &first, 9);
        let again = assign(Assignor::Sticky, &members, &group.partitions_of());
        prop_assert_eq!(&again, &first);
        if members.len() > 1 {
            let rest = assign(Assignor::Sticky, &members[1..], &group.partitions_of());
            for ((_, before), (_, after)) in first[1..].iter().zip(&rest) {
                prop_assert!(before.iter().all(|partition| after.contains(partition)));
            }
        }
    }

    #[test]
    fn cooperative_gives_nothing_that_its_current_owner_has_not_released(group in group(false)) {
        let given = assign(Assignor::CooperativeSticky, &group.members, &group.partitions_of());
        let mut newest: BTreeMap<TopicPartition, GenerationId> = BTreeMap::new();
        for (_, _, subscription) in &group.members {
            for partition in &subscription.owned {
                let generation = newest.entry(*partition).or_insert(subscription.generation);
                *generation = subscription.generation.max(*generation);
            }
        }
        for ((id, owned), _) in given.iter().zip(&group.members) {
            for partition in owned {
                let Some(generation) = newest.get(partition) else { continue };
                let current: Vec<MemberId> = group
                    .members
                    .iter()
                    .filter(|(_, _, s)| s.generation == *generation && s.owned.contains(partition))
                    .map(|(id, ..)| *id)
                    .collect();
                prop_assert_eq!(&current[..], &[*id][..]);
            }
        }
    }

    #[test]
    fn cooperative_rounds_end_complete(group in group(false)) {
        let mut members = group.members.clone();
        for generation in 10..16 {
            let given = assign(Assignor::CooperativeSticky, &members, &group.partitions_of());
            members = rejoin(&members, &given, generation);
        }
        let owned: BTreeSet<_> = members.iter().flat_map(|(_, _, s)| s.owned.clone()).collect();
        prop_assert_eq!(owned, group.wanted());
    }
}
