//! The page of a campaign: scenarios with their claims, what was found, what was reached and what
//! was not, and how the search went.

use std::collections::BTreeMap;

use askama::Template;
use oncesim_semantics::find;

use super::page::{Markup, Page, class_of_judgement, word_of_judgement};
use super::plot::{Labels, dots, staircase};
use crate::campaign::{finding, summary_text};
use crate::model::{CampaignView, FailureView, Judgement, RegressionView, SummaryView};
use crate::number::{grouped, percent, seconds, short_count, virtual_seconds};
use crate::shrink::shrink_line;

const STYLE: &str = include_str!("../../templates/campaign.css");

/// Seeds that are listed for one failure.
const SEEDS: usize = 8;

#[derive(Template)]
#[template(path = "campaign.html")]
struct Body<'a> {
    class: &'static str,
    word: &'static str,
    sentence: String,
    skipped: &'a [String],
    missing: &'a [String],
    scenarios: Vec<Scenario<'a>>,
    regressions: Vec<Regression<'a>>,
    finds: Vec<Find>,
    finds_plot: Option<Markup>,
}

struct Scenario<'a> {
    view: &'a CampaignView,
    class: &'static str,
    word: &'static str,
    promise: String,
    finding: String,
    claims: Vec<[String; 4]>,
    failures: Vec<Failure<'a>>,
    faults: Vec<(String, String, String)>,
    areas: Vec<Area<'a>>,
    growth: Option<Markup>,
    dry: String,
    seeds: String,
    virtual_time: String,
    speed: String,
}

struct Failure<'a> {
    view: &'a FailureView,
    class: &'static str,
    word: &'static str,
    how_often: String,
    found: String,
    meaning: &'static str,
    shrunk: Option<String>,
    page: Option<&'a String>,
}

struct Area<'a> {
    name: &'a str,
    reached: String,
    share: u64,
    missing: &'a [String],
}

struct Regression<'a> {
    view: &'a RegressionView,
    class: &'static str,
    page: Option<&'a String>,
}

struct Find {
    scenario: String,
    id: String,
    seeds: String,
    wall: String,
}

/// The page of all campaigns of one command. `pages` are the pages of counterexamples, by the
/// counterexample's file, as links from where this page will be.
#[must_use]
pub fn campaign_html(summary: &SummaryView, pages: &BTreeMap<String, String>) -> String {
    let worst = summary.worst().unwrap_or(Judgement::Vacuous);
    // What went wrong comes first.
    let mut campaigns: Vec<&CampaignView> = summary.campaigns.iter().collect();
    campaigns.sort_by_key(|it| std::cmp::Reverse(it.judgement));
    let body = Body {
        class: class_of_judgement(worst),
        word: word_of_judgement(worst),
        sentence: summary_text(summary, false).lines().last().unwrap_or_default().to_owned(),
        skipped: &summary.skipped,
        missing: &summary.missing,
        scenarios: campaigns.into_iter().map(|it| scenario(it, pages)).collect(),
        regressions: summary
            .regressions
            .iter()
            .map(|view| Regression {
                view,
                class: class_of_judgement(view.judgement),
                page: pages.get(&view.file),
            })
            .collect(),
        finds: finds(summary),
        finds_plot: finds_plot(summary),
    };
    let page = Page {
        title: "oncesim: a campaign".to_owned(),
        body: Markup::of(&body),
        style: STYLE,
        scripts: Vec::new(),
        footer: format!(
            "oncesim {}. Bounds are for 95 % confidence over the seeds; virtual time is simulated, \
             wall time is that of this machine.",
            env!("CARGO_PKG_VERSION")
        ),
    };
    page.render()
}

fn scenario<'a>(view: &'a CampaignView, pages: &'a BTreeMap<String, String>) -> Scenario<'a> {
    let expects = view.expect.as_ref();
    let promise = match expects {
        Some((anomaly, within)) => {
            format!("expects {anomaly} within {}", short_count(*within, "seed", "seeds"))
        }
        None => {
            let claims: Vec<&str> = view.claims.iter().map(|it| it.claim.as_str()).collect();
            if claims.is_empty() { String::new() } else { format!("claims {}", claims.join(", ")) }
        }
    };
    let labels =
        Labels { title: "Points of coverage reached, over seeds", x: "seeds", y: "points" };
    let grown = view.growth.len() > 1;
    Scenario {
        view,
        class: class_of_judgement(view.judgement),
        word: match (view.judgement, expects) {
            (Judgement::AsClaimed, Some(_)) => "\u{2713} found",
            (Judgement::Vacuous, Some(_)) => "? not found",
            (judgement, _) => word_of_judgement(judgement),
        },
        promise,
        finding: finding(view),
        claims: view
            .claims
            .iter()
            .map(|it| {
                let bound = percent(it.bound_95);
                [it.claim.clone(), grouped(it.exercised), grouped(it.broken), bound]
            })
            .collect(),
        failures: view.failures.iter().map(|it| failure(it, view.seeds, pages)).collect(),
        faults: faults(view),
        areas: view
            .coverage
            .iter()
            .map(|it| Area {
                name: &it.area,
                reached: format!("{} of {}", grouped(it.reached), grouped(it.known)),
                share: it.reached * 100 / it.known.max(1),
                missing: &it.missing,
            })
            .collect(),
        growth: grown.then(|| staircase(&labels, &view.growth, view.seeds)),
        dry: short_count(view.seeds_since_new, "seed", "seeds"),
        seeds: grouped(view.seeds),
        virtual_time: seconds(virtual_seconds(view.virtual_time)),
        speed: format!("{:.0}", view.runs_per_second()),
    }
}

fn failure<'a>(
    view: &'a FailureView,
    seeds: u64,
    pages: &'a BTreeMap<String, String>,
) -> Failure<'a> {
    let shown: Vec<String> = view.seeds.iter().take(SEEDS).map(u64::to_string).collect();
    let more = if view.count > shown.len() as u64 { ", \u{2026}" } else { "" };
    let first = view.id.split('+').next().unwrap_or_default();
    Failure {
        view,
        class: class_of_judgement(view.judgement),
        word: match view.judgement {
            Judgement::AsClaimed => "\u{2713} as expected",
            judgement => word_of_judgement(judgement),
        },
        how_often: format!(
            "{} of {}: {}{more}",
            grouped(view.count),
            short_count(seeds, "seed", "seeds"),
            shown.join(", ")
        ),
        found: found(view),
        meaning: find(first).map_or("", |class| class.meaning),
        shrunk: view.shrunk.as_ref().map(shrink_line),
        page: view.counterexample.as_ref().and_then(|file| pages.get(file)),
    }
}

fn found(view: &FailureView) -> String {
    let (seeds_run, wall) = view.found_after;
    match seeds_run {
        0 => String::new(),
        n => format!(
            "found after {}, {} wall",
            short_count(n, "seed", "seeds"),
            seconds(wall.as_secs_f64())
        ),
    }
}

/// Every kind that struck or should have: its name, how often, and what to say about it.
fn faults(view: &CampaignView) -> Vec<(String, String, String)> {
    let mut rows: Vec<(String, String, String)> = view
        .faults_struck
        .iter()
        .map(|(kind, n)| (kind.clone(), grouped(*n), String::new()))
        .collect();
    for silent in &view.silent {
        rows.retain(|(kind, ..)| *kind != silent.kind);
        let note = match (silent.planned, silent.telling) {
            (0, _) => "declared, never planned",
            (_, true) => "declared and planned, never struck: it cannot",
            (_, false) => "declared, did not strike yet",
        };
        rows.push((silent.kind.clone(), "0".to_owned(), note.to_owned()));
    }
    rows
}

fn finds(summary: &SummaryView) -> Vec<Find> {
    let all = summary.campaigns.iter().flat_map(|it| it.failures.iter().map(move |f| (it, f)));
    all.filter(|(_, it)| it.found_after.0 > 0)
        .map(|(campaign, it)| Find {
            scenario: campaign.scenario.clone(),
            id: it.id.clone(),
            seeds: grouped(it.found_after.0),
            wall: seconds(it.found_after.1.as_secs_f64()),
        })
        .collect()
}

/// How many finds had been made after how many seeds of their scenario.
fn finds_plot(summary: &SummaryView) -> Option<Markup> {
    let all = summary.campaigns.iter().flat_map(|it| it.failures.iter().map(move |f| (it, f)));
    let mut found: Vec<(u64, String)> = all
        .filter(|(_, it)| it.found_after.0 > 0)
        .map(|(campaign, it)| (it.found_after.0, format!("{}: {}", campaign.scenario, it.id)))
        .collect();
    if found.len() < 2 {
        return None;
    }
    found.sort();
    let points: Vec<(u64, u64, String)> =
        (1..).zip(found).map(|(n, (seeds, what))| (seeds, n, what)).collect();
    let labels = Labels {
        title: "Distinct finds, over the seeds of their scenario that it took",
        x: "seeds until it was found",
        y: "finds",
    };
    Some(dots(&labels, &points))
}
