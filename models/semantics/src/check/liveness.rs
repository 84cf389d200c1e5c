//! Table I, and what the engine itself found broken or stuck.

use std::collections::BTreeMap;

use oncesim_history::{ClientKind, EventKind, WorldEvent};
use oncesim_types::{GroupId, RecordId, TopicPartition};

use super::Context;
use super::findings::{Findings, Proof, record_name, time_of};
use super::group::commits::Commits;
use super::log::Ledger;
use super::processing::Processing;
use super::replication::Replication;
use crate::anomaly::Severity;
use crate::catalogue::liveness::{
    COMMIT_LAG_FINAL, DRAIN_INCOMPLETE, NO_LEADER, STUCK_LSO, UNDER_REPLICATED, UNRESOLVED_OP,
};
use crate::catalogue::meta::UNNAMED_INVARIANT;
use crate::catalogue::processing::LOST_PROCESSING;
use crate::guarantee::Level;

/// Takes over an anomaly that the engine reports.
pub(crate) fn reported(
    context: &Context<'_>,
    findings: &mut Findings,
    position: u32,
    event: &WorldEvent,
) {
    let (id, partition, offset, detail) = match event {
        WorldEvent::InvariantBroken { id, partition, offset, detail } => {
            (*id, *partition, *offset, detail)
        }
        WorldEvent::Stuck { id, partition, detail } => (*id, *partition, None, detail),
        _ => return,
    };
    let (class, sub_kind) = match crate::catalogue::find(id) {
        Some(class) => (class, if class.id == id { "" } else { id }),
        None => (&UNNAMED_INVARIANT, id),
    };
    let row = partition.and_then(|p| context.index.partition(p));
    let stuck = matches!(event, WorldEvent::Stuck { .. });
    let severity = match class.level {
        Level::Log if !stuck && row.is_some() => context.setting.storage_severity(row),
        _ => Severity::Always,
    };
    findings.add_reported(class, sub_kind, severity, || {
        let place =
            partition.map_or(String::new(), |p| format!("{}: ", context.history.partition_name(p)));
        let when = time_of(context.history, position);
        let proof = Proof::new(context.history, format!("{place}{detail} (at {when})"));
        let proof = match partition {
            Some(p) => proof.at(p, &offset.map(|o| o.0).into_iter().collect::<Vec<_>>()),
            None => proof,
        };
        proof.events(&[position]).done()
    });
}

/// Reports what has not come to rest although the run did.
pub(crate) fn check(
    context: &Context<'_>,
    ledger: &Ledger,
    replication: &Replication,
    findings: &mut Findings,
) {
    if !context.setting.quiescent {
        return;
    }
    unresolved(context, ledger, findings);
    unstable(context, replication, findings);
    undrained(context, findings);
    if !context.setting.settled {
        return;
    }
    let (headless, short) = replication.at_rest();
    for (row, position) in headless {
        let at = context.index.partitions[row as usize];
        findings.add(&NO_LEADER, Severity::Always, || {
            last_word(context, at, position, "has no leader")
        });
    }
    for (row, position) in short {
        let at = context.index.partitions[row as usize];
        findings.add(&UNDER_REPLICATED, Severity::Informative, || {
            last_word(context, at, position, "has fewer in-sync replicas than before")
        });
    }
}

/// A final read at `read_committed` that ended below the high watermark.
fn unstable(context: &Context<'_>, replication: &Replication, findings: &mut Findings) {
    for (row, partition) in (0u32..).zip(&context.setting.partitions) {
        let Some((_, end, drained)) = partition.drained else { continue };
        let (high_watermark, since) = replication.high_watermark(row);
        let auditor = context.history.events[drained as usize].actor;
        if high_watermark <= end
            || !context.setting.reads_committed(auditor)
            || context.setting.storage_severity(Some(row)) != Severity::Always
        {
            continue;
        }
        let at = context.index.partitions[row as usize];
        findings.add(&STUCK_LSO, Severity::Always, || {
            let sentence = format!(
                "the final read of {} ended at {end}, and its high watermark is {high_watermark}",
                context.history.partition_name(at),
            );
            Proof::new(context.history, sentence)
                .at(at, &[end, high_watermark])
                .events(&[since, drained])
                .done()
        });
    }
}

fn last_word(
    context: &Context<'_>,
    at: TopicPartition,
    position: u32,
    what: &str,
) -> crate::anomaly::Witness {
    let sentence = format!(
        "{} {what} since {}",
        context.history.partition_name(at),
        time_of(context.history, position)
    );
    Proof::new(context.history, sentence).at(at, &[]).events(&[position]).done()
}

/// A `send()` without an end, by a process that is still there when the run has come to rest.
fn unresolved(context: &Context<'_>, ledger: &Ledger, findings: &mut Findings) {
    let open = |row: &super::log::RecordRow| row.sends > row.ok + row.fail + row.info;
    if !ledger.records.iter().any(open) {
        return;
    }
    // A process may have sent again what its predecessor had sent: only its own calls count.
    let last = last_processes(context);
    let mut called: BTreeMap<(u16, u64), (RecordId, u32)> = BTreeMap::new();
    for (position, event) in (0u32..).zip(&context.history.events) {
        if last[usize::from(event.actor.0)] != Some(event.incarnation) {
            continue;
        }
        match &event.kind {
            EventKind::Client(ClientKind::SendInvoke { call, record, .. }) => {
                called.insert((event.actor.0, call.0), (*record, position));
            }
            EventKind::Client(ClientKind::SendEnd { call, .. }) => {
                called.remove(&(event.actor.0, call.0));
            }
            _ => {}
        }
    }
    let mut open: Vec<(u32, RecordId)> = called.into_values().map(|(id, at)| (at, id)).collect();
    open.sort_unstable();
    for (position, id) in open {
        findings.add(&UNRESOLVED_OP, Severity::Always, || {
            let name = record_name(context.history, id);
            let time = time_of(context.history, position);
            let sentence = format!("send() of {name} was called at {time} and has not ended");
            Proof::new(context.history, sentence).record(id).events(&[position]).done()
        });
    }
}

/// The process of each actor that is alive at the end.
fn last_processes(context: &Context<'_>) -> Vec<Option<u32>> {
    let mut last = vec![None; context.history.actors.len()];
    for event in &context.history.events {
        let actor = usize::from(event.actor.0);
        if last.len() <= actor {
            last.resize(actor + 1, None);
        }
        last[actor] = match &event.kind {
            EventKind::World(WorldEvent::Crashed { .. })
            | EventKind::Client(ClientKind::Closed) => None,
            _ => Some(event.incarnation),
        };
    }
    last
}

fn undrained(context: &Context<'_>, findings: &mut Findings) {
    for (row, partition) in context.setting.partitions.iter().enumerate() {
        if !partition.internal && partition.drained.is_none() {
            let at = context.index.partitions[row];
            findings.add(&DRAIN_INCOMPLETE, Severity::Always, || {
                let name = context.history.partition_name(at);
                let sentence = format!("the final read did not reach the end of {name}");
                Proof::new(context.history, sentence).at(at, &[]).done()
            });
        }
    }
}

/// A group that has processed everything, and whose committed offset is certainly behind.
pub(crate) fn commit_lag(
    context: &Context<'_>,
    ledger: &Ledger,
    processing: &Processing,
    commits: &mut Commits,
    findings: &mut Findings,
) {
    if findings.has(&LOST_PROCESSING) {
        return;
    }
    for (group, info) in (0u16..).zip(&context.history.groups) {
        let group = GroupId(group);
        if !processing.is_active(group) {
            continue;
        }
        for p in info.topics.iter().flat_map(|topic| context.index.topic(*topic)) {
            let Some((_, end, drained)) = context.setting.partitions[p as usize].drained else {
                continue;
            };
            let committed = commits.of(context, group, p);
            let hi = committed.plausible(Some(info)).hi;
            if !committed.is_certain() || hi >= end {
                continue;
            }
            // The ends of transactions take offsets, and nobody has to commit beyond them.
            let rest = context.index.slot_from(p, hi)..context.index.slots(p).end;
            let held = |slot: u32| ledger.in_log(context, p, slot) != super::index::NONE;
            if context.setting.transactional && !rest.into_iter().any(held) {
                continue;
            }
            let partition = context.index.partitions[p as usize];
            findings.add(&COMMIT_LAG_FINAL, Severity::Informative, || {
                let sentence = format!(
                    "group {} has committed {hi} on {}, whose log ends at {end}",
                    info.name,
                    context.history.partition_name(partition),
                );
                Proof::new(context.history, sentence)
                    .at(partition, &[hi, end])
                    .events(&[drained])
                    .done()
            });
        }
    }
}
