//! Anomalies of replication: what the replicas hold, seen from inside.

use super::{INTEGRITY, LOSS, NOTHING, ORDER};
use crate::anomaly::{AnomalyClass, Violates};
use crate::guarantee::Level;

pub(crate) static LOG_DIVERGENCE: AnomalyClass = AnomalyClass {
    id: "log-divergence",
    level: Level::Log,
    violates: Violates { ordering: true, ..INTEGRITY },
    jepsen: None,
    meaning: "Two replicas hold different records at one offset below both high watermarks.",
    causes: "Truncation to the high watermark instead of by leader epoch, or an unclean election.",
    fixes: "Defect of the broker (KIP-101, KIP-279), unless unclean elections are allowed.",
    example: "b1 holds shop #7 at offset 5, b2 holds shop #9, and both high watermarks are 6.",
};

pub(crate) static LEADER_INCOMPLETE: AnomalyClass = AnomalyClass {
    id: "leader-incomplete",
    level: Level::Log,
    violates: LOSS,
    jepsen: None,
    meaning: "A replica became leader without everything below the high watermark.",
    causes: "It was in the in-sync set (or elected) although its log was behind: a disk that lost \
             data, a stale fetch that counted, an unclean election.",
    fixes: "KIP-966 for lost disks, min.insync.replicas=2 or more, no unclean elections.",
    example: "The high watermark of orders-0 is 9; b2 becomes leader with log end 6.",
};

pub(crate) static MINISR_VIOLATION: AnomalyClass = AnomalyClass {
    id: "minisr-violation",
    level: Level::Log,
    violates: LOSS,
    jepsen: None,
    meaning: "acks=all was acknowledged, or the high watermark moved, with fewer in-sync replicas \
              than min.insync.replicas.",
    causes: "The check before the append is not repeated when the batch is replicated.",
    fixes: "Defect of the broker: it must answer NOT_ENOUGH_REPLICAS_AFTER_APPEND.",
    example: "min.insync.replicas is 2; b1 acknowledges offset 5 with itself as only in-sync \
              replica.",
};

pub(crate) static HW_REGRESS: AnomalyClass = AnomalyClass {
    id: "hw-regress",
    level: Level::Log,
    violates: Violates { isolation: true, ..NOTHING },
    jepsen: None,
    meaning: "A leader's high watermark went back while it led.",
    causes: "The high watermark is recomputed from stale follower positions.",
    fixes: "Defect of the broker.",
    example: "b1 leads orders-0 with high watermark 9, which becomes 7.",
};

pub(crate) static TWO_LEADERS_SAME_EPOCH: AnomalyClass = AnomalyClass {
    id: "two-leaders-same-epoch",
    level: Level::Log,
    violates: Violates { at_least_once: true, ..ORDER },
    jepsen: None,
    meaning: "Two brokers led one partition with the same leader epoch.",
    causes: "Two controllers at once, or an election that did not bump the epoch.",
    fixes: "Defect of the controller.",
    example: "b1 and b2 both lead orders-0 with leader epoch 4.",
};

pub(crate) static COMMITTED_LOST_GLOBALLY: AnomalyClass = AnomalyClass {
    id: "committed-lost-globally",
    level: Level::Log,
    violates: LOSS,
    jepsen: None,
    meaning: "An acknowledged durable record is on no replica at all.",
    causes: "Power failures or truncations removed it from every replica that had it.",
    fixes: "Replicas that do not share a power supply; log.flush.interval.messages=1 at a price.",
    example: "shop #7 was acknowledged with acks=all; after a power failure of b1, b2 and b3 none \
              of them has it.",
};

pub(crate) static UNCLEAN_REPLICA_IN_ISR: AnomalyClass = AnomalyClass {
    id: "unclean-replica-in-isr",
    level: Level::Log,
    violates: LOSS,
    jepsen: None,
    meaning: "The controller took a replica into the in-sync set whose broker it holds for dead, \
              or which lacks committed records.",
    causes: "The leader asked by an old image, and the controller does not check that the broker \
             is unfenced and still the process that had caught up.",
    fixes: "Defect of the controller (KIP-841, KIP-903), unless unclean elections are allowed.",
    example: "b3 is fenced; the leader b1 asks for in-sync replicas b1, b2 and b3, and gets them.",
};

pub(crate) static CANDIDATE_INCOMPLETE: AnomalyClass = AnomalyClass {
    id: "candidate-incomplete",
    level: Level::Log,
    violates: LOSS,
    jepsen: None,
    meaning: "The high watermark passed the log end of a running replica in the in-sync set: if \
              it is elected next, committed records are lost.",
    causes: "A leader that computes the high watermark without one of its in-sync followers.",
    fixes: "Defect of the broker: the high watermark is the lowest log end of the in-sync set.",
    example: "b1, b2 and b3 are in sync; b1 moves its high watermark to 9 while the log of b3 \
              ends at 7.",
};

pub(crate) static LEADER_NOT_IN_ISR: AnomalyClass = AnomalyClass {
    id: "leader-not-in-isr",
    level: Level::Log,
    violates: LOSS,
    jepsen: None,
    meaning: "The controller named a leader that is not in the in-sync set of its partition.",
    causes: "An election that looks at the assigned replicas instead of the in-sync ones, or an \
             in-sync set that was changed without its leader.",
    fixes: "Defect of the controller: also an unclean election makes the leader the in-sync set.",
    example: "The in-sync set of orders-0 is b1 and b2, and b3 becomes its leader.",
};
