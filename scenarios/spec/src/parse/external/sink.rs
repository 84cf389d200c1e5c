//! Sinks: what an application does outside of Kafka for each record.

use oncesim_types::{Duration, SinkId, StatementId, StatementRole};

use super::database::{Database, Kind, System};
use super::sql::{Sql, Statements};
use super::system_id;
use crate::diagnostic::{Diagnostic, Diagnostics, Place, nearest};
use crate::external::{
    ApiSpec, DedupPlacement, DedupSpec, IdempotencyKey, OnUnknown, SinkKind, SinkOffsets, SinkSpec,
    SinkTransaction, SqlSink,
};
use crate::id;
use crate::names::Names;
use crate::node::Entry;
use crate::parse::application::Reading;
use crate::property::Properties;
use crate::scenario::CommitStrategy;
use crate::section::Section;

/// What an application takes an unknown outcome for, as scenarios name it.
pub(crate) const ON_UNKNOWN: &[(&str, OnUnknown)] =
    &[("retry", OnUnknown::Retry), ("assume-done", OnUnknown::AssumeDone)];

/// What an application sends as idempotency key, as scenarios name it.
pub(crate) const IDEMPOTENCY_KEYS: &[(&str, IdempotencyKey)] = &[
    ("none", IdempotencyKey::None),
    ("per-record", IdempotencyKey::PerRecord),
    ("per-attempt", IdempotencyKey::PerAttempt),
    ("by-key", IdempotencyKey::ByKey),
    ("by-offset", IdempotencyKey::ByOffset),
];

/// What goes into one transaction, as scenarios name it.
pub(crate) const TRANSACTIONS: &[(&str, SinkTransaction)] = &[
    ("none", SinkTransaction::None),
    ("per-record", SinkTransaction::PerRecord),
    ("per-poll", SinkTransaction::PerPoll),
];

/// When a record is marked as seen, as scenarios name it.
pub(crate) const DEDUP_PLACEMENTS: &[(&str, DedupPlacement)] = &[
    ("same-transaction", DedupPlacement::SameTransaction),
    ("before-effect", DedupPlacement::BeforeEffect),
    ("after-effect", DedupPlacement::AfterEffect),
];

const KINDS: [&str; 3] = ["sqlite", "api", "two-phase"];

/// A sink that is not resolved yet.
pub(super) struct Draft<'t> {
    pub(super) name: String,
    section: Section<'t>,
    /// The table that says what it is.
    kind: Option<(&'static str, Section<'t>)>,
}

impl Draft<'_> {
    /// Where it is declared.
    pub(super) fn place(&self) -> Place {
        self.section.place
    }

    /// Whether it is a system of its own.
    pub(super) fn owns(&self) -> bool {
        match &self.kind {
            Some(("sqlite", inner)) => !inner.has("database"),
            Some(_) => true,
            None => false,
        }
    }
}

/// Somebody who uses a sink.
#[derive(Debug, Clone)]
pub(in crate::parse) struct Use {
    pub(in crate::parse) sink: String,
    pub(in crate::parse) place: Place,
    pub(in crate::parse) application: String,
    pub(in crate::parse) group: String,
}

pub(super) fn draft<'t>(
    entry: &'t Entry,
    mut section: Section<'t>,
    out: &mut Diagnostics,
) -> Draft<'t> {
    let mut kind = None;
    let mut first: Option<&Entry> = None;
    for key in KINDS {
        let Some(found) = section.get(key) else { continue };
        if let Some(first) = first {
            let message = format!("a sink is `{}` or `{key}`", first.key);
            let item = Diagnostic::error(id::CONFLICT, message).at(found.key_place);
            out.push(item.also(first.key_place, "the first").help("declare a second sink"));
            continue;
        }
        first = Some(found);
        kind = Section::of(found, &format!("`{key}`"), out).map(|inner| (key, inner));
    }
    if first.is_none() {
        let message = format!("{} does not say what it is", section.name);
        out.push(
            Diagnostic::error(id::MISSING_KEY, message)
                .at(section.place)
                .help("add `sqlite = { schema = \"...\", statement = \"INSERT ...\" }`")
                .help("or `api = {}`, or `two-phase = {}`"),
        );
    }
    Draft { name: entry.key.clone(), section, kind }
}

/// The system of a sink that owns one.
pub(super) fn system(
    draft: &mut Draft<'_>,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Option<System> {
    if !draft.owns() {
        not_its_own(draft, out);
        return None;
    }
    let name = draft.name.clone();
    let (kind, inner) = draft.kind.as_mut()?;
    let kind = match *kind {
        "sqlite" => {
            let schema = Sql::required(
                inner,
                "schema",
                &["sinks", &name, "sqlite"],
                "\"CREATE TABLE mails(id INTEGER PRIMARY KEY)\"",
                (reading, out),
            );
            Database::read(&mut draft.section, schema, out)
        }
        "api" => Kind::Api(ApiSpec {
            key_ttl: inner.duration("key-ttl", out),
            rejects_other_payload: inner.boolean("rejects-other-payload", out).unwrap_or(true),
            checks_token: inner.boolean("checks-token", out).unwrap_or(false),
        }),
        _ => Kind::Staging { prepared_timeout: inner.duration("prepared-timeout", out) },
    };
    Some(System::read(&name, &mut draft.section, (false, kind), out))
}

/// What belongs to the database belongs into its table.
fn not_its_own(draft: &mut Draft<'_>, out: &mut Diagnostics) {
    let Some((_, inner)) = &mut draft.kind else { return };
    let database = inner.text("database", out).map_or("NAME", |(name, _)| name);
    let mut refuse = |entry: &Entry| {
        let message = format!("`{}` is a matter of the database", entry.key);
        let item = Diagnostic::error(id::CONFLICT, message).at(entry.key_place);
        out.push(item.help(format!("write it into `[databases.{database}]`")));
    };
    for key in ["service-time", "client-timeout", "lock-timeout", "idle-timeout"] {
        draft.section.get(key).into_iter().for_each(&mut refuse);
    }
    inner.get("schema").into_iter().for_each(&mut refuse);
}

pub(super) fn build(
    draft: Draft<'_>,
    systems: &mut [System],
    names: &Names,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Option<SinkSpec> {
    let Draft { name, mut section, kind } = draft;
    let retry_after = section.duration("retry-after", out).unwrap_or(Duration::from_millis(100));
    let retries = section.integer("retries", (0, i64::from(u32::MAX)), out).unwrap_or(10);
    let on_unknown = section.word("on-unknown", ON_UNKNOWN, out).unwrap_or_default();
    let built = kind.and_then(|(kind, mut inner)| {
        let index = match kind {
            "sqlite" if inner.has("database") => super::shared_database(&mut inner, systems, out),
            _ => systems.iter().position(|system| !system.shared && system.name == name),
        };
        let built = match kind {
            "sqlite" => sqlite(&name, &mut inner, index.map(|n| &mut systems[n]), reading, out),
            "api" => api(&mut inner, out),
            _ => Some(SinkKind::TwoPhase),
        };
        inner.finish(out);
        index.zip(built)
    });
    section.finish(out);
    let (system, kind) = built?;
    let id = names.sinks.iter().position(|known| *known == name)?;
    Some(SinkSpec {
        name,
        id: SinkId(u16::try_from(id).expect("sinks are counted in 16 bits")),
        system: system_id(system),
        kind,
        retry_after,
        retries: u32::try_from(retries).expect("checked above"),
        on_unknown,
    })
}

fn api(inner: &mut Section<'_>, out: &mut Diagnostics) -> Option<SinkKind> {
    let key = inner.word("idempotency-key", IDEMPOTENCY_KEYS, out);
    let key = key.unwrap_or(IdempotencyKey::PerRecord);
    let token = inner.boolean("token", out).unwrap_or(false);
    Some(SinkKind::Api { key, token })
}

/// What the statements of a sink are read with.
struct Reader<'r, 'i> {
    table: [&'r str; 3],
    /// `None` after a complaint: then they are read and not checked.
    database: Option<&'r mut Statements>,
    reading: &'r mut Reading<'i>,
}

impl Reader<'_, '_> {
    fn add(
        &mut self,
        sql: &Sql,
        role: StatementRole,
        out: &mut Diagnostics,
    ) -> Option<StatementId> {
        Some(self.database.as_mut()?.add(sql, role, out)?.0)
    }

    /// A statement of the table `inner`; `None` also after a complaint.
    fn optional(
        &mut self,
        section: &mut Section<'_>,
        (inner, key): (&[&str], &'static str),
        role: StatementRole,
        out: &mut Diagnostics,
    ) -> Option<StatementId> {
        let table: Vec<&str> = [&self.table[..], inner].concat();
        let sql = Sql::of(section, key, &table, self.reading, out)?;
        self.add(&sql, role, out)
    }

    fn required(
        &mut self,
        section: &mut Section<'_>,
        (inner, key): (&[&str], &'static str),
        (role, example): (StatementRole, &str),
        out: &mut Diagnostics,
    ) -> Option<StatementId> {
        let table: Vec<&str> = [&self.table[..], inner].concat();
        let sql = Sql::required(section, key, &table, example, (self.reading, out))?;
        self.add(&sql, role, out)
    }
}

fn sqlite(
    name: &str,
    section: &mut Section<'_>,
    system: Option<&mut System>,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Option<SinkKind> {
    let database = system.and_then(System::database).map(|database| &mut database.statements);
    let mut reader = Reader { table: ["sinks", name, "sqlite"], database, reading };
    let example = "\"INSERT INTO mails(id) VALUES (:id)\"";
    let table = reader.table;
    let effect = Sql::list(section, "statement", &table, example, (reader.reading, out));
    let has_read = section.has("read");
    let steps = effect.as_ref().map(|effect| effect_steps(effect, has_read, &mut reader, out));
    let tombstone = Sql::of(section, "tombstone", &table, reader.reading, out);
    let tombstone = tombstone
        .and_then(|sql| effect_steps(std::slice::from_ref(&sql), has_read, &mut reader, out).pop());
    let read = reader.optional(section, (&[], "read"), StatementRole::Read, out);
    let transaction_place = section.get("transaction").map(|entry| entry.node.place);
    let transaction =
        section.word("transaction", TRANSACTIONS, out).unwrap_or(SinkTransaction::PerRecord);
    let dedup = dedup(section, &mut reader, out);
    let offsets = offsets(section, &mut reader, out);
    if transaction == SinkTransaction::None {
        let place = transaction_place.unwrap_or(section.place);
        let same = dedup.is_some_and(|dedup| dedup.placement == DedupPlacement::SameTransaction);
        for what in [same.then_some("a mark in the same transaction"), offsets.map(|_| "`offsets`")]
            .into_iter()
            .flatten()
        {
            let message = format!("{what} and `transaction = \"none\"`");
            let item = Diagnostic::error(id::CONFLICT, message).at(place);
            out.push(item.help("leave `transaction` out: it is \"per-record\" then"));
        }
    }
    let steps = steps?;
    let complete = effect.as_ref().is_some_and(|effect| effect.len() == steps.len());
    let traits = match (&reader.database, effect) {
        (Some(database), Some(effect)) if complete => database.traits(&effect, out),
        _ => return None,
    };
    Some(SinkKind::Sql(SqlSink {
        effect: steps,
        tombstone,
        read,
        transaction,
        dedup,
        offsets,
        absorbs: traits.absorbs,
        overwrites: traits.overwrites,
    }))
}

/// The steps of an effect, or what it is for a tombstone.
fn effect_steps(
    effect: &[Sql],
    has_read: bool,
    reader: &mut Reader<'_, '_>,
    out: &mut Diagnostics,
) -> Vec<StatementId> {
    let Some(database) = reader.database.as_mut() else { return Vec::new() };
    let mut steps = Vec::new();
    for sql in effect {
        let Some((step, shape)) = database.add(sql, StatementRole::Effect, out) else { continue };
        if !has_read && shape.parameters.iter().any(|parameter| parameter == "read") {
            let message = "`:read` stands for what `read` returns, and there is no `read`";
            let item =
                Diagnostic::error(id::SQL_PLACEHOLDER, message).at(sql.parameter("read", out));
            out.push(item.help("add `read = \"SELECT ...\"`"));
        }
        steps.push(step);
    }
    steps
}

/// `dedup` or `inbox`.
fn dedup(
    section: &mut Section<'_>,
    reader: &mut Reader<'_, '_>,
    out: &mut Diagnostics,
) -> Option<DedupSpec> {
    let (dedup, inbox) = (section.get("dedup"), section.get("inbox"));
    if let (Some(dedup), Some(inbox)) = (dedup, inbox) {
        let message = "an `inbox` is a `dedup` table: a sink has one of them";
        let item = Diagnostic::error(id::CONFLICT, message).at(inbox.key_place);
        out.push(item.also(dedup.key_place, "the other").help("delete one of them"));
    }
    let entry = dedup.or(inbox)?;
    let key = if dedup.is_some() { "dedup" } else { "inbox" };
    let mut inner = Section::of(entry, &format!("`{key}`"), out)?;
    let at = [key];
    let check = reader.optional(&mut inner, (&at, "check"), StatementRole::DedupCheck, out);
    let example = "\"INSERT INTO seen(id) VALUES (:id)\"";
    let mark = reader.required(&mut inner, (&at, "mark"), (StatementRole::DedupMark, example), out);
    let placement = inner.word("when", DEDUP_PLACEMENTS, out);
    let (window, evict) = (inner.get("window"), inner.get("evict"));
    if let (Some(window), None) = (window, evict) {
        let message = "a dedup window without `evict` forgets nothing";
        let item = Diagnostic::error(id::MISSING_KEY, message).at(window.key_place);
        out.push(item.help("add `evict = \"DELETE FROM seen WHERE at < :horizon\"`"));
    }
    if let (None, Some(evict)) = (window, evict) {
        let message = "`evict` forgets what is older than a `window`, and there is none";
        let item = Diagnostic::error(id::MISSING_KEY, message).at(evict.key_place);
        out.push(item.help("add `window = \"10s\"`"));
    }
    let window = inner.duration("window", out);
    let evict = reader.optional(&mut inner, (&at, "evict"), StatementRole::DedupEvict, out);
    inner.finish(out);
    Some(DedupSpec {
        check,
        mark: mark?,
        placement: placement.unwrap_or(DedupPlacement::SameTransaction),
        evict: evict.zip(window),
        inbox: dedup.is_none(),
    })
}

fn offsets(
    section: &mut Section<'_>,
    reader: &mut Reader<'_, '_>,
    out: &mut Diagnostics,
) -> Option<SinkOffsets> {
    let entry = section.get("offsets")?;
    let mut inner = Section::of(entry, "`offsets`", out)?;
    let at = ["offsets"];
    let example = "\"SELECT next FROM offsets WHERE partition = :partition\"";
    let read =
        reader.required(&mut inner, (&at, "read"), (StatementRole::OffsetRead, example), out);
    let example = "\"UPDATE offsets SET next = :next, token = :token WHERE partition = :partition \
                   AND token <= :token\"";
    let write =
        reader.required(&mut inner, (&at, "write"), (StatementRole::OffsetWrite, example), out);
    let fenced = inner.boolean("fenced", out).unwrap_or(true);
    inner.finish(out);
    Some(SinkOffsets { read: read?, write: write?, fenced })
}

/// Whether all who use a sink are of one group, and every sink is used.
pub(super) fn used(uses: &[Use], places: &[(&str, Place)], names: &Names, out: &mut Diagnostics) {
    for (at, this) in uses.iter().enumerate() {
        if !names.sinks.contains(&this.sink) {
            let message = format!("there is no sink `{}`", this.sink);
            let item = Diagnostic::error(id::UNKNOWN_SINK, message).at(this.place);
            out.push(match nearest(&this.sink, names.sinks.iter().map(String::as_str)) {
                Some(near) => item.help(format!("did you mean \"{near}\"?")),
                None => item.help(format!("declare it: `[sinks.{}]`", this.sink)),
            });
            continue;
        }
        let other = uses[..at].iter().find(|it| it.sink == this.sink && it.group != this.group);
        if let Some(other) = other {
            let message = format!(
                "the sink `{}` is used by two groups, `{}` and `{}`",
                this.sink, other.group, this.group
            );
            out.push(
                Diagnostic::error(id::CONFLICT, message)
                    .at(this.place)
                    .also(other.place, format!("`{}` uses it", other.application))
                    .help("declare a second sink; both may use the same `[databases.NAME]`"),
            );
        }
    }
    for sink in names.sinks.iter().filter(|sink| !uses.iter().any(|it| it.sink == **sink)) {
        let place = places.iter().find(|(name, _)| name == sink);
        let place = place.map_or_else(Place::default, |(_, place)| *place);
        out.push(
            Diagnostic::error(id::MISSING_KEY, format!("nobody uses the sink `{sink}`"))
                .at(place)
                .help(format!("add `sink = \"{sink}\"` to a `[consumers.NAME]`, or delete it")),
        );
    }
}

/// Whether a consumer whose sink or connector commits has no auto commit beside it.
pub(in crate::parse) fn commits_alone(
    commit: CommitStrategy,
    properties: &Properties,
    out: &mut Diagnostics,
) -> bool {
    let word = match commit {
        CommitStrategy::InSink => "in-sink",
        CommitStrategy::Connect { .. } => "connect",
        CommitStrategy::TwoPhase => "two-phase",
        _ => return true,
    };
    if let Some(("true", place)) = properties.get("enable.auto.commit") {
        let message = format!("`commit = \"{word}\"` with `enable.auto.commit=true`");
        let item = Diagnostic::error(id::CONFLICT, message).at(place);
        out.push(item.help("delete this line"));
        return false;
    }
    true
}

/// Whether a consumer can use a sink as it commits.
pub(in crate::parse) fn agrees(
    (commit, place): (CommitStrategy, Place),
    sink: Option<&SinkSpec>,
    out: &mut Diagnostics,
) {
    let refuse = |message: String, help: &str, out: &mut Diagnostics| {
        out.push(Diagnostic::error(id::CONFLICT, message).at(place).help(help));
    };
    let sql = sink.and_then(|sink| match &sink.kind {
        SinkKind::Sql(sql) => Some(sql),
        SinkKind::Api { .. } | SinkKind::TwoPhase => None,
    });
    let has_offsets = sql.is_some_and(|sql| sql.offsets.is_some());
    let is_two_phase = sink.is_some_and(|sink| sink.kind == SinkKind::TwoPhase);
    let name = sink.map_or("NAME", |sink| sink.name.as_str());
    if commit == CommitStrategy::InSink && !has_offsets {
        let message = "`commit = \"in-sink\"` needs a sink that stores offsets".to_owned();
        refuse(message, "add `offsets = { read = \"...\", write = \"...\" }` to `sqlite`", out);
    }
    if commit != CommitStrategy::InSink && has_offsets {
        let message = format!("the sink `{name}` stores offsets, and nobody reads them");
        refuse(message, "write `commit = \"in-sink\"`, or delete `offsets`", out);
    }
    if commit == CommitStrategy::TwoPhase && !is_two_phase {
        let message = "`commit = \"two-phase\"` needs a sink that prepares and commits".to_owned();
        refuse(message, "declare one: `[sinks.lake]` with `two-phase = {}`", out);
    }
    if commit != CommitStrategy::TwoPhase && is_two_phase {
        let message = format!("the sink `{name}` has two phases, and this commit has one");
        refuse(message, "write `commit = \"two-phase\"`", out);
    }
    let per_poll = sql.is_some_and(|sql| sql.transaction == SinkTransaction::PerPoll);
    if commit == CommitStrategy::PerRecord && per_poll {
        let message =
            format!("`{name}` has one transaction per poll, and this a commit per record");
        refuse(message, "write `commit = \"after-processing\"`", out);
    }
}

/// Whether a processor can use a sink: it does so record by record, and commits elsewhere.
pub(in crate::parse) fn fits_processor(sink: &SinkSpec, place: Place, out: &mut Diagnostics) {
    let name = &sink.name;
    let (message, help) = match &sink.kind {
        SinkKind::TwoPhase => (
            format!("the sink `{name}` has two phases, and a processor's commit is none of them"),
            "use it in a `[consumers.NAME]` with `commit = \"two-phase\"`",
        ),
        SinkKind::Sql(sql) if sql.offsets.is_some() => (
            format!("the sink `{name}` stores offsets, and a processor commits to its group"),
            "delete `offsets`, or use the sink in a `[consumers.NAME]`",
        ),
        SinkKind::Sql(sql) if sql.transaction == SinkTransaction::PerPoll => (
            format!("a processor works record by record, and `{name}` has a transaction per poll"),
            "write `transaction = \"per-record\"`",
        ),
        SinkKind::Sql(_) | SinkKind::Api { .. } => return,
    };
    out.push(Diagnostic::error(id::CONFLICT, message).at(place).help(help));
}
