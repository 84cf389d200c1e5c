//! How transactions ended according to the logs of the last leaders.
//!
//! Each marker ends the open transaction of its producer id in its partition. Records say which
//! transaction that is. The logs at the end count: what was truncated on the way proves nothing.

use std::collections::BTreeMap;

use oncesim_types::TransactionResult;

use super::Transactions;
use crate::anomaly::Severity;
use crate::catalogue::transaction::{HANGING_TXN, TWO_TXN_COORDINATORS};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, time_of};
use crate::check::index::NONE;
use crate::check::log::leader_log::{Batch, BatchKind, LeaderLogs};

/// What the logs say.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// By transaction: whether a partition has its commit, and whether one has its abort.
    ends: Vec<(bool, bool)>,
    /// Transactions with ends of both kinds, and the markers.
    pub(crate) mixed: Vec<(u32, [u32; 2])>,
    /// Transactions with records after their end: the marker and the batch.
    pub(crate) late: Vec<(u32, [u32; 2])>,
}

/// A producer id in one partition.
#[derive(Debug, Clone, Copy)]
struct Producer {
    /// The first batch of the open transaction, or `NONE`.
    open: u32,
    base: i64,
    /// The last of its transactions.
    txn: u32,
    /// The last marker, and the epoch of its coordinator.
    marker: u32,
    coordinator_epoch: i32,
    /// The transaction that the last marker ended.
    ended: u32,
}

impl Truth {
    /// How a transaction ended, if the logs agree.
    pub(crate) fn of(&self, txn: u32) -> Option<TransactionResult> {
        match self.ends.get(txn as usize)? {
            (true, false) => Some(TransactionResult::Commit),
            (false, true) => Some(TransactionResult::Abort),
            _ => None,
        }
    }

    /// Reads the logs.
    pub(crate) fn read(
        context: &Context<'_>,
        transactions: &Transactions,
        logs: &LeaderLogs,
        findings: &mut Findings,
    ) -> Truth {
        let mut truth = Truth::default();
        if !context.setting.white_box || !logs.transactional {
            return truth;
        }
        truth.ends.resize(transactions.rows.len(), (false, false));
        // By transaction: the first marker.
        let mut first: Vec<(u32, bool)> = vec![(NONE, false); transactions.rows.len()];
        for partition in 0..context.index.partitions.len() {
            let p = u32::try_from(partition).expect("partition rows are 32 bits");
            let mut producers: BTreeMap<i64, Producer> = BTreeMap::new();
            for batch in logs.last_leader(p) {
                if batch.kind == BatchKind::Plain {
                    continue;
                }
                let producer = producers.entry(batch.producer).or_insert(Producer {
                    open: NONE,
                    base: 0,
                    txn: NONE,
                    marker: NONE,
                    coordinator_epoch: -1,
                    ended: NONE,
                });
                truth.batch(context, transactions, findings, (p, batch), producer, &mut first);
            }
            // A world that never settles may be held back by just that.
            if context.setting.settled || context.setting.restless {
                hanging(context, transactions, findings, p, &producers);
            }
        }
        truth
    }

    fn batch(
        &mut self,
        context: &Context<'_>,
        transactions: &Transactions,
        findings: &mut Findings,
        (p, batch): (u32, &Batch),
        producer: &mut Producer,
        first: &mut [(u32, bool)],
    ) {
        let commit = match batch.kind {
            BatchKind::Plain => return,
            BatchKind::Transactional => {
                let txn = owner(context, transactions, batch);
                if producer.open == NONE {
                    (producer.open, producer.base) = (batch.position, batch.base);
                    if txn != NONE && txn == producer.ended {
                        self.late.push((txn, [producer.marker, batch.position]));
                    }
                }
                if txn != NONE {
                    producer.txn = txn;
                }
                return;
            }
            BatchKind::Commit => true,
            BatchKind::Abort => false,
        };
        if batch.sequence < producer.coordinator_epoch {
            let before = producer.coordinator_epoch;
            findings.add(&TWO_TXN_COORDINATORS, Severity::Always, || {
                let at = context.index.partitions[p as usize];
                let sentence = format!(
                    "{} took a marker of coordinator epoch {} for producer id {} at {}, after one \
                     of epoch {before}",
                    context.history.partition_name(at),
                    batch.sequence,
                    batch.producer,
                    time_of(context.history, batch.position),
                );
                Proof::new(context.history, sentence)
                    .at(at, &[batch.base])
                    .events(&[producer.marker, batch.position])
                    .done()
            });
        }
        producer.coordinator_epoch = batch.sequence;
        producer.marker = batch.position;
        if producer.open == NONE || producer.txn == NONE {
            producer.open = NONE;
            return;
        }
        producer.open = NONE;
        let txn = std::mem::replace(&mut producer.txn, NONE);
        producer.ended = txn;
        let ends = &mut self.ends[txn as usize];
        let told = *ends == (true, true);
        *(if commit { &mut ends.0 } else { &mut ends.1 }) = true;
        let before = &mut first[txn as usize];
        if before.0 == NONE {
            *before = (batch.position, commit);
        } else if before.1 != commit && !told {
            self.mixed.push((txn, [before.0, batch.position]));
        }
    }
}

fn owner(context: &Context<'_>, transactions: &Transactions, batch: &Batch) -> u32 {
    let records = context.history.appended(batch.records).iter();
    let mut owners = records.filter_map(|record| {
        let record = context.index.record(*record)?;
        let txn = transactions.sent_by(record, (batch.producer, batch.producer_epoch));
        (txn != NONE).then_some(txn)
    });
    owners.next().unwrap_or(NONE)
}

/// Transactions that are still open when the world has had its time, and that no coordinator will
/// end.
fn hanging(
    context: &Context<'_>,
    transactions: &Transactions,
    findings: &mut Findings,
    p: u32,
    producers: &BTreeMap<i64, Producer>,
) {
    let at = context.index.partitions[p as usize];
    for (id, producer) in producers {
        if producer.open == NONE || transactions.coordinator.will_end(*id, at) {
            continue;
        }
        findings.add(&HANGING_TXN, Severity::Always, || {
            let whose = match producer.txn {
                NONE => String::new(),
                txn => format!(": {}", transactions.name(context, txn)),
            };
            let sentence = format!(
                "{} has an open transaction of producer id {id} since offset {}{whose}, which \
                 no coordinator knows",
                context.history.partition_name(at),
                producer.base,
            );
            Proof::new(context.history, sentence)
                .at(at, &[producer.base])
                .events(&[producer.marker, producer.open])
                .done()
        });
    }
}
