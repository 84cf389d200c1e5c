//! TOML with places: every key and value knows where it stands, whatever file it came from.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::id;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    String(String),
    /// As written, without underscores, if it does not fit.
    Integer(Result<i64, String>),
    /// As written, without underscores.
    Float(String),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Table),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// As a complaint names it: `a string`.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// A scalar as text, as Kafka's own parser would see it in a `.properties` file.
    pub(crate) fn as_property(&self) -> Option<String> {
        match &self.value {
            Value::String(text) | Value::Float(text) | Value::Integer(Err(text)) => {
                Some(text.clone())
            }
            Value::Integer(Ok(n)) => Some(n.to_string()),
            Value::Boolean(b) => Some(b.to_string()),
            Value::Array(nodes) => {
                let parts: Option<Vec<_>> = nodes.iter().map(Node::as_property).collect();
                parts.map(|parts| parts.join(","))
            }
            Value::Datetime | Value::Table(_) => None,
        }
    }
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }
}

/// Reads a document as far as it can be read; the rest becomes diagnostics.
pub(crate) fn read(text: &str, source: u16, out: &mut Diagnostics) -> Table {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty()
        && let Some(complaint) = json(text, source)
    {
        out.push(complaint);
        return table(document.get_ref(), source);
    }
    for (i, error) in errors.into_iter().enumerate() {
        let span = error.span().unwrap_or(0..0);
        let span = span.start..span.end.max(span.start + 1).min(text.len().max(span.start));
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        let mut item = Diagnostic::error(id::SYNTAX, message).at(Place::new(source, span));
        if i == 0 {
            item =
                item.help("scenarios are TOML; `oncesim new NAME` writes one that is well-formed");
        }
        out.push(item);
    }
    table(document.get_ref(), source)
}

/// A document or a history of oncesim, or any other JSON: one complaint says it all.
fn json(text: &str, source: u16) -> Option<Diagnostic> {
    let start = text.find(|c: char| !c.is_whitespace())?;
    if !text[start..].starts_with('{') {
        return None;
    }
    let history = text[start..].starts_with("{\"oncesim-history\"");
    let (what, help) = if history {
        ("a history, not a scenario", "`oncesim verify FILE` judges a history")
    } else {
        ("JSON, not TOML", "scenarios are TOML; `oncesim new NAME` writes one that is well-formed")
    };
    let place = Place::new(source, start..start + 1);
    Some(Diagnostic::error(id::SYNTAX, format!("this is {what}")).at(place).help(help))
}

/// Reads one value, for `--set`; `None` when it is not TOML.
pub(crate) fn read_value(text: &str, source: u16, offset: usize) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let mut read = node(&value, source);
    read.place = Place::new(source, offset..offset + text.len());
    Some(read)
}

fn table(read: &DeTable<'_>, source: u16) -> Table {
    let mut entries: Vec<Entry> = read
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_place: Place::new(source, key.span()),
            node: node(value, source),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_place);
    Table { entries }
}

fn node(read: &Spanned<DeValue<'_>>, source: u16) -> Node {
    let value = match read.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(digits) => Value::Integer(
            i64::from_str_radix(digits.as_str(), digits.radix())
                .map_err(|_| digits.as_str().to_owned()),
        ),
        DeValue::Float(digits) => Value::Float(digits.as_str().to_owned()),
        DeValue::Boolean(b) => Value::Boolean(*b),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(nodes) => {
            Value::Array(nodes.iter().map(|inner| node(inner, source)).collect())
        }
        DeValue::Table(inner) => Value::Table(table(inner, source)),
    };
    Node { value, place: Place::new(source, read.span()) }
}
