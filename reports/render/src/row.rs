//! The rows of a shown trace: its lines, and events of the history that have no line of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use oncesim_history::trace::{LineKind, Trace, TraceLine};
use oncesim_history::{ActorRole, Event, EventKind, History, WorldEvent};
use oncesim_types::{ActorId, Instant};

use crate::event::event_text;

/// What a run recorded of itself, if it was asked to.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// What clients saw, and what happened inside.
    pub history: History,
    /// Step by step.
    pub trace: Trace,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    history: &'a History,
    what: What<'a>,
}

#[derive(Debug, Clone, Copy)]
enum What<'a> {
    Line(&'a TraceLine),
    Event(u32, &'a Event),
}

impl<'a> Row<'a> {
    pub(crate) fn time(&self) -> Instant {
        match self.what {
            What::Line(line) => line.time,
            What::Event(_, event) => event.time,
        }
    }

    pub(crate) fn actor(&self) -> ActorId {
        match self.what {
            What::Line(line) => line.actor,
            What::Event(_, event) => event.actor,
        }
    }

    /// The other end of a message.
    pub(crate) fn peer(&self) -> Option<ActorId> {
        match self.what {
            What::Line(line) => line.peer,
            What::Event(..) => None,
        }
    }

    pub(crate) fn actor_name(&self) -> &'a str {
        self.history.actor_name(self.actor())
    }

    pub(crate) fn peer_name(&self) -> Option<&'a str> {
        self.peer().map(|peer| self.history.actor_name(peer))
    }

    /// The event of the history that it is.
    pub(crate) fn event(&self) -> Option<u32> {
        match self.what {
            What::Line(_) => None,
            What::Event(position, _) => Some(position),
        }
    }

    pub(crate) fn line(&self) -> Option<&'a TraceLine> {
        match self.what {
            What::Line(line) => Some(line),
            What::Event(..) => None,
        }
    }

    /// In words, without actor and time.
    pub(crate) fn text(&self) -> Cow<'a, str> {
        match self.what {
            What::Line(line) => Cow::Borrowed(&line.text),
            What::Event(_, event) => Cow::Owned(event_text(self.history, event)),
        }
    }

    /// Whether it is what a client did or saw.
    pub(crate) fn is_clients(&self) -> bool {
        let What::Event(_, event) = self.what else { return false };
        match event.kind {
            EventKind::Client(_) => true,
            EventKind::World(_) => false,
            EventKind::External(_) => {
                let actor = self.history.actors.get(usize::from(event.actor.0));
                !actor.is_some_and(|actor| matches!(actor.role, ActorRole::System(_)))
            }
        }
    }
}

/// The lines of a trace with the given events of its history (positions, ascending) as rows of
/// their own, each behind what had happened before it.
pub(crate) fn rows(recording: &Recording, events: impl IntoIterator<Item = u32>) -> Vec<Row<'_>> {
    let Recording { history, trace } = recording;
    let mut wanted = events.into_iter().filter_map(|position| {
        let event = history.events.get(position as usize)?;
        Some((position, Row { history, what: What::Event(position, event) }))
    });
    let mut next = wanted.next();
    let mut out = Vec::with_capacity(trace.lines.len());
    let mut written = None;
    for line in &trace.lines {
        // A line carries the last event before it; the first ones carry none.
        written = written.max(line.event);
        while let Some((_, row)) = next.take_if(|(position, _)| Some(*position) <= written) {
            out.push(row);
            next = wanted.next();
        }
        out.push(Row { history, what: What::Line(line) });
    }
    out.extend(next.into_iter().chain(wanted).map(|(_, row)| row));
    out
}

/// Whether an event from inside is told by a line of the trace as well.
pub(crate) fn has_line(event: &WorldEvent) -> bool {
    match event {
        WorldEvent::Started
        | WorldEvent::Crashed { .. }
        | WorldEvent::Paused
        | WorldEvent::Resumed
        | WorldEvent::Fault { .. }
        | WorldEvent::Healed { .. }
        | WorldEvent::QuiesceBegin
        | WorldEvent::Settled
        | WorldEvent::Append { .. }
        | WorldEvent::Marker { .. }
        | WorldEvent::MarkerRejected { .. }
        | WorldEvent::LastStableOffset { .. }
        | WorldEvent::TransactionState { .. }
        | WorldEvent::TransactionTimedOut { .. }
        | WorldEvent::Truncate { .. }
        | WorldEvent::HighWatermark { .. }
        | WorldEvent::BecameLeader { .. }
        | WorldEvent::PartitionChanged { .. }
        | WorldEvent::BrokerFenced { .. }
        | WorldEvent::Generation { .. }
        | WorldEvent::Rebalance { .. }
        | WorldEvent::MemberRemoved { .. }
        | WorldEvent::Retry { .. }
        | WorldEvent::Stuck { .. } => true,
        WorldEvent::NotSettled
        | WorldEvent::EndTxnApplied { .. }
        | WorldEvent::OffsetPending { .. }
        | WorldEvent::OffsetResolved { .. }
        | WorldEvent::DiskLoss { .. }
        | WorldEvent::Flushed { .. }
        | WorldEvent::BecameFollower { .. }
        | WorldEvent::AckedAll { .. }
        | WorldEvent::ProducerStateRejected { .. }
        | WorldEvent::Served { .. }
        | WorldEvent::BrokerRegistered { .. }
        | WorldEvent::OffsetAccepted { .. }
        | WorldEvent::OffsetRejected { .. }
        | WorldEvent::CoordinatorLoaded { .. }
        | WorldEvent::MutationHit
        | WorldEvent::InvariantBroken { .. } => false,
    }
}

/// When it matters that a message was sent earlier than it arrives: it was under way for far longer
/// than others, nobody was there any more, or one of its ends died or stood still meanwhile.
#[derive(Debug)]
pub(crate) struct Journeys {
    /// Longer than this is long.
    long: oncesim_types::Duration,
    /// When processes died, stopped and went on.
    breaks: BTreeMap<ActorId, Vec<Instant>>,
}

/// So many times the usual time under way is long.
const LONG: u64 = 5;

impl Journeys {
    pub(crate) fn of(trace: &Trace) -> Journeys {
        let mut breaks: BTreeMap<ActorId, Vec<Instant>> = BTreeMap::new();
        let mut times: Vec<oncesim_types::Duration> = Vec::new();
        for line in &trace.lines {
            match line.kind {
                LineKind::Crashed { .. } | LineKind::Paused { .. } | LineKind::Resumed { .. } => {
                    breaks.entry(line.actor).or_default().push(line.time);
                }
                _ => times.extend(line.sent.map(|(sent, _)| line.time.since(sent))),
            }
        }
        times.sort_unstable();
        let usual = times.get(times.len() / 2).map_or(0, |time| time.0);
        Journeys { long: oncesim_types::Duration(usual.saturating_mul(LONG)), breaks }
    }

    /// When a message was sent, if that matters.
    pub(crate) fn sent(&self, line: &TraceLine) -> Option<Instant> {
        let (sent, _) = line.sent?;
        let broken = |actor: ActorId| {
            let breaks = self.breaks.get(&actor).map_or(&[][..], Vec::as_slice);
            breaks.iter().any(|at| (sent..=line.time).contains(at))
        };
        let matters = sent < line.time
            && (line.kind == LineKind::Unheard
                || line.time.since(sent) > self.long
                || broken(line.actor)
                || line.peer.is_some_and(broken));
        matters.then_some(sent)
    }
}
