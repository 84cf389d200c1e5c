//! `InitProducerId`: a producer id for a producer that is idempotent only; with a transactional id
//! the transaction coordinator decides.
//!
//! Mirrors `RPCProducerIdManager` (KIP-730), `TransactionCoordinator.handleInitProducerId` without
//! a transactional id.
//!
//! Simplifications: the next block is asked for when the last one is used up (Kafka: when 90 % of
//! it are), which costs one round trip per 1000 producers. Requests wait for it; Kafka answers
//! COORDINATOR_LOAD_IN_PROGRESS, and the client asks again.

use oncesim_types::{CorrelationId, ErrorCode, Instant, ProducerEpoch, ProducerId};

use crate::broker::Broker;
use crate::machine::{Effects, ReplyTo};
use crate::message::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, Request, Response,
};
use crate::transaction::ProducerIds;

impl Broker {
    pub(super) fn on_init_producer_id(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: InitProducerIdRequest,
        effects: &mut Effects,
    ) {
        if request.transactional_id.is_some() {
            self.on_transaction_request(now, to, Request::InitProducerId(request));
            return;
        }
        self.waiting_for_producer_id.push_back((to, None));
        self.hand_out_producer_ids(now, effects);
    }

    pub(super) fn hand_out_producer_ids(&mut self, now: Instant, effects: &mut Effects) {
        while !self.transactions.producer_ids().is_empty() {
            let Some((to, request)) = self.waiting_for_producer_id.pop_front() else { return };
            if let Some(request) = request {
                self.on_transaction_request(now, to, request);
                continue;
            }
            let id = self.transactions.producer_ids().take().expect("not empty");
            let answer = InitProducerIdResponse {
                error: ErrorCode::None,
                producer_id: id,
                producer_epoch: ProducerEpoch(0),
            };
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
        now: Instant,
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
        *self.transactions.producer_ids() = ProducerIds::block(response.first, response.count);
        self.hand_out_producer_ids(now, effects);
    }

    /// No block to be had now: the clients try again.
    pub(super) fn refuse_producer_ids(&mut self, effects: &mut Effects) {
        let error = ErrorCode::CoordinatorLoadInProgress;
        let (producer_id, producer_epoch) = (ProducerId::NONE, ProducerEpoch::NONE);
        for (to, request) in std::mem::take(&mut self.waiting_for_producer_id) {
            let body = match request {
                Some(Request::EndTxn(_)) => {
                    Response::EndTxn(EndTxnResponse { error, producer_id, producer_epoch })
                }
                _ => Response::InitProducerId(InitProducerIdResponse {
                    error,
                    producer_id,
                    producer_epoch,
                }),
            };
            effects.reply(to, body);
        }
    }
}
