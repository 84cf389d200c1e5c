//! Building a world from a scenario: actors with their names, configuration and first events.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use oncesim_history::{ActorInfo, GroupInfo, ProcessorInfo, TopicInfo, WorldEvent};
use oncesim_kafka::config::{OffsetResetStrategy, ProducerConfig, TopicConfig};
use oncesim_kafka::controller::ControllerDisk;
use oncesim_kafka::machine::Effects;
use oncesim_kafka::message::IsolationLevel;
use oncesim_spec::{
    ConsumerGroupSpec, FaultPlan, ProcessorCommit, ProcessorSpec, ProducerSpec, RelaySpec,
    Scenario, TransactionalIdPattern, Trigger,
};
use oncesim_types::{
    ActorId, Duration, GroupId, GroupInstanceId, Instant, SinkId, TopicId, TopicPartition,
    TransactionNumber, TransactionalId,
};

use super::{Actor, App, Client, Event, FaultState, Phase, Process, World, external, faults, fork};
use crate::app::auditor::AuditorApp;
use crate::app::consumer::ConsumerApp;
use crate::app::processor::ProcessorApp;
use crate::app::producer::ProducerApp;
use crate::app::relay::RelayApp;
use crate::app::service::ServiceApp;
use crate::app::sink::{Identities, Sink};
use crate::app::transactional::TransactionalApp;
use crate::cast::{
    CLIENTS_START, Member, Part, actor_id, cast, has_transactions, horizon, outside_reader,
    producers_of,
};
use crate::clock::Clock;
use crate::mail::Mail;
use crate::network::Network;
use crate::outcome::FaultReport;
use crate::queue::Queue;
use crate::recorder::Recorder;
use crate::timers::Timers;

/// The controller is always the first actor; brokers follow.
pub(super) const CONTROLLER: ActorId = ActorId(0);

/// How often the world looks whether its phase is over.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

impl World {
    /// The world of one run at its first moment.
    pub(crate) fn new(
        scenario: &Arc<Scenario>,
        seed: u64,
        plan: FaultPlan,
        trace: bool,
        hosted: &[(String, ProducerConfig)],
    ) -> Self {
        let (planted, hits) = crate::planted::plant(scenario);
        let scenario = &planted;
        let cast = cast(scenario, hosted);
        let count = cast.len();
        let infos: Vec<_> = cast
            .iter()
            .map(|member| ActorInfo {
                name: member.name.clone(),
                role: member.role.clone(),
                read_committed: reads_committed(scenario, member.part),
            })
            .collect();
        let descriptions: Vec<_> = plan.faults.iter().map(faults::describe).collect();
        let mut recorder = Recorder::new(infos, topics(scenario), groups(scenario), descriptions);
        recorder.mutation_hits = hits;
        recorder.history.transactional_ids.clone_from(&scenario.transactional_ids);
        external::declare(scenario, &cast, &mut recorder.history);
        let systems = external::systems(&cast).into();
        let mut network =
            Network::new(seed, count, scenario.network.latency, scenario.network.loss);
        for ((a, b), latency) in &scenario.network.links {
            let find = |name: &String| cast.iter().position(|member| &member.name == name);
            if let (Some(a), Some(b)) = (find(a), find(b)) {
                network.set_latency(actor_id(a), actor_id(b), *latency);
            }
        }
        let derived = cast
            .iter()
            .enumerate()
            .filter(|(_, member)| matches!(member.part, Part::ProcessorProducer(..)));
        let identities = Identities::new(derived.map(|(index, _)| actor_id(index)));
        let actors = cast.into_iter().enumerate().map(|(index, member)| {
            let actor = actor_id(index);
            let app = new_app(scenario, seed, actor, member.part, &identities);
            let process = match member.part {
                Part::System(spec) => {
                    let system = external::new_system(scenario, seed, actor, spec);
                    Process::SystemDown(Box::new(system))
                }
                _ => Process::Down,
            };
            new_actor(member, actor, process, app)
        });
        let actors = actors.collect();
        let topic_configs: Rc<[TopicConfig]> =
            scenario.topics.iter().map(|topic| topic.config.clone()).collect();
        let mut world = World {
            seed,
            luck: seed,
            fork: fork::NEVER,
            now: Instant::ZERO,
            queue: Queue::default(),
            mail: Mail::default(),
            actors,
            network,
            recorder,
            topics: topic_configs,
            broker_config: Rc::new(scenario.broker_config.clone()),
            brokers: (1..=scenario.brokers).map(ActorId).collect(),
            systems,
            replies: BTreeMap::new(),
            faults: fault_states(scenario, &plan),
            armed_apis: 0,
            late_until: Instant::ZERO,
            held_news: Vec::new(),
            phase: Phase::Faults,
            phase_since: Instant::ZERO,
            producers_done_at: None,
            relay_rounds: None,
            horizon: horizon(scenario),
            pending: std::collections::VecDeque::new(),
            effects: Effects::default(),
            system_effects: oncesim_external::Effects::default(),
            settled: false,
            events: 0,
            messages: 0,
            budget_exhausted: false,
            steps: 0,
            tracing: trace.then(World::begin_trace),
            traffic: None,
            plan,
            scenario: Arc::clone(scenario),
        };
        world.first_events();
        world
    }

    /// The controller first, then brokers, then, when the cluster runs, clients; each a moment after
    /// the other, so that nobody's start depends on a tie.
    fn first_events(&mut self) {
        for index in 0..self.actors.len() {
            let actor = actor_id(index);
            if matches!(self.actor(actor).app, App::Auditor(_) | App::Companion { .. }) {
                continue;
            }
            let is_client = !matches!(self.actor(actor).app, App::None);
            let after = if is_client { CLIENTS_START } else { Duration::ZERO };
            let at = Instant(index as u64 * 1_000) + after;
            self.schedule(at, Event::Start { actor });
        }
        for fault in 0..u32::try_from(self.plan.faults.len()).expect("a plan is small") {
            if let Trigger::At(at) = self.plan.faults[fault as usize].trigger {
                self.schedule(at, Event::Strike { fault });
            }
        }
        self.arm_message_faults();
        self.schedule(Instant::ZERO + LOOK_EVERY, Event::Look);
    }

    /// The disk of a broker that has never run, or `None`.
    pub(super) fn first_disk(&self, actor: ActorId) -> Process {
        if actor == CONTROLLER {
            Process::ControllerDown(ControllerDisk::default())
        } else if self.brokers.contains(&actor) {
            Process::BrokerDown(Box::default())
        } else {
            Process::Down
        }
    }

    pub(super) fn started(&mut self, actor: ActorId) {
        let who = (actor, self.actor(actor).incarnation);
        self.recorder.world(who, WorldEvent::Started);
    }
}

fn new_actor(member: Member<'_>, actor: ActorId, process: Process, app: App) -> Actor {
    Actor {
        name: member.name,
        class: member.part.class(),
        process_of: match member.part {
            Part::ProcessorProducer(_, process, _)
            | Part::ProcessorRestore(_, process)
            | Part::RelayRestore(_, process) => process,
            _ => actor,
        },
        group: group_of(member.part),
        transactional_id: transactional_id_of(member.part),
        transaction: TransactionNumber::NONE,
        transaction_call: None,
        incarnation: 0,
        process,
        app,
        dark: false,
        paused: 0,
        app_paused: 0,
        inbox: Vec::new(),
        app_inbox: Vec::new(),
        clock: Clock::new(),
        timers: Timers::default(),
        wake_generation: 0,
        wake_at: None,
        disk_full: 0,
        lost_flush: 0,
        waits_for_room: false,
        correlation: 0,
        asks: Vec::new(),
        sessions: Vec::new(),
        sends: BTreeMap::new(),
    }
}

/// The application of a member of the cast.
fn new_app(
    scenario: &Scenario,
    seed: u64,
    actor: ActorId,
    part: Part<'_>,
    identities: &Identities,
) -> App {
    let sink = |id: Option<SinkId>| {
        let spec = Arc::new(scenario.sinks[usize::from(id?.0)].clone());
        Some(Sink::new(spec, identities.clone(), actor))
    };
    match part {
        Part::Controller | Part::Broker | Part::System(_) | Part::Operator => App::None,
        Part::Producer(spec, instance) => {
            let mut spec: ProducerSpec = spec.clone();
            if let Some(mut transactions) = spec.transactions.take() {
                name_instance(&mut transactions.id, instance);
                let app = TransactionalApp::new(actor, spec, transactions, seed);
                return App::Transactional(Box::new(app));
            }
            App::Producer(Box::new(ProducerApp::new(actor, spec, seed)))
        }
        Part::Consumer(spec) => {
            let sink = sink(spec.sink);
            let mut spec: ConsumerGroupSpec = spec.clone();
            spec.config.group = Some(spec.group);
            spec.config.instance = spec.static_membership.then_some(GroupInstanceId(actor.0));
            App::Consumer(Box::new(ConsumerApp::new(spec, sink)))
        }
        Part::Processor(spec, instance) => {
            let sink = sink(spec.sink);
            let mut spec: ProcessorSpec = spec.clone();
            if let Some(pattern) = &mut spec.transactional_id {
                name_instance(pattern, instance);
            }
            spec.consumer.group = Some(spec.group);
            spec.consumer.instance = spec.static_membership.then_some(GroupInstanceId(actor.0));
            // Its producers come next.
            let producers = producers_of(scenario, &spec).into_iter().zip(actor.0 + 1..);
            let producers = producers.map(|(partition, producer)| (partition, ActorId(producer)));
            let producers = producers.collect();
            App::Processor(Box::new(ProcessorApp::new(spec, producers, sink)))
        }
        Part::ProcessorProducer(spec, process, _) => {
            App::Companion { process, client: Client::Producer(Box::new(spec.producer.clone())) }
        }
        Part::ProcessorRestore(spec, process) => {
            let config = outside_reader(spec.commit == ProcessorCommit::Transaction);
            App::Companion { process, client: Client::Restore(Box::new(config)) }
        }
        Part::Service(spec) => App::Service(Box::new(ServiceApp::new(actor, spec.clone(), seed))),
        Part::Relay(spec, instance) => {
            let mut spec: RelaySpec = spec.clone();
            if let Some(pattern) = &mut spec.transactional_id {
                name_instance(pattern, instance);
            }
            let services = external::services(scenario, spec.database);
            App::Relay(Box::new(RelayApp::new(actor, spec, services)))
        }
        Part::RelayRestore(spec, process) => {
            let config = outside_reader(spec.transactional_id.is_some());
            App::Companion { process, client: Client::Restore(Box::new(config)) }
        }
        Part::Hosted(config) => App::Hosted { config: config.clone(), ended: false },
        Part::Auditor => App::Auditor(AuditorApp::new(data_partitions(scenario))),
    }
}

fn name_instance(pattern: &mut TransactionalIdPattern, instance: u16) {
    pattern.text = pattern.text.replace("{instance}", &instance.to_string());
}

fn data_partitions(scenario: &Scenario) -> Vec<TopicPartition> {
    let topics = scenario.topics.iter().filter(|topic| !topic.config.is_internal());
    topics
        .flat_map(|topic| {
            let partitions = 0..topic.config.partitions;
            partitions.map(|index| TopicPartition::new(topic.config.topic, index))
        })
        .collect()
}

fn group_of(part: Part<'_>) -> Option<GroupId> {
    match part {
        Part::Consumer(spec) => Some(spec.group),
        Part::Processor(spec, _) => Some(spec.group),
        _ => None,
    }
}

fn transactional_id_of(part: Part<'_>) -> Option<TransactionalId> {
    let (pattern, number) = match part {
        Part::Producer(spec, instance) => (&spec.transactions.as_ref()?.id, usize::from(instance)),
        Part::Processor(spec, instance) => {
            let pattern = spec.transactional_id.as_ref()?;
            if pattern.per_partition {
                return None;
            }
            (pattern, usize::from(instance))
        }
        Part::Relay(spec, instance) => (spec.transactional_id.as_ref()?, usize::from(instance)),
        Part::ProcessorProducer(spec, _, number) => {
            let pattern = spec.transactional_id.as_ref()?;
            if !pattern.per_partition {
                return None;
            }
            (pattern, number)
        }
        _ => return None,
    };
    pattern.ids.get(number).copied()
}

fn reads_committed(scenario: &Scenario, part: Part<'_>) -> bool {
    let isolation = match part {
        Part::Consumer(spec) => spec.config.isolation,
        Part::Processor(spec, _) => spec.consumer.isolation,
        Part::ProcessorRestore(spec, _) => {
            return spec.commit == ProcessorCommit::Transaction;
        }
        Part::RelayRestore(spec, _) => return spec.transactional_id.is_some(),
        Part::Auditor => return has_transactions(scenario),
        _ => return false,
    };
    isolation == IsolationLevel::ReadCommitted
}

fn topics(scenario: &Scenario) -> Vec<TopicInfo> {
    scenario
        .topics
        .iter()
        .map(|topic| TopicInfo {
            name: topic.name.clone(),
            partitions: topic.config.partitions,
            internal: topic.config.is_internal(),
            unclean_election: topic.config.unclean_leader_election,
        })
        .collect()
}

fn groups(scenario: &Scenario) -> Vec<GroupInfo> {
    let groups = scenario.groups.iter().enumerate();
    groups
        .map(|(index, name)| {
            let consumers = scenario
                .consumers
                .iter()
                .filter(|spec| usize::from(spec.group.0) == index)
                .map(|spec| (&spec.from, &spec.config));
            let processors =
                scenario.processors.iter().filter(|spec| usize::from(spec.group.0) == index);
            let members: Vec<_> = consumers
                .chain(processors.clone().map(|spec| (&spec.from, &spec.consumer)))
                .collect();
            let mut topics: Vec<TopicId> =
                members.iter().flat_map(|(from, _)| from.iter().copied()).collect();
            topics.sort_unstable();
            topics.dedup();
            let from_earliest = members
                .iter()
                .all(|(_, config)| config.auto_offset_reset == OffsetResetStrategy::Earliest);
            let processor = processors.clone().next().map(|spec| ProcessorInfo {
                to: spec.to.clone(),
                transform: spec.transform,
                transactional: spec.commit == ProcessorCommit::Transaction,
            });
            GroupInfo { name: name.clone(), topics, from_earliest, processor }
        })
        .collect()
}

fn fault_states(scenario: &Scenario, plan: &FaultPlan) -> Vec<FaultState> {
    plan.faults
        .iter()
        .map(|fault| FaultState {
            report: FaultReport {
                description: faults::describe(fault),
                kind: faults::kind(&fault.action),
                struck: None,
                scripted: scenario.scripted.contains(fault),
            },
            seen: 0,
            armed: false,
            active: false,
            called_off: false,
            undo: Vec::new(),
        })
        .collect()
}
