//! A run as a Chrome trace, which ui.perfetto.dev and chrome://tracing show.
//!
//! Mirrors the Trace Event Format (the document of the Chrome tracing team) in its JSON object
//! form: complete events (`X`), instants (`i`), counters (`C`), flows (`s`, `f`) and metadata (`M`).
//! Times are virtual microseconds. A process of the run is a process of the trace, its clients are
//! threads; beside them are threads for what lasts: a crash, a pause, a transaction, a leadership.
//!
//! Simplifications. A step takes no virtual time, and a flow needs a slice to begin and end at: what
//! is sent and arrives at one moment on one thread is a slice of a microsecond, or shorter if the
//! next one follows. Slices of one thread never overlap otherwise, which the format would not show:
//! leaderships have a thread per broker and partition, so that a deposed leader that does not know
//! it stands beside its successor.

mod entry;
mod states;

use std::collections::BTreeMap;

use oncesim_history::trace::{LineKind, TraceLine};
use oncesim_types::{ActorId, Instant};

use crate::lanes::events_of_clients;
use crate::perfetto::entry::{Entry, Scope, Threads};
use crate::row::{Recording, rows};

/// How long a moment with messages is drawn, in nanoseconds.
const MOMENT: u64 = 1_000;

/// The trace; `title` says which run it is.
#[must_use]
pub fn perfetto_json(recording: &Recording, title: &str) -> String {
    let mut threads = Threads::new(recording);
    let mut entries: Vec<Entry> = Vec::new();
    messages(recording, &mut threads, &mut entries);
    instants(recording, &mut threads, &mut entries);
    states::states(recording, &mut threads, &mut entries);
    // A flow binds to the slice around it, which has to come first.
    entries.sort_by_key(|entry| (entry.at, entry.rank()));
    let mut out = String::from("{\"displayTimeUnit\":\"ms\",\"otherData\":");
    let about = BTreeMap::from([("run", title), ("time", "virtual")]);
    out.push_str(&serde_json::to_string(&about).expect("strings"));
    out.push_str(",\"traceEvents\":[\n");
    let all = threads.metadata(&entries).into_iter().chain(entries);
    let lines: Vec<String> = all.map(|entry| entry.json()).collect();
    out.push_str(&lines.join(",\n"));
    out.push_str("\n]}\n");
    out
}

/// Whether a message got somewhere, or was at least under way.
fn travels(line: &TraceLine) -> bool {
    matches!(line.kind, LineKind::Arrived | LineKind::Lost | LineKind::Unheard)
}

/// One slice per thread and moment with messages, and a flow per message that arrives.
fn messages(recording: &Recording, threads: &mut Threads<'_>, entries: &mut Vec<Entry>) {
    let lines = || recording.trace.lines.iter().filter(|line| travels(line));
    let mut moments: BTreeMap<(ActorId, Instant), Vec<String>> = BTreeMap::new();
    for line in lines() {
        let (Some((sent, _)), Some(peer)) = (line.sent, line.peer) else { continue };
        let name = |actor| recording.history.actor_name(actor);
        let text = line.text.split("  (").next().unwrap_or_default();
        let sends = format!("to {}: {text}", name(peer));
        moments.entry((line.actor, sent)).or_default().push(sends);
        if line.kind == LineKind::Arrived {
            let arrives = format!("from {}: {text}", name(line.actor));
            moments.entry((peer, line.time)).or_default().push(arrives);
        }
    }
    let mut later = moments.keys().skip(1).copied().collect::<Vec<_>>().into_iter();
    for ((actor, at), told) in &moments {
        let next = later.next().filter(|(next, _)| next == actor);
        let room = next.map_or(MOMENT, |(_, next)| next.since(*at).0);
        let thread = threads.actor(*actor);
        let name = match told.len() {
            1 => told[0].clone(),
            more => format!("{} (and {} more)", told[0], more - 1),
        };
        let mut slice = Entry::slice(thread, *at, room.min(MOMENT), "message", name);
        if told.len() > 1 {
            slice.args =
                (1..).zip(told).map(|(i, text)| (format!("{i:02}"), text.clone())).collect();
        }
        entries.push(slice);
    }
    for (id, line) in (1_u64..).zip(lines().filter(|line| line.kind == LineKind::Arrived)) {
        let (Some((sent, _)), Some(peer)) = (line.sent, line.peer) else { continue };
        let (from, to) = (threads.actor(line.actor), threads.actor(peer));
        entries.push(Entry::flow(from, sent, id, true));
        entries.push(Entry::flow(to, line.time, id, false));
    }
}

/// What clients do, what happens inside, what is lost; faults and phases are lines through all.
fn instants(recording: &Recording, threads: &mut Threads<'_>, entries: &mut Vec<Entry>) {
    for row in rows(recording, events_of_clients(&recording.history)) {
        let text = row.text().into_owned();
        let Some(line) = row.line() else {
            let category = if row.is_clients() { "client" } else { "system" };
            let thread = threads.actor(row.actor());
            entries.push(Entry::instant(thread, row.time(), category, Scope::Thread, text));
            continue;
        };
        let (category, scope) = match line.kind {
            LineKind::Arrived | LineKind::Repeated => continue,
            LineKind::Lost | LineKind::Unheard | LineKind::ConnectionGone => {
                ("lost", Scope::Thread)
            }
            LineKind::Started
            | LineKind::Crashed { .. }
            | LineKind::Paused { .. }
            | LineKind::Resumed { .. } => ("process", Scope::Process),
            LineKind::Fault(_) | LineKind::Healed(_) => ("fault", Scope::Global),
            LineKind::Phase | LineKind::Stuck => ("phase", Scope::Global),
            LineKind::Note => ("inside", Scope::Thread),
        };
        let thread = match (scope, row.peer_name()) {
            (Scope::Global, _) => threads.world(),
            _ => threads.actor(row.actor()),
        };
        let text = match row.peer_name() {
            Some(peer) => format!("to {peer}: {text}"),
            None => text,
        };
        entries.push(Entry::instant(thread, row.time(), category, scope, text));
    }
}
