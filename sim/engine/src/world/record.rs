//! What clients are asked and what they answer, written down at their edge.

use oncesim_history::ClientKind;
use oncesim_kafka::consumer::ConsumerCall;
use oncesim_kafka::machine::{Call, Completion};
use oncesim_kafka::producer::{ProducerCall, ProducerCompletion, TransactionError};
use oncesim_types::{ActorId, CallId, RecordId, TopicPartition, TransactionNumber};

use super::World;
use crate::recorder::outcome;

/// A call of the transaction API: one at a time, as one thread makes them.
#[derive(Debug, Clone, Copy)]
pub(super) enum TransactionCall {
    Init,
    Begin(TransactionNumber),
    SendOffsets,
    End,
}

impl World {
    pub(super) fn record_call(&mut self, actor: ActorId, call: CallId, attempt: u32, body: &Call) {
        let who = (actor, self.actor(actor).incarnation);
        match body {
            Call::Producer(body) => self.record_producer_call(actor, call, attempt, body),
            Call::Consumer(ConsumerCall::Poll) => {
                self.recorder.client(who, ClientKind::PollInvoke);
            }
            Call::Consumer(ConsumerCall::Subscribe(_)) => {
                if let Some(group) = self.actor(actor).group {
                    self.recorder.client(who, ClientKind::Subscribe { group });
                }
            }
            Call::Consumer(ConsumerCall::Assign(_)) => {
                self.recorder.client(who, ClientKind::Assign);
            }
            Call::Consumer(
                ConsumerCall::CommitSync(Some(offsets)) | ConsumerCall::CommitAsync(Some(offsets)),
            ) => {
                let sync = matches!(body, Call::Consumer(ConsumerCall::CommitSync(_)));
                if let Some(group) = self.actor(actor).group {
                    let offsets: Vec<_> =
                        offsets.iter().map(|(at, next, _)| (*at, *next)).collect();
                    self.recorder.commit_invoke(who, call, group, &offsets, sync);
                }
            }
            Call::Consumer(_) => {}
        }
    }

    fn record_producer_call(
        &mut self,
        actor: ActorId,
        call: CallId,
        attempt: u32,
        body: &ProducerCall,
    ) {
        let who = (actor, self.actor(actor).incarnation);
        let number = self.actor(actor).transaction;
        let pending = match body {
            ProducerCall::Send { topic, partition, record } => {
                if record.id != RecordId::new(actor, call.0 >> 16) {
                    self.actor_mut(actor).sends.insert(call, record.id);
                }
                let target = TopicPartition::new(*topic, partition.unwrap_or(u16::MAX));
                return self.recorder.send_invoke(who, call, target, record, attempt);
            }
            ProducerCall::Flush | ProducerCall::Close => return,
            ProducerCall::InitTransactions => {
                if let Some(transactional_id) = self.actor(actor).transactional_id {
                    let kind = ClientKind::InitTransactions { call, transactional_id };
                    self.recorder.client(who, kind);
                }
                TransactionCall::Init
            }
            // It is one once the call has returned.
            ProducerCall::BeginTransaction { number } => TransactionCall::Begin(*number),
            ProducerCall::SendOffsets { group, offsets, consumer } => {
                self.recorder.send_offsets(who, call, (number, *group), offsets, consumer);
                TransactionCall::SendOffsets
            }
            ProducerCall::EndTransaction(result) => {
                let result = *result;
                self.recorder.client(who, ClientKind::EndTransaction { call, number, result });
                TransactionCall::End
            }
        };
        self.actor_mut(actor).transaction_call = Some((call, pending));
    }

    pub(super) fn record_completion(
        &mut self,
        actor: ActorId,
        call: CallId,
        completion: &Completion,
    ) {
        let who = (actor, self.actor(actor).incarnation);
        match completion {
            Completion::Producer(ProducerCompletion::Sent(sent)) => {
                // A relay sends on what a service has made.
                let sent_on = self.actor_mut(actor).sends.remove(&call);
                let record = sent_on.unwrap_or_else(|| RecordId::new(actor, call.0 >> 16));
                self.recorder.send_end(who, call, record, sent);
            }
            Completion::Producer(ProducerCompletion::Transaction(result)) => {
                self.record_transaction_end(actor, call, *result);
            }
            Completion::Producer(_) => {}
            Completion::Consumer(end) => {
                let group = self.actor(actor).group;
                self.recorder.consumer_end(who, group, call, end);
            }
        }
    }

    fn record_transaction_end(
        &mut self,
        actor: ActorId,
        call: CallId,
        result: Result<(), TransactionError>,
    ) {
        let who = (actor, self.actor(actor).incarnation);
        let Some((_, kind)) = self.actor_mut(actor).transaction_call.take_if(|it| it.0 == call)
        else {
            return;
        };
        let outcome = match result {
            Ok(()) => oncesim_history::Outcome::Ok,
            Err(thrown) => outcome(thrown.error, thrown.maybe_done),
        };
        let kind = match kind {
            TransactionCall::Init => ClientKind::InitTransactionsEnd { call, outcome },
            TransactionCall::Begin(number) => {
                if result.is_err() {
                    return;
                }
                self.actor_mut(actor).transaction = number;
                ClientKind::TransactionBegin { number }
            }
            TransactionCall::SendOffsets => ClientKind::SendOffsetsEnd { call, outcome },
            TransactionCall::End => ClientKind::TransactionEnd { call, outcome },
        };
        self.recorder.client(who, kind);
    }
}
