//! Who takes part in a run: names, roles, and which clients are one process.

use oncesim_history::{ActorRole, Promise, SystemKind};
use oncesim_kafka::config::{ConsumerConfig, ProducerConfig, TopicConfig};
use oncesim_kafka::message::{Acks, IsolationLevel};
use oncesim_spec::{
    ConsumerGroupSpec, PositionStore, ProcessorSpec, ProducerSpec, RelaySpec, Scenario,
    ServiceSpec, SystemSpec, SystemSpecKind, TopicSpec,
};
use oncesim_types::{ActorId, Duration, Instant, TopicId, TopicPartition, Transform};

/// When clients start: registration and the first metadata have reached every broker by then.
pub(crate) const CLIENTS_START: Duration = Duration::from_millis(50);

/// One actor before the world exists.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) name: String,
    pub(crate) role: ActorRole,
    pub(crate) part: Part<'a>,
}

/// What an actor does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    Controller,
    Broker,
    /// An instance of a producer application.
    Producer(&'a ProducerSpec, u16),
    /// An instance of a consumer application.
    Consumer(&'a ConsumerGroupSpec),
    /// An instance of a processor; its consumer.
    Processor(&'a ProcessorSpec, u16),
    /// A producer of the processor's instance that is this actor: the one of this number.
    ProcessorProducer(&'a ProcessorSpec, ActorId, usize),
    /// The restore consumer of the processor's instance that is this actor.
    ProcessorRestore(&'a ProcessorSpec, ActorId),
    /// An instance of a service; its producer.
    Service(&'a ServiceSpec),
    /// An instance of a relay; its producer.
    Relay(&'a RelaySpec, u16),
    /// The restore consumer of the relay's instance that is this actor: it reads positions.
    RelayRestore(&'a RelaySpec, ActorId),
    /// A system outside of Kafka.
    System(&'a SystemSpec),
    Hosted(&'a ProducerConfig),
    Auditor,
    Operator,
}

impl Part<'_> {
    /// The class of actors that it belongs to, as `targets` and faults name it.
    pub(crate) fn class(self) -> Option<&'static str> {
        match self {
            Part::Broker => Some("brokers"),
            Part::Producer(..) | Part::Hosted(_) => Some("producers"),
            Part::Consumer(_) => Some("consumers"),
            Part::Processor(..) => Some("processors"),
            Part::Service(..) => Some("services"),
            Part::Relay(..) => Some("relays"),
            Part::System(_) => Some("systems"),
            // What befalls a process is said of its first actor.
            Part::ProcessorProducer(..) | Part::ProcessorRestore(..) | Part::RelayRestore(..) => {
                None
            }
            Part::Controller | Part::Auditor | Part::Operator => None,
        }
    }
}

/// Who takes part, in the order of their ids: controller, brokers, producers, consumers, processors,
/// services, relays, systems, hosted tasks, auditor, operator.
pub(crate) fn cast<'a>(
    scenario: &'a Scenario,
    hosted: &'a [(String, ProducerConfig)],
) -> Vec<Member<'a>> {
    let member = |name: String, role, part| Member { name, role, part };
    let mut cast = vec![member("controller".to_owned(), ActorRole::Controller, Part::Controller)];
    for n in 1..=scenario.brokers {
        cast.push(member(format!("b{n}"), ActorRole::Broker, Part::Broker));
    }
    for spec in &scenario.producers {
        let role = ActorRole::Producer(promise(scenario, &spec.config, topics_of(spec)));
        for instance in 0..spec.instances {
            let name = instance_name(&spec.name, instance, spec.instances);
            cast.push(member(name, role.clone(), Part::Producer(spec, instance)));
        }
    }
    for spec in &scenario.consumers {
        for instance in 0..spec.instances {
            let name = instance_name(&spec.name, instance, spec.instances);
            let part = Part::Consumer(spec);
            cast.push(member(name, ActorRole::Consumer(spec.group), part));
        }
    }
    for spec in &scenario.processors {
        let role = ActorRole::Producer(promise(scenario, &spec.producer, outputs_of(spec)));
        for instance in 0..spec.instances {
            let name = instance_name(&spec.name, instance, spec.instances);
            let restore = format!("{name}-restore");
            let process = actor_id(cast.len());
            let part = Part::Processor(spec, instance);
            let producers = producers_of(scenario, spec).into_iter();
            let producers = producers.map(|partition| match partition {
                Some(it) => format!("{name}-producer-{}", partition_name(scenario, it)),
                None => format!("{name}-producer"),
            });
            let producers: Vec<_> = producers.collect();
            cast.push(member(name, ActorRole::Consumer(spec.group), part));
            for (number, producer) in producers.into_iter().enumerate() {
                let part = Part::ProcessorProducer(spec, process, number);
                cast.push(member(producer, role.clone(), part));
            }
            if matches!(spec.transform, Transform::Aggregate { .. }) {
                let part = Part::ProcessorRestore(spec, process);
                cast.push(member(restore, ActorRole::Other, part));
            }
        }
    }
    external(scenario, &mut cast);
    for (name, config) in hosted {
        // A task may send to any topic, so the weakest decides what its producer is owed.
        let topics = scenario.topics.iter().map(|topic| topic.config.topic);
        let role = ActorRole::Producer(promise(scenario, config, topics));
        cast.push(member(name.clone(), role, Part::Hosted(config)));
    }
    cast.push(member("auditor".to_owned(), ActorRole::Auditor, Part::Auditor));
    cast.push(member("operator".to_owned(), ActorRole::Other, Part::Operator));
    cast
}

/// Services, relays and systems.
fn external<'a>(scenario: &'a Scenario, cast: &mut Vec<Member<'a>>) {
    for spec in &scenario.services {
        let role = ActorRole::Producer(promise(scenario, &spec.producer, [spec.to].into_iter()));
        for instance in 0..spec.instances {
            let name = instance_name(&spec.name, instance, spec.instances);
            let part = Part::Service(spec);
            cast.push(Member { name, role: role.clone(), part });
        }
    }
    for spec in &scenario.relays {
        let positions = match spec.position {
            PositionStore::Topic { topic, .. } => Some(topic),
            _ => None,
        };
        let topics = [spec.to].into_iter().chain(positions);
        let role = ActorRole::Producer(promise(scenario, &spec.producer, topics));
        for instance in 0..spec.instances {
            let name = instance_name(&spec.name, instance, spec.instances);
            let process = actor_id(cast.len());
            let restore = format!("{name}-restore");
            let part = Part::Relay(spec, instance);
            cast.push(Member { name, role: role.clone(), part });
            if positions.is_some() {
                let part = Part::RelayRestore(spec, process);
                cast.push(Member { name: restore, role: ActorRole::Other, part });
            }
        }
    }
    for spec in &scenario.systems {
        let kind = match spec.kind {
            SystemSpecKind::Database(_) => SystemKind::Database,
            SystemSpecKind::Api(_) => SystemKind::Api,
            SystemSpecKind::Staging { .. } => SystemKind::Staging,
        };
        let (name, role) = (spec.name.clone(), ActorRole::System(kind));
        cast.push(Member { name, role, part: Part::System(spec) });
    }
}

pub(crate) fn actor_id(index: usize) -> ActorId {
    ActorId(u16::try_from(index).expect("a world has fewer than 65,536 actors"))
}

fn instance_name(name: &str, instance: u16, instances: u16) -> String {
    if instances == 1 { name.to_owned() } else { format!("{name}-{instance}") }
}

/// Whether an actor's name is `reference`, or an instance of it.
pub(crate) fn is_instance(name: &str, reference: &str) -> bool {
    name == reference
        || name.rsplit_once('-').is_some_and(|(stem, n)| {
            stem == reference && n.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// What each producer of a processor's instance serves: one partition, or (`None`) all of them.
pub(crate) fn producers_of(
    scenario: &Scenario,
    spec: &ProcessorSpec,
) -> Vec<Option<TopicPartition>> {
    if !spec.transactional_id.as_ref().is_some_and(|id| id.per_partition) {
        return vec![None];
    }
    let partitions = |topic: &TopicId| {
        let (topic, count) = (*topic, scenario.topics[usize::from(topic.0)].config.partitions);
        (0..count).map(move |index| Some(TopicPartition::new(topic, index)))
    };
    spec.from.iter().flat_map(partitions).collect()
}

fn partition_name(scenario: &Scenario, partition: TopicPartition) -> String {
    format!("{}-{}", scenario.topics[usize::from(partition.topic.0)].name, partition.partition)
}

fn topics_of(spec: &ProducerSpec) -> impl Iterator<Item = TopicId> {
    let second = spec.transactions.as_ref().and_then(|transactions| transactions.transfer_to);
    std::iter::once(spec.to).chain(second)
}

fn outputs_of(spec: &ProcessorSpec) -> impl Iterator<Item = TopicId> {
    let changelog = match spec.transform {
        Transform::Aggregate { changelog } => Some(changelog),
        _ => None,
    };
    spec.to.iter().copied().chain(changelog)
}

/// What a producer's configuration obliges the log to keep.
fn promise(
    scenario: &Scenario,
    config: &ProducerConfig,
    mut topics: impl Iterator<Item = TopicId>,
) -> Promise {
    let durable = topics.all(|topic| is_durable(&scenario.topics[usize::from(topic.0)]));
    let ProducerConfig { acks, idempotence, retries, max_in_flight, .. } = *config;
    Promise {
        durable: acks == Acks::All && durable,
        idempotent: idempotence,
        // Without sequences order needs one request in flight, an answer to wait for, and retries:
        // after a failure that is final, an old request may still arrive behind newer ones.
        ordered: idempotence || (max_in_flight == 1 && retries > 0 && acks != Acks::None),
    }
}

fn is_durable(topic: &TopicSpec) -> bool {
    let TopicConfig { replication_factor, min_insync_replicas, .. } = topic.config;
    topic.config.is_internal()
        || replication_factor > 1
            && min_insync_replicas > 1
            && !topic.config.unclean_leader_election
}

/// Whether anybody writes in transactions.
pub(crate) fn has_transactions(scenario: &Scenario) -> bool {
    scenario.producers.iter().any(|spec| spec.transactions.is_some())
        || scenario.processors.iter().any(|spec| spec.transactional_id.is_some())
        || scenario.relays.iter().any(|spec| spec.transactional_id.is_some())
}

/// The configuration of a consumer that belongs to no group and reads what counts.
pub(crate) fn outside_reader(read_committed: bool) -> ConsumerConfig {
    let isolation = if read_committed {
        IsolationLevel::ReadCommitted
    } else {
        IsolationLevel::ReadUncommitted
    };
    ConsumerConfig { auto_commit: false, isolation, ..ConsumerConfig::default() }
}

/// When the workload is over if nothing goes wrong: drawn faults strike before.
pub(crate) fn horizon(scenario: &Scenario) -> Instant {
    let longest = scenario
        .producers
        .iter()
        .map(|spec| spec.interval * spec.records)
        .chain(scenario.services.iter().map(|spec| spec.interval * spec.records))
        .max()
        .unwrap_or(Duration::ZERO);
    // What the last operation has announced is published one or two rounds later.
    let round = scenario.relays.iter().map(|spec| spec.interval * 2).max();
    let longest = longest + round.unwrap_or(Duration::ZERO);
    // A group's first rebalance waits for group.initial.rebalance.delay.ms.
    let rebalance = if scenario.consumers.is_empty() && scenario.processors.is_empty() {
        Duration::ZERO
    } else {
        scenario.broker_config.group_initial_rebalance_delay
    };
    Instant::ZERO + CLIENTS_START + longest.max(rebalance) + Duration::from_millis(500)
}
