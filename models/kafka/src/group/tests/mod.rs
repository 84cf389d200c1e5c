//! Narrated tests of the group coordinator, with a broker that is nothing but a log.

use std::rc::Rc;

use oncesim_types::{
    ActorId, ConnectionId, CorrelationId, Duration, ErrorCode, GenerationId, GroupId,
    GroupInstanceId, Instant, LeaderEpoch, MemberId, Offset, ProducerEpoch, ProducerId, Sequence,
    TopicId, TopicPartition,
};

use crate::config::BrokerConfig;
use crate::group::{GroupCoordination, GroupCoordinator, GroupEffect, TransactionalWrite};
use crate::log::batch::{CoordinatorRecord, LogBatch, RecordBatch, Records};
use crate::machine::{ReplyTo, TimerKey};
use crate::message::{
    Assignor, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, Request, Response, Subscription, SyncGroupRequest,
};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;

mod failover;
mod offsets;
mod random;
mod rebalance;
mod static_members;
mod transactions;

const G: GroupId = GroupId(0);
const TP: TopicPartition = TopicPartition::new(TopicId(0), 0);
const A: MemberId = MemberId(1);
const B: MemberId = MemberId(2);
const SESSION: Duration = Duration::from_secs(45);

/// What the log does with an append.
#[derive(Clone, Copy, PartialEq)]
enum Log {
    /// Replicated at once.
    Healthy,
    /// Appended; the followers are away.
    Stuck,
    /// Refused.
    Refusing(ErrorCode),
}

struct Broker {
    coordinator: GroupCoordinator,
    mutations: Mutations,
    now: Instant,
    /// Batches of one record, so that a batch's index is its offset.
    log: Vec<LogBatch>,
    high_watermark: usize,
    mode: Log,
    timers: Vec<(TimerKey, Instant)>,
    fired: usize,
    replies: Vec<(u32, Response)>,
    next: u32,
    notes: Vec<Note>,
}

impl Broker {
    fn new() -> Broker {
        Broker::with(Mutations::NONE)
    }

    fn with(mutations: Mutations) -> Broker {
        let mut broker = Broker {
            coordinator: coordinator(mutations),
            mutations,
            now: Instant::ZERO,
            log: Vec::new(),
            high_watermark: 0,
            mode: Log::Healthy,
            timers: Vec::new(),
            fired: 0,
            replies: Vec::new(),
            next: 0,
            notes: Vec::new(),
        };
        broker.load();
        broker
    }

    /// Another broker takes over with the log that survived.
    fn fail_over(&mut self) {
        self.coordinator = coordinator(self.mutations);
        self.timers.clear();
        self.load();
    }

    fn load(&mut self) {
        let mut out = Vec::new();
        self.coordinator.elected(0, LeaderEpoch(0));
        let log = self.log.clone();
        self.coordinator.loaded(self.now, 0, &mut log.iter(), &mut out);
        self.perform(out);
        self.replicate(self.high_watermark);
    }

    fn replicate(&mut self, to: usize) {
        self.high_watermark = to;
        let mut out = Vec::new();
        self.coordinator.high_watermark(self.now, 0, offset(to), &mut out);
        self.perform(out);
    }

    /// The followers are back.
    fn heal(&mut self) {
        self.mode = Log::Healthy;
        self.replicate(self.log.len());
    }

    fn perform(&mut self, effects: Vec<GroupEffect>) {
        for effect in effects {
            match effect {
                GroupEffect::Append { records, ticket, transaction, .. } => {
                    self.append(records, ticket, transaction);
                }
                GroupEffect::Reply(to, response) => {
                    self.replies.push((to.correlation.0, response));
                }
                GroupEffect::SetTimer(key, after) => {
                    self.timers.retain(|(other, _)| *other != key);
                    self.timers.push((key, self.now + after));
                }
                GroupEffect::CancelTimer(key) => self.timers.retain(|(other, _)| *other != key),
                GroupEffect::Note(note) => self.notes.push(note),
            }
        }
    }

    fn append(
        &mut self,
        records: Vec<CoordinatorRecord>,
        ticket: u64,
        transaction: Option<TransactionalWrite>,
    ) {
        if let Log::Refusing(error) = self.mode {
            let mut out = Vec::new();
            self.coordinator.append_failed(ticket, error, &mut out);
            return self.perform(out);
        }
        let base = offset(self.log.len());
        assert_eq!(records.len(), 1, "tests commit one partition at a time");
        self.store(transaction.map(|it| it.producer_id), Records::Coordinator(records));
        self.coordinator.appended(ticket, base, base);
        if self.mode == Log::Healthy {
            self.replicate(self.log.len());
        }
    }

    fn store(&mut self, producer_id: Option<ProducerId>, records: Records) {
        let batch = RecordBatch {
            producer_id: producer_id.unwrap_or(ProducerId::NONE),
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            transactional: producer_id.is_some(),
            records,
        };
        let (base_offset, leader_epoch) = (offset(self.log.len()), LeaderEpoch(0));
        self.log.push(LogBatch { base_offset, leader_epoch, batch: Rc::new(batch) });
    }

    /// Lets time pass, timers going off in order.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((key, due)) =
            self.timers.iter().copied().filter(|(_, due)| *due <= end).min_by_key(|t| (t.1, t.0))
        {
            self.timers.retain(|(other, _)| *other != key);
            self.now = self.now.max(due);
            self.fired += 1;
            let mut out = Vec::new();
            self.coordinator.timer(self.now, key, &mut out);
            self.perform(out);
        }
        self.now = end;
    }

    fn send(&mut self, request: Request) -> u32 {
        self.next += 1;
        let to = ReplyTo {
            client: ActorId(9),
            connection: ConnectionId(0),
            correlation: CorrelationId(self.next),
        };
        let mut out = Vec::new();
        self.coordinator.request(self.now, to, request, 0, &mut out);
        self.perform(out);
        self.next
    }

    fn answer(&mut self, id: u32) -> Option<Response> {
        let at = self.replies.iter().position(|(to, _)| *to == id)?;
        Some(self.replies.remove(at).1)
    }

    fn joined(&mut self, id: u32) -> Option<JoinGroupResponse> {
        match self.answer(id)? {
            Response::JoinGroup(answer) => Some(*answer),
            other => panic!("a join is answered with {other:?}"),
        }
    }

    fn synced(&mut self, id: u32) -> Option<(ErrorCode, Vec<TopicPartition>)> {
        match self.answer(id)? {
            Response::SyncGroup(answer) => Some((answer.error, answer.assignment)),
            other => panic!("a sync is answered with {other:?}"),
        }
    }

    fn committed(&mut self, id: u32) -> Option<ErrorCode> {
        match self.answer(id)? {
            Response::OffsetCommit(partitions) => Some(partitions[0].1),
            other => panic!("a commit is answered with {other:?}"),
        }
    }

    fn fetched(&mut self, id: u32) -> Option<(ErrorCode, Option<i64>)> {
        match self.answer(id)? {
            Response::OffsetFetch(answer) => {
                let committed = answer.offsets.first().and_then(|(_, _, committed)| *committed);
                Some((answer.error, committed.map(|(offset, _)| offset.0)))
            }
            other => panic!("an offset fetch is answered with {other:?}"),
        }
    }

    fn heartbeat(&mut self, member: MemberId, generation: i32) -> ErrorCode {
        self.heartbeat_as(member, None, generation)
    }

    fn heartbeat_as(
        &mut self,
        member: MemberId,
        instance: Option<GroupInstanceId>,
        generation: i32,
    ) -> ErrorCode {
        let generation = GenerationId(generation);
        let id = self.send(Request::Heartbeat(HeartbeatRequest {
            group: G,
            member,
            instance,
            generation,
        }));
        match self.answer(id) {
            Some(Response::Heartbeat(error)) => error,
            other => panic!("a heartbeat is answered with {other:?}"),
        }
    }

    fn commit(&mut self, member: MemberId, generation: i32, next: i64) -> u32 {
        self.send(commit(Some(member), None, generation, next))
    }

    fn fetch(&mut self, require_stable: bool) -> u32 {
        let partitions = vec![TP];
        self.send(Request::OffsetFetch(OffsetFetchRequest { group: G, partitions, require_stable }))
    }

    /// A and B make up generation 1; A leads and has everything.
    fn group_of_two() -> Broker {
        let mut broker = Broker::new();
        broker.form_group();
        broker
    }

    fn form_group(&mut self) {
        for member in [A, B] {
            let first = self.send(join(None, member, None));
            let told = self.joined(first).expect("a member id is given at once");
            assert_eq!((told.error, told.member), (ErrorCode::MemberIdRequired, member));
        }
        let (a, b) = (self.send(join(Some(A), A, None)), self.send(join(Some(B), B, None)));
        self.pass(Duration::from_secs(6));
        let leader = self.joined(a).expect("the initial delay is over");
        assert_eq!((leader.generation, leader.leader), (GenerationId(1), Some(A)));
        assert_eq!(leader.members.len(), 2);
        assert!(self.joined(b).expect("so it is for B").members.is_empty());
        let follower = self.send(sync(B, 1, &[]));
        assert!(self.synced(follower).is_none(), "a follower waits for the leader");
        let leader = self.send(sync(A, 1, &[(A, vec![TP]), (B, vec![])]));
        assert_eq!(self.synced(leader), Some((ErrorCode::None, vec![TP])));
        assert_eq!(self.synced(follower), Some((ErrorCode::None, vec![])));
        self.coordinator.settled().expect("stable");
    }

    fn hits(&self) -> usize {
        self.notes.iter().filter(|note| matches!(note, Note::MutationHit)).count()
    }

    fn accepted(&self) -> Vec<i64> {
        let accepted = |note: &Note| match note {
            Note::OffsetAccepted { offset, .. } => Some(offset.0),
            _ => None,
        };
        self.notes.iter().filter_map(accepted).collect()
    }
}

fn coordinator(mutations: Mutations) -> GroupCoordinator {
    GroupCoordinator::new(ActorId(1), Rc::new(BrokerConfig::default()), mutations)
}

fn offset(index: usize) -> Offset {
    Offset(i64::try_from(index).expect("a short log"))
}

fn join(member: Option<MemberId>, candidate: MemberId, instance: Option<u16>) -> Request {
    join_with(member, candidate, instance, &[Assignor::Range], vec![TopicId(0)])
}

fn join_with(
    member: Option<MemberId>,
    candidate: MemberId,
    instance: Option<u16>,
    protocols: &[Assignor],
    topics: Vec<TopicId>,
) -> Request {
    Request::JoinGroup(Box::new(JoinGroupRequest {
        group: G,
        member,
        candidate,
        instance: instance.map(GroupInstanceId),
        session_timeout: SESSION,
        rebalance_timeout: Duration::from_secs(300),
        protocols: protocols.to_vec(),
        subscription: Rc::new(Subscription {
            topics,
            owned: Vec::new(),
            generation: GenerationId::NONE,
        }),
    }))
}

fn sync(
    member: MemberId,
    generation: i32,
    assignments: &[(MemberId, Vec<TopicPartition>)],
) -> Request {
    Request::SyncGroup(Box::new(SyncGroupRequest {
        group: G,
        member,
        instance: None,
        generation: GenerationId(generation),
        assignments: assignments.to_vec(),
    }))
}

fn commit(member: Option<MemberId>, instance: Option<u16>, generation: i32, next: i64) -> Request {
    Request::OffsetCommit(Box::new(OffsetCommitRequest {
        group: G,
        member,
        instance: instance.map(GroupInstanceId),
        generation: GenerationId(generation),
        offsets: vec![(TP, Offset(next), LeaderEpoch(0))],
    }))
}

fn leave(member: MemberId) -> Request {
    Request::LeaveGroup(LeaveGroupRequest { group: G, member, instance: None })
}
