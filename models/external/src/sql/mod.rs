//! A SQL database: SQLite behind sessions, with one transaction at a time.
//!
//! Mirrors a database server as its clients see it: sessions that end with their connection,
//! transactions with a number from a sequence (`nextval`: drawn by `Begin`, never given back), a
//! lock, timeouts, deadlocks, commits of which nobody hears. Its rows, its SQL and its constraints
//! are SQLite's own.
//!
//! Simplification: a request is executed when it arrives, and the service time is spent on the
//! reply. Nothing else of the database can be observed in between.
//!
//! Simplification: a crash loses no commit. A database that does (`synchronous = OFF`) is another
//! machine, and no application can be right on it.

mod check;
mod connection;
mod determinism;
mod images;
mod journal;
mod lexer;
mod placeholder;
mod session;

use std::sync::Arc;

use oncesim_types::{Duration, Instant, StatementRole};

use crate::fault::Faults;
use crate::machine::{Effects, Input};
use connection::{Compiled, Connection};
use images::Following;
use journal::Journal;
use session::Sessions;

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
    connection: Connection,
    statements: Vec<Compiled>,
    service_time: Duration,
    lock_timeout: Duration,
    idle_timeout: Duration,
    journal: Journal,
    sessions: Sessions,
    faults: Faults,
}

impl Database {
    /// One that has just been created from its schema.
    ///
    /// # Panics
    /// If its SQL is not valid: [`check_schema`] and [`check_statement`] say so beforehand.
    #[must_use]
    pub fn new(config: DatabaseConfig) -> Self {
        let effects: Vec<&str> = config
            .statements
            .iter()
            .filter(|statement| statement.role == StatementRole::Effect)
            .map(|statement| &*statement.text)
            .collect();
        let following = Following { captured: &config.captured, statements: Some(&effects) };
        let connection = Connection::open(&config.schema, following, config.topics, config.seed)
            .unwrap_or_else(|complaint| panic!("the schema was checked: {complaint:?}"));
        // Beside the statements: those that open and end transactions, and snapshots.
        connection.keep_statements(config.statements.len() + 8);
        let statements = config.statements.iter().map(|statement| {
            let compiled = connection.compile(&statement.text);
            compiled.unwrap_or_else(|complaint| panic!("statements were checked: {complaint:?}"))
        });
        let statements = statements.collect();
        Database {
            connection,
            statements,
            service_time: config.service_time,
            lock_timeout: config.lock_timeout,
            idle_timeout: config.idle_timeout,
            journal: Journal::default(),
            sessions: Sessions::default(),
            faults: Faults::default(),
        }
    }

    pub(crate) fn step(&mut self, now: Instant, input: Input, effects: &mut Effects) {
        match input {
            Input::Start => {}
            Input::Request { from, connection, correlation, body } => {
                self.on_request(now, from, connection, (correlation, body), effects);
            }
            Input::ConnectionClosed { connection } => {
                self.on_connection_closed(now, connection, effects);
            }
            Input::Timer(key) => self.on_timer(now, key, effects),
            Input::Fault(fault, active) => self.faults.set(fault, active),
        }
    }

    pub(crate) fn open_transactions(&self) -> usize {
        self.sessions.open_transactions()
    }

    pub(crate) fn crash(&mut self) {
        self.connection.rollback();
        self.sessions = Sessions::default();
    }
}

#[cfg(test)]
mod tests;
