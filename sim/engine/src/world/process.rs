//! Processes: start, crash, pause, resume.

use oncesim_history::WorldEvent;
use oncesim_kafka::broker::{Broker, Crash};
use oncesim_kafka::config::{ConsumerConfig, ProducerConfig};
use oncesim_kafka::consumer::Consumer;
use oncesim_kafka::controller::Controller;
use oncesim_kafka::machine::Input;
use oncesim_kafka::producer::Producer;
use oncesim_types::{ActorId, Duration, Offset, TransactionNumber, TransactionalId};

use super::build::CONTROLLER;
use super::{App, Client, Event, Process, World};
use crate::cast::{has_transactions, outside_reader};
use crate::draw::{Draws, Purpose};
use crate::timers::Timers;
use oncesim_history::trace::LineKind;

/// How long a client application takes to start again after it closed in good order.
const RESTART_TIME: Duration = Duration::from_millis(200);

impl World {
    /// Starts an actor's process, for the first time or again.
    pub(super) fn start(&mut self, actor: ActorId) {
        let actor = self.actor(actor).process_of;
        if self.actor(actor).is_up() {
            return;
        }
        if self.actor(actor).transactional_id.is_some() {
            self.make_up_transactional_id(actor);
        }
        for client in self.companions(actor) {
            self.start_client(client);
        }
        if self.start_client(actor) {
            self.start_app(actor);
        }
    }

    /// Starts one client of a process; false if it cannot start.
    fn start_client(&mut self, actor: ActorId) -> bool {
        if self.actor(actor).disk_full > 0 && self.actor(actor).waits_for_room {
            return false;
        }
        let fresh = matches!(self.actor(actor).process, Process::Down)
            && self.actor(actor).incarnation == 0;
        let left = std::mem::replace(&mut self.actor_mut(actor).process, Process::Down);
        let left = if fresh { self.first_disk(actor) } else { left };
        let process = self.new_process(actor, left);
        let target = self.actor_mut(actor);
        target.process = process;
        target.dark = false;
        target.waits_for_room = false;
        let lost_flush = target.lost_flush > 0;
        if let Process::Broker(broker) = &mut target.process {
            broker.set_lost_flush(lost_flush);
        }
        self.started(actor);
        self.trace_note(actor, LineKind::Started, "starts");
        self.step(actor, Input::Start);
        self.run_pending();
        true
    }

    fn start_app(&mut self, actor: ActorId) {
        let now = self.actor(actor).clock.read(self.now);
        let incarnation = self.actor(actor).incarnation;
        let mut out = Vec::new();
        match &mut self.actor_mut(actor).app {
            App::Producer(app) => app.start(now, &mut out),
            App::Transactional(app) => app.start(incarnation, &mut out),
            App::Consumer(app) => app.start(now, incarnation, &mut out),
            App::Processor(app) => app.start(now, incarnation, &mut out),
            App::Service(app) => app.start(now, &mut out),
            App::Relay(app) => app.start(now, &mut out),
            App::Auditor(app) => app.start(&mut out),
            App::None | App::Hosted { .. } | App::Companion { .. } => {}
        }
        self.app_effects(actor, out);
    }

    fn new_process(&self, actor: ActorId, left: Process) -> Process {
        let incarnation = self.actor(actor).incarnation;
        let mutations = self.scenario.mutations;
        let config = self.broker_config.clone();
        match (left, &self.actor(actor).app) {
            (Process::ControllerDown(disk), _) => {
                let (brokers, topics) = (self.brokers.clone(), self.topics.clone());
                Process::Controller(Box::new(Controller::new(
                    actor, &brokers, config, topics, mutations, disk,
                )))
            }
            (Process::BrokerDown(disk), _) => Process::Broker(Box::new(Broker::new(
                actor,
                incarnation,
                CONTROLLER,
                config,
                self.topics.clone(),
                mutations,
                *disk,
            ))),
            (Process::SystemDown(machine), _) => Process::System(machine),
            (_, App::Producer(app)) => self.new_producer(actor, app.spec().config.clone()),
            (_, App::Transactional(app)) => self.new_producer(actor, app.spec().config.clone()),
            (_, App::Service(app)) => self.new_producer(actor, app.spec().producer.clone()),
            (_, App::Relay(app)) => self.new_producer(actor, app.spec().producer.clone()),
            (_, App::Hosted { config, .. }) => self.new_producer(actor, config.clone()),
            (_, App::Companion { client: Client::Producer(config), .. }) => {
                self.new_producer(actor, config.as_ref().clone())
            }
            (_, App::Companion { client: Client::Restore(config), .. }) => {
                self.new_consumer(actor, config.as_ref().clone())
            }
            (_, App::Consumer(app)) => self.new_consumer(actor, app.spec().config.clone()),
            (_, App::Processor(app)) => self.new_consumer(actor, app.spec().consumer.clone()),
            (_, App::Auditor(_)) => {
                self.new_consumer(actor, outside_reader(has_transactions(&self.scenario)))
            }
            (_, App::None) => Process::Admin,
        }
    }

    fn new_producer(&self, actor: ActorId, mut config: ProducerConfig) -> Process {
        config.transactional_id = self.actor(actor).transactional_id;
        let (brokers, topics) = (self.brokers.clone(), self.topics.clone());
        let mutations = self.scenario.mutations;
        Process::Producer(Box::new(Producer::new(actor, brokers, config.into(), topics, mutations)))
    }

    fn new_consumer(&self, actor: ActorId, config: ConsumerConfig) -> Process {
        let incarnation = self.actor(actor).incarnation;
        let (brokers, topics) = (self.brokers.clone(), self.topics.clone());
        let mutations = self.scenario.mutations;
        Process::Consumer(Box::new(Consumer::new(
            actor,
            incarnation,
            brokers,
            config.into(),
            topics,
            mutations,
        )))
    }

    /// Another `transactional.id` for each start of a process, where an application does that; its
    /// clients know it by then.
    fn make_up_transactional_id(&mut self, actor: ActorId) {
        let incarnation = self.actor(actor).incarnation;
        let pattern = match &self.actor(actor).app {
            App::Transactional(app) => Some(&app.transactions().id),
            App::Processor(app) => app.spec().transactional_id.as_ref(),
            App::Relay(app) => app.spec().transactional_id.as_ref(),
            _ => None,
        };
        if let Some(pattern) = pattern
            && pattern.per_restart
            && incarnation > 0
        {
            let text = pattern.text.replace("{restart}", &incarnation.to_string());
            let ids = &mut self.recorder.history.transactional_ids;
            let id = u16::try_from(ids.len()).expect("a process starts fewer than 65,536 times");
            ids.push(text);
            self.actor_mut(actor).transactional_id = Some(TransactionalId(id));
        }
        let id = self.actor(actor).transactional_id;
        for client in self.companions(actor) {
            self.actor_mut(client).transactional_id = id;
        }
    }

    /// A process drops its producer client and makes another one.
    pub(super) fn replace_producer(&mut self, producer: ActorId) {
        // What was asked of the old client, and not begun, is not asked of the new one.
        self.pending
            .retain(|(actor, input)| *actor != producer || !matches!(input, Input::Call(..)));
        self.forget_process(producer);
        self.start_client(producer);
    }

    /// Kills an actor's process. With `power` its host goes dark: peers get no reset, and a broker
    /// loses what it had not flushed, from a drawn point on. False if it was down already.
    pub(super) fn crash(&mut self, actor: ActorId, power: bool) -> bool {
        if !self.actor(actor).is_up() || matches!(self.actor(actor).process, Process::Admin) {
            return false;
        }
        let who = (actor, self.actor(actor).incarnation);
        self.recorder.world(who, WorldEvent::Crashed { power });
        let text = if power { "loses power" } else { "crashes" };
        self.trace_note(actor, LineKind::Crashed { power }, text);
        let process = std::mem::replace(&mut self.actor_mut(actor).process, Process::Down);
        let left = match process {
            Process::Controller(machine) => Process::ControllerDown(machine.crash()),
            Process::Broker(machine) => self.crash_broker(actor, *machine, power),
            // What a system has acknowledged is on its disk.
            Process::System(mut machine) => {
                machine.crash();
                Process::SystemDown(machine)
            }
            other => {
                drop(other);
                Process::Down
            }
        };
        let target = self.actor_mut(actor);
        target.process = left;
        target.incarnation += 1;
        target.dark = power;
        target.timers = Timers::default();
        // Its successor is another process: nobody has stopped that one.
        target.paused = 0;
        target.app_paused = 0;
        let inbox = std::mem::take(&mut target.inbox);
        target.app_inbox.clear();
        target.asks.clear();
        target.sessions.clear();
        target.sends.clear();
        target.transaction_call = None;
        target.transaction = TransactionNumber::NONE;
        target.wake_at = None;
        target.wake_generation += 1;
        self.discard(&inbox);
        self.drop_connections(actor, power);
        true
    }

    /// The connections of a process that is gone. A dark host answers nothing: its peers learn from
    /// timeouts, or when it is back.
    fn drop_connections(&mut self, actor: ActorId, dark: bool) {
        for connection in self.network.live_connections_of(actor) {
            if dark {
                self.network.reset(connection);
            } else {
                self.reset_connection(connection);
            }
        }
        // The next process opens its own, also in place of one whose end the last had not heard of.
        self.network.close_all_of(actor);
    }

    fn crash_broker(&mut self, actor: ActorId, machine: Broker, power: bool) -> Process {
        if !power {
            return Process::BrokerDown(Box::new(machine.crash(Crash::Process)));
        }
        let incarnation = u16::try_from(self.actor(actor).incarnation & 0xffff).expect("masked");
        let mut draws = Draws::new(self.luck, Purpose::DiskCut, actor.0, incarnation);
        let mut cut = |_, low: Offset, high: Offset| {
            // Half of the time everything unflushed is gone, else any suffix.
            let all = draws.below_inclusive(1) == 0;
            let span = u64::try_from((high - low).max(0)).unwrap_or(0);
            let keep = draws.below_inclusive(span);
            if all { low } else { low + keep.cast_signed() }
        };
        let disk = machine.crash(Crash::Power(&mut cut));
        let who = (actor, self.actor(actor).incarnation);
        for &(partition, to) in &disk.cut {
            self.recorder.world(who, WorldEvent::DiskLoss { partition, to });
        }
        Process::BrokerDown(Box::new(disk))
    }

    /// A machine ended itself: its only log directory has failed.
    pub(super) fn halted(&mut self, actor: ActorId, reason: &'static str) {
        self.trace_note(actor, LineKind::Note, reason);
        self.crash(actor, false);
        self.actor_mut(actor).waits_for_room = true;
        if self.actor(actor).disk_full == 0 {
            self.schedule(self.now + RESTART_TIME, Event::Start { actor });
        }
    }

    /// A client application closed in good order and starts anew.
    pub(super) fn restart_client(&mut self, actor: ActorId) {
        for client in self.companions(actor) {
            self.forget_process(client);
        }
        self.forget_process(actor);
        self.schedule(self.now + RESTART_TIME, Event::Start { actor });
    }

    /// Nothing of a client is left.
    fn forget_process(&mut self, actor: ActorId) {
        // What its application had asked of it, and it has not begun, is not its successor's.
        self.pending.retain(|(to, _)| *to != actor);
        self.drop_connections(actor, false);
        let target = self.actor_mut(actor);
        target.process = Process::Down;
        target.incarnation += 1;
        target.timers = Timers::default();
        target.paused = 0;
        target.app_paused = 0;
        let inbox = std::mem::take(&mut target.inbox);
        target.app_inbox.clear();
        target.asks.clear();
        target.sessions.clear();
        target.sends.clear();
        target.transaction_call = None;
        target.transaction = TransactionNumber::NONE;
        target.wake_at = None;
        target.wake_generation += 1;
        self.discard(&inbox);
    }

    /// What came for a process that is no more.
    fn discard(&mut self, inbox: &[Event]) {
        for event in inbox {
            if let Event::Message { slot, .. } | Event::Reply { slot, .. } = event {
                drop(self.mail.take(*slot));
            }
        }
    }

    /// An actor is back after a power failure: connections that its peers still believe in are
    /// reset by the first packet.
    pub(super) fn power_returns(&mut self, actor: ActorId) {
        for connection in self.network.live_connections_of_reset(actor) {
            let link = self.network.connection(connection);
            let (client, incarnation) = (link.client, link.client_incarnation);
            if client == actor {
                continue;
            }
            let at = self.now + self.network.latency(actor, client);
            self.schedule(at, Event::Disconnected { client, incarnation, connection });
        }
        self.schedule(self.now, Event::Start { actor });
    }

    /// An actor stands still.
    pub(super) fn pause(&mut self, actor: ActorId) {
        self.actor_mut(actor).paused += 1;
        let who = (actor, self.actor(actor).incarnation);
        self.recorder.world(who, WorldEvent::Paused);
        self.trace_note(actor, LineKind::Paused { application: false }, "is paused");
    }

    /// It goes on: what came meanwhile comes now, in its order.
    pub(super) fn resume(&mut self, actor: ActorId, incarnation: u32) {
        let target = self.actor_mut(actor);
        if target.incarnation != incarnation {
            // Its process is another one by now.
            return;
        }
        target.paused -= 1;
        if target.paused > 0 {
            return;
        }
        let inbox = std::mem::take(&mut target.inbox);
        let who = (actor, target.incarnation);
        self.recorder.world(who, WorldEvent::Resumed);
        self.trace_note(actor, LineKind::Resumed { application: false }, "goes on");
        for event in inbox {
            self.queue.push(self.now, event);
        }
    }

    /// Only the application's thread stands still; its client lives.
    pub(super) fn pause_app(&mut self, actor: ActorId) {
        self.actor_mut(actor).app_paused += 1;
        let who = (actor, self.actor(actor).incarnation);
        self.recorder.world(who, WorldEvent::Paused);
        let kind = LineKind::Paused { application: true };
        self.trace_note(actor, kind, "its application is paused");
    }

    /// The application's thread goes on.
    pub(super) fn resume_app(&mut self, actor: ActorId, incarnation: u32) {
        let target = self.actor_mut(actor);
        if target.incarnation != incarnation {
            return;
        }
        target.app_paused -= 1;
        if target.app_paused > 0 {
            return;
        }
        let inbox = std::mem::take(&mut target.app_inbox);
        let who = (actor, target.incarnation);
        self.recorder.world(who, WorldEvent::Resumed);
        let kind = LineKind::Resumed { application: true };
        self.trace_note(actor, kind, "its application goes on");
        for input in inbox {
            self.app_input(actor, input);
        }
    }
}
