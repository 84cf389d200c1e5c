//! `dedup-window-miss`, `dedup-before-effect`, `dedup-after-effect`: what became of the memory of
//! what was done.
//!
//! They say why an effect was lost or doubled, and are reported beside `effect-lost` and
//! `effect-duplicate`.
//!
//! *Before*: a mark of the record is durable, and its effect was not applied in the end.
//!
//! *After*: the effect was applied twice, and a mark was not yet durable when the second
//! application's commit came, or came in a later commit than the first application.
//!
//! *Window*: between the two applications the mark, or the idempotency key, was forgotten. A
//! database does not say which marks it forgot: one that was there, and did not stop the second
//! application although marks were forgotten in between, was among them.

use oncesim_history::SinkInfo;

use super::delivery::repeated;
use super::log::{Application, Mark};
use super::story::story_until;
use super::{Evidence, story};
use crate::anomaly::{Severity, Witness};
use crate::catalogue::effect::{DEDUP_AFTER_EFFECT, DEDUP_BEFORE_EFFECT, DEDUP_WINDOW_MISS};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;

/// Reports the rows of this file.
pub(crate) fn check(context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
    let log = &evidence.effects.log;
    let mut marks: Vec<(u16, u32, &Mark)> = log
        .marks
        .iter()
        .filter(|mark| mark.is_new)
        .map(|mark| (mark.system, evidence.root(mark.record), mark))
        .collect();
    marks.sort_by_key(|(system, root, mark)| (*system, *root, mark.position));
    lost(context, evidence, &marks, findings);
    let mut forgotten: Vec<(u16, u16, u32, u32)> = log
        .forgotten
        .iter()
        .map(|(of, at)| (of.sink, of.step, evidence.root(of.record), *at))
        .collect();
    forgotten.sort_unstable();
    let same = |a: &Application, b: &Application| evidence.same(a.of(), b.of());
    for group in evidence.applied.chunk_by(same) {
        let info = &context.history.sinks[usize::from(group[0].sink)];
        let Some((one, other)) = repeated(context, info, group) else { continue };
        let root = evidence.root(one.record);
        let of = |at: u32| (one.sink, one.step, root, at);
        let at = forgotten.partition_point(|f| *f < of(one.position));
        if let Some((.., at)) = forgotten.get(at).filter(|f| **f < of(other.position)) {
            let seen = (one.position, *at);
            findings.add(&DEDUP_WINDOW_MISS, Severity::Legal, || {
                missed(context, evidence, info, (one, other), seen)
            });
        }
        if info.dedups {
            let marks = of_root(&marks, (info.system.0, root));
            doubled(context, evidence, (info, marks), (one, other), findings);
        }
    }
}

/// The new marks of one logical record in one system.
fn of_root<'m>(marks: &'m [(u16, u32, &'m Mark)], of: (u16, u32)) -> &'m [(u16, u32, &'m Mark)] {
    let from = marks.partition_point(|(system, root, _)| (*system, *root) < of);
    let to = marks.partition_point(|(system, root, _)| (*system, *root) <= of);
    &marks[from..to]
}

fn lost(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    marks: &[(u16, u32, &Mark)],
    findings: &mut Findings,
) {
    for owed in evidence.owed {
        let info = &context.history.sinks[usize::from(owed.sink)];
        let Some((.., mark)) = of_root(marks, (info.system.0, owed.root)).first() else { continue };
        let applied = evidence.of(owed.sink, owed.root);
        let done = |step: u16| applied.iter().any(|a| a.step == step);
        if !info.dedups || info.inbox || (0..owed.steps).all(done) {
            continue;
        }
        findings.add(&DEDUP_BEFORE_EFFECT, Severity::Legal, || {
            let history = context.history;
            let id = context.index.record_id(owed.record);
            let sentence = format!(
                "{} marked {} as seen in commit {} at {}, and its effect was never applied",
                info.name,
                record_name(history, id),
                mark.commit,
                time_of(history, mark.position),
            );
            let (p, offset) = context.index.place(owed.slot);
            Proof::new(history, sentence)
                .record(id)
                .at(context.index.partitions[p as usize], &[offset])
                .events(&story(context, evidence, (owed.sink, owed.root)))
                .events(&[mark.position])
                .done()
        });
    }
}

/// Why a dedup table did not keep an effect from being applied again.
fn doubled(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    (info, marks): (&SinkInfo, &[(u16, u32, &Mark)]),
    (one, other): (&Application, &Application),
    findings: &mut Findings,
) {
    let mark = marks.first().map(|(.., mark)| *mark);
    let evicted = mark.and_then(|mark| {
        let evictions = &evidence.effects.log.evictions;
        let at = evictions.partition_point(|(_, at)| *at < mark.position);
        let between = |(system, at): &&(u16, u32)| *system == mark.system && *at < other.position;
        evictions[at..].iter().find(between).map(|(_, at)| (mark.position, *at))
    });
    if let Some(seen) = evicted {
        findings.add(&DEDUP_WINDOW_MISS, Severity::Legal, || {
            missed(context, evidence, info, (one, other), seen)
        });
        return;
    }
    let late = mark.is_none_or(|mark| mark.commit > one.commit);
    if late && !info.inbox {
        findings.add(&DEDUP_AFTER_EFFECT, Severity::Legal, || {
            let history = context.history;
            let of = (one.sink, evidence.root(one.record));
            let id = context.index.record_id(one.record);
            let when = mark.map_or_else(
                || "no mark of it was committed".to_owned(),
                |mark| {
                    let at = time_of(history, mark.position);
                    format!("its mark was in commit {} at {at}", mark.commit)
                },
            );
            let sentence = format!(
                "{} applied the effect of {} in commit {} at {}, and again in commit {} at {}; {when}",
                info.name,
                record_name(history, id),
                one.commit,
                time_of(history, one.position),
                other.commit,
                time_of(history, other.position),
            );
            Proof::new(history, sentence)
                .record(id)
                .events(&story_until(context, evidence, of, other.position))
                .events(&[mark.map_or(NONE, |mark| mark.position), one.position, other.position])
                .done()
        });
    }
}

fn missed(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    info: &SinkInfo,
    (one, other): (&Application, &Application),
    (remembered, forgotten): (u32, u32),
) -> Witness {
    let history = context.history;
    let of = (one.sink, evidence.root(one.record));
    let id = context.index.record_id(one.record);
    let window = info.window.map_or_else(String::new, |window| format!(" (window {window})"));
    let sentence = format!(
        "{} remembered the effect of {} at {}{window}, had forgotten it at {}, and applied it \
         again in commit {} at {}",
        info.name,
        record_name(history, id),
        time_of(history, remembered),
        time_of(history, forgotten),
        other.commit,
        time_of(history, other.position),
    );
    Proof::new(history, sentence)
        .record(id)
        .events(&story_until(context, evidence, of, other.position))
        .events(&[one.position, remembered, forgotten, other.position])
        .done()
}
