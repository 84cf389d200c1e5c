//! Who is meant: names, groups of names and roles, resolved when a fault strikes.
//!
//! `b1`, `shop`, `mailer-0` (one actor); `mailer` (all instances of it); `controller`, `brokers`,
//! `producers`, `consumers`, `processors`, `services`, `relays`, `systems`; `leader of orders-0`, `follower of orders-0`, `coordinator of mailer`,
//! `transaction coordinator of billing-0`.

use oncesim_kafka::group::coordinator_partition;
use oncesim_types::{ActorId, GroupId, TopicPartition};

use super::build::CONTROLLER;
use super::{Actor, Process, World};
use crate::cast::{actor_id, is_instance};

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
        let matches = |actor: &Actor| match reference {
            "brokers" | "producers" | "consumers" | "processors" | "services" | "relays"
            | "systems" => actor.class == Some(reference),
            "coordinator" => false,
            _ => is_instance(&actor.name, reference),
        };
        self.actors.iter().enumerate().filter(|it| matches(it.1)).map(|it| actor_id(it.0)).collect()
    }

    /// The actors whose processes `reference` means: what befalls a process befalls all its clients.
    pub(super) fn resolve_processes(&self, reference: &str) -> Vec<ActorId> {
        let mut actors = Vec::new();
        for actor in self.resolve(reference) {
            let process = self.actor(actor).process_of;
            if !actors.contains(&process) {
                actors.push(process);
                actors.extend(self.companions(process));
            }
        }
        actors
    }

    /// Whether `actor` is meant by `reference` at this moment, itself or with its process.
    pub(super) fn is_meant(&self, actor: ActorId, reference: &str) -> bool {
        let current = self.actor(actor);
        current.name == reference || {
            let meant = self.resolve(reference);
            meant.contains(&actor) || meant.contains(&current.process_of)
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
