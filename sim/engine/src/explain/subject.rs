//! What an anomaly is about: the records, partitions, groups, transactions and actors that its
//! witness names, and those that these lead to.

use std::collections::BTreeSet;

use oncesim_history::{ActorRole, ClientKind, EventKind, ExternalEvent, History, WorldEvent};
use oncesim_semantics::Anomaly;
use oncesim_types::{
    ActorId, GroupId, Offset, ProducerId, RecordId, TopicPartition, TransactionNumber,
    TransactionalId,
};

/// More than so many records, and an anomaly is about all of them.
const MANY: usize = 40;
/// A batch of so many records is about each of them.
const FEW: usize = 8;

/// What an anomaly is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// Records: those of the witness, what processors made from them, and what they were made from.
    pub records: BTreeSet<RecordId>,
    /// Where they are.
    pub partitions: BTreeSet<TopicPartition>,
    /// At which offsets.
    pub offsets: BTreeSet<(TopicPartition, Offset)>,
    /// The groups that consume them.
    pub groups: BTreeSet<GroupId>,
    /// Who takes part: clients and systems that the witness names, with their processes.
    pub actors: BTreeSet<ActorId>,
    /// The transactional ids of these.
    pub transactional_ids: BTreeSet<TransactionalId>,
    /// The transactions in question, by producer.
    pub transactions: BTreeSet<(ActorId, TransactionNumber)>,
    /// The producer ids that wrote the records.
    pub producer_ids: BTreeSet<ProducerId>,
}

impl Subject {
    /// What `anomaly` is about. `processes` gives the first actor of each actor's process.
    pub(super) fn of(history: &History, anomaly: &Anomaly, processes: &[ActorId]) -> Self {
        let mut subject = Subject::default();
        let witness = &anomaly.witness;
        subject.records.extend(witness.record);
        subject.partitions.extend(witness.partition);
        if let Some(partition) = witness.partition {
            subject.offsets.extend(witness.offsets.iter().map(|offset| (partition, *offset)));
        }
        for actor in &witness.actors {
            subject.take_in(history, *actor);
        }
        for position in &witness.events {
            if let Some(event) = history.events.get(*position as usize) {
                subject.take_in(history, event.actor);
                subject.named_by(&event.kind);
                subject.batch(history, &event.kind);
                subject.ended(history, &event.kind);
            }
        }
        subject.lineage(history);
        if subject.records.len() <= MANY {
            subject.places(history);
        }
        subject.companions(history, processes);
        subject.sessions(history);
        subject
    }

    fn take_in(&mut self, history: &History, actor: ActorId) {
        match history.actors.get(usize::from(actor.0)).map(|info| &info.role) {
            // It reads everything; what it reads says where the records are.
            Some(ActorRole::Auditor | ActorRole::Controller) | None => {}
            // Brokers take part by what they lead.
            Some(ActorRole::Broker) => {}
            Some(ActorRole::Consumer(group)) => {
                self.groups.insert(*group);
                self.actors.insert(actor);
            }
            Some(_) => {
                self.actors.insert(actor);
            }
        }
    }

    /// The one record that an event is about.
    fn named_by(&mut self, kind: &EventKind) {
        match kind {
            EventKind::Client(
                ClientKind::SendInvoke { record, .. }
                | ClientKind::SendEnd { record, .. }
                | ClientKind::Transfer { record, .. },
            ) => {
                self.records.insert(*record);
            }
            EventKind::Client(ClientKind::Processed { record, group, partition, offset }) => {
                self.records.insert(*record);
                self.groups.insert(*group);
                self.partitions.insert(*partition);
                self.offsets.insert((*partition, *offset));
            }
            EventKind::Client(ClientKind::Emitted { record, input, partition, offset, .. }) => {
                self.records.extend([*record, *input]);
                self.partitions.insert(*partition);
                self.offsets.insert((*partition, *offset));
            }
            EventKind::World(WorldEvent::Marker { partition, producer_id, .. }) => {
                self.partitions.insert(*partition);
                self.producer_ids.insert(*producer_id);
            }
            EventKind::World(
                WorldEvent::TransactionState { transactional_id, .. }
                | WorldEvent::EndTxnApplied { transactional_id, .. }
                | WorldEvent::TransactionTimedOut { transactional_id, .. },
            ) => {
                self.transactional_ids.insert(*transactional_id);
            }
            EventKind::External(event) => self.records.extend(record_of(event)),
            _ => {}
        }
    }

    /// The records of a small batch that the witness names.
    fn batch(&mut self, history: &History, kind: &EventKind) {
        if let EventKind::World(WorldEvent::Append { partition, base_offset, records, .. }) = kind {
            let records = history.appended(*records);
            if records.len() <= FEW {
                self.records.extend(records);
                self.partitions.insert(*partition);
                let offsets = (base_offset.0..).map(Offset).take(records.len());
                self.offsets.extend(offsets.map(|offset| (*partition, offset)));
            }
        }
    }

    /// The transactions that an `EndTxn` meant and ended, and whose they are.
    fn ended(&mut self, history: &History, kind: &EventKind) {
        let EventKind::World(WorldEvent::EndTxnApplied {
            transactional_id, issued, applied, ..
        }) = kind
        else {
            return;
        };
        for event in &history.events {
            if let EventKind::Client(ClientKind::InitTransactions { transactional_id: id, .. }) =
                &event.kind
                && id == transactional_id
            {
                self.actors.insert(event.actor);
                self.transactions.extend([(event.actor, *issued), (event.actor, *applied)]);
            }
        }
    }

    /// What was made of the records, and what they were made from.
    fn lineage(&mut self, history: &History) {
        let mut more = BTreeSet::new();
        for event in &history.events {
            let EventKind::Client(ClientKind::Emitted { record, input, partition, offset, .. }) =
                &event.kind
            else {
                continue;
            };
            if self.records.contains(record) || self.records.contains(input) {
                more.extend([*record, *input]);
                self.partitions.insert(*partition);
                self.offsets.insert((*partition, *offset));
                self.take_in(history, event.actor);
            }
        }
        self.records.extend(more);
    }

    /// Where the records are, and which producer ids wrote them there.
    fn places(&mut self, history: &History) {
        for event in &history.events {
            match &event.kind {
                EventKind::World(WorldEvent::Append {
                    partition,
                    base_offset,
                    records,
                    leader: true,
                    producer_id,
                    ..
                }) => {
                    for (n, record) in (0..).zip(history.appended(*records)) {
                        if self.records.contains(record) {
                            self.partitions.insert(*partition);
                            self.offsets.insert((*partition, Offset(base_offset.0 + n)));
                            if *producer_id != ProducerId::NONE {
                                self.producer_ids.insert(*producer_id);
                            }
                        }
                    }
                }
                EventKind::Client(ClientKind::SendInvoke { record, .. })
                    if self.records.contains(record) =>
                {
                    self.actors.insert(event.actor);
                }
                EventKind::External(external)
                    if record_of(external).is_some_and(|it| self.records.contains(&it)) =>
                {
                    self.actors.insert(event.actor);
                }
                _ => {}
            }
        }
    }

    /// Clients of one process live and die together.
    fn companions(&mut self, history: &History, processes: &[ActorId]) {
        let process = |actor: ActorId| processes.get(usize::from(actor.0)).copied();
        let mine: BTreeSet<ActorId> =
            self.actors.iter().filter_map(|actor| process(*actor)).collect();
        for actor in (0..u16::try_from(history.actors.len()).unwrap_or(u16::MAX)).map(ActorId) {
            if process(actor).is_some_and(|it| mine.contains(&it)) {
                self.take_in(history, actor);
            }
        }
    }

    /// The transactional ids of the actors, and the transactions that the records belong to.
    fn sessions(&mut self, history: &History) {
        let mut open = std::collections::BTreeMap::new();
        for event in &history.events {
            let EventKind::Client(kind) = &event.kind else { continue };
            if !self.actors.contains(&event.actor) {
                continue;
            }
            match kind {
                ClientKind::InitTransactions { transactional_id, .. } => {
                    self.transactional_ids.insert(*transactional_id);
                }
                ClientKind::TransactionBegin { number } => {
                    open.insert(event.actor, *number);
                }
                ClientKind::SendInvoke { record, .. } if self.records.contains(record) => {
                    let number = open.get(&event.actor);
                    self.transactions.extend(number.map(|number| (event.actor, *number)));
                }
                _ => {}
            }
        }
    }

    /// Whether a partition has a record of the subject at, or behind, `offset`.
    pub(super) fn reaches(&self, partition: TopicPartition, offset: Offset) -> bool {
        self.offsets.iter().any(|(place, at)| *place == partition && *at >= offset)
    }
}

/// The record that an event of a system is about.
pub(super) fn record_of(event: &ExternalEvent) -> Option<RecordId> {
    match event {
        ExternalEvent::Asked { effect, .. } => effect.map(|effect| effect.record),
        ExternalEvent::EffectDone { effect, .. }
        | ExternalEvent::Applied { effect, .. }
        | ExternalEvent::Replayed { effect, .. }
        | ExternalEvent::KeyEvicted { effect } => Some(effect.record),
        ExternalEvent::Intended { record, .. } | ExternalEvent::IntentEnded { record, .. } => {
            Some(*record)
        }
        ExternalEvent::Committed { record, .. } | ExternalEvent::RolledBack { record } => *record,
        _ => None,
    }
}
