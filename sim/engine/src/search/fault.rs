//! One fault, drawn: of a kind, on somebody whom it fits, at some moment.
//!
//! What a strategy decides (of which kinds, how many, when, on whom) is not decided here.

use oncesim_kafka::message::ApiKey;
use oncesim_spec::{
    Announce, Coordinated, DiskFault, FaultAction, FaultKind, MessageApi, MessagePattern,
    PlannedFault, RelayKind, Scenario, SwarmSpec, SystemSpecKind, SystemTrouble, Trigger,
};
use oncesim_types::{Duration, Instant, Operation, SinkId, SystemId};

use crate::cast::{Member, Part, cast, horizon, is_instance};
use crate::draw::Draws;

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

/// What brokers and the controller ask of each other, and clients do not.
const INNER_APIS: [ApiKey; 3] =
    [ApiKey::ReplicaFetch, ApiKey::AlterPartition, ApiKey::OffsetForLeaderEpoch];

/// The same, when there are transactions. Markers are few and matter most: they count twice.
const INNER_APIS_OF_TRANSACTIONS: [ApiKey; 5] = [
    ApiKey::WriteTxnMarkers,
    ApiKey::WriteTxnMarkers,
    ApiKey::AddPartitionsToTxn,
    ApiKey::ReplicaFetch,
    ApiKey::AlterPartition,
];

/// Draws faults that a scenario declares.
pub(super) struct FaultDraw<'a> {
    scenario: &'a Scenario,
    spec: &'a SwarmSpec,
    pub(super) draws: Draws,
    cast: Vec<Member<'a>>,
    /// So many in a hundred brokers are named by what they do when the fault strikes.
    by_role: u64,
    pub(super) until: Instant,
}

impl<'a> FaultDraw<'a> {
    /// Everybody is named by name.
    pub(super) fn new(scenario: &'a Scenario, spec: &'a SwarmSpec, draws: Draws) -> Self {
        let until = spec.until.map_or_else(|| horizon(scenario), |span| Instant::ZERO + span);
        FaultDraw { scenario, spec, draws, cast: cast(scenario, &[]), by_role: 0, until }
    }

    /// So many in a hundred brokers are named by role: the leader of a partition, a coordinator.
    pub(super) fn by_role(mut self, percent: u64) -> Self {
        self.by_role = percent;
        self
    }

    /// Whether something happens in so many of a hundred cases.
    pub(super) fn percent(&mut self, share: u64) -> bool {
        self.draws.below_inclusive(99) < share
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
                let of = self.coordinated();
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

    /// When some message is sent or arrives, or a little later: one of the victim's, more often than
    /// not, because a process is in the middle of something when it has just sent or heard something.
    pub(super) fn aimed(&mut self, action: &FaultAction) -> Option<Trigger> {
        const OF_THE_VICTIM: u64 = 70;
        const INNER: u64 = 33;
        let victim = action.actors().first().copied().cloned();
        let victim = victim.filter(|_| self.percent(OF_THE_VICTIM));
        let is_client =
            |name: &String| self.class_of(name).is_some_and(|class| CLIENTS.contains(&class));
        let (client, server) = match victim {
            Some(name) if is_client(&name) => (Some(name), None),
            other => (None, other),
        };
        let inner = client.is_none() && self.percent(INNER);
        let pattern =
            if inner { self.inner_message(server) } else { self.message(client, server)? };
        let nth = self.draws.log_between(Duration(1), Duration(64)).0;
        let nth = u32::try_from(nth).expect("a small number");
        let delay = self.short();
        Some(if self.draws.below_inclusive(1) == 0 {
            Trigger::Sent { pattern, nth, delay }
        } else {
            Trigger::Delivered { pattern, nth, delay }
        })
    }

    /// A message among brokers and the controller.
    fn inner_message(&mut self, end: Option<String>) -> MessagePattern {
        let apis: &[ApiKey] = if self.scenario.transactional_ids.is_empty() {
            &INNER_APIS
        } else {
            &INNER_APIS_OF_TRANSACTIONS
        };
        let api = *self.draws.pick(apis).expect("there are some");
        let response = self.draws.below_inclusive(1) == 1;
        let sends = self.draws.below_inclusive(1) == 0;
        let (from, to) = if sends { (end, None) } else { (None, end) };
        MessagePattern { response: Some(response), api: Some(MessageApi::Kafka(api)), from, to }
    }

    /// A message between a client and Kafka or a system.
    fn message(
        &mut self,
        client: Option<String>,
        server: Option<String>,
    ) -> Option<MessagePattern> {
        let kind = FaultKind::RequestLoss;
        // A role is no name of a server: anybody may ask it for something.
        let named = server.clone().filter(|name| self.class_of(name).is_some());
        let client = match (client, &named) {
            (Some(client), _) => client,
            (None, Some(server)) => self.client_of(server, kind)?,
            (None, None) => self.any_client()?,
        };
        let apis = self.apis_of(&client, named.as_deref(), kind);
        let api = *self.draws.pick(&apis)?;
        let response = self.draws.below_inclusive(1) == 1;
        let (from, to) = if response { (server, Some(client)) } else { (Some(client), server) };
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
        let name = self.draws.pick(&names)?.clone();
        let by_role = self.by_role > 0 && self.is_any_broker(&name) && self.percent(self.by_role);
        if by_role { self.role().or(Some(name)) } else { Some(name) }
    }

    /// Whether it is a broker, and every other broker would do.
    fn is_any_broker(&self, name: &str) -> bool {
        self.allowed(name, "brokers")
            && (self.spec.targets.is_empty() || self.spec.targets.iter().any(|it| it == "brokers"))
            && self.class_of(name) == Some("brokers")
    }

    fn class_of(&self, name: &str) -> Option<&'static str> {
        let member = self.cast.iter().find(|member| member.name == name);
        member.and_then(|member| member.part.class())
    }

    /// A broker by what it does: a leader, or a coordinator.
    fn role(&mut self) -> Option<String> {
        let coordinates = |of: Coordinated| match of {
            Coordinated::Group(group) => format!("coordinator of {group}"),
            Coordinated::Transaction(id) => format!("transaction coordinator of {id}"),
        };
        let coordinators: Vec<String> = self.coordinated().into_iter().map(coordinates).collect();
        let leaders: Vec<String> =
            self.partitions().into_iter().map(|it| format!("leader of {it}")).collect();
        let coordinates = self.draws.below_inclusive(1) == 0 && !coordinators.is_empty();
        self.draws.pick(if coordinates { &coordinators } else { &leaders }).cloned()
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
        let partitions = self.partitions();
        self.draws.pick(&partitions).cloned()
    }

    fn partitions(&self) -> Vec<String> {
        let topics = self.scenario.topics.iter().filter(|topic| !topic.config.is_internal());
        topics
            .flat_map(|it| (0..it.config.partitions).map(|p| format!("{}-{p}", it.name)))
            .collect()
    }

    /// Who has a coordinator.
    fn coordinated(&self) -> Vec<Coordinated> {
        let Scenario { groups, transactional_ids, .. } = self.scenario;
        let groups = groups.iter().map(|name| Coordinated::Group(name.clone()));
        let ids = transactional_ids.iter().map(|id| Coordinated::Transaction(id.clone()));
        groups.chain(ids).collect()
    }
}
