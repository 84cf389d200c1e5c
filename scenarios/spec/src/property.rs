//! Kafka properties in a scenario: nested tables, quoted names, pasted `.properties` files.

use std::collections::BTreeMap;
use std::path::Path;

use java_properties::{LineContent, PropertiesIter};

use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::id;
use crate::node::{Node, Value};
use crate::section::{Section, wrong_type};

/// Kafka properties by name, each with the places of its name and its value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Properties {
    values: BTreeMap<String, Property>,
}

#[derive(Debug, Clone)]
struct Property {
    value: String,
    key_place: Place,
    place: Place,
    /// From a `.properties` file.
    pasted: bool,
}

/// What came from a file, to be written out where the file is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inlined {
    /// Properties, in the table `section.name`.
    Properties {
        section: &'static str,
        name: String,
        /// The client of a processor or relay whose table holds the file's name and the properties.
        side: Option<&'static str>,
        values: Vec<(String, String)>,
    },
    /// SQL, instead of the path at these keys.
    Text { keys: Vec<String>, text: String },
}

impl Inlined {
    /// The same, one table further in.
    pub(crate) fn within(self, client: &'static str) -> Self {
        match self {
            Inlined::Properties { section, name, values, .. } => {
                Inlined::Properties { section, name, side: Some(client), values }
            }
            text @ Inlined::Text { .. } => text,
        }
    }
}

/// In the table of a processor's side, the file to take over. Kafka has no such property.
const FILE: &str = "properties";

impl Properties {
    /// The `properties` and `config` keys of a section. Keys override the file.
    pub(crate) fn read(
        section: &mut Section<'_>,
        base_dir: Option<&Path>,
        out: &mut Diagnostics,
    ) -> Self {
        let mut properties = Properties::default();
        if let Some((path, place)) = section.text("properties", out) {
            properties.paste(path, place, base_dir, out);
        }
        properties.keys(section, out);
        properties
    }

    /// The `config` key of a section.
    pub(crate) fn keys(&mut self, section: &mut Section<'_>, out: &mut Diagnostics) {
        let Some(entry) = section.get("config") else { return };
        match &entry.node.value {
            Value::Table(_) => self.flatten("", entry.key_place, &entry.node, out),
            _ => wrong_type(&entry.node, "config", "a table of Kafka properties", out),
        }
    }

    /// One side of a processor: `consumer.isolation.level = ..`, `consumer.properties = FILE`.
    pub(crate) fn side(
        section: &mut Section<'_>,
        key: &'static str,
        base_dir: Option<&Path>,
        out: &mut Diagnostics,
    ) -> Self {
        let mut properties = Properties::default();
        let Some(entry) = section.get(key) else { return properties };
        let Value::Table(table) = &entry.node.value else {
            wrong_type(&entry.node, key, "a table of Kafka properties", out);
            return properties;
        };
        match table.get(FILE).map(|entry| &entry.node) {
            Some(Node { value: Value::String(path), place }) => {
                properties.paste(path, *place, base_dir, out);
            }
            Some(node) => wrong_type(node, FILE, "a string", out),
            None => {}
        }
        let mut entries = table.entries.clone();
        entries.retain(|entry| entry.key != FILE);
        let value = Value::Table(crate::node::Table { entries });
        let node = Node { value, place: entry.node.place };
        properties.flatten("", entry.key_place, &node, out);
        properties
    }

    fn flatten(&mut self, name: &str, key_place: Place, node: &Node, out: &mut Diagnostics) {
        if let Value::Table(table) = &node.value {
            for entry in &table.entries {
                let point = if name.is_empty() { "" } else { "." };
                let inner = format!("{name}{point}{}", entry.key);
                let place = Place {
                    start: if name.is_empty()
                        || key_place.source != entry.key_place.source
                        || entry.key_place.start.saturating_sub(key_place.end) > 3
                    {
                        entry.key_place.start
                    } else {
                        key_place.start
                    },
                    ..entry.key_place
                };
                self.flatten(&inner, place, &entry.node, out);
            }
            return;
        }
        let Some(value) = node.as_property() else {
            wrong_type(node, name, "a string, a number or a boolean", out);
            return;
        };
        let property = Property { value, key_place, place: node.place, pasted: false };
        if let Some(earlier) = self.values.insert(name.to_owned(), property)
            && !earlier.pasted
        {
            out.push(
                Diagnostic::error(id::DUPLICATE, format!("the property `{name}` is given twice"))
                    .at(key_place)
                    .also(earlier.key_place, "first here"),
            );
        }
    }

    fn paste(&mut self, path: &str, place: Place, base_dir: Option<&Path>, out: &mut Diagnostics) {
        let full = base_dir.map_or_else(|| path.into(), |base| base.join(path));
        let text = match std::fs::read_to_string(&full) {
            Ok(text) => text,
            Err(error) => {
                out.push(
                    Diagnostic::error(
                        id::UNREADABLE,
                        format!("cannot read `{path}`: {}", crate::diagnostic::reason(&error)),
                    )
                    .at(place)
                    .help("the path of a `.properties` file is relative to the scenario"),
                );
                return;
            }
        };
        let source = out.source(&full.display().to_string(), &text);
        self.paste_text(&text, source, out);
    }

    fn paste_text(&mut self, text: &str, source: u16, out: &mut Diagnostics) {
        let line_place = |number: usize| {
            let before: usize =
                text.split_inclusive('\n').take(number.saturating_sub(1)).map(str::len).sum();
            let line = text[before..].lines().next().unwrap_or("");
            let indent = line.len() - line.trim_start().len();
            Place::new(source, before + indent..before + line.trim_end().len().max(indent))
        };
        for line in PropertiesIter::new(text.as_bytes()) {
            match line {
                Ok(line) => {
                    let place = line_place(line.line_number());
                    if let LineContent::KVPair(name, value) = line.consume_content() {
                        let property = Property { value, key_place: place, place, pasted: true };
                        self.values.insert(name, property);
                    }
                }
                Err(error) => {
                    let place = line_place(error.line_number().unwrap_or(1));
                    out.push(
                        Diagnostic::error(id::SYNTAX, format!("not a properties file: {error}"))
                            .at(place),
                    );
                    return;
                }
            }
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<(&str, Place)> {
        self.values.get(name).map(|property| (property.value.as_str(), property.place))
    }

    /// One that was written, and where.
    pub(crate) fn first(&self) -> Option<(&str, Place)> {
        let mut written = self.values.iter().filter(|(_, it)| it.key_place != Place::default());
        written.next().map(|(name, property)| (name.as_str(), property.key_place))
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<(String, Place)> {
        self.values.remove(name).map(|property| (property.value, property.place))
    }

    /// As if it had been written at `place`.
    pub(crate) fn set(&mut self, name: &str, value: &str, place: Place) {
        let value = value.to_owned();
        let property = Property { value, key_place: place, place, pasted: false };
        self.values.insert(name.to_owned(), property);
    }

    pub(crate) fn set_default(&mut self, name: &str, value: &str) {
        self.values.entry(name.to_owned()).or_insert_with(|| Property {
            value: value.to_owned(),
            key_place: Place::default(),
            place: Place::default(),
            pasted: false,
        });
    }

    /// Name and value.
    pub(crate) fn map(&self) -> BTreeMap<String, String> {
        self.values.iter().map(|(name, p)| (name.clone(), p.value.clone())).collect()
    }

    /// The pasted ones that no key overrides, if there are any, for the table `section.name`.
    pub(crate) fn inlined(&self, section: &'static str, name: &str) -> Option<Inlined> {
        let pasted = self.values.iter().filter(|(_, property)| property.pasted);
        let values: Vec<_> = pasted.map(|(name, p)| (name.clone(), p.value.clone())).collect();
        let name = name.to_owned();
        (!values.is_empty()).then_some(Inlined::Properties { section, name, side: None, values })
    }

    /// Name and value; `None` for a default that nobody wrote.
    pub(crate) fn place_of(&self, name: &str) -> Option<Place> {
        let property = self.values.get(name)?;
        let (key, value) = (property.key_place, property.place);
        if key == Place::default() {
            return None;
        }
        let near = key.source == value.source && key.end <= value.start;
        Some(if near && !property.pasted { Place { end: value.end, ..key } } else { key })
    }

    pub(crate) fn key_place(&self, name: &str) -> Option<Place> {
        self.values.get(name).map(|property| property.key_place)
    }
}
