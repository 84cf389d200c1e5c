//! Anomalies of processing: how often a group's application finished each record.

use super::{DUPLICATE, LOSS};
use crate::anomaly::AnomalyClass;
use crate::guarantee::Level;

pub(crate) static LOST_PROCESSING: AnomalyClass = AnomalyClass {
    id: "lost-processing",
    level: Level::Processing,
    violates: LOSS,
    jepsen: None,
    meaning: "A record of a consumed topic was never processed by the group.",
    causes: "The offset was committed before the record was processed, and the consumer died in \
             between; or the consumer skipped it.",
    fixes: "Commit after processing; with auto commit, finish the records of a poll before the \
            next poll.",
    example: "mailer commits 5 on orders-0, crashes before it has processed offset 4, and resumes \
              at 5.",
};

pub(crate) static DUP_PROCESSING: AnomalyClass = AnomalyClass {
    id: "dup-processing",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "The record at one offset was processed by the group more than once.",
    causes: "A crash or rebalance between processing and commit, or a zombie that goes on \
             processing after its partitions have moved.",
    fixes: "Make processing idempotent, or commit results and offsets in one transaction.",
    example: "mailer-0 processes offset 4 and crashes before the commit; mailer-1 processes \
              offset 4.",
};

pub(crate) static COMMIT_BEFORE_PROCESS: AnomalyClass = AnomalyClass {
    id: "commit-before-process",
    level: Level::Processing,
    violates: LOSS,
    jepsen: None,
    meaning: "An offset was committed past a delivered record that was not processed yet: a crash \
              now would lose it.",
    causes: "Commit before processing, or auto commit while a worker still processes the last \
             poll.",
    fixes: "Commit only what is processed.",
    example: "mailer polls offsets 0 to 4, commits 5, and processes offset 0 afterwards.",
};
