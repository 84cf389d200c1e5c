//! The page of one run: verdict, guarantees, story, space-time diagram, the state at any moment.

use askama::Template;
use oncesim_history::History;
use oncesim_semantics::{Anomaly, Guarantee, Level, Severity};

use super::data::{Data, data};
use super::page::{Markup, Page, Script, class_of_holds, class_of_judgement, word_of_judgement};
use super::rows::{Kind, Row};
use super::story::story;
use crate::model::{ExplanationView, RunView};
use crate::number::{grouped, seconds, short_count, virtual_seconds};
use crate::row::Recording;
use crate::run::{by_weight, checked, failure_line, promise, severity};

const STYLE: &str = include_str!("../../templates/run.css");
const PROGRAM: &str = concat!(
    include_str!("../../templates/run-state.js"),
    include_str!("../../templates/run-diagram.js"),
);

/// Anomalies that say which rows matter.
const TELLING: usize = 2;
/// Rows of the excerpt for paper and for browsers without JavaScript.
const EXCERPT: usize = 160;

#[derive(Template)]
#[template(path = "run.html")]
struct Body<'a> {
    run: &'a RunView,
    class: &'static str,
    word: &'static str,
    sentence: String,
    promise: String,
    facts: Vec<(&'static str, String)>,
    guarantees: Vec<(&'static str, Vec<Cell>)>,
    faults: Vec<FaultRow>,
    anomalies: Vec<AnomalyRow>,
    telling: usize,
    story: Option<Markup>,
    excerpt: Vec<ExcerptRow>,
    left_out: usize,
    rows: String,
}

struct Cell {
    class: &'static str,
    claimed: bool,
}

struct FaultRow {
    time: String,
    description: String,
    kind: String,
    origin: &'static str,
}

struct AnomalyRow {
    id: &'static str,
    level: &'static str,
    class: &'static str,
    count: String,
    severity: &'static str,
    sentence: String,
    meaning: &'static str,
    fixes: &'static str,
}

struct ExcerptRow {
    time: String,
    who: String,
    text: String,
    witness: bool,
    gap: String,
}

/// The page of one run: a file that needs nothing else. It shows what the run recorded of itself;
/// that may be nothing.
#[must_use]
pub fn run_html(run: &RunView, explanation: Option<&ExplanationView>) -> String {
    let Recording { history, trace } = &run.recording;
    let weighed = by_weight(run);
    let chain: Vec<u32> =
        explanation.map_or_else(Vec::new, |it| it.chain.iter().map(|link| link.step).collect());
    let found = data(history, trace, &weighed, TELLING, &chain);
    let (excerpt, left_out) = excerpt(history, &found);
    let body = Body {
        run,
        class: class_of_judgement(run.judgement),
        word: word_of_judgement(run.judgement),
        sentence: sentence(run),
        promise: promise(run.claim.as_ref(), run.expect.as_ref()),
        facts: facts(run),
        guarantees: guarantees(run),
        faults: faults(run),
        anomalies: weighed.iter().map(|it| anomaly(it)).collect(),
        telling: TELLING,
        story: explanation.map(story),
        excerpt,
        left_out,
        rows: grouped(found.rows.len() as u64),
    };
    let page = Page {
        title: format!("{} - seed {}", run.title, run.seed),
        body: Markup::of(&body),
        style: STYLE,
        scripts: vec![Script::data("run-data", &found.json), Script::program(PROGRAM)],
        footer: format!(
            "oncesim {}. All times are virtual: simulated time since the start of the run.",
            env!("CARGO_PKG_VERSION")
        ),
    };
    page.render()
}

/// The verdict in a sentence, beside the word that says it.
fn sentence(run: &RunView) -> String {
    match failure_line(run).as_str() {
        "as claimed" => "what this scenario claims was put to the test, and held".to_owned(),
        line => line.strip_prefix("violated: ").unwrap_or(line).to_owned(),
    }
}

fn facts(run: &RunView) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("scenario", run.scenario.clone()),
        ("seed", run.seed.to_string()),
        ("digest", run.digest.clone()),
        ("virtual time", seconds(virtual_seconds(run.virtual_time))),
        ("events", grouped(run.events)),
        ("messages", grouped(run.messages)),
    ];
    if let Some(saw) = checked(&run.verdict) {
        facts.push(("checked", saw));
    }
    if run.verdict.excused > 0 {
        facts.push(("not owed", short_count(run.verdict.excused, "record", "records")));
    }
    if !run.world.is_empty() {
        facts.push(("world", run.world.join("; ")));
    }
    facts
}

fn guarantees(run: &RunView) -> Vec<(&'static str, Vec<Cell>)> {
    let mut table: Vec<(&'static str, Vec<Cell>)> = Level::ALL
        .into_iter()
        .map(|level| {
            let claimed = run.claim.and_then(|claim| claim.at(level));
            let cells = Guarantee::ALL.into_iter().map(|guarantee| Cell {
                class: class_of_holds(run.verdict.guarantees.get(level, guarantee)),
                claimed: claimed == Some(guarantee),
            });
            (level.name(), cells.collect())
        })
        .collect();
    let ordering = Cell {
        class: class_of_holds(run.verdict.guarantees.ordering),
        claimed: run.claim.is_some_and(|claim| claim.ordering.is_some()),
    };
    table.push(("ordering", vec![ordering]));
    table
}

fn faults(run: &RunView) -> Vec<FaultRow> {
    let mut faults: Vec<_> = run.faults.iter().collect();
    faults.sort_by_key(|fault| (fault.struck.is_none(), fault.struck));
    let row = |fault: &crate::model::FaultView| FaultRow {
        time: fault.struck.map_or("never".to_owned(), |at| at.to_string()),
        description: fault.description.clone(),
        kind: fault.kind.clone(),
        origin: if fault.scripted { "scripted" } else { "drawn" },
    };
    faults.into_iter().map(row).collect()
}

fn anomaly(anomaly: &Anomaly) -> AnomalyRow {
    AnomalyRow {
        id: anomaly.id(),
        level: anomaly.class.level.name(),
        class: match anomaly.severity {
            Severity::Always | Severity::UnderThisConfiguration => "bad",
            Severity::Legal => "doubt",
            Severity::Informative => "faint",
        },
        count: short_count(anomaly.count, "time", "times"),
        severity: severity(anomaly.severity),
        sentence: anomaly.witness.sentence.clone(),
        meaning: anomaly.class.meaning,
        fixes: anomaly.class.fixes,
    }
}

/// What matters as a table: for paper, and for browsers that run no programs.
fn excerpt(history: &History, data: &Data) -> (Vec<ExcerptRow>, usize) {
    let witness = |row: &Row| row.event.is_some_and(|event| data.witness.contains(&event));
    let matters: Vec<(usize, &Row)> =
        data.rows.iter().enumerate().filter(|(_, row)| row.rank <= 1).collect();
    let mut wanted: Vec<(usize, &Row)> = Vec::new();
    // Those that are always shown come first when there is no room for all.
    for rank in 0..=1 {
        let room = EXCERPT.saturating_sub(wanted.len());
        wanted.extend(matters.iter().filter(|(_, row)| row.rank == rank).take(room));
    }
    wanted.sort_by_key(|(position, _)| *position);
    let mut before: Option<&Row> = None;
    let mut out = Vec::with_capacity(wanted.len());
    for (_, row) in &wanted {
        let quiet = before.map_or(0, |it| row.time.since(it.time).0);
        before = Some(row);
        let actor = history.actor_name(row.actor);
        out.push(ExcerptRow {
            time: row.time.to_string(),
            who: match row.peer {
                Some(peer) if row.kind != Kind::ConnectionGone => {
                    format!("{actor} \u{2192} {}", history.actor_name(peer))
                }
                _ => actor.to_owned(),
            },
            text: row.text.clone(),
            witness: witness(row),
            gap: if quiet >= 1_000_000_000 { seconds(quiet as f64 / 1e9) } else { String::new() },
        });
    }
    (out, matters.len() - wanted.len())
}
