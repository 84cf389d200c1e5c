//! A failure as a file: the scenario, with the faults that were drawn written out, and the run that
//! it reproduces.

use toml_edit::DocumentMut;

use crate::fault::FaultPlan;
use crate::print::{self, quote};
use crate::scenario::Scenario;

/// The run that a counterexample reproduces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The version of oncesim that wrote it.
    pub version: String,
    /// Its seed.
    pub seed: u64,
    /// Its digest, as printed.
    pub digest: String,
    /// The scenario that it came from, as the user gave it.
    pub scenario: String,
    /// The ids of its anomalies.
    pub fingerprint: String,
}

/// Whether a file of that version means the same here: equal up to the first number that is not 0.
pub(crate) fn same_language(version: &str) -> bool {
    let leading = |version: &str| -> Option<Vec<u64>> {
        let numbers: Option<Vec<u64>> =
            version.split(['.', '-', '+']).take(3).map(|part| part.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| numbers.len() == 3)?;
        let end = numbers.iter().position(|n| *n > 0).unwrap_or(2);
        Some(numbers[..=end].to_vec())
    };
    leading(version).is_some_and(|theirs| Some(theirs) == leading(env!("CARGO_PKG_VERSION")))
}

/// A run to be kept.
#[derive(Debug, Clone, Copy)]
pub struct Counterexample<'a> {
    /// The scenario of the run.
    pub scenario: &'a Scenario,
    /// Its faults, drawn and scripted.
    pub plan: &'a FaultPlan,
    /// Its seed.
    pub seed: u64,
    /// Its digest, as printed.
    pub digest: &'a str,
    /// The ids of its anomalies.
    pub fingerprint: &'a str,
}

/// The text of a counterexample file: the scenario's own text with its comments, the faults of the
/// run instead of those that it draws, and `[replay]`. Reading it gives the same scenario with
/// `scripted` equal to the plan.
#[must_use]
pub fn write_counterexample(counterexample: &Counterexample<'_>) -> String {
    let Counterexample { scenario, plan, seed, digest, fingerprint } = *counterexample;
    // What was drawn for this seed is written out.
    let variant = scenario.variants.iter().find(|variant| variant.settings == plan.settings);
    let source = variant.map_or(&scenario.source, |variant| &variant.scenario.source);
    let document: DocumentMut =
        source.parse().expect("the text of a scenario that was read is TOML");
    let origin = document
        .get("replay")
        .and_then(|replay| replay.get("scenario"))
        .and_then(|origin| origin.as_str())
        .map_or_else(|| scenario.path.clone(), str::to_owned);
    let mut text = without_faults(document);
    text.push_str(&print::faults(&plan.faults));
    let version = quote(env!("CARGO_PKG_VERSION"));
    // TOML integers end at 2^63.
    let seed = i64::try_from(seed).map_or_else(|_| quote(&seed.to_string()), |n| n.to_string());
    let (digest, origin, fingerprint) = (quote(digest), quote(&origin), quote(fingerprint));
    text.push_str(&format!(
        "\n[replay] # written by oncesim; `oncesim replay` of this file gives the same digest\n\
         version = {version}\nseed = {seed}\ndigest = {digest}\nscenario = {origin}\n\
         fingerprint = {fingerprint}\n"
    ));
    text
}

/// A scenario's text without its faults, ready for others.
pub(crate) fn without_faults(mut document: DocumentMut) -> String {
    for key in ["faults", "fault", "replay"] {
        document.remove(key);
    }
    let mut text = document.to_string();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
