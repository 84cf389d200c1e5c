//! `outbox-missing` and its reasons `outbox-skip-gap`, `outbox-premature-mark`; `outbox-stuck`:
//! committed operations whose event is not in the log.
//!
//! *Missing*: nobody will publish it any more. Its rows were committed without one in the outbox,
//! there is no relay, or every relay of the outbox has passed its row: marked or deleted it, or
//! moved a cursor or a position over it.
//!
//! *Skip-gap* and *premature-mark* are reported beside it when they are the reason: a cursor passed
//! the row's number when the row was not yet committed; the row was marked before its event was
//! acknowledged.
//!
//! *Stuck*: a relay has not passed the row. It would still publish it, and has not, although
//! everything has healed and come to rest.

use oncesim_history::{AnnouncementInfo, Announcing, RelayProgress};

use super::{Cursor, EventLog, Operation, Outbox, relays_of, story};
use crate::anomaly::{Severity, Witness};
use crate::catalogue::outbox::{
    OUTBOX_MISSING, OUTBOX_PREMATURE_MARK, OUTBOX_SKIP_GAP, OUTBOX_STUCK,
};
use crate::check::Context;
use crate::check::effect::Evidence;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;
use crate::check::log::known;
use crate::check::setting::promise_of;

/// Why an event is not in the log.
#[derive(Debug, Clone, Copy)]
enum Why {
    /// The service itself was to send it.
    Dual,
    /// What was committed has no row in the outbox.
    NoRow,
    /// It is in the outbox, which nobody reads.
    NoRelay,
    /// Its row was marked before it was acknowledged: when; whether that was the configuration.
    Premature { marked: u32, configured: bool },
    /// The cursor passed its number before it was committed.
    Skipped { passed: u32 },
    /// Every relay has passed it: when one did, if it said so.
    Passed { passed: u32 },
    /// A relay has not passed it.
    Stuck,
}

impl Outbox {
    /// Reports committed operations that the log does not have.
    pub(super) fn absent(
        &self,
        context: &Context<'_>,
        evidence: &Evidence<'_>,
        log: &EventLog,
        findings: &mut Findings,
    ) {
        for (&record, operation) in &self.operations {
            let announcement = usize::from(operation.announcement);
            let owed = operation.at != NONE && log.drained[announcement];
            if !owed || !log.of(record).is_empty() {
                continue;
            }
            let info = &context.history.announcements[announcement];
            let why = match context.setting.restless {
                // In a world that never came to rest it may only be late.
                true => Why::Stuck,
                false => self.why(context, evidence, info, (record, operation)),
            };
            let witness = || witness(context, evidence, info, (record, operation), why);
            if let Why::Stuck = why {
                let severity = match context.setting.restless {
                    true => Severity::Informative,
                    false => Severity::UnderThisConfiguration,
                };
                findings.add(&OUTBOX_STUCK, severity, witness);
                continue;
            }
            let severity = severity(context, evidence, record, why);
            findings.add(&OUTBOX_MISSING, severity, witness);
            match why {
                Why::Premature { .. } => {
                    findings.add(&OUTBOX_PREMATURE_MARK, severity, witness);
                }
                Why::Skipped { .. } => findings.add(&OUTBOX_SKIP_GAP, severity, witness),
                Why::Dual | Why::NoRow | Why::NoRelay | Why::Passed { .. } | Why::Stuck => {}
            }
        }
    }

    fn why(
        &self,
        context: &Context<'_>,
        evidence: &Evidence<'_>,
        info: &AnnouncementInfo,
        (record, operation): (u32, &Operation),
    ) -> Why {
        if info.how != Announcing::Outbox {
            return Why::Dual;
        }
        if !operation.in_outbox {
            return Why::NoRow;
        }
        let relays = relays_of(context.history, info);
        if relays.clone().next().is_none() {
            return Why::NoRelay;
        }
        if operation.marked != NONE {
            let acked = evidence.ledger.records[record as usize].acked;
            if acked <= operation.marked {
                return Why::Passed { passed: operation.marked };
            }
            let configured =
                relays.clone().any(|(_, relay)| relay.progress == RelayProgress::MarkBeforeAck);
            return Why::Premature { marked: operation.marked, configured };
        }
        let (mut last, mut skipped) = (NONE, None);
        for (number, relay) in relays {
            let row = match relay.progress {
                RelayProgress::MarkAfterAck | RelayProgress::MarkBeforeAck => return Why::Stuck,
                RelayProgress::Cursor => operation.sequence,
                RelayProgress::Capture => {
                    i64::try_from(operation.commit).expect("a small commit number")
                }
            };
            let cursor: &Cursor = &self.cursors[number];
            if cursor.now.is_none_or(|now| now < row) {
                return Why::Stuck;
            }
            let Some((to, passed)) = cursor.reached(row) else { continue };
            last = passed;
            let gap = relay.progress == RelayProgress::Cursor
                && self.is_gap(context, operation, (to, passed));
            skipped = skipped.or(gap.then_some(passed));
        }
        match skipped {
            Some(passed) => Why::Skipped { passed },
            None => Why::Passed { passed: last },
        }
    }

    /// Whether a row was not committed yet when a cursor moved over it: the row that the cursor
    /// moved to had been committed before. A cursor at a number that no known row has is judged by
    /// when it moved.
    fn is_gap(
        &self,
        context: &Context<'_>,
        operation: &Operation,
        (to, passed): (i64, u32),
    ) -> bool {
        // All services of one database and one topic share an outbox.
        let outbox = |o: &Operation| {
            let info = &context.history.announcements[usize::from(o.announcement)];
            (info.database, info.to)
        };
        let same =
            |o: &&Operation| o.at != NONE && o.sequence == to && outbox(o) == outbox(operation);
        match self.operations.values().find(same) {
            Some(other) => other.commit < operation.commit,
            None => passed < operation.at,
        }
    }
}

fn severity(context: &Context<'_>, evidence: &Evidence<'_>, record: u32, why: Why) -> Severity {
    match why {
        Why::Dual | Why::NoRelay | Why::Skipped { .. } => Severity::Legal,
        Why::Premature { configured: true, .. } => Severity::Legal,
        Why::NoRow | Why::Premature { .. } | Why::Stuck => Severity::UnderThisConfiguration,
        Why::Passed { .. } => {
            let row = &evidence.ledger.records[record as usize];
            let Some(sent) = context.history.events.get(row.invoked as usize) else {
                return Severity::UnderThisConfiguration;
            };
            let promise = promise_of(context.history, sent.actor);
            let loss = context.setting.loss_severity(known(row.partition), promise);
            loss.max(Severity::UnderThisConfiguration)
        }
    }
}

fn witness(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    info: &AnnouncementInfo,
    (record, operation): (u32, &Operation),
    why: Why,
) -> Witness {
    let history = context.history;
    let id = context.index.record_id(record);
    let at = |event: u32| match event {
        NONE => String::new(),
        event => format!(" at {}", time_of(history, event)),
    };
    let (reason, event) = match why {
        Why::Dual => (String::new(), NONE),
        Why::NoRow => (": it has no row in the outbox".to_owned(), NONE),
        Why::NoRelay => (", and nobody reads the outbox".to_owned(), NONE),
        Why::Premature { marked, .. } => {
            let when = time_of(history, marked);
            (format!(": its row was marked at {when}, before the log had it"), marked)
        }
        Why::Skipped { passed } => {
            let (sequence, when) = (operation.sequence, time_of(history, passed));
            let told = "with what it had read before that commit";
            (format!(": the relay's cursor went past {sequence} at {when}, {told}"), passed)
        }
        Why::Passed { passed } => {
            let acked = evidence.ledger.records[record as usize].acked;
            let told = match acked {
                NONE => "without an acknowledgement",
                _ => "after it was acknowledged",
            };
            (format!(": the relay went past it{}, {told}", at(passed)), passed)
        }
        Why::Stuck => (": the relay has not come to it".to_owned(), NONE),
    };
    let topic = history.topics.get(usize::from(info.to.0)).map_or("", |topic| &topic.name);
    let sentence = format!(
        "{} was committed at {} in commit {} of {}, and {topic} does not have it{reason}",
        record_name(history, id),
        time_of(history, operation.at),
        operation.commit,
        history.actor_name(info.database),
    );
    let drained = context.index.topic(info.to);
    let drained: Vec<u32> =
        drained.filter_map(|p| Some(context.setting.partitions[p as usize].drained?.2)).collect();
    Proof::new(history, sentence)
        .record(id)
        .events(&story(context, id))
        .events(&[operation.at, event])
        .events(&drained)
        .done()
}
