//! Who is who in a scenario: the names that faults and links may use.

use oncesim_kafka::message::ApiKey;
use oncesim_types::{GroupId, TopicId};

use crate::diagnostic::{Diagnostic, Diagnostics, Place, nearest};
use crate::fault::MessageApi;
use crate::id;

/// What can be referred to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) brokers: u16,
    /// With their partition counts, by [`TopicId`].
    pub(crate) topics: Vec<(String, u16)>,
    /// With their instance counts.
    pub(crate) producers: Vec<(String, u16)>,
    /// With their instance counts.
    pub(crate) consumers: Vec<(String, u16)>,
    /// With their instance counts.
    pub(crate) processors: Vec<(String, u16)>,
    /// With their instance counts.
    pub(crate) services: Vec<(String, u16)>,
    /// With their instance counts.
    pub(crate) relays: Vec<(String, u16)>,
    /// Systems outside of Kafka, by [`oncesim_types::SystemId`].
    pub(crate) systems: Vec<String>,
    /// Sinks, by [`oncesim_types::SinkId`].
    pub(crate) sinks: Vec<String>,
    /// By [`GroupId`].
    pub(crate) groups: Vec<String>,
    /// Applications that consume, each with its group.
    pub(crate) members: Vec<(String, String)>,
    /// By number.
    pub(crate) transactional_ids: Vec<String>,
    /// Actors with transactions, each with its transactional id at its first start.
    pub(crate) transactional: Vec<(String, String)>,
}

/// How many actors a reference may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// One process.
    One,
    /// Any number: a side of a partition, the sender of a message.
    Many,
}

/// Words that stand for several actors.
pub(crate) const GROUPS_OF_ACTORS: &[&str] =
    &["brokers", "producers", "consumers", "processors", "services", "relays", "systems"];

/// Words that cannot be the name of an application.
pub(crate) const RESERVED: &[&str] = &[
    "controller",
    "coordinator",
    "leader",
    "follower",
    "brokers",
    "producers",
    "consumers",
    "processors",
    "services",
    "relays",
    "systems",
];

const TRANSACTION_COORDINATOR: &str = "transaction coordinator";

impl Names {
    fn applications(&self) -> impl Iterator<Item = &(String, u16)> {
        let kafka = self.producers.iter().chain(&self.consumers).chain(&self.processors);
        kafka.chain(&self.services).chain(&self.relays)
    }

    /// The instance whose producer `text` is, if it is that of a processor.
    fn processor_of(&self, text: &str) -> Option<String> {
        let instance = text.strip_suffix("-producer")?;
        let is_it = |(name, n): &(String, u16)| match n {
            1 => name == instance || format!("{name}-0") == instance,
            n => (0..*n).any(|i| format!("{name}-{i}") == instance),
        };
        let (name, n) = self.processors.iter().find(|processor| is_it(processor))?;
        let processor = if *n == 1 { name.clone() } else { instance.to_owned() };
        // With an id per partition it has several.
        let own = format!("{processor}-producer-");
        let several = self.transactional.iter().any(|(actor, _)| actor.starts_with(&own));
        (!several).then_some(processor)
    }

    /// The partitions of some topics, as `orders-0`.
    pub(crate) fn partitions_of(&self, topics: &[TopicId]) -> Vec<String> {
        let topics = topics.iter().map(|topic| &self.topics[usize::from(topic.0)]);
        topics.flat_map(|(topic, count)| (0..*count).map(move |n| format!("{topic}-{n}"))).collect()
    }

    /// The names of the single actors, as a person would type them.
    pub(crate) fn instances(&self) -> Vec<String> {
        let mut names = vec!["controller".to_owned()];
        names.extend((1..=self.brokers).map(|n| format!("b{n}")));
        for (name, instances) in self.applications() {
            if *instances == 1 {
                names.push(name.clone());
            } else {
                names.extend((0..*instances).map(|n| format!("{name}-{n}")));
            }
        }
        names.extend(self.systems.iter().cloned());
        names
    }

    /// A reference to actors in its canonical spelling: `mailer-0` of a single instance is
    /// `mailer`, `coordinator` of the only group names the group.
    pub(crate) fn actor(
        &self,
        text: &str,
        place: Place,
        reach: Reach,
        out: &mut Diagnostics,
    ) -> Option<String> {
        if let Some((role, of)) = text.split_once(" of ") {
            return self.role(role.trim(), of.trim(), place, out);
        }
        let instances = self.instances();
        let has_id = self.transactional.iter().any(|(actor, _)| actor == text);
        if has_id || instances.iter().any(|name| name == text) {
            return Some(text.to_owned());
        }
        if text == "coordinator" && self.groups.len() == 1 {
            return Some(format!("coordinator of {}", self.groups[0]));
        }
        if let Some(processor) = self.processor_of(text) {
            return Some(format!("{processor}-producer"));
        }
        if let Some(base) = text.strip_suffix("-0")
            && self.applications().any(|(name, n)| name == base && *n == 1)
        {
            return Some(base.to_owned());
        }
        let several =
            GROUPS_OF_ACTORS.contains(&text) || self.applications().any(|(name, _)| name == text);
        if several && reach == Reach::Many {
            return Some(text.to_owned());
        }
        let message = if text == "coordinator" {
            "`coordinator` of which group or transactional id?".to_owned()
        } else if several {
            format!("`{text}` is more than one actor, and this fault strikes one")
        } else {
            format!("there is no actor `{text}`")
        };
        let mut item = Diagnostic::error(id::UNKNOWN_ACTOR, message).at(place);
        let first = if text == "brokers" { "b1".to_owned() } else { format!("{text}-0") };
        let mut candidates = instances.clone();
        if reach == Reach::Many {
            candidates.extend(GROUPS_OF_ACTORS.iter().map(ToString::to_string));
            candidates.extend(self.applications().map(|(name, _)| name.clone()));
        }
        item = if several && instances.contains(&first) {
            item.help(format!("name one of them: \"{first}\""))
        } else {
            match nearest(text, candidates.iter().map(String::as_str)) {
                Some(near) => item.help(format!("did you mean \"{near}\"?")),
                None => item.help(format!(
                    "actors here: {}; or a role: \"leader of TOPIC-0\", \"follower of TOPIC-0\", \
                     \"coordinator of GROUP\", \"transaction coordinator of ID\"",
                    shorten(&instances)
                )),
            }
        };
        out.push(item);
        None
    }

    /// The coordinator that a client exchanges messages of `api` with, if there is no doubt.
    pub(crate) fn coordinator(
        &self,
        api: Option<MessageApi>,
        client: Option<&str>,
    ) -> Option<String> {
        let transactional = matches!(
            api,
            Some(MessageApi::Kafka(
                ApiKey::InitProducerId
                    | ApiKey::AddPartitionsToTxn
                    | ApiKey::AddOffsetsToTxn
                    | ApiKey::EndTxn
                    | ApiKey::WriteTxnMarkers
            ))
        );
        if transactional {
            let only = match self.transactional_ids.as_slice() {
                [only] => Some(only.as_str()),
                _ => None,
            };
            let id = client.and_then(|client| self.id_of_actor(client)).or(only)?;
            return Some(format!("{TRANSACTION_COORDINATOR} of {id}"));
        }
        let processor = client.and_then(|client| self.processor_of(client));
        let client = processor.as_deref().or(client)?;
        let is_instance = |name: &str| {
            let number = client.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
            client == name || number.is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
        };
        let (_, group) = self.members.iter().find(|(name, _)| is_instance(name))?;
        Some(format!("coordinator of {group}"))
    }

    fn role(&self, role: &str, of: &str, place: Place, out: &mut Diagnostics) -> Option<String> {
        match role {
            "leader" | "follower" => {
                let partition = self.partition(of, place, out)?;
                Some(format!("{role} of {partition}"))
            }
            "coordinator" => {
                self.group(of, place, out)?;
                Some(format!("coordinator of {of}"))
            }
            TRANSACTION_COORDINATOR => {
                let id = self.transactional_id(of, place, out)?;
                Some(format!("{TRANSACTION_COORDINATOR} of {id}"))
            }
            _ => {
                let roles = ["leader", "follower", "coordinator", TRANSACTION_COORDINATOR];
                let near = nearest(role, roles).unwrap_or("leader");
                out.push(
                    Diagnostic::error(id::UNKNOWN_ACTOR, format!("`{role} of` is not a role"))
                        .at(place)
                        .help(format!("did you mean \"{near} of {of}\"?")),
                );
                None
            }
        }
    }

    /// A partition, as `orders-0`.
    pub(crate) fn partition(
        &self,
        text: &str,
        place: Place,
        out: &mut Diagnostics,
    ) -> Option<String> {
        let split = text.rsplit_once('-').and_then(|(topic, n)| Some((topic, n.parse().ok()?)));
        let Some((topic, number)): Option<(&str, u32)> = split else {
            let help = match self.topics.iter().find(|(name, _)| name == text) {
                Some((name, _)) => format!("write \"{name}-0\" for its first partition"),
                None => "write TOPIC-NUMBER, such as \"orders-0\"".to_owned(),
            };
            let message = format!("`{text}` is not a partition");
            out.push(Diagnostic::error(id::UNKNOWN_PARTITION, message).at(place).help(help));
            return None;
        };
        if topic == "__consumer_offsets" && !self.groups.is_empty()
            || topic == "__transaction_state" && !self.transactional_ids.is_empty()
        {
            return Some(text.to_owned());
        }
        let found = self.topic(topic, place, out)?;
        let partitions = self.topics[usize::from(found.0)].1;
        if number >= u32::from(partitions) {
            let message = format!("`{topic}` has no partition {number}");
            let help = format!("its partitions are {topic}-0 to {topic}-{}", partitions - 1);
            out.push(Diagnostic::error(id::UNKNOWN_PARTITION, message).at(place).help(help));
            return None;
        }
        Some(format!("{topic}-{number}"))
    }

    pub(crate) fn topic(&self, name: &str, place: Place, out: &mut Diagnostics) -> Option<TopicId> {
        if let Some(index) = self.topics.iter().position(|(topic, _)| topic == name) {
            return Some(TopicId(u16::try_from(index).expect("topics are counted in 16 bits")));
        }
        if self.topics.is_empty() {
            return None; // that there are no topics has been said
        }
        let item =
            Diagnostic::error(id::UNKNOWN_TOPIC, format!("there is no topic `{name}`")).at(place);
        let topics = self.topics.iter().map(|(topic, _)| topic.as_str());
        out.push(match nearest(name, topics) {
            Some(near) => item.help(format!("did you mean \"{near}\"?")),
            None => {
                item.help(format!("declare it: `[topics]` and `{name} = {{ partitions = 1 }}`"))
            }
        });
        None
    }

    /// A system outside of Kafka.
    pub(crate) fn system(&self, name: &str, place: Place, out: &mut Diagnostics) -> Option<String> {
        if self.systems.iter().any(|system| system == name) {
            return Some(name.to_owned());
        }
        let message = format!("there is no system `{name}`");
        let item = Diagnostic::error(id::UNKNOWN_SYSTEM, message).at(place);
        out.push(match nearest(name, self.systems.iter().map(String::as_str)) {
            Some(near) => item.help(format!("did you mean \"{near}\"?")),
            None if self.systems.is_empty() => {
                item.help("`[databases.NAME]` declares one, as does `[sinks.NAME]`")
            }
            None => item.help(format!("systems here: {}", shorten(&self.systems))),
        });
        None
    }

    pub(crate) fn group(&self, name: &str, place: Place, out: &mut Diagnostics) -> Option<GroupId> {
        if let Some(index) = self.groups.iter().position(|group| group == name) {
            return Some(GroupId(u16::try_from(index).expect("groups are counted in 16 bits")));
        }
        let item =
            Diagnostic::error(id::UNKNOWN_GROUP, format!("there is no group `{name}`")).at(place);
        out.push(match nearest(name, self.groups.iter().map(String::as_str)) {
            Some(near) => item.help(format!("did you mean \"{near}\"?")),
            None if self.groups.is_empty() => item.help("a `[consumers.NAME]` declares a group"),
            None => item.help(format!("groups here: {}", self.groups.join(", "))),
        });
        None
    }

    /// A transactional id, given by itself or by the actor that has it.
    pub(crate) fn transactional_id(
        &self,
        text: &str,
        place: Place,
        out: &mut Diagnostics,
    ) -> Option<String> {
        if self.transactional_ids.iter().any(|id| id == text) {
            return Some(text.to_owned());
        }
        if let Some(id) = self.id_of_actor(text) {
            return Some(id.to_owned());
        }
        let message = format!("there is no transactional id `{text}`, and no actor that has one");
        let item = Diagnostic::error(id::UNKNOWN_TRANSACTIONAL_ID, message).at(place);
        out.push(match nearest(text, self.transactional_ids.iter().map(String::as_str)) {
            Some(near) => item.help(format!("did you mean \"{near}\"?")),
            None if self.transactional_ids.is_empty() => {
                item.help("`transactions = { size = 10 }` in a `[producers.NAME]` begins some")
            }
            None => item.help(format!("ids here: {}", shorten(&self.transactional_ids))),
        });
        None
    }

    /// The transactional id of an instance.
    pub(crate) fn id_of_actor(&self, text: &str) -> Option<&str> {
        let processor = self.processor_of(text);
        let text = processor.as_deref().unwrap_or(text);
        let of = |actor: &str| self.transactional.iter().find(|(known, _)| known == actor);
        let (_, id) = of(text).or_else(|| of(text.strip_suffix("-0")?))?;
        Some(id)
    }
}

/// The first of a long list.
fn shorten(names: &[String]) -> String {
    let shown = names.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 12 { format!("{shown}, ...") } else { shown }
}
