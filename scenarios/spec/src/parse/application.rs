//! Producers and consumers, and what they share with processors.

use std::path::Path;

use oncesim_kafka::config::BrokerConfig;
use oncesim_semantics::Claim;
use oncesim_types::{Duration, Ratio, TopicId};

use super::external::{self, External, Use};
use super::processor;
use super::transaction::{self, IdText};

use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::id;
use crate::kafka;
use crate::names::{Names, RESERVED};
use crate::node::Entry;
use crate::property::{Inlined, Properties};
use crate::scenario::{
    CommitStrategy, ConsumerGroupSpec, ProcessorSpec, ProducerSpec, RestartStrategy,
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
    ("in-sink", CommitStrategy::InSink),
    ("connect", CommitStrategy::Connect { interval: FLUSH_INTERVAL }),
    ("two-phase", CommitStrategy::TwoPhase),
];

/// Kafka Connect's default of `offset.flush.interval.ms`.
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_secs(60);

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
    group_place: Place,
    transactions: Option<transaction::Draft>,
}

/// All applications whose references are not resolved yet.
pub(super) struct Drafts<'t> {
    producers: Vec<Draft<'t>>,
    consumers: Vec<Draft<'t>>,
    processors: Vec<processor::Draft<'t>>,
    external: external::Drafts<'t>,
    /// Where each stands.
    places: Vec<(String, Place)>,
}

/// All applications.
#[derive(Default)]
pub(super) struct Applications {
    pub(super) producers: Vec<ProducerSpec>,
    pub(super) consumers: Vec<ConsumerGroupSpec>,
    pub(super) processors: Vec<ProcessorSpec>,
    pub(super) external: External,
}

/// First pass: names, instances, groups, transactional ids and properties.
pub(super) fn drafts<'t>(
    top: &mut Section<'t>,
    names: &mut Names,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Drafts<'t> {
    let mut taken: Vec<(String, Place)> = Vec::new();
    let mut producers = Vec::new();
    for (entry, mut section, instances) in side(top, "producers", names, &mut taken, out) {
        let mut properties = read_properties(&mut section, "producers", entry, reading, out);
        let transactions = transaction::read(&mut section, &mut properties, &entry.key, names, out);
        let (name, group) = (entry.key.clone(), String::new());
        let group_place = entry.key_place;
        producers.push(Draft {
            name,
            instances,
            section,
            properties,
            group,
            group_place,
            transactions,
        });
    }
    let mut consumers = Vec::new();
    for (entry, mut section, instances) in side(top, "consumers", names, &mut taken, out) {
        let mut properties = read_properties(&mut section, "consumers", entry, reading, out);
        let group_place = section.get("group").map_or(entry.key_place, |entry| entry.node.place);
        let group = group(&mut section, &mut properties, &entry.key, out);
        let (name, transactions) = (entry.key.clone(), None);
        consumers.push(Draft {
            name,
            instances,
            section,
            properties,
            group,
            group_place,
            transactions,
        });
    }
    let mut processors = Vec::new();
    for (entry, section, instances) in side(top, "processors", names, &mut taken, out) {
        processors.push(processor::draft(entry, section, instances, names, reading, out));
    }
    producers.sort_by(|a, b| a.name.cmp(&b.name));
    consumers.sort_by(|a, b| a.name.cmp(&b.name));
    processors.sort_by(|a, b| a.name.cmp(&b.name));
    if !top.has("producers") && !top.has("services") {
        out.push(
            Diagnostic::error(id::MISSING_KEY, "nobody produces: the scenario has no producers")
                .at(top.place)
                .help("add `[producers.shop]` with `to = \"orders\"`"),
        );
    }
    let external = external::drafts(top, names, &mut taken, reading, out);
    let mut drafts = Drafts { producers, consumers, processors, external, places: taken };
    groups_differ(&drafts, out);
    let uses = drafts.uses(out);
    drafts.external.used(&uses, names, out);
    drafts.number(names);
    drafts
}

impl Drafts<'_> {
    /// Transactional ids that are legal in Kafka, and rarely meant.
    pub(super) fn doubts(&self, out: &mut Diagnostics) {
        for draft in &self.producers {
            if let Some(transactions) = &draft.transactions {
                transactions.id.doubts(draft.instances, out);
            }
        }
        for draft in &self.processors {
            if let Some(id) = &draft.id {
                id.doubts(draft.instances, out);
            }
        }
        for draft in &self.external.relays {
            if let Some(id) = &draft.id {
                id.doubts(draft.instances, out);
            }
        }
    }

    /// Who uses which sink.
    fn uses(&mut self, out: &mut Diagnostics) -> Vec<Use> {
        let mut uses = Vec::new();
        let consumers = self.consumers.iter_mut();
        let consumers = consumers.map(|draft| (&draft.name, &draft.group, &mut draft.section));
        let processors = self.processors.iter_mut();
        let processors = processors.map(|draft| (&draft.name, &draft.group, &mut draft.section));
        for (name, group, section) in consumers.chain(processors) {
            let Some((sink, place)) = section.text("sink", out) else { continue };
            let (application, group) = (name.clone(), group.clone());
            uses.push(Use { sink: sink.to_owned(), place, application, group });
        }
        uses
    }

    /// Gives groups and transactional ids their numbers.
    fn number(&self, names: &mut Names) {
        let count = |drafts: &[Draft<'_>]| -> Vec<(String, u16)> {
            drafts.iter().map(|draft| (draft.name.clone(), draft.instances)).collect()
        };
        names.producers = count(&self.producers);
        names.consumers = count(&self.consumers);
        names.processors = self.processors.iter().map(|d| (d.name.clone(), d.instances)).collect();
        let consumers = self.consumers.iter().map(|draft| (&draft.name, &draft.group));
        let processors = self.processors.iter().map(|draft| (&draft.name, &draft.group));
        let members = consumers.chain(processors);
        names.members = members.map(|(name, group)| (name.clone(), group.clone())).collect();
        names.groups = names.members.iter().map(|(_, group)| group.clone()).collect();
        names.groups.sort();
        names.groups.dedup();
        let producers = self.producers.iter().filter_map(|draft| {
            let id = &draft.transactions.as_ref()?.id;
            Some((&draft.name, draft.instances, id, [].as_slice()))
        });
        let processors = self.processors.iter().filter_map(|draft| {
            Some((&draft.name, draft.instances, draft.id.as_ref()?, draft.from.as_slice()))
        });
        let relays = self.external.relays.iter().filter_map(|draft| {
            Some((&draft.name, draft.instances, draft.id.as_ref()?, [].as_slice()))
        });
        for (name, instances, id, from) in producers.chain(processors).chain(relays) {
            number_ids((name, instances), id, from, names);
        }
    }
}

fn number_ids((name, instances): (&str, u16), text: &IdText, from: &[TopicId], names: &mut Names) {
    let instance = |n: u16| if instances == 1 { name.to_owned() } else { format!("{name}-{n}") };
    let ids = text.ids(instances, from, names);
    if text.is_per_partition() {
        let partitions = names.partitions_of(from);
        for n in 0..instances {
            let name = instance(n);
            let actors = partitions.iter().map(|it| format!("{name}-producer-{it}"));
            names.transactional.extend(actors.zip(ids.iter().cloned()));
        }
    } else {
        names.transactional.extend((0..instances).map(instance).zip(ids.iter().cloned()));
    }
    for id in ids {
        if !names.transactional_ids.contains(&id) {
            names.transactional_ids.push(id);
        }
    }
}

/// The members of a processor's group all do the same, or nobody could tell what becomes of a
/// record.
fn groups_differ(drafts: &Drafts<'_>, out: &mut Diagnostics) {
    let consumers = drafts.consumers.iter().map(|d| (&d.name, &d.group, d.group_place));
    let mut known: Vec<_> = consumers.collect();
    for draft in &drafts.processors {
        if let Some((name, group, place)) = known.iter().find(|(_, g, _)| **g == draft.group) {
            out.push(
                Diagnostic::error(
                    id::CONFLICT,
                    format!("`{}` and `{name}` share the group `{group}`", draft.name),
                )
                .at(draft.group_place)
                .also(*place, "the other")
                .help("a processor has a group of its own"),
            );
        }
        known.push((&draft.name, &draft.group, draft.group_place));
    }
}

pub(super) fn read_properties<'t>(
    section: &mut Section<'t>,
    side: &'static str,
    entry: &Entry,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Properties {
    let properties = Properties::read(section, reading.base_dir, out);
    reading.inlined.extend(properties.inlined(side, &entry.key));
    properties
}

/// The tables of one kind of application, with their instances.
pub(super) fn side<'t>(
    top: &mut Section<'t>,
    key: &'static str,
    names: &Names,
    taken: &mut Vec<(String, Place)>,
    out: &mut Diagnostics,
) -> Vec<(&'t Entry, Section<'t>, u16)> {
    let mut found = Vec::new();
    for (entry, mut section) in tables(top, key, out) {
        let instances = section.integer("instances", (1, 1_000), out).unwrap_or(1);
        let instances = u16::try_from(instances).expect("checked above");
        name(entry, (key, instances), names, taken, out);
        found.push((entry, section, instances));
    }
    found
}

/// The tables of one kind.
pub(super) fn tables<'t>(
    top: &mut Section<'t>,
    key: &'static str,
    out: &mut Diagnostics,
) -> Vec<(&'t Entry, Section<'t>)> {
    let Some(entry) = top.get(key) else { return Vec::new() };
    let Some(section) = Section::of(entry, &format!("[{key}]"), out) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in section.entries() {
        let section = Section::of(entry, &format!("[{key}.{}]", entry.key), out);
        found.extend(section.map(|section| (entry, section)));
    }
    found
}

/// Whether it can be a name here.
pub(super) fn legal_name(entry: &Entry, names: &Names, out: &mut Diagnostics) {
    let name = entry.key.as_str();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let broker = name.strip_prefix('b').is_some_and(|rest| rest.parse::<u16>().is_ok());
    let message = if RESERVED.contains(&name) || (broker && names.brokers > 0) {
        format!("`{name}` is the name of another actor")
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(legal) {
        format!("`{name}` cannot be a name: a letter, then letters, digits, `-` and `_` can")
    } else {
        return;
    };
    out.push(Diagnostic::error(id::BAD_NAME, message).at(entry.key_place));
}

/// Takes a name, with those of its instances and of their companions.
pub(super) fn name(
    entry: &Entry,
    (key, instances): (&str, u16),
    names: &Names,
    taken: &mut Vec<(String, Place)>,
    out: &mut Diagnostics,
) {
    let name = entry.key.as_str();
    legal_name(entry, names, out);
    let mut own = vec![name.to_owned()];
    if instances > 1 {
        own.extend((0..instances).map(|n| format!("{name}-{n}")));
    }
    let companion = match key {
        "processors" => Some("producer"),
        "relays" if external::has_topic_position(entry) => Some("restore"),
        _ => None,
    };
    if let Some(companion) = companion {
        let companions: Vec<_> = own.iter().map(|one| format!("{one}-{companion}")).collect();
        own.extend(companions);
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
pub(super) fn group(
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
    drafts: Drafts<'_>,
    brokers: &BrokerConfig,
    names: &Names,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Applications {
    let Drafts { producers, consumers, processors, external, places } = drafts;
    let external = external::build(external, brokers, names, reading, out);
    let mut applications = Applications { external, ..Applications::default() };
    for draft in producers {
        applications.producers.extend(producer(draft, brokers, names, out));
    }
    for draft in consumers {
        let consumer = consumer(draft, &applications.external, names, out);
        applications.consumers.extend(consumer);
    }
    for draft in processors {
        let external = &applications.external;
        let processor = processor::build(draft, brokers, external, names, out);
        applications.processors.extend(processor);
    }
    processor::flow(&applications, &places, names, out);
    external::positions(&applications, &places, names, out);
    applications
}

fn producer(
    draft: Draft<'_>,
    brokers: &BrokerConfig,
    names: &Names,
    out: &mut Diagnostics,
) -> Option<ProducerSpec> {
    let Draft { name, instances, mut section, properties, transactions, .. } = draft;
    let to = section.required_text("to", "\"orders\"", out);
    let to_place = to.map_or(section.place, |(_, place)| place);
    let to = to.and_then(|(topic, place)| names.topic(topic, place, out));
    let most = i64::from(u32::MAX);
    let records = section.integer("records", (0, most), out).unwrap_or(100);
    let keys = section.integer("keys", (0, most), out).unwrap_or(10);
    let size = section.integer("record-size", (1, 100_000_000), out).unwrap_or(100);
    let interval = section.duration("interval", out).unwrap_or(Duration::from_millis(1));
    let resend = section.boolean("resend-on-error", out).unwrap_or(false);
    let synchronous = section.boolean("synchronous", out).unwrap_or(false);
    let restart = section.word("on-restart", RESTARTS, out).unwrap_or(RestartStrategy::Continue);
    let tombstones = section.get("tombstones");
    let tombstones = tombstones.and_then(|entry| transaction::chance(entry, out));
    let place = section.place;
    section.finish(out);
    let mut config = kafka::producer(&properties, out);
    config.transaction_version = brokers.transaction_version;
    let transactions = transactions.map(|draft| draft.build(instances, names));
    if let Some(transactions) = &transactions {
        transaction::timeout_allowed(&config, brokers, &properties, place, out);
        if let Some(to) = to {
            transaction::transfer_differs(transactions, to, to_place, names, out);
        }
    }
    Some(ProducerSpec {
        tombstones: tombstones.unwrap_or(Ratio::ZERO),
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
        transactions,
        config,
    })
}

fn consumer(
    draft: Draft<'_>,
    external: &External,
    names: &Names,
    out: &mut Diagnostics,
) -> Option<ConsumerGroupSpec> {
    let Draft { name, instances, mut section, mut properties, group, .. } = draft;
    let from = topics(&mut section, "from", "[\"orders\"]", names, out);
    let (commit, place) = commit(&mut section, out);
    let auto = matches!(commit, CommitStrategy::Auto | CommitStrategy::AutoAsyncProcessing);
    if external::commits_alone(commit, &properties, out) {
        commit_agrees(auto, &mut properties, out);
    }
    let sink = section.text("sink", out);
    let declared = sink.is_none_or(|(sink, _)| external.sink(sink).is_some());
    let sink = sink.and_then(|(sink, _)| external.sink(sink));
    if declared {
        external::agrees((commit, place), sink, out);
    }
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
        sink: sink.map(|sink| sink.id),
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

/// `commit`, with `flush-interval` if it has one, and where it is said.
fn commit(section: &mut Section<'_>, out: &mut Diagnostics) -> (CommitStrategy, Place) {
    let place = section.get("commit").map_or(section.place, |entry| entry.node.place);
    let commit = section.word("commit", COMMITS, out).unwrap_or(CommitStrategy::AfterProcessing);
    let flush = section.get("flush-interval").map(|entry| entry.key_place);
    let interval = section.duration("flush-interval", out).unwrap_or(FLUSH_INTERVAL);
    match (commit, flush) {
        (CommitStrategy::Connect { .. }, _) => (CommitStrategy::Connect { interval }, place),
        (_, Some(flush)) => {
            let message = "`flush-interval` is that of `commit = \"connect\"`";
            let item = Diagnostic::error(id::CONFLICT, message).at(flush);
            out.push(item.help("delete this line, or choose `commit = \"connect\"`"));
            (commit, place)
        }
        (_, None) => (commit, place),
    }
}

/// An application that commits for itself turns auto commit off, as every manual tells it to; one
/// that relies on auto commit has it on.
pub(super) fn commit_agrees(auto: bool, properties: &mut Properties, out: &mut Diagnostics) {
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

/// A list of topics, each once.
pub(super) fn topics(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    names: &Names,
    out: &mut Diagnostics,
) -> Vec<TopicId> {
    if !section.has(key) {
        section.get(key);
        section.missing(key, example, out);
    }
    let mut topics = Vec::new();
    for (topic, place) in section.texts(key, out).unwrap_or_default() {
        match names.topic(topic, place, out) {
            Some(id) if topics.contains(&id) => {
                let message = match key {
                    "from" => format!("`{topic}` is subscribed to twice"),
                    _ => format!("`{topic}` is named twice"),
                };
                out.push(Diagnostic::error(id::DUPLICATE, message).at(place));
            }
            Some(id) => topics.push(id),
            None => {}
        }
    }
    topics
}

/// What is legal and probably not meant.
pub(super) fn doubts(
    applications: &Applications,
    claim: Option<&Claim>,
    names: &Names,
    out: &mut Diagnostics,
) {
    let processing = claim.and_then(|claim| claim.processing);
    if processing.is_some() && names.consumers.is_empty() && names.processors.is_empty() {
        out.push(
            Diagnostic::warning(
                id::DOUBTFUL_CLAIM,
                "the claim is about processing, and nothing consumes",
            )
            .help("add `[consumers.mailer]` with `from = [\"orders\"]`, or claim `log` only"),
        );
    }
    processor::doubts(applications, claim, names, out);
    external::doubts(applications, claim, out);
}
