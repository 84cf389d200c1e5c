//! What commands print as JSON is what `oncesim schema KIND` says, and what they are given that is
//! wrong is refused in one screen.

use serde_json::Value;

use crate::shell::Folder;

const HOLDS: &str =
    "scenarios/corpus/exactly-once/a-retry-older-than-the-five-cached-batches-is-refused.toml";
const EXPECTS: &str =
    "scenarios/corpus/at-least-once/a-lost-acknowledgement-makes-a-retry-a-duplicate.toml";

const SMALL: &str = "scenarios/corpus/small/an-idempotent-producer.toml";
const PLANTED: &str = "mutation.plant=psm.no-dup-cache";

/// Whether a value is what a schema says: the part of JSON Schema that our schemas use. Anything
/// else in them is an error.
fn check(schema: &Value, root: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(rules) = schema.as_object() else {
        return if schema == &Value::Bool(false) {
            Err(format!("{at} is forbidden"))
        } else {
            Ok(())
        };
    };
    for (rule, says) in rules {
        match rule.as_str() {
            "$schema" | "title" | "description" | "format" | "$defs" | "default" | "minimum"
            | "maximum" => {}
            "$ref" => {
                let name = says.as_str().and_then(|text| text.strip_prefix("#/$defs/"));
                let name = name.ok_or_else(|| format!("{at}: reference {says}"))?;
                check(&root["$defs"][name], root, value, at)?;
            }
            "type" => {
                let is = |kind: &Value| match kind.as_str().unwrap_or_default() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "null" => value.is_null(),
                    _ => false,
                };
                let fits = says.as_array().map_or_else(|| is(says), |all| all.iter().any(is));
                if !fits {
                    return Err(format!("{at} is {value}, not {says}"));
                }
            }
            "const" if says != value => return Err(format!("{at} is {value}, not {says}")),
            "enum" if !says.as_array().is_some_and(|all| all.contains(value)) => {
                return Err(format!("{at} is {value}, not one of {says}"));
            }
            "const" | "enum" => {}
            "anyOf" | "oneOf" => {
                let all = says.as_array().ok_or_else(|| format!("{at}: {rule}"))?;
                if !all.iter().any(|one| check(one, root, value, at).is_ok()) {
                    return Err(format!("{at} is {value}, none of {says}"));
                }
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(says, root, item, &format!("{at}[{i}]"))?;
                }
            }
            "minItems" | "maxItems" | "prefixItems" | "uniqueItems" => {}
            "required" => {
                let missing = |key: &&Value| {
                    value.is_object() && value.get(key.as_str().unwrap_or_default()).is_none()
                };
                if let Some(key) = says.as_array().into_iter().flatten().find(missing) {
                    return Err(format!("{at} has no {key}"));
                }
            }
            "properties" => {
                for (key, one) in says.as_object().into_iter().flatten() {
                    if let Some(value) = value.get(key) {
                        check(one, root, value, &format!("{at}.{key}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let known = rules.get("properties").and_then(Value::as_object);
                for (key, one) in value.as_object().into_iter().flatten() {
                    if !known.is_some_and(|known| known.contains_key(key)) {
                        check(says, root, one, &format!("{at}.{key}"))?;
                    }
                }
            }
            other => return Err(format!("{at}: the schema uses {other}")),
        }
    }
    Ok(())
}

/// Every field of a document is one that the schema names.
fn named(schema: &Value, document: &Value) -> Vec<String> {
    let fields = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let known = fields(&schema["properties"]);
    fields(document).into_iter().filter(|key| !known.contains(key)).collect()
}

#[test]
fn every_document_is_what_its_schema_says() {
    let folder = Folder::new();
    let args = ["run", HOLDS, "--history", "h.jsonl"];
    assert_eq!(folder.oncesim(&args).code, 0);
    let broken = "producers.shop.config.enable.idempotence=false";
    let documents: [(&str, &[&str]); 17] = [
        ("run", &["run", EXPECTS, "--seed", "1"]),
        ("run", &["run", HOLDS]),
        ("run", &["replay", EXPECTS, "--seed", "1"]),
        ("fuzz", &["fuzz", HOLDS, "--seeds", "20", "--set", broken]),
        ("fuzz", &["fuzz", EXPECTS]),
        ("verify", &["verify", "h.jsonl"]),
        ("parity", &["verify", "h.jsonl", "--parity"]),
        ("anomalies", &["anomalies"]),
        ("explain", &["explain", EXPECTS, "--seed", "1", "--budget", "1s"]),
        ("measure", &["measure", HOLDS]),
        ("anomalies", &["anomalies", "lost-write"]),
        ("explore", &["explore", SMALL]),
        ("explore", &["explore", SMALL, "--kinds", "ack-loss", "--set", PLANTED]),
        ("matrix", &["matrix", "--rows=acks-0,idempotent", "--columns=none,crash", "--seeds=20"]),
        ("mutants", &["mutants", "scenarios/mutants/psm-no-dup-cache.toml"]),
        ("mutants", &["mutants", "scenarios/mutants/psm-no-dup-cache.toml", "--seeds", "1"]),
        ("bench", &["bench", "--quick", "--seeds", "200"]),
    ];
    for (kind, args) in documents {
        let done = folder.oncesim(&[args, &["--format", "json"]].concat());
        let document = done.json();
        let schema = folder.oncesim(&["schema", kind]).json();
        check(&schema, &schema, &document, kind)
            .unwrap_or_else(|wrong| panic!("{args:?}: {wrong}"));
        assert_eq!(
            named(&schema, &document),
            Vec::<String>::new(),
            "{args:?}: fields without a schema"
        );
        assert_eq!(document["schema"], 1, "{args:?}");
    }
}

#[test]
fn every_schema_is_printed_and_others_are_refused() {
    let folder = Folder::new();
    let refused = folder.oncesim(&["schema", "nonsense"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    let kinds = refused.err.split("one of ").nth(1).expect("it lists them").trim();
    assert!(kinds.split(", ").count() > 10, "{kinds}");
    for kind in kinds.split(", ") {
        let done = folder.oncesim(&["schema", kind]);
        assert_eq!(done.code, 0, "{kind}: {}", done.err);
        let schema = done.json();
        assert!(schema["properties"].is_object(), "{kind}: {schema}");
    }
    assert_eq!(folder.oncesim(&["schema"]).out, folder.oncesim(&["schema", "scenario"]).out);
}

/// Commands that take a file, each with what else they need.
const READERS: [&[&str]; 11] = [
    &["run"],
    &["fuzz", "--seeds", "1"],
    &["replay"],
    &["shrink", "--seed", "1"],
    &["explain", "--seed", "1"],
    &["explore", "--faults", "1"],
    &["check"],
    &["mutants"],
    &["measure"],
    &["matrix"],
    &["merge"],
];

#[test]
fn foreign_input_is_refused_in_one_screen_and_leaves_nothing() {
    let folder = Folder::new();
    folder.write("empty.toml", "");
    folder.write("blank.toml", " \n\n");
    folder.write("doc.toml", "{\n  \"schema\": 1,\n  \"scenario\": \"a\"\n}\n");
    folder.write("history.toml", "{\"oncesim-history\": 1}\n{\"time\":1}\n");
    folder.write("page.toml", "<!doctype html>\n<title>x</title>\n");
    let garbage: Vec<u8> =
        (0_u32..4096).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    std::fs::write(folder.path("garbage.toml"), garbage).expect("the folder is writable");
    std::fs::create_dir(folder.path("empty-folder")).expect("the folder is writable");
    let left = || std::fs::read_dir(folder.path(".")).expect("readable").count();
    let before = left();
    for reader in READERS {
        for input in [
            "empty.toml",
            "blank.toml",
            "doc.toml",
            "history.toml",
            "page.toml",
            "garbage.toml",
            "empty-folder",
            "nowhere.toml",
        ] {
            let done = folder.oncesim(&[&reader[..1], &[input], &reader[1..]].concat());
            assert_eq!(done.code, 2, "{reader:?} {input}: {}{}", done.out, done.err);
            let name = input.trim_end_matches(".toml");
            let said = format!("{}{}", done.err, done.out);
            assert!(said.contains(name), "{reader:?} {input} names the place: {said}");
            assert!(said.contains("help"), "{reader:?} {input} says what to do: {said}");
            assert!(said.lines().count() < 40, "{reader:?} {input}, one screen: {said}");
            assert!(!said.contains("panicked"), "{reader:?} {input}: {said}");
        }
    }
    let history = folder.oncesim(&["run", "history.toml"]);
    assert!(history.err.contains("oncesim verify"), "{}", history.err);
    assert_eq!(left(), before, "nothing is left behind");
}

#[test]
fn a_result_that_cannot_be_written_is_no_panic() {
    use std::process::Stdio;
    let folder = Folder::new();
    folder.oncesim(&["run", HOLDS, "--history", "h.jsonl"]);
    let commands: [&[&str]; 14] = [
        &["run", EXPECTS, "--seed", "1"],
        &["run", EXPECTS, "--seed", "1", "--trace"],
        &["run", HOLDS, "--format", "json"],
        &["fuzz", HOLDS, "--seeds", "2"],
        &["fuzz", HOLDS, "--seeds", "2", "--format", "json", "--github"],
        &["replay", EXPECTS, "--seed", "1"],
        &["explain", EXPECTS, "--seed", "1", "--budget", "1s"],
        &["check", HOLDS],
        &["list", "scenarios"],
        &["verify", "h.jsonl"],
        &["anomalies"],
        &["measure", HOLDS],
        &["schema", "fuzz"],
        &["completions", "bash"],
    ];
    for args in commands {
        let run = |out: Stdio| {
            let output = folder.command(args).stdout(out).stderr(Stdio::piped()).output();
            let output = output.expect("oncesim starts");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        // Nobody reads: the other end of the pipe is closed before anything is written.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (code, err) = run(Stdio::from(writer));
        assert!(matches!(code, Some(0 | 1)) && !err.contains("error"), "{args:?}: {code:?} {err}");
        if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
            let (code, err) = run(Stdio::from(full));
            assert_eq!(code, Some(2), "{args:?}: {err}");
            assert!(err.contains("no room left"), "{args:?}: {err}");
        }
    }
}
