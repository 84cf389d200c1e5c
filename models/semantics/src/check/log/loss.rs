//! `lost-write`, `lost-write-final`: acknowledged records that are not in the log.
//!
//! At the log level a loss is judged on every record that a client saw succeed, whatever its
//! configuration promises; the promise decides how severe it is. A record whose `send()` failed, or
//! whose outcome is unknown, may be absent: the application was told. In a world that never came to
//! rest, a record that the last leader still has is late, not lost.

use super::leader_log::LeaderLogs;
use super::{Ledger, RecordRow, known};
use crate::anomaly::{Severity, Witness};
use crate::catalogue::consumer::UNSEEN;
use crate::catalogue::log::{LOST_WRITE, LOST_WRITE_FINAL};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;

/// Reports losses; returns how many records were excused: absent, but never acknowledged.
pub(crate) fn check(
    context: &Context<'_>,
    ledger: &Ledger,
    leader_logs: &LeaderLogs,
    findings: &mut Findings,
) -> u64 {
    let mut bounds = None;
    let late = match context.setting.restless {
        true => leader_logs.holds(context),
        false => Vec::new(),
    };
    let mut excused = 0;
    for (record, row) in (0u32..).zip(&ledger.records) {
        if row.invoked == NONE || row.places > 0 {
            continue;
        }
        if !row.is_owed() {
            excused += 1;
            continue;
        }
        let partition = known(row.partition);
        let severity =
            || context.setting.loss_severity(partition, Ledger::promise(context, record));
        if late.get(record as usize).copied().unwrap_or(false) {
            findings.add(&UNSEEN, Severity::Informative, || lost_final(context, record, row));
            continue;
        }
        if ledger.is_drained(context, row) {
            findings.add(&LOST_WRITE_FINAL, severity(), || lost_final(context, record, row));
        }
        if row.acked_slot != NONE {
            let (p, offset) = context.index.place(row.acked_last);
            let bounds = bounds.get_or_insert_with(|| read_bounds(context, ledger));
            let reader = bounds[p as usize];
            if offset <= reader.0 {
                findings.add(&LOST_WRITE, severity(), || {
                    passed_over(context, ledger, record, row, reader)
                });
            }
        }
    }
    excused
}

/// Per partition the highest offset that a reader has certainly passed, and the record that it got
/// there. Of each record only the first offset counts, so that a duplicate far behind proves
/// nothing.
fn read_bounds(context: &Context<'_>, ledger: &Ledger) -> Vec<(i64, u32)> {
    let mut first = vec![NONE; ledger.records.len()];
    let mut read = vec![false; ledger.records.len()];
    for (slot, seen) in (0u32..).zip(&ledger.slots) {
        for record in [seen.polled, seen.drained, seen.acked] {
            if record != NONE {
                first[record as usize] = first[record as usize].min(slot);
            }
        }
        for record in [seen.polled, seen.drained] {
            if record != NONE {
                read[record as usize] = true;
            }
        }
    }
    let mut bounds = vec![(i64::MIN, NONE); context.index.partitions.len()];
    for (record, slot) in (0u32..).zip(first) {
        if read[record as usize] {
            let (partition, offset) = context.index.place(slot);
            let bound = &mut bounds[partition as usize];
            if offset > bound.0 {
                *bound = (offset, record);
            }
        }
    }
    bounds
}

fn lost_final(context: &Context<'_>, record: u32, row: &RecordRow) -> Witness {
    let history = context.history;
    let id = context.index.record_id(record);
    let name = record_name(history, id);
    let acknowledged = match row.acked {
        NONE => "was committed".to_owned(),
        acked => format!("was acknowledged at {}", time_of(history, acked)),
    };
    let mut events = vec![row.invoked, row.acked];
    let drained = known(row.partition)
        .and_then(|p| Some((p, context.setting.partitions[p as usize].drained?)));
    let Some((p, (from, to, event))) = drained else {
        let sentence =
            format!("{name} {acknowledged}, and the final read of its topic never shows it");
        return Proof::new(history, sentence).record(id).events(&events).done();
    };
    events.push(event);
    let partition = context.index.partitions[p as usize];
    let place = history.partition_name(partition);
    let acked = known(row.acked_slot).map(|slot| context.index.place(slot).1);
    let at = acked.map_or(String::new(), |offset| format!(" offset {offset}"));
    let sentence = format!(
        "{name} {acknowledged} for {place}{at}; the final read of {place} covers \
         offsets {from} to {to} and does not show it"
    );
    let offsets: Vec<i64> = acked.into_iter().collect();
    Proof::new(history, sentence).record(id).at(partition, &offsets).events(&events).done()
}

fn passed_over(
    context: &Context<'_>,
    ledger: &Ledger,
    record: u32,
    row: &RecordRow,
    reader: (i64, u32),
) -> Witness {
    let history = context.history;
    let id = context.index.record_id(record);
    let (p, offset) = context.index.place(row.acked_slot);
    let partition = context.index.partitions[p as usize];
    let other = reader.1;
    let sentence = format!(
        "{} was acknowledged at {} for {} offset {offset} and never read, although readers went on \
         to {} at offset {}",
        record_name(history, id),
        time_of(history, row.acked),
        history.partition_name(partition),
        record_name(history, context.index.record_id(other)),
        reader.0,
    );
    Proof::new(history, sentence)
        .record(id)
        .at(partition, &[offset, reader.0])
        .events(&[row.invoked, row.acked, ledger.records[other as usize].acked])
        .done()
}
