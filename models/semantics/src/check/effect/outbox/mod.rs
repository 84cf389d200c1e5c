//! Table H: outboxes, relays and inboxes.
//!
//! What a service announces is owed to the topic as soon as its transaction is committed in the
//! database: the commits of the database's own log are what was owed, the final read of the topic is
//! what came of it. In between, relays move cursors and mark rows; which of them had passed a row
//! that is missing tells why it is missing.
//!
//! A cursor is compared with the number that the row's transaction drew from the database's sequence
//! (`:sequence`), a position in the database's log with the number of the commit. An outbox whose
//! cursor column is filled otherwise is judged just as well by what is missing; only the reason may
//! be a less telling one.

mod absent;
mod inbox;
mod published;

use std::collections::BTreeMap;

use oncesim_history::{
    AnnouncementInfo, ClientKind, Event, EventKind, ExternalEvent, History, RelayInfo,
    RelayProgress,
};
use oncesim_types::{ActorId, RecordId, StatementRole, TopicId};

use super::Evidence;
use crate::check::Context;
use crate::check::findings::Findings;
use crate::check::index::NONE;
use crate::check::log::NOT_COMMITTED;

/// An operation that a service announces.
#[derive(Debug, Clone, Copy)]
struct Operation {
    /// By whom: a row of [`History::announcements`].
    announcement: u16,
    aggregate: Option<u32>,
    /// Whether any transaction of it was committed, even one that changed nothing.
    committed: bool,
    /// The first commit that changed something, its event, and its number from the sequence.
    commit: u64,
    at: u32,
    sequence: i64,
    /// Whether a row of it is in the outbox.
    in_outbox: bool,
    /// When a relay marked or deleted its row.
    marked: u32,
}

/// How far a relay is.
#[derive(Debug, Clone, Default)]
struct Cursor {
    /// Where it is now, if it ever said so.
    now: Option<i64>,
    /// Each position that was higher than all before, and its event.
    advances: Vec<(i64, u32)>,
}

impl Cursor {
    /// When it first was at a position or beyond, and where exactly.
    fn reached(&self, position: i64) -> Option<(i64, u32)> {
        let first = self.advances.partition_point(|(at, _)| *at < position);
        self.advances.get(first).copied()
    }
}

/// A mark that an inbox accepted.
#[derive(Debug, Clone, Copy)]
struct Mark {
    system: ActorId,
    record: u32,
    position: u32,
}

/// What services announced, and what relays and inboxes made of it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// By record row.
    operations: BTreeMap<u32, Operation>,
    /// By row of [`History::relays`].
    cursors: Vec<Cursor>,
    marks: Vec<Mark>,
    /// How many operations were committed, and how many of them are in the log.
    committed: u64,
    published: u64,
    /// Whether a topic that events go to was not read to its end.
    undrained: bool,
}

impl Outbox {
    /// What a service, a relay or a system did.
    pub(crate) fn on_event(
        &mut self,
        context: &Context<'_>,
        position: u32,
        event: &Event,
        external: &ExternalEvent,
    ) {
        match external {
            ExternalEvent::Intended { record, aggregate } => {
                if let Some((_, operation)) = self.operation(context, *record) {
                    operation.aggregate = Some(*aggregate);
                }
            }
            ExternalEvent::Committed { record: Some(_), .. } => {
                self.on_committed(context, position, event, external);
            }
            ExternalEvent::RelayStarted { position: at, .. } => {
                if let Some(cursor) = self.cursor(context.history, event.actor) {
                    cursor.now = Some(*at);
                }
            }
            ExternalEvent::RelayPosition { position: at } => {
                if let Some(cursor) = self.cursor(context.history, event.actor) {
                    cursor.now = Some(*at);
                    if cursor.advances.last().is_none_or(|(last, _)| last < at) {
                        cursor.advances.push((*at, position));
                    }
                }
            }
            _ => {}
        }
    }

    fn on_committed(
        &mut self,
        context: &Context<'_>,
        position: u32,
        event: &Event,
        external: &ExternalEvent,
    ) {
        let ExternalEvent::Committed { role, record: Some(record), commit, sequence, changed } =
            external
        else {
            return;
        };
        if *role == StatementRole::DedupMark && *changed > 0 {
            let inbox = |s: &oncesim_history::SinkInfo| s.inbox && s.system == event.actor;
            let row = context.index.record(*record);
            if let Some(record) = row.filter(|_| context.history.sinks.iter().any(inbox)) {
                self.marks.push(Mark { system: event.actor, record, position });
            }
            return;
        }
        let Some((info, operation)) = self.operation(context, *record) else { return };
        if info.database != event.actor {
            return;
        }
        match role {
            StatementRole::Business | StatementRole::Outbox => {
                operation.committed = true;
                operation.in_outbox |= *role == StatementRole::Outbox && *changed > 0;
                if *changed > 0 && operation.at == NONE {
                    operation.at = position;
                    (operation.commit, operation.sequence) = (*commit, *sequence);
                }
            }
            StatementRole::RelayMark if *changed > 0 => {
                operation.marked = operation.marked.min(position);
            }
            _ => {}
        }
    }

    /// The operation with this record, if somebody announces it.
    fn operation<'h>(
        &mut self,
        context: &Context<'h>,
        record: RecordId,
    ) -> Option<(&'h AnnouncementInfo, &mut Operation)> {
        let announcements = &context.history.announcements;
        let number = announcements.iter().position(|a| a.service == record.origin())?;
        let row = context.index.record(record)?;
        let operation = self.operations.entry(row).or_insert(Operation {
            announcement: u16::try_from(number).expect("fewer than 65536 services"),
            aggregate: None,
            committed: false,
            commit: 0,
            at: NONE,
            sequence: 0,
            in_outbox: false,
            marked: NONE,
        });
        Some((&announcements[number], operation))
    }

    fn cursor(&mut self, history: &History, relay: ActorId) -> Option<&mut Cursor> {
        let number = history.relays.iter().position(|info| info.relay == relay)?;
        self.cursors.resize(history.relays.len(), Cursor::default());
        Some(&mut self.cursors[number])
    }

    /// Reports what only the end can tell.
    pub(crate) fn check(
        &mut self,
        context: &Context<'_>,
        evidence: &Evidence<'_>,
        findings: &mut Findings,
    ) {
        self.cursors.resize(context.history.relays.len(), Cursor::default());
        if !context.history.announcements.is_empty() {
            let log = self.log(context, evidence);
            self.undrained = log.drained.contains(&false);
            self.committed = self.operations.values().map(|o| u64::from(o.at != NONE)).sum();
            self.published = log.places.chunk_by(|a, b| a.0 == b.0).count() as u64;
            self.absent(context, evidence, &log, findings);
            self.published(context, evidence, &log, findings);
        }
        self.inboxes(context, evidence, findings);
    }

    /// Where the log has what services announce.
    fn log(&mut self, context: &Context<'_>, evidence: &Evidence<'_>) -> EventLog {
        let history = context.history;
        let mut topics: Vec<TopicId> = history.announcements.iter().map(|a| a.to).collect();
        topics.sort_unstable();
        topics.dedup();
        let mut places = Vec::new();
        for p in topics.into_iter().flat_map(|topic| context.index.topic(topic)) {
            for slot in context.index.slots(p) {
                let record = evidence.ledger.in_log(context, p, slot);
                let flags = evidence.ledger.slots[slot as usize].flags;
                if record == NONE || flags & NOT_COMMITTED != 0 {
                    continue;
                }
                let announced = self.operation(context, context.index.record_id(record));
                let topic = context.index.partitions[p as usize].topic;
                if announced.is_some_and(|(info, _)| info.to == topic) {
                    places.push((record, slot));
                }
            }
        }
        places.sort_unstable();
        let drained = |a: &AnnouncementInfo| {
            let mut partitions = context.index.topic(a.to);
            !partitions.is_empty()
                && partitions.all(|p| context.setting.partitions[p as usize].drained.is_some())
        };
        EventLog { places, drained: history.announcements.iter().map(drained).collect() }
    }

    /// Whether there are services or relays, and nothing proves that they did their work.
    pub(crate) fn unproved(&self, context: &Context<'_>) -> bool {
        let history = context.history;
        match history.announcements.is_empty() {
            true => history.sinks.is_empty(),
            false => self.undrained || self.committed == 0,
        }
    }

    /// What was seen.
    pub(crate) fn witnesses(&self, context: &Context<'_>) -> Vec<(&'static str, u64)> {
        if context.history.announcements.is_empty() {
            return Vec::new();
        }
        vec![("committed operations", self.committed), ("announced operations", self.published)]
    }
}

/// What the topics hold of what services announce.
struct EventLog {
    /// Record row and slot, ascending.
    places: Vec<(u32, u32)>,
    /// By announcement: whether its topic was read to its end.
    drained: Vec<bool>,
}

impl EventLog {
    /// Where a record is.
    fn of(&self, record: u32) -> &[(u32, u32)] {
        let from = self.places.partition_point(|place| place.0 < record);
        let to = self.places.partition_point(|place| place.0 <= record);
        &self.places[from..to]
    }
}

/// The relays that publish what a service announces, with their rows.
fn relays_of<'h>(
    history: &'h History,
    info: &AnnouncementInfo,
) -> impl Iterator<Item = (usize, &'h RelayInfo)> + Clone + use<'h> {
    let (database, to) = (info.database, info.to);
    let mine = move |(_, relay): &(usize, &RelayInfo)| relay.database == database && relay.to == to;
    history.relays.iter().enumerate().filter(mine)
}

/// Whether a relay follows the order of commits.
const fn follows_commits(progress: RelayProgress) -> bool {
    matches!(progress, RelayProgress::Capture)
}

/// The events of the history that are about an operation, for a proof.
fn story(context: &Context<'_>, record: RecordId) -> Vec<u32> {
    let told = |event: &Event| match &event.kind {
        EventKind::External(
            ExternalEvent::Intended { record: r, .. }
            | ExternalEvent::IntentEnded { record: r, .. }
            | ExternalEvent::Committed { record: Some(r), .. }
            | ExternalEvent::RolledBack { record: Some(r) },
        )
        | EventKind::Client(
            ClientKind::SendInvoke { record: r, .. } | ClientKind::SendEnd { record: r, .. },
        ) => *r == record,
        _ => false,
    };
    let events = (0u32..).zip(&context.history.events);
    events.filter(|(_, event)| told(event)).map(|(position, _)| position).take(24).collect()
}
