//! Cluster, topics and network.

use std::collections::BTreeMap;

use oncesim_kafka::config::{BrokerConfig, TopicConfig, TransactionVersion};
use oncesim_types::{Ratio, TopicId};

use super::application::Reading;
use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::id;
use crate::kafka;
use crate::names::{Names, Reach};
use crate::node::{Entry, Value};
use crate::property::Properties;
use crate::scenario::{LatencySpec, NetworkSpec, TopicSpec};
use crate::section::{self, Section, wrong_type};
use crate::unit;

/// `[cluster]`.
pub(super) struct Cluster {
    pub(super) config: BrokerConfig,
    pub(super) transaction_version: TransactionVersion,
    properties: Properties,
    brokers_place: Option<Place>,
}

pub(super) fn cluster(
    top: &mut Section<'_>,
    names: &mut Names,
    read: &mut Reading<'_>,
    out: &mut Diagnostics,
) -> Cluster {
    names.brokers = 3;
    let mut cluster = Cluster {
        config: BrokerConfig::default(),
        transaction_version: TransactionVersion::V2,
        properties: Properties::default(),
        brokers_place: None,
    };
    let Some(mut section) = top.get("cluster").and_then(|e| Section::of(e, "[cluster]", out))
    else {
        cluster.config = kafka::broker(&cluster.properties, out);
        return cluster;
    };
    if let Some(brokers) = section.integer("brokers", (1, 1_000), out) {
        names.brokers = u16::try_from(brokers).expect("checked above");
    }
    cluster.brokers_place = section.get("brokers").map(|entry| entry.node.place);
    if let Some(version) = section.integer("transaction-version", (1, 2), out) {
        cluster.transaction_version = match version {
            1 => TransactionVersion::V1,
            _ => TransactionVersion::V2,
        };
    }
    cluster.properties = Properties::read(&mut section, read.base_dir, out);
    read.inlined.extend(cluster.properties.inlined("cluster", ""));
    section.finish(out);
    cluster.config = kafka::broker(&cluster.properties, out);
    cluster.config.transaction_version = cluster.transaction_version;
    cluster
}

/// `[topics]`.
pub(super) fn topics(
    top: &mut Section<'_>,
    cluster: &Cluster,
    names: &mut Names,
    out: &mut Diagnostics,
) -> Vec<TopicSpec> {
    let Some(entry) = top.get("topics") else {
        top.missing("topics", "{ orders = { partitions = 3 } }", out);
        return Vec::new();
    };
    let Some(section) = Section::of(entry, "[topics]", out) else { return Vec::new() };
    if section.entries().is_empty() {
        out.push(
            Diagnostic::error(id::MISSING_KEY, "a cluster without topics delivers nothing")
                .at(entry.key_place)
                .help("add `orders = { partitions = 3 }`"),
        );
    }
    let mut topics = Vec::new();
    for entry in section.entries() {
        let topic = TopicId(u16::try_from(names.topics.len()).unwrap_or(u16::MAX));
        let spec = self::topic(entry, topic, cluster, names, out);
        let partitions = spec.as_ref().map_or(1, |spec| spec.config.partitions);
        names.topics.push((entry.key.clone(), partitions));
        topics.extend(spec);
    }
    topics
}

fn topic(
    entry: &Entry,
    topic: TopicId,
    cluster: &Cluster,
    names: &Names,
    out: &mut Diagnostics,
) -> Option<TopicSpec> {
    let name = entry.key.as_str();
    topic_name(name, entry.key_place, out);
    let mut section = Section::of(entry, &format!("the topic `{name}`"), out)?;
    let partitions = section.integer("partitions", (1, 10_000), out).unwrap_or(1);
    let replication = section.integer("replication-factor", (1, 255), out);
    let place = section.get("replication-factor").map_or(entry.key_place, |e| e.node.place);
    let default = u8::try_from(names.brokers.min(3)).expect("at most 3");
    let default = match cluster.properties.has("default.replication.factor") {
        true => cluster.config.default_replication_factor,
        false => default,
    };
    let factor = replication.map_or(default, |n| u8::try_from(n).expect("checked above"));
    replicas_exist(name, factor, place, cluster, names, out);
    let mut properties = Properties::default();
    properties.keys(&mut section, out);
    section.finish(out);
    let config = TopicConfig {
        topic,
        partitions: u16::try_from(partitions).expect("checked above"),
        replication_factor: factor,
        min_insync_replicas: cluster.config.min_insync_replicas,
        unclean_leader_election: cluster.config.unclean_leader_election,
        flush_messages: cluster.config.log_flush_interval_messages,
        internal: None,
    };
    let config = kafka::topic(&properties, &config, &cluster.config, out);
    let place = properties
        .get("min.insync.replicas")
        .or_else(|| cluster.properties.get("min.insync.replicas"))
        .map_or(entry.key_place, |(_, place)| place);
    min_isr_reachable(name, &config, place, out);
    Some(TopicSpec { name: name.to_owned(), config })
}

fn topic_name(name: &str, place: Place, out: &mut Diagnostics) {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let message = if name.starts_with("__") {
        format!("`{name}` is Kafka's own topic: it is there when it is needed")
    } else if name.is_empty() || name == "." || name == ".." || name.len() > 249 {
        format!("`{name}` cannot be the name of a topic")
    } else if !name.chars().all(legal) {
        format!("`{name}` cannot be the name of a topic: letters, digits, `.`, `_` and `-` can")
    } else {
        return;
    };
    out.push(Diagnostic::error(id::BAD_NAME, message).at(place));
}

fn replicas_exist(
    name: &str,
    factor: u8,
    place: Place,
    cluster: &Cluster,
    names: &Names,
    out: &mut Diagnostics,
) {
    if u16::from(factor) <= names.brokers {
        return;
    }
    let brokers = names.brokers;
    let mut item = Diagnostic::error(
        id::TOO_FEW_BROKERS,
        format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor \
             of {factor} cannot be reached because only {brokers} broker(s) are registered."
        ),
    )
    .at(place)
    .label(format!("`{name}` wants {factor} replicas"))
    .help(format!(
        "write `replication-factor = {brokers}`, or `[cluster]` and `brokers = {factor}`"
    ));
    if let Some(place) = cluster.brokers_place {
        item = item.also(place, "this many brokers");
    }
    out.push(item);
}

/// Legal in Kafka, and never what its author wants: `acks=all` answers NOT_ENOUGH_REPLICAS forever.
fn min_isr_reachable(name: &str, config: &TopicConfig, place: Place, out: &mut Diagnostics) {
    let (min, factor) = (config.min_insync_replicas, config.replication_factor);
    if min > factor {
        out.push(
            Diagnostic::warning(
                id::MIN_ISR_ABOVE_REPLICATION,
                format!("`{name}` has {factor} replicas and wants {min} in sync"),
            )
            .at(place)
            .help(format!(
                "Kafka accepts this, and then answers NOT_ENOUGH_REPLICAS to every acks=all; \
                 write at most `min.insync.replicas = {factor}`"
            )),
        );
    }
}

/// `__consumer_offsets` exists as soon as somebody commits. Only the partitions that groups of the
/// scenario map to are there.
pub(super) fn offsets_topic(
    topics: &mut Vec<TopicSpec>,
    cluster: &Cluster,
    names: &Names,
    out: &mut Diagnostics,
) {
    if names.groups.is_empty() {
        return;
    }
    let config = &cluster.config;
    let mut factor = config.offsets_topic_replication_factor;
    if let Some((_, place)) = cluster.properties.get("offsets.topic.replication.factor") {
        replicas_exist("__consumer_offsets", factor, place, cluster, names, out);
    } else {
        factor = factor.min(u8::try_from(names.brokers).unwrap_or(u8::MAX));
    }
    let groups = u16::try_from(names.groups.len()).unwrap_or(u16::MAX);
    let config = TopicConfig {
        topic: TopicId(u16::try_from(topics.len()).unwrap_or(u16::MAX)),
        partitions: groups.min(config.offsets_topic_partitions),
        replication_factor: factor,
        min_insync_replicas: config.min_insync_replicas,
        unclean_leader_election: config.unclean_leader_election,
        flush_messages: config.log_flush_interval_messages,
        internal: Some(oncesim_kafka::config::InternalTopic::ConsumerOffsets),
    };
    topics.push(TopicSpec { name: "__consumer_offsets".to_owned(), config });
}

/// `__transaction_state` exists as soon as somebody has transactions. Only the partitions that
/// transactional ids of the scenario map to are there.
pub(super) fn transaction_topic(
    topics: &mut Vec<TopicSpec>,
    cluster: &Cluster,
    names: &Names,
    out: &mut Diagnostics,
) {
    if names.transactional_ids.is_empty() {
        return;
    }
    const FACTOR: &str = "transaction.state.log.replication.factor";
    const MIN_ISR: &str = "transaction.state.log.min.isr";
    let config = &cluster.config;
    let mut factor = config.transaction_state_log_replication_factor;
    if let Some((_, place)) = cluster.properties.get(FACTOR) {
        replicas_exist("__transaction_state", factor, place, cluster, names, out);
    } else {
        factor = factor.min(u8::try_from(names.brokers).unwrap_or(u8::MAX));
    }
    let given = cluster.properties.get(MIN_ISR);
    let mut min_isr = config.transaction_state_log_min_isr;
    if given.is_none() {
        min_isr = min_isr.min(factor);
    }
    let ids = u16::try_from(names.transactional_ids.len()).unwrap_or(u16::MAX);
    let config = TopicConfig {
        topic: TopicId(u16::try_from(topics.len()).unwrap_or(u16::MAX)),
        partitions: ids.min(config.transaction_state_log_partitions),
        replication_factor: factor,
        min_insync_replicas: min_isr,
        unclean_leader_election: false,
        flush_messages: config.log_flush_interval_messages,
        internal: Some(oncesim_kafka::config::InternalTopic::TransactionState),
    };
    if let Some((_, place)) = given {
        min_isr_reachable("__transaction_state", &config, place, out);
    }
    topics.push(TopicSpec { name: "__transaction_state".to_owned(), config });
}

/// `[network]`.
pub(super) fn network(top: &mut Section<'_>, names: &Names, out: &mut Diagnostics) -> NetworkSpec {
    let mut network = NetworkSpec::default();
    let Some(mut section) = top.get("network").and_then(|e| Section::of(e, "[network]", out))
    else {
        return network;
    };
    if let Some(latency) = section.get("latency").and_then(|entry| latency(entry, out)) {
        network.latency = latency;
    }
    if let Some(entry) = section.get("loss") {
        network.loss = loss(entry, out).unwrap_or(Ratio::ZERO);
    }
    network.links = links(&mut section, names, out);
    section.finish(out);
    network
}

fn latency(entry: &Entry, out: &mut Diagnostics) -> Option<LatencySpec> {
    if let Value::String(_) = entry.node.value {
        let constant = section::duration(&entry.node, "latency", out)?;
        return Some(LatencySpec { min: constant, mean: constant, max: constant });
    }
    let mut section = Section::of(entry, "latency", out)?;
    let default = LatencySpec::default();
    let before = out.len();
    let given =
        (section.duration("min", out), section.duration("mean", out), section.duration("max", out));
    section.finish(out);
    if out.len() > before {
        return None;
    }
    let mean = given.1.or(given.0.map(|min| min.max(default.mean))).unwrap_or(default.mean);
    let min = given.0.unwrap_or(default.min.min(mean));
    let max = given.2.unwrap_or(default.max.max(mean));
    if !(min <= mean && mean <= max) {
        out.push(
            Diagnostic::error(id::OUT_OF_RANGE, "a latency has min <= mean <= max")
                .at(entry.node.place)
                .label(format!("min {min}, mean {mean}, max {max}")),
        );
    }
    Some(LatencySpec { min, mean, max })
}

fn loss(entry: &Entry, out: &mut Diagnostics) -> Option<Ratio> {
    let text = entry.node.as_property();
    let ratio = text.as_deref().and_then(unit::ratio);
    if ratio.is_none() {
        out.push(
            Diagnostic::error(id::BAD_VALUE, "`loss` is a chance from 0 to 1")
                .at(entry.node.place)
                .help("write \"1 in 1000\" or 0.001"),
        );
    }
    ratio
}

fn links(
    section: &mut Section<'_>,
    names: &Names,
    out: &mut Diagnostics,
) -> BTreeMap<(String, String), LatencySpec> {
    let mut links = BTreeMap::new();
    let Some(entry) = section.get("links") else { return links };
    let Value::Array(nodes) = &entry.node.value else {
        wrong_type(&entry.node, "links", "an array of { between, latency }", out);
        return links;
    };
    for node in nodes {
        let Value::Table(table) = &node.value else {
            wrong_type(node, "links", "a table such as { between, latency }", out);
            continue;
        };
        let mut link = Section::new(table, "a link", node.place);
        let ends = link.texts("between", out).unwrap_or_default();
        let latency = link.get("latency").and_then(|entry| latency(entry, out));
        link.finish(out);
        if ends.len() != 2 || latency.is_none() {
            let message = "a link has two ends and a latency";
            let example = "{ between = [\"b1\", \"b2\"], latency = \"5ms\" }";
            let item = Diagnostic::error(id::BAD_VALUE, message).at(node.place);
            out.push(item.help(format!("write `{example}`")));
            continue;
        }
        let mut one = |index: usize| {
            let (text, place): (&str, Place) = ends[index];
            names.actor(text, place, Reach::One, out)
        };
        if let (Some(from), Some(to), Some(latency)) = (one(0), one(1), latency) {
            let ends = if from <= to { (from, to) } else { (to, from) };
            if links.insert(ends, latency).is_some() {
                out.push(
                    Diagnostic::error(id::DUPLICATE, "this link is given twice").at(node.place),
                );
            }
        }
    }
    links
}
