//! Offsets that wait for their transaction to end.
//!
//! Mirrors `OffsetMetadataManager.pendingTransactionalOffsets`, `openTransactions` and
//! `replayEndTransactionMarker` (KIP-98, KIP-447).
//!
//! Simplifications: like other commits, a transaction's offsets enter memory when the high
//! watermark covers them, and its marker acts when it is covered (Kafka: both at once, in a state
//! that plain reads do not see yet). A read that must be stable waits for every earlier write, so
//! that it sees the same.

use std::collections::{BTreeMap, VecDeque};

use oncesim_types::{
    Duration, GroupId, Instant, LeaderEpoch, Offset, ProducerId, TopicPartition, TransactionResult,
};

use crate::group::classic_group::ClassicGroup;
use crate::group::shard::Groups;
use crate::group::writes::{TimerKind, Turn};
use crate::mutation::Mutation;
use crate::note::Note;

/// How long a planted bug puts off what a marker means.
const MATERIALIZATION_DELAY: Duration = Duration::from_millis(100);

/// A committed offset as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommittedOffset {
    pub(super) offset: Offset,
    pub(super) leader_epoch: LeaderEpoch,
    /// Where its record is in the log: the latest one counts.
    pub(super) record: Offset,
}

/// The offsets of one transaction.
type Offsets = BTreeMap<(GroupId, TopicPartition), CommittedOffset>;

/// The pending offsets of a shard.
#[derive(Debug, Default)]
pub(super) struct PendingOffsets {
    by_producer: BTreeMap<ProducerId, Offsets>,
    /// Markers that a planted bug has not acted on.
    put_off: VecDeque<(Instant, ProducerId, TransactionResult)>,
}

impl PendingOffsets {
    pub(super) fn is_empty(&self) -> bool {
        self.by_producer.is_empty()
    }

    pub(super) fn insert(
        &mut self,
        producer_id: ProducerId,
        group: GroupId,
        partition: TopicPartition,
        offset: CommittedOffset,
    ) {
        let offsets = self.by_producer.entry(producer_id).or_default();
        offsets.insert((group, partition), offset);
    }

    /// Whether an open transaction may still move an offset.
    pub(super) fn concerns(&self, group: GroupId, partition: TopicPartition) -> bool {
        self.by_producer.values().any(|offsets| offsets.contains_key(&(group, partition)))
    }

    pub(super) fn clear(&mut self) {
        self.by_producer.clear();
        self.put_off.clear();
    }
}

/// The transaction of a producer has ended: its offsets count, or are dropped. Says what became of
/// each.
pub(super) fn resolve(
    groups: &mut Groups,
    producer_id: ProducerId,
    result: TransactionResult,
    turn: &mut Turn<'_>,
    mut tell: impl FnMut(&mut Turn<'_>, Note),
) {
    let Some(offsets) = turn.pending.by_producer.remove(&producer_id) else { return };
    for ((group, partition), pending) in offsets {
        let mut offset = pending.offset;
        if result == TransactionResult::Commit {
            let known = groups.entry(group).or_insert_with(|| ClassicGroup::new(group));
            let current = known.offsets.get(&partition).copied();
            // What was written later stands, whichever transaction ends last.
            let mut counts = current.is_none_or(|current| pending.record > current.record);
            if !counts && turn.mutations.has(Mutation::GroupMaterializeNoOrderCheck) {
                turn.note(Note::MutationHit);
                counts = true;
            }
            if counts {
                known.offsets.insert(partition, pending);
            } else if let Some(current) = current {
                offset = current.offset;
            }
        }
        let coordinator_epoch = turn.coordinator_epoch();
        let note = Note::OffsetResolved {
            group,
            producer_id,
            partition,
            offset,
            result,
            coordinator_epoch,
        };
        tell(turn, note);
    }
}

/// A marker is durable.
pub(super) fn marker_written(
    groups: &mut Groups,
    producer_id: ProducerId,
    result: TransactionResult,
    turn: &mut Turn<'_>,
) {
    let concerned = turn.pending.by_producer.contains_key(&producer_id);
    if concerned && turn.mutations.has(Mutation::GroupAsyncMaterialize) {
        turn.note(Note::MutationHit);
        let due = turn.now + MATERIALIZATION_DELAY;
        turn.pending.put_off.push_back((due, producer_id, result));
        arm(turn);
        return;
    }
    resolve(groups, producer_id, result, turn, |turn, note| turn.note(note));
}

/// For the planted bug: acts on what is due, by then perhaps on another transaction's offsets.
pub(super) fn on_timer(groups: &mut Groups, turn: &mut Turn<'_>) {
    while let Some((_, producer_id, result)) = {
        let now = turn.now;
        turn.pending.put_off.pop_front_if(|(due, ..)| *due <= now)
    } {
        resolve(groups, producer_id, result, turn, |turn, note| turn.note(note));
    }
    arm(turn);
}

fn arm(turn: &mut Turn<'_>) {
    if let Some((due, ..)) = turn.pending.put_off.front() {
        let after = due.since(turn.now);
        turn.set_timer(TimerKind::Materialize, GroupId(0), after);
    }
}

/// The broker resigns.
pub(super) fn unload(turn: &mut Turn<'_>) {
    if !turn.pending.put_off.is_empty() {
        turn.cancel_timer(TimerKind::Materialize, GroupId(0));
    }
    turn.pending.clear();
}
