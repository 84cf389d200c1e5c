//! An exploration: how many placements of how many, and what that proves.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use crate::json::{SCHEMA, document, millis};
use crate::model::{DepthView, ExploreView, FindView, Judgement};
use crate::number::{grouped, seconds, short_count};
use crate::problem::commands;
use crate::shrink::shrink_line;
use crate::style::{FAINT, STRONG, of_judgement, paint};

/// The report of `oncesim explore`.
#[must_use]
pub fn explore_text(explore: &ExploreView, styled: bool) -> String {
    let mut out = String::new();
    let verdict = paint(styled, of_judgement(explore.judgement), word(explore));
    let _ = writeln!(out, "{verdict}  {}", paint(styled, STRONG, &explore.scenario));
    let _ = writeln!(out, "  {}", explore.title);
    for depth in &explore.depths {
        let _ = writeln!(out, "  {}", depth_line(depth));
    }
    let _ = writeln!(out, "  {}", paint(styled, STRONG, conclusion(explore)));
    for find in &explore.finds {
        one_find(&mut out, find, styled);
    }
    let vacuous: u64 = explore.depths.iter().map(|depth| depth.vacuous).sum();
    if vacuous > 0 && explore.expect.is_none() {
        let runs = short_count(vacuous, "run", "runs");
        let _ = writeln!(out, "  in {runs} so little was left that the claim was not exercised");
    }
    for line in world(explore) {
        let _ = writeln!(out, "  {}", paint(styled, FAINT, line));
    }
    out
}

const fn word(explore: &ExploreView) -> &'static str {
    match (explore.judgement, explore.expect.is_some()) {
        (Judgement::AsClaimed, false) => "as claimed",
        (Judgement::AsClaimed, true) => "found",
        (Judgement::Vacuous, _) if !explore.complete => "unfinished",
        (Judgement::Vacuous, false) => "vacuous",
        (Judgement::Vacuous, true) => "not found",
        (Judgement::NotLive, _) => "not live",
        (Judgement::Violated, _) => "violated",
        (Judgement::Nondeterministic, _) => "nondeterministic",
        (Judgement::Bug, _) => "bug",
    }
}

/// `1 fault: 733 of 733 placements (496 runs, 237 merged)`.
fn depth_line(depth: &DepthView) -> String {
    let merged = depth.covered - depth.done;
    format!(
        "{}: {} of {} ({}, {} merged)",
        short_count(depth.faults, "fault", "faults"),
        grouped(depth.covered),
        short_count(depth.placements, "placement", "placements"),
        short_count(depth.done, "run", "runs"),
        grouped(merged),
    )
}

/// What all of it says.
fn conclusion(explore: &ExploreView) -> String {
    let (what, they) = match &explore.expect {
        Some(anomaly) => (format!("shows {anomaly}"), format!("show {anomaly}")),
        None => ("breaks the claim".to_owned(), "break the claim".to_owned()),
    };
    if explore.depths.is_empty() {
        return format!("This world {what} without any placed fault.");
    }
    let covered: u64 = explore.depths.iter().map(|depth| depth.covered).sum();
    let done: u64 = explore.depths.iter().map(|depth| depth.done).sum();
    let found: u64 = explore.depths.iter().map(|depth| depth.found).sum();
    let last = explore.depths.last().expect("there is one");
    if found > 0 {
        let faults = short_count(last.faults, "fault is enough", "faults are enough");
        let runs = short_count(last.done, "run", "runs");
        let all = if explore.complete { "" } else { " so far" };
        let deeper = if explore.complete && last.faults < explore.faults {
            format!("; more than {} were not tried", last.faults)
        } else {
            String::new()
        };
        let does = if last.found == 1 { &what } else { &they };
        return format!("{faults}: {} of {runs}{all} {does}{deeper}.", grouped(last.found));
    }
    if !explore.complete {
        let why = explore.ended.as_deref().unwrap_or("it was ended early");
        return format!("Nothing is proved: {why}, and no run so far {what}.");
    }
    if covered == 0 {
        return "Nothing is proved: no fault of these kinds has a place in this world.".to_owned();
    }
    let vacuous: u64 = explore.depths.iter().map(|depth| depth.vacuous).sum();
    if vacuous == done && explore.expect.is_none() {
        return "Nothing is proved: no run exercised the claim.".to_owned();
    }
    let merged = match covered - done {
        0 => String::new(),
        n => format!(" ({} merged, each the same run as one of them)", grouped(n)),
    };
    format!(
        "No run of this world with up to {} of these kinds {what}: all {} were run{merged}.",
        short_count(last.faults, "fault", "faults"),
        short_count(covered, "placement", "placements"),
    )
}

fn one_find(out: &mut String, find: &FindView, styled: bool) {
    let id = paint(styled, of_judgement(find.judgement), &find.id);
    let _ = writeln!(out, "  {id}  {}", short_count(find.runs, "run", "runs"));
    let _ = writeln!(out, "    {}", find.sentence);
    for fault in &find.faults {
        let _ = writeln!(out, "    {fault}");
    }
    if let Some(shrunk) = &find.shrunk {
        let _ = writeln!(out, "    {}", shrink_line(shrunk));
    }
    if let Some(file) = &find.counterexample {
        for command in commands(&find.id, file) {
            let _ = writeln!(out, "    {}", paint(styled, STRONG, command));
        }
    }
}

/// The bounds of the world, and what it took.
fn world(explore: &ExploreView) -> Vec<String> {
    let mut lines =
        vec![format!("this world: seed {}; kinds: {}", explore.seed, explore.kinds.join(", "))];
    if explore.given > 0 {
        let given = short_count(explore.given, "scripted fault strikes", "scripted faults strike");
        lines.push(format!("{given} in every run"));
    }
    if explore.ignores_swarm {
        lines.push("[faults] swarm draws nothing here; it says only which kinds".to_owned());
    }
    let runs: u64 = explore.depths.iter().map(|depth| depth.done).sum();
    let wall = explore.wall.as_secs_f64();
    let rate = if wall > 0.0 { runs as f64 / wall } else { 0.0 };
    lines.push(format!(
        "{} in {} wall, {rate:.0} runs/s (wall)",
        short_count(runs, "run", "runs"),
        seconds(wall)
    ));
    lines
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct ExploreDoc<'a> {
    schema: u32,
    scenario: &'a str,
    seed: u64,
    faults: u64,
    kinds: &'a [String],
    outcome: &'static str,
    complete: bool,
    depths: Vec<DepthDoc>,
    anomalies: Vec<FindDoc<'a>>,
    conclusion: String,
    wall_ms: u64,
}

#[derive(Serialize, JsonSchema)]
struct DepthDoc {
    faults: u64,
    placements: u64,
    covered: u64,
    runs: u64,
    found: u64,
    vacuous: u64,
}

#[derive(Serialize, JsonSchema)]
struct FindDoc<'a> {
    id: &'a str,
    outcome: &'static str,
    runs: u64,
    sentence: &'a str,
    faults: &'a [String],
    counterexample: Option<&'a str>,
}

/// The same as one JSON document.
#[must_use]
pub fn explore_json(explore: &ExploreView) -> String {
    document(&ExploreDoc {
        schema: SCHEMA,
        scenario: &explore.scenario,
        seed: explore.seed,
        faults: explore.faults,
        kinds: &explore.kinds,
        outcome: explore.judgement.name(),
        complete: explore.complete,
        depths: explore
            .depths
            .iter()
            .map(|depth| DepthDoc {
                faults: depth.faults,
                placements: depth.placements,
                covered: depth.covered,
                runs: depth.done,
                found: depth.found,
                vacuous: depth.vacuous,
            })
            .collect(),
        anomalies: explore
            .finds
            .iter()
            .map(|find| FindDoc {
                id: &find.id,
                outcome: find.judgement.name(),
                runs: find.runs,
                sentence: &find.sentence,
                faults: &find.faults,
                counterexample: find.counterexample.as_deref(),
            })
            .collect(),
        conclusion: conclusion(explore),
        wall_ms: millis(explore.wall),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn view() -> ExploreView {
        let depth = |faults, placements, done| DepthView {
            faults,
            placements,
            covered: placements,
            done,
            found: 0,
            vacuous: 0,
        };
        ExploreView {
            scenario: "small.toml".to_owned(),
            title: "Two records arrive once".to_owned(),
            expect: None,
            seed: 7,
            faults: 2,
            kinds: vec!["crash".to_owned(), "ack-loss".to_owned()],
            given: 0,
            ignores_swarm: false,
            depths: vec![depth(1, 733, 496), depth(2, 200_000, 120_000)],
            finds: Vec::new(),
            complete: true,
            ended: None,
            judgement: Judgement::AsClaimed,
            wall: Duration::from_secs(40),
        }
    }

    #[test]
    fn an_exploration_says_what_it_proves_and_no_more() {
        let all = view();
        let mut broken = view();
        broken.depths.truncate(1);
        broken.depths[0].found = 12;
        broken.judgement = Judgement::Violated;
        broken.given = 1;
        broken.finds = vec![FindView {
            id: "lost-write".to_owned(),
            judgement: Judgement::Violated,
            runs: 12,
            sentence: "shop #1 was acknowledged and is not in the log".to_owned(),
            faults: vec!["crash b1 for 100ms after the 2nd Produce request arrives".to_owned()],
            counterexample: Some("reports/out/small-lost-write-7.toml".to_owned()),
            shrunk: None,
        }];
        let mut early = view();
        early.depths[1].covered = 1_000;
        early.depths[1].done = 900;
        early.complete = false;
        early.ended = Some("2.00 s of wall time were used up".to_owned());
        early.judgement = Judgement::Vacuous;
        early.ignores_swarm = true;
        let mut sought = view();
        sought.expect = Some("dup-retry".to_owned());
        sought.judgement = Judgement::Vacuous;
        let mut without = view();
        without.depths.clear();
        without.judgement = Judgement::Violated;
        let mut nowhere = view();
        nowhere.depths.truncate(1);
        nowhere.depths[0] =
            DepthView { faults: 1, placements: 0, covered: 0, done: 0, found: 0, vacuous: 0 };
        nowhere.judgement = Judgement::Vacuous;
        let mut text = String::new();
        for (title, view) in [
            ("all", &all),
            ("a violation", &broken),
            ("ended early", &early),
            ("not found", &sought),
            ("without a fault", &without),
            ("no place", &nowhere),
        ] {
            text.push_str(&format!("-- {title}\n{}\n", explore_text(view, false)));
        }
        insta::assert_snapshot!("explore_text", text);
        insta::assert_snapshot!("explore_json", explore_json(&broken));
    }
}
