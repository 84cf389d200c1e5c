//! Producers and consumers.

use std::path::Path;

use oncesim_kafka::config::OffsetResetStrategy;
use oncesim_semantics::{Claim, Guarantee};
use oncesim_types::Duration;

use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::id;
use crate::kafka;
use crate::names::{Names, RESERVED};
use crate::node::Entry;
use crate::property::{Inlined, Properties};
use crate::scenario::{
    CommitStrategy, ConsumerGroupSpec, ProducerSpec, RestartStrategy, TopicSpec,
};
use crate::section::Section;

/// When a consumer commits, as scenarios name it.
pub(crate) const COMMITS: &[(&str, CommitStrategy)] = &[
    ("auto", CommitStrategy::Auto),
    ("auto-async", CommitStrategy::AutoAsyncProcessing),
    ("before-processing", CommitStrategy::BeforeProcessing),
    ("after-processing", CommitStrategy::AfterProcessing),
    ("async-after-processing", CommitStrategy::AsyncAfterProcessing),
    ("per-record", CommitStrategy::PerRecord),
];

/// What a producer application does after a restart, as scenarios name it.
pub(crate) const RESTARTS: &[(&str, RestartStrategy)] = &[
    ("continue", RestartStrategy::Continue),
    ("resend-unacknowledged", RestartStrategy::ResendUnacknowledged),
];

/// What reading an application needs besides its table.
pub(super) struct Reading<'r> {
    pub(super) base_dir: Option<&'r Path>,
    pub(super) inlined: &'r mut Vec<Inlined>,
}

/// An application whose references are not resolved yet.
pub(super) struct Draft<'t> {
    name: String,
    instances: u16,
    section: Section<'t>,
    properties: Properties,
    group: String,
}

/// First pass: names, instances, groups and properties.
pub(super) fn drafts<'t>(
    top: &mut Section<'t>,
    names: &mut Names,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> (Vec<Draft<'t>>, Vec<Draft<'t>>) {
    let mut taken: Vec<(String, Place)> = Vec::new();
    let producers = side(top, "producers", names, &mut taken, reading, out);
    let consumers = side(top, "consumers", names, &mut taken, reading, out);
    if !top.has("producers") {
        out.push(
            Diagnostic::error(id::MISSING_KEY, "nobody produces: the scenario has no producers")
                .at(top.place)
                .help("add `[producers.shop]` with `to = \"orders\"`"),
        );
    }
    names.producers = producers.iter().map(|d| (d.name.clone(), d.instances)).collect();
    names.consumers = consumers.iter().map(|d| (d.name.clone(), d.instances)).collect();
    names.groups = consumers.iter().map(|d| d.group.clone()).collect();
    names.groups.sort();
    names.groups.dedup();
    (producers, consumers)
}

fn side<'t>(
    top: &mut Section<'t>,
    key: &'static str,
    names: &Names,
    taken: &mut Vec<(String, Place)>,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Vec<Draft<'t>> {
    let Some(entry) = top.get(key) else { return Vec::new() };
    let Some(section) = Section::of(entry, &format!("[{key}]"), out) else { return Vec::new() };
    let mut drafts = Vec::new();
    for entry in section.entries() {
        let Some(mut section) = Section::of(entry, &format!("[{key}.{}]", entry.key), out) else {
            continue;
        };
        let instances = section.integer("instances", (1, 1_000), out).unwrap_or(1);
        let instances = u16::try_from(instances).expect("checked above");
        name(entry, instances, names, taken, out);
        let mut properties = Properties::read(&mut section, reading.base_dir, out);
        reading.inlined.extend(properties.inlined(key, &entry.key));
        let group = match key {
            "consumers" => group(&mut section, &mut properties, &entry.key, out),
            _ => String::new(),
        };
        drafts.push(Draft { name: entry.key.clone(), instances, section, properties, group });
    }
    drafts.sort_by(|a, b| a.name.cmp(&b.name));
    drafts
}

fn name(
    entry: &Entry,
    instances: u16,
    names: &Names,
    taken: &mut Vec<(String, Place)>,
    out: &mut Diagnostics,
) {
    let name = entry.key.as_str();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let broker = name.strip_prefix('b').is_some_and(|rest| rest.parse::<u16>().is_ok());
    let message = if RESERVED.contains(&name) || (broker && names.brokers > 0) {
        format!("`{name}` is the name of another actor")
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(legal) {
        format!("`{name}` cannot be a name: a letter, then letters, digits, `-` and `_` can")
    } else {
        String::new()
    };
    if !message.is_empty() {
        out.push(Diagnostic::error(id::BAD_NAME, message).at(entry.key_place));
    }
    let mut own = vec![name.to_owned()];
    if instances > 1 {
        own.extend((0..instances).map(|n| format!("{name}-{n}")));
    }
    for one in own {
        match taken.iter().find(|(other, _)| *other == one) {
            Some((_, place)) => out.push(
                Diagnostic::error(id::DUPLICATE, format!("two actors are called `{one}`"))
                    .at(entry.key_place)
                    .also(*place, "first here"),
            ),
            None => taken.push((one, entry.key_place)),
        }
    }
}

/// The group: `group`, else `config.group.id`, else the consumer's name.
fn group(
    section: &mut Section<'_>,
    properties: &mut Properties,
    name: &str,
    out: &mut Diagnostics,
) -> String {
    let key = section.text("group", out);
    let property_place = properties.key_place("group.id");
    let property = properties.take("group.id");
    match (key, property) {
        (Some((group, place)), Some((id_given, _))) if group != id_given => {
            out.push(
                Diagnostic::error(
                    id::CONFLICT,
                    format!("the group is `{group}` here and `{id_given}` in `group.id`"),
                )
                .at(property_place.unwrap_or_default())
                .also(place, "the group")
                .help("keep `group`, delete `group.id`"),
            );
            group.to_owned()
        }
        (Some((group, _)), _) => group.to_owned(),
        (None, Some((id_given, _))) => id_given,
        (None, None) => name.to_owned(),
    }
}

/// Second pass: everything that refers to something else.
pub(super) fn build(
    (producers, consumers): (Vec<Draft<'_>>, Vec<Draft<'_>>),
    names: &Names,
    out: &mut Diagnostics,
) -> (Vec<ProducerSpec>, Vec<ConsumerGroupSpec>) {
    let producers = producers.into_iter().filter_map(|draft| producer(draft, names, out)).collect();
    let consumers = consumers.into_iter().filter_map(|draft| consumer(draft, names, out)).collect();
    (producers, consumers)
}

fn producer(draft: Draft<'_>, names: &Names, out: &mut Diagnostics) -> Option<ProducerSpec> {
    let Draft { name, instances, mut section, mut properties, .. } = draft;
    section.not_modelled("transactional", "transactions are", out);
    let to = section.required_text("to", "\"orders\"", out);
    let to = to.and_then(|(topic, place)| names.topic(topic, place, out));
    let most = i64::from(u32::MAX);
    let records = section.integer("records", (0, most), out).unwrap_or(100);
    let keys = section.integer("keys", (0, most), out).unwrap_or(10);
    let size = section.integer("record-size", (1, 100_000_000), out).unwrap_or(100);
    let interval = section.duration("interval", out).unwrap_or(Duration::from_millis(1));
    let resend = section.boolean("resend-on-error", out).unwrap_or(false);
    let synchronous = section.boolean("synchronous", out).unwrap_or(false);
    let restart = section.word("on-restart", RESTARTS, out).unwrap_or(RestartStrategy::Continue);
    section.finish(out);
    if let Some(place) = properties.key_place("transactional.id") {
        properties.take("transactional.id");
        out.push(crate::section::not_modelled("transactions (`transactional.id`) are").at(place));
    }
    Some(ProducerSpec {
        name,
        instances,
        to: to?,
        records: records.unsigned_abs(),
        keys: u32::try_from(keys).expect("checked above"),
        interval,
        record_size: u32::try_from(size).expect("checked above"),
        resend_on_error: resend,
        synchronous,
        restart,
        transactions: None,
        config: kafka::producer(&properties, out),
    })
}

fn consumer(draft: Draft<'_>, names: &Names, out: &mut Diagnostics) -> Option<ConsumerGroupSpec> {
    let Draft { name, instances, mut section, mut properties, group } = draft;
    section.not_modelled("sink", "sinks (external systems) are", out);
    if !section.has("from") {
        section.get("from");
        section.missing("from", "[\"orders\"]", out);
    }
    let mut from = Vec::new();
    for (topic, place) in section.texts("from", out).unwrap_or_default() {
        match names.topic(topic, place, out) {
            Some(id) if from.contains(&id) => out.push(
                Diagnostic::error(id::DUPLICATE, format!("`{topic}` is subscribed to twice"))
                    .at(place),
            ),
            Some(id) => from.push(id),
            None => {}
        }
    }
    let commit = section.word("commit", COMMITS, out).unwrap_or(CommitStrategy::AfterProcessing);
    commit_agrees(commit, &mut properties, out);
    let processing_time =
        section.duration("processing-time", out).unwrap_or(Duration::from_micros(100));
    let instance_id = properties.take("group.instance.id").is_some();
    let static_membership = section.boolean("static-membership", out).unwrap_or(instance_id);
    section.finish(out);
    let mut config = kafka::consumer(&properties, out);
    let group = names.groups.iter().position(|known| *known == group);
    let group =
        oncesim_types::GroupId(u16::try_from(group?).expect("groups are counted in 16 bits"));
    config.group = Some(group);
    Some(ConsumerGroupSpec {
        name,
        instances,
        group,
        from,
        commit,
        processing_time,
        static_membership,
        config,
    })
}

/// An application that commits for itself turns auto commit off, as every manual tells it to; one
/// that relies on auto commit has it on.
fn commit_agrees(commit: CommitStrategy, properties: &mut Properties, out: &mut Diagnostics) {
    let auto = matches!(commit, CommitStrategy::Auto | CommitStrategy::AutoAsyncProcessing);
    let Some((value, place)) = properties.get("enable.auto.commit") else {
        properties.set_default("enable.auto.commit", if auto { "true" } else { "false" });
        return;
    };
    if auto && value == "false" {
        out.push(
            Diagnostic::error(id::CONFLICT, "`commit = \"auto\"` with `enable.auto.commit=false`")
                .at(place)
                .label("nothing would ever be committed")
                .help("delete this line, or choose `commit = \"after-processing\"`"),
        );
    } else if !auto && value == "true" {
        out.push(
            Diagnostic::warning(
                id::PROPERTY_SURPRISE,
                "the application commits for itself, and auto commit runs beside it",
            )
            .at(place)
            .help("delete this line, or choose `commit = \"auto\"`"),
        );
    }
}

/// What is legal and probably not meant.
pub(super) fn doubts(
    producers: &[ProducerSpec],
    consumers: &[ConsumerGroupSpec],
    topics: &[TopicSpec],
    claim: Option<&Claim>,
    names: &Names,
    out: &mut Diagnostics,
) {
    let _ = (producers, topics);
    let processing = claim.and_then(|claim| claim.processing);
    if processing.is_some() && consumers.is_empty() {
        out.push(
            Diagnostic::warning(
                id::DOUBTFUL_CLAIM,
                "the claim is about processing, and nothing consumes",
            )
            .help("add `[consumers.mailer]` with `from = [\"orders\"]`, or claim `log` only"),
        );
    }
    let never_lost = !matches!(processing, None | Some(Guarantee::AtMostOnce));
    for consumer in consumers {
        if never_lost && consumer.config.auto_offset_reset == OffsetResetStrategy::Latest {
            let name = &consumer.name;
            let group = &names.groups[usize::from(consumer.group.0)];
            out.push(
                Diagnostic::warning(
                    id::DOUBTFUL_CLAIM,
                    format!(
                        "the group `{group}` starts at the log end (auto.offset.reset=latest) and \
                         misses what is sent before it has joined"
                    ),
                )
                .help(format!(
                    "add `config.auto.offset.reset = \"earliest\"` to `[consumers.{name}]`"
                )),
            );
        }
    }
}
