//! What stories ask of a history.

use std::collections::BTreeSet;

use oncesim_history::{
    ActorRole, ClientKind, Event, EventKind, ExternalEvent, History, Outcome, PositionReason,
    WorldEvent,
};
use oncesim_semantics::Anomaly;
use oncesim_spec::{Mistake, ProducerSpec, Scenario};
use oncesim_types::{
    ActorId, Instant, Offset, ProducerId, RecordId, StatementRole, TopicPartition,
    TransactionNumber,
};

use crate::explain::member_name;
use crate::model::ExplanationView;

/// What a story is made of.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What happened.
    pub history: &'a History,
    /// What ran.
    pub scenario: &'a Scenario,
    /// What is explained.
    pub anomaly: &'a Anomaly,
    /// The records that it is about.
    pub records: &'a BTreeSet<RecordId>,
    /// What was found out.
    pub view: &'a ExplanationView,
    /// `acks` of a producer, as configured: `all`, `1` or `0`.
    pub acks: fn(&ProducerSpec) -> &'static str,
}

/// A leader appended a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appended {
    pub(super) time: Instant,
    pub(super) broker: ActorId,
    pub(super) partition: TopicPartition,
    pub(super) offset: Offset,
    pub(super) producer_id: ProducerId,
}

/// Somebody got hold of a record, or was done with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touched {
    pub(super) time: Instant,
    pub(super) actor: ActorId,
    pub(super) incarnation: u32,
    pub(super) partition: TopicPartition,
    pub(super) offset: Offset,
}

/// A coordinator ended another transaction than was meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Misdirected {
    pub(super) at: Instant,
    pub(super) coordinator: ActorId,
    pub(super) issued: TransactionNumber,
    pub(super) applied: TransactionNumber,
    pub(super) result: &'static str,
}

/// A system applied an effect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Applied {
    pub(super) time: Instant,
    pub(super) system: ActorId,
    pub(super) record: RecordId,
    pub(super) commit: u64,
    pub(super) token: i64,
}

/// Whether an actor is `of`, or one of its instances: `shop`, `shop-2`.
fn instance_of(actor: &str, of: &str) -> bool {
    actor.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl<'a> Facts<'a> {
    pub(super) fn actor(&self, actor: ActorId) -> &'a str {
        self.history.actor_name(actor)
    }

    pub(super) fn name(&self, record: RecordId) -> String {
        self.history.record_name(record)
    }

    pub(super) fn place(&self, partition: TopicPartition, offset: Offset) -> String {
        format!("{}@{offset}", self.history.partition_name(partition))
    }

    pub(super) fn record(&self) -> Option<RecordId> {
        self.anomaly.witness.record.or_else(|| self.records.first().copied())
    }

    /// The end of the witness: nothing later belongs to the story.
    fn end(&self) -> u32 {
        self.anomaly.witness.events.last().copied().unwrap_or(u32::MAX)
    }

    fn events(&self) -> impl Iterator<Item = &'a Event> + use<'a> {
        let count = usize::try_from(self.end()).map_or(usize::MAX, |end| end.saturating_add(1));
        self.history.events.iter().take(count)
    }

    fn clients(&self) -> impl Iterator<Item = (&'a Event, &'a ClientKind)> + use<'a> {
        self.events().filter_map(|event| match &event.kind {
            EventKind::Client(kind) => Some((event, kind)),
            _ => None,
        })
    }

    fn inside(&self) -> impl Iterator<Item = (&'a Event, &'a WorldEvent)> + use<'a> {
        self.events().filter_map(|event| match &event.kind {
            EventKind::World(kind) => Some((event, kind)),
            _ => None,
        })
    }

    fn outside(&self) -> impl Iterator<Item = (&'a Event, &'a ExternalEvent)> + use<'a> {
        self.events().filter_map(|event| match &event.kind {
            EventKind::External(kind) => Some((event, kind)),
            _ => None,
        })
    }

    pub(super) fn is_client(&self, actor: ActorId) -> bool {
        let role = self.history.actors.get(usize::from(actor.0)).map(|info| &info.role);
        !matches!(role, Some(ActorRole::Auditor | ActorRole::Broker | ActorRole::Controller) | None)
    }

    /// Where, when and by whom a record was appended; by leaders, or by those that copied it.
    pub(super) fn appended(&self, record: RecordId, by_leader: bool) -> Vec<Appended> {
        let mut found = Vec::new();
        for (event, kind) in self.inside() {
            let WorldEvent::Append { partition, base_offset, records, leader, producer_id, .. } =
                kind
            else {
                continue;
            };
            if *leader != by_leader {
                continue;
            }
            for (offset, id) in (base_offset.0..).zip(self.history.appended(*records)) {
                if *id == record {
                    found.push(Appended {
                        time: event.time,
                        broker: event.actor,
                        partition: *partition,
                        offset: Offset(offset),
                        producer_id: *producer_id,
                    });
                }
            }
        }
        found
    }

    /// When a record was sent first, by whom.
    pub(super) fn sent(&self, record: RecordId) -> Option<(Instant, ActorId)> {
        self.clients().find_map(|(event, kind)| match kind {
            ClientKind::SendInvoke { record: id, .. } if *id == record => {
                Some((event.time, event.actor))
            }
            _ => None,
        })
    }

    /// When a send of it succeeded.
    pub(super) fn acknowledged(&self, record: RecordId) -> Option<(Instant, Option<Offset>)> {
        self.clients().find_map(|(event, kind)| match kind {
            ClientKind::SendEnd { record: id, outcome: Outcome::Ok, offset, .. }
                if *id == record =>
            {
                Some((event.time, *offset))
            }
            _ => None,
        })
    }

    /// Who got a record from a poll, when.
    pub(super) fn polled(&self, record: RecordId) -> Vec<Touched> {
        let mut found = Vec::new();
        for (event, kind) in self.clients() {
            let ClientKind::PollEnd { records, .. } = kind else { continue };
            if !self.is_client(event.actor) {
                continue;
            }
            let one = self.history.polled(*records).iter().find(|it| it.record == record);
            found.extend(one.map(|it| Touched {
                time: event.time,
                actor: event.actor,
                incarnation: event.incarnation,
                partition: it.partition,
                offset: it.offset,
            }));
        }
        found
    }

    /// Who processed a record, when.
    pub(super) fn processed(&self, record: RecordId) -> Vec<Touched> {
        let touched = |(event, kind): (&Event, &ClientKind)| match kind {
            ClientKind::Processed { record: id, partition, offset, .. } if *id == record => {
                Some(Touched {
                    time: event.time,
                    actor: event.actor,
                    incarnation: event.incarnation,
                    partition: *partition,
                    offset: *offset,
                })
            }
            _ => None,
        };
        self.clients().filter_map(touched).collect()
    }

    /// The input of an output: the record that a processor made it from.
    pub(super) fn input(&self) -> Option<RecordId> {
        let emitted = self.clients().find_map(|(_, kind)| match kind {
            ClientKind::Emitted { record, input, .. } if self.records.contains(record) => {
                Some(*input)
            }
            _ => None,
        });
        let processed = || {
            let any = |record: &&RecordId| !self.processed(**record).is_empty();
            self.records.iter().find(any).copied()
        };
        emitted.or_else(processed).or_else(|| self.record())
    }

    /// The last crash or pause of a process in a span: when, and whether it died.
    pub(super) fn upheaval(
        &self,
        actor: ActorId,
        from: Instant,
        to: Instant,
    ) -> Option<(Instant, bool)> {
        let mine = self.inside().filter(|(event, _)| event.actor == actor);
        let within = mine.filter(|(event, _)| event.time >= from && event.time <= to);
        within
            .filter_map(|(event, kind)| match kind {
                WorldEvent::Crashed { .. } => Some((event.time, true)),
                WorldEvent::Paused => Some((event.time, false)),
                _ => None,
            })
            .last()
    }

    /// When a process went on, or started again, for the last time in a span.
    pub(super) fn back(&self, actor: ActorId, from: Instant, to: Instant) -> Option<Instant> {
        let mine = self.inside().filter(|(event, _)| event.actor == actor);
        mine.filter(|(event, _)| event.time >= from && event.time <= to)
            .filter(|(_, kind)| matches!(kind, WorldEvent::Started | WorldEvent::Resumed))
            .map(|(event, _)| event.time)
            .last()
    }

    /// When a process stood still in a span: because of a fault that the failure needs, if one of
    /// them did that.
    pub(super) fn stillness(&self, actor: ActorId, from: Instant, to: Instant) -> Option<Instant> {
        let paused: Vec<Instant> = self
            .inside()
            .filter(|(event, kind)| event.actor == actor && matches!(kind, WorldEvent::Paused))
            .map(|(event, _)| event.time)
            .filter(|time| *time >= from && *time <= to)
            .collect();
        let needed = self.needed();
        let by_need = paused.iter().rfind(|time| needed.iter().any(|(_, at)| at == *time));
        by_need.or_else(|| paused.first()).copied()
    }

    /// When a coordinator took a client out of its group, and whether its session had timed out.
    pub(super) fn removed(&self, actor: ActorId, after: Instant) -> Option<(Instant, bool)> {
        let name = self.actor(actor);
        self.inside().find_map(|(event, kind)| match kind {
            WorldEvent::MemberRemoved { member, expired, .. }
                if event.time >= after && member_name(self.history, *member) == name =>
            {
                Some((event.time, *expired))
            }
            _ => None,
        })
    }

    /// Where a member went on in a partition after a moment.
    pub(super) fn resumed_at(
        &self,
        partition: TopicPartition,
        after: Instant,
    ) -> Option<(Instant, ActorId, Offset, PositionReason)> {
        self.clients().find_map(|(event, kind)| match kind {
            ClientKind::PositionReset { partition: place, to, reason, group: Some(_) }
                if *place == partition && event.time >= after =>
            {
                Some((event.time, event.actor, *to, *reason))
            }
            _ => None,
        })
    }

    /// The first commit of a partition behind an offset, after a moment: when, by whom, to where.
    pub(super) fn committed_past(
        &self,
        partition: TopicPartition,
        offset: Offset,
        after: Instant,
    ) -> Option<(Instant, ActorId, Offset)> {
        self.clients().find_map(|(event, kind)| {
            let (ClientKind::CommitInvoke { offsets, .. }
            | ClientKind::SendOffsets { offsets, .. }) = kind
            else {
                return None;
            };
            let entries = self.history.commits(*offsets).iter();
            let entry =
                entries.clone().find(|it| it.partition == partition && it.offset > offset)?;
            (event.time >= after).then_some((event.time, event.actor, entry.offset))
        })
    }

    /// When effects of a record were applied.
    pub(super) fn applied(&self, record: RecordId) -> Vec<Applied> {
        let of = |(event, kind): (&Event, &ExternalEvent)| match kind {
            ExternalEvent::Applied { effect, commit, token, .. } if effect.record == record => {
                Some(Applied {
                    time: event.time,
                    system: event.actor,
                    record,
                    commit: *commit,
                    token: *token,
                })
            }
            _ => None,
        };
        self.outside().filter_map(of).collect()
    }

    /// When a system wrote a row of this kind for a record.
    pub(super) fn row(&self, record: RecordId, of: StatementRole) -> Option<(Instant, u64)> {
        self.outside().find_map(|(event, kind)| match kind {
            ExternalEvent::Committed { role, record: Some(id), commit, .. }
                if *id == record && *role == of =>
            {
                Some((event.time, *commit))
            }
            _ => None,
        })
    }

    /// Calls for effects of a record that ended without an answer: when, and whose.
    pub(super) fn unanswered(&self, record: RecordId) -> Option<(Instant, ActorId)> {
        let mut mine = BTreeSet::new();
        for (event, kind) in self.outside() {
            match kind {
                ExternalEvent::Asked { effect: Some(effect), .. } if effect.record == record => {
                    mine.insert((event.actor, event.incarnation));
                }
                ExternalEvent::Answered {
                    outcome: oncesim_history::AskOutcome::Unknown(_),
                    ..
                } if mine.contains(&(event.actor, event.incarnation)) => {
                    return Some((event.time, event.actor));
                }
                _ => {}
            }
        }
        None
    }

    /// Who asked last for the effects of a record, up to a moment.
    pub(super) fn last_asker(&self, record: RecordId, until: Instant) -> Option<ActorId> {
        let asked = self.outside().filter(|(event, kind)| {
            let mine = matches!(kind, ExternalEvent::Asked { effect: Some(effect), .. }
                if effect.record == record);
            mine && event.time <= until
        });
        asked.map(|(event, _)| event.actor).last()
    }

    /// When a service learned that it could not know how its operation had ended.
    pub(super) fn doubtful(&self, record: RecordId) -> Option<Instant> {
        self.outside().find_map(|(event, kind)| match kind {
            ExternalEvent::IntentEnded {
                record: id,
                outcome: oncesim_history::AskOutcome::Unknown(_),
            } if *id == record => Some(event.time),
            _ => None,
        })
    }

    /// Who asked for effects of a record, in the order of their first requests.
    pub(super) fn askers(&self, record: RecordId) -> Vec<(Instant, ActorId, u32)> {
        let mut found: Vec<(Instant, ActorId, u32)> = Vec::new();
        for (event, kind) in self.outside() {
            let ExternalEvent::Asked { effect: Some(effect), .. } = kind else { continue };
            let who = (event.actor, event.incarnation);
            if effect.record == record && !found.iter().any(|(_, a, i)| (*a, *i) == who) {
                found.push((event.time, event.actor, event.incarnation));
            }
        }
        found
    }

    /// The producer of the scenario that an actor is an instance of.
    pub(super) fn producer(&self, actor: ActorId) -> Option<&'a ProducerSpec> {
        let name = self.actor(actor);
        self.scenario.producers.iter().find(|spec| instance_of(name, &spec.name))
    }

    /// Whether a processor or a transactional producer of the scenario makes a mistake.
    pub(super) fn mistaken(&self, mistake: Mistake) -> bool {
        let processors = self.scenario.processors.iter().flat_map(|spec| &spec.mistakes);
        let producers = self.scenario.producers.iter().filter_map(|it| it.transactions.as_ref());
        processors.chain(producers.flat_map(|it| &it.mistakes)).any(|made| *made == mistake)
    }

    /// A new leader of a partition after a moment: when, who, with which log end.
    pub(super) fn new_leader(
        &self,
        partition: TopicPartition,
        after: Instant,
    ) -> Option<(Instant, ActorId, Offset)> {
        self.inside().find_map(|(event, kind)| match kind {
            WorldEvent::BecameLeader { partition: place, log_end, .. }
                if *place == partition && event.time > after =>
            {
                Some((event.time, event.actor, *log_end))
            }
            _ => None,
        })
    }

    /// When the controller fenced a broker, after a moment.
    pub(super) fn fenced(&self, broker: ActorId, after: Instant) -> Option<Instant> {
        self.inside().find_map(|(event, kind)| match kind {
            WorldEvent::BrokerFenced { broker: other, fenced: true }
                if *other == broker && event.time >= after =>
            {
                Some(event.time)
            }
            _ => None,
        })
    }

    /// Whether a broker was elected outside of the in-sync set, after a moment and up to another.
    pub(super) fn unclean(
        &self,
        partition: TopicPartition,
        (after, until): (Instant, Instant),
    ) -> bool {
        self.inside().filter(|(event, _)| event.time >= after && event.time <= until).any(
            |(_, kind)| {
                matches!(kind, WorldEvent::PartitionChanged { partition: place, unclean: true, .. }
                    if *place == partition)
            },
        )
    }

    /// Whether the topic of a partition lets replicas outside of the in-sync set lead.
    pub(super) fn may_elect_unclean(&self, partition: TopicPartition) -> bool {
        let topic = self.scenario.topics.get(usize::from(partition.topic.0));
        topic.is_some_and(|topic| topic.config.unclean_leader_election)
    }

    /// The end of another transaction than its client meant: when, by which coordinator, what.
    pub(super) fn misdirected(&self) -> Option<Misdirected> {
        self.inside().find_map(|(event, kind)| match kind {
            WorldEvent::EndTxnApplied { issued, applied, result, .. } if issued != applied => {
                let (issued, applied, result) = (*issued, *applied, result.name());
                Some(Misdirected {
                    at: event.time,
                    coordinator: event.actor,
                    issued,
                    applied,
                    result,
                })
            }
            _ => None,
        })
    }

    /// When a coordinator ended the transaction that was meant.
    pub(super) fn ended(&self, number: TransactionNumber) -> Option<Instant> {
        self.inside().find_map(|(event, kind)| match kind {
            WorldEvent::EndTxnApplied { issued, applied, .. }
                if *issued == number && *applied == number =>
            {
                Some(event.time)
            }
            _ => None,
        })
    }

    /// When a client began a transaction.
    pub(super) fn begun(&self, number: TransactionNumber) -> Option<Instant> {
        self.clients().find_map(|(event, kind)| match kind {
            ClientKind::TransactionBegin { number: of } if *of == number => Some(event.time),
            _ => None,
        })
    }

    /// When a client asked to end a transaction, and who it was.
    pub(super) fn asked_to_end(&self, number: TransactionNumber) -> Option<(Instant, ActorId)> {
        self.clients().find_map(|(event, kind)| match kind {
            ClientKind::EndTransaction { number: of, .. } if *of == number => {
                Some((event.time, event.actor))
            }
            _ => None,
        })
    }

    /// The marker of a producer id in a partition before a moment: when, by whom, at which offset.
    pub(super) fn marker(
        &self,
        partition: TopicPartition,
        of: ProducerId,
        before: Instant,
    ) -> Option<(Instant, Offset, &'static str)> {
        let markers = self.inside().filter_map(|(event, kind)| match kind {
            WorldEvent::Marker {
                partition: at, offset, producer_id, result, leader: true, ..
            } if *at == partition && *producer_id == of && event.time < before => {
                Some((event.time, *offset, result.name()))
            }
            _ => None,
        });
        markers.last()
    }

    /// When the first send of a record failed, and how.
    pub(super) fn gave_up(&self, record: RecordId) -> Option<(Instant, String)> {
        self.clients().find_map(|(event, kind)| match kind {
            ClientKind::SendEnd { record: id, outcome, .. } if *id == record => match outcome {
                Outcome::Ok => None,
                Outcome::Fail(error) | Outcome::Info(error) => {
                    Some((event.time, error.to_string()))
                }
            },
            _ => None,
        })
    }

    /// The relay, and when it died or stood still last in a span.
    pub(super) fn relay_gone(
        &self,
        from: Instant,
        to: Instant,
    ) -> Option<(ActorId, Instant, bool)> {
        let is =
            |name: &str| self.scenario.relays.iter().any(|relay| instance_of(name, &relay.name));
        let actors = (0u16..).map(ActorId).zip(&self.history.actors);
        let mut relays = actors.filter(|(_, info)| is(&info.name)).map(|(actor, _)| actor);
        relays.find_map(|relay| self.upheaval(relay, from, to).map(|(at, died)| (relay, at, died)))
    }

    /// When a broker's log was cut below an offset: by a power failure, or to follow another leader.
    pub(super) fn cut(
        &self,
        partition: TopicPartition,
        offset: Offset,
        after: Instant,
    ) -> Vec<(Instant, ActorId, Offset, bool)> {
        let cut = |(event, kind): (&Event, &WorldEvent)| match kind {
            WorldEvent::Truncate { partition: place, to } => (*place == partition && *to <= offset)
                .then_some((event.time, event.actor, *to, false)),
            WorldEvent::DiskLoss { partition: place, to } => (*place == partition && *to <= offset)
                .then_some((event.time, event.actor, *to, true)),
            _ => None,
        };
        self.inside().filter_map(cut).filter(|(time, ..)| *time >= after).collect()
    }

    /// Which record a leader put at a place after a moment.
    pub(super) fn usurper(
        &self,
        partition: TopicPartition,
        offset: Offset,
        after: Instant,
    ) -> Option<RecordId> {
        self.inside().find_map(|(event, kind)| match kind {
            WorldEvent::Append { partition: place, base_offset, records, leader: true, .. }
                if *place == partition && event.time > after =>
            {
                let at = usize::try_from(offset.0 - base_offset.0).ok()?;
                self.history.appended(*records).get(at).copied()
            }
            _ => None,
        })
    }

    /// What a producer's client says of its retries of a partition after a moment.
    pub(super) fn retried(
        &self,
        partition: TopicPartition,
        after: Instant,
    ) -> Option<(Instant, ActorId, oncesim_types::ErrorCode)> {
        self.inside().find_map(|(event, kind)| match kind {
            WorldEvent::Retry { partition: place, error, .. }
                if *place == partition && event.time >= after =>
            {
                Some((event.time, event.actor, *error))
            }
            _ => None,
        })
    }

    /// Faults that the failure needs, as they struck.
    pub(super) fn needed(&self) -> Vec<(&'a str, Instant)> {
        let needed = self.view.faults.iter().filter(|fault| fault.necessary);
        needed.filter_map(|fault| Some((fault.description.as_str(), fault.struck?))).collect()
    }
}
