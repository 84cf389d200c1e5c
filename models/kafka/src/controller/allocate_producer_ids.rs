//! `AllocateProducerIds`: a broker gets a block of producer ids.
//!
//! Mirrors `ProducerIdControlManager` (KIP-730).

use oncesim_types::{ErrorCode, ProducerId};

use crate::controller::Controller;
use crate::message::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};

/// `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`
const BLOCK: i64 = 1000;

impl Controller {
    pub(super) fn on_allocate_producer_ids(
        &mut self,
        request: AllocateProducerIdsRequest,
    ) -> AllocateProducerIdsResponse {
        match self.checked_slot(request.broker, request.broker_epoch) {
            Ok(_) => AllocateProducerIdsResponse {
                error: ErrorCode::None,
                first: ProducerId(self.disk.take_producer_ids(BLOCK)),
                count: BLOCK,
            },
            Err(error) => AllocateProducerIdsResponse { error, first: ProducerId::NONE, count: 0 },
        }
    }
}
