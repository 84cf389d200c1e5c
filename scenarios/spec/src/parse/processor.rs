//! Processors: consume, transform, produce.

use oncesim_kafka::config::{BrokerConfig, OffsetResetStrategy};
use oncesim_kafka::message::IsolationLevel;
use oncesim_semantics::{Claim, Guarantee};
use oncesim_types::{Duration, GroupId, Ratio, TopicId, Transform};

use super::application::{self, Applications, Reading};
use super::external::{self, External};
use super::transaction::{self, IdText, MISTAKES};
use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::id;
use crate::kafka;
use crate::names::Names;
use crate::node::{Entry, Value};
use crate::property::Properties;
use crate::scenario::{Mistake, ProcessorCommit, ProcessorSpec, TransactionsSpec};
use crate::section::{Section, wrong_type};

/// How a processor commits, as scenarios name it.
pub(crate) const COMMITS: &[(&str, ProcessorCommit)] = &[
    ("transaction", ProcessorCommit::Transaction),
    ("before-processing", ProcessorCommit::BeforeProcessing),
    ("after-processing", ProcessorCommit::AfterProcessing),
    ("auto", ProcessorCommit::Auto),
];

/// What it can make of a record.
pub(crate) const TRANSFORMS: &[&str] = &["map", "fan-out", "filter", "aggregate"];

/// A processor whose references are not resolved yet.
pub(super) struct Draft<'t> {
    pub(super) name: String,
    pub(super) instances: u16,
    pub(super) group: String,
    pub(super) group_place: Place,
    pub(super) id: Option<IdText>,
    pub(super) from: Vec<TopicId>,
    pub(super) section: Section<'t>,
    commit: ProcessorCommit,
    consumer: Properties,
    producer: Properties,
}

/// First pass: names, instances, groups, ids and properties.
pub(super) fn draft<'t>(
    entry: &'t Entry,
    mut section: Section<'t>,
    instances: u16,
    names: &Names,
    reading: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Draft<'t> {
    let name = entry.key.clone();
    let mut side = |key, section: &mut Section<'t>, out: &mut Diagnostics| {
        let properties = Properties::side(section, key, reading.base_dir, out);
        let inlined = properties.inlined("processors", &name);
        reading.inlined.extend(inlined.map(|inlined| inlined.within(key)));
        properties
    };
    let mut consumer = side("consumer", &mut section, out);
    let mut producer = side("producer", &mut section, out);
    let group_place = section
        .get("group")
        .map(|entry| entry.node.place)
        .or_else(|| consumer.key_place("group.id"))
        .unwrap_or(entry.key_place);
    let group = application::group(&mut section, &mut consumer, &name, out);
    let commit = section.required_text("commit", "\"transaction\"", out);
    let commit = commit
        .and_then(|(text, place)| crate::section::word(text, place, "commit", COMMITS, out))
        .unwrap_or(ProcessorCommit::AfterProcessing);
    let id = transactional_id(commit, &mut producer, (&name, entry.key_place), out);
    let from = application::topics(&mut section, "from", "[\"orders\"]", names, out);
    Draft { name, instances, group, group_place, id, from, section, commit, consumer, producer }
}

/// Its `transactional.id`, if it commits by transaction.
fn transactional_id(
    commit: ProcessorCommit,
    producer: &mut Properties,
    (name, place): (&str, Place),
    out: &mut Diagnostics,
) -> Option<IdText> {
    let key_place = producer.key_place("transactional.id");
    let written = producer.take("transactional.id");
    if commit != ProcessorCommit::Transaction {
        if let Some(place) = key_place {
            let message = "a producer with a `transactional.id` can only send in transactions";
            let item = Diagnostic::error(id::CONFLICT, message).at(place);
            out.push(item.help("delete this line, or choose `commit = \"transaction\"`"));
        }
        return None;
    }
    let id = match written {
        Some((text, place)) => IdText::read(&text, place, true, out)?,
        None => IdText::default(name, place),
    };
    producer.set("transactional.id", id.text(), id.place());
    Some(id)
}

/// Second pass: everything that refers to something else.
pub(super) fn build(
    draft: Draft<'_>,
    brokers: &BrokerConfig,
    external: &External,
    names: &Names,
    out: &mut Diagnostics,
) -> Option<ProcessorSpec> {
    let Draft {
        name, instances, group, id, from, mut section, commit, mut consumer, producer, ..
    } = draft;
    let to = application::topics(&mut section, "to", "\"invoices\"", names, out);
    let transform = transform(&mut section, &from, &to, names, out);
    let interval_place = section.get("commit-interval").map(|entry| entry.key_place);
    let commit_interval = section.duration("commit-interval", out).unwrap_or(Duration::ZERO);
    let batch = section.integer("batch", (1, 1_000_000), out).unwrap_or(500);
    let mistakes_place = section.get("mistakes").map(|entry| entry.key_place);
    let mistakes = transaction::mistakes(&mut section, MISTAKES, out);
    if let (Some(place), false) = (mistakes_place, commit == ProcessorCommit::Transaction) {
        let message = "`mistakes` are about transactions, and this processor has none";
        let item = Diagnostic::error(id::CONFLICT, message).at(place);
        out.push(item.help("choose `commit = \"transaction\"`"));
    }
    if let (Some(place), true) = (mistakes_place, mistakes.contains(&Mistake::NoGroupMetadata))
        && id.as_ref().is_some_and(IdText::is_per_partition)
    {
        let message = "with an id per partition there is no group metadata to forget";
        let item = Diagnostic::error(id::CONFLICT, message).at(place);
        out.push(item.help("delete \"no-group-metadata\""));
    }
    let auto = commit == ProcessorCommit::Auto;
    if let (true, Some(place)) = (auto, interval_place) {
        let message = "`commit-interval` with `commit = \"auto\"`";
        let item = Diagnostic::error(id::CONFLICT, message).at(place);
        out.push(item.help("write `consumer.auto.commit.interval.ms`"));
    }
    application::commit_agrees(auto, &mut consumer, out);
    let instance_id = consumer.take("group.instance.id").is_some();
    let static_membership = section.boolean("static-membership", out).unwrap_or(instance_id);
    let sink = section.text("sink", out);
    let sink = sink.and_then(|(sink, place)| Some((external.sink(sink)?, place)));
    if let Some((sink, place)) = sink {
        external::fits_processor(sink, place, out);
    }
    let place = section.place;
    section.finish(out);
    let mut consumer_config = kafka::consumer(&consumer, out);
    let group = names.groups.iter().position(|known| *known == group)?;
    let group = GroupId(u16::try_from(group).expect("groups are counted in 16 bits"));
    consumer_config.group = Some(group);
    let mut producer_config = kafka::producer(&producer, out);
    producer_config.transaction_version = brokers.transaction_version;
    if id.is_some() {
        transaction::timeout_allowed(&producer_config, brokers, &producer, place, out);
    }
    let (transform, processing_time) = transform?;
    let transactional_id = id.map(|id| id.pattern(instances, &from, names));
    Some(ProcessorSpec {
        sink: sink.map(|(sink, _)| sink.id),
        name,
        instances,
        group,
        from,
        to,
        transform,
        processing_time,
        commit,
        commit_interval,
        batch: batch.unsigned_abs(),
        transactional_id,
        mistakes,
        static_membership,
        consumer: consumer_config,
        producer: producer_config,
    })
}

/// `transform = "map"` or `{ filter = { keep = 0.5, time = "2ms" } }`, and the time per record.
fn transform(
    section: &mut Section<'_>,
    from: &[TopicId],
    to: &[TopicId],
    names: &Names,
    out: &mut Diagnostics,
) -> Option<(Transform, Duration)> {
    let time = Duration::from_micros(100);
    let Some(entry) = section.get("transform") else { return Some((Transform::Map, time)) };
    let empty = crate::node::Table::default();
    let (kind, place, table) = match &entry.node.value {
        Value::String(kind) => (kind.as_str(), entry.node.place, &empty),
        Value::Table(table) if table.entries.len() == 1 => {
            let inner = &table.entries[0];
            match &inner.node.value {
                Value::Table(table) => (inner.key.as_str(), inner.key_place, table),
                _ => {
                    wrong_type(&inner.node, &inner.key, "a table", out);
                    return None;
                }
            }
        }
        Value::Table(_) => {
            let message = "a processor has one transform";
            let item = Diagnostic::error(id::CONFLICT, message).at(entry.node.place);
            out.push(item.help(format!("one of: {}", TRANSFORMS.join(", "))));
            return None;
        }
        _ => {
            wrong_type(&entry.node, "transform", "a string or a table", out);
            return None;
        }
    };
    let words: Vec<_> = TRANSFORMS.iter().map(|word| (*word, *word)).collect();
    let kind = crate::section::word(kind, place, "transform", &words, out)?;
    let mut inner = Section::new(table, format!("`{kind}`"), place);
    let time = inner.duration("time", out).unwrap_or(time);
    let transform = match kind {
        "map" => Some(Transform::Map),
        "fan-out" => {
            let outputs = inner.integer("outputs", (1, 1_000), out).unwrap_or(1);
            Some(Transform::FanOut { outputs: u16::try_from(outputs).expect("checked above") })
        }
        "filter" => keep(&mut inner, out).map(|keep| Transform::Filter { per_million: keep }),
        _ => changelog(&mut inner, from, to, names, out)
            .map(|changelog| Transform::Aggregate { changelog }),
    };
    inner.finish(out);
    if kind != "fan-out" && to.len() > 1 {
        let message = format!("`{kind}` writes to one topic, and `to` has {}", to.len());
        let item = Diagnostic::error(id::CONFLICT, message).at(place);
        out.push(item.help("`transform = \"fan-out\"` writes to all of them"));
    }
    Some((transform?, time))
}

/// The chance of a filter to keep a record, in a million.
fn keep(section: &mut Section<'_>, out: &mut Diagnostics) -> Option<u32> {
    let Some(entry) = section.get("keep") else {
        section.missing("keep", "0.5", out);
        return None;
    };
    let Ratio { numerator, denominator } = transaction::chance(entry, out)?;
    u32::try_from(u64::from(numerator) * 1_000_000 / u64::from(denominator)).ok()
}

/// The topic that keeps the store of an aggregate: one partition per input partition, and nothing
/// else in it.
fn changelog(
    section: &mut Section<'_>,
    from: &[TopicId],
    to: &[TopicId],
    names: &Names,
    out: &mut Diagnostics,
) -> Option<TopicId> {
    let (text, place) = section.required_text("changelog", "\"counts-changelog\"", out)?;
    let topic = names.topic(text, place, out)?;
    let refuse = |message: String, help: String, out: &mut Diagnostics| {
        out.push(Diagnostic::error(id::CONFLICT, message).at(place).help(help));
    };
    if from.contains(&topic) || to.contains(&topic) {
        let message = format!("`{text}` is a changelog and something else");
        refuse(message, "declare a topic of its own for the changelog".to_owned(), out);
        return None;
    }
    let [input] = from else {
        if from.len() > 1 {
            let message = "an aggregate has one input topic".to_owned();
            refuse(message, "write a processor for each topic".to_owned(), out);
        }
        return None;
    };
    let (input, count) = &names.topics[usize::from(input.0)];
    let (_, own) = names.topics[usize::from(topic.0)];
    if own != *count {
        let message = format!("`{text}` has {own} partitions, its input `{input}` {count}");
        refuse(message, format!("write `{text} = {{ partitions = {count} }}`"), out);
        return None;
    }
    Some(topic)
}

/// What no single processor shows: records that come back, writers in a changelog.
pub(super) fn flow(
    applications: &Applications,
    places: &[(String, Place)],
    names: &Names,
    out: &mut Diagnostics,
) {
    let place = |name: &str| {
        places.iter().find(|(known, _)| known == name).map_or_else(Place::default, |(_, at)| *at)
    };
    let processors = &applications.processors;
    let outputs = |processor: &ProcessorSpec| processor.to.clone();
    for processor in processors {
        let mut reached = outputs(processor);
        let mut next = 0;
        while let Some(topic) = reached.get(next).copied() {
            next += 1;
            for other in processors.iter().filter(|other| other.from.contains(&topic)) {
                let more = outputs(other).into_iter().filter(|topic| !reached.contains(topic));
                let more: Vec<_> = more.collect();
                reached.extend(more);
            }
        }
        if let Some(topic) = processor.from.iter().find(|topic| reached.contains(topic)) {
            let topic = &names.topics[usize::from(topic.0)].0;
            let message = format!("what `{}` writes comes back to it in `{topic}`", processor.name);
            let item = Diagnostic::error(id::CONFLICT, message).at(place(&processor.name));
            out.push(item.help("the run would never end: write to a topic that leads elsewhere"));
        }
        let Transform::Aggregate { changelog } = processor.transform else { continue };
        let writes = |other: &ProcessorSpec| {
            let same = Transform::Aggregate { changelog } == other.transform;
            other.name != processor.name && (other.to.contains(&changelog) || same)
        };
        let processor_writes = processors.iter().filter(|other| writes(other)).map(|p| &p.name);
        let producer_writes = applications.producers.iter().filter(|producer| {
            let transfer = producer.transactions.as_ref().and_then(|t| t.transfer_to);
            producer.to == changelog || transfer == Some(changelog)
        });
        for other in processor_writes.chain(producer_writes.map(|producer| &producer.name)) {
            let topic = &names.topics[usize::from(changelog.0)].0;
            let message =
                format!("`{other}` writes to `{topic}`, the changelog of `{}`", processor.name);
            let item = Diagnostic::error(id::CONFLICT, message).at(place(other));
            out.push(item.help("a changelog has one writer: declare another topic"));
        }
    }
}

/// What is legal and probably not meant.
pub(super) fn doubts(
    applications: &Applications,
    claim: Option<&Claim>,
    names: &Names,
    out: &mut Diagnostics,
) {
    let Some(processing) = claim.and_then(|claim| claim.processing) else { return };
    let transactional = |topic: &TopicId| {
        let producers = applications.producers.iter();
        let mut producers = producers.filter(|producer| producer.transactions.is_some());
        let processors = applications.processors.iter();
        let mut processors = processors.filter(|p| p.commit == ProcessorCommit::Transaction);
        let transfer = |t: &TransactionsSpec| t.transfer_to == Some(*topic);
        producers.any(|it| it.to == *topic || it.transactions.as_ref().is_some_and(transfer))
            || processors.any(|processor| processor.to.contains(topic))
    };
    let readers = applications.processors.iter().map(|processor| {
        let key = ("processors", "consumer");
        (&processor.name, key, &processor.from, &processor.consumer, processor.group)
    });
    let consumers = applications.consumers.iter().map(|consumer| {
        let key = ("consumers", "config");
        (&consumer.name, key, &consumer.from, &consumer.config, consumer.group)
    });
    for (name, (table, key), from, config, group) in readers.chain(consumers) {
        if processing != Guarantee::AtMostOnce
            && config.auto_offset_reset == OffsetResetStrategy::Latest
        {
            let group = &names.groups[usize::from(group.0)];
            out.push(
                Diagnostic::warning(
                    id::DOUBTFUL_CLAIM,
                    format!(
                        "the group `{group}` starts at the log end (auto.offset.reset=latest) and \
                         misses what is sent before it has joined"
                    ),
                )
                .help(format!(
                    "add `{key}.auto.offset.reset = \"earliest\"` to `[{table}.{name}]`"
                )),
            );
        }
        let uncommitted = config.isolation == IsolationLevel::ReadUncommitted;
        if let (true, Some(topic)) = (uncommitted, from.iter().find(|topic| transactional(topic))) {
            let topic = &names.topics[usize::from(topic.0)].0;
            out.push(
                Diagnostic::warning(
                    id::DOUBTFUL_CLAIM,
                    format!(
                        "`{name}` reads records of open and aborted transactions in `{topic}` \
                         (isolation.level=read_uncommitted)"
                    ),
                )
                .help(format!(
                    "add `{key}.isolation.level = \"read_committed\"` to `[{table}.{name}]`"
                )),
            );
        }
    }
}
