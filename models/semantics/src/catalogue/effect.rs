//! Anomalies of external effects: what records brought about outside of Kafka.

use super::{ATOMICITY, DUPLICATE, INTEGRITY, ISOLATION, LIVENESS, LOSS, ORDER};
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
             dedup mark, an idempotency key or a wrong fence said that it had been done; a Connect \
             sink went on at the wrong offsets when some of its partitions were revoked \
             (KAFKA-13472).",
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

pub(crate) static EFFECT_BEFORE_COMMIT: AnomalyClass = AnomalyClass {
    id: "effect-before-commit",
    level: Level::Effect,
    violates: ATOMICITY,
    jepsen: None,
    meaning: "A processor brought an effect about inside of a transaction of Kafka that was then \
              aborted. It is a defect if no delivery of the record was ever committed: then the \
              effect is there and its output is not. Otherwise the effect was early, and may be \
              seen twice.",
    causes: "A side effect (a mail, a call, a row) while the transaction is open: an abort or a \
             rebalance takes back the outputs, and not the effect.",
    fixes: "Bring effects about behind the log: consume the committed output at read_committed. Or \
            give the effect an idempotency key per record, so that the next delivery repeats it \
            without harm.",
    example: "billing-0 calls the payment API for orders #4, and its transaction times out.",
};

pub(crate) static OFFSET_EFFECT_SKEW: AnomalyClass = AnomalyClass {
    id: "offset-effect-skew",
    level: Level::Effect,
    violates: ATOMICITY,
    jepsen: None,
    meaning: "A sink that stores offsets with its effects has a commit in which they disagree: the \
              offset passes a record whose effect is not there, or an effect lies at or beyond the \
              offset. Or a consumer did not go on at the offset that it had read from the sink.",
    causes: "Offset and effects in different transactions; a consumer that goes on at the group's \
             committed offset in Kafka instead.",
    fixes: "Write both in one transaction, and seek to the stored offset on every assignment.",
    example: "Commit 9 of the ledger stores 6 as the offset to go on from in orders-0, and no \
              commit has the effect of offset 5.",
};

pub(crate) static STALE_UPSERT: AnomalyClass = AnomalyClass {
    id: "stale-upsert",
    level: Level::Effect,
    violates: ORDER,
    jepsen: None,
    meaning: "In the end a row has what an older record said, although a newer record of the same \
              partition had been applied to it. A row that went backwards and was healed does not \
              count.",
    causes: "An upsert without a version: a zombie consumer, a duplicate in the topic, a retry \
             topic, or a redelivery that nothing follows, applies an old record last.",
    fixes: "Write only if the record's version (its offset, or a counter of the source) is higher \
            than the row's; fence old consumers by a token.",
    example: "mailer-1 sets customer 7 to orders #5; mailer-0 wakes up and sets it to orders #4.",
};

pub(crate) static TOMBSTONE_RESURRECT: AnomalyClass = AnomalyClass {
    id: "tombstone-resurrect",
    level: Level::Effect,
    violates: ORDER,
    jepsen: None,
    meaning: "In the end a row is there that a deletion had ended: its last write is older than a \
              deletion that had been applied. A versioned upsert does not help where the deletion \
              takes the version with it.",
    causes: "As of stale-upsert; a deleted row has no version that an old upsert could be compared \
             with.",
    fixes: "Keep a tombstone row with its version until no older record can arrive.",
    example: "mailer-1 deletes customer 7; mailer-0 wakes up and inserts customer 7 again.",
};

pub(crate) static LOST_UPDATE: AnomalyClass = AnomalyClass {
    id: "lost-update",
    level: Level::Effect,
    violates: LOSS,
    jepsen: None,
    meaning: "An effect was computed from a row as it was before another record's effect changed \
              it, and overwrote that change.",
    causes: "Read, compute, write, with the read outside of the transaction, while two consumers, \
             or a zombie and its successor, work on the same row.",
    fixes: "Let the database compute (SET total = total + :value), read in the same transaction, \
            or write only if the row is still what was read.",
    example: "mailer-0 and mailer-1 both read 10; one writes 13 and the other 15.",
};

pub(crate) static IDEM_KEY_COLLISION: AnomalyClass = AnomalyClass {
    id: "idem-key-collision",
    level: Level::Effect,
    violates: LOSS,
    jepsen: None,
    meaning: "Effects of different records were asked for under one idempotency key: the second \
              was answered as the first had been, or refused, and not applied.",
    causes: "The key is the record's key (a customer, an order), not the record's own identity.",
    fixes: "A key per record: an id that the source gave to the event.",
    example: "The second payment of customer 7 is answered with the receipt of the first.",
};

pub(crate) static IDEM_KEY_INSTABILITY: AnomalyClass = AnomalyClass {
    id: "idem-key-instability",
    level: Level::Effect,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "The same effect was asked for under different idempotency keys: the system cannot \
              recognise the repetition.",
    causes: "A key that is drawn for each attempt; or one that is made of topic, partition and \
             offset, when the record is in the log twice or its topic was copied.",
    fixes: "A key per record: an id that the source gave to the event.",
    example: "The first request for orders #4 carries the key 8f.., its retry the key 31...",
};

pub(crate) static DEDUP_WINDOW_MISS: AnomalyClass = AnomalyClass {
    id: "dedup-window-miss",
    level: Level::Effect,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "An effect was applied again because the mark, or the idempotency key, of its first \
              application had been forgotten.",
    causes: "A redelivery that comes later than marks are kept: a consumer that was down for long, \
             offsets that were reset, a dead letter queue that was replayed.",
    fixes: "Keep marks for longer than any redelivery can take, or for ever; a version or an upsert \
            in the row itself is forgotten only with the row.",
    example: "The key of orders #4 expires after 1 h; the consumer comes back after 2 h and asks \
              again.",
};

pub(crate) static DEDUP_BEFORE_EFFECT: AnomalyClass = AnomalyClass {
    id: "dedup-before-effect",
    level: Level::Effect,
    violates: LOSS,
    jepsen: None,
    meaning: "A record was durably marked as seen, and its effect was never applied: redeliveries \
              are skipped.",
    causes: "The mark is committed in a transaction of its own, before the effect.",
    fixes: "Mark and effect in one transaction.",
    example: "mailer-0 commits the mark of orders #4 and dies; mailer-1 finds the mark and skips \
              orders #4.",
};

pub(crate) static DEDUP_AFTER_EFFECT: AnomalyClass = AnomalyClass {
    id: "dedup-after-effect",
    level: Level::Effect,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "An effect was applied again because its mark was not durable together with the first \
              application: it came in a later commit, or never.",
    causes: "The mark is committed in a transaction of its own, after the effect; or two owners \
             both look for the mark before either writes it.",
    fixes: "Mark and effect in one transaction, with a unique key on the mark.",
    example: "mailer-0 inserts the row of orders #4 and dies; mailer-1 finds no mark and inserts it \
              again.",
};

pub(crate) static DEDUP_REPLAY_MISMATCH: AnomalyClass = AnomalyClass {
    id: "dedup-replay-mismatch",
    level: Level::Effect,
    violates: INTEGRITY,
    jepsen: None,
    meaning: "A repeated request was answered with something else than the first, or a request \
              with another payload was answered with the stored answer of its key.",
    causes: "An API that does not compare payloads, under a key that stands for several; or one \
             that does not store its answers.",
    fixes: "Refuse a key with another payload (HTTP 422); store the answer with the key.",
    example: "A payment of 20 is answered with the receipt of a payment of 10.",
};

pub(crate) static ZOMBIE_EFFECT: AnomalyClass = AnomalyClass {
    id: "zombie-effect",
    level: Level::Effect,
    violates: Violates { at_most_once: true, ..ORDER },
    jepsen: None,
    meaning: "A system applied an effect under a fencing token lower than one that it had accepted \
              before for the same partition: of a consumer that has been replaced.",
    causes: "A consumer that slept through a rebalance and goes on; the system does not compare \
             tokens.",
    fixes: "Store the token with the offset (or in the row), and refuse lower ones in the same \
            transaction.",
    example: "mailer-1 stores offsets with token 3; mailer-0 wakes up and writes with token 2.",
};

pub(crate) static EFFECT_INDETERMINATE_UNRESOLVED: AnomalyClass = AnomalyClass {
    id: "effect-indeterminate-unresolved",
    level: Level::Effect,
    violates: LIVENESS,
    jepsen: None,
    meaning: "The last request for an effect had no answer, and nobody found out what became of \
              it; or a two-phase sink still holds what nobody committed or dropped.",
    causes: "A client that gives up after a timeout; a sink whose client does not ask for pending \
             transactions when it takes over.",
    fixes: "Ask again under the same identity until the answer is definite; commit or drop what is \
            pending on every assignment.",
    example: "mailer-0 asks for the mail of orders #4, times out, and commits the offset.",
};
