//! Anomalies of external effects: what records brought about outside of Kafka.

use super::{ATOMICITY, DUPLICATE, ISOLATION, LOSS};
use crate::anomaly::{AnomalyClass, Violates};
use crate::guarantee::Level;

pub(crate) static EFFECT_LOST: AnomalyClass = AnomalyClass {
    id: "effect-lost",
    level: Level::Effect,
    violates: LOSS,
    jepsen: None,
    meaning: "A visible record asked for an effect, and no commit of the system has it. A record \
              that is in the log twice, or was made again by a processor, asks for one effect.",
    causes: "The offset was committed before the effect; an unknown answer was taken for done; a \
             dedup mark, an idempotency key or a wrong fence said that it had been done.",
    fixes: "Commit the offset after the effect, or in the same transaction; do an effect of \
            unknown outcome again, under the same identity.",
    example: "mailer commits 5 on orders-0, and the process dies before the database commits the \
              row of offset 4.",
};

pub(crate) static EFFECT_DUPLICATE: AnomalyClass = AnomalyClass {
    id: "effect-duplicate",
    level: Level::Effect,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "Two commits of the system applied the same step of the same logical record, and \
              both changed something. Setting the same row to the same values again does not \
              count, and of an effect that absorbs repetition neither does a row that was set \
              before: there the final state counts.",
    causes: "Redelivery after a crash or a rebalance, a retry after a lost answer, a duplicate in \
             the topic: with an insert, an increment, or a call without an idempotency key.",
    fixes: "Make the effect idempotent: an upsert by a business key, a dedup table in the same \
            transaction, offsets in the sink's transaction, an idempotency key per record.",
    example: "The reply to the commit of orders #4 is lost; mailer-0 inserts the row again.",
};

pub(crate) static EFFECT_PHANTOM: AnomalyClass = AnomalyClass {
    id: "effect-phantom",
    level: Level::Effect,
    violates: Violates { at_most_once: true, ..ISOLATION },
    jepsen: None,
    meaning: "An effect was applied for a record that never was visible: it is not in the log, or \
              its transaction was aborted, and no other copy of it was committed.",
    causes: "A consumer at isolation.level=read_uncommitted, which is the default.",
    fixes: "isolation.level=read_committed on every consumer that has effects.",
    example: "billing sends invoice #7 and aborts; mailer has already sent the mail about it.",
};

pub(crate) static PARTIAL_EFFECT: AnomalyClass = AnomalyClass {
    id: "partial-effect",
    level: Level::Effect,
    violates: Violates { at_least_once: true, ..ATOMICITY },
    jepsen: None,
    meaning: "Of an effect of several steps some were applied in the end, and some were not.",
    causes: "Steps that are committed one by one, and a crash, an error or a fence in between, \
             after which nobody goes on.",
    fixes: "All steps in one transaction; or steps that are idempotent, each, and done again from \
            the first until all are done.",
    example: "The debit of transfer #3 is committed; the process dies before the credit, and its \
              dedup mark says that transfer #3 was done.",
};
