//! Applications: what reaches them, and what they want done.

use oncesim_history::{ClientKind, ExternalEvent};
use oncesim_kafka::consumer::{ConsumerCall, ConsumerCompletion, RebalanceCallback};
use oncesim_kafka::machine::{Call, Completion, Input};
use oncesim_types::{ActorId, CallId, Duration};

use super::{App, AppInput, Client, Event, Process, World};
use crate::app::AppEffect;

impl World {
    /// A client has something for its application.
    pub(super) fn app_input(&mut self, client: ActorId, input: AppInput) {
        let (actor, input) = match (&self.actor(client).app, input) {
            (
                App::Companion { process, client: Client::Restore(_) },
                AppInput::Completion(_, Completion::Consumer(end)),
            ) => (*process, AppInput::Restore(end)),
            (App::Companion { process, .. }, input) => (*process, input),
            (_, input) => (client, input),
        };
        if self.actor(actor).app_paused > 0 {
            self.actor_mut(actor).app_inbox.push(input);
            return;
        }
        self.acts(actor);
        let now = self.actor(actor).clock.read(self.now);
        let mut out = Vec::new();
        match (&mut self.actor_mut(actor).app, input) {
            (App::Producer(app), AppInput::Wake) => app.wake(now, &mut out),
            (App::Producer(app), AppInput::Completion(call, Completion::Producer(end))) => {
                app.completed(now, call, &end, &mut out);
            }
            (App::Transactional(app), AppInput::Wake) => app.wake(now, &mut out),
            (App::Transactional(app), AppInput::Completion(call, Completion::Producer(end))) => {
                app.completed(now, call, &end, &mut out);
            }
            (App::Hosted { .. }, AppInput::Completion(call, Completion::Producer(end))) => {
                crate::hosted::complete(actor, call, end)
            }
            (App::Consumer(app), AppInput::Wake) => app.wake(now, &mut out),
            (App::Consumer(app), AppInput::Answer(call, answer)) => {
                app.answered(now, call, answer, &mut out);
            }
            (App::Consumer(app), AppInput::Completion(call, Completion::Consumer(end))) => {
                app.completed(now, call, end, &mut out);
            }
            (App::Consumer(app), AppInput::Callback(callback)) => {
                app.callback(now, &callback, &mut out);
                self.app_effects_in_callback(actor, &callback, out);
                return;
            }
            (App::Service(app), AppInput::Wake) => app.wake(now, &mut out),
            (App::Service(app), AppInput::Completion(call, Completion::Producer(end))) => {
                app.completed(now, call, end, &mut out);
            }
            (App::Service(app), AppInput::Answer(call, answer)) => {
                app.answered(now, call, answer, &mut out);
            }
            (App::Processor(_), input) => return self.processor_input(actor, input),
            (App::Relay(_), input) => return self.relay_input(actor, input),
            (
                App::Auditor(app),
                AppInput::Completion(_, Completion::Consumer(ConsumerCompletion::Polled(_))),
            ) => app.polled(&mut out),
            (_, AppInput::Callback(_)) => {
                let done = Call::Consumer(ConsumerCall::CallbackDone);
                self.step(actor, Input::Call(CallId(u64::MAX), done));
            }
            _ => {}
        }
        self.app_effects(actor, out);
    }

    fn processor_input(&mut self, actor: ActorId, input: AppInput) {
        let now = self.actor(actor).clock.read(self.now);
        let mut out = Vec::new();
        // The application and the consumer that it asks for positions are two actors of the world.
        let mut app = std::mem::replace(&mut self.actor_mut(actor).app, App::None);
        let App::Processor(processor) = &mut app else { return };
        let mut called_back = None;
        match input {
            AppInput::Wake => processor.wake(now, &mut out),
            AppInput::Completion(call, end) => processor.completed(now, call, end, &mut out),
            AppInput::LogEnds(ends) => processor.log_ends(now, &ends, &mut out),
            AppInput::Restore(end) => {
                let restore = self.restore_consumer(actor);
                let position = |partition| match &self.actor(restore?).process {
                    Process::Consumer(client) => client.position(partition),
                    _ => None,
                };
                processor.restore_completed(now, &end, position, &mut out);
            }
            AppInput::Answer(call, answer) => processor.answered(now, call, answer, &mut out),
            AppInput::Callback(callback) => {
                processor.callback(now, &callback, &mut out);
                called_back = Some(callback);
            }
        }
        self.actor_mut(actor).app = app;
        match called_back {
            Some(callback) => self.app_effects_in_callback(actor, &callback, out),
            None => self.app_effects(actor, out),
        }
    }

    fn relay_input(&mut self, actor: ActorId, input: AppInput) {
        let now = self.actor(actor).clock.read(self.now);
        let mut out = Vec::new();
        // As with a processor: two actors of the world are at work.
        let mut app = std::mem::replace(&mut self.actor_mut(actor).app, App::None);
        let App::Relay(relay) = &mut app else { return };
        match input {
            AppInput::Wake => relay.wake(now, &mut out),
            AppInput::Completion(call, Completion::Producer(end)) => {
                relay.completed(now, call, end, &mut out);
            }
            AppInput::Answer(call, answer) => relay.answered(now, call, answer, &mut out),
            AppInput::LogEnds(ends) => relay.log_ends(now, &ends, &mut out),
            AppInput::Restore(end) => {
                let restore = self.restore_consumer(actor);
                let position = |partition| match &self.actor(restore?).process {
                    Process::Consumer(client) => client.position(partition),
                    _ => None,
                };
                relay.restore_completed(now, &end, position, &mut out);
            }
            AppInput::Completion(..) | AppInput::Callback(_) => {}
        }
        self.actor_mut(actor).app = app;
        self.app_effects(actor, out);
    }

    /// The other actors of a process.
    pub(super) fn companions(&self, process: ActorId) -> impl Iterator<Item = ActorId> + use<> {
        let rest = self.actors.iter().skip(usize::from(process.0) + 1);
        let count = rest.take_while(|actor| actor.process_of == process).count();
        let count = u16::try_from(count).expect("few clients make up a process");
        (process.0 + 1..=process.0 + count).map(ActorId)
    }

    fn restore_consumer(&self, process: ActorId) -> Option<ActorId> {
        self.companions(process).find(|client| {
            matches!(self.actor(*client).app, App::Companion { client: Client::Restore(_), .. })
        })
    }

    pub(super) fn app_effects(&mut self, actor: ActorId, effects: Vec<AppEffect>) {
        for effect in effects {
            self.app_effect(actor, effect);
        }
    }

    fn app_effects_in_callback(
        &mut self,
        actor: ActorId,
        callback: &RebalanceCallback,
        effects: Vec<AppEffect>,
    ) {
        let who = (actor, self.actor(actor).incarnation);
        if let Some(group) = self.actor(actor).group {
            self.recorder.callback(who, group, callback);
        }
        self.app_effects(actor, effects);
    }

    fn app_effect(&mut self, actor: ActorId, effect: AppEffect) {
        let who = (actor, self.actor(actor).incarnation);
        match effect {
            AppEffect::Call { call, attempt, body } => {
                self.record_call(actor, call, attempt, &body);
                self.step(actor, Input::Call(call, body));
            }
            AppEffect::Produce { producer, call, attempt, body } => {
                let body = Call::Producer(body);
                self.record_call(producer, call, attempt, &body);
                self.step(producer, Input::Call(call, body));
            }
            AppEffect::Restore { call, body } => {
                if let Some(client) = self.restore_consumer(actor) {
                    let body = Call::Consumer(body);
                    self.record_call(client, call, 0, &body);
                    self.step(client, Input::Call(call, body));
                }
            }
            AppEffect::LogEnds(partitions) => {
                let ends = partitions.into_iter().map(|it| (it, self.end(it))).collect();
                self.app_input(actor, AppInput::LogEnds(ends));
            }
            AppEffect::Wake(after) => self.wake_after(actor, after),
            AppEffect::Processed { partition, offset, record } => {
                if let Some(group) = self.actor(actor).group {
                    let kind = ClientKind::Processed { group, partition, offset, record };
                    self.recorder.client(who, kind);
                }
            }
            AppEffect::Emitted { record, input, partition, offset, output } => {
                let kind = ClientKind::Emitted { record, input, partition, offset, output };
                self.recorder.client(who, kind);
            }
            AppEffect::StateRestored { changelog, to, keys, fingerprint } => {
                let kind = ClientKind::StateRestored { changelog, to, keys, fingerprint };
                self.recorder.client(who, kind);
            }
            AppEffect::Transfer { record, amount } => {
                self.recorder.client(who, ClientKind::Transfer { record, amount });
            }
            AppEffect::CallbackReturned => {}
            AppEffect::Ask { system, call, effect, body } => {
                self.ask(actor, (system, call), effect, body);
            }
            AppEffect::HangUp(system) => self.hang_up(actor, system),
            AppEffect::EffectDone { effect, skipped } => {
                self.recorder.external(who, ExternalEvent::EffectDone { effect, skipped });
            }
            AppEffect::Intended { record, aggregate } => {
                self.recorder.external(who, ExternalEvent::Intended { record, aggregate });
            }
            AppEffect::IntentEnded { record, outcome } => {
                self.recorder.external(who, ExternalEvent::IntentEnded { record, outcome });
            }
            AppEffect::RelayStarted { position, snapshot } => {
                self.recorder.external(who, ExternalEvent::RelayStarted { position, snapshot });
            }
            AppEffect::RelayPosition { position } => {
                self.recorder.external(who, ExternalEvent::RelayPosition { position });
            }
            AppEffect::NewProducer(producer) => self.replace_producer(producer),
            AppEffect::Finished => self.recorder.client(who, ClientKind::Closed),
            AppEffect::Restart => {
                self.recorder.client(who, ClientKind::Closed);
                for client in self.companions(actor) {
                    let who = (client, self.actor(client).incarnation);
                    self.recorder.client(who, ClientKind::Closed);
                }
                self.restart_client(actor);
            }
        }
    }

    fn wake_after(&mut self, actor: ActorId, after: Duration) {
        let at = self.now + self.actor(actor).clock.in_world(after);
        let target = self.actor_mut(actor);
        if target.wake_at.is_some_and(|earlier| earlier <= at) {
            return;
        }
        target.wake_at = Some(at);
        target.wake_generation += 1;
        let (incarnation, generation) = (target.incarnation, target.wake_generation);
        self.schedule(at, Event::Wake { actor, incarnation, generation });
    }
}
