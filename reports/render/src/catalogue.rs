//! The catalogue of anomalies, for people and for programs.

use std::fmt::Write;

use oncesim_semantics::{AnomalyClass, Violates};
use serde::Serialize;

use crate::style::{FAINT, STRONG, paint};
use crate::table::{pad, widest};

/// What an anomaly breaks, in words: `at-most-once, ordering`.
fn breaks(violates: Violates) -> Vec<&'static str> {
    [
        (violates.at_most_once, "at-most-once"),
        (violates.at_least_once, "at-least-once"),
        (violates.ordering, "ordering"),
        (violates.isolation, "isolation"),
        (violates.atomicity, "atomicity"),
        (violates.integrity, "integrity"),
        (violates.liveness, "liveness"),
    ]
    .into_iter()
    .filter_map(|(broken, name)| broken.then_some(name))
    .collect()
}

/// The catalogue, a line each.
#[must_use]
pub fn anomalies_text(classes: &[&AnomalyClass], styled: bool) -> String {
    let ids = widest(classes.iter().map(|class| class.id));
    let levels = widest(classes.iter().map(|class| class.level.name()));
    let mut out = String::new();
    for class in classes {
        let _ = writeln!(
            out,
            "{}  {}  {}",
            paint(styled, STRONG, pad(class.id, ids)),
            pad(class.level.name(), levels),
            class.meaning,
        );
    }
    let _ = writeln!(out, "{}", paint(styled, FAINT, "More on one: oncesim anomalies ID"));
    out
}

/// One anomaly, explained.
#[must_use]
pub fn anomaly_text(class: &AnomalyClass, styled: bool) -> String {
    let mut out = format!("{}\n", paint(styled, STRONG, class.id));
    let broken = breaks(class.violates);
    let broken = if broken.is_empty() { "nothing by itself".to_owned() } else { broken.join(", ") };
    for (name, text) in [
        ("meaning", class.meaning),
        ("example", class.example),
        ("causes", class.causes),
        ("fixes", class.fixes),
        ("level", class.level.name()),
        ("breaks", broken.as_str()),
        ("Jepsen", class.jepsen.unwrap_or("")),
    ] {
        if !text.is_empty() {
            let mut lines = textwrap(text, 84).into_iter();
            let first = lines.next().unwrap_or_default();
            let _ = writeln!(out, "  {}  {first}", paint(styled, FAINT, pad(name, 8)));
            for line in lines {
                let _ = writeln!(out, "            {line}");
            }
        }
    }
    out
}

/// `text` in lines of at most `width` characters, broken at spaces.
fn textwrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[derive(Serialize)]
struct CatalogueDoc<'a> {
    schema: u32,
    anomalies: Vec<ClassDoc<'a>>,
}

#[derive(Serialize)]
struct ClassDoc<'a> {
    id: &'a str,
    level: &'a str,
    violates: Vec<&'static str>,
    jepsen: Option<&'a str>,
    meaning: &'a str,
    example: &'a str,
    causes: &'a str,
    fixes: &'a str,
}

/// The catalogue, or a part of it, as one JSON document.
#[must_use]
pub fn anomalies_json(classes: &[&AnomalyClass]) -> String {
    let anomalies = classes
        .iter()
        .map(|class| ClassDoc {
            id: class.id,
            level: class.level.name(),
            violates: breaks(class.violates),
            jepsen: class.jepsen,
            meaning: class.meaning,
            example: class.example,
            causes: class.causes,
            fixes: class.fixes,
        })
        .collect();
    crate::json::document(&CatalogueDoc { schema: crate::json::SCHEMA, anomalies })
}
