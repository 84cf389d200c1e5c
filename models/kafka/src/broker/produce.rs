//! `Produce`: appends one batch per partition, and answers as `acks` says.
//!
//! Mirrors `ReplicaManager.appendRecords`, `Partition.appendRecordsToLeader`, `DelayedProduce`.
//!
//! Simplifications: no message conversion, size limits or timestamps to validate.

use std::collections::VecDeque;
use std::rc::Rc;

use oncesim_types::{ErrorCode, Instant, Offset};

use crate::broker::{Broker, TIMER_PRODUCE, close, hit};
use crate::log::Validation;
use crate::log::batch::RecordBatch;
use crate::machine::{Effects, ReplyTo, TimerKey};
use crate::message::{Acks, ProducePartitionResponse, ProduceRequest, Response};
use crate::mutation::Mutation;
use crate::note::Note;
use crate::replica::leader::{ProduceKey, Waiting};

/// A produce request that is not answered yet.
#[derive(Debug)]
struct DelayedProduce {
    to: ReplyTo,
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

/// A batch that is in the leader's log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appended {
    pub(super) base_offset: Offset,
    pub(super) last_offset: Offset,
}

impl Broker {
    pub(super) fn on_produce(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: ProduceRequest,
        effects: &mut Effects,
    ) {
        let ProduceRequest { acks, timeout, batches, .. } = request;
        let mut answers = Vec::with_capacity(batches.len());
        let mut key = None;
        let mut failed = false;
        for (at, (partition, batch)) in (0..).zip(batches) {
            let mut answer = ProducePartitionResponse {
                partition,
                error: ErrorCode::None,
                base_offset: Offset::UNKNOWN,
            };
            match self.append_for_client(now, partition, batch, acks == Acks::All, effects) {
                Err(error) => answer.error = error,
                Ok((index, appended)) => {
                    answer.base_offset = appended.base_offset;
                    let required = appended.last_offset.next();
                    if self.must_wait(index, required, acks, effects) {
                        answer.error = ErrorCode::RequestTimedOut;
                        let key = *key.get_or_insert_with(|| {
                            let answers = Vec::new();
                            let produce = DelayedProduce { to, remaining: 0, answers };
                            self.produces.add(produce, now + timeout)
                        });
                        self.wait(index, acks, Waiting { required, produce: key, at });
                    } else if acks == Acks::All {
                        answer.error = self.acknowledge(index, required, effects);
                    }
                }
            }
            failed |= answer.error != ErrorCode::None;
            answers.push(answer);
        }
        match (key, acks) {
            (_, Acks::None) if failed => close(to, effects),
            (_, Acks::None) => {}
            (None, _) => effects.reply(to, Response::Produce(hide_offsets(answers))),
            (Some(key), _) => {
                self.produces.get_mut(key).expect("added above").answers = answers;
                self.arm_produce_timer(now, effects);
            }
        }
    }

    fn append_for_client(
        &mut self,
        now: Instant,
        partition: oncesim_types::TopicPartition,
        batch: Rc<RecordBatch>,
        acks_all: bool,
        effects: &mut Effects,
    ) -> Result<(u32, Appended), ErrorCode> {
        let index = self.index_of(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if batch.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let appended = self.append_as_leader(now, index, batch, acks_all, effects)?;
        self.advance_high_watermark(now, index, effects);
        Ok((index, appended))
    }

    /// Appends a batch to a partition that this broker leads. The high watermark is left alone.
    pub(super) fn append_as_leader(
        &mut self,
        now: Instant,
        index: u32,
        batch: Rc<RecordBatch>,
        acks_all: bool,
        effects: &mut Effects,
    ) -> Result<Appended, ErrorCode> {
        let leader = self.replica(index).and_then(|replica| replica.leader());
        let leader = leader.ok_or(ErrorCode::NotLeaderOrFollower)?;
        if acks_all && leader.is_under_min_isr() {
            return Err(ErrorCode::NotEnoughReplicas);
        }
        if let Some(known) = self.validate(now, index, &batch, effects)? {
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

    /// Producer state (kafka-side order: duplicate, epoch, sequence). `Some` for a duplicate.
    fn validate(
        &mut self,
        now: Instant,
        index: u32,
        batch: &RecordBatch,
        effects: &mut Effects,
    ) -> Result<Option<Appended>, ErrorCode> {
        if !batch.has_producer_id() {
            return Ok(None);
        }
        self.expire_producers(now, index);
        let mutations = self.mutations;
        let replica = self.replica(index).expect("checked by the caller");
        let producers = replica.log.producers();
        let mut verdict = producers.validate(batch);
        if mutations.has(Mutation::PsmNoDupCache) && matches!(verdict, Validation::Duplicate(_)) {
            hit(effects);
            verdict = Validation::Refused(ErrorCode::OutOfOrderSequenceNumber);
        }
        if mutations.has(Mutation::PsmAcceptNonzeroFirstSequence)
            && verdict == Validation::Refused(ErrorCode::OutOfOrderSequenceNumber)
        {
            hit(effects);
            verdict = Validation::New;
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
    fn must_wait(&self, index: u32, required: Offset, acks: Acks, effects: &mut Effects) -> bool {
        let replica = self.replica(index).expect("just appended");
        let unflushed = replica.visible_end() < required;
        match acks {
            Acks::None => false,
            Acks::Leader => unflushed,
            Acks::All if replica.high_watermark >= required => unflushed,
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
            effects.reply(produce.to, Response::Produce(hide_offsets(produce.answers)));
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
