//! One partition of `__transaction_state` and the transactional ids that it holds.
//!
//! Mirrors `TransactionStateManager`: its cache, its log, loading and unloading.
//!
//! Simplifications: a load takes until what it has read is replicated. Kafka reads up to the log end
//! in the background, which takes longer than that as a rule; but it does not wait for it, and a
//! coordinator that is deposed at once may have acted on what its successor does not have
//! (`tc.serve-unreplicated-load`).

use std::collections::BTreeMap;

use oncesim_types::{
    Duration, ErrorCode, Instant, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition,
    TransactionResult, TransactionState, TransactionalId,
};

use crate::config::BrokerConfig;
use crate::log::batch::CoordinatorRecord;
use crate::message::{InitProducerIdResponse, Response, TxnMarker};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;
use crate::said;
use crate::transaction::coordinator::Armed;
use crate::transaction::markers::{Answered, Entry, MarkerChannel, Retry};
use crate::transaction::state::{TransactionMetadata, Transit};
use crate::transaction::writes::{
    After, End, EndReply, TimerKind, Write, Writes, response_error, timer_key,
};
use crate::transaction::{ProducerIds, TransactionEffect, end_txn, init_producer_id};

/// Whether a shard serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShardState {
    /// Another broker coordinates.
    Resigned,
    /// Elected; what the log says is not replicated yet, as far as this broker knows.
    Loading,
    /// Serves.
    Active,
}

/// One shard. It stays when the broker resigns, so that tickets are never reused.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) state: ShardState,
    /// Of `__transaction_state`.
    pub(super) partition: TopicPartition,
    /// The coordinator epoch: that of the partition's leader.
    pub(super) epoch: LeaderEpoch,
    pub(super) ids: BTreeMap<TransactionalId, TransactionMetadata>,
    pub(super) writes: Writes,
    /// The log end when the shard was loaded.
    loaded_end: Offset,
    /// Whether it serves although another broker coordinates (planted bug).
    deposed: bool,
}

/// How long a tombstone may take (`request.timeout.ms`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// One call of the broker: the time, the rules and where effects go.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a BrokerConfig,
    pub(super) mutations: Mutations,
    pub(super) producer_ids: &'a mut ProducerIds,
    pub(super) markers: &'a mut MarkerChannel,
    pub(super) armed: &'a mut Armed,
    pub(super) out: &'a mut Vec<TransactionEffect>,
}

impl Turn<'_> {
    pub(super) fn reply(&mut self, to: crate::machine::ReplyTo, response: Response) {
        self.out.push(TransactionEffect::Reply(to, response));
    }

    pub(super) fn note(&mut self, note: Note) {
        self.out.push(TransactionEffect::Note(note));
    }

    /// Whether `mutation` is planted; it changes what happens, then.
    pub(super) fn hits(&mut self, mutation: Mutation) -> bool {
        let planted = self.mutations.has(mutation);
        if planted {
            self.note(Note::MutationHit);
        }
        planted
    }

    pub(super) fn set_timer(&mut self, kind: TimerKind, after: Duration) {
        self.out.push(TransactionEffect::SetTimer(timer_key(kind), after));
    }
}

impl Shard {
    pub(super) fn new(partition: TopicPartition) -> Shard {
        Shard {
            state: ShardState::Resigned,
            partition,
            epoch: LeaderEpoch::NONE,
            ids: BTreeMap::new(),
            writes: Writes::new(partition.partition),
            loaded_end: Offset::ZERO,
            deposed: false,
        }
    }

    /// The broker leads the partition with `epoch`. What is in memory counts no more.
    pub(super) fn elected(&mut self, epoch: LeaderEpoch, turn: &mut Turn<'_>) {
        self.epoch = epoch;
        self.deposed = false;
        if self.state == ShardState::Active && turn.hits(Mutation::CoordinatorKeepStateAfterResign)
        {
            return;
        }
        self.unload(turn);
        self.state = ShardState::Loading;
    }

    /// Replays a log. The coordinator serves when its replicas have all of it.
    pub(super) fn load(
        &mut self,
        records: &mut dyn Iterator<Item = (Offset, CoordinatorRecord)>,
        high_watermark: Offset,
        turn: &mut Turn<'_>,
    ) {
        if self.state != ShardState::Loading {
            return;
        }
        self.loaded_end = Offset::ZERO;
        for (offset, record) in records {
            self.loaded_end = offset.next();
            let CoordinatorRecord::Transaction { transactional_id, metadata } = record else {
                // Of another coordinator's log.
                continue;
            };
            match metadata {
                Some(value) => {
                    self.ids.insert(transactional_id, TransactionMetadata::loaded(&value));
                }
                None => {
                    self.ids.remove(&transactional_id);
                }
            }
        }
        self.writes.loaded();
        if self.loaded_end > high_watermark && turn.hits(Mutation::CoordinatorServesUnreplicated) {
            self.activate(turn);
        }
        self.advance(high_watermark, turn);
    }

    /// The high watermark is known to be this.
    pub(super) fn advance(&mut self, high_watermark: Offset, turn: &mut Turn<'_>) {
        self.writes.advance(high_watermark);
        if self.state == ShardState::Loading && high_watermark >= self.loaded_end {
            self.activate(turn);
        }
        if self.state == ShardState::Active {
            self.drain(turn);
        }
    }

    fn activate(&mut self, turn: &mut Turn<'_>) {
        self.state = ShardState::Active;
        let (partition, leader_epoch) = (self.partition, self.epoch);
        turn.note(Note::CoordinatorLoaded { partition, leader_epoch });
        let loaded: Vec<TransactionalId> = self.ids.keys().copied().collect();
        for id in loaded {
            let metadata = &self.ids[&id];
            if !metadata.is_preparing() {
                turn.watch(metadata);
            } else if !turn.hits(Mutation::CoordinatorNoResumePrepare) {
                self.begin_markers(id, turn);
            }
        }
    }

    /// The broker does not lead the partition any more.
    pub(super) fn resigned(&mut self, turn: &mut Turn<'_>) {
        if self.state == ShardState::Active && turn.hits(Mutation::CoordinatorKeepStateAfterResign)
        {
            self.deposed = true;
            return;
        }
        self.unload(turn);
        self.state = ShardState::Resigned;
    }

    fn unload(&mut self, turn: &mut Turn<'_>) {
        turn.markers.remove_shard(self.partition.partition);
        self.ids.clear();
        for write in self.writes.take_all() {
            self.finish(write, Err(ErrorCode::NotLeaderOrFollower), turn);
        }
    }

    /// Writes what was prepared.
    pub(super) fn append(
        &mut self,
        id: TransactionalId,
        transit: Option<Transit>,
        after: After,
        turn: &mut Turn<'_>,
    ) {
        let metadata = transit.as_ref().map(|transit| transit.value.clone());
        let timeout = metadata.as_ref().map_or(REQUEST_TIMEOUT, |v| v.timeout);
        let ticket = self.writes.push(id, transit, after, turn.now, timeout);
        let record = CoordinatorRecord::Transaction { transactional_id: id, metadata };
        turn.out.push(TransactionEffect::Append { partition: self.partition, record, ticket });
        turn.arm_write(turn.now + timeout);
    }

    /// Acts on what is replicated now.
    fn drain(&mut self, turn: &mut Turn<'_>) {
        while let Some(write) = self.writes.pop_replicated() {
            self.finish(write, Ok(()), turn);
        }
    }

    /// A write is replicated, or failed: then it may be in the log nevertheless.
    pub(super) fn finish(
        &mut self,
        write: Write,
        result: Result<(), ErrorCode>,
        turn: &mut Turn<'_>,
    ) {
        let Write { transactional_id: id, transit, after, .. } = write;
        let error = result.err().map_or(ErrorCode::None, response_error);
        if error == ErrorCode::None {
            self.apply(id, transit.as_ref(), &after, turn);
        } else if let Some(metadata) = self.ids.get_mut(&id) {
            if matches!(after, After::Complete) && error == ErrorCode::CoordinatorNotAvailable {
                metadata.completing = transit;
                self.retry_completion(id, turn);
                return;
            }
            metadata.pending = None;
        }
        match after {
            After::InitProducerId(to) => {
                let session = transit.map(|t| (t.value.producer_id, t.value.producer_epoch));
                init_producer_id::answer(to, error, session, turn);
            }
            After::AddPartitions(to, partitions) => {
                let answers = partitions.into_iter().map(|p| (p, error)).collect();
                turn.reply(to, Response::AddPartitionsToTxn(answers));
            }
            After::AddOffsets(to) => turn.reply(to, Response::AddOffsetsToTxn(error)),
            After::End(end) => self.decided(id, end, error, turn),
            After::Complete | After::Expire => {}
        }
    }

    fn apply(
        &mut self,
        id: TransactionalId,
        transit: Option<&Transit>,
        after: &After,
        turn: &mut Turn<'_>,
    ) {
        let Some(metadata) = self.ids.get_mut(&id) else { return };
        let Some(transit) = transit else {
            let from = metadata.state;
            self.note_state(id, from, TransactionState::Dead, turn);
            self.ids.remove(&id);
            return;
        };
        let mut from = metadata.complete_transition(transit);
        turn.watch(metadata);
        if let After::End(End { reply: EndReply::Fence(_), .. }) = after {
            // Never in the log itself: told once it has had its effect.
            self.note_state(id, from, TransactionState::PrepareEpochFence, turn);
            from = TransactionState::PrepareEpochFence;
        }
        self.note_state(id, from, transit.value.state, turn);
    }

    /// Tells the recorder what an id is now.
    pub(super) fn note_state(
        &self,
        id: TransactionalId,
        from: TransactionState,
        to: TransactionState,
        turn: &mut Turn<'_>,
    ) {
        let Some(metadata) = self.ids.get(&id) else { return };
        turn.note(Note::TransactionState {
            transactional_id: id,
            producer_id: metadata.producer_id,
            producer_epoch: metadata.producer_epoch,
            from,
            to,
            number: metadata.number,
            partitions: metadata.partitions.as_slice().into(),
            coordinator_epoch: self.epoch,
            coordinator: self.partition,
        });
    }

    /// `PREPARE_*` is in the log, or could not be written.
    fn decided(&mut self, id: TransactionalId, end: End, error: ErrorCode, turn: &mut Turn<'_>) {
        let mut session = (ProducerId::NONE, ProducerEpoch::NONE);
        if error == ErrorCode::None {
            if let Some((issued, producer_epoch)) = end.issued {
                let applied = self.ids[&id].number;
                let (transactional_id, result) = (id, end.result);
                turn.note(Note::EndTxnApplied {
                    transactional_id,
                    producer_epoch,
                    issued,
                    applied,
                    result,
                });
            }
            session = end_txn::next_session(&self.ids[&id], turn);
            self.begin_markers(id, turn);
        } else if matches!(end.reply, EndReply::Fence(_))
            && let Some(metadata) = self.ids.get_mut(&id)
            && !turn.hits(Mutation::CoordinatorBumpOnFailedFence)
        {
            metadata.has_failed_epoch_fence = true;
        }
        match end.reply {
            EndReply::Client { to, with_session } => {
                end_txn::answer(to, error, session, with_session, turn);
            }
            EndReply::Fence(Some(to)) => {
                let error = match error {
                    ErrorCode::None => ErrorCode::ConcurrentTransactions,
                    error => error,
                };
                let answer = InitProducerIdResponse {
                    error,
                    producer_id: ProducerId::NONE,
                    producer_epoch: ProducerEpoch::NONE,
                };
                turn.reply(to, Response::InitProducerId(answer));
            }
            EndReply::Fence(None) | EndReply::Told => {}
        }
    }

    /// Has the markers of a decided transaction sent (`addTxnMarkersToSend`).
    fn begin_markers(&mut self, id: TransactionalId, turn: &mut Turn<'_>) {
        let Some(metadata) = self.ids.get_mut(&id) else { return };
        let marker = TxnMarker {
            producer_id: metadata.producer_id,
            producer_epoch: metadata.producer_epoch,
            coordinator_epoch: self.epoch,
            result: match metadata.state {
                TransactionState::PrepareCommit => TransactionResult::Commit,
                _ => TransactionResult::Abort,
            },
            version: metadata.version,
            partitions: metadata.partitions.clone(),
        };
        metadata.completing = Some(metadata.prepare_complete(turn.now));
        if marker.partitions.is_empty() {
            self.write_completion(id, turn);
        } else {
            let shard = self.partition.partition;
            turn.markers.add(Entry { transactional_id: id, shard, marker });
        }
    }

    /// Every marker is in its partition.
    fn write_completion(&mut self, id: TransactionalId, turn: &mut Turn<'_>) {
        let metadata = self.ids.get_mut(&id);
        if let Some(transit) = metadata.and_then(|metadata| metadata.completing.take()) {
            self.append(id, Some(transit), After::Complete, turn);
        }
    }

    fn retry_completion(&self, id: TransactionalId, turn: &mut Turn<'_>) {
        let (shard, epoch) = (self.partition.partition, self.epoch);
        let retry = Retry::Completion { shard, epoch, transactional_id: id };
        turn.markers.retry(retry, turn.out);
    }

    /// The backoff after a failed write of a completion is over.
    pub(super) fn completion_retried(
        &mut self,
        epoch: LeaderEpoch,
        id: TransactionalId,
        turn: &mut Turn<'_>,
    ) {
        if self.epoch == epoch {
            self.write_completion(id, turn);
        }
    }

    /// A leader answered markers of one transaction.
    pub(super) fn markers_answered(&mut self, answered: Answered, turn: &mut Turn<'_>) {
        let (mut entry, results) = answered;
        let id = entry.transactional_id;
        if entry.marker.coordinator_epoch != self.epoch || self.state != ShardState::Active {
            return;
        }
        let Some(metadata) = self.ids.get_mut(&id) else { return };
        if metadata.completing.is_none() {
            return;
        }
        entry.marker.partitions.clear();
        for (partition, error) in results {
            match error {
                ErrorCode::None => metadata.partitions.retain(|missing| *missing != partition),
                // Another coordinator or a newer session owns the transaction.
                ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced => {
                    metadata.refused = Some(error);
                }
                _ => entry.marker.partitions.push(partition),
            }
        }
        if metadata.refused.is_some() {
            metadata.completing = None;
        } else if !entry.marker.partitions.is_empty() {
            turn.markers.retry(Retry::Marker(entry), turn.out);
        } else if metadata.partitions.is_empty() {
            self.write_completion(id, turn);
        }
    }

    /// Whether a marker that waited for its backoff still counts.
    pub(super) fn wants(&self, entry: &Entry) -> bool {
        self.epoch == entry.marker.coordinator_epoch
            && self.ids.get(&entry.transactional_id).is_some_and(|m| m.completing.is_some())
    }

    /// # Errors
    /// Says what the shard waits for, if words are wanted.
    pub(super) fn settled(&self, words: bool) -> Result<(), String> {
        match self.state {
            ShardState::Resigned => return Ok(()),
            // Whatever it waits for is another's business.
            ShardState::Active if self.deposed => return Ok(()),
            ShardState::Loading => {
                return Err(said(words, format_args!("a transaction coordinator is loading")));
            }
            ShardState::Active => {}
        }
        for (id, metadata) in &self.ids {
            let state = metadata.state.name();
            if let Some(error) = metadata.refused {
                let error = error.name();
                return Err(said(words, format_args!("{id} is {state}: a marker got {error}")));
            }
            if metadata.is_preparing() {
                let missing = metadata.partitions.len();
                return Err(said(
                    words,
                    format_args!("{id} is {state}: {missing} markers are missing"),
                ));
            }
            if metadata.state == TransactionState::Ongoing {
                let partitions = metadata.partitions.len();
                return Err(said(
                    words,
                    format_args!("{id} is {state} with {partitions} partitions"),
                ));
            }
            if let Some(pending) = metadata.pending {
                let pending = pending.name();
                return Err(said(
                    words,
                    format_args!("{id} is {state}: {pending} is being written"),
                ));
            }
        }
        if !self.writes.is_empty() {
            return Err(said(words, format_args!("a transaction coordinator waits for its log")));
        }
        Ok(())
    }
}
