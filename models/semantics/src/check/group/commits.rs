//! What a group may have committed, as far as clients can know, and the rows
//! `offset-commit-regress`, `stale-generation-commit` and `commit-without-ownership`.
//!
//! A commit that has not ended, or whose end is unknown, may or may not count: the committed offset
//! is one of a range until it is seen. The range is never narrower than the truth.

use std::collections::BTreeMap;

use oncesim_history::{ClientKind, CommitEntry, Event, GroupInfo, Outcome, WorldEvent};
use oncesim_types::{
    ActorId, CallId, ErrorCode, GroupId, LeaderEpoch, MemberId, TopicPartition, TransactionNumber,
    TransactionResult,
};

use crate::anomaly::Severity;
use crate::catalogue::group::{
    COMMIT_WITHOUT_OWNERSHIP, OFFSET_COMMIT_REGRESS, STALE_GENERATION_COMMIT,
};
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
    /// Offsets of transactions whose end is unknown; a later one of the group settles them.
    in_doubt: Range,
    /// Whether the last successful commit was a transaction's: it counts once its markers are
    /// written, which only readers at `read_committed` wait for.
    pub(crate) by_transaction: bool,
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
        in_doubt: Range::EMPTY,
        by_transaction: false,
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
        let mut range = self.sure.with(self.doubtful).with(self.in_doubt).with(self.open);
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
    /// A partition among them that its member did not own then.
    foreign: Option<TopicPartition>,
}

/// Offsets that a transaction commits.
#[derive(Debug, Clone, Copy)]
struct InTransaction {
    incarnation: u32,
    number: TransactionNumber,
    group: GroupId,
    entries: oncesim_history::SpanIndex,
    /// Whether the group fences the member (KIP-447).
    fenced: bool,
}

/// A call that ends a transaction.
#[derive(Debug, Clone, Copy)]
struct Ending {
    call: CallId,
    number: TransactionNumber,
    result: TransactionResult,
    asked: u32,
}

/// What one producer's transactions commit.
#[derive(Debug, Default)]
struct Producer {
    open: Vec<InTransaction>,
    ending: Option<Ending>,
}

/// The commits of all groups.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// By actor.
    producers: Vec<Producer>,
    /// Who asked for the offset that waits for a producer id: group, partition, producer id.
    pending: BTreeMap<(u16, u32, i64), Option<MemberId>>,
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
        let (invoked, foreign) = (position, None);
        let commit = OpenCommit { incarnation, call, group, entries, invoked, sync, foreign };
        self.open[actor].push(commit);
    }

    /// What was asked for last concerns a partition that its member does not own.
    pub(crate) fn on_foreign(&mut self, actor: ActorId, foreign: Option<TopicPartition>) {
        if let Some(commit) = self.open.get_mut(usize::from(actor.0)).and_then(|c| c.last_mut()) {
            commit.foreign = foreign;
        }
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
            if let Some(partition) = commit.foreign {
                foreign(context, findings, &commit, partition, position);
            }
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
                    state.by_transaction = false;
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

    fn producer(&mut self, event: &Event) -> &mut Producer {
        let actor = usize::from(event.actor.0);
        if self.producers.len() <= actor {
            self.producers.resize_with(actor + 1, Producer::default);
        }
        &mut self.producers[actor]
    }

    /// What a transactional producer does with offsets.
    pub(crate) fn on_transaction(
        &mut self,
        context: &Context<'_>,
        position: u32,
        event: &Event,
        kind: &ClientKind,
    ) {
        match kind {
            ClientKind::TransactionBegin { .. } | ClientKind::InitTransactions { .. } => {
                // What is still open was given up: nobody will tell how it ended.
                let given_up = match self.producers.get_mut(usize::from(event.actor.0)) {
                    Some(producer) => std::mem::take(&mut producer.open),
                    None => return,
                };
                for sent in given_up {
                    self.settle_sent(context, &sent, None, (position, position));
                }
            }
            ClientKind::SendOffsets { number, group, offsets, member, .. } => {
                for entry in context.history.commits(*offsets) {
                    if let Some(p) = context.index.partition(entry.partition) {
                        self.of(context, *group, p).ask(entry.offset.0);
                    }
                }
                let sent = InTransaction {
                    incarnation: event.incarnation,
                    number: *number,
                    group: *group,
                    entries: *offsets,
                    fenced: member.is_some(),
                };
                self.producer(event).open.push(sent);
            }
            ClientKind::EndTransaction { call, number, result } => {
                let producer = self.producer(event);
                // A call that timed out is made again: what it asked for may have happened since
                // the first.
                let same = |e: &Ending| e.number == *number && e.result == *result;
                let asked = producer.ending.filter(same).map_or(position, |e| e.asked);
                producer.ending =
                    Some(Ending { call: *call, number: *number, result: *result, asked });
            }
            ClientKind::TransactionEnd { call, outcome } => {
                let producer = self.producer(event);
                let Some(ending) = producer.ending.filter(|e| e.call == *call) else { return };
                let result = match outcome {
                    Outcome::Ok => ending.result,
                    // It may be asked for again; until then its end is open.
                    _ => return,
                };
                let ended = |sent: &mut InTransaction| {
                    sent.number == ending.number && sent.incarnation == event.incarnation
                };
                let sent: Vec<InTransaction> = producer.open.extract_if(.., ended).collect();
                for sent in sent {
                    self.succeeded += u64::from(result == TransactionResult::Commit);
                    let when = (ending.asked, position);
                    self.settle_sent(context, &sent, Some(result), when);
                }
            }
            _ => {}
        }
    }

    fn settle_sent(
        &mut self,
        context: &Context<'_>,
        sent: &InTransaction,
        result: Option<TransactionResult>,
        (asked, position): (u32, u32),
    ) {
        for CommitEntry { partition, offset, .. } in context.history.commits(sent.entries) {
            let Some(p) = context.index.partition(*partition) else { continue };
            let state = self.of(context, sent.group, p);
            state.end();
            match result {
                Some(TransactionResult::Commit) => {
                    if asked >= state.sure_since {
                        state.sure = Range::EMPTY;
                    }
                    state.sure.add(offset.0);
                    state.sure_since = position;
                    state.in_doubt = Range::EMPTY;
                    state.by_transaction = true;
                }
                Some(TransactionResult::Abort) => {}
                None if sent.fenced => state.in_doubt.add(offset.0),
                None => state.doubtful.add(offset.0),
            }
        }
    }

    /// The group coordinator holds an offset back until its transaction ends, or lets it go.
    pub(crate) fn on_pending(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &WorldEvent,
    ) {
        match event {
            WorldEvent::OffsetPending {
                group,
                producer_id,
                member,
                generation,
                current,
                partition,
                offset,
                ..
            } => {
                if let Some(p) = context.index.partition(*partition) {
                    self.pending.insert((group.0, p, producer_id.0), *member);
                }
                if member.is_some() && generation.0 >= 0 && generation != current {
                    findings.add(&STALE_GENERATION_COMMIT, Severity::Always, || {
                        let sentence = format!(
                            "group {} took {offset} on {} in a transaction at {} with generation \
                             {generation}, in generation {current}",
                            context.history.group_name(*group),
                            context.history.partition_name(*partition),
                            time_of(context.history, position),
                        );
                        Proof::new(context.history, sentence)
                            .at(*partition, &[offset.0])
                            .events(&[position])
                            .done()
                    });
                }
            }
            WorldEvent::OffsetResolved {
                group,
                producer_id,
                partition,
                offset,
                result,
                coordinator_epoch,
            } => {
                let Some(p) = context.index.partition(*partition) else { return };
                let member = self.pending.remove(&(group.0, p, producer_id.0)).flatten();
                if *result == TransactionResult::Commit {
                    let accepted = (offset.0, member, position, *coordinator_epoch);
                    self.accept(context, findings, (*group, *partition, p), accepted);
                }
            }
            _ => {}
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
        let accepted = (offset.0, *member, position, *coordinator_epoch);
        self.accept(context, findings, (*group, *partition, p), accepted);
    }

    /// `offset-commit-regress` as the coordinator sees it.
    fn accept(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        (group, partition, p): (GroupId, TopicPartition, u32),
        accepted: (i64, Option<MemberId>, u32, LeaderEpoch),
    ) {
        let (offset, member, position, coordinator_epoch) = accepted;
        let state = self.of(context, group, p);
        // A coordinator that was deposed learns late that what it wrote in its time is durable: its
        // successor has loaded that, and went on from there.
        if state.accepted.is_some_and(|(.., epoch)| epoch > coordinator_epoch) {
            return;
        }
        let before = state.accepted.replace(accepted);
        let moved = std::mem::take(&mut state.moved);
        if let Some((last, by, since, _)) = before
            && offset < last
            && !moved
        {
            let severity = if by == member || member.is_none() {
                Severity::Legal
            } else {
                context.setting.group_severity()
            };
            findings.add(&OFFSET_COMMIT_REGRESS, severity, || {
                let sentence = format!(
                    "group {} was given {offset} on {} at {} after {last}",
                    context.history.group_name(group),
                    context.history.partition_name(partition),
                    time_of(context.history, position),
                );
                Proof::new(context.history, sentence)
                    .at(partition, &[last, offset])
                    .events(&[since, position])
                    .done()
            });
        }
    }
}

/// `commit-without-ownership`.
fn foreign(
    context: &Context<'_>,
    findings: &mut Findings,
    commit: &OpenCommit,
    partition: TopicPartition,
    position: u32,
) {
    findings.add(&COMMIT_WITHOUT_OWNERSHIP, Severity::UnderThisConfiguration, || {
        let history = context.history;
        let event = &history.events[commit.invoked as usize];
        let sentence = format!(
            "{} asked at {} to commit on {}, which it did not own, and group {} took it",
            history.actor_name(event.actor),
            event.time,
            history.partition_name(partition),
            history.group_name(commit.group),
        );
        Proof::new(history, sentence).at(partition, &[]).events(&[commit.invoked, position]).done()
    });
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
