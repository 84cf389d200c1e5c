//! Narrated tests of the group coordinator, with a broker that is nothing but a log.

use std::rc::Rc;

use oncesim_types::{
    ActorId, ConnectionId, CorrelationId, Duration, ErrorCode, GenerationId, GroupId,
    GroupInstanceId, Instant, LeaderEpoch, MemberId, Offset, TopicId, TopicPartition,
};
use proptest::prelude::*;

use crate::config::BrokerConfig;
use crate::group::{GroupCoordination, GroupCoordinator, GroupEffect};
use crate::log::batch::CoordinatorRecord;
use crate::machine::{ReplyTo, TimerKey};
use crate::message::{
    Assignor, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, Request, Response, Subscription, SyncGroupRequest,
};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;

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
    log: Vec<CoordinatorRecord>,
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
        let mut records = (0..).map(Offset).zip(log);
        self.coordinator.loaded(self.now, 0, &mut records, &mut out);
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
                GroupEffect::Append { records, ticket, .. } => self.append(records, ticket),
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

    fn append(&mut self, records: Vec<CoordinatorRecord>, ticket: u64) {
        if let Log::Refusing(error) = self.mode {
            let mut out = Vec::new();
            self.coordinator.append_failed(ticket, error, &mut out);
            return self.perform(out);
        }
        let base = offset(self.log.len());
        self.log.extend(records);
        self.coordinator.appended(ticket, base, offset(self.log.len() - 1));
        if self.mode == Log::Healthy {
            self.replicate(self.log.len());
        }
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

#[test]
fn a_group_forms_and_then_costs_nothing_but_heartbeats() {
    let mut broker = Broker::group_of_two();
    assert!(broker.notes.iter().any(|note| {
        matches!(note, Note::Generation { generation: GenerationId(1), cooperative: false, .. })
    }));
    broker.fired = 0;
    for _ in 0..100 {
        broker.pass(Duration::from_secs(3));
        assert_eq!(broker.heartbeat(A, 1), ErrorCode::None);
        assert_eq!(broker.heartbeat(B, 1), ErrorCode::None);
    }
    assert!(broker.fired <= 8, "{} timers in five idle minutes", broker.fired);
    assert_eq!(broker.timers.len(), 1);
}

#[test]
fn latecomers_extend_the_initial_delay_within_the_rebalance_timeout() {
    let mut broker = Broker::new();
    broker.send(join(None, A, None));
    let a = broker.send(join(Some(A), A, None));
    broker.pass(Duration::from_secs(2));
    broker.send(join(None, B, None));
    let b = broker.send(join(Some(B), B, None));
    broker.pass(Duration::from_secs(2));
    assert!(broker.joined(a).is_none(), "somebody came: another three seconds");
    broker.pass(Duration::from_secs(2));
    assert_eq!(broker.joined(a).expect("over").members.len(), 2);
    assert!(broker.joined(b).is_some());
}

#[test]
fn a_rebalance_waits_for_every_known_member_and_removes_who_does_not_come() {
    let mut broker = Broker::group_of_two();
    let join_a = broker.send(join(Some(A), A, None));
    assert_eq!(broker.heartbeat(B, 1), ErrorCode::RebalanceInProgress);
    broker.pass(Duration::from_secs(1));
    let c = MemberId(3);
    broker.send(join(None, c, None));
    let join_c = broker.send(join(Some(c), c, None));
    assert!(broker.joined(join_a).is_none(), "B is not back yet");
    // B processes a long batch; its heartbeat thread keeps its session alive.
    for _ in 0..99 {
        broker.pass(Duration::from_secs(3));
        assert_eq!(broker.heartbeat(B, 1), ErrorCode::RebalanceInProgress);
    }
    assert!(broker.joined(join_a).is_none());
    broker.pass(Duration::from_secs(6));
    let leader = broker.joined(join_a).expect("max.poll.interval.ms is over");
    assert_eq!((leader.generation, leader.members.len()), (GenerationId(2), 2));
    assert!(broker.joined(join_c).is_some());
    assert_eq!(broker.heartbeat(B, 1), ErrorCode::UnknownMemberId);
    let late = broker.commit(B, 1, 5);
    assert_eq!(broker.committed(late), Some(ErrorCode::UnknownMemberId));
}

#[test]
fn a_zombie_past_its_session_cannot_commit() {
    let mut broker = Broker::group_of_two();
    let before = broker.commit(B, 1, 10);
    assert_eq!(broker.committed(before), Some(ErrorCode::None));
    for _ in 0..16 {
        broker.pass(Duration::from_secs(3));
        broker.heartbeat(A, 1);
    }
    assert!(
        broker
            .notes
            .iter()
            .any(|n| matches!(n, Note::MemberRemoved { member: B, expired: true, .. }))
    );
    let rejoin = broker.send(join(Some(A), A, None));
    assert_eq!(broker.joined(rejoin).expect("A is alone").generation, GenerationId(2));
    let leader = broker.send(sync(A, 2, &[(A, vec![TP])]));
    assert!(broker.synced(leader).is_some());
    let zombie = broker.commit(B, 1, 3);
    assert_eq!(broker.committed(zombie), Some(ErrorCode::UnknownMemberId));
    assert_eq!(broker.coordinator.committed(G, TP).map(|(o, _)| o.0), Some(10));
    assert_eq!(broker.accepted(), [10]);
}

#[test]
fn commits_are_validated_in_kafkas_order() {
    let static_b = Some(7);
    // state, member, instance, generation, answer
    let rows = [
        ("stable", Some(A), None, 1, ErrorCode::None),
        ("stable", Some(MemberId(99)), None, 1, ErrorCode::UnknownMemberId),
        ("stable", Some(MemberId(99)), static_b, 0, ErrorCode::UnknownMemberId),
        ("stable", Some(A), None, 0, ErrorCode::IllegalGeneration),
        ("stable", Some(A), None, 2, ErrorCode::IllegalGeneration),
        ("stable", None, None, -1, ErrorCode::UnknownMemberId),
        ("preparing", Some(A), None, 1, ErrorCode::None),
        ("preparing", Some(A), None, 0, ErrorCode::IllegalGeneration),
        ("completing", Some(A), None, 2, ErrorCode::RebalanceInProgress),
        ("completing", Some(A), None, 1, ErrorCode::IllegalGeneration),
        ("empty", None, None, -1, ErrorCode::None),
        ("empty", Some(A), None, 1, ErrorCode::UnknownMemberId),
        ("unknown", None, None, -1, ErrorCode::None),
        ("unknown", Some(A), None, 1, ErrorCode::IllegalGeneration),
    ];
    for (state, member, instance, generation, expected) in rows {
        let mut broker = if state == "unknown" { Broker::new() } else { Broker::group_of_two() };
        if state == "empty" {
            broker.send(leave(A));
            broker.send(leave(B));
        }
        if state == "preparing" || state == "completing" {
            broker.send(join(Some(A), A, None));
        }
        if state == "completing" {
            broker.send(join(Some(B), B, None));
        }
        let id = broker.send(commit(member, instance, generation, 4));
        let row = (state, member, instance, generation);
        assert_eq!(broker.committed(id), Some(expected), "{row:?}");
        let stored = broker.coordinator.committed(G, TP).is_some();
        assert_eq!(stored, expected.is_ok(), "{row:?}");
    }
}

#[test]
fn a_commit_counts_when_the_high_watermark_covers_it() {
    let mut broker = Broker::group_of_two();
    broker.mode = Log::Stuck;
    let id = broker.commit(A, 1, 8);
    let (plain, stable) = (broker.fetch(false), broker.fetch(true));
    assert_eq!(broker.committed(id), None);
    assert_eq!(broker.fetched(plain), Some((ErrorCode::None, None)), "committed state only");
    assert_eq!(broker.fetched(stable), None, "behind the write");
    broker.coordinator.settled().expect_err("a commit is in flight");
    broker.heal();
    assert_eq!(broker.committed(id), Some(ErrorCode::None));
    assert_eq!(broker.fetched(stable), Some((ErrorCode::None, Some(8))));
}

#[test]
fn a_commit_that_timed_out_may_still_count() {
    let mut broker = Broker::group_of_two();
    broker.mode = Log::Stuck;
    let (id, read) = (broker.commit(A, 1, 8), broker.fetch(true));
    broker.pass(Duration::from_secs(5));
    assert_eq!(broker.committed(id), Some(ErrorCode::RequestTimedOut));
    assert_eq!(broker.fetched(read), Some((ErrorCode::CoordinatorNotAvailable, None)));
    assert_eq!(broker.coordinator.committed(G, TP), None);
    broker.heal();
    assert_eq!(broker.committed(id), None, "nobody is told twice");
    assert_eq!(broker.accepted(), [8]);
}

#[test]
fn a_commit_that_was_not_appended_leaves_no_trace() {
    for (error, told) in [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
    ] {
        let mut broker = Broker::group_of_two();
        broker.mode = Log::Refusing(error);
        let id = broker.commit(A, 1, 8);
        assert_eq!(broker.committed(id), Some(told));
        let read = broker.fetch(true);
        assert_eq!(broker.fetched(read), Some((ErrorCode::None, None)));
        broker.coordinator.settled().expect("nothing waits");
    }
}

#[test]
fn an_assignment_that_was_not_stored_is_told_to_nobody() {
    let mut broker = Broker::group_of_two();
    let (a, b) = (broker.send(join(Some(A), A, None)), broker.send(join(Some(B), B, None)));
    assert!(broker.joined(a).is_some() && broker.joined(b).is_some());
    broker.mode = Log::Refusing(ErrorCode::NotEnoughReplicas);
    let follower = broker.send(sync(B, 2, &[]));
    let leader = broker.send(sync(A, 2, &[(A, vec![TP])]));
    let refused = Some((ErrorCode::CoordinatorNotAvailable, vec![]));
    assert_eq!((broker.synced(leader), broker.synced(follower)), (refused.clone(), refused));
    assert_eq!(broker.heartbeat(A, 2), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_new_coordinator_continues_where_the_log_ends() {
    let mut broker = Broker::group_of_two();
    for next in [3, 8] {
        let id = broker.commit(A, 1, next);
        assert_eq!(broker.committed(id), Some(ErrorCode::None));
    }
    broker.fail_over();
    assert_eq!(broker.coordinator.committed(G, TP).map(|(o, _)| o.0), Some(8), "the latest wins");
    assert_eq!(broker.heartbeat(A, 1), ErrorCode::None, "nobody has to join again");
    let id = broker.commit(A, 1, 9);
    assert_eq!(broker.committed(id), Some(ErrorCode::None));
    // Sessions are fresh, and run out as ever.
    broker.pass(SESSION);
    assert_eq!(broker.heartbeat(B, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn what_was_loaded_is_not_read_before_it_is_durable() {
    let mut broker = Broker::group_of_two();
    broker.mode = Log::Stuck;
    broker.commit(A, 1, 8);
    broker.fail_over();
    let (plain, stable) = (broker.fetch(false), broker.fetch(true));
    assert_eq!((broker.fetched(plain), broker.fetched(stable)), (None, None));
    broker.heal();
    assert_eq!(broker.fetched(plain), Some((ErrorCode::None, Some(8))));
    assert_eq!(broker.fetched(stable), Some((ErrorCode::None, Some(8))));
}

#[test]
fn a_broker_that_resigns_sends_everybody_away() {
    let mut broker = Broker::group_of_two();
    broker.mode = Log::Stuck;
    let (waiting_commit, waiting_read) = (broker.commit(A, 1, 8), broker.fetch(true));
    let waiting_join = broker.send(join(Some(A), A, None));
    let mut out = Vec::new();
    broker.coordinator.resigned(0, &mut out);
    broker.perform(out);
    assert_eq!(broker.committed(waiting_commit), Some(ErrorCode::NotCoordinator));
    assert_eq!(broker.fetched(waiting_read), Some((ErrorCode::NotCoordinator, None)));
    assert_eq!(broker.joined(waiting_join).map(|a| a.error), Some(ErrorCode::NotCoordinator));
    assert!(broker.timers.is_empty(), "{:?}", broker.timers);
    assert_eq!(broker.heartbeat(A, 1), ErrorCode::NotCoordinator);
    broker.coordinator.elected(0, LeaderEpoch(5));
    assert_eq!(broker.heartbeat(A, 1), ErrorCode::CoordinatorLoadInProgress);
    broker.load();
    assert_eq!(broker.heartbeat(A, 1), ErrorCode::None);
}

/// A static member S with everything, stable in generation 1.
fn static_group() -> Broker {
    let mut broker = Broker::new();
    let id = broker.send(join(None, A, Some(7)));
    broker.pass(Duration::from_secs(3));
    let told = broker.joined(id).expect("no member id is required of a static member");
    assert_eq!((told.member, told.generation), (A, GenerationId(1)));
    let id = broker.send(sync(A, 1, &[(A, vec![TP])]));
    assert_eq!(broker.synced(id), Some((ErrorCode::None, vec![TP])));
    broker
}

/// KIP-345, KIP-814, KAFKA-10284.
#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_past() {
    let mut broker = static_group();
    broker.mode = Log::Stuck;
    let id = broker.send(join(None, B, Some(7)));
    assert!(broker.joined(id).is_none(), "first the new member id is written");
    broker.heal();
    let back = broker.joined(id).expect("written");
    assert_eq!((back.error, back.member, back.generation), (ErrorCode::None, B, GenerationId(1)));
    assert!(back.skip_assignment, "KIP-814: the leader keeps the stored assignment");
    let id = broker.send(sync(B, 1, &[]));
    assert_eq!(broker.synced(id), Some((ErrorCode::None, vec![TP])));
    for _ in 0..2 {
        let instance = Some(GroupInstanceId(7));
        assert_eq!(broker.heartbeat_as(A, instance, 1), ErrorCode::FencedInstanceId);
        let zombie = broker.send(commit(Some(A), Some(7), 1, 3));
        assert_eq!(broker.committed(zombie), Some(ErrorCode::FencedInstanceId));
        assert_eq!(broker.heartbeat_as(B, instance, 1), ErrorCode::None);
        // The next coordinator knows it too.
        broker.fail_over();
    }
}

#[test]
fn a_static_replacement_that_was_not_written_did_not_happen() {
    let mut broker = static_group();
    broker.mode = Log::Refusing(ErrorCode::NotEnoughReplicas);
    let id = broker.send(join(None, B, Some(7)));
    let refused = broker.joined(id).expect("at once");
    assert_eq!(refused.error, ErrorCode::CoordinatorNotAvailable);
    let instance = Some(GroupInstanceId(7));
    assert_eq!(broker.heartbeat_as(A, instance, 1), ErrorCode::None);
    assert_eq!(broker.heartbeat_as(B, instance, 1), ErrorCode::FencedInstanceId);
}

/// KAFKA-9801.
#[test]
fn a_static_member_that_comes_back_before_the_assignment_causes_a_rebalance() {
    let mut broker = Broker::new();
    broker.send(join(None, A, Some(7)));
    broker.pass(Duration::from_secs(3));
    let id = broker.send(join(None, B, Some(7)));
    let back = broker.joined(id).expect("it is the only member");
    assert_eq!((back.member, back.generation), (B, GenerationId(2)));
}

#[test]
fn planted_bugs_show() {
    let planted = |mutation| {
        let mut broker = Broker::with(Mutations::only(mutation));
        broker.form_group();
        broker
    };
    let mut broker = planted(Mutation::GroupCommitAnyGeneration);
    let stale = broker.commit(A, 0, 2);
    assert_eq!(broker.committed(stale), Some(ErrorCode::None));
    let stranger = broker.commit(MemberId(99), 0, 1);
    assert_eq!((broker.committed(stranger), broker.hits()), (Some(ErrorCode::None), 2));

    let mut broker = planted(Mutation::GroupReplyBeforeHighWatermark);
    broker.mode = Log::Stuck;
    let early = broker.commit(A, 1, 2);
    assert_eq!((broker.committed(early), broker.hits()), (Some(ErrorCode::None), 1));
    broker.log.truncate(broker.high_watermark);
    broker.fail_over();
    assert_eq!(broker.coordinator.committed(G, TP), None, "acknowledged, and lost");

    let mut broker = planted(Mutation::GroupLoadFirstWins);
    broker.commit(A, 1, 2);
    broker.commit(A, 1, 6);
    broker.fail_over();
    assert_eq!(broker.coordinator.committed(G, TP).map(|(o, _)| o.0), Some(2));
    assert_eq!(broker.hits(), 1);
}

#[test]
fn members_agree_on_what_all_support_and_most_prefer() {
    let mut broker = Broker::new();
    let prefer = [
        [Assignor::RoundRobin, Assignor::Range],
        [Assignor::Range, Assignor::RoundRobin],
        [Assignor::Range, Assignor::RoundRobin],
    ];
    let mut last = 0;
    for (n, protocols) in (1..).zip(prefer) {
        let (id, topics) = (MemberId(n), vec![TopicId(0)]);
        broker.send(join_with(None, id, None, &protocols, topics.clone()));
        last = broker.send(join_with(Some(id), id, None, &protocols, topics));
    }
    let stranger = broker.send(join_with(None, B, None, &[Assignor::Sticky], vec![]));
    let refused = broker.joined(stranger).expect("at once");
    assert_eq!(refused.error, ErrorCode::InconsistentGroupProtocol);
    broker.pass(Duration::from_secs(6));
    assert_eq!(broker.joined(last).expect("joined").protocol, Some(Assignor::Range));
}

#[derive(Debug, Clone)]
enum Step {
    Ask(Request),
    Pass(u64),
    Mode(u8),
    FailOver,
    Resign,
}

fn step() -> impl Strategy<Value = Step> {
    let member = || (1u64..5).prop_map(MemberId);
    let instance = || proptest::option::weighted(0.4, 1u16..3);
    let generation = || -1i32..5;
    prop_oneof![
        4 => (proptest::option::of(member()), member(), instance(), 0u16..2)
            .prop_map(|(m, c, i, t)| {
                Step::Ask(join_with(m, c, i, &[Assignor::Range], vec![TopicId(t)]))
            }),
        4 => (member(), generation()).prop_map(|(m, g)| Step::Ask(sync(m, g, &[(m, vec![TP])]))),
        2 => (proptest::option::of(member()), instance(), generation(), 0i64..9)
            .prop_map(|(m, i, g, o)| Step::Ask(commit(m, i, g, o))),
        1 => member().prop_map(|m| Step::Ask(leave(m))),
        1 => any::<bool>().prop_map(|require_stable| Step::Ask(Request::OffsetFetch(
            OffsetFetchRequest { group: G, partitions: vec![TP], require_stable }
        ))),
        3 => (1u64..60).prop_map(Step::Pass),
        2 => (0u8..3).prop_map(Step::Mode),
        1 => Just(Step::FailOver),
        1 => Just(Step::Resign),
    ]
}

proptest! {
    /// Whatever clients, time and the log do: nothing panics, nobody is answered twice, and when
    /// the world heals and everybody falls silent, everybody has been answered and nothing waits.
    #[test]
    fn every_request_is_answered_once_and_silence_ends_empty(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut broker = Broker::new();
        // Answers are owed to the requests after the last failover: the others went down with it.
        let mut owed = Vec::new();
        // A client's join or sync that is sent again replaces the one that waits.
        let mut replaced = 0;
        for step in steps {
            match step {
                Step::Ask(request) => {
                    let repeats =
                        matches!(request, Request::JoinGroup(_) | Request::SyncGroup(_));
                    replaced += usize::from(repeats);
                    owed.push(broker.send(request));
                }
                Step::Pass(seconds) => broker.pass(Duration::from_secs(seconds)),
                Step::Mode(0) => broker.heal(),
                Step::Mode(1) => broker.mode = Log::Stuck,
                Step::Mode(_) => broker.mode = Log::Refusing(ErrorCode::NotEnoughReplicas),
                Step::FailOver => {
                    owed.clear();
                    replaced = 0;
                    broker.fail_over();
                }
                Step::Resign => {
                    let mut out = Vec::new();
                    broker.coordinator.resigned(0, &mut out);
                    broker.perform(out);
                    broker.load();
                }
            }
        }
        broker.heal();
        broker.pass(Duration::from_secs(3_600));
        broker.coordinator.settled().map_err(TestCaseError::fail)?;
        prop_assert!(broker.timers.is_empty());
        let mut answered: Vec<u32> = broker.replies.iter().map(|(to, _)| *to).collect();
        answered.sort_unstable();
        let all = answered.len();
        answered.dedup();
        prop_assert_eq!(all, answered.len(), "somebody was answered twice");
        let silent = owed.iter().filter(|id| !answered.contains(id)).count();
        prop_assert!(silent <= replaced, "{silent} without an answer");
    }
}
