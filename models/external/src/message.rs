//! What clients ask of systems, and what they are told.

use oncesim_types::{
    EffectId, Offset, Operation, RecordId, StatementId, StatementRole, SystemError, TopicPartition,
};

/// A request. Those of one connection are executed in order.
#[derive(Debug, Clone)]
pub enum Request {
    /// Opens a transaction on this session. Takes its number from the database's sequence at once,
    /// as `nextval` does, and the lock with its first statement.
    Begin,
    /// Executes a statement.
    Execute(Box<Execute>),
    /// Commits the session's transaction.
    Commit,
    /// Rolls the session's transaction back.
    Rollback,
    /// Reads committed changes of captured tables, in commit order.
    Capture {
        /// After which.
        after: LogPosition,
        /// How many at most.
        max: u32,
    },
    /// Reads a captured table, and the position of the log at that moment.
    Snapshot {
        /// The table's name.
        table: String,
    },
    /// Asks an API for a side effect.
    Perform(ApiRequest),
    /// Makes effects durable under a name, not yet visible.
    Prepare(Box<Prepare>),
    /// Commits or drops what is prepared. Doing the same again succeeds.
    Finish {
        /// What.
        name: StagedName,
        /// Which of the two.
        commit: bool,
    },
    /// What is prepared for a partition and not finished? Whoever asks has taken it over.
    Pending {
        /// Which.
        partition: TopicPartition,
        /// The fencing token: nothing is prepared with a lower one any more.
        token: i64,
    },
}

impl Request {
    /// What it is.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Request::Begin => Operation::Begin,
            Request::Execute(_) => Operation::Execute,
            Request::Commit => Operation::Commit,
            Request::Rollback => Operation::Rollback,
            Request::Capture { .. } => Operation::Capture,
            Request::Snapshot { .. } => Operation::Snapshot,
            Request::Perform(_) => Operation::Perform,
            Request::Prepare(_) => Operation::Prepare,
            Request::Finish { .. } => Operation::Finish,
            Request::Pending { .. } => Operation::Pending,
        }
    }
}

/// A statement with its parameters.
#[derive(Debug, Clone)]
pub struct Execute {
    /// Which.
    pub statement: StatementId,
    /// What for.
    pub role: StatementRole,
    /// Of which effect it is a part, if of one. No rule of the database reads it.
    pub effect: Option<EffectId>,
    /// Which record it is about, if about one. No rule of the database reads it.
    pub record: Option<RecordId>,
    /// What its placeholders stand for.
    pub parameters: Parameters,
}

/// What the placeholders of a statement stand for: `:id`, `:key`, ... A statement names those that
/// it needs. `:now` (virtual milliseconds) and `:sequence` (the transaction's number from the
/// database's sequence) are the database's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters {
    /// `:id`: the business id of the record, the same in every redelivery.
    pub id: i64,
    /// `:key`: the record's key.
    pub key: Option<i64>,
    /// `:value`: the record's value.
    pub value: Option<i64>,
    /// `:version`: the record's version, growing per key.
    pub version: i64,
    /// `:topic`, `:partition` (`orders-0`): from where.
    pub partition: Option<TopicPartition>,
    /// `:offset`: at which offset.
    pub offset: i64,
    /// `:next`: the offset to go on from.
    pub next: i64,
    /// `:token`: the fencing token, the generation of the consumer's group.
    pub token: i64,
    /// `:read`: what the statement of role [`StatementRole::Read`] returned.
    pub read: Option<i64>,
    /// `:cursor`: the relay's cursor.
    pub cursor: i64,
    /// `:batch`: how many rows a relay wants.
    pub batch: i64,
    /// `:horizon`: virtual milliseconds; what is older may be forgotten.
    pub horizon: i64,
    /// `:attempt`: which attempt this is, from 1.
    pub attempt: i64,
}

/// A value of SQL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Datum {
    /// `NULL`
    Null,
    /// `INTEGER`
    Integer(i64),
    /// `REAL`, by its bits.
    Real(u64),
    /// `TEXT`
    Text(String),
    /// `BLOB`
    Blob(Vec<u8>),
}

impl Datum {
    /// The integer that it is, or that its text is.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Datum::Integer(value) => Some(*value),
            Datum::Text(text) => text.parse().ok(),
            Datum::Null | Datum::Real(_) | Datum::Blob(_) => None,
        }
    }
}

/// What a query returned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Datum>>,
}

/// A position in a database's log: a commit, and how many changes of it were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition {
    /// Number of the commit, from 1; 0 is before all.
    pub commit: u64,
    /// Changes of it that are behind this position.
    pub changes: u32,
}

/// A row that was inserted or changed in a captured table, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedRow {
    /// Where in the log: right after this change.
    pub position: LogPosition,
    /// The table.
    pub table: String,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Its values, by the table's columns; of a deleted row, those that it had.
    pub values: Vec<Datum>,
}

/// A request to an API.
#[derive(Debug, Clone, Copy)]
pub struct ApiRequest {
    /// The effect that is asked for. No rule of the API reads it.
    pub effect: EffectId,
    /// The idempotency key, if one is sent.
    pub key: Option<u64>,
    /// Hash of the payload.
    pub payload: u64,
    /// The fencing token, if one is sent.
    pub token: Option<i64>,
}

/// First phase of a two-phase sink.
#[derive(Debug, Clone)]
pub struct Prepare {
    /// Its name.
    pub name: StagedName,
    /// The fencing token.
    pub token: i64,
    /// The effects, with the hash of each's payload.
    pub effects: Vec<(EffectId, u64)>,
}

/// The name of a prepared transaction: what was consumed, and by which attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StagedName {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset that it covers.
    pub first: Offset,
    /// The offset to go on from.
    pub next: Offset,
    /// Unique among the attempts of all clients.
    pub attempt: u64,
}

/// A prepared transaction that waits for its second phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingTransaction {
    /// Its name.
    pub name: StagedName,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To `Begin`: the transaction's number from the database's sequence.
    Begun {
        /// The number.
        sequence: i64,
    },
    /// To `Execute`.
    Executed {
        /// How many rows it changed.
        changed: u64,
        /// What it returned, if it is a query.
        rows: Rows,
    },
    /// To `Commit`.
    Committed,
    /// To `Rollback`; also when there was nothing to roll back.
    RolledBack,
    /// To `Capture`.
    Captured {
        /// The changes, in commit order.
        rows: Vec<CapturedRow>,
    },
    /// To `Snapshot`.
    Snapshot {
        /// The table's rows.
        rows: Rows,
        /// The log's end at that moment.
        position: LogPosition,
    },
    /// To `Perform`.
    Performed {
        /// What the API says about the effect (a receipt's number).
        result: u64,
        /// Whether this is the stored answer of an earlier request with this key.
        replayed: bool,
    },
    /// To `Prepare`.
    Prepared,
    /// To `Finish`.
    Finished,
    /// To `Pending`.
    Pending(Vec<PendingTransaction>),
    /// To any: it is refused; nothing was done.
    Refused(SystemError),
}
