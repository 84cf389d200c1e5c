//! A small world for narrated tests: real brokers, the real controller, one scripted client.
//!
//! Messages take 1 ms, or up to 8 ms by a seed; a link that is cut breaks its connections at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use oncesim_types::{
    ActorId, BrokerEpoch, ConnectionId, CorrelationId, Duration, ErrorCode, Instant, LeaderEpoch,
    Offset, ProducerEpoch, ProducerId, RecordId, Sequence, TopicId, TopicPartition,
};

use crate::broker::{Broker, BrokerDisk, Crash};
use crate::config::{BrokerConfig, TopicConfig};
use crate::controller::{Controller, ControllerDisk};
use crate::log::batch::{Record, RecordBatch, Records};
use crate::machine::{Effect, Effects, Input, Machine, TimerKey};
use crate::message::{
    Acks, AddPartitionsToTxnRequest, ElectLeadersRequest, FetchPartition, FetchRequest,
    IsolationLevel, ProduceRequest, Request, Response,
};
use crate::mutation::Mutations;
use crate::note::Note;

pub(super) const CONTROLLER: ActorId = ActorId(0);
pub(super) const B1: ActorId = ActorId(1);
pub(super) const B2: ActorId = ActorId(2);
pub(super) const B3: ActorId = ActorId(3);
pub(super) const CLIENT: ActorId = ActorId(9);
/// The partition of the stories; its preferred leader is B1.
pub(super) const P: TopicPartition = TopicPartition::new(TopicId(0), 0);

#[derive(Debug)]
enum Event {
    Input(Input),
    /// Of the incarnation that set it, and the setting.
    Timer(TimerKey, u64),
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    client: ActorId,
    server: ActorId,
    id: ConnectionId,
}

/// A leader's question to a coordinator.
#[derive(Debug)]
pub(super) struct Verification {
    pub(super) leader: ActorId,
    pub(super) coordinator: ActorId,
    correlation: CorrelationId,
    pub(super) request: AddPartitionsToTxnRequest,
}

pub(super) struct Cluster {
    pub(super) now: Instant,
    sequence: u64,
    events: BTreeMap<(Instant, u64), (ActorId, u32, Event)>,
    controller: Controller,
    brokers: BTreeMap<ActorId, Broker>,
    disks: BTreeMap<ActorId, BrokerDisk>,
    incarnations: BTreeMap<ActorId, u32>,
    connections: Vec<Connection>,
    next_connection: u32,
    cut: BTreeSet<(ActorId, ActorId)>,
    /// AlterPartition requests that are under way for long, if they are.
    delayed: Option<Vec<(ActorId, CorrelationId, Request)>>,
    /// Questions of leaders to a coordinator whose part the test plays, if it does.
    verifications: Option<VecDeque<Verification>>,
    /// The setting of each timer that counts.
    timers: BTreeMap<(ActorId, TimerKey), u64>,
    /// When the last message of a connection and direction arrives.
    order: BTreeMap<(ConnectionId, bool), Instant>,
    pub(super) responses: BTreeMap<CorrelationId, Response>,
    pub(super) lost: BTreeSet<CorrelationId>,
    in_flight: BTreeMap<CorrelationId, ActorId>,
    next_correlation: u32,
    pub(super) hits: usize,
    pub(super) notes: Vec<(ActorId, Note)>,
    pub(super) messages: u64,
    config: Rc<BrokerConfig>,
    topics: Rc<[TopicConfig]>,
    mutations: Mutations,
    random: Option<u64>,
    next_record: u64,
}

pub(super) fn topic(replication_factor: u8, min_insync_replicas: u8) -> TopicConfig {
    TopicConfig {
        topic: TopicId(0),
        partitions: 1,
        replication_factor,
        min_insync_replicas,
        unclean_leader_election: false,
        flush_messages: None,
        internal: None,
    }
}

impl Cluster {
    pub(super) fn new(replicas: u8, topic: TopicConfig, mutations: Mutations) -> Cluster {
        Cluster::with(replicas, vec![topic], mutations, BrokerConfig::default(), None)
    }

    pub(super) fn with(
        replicas: u8,
        topics: Vec<TopicConfig>,
        mutations: Mutations,
        config: BrokerConfig,
        random: Option<u64>,
    ) -> Cluster {
        let ids: Vec<ActorId> = (1..=u16::from(replicas)).map(ActorId).collect();
        let (config, topics): (_, Rc<[TopicConfig]>) = (Rc::new(config), topics.into());
        let controller = Controller::new(
            CONTROLLER,
            &ids,
            Rc::clone(&config),
            Rc::clone(&topics),
            mutations,
            ControllerDisk::default(),
        );
        let mut cluster = Cluster {
            now: Instant::ZERO,
            sequence: 0,
            events: BTreeMap::new(),
            controller,
            brokers: BTreeMap::new(),
            disks: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            connections: Vec::new(),
            next_connection: 0,
            cut: BTreeSet::new(),
            delayed: None,
            verifications: None,
            timers: BTreeMap::new(),
            order: BTreeMap::new(),
            responses: BTreeMap::new(),
            lost: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            next_correlation: 0,
            hits: 0,
            notes: Vec::new(),
            messages: 0,
            config,
            topics,
            mutations,
            random,
            next_record: 0,
        };
        cluster.push(Duration::ZERO, CONTROLLER, Event::Input(Input::Start));
        for id in ids {
            cluster.start(id);
        }
        cluster.settle();
        cluster
    }

    /// A draw below `n`; the middle without a seed.
    pub(super) fn draw(&mut self, n: u64) -> u64 {
        let Some(state) = &mut self.random else { return 0 };
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % n
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(1_000 + 1_000 * self.draw(8))
    }

    fn push(&mut self, after: Duration, actor: ActorId, event: Event) {
        self.push_at(self.now + after, actor, event);
    }

    fn push_at(&mut self, at: Instant, actor: ActorId, event: Event) {
        self.sequence += 1;
        let incarnation = self.incarnations.get(&actor).copied().unwrap_or(0);
        self.events.insert((at, self.sequence), (actor, incarnation, event));
    }

    pub(super) fn broker(&self, id: ActorId) -> &Broker {
        &self.brokers[&id]
    }

    pub(super) fn broker_mut(&mut self, id: ActorId) -> &mut Broker {
        self.brokers.get_mut(&id).expect("runs")
    }

    pub(super) fn is_up(&self, id: ActorId) -> bool {
        self.brokers.contains_key(&id)
    }

    pub(super) fn isr(&self) -> Vec<ActorId> {
        let mut isr = self.controller.partition(P).expect("exists").isr.clone();
        isr.sort();
        isr
    }

    pub(super) fn broker_epoch(&self, id: ActorId) -> BrokerEpoch {
        self.controller.broker(id).expect("registered").0
    }

    pub(super) fn leader(&self) -> Option<ActorId> {
        self.controller.leader(P)
    }

    pub(super) fn leader_of(&self, partition: TopicPartition) -> Option<ActorId> {
        self.controller.leader(partition)
    }

    pub(super) fn start(&mut self, id: ActorId) {
        let disk = self.disks.remove(&id).unwrap_or_default();
        let incarnation = self.incarnations.entry(id).and_modify(|n| *n += 1).or_insert(0);
        let broker = Broker::new(
            id,
            *incarnation,
            CONTROLLER,
            Rc::clone(&self.config),
            Rc::clone(&self.topics),
            self.mutations,
            disk,
        );
        self.brokers.insert(id, broker);
        self.push(Duration::ZERO, id, Event::Input(Input::Start));
    }

    pub(super) fn crash(&mut self, id: ActorId, crash: Crash<'_>) {
        let disk = self.brokers.remove(&id).expect("runs").crash(crash);
        self.disks.insert(id, disk);
        self.break_connections(|c| c.client == id || c.server == id);
    }

    pub(super) fn cut(&mut self, a: ActorId, b: ActorId) {
        self.cut.insert((a.min(b), a.max(b)));
        self.break_connections(|c| {
            (c.client == a && c.server == b) || (c.client == b && c.server == a)
        });
    }

    /// From now on AlterPartition requests do not arrive.
    pub(super) fn delay_alter_partition(&mut self) {
        self.delayed = Some(Vec::new());
    }

    /// The delayed requests arrive after all. Returns how many.
    pub(super) fn release_alter_partition(&mut self) -> usize {
        let delayed = self.delayed.take().expect("delayed before");
        let count = delayed.len();
        for (from, correlation, body) in delayed {
            self.send(from, CONTROLLER, correlation, body);
        }
        count
    }

    /// From now on the test plays the transaction coordinator for leaders.
    pub(super) fn play_coordinator(&mut self) {
        self.verifications = Some(VecDeque::new());
    }

    /// The next question of a leader to the coordinator, within a second.
    pub(super) fn question(&mut self) -> Option<Verification> {
        let end = self.now + Duration::from_secs(1);
        loop {
            let questions = self.verifications.as_mut().expect("the test plays the coordinator");
            if let Some(question) = questions.pop_front() {
                return Some(question);
            }
            if self.now >= end {
                return None;
            }
            self.run_ms(1);
        }
    }

    /// Answers a leader's question, for all its partitions alike.
    pub(super) fn answer_question(&mut self, question: &Verification, error: ErrorCode) {
        let partitions = question.request.partitions.iter();
        let body = Response::AddPartitionsToTxn(partitions.map(|p| (*p, error)).collect());
        let (from, correlation) = (question.coordinator, question.correlation);
        let answer = Event::Input(Input::Response { from, correlation, body });
        self.push(Duration::from_millis(1), question.leader, answer);
        self.run_ms(1);
    }

    pub(super) fn mend(&mut self, a: ActorId, b: ActorId) {
        self.cut.remove(&(a.min(b), a.max(b)));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    fn break_connections(&mut self, which: impl Fn(&Connection) -> bool) {
        let broken: Vec<Connection> = self.connections.iter().copied().filter(which).collect();
        for connection in broken {
            self.break_connection(connection);
        }
    }

    fn break_connection(&mut self, connection: Connection) {
        self.connections.retain(|c| c.id != connection.id);
        let Connection { client, server, id } = connection;
        if client == CLIENT {
            self.in_flight.retain(|correlation, to| {
                if *to == server {
                    self.lost.insert(*correlation);
                }
                *to != server
            });
        } else {
            self.push(Duration::ZERO, client, Event::Input(Input::Disconnected { peer: server }));
        }
        let closed = Input::ConnectionClosed { peer: client, connection: id };
        self.push(Duration::ZERO, server, Event::Input(closed));
    }

    fn connection(&mut self, client: ActorId, server: ActorId) -> Option<Connection> {
        let is_cut = self.cut.contains(&(client.min(server), client.max(server)));
        if is_cut || (server != CONTROLLER && !self.is_up(server)) {
            return None;
        }
        let known = self.connections.iter().find(|c| c.client == client && c.server == server);
        if let Some(known) = known {
            return Some(*known);
        }
        self.next_connection += 1;
        let connection = Connection { client, server, id: ConnectionId(self.next_connection) };
        self.connections.push(connection);
        Some(connection)
    }

    fn arrival(&mut self, connection: ConnectionId, to_server: bool) -> Instant {
        let at = self.now + self.latency();
        let last = self.order.entry((connection, to_server)).or_insert(at);
        *last = at.max(*last);
        *last
    }

    fn send(&mut self, from: ActorId, to: ActorId, correlation: CorrelationId, body: Request) {
        let Some(connection) = self.connection(from, to) else {
            let lost = Event::Input(Input::Disconnected { peer: to });
            if from == CLIENT {
                self.lost.insert(correlation);
            } else {
                self.push(Duration::from_millis(1), from, lost);
            }
            return;
        };
        if let Some(delayed) = &mut self.delayed
            && matches!(body, Request::AlterPartition(_))
        {
            delayed.push((from, correlation, body));
            return;
        }
        let body = match (&mut self.verifications, body) {
            (Some(questions), Request::AddPartitionsToTxn(request)) => {
                let (leader, coordinator, request) = (from, to, *request);
                questions.push_back(Verification { leader, coordinator, correlation, request });
                return;
            }
            (_, body) => body,
        };
        self.messages += 1;
        if from == CLIENT {
            self.in_flight.insert(correlation, to);
        }
        let at = self.arrival(connection.id, true);
        let input = Input::Request { from, connection: connection.id, correlation, body };
        self.push_at(at, to, Event::Input(input));
    }

    fn perform(&mut self, actor: ActorId, effects: &mut Effects) {
        for effect in effects.0.drain(..) {
            match effect {
                Effect::Send { to, correlation, body, .. } => {
                    self.send(actor, to, correlation, body);
                }
                Effect::Reply { to, connection, correlation, body } => {
                    self.messages += 1;
                    let at = self.arrival(connection, false);
                    let input = Input::Response { from: actor, correlation, body };
                    if self.connections.iter().any(|c| c.id == connection) {
                        self.push_at(at, to, Event::Input(input));
                    }
                }
                Effect::Disconnect { peer } => {
                    self.break_connections(|c| c.client == actor && c.server == peer);
                }
                Effect::CloseConnection { connection, .. } => {
                    self.break_connections(|c| c.id == connection);
                }
                Effect::SetTimer { key, after } => {
                    self.sequence += 1;
                    let setting = self.sequence;
                    self.timers.insert((actor, key), setting);
                    self.push(after, actor, Event::Timer(key, setting));
                }
                Effect::CancelTimer(key) => {
                    self.timers.remove(&(actor, key));
                }
                Effect::Persist(write) => {
                    self.push(Duration::from_millis(2), actor, Event::Input(Input::Durable(write)));
                }
                Effect::Note(Note::MutationHit) => self.hits += 1,
                Effect::Note(note) => self.notes.push((actor, note)),
                Effect::Halt(_) | Effect::Return(..) | Effect::Callback(_) => {}
            }
        }
    }

    fn step(&mut self) -> bool {
        let Some(((at, _), (actor, incarnation, event))) = self.events.pop_first() else {
            return false;
        };
        self.now = self.now.max(at);
        if self.incarnations.get(&actor).copied().unwrap_or(0) != incarnation {
            return true;
        }
        let input = match event {
            Event::Input(input) => input,
            Event::Timer(key, setting) => {
                if self.timers.get(&(actor, key)) != Some(&setting) {
                    return true;
                }
                self.timers.remove(&(actor, key));
                Input::Timer(key)
            }
        };
        if let Input::Response { from, correlation, body } = input {
            // A response counts only while its connection is open.
            let open = self.connections.iter().any(|c| c.client == actor && c.server == from);
            if !open {
                return true;
            }
            if actor == CLIENT {
                self.in_flight.remove(&correlation);
                self.responses.insert(correlation, body);
                return true;
            }
            self.give(actor, Input::Response { from, correlation, body });
            return true;
        }
        self.give(actor, input);
        true
    }

    fn give(&mut self, actor: ActorId, input: Input) {
        let mut effects = Effects::default();
        if actor == CONTROLLER {
            self.controller.step(self.now, input, &mut effects);
        } else if let Some(broker) = self.brokers.get_mut(&actor) {
            broker.step(self.now, input, &mut effects);
        }
        self.perform(actor, &mut effects);
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.events.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run_for(Duration::from_millis(ms));
    }

    /// Runs until controller and brokers have nothing left to do; at most five minutes.
    pub(super) fn settle(&mut self) {
        let deadline = self.now + Duration::from_secs(300);
        while let Err(pending) = self.settled() {
            let told = self.brokers.values().find_map(|broker| broker.settled().err());
            assert!(self.now < deadline, "not settled: {pending}; {}", told.unwrap_or_default());
            for _ in 0..16 {
                self.step();
            }
        }
    }

    fn settled(&self) -> Result<(), String> {
        self.controller.settled()?;
        self.brokers.values().try_for_each(Broker::settled)
    }

    /// Sends a request as the client.
    pub(super) fn ask(&mut self, to: ActorId, body: Request) -> CorrelationId {
        self.next_correlation += 1;
        let correlation = CorrelationId(self.next_correlation);
        self.send(CLIENT, to, correlation, body);
        correlation
    }

    /// Sends a request and waits for the answer, at most 40 s.
    pub(super) fn call(&mut self, to: ActorId, body: Request) -> Option<Response> {
        let correlation = self.ask(to, body);
        let deadline = self.now + Duration::from_secs(40);
        while self.now < deadline && !self.lost.contains(&correlation) {
            if let Some(response) = self.responses.remove(&correlation) {
                return Some(response);
            }
            self.step();
        }
        None
    }

    /// The id of the record that the next batch has.
    pub(super) fn next_record_id(&self) -> RecordId {
        RecordId::new(CLIENT, self.next_record + 1)
    }

    pub(super) fn batch(&mut self, producer: Option<(i64, i16, i32)>) -> Rc<RecordBatch> {
        self.next_record += 1;
        let (producer_id, epoch, sequence) = producer.unwrap_or((-1, -1, -1));
        Rc::new(RecordBatch {
            producer_id: ProducerId(producer_id),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
            transactional: false,
            records: Records::Data(vec![Record {
                id: RecordId::new(CLIENT, self.next_record),
                key: None,
                value: Some(0),
                size: 100,
                timestamp: self.now,
            }]),
        })
    }

    pub(super) fn produce_request(acks: Acks, batch: &Rc<RecordBatch>) -> Request {
        Request::Produce(ProduceRequest {
            acks,
            timeout: Duration::from_secs(30),
            transaction: None,
            batches: vec![(P, Rc::clone(batch))],
        })
    }

    /// Produces a batch; `None` without an answer.
    pub(super) fn produce(
        &mut self,
        to: ActorId,
        acks: Acks,
        batch: &Rc<RecordBatch>,
    ) -> Option<(ErrorCode, Offset)> {
        match self.call(to, Self::produce_request(acks, batch))? {
            Response::Produce(answers) => Some((answers[0].error, answers[0].base_offset)),
            other => panic!("not an answer to a produce: {other:?}"),
        }
    }

    pub(super) fn elect(&mut self, preferred: ActorId) {
        let preferred = Some(preferred);
        let request = ElectLeadersRequest { partition: P, preferred, unclean: false };
        let Some(Response::ElectLeaders(error)) =
            self.call(CONTROLLER, Request::ElectLeaders(request))
        else {
            panic!("the controller answers");
        };
        assert_eq!(error, ErrorCode::None);
    }

    pub(super) fn fetch_request(from: i64, epoch: LeaderEpoch) -> Request {
        Request::Fetch(Box::new(FetchRequest {
            replica: None,
            isolation: IsolationLevel::ReadUncommitted,
            full: true,
            partitions: vec![FetchPartition {
                partition: P,
                current_leader_epoch: epoch,
                fetch_offset: Offset(from),
                last_fetched_epoch: LeaderEpoch::NONE,
            }],
            forgotten: Vec::new(),
            max_wait: Duration::from_millis(500),
            max_bytes: 1 << 20,
        }))
    }

    /// Fetches as a consumer: the error and the offsets of the batches.
    pub(super) fn fetch(
        &mut self,
        to: ActorId,
        from: i64,
        epoch: LeaderEpoch,
    ) -> Option<(ErrorCode, Vec<i64>)> {
        let Some(Response::Fetch(response)) = self.call(to, Self::fetch_request(from, epoch))
        else {
            return None;
        };
        let Some(fetched) = response.partitions.first() else {
            return Some((ErrorCode::None, Vec::new()));
        };
        let offsets = fetched.batches.iter().map(|batch| batch.base_offset.0).collect();
        Some((fetched.error, offsets))
    }

    /// The records of a broker's log.
    pub(super) fn records(&self, id: ActorId) -> Vec<RecordId> {
        let batches = self.brokers[&id].batches(P).iter();
        batches.flat_map(|batch| batch.batch.data().iter().map(|record| record.id)).collect()
    }

    /// Whether the logs of all running brokers are equal.
    pub(super) fn logs_agree(&self) -> bool {
        let mut logs = self.brokers.values().map(|broker| broker.batches(P));
        let first = logs.next().expect("somebody runs");
        logs.all(|log| log.len() == first.len() && log.iter().zip(first).all(|(a, b)| a.same_as(b)))
    }
}

pub(super) fn id_of(batch: &RecordBatch) -> RecordId {
    batch.data()[0].id
}
