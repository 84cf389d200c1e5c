//! What the readers of CI formats demand: JUnit, SARIF, GitHub.

use serde_json::Value;

use super::{awkward, campaign};
use crate::*;

/// Attributes that readers of JUnit know.
const KNOWN: [&str; 12] = [
    "name",
    "tests",
    "skipped",
    "failures",
    "errors",
    "time",
    "classname",
    "file",
    "value",
    "message",
    "type",
    "version",
];

/// The tags of a document: name and attributes.
fn tags(xml: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut tags = Vec::new();
    for part in xml.split('<').skip(1) {
        let inside = part.split_once('>').expect("a tag ends").0.trim_end_matches(['/', '?']);
        if inside.starts_with('/') || inside.starts_with('?') {
            continue;
        }
        let (name, mut rest) = inside.split_once(' ').unwrap_or((inside, ""));
        let mut attributes = Vec::new();
        while let Some((key, after)) = rest.trim_start().split_once("=\"") {
            let (value, next) = after.split_once('"').expect("a value ends");
            attributes.push((key.to_owned(), value.to_owned()));
            rest = next;
        }
        tags.push((name.to_owned(), attributes));
    }
    tags
}

#[test]
fn junit_is_what_build_systems_accept() {
    let mut summary = awkward();
    // Everything that XML 1.0 forbids, and everything that it quotes.
    let hostile: String = (0_u32..0x20)
        .chain([0x7f, 0x85, 0xfffe, 0xffff, 0x2028, 0x1f600])
        .filter_map(char::from_u32)
        .chain("]]> <!-- &amp; \"' </testcase>".chars())
        .collect();
    summary.campaigns[1].failures[0].sentence.clone_from(&hostile);
    summary.campaigns[1].title.clone_from(&hostile);
    summary.regressions[0].sentence.clone_from(&hostile);
    summary.regressions[0].id = hostile;
    let xml = junit_xml(&summary);
    let legal = |c: char| {
        matches!(c, '\n' | '\t' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
    };
    let bad: Vec<char> = xml.chars().filter(|c| !legal(*c)).collect();
    assert!(bad.is_empty(), "characters that XML 1.0 forbids: {bad:?}");
    let tags = tags(&xml);
    let of = |name: &str| tags.iter().filter(|(tag, _)| tag == name).count();
    // Scenarios, regressions, shards that are missing.
    assert_eq!(of("testcase"), 7 + 5 + 2);
    assert_eq!((of("failure"), of("error"), of("skipped")), (3 + 3 + 2, 1, 1));
    for (tag, attributes) in &tags {
        for (key, value) in attributes {
            assert!(KNOWN.contains(&key.as_str()), "{tag} {key}");
            assert!(!value.contains('<') && !value.contains('>'), "{tag} {key}: {value}");
        }
        let has = |key: &str| attributes.iter().any(|(known, _)| known == key);
        let shard = attributes.iter().any(|(key, it)| key == "name" && it.starts_with("shard "));
        match tag.as_str() {
            "testcase" => assert!(has("name") && has("classname") && has("file") != shard),
            "testsuite" => assert!(has("name") && has("tests") && has("failures") && has("errors")),
            "failure" | "error" => assert!(has("message") && has("type")),
            _ => {}
        }
    }
    let number = |tag: &str, key: &str| -> Vec<usize> {
        let these = tags.iter().filter(|(known, _)| known == tag).flat_map(|(_, all)| all);
        these.filter(|(known, _)| known == key).map(|(_, n)| n.parse().expect("a count")).collect()
    };
    assert_eq!(
        number("testsuite", "tests").iter().sum::<usize>(),
        number("testsuites", "tests")[0]
    );
    assert_eq!(number("testsuites", "failures"), [3 + 3 + 2]);
}

/// What SARIF 2.1.0 requires of what is written.
fn check_sarif(text: &str) {
    let log: Value = serde_json::from_str(text).expect("it is JSON");
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().is_some_and(|uri| uri.ends_with("sarif-2.1.0.json")));
    let runs = log["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 1);
    let run = &runs[0];
    let driver = &run["tool"]["driver"];
    assert!(driver["name"].is_string() && driver["version"].is_string());
    assert!(
        ["utf16CodeUnits", "unicodeCodePoints"].contains(&run["columnKind"].as_str().unwrap_or(""))
    );
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    let rules = driver["rules"].as_array().expect("rules");
    let ids: std::collections::BTreeSet<&str> =
        rules.iter().map(|rule| rule["id"].as_str().expect("a rule has an id")).collect();
    assert_eq!(ids.len(), rules.len(), "each once");
    assert!(rules.iter().all(|rule| rule["shortDescription"]["text"].is_string()));
    for result in run["results"].as_array().expect("results") {
        let text = result["message"]["text"].as_str().expect("a message is required");
        assert!(text.lines().count() >= 3 && !text.contains('\u{1b}'), "{text}");
        let level = result["level"].as_str().expect("a level");
        assert!(["none", "note", "warning", "error"].contains(&level));
        let index =
            usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().expect("a file");
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~%:".contains(c);
        assert!(uri.chars().all(plain), "a URI reference: {uri}");
        assert!(place["region"]["startLine"].as_u64() >= Some(1));
        assert!(result["partialFingerprints"].as_object().is_some_and(|all| all.len() == 1));
    }
}

#[test]
fn sarif_has_what_its_schema_requires() {
    let summary = awkward();
    let text = sarif_json(&summary, "0.1.0");
    check_sarif(&text);
    let log: Value = serde_json::from_str(&text).expect("it is JSON");
    let results = log["runs"][0]["results"].as_array().expect("results");
    let regressions = results.iter().filter(|result| result["properties"]["regression"] == true);
    assert_eq!((results.len(), regressions.count()), (5 + 3, 3));
}

#[test]
fn annotations_are_one_line_each_and_say_no_more_than_they_should() {
    let annotations = github_annotations(&awkward());
    // The last one is of no file: it names the shards that are missing.
    let (annotations, shards) = annotations.trim_end().rsplit_once('\n').expect("several");
    assert!(shards.starts_with("::error title=oncesim::missing: "), "{shards}");
    assert_eq!(annotations.lines().count(), 4 + 3, "{annotations}");
    for line in annotations.lines() {
        let rest = line.strip_prefix("::error file=").expect("an error in a file");
        let (properties, message) = rest.split_once("::").expect("a message");
        let (file, title) = properties.split_once(",title=").expect("a title");
        for property in [file, title] {
            assert!(!property.contains([':', ',', '\r']), "{property}");
        }
        for text in [file, title, message] {
            let escapes = text.split('%').skip(1);
            let known =
                |part: &str| ["25", "0D", "0A", "3A", "2C"].iter().any(|it| part.starts_with(it));
            assert!(escapes.clone().all(known), "every % is an escape: {text}");
        }
        assert!(message.matches("%0A").count() >= 2, "three lines: {message}");
    }
}

#[test]
fn nothing_is_reported_of_nothing() {
    let nothing = SummaryView {
        regressions: Vec::new(),
        campaigns: Vec::new(),
        skipped: Vec::new(),
        missing: Vec::new(),
        wall: std::time::Duration::ZERO,
    };
    assert!(github_annotations(&nothing).is_empty());
    check_sarif(&sarif_json(&nothing, "0.1.0"));
    assert!(sarif_json(&nothing, "0.1.0").contains("\"results\": []"));
    assert!(junit_xml(&nothing).contains("tests=\"0\""));
    let good = SummaryView { campaigns: vec![campaign(Judgement::AsClaimed, None)], ..nothing };
    assert!(github_annotations(&good).is_empty());
    assert!(github_summary(&good).contains("1 of 1 scenario as claimed"));
}
