//! Aggregates: `state-fingerprint-mismatch` and `restore-mismatch`.
//!
//! The store of an input partition is computed again from the committed input, in its order. A
//! changelog record has the value of its input's aggregate; a restore is compared with what the
//! changelog holds up to where it was read.

use std::collections::BTreeMap;

use oncesim_history::{Output, ProcessorInfo};
use oncesim_types::{Transform, lineage};

use super::{Emit, copies};
use crate::anomaly::Severity;
use crate::catalogue::processing::{RESTORE_MISMATCH, STATE_FINGERPRINT_MISMATCH};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;
use crate::check::log::Ledger;

/// A store as a processor restored it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restore {
    /// Row of the changelog's partition.
    pub(crate) p: u32,
    pub(crate) to: i64,
    pub(crate) keys: u32,
    pub(crate) fingerprint: u64,
    pub(crate) position: u32,
}

/// The stores of one group.
#[derive(Debug, Default)]
pub(crate) struct Aggregates {
    /// Of the input partition at hand, by key.
    store: BTreeMap<u32, i64>,
    /// Changelog records with their value.
    values: Vec<(u32, i64)>,
}

impl Aggregates {
    /// The next input partition has a store of its own.
    pub(crate) fn begin_partition(&mut self) {
        self.store.clear();
    }

    /// One more input.
    pub(crate) fn step(
        &mut self,
        context: &Context<'_>,
        ledger: &Ledger,
        (slot, input): (u32, u32),
        made: &[Emit],
        findings: &mut Findings,
    ) {
        let Some(key) = ledger.records[input as usize].key else { return };
        let value = self.store.entry(key).or_insert(0);
        *value = lineage::aggregated(*value, context.index.record_id(input));
        for emit in made.iter().filter(|e| e.input == input && copies(ledger, e.record) > 0) {
            let id = context.index.record_id(emit.record);
            let row = &ledger.records[emit.record as usize];
            if row.invoked == NONE || row.payload == 0 {
                continue;
            }
            if row.payload == lineage::payload(id, Some(*value)) {
                if emit.output == Output::Changelog {
                    self.values.push((emit.record, *value));
                }
                continue;
            }
            let count = *value & 0xffff;
            findings.add(&STATE_FINGERPRINT_MISMATCH, Severity::Legal, || {
                let history = context.history;
                let (p, offset) = context.index.place(slot);
                let at = context.index.partitions[p as usize];
                let sentence = format!(
                    "{}, made from {} offset {offset} at {}, is not the aggregate of the {count} \
                     inputs with key {key} up to there",
                    record_name(history, id),
                    history.partition_name(at),
                    time_of(history, emit.position),
                );
                Proof::new(history, sentence)
                    .record(id)
                    .at(at, &[offset])
                    .events(&[emit.position, row.invoked])
                    .done()
            });
        }
    }

    /// Compares restored stores with the changelog.
    pub(crate) fn restores(
        &mut self,
        context: &Context<'_>,
        ledger: &Ledger,
        processor: &ProcessorInfo,
        restores: &[Restore],
        findings: &mut Findings,
    ) {
        let Transform::Aggregate { changelog } = processor.transform else { return };
        self.values.sort_unstable();
        for p in context.index.topic(changelog) {
            if context.setting.partitions[p as usize].drained.is_none() {
                continue;
            }
            let mut of: Vec<&Restore> = restores.iter().filter(|r| r.p == p).collect();
            of.sort_by_key(|restore| restore.to);
            let mut store: BTreeMap<u32, i64> = BTreeMap::new();
            let mut fingerprint = 0u64;
            let mut known = true;
            let mut slots = context.index.slots(p).peekable();
            for restore in of {
                while let Some(slot) =
                    slots.next_if(|slot| context.index.offset(p, *slot) < restore.to)
                {
                    let record = ledger.slots[slot as usize].drained;
                    if record == NONE {
                        continue;
                    }
                    let value = self.values.binary_search_by_key(&record, |entry| entry.0);
                    let (Ok(value), Some(key)) = (value, ledger.records[record as usize].key)
                    else {
                        known = false;
                        continue;
                    };
                    let value = self.values[value].1;
                    if let Some(before) = store.insert(key, value) {
                        fingerprint = fingerprint.wrapping_sub(lineage::store_entry(key, before));
                    }
                    fingerprint = fingerprint.wrapping_add(lineage::store_entry(key, value));
                }
                let keys = store.len();
                if known && (restore.keys as usize, restore.fingerprint) != (keys, fingerprint) {
                    findings.add(&RESTORE_MISMATCH, Severity::UnderThisConfiguration, || {
                        mismatch(context, restore, keys)
                    });
                }
            }
        }
    }
}

fn mismatch(context: &Context<'_>, restore: &Restore, keys: usize) -> crate::anomaly::Witness {
    let history = context.history;
    let at = context.index.partitions[restore.p as usize];
    let event = &history.events[restore.position as usize];
    let sentence = format!(
        "{} restored {} keys from {} up to {} at {}; the changelog has {keys} keys there, and they \
         are not the same or have other values",
        history.actor_name(event.actor),
        restore.keys,
        history.partition_name(at),
        restore.to,
        event.time,
    );
    Proof::new(history, sentence).at(at, &[restore.to]).events(&[restore.position]).done()
}
