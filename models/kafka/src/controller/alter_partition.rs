//! `AlterPartition`: a leader asks for other in-sync replicas.
//!
//! Mirrors `ReplicationControlManager.alterPartition` and `validateAlterPartitionData` (KIP-497,
//! KIP-841: only active replicas; KIP-903: only the process that the leader saw).
//!
//! Simplifications: one partition per request (Kafka batches them and checks each alone).

use std::rc::Rc;

use oncesim_types::{ActorId, ErrorCode};

use crate::controller::Controller;
use crate::controller::partition_change::PartitionChange;
use crate::machine::Effects;
use crate::message::{
    AlterPartitionRequest, AlterPartitionResponse, PartitionRegistration, RecoveryState,
};
use crate::mutation::Mutation;
use crate::note::Note;

impl Controller {
    pub(super) fn on_alter_partition(
        &mut self,
        request: &AlterPartitionRequest,
        effects: &mut Effects,
    ) -> AlterPartitionResponse {
        let partition = request.partition;
        match self.alter_partition(request, effects) {
            Ok(state) => {
                AlterPartitionResponse { partition, error: ErrorCode::None, state: Some(state) }
            }
            Err(error) => AlterPartitionResponse { partition, error, state: None },
        }
    }

    fn alter_partition(
        &mut self,
        request: &AlterPartitionRequest,
        effects: &mut Effects,
    ) -> Result<Rc<PartitionRegistration>, ErrorCode> {
        self.checked_slot(request.broker, request.broker_epoch)?;
        let index = self.index_of(request.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = Rc::clone(self.disk.partition(index));
        check_epochs_and_set(&partition, request)?;
        for &(replica, epoch) in &request.new_isr {
            self.check_replica(replica, epoch, effects)?;
        }
        let topic = self
            .topic_config(request.partition.topic)
            .expect("a partition of the image belongs to a configured topic");
        let change = PartitionChange {
            partition: &partition,
            target_isr: request.new_isr.iter().map(|(replica, _)| *replica).collect(),
            recovery: request.recovery,
            unclean_shutdown: None,
            elr_enabled: self.elr_enabled(),
            min_isr: topic.min_insync_replicas,
            unclean_election: topic.unclean_leader_election,
        }
        // The sender leads by the checks above; whoever it names beside itself does not.
        .build(|replica| replica == request.broker || self.is_active(replica));
        if let Some(change) = change {
            self.write_partition(index, change, effects);
        }
        Ok(Rc::clone(self.disk.partition(index)))
    }

    /// Whether `replica` may enter an in-sync set.
    fn check_replica(
        &self,
        replica: ActorId,
        epoch: oncesim_types::BrokerEpoch,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        let slot = self.slot(replica).ok_or(ErrorCode::IneligibleReplica)?;
        let registration = self.disk.broker(slot);
        if !registration.is_active() {
            if !self.mutations.has(Mutation::IsrAllowFenced) {
                return Err(ErrorCode::IneligibleReplica);
            }
            effects.note(Note::MutationHit);
        }
        if registration.epoch != epoch {
            if !self.mutations.has(Mutation::IsrNoBrokerEpoch) {
                return Err(ErrorCode::IneligibleReplica);
            }
            effects.note(Note::MutationHit);
        }
        Ok(())
    }
}

/// The checks that concern one partition alone, in Kafka's order.
fn check_epochs_and_set(
    partition: &PartitionRegistration,
    request: &AlterPartitionRequest,
) -> Result<(), ErrorCode> {
    // An epoch from the future: the leader has heard from a newer controller than this one.
    if request.leader_epoch > partition.leader_epoch
        || request.partition_epoch > partition.partition_epoch
    {
        return Err(ErrorCode::NotController);
    }
    if request.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if partition.leader != Some(request.broker) {
        return Err(ErrorCode::InvalidRequest);
    }
    if request.partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let new_isr = &request.new_isr;
    let is_a_set_of_replicas = new_isr.iter().enumerate().all(|(i, (replica, _))| {
        partition.replicas.contains(replica) && !new_isr[..i].iter().any(|(r, _)| r == replica)
    });
    let has_leader = new_isr.iter().any(|(replica, _)| *replica == request.broker);
    if !is_a_set_of_replicas || !has_leader {
        return Err(ErrorCode::InvalidRequest);
    }
    let recovering = request.recovery == RecoveryState::Recovering;
    if recovering && (new_isr.len() > 1 || partition.recovery == RecoveryState::Recovered) {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(())
}
