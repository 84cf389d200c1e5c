//! Coverage against the corpus: what it knows is what happens.

use std::path::Path;
use std::sync::Arc;

use oncesim::spec::{discover, load};
use oncesim::{Coverage, RunOptions, run};

/// Seeds of each scenario.
const SEEDS: u64 = 1;

#[test]
fn nothing_happens_in_the_corpus_that_no_point_stands_for() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let mut files = discover(&scenarios.join("corpus")).expect("the corpus is there");
    files.extend(discover(&scenarios.join("mutants")).expect("the planted bugs are there"));
    let mut strays = std::collections::BTreeMap::new();
    let mut all = Coverage::default();
    for file in files {
        let scenario = load(&file).expect("the corpus is valid").scenario;
        let scenario = Arc::new(scenario.without_bugs());
        for seed in 0..SEEDS {
            let options = RunOptions { seed, keep_history: true, ..RunOptions::default() };
            let outcome = run(&scenario, &options);
            all.merge(&outcome.coverage);
            let history = outcome.history.expect("it was asked for");
            for stray in Coverage::strays(&history, &outcome.plan) {
                *strays.entry(stray).or_insert(0) += 1;
            }
        }
    }
    for area in all.by_area() {
        assert!(area.reached > 0, "{} is never reached", area.area);
    }
    assert!(strays.is_empty(), "{strays:#?}");
}
