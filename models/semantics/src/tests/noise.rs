//! Input that nobody meant to write: whatever the readers make of it, nothing panics, neither they
//! nor the checkers.

use oncesim_history::jepsen::{JepsenHistory, import, read_edn, read_json};
use oncesim_history::jsonl::{read_jsonl, write_jsonl};
use proptest::prelude::*;

use crate::{ParityOptions, check, parity};

#[path = "../../tests/noise/change.rs"]
mod change;
use change::change;

const JSONL: &str = include_str!("../../tests/noise/valid.jsonl");
const EDN: &str = include_str!("../../tests/noise/valid.edn");
const JSON: &str = include_str!("../../tests/noise/valid.json");

fn operations(history: &JepsenHistory) {
    for options in [ParityOptions::default(), ParityOptions { ww_deps: true, subscribe: true }] {
        let _ = parity(history, options);
    }
    if let Ok(imported) = import(history) {
        let _ = check(&imported.history);
    }
}

/// Every reader, strict and lenient, and every checker of what they understand.
fn survives(input: &[u8]) {
    for lenient in [false, true] {
        if let Ok(read) = read_jsonl(input, lenient) {
            let _ = check(&read.value);
            let again = write_jsonl(&read.value);
            read_jsonl(again.as_bytes(), true).expect("what is written can be read");
        }
        if let Ok(read) = read_edn(input, lenient) {
            operations(&read.value);
        }
        if let Ok(read) = read_json(input, lenient) {
            operations(&read.value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_history_is_judged_or_refused(
        which in 0usize..3,
        changes in prop::collection::vec(any::<(u8, usize, usize, usize)>(), 1..8),
    ) {
        let mut text = [JSONL, EDN, JSON][which].as_bytes().to_vec();
        changes.into_iter().for_each(|it| change(&mut text, it));
        survives(&text);
    }

    #[test]
    fn odd_numbers_are_judged_or_refused(
        which in 0usize..3,
        changes in prop::collection::vec((any::<usize>(), any::<usize>()), 1..6),
    ) {
        let mut text = [JSONL, EDN, JSON][which].as_bytes().to_vec();
        changes.into_iter().for_each(|(at, odd)| change(&mut text, (7, at, 0, odd)));
        survives(&text);
    }

    #[test]
    fn noise_is_refused(text in prop::collection::vec(any::<u8>(), 0..400)) {
        survives(&text);
    }
}

/// Inputs that were once too much, and others of their kind.
#[test]
fn what_was_once_too_much_is_not() {
    let open = |n: usize| "[".repeat(n) + "{:value " + &"[{:a".repeat(n);
    survives(open(100_000).as_bytes());
    survives(format!("{{\"value\":{}", "[".repeat(1 << 20)).as_bytes());
    survives(&vec![b'x'; 1 << 20]);
    survives(&vec![0; 1 << 20]);
    survives("{\"oncesim-history\":1}\n".repeat(10_000).as_bytes());
    survives(b"\xef\xbb\xbf{\"oncesim-history\":1}\n{\"time\":1,\"actor\":\"\xff\"}\n");
    let wide: String = (0..4_000)
        .map(|n| {
            format!(
                "{{\"time\":{n},\"actor\":\"a\",\"event\":\"drained\",\"topic\":\"t{n}\",\
                 \"partition\":65533,\"to\":1}}\n"
            )
        })
        .collect();
    survives(format!("{{\"oncesim-history\":1}}\n{wide}").as_bytes());
    let last = i64::MAX;
    survives(
        format!(
            "{{:index {last} :type :invoke, :process 0, :f :send, :value [[:send {last} 5]]}}\n\
             {{:type :ok, :process 0, :f :send, :value [[:send {last} [{last} 5]]]}}\n\
             {{:type :ok, :process 0, :f :send, :value [[:send {last} [9 5]]]}}\n"
        )
        .as_bytes(),
    );
}

#[test]
fn the_valid_files_are_valid() {
    read_jsonl(JSONL.as_bytes(), false).expect("JSON Lines");
    read_edn(EDN.as_bytes(), false).expect("EDN");
    read_json(JSON.as_bytes(), false).expect("JSON");
}

/// What the fuzzer (`cargo run --example fuzz_readers`) has kept: each once led somewhere new.
#[test]
fn the_corpus_is_judged_or_refused() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/noise/corpus");
    let mut inputs = 0;
    for file in std::fs::read_dir(folder).expect("the corpus") {
        survives(&std::fs::read(file.expect("a file").path()).expect("readable"));
        inputs += 1;
    }
    assert!(inputs > 50, "{inputs} inputs");
}
