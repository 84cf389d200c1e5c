//! Which errors can be seen where.
//!
//! Measured over the corpus and read in the model; a test runs scenarios and looks for errors that
//! are missing here.

use oncesim_types::{ErrorCode, Operation, SystemError};

use super::point::Call;

/// A group coordinator refuses a commit.
pub(super) const COMMIT_REFUSED: &[ErrorCode] = &[
    ErrorCode::UnknownMemberId,
    ErrorCode::IllegalGeneration,
    ErrorCode::FencedInstanceId,
    ErrorCode::RebalanceInProgress,
    ErrorCode::CoordinatorNotAvailable,
];

/// A producer sends a batch again. A broker without room for it halts, and its answer
/// `KAFKA_STORAGE_ERROR` is lost with its connections; a partition that does not exist is in no
/// scenario.
pub(super) const RETRIED: &[ErrorCode] = &[
    ErrorCode::NetworkException,
    ErrorCode::NotLeaderOrFollower,
    ErrorCode::NotEnoughReplicas,
    ErrorCode::NotEnoughReplicasAfterAppend,
    ErrorCode::RequestTimedOut,
    ErrorCode::OutOfOrderSequenceNumber,
    ErrorCode::ConcurrentTransactions,
];

/// A leader refuses a batch, or has it already.
pub(super) const BATCH_REFUSED: &[ErrorCode] = &[
    ErrorCode::DuplicateSequenceNumber,
    ErrorCode::OutOfOrderSequenceNumber,
    ErrorCode::InvalidProducerEpoch,
    ErrorCode::InvalidTxnState,
];

/// A leader refuses the end of a transaction.
pub(super) const MARKER_REFUSED: &[ErrorCode] =
    &[ErrorCode::InvalidProducerEpoch, ErrorCode::TransactionCoordinatorFenced];

/// What a call fails with, and with what it ends without anybody knowing how.
pub(super) const fn of_call(call: Call) -> (&'static [ErrorCode], &'static [ErrorCode]) {
    use ErrorCode as E;
    match call {
        Call::Send => (
            &[
                E::RequestTimedOut,
                E::OutOfOrderSequenceNumber,
                E::UnknownMemberId,
                E::InvalidProducerEpoch,
                E::ProducerFenced,
                E::TransactionAbortable,
            ],
            &[
                E::RequestTimedOut,
                E::NetworkException,
                E::NotLeaderOrFollower,
                E::OutOfOrderSequenceNumber,
                E::InvalidProducerEpoch,
                E::ProducerFenced,
                E::TransactionAbortable,
            ],
        ),
        Call::InitTransactions => (&[], &[E::RequestTimedOut]),
        Call::SendOffsets => (
            &[
                E::UnknownMemberId,
                E::InvalidProducerEpoch,
                E::ProducerFenced,
                E::TransactionAbortable,
            ],
            &[
                E::RequestTimedOut,
                E::UnknownMemberId,
                E::InvalidProducerEpoch,
                E::ProducerFenced,
                E::TransactionAbortable,
            ],
        ),
        Call::CommitTransaction => (
            &[
                E::OutOfOrderSequenceNumber,
                E::InvalidProducerEpoch,
                E::InvalidTxnState,
                E::ProducerFenced,
                E::TransactionAbortable,
            ],
            &[E::RequestTimedOut, E::InvalidTxnState, E::ProducerFenced],
        ),
        Call::AbortTransaction => (
            &[E::InvalidRequest, E::InvalidTxnState, E::ProducerFenced],
            &[E::RequestTimedOut, E::ProducerFenced],
        ),
        Call::Commit => (
            &[E::UnknownMemberId, E::RebalanceInProgress, E::CoordinatorNotAvailable],
            &[
                E::RequestTimedOut,
                E::NetworkException,
                E::CoordinatorNotAvailable,
                E::NotCoordinator,
                E::UnknownMemberId,
            ],
        ),
    }
}

/// What a request to a system is refused with, or ends with.
pub(super) const fn of_operation(operation: Operation) -> &'static [SystemError] {
    use SystemError as E;
    match operation {
        Operation::Begin | Operation::Capture | Operation::Snapshot | Operation::Rollback => {
            &[E::ConnectionLost, E::Timeout, E::Unavailable]
        }
        Operation::Execute => {
            &[E::ConnectionLost, E::Timeout, E::Unavailable, E::Deadlock, E::IdleTimeout]
        }
        Operation::Commit => {
            &[E::ConnectionLost, E::Timeout, E::Unavailable, E::Deadlock, E::IdleTimeout]
        }
        // A claim of the partition comes after that of a newer owner.
        Operation::Pending => &[E::ConnectionLost, E::Timeout, E::Unavailable, E::Fenced],
        Operation::Perform => &[E::ConnectionLost, E::Timeout, E::Unavailable, E::InProgress],
        Operation::Prepare => {
            &[E::ConnectionLost, E::Timeout, E::Unavailable, E::Fenced, E::UnknownTransaction]
        }
        // The fence is asked when something is prepared; what is prepared may be finished by anybody.
        Operation::Finish => {
            &[E::ConnectionLost, E::Timeout, E::Unavailable, E::UnknownTransaction]
        }
    }
}
