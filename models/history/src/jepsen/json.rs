//! Jepsen histories as JSON: one operation per line, or one document with the operations in it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::form::{Form, Reader};
use super::op::JepsenHistory;
use super::write::{Notation, write};
use crate::complaint::{Complaint, Read, excerpt};
use crate::intern::Name;
use crate::lines::{LineReader, Lines, Notation as Lined};

const LINE: &str = "one JSON object per line: {\"index\", \"time\", \"process\", \"type\", \"f\", \
                    \"value\"}, or one document with them in \"history\"";

/// Reads a history. A broken line is an error, or skipped if `lenient`.
///
/// # Errors
///
/// The first line that cannot be understood, unless `lenient`; a text without any operation.
pub fn read_json(text: &[u8], lenient: bool) -> Result<Read<JepsenHistory>, Complaint> {
    Lines::<JsonLines>::new(lenient).read(text)
}

/// Reads a history line by line.
#[must_use]
pub fn json_reader(lenient: bool) -> impl LineReader<History = JepsenHistory> {
    Lines::<JsonLines>::new(lenient)
}

#[derive(Debug, Default)]
struct JsonLines(Reader);

impl Lined for JsonLines {
    type History = JepsenHistory;

    fn line(&mut self, number: u32, line: &[u8]) -> Result<(), Complaint> {
        let mut refused = None;
        let mut parser = serde_json::Deserializer::from_slice(line);
        let document = Document { reader: &mut self.0, line: number, refused: &mut refused };
        let parsed = document.deserialize(&mut parser).and_then(|()| parser.end());
        parsed.map_err(|error| {
            refused.unwrap_or_else(|| {
                let what = format!("{} is no JSON ({error})", excerpt(line));
                Complaint::new(number, what, LINE)
            })
        })
    }

    fn finish(self) -> Result<JepsenHistory, Complaint> {
        self.0.finish(LINE)
    }
}

/// An operation, a list of them, or an object with such a list: operations are taken as they are
/// parsed, so that a document is never in memory as a whole.
struct Document<'r> {
    reader: &'r mut Reader,
    line: u32,
    /// Why an operation was not taken.
    refused: &'r mut Option<Complaint>,
}

impl Document<'_> {
    fn refuse<E: Error>(&mut self, complaint: Complaint) -> E {
        *self.refused = Some(complaint);
        E::custom("refused")
    }

    fn op<E: Error>(&mut self, op: Value) -> Result<(), E> {
        self.reader.op(self.line, &form(op)).map_err(|complaint| self.refuse(complaint))
    }

    fn not_one<T, E: Error>(mut self) -> Result<T, E> {
        Err(self.refuse(Complaint::new(self.line, "this is no operation", LINE)))
    }
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation, or a list of them")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.not_one()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.not_one()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.not_one()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.not_one()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.not_one()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.not_one()
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut ops: A) -> Result<(), A::Error> {
        while let Some(op) = ops.next_element::<Value>()? {
            self.op(op)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let mut op = serde_json::Map::new();
        let mut document = false;
        while let Some(key) = entries.next_key::<String>()? {
            if key != "history" {
                op.insert(key, entries.next_value()?);
                continue;
            }
            if document || !self.reader.history.ops.is_empty() {
                let what = "a second history in one file";
                return Err(self.refuse(Complaint::new(self.line, what, "one history per file")));
            }
            document = true;
            let (line, reader) = (self.line, &mut *self.reader);
            entries.next_value_seed(Operations(Document {
                reader,
                line,
                refused: &mut *self.refused,
            }))?;
        }
        if document { Ok(()) } else { self.op(Value::Object(op)) }
    }
}

/// The list in a document.
struct Operations<'r>(Document<'r>);

impl<'de> DeserializeSeed<'de> for Operations<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Operations<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a \"history\" that is a list of operations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, ops: A) -> Result<(), A::Error> {
        self.0.visit_seq(ops)
    }
}

fn form(value: Value) -> Form {
    match value {
        Value::Null => Form::Nil,
        Value::Bool(b) => Form::Bool(b),
        Value::Number(n) => n.as_i64().map_or(Form::Other, Form::Int),
        Value::String(text) => Form::Text(text),
        Value::Array(items) => Form::List(items.into_iter().map(form).collect()),
        Value::Object(object) => {
            Form::Map(object.into_iter().map(|(k, v)| (Form::Text(k), form(v))).collect())
        }
    }
}

/// Writes a history, one operation per line.
#[must_use]
pub fn write_json(history: &JepsenHistory) -> String {
    write::<JsonNotation>(history)
}

struct JsonNotation;

impl Notation for JsonNotation {
    const NIL: &'static str = "null";

    fn word(word: &str) -> String {
        format!("\"{word}\"")
    }

    fn name(name: &Name) -> String {
        match name {
            Name::Int(n) => n.to_string(),
            Name::Text(text) => Value::from(&**text).to_string(),
        }
    }

    // Keys of objects are always text.
    fn name_as_key(name: &Name) -> String {
        Value::from(name.to_string()).to_string()
    }

    fn list(items: &[String]) -> String {
        format!("[{}]", items.join(","))
    }

    fn map(entries: &[(&str, String)]) -> String {
        let entries = entries.iter().map(|(key, value)| format!("\"{key}\":{value}"));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
    }

    fn map_of_names(entries: &[(String, String)]) -> String {
        let entries = entries.iter().map(|(key, value)| format!("{key}:{value}"));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
    }
}
