//! `--set PATH=VALUE`: values changed by their dotted paths, in the document that is read and in
//! the text that counterexamples start from.

use toml_edit::{DocumentMut, Item};

use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::id;
use crate::node::{self, Entry, Node, Table, Value};
use crate::property::Inlined;

/// Changes `root`.
pub(crate) fn apply(root: &mut Table, sets: &[(String, String)], out: &mut Diagnostics) {
    for (path, value) in sets {
        let shown = format!("{path}={value}");
        let source = out.source("--set", &shown);
        let place = Place::new(source, 0..path.len());
        let Some(keys) = keys(path) else {
            out.push(
                Diagnostic::error(id::BAD_SET, format!("`{path}` is not a path"))
                    .at(place)
                    .help("write keys with dots between them: producers.shop.records=10"),
            );
            continue;
        };
        let node = node::read_value(value, source, path.len() + 1).unwrap_or_else(|| Node {
            value: Value::String(value.clone()),
            place: Place::new(source, path.len() + 1..shown.len()),
        });
        if let Err(message) = insert(root, &keys, node, place) {
            out.push(Diagnostic::error(id::BAD_SET, message).at(place));
        }
    }
}

/// The keys of a path: a simplified TOML key, with quotes where a key contains dots.
fn keys(path: &str) -> Option<Vec<String>> {
    let keys = toml_edit::Key::parse(path).ok()?;
    Some(keys.iter().map(|key| key.get().to_owned()).collect())
}

fn insert(table: &mut Table, keys: &[String], node: Node, place: Place) -> Result<(), String> {
    let (key, rest) = keys.split_first().expect("a path has a key");
    if table.get(key).is_none() {
        let value = Value::Table(Table::default());
        let inner = Node { value, place };
        table.entries.push(Entry { key: key.clone(), key_place: place, node: inner });
    }
    let entry = table.get_mut(key).expect("just inserted");
    if rest.is_empty() {
        entry.node = node;
        return Ok(());
    }
    descend(&mut entry.node, key, rest, node, place)
}

fn descend(
    at: &mut Node,
    key: &str,
    rest: &[String],
    node: Node,
    place: Place,
) -> Result<(), String> {
    match &mut at.value {
        Value::Table(inner) => insert(inner, rest, node, place),
        Value::Array(nodes) => {
            let count = nodes.len();
            let index: usize = rest[0]
                .parse()
                .map_err(|_| format!("`{key}` is an array: use a number after it"))?;
            let at = nodes
                .get_mut(index)
                .ok_or_else(|| format!("`{key}` has {count} elements, the first is {key}.0"))?;
            if rest.len() == 1 {
                *at = node;
                return Ok(());
            }
            descend(at, &rest[0], &rest[1..], node, place)
        }
        _ => Err(format!("`{key}` is {}, and has no keys", at.kind())),
    }
}

/// The text with changed values, pasted properties and SQL from files written out; the text itself when there are
/// none. Comments survive.
pub(crate) fn self_contained(text: &str, sets: &[(String, String)], inlined: &[Inlined]) -> String {
    if sets.is_empty() && inlined.is_empty() {
        return text.to_owned();
    }
    let mut document: DocumentMut = text.parse().expect("a text that was read is TOML");
    for (path, value) in sets {
        let keys = keys(path).expect("a path that was applied");
        let value: toml_edit::Value =
            value.parse().unwrap_or_else(|_| toml_edit::Value::from(value.as_str()));
        edit(document.as_item_mut(), &keys, value);
    }
    for inlined in inlined {
        match inlined {
            Inlined::Properties { section, name, side, values } => {
                write_properties(document.as_item_mut(), (section, name), *side, values);
            }
            Inlined::Text { keys, text } => {
                edit(document.as_item_mut(), keys, text.as_str().into());
            }
        }
    }
    document.to_string()
}

fn write_properties(
    document: &mut Item,
    (section, name): (&str, &str),
    side: Option<&str>,
    values: &[(String, String)],
) {
    let mut table = document.get_mut(section);
    if !name.is_empty() {
        table = table.and_then(|item| item.get_mut(name));
    }
    let Some(table) = table.and_then(Item::as_table_like_mut) else { return };
    match side {
        Some(side) => {
            let side = table.get_mut(side).and_then(Item::as_table_like_mut);
            side.and_then(|side| side.remove("properties"));
        }
        None => drop(table.remove("properties")),
    }
    for (property, value) in values {
        let keys: Vec<String> = [side.unwrap_or("config")]
            .into_iter()
            .chain(property.split('.'))
            .map(str::to_owned)
            .collect();
        edit_table(table, &keys, value.as_str().into());
    }
}

fn edit(item: &mut Item, keys: &[String], value: toml_edit::Value) {
    let (key, rest) = keys.split_first().expect("a path has a key");
    if let Some(array) = item.as_array_of_tables_mut() {
        let table = key.parse().ok().and_then(|index: usize| array.get_mut(index));
        if let Some(table) = table {
            edit_table(table, rest, value);
        }
    } else if let Some(array) = item.as_array_mut() {
        let Some(index) = key.parse().ok().filter(|index: &usize| *index < array.len()) else {
            return;
        };
        match (rest.is_empty(), array.get_mut(index)) {
            (true, _) => {
                array.replace(index, value);
            }
            (false, Some(toml_edit::Value::InlineTable(table))) => edit_table(table, rest, value),
            _ => {}
        }
    } else if let Some(table) = item.as_table_like_mut() {
        edit_table(table, keys, value);
    }
}

fn edit_table(table: &mut dyn toml_edit::TableLike, keys: &[String], value: toml_edit::Value) {
    let (key, rest) = keys.split_first().expect("a path has a key");
    if rest.is_empty() {
        table.insert(key, Item::Value(value));
        return;
    }
    if !table.contains_key(key) {
        let mut inner = toml_edit::InlineTable::new();
        inner.set_dotted(true);
        table.insert(key, Item::Value(toml_edit::Value::InlineTable(inner)));
    }
    let inner = table.get_mut(key).expect("just inserted");
    edit(inner, rest, value);
}
