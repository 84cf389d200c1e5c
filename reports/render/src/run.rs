//! One run in text: the world, the verdict, the proof, the command.

use std::collections::BTreeSet;
use std::fmt::Write;

use oncesim_semantics::{Anomaly, Claim, Guarantee, Holds, Level, Ordering, Severity, Verdict};

use crate::model::{End, FaultView, Judgement, RunView};
use crate::number::{grouped, seconds, short_count, virtual_seconds};
use crate::row::{Row, rows};
use crate::style::{BAD, DOUBT, FAINT, GOOD, STRONG, of_holds, of_judgement, paint};
use crate::table::{pad, widest};
use crate::trace::{excerpt, trace_text};

/// Lines of trace around a witness event.
const AROUND: usize = 2;
/// Lines of trace per anomaly, at most.
const EXCERPT: usize = 14;
/// Anomalies that are shown with their trace, those that matter most; the others by their sentence.
const EXPLAINED: usize = 2;

/// The report on one run.
#[must_use]
pub fn run_text(run: &RunView, styled: bool) -> String {
    let mut out = String::new();
    header(&mut out, run, styled);
    world(&mut out, run, styled);
    guarantees(&mut out, run, styled);
    anomalies(&mut out, run, styled);
    conclusion(&mut out, run, styled);
    out
}

/// What a scenario claims, or the anomaly that it expects within so many seeds, in words.
#[must_use]
pub fn promise(claim: Option<&Claim>, expect: Option<&(String, u64)>) -> String {
    if let Some((anomaly, within)) = expect {
        let within = short_count(*within, "seed", "seeds");
        return format!("expects {anomaly} within {within}");
    }
    let Some(claim) = claim else { return "claims nothing".to_owned() };
    let mut parts: Vec<String> = Level::ALL
        .into_iter()
        .filter_map(|level| {
            claim.at(level).map(|guarantee| format!("{} {}", level.name(), guarantee.name()))
        })
        .collect();
    match claim.ordering {
        Some(Ordering::PerPartition) => parts.push("order per partition".to_owned()),
        Some(Ordering::PerKey) => parts.push("order per key".to_owned()),
        None => {}
    }
    format!("claims {}", parts.join(", "))
}

fn header(out: &mut String, run: &RunView, styled: bool) {
    let _ = writeln!(out, "{}", paint(styled, STRONG, &run.title));
    let _ = writeln!(out, "{}, seed {}", run.scenario, run.seed);
    let _ = writeln!(out, "{}\n", promise(run.claim.as_ref(), run.expect.as_ref()));
}

fn world(out: &mut String, run: &RunView, styled: bool) {
    if !run.world.is_empty() {
        let _ = writeln!(out, "{}", paint(styled, FAINT, "world"));
        for line in &run.world {
            let _ = writeln!(out, "  {line}");
        }
    }
    if !run.faults.is_empty() {
        let _ = writeln!(out, "{}", paint(styled, FAINT, "faults (virtual time)"));
        // In the order in which they struck, those that never did last.
        let mut faults: Vec<&FaultView> = run.faults.iter().collect();
        faults.sort_by_key(|fault| (fault.struck.is_none(), fault.struck));
        let times: Vec<String> = faults
            .iter()
            .map(|fault| fault.struck.map_or("never".to_owned(), |at| at.to_string()))
            .collect();
        let width = widest(times.iter().map(String::as_str));
        for (fault, time) in faults.iter().zip(&times) {
            let origin = if fault.scripted { "scripted" } else { "drawn" };
            let style = if fault.struck.is_some() { DOUBT } else { FAINT };
            let padding = " ".repeat(width - time.len());
            let _ = writeln!(
                out,
                "  {padding}{}  {} {}",
                paint(styled, style, time),
                fault.description,
                paint(styled, FAINT, format!("({}, {origin})", fault.kind)),
            );
        }
    }
    if !run.world.is_empty() || !run.faults.is_empty() {
        out.push('\n');
    }
}

fn guarantees(out: &mut String, run: &RunView, styled: bool) {
    const WIDTH: usize = 20;
    let mut head = pad("", 12);
    for guarantee in Guarantee::ALL {
        head.push_str(&pad(guarantee.name(), WIDTH));
    }
    let _ = writeln!(out, "{}", paint(styled, FAINT, head.trim_end()));
    for level in Level::ALL {
        let claimed = run.claim.and_then(|claim| claim.at(level));
        let mut line = pad(level.name(), 12);
        for guarantee in Guarantee::ALL {
            let holds = run.verdict.guarantees.get(level, guarantee);
            line.push_str(&cell(holds, claimed == Some(guarantee), WIDTH, styled));
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let claimed = run.claim.is_some_and(|claim| claim.ordering.is_some());
    let ordering = cell(run.verdict.guarantees.ordering, claimed, WIDTH, styled);
    let _ = writeln!(out, "{}{}", pad("ordering", 12), ordering.trim_end());
    if run.claim.is_some() {
        let _ = writeln!(out, "{}", paint(styled, FAINT, "* claimed"));
    }
    out.push('\n');
}

fn cell(holds: Holds, claimed: bool, width: usize, styled: bool) -> String {
    let text = format!("{}{}", holds.name(), if claimed { " *" } else { "" });
    let padding = " ".repeat(width - text.len());
    format!("{}{padding}", paint(styled, of_holds(holds), text))
}

pub(crate) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Always => "never legal",
        Severity::UnderThisConfiguration => "a defect under this configuration",
        Severity::Legal => "legal under this configuration",
        Severity::Informative => "for information",
    }
}

fn anomalies(out: &mut String, run: &RunView, styled: bool) {
    let proof: BTreeSet<u32> =
        run.verdict.anomalies.iter().flat_map(|it| it.witness.events.iter().copied()).collect();
    let rows = rows(&run.recording, proof);
    for (i, anomaly) in by_weight(run).into_iter().enumerate() {
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
        let _ = writeln!(out, "  {}", anomaly.witness.sentence);
        // The run of a pitfall explains the pitfall; what comes with it needs no proof of its own.
        if i < EXPLAINED && (run.expect.is_none() || is_expected(run, anomaly) || i == 0) {
            explain(out, &rows, anomaly, styled);
            out.push('\n');
        } else if i + 1 == run.verdict.anomalies.len() {
            out.push('\n');
        }
    }
}

/// The anomalies of a run, those that decide its verdict first.
pub(crate) fn by_weight(run: &RunView) -> Vec<&Anomaly> {
    let mut anomalies: Vec<&Anomaly> = run.verdict.anomalies.iter().collect();
    anomalies.sort_by_key(|anomaly| {
        let expected = is_expected(run, anomaly);
        let weight = match anomaly.severity {
            Severity::Always => 0,
            Severity::UnderThisConfiguration => 1,
            Severity::Legal => 2 + u8::from(!breaks_claim(run, anomaly)),
            Severity::Informative => 4,
        };
        (!expected, weight)
    });
    anomalies
}

/// Whether the scenario names it.
fn is_expected(run: &RunView, anomaly: &Anomaly) -> bool {
    run.expect.as_ref().is_some_and(|(id, _)| anomaly.id() == id || anomaly.class.id == id)
}

/// Whether it violates what the scenario claims at its level.
fn breaks_claim(run: &RunView, anomaly: &Anomaly) -> bool {
    let Some(claim) = run.claim else { return false };
    let violates = anomaly.class.violates;
    let guarantee = match claim.at(anomaly.class.level) {
        Some(Guarantee::AtMostOnce) => violates.at_most_once,
        Some(Guarantee::AtLeastOnce) => violates.at_least_once,
        Some(Guarantee::ExactlyOnce) => violates.at_most_once || violates.at_least_once,
        None => false,
    };
    guarantee || (claim.ordering.is_some() && violates.ordering)
}

fn explain(out: &mut String, rows: &[Row<'_>], anomaly: &Anomaly, styled: bool) {
    let events = &anomaly.witness.events;
    let positions = excerpt(rows, events, AROUND, EXCERPT);
    out.push_str(&trace_text(rows, &positions, events, "  ", styled));
}

/// Why a run is judged as it is, in a sentence.
#[must_use]
pub fn failure_line(run: &RunView) -> String {
    match (&run.end, run.judgement) {
        (End::Panicked(message), _) => format!("a bug of oncesim: {message}"),
        (End::BudgetExhausted, _) => with_reason(
            run,
            "the run was ended when its budget of events was used up (limits.events): a livelock, \
             or too small a budget",
        ),
        (End::NotSettled, Judgement::NotLive) => {
            with_reason(run, "the system never recovered after all faults had healed")
        }
        (_, Judgement::AsClaimed) => as_claimed(run),
        (_, Judgement::Vacuous) => format!("proves nothing: {}", vacuous(run)),
        (_, Judgement::NotLive) => "the system never recovered".to_owned(),
        (_, Judgement::Violated) => format!("violated: {}", broken(run)),
        (_, Judgement::Nondeterministic) => "the same input gave another digest".to_owned(),
        (_, Judgement::Bug) => "a bug of oncesim".to_owned(),
    }
}

/// A sentence, and what was stuck if a checker says so.
fn with_reason(run: &RunView, sentence: &str) -> String {
    let stuck = by_weight(run).into_iter().find(|anomaly| anomaly.class.violates.liveness);
    stuck.map_or_else(
        || sentence.to_owned(),
        |anomaly| format!("{sentence}; {}", anomaly.witness.sentence),
    )
}

fn as_claimed(run: &RunView) -> String {
    let Some((expected, _)) = &run.expect else { return "as claimed".to_owned() };
    let shows = run
        .verdict
        .anomalies
        .iter()
        .any(|anomaly| anomaly.id() == expected || anomaly.class.id == expected);
    if shows {
        format!("as expected: this seed shows {expected}")
    } else {
        format!("this seed does not show {expected}; another may (oncesim fuzz finds it)")
    }
}

fn vacuous(run: &RunView) -> String {
    let idle: Vec<&str> = run
        .faults
        .iter()
        .filter(|fault| fault.scripted && fault.struck.is_none())
        .map(|fault| fault.description.as_str())
        .collect();
    if idle.is_empty() {
        "nothing was delivered, or a claimed guarantee was not exercised".to_owned()
    } else {
        format!("a fault that the scenario declares never struck ({})", idle.join("; "))
    }
}

fn broken(run: &RunView) -> String {
    let mut parts: Vec<String> = Vec::new();
    if let Some(claim) = run.claim {
        for level in Level::ALL {
            if let Some(guarantee) = claim.at(level)
                && run.verdict.guarantees.get(level, guarantee) == Holds::Violated
            {
                parts.push(format!("{} at the {} level", guarantee.name(), level.name()));
            }
        }
        if claim.ordering.is_some() && run.verdict.guarantees.ordering == Holds::Violated {
            parts.push("ordering".to_owned());
        }
    }
    if parts.is_empty() {
        parts.extend(run.verdict.anomalies.iter().take(1).map(|anomaly| anomaly.id().to_owned()));
    }
    if parts.is_empty() { "the claim".to_owned() } else { parts.join(", ") }
}

/// What the checkers saw; `None`: nothing.
pub(crate) fn checked(verdict: &Verdict) -> Option<String> {
    let seen = verdict.witnesses.iter().filter(|witness| witness.count > 0);
    let seen: Vec<String> =
        seen.map(|witness| format!("{} {}", witness.what, grouped(witness.count))).collect();
    (!seen.is_empty()).then(|| seen.join("; "))
}

fn conclusion(out: &mut String, run: &RunView, styled: bool) {
    if let Some(saw) = checked(&run.verdict) {
        let _ = writeln!(out, "checked: {saw}");
    }
    if run.verdict.excused > 0 {
        let records = short_count(run.verdict.excused, "record", "records");
        let _ = writeln!(out, "not owed by this configuration: {records}");
    }
    let style =
        if run.judgement == Judgement::AsClaimed { GOOD } else { of_judgement(run.judgement) };
    let _ = writeln!(out, "{}", paint(styled, style, failure_line(run)));
    if let Some(note) = &run.note {
        let _ = writeln!(out, "{note}");
    }
    let _ = writeln!(
        out,
        "seed {}, digest {}; {} virtual, {}, {}; {} wall",
        run.seed,
        run.digest,
        seconds(virtual_seconds(run.virtual_time)),
        short_count(run.events, "event", "events"),
        short_count(run.messages, "message", "messages"),
        seconds(run.wall.as_secs_f64()),
    );
    let _ = writeln!(out, "again: {}", paint(styled, STRONG, &run.command));
    if let Some(why) = &run.why {
        let _ = writeln!(out, "why: {}", paint(styled, STRONG, why));
    }
}
