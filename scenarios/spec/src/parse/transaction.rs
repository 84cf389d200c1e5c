//! Transactions of an application: its `transactional.id`, how it uses it, what it does wrong.

use oncesim_kafka::config::{BrokerConfig, ProducerConfig};
use oncesim_types::{Duration, Ratio, TopicId, TransactionalId};

use crate::diagnostic::{Diagnostic, Diagnostics, Place, nearest};
use crate::id;
use crate::names::Names;
use crate::node::{Entry, Value};
use crate::property::Properties;
use crate::scenario::{Mistake, TransactionalIdPattern, TransactionsSpec};
use crate::section::{self, Section, wrong_type};
use crate::unit;

/// What an application can do wrong with transactions, as scenarios name it.
pub(crate) const MISTAKES: &[(&str, Mistake)] = &[
    ("no-group-metadata", Mistake::NoGroupMetadata),
    ("abort-after-commit-timeout", Mistake::AbortAfterCommitTimeout),
    ("continue-after-fatal", Mistake::ContinueAfterFatal),
    ("no-seek-after-abort", Mistake::NoSeekAfterAbort),
];

/// Those of an application that consumes nothing.
pub(crate) const PRODUCER_MISTAKES: &[(&str, Mistake)] = &[
    ("abort-after-commit-timeout", Mistake::AbortAfterCommitTimeout),
    ("continue-after-fatal", Mistake::ContinueAfterFatal),
];

const INSTANCE: &str = "{instance}";
const RESTART: &str = "{restart}";
const PARTITION: &str = "{partition}";

/// A `transactional.id` as it is written.
#[derive(Debug, Clone)]
pub(super) struct IdText {
    text: String,
    place: Place,
}

impl IdText {
    /// Complains about places that nothing fills.
    pub(super) fn read(
        text: &str,
        place: Place,
        has_inputs: bool,
        out: &mut Diagnostics,
    ) -> Option<IdText> {
        if text.is_empty() {
            let message = "an empty `transactional.id` is none";
            let item = Diagnostic::error(id::BAD_PROPERTY, message).at(place);
            out.push(item.help("write \"billing-{instance}\", or delete it"));
            return None;
        }
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('{') {
            let Some((word, after)) = after.split_once('}') else { break };
            rest = after;
            let word = format!("{{{word}}}");
            if word == PARTITION {
                if has_inputs {
                    continue;
                }
                let message = "a producer has no input partition that `{partition}` could name";
                let item = Diagnostic::error(id::BAD_VALUE, message).at(place);
                out.push(item.help(format!("places are {INSTANCE} and {RESTART}")));
                return None;
            }
            if word != INSTANCE && word != RESTART {
                let message = format!("nothing fills `{word}` in a `transactional.id`");
                let item = Diagnostic::error(id::BAD_VALUE, message).at(place);
                let places = [INSTANCE, RESTART, PARTITION].into_iter();
                let places = places.filter(|place| has_inputs || *place != PARTITION);
                out.push(match nearest(&word, places) {
                    Some(near) => item.help(format!("did you mean `{near}`?")),
                    None if has_inputs => {
                        item.help(format!("places are {INSTANCE}, {PARTITION} and {RESTART}"))
                    }
                    None => item.help(format!("places are {INSTANCE} and {RESTART}")),
                });
                return None;
            }
        }
        let other = [INSTANCE, RESTART].into_iter().find(|other| text.contains(other));
        if let (true, Some(other)) = (text.contains(PARTITION), other) {
            let message = format!("an id with `{PARTITION}` and `{other}` fences nobody");
            out.push(
                Diagnostic::error(id::CONFLICT, message)
                    .at(place)
                    .label("the next owner of a partition has another id")
                    .help(format!("leave out {other}, or {PARTITION}")),
            );
            return None;
        }
        Some(IdText { text: text.to_owned(), place })
    }

    /// What an application has that does not say: its name and its instance.
    pub(super) fn default(name: &str, place: Place) -> IdText {
        IdText { text: format!("{name}-{INSTANCE}"), place }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The id of an instance at its first start.
    fn of(&self, instance: u16) -> String {
        self.text.replace(INSTANCE, &instance.to_string()).replace(RESTART, "0")
    }

    /// Whether each input partition has an id of its own.
    pub(super) fn is_per_partition(&self) -> bool {
        self.text.contains(PARTITION)
    }

    /// The ids of the instances, or of the partitions that they read.
    pub(super) fn ids(&self, instances: u16, from: &[TopicId], names: &Names) -> Vec<String> {
        if self.is_per_partition() {
            let partitions = names.partitions_of(from).into_iter();
            return partitions.map(|it| self.text.replace(PARTITION, &it)).collect();
        }
        (0..instances).map(|instance| self.of(instance)).collect()
    }

    /// What the engine makes ids from.
    pub(super) fn pattern(
        &self,
        instances: u16,
        from: &[TopicId],
        names: &Names,
    ) -> TransactionalIdPattern {
        let number = |id: &String| names.transactional_ids.iter().position(|known| known == id);
        let ids = self.ids(instances, from, names);
        let ids = ids.iter().filter_map(number);
        TransactionalIdPattern {
            text: self.text.clone(),
            ids: ids.map(|n| TransactionalId(u16::try_from(n).unwrap_or(u16::MAX))).collect(),
            per_restart: self.text.contains(RESTART),
            per_partition: self.is_per_partition(),
        }
    }

    /// Legal in Kafka, and rarely meant.
    pub(super) fn doubts(&self, instances: u16, out: &mut Diagnostics) {
        let text = &self.text;
        if instances > 1 && !text.contains(INSTANCE) && !self.is_per_partition() {
            out.push(
                Diagnostic::warning(
                    id::PROPERTY_SURPRISE,
                    format!("{instances} live instances share the transactional id `{text}`"),
                )
                .at(self.place)
                .label("each fences the other")
                .help(format!("write \"{text}-{INSTANCE}\"")),
            );
        }
        if text.contains(RESTART) {
            out.push(
                Diagnostic::warning(
                    id::PROPERTY_SURPRISE,
                    "a new transactional id after each start fences nobody",
                )
                .at(self.place)
                .label("what the instance before left open waits for transaction.timeout.ms")
                .help(format!("leave out {RESTART}")),
            );
        }
    }
}

/// `transactions = { .. }` of a producer whose id is not numbered yet.
pub(super) struct Draft {
    pub(super) id: IdText,
    spec: TransactionsSpec,
}

impl Draft {
    pub(super) fn build(self, instances: u16, names: &Names) -> TransactionsSpec {
        TransactionsSpec { id: self.id.pattern(instances, &[], names), ..self.spec }
    }
}

/// The transactions of the producer `name`, if it has any.
pub(super) fn read(
    section: &mut Section<'_>,
    properties: &mut Properties,
    name: &str,
    names: &Names,
    out: &mut Diagnostics,
) -> Option<Draft> {
    let Some(entry) = section.get("transactions") else {
        if let Some(place) = properties.key_place("transactional.id") {
            properties.take("transactional.id");
            let message = "a producer with a `transactional.id` can only send in transactions";
            let item = Diagnostic::error(id::MISSING_KEY, message).at(place);
            out.push(item.help("add `transactions = { size = 10 }`"));
        }
        return None;
    };
    let mut inner = Section::of(entry, "`transactions`", out)?;
    let written = inner.text("id", out);
    let id = agreed_id(written, properties, name, entry.key_place, out);
    let size = inner.integer("size", (1, 1_000_000), out).unwrap_or(10);
    let abort = inner.get("abort").and_then(|entry| chance(entry, out)).unwrap_or(Ratio::ZERO);
    let hold = inner.duration("hold", out).unwrap_or(Duration::ZERO);
    let transfer_to = inner.text("transfer-to", out);
    let transfer_to = transfer_to.and_then(|(topic, place)| names.topic(topic, place, out));
    let mistakes = mistakes(&mut inner, PRODUCER_MISTAKES, out);
    inner.finish(out);
    let id = id?;
    properties.set("transactional.id", id.text(), id.place());
    let spec = TransactionsSpec {
        id: id.pattern(0, &[], names),
        size: size.unsigned_abs(),
        abort,
        hold,
        transfer_to,
        mistakes,
    };
    Some(Draft { id, spec })
}

/// Nobody moves an amount from a topic to itself.
pub(super) fn transfer_differs(
    transactions: &TransactionsSpec,
    to: TopicId,
    place: Place,
    names: &Names,
    out: &mut Diagnostics,
) {
    if transactions.transfer_to == Some(to) {
        let topic = &names.topics[usize::from(to.0)].0;
        let message = format!("a transfer from `{topic}` to `{topic}` moves nothing");
        let item = Diagnostic::error(id::CONFLICT, message).at(place);
        out.push(item.help("`transfer-to` names another topic than `to`"));
    }
}

/// `id` and `transactional.id`, which must not contradict each other.
fn agreed_id(
    written: Option<(&str, Place)>,
    properties: &mut Properties,
    name: &str,
    place: Place,
    out: &mut Diagnostics,
) -> Option<IdText> {
    let key_place = properties.key_place("transactional.id");
    match (written, properties.take("transactional.id")) {
        (Some((id, place)), Some((property, _))) if id != property => {
            let message = format!("the transactional id is `{id}` and `{property}`");
            let item = Diagnostic::error(id::CONFLICT, message).at(key_place.unwrap_or_default());
            out.push(item.also(place, "the other").help("keep `id`, delete `transactional.id`"));
            None
        }
        (Some((id, place)), _) => IdText::read(id, place, false, out),
        (None, Some((property, place))) => IdText::read(&property, place, false, out),
        (None, None) => Some(IdText::default(name, place)),
    }
}

/// A chance from 0 to 1.
pub(super) fn chance(entry: &Entry, out: &mut Diagnostics) -> Option<Ratio> {
    let ratio = match entry.node.value {
        Value::String(_) | Value::Float(_) | Value::Integer(_) => {
            entry.node.as_property().as_deref().and_then(unit::ratio)
        }
        _ => {
            wrong_type(&entry.node, &entry.key, "a chance such as 0.1", out);
            return None;
        }
    };
    if ratio.is_none() {
        let message = format!("`{}` is a chance from 0 to 1", entry.key);
        let item = Diagnostic::error(id::BAD_VALUE, message).at(entry.node.place);
        out.push(item.help("write 0.1 or \"1 in 10\""));
    }
    ratio
}

/// `mistakes = [..]`.
pub(super) fn mistakes(
    section: &mut Section<'_>,
    words: &[(&'static str, Mistake)],
    out: &mut Diagnostics,
) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (text, place) in section.texts("mistakes", out).unwrap_or_default() {
        match section::word(text, place, "mistakes", words, out) {
            Some(mistake) if mistakes.contains(&mistake) => out.push(
                Diagnostic::error(id::DUPLICATE, format!("`{text}` is named twice")).at(place),
            ),
            Some(mistake) => mistakes.push(mistake),
            None => {}
        }
    }
    mistakes.sort_unstable();
    mistakes
}

/// A timeout that every coordinator refuses (`INVALID_TRANSACTION_TIMEOUT`).
pub(super) fn timeout_allowed(
    config: &ProducerConfig,
    brokers: &BrokerConfig,
    properties: &Properties,
    place: Place,
    out: &mut Diagnostics,
) {
    if config.transaction_timeout <= brokers.transaction_max_timeout {
        return;
    }
    let most = brokers.transaction_max_timeout.as_millis();
    out.push(
        Diagnostic::error(
            id::PROPERTY_CONFLICT,
            "The transaction timeout is larger than the maximum value allowed by the broker (as \
             configured by transaction.max.timeout.ms).",
        )
        .at(properties.place_of("transaction.timeout.ms").unwrap_or(place))
        .label(format!("at most {most} ms"))
        .help(format!("write transaction.timeout.ms={most}, or raise transaction.max.timeout.ms")),
    );
}
