//! What lasts: crashes, pauses, transactions, leaderships, generations; and the offsets that move.

use std::collections::BTreeMap;

use oncesim_history::trace::{LineKind, TraceLine};
use oncesim_history::{ClientKind, Event, EventKind, WorldEvent};
use oncesim_types::{ActorId, Instant, TransactionState};

use super::entry::{Entry, Thread, Threads};
use crate::row::Recording;

/// A state that has not ended.
#[derive(Debug)]
struct Open {
    since: Instant,
    category: &'static str,
    name: String,
    /// Whose process it dies with.
    owner: Option<ActorId>,
}

struct States<'a, 'b> {
    recording: &'a Recording,
    threads: &'b mut Threads<'a>,
    entries: &'b mut Vec<Entry>,
    open: BTreeMap<Thread, Open>,
}

/// What happened, in one order.
enum Happened<'a> {
    Line(&'a TraceLine),
    Event(&'a Event),
}

/// Writes everything that lasts.
pub(super) fn states<'a>(
    recording: &'a Recording,
    threads: &mut Threads<'a>,
    entries: &mut Vec<Entry>,
) {
    let mut states = States { recording, threads, entries, open: BTreeMap::new() };
    let lines = recording.trace.lines.iter().map(|line| (line.time, Happened::Line(line)));
    let events = recording.history.events.iter().map(|event| (event.time, Happened::Event(event)));
    let mut all: Vec<(Instant, Happened<'_>)> = lines.chain(events).collect();
    all.sort_by_key(|(time, _)| *time);
    let last = all.last().map_or(Instant::ZERO, |(time, _)| *time);
    for (_, happened) in all {
        match happened {
            Happened::Line(line) => states.line(line),
            Happened::Event(event) => match &event.kind {
                EventKind::Client(client) => states.client(event, client),
                EventKind::World(world) => states.world(event, world),
                EventKind::External(_) => {}
            },
        }
    }
    let end = recording.history.end.max(last);
    while let Some((thread, open)) = states.open.pop_first() {
        states.write(thread, open, end);
    }
}

impl States<'_, '_> {
    fn begin(&mut self, thread: Thread, since: Instant, open: Open) {
        self.end(thread, since);
        self.open.insert(thread, open);
    }

    fn end(&mut self, thread: Thread, at: Instant) {
        if let Some(open) = self.open.remove(&thread) {
            self.write(thread, open, at);
        }
    }

    fn write(&mut self, thread: Thread, open: Open, end: Instant) {
        let lasts = end.since(open.since).0;
        self.entries.push(Entry::slice(thread, open.since, lasts, open.category, open.name));
    }

    /// What a process holds dies with it.
    fn dies(&mut self, actor: ActorId, at: Instant) {
        let process = |actor| self.recording.trace.process_of(actor);
        let dead = process(actor);
        let held: Vec<Thread> = self
            .open
            .iter()
            .filter(|(_, open)| open.owner.map(process) == Some(dead))
            .map(|(thread, _)| *thread)
            .collect();
        held.into_iter().for_each(|thread| self.end(thread, at));
    }

    fn line(&mut self, line: &TraceLine) {
        let (actor, since) = (line.actor, line.time);
        let track = |application: bool| {
            if application { "application paused" } else { "down or paused" }
        };
        let state =
            |name: &str| Open { since, category: "process", name: name.to_owned(), owner: None };
        match line.kind {
            LineKind::Crashed { power } => {
                self.dies(actor, since);
                let application = self.threads.beside(actor, track(true));
                self.end(application, since);
                let thread = self.threads.beside(actor, track(false));
                let why = if power { "down: lost power" } else { "down: crashed" };
                self.begin(thread, since, state(why));
            }
            LineKind::Started => {
                let thread = self.threads.beside(actor, track(false));
                self.end(thread, since);
            }
            LineKind::Paused { application } => {
                let thread = self.threads.beside(actor, track(application));
                self.begin(thread, since, state("paused"));
            }
            LineKind::Resumed { application } => {
                let thread = self.threads.beside(actor, track(application));
                self.end(thread, since);
            }
            _ => {}
        }
    }

    fn client(&mut self, event: &Event, client: &ClientKind) {
        match client {
            ClientKind::TransactionBegin { number } => {
                let thread = self.threads.beside(event.actor, "transactions");
                let open = Open {
                    since: event.time,
                    category: "transaction",
                    name: number.to_string(),
                    owner: Some(event.actor),
                };
                self.begin(thread, event.time, open);
            }
            ClientKind::TransactionEnd { .. } => {
                let thread = self.threads.beside(event.actor, "transactions");
                self.end(thread, event.time);
            }
            _ => {}
        }
    }

    fn world(&mut self, event: &Event, world: &WorldEvent) {
        let (history, since) = (&self.recording.history, event.time);
        match world {
            WorldEvent::BecameLeader { partition, leader_epoch, .. } => {
                let name = history.partition_name(*partition);
                let thread = self.threads.beside(event.actor, &format!("leads {name}"));
                let open = Open {
                    since,
                    category: "leadership",
                    name: format!("{name} epoch {leader_epoch}"),
                    owner: Some(event.actor),
                };
                self.begin(thread, since, open);
            }
            WorldEvent::BecameFollower { partition, .. } => {
                let name = history.partition_name(*partition);
                let thread = self.threads.beside(event.actor, &format!("leads {name}"));
                self.end(thread, since);
            }
            WorldEvent::Rebalance { group, reason } => {
                let name = format!("rebalances: {reason}");
                self.of_group(history.group_name(*group), since, name);
            }
            WorldEvent::Generation { group, generation, .. } => {
                let name = format!("generation {generation}");
                self.of_group(history.group_name(*group), since, name);
            }
            WorldEvent::TransactionState { transactional_id, to, .. } => {
                let id = usize::from(transactional_id.0);
                let id = history.transactional_ids.get(id).map_or("?", String::as_str);
                let thread = self.threads.transactional(id);
                self.end(thread, since);
                let rests = matches!(
                    to,
                    TransactionState::Empty
                        | TransactionState::CompleteCommit
                        | TransactionState::CompleteAbort
                        | TransactionState::Dead
                );
                if !rests {
                    let name = to.name().to_owned();
                    let open = Open { since, category: "transaction", name, owner: None };
                    self.begin(thread, since, open);
                }
            }
            WorldEvent::HighWatermark { partition, high_watermark, leader: true, .. } => {
                self.counts("high watermark", *partition, since, high_watermark.0);
            }
            WorldEvent::LastStableOffset { partition, last_stable_offset } => {
                self.counts("last stable offset", *partition, since, last_stable_offset.0);
            }
            _ => {}
        }
    }

    fn of_group(&mut self, group: &str, since: Instant, name: String) {
        let thread = self.threads.group(group);
        self.begin(thread, since, Open { since, category: "group", name, owner: None });
    }

    /// An offset of a partition of an application.
    fn counts(
        &mut self,
        what: &str,
        partition: oncesim_types::TopicPartition,
        at: Instant,
        offset: i64,
    ) {
        let history = &self.recording.history;
        let topic = history.topics.get(usize::from(partition.topic.0));
        if topic.is_some_and(|topic| topic.internal) {
            return;
        }
        let name = history.partition_name(partition);
        let thread = self.threads.partition(&name);
        self.entries.push(Entry::counter(thread, at, format!("{name} {what}"), offset));
    }
}
