//! What readers saw of transactions: `aborted-read`, `precommitted-read`, `read-uncommitted-leak`
//! and `g1c-wr`.
//!
//! Only reads between transactions order them: Kafka does not isolate writes from each other, and
//! promises no snapshot across partitions.

use oncesim_history::{ClientKind, Event, EventKind, PolledRecord};
use oncesim_types::RecordId;

use super::{Fate, Transactions};
use crate::anomaly::{Severity, Witness};
use crate::catalogue::transaction::{
    ABORTED_READ, G1C_WR, PRECOMMITTED_READ, READ_UNCOMMITTED_LEAK,
};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name};
use crate::check::index::NONE;
use crate::check::log::{DRAINED_COMMITTED, Ledger, NOT_COMMITTED, POLLED_COMMITTED};
use crate::parity::scc::Graph;

/// Reads that only the end can judge.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    /// By actor of a reader: the producer of the same process, or `u16::MAX`.
    partners: Vec<u16>,
    /// Records that were read at `read_committed` before their commit was asked for: record, slot,
    /// poll.
    early: Vec<(u32, u32, u32)>,
    /// What transactions read: the output or the transaction itself, and the record with its slot.
    inputs: Vec<(Reading, u32, u32)>,
}

/// Who read a record.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// The transaction that this output was sent in.
    Output(u32),
    /// This transaction.
    Txn(u32),
}

impl Isolation {
    /// A processor made a record: what it read becomes part of the output's transaction.
    pub(crate) fn on_emitted(
        &mut self,
        context: &Context<'_>,
        output: RecordId,
        input: RecordId,
        slot: u32,
        reader: u16,
    ) {
        let reader = usize::from(reader);
        if self.partners.len() <= reader {
            self.partners.resize(reader + 1, u16::MAX);
        }
        self.partners[reader] = output.origin().0;
        let rows = [output, input].map(|r| context.index.record(r).expect("it is in the index"));
        self.inputs.push((Reading::Output(rows[0]), rows[1], slot));
    }
}

impl Transactions {
    /// A poll returned a record.
    pub(crate) fn on_polled(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        (event, committed): (&Event, bool),
        polled: &PolledRecord,
    ) {
        if self.rows.is_empty() {
            return;
        }
        let index = &context.index;
        let record = index.record(polled.record).expect("the index has every record");
        let txn = self.of(record);
        if txn == NONE {
            return;
        }
        let Some(slot) =
            index.partition(polled.partition).and_then(|p| index.slot(p, polled.offset))
        else {
            return;
        };
        let reader = event.actor.0;
        let partner = self.isolation.partners.get(usize::from(reader)).copied();
        let open = match self.open_of(reader) {
            NONE => partner.map_or(NONE, |partner| self.open_of(partner)),
            open => open,
        };
        if self.open_of(reader) != NONE && open != txn {
            self.isolation.inputs.push((Reading::Txn(open), record, slot));
        }
        let row = &self.rows[txn as usize];
        if open == txn && row.commit_asked == NONE {
            let severity = severity(committed);
            findings.add(&PRECOMMITTED_READ, severity, || {
                let name = self.name(context, txn);
                let what = format!("read its own record before its commit: {name}");
                read_witness(context, polled.record, slot, position, &what, self.story(txn))
            });
        } else if committed && row.commit_asked == NONE {
            self.isolation.early.push((record, slot, position));
        }
    }
}

const fn severity(committed: bool) -> Severity {
    if committed { Severity::Always } else { Severity::Legal }
}

/// Reports reads of what was never committed, or not yet; and circles of reads.
pub(crate) fn check(
    context: &Context<'_>,
    transactions: &Transactions,
    ledger: &Ledger,
    findings: &mut Findings,
) {
    for (record, slot, position) in &transactions.isolation.early {
        let txn = transactions.owner(*record, *slot);
        if txn == NONE || transactions.rows[txn as usize].fate != Fate::Committed {
            continue;
        }
        findings.add(&READ_UNCOMMITTED_LEAK, Severity::Always, || {
            let id = context.index.record_id(*record);
            let what =
                format!("before the commit of {} was asked for", transactions.name(context, txn));
            read_witness(context, id, *slot, *position, &what, transactions.story(txn))
        });
    }
    aborted(context, transactions, ledger, findings);
    circles(context, transactions, findings);
}

fn aborted(
    context: &Context<'_>,
    transactions: &Transactions,
    ledger: &Ledger,
    findings: &mut Findings,
) {
    for (slot, row) in (0u32..).zip(&ledger.slots) {
        if row.flags & NOT_COMMITTED == 0 {
            continue;
        }
        let record = if row.polled == NONE { row.drained } else { row.polled };
        let txn = transactions.owner(record, slot);
        if transactions.rows[txn as usize].fate != Fate::Aborted {
            continue;
        }
        let committed = row.flags & (POLLED_COMMITTED | DRAINED_COMMITTED) != 0;
        findings.add(&ABORTED_READ, severity(committed), || {
            let id = context.index.record_id(record);
            let how = match transactions.rows[txn as usize].commit_asked {
                NONE => "was never asked to commit",
                _ => "did not commit",
            };
            let read = first_read(context, slot, id, committed);
            let isolation = if committed { "read_committed" } else { "read_uncommitted" };
            let what =
                format!("at {isolation}, although {} {how}", transactions.name(context, txn));
            read_witness(context, id, slot, read, &what, transactions.story(txn))
        });
    }
}

fn circles(context: &Context<'_>, transactions: &Transactions, findings: &mut Findings) {
    let counts = |txn: u32| txn != NONE && transactions.rows[txn as usize].fate != Fate::Aborted;
    let edges: Vec<(u32, u32)> = transactions
        .isolation
        .inputs
        .iter()
        .map(|(reading, input, slot)| {
            let reader = match reading {
                Reading::Txn(txn) => *txn,
                Reading::Output(output) => transactions.of(*output),
            };
            (transactions.owner(*input, *slot), reader)
        })
        .filter(|(from, to)| from != to && counts(*from) && counts(*to))
        .collect();
    if edges.is_empty() {
        return;
    }
    let nodes = u32::try_from(transactions.rows.len()).expect("fewer than 2^32 transactions");
    let component = Graph::of(nodes, &[&edges]).components();
    let mut cyclic: Vec<(u32, u32)> = edges
        .iter()
        .filter(|(from, to)| component[*from as usize] == component[*to as usize])
        .flat_map(|(from, to)| [*from, *to])
        .map(|txn| (component[txn as usize], txn))
        .collect();
    cyclic.sort_unstable();
    cyclic.dedup();
    for members in cyclic.chunk_by(|a, b| a.0 == b.0) {
        findings.add(&G1C_WR, Severity::Always, || {
            let names: Vec<String> =
                members.iter().take(4).map(|m| transactions.name(context, m.1)).collect();
            let sentence = format!("these read from each other in a circle: {}", names.join(", "));
            let events: Vec<u32> =
                members.iter().take(4).map(|m| transactions.rows[m.1 as usize].began).collect();
            Proof::new(context.history, sentence).events(&events).done()
        });
    }
}

/// The first poll that returned the record at a slot at an isolation level.
fn first_read(context: &Context<'_>, slot: u32, record: RecordId, committed: bool) -> u32 {
    let history = context.history;
    let (p, offset) = context.index.place(slot);
    let partition = context.index.partitions[p as usize];
    let mut events = (0u32..).zip(&history.events);
    let read = events.find(|(_, event)| match &event.kind {
        EventKind::Client(ClientKind::PollEnd { records, .. }) => {
            context.setting.reads_committed(event.actor) == committed
                && history
                    .polled(*records)
                    .iter()
                    .any(|r| (r.partition, r.offset.0, r.record) == (partition, offset, record))
        }
        _ => false,
    });
    read.map_or(NONE, |(position, _)| position)
}

fn read_witness(
    context: &Context<'_>,
    record: RecordId,
    slot: u32,
    position: u32,
    what: &str,
    story: [u32; 4],
) -> Witness {
    let history = context.history;
    let (p, offset) = context.index.place(slot);
    let partition = context.index.partitions[p as usize];
    let (who, when) = match history.events.get(position as usize) {
        Some(event) => (history.actor_name(event.actor), event.time.to_string()),
        None => ("somebody", "some time".to_owned()),
    };
    let sentence = format!(
        "{who} got {} ({} offset {offset}) at {when}, {what}",
        record_name(history, record),
        history.partition_name(partition),
    );
    let mut events = vec![position];
    events.extend(story);
    Proof::new(history, sentence).record(record).at(partition, &[offset]).events(&events).done()
}
