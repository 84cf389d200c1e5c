//! Anomalies of liveness: what has not come to rest after every fault has healed.

use super::LIVENESS;
use crate::anomaly::AnomalyClass;
use crate::guarantee::Level;

pub(crate) static UNRESOLVED_OP: AnomalyClass = AnomalyClass {
    id: "unresolved-op",
    level: Level::Log,
    violates: LIVENESS,
    jepsen: None,
    meaning: "A call of a client that is still alive never ended.",
    causes: "A retry that can never succeed, or a response that nobody waits for.",
    fixes: "Bound every call with delivery.timeout.ms or default.api.timeout.ms.",
    example: "send() of shop #7 is called at 2 s and has no outcome when the run ends.",
};

pub(crate) static STUCK_CONSUMER: AnomalyClass = AnomalyClass {
    id: "stuck-consumer",
    level: Level::Processing,
    violates: LIVENESS,
    jepsen: None,
    meaning: "A consumer owns a partition with records that it has not read, and does not read \
              them.",
    causes: "A fetch session or position that no longer moves, or a fetch that always fails.",
    fixes: "Defect of client or broker; look for the error that repeats in the trace.",
    example: "mailer-0 owns orders-0, is at position 4 of 9, and has not moved for 900 s.",
};

pub(crate) static NO_LEADER: AnomalyClass = AnomalyClass {
    id: "no-leader",
    level: Level::Log,
    violates: LIVENESS,
    jepsen: None,
    meaning: "A partition has no leader although every broker is back.",
    causes: "Every eligible replica has lost data and unclean elections are forbidden, or the \
             controller does not elect.",
    fixes: "KIP-966 eligible leader replicas; as a last resort an unclean election by hand.",
    example: "All brokers are up, and orders-0 still has leader none.",
};

pub(crate) static UNDER_REPLICATED: AnomalyClass = AnomalyClass {
    id: "under-replicated",
    level: Level::Log,
    violates: LIVENESS,
    jepsen: None,
    meaning: "The in-sync set of a partition is still smaller than it was when the run settled.",
    causes: "A follower that does not catch up, or an in-sync set that is not expanded again.",
    fixes: "Look for a follower whose fetches fail.",
    example: "orders-0 began with in-sync replicas b1, b2, b3 and ends with b1, b2.",
};

pub(crate) static REBALANCE_LIVELOCK: AnomalyClass = AnomalyClass {
    id: "rebalance-livelock",
    level: Level::Processing,
    violates: LIVENESS,
    jepsen: None,
    meaning: "A group never came to rest in a generation.",
    causes: "Members that miss the rebalance timeout again and again.",
    fixes: "max.poll.interval.ms above the processing time of one poll; fewer records per poll.",
    example: "mailer is in generation 812 after 900 s without a change of its members.",
};

pub(crate) static DRAIN_INCOMPLETE: AnomalyClass = AnomalyClass {
    id: "drain-incomplete",
    level: Level::Log,
    violates: LIVENESS,
    jepsen: None,
    meaning: "The final read did not reach the end of a partition.",
    causes: "The partition cannot be read: no leader, or a fetch that never ends.",
    fixes: "See the other liveness anomalies of the same run.",
    example: "Every partition but orders-2 is read to its end.",
};

pub(crate) static COMMIT_LAG_FINAL: AnomalyClass = AnomalyClass {
    id: "commit-lag-final",
    level: Level::Processing,
    violates: LIVENESS,
    jepsen: None,
    meaning: "A group has processed everything, and its committed offset is still behind.",
    causes: "The last commit failed or was never sent: commitAsync without a final commitSync.",
    fixes: "commitSync on close; a restart would process the tail again.",
    example: "mailer has processed orders-0 up to offset 8, and its committed offset is 6.",
};

pub(crate) static STUCK_LSO: AnomalyClass = AnomalyClass {
    id: "stuck-lso",
    level: Level::Log,
    violates: LIVENESS,
    jepsen: Some("unseen"),
    meaning: "The last stable offset of a partition stays below its high watermark although every \
              transaction has had its time: read_committed readers see nothing beyond.",
    causes: "A hanging transaction, or a coordinator that does not end one that timed out.",
    fixes: "See hanging-txn; transaction.timeout.ms bounds a transaction that its coordinator \
            knows.",
    example: "The log of orders-0 ends at 20, its last stable offset is 7, and no transaction is \
              open.",
};
