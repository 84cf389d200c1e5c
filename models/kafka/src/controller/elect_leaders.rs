//! `ElectLeaders`: an operator moves the leadership of a partition.
//!
//! Mirrors `ReplicationControlManager.electLeaders` (KIP-183, KIP-460).
//!
//! Simplifications:
//! - Any in-sync replica may be asked for by name (Kafka: the preferred one; a reassignment that
//!   only reorders replicas gives the others, and is the same leader change).
//! - An unclean election replaces a leader that lives (Kafka answers ELECTION_NOT_NEEDED). It is
//!   the fault "unclean election", and stands for the moment at which the leader was away.

use oncesim_types::{ActorId, ErrorCode};

use crate::controller::Controller;
use crate::controller::partition_change::Change;
use crate::machine::Effects;
use crate::message::{ElectLeadersRequest, PartitionRegistration, RecoveryState};

impl Controller {
    pub(super) fn on_elect_leaders(
        &mut self,
        request: &ElectLeadersRequest,
        effects: &mut Effects,
    ) -> ErrorCode {
        let Some(index) = self.index_of(request.partition) else {
            return ErrorCode::UnknownTopicOrPartition;
        };
        let old = &**self.disk.partition(index);
        if request.preferred.is_some() && request.preferred == old.leader {
            return ErrorCode::None;
        }
        let Some(elected) = self.choose(old, request) else {
            return ErrorCode::EligibleLeadersNotAvailable;
        };
        let unclean = !old.isr.contains(&elected);
        let mut registration = PartitionRegistration {
            leader: Some(elected),
            leader_epoch: old.leader_epoch.next(),
            partition_epoch: old.partition_epoch.next(),
            last_known_elr: Vec::new(),
            ..old.clone()
        };
        if unclean {
            registration.isr = vec![elected];
            registration.elr.clear();
            registration.recovery = RecoveryState::Recovering;
        }
        self.write_partition(index, Change { registration, unclean }, effects);
        ErrorCode::None
    }

    fn choose(
        &self,
        old: &PartitionRegistration,
        request: &ElectLeadersRequest,
    ) -> Option<ActorId> {
        let in_sync = |replica: &ActorId| old.isr.contains(replica);
        old.replicas
            .iter()
            .copied()
            .filter(|replica| request.preferred.is_none_or(|wanted| wanted == *replica))
            .filter(|replica| old.leader != Some(*replica) && self.is_active(*replica))
            .find(|replica| match request.preferred {
                Some(_) => request.unclean || in_sync(replica),
                None => request.unclean != in_sync(replica),
            })
    }
}
