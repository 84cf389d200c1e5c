//! Anomalies of transactions: what is seen, what is decided, and who may still write.

use super::{ATOMICITY, DUPLICATE, ISOLATION, LIVENESS};
use crate::anomaly::{AnomalyClass, Violates};
use crate::guarantee::Level;

pub(crate) static ABORTED_READ: AnomalyClass = AnomalyClass {
    id: "aborted-read",
    level: Level::Log,
    violates: ISOLATION,
    jepsen: Some("G1a"),
    meaning: "A consumer was given a record of a transaction that was not committed.",
    causes: "isolation.level=read_uncommitted, which is the default of consumers; at \
             read_committed a defect: a marker of the wrong kind, a lost entry of the \
             aborted-transaction index, or a late EndTxn that hit another transaction.",
    fixes: "isolation.level=read_committed on every consumer of the topic; a broker and clients \
            with transaction version 2 (KIP-890).",
    example: "billing sends invoice #7 and aborts; mailer polls invoice #7 at offset 5.",
};

pub(crate) static PRECOMMITTED_READ: AnomalyClass = AnomalyClass {
    id: "precommitted-read",
    level: Level::Log,
    violates: ISOLATION,
    jepsen: Some("precommitted-read"),
    meaning: "A transaction read, at read_committed, a record that it had itself written and not \
              committed yet.",
    causes: "The last stable offset passed an open transaction.",
    fixes: "Defect of the broker; see read-past-lso.",
    example: "billing-0 writes billing-0-producer #3 to orders and polls it before it commits.",
};

pub(crate) static READ_UNCOMMITTED_LEAK: AnomalyClass = AnomalyClass {
    id: "read-uncommitted-leak",
    level: Level::Log,
    violates: ISOLATION,
    jepsen: Some("G1c-realtime"),
    meaning: "A read_committed consumer was given a record before its transaction was asked to \
              commit.",
    causes: "The last stable offset passed an open transaction, or a commit meant for an earlier \
             transaction ended this one.",
    fixes: "Defect of the broker; with transaction version 1 see delayed-endtxn.",
    example: "mailer polls invoice #7 at 2 s; commitTransaction() is called at 3 s.",
};

pub(crate) static READ_PAST_LSO: AnomalyClass = AnomalyClass {
    id: "read-past-lso",
    level: Level::Log,
    violates: ISOLATION,
    jepsen: None,
    meaning: "A broker served a read_committed fetch beyond the last stable offset.",
    causes: "A first unstable offset that is lost or wrong after a failover.",
    fixes: "Defect of the broker.",
    example: "b1 serves orders-0 from 4 to 9 although its last stable offset is 6.",
};

pub(crate) static G1C_WR: AnomalyClass = AnomalyClass {
    id: "g1c-wr",
    level: Level::Log,
    violates: ISOLATION,
    jepsen: Some("G1c"),
    meaning: "Committed transactions read from each other in a circle, so that no order of them \
              is possible.",
    causes: "Uncommitted records that are given to a processor.",
    fixes: "isolation.level=read_committed on processors.",
    example: "Transaction 1 reads what transaction 2 wrote, and transaction 2 reads what \
              transaction 1 wrote; both commit.",
};

pub(crate) static TORN_TXN: AnomalyClass = AnomalyClass {
    id: "torn-txn",
    level: Level::Log,
    violates: ATOMICITY,
    jepsen: None,
    meaning: "Some records of a transaction are visible and others are not, after everything has \
              healed.",
    causes: "Markers of different kinds, a lost marker, records that arrive after their \
             transaction has ended (KIP-890), or a lost write.",
    fixes: "Transaction version 2; for a lost write see lost-write-final.",
    example: "A transaction writes to orders-0 and orders-1; the final read shows the first record \
              and not the second.",
};

pub(crate) static TORN_OFFSETS: AnomalyClass = AnomalyClass {
    id: "torn-offsets",
    level: Level::Processing,
    violates: ATOMICITY,
    jepsen: None,
    meaning: "The outputs of a transaction count and its input offsets do not, or the other way \
              round.",
    causes: "The marker for the offsets partition was lost or of another kind than those for the \
             outputs, or a pending offset was dropped or kept when a coordinator moved.",
    fixes: "Defect of the group coordinator or the transaction coordinator.",
    example: "billing commits invoice #7 together with offset 5 of orders-0; invoice #7 is \
              visible, and the group resumes at 4.",
};

pub(crate) static DECISION_MISMATCH: AnomalyClass = AnomalyClass {
    id: "decision-mismatch",
    level: Level::Log,
    violates: Violates { at_least_once: true, ..ATOMICITY },
    jepsen: None,
    meaning: "The client was told that its transaction was committed and it was aborted, or the \
              other way round.",
    causes: "A late EndTxn of an earlier transaction (KAFKA-17754), or a coordinator that forgets \
             what it has decided.",
    fixes: "Transaction version 2 (KIP-890).",
    example: "commitTransaction() of transaction 3 succeeds; its coordinator has decided to abort \
              it.",
};

pub(crate) static LATE_COMMIT: AnomalyClass = AnomalyClass {
    id: "late-commit",
    level: Level::Log,
    violates: Violates { isolation: true, ..ATOMICITY },
    jepsen: None,
    meaning: "Records of a transaction became visible after a read_committed reader had already \
              gone past them.",
    causes: "The transaction was taken for aborted and committed afterwards, or markers reached \
             replicas in another order.",
    fixes: "Defect of the coordinator or of the log.",
    example: "mailer polls offsets 4 and 6 of invoices-0; the final read shows a record of an \
              earlier transaction at offset 5.",
};

pub(crate) static MARKER_MISMATCH: AnomalyClass = AnomalyClass {
    id: "marker-mismatch",
    level: Level::Log,
    violates: ATOMICITY,
    jepsen: None,
    meaning: "One transaction was decided both ways: its coordinator logged both, or its \
              partitions got markers of different kinds.",
    causes: "Two coordinators at work, a decision that was lost in a failover, or a marker that \
             hit the next transaction.",
    fixes: "Defect of the coordinator; transaction version 2 keeps late markers out.",
    example: "orders-0 gets a commit marker and orders-1 an abort marker for the same \
              transaction.",
};

pub(crate) static DELAYED_ENDTXN: AnomalyClass = AnomalyClass {
    id: "delayed-endtxn",
    level: Level::Log,
    violates: Violates { at_least_once: true, isolation: true, ..ATOMICITY },
    jepsen: None,
    meaning: "A request to end one transaction ended a later one of the same producer session.",
    causes: "Transaction version 1 has nothing in EndTxn that names the transaction: a delayed \
             request is as good as a new one (KAFKA-17754).",
    fixes: "Transaction version 2: every transaction has an epoch of its own (KIP-890).",
    example: "The commit of transaction 1 times out, the producer aborts it and begins \
              transaction 2; the late commit ends transaction 2.",
};

pub(crate) static LATE_APPEND_AFTER_MARKER: AnomalyClass = AnomalyClass {
    id: "late-append-after-marker",
    level: Level::Log,
    violates: Violates { liveness: true, ..ATOMICITY },
    jepsen: None,
    meaning: "A leader appended records of a transaction after its end had been written there.",
    causes: "A delayed produce request, and a leader that does not ask the coordinator whether the \
             transaction is still open.",
    fixes: "transaction.partition.verification.enable=true (KIP-890 part 1), or transaction \
            version 2.",
    example: "orders-0 has the abort marker of transaction 1 at offset 6 and a record of \
              transaction 1 at offset 7.",
};

pub(crate) static HANGING_TXN: AnomalyClass = AnomalyClass {
    id: "hanging-txn",
    level: Level::Log,
    violates: LIVENESS,
    jepsen: Some("unseen"),
    meaning: "A partition has an open transaction that no coordinator knows: nothing will ever \
              end it, and read_committed readers wait for ever.",
    causes: "A record that arrived after the end of its transaction, or a marker that was never \
             written.",
    fixes: "Partition verification (KIP-890); kafka-transactions.sh find-hanging and abort on a \
            cluster that already has one.",
    example: "orders-0 holds records of producer id 4 since offset 7, and the transaction of its \
              id is CompleteAbort.",
};

pub(crate) static ZOMBIE_WRITE_AFTER_FENCE: AnomalyClass = AnomalyClass {
    id: "zombie-write-after-fence",
    level: Level::Log,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "A record of a fenced producer counts, although its successor had already begun its \
              session.",
    causes: "A partition that has not heard of the new epoch, and no verification with the \
             coordinator.",
    fixes: "Partition verification or transaction version 2; one transactional.id per instance.",
    example: "billing with epoch 3 is ready at 2 s; at 3 s orders-0 appends a record with epoch 2, \
              and it is committed.",
};

pub(crate) static ZOMBIE_COMMIT: AnomalyClass = AnomalyClass {
    id: "zombie-commit",
    level: Level::Log,
    violates: ATOMICITY,
    jepsen: None,
    meaning: "A fenced producer committed a transaction, or offsets, after its successor had begun \
              its session.",
    causes: "A coordinator that does not compare producer epochs, or a group coordinator that does \
             not.",
    fixes: "Defect of the coordinator.",
    example: "billing with epoch 3 is ready at 2 s; at 3 s EndTxn of epoch 2 is accepted.",
};

pub(crate) static PID_EPOCH_COLLISION: AnomalyClass = AnomalyClass {
    id: "pid-epoch-collision",
    level: Level::Log,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "Two producers were given the same producer id and epoch.",
    causes: "A coordinator or controller that forgets which ids or epochs it has handed out.",
    fixes: "Defect of the coordinator; look for a failover between the two.",
    example: "shop-0 and shop-1 both have producer id 4 with epoch 2.",
};

pub(crate) static EPOCH_REGRESS: AnomalyClass = AnomalyClass {
    id: "epoch-regress",
    level: Level::Log,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "initTransactions() returned an epoch that is not higher than that of the session \
              before, with the same producer id; or a session of one process went back, to an \
              earlier producer id or epoch.",
    causes: "A coordinator that lost a state of its log, or that bumps in memory only.",
    fixes: "Defect of the coordinator.",
    example: "billing gets producer id 4 with epoch 3, and after a restart epoch 3 again.",
};

pub(crate) static SPURIOUS_FENCE: AnomalyClass = AnomalyClass {
    id: "spurious-fence",
    level: Level::Log,
    violates: LIVENESS,
    jepsen: None,
    meaning: "A producer was told that it is fenced, although its session was the newest of its \
              transactional id.",
    causes: "A coordinator that compares epochs while a transaction is still being ended.",
    fixes: "Defect of the coordinator.",
    example: "abortTransaction() fails with PRODUCER_FENCED; epoch 2 is the newest that the \
              coordinator knows, and the next session gets 3.",
};

pub(crate) static ILLEGAL_TXN_STATE: AnomalyClass = AnomalyClass {
    id: "illegal-txn-state",
    level: Level::Log,
    violates: ATOMICITY,
    jepsen: None,
    meaning: "A transactional id went from one state to another that may not follow it.",
    causes: "A coordinator that skips a step, or two that write at once.",
    fixes: "Defect of the coordinator.",
    example: "billing goes from PrepareCommit to CompleteAbort.",
};

pub(crate) static TWO_TXN_COORDINATORS: AnomalyClass = AnomalyClass {
    id: "two-txn-coordinators",
    level: Level::Log,
    violates: ATOMICITY,
    jepsen: None,
    meaning: "Two brokers acted as coordinator with the same epoch, or a leader took a marker of \
              an older coordinator after one of a newer.",
    causes: "Two leaders of one partition of __transaction_state, or a leader that does not \
             compare coordinator epochs.",
    fixes: "Defect of replication, or of the handling of markers.",
    example: "orders-0 has a marker of coordinator epoch 3 for producer id 4, and takes one of \
              epoch 2.",
};

pub(crate) static LSO_REGRESS: AnomalyClass = AnomalyClass {
    id: "lso-regress",
    level: Level::Log,
    violates: ISOLATION,
    jepsen: None,
    meaning: "The last stable offset of a leader went back within one leader epoch.",
    causes: "A transaction that begins below what had been called stable.",
    fixes: "Defect of the broker.",
    example: "b1 has served orders-0 up to last stable offset 9, and says 6 afterwards.",
};

pub(crate) static CONSERVATION: AnomalyClass = AnomalyClass {
    id: "conservation",
    level: Level::Log,
    violates: Violates { at_most_once: true, at_least_once: true, ..ATOMICITY },
    jepsen: None,
    meaning: "The amounts of all visible transfers do not add up to zero.",
    causes: "Half of a transfer is visible: a torn transaction, a lost write or a duplicate.",
    fixes: "See the other anomalies of the same run.",
    example: "10 are taken from alice, and nothing is given to bob.",
};
