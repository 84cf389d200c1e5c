//! A run is a function of its scenario and seed: the same digest in another process, at any
//! parallelism, and beside threads that do their best to disturb it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oncesim::RunOptions;
use oncesim_spec::Scenario;

use crate::shell::{Folder, files, root};

/// Seeds per scenario in this process.
const SEEDS: u64 = 64;
/// Seeds per scenario in processes of their own.
const PROCESSES: u64 = 4;

/// One scenario of each folder of the corpus.
fn sample() -> Vec<String> {
    let mut sample: Vec<String> = Vec::new();
    for file in files("scenarios/corpus", ".toml") {
        let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        if sample.last().and_then(|last| folder(last)) != folder(&file) {
            sample.push(file);
        }
    }
    assert!(!sample.is_empty(), "there is a corpus");
    sample
}

fn load(file: &str) -> Arc<Scenario> {
    let loaded = oncesim_spec::load(&root().join(file));
    Arc::new(loaded.unwrap_or_else(|d| panic!("{}", d.render(false))).scenario)
}

fn digest(scenario: &Arc<Scenario>, seed: u64) -> String {
    let options = RunOptions { seed, ..RunOptions::default() };
    oncesim::run(scenario, &options).digest.to_string()
}

fn one_after_the_other(scenario: &Arc<Scenario>) -> Vec<String> {
    (0..SEEDS).map(|seed| digest(scenario, seed)).collect()
}

fn all_at_once(scenario: &Arc<Scenario>) -> Vec<String> {
    std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..SEEDS).map(|seed| scope.spawn(move || digest(scenario, seed))).collect();
        runs.into_iter().map(|run| run.join().expect("runs report their panics")).collect()
    })
}

/// Hashes, allocates and reads clocks until it is told to stop.
fn disturb(stop: &AtomicBool) {
    let mut n = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let map: HashMap<u64, Vec<u8>> = (0..64).map(|i| (i ^ n, vec![0; 100])).collect();
        n = n.wrapping_add(map.len() as u64);
        std::hint::black_box((&map, std::time::Instant::now()));
        std::thread::yield_now();
    }
}

#[test]
fn parallelism_and_noise_change_no_digest() {
    for file in sample() {
        let scenario = load(&file);
        let alone = one_after_the_other(&scenario);
        assert_eq!(alone, all_at_once(&scenario), "{file}: 64 threads at once");
        let stop = AtomicBool::new(false);
        let noisy = std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| disturb(&stop));
            }
            let noisy = one_after_the_other(&scenario);
            stop.store(true, Ordering::Relaxed);
            noisy
        });
        assert_eq!(alone, noisy, "{file}: beside noisy threads");
        let distinct: std::collections::BTreeSet<&String> = alone.iter().collect();
        assert!(distinct.len() > 1, "{file}: the digest depends on the seed");
    }
}

#[test]
fn another_process_gives_the_same_digest() {
    let folder = Folder::new();
    for file in sample() {
        let scenario = load(&file);
        for seed in 0..PROCESSES {
            let args = ["run", &file, "--seed", &seed.to_string(), "--format", "json"];
            let theirs = folder.oncesim(&args).json();
            assert_eq!(theirs["digest"], digest(&scenario, seed), "{file}, seed {seed}");
        }
    }
}

#[test]
fn campaigns_with_1_and_64_jobs_find_the_same() {
    let (one, many) = (Folder::new(), Folder::new());
    for file in sample() {
        let campaign = |folder: &Folder, jobs: &str| {
            let args = ["fuzz", &file, "--seeds", "64", "--jobs", jobs, "--format", "json"];
            let mut found = folder.oncesim(&args).json();
            crate::campaign::timeless(&mut found);
            found
        };
        assert_eq!(campaign(&one, "1"), campaign(&many, "64"), "{file}");
    }
    let written = |folder: &Folder| {
        let mut files: Vec<(String, String)> = std::fs::read_dir(folder.path("reports/out"))
            .expect("campaigns have run")
            .map(|entry| {
                let entry = entry.expect("readable");
                let text = std::fs::read_to_string(entry.path()).expect("readable");
                (entry.file_name().to_string_lossy().into_owned(), text)
            })
            .collect();
        files.sort();
        files
    };
    assert_eq!(written(&one), written(&many), "the same counterexamples, byte for byte");
}
