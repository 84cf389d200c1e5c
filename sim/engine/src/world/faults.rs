//! Faults: when they strike, what they do, how they end.

use oncesim_external::SystemFault;
use oncesim_history::WorldEvent;
use oncesim_kafka::message::{ElectLeadersRequest, Request};
use oncesim_spec::{
    Coordinated, DiskFault, FaultAction, MessageApi, MessagePattern, PlannedFault, SystemTrouble,
    Trigger,
};
use oncesim_types::{ActorId, CorrelationId, Duration};

use super::build::CONTROLLER;
use super::{App, Event, Phase, World};
use crate::network::Message;
use crate::sighting::Moment;
use oncesim_history::trace::LineKind;

/// How to end a fault.
#[derive(Debug, Clone, Copy)]
pub(super) enum Undo {
    Start(ActorId),
    PowerOn(ActorId),
    Resume(ActorId, u32),
    ResumeApp(ActorId, u32),
    Release(ActorId, ActorId),
    Unclog(ActorId, ActorId, Duration),
    ClockRate(ActorId),
    DiskRoom(ActorId),
    FlushesAgain(ActorId),
    /// A system is out of its trouble.
    Recover(ActorId, SystemFault),
}

/// What faults do to one message that is being sent.
#[derive(Debug, Default)]
pub(super) struct SendVerdict {
    pub(super) lost: bool,
    pub(super) extra: Duration,
    pub(super) copy_after: Option<Duration>,
}

fn pattern_of(trigger: &Trigger) -> Option<&MessagePattern> {
    match trigger {
        Trigger::At(_) => None,
        Trigger::Sent { pattern, .. }
        | Trigger::Delivered { pattern, .. }
        | Trigger::OnMessage { pattern, .. } => Some(pattern),
    }
}

impl World {
    /// Notes which messages can set off a fault.
    pub(super) fn arm_message_faults(&mut self) {
        for (state, fault) in self.faults.iter_mut().zip(&self.plan.faults) {
            state.armed = pattern_of(&fault.trigger).is_some();
        }
        self.refresh_armed_apis();
    }

    pub(super) fn refresh_armed_apis(&mut self) {
        if self.tracing.is_some() {
            // Whoever keeps a trace wants to see every message where triggers count it.
            self.armed_apis = u64::MAX;
            return;
        }
        let mask = |pattern: &MessagePattern| pattern.api.map_or(u64::MAX, bit);
        self.armed_apis = self
            .faults
            .iter()
            .zip(&self.plan.faults)
            .filter(|(state, _)| state.armed)
            .filter_map(|(_, fault)| pattern_of(&fault.trigger).map(mask))
            .fold(0, |all, bits| all | bits);
    }

    #[inline]
    pub(super) fn concerns(&self, message: &Message) -> bool {
        if self.armed_apis == 0 {
            return false;
        }
        self.armed_apis & bit(message.body.api()) != 0
    }

    fn matches(&self, pattern: &MessagePattern, message: &Message) -> bool {
        let (response, api) = (!message.body.is_request(), message.body.api());
        pattern.response.is_none_or(|wanted| wanted == response)
            && pattern.api.is_none_or(|wanted| wanted == api)
            && pattern.from.as_ref().is_none_or(|name| self.is_meant(message.from, name))
            && pattern.to.as_ref().is_none_or(|name| self.is_meant(message.to, name))
    }

    /// Counts a sent message for the triggers that wait for it.
    pub(super) fn faults_on_send(&mut self, message: &Message) -> SendVerdict {
        let mut verdict = SendVerdict::default();
        if message.copy || !self.concerns(message) {
            return verdict;
        }
        self.sight(message, Moment::Sent);
        for index in 0..self.faults.len() {
            if !self.faults[index].armed {
                continue;
            }
            let fault = &self.plan.faults[index];
            let (pattern, nth, delay) = match &fault.trigger {
                Trigger::Sent { pattern, nth, delay } => (pattern, *nth, Some(*delay)),
                Trigger::OnMessage { pattern, nth } => (pattern, *nth, None),
                Trigger::At(_) | Trigger::Delivered { .. } => continue,
            };
            if !self.matches(pattern, message) || !self.count(index, nth) {
                continue;
            }
            match delay {
                Some(delay) => self.strike_later(index, delay),
                None => self.strike_message(index, &mut verdict),
            }
        }
        verdict
    }

    /// Counts a delivered message for the triggers that wait for it.
    pub(super) fn faults_on_delivery(&mut self, message: &Message) {
        if message.copy || !self.concerns(message) {
            return;
        }
        self.sight(message, Moment::Delivered);
        for index in 0..self.faults.len() {
            let Trigger::Delivered { pattern, nth, delay } = &self.plan.faults[index].trigger
            else {
                continue;
            };
            let (nth, delay) = (*nth, *delay);
            if self.faults[index].armed && self.matches(pattern, message) && self.count(index, nth)
            {
                self.strike_later(index, delay);
            }
        }
    }

    /// One more matching message; true if it is the one.
    fn count(&mut self, index: usize, nth: u32) -> bool {
        let state = &mut self.faults[index];
        state.seen += 1;
        if state.seen < nth {
            return false;
        }
        state.armed = false;
        self.refresh_armed_apis();
        true
    }

    fn strike_later(&mut self, index: usize, delay: Duration) {
        // Active from now on, so that the fault phase waits for it.
        self.faults[index].active = true;
        let fault = u32::try_from(index).expect("a plan is small");
        self.schedule(self.now + delay, Event::Strike { fault });
    }

    fn strike_message(&mut self, index: usize, verdict: &mut SendVerdict) {
        match &self.plan.faults[index].action {
            FaultAction::Drop => verdict.lost = true,
            FaultAction::Delay(extra) => verdict.extra = verdict.extra + *extra,
            FaultAction::Duplicate(after) => verdict.copy_after = Some(*after),
            // The language ties other actions to moments, not to messages.
            _ => return self.strike_later(index, Duration::ZERO),
        }
        self.struck(index);
    }

    fn struck(&mut self, index: usize) {
        self.faults[index].report.struck = Some(self.now);
        let fault = u32::try_from(index).expect("a plan is small");
        self.narrate(WorldEvent::Fault { index: fault });
        if self.tracing.is_some() {
            let text = format!("FAULT: {}", self.faults[index].report.description);
            self.trace_note(CONTROLLER, LineKind::Fault(fault), &text);
        }
    }

    /// A fault strikes.
    pub(super) fn strike(&mut self, fault: u32) {
        let index = fault as usize;
        self.faults[index].active = false;
        if self.phase != Phase::Faults || self.faults[index].called_off {
            return;
        }
        let action = self.plan.faults[index].action.clone();
        let mut undo = Vec::new();
        let (hit, lasts) = self.act(&action, &mut undo);
        if !hit {
            return;
        }
        self.struck(index);
        self.digest(8, CONTROLLER, CONTROLLER, u64::from(fault));
        self.faults[index].undo = undo;
        match lasts {
            Some(span) if !self.faults[index].undo.is_empty() => {
                self.faults[index].active = true;
                self.schedule(self.now + span, Event::Heal { fault });
            }
            _ => {}
        }
    }

    /// Does what a fault does. Whether anything was hit, and for how long it lasts (`None`: until
    /// everything heals).
    fn act(&mut self, action: &FaultAction, undo: &mut Vec<Undo>) -> (bool, Option<Duration>) {
        match action {
            FaultAction::Drop | FaultAction::Delay(_) | FaultAction::Duplicate(_) => (false, None),
            FaultAction::Crash { actor, power, down } => {
                let mut hit = false;
                for victim in self.resolve_processes(actor) {
                    if self.crash(victim, *power) {
                        hit = true;
                        undo.push(if *power { Undo::PowerOn(victim) } else { Undo::Start(victim) });
                    }
                }
                (hit, *down)
            }
            FaultAction::Pause { actor, application_only, duration } => {
                for victim in self.resolve_processes(actor) {
                    let target = self.actor(victim);
                    let incarnation = target.incarnation;
                    if !target.is_up() {
                        continue;
                    }
                    if *application_only {
                        self.pause_app(victim);
                        undo.push(Undo::ResumeApp(victim, incarnation));
                    } else {
                        self.pause(victim);
                        undo.push(Undo::Resume(victim, incarnation));
                    }
                }
                (!undo.is_empty(), Some(*duration))
            }
            FaultAction::Partition { from, to, one_way, duration } => {
                self.cut(from, to, *one_way, undo);
                (!undo.is_empty(), Some(*duration))
            }
            FaultAction::Clog { from, to, extra, duration } => {
                for a in self.resolve_processes(from) {
                    for b in self.resolve_processes(to) {
                        for (x, y) in [(a, b), (b, a)] {
                            self.network.clog(x, y, *extra, true);
                            undo.push(Undo::Unclog(x, y, *extra));
                        }
                    }
                }
                (!undo.is_empty(), Some(*duration))
            }
            FaultAction::LeaderChange { partition, to } => {
                let to = to.as_ref().and_then(|name| self.resolve(name).first().copied());
                (self.elect(partition, to, false), None)
            }
            FaultAction::UncleanElection { partition } => (self.elect(partition, None, true), None),
            FaultAction::CoordinatorMove { of } => (self.move_coordinator(of), None),
            FaultAction::Rebalance { actor } => (self.leave_and_rejoin(actor), None),
            FaultAction::ControllerFailover { duration } => {
                let hit = self.crash(CONTROLLER, false);
                undo.push(Undo::Start(CONTROLLER));
                (hit, Some(*duration))
            }
            FaultAction::ClockJump { actor, by_ns } => (self.jump_clock(actor, *by_ns), None),
            FaultAction::ClockSkew { actor, ppm, duration } => {
                let now = self.now;
                for victim in self.resolve_processes(actor) {
                    self.actor_mut(victim).clock.set_rate(now, *ppm);
                    undo.push(Undo::ClockRate(victim));
                }
                (!undo.is_empty(), Some(*duration))
            }
            FaultAction::System { actor, trouble, duration } => {
                self.trouble_system(actor, *trouble, undo);
                (!undo.is_empty(), Some(*duration))
            }
            FaultAction::Disk { actor, fault, duration } => {
                self.break_disk(actor, *fault, undo);
                (!undo.is_empty(), Some(*duration))
            }
        }
    }

    fn cut(&mut self, from: &[String], to: &[String], one_way: bool, undo: &mut Vec<Undo>) {
        let side = |world: &World, names: &[String]| -> Vec<ActorId> {
            names.iter().flat_map(|name| world.resolve_processes(name)).collect()
        };
        let mut here = side(self, from);
        let mut there = if to.is_empty() {
            let everybody = 0..u16::try_from(self.actors.len()).expect("few actors");
            everybody.map(ActorId).collect()
        } else {
            side(self, to)
        };
        // Between `b1` and `brokers`: the other brokers. Who is on both sides is on the smaller.
        if here.len() > there.len() {
            here.retain(|actor| !there.contains(actor));
        } else {
            there.retain(|actor| !here.contains(actor));
        }
        for &a in &here {
            for &b in &there {
                self.network.hold(a, b);
                undo.push(Undo::Release(a, b));
                if !one_way {
                    self.network.hold(b, a);
                    undo.push(Undo::Release(b, a));
                }
            }
        }
    }

    /// Sends the controller what an operator would send.
    fn elect(&mut self, partition: &str, preferred: Option<ActorId>, unclean: bool) -> bool {
        let Some(partition) = self.partition(partition) else { return false };
        self.elect_partition(partition, preferred, unclean)
    }

    fn elect_partition(
        &mut self,
        partition: oncesim_types::TopicPartition,
        preferred: Option<ActorId>,
        unclean: bool,
    ) -> bool {
        if !self.actor(CONTROLLER).is_up() {
            return false;
        }
        let operator = ActorId(u16::try_from(self.actors.len() - 1).expect("few actors"));
        let source = self.actor_mut(operator);
        source.correlation += 1;
        let correlation = CorrelationId(source.correlation);
        let request = ElectLeadersRequest { partition, preferred, unclean };
        self.send(operator, CONTROLLER, correlation, Request::ElectLeaders(request));
        true
    }

    fn move_coordinator(&mut self, of: &Coordinated) -> bool {
        let partition = match of {
            Coordinated::Group(group) => self.coordinator_partition(group),
            Coordinated::Transaction(id) => self.transaction_partition(id),
        };
        let Some(partition) = partition else { return false };
        self.elect_partition(partition, None, false)
    }

    fn leave_and_rejoin(&mut self, name: &str) -> bool {
        let mut hit = false;
        for actor in self.resolve(name) {
            if !self.actor(actor).is_up() {
                continue;
            }
            let now = self.actor(actor).clock.read(self.now);
            let mut out = Vec::new();
            match &mut self.actor_mut(actor).app {
                App::Consumer(app) => app.leave_and_rejoin(now, &mut out),
                App::Processor(app) => app.leave_and_rejoin(&mut out),
                _ => continue,
            }
            hit = true;
            self.app_effects(actor, out);
        }
        hit
    }

    fn jump_clock(&mut self, name: &str, by_ns: i64) -> bool {
        let now = self.now;
        let victims = self.resolve_processes(name);
        for victim in &victims {
            self.actor_mut(*victim).clock.jump(now, by_ns);
        }
        !victims.is_empty()
    }

    fn break_disk(&mut self, name: &str, fault: DiskFault, undo: &mut Vec<Undo>) {
        for victim in self.resolve(name) {
            match fault {
                DiskFault::Full => {
                    self.actor_mut(victim).disk_full += 1;
                    if self.actor(victim).is_up() {
                        self.step(victim, oncesim_kafka::machine::Input::DiskFull(true));
                    }
                    undo.push(Undo::DiskRoom(victim));
                }
                DiskFault::LostFlush => {
                    self.actor_mut(victim).lost_flush += 1;
                    self.set_lost_flush(victim);
                    undo.push(Undo::FlushesAgain(victim));
                }
            }
        }
    }

    fn trouble_system(&mut self, name: &str, trouble: SystemTrouble, undo: &mut Vec<Undo>) {
        let fault = match trouble {
            SystemTrouble::Errors => SystemFault::Errors,
            SystemTrouble::Deadlocks => SystemFault::Deadlocks,
            SystemTrouble::Slow(extra) => SystemFault::Slow(extra),
            SystemTrouble::UnknownCommits => SystemFault::UnknownCommits,
        };
        let mut systems = self.resolve(name);
        systems.retain(|actor| self.is_system(*actor));
        for system in systems {
            self.step_system(system, oncesim_external::Input::Fault(fault, true));
            undo.push(Undo::Recover(system, fault));
        }
    }

    fn set_lost_flush(&mut self, actor: ActorId) {
        let target = self.actor_mut(actor);
        let lost = target.lost_flush > 0;
        if let super::Process::Broker(broker) = &mut target.process {
            broker.set_lost_flush(lost);
        }
    }

    /// A fault ends.
    pub(super) fn heal(&mut self, fault: u32) {
        let state = &mut self.faults[fault as usize];
        state.active = false;
        let undo = std::mem::take(&mut state.undo);
        if undo.is_empty() {
            return;
        }
        self.digest(9, CONTROLLER, CONTROLLER, u64::from(fault));
        self.narrate(WorldEvent::Healed { index: fault });
        if self.tracing.is_some() {
            let text = format!("ends: {}", self.faults[fault as usize].report.description);
            self.trace_note(CONTROLLER, LineKind::Healed(fault), &text);
        }
        for step in undo {
            self.undo(step);
        }
    }

    fn undo(&mut self, step: Undo) {
        let now = self.now;
        match step {
            Undo::Start(actor) => self.schedule(now, Event::Start { actor }),
            Undo::PowerOn(actor) => self.power_returns(actor),
            Undo::Resume(actor, process) => self.resume(actor, process),
            Undo::ResumeApp(actor, process) => self.resume_app(actor, process),
            Undo::Release(a, b) => {
                for (at, message) in self.network.release(now, a, b) {
                    self.fly(at, message);
                }
                self.release_news();
            }
            Undo::Unclog(a, b, extra) => self.network.clog(a, b, extra, false),
            Undo::ClockRate(actor) => self.actor_mut(actor).clock.set_rate(now, 0),
            Undo::DiskRoom(actor) => {
                let target = self.actor_mut(actor);
                target.disk_full = target.disk_full.saturating_sub(1);
                if target.disk_full > 0 {
                    return;
                }
                if target.waits_for_room {
                    self.schedule(now, Event::Start { actor });
                } else if target.is_up() {
                    self.step(actor, oncesim_kafka::machine::Input::DiskFull(false));
                }
            }
            Undo::FlushesAgain(actor) => {
                let target = self.actor_mut(actor);
                target.lost_flush = target.lost_flush.saturating_sub(1);
                self.set_lost_flush(actor);
            }
            Undo::Recover(system, fault) => {
                self.step_system(system, oncesim_external::Input::Fault(fault, false));
            }
        }
    }

    /// Ends every fault, and sees to it that everybody runs.
    pub(super) fn heal_everything(&mut self) {
        for index in 0..self.faults.len() {
            self.faults[index].armed = false;
            self.heal(u32::try_from(index).expect("a plan is small"));
        }
        self.armed_apis = 0;
    }
}

/// The kind of a fault, as `swarm.kinds` names it.
pub(crate) fn kind(action: &FaultAction) -> &'static str {
    use oncesim_spec::FaultKind as Kind;
    match action {
        FaultAction::Drop => "drop",
        FaultAction::Delay(_) => Kind::Delay.name(),
        FaultAction::Duplicate(_) => Kind::Duplicate.name(),
        FaultAction::Crash { power: false, .. } => Kind::Crash.name(),
        FaultAction::Crash { power: true, .. } => Kind::PowerFailure.name(),
        FaultAction::Pause { application_only: false, .. } => Kind::Pause.name(),
        FaultAction::Pause { application_only: true, .. } => Kind::ApplicationPause.name(),
        FaultAction::Partition { one_way: false, .. } => Kind::Partition.name(),
        FaultAction::Partition { one_way: true, .. } => Kind::OneWayPartition.name(),
        FaultAction::Clog { .. } => Kind::Clog.name(),
        FaultAction::LeaderChange { .. } => Kind::LeaderChange.name(),
        FaultAction::UncleanElection { .. } => Kind::UncleanElection.name(),
        FaultAction::CoordinatorMove { .. } => Kind::CoordinatorMove.name(),
        FaultAction::Rebalance { .. } => Kind::Rebalance.name(),
        FaultAction::ControllerFailover { .. } => Kind::ControllerFailover.name(),
        FaultAction::ClockJump { .. } => Kind::ClockJump.name(),
        FaultAction::ClockSkew { .. } => Kind::ClockSkew.name(),
        FaultAction::System { trouble, .. } => match trouble {
            SystemTrouble::Errors => Kind::SinkErrors.name(),
            SystemTrouble::Deadlocks => Kind::Deadlock.name(),
            SystemTrouble::Slow(_) => Kind::SlowSink.name(),
            SystemTrouble::UnknownCommits => Kind::UnknownCommit.name(),
        },
        FaultAction::Disk { fault: DiskFault::Full, .. } => Kind::DiskFull.name(),
        FaultAction::Disk { fault: DiskFault::LostFlush, .. } => Kind::LostFlush.name(),
    }
}

/// A fault in words.
pub(crate) fn describe(fault: &PlannedFault) -> String {
    let what = describe_action(&fault.action);
    let ordinal = |n: u32| match (n % 10, n % 100) {
        (1, r) if r != 11 => format!("{n}st"),
        (2, r) if r != 12 => format!("{n}nd"),
        (3, r) if r != 13 => format!("{n}rd"),
        _ => format!("{n}th"),
    };
    let late = |delay: &Duration| {
        if *delay == Duration::ZERO { String::new() } else { format!(" {delay}") }
    };
    match &fault.trigger {
        // Reports show the time in a column of its own.
        Trigger::At(_) => what,
        Trigger::OnMessage { pattern, nth } => {
            let message = format!("the {} {}", ordinal(*nth), describe_pattern(pattern));
            match &fault.action {
                FaultAction::Drop => format!("lose {message}, and its connection"),
                FaultAction::Delay(by) => format!("delay {message} by {by}"),
                FaultAction::Duplicate(after) => format!("deliver {message} again {after} later"),
                _ => format!("{what} at {message}"),
            }
        }
        Trigger::Sent { pattern, nth, delay } => format!(
            "{what}{} after the {} {} is sent",
            late(delay),
            ordinal(*nth),
            describe_pattern(pattern)
        ),
        Trigger::Delivered { pattern, nth, delay } => format!(
            "{what}{} after the {} {} arrives",
            late(delay),
            ordinal(*nth),
            describe_pattern(pattern)
        ),
    }
}

/// The bit of an API in [`World::armed_apis`]: Kafka's are below 48, those of systems above.
#[inline]
fn bit(api: MessageApi) -> u64 {
    match api {
        MessageApi::Kafka(api) => 1 << api as u64,
        MessageApi::System(operation) => 1 << (48 + operation as u64),
    }
}

fn describe_pattern(pattern: &MessagePattern) -> String {
    let api = pattern.api.map_or("", MessageApi::name);
    let direction = match pattern.response {
        Some(true) => " response",
        Some(false) => " request",
        None => " message",
    };
    let from = pattern.from.as_ref().map_or(String::new(), |name| format!(" from {name}"));
    let to = pattern.to.as_ref().map_or(String::new(), |name| format!(" to {name}"));
    format!("{api}{direction}{from}{to}").trim_start().to_owned()
}

fn describe_action(action: &FaultAction) -> String {
    match action {
        FaultAction::Drop => "lose a message, and its connection".to_owned(),
        FaultAction::Delay(by) => format!("delay a message by {by}"),
        FaultAction::Duplicate(after) => format!("deliver a message again {after} later"),
        FaultAction::Crash { actor, power, down } => {
            let how = if *power { "cut the power of" } else { "crash" };
            let span = down.map_or(" for good".to_owned(), |down| format!(" for {down}"));
            format!("{how} {actor}{span}")
        }
        FaultAction::Pause { actor, application_only, duration } => {
            let whom = if *application_only { "the application of " } else { "" };
            format!("pause {whom}{actor} for {duration}")
        }
        FaultAction::Partition { from, to, one_way, duration } => {
            let others = if to.is_empty() { "everybody else".to_owned() } else { to.join(", ") };
            let from = from.join(", ");
            if *one_way {
                format!("let nothing through from {from} to {others} for {duration}")
            } else {
                format!("partition {from} from {others} for {duration}")
            }
        }
        FaultAction::Clog { from, to, extra, duration } => {
            format!("slow the link between {from} and {to} by {extra} for {duration}")
        }
        FaultAction::LeaderChange { partition, to } => {
            let to = to.as_ref().map_or(String::new(), |name| format!(" to {name}"));
            format!("move the leader of {partition}{to}")
        }
        FaultAction::UncleanElection { partition } => {
            format!("elect an out-of-sync leader for {partition}")
        }
        FaultAction::CoordinatorMove { of: Coordinated::Group(group) } => {
            format!("move the coordinator of {group}")
        }
        FaultAction::CoordinatorMove { of: Coordinated::Transaction(id) } => {
            format!("move the transaction coordinator of {id}")
        }
        FaultAction::Rebalance { actor } => format!("restart {actor} in good order"),
        FaultAction::ControllerFailover { duration } => {
            format!("fail the controller over, {duration} without one")
        }
        FaultAction::ClockJump { actor, by_ns } => {
            let by = Duration(by_ns.unsigned_abs());
            let direction = if *by_ns < 0 { "back" } else { "ahead" };
            format!("set the clock of {actor} {by} {direction}")
        }
        FaultAction::ClockSkew { actor, ppm, duration } => {
            format!("let the clock of {actor} run {ppm} ppm fast for {duration}")
        }
        FaultAction::System { actor, trouble, duration } => match trouble {
            SystemTrouble::Errors => format!("let {actor} refuse everything for {duration}"),
            SystemTrouble::Deadlocks => format!("let {actor} end deadlocks for {duration}"),
            SystemTrouble::Slow(extra) => format!("slow {actor} by {extra} for {duration}"),
            SystemTrouble::UnknownCommits => {
                format!("let {actor} lose the replies of its commits for {duration}")
            }
        },
        FaultAction::Disk { actor, fault: DiskFault::Full, duration } => {
            format!("fill the disk of {actor} for {duration}")
        }
        FaultAction::Disk { actor, fault: DiskFault::LostFlush, duration } => {
            format!("lose the flushes of {actor} for {duration}")
        }
    }
}
