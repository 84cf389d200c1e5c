//! Services: business rows in a database, events in the log.

use oncesim_types::{Duration, Ratio, StatementRole};

use super::sql::Sql;
use super::{Application, With, shared_database, system_id};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::external::{Announce, ServiceSpec};
use crate::id;
use crate::kafka;
use crate::node::Entry;
use crate::parse::application::{Reading, read_properties};
use crate::parse::transaction::chance;
use crate::section::Section;

/// How a service tells the log, as scenarios name it; an outbox has its statement elsewhere.
pub(crate) const ANNOUNCE: &[(&str, Option<Announce>)] = &[
    ("outbox", None),
    ("database-first", Some(Announce::DatabaseFirst)),
    ("log-first", Some(Announce::LogFirst)),
    ("inside-transaction", Some(Announce::InsideTransaction)),
];

pub(super) fn draft<'t>(
    entry: &'t Entry,
    mut section: Section<'t>,
    instances: u16,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Application<'t> {
    let mut producer = read_properties(&mut section, "services", entry, reading, out);
    if let Some(place) = producer.key_place("transactional.id") {
        producer.take("transactional.id");
        let message = "a service sends each event by itself, not in transactions";
        let item = Diagnostic::error(id::CONFLICT, message).at(place);
        out.push(item.help("delete this line"));
    }
    Application { name: entry.key.clone(), instances, section, producer, id: None }
}

pub(super) fn build(
    draft: Application<'_>,
    with: &mut With<'_, '_>,
    out: &mut Diagnostics,
) -> Option<ServiceSpec> {
    let Application { name, instances, mut section, producer, .. } = draft;
    let database = shared_database(&mut section, with.systems, out);
    let to = section.required_text("to", "\"orders\"", out);
    let to = to.and_then(|(topic, place)| with.names.topic(topic, place, out));
    let most = i64::from(u32::MAX);
    let records = section.integer("records", (0, most), out).unwrap_or(100);
    let keys = section.integer("keys", (1, most), out).unwrap_or(10);
    let interval = section.duration("interval", out).unwrap_or(Duration::from_millis(5));
    let hold = section.duration("hold", out).unwrap_or(Duration::ZERO);
    let mut part = |key| section.get(key).and_then(|entry| chance(entry, out));
    let abort = part("abort").unwrap_or(Ratio::ZERO);
    let tombstones = part("tombstones").unwrap_or(Ratio::ZERO);
    let table = ["services", &name];
    let example = "\"INSERT INTO orders(id, customer) VALUES (:id, :key)\"";
    let rows = Sql::list(&mut section, "statement", &table, example, (with.reading, out));
    let announce = announce(&mut section, out);
    let outbox = outbox(&mut section, &name, announce, with, out);
    if let (Some(None), Some((property, place))) = (announce, producer.first()) {
        let message = format!("a service with an outbox sends nothing: `{property}` is of no use");
        let item = Diagnostic::error(id::CONFLICT, message).at(place);
        out.push(item.help("write it into the relay, as `producer.*`"));
    }
    section.finish(out);
    let mut config = kafka::producer(&producer, out);
    config.transaction_version = with.brokers.transaction_version;
    let database = database?;
    let statements = &mut with.systems[database].database()?.statements;
    let (rows, count) = rows.map(|rows| (rows.len(), rows)).map(|(n, rows)| {
        let add = |sql| Some(statements.add(sql, StatementRole::Business, out)?.0);
        (rows.iter().filter_map(add).collect::<Vec<_>>(), n)
    })?;
    let announce = match announce? {
        Some(announce) => announce,
        None => Announce::Outbox(statements.add(&outbox?, StatementRole::Outbox, out)?.0),
    };
    if rows.len() < count {
        return None;
    }
    Some(ServiceSpec {
        name,
        instances,
        database: system_id(database),
        statements: rows,
        announce,
        to: to?,
        records: records.unsigned_abs(),
        keys: u32::try_from(keys).expect("checked above"),
        interval,
        hold,
        abort,
        tombstones,
        producer: config,
    })
}

#[expect(clippy::option_option, reason = "the outer one is an error that has been reported")]
fn announce(section: &mut Section<'_>, out: &mut Diagnostics) -> Option<Option<Announce>> {
    section.required_text("announce", "\"outbox\"", out)?;
    section.word("announce", ANNOUNCE, out)
}

/// The statement that writes a row of the outbox: it is there if, and only if, there is an outbox.
#[expect(clippy::option_option, reason = "as `announce` has it")]
fn outbox(
    section: &mut Section<'_>,
    name: &str,
    announce: Option<Option<Announce>>,
    with: &mut With<'_, '_>,
    out: &mut Diagnostics,
) -> Option<Sql> {
    let table = ["services", name];
    if let (Some(Some(_)), Some(entry)) = (announce, section.get("outbox")) {
        let message = "a service that announces by a dual write has no outbox";
        let item = Diagnostic::error(id::CONFLICT, message).at(entry.key_place);
        out.push(item.help("write `announce = \"outbox\"`, or delete `outbox`"));
        return None;
    }
    if announce.is_none() {
        return Sql::of(section, "outbox", &table, with.reading, out);
    }
    if let Some(Some(_)) = announce {
        return None;
    }
    let example = "\"INSERT INTO outbox(sequence, id, key, value) VALUES (:sequence, :id, :key, \
                   :value)\"";
    Sql::required(section, "outbox", &table, example, (with.reading, out))
}
