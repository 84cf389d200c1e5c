//! The rows of a space-time diagram: lines of the trace and events of the history in one order,
//! each with what it is about, how much it matters, and where its message was sent.

use std::collections::BTreeSet;

use oncesim_history::trace::{About, LineKind, StepId, Trace};
use oncesim_history::{ClientKind, Event, EventKind, ExternalEvent, History, Outcome, WorldEvent};
use oncesim_types::{ActorId, Instant, RecordId};

use crate::about::Sessions;
use crate::event::event_text;

/// What a row is, as the diagram draws it. The page knows the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    Arrived = 0,
    Lost = 1,
    Unheard = 2,
    Repeated = 3,
    ConnectionGone = 4,
    Started = 5,
    Crashed = 6,
    PowerLost = 7,
    Paused = 8,
    ApplicationPaused = 9,
    Resumed = 10,
    Fault = 11,
    Healed = 12,
    Phase = 13,
    Stuck = 14,
    Client = 15,
    Inside = 16,
    System = 17,
}

/// One row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) time: Instant,
    pub(super) actor: ActorId,
    pub(super) peer: Option<ActorId>,
    pub(super) sent: Option<(Instant, StepId)>,
    pub(super) step: StepId,
    pub(super) event: Option<u32>,
    pub(super) kind: Kind,
    pub(super) about: About,
    /// 0: always shown; 1: what matters; 2: what happens to data; 3: everything else.
    pub(super) rank: u8,
    pub(super) text: String,
}

/// What the page has to show first.
#[derive(Debug, Clone, Default)]
pub(super) struct Focus {
    /// Events that prove anomalies.
    pub(super) witness: BTreeSet<u32>,
    /// Steps that lead to them, or follow from them.
    pub(super) steps: BTreeSet<StepId>,
    /// Records that they are about.
    pub(super) records: BTreeSet<RecordId>,
}

/// How many causes back from a witness event are shown first.
const CAUSES: usize = 12;

impl Focus {
    /// Witness events, and their causal neighbourhood: the chain of causes that led to each, and
    /// what was sent in its step. `chain` are steps that are known to matter.
    pub(super) fn new(
        trace: &Trace,
        witness: BTreeSet<u32>,
        telling: &BTreeSet<u32>,
        records: BTreeSet<RecordId>,
        chain: &[StepId],
    ) -> Focus {
        let mut steps: BTreeSet<StepId> = chain.iter().copied().collect();
        let own: BTreeSet<StepId> =
            telling.iter().filter_map(|event| trace.step_of(*event)).collect();
        if chain.is_empty() {
            for step in &own {
                let mut next = Some(*step);
                for _ in 0..CAUSES {
                    let Some(step) = next else { break };
                    steps.insert(step);
                    next = trace.steps.get(step as usize).and_then(|it| it.cause);
                }
            }
            for line in &trace.lines {
                if line.sent.is_some_and(|(_, step)| own.contains(&step)) {
                    steps.insert(line.step);
                }
            }
        }
        Focus { witness, steps, records }
    }
}

/// What takes the rows and the events behind them, in order.
pub(super) trait Sink {
    /// A line of the trace that became the row at `row`.
    fn line(&mut self, row: usize, kind: Kind, actor: ActorId);
    /// An event of the history; `row` is its row, or the last one before it.
    fn event(&mut self, row: usize, event: &Event);
}

/// All rows of a run.
pub(super) fn rows(
    history: &History,
    trace: &Trace,
    focus: &Focus,
    sink: &mut impl Sink,
) -> Vec<Row> {
    let sessions = Sessions::of(history);
    let mut rows: Vec<Row> = Vec::with_capacity(trace.lines.len() + history.events.len());
    let mut next = 0;
    let mut take = |rows: &mut Vec<Row>, sink: &mut dyn FnMut(usize, &Event), until: usize| {
        while next < until {
            let event = &history.events[next];
            let number = u32::try_from(next).unwrap_or(u32::MAX);
            if let Some(row) = event_row(history, trace, focus, &sessions, (number, event)) {
                rows.push(row);
            }
            sink(rows.len().saturating_sub(1), event);
            next += 1;
        }
    };
    let mut before = 0;
    for line in &trace.lines {
        // A line carries the last event before it; not all carry one.
        before = line.event.map_or(before, |event| before.max(event as usize + 1));
        take(&mut rows, &mut |row, event| sink.event(row, event), before.min(history.events.len()));
        if line.kind == LineKind::Note {
            continue; // the history has it
        }
        let kind = kind_of_line(line.kind);
        let mut row = Row {
            time: line.time,
            actor: line.actor,
            peer: line.peer,
            sent: line.sent,
            step: line.step,
            event: None,
            kind,
            about: sessions.of_line(&line.about),
            rank: rank_of_line(line.kind, &line.about),
            text: line.text.clone(),
        };
        if row.rank > 1 && focus.steps.contains(&row.step) {
            row.rank = 1;
        }
        rows.push(row);
        sink.line(rows.len() - 1, kind, line.actor);
    }
    take(&mut rows, &mut |row, event| sink.event(row, event), history.events.len());
    rows
}

const fn kind_of_line(kind: LineKind) -> Kind {
    match kind {
        LineKind::Arrived => Kind::Arrived,
        LineKind::Lost => Kind::Lost,
        LineKind::Unheard => Kind::Unheard,
        LineKind::Repeated => Kind::Repeated,
        LineKind::ConnectionGone => Kind::ConnectionGone,
        LineKind::Started => Kind::Started,
        LineKind::Crashed { power: false } => Kind::Crashed,
        LineKind::Crashed { power: true } => Kind::PowerLost,
        LineKind::Paused { application: false } => Kind::Paused,
        LineKind::Paused { application: true } => Kind::ApplicationPaused,
        LineKind::Resumed { .. } => Kind::Resumed,
        LineKind::Fault(_) => Kind::Fault,
        LineKind::Healed(_) => Kind::Healed,
        LineKind::Phase => Kind::Phase,
        LineKind::Stuck => Kind::Stuck,
        LineKind::Note => Kind::Inside,
    }
}

fn rank_of_line(kind: LineKind, about: &About) -> u8 {
    let data = !about.records.is_empty() || !about.transactional_ids.is_empty();
    match kind {
        LineKind::Crashed { .. }
        | LineKind::Paused { .. }
        | LineKind::Fault(_)
        | LineKind::Phase
        | LineKind::Stuck => 0,
        LineKind::Resumed { .. } | LineKind::Healed(_) => 1,
        LineKind::Lost | LineKind::Unheard | LineKind::Repeated if data => 1,
        LineKind::Started | LineKind::Lost | LineKind::Unheard | LineKind::Repeated => 2,
        LineKind::Arrived if data => 2,
        LineKind::Arrived | LineKind::ConnectionGone | LineKind::Note => 3,
    }
}

fn event_row(
    history: &History,
    trace: &Trace,
    focus: &Focus,
    sessions: &Sessions,
    (number, event): (u32, &Event),
) -> Option<Row> {
    let witness = focus.witness.contains(&number);
    let told = !trace.lines.is_empty() && has_line(&event.kind);
    let rank = rank_of_event(event);
    if !witness && (told || rank.is_none()) {
        return None;
    }
    let step = trace.step_of(number).unwrap_or(0);
    let about = sessions.about(history, event.actor, &event.kind);
    let about_focus = about.records.iter().any(|record| focus.records.contains(record));
    let rank = match rank.unwrap_or(3) {
        _ if witness => 0,
        2 if focus.steps.contains(&step) || (about_focus && !is_copy(&event.kind)) => 1,
        rank => rank,
    };
    Some(Row {
        time: event.time,
        actor: event.actor,
        peer: None,
        sent: None,
        step,
        event: Some(number),
        kind: kind_of_event(&event.kind),
        about,
        rank,
        text: event_text(history, event),
    })
}

/// Whether the trace has a line of its own for such an event.
const fn has_line(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::World(
            WorldEvent::Started
                | WorldEvent::Crashed { .. }
                | WorldEvent::Paused
                | WorldEvent::Resumed
                | WorldEvent::Fault { .. }
                | WorldEvent::Healed { .. }
                | WorldEvent::QuiesceBegin
                | WorldEvent::Settled
        )
    )
}

const fn is_copy(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::World(
            WorldEvent::Append { leader: false, .. } | WorldEvent::Marker { leader: false, .. }
        )
    )
}

const fn kind_of_event(kind: &EventKind) -> Kind {
    match kind {
        EventKind::Client(_)
        | EventKind::External(
            ExternalEvent::Asked { .. }
            | ExternalEvent::Answered { .. }
            | ExternalEvent::EffectDone { .. }
            | ExternalEvent::Intended { .. }
            | ExternalEvent::IntentEnded { .. }
            | ExternalEvent::RelayStarted { .. }
            | ExternalEvent::RelayPosition { .. },
        ) => Kind::Client,
        EventKind::External(_) => Kind::System,
        EventKind::World(WorldEvent::Started) => Kind::Started,
        EventKind::World(WorldEvent::Crashed { power: false }) => Kind::Crashed,
        EventKind::World(WorldEvent::Crashed { power: true }) => Kind::PowerLost,
        EventKind::World(WorldEvent::Paused) => Kind::Paused,
        EventKind::World(WorldEvent::Resumed) => Kind::Resumed,
        EventKind::World(WorldEvent::Fault { .. }) => Kind::Fault,
        EventKind::World(WorldEvent::Healed { .. }) => Kind::Healed,
        EventKind::World(
            WorldEvent::QuiesceBegin | WorldEvent::Settled | WorldEvent::NotSettled,
        ) => Kind::Phase,
        EventKind::World(WorldEvent::Stuck { .. } | WorldEvent::InvariantBroken { .. }) => {
            Kind::Stuck
        }
        EventKind::World(_) => Kind::Inside,
    }
}

/// How much an event matters by itself; `None`: it changes the state, and needs no row.
fn rank_of_event(event: &Event) -> Option<u8> {
    // What the world begins with explains nothing.
    let at_start = event.time < Instant(20_000_000);
    Some(match &event.kind {
        EventKind::Client(client) => return rank_of_client(client),
        EventKind::External(ExternalEvent::RolledBack { .. } | ExternalEvent::Replayed { .. }) => 1,
        EventKind::External(ExternalEvent::OffsetStored { accepted: false, .. }) => 1,
        EventKind::External(ExternalEvent::RelayPosition { .. }) => 3,
        EventKind::External(_) => 2,
        EventKind::World(world) => match world {
            WorldEvent::Crashed { .. }
            | WorldEvent::Paused
            | WorldEvent::Fault { .. }
            | WorldEvent::QuiesceBegin
            | WorldEvent::Settled
            | WorldEvent::NotSettled
            | WorldEvent::InvariantBroken { .. }
            | WorldEvent::Stuck { .. } => 0,
            WorldEvent::PartitionChanged { .. }
            | WorldEvent::BecameLeader { .. }
            | WorldEvent::BrokerRegistered { .. }
            | WorldEvent::BrokerFenced { .. }
            | WorldEvent::CoordinatorLoaded { .. }
                if at_start =>
            {
                3
            }
            WorldEvent::Resumed
            | WorldEvent::Healed { .. }
            | WorldEvent::Truncate { .. }
            | WorldEvent::DiskLoss { .. }
            | WorldEvent::BecameLeader { .. }
            | WorldEvent::BrokerFenced { .. }
            | WorldEvent::Generation { .. }
            | WorldEvent::MemberRemoved { .. }
            | WorldEvent::TransactionTimedOut { .. }
            | WorldEvent::MarkerRejected { .. }
            | WorldEvent::OffsetRejected { .. }
            | WorldEvent::ProducerStateRejected { .. } => 1,
            WorldEvent::EndTxnApplied { issued, applied, .. } if issued != applied => 1,
            WorldEvent::Append { leader: true, records, .. } if records.len > 0 => 2,
            WorldEvent::Marker { leader: true, .. }
            | WorldEvent::PartitionChanged { .. }
            | WorldEvent::Started
            | WorldEvent::TransactionState { .. }
            | WorldEvent::EndTxnApplied { .. }
            | WorldEvent::OffsetPending { .. }
            | WorldEvent::OffsetResolved { .. }
            | WorldEvent::OffsetAccepted { .. }
            | WorldEvent::Rebalance { .. }
            | WorldEvent::Retry { .. }
            | WorldEvent::MutationHit => 2,
            WorldEvent::HighWatermark { leader: false, .. }
            | WorldEvent::Flushed { .. }
            | WorldEvent::AckedAll { .. }
            | WorldEvent::Served { .. }
            | WorldEvent::BecameFollower { .. } => return None,
            _ => 3,
        },
    })
}

const fn rank_of_client(client: &ClientKind) -> Option<u8> {
    Some(match client {
        ClientKind::PollInvoke => return None,
        ClientKind::PollEnd { records, .. } if records.len == 0 => return None,
        ClientKind::SendEnd { outcome, .. }
        | ClientKind::InitTransactionsEnd { outcome, .. }
        | ClientKind::SendOffsetsEnd { outcome, .. }
        | ClientKind::TransactionEnd { outcome, .. }
        | ClientKind::CommitEnd { outcome, .. } => match outcome {
            Outcome::Ok => 2,
            Outcome::Fail(_) | Outcome::Info(_) => 1,
        },
        ClientKind::ProducerSession { .. }
        | ClientKind::Assigned { .. }
        | ClientKind::Revoked { .. }
        | ClientKind::Lost { .. } => 1,
        ClientKind::Closed => 3,
        _ => 2,
    })
}
