//! Writing operations, one per line: what EDN and JSON have in common.

use std::collections::BTreeMap;

use super::op::{JepsenHistory, Mop, Op, OpKind, OpType, SendOffset};
use crate::intern::Name;

/// How a notation spells what a line is made of.
pub(super) trait Notation {
    /// Nothing.
    const NIL: &'static str;

    /// A word of Jepsen's own vocabulary, as a value.
    fn word(word: &str) -> String;

    /// A name of the history: a key or a value.
    fn name(name: &Name) -> String;

    /// The same, where a map has its keys.
    fn name_as_key(name: &Name) -> String;

    /// A list.
    fn list(items: &[String]) -> String;

    /// A map, by words.
    fn map(entries: &[(&str, String)]) -> String;

    /// A map, by names that are written already.
    fn map_of_names(entries: &[(String, String)]) -> String;
}

/// Writes a history, one operation per line.
pub(super) fn write<N: Notation>(history: &JepsenHistory) -> String {
    let mut text = String::new();
    for op in &history.ops {
        text.push_str(&line::<N>(history, op));
        text.push('\n');
    }
    text
}

fn line<N: Notation>(history: &JepsenHistory, op: &Op) -> String {
    let keys = |span| -> Vec<String> {
        history.key_list(span).iter().map(|key| N::name(history.key_name(*key))).collect()
    };
    let mut value = keys(op.keys);
    value.extend(history.mops(op).iter().map(|mop| mop_text::<N>(history, op.ty, mop)));
    let mut entries = vec![
        ("index", op.index.to_string()),
        ("time", op.time.to_string()),
        ("type", N::word(type_word(op.ty))),
        ("process", op.process.to_string()),
        ("f", N::word(kind_word(op.kind))),
        ("value", N::list(&value)),
    ];
    if op.rebalanced.len > 0 {
        let keys = N::list(&keys(op.rebalanced));
        entries.push(("rebalance-log", N::list(&[N::map(&[("keys", keys)])])));
    }
    if op.seek {
        entries.push(("seek-to-beginning?", "true".to_owned()));
    }
    N::map(&entries)
}

fn mop_text<N: Notation>(history: &JepsenHistory, ty: OpType, mop: &Mop) -> String {
    let value = |record| N::name(history.value_name(record));
    match mop {
        Mop::Send { record, offset } => {
            let key = N::name(history.key_name(history.key_of(*record)));
            let what = match offset {
                SendOffset::Open => value(*record),
                SendOffset::Unknown => N::list(&[N::NIL.to_owned(), value(*record)]),
                SendOffset::At(offset) => N::list(&[offset.to_string(), value(*record)]),
            };
            N::list(&[N::word("send"), key, what])
        }
        Mop::Poll(_) if ty == OpType::Invoke => N::list(&[N::word("poll")]),
        Mop::Poll(span) => {
            // A key once, in one order, however the records of several keys came in.
            let mut runs: BTreeMap<&Name, Vec<String>> = BTreeMap::new();
            for p in history.polled(*span) {
                let pair = N::list(&[p.offset.to_string(), value(p.record)]);
                runs.entry(history.key_name(history.key_of(p.record))).or_default().push(pair);
            }
            let runs = runs.into_iter().map(|(key, pairs)| (N::name_as_key(key), N::list(&pairs)));
            let runs: Vec<(String, String)> = runs.collect();
            N::list(&[N::word("poll"), N::map_of_names(&runs)])
        }
    }
}

const fn type_word(ty: OpType) -> &'static str {
    match ty {
        OpType::Invoke => "invoke",
        OpType::Ok => "ok",
        OpType::Fail => "fail",
        OpType::Info => "info",
    }
}

const fn kind_word(kind: OpKind) -> &'static str {
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
