//! Tables G and H: effects outside of Kafka, from the source's intent to a system's final state.
//!
//! The truth about an effect is the apply log of its system. One pass collects what was asked for,
//! answered, applied, marked and stored; the end compares that with the log, record by *logical*
//! record ([`lineage::Lineage`]): one effect is owed for each, however many copies of it there are.

pub(crate) mod dedup;
pub(crate) mod delivery;
pub(crate) mod identity;
pub(crate) mod lineage;
pub(crate) mod log;
pub(crate) mod offsets;
pub(crate) mod outbox;
pub(crate) mod resolution;
pub(crate) mod state;
pub(crate) mod story;

use oncesim_history::{ClientKind, Event, ExternalEvent, History, SinkInfo, SystemKind};
use oncesim_types::{GroupId, lineage as values};

use super::Context;
use super::findings::Findings;
use super::group::commits::Commits;
use super::index::NONE;
use super::log::{Ledger, NOT_COMMITTED};
use super::processing::Processing;
use super::transaction::{Fate, Transactions};
use crate::anomaly::AnomalyClass;
use crate::catalogue::{effect as rows, outbox as announced};
use lineage::Lineage;
use log::{Application, EffectLog, Step};
pub(crate) use story::story;

/// What breaks at-most-once at this level, however legal it is.
pub(crate) static TWICE: [&AnomalyClass; 2] =
    [&rows::EFFECT_DUPLICATE, &announced::OUTBOX_DUPLICATE];
/// What breaks at-least-once at this level, however legal it is.
pub(crate) static NEVER: [&AnomalyClass; 3] =
    [&rows::EFFECT_LOST, &rows::LOST_UPDATE, &announced::OUTBOX_MISSING];
/// What else breaks exactly-once at this level, however legal it is.
pub(crate) static EXACTNESS: [&AnomalyClass; 5] = [
    &rows::EFFECT_PHANTOM,
    &rows::PARTIAL_EFFECT,
    &rows::STALE_UPSERT,
    &rows::TOMBSTONE_RESURRECT,
    &announced::OUTBOX_PHANTOM,
];

/// What checkers of this level may look at beside their own tables.
pub(crate) struct Evidence<'e> {
    pub(crate) ledger: &'e Ledger,
    pub(crate) transactions: &'e Transactions,
    pub(crate) effects: &'e Effects,
    /// What is owed, by sink and logical record.
    pub(crate) owed: &'e [Owed],
    /// By logical record: whether a copy of it was visible.
    pub(crate) visible: &'e [bool],
    /// The applications by sink, logical record, step, and then in their order.
    pub(crate) applied: &'e [Application],
    /// By sink: whether all topics of its group were read to their end.
    pub(crate) drained: &'e [bool],
}

impl Evidence<'_> {
    /// The logical record of a record row.
    pub(crate) fn root(&self, record: u32) -> u32 {
        self.effects.lineage.of(record)
    }

    /// What a sink owes for a logical record.
    pub(crate) fn owed_by(&self, sink: u16, root: u32) -> Option<&Owed> {
        let at = self.owed.binary_search_by_key(&(sink, root), |o| (o.sink, o.root));
        at.ok().map(|at| &self.owed[at])
    }

    /// Whether a log has an entry for this step of this logical record.
    pub(crate) fn same(&self, a: Step, b: Step) -> bool {
        (a.sink, a.step, self.root(a.record)) == (b.sink, b.step, self.root(b.record))
    }

    /// The applications for a logical record.
    pub(crate) fn of(&self, sink: u16, root: u32) -> &[Application] {
        let key = |a: &Application| (a.sink, self.root(a.record));
        let from = self.applied.partition_point(|a| key(a) < (sink, root));
        let to = self.applied.partition_point(|a| key(a) <= (sink, root));
        &self.applied[from..to]
    }
}

/// An effect that a logical record asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owed {
    pub(crate) sink: u16,
    pub(crate) root: u32,
    /// Where the log has it first.
    pub(crate) slot: u32,
    pub(crate) record: u32,
    pub(crate) steps: u16,
}

/// What happened outside of Kafka.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) lineage: Lineage,
    pub(crate) log: EffectLog,
    pub(crate) resumes: offsets::Resumes,
    outbox: outbox::Outbox,
    /// Whether a sink applied nothing.
    pub(crate) vacuous: bool,
    /// Whether nothing proves that effects were as they should be.
    pub(crate) unproved: bool,
}

impl Effects {
    pub(crate) fn new(context: &Context<'_>) -> Self {
        Effects { resumes: offsets::Resumes::new(context), ..Effects::default() }
    }

    /// A processor made a record.
    pub(crate) fn on_emitted(
        &mut self,
        context: &Context<'_>,
        position: u32,
        event: &Event,
        kind: &ClientKind,
    ) {
        if let ClientKind::Emitted { record, input, output, .. } = kind
            && is_there(context.history)
        {
            self.lineage.on_emitted(context, event, (*record, *input), *output);
            self.log.on_emitted(context, position, event, (*record, *input));
        }
    }

    /// What applications and systems did.
    pub(crate) fn on_event(
        &mut self,
        context: &Context<'_>,
        position: u32,
        event: &Event,
        external: &ExternalEvent,
    ) {
        self.outbox.on_event(context, position, event, external);
        self.log.on_event(context, position, event, external);
        if let ExternalEvent::OffsetServed { partition, next } = external {
            let client = self.log.reader(context, event.actor);
            self.resumes.on_served(context, position, client, *partition, *next);
        }
    }

    /// Reports what only the end can tell.
    pub(crate) fn check(
        &mut self,
        context: &Context<'_>,
        (ledger, transactions, processing): (&Ledger, &Transactions, &Processing),
        commits: &mut Commits,
        findings: &mut Findings,
    ) {
        if !is_there(context.history) {
            self.unproved = true;
            return;
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        let mut applied = self.log.applications.clone();
        applied.sort_by_key(|a| (a.sink, self.lineage.of(a.record), a.step, a.position));
        let (mut owed, mut drained) = (Vec::new(), Vec::new());
        for (number, info) in (0u16..).zip(&context.history.sinks) {
            let from = owed.len();
            let beside = (ledger, processing);
            drained.push(self.owed(context, beside, commits, (number, info), &mut owed));
            let of_sink = |a: &Application| a.sink == number;
            self.vacuous |= owed.len() == from || !applied.iter().any(of_sink);
        }
        let visible = self.visible(context, ledger, transactions);
        let evidence = Evidence {
            ledger,
            transactions,
            effects: self,
            owed: &owed,
            visible: &visible,
            applied: &applied,
            drained: &drained,
        };
        delivery::check(context, &evidence, findings);
        state::check(context, &evidence, findings);
        identity::check(context, &evidence, findings);
        dedup::check(context, &evidence, findings);
        offsets::check(context, &evidence, findings);
        resolution::check(context, &evidence, findings);
        outbox.check(context, &evidence, findings);
        self.unproved = self.vacuous
            || !context.history.sinks.is_empty() && self.log.asked == 0
            || drained.contains(&false)
            || outbox.unproved(context);
        self.outbox = outbox;
    }

    /// What a sink owes; returns whether everything that it may owe is known.
    fn owed(
        &self,
        context: &Context<'_>,
        (ledger, processing): (&Ledger, &Processing),
        commits: &mut Commits,
        (sink, info): (u16, &SinkInfo),
        owed: &mut Vec<Owed>,
    ) -> bool {
        let (index, setting, from) = (&context.index, &context.setting, owed.len());
        let Some(group) = context.history.groups.get(usize::from(info.group.0)) else {
            return false;
        };
        let mut drained = true;
        for p in group.topics.iter().flat_map(|topic| index.topic(*topic)) {
            if setting.partitions[p as usize].drained.is_none() {
                drained = false;
                continue;
            }
            let start = processing.start(info.group, p, group);
            let end = match setting.restless {
                true => index.slot_from(p, commits.of(context, info.group, p).passed(group)),
                false => index.slots(p).end,
            };
            for slot in index.slot_from(p, start)..end {
                let row = &ledger.slots[slot as usize];
                if row.drained == NONE || row.flags & NOT_COMMITTED != 0 {
                    continue;
                }
                let steps = match is_tombstone(context, ledger, row.drained) {
                    true => u16::from(info.tombstones),
                    false => info.steps,
                };
                if steps > 0 {
                    let (record, root) = (row.drained, self.lineage.of(row.drained));
                    owed.push(Owed { sink, root, slot, record, steps });
                }
            }
        }
        owed[from..].sort_by_key(|o| (o.root, o.slot));
        // One effect for each logical record: where it is first.
        let mut kept = from;
        for at in from..owed.len() {
            if kept == from || owed[kept - 1].root != owed[at].root {
                owed[kept] = owed[at];
                kept += 1;
            }
        }
        owed.truncate(kept);
        drained
    }

    /// Which logical records anybody could see, apart from those of aborted transactions.
    fn visible(
        &self,
        context: &Context<'_>,
        ledger: &Ledger,
        transactions: &Transactions,
    ) -> Vec<bool> {
        let mut visible = vec![false; context.index.records_len];
        for (slot, row) in (0u32..).zip(&ledger.slots) {
            for record in [row.drained, row.polled].into_iter().filter(|record| *record != NONE) {
                let txn = transactions.owner(record, slot);
                if txn == NONE || transactions.rows[txn as usize].fate != Fate::Aborted {
                    visible[self.lineage.of(record) as usize] = true;
                }
            }
        }
        visible
    }

    /// What was seen; nothing where nothing could be.
    pub(crate) fn witnesses(&self, context: &Context<'_>) -> Vec<(&'static str, u64)> {
        let mut seen = Vec::new();
        if !context.history.sinks.is_empty() {
            seen.push(("effects asked for", self.log.asked));
            seen.push(("effects applied", self.log.applications.len() as u64));
            seen.push(("effects that had been done before", self.log.skipped));
        }
        if is_there(context.history) {
            seen.extend(self.outbox.witnesses(context));
        }
        seen
    }
}

/// Whether anything happens outside of Kafka.
pub(crate) fn is_there(history: &History) -> bool {
    !(history.sinks.is_empty() && history.announcements.is_empty() && history.relays.is_empty())
}

/// What kind of system a sink's is.
pub(crate) fn system_kind(history: &History, info: &SinkInfo) -> Option<SystemKind> {
    match history.actors.get(usize::from(info.system.0)).map(|actor| &actor.role) {
        Some(oncesim_history::ActorRole::System(kind)) => Some(*kind),
        _ => None,
    }
}

/// Whether a record was sent without a value.
pub(crate) fn is_tombstone(context: &Context<'_>, ledger: &Ledger, record: u32) -> bool {
    let row = &ledger.records[record as usize];
    row.invoked != NONE && row.payload == values::payload(context.index.record_id(record), None)
}

/// Whether a member of a group reads what is not committed.
pub(crate) fn reads_uncommitted(context: &Context<'_>, group: GroupId) -> bool {
    context.history.actors.iter().any(|actor| {
        actor.role == oncesim_history::ActorRole::Consumer(group) && !actor.read_committed
    })
}
