//! Systems: `[databases.NAME]`, and what a sink owns.

use oncesim_types::Duration;

use super::sql::{Sql, Statements};
use crate::diagnostic::Diagnostics;
use crate::external::{ApiSpec, DatabaseSpec, SystemSpec, SystemSpecKind};
use crate::node::Entry;
use crate::parse::application::Reading;
use crate::section::Section;

/// A database that is not read yet.
pub(super) struct Draft<'t> {
    pub(super) name: String,
    section: Section<'t>,
}

/// A system whose statements are being collected.
pub(super) struct System {
    pub(super) name: String,
    /// Declared under `[databases]`: anybody may use it.
    pub(super) shared: bool,
    pub(super) kind: Kind,
    service_time: Duration,
    client_timeout: Duration,
}

pub(super) enum Kind {
    Database(Box<Database>),
    Api(ApiSpec),
    Staging { prepared_timeout: Option<Duration> },
}

pub(super) struct Database {
    pub(super) statements: Statements,
    pub(super) captured: Vec<String>,
    lock_timeout: Duration,
    idle_timeout: Duration,
}

impl Database {
    /// A schema, and what its section says about locks.
    pub(super) fn read(
        section: &mut Section<'_>,
        schema: Option<Sql>,
        out: &mut Diagnostics,
    ) -> Kind {
        let lock = section.duration("lock-timeout", out).unwrap_or(Duration::from_secs(5));
        let idle = section.duration("idle-timeout", out).unwrap_or(Duration::from_secs(30));
        Kind::Database(Box::new(Database {
            statements: Statements::new(schema, out),
            captured: Vec::new(),
            lock_timeout: lock,
            idle_timeout: idle,
        }))
    }
}

impl System {
    /// What every system has.
    pub(super) fn read(
        name: &str,
        section: &mut Section<'_>,
        (shared, kind): (bool, Kind),
        out: &mut Diagnostics,
    ) -> System {
        System {
            name: name.to_owned(),
            shared,
            kind,
            service_time: section
                .duration("service-time", out)
                .unwrap_or(Duration::from_micros(200)),
            client_timeout: section
                .duration("client-timeout", out)
                .unwrap_or(Duration::from_secs(2)),
        }
    }

    /// Its statements, if it is a database.
    pub(super) fn database(&mut self) -> Option<&mut Database> {
        match &mut self.kind {
            Kind::Database(database) => Some(database),
            Kind::Api(_) | Kind::Staging { .. } => None,
        }
    }

    pub(super) fn spec(self) -> SystemSpec {
        let kind = match self.kind {
            Kind::Database(database) => SystemSpecKind::Database(DatabaseSpec {
                schema: database.statements.schema,
                statements: database.statements.statements,
                captured: database.captured,
                lock_timeout: database.lock_timeout,
                idle_timeout: database.idle_timeout,
            }),
            Kind::Api(api) => SystemSpecKind::Api(api),
            Kind::Staging { prepared_timeout } => SystemSpecKind::Staging { prepared_timeout },
        };
        SystemSpec {
            name: self.name,
            kind,
            service_time: self.service_time,
            client_timeout: self.client_timeout,
        }
    }
}

pub(super) fn draft<'t>(entry: &'t Entry, section: Section<'t>) -> Draft<'t> {
    Draft { name: entry.key.clone(), section }
}

pub(super) fn build(draft: Draft<'_>, reading: &mut Reading<'_>, out: &mut Diagnostics) -> System {
    let Draft { name, mut section } = draft;
    let schema = Sql::required(
        &mut section,
        "schema",
        &["databases", &name],
        "\"CREATE TABLE mails(id INTEGER PRIMARY KEY)\"",
        (reading, out),
    );
    let kind = Database::read(&mut section, schema, out);
    let system = System::read(&name, &mut section, (true, kind), out);
    section.finish(out);
    system
}
