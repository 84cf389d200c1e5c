//! Happened-before, and the vector clocks that say the same.
//!
//! Lamport's relation (CACM 1978) over moments: what one host does in one step of the kernel.
//! Clocks as Fidge and Mattern have them (1988): a moment comes before another if and only if its
//! clock is less.
//!
//! * A host is a process; all clients of a processor are one, and so are all incarnations: what one
//!   has flushed, the next reads. The world, where faults and phases come from, is a host as well.
//! * A moment comes after the earlier moments of its host, and after what caused its step: the
//!   message's send, the setting of the timer, the beginning of the flush.
//! * What a step does to other hosts comes after the step itself: a fault, then the crash.
//!
//! Simplification: the world acts on processes and learns nothing from them, although some faults
//! wait for a message. Else two faults would tie everything before the first to everything after
//! the second, and hide which events are concurrent. A message that nobody reads teaches nobody.

use std::collections::BTreeMap;

use oncesim_history::trace::{LineKind, Step, StepId, Trace, TraceLine, Via};
use oncesim_types::ActorId;

use crate::row::{Recording, Row, rows};

/// A host, by its position in [`Causality::hosts`].
pub(crate) type Host = usize;

/// What one host does in one step.
#[derive(Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) host: Host,
    pub(crate) step: StepId,
    /// What is to be told of it.
    pub(crate) told: Vec<Told<'a>>,
    /// Moments that it comes after, besides the earlier ones of its host.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests hold the clocks against it"))]
    pub(crate) after: Vec<usize>,
    /// How many moments of each host that are told it knows of, itself among them.
    pub(crate) clock: Vec<u32>,
}

/// One thing that a host does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told<'a> {
    /// It sends a message, which the line is about.
    Sends(&'a TraceLine),
    /// A row of the trace, at its place.
    Row(Row<'a>),
}

/// A run as moments, in an order that the relation allows.
#[derive(Debug)]
pub(crate) struct Causality<'a> {
    /// Whose process each host is; the world, at 0, is nobody's.
    pub(crate) hosts: Vec<Option<ActorId>>,
    pub(crate) moments: Vec<Moment<'a>>,
}

const WORLD: Host = 0;

impl<'a> Causality<'a> {
    /// The moments of a run with the given events as rows of their own.
    pub(crate) fn of(recording: &'a Recording, events: impl IntoIterator<Item = u32>) -> Self {
        let mut building = Building::new(&recording.trace);
        building.rows(&rows(recording, events));
        building.sends();
        building.finish()
    }
}

struct Building<'a> {
    trace: &'a Trace,
    hosts: Vec<Option<ActorId>>,
    host_of: BTreeMap<ActorId, Host>,
    /// What is told, by step and host. A step's own host is there in any case.
    told: Vec<Vec<(Host, Vec<Told<'a>>)>>,
    /// Who sent the message that arrives in a step; `Some(None)`: nobody reads it.
    sender: BTreeMap<StepId, Option<ActorId>>,
}

impl<'a> Building<'a> {
    fn new(trace: &'a Trace) -> Self {
        let mut building = Building {
            trace,
            hosts: vec![None],
            host_of: BTreeMap::new(),
            told: Vec::new(),
            sender: BTreeMap::new(),
        };
        for step in &trace.steps {
            let own = building.own_host(step);
            building.told.push(vec![(own, Vec::new())]);
        }
        building
    }

    fn own_host(&mut self, step: &Step) -> Host {
        match step.via {
            Via::Beginning | Via::Fault | Via::World => WORLD,
            Via::Message | Via::Timer | Via::Wake | Via::Disk | Via::Connection | Via::Start => {
                self.host(step.actor)
            }
        }
    }

    fn host(&mut self, actor: ActorId) -> Host {
        let process = self.trace.process_of(actor);
        *self.host_of.entry(process).or_insert_with(|| {
            self.hosts.push(Some(process));
            self.hosts.len() - 1
        })
    }

    fn tell(&mut self, step: StepId, host: Host, what: Told<'a>) {
        let Some(hosts) = self.told.get_mut(step as usize) else { return };
        match hosts.iter_mut().find(|(known, _)| *known == host) {
            Some((_, told)) => told.push(what),
            None => hosts.push((host, vec![what])),
        }
    }

    /// What was sent stands in the step that sent it.
    fn sends(&mut self) {
        for line in &self.trace.lines {
            let Some((_, sent)) = line.sent.filter(|_| line.kind != LineKind::Repeated) else {
                continue;
            };
            let host = self.host(line.actor);
            self.tell(sent, host, Told::Sends(line));
        }
    }

    fn rows(&mut self, rows: &[Row<'a>]) {
        for row in rows {
            let (step, host) = match row.line() {
                None => {
                    let step = row.event().and_then(|event| self.trace.step_of(event));
                    (step.unwrap_or(0), self.host(row.actor()))
                }
                Some(line) => {
                    match line.kind {
                        LineKind::Arrived => self.sender.insert(line.step, Some(line.actor)),
                        LineKind::Unheard => self.sender.insert(line.step, None),
                        _ => None,
                    };
                    (line.step, self.host_of_line(line))
                }
            };
            self.tell(step, host, Told::Row(*row));
        }
    }

    /// A message is told where it arrives.
    fn host_of_line(&mut self, line: &TraceLine) -> Host {
        match (line.kind, line.peer) {
            (LineKind::Fault(_) | LineKind::Healed(_) | LineKind::Phase | LineKind::Stuck, _) => {
                WORLD
            }
            (LineKind::Arrived | LineKind::Unheard, Some(peer)) => self.host(peer),
            _ => self.host(line.actor),
        }
    }

    fn finish(mut self) -> Causality<'a> {
        // Where the moments of a step begin.
        let mut begins: Vec<usize> = Vec::with_capacity(self.told.len());
        let mut moments: Vec<Moment<'a>> = Vec::with_capacity(self.told.len());
        let mut latest: Vec<Option<usize>> = vec![None; self.hosts.len()];
        for (step, told) in (0..).zip(std::mem::take(&mut self.told)) {
            let own = moments.len();
            begins.push(own);
            for (i, (host, told)) in told.into_iter().enumerate() {
                let after = match i {
                    _ if host == WORLD => Vec::new(),
                    0 => self.cause(step, host, &begins, &moments).into_iter().collect(),
                    _ => vec![own],
                };
                let clock = self.clock(host, latest[host], &after, !told.is_empty(), &moments);
                latest[host] = Some(moments.len());
                moments.push(Moment { host, step, told, after, clock });
            }
        }
        Causality { hosts: self.hosts, moments }
    }

    /// The moment that caused a step of a process.
    fn cause(
        &self,
        step: StepId,
        host: Host,
        begins: &[usize],
        moments: &[Moment<'a>],
    ) -> Option<usize> {
        let cause = self.trace.steps[step as usize].cause?;
        let from = match self.sender.get(&step) {
            Some(None) => return None,
            Some(Some(sender)) => self.host_of.get(&self.trace.process_of(*sender)).copied()?,
            None => host,
        };
        let first = *begins.get(cause as usize)?;
        let in_step = moments[first..].iter().take_while(|moment| moment.step == cause);
        let by = in_step.enumerate().find(|(_, moment)| moment.host == from);
        Some(by.map_or(first, |(i, _)| first + i))
    }

    fn clock(
        &self,
        host: Host,
        before: Option<usize>,
        after: &[usize],
        told: bool,
        moments: &[Moment<'a>],
    ) -> Vec<u32> {
        let mut clock = vec![0; self.hosts.len()];
        for &moment in before.iter().chain(after) {
            for (mine, theirs) in clock.iter_mut().zip(&moments[moment].clock) {
                *mine = (*mine).max(*theirs);
            }
        }
        // Only what is told is counted: a reader of clocks sees no gaps.
        clock[host] += u32::from(told);
        clock
    }
}
