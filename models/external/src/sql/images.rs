//! Which rows a statement changed, with an image of each before and after.
//!
//! Mirrors change capture by triggers: each table of the schema has temporary triggers after insert,
//! update and delete that hand the row's values to a function of the connection. With
//! `recursive_triggers` the rows that `REPLACE` deletes fire, too.
//!
//! An image is a hash of all values of a row. A row's identity is a hash of its table and its
//! primary key; of a table without one, of its rowid.
//!
//! A schema with triggers of its own keeps `recursive_triggers` off, as SQLite's default is: one
//! that updates its own row would never end. There a trigger before insert tells which rows are in
//! the way; if the insert succeeds nevertheless, it has replaced them.
//!
//! Simplification: only the tables that a statement of interest can change have triggers.
//!
//! Simplification: in a schema with triggers of its own, `UPDATE OR REPLACE` deletes unseen. Nobody
//! replaces one row by updating another to its key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oncesim_types::RowChange;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;

use super::lexer;
use crate::image::mix;
use crate::message::Datum;

/// The name of the function that triggers call.
pub(super) const FUNCTION: &str = "oncesim_row";
/// Columns of a table at most: both images of an update are arguments of one call.
pub(super) const COLUMNS_MAX: usize = 400;

/// Changes of one statement that are searched one by one.
const SEARCHED_MAX: usize = 16;

/// Whose changes are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Following<'a> {
    /// Tables whose changes are captured.
    pub(super) captured: &'a [String],
    /// The statements whose changes are wanted; `None`: of whatever statement.
    pub(super) statements: Option<&'a [&'a str]>,
}

impl Following<'_> {
    /// Whether the changes of this table may be asked for. A statement changes the tables that it
    /// names; others only by triggers or foreign keys, which `reach` says the schema has.
    fn includes(&self, table: &Table, reach: bool) -> bool {
        let named = |text: &str| {
            lexer::tokens(text).iter().any(|token| token.name().eq_ignore_ascii_case(&table.name))
        };
        match self.statements {
            // A quote in a name is written in more ways than one.
            Some(texts) if !reach && !table.name.contains(['"', '`']) => {
                table.captured || texts.iter().any(|text| named(text))
            }
            Some(_) | None => true,
        }
    }
}

/// A table of the schema.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    /// Its columns, in the schema's order.
    pub(super) columns: Vec<String>,
    /// Those of them that are written, not generated.
    pub(super) written: Vec<String>,
    /// Which of them are its primary key.
    key: Vec<usize>,
    /// By which name triggers can ask for the rowid, if the key does not always tell rows apart: a
    /// declared key may be `NULL`, as SQLite has it.
    rowid: Option<&'static str>,
    /// Columns that are unique together.
    unique: Vec<Vec<String>>,
    /// Hash of its name.
    identity: u64,
    /// Whether its changes are captured.
    pub(super) captured: bool,
}

/// One change of a captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Captured {
    /// Index of the table.
    pub(super) table: usize,
    /// Whether the row was deleted.
    pub(super) deleted: bool,
    /// Its values; of a deleted row, those that it had.
    pub(super) values: Vec<Datum>,
}

/// What the triggers of one statement have told.
#[derive(Debug, Default)]
struct Told {
    /// Whether anybody wants images.
    wants_images: bool,
    /// Net changes, one per row, in the order of each row's first change.
    changes: Vec<RowChange>,
    /// Rows that are in the way of the row that is being inserted: table, identity, image.
    obstacles: Vec<(usize, u64, u64)>,
    /// Where each row's net change is, once there are many.
    index: BTreeMap<u64, usize>,
    /// Changes of captured tables, one by one.
    captured: Vec<Captured>,
}

/// Follows the rows of a connection.
#[derive(Debug)]
pub(super) struct Images {
    /// The tables, by the number that their triggers tell.
    pub(super) tables: Arc<[Table]>,
    told: Arc<Mutex<Told>>,
}

impl Images {
    /// Follows the tables of the schema that `connection` holds.
    pub(super) fn install(
        connection: &rusqlite::Connection,
        following: Following<'_>,
    ) -> rusqlite::Result<Images> {
        let tables: Arc<[Table]> = tables(connection, following.captured)?.into();
        let told = Arc::new(Mutex::new(Told::default()));
        let (rows, all) = (Arc::clone(&told), Arc::clone(&tables));
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
        connection.create_scalar_function(FUNCTION, -1, flags, move |context| {
            tell(context, &all, &mut lock(&rows));
            Ok(rusqlite::types::Null)
        })?;
        let (own, references): (bool, bool) = connection.query_row(
            "SELECT total(type = 'trigger') > 0, total(sql LIKE '%REFERENCES%') > 0 \
             FROM main.sqlite_schema",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if !own {
            connection.execute_batch("PRAGMA recursive_triggers = ON")?;
        }
        let followed = tables
            .iter()
            .enumerate()
            .filter(|(_, table)| following.includes(table, own || references));
        let triggers: String =
            followed.map(|(number, table)| table.triggers(number, own)).collect();
        connection.execute_batch(&format!("BEGIN; {triggers} COMMIT;"))?;
        Ok(Images { tables, told })
    }

    /// A statement begins. Whether images are wanted of it is known beforehand.
    pub(super) fn begin_statement(&self, wants_images: bool) {
        let mut told = lock(&self.told);
        told.wants_images = wants_images;
        told.changes.clear();
        told.index.clear();
        told.captured.clear();
    }

    /// What the statement changed: net changes of rows, and the changes of captured tables.
    pub(super) fn take(&self) -> (Vec<RowChange>, Vec<Captured>) {
        let mut told = lock(&self.told);
        (std::mem::take(&mut told.changes), std::mem::take(&mut told.captured))
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// The triggers of this table, whose number is `number`. With `looks`, one looks for rows that
    /// are in the way of an insert.
    fn triggers(&self, number: usize, looks: bool) -> String {
        let name = quote(&self.name);
        let row = |side: &str| {
            let columns = self.columns.iter().map(|column| format!(", {side}.{}", quote(column)));
            let rowid = self.rowid.iter().map(|rowid| format!(", {side}.{rowid}"));
            columns.chain(rowid).collect::<String>()
        };
        let changes = [
            ("INSERT", 0, row("NEW")),
            ("DELETE", 1, row("OLD")),
            ("UPDATE", 2, row("OLD") + &row("NEW")),
        ];
        let mut triggers: String = changes
            .iter()
            .map(|(event, kind, rows)| {
                format!(
                    "CREATE TEMP TRIGGER oncesim_{number}_{kind} AFTER {event} ON main.{name} \
                     BEGIN SELECT {FUNCTION}({number}, {kind}{rows}); END;"
                )
            })
            .collect();
        if looks && !self.unique.is_empty() {
            let same = self.unique.iter().map(|columns| {
                let equal = columns.iter().map(|column| quote(column));
                let equal = equal.map(|column| format!("{column} = NEW.{column}"));
                format!("({})", equal.collect::<Vec<_>>().join(" AND "))
            });
            let same = same.collect::<Vec<_>>().join(" OR ");
            let rows = row(&name);
            triggers += &format!(
                "CREATE TEMP TRIGGER oncesim_{number}_3 BEFORE INSERT ON main.{name} BEGIN \
                 SELECT {FUNCTION}({number}, 4); \
                 SELECT {FUNCTION}({number}, 3{rows}) FROM main.{name} WHERE {same}; END;"
            );
        }
        triggers
    }

    /// How many arguments one row has.
    fn width(&self) -> usize {
        self.columns.len() + usize::from(self.rowid.is_some())
    }

    /// Identity and image of the row whose values begin at argument `from`.
    fn row(&self, context: &Context<'_>, from: usize) -> (u64, u64) {
        let mut image = Hash(self.identity);
        for index in 0..self.columns.len() {
            image.value(context.get_raw(from + index));
        }
        let mut identity = Hash(self.identity);
        let mut tells = !self.key.is_empty();
        for &index in &self.key {
            let value = context.get_raw(from + index);
            tells &= value != ValueRef::Null;
            identity.value(value);
        }
        if !tells && self.rowid.is_some() {
            identity.value(context.get_raw(from + self.columns.len()));
        }
        (identity.finish(), image.finish())
    }
}

/// A trigger has called: number of the table, kind of change, and the values of one row or two.
fn tell(context: &Context<'_>, tables: &[Table], told: &mut Told) {
    let number = context.get_raw(0).as_i64().ok().and_then(|number| usize::try_from(number).ok());
    let Some((number, table)) = number.and_then(|number| Some((number, tables.get(number)?)))
    else {
        return;
    };
    let width = table.width();
    let kind = context.get_raw(1).as_i64().unwrap_or(0);
    if kind == 4 {
        told.obstacles.clear();
        return;
    }
    if context.len() != 2 + width * (1 + usize::from(kind == 2)) {
        return;
    }
    if told.wants_images {
        let first = table.row(context, 2);
        match kind {
            0 => {
                for (of, row, image) in std::mem::take(&mut told.obstacles) {
                    if of == number {
                        told.change(row, image, 0);
                    }
                }
                told.change(first.0, 0, first.1);
            }
            3 => {
                told.obstacles.push((number, first.0, first.1));
                return;
            }
            1 => told.change(first.0, first.1, 0),
            _ => {
                let second = table.row(context, 2 + width);
                if first.0 == second.0 {
                    told.change(first.0, first.1, second.1);
                } else {
                    told.change(first.0, first.1, 0);
                    told.change(second.0, 0, second.1);
                }
            }
        }
    }
    if table.captured && kind != 3 {
        let from = if kind == 2 { 2 + width } else { 2 };
        let values = (from..from + table.columns.len()).map(|at| datum(context.get_raw(at)));
        let values = values.collect();
        told.captured.push(Captured { table: number, deleted: kind == 1, values });
    }
}

impl Told {
    /// Merges a change of one row into what is known of it.
    fn change(&mut self, row: u64, before: u64, after: u64) {
        // Most statements change a row or two; those that change many are looked up.
        let known = if self.index.is_empty() {
            self.changes.iter().position(|change| change.row == row)
        } else {
            self.index.get(&row).copied()
        };
        if let Some(known) = known {
            self.changes[known].after = after;
            return;
        }
        self.changes.push(RowChange { row, before, after });
        if self.changes.len() > SEARCHED_MAX {
            let from = self.index.len();
            let rows = self.changes.iter().enumerate().skip(from);
            self.index.extend(rows.map(|(index, change)| (change.row, index)));
        }
    }
}

/// A hash over typed values that is the same on every machine. Never 0, which is "no row".
struct Hash(u64);

impl Hash {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25);
        self.0 ^= self.0 >> 29;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.word(1),
            ValueRef::Integer(value) => {
                self.word(2);
                self.word(value.cast_unsigned());
            }
            ValueRef::Real(value) => {
                self.word(3);
                self.word(value.to_bits());
            }
            ValueRef::Text(text) => {
                self.word(4);
                self.bytes(text);
            }
            ValueRef::Blob(blob) => {
                self.word(5);
                self.bytes(blob);
            }
        }
    }

    fn finish(self) -> u64 {
        mix(self.0).max(1)
    }
}

/// A value of SQLite's as one of ours.
pub(super) fn datum(value: ValueRef<'_>) -> Datum {
    match value {
        ValueRef::Null => Datum::Null,
        ValueRef::Integer(value) => Datum::Integer(value),
        ValueRef::Real(value) => Datum::Real(value.to_bits()),
        ValueRef::Text(text) => Datum::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(blob) => Datum::Blob(blob.to_vec()),
    }
}

/// The name in quotes.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The tables of the schema, by name.
fn tables(connection: &rusqlite::Connection, captured: &[String]) -> rusqlite::Result<Vec<Table>> {
    let mut found = connection.prepare(
        "SELECT name, wr FROM pragma_table_list \
         WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         ORDER BY name",
    )?;
    let names: Vec<(String, bool)> = found
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut described =
        connection.prepare("SELECT name, pk, type, hidden FROM pragma_table_xinfo(?1, 'main')")?;
    let mut unique = connection.prepare(
        "SELECT i.seq, c.name FROM pragma_index_list(?1, 'main') i, pragma_index_info(i.name, 'main') c \
         WHERE i.\"unique\" AND NOT i.partial AND c.name IS NOT NULL ORDER BY i.seq, c.seqno",
    )?;
    let mut tables = Vec::with_capacity(names.len());
    for (name, without_rowid) in names {
        let mut table = Table {
            identity: 0,
            captured: captured.iter().any(|table| table.eq_ignore_ascii_case(&name)),
            columns: Vec::new(),
            written: Vec::new(),
            key: Vec::new(),
            rowid: None,
            unique: Vec::new(),
            name,
        };
        let mut identity = Hash(0);
        identity.bytes(table.name.as_bytes());
        table.identity = identity.finish();
        let mut integer_key = false;
        let mut columns = described.query([&table.name])?;
        while let Some(row) = columns.next()? {
            let column: String = row.get(0)?;
            if row.get::<_, i64>(1)? > 0 {
                table.key.push(table.columns.len());
                integer_key = row.get::<_, String>(2)?.eq_ignore_ascii_case("INTEGER");
            }
            if row.get::<_, i64>(3)? == 0 {
                table.written.push(column.clone());
            }
            table.columns.push(column);
        }
        let free =
            |alias: &&&str| !table.columns.iter().any(|column| column.eq_ignore_ascii_case(alias));
        let tells = without_rowid || (integer_key && table.key.len() == 1);
        table.rowid =
            if tells { None } else { ["rowid", "_rowid_", "oid"].iter().find(free).copied() };
        if !table.key.is_empty() {
            let key = table.key.iter().map(|&index| table.columns[index].clone());
            table.unique.push(key.collect());
        }
        let mut newest = None;
        let mut columns = unique.query([&table.name])?;
        while let Some(row) = columns.next()? {
            let index: i64 = row.get(0)?;
            if newest.replace(index) != Some(index) {
                table.unique.push(Vec::new());
            }
            table.unique.last_mut().expect("an index begins").push(row.get(1)?);
        }
        if table.key.is_empty() && table.rowid.is_none() {
            // Neither a key nor a rowid that has a name: the whole row is its identity.
            table.key = (0..table.columns.len()).collect();
        }
        tables.push(table);
    }
    Ok(tables)
}
