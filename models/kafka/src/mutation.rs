//! The mutation bank: one variant per planted bug, each a historical defect or a fault of design
//! that a real system had. Off in every ordinary run.

use serde::{Deserialize, Serialize};

/// A set of planted bugs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mutations(u128);

impl Mutations {
    /// None: the faithful model.
    pub const NONE: Mutations = Mutations(0);

    /// Just `mutation`.
    #[must_use]
    pub const fn only(mutation: Mutation) -> Self {
        Mutations(1 << mutation as u128)
    }

    /// Whether `mutation` is planted.
    #[must_use]
    pub const fn has(self, mutation: Mutation) -> bool {
        self.0 & (1 << mutation as u128) != 0
    }
}

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $text:literal;)*) => {
        /// One planted bug.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Mutation {
            $($(#[$doc])* $name,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &'static [Mutation] = &[$(Mutation::$name,)*];

            /// Its name in scenarios: `repl.truncate-to-hw`.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Mutation::$name => $id,)* }
            }

            /// The real bug that it imitates, in a sentence.
            #[must_use]
            pub const fn imitates(self) -> &'static str {
                match self { $(Mutation::$name => $text,)* }
            }
        }
    };
}

mutations! {
    /// KIP-101.
    ReplTruncateToHighWatermark = "repl.truncate-to-hw",
        "KIP-101 / KAFKA-1211: a follower truncates to its own, lagging high watermark";
    /// KIP-279.
    ReplEpochReplyWithoutEpoch = "repl.epoch-reply-without-epoch",
        "KIP-279 / KAFKA-6361: the leader's epoch answer lacks the epoch that it belongs to";
    /// KIP-320.
    FetchNoEpochCheck = "fetch.no-epoch-check",
        "KIP-320 / KAFKA-7395: fetches carry no leader epoch, stale leaders and followers count";
    /// KAFKA-7164.
    ReplTruncateOnlyOnLeaderChange = "repl.truncate-only-on-leader-change",
        "KAFKA-7164: a follower that misses an epoch change of the same leader does not truncate";
    /// KIP-841.
    IsrAllowFenced = "isr.allow-fenced",
        "KAFKA-13916 / KIP-841: a fenced broker may be added to the in-sync replicas";
    /// KIP-903.
    IsrNoBrokerEpoch = "isr.no-broker-epoch",
        "KAFKA-14617 / KIP-903: a stale AlterPartition adds a rebooted broker that lost data";
    /// KIP-966.
    HwIgnoreMinIsr = "hw.ignore-min-isr",
        "KAFKA-15583: the high watermark advances although |ISR| < min.insync.replicas";
    /// KIP-966.
    CtrlNoElr = "ctrl.no-elr",
        "KIP-966: the last ISR member is elected again although its disk lost data";
    /// KAFKA-12686.
    IsrApplyStaleReply = "isr.apply-stale-reply",
        "KAFKA-12686: a late AlterPartition reply overwrites newer partition state";
    /// KAFKA-9196.
    FetchReadAboveHw = "fetch.read-above-hw",
        "KAFKA-9196 / KAFKA-9835: a consumer reads records above the high watermark";
    /// Redpanda 3039.
    PsmNoDupCache = "psm.no-dup-cache",
        "Redpanda #3039: no batch cache, a duplicate batch is out of order, and the client bumps";
    /// KIP-360.
    PsmDropOnFailover = "psm.drop-on-failover",
        "producer state is lost on failover, and any sequence is accepted afterwards";
    /// KAFKA-14920.
    PsmAcceptNonzeroFirstSequence = "psm.accept-any-sequence",
        "sequence gaps are accepted: a later batch overtakes an earlier one";
    /// KAFKA-3197.
    ClientDrainPastRetry = "client.drain-past-retry",
        "KAFKA-3197: newer batches are sent while an older one is being retried without sequences";
    /// Redpanda 6019.
    AckBeforeHighWatermark = "leader.ack-before-hw",
        "Redpanda #6019: acks=all is answered before the high watermark covers the records";
    /// KIP-62 era.
    GroupCommitAnyGeneration = "gc.commit-any-generation",
        "a commit with a stale generation is accepted";
    /// KAFKA-5600.
    GroupLoadFirstWins = "gc.load-first-wins",
        "KAFKA-5600: after a failover the oldest committed offset in the log wins";
    /// Redpanda 9c1f30a573.
    GroupReplyBeforeHighWatermark = "gc.reply-before-hw",
        "Redpanda 9c1f30a573: an offset commit is acknowledged before it is replicated";
    /// KAFKA-14639.
    AssignorNewestGenerationOnly = "assignor.newest-generation-only",
        "KAFKA-14639: what a member of an older generation still owns is given away at once";
    /// KAFKA-18641.
    ConsumerAutocommitFetchPosition = "consumer.autocommit-fetch-position",
        "KAFKA-18641: auto commit covers records that the application has not been given";
    /// KAFKA-20321.
    ConsumerReturnAfterLost = "consumer.return-after-lost",
        "KAFKA-20321: buffered records of lost partitions are still returned";
    /// KAFKA-14196.
    ConsumerFetchWhileRevoking = "consumer.fetch-while-revoking",
        "KAFKA-14196: records are returned while the commit before a revocation is pending";
    /// Kip320FirstTry.
    LeaderCountStaleEpochFetch = "leader.count-stale-epoch-fetch",
        "Kip320FirstTry: fetches of followers in an older epoch count for the high watermark";
    /// KAFKA-14402.
    TxnNoVerification = "txn.no-verification",
        "KAFKA-14402: a late batch opens a transaction that its coordinator does not know";
    /// KAFKA-19999.
    TxnTv2MarkerStrict = "txn.tv2-marker-strict",
        "KAFKA-19999: a marker that is sent again is refused, and its transaction never completes";
    /// KIP-1228.
    TxnTv2MarkerLenient = "txn.tv2-marker-lenient",
        "KIP-1228: a late copy of a marker ends the producer's next transaction";
    /// KIP-98.
    TxnNoCoordinatorEpoch = "txn.no-coordinator-epoch",
        "KIP-98: markers of a coordinator that was replaced are accepted";
    /// KAFKA-18575.
    TxnTv2StaleGuard = "txn.tv2-stale-guard",
        "KAFKA-18575: a batch joins the transaction before its own, whose marker is still to come";
    /// KAFKA-17877.
    MarkersEarlyReply = "markers.early-reply",
        "KAFKA-17877: markers are acknowledged before all of them are in the log for good";
    /// KAFKA-9807.
    FetchLsoReadBeforeHw = "fetch.lso-read-before-hw",
        "KAFKA-9807: the last stable offset is what the high watermark has become meanwhile";
    /// tansu 321a304.
    FetchCommittedUpToHw = "fetch.rc-uses-hw",
        "tansu 321a304: read_committed is bounded by the high watermark";
    /// KAFKA-5376.
    FetchNoAbortedListOnDelayed = "fetch.no-aborted-list-on-delayed",
        "KAFKA-5376: a fetch that has waited is answered without the aborted transactions";
    /// Bug bank: a transaction log with acks=1.
    CoordinatorReplyBeforeHighWatermark = "tc.reply-before-hw",
        "the transaction coordinator acts on what its log's replicas do not have yet";
    /// Own reading of `TransactionStateManager.loadTransactionMetadata`.
    CoordinatorServesUnreplicated = "tc.serve-unreplicated-load",
        "a new transaction coordinator serves a state that only its own replica has";
    /// KIP-98.
    CoordinatorNoResumePrepare = "tc.no-resume-prepare",
        "a new transaction coordinator does not resume the transactions that were being ended";
    /// KAFKA-18137.
    CoordinatorKeepStateAfterResign = "tc.keep-state-after-resign",
        "KAFKA-18137, stronger: a coordinator that was deposed serves from its stale copy";
    /// KAFKA-9666.
    CoordinatorBumpOnFailedFence = "tc.bump-on-failed-fence",
        "KAFKA-9666: each attempt to fence that cannot be written takes another producer epoch";
    /// Redpanda and Bufstream had such replies.
    CoordinatorEndTxnReplyEarly = "tc.end-txn-reply-early",
        "EndTxn is answered before the decision is durable";
    /// KAFKA-18464.
    TxnEpochCheckBeforePending = "txn.epoch-check-before-pending",
        "KAFKA-18464: EndTxn checks the epoch while the transaction before is still being ended";
    /// KAFKA-18660.
    TxnOverflowWrongPid = "txn.overflow-wrong-pid",
        "KAFKA-18660: when the epochs run out, EndTxn returns the old producer id with epoch 0";
    /// KAFKA-19367.
    TxnDoubleBump = "txn.double-bump",
        "KAFKA-19367: fencing an open transaction bumps the epoch twice";
    /// KAFKA-17754.
    TxnNoEpochBump = "txn.no-epoch-bump",
        "KAFKA-17754: the epoch stays the same from transaction to transaction";
    /// KIP-98.
    TxnInitNoAbort = "txn.init-no-abort",
        "InitProducerId joins the open transaction instead of fencing who began it";
    /// KIP-98.
    TxnInitNoBump = "txn.init-no-bump",
        "InitProducerId returns the session as it is: an older instance is not fenced";
    /// KAFKA-14831.
    ClientCommitAfterAbortable = "client.allow-commit-after-abortable",
        "KAFKA-14831: a transaction of which a send has failed is committed without it";
    /// KAFKA-5429.
    ClientCompleteAfterAbort = "client.complete-after-abort",
        "KAFKA-5429: an abort does not wait for batches in flight, and counts them as never sent";
    /// KAFKA-19176.
    ClientSurfaceRetriable = "client.surface-retriable-in-txn",
        "KAFKA-19176: a send that was given up fails like a retriable one, its transaction goes on";
    /// KIP-654.
    ClientMisclassify = "client.misclassify",
        "KAFKA-14417 / KIP-588: a timeout or an abortable error is told as being fenced";
    /// KIP-360.
    ClientReuseSequencesAfterAbort = "client.reuse-sequences-after-abort",
        "KIP-360: after an abort sequences start again at 0 in the same epoch";
    /// KIP-447.
    GroupTxnCommitNoGeneration = "gc.txn-commit-no-generation",
        "KIP-447: a transaction commits offsets for a member that its group has replaced";
    /// KIP-447.
    GroupNoRequireStable = "gc.no-require-stable",
        "KIP-447: a new owner starts from an offset that an open transaction is about to move";
    /// KAFKA-17507.
    GroupAsyncMaterialize = "gc.async-materialize",
        "KAFKA-17507: a marker is answered before the offsets of its transaction count";
    /// KAFKA-14505.
    GroupMaterializeNoOrderCheck = "gc.materialize-no-order-check",
        "KAFKA-14505: the transaction that ends last wins over offsets that were written later";
    /// KIP-98.
    GroupPendingLostOnFailover = "gc.pending-lost-on-failover",
        "KIP-98: a new coordinator forgets the offsets of open transactions";
    /// KAFKA-10000 / KIP-618.
    ConnectNoFence = "connect.no-fence",
        "KAFKA-10000: a source task has an id of its own, so that it does not fence its predecessor";
    /// KAFKA-13469.
    ConnectCommitBeforeInflight = "connect.commit-before-inflight",
        "KAFKA-13469: a source's position is stored before the records in flight are acknowledged";
    /// Application.
    AppDedupNotAtomic = "app.dedup-not-atomic",
        "a record is marked as seen in a transaction of its own, after its effect";
    /// Application.
    AppDedupFirst = "app.dedup-first",
        "a record is marked as seen in a transaction of its own, before its effect";
    /// Application.
    AppDedupWindow = "app.dedup-ttl",
        "marks of records, and idempotency keys, are forgotten sooner than records are redelivered";
    /// Application.
    AppKeyIsOffset = "app.key-is-offset",
        "the idempotency key is made of topic, partition and offset, not of the record";
    /// Application.
    AppOutboxMarkEarly = "app.outbox-mark-early",
        "a poller marks a row as published when it has handed it to its producer";
    /// Application.
    AppOutboxIdGap = "app.outbox-id-gap",
        "a poller asks for ids above the last one, while smaller ones are still to be committed";
    /// Application.
    AppDualWrite = "app.dual-write",
        "the event is sent after the commit, instead of being a row of the same transaction";
    /// Application.
    AppOffsetsNotFenced = "app.offsets-not-fenced",
        "offsets in the sink are stored whatever generation brings them";
    /// KAFKA-1650.
    MirrorCommitBeforeAck = "mirror.commit-before-ack",
        "KAFKA-1650: a mirror commits what it consumed before the target has acknowledged it";
    /// Application.
    AppUpsertNoVersion = "app.upsert-no-version",
        "an upsert has lost its guard: what is written last stays, whatever its version";
    /// Application.
    AppSideEffectInTransaction = "app.side-effect-in-txn",
        "a side effect inside of a Kafka transaction carries no idempotency key";
}
