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
    use oncesim::history::{jepsen, jsonl};
    let folder = Folder::new();
    for scenario in [
        "at-least-once/a-crash-between-processing-and-commit-redelivers.toml",
        "exactly-once/orders-to-invoices.toml",
    ] {
        let scenario = format!("scenarios/corpus/{scenario}");
        for name in ["h.jsonl", "h.edn"] {
            let done = folder.oncesim(&["run", &scenario, "--seed", "1", "--history", name]);
            assert_eq!(done.code, 0, "{}", done.err);
            let done = folder.oncesim(&["verify", name]);
            assert_eq!(done.code, 0, "{name}: {}{}", done.out, done.err);
            let text = std::fs::read(folder.path(name)).expect("it was written");
            let again = if name == "h.edn" {
                let read = jepsen::read_edn(&text, false).expect("operations").value;
                let json = jepsen::write_json(&read);
                let same = jepsen::read_json(json.as_bytes(), false).expect("the same").value;
                assert_eq!(jepsen::write_edn(&same), jepsen::write_edn(&read), "as JSON as well");
                jepsen::write_edn(&read)
            } else {
                jsonl::write_jsonl(&jsonl::read_jsonl(&text, false).expect("events").value)
            };
            assert!(again.as_bytes() == text, "{scenario}: {name} round-trips");
        }
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

/// The fenced blocks of a page, by their language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a block ends").to_owned())
        .collect()
}

#[test]
fn the_transactional_example_of_the_documentation_has_lost_its_output() {
    let page = std::fs::read_to_string(root().join("docs/history-format.md")).expect("the page");
    let blocks = blocks(&page, "json");
    assert_eq!(blocks.len(), 3, "examples of a producer, a processor and a database");
    let folder = Folder::new();
    folder.write("processor.jsonl", &blocks[1]);
    let done = folder.oncesim(&["verify", "processor.jsonl", "--format", "json"]);
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    for id in ["lost-write-final", "lost-processing", "offset-ahead-of-output"] {
        assert!(done.out.contains(&format!("\"id\": \"{id}\"")), "{id}: {}", done.out);
        assert!(page.contains(&format!("`{id}`")), "the page names {id}");
    }
}

#[test]
fn the_database_of_the_documentation_was_written_to_twice() {
    let page = std::fs::read_to_string(root().join("docs/history-format.md")).expect("the page");
    let folder = Folder::new();
    folder.write("database.jsonl", &blocks(&page, "json")[2]);
    let done = folder.oncesim(&["verify", "database.jsonl", "--format", "json"]);
    let document = done.json();
    assert_eq!(document["guarantees"]["effect"]["at-most-once"], "violated", "{}", done.out);
    assert_eq!(document["guarantees"]["effect"]["at-least-once"], "holds", "{}", done.out);
    assert!(done.out.contains("\"id\": \"effect-duplicate\""), "{}", done.out);
}

#[test]
fn a_recorded_run_with_effects_is_judged_as_the_run_was() {
    let scenario = r#"
title = "Payments are inserted once for each delivery"
claim = { effect = "at-least-once" }
topics.payments = { partitions = 2 }
producers.till = { to = "payments", records = 40 }
sinks.ledger.sqlite = { schema = "CREATE TABLE t(k, v);", statement = "INSERT INTO t VALUES (:key, :value)" }
consumers.clerk = { from = "payments", sink = "ledger", config.auto.offset.reset = "earliest" }
[[fault]]
unknown-commit = { actor = "ledger", at = "0s", for = "10s" }
"#;
    let folder = Folder::new();
    folder.write("clerk.toml", scenario);
    let run = folder.oncesim(&["run", "clerk.toml", "--history", "h.jsonl", "--format", "json"]);
    let verified = folder.oncesim(&["verify", "h.jsonl", "--format", "json"]);
    let [ran, read] = [run.json(), verified.json()];
    assert_eq!(ran["guarantees"]["effect"], read["guarantees"]["effect"], "{}", verified.out);
    let effects = |of: &serde_json::Value| -> Vec<String> {
        let all = of["anomalies"].as_array().expect("anomalies").iter();
        let ids = all.map(|a| format!("{} {}", a["id"], a["count"]));
        ids.filter(|id| id.contains("effect") || id.contains("idem")).collect()
    };
    assert_eq!(effects(&ran), effects(&read));
    assert!(effects(&ran).iter().any(|id| id.contains("effect-duplicate")), "{}", run.out);
}

/// Every event and every field that the examples write is one that the reader knows.
#[test]
fn the_code_of_the_documentation_writes_what_is_read() {
    let page = std::fs::read_to_string(root().join("docs/history-format.md")).expect("the page");
    let folder = Folder::new();
    let refused = |line: &str| {
        folder.write("one.jsonl", &format!("{{\"oncesim-history\":1}}\n{line}\n"));
        folder.oncesim(&["verify", "one.jsonl"]).err
    };
    let (mut events, mut fields) = (Vec::new(), Vec::new());
    let code = [blocks(&page, "python"), blocks(&page, "java")].concat().join("\n");
    for call in code.split("event(").skip(1) {
        let call = call.split(");\n").next().unwrap_or(call);
        let call = call.split(")\n").next().unwrap_or(call);
        let quoted = call.split('"').skip(1).step_by(2);
        events.extend(quoted.filter(|word| word.contains("send") || word.contains("end-")));
        let named = call.split(|c: char| !(c.is_alphanumeric() || "_=".contains(c)));
        let named = named.filter_map(|word| word.strip_suffix('='));
        fields.extend(named.filter(|word| word.starts_with(char::is_alphabetic)));
    }
    events.sort_unstable();
    events.dedup();
    fields.sort_unstable();
    fields.dedup();
    assert!(events.contains(&"end-transaction") && fields.contains(&"offsets"));
    for event in events {
        let said = refused(&format!("{{\"time\":1,\"actor\":\"a\",\"event\":\"{event}\"}}"));
        assert!(!said.contains("unknown variant"), "{event}: {said}");
    }
    for field in fields {
        let line = format!("{{\"time\":1,\"actor\":\"a\",\"event\":\"poll\",\"{field}\":null}}");
        let said = refused(&line);
        assert!(!said.contains("unknown field"), "{field}: {said}");
    }
}

/// What a recorder can get wrong: exit code 2, with the place, the cause, and what was expected.
#[test]
fn every_mistake_of_a_recorder_is_named() {
    const HEAD: &str = "{\"oncesim-history\":1}\n";
    const SEND: &str =
        "{\"time\":9,\"actor\":\"a\",\"event\":\"send\",\"call\":1,\"record\":1,\"topic\":\"t\"}\n";
    const END: &str = "{\"time\":9,\"actor\":\"a\",\"event\":\"send-end\",\"call\":1,\"record\":1,\"outcome\":\"ok\"}\n";
    const EARLY: &str = "{\"time\":8,\"actor\":\"a\",\"event\":\"poll\"}\n";
    const INVOKE: &str = "{:type :invoke, :process 0, :f :send, :value [[:send 1 5]]}\n";
    const OK: &str = "{:type :ok, :process 0, :f :send, :value [[:send 1 [0 5]]]}\n";
    const J_INVOKE: &str = "{\"type\":\"invoke\",\"process\":0,\"f\":\"poll\",\"value\":null}\n";
    const J_OK: &str = "{\"type\":\"ok\",\"process\":0,\"f\":\"poll\",\"value\":null}\n";
    let cases: Vec<(&str, String, &str, &str)> = vec![
        ("empty.jsonl", String::new(), ":1", "empty"),
        ("empty.edn", String::new(), ":1", "no operation"),
        ("blank.jsonl", " \n\n".into(), ":1", "empty"),
        ("head.jsonl", HEAD.into(), ":1", "no event"),
        ("headless.jsonl", SEND.into(), ":1", "send"),
        ("version.jsonl", "{\"oncesim-history\":2}\n".into(), ":1", "version 2"),
        ("cut.jsonl", format!("{HEAD}{SEND}{}", &END[..50]), ":3", "EOF"),
        ("cut.edn", format!("{INVOKE}{}", &OK[..30]), ":2", "{:type :ok"),
        ("cut-json.txt", format!("{J_INVOKE}{}", &J_OK[..20]), ":2", "is no JSON"),
        ("end.jsonl", format!("{HEAD}{END}"), ":2", "call 1 of a ends, but is not open"),
        ("end.edn", OK.into(), ":1", "has not begun"),
        ("end-json.txt", J_OK.into(), ":1", "has not begun"),
        ("ends.jsonl", format!("{HEAD}{SEND}{END}{END}"), ":4", "is not open"),
        ("again.jsonl", format!("{HEAD}{SEND}{SEND}"), ":3", "call 1 of a begins again"),
        ("two.edn", format!("{INVOKE}{INVOKE}"), ":2", "while another is open"),
        ("two-json.txt", format!("{J_INVOKE}{J_INVOKE}"), ":2", "while another is open"),
        ("back.jsonl", format!("{HEAD}{SEND}{EARLY}"), ":3", "time goes back from 9 to 8"),
        (
            "back.edn",
            "{:time 9, :type :invoke, :process 0, :f :poll, :value nil}\n\
             {:time 8, :type :ok, :process 0, :f :poll, :value nil}\n"
                .into(),
            ":2",
            "time goes back from 9 to 8",
        ),
        (
            "index.edn",
            "{:index 9, :type :invoke, :process 0, :f :poll, :value nil}\n\
             {:index 9, :type :ok, :process 0, :f :poll, :value nil}\n"
                .into(),
            ":2",
            "index goes back from 9 to 9",
        ),
        ("mixed.jsonl", format!("{HEAD}{SEND}{INVOKE}"), ":3", "{:type :invoke"),
        ("mixed.edn", format!("{INVOKE}{SEND}"), ":2", "is no EDN"),
        ("mixed-json.txt", format!("{J_INVOKE}{SEND}"), ":2", "without :process"),
        (
            "far.jsonl",
            format!(
                "{HEAD}{{\"time\":9,\"actor\":\"a\",\"event\":\"drained\",\"topic\":\"t\",\"partition\":0,\"to\":9223372036854775807}}\n"
            ),
            ":2",
            "offset 9223372036854775807",
        ),
        ("long.jsonl", format!("{HEAD}{}", "x".repeat(1 << 20)), ":2", "`xxx"),
        ("deep.edn", format!("{}\n", "[".repeat(1 << 20)), ":1", "nested deeper"),
        ("deep-json.txt", format!("{J_INVOKE}{}\n", "[".repeat(1 << 20)), ":2", "is no JSON"),
    ];
    let folder = Folder::new();
    let began = std::time::Instant::now();
    for (name, text, place, cause) in cases {
        folder.write(name, &text);
        let done = folder.oncesim(&["verify", name]);
        let said = &done.err;
        assert_eq!(done.code, 2, "{name}: {}{said}", done.out);
        assert!(said.contains(&format!("{name}{place}")), "{name}: {said}");
        assert!(said.contains(cause) && said.contains("expected"), "{name}: {said}");
        assert!(said.len() < 1_000, "{name}: a diagnosis, not the whole line");
    }
    assert!(began.elapsed().as_secs() < 60, "bad input takes no time: {:?}", began.elapsed());
}

/// One line may be a whole history, and a history longer than what is remembered of its noise.
#[test]
fn documents_on_one_line_and_noise_without_end_are_read() {
    let op = |ty: &str, value: &str| {
        format!("{{\"type\":\"{ty}\",\"process\":0,\"f\":\"send\",\"value\":{value}}}")
    };
    let ops = [op("invoke", "[[\"send\",1,5]]"), op("ok", "[[\"send\",1,[0,5]]]")].join(",");
    let edn = "{:type :invoke, :process 0, :f :send, :value [[:send 1 5]]} \
               {:type :ok, :process 0, :f :send, :value [[:send 1 [0 5]]]}";
    let folder = Folder::new();
    for (name, text) in [
        ("list.json", format!("[{ops}]\n")),
        ("document.json", format!("{{\"id\":7,\"history\":[{ops}],\"more\":[1,2]}}\n")),
        ("line.edn", format!("[{edn}]\n")),
        ("lines.edn", format!("[\n{}]", edn.replace("} {", "}\n{"))),
        ("blank.edn", format!("\n \r\n{edn}\r\n")),
    ] {
        folder.write(name, &text);
        let done = folder.oncesim(&["verify", name, "--format", "json"]);
        assert_eq!(done.json()["events"], 2, "{name}: {}", done.err);
    }
    for (name, text) in [
        ("second.json", format!("{{\"history\":[{ops}]}}\n{{\"history\":[{ops}]}}")),
        ("text.json", "{\"history\":\"none\"}".to_owned()),
        ("cut.json", format!("{{\"history\":[{ops}")),
        ("number.json", format!("{{\"history\":[{ops},42]}}")),
    ] {
        folder.write(name, &text);
        let done = folder.oncesim(&["verify", name, "--input", "jepsen-json"]);
        assert_eq!(done.code, 2, "{name}: {}{}", done.out, done.err);
        assert!(done.err.contains("expected"), "{name}: {}", done.err);
    }
    let noise = "{\"time\":1}\n".repeat(5_000);
    folder.write("noisy.jsonl", &format!("{LOST}{noise}"));
    let done = folder.oncesim(&["verify", "noisy.jsonl", "--lenient", "--format", "json"]);
    assert_eq!(done.json()["skipped"], 5_000, "{}", done.err);
    assert!(done.err.contains("and 4,995 more lines"), "{}", done.err);
}

/// A program that a test can do without; says so when it is not there.
#[expect(clippy::print_stderr, reason = "who reads the log of the tests has to know")]
fn there(program: &str) -> bool {
    let there = std::process::Command::new(program).arg("--version").output().is_ok();
    if !there {
        eprintln!("no {program} here: the example of the documentation in its language is not run");
    }
    there
}

fn ran(program: &str, args: &[&std::ffi::OsStr]) {
    let done = std::process::Command::new(program).args(args).output().expect("it starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {args:?}: {said}");
}

/// What the examples of the documentation write is judged as it should be: a history in which
/// everything is there, and one whose final read misses a record.
#[test]
fn the_code_of_the_documentation_runs_and_what_it_writes_is_judged() {
    let page = std::fs::read_to_string(root().join("docs/history-format.md")).expect("the page");
    let drivers = root().join("sim/cli/tests/snippets");
    let folder = Folder::new();
    let judged = |name: &str, code: i32| {
        let done = folder.oncesim(&["verify", name]);
        assert_eq!(done.code, code, "{name}: {}{}", done.out, done.err);
        assert_eq!(done.out.contains("lost-write-final"), code == 1, "{name}: {}", done.out);
    };
    if there("python3") {
        folder.write("snippet.py", &blocks(&page, "python")[0]);
        let (driver, snippet) = (drivers.join("drive.py"), folder.path("snippet.py"));
        let (whole, short) = (folder.path("py.jsonl"), folder.path("py-short.jsonl"));
        ran("python3", &[driver.as_ref(), snippet.as_ref(), whole.as_ref()]);
        ran("python3", &[driver.as_ref(), snippet.as_ref(), short.as_ref(), "lose".as_ref()]);
        judged("py.jsonl", 0);
        judged("py-short.jsonl", 1);
    }
    if there("javac") && there("java") {
        folder.write("Recorder.java", &blocks(&page, "java")[0]);
        let (sources, driver) = (drivers.join("java"), drivers.join("java/Drive.java"));
        let (classes, recorder) = (folder.path("classes"), folder.path("Recorder.java"));
        ran(
            "javac",
            &[
                "-d".as_ref(),
                classes.as_ref(),
                "-sourcepath".as_ref(),
                sources.as_ref(),
                recorder.as_ref(),
                driver.as_ref(),
            ],
        );
        let (whole, short) = (folder.path("java.jsonl"), folder.path("java-short.jsonl"));
        let drive = ["-cp".as_ref(), classes.as_ref(), "Drive".as_ref()];
        ran("java", &[&drive[..], &[whole.as_ref()]].concat());
        ran("java", &[&drive[..], &[short.as_ref(), "lose".as_ref()]].concat());
        judged("java.jsonl", 0);
        judged("java-short.jsonl", 1);
    }
}
