//! The broker's copy of the metadata log, which may lag behind the controller.
//!
//! Mirrors `KRaftMetadataCache`, `BrokerMetadataPublisher`.

use std::rc::Rc;

use oncesim_types::{ActorId, BrokerEpoch, CorrelationId, Instant};

use crate::broker::Broker;
use crate::broker::lifecycle::Phase;
use crate::machine::Effects;
use crate::message::{FetchMetadataResponse, MetadataRecord};

/// A broker as the image knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokerImage {
    pub(super) epoch: BrokerEpoch,
    pub(super) fenced: bool,
    pub(super) in_controlled_shutdown: bool,
}

impl BrokerImage {
    /// Registered, not fenced, not leaving.
    pub(super) fn is_active(self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }
}

/// The brokers, and how much of the metadata log is applied. Partitions are in the broker's slots.
#[derive(Debug, Default)]
pub(super) struct ClusterImage {
    /// By actor id.
    brokers: Vec<Option<BrokerImage>>,
    /// How many records are applied.
    pub(super) applied: u64,
}

impl ClusterImage {
    pub(super) fn broker(&self, id: ActorId) -> Option<BrokerImage> {
        self.brokers.get(usize::from(id.0)).copied().flatten()
    }

    /// Registered brokers that are not fenced, in order.
    pub(super) fn alive(&self) -> impl Iterator<Item = ActorId> + '_ {
        (0..).zip(&self.brokers).filter_map(|(id, broker)| {
            broker.as_ref().is_some_and(|broker| !broker.fenced).then_some(ActorId(id))
        })
    }

    pub(super) fn is_alive(&self, id: ActorId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.fenced)
    }

    fn set(&mut self, id: ActorId, image: BrokerImage) {
        let at = usize::from(id.0);
        if self.brokers.len() <= at {
            self.brokers.resize(at + 1, None);
        }
        self.brokers[at] = Some(image);
    }
}

/// What a batch of metadata records changed. Only the last state of each partition counts: Kafka
/// publishes one delta per batch.
enum Changed {
    /// A broker is active now.
    Broker(ActorId),
    Partition(u32),
}

impl Broker {
    pub(super) fn on_metadata_records(
        &mut self,
        now: Instant,
        correlation: CorrelationId,
        response: &FetchMetadataResponse,
        effects: &mut Effects,
    ) {
        if self.link.metadata_fetch != Some(correlation) {
            return;
        }
        self.link.metadata_fetch = None;
        let mut changed = Vec::new();
        for (offset, record) in (response.from..).zip(&response.records) {
            if offset == self.image.applied {
                self.image.applied += 1;
                self.apply(record, &mut changed);
            }
        }
        for change in changed {
            match change {
                Changed::Broker(broker) => self.expand_for(now, broker, effects),
                Changed::Partition(index) => self.apply_partition(now, index, effects),
            }
        }
        if self.phase == Phase::CatchingUp
            && self.image.broker(self.id).is_some_and(|own| own.epoch == self.epoch)
        {
            self.phase = Phase::Running;
            self.heartbeat(now, effects);
        }
        self.fetch_metadata(effects);
    }

    /// Takes a record into the image, and remembers what has to act on it.
    fn apply(&mut self, record: &MetadataRecord, changed: &mut Vec<Changed>) {
        let change = match record {
            MetadataRecord::RegisterBroker { broker, epoch, .. } => {
                let image =
                    BrokerImage { epoch: *epoch, fenced: true, in_controlled_shutdown: false };
                self.image.set(*broker, image);
                return;
            }
            MetadataRecord::BrokerChange { broker, epoch, fenced, in_controlled_shutdown } => {
                let image = BrokerImage {
                    epoch: *epoch,
                    fenced: *fenced,
                    in_controlled_shutdown: *in_controlled_shutdown,
                };
                self.image.set(*broker, image);
                if !image.is_active() {
                    return;
                }
                Changed::Broker(*broker)
            }
            MetadataRecord::Partition(registration) => {
                let Some(index) = self.index_of(registration.partition) else { return };
                let slot = self.slot_mut(index);
                slot.registration = Some(Rc::clone(registration));
                if std::mem::replace(&mut slot.changed, true) {
                    return;
                }
                Changed::Partition(index)
            }
        };
        changed.push(change);
    }
}
