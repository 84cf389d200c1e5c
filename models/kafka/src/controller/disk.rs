//! The replicated metadata log and the image that it replays to.
//!
//! Mirrors the `__cluster_metadata` log and its snapshot; `PartitionRegistration.merge` for epochs.
//!
//! Simplifications: the image is kept beside the log instead of being replayed after a failover
//! (it is a pure function of the log); the next producer id is kept in the image only, because no
//! broker reads it.

use std::rc::Rc;

use oncesim_types::{ActorId, BrokerEpoch, LeaderEpoch, PartitionEpoch, TopicPartition};

use crate::config::TopicConfig;
use crate::message::{MetadataRecord, PartitionRegistration, RecoveryState};

/// A broker in the metadata image.
#[derive(Debug, Clone, Copy)]
pub(super) struct BrokerRegistration {
    pub(super) broker: ActorId,
    pub(super) epoch: BrokerEpoch,
    pub(super) incarnation: u32,
    pub(super) fenced: bool,
    pub(super) in_controlled_shutdown: bool,
}

impl BrokerRegistration {
    /// May lead, and may enter an in-sync set.
    pub(super) fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }
}

/// The controller's replicated log: it survives every crash. The default is a fresh cluster.
#[derive(Debug, Clone, Default)]
pub struct ControllerDisk {
    records: Vec<Rc<MetadataRecord>>,
    brokers: Vec<BrokerRegistration>,
    partitions: Vec<Rc<PartitionRegistration>>,
    next_producer_id: i64,
}

impl ControllerDisk {
    pub(super) fn is_fresh(&self) -> bool {
        self.records.is_empty()
    }

    /// The log of a cluster that has been running in good health: partition `p`, replica `r` is on
    /// broker `(p + r + topic) % n`.
    pub(super) fn create(&mut self, brokers: &[ActorId], topics: &[TopicConfig]) {
        for &broker in brokers {
            let epoch = self.next_broker_epoch();
            self.records.push(Rc::new(MetadataRecord::RegisterBroker {
                broker,
                epoch,
                incarnation: 0,
            }));
            self.brokers.push(BrokerRegistration {
                broker,
                epoch,
                incarnation: 0,
                fenced: true,
                in_controlled_shutdown: false,
            });
        }
        for (slot, registration) in (0..).zip(self.brokers.clone()) {
            self.write_broker(slot, BrokerRegistration { fenced: false, ..registration });
        }
        for (shift, topic) in topics.iter().enumerate() {
            for partition in 0..topic.partitions {
                let factor = usize::from(topic.replication_factor).min(brokers.len());
                let replicas: Vec<ActorId> = (0..factor)
                    .map(|r| brokers[(usize::from(partition) + r + shift) % brokers.len()])
                    .collect();
                let registration = Rc::new(PartitionRegistration {
                    partition: TopicPartition::new(topic.topic, partition),
                    leader: replicas.first().copied(),
                    isr: replicas.clone(),
                    replicas,
                    elr: Vec::new(),
                    last_known_elr: Vec::new(),
                    leader_epoch: LeaderEpoch(0),
                    partition_epoch: PartitionEpoch(0),
                    recovery: RecoveryState::Recovered,
                });
                self.records.push(Rc::new(MetadataRecord::Partition(Rc::clone(&registration))));
                self.partitions.push(registration);
            }
        }
    }

    /// How many records the log has.
    pub(super) fn log_end(&self) -> u64 {
        self.records.len() as u64
    }

    /// The records from index `from` on; none when `from` is not below the log end.
    pub(super) fn records_from(&self, from: u64) -> &[Rc<MetadataRecord>] {
        usize::try_from(from).ok().and_then(|from| self.records.get(from..)).unwrap_or(&[])
    }

    pub(super) fn brokers(&self) -> &[BrokerRegistration] {
        &self.brokers
    }

    pub(super) fn broker(&self, slot: u16) -> &BrokerRegistration {
        &self.brokers[usize::from(slot)]
    }

    pub(super) fn partitions(&self) -> &[Rc<PartitionRegistration>] {
        &self.partitions
    }

    pub(super) fn partition(&self, index: usize) -> &Rc<PartitionRegistration> {
        &self.partitions[index]
    }

    /// The epoch of a broker that registers now: the offset of its record.
    pub(super) fn next_broker_epoch(&self) -> BrokerEpoch {
        BrokerEpoch(i64::try_from(self.records.len()).expect("a log has fewer than 2^63 records"))
    }

    /// Writes the registration of a new process, which starts out fenced.
    pub(super) fn register_broker(&mut self, slot: u16, incarnation: u32) -> BrokerEpoch {
        let epoch = self.next_broker_epoch();
        let registration = &mut self.brokers[usize::from(slot)];
        registration.epoch = epoch;
        registration.incarnation = incarnation;
        registration.fenced = true;
        registration.in_controlled_shutdown = false;
        let broker = registration.broker;
        self.records.push(Rc::new(MetadataRecord::RegisterBroker { broker, epoch, incarnation }));
        epoch
    }

    pub(super) fn write_broker(&mut self, slot: u16, next: BrokerRegistration) {
        self.brokers[usize::from(slot)] = next;
        self.records.push(Rc::new(MetadataRecord::BrokerChange {
            broker: next.broker,
            epoch: next.epoch,
            fenced: next.fenced,
            in_controlled_shutdown: next.in_controlled_shutdown,
        }));
    }

    pub(super) fn write_partition(&mut self, index: usize, next: Rc<PartitionRegistration>) {
        self.records.push(Rc::new(MetadataRecord::Partition(Rc::clone(&next))));
        self.partitions[index] = next;
    }

    /// Takes the next `count` producer ids.
    pub(super) fn take_producer_ids(&mut self, count: i64) -> i64 {
        let first = self.next_producer_id;
        self.next_producer_id = first.checked_add(count).expect("producer ids do not run out");
        first
    }
}
