//! JSON Lines to a history.

use std::borrow::Cow;
use std::collections::BTreeMap;

use oncesim_types::{
    ActorId, CallId, ErrorCode, GenerationId, GroupId, Instant, LeaderEpoch, MemberId, Offset,
    ProducerEpoch, ProducerId, RecordId, TopicId, TopicPartition,
};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;

use super::line::{ActorLine, Header, Kind, Line, OutcomeWord, ReasonWord, RecordName, Role};
use super::{VERSION, external};
use crate::complaint::{Complaint, Read, excerpt};
use crate::event::{
    ClientKind, Event, EventKind, Outcome, PolledRecord, PositionReason, SpanIndex,
};
use crate::history::{
    ActorInfo, ActorRole, CommitEntry, GroupInfo, History, Promise, SystemKind, TopicInfo,
};
use crate::intern::{Interner, Name};
use crate::lines::{LineReader, Lines, Notation};
use crate::world_event::WorldEvent;

const HEADER: &str = "a first line {\"oncesim-history\": 1}";
const LINE: &str =
    "one event per line: {\"time\": 0, \"actor\": \"shop\", \"event\": \"send\", ...}";
/// Offsets below, and partitions over all topics: more than any cluster has, and few enough that
/// neither a sum nor a table runs over.
const OFFSETS: i64 = 1 << 60;
const PARTITIONS: u32 = 1 << 17;
/// The origin of a record until all events are read.
const LATER: ActorId = ActorId(u16::MAX);

/// Reads a history. A broken line is an error, or skipped if `lenient`.
///
/// # Errors
///
/// A first line that names no known version; the first line that cannot be understood, unless
/// `lenient`; a text without any event.
pub fn read_jsonl(text: &[u8], lenient: bool) -> Result<Read<History>, Complaint> {
    Lines::<Reader>::new(lenient).read(text)
}

/// Reads a history line by line.
#[must_use]
pub fn reader(lenient: bool) -> impl LineReader<History = History> {
    Lines::<Reader>::new(lenient)
}

#[derive(Default)]
pub(super) struct Reader {
    line: u32,
    /// Whether the first line was read.
    begun: bool,
    pub(super) history: History,
    actors: Interner<Name>,
    topics: Interner<Name>,
    groups: Interner<Name>,
    records: Interner<Name>,
    pub(super) ids: Interner<Name>,
    /// By record: who sent it first.
    senders: Vec<Option<ActorId>>,
    /// Calls that have begun, and whether they have not ended.
    calls: BTreeMap<(ActorId, u32, u64), bool>,
    /// Positions of sends without a value.
    tombstones: Vec<u32>,
    /// Over all topics.
    partitions: u32,
    now: u64,
}

pub(super) fn text(name: &str) -> Name {
    Name::Text(name.into())
}

fn error_code(name: &str) -> Option<ErrorCode> {
    let of = |name: &str| {
        ErrorCode::deserialize(IntoDeserializer::<ValueError>::into_deserializer(name)).ok()
    };
    // Kafka's own notation as well: REQUEST_TIMED_OUT.
    of(name).or_else(|| {
        let words = name.split('_').map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_uppercase() + &rest.to_lowercase()
        });
        name.is_ascii().then(|| words.collect::<String>()).and_then(|name| of(&name))
    })
}

impl Notation for Reader {
    type History = History;

    fn needs_next(&self) -> bool {
        !self.begun
    }

    fn line(&mut self, number: u32, line: &[u8]) -> Result<(), Complaint> {
        self.line = number;
        if !self.begun {
            self.header(line)?;
            self.begun = true;
            return Ok(());
        }
        // A refused line leaves no trace.
        let h = &self.history;
        let marks = (h.polled.len(), h.commits.len(), h.partitions.len(), h.row_changes.len());
        self.event(line).inspect_err(|_| {
            self.history.polled.truncate(marks.0);
            self.history.commits.truncate(marks.1);
            self.history.partitions.truncate(marks.2);
            self.history.row_changes.truncate(marks.3);
        })
    }

    fn finish(self) -> Result<History, Complaint> {
        if !self.begun {
            return Err(Complaint::new(1, "the history is empty", HEADER));
        }
        if self.history.events.is_empty() {
            return Err(Complaint::new(self.line, "no event in it", LINE));
        }
        self.settled()
    }
}

impl Reader {
    pub(super) fn wrong(&self, what: impl Into<String>, expected: impl Into<String>) -> Complaint {
        Complaint::new(self.line, what, expected)
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Complaint> {
        let header: Header = serde_json::from_slice(line)
            .map_err(|error| self.wrong(format!("{} ({error})", excerpt(line)), HEADER))?;
        if header.version != VERSION {
            let what = format!("version {} of the format", header.version);
            return Err(self.wrong(what, format!("version {VERSION}")));
        }
        for topic in &header.topics {
            let id = self.topic(&topic.name)?;
            self.history.topics[usize::from(id.0)].unclean_election = topic.unclean_election;
            if let Some(last) = topic.partitions.checked_sub(1) {
                self.partition(&topic.name, last)?;
            }
        }
        for group in &header.groups {
            let topics =
                group.topics.iter().map(|topic| self.topic(topic)).collect::<Result<_, _>>()?;
            let id = self.group(&group.name)?;
            let info = &mut self.history.groups[usize::from(id.0)];
            info.from_earliest = group.from_earliest;
            info.topics = topics;
            if let Some(processor) = &group.processor {
                let processor = self.processor(processor)?;
                self.history.groups[usize::from(id.0)].processor = Some(processor);
            }
        }
        header.actors.iter().try_for_each(|actor| self.declare(actor))?;
        self.systems(&header)
    }

    /// An actor turns out to be a system, if nobody has said what it is.
    pub(super) fn system(&mut self, actor: ActorId, kind: SystemKind) {
        let role = &mut self.history.actors[usize::from(actor.0)].role;
        if *role == ActorRole::Other {
            *role = ActorRole::System(kind);
        }
    }

    fn declare(&mut self, actor: &ActorLine) -> Result<(), Complaint> {
        let role = match (actor.role, &actor.group) {
            (Role::Producer, _) => ActorRole::Producer(Promise {
                durable: actor.durable,
                idempotent: actor.idempotent,
                ordered: actor.ordered,
            }),
            (Role::Consumer, Some(group)) => ActorRole::Consumer(self.group(group)?),
            (Role::Auditor, _) => ActorRole::Auditor,
            (Role::Broker, _) => ActorRole::Broker,
            (Role::Controller, _) => ActorRole::Controller,
            (Role::System, _) => ActorRole::System(external::system_kind(actor.system)),
            (Role::Consumer, None) | (Role::Other, _) => ActorRole::Other,
        };
        let id = self.actor(&actor.name)?;
        let info = &mut self.history.actors[usize::from(id.0)];
        info.role = role;
        info.read_committed = actor.read_committed;
        Ok(())
    }

    pub(super) fn number(&self, n: u32, what: &str) -> Result<u16, Complaint> {
        u16::try_from(n)
            .ok()
            .filter(|n| *n < u16::MAX - 1)
            .ok_or_else(|| self.wrong(format!("too many {what}"), "at most 65534"))
    }

    pub(super) fn actor(&mut self, name: &str) -> Result<ActorId, Complaint> {
        let id = self.actors.intern(text(name));
        let id = self.number(id, "actors")?;
        if self.history.actors.len() <= usize::from(id) {
            let actor =
                ActorInfo { name: name.to_owned(), role: ActorRole::Other, read_committed: false };
            self.history.actors.push(actor);
        }
        Ok(ActorId(id))
    }

    pub(super) fn topic(&mut self, name: &str) -> Result<TopicId, Complaint> {
        let id = self.topics.intern(text(name));
        let id = self.number(id, "topics")?;
        if self.history.topics.len() <= usize::from(id) {
            self.history.topics.push(TopicInfo {
                name: name.to_owned(),
                partitions: 0,
                internal: name.starts_with("__"),
                unclean_election: false,
            });
        }
        Ok(TopicId(id))
    }

    pub(super) fn group(&mut self, name: &str) -> Result<GroupId, Complaint> {
        let id = self.groups.intern(text(name));
        let id = self.number(id, "groups")?;
        if self.history.groups.len() <= usize::from(id) {
            let (name, topics) = (name.to_owned(), Vec::new());
            self.history.groups.push(GroupInfo {
                name,
                topics,
                from_earliest: true,
                processor: None,
            });
        }
        Ok(GroupId(id))
    }

    fn partition(&mut self, topic: &str, partition: u16) -> Result<TopicPartition, Complaint> {
        let topic = self.topic(topic)?;
        let info = &mut self.history.topics[usize::from(topic.0)];
        if partition >= u16::MAX - 1 {
            return Err(self.wrong(format!("partition {partition}"), "partitions below 65534"));
        }
        let more = (partition + 1).saturating_sub(info.partitions);
        if self.partitions + u32::from(more) > PARTITIONS {
            return Err(self.wrong("too many partitions", format!("at most {PARTITIONS} in all")));
        }
        info.partitions += more;
        self.partitions += u32::from(more);
        Ok(TopicPartition::new(topic, partition))
    }

    pub(super) fn offset(&self, offset: i64) -> Result<Offset, Complaint> {
        if offset.unsigned_abs() < OFFSETS.unsigned_abs() {
            return Ok(Offset(offset));
        }
        Err(self.wrong(format!("offset {offset}"), format!("offsets below {OFFSETS}")))
    }

    pub(super) fn need_offset(
        &self,
        value: Option<i64>,
        field: &str,
        kind: Kind,
    ) -> Result<Offset, Complaint> {
        self.offset(self.need(value, field, kind)?)
    }

    /// `shop#12` is the record 12 of shop; any other name is a label.
    pub(super) fn record(&mut self, name: RecordName) -> RecordId {
        if let Name::Text(text) = &name.0
            && let Some((actor, ordinal)) = text.rsplit_once('#')
            && let Some(actor) = self.actors.find(&self::text(actor))
            && let Ok(actor) = u16::try_from(actor)
            && let Ok(ordinal) = ordinal.parse::<u64>()
            && ordinal < History::LABELLED
        {
            return RecordId::new(ActorId(actor), ordinal);
        }
        let label = self.records.intern(name.0);
        RecordId::new(LATER, History::LABELLED + u64::from(label))
    }

    pub(super) fn sent(&mut self, record: RecordId, by: ActorId) {
        if record.origin() != LATER {
            return;
        }
        let label = usize::try_from(record.ordinal() - History::LABELLED).unwrap_or(usize::MAX);
        if self.senders.len() <= label {
            self.senders.resize(label + 1, None);
        }
        self.senders[label].get_or_insert(by);
    }

    fn event(&mut self, line: &[u8]) -> Result<(), Complaint> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            self.wrong(format!("{}: {text}", excerpt(line)), LINE)
        })?;
        if line.time < self.now {
            let what = format!("time goes back from {} to {}", self.now, line.time);
            return Err(self.wrong(what, "events in the order of their time"));
        }
        let actor = self.actor(&line.actor)?;
        let run = line.run.unwrap_or(0);
        let (time, call) = (Instant(line.time), line.call);
        let starts = matches!(
            line.event,
            Kind::Send
                | Kind::Commit
                | Kind::InitTransactions
                | Kind::SendOffsets
                | Kind::EndTransaction
                | Kind::Asked
        );
        let ends = matches!(
            line.event,
            Kind::SendEnd
                | Kind::CommitEnd
                | Kind::InitTransactionsEnd
                | Kind::SendOffsetsEnd
                | Kind::TransactionEnd
                | Kind::Answered
        );
        let open = call.map(|call| (actor, run, call));
        if let Some(open) = open.filter(|_| starts || ends) {
            match (self.calls.get(&open), starts) {
                (Some(_), true) => {
                    let what = format!("call {} of {} begins again", open.2, line.actor);
                    return Err(self.wrong(what, "a new number for each call of an actor"));
                }
                (None | Some(false), false) => {
                    let what = format!("call {} of {} ends, but is not open", open.2, line.actor);
                    return Err(self.wrong(what, "each call to begin once, and end once after"));
                }
                _ => {}
            }
        }
        let kind = match line.event {
            Kind::Crashed => {
                EventKind::World(WorldEvent::Crashed { power: line.power.unwrap_or(false) })
            }
            Kind::Settled => EventKind::World(WorldEvent::Settled),
            Kind::NotSettled => EventKind::World(WorldEvent::NotSettled),
            kind if external::is_external(kind) => EventKind::External(self.external(actor, line)?),
            _ => EventKind::Client(self.client(actor, line)?),
        };
        if let Some(open) = open.filter(|_| starts || ends) {
            self.calls.insert(open, starts);
        }
        self.now = time.0;
        self.history.events.push(Event { time, actor, incarnation: run, kind });
        Ok(())
    }

    pub(super) fn need<T>(
        &self,
        value: Option<T>,
        field: &str,
        kind: Kind,
    ) -> Result<T, Complaint> {
        value.ok_or_else(|| {
            let name = serde_json::to_string(&kind).unwrap_or_default();
            self.wrong(format!("an event {name} without \"{field}\""), format!("\"{field}\" in it"))
        })
    }

    fn client(&mut self, actor: ActorId, line: Line<'_>) -> Result<ClientKind, Complaint> {
        let kind = line.event;
        match kind {
            Kind::Send | Kind::SendEnd | Kind::Processed => self.record_event(actor, line),
            Kind::Commit | Kind::CommitEnd => self.commit_event(line),
            Kind::Subscribe | Kind::Assigned | Kind::Revoked | Kind::Lost => {
                self.group_event(actor, line)
            }
            Kind::Assign => Ok(ClientKind::Assign),
            Kind::InitTransactions
            | Kind::InitTransactionsEnd
            | Kind::Begin
            | Kind::SendOffsets
            | Kind::SendOffsetsEnd
            | Kind::EndTransaction
            | Kind::TransactionEnd
            | Kind::Emitted
            | Kind::Restored
            | Kind::Transfer => self.transaction_event(line),
            Kind::Poll => Ok(ClientKind::PollInvoke),
            Kind::PollEnd => self.poll_end(line),
            Kind::Session => Ok(ClientKind::ProducerSession {
                producer_id: ProducerId(self.need(line.producer_id, "producer_id", kind)?),
                producer_epoch: ProducerEpoch(line.producer_epoch.unwrap_or(0)),
            }),
            Kind::Position => {
                let reason = match self.need(line.reason, "reason", kind)? {
                    ReasonWord::Committed => PositionReason::Committed,
                    ReasonWord::NoCommittedOffset => PositionReason::NoCommittedOffset,
                    ReasonWord::OutOfRange => PositionReason::OutOfRange,
                    ReasonWord::Truncated => PositionReason::Truncated,
                    ReasonWord::Seek => PositionReason::Seek,
                };
                Ok(ClientKind::PositionReset {
                    group: line.group.as_deref().map(|group| self.group(group)).transpose()?,
                    partition: self.place(line.topic, line.partition, kind)?,
                    to: self.need_offset(line.to, "to", kind)?,
                    reason,
                })
            }
            Kind::Drained => {
                if self.history.actors[usize::from(actor.0)].role == ActorRole::Other {
                    self.history.actors[usize::from(actor.0)].role = ActorRole::Auditor;
                }
                Ok(ClientKind::Drained {
                    partition: self.place(line.topic, line.partition, kind)?,
                    from: self.offset(line.from.unwrap_or(0))?,
                    to: self.need_offset(line.to, "to", kind)?,
                })
            }
            // Everything else is told apart before.
            _ => Ok(ClientKind::Closed),
        }
    }

    pub(super) fn place(
        &mut self,
        topic: Option<Cow<'_, str>>,
        partition: Option<u16>,
        kind: Kind,
    ) -> Result<TopicPartition, Complaint> {
        let topic = self.need(topic, "topic", kind)?;
        let partition = self.need(partition, "partition", kind)?;
        self.partition(&topic, partition)
    }

    pub(super) fn outcome(&self, line: &Line<'_>) -> Result<Outcome, Complaint> {
        let code = line.error.as_deref().and_then(error_code);
        Ok(match self.need(line.outcome, "outcome", line.event)? {
            OutcomeWord::Ok => Outcome::Ok,
            OutcomeWord::Fail => Outcome::Fail(code.unwrap_or(ErrorCode::UnknownServerError)),
            OutcomeWord::Info => Outcome::Info(code.unwrap_or(ErrorCode::UnknownServerError)),
        })
    }

    fn record_event(&mut self, actor: ActorId, line: Line<'_>) -> Result<ClientKind, Complaint> {
        let kind = line.event;
        let outcome = (kind == Kind::SendEnd).then(|| self.outcome(&line)).transpose()?;
        let name = self.need(line.record, "record", kind)?;
        let record = self.record(name);
        if let Some(outcome) = outcome {
            let partition = match line.topic {
                Some(topic) => Some(self.place(Some(topic), line.partition, kind)?),
                None => None,
            };
            let call = CallId(self.need(line.call, "call", kind)?);
            let offset = line.offset.map(|offset| self.offset(offset)).transpose()?;
            return Ok(ClientKind::SendEnd { call, record, partition, outcome, offset });
        }
        if kind == Kind::Processed {
            let group = self.need(line.group, "group", kind)?;
            return Ok(ClientKind::Processed {
                group: self.group(&group)?,
                partition: self.place(line.topic, line.partition, kind)?,
                offset: self.need_offset(line.offset, "offset", kind)?,
                record,
            });
        }
        let topic = self.need(line.topic, "topic", kind)?;
        let partition = match line.partition {
            Some(partition) => self.partition(&topic, partition)?,
            None => TopicPartition::new(self.topic(&topic)?, u16::MAX),
        };
        let call = CallId(self.need(line.call, "call", kind)?);
        self.sent(record, actor);
        if line.tombstone == Some(true) {
            self.tombstones.push(span_start(self.history.events.len()));
        }
        Ok(ClientKind::SendInvoke {
            call,
            partition,
            record,
            key: line.key,
            payload: line.hash.unwrap_or(0),
            attempt: line.attempt.unwrap_or(1),
        })
    }

    fn poll_end(&mut self, line: Line<'_>) -> Result<ClientKind, Complaint> {
        let group = line.group.as_deref().map(|group| self.group(group)).transpose()?;
        let start = span_start(self.history.polled.len());
        for polled in self.need(line.records, "records", line.event)? {
            let record = PolledRecord {
                partition: self.partition(&polled.topic, polled.partition)?,
                offset: self.offset(polled.offset)?,
                leader_epoch: polled.leader_epoch.map_or(LeaderEpoch::NONE, LeaderEpoch),
                record: self.record(polled.record),
                key: polled.key,
                payload: polled.hash.unwrap_or(0),
            };
            self.history.polled.push(record);
        }
        let records = SpanIndex { start, len: span_start(self.history.polled.len()) - start };
        Ok(ClientKind::PollEnd { group, records })
    }

    fn span(&mut self, partitions: Vec<(Cow<'_, str>, u16)>) -> Result<SpanIndex, Complaint> {
        let start = span_start(self.history.partitions.len());
        for (topic, partition) in partitions {
            let partition = self.partition(&topic, partition)?;
            self.history.partitions.push(partition);
        }
        Ok(SpanIndex { start, len: span_start(self.history.partitions.len()) - start })
    }

    fn group_event(&mut self, actor: ActorId, line: Line<'_>) -> Result<ClientKind, Complaint> {
        let kind = line.event;
        let group = self.need(line.group, "group", kind)?;
        let group = self.group(&group)?;
        if self.history.actors[usize::from(actor.0)].role == ActorRole::Other {
            self.history.actors[usize::from(actor.0)].role = ActorRole::Consumer(group);
        }
        if kind == Kind::Subscribe {
            return Ok(ClientKind::Subscribe { group });
        }
        let partitions = self.need(line.partitions, "partitions", kind)?;
        let partitions = self.span(partitions)?;
        Ok(match kind {
            Kind::Revoked => ClientKind::Revoked { group, partitions },
            Kind::Lost => ClientKind::Lost { group, partitions },
            _ => {
                let owned = match line.owned {
                    Some(owned) => self.span(owned)?,
                    None => partitions,
                };
                let member = MemberId(line.member.unwrap_or_else(|| u64::from(actor.0)));
                let generation = GenerationId(line.generation.unwrap_or(0));
                ClientKind::Assigned { group, member, generation, added: partitions, owned }
            }
        })
    }

    fn commit_event(&mut self, line: Line<'_>) -> Result<ClientKind, Complaint> {
        let kind = line.event;
        let call = CallId(self.need(line.call, "call", kind)?);
        if kind == Kind::CommitEnd {
            return Ok(ClientKind::CommitEnd { call, outcome: self.outcome(&line)? });
        }
        let group = self.need(line.group, "group", kind)?;
        let group = self.group(&group)?;
        let offsets = self.need(line.offsets, "offsets", kind)?;
        let offsets = self.offsets(offsets)?;
        Ok(ClientKind::CommitInvoke { call, group, offsets, sync: line.sync.unwrap_or(true) })
    }

    pub(super) fn offsets(
        &mut self,
        entries: Vec<(Cow<'_, str>, u16, i64)>,
    ) -> Result<SpanIndex, Complaint> {
        let start = span_start(self.history.commits.len());
        for (topic, partition, offset) in entries {
            let partition = self.partition(&topic, partition)?;
            let (offset, leader_epoch) = (self.offset(offset)?, LeaderEpoch::NONE);
            self.history.commits.push(CommitEntry { partition, offset, leader_epoch });
        }
        Ok(SpanIndex { start, len: span_start(self.history.commits.len()) - start })
    }

    /// Gives labelled records to those who sent them first, and groups the topics that they read.
    fn settled(mut self) -> Result<History, Complaint> {
        let nobody =
            if self.records.keys().is_empty() { ActorId(0) } else { self.actor("nobody")? };
        let mut history = self.history;
        history.end = Instant(self.now);
        history.labels = self.records.keys().to_vec();
        let senders = &self.senders;
        let settle = |record: &mut RecordId| {
            if record.origin() == LATER {
                let label = record.ordinal() - History::LABELLED;
                let label = usize::try_from(label).unwrap_or(usize::MAX);
                let sender = senders.get(label).copied().flatten().unwrap_or(nobody);
                *record = RecordId::new(sender, record.ordinal());
            }
        };
        let mut consumed: Vec<Vec<TopicId>> = vec![Vec::new(); history.groups.len()];
        for event in &mut history.events {
            match &mut event.kind {
                EventKind::Client(
                    ClientKind::SendInvoke { record, .. } | ClientKind::SendEnd { record, .. },
                ) => settle(record),
                EventKind::Client(ClientKind::Emitted { record, input, .. }) => {
                    settle(record);
                    settle(input);
                }
                EventKind::Client(ClientKind::Transfer { record, .. }) => settle(record),
                EventKind::External(external) => external::each_record(external, &settle),
                EventKind::Client(ClientKind::Processed { record, group, partition, .. }) => {
                    settle(record);
                    let topics = &mut consumed[usize::from(group.0)];
                    if !topics.contains(&partition.topic) {
                        topics.push(partition.topic);
                    }
                }
                EventKind::Client(ClientKind::Assigned { group, owned, .. }) => {
                    let topics = &mut consumed[usize::from(group.0)];
                    let owned = owned.start as usize..(owned.start + owned.len) as usize;
                    for partition in &history.partitions[owned] {
                        if !topics.contains(&partition.topic) {
                            topics.push(partition.topic);
                        }
                    }
                }
                _ => {}
            }
        }
        history.polled.iter_mut().for_each(|polled| settle(&mut polled.record));
        external::tombstones(&mut history, &self.tombstones);
        for (group, topics) in history.groups.iter_mut().zip(consumed) {
            if group.topics.is_empty() {
                group.topics = topics;
            }
        }
        Ok(history)
    }
}

pub(super) fn span_start(n: usize) -> u32 {
    u32::try_from(n).expect("a history has fewer than 2^32 entries")
}
