//! Pages: what is written into them, whole and harmless.

use std::collections::BTreeMap;

use super::*;
use crate::{campaign_html, run_html};

/// Elements that have no end.
const VOID: [&str; 4] = ["meta", "br", "input", "link"];

/// Whether every element ends where it should; the texts of scripts and styles are skipped.
fn check_balance(html: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').ok_or("an element without its end")?;
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if tag.starts_with('!') || tag.ends_with('/') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop().ok_or_else(|| format!("</{name}> ends nothing"))?;
            if last != name {
                return Err(format!("</{name}> where <{last}> is open"));
            }
            continue;
        }
        let name = tag.split_whitespace().next().unwrap_or_default();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(format!("a stray <: {tag}"));
        }
        if matches!(name, "script" | "style") {
            let close = format!("</{name}>");
            let end = rest.find(&close).ok_or_else(|| format!("<{name}> has no end"))?;
            rest = &rest[end + close.len()..];
        } else if !VOID.contains(&name) {
            open.push(name);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("never ended: {open:?}")) }
}

/// What is in a page, without style and programs.
fn body(html: &str) -> &str {
    let body = html.split_once("<main>").and_then(|(_, rest)| rest.split_once("</main>"));
    body.expect("a page has a main part").0
}

fn data(html: &str) -> serde_json::Value {
    let data = html.split_once("type=\"application/json\">").map_or("", |(_, rest)| rest);
    let data = data.split_once("</script>").map_or("", |(data, _)| data);
    serde_json::from_str(data).expect("the data of a page is JSON")
}

#[test]
fn a_page_of_a_run_says_what_its_report_says() {
    let html = run_html(&run(), None);
    check_balance(&html).expect("well-formed");
    let (before, rest) = body(&html).split_once("<section class=\"diagram\"").expect("a diagram");
    let (_, after) = rest.split_once("<section class=\"excerpt\"").expect("an excerpt");
    insta::assert_snapshot!(format!("{before}...\n<section class=\"excerpt\"{after}"));
}

#[test]
fn the_data_of_a_page_has_a_value_per_row_in_every_column() {
    let data = data(&run_html(&run(), None));
    let rows = data["rows"]["k"].as_array().map_or(0, Vec::len);
    assert!(rows > 0, "{data}");
    for column in ["t", "s", "k", "a", "p", "r", "e", "f", "d", "x", "g"] {
        assert_eq!(data["rows"][column].as_array().map_or(0, Vec::len), rows, "{column}");
    }
    assert!(data["witness"].as_array().is_some_and(|it| !it.is_empty()), "{}", data["witness"]);
}

#[test]
fn a_page_of_a_campaign_links_to_its_runs() {
    let campaign = failing();
    let file = campaign.failures[0].counterexample.clone().expect("it was kept");
    let summary = SummaryView {
        regressions: Vec::new(),
        campaigns: vec![campaign],
        skipped: Vec::new(),
        missing: Vec::new(),
        wall: std::time::Duration::from_secs(2),
    };
    let pages = BTreeMap::from([(file, "campaign-run.html".to_owned())]);
    let html = campaign_html(&summary, &pages);
    check_balance(&html).expect("well-formed");
    assert!(html.contains("<a href=\"campaign-run.html\">"), "{html}");
    insta::assert_snapshot!(body(&html));
}

#[test]
fn whatever_things_are_called_a_page_stays_whole() {
    let hostile = "</script><script>alert('x')</script><b title=\"' & <!--";
    let mut run = run();
    run.title = hostile.to_owned();
    run.command = hostile.to_owned();
    for fault in &mut run.faults {
        fault.description = hostile.to_owned();
    }
    for actor in &mut run.recording.history.actors {
        actor.name = hostile.to_owned();
    }
    for line in &mut run.recording.trace.lines {
        line.text = hostile.to_owned();
    }
    let html = run_html(&run, None);
    check_balance(&html).expect("well-formed");
    assert_eq!(html.matches("<script").count(), 2, "the data and the program");
    assert!(!html.contains("<!--") && !html.contains("alert('x')</script"), "{html}");
    assert_eq!(data(&html)["actors"][0][0], hostile, "the data has the name as it is");
    check_balance(&campaign_html(&awkward(), &BTreeMap::new())).expect("well-formed");
}

#[test]
fn a_run_that_recorded_nothing_has_a_page_too() {
    let html = run_html(&RunView { recording: Recording::default(), ..run() }, None);
    check_balance(&html).expect("well-formed");
    assert_eq!(data(&html)["rows"]["k"], serde_json::json!([]));
}

#[test]
fn the_story_on_a_page_has_its_paragraphs_and_the_table_of_futures() {
    let html = run_html(&run(), Some(&explained::explanation()));
    check_balance(&html).expect("well-formed");
    let body = body(&html);
    assert_eq!(body.matches("<p class=\"story\">").count(), 2, "a paragraph each");
    assert!(body.contains("<p class=\"story\">b1 died before anybody had a copy of it.</p>"));
    let rows = body.split("forks that fail</th>").nth(1).expect("there is a table of futures");
    assert_eq!(rows.split("</table>").next().map(|table| table.matches("<tr>").count()), Some(5));
}
