//! One entry of a Chrome trace, and the threads that entries stand on.

use std::collections::{BTreeMap, BTreeSet};

use oncesim_types::{ActorId, Instant};
use serde::Serialize;

use crate::row::Recording;

/// A process and a thread of the trace; threads are numbered through, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thread {
    pub(super) process: u32,
    pub(super) thread: u32,
}

/// How far an instant is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Thread,
    Process,
    Global,
}

#[derive(Debug, Clone)]
enum Phase {
    Slice { dur: u64 },
    Instant(Scope),
    Counter,
    FlowBegins(u64),
    FlowEnds(u64),
    Metadata,
}

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) at: Instant,
    thread: Thread,
    category: &'static str,
    name: String,
    phase: Phase,
    pub(super) args: BTreeMap<String, String>,
    /// Of a counter, and of what metadata sorts by.
    value: Option<i64>,
}

/// An entry as the format writes it.
#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cat: &'static str,
    ph: &'static str,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    args: BTreeMap<&'a str, serde_json::Value>,
}

/// Nanoseconds in the unit of the format.
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

impl Entry {
    fn new(
        thread: Thread,
        at: Instant,
        category: &'static str,
        name: String,
        phase: Phase,
    ) -> Self {
        Entry { at, thread, category, name, phase, args: BTreeMap::new(), value: None }
    }

    /// Something that lasts.
    pub(super) fn slice(
        thread: Thread,
        at: Instant,
        nanos: u64,
        category: &'static str,
        name: String,
    ) -> Self {
        Entry::new(thread, at, category, name, Phase::Slice { dur: nanos })
    }

    pub(super) fn instant(
        thread: Thread,
        at: Instant,
        category: &'static str,
        scope: Scope,
        name: String,
    ) -> Self {
        Entry::new(thread, at, category, name, Phase::Instant(scope))
    }

    pub(super) fn counter(thread: Thread, at: Instant, name: String, value: i64) -> Self {
        Entry { value: Some(value), ..Entry::new(thread, at, "offset", name, Phase::Counter) }
    }

    /// Where a message begins its way, or ends it.
    pub(super) fn flow(thread: Thread, at: Instant, id: u64, begins: bool) -> Self {
        let phase = if begins { Phase::FlowBegins(id) } else { Phase::FlowEnds(id) };
        Entry::new(thread, at, "message", "message".to_owned(), phase)
    }

    /// Slices before what stands in them.
    pub(super) fn rank(&self) -> u8 {
        u8::from(!matches!(self.phase, Phase::Slice { .. }))
    }

    pub(super) fn json(&self) -> String {
        let (ph, dur, id, bp, s) = match &self.phase {
            Phase::Slice { dur } => ("X", Some(micros(*dur)), None, None, None),
            Phase::Instant(Scope::Thread) => ("i", None, None, None, Some("t")),
            Phase::Instant(Scope::Process) => ("i", None, None, None, Some("p")),
            Phase::Instant(Scope::Global) => ("i", None, None, None, Some("g")),
            Phase::Counter => ("C", None, None, None, None),
            Phase::FlowBegins(id) => ("s", None, Some(*id), None, None),
            // To the slice around it, not to the next one.
            Phase::FlowEnds(id) => ("f", None, Some(*id), Some("e"), None),
            Phase::Metadata => ("M", None, None, None, None),
        };
        let texts = self.args.iter().map(|(key, text)| (key.as_str(), text.as_str().into()));
        let mut args: BTreeMap<&str, serde_json::Value> = texts.collect();
        if let Some(value) = self.value {
            let key = if matches!(self.phase, Phase::Counter) { "offset" } else { "sort_index" };
            args.insert(key, value.into());
        }
        let written = Written {
            name: &self.name,
            cat: self.category,
            ph,
            ts: micros(self.at.0),
            dur,
            pid: self.thread.process,
            tid: self.thread.thread,
            id,
            bp,
            s,
            args,
        };
        serde_json::to_string(&written).expect("strings, integers and finite numbers only")
    }
}

/// What a process of the trace stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Process {
    World,
    /// What belongs to a partition whoever leads it.
    Partitions,
    Groups,
    TransactionalIds,
    Actor(ActorId),
}

impl Process {
    /// From 1; 0 is the idle process of real machines.
    fn number(&self) -> u32 {
        match self {
            Process::World => 1,
            Process::Partitions => 2,
            Process::Groups => 3,
            Process::TransactionalIds => 4,
            Process::Actor(actor) => 5 + u32::from(actor.0),
        }
    }
}

/// The threads that are used so far.
#[derive(Debug)]
pub(super) struct Threads<'a> {
    recording: &'a Recording,
    known: BTreeMap<(Process, String), Thread>,
}

impl<'a> Threads<'a> {
    pub(super) fn new(recording: &'a Recording) -> Self {
        Threads { recording, known: BTreeMap::new() }
    }

    fn get(&mut self, process: Process, name: String) -> Thread {
        let next = u32::try_from(self.known.len()).expect("few threads") + 1;
        let number = process.number();
        *self.known.entry((process, name)).or_insert(Thread { process: number, thread: next })
    }

    /// An actor, within its process.
    pub(super) fn actor(&mut self, actor: ActorId) -> Thread {
        self.beside(actor, "")
    }

    /// Something of an actor that lasts.
    pub(super) fn beside(&mut self, actor: ActorId, what: &str) -> Thread {
        let process = Process::Actor(self.recording.trace.process_of(actor));
        let name = self.recording.history.actor_name(actor);
        let name = if what.is_empty() { name.to_owned() } else { format!("{name} {what}") };
        self.get(process, name)
    }

    pub(super) fn world(&mut self) -> Thread {
        self.get(Process::World, "faults and phases".to_owned())
    }

    pub(super) fn partition(&mut self, name: &str) -> Thread {
        self.get(Process::Partitions, name.to_owned())
    }

    pub(super) fn group(&mut self, name: &str) -> Thread {
        self.get(Process::Groups, name.to_owned())
    }

    pub(super) fn transactional(&mut self, name: &str) -> Thread {
        self.get(Process::TransactionalIds, name.to_owned())
    }

    /// Names and order of everything that is used.
    pub(super) fn metadata(&self, entries: &[Entry]) -> Vec<Entry> {
        let used: BTreeSet<Thread> = entries.iter().map(|entry| entry.thread).collect();
        let mut out = Vec::new();
        let mut entry = |thread: Thread, what: &str, name: Option<&str>, order: Option<i64>| {
            let made = Entry::new(thread, Instant::ZERO, "", what.to_owned(), Phase::Metadata);
            let args = name.map(|name| ("name".to_owned(), name.to_owned())).into_iter().collect();
            out.push(Entry { args, value: order, ..made });
        };
        let mut last = None;
        for ((process, name), thread) in self.known.iter().filter(|(_, it)| used.contains(it)) {
            if last != Some(process) {
                let whose = match process {
                    Process::World => "world",
                    Process::Partitions => "partitions",
                    Process::Groups => "groups",
                    Process::TransactionalIds => "transactional ids",
                    Process::Actor(actor) => self.recording.history.actor_name(*actor),
                };
                entry(*thread, "process_name", Some(whose), None);
                entry(*thread, "process_sort_index", None, Some(i64::from(process.number())));
                last = Some(process);
            }
            entry(*thread, "thread_name", Some(name), None);
        }
        out
    }
}
