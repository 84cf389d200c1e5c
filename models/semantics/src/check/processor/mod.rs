//! Table F for processors: consume, transform, produce.
//!
//! An outcome is a logical output (an input and which output of it) that the log shows: of a
//! transactional processor, one that was committed. The input is what the log holds; what its
//! outputs should be is computed again from identities alone.

pub(crate) mod state;
pub(crate) mod takeover;

use oncesim_history::{ActorRole, Event, GroupInfo, Output, ProcessorInfo};
use oncesim_types::{GroupId, Offset, RecordId, TopicPartition, Transform, lineage};

use super::Context;
use super::findings::{Findings, Proof, record_name, time_of};
use super::group::commits::{Commits, Range};
use super::index::NONE;
use super::log::{DRAINED_COMMITTED, Ledger, Standing};
use super::processing::Processing;
use super::transaction::Transactions;
use crate::anomaly::{AnomalyClass, Severity, Witness};
use crate::catalogue::processing::{
    DUP_PROCESSING, EOS_PREFIX_MISMATCH, LOST_PROCESSING, OFFSET_AHEAD_OF_OUTPUT, ORPHAN_OUTPUT,
    OUTPUT_AHEAD_OF_OFFSET, PIPELINE_KEY_ORDER, STATE_FINGERPRINT_MISMATCH, WRONG_TRANSFORM,
};

/// A record that a processor made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Emit {
    /// Where its input was.
    pub(crate) slot: u32,
    pub(crate) output: Output,
    pub(crate) position: u32,
    pub(crate) group: u16,
    pub(crate) actor: u16,
    /// The record, and its input.
    pub(crate) record: u32,
    pub(crate) input: u32,
}

/// All processors.
#[derive(Debug, Default)]
pub(crate) struct Processors {
    emits: Vec<Emit>,
    pub(crate) restores: Vec<state::Restore>,
    pub(crate) takeovers: takeover::Takeovers,
    /// How many outputs the log shows.
    pub(crate) outputs: u64,
    /// Whether a group's work could not be judged for lack of a drain, or nothing came of it.
    pub(crate) unproved: bool,
    /// Whether there is a processor whose outputs nobody could see.
    pub(crate) vacuous: bool,
}

impl Processors {
    /// A processor made a record.
    pub(crate) fn on_emitted(
        &mut self,
        context: &Context<'_>,
        position: u32,
        event: &Event,
        (record, input): (RecordId, RecordId),
        (partition, offset): (TopicPartition, Offset),
        output: Output,
    ) -> Option<u32> {
        let index = &context.index;
        let role = &context.history.actors.get(usize::from(event.actor.0))?.role;
        let ActorRole::Consumer(GroupId(group)) = *role else { return None };
        let slot = index.partition(partition).and_then(|p| index.slot(p, offset))?;
        let [record, input] =
            [record, input].map(|r| index.record(r).expect("the index has every record"));
        let actor = event.actor.0;
        self.emits.push(Emit { slot, output, position, group, actor, record, input });
        Some(slot)
    }

    /// Reports what processors did with their input.
    pub(crate) fn check(
        &mut self,
        context: &Context<'_>,
        ledger: &Ledger,
        (transactions, processing): (&Transactions, &Processing),
        commits: &mut Commits,
        findings: &mut Findings,
    ) {
        self.emits.sort_unstable_by_key(|e| (e.group, e.slot, e.output, e.position));
        for (group, info) in (0u16..).zip(&context.history.groups) {
            let Some(processor) = &info.processor else { continue };
            let group = GroupId(group);
            let from = self.emits.partition_point(|e| e.group < group.0);
            let to = self.emits.partition_point(|e| e.group <= group.0);
            if from == to && !processing.is_active(group) {
                continue;
            }
            let seen = |topic: &oncesim_types::TopicId| {
                let mut partitions = context.index.topic(*topic);
                partitions.all(|p| context.setting.partitions[p as usize].drained.is_some())
            };
            let changelog = match processor.transform {
                Transform::Aggregate { changelog } => Some(changelog),
                _ => None,
            };
            let mut task = Task {
                context,
                ledger,
                processing,
                info,
                processor,
                group,
                drained: processor.to.iter().chain(&changelog).all(seen),
                outputs: 0,
                unproved: !processor.to.iter().chain(&info.topics).all(seen),
                aggregates: state::Aggregates::default(),
            };
            let emits = &self.emits[from..to];
            task.inputs(emits, commits, findings);
            task.payloads(emits, findings);
            task.key_order(emits, findings);
            if processor.transactional {
                let takeovers = &self.takeovers;
                takeovers.check(context, ledger, transactions, (group, emits), findings);
                task.aggregates.restores(context, ledger, processor, &self.restores, findings);
            }
            self.outputs += task.outputs;
            self.vacuous |= task.outputs == 0;
            self.unproved |= task.unproved || task.outputs == 0;
        }
    }
}

/// One group of processors.
pub(crate) struct Task<'c, 'h> {
    context: &'c Context<'h>,
    ledger: &'c Ledger,
    processing: &'c Processing,
    info: &'c GroupInfo,
    processor: &'c ProcessorInfo,
    group: GroupId,
    /// Whether every output topic was read to its end.
    drained: bool,
    outputs: u64,
    unproved: bool,
    aggregates: state::Aggregates,
}

/// How many copies of a record count.
pub(crate) fn copies(ledger: &Ledger, record: u32) -> u32 {
    let row = &ledger.records[record as usize];
    let leaked = row.standing == Standing::NotCommitted
        && row.place != NONE
        && ledger.slots[row.place as usize].flags & DRAINED_COMMITTED == 0;
    if leaked { 0 } else { u32::from(row.places) }
}

/// What one input partition amounts to.
#[derive(Debug, Default)]
struct Tally {
    missing: u64,
    doubled: u64,
    ahead: u64,
    orphans: u64,
    /// A record that shows it.
    shown: Option<(u32, u32)>,
}

impl Task<'_, '_> {
    /// Compares each input with its outputs.
    fn inputs(&mut self, emits: &[Emit], commits: &mut Commits, findings: &mut Findings) {
        for topic in self.info.topics.clone() {
            for p in self.context.index.topic(topic) {
                if self.context.setting.partitions[p as usize].drained.is_none() {
                    continue;
                }
                let committed = commits.of(self.context, self.group, p);
                let range = committed.plausible(Some(self.info));
                let certain = committed.is_certain();
                let start = self.context.index.slots(p).start;
                let mut next = emits.partition_point(|e| e.slot < start);
                let tally = self.partition(p, &mut next, emits, (range, certain), findings);
                self.mismatch(p, &tally, range, findings);
            }
        }
    }

    fn partition(
        &mut self,
        p: u32,
        next: &mut usize,
        emits: &[Emit],
        (range, certain): (Range, bool),
        findings: &mut Findings,
    ) -> Tally {
        let context = self.context;
        let start = self.processing.start(self.group, p, self.info);
        let from = context.setting.partitions[p as usize].drained.map_or(0, |d| d.0);
        let mut tally = Tally::default();
        self.aggregates.begin_partition();
        for slot in context.index.slots(p) {
            let first = *next;
            while emits.get(*next).is_some_and(|e| e.slot == slot) {
                *next += 1;
            }
            let made = &emits[first..*next];
            let input = self.ledger.slots[slot as usize].drained;
            let offset = context.index.offset(p, slot);
            for emit in made.iter().filter(|e| e.input != input && offset >= from) {
                if copies(self.ledger, emit.record) > 0 {
                    tally.orphans += 1;
                    tally.shown = Some((slot, emit.record));
                    findings.add(&ORPHAN_OUTPUT, Severity::Legal, || self.orphan(emit));
                }
            }
            if input == NONE {
                continue;
            }
            if matches!(self.processor.transform, Transform::Aggregate { .. }) {
                self.aggregates.step(context, self.ledger, (slot, input), made, findings);
            }
            if offset < start {
                continue;
            }
            let known = (range, certain);
            self.input((slot, offset, input), made, known, &mut tally, findings);
        }
        tally
    }

    /// One input and what was made of it.
    fn input(
        &mut self,
        (slot, offset, input): (u32, i64, u32),
        made: &[Emit],
        (range, certain): (Range, bool),
        tally: &mut Tally,
        findings: &mut Findings,
    ) {
        let id = self.context.index.record_id(input);
        let (mut missing, mut any) = (false, false);
        let expected = self.expected(id, self.ledger.records[input as usize].key);
        for n in 0..expected {
            let output = match (self.processor.transform, n) {
                (Transform::Aggregate { .. }, 0) => Output::Aggregate,
                (Transform::Aggregate { .. }, _) => Output::Changelog,
                (_, n) => Output::Ordinal(n),
            };
            let same = made.iter().filter(|e| e.output == output && e.input == input);
            let count: u32 = same.map(|e| copies(self.ledger, e.record)).sum();
            missing |= count == 0;
            any |= count > 0;
            self.outputs += u64::from(count);
            if count > 1 {
                tally.doubled += 1;
                tally.shown = Some((slot, input));
                findings.add(&DUP_PROCESSING, Severity::Legal, || {
                    self.doubled(slot, input, output, made, count)
                });
            }
        }
        let transactional = self.processor.transactional;
        let due = !self.context.setting.restless || certain && offset < range.lo;
        // A record that a filter drops leaves no trace but the offset beyond it.
        let dropped = expected == 0
            && range.hi <= offset
            && (transactional || !self.processing.is_delivered(self.group, slot));
        if due && (missing && self.drained || dropped) {
            findings.add(&LOST_PROCESSING, Severity::Legal, || self.lost(slot, input, made));
        }
        if !transactional || !certain || !self.drained {
            return;
        }
        if any && offset >= range.hi {
            tally.ahead += 1;
            tally.shown = Some((slot, input));
            findings.add(&OUTPUT_AHEAD_OF_OFFSET, Severity::Legal, || {
                let what = format!("is visible, and the committed offset is {}", range.hi);
                self.about(slot, input, made, &what)
            });
        }
        if missing && offset < range.lo {
            tally.missing += 1;
            tally.shown = Some((slot, input));
            findings.add(&OFFSET_AHEAD_OF_OUTPUT, Severity::Legal, || {
                let what = format!("is missing, and the committed offset is {}", range.lo);
                self.about(slot, input, made, &what)
            });
        }
    }

    /// How many outputs an input has.
    fn expected(&self, input: RecordId, key: Option<u32>) -> u16 {
        match self.processor.transform {
            Transform::Map => 1,
            Transform::FanOut { outputs } => {
                let topics = u16::try_from(self.processor.to.len()).unwrap_or(u16::MAX);
                outputs.saturating_mul(topics)
            }
            Transform::Filter { per_million } => u16::from(lineage::keeps(input, per_million)),
            // What has no key belongs to no aggregate.
            Transform::Aggregate { .. } => 2 * u16::from(key.is_some()),
        }
    }

    fn mismatch(&self, p: u32, tally: &Tally, range: Range, findings: &mut Findings) {
        let Some((slot, record)) = tally.shown.filter(|_| self.processor.transactional) else {
            return;
        };
        findings.add(&EOS_PREFIX_MISMATCH, Severity::Legal, || {
            let at = self.context.index.partitions[p as usize];
            let sentence = format!(
                "group {} has committed {} on {}; of its inputs below, {} lack an output; {} \
                 outputs are there more than once, {} belong to inputs beyond, {} to no input",
                self.info.name,
                range.hi,
                self.context.history.partition_name(at),
                tally.missing,
                tally.doubled,
                tally.ahead,
                tally.orphans,
            );
            Proof::new(self.context.history, sentence)
                .record(self.context.index.record_id(record))
                .at(at, &[self.context.index.place(slot).1])
                .done()
        });
    }

    /// The values of stateless outputs.
    fn payloads(&self, emits: &[Emit], findings: &mut Findings) {
        for emit in emits {
            let Output::Ordinal(n) = emit.output else { continue };
            let row = &self.ledger.records[emit.record as usize];
            if row.invoked == NONE || row.places == 0 || row.payload == 0 {
                continue;
            }
            let [id, input] = [emit.record, emit.input].map(|r| self.context.index.record_id(r));
            if row.payload != lineage::payload(id, Some(lineage::transformed(input, n))) {
                findings.add(&WRONG_TRANSFORM, Severity::Always, || {
                    let what = "does not have the value that its input gives";
                    self.of_emit(emit, what)
                });
            }
        }
    }

    /// Outputs of one key and input partition, in the order of the log.
    fn key_order(&self, emits: &[Emit], findings: &mut Findings) {
        let index = &self.context.index;
        let mut order: Vec<(u32, u32, u32, u32, u32, u32)> = Vec::new();
        let mut last: Option<(u32, Output, usize)> = None;
        for (nth, emit) in (0u32..).zip(emits) {
            let row = &self.ledger.records[emit.record as usize];
            let (Some(key), false) =
                (self.ledger.records[emit.input as usize].key, row.place == NONE)
            else {
                continue;
            };
            // Of one logical output the first copy counts.
            if let Some((slot, output, at)) = last
                && (slot, output) == (emit.slot, emit.output)
            {
                if row.place < order[at].3 {
                    order[at].3 = row.place;
                    order[at].5 = nth;
                }
                continue;
            }
            last = Some((emit.slot, emit.output, order.len()));
            let (p, _) = index.place(emit.slot);
            let (to, _) = index.place(row.place);
            order.push((p, key, to, row.place, emit.slot, nth));
        }
        order.sort_unstable();
        let severity = if self.processor.transactional {
            Severity::UnderThisConfiguration
        } else {
            Severity::Legal
        };
        for pair in order.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            if (a.0, a.1, a.2) == (b.0, b.1, b.2) && b.4 < a.4 {
                findings.add(&PIPELINE_KEY_ORDER, severity, || {
                    let (first, second) = (&emits[a.5 as usize], &emits[b.5 as usize]);
                    let name =
                        |e: &Emit| record_name(self.context.history, index.record_id(e.record));
                    let what = format!(
                        "with key {} stands before {}, which was made from the earlier offset {}",
                        a.1,
                        name(second),
                        index.place(second.slot).1,
                    );
                    self.of_emit(first, &what)
                });
            }
        }
    }

    fn of_emit(&self, emit: &Emit, what: &str) -> Witness {
        let history = self.context.history;
        let (p, offset) = self.context.index.place(emit.slot);
        let at = self.context.index.partitions[p as usize];
        let id = self.context.index.record_id(emit.record);
        let sentence = format!(
            "{}, made from {} offset {offset} by {} at {}, {what}",
            record_name(history, id),
            history.partition_name(at),
            history.actor_name(oncesim_types::ActorId(emit.actor)),
            time_of(history, emit.position),
        );
        let row = &self.ledger.records[emit.record as usize];
        Proof::new(history, sentence)
            .record(id)
            .at(at, &[offset])
            .events(&[emit.position, row.invoked])
            .done()
    }

    fn orphan(&self, emit: &Emit) -> Witness {
        let input = self.context.index.record_id(emit.input);
        let what = format!(
            "is visible, and the log does not show {} there",
            record_name(self.context.history, input)
        );
        self.of_emit(emit, &what)
    }

    fn lost(&self, slot: u32, input: u32, made: &[Emit]) -> Witness {
        let what = match made.len() {
            0 => "was never made",
            _ => "was made and is not in the log",
        };
        self.about(slot, input, made, what)
    }

    fn doubled(&self, slot: u32, input: u32, output: Output, made: &[Emit], n: u32) -> Witness {
        let same = made.iter().filter(|e| e.output == output && copies(self.ledger, e.record) > 0);
        let by: Vec<String> = same
            .take(3)
            .map(|e| {
                let id = self.context.index.record_id(e.record);
                let who = self.context.history.actor_name(oncesim_types::ActorId(e.actor));
                let when = time_of(self.context.history, e.position);
                format!("{} by {who} at {when}", record_name(self.context.history, id))
            })
            .collect();
        self.about(slot, input, made, &format!("is in the log {n} times: {}", by.join(", ")))
    }

    fn about(&self, slot: u32, input: u32, made: &[Emit], what: &str) -> Witness {
        let history = self.context.history;
        let (p, offset) = self.context.index.place(slot);
        let at = self.context.index.partitions[p as usize];
        let id = self.context.index.record_id(input);
        let sentence = format!(
            "group {}: the output of {} ({} offset {offset}) {what}",
            self.info.name,
            record_name(history, id),
            history.partition_name(at),
        );
        let mut events: Vec<u32> = Vec::new();
        for emit in made.iter().take(6) {
            let row = &self.ledger.records[emit.record as usize];
            events.extend([emit.position, row.invoked, row.acked]);
        }
        events.push(self.context.setting.partitions[p as usize].drained.map_or(NONE, |d| d.2));
        Proof::new(history, sentence).record(id).at(at, &[offset]).events(&events).done()
    }
}

/// What judges a whole processing level beside losses and repetitions.
pub(crate) const EXACTNESS: [&AnomalyClass; 5] = [
    &ORPHAN_OUTPUT,
    &OUTPUT_AHEAD_OF_OFFSET,
    &OFFSET_AHEAD_OF_OUTPUT,
    &EOS_PREFIX_MISMATCH,
    &STATE_FINGERPRINT_MISMATCH,
];
