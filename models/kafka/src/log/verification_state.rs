//! Which transactions are being verified with their coordinator before their first append.
//!
//! Mirrors `VerificationGuard`, `VerificationStateEntry` and the verification states of
//! `ProducerStateManager` (KIP-890 part 1, KAFKA-14920, KAFKA-18202, KAFKA-18575).
//!
//! Simplifications: entries do not expire (Kafka: with `producer.id.expiration.ms`); a stale one is
//! good for nothing without the coordinator's word.

use oncesim_types::{ProducerEpoch, ProducerId, Sequence};

use crate::log::batch::{RecordBatch, Records};

/// Stands for one verification: an append that was verified under another guard is refused (ABA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationGuard(u64);

/// A verification that has not led to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationStateEntry {
    /// Whose.
    pub producer_id: ProducerId,
    /// What an append has to show.
    pub guard: VerificationGuard,
    /// The newest epoch that asked.
    pub epoch: ProducerEpoch,
    /// The lowest sequence of that epoch that asked: nothing later is appended before it.
    pub lowest_sequence: Sequence,
    /// Whether the client has an epoch per transaction (transaction version 2).
    pub supports_epoch_bump: bool,
}

/// The verifications of one partition. Not on disk.
#[derive(Debug, Clone, Default)]
pub struct VerificationStates {
    entries: Vec<VerificationStateEntry>,
    given: u64,
}

impl VerificationStates {
    /// The verification of a producer's transaction, if one is under way.
    #[must_use]
    pub fn entry(&self, producer_id: ProducerId) -> Option<&VerificationStateEntry> {
        self.entries.iter().find(|entry| entry.producer_id == producer_id)
    }

    /// Begins a verification, or joins the one that is under way.
    pub(super) fn begin(
        &mut self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        sequence: Sequence,
        supports_epoch_bump: bool,
    ) -> VerificationGuard {
        let known = self.entries.iter_mut().find(|entry| entry.producer_id == producer_id);
        if let Some(entry) = known {
            if epoch > entry.epoch {
                entry.epoch = epoch;
                entry.lowest_sequence = sequence;
            } else if epoch == entry.epoch {
                entry.lowest_sequence = entry.lowest_sequence.min(sequence);
            }
            return entry.guard;
        }
        self.given += 1;
        let guard = VerificationGuard(self.given);
        let lowest_sequence = sequence;
        self.entries.push(VerificationStateEntry {
            producer_id,
            guard,
            epoch,
            lowest_sequence,
            supports_epoch_bump,
        });
        guard
    }

    /// A batch was appended: its verification has done its duty, or is out of date. Only one that
    /// began under the epoch which the marker of the transaction before brings goes on.
    pub(super) fn appended(&mut self, batch: &RecordBatch) {
        if !batch.transactional || self.entries.is_empty() {
            return;
        }
        let is_marker = matches!(batch.records, Records::Control(_));
        self.entries.retain(|entry| {
            entry.producer_id != batch.producer_id
                || (is_marker && entry.supports_epoch_bump && entry.epoch == batch.producer_epoch)
        });
    }

    /// A restart: nothing is being verified.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// What a transactional append has to show for itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verification<'a> {
    /// Whether it has to (`transaction.partition.verification.enable`).
    pub required: bool,
    /// What the coordinator's word was given for.
    pub guard: Option<VerificationGuard>,
    /// What the log knows of it.
    pub state: Option<&'a VerificationStateEntry>,
}

impl Verification<'_> {
    /// Whether there is nothing to show, or it is shown.
    #[must_use]
    pub fn is_given(&self) -> bool {
        !self.required || self.guard.is_some() && self.guard == self.state.map(|state| state.guard)
    }
}
