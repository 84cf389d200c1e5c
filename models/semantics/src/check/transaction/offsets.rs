//! Offsets in transactions: `torn-offsets`, and `zombie-commit` at the group coordinator.

use std::collections::BTreeMap;

use oncesim_history::{CommitEntry, PositionReason, SpanIndex, WorldEvent};
use oncesim_types::{GroupId, LeaderEpoch, Offset, TopicPartition, TransactionResult};

use super::atomicity::about;
use super::session::Sessions;
use super::{Fate, Transactions};
use crate::anomaly::Severity;
use crate::catalogue::transaction::{TORN_OFFSETS, ZOMBIE_COMMIT};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, time_of};
use crate::check::index::NONE;

/// An offset that a transaction commits: group, partition row, offset, when, and which transaction.
type Ask = (u16, u32, i64, u32, u32);

/// An offset that waits for its transaction.
#[derive(Debug, Clone, Copy)]
struct Pending {
    producer: (i64, i16),
    offset: i64,
    position: u32,
}

/// What became of a pending offset.
#[derive(Debug, Clone, Copy)]
struct Resolved {
    group: u16,
    p: u32,
    offset: i64,
    producer: (i64, i16),
    /// When it was written, and when its transaction ended.
    pending: u32,
    position: u32,
    commit: bool,
}

/// The offsets of all transactions.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    asks: Vec<Ask>,
    /// Committed offsets that members were given: group, partition row, offset, when.
    given: Vec<(u16, u32, i64, u32)>,
    pending: BTreeMap<(u16, u32, i64), Pending>,
    /// By group: the newest epoch of its coordinator.
    epochs: BTreeMap<u16, LeaderEpoch>,
    resolved: Vec<Resolved>,
}

impl Offsets {
    /// `sendOffsetsToTransaction()` is called.
    pub(crate) fn on_sent(
        &mut self,
        context: &Context<'_>,
        position: u32,
        txn: u32,
        group: GroupId,
        offsets: SpanIndex,
    ) {
        for CommitEntry { partition, offset, .. } in context.history.commits(offsets) {
            if let Some(p) = context.index.partition(*partition) {
                self.asks.push((group.0, p, offset.0, position, txn));
            }
        }
    }

    /// A member goes on from somewhere.
    pub(crate) fn on_position(
        &mut self,
        context: &Context<'_>,
        position: u32,
        group: GroupId,
        partition: TopicPartition,
        to: Offset,
        reason: PositionReason,
    ) {
        if reason == PositionReason::Committed
            && let Some(p) = context.index.partition(partition)
        {
            self.given.push((group.0, p, to.0, position));
        }
    }

    /// A group coordinator holds an offset back, or lets it go.
    pub(crate) fn on_note(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        sessions: &Sessions,
        position: u32,
        world: &WorldEvent,
    ) {
        let (WorldEvent::OffsetPending { group, coordinator_epoch, .. }
        | WorldEvent::OffsetResolved { group, coordinator_epoch, .. }) = world
        else {
            return;
        };
        // A coordinator that was deposed learns late that what it wrote in its time is durable: its
        // successor has loaded that, and went on from there.
        let newest = self.epochs.entry(group.0).or_insert(*coordinator_epoch);
        *newest = (*newest).max(*coordinator_epoch);
        if *newest > *coordinator_epoch {
            return;
        }
        match world {
            WorldEvent::OffsetPending {
                producer_id, producer_epoch, partition, offset, ..
            } => {
                let Some(p) = context.index.partition(*partition) else { return };
                let producer = (producer_id.0, producer_epoch.0);
                let pending = Pending { producer, offset: offset.0, position };
                self.pending.insert((group.0, p, producer_id.0), pending);
            }
            WorldEvent::OffsetResolved { producer_id, partition, offset, result, .. } => {
                let Some(p) = context.index.partition(*partition) else { return };
                let key = (group.0, p, producer_id.0);
                let Some(pending) = self.pending.remove(&key).filter(|w| w.offset == offset.0)
                else {
                    return;
                };
                let commit = *result == TransactionResult::Commit;
                self.resolved.push(Resolved {
                    group: group.0,
                    p,
                    offset: offset.0,
                    producer: pending.producer,
                    pending: pending.position,
                    position,
                    commit,
                });
                let Some(fence) = sessions.fenced(pending.producer).filter(|_| commit) else {
                    return;
                };
                if pending.position > fence {
                    findings.add(&ZOMBIE_COMMIT, Severity::Always, || {
                        let history = context.history;
                        let sentence = format!(
                            "{offset} on {} was committed for group {} by producer id {} with \
                             epoch {} at {}, which had been fenced at {}",
                            history.partition_name(*partition),
                            history.group_name(*group),
                            pending.producer.0,
                            pending.producer.1,
                            time_of(history, position),
                            time_of(history, fence),
                        );
                        Proof::new(history, sentence)
                            .at(*partition, &[offset.0])
                            .events(&[fence, pending.position, position])
                            .done()
                    });
                }
            }
            _ => {}
        }
    }

    /// Reports offsets that count although their transaction does not, or the other way round.
    pub(crate) fn check(
        &self,
        context: &Context<'_>,
        transactions: &Transactions,
        findings: &mut Findings,
    ) {
        if self.asks.is_empty() {
            return;
        }
        let mut asks = self.asks.clone();
        asks.sort_unstable();
        let mut torn: Vec<bool> = vec![false; transactions.rows.len()];
        for resolved in &self.resolved {
            let txn = asked(&asks, transactions, resolved);
            if txn == NONE || torn[txn as usize] {
                continue;
            }
            let what = match (transactions.rows[txn as usize].fate, resolved.commit) {
                (Fate::Committed, false) => "counts, and its offset",
                (Fate::Aborted, true) => "was aborted, and its offset",
                _ => continue,
            };
            torn[txn as usize] = true;
            findings.add(&TORN_OFFSETS, Severity::Always, || {
                let at =
                    context.history.partition_name(context.index.partitions[resolved.p as usize]);
                let then = if resolved.commit { "was committed" } else { "was dropped" };
                let when = time_of(context.history, resolved.position);
                let what = format!("{what} {} on {at} {then} at {when}", resolved.offset);
                let events = [resolved.pending, resolved.position];
                about(context, transactions, txn, &what, &events)
            });
        }
        if context.setting.white_box && !self.resolved.is_empty() {
            return;
        }
        self.given(context, transactions, &asks, findings);
    }

    /// Offsets that members were given, and that only aborted transactions had asked to commit.
    fn given(
        &self,
        context: &Context<'_>,
        transactions: &Transactions,
        asks: &[Ask],
        findings: &mut Findings,
    ) {
        let plain = |group: u16| {
            context.history.events.iter().any(|event| {
                matches!(
                    &event.kind,
                    oncesim_history::EventKind::Client(
                        oncesim_history::ClientKind::CommitInvoke { group: g, .. }
                    ) if g.0 == group
                )
            })
        };
        let mut mixed: BTreeMap<u16, bool> = BTreeMap::new();
        for (group, p, offset, position) in &self.given {
            let from = asks.partition_point(|ask| (ask.0, ask.1, ask.2) < (*group, *p, *offset));
            let same = asks[from..]
                .iter()
                .take_while(|ask| (ask.0, ask.1, ask.2) == (*group, *p, *offset));
            let mut before = same.filter(|ask| ask.3 < *position).map(|ask| ask.4).peekable();
            let Some(first) = before.peek().copied() else { continue };
            if !before.all(|txn| transactions.rows[txn as usize].fate == Fate::Aborted)
                || *mixed.entry(*group).or_insert_with(|| plain(*group))
            {
                continue;
            }
            findings.add(&TORN_OFFSETS, Severity::Always, || {
                let at = context.history.partition_name(context.index.partitions[*p as usize]);
                let when = time_of(context.history, *position);
                let what = format!(
                    "was aborted, and a member was given its offset {offset} on {at} at {when}"
                );
                about(context, transactions, first, &what, &[*position])
            });
        }
    }
}

/// The transaction that a pending offset belongs to: the last of its session that had asked for it.
fn asked(asks: &[Ask], transactions: &Transactions, resolved: &Resolved) -> u32 {
    let key = (resolved.group, resolved.p, resolved.offset);
    let end = asks.partition_point(|ask| ((ask.0, ask.1, ask.2), ask.3) < (key, resolved.pending));
    let same = asks[..end].iter().rev().take_while(|ask| (ask.0, ask.1, ask.2) == key).take(64);
    let producer = |ask: &Ask| transactions.rows[ask.4 as usize].producer;
    // A zombie of the same session that asks later, and in vain, has an older epoch.
    let exactly = same.clone().find(|ask| producer(ask) == resolved.producer);
    let of_session = || same.clone().find(|ask| producer(ask).0 == resolved.producer.0);
    exactly.or_else(of_session).map_or(NONE, |ask| ask.4)
}
