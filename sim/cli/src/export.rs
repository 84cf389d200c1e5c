//! Traces for other viewers: `--perfetto FILE` and `--shiviz FILE`.

use std::path::Path;

use oncesim_render::{RunView, perfetto_json, shiviz_log};

use crate::args::ExportArgs;
use crate::artifact;
use crate::exit::Refusal;

/// Refuses places that take no file, before anything runs; `others` are what else is written.
pub(crate) fn ensure(args: &ExportArgs, others: &[(Option<&Path>, &str)]) -> Result<(), Refusal> {
    let own = [(args.perfetto.as_deref(), "--perfetto"), (args.shiviz.as_deref(), "--shiviz")];
    artifact::ensure_files(&[others, &own].concat())
}

/// Whether a run has to keep its trace.
pub(crate) const fn wanted(args: &ExportArgs) -> bool {
    args.perfetto.is_some() || args.shiviz.is_some()
}

/// Writes what is wanted of a run that kept its trace.
pub(crate) fn write(args: &ExportArgs, view: &RunView) -> Result<(), Refusal> {
    if let Some(path) = &args.perfetto {
        let title = format!("{}, seed {}", view.scenario, view.seed);
        artifact::write(path, &perfetto_json(&view.recording, &title))?;
    }
    if let Some(path) = &args.shiviz {
        artifact::write(path, &shiviz_log(&view.recording))?;
    }
    Ok(())
}
