//! The verdict on a history that was recorded elsewhere, in text and as JSON.

use std::fmt::Write;
use std::time::Duration;

use oncesim_semantics::{Case, Guarantee, Level, ParityAnomaly, ParityVerdict, Severity, Verdict};
use schemars::JsonSchema;
use serde::Serialize;

use crate::json::{self, SCHEMA};
use crate::number::{grouped, seconds, short_count};
use crate::run::severity;
use crate::style::{BAD, DOUBT, FAINT, GOOD, STRONG, of_holds, paint};
use crate::table::pad;

/// Whether a history is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// No defect, and something was judged.
    Valid,
    /// A defect.
    Invalid,
    /// Nothing was judged, or what is missing may only be late.
    Unknown,
}

/// What was verified, and how.
#[derive(Debug, Clone)]
pub struct SourceView {
    /// Its file.
    pub history: String,
    /// Its format.
    pub input: &'static str,
    /// How many events (or operations).
    pub events: u64,
    /// How many lines were skipped, and the first of them.
    pub skipped: u64,
    /// Wall time of reading, and of judging.
    pub wall: (Duration, Duration),
}

/// A history judged by our own checkers.
#[derive(Debug, Clone)]
pub struct VerifyView<'a> {
    /// What was verified.
    pub source: SourceView,
    /// The verdict.
    pub verdict: &'a Verdict,
    /// In a word.
    pub validity: Validity,
    /// What could not be judged, and why.
    pub unjudged: Vec<String>,
}

/// A history judged as Jepsen does, without and with the order of writes.
#[derive(Debug, Clone)]
pub struct ParityView<'a> {
    /// What was verified.
    pub source: SourceView,
    /// With `:ww-deps false`: the verdict that counts.
    pub verdict: &'a ParityVerdict,
    /// With `:ww-deps true`.
    pub ww: &'a ParityVerdict,
}

const WIDTH: usize = 16;

/// Our own verdict, for people.
#[must_use]
pub fn verify_text(view: &VerifyView<'_>, styled: bool) -> String {
    let mut out = String::new();
    header(&mut out, &view.source, styled);
    let mut head = pad("", 12);
    for guarantee in Guarantee::ALL {
        head.push_str(&pad(guarantee.name(), WIDTH));
    }
    let _ = writeln!(out, "{}", paint(styled, FAINT, head.trim_end()));
    for level in Level::ALL {
        let mut line = pad(level.name(), 12);
        for guarantee in Guarantee::ALL {
            let holds = view.verdict.guarantees.get(level, guarantee);
            let padding = " ".repeat(WIDTH - holds.name().len());
            let _ = write!(line, "{}{padding}", paint(styled, of_holds(holds), holds.name()));
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let ordering = view.verdict.guarantees.ordering;
    let ordering = paint(styled, of_holds(ordering), ordering.name());
    let _ = writeln!(out, "{}{ordering}\n", pad("ordering", 12));
    for anomaly in &view.verdict.anomalies {
        let style = match anomaly.severity {
            Severity::Always | Severity::UnderThisConfiguration => BAD,
            Severity::Legal => DOUBT,
            Severity::Informative => FAINT,
        };
        let _ = writeln!(
            out,
            "{} at the {} level, {} ({})",
            paint(styled, style, anomaly.id()),
            anomaly.class.level.name(),
            short_count(anomaly.count, "time", "times"),
            severity(anomaly.severity),
        );
        let _ = writeln!(out, "  {}\n", anomaly.witness.sentence);
    }
    if !view.unjudged.is_empty() {
        let _ = writeln!(out, "{}", paint(styled, FAINT, "not judged"));
        for reason in &view.unjudged {
            let _ = writeln!(out, "  {reason}");
        }
    }
    let saw = view.verdict.witnesses.iter().filter(|witness| witness.count > 0);
    let saw: Vec<String> = saw.map(|w| format!("{} {}", grouped(w.count), w.what)).collect();
    if !saw.is_empty() {
        let _ = writeln!(out, "checked: {}", saw.join(", "));
    }
    conclusion(&mut out, view.validity, styled);
    footer(&mut out, &view.source);
    out
}

fn header(out: &mut String, source: &SourceView, styled: bool) {
    let _ = writeln!(out, "{}", paint(styled, STRONG, &source.history));
    let events = short_count(source.events, "event", "events");
    let _ = writeln!(out, "{}, {events}", source.input);
    if source.skipped > 0 {
        let lines = short_count(source.skipped, "line", "lines");
        let _ = writeln!(out, "{}", paint(styled, DOUBT, format!("{lines} skipped")));
    }
    out.push('\n');
}

fn conclusion(out: &mut String, validity: Validity, styled: bool) {
    let (style, words) = match validity {
        Validity::Valid => (GOOD, "valid: no defect was found"),
        Validity::Invalid => (BAD, "invalid"),
        Validity::Unknown => {
            (DOUBT, "unknown: too little was seen, or what is missing may only be late")
        }
    };
    let _ = writeln!(out, "{}", paint(styled, style, words));
}

fn footer(out: &mut String, source: &SourceView) {
    let (read, judged) = source.wall;
    let _ = writeln!(
        out,
        "read in {}, judged in {} wall",
        seconds(read.as_secs_f64()),
        seconds(judged.as_secs_f64())
    );
}

/// Jepsen's verdict, for people.
#[must_use]
pub fn parity_text(view: &ParityView<'_>, styled: bool) -> String {
    let mut out = String::new();
    header(&mut out, &view.source, styled);
    if let Some(case) = &view.verdict.thrown {
        let what = format!("Jepsen throws :no-writer-of-value for {}", words(case));
        let _ = writeln!(out, "{}\n", paint(styled, BAD, what));
    }
    for anomaly in &view.verdict.anomalies {
        one(&mut out, anomaly, "", styled);
    }
    let known = |id: &str| view.verdict.anomalies.iter().any(|a| a.id == id);
    for anomaly in view.ww.anomalies.iter().filter(|a| !known(a.id)) {
        one(&mut out, anomaly, ", with the order of writes", styled);
    }
    let validity = if view.verdict.valid { Validity::Valid } else { Validity::Invalid };
    conclusion(&mut out, validity, styled);
    footer(&mut out, &view.source);
    out
}

fn one(out: &mut String, anomaly: &ParityAnomaly, note: &str, styled: bool) {
    let (style, allowed) =
        if anomaly.allowed || !note.is_empty() { (DOUBT, ", allowed") } else { (BAD, "") };
    let id = paint(styled, style, anomaly.id);
    let times = short_count(anomaly.count, "time", "times");
    let _ = writeln!(out, "{id}, {times}{note}{allowed}");
    if let Some(case) = anomaly.cases.first() {
        let _ = writeln!(out, "  {}\n", words(case));
    }
}

/// A case in Jepsen's words.
fn words(case: &Case) -> String {
    let mut parts = Vec::new();
    if let Some(key) = &case.key {
        parts.push(format!("key {key}"));
    }
    let list = |items: Vec<String>| items.join(" ");
    if !case.values.is_empty() {
        let shown = case.values.iter().take(8).map(ToString::to_string).collect();
        parts.push(format!("values {}", list(shown)));
    }
    if !case.offsets.is_empty() {
        let shown = case.offsets.iter().take(8).map(ToString::to_string).collect();
        parts.push(format!("offsets {}", list(shown)));
    }
    if let Some(delta) = case.delta {
        parts.push(format!("delta {delta}"));
    }
    if !case.skipped.is_empty() {
        let shown = case.skipped.iter().take(8).map(ToString::to_string).collect();
        parts.push(format!("skipped {}", list(shown)));
    }
    if let (Some(index), Some(max)) = (case.index, case.max_read_index) {
        parts.push(format!("index {index} of {max} that were read"));
    }
    if !case.ops.is_empty() {
        let shown = case.ops.iter().take(12).map(ToString::to_string).collect();
        parts.push(format!("operations {}", list(shown)));
    }
    if parts.is_empty() {
        "no dependency between any two operations".to_owned()
    } else {
        parts.join(", ")
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct VerifyDoc<'a> {
    schema: u32,
    history: &'a str,
    input: &'static str,
    events: u64,
    valid: serde_json::Value,
    guarantees: json::GuaranteesDoc,
    anomalies: Vec<json::AnomalyDoc<'a>>,
    unjudged: &'a [String],
    skipped: u64,
    wall_ms: u64,
}

/// Our own verdict as a document.
#[must_use]
pub fn verify_json(view: &VerifyView<'_>) -> String {
    let valid = match view.validity {
        Validity::Valid => true.into(),
        Validity::Invalid => false.into(),
        Validity::Unknown => "unknown".into(),
    };
    json::document(&VerifyDoc {
        schema: SCHEMA,
        history: &view.source.history,
        input: view.source.input,
        events: view.source.events,
        valid,
        guarantees: json::guarantees(view.verdict),
        anomalies: view.verdict.anomalies.iter().map(json::anomaly).collect(),
        unjudged: &view.unjudged,
        skipped: view.source.skipped,
        wall_ms: json::millis(view.source.wall.0 + view.source.wall.1),
    })
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct ParityDoc<'a> {
    schema: u32,
    history: &'a str,
    input: &'static str,
    events: u64,
    valid: bool,
    anomalies: Vec<ParityAnomalyDoc>,
    ww: Vec<ParityAnomalyDoc>,
    thrown: Option<CaseDoc>,
    skipped: u64,
    wall_ms: u64,
}

#[derive(Serialize, JsonSchema)]
struct ParityAnomalyDoc {
    id: &'static str,
    count: u64,
    allowed: bool,
    witness: Option<CaseDoc>,
}

#[derive(Serialize, JsonSchema)]
struct CaseDoc {
    sentence: String,
    key: Option<String>,
    values: Vec<String>,
    operations: Vec<i64>,
    offsets: Vec<i64>,
    delta: Option<i64>,
    skipped: Vec<String>,
}

fn case(case: &Case) -> CaseDoc {
    CaseDoc {
        sentence: words(case),
        key: case.key.as_ref().map(ToString::to_string),
        values: case.values.iter().map(ToString::to_string).collect(),
        operations: case.ops.clone(),
        offsets: case.offsets.clone(),
        delta: case.delta,
        skipped: case.skipped.iter().map(ToString::to_string).collect(),
    }
}

/// Jepsen's verdict as a document; `ww` is what the order of writes adds.
#[must_use]
pub fn parity_json(view: &ParityView<'_>) -> String {
    let doc = |anomaly: &ParityAnomaly| ParityAnomalyDoc {
        id: anomaly.id,
        count: anomaly.count,
        allowed: anomaly.allowed,
        witness: anomaly.cases.first().map(case),
    };
    let known = |id: &str| view.verdict.anomalies.iter().any(|a| a.id == id);
    json::document(&ParityDoc {
        schema: SCHEMA,
        history: &view.source.history,
        input: view.source.input,
        events: view.source.events,
        valid: view.verdict.valid,
        anomalies: view.verdict.anomalies.iter().map(doc).collect(),
        ww: view.ww.anomalies.iter().filter(|a| !known(a.id)).map(doc).collect(),
        thrown: view.verdict.thrown.as_ref().map(case),
        skipped: view.source.skipped,
        wall_ms: json::millis(view.source.wall.0 + view.source.wall.1),
    })
}
