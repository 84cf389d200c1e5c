//! The coordinator of one broker: all its shards behind the interface that the broker calls.
//!
//! Mirrors `TransactionCoordinator` (`onElection`, `onResignation`, dispatch of requests).

use std::rc::Rc;

use oncesim_types::{
    ActorId, CorrelationId, ErrorCode, Instant, LeaderEpoch, Offset, TopicPartition,
    TransactionalId,
};

use crate::config::BrokerConfig;
use crate::log::batch::CoordinatorRecord;
use crate::machine::{ReplyTo, TimerKey};
use crate::message::{
    EndTxnResponse, InitProducerIdResponse, Request, Response, WriteTxnMarkersRequest,
    WrittenMarkers,
};
use crate::mutation::{Mutation, Mutations};
use crate::transaction::markers::{MarkerChannel, Retry};
use crate::transaction::shard::{Shard, ShardState, Turn};
use crate::transaction::writes::{TimerKind, Writes, read_timer_key, timer_key};
use crate::transaction::{
    ProducerIds, TransactionEffect, add_offsets_to_txn, add_partitions_to_txn, end_txn,
    init_producer_id,
};

/// Which of the timers are set.
#[derive(Debug, Default)]
pub(super) struct Armed {
    /// When periodic scans began: with the first election.
    pub(super) phase: Instant,
    pub(super) write: bool,
    pub(super) abort: bool,
    pub(super) expire: bool,
}

/// The transaction coordinator of one broker.
#[derive(Debug)]
pub struct TransactionCoordinator {
    config: Rc<BrokerConfig>,
    mutations: Mutations,
    /// By partition of `__transaction_state`.
    shards: Vec<Option<Shard>>,
    markers: MarkerChannel,
    armed: Armed,
    producer_ids: ProducerIds,
}

/// Takes a coordinator apart: one shard, and the turn that works on it.
macro_rules! turn {
    ($self:ident, $now:expr, $out:expr) => {
        Turn {
            now: $now,
            config: &$self.config,
            mutations: $self.mutations,
            producer_ids: &mut $self.producer_ids,
            markers: &mut $self.markers,
            armed: &mut $self.armed,
            out: $out,
        }
    };
}

impl TransactionCoordinator {
    /// A coordinator that has not been elected for anything.
    #[must_use]
    pub fn new(config: Rc<BrokerConfig>, mutations: Mutations) -> TransactionCoordinator {
        TransactionCoordinator {
            config,
            mutations,
            shards: Vec::new(),
            markers: MarkerChannel::default(),
            armed: Armed::default(),
            producer_ids: ProducerIds::NONE,
        }
    }

    /// The broker's block of producer ids, which producers without a transactional id share.
    pub fn producer_ids(&mut self) -> &mut ProducerIds {
        &mut self.producer_ids
    }

    /// The broker has become leader of `partition` with `epoch`: `loaded` follows in the same step.
    pub fn elected(
        &mut self,
        now: Instant,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        out: &mut Vec<TransactionEffect>,
    ) {
        if self.shards.is_empty() {
            self.armed.phase = now;
        }
        let at = usize::from(partition.partition);
        if self.shards.len() <= at {
            self.shards.resize_with(at + 1, || None);
        }
        let shard = self.shards[at].get_or_insert_with(|| Shard::new(partition));
        shard.elected(epoch, &mut turn!(self, now, out));
    }

    /// The whole log of `partition` up to its log end offset, in order, and the high watermark that
    /// the broker has at that moment. Requests get COORDINATOR_LOAD_IN_PROGRESS until
    /// `high_watermark` covers it.
    pub fn loaded(
        &mut self,
        now: Instant,
        partition: u16,
        records: &mut dyn Iterator<Item = (Offset, CoordinatorRecord)>,
        high_watermark: Offset,
        out: &mut Vec<TransactionEffect>,
    ) {
        let Some(Some(shard)) = self.shards.get_mut(usize::from(partition)) else { return };
        shard.load(records, high_watermark, &mut turn!(self, now, out));
    }

    /// The broker does not lead `partition` any more: waiting requests get NOT_COORDINATOR, and
    /// nothing that happened under the old epoch has an effect any more.
    pub fn resigned(&mut self, now: Instant, partition: u16, out: &mut Vec<TransactionEffect>) {
        let Some(Some(shard)) = self.shards.get_mut(usize::from(partition)) else { return };
        shard.resigned(&mut turn!(self, now, out));
    }

    /// Serves `InitProducerId` with a transactional id, `AddPartitionsToTxn`, `AddOffsetsToTxn` or
    /// `EndTxn` of an id that maps to `partition` of `__transaction_state`; others are ignored.
    /// `offsets` is the partition of `__consumer_offsets` of the group that the request names.
    pub fn request(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: Request,
        partition: u16,
        offsets: Option<TopicPartition>,
        out: &mut Vec<TransactionEffect>,
    ) {
        let shard = self.shards.get_mut(usize::from(partition)).and_then(Option::as_mut);
        let error = match &shard {
            Some(shard) if shard.state == ShardState::Active => ErrorCode::None,
            Some(shard) if shard.state == ShardState::Loading => {
                ErrorCode::CoordinatorLoadInProgress
            }
            _ => ErrorCode::NotCoordinator,
        };
        let Some(shard) = shard.filter(|_| error == ErrorCode::None) else {
            if let Some(response) = refuse(&request, error) {
                out.push(TransactionEffect::Reply(to, response));
            }
            return;
        };
        let turn = &mut turn!(self, now, out);
        match request {
            Request::InitProducerId(request) => {
                if let Some(id) = request.transactional_id {
                    init_producer_id::serve(shard, to, id, request, turn);
                }
            }
            Request::AddPartitionsToTxn(request) => {
                add_partitions_to_txn::serve(shard, to, *request, turn);
            }
            Request::AddOffsetsToTxn(request) => match offsets {
                Some(offsets) => add_offsets_to_txn::serve(shard, to, request, offsets, turn),
                None => {
                    turn.reply(to, Response::AddOffsetsToTxn(ErrorCode::CoordinatorNotAvailable));
                }
            },
            Request::EndTxn(request) => end_txn::serve(shard, to, request, turn),
            _ => {}
        }
    }

    /// The record of `ticket` is in the leader's log at `offset`. Called before the
    /// `high_watermark` that covers it.
    pub fn appended(
        &mut self,
        now: Instant,
        ticket: u64,
        offset: Offset,
        out: &mut Vec<TransactionEffect>,
    ) {
        let Some(Some(shard)) = self.shards.get_mut(Writes::partition_of(ticket)) else { return };
        shard.writes.appended(ticket, offset);
        if self.mutations.has(Mutation::CoordinatorReplyBeforeHighWatermark)
            && let Some(write) = shard.writes.take(ticket)
        {
            let turn = &mut turn!(self, now, out);
            turn.hits(Mutation::CoordinatorReplyBeforeHighWatermark);
            shard.finish(write, Ok(()), turn);
        }
    }

    /// The record of `ticket` was not appended.
    pub fn append_failed(
        &mut self,
        now: Instant,
        ticket: u64,
        error: ErrorCode,
        out: &mut Vec<TransactionEffect>,
    ) {
        let Some(Some(shard)) = self.shards.get_mut(Writes::partition_of(ticket)) else { return };
        if let Some(write) = shard.writes.take(ticket) {
            shard.finish(write, Err(error), &mut turn!(self, now, out));
        }
    }

    /// The high watermark of `partition` is `high_watermark`: what is below is replicated.
    pub fn high_watermark(
        &mut self,
        now: Instant,
        partition: u16,
        high_watermark: Offset,
        out: &mut Vec<TransactionEffect>,
    ) {
        let Some(Some(shard)) = self.shards.get_mut(usize::from(partition)) else { return };
        shard.advance(high_watermark, &mut turn!(self, now, out));
    }

    /// Whether `dispatch_markers` may have something to send.
    #[must_use]
    pub fn has_markers_to_send(&self) -> bool {
        self.markers.has_work()
    }

    /// What to send to which leader now; `markers_sent` follows for each.
    pub fn dispatch_markers(
        &mut self,
        leader_of: impl Fn(TopicPartition) -> Option<ActorId>,
        out: &mut Vec<TransactionEffect>,
    ) -> Vec<(ActorId, WriteTxnMarkersRequest)> {
        self.markers.dispatch(leader_of, out)
    }

    /// The request for `broker` is under way.
    pub fn markers_sent(
        &mut self,
        now: Instant,
        broker: ActorId,
        correlation: CorrelationId,
        out: &mut Vec<TransactionEffect>,
    ) {
        self.markers.sent(now, broker, correlation, out);
    }

    /// A leader answered.
    pub fn markers_written(
        &mut self,
        now: Instant,
        broker: ActorId,
        correlation: CorrelationId,
        written: &WrittenMarkers,
        out: &mut Vec<TransactionEffect>,
    ) {
        let answered = self.markers.answered(broker, correlation, written);
        for answered in answered.into_iter().flatten() {
            let at = usize::from(answered.0.shard);
            if let Some(Some(shard)) = self.shards.get_mut(at) {
                shard.markers_answered(answered, &mut turn!(self, now, out));
            }
        }
    }

    /// The connection to a broker is gone.
    pub fn disconnected(&mut self, broker: ActorId, out: &mut Vec<TransactionEffect>) {
        self.markers.disconnected(broker, out);
    }

    /// A timer of the coordinator is due.
    pub fn timer(&mut self, now: Instant, key: TimerKey, out: &mut Vec<TransactionEffect>) {
        match read_timer_key(key) {
            Some(TimerKind::Write) => self.expire_writes(now, out),
            Some(TimerKind::Abort) => {
                self.armed.abort = false;
                for shard in self.shards.iter_mut().flatten() {
                    shard.abort_timed_out(&mut turn!(self, now, out));
                }
            }
            Some(TimerKind::Expire) => {
                self.armed.expire = false;
                for shard in self.shards.iter_mut().flatten() {
                    shard.remove_expired(&mut turn!(self, now, out));
                }
            }
            Some(TimerKind::MarkerRetry) => {
                for retry in self.markers.take_retries() {
                    self.retry(now, retry, out);
                }
            }
            Some(TimerKind::MarkerTimeout) => {
                for broker in self.markers.take_overdue(now, out) {
                    out.push(TransactionEffect::Disconnect(broker));
                    self.markers.disconnected(broker, out);
                }
            }
            None => {}
        }
    }

    fn expire_writes(&mut self, now: Instant, out: &mut Vec<TransactionEffect>) {
        self.armed.write = false;
        for shard in self.shards.iter_mut().flatten() {
            for write in shard.writes.take_overdue(now) {
                let error = ErrorCode::RequestTimedOut;
                shard.finish(write, Err(error), &mut turn!(self, now, out));
            }
        }
        let deadlines = self.shards.iter().flatten().filter_map(|s| s.writes.next_deadline());
        if let Some(deadline) = deadlines.min()
            && !self.armed.write
        {
            self.armed.write = true;
            out.push(TransactionEffect::SetTimer(timer_key(TimerKind::Write), deadline.since(now)));
        }
    }

    fn retry(&mut self, now: Instant, retry: Retry, out: &mut Vec<TransactionEffect>) {
        match retry {
            Retry::Marker(entry) => {
                let shard = self.shards.get(usize::from(entry.shard)).and_then(Option::as_ref);
                if shard.is_some_and(|shard| shard.wants(&entry)) {
                    self.markers.add(entry);
                }
            }
            Retry::Completion { shard, epoch, transactional_id } => {
                if let Some(Some(shard)) = self.shards.get_mut(usize::from(shard)) {
                    let turn = &mut turn!(self, now, out);
                    shard.completion_retried(epoch, transactional_id, turn);
                }
            }
        }
    }

    /// Whether nothing is under way: no transaction is open or being ended, nothing waits for the
    /// log.
    ///
    /// # Errors
    /// Says what is under way, if words are wanted.
    pub fn settled(&self, words: bool) -> Result<(), String> {
        self.shards.iter().flatten().try_for_each(|shard| shard.settled(words))
    }

    /// The state of an id, if this broker coordinates it.
    #[must_use]
    pub fn state(&self, id: TransactionalId) -> Option<oncesim_types::TransactionState> {
        let shards = self.shards.iter().flatten();
        let mut active = shards.filter(|shard| shard.state == ShardState::Active);
        active.find_map(|shard| Some(shard.ids.get(&id)?.state))
    }
}

/// The answer to a request that is not served.
pub(super) fn refuse(request: &Request, error: ErrorCode) -> Option<Response> {
    let (producer_id, producer_epoch) =
        (oncesim_types::ProducerId::NONE, oncesim_types::ProducerEpoch::NONE);
    Some(match request {
        Request::InitProducerId(_) => {
            Response::InitProducerId(InitProducerIdResponse { error, producer_id, producer_epoch })
        }
        Request::AddPartitionsToTxn(request) => Response::AddPartitionsToTxn(
            request.partitions.iter().map(|partition| (*partition, error)).collect(),
        ),
        Request::AddOffsetsToTxn(_) => Response::AddOffsetsToTxn(error),
        Request::EndTxn(_) => {
            Response::EndTxn(EndTxnResponse { error, producer_id, producer_epoch })
        }
        _ => return None,
    })
}
