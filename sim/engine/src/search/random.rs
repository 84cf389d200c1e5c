//! Uniform search: every fault of a seed is of any declared kind.

use oncesim_spec::{FaultPlan, Scenario};

use super::swarm::{Swarm, scripted, world};

/// The plan of a seed: the scripted faults, then faults of all declared kinds alike.
#[must_use]
pub(super) fn plan(scenario: &Scenario, seed: u64) -> FaultPlan {
    let (scenario, settings) = world(scenario, seed);
    let mut faults = scripted(scenario, seed);
    if let Some(spec) = &scenario.swarm {
        Swarm::new(scenario, spec, seed).draw(&spec.kinds, &mut faults);
    }
    FaultPlan { faults, settings }
}
