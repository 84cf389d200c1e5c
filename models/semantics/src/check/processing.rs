//! Table F without transactions: `lost-processing` and `dup-processing`.
//!
//! The input is what the log holds: a record that is in the log twice is two inputs. The outcome of
//! an input is that the application of a group has finished it. In a world that never came to rest
//! an input without an outcome is lost only if the group has certainly committed past it.

use std::collections::BTreeMap;

use oncesim_history::{ClientKind, EventKind, GroupInfo, PolledRecord, PositionReason};
use oncesim_types::{GroupId, Offset, RecordId, TopicPartition};

use super::Context;
use super::findings::{Findings, Proof, record_name, time_of};
use super::group::commits::Commits;
use super::index::NONE;
use super::log::Ledger;
use super::log::integrity::first_read;
use crate::anomaly::{Severity, Witness};
use crate::catalogue::consumer::DUPLICATE_DELIVERY;
use crate::catalogue::processing::{DUP_PROCESSING, LOST_PROCESSING};

/// What one group did with the record at one offset.
#[derive(Debug, Clone, Copy)]
struct InputRow {
    /// The record that was processed.
    record: u32,
    /// How often.
    outcomes: u32,
    /// How often a poll delivered it.
    deliveries: u32,
}

impl InputRow {
    const EMPTY: InputRow = InputRow { record: NONE, outcomes: 0, deliveries: 0 };
}

/// One group.
#[derive(Debug, Default)]
struct GroupTable {
    /// Whether it had a member.
    active: bool,
    /// By slot; empty until something is processed.
    inputs: Vec<InputRow>,
    /// Further records that were processed at an offset that stood for another one before.
    replaced: BTreeMap<(u32, u32), u32>,
    /// By partition row: where it began, when it does not begin at the log start.
    start: Vec<Option<i64>>,
}

/// What every group did.
#[derive(Debug)]
pub(crate) struct Processing {
    groups: Vec<GroupTable>,
    /// How many outcomes were seen.
    pub(crate) outcomes: u64,
    /// Whether an input of an active group could not be judged for lack of a drain.
    pub(crate) undrained: bool,
}

impl Processing {
    pub(crate) fn new(context: &Context<'_>) -> Self {
        let mut groups = Vec::new();
        groups.resize_with(context.history.groups.len(), GroupTable::default);
        Processing { groups, outcomes: 0, undrained: false }
    }

    fn group(&mut self, group: GroupId) -> &mut GroupTable {
        let row = usize::from(group.0);
        if self.groups.len() <= row {
            self.groups.resize_with(row + 1, GroupTable::default);
        }
        &mut self.groups[row]
    }

    /// A group has a member.
    pub(crate) fn on_member(&mut self, group: GroupId) {
        self.group(group).active = true;
    }

    /// A group without offsets begins somewhere.
    pub(crate) fn on_position(
        &mut self,
        context: &Context<'_>,
        group: GroupId,
        partition: TopicPartition,
        to: Offset,
        reason: PositionReason,
    ) {
        let partitions = context.index.partitions.len();
        let Some(p) = context.index.partition(partition) else { return };
        let table = self.group(group);
        if table.start.is_empty() {
            table.start.resize(partitions, None);
        }
        if reason == PositionReason::NoCommittedOffset && table.start[p as usize].is_none() {
            table.start[p as usize] = Some(to.0);
        }
    }

    /// The application of a group finished a record.
    pub(crate) fn on_processed(
        &mut self,
        context: &Context<'_>,
        group: GroupId,
        partition: TopicPartition,
        offset: Offset,
        record: RecordId,
    ) {
        self.outcomes += 1;
        let index = &context.index;
        let Some(slot) = index.partition(partition).and_then(|p| index.slot(p, offset)) else {
            return;
        };
        let record = index.record(record).expect("the index has every record");
        let table = self.group(group);
        table.active = true;
        let input = table.input(context, slot);
        if input.record == NONE || input.record == record {
            input.record = record;
            input.outcomes += 1;
        } else {
            *table.replaced.entry((slot, record)).or_insert(0) += 1;
        }
    }

    /// A poll delivered an offset to a group.
    pub(crate) fn on_delivered(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        group: GroupId,
        polled: &PolledRecord,
    ) {
        let index = &context.index;
        let Some(slot) =
            index.partition(polled.partition).and_then(|p| index.slot(p, polled.offset))
        else {
            return;
        };
        let input = self.group(group).input(context, slot);
        input.deliveries += 1;
        if input.deliveries > 1 {
            findings.add(&DUPLICATE_DELIVERY, Severity::Informative, || {
                let history = context.history;
                let event = &history.events[position as usize];
                let sentence = format!(
                    "group {} was given {} ({} offset {}) again, by a poll of {} at {}",
                    history.group_name(group),
                    record_name(history, polled.record),
                    history.partition_name(polled.partition),
                    polled.offset,
                    history.actor_name(event.actor),
                    event.time,
                );
                Proof::new(history, sentence)
                    .record(polled.record)
                    .at(polled.partition, &[polled.offset.0])
                    .events(&[first_read(context, polled.partition, polled.offset.0), position])
                    .done()
            });
        }
    }

    /// Whether a group was given the record at a slot and has not finished it, as far as its
    /// consumers say; a processor's word is its output.
    pub(crate) fn is_open(&self, context: &Context<'_>, group: GroupId, slot: u32) -> bool {
        let info = context.history.groups.get(usize::from(group.0));
        if info.is_some_and(|info| info.processor.is_some()) {
            return false;
        }
        let input = self.groups.get(usize::from(group.0)).map(|g| g.inputs.get(slot as usize));
        matches!(input, Some(Some(InputRow { outcomes: 0, deliveries: 1.., .. })))
    }

    /// Whether a group was given the record at a slot.
    pub(crate) fn is_delivered(&self, group: GroupId, slot: u32) -> bool {
        let table = self.groups.get(usize::from(group.0));
        table.and_then(|t| t.inputs.get(slot as usize)).is_some_and(|input| input.deliveries > 0)
    }

    /// The first offset of a partition that is a group's business.
    pub(crate) fn start(&self, group: GroupId, p: u32, info: &GroupInfo) -> i64 {
        let table = self.groups.get(usize::from(group.0));
        let start = table.and_then(|t| t.start.get(p as usize).copied().flatten());
        if info.from_earliest { i64::MIN } else { start.unwrap_or(i64::MAX) }
    }

    /// Whether a group was there.
    pub(crate) fn is_active(&self, group: GroupId) -> bool {
        self.groups.get(usize::from(group.0)).is_some_and(|table| table.active)
    }

    /// Reports lost and repeated inputs.
    pub(crate) fn check(
        &mut self,
        context: &Context<'_>,
        ledger: &Ledger,
        commits: &mut Commits,
        findings: &mut Findings,
    ) {
        let mut undrained = false;
        for (group, table) in (0u16..).zip(&self.groups) {
            let group_info = context.history.groups.get(usize::from(group));
            if table.active && group_info.is_none_or(|info| info.processor.is_none()) {
                table.repeated(context, GroupId(group), findings);
                undrained |= table.lost(context, ledger, commits, GroupId(group), findings);
            }
        }
        self.undrained = undrained;
    }
}

impl GroupTable {
    fn input(&mut self, context: &Context<'_>, slot: u32) -> &mut InputRow {
        if self.inputs.is_empty() {
            self.inputs.resize(context.index.slots_len, InputRow::EMPTY);
        }
        &mut self.inputs[slot as usize]
    }

    /// How often the group finished `record` at a slot.
    fn outcomes(&self, slot: u32, record: u32) -> u32 {
        match self.inputs.get(slot as usize) {
            Some(input) if input.record == record => input.outcomes,
            Some(_) => self.replaced.get(&(slot, record)).copied().unwrap_or(0),
            None => 0,
        }
    }

    fn repeated(&self, context: &Context<'_>, group: GroupId, findings: &mut Findings) {
        let first = (0u32..).zip(&self.inputs).map(|(slot, i)| (slot, i.record, i.outcomes));
        let others = self.replaced.iter().map(|((slot, record), n)| (*slot, *record, *n));
        for (slot, record, outcomes) in first.chain(others) {
            if outcomes > 1 {
                findings.add(&DUP_PROCESSING, Severity::Legal, || {
                    repeated_witness(context, group, slot, record, outcomes)
                });
            }
        }
    }

    /// Reports inputs that were never finished; returns whether some could not be judged.
    fn lost(
        &self,
        context: &Context<'_>,
        ledger: &Ledger,
        commits: &mut Commits,
        group: GroupId,
        findings: &mut Findings,
    ) -> bool {
        let mut undrained = false;
        let Some(info) = context.history.groups.get(usize::from(group.0)) else { return true };
        for topic in &info.topics {
            for p in context.index.topic(*topic) {
                if context.setting.partitions[p as usize].drained.is_none() {
                    undrained = true;
                    continue;
                }
                let start = match (info.from_earliest, self.start.get(p as usize)) {
                    (true, _) => i64::MIN,
                    (false, Some(Some(start))) => *start,
                    (false, _) => i64::MAX,
                };
                let end = match context.setting.restless {
                    true => context.index.slot_from(p, commits.of(context, group, p).passed(info)),
                    false => context.index.slots(p).end,
                };
                for slot in context.index.slot_from(p, start)..end {
                    let record = ledger.slots[slot as usize].drained;
                    if record != NONE && self.outcomes(slot, record) == 0 {
                        findings.add(&LOST_PROCESSING, Severity::Legal, || {
                            lost_witness(context, group, slot, record)
                        });
                    }
                }
            }
        }
        undrained
    }
}

fn repeated_witness(
    context: &Context<'_>,
    group: GroupId,
    slot: u32,
    record: u32,
    outcomes: u32,
) -> Witness {
    let history = context.history;
    let (p, offset) = context.index.place(slot);
    let partition = context.index.partitions[p as usize];
    let id = context.index.record_id(record);
    let mut events = Vec::new();
    let mut by: Vec<String> = Vec::new();
    for (position, event) in (0u32..).zip(&history.events) {
        if let EventKind::Client(ClientKind::Processed {
            group: g, partition: at, offset: o, ..
        }) = &event.kind
            && (*g, *at, o.0) == (group, partition, offset)
        {
            events.push(position);
            by.push(format!("by {} at {}", history.actor_name(event.actor), event.time));
        }
    }
    let shown = by.len().min(3);
    let sentence = format!(
        "group {} processed {} ({} offset {offset}) {outcomes} times: {}",
        history.group_name(group),
        record_name(history, id),
        history.partition_name(partition),
        by[..shown].join(", "),
    );
    Proof::new(history, sentence).record(id).at(partition, &[offset]).events(&events).done()
}

fn lost_witness(context: &Context<'_>, group: GroupId, slot: u32, record: u32) -> Witness {
    let history = context.history;
    let (p, offset) = context.index.place(slot);
    let partition = context.index.partitions[p as usize];
    let id = context.index.record_id(record);
    let drained = context.setting.partitions[p as usize].drained.map_or(NONE, |d| d.2);
    let mut events = vec![drained];
    let mut story = ", and no consumer of the group was given it".to_owned();
    for (position, event) in (0u32..).zip(&history.events) {
        if let EventKind::Client(ClientKind::PollEnd { group: Some(g), records }) = &event.kind
            && *g == group
            && history
                .polled(*records)
                .iter()
                .any(|polled| (polled.partition, polled.offset.0) == (partition, offset))
        {
            let (name, when) = (history.actor_name(event.actor), time_of(history, position));
            story = format!(", although {name} got it at {when}");
            events.push(position);
        } else if let EventKind::Client(ClientKind::CommitInvoke { group: g, offsets, .. }) =
            &event.kind
            && *g == group
            && events.len() < 8
            && history
                .commits(*offsets)
                .iter()
                .any(|commit| commit.partition == partition && commit.offset.0 == offset + 1)
        {
            events.push(position);
        }
    }
    let sentence = format!(
        "group {} never processed {} ({} offset {offset}){story}",
        history.group_name(group),
        record_name(history, id),
        history.partition_name(partition),
    );
    Proof::new(history, sentence).record(id).at(partition, &[offset]).events(&events).done()
}
