//! What a shard has asked its broker to append, in order, until the high watermark covers it.
//!
//! Mirrors `TransactionStateManager.appendTransactionToLog` and the delayed produce behind it.
//!
//! Simplifications: NOT_ENOUGH_REPLICAS_AFTER_APPEND does not occur: the high watermark does not
//! move while the in-sync set is too small.

use std::collections::VecDeque;

use oncesim_types::{
    Duration, ErrorCode, Instant, Offset, ProducerEpoch, TopicPartition, TransactionNumber,
    TransactionResult, TransactionalId,
};

use crate::machine::{ReplyTo, TimerKey};
use crate::transaction::TRANSACTION_TIMER;
use crate::transaction::state::Transit;

/// What follows when a write is replicated, or failed.
#[derive(Debug)]
pub(super) enum After {
    /// The session is told.
    InitProducerId(ReplyTo),
    /// The partitions are in the transaction.
    AddPartitions(ReplyTo, Vec<TopicPartition>),
    /// The group's partition is in the transaction.
    AddOffsets(ReplyTo),
    /// The markers are sent.
    End(End),
    /// The transaction is over.
    Complete,
    /// The id is forgotten.
    Expire,
}

/// A decision about a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) reply: EndReply,
    pub(super) result: TransactionResult,
    /// What a client asked for, for the recorder.
    pub(super) issued: Option<(TransactionNumber, ProducerEpoch)>,
}

/// Who is told about a decision.
#[derive(Debug, Clone, Copy)]
pub(super) enum EndReply {
    /// Who sent `EndTxn`; with the session to go on with, in generation 2.
    Client { to: ReplyTo, with_session: bool },
    /// Who sent `InitProducerId` and has to try again.
    Fence(Option<ReplyTo>),
    /// Nobody any more (planted bug).
    Told,
}

/// One write.
#[derive(Debug)]
pub(super) struct Write {
    ticket: u64,
    last_offset: Option<Offset>,
    deadline: Instant,
    timeout: Duration,
    pub(super) transactional_id: TransactionalId,
    /// `None` for a tombstone.
    pub(super) transit: Option<Transit>,
    pub(super) after: After,
}

/// The writes in flight of one shard.
#[derive(Debug)]
pub(super) struct Writes {
    next_ticket: u64,
    queue: VecDeque<Write>,
    high_watermark: Offset,
}

/// Bits of a ticket below the partition.
const TICKET_BITS: u32 = 48;

impl Writes {
    pub(super) fn new(partition: u16) -> Writes {
        Writes {
            next_ticket: u64::from(partition) << TICKET_BITS,
            queue: VecDeque::new(),
            high_watermark: Offset::ZERO,
        }
    }

    /// The partition that a ticket was made for.
    pub(super) fn partition_of(ticket: u64) -> usize {
        usize::try_from(ticket >> TICKET_BITS).expect("a partition has 16 bits")
    }

    /// Begins anew behind a freshly loaded log.
    pub(super) fn loaded(&mut self) {
        self.high_watermark = Offset::ZERO;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a write; returns its ticket.
    pub(super) fn push(
        &mut self,
        transactional_id: TransactionalId,
        transit: Option<Transit>,
        after: After,
        now: Instant,
        timeout: Duration,
    ) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queue.push_back(Write {
            ticket,
            last_offset: None,
            deadline: now + timeout,
            timeout,
            transactional_id,
            transit,
            after,
        });
        ticket
    }

    pub(super) fn appended(&mut self, ticket: u64, last_offset: Offset) {
        if let Some(write) = self.queue.iter_mut().rev().find(|write| write.ticket == ticket) {
            write.last_offset = Some(last_offset);
        }
    }

    pub(super) fn advance(&mut self, high_watermark: Offset) {
        self.high_watermark = self.high_watermark.max(high_watermark);
    }

    /// The oldest write, if it is replicated.
    pub(super) fn pop_replicated(&mut self) -> Option<Write> {
        let last = self.queue.front()?.last_offset?;
        if last < self.high_watermark { self.queue.pop_front() } else { None }
    }

    /// Takes out one write.
    pub(super) fn take(&mut self, ticket: u64) -> Option<Write> {
        let at = self.queue.iter().position(|write| write.ticket == ticket)?;
        self.queue.remove(at)
    }

    /// Takes out all of them.
    pub(super) fn take_all(&mut self) -> VecDeque<Write> {
        std::mem::take(&mut self.queue)
    }

    /// Takes out the writes that took too long. Their records stay in the log.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<Write> {
        let mut overdue = Vec::new();
        for mut write in std::mem::take(&mut self.queue) {
            if write.deadline <= now {
                overdue.push(write);
            } else {
                // A clock that jumped back does not make a timeout longer.
                write.deadline = write.deadline.min(now + write.timeout);
                self.queue.push_back(write);
            }
        }
        overdue
    }

    /// When the next write takes too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue.iter().map(|write| write.deadline).min()
    }
}

/// The coordinator's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimerKind {
    /// A write takes too long.
    Write,
    /// Transactions that take too long are looked for.
    Abort,
    /// Ids that nobody uses are looked for.
    Expire,
    /// Markers are tried again.
    MarkerRetry,
    /// A leader does not answer markers.
    MarkerTimeout,
}

pub(super) fn timer_key(kind: TimerKind) -> TimerKey {
    TimerKey(TRANSACTION_TIMER | (kind as u64) << 32)
}

pub(super) fn read_timer_key(key: TimerKey) -> Option<TimerKind> {
    Some(match (key.0 & !TRANSACTION_TIMER) >> 32 {
        0 => TimerKind::Write,
        1 => TimerKind::Abort,
        2 => TimerKind::Expire,
        3 => TimerKind::MarkerRetry,
        4 => TimerKind::MarkerTimeout,
        _ => return None,
    })
}

/// What a failed append means for whoever asked for it.
pub(super) fn response_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}
