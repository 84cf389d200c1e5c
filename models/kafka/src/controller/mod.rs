//! The active controller: registers brokers, watches their sessions, elects leaders and keeps the
//! in-sync replicas of every partition in the metadata log.
//!
//! Mirrors `QuorumController`, `ClusterControlManager`, `BrokerHeartbeatManager`,
//! `ReplicationControlManager` (KIP-500, KIP-631, KIP-841, KIP-903, KIP-966).
//!
//! Simplifications:
//! - The quorum is one linearizable log that survives every crash: a failover loses only what is in
//!   memory (heartbeat sessions), exactly what a new active controller lacks.
//! - A running cluster is the start of a run: every broker is registered with incarnation 0 and
//!   unfenced, every partition has its full ISR. The first process of a broker confirms that
//!   registration instead of replacing it, so that a start costs no election.
//! - No reassignment, no topic creation or deletion after the start, no log directories: nothing
//!   that delivery depends on beyond an ordinary leader change.
//! - No periodic preferred-leader election (`auto.leader.rebalance.enable`): a leader change is a
//!   fault of the scenario, and one more cause of it adds no new behaviour.

mod allocate_producer_ids;
mod alter_partition;
mod broker_heartbeat;
mod broker_registration;
mod disk;
mod elect_leaders;
mod fetch_metadata;
mod partition_change;
mod session;
#[cfg(test)]
mod tests;

use std::rc::Rc;

pub use disk::ControllerDisk;
use oncesim_types::{ActorId, BrokerEpoch, ErrorCode, Instant, TopicId, TopicPartition};

use crate::config::{BrokerConfig, TopicConfig};
use crate::controller::disk::BrokerRegistration;
use crate::controller::partition_change::Change;
use crate::machine::{Effects, Input, Machine, ReplyTo};
use crate::message::{PartitionRegistration, Request, Response};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;

/// The active controller of the cluster.
#[derive(Debug)]
pub struct Controller {
    id: ActorId,
    config: Rc<BrokerConfig>,
    topics: Rc<[TopicConfig]>,
    mutations: Mutations,
    disk: ControllerDisk,
    /// Whether `disk` was empty: the cluster's creation is still to be told.
    created: bool,
    /// Where each topic's partitions begin in the disk's image, by topic id.
    first_partition: Vec<Option<u32>>,
    /// Which of `topics` a topic id is.
    config_of: Vec<Option<u16>>,
    /// Each broker's place in the disk's image, by actor id.
    slots: Vec<Option<u16>>,
    /// When each broker was last heard, by slot: memory of this process.
    sessions: Vec<Instant>,
    /// How much of the metadata log each broker said it has applied, by slot.
    applied: Vec<u64>,
    /// Where the log ended when a broker entered controlled shutdown, by slot.
    shutdown_offset: Vec<u64>,
    session_timer: bool,
    /// Brokers that wait for records of the metadata log, by slot.
    parked: Vec<Option<ReplyTo>>,
    /// Length of the metadata log when `parked` was last served.
    served: u64,
}

impl Controller {
    /// A controller process on what survived of its log; a fresh disk makes a new, healthy cluster
    /// of `brokers` with all `topics`. A replication factor above the number of brokers is cut to it.
    #[must_use]
    pub fn new(
        id: ActorId,
        brokers: &[ActorId],
        config: Rc<BrokerConfig>,
        topics: Rc<[TopicConfig]>,
        mutations: Mutations,
        mut disk: ControllerDisk,
    ) -> Controller {
        let created = disk.is_fresh();
        if created {
            disk.create(brokers, &topics);
        }
        let mut slots = vec![None; brokers.iter().map(|b| usize::from(b.0) + 1).max().unwrap_or(0)];
        for (slot, registration) in (0..).zip(disk.brokers()) {
            slots[usize::from(registration.broker.0)] = Some(slot);
        }
        let topic_ids = topics.iter().map(|t| usize::from(t.topic.0) + 1).max().unwrap_or(0);
        let (mut first_partition, mut config_of) = (vec![None; topic_ids], vec![None; topic_ids]);
        let mut first = 0;
        for (index, topic) in (0..).zip(topics.iter()) {
            first_partition[usize::from(topic.topic.0)] = Some(first);
            config_of[usize::from(topic.topic.0)] = Some(index);
            first += u32::from(topic.partitions);
        }
        let n = brokers.len();
        let served = disk.log_end();
        Controller {
            id,
            config,
            topics,
            mutations,
            disk,
            created,
            first_partition,
            config_of,
            slots,
            sessions: vec![Instant::ZERO; n],
            applied: vec![0; n],
            shutdown_offset: vec![u64::MAX; n],
            session_timer: false,
            parked: vec![None; n],
            served,
        }
    }

    /// Its actor.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.id
    }

    /// What survives the process.
    #[must_use]
    pub fn crash(self) -> ControllerDisk {
        self.disk
    }

    /// Who leads `partition`, if anybody; `None` for an unknown partition too.
    #[must_use]
    pub fn leader(&self, partition: TopicPartition) -> Option<ActorId> {
        self.partition(partition)?.leader
    }

    /// Where the metadata log ends.
    #[must_use]
    pub fn metadata_log_end(&self) -> u64 {
        self.disk.log_end()
    }

    /// The registration of `partition`.
    #[must_use]
    pub fn partition(&self, partition: TopicPartition) -> Option<&PartitionRegistration> {
        self.index_of(partition).map(|index| &**self.disk.partition(index))
    }

    /// The epoch of `broker`, and whether it is fenced.
    #[must_use]
    pub fn broker(&self, broker: ActorId) -> Option<(BrokerEpoch, bool)> {
        let registration = self.disk.broker(self.slot(broker)?);
        Some((registration.epoch, registration.fenced))
    }

    /// Whether the cluster is whole: all brokers are unfenced, every partition has a leader and
    /// its full ISR.
    ///
    /// # Errors
    /// Names the first broker or partition that is not.
    pub fn settled(&self) -> Result<(), String> {
        self.look_settled(true)
    }

    /// Like [`Controller::settled`] without a word why not.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.look_settled(false).is_ok()
    }

    fn look_settled(&self, words: bool) -> Result<(), String> {
        for registration in self.disk.brokers() {
            if registration.fenced {
                return Err(crate::said(words, format_args!("{} is fenced", registration.broker)));
            }
            if registration.in_controlled_shutdown {
                return Err(crate::said(
                    words,
                    format_args!("{} is in controlled shutdown", registration.broker),
                ));
            }
        }
        for partition in self.disk.partitions() {
            if partition.leader.is_none() {
                return Err(crate::said(
                    words,
                    format_args!("{} has no leader", partition.partition),
                ));
            }
            if partition.isr.len() != partition.replicas.len() {
                return Err(crate::said(
                    words,
                    format_args!(
                        "{} has {} of {} replicas in sync",
                        partition.partition,
                        partition.isr.len(),
                        partition.replicas.len()
                    ),
                ));
            }
        }
        Ok(())
    }

    fn slot(&self, broker: ActorId) -> Option<u16> {
        self.slots.get(usize::from(broker.0)).copied().flatten()
    }

    fn index_of(&self, partition: TopicPartition) -> Option<usize> {
        let first = (*self.first_partition.get(usize::from(partition.topic.0))?)?;
        (partition.partition < self.topic_config(partition.topic)?.partitions)
            .then(|| first as usize + usize::from(partition.partition))
    }

    fn topic_config(&self, topic: TopicId) -> Option<&TopicConfig> {
        let index = (*self.config_of.get(usize::from(topic.0))?)?;
        self.topics.get(usize::from(index))
    }

    /// The slot of a broker that speaks with its current epoch (`checkBrokerEpoch`).
    fn checked_slot(&self, broker: ActorId, epoch: BrokerEpoch) -> Result<u16, ErrorCode> {
        let slot = self.slot(broker).ok_or(ErrorCode::BrokerIdNotRegistered)?;
        if self.disk.broker(slot).epoch == epoch {
            Ok(slot)
        } else {
            Err(ErrorCode::StaleBrokerEpoch)
        }
    }

    /// Registered, unfenced and not leaving (`ClusterControlManager.isActive`).
    fn is_active(&self, broker: ActorId) -> bool {
        self.slot(broker).is_some_and(|slot| self.disk.broker(slot).is_active())
    }

    /// Whether KIP-966 is in force.
    fn elr_enabled(&self) -> bool {
        self.config.eligible_leader_replicas && !self.mutations.has(Mutation::CtrlNoElr)
    }

    /// Writes a partition's next state to the log and tells the recorder.
    fn write_partition(&mut self, index: usize, change: Change, effects: &mut Effects) {
        let Change { registration, unclean } = change;
        effects.note(partition_changed(&registration, unclean));
        self.disk.write_partition(index, Rc::new(registration));
    }

    /// Writes a broker's next state to the log and tells the recorder if it is fenced or unfenced.
    fn write_broker(&mut self, slot: u16, next: BrokerRegistration, effects: &mut Effects) {
        if self.disk.broker(slot).fenced != next.fenced {
            effects.note(Note::BrokerFenced { broker: next.broker, fenced: next.fenced });
        }
        self.disk.write_broker(slot, next);
    }

    fn start(&mut self, now: Instant, effects: &mut Effects) {
        if std::mem::take(&mut self.created) {
            for registration in self.disk.brokers() {
                let BrokerRegistration { broker, epoch, .. } = *registration;
                effects.note(Note::BrokerRegistered { broker, epoch, clean: true });
            }
            for partition in self.disk.partitions() {
                effects.note(partition_changed(partition, false));
            }
        }
        self.sessions.fill(now);
        self.arm_session_timer(now, effects);
    }
}

fn partition_changed(partition: &PartitionRegistration, unclean: bool) -> Note {
    Note::PartitionChanged {
        partition: partition.partition,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: partition.isr.as_slice().into(),
        elr: partition.elr.as_slice().into(),
        unclean,
        recovery: partition.recovery,
    }
}

impl Machine for Controller {
    fn step(&mut self, now: Instant, input: Input, effects: &mut Effects) {
        match input {
            Input::Start => self.start(now, effects),
            Input::Request { from, connection, correlation, body } => {
                let to = ReplyTo { client: from, connection, correlation };
                let answer = match body {
                    Request::BrokerRegistration(request) => {
                        Response::BrokerRegistration(self.on_registration(now, request, effects))
                    }
                    Request::BrokerHeartbeat(request) => {
                        Response::BrokerHeartbeat(self.on_heartbeat(now, request, effects))
                    }
                    Request::AlterPartition(request) => Response::AlterPartition(Box::new(
                        self.on_alter_partition(&request, effects),
                    )),
                    Request::ElectLeaders(request) => {
                        Response::ElectLeaders(self.on_elect_leaders(&request, effects))
                    }
                    Request::AllocateProducerIds(request) => {
                        Response::AllocateProducerIds(self.on_allocate_producer_ids(request))
                    }
                    Request::FetchMetadata(request) => {
                        return self.on_fetch_metadata(request, to, effects);
                    }
                    // A controller does not serve clients: Kafka closes such a connection.
                    _ => {
                        effects.0.push(crate::machine::Effect::CloseConnection {
                            peer: to.client,
                            connection: to.connection,
                        });
                        return;
                    }
                };
                effects.reply(to, answer);
                self.serve_parked(effects);
            }
            Input::Timer(session::SESSION_TIMER) => {
                self.on_session_timer(now, effects);
                self.serve_parked(effects);
            }
            Input::ConnectionClosed { peer, connection } => {
                if let Some(slot) = self.slot(peer) {
                    self.parked[usize::from(slot)].take_if(|to| to.connection == connection);
                }
            }
            Input::Timer(_)
            | Input::Response { .. }
            | Input::Disconnected { .. }
            | Input::Durable(_)
            | Input::DiskFull(_)
            | Input::Call(..) => {}
        }
    }
}
