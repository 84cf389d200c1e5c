//! Random search produces a plan: what goes wrong in the run of one seed.
//!
//! Each seed first draws which kinds of fault it uses at all (half of them, roughly) and how many
//! faults there are, then each fault (swarm testing, Groce et al. 2012): runs with few kinds find
//! what runs with all kinds mask.

use oncesim_kafka::message::ApiKey;
use oncesim_spec::{
    Announce, Coordinated, DiskFault, FaultAction, FaultKind, FaultPlan, MessageApi,
    MessagePattern, PlannedFault, RelayKind, Scenario, Setting, SwarmSpec, SystemSpecKind,
    SystemTrouble, Trigger,
};
use oncesim_types::{Duration, Instant, Operation, SinkId, SystemId};

use crate::cast::{Member, Part, cast, horizon, is_instance};
use crate::draw::{Draws, Purpose};

/// The plan of a seed: the scripted faults (of a walk: the seed's one), then those drawn for this
/// seed.
#[must_use]
pub fn plan(scenario: &Scenario, seed: u64) -> FaultPlan {
    let (scenario, settings) = world(scenario, seed);
    let mut faults = scripted(scenario, seed);
    if let Some(swarm) = &scenario.swarm {
        let mut swarm = Swarm::new(scenario, swarm, seed);
        let kinds = swarm.some_kinds();
        swarm.draw(&kinds, &mut faults);
    }
    FaultPlan { faults, settings }
}

/// The world of a seed: one of the scenario's variants, if it has any.
pub(super) fn world(scenario: &Scenario, seed: u64) -> (&Scenario, Vec<Setting>) {
    let mut draws = Draws::new(seed, Purpose::Settings, 0, 0);
    draws.pick(&scenario.variants).map_or((scenario, Vec::new()), |variant| {
        (variant.scenario.as_ref(), variant.settings.clone())
    })
}

/// The scripted faults; of a walk, the seed's one.
pub(super) fn scripted(scenario: &Scenario, seed: u64) -> Vec<PlannedFault> {
    match scenario.scripted.len() as u64 {
        steps if scenario.walk && steps > 0 => {
            let step = usize::try_from(seed % steps).expect("below a length");
            vec![scenario.scripted[step].clone()]
        }
        _ => scenario.scripted.clone(),
    }
}

const CONSUMER_APIS: [ApiKey; 6] = [
    ApiKey::OffsetCommit,
    ApiKey::Fetch,
    ApiKey::Heartbeat,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::OffsetFetch,
];

const CLIENTS: [&str; 5] = ["producers", "consumers", "processors", "services", "relays"];

const SERVERS: [&str; 2] = ["brokers", "systems"];

const ANYBODY: [&str; 7] =
    ["brokers", "producers", "consumers", "processors", "services", "relays", "systems"];

/// Draws faults for one seed.
pub(super) struct Swarm<'a> {
    scenario: &'a Scenario,
    spec: &'a SwarmSpec,
    pub(super) draws: Draws,
    cast: Vec<Member<'a>>,
    pub(super) until: Instant,
}

impl<'a> Swarm<'a> {
    pub(super) fn new(scenario: &'a Scenario, spec: &'a SwarmSpec, seed: u64) -> Self {
        Swarm::with_draws(scenario, spec, Draws::new(seed, Purpose::Plan, 0, 0))
    }

    pub(super) fn with_draws(scenario: &'a Scenario, spec: &'a SwarmSpec, draws: Draws) -> Self {
        let until = spec.until.map_or_else(|| horizon(scenario), |span| Instant::ZERO + span);
        Swarm { scenario, spec, draws, cast: cast(scenario, &[]), until }
    }

    /// Half of the declared kinds, roughly, and at least one.
    fn some_kinds(&mut self) -> Vec<FaultKind> {
        let mut kinds: Vec<FaultKind> = Vec::new();
        for kind in &self.spec.kinds {
            if self.draws.below_inclusive(1) == 0 {
                kinds.push(*kind);
            }
        }
        if kinds.is_empty() {
            kinds.extend(self.draws.pick(&self.spec.kinds).copied());
        }
        kinds
    }

    /// Up to as many faults of these kinds as are declared.
    pub(super) fn draw(&mut self, kinds: &[FaultKind], faults: &mut Vec<PlannedFault>) {
        let count = self.draws.between(1, u64::from(self.spec.count.max(1)));
        for _ in 0..count {
            let Some(kind) = self.draws.pick(kinds).copied() else { break };
            if let Some(fault) = self.fault(kind) {
                faults.push(fault);
            }
        }
    }

    /// A fault of a kind, if anybody can be hit by it.
    pub(super) fn fault(&mut self, kind: FaultKind) -> Option<PlannedFault> {
        let action = match kind {
            FaultKind::RequestLoss | FaultKind::AckLoss => return self.message_fault(kind),
            FaultKind::Duplicate | FaultKind::Delay => return self.message_fault(kind),
            FaultKind::Crash => {
                let down = Some(self.span(Duration::from_millis(20), Duration::from_secs(20)));
                FaultAction::Crash { actor: self.anybody()?, power: false, down }
            }
            FaultKind::PowerFailure => {
                let down = Some(self.span(Duration::from_millis(200), Duration::from_secs(20)));
                FaultAction::Crash { actor: self.target(&SERVERS)?, power: true, down }
            }
            FaultKind::Pause => FaultAction::Pause {
                actor: self.anybody()?,
                application_only: false,
                duration: self.span(Duration::from_millis(50), Duration::from_secs(70)),
            },
            FaultKind::ApplicationPause => FaultAction::Pause {
                actor: self.consumer()?,
                application_only: true,
                duration: self.span(Duration::from_millis(50), Duration::from_secs(400)),
            },
            FaultKind::Partition | FaultKind::OneWayPartition => {
                let from = self.anybody()?;
                let everybody = self.draws.below_inclusive(1) == 0;
                let to = if everybody { None } else { self.peer() };
                FaultAction::Partition {
                    // Nobody is cut off from itself.
                    to: to.filter(|to| *to != from).into_iter().collect(),
                    from: vec![from],
                    one_way: kind == FaultKind::OneWayPartition,
                    duration: self.span(Duration::from_millis(50), Duration::from_secs(60)),
                }
            }
            FaultKind::Clog => FaultAction::Clog {
                from: self.anybody()?,
                to: self.peer()?,
                extra: self.span(Duration::from_millis(10), Duration::from_secs(2)),
                duration: self.span(Duration::from_millis(100), Duration::from_secs(20)),
            },
            FaultKind::LeaderChange => {
                FaultAction::LeaderChange { partition: self.partition()?, to: None }
            }
            FaultKind::UncleanElection => {
                FaultAction::UncleanElection { partition: self.partition()? }
            }
            FaultKind::CoordinatorMove => {
                let Scenario { groups, transactional_ids, .. } = self.scenario;
                let groups = groups.iter().map(|name| Coordinated::Group(name.clone()));
                let ids = transactional_ids.iter().map(|id| Coordinated::Transaction(id.clone()));
                let of: Vec<Coordinated> = groups.chain(ids).collect();
                FaultAction::CoordinatorMove { of: self.draws.pick(&of)?.clone() }
            }
            FaultKind::Rebalance => FaultAction::Rebalance { actor: self.consumer()? },
            FaultKind::ControllerFailover => FaultAction::ControllerFailover {
                duration: self.span(Duration::from_millis(50), Duration::from_secs(15)),
            },
            FaultKind::ClockJump | FaultKind::ClockSkew => self.clock_fault(kind)?,
            FaultKind::SinkErrors
            | FaultKind::Deadlock
            | FaultKind::SlowSink
            | FaultKind::UnknownCommit => self.trouble(kind)?,
            FaultKind::DiskFull | FaultKind::LostFlush => FaultAction::Disk {
                actor: self.broker()?,
                fault: if kind == FaultKind::DiskFull {
                    DiskFault::Full
                } else {
                    DiskFault::LostFlush
                },
                duration: self.span(Duration::from_millis(100), Duration::from_secs(20)),
            },
        };
        let at = Instant(self.draws.below_inclusive(self.until.0));
        Some(PlannedFault { trigger: Trigger::At(at), action })
    }

    fn clock_fault(&mut self, kind: FaultKind) -> Option<FaultAction> {
        let actor = self.anybody()?;
        let back = self.draws.below_inclusive(1) == 0;
        if kind == FaultKind::ClockJump {
            let by = self.span(Duration::from_millis(10), Duration::from_secs(600)).0.cast_signed();
            return Some(FaultAction::ClockJump { actor, by_ns: if back { -by } else { by } });
        }
        let ppm = self.draws.between(1, 50_000).cast_signed();
        let duration = self.span(Duration::from_millis(100), Duration::from_secs(60));
        Some(FaultAction::ClockSkew { actor, ppm: if back { -ppm } else { ppm }, duration })
    }

    /// A system outside of Kafka is in trouble by itself.
    fn trouble(&mut self, kind: FaultKind) -> Option<FaultAction> {
        let fits = |system: &SystemSpecKind| match kind {
            FaultKind::Deadlock => matches!(system, SystemSpecKind::Database(_)),
            _ => true,
        };
        let systems = self.scenario.systems.iter().filter(|system| fits(&system.kind));
        let names: Vec<String> = systems
            .map(|system| system.name.clone())
            .filter(|name| self.allowed(name, "systems"))
            .collect();
        let actor = self.draws.pick(&names)?.clone();
        let trouble = match kind {
            FaultKind::Deadlock => SystemTrouble::Deadlocks,
            FaultKind::SlowSink => SystemTrouble::Slow(
                // Replies come late, and later than clients wait for them.
                self.span(Duration::from_millis(10), Duration::from_secs(10)),
            ),
            FaultKind::UnknownCommit => SystemTrouble::UnknownCommits,
            _ => SystemTrouble::Errors,
        };
        let duration = self.span(Duration::from_millis(50), Duration::from_secs(20));
        Some(FaultAction::System { actor, trouble, duration })
    }

    /// A fault of one message, by logical address.
    fn message_fault(&mut self, kind: FaultKind) -> Option<PlannedFault> {
        let response = kind == FaultKind::AckLoss;
        // Every such message has a client at one end; a target that is none is the other.
        let (client, server) = match self.client() {
            Some(client) => (client, None),
            None if self.scenario.systems.is_empty() => (self.any_client()?, Some(self.broker()?)),
            None => {
                let server = self.target(&SERVERS)?;
                (self.client_of(&server, kind)?, Some(server))
            }
        };
        let apis = self.apis_of(&client, server.as_deref(), kind);
        let api = *self.draws.pick(&apis)?;
        let nth = self.span(Duration(1), Duration(64)).0;
        let (from, to) = if response { (server, Some(client)) } else { (Some(client), server) };
        let pattern = MessagePattern { response: Some(response), api: Some(api), from, to };
        let action = match kind {
            FaultKind::Duplicate => {
                FaultAction::Duplicate(self.span(Duration::from_millis(1), Duration::from_secs(5)))
            }
            FaultKind::Delay => {
                FaultAction::Delay(self.span(Duration::from_millis(10), Duration::from_secs(40)))
            }
            _ => FaultAction::Drop,
        };
        let nth = u32::try_from(nth).expect("a small number");
        Some(PlannedFault { trigger: Trigger::OnMessage { pattern, nth }, action })
    }

    /// Some message between a client and Kafka or a system: what goes wrong may go wrong then.
    pub(super) fn some_message(&mut self) -> Option<MessagePattern> {
        let client = self.any_client()?;
        let apis = self.apis_of(&client, None, FaultKind::RequestLoss);
        let api = *self.draws.pick(&apis)?;
        let response = self.draws.below_inclusive(1) == 1;
        let (from, to) = if response { (None, Some(client)) } else { (Some(client), None) };
        Some(MessagePattern { response: Some(response), api: Some(api), from, to })
    }

    /// What a client sends, to this server if to one, that a message fault may hit.
    fn apis_of(&self, client: &str, server: Option<&str>, kind: FaultKind) -> Vec<MessageApi> {
        let member = self.cast.iter().find(|member| member.name == client);
        let is_system = |name: &str| self.scenario.systems.iter().any(|it| it.name == name);
        let (mut apis, mut operations) = (Vec::new(), Vec::new());
        if !server.is_some_and(is_system) {
            apis = self.kafka_apis(member, kind);
        }
        if let Some(part) = member.map(|member| member.part) {
            operations = self.operations(part, server, kind);
        }
        let apis = apis.into_iter().map(MessageApi::Kafka);
        apis.chain(operations.into_iter().map(MessageApi::System)).collect()
    }

    /// What a client asks of systems outside of Kafka, or of the one that is named.
    fn operations(&self, part: Part<'_>, server: Option<&str>, kind: FaultKind) -> Vec<Operation> {
        let sink = |id: Option<SinkId>| Some(self.scenario.sinks[usize::from(id?.0)].system);
        let database = [Operation::Begin, Operation::Execute, Operation::Commit];
        let of = |system: SystemId| match self.scenario.systems[usize::from(system.0)].kind {
            SystemSpecKind::Database(_) => database.to_vec(),
            SystemSpecKind::Api(_) => vec![Operation::Perform],
            SystemSpecKind::Staging { .. } => {
                vec![Operation::Prepare, Operation::Finish, Operation::Pending]
            }
        };
        let (system, operations) = match part {
            Part::Consumer(spec) => (sink(spec.sink), None),
            Part::Processor(spec, _) => (sink(spec.sink), None),
            Part::Service(spec) => (Some(spec.database), None),
            Part::Relay(spec, _) => {
                let reads = match spec.kind {
                    RelayKind::Poll { .. } => Operation::Execute,
                    RelayKind::Capture { .. } => Operation::Capture,
                };
                (Some(spec.database), Some(vec![reads]))
            }
            _ => (None, None),
        };
        let Some(system) = system else { return Vec::new() };
        let name = &self.scenario.systems[usize::from(system.0)].name;
        if server.is_some_and(|server| server != name) {
            return Vec::new();
        }
        let mut operations = operations.unwrap_or_else(|| of(system));
        if kind == FaultKind::Duplicate {
            // A proxy repeats what travels over HTTP; a database's protocol has none.
            operations.retain(|operation| {
                matches!(operation, Operation::Perform | Operation::Prepare | Operation::Finish)
            });
        }
        operations
    }

    fn kafka_apis(&self, member: Option<&Member<'_>>, kind: FaultKind) -> Vec<ApiKey> {
        let (produces, consumes, transactional) = match member.map(|member| member.part) {
            Some(Part::Producer(spec, _)) => (true, false, spec.transactions.is_some()),
            Some(Part::Processor(spec, _)) => (true, true, spec.transactional_id.is_some()),
            // With an outbox a relay speaks for the service.
            Some(Part::Service(spec)) => {
                (!matches!(spec.announce, Announce::Outbox(_)), false, false)
            }
            Some(Part::Relay(spec, _)) => (true, false, spec.transactional_id.is_some()),
            _ => (false, true, false),
        };
        let mut apis = Vec::new();
        if produces {
            apis.push(ApiKey::Produce);
        }
        if transactional {
            apis.extend([ApiKey::EndTxn, ApiKey::InitProducerId]);
            // The client adds partitions itself before KIP-890.
            let adds = !self.scenario.broker_config.transaction_version.bumps_per_transaction();
            if adds {
                apis.push(ApiKey::AddPartitionsToTxn);
            }
            if consumes {
                apis.push(ApiKey::TxnOffsetCommit);
            }
            if consumes && adds {
                apis.push(ApiKey::AddOffsetsToTxn);
            }
        }
        // A proxy that repeats a request does so with writes.
        if consumes && kind == FaultKind::Duplicate {
            apis.push(ApiKey::OffsetCommit);
        } else if consumes {
            apis.extend(CONSUMER_APIS);
        }
        apis
    }

    /// A short while, or none at all.
    pub(super) fn short(&mut self) -> Duration {
        if self.draws.below_inclusive(2) == 0 {
            return Duration::ZERO;
        }
        self.span(Duration(10_000), Duration::from_millis(50))
    }

    fn span(&mut self, first: Duration, last: Duration) -> Duration {
        // Whole microseconds: a plan that is printed and read back is the same plan.
        let span = self.draws.log_between(first, last);
        if span.0 < 1_000 { span } else { Duration(span.0 / 1_000 * 1_000) }
    }

    fn allowed(&self, name: &str, class: &str) -> bool {
        self.spec.targets.is_empty()
            || self.spec.targets.iter().any(|target| target == class || is_instance(name, target))
    }

    /// Names of the actors of some classes, in the order of the classes.
    fn names(&self, classes: &[&'static str]) -> Vec<(String, &'static str)> {
        let of = |class: &'static str| {
            let members = self.cast.iter().filter(move |member| member.part.class() == Some(class));
            members.map(move |member| (member.name.clone(), class))
        };
        classes.iter().flat_map(|class| of(class)).collect()
    }

    /// A target of one of the classes.
    fn target(&mut self, classes: &[&'static str]) -> Option<String> {
        let candidates = self.names(classes);
        let names: Vec<String> = candidates
            .into_iter()
            .filter(|(name, class)| self.allowed(name, class))
            .map(|(name, _)| name)
            .collect();
        self.draws.pick(&names).cloned()
    }

    fn broker(&mut self) -> Option<String> {
        self.target(&["brokers"])
    }

    /// The far end of a link: any broker or system, as `targets` says at whom a fault aims.
    fn peer(&mut self) -> Option<String> {
        let names: Vec<String> = self.names(&SERVERS).into_iter().map(|(name, _)| name).collect();
        self.draws.pick(&names).cloned()
    }

    fn consumer(&mut self) -> Option<String> {
        self.target(&["consumers", "processors"])
    }

    fn client(&mut self) -> Option<String> {
        self.target(&CLIENTS)
    }

    fn any_client(&mut self) -> Option<String> {
        let names: Vec<String> = self.names(&CLIENTS).into_iter().map(|(name, _)| name).collect();
        self.draws.pick(&names).cloned()
    }

    /// Somebody who asks this server for something.
    fn client_of(&mut self, server: &str, kind: FaultKind) -> Option<String> {
        let names = self.names(&CLIENTS).into_iter().map(|(name, _)| name);
        let names: Vec<String> =
            names.filter(|name| !self.apis_of(name, Some(server), kind).is_empty()).collect();
        self.draws.pick(&names).cloned()
    }

    fn anybody(&mut self) -> Option<String> {
        self.target(&ANYBODY)
    }

    fn partition(&mut self) -> Option<String> {
        let partitions: Vec<String> = self
            .scenario
            .topics
            .iter()
            .filter(|topic| !topic.config.is_internal())
            .flat_map(|topic| (0..topic.config.partitions).map(|p| format!("{}-{p}", topic.name)))
            .collect();
        self.draws.pick(&partitions).cloned()
    }
}
