//! Swarm testing: what a seed means.
//!
//! Each seed first draws what it is like, then its faults (Groce et al., Swarm Testing, ISSTA 2012;
//! TigerBeetle's simulator draws its world in the same way): which of the declared kinds it uses
//! and how much it favours each, how many faults there are, whether they come spread out or in a
//! burst, whether they wait for a message, and in which of the scenario's worlds (networks and
//! values that `vary`). A campaign whose seeds differ in character finds what one of average seeds
//! does not: two faults that must meet within a moment, or a crash just after a marker was written.
//!
//! The shares below are measured with `oncesim mutants --strategies` (docs/strategies.md).

use oncesim_spec::{FaultKind, FaultPlan, PlannedFault, Scenario, Setting, SwarmSpec, Trigger};
use oncesim_types::{Duration, Instant};

use super::fault::FaultDraw;
use crate::draw::{Draws, Purpose};

/// So many in a hundred seeds have as many faults as are declared; the others any number of them.
const FULL: u64 = 90;
/// So many favour some of the declared kinds,
const FAVOURING: u64 = 20;
/// and so many leave some of them out.
const LEAVING_OUT: u64 = 15;
/// So many have their faults in a burst.
const BURST: u64 = 30;
/// So many wait for messages,
const AIMING: u64 = 50;
/// with so many in a hundred of their faults.
const AIMED: u64 = 50;
/// So many in a hundred brokers are named by role.
const BY_ROLE: u64 = 15;
/// How often a fault is drawn that the plan has already.
const DRAWS: u32 = 4;
/// How short a burst may be.
const SHORTEST: Duration = Duration::from_millis(50);

/// The plan of a seed: the scripted faults (of a walk: the seed's one), then those drawn for this
/// seed.
#[must_use]
pub fn plan(scenario: &Scenario, seed: u64) -> FaultPlan {
    let (world, settings) = world(scenario, seed);
    let mut faults = scripted(scenario, seed);
    if let Some(spec) = &scenario.swarm {
        faults.extend(drawn(world, spec, Draws::new(seed, Purpose::Plan, 0, 0)));
    }
    FaultPlan { faults, settings }
}

/// The world of a seed: the scenario, or one of its variants.
pub(super) fn world(scenario: &Scenario, seed: u64) -> (&Scenario, Vec<Setting>) {
    let mut draws = Draws::new(seed, Purpose::Settings, 0, 0);
    let itself = scenario.drawn_itself.then_some(None);
    let worlds: Vec<_> = itself.into_iter().chain(scenario.variants.iter().map(Some)).collect();
    draws.pick(&worlds).copied().flatten().map_or((scenario, Vec::new()), |variant| {
        (variant.scenario.as_ref(), variant.settings.clone())
    })
}

/// The scripted faults; of a walk, the seed's one.
pub(super) fn scripted(scenario: &Scenario, seed: u64) -> Vec<PlannedFault> {
    match scenario.scripted.len() as u64 {
        steps if scenario.walk && steps > 0 => {
            let step = usize::try_from(seed % steps).expect("below a length");
            vec![scenario.scripted[step].clone()]
        }
        _ => scenario.scripted.clone(),
    }
}

/// Faults of a seed's own character.
pub(super) fn drawn(scenario: &Scenario, spec: &SwarmSpec, draws: Draws) -> Vec<PlannedFault> {
    let mut draw = FaultDraw::new(scenario, spec, draws).by_role(BY_ROLE);
    let character = Character::new(spec, &mut draw);
    let mut faults: Vec<PlannedFault> = Vec::new();
    for _ in 0..character.count {
        let Some(kind) = draw.draws.pick(&character.kinds).copied() else { break };
        // The same message is lost once.
        let another = |_| {
            let mut fault = draw.fault(kind)?;
            character.time(&mut fault, &mut draw);
            Some(fault).filter(|fault| !faults.contains(fault))
        };
        faults.extend((0..DRAWS).find_map(another));
    }
    faults
}

/// What the faults of one seed have in common.
struct Character {
    /// Kinds to pick from; what is favoured is there several times.
    kinds: Vec<FaultKind>,
    count: u64,
    /// Faults at a moment strike from here on,
    from: Instant,
    /// within so long.
    within: Duration,
    aims: bool,
}

impl Character {
    fn new(spec: &SwarmSpec, draw: &mut FaultDraw<'_>) -> Character {
        let kinds = kinds(spec, &mut draw.draws);
        let most = u64::from(spec.count.max(1));
        let count = if draw.percent(FULL) { most } else { draw.draws.between(1, most) };
        let all = Duration(draw.until.0);
        let burst = draw.percent(BURST);
        let within = if burst { draw.draws.log_between(SHORTEST, all).min(all) } else { all };
        let from = Instant(draw.draws.below_inclusive(all.0 - within.0));
        Character { kinds, count, from, within, aims: draw.percent(AIMING) }
    }

    /// When a fault strikes, unless it is one of a message.
    fn time(&self, fault: &mut PlannedFault, draw: &mut FaultDraw<'_>) {
        let Trigger::At(at) = &mut fault.trigger else { return };
        *at = microseconds(self.from + Duration(draw.draws.below_inclusive(self.within.0)));
        if self.aims
            && draw.percent(AIMED)
            && let Some(trigger) = draw.aimed(&fault.action)
        {
            fault.trigger = trigger;
        }
    }
}

/// The declared kinds as one seed uses them: alike, some more than others, or only some.
fn kinds(spec: &SwarmSpec, draws: &mut Draws) -> Vec<FaultKind> {
    let dice = draws.below_inclusive(99);
    if dice < FAVOURING {
        let times = |draws: &mut Draws| 1usize << draws.below_inclusive(3);
        let favoured = |kind: &FaultKind| vec![*kind; times(draws)];
        return spec.kinds.iter().flat_map(favoured).collect();
    }
    let mut kinds = spec.kinds.clone();
    if dice < FAVOURING + LEAVING_OUT && !kinds.is_empty() {
        let left = draws.between(1, kinds.len() as u64);
        while kinds.len() as u64 > left {
            let last = kinds.len() as u64 - 1;
            let out = usize::try_from(draws.below_inclusive(last)).expect("below a length");
            kinds.remove(out);
        }
    }
    kinds
}

/// Whole microseconds: a plan that is printed and read back is the same plan.
pub(super) fn microseconds(at: Instant) -> Instant {
    Instant(at.0 / 1_000 * 1_000)
}

/// The chance that a seed plans a given one of `kinds` declared kinds, at least: that of the seeds
/// that use all of them alike.
pub(crate) fn chance(kinds: u64, count: u64) -> f64 {
    let to_f64 = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let alike = to_f64(100 - FAVOURING - LEAVING_OUT) / 100.0;
    let full = to_f64(FULL) / 100.0;
    let missed_by_one = 1.0 - 1.0 / to_f64(kinds.max(1));
    let missed = |n: u64| missed_by_one.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let count = count.max(1);
    let any: f64 = (1..=count).map(missed).sum::<f64>() / to_f64(count);
    let missed = full * missed(count) + (1.0 - full) * any;
    if kinds <= 1 { 1.0 } else { alike * (1.0 - missed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kinds: usize, count: u32) -> SwarmSpec {
        let kinds = FaultKind::ALL[..kinds].to_vec();
        SwarmSpec { kinds, count, targets: Vec::new(), until: None }
    }

    #[test]
    fn the_chance_of_a_kind_is_a_lower_bound_of_what_seeds_draw() {
        for (n, count) in [(1, 6), (2, 1), (3, 6), (12, 6)] {
            let spec = spec(n, count);
            let mut with = 0;
            for seed in 0..4_000 {
                let mut draws = Draws::new(seed, Purpose::Plan, 0, 0);
                let kinds = kinds(&spec, &mut draws);
                let full = draws.below_inclusive(99) < FULL;
                let most = u64::from(count);
                let faults = if full { most } else { draws.between(1, most) };
                with += u32::from((0..faults).any(|_| draws.pick(&kinds) == Some(&spec.kinds[0])));
            }
            let (share, chance) = (f64::from(with) / 4_000.0, chance(n as u64, u64::from(count)));
            assert!(share > chance - 0.02, "{n} kinds, {count} faults: {share} and {chance}");
            assert!(chance > share / 2.0, "{n} kinds, {count} faults: {share} and {chance}");
        }
    }

    #[test]
    fn seeds_use_all_kinds_or_some_and_some_more_than_others() {
        let spec = spec(5, 4);
        let used: Vec<Vec<FaultKind>> =
            (0..400).map(|seed| kinds(&spec, &mut Draws::new(seed, Purpose::Plan, 0, 0))).collect();
        let share = |is: &dyn Fn(&Vec<FaultKind>) -> bool| used.iter().filter(|it| is(it)).count();
        assert!(used.iter().all(|kinds| !kinds.is_empty()));
        assert!(share(&|kinds| *kinds == spec.kinds) > 200, "all alike");
        assert!(share(&|kinds| kinds.len() > 5) > 40, "some favoured");
        assert!(share(&|kinds| kinds.len() < 5) > 20, "some left out");
    }
}
