//! A failure as a file: the scenario, with the faults that were drawn written out, and the run that
//! it reproduces.

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
