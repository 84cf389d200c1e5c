//! The log as its leaders wrote it, seen from inside: `seq-gap`, `seq-dup`,
//! `producer-epoch-regress`, `leader-epoch-regress`, `illegal-offset-gap` and `acked-truncated`.
//!
//! Mirrors the checks of Kafka's `ProducerAppendInfo` and `ProducerStateManager`: one chain of
//! batches per producer id and replica, followed through appends, truncations and lost disks. A
//! leader is judged by its own log: an earlier leader that comes back brings its suffix with it.
//! Each batch knows its predecessor of the same producer, so that a cut costs what it cuts.

use oncesim_history::{SpanIndex, WorldEvent};
use oncesim_types::{ActorId, Sequence, TransactionResult};

use super::{Ledger, known};
use crate::anomaly::{AnomalyClass, Severity};
use crate::catalogue::log::{
    ACKED_TRUNCATED, ILLEGAL_OFFSET_GAP, LEADER_EPOCH_REGRESS, PRODUCER_EPOCH_REGRESS, SEQ_DUP,
    SEQ_GAP,
};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;

/// How many batches of one producer a broker remembers.
const CACHED_BATCHES: usize = 5;

/// What a batch is to transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchKind {
    /// Nothing.
    Plain,
    /// A part of one.
    Transactional,
    /// The end of one.
    Commit,
    /// The end of one.
    Abort,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) base: i64,
    len: u32,
    leader_epoch: i32,
    pub(crate) producer: i64,
    pub(crate) producer_epoch: i16,
    /// Of a marker: the epoch of its coordinator.
    pub(crate) sequence: i32,
    pub(crate) records: SpanIndex,
    pub(crate) position: u32,
    /// The batch before of the same producer, or `NONE`.
    before: u32,
    pub(crate) kind: BatchKind,
}

impl Batch {
    const fn is_marker(&self) -> bool {
        matches!(self.kind, BatchKind::Commit | BatchKind::Abort)
    }

    fn last_sequence(&self) -> Sequence {
        Sequence(self.sequence).plus(i32::try_from(self.len).unwrap_or(i32::MAX).max(1) - 1)
    }
}

/// What one broker holds of a partition.
#[derive(Debug)]
struct ReplicaLog {
    broker: ActorId,
    batches: Vec<Batch>,
    /// The last batch of each producer id, ascending by id.
    producers: Vec<(i64, u32)>,
}

/// A broker that began to lead.
#[derive(Debug, Clone, Copy)]
struct Leadership {
    log_end: i64,
    position: u32,
}

#[derive(Debug)]
struct PartitionLog {
    replicas: Vec<ReplicaLog>,
    /// The highest epoch with which a broker began to lead, and which replica that is.
    epoch: i32,
    leader: Option<usize>,
    leaderships: Vec<Leadership>,
    /// Everything that leaders appended, whatever became of it.
    written: Vec<Batch>,
}

impl Default for PartitionLog {
    fn default() -> Self {
        PartitionLog {
            replicas: Vec::new(),
            epoch: -1,
            leader: None,
            leaderships: Vec::new(),
            written: Vec::new(),
        }
    }
}

/// The logs of all partitions.
#[derive(Debug)]
pub(crate) struct LeaderLogs {
    partitions: Vec<PartitionLog>,
    /// How many batches leaders appended.
    pub(crate) appends: u64,
    /// Whether there is a batch of a transaction.
    pub(crate) transactional: bool,
}

impl LeaderLogs {
    pub(crate) fn new(context: &Context<'_>) -> Self {
        let mut partitions = Vec::new();
        partitions.resize_with(context.index.partitions.len(), PartitionLog::default);
        LeaderLogs { partitions, appends: 0, transactional: false }
    }

    /// A broker began to lead.
    pub(crate) fn on_leader(
        &mut self,
        partition: u32,
        broker: ActorId,
        epoch: i32,
        log_end: i64,
        position: u32,
    ) {
        let log = &mut self.partitions[partition as usize];
        // A broker that comes late to a leadership that is over leads nobody.
        if epoch >= log.epoch {
            log.epoch = epoch;
            log.leader = Some(log.replica(broker));
            log.leaderships.push(Leadership { log_end, position });
        }
    }

    /// A replica lost everything from `to` on.
    pub(crate) fn on_cut(&mut self, partition: u32, broker: ActorId, to: i64) {
        let log = &mut self.partitions[partition as usize];
        let replica = log.replica(broker);
        log.replicas[replica].cut_to(to);
    }

    /// A replica appended a batch.
    pub(crate) fn on_append(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        partition: u32,
        broker: ActorId,
        position: u32,
        event: &WorldEvent,
    ) {
        let WorldEvent::Append {
            base_offset,
            records,
            len,
            leader_epoch,
            producer_id,
            producer_epoch,
            base_sequence,
            leader,
            transactional,
            ..
        } = event
        else {
            return;
        };
        self.transactional |= transactional;
        let mut batch = Batch {
            base: base_offset.0,
            len: *len,
            leader_epoch: leader_epoch.0,
            producer: producer_id.0,
            producer_epoch: producer_epoch.0,
            sequence: base_sequence.0,
            records: *records,
            position,
            before: NONE,
            kind: if *transactional { BatchKind::Transactional } else { BatchKind::Plain },
        };
        let log = &mut self.partitions[partition as usize];
        let index = log.replica(broker);
        let current = batch.leader_epoch >= log.epoch;
        let replica = &mut log.replicas[index];
        replica.cut_to(batch.base);
        let last = replica.batches.last().copied();
        if batch.producer >= 0 && batch.sequence >= 0 {
            batch.before = replica.link(batch.producer);
        }
        if *leader {
            self.appends += 1;
            log.written.push(batch);
        }
        // Followers copy, and what a deposed leader still writes will be cut.
        if *leader && current {
            // Whoever appends with the newest epoch leads, also where nobody saw it begin.
            log.leader = Some(index);
            gap(context, findings, partition, last, &batch);
            if let Some(last) = last.filter(|last| last.leader_epoch > batch.leader_epoch) {
                let text = format!("in leader epoch {}", batch.leader_epoch);
                report(context, findings, &LEADER_EPOCH_REGRESS, partition, &last, &batch, &text);
            }
            if batch.before != NONE {
                replica.sequence(context, findings, partition, &batch);
            }
        }
        replica.batches.push(batch);
    }

    /// A replica appended the end of a transaction.
    pub(crate) fn on_marker(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        partition: u32,
        broker: ActorId,
        position: u32,
        event: &WorldEvent,
    ) {
        let WorldEvent::Marker {
            offset,
            producer_id,
            producer_epoch,
            result,
            coordinator_epoch,
            leader_epoch,
            leader,
            ..
        } = event
        else {
            return;
        };
        self.transactional = true;
        let log = &mut self.partitions[partition as usize];
        let index = log.replica(broker);
        let current = leader_epoch.0 >= log.epoch;
        let replica = &mut log.replicas[index];
        replica.cut_to(offset.0);
        let previous = replica.batches.last().copied();
        let mut batch = Batch {
            base: offset.0,
            len: 1,
            leader_epoch: leader_epoch.0,
            producer: producer_id.0,
            producer_epoch: producer_epoch.0,
            sequence: coordinator_epoch.0,
            records: SpanIndex::default(),
            position,
            before: NONE,
            kind: match result {
                TransactionResult::Commit => BatchKind::Commit,
                TransactionResult::Abort => BatchKind::Abort,
            },
        };
        batch.before = replica.link(batch.producer);
        if *leader && current {
            log.leader = Some(index);
            gap(context, findings, partition, previous, &batch);
            if let Some(last) = replica.batches.get(batch.before as usize)
                && last.producer_epoch > batch.producer_epoch
            {
                let text = format!(
                    "that ends a transaction of producer id {} with epoch {} after epoch {}",
                    batch.producer, batch.producer_epoch, last.producer_epoch
                );
                let class = &PRODUCER_EPOCH_REGRESS;
                report(context, findings, class, partition, last, &batch, &text);
            }
        }
        replica.batches.push(batch);
    }

    /// What the last leader of a partition holds.
    pub(crate) fn last_leader(&self, partition: u32) -> &[Batch] {
        self.partitions[partition as usize].last_leader()
    }

    /// By record row: whether the last leader has it.
    pub(crate) fn holds(&self, context: &Context<'_>) -> Vec<bool> {
        let mut holds = vec![false; context.index.records_len];
        for batch in self.partitions.iter().flat_map(PartitionLog::last_leader) {
            for record in context.history.appended(batch.records) {
                if let Some(record) = context.index.record(*record) {
                    holds[record as usize] = true;
                }
            }
        }
        holds
    }

    /// Reports acknowledged records that the last leader does not have, and which leader it was
    /// that began without them.
    pub(crate) fn check(&self, context: &Context<'_>, ledger: &Ledger, findings: &mut Findings) {
        if self.partitions.iter().all(|log| log.leaderships.len() < 2) {
            return;
        }
        let mut kept = self.holds(context);
        for (partition, log) in (0u32..).zip(&self.partitions) {
            for batch in &log.written {
                for (offset, id) in (batch.base..).zip(context.history.appended(batch.records)) {
                    let Some(record) = context.index.record(*id) else { continue };
                    let row = &ledger.records[record as usize];
                    if !row.is_acked() || kept[record as usize] {
                        continue;
                    }
                    let without = |leadership: &&Leadership| {
                        leadership.position > batch.position && leadership.log_end <= offset
                    };
                    let Some(Leadership { position: by, .. }) =
                        log.leaderships.iter().find(without)
                    else {
                        continue;
                    };
                    kept[record as usize] = true;
                    let promise = Ledger::promise(context, record);
                    let severity = context.setting.loss_severity(known(partition), promise);
                    findings.add(&ACKED_TRUNCATED, severity, || {
                        let history = context.history;
                        let at = context.index.partitions[partition as usize];
                        let cutter = &history.events[*by as usize];
                        let sentence = format!(
                            "{} was acknowledged at {} for {} offset {offset}; {} began to lead \
                             without it at {}",
                            record_name(history, *id),
                            time_of(history, row.acked),
                            history.partition_name(at),
                            history.actor_name(cutter.actor),
                            cutter.time,
                        );
                        Proof::new(history, sentence)
                            .record(*id)
                            .at(at, &[offset])
                            .events(&[row.invoked, batch.position, row.acked, *by])
                            .done()
                    });
                }
            }
        }
    }
}

impl PartitionLog {
    /// The row of a broker's replica.
    fn replica(&mut self, broker: ActorId) -> usize {
        self.replicas.iter().position(|replica| replica.broker == broker).unwrap_or_else(|| {
            self.replicas.push(ReplicaLog { broker, batches: Vec::new(), producers: Vec::new() });
            self.replicas.len() - 1
        })
    }

    /// What the last leader holds.
    fn last_leader(&self) -> &[Batch] {
        self.leader.map_or(&[], |leader| &self.replicas[leader].batches)
    }
}

impl ReplicaLog {
    /// Makes the coming batch the last of its producer; returns the one before.
    fn link(&mut self, producer: i64) -> u32 {
        let next = u32::try_from(self.batches.len()).expect("fewer than 2^32 batches");
        match self.producers.binary_search_by_key(&producer, |entry| entry.0) {
            Ok(at) => std::mem::replace(&mut self.producers[at].1, next),
            Err(at) => {
                self.producers.insert(at, (producer, next));
                NONE
            }
        }
    }

    fn cut_to(&mut self, end: i64) {
        while let Some(batch) = self.batches.pop_if(|b| b.base + i64::from(b.len) > end) {
            if batch.producer >= 0
                && let Ok(at) =
                    self.producers.binary_search_by_key(&batch.producer, |entry| entry.0)
            {
                self.producers[at].1 = batch.before;
            }
        }
    }

    /// The rules of an idempotent producer: the next batch of an epoch follows the last, a new epoch
    /// begins with sequence 0.
    fn sequence(
        &self,
        context: &Context<'_>,
        findings: &mut Findings,
        partition: u32,
        batch: &Batch,
    ) {
        let Some(mut last) = self.batches.get(batch.before as usize) else {
            return;
        };
        // The end of a transaction may raise the epoch; it has no sequence.
        let regress = batch.producer_epoch < last.producer_epoch;
        while last.is_marker() && !regress {
            match self.batches.get(last.before as usize) {
                Some(earlier) => last = earlier,
                None => return,
            }
        }
        let class: &'static AnomalyClass = if batch.producer_epoch < last.producer_epoch {
            &PRODUCER_EPOCH_REGRESS
        } else if batch.producer_epoch > last.producer_epoch {
            if batch.sequence == 0 {
                return;
            }
            &SEQ_GAP
        } else if last.last_sequence().plus(1).0 == batch.sequence {
            return;
        } else if self.cached(batch) {
            &SEQ_DUP
        } else {
            &SEQ_GAP
        };
        let text = format!(
            "from producer id {} with epoch {} and sequence {} after epoch {} and sequence {}",
            batch.producer,
            batch.producer_epoch,
            batch.sequence,
            last.producer_epoch,
            last.last_sequence(),
        );
        report(context, findings, class, partition, last, batch, &text);
    }

    /// Whether a batch is among the last that a broker remembers of its producer.
    fn cached(&self, batch: &Batch) -> bool {
        let mut before = batch.before;
        for _ in 0..CACHED_BATCHES {
            let Some(earlier) = self.batches.get(before as usize) else { return false };
            if earlier.producer_epoch == batch.producer_epoch
                && earlier.sequence == batch.sequence
                && !earlier.is_marker()
            {
                return true;
            }
            before = earlier.before;
        }
        false
    }
}

/// The log takes every offset: there is neither retention nor compaction that could free one.
fn gap(
    context: &Context<'_>,
    findings: &mut Findings,
    partition: u32,
    last: Option<Batch>,
    batch: &Batch,
) {
    let Some(last) = last.filter(|last| last.base + i64::from(last.len) < batch.base) else {
        return;
    };
    let end = last.base + i64::from(last.len);
    let text = format!("although its log ended at {end}: nothing is at the offsets in between");
    report(context, findings, &ILLEGAL_OFFSET_GAP, partition, &last, batch, &text);
}

fn report(
    context: &Context<'_>,
    findings: &mut Findings,
    class: &'static AnomalyClass,
    partition: u32,
    last: &Batch,
    batch: &Batch,
    text: &str,
) {
    findings.add(class, Severity::Always, || {
        let history = context.history;
        let at = context.index.partitions[partition as usize];
        let event = &history.events[batch.position as usize];
        let sentence = format!(
            "{} appended a batch to {} at offset {} {text}",
            history.actor_name(event.actor),
            history.partition_name(at),
            batch.base,
        );
        let proof = Proof::new(history, sentence)
            .at(at, &[last.base, batch.base])
            .events(&[last.position, batch.position]);
        match history.appended(batch.records).first() {
            Some(record) => proof.record(*record).done(),
            None => proof.done(),
        }
    });
}
