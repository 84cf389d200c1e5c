//! What a group may have committed, as far as clients can know, and the rows
//! `offset-commit-regress` and `stale-generation-commit`.
//!
//! A commit that has not ended, or whose end is unknown, may or may not count: the committed offset
//! is one of a range until it is seen. The range is never narrower than the truth.

use oncesim_history::{CommitEntry, GroupInfo, Outcome, WorldEvent};
use oncesim_types::{ActorId, CallId, ErrorCode, GroupId, LeaderEpoch, MemberId};

use crate::anomaly::Severity;
use crate::catalogue::group::{OFFSET_COMMIT_REGRESS, STALE_GENERATION_COMMIT};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, time_of};
use crate::check::index::NONE;

/// A range of offsets; empty while `lo > hi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) lo: i64,
    pub(crate) hi: i64,
}

impl Range {
    pub(crate) const EMPTY: Range = Range { lo: i64::MAX, hi: i64::MIN };

    fn add(&mut self, offset: i64) {
        self.lo = self.lo.min(offset);
        self.hi = self.hi.max(offset);
    }

    pub(crate) fn with(self, other: Range) -> Range {
        Range { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }
}

/// The commits of one group on one partition.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    /// The offset that the last successful commits left; several if they overlapped.
    pub(crate) sure: Range,
    /// When the last of them ended.
    sure_since: u32,
    /// Offsets of commits whose end is unknown.
    doubtful: Range,
    /// Offsets of commits that have not ended.
    open: Range,
    open_count: u32,
    /// How many commits were asked for.
    pub(crate) asked: u32,
    /// Every offset that anybody asked to commit, ascending.
    values: Vec<i64>,
    /// The highest offset whose commit succeeded, when, and by whom.
    highest: (i64, u32, ActorId),
    /// The last offset that a coordinator accepted, from whom, when, and in which epoch of its own.
    accepted: Option<(i64, Option<MemberId>, u32, LeaderEpoch)>,
    /// Whether a position was set by something else than a commit since then.
    moved: bool,
}

impl Committed {
    const NEW: Committed = Committed {
        sure: Range::EMPTY,
        sure_since: 0,
        doubtful: Range::EMPTY,
        open: Range::EMPTY,
        open_count: 0,
        asked: 0,
        values: Vec::new(),
        highest: (i64::MIN, NONE, ActorId(0)),
        accepted: None,
        moved: false,
    };

    /// Whether a commit has certainly succeeded.
    pub(crate) fn is_certain(&self) -> bool {
        self.sure != Range::EMPTY
    }

    /// What may be the committed offset now. Without a certain commit the group may also begin
    /// wherever `auto.offset.reset` says.
    pub(crate) fn plausible(&self, info: Option<&GroupInfo>) -> Range {
        let mut range = self.sure.with(self.doubtful).with(self.open);
        if !self.is_certain() {
            range.lo = i64::MIN;
            if info.is_none_or(|info| !info.from_earliest) {
                range.hi = i64::MAX;
            }
        }
        range
    }

    /// Every offset below has certainly been committed past; `i64::MIN` if none has.
    pub(crate) fn passed(&self, info: &GroupInfo) -> i64 {
        self.plausible(Some(info)).lo
    }

    /// Whether anybody ever asked to commit this offset.
    pub(crate) fn knows(&self, offset: i64) -> bool {
        self.values.binary_search(&offset).is_ok()
    }

    fn ask(&mut self, offset: i64) {
        self.asked += 1;
        if self.open_count == 0 {
            self.open = Range::EMPTY;
        }
        self.open_count += 1;
        self.open.add(offset);
        if let Err(at) = self.values.binary_search(&offset) {
            self.values.insert(at, offset);
        }
    }

    fn end(&mut self) {
        self.open_count = self.open_count.saturating_sub(1);
        if self.open_count == 0 {
            self.open = Range::EMPTY;
        }
    }
}

/// A commit that has not ended.
#[derive(Debug, Clone, Copy)]
struct OpenCommit {
    incarnation: u32,
    call: CallId,
    group: GroupId,
    entries: oncesim_history::SpanIndex,
    invoked: u32,
    sync: bool,
}

/// The commits of all groups.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// By group and partition row; a group's row is empty until it commits.
    groups: Vec<Vec<Committed>>,
    /// By actor.
    open: Vec<Vec<OpenCommit>>,
    /// How many commits succeeded.
    pub(crate) succeeded: u64,
}

impl Commits {
    /// The commits of a group on a partition.
    pub(crate) fn of(
        &mut self,
        context: &Context<'_>,
        group: GroupId,
        partition: u32,
    ) -> &mut Committed {
        let row = usize::from(group.0);
        if self.groups.len() <= row {
            self.groups.resize_with(row + 1, Vec::new);
        }
        let table = &mut self.groups[row];
        if table.is_empty() {
            table.resize(context.index.partitions.len(), Committed::NEW);
        }
        &mut table[partition as usize]
    }

    /// A commit is asked for.
    pub(crate) fn on_invoke(
        &mut self,
        context: &Context<'_>,
        position: u32,
        call: CallId,
        group: GroupId,
        entries: oncesim_history::SpanIndex,
        sync: bool,
    ) {
        for entry in context.history.commits(entries) {
            if let Some(p) = context.index.partition(entry.partition) {
                self.of(context, group, p).ask(entry.offset.0);
            }
        }
        let event = &context.history.events[position as usize];
        let actor = usize::from(event.actor.0);
        if self.open.len() <= actor {
            self.open.resize_with(actor + 1, Vec::new);
        }
        let incarnation = event.incarnation;
        // What an earlier process asked for will never end; it stays possible.
        let mut at = 0;
        while at < self.open[actor].len() {
            if self.open[actor][at].incarnation == incarnation {
                at += 1;
            } else {
                let stale = self.open[actor].swap_remove(at);
                self.settle(context, &stale, None, position);
            }
        }
        let commit = OpenCommit { incarnation, call, group, entries, invoked: position, sync };
        self.open[actor].push(commit);
    }

    /// A commit ends. Returns whether it had been asked for.
    pub(crate) fn on_end(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        call: CallId,
        outcome: Outcome,
    ) -> bool {
        let event = &context.history.events[position as usize];
        let Some(open) = self.open.get_mut(usize::from(event.actor.0)) else { return false };
        let same = |c: &OpenCommit| c.call == call && c.incarnation == event.incarnation;
        let Some(at) = open.iter().position(same) else { return false };
        let commit = open.remove(at);
        if outcome == Outcome::Ok {
            self.succeeded += 1;
            if !context.setting.white_box {
                self.regress(context, findings, &commit, position, event.actor);
            }
        }
        self.settle(context, &commit, Some(outcome), position);
        true
    }

    fn settle(
        &mut self,
        context: &Context<'_>,
        commit: &OpenCommit,
        outcome: Option<Outcome>,
        position: u32,
    ) {
        for CommitEntry { partition, offset, .. } in context.history.commits(commit.entries) {
            let Some(p) = context.index.partition(*partition) else { continue };
            let state = self.of(context, commit.group, p);
            state.end();
            match outcome {
                Some(Outcome::Ok) => {
                    if commit.invoked >= state.sure_since {
                        state.sure = Range::EMPTY;
                    }
                    state.sure.add(offset.0);
                    state.sure_since = position;
                    if offset.0 >= state.highest.0 {
                        let actor = context.history.events[commit.invoked as usize].actor;
                        state.highest = (offset.0, position, actor);
                    }
                }
                Some(Outcome::Fail(error)) if is_refusal(error) => {}
                _ => state.doubtful.add(offset.0),
            }
        }
    }

    /// `offset-commit-regress` as clients see it.
    fn regress(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        commit: &OpenCommit,
        position: u32,
        actor: ActorId,
    ) {
        for CommitEntry { partition, offset, .. } in context.history.commits(commit.entries) {
            let Some(p) = context.index.partition(*partition) else { continue };
            let state = self.of(context, commit.group, p);
            let (highest, since, by) = state.highest;
            let moved = std::mem::take(&mut state.moved);
            let overlapping = since != NONE && since >= commit.invoked;
            if offset.0 >= highest || since == NONE || moved || (overlapping && by != actor) {
                if moved {
                    state.highest = (i64::MIN, NONE, actor);
                }
                continue;
            }
            let severity = if by == actor && !commit.sync {
                Severity::Legal
            } else {
                context.setting.group_severity()
            };
            findings.add(&OFFSET_COMMIT_REGRESS, severity, || {
                let text = format!(
                    "group {} committed {offset} on {} at {} after {highest}",
                    context.history.group_name(commit.group),
                    context.history.partition_name(*partition),
                    time_of(context.history, position),
                );
                Proof::new(context.history, text)
                    .at(*partition, &[highest, offset.0])
                    .events(&[since, commit.invoked, position])
                    .done()
            });
        }
    }

    /// A position was set by something else than a commit.
    pub(crate) fn on_moved(&mut self, context: &Context<'_>, group: GroupId, partition: u32) {
        self.of(context, group, partition).moved = true;
    }

    /// The coordinator accepted a commit.
    pub(crate) fn on_accepted(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &WorldEvent,
    ) {
        let WorldEvent::OffsetAccepted {
            group,
            member,
            generation,
            current,
            partition,
            offset,
            coordinator_epoch,
        } = event
        else {
            return;
        };
        let name = || {
            let name = context.history.group_name(*group);
            let at = context.history.partition_name(*partition);
            let when = time_of(context.history, position);
            format!("group {name} was given {offset} on {at} at {when}")
        };
        if member.is_some() && generation.0 >= 0 && generation != current {
            findings.add(&STALE_GENERATION_COMMIT, Severity::Always, || {
                let sentence =
                    format!("{} with generation {generation}, in generation {current}", name());
                Proof::new(context.history, sentence)
                    .at(*partition, &[offset.0])
                    .events(&[position])
                    .done()
            });
        }
        let Some(p) = context.index.partition(*partition) else { return };
        let state = self.of(context, *group, p);
        // A coordinator that was deposed learns late that what it wrote in its time is durable: its
        // successor has loaded that, and went on from there.
        if state.accepted.is_some_and(|(.., epoch)| epoch > *coordinator_epoch) {
            return;
        }
        let accepted = (offset.0, *member, position, *coordinator_epoch);
        let before = state.accepted.replace(accepted);
        let moved = std::mem::take(&mut state.moved);
        if let Some((last, by, since, _)) = before
            && offset.0 < last
            && !moved
        {
            let severity = if by == *member || member.is_none() {
                Severity::Legal
            } else {
                context.setting.group_severity()
            };
            findings.add(&OFFSET_COMMIT_REGRESS, severity, || {
                Proof::new(context.history, format!("{} after {last}", name()))
                    .at(*partition, &[last, offset.0])
                    .events(&[since, position])
                    .done()
            });
        }
    }
}

/// Whether an error proves that a commit did not and will not happen.
const fn is_refusal(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::IllegalGeneration
            | ErrorCode::UnknownMemberId
            | ErrorCode::FencedInstanceId
            | ErrorCode::StaleMemberEpoch
            | ErrorCode::FencedMemberEpoch
            | ErrorCode::RebalanceInProgress
            | ErrorCode::GroupAuthorizationFailed
            | ErrorCode::TopicAuthorizationFailed
    )
}
