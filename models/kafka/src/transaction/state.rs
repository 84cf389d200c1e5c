//! A transactional id at its coordinator, and how its state may change.
//!
//! Mirrors `TransactionMetadata`, `TxnTransitMetadata`, `TransactionState`.
//!
//! Every change is prepared, written to the log, and applied when the log is replicated: until then
//! the id has a pending state.
//!
//! Simplifications: a fence (`PREPARE_EPOCH_FENCE`) and the abort that follows it are one step, as
//! nothing can happen between them under Kafka's lock of the id.

use std::rc::Rc;

use oncesim_types::{
    Duration, ErrorCode, Instant, ProducerEpoch, ProducerId, TopicPartition, TransactionNumber,
    TransactionResult, TransactionState,
};

use crate::config::TransactionVersion;
use crate::log::batch::TransactionMetadataValue;

/// The states from which `to` may be entered (`TransactionState.validPreviousStates`).
#[must_use]
pub const fn valid_previous_states(to: TransactionState) -> &'static [TransactionState] {
    use TransactionState::{
        CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit,
        PrepareEpochFence,
    };
    match to {
        Empty | Dead => &[Empty, CompleteCommit, CompleteAbort],
        Ongoing => &[Ongoing, Empty, CompleteCommit, CompleteAbort],
        PrepareCommit | PrepareEpochFence => &[Ongoing],
        // From a state without a transaction: an empty abort in generation 2.
        PrepareAbort => &[Ongoing, PrepareEpochFence, Empty, CompleteCommit, CompleteAbort],
        CompleteCommit => &[PrepareCommit],
        CompleteAbort => &[PrepareAbort],
    }
}

/// Whether the epochs of a producer id are used up; the last one is left for fencing.
pub(super) const fn is_exhausted(epoch: ProducerEpoch) -> bool {
    epoch.0 >= i16::MAX - 1
}

/// The epoch after `epoch`. It wraps only under a planted bug.
pub(super) const fn bumped(epoch: ProducerEpoch) -> ProducerEpoch {
    ProducerEpoch(epoch.0.wrapping_add(1))
}

/// What a transactional id will be once the log has it (`TxnTransitMetadata`).
#[derive(Debug, Clone)]
pub(super) struct Transit {
    /// What is written.
    pub(super) value: Rc<TransactionMetadataValue>,
    /// Not written: a new coordinator does not know it.
    pub(super) last_producer_epoch: ProducerEpoch,
}

/// A transactional id.
#[derive(Debug, Clone)]
pub(super) struct TransactionMetadata {
    pub(super) producer_id: ProducerId,
    /// The id before the last change (KAFKA-20310: a retry over a change of ids is recognised).
    pub(super) previous_producer_id: ProducerId,
    pub(super) next_producer_id: ProducerId,
    pub(super) producer_epoch: ProducerEpoch,
    /// The epoch before the last bump that a client asked for with the epoch that it had (KIP-360).
    pub(super) last_producer_epoch: ProducerEpoch,
    pub(super) timeout: Duration,
    pub(super) state: TransactionState,
    /// Sorted. While markers are written: the partitions whose marker is missing.
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) started: Instant,
    pub(super) updated: Instant,
    /// The generation of the client that the last change came from.
    pub(super) version: TransactionVersion,
    pub(super) number: TransactionNumber,
    /// The state that is being written.
    pub(super) pending: Option<TransactionState>,
    /// Whether a fence could not be written: its epoch is used again (KAFKA-9666).
    pub(super) has_failed_epoch_fence: bool,
    /// What the last marker leads to, while markers are being written.
    pub(super) completing: Option<Transit>,
    /// Why a leader refused a marker for good.
    pub(super) refused: Option<ErrorCode>,
}

impl TransactionMetadata {
    /// An id that nobody used before; nothing is in the log.
    pub(super) fn new(producer_id: ProducerId, timeout: Duration, now: Instant) -> Self {
        TransactionMetadata {
            producer_id,
            previous_producer_id: ProducerId::NONE,
            next_producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            last_producer_epoch: ProducerEpoch::NONE,
            timeout,
            state: TransactionState::Empty,
            partitions: Vec::new(),
            started: Instant::ZERO,
            updated: now,
            version: TransactionVersion::V1,
            number: TransactionNumber::NONE,
            pending: None,
            has_failed_epoch_fence: false,
            completing: None,
            refused: None,
        }
    }

    /// As the log has it.
    pub(super) fn loaded(value: &TransactionMetadataValue) -> Self {
        let mut metadata = Self::new(value.producer_id, value.timeout, value.updated);
        metadata.take(value);
        metadata
    }

    fn take(&mut self, value: &TransactionMetadataValue) {
        self.producer_id = value.producer_id;
        self.previous_producer_id = value.previous_producer_id;
        self.next_producer_id = value.next_producer_id;
        self.producer_epoch = value.producer_epoch;
        self.timeout = value.timeout;
        self.state = value.state;
        self.partitions.clone_from(&value.partitions);
        self.started = value.started;
        self.updated = value.updated;
        self.version = value.version;
        self.number = value.number;
    }

    /// The log has what was prepared. Returns the state before.
    pub(super) fn complete_transition(&mut self, transit: &Transit) -> TransactionState {
        let from = self.state;
        self.take(&transit.value);
        self.last_producer_epoch = transit.last_producer_epoch;
        self.pending = None;
        from
    }

    /// Whether transaction records are about to be ended, or may be.
    pub(super) const fn is_preparing(&self) -> bool {
        matches!(self.state, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }

    pub(super) const fn is_exhausted(&self) -> bool {
        is_exhausted(self.producer_epoch)
    }

    /// Whether not even a fence has an epoch left.
    pub(super) const fn has_no_epoch_left(&self) -> bool {
        self.producer_epoch.0 == i16::MAX
    }

    /// What is in the log if nothing but the state and the time change.
    fn value(&self, state: TransactionState, now: Instant) -> TransactionMetadataValue {
        TransactionMetadataValue {
            producer_id: self.producer_id,
            previous_producer_id: self.producer_id,
            next_producer_id: ProducerId::NONE,
            producer_epoch: self.producer_epoch,
            timeout: self.timeout,
            state,
            partitions: self.partitions.clone(),
            started: self.started,
            updated: now,
            version: self.version,
            number: self.number,
        }
    }

    /// Marks a change as pending.
    fn prepare(&mut self, value: TransactionMetadataValue, last: ProducerEpoch) -> Transit {
        assert!(self.pending.is_none(), "one change of a transactional id at a time");
        assert!(
            valid_previous_states(value.state).contains(&self.state),
            "{:?} does not follow {:?}",
            value.state,
            self.state
        );
        self.pending = Some(value.state);
        Transit { value: Rc::new(value), last_producer_epoch: last }
    }

    /// A session begins or goes on, with `producer_epoch` (`prepareIncrementProducerEpoch`,
    /// `prepareProducerIdRotation`).
    pub(super) fn prepare_session(
        &mut self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        last_producer_epoch: ProducerEpoch,
        timeout: Duration,
        now: Instant,
    ) -> Transit {
        let value = TransactionMetadataValue {
            producer_id,
            producer_epoch,
            timeout,
            partitions: Vec::new(),
            started: Instant::ZERO,
            ..self.value(TransactionState::Empty, now)
        };
        self.prepare(value, last_producer_epoch)
    }

    /// Partitions join the transaction, which begins if there is none (`prepareAddPartitions`).
    pub(super) fn prepare_add_partitions(
        &mut self,
        added: &[TopicPartition],
        version: TransactionVersion,
        number: TransactionNumber,
        now: Instant,
    ) -> Transit {
        let mut value = self.value(TransactionState::Ongoing, now);
        value.version = version;
        if self.state == TransactionState::Ongoing {
            // A request of the transaction before may have come late and begun this one.
            value.number = value.number.max(number);
        } else {
            value.started = now;
            value.number = number;
        }
        // A late request of an earlier transaction may have begun this one: it is that of the newest.
        value.number = value.number.max(number);
        for partition in added {
            if let Err(at) = value.partitions.binary_search(partition) {
                value.partitions.insert(at, *partition);
            }
        }
        self.prepare(value, self.last_producer_epoch)
    }

    /// The transaction's end is decided (`prepareAbortOrCommit`). `next` is the producer id to go on
    /// with when the epochs are used up.
    pub(super) fn prepare_abort_or_commit(
        &mut self,
        result: TransactionResult,
        version: TransactionVersion,
        next: ProducerId,
        now: Instant,
    ) -> Transit {
        let state = match result {
            TransactionResult::Commit => TransactionState::PrepareCommit,
            TransactionResult::Abort => TransactionState::PrepareAbort,
        };
        let mut value = self.value(state, now);
        value.version = version;
        value.next_producer_id = next;
        let mut last = self.last_producer_epoch;
        if version.bumps_per_transaction() {
            value.producer_epoch = bumped(self.producer_epoch);
            last = self.producer_epoch;
        }
        self.prepare(value, last)
    }

    /// The markers are about to be written; what follows them (`prepareComplete`).
    pub(super) fn prepare_complete(&mut self, now: Instant) -> Transit {
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        self.has_failed_epoch_fence = false;
        let mut value = self.value(state, now);
        value.partitions = Vec::new();
        if self.version.bumps_per_transaction() && self.next_producer_id != ProducerId::NONE {
            value.producer_id = self.next_producer_id;
            value.producer_epoch = ProducerEpoch(0);
        }
        self.prepare(value, self.last_producer_epoch)
    }

    /// The id is about to be forgotten (`prepareDead`).
    pub(super) fn prepare_dead(&mut self) {
        let value = self.value(TransactionState::Dead, self.updated);
        self.prepare(value, self.last_producer_epoch);
    }
}

#[cfg(test)]
mod tests {
    use TransactionState::{
        CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit,
        PrepareEpochFence,
    };

    use super::*;

    #[test]
    fn states_follow_each_other_as_in_kafka() {
        let all = [
            Empty,
            Ongoing,
            PrepareCommit,
            PrepareAbort,
            CompleteCommit,
            CompleteAbort,
            Dead,
            PrepareEpochFence,
        ];
        let next = |from: TransactionState| -> Vec<TransactionState> {
            let follows = |to: &TransactionState| valid_previous_states(*to).contains(&from);
            all.into_iter().filter(follows).collect()
        };
        assert_eq!(next(Empty), [Empty, Ongoing, PrepareAbort, Dead]);
        assert_eq!(next(Ongoing), [Ongoing, PrepareCommit, PrepareAbort, PrepareEpochFence]);
        assert_eq!(next(PrepareCommit), [CompleteCommit]);
        assert_eq!(next(PrepareAbort), [CompleteAbort]);
        assert_eq!(next(CompleteCommit), [Empty, Ongoing, PrepareAbort, Dead]);
        assert_eq!(next(CompleteAbort), [Empty, Ongoing, PrepareAbort, Dead]);
        assert_eq!(next(PrepareEpochFence), [PrepareAbort]);
        assert_eq!(next(Dead), []);
    }
}
