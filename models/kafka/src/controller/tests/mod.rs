//! Narrated tests of the controller: each tells one rule's story on brokers 1, 2 and 3.

use std::rc::Rc;

use oncesim_types::{
    ActorId, BrokerEpoch, ConnectionId, CorrelationId, Duration, ErrorCode, Instant, LeaderEpoch,
    PartitionEpoch, ProducerId, TopicId, TopicPartition,
};

use crate::config::{BrokerConfig, TopicConfig};
use crate::controller::{Controller, ControllerDisk};
use crate::machine::{Effect, Effects, Input, Machine, TimerKey};
use crate::message::{
    AllocateProducerIdsRequest, AlterPartitionRequest, AlterPartitionResponse,
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest,
    ElectLeadersRequest, FetchMetadataRequest, PartitionRegistration, RecoveryState, Request,
    Response,
};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;

mod random;

const B1: ActorId = ActorId(1);
const B2: ActorId = ActorId(2);
const B3: ActorId = ActorId(3);
const BROKERS: [ActorId; 3] = [B1, B2, B3];
/// Replicas 1, 2, 3 in this order.
const TP: TopicPartition = TopicPartition::new(TopicId(0), 0);

struct Cluster {
    controller: Option<Controller>,
    config: Rc<BrokerConfig>,
    topics: Rc<[TopicConfig]>,
    mutations: Mutations,
    now: Instant,
    timer: Option<Instant>,
    notes: Vec<Note>,
    replies: Vec<(ActorId, Response)>,
    alive: Vec<ActorId>,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster::with(|_, _| {}, Mutations::NONE)
    }

    fn with(change: fn(&mut BrokerConfig, &mut TopicConfig), mutations: Mutations) -> Cluster {
        let mut config = BrokerConfig::default();
        let mut topic = TopicConfig {
            topic: TopicId(0),
            partitions: 3,
            replication_factor: 3,
            min_insync_replicas: 2,
            unclean_leader_election: false,
            flush_messages: None,
            internal: None,
        };
        change(&mut config, &mut topic);
        let mut cluster = Cluster {
            controller: None,
            config: Rc::new(config),
            topics: Rc::new([topic]),
            mutations,
            now: Instant::ZERO,
            timer: None,
            notes: Vec::new(),
            replies: Vec::new(),
            alive: BROKERS.to_vec(),
        };
        cluster.boot(ControllerDisk::default());
        cluster
    }

    fn boot(&mut self, disk: ControllerDisk) {
        self.timer = None;
        self.controller = Some(Controller::new(
            ActorId(0),
            &BROKERS,
            Rc::clone(&self.config),
            Rc::clone(&self.topics),
            self.mutations,
            disk,
        ));
        self.step(Input::Start);
    }

    /// The controller's process dies and another takes over.
    fn fail_over(&mut self) {
        let disk = self.controller.take().expect("a controller runs").crash();
        self.boot(disk);
    }

    fn step(&mut self, input: Input) {
        let mut effects = Effects::default();
        let now = self.now;
        self.controller.as_mut().expect("a controller runs").step(now, input, &mut effects);
        for effect in effects.0 {
            match effect {
                Effect::Reply { to, body, .. } => self.replies.push((to, body)),
                Effect::SetTimer { key: TimerKey(0), after } => self.timer = Some(now + after),
                Effect::Note(note) => self.notes.push(note),
                other => panic!("a controller does not ask for {other:?}"),
            }
        }
    }

    fn ask(&mut self, from: ActorId, body: Request) -> Option<Response> {
        self.replies.clear();
        let (connection, correlation) = (ConnectionId(u32::from(from.0)), CorrelationId(0));
        self.step(Input::Request { from, connection, correlation, body });
        self.replies.iter().find(|(to, _)| *to == from).map(|(_, body)| body.clone())
    }

    /// Time passes; brokers that are alive send heartbeats every two seconds.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds / 2 {
            self.now += Duration::from_secs(2);
            while self.timer.is_some_and(|due| due <= self.now) {
                self.timer = None;
                self.step(Input::Timer(TimerKey(0)));
            }
            for broker in self.alive.clone() {
                self.heartbeat(broker);
            }
        }
    }

    fn epoch(&self, broker: ActorId) -> BrokerEpoch {
        self.controller.as_ref().expect("runs").broker(broker).expect("registered").0
    }

    fn heartbeat_with(
        &mut self,
        broker: ActorId,
        broker_epoch: BrokerEpoch,
        metadata_offset: u64,
        want_shutdown: bool,
    ) -> BrokerHeartbeatResponse {
        let request =
            BrokerHeartbeatRequest { broker, broker_epoch, metadata_offset, want_shutdown };
        match self.ask(broker, Request::BrokerHeartbeat(request)) {
            Some(Response::BrokerHeartbeat(answer)) => answer,
            other => panic!("a heartbeat is answered at once, not with {other:?}"),
        }
    }

    fn heartbeat(&mut self, broker: ActorId) -> BrokerHeartbeatResponse {
        self.heartbeat_with(broker, self.epoch(broker), 1_000_000, false)
    }

    fn crash(&mut self, broker: ActorId) {
        self.alive.retain(|alive| *alive != broker);
    }

    fn register(&mut self, broker: ActorId, incarnation: u32, previous: BrokerEpoch) -> ErrorCode {
        let previous_broker_epoch = previous;
        let request = BrokerRegistrationRequest { broker, incarnation, previous_broker_epoch };
        match self.ask(broker, Request::BrokerRegistration(request)) {
            Some(Response::BrokerRegistration(answer)) => answer.error,
            other => panic!("a registration is answered at once, not with {other:?}"),
        }
    }

    /// The broker comes back with a new process after a crash, and is unfenced.
    fn restart(&mut self, broker: ActorId, incarnation: u32) {
        assert_eq!(self.register(broker, incarnation, BrokerEpoch::NONE), ErrorCode::None);
        self.alive.push(broker);
        self.heartbeat(broker);
    }

    fn partition(&self) -> &PartitionRegistration {
        self.controller.as_ref().expect("runs").partition(TP).expect("it exists")
    }

    fn new_isr(&self, isr: &[ActorId]) -> AlterPartitionRequest {
        let partition = self.partition();
        let broker = partition.leader.unwrap_or(B1);
        AlterPartitionRequest {
            broker,
            broker_epoch: self.epoch(broker),
            partition: TP,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            new_isr: isr.iter().map(|replica| (*replica, self.epoch(*replica))).collect(),
            recovery: RecoveryState::Recovered,
        }
    }

    fn alter(&mut self, request: AlterPartitionRequest) -> AlterPartitionResponse {
        match self.ask(request.broker, Request::AlterPartition(Box::new(request))) {
            Some(Response::AlterPartition(answer)) => *answer,
            other => panic!("AlterPartition is answered at once, not with {other:?}"),
        }
    }

    fn hits(&self) -> usize {
        self.notes.iter().filter(|note| matches!(note, Note::MutationHit)).count()
    }
}

#[test]
fn a_new_cluster_is_healthy_and_its_first_processes_cost_no_record() {
    let mut cluster = Cluster::new();
    cluster.controller.as_ref().expect("runs").settled().expect("healthy from the start");
    let before = cluster.epoch(B2);
    assert_eq!(cluster.register(B2, 0, BrokerEpoch::NONE), ErrorCode::None);
    assert_eq!(cluster.epoch(B2), before, "the running registration is confirmed, not replaced");
    let topic = TopicId(0);
    let leaders: Vec<_> = (0..3)
        .map(|p| cluster.controller.as_ref().expect("runs").leader(TopicPartition::new(topic, p)))
        .collect();
    assert_eq!(leaders, [Some(B1), Some(B2), Some(B3)]);
    assert_eq!(
        cluster.controller.as_ref().expect("runs").leader(TopicPartition::new(topic, 3)),
        None
    );
}

#[test]
fn a_silent_broker_is_fenced_and_a_returning_one_unfenced() {
    let mut cluster = Cluster::new();
    cluster.crash(B1);
    cluster.pass(8);
    assert_eq!(cluster.partition().leader, Some(B1), "the session of 9 s is not over");
    cluster.pass(2);
    let partition = cluster.partition();
    assert_eq!(partition.leader, Some(B2), "the first in-sync replica in assignment order");
    assert_eq!(partition.isr, [B2, B3]);
    assert_eq!(
        (partition.leader_epoch, partition.partition_epoch),
        (LeaderEpoch(1), PartitionEpoch(1))
    );
    // The paused process wakes up: same epoch, and it already knows its own registration.
    assert!(!cluster.heartbeat(B1).fenced);
    assert_eq!(cluster.partition().isr, [B2, B3], "only the leader may add it again");
    let answer = cluster.alter(cluster.new_isr(&BROKERS));
    assert_eq!(answer.error, ErrorCode::None);
    let state = answer.state.expect("success carries the state");
    assert_eq!((state.leader_epoch, state.partition_epoch), (LeaderEpoch(1), PartitionEpoch(2)));
    assert_eq!(state.isr, BROKERS);
    let settled = cluster.controller.as_ref().expect("runs").settled();
    assert_eq!(settled, Err("topic-0-1 has 2 of 3 replicas in sync".to_owned()));
}

#[test]
fn a_broker_is_unfenced_only_after_it_has_read_its_own_registration() {
    let mut cluster = Cluster::new();
    cluster.crash(B1);
    cluster.pass(10);
    assert_eq!(cluster.register(B1, 1, BrokerEpoch::NONE), ErrorCode::None);
    let epoch = cluster.epoch(B1);
    let registered = u64::try_from(epoch.0).expect("an offset");
    assert!(cluster.heartbeat_with(B1, epoch, registered, false).fenced);
    assert!(!cluster.heartbeat_with(B1, epoch, registered + 1, false).fenced);
}

#[test]
fn a_second_process_waits_for_the_session_of_the_first() {
    let mut cluster = Cluster::new();
    let old = cluster.epoch(B1);
    cluster.crash(B1);
    cluster.pass(4);
    let refused = cluster.register(B1, 1, BrokerEpoch::NONE);
    assert_eq!(refused, ErrorCode::DuplicateBrokerRegistration);
    cluster.pass(6);
    assert_eq!(cluster.register(B1, 1, BrokerEpoch::NONE), ErrorCode::None);
    assert!(cluster.epoch(B1) > old);
    let stale = cluster.heartbeat_with(B1, old, 1_000_000, false);
    assert_eq!(stale.error, ErrorCode::StaleBrokerEpoch, "the first process is fenced off");
}

#[test]
fn a_failover_gives_every_broker_a_fresh_session() {
    let mut cluster = Cluster::new();
    cluster.crash(B1);
    cluster.pass(6);
    cluster.fail_over();
    cluster.pass(8);
    assert_eq!(cluster.partition().leader, Some(B1));
    cluster.pass(2);
    assert_eq!(cluster.partition().leader, Some(B2));
}

/// KIP-841: a leader with stale metadata asks for a broker that the controller has fenced.
#[test]
fn kip_841_a_fenced_broker_does_not_enter_the_isr() {
    for (mutations, error, hits) in [
        (Mutations::NONE, ErrorCode::IneligibleReplica, 0),
        (Mutations::only(Mutation::IsrAllowFenced), ErrorCode::None, 1),
    ] {
        let mut cluster = Cluster::with(|_, _| {}, mutations);
        cluster.crash(B3);
        cluster.pass(10);
        assert_eq!(cluster.partition().isr, [B1, B2]);
        let answer = cluster.alter(cluster.new_isr(&BROKERS));
        assert_eq!((answer.error, cluster.hits()), (error, hits));
    }
}

/// KIP-903: the request is about a process that has been replaced meanwhile, on a disk that may
/// have lost what the leader saw.
#[test]
fn kip_903_a_rebooted_broker_does_not_enter_the_isr_by_its_past() {
    for (mutations, error, hits) in [
        (Mutations::NONE, ErrorCode::IneligibleReplica, 0),
        (Mutations::only(Mutation::IsrNoBrokerEpoch), ErrorCode::None, 1),
    ] {
        let mut cluster = Cluster::with(|_, _| {}, mutations);
        assert_eq!(cluster.alter(cluster.new_isr(&[B1, B2])).error, ErrorCode::None);
        let mut delayed = cluster.new_isr(&BROKERS);
        cluster.crash(B3);
        cluster.pass(10);
        cluster.restart(B3, 1);
        delayed.partition_epoch = cluster.partition().partition_epoch;
        let answer = cluster.alter(delayed);
        assert_eq!((answer.error, cluster.hits()), (error, hits));
    }
}

/// KIP-966: min.insync.replicas is 2; the others died first, then the last one lost its disk's end.
fn last_replica_standing(
    config: fn(&mut BrokerConfig, &mut TopicConfig),
    mutations: Mutations,
) -> Cluster {
    let mut cluster = Cluster::with(config, mutations);
    cluster.crash(B2);
    cluster.pass(10);
    cluster.crash(B3);
    cluster.pass(10);
    cluster.crash(B1);
    cluster.pass(10);
    assert_eq!(cluster.partition().leader, None);
    cluster
}

#[test]
fn kip_966_eligible_leader_replicas_remember_who_has_everything() {
    let mut cluster = last_replica_standing(|_, _| {}, Mutations::NONE);
    let partition = cluster.partition();
    assert_eq!((&partition.isr[..], &partition.elr[..]), (&[][..], &[B1, B3][..]));
    assert_eq!(partition.last_known_elr, [B1]);
    // The last leader comes back, its disk in doubt: it is struck off and does not lead.
    cluster.restart(B1, 1);
    let partition = cluster.partition();
    assert_eq!((partition.leader, &partition.elr[..]), (None, &[B3][..]));
    // Broker 3 comes back with a clean-shutdown file: it has every committed record.
    let clean = cluster.epoch(B3);
    assert_eq!(cluster.register(B3, 1, clean), ErrorCode::None);
    cluster.alive.push(B3);
    cluster.heartbeat(B3);
    let partition = cluster.partition();
    assert_eq!((partition.leader, &partition.isr[..]), (Some(B3), &[B3][..]));
    assert!(partition.elr.is_empty());
    assert_eq!(partition.recovery, RecoveryState::Recovered);
}

#[test]
fn kip_966_the_last_known_leader_is_the_way_out_when_every_disk_is_in_doubt() {
    let mut cluster = last_replica_standing(|_, _| {}, Mutations::NONE);
    cluster.restart(B3, 1);
    assert_eq!(cluster.partition().leader, None);
    cluster.restart(B1, 1);
    let partition = cluster.partition();
    assert_eq!((partition.leader, &partition.isr[..]), (Some(B1), &[B1][..]));
    assert_eq!(partition.recovery, RecoveryState::Recovering);
    assert!(
        cluster
            .notes
            .iter()
            .any(|note| matches!(note, Note::PartitionChanged { unclean: true, .. }))
    );
}

#[test]
fn kip_966_without_eligible_leader_replicas_the_last_one_standing_leads_again() {
    let mut off =
        last_replica_standing(|config, _| config.eligible_leader_replicas = false, Mutations::NONE);
    let mut planted = last_replica_standing(|_, _| {}, Mutations::only(Mutation::CtrlNoElr));
    for (cluster, hits) in [(&mut off, 0), (&mut planted, 1)] {
        assert_eq!(cluster.partition().isr, [B1], "the last in-sync replica is never removed");
        cluster.restart(B1, 1);
        let partition = cluster.partition();
        assert_eq!(partition.leader, Some(B1), "whatever its disk lost");
        assert_eq!(partition.recovery, RecoveryState::Recovered, "and nobody calls it unclean");
        assert_eq!(cluster.hits(), hits);
    }
}

#[test]
fn eligible_replicas_are_forgotten_once_the_isr_is_large_enough() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.alter(cluster.new_isr(&[B1])).error, ErrorCode::None);
    assert_eq!(cluster.partition().elr, [B2, B3]);
    assert_eq!(cluster.alter(cluster.new_isr(&[B1, B2])).error, ErrorCode::None);
    assert!(cluster.partition().elr.is_empty());
}

#[test]
fn an_unclean_election_happens_only_where_the_topic_allows_it() {
    for (allowed, leader) in [(false, None), (true, Some(B2))] {
        let config: fn(&mut BrokerConfig, &mut TopicConfig) = if allowed {
            |_, topic| (topic.unclean_leader_election, topic.min_insync_replicas) = (true, 1)
        } else {
            |_, topic| topic.min_insync_replicas = 1
        };
        let mut cluster = Cluster::with(config, Mutations::NONE);
        assert_eq!(cluster.alter(cluster.new_isr(&[B1])).error, ErrorCode::None);
        assert!(cluster.partition().elr.is_empty(), "one in-sync replica is enough here");
        cluster.crash(B1);
        cluster.pass(10);
        let partition = cluster.partition();
        assert_eq!(partition.leader, leader);
        if allowed {
            assert_eq!(
                (&partition.isr[..], partition.recovery),
                (&[B2][..], RecoveryState::Recovering)
            );
            let mut both = cluster.new_isr(&[B2, B3]);
            both.recovery = RecoveryState::Recovering;
            assert_eq!(cluster.alter(both).error, ErrorCode::InvalidRequest, "first recover");
            assert_eq!(cluster.alter(cluster.new_isr(&[B2, B3])).error, ErrorCode::None);
        }
    }
}

#[test]
fn controlled_shutdown_moves_leaders_before_the_process_ends() {
    let mut cluster = Cluster::new();
    let epoch = cluster.epoch(B1);
    let asked = cluster.heartbeat_with(B1, epoch, 1_000_000, true);
    assert_eq!((asked.should_shutdown, asked.fenced), (false, false));
    let partition = cluster.partition();
    assert_eq!((partition.leader, &partition.isr[..]), (Some(B2), &[B2, B3][..]));
    let back = cluster.new_isr(&BROKERS);
    assert_eq!(cluster.alter(back).error, ErrorCode::IneligibleReplica, "KIP-841: it is leaving");
    // The others have not applied the move yet: it must go on serving.
    for broker in [B2, B3] {
        cluster.heartbeat_with(broker, cluster.epoch(broker), 1, false);
    }
    assert!(!cluster.heartbeat_with(B1, epoch, 1_000_000, true).should_shutdown);
    for broker in [B2, B3] {
        cluster.heartbeat(broker);
    }
    let done = cluster.heartbeat_with(B1, epoch, 1_000_000, true);
    assert_eq!((done.should_shutdown, done.fenced), (true, true));
    // It comes back at once, and cleanly.
    assert_eq!(cluster.register(B1, 1, epoch), ErrorCode::None);
    assert!(matches!(
        cluster.notes.iter().rev().find(|note| matches!(note, Note::BrokerRegistered { .. })),
        Some(Note::BrokerRegistered { broker: B1, clean: true, .. })
    ));
}

#[test]
fn alter_partition_refuses_in_kafkas_order() {
    type Spoil = fn(&mut AlterPartitionRequest);
    // Each row spoils one more thing; the earlier check must win over everything below it.
    let rows: [(Spoil, ErrorCode); 8] = [
        (|r| r.new_isr[1].1 = BrokerEpoch(99), ErrorCode::IneligibleReplica),
        (|r| r.recovery = RecoveryState::Recovering, ErrorCode::InvalidRequest),
        (|r| r.new_isr.retain(|(replica, _)| *replica != r.broker), ErrorCode::InvalidRequest),
        (|r| r.partition_epoch = PartitionEpoch(0), ErrorCode::InvalidUpdateVersion),
        (|r| (r.broker, r.broker_epoch) = (B2, BrokerEpoch(1)), ErrorCode::InvalidRequest),
        (|r| r.leader_epoch = LeaderEpoch(0), ErrorCode::FencedLeaderEpoch),
        (|r| r.partition_epoch = PartitionEpoch(77), ErrorCode::NotController),
        (|r| r.broker_epoch = BrokerEpoch(-1), ErrorCode::StaleBrokerEpoch),
    ];
    let mut cluster = Cluster::new();
    let elect = |preferred| {
        Request::ElectLeaders(ElectLeadersRequest { partition: TP, preferred, unclean: false })
    };
    for preferred in [Some(B2), Some(B1)] {
        cluster.ask(ActorId(9), elect(preferred));
    }
    let mut request = cluster.new_isr(&BROKERS);
    for (row, (spoil, error)) in rows.into_iter().enumerate() {
        spoil(&mut request);
        let before = cluster.partition().clone();
        assert_eq!(cluster.alter(request.clone()).error, error, "row {row}");
        assert_eq!(*cluster.partition(), before, "row {row} changed something");
    }
    let mut ahead = cluster.new_isr(&BROKERS);
    ahead.leader_epoch = LeaderEpoch(50);
    assert_eq!(cluster.alter(ahead).error, ErrorCode::NotController);
    let mut twice = cluster.new_isr(&[B1, B2]);
    twice.new_isr.push(twice.new_isr[1]);
    assert_eq!(cluster.alter(twice).error, ErrorCode::InvalidRequest);
    let mut unknown = cluster.new_isr(&BROKERS);
    unknown.partition = TopicPartition::new(TopicId(7), 0);
    assert_eq!(cluster.alter(unknown).error, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn an_operator_moves_leadership_within_the_isr_or_by_force() {
    let rows = [
        (None, false, Ok((B2, 2))),
        (Some(B2), false, Ok((B2, 2))),
        (Some(B1), false, Ok((B1, 2))),
        (Some(B3), false, Err(ErrorCode::EligibleLeadersNotAvailable)),
        (Some(B3), true, Ok((B3, 1))),
        (None, true, Ok((B3, 1))),
    ];
    for (preferred, unclean, expected) in rows {
        let mut cluster = Cluster::new();
        assert_eq!(cluster.alter(cluster.new_isr(&[B1, B2])).error, ErrorCode::None);
        let request = ElectLeadersRequest { partition: TP, preferred, unclean };
        let Some(Response::ElectLeaders(error)) =
            cluster.ask(ActorId(9), Request::ElectLeaders(request))
        else {
            panic!("ElectLeaders is answered at once");
        };
        let partition = cluster.partition();
        match expected {
            Ok((leader, isr)) => {
                assert_eq!((error, partition.leader), (ErrorCode::None, Some(leader)));
                assert_eq!(partition.isr.len(), isr);
                let moved = i32::from(leader != B1);
                assert_eq!(partition.leader_epoch, LeaderEpoch(moved));
            }
            Err(refused) => assert_eq!((error, partition.leader), (refused, Some(B1))),
        }
    }
}

#[test]
fn brokers_read_the_metadata_log_and_wait_for_more() {
    let mut cluster = Cluster::new();
    let fetch = |from| Request::FetchMetadata(FetchMetadataRequest { broker: B2, from });
    let Some(Response::FetchMetadata(all)) = cluster.ask(B2, fetch(0)) else {
        panic!("records exist: the answer does not wait");
    };
    let end = all.from + all.records.len() as u64;
    assert!(cluster.ask(B2, fetch(end)).is_none(), "nothing new: it waits");
    cluster.replies.clear();
    let request = cluster.new_isr(&[B1, B2]);
    cluster.alter(request);
    let Some((_, Response::FetchMetadata(news))) = cluster.replies.iter().find(|(to, _)| *to == B2)
    else {
        panic!("a change of the log answers who waits");
    };
    assert_eq!((news.from, news.records.len()), (end, 1));
    // A closed connection waits no longer.
    assert!(cluster.ask(B2, fetch(end + 1)).is_none());
    cluster.step(Input::ConnectionClosed { peer: B2, connection: ConnectionId(2) });
    let request = cluster.new_isr(&BROKERS);
    cluster.alter(request);
    assert!(cluster.replies.iter().all(|(to, _)| *to != B2));
}

#[test]
fn blocks_of_producer_ids_never_overlap_not_even_after_a_failover() {
    let mut cluster = Cluster::new();
    let mut firsts = Vec::new();
    for broker in BROKERS {
        let broker_epoch = cluster.epoch(broker);
        let request = AllocateProducerIdsRequest { broker, broker_epoch };
        let Some(Response::AllocateProducerIds(block)) =
            cluster.ask(broker, Request::AllocateProducerIds(request))
        else {
            panic!("a block is given at once");
        };
        assert_eq!((block.error, block.count), (ErrorCode::None, 1000));
        firsts.push(block.first);
        cluster.fail_over();
    }
    assert_eq!(firsts, [ProducerId(0), ProducerId(1000), ProducerId(2000)]);
}
