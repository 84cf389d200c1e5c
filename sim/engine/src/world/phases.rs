//! The phases of a run: faults, coming to rest, the final drain.
//!
//! A run ends as soon as the world has provably settled: every process runs, every partition has its
//! full in-sync set and nothing unreplicated, every `send()` has ended, every group is stable, has
//! read to the end and committed what it read, and no message waits. From then on only heartbeats
//! and empty fetches would happen.

use oncesim_history::{ClientKind, WorldEvent};
use oncesim_types::{ActorId, Duration, Offset, TopicPartition};

use super::build::{CONTROLLER, LOOK_EVERY};
use super::{App, Event, Phase, Process, World};
use oncesim_history::trace::LineKind;

/// How long consumers may take after the producers are done, before the faults end in any case.
const CATCH_UP: Duration = Duration::from_secs(120);

/// How long the drain may take.
const DRAIN_BOUND: Duration = Duration::from_secs(120);

/// Why the world has not settled.
#[derive(Debug)]
pub(super) struct Stuck {
    id: &'static str,
    partition: Option<TopicPartition>,
    detail: String,
}

impl World {
    /// Looks whether the phase is over.
    pub(super) fn look(&mut self) {
        // A look is no event of the world.
        self.events -= 1;
        match self.phase {
            Phase::Faults => {
                if self.faults_are_over() {
                    self.begin_settling();
                }
            }
            Phase::Settling => self.look_for_rest(),
            Phase::Draining => self.look_at_drain(),
            Phase::Over => {}
        }
        if self.phase != Phase::Over {
            self.schedule(self.now + LOOK_EVERY, Event::Look);
        }
    }

    fn faults_are_over(&mut self) -> bool {
        if self.now.0 >= self.scenario.limits.duration.0 {
            return true;
        }
        if self.now < self.horizon.max(self.late_until)
            || self.faults.iter().any(|fault| fault.active)
        {
            // A fault without an end of its own is active only in the sense that it has an undo.
            return false;
        }
        let waiting = self.plan.faults.iter().zip(&self.faults).any(|(fault, state)| {
            matches!(fault.trigger, oncesim_spec::Trigger::At(at) if at > self.now)
                && state.report.struck.is_none()
        });
        if waiting {
            return false;
        }
        let done = self.actors.iter().all(|actor| match &actor.app {
            App::Producer(app) => app.is_finished(),
            App::Transactional(app) => app.is_finished(),
            App::Service(app) => app.is_settled().is_ok(),
            App::Hosted { ended, .. } => *ended,
            _ => true,
        });
        if !done {
            return false;
        }
        let since = *self.producers_done_at.get_or_insert(self.now);
        self.consumers_are_idle() || self.now.since(since) >= CATCH_UP
    }

    fn consumers_are_idle(&self) -> bool {
        self.actors.iter().all(|actor| match (&actor.app, &actor.process) {
            (App::Consumer(app), Process::Consumer(client)) => {
                app.is_idle() && client.idle_at_end()
            }
            (App::Processor(app), Process::Consumer(client)) => {
                app.is_idle() && client.idle_at_end()
            }
            (App::Relay(app), Process::Producer(_)) => app.is_settled().is_ok(),
            (App::Consumer(_) | App::Processor(_) | App::Relay(_), _) => false,
            _ => true,
        }) && self.groups_pending(false).is_empty()
    }

    fn begin_settling(&mut self) {
        self.heal_everything();
        for index in 0..self.actors.len() {
            let actor = ActorId(u16::try_from(index).expect("few actors"));
            if !self.actor(actor).is_up() && !matches!(self.actor(actor).app, App::Auditor(_)) {
                self.schedule(self.now, Event::Start { actor });
            }
        }
        self.enter(Phase::Settling);
        self.narrate(WorldEvent::QuiesceBegin);
        self.trace_note(CONTROLLER, LineKind::Phase, "all faults have healed");
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_since = self.now;
    }

    fn look_for_rest(&mut self) {
        let at_rest = self.unsettled(false).is_empty();
        if !at_rest {
            self.relay_rounds = None;
        } else if self.relays_have_looked_again() {
            self.settled = true;
            self.narrate(WorldEvent::Settled);
            self.trace_note(CONTROLLER, LineKind::Phase, "the world has settled");
            return self.begin_drain();
        }
        if self.now.since(self.phase_since) < self.scenario.limits.liveness {
            return;
        }
        self.narrate(WorldEvent::NotSettled);
        self.report_stuck();
        self.begin_drain();
    }

    /// A relay has seen everything only in a round that began when everything else was at rest.
    fn relays_have_looked_again(&mut self) -> bool {
        let relays = |actor: &super::Actor| match &actor.app {
            App::Relay(app) => Some(app.rounds()),
            _ => None,
        };
        if self.relay_rounds.is_none() {
            self.relay_rounds = Some(self.actors.iter().filter_map(relays).collect());
        }
        self.relays_pending().next().is_none()
    }

    /// What relays have still to look at since everything else came to rest.
    fn relays_pending(&self) -> impl Iterator<Item = Stuck> + '_ {
        let relays = self.actors.iter().filter_map(|actor| match &actor.app {
            App::Relay(app) => Some((&actor.name, app)),
            _ => None,
        });
        let rounds = self.relay_rounds.iter().flatten();
        relays.zip(rounds).filter_map(|((name, app), rounds)| {
            let detail = app.is_settled_since(*rounds).err()?;
            Some(new("unresolved-op", None, format!("{name}: {detail}")))
        })
    }

    pub(super) fn report_stuck(&mut self) {
        for Stuck { id, partition, detail } in self.unsettled(true) {
            let detail = self.with_names(&detail);
            self.trace_note(CONTROLLER, LineKind::Stuck, &format!("STUCK: {detail}"));
            self.narrate(WorldEvent::Stuck { id, partition, detail });
        }
    }

    /// Machines know each other by number; people by name.
    fn with_names(&self, detail: &str) -> String {
        let name = |word: &str| {
            let mut parts = word.split('-');
            match (parts.next(), parts.next()?.parse::<u16>().ok()?, parts.next()) {
                (Some("actor"), actor, None) => {
                    self.actors.get(usize::from(actor)).map(|actor| actor.name.clone())
                }
                (Some("topic"), topic, Some(index)) => {
                    let topic = self.recorder.history.topics.get(usize::from(topic))?;
                    Some(format!("{}-{index}", topic.name))
                }
                _ => None,
            }
        };
        let words = detail.split_inclusive(|c: char| !c.is_alphanumeric() && c != '-');
        words
            .map(|word| {
                let bare = word.trim_end_matches(|c: char| !c.is_alphanumeric());
                name(bare).map_or(word.to_owned(), |name| name + &word[bare.len()..])
            })
            .collect()
    }

    // ---- rest ----

    /// What keeps the world from rest; with `all` everything, else the first thing found.
    pub(super) fn unsettled(&self, all: bool) -> Vec<Stuck> {
        let mut stuck = self.processes_pending();
        if stuck.is_empty() || all {
            stuck.extend(self.cluster_pending(all));
        }
        if stuck.is_empty() || all {
            stuck.extend(self.producers_pending());
        }
        if stuck.is_empty() || all {
            stuck.extend(self.transactions_pending(all));
        }
        if stuck.is_empty() || all {
            stuck.extend(self.groups_pending(all));
        }
        if stuck.is_empty() || all {
            stuck.extend(self.systems_pending());
        }
        if all {
            stuck.extend(self.relays_pending());
        }
        if stuck.is_empty() && self.network.anything_held() {
            stuck.push(new("unresolved-op", None, "messages wait for a partition".to_owned()));
        }
        if stuck.is_empty() && self.now < self.late_until {
            stuck.push(new("unresolved-op", None, "a delayed message is under way".to_owned()));
        }
        stuck
    }

    fn processes_pending(&self) -> Vec<Stuck> {
        self.actors
            .iter()
            .filter(|actor| !matches!(actor.app, App::Auditor(_)))
            .filter(|actor| !actor.is_up() || actor.paused > 0 || actor.app_paused > 0)
            .take(1)
            .map(|actor| new("unresolved-op", None, format!("{} does not run", actor.name)))
            .collect()
    }

    fn cluster_pending(&self, all: bool) -> Vec<Stuck> {
        if !all {
            // A look every few milliseconds wants no words.
            let settled = self.actors.iter().all(|actor| match &actor.process {
                Process::Controller(controller) => controller.is_settled(),
                Process::Broker(broker) => broker.is_settled(),
                _ => true,
            });
            let pending = (!settled).then(|| new("under-replicated", None, String::new()));
            return pending.into_iter().collect();
        }
        let mut stuck = Vec::new();
        if let Process::Controller(controller) = &self.actor(CONTROLLER).process
            && let Err(detail) = controller.settled()
        {
            let id = if detail.contains("leader") { "no-leader" } else { "under-replicated" };
            stuck.push(new(id, None, detail));
        }
        stuck.extend(self.metadata_pending());
        for actor in &self.actors {
            if let Process::Broker(broker) = &actor.process
                && let Err(detail) = broker.settled()
            {
                stuck.push(new("under-replicated", None, detail));
            }
        }
        stuck
    }

    /// A broker that does not know the newest leaders may be about to lead, or to resign.
    fn metadata_pending(&self) -> Option<Stuck> {
        let Process::Controller(controller) = &self.actor(CONTROLLER).process else { return None };
        let behind = |actor: &&super::Actor| match &actor.process {
            Process::Broker(broker) => broker.metadata_offset() < controller.metadata_log_end(),
            _ => false,
        };
        let actor = self.actors.iter().find(behind)?;
        let detail = format!("{} has not read the metadata log to its end", actor.name);
        Some(new("under-replicated", None, detail))
    }

    fn producers_pending(&self) -> Vec<Stuck> {
        let mut stuck = Vec::new();
        for actor in &self.actors {
            let Process::Producer(client) = &actor.process else { continue };
            let detail = match (client.settled(), &actor.app) {
                (Err(detail), _) => detail,
                (Ok(()), App::Producer(app)) if !app.is_finished() => {
                    format!("{} records are not sent", app.pending())
                }
                (Ok(()), App::Transactional(app)) if !app.is_finished() => {
                    format!("{} records are not committed", app.pending())
                }
                (Ok(()), App::Hosted { ended: false, .. }) => "the task has not ended".to_owned(),
                (Ok(()), App::Service(app)) => match app.is_settled() {
                    Err(detail) => detail,
                    Ok(()) => continue,
                },
                (Ok(()), App::Relay(app)) => match app.is_settled() {
                    Err(detail) => detail,
                    Ok(()) => continue,
                },
                (Ok(()), _) => continue,
            };
            let detail = format!("{}: {detail}", actor.name);
            stuck.push(new("unresolved-op", None, detail));
        }
        stuck
    }

    /// Requests to systems that have no answer, and transactions that nobody ends. A relay asks on
    /// and on: what it has left to do it says itself.
    fn systems_pending(&self) -> Vec<Stuck> {
        let mut stuck = Vec::new();
        if self.systems.is_empty() {
            return stuck;
        }
        for actor in &self.actors {
            let detail = match (&actor.process, &actor.app) {
                (Process::System(system), _) => match system.open_transactions() {
                    0 => continue,
                    1 => "a transaction is open".to_owned(),
                    n => format!("{n} transactions are open"),
                },
                (_, App::Relay(_)) => continue,
                _ => match self.first_ask(actor) {
                    Some((operation, system)) => {
                        format!("waits for the answer of {system} to {operation}")
                    }
                    None => continue,
                },
            };
            stuck.push(new("unresolved-op", None, format!("{}: {detail}", actor.name)));
        }
        stuck
    }

    /// Transactions that hold back the last stable offset of a partition.
    fn transactions_pending(&self, all: bool) -> Vec<Stuck> {
        if self.recorder.history.transactional_ids.is_empty() {
            return Vec::new();
        }
        let mut stuck = Vec::new();
        for actor in &self.actors {
            let Process::Broker(broker) = &actor.process else { continue };
            for (partition, first, producer) in broker.open_transactions() {
                let name = self.recorder.history.partition_name(partition);
                let whose = producer.map_or_else(
                    || "a transaction whose marker is not replicated".to_owned(),
                    |producer| format!("an open transaction of {producer}"),
                );
                let detail = format!("the last stable offset of {name} stays at {first}: {whose}");
                stuck.push(new("stuck-lso", Some(partition), detail));
                if !all {
                    return stuck;
                }
            }
        }
        stuck
    }

    fn groups_pending(&self, all: bool) -> Vec<Stuck> {
        let mut stuck = Vec::new();
        for actor in &self.actors {
            let Process::Consumer(client) = &actor.process else { continue };
            let (is_idle, state): (_, &dyn Fn() -> String) = match &actor.app {
                App::Consumer(app) => (app.is_idle(), &|| app.state()),
                App::Processor(app) => (app.is_idle(), &|| app.state()),
                _ => continue,
            };
            let detail = match client.settled() {
                Err(detail) => detail,
                Ok(()) if !is_idle => state(),
                Ok(()) if !client.idle_at_end() => {
                    "has not read or committed to the end".to_owned()
                }
                Ok(()) => continue,
            };
            let id = if detail.contains("rebalanc") || detail.contains("join") {
                "rebalance-livelock"
            } else {
                "stuck-consumer"
            };
            stuck.push(new(id, None, format!("{}: {detail}", actor.name)));
            if !all {
                return stuck;
            }
        }
        for (group, info) in self.recorder.history.groups.iter().enumerate() {
            for topic in &info.topics {
                let partitions = self.topics[usize::from(topic.0)].partitions;
                for index in 0..partitions {
                    let partition = TopicPartition::new(*topic, index);
                    if let Some(detail) = self.partition_pending(group, partition) {
                        stuck.push(new("stuck-consumer", Some(partition), detail));
                        if !all {
                            return stuck;
                        }
                    }
                }
            }
        }
        stuck
    }

    /// Whether some member of a group has read a partition to its end.
    fn partition_pending(&self, group: usize, partition: TopicPartition) -> Option<String> {
        let end = self.end(partition)?;
        let position = self
            .actors
            .iter()
            .filter(|actor| actor.group.is_some_and(|id| usize::from(id.0) == group))
            .filter_map(|actor| match &actor.process {
                Process::Consumer(client) => client.position(partition),
                _ => None,
            })
            .max();
        if position == Some(end) {
            return None;
        }
        let name = self.recorder.history.partition_name(partition);
        Some(match position {
            Some(position) => format!("{name} is read to {position} of {end}"),
            None => format!("{name} is not read by any member"),
        })
    }

    /// Where a partition ends for readers, as its leader would tell. `None` while it cannot: it is
    /// not aware of its election, or its high watermark is still behind that of its predecessor.
    pub(super) fn end(&self, partition: TopicPartition) -> Option<Offset> {
        let leader = self.leader(partition)?;
        match &self.actor(leader).process {
            Process::Broker(broker) => broker.latest_offset(partition),
            _ => None,
        }
    }

    // ---- drain ----

    fn auditor(&self) -> ActorId {
        ActorId(u16::try_from(self.actors.len() - 2).expect("few actors"))
    }

    fn begin_drain(&mut self) {
        self.enter(Phase::Draining);
        let actor = self.auditor();
        self.schedule(self.now, Event::Start { actor });
    }

    fn look_at_drain(&mut self) {
        let auditor = self.auditor();
        let (App::Auditor(app), Process::Consumer(client)) =
            (&self.actor(auditor).app, &self.actor(auditor).process)
        else {
            return;
        };
        let partitions = app.partitions().to_vec();
        let mut missing = Vec::new();
        let mut drained = Vec::new();
        for partition in partitions {
            match (self.end(partition), client.position(partition)) {
                (Some(end), Some(position)) if position >= end => drained.push((partition, end)),
                (end, position) => missing.push((partition, end, position)),
            }
        }
        if !missing.is_empty() && self.now.since(self.phase_since) < DRAIN_BOUND {
            return;
        }
        let who = (auditor, self.actor(auditor).incarnation);
        for (partition, to) in drained {
            let from = Offset::ZERO;
            self.recorder.client(who, ClientKind::Drained { partition, from, to });
        }
        for (partition, end, position) in missing {
            let name = self.recorder.history.partition_name(partition);
            let shown = |offset: Option<Offset>| offset.map_or(-1, |offset| offset.0);
            let (at, end) = (shown(position), shown(end));
            let detail = format!("the drain of {name} is at offset {at} of {end}");
            let id = "drain-incomplete";
            let partition = Some(partition);
            self.recorder.world(who, WorldEvent::Stuck { id, partition, detail });
        }
        self.compare_replicas();
        self.enter(Phase::Over);
    }

    /// Invariant I1: the logs of any two replicas agree below both high watermarks.
    fn compare_replicas(&mut self) {
        let mut broken = Vec::new();
        for topic in self.topics.iter() {
            for index in 0..topic.partitions {
                let partition = TopicPartition::new(topic.topic, index);
                if let Some(offset) = self.divergence(partition) {
                    broken.push((partition, offset));
                }
            }
        }
        for (partition, offset) in broken {
            let name = self.recorder.history.partition_name(partition);
            let event = WorldEvent::InvariantBroken {
                id: "log-divergence",
                partition: Some(partition),
                offset: Some(offset),
                detail: format!("two replicas of {name} hold different batches at {offset}"),
            };
            self.narrate(event);
        }
    }

    fn divergence(&self, partition: TopicPartition) -> Option<Offset> {
        let leader = self.leader(partition)?;
        let Process::Broker(leading) = &self.actor(leader).process else { return None };
        let committed = leading.high_watermark(partition)?;
        let reference = leading.batches(partition);
        for actor in &self.actors {
            let Process::Broker(broker) = &actor.process else { continue };
            let Some(known) = broker.high_watermark(partition) else { continue };
            let bound = committed.min(known);
            let pairs = reference.iter().zip(broker.batches(partition));
            for (ours, theirs) in pairs.take_while(|(ours, _)| ours.base_offset < bound) {
                if !ours.same_as(theirs) {
                    return Some(ours.base_offset);
                }
            }
        }
        None
    }
}

fn new(id: &'static str, partition: Option<TopicPartition>, detail: String) -> Stuck {
    Stuck { id, partition, detail }
}
