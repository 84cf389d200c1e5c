//! `FindCoordinator`: the leader of the group's partition of `__consumer_offsets`, or of the
//! transactional id's partition of `__transaction_state`.
//!
//! Mirrors `KafkaApis.getCoordinator`.

use oncesim_types::{ActorId, ErrorCode};

use crate::broker::Broker;
use crate::message::{CoordinatorKey, FindCoordinatorRequest, FindCoordinatorResponse};

impl Broker {
    /// The broker that coordinates `key`, as far as this broker's image knows.
    pub(super) fn coordinator_of(&self, key: CoordinatorKey) -> Option<ActorId> {
        let index = match key {
            CoordinatorKey::Group(group) => self.group_partition(group),
            CoordinatorKey::Transaction(id) => self.transaction_partition(id),
        }?;
        let registration = self.slot(index).registration.as_ref()?;
        registration.leader.filter(|leader| self.image.is_alive(*leader))
    }

    pub(super) fn on_find_coordinator(
        &self,
        request: FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        let leader = self.coordinator_of(request.key);
        match leader {
            Some(_) => FindCoordinatorResponse { error: ErrorCode::None, coordinator: leader },
            None => FindCoordinatorResponse {
                error: ErrorCode::CoordinatorNotAvailable,
                coordinator: None,
            },
        }
    }
}
