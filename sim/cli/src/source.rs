//! Scenarios from files: the one place that asks the parser.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oncesim_spec::{Diagnostics, Replay, Scenario};

use crate::exit::Refusal;
use crate::{artifact, output};

/// A scenario that can run.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) scenario: Arc<Scenario>,
    /// For a counterexample: the run that it recorded.
    pub(crate) replay: Option<Replay>,
    /// What is probably not as its author believes.
    pub(crate) warnings: Diagnostics,
}

/// Loads a scenario; its warnings go to standard error.
pub(crate) fn load(path: &Path, sets: &[String]) -> Result<Loaded, Refusal> {
    let loaded = load_quietly(path, sets)?;
    if !loaded.warnings.is_empty() {
        output::note(&format!("{}\n", loaded.warnings.render(output::styled_notes())));
    }
    Ok(loaded)
}

/// Loads a scenario without a word about its warnings.
pub(crate) fn load_quietly(path: &Path, sets: &[String]) -> Result<Loaded, Refusal> {
    let sets: Vec<(String, String)> = sets.iter().map(|set| pair(set)).collect::<Result<_, _>>()?;
    match oncesim_spec::load_with(path, &sets) {
        Ok(loaded) => Ok(Loaded {
            scenario: Arc::new(loaded.scenario),
            replay: loaded.replay,
            warnings: loaded.warnings,
        }),
        Err(diagnostics) => Err(Refusal::Diagnostics(diagnostics.render(output::styled_notes()))),
    }
}

fn pair(set: &str) -> Result<(String, String), Refusal> {
    match set.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() => {
            Ok((path.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(Refusal::new(
            format!("`{set}` does not say which value to change to what"),
            "--set",
            "write PATH=VALUE: --set producers.shop.config.acks=1",
        )),
    }
}

/// Loads several scenarios; refuses with the complaints about all of them.
pub(crate) fn load_all(paths: &[PathBuf], sets: &[String]) -> Result<Vec<Arc<Scenario>>, Refusal> {
    let mut scenarios = Vec::new();
    let mut complaints = Vec::new();
    for path in paths {
        match load(path, sets) {
            Ok(loaded) => scenarios.push(loaded.scenario),
            Err(refusal) => complaints.push(refusal.to_string()),
        }
    }
    if complaints.is_empty() {
        Ok(scenarios)
    } else {
        Err(Refusal::Diagnostics(complaints.join("\n\n")))
    }
}

/// The scenarios of files and folders, in the order of their paths.
pub(crate) fn discover(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Refusal> {
    let mut found = Vec::new();
    for path in paths {
        let refuse =
            |cause: String, fix: &str| Err(Refusal::new(cause, path.display().to_string(), fix));
        let kind = match std::fs::metadata(path) {
            Ok(kind) => kind,
            Err(error) => {
                let cause = format!("the scenario cannot be read: {}", artifact::reason(&error));
                return refuse(cause, "check the path; `oncesim list` shows the scenarios here");
            }
        };
        if kind.is_file() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        walk(path, &mut found)?;
        if found.len() == before {
            let cause = "there is no scenario (a .toml file) in this folder".to_owned();
            return refuse(cause, "`oncesim new NAME` writes one to start from");
        }
    }
    Ok(found)
}

/// Files that end in `.toml`, below `folder`, sorted; hidden folders and `invalid` (wrong on
/// purpose) are left out.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Refusal> {
    let refuse = |error: &std::io::Error| {
        let cause = format!("the folder cannot be read: {}", artifact::reason(error));
        Refusal::new(cause, folder.display().to_string(), "check its permissions")
    };
    let mut entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(&error))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && name != "invalid" && name != "spec" {
                walk(&path, found)?;
            }
        } else if name.ends_with(".toml") {
            found.push(path);
        }
    }
    Ok(())
}
