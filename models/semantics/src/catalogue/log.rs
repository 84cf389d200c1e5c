//! Anomalies of the log: what a producer sent against what the topic holds.

use super::{DUPLICATE, INTEGRITY, LOSS, NOTHING, ORDER};
use crate::anomaly::{AnomalyClass, Violates};
use crate::guarantee::Level;

pub(crate) static LOST_WRITE: AnomalyClass = AnomalyClass {
    id: "lost-write",
    level: Level::Log,
    violates: LOSS,
    jepsen: Some("lost-write"),
    meaning: "An acknowledged record was never read, although readers went past its offset.",
    causes: "The leader acknowledged the record, lost it (crash before replication, unclean \
             election), and its offset went to another record.",
    fixes: "acks=all with min.insync.replicas=2 or more, and unclean.leader.election.enable=false.",
    example: "shop #7 is acknowledged at offset 5; consumers read offsets 4, 5 and 6 and get \
              three other records.",
};

pub(crate) static LOST_WRITE_FINAL: AnomalyClass = AnomalyClass {
    id: "lost-write-final",
    level: Level::Log,
    violates: LOSS,
    jepsen: Some("unseen"),
    meaning: "An acknowledged record is not in the topic when everything has healed and the topic \
              is read from start to end.",
    causes: "acks=0 or acks=1, a leader that dies before replication, an unclean election, or a \
             power failure of every replica that had the record.",
    fixes: "acks=all with min.insync.replicas=2 or more, unclean.leader.election.enable=false, \
            replicas that do not share a power supply.",
    example: "shop #7 is acknowledged at offset 5; the final read of orders-0 ends at offset 5 \
              and has never shown it.",
};

pub(crate) static ACKED_TRUNCATED: AnomalyClass = AnomalyClass {
    id: "acked-truncated",
    level: Level::Log,
    violates: LOSS,
    jepsen: None,
    meaning: "A new leader's log ends before an acknowledged record: the record is cut off, and \
              nobody wrote it again.",
    causes: "A leader acknowledged on its own (acks=1, or an in-sync set of one) and a replica \
             without the record took over.",
    fixes: "acks=all, min.insync.replicas=2 or more, no unclean elections.",
    example: "b1 acknowledges offset 5 and dies; b2 becomes leader with log end 5.",
};

pub(crate) static DUPLICATE_APPEND: AnomalyClass = AnomalyClass {
    id: "duplicate-append",
    level: Level::Log,
    violates: DUPLICATE,
    jepsen: Some("duplicate"),
    meaning: "One logical record is in the log at two offsets, or in two partitions.",
    causes: "A retry after a lost acknowledgement without idempotence, an application that sends \
             again, or a producer session that changed in between.",
    fixes: "enable.idempotence=true; for resends across restarts a transactional.id, or consumers \
            that deduplicate by a record id.",
    example: "shop #3 is appended at offset 2, the response is lost, the retry is appended at \
              offset 3.",
};

pub(crate) static INCONSISTENT_OFFSET: AnomalyClass = AnomalyClass {
    id: "inconsistent-offset",
    level: Level::Log,
    violates: Violates { ordering: true, ..INTEGRITY },
    jepsen: Some("inconsistent-offsets"),
    meaning: "One offset stood for different records, for different clients or at different \
              times.",
    causes: "An acknowledged or read suffix was truncated and its offsets were used again.",
    fixes: "acks=all with min.insync.replicas=2 or more and no unclean elections; if these are \
            set, it is a defect of the broker.",
    example: "shop #7 is acknowledged at orders-0 offset 5; a consumer reads shop #9 there.",
};

pub(crate) static MUTATED_RECORD: AnomalyClass = AnomalyClass {
    id: "mutated-record",
    level: Level::Log,
    violates: INTEGRITY,
    jepsen: None,
    meaning: "A record came back with another payload or key than it was sent with.",
    causes: "Memory reused while a request is in flight, corruption that no checksum caught, or a \
             serializer that is not its deserializer's inverse.",
    fixes: "Upgrade the client; verify checksums end to end.",
    example: "shop #3 is sent with payload hash 17 and read with payload hash 99.",
};

pub(crate) static OFFSET_COLLISION_ACK: AnomalyClass = AnomalyClass {
    id: "offset-collision-ack",
    level: Level::Log,
    violates: INTEGRITY,
    jepsen: Some("inconsistent-offsets"),
    meaning: "Two different records were acknowledged at the same offset of one partition.",
    causes: "Two brokers acted as leader, or a leader that had acknowledged alone lost its tail.",
    fixes: "acks=all with min.insync.replicas=2 or more; if set, it is a defect of the broker.",
    example: "shop #7 and till #2 are both told that they are at orders-0 offset 5.",
};

pub(crate) static ACK_OFFSET_MISMATCH: AnomalyClass = AnomalyClass {
    id: "ack-offset-mismatch",
    level: Level::Log,
    violates: INTEGRITY,
    jepsen: Some("inconsistent-offsets"),
    meaning: "A record is in the log, but not at the offset that its producer was told.",
    causes: "The acknowledged copy was lost and another copy survived, or the response carried a \
             wrong base offset.",
    fixes: "Do not use acknowledged offsets as identities unless acks=all; upgrade the client.",
    example: "shop #3 is acknowledged at offset 0 and found at offset 14.",
};

pub(crate) static MISSING_ACK_OFFSET: AnomalyClass = AnomalyClass {
    id: "missing-ack-offset",
    level: Level::Log,
    violates: NOTHING,
    jepsen: None,
    meaning: "A durable send succeeded, and the client was not told the offset.",
    causes: "The broker recognised a duplicate whose offset it no longer remembered.",
    fixes: "Nothing is wrong with the record; do not rely on the offset of every acknowledgement.",
    example: "shop #3 is acknowledged with offset -1.",
};

pub(crate) static PHANTOM_RECORD: AnomalyClass = AnomalyClass {
    id: "phantom-record",
    level: Level::Log,
    violates: INTEGRITY,
    jepsen: None,
    meaning: "A reader got a record that nobody ever sent.",
    causes: "Corruption, a record of another topic written here, or a history that misses sends.",
    fixes: "Record every send; if the history is complete, it is a defect of client or broker.",
    example: "A consumer reads shop #40, and shop has called send() for #0 to #39 only.",
};

pub(crate) static MISROUTED_RECORD: AnomalyClass = AnomalyClass {
    id: "misrouted-record",
    level: Level::Log,
    violates: INTEGRITY,
    jepsen: None,
    meaning: "A record was found in another topic or partition than it was sent to.",
    causes: "Buffers mixed up in the client, or a topic that was deleted and created again.",
    fixes: "Upgrade the client; check topic ids.",
    example: "shop #3 is sent to orders-1 and read from orders-0.",
};

pub(crate) static TIME_TRAVEL_READ: AnomalyClass = AnomalyClass {
    id: "time-travel-read",
    level: Level::Log,
    violates: INTEGRITY,
    jepsen: Some("G1c-realtime"),
    meaning: "A reader got a record before anybody had sent it.",
    causes: "A history whose clocks or order are wrong, or an id that was used twice.",
    fixes: "Order the history by one clock; make record ids unique.",
    example: "A poll returns shop #3 at 1 s, and send() of shop #3 is called at 2 s.",
};

pub(crate) static FAILED_WRITE_VISIBLE: AnomalyClass = AnomalyClass {
    id: "failed-write-visible",
    level: Level::Log,
    violates: DUPLICATE,
    jepsen: Some("G1a"),
    meaning: "The application was told that the send failed for good, and the record is in the \
              log.",
    causes: "An error that does not prove failure (a timeout, NOT_LEADER_OR_FOLLOWER) was reported \
             as one.",
    fixes: "Treat every error after the request left as unknown; upgrade the client.",
    example: "send() of shop #3 fails with INVALID_REQUIRED_ACKS, and a consumer reads shop #3.",
};

pub(crate) static APPEND_REALTIME_INVERSION: AnomalyClass = AnomalyClass {
    id: "append-realtime-inversion",
    level: Level::Log,
    violates: ORDER,
    jepsen: Some("G0-realtime"),
    meaning: "A send that began after another was acknowledged got a lower offset in the same \
              partition.",
    causes: "Two leaders at once, or a wrong offset in an acknowledgement.",
    fixes: "acks=all; if set, it is a defect of the broker.",
    example: "shop #1 is acknowledged at offset 9; then till #1 is sent and acknowledged at \
              offset 4.",
};

pub(crate) static NONMONOTONIC_SEND: AnomalyClass = AnomalyClass {
    id: "nonmonotonic-send",
    level: Level::Log,
    violates: ORDER,
    jepsen: Some("nonmonotonic-send"),
    meaning: "A producer's records are in a partition in another order than it sent them.",
    causes: "Several requests in flight without idempotence: the first fails, the second does \
             not, the first is retried. With it, a leader that froze with the first batches of a \
             session: its successor takes any sequence for the first one.",
    fixes: "enable.idempotence=true, or max.in.flight.requests.per.connection=1.",
    example: "shop sends #1 and #2; the log holds #2 at offset 0 and #1 at offset 1.",
};

pub(crate) static KEY_ORDER_VIOLATION: AnomalyClass = AnomalyClass {
    id: "key-order-violation",
    level: Level::Log,
    violates: ORDER,
    jepsen: None,
    meaning: "Records with the same key from one producer session are not in the log in the order \
              in which they were sent.",
    causes: "Reordered retries, an application that sends again, or partitions that were added to \
             the topic.",
    fixes: "enable.idempotence=true, do not resend around newer records of the same key.",
    example: "shop sends #1 and #2 with key 4; the log holds #2 before #1.",
};

pub(crate) static SEQ_GAP: AnomalyClass = AnomalyClass {
    id: "seq-gap",
    level: Level::Log,
    violates: Violates { ordering: true, ..DUPLICATE },
    jepsen: None,
    meaning: "A leader appended a batch of an idempotent producer that does not follow the last \
              one of its session.",
    causes: "The sequence check of the broker is missing or works on lost state.",
    fixes: "Defect of the broker: it must answer OUT_OF_ORDER_SEQUENCE_NUMBER.",
    example: "Producer id 4 has written up to sequence 9; its batch from sequence 12 is appended.",
};

pub(crate) static SEQ_DUP: AnomalyClass = AnomalyClass {
    id: "seq-dup",
    level: Level::Log,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "A leader appended a batch of an idempotent producer that is among the last five of \
              its session.",
    causes: "The duplicate check of the broker is missing or lost its cached batches.",
    fixes: "Defect of the broker: it must acknowledge the duplicate without appending it.",
    example: "Producer id 4 writes sequences 5 to 9; the retry of 5 to 9 is appended again.",
};

pub(crate) static PRODUCER_EPOCH_REGRESS: AnomalyClass = AnomalyClass {
    id: "producer-epoch-regress",
    level: Level::Log,
    violates: Violates { isolation: true, ..DUPLICATE },
    jepsen: None,
    meaning: "A leader appended a batch with an older producer epoch than it had already seen.",
    causes: "A zombie producer is not fenced.",
    fixes: "Defect of the broker: it must answer INVALID_PRODUCER_EPOCH.",
    example: "Producer id 4 has written with epoch 2; a batch with epoch 1 is appended.",
};

pub(crate) static LEADER_EPOCH_REGRESS: AnomalyClass = AnomalyClass {
    id: "leader-epoch-regress",
    level: Level::Log,
    violates: Violates { integrity: true, ..ORDER },
    jepsen: None,
    meaning: "Leader epochs decrease along the offsets of one partition.",
    causes: "A follower kept a suffix of an old leader, or appended to the wrong lineage.",
    fixes: "Defect of the broker: truncation by leader epoch (KIP-101, KIP-279).",
    example: "Offset 4 was written in leader epoch 3, offset 5 in leader epoch 2.",
};

pub(crate) static CONSISTENT_READ: AnomalyClass = AnomalyClass {
    id: "consistent-read",
    level: Level::Log,
    violates: INTEGRITY,
    jepsen: Some("inconsistent-offsets"),
    meaning: "A record that was consumed at an offset is no longer there: the final read shows \
              nothing or something else.",
    causes: "An unclean election or the loss of every in-sync replica; or a read above the true \
             high watermark.",
    fixes: "unclean.leader.election.enable=false; min.insync.replicas=2 or more.",
    example: "A consumer processes shop #7 at offset 5; the final read ends at offset 5.",
};

pub(crate) static ILLEGAL_OFFSET_GAP: AnomalyClass = AnomalyClass {
    id: "illegal-offset-gap",
    level: Level::Log,
    violates: Violates { integrity: true, ..LOSS },
    jepsen: None,
    meaning: "A leader's log has no entry at an offset below its end: neither a record nor the \
              end of a transaction.",
    causes: "A leader that appended beyond its end, or a log that lost a batch in its middle.",
    fixes: "Defect of the broker: the next batch begins where the last one ended.",
    example: "b1 appends a batch that ends at offset 4, and the next one at offset 6.",
};
