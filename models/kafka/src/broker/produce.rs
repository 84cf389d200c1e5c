//! `Produce`: appends one batch per partition, and answers as `acks` says.
//!
//! Mirrors `ReplicaManager.handleProduceAppend`, `ReplicaManager.appendRecords`,
//! `Partition.appendRecordsToLeader`, `DelayedProduce`.
//!
//! Simplifications: no message conversion, size limits or timestamps to validate. The transactional
//! batches of one request have one producer, as every client's have.

use std::collections::VecDeque;
use std::rc::Rc;

use oncesim_types::{Duration, ErrorCode, Instant, Offset, ProducerId, TopicPartition};

use crate::broker::planted::Planted;
use crate::broker::verification::Checked;
use crate::broker::{Broker, TIMER_PRODUCE, close, hit};
use crate::config::TransactionVersion;
use crate::log::batch::RecordBatch;
use crate::log::{AppendOrigin, Validation, Verification, VerificationGuard};
use crate::machine::{Effects, ReplyTo, TimerKey};
use crate::message::{Acks, ProducePartitionResponse, ProduceRequest, Response, WrittenMarkers};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;
use crate::replica::leader::{ProduceKey, Waiting};

/// Appends that are not answered yet.
#[derive(Debug)]
struct DelayedProduce {
    to: ReplyTo,
    /// Of markers: how many of the answers belong to each transaction.
    markers: Option<Vec<(ProducerId, usize)>>,
    /// How many partitions are missing; their answers say REQUEST_TIMED_OUT meanwhile.
    remaining: u32,
    answers: Vec<ProducePartitionResponse>,
}

/// Produce requests that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Produces {
    places: Vec<(u32, Option<DelayedProduce>)>,
    free: Vec<u32>,
    /// Deadlines in order, also of requests that are answered.
    deadlines: VecDeque<(Instant, ProduceKey)>,
    timer: bool,
    pub(super) waiting: usize,
}

impl Produces {
    fn add(&mut self, produce: DelayedProduce, deadline: Instant) -> ProduceKey {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            u32::try_from(self.places.len() - 1).expect("fewer than 2^32 requests wait")
        });
        let (generation, waiting) = &mut self.places[place as usize];
        *waiting = Some(produce);
        let key = ProduceKey { place, generation: *generation };
        let mut at = self.deadlines.len();
        while at > 0 && self.deadlines[at - 1].0 > deadline {
            at -= 1;
        }
        self.deadlines.insert(at, (deadline, key));
        self.waiting += 1;
        key
    }

    fn get_mut(&mut self, key: ProduceKey) -> Option<&mut DelayedProduce> {
        let (generation, waiting) = self.places.get_mut(key.place as usize)?;
        if *generation == key.generation { waiting.as_mut() } else { None }
    }

    fn take(&mut self, key: ProduceKey) -> Option<DelayedProduce> {
        let (generation, waiting) = self.places.get_mut(key.place as usize)?;
        if *generation != key.generation {
            return None;
        }
        let produce = waiting.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(key.place);
        self.waiting -= 1;
        Some(produce)
    }
}

impl DelayedProduce {
    fn response(self) -> Response {
        match self.markers {
            None => Response::Produce(hide_offsets(self.answers)),
            Some(markers) => Response::WriteTxnMarkers(by_transaction(&markers, &self.answers)),
        }
    }
}

/// Who wants a batch appended by the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appender {
    /// A producer; the guard is of its transaction's verification.
    Client(Option<VerificationGuard>),
    /// A coordinator on this broker, for itself or within a producer's transaction.
    Coordinator(Option<VerificationGuard>),
    /// A transaction coordinator that ends a transaction of this generation.
    Marker(TransactionVersion),
}

/// A batch that is in the leader's log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appended {
    pub(super) base_offset: Offset,
    pub(super) last_offset: Offset,
}

/// The appends of one request, so far.
#[derive(Debug)]
pub(super) struct Round {
    to: ReplyTo,
    acks: Acks,
    timeout: Duration,
    of_markers: bool,
    markers: Option<Vec<(ProducerId, usize)>>,
    key: Option<ProduceKey>,
    answers: Vec<ProducePartitionResponse>,
}

impl Round {
    /// Nothing appended yet. `markers` says how many partitions each transaction has.
    pub(super) fn new(
        to: ReplyTo,
        acks: Acks,
        timeout: Duration,
        markers: Option<Vec<(ProducerId, usize)>>,
        partitions: usize,
    ) -> Round {
        let of_markers = markers.is_some();
        let answers = Vec::with_capacity(partitions);
        Round { to, acks, timeout, of_markers, markers, key: None, answers }
    }
}

impl Broker {
    pub(super) fn on_produce(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: ProduceRequest,
        effects: &mut Effects,
    ) {
        if let Some(transaction) = request.transaction.as_deref().copied()
            && self.asks_coordinator(transaction.version)
        {
            self.verify_produce(now, to, transaction, request, effects);
        } else {
            self.append_produce(now, to, request, &[], effects);
        }
    }

    /// Appends what a producer sent, after the partitions in `checked` were verified.
    pub(super) fn append_produce(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: ProduceRequest,
        checked: &[Checked],
        effects: &mut Effects,
    ) {
        let ProduceRequest { acks, timeout, batches, .. } = request;
        let mut round = Round::new(to, acks, timeout, None, batches.len());
        for (partition, batch) in batches {
            let check = checked.iter().find(|check| check.partition == partition);
            let appended = match check.map_or(Ok(None), Checked::verdict) {
                Ok(guard) => self.append_for_client(
                    now,
                    partition,
                    batch,
                    Appender::Client(guard),
                    acks == Acks::All,
                    effects,
                ),
                Err(error) => Err(error),
            };
            self.appended(now, &mut round, partition, appended, effects);
        }
        self.answer_appends(now, round, effects);
    }

    /// Takes note of one append of a request: it is acknowledged, waits, or has failed.
    pub(super) fn appended(
        &mut self,
        now: Instant,
        round: &mut Round,
        partition: TopicPartition,
        appended: Result<(u32, Appended), ErrorCode>,
        effects: &mut Effects,
    ) {
        let mut answer = ProducePartitionResponse {
            partition,
            error: ErrorCode::None,
            base_offset: Offset::UNKNOWN,
        };
        match appended {
            Err(error) => answer.error = error,
            Ok((index, appended)) => {
                answer.base_offset = appended.base_offset;
                let required = appended.last_offset.next();
                if self.must_wait(index, required, round, effects) {
                    answer.error = ErrorCode::RequestTimedOut;
                    let (to, deadline) = (round.to, now + round.timeout);
                    let markers = &mut round.markers;
                    let key = *round.key.get_or_insert_with(|| {
                        let markers = markers.take();
                        let answers = Vec::new();
                        let produce = DelayedProduce { to, markers, remaining: 0, answers };
                        self.produces.add(produce, deadline)
                    });
                    let at = u32::try_from(round.answers.len()).expect("a request is small");
                    self.wait(index, round.acks, Waiting { required, produce: key, at });
                } else if round.acks == Acks::All {
                    answer.error = self.acknowledge(index, required, effects);
                }
            }
        }
        round.answers.push(answer);
    }

    /// Answers a request whose batches are appended, or lets it wait for that.
    pub(super) fn answer_appends(&mut self, now: Instant, round: Round, effects: &mut Effects) {
        let Round { to, acks, markers, key, answers, .. } = round;
        match (key, acks) {
            (_, Acks::None) => {
                if answers.iter().any(|answer| answer.error != ErrorCode::None) {
                    close(to, effects);
                }
            }
            (None, _) => {
                let produce = DelayedProduce { to, markers, remaining: 0, answers };
                effects.reply(to, produce.response());
            }
            (Some(key), _) => {
                self.produces.get_mut(key).expect("added above").answers = answers;
                self.arm_produce_timer(now, effects);
            }
        }
    }

    fn append_for_client(
        &mut self,
        now: Instant,
        partition: TopicPartition,
        batch: Rc<RecordBatch>,
        appender: Appender,
        acks_all: bool,
        effects: &mut Effects,
    ) -> Result<(u32, Appended), ErrorCode> {
        let index = self.index_of(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if batch.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let appended = self.append_from(now, index, batch, appender, acks_all, effects)?;
        self.advance_high_watermark(now, index, effects);
        Ok((index, appended))
    }

    /// Appends a coordinator's batch to a partition that this broker leads. The high watermark is
    /// left alone.
    pub(super) fn append_as_leader(
        &mut self,
        now: Instant,
        index: u32,
        batch: Rc<RecordBatch>,
        acks_all: bool,
        effects: &mut Effects,
    ) -> Result<Appended, ErrorCode> {
        self.append_from(now, index, batch, Appender::Coordinator(None), acks_all, effects)
    }

    /// Appends a batch to a partition that this broker leads. The high watermark is left alone.
    pub(super) fn append_from(
        &mut self,
        now: Instant,
        index: u32,
        batch: Rc<RecordBatch>,
        appender: Appender,
        acks_all: bool,
        effects: &mut Effects,
    ) -> Result<Appended, ErrorCode> {
        let leader = self.replica(index).and_then(|replica| replica.leader());
        let leader = leader.ok_or(ErrorCode::NotLeaderOrFollower)?;
        if acks_all && leader.is_under_min_isr() {
            return Err(ErrorCode::NotEnoughReplicas);
        }
        if let Some(known) = self.validate(now, index, &batch, appender, effects)? {
            return Ok(known);
        }
        if self.disk_full {
            self.halt("the log directory is full", effects);
            return Err(ErrorCode::KafkaStorageError);
        }
        let replica = self.replica_mut(index).expect("leads");
        let before = replica.log.log_end();
        let epoch = replica.leader_epoch;
        replica.leader_mut().expect("leads").before_append(before, now);
        let batch = replica.log.append_as_leader(epoch, batch);
        let appended =
            Appended { base_offset: batch.base_offset, last_offset: batch.last_offset() };
        effects.note(Note::Append { partition: replica.partition, batch, leader: true });
        self.flush_if_due(index, before, effects);
        self.wake_followers(index);
        self.watch_for_laggards(effects);
        Ok(appended)
    }

    /// Judges a batch by what its producer has written before. `Some` for a duplicate.
    fn validate(
        &mut self,
        now: Instant,
        index: u32,
        batch: &RecordBatch,
        appender: Appender,
        effects: &mut Effects,
    ) -> Result<Option<Appended>, ErrorCode> {
        if !batch.has_producer_id() {
            return Ok(None);
        }
        self.expire_producers(now, index);
        let (origin, guard) = match appender {
            Appender::Client(guard) => (AppendOrigin::Client, guard),
            Appender::Coordinator(guard) => (AppendOrigin::Coordinator, guard),
            Appender::Marker(version) => {
                return self.validate_marker(index, batch, version, effects).map(|()| None);
            }
        };
        let mutations = self.mutations;
        let replica = self.replica(index).expect("checked by the caller");
        let mut verification = Verification {
            required: self.config.transaction_partition_verification,
            guard,
            state: None,
        };
        if batch.transactional {
            verification.state = replica.log.verifications().entry(batch.producer_id);
        }
        let producers = replica.log.producers();
        let mut verdict = producers.validate(batch, origin, &verification);
        if mutations != Mutations::NONE {
            let planted = Planted { mutations, producers, batch, origin, verification };
            let other = planted.verdict(verdict);
            if other != verdict {
                hit(effects);
                verdict = other;
            }
        }
        let rejected = |error| Note::ProducerStateRejected {
            partition: replica.partition,
            producer_id: batch.producer_id,
            producer_epoch: batch.producer_epoch,
            error,
        };
        match verdict {
            Validation::New => Ok(None),
            Validation::Duplicate(known) => {
                effects.note(rejected(ErrorCode::DuplicateSequenceNumber));
                let (base_offset, last_offset) = (known.first_offset, known.last_offset);
                Ok(Some(Appended { base_offset, last_offset }))
            }
            Validation::Refused(error) => {
                effects.note(rejected(error));
                Err(error)
            }
        }
    }

    fn expire_producers(&mut self, now: Instant, index: u32) {
        let interval = self.config.producer_id_expiration_check_interval;
        let expiration = self.config.producer_id_expiration;
        let started = self.started;
        let scans = now.since(started).as_nanos().checked_div(interval.as_nanos()).unwrap_or(0);
        let slot = self.slot_mut(index);
        if scans != slot.expiry_scans {
            slot.expiry_scans = scans;
            if let Some(replica) = &mut slot.replica {
                replica.log.producers_mut().expire(now, started, interval, expiration);
            }
        }
    }

    /// Whether an appended batch cannot be acknowledged yet.
    fn must_wait(
        &self,
        index: u32,
        required: Offset,
        round: &Round,
        effects: &mut Effects,
    ) -> bool {
        let replica = self.replica(index).expect("just appended");
        let unflushed = replica.visible_end() < required;
        match round.acks {
            Acks::None => false,
            Acks::Leader => unflushed,
            Acks::All if replica.high_watermark >= required => unflushed,
            Acks::All if round.of_markers && self.mutations.has(Mutation::MarkersEarlyReply) => {
                hit(effects);
                false
            }
            Acks::All if self.mutations.has(Mutation::AckBeforeHighWatermark) => {
                hit(effects);
                false
            }
            Acks::All => true,
        }
    }

    fn wait(&mut self, index: u32, acks: Acks, waiting: Waiting) {
        self.produces.get_mut(waiting.produce).expect("added by the caller").remaining += 1;
        let replica = self.replica_mut(index).expect("just appended");
        let leader = replica.leader_mut().expect("just appended as leader");
        if acks == Acks::All {
            leader.wait(waiting);
        } else {
            leader.unflushed.push_back(waiting);
        }
    }

    /// The answer for a batch that the in-sync replicas have.
    fn acknowledge(&self, index: u32, next_offset: Offset, effects: &mut Effects) -> ErrorCode {
        let replica = self.replica(index).expect("leads");
        let leader = replica.leader().expect("leads");
        if leader.maximal_isr_len() < usize::from(leader.min_isr) {
            return ErrorCode::NotEnoughReplicasAfterAppend;
        }
        effects.note(Note::AckedAll {
            partition: replica.partition,
            next_offset,
            isr: u8::try_from(leader.isr.len()).unwrap_or(u8::MAX),
            min_isr: leader.min_isr,
        });
        ErrorCode::None
    }

    /// Answers what the high watermark covers now, and what is flushed.
    pub(super) fn answer_committed(&mut self, index: u32, effects: &mut Effects) {
        loop {
            let Some(replica) = self.replica_mut(index) else { return };
            let (visible, high_watermark) = (replica.visible_end(), replica.high_watermark);
            let Some(leader) = replica.leader_mut() else { return };
            let is_due = |w: &Waiting| w.required <= visible && w.required <= high_watermark;
            if let Some(waiting) = leader.waiting.pop_front_if(|w| is_due(w)) {
                let error = self.acknowledge(index, waiting.required, effects);
                self.answer(waiting, error, effects);
            } else if let Some(waiting) = leader.unflushed.pop_front_if(|w| w.required <= visible) {
                self.answer(waiting, ErrorCode::None, effects);
            } else {
                return;
            }
        }
    }

    /// Answers everybody who waits for this partition: their records may or may not survive.
    pub(super) fn answer_all_waiting(
        &mut self,
        index: u32,
        error: ErrorCode,
        effects: &mut Effects,
    ) {
        let Some(leader) = self.replica_mut(index).and_then(|r| r.leader_mut()) else { return };
        let waiting = std::mem::take(&mut leader.waiting);
        let unflushed = std::mem::take(&mut leader.unflushed);
        for waiting in waiting.into_iter().chain(unflushed) {
            self.answer(waiting, error, effects);
        }
    }

    fn answer(&mut self, waiting: Waiting, error: ErrorCode, effects: &mut Effects) {
        let Some(produce) = self.produces.get_mut(waiting.produce) else { return };
        if let Some(answer) = produce.answers.get_mut(waiting.at as usize) {
            answer.error = error;
        }
        produce.remaining -= 1;
        if produce.remaining == 0 {
            self.finish_produce(waiting.produce, effects);
        }
    }

    fn finish_produce(&mut self, key: ProduceKey, effects: &mut Effects) {
        if let Some(produce) = self.produces.take(key) {
            effects.reply(produce.to, produce.response());
        }
    }

    fn arm_produce_timer(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(&(deadline, key)) = self.produces.deadlines.front() {
            if self.produces.get_mut(key).is_none() {
                self.produces.deadlines.pop_front();
            } else {
                if !self.produces.timer {
                    self.produces.timer = true;
                    effects.set_timer(TimerKey(TIMER_PRODUCE), deadline.since(now));
                }
                return;
            }
        }
    }

    pub(super) fn on_produce_timer(&mut self, now: Instant, effects: &mut Effects) {
        self.produces.timer = false;
        while let Some((_, key)) =
            self.produces.deadlines.pop_front_if(|(deadline, _)| *deadline <= now)
        {
            self.finish_produce(key, effects);
        }
        self.arm_produce_timer(now, effects);
    }
}

/// An answer with an error does not say where the batch is.
fn hide_offsets(mut answers: Vec<ProducePartitionResponse>) -> Vec<ProducePartitionResponse> {
    for answer in &mut answers {
        if answer.error != ErrorCode::None {
            answer.base_offset = Offset::UNKNOWN;
        }
    }
    answers
}

/// Groups the answers for markers by transaction.
fn by_transaction(
    markers: &[(ProducerId, usize)],
    answers: &[ProducePartitionResponse],
) -> WrittenMarkers {
    let mut answers = answers.iter().map(|answer| (answer.partition, answer.error));
    markers
        .iter()
        .map(|(producer_id, count)| (*producer_id, answers.by_ref().take(*count).collect()))
        .collect()
}
