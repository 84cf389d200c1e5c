//! A leader's view of its followers: in-sync replicas and high watermark.
//!
//! Mirrors `Partition` (`maybeIncrementLeaderHW`, `isFollowerInSync`, `needsExpandIsr`,
//! `getOutOfSyncReplicas`), `PartitionState` and `ReplicaState` (KIP-497, KIP-841, KIP-903,
//! KIP-966).
//!
//! Simplifications: a follower whose fetch session is open and that has everything counts as caught
//! up as of each append. Kafka would have heard from it at most `replica.fetch.wait.max.ms` before;
//! here its fetch may have waited for longer.

use std::collections::VecDeque;

use oncesim_types::{ActorId, BrokerEpoch, CorrelationId, Duration, Instant, LeaderEpoch, Offset};

/// What a leader knows of one follower.
#[derive(Debug, Clone)]
pub struct RemoteReplica {
    /// Which broker.
    pub broker: ActorId,
    /// Where its log ends; `None` until it fetches in this epoch.
    pub log_end: Option<Offset>,
    /// Its broker epoch at its last fetch.
    pub broker_epoch: BrokerEpoch,
    /// When it last had everything that the leader had.
    pub last_caught_up: Instant,
    /// When it fetched last.
    pub last_fetch: Instant,
    /// Where the leader's log ended at that fetch.
    pub last_fetch_leader_log_end: Offset,
    /// Whether its fetch session is open.
    pub in_session: bool,
}

impl RemoteReplica {
    /// `ReplicaState.isCaughtUp`.
    #[must_use]
    pub fn is_caught_up(&self, leader_log_end: Offset, now: Instant, lag: Duration) -> bool {
        self.log_end == Some(leader_log_end) || now.since(self.last_caught_up) <= lag
    }

    /// Whether it is known to be there: a follower joins the in-sync replicas with a fetch of its own
    /// (Kafka), and here also while its fetch waits, or when it has fetched not long ago.
    #[must_use]
    pub fn is_heard(&self, leader_log_end: Offset, now: Instant, lag: Duration) -> bool {
        self.log_end == Some(leader_log_end) || now.since(self.last_fetch) <= lag
    }

    /// `Replica.updateFetchStateOrThrow`.
    pub fn fetched(&mut self, from: Offset, leader_log_end: Offset, now: Instant) {
        if from >= leader_log_end {
            self.last_caught_up = self.last_caught_up.max(now);
        } else if from >= self.last_fetch_leader_log_end {
            self.last_caught_up = self.last_caught_up.max(self.last_fetch);
        }
        self.log_end = Some(from);
        self.last_fetch = now;
        self.last_fetch_leader_log_end = leader_log_end;
    }
}

/// A change of the in-sync replicas that the controller has not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingIsr {
    /// The set that was asked for, each member with the broker epoch that it had then (KIP-903).
    pub isr: Vec<(ActorId, BrokerEpoch)>,
    /// Whether it adds a replica (else: it removes some).
    pub expand: bool,
    /// The request that asks for it; `None` while it waits to be sent again.
    pub sent: Option<CorrelationId>,
}

/// A broker's name for a produce request that waits: a place, and how often it was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceKey {
    /// The place.
    pub place: u32,
    /// How many requests had it before.
    pub generation: u32,
}

/// An acknowledgement that waits for the high watermark, or for a flush.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// The offset after the batch's last record.
    pub required: Offset,
    /// Which produce request.
    pub produce: ProduceKey,
    /// Which of its partitions.
    pub at: u32,
}

/// What only a leader has.
#[derive(Debug)]
pub struct LeaderState {
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// Where its log ended when it was elected.
    pub epoch_start: Offset,
    /// The followers, in assignment order.
    pub remotes: Vec<RemoteReplica>,
    /// The in-sync replicas that the controller has confirmed.
    pub isr: Vec<ActorId>,
    /// A change under way.
    pub pending: Option<PendingIsr>,
    /// `min(min.insync.replicas, replication factor)`
    pub min_isr: u8,
    /// Acknowledgements that wait for the high watermark, sorted by offset.
    pub waiting: VecDeque<Waiting>,
    /// Acknowledgements of `acks=1` that wait for the flush of their own append, in order.
    pub unflushed: VecDeque<Waiting>,
}

impl LeaderState {
    /// The follower on `broker`.
    #[must_use]
    pub fn remote(&self, broker: ActorId) -> Option<&RemoteReplica> {
        self.remotes.iter().find(|remote| remote.broker == broker)
    }

    /// The follower on `broker`.
    pub fn remote_mut(&mut self, broker: ActorId) -> Option<&mut RemoteReplica> {
        self.remotes.iter_mut().find(|remote| remote.broker == broker)
    }

    /// Whether `broker` may be in sync for all that the leader knows: in the confirmed set, or in
    /// one that it has asked for.
    #[must_use]
    pub fn in_maximal_isr(&self, broker: ActorId) -> bool {
        self.isr.contains(&broker)
            || self.pending.as_ref().is_some_and(|pending| {
                pending.expand && pending.isr.iter().any(|(member, _)| *member == broker)
            })
    }

    /// Size of the maximal in-sync set.
    #[must_use]
    pub fn maximal_isr_len(&self) -> usize {
        match &self.pending {
            Some(pending) if pending.expand => pending.isr.len(),
            Some(_) | None => self.isr.len(),
        }
    }

    /// Whether fewer replicas are in sync than `min.insync.replicas` wants.
    #[must_use]
    pub fn is_under_min_isr(&self) -> bool {
        self.isr.len() < usize::from(self.min_isr)
    }

    /// The high watermark that the followers allow: the smallest log end of the maximal in-sync set
    /// and of those that are about to join it (`eligible`, and caught up). The leader itself counts
    /// with `own_end`. `None` if some member has not been heard in this epoch.
    #[must_use]
    pub fn high_watermark_candidate(
        &self,
        own_end: Offset,
        log_end: Offset,
        now: Instant,
        lag: Duration,
        eligible: impl Fn(&RemoteReplica) -> bool,
    ) -> Option<Offset> {
        let mut candidate = own_end;
        for remote in &self.remotes {
            if self.in_maximal_isr(remote.broker)
                || (remote.is_caught_up(log_end, now, lag) && eligible(remote))
            {
                candidate = candidate.min(remote.log_end?);
            }
        }
        Some(candidate)
    }

    /// Whether some in-sync follower has not everything.
    #[must_use]
    pub fn has_laggard(&self, log_end: Offset) -> bool {
        (self.remotes.iter())
            .any(|remote| remote.log_end != Some(log_end) && self.isr.contains(&remote.broker))
    }

    /// The in-sync replicas without those that have been behind for too long.
    #[must_use]
    pub fn shrunk_isr(&self, log_end: Offset, now: Instant, lag: Duration) -> Option<Vec<ActorId>> {
        let out = |broker: &ActorId| {
            self.remote(*broker).is_some_and(|remote| !remote.is_caught_up(log_end, now, lag))
        };
        if !self.isr.iter().any(out) {
            return None;
        }
        Some(self.isr.iter().copied().filter(|broker| !out(broker)).collect())
    }

    /// Before an append: followers with an open session that have everything so far are caught up
    /// as of now.
    pub fn before_append(&mut self, log_end: Offset, now: Instant) {
        for remote in &mut self.remotes {
            if remote.in_session && remote.log_end == Some(log_end) {
                remote.last_caught_up = remote.last_caught_up.max(now);
            }
        }
    }

    /// Remembers an acknowledgement that waits.
    pub fn wait(&mut self, waiting: Waiting) {
        // Offsets grow, except that a duplicate waits for its original.
        let mut at = self.waiting.len();
        while at > 0 && self.waiting[at - 1].required > waiting.required {
            at -= 1;
        }
        self.waiting.insert(at, waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn remote(broker: u16, log_end: Option<i64>) -> RemoteReplica {
        RemoteReplica {
            broker: ActorId(broker),
            log_end: log_end.map(Offset),
            broker_epoch: BrokerEpoch(1),
            last_caught_up: Instant::ZERO,
            last_fetch: Instant::ZERO,
            last_fetch_leader_log_end: Offset::ZERO,
            in_session: true,
        }
    }

    fn leader(isr: &[u16], remotes: Vec<RemoteReplica>) -> LeaderState {
        LeaderState {
            epoch: LeaderEpoch(1),
            epoch_start: Offset(0),
            remotes,
            isr: isr.iter().copied().map(ActorId).collect(),
            pending: None,
            min_isr: 1,
            waiting: VecDeque::new(),
            unflushed: VecDeque::new(),
        }
    }

    #[test]
    fn a_follower_that_is_cut_off_is_not_heard() {
        let end = Offset(10);
        let heard = |log_end, last_fetch, now| {
            let remote = RemoteReplica { last_fetch: at(last_fetch), ..remote(2, log_end) };
            remote.is_heard(end, at(now), LAG)
        };
        let lag = LAG.as_nanos() / Duration::from_secs(1).as_nanos();
        assert!(heard(Some(10), 0, lag + 1), "its fetch waits for more");
        assert!(heard(Some(7), 5, lag + 5), "it has fetched not long ago");
        assert!(!heard(Some(7), 5, lag + 6), "it was behind, and nothing has come since");
        assert!(!heard(None, 0, lag + 1));
    }

    #[test]
    fn the_high_watermark_waits_for_the_maximal_isr_and_for_those_about_to_join() {
        let candidate = |leader: &LeaderState, now, eligible| {
            let end = Offset(10);
            leader.high_watermark_candidate(end, end, at(now), LAG, |_| eligible).map(|o| o.0)
        };
        let behind = || vec![remote(2, Some(7)), remote(3, Some(4))];
        assert_eq!(candidate(&leader(&[1, 2], behind()), 40, true), Some(7));
        assert_eq!(candidate(&leader(&[1, 2, 3], behind()), 40, true), Some(4));
        assert_eq!(candidate(&leader(&[1], behind()), 40, true), Some(10));
        // Caught up recently: about to join, unless it may not.
        assert_eq!(candidate(&leader(&[1, 2], behind()), 10, true), Some(4));
        assert_eq!(candidate(&leader(&[1, 2], behind()), 10, false), Some(7));
        // A member that has not been heard in this epoch.
        let silent = vec![remote(2, None), remote(3, Some(10))];
        assert_eq!(candidate(&leader(&[1, 2, 3], silent), 40, true), None);
        // A pending expansion counts, a pending shrink does not.
        let mut pending = leader(&[1, 2], behind());
        let isr = [1, 2, 3].map(|broker| (ActorId(broker), BrokerEpoch(1))).to_vec();
        pending.pending = Some(PendingIsr { isr, expand: true, sent: None });
        assert_eq!(candidate(&pending, 40, true), Some(4));
        pending.pending =
            Some(PendingIsr { isr: vec![(ActorId(1), BrokerEpoch(1))], expand: false, sent: None });
        assert_eq!(candidate(&pending, 40, true), Some(7));
    }

    #[test]
    fn a_follower_is_out_of_sync_only_when_behind_and_silent_for_too_long() {
        let leader = leader(&[1, 2, 3], vec![remote(2, Some(10)), remote(3, Some(4))]);
        assert_eq!(leader.shrunk_isr(Offset(10), at(30), LAG), None, "not too long yet");
        let isr = leader.shrunk_isr(Offset(10), at(31), LAG).unwrap();
        assert_eq!(isr, [ActorId(1), ActorId(2)], "2 has everything, however long ago");
    }

    #[test]
    fn a_follower_that_reaches_the_end_of_its_previous_fetch_was_caught_up_then() {
        let mut follower = remote(2, None);
        follower.fetched(Offset(0), Offset(100), at(1));
        assert_eq!(follower.last_caught_up, at(0));
        follower.fetched(Offset(100), Offset(200), at(5));
        assert_eq!(follower.last_caught_up, at(1));
        follower.fetched(Offset(200), Offset(200), at(6));
        assert_eq!(follower.last_caught_up, at(6));
    }
}
