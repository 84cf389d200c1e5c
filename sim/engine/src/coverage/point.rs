//! The points that there are, by area, and their names.
//!
//! | left out | why |
//! |---|---|
//! | the group state `Dead` | groups are neither deleted nor expired while a run lasts |
//! | a broker that registers after a clean end | brokers crash; nothing shuts one down |
//! | a commit without membership | only who assigns partitions by hand could, and those (restore consumers, the last reader) commit nothing |
//! | errors that only an administrator, an authorizer or another version causes | neither is modelled |
//! | what only a planted bug does: a transaction's end that ends the next one, a commit with an old generation | reaching it is an anomaly, and checkers report it |
//! | responses with an error that the client retries by itself | the client's answer counts; a producer's retries have points of their own |

use std::fmt;
use std::sync::LazyLock;

use oncesim_history::PositionReason;
use oncesim_kafka::group::GroupState;
use oncesim_kafka::transaction::valid_previous_states;
use oncesim_spec::FaultKind;
use oncesim_types::{ErrorCode, Operation, SystemError, TransactionState};

use super::errors;

/// One thing that can happen. The order is that of the bits of a coverage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Point {
    TransactionEdge(TransactionState, TransactionState),
    Transaction(Transaction),
    GroupEdge(GroupState, GroupState),
    Rebalance(&'static str),
    Group(Group),
    CommitRefused(ErrorCode),
    Partition(Partition),
    Producer(Producer),
    Retry(ErrorCode),
    BatchRefused(ErrorCode),
    MarkerRefused(ErrorCode),
    Consumer(Consumer),
    Position(PositionReason),
    /// A call of a client failed, or (`true`) ended without anybody knowing how.
    Failed(Call, ErrorCode, bool),
    System(System),
    /// A request to a system was refused, or nobody knows.
    Asked(Operation, SystemError),
    Struck(FaultKind, Situation),
    Then(FaultKind, Step),
}

/// Declares an enum of facts with their names.
macro_rules! facts {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $words:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) enum $name { $($variant,)* }

        impl $name {
            pub(super) const ALL: &'static [$name] = &[$($name::$variant,)*];

            pub(super) const fn words(self) -> &'static str {
                match self { $($name::$variant => $words,)* }
            }
        }
    };
}

facts! {
    /// What happens at a transaction coordinator, besides its edges.
    Transaction {
        TimedOut = "a transaction times out",
        Loaded = "a coordinator loads its ids",
        LoadedAgain = "another broker becomes the coordinator",
    }
}

facts! {
    /// What happens at a group coordinator, besides its edges.
    Group {
        Eager = "an eager generation",
        Cooperative = "a cooperative generation",
        MemberLeft = "a member is removed: it left or missed a rebalance",
        MemberExpired = "a member is removed: its session expired",
        Loaded = "a coordinator loads its groups",
        LoadedAgain = "another broker becomes the coordinator",
        Committed = "a commit becomes durable",
        Pending = "an offset waits for its transaction",
        PendingCommitted = "an offset counts with its transaction",
        PendingAborted = "an offset is dropped with its transaction",
    }
}

facts! {
    /// Replication and leadership.
    Partition {
        FirstLeader = "a broker leads for the first time",
        LaterLeader = "a broker leads in a later epoch",
        Follower = "a broker follows a leader",
        Leaderless = "a partition has no leader",
        Elected = "a partition has a leader again",
        Moved = "leadership moves between live brokers",
        Shrunk = "the in-sync set shrinks",
        Grown = "the in-sync set grows",
        Eligible = "a replica outside of the in-sync set stays eligible",
        Unclean = "an unclean election",
        Fenced = "a broker is fenced",
        Unfenced = "a broker is unfenced",
        Restarted = "a broker registers again after a crash",
        Truncated = "a follower truncates its log",
        DiskLoss = "a power failure cuts a log",
    }
}

facts! {
    /// Producers and the logs that they write to.
    Producer {
        Session = "a session begins",
        Bumped = "a session goes on with a higher epoch",
        AnotherId = "a client gets another producer id",
        RetriedOnce = "a batch is sent a second time",
        RetriedOften = "a batch is sent a third time or more often",
        Transactional = "a transactional batch is appended",
        CommitMarker = "a commit marker is appended",
        AbortMarker = "an abort marker is appended",
    }
}

facts! {
    /// Consumers.
    Consumer {
        AssignedSome = "partitions are assigned",
        AssignedNothing = "an assignment adds nothing",
        AssignedLess = "an assignment adds partitions to others that stay",
        Revoked = "partitions are revoked",
        Lost = "partitions are lost",
        Polled = "a poll returns records",
        CommitSync = "a synchronous commit succeeds",
        CommitAsync = "a commit that nobody waits for succeeds",
        Restored = "a store is restored from its changelog",
    }
}

facts! {
    /// Systems outside of Kafka.
    System {
        Applied = "an effect is applied",
        ChangedNothing = "an effect changes nothing",
        Skipped = "an application skips an effect that was done before",
        ReplayedSame = "an API replays an answer",
        ReplayedOther = "an API replays the answer to another payload",
        KeyEvicted = "an API forgets an idempotency key",
        MarkFound = "a dedup mark exists already",
        MarksEvicted = "dedup marks are forgotten",
        OffsetStored = "an offset is stored in the sink",
        FenceHeld = "a fence refuses an offset",
        OffsetServed = "a stored offset is read",
        RolledBack = "a transaction with writes is rolled back",
        Prepared = "a two-phase sink prepares",
        FinishedCommit = "a two-phase sink commits what it prepared",
        FinishedDrop = "a two-phase sink drops what it prepared",
        IntentFailed = "a service's operation fails",
        IntentUnknown = "a service cannot tell whether its operation was done",
        RelayRestarted = "a relay goes on from a stored position",
        RelaySnapshot = "a relay begins with a snapshot",
    }
}

facts! {
    /// What a client called.
    Call {
        Send = "send",
        InitTransactions = "initTransactions",
        SendOffsets = "sendOffsetsToTransaction",
        CommitTransaction = "commitTransaction",
        AbortTransaction = "abortTransaction",
        Commit = "commit",
    }
}

facts! {
    /// What a fault struck into.
    Situation {
        OpenTransaction = "a transaction is open",
        EndingTransaction = "a transaction is ending",
        Rebalancing = "a group rebalances",
        Shrunk = "an in-sync set is shrunk",
        Leaderless = "a partition has no leader",
        AnotherFault = "another fault lasts",
        Quiet = "nothing of that",
    }
}

facts! {
    /// The next step of the protocol.
    Step {
        TransactionBegins = "a transaction begins",
        CommitDecided = "a commit is decided",
        AbortDecided = "an abort is decided",
        TransactionComplete = "a transaction is complete",
        SessionBegins = "a producer's session begins",
        Rebalance = "a group rebalances",
        Generation = "a generation is complete",
        MemberRemoved = "a member is removed",
        CommitRefused = "a commit is refused",
        Lost = "a consumer loses its partitions",
        Leader = "a broker becomes leader",
        Leaderless = "a partition is without a leader",
        Shrunk = "an in-sync set shrinks",
        Grown = "an in-sync set grows",
        Fenced = "a broker is fenced",
        Truncated = "a log is truncated",
        Retry = "a batch is sent again",
        BatchRefused = "a batch is refused as a duplicate or out of order",
        CallFailed = "a client's call fails",
        RolledBack = "a system rolls back",
        Replayed = "a system recognises what it has done",
        NothingMore = "nothing more",
    }
}

/// Why a group coordinator begins a rebalance.
const REASONS: &[&str] = &[
    "a member joined",
    "a member left",
    "a member's session expired",
    "a member's subscription changed",
    "the leader joined again",
    "a static member came back",
    "members did not sync in time",
    "the assignment could not be stored",
];

const POSITIONS: &[(PositionReason, &str)] = &[
    (PositionReason::Committed, "a position comes from the committed offset"),
    (PositionReason::NoCommittedOffset, "a position is reset: nothing is committed"),
    (PositionReason::OutOfRange, "a position is reset: it is outside of the log"),
    (PositionReason::Truncated, "a position is reset: the log was truncated"),
    (PositionReason::Seek, "an application seeks"),
];

const STATES: [TransactionState; 8] = [
    TransactionState::Empty,
    TransactionState::Ongoing,
    TransactionState::PrepareCommit,
    TransactionState::PrepareAbort,
    TransactionState::CompleteCommit,
    TransactionState::CompleteAbort,
    TransactionState::Dead,
    TransactionState::PrepareEpochFence,
];

/// Every point that there is, in order.
pub(super) fn known() -> &'static [Point] {
    static KNOWN: LazyLock<Vec<Point>> = LazyLock::new(enumerate);
    &KNOWN
}

fn enumerate() -> Vec<Point> {
    let mut all = Vec::new();
    for to in STATES {
        let from = valid_previous_states(to).iter();
        all.extend(from.map(|from| Point::TransactionEdge(*from, to)));
    }
    for to in GroupState::ALL {
        all.extend(to.valid_previous().iter().map(|from| Point::GroupEdge(*from, to)));
    }
    all.extend(Transaction::ALL.iter().copied().map(Point::Transaction));
    all.extend(REASONS.iter().copied().map(Point::Rebalance));
    all.extend(Group::ALL.iter().copied().map(Point::Group));
    all.extend(errors::COMMIT_REFUSED.iter().copied().map(Point::CommitRefused));
    all.extend(Partition::ALL.iter().copied().map(Point::Partition));
    all.extend(Producer::ALL.iter().copied().map(Point::Producer));
    all.extend(errors::RETRIED.iter().copied().map(Point::Retry));
    all.extend(errors::BATCH_REFUSED.iter().copied().map(Point::BatchRefused));
    all.extend(errors::MARKER_REFUSED.iter().copied().map(Point::MarkerRefused));
    all.extend(Consumer::ALL.iter().copied().map(Point::Consumer));
    all.extend(POSITIONS.iter().map(|(reason, _)| Point::Position(*reason)));
    for call in Call::ALL {
        let (failed, unknown) = errors::of_call(*call);
        all.extend(failed.iter().map(|error| Point::Failed(*call, *error, false)));
        all.extend(unknown.iter().map(|error| Point::Failed(*call, *error, true)));
    }
    all.extend(System::ALL.iter().copied().map(Point::System));
    for operation in Operation::ALL {
        let errors = errors::of_operation(operation).iter();
        all.extend(errors.map(|error| Point::Asked(operation, *error)));
    }
    for kind in FaultKind::ALL {
        all.extend(Situation::ALL.iter().map(|it| Point::Struck(*kind, *it)));
        all.extend(Step::ALL.iter().map(|it| Point::Then(*kind, *it)));
    }
    all.sort_unstable();
    all.dedup();
    all
}

impl Point {
    /// Its bit; `None` for what is no known point.
    pub(super) fn index(self) -> Option<usize> {
        known().binary_search(&self).ok()
    }

    /// Whether it happens all the time while nothing goes wrong.
    pub(super) const fn is_routine(self) -> bool {
        matches!(
            self,
            Point::Consumer(Consumer::Polled | Consumer::CommitSync | Consumer::CommitAsync)
                | Point::Group(Group::Committed | Group::Pending | Group::PendingCommitted)
                | Point::Producer(Producer::Transactional | Producer::CommitMarker)
                | Point::System(System::Applied | System::OffsetStored)
                | Point::Partition(Partition::Follower | Partition::FirstLeader)
        )
    }

    pub(super) const fn area(self) -> &'static str {
        match self {
            Point::TransactionEdge(..) | Point::Transaction(_) => "transaction coordinator",
            Point::GroupEdge(..)
            | Point::Rebalance(_)
            | Point::Group(_)
            | Point::CommitRefused(_) => "group coordinator",
            Point::Partition(_) => "partition leadership",
            Point::Producer(_)
            | Point::Retry(_)
            | Point::BatchRefused(_)
            | Point::MarkerRefused(_) => "producer",
            Point::Consumer(_) | Point::Position(_) => "consumer",
            Point::Failed(..) => "errors that clients see",
            Point::System(_) | Point::Asked(..) => "external systems",
            Point::Struck(..) => "what faults strike into",
            Point::Then(..) => "what follows faults",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Point::TransactionEdge(from, to) => write!(f, "{} to {}", from.name(), to.name()),
            Point::GroupEdge(from, to) => write!(f, "{} to {}", from.name(), to.name()),
            Point::Transaction(it) => f.write_str(it.words()),
            Point::Rebalance(reason) => write!(f, "a rebalance: {reason}"),
            Point::Group(it) => f.write_str(it.words()),
            Point::CommitRefused(error) => write!(f, "a commit is refused: {}", error.name()),
            Point::Partition(it) => f.write_str(it.words()),
            Point::Producer(it) => f.write_str(it.words()),
            Point::Retry(error) => write!(f, "a batch is sent again after {}", error.name()),
            Point::BatchRefused(error) => write!(f, "a batch is refused: {}", error.name()),
            Point::MarkerRefused(error) => write!(f, "a marker is refused: {}", error.name()),
            Point::Consumer(it) => f.write_str(it.words()),
            Point::Position(reason) => {
                let words = POSITIONS.iter().find(|(it, _)| *it == reason).map(|(_, words)| *words);
                f.write_str(words.unwrap_or_default())
            }
            Point::Failed(call, error, false) => write!(f, "{}: {}", call.words(), error.name()),
            Point::Failed(call, error, true) => {
                write!(f, "{}: unknown, {}", call.words(), error.name())
            }
            Point::System(it) => f.write_str(it.words()),
            Point::Asked(operation, error) => write!(f, "{}: {}", operation.name(), error.name()),
            Point::Struck(kind, it) => write!(f, "{} while {}", kind.name(), it.words()),
            Point::Then(kind, it) => write!(f, "{}, then {}", kind.name(), it.words()),
        }
    }
}
