//! What planted bugs make of a leader's judgement of a batch.

use oncesim_types::{ErrorCode, LeaderEpoch, ProducerEpoch};

use crate::config::TransactionVersion;
use crate::log::batch::RecordBatch;
use crate::log::{AppendOrigin, ProducerStates, Validation, Verification};
use crate::mutation::{Mutation, Mutations};

/// A batch and what is known of its producer.
pub(super) struct Planted<'a> {
    pub(super) mutations: Mutations,
    pub(super) producers: &'a ProducerStates,
    pub(super) batch: &'a RecordBatch,
    pub(super) origin: AppendOrigin,
    pub(super) verification: Verification<'a>,
}

impl Planted<'_> {
    /// The verdict instead of `right`.
    pub(super) fn verdict(&self, right: Validation) -> Validation {
        let Planted { mutations, producers, batch, origin, verification } = self;
        let unverified = producers.lacks_verification(batch, verification);
        let lenient = Verification { required: false, ..*verification };
        match right {
            Validation::Duplicate(_) if mutations.has(Mutation::PsmNoDupCache) => {
                Validation::Refused(ErrorCode::OutOfOrderSequenceNumber)
            }
            Validation::Refused(ErrorCode::OutOfOrderSequenceNumber)
                if mutations.has(Mutation::PsmAcceptNonzeroFirstSequence) =>
            {
                Validation::New
            }
            Validation::Refused(ErrorCode::InvalidTxnState)
                if mutations.has(Mutation::TxnNoVerification) && unverified
                    || mutations.has(Mutation::TxnTv2StaleGuard)
                        && has_any_transaction(producers, batch) =>
            {
                producers.validate(batch, *origin, &lenient)
            }
            right => right,
        }
    }
}

/// Whether a producer has a transaction open, of whatever epoch.
pub(super) fn has_any_transaction(producers: &ProducerStates, batch: &RecordBatch) -> bool {
    batch.transactional
        && producers
            .entry(batch.producer_id)
            .is_some_and(|entry| entry.current_txn_first_offset.is_some())
}

/// What planted bugs make of a leader's judgement of a marker.
pub(super) fn marker_verdict(
    mutations: Mutations,
    producers: &ProducerStates,
    batch: &RecordBatch,
    coordinator_epoch: LeaderEpoch,
    version: TransactionVersion,
    right: Result<(), ErrorCode>,
) -> Result<(), ErrorCode> {
    let (producer_id, epoch) = (batch.producer_id, batch.producer_epoch);
    let known = producers.entry(producer_id).map_or(ProducerEpoch::NONE, |entry| entry.epoch);
    let is_same_epoch = version.bumps_per_transaction() && epoch == known;
    match right {
        Ok(()) if mutations.has(Mutation::TxnTv2MarkerStrict) && is_same_epoch => {
            Err(ErrorCode::InvalidProducerEpoch)
        }
        Err(ErrorCode::InvalidProducerEpoch)
            if mutations.has(Mutation::TxnTv2MarkerLenient) && is_same_epoch =>
        {
            producers.validate_marker(producer_id, epoch, coordinator_epoch, TransactionVersion::V1)
        }
        Err(ErrorCode::TransactionCoordinatorFenced)
            if mutations.has(Mutation::TxnNoCoordinatorEpoch) =>
        {
            Ok(())
        }
        right => right,
    }
}
