//! Table B: each consumer's stream, per process and partition.
//!
//! Order and ownership are wrong at once. Whether a jump skipped anything is known when the log is:
//! jumps wait for the end as gaps.

pub(crate) mod gap;

use oncesim_history::{PolledRecord, PositionReason, SpanIndex};
use oncesim_types::{GroupId, Instant, Offset, TopicPartition};

use super::Context;
use super::findings::{Findings, Proof, record_name, time_of};
use super::group::commits::{Commits, Range};
use super::index::NONE;
use super::log::Ledger;
use super::processing::Processing;
use crate::anomaly::{AnomalyClass, Severity};
use crate::catalogue::consumer::{
    INT_NONMONOTONIC_POLL, INT_POLL_SKIP, NONMONOTONIC_POLL, NONMONOTONIC_POSITION, POLL_SKIP,
    RESET_JUMP, RESUME_REWIND, RESUME_SKIP, STALE_READ, UNASSIGNED_DELIVERY,
};
use crate::catalogue::group::{
    COMMIT_BEYOND_POSITION, COMMITTED_OFFSET_LOST, COMMITTED_OFFSET_PHANTOM,
};
use crate::catalogue::log::LEADER_EPOCH_REGRESS;
use crate::catalogue::processing::COMMIT_BEFORE_PROCESS;
use gap::{Gap, Gaps};

/// A poll that ends before a record acknowledged so long ago is worth a number.
const STALE: oncesim_types::Duration = oncesim_types::Duration::from_secs(30);

/// Nothing was delivered, or no position is known.
const UNKNOWN: i64 = i64::MIN;

/// One partition as one process reads it.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// The last offset delivered since the position was set, and its poll.
    last: i64,
    last_poll: u32,
    /// The first offset delivered since then.
    first: i64,
    /// Where the position was set, if nothing was delivered since.
    floor: i64,
    owned: bool,
    /// Assigned, and nothing delivered yet: when, what the group may have committed by then, and
    /// how many commits had been asked for.
    fresh: u32,
    plausible: Range,
    asked: u32,
    /// Up to where commits were compared with processing.
    compared: i64,
}

impl Stream {
    const NEW: Stream = Stream {
        last: UNKNOWN,
        last_poll: NONE,
        first: UNKNOWN,
        floor: UNKNOWN,
        owned: false,
        fresh: NONE,
        plausible: Range::EMPTY,
        asked: 0,
        compared: UNKNOWN,
    };
}

/// One process.
#[derive(Debug, Default)]
struct Reader {
    incarnation: u32,
    /// Whether it was ever assigned something by its group.
    assigned: bool,
    /// What was revoked last, and when: a commit at that moment is the callback's own.
    revoked: (SpanIndex, Instant),
    /// By partition row; empty until it reads.
    streams: Vec<Stream>,
}

/// Every consumer.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    readers: Vec<Reader>,
    pub(crate) gaps: Gaps,
}

impl Readers {
    fn reader(&mut self, context: &Context<'_>, position: u32) -> &mut Reader {
        let event = &context.history.events[position as usize];
        let row = usize::from(event.actor.0);
        if self.readers.len() <= row {
            self.readers.resize_with(row + 1, Reader::default);
        }
        let reader = &mut self.readers[row];
        if reader.incarnation != event.incarnation || reader.streams.is_empty() {
            reader.incarnation = event.incarnation;
            reader.assigned = false;
            reader.streams.clear();
            reader.streams.resize(context.index.partitions.len(), Stream::NEW);
        }
        reader
    }

    /// `onPartitionsAssigned`: positions are taken up anew for what was added.
    pub(crate) fn on_assigned(
        &mut self,
        context: &Context<'_>,
        commits: &mut Commits,
        position: u32,
        group: GroupId,
        (added, owned): (SpanIndex, SpanIndex),
    ) {
        let info = context.history.groups.get(usize::from(group.0));
        let reader = self.reader(context, position);
        reader.assigned = true;
        for partition in context.history.partitions(owned) {
            if let Some(p) = context.index.partition(*partition) {
                reader.streams[p as usize].owned = true;
            }
        }
        for partition in context.history.partitions(added) {
            let Some(p) = context.index.partition(*partition) else { continue };
            let committed = commits.of(context, group, p);
            reader.streams[p as usize] = Stream {
                owned: true,
                fresh: position,
                plausible: committed.plausible(info),
                asked: committed.asked,
                ..Stream::NEW
            };
        }
    }

    /// `onPartitionsRevoked` or `onPartitionsLost`.
    pub(crate) fn on_revoked(
        &mut self,
        context: &Context<'_>,
        position: u32,
        partitions: SpanIndex,
    ) {
        let reader = self.reader(context, position);
        reader.revoked = (partitions, context.history.events[position as usize].time);
        for partition in context.history.partitions(partitions) {
            if let Some(p) = context.index.partition(*partition) {
                reader.streams[p as usize] = Stream::NEW;
            }
        }
    }

    /// A position was set.
    #[expect(clippy::too_many_arguments, reason = "one event with everything it is judged by")]
    pub(crate) fn on_position(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        commits: &mut Commits,
        position: u32,
        group: Option<GroupId>,
        partition: TopicPartition,
        (to, reason): (Offset, PositionReason),
    ) {
        let Some(p) = context.index.partition(partition) else { return };
        let actor = context.history.events[position as usize].actor;
        let stream = &mut self.reader(context, position).streams[p as usize];
        stream.last = UNKNOWN;
        stream.first = UNKNOWN;
        stream.compared = UNKNOWN;
        stream.floor = to.0;
        let fresh = stream.fresh;
        if reason != PositionReason::Committed {
            stream.fresh = NONE;
        }
        let Some(group) = group else { return };
        let info = context.history.groups.get(usize::from(group.0));
        let committed = commits.of(context, group, p);
        let settled = committed.asked - stream.asked <= 1 || fresh == NONE;
        let range = committed.plausible(info).with(stream.plausible);
        let known = committed.knows(to.0);
        let certain = committed.is_certain() && stream.plausible.lo != i64::MIN;
        let lagging = committed.by_transaction && !context.setting.reads_committed(actor);
        let class: Option<&'static AnomalyClass> = match reason {
            PositionReason::Committed if !known => Some(&COMMITTED_OFFSET_PHANTOM),
            PositionReason::Committed if settled && to.0 < range.lo => Some(&COMMITTED_OFFSET_LOST),
            PositionReason::NoCommittedOffset if certain && fresh != NONE => Some(&RESET_JUMP),
            _ => None,
        };
        if reason != PositionReason::Committed {
            commits.on_moved(context, group, p);
        }
        let Some(class) = class else { return };
        let severity = if lagging { Severity::Legal } else { context.setting.group_severity() };
        findings.add(class, severity, || {
            let history = context.history;
            let before = match range {
                Range { lo: i64::MIN, .. } => "nothing for certain".to_owned(),
                Range { lo, hi } if lo == hi => format!("{lo}"),
                Range { lo, hi } => format!("between {lo} and {hi}"),
            };
            let how = match reason {
                PositionReason::Committed => "as the committed offset",
                _ => "for want of a committed offset",
            };
            let event = &history.events[position as usize];
            let sentence = format!(
                "{} was given position {to} on {} {how} at {}; its group has committed {before}",
                history.actor_name(event.actor),
                history.partition_name(partition),
                event.time,
            );
            Proof::new(history, sentence).at(partition, &[to.0]).events(&[fresh, position]).done()
        });
    }

    /// `poll()` returned a record to a consumer that is not the auditor.
    pub(crate) fn on_polled(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        (commits, ledger): (&mut Commits, &Ledger),
        position: u32,
        group: Option<GroupId>,
        polled: &PolledRecord,
    ) {
        let Some(p) = context.index.partition(polled.partition) else { return };
        let offset = polled.offset.0;
        let reader = self.reader(context, position);
        let foreign = group.is_some() && reader.assigned && !reader.streams[p as usize].owned;
        let stream = &mut reader.streams[p as usize];
        if foreign {
            let what = "which it does not own";
            report(context, findings, &UNASSIGNED_DELIVERY, position, polled, what, NONE);
        }
        let before = *stream;
        let internal = before.last_poll == position;
        stream.last = offset;
        stream.last_poll = position;
        stream.fresh = NONE;
        if before.first == UNKNOWN {
            stream.first = offset;
            stream.compared = offset;
        }
        if before.last != UNKNOWN {
            if !internal && offset > before.last {
                stale(context, findings, ledger, before.last_poll, position, polled);
            }
            if offset <= before.last {
                let what = format!("after offset {}", before.last);
                let class = if internal { &INT_NONMONOTONIC_POLL } else { &NONMONOTONIC_POLL };
                report(context, findings, class, position, polled, &what, before.last_poll);
                let class = &NONMONOTONIC_POSITION;
                report(context, findings, class, position, polled, &what, before.last_poll);
            } else if offset > before.last + 1 {
                let class: &'static AnomalyClass =
                    if internal { &INT_POLL_SKIP } else { &POLL_SKIP };
                let since = before.last_poll;
                self.gaps.add(Gap { class, p, from: before.last + 1, to: offset, since, position });
            }
        } else if before.floor != UNKNOWN && before.floor != offset {
            let what = format!("below its position {}", before.floor);
            if offset < before.floor {
                let class = &NONMONOTONIC_POSITION;
                report(context, findings, class, position, polled, &what, NONE);
            } else {
                let (from, since) = (before.floor, NONE);
                self.gaps.add(Gap { class: &POLL_SKIP, p, from, to: offset, since, position });
            }
        }
        if before.fresh != NONE
            && let Some(group) = group
        {
            self.resumed(context, findings, commits, position, group, polled, &before);
        }
    }

    /// The first record after an assignment, against what the group may have committed.
    #[expect(clippy::too_many_arguments, reason = "one event with everything it is judged by")]
    fn resumed(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        commits: &mut Commits,
        position: u32,
        group: GroupId,
        polled: &PolledRecord,
        stream: &Stream,
    ) {
        let Some(p) = context.index.partition(polled.partition) else { return };
        let info = context.history.groups.get(usize::from(group.0));
        let committed = commits.of(context, group, p);
        if committed.asked - stream.asked > 1 {
            return;
        }
        let range = stream.plausible.with(committed.plausible(info));
        let offset = polled.offset.0;
        if offset < range.lo {
            let what = format!("although its group had committed at least {}", range.lo);
            let actor = context.history.events[position as usize].actor;
            let lagging = committed.by_transaction && !context.setting.reads_committed(actor);
            let severity = if lagging { Severity::Legal } else { context.setting.group_severity() };
            report_as(
                context,
                findings,
                (&RESUME_REWIND, severity),
                position,
                polled,
                &what,
                stream.fresh,
            );
        } else if offset > range.hi {
            let (from, since) = (range.hi, stream.fresh);
            self.gaps.add(Gap { class: &RESUME_SKIP, p, from, to: offset, since, position });
        }
    }

    /// A consumer asks to commit; returns a partition among them that it does not own.
    pub(crate) fn on_commit(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        processing: &Processing,
        position: u32,
        group: GroupId,
        entries: SpanIndex,
    ) -> Option<TopicPartition> {
        let mut beyond = Vec::new();
        let mut foreign = None;
        let reader = self.reader(context, position);
        let assigned = reader.assigned;
        let (revoked, at) = reader.revoked;
        let now = context.history.events[position as usize].time;
        let callbacks = if at == now { context.history.partitions(revoked) } else { &[] };
        for entry in context.history.commits(entries) {
            let Some(p) = context.index.partition(entry.partition) else { continue };
            let stream = &mut reader.streams[p as usize];
            if assigned && !stream.owned && !callbacks.contains(&entry.partition) {
                foreign.get_or_insert(entry.partition);
            }
            let next = if stream.last == UNKNOWN { stream.floor } else { stream.last + 1 };
            let offset = entry.offset.0;
            if next != UNKNOWN && offset > next && context.setting.transactional {
                // The position moves on over the ends of transactions, and over what was aborted.
                let class = &COMMIT_BEYOND_POSITION;
                let gap = Gap { class, p, from: next, to: offset, since: NONE, position };
                beyond.push(gap);
            } else if next != UNKNOWN && offset > next {
                let severity = Severity::UnderThisConfiguration;
                findings.add(&COMMIT_BEYOND_POSITION, severity, || {
                    let what = format!("{offset}, beyond its position {next}");
                    commit_witness(context, position, entry.partition, offset, &what)
                });
            }
            if stream.compared == UNKNOWN || offset <= stream.compared {
                continue;
            }
            let from = context.index.slot_from(p, stream.compared);
            let to = context.index.slot_from(p, offset.min(next));
            stream.compared = offset.min(next);
            for slot in from..to {
                if processing.is_open(context, group, slot) {
                    findings.add(&COMMIT_BEFORE_PROCESS, Severity::Informative, || {
                        let open = context.index.offset(p, slot);
                        let what = format!("{offset} before it had processed offset {open}");
                        commit_witness(context, position, entry.partition, open, &what)
                    });
                }
            }
        }
        beyond.into_iter().for_each(|gap| self.gaps.add(gap));
        foreign
    }
}

/// The poll before had ended short of a record that was acknowledged long before it.
fn stale(
    context: &Context<'_>,
    findings: &mut Findings,
    ledger: &Ledger,
    earlier: u32,
    position: u32,
    polled: &PolledRecord,
) {
    let Some(record) = context.index.record(polled.record) else { return };
    let acked = ledger.records[record as usize].acked;
    if acked == NONE {
        return;
    }
    let [since, then] = [acked, earlier].map(|at| time_of(context.history, at));
    if then.since(since) <= STALE {
        return;
    }
    findings.add(&STALE_READ, Severity::Informative, || {
        let history = context.history;
        let actor = history.events[position as usize].actor;
        let sentence = format!(
            "{} was acknowledged at {since} for {}; a poll of {} at {then} ended before it",
            record_name(history, polled.record),
            history.partition_name(polled.partition),
            history.actor_name(actor),
        );
        Proof::new(history, sentence)
            .record(polled.record)
            .at(polled.partition, &[polled.offset.0])
            .events(&[acked, earlier, position])
            .done()
    });
}

/// Compares leader epochs along one poll.
pub(crate) fn leader_epochs(
    context: &Context<'_>,
    findings: &mut Findings,
    position: u32,
    records: &[PolledRecord],
) {
    for pair in records.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        if a.partition == b.partition
            && a.offset < b.offset
            && b.leader_epoch.0 >= 0
            && b.leader_epoch < a.leader_epoch
        {
            let what = format!(
                "with leader epoch {} after offset {} with leader epoch {}",
                b.leader_epoch, a.offset, a.leader_epoch
            );
            report(context, findings, &LEADER_EPOCH_REGRESS, position, b, &what, NONE);
        }
    }
}

fn report(
    context: &Context<'_>,
    findings: &mut Findings,
    class: &'static AnomalyClass,
    position: u32,
    polled: &PolledRecord,
    what: &str,
    since: u32,
) {
    report_as(context, findings, (class, Severity::Always), position, polled, what, since);
}

fn report_as(
    context: &Context<'_>,
    findings: &mut Findings,
    (class, severity): (&'static AnomalyClass, Severity),
    position: u32,
    polled: &PolledRecord,
    what: &str,
    since: u32,
) {
    findings.add(class, severity, || {
        let history = context.history;
        let event = &history.events[position as usize];
        let sentence = format!(
            "{} got {} offset {} at {}, {what}",
            history.actor_name(event.actor),
            history.partition_name(polled.partition),
            polled.offset,
            event.time,
        );
        Proof::new(history, sentence)
            .record(polled.record)
            .at(polled.partition, &[polled.offset.0])
            .events(&[since, position])
            .done()
    });
}

fn commit_witness(
    context: &Context<'_>,
    position: u32,
    partition: TopicPartition,
    offset: i64,
    what: &str,
) -> crate::anomaly::Witness {
    let history = context.history;
    let event = &history.events[position as usize];
    let sentence = format!(
        "{} committed on {} at {} offset {what}",
        history.actor_name(event.actor),
        history.partition_name(partition),
        time_of(history, position),
    );
    Proof::new(history, sentence).at(partition, &[offset]).events(&[position]).done()
}
