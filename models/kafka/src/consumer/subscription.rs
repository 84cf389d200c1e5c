//! What a consumer reads, and up to where.
//!
//! Mirrors `SubscriptionState` with its `TopicPartitionState`, `FetchStates` and `FetchPosition`.
//!
//! Simplifications: no pausing of partitions, no pattern subscriptions; the model's applications
//! use neither.

use oncesim_types::{ActorId, Instant, LeaderEpoch, Offset, TopicId, TopicPartition};

use crate::client::Leader;
use crate::message::OffsetSpec;
use crate::note::ResetReason;

/// `FetchStates`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FetchState {
    /// Needs a position: the group's committed offset, or else a reset.
    Initializing,
    /// Needs a position from the log's beginning or end.
    AwaitReset(OffsetSpec, ResetReason),
    /// Has a position, whose epoch has to be checked against the leader's log first (KIP-320).
    AwaitValidation,
    /// Has a valid position.
    Fetching,
}

/// What the broker's fetch session believes about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) broker: ActorId,
    pub(super) epoch: LeaderEpoch,
    pub(super) offset: Offset,
}

/// `TopicPartitionState`.
#[derive(Debug)]
pub(super) struct PartitionState {
    pub(super) partition: TopicPartition,
    pub(super) state: FetchState,
    /// The next offset that the application gets; meaningless before there is a position.
    pub(super) position: Offset,
    /// Epoch of the last record that the application got; NONE when the position came without.
    pub(super) offset_epoch: LeaderEpoch,
    /// The leader for which the position is valid.
    pub(super) leader: Option<Leader>,
    /// Last bound of what the isolation level may read.
    pub(super) end_offset: Option<Offset>,
    /// Being revoked: nothing of it may be returned (KAFKA-14196).
    pub(super) pending_revocation: bool,
    /// Ticket of the lookup in flight that may set the position.
    pub(super) lookup: Option<u32>,
    /// No lookup before this moment.
    pub(super) retry_at: Instant,
    /// Why the position is about to move, until it is valid.
    pub(super) moved: Option<ResetReason>,
    /// The leader refused a fetch: wait for metadata.
    pub(super) awaits_metadata: bool,
    /// What the fetch session of a broker knows.
    pub(super) sent: Option<Sent>,
    /// Whether the fetch buffer holds data of it.
    pub(super) buffered: bool,
}

impl PartitionState {
    fn new(partition: TopicPartition) -> Self {
        PartitionState {
            partition,
            state: FetchState::Initializing,
            position: Offset::UNKNOWN,
            offset_epoch: LeaderEpoch::NONE,
            leader: None,
            end_offset: None,
            pending_revocation: false,
            lookup: None,
            retry_at: Instant::ZERO,
            moved: None,
            awaits_metadata: false,
            sent: None,
            buffered: false,
        }
    }

    /// `hasValidPosition`.
    pub(super) fn has_valid_position(&self) -> bool {
        self.state == FetchState::Fetching
    }

    /// `isFetchable`.
    pub(super) fn is_fetchable(&self) -> bool {
        self.has_valid_position() && !self.pending_revocation
    }

    /// `requestOffsetReset`.
    pub(super) fn await_reset(&mut self, spec: OffsetSpec, reason: ResetReason) {
        self.state = FetchState::AwaitReset(spec, reason);
        self.lookup = None;
        self.retry_at = Instant::ZERO;
    }

    /// `seekUnvalidated`: a position with an epoch has to be checked first.
    pub(super) fn seek(
        &mut self,
        offset: Offset,
        epoch: LeaderEpoch,
        leader: Option<Leader>,
        reason: ResetReason,
    ) {
        self.position = offset;
        self.offset_epoch = epoch;
        self.leader = leader;
        self.lookup = None;
        self.retry_at = Instant::ZERO;
        self.moved = Some(reason);
        self.state = if epoch == LeaderEpoch::NONE {
            FetchState::Fetching
        } else {
            FetchState::AwaitValidation
        };
    }

    /// `maybeValidatePosition`: with another leader or epoch, the position counts only after the
    /// new leader has confirmed it.
    pub(super) fn leader_changed(&mut self, leader: Option<Leader>) {
        self.awaits_metadata = false;
        let (Some(leader), true) = (leader, self.leader != leader) else { return };
        if !matches!(self.state, FetchState::Fetching | FetchState::AwaitValidation) {
            return;
        }
        self.leader = Some(leader);
        if self.offset_epoch != LeaderEpoch::NONE {
            self.state = FetchState::AwaitValidation;
            self.lookup = None;
            self.retry_at = Instant::ZERO;
        }
    }
}

/// How the partitions came to the consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SubscriptionType {
    /// Not at all yet.
    None,
    /// `assign()`.
    UserAssigned,
    /// `subscribe()`, to these topics, sorted.
    AutoTopics(Vec<TopicId>),
}

/// `SubscriptionState`.
#[derive(Debug)]
pub(super) struct SubscriptionState {
    pub(super) kind: SubscriptionType,
    /// Sorted by partition.
    pub(super) partitions: Vec<PartitionState>,
    /// Grows with every change of a valid position: what is not committed is younger than the
    /// last commit.
    pub(super) version: u64,
}

impl SubscriptionState {
    pub(super) fn new() -> Self {
        SubscriptionState { kind: SubscriptionType::None, partitions: Vec::new(), version: 0 }
    }

    /// `hasAutoAssignedPartitions`.
    pub(super) fn is_subscribed(&self) -> bool {
        matches!(self.kind, SubscriptionType::AutoTopics(_))
    }

    /// The topics subscribed to, sorted; none with `assign()`.
    pub(super) fn topics(&self) -> &[TopicId] {
        match &self.kind {
            SubscriptionType::AutoTopics(topics) => topics,
            SubscriptionType::None | SubscriptionType::UserAssigned => &[],
        }
    }

    pub(super) fn index_of(&self, partition: TopicPartition) -> Option<usize> {
        self.partitions.binary_search_by_key(&partition, |state| state.partition).ok()
    }

    pub(super) fn get(&self, partition: TopicPartition) -> Option<&PartitionState> {
        self.index_of(partition).map(|index| &self.partitions[index])
    }

    pub(super) fn get_mut(&mut self, partition: TopicPartition) -> Option<&mut PartitionState> {
        self.index_of(partition).map(|index| &mut self.partitions[index])
    }

    /// `assignedPartitions`.
    pub(super) fn assigned(&self) -> Vec<TopicPartition> {
        self.partitions.iter().map(|state| state.partition).collect()
    }

    /// Replaces the assignment; what stays keeps its state. Returns what was removed.
    pub(super) fn assign(&mut self, wanted: &[TopicPartition]) -> Vec<PartitionState> {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let old = std::mem::take(&mut self.partitions);
        let is_wanted = |state: &PartitionState| wanted.binary_search(&state.partition).is_ok();
        let (kept, removed): (Vec<_>, Vec<_>) = old.into_iter().partition(is_wanted);
        let mut kept = kept.into_iter().peekable();
        for &partition in &wanted {
            let state = match kept.peek() {
                Some(state) if state.partition == partition => kept.next(),
                _ => None,
            };
            self.partitions.push(state.unwrap_or_else(|| PartitionState::new(partition)));
        }
        removed
    }

    /// `allConsumed`: every valid position, with the epoch of the last record before it.
    pub(super) fn all_consumed(&self) -> Vec<(TopicPartition, Offset, LeaderEpoch)> {
        let valid = self.partitions.iter().filter(|state| state.has_valid_position());
        valid.map(|state| (state.partition, state.position, state.offset_epoch)).collect()
    }
}
