//! The catalogue: every anomaly that a checker can name, with what it means to people.

pub(crate) mod consumer;
pub(crate) mod effect;
pub(crate) mod group;
pub(crate) mod liveness;
pub(crate) mod log;
pub(crate) mod meta;
pub(crate) mod outbox;
pub(crate) mod processing;
pub(crate) mod replication;
pub(crate) mod transaction;

use crate::anomaly::{AnomalyClass, Violates};

const NOTHING: Violates = Violates {
    at_most_once: false,
    at_least_once: false,
    ordering: false,
    isolation: false,
    atomicity: false,
    integrity: false,
    liveness: false,
};
const LOSS: Violates = Violates { at_least_once: true, ..NOTHING };
const DUPLICATE: Violates = Violates { at_most_once: true, ..NOTHING };
const ORDER: Violates = Violates { ordering: true, ..NOTHING };
const INTEGRITY: Violates = Violates { integrity: true, ..NOTHING };
const LIVENESS: Violates = Violates { liveness: true, ..NOTHING };
const ISOLATION: Violates = Violates { isolation: true, ..NOTHING };
const ATOMICITY: Violates = Violates { atomicity: true, ..NOTHING };

/// The sub-kinds of `duplicate-append`, with what each means.
pub const DUPLICATE_KINDS: &[(&str, &str)] = &[
    (
        "dup-idempotent",
        "One session of an idempotent producer wrote the record twice: the broker failed to \
         recognise a retry.",
    ),
    (
        "dup-retry",
        "A producer without idempotence sent the batch again because the first acknowledgement \
         was lost.",
    ),
    (
        "dup-app-resend",
        "The application called send() again for a record whose first send() it believed lost; \
         to Kafka these are two records.",
    ),
    (
        "dup-cross-epoch",
        "The producer bumped its epoch, or got a new producer id, while the first copy's outcome \
         was unknown, and sent the batch again under the new one.",
    ),
];

/// Every anomaly, by level and then by theme.
#[must_use]
pub fn catalogue() -> &'static [&'static AnomalyClass] {
    ALL
}

/// The anomaly with this id; a sub-kind finds its class.
#[must_use]
pub fn find(id: &str) -> Option<&'static AnomalyClass> {
    if DUPLICATE_KINDS.iter().any(|(kind, _)| *kind == id) {
        return Some(&log::DUPLICATE_APPEND);
    }
    ALL.iter().copied().find(|class| class.id == id)
}

static ALL: &[&AnomalyClass] = &[
    &log::LOST_WRITE,
    &log::LOST_WRITE_FINAL,
    &log::ACKED_TRUNCATED,
    &log::DUPLICATE_APPEND,
    &log::INCONSISTENT_OFFSET,
    &log::MUTATED_RECORD,
    &log::OFFSET_COLLISION_ACK,
    &log::ACK_OFFSET_MISMATCH,
    &log::MISSING_ACK_OFFSET,
    &log::PHANTOM_RECORD,
    &log::MISROUTED_RECORD,
    &log::TIME_TRAVEL_READ,
    &log::FAILED_WRITE_VISIBLE,
    &log::APPEND_REALTIME_INVERSION,
    &log::NONMONOTONIC_SEND,
    &log::KEY_ORDER_VIOLATION,
    &log::SEQ_GAP,
    &log::SEQ_DUP,
    &log::PRODUCER_EPOCH_REGRESS,
    &log::LEADER_EPOCH_REGRESS,
    &log::ILLEGAL_OFFSET_GAP,
    &log::CONSISTENT_READ,
    &replication::LOG_DIVERGENCE,
    &replication::LEADER_INCOMPLETE,
    &replication::MINISR_VIOLATION,
    &replication::HW_REGRESS,
    &replication::TWO_LEADERS_SAME_EPOCH,
    &replication::COMMITTED_LOST_GLOBALLY,
    &replication::UNCLEAN_REPLICA_IN_ISR,
    &replication::CANDIDATE_INCOMPLETE,
    &replication::LEADER_NOT_IN_ISR,
    &consumer::INT_POLL_SKIP,
    &consumer::POLL_SKIP,
    &consumer::INT_NONMONOTONIC_POLL,
    &consumer::NONMONOTONIC_POLL,
    &consumer::NONMONOTONIC_POSITION,
    &consumer::NEXT_POINTER_CONFLICT,
    &consumer::RESUME_SKIP,
    &consumer::RESUME_REWIND,
    &consumer::RESET_JUMP,
    &consumer::UNASSIGNED_DELIVERY,
    &consumer::READ_BEYOND_HW,
    &consumer::STALE_READ,
    &consumer::UNSEEN,
    &consumer::DUPLICATE_DELIVERY,
    &transaction::ABORTED_READ,
    &transaction::PRECOMMITTED_READ,
    &transaction::READ_UNCOMMITTED_LEAK,
    &transaction::READ_PAST_LSO,
    &transaction::G1C_WR,
    &transaction::TORN_TXN,
    &transaction::TORN_OFFSETS,
    &transaction::DECISION_MISMATCH,
    &transaction::LATE_COMMIT,
    &transaction::MARKER_MISMATCH,
    &transaction::DELAYED_ENDTXN,
    &transaction::LATE_APPEND_AFTER_MARKER,
    &transaction::HANGING_TXN,
    &transaction::ZOMBIE_WRITE_AFTER_FENCE,
    &transaction::ZOMBIE_COMMIT,
    &transaction::PID_EPOCH_COLLISION,
    &transaction::EPOCH_REGRESS,
    &transaction::SPURIOUS_FENCE,
    &transaction::ILLEGAL_TXN_STATE,
    &transaction::TWO_TXN_COORDINATORS,
    &transaction::LSO_REGRESS,
    &transaction::CONSERVATION,
    &processing::LOST_PROCESSING,
    &processing::DUP_PROCESSING,
    &processing::COMMIT_BEFORE_PROCESS,
    &processing::EOS_PREFIX_MISMATCH,
    &processing::OUTPUT_AHEAD_OF_OFFSET,
    &processing::OFFSET_AHEAD_OF_OUTPUT,
    &processing::ORPHAN_OUTPUT,
    &processing::WRONG_TRANSFORM,
    &processing::PIPELINE_KEY_ORDER,
    &processing::STATE_FINGERPRINT_MISMATCH,
    &processing::RESTORE_MISMATCH,
    &processing::ZOMBIE_OUTPUT,
    &group::OFFSET_COMMIT_REGRESS,
    &group::COMMITTED_OFFSET_LOST,
    &group::COMMITTED_OFFSET_PHANTOM,
    &group::COMMIT_BEYOND_POSITION,
    &group::COMMIT_WITHOUT_OWNERSHIP,
    &group::STALE_GENERATION_COMMIT,
    &group::DOUBLE_OWNERSHIP,
    &group::ZOMBIE_OWNERSHIP,
    &group::UNOWNED_PARTITION,
    &group::ILLEGAL_ASSIGNMENT,
    &group::REVOKE_WITHOUT_COMMIT_WINDOW,
    &group::GENERATION_REGRESS,
    &effect::EFFECT_LOST,
    &effect::EFFECT_DUPLICATE,
    &effect::EFFECT_PHANTOM,
    &effect::EFFECT_BEFORE_COMMIT,
    &effect::OFFSET_EFFECT_SKEW,
    &effect::STALE_UPSERT,
    &effect::TOMBSTONE_RESURRECT,
    &effect::LOST_UPDATE,
    &effect::IDEM_KEY_COLLISION,
    &effect::IDEM_KEY_INSTABILITY,
    &effect::DEDUP_WINDOW_MISS,
    &effect::DEDUP_BEFORE_EFFECT,
    &effect::DEDUP_AFTER_EFFECT,
    &effect::DEDUP_REPLAY_MISMATCH,
    &effect::PARTIAL_EFFECT,
    &effect::ZOMBIE_EFFECT,
    &effect::EFFECT_INDETERMINATE_UNRESOLVED,
    &outbox::OUTBOX_MISSING,
    &outbox::OUTBOX_PHANTOM,
    &outbox::OUTBOX_DUPLICATE,
    &outbox::OUTBOX_SKIP_GAP,
    &outbox::OUTBOX_ORDER,
    &outbox::OUTBOX_PREMATURE_MARK,
    &outbox::OUTBOX_STUCK,
    &outbox::INBOX_DUP,
    &outbox::INBOX_MISS,
    &liveness::UNRESOLVED_OP,
    &liveness::STUCK_CONSUMER,
    &liveness::NO_LEADER,
    &liveness::UNDER_REPLICATED,
    &liveness::REBALANCE_LIVELOCK,
    &liveness::DRAIN_INCOMPLETE,
    &liveness::COMMIT_LAG_FINAL,
    &liveness::STUCK_LSO,
    &meta::HISTORY_MALFORMED,
    &meta::VACUOUS_PASS,
    &meta::UNNAMED_INVARIANT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_id_and_speaks_in_sentences() {
        for class in catalogue() {
            assert!(std::ptr::eq(find(class.id).unwrap(), *class), "{} is found", class.id);
            for text in [class.meaning, class.causes, class.fixes, class.example] {
                assert!(text.ends_with('.') && text.len() > 20, "{}: {text}", class.id);
                assert!(text.is_ascii() && !text.contains("  "), "{}: {text}", class.id);
            }
        }
        assert_eq!(find("dup-retry").unwrap().id, "duplicate-append");
        assert_eq!(find("lost-writ"), None);
    }
}
