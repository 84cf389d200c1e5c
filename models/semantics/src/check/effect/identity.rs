//! `idem-key-collision`, `idem-key-instability`, `dedup-replay-mismatch`: whether an idempotency key
//! names one effect, and an effect one key.
//!
//! *Collision*: a request was answered with the stored answer of another logical record's effect, or
//! refused because its key stands for another payload.
//!
//! *Instability*: one step of one logical record was asked for under several keys.
//!
//! *Mismatch*: the stored answer was given although the payload differs; or two requests under one
//! key got different answers although one effect at most was applied.

use super::log::{Ask, Replay};
use super::{Evidence, story};
use crate::anomaly::{Severity, Witness};
use crate::catalogue::effect::{DEDUP_REPLAY_MISMATCH, IDEM_KEY_COLLISION, IDEM_KEY_INSTABILITY};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};

/// Reports the rows of this file.
pub(crate) fn check(context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
    for replay in &evidence.effects.log.replays {
        if !evidence.same(replay.of, replay.original) {
            findings.add(&IDEM_KEY_COLLISION, Severity::Legal, || {
                let what = "under the same idempotency key: it was not applied";
                replayed(context, evidence, replay, what)
            });
        }
        if !replay.same_payload {
            findings.add(&DEDUP_REPLAY_MISMATCH, Severity::Legal, || {
                replayed(context, evidence, replay, "although its payload is another one")
            });
        }
    }
    let asks = &evidence.effects.log.asks;
    let mut keyed: Vec<&Ask> = asks.iter().filter(|a| a.key != 0 && a.is_for_effect()).collect();
    keyed.sort_by_key(|a| (a.of.sink, evidence.root(a.of.record), a.of.step, a.position));
    for same in keyed.chunk_by(|a, b| evidence.same(a.of, b.of)) {
        if let Some(other) = same.iter().find(|a| a.key != same[0].key) {
            findings.add(&IDEM_KEY_INSTABILITY, Severity::Legal, || {
                unstable(context, evidence, same[0], other)
            });
        }
    }
    keyed.sort_by_key(|a| (a.system, a.key, a.position));
    for same in keyed.chunk_by(|a, b| (a.system, a.key) == (b.system, b.key)) {
        one_key(context, evidence, same, findings);
    }
}

/// Judges the requests under one key.
fn one_key(context: &Context<'_>, evidence: &Evidence<'_>, asks: &[&Ask], findings: &mut Findings) {
    let first = asks[0];
    for ask in asks {
        if ask.is_reused_key() && !evidence.same(ask.of, first.of) {
            findings.add(&IDEM_KEY_COLLISION, Severity::Legal, || {
                let name = record_name(context.history, context.index.record_id(first.of.record));
                let what = format!("was refused: its idempotency key stands for {name}");
                asked(context, first, ask, &what)
            });
        }
    }
    let answered = |a: &&&Ask| {
        evidence.same(a.of, first.of) && a.outcome == Some(oncesim_history::AskOutcome::Ok)
    };
    let mut answers = asks.iter().filter(answered);
    let Some(one) = answers.next() else { return };
    let Some(other) = answers.find(|a| a.result != one.result) else { return };
    let applied = evidence.of(first.of.sink, evidence.root(first.of.record));
    if applied.iter().filter(|a| a.step == first.of.step).count() <= 1 {
        findings.add(&DEDUP_REPLAY_MISMATCH, Severity::UnderThisConfiguration, || {
            let (a, b) = (one.result, other.result);
            let what = format!("was answered with {b}; the first answer under its key was {a}");
            asked(context, one, other, &what)
        });
    }
}

fn replayed(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    replay: &Replay,
    what: &str,
) -> Witness {
    let history = context.history;
    let [id, original] = [replay.of, replay.original].map(|s| context.index.record_id(s.record));
    let sentence = format!(
        "{} answered the request for {} at {} as it had answered that for {}, {what}",
        history.sinks[usize::from(replay.of.sink)].name,
        record_name(history, id),
        time_of(history, replay.position),
        record_name(history, original),
    );
    let told =
        |step: super::Step| story(context, evidence, (step.sink, evidence.root(step.record)));
    Proof::new(history, sentence)
        .record(id)
        .events(&told(replay.original))
        .events(&told(replay.of))
        .events(&[replay.position])
        .done()
}

fn unstable(context: &Context<'_>, evidence: &Evidence<'_>, one: &Ask, other: &Ask) -> Witness {
    let history = context.history;
    let id = context.index.record_id(one.of.record);
    let sentence = format!(
        "{} was asked for the effect of {} under the idempotency key {:x} at {}, and under {:x} \
         at {}",
        history.sinks[usize::from(one.of.sink)].name,
        record_name(history, id),
        one.key,
        time_of(history, one.position),
        other.key,
        time_of(history, other.position),
    );
    let told = story(context, evidence, (one.of.sink, evidence.root(one.of.record)));
    Proof::new(history, sentence)
        .record(id)
        .events(&told)
        .events(&[one.position, other.position])
        .done()
}

fn asked(context: &Context<'_>, first: &Ask, ask: &Ask, what: &str) -> Witness {
    let history = context.history;
    let id = context.index.record_id(ask.of.record);
    let sentence = format!(
        "a request to {} for the effect of {} {what}",
        history.sinks[usize::from(ask.of.sink)].name,
        record_name(history, id),
    );
    Proof::new(history, sentence)
        .record(id)
        .events(&[first.position, first.answered, ask.position, ask.answered])
        .done()
}
