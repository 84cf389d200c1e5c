//! Kafka's configuration classes, with their complaints placed in the scenario.

use oncesim_kafka::config::{
    BrokerConfig, ConfigIssue, ConsumerConfig, IssueKind, ProducerConfig, Property, TopicConfig,
    broker_config, broker_properties, consumer_config, consumer_properties, producer_config,
    producer_properties, topic_config, topic_properties,
};

use crate::diagnostic::{Diagnostic, Diagnostics, Place, nearest};
use crate::id;
use crate::property::Properties;

pub(crate) fn broker(properties: &Properties, out: &mut Diagnostics) -> BrokerConfig {
    let (config, issues) = broker_config(&properties.map());
    report(properties, &issues, "brokers", || Box::new(broker_properties()), out);
    config
}

pub(crate) fn producer(properties: &Properties, out: &mut Diagnostics) -> ProducerConfig {
    let (config, issues) = producer_config(&properties.map());
    report(properties, &issues, "producers", || Box::new(producer_properties()), out);
    config
}

pub(crate) fn consumer(properties: &Properties, out: &mut Diagnostics) -> ConsumerConfig {
    let (config, issues) = consumer_config(&properties.map());
    report(properties, &issues, "consumers", || Box::new(consumer_properties()), out);
    config
}

/// The configuration of a topic, on top of what the brokers say.
pub(crate) fn topic(
    properties: &Properties,
    base: &TopicConfig,
    brokers: &BrokerConfig,
    out: &mut Diagnostics,
) -> TopicConfig {
    let (config, issues) = topic_config(
        brokers,
        base.topic,
        base.partitions,
        base.replication_factor,
        &properties.map(),
    );
    report(properties, &issues, "topics", || Box::new(topic_properties()), out);
    config
}

type Table = dyn Iterator<Item = &'static Property>;

fn report(
    properties: &Properties,
    issues: &[ConfigIssue],
    whose: &str,
    table: impl Fn() -> Box<Table>,
    out: &mut Diagnostics,
) {
    let mut silent: Vec<(&str, Place)> = Vec::new();
    for issue in issues {
        let name = issue.property.as_str();
        let place = properties.place_of(name);
        if issue.kind == IssueKind::NotModelled {
            silent.extend(place.map(|place| (name, place)));
            continue;
        }
        let mut item = match &issue.kind {
            IssueKind::Unknown { suggestion } => {
                let message = format!("Kafka's {whose} have no property `{name}`");
                let item = Diagnostic::error(id::UNKNOWN_PROPERTY, message);
                match suggestion.or_else(|| nearest(name, table().map(|p| p.name))) {
                    Some(near) => item.help(format!("did you mean `{near}`?")),
                    None => item,
                }
            }
            IssueKind::Invalid { expected } => {
                Diagnostic::error(id::BAD_PROPERTY, issue.message.as_str())
                    .label(format!("Kafka accepts {expected}"))
            }
            IssueKind::Conflict { with } => {
                let item = Diagnostic::error(id::PROPERTY_CONFLICT, issue.message.as_str());
                with_other(item, properties, with)
            }
            IssueKind::Adjusted { with } | IssueKind::Hazard { with } => {
                let item = Diagnostic::warning(id::PROPERTY_SURPRISE, issue.message.as_str());
                with_other(item, properties, with)
            }
            IssueKind::NotModelled | IssueKind::Deprecated => {
                Diagnostic::warning(id::PROPERTY_SURPRISE, issue.message.as_str())
            }
        };
        if !issue.fix.is_empty() && !matches!(issue.kind, IssueKind::Unknown { .. }) {
            let write = if issue.fix.contains('=') && !issue.fix.starts_with("remove") {
                format!("write {}", issue.fix)
            } else {
                issue.fix.clone()
            };
            item = item.help(write);
        }
        out.push(match place.or_else(|| other(issue).and_then(|with| properties.place_of(with))) {
            Some(place) => item.at(place),
            None => item,
        });
    }
    without_effect(&silent, out);
}

/// The other property of an issue.
fn other(issue: &ConfigIssue) -> Option<&'static str> {
    match issue.kind {
        IssueKind::Conflict { with }
        | IssueKind::Adjusted { with }
        | IssueKind::Hazard { with } => Some(with),
        _ => None,
    }
}

fn with_other(item: Diagnostic, properties: &Properties, with: &str) -> Diagnostic {
    match properties.place_of(with) {
        Some(place) => item.also(place, format!("`{with}` is here")),
        None => item,
    }
}

/// One warning for all of them: a pasted file has many.
fn without_effect(silent: &[(&str, Place)], out: &mut Diagnostics) {
    let Some(((first, place), rest)) = silent.split_first() else { return };
    let message = match rest.len() {
        0 => format!("`{first}` exists in Kafka and has no effect here: it is not modelled"),
        n => format!("`{first}` and {n} more exist in Kafka and have no effect here: not modelled"),
    };
    let mut item = Diagnostic::warning(id::PROPERTY_NOT_MODELLED, message).at(*place);
    for (_, place) in rest {
        item = item.also(*place, "neither has this");
    }
    out.push(item);
}
