//! A partition's next state: who leads it, who is in sync, who may be elected.
//!
//! Mirrors `PartitionChangeBuilder` and `PartitionRegistration.merge`, with balanced unclean
//! recovery by the last known leader (KIP-966).
//!
//! Simplifications: no reassignment and no preferred election here (see `elect_leaders`); the
//! leader epoch is not bumped when the ISR shrinks (metadata version 3.6 and later, KAFKA-15021).

use oncesim_types::ActorId;

use crate::message::{PartitionRegistration, RecoveryState};

/// What is asked of one partition.
pub(super) struct PartitionChange<'a> {
    /// Its state in the log.
    pub(super) partition: &'a PartitionRegistration,
    /// The in-sync replicas wanted.
    pub(super) target_isr: Vec<ActorId>,
    /// Recovery state wanted.
    pub(super) recovery: RecoveryState,
    /// A replica whose disk may have lost its end.
    pub(super) unclean_shutdown: Option<ActorId>,
    /// Whether KIP-966 is in force.
    pub(super) elr_enabled: bool,
    /// `min.insync.replicas` of the topic.
    pub(super) min_isr: u8,
    /// `unclean.leader.election.enable` of the topic.
    pub(super) unclean_election: bool,
}

/// A partition's next state.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) registration: PartitionRegistration,
    /// Whether the leader was elected outside of ISR and ELR.
    pub(super) unclean: bool,
}

impl PartitionChange<'_> {
    /// The next state, or `None` when nothing changes. `acceptable` says who may lead.
    pub(super) fn build(mut self, acceptable: impl Fn(ActorId) -> bool) -> Option<Change> {
        let old = self.partition;
        let mut elr = self.target_elr();
        let (leader, unclean) = self.elect(&elr, &acceptable);
        let mut recovery = self.recovery;
        if leader != old.leader
            && let Some(elected) = leader
        {
            if unclean {
                self.target_isr = vec![elected];
                recovery = RecoveryState::Recovering;
                elr.clear();
            } else if elr.contains(&elected) {
                self.target_isr = vec![elected];
                elr.retain(|replica| *replica != elected);
            }
        }
        // Last replica standing: without ELR an in-sync set is never empty, so that a dead last
        // member stays in it and leads again on its return, whatever its disk lost meanwhile.
        let isr = if self.target_isr.is_empty() && !self.elr_enabled {
            old.isr.clone()
        } else {
            self.target_isr
        };
        let last_known_elr = match (leader, old.leader) {
            (None, Some(last)) if isr.is_empty() => vec![last],
            (None, _) => old.last_known_elr.clone(),
            (Some(_), _) => Vec::new(),
        };
        let mut next = PartitionRegistration {
            partition: old.partition,
            replicas: Vec::new(),
            isr,
            elr,
            last_known_elr,
            leader,
            leader_epoch: old.leader_epoch,
            partition_epoch: old.partition_epoch,
            recovery,
        };
        if next.leader == old.leader
            && next.isr == old.isr
            && next.elr == old.elr
            && next.last_known_elr == old.last_known_elr
            && next.recovery == old.recovery
        {
            return None;
        }
        if next.leader != old.leader {
            next.leader_epoch = old.leader_epoch.next();
        }
        next.partition_epoch = old.partition_epoch.next();
        next.replicas.clone_from(&old.replicas);
        Some(Change { registration: next, unclean })
    }

    /// Who could lead without data loss although the in-sync set does not have it any more.
    fn target_elr(&self) -> Vec<ActorId> {
        let old = self.partition;
        let min_isr = usize::from(self.min_isr).min(old.replicas.len());
        if !self.elr_enabled || self.target_isr.len() >= min_isr {
            return Vec::new();
        }
        old.replicas
            .iter()
            .copied()
            .filter(|replica| old.elr.contains(replica) || old.isr.contains(replica))
            .filter(|replica| !self.target_isr.contains(replica))
            .filter(|replica| self.unclean_shutdown != Some(*replica))
            .collect()
    }

    fn elect(
        &self,
        elr: &[ActorId],
        acceptable: &impl Fn(ActorId) -> bool,
    ) -> (Option<ActorId>, bool) {
        let old = self.partition;
        let eligible = |replica: ActorId| {
            let clean = self.target_isr.contains(&replica)
                || (self.target_isr.is_empty() && elr.contains(&replica));
            clean && acceptable(replica)
        };
        if let Some(leader) = old.leader
            && eligible(leader)
        {
            return (Some(leader), false);
        }
        if let Some(replica) = old.replicas.iter().copied().find(|replica| eligible(*replica)) {
            return (Some(replica), false);
        }
        if self.elr_enabled
            && elr.is_empty()
            && self.target_isr.is_empty()
            && let [last] = old.last_known_elr[..]
            && acceptable(last)
        {
            return (Some(last), true);
        }
        if self.unclean_election
            && let Some(replica) = old.replicas.iter().copied().find(|replica| acceptable(*replica))
        {
            return (Some(replica), true);
        }
        (None, false)
    }
}
