//! All or nothing: `torn-txn`, `decision-mismatch`, `marker-mismatch`, `late-append-after-marker`
//! and `conservation`, when the log is known.

use oncesim_history::{ClientKind, EventKind};
use oncesim_types::TransactionResult;

use super::markers::Truth;
use super::{Fate, Transactions};
use crate::anomaly::{AnomalyClass, Severity, Witness};
use crate::catalogue::transaction::{
    CONSERVATION, DECISION_MISMATCH, LATE_APPEND_AFTER_MARKER, MARKER_MISMATCH, TORN_TXN,
};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name};
use crate::check::index::NONE;
use crate::check::log::{Ledger, known};

/// Reports transactions that are visible in part, or ended otherwise than their client was told.
pub(crate) fn check(
    context: &Context<'_>,
    transactions: &Transactions,
    ledger: &Ledger,
    truth: &Truth,
    findings: &mut Findings,
) {
    for (row, txn) in (0u32..).zip(&transactions.rows) {
        if !txn.undrained && txn.visible > 0 && txn.visible < txn.sends && txn.hidden != NONE {
            let partition = known(ledger.records[txn.hidden as usize].partition);
            let severity = match txn.fate {
                Fate::Committed => context.setting.storage_severity(partition),
                _ => Severity::Always,
            };
            findings.add(&TORN_TXN, severity, || torn(context, transactions, row));
        }
        let told = (txn.commit_ok != NONE, txn.abort_ok != NONE);
        let whole = !txn.undrained && txn.visible == txn.sends && txn.sends > 0;
        let gone = !txn.undrained && txn.visible == 0 && txn.sends > 1;
        let decided = truth.of(row);
        let what = match told {
            (true, true) => "was told to its client as committed and as aborted",
            (true, _) if decided == Some(TransactionResult::Abort) => {
                "was committed for its client, and the log says that it was aborted"
            }
            (true, _) if gone && !context.setting.white_box => {
                "was committed for its client, and none of its records is there"
            }
            (_, true) if decided == Some(TransactionResult::Commit) => {
                "was aborted for its client, and the log says that it was committed"
            }
            (_, true) if whole => "was aborted for its client, and all of its records are there",
            // An application that believes it does the work again.
            (false, false)
                if txn.commit_failed
                    && !txn.commit_unanswered
                    && decided == Some(TransactionResult::Commit) =>
            {
                "could not be committed for its client, and the log says that it was"
            }
            _ => continue,
        };
        findings.add(&DECISION_MISMATCH, Severity::Always, || {
            about(context, transactions, row, what, &[])
        });
    }
    for (txn, positions) in &truth.mixed {
        findings.add(&MARKER_MISMATCH, Severity::Always, || {
            let what = "has partitions that say commit and partitions that say abort";
            about(context, transactions, *txn, what, positions)
        });
    }
    for (txn, positions) in &truth.late {
        findings.add(&LATE_APPEND_AFTER_MARKER, Severity::Always, || {
            let what = "got records in a partition after its end had been written there";
            about(context, transactions, *txn, what, positions)
        });
    }
}

/// A sentence about one transaction.
pub(crate) fn about(
    context: &Context<'_>,
    transactions: &Transactions,
    txn: u32,
    what: &str,
    positions: &[u32],
) -> Witness {
    let sentence = format!("{} {what}", transactions.name(context, txn));
    let mut events = transactions.story(txn).to_vec();
    events.extend(positions);
    Proof::new(context.history, sentence).events(&events).done()
}

fn torn(context: &Context<'_>, transactions: &Transactions, row: u32) -> Witness {
    let txn = &transactions.rows[row as usize];
    let name = |record: u32| record_name(context.history, context.index.record_id(record));
    let sentence = format!(
        "{} has {} records; the final read shows {} of them: {} and not {}",
        transactions.name(context, row),
        txn.sends,
        txn.visible,
        name(txn.shown),
        name(txn.hidden),
    );
    Proof::new(context.history, sentence)
        .record(context.index.record_id(txn.hidden))
        .events(&transactions.story(row))
        .done()
}

/// Adds up the amounts of all transfers that the final read shows.
pub(crate) fn conservation(
    context: &Context<'_>,
    transactions: &Transactions,
    ledger: &Ledger,
    findings: &mut Findings,
) {
    let class: &'static AnomalyClass = &CONSERVATION;
    let (mut sum, mut last, mut severity) = (0i64, NONE, Severity::Always);
    for (position, event) in (0u32..).zip(&context.history.events) {
        let EventKind::Client(ClientKind::Transfer { record, amount }) = &event.kind else {
            continue;
        };
        let record = context.index.record(*record).expect("the index has every record");
        let row = &ledger.records[record as usize];
        if row.invoked == NONE {
            continue;
        }
        if !ledger.is_drained(context, row) {
            return;
        }
        last = position;
        sum = sum.wrapping_add(amount.wrapping_mul(i64::from(row.places)));
        severity = severity.max(context.setting.storage_severity(known(row.partition)));
        if transactions.of(record) == NONE && row.sends == 1 {
            severity = Severity::Legal;
        }
    }
    if sum != 0 {
        findings.add(class, severity, || {
            let sentence = format!("the visible transfers add up to {sum} instead of 0");
            Proof::new(context.history, sentence).events(&[last]).done()
        });
    }
}
