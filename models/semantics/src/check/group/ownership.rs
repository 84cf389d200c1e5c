//! Who owns what: `double-ownership`, `zombie-ownership`, `unowned-partition`,
//! `illegal-assignment`, `generation-regress` and `revoke-without-commit-window`, from the coordinator's assignments and from what
//! the members believe.

use oncesim_history::{SpanIndex, WorldEvent};
use oncesim_types::{ActorId, GroupId, MemberId, TopicPartition};

use crate::anomaly::{AnomalyClass, Severity};
use crate::catalogue::group::{
    DOUBLE_OWNERSHIP, GENERATION_REGRESS, ILLEGAL_ASSIGNMENT, REVOKE_WITHOUT_COMMIT_WINDOW,
    UNOWNED_PARTITION, ZOMBIE_OWNERSHIP,
};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, time_of};
use crate::check::index::NONE;

/// A member that believes that it owns a partition.
#[derive(Debug, Clone, Copy)]
struct Owner {
    actor: ActorId,
    incarnation: u32,
    generation: i32,
    since: u32,
}

#[derive(Debug, Default)]
struct Group {
    /// By partition row.
    owners: Vec<Option<Owner>>,
    /// By partition row: the last assignment that names it, and to whom.
    assigned: Vec<(u32, MemberId)>,
    /// The coordinator's last generation, its event, and whether anybody has a partition.
    generation: Option<(i32, u32, bool)>,
    /// Who has a partition in it.
    members: Vec<MemberId>,
    /// The highest epoch of a coordinator.
    epoch: i32,
}

/// The process of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    incarnation: u32,
    alive: bool,
    /// The last generation that it was told, and by which member id.
    generation: i32,
    member: MemberId,
}

/// Ownership in all groups.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    groups: Vec<Group>,
    processes: Vec<Process>,
    /// How many assignments members got.
    pub(crate) assignments: u64,
    /// How many rebalances coordinators completed.
    pub(crate) generations: u64,
}

/// An assignment as a member sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assigned {
    pub(crate) group: GroupId,
    pub(crate) member: MemberId,
    pub(crate) generation: i32,
    pub(crate) added: SpanIndex,
    pub(crate) owned: SpanIndex,
}

impl Ownership {
    fn group(&mut self, context: &Context<'_>, group: GroupId) -> &mut Group {
        let row = usize::from(group.0);
        if self.groups.len() <= row {
            self.groups.resize_with(row + 1, Group::default);
        }
        let group = &mut self.groups[row];
        if group.owners.is_empty() {
            group.owners.resize(context.index.partitions.len(), None);
            group.assigned.resize(context.index.partitions.len(), (NONE, MemberId(0)));
        }
        group
    }

    fn process(&mut self, actor: ActorId, incarnation: u32) -> &mut Process {
        let row = usize::from(actor.0);
        let new = Process { incarnation, alive: true, generation: -1, member: MemberId(0) };
        if self.processes.len() <= row {
            self.processes.resize(row + 1, Process { alive: false, ..new });
        }
        let process = &mut self.processes[row];
        if process.incarnation != incarnation || process.generation == -1 {
            *process = new;
        }
        process
    }

    /// A process ended.
    pub(crate) fn on_gone(&mut self, actor: ActorId) {
        if let Some(process) = self.processes.get_mut(usize::from(actor.0)) {
            process.alive = false;
        }
    }

    /// `onPartitionsAssigned`.
    pub(crate) fn on_assigned(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        assigned: Assigned,
    ) {
        self.assignments += 1;
        let event = &context.history.events[position as usize];
        let process = self.process(event.actor, event.incarnation);
        let Assigned { group, member, generation, added, owned } = assigned;
        if process.member == member && generation < process.generation {
            let before = process.generation;
            regress(context, findings, group, position, before, generation);
        }
        process.member = member;
        process.generation = generation;
        for partition in context.history.partitions(owned) {
            if !subscribed(context, group, *partition) {
                let what = "of a topic that its group does not consume";
                misassigned(context, findings, &ILLEGAL_ASSIGNMENT, position, *partition, what);
            }
        }
        let added = context.history.partitions(added);
        for (at, partition) in added.iter().enumerate() {
            if added.len() < 64 && added[..at].contains(partition) {
                let what = "twice";
                misassigned(context, findings, &ILLEGAL_ASSIGNMENT, position, *partition, what);
            }
        }
        for partition in added {
            let Some(p) = context.index.partition(*partition) else { continue };
            let now = Owner {
                actor: event.actor,
                incarnation: event.incarnation,
                generation,
                since: position,
            };
            let Some(other) = self.group(context, group).owners[p as usize].replace(now) else {
                continue;
            };
            if other.actor != event.actor && self.believes(other) {
                let process = self.processes[usize::from(other.actor.0)];
                let current = process.generation;
                // A member of this generation that has not heard of it yet has not let go either.
                let state = self.group(context, group);
                let waits = current < generation
                    && state.generation.is_some_and(|(newest, ..)| newest == generation)
                    && state.members.contains(&process.member);
                overlap(context, findings, *partition, (other, current, waits), now);
                if current > generation {
                    // Who was told last is the owner; the other one is late.
                    self.group(context, group).owners[p as usize] = Some(other);
                }
            }
        }
    }

    /// Whether the process that got a partition is still there.
    fn believes(&self, owner: Owner) -> bool {
        let process = &self.processes[usize::from(owner.actor.0)];
        process.alive && process.incarnation == owner.incarnation
    }

    /// `onPartitionsRevoked` or `onPartitionsLost`.
    pub(crate) fn on_revoked(
        &mut self,
        context: &Context<'_>,
        actor: ActorId,
        group: GroupId,
        partitions: SpanIndex,
    ) {
        for partition in context.history.partitions(partitions) {
            if let Some(p) = context.index.partition(*partition) {
                let owner = &mut self.group(context, group).owners[p as usize];
                if owner.is_some_and(|owner| owner.actor == actor) {
                    *owner = None;
                }
            }
        }
    }

    /// A coordinator completed a rebalance.
    pub(crate) fn on_generation(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &WorldEvent,
    ) {
        let WorldEvent::Generation {
            group,
            generation,
            assignment,
            cooperative,
            coordinator_epoch,
        } = event
        else {
            return;
        };
        self.generations += 1;
        let assignment = context.history.assignment(*assignment);
        let early = if *cooperative {
            self.given_early(context, *group, generation.0, assignment)
        } else {
            Vec::new()
        };
        let state = self.group(context, *group);
        if coordinator_epoch.0 < state.epoch {
            // It was deposed since, and learns only now that its generation was stored.
            return;
        }
        state.epoch = coordinator_epoch.0;
        for (partition, owner) in early {
            window(context, findings, position, *group, partition, owner);
        }
        let before = state.generation.replace((generation.0, position, !assignment.is_empty()));
        state.members = assignment.iter().map(|(member, _)| *member).collect();
        if let Some((last, ..)) = before
            && generation.0 < last
        {
            regress(context, findings, *group, position, last, generation.0);
        }
        for (member, partition) in assignment {
            let Some(p) = context.index.partition(*partition) else { continue };
            let (at, other) =
                std::mem::replace(&mut state.assigned[p as usize], (position, *member));
            if at == position {
                let (class, what): (&'static AnomalyClass, _) = if other == *member {
                    (&ILLEGAL_ASSIGNMENT, "to one member twice")
                } else {
                    (&DOUBLE_OWNERSHIP, "to two members in one generation")
                };
                misassigned(context, findings, class, position, *partition, what);
            }
            if !subscribed(context, *group, *partition) {
                let what = "although the group does not consume its topic";
                misassigned(context, findings, &ILLEGAL_ASSIGNMENT, position, *partition, what);
            }
        }
    }

    /// Partitions that a cooperative generation gives to somebody else while a member of it, which
    /// has followed up to the generation before, has not given them back.
    fn given_early(
        &mut self,
        context: &Context<'_>,
        group: GroupId,
        generation: i32,
        assignment: &[(MemberId, TopicPartition)],
    ) -> Vec<(TopicPartition, Owner)> {
        let mut early = Vec::new();
        for (member, partition) in assignment {
            let Some(p) = context.index.partition(*partition) else { continue };
            let Some(owner) = self.group(context, group).owners[p as usize] else { continue };
            let process = self.processes[usize::from(owner.actor.0)];
            if self.believes(owner)
                && process.member != *member
                && process.generation == generation - 1
                && assignment.iter().any(|(member, _)| *member == process.member)
            {
                early.push((*partition, owner));
            }
        }
        early
    }

    /// Reports partitions that the last assignment of a group at rest forgot.
    pub(crate) fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        if !context.setting.settled {
            return;
        }
        for (group, info) in self.groups.iter().zip(&context.history.groups) {
            let Some((generation, position, true)) = group.generation else { continue };
            for p in info.topics.iter().flat_map(|topic| context.index.topic(*topic)) {
                if group.assigned[p as usize].0 != position {
                    let partition = context.index.partitions[p as usize];
                    findings.add(&UNOWNED_PARTITION, Severity::Always, || {
                        let sentence = format!(
                            "generation {generation} of group {}, its last, assigns {} to nobody",
                            info.name,
                            context.history.partition_name(partition),
                        );
                        Proof::new(context.history, sentence)
                            .at(partition, &[])
                            .events(&[position])
                            .done()
                    });
                }
            }
        }
    }
}

/// A member got a partition that another, which is in generation `current`, has not given back.
///
/// In one and the same generation both are owners. In different ones the member of the older
/// generation has not heard yet that it is out of the group: a zombie, whichever of the two acts
/// first. A member that sleeps between the coordinator's answer and its callback is one as well.
fn overlap(
    context: &Context<'_>,
    findings: &mut Findings,
    partition: TopicPartition,
    (other, current, waits): (Owner, i32, bool),
    now: Owner,
) {
    let (class, severity): (&'static AnomalyClass, Severity) = if current == now.generation {
        (&DOUBLE_OWNERSHIP, Severity::Always)
    } else if waits {
        // A history does not tell it from a static member that slept through the rebalance and is
        // kept in the group all the same: a zombie.
        (&DOUBLE_OWNERSHIP, Severity::Informative)
    } else {
        (&ZOMBIE_OWNERSHIP, Severity::Informative)
    };
    findings.add(class, severity, || {
        let history = context.history;
        let sentence = format!(
            "{} was assigned {} at {} in generation {}, while {} still owned it in generation \
             {current}",
            history.actor_name(now.actor),
            history.partition_name(partition),
            time_of(history, now.since),
            now.generation,
            history.actor_name(other.actor),
        );
        Proof::new(history, sentence).at(partition, &[]).events(&[other.since, now.since]).done()
    });
}

/// `revoke-without-commit-window`.
fn window(
    context: &Context<'_>,
    findings: &mut Findings,
    position: u32,
    group: GroupId,
    partition: TopicPartition,
    owner: Owner,
) {
    // A history does not tell it from a static member that slept through the rebalance and is kept
    // in the group all the same.
    findings.add(&REVOKE_WITHOUT_COMMIT_WINDOW, Severity::Informative, || {
        let history = context.history;
        let sentence = format!(
            "group {} gave {} to another member at {}, while {}, which had got it at {} and stays \
             in the group, had not given it back",
            history.group_name(group),
            history.partition_name(partition),
            time_of(history, position),
            history.actor_name(owner.actor),
            time_of(history, owner.since),
        );
        Proof::new(history, sentence).at(partition, &[]).events(&[owner.since, position]).done()
    });
}

fn subscribed(context: &Context<'_>, group: GroupId, partition: TopicPartition) -> bool {
    let info = context.history.groups.get(usize::from(group.0));
    info.is_none_or(|info| info.topics.is_empty() || info.topics.contains(&partition.topic))
}

fn regress(
    context: &Context<'_>,
    findings: &mut Findings,
    group: GroupId,
    position: u32,
    before: i32,
    now: i32,
) {
    findings.add(&GENERATION_REGRESS, context.setting.group_severity(), || {
        let sentence = format!(
            "group {} went from generation {before} back to {now} at {}",
            context.history.group_name(group),
            time_of(context.history, position),
        );
        Proof::new(context.history, sentence).events(&[position]).done()
    });
}

fn misassigned(
    context: &Context<'_>,
    findings: &mut Findings,
    class: &'static AnomalyClass,
    position: u32,
    partition: TopicPartition,
    what: &str,
) {
    findings.add(class, Severity::Always, || {
        let sentence = format!(
            "{} was assigned at {} {what}",
            context.history.partition_name(partition),
            time_of(context.history, position),
        );
        Proof::new(context.history, sentence).at(partition, &[]).events(&[position]).done()
    });
}
