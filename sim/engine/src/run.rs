//! One run: a fresh thread, a fresh madsim runtime, one world.

use std::sync::Arc;

use oncesim_spec::Scenario;

use crate::outcome::{Outcome, RunOptions};

/// Runs one seed (or one plan) of a scenario on a fresh thread. A panic inside becomes
/// [`crate::RunEnd::Panicked`].
#[must_use]
pub fn run(scenario: &Arc<Scenario>, options: &RunOptions) -> Outcome {
    let _ = (scenario, options);
    unimplemented!("the kernel lands next")
}
