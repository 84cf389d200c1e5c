//! Scenarios from files: the one place that asks the parser.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oncesim::{Failure, Shrunk};
use oncesim_spec::{Counterexample, Diagnostics, MatrixSpec, Replay, Scenario};

use crate::exit::Refusal;
use crate::output;

/// A scenario that can run.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) scenario: Arc<Scenario>,
    /// For a counterexample: the run that it recorded.
    pub(crate) replay: Option<Replay>,
    /// What is probably not as its author believes.
    pub(crate) warnings: Diagnostics,
}

impl Loaded {
    /// The run that a file is about: the one that a counterexample recorded, or that of `--seed`;
    /// `None`: a scenario, and nobody said which.
    pub(crate) fn seed(&self, given: Option<u64>) -> Result<Option<u64>, Refusal> {
        match (&self.replay, given) {
            (Some(replay), None) => Ok(Some(replay.seed)),
            (None, given) => Ok(given),
            (Some(replay), Some(_)) => Err(Refusal::new(
                format!("a counterexample has its own seed, {}", replay.seed),
                "--seed",
                "leave --seed out",
            )),
        }
    }
}

/// Nobody said which run of a scenario.
pub(crate) fn which_run(file: &Path) -> Refusal {
    Refusal::new(
        "this is a scenario, not a counterexample: it says nothing about which run",
        file.display().to_string(),
        "give --seed N, or a file that `oncesim fuzz` wrote into reports/out",
    )
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

fn refusal(diagnostics: &Diagnostics) -> Refusal {
    Refusal::Diagnostics(diagnostics.render(output::styled_notes()))
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

/// The scenarios that paths stand for, in the order of the paths.
pub(crate) fn discover(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Refusal> {
    let mut found = Vec::new();
    for path in paths {
        found.extend(oncesim_spec::discover(path).map_err(|diagnostics| refusal(&diagnostics))?);
    }
    Ok(found)
}

/// A commented scenario called `name`; the first template unless another is named.
pub(crate) fn template(name: &str, template: Option<&str>) -> Result<String, Refusal> {
    let template = template.unwrap_or(oncesim_spec::TEMPLATES[0].0);
    oncesim_spec::template(name, template).ok_or_else(|| {
        let all: Vec<String> = oncesim_spec::TEMPLATES
            .iter()
            .map(|(name, shows)| format!("{name} ({shows})"))
            .collect();
        Refusal::new(
            format!("there is no template `{template}`"),
            "--template",
            format!("one of\n      {}", all.join("\n      ")),
        )
    })
}

/// The text of a counterexample file.
pub(crate) fn counterexample(scenario: &Scenario, failure: &Failure) -> String {
    oncesim_spec::write_counterexample(&Counterexample {
        scenario,
        plan: &failure.first.plan,
        seed: failure.first.seed,
        digest: &failure.first.digest.to_string(),
        fingerprint: &failure.fingerprint,
    })
}

/// The text of a shrunk counterexample, with its story.
pub(crate) fn shrunk(shrunk: &Shrunk, story: &[String]) -> String {
    let outcome = &shrunk.outcome;
    let text = oncesim_spec::write_counterexample(&Counterexample {
        scenario: &shrunk.scenario,
        plan: &outcome.plan,
        seed: outcome.seed,
        digest: &outcome.digest.to_string(),
        fingerprint: &shrunk.fingerprint,
    });
    oncesim_spec::with_story(&text, story)
}

/// What paths stand for: one definition of a matrix, or scenarios as they are.
pub(crate) fn matrix(paths: &[PathBuf]) -> Result<MatrixSpec, Refusal> {
    let defines = |path: &PathBuf| {
        path.is_file()
            && std::fs::read_to_string(path).is_ok_and(|text| MatrixSpec::is_definition(&text))
    };
    match (paths, paths.iter().find(|path| defines(path))) {
        ([path], Some(_)) => MatrixSpec::load(path).map_err(|all| refusal(&all)),
        (_, Some(definition)) => Err(Refusal::new(
            "a definition of a matrix stands alone",
            definition.display().to_string(),
            "name it without other paths, or scenarios only",
        )),
        (_, None) => {
            let files = discover(paths)?;
            let scenarios: Vec<_> = load_all(&files, &[])?;
            let pairs = files.into_iter().zip(&scenarios);
            let pairs: Vec<_> = pairs.map(|(path, scenario)| (path, &**scenario)).collect();
            Ok(MatrixSpec::of_scenarios(&pairs))
        }
    }
}
