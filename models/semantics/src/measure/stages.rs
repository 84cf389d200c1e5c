//! From `send()` to where a record arrives: when, and how many per second.
//!
//! A latency begins with the first `send()` of the record that everything else was made from: the
//! outputs of a processor are as late as their inputs make them. Of a service's event it begins with
//! the business operation.

use std::collections::BTreeMap;

use oncesim_history::{ActorRole, ClientKind, EventKind, ExternalEvent, History, Outcome};
use oncesim_types::{
    ActorId, Duration, GroupId, Instant, RecordId, SinkId, TopicId, TransactionResult,
};

use super::percentiles::Percentiles;

/// A place that records reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Given to `send()`, to this topic.
    Sent(TopicId),
    /// Its `send()` succeeded.
    Acknowledged(TopicId),
    /// The transaction that it belongs to was committed, as its producer was told.
    Committed(TopicId),
    /// A poll of this group returned it, at the group's isolation level.
    Visible(GroupId),
    /// This group's application was done with it.
    Processed(GroupId),
    /// Its effect was applied, by this use of a system.
    Effect(SinkId),
}

/// One stage, measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageMeasure {
    /// Which.
    pub stage: Stage,
    /// From the first `send()` of the input to here, for the first time; one per record.
    pub latency: Percentiles,
    /// How many arrived while the workload lasted ...
    pub arrived: u64,
    /// ... from the first `send()` of the run to the last arrival here while it lasted.
    pub span: Duration,
}

impl StageMeasure {
    /// Records per 1,000 virtual seconds while the workload lasted; `None` if that has no length.
    #[must_use]
    pub fn per_1000_seconds(&self) -> Option<u64> {
        let arrived = u128::from(self.arrived) * 1_000_000_000_000;
        u64::try_from(arrived.checked_div(u128::from(self.span.0))?).ok()
    }
}

/// What is collected in one walk over the history.
#[derive(Debug, Default)]
pub(super) struct Stages {
    began: Option<Instant>,
    ended: Instant,
    last: Instant,
    inputs: u64,
    /// Each record that was made from another, with what it all began with.
    origins: BTreeMap<RecordId, RecordId>,
    first_send: BTreeMap<RecordId, Instant>,
    to: BTreeMap<RecordId, TopicId>,
    reached: BTreeMap<(Stage, RecordId), Instant>,
    /// Records of open transactions, by producer.
    open: BTreeMap<ActorId, Vec<RecordId>>,
    /// Producers that are committing one.
    committing: BTreeMap<ActorId, bool>,
    order: Vec<Stage>,
    latencies: BTreeMap<Stage, Vec<Duration>>,
    arrived: BTreeMap<Stage, (u64, Instant)>,
}

impl Stages {
    pub(super) fn of(history: &History, ended: Instant) -> Stages {
        let mut stages = Stages { ended, ..Stages::default() };
        for event in &history.events {
            let role = history.actors.get(usize::from(event.actor.0)).map(|actor| &actor.role);
            if matches!(role, Some(ActorRole::Auditor)) {
                continue;
            }
            match &event.kind {
                EventKind::Client(kind) => stages.client(history, event.time, event.actor, kind),
                EventKind::External(kind) => stages.external(event.time, kind),
                EventKind::World(_) => {}
            }
        }
        stages
    }

    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    pub(super) fn inputs(&self) -> u64 {
        self.inputs
    }

    pub(super) fn makespan(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| self.last.since(began))
    }

    fn client(&mut self, history: &History, now: Instant, actor: ActorId, kind: &ClientKind) {
        match kind {
            ClientKind::SendInvoke { partition, record, .. } => {
                self.sent(now, actor, partition.topic, *record);
            }
            ClientKind::SendEnd { record, outcome: Outcome::Ok, .. } => {
                if let Some(topic) = self.to.get(record).copied() {
                    self.reach(now, Stage::Acknowledged(topic), *record);
                }
            }
            ClientKind::Emitted { record, input, .. } => {
                let origin = self.origin(*input);
                self.origins.insert(*record, origin);
            }
            ClientKind::TransactionBegin { .. } => {
                self.open.insert(actor, Vec::new());
                self.committing.remove(&actor);
            }
            ClientKind::EndTransaction { result, .. } => {
                self.committing.insert(actor, *result == TransactionResult::Commit);
            }
            ClientKind::TransactionEnd { outcome: Outcome::Ok, .. } => {
                let records = self.open.remove(&actor).unwrap_or_default();
                if self.committing.remove(&actor) == Some(true) {
                    for record in records {
                        if let Some(topic) = self.to.get(&record).copied() {
                            self.reach(now, Stage::Committed(topic), record);
                        }
                    }
                }
            }
            ClientKind::PollEnd { group: Some(group), records } => {
                for polled in history.polled(*records) {
                    self.reach(now, Stage::Visible(*group), polled.record);
                }
            }
            ClientKind::Processed { group, record, .. } => {
                self.reach(now, Stage::Processed(*group), *record);
            }
            _ => {}
        }
    }

    fn external(&mut self, now: Instant, event: &ExternalEvent) {
        match event {
            ExternalEvent::Intended { record, .. } => {
                self.first_send.entry(*record).or_insert(now);
                self.began.get_or_insert(now);
            }
            ExternalEvent::Applied { effect, .. } => {
                self.reach(now, Stage::Effect(effect.sink), effect.record);
            }
            _ => {}
        }
    }

    fn origin(&self, record: RecordId) -> RecordId {
        self.origins.get(&record).copied().unwrap_or(record)
    }

    fn sent(&mut self, now: Instant, actor: ActorId, topic: TopicId, record: RecordId) {
        self.began.get_or_insert(now);
        let again = self.to.insert(record, topic).is_some();
        self.first_send.entry(record).or_insert(now);
        if !again && !self.origins.contains_key(&record) {
            self.inputs += 1;
        }
        if let Some(open) = self.open.get_mut(&actor) {
            open.push(record);
        }
        self.reach(now, Stage::Sent(topic), record);
    }

    fn reach(&mut self, now: Instant, stage: Stage, record: RecordId) {
        let Some(first) = self.first_send.get(&self.origin(record)).copied() else { return };
        if self.reached.insert((stage, record), now).is_some() {
            return;
        }
        if !self.order.contains(&stage) {
            self.order.push(stage);
        }
        self.latencies.entry(stage).or_default().push(now.since(first));
        if now <= self.ended {
            let (count, last) = self.arrived.entry(stage).or_default();
            *count += 1;
            *last = now;
            self.last = now;
        }
    }

    /// In the order in which a first record reached them.
    pub(super) fn finish(self) -> Vec<StageMeasure> {
        let began = self.began.unwrap_or_default();
        let measured = self.order.iter().map(|stage| {
            let (arrived, last) = self.arrived.get(stage).copied().unwrap_or_default();
            let latency = self.latencies.get(stage).map_or(&[][..], Vec::as_slice);
            StageMeasure {
                stage: *stage,
                latency: Percentiles::of(latency),
                arrived,
                span: last.since(began),
            }
        });
        measured.collect()
    }
}
