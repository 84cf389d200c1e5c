//! The world of one run: actors, network, disks, clocks and faults, stepped from one event queue.

mod about;
mod applications;
mod build;
mod description;
mod effects;
mod external;
pub(crate) mod faults;
mod fork;
mod phases;
mod process;
mod record;
mod roles;
mod steps;
mod systems;
mod trace;
mod trace_external;
mod traffic;

pub(crate) use faults::kind as fault_kind;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use oncesim_kafka::broker::{Broker, BrokerDisk};
use oncesim_kafka::config::TopicConfig;
use oncesim_kafka::consumer::{Consumer, ConsumerCompletion};
use oncesim_kafka::controller::{Controller, ControllerDisk};
use oncesim_kafka::machine::{Effects, Input, WriteId};
use oncesim_kafka::producer::Producer;
use oncesim_spec::{FaultPlan, Scenario};
use oncesim_types::{
    ActorId, CallId, ConnectionId, CorrelationId, Duration, GroupId, Instant, Offset, RecordId,
    TopicPartition, TransactionNumber, TransactionalId,
};

use crate::app::auditor::AuditorApp;
use crate::app::consumer::ConsumerApp;
use crate::app::processor::ProcessorApp;
use crate::app::producer::ProducerApp;
use crate::app::relay::RelayApp;
use crate::app::service::ServiceApp;
use crate::app::transactional::TransactionalApp;
use crate::clock::Clock;
use crate::coverage::Coverage;
use crate::mail::Mail;
use crate::network::Network;
use crate::outcome::{FaultReport, Fork, RunEnd};
use crate::queue::Queue;
use crate::recorder::Recorder;
use crate::sighting::{Act, Sighting};
use crate::timers::{Due, Timers};
use oncesim_history::trace::{StepId, Trace};

/// What waits in the queue. Small and plain: a message itself lies in the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A message arrives; the addressee beside it, so that a pause need not open it.
    Message { slot: u32, to: ActorId },
    /// A queue entry of a machine's timer comes up.
    Timer { actor: ActorId, incarnation: u32, slot: u32, generation: u32 },
    /// An application wakes up.
    Wake { actor: ActorId, incarnation: u32, generation: u32 },
    /// A flush is on the platter.
    Durable { actor: ActorId, incarnation: u32, write: WriteId },
    /// A client learns that its connection is gone.
    Disconnected { client: ActorId, incarnation: u32, connection: ConnectionId },
    /// A server learns that a connection is gone.
    ConnectionClosed { server: ActorId, incarnation: u32, connection: ConnectionId },
    /// A system's reply goes out; the message beside it.
    Reply { slot: u32, system: ActorId, incarnation: u32 },
    /// A client of a system has waited for an answer for long.
    AskDue { actor: ActorId, incarnation: u32, correlation: CorrelationId },
    /// A process starts.
    Start { actor: ActorId },
    /// A hosted task's sleep is over.
    Awake { ticket: u64 },
    /// A fault of the plan strikes.
    Strike { fault: u32 },
    /// A fault of the plan ends.
    Heal { fault: u32 },
    /// Time to look whether the phase is over.
    Look,
}

/// The process of an actor, or what is left of it.
enum Process {
    Controller(Box<Controller>),
    Broker(Box<Broker>),
    Producer(Box<Producer>),
    Consumer(Box<Consumer>),
    /// Any other machine: the workload of a bench.
    Other(Box<dyn oncesim_kafka::machine::Machine>),
    /// Sends what an operator would send.
    Admin,
    /// A system outside of Kafka.
    System(Box<oncesim_external::System>),
    /// Nothing runs; what a system has made durable is left.
    SystemDown(Box<oncesim_external::System>),
    /// Nothing runs; a controller's log is left.
    ControllerDown(ControllerDisk),
    /// Nothing runs; a broker's disk is left.
    BrokerDown(Box<BrokerDisk>),
    /// Nothing runs, nothing is left.
    Down,
}

/// The application of an actor.
enum App {
    None,
    Producer(Box<ProducerApp>),
    /// A producer application that writes in transactions.
    Transactional(Box<TransactionalApp>),
    Consumer(Box<ConsumerApp>),
    Processor(Box<ProcessorApp>),
    Service(Box<ServiceApp>),
    Relay(Box<RelayApp>),
    /// Another client of a process: its application is that of the process' first actor.
    Companion {
        process: ActorId,
        client: Client,
    },
    Auditor(AuditorApp),
    /// A hosted task, with the configuration of its producer.
    Hosted {
        config: oncesim_kafka::config::ProducerConfig,
        ended: bool,
    },
}

/// What a process needs besides its first client, with its configuration.
enum Client {
    Producer(Box<oncesim_kafka::config::ProducerConfig>),
    Restore(Box<oncesim_kafka::config::ConsumerConfig>),
}

/// What reaches an application, held back while its thread stands still.
enum AppInput {
    Completion(CallId, oncesim_kafka::machine::Completion),
    /// A call of the restore consumer ended.
    Restore(ConsumerCompletion),
    LogEnds(Vec<(TopicPartition, Option<Offset>)>),
    Callback(oncesim_kafka::consumer::RebalanceCallback),
    /// A system's answer to the request with this number.
    Answer(CallId, crate::app::Answer),
    Wake,
}

/// One actor.
struct Actor {
    name: String,
    /// As faults name actors of its kind.
    class: Option<&'static str>,
    /// The first actor of its process: itself, unless a process has several clients.
    process_of: ActorId,
    group: Option<GroupId>,
    /// The `transactional.id` of its producer, or of the one producer of its process.
    transactional_id: Option<TransactionalId>,
    /// The transaction of its producer that was begun last.
    transaction: TransactionNumber,
    /// The call of the transaction API that has not returned.
    transaction_call: Option<(CallId, record::TransactionCall)>,
    incarnation: u32,
    process: Process,
    app: App,
    /// Power failed: peers get no reset, connecting takes until a timeout.
    dark: bool,
    paused: u32,
    app_paused: u32,
    /// What came while it stood still.
    inbox: Vec<Event>,
    app_inbox: Vec<AppInput>,
    clock: Clock,
    timers: Timers,
    wake_generation: u32,
    wake_at: Option<Instant>,
    disk_full: u32,
    lost_flush: u32,
    /// It halted because its disk was full, and starts when there is room.
    waits_for_room: bool,
    correlation: u32,
    /// What it has asked of systems and waits for.
    asks: Vec<systems::Ask>,
    /// Where it has a transaction open, as far as it knows: the system, and on which connection.
    sessions: Vec<(ActorId, ConnectionId)>,
    /// Records that are sent on and were made by somebody else, by the call.
    sends: BTreeMap<CallId, RecordId>,
}

impl Actor {
    fn is_up(&self) -> bool {
        !matches!(
            self.process,
            Process::ControllerDown(_)
                | Process::BrokerDown(_)
                | Process::SystemDown(_)
                | Process::Down
        )
    }
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The workload runs, faults strike.
    Faults,
    /// Everything has healed; the world comes to rest.
    Settling,
    /// A fresh client reads every topic.
    Draining,
    Over,
}

/// One planned fault while the run lasts.
struct FaultState {
    report: FaultReport,
    /// Matching messages seen.
    seen: u32,
    /// It strikes on a message, and has not yet.
    armed: bool,
    /// It has struck and not ended.
    active: bool,
    /// It belongs to a future that this run no longer has.
    called_off: bool,
    undo: Vec<faults::Undo>,
}

/// The world of one run.
pub(crate) struct World {
    scenario: Arc<Scenario>,
    seed: u64,
    /// What the network and the disks draw from: the seed, or that of a fork.
    luck: u64,
    /// The step before which the run forks, and into which future.
    fork: Fork,
    plan: FaultPlan,
    now: Instant,
    queue: Queue<Event>,
    mail: Mail,
    actors: Vec<Actor>,
    network: Network,
    recorder: Recorder,
    topics: Rc<[TopicConfig]>,
    broker_config: Rc<oncesim_kafka::config::BrokerConfig>,
    brokers: Rc<[ActorId]>,
    /// Systems outside of Kafka, by [`oncesim_types::SystemId`].
    systems: Rc<[ActorId]>,
    /// When the last reply on a connection to a system goes out.
    replies: BTreeMap<ConnectionId, Instant>,
    faults: Vec<FaultState>,
    /// Faults that a message of this API may set off: one bit per API.
    armed_apis: u64,
    /// When the last message arrives that a fault delayed or repeated.
    late_until: Instant,
    /// Ends of connections that a partition keeps from those who have not heard of them.
    held_news: Vec<Event>,
    phase: Phase,
    phase_since: Instant,
    producers_done_at: Option<Instant>,
    /// How many rounds relays had begun when everything else was seen at rest, in their order.
    relay_rounds: Option<Vec<u64>>,
    horizon: Instant,
    pending: VecDeque<(ActorId, Input)>,
    effects: Effects,
    system_effects: oncesim_external::Effects,
    settled: bool,
    events: u64,
    messages: u64,
    budget_exhausted: bool,
    /// Which step this is, counted from 0, the beginning.
    steps: StepId,
    /// Kept when somebody asks for it.
    tracing: Option<Box<steps::Tracing>>,
    /// Counted when somebody asks for it.
    traffic: Option<Box<oncesim_history::traffic::Traffic>>,
}

/// What a turn of the world brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It goes on; the time is this.
    Next(Instant),
    /// It is over.
    Over,
}

impl World {
    /// Takes the next event.
    pub(crate) fn turn(&mut self) -> Turn {
        if self.phase == Phase::Over {
            return Turn::Over;
        }
        let Some((time, event)) = self.queue.pop() else {
            // Nothing can happen any more, not even a look at the phase: cannot be, but must not
            // hang.
            self.phase = Phase::Over;
            return Turn::Over;
        };
        self.now = self.now.max(time);
        self.recorder.set_now(self.now);
        self.events += 1;
        self.begin_step(&event);
        if self.events > self.scenario.limits.events {
            self.report_stuck();
            self.give_up();
            return Turn::Over;
        }
        self.dispatch(event);
        self.run_pending();
        Turn::Next(self.now)
    }

    /// Ends the run in the middle: a budget is used up.
    fn give_up(&mut self) {
        self.budget_exhausted = true;
        self.phase = Phase::Over;
    }

    fn dispatch(&mut self, event: Event) {
        // The end of a session comes after all that was sent on it, also to one that stands still.
        if let Event::ConnectionClosed { server, connection, .. } = event
            && self.is_system(server)
        {
            if self.is_unheard(&event, connection) {
                self.held_news.push(event);
                return;
            }
            if let Some(at) = self.network.still_coming(connection, self.now) {
                // What caused it stays its cause.
                self.queue.push(at, event);
                return;
            }
        }
        if let Some(actor) = self.addressee(&event)
            && self.actor(actor).paused > 0
        {
            self.actor_mut(actor).inbox.push(event);
            return;
        }
        match event {
            Event::Message { slot, .. } => self.deliver(slot),
            Event::Timer { actor, incarnation, slot, generation } => {
                self.timer_due(actor, incarnation, slot, generation);
            }
            Event::Wake { actor, incarnation, generation } => {
                let current = self.actor(actor);
                if current.incarnation == incarnation && current.wake_generation == generation {
                    self.digest(2, actor, actor, 0);
                    self.actor_mut(actor).wake_at = None;
                    self.app_input(actor, AppInput::Wake);
                }
            }
            Event::Durable { actor, incarnation, write } => {
                if self.actor(actor).incarnation == incarnation && self.actor(actor).is_up() {
                    self.digest(3, actor, actor, write.0);
                    self.step(actor, Input::Durable(write));
                }
            }
            Event::Disconnected { connection, .. } | Event::ConnectionClosed { connection, .. }
                if self.is_unheard(&event, connection) =>
            {
                self.held_news.push(event);
            }
            Event::Disconnected { client, incarnation, connection } => {
                self.disconnected(client, incarnation, connection);
            }
            Event::ConnectionClosed { server, incarnation, connection } => {
                let peer = self.network.connection(connection).client;
                if self.actor(server).incarnation == incarnation && self.actor(server).is_up() {
                    self.digest(5, server, peer, u64::from(connection.0));
                    self.step(server, Input::ConnectionClosed { peer, connection });
                }
            }
            Event::Reply { slot, system, incarnation } => self.reply(slot, system, incarnation),
            Event::AskDue { actor, incarnation, correlation } => {
                self.ask_due(actor, incarnation, correlation);
            }
            Event::Start { actor } => self.start(actor),
            Event::Awake { ticket } => {
                self.digest(10, build::CONTROLLER, build::CONTROLLER, ticket);
                crate::hosted::awake(ticket);
            }
            Event::Strike { fault } => self.strike(fault),
            Event::Heal { fault } => self.heal(fault),
            Event::Look => self.look(),
        }
    }

    /// Whom an event reaches, if it can be held back by a pause.
    fn addressee(&self, event: &Event) -> Option<ActorId> {
        match event {
            Event::Message { to, .. } => Some(*to),
            Event::Timer { actor, .. }
            | Event::Wake { actor, .. }
            | Event::AskDue { actor, .. }
            | Event::Durable { actor, .. } => Some(*actor),
            Event::Reply { system, .. } => Some(*system),
            Event::Disconnected { client, .. } => Some(*client),
            Event::ConnectionClosed { server, .. } => Some(*server),
            Event::Start { .. }
            | Event::Awake { .. }
            | Event::Strike { .. }
            | Event::Heal { .. }
            | Event::Look => None,
        }
    }

    fn timer_due(&mut self, actor: ActorId, incarnation: u32, slot: u32, generation: u32) {
        let now = self.now;
        let target = self.actor_mut(actor);
        if target.incarnation != incarnation || !target.is_up() {
            self.events -= 1;
            return;
        }
        match target.timers.due(now, slot, generation) {
            Due::Fires(key) => {
                self.timer_fires(actor, key);
                self.digest(1, actor, actor, key.0);
                self.step_now(actor, Input::Timer(key));
            }
            Due::Later(arm) => {
                self.events -= 1;
                let event =
                    Event::Timer { actor, incarnation, slot: arm.slot, generation: arm.generation };
                self.queue.push(arm.at, event);
            }
            // A moved or cancelled timer is no event.
            Due::Nothing => self.events -= 1,
        }
    }

    /// Records what concerns the world as a whole: the controller's process of the moment says it.
    fn narrate(&mut self, event: oncesim_history::WorldEvent) {
        let who = (build::CONTROLLER, self.actor(build::CONTROLLER).incarnation);
        self.recorder.world(who, event);
    }

    fn actor(&self, actor: ActorId) -> &Actor {
        &self.actors[usize::from(actor.0)]
    }

    fn actor_mut(&mut self, actor: ActorId) -> &mut Actor {
        &mut self.actors[usize::from(actor.0)]
    }

    /// Covers one step of the kernel with the digest: what kind, whose, with whom, which.
    fn digest(&mut self, tag: u8, actor: ActorId, peer: ActorId, what: u64) {
        let place = u64::from(tag) << 32 | u64::from(actor.0) << 16 | u64::from(peer.0);
        self.recorder.digest((self.now.0 ^ place.rotate_right(20), what));
    }
}

/// What is left when a run is over.
pub(crate) struct Parts {
    pub(crate) seed: u64,
    pub(crate) plan: FaultPlan,
    pub(crate) history: oncesim_history::History,
    pub(crate) digest: crate::outcome::Digest,
    pub(crate) events: u64,
    pub(crate) messages: u64,
    pub(crate) faults: Vec<FaultReport>,
    pub(crate) world: Vec<String>,
    pub(crate) coverage: Coverage,
    pub(crate) trace: Trace,
    pub(crate) traffic: oncesim_history::traffic::Traffic,
    pub(crate) sightings: Vec<Sighting>,
    pub(crate) acts: Vec<Act>,
}

impl World {
    /// How often a planted bug changed what happened.
    pub(crate) fn recorder_hits(&self) -> u64 {
        self.recorder.mutation_hits
    }

    /// Ends the run.
    pub(crate) fn finish(mut self) -> (RunEnd, Parts) {
        let end = match (self.budget_exhausted, self.settled) {
            (true, _) => RunEnd::BudgetExhausted,
            (false, true) => RunEnd::Settled,
            (false, false) => RunEnd::NotSettled,
        };
        let world = self.describe();
        let traffic = self.take_traffic();
        let mut tracing = self.tracing.map(|it| *it).unwrap_or_default();
        tracing.trace.processes = self.actors.iter().map(|actor| actor.process_of).collect();
        let (history, digest, mut coverage) = self.recorder.finish();
        coverage.merge(&Coverage::of(&history, &self.plan));
        let parts = Parts {
            seed: self.seed,
            plan: self.plan,
            history,
            digest,
            events: self.events,
            messages: self.messages,
            faults: self.faults.into_iter().map(|state| state.report).collect(),
            world,
            coverage,
            traffic,
            trace: tracing.trace,
            sightings: tracing.sightings,
            acts: tracing.acts,
        };
        (end, parts)
    }
}

/// What hosted tasks ask of the world.
impl World {
    /// The actor of the `index`-th hosted task.
    pub(crate) fn hosted_actor(&self, index: usize) -> ActorId {
        let first = self
            .actors
            .iter()
            .position(|actor| matches!(actor.app, App::Hosted { .. }))
            .expect("a hosted task has an actor");
        ActorId(u16::try_from(first + index).expect("few actors"))
    }

    /// Whether the clients of hosted tasks are up.
    pub(crate) fn hosted_have_started(&self) -> bool {
        self.phase == Phase::Over
            || self
                .actors
                .iter()
                .filter(|actor| matches!(actor.app, App::Hosted { .. }))
                .all(Actor::is_up)
    }

    /// A hosted task was polled so many times without waiting for anything.
    pub(crate) fn hosted_never_waits(&mut self, actor: ActorId, polls: usize) {
        let detail = format!(
            "the task {} was polled {polls} times at one moment: it never waits",
            self.actor(actor).name
        );
        let event =
            oncesim_history::WorldEvent::Stuck { id: "unresolved-op", partition: None, detail };
        self.recorder.world((build::CONTROLLER, 0), event);
        self.give_up();
    }

    /// A hosted task calls its client.
    pub(crate) fn hosted_call(
        &mut self,
        actor: ActorId,
        call: CallId,
        body: oncesim_kafka::machine::Call,
    ) {
        self.record_call(actor, call, 1, &body);
        self.step(actor, Input::Call(call, body));
        self.run_pending();
    }

    /// A hosted task sleeps.
    pub(crate) fn hosted_sleep(&mut self, ticket: u64, span: Duration) {
        self.schedule(self.now + span, Event::Awake { ticket });
    }

    /// A hosted task has ended.
    pub(crate) fn hosted_ended(&mut self, actor: ActorId) {
        if let App::Hosted { ended, .. } = &mut self.actor_mut(actor).app {
            *ended = true;
        }
    }
}

/// What benches need.
impl World {
    /// Lets another machine be an actor's process.
    pub(crate) fn replace_process(
        &mut self,
        actor: ActorId,
        machine: Box<dyn oncesim_kafka::machine::Machine>,
    ) {
        self.actor_mut(actor).process = Process::Other(machine);
        // A bench decides itself when it is over.
        self.horizon = Instant::NEVER;
        self.step(actor, Input::Start);
        self.run_pending();
    }

    /// Messages delivered so far.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }
}
