//! `InitProducerId`: a producer id for a producer that is idempotent only.
//!
//! Mirrors `RPCProducerIdManager` (KIP-730), `TransactionCoordinator.handleInitProducerId` without
//! a transactional id.
//!
//! Simplifications: the next block is asked for when the last one is used up (Kafka: when 90 % of
//! it are), which costs one round trip per 1000 producers.

use oncesim_types::{CorrelationId, ErrorCode, Instant, ProducerEpoch, ProducerId};

use crate::broker::Broker;
use crate::machine::{Effects, ReplyTo};
use crate::message::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, InitProducerIdRequest,
    InitProducerIdResponse, Request, Response,
};

impl Broker {
    pub(super) fn on_init_producer_id(
        &mut self,
        _now: Instant,
        to: ReplyTo,
        request: InitProducerIdRequest,
        effects: &mut Effects,
    ) {
        if request.transactional_id.is_some() {
            refuse(to, ErrorCode::UnsupportedVersion, effects);
            return;
        }
        self.waiting_for_producer_id.push_back(to);
        self.hand_out_producer_ids(effects);
    }

    fn hand_out_producer_ids(&mut self, effects: &mut Effects) {
        let (next, end) = &mut self.producer_ids;
        while *next < *end {
            let Some(to) = self.waiting_for_producer_id.pop_front() else { return };
            let answer = InitProducerIdResponse {
                error: ErrorCode::None,
                producer_id: *next,
                producer_epoch: ProducerEpoch(0),
            };
            *next = ProducerId(next.0 + 1);
            effects.reply(to, Response::InitProducerId(answer));
        }
        if !self.waiting_for_producer_id.is_empty() && self.link.producer_ids.is_none() {
            let correlation = self.correlation();
            self.link.producer_ids = Some(correlation);
            let request = AllocateProducerIdsRequest { broker: self.id, broker_epoch: self.epoch };
            effects.send(self.controller, correlation, Request::AllocateProducerIds(request));
        }
    }

    pub(super) fn on_producer_ids_allocated(
        &mut self,
        correlation: CorrelationId,
        response: AllocateProducerIdsResponse,
        effects: &mut Effects,
    ) {
        if self.link.producer_ids != Some(correlation) {
            return;
        }
        self.link.producer_ids = None;
        if response.error != ErrorCode::None || response.count <= 0 {
            self.refuse_producer_ids(effects);
            return;
        }
        let end = ProducerId(response.first.0.saturating_add(response.count));
        self.producer_ids = (response.first, end);
        self.hand_out_producer_ids(effects);
    }

    /// No block to be had now: the clients try again.
    pub(super) fn refuse_producer_ids(&mut self, effects: &mut Effects) {
        for to in std::mem::take(&mut self.waiting_for_producer_id) {
            refuse(to, ErrorCode::CoordinatorLoadInProgress, effects);
        }
    }
}

fn refuse(to: ReplyTo, error: ErrorCode, effects: &mut Effects) {
    let answer = InitProducerIdResponse {
        error,
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
    };
    effects.reply(to, Response::InitProducerId(answer));
}
