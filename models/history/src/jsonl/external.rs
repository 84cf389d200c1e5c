//! Lines about systems outside of Kafka, from events and to events.

use std::borrow::Cow;
use std::collections::BTreeMap;

use oncesim_types::{
    CallId, Duration, EffectId, Offset, RecordId, RowChange, SinkId, SystemError, lineage,
};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;

use super::line::{
    AnnouncementLine, EffectLine, Header, HowWord, Kind, Line, OutcomeWord, ProgressWord,
    RelayLine, SinkLine, SystemWord,
};
use super::read::{Reader, span_start};
use super::write::{blank, record, topic};
use crate::complaint::Complaint;
use crate::event::{ClientKind, Event, EventKind, SpanIndex};
use crate::external_event::{AskOutcome, ExternalEvent};
use crate::history::{
    AnnouncementInfo, Announcing, History, RelayInfo, RelayProgress, SinkInfo, SystemKind,
};

pub(super) const fn system_word(kind: SystemKind) -> SystemWord {
    match kind {
        SystemKind::Database => SystemWord::Database,
        SystemKind::Api => SystemWord::Api,
        SystemKind::Staging => SystemWord::TwoPhase,
    }
}

/// What is not said to be anything else is a database.
pub(super) const fn system_kind(word: Option<SystemWord>) -> SystemKind {
    match word {
        Some(SystemWord::Database) | None => SystemKind::Database,
        Some(SystemWord::Api) => SystemKind::Api,
        Some(SystemWord::TwoPhase) => SystemKind::Staging,
    }
}

/// Whether lines of this kind are about systems.
pub(super) const fn is_external(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Asked
            | Kind::Answered
            | Kind::EffectDone
            | Kind::Intended
            | Kind::IntentEnded
            | Kind::RelayStarted
            | Kind::RelayPosition
            | Kind::Applied
            | Kind::Replayed
            | Kind::KeyEvicted
            | Kind::RowCommitted
            | Kind::MarksEvicted
            | Kind::OffsetStored
            | Kind::OffsetServed
            | Kind::RolledBack
            | Kind::Prepared
            | Kind::Finished
    )
}

/// The records that an event is about.
pub(super) fn each_record(external: &mut ExternalEvent, settle: &dyn Fn(&mut RecordId)) {
    match external {
        ExternalEvent::Asked { effect: Some(effect), .. }
        | ExternalEvent::EffectDone { effect, .. }
        | ExternalEvent::Applied { effect, .. }
        | ExternalEvent::KeyEvicted { effect } => settle(&mut effect.record),
        ExternalEvent::Replayed { effect, original, .. } => {
            settle(&mut effect.record);
            settle(&mut original.record);
        }
        ExternalEvent::Intended { record, .. }
        | ExternalEvent::IntentEnded { record, .. }
        | ExternalEvent::Committed { record: Some(record), .. }
        | ExternalEvent::RolledBack { record: Some(record) } => settle(record),
        _ => {}
    }
}

/// Gives records that were sent without a value the payload that says so, wherever they are read.
pub(super) fn tombstones(history: &mut History, sends: &[u32]) {
    let mut hashes: BTreeMap<RecordId, u64> = BTreeMap::new();
    for position in sends {
        let event = history.events.get_mut(*position as usize).map(|event| &mut event.kind);
        if let Some(EventKind::Client(ClientKind::SendInvoke { record, payload, .. })) = event {
            let hash = std::mem::replace(payload, lineage::payload(*record, None));
            hashes.insert(*record, hash);
        }
    }
    for polled in history.polled.iter_mut().filter(|_| !hashes.is_empty()) {
        if hashes.get(&polled.record).is_some_and(|hash| *hash == polled.payload) {
            polled.payload = lineage::payload(polled.record, None);
        }
    }
}

fn name_of(history: &History, actor: oncesim_types::ActorId) -> String {
    history.actor_name(actor).to_owned()
}

fn topic_of(history: &History, topic: oncesim_types::TopicId) -> String {
    let info = history.topics.get(usize::from(topic.0));
    info.map_or_else(|| "?".to_owned(), |info| info.name.clone())
}

pub(super) fn sinks(history: &History) -> Vec<SinkLine> {
    let line = |sink: &SinkInfo| SinkLine {
        name: sink.name.clone(),
        system: name_of(history, sink.system),
        group: history.group_name(sink.group).to_owned(),
        steps: sink.steps,
        absorbs: sink.absorbs,
        overwrites: sink.overwrites,
        dedups: sink.dedups,
        inbox: sink.inbox,
        window: sink.window.map(|window| window.0),
        stores_offsets: sink.stores_offsets,
        before_commit: sink.before_commit,
        tombstones: sink.tombstones,
    };
    history.sinks.iter().map(line).collect()
}

pub(super) fn announcements(history: &History) -> Vec<AnnouncementLine> {
    let line = |info: &AnnouncementInfo| AnnouncementLine {
        service: name_of(history, info.service),
        database: name_of(history, info.database),
        to: topic_of(history, info.to),
        how: match info.how {
            Announcing::Outbox => HowWord::Outbox,
            Announcing::DatabaseFirst => HowWord::DatabaseFirst,
            Announcing::LogFirst => HowWord::LogFirst,
            Announcing::InsideTransaction => HowWord::InsideTransaction,
        },
    };
    history.announcements.iter().map(line).collect()
}

pub(super) fn relays(history: &History) -> Vec<RelayLine> {
    let line = |info: &RelayInfo| RelayLine {
        relay: name_of(history, info.relay),
        database: name_of(history, info.database),
        to: topic_of(history, info.to),
        progress: match info.progress {
            RelayProgress::MarkAfterAck => ProgressWord::MarkAfterAck,
            RelayProgress::MarkBeforeAck => ProgressWord::MarkBeforeAck,
            RelayProgress::Cursor => ProgressWord::Cursor,
            RelayProgress::Capture => ProgressWord::Capture,
        },
    };
    history.relays.iter().map(line).collect()
}

const fn kind(external: &ExternalEvent) -> Kind {
    match external {
        ExternalEvent::Asked { .. } => Kind::Asked,
        ExternalEvent::Answered { .. } => Kind::Answered,
        ExternalEvent::EffectDone { .. } => Kind::EffectDone,
        ExternalEvent::Intended { .. } => Kind::Intended,
        ExternalEvent::IntentEnded { .. } => Kind::IntentEnded,
        ExternalEvent::RelayStarted { .. } => Kind::RelayStarted,
        ExternalEvent::RelayPosition { .. } => Kind::RelayPosition,
        ExternalEvent::Applied { .. } => Kind::Applied,
        ExternalEvent::Replayed { .. } => Kind::Replayed,
        ExternalEvent::KeyEvicted { .. } => Kind::KeyEvicted,
        ExternalEvent::Committed { .. } => Kind::RowCommitted,
        ExternalEvent::DedupEvicted { .. } => Kind::MarksEvicted,
        ExternalEvent::OffsetStored { .. } => Kind::OffsetStored,
        ExternalEvent::OffsetServed { .. } => Kind::OffsetServed,
        ExternalEvent::RolledBack { .. } => Kind::RolledBack,
        ExternalEvent::Prepared { .. } => Kind::Prepared,
        ExternalEvent::Finished { .. } => Kind::Finished,
    }
}

fn effect<'a>(history: &'a History, effect: &EffectId) -> EffectLine<'a> {
    let sink = history.sinks.get(usize::from(effect.sink.0));
    EffectLine {
        sink: Cow::Borrowed(sink.map_or("?", |sink| &sink.name)),
        record: record(history, effect.record),
        step: effect.step,
    }
}

fn outcome(line: &mut Line<'_>, outcome: AskOutcome) {
    let (word, error) = match outcome {
        AskOutcome::Ok => (OutcomeWord::Ok, None),
        AskOutcome::Refused(error) => (OutcomeWord::Fail, Some(error)),
        AskOutcome::Unknown(error) => (OutcomeWord::Info, Some(error)),
    };
    line.outcome = Some(word);
    line.error = error.map(|error| Cow::Borrowed(error.name()));
}

/// An event as a line.
pub(super) fn line<'a>(history: &'a History, event: &Event, external: &ExternalEvent) -> Line<'a> {
    let mut line = blank(history, event, kind(external));
    match external {
        ExternalEvent::Asked { call, system, operation, effect: of, key } => {
            line.call = Some(call.0);
            line.system = Some(Cow::Borrowed(history.actor_name(*system)));
            line.operation = Some(*operation);
            line.effect = of.as_ref().map(|of| effect(history, of));
            line.idempotency_key = (*key != 0).then_some(*key);
        }
        ExternalEvent::Answered { call, outcome: how, result } => {
            line.call = Some(call.0);
            line.answer = (*result != 0).then_some(*result);
            outcome(&mut line, *how);
        }
        ExternalEvent::EffectDone { effect: of, skipped } => {
            line.effect = Some(effect(history, of));
            line.skipped = skipped.then_some(true);
        }
        ExternalEvent::Intended { record: id, aggregate } => {
            line.record = Some(record(history, *id));
            line.aggregate = Some(*aggregate);
        }
        ExternalEvent::IntentEnded { record: id, outcome: how } => {
            line.record = Some(record(history, *id));
            outcome(&mut line, *how);
        }
        ExternalEvent::RelayStarted { position, snapshot } => {
            line.cursor = Some(*position);
            line.snapshot = snapshot.then_some(true);
        }
        ExternalEvent::RelayPosition { position } => line.cursor = Some(*position),
        _ => log_line(history, &mut line, external),
    }
    line
}

/// What a system has in its own log.
fn log_line<'a>(history: &'a History, line: &mut Line<'a>, external: &ExternalEvent) {
    match external {
        ExternalEvent::Applied { effect: of, commit, changes, token, read_at } => {
            line.effect = Some(effect(history, of));
            line.commit = Some(*commit);
            let changes = history.row_changes(*changes).iter();
            line.changes = Some(changes.map(|c| (c.row, c.before, c.after)).collect());
            line.token = (*token != -1).then_some(*token);
            line.read_at = (*read_at != u64::MAX).then_some(*read_at);
        }
        ExternalEvent::Replayed { effect: of, original, same_payload } => {
            line.effect = Some(effect(history, of));
            line.original = Some(effect(history, original));
            line.same_payload = Some(*same_payload);
        }
        ExternalEvent::KeyEvicted { effect: of } => line.effect = Some(effect(history, of)),
        ExternalEvent::Committed { role, record: id, commit, sequence, changed } => {
            line.role = Some(*role);
            line.record = id.map(|id| record(history, id));
            line.commit = Some(*commit);
            line.sequence = Some(*sequence);
            line.rows = Some(*changed);
        }
        ExternalEvent::DedupEvicted { commit, rows } => {
            line.commit = Some(*commit);
            line.rows = Some(*rows);
        }
        ExternalEvent::RolledBack { record: id } => line.record = id.map(|id| record(history, id)),
        _ => offset_line(history, line, external),
    }
}

/// How far partitions were consumed.
fn offset_line<'a>(history: &'a History, line: &mut Line<'a>, external: &ExternalEvent) {
    let (ExternalEvent::OffsetStored { partition, .. }
    | ExternalEvent::OffsetServed { partition, .. }
    | ExternalEvent::Prepared { partition, .. }
    | ExternalEvent::Finished { partition, .. }) = external
    else {
        return;
    };
    line.topic = Some(topic(history, *partition));
    line.partition = Some(partition.partition);
    match external {
        ExternalEvent::OffsetStored { next, token, commit, accepted, .. } => {
            line.to = Some(next.0);
            line.token = (*token != -1).then_some(*token);
            line.commit = Some(*commit);
            line.accepted = (!accepted).then_some(false);
        }
        ExternalEvent::OffsetServed { next, .. } => {
            line.to = (next.0 != -1).then_some(next.0);
        }
        ExternalEvent::Prepared { first, next, attempt, .. } => {
            line.from = Some(first.0);
            line.to = Some(next.0);
            line.number = Some(*attempt);
        }
        ExternalEvent::Finished { attempt, commit, .. } => {
            line.number = Some(*attempt);
            line.result = Some(match commit {
                true => oncesim_types::TransactionResult::Commit,
                false => oncesim_types::TransactionResult::Abort,
            });
        }
        _ => {}
    }
}

fn system_error(name: &str) -> Option<SystemError> {
    SystemError::deserialize(IntoDeserializer::<ValueError>::into_deserializer(name)).ok()
}

impl Reader {
    /// What the first line says about systems.
    pub(super) fn systems(&mut self, header: &Header) -> Result<(), Complaint> {
        for sink in &header.sinks {
            let system = self.actor(&sink.system)?;
            self.system(system, SystemKind::Database);
            let sink = SinkInfo {
                name: sink.name.clone(),
                system,
                group: self.group(&sink.group)?,
                steps: sink.steps,
                absorbs: sink.absorbs,
                overwrites: sink.overwrites,
                dedups: sink.dedups,
                inbox: sink.inbox,
                window: sink.window.map(Duration),
                stores_offsets: sink.stores_offsets,
                before_commit: sink.before_commit,
                tombstones: sink.tombstones,
            };
            let count = u32::try_from(self.history.sinks.len()).unwrap_or(u32::MAX);
            self.number(count, "sinks")?;
            self.history.sinks.push(sink);
        }
        for line in &header.announcements {
            let info = AnnouncementInfo {
                service: self.actor(&line.service)?,
                database: self.actor(&line.database)?,
                to: self.topic(&line.to)?,
                how: match line.how {
                    HowWord::Outbox => Announcing::Outbox,
                    HowWord::DatabaseFirst => Announcing::DatabaseFirst,
                    HowWord::LogFirst => Announcing::LogFirst,
                    HowWord::InsideTransaction => Announcing::InsideTransaction,
                },
            };
            self.system(info.database, SystemKind::Database);
            self.history.announcements.push(info);
        }
        for line in &header.relays {
            let info = RelayInfo {
                relay: self.actor(&line.relay)?,
                database: self.actor(&line.database)?,
                to: self.topic(&line.to)?,
                progress: match line.progress {
                    ProgressWord::MarkAfterAck => RelayProgress::MarkAfterAck,
                    ProgressWord::MarkBeforeAck => RelayProgress::MarkBeforeAck,
                    ProgressWord::Cursor => RelayProgress::Cursor,
                    ProgressWord::Capture => RelayProgress::Capture,
                },
            };
            self.system(info.database, SystemKind::Database);
            self.history.relays.push(info);
        }
        Ok(())
    }

    fn effect(&mut self, line: EffectLine<'_>) -> Result<EffectId, Complaint> {
        let sinks = &self.history.sinks;
        let sink = sinks.iter().position(|sink| sink.name == line.sink).ok_or_else(|| {
            let what = format!("an effect at {}", line.sink);
            self.wrong(what, "a sink that the first line declares")
        })?;
        let sink = SinkId(u16::try_from(sink).expect("as many sinks as numbers"));
        Ok(EffectId { record: self.record(line.record), sink, step: line.step })
    }

    fn need_effect(
        &mut self,
        effect: Option<EffectLine<'_>>,
        field: &str,
        kind: Kind,
    ) -> Result<EffectId, Complaint> {
        let effect = self.need(effect, field, kind)?;
        self.effect(effect)
    }

    fn ask_outcome(&self, line: &Line<'_>) -> Result<AskOutcome, Complaint> {
        let error = line.error.as_deref().and_then(system_error);
        Ok(match self.need(line.outcome, "outcome", line.event)? {
            OutcomeWord::Ok => AskOutcome::Ok,
            OutcomeWord::Fail => AskOutcome::Refused(error.unwrap_or(SystemError::Unavailable)),
            OutcomeWord::Info => AskOutcome::Unknown(error.unwrap_or(SystemError::Timeout)),
        })
    }

    pub(super) fn external(
        &mut self,
        actor: oncesim_types::ActorId,
        line: Line<'_>,
    ) -> Result<ExternalEvent, Complaint> {
        let kind = line.event;
        Ok(match kind {
            Kind::Asked => {
                let system = self.need(line.system, "system", kind)?;
                let effect = line.effect.map(|effect| self.effect(effect)).transpose()?;
                ExternalEvent::Asked {
                    call: CallId(self.need(line.call, "call", kind)?),
                    system: self.actor(&system)?,
                    operation: self.need(line.operation, "operation", kind)?,
                    effect,
                    key: line.idempotency_key.unwrap_or(0),
                }
            }
            Kind::Answered => ExternalEvent::Answered {
                call: CallId(self.need(line.call, "call", kind)?),
                outcome: self.ask_outcome(&line)?,
                result: line.answer.unwrap_or(0),
            },
            Kind::EffectDone => ExternalEvent::EffectDone {
                effect: self.need_effect(line.effect, "effect", kind)?,
                skipped: line.skipped.unwrap_or(false),
            },
            Kind::Intended => {
                let aggregate = self.need(line.aggregate, "aggregate", kind)?;
                let name = self.need(line.record, "record", kind)?;
                let record = self.record(name);
                self.sent(record, actor);
                ExternalEvent::Intended { record, aggregate }
            }
            Kind::IntentEnded => {
                let outcome = self.ask_outcome(&line)?;
                let name = self.need(line.record, "record", kind)?;
                ExternalEvent::IntentEnded { record: self.record(name), outcome }
            }
            Kind::RelayStarted => ExternalEvent::RelayStarted {
                position: self.need(line.cursor, "cursor", kind)?,
                snapshot: line.snapshot.unwrap_or(false),
            },
            Kind::RelayPosition => {
                let position = self.need(line.cursor, "cursor", kind)?;
                ExternalEvent::RelayPosition { position }
            }
            _ => return self.system_log(line),
        })
    }

    /// What a system has in its own log.
    fn system_log(&mut self, line: Line<'_>) -> Result<ExternalEvent, Complaint> {
        let kind = line.event;
        Ok(match kind {
            Kind::Applied => {
                let start = span_start(self.history.row_changes.len());
                let changes = line.changes.unwrap_or_default();
                let changes = changes.into_iter().map(|(row, before, after)| RowChange {
                    row,
                    before,
                    after,
                });
                self.history.row_changes.extend(changes);
                let len = span_start(self.history.row_changes.len()) - start;
                ExternalEvent::Applied {
                    effect: self.need_effect(line.effect, "effect", kind)?,
                    commit: self.need(line.commit, "commit", kind)?,
                    changes: SpanIndex { start, len },
                    token: line.token.unwrap_or(-1),
                    read_at: line.read_at.unwrap_or(u64::MAX),
                }
            }
            Kind::Replayed => ExternalEvent::Replayed {
                effect: self.need_effect(line.effect, "effect", kind)?,
                original: self.need_effect(line.original, "original", kind)?,
                same_payload: line.same_payload.unwrap_or(true),
            },
            Kind::KeyEvicted => {
                let effect = self.need_effect(line.effect, "effect", kind)?;
                ExternalEvent::KeyEvicted { effect }
            }
            Kind::RowCommitted => ExternalEvent::Committed {
                role: self.need(line.role, "role", kind)?,
                record: line.record.map(|name| self.record(name)),
                commit: self.need(line.commit, "commit", kind)?,
                sequence: line.sequence.unwrap_or(0),
                changed: line.rows.unwrap_or(1),
            },
            Kind::MarksEvicted => ExternalEvent::DedupEvicted {
                commit: self.need(line.commit, "commit", kind)?,
                rows: self.need(line.rows, "rows", kind)?,
            },
            Kind::RolledBack => {
                ExternalEvent::RolledBack { record: line.record.map(|name| self.record(name)) }
            }
            _ => return self.offset_event(line),
        })
    }

    /// How far a partition was consumed, as a system has it.
    fn offset_event(&mut self, line: Line<'_>) -> Result<ExternalEvent, Complaint> {
        let kind = line.event;
        let partition = self.place(line.topic, line.partition, kind)?;
        Ok(match kind {
            Kind::OffsetStored => ExternalEvent::OffsetStored {
                partition,
                next: self.need_offset(line.to, "to", kind)?,
                token: line.token.unwrap_or(-1),
                commit: self.need(line.commit, "commit", kind)?,
                accepted: line.accepted.unwrap_or(true),
            },
            Kind::OffsetServed => {
                let next = line.to.map_or(Ok(Offset(-1)), |to| self.offset(to))?;
                ExternalEvent::OffsetServed { partition, next }
            }
            Kind::Prepared => ExternalEvent::Prepared {
                partition,
                first: self.need_offset(line.from, "from", kind)?,
                next: self.need_offset(line.to, "to", kind)?,
                attempt: self.need(line.number, "number", kind)?,
            },
            _ => ExternalEvent::Finished {
                partition,
                attempt: self.need(line.number, "number", kind)?,
                commit: self.need(line.result, "result", kind)?
                    == oncesim_types::TransactionResult::Commit,
            },
        })
    }
}
