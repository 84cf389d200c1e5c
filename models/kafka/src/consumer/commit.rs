//! Committing positions: by the application, and by the consumer on its own.
//!
//! Mirrors the commit half of `ConsumerCoordinator`: `commitOffsetsSync`, `commitOffsetsAsync`,
//! `maybeAutoCommitOffsetsAsync`, `OffsetCommitResponseHandler`.
//!
//! Simplifications:
//! - An auto commit that would repeat the last successful one is left out: it changes nothing, and
//!   a waiting consumer then causes no events.
//! - The end of `commitAsync` is told when the answer arrives, not by the next `poll()`.

use std::rc::Rc;

use oncesim_types::{
    CallId, ErrorCode, GenerationId, Instant, LeaderEpoch, MemberId, Offset, TopicPartition,
};

use super::ConsumerCompletion;
use super::machine::{Consumer, Purpose, complete};
use super::membership::MemberState;
use crate::machine::Effects;
use crate::message::{OffsetCommitRequest, Request};
use crate::mutation::Mutation;
use crate::note::Note;

type Offsets = Vec<(TopicPartition, Offset, LeaderEpoch)>;

/// Who waits for a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committer {
    /// `commitSync()`.
    Sync(CallId),
    /// `commitAsync()`.
    Async(CallId),
    /// The interval of auto commit has elapsed in a `poll()`.
    Interval,
    /// Auto commit before the group is rejoined.
    JoinPrepare,
    /// Auto commit in `close()`.
    Close,
}

/// Who the coordinator thinks commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) member: Option<MemberId>,
    pub(super) generation: GenerationId,
}

/// One commit that is not over.
#[derive(Debug)]
pub(super) struct Commit {
    ticket: u32,
    pub(super) committer: Committer,
    offsets: Offsets,
    /// The subscription's version when the offsets are its positions.
    version: Option<u64>,
    in_flight: bool,
    /// Not repeated after this moment.
    deadline: Instant,
    /// Not (again) before this moment.
    not_before: Instant,
    /// Whether an earlier attempt may have been applied.
    maybe_committed: bool,
}

impl Commit {
    /// Whether it is repeated while the error is retriable.
    fn is_retried(&self) -> bool {
        !matches!(self.committer, Committer::Async(_) | Committer::Interval)
    }

    fn is_auto(&self) -> bool {
        matches!(self.committer, Committer::Interval | Committer::JoinPrepare | Committer::Close)
    }
}

impl Consumer {
    /// Whether there is something that auto commit has not committed yet.
    pub(super) fn has_uncommitted_positions(&self) -> bool {
        self.config.auto_commit
            && self.config.group.is_some()
            && self.committed_version != self.subscription.version
            && !self.subscription.partitions.is_empty()
    }

    /// What a commit of the positions covers: nothing for sure while one of them is in doubt, and is
    /// left out.
    fn version_of_positions(&self) -> Option<u64> {
        let all = self.subscription.partitions.iter().all(|state| state.has_valid_position());
        all.then_some(self.subscription.version)
    }

    /// `maybeAutoCommitOffsetsAsync`: covers what earlier polls have returned.
    pub(super) fn maybe_auto_commit(&mut self, now: Instant, effects: &mut Effects) {
        if !self.config.auto_commit || now < self.next_auto_commit {
            return;
        }
        self.next_auto_commit = now + self.config.auto_commit_interval;
        if self.has_uncommitted_positions() {
            self.auto_commit(now, Committer::Interval, now, effects);
        }
    }

    /// Commits the positions on the consumer's own account.
    pub(super) fn auto_commit(
        &mut self,
        now: Instant,
        committer: Committer,
        deadline: Instant,
        effects: &mut Effects,
    ) {
        let mut offsets = self.subscription.all_consumed();
        if self.mutations.has(Mutation::ConsumerAutocommitFetchPosition)
            && self.fetch_positions(&mut offsets)
        {
            effects.note(Note::MutationHit);
        }
        if !offsets.is_empty() {
            let version = self.version_of_positions();
            self.commit(now, committer, offsets, version, deadline, effects);
        }
    }

    /// `commitSync` and `commitAsync`; `None` commits the positions.
    pub(super) fn commit_call(
        &mut self,
        now: Instant,
        committer: Committer,
        offsets: Option<Offsets>,
        effects: &mut Effects,
    ) {
        let version = if offsets.is_none() { self.version_of_positions() } else { None };
        let offsets = offsets.unwrap_or_else(|| self.subscription.all_consumed());
        let deadline = now + self.config.default_api_timeout;
        self.commit(now, committer, offsets, version, deadline, effects);
    }

    fn commit(
        &mut self,
        now: Instant,
        committer: Committer,
        offsets: Offsets,
        version: Option<u64>,
        deadline: Instant,
        effects: &mut Effects,
    ) {
        let commit = Commit {
            ticket: self.next_ticket(),
            committer,
            offsets,
            version,
            in_flight: false,
            deadline,
            not_before: now,
            maybe_committed: false,
        };
        if commit.is_auto() {
            let offsets: Rc<[_]> = commit.offsets.iter().map(|it| (it.0, it.1)).collect();
            effects.note(Note::AutoCommitInvoke { id: u64::from(commit.ticket), offsets });
        }
        if self.config.group.is_none() {
            self.end_commit(&commit, ErrorCode::InvalidRequest, effects);
        } else if commit.offsets.is_empty() {
            self.end_commit(&commit, ErrorCode::None, effects);
        } else {
            self.commits.push(commit);
            self.advance_commits(now, effects);
        }
    }

    /// Sends what is due, and ends what has waited for too long.
    pub(super) fn advance_commits(&mut self, now: Instant, effects: &mut Effects) {
        let mut index = 0;
        while index < self.commits.len() {
            let commit = &self.commits[index];
            let expired = commit.is_retried() && commit.deadline <= now;
            let outcome = if expired {
                Some(ErrorCode::RequestTimedOut)
            } else if commit.in_flight {
                self.wake_at_deadline_of(index);
                None
            } else if commit.not_before > now {
                self.wake_at_deadline_of(index);
                self.wake_at(self.commits[index].not_before);
                None
            } else {
                self.wake_at_deadline_of(index);
                self.send_commit(now, index, effects).err()
            };
            let Some(error) = outcome else {
                index += 1;
                continue;
            };
            let mut commit = self.commits.remove(index);
            commit.maybe_committed |= commit.in_flight;
            self.end_commit(&commit, error, effects);
        }
    }

    fn wake_at_deadline_of(&mut self, index: usize) {
        let commit = &self.commits[index];
        if commit.is_retried() {
            self.wake_at(commit.deadline);
        }
    }

    /// `sendOffsetCommitRequest`. Waits if the coordinator is not known; fails if the consumer is
    /// not, or not stably, a member of its group.
    fn send_commit(
        &mut self,
        now: Instant,
        index: usize,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        let identity = self.commit_identity()?;
        let Some(coordinator) = self.ensure_coordinator(now, effects) else { return Ok(()) };
        let commit = &mut self.commits[index];
        commit.in_flight = true;
        let request = OffsetCommitRequest {
            group: self.config.group.ok_or(ErrorCode::InvalidRequest)?,
            member: identity.member,
            instance: self.config.instance,
            generation: identity.generation,
            offsets: commit.offsets.clone(),
        };
        let purpose = Purpose::OffsetCommit(commit.ticket, identity);
        let request = Request::OffsetCommit(Box::new(request));
        self.connections.send(now, coordinator, request, purpose, effects);
        Ok(())
    }

    /// `generationIfStable`, or no membership with `assign()`.
    fn commit_identity(&self) -> Result<Identity, ErrorCode> {
        if !self.subscription.is_subscribed() {
            return Ok(Identity { member: None, generation: GenerationId::NONE });
        }
        match self.membership.state {
            MemberState::Stable => Ok(self.membership.identity()),
            MemberState::PreparingRebalance | MemberState::CompletingRebalance => {
                Err(ErrorCode::RebalanceInProgress)
            }
            MemberState::Unjoined => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// The answer to a commit, or `NETWORK_EXCEPTION` when it is lost.
    pub(super) fn commit_answered(
        &mut self,
        now: Instant,
        ticket: u32,
        identity: Identity,
        error: ErrorCode,
        effects: &mut Effects,
    ) {
        let (error, retriable) = self.commit_error(identity, error);
        let Some(index) = self.commits.iter().position(|it| it.ticket == ticket) else { return };
        let commit = &mut self.commits[index];
        commit.in_flight = false;
        commit.maybe_committed |= may_be_applied(error);
        if retriable && commit.is_retried() {
            commit.not_before = now + self.config.retry_backoff;
            return;
        }
        let commit = self.commits.remove(index);
        if retriable && commit.committer == Committer::Interval {
            self.next_auto_commit = now + self.config.retry_backoff;
        }
        self.end_commit(&commit, error, effects);
    }

    /// `OffsetCommitResponseHandler`: what the error means for the membership, what the application
    /// sees of it, and whether to try again.
    fn commit_error(&mut self, sent: Identity, error: ErrorCode) -> (ErrorCode, bool) {
        let unchanged = sent == self.membership.identity();
        match error {
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::UnknownTopicOrPartition => {
                (error, true)
            }
            ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::NetworkException
            | ErrorCode::RequestTimedOut => {
                self.mark_coordinator_unknown();
                (error, true)
            }
            ErrorCode::RebalanceInProgress => {
                self.membership.rejoin_needed = true;
                (error, false)
            }
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration if unchanged => {
                if self.subscription.is_subscribed() {
                    self.membership.reset_and_rejoin(error != ErrorCode::IllegalGeneration);
                }
                (error, false)
            }
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedInstanceId
                if !unchanged && self.membership.state == MemberState::PreparingRebalance =>
            {
                (ErrorCode::RebalanceInProgress, false)
            }
            _ => (error, false),
        }
    }

    fn end_commit(&mut self, commit: &Commit, error: ErrorCode, effects: &mut Effects) {
        let maybe_committed = error != ErrorCode::None && commit.maybe_committed;
        if let (ErrorCode::None, Some(version)) = (error, commit.version) {
            self.committed_version = self.committed_version.max(version);
        }
        if commit.is_auto() {
            let id = u64::from(commit.ticket);
            effects.note(Note::AutoCommitEnd { id, error, maybe_committed });
        }
        if let Committer::Sync(call) | Committer::Async(call) = commit.committer {
            let offsets = commit.offsets.iter().map(|it| (it.0, it.1)).collect();
            complete(
                call,
                ConsumerCompletion::Committed { offsets, error, maybe_committed },
                effects,
            );
        }
    }

    /// Commits that are not repeated end when the search for the coordinator fails.
    pub(super) fn fail_waiting_commits(&mut self, now: Instant, effects: &mut Effects) {
        let waiting = |it: &Commit| !it.in_flight && !it.is_retried();
        while let Some(index) = self.commits.iter().position(waiting) {
            let commit = self.commits.remove(index);
            if commit.committer == Committer::Interval {
                self.next_auto_commit = now + self.config.retry_backoff;
            }
            self.end_commit(&commit, ErrorCode::CoordinatorNotAvailable, effects);
        }
    }

    /// Whether `committer`'s commit is not over.
    pub(super) fn is_committing(&self, committer: Committer) -> bool {
        self.commits.iter().any(|it| it.committer == committer)
    }
}

/// Whether the coordinator may have written, or may still write, what it answers with `error`: a
/// coordinator that resigns answers the commits that wait for replication with NOT_COORDINATOR.
fn may_be_applied(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NetworkException
            | ErrorCode::RequestTimedOut
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::UnknownServerError
    )
}
