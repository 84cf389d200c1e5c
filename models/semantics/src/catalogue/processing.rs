//! Anomalies of processing: how often a group's application finished each record, and what a
//! processor made of its input.

use super::{ATOMICITY, DUPLICATE, INTEGRITY, ISOLATION, LOSS, ORDER};
use crate::anomaly::{AnomalyClass, Violates};
use crate::guarantee::Level;

pub(crate) static LOST_PROCESSING: AnomalyClass = AnomalyClass {
    id: "lost-processing",
    level: Level::Processing,
    violates: LOSS,
    jepsen: None,
    meaning: "A record of a consumed topic was never processed by the group: of a processor, its \
              output is not in the log.",
    causes: "The offset was committed before the record was processed, and the consumer died in \
             between; or the consumer skipped it. A processor that aborts and does not seek back \
             to its committed offsets skips as well.",
    fixes: "Commit after processing; with auto commit, finish the records of a poll before the \
            next poll; after an abort, seek back to the committed offsets.",
    example: "mailer commits 5 on orders-0, crashes before it has processed offset 4, and resumes \
              at 5.",
};

pub(crate) static DUP_PROCESSING: AnomalyClass = AnomalyClass {
    id: "dup-processing",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "The record at one offset was processed by the group more than once: of a processor, \
              an output of it is in the log more than once.",
    causes: "A crash or rebalance between processing and commit, or a zombie that goes on \
             processing after its partitions have moved. An idempotent producer does not help: a \
             restarted one has a new producer id.",
    fixes: "Make processing idempotent, or commit results and offsets in one transaction, with \
            the consumer's group metadata.",
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

pub(crate) static EOS_PREFIX_MISMATCH: AnomalyClass = AnomalyClass {
    id: "eos-prefix-mismatch",
    level: Level::Processing,
    violates: Violates { at_least_once: true, ..DUPLICATE },
    jepsen: None,
    meaning: "The committed outputs of a transactional processor are not those of its committed \
              input, each once.",
    causes: "Whatever loses, doubles or tears: the other anomalies of the run say which.",
    fixes: "See lost-processing, dup-processing and torn-offsets.",
    example: "billing has committed offset 5 of orders-0, and the outputs of offsets 0, 1, 1, 3 \
              and 4 are visible.",
};

pub(crate) static OUTPUT_AHEAD_OF_OFFSET: AnomalyClass = AnomalyClass {
    id: "output-ahead-of-offset",
    level: Level::Processing,
    violates: Violates { at_most_once: true, ..ATOMICITY },
    jepsen: None,
    meaning: "A transactional processor has a visible output of an input that its group has not \
              committed: a restart makes it again.",
    causes: "Offsets that were not part of the transaction, or were dropped from it.",
    fixes: "sendOffsetsToTransaction() before every commitTransaction().",
    example: "The output of orders-0 offset 5 is visible, and the committed offset is 5.",
};

pub(crate) static OFFSET_AHEAD_OF_OUTPUT: AnomalyClass = AnomalyClass {
    id: "offset-ahead-of-output",
    level: Level::Processing,
    violates: Violates { at_least_once: true, ..ATOMICITY },
    jepsen: None,
    meaning: "The group of a transactional processor has committed past an input whose output is \
              not visible: nobody will make it.",
    causes: "Offsets that count although their transaction was aborted, or a processor that does \
             not seek back after an abort.",
    fixes: "After an abort, seek back to the committed offsets.",
    example: "The committed offset of orders-0 is 6, and there is no output of offset 5.",
};

pub(crate) static ORPHAN_OUTPUT: AnomalyClass = AnomalyClass {
    id: "orphan-output",
    level: Level::Processing,
    violates: Violates { integrity: true, ..ISOLATION },
    jepsen: None,
    meaning: "An output is visible that was made from an input which is not in the log, or was \
              never committed.",
    causes: "A processor that reads at read_uncommitted, or an input that was lost after it had \
             been read.",
    fixes: "isolation.level=read_committed on the processor; acks=all upstream.",
    example: "invoice #7 was made from order #3, whose transaction was aborted.",
};

pub(crate) static WRONG_TRANSFORM: AnomalyClass = AnomalyClass {
    id: "wrong-transform",
    level: Level::Processing,
    violates: INTEGRITY,
    jepsen: None,
    meaning: "An output does not have the value that its input gives.",
    causes: "A record that was changed on its way, or a state that was not the right one.",
    fixes: "For an aggregate see state-fingerprint-mismatch.",
    example: "invoice #7 was made from order #3 and carries another value.",
};

pub(crate) static PIPELINE_KEY_ORDER: AnomalyClass = AnomalyClass {
    id: "pipeline-key-order",
    level: Level::Processing,
    violates: ORDER,
    jepsen: None,
    meaning: "Outputs of one key and one input partition are not in the order of their inputs.",
    causes: "A processor whose sends may overtake each other, or one that made an old input again \
             after a newer one.",
    fixes: "An idempotent producer, and transactions.",
    example: "invoices-0 holds the output of orders-0 offset 5 before that of offset 3, both with \
              key 2.",
};

pub(crate) static STATE_FINGERPRINT_MISMATCH: AnomalyClass = AnomalyClass {
    id: "state-fingerprint-mismatch",
    level: Level::Processing,
    violates: Violates { at_least_once: true, ..DUPLICATE },
    jepsen: None,
    meaning: "An aggregate is not the one of the inputs up to it: one was left out, or counted \
              twice.",
    causes: "A store that was restored from too little or too much of its changelog, or an input \
             that was processed again.",
    fixes: "Changelog, outputs and offsets in one transaction; drop local state after an abort.",
    example: "The count of key 2 after orders-0 offset 5 is 4, and there are 3 inputs with key 2.",
};

pub(crate) static RESTORE_MISMATCH: AnomalyClass = AnomalyClass {
    id: "restore-mismatch",
    level: Level::Processing,
    violates: Violates { integrity: true, ..ATOMICITY },
    jepsen: None,
    meaning: "A restored store is not what the committed changelog holds up to where it was read.",
    causes: "Aborted records that were restored, or a restore that stopped too early.",
    fixes: "Restore at read_committed, up to the end of the changelog.",
    example: "count-0 restores 3 keys up to offset 9; the changelog has 4 keys below offset 9.",
};

pub(crate) static ZOMBIE_OUTPUT: AnomalyClass = AnomalyClass {
    id: "zombie-output",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "An output counts that a processor made from a partition after another member had \
              taken it over.",
    causes: "A zombie that is not fenced: offsets without the consumer's group metadata, or a \
             transactional id that no successor takes over.",
    fixes: "sendOffsetsToTransaction() with the consumer's group metadata (KIP-447).",
    example: "billing-0 stalls, billing-1 takes orders-0 over, and billing-0 wakes and commits its \
              output of offset 5.",
};
