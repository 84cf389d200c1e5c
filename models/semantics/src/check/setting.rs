//! What the run was like: who audits, which faults struck, what was drained. It decides how severe
//! an anomaly is.

use oncesim_history::{ActorRole, Announcing, ClientKind, EventKind, History, Promise, WorldEvent};
use oncesim_types::{ActorId, TopicPartition};

use super::index::Index;
use crate::anomaly::Severity;

/// What happened to one partition.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PartitionSetting {
    /// Whether a leader was elected outside of the in-sync and eligible replicas.
    pub(crate) unclean: bool,
    /// Brokers whose replica lost data in a power failure, one bit each (modulo 64).
    lossy: u64,
    /// The effective `min.insync.replicas`; 0 when not known.
    min_isr: u8,
    /// Whether it is internal: not the business of producers and consumers.
    pub(crate) internal: bool,
    /// The final drain: first offset, end offset, and its event.
    pub(crate) drained: Option<(i64, i64, u32)>,
}

/// What the run was like.
#[derive(Debug)]
pub(crate) struct Setting {
    /// By partition row.
    pub(crate) partitions: Vec<PartitionSetting>,
    /// Whether the history has the white-box tier.
    pub(crate) white_box: bool,
    /// Whether the run came to rest: it settled, or its topics were drained.
    pub(crate) quiescent: bool,
    /// Whether the world had settled.
    pub(crate) settled: bool,
    /// Whether the bound passed and the world had not settled: what is missing may only be late.
    pub(crate) restless: bool,
    /// The anomalies that the engine reports itself.
    pub(crate) reported: Vec<&'static str>,
    /// Which actors read the final drain.
    auditors: Vec<bool>,
    /// Which actors read at `read_committed`.
    committed: Vec<bool>,
    /// Whether anybody writes in transactions.
    pub(crate) transactional: bool,
    /// Whether anybody moves amounts.
    pub(crate) transfers: bool,
    /// Whether `__consumer_offsets` may have lost committed offsets.
    offsets_at_risk: bool,
}

impl Setting {
    pub(crate) fn of(history: &History, index: &Index) -> Setting {
        let mut setting = Setting {
            partitions: vec![PartitionSetting::default(); index.partitions.len()],
            white_box: false,
            quiescent: false,
            settled: false,
            restless: false,
            reported: Vec::new(),
            auditors: history.actors.iter().map(|a| a.role == ActorRole::Auditor).collect(),
            committed: history.actors.iter().map(|a| a.read_committed).collect(),
            transactional: false,
            transfers: false,
            offsets_at_risk: false,
        };
        for (row, partition) in index.partitions.iter().enumerate() {
            if let Some(topic) = history.topics.get(usize::from(partition.topic.0)) {
                setting.partitions[row].internal = topic.internal;
                setting.partitions[row].unclean = topic.unclean_election;
            }
        }
        setting.white_box =
            history.events.iter().any(|e| matches!(&e.kind, EventKind::World(w) if !is_life(w)));
        if setting.white_box {
            setting.partitions.iter_mut().for_each(|p| p.unclean = false);
        }
        for (position, event) in (0u32..).zip(&history.events) {
            match &event.kind {
                EventKind::Client(ClientKind::Drained { partition, from, to }) => {
                    setting.quiescent = true;
                    if let Some(row) = index.partition(*partition) {
                        setting.partitions[row as usize].drained = Some((from.0, to.0, position));
                    }
                }
                EventKind::Client(ClientKind::TransactionBegin { .. }) => {
                    setting.transactional = true;
                }
                EventKind::Client(ClientKind::Transfer { .. }) => setting.transfers = true,
                EventKind::World(world) => setting.world(index, event.actor, world),
                EventKind::Client(_) | EventKind::External(_) => {}
            }
        }
        setting.offsets_at_risk =
            setting.partitions.iter().any(|p| p.internal && (p.unclean || p.lossy != 0));
        setting
    }

    fn world(&mut self, index: &Index, actor: ActorId, event: &WorldEvent) {
        let row = |partition: &TopicPartition| index.partition(*partition).map(|row| row as usize);
        match event {
            WorldEvent::Settled => {
                self.quiescent = true;
                self.settled = true;
            }
            WorldEvent::NotSettled => self.restless = true,
            WorldEvent::InvariantBroken { id, .. } | WorldEvent::Stuck { id, .. }
                if !self.reported.contains(id) =>
            {
                self.reported.push(id);
            }
            WorldEvent::PartitionChanged { partition, unclean: true, .. } => {
                if let Some(row) = row(partition) {
                    self.partitions[row].unclean = true;
                }
            }
            WorldEvent::DiskLoss { partition, .. } => {
                if let Some(row) = row(partition) {
                    self.partitions[row].lossy |= 1 << (actor.0 % 64);
                }
            }
            WorldEvent::HighWatermark { partition, leader: true, min_isr, .. }
            | WorldEvent::AckedAll { partition, min_isr, .. } => {
                if let Some(row) = row(partition) {
                    self.partitions[row].min_isr = *min_isr;
                }
            }
            _ => {}
        }
    }

    /// Whether an actor reads the final drain.
    pub(crate) fn is_auditor(&self, actor: ActorId) -> bool {
        self.auditors.get(usize::from(actor.0)).copied().unwrap_or(false)
    }

    /// Whether an actor reads at `read_committed`.
    pub(crate) fn reads_committed(&self, actor: ActorId) -> bool {
        self.committed.get(usize::from(actor.0)).copied().unwrap_or(false)
    }

    /// How severe it is that a partition loses, replaces or reorders what it had promised to keep.
    pub(crate) fn storage_severity(&self, partition: Option<u32>) -> Severity {
        let Some(partition) = partition.map(|row| &self.partitions[row as usize]) else {
            return Severity::Always;
        };
        let lossy = partition.lossy.count_ones();
        let tolerated = match partition.min_isr {
            0 => 1,
            n => u32::from(n) - 1,
        };
        if partition.unclean || lossy > tolerated {
            Severity::Legal
        } else if lossy > 0 {
            Severity::UnderThisConfiguration
        } else {
            Severity::Always
        }
    }

    /// How severe the loss of an acknowledged record is.
    pub(crate) fn loss_severity(&self, partition: Option<u32>, promise: Promise) -> Severity {
        if promise.durable { self.storage_severity(partition) } else { Severity::Legal }
    }

    /// How severe it is that a coordinator forgets what a group had told it.
    pub(crate) fn group_severity(&self) -> Severity {
        if self.offsets_at_risk { Severity::Legal } else { Severity::UnderThisConfiguration }
    }
}

/// Whether an event tells of processes and faults only, which an importer may know as well.
fn is_life(event: &WorldEvent) -> bool {
    matches!(
        event,
        WorldEvent::Started
            | WorldEvent::Crashed { .. }
            | WorldEvent::Paused
            | WorldEvent::Resumed
            | WorldEvent::Fault { .. }
            | WorldEvent::Healed { .. }
            | WorldEvent::QuiesceBegin
            | WorldEvent::Settled
            | WorldEvent::NotSettled
            | WorldEvent::Stuck { .. }
    )
}

/// What a record's origin promises, or for a service with an outbox, all of its relays; a history that
/// does not say promises everything.
pub(crate) fn promise_of(history: &History, origin: ActorId) -> Promise {
    let mut publishers = publishers(history, origin).peekable();
    if publishers.peek().is_none() {
        return own_promise(history, origin);
    }
    let all = Promise { durable: true, idempotent: true, ordered: true };
    publishers.map(|relay| own_promise(history, relay)).fold(all, |a, b| Promise {
        durable: a.durable && b.durable,
        idempotent: a.idempotent && b.idempotent,
        ordered: a.ordered && b.ordered,
    })
}

/// Who sends the records of a service that has an outbox: its relays.
fn publishers(history: &History, service: ActorId) -> impl Iterator<Item = ActorId> + '_ {
    let mut outboxes = history.announcements.iter();
    let outbox = outboxes.find(|it| it.service == service && it.how == Announcing::Outbox);
    history
        .relays
        .iter()
        .filter(move |relay| {
            outbox.is_some_and(|it| (it.database, it.to) == (relay.database, relay.to))
        })
        .map(|relay| relay.relay)
}

fn own_promise(history: &History, origin: ActorId) -> Promise {
    match history.actors.get(usize::from(origin.0)).map(|actor| &actor.role) {
        Some(ActorRole::Producer(promise)) => *promise,
        _ => Promise { durable: true, idempotent: true, ordered: true },
    }
}
