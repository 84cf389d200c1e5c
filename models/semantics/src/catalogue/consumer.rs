//! Anomalies of one consumer's stream: what `poll()` returned against what the log holds.

use super::{DUPLICATE, INTEGRITY, LIVENESS, LOSS, ORDER};
use crate::anomaly::{AnomalyClass, Violates};
use crate::guarantee::Level;

pub(crate) static INT_POLL_SKIP: AnomalyClass = AnomalyClass {
    id: "int-poll-skip",
    level: Level::Processing,
    violates: LOSS,
    jepsen: Some("int-poll-skip"),
    meaning: "One poll() jumped over records that are in the log.",
    causes: "A fetch position that moved without a seek; a read from a replica in another state.",
    fixes: "Defect of the client or broker.",
    example: "One poll returns offsets 3 and 6 of orders-0, and 4 and 5 hold records.",
};

pub(crate) static POLL_SKIP: AnomalyClass = AnomalyClass {
    id: "poll-skip",
    level: Level::Processing,
    violates: LOSS,
    jepsen: Some("poll-skip"),
    meaning: "Between two polls of one consumer, records of the log were jumped over without a \
              seek or reset.",
    causes: "Positions that are not validated after a truncation (KIP-320), or a lost fetch \
             response.",
    fixes: "Defect of the client, or unclean elections are allowed.",
    example: "A poll ends at offset 3 of orders-0, the next begins at offset 6.",
};

pub(crate) static INT_NONMONOTONIC_POLL: AnomalyClass = AnomalyClass {
    id: "int-nonmonotonic-poll",
    level: Level::Processing,
    violates: ORDER,
    jepsen: Some("int-nonmonotonic-poll"),
    meaning: "One poll() returned records of a partition out of log order.",
    causes: "Fetch responses were put together in the wrong order.",
    fixes: "Defect of the client.",
    example: "One poll returns offsets 6 and then 3 of orders-0.",
};

pub(crate) static NONMONOTONIC_POLL: AnomalyClass = AnomalyClass {
    id: "nonmonotonic-poll",
    level: Level::Processing,
    violates: ORDER,
    jepsen: Some("nonmonotonic-poll"),
    meaning: "A poll() returned records at or before those of the previous poll, without a seek, \
              reset or new assignment.",
    causes: "A fetch response that belongs to an earlier position was used.",
    fixes: "Defect of the client.",
    example: "A poll ends at offset 6 of orders-0, the next begins at offset 3.",
};

pub(crate) static NONMONOTONIC_POSITION: AnomalyClass = AnomalyClass {
    id: "nonmonotonic-position",
    level: Level::Processing,
    violates: ORDER,
    jepsen: None,
    meaning: "A consumer got an offset below its own position.",
    causes: "The position went back without anybody asking for it.",
    fixes: "Defect of the client.",
    example: "The position of orders-0 is set to 10 by the committed offset, and offset 8 is \
              delivered.",
};

pub(crate) static RESUME_SKIP: AnomalyClass = AnomalyClass {
    id: "resume-skip",
    level: Level::Processing,
    violates: LOSS,
    jepsen: None,
    meaning: "After a new assignment a consumer began behind records that no commit had covered.",
    causes: "A commit that nobody asked for, a position taken over from elsewhere, or \
             auto.offset.reset=latest on a partition with commits.",
    fixes: "Defect of client or coordinator, unless the application seeks.",
    example: "The group has committed 4 on orders-0; the new owner's first record is offset 7.",
};

pub(crate) static RESUME_REWIND: AnomalyClass = AnomalyClass {
    id: "resume-rewind",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "After a new assignment a consumer began before every offset that its group could \
              have committed.",
    causes: "Committed offsets were lost: an unreplicated __consumer_offsets, an expired offset, \
             or a coordinator that lost its log.",
    fixes: "offsets.topic.replication.factor=3 and min.insync.replicas=2 for the offsets topic.",
    example: "The group has committed 9 on orders-0; the new owner's first record is offset 2.",
};

pub(crate) static RESET_JUMP: AnomalyClass = AnomalyClass {
    id: "reset-jump",
    level: Level::Processing,
    violates: LOSS,
    jepsen: None,
    meaning: "auto.offset.reset was applied although the group had a committed offset.",
    causes: "Committed offsets were lost or expired, or the coordinator answered before it had \
             loaded them.",
    fixes: "Replicate __consumer_offsets; auto.offset.reset=none makes it an error.",
    example: "The group has committed 9 on orders-0; a restarted consumer starts at the log end.",
};

pub(crate) static UNASSIGNED_DELIVERY: AnomalyClass = AnomalyClass {
    id: "unassigned-delivery",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "poll() returned records of a partition that was not assigned to that consumer.",
    causes: "Fetched records were kept across a revocation.",
    fixes: "Defect of the client.",
    example: "orders-1 is revoked from mailer-0, and its next poll returns records of orders-1.",
};

pub(crate) static READ_BEYOND_HW: AnomalyClass = AnomalyClass {
    id: "read-beyond-hw",
    level: Level::Processing,
    violates: Violates { isolation: true, ..INTEGRITY },
    jepsen: None,
    meaning: "A broker served records above its high watermark to a consumer.",
    causes: "The end of a fetch is computed from stale segment metadata.",
    fixes: "Defect of the broker (KAFKA-9196, KAFKA-9835).",
    example: "b1 serves offsets 4 to 6 while its high watermark is 5.",
};

pub(crate) static UNSEEN: AnomalyClass = AnomalyClass {
    id: "unseen",
    level: Level::Processing,
    violates: Violates { liveness: true, ..LOSS },
    jepsen: Some("unseen"),
    meaning: "An acknowledged record has not been read by the end of the history, and no final \
              read shows whether it is lost.",
    causes: "The history ends before its consumers have caught up, or the record is lost.",
    fixes: "End a history with a read of every partition from start to end.",
    example: "shop #9 is acknowledged at offset 9; the last poll of orders-0 ends at offset 7.",
};

pub(crate) static DUPLICATE_DELIVERY: AnomalyClass = AnomalyClass {
    id: "duplicate-delivery",
    level: Level::Processing,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "The record at one offset was delivered to one group more than once.",
    causes: "A rebalance or restart after delivery and before the commit: the normal price of \
             at-least-once.",
    fixes: "None needed when processing is idempotent; smaller polls and earlier commits make it \
            rarer.",
    example: "mailer-0 polls offset 5 and crashes; mailer-1 polls offset 5.",
};

pub(crate) static NEXT_POINTER_CONFLICT: AnomalyClass = AnomalyClass {
    id: "next-pointer-conflict",
    level: Level::Processing,
    violates: Violates { ordering: true, ..LOSS },
    jepsen: Some("poll-skip"),
    meaning: "Two readers at the same isolation level saw different successors of one offset: \
              one was given a record that the other passed over.",
    causes: "A suffix of the log that was read and then truncated, a fetch that skipped a batch, \
             or a reader that filtered what is not aborted.",
    fixes: "min.insync.replicas=2 or more and no unclean elections; if these are set, it is a \
            defect of broker or client.",
    example: "mailer-0 gets offsets 4, 5 and 6 of orders-0; mailer-1 gets 4 and then 6.",
};

pub(crate) static STALE_READ: AnomalyClass = AnomalyClass {
    id: "stale-read",
    level: Level::Processing,
    violates: LIVENESS,
    jepsen: Some("worst-realtime-lag"),
    meaning: "A poll ended before a record that had been acknowledged half a minute earlier, and \
              the next one returned that record.",
    causes: "A consumer that cannot keep up, or a replica that serves old data while it is cut \
             off from its leader.",
    fixes: "A number, not a defect: Kafka promises no bound. More consumers, or fewer records \
            per poll.",
    example: "shop #9 is acknowledged at 10 s; a poll at 50 s ends with shop #8, the next one \
              returns shop #9.",
};
