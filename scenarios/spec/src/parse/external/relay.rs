//! Relays: what a database holds, into the log.

use oncesim_types::{Duration, StatementRole, TopicId, Transform};

use super::sql::{Sql, Statements};
use super::{Application, With, shared_database, system_id};
use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::external::{PositionStore, RelayKind, RelayMarking, RelaySpec};
use crate::id;
use crate::kafka;
use crate::names::Names;
use crate::node::{Entry, Value};
use crate::parse::application::{Applications, FLUSH_INTERVAL, Reading};
use crate::parse::transaction::{self, IdText};
use crate::property::Properties;
use crate::section::{Section, wrong_type};

/// When a relay marks what it published, as scenarios name it: before the acknowledgement?
pub(crate) const MARK_WHEN: &[(&str, bool)] = &[("after-ack", false), ("before-ack", true)];

pub(super) fn draft<'t>(
    entry: &'t Entry,
    mut section: Section<'t>,
    instances: u16,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Application<'t> {
    let name = entry.key.clone();
    let mut producer = Properties::side(&mut section, "producer", reading.base_dir, out);
    let inlined = producer.inlined("relays", &name);
    reading.inlined.extend(inlined.map(|inlined| inlined.within("producer")));
    let key_place = producer.key_place("transactional.id");
    let written = producer.take("transactional.id");
    let id = written.and_then(|(text, place)| IdText::read(&text, place, false, out));
    if let (Some(place), false) = (key_place, super::has_topic_position(entry)) {
        let message = "events are in one transaction with a position in a topic, and there is none";
        let item = Diagnostic::error(id::CONFLICT, message).at(place);
        out.push(item.help("write `position = { topic = \"connect-offsets\" }`, or delete this"));
    }
    if let Some(id) = &id {
        producer.set("transactional.id", id.text(), id.place());
    }
    Application { name, instances, section, producer, id }
}

/// A position as it is written.
enum Position {
    None,
    Memory,
    Database { read: Option<Sql>, write: Option<Sql> },
    Topic { topic: Option<TopicId>, flush_interval: Duration },
}

pub(super) fn build(
    draft: Application<'_>,
    with: &mut With<'_, '_>,
    out: &mut Diagnostics,
) -> Option<RelaySpec> {
    let Application { name, instances, mut section, producer, id } = draft;
    let database = shared_database(&mut section, with.systems, out);
    let to = section.required_text("to", "\"orders\"", out);
    let to = to.and_then(|(topic, place)| with.names.topic(topic, place, out));
    let interval = section.duration("interval", out).unwrap_or(Duration::from_millis(100));
    let batch = section.integer("batch", (1, 1_000_000), out).unwrap_or(50);
    let position_place = section.get("position").map(|entry| entry.key_place);
    let position = position(&name, &mut section, with, out);
    let source = source(&name, &mut section, position_place, with, out);
    let before_ack = section.get("stores-before-ack").map(|entry| entry.key_place);
    let stores_before_ack = section.boolean("stores-before-ack", out).unwrap_or(false);
    if let (Some(place), None) = (before_ack, position_place) {
        let message = "`stores-before-ack` is about a position, and there is none";
        out.push(Diagnostic::error(id::CONFLICT, message).at(place).help("delete this line"));
    }
    let place = section.place;
    section.finish(out);
    let mut config = kafka::producer(&producer, out);
    config.transaction_version = with.brokers.transaction_version;
    if id.is_some() {
        transaction::timeout_allowed(&config, with.brokers, &producer, place, out);
    }
    let database = database?;
    let found = with.systems[database].database()?;
    let kind = match source? {
        Source::Poll { select, mark } => {
            let statements = &mut found.statements;
            let cursor = position_place.filter(|_| !matches!(position, Position::None));
            let select = self::select(&select, cursor, statements, out);
            let mark = match mark {
                Some((sql, before_ack)) => {
                    let (statement, _) = statements.add(&sql, StatementRole::RelayMark, out)?;
                    Some(RelayMarking { statement, before_ack })
                }
                None => None,
            };
            RelayKind::Poll { select: select?, mark }
        }
        Source::Capture { table, place, snapshot } => {
            if !found.statements.captures(&table, place, out) {
                return None;
            }
            if !found.captured.contains(&table) {
                found.captured.push(table.clone());
            }
            RelayKind::Capture { table, snapshot }
        }
    };
    let position = match position {
        Position::None => PositionStore::None,
        Position::Memory => PositionStore::Memory,
        Position::Database { read, write } => {
            let read = found.statements.add(&read?, StatementRole::CursorRead, out);
            let write = found.statements.add(&write?, StatementRole::CursorWrite, out);
            PositionStore::Database { read: read?.0, write: write?.0 }
        }
        Position::Topic { topic, flush_interval } => {
            PositionStore::Topic { topic: topic?, flush_interval }
        }
    };
    Some(RelaySpec {
        name,
        instances,
        database: system_id(database),
        to: to?,
        kind,
        interval,
        batch: u32::try_from(batch).expect("checked above"),
        position,
        stores_before_ack,
        transactional_id: id.map(|id| id.pattern(instances, &[], with.names)),
        producer: config,
    })
}

/// Where events come from, as it is written.
enum Source {
    Poll { select: Sql, mark: Option<(Sql, bool)> },
    Capture { table: String, place: Place, snapshot: bool },
}

/// `select` or `capture`, and what belongs to each.
fn source(
    name: &str,
    section: &mut Section<'_>,
    position: Option<Place>,
    with: &mut With<'_, '_>,
    out: &mut Diagnostics,
) -> Option<Source> {
    let table = ["relays", name];
    let (select, capture) = (section.get("select"), section.get("capture"));
    let (mark, mark_when) = (section.get("mark"), section.get("mark-when"));
    let snapshot = section.get("snapshot");
    let refuse = |message: &str, entry: &Entry, help: &str, out: &mut Diagnostics| {
        out.push(Diagnostic::error(id::CONFLICT, message).at(entry.key_place).help(help));
    };
    if let (Some(select), Some(capture)) = (select, capture) {
        let message = "a relay polls by `select` or captures changes by `capture`";
        let item = Diagnostic::error(id::CONFLICT, message).at(capture.key_place);
        out.push(item.also(select.key_place, "and here").help("write a relay for each"));
    }
    let sql = Sql::of(section, "select", &table, with.reading, out);
    let mark_sql = Sql::of(section, "mark", &table, with.reading, out);
    let before_ack = section.word("mark-when", MARK_WHEN, out).unwrap_or(false);
    let captured = section.text("capture", out);
    let takes_snapshot = section.boolean("snapshot", out).unwrap_or(true);
    if let (Some(when), None) = (mark_when, mark) {
        refuse("`mark-when` without `mark`", when, "add `mark = \"UPDATE ...\"`", out);
    }
    if select.is_some() {
        if let Some(snapshot) = snapshot {
            refuse("only `capture` begins with a snapshot", snapshot, "delete this line", out);
        }
        if mark.is_none() && position.is_none() {
            out.push(
                Diagnostic::error(
                    id::MISSING_KEY,
                    "a relay that neither marks nor keeps a position publishes everything again \
                     and again",
                )
                .at(section.place)
                .help("add `mark = \"UPDATE outbox SET sent = 1 WHERE id = :id\"`")
                .help("or `position = \"memory\"`, and `:cursor` in `select`"),
            );
        }
        let mark = if mark.is_some() { Some((mark_sql?, before_ack)) } else { None };
        return Some(Source::Poll { select: sql?, mark });
    }
    let Some(capture) = capture else {
        out.push(
            Diagnostic::error(id::MISSING_KEY, format!("{} does not say what it reads", section.name))
                .at(section.place)
                .help("add `select = \"SELECT sequence, id, key, value FROM outbox WHERE sent = 0 ORDER BY sequence LIMIT :batch\"`")
                .help("or `capture = \"outbox\"`"),
        );
        return None;
    };
    if let Some(mark) = mark {
        refuse("changes that are captured cannot be marked", mark, "delete this line", out);
    }
    if position.is_none() {
        out.push(
            Diagnostic::error(id::MISSING_KEY, "change data capture needs a position in the log")
                .at(capture.key_place)
                .help("add `position = { topic = \"connect-offsets\" }`, or \"memory\""),
        );
    }
    let (table, place) = captured?;
    Some(Source::Capture { table: table.to_owned(), place, snapshot: takes_snapshot })
}

/// A poller's query: a cursor is used if, and only if, a position is kept.
fn select(
    sql: &Sql,
    position: Option<Place>,
    statements: &mut Statements,
    out: &mut Diagnostics,
) -> Option<oncesim_types::StatementId> {
    let (select, shape) = statements.add(sql, StatementRole::RelaySelect, out)?;
    Statements::has_column(sql, &shape, "id", "it says whose event a row is", out);
    let uses_cursor = shape.parameters.iter().any(|parameter| parameter == "cursor");
    match position {
        Some(place) if !uses_cursor => {
            let message = "a position is kept, and `select` does not use `:cursor`";
            let item = Diagnostic::error(id::SQL_ROLE, message).at(place);
            out.push(item.help("add `WHERE sequence > :cursor` to `select`"));
        }
        Some(_) => {
            Statements::has_column(sql, &shape, "sequence", "`:cursor` is the last of them", out);
        }
        None if uses_cursor => {
            let message = "`:cursor` is a position, and none is kept";
            let place = sql.parameter("cursor", out);
            let item = Diagnostic::error(id::SQL_PLACEHOLDER, message).at(place);
            out.push(item.help("add `position = \"memory\"`"));
        }
        None => {}
    }
    Some(select)
}

/// `position = "memory"`, `{ database = .. }` or `{ topic = .. }`.
fn position(
    name: &str,
    section: &mut Section<'_>,
    with: &mut With<'_, '_>,
    out: &mut Diagnostics,
) -> Position {
    let Some(entry) = section.get("position") else { return Position::None };
    match &entry.node.value {
        Value::String(word) => {
            let words = [("memory", ())];
            let place = entry.node.place;
            if word == "database" || word == "topic" {
                let example = match word.as_str() {
                    "topic" => "{ topic = \"connect-offsets\" }",
                    _ => "{ database = { read = \"SELECT ...\", write = \"UPDATE ...\" } }",
                };
                let message = format!("a position in a {word} says more");
                let item = Diagnostic::error(id::BAD_VALUE, message).at(place);
                out.push(item.help(format!("write `position = {example}`")));
            } else {
                crate::section::word(word, place, "position", &words, out);
            }
            return Position::Memory;
        }
        Value::Table(_) => {}
        _ => {
            wrong_type(&entry.node, "position", "a string or a table", out);
            return Position::Memory;
        }
    }
    let Some(mut inner) = Section::of(entry, "`position`", out) else { return Position::Memory };
    let (database, topic) = (inner.get("database"), inner.get("topic"));
    if let (Some(database), Some(topic)) = (database, topic) {
        let message = "a position is in a `database` or in a `topic`";
        let item = Diagnostic::error(id::CONFLICT, message).at(topic.key_place);
        out.push(item.also(database.key_place, "and here").help("delete one of them"));
    }
    if let Some(database) = database {
        let read = Section::of(database, "`database`", out).map(|mut section| {
            let table = ["relays", name, "position", "database"];
            let example = "\"SELECT cursor FROM relay\"";
            let read = Sql::required(&mut section, "read", &table, example, (with.reading, out));
            let example = "\"UPDATE relay SET cursor = :cursor\"";
            let write = Sql::required(&mut section, "write", &table, example, (with.reading, out));
            section.finish(out);
            (read, write)
        });
        inner.finish(out);
        let (read, write) = read.unwrap_or_default();
        return Position::Database { read, write };
    }
    if topic.is_none() {
        inner.missing("topic", "\"connect-offsets\"", out);
    }
    let topic = inner.text("topic", out);
    let topic = topic.and_then(|(topic, place)| with.names.topic(topic, place, out));
    let flush = inner.duration("flush-interval", out).unwrap_or(FLUSH_INTERVAL);
    inner.finish(out);
    Position::Topic { topic, flush_interval: flush }
}

/// A topic of positions has nothing else in it. Relays may share one: each has a key of its own.
pub(in crate::parse) fn positions(
    applications: &Applications,
    places: &[(String, Place)],
    names: &Names,
    out: &mut Diagnostics,
) {
    let place = |name: &str| {
        places.iter().find(|(known, _)| known == name).map_or_else(Place::default, |(_, at)| *at)
    };
    let relays = &applications.external.relays;
    let position = |relay: &RelaySpec| match relay.position {
        PositionStore::Topic { topic, .. } => Some(topic),
        _ => None,
    };
    for relay in relays {
        let Some(topic) = position(relay) else { continue };
        let mut writers: Vec<&String> = Vec::new();
        let producers = applications.producers.iter().filter(|producer| {
            let transfer = producer.transactions.as_ref().and_then(|t| t.transfer_to);
            producer.to == topic || transfer == Some(topic)
        });
        writers.extend(producers.map(|producer| &producer.name));
        let processors = applications.processors.iter().filter(|processor| {
            let changelog = Transform::Aggregate { changelog: topic };
            processor.to.contains(&topic) || processor.transform == changelog
        });
        writers.extend(processors.map(|processor| &processor.name));
        let services = applications.external.services.iter();
        writers.extend(services.filter(|it| it.to == topic).map(|service| &service.name));
        let others = relays.iter().filter(|it| it.to == topic);
        writers.extend(others.map(|relay| &relay.name));
        for other in writers {
            let topic = &names.topics[usize::from(topic.0)].0;
            let message =
                format!("`{other}` writes to `{topic}`, the positions of `{}`", relay.name);
            let item = Diagnostic::error(id::CONFLICT, message).at(place(other));
            out.push(item.help("declare another topic for positions: relays may share it"));
        }
    }
}
