//! What is wrong with a campaign, told in three lines: every format for machines tells it so.

use oncesim_semantics::{AnomalyClass, find};

use crate::campaign::finding;
use crate::model::{CampaignView, FailureView, Judgement, SummaryView};
use crate::number::{grouped, short_count};

/// One distinct reason why a campaign is not as claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The fingerprint of the failure: the ids of its anomalies, or the name of its judgement.
    pub(crate) id: String,
    pub(crate) judgement: Judgement,
    /// What broke, what happened first, how often.
    pub(crate) story: [String; 3],
    /// The first seeds that show it, and how many do.
    pub(crate) seeds: Vec<u64>,
    pub(crate) count: u64,
    /// The command that shows it again.
    pub(crate) replay: Option<String>,
}

/// Everything that is wrong with a campaign; empty if it is as claimed.
pub(crate) fn problems(campaign: &CampaignView) -> Vec<Problem> {
    let failures = campaign.failures.iter();
    let mut problems: Vec<Problem> = failures
        .filter(|failure| failure.judgement != Judgement::AsClaimed)
        .map(|failure| of_failure(campaign, failure))
        .collect();
    if !campaign.nondeterministic.is_empty() {
        problems.push(nondeterminism(campaign));
    }
    if problems.is_empty() && campaign.judgement != Judgement::AsClaimed {
        problems.push(Problem {
            id: campaign.judgement.name().to_owned(),
            judgement: campaign.judgement,
            story: [
                meaning(campaign.judgement).to_owned(),
                if campaign.expect.is_some() {
                    finding(campaign)
                } else {
                    "no seed exercised the claim, or a declared fault never struck".to_owned()
                },
                format!("seeds {}..={}", campaign.range.0, campaign.range.1),
            ],
            seeds: Vec::new(),
            count: 0,
            replay: None,
        });
    }
    problems
}

fn of_failure(campaign: &CampaignView, failure: &FailureView) -> Problem {
    let what = class(&failure.id).map_or(meaning(failure.judgement), |class| class.meaning);
    Problem {
        id: one_line(&failure.id),
        judgement: failure.judgement,
        story: [
            one_line(&format!("{}: {what}", failure.id)),
            one_line(&failure.sentence),
            how_often(&failure.seeds, failure.count, campaign.seeds),
        ],
        seeds: failure.seeds.clone(),
        count: failure.count,
        replay: failure.counterexample.as_ref().map(|file| format!("oncesim replay {file}")),
    }
}

fn nondeterminism(campaign: &CampaignView) -> Problem {
    let seeds = &campaign.nondeterministic;
    Problem {
        id: Judgement::Nondeterministic.name().to_owned(),
        judgement: Judgement::Nondeterministic,
        story: [
            meaning(Judgement::Nondeterministic).to_owned(),
            format!("the second run of seed {} had another digest", seeds[0]),
            how_often(seeds, seeds.len() as u64, campaign.seeds),
        ],
        seeds: seeds.clone(),
        count: seeds.len() as u64,
        replay: Some(format!("oncesim run {} --seed {}", campaign.scenario, seeds[0])),
    }
}

/// Seeds that are listed for one failure.
const SEEDS_SHOWN: usize = 8;

/// `31 of 10,000 seeds: 0, 17, ...`.
fn how_often(shows: &[u64], count: u64, seeds: u64) -> String {
    let shown: Vec<String> = shows.iter().take(SEEDS_SHOWN).map(u64::to_string).collect();
    let more = if count > shown.len() as u64 { ", ..." } else { "" };
    let all = short_count(seeds, "seed", "seeds");
    format!("{} of {all}: {}{more}", grouped(count), shown.join(", "))
}

/// `text` without line breaks and control characters, which a panic's message may have.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// The class of the first anomaly that a fingerprint names.
pub(crate) fn class(fingerprint: &str) -> Option<&'static AnomalyClass> {
    find(fingerprint.split('+').next().unwrap_or_default())
}

/// What a judgement means, for failures that are no anomaly.
pub(crate) const fn meaning(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::AsClaimed => "Everything is as claimed.",
        Judgement::Vacuous => "Nothing was proved: a green result would mean nothing.",
        Judgement::NotLive => "The system never recovered after all faults had healed.",
        Judgement::Violated => "A claimed guarantee was violated.",
        Judgement::Nondeterministic => "The same input gave another digest.",
        Judgement::Bug => "A bug of oncesim: please report it with its seed.",
    }
}

/// Campaigns that are not as claimed, each with its problems.
pub(crate) fn failing(
    summary: &SummaryView,
) -> impl Iterator<Item = (&CampaignView, Vec<Problem>)> {
    let campaigns = summary.campaigns.iter();
    campaigns.map(|campaign| (campaign, problems(campaign))).filter(|(_, found)| !found.is_empty())
}
