//! One table of a scenario, read key by key; what nobody asked for is unknown.

use oncesim_types::Duration;

use crate::diagnostic::{Diagnostic, Diagnostics, Place, nearest};
use crate::id;
use crate::node::{Entry, Node, Table, Value};
use crate::unit;

pub(crate) struct Section<'t> {
    table: &'t Table,
    /// As complaints name it: `[producers.shop]`.
    pub(crate) name: String,
    /// The table, or the key that names it.
    pub(crate) place: Place,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(crate) fn new(table: &'t Table, name: impl Into<String>, place: Place) -> Self {
        Section { table, name: name.into(), place, asked: Vec::new() }
    }

    /// The table of an entry, or a complaint that it is none.
    pub(crate) fn of(entry: &'t Entry, name: &str, out: &mut Diagnostics) -> Option<Self> {
        match &entry.node.value {
            Value::Table(table) => Some(Section::new(table, name, entry.key_place)),
            _ => {
                wrong_type(&entry.node, name, "a table", out);
                None
            }
        }
    }

    pub(crate) fn entries(&self) -> &'t [Entry] {
        &self.table.entries
    }

    pub(crate) fn get(&mut self, key: &'static str) -> Option<&'t Entry> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.get(key)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    pub(crate) fn text(
        &mut self,
        key: &'static str,
        out: &mut Diagnostics,
    ) -> Option<(&'t str, Place)> {
        let entry = self.get(key)?;
        match &entry.node.value {
            Value::String(text) => Some((text, entry.node.place)),
            _ => {
                wrong_type(&entry.node, key, "a string", out);
                None
            }
        }
    }

    pub(crate) fn required_text(
        &mut self,
        key: &'static str,
        example: &str,
        out: &mut Diagnostics,
    ) -> Option<(&'t str, Place)> {
        if !self.has(key) {
            self.asked.push(key);
            self.missing(key, example, out);
            return None;
        }
        self.text(key, out)
    }

    pub(crate) fn missing(&self, key: &str, example: &str, out: &mut Diagnostics) {
        out.push(
            Diagnostic::error(id::MISSING_KEY, format!("{} has no `{key}`", self.name))
                .at(self.place)
                .help(format!("add `{key} = {example}`")),
        );
    }

    pub(crate) fn boolean(&mut self, key: &'static str, out: &mut Diagnostics) -> Option<bool> {
        let entry = self.get(key)?;
        match &entry.node.value {
            Value::Boolean(b) => Some(*b),
            _ => {
                wrong_type(&entry.node, key, "true or false", out);
                None
            }
        }
    }

    /// An integer from `low` to `high`.
    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        (low, high): (i64, i64),
        out: &mut Diagnostics,
    ) -> Option<i64> {
        let entry = self.get(key)?;
        match &entry.node.value {
            Value::Integer(Ok(n)) if (low..=high).contains(n) => Some(*n),
            Value::Integer(n) => {
                let n = n.as_ref().map_or_else(Clone::clone, ToString::to_string);
                out.push(
                    Diagnostic::error(id::OUT_OF_RANGE, format!("`{key} = {n}` is out of range"))
                        .at(entry.node.place)
                        .help(format!("`{key}` is from {low} to {high}")),
                );
                None
            }
            _ => {
                wrong_type(&entry.node, key, "an integer", out);
                None
            }
        }
    }

    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        out: &mut Diagnostics,
    ) -> Option<Duration> {
        let entry = self.get(key)?;
        duration(&entry.node, key, out)
    }

    /// One of a closed set of words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        out: &mut Diagnostics,
    ) -> Option<T> {
        let (text, place) = self.text(key, out)?;
        word(text, place, key, words, out)
    }

    /// A string or an array of strings.
    pub(crate) fn texts(
        &mut self,
        key: &'static str,
        out: &mut Diagnostics,
    ) -> Option<Vec<(&'t str, Place)>> {
        let entry = self.get(key)?;
        match &entry.node.value {
            Value::String(text) => Some(vec![(text, entry.node.place)]),
            Value::Array(nodes) => {
                let mut texts = Vec::new();
                for node in nodes {
                    match &node.value {
                        Value::String(text) => texts.push((text.as_str(), node.place)),
                        _ => wrong_type(node, key, "a string", out),
                    }
                }
                Some(texts)
            }
            _ => {
                wrong_type(&entry.node, key, "a string or an array of strings", out);
                None
            }
        }
    }

    /// Complains about every key that was not asked for.
    pub(crate) fn finish(self, out: &mut Diagnostics) {
        for entry in &self.table.entries {
            if self.asked.contains(&entry.key.as_str()) {
                continue;
            }
            let message = format!("unknown key `{}` in {}", entry.key, self.name);
            let item = Diagnostic::error(id::UNKNOWN_KEY, message).at(entry.key_place);
            out.push(match nearest(&entry.key, self.asked.iter().copied()) {
                Some(near) => item.help(format!("did you mean `{near}`?")),
                None => item.help(format!("known here: {}", self.asked.join(", "))),
            });
        }
    }
}

pub(crate) fn not_modelled(what: &str) -> Diagnostic {
    let message = format!("{what} not modelled yet");
    Diagnostic::error(id::NOT_MODELLED, message)
        .help("this version runs Kafka's clients and brokers, databases, APIs, their network and their faults")
}

pub(crate) fn wrong_type(node: &Node, what: &str, wanted: &str, out: &mut Diagnostics) {
    let named = what.contains(['`', '[']);
    let what = if named { what.to_owned() } else { format!("`{what}`") };
    out.push(
        Diagnostic::error(id::WRONG_TYPE, format!("{what} is {wanted}, not {}", node.kind()))
            .at(node.place)
            .label(format!("{wanted} belongs here")),
    );
}

pub(crate) fn duration(node: &Node, key: &str, out: &mut Diagnostics) -> Option<Duration> {
    let (message, help) = match &node.value {
        Value::String(text) => match unit::duration(text) {
            Ok(duration) => return Some(duration),
            Err((message, help)) => (format!("`{key}`: {message}"), help),
        },
        Value::Integer(Ok(n)) => (
            format!("`{key}` is a duration and needs a unit"),
            format!("write \"{n}ms\" (or us, s, m, h)"),
        ),
        _ => {
            wrong_type(node, key, "a duration such as \"250ms\"", out);
            return None;
        }
    };
    out.push(Diagnostic::error(id::BAD_VALUE, message).at(node.place).help(help));
    None
}

pub(crate) fn word<T: Copy>(
    text: &str,
    place: Place,
    key: &str,
    words: &[(&'static str, T)],
    out: &mut Diagnostics,
) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
        return Some(*value);
    }
    let names = words.iter().map(|(name, _)| *name);
    let item = Diagnostic::error(id::UNKNOWN_WORD, format!("`{key}` cannot be `{text}`")).at(place);
    let all: Vec<_> = names.clone().collect();
    out.push(match nearest(text, names) {
        Some(near) => item.help(format!("did you mean \"{near}\"?")),
        None => item.help(format!("one of: {}", all.join(", "))),
    });
    None
}
