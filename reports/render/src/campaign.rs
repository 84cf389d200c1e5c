//! A campaign in text: counts, distinct failures, and what a green run is worth.

use std::fmt::Write;

use crate::coverage;
use crate::model::{CampaignView, FailureView, Judgement, SummaryView};
use crate::number::{grouped, percent, seconds, short_count, virtual_seconds};
use crate::problem::{commands, quoted};
use crate::shrink::shrink_line;
use crate::style::{FAINT, STRONG, of_judgement, paint};

/// Seeds that are listed for one failure.
const SEEDS_SHOWN: usize = 8;

/// What a claim that held is worth: `0 violations in 10,000 seeds: at most 0.030 % of seeds break this
/// claim (95 % confidence)`; or how many seeds break it, and how many may.
#[must_use]
pub fn bound_in_words(violations: u64, seeds: u64, bound_95: f64) -> String {
    let all = short_count(seeds, "seed", "seeds");
    // Only what is no sample has no bound.
    let unbound = bound_95 >= 1.0 && seeds > 0 && violations < seeds;
    if violations == 0 && unbound {
        return format!("0 violations in {all}, chosen by what others had shown: no bound follows");
    }
    if violations == 0 {
        let bound = percent(bound_95);
        return format!(
            "0 violations in {all}: at most {bound} of seeds break this claim (95 % confidence)"
        );
    }
    let share = percent(violations as f64 / seeds.max(1) as f64);
    let failing = grouped(violations);
    if violations == seeds {
        return format!("every one of {all} fails");
    }
    if unbound {
        return format!("{failing} of {all} fail, chosen by what others had shown");
    }
    format!(
        "{failing} of {all} fail: {share}, at most {} of all seeds (95 % confidence)",
        percent(bound_95)
    )
}

/// Which shards are not there, if any: `missing: the results of shard 2/3; ...`.
pub(crate) fn missing_in_words(summary: &SummaryView) -> Option<String> {
    let missing = summary.missing.join(", ");
    let any = !summary.missing.is_empty();
    any.then(|| format!("missing: the results of shard {missing}; without them nothing is proved"))
}

/// The report on one scenario's campaign.
#[must_use]
pub fn campaign_text(campaign: &CampaignView, styled: bool) -> String {
    let mut out = String::new();
    let verdict = paint(styled, of_judgement(campaign.judgement), word(campaign));
    let _ = writeln!(out, "{verdict}  {}", paint(styled, STRONG, &campaign.scenario));
    let _ = writeln!(out, "  {}", campaign.title);
    let _ = writeln!(out, "  {}", finding(campaign));
    for failure in &campaign.failures {
        one_failure(&mut out, campaign, failure, styled);
    }
    for found in &campaign.nondeterminism {
        coverage::nondeterminism(&mut out, found, styled);
    }
    for line in coverage::lines(campaign) {
        let _ = writeln!(out, "  {}", paint(styled, FAINT, line));
    }
    let line = format!(
        "{}{}{}; {} virtual; {:.0} runs/s (wall)",
        range(campaign),
        coverage::rechecked(campaign),
        if campaign.interrupted { ", ended early" } else { "" },
        seconds(virtual_seconds(campaign.virtual_time)),
        campaign.runs_per_second(),
    );
    let _ = writeln!(out, "  {}", paint(styled, FAINT, line));
    out
}

fn range(campaign: &CampaignView) -> String {
    match (campaign.seeds, campaign.range) {
        (0, _) => "no seed ran".to_owned(),
        (_, (first, last)) if first == last => format!("seed {first}"),
        (_, (first, last)) => format!("seeds {first} to {last}"),
    }
}

const fn word(campaign: &CampaignView) -> &'static str {
    match (campaign.judgement, campaign.expect.is_some()) {
        (Judgement::AsClaimed, false) => "as claimed",
        (Judgement::AsClaimed, true) => "found",
        (Judgement::Vacuous, false) => "vacuous",
        (Judgement::Vacuous, true) => "not found",
        (Judgement::NotLive, _) => "not live",
        (Judgement::Violated, _) => "violated",
        (Judgement::Nondeterministic, _) => "nondeterministic",
        (Judgement::Bug, _) => "bug",
    }
}

pub(crate) fn finding(campaign: &CampaignView) -> String {
    if let Some((anomaly, within)) = &campaign.expect {
        let found = campaign.failures.iter().find(|f| f.judgement == Judgement::AsClaimed);
        let seeds = short_count(campaign.seeds, "seed", "seeds");
        return match found.and_then(|find| find.seeds.first()) {
            Some(seed) => format!(
                "{anomaly} found at seed {seed}, after {seeds} (expected within {})",
                grouped(*within)
            ),
            None => {
                format!("{anomaly} not found in {seeds} (expected within {})", grouped(*within))
            }
        };
    }
    if campaign.seeds == 0 {
        return "no seed ran: nothing is proved".to_owned();
    }
    if campaign.judgement == Judgement::Vacuous && campaign.vacuous < campaign.seeds {
        return coverage::vacuous(campaign);
    }
    if campaign.judgement == Judgement::Vacuous {
        return format!(
            "none of {} proves anything: a fault that the scenario declares never struck, or what \
             it claims was not exercised (oncesim run says which)",
            short_count(campaign.seeds, "seed", "seeds"),
        );
    }
    let broken: u64 = campaign
        .failures
        .iter()
        .filter(|failure| failure.judgement != Judgement::AsClaimed)
        .map(|failure| failure.count)
        .sum();
    let worth = bound_in_words(broken, campaign.seeds - campaign.vacuous, campaign.bound_95);
    if campaign.vacuous == 0 {
        return worth;
    }
    let others = short_count(campaign.vacuous, "further seed proves", "further seeds prove");
    format!("{worth}\n  {others} nothing: a declared fault never struck, or nothing was exercised")
}

fn one_failure(out: &mut String, campaign: &CampaignView, failure: &FailureView, styled: bool) {
    // A find that shows the expected anomaly alone has been named already.
    let named = campaign.expect.as_ref().is_some_and(|(anomaly, _)| *anomaly == failure.id);
    if !named || failure.count > 1 {
        let _ = writeln!(
            out,
            "  {}  {}",
            paint(styled, of_judgement(failure.judgement), &failure.id),
            seed_list(&failure.seeds, failure.count),
        );
    }
    if !failure.sentence.is_empty() {
        let _ = writeln!(out, "    {}", failure.sentence);
    }
    if let Some(shrunk) = &failure.shrunk {
        let _ = writeln!(out, "    {}", shrink_line(shrunk));
    }
    if let Some(file) = &failure.counterexample {
        for command in commands(&failure.id, &quoted(file)) {
            let _ = writeln!(out, "    {}", paint(styled, STRONG, command));
        }
    }
}

fn seed_list(seeds: &[u64], count: u64) -> String {
    let shown: Vec<String> = seeds.iter().take(SEEDS_SHOWN).map(u64::to_string).collect();
    let more = if count > shown.len() as u64 { ", ..." } else { "" };
    format!("{}: {}{more}", short_count(count, "seed", "seeds"), shown.join(", "))
}

/// The last line of a command: everything together.
#[must_use]
pub fn summary_text(summary: &SummaryView, styled: bool) -> String {
    let mut out = String::new();
    let seeds: u64 = summary.campaigns.iter().map(|campaign| campaign.seeds).sum();
    let good = summary
        .campaigns
        .iter()
        .filter(|campaign| campaign.judgement == Judgement::AsClaimed)
        .count() as u64;
    let failures: u64 = summary
        .campaigns
        .iter()
        .flat_map(|campaign| &campaign.failures)
        .filter(|failure| failure.judgement != Judgement::AsClaimed)
        .count() as u64;
    let virtual_time: f64 =
        summary.campaigns.iter().map(|campaign| virtual_seconds(campaign.virtual_time)).sum();
    let wall = summary.wall.as_secs_f64();
    let rate = if wall > 0.0 { seeds as f64 / wall } else { 0.0 };
    out.push_str(&coverage::together(summary, styled));
    if let Some(missing) = missing_in_words(summary) {
        let _ = writeln!(out, "{missing}");
    }
    if !summary.skipped.is_empty() {
        let _ = writeln!(out, "not run: {}", summary.skipped.join(", "));
    }
    let line = format!(
        "{} of {} as claimed; {}; {}; {} virtual in {} wall, {rate:.0} runs/s",
        grouped(good),
        short_count(summary.campaigns.len() as u64, "scenario", "scenarios"),
        short_count(failures, "distinct failure", "distinct failures"),
        short_count(seeds, "seed", "seeds"),
        seconds(virtual_time),
        seconds(wall),
    );
    let worst = summary.worst();
    let style = worst.map_or(FAINT, of_judgement);
    let _ = writeln!(out, "{}", paint(styled, style, line));
    out
}
