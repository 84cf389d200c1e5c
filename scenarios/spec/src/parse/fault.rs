//! The fault language: `[faults]` draws, `[[fault]]` scripts.

use oncesim_kafka::message::ApiKey;
use oncesim_types::{Duration, Instant, Operation};

use crate::diagnostic::{Diagnostic, Diagnostics, Place, nearest};
use crate::fault::{
    Coordinated, DiskFault, FaultAction, FaultKind, MessageApi, MessagePattern, PlannedFault,
    SwarmSpec, SystemTrouble, Trigger,
};
use crate::id;
use crate::names::{Names, Reach};
use crate::node::{Entry, Node, Value};
use crate::section::{Section, not_modelled, wrong_type};
use crate::unit;

use super::vary::{self, Varied};

/// The keys of a `[[fault]]`: exactly one of them.
pub(crate) const KINDS: &[&str] = &[
    "drop",
    "delay",
    "duplicate",
    "crash",
    "power-failure",
    "pause",
    "application-pause",
    "partition",
    "clog",
    "leader-change",
    "unclean-election",
    "coordinator-move",
    "rebalance",
    "controller-failover",
    "clock-jump",
    "clock-skew",
    "disk-full",
    "lost-flush",
    "sink-errors",
    "deadlock",
    "slow-sink",
    "unknown-commit",
];

/// Any API.
pub(crate) const API_ANY: &str = "any";

/// APIs of Kafka that this version does not speak.
const API_LATER: &[&str] =
    &["DeleteRecords", "ConsumerGroupHeartbeat", "ShareFetch", "ShareAcknowledge"];

/// `[faults]`: what is drawn, and whether the scripted faults are a walk.
#[derive(Default)]
pub(super) struct Drawn {
    pub(super) swarm: Option<SwarmSpec>,
    pub(super) walk: bool,
    pub(super) vary: Vec<Varied>,
}

pub(super) fn faults(top: &mut Section<'_>, names: &Names, out: &mut Diagnostics) -> Drawn {
    let Some(mut section) = top.get("faults").and_then(|e| Section::of(e, "[faults]", out)) else {
        return Drawn::default();
    };
    let swarm = section.get("swarm").and_then(|entry| swarm(entry, names, out));
    let walk = section.boolean("walk", out).unwrap_or(false);
    if walk && !top.has("fault") {
        out.push(
            Diagnostic::error(id::MISSING_KEY, "a walk goes along `[[fault]]`s, and there is none")
                .at(section.place)
                .help("add a `[[fault]]` for each step of the walk, or leave `walk` out"),
        );
    }
    let vary = section.get("vary").map_or_else(Vec::new, |entry| vary::read(entry, out));
    section.finish(out);
    Drawn { swarm, walk, vary }
}

fn swarm(entry: &Entry, names: &Names, out: &mut Diagnostics) -> Option<SwarmSpec> {
    let mut section = Section::of(entry, "`swarm`", out)?;
    let words: Vec<_> = FaultKind::ALL.iter().map(|kind| (kind.name(), *kind)).collect();
    let mut kinds = Vec::new();
    let given = section.texts("kinds", out);
    if given.as_ref().is_none_or(Vec::is_empty) {
        section.missing("kinds", "[\"crash\", \"ack-loss\"]", out);
    }
    for (text, place) in given.unwrap_or_default() {
        match crate::section::word(text, place, "kinds", &words, out) {
            Some(kind) if kinds.contains(&kind) => out.push(
                Diagnostic::error(id::DUPLICATE, format!("`{text}` is named twice")).at(place),
            ),
            Some(kind) => kinds.push(kind),
            None => {}
        }
    }
    let count = section.integer("count", (1, 10_000), out).unwrap_or(5);
    let mut targets = Vec::new();
    for (text, place) in section.texts("targets", out).unwrap_or_default() {
        targets.extend(names.actor(text, place, Reach::Many, out));
    }
    let until = section.duration("until", out);
    section.finish(out);
    let count = u32::try_from(count).expect("checked above");
    Some(SwarmSpec { kinds, count, targets, until })
}

/// All `[[fault]]`.
pub(super) fn scripted(
    top: &mut Section<'_>,
    names: &Names,
    out: &mut Diagnostics,
) -> Vec<PlannedFault> {
    let Some(entry) = top.get("fault") else { return Vec::new() };
    let Value::Array(nodes) = &entry.node.value else {
        out.push(
            Diagnostic::error(id::WRONG_TYPE, "`fault` is an array of tables")
                .at(entry.key_place)
                .help("write `[[fault]]` with two brackets, once for each fault"),
        );
        return Vec::new();
    };
    nodes.iter().filter_map(|node| fault(node, names, out)).collect()
}

fn fault(node: &Node, names: &Names, out: &mut Diagnostics) -> Option<PlannedFault> {
    let Value::Table(table) = &node.value else {
        wrong_type(node, "fault", "a table", out);
        return None;
    };
    let mut known = table.entries.iter().filter(|entry| KINDS.contains(&entry.key.as_str()));
    let (first, second) = (known.next(), known.next());
    for entry in table.entries.iter().filter(|entry| !KINDS.contains(&entry.key.as_str())) {
        let message = format!("there is no fault `{}`", entry.key);
        let item = Diagnostic::error(id::FAULT_KIND, message).at(entry.key_place);
        out.push(match nearest(&entry.key, KINDS.iter().copied()) {
            Some(near) => item.help(format!("did you mean `{near}`?")),
            None => item.help(format!("one of: {}", KINDS.join(", "))),
        });
    }
    if let (Some(first), Some(second)) = (first, second) {
        out.push(
            Diagnostic::error(id::FAULT_KIND, "a `[[fault]]` is one fault")
                .at(second.key_place)
                .also(first.key_place, "the first")
                .help("begin another `[[fault]]` for the second"),
        );
    }
    if table.entries.is_empty() {
        out.push(
            Diagnostic::error(id::FAULT_KIND, "an empty `[[fault]]`")
                .at(node.place)
                .help("for example `crash = { actor = \"b1\", at = \"2s\" }`"),
        );
    }
    kind(first?, names, out)
}

fn kind(entry: &Entry, names: &Names, out: &mut Diagnostics) -> Option<PlannedFault> {
    let mut reader =
        Reader { section: Section::of(entry, &format!("`{}`", entry.key), out)?, names, out };
    let fault = match entry.key.as_str() {
        "drop" => reader.message().map(|trigger| (trigger, FaultAction::Drop)),
        "delay" => {
            let (trigger, by) = (reader.message(), reader.required_duration("by"));
            trigger.zip(by).map(|(trigger, by)| (trigger, FaultAction::Delay(by)))
        }
        "duplicate" => {
            let trigger = reader.message();
            let by = reader.section.duration("by", reader.out);
            let by = by.unwrap_or(Duration::from_millis(1));
            trigger.map(|trigger| (trigger, FaultAction::Duplicate(by)))
        }
        _ => {
            let trigger = reader.trigger();
            let action = reader.action(entry.key.as_str());
            trigger.zip(action)
        }
    };
    let Reader { section, out, .. } = reader;
    section.finish(out);
    fault.map(|(trigger, action)| PlannedFault { trigger, action })
}

/// Reads one fault.
struct Reader<'t, 'o> {
    section: Section<'t>,
    names: &'o Names,
    out: &'o mut Diagnostics,
}

impl Reader<'_, '_> {
    fn action(&mut self, kind: &str) -> Option<FaultAction> {
        Some(match kind {
            "crash" | "power-failure" => FaultAction::Crash {
                actor: self.actor("actor", "\"b1\"")?,
                power: kind == "power-failure",
                down: self.section.duration("for", self.out),
            },
            "pause" | "application-pause" => {
                let (actor, duration) =
                    (self.actor("actor", "\"b1\""), self.required_duration("for"));
                FaultAction::Pause {
                    actor: actor?,
                    application_only: kind == "application-pause",
                    duration: duration?,
                }
            }
            "partition" => self.partition()?,
            "clog" => {
                let ends = (self.actor("from", "\"b1\""), self.actor("to", "\"b2\""));
                let times = (self.required_duration("by"), self.required_duration("for"));
                FaultAction::Clog {
                    from: ends.0?,
                    to: ends.1?,
                    extra: times.0?,
                    duration: times.1?,
                }
            }
            "leader-change" => {
                let partition = self.partition_name();
                let to = match self.section.text("to", self.out) {
                    Some((text, place)) => {
                        Some(self.names.actor(text, place, Reach::One, self.out)?)
                    }
                    None => None,
                };
                FaultAction::LeaderChange { partition: partition?, to }
            }
            "unclean-election" => {
                FaultAction::UncleanElection { partition: self.partition_name()? }
            }
            "coordinator-move" => FaultAction::CoordinatorMove { of: self.coordinated()? },
            "rebalance" => FaultAction::Rebalance { actor: self.consumer()? },
            "controller-failover" => {
                FaultAction::ControllerFailover { duration: self.required_duration("for")? }
            }
            "clock-jump" => {
                let (actor, by) = (self.actor("actor", "\"b1\""), self.signed("by"));
                FaultAction::ClockJump { actor: actor?, by_ns: by? }
            }
            "clock-skew" => {
                let (actor, ppm) = (self.actor("actor", "\"b1\""), self.ppm());
                let duration = self.required_duration("for");
                FaultAction::ClockSkew { actor: actor?, ppm: ppm?, duration: duration? }
            }
            "disk-full" | "lost-flush" => {
                let fault =
                    if kind == "disk-full" { DiskFault::Full } else { DiskFault::LostFlush };
                let (actor, duration) =
                    (self.actor("actor", "\"b1\""), self.required_duration("for"));
                FaultAction::Disk { actor: actor?, fault, duration: duration? }
            }
            "sink-errors" => self.system(SystemTrouble::Errors)?,
            "deadlock" => self.system(SystemTrouble::Deadlocks)?,
            "slow-sink" => {
                let extra = self.required_duration("extra");
                let fault = self.system(SystemTrouble::Slow(extra.unwrap_or(Duration::ZERO)));
                extra.and(fault)?
            }
            "unknown-commit" => self.system(SystemTrouble::UnknownCommits)?,
            _ => unreachable!("every kind of KINDS is read above"),
        })
    }

    fn actor(&mut self, key: &'static str, example: &str) -> Option<String> {
        let (text, place) = self.section.required_text(key, example, self.out)?;
        self.names.actor(text, place, Reach::One, self.out)
    }

    /// Of a system outside of Kafka.
    fn system(&mut self, trouble: SystemTrouble) -> Option<FaultAction> {
        let actor = self.section.required_text("actor", "\"ledger\"", self.out);
        let duration = self.required_duration("for");
        let (actor, place) = actor?;
        let actor = self.names.system(actor, place, self.out)?;
        Some(FaultAction::System { actor, trouble, duration: duration? })
    }

    /// `group` or `transaction`.
    fn coordinated(&mut self) -> Option<Coordinated> {
        let Some(transaction) = self.section.get("transaction") else {
            let (group, place) = self.section.required_text("group", "\"mailer\"", self.out)?;
            self.names.group(group, place, self.out)?;
            return Some(Coordinated::Group(group.to_owned()));
        };
        if let Some(group) = self.section.get("group") {
            let message = "a coordinator is that of a `group` or of a `transaction`";
            let item = Diagnostic::error(id::CONFLICT, message).at(transaction.key_place);
            self.out.push(item.also(group.key_place, "and here").help("write one fault for each"));
        }
        let (text, place) = self.section.text("transaction", self.out)?;
        let id = self.names.transactional_id(text, place, self.out)?;
        Some(Coordinated::Transaction(id))
    }

    fn consumer(&mut self) -> Option<String> {
        let place = self.section.get("actor")?.node.place;
        let actor = self.actor("actor", "\"mailer-0\"")?;
        let is_consumer = |(name, instances): &(String, u16)| {
            *name == actor || (0..*instances).any(|n| format!("{name}-{n}") == actor)
        };
        let mut consumers = self.names.consumers.iter().chain(&self.names.processors);
        if !consumers.any(is_consumer) {
            let message = format!("`{actor}` is not a consumer, and only consumers rebalance");
            self.out.push(Diagnostic::error(id::UNKNOWN_ACTOR, message).at(place));
            return None;
        }
        Some(actor)
    }

    fn partition_name(&mut self) -> Option<String> {
        let (text, place) = self.section.required_text("partition", "\"orders-0\"", self.out)?;
        self.names.partition(text, place, self.out)
    }

    fn partition(&mut self) -> Option<FaultAction> {
        if !self.section.has("from") {
            self.section.get("from");
            self.section.missing("from", "[\"b1\"]", self.out);
        }
        let from = self.actors("from");
        let to = self.actors("to");
        let one_way = self.section.boolean("one-way", self.out).unwrap_or(false);
        let duration = self.required_duration("for");
        if from.is_empty() {
            return None;
        }
        Some(FaultAction::Partition { from, to, one_way, duration: duration? })
    }

    fn actors(&mut self, key: &'static str) -> Vec<String> {
        let texts = self.section.texts(key, self.out).unwrap_or_default();
        let mut actors = Vec::new();
        for (text, place) in texts {
            actors.extend(self.names.actor(text, place, Reach::Many, self.out));
        }
        actors
    }

    fn required_duration(&mut self, key: &'static str) -> Option<Duration> {
        if !self.section.has(key) {
            self.section.get(key);
            self.section.missing(key, "\"5s\"", self.out);
        }
        self.section.duration(key, self.out)
    }

    fn signed(&mut self, key: &'static str) -> Option<i64> {
        let (text, place) = self.section.required_text(key, "\"-5s\"", self.out)?;
        match unit::signed_duration(text) {
            Ok(ns) => Some(ns),
            Err((message, help)) => {
                let message = format!("`{key}`: {message}");
                self.out.push(Diagnostic::error(id::BAD_VALUE, message).at(place).help(help));
                None
            }
        }
    }

    fn ppm(&mut self) -> Option<i64> {
        if !self.section.has("ppm") {
            self.section.get("ppm");
            self.section.missing("ppm", "500", self.out);
        }
        self.section.integer("ppm", (-1_000_000, 1_000_000), self.out)
    }

    /// `at = "2s"` or `after = { .. }`.
    fn trigger(&mut self) -> Option<Trigger> {
        let (at, after) = (self.section.get("at"), self.section.get("after"));
        match (at, after) {
            (Some(_), None) => {
                let at = self.section.duration("at", self.out)?;
                Some(Trigger::At(Instant(at.as_nanos())))
            }
            (None, Some(after)) => self.after(after),
            (None, None) => {
                self.out.push(
                    Diagnostic::error(
                        id::FAULT_TRIGGER,
                        format!("{} does not say when", self.section.name),
                    )
                    .at(self.section.place)
                    .help("add `at = \"2s\"`, or `after = { sent = \"Produce\", nth = 3 }`"),
                );
                None
            }
            (Some(at), Some(after)) => {
                self.out.push(
                    Diagnostic::error(
                        id::FAULT_TRIGGER,
                        "a fault strikes `at` a time or `after` a message",
                    )
                    .at(after.key_place)
                    .also(at.key_place, "and here")
                    .help("`after = { .., delay = \"10ms\" }` waits after the message"),
                );
                None
            }
        }
    }

    fn after(&mut self, entry: &Entry) -> Option<Trigger> {
        let mut section = Section::of(entry, "`after`", self.out)?;
        let (sent, delivered) = (section.get("sent"), section.get("delivered"));
        let delay = section.duration("delay", self.out).unwrap_or(Duration::ZERO);
        let nth = nth(&mut section, self.out);
        let which = match (sent, delivered) {
            (Some(which), None) | (None, Some(which)) => which,
            _ => {
                self.out.push(
                    Diagnostic::error(id::FAULT_TRIGGER, "`after` names one message")
                        .at(entry.key_place)
                        .help("write `sent = \"Produce\"` or `delivered = \"Produce\"`"),
                );
                return None;
            }
        };
        let pattern = after_message(which, self.out);
        let api = pattern.as_ref().and_then(|pattern| pattern.api);
        let ends = ends(&mut section, api, self.names, self.out);
        section.finish(self.out);
        let (from, to) = ends?;
        let pattern = MessagePattern { from, to, ..pattern? };
        let nth = nth?;
        Some(match sent {
            Some(_) => Trigger::Sent { pattern, nth, delay },
            None => Trigger::Delivered { pattern, nth, delay },
        })
    }

    /// The keys of a fault of one message.
    fn message(&mut self) -> Option<Trigger> {
        let pattern = message(&mut self.section, self.out);
        let nth = nth(&mut self.section, self.out);
        let api = pattern.as_ref().and_then(|pattern| pattern.api);
        let (from, to) = ends(&mut self.section, api, self.names, self.out)?;
        Some(Trigger::OnMessage { pattern: MessagePattern { from, to, ..pattern? }, nth: nth? })
    }
}

/// `sent = "Produce"` is a request; `sent = { response = "Produce" }` says more.
fn after_message(entry: &Entry, out: &mut Diagnostics) -> Option<MessagePattern> {
    match &entry.node.value {
        Value::String(api) => {
            let api = self::api(api, entry.node.place, out)?;
            Some(MessagePattern { response: Some(false), api, ..MessagePattern::default() })
        }
        Value::Table(table) => {
            let mut section = Section::new(table, format!("`{}`", entry.key), entry.key_place);
            let pattern = message(&mut section, out);
            section.finish(out);
            pattern
        }
        _ => {
            wrong_type(&entry.node, &entry.key, "the name of an API", out);
            None
        }
    }
}

/// Exactly one of `request`, `response`, `message`.
fn message(section: &mut Section<'_>, out: &mut Diagnostics) -> Option<MessagePattern> {
    let keys = [("request", Some(false)), ("response", Some(true)), ("message", None)];
    let mut given = keys.iter().filter_map(|(key, response)| {
        section.get(key)?;
        Some((*key, *response))
    });
    let (first, second) = (given.next(), given.next());
    let Some((key, response)) = first else {
        out.push(
            Diagnostic::error(
                id::MISSING_KEY,
                format!("{} does not say which message", section.name),
            )
            .at(section.place)
            .help("add `response = \"Produce\"` or `request = \"Produce\"`"),
        );
        return None;
    };
    if let Some((second, _)) = second {
        let place = section.get(second).map_or(section.place, |entry| entry.key_place);
        out.push(
            Diagnostic::error(id::CONFLICT, format!("a message is a `{key}` or a `{second}`"))
                .at(place)
                .help("`message = \"Produce\"` matches both"),
        );
    }
    let (text, place) = section.text(key, out)?;
    let api = api(text, place, out)?;
    Some(MessagePattern { response, api, ..MessagePattern::default() })
}

/// `Some(None)` is any API.
#[expect(clippy::option_option, reason = "the outer one is an error that has been reported")]
fn api(text: &str, place: Place, out: &mut Diagnostics) -> Option<Option<MessageApi>> {
    if text == API_ANY {
        return Some(None);
    }
    if let Some(api) = ApiKey::ALL.iter().find(|api| api.name() == text) {
        return Some(Some(MessageApi::Kafka(*api)));
    }
    if let Some(operation) = Operation::ALL.iter().find(|operation| operation.name() == text) {
        return Some(Some(MessageApi::System(*operation)));
    }
    if API_LATER.contains(&text) {
        out.push(not_modelled(&format!("`{text}` is")).at(place));
        return None;
    }
    let names = ApiKey::ALL.iter().map(|api| api.name());
    let names = names.chain(Operation::ALL.iter().map(|operation| operation.name()));
    let item = Diagnostic::error(id::UNKNOWN_API, format!("there is no API `{text}`")).at(place);
    out.push(match nearest(text, names.clone().chain([API_ANY])) {
        Some(near) => item.help(format!("did you mean \"{near}\"?")),
        None => item.help(format!("one of: {}", names.collect::<Vec<_>>().join(", "))),
    });
    None
}

fn nth(section: &mut Section<'_>, out: &mut Diagnostics) -> Option<u32> {
    if section.get("nth").is_none() {
        return Some(1);
    }
    let nth = section.integer("nth", (1, i64::from(u32::MAX)), out)?;
    u32::try_from(nth).ok()
}

type Ends = (Option<String>, Option<String>);

/// `from` and `to`; `None` after an error.
fn ends(
    section: &mut Section<'_>,
    api: Option<MessageApi>,
    names: &Names,
    out: &mut Diagnostics,
) -> Option<Ends> {
    let before = out.len();
    let (from, to) = (section.text("from", out), section.text("to", out));
    let mut end = |this: Option<(&str, Place)>, other: Option<(&str, Place)>| {
        let (text, place) = this?;
        let known = (text == "coordinator").then(|| names.coordinator(api, other.map(|o| o.0)));
        known.flatten().or_else(|| names.actor(text, place, Reach::Many, out))
    };
    let ends = (end(from, to), end(to, from));
    (out.len() == before).then_some(ends)
}
