//! Jepsen histories as JSON: one operation per line, or one document with the operations in it.

use serde_json::Value;

use super::form::{Form, Reader};
use super::op::JepsenHistory;
use super::write::{Notation, write};
use crate::complaint::{Complaint, Read, excerpt, lines};
use crate::intern::Name;

const LINE: &str = "one JSON object per line: {\"index\", \"time\", \"process\", \"type\", \"f\", \
                    \"value\"}, or one document with them in \"history\"";

/// Reads a history. A broken line is an error, or skipped if `lenient`.
///
/// # Errors
///
/// The first line that cannot be understood, unless `lenient`; a text without any operation.
pub fn read_json(text: &[u8], lenient: bool) -> Result<Read<JepsenHistory>, Complaint> {
    let mut reader = Reader::default();
    let mut skipped = Vec::new();
    for (number, line) in lines(text) {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let parsed = serde_json::from_slice::<Value>(line).map_err(|error| {
            let what = format!("{} is no JSON ({error})", excerpt(line));
            Complaint::new(number, what, LINE)
        });
        let done = parsed.and_then(|value| document(&mut reader, number, value));
        match done {
            Err(complaint) if lenient => skipped.push(complaint),
            done => done?,
        }
    }
    if reader.history.ops.is_empty() {
        return Err(skipped
            .into_iter()
            .next()
            .unwrap_or_else(|| Complaint::new(1, "no operation of a client in it", LINE)));
    }
    Ok(Read { value: reader.history, skipped })
}

fn document(reader: &mut Reader, line: u32, value: Value) -> Result<(), Complaint> {
    let ops = match value {
        Value::Array(ops) => ops,
        Value::Object(mut object) if object.contains_key("history") => {
            if !reader.history.ops.is_empty() {
                let what = "a second history in one file";
                return Err(Complaint::new(line, what, "one history per file"));
            }
            match object.remove("history") {
                Some(Value::Array(ops)) => ops,
                _ => return Err(Complaint::new(line, "a \"history\" that is no list", LINE)),
            }
        }
        op => return reader.op(line, &form(op)),
    };
    ops.into_iter().try_for_each(|op| reader.op(line, &form(op)))
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
