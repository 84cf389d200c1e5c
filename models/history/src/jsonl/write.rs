//! A history to JSON Lines: what clients saw, what systems outside of Kafka have in their logs, and
//! how the run ended. Notes from inside of Kafka stay inside.

use std::borrow::Cow;

use oncesim_types::{ErrorCode, LeaderEpoch, RecordId, TopicPartition, Transform, lineage};

use super::line::{
    ActorLine, GroupLine, Header, Kind, Line, OutcomeWord, OutputLine, PolledLine, ProcessorLine,
    ReasonWord, RecordName, Role, TopicLine, TransformLine,
};
use super::{VERSION, external};
use crate::event::{ClientKind, Event, EventKind, Outcome, Output, PositionReason, SpanIndex};
use crate::history::{ActorRole, History};
use crate::intern::Name;
use crate::world_event::WorldEvent;

/// Writes the events of clients, and of systems outside of Kafka.
#[must_use]
pub fn write_jsonl(history: &History) -> String {
    let mut text = Vec::new();
    push(&mut text, &header(history));
    for event in &history.events {
        if let Some(line) = line(history, event) {
            push(&mut text, &line);
        }
    }
    String::from_utf8(text).unwrap_or_default()
}

fn push(text: &mut Vec<u8>, line: &impl serde::Serialize) {
    // Writing to memory cannot fail, and no field can refuse to be written.
    if serde_json::to_writer(&mut *text, line).is_ok() {
        text.push(b'\n');
    }
}

fn header(history: &History) -> Header {
    let actors = history.actors.iter().map(|actor| {
        let system = match &actor.role {
            ActorRole::System(kind) => Some(external::system_word(*kind)),
            _ => None,
        };
        let (role, group, promise) = match &actor.role {
            ActorRole::Producer(promise) => (Role::Producer, None, Some(*promise)),
            ActorRole::Consumer(group) => {
                (Role::Consumer, Some(history.group_name(*group).to_owned()), None)
            }
            ActorRole::Auditor => (Role::Auditor, None, None),
            ActorRole::Broker => (Role::Broker, None, None),
            ActorRole::Controller => (Role::Controller, None, None),
            ActorRole::System(_) => (Role::System, None, None),
            ActorRole::Other => (Role::Other, None, None),
        };
        ActorLine {
            name: actor.name.clone(),
            role,
            group,
            durable: promise.is_none_or(|p| p.durable),
            idempotent: promise.is_none_or(|p| p.idempotent),
            ordered: promise.is_none_or(|p| p.ordered),
            read_committed: actor.read_committed,
            system,
        }
    });
    let topics = history.topics.iter().map(|topic| TopicLine {
        name: topic.name.clone(),
        partitions: topic.partitions,
        unclean_election: topic.unclean_election,
    });
    let topic_name = |topic: &oncesim_types::TopicId| {
        history.topics.get(usize::from(topic.0)).map(|topic| topic.name.clone()).unwrap_or_default()
    };
    let groups = history.groups.iter().map(|group| GroupLine {
        name: group.name.clone(),
        topics: group.topics.iter().map(topic_name).collect(),
        from_earliest: group.from_earliest,
        processor: group.processor.as_ref().map(|processor| ProcessorLine {
            to: processor.to.iter().map(topic_name).collect(),
            transform: match &processor.transform {
                Transform::Map => TransformLine::Map,
                Transform::FanOut { outputs } => TransformLine::FanOut { outputs: *outputs },
                Transform::Filter { per_million } => {
                    TransformLine::Filter { per_million: *per_million }
                }
                Transform::Aggregate { changelog } => {
                    TransformLine::Aggregate { changelog: topic_name(changelog) }
                }
            },
            transactional: processor.transactional,
        }),
    });
    Header {
        version: VERSION,
        actors: actors.collect(),
        topics: topics.collect(),
        groups: groups.collect(),
        sinks: external::sinks(history),
        announcements: external::announcements(history),
        relays: external::relays(history),
    }
}

pub(super) fn record(history: &History, record: RecordId) -> RecordName {
    let label = record.ordinal().checked_sub(History::LABELLED);
    let label = label.and_then(|n| history.labels.get(usize::try_from(n).ok()?));
    RecordName(label.cloned().unwrap_or_else(|| {
        let actor = history.actor_name(record.origin());
        Name::Text(format!("{actor}#{}", record.ordinal()).into())
    }))
}

pub(super) fn topic(history: &History, partition: TopicPartition) -> Cow<'_, str> {
    Cow::Borrowed(history.topics.get(usize::from(partition.topic.0)).map_or("?", |t| &t.name))
}

fn partitions(history: &History, span: SpanIndex) -> Option<Vec<(Cow<'_, str>, u16)>> {
    let partitions = history.partitions(span).iter();
    Some(partitions.map(|p| (topic(history, *p), p.partition)).collect())
}

fn outcome(line: &mut Line<'_>, outcome: Outcome) {
    let (word, error): (OutcomeWord, Option<ErrorCode>) = match outcome {
        Outcome::Ok => (OutcomeWord::Ok, None),
        Outcome::Fail(error) => (OutcomeWord::Fail, Some(error)),
        Outcome::Info(error) => (OutcomeWord::Info, Some(error)),
    };
    line.outcome = Some(word);
    line.error = error.map(|error| Cow::Owned(format!("{error:?}")));
}

pub(super) fn blank<'a>(history: &'a History, event: &Event, kind: Kind) -> Line<'a> {
    Line {
        time: event.time.0,
        actor: Cow::Borrowed(history.actor_name(event.actor)),
        run: (event.incarnation > 0).then_some(event.incarnation),
        event: kind,
        ..Line::default()
    }
}

fn line<'a>(history: &'a History, event: &Event) -> Option<Line<'a>> {
    match &event.kind {
        EventKind::World(WorldEvent::Crashed { power }) => {
            let line = blank(history, event, Kind::Crashed);
            Some(Line { power: power.then_some(true), ..line })
        }
        EventKind::World(WorldEvent::Settled) => Some(blank(history, event, Kind::Settled)),
        EventKind::World(WorldEvent::NotSettled) => Some(blank(history, event, Kind::NotSettled)),
        EventKind::World(_) => None,
        EventKind::External(external) => Some(external::line(history, event, external)),
        EventKind::Client(client) => {
            let mut line = blank(history, event, kind(client));
            match client {
                ClientKind::SendInvoke { .. }
                | ClientKind::SendEnd { .. }
                | ClientKind::Processed { .. }
                | ClientKind::PollEnd { .. } => records(history, &mut line, client),
                _ => groups(history, &mut line, client),
            }
            Some(line)
        }
    }
}

const fn kind(client: &ClientKind) -> Kind {
    match client {
        ClientKind::SendInvoke { .. } => Kind::Send,
        ClientKind::SendEnd { .. } => Kind::SendEnd,
        ClientKind::ProducerSession { .. } => Kind::Session,
        ClientKind::Subscribe { .. } => Kind::Subscribe,
        ClientKind::Assign => Kind::Assign,
        ClientKind::Assigned { .. } => Kind::Assigned,
        ClientKind::Revoked { .. } => Kind::Revoked,
        ClientKind::Lost { .. } => Kind::Lost,
        ClientKind::PollInvoke => Kind::Poll,
        ClientKind::PollEnd { .. } => Kind::PollEnd,
        ClientKind::Processed { .. } => Kind::Processed,
        ClientKind::CommitInvoke { .. } => Kind::Commit,
        ClientKind::CommitEnd { .. } => Kind::CommitEnd,
        ClientKind::PositionReset { .. } => Kind::Position,
        ClientKind::Closed => Kind::Closed,
        ClientKind::Drained { .. } => Kind::Drained,
        ClientKind::InitTransactions { .. } => Kind::InitTransactions,
        ClientKind::InitTransactionsEnd { .. } => Kind::InitTransactionsEnd,
        ClientKind::TransactionBegin { .. } => Kind::Begin,
        ClientKind::SendOffsets { .. } => Kind::SendOffsets,
        ClientKind::SendOffsetsEnd { .. } => Kind::SendOffsetsEnd,
        ClientKind::EndTransaction { .. } => Kind::EndTransaction,
        ClientKind::TransactionEnd { .. } => Kind::TransactionEnd,
        ClientKind::Emitted { .. } => Kind::Emitted,
        ClientKind::StateRestored { .. } => Kind::Restored,
        ClientKind::Transfer { .. } => Kind::Transfer,
    }
}

fn records<'a>(history: &'a History, line: &mut Line<'a>, client: &ClientKind) {
    match client {
        ClientKind::SendInvoke { call, partition, record: id, key, payload, attempt } => {
            line.call = Some(call.0);
            line.record = Some(record(history, *id));
            line.topic = Some(topic(history, *partition));
            line.partition = (partition.partition != u16::MAX).then_some(partition.partition);
            line.key = *key;
            line.hash = (*payload != 0).then_some(*payload);
            line.tombstone = (*payload == lineage::payload(*id, None)).then_some(true);
            line.attempt = (*attempt != 1).then_some(*attempt);
        }
        ClientKind::SendEnd { call, record: id, partition, outcome: how, offset } => {
            line.call = Some(call.0);
            line.record = Some(record(history, *id));
            line.topic = partition.map(|p| topic(history, p));
            line.partition = partition.map(|p| p.partition);
            line.offset = offset.map(|offset| offset.0);
            outcome(line, *how);
        }
        ClientKind::Processed { group, partition, offset, record: id } => {
            line.group = Some(Cow::Borrowed(history.group_name(*group)));
            line.topic = Some(topic(history, *partition));
            line.partition = Some(partition.partition);
            line.offset = Some(offset.0);
            line.record = Some(record(history, *id));
        }
        ClientKind::PollEnd { group, records } => {
            line.group = group.map(|group| Cow::Borrowed(history.group_name(group)));
            let polled = history.polled(*records).iter().map(|polled| PolledLine {
                topic: topic(history, polled.partition),
                partition: polled.partition.partition,
                offset: polled.offset.0,
                record: record(history, polled.record),
                key: polled.key,
                hash: (polled.payload != 0).then_some(polled.payload),
                leader_epoch: (polled.leader_epoch != LeaderEpoch::NONE)
                    .then_some(polled.leader_epoch.0),
            });
            line.records = Some(polled.collect());
        }
        _ => {}
    }
}

fn groups<'a>(history: &'a History, line: &mut Line<'a>, client: &ClientKind) {
    let mut of = |group: oncesim_types::GroupId| {
        line.group = Some(Cow::Borrowed(history.group_name(group)));
    };
    match client {
        ClientKind::Subscribe { group } => of(*group),
        ClientKind::Assigned { group, member, generation, added, owned } => {
            of(*group);
            line.member = Some(member.0);
            line.generation = Some(generation.0);
            line.partitions = partitions(history, *added);
            line.owned = partitions(history, *owned);
        }
        ClientKind::Revoked { group, partitions: gone }
        | ClientKind::Lost { group, partitions: gone } => {
            of(*group);
            line.partitions = partitions(history, *gone);
        }
        ClientKind::CommitInvoke { call, group, offsets, sync } => {
            of(*group);
            line.call = Some(call.0);
            line.offsets = Some(self::offsets(history, *offsets));
            line.sync = (!sync).then_some(false);
        }
        ClientKind::CommitEnd { call, outcome: how } => {
            line.call = Some(call.0);
            outcome(line, *how);
        }
        ClientKind::PositionReset { group, partition, to, reason } => {
            if let Some(group) = group {
                of(*group);
            }
            line.topic = Some(topic(history, *partition));
            line.partition = Some(partition.partition);
            line.to = Some(to.0);
            line.reason = Some(match reason {
                PositionReason::Committed => ReasonWord::Committed,
                PositionReason::NoCommittedOffset => ReasonWord::NoCommittedOffset,
                PositionReason::OutOfRange => ReasonWord::OutOfRange,
                PositionReason::Truncated => ReasonWord::Truncated,
                PositionReason::Seek => ReasonWord::Seek,
            });
        }
        ClientKind::ProducerSession { producer_id, producer_epoch } => {
            line.producer_id = Some(producer_id.0);
            line.producer_epoch = Some(producer_epoch.0);
        }
        ClientKind::Drained { partition, from, to } => {
            line.topic = Some(topic(history, *partition));
            line.partition = Some(partition.partition);
            line.from = Some(from.0);
            line.to = Some(to.0);
        }
        _ => transactions(history, line, client),
    }
}

fn transactions<'a>(history: &'a History, line: &mut Line<'a>, client: &ClientKind) {
    match client {
        ClientKind::InitTransactions { call, transactional_id } => {
            line.call = Some(call.0);
            let id = history.transactional_ids.get(usize::from(transactional_id.0));
            line.id = Some(Cow::Borrowed(id.map_or("?", String::as_str)));
        }
        ClientKind::TransactionBegin { number } => line.number = Some(number.0),
        ClientKind::SendOffsets { call, number, group, offsets: span, member, generation } => {
            line.call = Some(call.0);
            line.number = Some(number.0);
            line.group = Some(Cow::Borrowed(history.group_name(*group)));
            line.offsets = Some(offsets(history, *span));
            line.member = member.map(|member| member.0);
            line.generation = Some(generation.0);
        }
        ClientKind::EndTransaction { call, number, result } => {
            line.call = Some(call.0);
            line.number = Some(number.0);
            line.result = Some(*result);
        }
        ClientKind::InitTransactionsEnd { call, outcome: how }
        | ClientKind::SendOffsetsEnd { call, outcome: how }
        | ClientKind::TransactionEnd { call, outcome: how } => {
            line.call = Some(call.0);
            outcome(line, *how);
        }
        ClientKind::Emitted { record: id, input, partition, offset, output } => {
            line.record = Some(record(history, *id));
            line.input = Some(record(history, *input));
            line.topic = Some(topic(history, *partition));
            line.partition = Some(partition.partition);
            line.offset = Some(offset.0);
            line.output = Some(match output {
                Output::Ordinal(n) => OutputLine::Ordinal(*n),
                Output::Aggregate => OutputLine::Aggregate,
                Output::Changelog => OutputLine::Changelog,
            });
        }
        ClientKind::StateRestored { changelog, to, keys, fingerprint } => {
            line.topic = Some(topic(history, *changelog));
            line.partition = Some(changelog.partition);
            line.to = Some(to.0);
            line.keys = Some(*keys);
            line.fingerprint = Some(*fingerprint);
        }
        ClientKind::Transfer { record: id, amount } => {
            line.record = Some(record(history, *id));
            line.amount = Some(*amount);
        }
        _ => {}
    }
}

fn offsets(history: &History, span: SpanIndex) -> Vec<(Cow<'_, str>, u16, i64)> {
    let entries = history.commits(span).iter();
    entries.map(|e| (topic(history, e.partition), e.partition.partition, e.offset.0)).collect()
}
