//! `FindCoordinator`: the leader of the group's partition of `__consumer_offsets`.
//!
//! Mirrors `KafkaApis.getCoordinator`.

use oncesim_types::ErrorCode;

use crate::broker::Broker;
use crate::message::{CoordinatorKey, FindCoordinatorRequest, FindCoordinatorResponse};

impl Broker {
    pub(super) fn on_find_coordinator(
        &self,
        request: FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        let leader = match request.key {
            CoordinatorKey::Group(group) => self
                .group_partition(group)
                .and_then(|index| self.slot(index).registration.as_ref())
                .and_then(|registration| registration.leader)
                .filter(|leader| self.image.is_alive(*leader)),
            CoordinatorKey::Transaction(_) => None,
        };
        match leader {
            Some(_) => FindCoordinatorResponse { error: ErrorCode::None, coordinator: leader },
            None => FindCoordinatorResponse {
                error: ErrorCode::CoordinatorNotAvailable,
                coordinator: None,
            },
        }
    }
}
