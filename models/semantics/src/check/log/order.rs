//! Rows of table A about order: `nonmonotonic-send`, `key-order-violation` and
//! `append-realtime-inversion`.
//!
//! The first two compare the final log with the order of the calls of one producer process. A record
//! that the application sent more than once has no place in the first; in the second it counts from
//! its first call, because its key has lost its order then, however legal that is.

use oncesim_history::{ClientKind, EventKind};

use super::{Ledger, RecordRow};
use crate::anomaly::{AnomalyClass, Severity};
use crate::catalogue::log::{APPEND_REALTIME_INVERSION, KEY_ORDER_VIOLATION, NONMONOTONIC_SEND};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;

/// Acknowledged offsets of one partition that were the highest so far: when, where, which record.
type Frontier = Vec<(u32, i64, u32)>;

/// A send that seems to have been overtaken by a later one.
#[derive(Debug, Clone, Copy)]
struct Inversion {
    partition: u32,
    earlier: u32,
    later: u32,
    /// The end of the later send.
    position: u32,
}

/// Acknowledgements against real time.
#[derive(Debug)]
pub(crate) struct RealTime {
    frontiers: Vec<Frontier>,
    suspects: Vec<Inversion>,
}

impl RealTime {
    pub(crate) fn new(context: &Context<'_>) -> Self {
        let mut frontiers = Vec::new();
        frontiers.resize_with(context.index.partitions.len(), Vec::new);
        RealTime { frontiers, suspects: Vec::new() }
    }

    /// A record was acknowledged at an offset; `invoked` is its last `send()`.
    pub(crate) fn on_acked(
        &mut self,
        position: u32,
        partition: u32,
        offset: i64,
        record: u32,
        invoked: u32,
    ) {
        let frontier = &mut self.frontiers[partition as usize];
        if frontier.last().is_none_or(|last| last.1 < offset) {
            frontier.push((position, offset, record));
            return;
        }
        let before = frontier.partition_point(|entry| entry.0 < invoked);
        if before > 0 {
            let (_, highest, earlier) = frontier[before - 1];
            if highest >= offset && earlier != record {
                self.suspects.push(Inversion { partition, earlier, later: record, position });
            }
        }
    }

    /// Reports inversions between records that are both still where they were acknowledged; others
    /// are losses, which have their own rows.
    pub(crate) fn check(&self, context: &Context<'_>, ledger: &Ledger, findings: &mut Findings) {
        for suspect in &self.suspects {
            let rows = [suspect.earlier, suspect.later];
            let there = |record: &u32| {
                let slot = ledger.records[*record as usize].acked_slot;
                slot != NONE && ledger.in_log(context, suspect.partition, slot) == *record
            };
            let drained = context.setting.partitions[suspect.partition as usize].drained.is_some();
            if drained && !rows.iter().all(there) {
                continue;
            }
            let severity = context
                .setting
                .loss_severity(Some(suspect.partition), Ledger::promise(context, suspect.earlier));
            findings.add(&APPEND_REALTIME_INVERSION, severity, || {
                let [a, b] = rows.map(|record| &ledger.records[record as usize]);
                let [first, second] = rows.map(|record| context.index.record_id(record));
                let [(p, high), (_, low)] = [a, b].map(|row| context.index.place(row.acked_slot));
                let history = context.history;
                let sentence = format!(
                    "{} was acknowledged at offset {high} at {}; {} was sent at {} and \
                     acknowledged at offset {low}",
                    record_name(history, first),
                    time_of(history, a.acked),
                    record_name(history, second),
                    time_of(history, b.invoked),
                );
                Proof::new(history, sentence)
                    .record(second)
                    .at(context.index.partitions[p as usize], &[high, low])
                    .events(&[a.acked, b.invoked, suspect.position])
                    .done()
            });
        }
    }
}

/// The last send of one producer process to one partition.
#[derive(Debug, Clone, Copy)]
struct Last {
    incarnation: u32,
    offset: i64,
    record: u32,
}

/// Sends with keys, in the order of the calls.
#[derive(Debug, Default)]
struct Keyed {
    records: Vec<u32>,
    /// Whose, which process, which key, and the index of the record: one number, because sorting
    /// compares it often.
    order: Vec<u128>,
}

impl Keyed {
    fn push(&mut self, actor: u16, incarnation: u32, key: u32, record: u32) {
        let process = u128::from(actor) << 96 | u128::from(incarnation) << 64;
        self.order.push(process | u128::from(key) << 32 | self.records.len() as u128);
        self.records.push(record);
    }
}

/// Reports records that are not in the order of their sends; returns how many pairs were compared.
pub(crate) fn check(context: &Context<'_>, ledger: &Ledger, findings: &mut Findings) -> u64 {
    let partitions = context.index.partitions.len();
    let mut tables: Vec<Vec<Option<Last>>> = Vec::new();
    let mut keyed = Keyed::default();
    let mut pairs = 0;
    for (position, event) in (0u32..).zip(&context.history.events) {
        let EventKind::Client(ClientKind::SendInvoke { record, key, .. }) = &event.kind else {
            continue;
        };
        let record = context.index.record(*record).expect("the index has every record");
        let row = &ledger.records[record as usize];
        if row.place == NONE || row.invoked != position {
            continue;
        }
        if let Some(key) = key {
            keyed.push(event.actor.0, event.incarnation, *key, record);
        }
        if row.sends > 1 {
            continue;
        }
        let actor = usize::from(event.actor.0);
        if tables.len() <= actor {
            tables.resize_with(actor + 1, Vec::new);
        }
        if tables[actor].is_empty() {
            tables[actor].resize(partitions, None);
        }
        let (p, offset) = context.index.place(row.place);
        let last = &mut tables[actor][p as usize];
        let now = Last { incarnation: event.incarnation, offset, record };
        if let Some(before) = last.replace(now)
            && before.incarnation == event.incarnation
        {
            pairs += 1;
            if offset < before.offset {
                overtaken(context, ledger, findings, &NONMONOTONIC_SEND, before.record, record);
            }
        }
    }
    pairs + key_order(context, ledger, findings, keyed)
}

fn key_order(
    context: &Context<'_>,
    ledger: &Ledger,
    findings: &mut Findings,
    mut keyed: Keyed,
) -> u64 {
    keyed.order.sort_unstable();
    let mut pairs = 0;
    for pair in keyed.order.windows(2) {
        if pair[0] >> 32 != pair[1] >> 32 {
            continue;
        }
        let [first, second] =
            [pair[0], pair[1]].map(|entry| keyed.records[(entry & 0xffff_ffff) as usize]);
        let place = |record: u32| context.index.place(ledger.records[record as usize].place);
        let ((p, before), (q, after)) = (place(first), place(second));
        if p == q {
            pairs += 1;
            if after < before {
                overtaken(context, ledger, findings, &KEY_ORDER_VIOLATION, first, second);
            }
        }
    }
    pairs
}

fn overtaken(
    context: &Context<'_>,
    ledger: &Ledger,
    findings: &mut Findings,
    class: &'static AnomalyClass,
    first: u32,
    second: u32,
) {
    let rows: [&RecordRow; 2] = [first, second].map(|record| &ledger.records[record as usize]);
    let (p, _) = context.index.place(rows[1].place);
    let resent = rows.iter().any(|row| row.sends > 1);
    let severity = if resent || !Ledger::promise(context, second).ordered {
        Severity::Legal
    } else {
        context.setting.storage_severity(Some(p))
    };
    findings.add(class, severity, || {
        let history = context.history;
        let [a, b] = [first, second].map(|record| context.index.record_id(record));
        let [(_, high), (_, low)] = rows.map(|row| context.index.place(row.place));
        let key = rows[0].key.map_or(String::new(), |key| format!(" with key {key}"));
        let partition = context.index.partitions[p as usize];
        let sentence = format!(
            "{} was sent at {} and {} after it at {}{key}; {} holds them in the other order, at \
             offsets {high} and {low}",
            record_name(history, a),
            time_of(history, rows[0].invoked),
            record_name(history, b),
            time_of(history, rows[1].invoked),
            history.partition_name(partition),
        );
        Proof::new(history, sentence)
            .record(b)
            .at(partition, &[high, low])
            .events(&[rows[0].invoked, rows[1].invoked, rows[0].acked, rows[1].acked])
            .done()
    });
}
