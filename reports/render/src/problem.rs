//! What is wrong with a campaign or a regression, told in three lines: every format for machines
//! tells it so.

use oncesim_semantics::{AnomalyClass, find};

use crate::campaign::finding;
use crate::coverage;
use crate::model::{
    CampaignView, FailureView, Judgement, RegressionState, RegressionView, SummaryView,
};
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
                } else if !campaign.silent.is_empty() || !campaign.unseen.is_empty() {
                    coverage::vacuous(campaign)
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
        replay: failure
            .counterexample
            .as_ref()
            .map(|file| format!("oncesim replay {}", quoted(file))),
    }
}

fn nondeterminism(campaign: &CampaignView) -> Problem {
    let seeds = &campaign.nondeterministic;
    let found = campaign.nondeterminism.first();
    let parts = found.and_then(|found| found.event.map(|event| (event, &found.sides)));
    let parts = parts.map_or_else(String::new, |(event, [first, second])| {
        format!(": event {event} was first `{first}`, then `{second}`")
    });
    let command = found.map(|found| found.command.clone()).filter(|command| !command.is_empty());
    Problem {
        id: Judgement::Nondeterministic.name().to_owned(),
        judgement: Judgement::Nondeterministic,
        story: [
            meaning(Judgement::Nondeterministic).to_owned(),
            one_line(&format!("the second run of seed {} had another digest{parts}", seeds[0])),
            how_often(seeds, seeds.len() as u64, campaign.seeds),
        ],
        seeds: seeds.clone(),
        count: seeds.len() as u64,
        replay: command
            .or_else(|| Some(format!("oncesim run {} --seed {}", campaign.scenario, seeds[0]))),
    }
}

/// What to do with a failure whose run is in a file, as a shell takes it: see it again and, where an
/// anomaly says what happened, why it did.
pub(crate) fn commands(id: &str, file: &str) -> Vec<String> {
    let why = class(id).map(|_| format!("oncesim explain {file}"));
    std::iter::once(format!("oncesim replay {file}")).chain(why).collect()
}

/// What is wrong with a regression: it fails again, or in another way, or a pitfall that it was kept
/// for is no longer there. One that a claim has overcome is good news.
pub(crate) fn of_regression(regression: &RegressionView) -> Option<Problem> {
    if regression.judgement == Judgement::AsClaimed {
        return None;
    }
    let id = regression.now.as_deref().unwrap_or(regression.judgement.name());
    let what = class(id).map_or(meaning(regression.judgement), |class| class.meaning);
    let file = &regression.file;
    let last = match regression.state {
        RegressionState::Fails => format!("a regression, and it fails again: {file}"),
        RegressionState::FailsOtherwise => {
            format!(
                "a regression that failed with {}, and fails otherwise now: {file}",
                regression.id
            )
        }
        RegressionState::NoLongerFails => {
            format!("kept because it shows {}, which it no longer does: {file}", regression.id)
        }
    };
    let happened = match regression.sentence.as_str() {
        "" => "nothing broke",
        sentence => sentence,
    };
    Some(Problem {
        id: one_line(id),
        judgement: regression.judgement,
        story: [one_line(&format!("{id}: {what}")), one_line(happened), one_line(&last)],
        seeds: Vec::new(),
        count: 0,
        replay: Some(format!("oncesim replay {}", quoted(file))),
    })
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

/// A file that is not as it should be, with what is wrong.
#[derive(Debug)]
pub(crate) struct Failing<'a> {
    pub(crate) file: &'a str,
    pub(crate) title: String,
    /// The campaign over it; none of a regression.
    pub(crate) campaign: Option<&'a CampaignView>,
    pub(crate) problems: Vec<Problem>,
}

/// Everything that is not as it should be: regressions, which ran first, then campaigns.
pub(crate) fn failing(summary: &SummaryView) -> impl Iterator<Item = Failing<'_>> {
    let regressions = summary.regressions.iter().map(|regression| Failing {
        file: &regression.file,
        title: format!("regression {}", stem(&regression.file)),
        campaign: None,
        problems: of_regression(regression).into_iter().collect(),
    });
    let campaigns = summary.campaigns.iter().map(|campaign| Failing {
        file: &campaign.scenario,
        title: campaign.title.clone(),
        campaign: Some(campaign),
        problems: problems(campaign),
    });
    regressions.chain(campaigns).filter(|failing| !failing.problems.is_empty())
}

/// A file's name without its folder and its ending.
pub(crate) fn stem(path: &str) -> &str {
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    file.strip_suffix(".toml").unwrap_or(file)
}

/// A word as a shell takes it.
#[must_use]
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
