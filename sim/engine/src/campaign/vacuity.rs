//! A green campaign that tried nothing is worth nothing: faults that were declared and never struck,
//! checkers that saw nothing.

use oncesim_spec::{FaultAction, FaultKind, PlannedFault, Scenario, Trigger};
use serde::{Deserialize, Serialize};

use super::bound::to_f64;
use super::part::{FaultCount, claims};
use crate::search::swarm;
use crate::world::faults::kind;

/// What a result has to know of its scenario, to be judged where the scenario is not at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioFacts {
    /// The scenario's path, as the user gave it.
    pub path: String,
    /// Its title.
    pub title: String,
    /// BLAKE3 of its text, with pasted properties and changed values written out.
    pub identity: String,
    /// The anomaly that it expects, and within how many seeds.
    pub expect: Option<(String, u64)>,
    /// Its claims: `log exactly-once`.
    pub claims: Vec<String>,
    /// Fault kinds that a seed draws from ...
    pub drawn: Vec<String>,
    /// ... so many faults at most.
    pub drawn_count: u32,
    /// Fault kinds of its scripted faults.
    pub scripted: Vec<String>,
    /// Of a walk: how many seeds it takes.
    pub walk: Option<u64>,
    /// What checkers have to see, or the claims are empty.
    pub checkers: Vec<String>,
}

impl ScenarioFacts {
    /// What is to be known of a scenario.
    #[must_use]
    pub fn of(scenario: &Scenario) -> ScenarioFacts {
        let swarm = scenario.swarm.as_ref();
        let mut scripted: Vec<String> =
            scenario.scripted.iter().map(|fault| kind_of(fault).to_owned()).collect();
        scripted.sort();
        scripted.dedup();
        let kinds = swarm.iter().flat_map(|swarm| swarm.kinds.iter().copied());
        ScenarioFacts {
            path: scenario.path.clone(),
            title: scenario.title.clone(),
            identity: blake3::hash(scenario.source.as_bytes()).to_hex().to_string(),
            expect: scenario.expect.as_ref().map(|it| (it.anomaly.clone(), it.within)),
            claims: scenario.claim.iter().flat_map(claims).map(|(name, _)| name).collect(),
            drawn: kinds.map(|kind| kind.name().to_owned()).collect(),
            drawn_count: swarm.map_or(0, |swarm| swarm.count),
            scripted,
            walk: scenario.walk.then_some(scenario.scripted.len() as u64),
            checkers: checkers(scenario).into_iter().map(str::to_owned).collect(),
        }
    }

    /// The kinds of fault that it declares, each once.
    #[must_use]
    pub fn declared(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = Vec::new();
        for kind in self.scripted.iter().chain(&self.drawn) {
            if !kinds.contains(&kind.as_str()) {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// Declared kinds that never struck in so many seeds.
    pub(super) fn silent(&self, seeds: u64, count: impl Fn(&str) -> FaultCount) -> Vec<SilentKind> {
        let declared = self.declared().into_iter();
        declared
            .filter(|kind| count(kind).struck == 0)
            .map(|kind| SilentKind {
                kind: kind.to_owned(),
                planned: count(kind).planned,
                telling: self.is_telling(kind, seeds),
            })
            .collect()
    }

    /// Whether so many seeds without a kind of fault say that it cannot strike.
    fn is_telling(&self, kind: &str, seeds: u64) -> bool {
        if self.scripted.iter().any(|it| it == kind) {
            return seeds >= self.walk.unwrap_or(1);
        }
        let missed =
            1.0 - swarm::chance(self.drawn.len() as u64, u64::from(self.drawn_count.max(1)));
        to_f64(seeds) * missed.max(f64::MIN_POSITIVE).ln() < CHANCE_TO_MISS.ln()
    }
}

/// The counts of the verdict that must not stay at zero, given what the scenario claims.
fn checkers(scenario: &Scenario) -> Vec<&'static str> {
    let Some(claim) = scenario.claim else { return Vec::new() };
    let transactional = scenario.processors.iter().any(|spec| spec.transactional_id.is_some());
    [
        ("sends", claim.log.is_some()),
        ("ordered pairs of sends", claim.ordering.is_some()),
        ("processed records", claim.processing.is_some() && !scenario.consumers.is_empty()),
        ("committed transactions", transactional && claim.processing.is_some()),
        ("effects asked for", claim.effect.is_some() && !scenario.sinks.is_empty()),
    ]
    .into_iter()
    .filter_map(|(what, needed)| needed.then_some(what))
    .collect()
}

/// With so small a chance that it was only missed, a kind that never struck is a mistake of the
/// scenario: one false alarm in a million scenarios and kinds.
const CHANCE_TO_MISS: f64 = 1e-6;

/// A declared kind of fault that never struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentKind {
    /// Its name.
    pub kind: String,
    /// How often it was planned all the same.
    pub planned: u64,
    /// Whether there were enough seeds to tell.
    pub telling: bool,
}

/// The kind of a planned fault, as `swarm.kinds` names it: losing a message is two of them.
pub(super) fn kind_of(fault: &PlannedFault) -> &'static str {
    match (&fault.action, &fault.trigger) {
        (FaultAction::Drop, Trigger::OnMessage { pattern, .. }) => match pattern.response {
            Some(true) => FaultKind::AckLoss.name(),
            Some(false) => FaultKind::RequestLoss.name(),
            None => "drop",
        },
        (action, _) => kind(action),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_seeds_tell_nothing_and_many_do() {
        let subject = ScenarioFacts {
            path: String::new(),
            title: String::new(),
            identity: String::new(),
            expect: None,
            claims: Vec::new(),
            drawn: (0..12).map(|n| format!("kind-{n}")).collect(),
            drawn_count: 6,
            scripted: vec!["drop".to_owned()],
            walk: None,
            checkers: Vec::new(),
        };
        let never = |_: &str| FaultCount::default();
        let telling = |seeds| {
            let silent = subject.silent(seeds, never);
            silent.iter().map(|kind| kind.telling).collect::<Vec<_>>()
        };
        assert_eq!(telling(3)[..3], [true, false, false], "a scripted fault strikes in every run");
        assert!(telling(64).iter().all(|telling| *telling));
    }
}
