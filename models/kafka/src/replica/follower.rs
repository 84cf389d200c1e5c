//! A follower: whom it copies, and how far it truncates when its log diverges.
//!
//! Mirrors `AbstractFetcherThread.getOffsetTruncationState`, `ReplicaFetcherThread` (KIP-101,
//! KIP-279, KIP-320).

use oncesim_types::{ActorId, CorrelationId, LeaderEpoch, Offset};

use crate::log::PartitionLog;

/// What only a follower has.
#[derive(Debug, Clone)]
pub struct FollowerState {
    /// Whom it copies; `None` while nobody leads.
    pub leader: Option<ActorId>,
    /// Whether its position waits to be sent to the leader.
    pub queued: bool,
    /// Whether it is in the leader's fetch session, as far as was asked for.
    pub in_session: bool,
    /// The last request that carried its position: answers to earlier ones are stale.
    pub sent: CorrelationId,
    /// Whether it waits before it fetches again, after an error.
    pub delayed: bool,
    /// Planted bug (KAFKA-7164): it does not truncate until the leader is another broker.
    pub skips_truncation: bool,
    /// The same bug, after the leader said that the logs differ: it is not asked again.
    pub hides_epoch: bool,
}

impl FollowerState {
    /// A follower of `leader` that has not fetched yet.
    #[must_use]
    pub fn new(leader: Option<ActorId>) -> FollowerState {
        FollowerState {
            leader,
            queued: false,
            in_session: false,
            sent: CorrelationId(0),
            delayed: false,
            skips_truncation: false,
            hides_epoch: false,
        }
    }
}

/// Where a follower truncates when the leader's largest epoch up to the follower's own is `epoch`,
/// which ended at `end`.
///
/// KIP-279: if the follower does not have `epoch`, it goes back to its own largest epoch below, and
/// asks again.
#[must_use]
pub fn truncation_offset(log: &PartitionLog, epoch: LeaderEpoch, end: Offset) -> Offset {
    let log_end = log.log_end();
    match log.epochs().end_offset_for(epoch, log_end) {
        // Every epoch of this log is older: nothing of `epoch` can be here.
        None => end.min(log_end),
        Some((own, own_end)) if own == epoch => end.min(own_end).min(log_end),
        Some((_, own_end)) => own_end.min(log_end),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use oncesim_types::{ActorId, Instant, ProducerEpoch, ProducerId, RecordId, Sequence};

    use super::*;
    use crate::log::batch::{Record, RecordBatch, Records};

    fn log(epochs: &[(i32, i64)]) -> PartitionLog {
        let mut log = PartitionLog::default();
        for &(epoch, records) in epochs {
            for _ in 0..records {
                let record = Record {
                    id: RecordId::new(ActorId(0), 0),
                    key: None,
                    value: None,
                    size: 1,
                    timestamp: Instant::ZERO,
                };
                let batch = RecordBatch {
                    producer_id: ProducerId::NONE,
                    producer_epoch: ProducerEpoch::NONE,
                    base_sequence: Sequence::NONE,
                    transactional: false,
                    records: Records::Data(vec![record]),
                };
                log.append_as_leader(LeaderEpoch(epoch), Rc::new(batch));
            }
        }
        log
    }

    #[test]
    fn a_follower_goes_back_to_where_both_logs_agree_at_most() {
        // Epoch 1: 0..5, epoch 3: 5..8, epoch 6: 8..10.
        let log = log(&[(1, 5), (3, 3), (6, 2)]);
        for (epoch, end, expected) in [
            (6, 9, 9), // The leader has less of the same epoch.
            (3, 7, 7), // The leader never had epoch 6, and less of 3.
            (3, 9, 8), // The leader has more of 3 than this follower.
            (4, 9, 8), // An epoch that the follower lacks: back to the end of its 3, ask again.
            (2, 6, 5),
            (0, 3, 0), // Older than everything here: nothing is common.
        ] {
            let got = truncation_offset(&log, LeaderEpoch(epoch), Offset(end));
            assert_eq!(got, Offset(expected), "epoch {epoch} ends at {end}");
        }
    }
}
