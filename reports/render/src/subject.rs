//! What a person asks about: a record, a transactional id, a partition. Which events of a history
//! and which lines of a trace concern it.

use std::collections::BTreeSet;

use oncesim_history::trace::{About, TraceLine};
use oncesim_history::{ClientKind, Event, EventKind, History, WorldEvent};
use oncesim_types::{ActorId, ProducerId, RecordId, TopicId, TopicPartition, TransactionalId};

use crate::about::Sessions;

/// What the rows of a trace are to be about; several at once: all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subjects {
    /// A record: its sends, the messages that carry it, its appends, who got and processed it.
    pub record: Option<RecordId>,
    /// A transactional id: its requests, its states, its records and markers.
    pub transactional_id: Option<TransactionalId>,
    /// A partition.
    pub partition: Option<TopicPartition>,
}

impl Subjects {
    /// Whether there are none: everything is let through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Subjects::default()
    }
}

/// Subjects, with what a history says belongs to them.
#[derive(Debug)]
pub(crate) struct Matter<'a> {
    history: &'a History,
    subjects: &'a Subjects,
    session: Option<Session>,
}

/// What belongs to a transactional id.
#[derive(Debug, Default)]
struct Session {
    /// The processes that use it.
    users: BTreeSet<(ActorId, u32)>,
    /// The producer ids that it has had.
    producers: BTreeSet<ProducerId>,
    /// What they sent.
    records: BTreeSet<RecordId>,
}

impl Session {
    fn of(history: &History, id: TransactionalId) -> Session {
        let mut session = Session::default();
        for event in &history.events {
            let user = (event.actor, event.incarnation);
            match &event.kind {
                EventKind::Client(ClientKind::InitTransactions { transactional_id, .. }) => {
                    if *transactional_id == id {
                        session.users.insert(user);
                    } else {
                        session.users.remove(&user);
                    }
                }
                EventKind::Client(ClientKind::ProducerSession { producer_id, .. })
                    if session.users.contains(&user) =>
                {
                    session.producers.insert(*producer_id);
                }
                EventKind::Client(ClientKind::SendInvoke { record, .. })
                    if session.users.contains(&user) =>
                {
                    session.records.insert(*record);
                }
                EventKind::World(WorldEvent::TransactionState {
                    transactional_id,
                    producer_id,
                    ..
                }) if *transactional_id == id => {
                    session.producers.insert(*producer_id);
                }
                _ => {}
            }
        }
        session.producers.remove(&ProducerId::NONE);
        session
    }
}

impl<'a> Matter<'a> {
    pub(crate) fn new(history: &'a History, subjects: &'a Subjects) -> Self {
        let session = subjects.transactional_id.map(|id| Session::of(history, id));
        Matter { history, subjects, session }
    }

    /// Whether a line is about all of the subjects.
    pub(crate) fn line(&self, line: &TraceLine) -> bool {
        let about = &line.about;
        let Subjects { record, transactional_id, partition } = self.subjects;
        record.is_none_or(|record| about.records.contains(&record))
            && partition.is_none_or(|partition| about.partitions.contains(&partition))
            && transactional_id
                .is_none_or(|id| about.transactional_ids.contains(&id) || self.session_line(line))
    }

    fn session_line(&self, line: &TraceLine) -> bool {
        self.session.as_ref().is_some_and(|session| {
            line.about.producers.iter().any(|id| session.producers.contains(id))
                || line.about.records.iter().any(|id| session.records.contains(id))
        })
    }

    /// Whether an event is about all of the subjects.
    pub(crate) fn event(&self, event: &Event) -> bool {
        let Subjects { record, transactional_id, partition } = self.subjects;
        let about = about(self.history, event);
        record.is_none_or(|record| about.records.contains(&record))
            && partition.is_none_or(|it| about.partitions.contains(&it))
            && transactional_id.is_none_or(|id| self.concerns_session(event, id))
    }

    fn concerns_session(&self, event: &Event, id: TransactionalId) -> bool {
        let Some(session) = &self.session else { return false };
        match &event.kind {
            EventKind::Client(ClientKind::PollInvoke) => false,
            EventKind::Client(ClientKind::PollEnd { records, .. }) => self
                .history
                .polled(*records)
                .iter()
                .any(|polled| session.records.contains(&polled.record)),
            EventKind::Client(
                ClientKind::Processed { record, .. } | ClientKind::Emitted { record, .. },
            ) => session.records.contains(record),
            EventKind::Client(_) => session.users.contains(&(event.actor, event.incarnation)),
            EventKind::World(world) => match world {
                WorldEvent::TransactionState { transactional_id, .. }
                | WorldEvent::EndTxnApplied { transactional_id, .. }
                | WorldEvent::TransactionTimedOut { transactional_id, .. } => {
                    *transactional_id == id
                }
                WorldEvent::Append { producer_id, .. }
                | WorldEvent::Marker { producer_id, .. }
                | WorldEvent::MarkerRejected { producer_id, .. }
                | WorldEvent::ProducerStateRejected { producer_id, .. }
                | WorldEvent::OffsetPending { producer_id, .. }
                | WorldEvent::OffsetResolved { producer_id, .. } => {
                    session.producers.contains(producer_id)
                }
                _ => false,
            },
            EventKind::External(_) => false,
        }
    }
}

/// What an event is about by its own words.
fn about(history: &History, event: &Event) -> About {
    Sessions::default().about(history, event.actor, &event.kind)
}

/// Every partition of a history, by name.
#[must_use]
pub fn partition_names(history: &History) -> Vec<(String, TopicPartition)> {
    let topics = (0_u16..).zip(&history.topics);
    let all = topics.flat_map(|(topic, info)| {
        (0..info.partitions).map(move |index| TopicPartition::new(TopicId(topic), index))
    });
    all.map(|partition| (history.partition_name(partition), partition)).collect()
}
