//! A SQL database: SQLite behind sessions, with one transaction at a time.

mod check;
#[expect(dead_code, reason = "the machine comes next")]
mod connection;
mod determinism;
mod images;
mod lexer;
mod placeholder;

use std::sync::Arc;

use oncesim_types::{Duration, Instant, StatementRole};

use crate::machine::{Effects, Input};

pub use check::{check_schema, check_statement, effect_traits};

/// What a database is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// The schema: statements that run once, before everything.
    pub schema: Arc<str>,
    /// The statements, by [`oncesim_types::StatementId`].
    pub statements: Vec<StatementText>,
    /// Tables whose changes are captured.
    pub captured: Vec<String>,
    /// How long it works on a request.
    pub service_time: Duration,
    /// How long a statement waits for another session's transaction.
    pub lock_timeout: Duration,
    /// How long a session may do nothing inside of a transaction.
    pub idle_timeout: Duration,
    /// The names of topics, by [`oncesim_types::TopicId`]: what `:topic` and `:partition` say.
    pub topics: Arc<[String]>,
    /// What `random()` is drawn from.
    pub seed: u64,
}

/// A statement as its scenario has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementText {
    /// SQL, with `:id` and the like.
    pub text: Arc<str>,
    /// What for.
    pub role: StatementRole,
}

/// What is wrong with a piece of SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlComplaint {
    /// In SQLite's words.
    pub message: String,
    /// Where, in bytes from the beginning of the text, if SQLite says.
    pub offset: Option<usize>,
}

/// What a statement is, once it is prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementShape {
    /// Its placeholders, without the colon.
    pub parameters: Vec<String>,
    /// The columns that it returns.
    pub columns: Vec<String>,
    /// Whether it changes nothing.
    pub reads_only: bool,
}

/// What applying an effect again, or late, does: found out by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EffectTraits {
    /// Applying it a second time changes nothing.
    pub absorbs: bool,
    /// What came last stays, whatever its version: an older effect that comes late overwrites.
    pub overwrites: bool,
}

/// A database.
#[derive(Debug)]
pub struct Database {
    #[expect(dead_code, reason = "the machine comes next")]
    config: DatabaseConfig,
}

impl Database {
    /// One that has just been created from its schema.
    #[must_use]
    pub fn new(config: DatabaseConfig) -> Self {
        Database { config }
    }

    pub(crate) fn step(&mut self, _now: Instant, _input: Input, _effects: &mut Effects) {}

    pub(crate) fn crash(&mut self) {}
}
