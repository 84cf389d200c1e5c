//! The placements of one fault in a run that is known: at every message, and after every step that
//! sends or receives one.

use oncesim_history::trace::{StepId, Via};
use oncesim_kafka::message::ApiKey;
use oncesim_spec::{
    Coordinated, DiskFault, FaultAction, FaultKind, MessageApi, MessagePattern, PlannedFault,
    Scenario, SystemSpecKind, SystemTrouble, Trigger,
};
use oncesim_types::{Duration, Operation};

use crate::address::Addresses;
use crate::cast::{Part, cast, is_instance};
use crate::outcome::Outcome;
use crate::sighting::{Moment, Sighting};

/// A fault that nobody's timeout notices.
const SHORT: Duration = Duration::from_millis(100);
/// By how much longer than a timeout a fault lasts that is to be noticed.
const BEYOND: Duration = Duration::from_secs(1);
/// Trouble of a disk or a system lasts so long: some retries fail, and then one succeeds.
const TROUBLE: Duration = Duration::from_secs(10);
/// A request arrives again behind its original, and when its sender has long gone on.
const AGAIN: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(5)];

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

/// One placement of one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    /// Where: the sighting whose message it waits for, and which of the faults there.
    pub(super) at: (u32, u32),
    /// The fault, by logical address.
    pub(super) fault: PlannedFault,
    /// How many placements it stands for: itself, and those that are the same.
    pub(super) stands_for: u64,
}

/// One actor, as far as placing faults goes.
struct Place {
    name: String,
    class: Option<&'static str>,
    /// How long somebody waits for it, or it for others, before that is noticed.
    timeouts: Vec<Duration>,
    /// Its application's, before its group gives it up.
    poll: Option<Duration>,
    system: Option<&'static [SystemTrouble]>,
}

/// Who takes part, and which faults are placed.
pub(super) struct Placer {
    addresses: Addresses,
    places: Vec<Place>,
    kinds: Vec<FaultKind>,
    partitions: Vec<String>,
    coordinated: Vec<Coordinated>,
    targets: Vec<String>,
    broker_timeout: Duration,
}

impl Placer {
    pub(super) fn new(scenario: &Scenario, kinds: &[FaultKind]) -> Self {
        let cast = cast(scenario, &[]);
        let places: Vec<Place> = cast
            .iter()
            .map(|member| Place {
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
            })
            .collect();
        let topics = scenario.topics.iter().filter(|topic| !topic.config.is_internal());
        let groups = scenario.groups.iter().cloned().map(Coordinated::Group);
        let ids = scenario.transactional_ids.iter().cloned().map(Coordinated::Transaction);
        Placer {
            addresses: Addresses::new(scenario),
            places,
            kinds: kinds.to_vec(),
            partitions: topics
                .flat_map(|it| (0..it.config.partitions).map(|p| format!("{}-{p}", it.name)))
                .collect(),
            coordinated: groups.chain(ids).collect(),
            targets: scenario.swarm.as_ref().map_or_else(Vec::new, |swarm| swarm.targets.clone()),
            broker_timeout: scenario.broker_config.broker_session_timeout,
        }
    }

    /// The placements of one more fault in a run, after `from` (else: all), in their order. With
    /// `merge`, those that are the same run are one.
    pub(super) fn of(
        &self,
        outcome: &Outcome,
        from: Option<(u32, u32)>,
        merge: bool,
    ) -> Vec<Placement> {
        let sightings = &outcome.sightings;
        let first = from.map_or(0, |(at, _)| at as usize);
        // What lies in the same step may be the same placement.
        let step = sightings.get(first).map_or(0, |sighting| sighting.step);
        let begin = sightings.partition_point(|sighting| sighting.step < step);
        let addresses = self.addresses.of(sightings);
        let mut found: Vec<Placement> = Vec::new();
        let (mut current, mut clear, mut open) = (None, false, 0);
        for (at, (sighting, address)) in (0u32..).zip(sightings.iter().zip(addresses)).skip(begin) {
            let Some((pattern, nth)) = address else { continue };
            if current != Some(sighting.step) {
                current = Some(sighting.step);
                clear = merge && is_alone(outcome, sighting.step);
                open = found.len();
            }
            for (order, (action, of_message)) in (0u32..).zip(self.faults_at(sighting)) {
                let same = |it: &&mut Placement| clear && !of_message && it.fault.action == action;
                if let Some(same) = found[open..].iter_mut().find(same) {
                    same.stands_for += 1;
                    continue;
                }
                let trigger = trigger(sighting.moment, of_message, pattern.clone(), nth);
                let fault = PlannedFault { trigger, action };
                found.push(Placement { at: (at, order), fault, stands_for: 1 });
            }
        }
        if let Some(from) = from {
            found.retain(|placement| placement.at > from);
        }
        found
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

    /// Every fault that may strike where a message is seen, in a fixed order, and whether it strikes
    /// that message itself.
    fn faults_at(&self, sighting: &Sighting) -> Vec<(FaultAction, bool)> {
        let mut faults = Vec::new();
        let ends = [sighting.from, sighting.to];
        let [from, to] = ends.map(|actor| &self.places[self.addresses.process(actor)]);
        if sighting.moment == Moment::Sent && (self.allowed(from) || self.allowed(to)) {
            let client = if sighting.response { to } else { from };
            let message = self.faults_of_message(sighting, client);
            faults.extend(message.into_iter().map(|action| (action, true)));
        }
        let mut actions = Vec::new();
        for (place, peer) in [(from, to), (to, from)] {
            if self.allowed(place) {
                self.faults_of_process(place, peer, &mut actions);
            }
        }
        if [from, to].iter().any(|place| place.class == Some("brokers")) {
            self.faults_of_cluster(&mut actions);
        }
        faults.extend(actions.into_iter().map(|action| (action, false)));
        faults
    }

    fn faults_of_message(&self, sighting: &Sighting, client: &Place) -> Vec<FaultAction> {
        let mut faults = Vec::new();
        let loss = if sighting.response { FaultKind::AckLoss } else { FaultKind::RequestLoss };
        if self.places(loss) {
            faults.push(FaultAction::Drop);
        }
        if self.places(FaultKind::Delay) {
            let beyond = client.timeouts.first().copied().unwrap_or(self.broker_timeout) + BEYOND;
            faults.extend([FaultAction::Delay(SHORT), FaultAction::Delay(beyond)]);
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

    fn faults_of_process(&self, place: &Place, peer: &Place, out: &mut Vec<FaultAction>) {
        let actor = || place.name.clone();
        let mut spans = vec![SHORT];
        spans.extend(place.timeouts.iter().map(|timeout| *timeout + BEYOND));
        spans.dedup();
        let Some(class) = place.class else {
            // The controller has a failover of its own.
            if self.places(FaultKind::ControllerFailover) {
                let failover = |&duration: &_| FaultAction::ControllerFailover { duration };
                out.extend(spans.iter().map(failover));
            }
            return;
        };
        let longest = *spans.last().expect("there is a short one");
        let server = class == "brokers" || class == "systems";
        for power in [false, true] {
            let kind = if power { FaultKind::PowerFailure } else { FaultKind::Crash };
            if self.places(kind) && (server || !power) {
                let down =
                    |&down: &_| FaultAction::Crash { actor: actor(), power, down: Some(down) };
                out.extend(spans.iter().map(down));
            }
        }
        let pause = |application_only, duration| FaultAction::Pause {
            actor: actor(),
            application_only,
            duration,
        };
        if self.places(FaultKind::Pause) {
            out.extend(spans.iter().map(|&span| pause(false, span)));
        }
        if let Some(poll) = place.poll.filter(|_| self.places(FaultKind::ApplicationPause)) {
            out.push(pause(true, poll + BEYOND));
        }
        for one_way in [false, true] {
            let kind = if one_way { FaultKind::OneWayPartition } else { FaultKind::Partition };
            if self.places(kind) {
                let cut = |to: Vec<String>| FaultAction::Partition {
                    from: vec![actor()],
                    to,
                    one_way,
                    duration: longest,
                };
                out.push(cut(Vec::new()));
                // Between two it is the same from either side, unless it is one-way.
                let same = cut_from(peer, place, longest);
                if one_way || !out.contains(&same) {
                    out.push(cut(vec![peer.name.clone()]));
                }
            }
        }
        if place.poll.is_some() && self.places(FaultKind::Rebalance) {
            out.push(FaultAction::Rebalance { actor: actor() });
        }
        for (kind, fault) in
            [(FaultKind::DiskFull, DiskFault::Full), (FaultKind::LostFlush, DiskFault::LostFlush)]
        {
            if class == "brokers" && self.places(kind) {
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

fn cut_from(from: &Place, to: &Place, duration: Duration) -> FaultAction {
    let (from, to) = (vec![from.name.clone()], vec![to.name.clone()]);
    FaultAction::Partition { from, to, one_way: false, duration }
}

fn trigger(moment: Moment, of_message: bool, pattern: MessagePattern, nth: u32) -> Trigger {
    match moment {
        _ if of_message => Trigger::OnMessage { pattern, nth },
        Moment::Sent => Trigger::Sent { pattern, nth, delay: Duration::ZERO },
        Moment::Delivered => Trigger::Delivered { pattern, nth, delay: Duration::ZERO },
    }
}

/// Whether nothing else happens at the moment of a step after it: then a fault that strikes because
/// of anything in it strikes before everything that follows.
fn is_alone(outcome: &Outcome, step: StepId) -> bool {
    let steps = &outcome.trace.steps;
    let Some(this) = steps.get(step as usize) else { return false };
    let mut following = steps[step as usize + 1..].iter().filter(|step| step.via != Via::Fault);
    following.next().is_none_or(|next| next.time > this.time)
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
