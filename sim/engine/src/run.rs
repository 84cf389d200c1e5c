//! One run: a fresh thread, a fresh runtime, one world.

use std::sync::Arc;

use oncesim_semantics::{Verdict, check};
use oncesim_spec::{FaultPlan, Scenario};
use oncesim_types::Duration;

use crate::cast::cast;
use crate::coverage::Coverage;
use crate::host;
use crate::outcome::{Digest, Outcome, RunEnd, RunOptions};
use crate::search::swarm;
use crate::world::{Turn, World};
use oncesim_history::trace::Trace;
use oncesim_history::traffic::Traffic;

/// Runs one seed (or one plan) of a scenario on a fresh thread. A panic inside becomes
/// [`RunEnd::Panicked`].
#[must_use]
pub fn run(scenario: &Arc<Scenario>, options: &RunOptions) -> Outcome {
    let plan = match planned(scenario, options) {
        Ok(plan) => plan,
        Err(outcome) => return *outcome,
    };
    let scenario = scenario.with(&plan.settings);
    let shown = plan.clone();
    let result = host::run(options.seed, |clock| {
        let mut world = World::new(scenario, options.seed, plan, options.keep_trace, &[]);
        if options.keep_traffic {
            world.count_traffic();
        }
        world.will_fork(options.fork);
        while let Turn::Next(now) = world.turn() {
            clock.advance_to(now);
        }
        world.into_outcome(options.keep_history)
    });
    result.unwrap_or_else(|message| panicked(scenario, options.seed, shown, message))
}

/// The faults of a run: given, or drawn.
///
/// # Errors
/// The outcome of a run that panicked before it began.
pub(crate) fn planned(
    scenario: &Scenario,
    options: &RunOptions,
) -> Result<FaultPlan, Box<Outcome>> {
    if let Some(plan) = &options.plan {
        return Ok(plan.clone());
    }
    host::caught(|| swarm::plan(scenario, options.seed)).map_err(|message| {
        Box::new(panicked(scenario, options.seed, FaultPlan::default(), message))
    })
}

impl World {
    /// Checks the history and sums up.
    pub(crate) fn into_outcome(self, keep_history: bool) -> Outcome {
        let mutation_hits = self.recorder_hits();
        let (end, parts) = self.finish();
        let verdict = check(&parts.history);
        Outcome {
            seed: parts.seed,
            plan: parts.plan,
            digest: parts.digest,
            end,
            virtual_time: Duration(parts.history.end.0),
            events: parts.events,
            messages: parts.messages,
            verdict,
            faults: parts.faults,
            mutation_hits,
            world: parts.world,
            actor_names: parts.history.actors.iter().map(|actor| actor.name.clone()).collect(),
            coverage: parts.coverage,
            history: keep_history.then_some(parts.history),
            trace: parts.trace,
            traffic: parts.traffic,
            sightings: parts.sightings,
            acts: parts.acts,
        }
    }
}

pub(crate) fn panicked(
    scenario: &Scenario,
    seed: u64,
    plan: FaultPlan,
    message: String,
) -> Outcome {
    Outcome {
        seed,
        plan,
        digest: Digest::default(),
        end: RunEnd::Panicked(message),
        virtual_time: Duration::ZERO,
        events: 0,
        messages: 0,
        verdict: Verdict::default(),
        faults: Vec::new(),
        mutation_hits: 0,
        world: Vec::new(),
        actor_names: cast(scenario, &[]).into_iter().map(|member| member.name).collect(),
        coverage: Coverage::default(),
        history: None,
        trace: Trace::default(),
        traffic: Traffic::default(),
        sightings: Vec::new(),
        acts: Vec::new(),
    }
}
