//! What a shard has asked its broker to append, in order, until the high watermark covers it.
//!
//! Mirrors `CoordinatorRuntime`'s deferred events (`DeferredEventQueue`, `CoordinatorTimer` for
//! `offsets.commit.timeout.ms`).
//!
//! Simplifications: one timer for all writes of a shard, re-armed only when it goes off, so that a
//! commit costs no timer while others are in flight.

use std::collections::VecDeque;

use oncesim_types::{
    Duration, ErrorCode, GenerationId, GroupId, Instant, LeaderEpoch, MemberId, Offset,
    ProducerEpoch, ProducerId, TopicPartition, TransactionResult,
};

use crate::config::BrokerConfig;
use crate::group::pending_offsets::PendingOffsets;
use crate::group::{GROUP_TIMER, GroupEffect, TransactionalWrite};
use crate::log::batch::CoordinatorRecord;
use crate::machine::{ReplyTo, TimerKey};
use crate::message::{OffsetFetchRequest, Response};
use crate::mutation::Mutations;
use crate::note::Note;

use super::classic_group::StaticReplacement;

/// What follows when a write is durable, or failed.
#[derive(Debug)]
pub(super) enum Work {
    /// An offset commit.
    Commit(Commit),
    /// The assignment of a generation.
    Assignment {
        group: GroupId,
        generation: GenerationId,
        assignments: Vec<(MemberId, Vec<TopicPartition>)>,
    },
    /// A static member's new member id.
    Replacement(Box<StaticReplacement>),
    /// A group without members: nobody waits.
    Emptied,
    /// A transaction's marker, which the log had already.
    Marker { producer_id: ProducerId, result: TransactionResult },
    /// Nothing written: committed offsets are read once all earlier writes are durable.
    Read { to: ReplyTo, request: OffsetFetchRequest },
}

/// An offset commit that has passed validation.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) group: GroupId,
    pub(super) member: Option<MemberId>,
    pub(super) generation: GenerationId,
    /// The group's generation at validation.
    pub(super) current: GenerationId,
    pub(super) offsets: Vec<(TopicPartition, Offset, LeaderEpoch)>,
    /// The session whose transaction it belongs to, if any.
    pub(super) transaction: Option<(ProducerId, ProducerEpoch)>,
    /// Who waits; `None` once answered.
    pub(super) reply: Option<ReplyTo>,
    /// Whether memory has it already (planted bug).
    pub(super) applied: bool,
    /// Where its first record is in the log, once it is there.
    pub(super) base_offset: Offset,
}

#[derive(Debug)]
struct Write {
    ticket: u64,
    /// Where its records end in the log, once they are there; a read waits for what is before it.
    last_offset: Option<Offset>,
    deadline: Instant,
    work: Work,
}

/// The writes in flight of one shard.
#[derive(Debug)]
pub(super) struct Writes {
    partition: u16,
    /// The epoch in which the broker leads the partition.
    epoch: LeaderEpoch,
    next_ticket: u64,
    queue: VecDeque<Write>,
    high_watermark: Offset,
    /// The log end when the shard was loaded: what is below counts once the high watermark is here.
    loaded_end: Offset,
    /// What loading found that nobody may have been told: it was not durable, as far as this broker
    /// knew when it was elected.
    untold: VecDeque<(Offset, Note)>,
    /// Whether the high watermark has not been reported since the log was loaded.
    fresh: bool,
    timer: bool,
}

/// Bits of a ticket below the partition.
const TICKET_BITS: u32 = 48;

impl Writes {
    pub(super) fn new(partition: u16) -> Writes {
        Writes {
            partition,
            epoch: LeaderEpoch::NONE,
            next_ticket: u64::from(partition) << TICKET_BITS,
            queue: VecDeque::new(),
            high_watermark: Offset::ZERO,
            loaded_end: Offset::ZERO,
            untold: VecDeque::new(),
            fresh: false,
            timer: false,
        }
    }

    /// The partition that a ticket was made for.
    pub(super) fn partition_of(ticket: u64) -> usize {
        usize::try_from(ticket >> TICKET_BITS).expect("a partition has 16 bits")
    }

    /// The broker leads the partition with `epoch`.
    pub(super) fn elected(&mut self, epoch: LeaderEpoch) {
        self.epoch = epoch;
    }

    /// Begins anew behind a freshly loaded log.
    pub(super) fn loaded(&mut self, end: Offset) {
        self.loaded_end = end;
        self.high_watermark = Offset::ZERO;
        self.fresh = true;
    }

    /// To be told once the high watermark has passed `offset`.
    pub(super) fn tell_later(&mut self, offset: Offset, note: Note) {
        self.untold.push_back((offset, note));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether everything loaded or written is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.queue.is_empty() && self.has_loaded_durably()
    }

    /// Whether everything loaded is durable.
    pub(super) fn has_loaded_durably(&self) -> bool {
        self.high_watermark >= self.loaded_end
    }

    pub(super) fn appended(&mut self, ticket: u64, base_offset: Offset, last_offset: Offset) {
        if let Some(write) = self.queue.iter_mut().rev().find(|write| write.ticket == ticket) {
            write.last_offset = Some(last_offset);
            if let Work::Commit(commit) = &mut write.work {
                commit.base_offset = base_offset;
            }
        }
    }

    pub(super) fn advance(&mut self, high_watermark: Offset) {
        self.high_watermark = self.high_watermark.max(high_watermark);
    }

    /// The oldest write, if it is durable.
    pub(super) fn pop_durable(&mut self) -> Option<Work> {
        let last = self.queue.front()?.last_offset?;
        if last >= self.high_watermark && last >= Offset::ZERO {
            return None;
        }
        self.queue.pop_front().map(|write| write.work)
    }

    /// Takes out a write that was not appended.
    pub(super) fn take(&mut self, ticket: u64) -> Option<Work> {
        let at = self.queue.iter().position(|write| write.ticket == ticket)?;
        self.queue.remove(at).map(|write| write.work)
    }

    /// Takes out all of them.
    pub(super) fn take_all(&mut self) -> Vec<Work> {
        self.queue.drain(..).map(|write| write.work).collect()
    }

    /// The writes that took too long. A commit stays, without anybody who waits: it may still
    /// become durable.
    pub(super) fn expire(&mut self, now: Instant, timeout: Duration) -> Vec<Work> {
        let mut expired = Vec::new();
        let mut kept = VecDeque::with_capacity(self.queue.len());
        for mut write in self.queue.drain(..) {
            if write.deadline > now {
                if write.deadline != Instant::NEVER {
                    // A clock that jumped back does not make a timeout longer.
                    write.deadline = write.deadline.min(now + timeout);
                }
                kept.push_back(write);
                continue;
            }
            write.deadline = Instant::NEVER;
            if let Work::Commit(commit) = &mut write.work {
                let waiting = Commit { offsets: commit.offsets.clone(), ..*commit };
                commit.reply = None;
                kept.push_back(write);
                expired.push(Work::Commit(waiting));
            } else {
                expired.push(write.work);
            }
        }
        self.queue = kept;
        expired
    }
}

/// One call of the broker: the time, the rules and where effects go.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a BrokerConfig,
    pub(super) mutations: Mutations,
    pub(super) writes: &'a mut Writes,
    pub(super) pending: &'a mut PendingOffsets,
    pub(super) out: &'a mut Vec<GroupEffect>,
}

/// The timers of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimerKind {
    /// A write of the shard takes too long.
    Write,
    /// A member of a group has not been heard.
    Session,
    /// A group waits for its members to join.
    Join,
    /// A group waits for its members to sync.
    Sync,
    /// A planted bug has put something off.
    Materialize,
}

/// `GROUP_TIMER | kind << 32 | partition << 16 | group`.
pub(super) fn timer_key(kind: TimerKind, partition: u16, group: GroupId) -> TimerKey {
    TimerKey(GROUP_TIMER | (kind as u64) << 32 | u64::from(partition) << 16 | u64::from(group.0))
}

/// What `timer_key` made; `None` for a key that is not the coordinator's.
pub(super) fn read_timer_key(key: TimerKey) -> Option<(TimerKind, u16, GroupId)> {
    let kind = match (key.0 & !GROUP_TIMER) >> 32 {
        0 => TimerKind::Write,
        1 => TimerKind::Session,
        2 => TimerKind::Join,
        3 => TimerKind::Sync,
        4 => TimerKind::Materialize,
        _ => return None,
    };
    let [_, _, _, _, p1, p0, g1, g0] = key.0.to_be_bytes();
    Some((kind, u16::from_be_bytes([p1, p0]), GroupId(u16::from_be_bytes([g1, g0]))))
}

impl Turn<'_> {
    pub(super) fn reply(&mut self, to: ReplyTo, response: Response) {
        self.out.push(GroupEffect::Reply(to, response));
    }

    pub(super) fn note(&mut self, note: Note) {
        self.out.push(GroupEffect::Note(note));
    }

    pub(super) fn set_timer(&mut self, kind: TimerKind, group: GroupId, after: Duration) {
        let key = timer_key(kind, self.writes.partition, group);
        self.out.push(GroupEffect::SetTimer(key, after));
    }

    pub(super) fn cancel_timer(&mut self, kind: TimerKind, group: GroupId) {
        let key = timer_key(kind, self.writes.partition, group);
        self.out.push(GroupEffect::CancelTimer(key));
    }

    /// Appends `records`; `work` follows.
    pub(super) fn append(&mut self, records: Vec<CoordinatorRecord>, work: Work) {
        self.append_in(None, records, work);
    }

    /// Appends `records` within a transaction; `work` follows.
    pub(super) fn append_in(
        &mut self,
        transaction: Option<TransactionalWrite>,
        records: Vec<CoordinatorRecord>,
        work: Work,
    ) {
        let ticket = self.writes.next_ticket;
        self.writes.next_ticket += 1;
        let partition = self.writes.partition;
        self.out.push(GroupEffect::Append { partition, records, ticket, transaction });
        self.push(ticket, None, work);
    }

    /// A marker is in the log; it acts when everything up to it is durable.
    pub(super) fn after_marker(
        &mut self,
        producer_id: ProducerId,
        result: TransactionResult,
        offset: Offset,
    ) {
        let ticket = self.writes.next_ticket;
        self.writes.next_ticket += 1;
        let (last_offset, deadline) = (Some(offset), Instant::NEVER);
        let work = Work::Marker { producer_id, result };
        self.writes.queue.push_back(Write { ticket, last_offset, deadline, work });
    }

    /// The high watermark has moved: tells what it covers of what was loaded.
    pub(super) fn tell_loaded(&mut self) {
        let high_watermark = self.writes.high_watermark;
        let fresh = std::mem::take(&mut self.writes.fresh);
        while let Some((_, note)) =
            self.writes.untold.pop_front_if(|(offset, _)| *offset < high_watermark)
        {
            if !fresh {
                self.note(note);
            }
        }
    }

    /// The epoch in which this coordinator writes.
    pub(super) fn coordinator_epoch(&self) -> LeaderEpoch {
        self.writes.epoch
    }

    /// Reads behind every write so far.
    pub(super) fn read_behind_writes(&mut self, to: ReplyTo, request: OffsetFetchRequest) {
        let ticket = self.writes.next_ticket;
        self.writes.next_ticket += 1;
        let before = Offset(self.writes.loaded_end.0 - 1);
        self.push(ticket, Some(before), Work::Read { to, request });
    }

    fn push(&mut self, ticket: u64, last_offset: Option<Offset>, work: Work) {
        let deadline = self.now + self.config.offsets_commit_timeout;
        self.writes.queue.push_back(Write { ticket, last_offset, deadline, work });
        self.arm_write_timer();
    }

    /// Arms the timer for the oldest write that somebody waits for, unless it is armed.
    pub(super) fn arm_write_timer(&mut self) {
        let mut deadlines = self.writes.queue.iter().map(|write| write.deadline);
        if !self.writes.timer
            && let Some(deadline) = deadlines.find(|deadline| *deadline != Instant::NEVER)
        {
            self.writes.timer = true;
            self.set_timer(TimerKind::Write, GroupId(0), deadline.since(self.now));
        }
    }

    pub(super) fn write_timer_fired(&mut self) {
        self.writes.timer = false;
    }

    pub(super) fn cancel_write_timer(&mut self) {
        if std::mem::take(&mut self.writes.timer) {
            self.cancel_timer(TimerKind::Write, GroupId(0));
        }
    }
}

/// How a client is told that the coordinator could not write
/// (`appendGroupMetadataErrorToResponseError`, `handleOperationException`).
pub(super) fn response_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        other => other,
    }
}
