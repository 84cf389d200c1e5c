//! What a campaign is worth, in text: claims one by one, what was reached, what never happened, and
//! whether the same seed was the same run.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::{AreaView, CampaignView, NondeterminismView, SummaryView};
use crate::number::{grouped, percent, short_count};
use crate::style::{FAINT, STRONG, paint};

/// One line for each thing that is worth one.
pub(crate) fn lines(campaign: &CampaignView) -> Vec<String> {
    [claims(campaign), struck(campaign), reached(campaign), unknown(campaign)]
        .into_iter()
        .flatten()
        .collect()
}

/// The claims one by one, if the campaign's own sentence does not say it all.
fn claims(campaign: &CampaignView) -> Option<String> {
    let proved = campaign.seeds.saturating_sub(campaign.vacuous);
    let told = |claims: &[crate::ClaimView]| {
        claims.iter().all(|claim| claim.broken == 0 && claim.exercised == proved)
    };
    let failing =
        campaign.failures.iter().any(|failure| failure.judgement != crate::Judgement::AsClaimed);
    if campaign.claims.is_empty() || (told(&campaign.claims) && !failing) {
        return None;
    }
    let claims = campaign.claims.iter().map(|claim| {
        // Of what is no sample, or never holds, nothing more is to be said.
        let bound = match percent(claim.bound_95) {
            bound if claim.bound_95 < 1.0 => format!(" (at most {bound} break it)"),
            _ => String::new(),
        };
        match (claim.broken, claim.exercised) {
            (_, 0) => format!("{} was never put to the test", claim.claim),
            (0, n) => format!("{} held in {}{bound}", claim.claim, grouped(n)),
            (broken, n) => {
                let (broken, n) = (grouped(broken), grouped(n));
                format!("{} was broken by {broken} of {n}{bound}", claim.claim)
            }
        }
    });
    Some(format!("claim by claim: {}", claims.collect::<Vec<_>>().join("; ")))
}

fn struck(campaign: &CampaignView) -> Option<String> {
    let declared = campaign.faults_declared.len() as u64;
    if campaign.faults_struck.is_empty() && declared == 0 {
        return None;
    }
    let struck: Vec<String> =
        campaign.faults_struck.iter().map(|(kind, n)| format!("{kind} {}", grouped(*n))).collect();
    let never = campaign.silent.iter().filter(|silent| silent.telling).map(|silent| {
        let planned = short_count(silent.planned, "time", "times");
        format!("{} 0 (never, planned {planned})", silent.kind)
    });
    let all: Vec<String> = struck.into_iter().chain(never).collect();
    let reached = declared.saturating_sub(campaign.silent.len() as u64);
    let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    Some(format!("faults that struck, {reached} of {declared} kinds: {all}"))
}

fn reached(campaign: &CampaignView) -> Option<String> {
    let areas: Vec<String> =
        campaign.coverage.iter().filter(|area| area.reached > 0).map(in_words).collect();
    let after = campaign.seeds.saturating_sub(campaign.seeds_since_new);
    (!areas.is_empty()).then(|| {
        let since = short_count(campaign.seeds_since_new, "seed", "seeds");
        format!(
            "reached: {}; nothing new in {since} since the {}",
            areas.join(", "),
            ordinal(after)
        )
    })
}

fn in_words(area: &AreaView) -> String {
    format!("{} {} of {}", area.area, grouped(area.reached), grouped(area.known))
}

fn ordinal(n: u64) -> String {
    let end = match (n % 10, n % 100) {
        (1, r) if r != 11 => "st",
        (2, r) if r != 12 => "nd",
        (3, r) if r != 13 => "rd",
        _ => "th",
    };
    format!("{}{end}", grouped(n))
}

/// What the seeds were too few for.
fn unknown(campaign: &CampaignView) -> Option<String> {
    let open: Vec<&str> = campaign
        .silent
        .iter()
        .filter(|silent| !silent.telling)
        .map(|silent| silent.kind.as_str())
        .collect();
    // A pitfall that was found has proved what it had to.
    let matters = campaign.expect.is_none() && campaign.seeds > 0;
    (matters && !open.is_empty())
        .then(|| format!("did not strike, and not enough seeds to tell why: {}", open.join(", ")))
}

/// Why a campaign proves nothing although its seeds do.
pub(crate) fn vacuous(campaign: &CampaignView) -> String {
    let kinds: Vec<&str> = campaign
        .silent
        .iter()
        .filter(|silent| silent.telling)
        .map(|silent| silent.kind.as_str())
        .collect();
    let seeds = short_count(campaign.seeds, "seed", "seeds");
    let mut causes = Vec::new();
    if !kinds.is_empty() {
        let kinds = kinds.join(", ");
        causes.push(format!("the scenario declares faults that never struck in {seeds}: {kinds}"));
    }
    if !campaign.unseen.is_empty() {
        let unseen = campaign.unseen.join(", ");
        causes.push(format!("the checkers saw nothing in {seeds} of: {unseen}"));
    }
    format!("nothing broke, but {}", causes.join("; "))
}

/// How many seeds ran twice.
pub(crate) fn rechecked(campaign: &CampaignView) -> String {
    match campaign.rechecked {
        n if n == 0 || !campaign.nondeterministic.is_empty() => String::new(),
        n => format!(", {} of them twice with the same digest", grouped(n)),
    }
}

/// Two runs of a seed that are not one: the digests, and where they part.
pub(crate) fn nondeterminism(out: &mut String, found: &NondeterminismView, styled: bool) {
    let NondeterminismView { seed, digests: [first, second], event, sides, .. } = found;
    let _ = writeln!(out, "  nondeterminism: the second run of seed {seed} is not the first one");
    let _ = writeln!(out, "    digests {first} and {second}");
    match event {
        Some(event) => {
            let _ = writeln!(out, "    the first event that differs is number {event}:");
        }
        None => {
            let _ = writeln!(out, "    their histories do not say where they part:");
        }
    }
    let _ = writeln!(out, "      first   {}", sides[0]);
    let _ = writeln!(out, "      second  {}", sides[1]);
    if let Some([first, second]) = &found.histories {
        let _ = writeln!(out, "    histories: {first} and {second}");
    }
    if !found.command.is_empty() {
        let _ = writeln!(out, "    {}", paint(styled, STRONG, &found.command));
    }
}

/// What all campaigns of a command reached together, with what none of them did.
pub(crate) fn together(summary: &SummaryView, styled: bool) -> String {
    let mut out = String::new();
    if summary.campaigns.len() < 2 {
        return out;
    }
    let areas: Vec<AreaView> = areas(summary);
    if areas.is_empty() {
        return out;
    }
    let counts: Vec<String> = areas.iter().map(in_words).collect();
    let line = format!("reached together: {}", counts.join(", "));
    let _ = writeln!(out, "{}", paint(styled, FAINT, line));
    // A long list helps nobody here: JSON has it.
    let short = areas.iter().filter(|area| (1..=MISSING_SHOWN).contains(&area.missing.len()));
    for area in short {
        let line = format!("  not reached of {}: {}", area.area, area.missing.join(", "));
        let _ = writeln!(out, "{}", paint(styled, FAINT, line));
    }
    out
}

/// Points that are listed of one area; JSON has them all.
pub(crate) const MISSING_SHOWN: usize = 8;

/// The union of what campaigns reached: a point is missing if all of them miss it.
pub(crate) fn areas(summary: &SummaryView) -> Vec<AreaView> {
    let mut order = Vec::new();
    let mut all: BTreeMap<&str, AreaView> = BTreeMap::new();
    for area in summary.campaigns.iter().flat_map(|campaign| &campaign.coverage) {
        match all.get_mut(area.area.as_str()) {
            Some(known) => known.missing.retain(|name| area.missing.contains(name)),
            None => {
                order.push(area.area.as_str());
                all.insert(&area.area, area.clone());
            }
        }
    }
    let count = |mut area: AreaView| {
        area.reached = area.known - area.missing.len() as u64;
        area
    };
    order.iter().filter_map(|name| all.remove(name)).map(count).collect()
}
