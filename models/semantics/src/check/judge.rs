//! From anomalies to guarantees.
//!
//! A cell is violated by the anomalies that define it, however legal they are in the configuration,
//! and by every anomaly that is a defect and says that it breaks the guarantee. It holds only if the
//! level was exercised and the run came to rest and was drained; everything else is unknown.

use super::Context;
use super::effect::{self, Effects};
use super::findings::{Findings, Proof};
use super::log::Ledger;
use super::processing::Processing;
use super::processor::{EXACTNESS, Processors};
use crate::anomaly::{Anomaly, AnomalyClass, Severity};
use crate::catalogue::{consumer, log, meta, outbox, processing, transaction};
use crate::guarantee::{Guarantee, Holds, Level};
use crate::verdict::{GuaranteeTable, Verdict, WitnessCount};

/// The verdict on a run whose checkers have finished.
pub(crate) fn verdict(
    context: &Context<'_>,
    ledger: &Ledger,
    (processed, processors, effects): (&Processing, &Processors, &Effects),
    seen: &[(&'static str, u64)],
    mut findings: Findings,
    excused: u64,
) -> Verdict {
    let witnesses = witnesses(ledger, seen);
    vacuous(context, ledger, (processors, effects), &mut findings);
    let mut guarantees = GuaranteeTable::default();
    if findings.has(&meta::HISTORY_MALFORMED) {
        return Verdict { guarantees, anomalies: findings.into_sorted(), witnesses, excused };
    }
    let log_proved = ledger.counts.owed > 0
        && !context.setting.restless
        && ledger.records.iter().all(|row| row.sends == 0 || ledger.is_drained(context, row));
    let processing_proved = (processed.outcomes > 0 || processors.outputs > 0)
        && !processed.undrained
        && !processors.unproved
        && !context.setting.restless;
    let effect_proved = !effects.unproved && !context.setting.restless;
    let found = findings.all();
    for (level, proved) in [
        (Level::Log, log_proved),
        (Level::Processing, processing_proved),
        (Level::Effect, effect_proved),
    ] {
        let (once, least, exactly) = broken(level, found);
        for (guarantee, broken) in [
            (Guarantee::AtMostOnce, once),
            (Guarantee::AtLeastOnce, least),
            (Guarantee::ExactlyOnce, once || least || exactly),
        ] {
            guarantees.set(level, guarantee, cell(broken, proved));
        }
    }
    guarantees.ordering = cell(found.iter().any(breaks_order), log_proved);
    Verdict { guarantees, anomalies: findings.into_sorted(), witnesses, excused }
}

fn cell(broken: bool, proved: bool) -> Holds {
    match (broken, proved) {
        (true, _) => Holds::Violated,
        (false, true) => Holds::Holds,
        (false, false) => Holds::Unknown,
    }
}

fn is(anomaly: &Anomaly, classes: &[&'static AnomalyClass]) -> bool {
    classes.iter().any(|class| std::ptr::eq(anomaly.class, *class))
}

/// Whether at-most-once, at-least-once, and what else exactly-once needs, is broken at a level.
fn broken(level: Level, found: &[Anomaly]) -> (bool, bool, bool) {
    let twice: &[&AnomalyClass] = match level {
        Level::Log => &[&log::DUPLICATE_APPEND],
        Level::Processing => &[&processing::DUP_PROCESSING],
        Level::Effect => &effect::TWICE,
    };
    let never: &[&AnomalyClass] = match level {
        Level::Log => &[&log::LOST_WRITE, &log::LOST_WRITE_FINAL],
        Level::Processing => &[&processing::LOST_PROCESSING],
        Level::Effect => &effect::NEVER,
    };
    let mut broken = (false, false, false);
    // Whoever processes what an aborted transaction wrote does so whatever its isolation level says.
    broken.2 = level == Level::Processing
        && found
            .iter()
            .any(|a| is(a, &[&transaction::ABORTED_READ]) && a.severity <= Severity::Legal);
    for anomaly in found.iter().filter(|a| a.class.level == level) {
        let defect = anomaly.severity <= Severity::UnderThisConfiguration;
        let violates = &anomaly.class.violates;
        // What is only counted breaks nothing.
        let legal = anomaly.severity <= Severity::Legal;
        broken.0 |= legal && is(anomaly, twice) || defect && violates.at_most_once;
        broken.1 |= is(anomaly, never) || defect && violates.at_least_once;
        broken.2 |= is(anomaly, &[&log::FAILED_WRITE_VISIBLE])
            || is(anomaly, &EXACTNESS)
            || is(anomaly, &effect::EXACTNESS)
            || defect && (violates.integrity || violates.atomicity || violates.isolation);
    }
    broken
}

/// Whether an anomaly is one of those that break a guarantee at a level.
pub(crate) fn breaks(anomaly: &Anomaly, level: Level, guarantee: Guarantee) -> bool {
    let (once, least, exactly) = broken(level, std::slice::from_ref(anomaly));
    match guarantee {
        Guarantee::AtMostOnce => once,
        Guarantee::AtLeastOnce => least,
        Guarantee::ExactlyOnce => once || least || exactly,
    }
}

/// Whether an anomaly is one of those that break the order of records.
pub(crate) fn breaks_order(anomaly: &Anomaly) -> bool {
    let rows: [&AnomalyClass; 7] = [
        &log::NONMONOTONIC_SEND,
        &log::KEY_ORDER_VIOLATION,
        &log::APPEND_REALTIME_INVERSION,
        &consumer::NONMONOTONIC_POLL,
        &consumer::INT_NONMONOTONIC_POLL,
        &consumer::NONMONOTONIC_POSITION,
        &outbox::OUTBOX_ORDER,
    ];
    match anomaly.severity {
        Severity::Always | Severity::UnderThisConfiguration => anomaly.class.violates.ordering,
        Severity::Legal => is(anomaly, &rows) || is(anomaly, &effect::state::DISORDER),
        Severity::Informative => false,
    }
}

fn witnesses(ledger: &Ledger, seen: &[(&'static str, u64)]) -> Vec<WitnessCount> {
    let counts = &ledger.counts;
    [
        ("sends", counts.sends),
        ("acknowledged sends", counts.acked),
        ("failed sends", counts.failed),
        ("sends of unknown outcome", counts.unknown),
        ("polled records", counts.polled),
        ("drained records", counts.drained),
    ]
    .into_iter()
    .chain(seen.iter().copied())
    .map(|(what, count)| WitnessCount { what, count })
    .collect()
}

/// Names what never happened.
fn vacuous(
    context: &Context<'_>,
    ledger: &Ledger,
    (processors, effects): (&Processors, &Effects),
    findings: &mut Findings,
) {
    let counts = &ledger.counts;
    let missing: Vec<&str> = [
        (counts.acked == 0, "no send was acknowledged"),
        (processors.vacuous, "a processor has no output in the log"),
        (effects.vacuous, "a sink owed no effect, or applied none"),
        (counts.polled + counts.drained == 0, "no record was read"),
        (!context.setting.quiescent, "no final read took place"),
    ]
    .into_iter()
    .filter_map(|(missing, what)| missing.then_some(what))
    .collect();
    if !missing.is_empty() {
        findings.add(&meta::VACUOUS_PASS, Severity::Informative, || {
            Proof::new(context.history, missing.join(", ")).done()
        });
    }
}
