//! What is legal outside of Kafka, and rarely meant by whom claims something.

use oncesim_semantics::{Claim, Guarantee};
use oncesim_types::{Duration, StatementId};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::external::{
    Announce, DedupPlacement, IdempotencyKey, OnUnknown, PositionStore, RelayKind, RelaySpec,
    ServiceSpec, SinkKind, SinkSpec, SinkTransaction, SqlSink, SystemSpecKind,
};
use crate::id;
use crate::parse::application::Applications;

/// A doubt: what happens, and what to write instead.
type Doubt = (String, String);

/// What is legal and probably not meant.
pub(in crate::parse) fn doubts(
    applications: &Applications,
    claim: Option<&Claim>,
    out: &mut Diagnostics,
) {
    let Some(claim) = claim else { return };
    if out.has_errors() {
        return; // what was refused is missing here
    }
    let external = &applications.external;
    let mut found: Vec<Doubt> = Vec::new();
    let acts = external.sinks.len() + external.services.len() + external.relays.len();
    if claim.effect.is_some() && acts == 0 {
        found.push((
            "the claim is about effects, and nothing outside of Kafka has any".to_owned(),
            "declare a `[sinks.NAME]` and add `sink = \"NAME\"` to a consumer".to_owned(),
        ));
    }
    for sink in &external.sinks {
        if claim.effect == Some(Guarantee::ExactlyOnce) {
            found.extend(doubled(sink, applications));
        }
        if matches!(claim.effect, Some(Guarantee::ExactlyOnce | Guarantee::AtLeastOnce)) {
            found.extend(lost(sink));
        }
    }
    let whole = |level: Option<Guarantee>| level.is_some_and(|it| it != Guarantee::AtMostOnce);
    if whole(claim.effect) || whole(claim.log) {
        found.extend(external.services.iter().filter_map(dual_write));
        found.extend(external.services.iter().filter_map(|it| unpublished(it, &external.relays)));
        found.extend(external.relays.iter().filter_map(ahead_of_its_events));
        found.extend(external.relays.iter().filter_map(|relay| gaps(relay, &external.services)));
    }
    for (message, help) in found {
        out.push(Diagnostic::warning(id::DOUBTFUL_CLAIM, message).help(help));
    }
}

/// How a sink may do something twice.
fn doubled(sink: &SinkSpec, applications: &Applications) -> Vec<Doubt> {
    let name = &sink.name;
    let mut found = Vec::new();
    let mut doubt = |message: String, help: &str| found.push((message, help.to_owned()));
    let system = &applications.external.systems[usize::from(sink.system.0)];
    let consumers = applications.consumers.iter().filter(|it| it.sink == Some(sink.id));
    let patience = consumers.map(|it| it.config.max_poll_interval).max().unwrap_or(Duration::ZERO);
    let short = |what: &str, window: Duration| {
        let message = format!(
            "{what} `{name}` is forgotten after {window}, and a consumer may stand still for \
             {patience} (max.poll.interval.ms) before its records come again"
        );
        (window < patience).then_some(message)
    };
    match (&sink.kind, &system.kind) {
        (SinkKind::Api { key, .. }, kind) => {
            let never_again = match key {
                IdempotencyKey::None => Some("sends no idempotency key"),
                IdempotencyKey::PerAttempt => Some("sends another idempotency key each time"),
                _ => None,
            };
            if let Some(how) = never_again {
                let message =
                    format!("`{name}` {how}: a request that is made again has its effect twice");
                doubt(message, "write `idempotency-key = \"per-record\"`");
            }
            if let SystemSpecKind::Api(api) = kind
                && let Some(message) =
                    api.key_ttl.and_then(|ttl| short("an idempotency key of", ttl))
            {
                doubt(message, "write a longer `key-ttl`");
            }
        }
        (SinkKind::Sql(sql), kind) => {
            if sql.dedup.is_some_and(|dedup| dedup.placement == DedupPlacement::AfterEffect) {
                let message = format!(
                    "`{name}` marks a record as seen after its effect: a crash between doubles it"
                );
                doubt(message, "write `when = \"same-transaction\"`");
            }
            let window = sql.dedup.and_then(|dedup| dedup.evict).map(|(_, window)| window);
            if let Some(message) = window.and_then(|window| short("a mark of", window)) {
                doubt(message, "write a longer `window`");
            }
            if !sql.absorbs && sql.dedup.is_none() && sql.offsets.is_none() {
                let message = format!(
                    "the effect of `{name}` changes something each time, and nothing remembers that \
                     it was applied"
                );
                doubt(message, "add `dedup` or `offsets`, or write an upsert by `:id`");
            }
            if let Some(message) = unfenced(name, sql, kind) {
                doubt(message, "let `write` compare `:token`, with `fenced = true`");
            }
        }
        (SinkKind::TwoPhase, _) => {}
    }
    found
}

/// Whether a consumer that lost its partitions can go on storing offsets.
fn unfenced(name: &str, sql: &SqlSink, system: &SystemSpecKind) -> Option<String> {
    let offsets = sql.offsets?;
    let SystemSpecKind::Database(database) = system else { return None };
    let text = |id: StatementId| database.statements.get(usize::from(id.0)).map(|it| &it.text);
    if offsets.fenced && text(offsets.write)?.contains(":token") {
        return None;
    }
    Some(format!(
        "`{name}` stores offsets without a fence: a consumer that has lost its partitions writes on"
    ))
}

/// How a sink may leave something undone.
fn lost(sink: &SinkSpec) -> Vec<Doubt> {
    let name = &sink.name;
    let mut found = Vec::new();
    let mut doubt = |message: String, help: &str| found.push((message, help.to_owned()));
    if sink.on_unknown == OnUnknown::AssumeDone {
        let message = format!("`{name}` takes an unknown outcome for done, and it may not be");
        doubt(message, "write `on-unknown = \"retry\"`");
    }
    match &sink.kind {
        SinkKind::Api { key: IdempotencyKey::ByKey, .. } => {
            let message = format!(
                "`{name}` sends the record's key as idempotency key: the second effect of a key is \
                 taken for a repetition"
            );
            doubt(message, "write `idempotency-key = \"per-record\"`");
        }
        SinkKind::Sql(sql) => {
            if sql.dedup.is_some_and(|dedup| dedup.placement == DedupPlacement::BeforeEffect) {
                let message = format!(
                    "`{name}` marks a record as seen before its effect: a crash between loses it"
                );
                doubt(message, "write `when = \"same-transaction\"`");
            }
            if sql.transaction == SinkTransaction::None && sql.effect.len() > 1 {
                let message = format!("the steps of `{name}` are committed one by one");
                doubt(message, "leave `transaction = \"none\"` out");
            }
        }
        SinkKind::Api { .. } | SinkKind::TwoPhase => {}
    }
    found
}

fn dual_write(service: &ServiceSpec) -> Option<Doubt> {
    let name = &service.name;
    let what = match service.announce {
        Announce::Outbox(_) => return None,
        Announce::DatabaseFirst => "loses an event",
        Announce::LogFirst | Announce::InsideTransaction => "announces what did not happen",
    };
    let message = format!("`{name}` writes to its database and to the log: a crash between {what}");
    Some((message, "write `announce = \"outbox\"`, and a `[relays.NAME]`".to_owned()))
}

/// An outbox that nobody reads.
fn unpublished(service: &ServiceSpec, relays: &[RelaySpec]) -> Option<Doubt> {
    let Announce::Outbox(_) = service.announce else { return None };
    let publishes =
        |relay: &RelaySpec| relay.database == service.database && relay.to == service.to;
    if relays.iter().any(publishes) {
        return None;
    }
    let name = &service.name;
    let message = format!("`{name}` writes to an outbox, and no relay publishes it in its topic");
    Some((message, format!("declare a `[relays.NAME]` with `database` and `to` of `{name}`")))
}

/// A relay that believes in an event before the log has it.
fn ahead_of_its_events(relay: &RelaySpec) -> Option<Doubt> {
    let marks = matches!(&relay.kind, RelayKind::Poll { mark: Some(mark), .. } if mark.before_ack);
    let (what, key) = match (marks, relay.stores_before_ack) {
        (true, _) => ("marks a row", "mark-when"),
        (false, true) => ("stores its position", "stores-before-ack"),
        (false, false) => return None,
    };
    let name = &relay.name;
    let message = format!(
        "`{name}` {what} before the log has acknowledged the event: one that is lost is never sent"
    );
    Some((message, format!("leave `{key}` out of `[relays.{name}]`")))
}

/// Numbers are drawn when a transaction begins, and rows appear when it commits.
fn gaps(relay: &RelaySpec, services: &[ServiceSpec]) -> Option<Doubt> {
    let RelayKind::Poll { mark: None, .. } = relay.kind else { return None };
    let writers = services.iter().filter(|service| service.database == relay.database);
    let writers: u32 = writers.map(|service| u32::from(service.instances)).sum();
    if writers < 2 || relay.position == PositionStore::None {
        return None;
    }
    let name = &relay.name;
    let message = format!(
        "`{name}` reads by a cursor what {writers} writers commit in another order than they number \
         it: a row that commits late is skipped"
    );
    Some((message, "mark rows, or capture changes: `capture = \"outbox\"`".to_owned()))
}
