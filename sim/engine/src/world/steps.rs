//! Steps and what caused them, written down while a trace is kept.

use std::collections::BTreeMap;

use oncesim_kafka::machine::TimerKey;
use oncesim_types::{ActorId, ConnectionId, CorrelationId, Instant};

use super::build::CONTROLLER;
use super::{Event, Phase, World};
use crate::network::Message;
use crate::sighting::{Act, Moment, Sighting};
use oncesim_history::trace::{About, Step, StepId, Trace, Via};

/// A trace while it is being written.
#[derive(Default)]
pub(super) struct Tracing {
    pub(super) trace: Trace,
    /// Messages, as triggers count them.
    pub(super) sightings: Vec<Sighting>,
    /// The steps in which processes act.
    pub(super) acts: Vec<Act>,
    /// In which step what is in the queue was put there.
    scheduled: BTreeMap<Event, StepId>,
    /// In which step a timer was set last: moving it makes no entry in the queue.
    timers: BTreeMap<(ActorId, TimerKey), StepId>,
    /// What requests were about that wait for their answers.
    asked: BTreeMap<(ConnectionId, CorrelationId), About>,
}

impl Tracing {
    /// What a message is about; an answer is also about what was asked.
    pub(super) fn about(&mut self, message: &Message) -> About {
        let mut about = super::about::of_message(&message.body);
        let exchange = (message.connection, message.correlation);
        if message.body.is_request() {
            self.asked.insert(exchange, about.clone());
        } else if let Some(asked) = self.asked.remove(&exchange) {
            about.transactional_ids.extend(asked.transactional_ids);
            about.groups.extend(asked.groups);
            about.producers.extend(asked.producers);
            about.records.extend(asked.records);
            if about.partitions.is_empty() {
                about.partitions = asked.partitions;
            }
        }
        about
    }
}

impl World {
    /// Puts an event into the queue.
    #[inline(always)]
    pub(super) fn schedule(&mut self, at: Instant, event: Event) {
        self.queue.push(at, event);
        if self.tracing.is_some() {
            self.note_cause(event);
        }
    }

    #[cold]
    fn note_cause(&mut self, event: Event) {
        let step = self.steps;
        if let Some(tracing) = &mut self.tracing {
            tracing.scheduled.insert(event, step);
        }
    }

    /// A message is where triggers count it.
    pub(super) fn sight(&mut self, message: &Message, moment: Moment) {
        let (step, time) = (self.steps, self.now);
        let (api, response) = (message.body.api(), !message.body.is_request());
        let (from, to) = (message.from, message.to);
        if let Some(tracing) = &mut self.tracing {
            tracing.sightings.push(Sighting { step, time, moment, from, to, api, response });
        }
    }

    /// An actor's machine or application is about to take an input.
    #[inline(always)]
    pub(super) fn acts(&mut self, actor: ActorId) {
        if self.tracing.is_some() {
            self.note_act(actor);
        }
    }

    #[cold]
    fn note_act(&mut self, actor: ActorId) {
        if self.phase != Phase::Faults || !self.actor(actor).is_up() {
            return;
        }
        let act = Act { step: self.steps, time: self.now, actor };
        if let Some(tracing) = &mut self.tracing
            && tracing.acts.last() != Some(&act)
        {
            tracing.acts.push(act);
        }
    }

    /// Now, as a message notes when it is sent.
    #[inline(always)]
    pub(super) fn sent_now(&self) -> (Instant, StepId) {
        (self.now, self.steps)
    }

    /// A machine sets a timer.
    #[inline(always)]
    pub(super) fn timer_set(&mut self, actor: ActorId, key: TimerKey) {
        let step = self.steps;
        if let Some(tracing) = &mut self.tracing {
            tracing.timers.insert((actor, key), step);
        }
    }

    /// The timer that goes off in this step.
    #[inline(always)]
    pub(super) fn timer_fires(&mut self, actor: ActorId, key: TimerKey) {
        if let Some(tracing) = &mut self.tracing {
            let cause = tracing.timers.remove(&(actor, key));
            if let Some(step) = tracing.trace.steps.last_mut() {
                step.cause = cause.or(step.cause);
            }
        }
    }

    /// The next step begins.
    #[inline(always)]
    pub(super) fn begin_step(&mut self, event: &Event) {
        self.steps += 1;
        if self.steps == self.fork.before {
            self.take_fork();
        }
        if self.tracing.is_some() {
            self.write_step(event);
        }
    }

    #[cold]
    fn write_step(&mut self, event: &Event) {
        let (actor, via) = self.doer(event);
        let cause = match event {
            Event::Message { slot, .. } | Event::Reply { slot, .. } => {
                Some(self.mail.get(*slot).sent.1)
            }
            other => self.tracing.as_ref().and_then(|it| it.scheduled.get(other).copied()),
        };
        let incarnation = self.actor(actor).incarnation;
        let events = u32::try_from(self.recorder.history.events.len()).unwrap_or(u32::MAX);
        let step = Step { time: self.now, actor, incarnation, via, cause, events };
        if let Some(tracing) = &mut self.tracing {
            tracing.trace.steps.push(step);
        }
    }

    fn doer(&self, event: &Event) -> (ActorId, Via) {
        match event {
            Event::Message { to, .. } => (*to, Via::Message),
            Event::Timer { actor, .. } => (*actor, Via::Timer),
            Event::Wake { actor, .. } => (*actor, Via::Wake),
            Event::Durable { actor, .. } => (*actor, Via::Disk),
            Event::Disconnected { client, .. } => (*client, Via::Connection),
            Event::ConnectionClosed { server, .. } => (*server, Via::Connection),
            // It has worked on the request until now.
            Event::Reply { system, .. } => (*system, Via::Timer),
            Event::AskDue { actor, .. } => (*actor, Via::Timer),
            Event::Start { actor } => (*actor, Via::Start),
            Event::Strike { .. } | Event::Heal { .. } => (CONTROLLER, Via::Fault),
            Event::Awake { .. } | Event::Look => (CONTROLLER, Via::World),
        }
    }

    /// The world begins: what its construction scheduled was scheduled in this step.
    pub(super) fn begin_trace() -> Box<Tracing> {
        let mut tracing = Box::<Tracing>::default();
        tracing.trace.steps.push(Step {
            time: Instant::ZERO,
            actor: CONTROLLER,
            incarnation: 0,
            via: Via::Beginning,
            cause: None,
            events: 0,
        });
        tracing
    }
}
