//! Which faults may strike whom: their kinds, and the classes of how long, how far and how much.
//!
//! A duration is short, or a second beyond a timeout that notices it; of what is a continuum there
//! are a few values that differ in what they can bring about.

use oncesim_kafka::message::ApiKey;
use oncesim_spec::{
    Coordinated, DiskFault, FaultAction, FaultKind, MessageApi, Scenario, SystemSpecKind,
    SystemTrouble,
};
use oncesim_types::{Duration, Operation};

use crate::cast::{Member, Part, cast, is_instance};
use crate::sighting::{Moment, Sighting};

/// A fault that nobody's timeout notices.
const SHORT: Duration = Duration::from_millis(100);
/// By how much longer than a timeout a fault lasts that is to be noticed.
const BEYOND: Duration = Duration::from_secs(1);
/// Trouble of a disk or a system lasts so long: some retries fail, and then one succeeds.
const TROUBLE: Duration = Duration::from_secs(10);
/// A request arrives again behind its original, and when its sender has long gone on.
const AGAIN: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(5)];
/// A clock runs 5 % fast or slow: no quartz is worse, and random search draws up to that.
const SKEWS_PPM: [i64; 2] = [50_000, -50_000];

/// What a proxy may repeat: writes of clients, as in random search.
const REPEATABLE: [ApiKey; 7] = [
    ApiKey::Produce,
    ApiKey::EndTxn,
    ApiKey::InitProducerId,
    ApiKey::AddPartitionsToTxn,
    ApiKey::TxnOffsetCommit,
    ApiKey::AddOffsetsToTxn,
    ApiKey::OffsetCommit,
];

/// One actor, as far as faults go.
struct Place {
    /// Its actor's: what is between two is named in this order.
    index: usize,
    name: String,
    class: Option<&'static str>,
    /// How long somebody waits for it, or it for others, before that is noticed.
    timeouts: Vec<Duration>,
    /// Its application's, before its group gives it up.
    poll: Option<Duration>,
    system: Option<&'static [SystemTrouble]>,
}

impl Place {
    fn new(scenario: &Scenario, index: usize, member: &Member<'_>) -> Self {
        Place {
            index,
            name: member.name.clone(),
            class: member.part.class(),
            timeouts: timeouts(scenario, member.part),
            poll: match member.part {
                Part::Consumer(spec) => Some(spec.config.max_poll_interval),
                Part::Processor(spec, _) => Some(spec.consumer.max_poll_interval),
                _ => None,
            },
            system: match member.part {
                Part::System(spec) => Some(troubles(&spec.kind)),
                _ => None,
            },
        }
    }

    /// How long a fault of it lasts: short, and beyond each of its timeouts.
    fn spans(&self) -> Vec<Duration> {
        let mut spans = vec![SHORT];
        spans.extend(self.timeouts.iter().map(|timeout| *timeout + BEYOND));
        spans.dedup();
        spans
    }

    /// How long it is cut off.
    fn longest(&self) -> Duration {
        self.spans().into_iter().max().expect("there is a short one")
    }

    fn is_broker(&self) -> bool {
        self.class == Some("brokers")
    }

    /// Whether the cluster is another one after a step of it: it is a broker, or the controller.
    fn is_of_cluster(&self) -> bool {
        self.is_broker() || self.class.is_none()
    }
}

/// Who takes part, and which faults are placed.
pub(super) struct Repertoire {
    places: Vec<Place>,
    kinds: Vec<FaultKind>,
    partitions: Vec<String>,
    coordinated: Vec<Coordinated>,
    targets: Vec<String>,
    broker_timeout: Duration,
    /// Longer than anybody in this world waits: what a clock has to jump to skip every timeout. (When
    /// ids expire is no timeout; nobody waits for that.)
    beyond_all: Duration,
}

impl Repertoire {
    pub(super) fn new(scenario: &Scenario, kinds: &[FaultKind]) -> Self {
        let cast = cast(scenario, &[]);
        let members = cast.iter().enumerate();
        let places = members.map(|(index, member)| Place::new(scenario, index, member));
        let places: Vec<Place> = places.collect();
        let of_places = places.iter().flat_map(|place| place.timeouts.iter().chain(&place.poll));
        let deliveries = cast.iter().filter_map(|member| delivery_timeout(member.part));
        let lag = scenario.broker_config.replica_lag_time_max;
        let longest = of_places.copied().chain(deliveries).fold(lag, Duration::max);
        let topics = scenario.topics.iter().filter(|topic| !topic.config.is_internal());
        let groups = scenario.groups.iter().cloned().map(Coordinated::Group);
        let ids = scenario.transactional_ids.iter().cloned().map(Coordinated::Transaction);
        Repertoire {
            places,
            kinds: kinds.to_vec(),
            partitions: topics
                .flat_map(|it| (0..it.config.partitions).map(|p| format!("{}-{p}", it.name)))
                .collect(),
            coordinated: groups.chain(ids).collect(),
            targets: scenario.swarm.as_ref().map_or_else(Vec::new, |swarm| swarm.targets.clone()),
            broker_timeout: scenario.broker_config.broker_session_timeout,
            beyond_all: longest + BEYOND,
        }
    }

    fn places(&self, kind: FaultKind) -> bool {
        self.kinds.contains(&kind)
    }

    fn allowed(&self, place: &Place) -> bool {
        self.targets.is_empty()
            || self.targets.iter().any(|target| {
                place.class == Some(target.as_str()) || is_instance(&place.name, target)
            })
    }

    /// Every fault that may strike where a message between two processes is seen, in a fixed order,
    /// and whether it strikes that message itself.
    pub(super) fn at_message(
        &self,
        sighting: &Sighting,
        ends: [usize; 2],
    ) -> Vec<(FaultAction, bool)> {
        let mut faults = Vec::new();
        let [from, to] = ends.map(|process| &self.places[process]);
        let client = if sighting.response { to } else { from };
        let concerned = self.allowed(from) || self.allowed(to);
        if sighting.moment == Moment::Sent && concerned {
            let message = self.faults_of_message(sighting, client);
            faults.extend(message.into_iter().map(|action| (action, true)));
        }
        let mut actions = Vec::new();
        if from.index == to.index {
            // A broker asks itself: there is no link.
            if concerned {
                self.faults_of_process(from, None, &mut actions);
            }
        } else {
            for (place, peer) in [(from, to), (to, from)] {
                if self.allowed(place) {
                    self.faults_of_process(place, Some(peer), &mut actions);
                }
            }
            if concerned {
                self.faults_of_link(in_order(from, to), client, &mut actions);
            }
        }
        if from.is_broker() || to.is_broker() {
            self.faults_of_cluster(&mut actions);
        }
        faults.extend(actions.into_iter().map(|action| (action, false)));
        faults
    }

    /// Every fault that may strike after steps of these processes that send nothing and receive
    /// nothing, in a fixed order. What lies between two processes is placed at their messages: before
    /// the next of them it strikes nothing.
    pub(super) fn after_steps_of(&self, processes: &[usize]) -> Vec<FaultAction> {
        let mut actions = Vec::new();
        let places = || processes.iter().map(|process| &self.places[*process]);
        for place in places().filter(|place| self.allowed(place)) {
            self.faults_of_process(place, None, &mut actions);
        }
        if places().any(Place::is_of_cluster) {
            self.faults_of_cluster(&mut actions);
        }
        actions
    }

    fn faults_of_message(&self, sighting: &Sighting, client: &Place) -> Vec<FaultAction> {
        let mut faults = Vec::new();
        let loss = if sighting.response { FaultKind::AckLoss } else { FaultKind::RequestLoss };
        if self.places(loss) {
            faults.push(FaultAction::Drop);
        }
        if self.places(FaultKind::Delay) {
            faults.extend([SHORT, self.beyond_patience(client)].map(FaultAction::Delay));
        }
        let repeatable = match sighting.api {
            MessageApi::Kafka(api) => REPEATABLE.contains(&api),
            MessageApi::System(operation) => {
                matches!(operation, Operation::Perform | Operation::Prepare | Operation::Finish)
            }
        };
        let from_client = client.class.is_some_and(|class| class != "brokers");
        if self.places(FaultKind::Duplicate) && !sighting.response && repeatable && from_client {
            faults.extend(AGAIN.map(FaultAction::Duplicate));
        }
        faults
    }

    /// Later than a client waits for an answer.
    fn beyond_patience(&self, client: &Place) -> Duration {
        client.timeouts.first().copied().unwrap_or(self.broker_timeout) + BEYOND
    }

    /// A link that is slow, for as long as either end may be cut off.
    fn faults_of_link(&self, ends: [&Place; 2], client: &Place, out: &mut Vec<FaultAction>) {
        if self.places(FaultKind::Clog) {
            let [from, to] = ends.map(|place| place.name.clone());
            let duration = ends[0].longest().max(ends[1].longest());
            for extra in [SHORT, self.beyond_patience(client)] {
                let (from, to) = (from.clone(), to.clone());
                out.push(FaultAction::Clog { from, to, extra, duration });
            }
        }
    }

    fn faults_of_process(&self, place: &Place, peer: Option<&Place>, out: &mut Vec<FaultAction>) {
        let Some(class) = place.class else {
            // The controller has a failover of its own.
            if self.places(FaultKind::ControllerFailover) {
                let failover = |duration| FaultAction::ControllerFailover { duration };
                out.extend(place.spans().into_iter().map(failover));
            }
            return self.faults_of_clock(place, out);
        };
        let server = class == "brokers" || class == "systems";
        self.stops(place, server, out);
        self.partitions(place, peer, out);
        self.faults_of_clock(place, out);
        let actor = || place.name.clone();
        if place.poll.is_some() && self.places(FaultKind::Rebalance) {
            out.push(FaultAction::Rebalance { actor: actor() });
        }
        for (kind, fault) in
            [(FaultKind::DiskFull, DiskFault::Full), (FaultKind::LostFlush, DiskFault::LostFlush)]
        {
            if place.is_broker() && self.places(kind) {
                out.push(FaultAction::Disk { actor: actor(), fault, duration: TROUBLE });
            }
        }
        for trouble in place.system.unwrap_or_default() {
            if self.places(kind_of(*trouble)) {
                let (actor, trouble) = (actor(), *trouble);
                out.push(FaultAction::System { actor, trouble, duration: TROUBLE });
            }
        }
    }

    /// A process is gone for a time, or stands still.
    fn stops(&self, place: &Place, server: bool, out: &mut Vec<FaultAction>) {
        let actor = || place.name.clone();
        for power in [false, true] {
            let kind = if power { FaultKind::PowerFailure } else { FaultKind::Crash };
            if self.places(kind) && (server || !power) {
                let down = |down| FaultAction::Crash { actor: actor(), power, down: Some(down) };
                out.extend(place.spans().into_iter().map(down));
            }
        }
        let pause = |application_only, duration| FaultAction::Pause {
            actor: actor(),
            application_only,
            duration,
        };
        if self.places(FaultKind::Pause) {
            out.extend(place.spans().into_iter().map(|span| pause(false, span)));
        }
        if let Some(poll) = place.poll.filter(|_| self.places(FaultKind::ApplicationPause)) {
            out.push(pause(true, poll + BEYOND));
        }
    }

    /// A process is cut off from everybody, and from the other end of a message.
    fn partitions(&self, place: &Place, peer: Option<&Place>, out: &mut Vec<FaultAction>) {
        for one_way in [false, true] {
            let kind = if one_way { FaultKind::OneWayPartition } else { FaultKind::Partition };
            if !self.places(kind) {
                continue;
            }
            let duration = place.longest();
            let cut = |from: &Place, to: Vec<String>| FaultAction::Partition {
                from: vec![from.name.clone()],
                to,
                one_way,
                duration,
            };
            out.push(cut(place, Vec::new()));
            let Some(peer) = peer else { continue };
            // Between two it is the same from either side, unless it is one-way.
            let [from, to] = if one_way { [place, peer] } else { in_order(place, peer) };
            let between = cut(from, vec![to.name.clone()]);
            if !out.contains(&between) {
                out.push(between);
            }
        }
    }

    /// A clock that jumps by little, or over every timeout of this world, ahead and back; and one
    /// that runs too fast or too slow for that long.
    fn faults_of_clock(&self, place: &Place, out: &mut Vec<FaultAction>) {
        let actor = || place.name.clone();
        if self.places(FaultKind::ClockJump) {
            for by in [SHORT, self.beyond_all] {
                let ahead = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
                for by_ns in [ahead, -ahead] {
                    out.push(FaultAction::ClockJump { actor: actor(), by_ns });
                }
            }
        }
        if self.places(FaultKind::ClockSkew) {
            for ppm in SKEWS_PPM {
                let duration = self.beyond_all;
                out.push(FaultAction::ClockSkew { actor: actor(), ppm, duration });
            }
        }
    }

    fn faults_of_cluster(&self, out: &mut Vec<FaultAction>) {
        for partition in &self.partitions {
            let partition = || partition.clone();
            if self.places(FaultKind::LeaderChange) {
                out.push(FaultAction::LeaderChange { partition: partition(), to: None });
            }
            if self.places(FaultKind::UncleanElection) {
                out.push(FaultAction::UncleanElection { partition: partition() });
            }
        }
        if self.places(FaultKind::CoordinatorMove) {
            let moves = |of: &Coordinated| FaultAction::CoordinatorMove { of: of.clone() };
            out.extend(self.coordinated.iter().map(moves));
        }
    }
}

/// Two processes as faults that lie between them name them.
fn in_order<'a>(a: &'a Place, b: &'a Place) -> [&'a Place; 2] {
    if a.index < b.index { [a, b] } else { [b, a] }
}

/// The timeouts that make a process' absence known, the one of its own requests first.
fn timeouts(scenario: &Scenario, part: Part<'_>) -> Vec<Duration> {
    let session = scenario.broker_config.broker_session_timeout;
    match part {
        Part::Controller | Part::Broker => vec![session],
        Part::Producer(spec, _) if spec.transactions.is_some() => {
            vec![spec.config.request_timeout, spec.config.transaction_timeout]
        }
        Part::Producer(spec, _) => vec![spec.config.request_timeout],
        Part::Consumer(spec) => vec![spec.config.request_timeout, spec.config.session_timeout],
        Part::Processor(spec, _) => {
            let transaction = spec.transactional_id.is_some();
            let transaction = transaction.then_some(spec.producer.transaction_timeout);
            let group = [spec.consumer.request_timeout, spec.consumer.session_timeout];
            group.into_iter().chain(transaction).collect()
        }
        Part::Service(spec) => vec![spec.producer.request_timeout],
        Part::Relay(spec, _) if spec.transactional_id.is_some() => {
            vec![spec.producer.request_timeout, spec.producer.transaction_timeout]
        }
        Part::Relay(spec, _) => vec![spec.producer.request_timeout],
        Part::System(_) => vec![TROUBLE],
        _ => Vec::new(),
    }
}

/// After how long a producer gives up a record, by its own clock.
fn delivery_timeout(part: Part<'_>) -> Option<Duration> {
    match part {
        Part::Producer(spec, _) => Some(spec.config.delivery_timeout),
        Part::Processor(spec, _) => Some(spec.producer.delivery_timeout),
        Part::Service(spec) => Some(spec.producer.delivery_timeout),
        Part::Relay(spec, _) => Some(spec.producer.delivery_timeout),
        _ => None,
    }
}

const fn troubles(kind: &SystemSpecKind) -> &'static [SystemTrouble] {
    const SLOW: SystemTrouble = SystemTrouble::Slow(Duration::from_secs(5));
    match kind {
        SystemSpecKind::Database(_) => {
            &[SystemTrouble::Errors, SystemTrouble::Deadlocks, SLOW, SystemTrouble::UnknownCommits]
        }
        _ => &[SystemTrouble::Errors, SLOW, SystemTrouble::UnknownCommits],
    }
}

const fn kind_of(trouble: SystemTrouble) -> FaultKind {
    match trouble {
        SystemTrouble::Errors => FaultKind::SinkErrors,
        SystemTrouble::Deadlocks => FaultKind::Deadlock,
        SystemTrouble::Slow(_) => FaultKind::SlowSink,
        SystemTrouble::UnknownCommits => FaultKind::UnknownCommit,
    }
}
