//! From TOML to a scenario, or to everything that is wrong with it.

mod application;
mod cluster;
mod external;
mod fault;
mod processor;
mod top;
mod transaction;
mod vary;

use std::path::Path;

use crate::counterexample::Replay;
use crate::diagnostic::Diagnostics;
use crate::node;
use crate::scenario::Scenario;
use crate::set;

pub(crate) use application::{COMMITS, RESTARTS};
pub(crate) use external::{
    ANNOUNCE, DEDUP_PLACEMENTS, IDEMPOTENCY_KEYS, MARK_WHEN, ON_UNKNOWN, TRANSACTIONS,
};
pub(crate) use fault::API_ANY;
#[cfg(test)]
pub(crate) use fault::KINDS;
pub(crate) use processor::COMMITS as PROCESSOR_COMMITS;
pub(crate) use transaction::{MISTAKES, PRODUCER_MISTAKES};

/// A scenario that can run, and what its author should know.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What runs.
    pub scenario: Scenario,
    /// What is probably not as its author believes.
    pub warnings: Diagnostics,
    /// For a counterexample: the run that it reproduces.
    pub replay: Option<Replay>,
}

/// Reads a scenario file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    load_with(path, &[])
}

/// Reads a scenario file and changes values in it: `("producers.shop.records", "10")`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_with(path: &Path, sets: &[(String, String)]) -> Result<Loaded, Diagnostics> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let help = if path.is_dir() {
            "name one of the .toml files in it"
        } else if error.kind() == std::io::ErrorKind::NotFound {
            "check the path, or write a scenario to start from with `oncesim new NAME`"
        } else {
            "a scenario is a TOML file in UTF-8"
        };
        Diagnostics::unreadable(&shown, &error, help)
    })?;
    parse_with(&shown, &text, path.parent(), sets)
}

/// Parses a scenario. `path_shown` is how reports name it, `base_dir` where its `.properties`
/// and `.sql` files are looked up.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(path_shown: &str, text: &str, base_dir: Option<&Path>) -> Result<Loaded, Diagnostics> {
    parse_with(path_shown, text, base_dir, &[])
}

/// [`parse`], after changing values by their dotted paths.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_with(
    path_shown: &str,
    text: &str,
    base_dir: Option<&Path>,
    sets: &[(String, String)],
) -> Result<Loaded, Diagnostics> {
    let mut out = Diagnostics::default();
    let (mut scenario, replay, varies) = one(path_shown, text, base_dir, sets, &mut out)?;
    scenario.drawn_itself = varies.nothing();
    match vary::variants(&scenario, base_dir, &varies, &mut out) {
        Some(variants) => scenario.variants = variants,
        None => return Err(out),
    }
    Ok(Loaded { scenario, warnings: out, replay })
}

/// A scenario without its variants, and what it varies. What is wrong with it is the error; `out`
/// has the warnings.
fn one(
    path_shown: &str,
    text: &str,
    base_dir: Option<&Path>,
    sets: &[(String, String)],
    out: &mut Diagnostics,
) -> Result<(Scenario, Option<Replay>, vary::Varies), Diagnostics> {
    let source = out.source(path_shown, text);
    let mut root = node::read(text, source, out);
    let broken = out.has_errors();
    set::apply(&mut root, sets, out);
    let document = top::document(path_shown, &root, base_dir, out);
    if broken {
        out.only_certain();
    }
    out.sort();
    if out.has_errors() {
        return Err(std::mem::take(out));
    }
    let document = document.expect("a scenario without errors is complete");
    let top::Document { mut scenario, replay, inlined, vary } = document;
    scenario.source = set::self_contained(text, sets, &inlined).into();
    let varies = vary::Varies::new(vary, &root, &scenario);
    Ok((scenario, replay, varies))
}

#[cfg(test)]
mod tests;
