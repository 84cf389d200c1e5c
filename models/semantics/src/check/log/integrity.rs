//! Rows of table A about what is stored against what was sent: `inconsistent-offset`,
//! `ack-offset-mismatch`, `misrouted-record`, `failed-write-visible`, `consistent-read`,
//! `phantom-record`, `time-travel-read`. They wait for the end, when the final log is known.

use oncesim_history::{ClientKind, EventKind};
use oncesim_types::{Offset, RecordId, TopicPartition};

use super::{CONFLICT, Ledger, NOT_COMMITTED, RecordRow, Standing, known};
use crate::anomaly::{Severity, Witness};
use crate::catalogue::log::{
    ACK_OFFSET_MISMATCH, CONSISTENT_READ, FAILED_WRITE_VISIBLE, INCONSISTENT_OFFSET,
    MISROUTED_RECORD, PHANTOM_RECORD, TIME_TRAVEL_READ,
};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;

/// Reports the rows of this file.
pub(crate) fn check(context: &Context<'_>, ledger: &Ledger, findings: &mut Findings) {
    for partition in 0..context.index.partitions.len() {
        let partition = u32::try_from(partition).expect("partition rows are 32 bits");
        for slot in context.index.slots(partition) {
            slot_rows(context, ledger, findings, partition, slot);
        }
    }
    for (record, row) in (0u32..).zip(&ledger.records) {
        if row.is_failed() && row.places > 0 && row.standing == Standing::Plain {
            findings.add(&FAILED_WRITE_VISIBLE, Severity::Always, || {
                failed_visible(context, record, row)
            });
        }
        if row.acked_slot != NONE && row.places > 0 {
            mismatch(context, ledger, findings, record, row);
        }
    }
    for (record, slot, position) in &ledger.early {
        early(context, ledger, findings, *record, *slot, *position);
    }
}

fn slot_rows(
    context: &Context<'_>,
    ledger: &Ledger,
    findings: &mut Findings,
    partition: u32,
    slot: u32,
) {
    let seen = &ledger.slots[slot as usize];
    let differ = |a: u32, b: u32| a != NONE && b != NONE && a != b;
    let reads_differ = seen.flags & CONFLICT != 0 || differ(seen.polled, seen.drained);
    let ack_differs = differ(seen.acked, seen.polled) || differ(seen.acked, seen.drained);
    if reads_differ || ack_differs {
        let severity = if reads_differ {
            context.setting.storage_severity(Some(partition))
        } else {
            let promise = Ledger::promise(context, seen.acked);
            context.setting.loss_severity(Some(partition), promise)
        };
        findings.add(&INCONSISTENT_OFFSET, severity, || several(context, partition, slot));
    }
    if let Some((from, to, drained)) = context.setting.partitions[partition as usize].drained
        && seen.polled != NONE
        && seen.polled != seen.drained
        && seen.flags & NOT_COMMITTED == 0
        && context.index.offset(partition, slot) >= from
    {
        let severity = context.setting.storage_severity(Some(partition));
        findings.add(&CONSISTENT_READ, severity, || {
            vanished(context, ledger, partition, slot, to, drained)
        });
    }
    let record = ledger.in_log(context, partition, slot);
    if record != NONE {
        let row = &ledger.records[record as usize];
        let at = context.index.partitions[partition as usize];
        let elsewhere = row.topic != at.topic.0
            || (row.sends == 1 && row.partition != NONE && row.partition != partition);
        if row.invoked != NONE && elsewhere {
            findings.add(&MISROUTED_RECORD, Severity::Always, || {
                let name = record_name(context.history, context.index.record_id(record));
                let offset = context.index.offset(partition, slot);
                let place = context.history.partition_name(at);
                let meant = known(row.partition).map_or_else(
                    || "another topic".to_owned(),
                    |p| context.history.partition_name(context.index.partitions[p as usize]),
                );
                let sentence =
                    format!("{name} was sent to {meant} and found in {place} at offset {offset}");
                let read = first_read(context, at, offset);
                Proof::new(context.history, sentence)
                    .record(context.index.record_id(record))
                    .at(at, &[offset])
                    .events(&[row.invoked, row.acked, read])
                    .done()
            });
        }
    }
}

fn mismatch(
    context: &Context<'_>,
    ledger: &Ledger,
    findings: &mut Findings,
    record: u32,
    row: &RecordRow,
) {
    let told = |slot: u32| {
        let (partition, offset) = context.index.place(slot);
        (partition, offset, ledger.in_log(context, partition, slot))
    };
    let (partition, offset, holds) = told(row.acked_slot);
    if holds == record || told(row.acked_last).2 == record {
        return;
    }
    let undrained =
        holds == NONE && context.setting.partitions[partition as usize].drained.is_none();
    if undrained && context.setting.white_box {
        return;
    }
    // Without the broker's own log and without a drain, the other copy may be the one of a retry.
    let retried = undrained && !Ledger::promise(context, record).idempotent;
    let severity = if row.sends > 1 || retried {
        Severity::Legal
    } else {
        context.setting.loss_severity(Some(partition), Ledger::promise(context, record))
    };
    findings.add(&ACK_OFFSET_MISMATCH, severity, || {
        let (found_in, found_at) = context.index.place(row.place);
        let told = context.index.partitions[partition as usize];
        let found = context.index.partitions[found_in as usize];
        let id = context.index.record_id(record);
        let sentence = format!(
            "{} was acknowledged for {} offset {offset} and found in {} at offset {found_at}",
            record_name(context.history, id),
            context.history.partition_name(told),
            context.history.partition_name(found),
        );
        Proof::new(context.history, sentence)
            .record(id)
            .at(found, &[offset, found_at])
            .events(&[row.invoked, row.acked, first_read(context, found, found_at)])
            .done()
    });
}

fn early(
    context: &Context<'_>,
    ledger: &Ledger,
    findings: &mut Findings,
    record: u32,
    slot: u32,
    position: u32,
) {
    let row = &ledger.records[record as usize];
    let (p, offset) = context.index.place(slot);
    let partition = context.index.partitions[p as usize];
    let (class, what) = match row.invoked {
        NONE => (&PHANTOM_RECORD, ", and nobody ever sent it".to_owned()),
        sent => {
            let when = time_of(context.history, sent);
            (&TIME_TRAVEL_READ, format!(", before it was sent at {when}"))
        }
    };
    findings.add(class, Severity::Always, || {
        let id = context.index.record_id(record);
        let sentence = format!(
            "{} was read from {} offset {offset} at {}{what}",
            record_name(context.history, id),
            context.history.partition_name(partition),
            time_of(context.history, position),
        );
        Proof::new(context.history, sentence)
            .record(id)
            .at(partition, &[offset])
            .events(&[position, row.invoked])
            .done()
    });
}

fn failed_visible(context: &Context<'_>, record: u32, row: &RecordRow) -> Witness {
    let id = context.index.record_id(record);
    let (p, offset) = context.index.place(row.place);
    let partition = context.index.partitions[p as usize];
    let sentence = format!(
        "send() of {} failed for good at {}, and the record is in {} at offset {offset}",
        record_name(context.history, id),
        time_of(context.history, row.refused),
        context.history.partition_name(partition),
    );
    Proof::new(context.history, sentence)
        .record(id)
        .at(partition, &[offset])
        .events(&[row.invoked, row.refused, first_read(context, partition, offset)])
        .done()
}

fn vanished(
    context: &Context<'_>,
    ledger: &Ledger,
    partition: u32,
    slot: u32,
    end: i64,
    drained: u32,
) -> Witness {
    let seen = &ledger.slots[slot as usize];
    let at = context.index.partitions[partition as usize];
    let offset = context.index.offset(partition, slot);
    let name = |record| record_name(context.history, context.index.record_id(record));
    let now = match seen.drained {
        NONE => format!("shows nothing there and ends at offset {end}"),
        other => format!("shows {} there", name(other)),
    };
    let sentence = format!(
        "{} was read from {} offset {offset}; the final read {now}",
        name(seen.polled),
        context.history.partition_name(at),
    );
    Proof::new(context.history, sentence)
        .record(context.index.record_id(seen.polled))
        .at(at, &[offset])
        .events(&[first_read(context, at, offset), drained])
        .done()
}

/// Who saw what at an offset: the first two that differ.
fn several(context: &Context<'_>, partition: u32, slot: u32) -> Witness {
    let history = context.history;
    let at = context.index.partitions[partition as usize];
    let offset = context.index.offset(partition, slot);
    let mut seen: Vec<(RecordId, u32, &str)> = Vec::new();
    for (position, event) in (0u32..).zip(&history.events) {
        let (record, how) = match &event.kind {
            EventKind::Client(ClientKind::SendEnd {
                record,
                partition: Some(p),
                outcome: oncesim_history::Outcome::Ok,
                offset: Some(o),
                ..
            }) if (*p, o.0) == (at, offset) => (Some(*record), "acknowledged"),
            EventKind::Client(ClientKind::PollEnd { records, .. }) => {
                let here = |r: &&oncesim_history::PolledRecord| {
                    (r.partition, r.offset) == (at, Offset(offset))
                };
                (history.polled(*records).iter().find(here).map(|r| r.record), "read")
            }
            _ => (None, ""),
        };
        if let Some(record) = record
            && seen.iter().all(|(other, ..)| *other != record)
        {
            seen.push((record, position, how));
            if seen.len() == 2 {
                break;
            }
        }
    }
    let text: Vec<String> = seen
        .iter()
        .map(|(record, position, how)| {
            let when = time_of(history, *position);
            format!("{} was {how} there at {when}", record_name(history, *record))
        })
        .collect();
    let sentence =
        format!("{} offset {offset}: {}", history.partition_name(at), text.join(", and "));
    let events: Vec<u32> = seen.iter().map(|(_, position, _)| *position).collect();
    let proof = Proof::new(history, sentence).at(at, &[offset]).events(&events);
    match seen.first() {
        Some((record, ..)) => proof.record(*record).done(),
        None => proof.done(),
    }
}

/// The first poll that returned an offset.
pub(crate) fn first_read(context: &Context<'_>, partition: TopicPartition, offset: i64) -> u32 {
    let history = context.history;
    let mut events = (0u32..).zip(&history.events);
    let read = events.find(|(_, event)| match &event.kind {
        EventKind::Client(ClientKind::PollEnd { records, .. }) => history
            .polled(*records)
            .iter()
            .any(|r| (r.partition, r.offset.0) == (partition, offset)),
        _ => false,
    });
    read.map_or(NONE, |(position, _)| position)
}
