//! `effect-lost`, `effect-duplicate`, `effect-phantom`, `partial-effect`: what was applied against
//! what was owed.
//!
//! *Lost*: a step that is owed, and that no commit of the system applied. An application that
//! changed nothing counts as applied: the state is what the step would have made of it.
//!
//! *Duplicate*: two applications of one step of one logical record, both of which changed rows,
//! unless repeating it is harmless: the effect absorbs repetition and both set the same rows, or the
//! rows of a database were created, or deleted, with the same result both times. An effect of an API
//! or a two-phase sink cannot be taken back: there each application counts.
//!
//! *Phantom*: an application for a logical record no copy of which was visible.
//!
//! *Partial*: some of the steps that are owed were applied, and some were not.

use oncesim_history::{SinkInfo, SystemKind};
use oncesim_types::RowChange;

use super::story::story_until;
use super::{Application, Evidence, Owed, reads_uncommitted, story, system_kind};
use crate::anomaly::{Severity, Witness};
use crate::catalogue::effect::{EFFECT_DUPLICATE, EFFECT_LOST, EFFECT_PHANTOM, PARTIAL_EFFECT};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;

/// Reports the rows of this file.
pub(crate) fn check(context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
    lost(context, evidence, findings);
    let mut rest = evidence.applied;
    while let Some(first) = rest.first() {
        let same = |a: &&Application| {
            (a.sink, a.step, evidence.root(a.record))
                == (first.sink, first.step, evidence.root(first.record))
        };
        let len = rest.iter().take_while(same).count();
        let (group, after) = rest.split_at(len);
        rest = after;
        let info = &context.history.sinks[usize::from(first.sink)];
        if let Some((one, other)) = repeated(context, info, group) {
            findings.add(&EFFECT_DUPLICATE, Severity::Legal, || {
                let times = group.iter().filter(|a| a.is_change(context.history)).count();
                duplicate_witness(context, evidence, info, (one, other), times)
            });
        }
        let root = evidence.root(first.record);
        if !evidence.visible[root as usize] && evidence.drained[usize::from(first.sink)] {
            let severity = match reads_uncommitted(context, info.group) {
                true => Severity::Legal,
                false => Severity::UnderThisConfiguration,
            };
            findings.add(&EFFECT_PHANTOM, severity, || phantom_witness(context, evidence, first));
        }
    }
}

fn lost(context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
    for owed in evidence.owed {
        let applied = evidence.of(owed.sink, owed.root);
        let done = |step: u16| applied.iter().any(|a| a.step == step);
        let count = (0..owed.steps).filter(|step| done(*step)).count();
        if count == usize::from(owed.steps) {
            continue;
        }
        findings.add(&EFFECT_LOST, Severity::Legal, || {
            let what = match owed.steps {
                1 => "never applied the effect of".to_owned(),
                n => format!("applied {count} of {n} steps of"),
            };
            owed_witness(context, evidence, owed, &what)
        });
        if count > 0 {
            findings.add(&PARTIAL_EFFECT, Severity::Legal, || {
                let what = format!("applied {count} of {} steps of", owed.steps);
                owed_witness(context, evidence, owed, &what)
            });
        }
    }
}

/// Two applications of one step that count as two.
pub(crate) fn repeated<'a>(
    context: &Context<'_>,
    info: &SinkInfo,
    group: &'a [Application],
) -> Option<(&'a Application, &'a Application)> {
    let mut changing = group.iter().filter(|a| a.is_change(context.history));
    let first = changing.next()?;
    let other = changing.find(|other| !is_harmless(context, info, first, other))?;
    Some((first, other))
}

/// Whether applying an effect again left what it had left before.
fn is_harmless(
    context: &Context<'_>,
    info: &SinkInfo,
    first: &Application,
    again: &Application,
) -> bool {
    if system_kind(context.history, info) != Some(SystemKind::Database) {
        return false;
    }
    let rows = |a: &Application, of: fn(&RowChange) -> (u64, u64)| {
        let mut rows: Vec<(u64, u64)> = a.changes(context.history).map(of).collect();
        rows.sort_unstable();
        rows
    };
    if info.absorbs {
        let row = |change: &RowChange| (change.row, 0);
        return rows(first, row) == rows(again, row);
    }
    let remade = |change: &RowChange| change.before == 0 || change.after == 0;
    let image = |change: &RowChange| (change.row, change.after);
    [first, again].iter().all(|a| a.changes(context.history).all(remade))
        && rows(first, image) == rows(again, image)
}

fn owed_witness(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    owed: &Owed,
    what: &str,
) -> Witness {
    let history = context.history;
    let (p, offset) = context.index.place(owed.slot);
    let partition = context.index.partitions[p as usize];
    let id = context.index.record_id(owed.record);
    let told = story(context, evidence, (owed.sink, owed.root));
    let sink = &history.sinks[usize::from(owed.sink)].name;
    let sentence = format!(
        "{sink} {what} {} ({} offset {offset}){}",
        record_name(history, id),
        history.partition_name(partition),
        if told.is_empty() { ", and nobody asked for it" } else { "" },
    );
    let drained = context.setting.partitions[p as usize].drained.map_or(NONE, |d| d.2);
    Proof::new(history, sentence)
        .record(id)
        .at(partition, &[offset])
        .events(&told)
        .events(&[drained])
        .done()
}

fn duplicate_witness(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    info: &SinkInfo,
    (one, other): (&Application, &Application),
    times: usize,
) -> Witness {
    let history = context.history;
    let [id, again] = [one, other].map(|a| context.index.record_id(a.record));
    let name = record_name(history, id);
    let copy = match id == again {
        true => String::new(),
        false => format!(", as {}", record_name(history, again)),
    };
    let sentence = format!(
        "{} applied the effect of {name} {times} times: in commit {} at {}, and in commit {} at \
         {}{copy}",
        info.name,
        one.commit,
        time_of(history, one.position),
        other.commit,
        time_of(history, other.position),
    );
    let of = (one.sink, evidence.root(one.record));
    Proof::new(history, sentence)
        .record(id)
        .events(&story_until(context, evidence, of, other.position))
        .events(&[one.position, other.position])
        .done()
}

fn phantom_witness(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    application: &Application,
) -> Witness {
    let history = context.history;
    let id = context.index.record_id(application.record);
    let txn = evidence.transactions.of(application.record);
    let (why, events) = match txn {
        NONE => (", which is not in the log".to_owned(), [NONE; 4]),
        txn => {
            let name = evidence.transactions.name(context, txn);
            (format!(", and {name} was aborted"), evidence.transactions.story(txn))
        }
    };
    let sentence = format!(
        "{} applied the effect of {} in commit {} at {}{why}",
        history.sinks[usize::from(application.sink)].name,
        record_name(history, id),
        application.commit,
        time_of(history, application.position),
    );
    Proof::new(history, sentence)
        .record(id)
        .events(&story(context, evidence, (application.sink, evidence.root(application.record))))
        .events(&events)
        .done()
}
