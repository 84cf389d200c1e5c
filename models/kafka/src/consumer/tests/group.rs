//! The coordinator's side of the conversations in these tests.

use oncesim_types::{
    ActorId, CorrelationId, ErrorCode, GenerationId, LeaderEpoch, MemberId, Offset, TopicPartition,
};

use super::world::GROUP;
use super::world::{B2, P0, P1, T, World, config};
use crate::config::ConsumerConfig;
use crate::consumer::{ConsumerCall, RebalanceCallback};
use crate::message::{
    Assignor, FindCoordinatorResponse, JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest,
    OffsetFetchResponse, Request, Response, SyncGroupRequest, SyncGroupResponse,
};

pub(super) const OTHER: MemberId = MemberId(7);

pub(super) fn grouped() -> ConsumerConfig {
    ConsumerConfig { group: Some(GROUP), ..config() }
}

impl World {
    pub(super) fn answer_find_coordinator(&mut self, coordinator: ActorId) {
        let (to, correlation, ()) = self
            .take(|it| matches!(it, Request::FindCoordinator(_)).then_some(()))
            .expect("a FindCoordinator is in flight");
        let answer =
            FindCoordinatorResponse { error: ErrorCode::None, coordinator: Some(coordinator) };
        self.respond((to, correlation), Response::FindCoordinator(answer));
    }

    pub(super) fn take_join(&mut self) -> Option<(ActorId, CorrelationId, Box<JoinGroupRequest>)> {
        self.take(|it| match it {
            Request::JoinGroup(join) => Some(join.clone()),
            _ => None,
        })
    }

    fn join_response(error: ErrorCode, member: MemberId, generation: i32) -> JoinGroupResponse {
        JoinGroupResponse {
            error,
            generation: GenerationId(generation),
            protocol: None,
            leader: Some(OTHER),
            member,
            members: Vec::new(),
            skip_assignment: false,
        }
    }

    /// Lets the consumer join as a follower: with a new member id if it has none.
    pub(super) fn answer_join(&mut self, generation: i32) -> MemberId {
        let (from, correlation, join) = self.take_join().expect("a JoinGroup is in flight");
        let Some(member) = join.member else {
            let answer = Self::join_response(ErrorCode::MemberIdRequired, join.candidate, -1);
            self.respond((from, correlation), Response::JoinGroup(Box::new(answer)));
            return self.answer_join(generation);
        };
        let answer = Self::join_response(ErrorCode::None, member, generation);
        self.respond((from, correlation), Response::JoinGroup(Box::new(answer)));
        member
    }

    /// Lets the consumer join as the only member, and so as the leader.
    pub(super) fn answer_join_as_leader(&mut self, generation: i32) -> MemberId {
        let (from, correlation, join) = self.take_join().expect("a JoinGroup is in flight");
        let member = join.candidate;
        let answer = JoinGroupResponse {
            leader: Some(member),
            protocol: Some(Assignor::Range),
            members: vec![(member, None, join.subscription)],
            ..Self::join_response(ErrorCode::None, member, generation)
        };
        self.respond((from, correlation), Response::JoinGroup(Box::new(answer)));
        member
    }

    pub(super) fn refuse_sync(&mut self, error: ErrorCode) {
        let (from, correlation, _) = self.take_sync().expect("a SyncGroup is in flight");
        let answer = SyncGroupResponse { error, protocol: None, assignment: Vec::new() };
        self.respond((from, correlation), Response::SyncGroup(Box::new(answer)));
    }

    pub(super) fn refuse_join(&mut self, error: ErrorCode) {
        let (from, correlation, join) = self.take_join().expect("a JoinGroup is in flight");
        let answer = Self::join_response(error, join.candidate, -1);
        self.respond((from, correlation), Response::JoinGroup(Box::new(answer)));
    }

    pub(super) fn take_sync(&mut self) -> Option<(ActorId, CorrelationId, Box<SyncGroupRequest>)> {
        self.take(|it| match it {
            Request::SyncGroup(sync) => Some(sync.clone()),
            _ => None,
        })
    }

    pub(super) fn answer_sync(&mut self, assignment: &[TopicPartition]) {
        let (from, correlation, _) = self.take_sync().expect("a SyncGroup is in flight");
        let answer = SyncGroupResponse {
            error: ErrorCode::None,
            protocol: None,
            assignment: assignment.to_vec(),
        };
        self.respond((from, correlation), Response::SyncGroup(Box::new(answer)));
    }

    /// Answers OffsetFetch: the committed offset with its epoch, or none.
    pub(super) fn answer_offset_fetch(&mut self, committed: Option<(i64, i32)>) {
        let (from, correlation, asked) = self
            .take(|it| match it {
                Request::OffsetFetch(it) => Some(it.clone()),
                _ => None,
            })
            .expect("an OffsetFetch is in flight");
        assert!(asked.require_stable);
        let committed = committed.map(|(offset, epoch)| (Offset(offset), LeaderEpoch(epoch)));
        let offsets = asked.partitions.iter().map(|it| (*it, ErrorCode::None, committed)).collect();
        let answer = OffsetFetchResponse { error: ErrorCode::None, offsets };
        self.respond((from, correlation), Response::OffsetFetch(Box::new(answer)));
    }

    pub(super) fn take_commit(
        &mut self,
    ) -> Option<(ActorId, CorrelationId, Box<OffsetCommitRequest>)> {
        self.take(|it| match it {
            Request::OffsetCommit(commit) => Some(commit.clone()),
            _ => None,
        })
    }

    /// Answers the oldest OffsetCommit; returns what it was to commit.
    pub(super) fn answer_commit(&mut self, error: ErrorCode) -> Vec<(u16, i64)> {
        let (from, correlation, commit) = self.take_commit().expect("an OffsetCommit");
        let answer = commit.offsets.iter().map(|it| (it.0, error)).collect();
        self.respond((from, correlation), Response::OffsetCommit(answer));
        commit.offsets.iter().map(|it| (it.0.partition, it.1.0)).collect()
    }

    pub(super) fn answer_heartbeat(&mut self, error: ErrorCode) -> GenerationId {
        let (from, correlation, heartbeat) = self
            .take(|it| match it {
                Request::Heartbeat(it) => Some(*it),
                _ => None,
            })
            .expect("a Heartbeat is in flight");
        self.respond((from, correlation), Response::Heartbeat(error));
        heartbeat.generation
    }

    /// The callback that the application is in, and what it says as text.
    pub(super) fn callback(&mut self) -> String {
        assert_eq!(self.callbacks.len(), 1, "{:?}", self.callbacks);
        let list = |it: &[TopicPartition]| {
            it.iter().map(|it| it.partition.to_string()).collect::<Vec<_>>().join(",")
        };
        match &self.callbacks[0] {
            RebalanceCallback::Assigned { generation, added, owned, .. } => {
                format!("assigned {} of {} in {generation}", list(added), list(owned))
            }
            RebalanceCallback::Revoked { partitions } => format!("revoked {}", list(partitions)),
            RebalanceCallback::Lost { partitions } => format!("lost {}", list(partitions)),
        }
    }

    /// The application returns from its callback.
    pub(super) fn callback_done(&mut self) {
        self.callbacks.clear();
        self.call(ConsumerCall::CallbackDone);
    }

    /// Subscribed, stable in generation 1 with both partitions, from `committed`, polling.
    pub(super) fn stable(config: ConsumerConfig, committed: i64) -> World {
        World::new(config).into_stable(committed)
    }

    pub(super) fn into_stable(mut self, committed: i64) -> World {
        self.call(ConsumerCall::Subscribe(vec![T]));
        self.returned.clear();
        self.call(ConsumerCall::Poll);
        self.answer_find_coordinator(B2);
        self.answer_join(1);
        self.answer_sync(&[P0, P1]);
        assert_eq!(self.callback(), "assigned 0,1 of 0,1 in 1");
        self.callback_done();
        assert_eq!(self.polled().expect("poll() ends after a rebalance"), []);
        self.call(ConsumerCall::Poll);
        self.answer_offset_fetch(Some((committed, -1)));
        self.notes.clear();
        self
    }
}
