//! What a scenario says about systems outside of Kafka: databases, APIs, and who uses them how.

use std::sync::Arc;

use oncesim_external::sql::StatementText;
use oncesim_kafka::config::ProducerConfig;
use oncesim_types::{Duration, Ratio, SinkId, StatementId, SystemId, TopicId};

use crate::scenario::TransactionalIdPattern;

/// A system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemSpec {
    /// Its name: that of its table under `[databases]`, or of the one sink that owns it.
    pub name: String,
    /// What it is.
    pub kind: SystemSpecKind,
    /// How long it works on a request.
    pub service_time: Duration,
    /// How long its clients wait for an answer.
    pub client_timeout: Duration,
}

/// What a system is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemSpecKind {
    /// `[databases.*]`, or a sink's `sqlite = { schema = ... }`.
    Database(DatabaseSpec),
    /// A sink's `api = { ... }`.
    Api(ApiSpec),
    /// A sink's `two-phase = { ... }`.
    Staging {
        /// How long it keeps what is prepared and not finished; `None`: for ever.
        prepared_timeout: Option<Duration>,
    },
}

/// A SQL database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSpec {
    /// Its schema.
    pub schema: Arc<str>,
    /// All statements that anybody uses on it, by [`StatementId`].
    pub statements: Vec<StatementText>,
    /// Tables whose changes a relay captures.
    pub captured: Vec<String>,
    /// How long a statement waits for another session's transaction.
    pub lock_timeout: Duration,
    /// How long a session may do nothing inside of a transaction.
    pub idle_timeout: Duration,
}

/// An API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSpec {
    /// How long it remembers an idempotency key; `None`: for ever.
    pub key_ttl: Option<Duration>,
    /// Whether a key with another payload is refused; else the stored answer is given.
    pub rejects_other_payload: bool,
    /// Whether a token below the highest that was seen is refused.
    pub checks_token: bool,
}

/// A sink: what an application does outside of Kafka for each record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSpec {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: SinkId,
    /// Where.
    pub system: SystemId,
    /// How.
    pub kind: SinkKind,
    /// Time until a request that was refused, or whose outcome is unknown, is made again.
    pub retry_after: Duration,
    /// How often at most it is made again; then the process ends itself, as applications do that
    /// know no better, and starts anew.
    pub retries: u32,
    /// What it takes an unknown outcome for.
    pub on_unknown: OnUnknown,
}

/// What an application takes an unknown outcome for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// `retry`: it may not have happened; do it again.
    #[default]
    Retry,
    /// `assume-done`: it has happened (a mistake).
    AssumeDone,
}

/// How a sink works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// By statements of a database.
    Sql(SqlSink),
    /// By requests to an API.
    Api {
        /// What it sends as idempotency key.
        key: IdempotencyKey,
        /// Whether it sends the group's generation as fencing token.
        token: bool,
    },
    /// By two phases; the group's committed offset is the decision.
    TwoPhase,
}

/// What an application sends as idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdempotencyKey {
    /// `none`
    None,
    /// `per-record`: the record's business id.
    PerRecord,
    /// `per-attempt`: a new one for each request.
    PerAttempt,
    /// `by-key`: the record's key.
    ByKey,
    /// `by-offset`: topic, partition and offset.
    ByOffset,
}

/// The statements of a SQL sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlSink {
    /// The effect, step by step.
    pub effect: Vec<StatementId>,
    /// What a record without a value asks for; `None`: nothing.
    pub tombstone: Option<StatementId>,
    /// A query before the effect, whose first column is `:read`; outside of the transaction.
    pub read: Option<StatementId>,
    /// What goes into one transaction.
    pub transaction: SinkTransaction,
    /// A dedup table, or an inbox.
    pub dedup: Option<DedupSpec>,
    /// Offsets in the database.
    pub offsets: Option<SinkOffsets>,
    /// Applying the effect again changes nothing (found out by trying).
    pub absorbs: bool,
    /// What is applied last stays, whatever its version (found out by trying).
    pub overwrites: bool,
}

/// What goes into one transaction of a SQL sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkTransaction {
    /// `none`: each statement is a transaction of its own.
    None,
    /// `per-record`
    PerRecord,
    /// `per-poll`: all records of a poll, and their offsets if they are stored here.
    PerPoll,
}

/// A dedup table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupSpec {
    /// A query that returns a row if the record was seen; `None`: the mark itself tells, by changing
    /// no row or by breaking a constraint.
    pub check: Option<StatementId>,
    /// Remembers the record.
    pub mark: StatementId,
    /// When, as against the effect.
    pub placement: DedupPlacement,
    /// Forgets what is older than the window, before each check, if there is one.
    pub evict: Option<(StatementId, Duration)>,
    /// It is the inbox of relayed events.
    pub inbox: bool,
}

/// When a record is marked as seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DedupPlacement {
    /// `same-transaction`
    SameTransaction,
    /// `before-effect`: in a transaction of its own (a mistake: a crash between loses the effect).
    BeforeEffect,
    /// `after-effect`: in a transaction of its own (a mistake: a crash between doubles it).
    AfterEffect,
}

/// Offsets that are stored in the sink's database, in the transaction of the effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkOffsets {
    /// Returns the offset to go on from, for `:partition`.
    pub read: StatementId,
    /// Stores `:next` for `:partition`.
    pub write: StatementId,
    /// If the write changes no row, somebody with a higher `:token` owns the partition: roll back.
    pub fenced: bool,
}

/// The instances of a service: business rows in a database, events in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its name; instances are `name-0`, `name-1`, ... when there are several.
    pub name: String,
    /// How many run at the same time.
    pub instances: u16,
    /// Its database.
    pub database: SystemId,
    /// The business rows of one operation.
    pub statements: Vec<StatementId>,
    /// How it tells the log.
    pub announce: Announce,
    /// The topic that its events are for (of an outbox: where its relay publishes them).
    pub to: TopicId,
    /// How many operations each instance begins.
    pub records: u64,
    /// How many distinct aggregates; from 1.
    pub keys: u32,
    /// Time from one operation to the next.
    pub interval: Duration,
    /// How long it works inside of the transaction, after `Begin`, before its first statement.
    pub hold: Duration,
    /// The chance that it rolls an operation back although nothing went wrong.
    pub abort: Ratio,
    /// The chance that an operation deletes: its event has no value.
    pub tombstones: Ratio,
    /// Configuration of its producer, for a dual write.
    pub producer: ProducerConfig,
}

/// How a service tells the log what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// `outbox`: a row in the same transaction.
    Outbox(StatementId),
    /// `database-first`: it commits, then sends.
    DatabaseFirst,
    /// `log-first`: it sends, then commits.
    LogFirst,
    /// `inside-transaction`: it sends before it commits, and commits when the log has it.
    InsideTransaction,
}

/// The instances of a relay: it publishes what a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySpec {
    /// Its name; instances are `name-0`, `name-1`, ... when there are several.
    pub name: String,
    /// How many run at the same time.
    pub instances: u16,
    /// The database.
    pub database: SystemId,
    /// Where the events go.
    pub to: TopicId,
    /// How it finds them.
    pub kind: RelayKind,
    /// Time from one round to the next.
    pub interval: Duration,
    /// Rows of one round at most.
    pub batch: u32,
    /// Where it keeps its cursor, or its position in the log.
    pub position: PositionStore,
    /// Whether a position is stored before the log has acknowledged what it covers (a mistake).
    pub stores_before_ack: bool,
    /// Its `transactional.id`, if events and position are written in one transaction.
    pub transactional_id: Option<TransactionalIdPattern>,
    /// Configuration of its producer; the engine sets its `transactional_id`.
    pub producer: ProducerConfig,
}

/// How a relay finds what it is to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayKind {
    /// By a query, whose columns are found by their names: `id`, and `key`, `value`, `sequence`
    /// where it has them.
    Poll {
        /// The query: `:cursor`, `:batch`.
        select: StatementId,
        /// Marks or deletes a row that was published (`:id`, `:sequence`), if it does.
        mark: Option<RelayMarking>,
    },
    /// By change data capture of a table, in commit order.
    Capture {
        /// The table; its columns `id`, `key`, `value` make the event.
        table: String,
        /// Whether the first start begins with a snapshot of the table.
        snapshot: bool,
    },
}

/// When a relay marks or deletes what it published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayMarking {
    /// By which statement.
    pub statement: StatementId,
    /// Before the log has acknowledged the event (a mistake).
    pub before_ack: bool,
}

/// Where a relay keeps its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionStore {
    /// It has none: marks tell.
    None,
    /// `memory`: lost with the process; it begins anew.
    Memory,
    /// `database`: by statements.
    Database {
        /// Reads it.
        read: StatementId,
        /// Writes `:cursor`.
        write: StatementId,
    },
    /// `topic`: a record in a topic of its own, as Kafka Connect keeps source offsets.
    Topic {
        /// The topic.
        topic: TopicId,
        /// Time between two records at most (`offset.flush.interval.ms`).
        flush_interval: Duration,
    },
}
