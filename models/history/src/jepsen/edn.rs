//! Jepsen's `history.edn`: one operation per line, a plain map or `#jepsen.history.Op{...}`.

use clojure_reader::edn::{self, Edn};

use super::form::{Form, Reader};
use super::op::JepsenHistory;
use super::write::{Notation, write};
use crate::complaint::{Complaint, Read, excerpt, too_deep};
use crate::intern::Name;
use crate::lines::{LineReader, Lines, Notation as Lined};

const LINE: &str = "one operation per line: {:index 0, :time 0, :type :invoke, :process 0, \
                    :f :send, :value [[:send 1 10]]}";

/// Reads a history. A broken line is an error, or skipped if `lenient`.
///
/// # Errors
///
/// The first line that cannot be understood, unless `lenient`; a text without any operation.
pub fn read_edn(text: &[u8], lenient: bool) -> Result<Read<JepsenHistory>, Complaint> {
    Lines::<EdnLines>::new(lenient).read(text)
}

/// Reads a history line by line.
#[must_use]
pub fn edn_reader(lenient: bool) -> impl LineReader<History = JepsenHistory> {
    Lines::<EdnLines>::new(lenient)
}

#[derive(Debug, Default)]
struct EdnLines(Reader);

impl Lined for EdnLines {
    type History = JepsenHistory;

    fn line(&mut self, number: u32, line: &[u8]) -> Result<(), Complaint> {
        ops_of_line(&mut self.0, number, line)
    }

    fn finish(self) -> Result<JepsenHistory, Complaint> {
        self.0.finish(LINE)
    }
}

fn ops_of_line(reader: &mut Reader, number: u32, line: &[u8]) -> Result<(), Complaint> {
    let Ok(text) = std::str::from_utf8(line) else {
        return Err(Complaint::new(number, "this is not UTF-8 text", LINE));
    };
    // A history may be written as one vector, on one line or with an operation to each: its
    // brackets do not matter, and its operations are read one by one.
    let mut rest = text.trim();
    if let Some(ops) = rest.strip_prefix('[') {
        rest = ops.trim_start();
    }
    if too_deep(line) {
        return Err(Complaint::new(number, "brackets nested deeper than 64", LINE));
    }
    while !rest.is_empty() && rest != "]" && !rest.starts_with(';') {
        let (form, left) = edn::read(rest).map_err(|error| {
            let what = format!("{} is no EDN ({:?})", excerpt(line), error.code);
            Complaint::new(number, what, LINE)
        })?;
        rest = left.trim_start();
        reader.op(number, &form_of(&form))?;
    }
    Ok(())
}

fn form_of(edn: &Edn<'_>) -> Form {
    match edn {
        Edn::Nil => Form::Nil,
        Edn::Bool(b) => Form::Bool(*b),
        Edn::Int(n) => Form::Int(*n),
        Edn::Key(text) | Edn::Symbol(text) | Edn::Str(text) => Form::Text(text.to_string()),
        Edn::Vector(items) | Edn::List(items) => Form::List(items.iter().map(form_of).collect()),
        Edn::Set(items) => Form::List(items.iter().map(form_of).collect()),
        Edn::Map(entries) => {
            Form::Map(entries.iter().map(|(k, v)| (form_of(k), form_of(v))).collect())
        }
        Edn::Tagged(_, value) => form_of(value),
        _ => Form::Other,
    }
}

/// Writes a history, one plain map per line.
#[must_use]
pub fn write_edn(history: &JepsenHistory) -> String {
    write::<EdnNotation>(history)
}

struct EdnNotation;

impl Notation for EdnNotation {
    const NIL: &'static str = "nil";

    fn word(word: &str) -> String {
        format!(":{word}")
    }

    fn name(name: &Name) -> String {
        match name {
            Name::Int(n) => n.to_string(),
            Name::Text(text) => quoted(text),
        }
    }

    fn name_as_key(name: &Name) -> String {
        Self::name(name)
    }

    fn list(items: &[String]) -> String {
        format!("[{}]", items.join(" "))
    }

    fn map(entries: &[(&str, String)]) -> String {
        let entries = entries.iter().map(|(key, value)| format!(":{key} {value}"));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
    }

    fn map_of_names(entries: &[(String, String)]) -> String {
        let entries = entries.iter().map(|(key, value)| format!("{key} {value}"));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
