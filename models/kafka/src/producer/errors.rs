//! What a transactional producer makes of an error: try again, give the transaction up, or give
//! itself up.
//!
//! Mirrors the error branches of the `TxnRequestHandler`s of `TransactionManager` and its
//! `maybeTransitionToErrorState` (KIP-588, KIP-654, KIP-890, KIP-1050, KAFKA-19176, KAFKA-19250).
//!
//! Simplifications: the coordinator always supports bumping an epoch (KIP-360, Kafka 2.5), so
//! nothing is fatal only because it doesn't; authorisation errors of the transactional id are fatal
//! (Kafka lets `initTransactions()` be tried again), because nobody is refused here.

use oncesim_types::{ErrorCode, TransactionResult};

/// The requests that a transactional producer sends to coordinators, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    FindCoordinator,
    InitProducerId,
    AddPartitionsToTxn,
    AddOffsetsToTxn,
    TxnOffsetCommit,
    EndTxn(TransactionResult),
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// It is done.
    Done,
    /// The same request again, after a backoff.
    Retry,
    /// The same request again, to the coordinator that a new search finds.
    Lookup,
    /// The transaction must be aborted.
    Abortable,
    /// The transaction must be aborted, and the epoch bumped by the client if the protocol
    /// generation doesn't do that anyway.
    AbortableWithBump,
    /// Only `close()` is left.
    Fatal,
    /// Only `close()` is left: another producer has the same `transactional.id`.
    Fenced,
}

/// What `error` means in the answer to `api`.
pub(super) fn reaction(api: Api, error: ErrorCode) -> Reaction {
    use ErrorCode as E;
    match (api, error) {
        (_, E::None) => Reaction::Done,
        (Api::FindCoordinator, error) if error.is_retriable() => Reaction::Retry,
        (_, E::CoordinatorNotAvailable | E::NotCoordinator)
        | (Api::TxnOffsetCommit, E::RequestTimedOut) => Reaction::Lookup,
        (_, error) if error.is_retriable() => Reaction::Retry,
        // Nothing is left to do about a transaction that can't even be aborted (KAFKA-19250).
        (Api::EndTxn(TransactionResult::Abort), E::TransactionAbortable) => Reaction::Fatal,
        (_, E::TransactionAbortable)
        | (
            Api::FindCoordinator | Api::AddOffsetsToTxn | Api::TxnOffsetCommit,
            E::GroupAuthorizationFailed,
        )
        | (
            Api::TxnOffsetCommit,
            E::UnknownMemberId | E::IllegalGeneration | E::FencedInstanceId | E::StaleMemberEpoch,
        ) => Reaction::Abortable,
        // Coordinators before 2.7 say 47 where later ones say 90 (KIP-588).
        (
            Api::InitProducerId
            | Api::AddPartitionsToTxn
            | Api::AddOffsetsToTxn
            | Api::TxnOffsetCommit
            | Api::EndTxn(_),
            E::InvalidProducerEpoch | E::ProducerFenced,
        ) => Reaction::Fenced,
        (Api::AddPartitionsToTxn | Api::AddOffsetsToTxn | Api::EndTxn(_), E::UnknownProducerId) => {
            Reaction::AbortableWithBump
        }
        (
            Api::AddPartitionsToTxn,
            E::TransactionalIdAuthorizationFailed
            | E::InvalidTxnState
            | E::InvalidProducerIdMapping,
        ) => Reaction::Fatal,
        // A partition that can't be added leaves the others alone.
        (Api::AddPartitionsToTxn, _) => Reaction::Abortable,
        _ => Reaction::Fatal,
    }
}

/// Whether a batch that failed with `error` takes the producer with it, and not only its
/// transaction.
pub(super) fn is_fatal_for_producer(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::ClusterAuthorizationFailed
            | ErrorCode::TransactionalIdAuthorizationFailed
            | ErrorCode::ProducerFenced
            | ErrorCode::UnsupportedVersion
            | ErrorCode::InvalidProducerIdMapping
    )
}

/// What a transaction's later calls throw after a batch failed with `error`. Whatever is retriable
/// is not, once the client has given up: the first copy may be in the log (KAFKA-19176).
pub(super) fn of_failed_batch(error: ErrorCode) -> ErrorCode {
    if error.is_retriable() || error == ErrorCode::InvalidTxnState {
        ErrorCode::TransactionAbortable
    } else {
        error
    }
}

/// Whether a coordinator that answers `error` may have done, or may still do, what it was asked: its
/// log may have the record although it could not wait for its replication.
pub(super) fn may_be_done(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NetworkException
            | ErrorCode::RequestTimedOut
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::UnknownServerError
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorCode as E;
    use Reaction::{Abortable, AbortableWithBump, Done, Fatal, Fenced, Lookup, Retry};

    const COMMIT: Api = Api::EndTxn(TransactionResult::Commit);
    const ABORT: Api = Api::EndTxn(TransactionResult::Abort);

    /// One row per error: FindCoordinator, InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn,
    /// TxnOffsetCommit, EndTxn(commit), EndTxn(abort).
    const TABLE: &[(ErrorCode, [Reaction; 7])] = &[
        (E::None, [Done; 7]),
        (E::NetworkException, [Retry; 7]),
        (E::RequestTimedOut, [Retry, Retry, Retry, Retry, Lookup, Retry, Retry]),
        (E::CoordinatorLoadInProgress, [Retry; 7]),
        (E::ConcurrentTransactions, [Retry; 7]),
        (E::NotCoordinator, [Retry, Lookup, Lookup, Lookup, Lookup, Lookup, Lookup]),
        (E::CoordinatorNotAvailable, [Retry, Lookup, Lookup, Lookup, Lookup, Lookup, Lookup]),
        (E::UnknownTopicOrPartition, [Retry; 7]),
        (E::InvalidProducerEpoch, [Fatal, Fenced, Fenced, Fenced, Fenced, Fenced, Fenced]),
        (E::ProducerFenced, [Fatal, Fenced, Fenced, Fenced, Fenced, Fenced, Fenced]),
        (E::InvalidProducerIdMapping, [Fatal; 7]),
        (E::InvalidTxnState, [Fatal; 7]),
        (E::InvalidTransactionTimeout, [Fatal, Fatal, Abortable, Fatal, Fatal, Fatal, Fatal]),
        (
            E::TransactionAbortable,
            [Abortable, Abortable, Abortable, Abortable, Abortable, Abortable, Fatal],
        ),
        (
            E::UnknownProducerId,
            [
                Fatal,
                Fatal,
                AbortableWithBump,
                AbortableWithBump,
                Fatal,
                AbortableWithBump,
                AbortableWithBump,
            ],
        ),
        (E::OperationNotAttempted, [Fatal, Fatal, Abortable, Fatal, Fatal, Fatal, Fatal]),
        (E::TopicAuthorizationFailed, [Fatal, Fatal, Abortable, Fatal, Fatal, Fatal, Fatal]),
        (
            E::GroupAuthorizationFailed,
            [Abortable, Fatal, Abortable, Abortable, Abortable, Fatal, Fatal],
        ),
        (E::UnknownMemberId, [Fatal, Fatal, Abortable, Fatal, Abortable, Fatal, Fatal]),
        (E::IllegalGeneration, [Fatal, Fatal, Abortable, Fatal, Abortable, Fatal, Fatal]),
        (E::FencedInstanceId, [Fatal, Fatal, Abortable, Fatal, Abortable, Fatal, Fatal]),
        (E::StaleMemberEpoch, [Fatal, Fatal, Abortable, Fatal, Abortable, Fatal, Fatal]),
        (E::UnknownServerError, [Fatal, Fatal, Abortable, Fatal, Fatal, Fatal, Fatal]),
    ];

    #[test]
    fn every_request_has_its_own_way_with_errors() {
        let requests = [
            Api::FindCoordinator,
            Api::InitProducerId,
            Api::AddPartitionsToTxn,
            Api::AddOffsetsToTxn,
            Api::TxnOffsetCommit,
            COMMIT,
            ABORT,
        ];
        for (error, expected) in TABLE {
            let found = requests.map(|api| reaction(api, *error));
            assert_eq!(found, *expected, "{error}");
        }
    }

    #[test]
    fn a_failed_batch_is_never_retriable_for_its_transaction() {
        for (error, told, fatal) in [
            (E::RequestTimedOut, E::TransactionAbortable, false),
            (E::NotEnoughReplicas, E::TransactionAbortable, false),
            (E::InvalidTxnState, E::TransactionAbortable, false),
            (E::InvalidProducerEpoch, E::InvalidProducerEpoch, false),
            (E::OutOfOrderSequenceNumber, E::OutOfOrderSequenceNumber, false),
            (E::MessageTooLarge, E::MessageTooLarge, false),
            (E::TransactionAbortable, E::TransactionAbortable, false),
            (E::ProducerFenced, E::ProducerFenced, true),
            (E::InvalidProducerIdMapping, E::InvalidProducerIdMapping, true),
        ] {
            assert_eq!((of_failed_batch(error), is_fatal_for_producer(error)), (told, fatal));
        }
    }
}
