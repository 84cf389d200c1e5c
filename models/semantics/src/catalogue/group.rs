//! Anomalies of consumer groups: committed offsets, generations and ownership.

use super::{DUPLICATE, INTEGRITY, LOSS};
use crate::anomaly::{AnomalyClass, Violates};
use crate::guarantee::Level;

pub(crate) static OFFSET_COMMIT_REGRESS: AnomalyClass = AnomalyClass {
    id: "offset-commit-regress",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "A group's committed offset went back, without a seek or reset.",
    causes: "A zombie's commit, or commitAsync calls that overtook each other.",
    fixes: "commitSync on revocation and close; fencing by generation does the rest.",
    example: "The group has committed 9 on orders-0; then a commit of 4 is accepted.",
};

pub(crate) static COMMITTED_OFFSET_LOST: AnomalyClass = AnomalyClass {
    id: "committed-offset-lost",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "A consumer was told a committed offset that is older than one whose commit had \
              succeeded before.",
    causes: "__consumer_offsets lost its tail, or a new coordinator answered before it had read \
             its log.",
    fixes: "Replication factor 3 and min.insync.replicas=2 for __consumer_offsets.",
    example: "commitSync of 9 on orders-0 succeeds; a restarted consumer is told 4.",
};

pub(crate) static COMMITTED_OFFSET_PHANTOM: AnomalyClass = AnomalyClass {
    id: "committed-offset-phantom",
    level: Level::Processing,
    violates: LOSS,
    jepsen: None,
    meaning: "A consumer was told a committed offset that nobody had committed.",
    causes: "Offsets of another group or partition were returned, or an administrator reset them.",
    fixes: "Defect of the coordinator, unless offsets were reset by hand.",
    example: "The group has committed 4 and 9 on orders-0; a consumer is told 7.",
};

pub(crate) static COMMIT_BEYOND_POSITION: AnomalyClass = AnomalyClass {
    id: "commit-beyond-position",
    level: Level::Processing,
    violates: LOSS,
    jepsen: None,
    meaning: "A consumer committed an offset beyond what it had been given.",
    causes: "An application that computes offsets itself (last offset plus two), or a position \
             that ran ahead of delivery.",
    fixes: "Commit the offset after the last record that was processed.",
    example: "mailer-0 has got orders-0 up to offset 4 and commits 9.",
};

pub(crate) static STALE_GENERATION_COMMIT: AnomalyClass = AnomalyClass {
    id: "stale-generation-commit",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "The coordinator accepted a commit of an older generation of the group.",
    causes: "Commits are not fenced by generation: a zombie overwrites its successor's progress.",
    fixes: "Defect of the coordinator: it must answer ILLEGAL_GENERATION.",
    example: "The group is in generation 3; a commit that carries generation 2 is accepted.",
};

pub(crate) static DOUBLE_OWNERSHIP: AnomalyClass = AnomalyClass {
    id: "double-ownership",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "Two members owned one partition in the same generation.",
    causes: "An assignor that assigns twice, or a cooperative rebalance that gives a partition \
             away before it is revoked.",
    fixes: "Defect of the assignor or the client.",
    example: "In generation 4 both mailer-0 and mailer-1 are assigned orders-1.",
};

pub(crate) static ZOMBIE_OWNERSHIP: AnomalyClass = AnomalyClass {
    id: "zombie-ownership",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "A member still believed that it owned a partition when its successor got it.",
    causes: "A pause longer than session.timeout.ms or max.poll.interval.ms: the member has not \
             noticed that it was removed.",
    fixes: "Legal as long as its commits are refused; side effects need fencing of their own.",
    example: "mailer-0 stands still for 60 s; mailer-1 is assigned orders-1; mailer-0 wakes up.",
};

pub(crate) static UNOWNED_PARTITION: AnomalyClass = AnomalyClass {
    id: "unowned-partition",
    level: Level::Processing,
    violates: Violates { liveness: true, ..LOSS },
    jepsen: None,
    meaning: "A stable group left a subscribed partition without an owner.",
    causes: "An assignor that forgets partitions, or stale metadata in the group's leader.",
    fixes: "Defect of the assignor or the client.",
    example: "The last generation of mailer assigns orders-0 and orders-1, but not orders-2.",
};

pub(crate) static ILLEGAL_ASSIGNMENT: AnomalyClass = AnomalyClass {
    id: "illegal-assignment",
    level: Level::Processing,
    violates: INTEGRITY,
    jepsen: None,
    meaning: "A member was assigned a partition of a topic that its group does not consume, or \
              one partition twice.",
    causes: "An assignor that works on another subscription.",
    fixes: "Defect of the assignor or the client.",
    example: "mailer subscribes to orders, and mailer-0 is assigned invoices-0.",
};

pub(crate) static GENERATION_REGRESS: AnomalyClass = AnomalyClass {
    id: "generation-regress",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "A group's generation went back.",
    causes: "A coordinator that lost the group's state, or two coordinators at once.",
    fixes: "Replicate __consumer_offsets; otherwise a defect of the coordinator.",
    example: "After generation 5 the coordinator completes a rebalance with generation 3.",
};

pub(crate) static COMMIT_WITHOUT_OWNERSHIP: AnomalyClass = AnomalyClass {
    id: "commit-without-ownership",
    level: Level::Processing,
    violates: Violates { at_least_once: true, ..DUPLICATE },
    jepsen: None,
    meaning: "A member committed an offset of a partition that it did not own, and the \
              coordinator took it.",
    causes: "An application that commits after onPartitionsRevoked has returned, or offsets that \
             are collected over all partitions ever seen. Coordinators do not check ownership.",
    fixes: "Commit inside of onPartitionsRevoked, and forget a partition's offsets there.",
    example: "orders-1 is revoked from mailer-0 and given to mailer-1; then mailer-0, still in \
              the group, commits 9 on orders-1.",
};

pub(crate) static REVOKE_WITHOUT_COMMIT_WINDOW: AnomalyClass = AnomalyClass {
    id: "revoke-without-commit-window",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "In a cooperative rebalance a partition was given to its new owner before its old \
              owner, a member of the same generation, had given it back: there was no moment at \
              which the old owner could commit.",
    causes: "An assignor that moves a partition in one generation instead of two, or one that \
             ignores what members say they own.",
    fixes: "Defect of the assignor: a partition that moves is unassigned for one generation.",
    example: "mailer-0 owns orders-1 in generation 3; generation 4, with mailer-0 in it, assigns \
              orders-1 to mailer-1 at once.",
};
