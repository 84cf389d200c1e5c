//! Pages: `--html FILE`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use oncesim::RunOptions;
use oncesim_render::{ExplanationView, RunView, SummaryView, campaign_html, run_html};

use crate::command::run::quoted_path;
use crate::exit::Refusal;
use crate::{artifact, convert, source};

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

/// Writes the page of a campaign, and beside it the page of each counterexample that it names.
pub(crate) fn campaign(path: &Path, summary: &SummaryView) -> Result<(), Refusal> {
    let found = summary.campaigns.iter().flat_map(|campaign| &campaign.failures);
    let found = found.filter_map(|failure| failure.counterexample.as_ref());
    let known = summary.regressions.iter().map(|regression| &regression.file);
    let files: BTreeSet<&String> = found.chain(known).collect();
    let mut pages = BTreeMap::new();
    let mut names = BTreeSet::new();
    for file in files {
        let Some(view) = replayed(Path::new(file)) else { continue };
        let mut name = page_name(path, Path::new(file));
        while !names.insert(name.clone()) {
            name.insert(name.len() - ".html".len(), '-');
        }
        artifact::write(&path.with_file_name(&name), &run_html(&view, None))?;
        pages.insert(file.clone(), name);
    }
    artifact::write(path, &campaign_html(summary, &pages))
}

/// The run of a counterexample; none of a file that records no run or has gone.
fn replayed(file: &Path) -> Option<RunView> {
    let loaded = source::load_quietly(file, &[]).ok()?;
    let seed = loaded.replay?.seed;
    let kept = RunOptions { keep_history: true, keep_trace: true, ..RunOptions::default() };
    let outcome = oncesim::run(&loaded.scenario, &RunOptions { seed, ..kept });
    let command = format!("oncesim replay {}", quoted_path(file));
    Some(convert::run(&loaded.scenario, &outcome, Duration::ZERO, command))
}

/// `campaign-orders-lost-write-7.html`, of characters that need no escape in a link.
fn page_name(campaign: &Path, file: &Path) -> String {
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = format!("{}-{}", stem(campaign), stem(file));
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    format!("{}.html", name.chars().map(plain).collect::<String>())
}
