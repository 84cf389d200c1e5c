//! The causal chain of an anomaly: a slice of the run, backwards from its witness.
//!
//! # The rule
//!
//! Lamport's happened-before (CACM 1978) is in the steps of a trace: a step comes after the step
//! that sent its message, set its timer or began its flush, and after the earlier steps of the same
//! process; a process continues the one before it on the same disk. In a cluster that heartbeats and
//! fetches, nearly everything happened before everything a second later, so the cone of the witness
//! alone explains nothing. Three more conditions make a chain of it. An event belongs to it when
//!
//! 1. it is in the cone of an event of the witness, or is a fault that the failure needs, or a message
//!    that did not arrive and was sent in the cone;
//! 2. it is *about* the anomaly's [`Subject`]: its records, the partitions, groups and transactions
//!    that carry them, and what befell the processes that handled them (`facts.rs`);
//! 3. where counterfactual runs have said that a fault is not necessary, what this fault did is out;
//! 4. no more than [`LONGEST`] others weigh more, and it weighs more than mere setting. Ties go to the
//!    later event.
//!
//! Messages are in it where no event of their step says the same: those that were lost, came late,
//! or came twice. What lies between two links is counted.
//!
//! # Limits
//!
//! What did *not* happen has no step: an acknowledgement that was never sent is seen by its absence,
//! or by the fault that took it. Dependence through a broker's memory is followed by partition and
//! transaction, not by value, so a link can be in the chain although another value of it would have
//! changed nothing; counterfactual runs are asked about faults only, because only faults can be
//! taken out of a run.

use std::collections::{BTreeMap, BTreeSet};

use oncesim_history::trace::{LineKind, StepId, Trace, TraceLine, Via};
use oncesim_history::{EventKind, History, WorldEvent};
use oncesim_semantics::Anomaly;
use oncesim_types::{ActorId, Duration, Instant};

use super::facts::{self, Known, LOST, NEEDED_FAULT, WITNESS, Weights};
use super::subject::Subject;

/// Links of a chain, at most, unless its witness and the faults that it needs are more.
pub(super) const LONGEST: usize = 22;
/// What weighs less is setting, which is left out ...
const SETTING: u8 = 50;
/// ... unless a chain would have fewer links.
const SHORT: usize = 8;
/// A message that takes longer is late.
const LATE: Duration = Duration::from_millis(500);

/// One link of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its step.
    pub step: StepId,
    /// What it is.
    pub what: LinkWhat,
    /// Whether the witness names it.
    pub witness: bool,
    /// How much it weighs: 100 is the witness.
    pub weight: u8,
    /// What lies between the link before it and this one, and is left out.
    pub left_out: LeftOut,
}

/// What a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkWhat {
    /// An event of the history, by position.
    Event(u32),
    /// A line of the trace, by position.
    Line(u32),
}

/// Lines of the trace that were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Heartbeats and fetches, and their answers.
    pub chatter: u64,
    /// Everything else.
    pub others: u64,
}

/// What is sliced.
pub(super) struct Run<'a> {
    pub(super) history: &'a History,
    pub(super) trace: &'a Trace,
    /// The first actor of each actor's process.
    pub(super) processes: &'a [ActorId],
}

/// The chain of an anomaly, in the order of time. `needed`: the faults that the failure needs.
pub(super) fn slice(
    run: &Run<'_>,
    anomaly: &Anomaly,
    subject: &Subject,
    needed: &BTreeSet<u32>,
) -> Vec<Link> {
    let witness = &anomaly.witness.events;
    let steps: Vec<StepId> = witness.iter().filter_map(|it| run.trace.step_of(*it)).collect();
    let cone = cone(run, &steps);
    let unneeded = of_other_faults(run, needed);
    let others_processes = started_by(run, &unneeded);
    let known = Known {
        history: run.history,
        subject,
        needed,
        processes: run.processes,
        unneeded: &unneeded,
        others_processes: &others_processes,
        witness,
    };
    let mut weights = facts::weigh(&known);
    weights.retain(|position, weight| {
        let step = run.trace.step_of(*position);
        *weight >= NEEDED_FAULT || step.is_some_and(|step| cone.contains(&step))
    });
    let first = weights.keys().next().copied().unwrap_or(0);
    let last = witness.last().copied().unwrap_or(0);
    let mut links: Vec<Link> = Vec::new();
    for (position, weight) in &weights {
        if let Some(step) = run.trace.step_of(*position) {
            links.push(link(step, LinkWhat::Event(*position), *weight));
        }
    }
    for (number, weight) in messages(run, subject, &weights, &cone, (first, last)) {
        let line = &run.trace.lines[number as usize];
        links.push(link(line.step, LinkWhat::Line(number), weight));
    }
    drop_echoes(run, &mut links);
    let mut chain = heaviest(links);
    chain.sort_by_key(|link| (link.step, place_of(run, link.what)));
    count_left_out(run.trace, &mut chain);
    // What was before the story is no part of it.
    if let Some(first) = chain.first_mut() {
        first.left_out = LeftOut::default();
    }
    chain
}

fn link(step: StepId, what: LinkWhat, weight: u8) -> Link {
    Link { step, what, witness: weight == WITNESS, weight, left_out: LeftOut::default() }
}

fn heaviest(mut links: Vec<Link>) -> Vec<Link> {
    links.sort_by_key(|link| std::cmp::Reverse((link.weight, link.step, link.what)));
    let count = |least: u8| links.iter().filter(|link| link.weight >= least).count();
    let longest = count(SETTING).clamp(SHORT, LONGEST).max(count(NEEDED_FAULT));
    links.truncate(longest);
    links
}

/// A fault and what it does are one thing: the fault comes first, and what its words say already is
/// not said again.
fn drop_echoes(run: &Run<'_>, links: &mut Vec<Link>) {
    let event = |link: &Link| match link.what {
        LinkWhat::Event(position) => run.history.events.get(position as usize),
        LinkWhat::Line(_) => None,
    };
    let mut strikes: BTreeSet<(StepId, &str)> = BTreeSet::new();
    let mut returns: BTreeSet<Instant> = BTreeSet::new();
    for link in links.iter() {
        let Some(event) = event(link) else { continue };
        match &event.kind {
            EventKind::World(WorldEvent::Fault { index }) => {
                let fault = run.history.faults.get(*index as usize).map_or("", String::as_str);
                strikes.insert((link.step, fault));
            }
            EventKind::World(WorldEvent::Started | WorldEvent::Resumed) => {
                returns.insert(event.time);
            }
            _ => {}
        }
    }
    // Where the fault stands for what the witness names, it is a part of the proof.
    let mut proved: BTreeSet<StepId> = BTreeSet::new();
    links.retain(|link| {
        let Some(event) = event(link) else { return true };
        let name = run.history.actor_name(event.actor);
        match &event.kind {
            EventKind::World(WorldEvent::Crashed { .. } | WorldEvent::Paused) => {
                let said = |fault: &str| fault.split(' ').any(|word| word == name);
                let echo = strikes.iter().any(|(step, fault)| *step == link.step && said(fault));
                proved.extend((echo && link.witness).then_some(link.step));
                !echo
            }
            EventKind::World(WorldEvent::Healed { .. }) => {
                link.witness || !returns.contains(&event.time)
            }
            _ => true,
        }
    });
    for link in links.iter_mut().filter(|link| proved.contains(&link.step)) {
        let strikes = event(link)
            .is_some_and(|event| matches!(event.kind, EventKind::World(WorldEvent::Fault { .. })));
        link.witness |= strikes;
    }
}

/// Where in its step a link is shown: as it happened, but a fault before what it does.
fn place_of(run: &Run<'_>, what: LinkWhat) -> (u32, u8, u32) {
    if let LinkWhat::Event(position) = what
        && let Some(EventKind::World(WorldEvent::Fault { .. })) =
            run.history.events.get(position as usize).map(|event| &event.kind)
        && let Some(step) = run.trace.step_of(position)
    {
        // A fault of one message strikes in the step that sends it, behind what led to that.
        let first = run.trace.steps[step as usize].events;
        let alone = run.trace.steps[step as usize].via == Via::Fault;
        return (if alone { first } else { position }, 0, 0);
    }
    place(run.trace, what)
}

/// Where a link stands among events and lines: after how many events, and whether it is the event.
fn place(trace: &Trace, what: LinkWhat) -> (u32, u8, u32) {
    match what {
        LinkWhat::Event(position) => (position, 1, 0),
        LinkWhat::Line(number) => {
            let line = &trace.lines[number as usize];
            (line.event.map_or(0, |event| event + 1), 0, number)
        }
    }
}

/// The steps that happened before one of `ends`, and these.
pub(super) fn cone(run: &Run<'_>, ends: &[StepId]) -> BTreeSet<StepId> {
    let before = predecessors(run);
    let mut cone: BTreeSet<StepId> = ends.iter().copied().collect();
    let mut open: Vec<StepId> = ends.to_vec();
    while let Some(step) = open.pop() {
        let cause = run.trace.steps[step as usize].cause;
        for earlier in before[step as usize].iter().copied().chain(cause) {
            if cone.insert(earlier) {
                open.push(earlier);
            }
        }
    }
    cone
}

/// For each step the last steps before it of the processes that it touches.
fn predecessors(run: &Run<'_>) -> Vec<Vec<StepId>> {
    let process =
        |actor: ActorId| run.processes.get(usize::from(actor.0)).copied().unwrap_or(actor);
    let steps = &run.trace.steps;
    let mut last: BTreeMap<ActorId, StepId> = BTreeMap::new();
    let mut before = Vec::with_capacity(steps.len());
    for (id, step) in (0..).zip(steps) {
        let end =
            steps.get(id as usize + 1).map_or(run.history.events.len(), |it| it.events as usize);
        let events = run.history.events.get(step.events as usize..end).unwrap_or_default();
        let mut touched: BTreeSet<ActorId> =
            events.iter().map(|event| process(event.actor)).collect();
        touched.insert(process(step.actor));
        before.push(touched.iter().filter_map(|actor| last.get(actor).copied()).collect());
        last.extend(touched.into_iter().map(|actor| (actor, id)));
    }
    before
}

/// Events of the steps in which faults struck or ended that the failure does not need.
fn of_other_faults(run: &Run<'_>, needed: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut events = BTreeSet::new();
    for (position, event) in (0u32..).zip(&run.history.events) {
        let EventKind::World(WorldEvent::Fault { index } | WorldEvent::Healed { index }) =
            &event.kind
        else {
            continue;
        };
        let Some(step) = run.trace.step_of(position).filter(|_| !needed.contains(index)) else {
            continue;
        };
        let first = run.trace.steps[step as usize].events;
        let next = run.trace.steps.get(step as usize + 1);
        let end = next
            .map_or(u32::try_from(run.history.events.len()).unwrap_or(u32::MAX), |it| it.events);
        events.extend(first..end);
    }
    events
}

/// The processes whose start these events brought about.
fn started_by(run: &Run<'_>, events: &BTreeSet<u32>) -> BTreeSet<(ActorId, u32)> {
    let steps: BTreeSet<StepId> =
        events.iter().filter_map(|position| run.trace.step_of(*position)).collect();
    let caused = |step: &&oncesim_history::trace::Step| {
        step.via == Via::Start && step.cause.is_some_and(|cause| steps.contains(&cause))
    };
    let mut processes = BTreeSet::new();
    for step in run.trace.steps.iter().filter(caused) {
        let companions = (0u16..).map(ActorId).zip(run.processes);
        let same = companions.filter(|(_, first)| **first == step.actor);
        processes.extend(same.map(|(actor, _)| (actor, step.incarnation)));
    }
    processes
}

/// Lines of messages that belong to the chain: lost, late, or twice, and about the subject.
fn messages(
    run: &Run<'_>,
    subject: &Subject,
    weights: &Weights,
    cone: &BTreeSet<StepId>,
    (first, last): (u32, u32),
) -> Vec<(u32, u8)> {
    let told: BTreeSet<StepId> = weights
        .iter()
        .filter(|(_, weight)| **weight >= 60)
        .filter_map(|(position, _)| run.trace.step_of(*position))
        .collect();
    let mut found = Vec::new();
    for (number, line) in (0u32..).zip(&run.trace.lines) {
        let event = line.event.unwrap_or(0);
        if event < first.saturating_sub(1) || event > last {
            continue;
        }
        let concerns = about(line, subject)
            && (subject.actors.contains(&line.actor)
                || line.peer.is_some_and(|it| subject.actors.contains(&it)));
        if !concerns {
            continue;
        }
        let late = line.sent.is_some_and(|(sent, _)| line.time.since(sent) > LATE);
        // What did not arrive led to nothing but its absence: what counts is that it was sent.
        let arrived = line.kind == LineKind::Arrived;
        let step = line.sent.filter(|_| !arrived).map_or(line.step, |(_, step)| step);
        if !cone.contains(&step) {
            continue;
        }
        let weight = match line.kind {
            LineKind::Lost | LineKind::Repeated => LOST,
            LineKind::Unheard => 78,
            LineKind::Arrived if late => 82,
            LineKind::Arrived if !told.contains(&line.step) => 44,
            _ => continue,
        };
        found.push((number, weight));
    }
    found
}

/// Whether a message carries a record of the subject, or speaks of its transactions.
fn about(line: &TraceLine, subject: &Subject) -> bool {
    let about = &line.about;
    about.records.iter().any(|record| subject.records.contains(record))
        || about.transactional_ids.iter().any(|id| subject.transactional_ids.contains(id))
}

fn count_left_out(trace: &Trace, chain: &mut [Link]) {
    let mut at = 0;
    for link in chain {
        let place_of_link = place(trace, link.what);
        let mut left_out = LeftOut::default();
        while at < trace.lines.len() {
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            let here = place(trace, LinkWhat::Line(number));
            if here > place_of_link {
                break;
            }
            at += 1;
            if here < place_of_link {
                match trace.lines[at - 1].text.split([' ', '(']).next() {
                    Some("Heartbeat" | "Fetch" | "BrokerHeartbeat" | "Metadata") => {
                        left_out.chatter += 1;
                    }
                    _ => left_out.others += 1,
                }
            }
        }
        link.left_out = left_out;
    }
}
