//! The catalogue of anomalies, for people and for programs.

use std::fmt::Write;

use oncesim_semantics::{AnomalyClass, Violates};
use schemars::JsonSchema;
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
    let broken = broken(class);
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

/// The page of the catalogue: a table, then a section per anomaly. `kinds` are the sub-kinds of
/// `duplicate-append`.
#[must_use]
pub fn anomalies_markdown(classes: &[&AnomalyClass], kinds: &[(&str, &str)]) -> String {
    let mut out = String::from(
        "# Anomalies\n\n\
         <!-- Generated: oncesim anomalies --markdown > docs/anomalies.md -->\n\n\
         Every anomaly that a checker can name. `oncesim anomalies ID` prints one of them. What the\n\
         levels and guarantees are, and how severe an anomaly is in which configuration, is in\n\
         `docs/semantics.md`. A history that was recorded elsewhere is judged by its clients' events\n\
         alone: anomalies that only the inside of a broker can show are then not looked for.\n\n\
         | anomaly | level | breaks | Jepsen |\n|---|---|---|---|\n",
    );
    for class in classes {
        let jepsen = class.jepsen.map_or("-".to_owned(), |name| format!("`{name}`"));
        let (id, level) = (class.id, class.level.name());
        let _ = writeln!(out, "| [{id}](#{id}) | {level} | {} | {jepsen} |", broken(class));
    }
    for class in classes {
        let jepsen = match class.jepsen {
            Some(name) if name == class.id => "reports it under the same name.".to_owned(),
            Some(name) => format!("reports it as `{name}`."),
            None => "has no name for it.".to_owned(),
        };
        let paragraph = format!(
            "{} *Example:* {} *Usual causes:* {} *What fixes it:* {} It counts at the {} level and \
             breaks {}. Jepsen's Kafka checker {jepsen}",
            class.meaning,
            class.example,
            class.causes,
            class.fixes,
            class.level.name(),
            broken(class),
        );
        let _ = writeln!(out, "\n## {}\n\n{}", class.id, textwrap(&paragraph, 99).join("\n"));
        if class.id == "duplicate-append" {
            out.push('\n');
            for (kind, meaning) in kinds {
                let lines = textwrap(&format!("* `{kind}`: {meaning}"), 97);
                let _ = writeln!(out, "{}", lines.join("\n  "));
            }
        }
    }
    out
}

/// What an anomaly breaks, as words in a sentence.
fn broken(class: &AnomalyClass) -> String {
    let broken = breaks(class.violates);
    if broken.is_empty() { "nothing by itself".to_owned() } else { broken.join(", ") }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct CatalogueDoc<'a> {
    schema: u32,
    anomalies: Vec<ClassDoc<'a>>,
}

#[derive(Serialize, JsonSchema)]
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use oncesim_semantics::{DUPLICATE_KINDS, catalogue};

    #[test]
    fn the_page_of_anomalies_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/anomalies.md");
        let kept = std::fs::read_to_string(path).expect("the page");
        let current = super::anomalies_markdown(catalogue(), DUPLICATE_KINDS);
        assert!(kept == current, "oncesim anomalies --markdown > docs/anomalies.md");
    }
}
