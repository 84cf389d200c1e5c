//! The open transactions of a partition, and the index of aborted ones.
//!
//! Mirrors `ProducerStateManager` (`ongoingTxns`, `unreplicatedTxns`, `firstUnstableOffset`),
//! `TransactionIndex` and `AbortedTxn` (KIP-98).
//!
//! Simplifications: the index is of the whole log, not of a segment.

use oncesim_types::{Offset, ProducerId};

use crate::message::AbortedTransaction;

/// A transaction that a marker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// Offset of its first record.
    pub first_offset: Offset,
    /// Offset of its marker.
    pub last_offset: Offset,
    /// The first open transaction then, or the offset after the marker: nothing below will ever be
    /// aborted.
    pub last_stable_offset: Offset,
    /// Whether it was aborted.
    pub aborted: bool,
}

/// Transactions that keep readers of committed data waiting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transactions {
    /// First offsets of open transactions, sorted.
    ongoing: Vec<Offset>,
    /// First and last offsets of ended ones whose marker is not below the high watermark, sorted.
    unreplicated: Vec<(Offset, Offset)>,
}

impl Transactions {
    pub(super) fn begin(&mut self, first_offset: Offset) {
        self.ongoing.push(first_offset);
    }

    /// Ends the transaction that begins at `first_offset`; says which offset is stable then.
    pub(super) fn end(&mut self, first_offset: Offset, last_offset: Offset) -> Offset {
        if let Ok(at) = self.ongoing.binary_search(&first_offset) {
            self.ongoing.remove(at);
        }
        let at = self.unreplicated.partition_point(|(first, _)| *first < first_offset);
        self.unreplicated.insert(at, (first_offset, last_offset));
        self.ongoing.first().copied().unwrap_or(last_offset.next())
    }

    pub(super) fn first_unstable_offset(&self) -> Option<Offset> {
        let ongoing = self.ongoing.first().copied();
        let unreplicated = self.unreplicated.first().map(|(first, _)| *first);
        match (ongoing, unreplicated) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(super) fn high_watermark_moved(&mut self, to: Offset) {
        self.unreplicated.retain(|(_, last)| *last >= to);
    }

    pub(super) fn forget_unreplicated(&mut self) {
        self.unreplicated.clear();
    }
}

/// The aborted transactions of a log, in the order of their markers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionIndex {
    aborted: Vec<CompletedTransaction>,
}

impl TransactionIndex {
    /// All of them.
    #[must_use]
    pub fn aborted(&self) -> &[CompletedTransaction] {
        &self.aborted
    }

    pub(super) fn add(&mut self, completed: CompletedTransaction) {
        if completed.aborted {
            self.aborted.push(completed);
        }
    }

    /// Forgets the transactions whose marker is not below `to`.
    pub(super) fn truncate(&mut self, to: Offset) {
        let keep = self.aborted.partition_point(|aborted| aborted.last_offset < to);
        self.aborted.truncate(keep);
    }

    /// The aborted transactions that a reader of `from..to` must know.
    #[must_use]
    pub fn overlapping(&self, from: Offset, to: Offset) -> Vec<AbortedTransaction> {
        let first = self.aborted.partition_point(|aborted| aborted.last_offset < from);
        let mut found = Vec::new();
        for aborted in &self.aborted[first..] {
            if aborted.first_offset < to {
                found.push(AbortedTransaction {
                    producer_id: aborted.producer_id,
                    first_offset: aborted.first_offset,
                });
            }
            // Everything that was open below had ended before this one.
            if aborted.last_stable_offset >= to {
                break;
            }
        }
        found
    }
}
