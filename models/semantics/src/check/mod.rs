//! The checkers: one pass over the events fills dense tables, and sweeps over the tables decide what
//! only the end of a history can tell.
//!
//! Each folder holds the rows of one table of the catalogue. Rows that are wrong at once are reported
//! while the events pass; rows that depend on the final log, or on outcomes that are not known yet,
//! wait for the end.

mod findings;
mod index;
mod judge;
mod log;
mod processing;
mod setting;

use oncesim_history::{ClientKind, Event, EventKind, History};

use crate::catalogue;
use crate::verdict::Verdict;
use findings::{Findings, Proof};
use index::Index;
use setting::Setting;

use crate::anomaly::Severity;

/// What every checker may look at.
pub(crate) struct Context<'h> {
    history: &'h History,
    index: Index,
    setting: Setting,
}

/// Judges a history.
pub(crate) fn run(history: &History) -> Verdict {
    if let Err(position) = index::spans_are_valid(history) {
        return malformed(history, position);
    }
    let index = Index::build(history);
    let setting = Setting::of(history, &index);
    let context = Context { history, index, setting };
    let mut pass = Pass::new(&context);
    for (position, event) in (0u32..).zip(&history.events) {
        pass.event(&context, position, event);
    }
    pass.finish(&context)
}

/// The state of one pass.
struct Pass {
    ledger: log::Ledger,
    processing: processing::Processing,
    findings: Findings,
}

impl Pass {
    fn new(context: &Context<'_>) -> Self {
        Pass {
            ledger: log::Ledger::new(context),
            processing: processing::Processing::new(context),
            findings: Findings::default(),
        }
    }

    fn event(&mut self, context: &Context<'_>, position: u32, event: &Event) {
        match &event.kind {
            EventKind::Client(kind) => self.client(context, position, event, kind),
            EventKind::World(_) => {}
        }
    }

    fn client(&mut self, context: &Context<'_>, position: u32, event: &Event, kind: &ClientKind) {
        match kind {
            ClientKind::SendInvoke { partition, record, key, payload, .. } => {
                self.ledger.on_send(context, position, *partition, *record, *key, *payload);
            }
            ClientKind::SendEnd { record, partition, outcome, offset, .. } => {
                self.ledger.on_send_end(context, position, *record, *partition, *outcome, *offset);
            }
            ClientKind::PollEnd { records, .. } => {
                let auditor = context.setting.is_auditor(event.actor);
                for polled in context.history.polled(*records) {
                    self.ledger.on_polled(context, position, auditor, polled);
                }
            }
            ClientKind::Processed { group, partition, offset, record } => {
                self.processing.on_processed(context, *group, *partition, *offset, *record);
            }
            ClientKind::Subscribe { group } | ClientKind::Assigned { group, .. } => {
                self.processing.on_member(*group);
            }
            ClientKind::PositionReset { group: Some(group), partition, to, reason } => {
                self.processing.on_position(context, *group, *partition, *to, *reason);
            }
            _ => {}
        }
    }

    fn finish(mut self, context: &Context<'_>) -> Verdict {
        self.ledger.settle(context);
        let excused = log::loss::check(context, &self.ledger, &mut self.findings);
        log::duplicate::check(context, &self.ledger, &mut self.findings);
        self.processing.check(context, &self.ledger, &mut self.findings);
        judge::verdict(context, &self.ledger, &self.processing, self.findings, excused)
    }
}

fn malformed(history: &History, position: u32) -> Verdict {
    let mut findings = Findings::default();
    findings.add(&catalogue::meta::HISTORY_MALFORMED, Severity::Always, || {
        let sentence = format!("event {position} refers to records that the history does not have");
        Proof::new(history, sentence).events(&[position]).done()
    });
    Verdict { anomalies: findings.into_sorted(), ..Verdict::default() }
}
