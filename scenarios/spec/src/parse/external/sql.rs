//! SQL in a scenario: the text itself or the path of a `.sql` file, checked by SQLite, with each
//! complaint at its place in the TOML or in the file.
//!
//! It is SQLite's dialect only: what SQLite accepts and another database would not, nobody here can
//! tell. Where SQLite gives no position, the name that it complains about is looked for.

use std::sync::Arc;

use oncesim_external::sql::{self, SqlComplaint, StatementShape, StatementText};
use oncesim_types::{StatementId, StatementRole};

use crate::diagnostic::{Diagnostic, Diagnostics, Place, nearest, reason};
use crate::id;
use crate::node::Value;
use crate::parse::application::Reading;
use crate::property::Inlined;
use crate::quoted::unquote;
use crate::section::Section;

/// SQL that was read.
#[derive(Debug, Clone)]
pub(super) struct Sql {
    pub(super) text: Arc<str>,
    /// The string in the TOML, or the whole file.
    place: Place,
    /// Whether `place` is in a `.sql` file: there a byte is a byte.
    in_file: bool,
}

/// Anything with a space is SQL, everything else the path of a file.
fn is_sql(text: &str) -> bool {
    text.is_empty() || text.contains(char::is_whitespace)
}

impl Sql {
    /// What stands at `keys` of the document.
    pub(super) fn read(
        (text, place): (&str, Place),
        keys: &[&str],
        reading: &mut Reading<'_>,
        out: &mut Diagnostics,
    ) -> Option<Sql> {
        if is_sql(text) {
            return Some(Sql { text: text.into(), place, in_file: false });
        }
        let full = reading.base_dir.map_or_else(|| text.into(), |base| base.join(text));
        let mut content = match std::fs::read_to_string(&full) {
            Ok(content) => content,
            Err(error) => {
                let message = format!("cannot read `{text}`: {}", reason(&error));
                out.push(
                    Diagnostic::error(id::UNREADABLE, message)
                        .at(place)
                        .help("the path of a `.sql` file is relative to the scenario")
                        .help("SQL itself has a space in it"),
                );
                return None;
            }
        };
        if !is_sql(&content) {
            content.push('\n'); // written out, it must not look like a path
        }
        let source = out.source_once(&full.display().to_string(), &content);
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        reading.inlined.push(Inlined::Text { keys, text: content.clone() });
        let place = Place::new(source, 0..content.len());
        Some(Sql { text: content.into(), place, in_file: true })
    }

    /// The SQL of a key, if it is there.
    pub(super) fn of(
        section: &mut Section<'_>,
        key: &'static str,
        table: &[&str],
        reading: &mut Reading<'_>,
        out: &mut Diagnostics,
    ) -> Option<Sql> {
        let text = section.text(key, out)?;
        Sql::read(text, &[table, &[key]].concat(), reading, out)
    }

    /// The SQL of a key, which must be there.
    pub(super) fn required(
        section: &mut Section<'_>,
        key: &'static str,
        table: &[&str],
        example: &str,
        (reading, out): (&mut Reading<'_>, &mut Diagnostics),
    ) -> Option<Sql> {
        let text = section.required_text(key, example, out)?;
        Sql::read(text, &[table, &[key]].concat(), reading, out)
    }

    /// One statement, or a list of them; `None` after a complaint.
    pub(super) fn list(
        section: &mut Section<'_>,
        key: &'static str,
        table: &[&str],
        example: &str,
        (reading, out): (&mut Reading<'_>, &mut Diagnostics),
    ) -> Option<Vec<Sql>> {
        let several = section.get(key).is_some_and(|it| matches!(it.node.value, Value::Array(_)));
        let texts = section.texts(key, out);
        if !section.has(key) || texts.as_ref().is_some_and(|texts| several && texts.is_empty()) {
            section.missing(key, example, out);
            return None;
        }
        let texts = texts?;
        let count = texts.len();
        let mut list = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            let index = index.to_string();
            let mut keys = [table, &[key]].concat();
            if several {
                keys.push(&index);
            }
            list.extend(Sql::read(text, &keys, reading, out));
        }
        (list.len() == count).then_some(list)
    }

    /// The word that begins at a byte of the SQL, as far as it can be found in its source.
    fn word_at(&self, offset: usize, out: &Diagnostics) -> Place {
        let end = offset + word_length(self.text.get(offset..).unwrap_or_default());
        let Some(source) = out.sources().get(usize::from(self.place.source)) else {
            return self.place;
        };
        let (start, end) = if self.in_file {
            (Some(offset), Some(end))
        } else {
            let raw = source.text.get(self.place.range()).unwrap_or_default();
            let Some(map) = unquote(raw).filter(|read| read.text == *self.text) else {
                return self.place;
            };
            let base = self.place.start as usize;
            (map.raw(offset).map(|at| base + at), map.raw(end).map(|at| base + at))
        };
        match (start, end) {
            (Some(start), Some(end)) if start < end => Place::new(self.place.source, start..end),
            _ => self.place,
        }
    }

    /// A placeholder, where it stands first.
    pub(super) fn parameter(&self, name: &str, out: &Diagnostics) -> Place {
        let at = self.find(&format!(":{name}"));
        at.map_or_else(|| self.first_line(out), |at| self.word_at(at, out))
    }

    /// The first line of it that says something.
    fn first_line(&self, out: &Diagnostics) -> Place {
        let blank = self.text.len() - self.text.trim_start().len();
        let line = self.text.trim_start().lines().next().unwrap_or_default().trim_end();
        match line {
            "" => self.place,
            _ if !self.text.trim().contains('\n') && !self.in_file => self.place,
            _ => {
                let first = self.word_at(blank, out);
                let last = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
                Place { end: self.word_at(blank + last, out).end.max(first.end), ..first }
            }
        }
    }

    /// Where a whole word stands in the SQL.
    fn find(&self, word: &str) -> Option<usize> {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let begins_with_part = word.starts_with(part);
        self.text.match_indices(word).map(|(at, _)| at).find(|at| {
            let before = self.text[..*at].chars().next_back();
            let after = self.text[at + word.len()..].chars().next();
            !(begins_with_part && before.is_some_and(part) || after.is_some_and(part))
        })
    }

    /// The placeholder that a complaint is about, if it is about one.
    fn placeholder_at(&self, complaint: &SqlComplaint) -> Option<&str> {
        let rest = self.text.get(complaint.offset?..)?;
        rest.starts_with([':', '?', '@', '$']).then(|| &rest[..word_length(rest)])
    }

    /// What SQLite says about it.
    fn complaint(&self, complaint: &SqlComplaint, schema: &str, out: &Diagnostics) -> Diagnostic {
        // `no such table: oders`, `table orders has no column named custmer`
        let named = complaint.message.rsplit_once(": ");
        let named = named.or_else(|| complaint.message.rsplit_once(" named "));
        let named = named.map(|(_, name)| name.trim());
        let named = named.filter(|name| !name.is_empty());
        let offset = complaint.offset.filter(|offset| *offset < self.text.len());
        let offset = offset.or_else(|| self.find(named?));
        let place = offset.map_or_else(|| self.first_line(out), |at| self.word_at(at, out));
        let message = format!("SQL: {}", complaint.message);
        let item = Diagnostic::error(id::SQL, message).at(place);
        match named.and_then(|name| meant(&complaint.message, name, schema)) {
            Some(near) => item.help(format!("did you mean `{near}`?")),
            None => item,
        }
    }
}

/// The table or column of the schema that a name was meant to be.
fn meant(message: &str, name: &str, schema: &str) -> Option<String> {
    let name = name.rsplit('.').next().unwrap_or(name);
    let known = if message.starts_with("no such table") {
        tables(schema)
    } else if message.starts_with("no such column") || message.contains("has no column named") {
        tables(schema).iter().flat_map(|table| columns(schema, table)).collect()
    } else {
        Vec::new()
    };
    nearest(name, known.iter().map(String::as_str)).map(str::to_owned)
}

/// The names of tables that a schema creates, for suggestions: the word after `TABLE`.
fn tables(schema: &str) -> Vec<String> {
    let split = |c: char| c.is_whitespace() || "();,\"`[]".contains(c);
    let words: Vec<&str> = schema.split(split).filter(|word| !word.is_empty()).collect();
    let skipped = ["if", "not", "exists"];
    let mut tables = Vec::new();
    for (at, _) in words.iter().enumerate().filter(|(_, word)| word.eq_ignore_ascii_case("table")) {
        let mut rest = words[at + 1..].iter();
        let name = rest.find(|word| !skipped.iter().any(|skip| word.eq_ignore_ascii_case(skip)));
        tables.extend(name.map(|name| (*name).to_owned()));
    }
    tables
}

/// The columns of a table; none if there is no such table.
fn columns(schema: &str, table: &str) -> Vec<String> {
    let query = format!("SELECT * FROM \"{}\"", table.replace('"', "\"\""));
    sql::check_statement(schema, &query).map(|shape| shape.columns).unwrap_or_default()
}

/// How long the word is that a text begins with: a name with its colon, a number, a quoted text, or
/// one character.
fn word_length(text: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let first = text.chars().next();
    match first {
        Some(quote @ ('\'' | '"')) => text[1..].find(quote).map_or(1, |end| end + 2),
        Some(':' | '?' | '@' | '$') => 1 + text[1..].find(|c| !part(c)).unwrap_or(text.len() - 1),
        Some(c) if part(c) => text.find(|c| !part(c)).unwrap_or(text.len()),
        Some(c) => c.len_utf8(),
        None => 0,
    }
}

/// What a statement of a role knows, and must do.
struct Role {
    /// As complaints name it.
    name: &'static str,
    placeholders: &'static [&'static str],
    /// It changes something; else it returns something.
    changes: bool,
}

/// Of the statements about one record; an effect also knows `read`.
const RECORD: &[&str] = &[
    "id",
    "key",
    "value",
    "version",
    "topic",
    "partition",
    "offset",
    "token",
    "attempt",
    "now",
    "sequence",
];

const EFFECT: &[&str] = &[
    "id",
    "key",
    "value",
    "version",
    "topic",
    "partition",
    "offset",
    "token",
    "attempt",
    "now",
    "sequence",
    "read",
];

const OPERATION: &[&str] = &["id", "key", "value", "version", "attempt", "now", "sequence"];

fn role(role: StatementRole) -> Role {
    let (name, placeholders, changes): (_, &[&str], _) = match role {
        StatementRole::Effect => ("an effect", EFFECT, true),
        StatementRole::Read => ("`read`", RECORD, false),
        StatementRole::DedupCheck => ("a `check`", RECORD, false),
        StatementRole::DedupMark => ("a `mark`", RECORD, true),
        StatementRole::DedupEvict => ("`evict`", &["horizon", "now"], true),
        StatementRole::OffsetRead => {
            ("the `read` of offsets", &["topic", "partition", "token", "now"], false)
        }
        StatementRole::OffsetWrite => (
            "the `write` of offsets",
            &["topic", "partition", "next", "offset", "token", "now"],
            true,
        ),
        StatementRole::Business => ("a business row", OPERATION, true),
        StatementRole::Outbox => ("`outbox`", OPERATION, true),
        StatementRole::RelaySelect => ("`select`", &["cursor", "batch", "now"], false),
        StatementRole::RelayMark => ("`mark`", &["id", "cursor", "now"], true),
        StatementRole::CursorRead => ("the `read` of a cursor", &["now"], false),
        StatementRole::CursorWrite => ("the `write` of a cursor", &["cursor", "now"], true),
    };
    Role { name, placeholders, changes }
}

/// A database whose statements are being collected.
#[derive(Debug, Clone)]
pub(super) struct Statements {
    pub(super) schema: Arc<str>,
    /// Whether statements can be checked against the schema.
    sound: bool,
    pub(super) statements: Vec<StatementText>,
}

impl Statements {
    /// Runs the schema.
    pub(super) fn new(schema: Option<Sql>, out: &mut Diagnostics) -> Statements {
        let statements = Vec::new();
        let Some(schema) = schema else {
            return Statements { schema: "".into(), sound: false, statements };
        };
        let checked = sql::check_schema(&schema.text);
        if let Err(complaint) = &checked {
            let item = schema.complaint(complaint, &schema.text, out);
            out.push(item);
        }
        Statements { schema: schema.text, sound: checked.is_ok(), statements }
    }

    /// The number of a statement that can play its role, and what it is like.
    pub(super) fn add(
        &mut self,
        sql: &Sql,
        statement_role: StatementRole,
        out: &mut Diagnostics,
    ) -> Option<(StatementId, StatementShape)> {
        if !self.sound {
            return None; // that has been said
        }
        let role = role(statement_role);
        let shape = match sql::check_statement(&self.schema, &sql.text) {
            Ok(shape) => shape,
            Err(complaint) => {
                let item = match sql.placeholder_at(&complaint) {
                    Some(name) => placeholder_unknown(sql, name, &role, out),
                    None => sql.complaint(&complaint, &self.schema, out),
                };
                out.push(item);
                return None;
            }
        };
        let unknown = |name: &&String| !role.placeholders.contains(&name.as_str());
        let unknown: Vec<_> = shape.parameters.iter().filter(unknown).collect();
        for name in &unknown {
            let item = placeholder_unknown(sql, &format!(":{name}"), &role, out);
            out.push(item);
        }
        if role.changes && shape.reads_only {
            let message = format!("{} changes nothing in the database", role.name);
            let item = Diagnostic::error(id::SQL_ROLE, message).at(sql.first_line(out));
            out.push(item.help("write an INSERT, an UPDATE or a DELETE"));
            return None;
        }
        if !role.changes && shape.columns.is_empty() {
            let message = format!("{} returns nothing", role.name);
            let item = Diagnostic::error(id::SQL_ROLE, message).at(sql.first_line(out));
            out.push(item.help("write a SELECT"));
            return None;
        }
        if !unknown.is_empty() {
            return None;
        }
        let text = StatementText { text: Arc::clone(&sql.text), role: statement_role };
        let index = self.statements.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.statements.push(text);
            self.statements.len() - 1
        });
        let number = StatementId(u16::try_from(index).expect("statements are counted in 16 bits"));
        Some((number, shape))
    }

    /// Whether a query returns a column.
    pub(super) fn has_column(
        sql: &Sql,
        shape: &StatementShape,
        column: &str,
        why: &str,
        out: &mut Diagnostics,
    ) -> bool {
        if shape.columns.iter().any(|known| known == column) {
            return true;
        }
        let message = format!("the query has no column `{column}`: {why}");
        let item = Diagnostic::error(id::SQL_ROLE, message).at(sql.first_line(out));
        let near = nearest(column, shape.columns.iter().map(String::as_str));
        out.push(match near {
            Some(near) => item.help(format!("write `{near} AS {column}`")),
            None => item.help(format!("its columns are {}", shape.columns.join(", "))),
        });
        false
    }

    /// Whether a table can be captured: it exists, and has a column `id`.
    pub(super) fn captures(&self, table: &str, place: Place, out: &mut Diagnostics) -> bool {
        if !self.sound {
            return false;
        }
        let columns = columns(&self.schema, table);
        let tables = tables(&self.schema);
        if columns.is_empty() {
            let message = format!("the schema has no table `{table}`");
            let item = Diagnostic::error(id::SQL_ROLE, message).at(place);
            out.push(match nearest(table, tables.iter().map(String::as_str)) {
                Some(near) => item.help(format!("did you mean \"{near}\"?")),
                None => item.help(format!("its tables are {}", tables.join(", "))),
            });
            return false;
        }
        if columns.iter().any(|column| column == "id") {
            return true;
        }
        let message =
            format!("the table `{table}` has no column `id`, which says whose event it is");
        let item = Diagnostic::error(id::SQL_ROLE, message).at(place);
        out.push(item.help(format!("its columns are {}", columns.join(", "))));
        false
    }

    /// What doing an effect again, or late, does.
    pub(super) fn traits(&self, effect: &[Sql], out: &mut Diagnostics) -> sql::EffectTraits {
        let texts: Vec<&str> = effect.iter().map(|step| &*step.text).collect();
        match sql::effect_traits(&self.schema, &texts) {
            Ok(traits) => traits,
            Err(complaint) => {
                let message = complaint.message;
                let place = effect.first().map_or_else(Place::default, |sql| sql.first_line(out));
                out.push(
                    Diagnostic::warning(id::SQL_SURPRISE, message)
                        .at(place)
                        .help("let the schema insert the rows that the effect needs"),
                );
                sql::EffectTraits::default()
            }
        }
    }
}

/// The role does not have what the statement names.
fn placeholder_unknown(sql: &Sql, name: &str, role: &Role, out: &Diagnostics) -> Diagnostic {
    let place = sql.find(name).map_or_else(|| sql.first_line(out), |at| sql.word_at(at, out));
    let message = format!("`{name}` is nothing that {} knows", role.name);
    let item = Diagnostic::error(id::SQL_PLACEHOLDER, message).at(place);
    let known: Vec<_> = role.placeholders.iter().map(|name| format!(":{name}")).collect();
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => item.help(format!("did you mean `{near}`?")),
        None => item.help(format!("it knows {}", known.join(", "))),
    }
}
