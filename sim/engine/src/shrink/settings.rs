//! Settings: what the file sets and the failure does not need goes back to its default.
//!
//! What a promise is made of stays as it is written: replication, acknowledgements, idempotence,
//! isolation, transactions, how offsets are committed. The same anomaly under other promises is
//! another story, even if it has the same name.

use std::collections::BTreeSet;
use std::sync::Arc;

use oncesim_spec::{
    Counterexample, FaultPlan, Scenario, parse, settings, without_settings, write_counterexample,
};

use super::{Shrinker, Size};

/// Ends of the paths that stay.
const STORY: [&str; 15] = [
    "replication-factor",
    "replication.factor",
    "min.insync.replicas",
    "min.isr",
    "unclean.leader.election.enable",
    "transaction-version",
    "acks",
    "enable.idempotence",
    "isolation.level",
    "transactional.id",
    "enable.auto.commit",
    "auto.offset.reset",
    "commit",
    "transform",
    "announce",
];

impl Shrinker<'_> {
    /// Takes out settings, all that may go at once first, then in ever smaller groups. Whether any
    /// went.
    pub(super) fn shrink_settings(&mut self) -> bool {
        let mut smaller = false;
        let mut size = removable(&self.current.0).len();
        while size > 0 {
            let mut from = 0;
            loop {
                let scenario = Arc::clone(&self.current.0);
                let paths = removable(&scenario);
                let mut candidates = Vec::new();
                let mut starts = Vec::new();
                for start in (from..paths.len()).step_by(size) {
                    let end = paths.len().min(start + size);
                    if let Some(fewer) = without(&scenario, &paths[start..end]) {
                        candidates.push(fewer);
                        starts.push(start);
                    }
                }
                let Some(index) = self.take_first(&candidates) else { break };
                smaller = true;
                from = starts[index];
            }
            size /= 2;
        }
        smaller
    }
}

fn removable(scenario: &Scenario) -> Vec<Vec<String>> {
    let mut paths = settings(&scenario.source);
    paths.retain(|path| {
        let path = path.join(".");
        !STORY
            .iter()
            .any(|end| path.strip_suffix(end).is_some_and(|rest| rest.ends_with(['.', '-'])))
    });
    paths
}

/// The scenario with fewer settings, if it is one, and larger in nothing.
fn without(scenario: &Scenario, paths: &[Vec<String>]) -> Option<Arc<Scenario>> {
    let text = write_counterexample(&Counterexample {
        scenario,
        plan: &FaultPlan::from(scenario.scripted.clone()),
        seed: 0,
        digest: "",
        fingerprint: "",
    });
    let text = without_settings(&text, paths);
    let fewer = parse(&scenario.path, &text, None).ok()?.scenario;
    let (before, after) = (Size::of(scenario).parts(), Size::of(&fewer).parts());
    let grows = before.iter().zip(after).any(|((_, before), (_, after))| after > *before);
    (!grows).then(|| Arc::new(fewer))
}

/// The settings of `before` that are not in `after`, though what they were about still is.
pub(super) fn removed(before: &Scenario, after: &Scenario) -> Vec<String> {
    let left = settings(&after.source);
    let owners: BTreeSet<&[String]> = left.iter().map(|path| owner(path)).collect();
    let gone = settings(&before.source).into_iter().filter(|path| !left.contains(path));
    let about = |path: &Vec<String>| path.len() < 3 || owners.contains(owner(path));
    gone.filter(about).map(|path| path.join(".")).collect()
}

/// `producers.shop` of `producers.shop.records`.
fn owner(path: &[String]) -> &[String] {
    &path[..path.len().min(2)]
}
