//! Fuzzes the three readers and the checkers behind them, on one core.
//!
//! `cargo run --release -p oncesim-semantics --example fuzz_readers -- SECONDS [SEED]`
//!
//! Inputs come from `tests/noise/`: the valid histories and the corpus. A changed input that leads
//! somewhere new (another complaint, another set of anomalies) joins the inputs; one that led to a
//! complaint or an anomaly that no other input did joins the corpus on disk, which a test reads again. Nothing may panic; a panic leaves the input in
//! `tests/noise/corpus` too. Without the clock the inputs are a function of the seed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oncesim_history::jepsen::{JepsenHistory, import, read_edn, read_json};
use oncesim_history::jsonl::{read_jsonl, write_jsonl};
use oncesim_history::{Complaint, Read};
use oncesim_semantics::{ParityOptions, Verdict, check, parity};

#[path = "../tests/noise/change.rs"]
mod change;

/// Longer inputs are not kept.
const LONGEST: usize = 6_000;
/// How many the corpus on disk has at most.
const KEPT: usize = 150;

/// A keyed sequence of numbers (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 1).expect("63 bits") % n.max(1)
    }
}

fn said(verdict: &Verdict) -> String {
    let ids: BTreeSet<&str> = verdict.anomalies.iter().map(|a| a.id()).collect();
    format!("{ids:?}")
}

/// The complaint without what is individual about it.
fn shape(complaint: &Complaint) -> String {
    let what = &complaint.what;
    let quoted = ["...`", "`: ", "` is "].into_iter().find_map(|end| what.split_once(end));
    let said = quoted.map_or(what.as_str(), |(_, said)| said);
    let words = said.split(['`', '"']).next().unwrap_or_default();
    let words = words.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.len() > 1);
    words.take(6).collect::<Vec<_>>().join(" ")
}

fn operations(read: Result<Read<JepsenHistory>, Complaint>) -> String {
    match read {
        Err(complaint) => shape(&complaint),
        Ok(Read { value, .. }) => {
            let _ = parity(&value, ParityOptions { ww_deps: true, subscribe: true });
            let plain = parity(&value, ParityOptions::default());
            match import(&value) {
                Ok(imported) => format!("{} {}", plain.valid, said(&check(&imported.history))),
                Err(complaint) => shape(&complaint),
            }
        }
    }
}

/// Where an input leads, through every reader.
fn led_to(input: &[u8]) -> Vec<String> {
    let mut ends = Vec::new();
    for lenient in [false, true] {
        ends.push(match read_jsonl(input, lenient) {
            Ok(read) => {
                let again = write_jsonl(&read.value);
                read_jsonl(again.as_bytes(), true).expect("what is written can be read");
                said(&check(&read.value))
            }
            Err(complaint) => shape(&complaint),
        });
        ends.push(operations(read_edn(input, lenient)));
        ends.push(operations(read_json(input, lenient)));
    }
    ends
}

/// The anomalies and complaints of an end, one by one.
fn parts(ends: &[String]) -> impl Iterator<Item = (usize, String)> {
    let part = |at: usize, end: &str| (at % 3, end.trim_matches(['{', '}', ' ']).to_owned());
    ends.iter().enumerate().flat_map(move |(at, end)| end.split(", ").map(move |e| part(at, e)))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files.retain(|path| path.extension().is_none_or(|e| e != "rs"));
    files
}

#[expect(clippy::print_stdout, reason = "a measurement is for people")]
#[expect(clippy::disallowed_types, reason = "a fuzzer is given a time")]
fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let (seconds, seed) = (args.next().unwrap_or(60), args.next().unwrap_or(1));
    let noise = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/noise");
    let corpus = noise.join("corpus");
    let mut inputs: Vec<Vec<u8>> = [files(&noise), files(&corpus)]
        .concat()
        .iter()
        .map(|path| std::fs::read(path).expect("readable"))
        .collect();
    let mut kept = files(&corpus).len();
    let mut known: BTreeSet<(usize, String)> =
        inputs.iter().flat_map(|input| led_to(input).into_iter().enumerate()).collect();
    let mut single: BTreeSet<(usize, String)> =
        inputs.iter().flat_map(|input| parts(&led_to(input)).collect::<Vec<_>>()).collect();
    let (mut draw, began) = (Draw(seed), std::time::Instant::now());
    let (mut runs, mut bytes) = (0u64, 0u64);
    while began.elapsed().as_secs() < seconds {
        let mut input = inputs[draw.below(inputs.len())].clone();
        for _ in 0..=draw.below(6) {
            let what = u8::try_from(draw.below(8)).expect("small");
            change::change(
                &mut input,
                (what, draw.below(1 << 30), draw.below(1 << 30), draw.below(64)),
            );
        }
        runs += 1;
        bytes += input.len() as u64;
        let ends = std::panic::catch_unwind(|| led_to(&input)).unwrap_or_else(|_| {
            std::fs::write(corpus.join("panic"), &input).expect("writable");
            panic!("after {runs} inputs; this one is {}/panic", corpus.display());
        });
        let alone: Vec<_> = parts(&ends).filter(|part| !single.contains(part)).collect();
        let new: Vec<_> = ends.into_iter().enumerate().filter(|end| !known.contains(end)).collect();
        if new.is_empty() || input.len() > LONGEST {
            continue;
        }
        if !alone.is_empty() && kept < KEPT {
            std::fs::write(corpus.join(format!("{seed}-{runs}")), &input).expect("writable");
            kept += 1;
        }
        single.extend(alone);
        known.extend(new);
        inputs.push(input);
    }
    println!(
        "{runs} inputs, {} MB, {} places reached, corpus of {kept}, {} s wall on one core, no panic",
        bytes / 1_000_000,
        known.len(),
        began.elapsed().as_secs(),
    );
}
