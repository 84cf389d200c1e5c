//! One SQLite database in memory: its schema, and its statements, prepared once.
//!
//! Mirrors SQLite as an application embeds it, with bound parameters and a cache of prepared
//! statements.

use std::fmt;
use std::sync::Arc;

use oncesim_types::{RowChange, SystemError};
use rusqlite::{ErrorCode, OpenFlags, Statement};

use super::SqlComplaint;
use super::determinism::{self, Shared};
use super::images::{COLUMNS_MAX, Captured, Following, Images, Table, datum, quote};
use super::lexer::{self, Piece, TokenKind};
use super::placeholder::{self, PartitionNames, Placeholder, Surroundings};
use crate::message::{Parameters, Rows};

/// Rows that one query returns at most.
const ROWS_MAX: usize = 100_000;

/// A database with its schema.
pub(super) struct Connection {
    sqlite: rusqlite::Connection,
    shared: Arc<Shared>,
    images: Images,
    names: PartitionNames,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("tables", &self.images.tables).finish_non_exhaustive()
    }
}

/// A statement that is known to be valid.
#[derive(Debug)]
pub(super) struct Compiled {
    text: Arc<str>,
    placeholders: Vec<(usize, Placeholder)>,
    /// The names of its placeholders, in the order of their first use.
    pub(super) parameters: Vec<String>,
    /// The columns that it returns.
    pub(super) columns: Vec<String>,
    /// Whether it changes nothing.
    pub(super) reads_only: bool,
}

/// What an execution brought about.
#[derive(Debug, Default)]
pub(super) struct Executed {
    /// Rows that it changed.
    pub(super) changed: u64,
    /// What it returned.
    pub(super) rows: Rows,
    /// Net changes, one per row.
    pub(super) changes: Vec<RowChange>,
    /// Changes of captured tables.
    pub(super) captured: Vec<Captured>,
}

/// Why an execution was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// In words of the protocol.
    pub(super) error: SystemError,
    /// In SQLite's.
    pub(super) message: String,
}

impl Connection {
    /// A new database, in which `schema` has run.
    pub(super) fn open(
        schema: &str,
        following: Following<'_>,
        topics: Arc<[String]>,
        seed: u64,
    ) -> Result<Connection, SqlComplaint> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut sqlite =
            rusqlite::Connection::open_in_memory_with_flags(flags).map_err(|e| complaint(&e))?;
        let shared = Shared::new(seed);
        determinism::install(&mut sqlite, &shared).map_err(|e| complaint(&e))?;
        run_schema(&sqlite, &shared, schema)?;
        shared.trust(true);
        let images = Images::install(&sqlite, following).map_err(|e| complaint(&e))?;
        shared.trust(false);
        if let Some(table) = images.tables.iter().find(|table| table.columns.len() > COLUMNS_MAX) {
            let message = format!("{} has more than {COLUMNS_MAX} columns", table.name);
            return Err(SqlComplaint { message, offset: None });
        }
        Ok(Connection { sqlite, shared, images, names: PartitionNames::new(topics) })
    }

    /// The tables of the schema.
    pub(super) fn tables(&self) -> &[Table] {
        &self.images.tables
    }

    /// The name of a table that changed.
    pub(super) fn table_name(&self, table: usize) -> String {
        self.images.tables[table].name.clone()
    }

    /// Prepares what only fails when it is used: triggers and views.
    pub(super) fn check_uses(&self, schema: &str) -> Result<(), SqlComplaint> {
        let refused_at = || determinism::refused_call(&lexer::tokens(schema));
        let prepare = |text: &str| match self.sqlite.prepare(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(match self.shared.take_refusal() {
                Some(message) => SqlComplaint { message, offset: refused_at() },
                None => SqlComplaint { offset: None, ..complaint(&error) },
            }),
        };
        for table in self.tables() {
            let name = quote(&table.name);
            prepare(&format!("INSERT INTO {name} DEFAULT VALUES"))?;
            prepare(&format!("DELETE FROM {name}"))?;
            let same = table.written.iter().map(|column| quote(column));
            let same: Vec<String> = same.map(|column| format!("{column} = {column}")).collect();
            if !same.is_empty() {
                prepare(&format!("UPDATE {name} SET {}", same.join(", ")))?;
            }
        }
        self.shared.trust(true);
        let views = self.views();
        self.shared.trust(false);
        for view in views.map_err(|error| complaint(&error))? {
            prepare(&format!("SELECT * FROM {}", quote(&view)))?;
        }
        Ok(())
    }

    fn views(&self) -> rusqlite::Result<Vec<String>> {
        let mut views = self
            .sqlite
            .prepare("SELECT name FROM main.sqlite_schema WHERE type = 'view' ORDER BY name")?;
        views.query_map([], |row| row.get(0))?.collect()
    }

    /// Prepares a statement.
    pub(super) fn compile(&self, text: &str) -> Result<Compiled, SqlComplaint> {
        let pieces = lexer::pieces(text);
        refuse_nul(text)?;
        let piece = match pieces.as_slice() {
            [] => return Err(complain("there is no statement", Some(0))),
            [piece] => piece,
            [_, second, ..] => {
                let message = "there are several statements: a list has one in each entry";
                return Err(complain(message, Some(second.start)));
            }
        };
        refuse(piece)?;
        refuse_definition(piece)?;
        refuse_placeholders(piece)?;
        let offset = |error: &rusqlite::Error| locate(&self.shared, piece, error);
        let prepared = self.sqlite.prepare_cached(piece.text).map_err(|e| offset(&e))?;
        let mut compiled = Compiled {
            text: piece.text.into(),
            placeholders: Vec::new(),
            parameters: Vec::new(),
            columns: prepared.column_names().map(str::to_owned).collect(),
            reads_only: prepared.readonly(),
        };
        for index in 1..=prepared.parameter_count() {
            let name = prepared.parameter_name(index).and_then(|name| name.strip_prefix(':'));
            if let Some((name, placeholder)) =
                name.and_then(|name| Some((name, Placeholder::named(name)?)))
            {
                compiled.placeholders.push((index, placeholder));
                compiled.parameters.push(name.to_owned());
            }
        }
        Ok(compiled)
    }

    /// How many prepared statements are kept.
    pub(super) fn keep_statements(&self, count: usize) {
        self.sqlite.set_prepared_statement_cache_capacity(count);
    }

    /// Executes a statement to its end. With `wants_images`, the images of the rows that it changes
    /// are in the answer.
    pub(super) fn execute(
        &mut self,
        statement: &Compiled,
        parameters: &Parameters,
        surroundings: Surroundings,
        wants_images: bool,
    ) -> Result<Executed, Refusal> {
        self.shared.begin_statement(surroundings.now_ms);
        self.images.begin_statement(wants_images);
        let mut prepared = self.sqlite.prepare_cached(&statement.text).map_err(|e| refusal(&e))?;
        let bound = &statement.placeholders;
        placeholder::bind(&mut prepared, bound, parameters, surroundings, &mut self.names)
            .map_err(|e| refusal(&e))?;
        let rows = run(&mut prepared, &statement.columns).map_err(|e| refusal(&e))?;
        drop(prepared);
        if statement.reads_only {
            return Ok(Executed { rows, ..Executed::default() });
        }
        let (changes, captured) = self.images.take();
        Ok(Executed { changed: self.sqlite.changes(), rows, changes, captured })
    }

    /// Opens a transaction.
    pub(super) fn begin(&mut self) -> Result<(), Refusal> {
        self.control("BEGIN")
    }

    /// Commits the transaction. If a constraint forbids it, it stays open.
    pub(super) fn commit(&mut self) -> Result<(), Refusal> {
        self.control("COMMIT")
    }

    /// Rolls the transaction back, if one is open.
    pub(super) fn rollback(&mut self) {
        if self.in_transaction() {
            self.control("ROLLBACK").expect("a transaction that is open can be rolled back");
        }
    }

    /// Begins a part of a transaction that may be undone alone.
    pub(super) fn savepoint(&mut self) -> Result<(), Refusal> {
        self.control("SAVEPOINT part")
    }

    /// Undoes the part, if its transaction is still open.
    pub(super) fn undo_part(&mut self) {
        if self.in_transaction() {
            self.control("ROLLBACK TO part").expect("the part has begun");
        }
    }

    /// Whether a transaction is open. A statement may have rolled it back (`OR ROLLBACK`).
    pub(super) fn in_transaction(&self) -> bool {
        !self.sqlite.is_autocommit()
    }

    fn control(&mut self, text: &str) -> Result<(), Refusal> {
        let mut prepared = self.sqlite.prepare_cached(text).map_err(|e| refusal(&e))?;
        prepared.raw_execute().map_err(|e| refusal(&e))?;
        Ok(())
    }

    /// All rows of a table.
    pub(super) fn snapshot(&mut self, table: &str) -> Result<Rows, Refusal> {
        let table = self.tables().iter().find(|known| known.name.eq_ignore_ascii_case(table));
        let Some(table) = table else {
            let message = "there is no such table".to_owned();
            return Err(Refusal { error: SystemError::Statement, message });
        };
        let columns: Vec<String> = table.columns.iter().map(|column| quote(column)).collect();
        let text = format!("SELECT {} FROM {}", columns.join(", "), quote(&table.name));
        let columns = table.columns.clone();
        self.shared.begin_statement(0);
        let mut prepared = self.sqlite.prepare_cached(&text).map_err(|e| refusal(&e))?;
        run(&mut prepared, &columns).map_err(|e| refusal(&e))
    }

    /// Runs a text of the simulator's own.
    pub(super) fn seed(&mut self, text: &str) -> bool {
        self.shared.begin_statement(0);
        self.images.begin_statement(false);
        self.sqlite.execute_batch(text).is_ok()
    }
}

/// Runs a statement that is bound, to its end.
fn run(prepared: &mut Statement<'_>, columns: &[String]) -> rusqlite::Result<Rows> {
    if columns.is_empty() {
        prepared.raw_execute()?;
        return Ok(Rows::default());
    }
    let mut rows = Rows { columns: columns.to_vec(), rows: Vec::new() };
    let mut found = prepared.raw_query();
    while let Some(row) = found.next()? {
        if rows.rows.len() < ROWS_MAX {
            let values = (0..columns.len()).map(|index| row.get_ref(index).map(datum));
            rows.rows.push(values.collect::<rusqlite::Result<_>>()?);
        }
    }
    Ok(rows)
}

/// Runs the statements of a schema, in one transaction.
fn run_schema(
    sqlite: &rusqlite::Connection,
    shared: &Shared,
    schema: &str,
) -> Result<(), SqlComplaint> {
    refuse_nul(schema)?;
    sqlite.execute_batch("BEGIN").map_err(|e| complaint(&e))?;
    for piece in lexer::pieces(schema) {
        refuse(&piece)?;
        if let Some(token) = piece.tokens.iter().find(|token| token.kind == TokenKind::Placeholder)
        {
            return Err(complain("a schema has no placeholders", Some(token.start)));
        }
        shared.begin_statement(0);
        run_piece(sqlite, &piece).map_err(|error| locate(shared, &piece, &error))?;
    }
    sqlite.execute_batch("COMMIT").map_err(|e| complaint(&e))
}

fn run_piece(sqlite: &rusqlite::Connection, piece: &Piece<'_>) -> rusqlite::Result<()> {
    let mut statement = sqlite.prepare(piece.text)?;
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

fn refuse_nul(text: &str) -> Result<(), SqlComplaint> {
    match text.find('\0') {
        Some(at) => Err(complain("there is a NUL character", Some(at))),
        None => Ok(()),
    }
}

fn refuse(piece: &Piece<'_>) -> Result<(), SqlComplaint> {
    match determinism::refused_text(piece) {
        Some((message, start)) => Err(complain(&message, Some(start))),
        None => Ok(()),
    }
}

/// Refuses statements that belong into a schema.
fn refuse_definition(piece: &Piece<'_>) -> Result<(), SqlComplaint> {
    let definitions = ["CREATE", "ALTER", "DROP", "ANALYZE", "REINDEX"];
    match piece.tokens.first() {
        Some(first) if definitions.iter().any(|word| first.is(word)) => {
            let message = format!("{} belongs into the schema", first.text.to_uppercase());
            Err(complain(&message, Some(first.start)))
        }
        _ => Ok(()),
    }
}

/// Refuses placeholders that stand for nothing.
fn refuse_placeholders(piece: &Piece<'_>) -> Result<(), SqlComplaint> {
    for token in piece.tokens.iter().filter(|token| token.kind == TokenKind::Placeholder) {
        let known = token.text.strip_prefix(':').and_then(Placeholder::named);
        if known.is_none() {
            let message =
                format!("{} is not a placeholder: there are {}", token.text, placeholder::known());
            return Err(complain(&message, Some(token.start)));
        }
    }
    Ok(())
}

/// Why SQLite refused an execution.
fn refusal(error: &rusqlite::Error) -> Refusal {
    let code = match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => SystemError::Constraint,
        _ => SystemError::Statement,
    };
    Refusal { error: code, message: complaint(error).message }
}

/// A complaint about a statement, with its place in the whole text.
fn locate(shared: &Shared, piece: &Piece<'_>, error: &rusqlite::Error) -> SqlComplaint {
    if let Some(message) = shared.take_refusal() {
        let offset = determinism::refused_call(&piece.tokens).unwrap_or(piece.start);
        return SqlComplaint { message, offset: Some(offset) };
    }
    let found = complaint(error);
    let said = found.offset.filter(|&offset| piece.text.is_char_boundary(offset));
    let offset = said.map(|offset| piece.start + offset).or_else(|| named(piece, &found.message));
    SqlComplaint { message: found.message, offset: Some(offset.unwrap_or(piece.start)) }
}

/// Where the name is that SQLite misses, if it does not say where it is.
fn named(piece: &Piece<'_>, message: &str) -> Option<usize> {
    if !message.starts_with("no such") && !message.contains("no column named") {
        return None;
    }
    let name = message.rsplit([' ', '.']).next()?;
    let mut tokens = piece.tokens.iter();
    let token = tokens.find(|token| !name.is_empty() && token.name().eq_ignore_ascii_case(name));
    token.map(|token| token.start)
}

fn complain(message: &str, offset: Option<usize>) -> SqlComplaint {
    SqlComplaint { message: message.to_owned(), offset }
}

/// What SQLite says.
fn complaint(error: &rusqlite::Error) -> SqlComplaint {
    match error {
        rusqlite::Error::SqlInputError { msg, offset, .. } => {
            SqlComplaint { message: msg.clone(), offset: usize::try_from(*offset).ok() }
        }
        rusqlite::Error::SqliteFailure(_, Some(message)) => complain(message, None),
        other => complain(&other.to_string(), None),
    }
}
