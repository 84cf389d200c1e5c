//! Table K: whether the history can be trusted, and whether it proves anything.

use oncesim_history::{ClientKind, Event, EventKind, WorldEvent};
use oncesim_types::Instant;

use super::Context;
use super::findings::{Findings, Proof, record_name};
use super::log::Ledger;
use crate::anomaly::Severity;
use crate::catalogue::consumer::UNSEEN;
use crate::catalogue::meta::HISTORY_MALFORMED;

/// The order of events, and counts of what happened to the world.
#[derive(Debug, Default)]
pub(crate) struct Form {
    now: Instant,
    /// By actor: the current process, and whether it is polling, once it has been seen to poll.
    processes: Vec<(u32, Option<bool>)>,
    pub(crate) faults: u64,
    pub(crate) crashes: u64,
}

impl Form {
    /// Looks at the frame of an event.
    pub(crate) fn on_event(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &Event,
    ) {
        if event.time < self.now {
            let now = self.now;
            malformed(context, findings, position, || format!("time goes back from {now}"));
        }
        self.now = event.time;
        let actor = usize::from(event.actor.0);
        if self.processes.len() <= actor {
            self.processes.resize(actor + 1, (0, None));
        }
        let process = &mut self.processes[actor];
        if event.incarnation < process.0 {
            malformed(context, findings, position, || "an earlier process of its actor".to_owned());
        } else if event.incarnation > process.0 {
            *process = (event.incarnation, None);
        }
        match &event.kind {
            EventKind::Client(ClientKind::PollInvoke) => {
                // A poll that returned nothing need not be recorded: two may begin in a row.
                process.1 = Some(true);
            }
            EventKind::Client(ClientKind::PollEnd { .. }) => {
                if process.1 == Some(false) {
                    unpaired(context, findings, position, "a poll ends");
                }
                process.1 = process.1.map(|_| false);
            }
            EventKind::World(WorldEvent::Fault { .. }) => self.faults += 1,
            EventKind::World(WorldEvent::Crashed { .. }) => self.crashes += 1,
            _ => {}
        }
    }

    /// Reports sends that end more often than they begin, and records that nobody got to see.
    pub(crate) fn check(&self, context: &Context<'_>, ledger: &Ledger, findings: &mut Findings) {
        let mut seen = vec![false; 0];
        for (record, row) in (0u32..).zip(&ledger.records) {
            if row.ok + row.fail + row.info > row.sends {
                let position = if row.is_acked() { row.acked } else { row.refused };
                malformed(context, findings, position, || {
                    let name = record_name(context.history, context.index.record_id(record));
                    format!("send() of {name} ends more often than it was called")
                });
            }
            if !row.is_owed() || row.places > 0 || ledger.is_drained(context, row) {
                continue;
            }
            if seen.is_empty() {
                seen = read_partitions(context, ledger);
            }
            let partition = match row.acked_slot {
                super::index::NONE => row.partition,
                slot => context.index.place(slot).0,
            };
            // In a history from elsewhere a partition that nobody read may be one that lost it all.
            if context.setting.white_box && !seen.get(partition as usize).is_some_and(|seen| *seen)
            {
                continue;
            }
            findings.add(&UNSEEN, Severity::Informative, || {
                let id = context.index.record_id(record);
                let name = record_name(context.history, id);
                let sentence = format!("{name} was acknowledged and not read by the end");
                Proof::new(context.history, sentence)
                    .record(id)
                    .events(&[row.invoked, row.acked])
                    .done()
            });
        }
    }
}

/// Which partitions anybody has read from.
fn read_partitions(context: &Context<'_>, ledger: &Ledger) -> Vec<bool> {
    (0..context.index.partitions.len())
        .map(|p| {
            let p = u32::try_from(p).expect("partition rows are 32 bits");
            let read = |slot: u32| ledger.slots[slot as usize].polled != super::index::NONE;
            context.index.slots(p).any(read)
        })
        .collect()
}

/// Something ends that had not begun, or begins twice.
pub(crate) fn unpaired(
    context: &Context<'_>,
    findings: &mut Findings,
    position: u32,
    what: &'static str,
) {
    malformed(context, findings, position, || format!("{what}, unpaired"));
}

fn malformed(
    context: &Context<'_>,
    findings: &mut Findings,
    position: u32,
    what: impl FnOnce() -> String,
) {
    findings.add(&HISTORY_MALFORMED, Severity::Always, || {
        let history = context.history;
        let event = &history.events[position as usize];
        let actor = history.actor_name(event.actor);
        let sentence = format!("event {position} of {actor} at {}: {}", event.time, what());
        Proof::new(history, sentence).events(&[position]).done()
    });
}
