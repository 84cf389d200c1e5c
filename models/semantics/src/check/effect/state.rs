//! `stale-upsert`, `tombstone-resurrect`, `lost-update`: what rows look like in the end, and who
//! changed them.
//!
//! Versions are ordered as the records are in the log: by their first offset within one partition.
//! Records of different partitions have no order.
//!
//! *Stale*: of a sink where what is applied last stays, the last writer of a row is older than
//! another writer of it, and did not leave what that one had left. A row that went backwards and was
//! healed is none: what counts is the final state.
//!
//! *Resurrected*: the last write of a row is no deletion, and is older than a deletion that was
//! applied before it: one that deleted the row, or one of the same key that found nothing to delete.
//!
//! *Lost update*: between the commit that a client read at and the one that writes what it made of
//! it, another record's effect changed the same row.

use oncesim_history::SinkInfo;

use super::log::Application;
use super::{Evidence, is_tombstone, story};
use crate::anomaly::{AnomalyClass, Severity, Witness};
use crate::catalogue::effect::{LOST_UPDATE, STALE_UPSERT, TOMBSTONE_RESURRECT};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};

/// One change of one row.
#[derive(Debug, Clone, Copy)]
struct Write<'e> {
    system: u16,
    row: u64,
    after: u64,
    by: &'e Application,
}

/// Reports the rows of this file.
pub(crate) fn check(context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
    let history = context.history;
    let mut writes: Vec<Write<'_>> = Vec::new();
    for by in &evidence.effects.log.applications {
        let system = history.sinks[usize::from(by.sink)].system.0;
        writes.extend(by.changes(history).map(|change| Write {
            system,
            row: change.row,
            after: change.after,
            by,
        }));
    }
    writes.sort_by_key(|w| (w.system, w.row, w.by.position));
    let deletions = Deletions::of(context, evidence);
    for row in writes.chunk_by(|a, b| (a.system, a.row) == (b.system, b.row)) {
        lost_updates(context, evidence, row, findings);
        let Some(last) = row.last() else { continue };
        let info = &history.sinks[usize::from(last.by.sink)];
        if !deletions.resurrected(context, evidence, row, findings) && info.overwrites {
            stale(context, evidence, (info, row), findings);
        }
    }
}

/// Where a logical record is in the log: partition row and slot.
fn place(context: &Context<'_>, evidence: &Evidence<'_>, by: &Application) -> Option<(u32, u32)> {
    let owed = evidence.owed_by(by.sink, evidence.root(by.record))?;
    Some((context.index.place(owed.slot).0, owed.slot))
}

fn stale(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    (info, row): (&SinkInfo, &[Write<'_>]),
    findings: &mut Findings,
) {
    let Some(last) = row.last() else { return };
    let Some((p, slot)) = place(context, evidence, last.by) else { return };
    let newer = row.iter().filter_map(|w| {
        let (of, at) = place(context, evidence, w.by)?;
        (of == p && at > slot).then_some((at, w))
    });
    let Some((_, newest)) = newer.max_by_key(|(at, w)| (*at, w.by.position)) else { return };
    if newest.after != last.after {
        findings.add(&STALE_UPSERT, Severity::Legal, || {
            let what = "overwrote";
            overwritten(context, evidence, info, (last.by, newest.by), what)
        });
    }
}

/// The deletions that were applied, as far as they found nothing: by sink and key.
struct Deletions<'e> {
    idle: Vec<(u16, u32, u32, &'e Application)>,
}

impl<'e> Deletions<'e> {
    fn of(context: &Context<'_>, evidence: &Evidence<'e>) -> Deletions<'e> {
        let mut idle = Vec::new();
        for by in evidence.applied {
            let key = evidence.ledger.records[by.record as usize].key;
            if let Some(key) = key
                && is_tombstone(context, evidence.ledger, by.record)
                && !by.is_change(context.history)
                && let Some((_, slot)) = place(context, evidence, by)
            {
                idle.push((by.sink, key, slot, by));
            }
        }
        idle.sort_by_key(|(sink, key, slot, _)| (*sink, *key, *slot));
        Deletions { idle }
    }

    /// Reports a row that a deletion should have ended.
    fn resurrected(
        &self,
        context: &Context<'_>,
        evidence: &Evidence<'_>,
        row: &[Write<'_>],
        findings: &mut Findings,
    ) -> bool {
        let Some(last) = row.last().filter(|last| last.after != 0) else { return false };
        let is_deletion = |by: &Application| is_tombstone(context, evidence.ledger, by.record);
        let Some((p, slot)) = place(context, evidence, last.by) else { return false };
        if is_deletion(last.by) {
            return false;
        }
        let newer = |by: &Application| {
            let at = place(context, evidence, by);
            by.sink == last.by.sink && at.is_some_and(|(of, at)| of == p && at > slot)
        };
        let in_row = row.iter().find(|w| w.after == 0 && is_deletion(w.by) && newer(w.by));
        let key = evidence.ledger.records[last.by.record as usize].key;
        let idle = || {
            let key = (last.by.sink, key?);
            let from = self
                .idle
                .partition_point(|(sink, k, at, _)| (*sink, *k, *at) <= (key.0, key.1, slot));
            let same = self.idle[from..].iter().take_while(|(sink, k, ..)| (*sink, *k) == key);
            let mut same = same.map(|(.., by)| *by);
            same.find(|by| by.position < last.by.position && newer(by))
        };
        let Some(deletion) = in_row.map(|w| w.by).or_else(idle) else { return false };
        findings.add(&TOMBSTONE_RESURRECT, Severity::Legal, || {
            let info = &context.history.sinks[usize::from(last.by.sink)];
            overwritten(context, evidence, info, (last.by, deletion), "undid the deletion of")
        });
        true
    }
}

fn lost_updates(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    row: &[Write<'_>],
    findings: &mut Findings,
) {
    for (at, write) in row.iter().enumerate().filter(|(_, w)| w.by.read_at != u64::MAX) {
        let root = evidence.root(write.by.record);
        let unseen = row[..at].iter().rev().take_while(|w| w.by.commit > write.by.read_at);
        let other = unseen.filter(|w| evidence.root(w.by.record) != root).last();
        let Some(other) = other else { continue };
        findings.add(&LOST_UPDATE, Severity::Legal, || {
            let history = context.history;
            let [id, lost] = [write.by, other.by].map(|by| context.index.record_id(by.record));
            let sentence = format!(
                "{} applied the effect of {} in commit {} at {} from what had been read after \
                 commit {}; commit {} had changed the row since, for {}",
                history.sinks[usize::from(write.by.sink)].name,
                record_name(history, id),
                write.by.commit,
                time_of(history, write.by.position),
                write.by.read_at,
                other.by.commit,
                record_name(history, lost),
            );
            Proof::new(history, sentence)
                .record(lost)
                .events(&story(context, evidence, (write.by.sink, root)))
                .events(&[other.by.position, write.by.position])
                .done()
        });
    }
}

fn overwritten(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    info: &SinkInfo,
    (old, new): (&Application, &Application),
    what: &str,
) -> Witness {
    let history = context.history;
    let [old_id, new_id] = [old, new].map(|by| context.index.record_id(by.record));
    let sentence = format!(
        "{}: {} (commit {} at {}) {what} {} (commit {} at {}), which is newer",
        info.name,
        record_name(history, old_id),
        old.commit,
        time_of(history, old.position),
        record_name(history, new_id),
        new.commit,
        time_of(history, new.position),
    );
    let offset = |by: &Application| {
        let owed = evidence.owed_by(by.sink, evidence.root(by.record));
        owed.map(|owed| context.index.place(owed.slot))
    };
    let mut proof = Proof::new(history, sentence).record(old_id);
    if let (Some((p, old)), Some((_, new))) = (offset(old), offset(new)) {
        proof = proof.at(context.index.partitions[p as usize], &[old, new]);
    }
    proof
        .events(&story(context, evidence, (old.sink, evidence.root(old.record))))
        .events(&[new.position, old.position])
        .done()
}

/// The classes of this file that break the order of records, however legal they are.
pub(crate) static DISORDER: [&AnomalyClass; 2] = [&STALE_UPSERT, &TOMBSTONE_RESURRECT];
