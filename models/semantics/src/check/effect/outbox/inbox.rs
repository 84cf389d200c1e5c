//! `inbox-dup`, `inbox-miss`: marks of an inbox against the effects that came with them.
//!
//! *Dup*: the inbox took one event for new twice, and both times the effect changed something that
//! counts twice.
//!
//! *Miss*: the inbox says that an event was seen, and its effect was never applied.
//!
//! A mark does not say for which sink it is. Where two sinks keep marks in one database, the marks
//! of neither are judged.

use oncesim_history::SinkInfo;

use super::{Mark, Outbox};
use crate::anomaly::{Severity, Witness};
use crate::catalogue::outbox::{INBOX_DUP, INBOX_MISS};
use crate::check::Context;
use crate::check::effect::delivery::repeated;
use crate::check::effect::{Evidence, Owed, story};
use crate::check::findings::{Findings, Proof, record_name, time_of};

impl Outbox {
    /// Reports marks without their one effect.
    pub(super) fn inboxes(
        &mut self,
        context: &Context<'_>,
        evidence: &Evidence<'_>,
        findings: &mut Findings,
    ) {
        self.marks.sort_by_key(|m| (m.system, evidence.root(m.record), m.position));
        let sinks = &context.history.sinks;
        for (number, info) in (0u16..).zip(sinks).filter(|(_, info)| info.inbox) {
            let marking = |s: &&SinkInfo| s.system == info.system && (s.dedups || s.inbox);
            if sinks.iter().filter(marking).count() > 1 {
                continue;
            }
            let mine: Vec<Mark> =
                self.marks.iter().filter(|mark| mark.system == info.system).copied().collect();
            let root = |mark: &Mark| evidence.root(mark.record);
            for marks in mine.chunk_by(|a, b| root(a) == root(b)) {
                judge(context, evidence, (number, info), marks, findings);
            }
        }
    }
}

/// Judges the marks of one logical record.
fn judge(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    (sink, info): (u16, &SinkInfo),
    marks: &[Mark],
    findings: &mut Findings,
) {
    let root = evidence.root(marks[0].record);
    let applied = evidence.of(sink, root);
    let owed = |owed: &Owed| (owed.sink, owed.root) == (sink, root);
    if applied.is_empty() {
        if evidence.owed.iter().any(owed) && !context.setting.restless {
            findings.add(&INBOX_MISS, Severity::UnderThisConfiguration, || {
                let sentence = "and never applied its effect".to_owned();
                witness(context, evidence, (sink, info), marks, &sentence)
            });
        }
        return;
    }
    let mut steps = applied.chunk_by(|a, b| a.step == b.step);
    if marks.len() > 1
        && let Some((one, other)) = steps.find_map(|step| repeated(context, info, step))
    {
        findings.add(&INBOX_DUP, Severity::Legal, || {
            let sentence = format!(
                "and again at {}, and applied its effect in commit {} and in commit {}",
                time_of(context.history, marks[1].position),
                one.commit,
                other.commit,
            );
            witness(context, evidence, (sink, info), marks, &sentence)
        });
    }
}

fn witness(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    (sink, info): (u16, &SinkInfo),
    marks: &[Mark],
    what: &str,
) -> Witness {
    let history = context.history;
    let id = context.index.record_id(marks[0].record);
    let sentence = format!(
        "{} marked {} as seen at {}, {what}",
        info.name,
        record_name(history, id),
        time_of(history, marks[0].position),
    );
    let events: Vec<u32> = marks.iter().map(|mark| mark.position).collect();
    let root = evidence.root(marks[0].record);
    Proof::new(history, sentence)
        .record(id)
        .events(&story(context, evidence, (sink, root)))
        .events(&events)
        .done()
}
