//! Pages: `--html FILE`.

use std::path::Path;

use oncesim_render::{ExplanationView, RunView, run_html};

use crate::artifact;
use crate::exit::Refusal;

/// Refuses a place that takes no file, before anything runs.
pub(crate) fn ensure(path: Option<&Path>) -> Result<(), Refusal> {
    path.map_or(Ok(()), |path| artifact::ensure_file(path, "--html"))
}

/// Writes the page of a run that kept its recording, if it is wanted.
pub(crate) fn run(
    path: Option<&Path>,
    view: &RunView,
    explanation: Option<&ExplanationView>,
) -> Result<(), Refusal> {
    path.map_or(Ok(()), |path| artifact::write(path, &run_html(view, explanation)))
}
