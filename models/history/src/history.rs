//! A whole history: events, the arenas that they point into, and what the run promised.

use oncesim_types::{
    ActorId, GroupId, Instant, LeaderEpoch, MemberId, Offset, RecordId, RowChange, TopicId,
    TopicPartition, Transform,
};

use crate::event::{Event, PolledRecord, SpanIndex};
use crate::intern::Name;

/// What a run recorded. Append-only while the run lasts.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The actors, by [`ActorId`].
    pub actors: Vec<ActorInfo>,
    /// The topics, by [`TopicId`].
    pub topics: Vec<TopicInfo>,
    /// The groups, by [`GroupId`].
    pub groups: Vec<GroupInfo>,
    /// The transactional ids, by [`oncesim_types::TransactionalId`]; those that an application makes
    /// up while it runs come later.
    pub transactional_ids: Vec<String>,
    /// The uses of systems, by [`oncesim_types::SinkId`].
    pub sinks: Vec<SinkInfo>,
    /// Who announces its business operations in the log, and how.
    pub announcements: Vec<AnnouncementInfo>,
    /// Who publishes what outboxes hold.
    pub relays: Vec<RelayInfo>,
    /// The faults of the plan, in words, by index.
    pub faults: Vec<String>,
    /// The events, in order.
    pub events: Vec<Event>,
    /// Arena of polled records.
    pub polled: Vec<PolledRecord>,
    /// Arena of committed offsets.
    pub commits: Vec<CommitEntry>,
    /// Arena of appended record ids.
    pub appended: Vec<RecordId>,
    /// Arena of partition lists.
    pub partitions: Vec<TopicPartition>,
    /// Arena of actor lists.
    pub actors_arena: Vec<ActorId>,
    /// Arena of group assignments: one entry per member and partition.
    pub assignments: Vec<(MemberId, TopicPartition)>,
    /// Arena of rows that effects changed.
    pub row_changes: Vec<RowChange>,
    /// What somebody else's history calls its records: the name of the record with ordinal
    /// [`History::LABELLED`]` + n` at `n`. Empty for a simulated history.
    pub labels: Vec<Name>,
    /// When the run ended.
    pub end: Instant,
}

/// One actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorInfo {
    /// Its name in the scenario: `b1`, `shop`, `mailer-0`, `controller`, `auditor`.
    pub name: String,
    /// What it is.
    pub role: ActorRole,
    /// Whether it reads at `isolation.level=read_committed`, if it reads.
    pub read_committed: bool,
}

/// What an actor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActorRole {
    /// The controller.
    Controller,
    /// A broker.
    Broker,
    /// A producer, with what its configuration promises about its records.
    Producer(Promise),
    /// A consumer of a group.
    Consumer(GroupId),
    /// The fresh client that drains every topic at the end.
    Auditor,
    /// A system outside of Kafka.
    System(SystemKind),
    /// Anything else (a hosted task, the administrator).
    Other,
}

/// What a system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemKind {
    /// A SQL database.
    Database,
    /// An API with side effects that cannot be undone.
    Api,
    /// A sink with two phases.
    Staging,
}

/// One use of a system: what brings records' effects about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkInfo {
    /// Its name.
    pub name: String,
    /// The system.
    pub system: ActorId,
    /// The group whose records ask for effects here; each record of its topics asks for
    /// `steps` of them (a tombstone for one).
    pub group: GroupId,
    /// How many steps an effect has.
    pub steps: u16,
    /// Applying an effect again changes nothing.
    pub absorbs: bool,
    /// What is applied last stays, whatever its version.
    pub overwrites: bool,
    /// Marks of records are kept: a dedup table.
    pub dedups: bool,
    /// The dedup table is the inbox of relayed events.
    pub inbox: bool,
    /// How long a mark, or an idempotency key, is kept, if not for ever.
    pub window: Option<oncesim_types::Duration>,
    /// Offsets are stored in the system, in the transaction of the effects.
    pub stores_offsets: bool,
    /// Effects are asked for while a transaction of Kafka is open that may still abort.
    pub before_commit: bool,
    /// Whether records without a value ask for an effect (a deletion).
    pub tombstones: bool,
}

/// How a service tells the log what it did in its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announcing {
    /// A row in an outbox, in the same transaction; a relay publishes it.
    Outbox,
    /// It commits, then sends.
    DatabaseFirst,
    /// It sends, then commits.
    LogFirst,
    /// It sends inside of the transaction, and commits when the log has it.
    InsideTransaction,
}

/// Who announces its business operations in the log. The records that it announces have it as their
/// origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncementInfo {
    /// The service's instance.
    pub service: ActorId,
    /// Its database.
    pub database: ActorId,
    /// Where the events go.
    pub to: TopicId,
    /// How.
    pub how: Announcing,
}

/// A relay: it publishes what a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayInfo {
    /// The relay's instance: a producer.
    pub relay: ActorId,
    /// The database.
    pub database: ActorId,
    /// Where the events go.
    pub to: TopicId,
    /// How it knows what it has published.
    pub progress: RelayProgress,
}

/// How a relay knows what it has published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayProgress {
    /// It marks or deletes rows when the log has acknowledged them.
    MarkAfterAck,
    /// It marks or deletes rows, and then the log acknowledges them.
    MarkBeforeAck,
    /// It keeps a cursor over a column.
    Cursor,
    /// It reads the database's log and keeps a position in it.
    Capture,
}

/// What a producer's configuration obliges the log to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// An acknowledged record is durable: `acks=all` and an effective `min.insync.replicas` that is
    /// met when it is acknowledged. Otherwise an acknowledgement promises less.
    pub durable: bool,
    /// The producer is idempotent: no duplicates within one session.
    pub idempotent: bool,
    /// Records of one partition keep their order: idempotent, one request in flight, or no retries.
    pub ordered: bool,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u16,
    /// Whether it is internal (`__consumer_offsets`).
    pub internal: bool,
    /// Whether an unclean election may discard acknowledged records.
    pub unclean_election: bool,
}

/// One consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its `group.id`.
    pub name: String,
    /// The topics that it consumes.
    pub topics: Vec<TopicId>,
    /// Whether it starts from the log start when it has no offset (else records before its first
    /// position are not its business).
    pub from_earliest: bool,
    /// What its members make of their input, if they are processors.
    pub processor: Option<ProcessorInfo>,
}

/// A processor: consume, transform, produce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessorInfo {
    /// The topics that it writes to.
    pub to: Vec<TopicId>,
    /// What it does with each record.
    pub transform: Transform,
    /// Whether outputs and offsets are committed in one transaction.
    pub transactional: bool,
}

/// One committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommitEntry {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to consume.
    pub offset: Offset,
    /// Leader epoch of the last record consumed, if known.
    pub leader_epoch: LeaderEpoch,
}

impl History {
    /// Ordinals from here on are those of records that were named by somebody else.
    pub const LABELLED: u64 = 1 << 39;

    /// A record as people name it: `shop #12`, or `record 77` where somebody else chose the name.
    #[must_use]
    pub fn record_name(&self, record: RecordId) -> String {
        let label = record.ordinal().checked_sub(History::LABELLED);
        match label.and_then(|n| self.labels.get(usize::try_from(n).ok()?)) {
            Some(label) => format!("record {label}"),
            None => format!("{} #{}", self.actor_name(record.origin()), record.ordinal()),
        }
    }

    /// The polled records of a span.
    #[must_use]
    pub fn polled(&self, span: SpanIndex) -> &[PolledRecord] {
        slice(&self.polled, span)
    }

    /// The committed offsets of a span.
    #[must_use]
    pub fn commits(&self, span: SpanIndex) -> &[CommitEntry] {
        slice(&self.commits, span)
    }

    /// The record ids of a span.
    #[must_use]
    pub fn appended(&self, span: SpanIndex) -> &[RecordId] {
        slice(&self.appended, span)
    }

    /// The partitions of a span.
    #[must_use]
    pub fn partitions(&self, span: SpanIndex) -> &[TopicPartition] {
        slice(&self.partitions, span)
    }

    /// The actors of a span.
    #[must_use]
    pub fn actor_list(&self, span: SpanIndex) -> &[ActorId] {
        slice(&self.actors_arena, span)
    }

    /// The row changes of a span.
    #[must_use]
    pub fn row_changes(&self, span: SpanIndex) -> &[RowChange] {
        slice(&self.row_changes, span)
    }

    /// The assignment of a span.
    #[must_use]
    pub fn assignment(&self, span: SpanIndex) -> &[(MemberId, TopicPartition)] {
        slice(&self.assignments, span)
    }

    /// The name of an actor.
    #[must_use]
    pub fn actor_name(&self, actor: ActorId) -> &str {
        self.actors.get(usize::from(actor.0)).map_or("?", |info| info.name.as_str())
    }

    /// The name of a partition: `orders-2`.
    #[must_use]
    pub fn partition_name(&self, partition: TopicPartition) -> String {
        let topic = self
            .topics
            .get(usize::from(partition.topic.0))
            .map_or_else(|| partition.topic.to_string(), |info| info.name.clone());
        format!("{topic}-{}", partition.partition)
    }

    /// The name of a group.
    #[must_use]
    pub fn group_name(&self, group: GroupId) -> &str {
        self.groups.get(usize::from(group.0)).map_or("?", |info| info.name.as_str())
    }
}

fn slice<T>(arena: &[T], span: SpanIndex) -> &[T] {
    &arena[span.start as usize..(span.start + span.len) as usize]
}
