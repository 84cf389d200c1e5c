//! `offset-effect-skew` and `zombie-effect`: offsets and fencing tokens beside effects.
//!
//! *Skew*: a sink that stores offsets in the transaction of its effects has a commit where the two
//! disagree: an offset passes a record whose effect no commit up to this one has, or an effect lies
//! at or beyond the offset of its commit. Or a consumer was told where to go on, and went on
//! somewhere else; it may go on with what it had been given before. A record that is in the log several times counts where it is first.
//!
//! *Zombie*: an effect changed something under a token that is lower than one which the system had
//! accepted before for the same partition.

use std::collections::BTreeMap;

use oncesim_history::{Event, PolledRecord, PositionReason, SinkInfo, SpanIndex};
use oncesim_types::{ActorId, Offset, TopicPartition};

use super::log::Stored;
use super::{Evidence, Owed, story};
use crate::anomaly::Severity;
use crate::catalogue::effect::{OFFSET_EFFECT_SKEW, ZOMBIE_EFFECT};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;

/// A client that went on where it had not been told to.
#[derive(Debug, Clone, Copy)]
struct Elsewhere {
    p: u32,
    told: i64,
    /// The first offset that it was given, or that it asked for.
    at: i64,
    /// Whether it asked for it: then no record need be in between.
    asked: bool,
    events: (u32, u32),
}

/// Where clients go on, against where systems told them to.
#[derive(Debug, Default)]
pub(crate) struct Resumes {
    /// Whether any sink stores offsets.
    follows: bool,
    /// By client and partition row: the offset that it was told, when, and in which process.
    told: BTreeMap<(u16, u32), (i64, u32, u32)>,
    /// By client and partition row: the offset after what it was given, and in which process.
    given: BTreeMap<(u16, u32), (i64, u32)>,
    elsewhere: Vec<Elsewhere>,
}

impl Resumes {
    pub(crate) fn new(context: &Context<'_>) -> Self {
        let follows = context.history.sinks.iter().any(|sink| sink.stores_offsets);
        Resumes { follows, ..Resumes::default() }
    }

    /// A system told a client how far a partition was consumed.
    pub(crate) fn on_served(
        &mut self,
        context: &Context<'_>,
        position: u32,
        client: Option<(u16, u32)>,
        partition: TopicPartition,
        next: Offset,
    ) {
        let (Some((actor, incarnation)), Some(p)) = (client, context.index.partition(partition))
        else {
            return;
        };
        if next.0 >= 0 {
            self.told.insert((actor, p), (next.0, position, incarnation));
        } else {
            self.told.remove(&(actor, p));
        }
    }

    fn take(&mut self, event: &Event, p: u32) -> Option<(i64, u32)> {
        let (told, since, incarnation) = self.told.remove(&(event.actor.0, p))?;
        (incarnation == event.incarnation).then_some((told, since))
    }

    /// A client sets its position.
    pub(crate) fn on_position(
        &mut self,
        context: &Context<'_>,
        position: u32,
        event: &Event,
        partition: TopicPartition,
        (to, reason): (Offset, PositionReason),
    ) {
        if self.told.is_empty() || reason != PositionReason::Seek {
            return;
        }
        let Some(p) = context.index.partition(partition) else { return };
        if let Some((told, since)) = self.take(event, p)
            && told != to.0
        {
            let (at, asked, events) = (to.0, true, (since, position));
            self.elsewhere.push(Elsewhere { p, told, at, asked, events });
        }
    }

    /// A client was given a record.
    pub(crate) fn on_polled(
        &mut self,
        context: &Context<'_>,
        position: u32,
        event: &Event,
        polled: &PolledRecord,
    ) {
        if !self.follows {
            return;
        }
        let Some(p) = context.index.partition(polled.partition) else { return };
        let at = polled.offset.0;
        let given = self.given.insert((event.actor.0, p), (at + 1, event.incarnation));
        let Some((told, since)) = self.take(event, p) else { return };
        // It may have kept what it was given before, and gone on with that.
        let kept = given == Some((at, event.incarnation)) && told <= at;
        if told != at && !kept {
            let (asked, events) = (false, (since, position));
            self.elsewhere.push(Elsewhere { p, told, at, asked, events });
        }
    }

    /// A client gives partitions back.
    pub(crate) fn on_revoked(
        &mut self,
        context: &Context<'_>,
        actor: ActorId,
        partitions: SpanIndex,
    ) {
        if !self.follows {
            return;
        }
        for partition in context.history.partitions(partitions) {
            if let Some(p) = context.index.partition(*partition) {
                self.told.remove(&(actor.0, p));
                self.given.remove(&(actor.0, p));
            }
        }
    }

    fn check(&self, context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
        for resume in &self.elsewhere {
            let index = &context.index;
            let (from, to) =
                (index.slot_from(resume.p, resume.told), index.slot_from(resume.p, resume.at));
            let skips = |slot: u32| {
                let row = &evidence.ledger.slots[slot as usize];
                row.drained != NONE && row.flags & crate::check::log::NOT_COMMITTED == 0
            };
            // Offsets without a record for it may lie between.
            if !resume.asked && resume.at > resume.told && !(from..to).any(skips) {
                continue;
            }
            findings.add(&OFFSET_EFFECT_SKEW, Severity::UnderThisConfiguration, || {
                let history = context.history;
                let at = index.partitions[resume.p as usize];
                let event = &history.events[resume.events.1 as usize];
                let sentence = format!(
                    "{} was told to go on at {} offset {}, and went on at {} at {}",
                    history.actor_name(event.actor),
                    history.partition_name(at),
                    resume.told,
                    resume.at,
                    event.time,
                );
                Proof::new(history, sentence)
                    .at(at, &[resume.told, resume.at])
                    .events(&[resume.events.0, resume.events.1])
                    .done()
            });
        }
    }
}

/// Reports the rows of this file.
pub(crate) fn check(context: &Context<'_>, evidence: &Evidence<'_>, findings: &mut Findings) {
    evidence.effects.resumes.check(context, evidence, findings);
    for (sink, info) in (0u16..).zip(&context.history.sinks) {
        if info.stores_offsets {
            beyond(context, evidence, (sink, info), findings);
            passed(context, evidence, (sink, info), findings);
        }
        zombies(context, evidence, (sink, info), findings);
    }
}

/// The offsets that a sink's system has accepted for partitions of its group, in their order.
fn accepted<'e>(
    context: &'e Context<'_>,
    evidence: &'e Evidence<'_>,
    info: &'e SinkInfo,
) -> impl Iterator<Item = &'e Stored> {
    let topics = context.history.groups.get(usize::from(info.group.0)).map(|group| &group.topics);
    evidence.effects.log.stored.iter().filter(move |stored| {
        let topic = context.index.partitions[stored.p as usize].topic;
        stored.accepted
            && stored.system == info.system.0
            && topics.is_some_and(|topics| topics.contains(&topic))
    })
}

/// Effects at or beyond the offset that their commit stores.
fn beyond(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    (sink, info): (u16, &SinkInfo),
    findings: &mut Findings,
) {
    let mut by_commit: BTreeMap<(u64, u32), i64> = BTreeMap::new();
    for stored in accepted(context, evidence, info) {
        let next = by_commit.entry((stored.commit, stored.p)).or_insert(i64::MIN);
        *next = (*next).max(stored.next);
    }
    for applied in evidence.applied.iter().filter(|a| a.sink == sink) {
        let Some(owed) = evidence.owed_by(sink, evidence.root(applied.record)) else { continue };
        let (p, offset) = context.index.place(owed.slot);
        let next = by_commit.get(&(applied.commit, p)).copied();
        if next.is_some_and(|next| next > offset) {
            continue;
        }
        findings.add(&OFFSET_EFFECT_SKEW, Severity::UnderThisConfiguration, || {
            let history = context.history;
            let (at, id) =
                (context.index.partitions[p as usize], context.index.record_id(owed.record));
            let what = next.map_or_else(
                || "stores no offset of its partition".to_owned(),
                |next| format!("stores {next} as the offset to go on from"),
            );
            let sentence = format!(
                "commit {} of {} at {} has the effect of {} ({} offset {offset}), and {what}",
                applied.commit,
                info.name,
                time_of(history, applied.position),
                record_name(history, id),
                history.partition_name(at),
            );
            Proof::new(history, sentence)
                .record(id)
                .at(at, &[offset])
                .events(&story(context, evidence, (sink, owed.root)))
                .events(&[applied.position])
                .done()
        });
    }
}

/// Stored offsets that pass a record whose effect is not there.
fn passed(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    (sink, info): (u16, &SinkInfo),
    findings: &mut Findings,
) {
    let mut owed: Vec<&Owed> = evidence.owed.iter().filter(|o| o.sink == sink).collect();
    owed.sort_by_key(|o| o.slot);
    let mut passed: BTreeMap<u32, u32> = BTreeMap::new();
    for stored in accepted(context, evidence, info) {
        let from = passed.get(&stored.p).copied().unwrap_or(0);
        let to = context.index.slot_from(stored.p, stored.next);
        let start = context.index.slots(stored.p).start.max(from);
        let at = owed.partition_point(|o| o.slot < start);
        for owed in owed[at..].iter().take_while(|o| o.slot < to) {
            let applied = evidence.of(sink, owed.root);
            let done =
                |step: u16| applied.iter().any(|a| a.step == step && a.commit <= stored.commit);
            if (0..owed.steps).all(done) {
                continue;
            }
            findings.add(&OFFSET_EFFECT_SKEW, Severity::UnderThisConfiguration, || {
                let history = context.history;
                let (p, offset) = context.index.place(owed.slot);
                let at = context.index.partitions[p as usize];
                let id = context.index.record_id(owed.record);
                let sentence = format!(
                    "commit {} of {} at {} stores {} as the offset to go on from in {}, and no \
                     commit up to it has the effect of {} (offset {offset})",
                    stored.commit,
                    info.name,
                    time_of(history, stored.position),
                    stored.next,
                    history.partition_name(at),
                    record_name(history, id),
                );
                Proof::new(history, sentence)
                    .record(id)
                    .at(at, &[offset, stored.next])
                    .events(&story(context, evidence, (sink, owed.root)))
                    .events(&[stored.position])
                    .done()
            });
        }
        let entry = passed.entry(stored.p).or_insert(0);
        *entry = (*entry).max(to);
    }
}

/// Effects under a token that had been superseded.
fn zombies(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    (sink, info): (u16, &SinkInfo),
    findings: &mut Findings,
) {
    // Position, partition row, token, and which application it is of.
    let mut tokens: Vec<(u32, u32, i64, usize)> = Vec::new();
    for (n, applied) in evidence.applied.iter().enumerate().filter(|(_, a)| a.sink == sink) {
        if applied.token >= 0
            && let Some(owed) = evidence.owed_by(sink, evidence.root(applied.record))
        {
            tokens.push((applied.position, context.index.place(owed.slot).0, applied.token, n));
        }
    }
    if tokens.is_empty() {
        return;
    }
    let stored = accepted(context, evidence, info).filter(|stored| stored.token >= 0);
    tokens.extend(stored.map(|s| (s.position, s.p, s.token, usize::MAX)));
    tokens.sort_unstable();
    let mut highest: BTreeMap<u32, (i64, u32)> = BTreeMap::new();
    for (position, p, token, n) in tokens {
        let known = highest.entry(p).or_insert((token, position));
        if token >= known.0 {
            *known = (known.0.max(token), if token > known.0 { position } else { known.1 });
            continue;
        }
        let (newer, since) = *known;
        let Some(applied) = evidence.applied.get(n).filter(|a| a.is_change(context.history)) else {
            continue;
        };
        findings.add(&ZOMBIE_EFFECT, Severity::Legal, || {
            let history = context.history;
            let id = context.index.record_id(applied.record);
            let at = context.index.partitions[p as usize];
            let sentence = format!(
                "{} applied the effect of {} in commit {} at {} under token {token}, although it \
                 had accepted token {newer} for {} at {}",
                info.name,
                record_name(history, id),
                applied.commit,
                time_of(history, position),
                history.partition_name(at),
                time_of(history, since),
            );
            Proof::new(history, sentence)
                .record(id)
                .at(at, &[])
                .events(&story(context, evidence, (sink, evidence.root(applied.record))))
                .events(&[since, position])
                .done()
        });
    }
}
