//! What a fault kept from working, and for how long.
//!
//! A service is a kind of success in one lane: an acknowledgement of a partition, progress of a
//! group in a partition, a commit of one client. It is out while somebody waits for a success, from
//! the first one who does (or the last success) to the next success. An operation that fails does
//! not end that: its caller wants it done. So a fault that struck a lane in which nothing was wanted
//! cost nothing.

use std::collections::BTreeMap;

use oncesim_history::{ClientKind, EventKind, History, Outcome, WorldEvent};
use oncesim_types::{
    ActorId, CallId, Duration, GroupId, Instant, RecordId, TopicPartition, TransactionResult,
};

/// What works, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// `send()` is acknowledged.
    Produce,
    /// Polls return records that were sent.
    Consume,
    /// Transactions are committed, or offsets.
    Commit,
}

/// Where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Lane {
    Partition(TopicPartition),
    Group(GroupId, TopicPartition),
    Client(ActorId),
}

/// What a fault did to a service, in the lane that was hit worst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Which.
    pub service: Service,
    /// The lane, in words: `orders-1`, `orders-1 for billing`, `billing-0`.
    pub worst: String,
    /// From the fault to the first success, if one was waited for.
    pub first: Duration,
    /// The longest wait for a success that touches the time from this fault to the next one.
    pub longest: Duration,
    /// Whether it came at all before the run ended.
    pub recovered: bool,
}

/// One fault that struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultMeasure {
    /// Index of [`History::faults`].
    pub index: u32,
    /// When it struck.
    pub struck: Instant,
    /// What did not work; only services that somebody wanted.
    pub outages: Vec<Outage>,
}

/// Somebody waits, until then.
#[derive(Debug, Clone, Copy)]
struct Wait {
    from: Instant,
    to: Instant,
    succeeds: bool,
}

/// A lane has no success for so long, while one is wanted.
#[derive(Debug, Clone, Copy)]
struct Gap {
    from: Instant,
    to: Instant,
    recovered: bool,
}

#[derive(Debug, Default)]
struct Waits {
    lanes: BTreeMap<(Service, Lane), Vec<Wait>>,
    sends: BTreeMap<(ActorId, u32, CallId), (Instant, TopicPartition)>,
    commits: BTreeMap<(ActorId, u32, CallId), Instant>,
    first_send: BTreeMap<RecordId, Instant>,
    polled: BTreeMap<(GroupId, RecordId), ()>,
}

pub(super) fn faults(history: &History, ended: Instant) -> Vec<FaultMeasure> {
    let struck: Vec<(u32, Instant)> = history
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::World(WorldEvent::Fault { index }) => Some((*index, event.time)),
            _ => None,
        })
        .collect();
    if struck.is_empty() {
        return Vec::new();
    }
    let lanes = gaps(history);
    let measured = struck.iter().map(|&(index, at)| {
        let next = struck.iter().map(|(_, later)| *later).filter(|later| *later > at).min();
        let until = next.unwrap_or(ended.max(at));
        let outages = [Service::Produce, Service::Consume, Service::Commit]
            .into_iter()
            .filter_map(|service| worst(history, &lanes, service, (at, until)));
        FaultMeasure { index, struck: at, outages: outages.collect() }
    });
    measured.collect()
}

type Gaps = BTreeMap<(Service, Lane), Vec<Gap>>;

/// The lane of a service that a fault hit worst.
fn worst(
    history: &History,
    lanes: &Gaps,
    service: Service,
    (at, until): (Instant, Instant),
) -> Option<Outage> {
    let mut worst: Option<Outage> = None;
    for ((_, lane), gaps) in lanes.iter().filter(|((of, _), _)| *of == service) {
        let touched = gaps.iter().filter(|gap| gap.to > at && gap.from <= until);
        let lengths: Vec<(Duration, bool)> =
            touched.map(|gap| (gap.to.since(gap.from.max(at)), gap.recovered)).collect();
        let Some(first) = lengths.first() else { continue };
        let longest = lengths.iter().max_by_key(|(length, _)| *length).unwrap_or(first);
        if worst.as_ref().is_none_or(|known| longest.0 > known.longest) {
            worst = Some(Outage {
                service,
                worst: in_words(history, *lane),
                first: first.0,
                longest: longest.0,
                recovered: longest.1,
            });
        }
    }
    worst
}

fn in_words(history: &History, lane: Lane) -> String {
    let name = |at: TopicPartition| match at.partition {
        u16::MAX => history
            .topics
            .get(usize::from(at.topic.0))
            .map_or_else(|| at.topic.to_string(), |topic| topic.name.clone()),
        _ => history.partition_name(at),
    };
    match lane {
        Lane::Partition(at) => name(at),
        Lane::Group(group, at) => format!("{} for {}", name(at), history.group_name(group)),
        Lane::Client(actor) => history.actor_name(actor).to_owned(),
    }
}

fn gaps(history: &History) -> Gaps {
    let mut waits = Waits::default();
    for event in &history.events {
        let who = (event.actor, event.incarnation);
        match &event.kind {
            EventKind::Client(kind) => waits.client(history, who, event.time, kind),
            EventKind::World(WorldEvent::Crashed { .. }) => waits.crashed(event.actor, event.time),
            _ => {}
        }
    }
    waits.unfinished(history.end);
    waits.lanes.into_iter().map(|(lane, waits)| (lane, sweep(waits))).collect()
}

impl Waits {
    fn end(&mut self, service: Service, lane: Lane, wait: Wait) {
        self.lanes.entry((service, lane)).or_default().push(wait);
    }

    fn client(
        &mut self,
        history: &History,
        (actor, incarnation): (ActorId, u32),
        now: Instant,
        kind: &ClientKind,
    ) {
        match kind {
            ClientKind::SendInvoke { call, partition, record, .. } => {
                self.sends.insert((actor, incarnation, *call), (now, *partition));
                self.first_send.entry(*record).or_insert(now);
            }
            ClientKind::SendEnd { call, partition, outcome, .. } => {
                if let Some((from, asked)) = self.sends.remove(&(actor, incarnation, *call)) {
                    let lane = Lane::Partition(partition.unwrap_or(asked));
                    let succeeds = *outcome == Outcome::Ok;
                    self.end(Service::Produce, lane, Wait { from, to: now, succeeds });
                }
            }
            ClientKind::PollEnd { group: Some(group), records } => {
                for polled in history.polled(*records) {
                    let first = self.polled.insert((*group, polled.record), ()).is_none();
                    if let Some(from) = self.first_send.get(&polled.record).filter(|_| first) {
                        let wait = Wait { from: *from, to: now, succeeds: true };
                        self.end(Service::Consume, Lane::Group(*group, polled.partition), wait);
                    }
                }
            }
            ClientKind::EndTransaction { call, result: TransactionResult::Commit, .. }
            | ClientKind::CommitInvoke { call, .. } => {
                self.commits.insert((actor, incarnation, *call), now);
            }
            ClientKind::TransactionEnd { call, outcome }
            | ClientKind::CommitEnd { call, outcome } => {
                if let Some(from) = self.commits.remove(&(actor, incarnation, *call)) {
                    let succeeds = *outcome == Outcome::Ok;
                    let wait = Wait { from, to: now, succeeds };
                    self.end(Service::Commit, Lane::Client(actor), wait);
                }
            }
            _ => {}
        }
    }

    /// Whom nobody answers any more; what it wanted is still wanted.
    fn crashed(&mut self, actor: ActorId, now: Instant) {
        let sends: Vec<_> = self.sends.extract_if(.., |(of, ..), _| *of == actor).collect();
        for (_, (from, at)) in sends {
            self.end(
                Service::Produce,
                Lane::Partition(at),
                Wait { from, to: now, succeeds: false },
            );
        }
        let commits: Vec<_> = self.commits.extract_if(.., |(of, ..), _| *of == actor).collect();
        for (_, from) in commits {
            self.end(Service::Commit, Lane::Client(actor), Wait { from, to: now, succeeds: false });
        }
    }

    fn unfinished(&mut self, end: Instant) {
        for ((actor, ..), from) in std::mem::take(&mut self.commits) {
            self.end(Service::Commit, Lane::Client(actor), Wait { from, to: end, succeeds: false });
        }
        for (_, (from, at)) in std::mem::take(&mut self.sends) {
            self.end(
                Service::Produce,
                Lane::Partition(at),
                Wait { from, to: end, succeeds: false },
            );
        }
    }
}

/// The gaps of one lane.
fn sweep(waits: Vec<Wait>) -> Vec<Gap> {
    // At one moment: first who begins to wait, then who is done.
    let mut edges: Vec<(Instant, bool, bool)> = Vec::with_capacity(waits.len() * 2);
    let mut last = Instant::ZERO;
    for wait in waits {
        edges.push((wait.from, false, false));
        edges.push((wait.to, true, wait.succeeds));
        last = last.max(wait.to);
    }
    edges.sort_unstable();
    let mut gaps = Vec::new();
    let (mut pending, mut since) = (0_u64, None);
    for (now, ends, succeeds) in edges {
        if !ends {
            pending += 1;
            since.get_or_insert(now);
            continue;
        }
        pending -= 1;
        if succeeds && let Some(from) = since.take() {
            // Several successes at one moment are one.
            if now > from {
                gaps.push(Gap { from, to: now, recovered: true });
            }
        }
        if succeeds && pending > 0 {
            since = Some(now);
        }
    }
    if let Some(from) = since {
        gaps.push(Gap { from, to: last, recovered: false });
    }
    gaps
}
