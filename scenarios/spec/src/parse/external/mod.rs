//! What lies outside of Kafka: databases, sinks, services and relays.
//!
//! The first pass gives everything its name and its number, the second reads what refers to
//! something else. A database's statements are collected while its users are read: sinks, then
//! services, then relays, each by name, so that statement ids depend on nothing else.

mod database;
mod doubt;
mod relay;
mod service;
mod sink;
mod sql;

use oncesim_kafka::config::BrokerConfig;
use oncesim_types::SystemId;

use super::application::{self, Reading};
use super::transaction::IdText;
use crate::diagnostic::{Diagnostic, Diagnostics, Place, nearest};
use crate::external::{RelaySpec, ServiceSpec, SinkSpec, SystemSpec};
use crate::id;
use crate::names::Names;
use crate::node::{Entry, Value};
use crate::section::Section;

pub(super) use doubt::doubts;
pub(super) use relay::positions;
pub(crate) use sink::{DEDUP_PLACEMENTS, IDEMPOTENCY_KEYS, ON_UNKNOWN, TRANSACTIONS};
pub(super) use sink::{Use, agrees, commits_alone, fits_processor};
pub(crate) use {relay::MARK_WHEN, service::ANNOUNCE};

use database::System;

/// What is outside of Kafka and not resolved yet.
pub(super) struct Drafts<'t> {
    databases: Vec<database::Draft<'t>>,
    sinks: Vec<sink::Draft<'t>>,
    pub(super) services: Vec<Application<'t>>,
    pub(super) relays: Vec<Application<'t>>,
}

/// A service or a relay that is not resolved yet.
pub(super) struct Application<'t> {
    pub(super) name: String,
    pub(super) instances: u16,
    section: Section<'t>,
    producer: crate::property::Properties,
    /// Its `transactional.id`, if it has one.
    pub(super) id: Option<IdText>,
}

/// What is outside of Kafka.
#[derive(Default)]
pub(super) struct External {
    pub(super) systems: Vec<SystemSpec>,
    pub(super) sinks: Vec<SinkSpec>,
    pub(super) services: Vec<ServiceSpec>,
    pub(super) relays: Vec<RelaySpec>,
}

impl Drafts<'_> {
    /// Whether sinks are used as they may be.
    pub(super) fn used(&self, uses: &[Use], names: &Names, out: &mut Diagnostics) {
        let places = self.sinks.iter().map(|draft| (draft.name.as_str(), draft.place()));
        sink::used(uses, &places.collect::<Vec<_>>(), names, out);
    }
}

impl External {
    /// A sink by its name; `None` also if it was complained about.
    pub(super) fn sink(&self, name: &str) -> Option<&SinkSpec> {
        self.sinks.iter().find(|sink| sink.name == name)
    }
}

/// First pass: names, instances, producers' properties, transactional ids.
pub(super) fn drafts<'t>(
    top: &mut Section<'t>,
    names: &mut Names,
    taken: &mut Vec<(String, Place)>,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Drafts<'t> {
    let mut services = Vec::new();
    for (entry, section, instances) in application::side(top, "services", names, taken, out) {
        services.push(service::draft(entry, section, instances, reading, out));
    }
    let mut relays = Vec::new();
    for (entry, section, instances) in application::side(top, "relays", names, taken, out) {
        relays.push(relay::draft(entry, section, instances, reading, out));
    }
    let mut databases = Vec::new();
    for (entry, section) in application::tables(top, "databases", out) {
        application::name(entry, ("databases", 1), names, taken, out);
        databases.push(database::draft(entry, section));
    }
    let mut sinks = Vec::new();
    for (entry, section) in application::tables(top, "sinks", out) {
        let draft = sink::draft(entry, section, out);
        if draft.owns() {
            application::name(entry, ("sinks", 1), names, taken, out);
        } else {
            application::legal_name(entry, names, out);
        }
        sinks.push(draft);
    }
    services.sort_by(|a, b| a.name.cmp(&b.name));
    relays.sort_by(|a, b| a.name.cmp(&b.name));
    databases.sort_by(|a, b| a.name.cmp(&b.name));
    sinks.sort_by(|a, b| a.name.cmp(&b.name));
    let count = |drafts: &[Application<'_>]| -> Vec<(String, u16)> {
        drafts.iter().map(|draft| (draft.name.clone(), draft.instances)).collect()
    };
    names.services = count(&services);
    names.relays = count(&relays);
    names.sinks = sinks.iter().map(|draft| draft.name.clone()).collect();
    let owned = sinks.iter().filter(|draft| draft.owns()).map(|draft| draft.name.clone());
    names.systems = databases.iter().map(|draft| draft.name.clone()).chain(owned).collect();
    names.systems.sort();
    Drafts { databases, sinks, services, relays }
}

/// Second pass: everything that refers to something else.
pub(super) fn build(
    drafts: Drafts<'_>,
    brokers: &BrokerConfig,
    names: &Names,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> External {
    let Drafts { databases, mut sinks, services, relays } = drafts;
    let mut systems: Vec<System> =
        databases.into_iter().map(|draft| database::build(draft, reading, out)).collect();
    systems.extend(sinks.iter_mut().filter_map(|draft| sink::system(draft, reading, out)));
    systems.sort_by(|a, b| a.name.cmp(&b.name));
    let mut external = External::default();
    for draft in sinks {
        external.sinks.extend(sink::build(draft, &mut systems, names, reading, out));
    }
    let mut with = With { systems: &mut systems, brokers, names, reading };
    for draft in services {
        external.services.extend(service::build(draft, &mut with, out));
    }
    for draft in relays {
        external.relays.extend(relay::build(draft, &mut with, out));
    }
    external.systems = systems.into_iter().map(System::spec).collect();
    external
}

/// What reading a service or a relay needs besides its table.
struct With<'r, 'i> {
    systems: &'r mut Vec<System>,
    brokers: &'r BrokerConfig,
    names: &'r Names,
    reading: &'r mut Reading<'i>,
}

/// The database that `database = "shop"` names, by its place among the systems.
fn shared_database(
    section: &mut Section<'_>,
    systems: &[System],
    out: &mut Diagnostics,
) -> Option<usize> {
    let (name, place) = section.required_text("database", "\"shop\"", out)?;
    if let Some(index) = systems.iter().position(|system| system.name == name && system.shared) {
        return Some(index);
    }
    let known: Vec<&str> =
        systems.iter().filter(|system| system.shared).map(|system| system.name.as_str()).collect();
    let own = systems.iter().find(|system| system.name == name);
    let message = match own {
        Some(_) => format!("`{name}` is the system of one sink alone"),
        None => format!("there is no database `{name}`"),
    };
    let item = Diagnostic::error(id::UNKNOWN_SYSTEM, message).at(place);
    out.push(match nearest(name, known) {
        Some(near) if own.is_none() => item.help(format!("did you mean \"{near}\"?")),
        _ => item.help(format!("declare it: `[databases.{name}]` with `schema = \"{name}.sql\"`")),
    });
    None
}

fn system_id(index: usize) -> SystemId {
    SystemId(u16::try_from(index).expect("systems are counted in 16 bits"))
}

/// Whether a relay keeps its position in a topic: it has a companion then that reads it back.
pub(super) fn has_topic_position(entry: &Entry) -> bool {
    let table = |node: &'_ Entry, key: &str| match &node.node.value {
        Value::Table(table) => table.get(key).cloned(),
        _ => None,
    };
    table(entry, "position").is_some_and(|position| table(&position, "topic").is_some())
}
