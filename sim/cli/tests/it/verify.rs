//! `oncesim verify`: formats, verdicts, and what is said about bad input.

use std::io::Write as _;

use crate::shell::{Folder, root};

const LOST: &str = r#"{"oncesim-history":1,"actors":[{"name":"till","role":"producer"}]}
{"time":1000,"actor":"till","event":"send","call":1,"record":"order-1","topic":"orders","partition":0}
{"time":2000,"actor":"till","event":"send","call":2,"record":"order-2","topic":"orders","partition":0}
{"time":3000,"actor":"till","event":"send-end","call":1,"record":"order-1","topic":"orders","partition":0,"outcome":"ok","offset":0}
{"time":4000,"actor":"till","event":"send-end","call":2,"record":"order-2","topic":"orders","partition":0,"outcome":"ok","offset":1}
{"time":5000,"actor":"audit","event":"poll-end","records":[{"topic":"orders","partition":0,"offset":0,"record":"order-1"}]}
{"time":6000,"actor":"audit","event":"drained","topic":"orders","partition":0,"from":0,"to":2}
"#;

const EDN: &str = r"{:type :invoke, :process 0, :f :send, :value [[:send 1 5]]}
{:type :fail, :process 0, :f :send, :value [[:send 1 5]]}
{:type :invoke, :process 1, :f :poll, :value [[:poll]]}
#jepsen.history.Op{:type :ok, :process 1, :f :poll, :value [[:poll {1 [[0 5]]}]]}
";

#[test]
fn the_example_of_the_documentation_is_a_lost_write() {
    let page = std::fs::read_to_string(root().join("docs/history-format.md")).expect("the page");
    assert!(page.contains(LOST), "the page shows this history");
    let folder = Folder::new();
    folder.write("lost.jsonl", LOST);
    let done = folder.oncesim(&["verify", "lost.jsonl", "--format", "json"]);
    assert_eq!(done.code, 1, "{}", done.err);
    let document = done.json();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["valid"], false);
    assert_eq!(document["events"], 6);
    let ids: Vec<_> =
        document["anomalies"].as_array().expect("anomalies").iter().map(|a| &a["id"]).collect();
    assert!(ids.iter().any(|id| **id == "lost-write-final"), "{ids:?}");
    assert!(done.out.contains("record order-2"), "the record goes by its name: {}", done.out);
}

#[test]
fn compressed_and_plain_histories_are_one() {
    let folder = Folder::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(EDN.as_bytes()).expect("memory");
    std::fs::write(folder.path("a.edn.gz"), gzip.finish().expect("memory")).expect("writable");
    let zstd = zstd::encode_all(EDN.as_bytes(), 1).expect("memory");
    std::fs::write(folder.path("a.edn.zst"), zstd).expect("writable");
    folder.write("a.edn", EDN);
    for name in ["a.edn", "a.edn.gz", "a.edn.zst"] {
        let done = folder.oncesim(&["verify", name]);
        assert_eq!(done.code, 1, "{name}: {}", done.err);
        assert!(done.out.contains("failed-write-visible"), "{name}: {}", done.out);
        let done = folder.oncesim(&["verify", name, "--parity"]);
        assert_eq!(done.code, 1, "{name}: {}", done.err);
        assert!(done.out.contains("G1a"), "{name}: {}", done.out);
    }
}

#[test]
fn a_run_can_be_recorded_and_verified() {
    let folder = Folder::new();
    let scenario =
        "scenarios/corpus/at-least-once/a-crash-between-processing-and-commit-redelivers.toml";
    for name in ["h.jsonl", "h.edn"] {
        let done = folder.oncesim(&["run", scenario, "--seed", "1", "--history", name]);
        assert_eq!(done.code, 0, "{}", done.err);
        let done = folder.oncesim(&["verify", name]);
        assert_eq!(done.code, 0, "{name}: {}{}", done.out, done.err);
    }
}

#[test]
fn bad_input_is_refused_with_its_line() {
    let folder = Folder::new();
    let cut = &LOST[..LOST.len() - 20];
    for (name, text, what) in [
        ("empty.jsonl", "", "empty"),
        ("noise.jsonl", "\u{1}\u{2}noise", "noise"),
        ("cut.jsonl", cut, "cut.jsonl:7"),
        (
            "twice.edn",
            "{:type :invoke, :process 0, :f :poll, :value nil}\n{:type :invoke, :process 0, :f :poll, :value nil}",
            "twice.edn:2",
        ),
        ("broken.gz", "\u{1f}\u{0}", "broken.gz"),
    ] {
        folder.write(name, text);
        let done = folder.oncesim(&["verify", name]);
        assert_eq!(done.code, 2, "{name}: {}{}", done.out, done.err);
        assert!(done.out.is_empty(), "{name}: {}", done.out);
        assert!(done.err.contains(what) && done.err.contains("expected"), "{name}: {}", done.err);
    }
    let done = folder.oncesim(&["verify", "cut.jsonl", "--lenient", "--format", "json"]);
    assert_eq!(done.json()["skipped"], 1, "{}", done.err);
    assert_eq!(folder.oncesim(&["verify", "nowhere.jsonl"]).code, 2);
}
