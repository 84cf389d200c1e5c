//! Pages: `--html FILE`.

use std::path::Path;

use oncesim::Outcome;
use oncesim_render::{ExplanationView, RunView, run_html};

use crate::artifact;
use crate::exit::Refusal;

/// Refuses a place that takes no file, before anything runs.
pub(crate) fn ensure(path: Option<&Path>) -> Result<(), Refusal> {
    path.map_or(Ok(()), |path| artifact::ensure_file(path, "--html"))
}

/// Writes the page of a run that kept its trace, if it is wanted.
pub(crate) fn run(
    path: Option<&Path>,
    view: &RunView,
    outcome: &Outcome,
    explanation: Option<&ExplanationView>,
) -> Result<(), Refusal> {
    let Some(path) = path else { return Ok(()) };
    let empty = oncesim::history::History::default();
    let history = outcome.history.as_ref().unwrap_or(&empty);
    artifact::write(path, &run_html(view, history, &outcome.trace, explanation))
}
