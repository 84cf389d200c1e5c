//! Systems outside of Kafka: what applications ask of them, and how a system's effects come about.
//!
//! One connection of a client and a system is one session, as with a database driver or an HTTP
//! client with a connection of its own: the first request opens it, and requests and answers keep
//! their order on it. A client waits for each answer as long as the scenario's `client-timeout`
//! says; then it closes the connection, as a driver does after a socket timeout (`socketTimeout` of
//! the JDBC drivers), and everything that it had asked on it is unknown.
//!
//! Simplifications:
//! - No handshake and no pool: a session begins with its first request. A connection that broke is
//!   replaced by the next request, unless that one belongs to a transaction that was open on it: a
//!   driver's connection object is broken for good, and says so when it is used next.
//! - A host that refuses connections leaves the request as unknown as a reset does. A client may
//!   always take what is certain for unknown.

use oncesim_external::{Effect, Input, Request, Response};
use oncesim_history::{AskOutcome, ExternalEvent};
use oncesim_kafka::machine::TimerKey;
use oncesim_types::{
    ActorId, CallId, ConnectionId, CorrelationId, EffectId, Operation, SystemError, SystemId,
};

#[cfg(test)]
mod tests;

use super::{Actor, AppInput, Event, Process, World};
use crate::app::Answer;
use crate::network::{Body, Message};
use oncesim_history::trace::LineKind;

/// A request that a client waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    call: CallId,
    system: ActorId,
    connection: ConnectionId,
    correlation: CorrelationId,
    operation: Operation,
    /// Why there will be no answer: its connection was closed by the client itself.
    over: Option<SystemError>,
}

impl World {
    // ---- the client's side ----

    /// Whether an actor is a system outside of Kafka.
    #[inline]
    pub(super) fn is_system(&self, actor: ActorId) -> bool {
        self.systems.contains(&actor)
    }

    /// What an actor has waited for the longest: the operation, and the system's name.
    pub(super) fn first_ask(&self, actor: &Actor) -> Option<(&'static str, &str)> {
        let ask = actor.asks.first()?;
        Some((ask.operation.name(), &self.actor(ask.system).name))
    }

    /// An application asks a system.
    pub(super) fn ask(
        &mut self,
        actor: ActorId,
        (system, call): (SystemId, CallId),
        effect: Option<EffectId>,
        body: Request,
    ) {
        let to = self.systems[usize::from(system.0)];
        let operation = body.operation();
        let key = match &body {
            Request::Perform(request) => request.key.unwrap_or(0),
            _ => 0,
        };
        let incarnation = self.actor(actor).incarnation;
        let event = ExternalEvent::Asked { call, system: to, operation, effect, key };
        self.recorder.external((actor, incarnation), event);
        let broken = self.broken_session(actor, to, operation);
        let connection = match (broken, self.network.current(actor, to)) {
            (Some(connection), _) | (None, Some(connection)) => connection,
            (None, None) => self.connect(actor, to),
        };
        if operation == Operation::Begin {
            self.actor_mut(actor).sessions.push((to, connection));
        }
        let timeout = self.scenario.systems[usize::from(system.0)].client_timeout;
        let client = self.actor_mut(actor);
        client.correlation += 1;
        let correlation = CorrelationId(client.correlation);
        let over = broken.map(|_| SystemError::ConnectionLost);
        let ask = Ask { call, system: to, connection, correlation, operation, over };
        client.asks.push(ask);
        let wait = self.actor(actor).clock.in_world(timeout);
        let due = if over.is_some() { self.now } else { self.now + wait };
        self.schedule(due, Event::AskDue { actor, incarnation, correlation });
        if over.is_none() && !self.network.connection(connection).reset {
            let body = Body::Ask(Box::new(body), operation);
            let sent = self.sent_now();
            self.post(Message {
                from: actor,
                to,
                connection,
                correlation,
                copy: false,
                sent,
                body,
            });
        }
        // Else the client does not know yet; what it sends is lost.
    }

    /// A request of a transaction goes where the transaction was opened: the connection, if it is
    /// gone.
    fn broken_session(
        &mut self,
        actor: ActorId,
        system: ActorId,
        operation: Operation,
    ) -> Option<ConnectionId> {
        let current = self.network.current(actor, system);
        let sessions = &mut self.actor_mut(actor).sessions;
        let index = sessions.iter().position(|(of, _)| *of == system)?;
        let of = sessions[index].1;
        let ends = matches!(operation, Operation::Commit | Operation::Rollback);
        let gone = (ends || operation == Operation::Execute) && current != Some(of);
        if gone || ends || operation == Operation::Begin {
            sessions.swap_remove(index);
        }
        gone.then_some(of)
    }

    /// An application closes its connection to a system.
    pub(super) fn hang_up(&mut self, actor: ActorId, system: SystemId) {
        let system = self.systems[usize::from(system.0)];
        self.actor_mut(actor).sessions.retain(|(of, _)| *of != system);
        let Some(connection) = self.network.current(actor, system) else { return };
        self.trace_text(actor, Some(system), LineKind::ConnectionGone, "closes the connection");
        self.close(connection);
        let (now, incarnation) = (self.now, self.actor(actor).incarnation);
        // Whoever waited is told when the application has done what it is doing.
        for index in 0..self.actor(actor).asks.len() {
            let ask = &mut self.actor_mut(actor).asks[index];
            if ask.connection == connection {
                ask.over = Some(SystemError::ConnectionLost);
                let correlation = ask.correlation;
                self.schedule(now, Event::AskDue { actor, incarnation, correlation });
            }
        }
    }

    /// A client has waited for an answer long enough, or has closed its connection.
    #[cold]
    pub(super) fn ask_due(&mut self, actor: ActorId, incarnation: u32, correlation: CorrelationId) {
        let client = self.actor(actor);
        let waits = client.asks.iter().find(|ask| ask.correlation == correlation);
        let Some(ask) = waits.filter(|_| client.incarnation == incarnation).copied() else {
            // It was answered: no event.
            self.events -= 1;
            return;
        };
        self.digest(11, actor, ask.system, u64::from(correlation.0));
        if let Some(error) = ask.over {
            self.actor_mut(actor).asks.retain(|other| other.correlation != correlation);
            return self.conclude(actor, ask, Err(error), 0);
        }
        let what = format!("gives up on {}: no answer in time", ask.operation.name());
        self.trace_text(actor, Some(ask.system), LineKind::ConnectionGone, &what);
        self.close(ask.connection);
        self.fail_asks(actor, ask.connection, SystemError::Timeout);
    }

    /// The connection to a system is gone.
    #[cold]
    pub(super) fn system_disconnected(&mut self, actor: ActorId, connection: ConnectionId) {
        self.fail_asks(actor, connection, SystemError::ConnectionLost);
    }

    /// Nobody will answer on this connection any more.
    fn fail_asks(&mut self, actor: ActorId, connection: ConnectionId, error: SystemError) {
        let client = self.actor_mut(actor);
        let incarnation = client.incarnation;
        let (lost, rest) = std::mem::take(&mut client.asks)
            .into_iter()
            .partition::<Vec<Ask>, _>(|ask| ask.connection == connection);
        client.asks = rest;
        // Whoever waited knows now.
        if !lost.is_empty() {
            client.sessions.retain(|(_, at)| *at != connection);
        }
        for ask in lost {
            // The first bad news may have made the application end itself.
            if self.actor(actor).incarnation == incarnation {
                self.conclude(actor, ask, Err(error), 0);
            }
        }
    }

    /// A system's answer has arrived.
    #[cold]
    pub(super) fn answer_arrives(
        &mut self,
        actor: ActorId,
        connection: ConnectionId,
        correlation: CorrelationId,
        body: Box<Response>,
    ) {
        let asks = &mut self.actor_mut(actor).asks;
        let of = |ask: &Ask| ask.correlation == correlation && ask.connection == connection;
        // The answer to the second copy of a request is for nobody.
        let Some(index) = asks.iter().position(of) else { return };
        let ask = asks.remove(index);
        let result = match body.as_ref() {
            Response::Executed { changed, .. } => *changed,
            Response::Performed { result, .. } => *result,
            _ => 0,
        };
        let answer = match *body {
            Response::Refused(error) => Err(error),
            body => Ok(body),
        };
        self.conclude(actor, ask, answer, result);
    }

    /// Records how a request ended, and tells the application.
    fn conclude(&mut self, actor: ActorId, ask: Ask, answer: Answer, result: u64) {
        let outcome = match &answer {
            Ok(_) => AskOutcome::Ok,
            Err(error) if error.is_unknown() => AskOutcome::Unknown(*error),
            Err(error) => AskOutcome::Refused(*error),
        };
        let who = (actor, self.actor(actor).incarnation);
        let call = ask.call;
        self.recorder.external(who, ExternalEvent::Answered { call, outcome, result });
        self.app_input(actor, AppInput::Answer(call, answer));
    }

    // ---- the system's side ----

    /// A request has arrived at a system.
    #[cold]
    #[expect(
        clippy::boxed_local,
        reason = "the hot path that calls it moves no more than a pointer"
    )]
    pub(super) fn ask_arrives(
        &mut self,
        system: ActorId,
        from: ActorId,
        (connection, correlation): (ConnectionId, CorrelationId),
        body: Box<Request>,
    ) {
        let input = Input::Request { from, connection, correlation, body: *body };
        self.step_system(system, input);
    }

    /// Inputs that systems have in common with the machines of Kafka.
    #[cold]
    pub(super) fn step_system_as_process(
        &mut self,
        system: ActorId,
        input: &oncesim_kafka::machine::Input,
    ) {
        use oncesim_kafka::machine::Input as Common;
        let input = match *input {
            Common::Start => Input::Start,
            Common::Timer(key) => Input::Timer(oncesim_external::TimerKey(key.0)),
            Common::ConnectionClosed { connection, .. } => Input::ConnectionClosed { connection },
            _ => return,
        };
        self.step_system(system, input);
    }

    /// An input goes into a system, its effects come out and are performed. One that is down takes
    /// nothing but what befalls its host.
    pub(super) fn step_system(&mut self, system: ActorId, input: Input) {
        self.acts(system);
        let now = self.actor(system).clock.read(self.now);
        let mut effects = std::mem::take(&mut self.system_effects);
        match (&mut self.actor_mut(system).process, &input) {
            (Process::System(machine), _) | (Process::SystemDown(machine), Input::Fault(..)) => {
                machine.step(now, input, &mut effects);
            }
            _ => {}
        }
        for effect in effects.0.drain(..) {
            self.perform_for_system(system, effect);
        }
        self.system_effects = effects;
    }

    fn perform_for_system(&mut self, system: ActorId, effect: Effect) {
        let incarnation = self.actor(system).incarnation;
        match effect {
            Effect::Reply { to, connection, correlation, after, body } => {
                // Nobody waits for the answer to the second copy of a request, nor on a connection
                // that the client has closed.
                let of =
                    |ask: &&Ask| ask.correlation == correlation && ask.connection == connection;
                let Some(ask) = self.actor(to).asks.iter().find(of) else { return };
                let operation = ask.operation;
                let body = Body::Answer(Box::new(body), operation);
                let (copy, sent) = (false, self.sent_now());
                let message =
                    Message { from: system, to, connection, correlation, copy, sent, body };
                let at = self.now + self.actor(system).clock.in_world(after);
                let last = self.replies.entry(connection).or_insert(at);
                *last = at.max(*last);
                let at = *last;
                let slot = self.mail.put(message);
                self.schedule(at, Event::Reply { slot, system, incarnation });
            }
            Effect::CloseConnection { connection } => self.reset_connection(connection),
            Effect::SetTimer { key, after } => {
                self.timer_set(system, TimerKey(key.0));
                let deadline = self.now + self.actor(system).clock.in_world(after);
                let armed = self.actor_mut(system).timers.set(TimerKey(key.0), deadline);
                if let Some(arm) = armed {
                    let (actor, slot, generation) = (system, arm.slot, arm.generation);
                    self.schedule(arm.at, Event::Timer { actor, incarnation, slot, generation });
                }
            }
            Effect::CancelTimer(key) => self.actor_mut(system).timers.cancel(TimerKey(key.0)),
            Effect::Note(note) => {
                self.watch_system(system, &note);
                self.recorder.external_note((system, incarnation), note);
            }
        }
    }

    /// A system has worked on a request long enough: the reply goes out.
    #[cold]
    pub(super) fn reply(&mut self, slot: u32, system: ActorId, incarnation: u32) {
        let mut message = self.mail.take(slot);
        message.sent = self.sent_now();
        let link = self.network.connection(message.connection);
        let to = self.actor(message.to);
        let listens = !link.reset && link.open && link.client_incarnation == to.incarnation;
        if listens && self.actor(system).incarnation == incarnation {
            self.digest(12, system, message.to, u64::from(message.correlation.0));
            self.post(message);
        }
    }
}
