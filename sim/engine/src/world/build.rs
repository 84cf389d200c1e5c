//! Building a world from a scenario: actors with their names, configuration and first events.

use std::rc::Rc;
use std::sync::Arc;

use oncesim_history::{ActorInfo, ActorRole, GroupInfo, Promise, TopicInfo, WorldEvent};
use oncesim_kafka::config::{OffsetResetStrategy, ProducerConfig, TopicConfig};
use oncesim_kafka::controller::ControllerDisk;
use oncesim_kafka::machine::Effects;
use oncesim_kafka::message::Acks;
use oncesim_spec::{ConsumerGroupSpec, FaultPlan, ProducerSpec, Scenario, TopicSpec, Trigger};
use oncesim_types::{ActorId, Duration, GroupId, GroupInstanceId, Instant, TopicId};

use super::{Actor, App, Event, FaultState, Phase, Process, World, faults};
use crate::app::auditor::AuditorApp;
use crate::app::consumer::ConsumerApp;
use crate::app::producer::ProducerApp;
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

/// When clients start: registration and the first metadata have reached every broker by then.
const CLIENTS_START: Duration = Duration::from_millis(50);

/// One actor before the world exists.
struct Cast {
    name: String,
    role: ActorRole,
    group: Option<GroupId>,
    app: App,
}

impl World {
    /// The world of one run at its first moment.
    pub(crate) fn new(
        scenario: &Arc<Scenario>,
        seed: u64,
        plan: FaultPlan,
        trace: bool,
        hosted: &[(String, ProducerConfig)],
    ) -> Self {
        let cast = cast(scenario, seed, hosted);
        let count = cast.len();
        let infos: Vec<_> = cast
            .iter()
            .map(|member| ActorInfo {
                name: member.name.clone(),
                role: member.role.clone(),
                read_committed: false,
            })
            .collect();
        let descriptions: Vec<_> = plan.faults.iter().map(faults::describe).collect();
        let recorder = Recorder::new(infos, topics(scenario), groups(scenario), descriptions);
        let mut network =
            Network::new(seed, count, scenario.network.latency, scenario.network.loss);
        for ((a, b), latency) in &scenario.network.links {
            let find = |name: &String| cast.iter().position(|member| &member.name == name);
            if let (Some(a), Some(b)) = (find(a), find(b)) {
                network.set_latency(actor_id(a), actor_id(b), *latency);
            }
        }
        let topic_configs: Rc<[TopicConfig]> =
            scenario.topics.iter().map(|topic| topic.config.clone()).collect();
        let mut world = World {
            seed,
            now: Instant::ZERO,
            queue: Queue::default(),
            mail: Mail::default(),
            actors: cast.into_iter().map(new_actor).collect(),
            network,
            recorder,
            topics: topic_configs,
            broker_config: Rc::new(scenario.broker_config.clone()),
            brokers: (1..=scenario.brokers).map(ActorId).collect(),
            faults: fault_states(scenario, &plan),
            armed_apis: 0,
            late_until: Instant::ZERO,
            held_news: Vec::new(),
            phase: Phase::Faults,
            phase_since: Instant::ZERO,
            producers_done_at: None,
            horizon: horizon(scenario),
            pending: std::collections::VecDeque::new(),
            effects: Effects::default(),
            settled: false,
            events: 0,
            messages: 0,
            budget_exhausted: false,
            trace: trace.then(Vec::new),
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
            if matches!(self.actor(actor).app, App::Auditor(_)) {
                continue;
            }
            let is_client = !matches!(self.actor(actor).app, App::None);
            let after = if is_client { CLIENTS_START } else { Duration::ZERO };
            let at = Instant(index as u64 * 1_000) + after;
            self.queue.push(at, Event::Start { actor });
        }
        for (index, fault) in self.plan.faults.iter().enumerate() {
            if let Trigger::At(at) = fault.trigger {
                let fault = u32::try_from(index).expect("a plan is small");
                self.queue.push(at, Event::Strike { fault });
            }
        }
        self.arm_message_faults();
        self.queue.push(Instant::ZERO + LOOK_EVERY, Event::Look);
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

fn new_actor(cast: Cast) -> Actor {
    Actor {
        name: cast.name,
        group: cast.group,
        incarnation: 0,
        process: Process::Down,
        app: cast.app,
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
    }
}

fn actor_id(index: usize) -> ActorId {
    ActorId(u16::try_from(index).expect("a world has fewer than 65,536 actors"))
}

/// Who takes part, in the order of their ids: controller, brokers, producers, consumers, auditor,
/// operator.
fn cast(scenario: &Scenario, seed: u64, hosted: &[(String, ProducerConfig)]) -> Vec<Cast> {
    let plain = |name: String, role: ActorRole| Cast { name, role, group: None, app: App::None };
    let mut cast = vec![plain("controller".to_owned(), ActorRole::Controller)];
    cast.extend((1..=scenario.brokers).map(|n| plain(format!("b{n}"), ActorRole::Broker)));
    for spec in &scenario.producers {
        for instance in 0..spec.instances {
            let actor = actor_id(cast.len());
            cast.push(Cast {
                name: instance_name(&spec.name, instance, spec.instances),
                role: ActorRole::Producer(promise(scenario, spec)),
                group: None,
                app: App::Producer(Box::new(ProducerApp::new(actor, spec.clone(), seed))),
            });
        }
    }
    for spec in &scenario.consumers {
        for instance in 0..spec.instances {
            let mut spec: ConsumerGroupSpec = spec.clone();
            spec.config.group = Some(spec.group);
            if spec.static_membership {
                let index = u16::try_from(cast.len()).expect("few actors");
                spec.config.instance = Some(GroupInstanceId(index));
            }
            cast.push(Cast {
                name: instance_name(&spec.name, instance, spec.instances),
                role: ActorRole::Consumer(spec.group),
                group: Some(spec.group),
                app: App::Consumer(Box::new(ConsumerApp::new(spec))),
            });
        }
    }
    for (name, config) in hosted {
        cast.push(Cast {
            name: name.clone(),
            // A task may send to any topic, so the weakest decides what its producer is owed.
            role: ActorRole::Producer(promise_of(config, scenario.topics.iter().all(is_durable))),
            group: None,
            app: App::Hosted { config: config.clone(), ended: false },
        });
    }
    let partitions = scenario
        .topics
        .iter()
        .filter(|topic| !topic.config.is_internal())
        .flat_map(|topic| {
            (0..topic.config.partitions)
                .map(|p| oncesim_types::TopicPartition::new(topic.config.topic, p))
        })
        .collect();
    cast.push(Cast {
        name: "auditor".to_owned(),
        role: ActorRole::Auditor,
        group: None,
        app: App::Auditor(AuditorApp::new(partitions)),
    });
    cast.push(plain("operator".to_owned(), ActorRole::Other));
    cast
}

/// Actor names in the order of their ids, without hosted tasks.
pub(crate) fn actor_names(scenario: &Scenario) -> Vec<String> {
    cast(scenario, 0, &[]).into_iter().map(|member| member.name).collect()
}

fn instance_name(name: &str, instance: u16, instances: u16) -> String {
    if instances == 1 { name.to_owned() } else { format!("{name}-{instance}") }
}

/// What a producer's configuration obliges the log to keep.
fn promise(scenario: &Scenario, spec: &ProducerSpec) -> Promise {
    promise_of(&spec.config, is_durable(&scenario.topics[usize::from(spec.to.0)]))
}

fn is_durable(topic: &TopicSpec) -> bool {
    let TopicConfig { replication_factor, min_insync_replicas, .. } = topic.config;
    topic.config.is_internal()
        || replication_factor > 1
            && min_insync_replicas > 1
            && !topic.config.unclean_leader_election
}

fn promise_of(config: &ProducerConfig, durable_topic: bool) -> Promise {
    let ProducerConfig { acks, idempotence, retries, max_in_flight, .. } = *config;
    Promise {
        durable: acks == Acks::All && durable_topic,
        idempotent: idempotence,
        // Without sequences order needs one request in flight, an answer to wait for, and retries:
        // after a failure that is final, an old request may still arrive behind newer ones.
        ordered: idempotence || (max_in_flight == 1 && retries > 0 && acks != Acks::None),
    }
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
    let members = |group: usize| {
        scenario.consumers.iter().filter(move |spec| usize::from(spec.group.0) == group)
    };
    scenario
        .groups
        .iter()
        .enumerate()
        .map(|(group, name)| {
            let mut topics: Vec<TopicId> =
                members(group).flat_map(|spec| spec.from.iter().copied()).collect();
            topics.sort_unstable();
            topics.dedup();
            let from_earliest = members(group)
                .all(|spec| spec.config.auto_offset_reset == OffsetResetStrategy::Earliest);
            GroupInfo { name: name.clone(), topics, from_earliest, processor: None }
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
            undo: Vec::new(),
        })
        .collect()
}

/// When the workload is over if nothing goes wrong: drawn faults strike before.
pub(crate) fn horizon(scenario: &Scenario) -> Instant {
    let longest = scenario
        .producers
        .iter()
        .map(|spec| spec.interval * spec.records)
        .max()
        .unwrap_or(Duration::ZERO);
    // A group's first rebalance waits for group.initial.rebalance.delay.ms.
    let rebalance = if scenario.consumers.is_empty() {
        Duration::ZERO
    } else {
        scenario.broker_config.group_initial_rebalance_delay
    };
    Instant::ZERO + CLIENTS_START + longest.max(rebalance) + Duration::from_millis(500)
}
