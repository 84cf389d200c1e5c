//! `duplicate-append`: one logical record at several places of the log, by sub-kind.

use oncesim_history::{ClientKind, EventKind};
use oncesim_types::RecordId;

use super::{Ledger, RecordRow};
use crate::anomaly::{Severity, Witness};
use crate::catalogue::log::DUPLICATE_APPEND;
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;

/// Reports every record that the log holds twice.
pub(crate) fn check(context: &Context<'_>, ledger: &Ledger, findings: &mut Findings) {
    if ledger.records.iter().all(|row| row.places < 2) {
        return;
    }
    let mut places: Vec<(u32, u32)> = Vec::new();
    for partition in 0..context.index.partitions.len() {
        let partition = u32::try_from(partition).expect("partition rows are 32 bits");
        for slot in context.index.slots(partition) {
            let record = ledger.in_log(context, partition, slot);
            if record != NONE && ledger.records[record as usize].places > 1 {
                places.push((record, slot));
            }
        }
    }
    places.sort_unstable();
    let sessions = Sessions::of(context);
    for copies in places.chunk_by(|a, b| a.0 == b.0) {
        let record = copies[0].0;
        let row = &ledger.records[record as usize];
        let (kind, severity) = kind(context, &sessions, record, row, copies);
        findings.add_sub(&DUPLICATE_APPEND, kind, severity, || {
            witness(context, record, row, copies, kind)
        });
    }
}

fn kind(
    context: &Context<'_>,
    sessions: &Sessions,
    record: u32,
    row: &RecordRow,
    copies: &[(u32, u32)],
) -> (&'static str, Severity) {
    let id = context.index.record_id(record);
    if let Some(kind) = sessions.compare(context, id, row, copies) {
        return kind;
    }
    if row.sends > 1 {
        return ("dup-app-resend", Severity::Legal);
    }
    if !Ledger::promise(context, record).idempotent {
        return ("dup-retry", Severity::Legal);
    }
    if sessions.changed(context, row) {
        return ("dup-cross-epoch", Severity::UnderThisConfiguration);
    }
    ("dup-idempotent", Severity::Always)
}

/// Who appended what, if the history tells; and when producers changed their session.
struct Sessions {
    /// Leader appends with their event: partition row, base offset, event; ascending.
    appends: Vec<(u32, i64, u32)>,
    /// Positions of `ProducerSession` events, ascending.
    changes: Vec<u32>,
}

impl Sessions {
    fn of(context: &Context<'_>) -> Sessions {
        let mut sessions = Sessions { appends: Vec::new(), changes: Vec::new() };
        for (position, event) in (0u32..).zip(&context.history.events) {
            match &event.kind {
                EventKind::Client(ClientKind::ProducerSession { .. }) => {
                    sessions.changes.push(position);
                }
                EventKind::World(oncesim_history::WorldEvent::Append {
                    partition,
                    base_offset,
                    leader: true,
                    ..
                }) => {
                    if let Some(row) = context.index.partition(*partition) {
                        sessions.appends.push((row, base_offset.0, position));
                    }
                }
                _ => {}
            }
        }
        sessions.appends.sort_unstable();
        sessions
    }

    /// The session, sequence and epoch of the batch that put `record` into a slot: the last append
    /// that covers the offset and carries the record.
    fn batch(&self, context: &Context<'_>, record: RecordId, slot: u32) -> Option<(i64, i16, i32)> {
        let (partition, offset) = context.index.place(slot);
        let end = self.appends.partition_point(|a| (a.0, a.1) <= (partition, offset));
        // Batches of other lineages may lie between; a batch holds fewer than 4096 records here.
        self.appends[..end].iter().rev().take(4096).find_map(|(row, base, position)| {
            let event = &context.history.events[*position as usize].kind;
            let EventKind::World(oncesim_history::WorldEvent::Append {
                records,
                producer_id,
                producer_epoch,
                base_sequence,
                ..
            }) = event
            else {
                return None;
            };
            let at = usize::try_from(offset - base).ok()?;
            let carried = context.history.appended(*records).get(at) == Some(&record);
            (*row == partition && carried).then(|| {
                let sequence = match base_sequence.0 {
                    -1 => -1,
                    _ => base_sequence.plus(i32::try_from(at).unwrap_or(0)).0,
                };
                (producer_id.0, producer_epoch.0, sequence)
            })
        })
    }

    /// The sub-kind by the sessions of the first two copies; `None` when they are not known or do
    /// not decide.
    fn compare(
        &self,
        context: &Context<'_>,
        record: RecordId,
        row: &RecordRow,
        copies: &[(u32, u32)],
    ) -> Option<(&'static str, Severity)> {
        let first = self.batch(context, record, copies[0].1)?;
        let second = self.batch(context, record, copies.get(1)?.1)?;
        if first.0 < 0 || second.0 < 0 {
            let resent = row.sends > 1;
            return Some((if resent { "dup-app-resend" } else { "dup-retry" }, Severity::Legal));
        }
        if first == second {
            return Some(("dup-idempotent", Severity::Always));
        }
        if row.sends > 1 {
            return Some(("dup-app-resend", Severity::Legal));
        }
        if (first.0, first.1) == (second.0, second.1) {
            return Some(("dup-idempotent", Severity::Always));
        }
        Some(("dup-cross-epoch", Severity::UnderThisConfiguration))
    }

    /// Whether the producer changed its session after it was given the record and before it knew
    /// the outcome.
    fn changed(&self, context: &Context<'_>, row: &RecordRow) -> bool {
        if row.invoked == NONE {
            return false;
        }
        let end = if row.acked == NONE { row.refused } else { row.acked };
        let actor = context.history.events[row.invoked as usize].actor;
        let from = self.changes.partition_point(|p| *p < row.invoked);
        self.changes[from..]
            .iter()
            .take_while(|p| **p < end)
            .any(|p| context.history.events[*p as usize].actor == actor)
    }
}

fn witness(
    context: &Context<'_>,
    record: u32,
    row: &RecordRow,
    copies: &[(u32, u32)],
    kind: &str,
) -> Witness {
    let history = context.history;
    let id = context.index.record_id(record);
    let places: Vec<(u32, i64)> = copies.iter().map(|c| context.index.place(c.1)).collect();
    let text: Vec<String> = places
        .iter()
        .map(|(p, offset)| {
            let partition = context.index.partitions[*p as usize];
            format!("{} offset {offset}", history.partition_name(partition))
        })
        .collect();
    let why = match kind {
        "dup-app-resend" => "the application sent it more than once",
        "dup-retry" => "its producer is not idempotent and sent it again",
        "dup-cross-epoch" => "its producer changed its session in between",
        _ => "one session of an idempotent producer wrote it",
    };
    let sent = match row.invoked {
        NONE => String::new(),
        event => format!(", sent at {},", time_of(history, event)),
    };
    let sentence = format!(
        "{}{sent} is in the log at {}: {why}",
        record_name(history, id),
        text.join(" and ")
    );
    let offsets: Vec<i64> = places.iter().map(|(_, offset)| *offset).collect();
    let partition = context.index.partitions[places[0].0 as usize];
    let mut events = vec![row.invoked, row.acked, row.refused];
    events.extend(reads(context, id, copies.len()));
    Proof::new(history, sentence).record(id).at(partition, &offsets).events(&events).done()
}

/// The last polls that returned the record, one per copy.
fn reads(context: &Context<'_>, record: RecordId, copies: usize) -> Vec<u32> {
    let history = context.history;
    let mut found = Vec::new();
    for (position, event) in history.events.iter().enumerate().rev() {
        if let EventKind::Client(ClientKind::PollEnd { records, .. }) = &event.kind
            && history.polled(*records).iter().any(|polled| polled.record == record)
        {
            found.push(u32::try_from(position).expect("fewer than 2^32 events"));
            if found.len() == copies {
                break;
            }
        }
    }
    found
}
