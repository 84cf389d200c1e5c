//! One partition at one broker: its log and its role.
//!
//! Mirrors `Partition` and `Replica`.

pub mod follower;
pub mod leader;

use oncesim_types::{LeaderEpoch, Offset, PartitionEpoch, TopicPartition};

use crate::log::PartitionLog;
use crate::replica::follower::FollowerState;
use crate::replica::leader::LeaderState;

/// A flush inside an append: what came before it is visible, the appended batch is not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The log end before the batch that caused the flush.
    pub visible_end: Offset,
    /// What will be on the platter.
    pub target: Offset,
}

/// What the replica does.
#[derive(Debug)]
pub enum Role {
    /// The metadata log has not said yet.
    Unassigned,
    /// Takes writes.
    Leader(Box<LeaderState>),
    /// Copies the leader.
    Follower(FollowerState),
}

/// One partition at one broker.
#[derive(Debug)]
pub struct Replica {
    /// Which partition.
    pub partition: TopicPartition,
    /// Its log.
    pub log: PartitionLog,
    /// What is committed, as far as this replica knows.
    pub high_watermark: Offset,
    /// The high watermark in the checkpoint file.
    pub checkpoint: Offset,
    /// Newest known epoch of a leader.
    pub leader_epoch: LeaderEpoch,
    /// Newest known state of the partition.
    pub partition_epoch: PartitionEpoch,
    /// What it does.
    pub role: Role,
    /// A flush that an append waits for.
    pub held: Option<Held>,
    /// What the broker believes to be on the platter: a lost flush makes it differ from
    /// [`PartitionLog::durable`].
    pub flushed: Offset,
    /// The last stable offset that was noted in this epoch.
    pub noted_stable: Offset,
    /// For a planted bug: the high watermark before this step.
    pub stale_high_watermark: Option<Offset>,
}

impl Replica {
    /// A replica that was just found on disk, or made.
    #[must_use]
    pub fn new(partition: TopicPartition, mut log: PartitionLog, checkpoint: Offset) -> Replica {
        let high_watermark = checkpoint.min(log.log_end());
        log.high_watermark_moved(high_watermark);
        Replica {
            partition,
            high_watermark,
            checkpoint: high_watermark,
            leader_epoch: LeaderEpoch::NONE,
            partition_epoch: PartitionEpoch::NONE,
            role: Role::Unassigned,
            held: None,
            flushed: log.durable(),
            noted_stable: Offset::UNKNOWN,
            stale_high_watermark: None,
            log,
        }
    }

    /// Its state as a leader.
    #[must_use]
    pub fn leader(&self) -> Option<&LeaderState> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Unassigned | Role::Follower(_) => None,
        }
    }

    /// Its state as a leader.
    pub fn leader_mut(&mut self) -> Option<&mut LeaderState> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            Role::Unassigned | Role::Follower(_) => None,
        }
    }

    /// Its state as a follower.
    #[must_use]
    pub fn follower(&self) -> Option<&FollowerState> {
        match &self.role {
            Role::Follower(follower) => Some(follower),
            Role::Unassigned | Role::Leader(_) => None,
        }
    }

    /// Its state as a follower.
    pub fn follower_mut(&mut self) -> Option<&mut FollowerState> {
        match &mut self.role {
            Role::Follower(follower) => Some(follower),
            Role::Unassigned | Role::Leader(_) => None,
        }
    }

    /// Where the log ends for the high watermark and for acknowledgements: a batch whose append
    /// still waits for its flush does not count.
    #[must_use]
    pub fn visible_end(&self) -> Offset {
        self.held.map_or(self.log.log_end(), |held| held.visible_end)
    }

    /// Up to where readers of committed data may read.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        self.log.last_stable_offset(self.high_watermark)
    }

    /// The epoch check of every request that names the leader epoch it knows (KIP-320).
    ///
    /// # Errors
    /// FENCED_LEADER_EPOCH for an older epoch, UNKNOWN_LEADER_EPOCH for a newer one.
    pub fn check_epoch(&self, known: LeaderEpoch) -> Result<(), oncesim_types::ErrorCode> {
        use oncesim_types::ErrorCode;
        if known == LeaderEpoch::NONE || known == self.leader_epoch {
            Ok(())
        } else if known < self.leader_epoch {
            Err(ErrorCode::FencedLeaderEpoch)
        } else {
            Err(ErrorCode::UnknownLeaderEpoch)
        }
    }
}
