//! Uniform search: every fault of a seed is of any declared kind, at any moment, on anybody.

use oncesim_spec::{FaultPlan, Scenario};

use super::fault::FaultDraw;
use super::swarm::{scripted, world};
use crate::draw::{Draws, Purpose};

/// The plan of a seed: the scripted faults, then up to as many as are declared, of all declared kinds
/// alike.
#[must_use]
pub(super) fn plan(scenario: &Scenario, seed: u64) -> FaultPlan {
    let (world, settings) = world(scenario, seed);
    let mut faults = scripted(scenario, seed);
    if let Some(spec) = &scenario.swarm {
        let mut draw = FaultDraw::new(world, spec, Draws::new(seed, Purpose::Plan, 0, 0));
        for _ in 0..draw.draws.between(1, u64::from(spec.count.max(1))) {
            let Some(kind) = draw.draws.pick(&spec.kinds).copied() else { break };
            faults.extend(draw.fault(kind));
        }
    }
    FaultPlan { faults, settings }
}
