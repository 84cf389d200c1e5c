//! Regressions: counterexamples below a folder `regressions`, which `oncesim fuzz` replays before
//! anything else and does not write a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use oncesim::RunOptions;
use oncesim_render::{Judgement, RegressionState, RegressionView};
use oncesim_spec::{Replay, Scenario};

use crate::exit::Refusal;
use crate::{convert, source};

/// The folder whose counterexamples are regressions.
const FOLDER: &str = "regressions";

/// Failures that regressions show today: the name of the scenario and the fingerprint, with the
/// file.
pub(crate) type Known = BTreeMap<(String, String), String>;

/// Whether a file is kept as a regression (if it records a run).
pub(crate) fn is_kept(file: &Path) -> bool {
    file.parent().and_then(Path::file_name) == Some(OsStr::new(FOLDER))
}

/// The regressions that are not below the paths of a campaign, but where it will write.
pub(crate) fn in_folder(out: &Path) -> Vec<PathBuf> {
    let there = out.file_name() == Some(OsStr::new(FOLDER)) && out.is_dir();
    if there { oncesim_spec::discover(out).unwrap_or_default() } else { Vec::new() }
}

/// The regressions in a folder beside the paths of a campaign, as far as they are of its scenarios.
pub(crate) fn beside(paths: &[PathBuf], files: &[PathBuf], sets: &[String]) -> Vec<PathBuf> {
    let names: BTreeSet<_> = files.iter().filter_map(|file| file.file_name()).collect();
    let folders: BTreeSet<PathBuf> =
        paths.iter().filter_map(|path| Some(path.parent()?.join(FOLDER))).collect();
    let found = folders.iter().filter(|folder| folder.is_dir());
    let found = found.flat_map(|folder| oncesim_spec::discover(folder).unwrap_or_default());
    let ours = |file: &PathBuf| {
        let replay = source::load_quietly(file, sets).ok().and_then(|loaded| loaded.replay);
        let of = replay.as_ref().and_then(|replay| Path::new(&replay.scenario).file_name());
        of.is_some_and(|name| names.contains(name))
    };
    found.filter(ours).collect()
}

/// Replays one regression; notes what it shows.
pub(crate) fn replay(
    file: &Path,
    sets: &[String],
    known: &mut Known,
) -> Result<Option<RegressionView>, Refusal> {
    let loaded = source::load(file, sets)?;
    let Some(recorded) = loaded.replay else { return Ok(None) };
    let seed = recorded.seed;
    let outcome = oncesim::run(&loaded.scenario, &RunOptions { seed, ..RunOptions::default() });
    let now = oncesim::failure(&loaded.scenario, &outcome);
    let shown = file.display().to_string();
    if let Some((now, _)) = &now {
        known.insert(key(&recorded.scenario, now), shown.clone());
    }
    let judgement = convert::judgement(oncesim::judge(&loaded.scenario, &outcome));
    Ok(Some(RegressionView {
        file: shown,
        state: state(&recorded, now.as_ref().map(|(id, _)| id.as_str())),
        judgement: if now.is_none() { gone(&loaded.scenario, judgement) } else { judgement },
        sentence: now.as_ref().map_or_else(String::new, |(id, _)| convert::sentence(id, &outcome)),
        now: now.map(|(id, _)| id),
        id: recorded.fingerprint,
    }))
}

fn state(recorded: &Replay, now: Option<&str>) -> RegressionState {
    match now {
        None => RegressionState::NoLongerFails,
        Some(now) if now == recorded.fingerprint => RegressionState::Fails,
        Some(_) => RegressionState::FailsOtherwise,
    }
}

/// A claim that holds again is good news. A pitfall that is no longer shown proves nothing.
fn gone(scenario: &Scenario, judgement: Judgement) -> Judgement {
    if scenario.expect.is_some() { judgement.max(Judgement::Vacuous) } else { judgement }
}

/// The same scenario has the same file name, however its path was written.
pub(crate) fn key(scenario: &str, fingerprint: &str) -> (String, String) {
    let name = Path::new(scenario).file_name();
    let name = name.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    (name, fingerprint.to_owned())
}
