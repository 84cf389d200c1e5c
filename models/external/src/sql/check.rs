//! What can be said about a scenario's SQL before it runs: whether SQLite takes it, and what an
//! effect does when it is applied again, or late.
//!
//! Mirrors `sqlite3_prepare_v2` and `sqlite3_error_offset`. What an effect does is found out by
//! trying it on scratch databases.
//!
//! Simplification: trying shows what happens with the rows that were tried, which are those of the
//! schema or, where it has none that the effect finds, rows full of small numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use oncesim_types::{RowChange, TopicId, TopicPartition};

use super::connection::{Compiled, Connection, Refusal};
use super::images::{Following, quote};
use super::placeholder::Surroundings;
use super::{EffectTraits, SqlComplaint, StatementShape};
use crate::message::Parameters;

/// Whether a schema is valid SQL that a run may execute.
///
/// # Errors
/// What SQLite says, or that it reads the wall clock or randomness.
pub fn check_schema(schema: &str) -> Result<(), SqlComplaint> {
    open(schema)?.check_uses(schema)
}

/// Prepares a statement against a schema.
///
/// # Errors
/// What SQLite says.
pub fn check_statement(schema: &str, statement: &str) -> Result<StatementShape, SqlComplaint> {
    let compiled = open(schema)?.compile(statement)?;
    Ok(StatementShape {
        parameters: compiled.parameters,
        columns: compiled.columns,
        reads_only: compiled.reads_only,
    })
}

/// Applies the statements of an effect to scratch databases: once, twice, and out of order.
///
/// # Errors
/// What SQLite says when the effect is applied to the database as its schema leaves it, and to one
/// with rows that the effect may find; or that it changes no row of either.
pub fn effect_traits(schema: &str, effect: &[&str]) -> Result<EffectTraits, SqlComplaint> {
    let mut connection = open(schema)?;
    let effect: Vec<Compiled> =
        effect.iter().map(|text| connection.compile(text)).collect::<Result<_, _>>()?;
    let mut trial = Trial { connection: &mut connection, effect: &effect };
    let mut refused = None;
    for seeded in [false, true] {
        if seeded {
            trial.seed();
        }
        for (older, newer) in records() {
            match trial.alone(&older) {
                Ok(changes) if changes.iter().any(is_change) => {
                    return Ok(EffectTraits {
                        absorbs: trial.absorbs(&older),
                        overwrites: trial.overwrites(&older, &newer),
                    });
                }
                Ok(_) => {}
                Err(refusal) => refused = refused.or(refusal),
            }
        }
    }
    let message = match refused {
        Some(refusal) => format!("the effect fails on the empty database: {}", refusal.message),
        None => "the effect changes no row, whatever :key and :id are".to_owned(),
    };
    Err(SqlComplaint { message, offset: None })
}

fn open(schema: &str) -> Result<Connection, SqlComplaint> {
    let everything = Following { captured: &[], statements: None };
    Connection::open(schema, everything, Arc::from(["topic".to_owned()]), 0)
}

/// Pairs of records of one key that are tried, the older one first: keys and ids that a schema is
/// likely to have rows for, and ids like those of a run.
fn records() -> Vec<(Parameters, Parameters)> {
    let mut pairs = Vec::new();
    for key in [0, 1, 2] {
        for (older, newer) in [(7_000_001, 7_000_002), (0, 1), (1, 2)] {
            let record = |id: i64, value: i64, version: i64| Parameters {
                id,
                key: Some(key),
                value: Some(value),
                version,
                partition: Some(TopicPartition::new(TopicId(0), 0)),
                offset: version,
                next: version + 1,
                token: 1,
                attempt: 1,
                ..Parameters::default()
            };
            pairs.push((record(older, 30, 5), record(newer, 40, 6)));
        }
    }
    pairs
}

fn is_change(change: &RowChange) -> bool {
    change.before != change.after
}

/// Tries an effect; the database is afterwards as it was before.
struct Trial<'a> {
    connection: &'a mut Connection,
    effect: &'a [Compiled],
}

impl Trial<'_> {
    /// Gives every table rows full of small numbers, so that an effect that needs rows finds some.
    fn seed(&mut self) {
        let inserts: Vec<String> = self
            .connection
            .tables()
            .iter()
            .flat_map(|table| {
                let columns: Vec<String> = table.written.iter().map(|name| quote(name)).collect();
                let name = quote(&table.name);
                let columns = columns.join(", ");
                let count = table.written.len();
                [0, 1, 2, 7_000_001, 7_000_002].map(|value| {
                    let values = vec![value.to_string(); count].join(", ");
                    format!("INSERT OR IGNORE INTO {name} ({columns}) VALUES ({values})")
                })
            })
            .collect();
        // Twice: a row may refer to one of a table that comes later.
        for insert in inserts.iter().chain(&inserts) {
            self.connection.seed(insert);
        }
    }

    /// What applying `record` changes.
    fn alone(&mut self, record: &Parameters) -> Result<Vec<RowChange>, Option<Refusal>> {
        let applied = self.apply(&[record]);
        applied.changes.into_iter().next().ok_or(None)?.map_err(Some)
    }

    /// Whether applying it again, later, changes nothing.
    fn absorbs(&mut self, record: &Parameters) -> bool {
        let applied = self.apply(&[record, record]);
        match applied.changes.get(1) {
            Some(Ok(again)) => !again.iter().any(is_change),
            // Refused: nothing was done.
            Some(Err(_)) | None => true,
        }
    }

    /// Whether the older record changes what the newer one left, and the order matters.
    fn overwrites(&mut self, older: &Parameters, newer: &Parameters) -> bool {
        let in_order = self.apply(&[older, newer]);
        let late = self.apply(&[newer, older]);
        let meets = match late.changes.get(1) {
            Some(Ok(changes)) => changes.iter().any(|it| it.before != 0 && is_change(it)),
            Some(Err(_)) | None => false,
        };
        meets && in_order.rows != late.rows
    }

    /// Applies the records one after the other, each in a transaction of its own, and forgets it.
    fn apply(&mut self, records: &[&Parameters]) -> Applied {
        let mut applied = Applied::default();
        if self.connection.begin().is_err() {
            return applied;
        }
        let mut read = 1_000;
        for (ordinal, record) in (1..).zip(records) {
            // Whoever reads before it writes reads what the last one wrote.
            let parameters = Parameters { read: Some(read), ..**record };
            read += record.value.unwrap_or(0);
            let surroundings = Surroundings { now_ms: 1_000 * ordinal, sequence: ordinal };
            let changes = self.steps(&parameters, surroundings);
            if changes.is_err() {
                self.connection.undo_part();
            }
            for change in changes.iter().flatten() {
                applied.rows.insert(change.row, change.after);
            }
            applied.changes.push(changes);
            if !self.connection.in_transaction() {
                break;
            }
        }
        self.connection.rollback();
        applied
    }

    /// Executes all steps of the effect.
    fn steps(
        &mut self,
        parameters: &Parameters,
        surroundings: Surroundings,
    ) -> Result<Vec<RowChange>, Refusal> {
        self.connection.savepoint()?;
        let mut changes = Vec::new();
        for statement in self.effect {
            let executed = self.connection.execute(statement, parameters, surroundings, true)?;
            changes.extend(executed.changes);
        }
        Ok(changes)
    }
}

/// What trying showed.
#[derive(Debug, Default)]
struct Applied {
    /// The changes by each record.
    changes: Vec<Result<Vec<RowChange>, Refusal>>,
    /// The image of every row that was touched, at the end.
    rows: BTreeMap<u64, u64>,
}

#[cfg(test)]
mod tests;
