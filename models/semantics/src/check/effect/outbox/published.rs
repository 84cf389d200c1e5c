//! `outbox-phantom`, `outbox-duplicate`, `outbox-order`: what the log has of announced operations
//! against what was committed.
//!
//! *Phantom*: an event of an operation of which no transaction was ever committed.
//!
//! *Duplicate*: an event that a relay has put into the log twice. Where the effects of a sink come
//! of the topic, these tell whether it mattered, and the duplicate is only counted.
//!
//! *Order*: of one aggregate, an event whose first place in the log is behind that of an event of a
//! later commit. Events in different partitions have no order.

use std::collections::BTreeMap;

use oncesim_history::{Announcing, History};
use oncesim_types::{ActorId, TopicId};

use super::{EventLog, Operation, Outbox, follows_commits, relays_of, story};
use crate::anomaly::{Severity, Witness};
use crate::catalogue::outbox::{OUTBOX_DUPLICATE, OUTBOX_ORDER, OUTBOX_PHANTOM};
use crate::check::Context;
use crate::check::effect::Evidence;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;
use crate::check::setting::promise_of;

/// Events that have an order: those of one outbox, one partition and one aggregate.
type Line = (ActorId, u32, u32);

impl Outbox {
    /// Reports events that should not be where they are.
    pub(super) fn published(
        &self,
        context: &Context<'_>,
        evidence: &Evidence<'_>,
        log: &EventLog,
        findings: &mut Findings,
    ) {
        let mut lines: BTreeMap<Line, Vec<(u32, u32)>> = BTreeMap::new();
        for places in log.places.chunk_by(|a, b| a.0 == b.0) {
            let (record, first) = places[0];
            let operation = &self.operations[&record];
            let info = &context.history.announcements[usize::from(operation.announcement)];
            if !operation.committed {
                if !context.setting.restless {
                    findings.add(&OUTBOX_PHANTOM, phantom_severity(info.how), || {
                        phantom_witness(context, record, first, info.database)
                    });
                }
                continue;
            }
            if places.len() > 1 && info.how == Announcing::Outbox {
                let severity = match feeds_a_sink(context.history, info.to) {
                    true => Severity::Informative,
                    false => Severity::Legal,
                };
                findings.add(&OUTBOX_DUPLICATE, severity, || duplicate_witness(context, places));
            }
            let key = evidence.ledger.records[record as usize].key;
            if let Some(aggregate) = operation.aggregate.or(key)
                && operation.at != NONE
            {
                let line = (info.database, context.index.place(first).0, aggregate);
                lines.entry(line).or_default().push((first, record));
            }
        }
        for ((_, _, aggregate), mut line) in lines {
            line.sort_unstable();
            self.order(context, aggregate, &line, findings);
        }
    }

    /// Reports what is behind something of a later commit. The line is in the order of the log.
    fn order(
        &self,
        context: &Context<'_>,
        aggregate: u32,
        line: &[(u32, u32)],
        findings: &mut Findings,
    ) {
        let mut newest = line[0];
        for &event in &line[1..] {
            let [before, now] = [newest, event].map(|(_, record)| &self.operations[&record]);
            if now.commit < before.commit {
                findings.add(&OUTBOX_ORDER, order_severity(context, now), || {
                    order_witness(context, aggregate, (newest, before), (event, now))
                });
            } else {
                newest = event;
            }
        }
    }
}

/// A dual write that is not committed last may announce what never will be; nothing else may.
const fn phantom_severity(how: Announcing) -> Severity {
    match how {
        Announcing::LogFirst | Announcing::InsideTransaction => Severity::Legal,
        Announcing::DatabaseFirst => Severity::UnderThisConfiguration,
        Announcing::Outbox => Severity::Always,
    }
}

/// Order is owed by one relay that follows the order of commits, with a producer that keeps order.
fn order_severity(context: &Context<'_>, operation: &Operation) -> Severity {
    let history = context.history;
    let info = &history.announcements[usize::from(operation.announcement)];
    let mut relays = relays_of(history, info);
    let owed = info.how == Announcing::Outbox
        && relays.next().is_some_and(|(_, relay)| {
            follows_commits(relay.progress) && promise_of(history, relay.relay).ordered
        })
        && relays.next().is_none();
    match owed {
        true => Severity::UnderThisConfiguration,
        false => Severity::Legal,
    }
}

/// Whether effects of a sink come of a topic, directly or through processors.
fn feeds_a_sink(history: &History, topic: TopicId) -> bool {
    let mut topics = vec![topic];
    let mut next = 0;
    while let Some(topic) = topics.get(next).copied() {
        next += 1;
        for (number, group) in (0u16..).zip(&history.groups) {
            if !group.topics.contains(&topic) {
                continue;
            }
            if history.sinks.iter().any(|sink| sink.group.0 == number) {
                return true;
            }
            for to in group.processor.iter().flat_map(|processor| &processor.to) {
                if !topics.contains(to) {
                    topics.push(*to);
                }
            }
        }
    }
    false
}

fn phantom_witness(context: &Context<'_>, record: u32, slot: u32, database: ActorId) -> Witness {
    let history = context.history;
    let id = context.index.record_id(record);
    let (p, offset) = context.index.place(slot);
    let partition = context.index.partitions[p as usize];
    let sentence = format!(
        "{} is in the log at {} offset {offset}, and {} never committed it",
        record_name(history, id),
        history.partition_name(partition),
        history.actor_name(database),
    );
    Proof::new(history, sentence)
        .record(id)
        .at(partition, &[offset])
        .events(&story(context, id))
        .done()
}

fn duplicate_witness(context: &Context<'_>, places: &[(u32, u32)]) -> Witness {
    let history = context.history;
    let id = context.index.record_id(places[0].0);
    let at: Vec<(u32, i64)> = places.iter().map(|(_, slot)| context.index.place(*slot)).collect();
    let partition = |p: u32| context.index.partitions[p as usize];
    let text: Vec<String> = at
        .iter()
        .map(|(p, offset)| format!("{} offset {offset}", history.partition_name(partition(*p))))
        .collect();
    let sentence = format!("{} was published at {}", record_name(history, id), text.join(" and "));
    let offsets: Vec<i64> = at.iter().map(|(_, offset)| *offset).collect();
    Proof::new(history, sentence)
        .record(id)
        .at(partition(at[0].0), &offsets)
        .events(&story(context, id))
        .done()
}

fn order_witness(
    context: &Context<'_>,
    aggregate: u32,
    ((before_slot, before_record), before): ((u32, u32), &Operation),
    ((slot, record), operation): ((u32, u32), &Operation),
) -> Witness {
    let history = context.history;
    let [id, other] = [record, before_record].map(|record| context.index.record_id(record));
    let (p, offset) = context.index.place(slot);
    let before_offset = context.index.place(before_slot).1;
    let partition = context.index.partitions[p as usize];
    let sentence = format!(
        "{} of aggregate {aggregate} was committed at {} in commit {}, before {} in commit {}, and \
         is behind it in {}: at offset {offset}, not below {before_offset}",
        record_name(history, id),
        time_of(history, operation.at),
        operation.commit,
        record_name(history, other),
        before.commit,
        history.partition_name(partition),
    );
    Proof::new(history, sentence)
        .record(id)
        .at(partition, &[before_offset, offset])
        .events(&story(context, id))
        .events(&story(context, other))
        .done()
}
