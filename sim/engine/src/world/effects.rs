//! Steps: an input goes into a machine, its effects come out and are performed.

use oncesim_kafka::machine::{Effect, Input, Machine};
use oncesim_kafka::message::Request;
use oncesim_types::{ActorId, ConnectionId, CorrelationId, Duration, Instant};

use super::{AppInput, Event, Process, World};
use crate::network::{Body, Message, Passage, lane};
use oncesim_history::trace::LineKind;

/// How long a client waits for a connection to a host that is not there
/// (`socket.connection.setup.timeout.ms`).
const CONNECT_TIMEOUT: Duration = Duration::from_millis(10_000);

/// How long a flush takes.
const FLUSH_TIME: Duration = Duration::from_micros(500);

impl World {
    /// Queues an input for an actor, after what is being performed.
    pub(super) fn step(&mut self, actor: ActorId, input: Input) {
        self.pending.push_back((actor, input));
    }

    /// Performs steps until nothing is left to do at this moment.
    pub(super) fn run_pending(&mut self) {
        while let Some((actor, input)) = self.pending.pop_front() {
            self.step_now(actor, input);
        }
    }

    pub(super) fn step_now(&mut self, actor: ActorId, input: Input) {
        self.acts(actor);
        let mut effects = std::mem::take(&mut self.effects);
        let now = self.actor(actor).clock.read(self.now);
        let incarnation = self.actor(actor).incarnation;
        match &mut self.actor_mut(actor).process {
            Process::Controller(machine) => machine.step(now, input, &mut effects),
            Process::Broker(machine) => machine.step(now, input, &mut effects),
            Process::Producer(machine) => machine.step(now, input, &mut effects),
            Process::Consumer(machine) => machine.step(now, input, &mut effects),
            Process::Other(machine) => machine.step(now, input, &mut effects),
            Process::System(_) => {
                self.effects = effects;
                return self.step_system_as_process(actor, &input);
            }
            // An operator reads no answers; the dead read nothing.
            Process::Admin
            | Process::SystemDown(_)
            | Process::ControllerDown(_)
            | Process::BrokerDown(_)
            | Process::Down => {}
        }
        let mut halt = None;
        for effect in effects.0.drain(..) {
            if let Effect::Halt(reason) = effect {
                halt = Some(reason);
            } else if self.actor(actor).incarnation == incarnation {
                self.perform(actor, effect);
            }
            // Else the application has dropped this client for another one: what the old one had
            // still to do is not the new one's.
        }
        self.effects = effects;
        if let Some(reason) = halt {
            self.halted(actor, reason);
        }
    }

    fn perform(&mut self, actor: ActorId, effect: Effect) {
        let incarnation = self.actor(actor).incarnation;
        match effect {
            Effect::Send { to, correlation, body, .. } => self.send(actor, to, correlation, body),
            Effect::Reply { to, connection, correlation, body } => {
                let link = self.network.connection(connection);
                if link.reset || !link.open || link.client_incarnation != self.actor(to).incarnation
                {
                    return;
                }
                let body = Body::Response(body);
                let copy = false;
                let sent = self.sent_now();
                self.post(Message { from: actor, to, connection, correlation, copy, sent, body });
            }
            Effect::Disconnect { peer } => {
                if let Some(connection) = self.network.current(actor, peer) {
                    self.close(connection);
                }
            }
            Effect::CloseConnection { connection, .. } => self.reset_connection(connection),
            Effect::SetTimer { key, after } => {
                self.timer_set(actor, key);
                let deadline = self.now + self.actor(actor).clock.in_world(after);
                if let Some(arm) = self.actor_mut(actor).timers.set(key, deadline) {
                    let (slot, generation) = (arm.slot, arm.generation);
                    self.schedule(arm.at, Event::Timer { actor, incarnation, slot, generation });
                }
            }
            Effect::CancelTimer(key) => self.actor_mut(actor).timers.cancel(key),
            Effect::Persist(write) => {
                self.count_flush();
                let at = self.now + FLUSH_TIME;
                self.schedule(at, Event::Durable { actor, incarnation, write });
            }
            Effect::Halt(_) => {}
            Effect::Return(call, completion) => {
                self.record_completion(actor, call, &completion);
                self.app_input(actor, AppInput::Completion(call, completion));
            }
            Effect::Callback(callback) => self.app_input(actor, AppInput::Callback(callback)),
            Effect::Note(note) => {
                self.watch(actor, &note);
                self.count_note(&note);
                let group = self.actor(actor).group;
                self.recorder.note((actor, incarnation), group, note);
            }
        }
    }

    // ---- messages ----

    /// Sends a request on the client's connection, which is opened if there is none.
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        from: ActorId,
        to: ActorId,
        correlation: CorrelationId,
        body: Request,
    ) {
        let connection = match self.network.current(from, to) {
            Some(connection) => connection,
            None => self.connect(from, to),
        };
        if self.network.connection(connection).reset {
            // The client does not know yet; what it sends is lost.
            return;
        }
        let body = Body::Request(body);
        let sent = self.sent_now();
        self.post(Message { from, to, connection, correlation, copy: false, sent, body });
    }

    #[cold]
    pub(super) fn connect(&mut self, from: ActorId, to: ActorId) -> ConnectionId {
        let client = (from, self.actor(from).incarnation);
        let server = (to, self.actor(to).incarnation);
        let connection = self.network.open(client, server, self.now);
        if !self.actor(to).is_up() {
            self.network.reset(connection);
            let reachable = !self.actor(to).dark && !self.network.is_held(from, to);
            let after =
                if reachable { self.network.latency(from, to) * 2 } else { CONNECT_TIMEOUT };
            let event = Event::Disconnected { client: from, incarnation: client.1, connection };
            self.schedule(self.now + after, event);
        }
        connection
    }

    /// Puts a message on its link, where faults may meet it. Inlined up to where the effect is
    /// taken apart: each copy of a message that was written just now waits for the write.
    #[inline(always)]
    pub(super) fn post(&mut self, message: Message) {
        if self.concerns(&message) {
            return self.post_under_faults(message);
        }
        let _ = self.put_on_link(message, Duration::ZERO);
    }

    #[cold]
    fn post_under_faults(&mut self, message: Message) {
        let verdict = self.faults_on_send(&message);
        if verdict.lost {
            self.trace_message(&message, LineKind::Lost);
            return self.reset_connection(message.connection);
        }
        if verdict.extra > Duration::ZERO {
            self.late_until = self.late_until.max(self.now + verdict.extra);
        }
        let copy = verdict.copy_after.map(|after| {
            let mut copy = message.clone();
            copy.copy = true;
            self.trace_message(&message, LineKind::Repeated);
            (after, copy)
        });
        match (copy, self.put_on_link(message, verdict.extra)) {
            (Some((after, copy)), Passage::Arrives(at)) => {
                // After the original: nothing overtakes on its connection.
                let at = at + after;
                self.late_until = self.late_until.max(at);
                self.fly(at, copy);
            }
            (Some((_, copy)), Passage::Held) => self.network.wait(copy),
            (Some(_), Passage::Lost) | (None, _) => {}
        }
    }

    /// A message arrives at `at`.
    #[inline(always)]
    pub(super) fn fly(&mut self, at: Instant, message: Message) {
        let to = message.to;
        let slot = self.mail.put(message);
        self.queue.push(at, Event::Message { slot, to });
    }

    #[inline(always)]
    fn put_on_link(&mut self, message: Message, extra: Duration) -> Passage {
        let path = (message.from, message.to);
        let order = (message.connection, lane(&message.body));
        let passage = self.network.admit(self.now, path, order, extra);
        match passage {
            Passage::Arrives(at) => self.fly(at, message),
            Passage::Held => self.network.wait(message),
            Passage::Lost => {
                self.trace_message(&message, LineKind::Lost);
                self.reset_connection(message.connection);
            }
        }
        passage
    }

    pub(super) fn deliver(&mut self, slot: u32) {
        let message = self.mail.get(slot);
        let connection = self.network.connection(message.connection);
        let is_request = message.body.is_request();
        let lives = if is_request {
            connection.server_incarnation == self.actor(message.to).incarnation && !connection.reset
        } else {
            connection.open
                && !connection.reset
                && connection.client_incarnation == self.actor(message.to).incarnation
        };
        if !lives || !self.actor(message.to).is_up() {
            let message = self.mail.take(slot);
            self.trace_message(&message, LineKind::Unheard);
            return;
        }
        let watched = self.tracing.is_some() || self.traffic.is_some() || self.concerns(message);
        let (from, to, connection) = (message.from, message.to, message.connection);
        let what = u64::from(message.correlation.0) << 32 | u64::from(connection.0);
        self.messages += 1;
        self.digest(if is_request { 6 } else { 7 }, to, from, what);
        if watched {
            return self.deliver_watched(slot);
        }
        self.receive(slot);
    }

    #[cold]
    fn deliver_watched(&mut self, slot: u32) {
        let message = self.mail.take(slot);
        self.faults_on_delivery(&message);
        self.count_message(&message);
        self.trace_message(&message, LineKind::Arrived);
        let slot = self.mail.put(message);
        self.receive(slot);
    }

    #[inline(always)]
    fn receive(&mut self, slot: u32) {
        let Message { from, to, connection, correlation, body, .. } = self.mail.take(slot);
        let input = match body {
            Body::Request(body) => Input::Request { from, connection, correlation, body },
            Body::Response(body) => Input::Response { from, correlation, body },
            Body::Ask(body, _) => {
                return self.ask_arrives(to, from, (connection, correlation), body);
            }
            Body::Answer(body, _) => {
                return self.answer_arrives(to, connection, correlation, body);
            }
        };
        self.step_now(to, input);
    }

    // ---- connections ----

    /// The client closes: the server learns of it after everything that was sent.
    pub(super) fn close(&mut self, connection: ConnectionId) {
        let (client, server) = {
            let link = self.network.connection(connection);
            (link.client, (link.server, link.server_incarnation))
        };
        self.network.close(connection);
        let at = self.now + self.network.latency(client, server.0) + Duration::from_millis(40);
        let event = Event::ConnectionClosed { server: server.0, incarnation: server.1, connection };
        self.schedule(at, event);
    }

    /// The connection is gone for both ends; they learn of it a latency later.
    pub(super) fn reset_connection(&mut self, connection: ConnectionId) {
        if !self.network.reset(connection) {
            return;
        }
        let (client, server) = {
            let link = self.network.connection(connection);
            ((link.client, link.client_incarnation), (link.server, link.server_incarnation))
        };
        let to_client = self.now + self.network.latency(server.0, client.0);
        let to_server = self.now + self.network.latency(client.0, server.0);
        let event = Event::Disconnected { client: client.0, incarnation: client.1, connection };
        self.schedule(to_client, event);
        let event = Event::ConnectionClosed { server: server.0, incarnation: server.1, connection };
        self.schedule(to_server, event);
    }

    /// Whether a partition keeps the news that a connection has ended from who would hear it now.
    pub(super) fn is_unheard(&self, news: &Event, connection: ConnectionId) -> bool {
        let link = self.network.connection(connection);
        match news {
            Event::Disconnected { .. } => self.network.is_held(link.server, link.client),
            _ => self.network.is_held(link.client, link.server),
        }
    }

    /// A partition has ended: what it kept from its two sides comes now.
    pub(super) fn release_news(&mut self) {
        for news in std::mem::take(&mut self.held_news) {
            self.queue.push(self.now, news);
        }
    }

    pub(super) fn disconnected(
        &mut self,
        client: ActorId,
        incarnation: u32,
        connection: ConnectionId,
    ) {
        let link = self.network.connection(connection);
        let peer = link.server;
        // A client that has closed the connection itself has counted it as gone already.
        let known = !link.open;
        if known || self.actor(client).incarnation != incarnation || !self.actor(client).is_up() {
            return;
        }
        self.network.close(connection);
        self.digest(4, client, peer, u64::from(connection.0));
        self.trace_text(client, Some(peer), LineKind::ConnectionGone, "connection is gone");
        if self.is_system(peer) {
            return self.system_disconnected(client, connection);
        }
        self.step(client, Input::Disconnected { peer });
    }
}
