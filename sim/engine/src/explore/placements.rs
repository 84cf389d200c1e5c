//! The placements of one fault in a run that is known: at every message, and after every step of a
//! process.

use oncesim_history::trace::{StepId, Via};
use oncesim_spec::{FaultKind, MessagePattern, PlannedFault, Scenario, Trigger};
use oncesim_types::{Duration, Instant};

use super::repertoire::Repertoire;
use crate::address::Addresses;
use crate::outcome::Outcome;
use crate::sighting::{Act, Moment};

/// How long after a silent step a fault strikes: before everything that is later, and behind
/// everything of the same moment.
const NEXT: Duration = Duration::from_nanos(1);

/// Where a fault is placed. The order is that in which faults strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// At which moment, ...
    pub(super) moment: Instant,
    /// ... at the message of which sighting ([`END`](Self::END): when the moment is over), ...
    pub(super) sighting: u32,
    /// ... and which of the faults there.
    pub(super) order: u32,
}

impl Position {
    /// Behind all messages of a moment.
    pub(super) const END: u32 = u32::MAX;
}

/// One placement of one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    /// Where.
    pub(super) at: Position,
    /// The fault: by logical address at a message, else at a moment.
    pub(super) fault: PlannedFault,
    /// How many placements it stands for: itself, and those that are the same.
    pub(super) stands_for: u64,
}

/// Who takes part, and which faults are placed.
pub(super) struct Placer {
    addresses: Addresses,
    repertoire: Repertoire,
}

impl Placer {
    pub(super) fn new(scenario: &Scenario, kinds: &[FaultKind]) -> Self {
        Placer { addresses: Addresses::new(scenario), repertoire: Repertoire::new(scenario, kinds) }
    }

    /// The placements of one more fault in a run, after `from` (else: all), in their order. With
    /// `merge`, those that are the same run are one.
    pub(super) fn of(
        &self,
        outcome: &Outcome,
        from: Option<Position>,
        merge: bool,
    ) -> Vec<Placement> {
        let begin = from.map_or(Instant::ZERO, |from| from.moment);
        let addresses = self.addresses.of(&outcome.sightings);
        let mut found = self.at_messages(outcome, &addresses, begin, merge);
        self.after_silent_steps(outcome, &addresses, begin, &mut found);
        if let Some(from) = from {
            found.retain(|placement| placement.at > from);
        }
        found.sort_by_key(|placement| placement.at);
        found
    }

    /// At the messages from a moment on. What lies in the same step may be the same placement.
    fn at_messages(
        &self,
        outcome: &Outcome,
        addresses: &[Option<(MessagePattern, u32)>],
        begin: Instant,
        merge: bool,
    ) -> Vec<Placement> {
        let sightings = &outcome.sightings;
        let first = sightings.partition_point(|sighting| sighting.time < begin);
        let mut found: Vec<Placement> = Vec::new();
        let (mut current, mut clear, mut open) = (None, false, 0);
        for (at, (sighting, address)) in (0u32..).zip(sightings.iter().zip(addresses)).skip(first) {
            let Some((pattern, nth)) = address else { continue };
            if current != Some(sighting.step) {
                current = Some(sighting.step);
                clear = merge && is_alone(outcome, sighting.step);
                open = found.len();
            }
            let ends = [sighting.from, sighting.to].map(|actor| self.addresses.process(actor));
            let faults = self.repertoire.at_message(sighting, ends);
            for (order, (action, of_message)) in (0u32..).zip(faults) {
                let same = |it: &&mut Placement| clear && !of_message && it.fault.action == action;
                if let Some(same) = found[open..].iter_mut().find(same) {
                    same.stands_for += 1;
                    continue;
                }
                let trigger = trigger(sighting.moment, of_message, pattern.clone(), *nth);
                let fault = PlannedFault { trigger, action };
                let at = Position { moment: sighting.time, sighting: at, order };
                found.push(Placement { at, fault, stands_for: 1 });
            }
        }
        found
    }

    /// After the steps, from a moment on, in which a process does something and no message can be
    /// named that it sends or receives. No address tells such a step from the next, so the fault
    /// strikes at a moment; the steps of one moment are one place.
    fn after_silent_steps(
        &self,
        outcome: &Outcome,
        addresses: &[Option<(MessagePattern, u32)>],
        begin: Instant,
        found: &mut Vec<Placement>,
    ) {
        let first = outcome.acts.partition_point(|act| act.time < begin);
        for acts in outcome.acts[first..].chunk_by(|a, b| a.time == b.time) {
            let mut silent: Vec<usize> = acts
                .iter()
                .filter(|act| self.addresses.is_named(act.actor))
                .filter(|act| !self.is_addressed(outcome, addresses, act))
                .map(|act| self.addresses.process(act.actor))
                .collect();
            silent.sort_unstable();
            silent.dedup();
            let moment = acts[0].time;
            let actions = (0u32..).zip(self.repertoire.after_steps_of(&silent));
            let placements = actions.map(|(order, action)| Placement {
                at: Position { moment, sighting: Position::END, order },
                fault: PlannedFault { trigger: Trigger::At(moment + NEXT), action },
                stands_for: 1,
            });
            found.extend(placements);
        }
    }

    /// Whether a message of the same step tells where it is: then that is the place.
    fn is_addressed(
        &self,
        outcome: &Outcome,
        addresses: &[Option<(MessagePattern, u32)>],
        act: &Act,
    ) -> bool {
        let sightings = &outcome.sightings;
        let first = sightings.partition_point(|sighting| sighting.step < act.step);
        let process = self.addresses.process(act.actor);
        let here = sightings.iter().zip(addresses).skip(first);
        here.take_while(|(sighting, _)| sighting.step == act.step).any(|(sighting, address)| {
            let ends = [sighting.from, sighting.to].map(|actor| self.addresses.process(actor));
            address.is_some() && ends.contains(&process)
        })
    }
}

fn trigger(moment: Moment, of_message: bool, pattern: MessagePattern, nth: u32) -> Trigger {
    match moment {
        _ if of_message => Trigger::OnMessage { pattern, nth },
        Moment::Sent => Trigger::Sent { pattern, nth, delay: Duration::ZERO },
        Moment::Delivered => Trigger::Delivered { pattern, nth, delay: Duration::ZERO },
    }
}

/// Whether nothing else happens at the moment of a step after it: then a fault that strikes because
/// of anything in it strikes before everything that follows.
fn is_alone(outcome: &Outcome, step: StepId) -> bool {
    let steps = &outcome.trace.steps;
    let Some(this) = steps.get(step as usize) else { return false };
    let mut following = steps[step as usize + 1..].iter().filter(|step| step.via != Via::Fault);
    following.next().is_none_or(|next| next.time > this.time)
}
