//! A campaign for GitHub: annotations (workflow commands) and a job summary in Markdown.

use std::fmt::Write;

use crate::campaign::missing_in_words;
use crate::coverage::{MISSING_SHOWN, areas};
use crate::model::{Judgement, RegressionState, SummaryView};
use crate::number::{grouped, percent, seconds, short_count};
use crate::problem::{Failing, Problem, failing};

/// Failing scenarios that a job summary tells in full: its size is limited to 1 MiB.
const TOLD: usize = 50;
/// Rows of the table, for the same reason.
const ROWS: usize = 2_000;

/// One `::error` line per scenario that is not as claimed, and per regression that fails again: its
/// file, its problems, how to replay; and one for shards that are missing.
#[must_use]
pub fn github_annotations(summary: &SummaryView) -> String {
    let mut out = String::new();
    for Failing { file, title, problems, .. } in failing(summary) {
        let ids: Vec<&str> = problems.iter().map(|problem| problem.id.as_str()).collect();
        let title = format!("{title}: {}", ids.join(", "));
        let told: Vec<String> = problems.iter().map(told).collect();
        let _ = writeln!(
            out,
            "::error file={},title={}::{}",
            property(file),
            property(&title),
            data(&told.join("\n\n")),
        );
    }
    if let Some(missing) = missing_in_words(summary) {
        let _ = writeln!(out, "::error title=oncesim::{}", data(&missing));
    }
    out
}

/// Three lines and the command.
fn told(problem: &Problem) -> String {
    let lines = problem.story.iter().chain(&problem.replay);
    lines.map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// The message of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A job summary: failing claims with their story and the command to replay, then every scenario.
#[must_use]
pub fn github_summary(summary: &SummaryView) -> String {
    let mut out = String::new();
    let all = summary.campaigns.len() as u64;
    let failing: Vec<Failing<'_>> = failing(summary).collect();
    let bad = failing.iter().filter(|failing| failing.campaign.is_some()).count() as u64;
    let plural = if all == 1 { "scenario" } else { "scenarios" };
    let good = grouped(all - bad);
    let _ = writeln!(out, "## oncesim: {good} of {} {plural} as claimed\n", grouped(all));
    if let Some(missing) = missing_in_words(summary) {
        let _ = writeln!(out, "**{}**\n", inline(&missing));
    }
    regressions(&mut out, summary);
    for Failing { title, problems, .. } in failing.iter().take(TOLD) {
        let _ = writeln!(out, "### {}\n", inline(title));
        for problem in problems {
            fenced(&mut out, "text", &problem.story.join("\n"));
            if let Some(replay) = &problem.replay {
                fenced(&mut out, "sh", replay);
            }
        }
    }
    if failing.len() > TOLD {
        let more = grouped((failing.len() - TOLD) as u64);
        let _ = writeln!(out, "{more} more are in the table only.\n");
    }
    table(&mut out, summary);
    if summary.campaigns.len() > ROWS {
        let more = grouped((summary.campaigns.len() - ROWS) as u64);
        let _ = writeln!(out, "\n{more} more scenarios are not shown.");
    }
    if !summary.skipped.is_empty() {
        let more = grouped(summary.skipped.len() as u64);
        let _ = writeln!(out, "\nNot run: {more}.");
    }
    claims(&mut out, summary);
    reached(&mut out, summary);
    let wall = seconds(summary.wall.as_secs_f64());
    let _ = writeln!(
        out,
        "\nBounds are upper 95 % bounds on the share of seeds that break the \
                           claim. {wall} (wall)."
    );
    out
}

/// What was found before, and what it does today.
fn regressions(out: &mut String, summary: &SummaryView) {
    if summary.regressions.is_empty() {
        return;
    }
    let all = short_count(summary.regressions.len() as u64, "regression", "regressions");
    let of = |state: RegressionState| {
        let these = summary.regressions.iter().filter(move |one| one.state == state);
        these.map(|one| cell(&one.file)).collect::<Vec<_>>()
    };
    let count = |state| of(state).len();
    let _ = writeln!(
        out,
        "{all} replayed first: {} fail, {} fail otherwise, {} no longer fail.\n",
        count(RegressionState::Fails),
        count(RegressionState::FailsOtherwise),
        count(RegressionState::NoLongerFails),
    );
    let mut gone = of(RegressionState::NoLongerFails);
    if !gone.is_empty() {
        let more = gone.len().saturating_sub(TOLD);
        gone.truncate(TOLD);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let _ = writeln!(out, "No longer fail: {}{more}.\n", gone.join(", "));
    }
}

/// The bounds claim by claim, where a scenario makes several.
fn claims(out: &mut String, summary: &SummaryView) {
    let several = summary.campaigns.iter().filter(|campaign| campaign.claims.len() > 1);
    let rows: Vec<String> = several
        .flat_map(|campaign| campaign.claims.iter().map(move |claim| (campaign, claim)))
        .take(ROWS)
        .map(|(campaign, claim)| {
            format!(
                "| {} | {} | {} | {} | {} |",
                cell(&campaign.scenario),
                inline(&claim.claim),
                grouped(claim.exercised),
                grouped(claim.broken),
                if claim.exercised == 0 { "-".to_owned() } else { percent(claim.bound_95) },
            )
        })
        .collect();
    if !rows.is_empty() {
        out.push_str("\n| scenario | claim | put to the test by | broken by | bound (95 %) |\n");
        out.push_str("|---|---|---:|---:|---:|\n");
        let _ = writeln!(out, "{}", rows.join("\n"));
    }
}

/// What all campaigns reached together, and which declared faults never struck.
fn reached(out: &mut String, summary: &SummaryView) {
    let areas = areas(summary);
    if !areas.is_empty() {
        out.push_str("\n| reached | points | never |\n|---|---:|---|\n");
        for area in &areas {
            let missing = area.missing.iter().take(MISSING_SHOWN);
            let mut never: Vec<String> = missing.map(|name| inline(name)).collect();
            if area.missing.len() > MISSING_SHOWN {
                never.push("...".to_owned());
            }
            let points = format!("{} of {}", grouped(area.reached), grouped(area.known));
            let _ = writeln!(out, "| {} | {points} | {} |", inline(&area.area), never.join(", "));
        }
    }
    let never: Vec<String> = summary
        .campaigns
        .iter()
        .flat_map(|campaign| campaign.silent.iter().map(move |silent| (campaign, silent)))
        .filter(|(_, silent)| silent.telling)
        .take(TOLD)
        .map(|(campaign, silent)| format!("{} in {}", cell(&silent.kind), cell(&campaign.scenario)))
        .collect();
    if !never.is_empty() {
        let _ = writeln!(out, "\nDeclared faults that never struck: {}.", never.join(", "));
    }
}

fn table(out: &mut String, summary: &SummaryView) {
    out.push_str("| scenario | outcome | seeds | bound (95 %) |\n|---|---|---:|---:|\n");
    for campaign in summary.campaigns.iter().take(ROWS) {
        let bound = match (&campaign.expect, campaign.judgement) {
            (None, _) => percent(campaign.bound_95),
            (Some((anomaly, _)), Judgement::AsClaimed) => format!("found {}", cell(anomaly)),
            (Some((anomaly, _)), _) => format!("expects {}", cell(anomaly)),
        };
        let _ = writeln!(
            out,
            "| {} | {}{} | {} ({}..={}) | {bound} |",
            cell(&campaign.scenario),
            campaign.judgement.name(),
            if campaign.interrupted { ", ended early" } else { "" },
            grouped(campaign.seeds),
            campaign.range.0,
            campaign.range.1,
        );
    }
}

/// A code block whose fence is longer than any within.
fn fenced(out: &mut String, language: &str, text: &str) {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(out, "{fence}{language}\n{text}\n{fence}\n");
}

/// Plain text within a paragraph or heading.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Code within a table, where a bar ends the cell even in code.
fn cell(text: &str) -> String {
    if text.contains('`') { inline(text) } else { format!("`{}`", text.replace('|', "\\|")) }
}
