//! What has to do with an anomaly, and how much: a weight for each event of the history that is
//! about its subject.
//!
//! The weights order what is left out when a chain would be too long. They are judgement: what an
//! engineer would point at first. 100 is the witness; from 85 on turning points (a refusal, a
//! timeout, a takeover); from 70 on what the records themselves went through; below 60 setting.

use std::collections::{BTreeMap, BTreeSet};

use oncesim_history::{
    ActorRole, ClientKind, Event, EventKind, ExternalEvent, History, Outcome as CallOutcome,
    WorldEvent,
};
use oncesim_types::{ActorId, CallId, Offset, TopicPartition};

use super::subject::{Subject, record_of};

/// The weight of what the witness names.
pub(super) const WITNESS: u8 = 100;
/// The weight of a fault that the failure needs.
pub(super) const NEEDED_FAULT: u8 = 98;
/// The weight of a message that was lost.
pub(super) const LOST: u8 = 88;

/// Events by position, with their weights.
pub(super) type Weights = BTreeMap<u32, u8>;

/// What is known beside the history.
pub(super) struct Known<'a> {
    pub(super) history: &'a History,
    pub(super) subject: &'a Subject,
    /// Faults that the failure needs, by their number in the plan.
    pub(super) needed: &'a BTreeSet<u32>,
    /// The first actor of each actor's process.
    pub(super) processes: &'a [ActorId],
    /// Positions of events at which other faults struck or ended, and what they did.
    pub(super) unneeded: &'a BTreeSet<u32>,
    /// Processes that such a fault has made.
    pub(super) others_processes: &'a BTreeSet<(ActorId, u32)>,
    pub(super) witness: &'a [u32],
}

/// Weighs every event that has to do with the anomaly, up to the end of its witness.
pub(super) fn weigh(known: &Known<'_>) -> Weights {
    let mut scales = Scales::new(known);
    let last = known.witness.last().copied().unwrap_or(u32::MAX);
    for (position, event) in (0..).zip(&known.history.events) {
        if position > last {
            break;
        }
        if let Some(weight) = scales.event(position, event) {
            scales.weights.insert(position, weight);
        }
    }
    scales.commits();
    let mut weights = scales.weights;
    weights.extend(known.witness.iter().map(|position| (*position, WITNESS)));
    let from = beginning(known, &weights);
    weights.retain(|position, weight| *position >= from || *weight == WITNESS);
    weights
}

/// Where the story begins: with the first event of its records, its transactions, the witness, or a
/// fault that it needs.
fn beginning(known: &Known<'_>, weights: &Weights) -> u32 {
    let direct = |(position, weight): (&u32, &u8)| {
        let event = &known.history.events[*position as usize];
        let own = match &event.kind {
            EventKind::Client(
                ClientKind::SendInvoke { .. }
                | ClientKind::Emitted { .. }
                | ClientKind::Processed { .. }
                | ClientKind::PollEnd { .. }
                | ClientKind::TransactionBegin { .. },
            )
            | EventKind::External(_) => *weight >= 60,
            _ => *weight >= NEEDED_FAULT,
        };
        own.then_some(*position)
    };
    weights.iter().filter_map(direct).min().unwrap_or(0)
}

/// What weighing remembers.
struct Scales<'a> {
    known: &'a Known<'a>,
    weights: Weights,
    /// Calls whose ends belong to the story.
    calls: BTreeSet<(ActorId, u32, CallId)>,
    /// Who led each partition last.
    leaders: BTreeMap<TopicPartition, Option<ActorId>>,
    /// Partitions whose high watermark has passed the subject.
    passed: BTreeSet<(TopicPartition, ActorId)>,
    /// Brokers that lead or led partitions of the subject.
    hosts: BTreeSet<ActorId>,
    /// Sends of the subject's records that have not ended, by producer.
    in_flight: BTreeMap<ActorId, u32>,
    /// In which step each of them was tried again last.
    retried: BTreeSet<(ActorId, oncesim_types::Instant)>,
    /// Commits of the subject's partitions: position, partition, offset.
    committed: Vec<(u32, TopicPartition, Offset)>,
}

impl<'a> Scales<'a> {
    fn new(known: &'a Known<'a>) -> Self {
        Scales {
            known,
            weights: Weights::new(),
            calls: BTreeSet::new(),
            leaders: BTreeMap::new(),
            passed: BTreeSet::new(),
            hosts: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            retried: BTreeSet::new(),
            committed: Vec::new(),
        }
    }

    fn mine(&self, partition: TopicPartition) -> bool {
        self.known.subject.partitions.contains(&partition)
    }

    fn takes_part(&self, actor: ActorId) -> bool {
        self.known.subject.actors.contains(&actor)
    }

    fn event(&mut self, position: u32, event: &Event) -> Option<u8> {
        match &event.kind {
            EventKind::Client(kind) => self.client(position, event, kind),
            EventKind::World(kind) => self.world(position, event, kind),
            EventKind::External(kind) => self.external(event, kind),
        }
    }

    fn call(&mut self, event: &Event, call: CallId) {
        self.calls.insert((event.actor, event.incarnation, call));
    }

    fn ends(&self, event: &Event, call: CallId) -> bool {
        self.calls.contains(&(event.actor, event.incarnation, call))
    }

    fn client(&mut self, position: u32, event: &Event, kind: &ClientKind) -> Option<u8> {
        let history = self.known.history;
        let subject = self.known.subject;
        let auditor = matches!(
            history.actors.get(usize::from(event.actor.0)).map(|info| &info.role),
            Some(ActorRole::Auditor)
        );
        if auditor {
            return None; // what it read counts where the witness names it
        }
        match kind {
            ClientKind::SendInvoke { record, attempt, .. } => {
                if !subject.records.contains(record) {
                    return None;
                }
                *self.in_flight.entry(event.actor).or_default() += 1;
                Some(if *attempt > 1 { 86 } else { 80 })
            }
            ClientKind::SendEnd { record, outcome, .. } => {
                if !subject.records.contains(record) {
                    return None;
                }
                if let Some(sends) = self.in_flight.get_mut(&event.actor) {
                    *sends = sends.saturating_sub(1);
                }
                Some(if *outcome == CallOutcome::Ok { 80 } else { 84 })
            }
            ClientKind::Processed { record, .. } => subject.records.contains(record).then_some(84),
            ClientKind::Emitted { record, .. } => subject.records.contains(record).then_some(70),
            ClientKind::PollEnd { records, group } => {
                let got = history.polled(*records).iter();
                let mine = got.clone().any(|polled| {
                    subject.offsets.contains(&(polled.partition, polled.offset))
                        || subject.records.contains(&polled.record)
                });
                let weight =
                    if group.is_some_and(|it| subject.groups.contains(&it)) { 66 } else { 30 };
                mine.then_some(weight)
            }
            ClientKind::Assigned { group, added, .. } => {
                let touches = history.partitions(*added).iter().any(|it| self.mine(*it));
                (subject.groups.contains(group) && touches).then_some(74)
            }
            ClientKind::Revoked { group, partitions } | ClientKind::Lost { group, partitions } => {
                let touches = history.partitions(*partitions).iter().any(|it| self.mine(*it));
                (subject.groups.contains(group) && touches).then_some(74)
            }
            ClientKind::CommitInvoke { call, group, offsets, .. } => {
                let entries = history.commits(*offsets);
                let entry = entries.iter().find(|entry| self.mine(entry.partition));
                let entry = entry.filter(|_| subject.groups.contains(group))?;
                self.committed.push((position, entry.partition, entry.offset));
                self.call(event, *call);
                None // which of them matter is known at the end
            }
            ClientKind::CommitEnd { call, outcome } => {
                (*outcome != CallOutcome::Ok && self.ends(event, *call)).then_some(78)
            }
            ClientKind::PositionReset { group, partition, .. } => {
                let group = group.is_some_and(|group| subject.groups.contains(&group));
                (group && self.mine(*partition)).then_some(75)
            }
            ClientKind::ProducerSession { .. } => {
                let other = self.known.others_processes.contains(&(event.actor, event.incarnation));
                (self.takes_part(event.actor) && !other).then_some(64)
            }
            _ => self.transaction(event, kind),
        }
    }

    fn transaction(&mut self, event: &Event, kind: &ClientKind) -> Option<u8> {
        let subject = self.known.subject;
        let own = |number| subject.transactions.contains(&(event.actor, number));
        match kind {
            ClientKind::TransactionBegin { number } => own(*number).then_some(72),
            ClientKind::SendOffsets { number, call, .. } if own(*number) => {
                self.call(event, *call);
                Some(62)
            }
            ClientKind::EndTransaction { number, call, .. } if own(*number) => {
                self.call(event, *call);
                Some(76)
            }
            ClientKind::InitTransactions { call, .. } if self.takes_part(event.actor) => {
                self.call(event, *call);
                Some(56)
            }
            ClientKind::TransactionEnd { call, outcome }
            | ClientKind::SendOffsetsEnd { call, outcome }
            | ClientKind::InitTransactionsEnd { call, outcome } => {
                let weight = if *outcome == CallOutcome::Ok { 58 } else { 82 };
                self.ends(event, *call).then_some(weight)
            }
            _ => None,
        }
    }

    fn world(&mut self, position: u32, event: &Event, kind: &WorldEvent) -> Option<u8> {
        let subject = self.known.subject;
        match kind {
            WorldEvent::Fault { index } => {
                self.known.needed.contains(index).then_some(NEEDED_FAULT)
            }
            WorldEvent::Healed { index } => self.known.needed.contains(index).then_some(57),
            WorldEvent::Crashed { .. } | WorldEvent::Paused => self.upheaval(position, event, 90),
            WorldEvent::Resumed => self.upheaval(position, event, 79),
            WorldEvent::Started if event.incarnation > 0 => self.upheaval(position, event, 68),
            WorldEvent::MemberRemoved { group, .. } => subject.groups.contains(group).then_some(82),
            WorldEvent::Rebalance { group, .. } => subject.groups.contains(group).then_some(61),
            WorldEvent::Generation { group, .. } => subject.groups.contains(group).then_some(54),
            WorldEvent::OffsetAccepted { group, partition, offset, .. } => {
                if subject.groups.contains(group) && self.mine(*partition) {
                    self.committed.push((position, *partition, *offset));
                }
                None
            }
            WorldEvent::OffsetRejected { group, .. } => {
                subject.groups.contains(group).then_some(80)
            }
            WorldEvent::BrokerFenced { broker, fenced: true } => {
                self.hosts.contains(broker).then_some(55)
            }
            WorldEvent::InvariantBroken { partition, .. } => {
                partition.is_some_and(|it| self.mine(it)).then_some(58)
            }
            WorldEvent::MutationHit => Some(50),
            _ => self.partition(event, kind).or_else(|| self.coordinator(kind)),
        }
    }

    /// A process of the story, or of a host of its partitions, dies, stops, comes back.
    fn upheaval(&self, position: u32, event: &Event, weight: u8) -> Option<u8> {
        let concerned = self.takes_part(event.actor) || self.hosts.contains(&event.actor);
        // What befalls a process is said of its first actor.
        let process = self.known.processes.get(usize::from(event.actor.0));
        let first = process.is_none_or(|first| *first == event.actor);
        let process = (event.actor, event.incarnation);
        let other = self.known.unneeded.contains(&position)
            || self.known.others_processes.contains(&process);
        let weight = if other { 20 } else { weight };
        (concerned && first).then_some(weight)
    }

    fn partition(&mut self, event: &Event, kind: &WorldEvent) -> Option<u8> {
        let history = self.known.history;
        let subject = self.known.subject;
        match kind {
            WorldEvent::Append { partition, base_offset, records, len, leader, .. } => {
                let ids = history.appended(*records);
                let mine = ids.iter().any(|id| subject.records.contains(id));
                let covers = subject.offsets.iter().any(|(place, at)| {
                    place == partition
                        && (base_offset.0..base_offset.0 + i64::from(*len)).contains(&at.0)
                });
                match (mine, *leader) {
                    (true, true) => Some(83),
                    (true, false) => Some(46),
                    // Another record takes its place.
                    (false, true) if covers && !ids.is_empty() => Some(73),
                    _ => None,
                }
            }
            WorldEvent::BecameLeader { partition, log_end, leader_epoch } => {
                if !self.mine(*partition) {
                    return None;
                }
                self.hosts.insert(event.actor);
                let short = subject.reaches(*partition, *log_end);
                (leader_epoch.0 > 0).then_some(if short { 87 } else { 67 })
            }
            WorldEvent::PartitionChanged { partition, leader, unclean, .. } => {
                if !self.mine(*partition) {
                    return None;
                }
                let before = self.leaders.insert(*partition, *leader);
                match before {
                    _ if *unclean => Some(86),
                    Some(before) if before != *leader => Some(69),
                    _ => Some(47),
                }
            }
            WorldEvent::Truncate { partition, to } | WorldEvent::DiskLoss { partition, to } => {
                subject.reaches(*partition, *to).then_some(86)
            }
            WorldEvent::HighWatermark { partition, high_watermark, leader, .. } => {
                let last = subject.offsets.iter().filter(|(place, _)| place == partition).max();
                let (_, last) = last.filter(|(_, last)| *high_watermark > *last)?;
                let _ = last;
                (self.passed.insert((*partition, event.actor)) && *leader).then_some(45)
            }
            WorldEvent::AckedAll { .. } => None,
            WorldEvent::ProducerStateRejected { partition, .. } => {
                self.mine(*partition).then_some(71)
            }
            WorldEvent::Retry { partition, .. } => {
                let waits = self.in_flight.get(&event.actor).is_some_and(|sends| *sends > 0);
                let first = waits && self.mine(*partition);
                (first && self.retried.insert((event.actor, event.time))).then_some(76)
            }
            _ => None,
        }
    }

    /// What coordinators and markers have to do with it.
    fn coordinator(&self, kind: &WorldEvent) -> Option<u8> {
        let subject = self.known.subject;
        let number = |number| subject.transactions.iter().any(|(_, other)| *other == number);
        match kind {
            WorldEvent::TransactionState { transactional_id, number: of, .. } => {
                (subject.transactional_ids.contains(transactional_id) && number(*of)).then_some(52)
            }
            WorldEvent::EndTxnApplied { transactional_id, issued, applied, .. } => {
                let meant = if issued == applied { 56 } else { 89 };
                let mine = subject.transactional_ids.contains(transactional_id);
                (mine && (number(*issued) || number(*applied))).then_some(meant)
            }
            WorldEvent::TransactionTimedOut { transactional_id, .. } => {
                subject.transactional_ids.contains(transactional_id).then_some(87)
            }
            WorldEvent::Marker { partition, producer_id, leader: true, .. } => {
                let mine = self.mine(*partition) && subject.producer_ids.contains(producer_id);
                mine.then_some(65)
            }
            WorldEvent::MarkerRejected { partition, .. } => self.mine(*partition).then_some(77),
            WorldEvent::OffsetPending { group, partition, .. }
            | WorldEvent::OffsetResolved { group, partition, .. } => {
                (subject.groups.contains(group) && self.mine(*partition)).then_some(48)
            }
            _ => None,
        }
    }

    fn external(&mut self, event: &Event, kind: &ExternalEvent) -> Option<u8> {
        let subject = self.known.subject;
        let mine = record_of(kind).is_some_and(|record| subject.records.contains(&record));
        match kind {
            ExternalEvent::Asked { call, .. } if mine => {
                self.call(event, *call);
                Some(63)
            }
            ExternalEvent::Answered { call, outcome, .. } => {
                let weight = if *outcome == oncesim_history::AskOutcome::Ok { 53 } else { 81 };
                self.ends(event, *call).then_some(weight)
            }
            ExternalEvent::Applied { .. } => mine.then_some(85),
            ExternalEvent::KeyEvicted { .. } | ExternalEvent::Replayed { .. } => mine.then_some(85),
            ExternalEvent::Committed { .. } | ExternalEvent::RolledBack { .. } => {
                mine.then_some(77)
            }
            ExternalEvent::EffectDone { .. } => mine.then_some(62),
            ExternalEvent::Intended { .. } | ExternalEvent::IntentEnded { .. } => {
                mine.then_some(72)
            }
            ExternalEvent::OffsetStored { partition, accepted, .. } => {
                let weight = if *accepted { 49 } else { 81 };
                self.mine(*partition).then_some(weight)
            }
            ExternalEvent::OffsetServed { partition, .. } => self.mine(*partition).then_some(70),
            ExternalEvent::Prepared { partition, .. }
            | ExternalEvent::Finished { partition, .. } => self.mine(*partition).then_some(60),
            ExternalEvent::RelayStarted { .. } => self.takes_part(event.actor).then_some(67),
            _ => None,
        }
    }

    /// Of all commits those around the subject: for each of its offsets the last that does not
    /// cover it, which says where a successor begins, and the first that does.
    fn commits(&mut self) {
        for (partition, offset) in &self.known.subject.offsets {
            let here = self.committed.iter().filter(|(_, place, _)| place == partition);
            let below = here.clone().rfind(|(_, _, next)| *next <= *offset);
            let above = here.clone().find(|(_, _, next)| *next > *offset);
            for (position, ..) in below.into_iter().chain(above) {
                self.weights.insert(*position, 71);
            }
        }
    }
}
