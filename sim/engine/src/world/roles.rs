//! Who is meant: names, groups of names and roles, resolved when a fault strikes.
//!
//! `b1`, `shop`, `mailer-0` (one actor); `mailer` (all instances of it); `controller`, `brokers`,
//! `producers`, `consumers`; `leader of orders-0`, `follower of orders-0`, `coordinator of mailer`,
//! `transaction coordinator of billing-0`.

use oncesim_history::ActorRole;
use oncesim_kafka::group::coordinator_partition;
use oncesim_types::{ActorId, GroupId, TopicPartition};

use super::build::CONTROLLER;
use super::{Process, World};

impl World {
    /// The actors that `reference` means at this moment; empty when nobody fits.
    pub(super) fn resolve(&self, reference: &str) -> Vec<ActorId> {
        if let Some(partition) = reference.strip_prefix("leader of ") {
            return self.partition(partition).and_then(|p| self.leader(p)).into_iter().collect();
        }
        if let Some(partition) = reference.strip_prefix("follower of ") {
            return self.partition(partition).map_or_else(Vec::new, |p| self.followers(p));
        }
        if let Some(group) = reference.strip_prefix("coordinator of ") {
            let partition = self.coordinator_partition(group);
            return partition.and_then(|p| self.leader(p)).into_iter().collect();
        }
        if let Some(id) = reference.strip_prefix("transaction coordinator of ") {
            let partition = self.transaction_partition(id);
            return partition.and_then(|p| self.leader(p)).into_iter().collect();
        }
        let matches = |index: usize, name: &str| match reference {
            "brokers" => self.role(index) == Some("broker"),
            "producers" => self.role(index) == Some("producer"),
            "consumers" => self.role(index) == Some("consumer"),
            "coordinator" => false,
            _ => {
                name == reference
                    || name.rsplit_once('-').is_some_and(|(stem, n)| {
                        stem == reference && n.bytes().all(|b| b.is_ascii_digit())
                    })
            }
        };
        self.actors
            .iter()
            .enumerate()
            .filter(|(index, actor)| matches(*index, &actor.name))
            .map(|(index, _)| ActorId(u16::try_from(index).expect("few actors")))
            .collect()
    }

    /// Whether `actor` is meant by `reference` at this moment.
    pub(super) fn is_meant(&self, actor: ActorId, reference: &str) -> bool {
        self.actor(actor).name == reference || self.resolve(reference).contains(&actor)
    }

    fn role(&self, index: usize) -> Option<&'static str> {
        match &self.recorder.history.actors[index].role {
            ActorRole::Broker => Some("broker"),
            ActorRole::Producer(_) => Some("producer"),
            ActorRole::Consumer(_) => Some("consumer"),
            ActorRole::Controller | ActorRole::Auditor | ActorRole::Other => None,
        }
    }

    /// `orders-0` as a partition.
    pub(super) fn partition(&self, name: &str) -> Option<TopicPartition> {
        let (topic, index) = name.rsplit_once('-')?;
        let index: u16 = index.parse().ok()?;
        let topic = self.scenario.topics.iter().find(|spec| spec.name == topic)?;
        (index < topic.config.partitions).then(|| TopicPartition::new(topic.config.topic, index))
    }

    /// The partition of `__consumer_offsets` whose leader coordinates a group.
    pub(super) fn coordinator_partition(&self, group: &str) -> Option<TopicPartition> {
        let index = self.scenario.groups.iter().position(|name| name == group)?;
        let group = GroupId(u16::try_from(index).expect("few groups"));
        let topic = self.topics.iter().find(|topic| topic.is_offsets_topic())?;
        let partition = coordinator_partition(group, topic.partitions);
        Some(TopicPartition::new(topic.topic, partition))
    }

    /// The partition of `__transaction_state` whose leader coordinates a `transactional.id`.
    pub(super) fn transaction_partition(&self, id: &str) -> Option<TopicPartition> {
        let index = self.scenario.transactional_ids.iter().position(|known| known == id)?;
        let topic = self.topics.iter().find(|topic| topic.is_transaction_topic())?;
        let partition = u16::try_from(index % usize::from(topic.partitions)).ok()?;
        Some(TopicPartition::new(topic.topic, partition))
    }

    /// Who leads a partition, as the controller knows.
    pub(super) fn leader(&self, partition: TopicPartition) -> Option<ActorId> {
        match &self.actor(CONTROLLER).process {
            Process::Controller(controller) => controller.leader(partition),
            _ => None,
        }
    }

    fn followers(&self, partition: TopicPartition) -> Vec<ActorId> {
        let Process::Controller(controller) = &self.actor(CONTROLLER).process else {
            return Vec::new();
        };
        let Some(registration) = controller.partition(partition) else { return Vec::new() };
        let leader = registration.leader;
        let mut followers: Vec<_> =
            registration.replicas.iter().copied().filter(|id| Some(*id) != leader).collect();
        followers.sort_unstable();
        followers.truncate(1);
        followers
    }
}
