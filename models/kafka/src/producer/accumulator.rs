//! Batches that are not complete yet, per partition in the order in which they are to be sent.
//!
//! Mirrors `RecordAccumulator`, `ProducerBatch` and `BufferPool`.
//!
//! Simplifications:
//! - A batch's memory is returned when it completes, also when it expires in flight (Kafka keeps
//!   it until the answer): it only lets a later `send` in earlier.
//! - A batch is never split: no broker limits a batch's size.

use std::collections::VecDeque;
use std::rc::Rc;

use oncesim_types::{
    ActorId, CallId, ErrorCode, Instant, LeaderEpoch, ProducerEpoch, ProducerId, Sequence, TopicId,
    TopicPartition,
};

use crate::config::ProducerConfig;
use crate::log::batch::{Record, RecordBatch};

/// A batch's number, in the order of creation.
pub(super) type BatchId = u64;

/// What a batch holds.
#[derive(Debug)]
pub(super) enum Contents {
    /// It may still grow.
    Open(Vec<Record>),
    /// It has been drained at least once; a retry sends the same.
    Closed(Rc<RecordBatch>),
}

/// A batch until all of its records are acknowledged or given up.
#[derive(Debug)]
pub(super) struct ProducerBatch {
    /// Index of its partition.
    pub(super) slot: usize,
    pub(super) contents: Contents,
    /// The `send` calls, one per record.
    pub(super) calls: Vec<CallId>,
    pub(super) bytes: u32,
    /// What it took from `buffer.memory`.
    reserved: u64,
    pub(super) created: Instant,
    /// End of its linger, or of its retry backoff.
    pub(super) ready_at: Instant,
    /// How often it was put back after an error.
    pub(super) retries: u32,
    /// Nothing more fits.
    full: bool,
    /// The flush that waits for it.
    pub(super) flush: u64,
    /// The last error of an attempt.
    pub(super) error: ErrorCode,
    /// Whether some attempt may have been appended.
    pub(super) maybe_appended: bool,
    /// Whether an epoch bump gave it another sequence (`sequenceHasBeenReset`).
    pub(super) sequence_reset: bool,
}

impl ProducerBatch {
    /// Whether it was drained, and so has a sequence if the producer is idempotent.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.contents, Contents::Closed(_))
    }

    /// The batch as it is sent, if it has been drained.
    pub(super) fn sent(&self) -> Option<&Rc<RecordBatch>> {
        match &self.contents {
            Contents::Closed(batch) => Some(batch),
            Contents::Open(_) => None,
        }
    }

    fn has_room_for(&self, size: u32, batch_size: u32) -> bool {
        !self.full && !self.is_closed() && self.bytes.saturating_add(size) <= batch_size
    }
}

/// One partition's queue, and its part of the idempotent session (`TxnPartitionEntry`).
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) partition: TopicPartition,
    pub(super) leader: Option<ActorId>,
    pub(super) leader_epoch: LeaderEpoch,
    /// Batches to be sent, retries first.
    pub(super) queue: VecDeque<BatchId>,
    /// Batches of requests that are not answered, in the order of sending.
    pub(super) in_flight: Vec<BatchId>,
    /// Whether it is in the pending list of its leader.
    listed: bool,
    /// The session that its sequences belong to.
    pub(super) session: (ProducerId, ProducerEpoch),
    /// The sequence of the next record that gets one.
    pub(super) next_sequence: Sequence,
    /// The highest acknowledged sequence of the session.
    pub(super) last_acked: Sequence,
    /// After a batch expired whose outcome is unknown: the sequence after it.
    pub(super) unresolved: Option<Sequence>,
}

/// What became of a record that was to be appended to a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// There is no memory for a new batch.
    NoMemory,
    /// It joined a batch; a batch of its partition is ready now if `ready`.
    Joined {
        /// Whether it needs no more linger.
        ready: bool,
    },
    /// It began a new batch, which is ready if `ready`.
    Began {
        /// Whether it needs no more linger.
        ready: bool,
    },
}

/// All incomplete batches of a producer.
#[derive(Debug)]
pub(super) struct Accumulator {
    /// From the oldest incomplete one on; holes are complete.
    batches: VecDeque<Option<ProducerBatch>>,
    /// Number of the first of `batches`.
    first: BatchId,
    pub(super) partitions: Vec<Partition>,
    /// Per topic: index of its first partition, if its metadata is known.
    topics: Vec<Option<usize>>,
    /// Per broker: its partitions with something in the queue.
    pending: Vec<Vec<usize>>,
    free_memory: u64,
}

impl Accumulator {
    pub(super) fn new(buffer_memory: u64) -> Self {
        Accumulator {
            batches: VecDeque::new(),
            first: 0,
            partitions: Vec::new(),
            topics: Vec::new(),
            pending: Vec::new(),
            free_memory: buffer_memory,
        }
    }

    /// Whether every batch is complete.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Index of a partition's queue; topics get theirs as they become known.
    pub(super) fn slot(&mut self, topic: TopicId, partition: u16, count: usize) -> usize {
        let index = usize::from(topic.0);
        if index >= self.topics.len() {
            self.topics.resize(index + 1, None);
        }
        let first = *self.topics[index].get_or_insert_with(|| {
            let first = self.partitions.len();
            let numbers = 0..u16::try_from(count).unwrap_or(u16::MAX);
            let of_topic = numbers.map(|p| Partition::new(TopicPartition::new(topic, p)));
            self.partitions.extend(of_topic);
            first
        });
        first + usize::from(partition)
    }

    pub(super) fn batch(&self, id: BatchId) -> Option<&ProducerBatch> {
        let index = usize::try_from(id.checked_sub(self.first)?).ok()?;
        self.batches.get(index)?.as_ref()
    }

    pub(super) fn batch_mut(&mut self, id: BatchId) -> Option<&mut ProducerBatch> {
        let index = usize::try_from(id.checked_sub(self.first)?).ok()?;
        self.batches.get_mut(index)?.as_mut()
    }

    /// The oldest incomplete batch.
    pub(super) fn oldest(&self) -> Option<(BatchId, &ProducerBatch)> {
        let oldest = self.batches.front()?.as_ref();
        Some((self.first, oldest.expect("complete batches leave the front at once")))
    }

    /// All incomplete batches, from the oldest on.
    pub(super) fn incomplete(&self) -> Vec<BatchId> {
        let numbered = self.batches.iter().zip(self.first..);
        numbered.filter(|(batch, _)| batch.is_some()).map(|(_, id)| id).collect()
    }

    /// Appends a record to the last batch of its partition, or to a new one.
    pub(super) fn append(
        &mut self,
        now: Instant,
        config: &ProducerConfig,
        (slot, flush): (usize, u64),
        call: CallId,
        record: Record,
    ) -> Appended {
        if let Some(&last) = self.partitions[slot].queue.back() {
            let batch = self.batch_mut(last).expect("a queued batch is incomplete");
            if batch.flush == flush && batch.has_room_for(record.size, config.batch_size) {
                let Contents::Open(records) = &mut batch.contents else {
                    unreachable!("a batch with room is open");
                };
                records.push(record);
                batch.calls.push(call);
                batch.bytes += record.size;
                batch.full = batch.bytes >= config.batch_size;
                return Appended::Joined { ready: batch.full };
            }
            batch.full = true;
        }
        let reserved = u64::from(config.batch_size.max(record.size));
        let Some(free) = self.free_memory.checked_sub(reserved) else {
            return Appended::NoMemory;
        };
        self.free_memory = free;
        let id = self.first + self.batches.len() as u64;
        let ready_at = now + config.linger;
        let full = record.size >= config.batch_size;
        self.batches.push_back(Some(ProducerBatch {
            slot,
            contents: Contents::Open(vec![record]),
            calls: vec![call],
            bytes: record.size,
            reserved,
            created: now,
            ready_at,
            retries: 0,
            full,
            flush,
            error: ErrorCode::None,
            maybe_appended: false,
            sequence_reset: false,
        }));
        self.partitions[slot].queue.push_back(id);
        self.list(slot);
        let ready = full || ready_at <= now || self.partitions[slot].queue.len() > 1;
        Appended::Began { ready }
    }

    /// Puts `slot` into the pending list of its leader, if it belongs there.
    pub(super) fn list(&mut self, slot: usize) {
        let partition = &mut self.partitions[slot];
        let Some(leader) = partition.leader else { return };
        if partition.listed || partition.queue.is_empty() {
            return;
        }
        partition.listed = true;
        let index = usize::from(leader.0);
        if index >= self.pending.len() {
            self.pending.resize_with(index + 1, Vec::new);
        }
        self.pending[index].push(slot);
    }

    /// Brokers that lead a partition with something in its queue.
    pub(super) fn pending_brokers(&self) -> impl Iterator<Item = ActorId> {
        let busy = self.pending.iter().enumerate().filter(|(_, slots)| !slots.is_empty());
        busy.map(|(index, _)| ActorId(u16::try_from(index).expect("indexed by actor id")))
    }

    /// Takes the pending list of `broker`; [`Accumulator::return_pending`] gives it back.
    pub(super) fn take_pending(&mut self, broker: ActorId) -> Vec<usize> {
        self.pending.get_mut(usize::from(broker.0)).map(std::mem::take).unwrap_or_default()
    }

    /// Gives a pending list back without the partitions whose queues are empty.
    pub(super) fn return_pending(&mut self, broker: ActorId, mut slots: Vec<usize>) {
        slots.retain(|&slot| {
            let partition = &mut self.partitions[slot];
            partition.listed = !partition.queue.is_empty();
            partition.listed
        });
        if let Some(pending) = self.pending.get_mut(usize::from(broker.0)) {
            *pending = slots;
        }
    }

    /// Applies what `leader_of` says to all partitions; a retry does not wait for its backoff when
    /// there is a new leader (KIP-951).
    pub(super) fn update_leaders(
        &mut self,
        now: Instant,
        leader_of: impl Fn(TopicPartition) -> (Option<ActorId>, LeaderEpoch),
    ) {
        for pending in &mut self.pending {
            pending.clear();
        }
        for slot in 0..self.partitions.len() {
            let partition = &mut self.partitions[slot];
            let (leader, epoch) = leader_of(partition.partition);
            let elected = epoch > partition.leader_epoch;
            partition.listed = false;
            partition.leader = leader;
            partition.leader_epoch = epoch;
            let head = partition.queue.front().copied();
            if let Some(batch) = head.filter(|_| elected).and_then(|id| self.batch_mut(id))
                && batch.is_closed()
            {
                batch.ready_at = batch.ready_at.min(now);
            }
            self.list(slot);
        }
    }

    /// Puts a batch whose attempt failed back: in the order of sequences with `in_order`, else in
    /// front, as Kafka does.
    pub(super) fn reenqueue(&mut self, id: BatchId, in_order: bool) {
        let slot = self.batch(id).expect("a batch that is retried is incomplete").slot;
        let partition = &mut self.partitions[slot];
        partition.in_flight.retain(|&other| other != id);
        let place = if in_order { partition.queue.partition_point(|&other| other < id) } else { 0 };
        partition.queue.insert(place, id);
        self.list(slot);
    }

    /// Whether the batch at the head of `slot` needs no more linger.
    pub(super) fn is_full(&self, slot: usize, batch: &ProducerBatch) -> bool {
        batch.full || self.partitions[slot].queue.len() > 1
    }

    /// Takes a batch out: it is complete.
    pub(super) fn complete(&mut self, id: BatchId) -> Option<ProducerBatch> {
        let index = usize::try_from(id.checked_sub(self.first)?).ok()?;
        let batch = self.batches.get_mut(index)?.take()?;
        self.free_memory += batch.reserved;
        let partition = &mut self.partitions[batch.slot];
        partition.in_flight.retain(|&other| other != id);
        if partition.queue.contains(&id) {
            partition.queue.retain(|&other| other != id);
        }
        while let Some(None) = self.batches.front() {
            self.batches.pop_front();
            self.first += 1;
        }
        Some(batch)
    }

    /// Drained, incomplete batches of `slot` in the order of their sequences.
    pub(super) fn sequenced(&self, slot: usize) -> Vec<BatchId> {
        let partition = &self.partitions[slot];
        let closed = |id: &BatchId| self.batch(*id).is_some_and(ProducerBatch::is_closed);
        let queued = partition.queue.iter().copied().filter(closed);
        let mut ids: Vec<_> = partition.in_flight.iter().copied().chain(queued).collect();
        ids.sort_unstable();
        ids
    }

    /// Whether a drained batch of `slot` is incomplete.
    pub(super) fn has_sequenced(&self, slot: usize) -> bool {
        let partition = &self.partitions[slot];
        let head = partition.queue.front().and_then(|&id| self.batch(id));
        !partition.in_flight.is_empty() || head.is_some_and(ProducerBatch::is_closed)
    }
}

impl Partition {
    fn new(partition: TopicPartition) -> Self {
        Partition {
            partition,
            leader: None,
            leader_epoch: LeaderEpoch::NONE,
            queue: VecDeque::new(),
            in_flight: Vec::new(),
            listed: false,
            session: (ProducerId::NONE, ProducerEpoch::NONE),
            next_sequence: Sequence::ZERO,
            last_acked: Sequence::NONE,
            unresolved: None,
        }
    }

    /// Whether `sequence` follows the last acknowledged one (`isNextSequence`).
    pub(super) fn is_next(&self, sequence: Sequence) -> bool {
        match self.last_acked {
            Sequence::NONE => sequence == Sequence::ZERO,
            acked => acked.plus(1) == sequence,
        }
    }
}
