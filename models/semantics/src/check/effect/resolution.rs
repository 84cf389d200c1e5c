//! `effect-before-commit` and `effect-indeterminate-unresolved`: effects whose transaction of Kafka
//! went the other way, and effects of which nobody knows.
//!
//! *Before commit*: a processor asked for the effect before its transaction ended, the effect is
//! durable, and the transaction of that delivery was aborted, or was never begun because the process
//! died. If another delivery of the same logical record was committed, the effect was early and no
//! more; if none was, effect and log disagree for good.
//!
//! *Indeterminate*: the last request for an effect has no answer, or an unknown one, nobody took the
//! effect for done, and the system does not have it. Or a two-phase sink holds what nobody finishes.
//! Judged only where the run came to rest.

use std::collections::BTreeMap;

use super::log::{Application, Ask, Made};
use super::{Evidence, story};
use crate::anomaly::Severity;
use crate::catalogue::effect::{EFFECT_BEFORE_COMMIT, EFFECT_INDETERMINATE_UNRESOLVED};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;
use crate::check::transaction::Fate;

/// Reports the rows of this file.
pub(crate) fn check(context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
    if context.history.sinks.iter().any(|sink| sink.before_commit) {
        before_commit(context, evidence, findings);
    }
    if context.setting.quiescent && !context.setting.restless {
        indeterminate(context, evidence, findings);
        staged(context, evidence, findings);
    }
}

/// How the deliveries of inputs ended.
struct Deliveries<'e> {
    /// By actor, incarnation, input and position.
    made: Vec<&'e Made>,
    /// The last process of each actor.
    processes: BTreeMap<u16, u32>,
    /// By logical input: whether something that was made of it was committed.
    committed: BTreeMap<u32, bool>,
}

impl<'e> Deliveries<'e> {
    fn of(context: &Context<'_>, evidence: &'e Evidence<'_>) -> Self {
        let mut made: Vec<&Made> = evidence.effects.log.made.iter().collect();
        made.sort_by_key(|m| (m.actor, m.incarnation, m.input, m.position));
        let mut committed = BTreeMap::new();
        for made in &made {
            let entry = committed.entry(evidence.root(made.input)).or_insert(false);
            *entry |= fate(evidence, made) == Some(Fate::Committed);
        }
        let mut processes = BTreeMap::new();
        for event in &context.history.events {
            processes.insert(event.actor.0, event.incarnation);
        }
        Deliveries { made, processes, committed }
    }

    /// What the delivery in which an effect was asked for made next of its record.
    fn next(&self, ask: &Ask) -> Option<&'e Made> {
        let key = |m: &Made| (m.actor, m.incarnation, m.input, m.position);
        let of = (ask.actor, ask.incarnation, ask.of.record, ask.position);
        let at = self.made.partition_point(|m| key(m) < of);
        let next = self.made.get(at).copied()?;
        ((next.actor, next.incarnation, next.input) == (of.0, of.1, of.2)).then_some(next)
    }
}

fn fate(evidence: &Evidence<'_>, made: &Made) -> Option<Fate> {
    let txn = evidence.transactions.of(made.record);
    (txn != NONE).then(|| evidence.transactions.rows[txn as usize].fate)
}

fn before_commit(context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
    let deliveries = Deliveries::of(context, evidence);
    let mut asks: Vec<&Ask> =
        evidence.effects.log.asks.iter().filter(|a| a.is_for_effect()).collect();
    let key = |a: &Ask| (a.of.sink, a.of.record, a.of.step, a.position);
    asks.sort_by_key(|a| key(a));
    for applied in evidence.applied {
        let info = &context.history.sinks[usize::from(applied.sink)];
        if !info.before_commit || !applied.is_change(context.history) {
            continue;
        }
        let of = (applied.sink, applied.record, applied.step);
        let at = asks.partition_point(|a| key(a) < (of.0, of.1, of.2, applied.position));
        let Some(ask) = at.checked_sub(1).map(|at| asks[at]) else { continue };
        if (ask.of.sink, ask.of.record, ask.of.step) != of {
            continue;
        }
        let made = deliveries.next(ask);
        let died = deliveries.processes.get(&ask.actor).is_some_and(|last| *last > ask.incarnation);
        let gone = match made {
            Some(made) => fate(evidence, made) == Some(Fate::Aborted),
            None => died,
        };
        if !gone {
            continue;
        }
        let root = evidence.root(applied.record);
        // A record of which nothing is ever made does not show what became of its transaction.
        let severity = match deliveries.committed.get(&root) {
            Some(true) | None => Severity::Legal,
            Some(false) => Severity::UnderThisConfiguration,
        };
        findings.add(&EFFECT_BEFORE_COMMIT, severity, || {
            early(context, evidence, (applied, ask), made)
        });
    }
}

fn early(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    (applied, ask): (&Application, &Ask),
    made: Option<&Made>,
) -> crate::anomaly::Witness {
    let history = context.history;
    let id = context.index.record_id(applied.record);
    let (what, events) = match made.map(|made| evidence.transactions.of(made.record)) {
        Some(txn) => {
            let name = evidence.transactions.name(context, txn);
            (format!("{name} was aborted"), evidence.transactions.story(txn))
        }
        None => ("its process died before it had made anything of it".to_owned(), [NONE; 4]),
    };
    let sentence = format!(
        "{} applied the effect of {} in commit {} at {}, as {} had asked for at {}; {what}",
        history.sinks[usize::from(applied.sink)].name,
        record_name(history, id),
        applied.commit,
        time_of(history, applied.position),
        history.actor_name(oncesim_types::ActorId(ask.actor)),
        time_of(history, ask.position),
    );
    Proof::new(history, sentence)
        .record(id)
        .events(&[ask.position, ask.answered, applied.position])
        .events(&events)
        .done()
}

fn indeterminate(context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
    let log = &evidence.effects.log;
    let of = |step: super::Step| (step.sink, evidence.root(step.record), step.step);
    let mut last: BTreeMap<(u16, u32, u16), &Ask> = BTreeMap::new();
    for ask in log.asks.iter().filter(|a| a.is_for_effect()) {
        last.insert(of(ask.of), ask);
    }
    last.retain(|_, ask| ask.is_open());
    for done in &log.done {
        last.remove(&of(*done));
    }
    for applied in &log.applications {
        last.remove(&of(applied.of()));
    }
    for ask in last.values() {
        findings.add(&EFFECT_INDETERMINATE_UNRESOLVED, Severity::UnderThisConfiguration, || {
            let history = context.history;
            let id = context.index.record_id(ask.of.record);
            let sentence = format!(
                "{} asked {} for the effect of {} at {}, was not told what became of it, and \
                 nobody found out",
                history.actor_name(oncesim_types::ActorId(ask.actor)),
                history.sinks[usize::from(ask.of.sink)].name,
                record_name(history, id),
                time_of(history, ask.position),
            );
            let told = story(context, evidence, (ask.of.sink, evidence.root(ask.of.record)));
            Proof::new(history, sentence)
                .record(id)
                .events(&told)
                .events(&[ask.position, ask.answered])
                .done()
        });
    }
}

fn staged(context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
    for staged in evidence.effects.log.staged.iter().filter(|staged| !staged.finished) {
        findings.add(&EFFECT_INDETERMINATE_UNRESOLVED, Severity::UnderThisConfiguration, || {
            let history = context.history;
            let at = context.index.partitions[staged.p as usize];
            let (first, next) = staged.range;
            let sentence = format!(
                "{} prepared the effects of {} offsets {first} up to {next} at {}, and nobody \
                 committed or dropped them",
                history.actor_name(oncesim_types::ActorId(staged.system)),
                history.partition_name(at),
                time_of(history, staged.position),
            );
            Proof::new(history, sentence).at(at, &[first, next]).events(&[staged.position]).done()
        });
    }
}
