//! Table A: what producers sent against what the log holds.
//!
//! The ledger has one row per record and one per offset. A record is *in the log* at the offsets at
//! which the final drain shows it; a partition without a drain is judged by what anybody read there.

pub(crate) mod duplicate;
pub(crate) mod integrity;
pub(crate) mod leader_log;
pub(crate) mod loss;
pub(crate) mod order;

use oncesim_history::{Outcome, PolledRecord, Promise};
use oncesim_types::{Offset, RecordId, TopicId, TopicPartition};

use super::Context;
use super::findings::{Findings, Proof, record_name, time_of};
use super::index::NONE;
use super::setting::promise_of;
use crate::anomaly::Severity;
use crate::catalogue::log::{MISSING_ACK_OFFSET, MUTATED_RECORD, OFFSET_COLLISION_ACK};

/// What became of one logical send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordRow {
    /// The first `send()`; `NONE` if nobody sent it.
    pub(crate) invoked: u32,
    /// The last `send()`.
    pub(crate) invoked_last: u32,
    /// The first end with an acknowledgement.
    pub(crate) acked: u32,
    /// The last end without one.
    pub(crate) refused: u32,
    /// How often `send()` was called.
    pub(crate) sends: u16,
    /// How many of the calls ended with each outcome.
    pub(crate) ok: u16,
    pub(crate) fail: u16,
    pub(crate) info: u16,
    /// Requested topic.
    pub(crate) topic: u16,
    /// How many offsets hold it in the log.
    pub(crate) places: u16,
    /// Partition row: where the client said it went, else where it was asked to go.
    pub(crate) partition: u32,
    /// Slot of the first acknowledgement that named an offset.
    pub(crate) acked_slot: u32,
    /// Slot of the last one.
    pub(crate) acked_last: u32,
    /// Lowest slot that holds it in the log.
    pub(crate) place: u32,
    pub(crate) key: Option<u32>,
    pub(crate) payload: u64,
    /// What its transaction says about it.
    pub(crate) standing: Standing,
}

/// What a record's transaction says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has none.
    Plain,
    /// It was committed.
    Committed,
    /// It was aborted, or nobody knows.
    NotCommitted,
}

impl RecordRow {
    const EMPTY: RecordRow = RecordRow {
        invoked: NONE,
        invoked_last: NONE,
        acked: NONE,
        refused: NONE,
        sends: 0,
        ok: 0,
        fail: 0,
        info: 0,
        topic: u16::MAX,
        places: 0,
        partition: NONE,
        acked_slot: NONE,
        acked_last: NONE,
        place: NONE,
        key: None,
        payload: 0,
        standing: Standing::Plain,
    };

    /// Whether the log owes it: a client saw it succeed, or its transaction.
    pub(crate) fn is_owed(&self) -> bool {
        match self.standing {
            Standing::Plain => self.is_acked(),
            Standing::Committed => true,
            Standing::NotCommitted => false,
        }
    }

    /// Whether a client saw it succeed.
    pub(crate) const fn is_acked(&self) -> bool {
        self.ok > 0
    }

    /// Whether every call is known not to have written it.
    pub(crate) const fn is_failed(&self) -> bool {
        self.fail > 0 && self.fail == self.sends
    }
}

/// What was seen at one offset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotRow {
    /// The record that the final drain shows.
    pub(crate) drained: u32,
    /// The first record that anybody else read there.
    pub(crate) polled: u32,
    /// The first record that was acknowledged there.
    pub(crate) acked: u32,
    /// [`CONFLICT`], [`POLLED_COMMITTED`], [`POLLED_UNCOMMITTED`], [`DRAINED_COMMITTED`].
    pub(crate) flags: u32,
}

/// Two different records were read at the offset.
pub(crate) const CONFLICT: u32 = 1;
/// A `read_committed` consumer read the record.
pub(crate) const POLLED_COMMITTED: u32 = 2;
/// A `read_uncommitted` consumer read the record.
pub(crate) const POLLED_UNCOMMITTED: u32 = 4;
/// The final drain read it at `read_committed`.
pub(crate) const DRAINED_COMMITTED: u32 = 8;
/// What was read here belongs to a transaction that was not committed.
pub(crate) const NOT_COMMITTED: u32 = 16;

impl SlotRow {
    const EMPTY: SlotRow = SlotRow { drained: NONE, polled: NONE, acked: NONE, flags: 0 };
}

/// Counts of what the ledger saw.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LedgerCounts {
    pub(crate) sends: u64,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    pub(crate) polled: u64,
    pub(crate) drained: u64,
    /// Records that the log owes.
    pub(crate) owed: u64,
}

/// Every record and every offset of a history.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// By record row.
    pub(crate) records: Vec<RecordRow>,
    /// By slot.
    pub(crate) slots: Vec<SlotRow>,
    /// Records that were read before anybody had sent them: record, slot, poll.
    pub(crate) early: Vec<(u32, u32, u32)>,
    pub(crate) real_time: order::RealTime,
    pub(crate) counts: LedgerCounts,
}

impl Ledger {
    pub(crate) fn new(context: &Context<'_>) -> Self {
        Ledger {
            records: vec![RecordRow::EMPTY; context.index.records_len],
            slots: vec![SlotRow::EMPTY; context.index.slots_len],
            early: Vec::new(),
            real_time: order::RealTime::new(context),
            counts: LedgerCounts::default(),
        }
    }

    /// `send()` is called.
    pub(crate) fn on_send(
        &mut self,
        context: &Context<'_>,
        position: u32,
        to: TopicPartition,
        record: RecordId,
        key: Option<u32>,
        payload: u64,
    ) {
        self.counts.sends += 1;
        let row = context.index.record(record).expect("the index has every record");
        let row = &mut self.records[row as usize];
        row.sends = row.sends.saturating_add(1);
        row.topic = to.topic.0;
        row.invoked_last = position;
        if row.invoked == NONE {
            row.invoked = position;
            row.key = key;
            row.payload = payload;
        }
        if to.partition != u16::MAX && row.partition == NONE {
            row.partition = context.index.partition(to).unwrap_or(NONE);
        }
    }

    /// `send()` ends.
    pub(crate) fn on_send_end(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        record: RecordId,
        end: SendEnd,
    ) {
        let index = &context.index;
        let number = index.record(record).expect("the index has every record");
        let row = &mut self.records[number as usize];
        let SendEnd { partition, outcome, offset } = end;
        let partition = partition.and_then(|p| index.partition(p));
        match outcome {
            Outcome::Ok => {
                self.counts.acked += 1;
                row.ok = row.ok.saturating_add(1);
                if row.acked == NONE {
                    row.acked = position;
                    row.partition = partition.unwrap_or(row.partition);
                }
            }
            Outcome::Fail(_) => {
                self.counts.failed += 1;
                row.fail = row.fail.saturating_add(1);
                row.refused = position;
            }
            Outcome::Info(_) => {
                self.counts.unknown += 1;
                row.info = row.info.saturating_add(1);
                row.refused = position;
            }
        }
        if row.partition == NONE {
            row.partition = partition.unwrap_or(NONE);
        }
        if outcome != Outcome::Ok {
            return;
        }
        match (partition, offset.filter(|offset| offset.0 >= 0)) {
            (Some(partition), Some(offset)) => {
                self.acked_at(context, findings, position, number, partition, offset);
            }
            _ if promise_of(context.history, record.origin()).durable => {
                findings.add(&MISSING_ACK_OFFSET, Severity::Informative, || {
                    let name = record_name(context.history, record);
                    let when = time_of(context.history, position);
                    let sentence = format!("{name} was acknowledged at {when} without an offset");
                    Proof::new(context.history, sentence).record(record).events(&[position]).done()
                });
            }
            _ => {}
        }
    }

    fn acked_at(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        number: u32,
        partition: u32,
        offset: Offset,
    ) {
        let Some(slot) = context.index.slot(partition, offset) else { return };
        let row = &mut self.records[number as usize];
        if row.acked_slot == NONE {
            row.acked_slot = slot;
        }
        row.acked_last = slot;
        self.real_time.on_acked(position, partition, offset.0, number, row.invoked_last);
        let holds = self.slots[slot as usize].acked;
        if holds == NONE {
            self.slots[slot as usize].acked = number;
        } else if holds != number {
            let durable = [holds, number].into_iter().all(|r| Self::promise(context, r).durable);
            let promise = Promise { durable, idempotent: false, ordered: false };
            let severity = context.setting.loss_severity(Some(partition), promise);
            findings.add(&OFFSET_COLLISION_ACK, severity, || {
                let [a, b] = [holds, number].map(|r| context.index.record_id(r));
                let at = context.index.partitions[partition as usize];
                let sentence = format!(
                    "{} and {} were both acknowledged at {} offset {offset}",
                    record_name(context.history, a),
                    record_name(context.history, b),
                    context.history.partition_name(at),
                );
                Proof::new(context.history, sentence)
                    .record(b)
                    .at(at, &[offset.0])
                    .events(&[self.records[holds as usize].acked, position])
                    .done()
            });
        }
    }

    /// A record was read.
    pub(crate) fn on_polled(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        (auditor, committed): (bool, bool),
        polled: &PolledRecord,
    ) {
        let index = &context.index;
        let record = index.record(polled.record).expect("the index has every record");
        let Some(slot) =
            index.partition(polled.partition).and_then(|p| index.slot(p, polled.offset))
        else {
            return;
        };
        let row = &self.records[record as usize];
        if row.invoked == NONE {
            self.early.push((record, slot, position));
        } else if row.payload != polled.payload || row.key != polled.key {
            findings
                .add(&MUTATED_RECORD, Severity::Always, || mutated(context, row, polled, position));
        }
        let seen = &mut self.slots[slot as usize];
        if auditor {
            self.counts.drained += 1;
            if seen.drained != NONE && seen.drained != record {
                seen.flags |= CONFLICT;
            }
            seen.drained = record;
            seen.flags |= if committed { DRAINED_COMMITTED } else { 0 };
        } else {
            self.counts.polled += 1;
            seen.flags |= if committed { POLLED_COMMITTED } else { POLLED_UNCOMMITTED };
            if seen.polled == NONE {
                seen.polled = record;
            } else if seen.polled != record {
                seen.flags |= CONFLICT;
            }
        }
    }

    /// Counts where each record is in the log. Called once, after the last event.
    pub(crate) fn settle(&mut self, context: &Context<'_>) {
        for partition in 0..context.index.partitions.len() {
            let partition = u32::try_from(partition).expect("partition rows are 32 bits");
            for slot in context.index.slots(partition) {
                let record = self.in_log(context, partition, slot);
                if record != NONE {
                    let row = &mut self.records[record as usize];
                    row.places = row.places.saturating_add(1);
                    row.place = row.place.min(slot);
                }
            }
        }
    }

    /// What holds a slot in the log. A final read that did not reach the end is a read like others.
    pub(crate) fn in_log(&self, context: &Context<'_>, partition: u32, slot: u32) -> u32 {
        let seen = &self.slots[slot as usize];
        match context.setting.partitions[partition as usize].drained {
            None if seen.polled != NONE => seen.polled,
            Some(_) | None => seen.drained,
        }
    }

    /// Whether the final drain covers everywhere that a record can be.
    pub(crate) fn is_drained(&self, context: &Context<'_>, row: &RecordRow) -> bool {
        let drained = |p: u32| context.setting.partitions[p as usize].drained.is_some();
        if row.partition != NONE {
            return drained(row.partition);
        }
        let mut partitions = context.index.topic(TopicId(row.topic));
        !partitions.is_empty() && partitions.all(drained)
    }

    /// What the producer of a record promised.
    pub(crate) fn promise(context: &Context<'_>, record: u32) -> Promise {
        promise_of(context.history, context.index.record_id(record).origin())
    }
}

/// How a `send()` ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendEnd {
    pub(crate) partition: Option<TopicPartition>,
    pub(crate) outcome: Outcome,
    pub(crate) offset: Option<Offset>,
}

fn mutated(
    context: &Context<'_>,
    row: &RecordRow,
    polled: &PolledRecord,
    position: u32,
) -> crate::anomaly::Witness {
    let history = context.history;
    let what = if row.payload == polled.payload { "key" } else { "payload" };
    let sentence = format!(
        "{} was read from {} offset {} at {} with another {what} than it was sent with",
        record_name(history, polled.record),
        history.partition_name(polled.partition),
        polled.offset,
        time_of(history, position),
    );
    Proof::new(history, sentence)
        .record(polled.record)
        .at(polled.partition, &[polled.offset.0])
        .events(&[row.invoked, position])
        .done()
}

/// A partition row, or none.
pub(crate) const fn known(row: u32) -> Option<u32> {
    if row == NONE { None } else { Some(row) }
}
