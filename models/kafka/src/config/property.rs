//! Property tables, and the reading of `name = value` pairs against them.
//!
//! Mirrors `ConfigDef` and `AbstractConfig`: each value is checked by its own rule first, then
//! values are checked against each other.
//!
//! Simplifications: a property that Kafka has and no model reads is accepted with a warning,
//! whatever its value; floating-point properties are of that sort.

use std::collections::BTreeMap;

use oncesim_types::Duration;

/// A configuration property of Kafka.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    /// Kafka's name: `linger.ms`.
    pub name: &'static str,
    /// What a value looks like.
    pub kind: PropertyKind,
    /// Kafka's default, as one would write it; empty when there is none.
    pub default: &'static str,
    /// Whether it has its effect here. Others are accepted with a warning.
    pub modelled: bool,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// What a property's value looks like. Ranges are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyKind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A whole number of milliseconds.
    Millis {
        /// Shortest.
        min: i64,
        /// Longest.
        max: i64,
    },
    /// A whole number of bytes.
    Bytes {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// One of these words.
    Enum(&'static [&'static str]),
    /// Words with commas between them.
    List,
    /// Anything.
    Text,
}

/// `Integer.MAX_VALUE`.
pub(super) const INT: i64 = i32::MAX as i64;
/// `Long.MAX_VALUE`.
pub(super) const LONG: i64 = i64::MAX;

impl Property {
    /// A property that has its effect here.
    pub(super) const fn modelled(
        name: &'static str,
        kind: PropertyKind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Property { name, kind, default, modelled: true, doc }
    }

    /// A property that Kafka has, and that no model reads.
    pub(super) const fn other(name: &'static str) -> Self {
        let doc = "Kafka has it; oncesim accepts it and does nothing with it.";
        Property { name, kind: PropertyKind::Text, default: "", modelled: false, doc }
    }
}

impl PropertyKind {
    /// What a value must be: `a number of milliseconds, at least 0`.
    #[must_use]
    pub fn expected(&self) -> String {
        let number = |unit: &str, min: i64, max: i64| match max {
            INT | LONG => format!("{unit}, at least {min}"),
            _ => format!("{unit} from {min} to {max}"),
        };
        match *self {
            PropertyKind::Bool => "true or false".to_owned(),
            PropertyKind::Int { min, max } => number("a whole number", min, max),
            PropertyKind::Millis { min, max } => number("a whole number of milliseconds", min, max),
            PropertyKind::Bytes { min, max } => number("a whole number of bytes", min, max),
            PropertyKind::Enum(words) => format!("one of {}", words.join(", ")),
            PropertyKind::List => "words with commas between them".to_owned(),
            PropertyKind::Text => "text".to_owned(),
        }
    }

    /// Whether `value` is one.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        let value = value.trim();
        match *self {
            PropertyKind::Bool => parse_bool(value).is_some(),
            PropertyKind::Int { min, max }
            | PropertyKind::Millis { min, max }
            | PropertyKind::Bytes { min, max } => {
                value.parse().is_ok_and(|number: i64| (min..=max).contains(&number))
            }
            PropertyKind::Enum(words) => words.contains(&value),
            PropertyKind::List | PropertyKind::Text => true,
        }
    }
}

fn find(tables: [&'static [Property]; 2], name: &str) -> Option<&'static Property> {
    tables.into_iter().flatten().find(|property| property.name == name)
}

fn parse_bool(value: &str) -> Option<bool> {
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Something to tell about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigIssue {
    /// The property that it is about.
    pub property: String,
    /// What sort.
    pub kind: IssueKind,
    /// What is the matter, as Kafka would say it: a lower-case fragment.
    pub message: String,
    /// What to write instead; empty when there is nothing to do.
    pub fix: String,
}

/// The sorts of issues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssueKind {
    /// Kafka has no such property.
    Unknown {
        /// What was probably meant; the tables alone don't say.
        suggestion: Option<&'static str>,
    },
    /// Kafka has it, oncesim does nothing with it.
    NotModelled,
    /// The value is not one that Kafka accepts.
    Invalid {
        /// What it accepts.
        expected: String,
    },
    /// Kafka refuses the two together.
    Conflict {
        /// The other property.
        with: &'static str,
    },
    /// Kafka accepts the two together and changes one of them without a word.
    Adjusted {
        /// The property that forced it.
        with: &'static str,
    },
    /// Kafka accepts the two together, and it will hurt.
    Hazard {
        /// The other property.
        with: &'static str,
    },
    /// Kafka has removed it, or will.
    Deprecated,
}

impl ConfigIssue {
    /// Whether a client or broker would refuse to start with it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        match self.kind {
            IssueKind::Unknown { .. } | IssueKind::Invalid { .. } | IssueKind::Conflict { .. } => {
                true
            }
            IssueKind::NotModelled
            | IssueKind::Adjusted { .. }
            | IssueKind::Hazard { .. }
            | IssueKind::Deprecated => false,
        }
    }
}

/// Reads properties against a table. A value that is missing or invalid reads as its default.
pub(super) struct Reader<'a> {
    tables: [&'static [Property]; 2],
    properties: &'a BTreeMap<String, String>,
    pub(super) issues: Vec<ConfigIssue>,
}

impl<'a> Reader<'a> {
    /// Reports what can be said of each property alone. `removed` names what older versions had.
    pub(super) fn new(
        tables: [&'static [Property]; 2],
        removed: &[(&'static str, &'static str)],
        properties: &'a BTreeMap<String, String>,
    ) -> Self {
        let mut reader = Reader { tables, properties, issues: Vec::new() };
        for (name, value) in properties {
            let Some(property) = find(tables, name) else {
                reader.report_unknown(name, removed);
                continue;
            };
            if !property.modelled {
                let message = format!("{name} is not modelled: it changes nothing here");
                reader.report(name, IssueKind::NotModelled, message, String::new());
            } else if !property.kind.accepts(value) {
                reader.report_invalid(name, value, property.kind.expected());
            }
        }
        reader
    }

    fn report_unknown(&mut self, name: &str, removed: &[(&'static str, &'static str)]) {
        if let Some((_, since)) = removed.iter().find(|(old, _)| *old == name) {
            let message = format!("{name} has no effect: {since}");
            self.report(name, IssueKind::Deprecated, message, format!("remove {name}"));
        } else {
            let message = format!("unknown property {name}");
            self.report(name, IssueKind::Unknown { suggestion: None }, message, String::new());
        }
    }

    pub(super) fn report_invalid(&mut self, name: &str, value: &str, expected: String) {
        let message = format!("invalid value {value} for configuration {name}: must be {expected}");
        let fix = format!("{name}={}", self.property(name).default);
        self.report(name, IssueKind::Invalid { expected }, message, fix);
    }

    pub(super) fn report(&mut self, name: &str, kind: IssueKind, message: String, fix: String) {
        self.issues.push(ConfigIssue { property: name.to_owned(), kind, message, fix });
    }

    fn property(&self, name: &str) -> &'static Property {
        find(self.tables, name).expect("only properties of the table are read")
    }

    /// Whether the application sets `name` itself, to a valid value.
    pub(super) fn is_set(&self, name: &str) -> bool {
        let kind = self.property(name).kind;
        self.properties.get(name).is_some_and(|value| kind.accepts(value))
    }

    pub(super) fn text(&self, name: &str) -> &'a str {
        let property = self.property(name);
        match self.properties.get(name) {
            Some(value) if property.kind.accepts(value) => value.trim(),
            _ => property.default,
        }
    }

    pub(super) fn bool(&self, name: &str) -> bool {
        parse_bool(self.text(name)).expect("a boolean property has a boolean default")
    }

    pub(super) fn int(&self, name: &str) -> i64 {
        self.text(name).parse().expect("a number property has a number as its default")
    }

    /// As [`Reader::int`]; the table's range must fit.
    pub(super) fn small<T: TryFrom<i64>>(&self, name: &str) -> T {
        let number = T::try_from(self.int(name)).ok();
        number.expect("the table's range fits the type of the field")
    }

    /// Milliseconds; what is longer than 584 years of nanoseconds means never, and reads as that.
    pub(super) fn millis(&self, name: &str) -> Duration {
        let millis = u64::try_from(self.int(name)).unwrap_or(0);
        Duration::from_nanos(millis.saturating_mul(1_000_000))
    }

    /// A number for which an absent value, or `Long.MAX_VALUE`, means never.
    pub(super) fn unless_never(&self, name: &str) -> Option<u64> {
        let number = self.text(name).parse::<i64>().ok()?;
        u64::try_from(number).ok().filter(|_| number != LONG)
    }

    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.text(name).split(',').map(str::trim).filter(|word| !word.is_empty())
    }
}
