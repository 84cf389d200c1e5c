//! Jepsen histories as JSON: one operation per line, or one document with the operations in it.

use std::fmt::Write as _;

use serde_json::Value;

use super::form::{Form, Reader};
use super::op::{JepsenHistory, Mop, Op, OpKind, OpType, SendOffset};
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
    let mut text = String::new();
    for op in &history.ops {
        write_op(&mut text, history, op);
    }
    text
}

pub(super) const fn type_word(ty: OpType) -> &'static str {
    match ty {
        OpType::Invoke => "invoke",
        OpType::Ok => "ok",
        OpType::Fail => "fail",
        OpType::Info => "info",
    }
}

pub(super) const fn kind_word(kind: OpKind) -> &'static str {
    match kind {
        OpKind::Send => "send",
        OpKind::Poll => "poll",
        OpKind::Txn => "txn",
        OpKind::Subscribe => "subscribe",
        OpKind::Assign => "assign",
        OpKind::Crash => "crash",
        OpKind::Other => "other",
    }
}

fn name(name: &Name) -> String {
    match name {
        Name::Int(n) => n.to_string(),
        Name::Text(text) => Value::from(&**text).to_string(),
    }
}

fn write_op(text: &mut String, history: &JepsenHistory, op: &Op) {
    let Op { index, time, process, ty, kind, .. } = *op;
    let (ty, word) = (type_word(ty), kind_word(kind));
    let _ = write!(
        text,
        "{{\"index\":{index},\"time\":{time},\"type\":\"{ty}\",\"process\":{process},\
         \"f\":\"{word}\",\"value\":["
    );
    let key = |key: u32| name(history.key_name(key));
    let mut items: Vec<String> = history.key_list(op.keys).iter().map(|k| key(*k)).collect();
    for mop in history.mops(op) {
        items.push(match mop {
            Mop::Send { record, offset } => {
                let (k, v) = (key(history.key_of(*record)), name(history.value_name(*record)));
                match offset {
                    SendOffset::Open => format!("[\"send\",{k},{v}]"),
                    SendOffset::Unknown => format!("[\"send\",{k},[null,{v}]]"),
                    SendOffset::At(offset) => format!("[\"send\",{k},[{offset},{v}]]"),
                }
            }
            Mop::Poll(_) if op.ty == OpType::Invoke => "[\"poll\"]".to_owned(),
            Mop::Poll(span) => {
                let polled = history.polled(*span);
                let runs =
                    polled.chunk_by(|a, b| history.key_of(a.record) == history.key_of(b.record));
                let runs: Vec<String> = runs
                    .map(|run| {
                        let k = history.key_name(history.key_of(run[0].record)).to_string();
                        let pairs: Vec<String> = run
                            .iter()
                            .map(|p| {
                                format!("[{},{}]", p.offset, name(history.value_name(p.record)))
                            })
                            .collect();
                        format!("{}:[{}]", Value::from(k), pairs.join(","))
                    })
                    .collect();
                format!("[\"poll\",{{{}}}]", runs.join(","))
            }
        });
    }
    text.push_str(&items.join(","));
    text.push(']');
    if op.rebalanced.len > 0 {
        let keys: Vec<String> = history.key_list(op.rebalanced).iter().map(|k| key(*k)).collect();
        let _ = write!(text, ",\"rebalance-log\":[{{\"keys\":[{}]}}]", keys.join(","));
    }
    if op.seek {
        text.push_str(",\"seek-to-beginning?\":true");
    }
    text.push_str("}\n");
}
