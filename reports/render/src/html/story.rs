//! What `oncesim explain` found out, as a part of a run's page.

use askama::Template;

use super::page::Markup;
use crate::explain::{need, share_of, speaker, turns};
use crate::model::{ChangeView, CurveView, ExplanationView, LinkView, NecessityView};
use crate::number::{grouped, short_count};

#[derive(Template)]
#[template(path = "story.html")]
struct Story<'a> {
    view: &'a ExplanationView,
    runs: String,
    chain: Vec<Link<'a>>,
    faults: Vec<(&'static str, &'static str, &'a NecessityView)>,
    paragraphs: Vec<String>,
    unavoidable: Option<[String; 2]>,
    curve: Vec<(String, &'a str, &'a CurveView)>,
    changes: Vec<(&'static str, String, &'a ChangeView)>,
}

struct Link<'a> {
    time: String,
    who: String,
    sign: &'static str,
    class: &'static str,
    left_out: String,
    too_late: bool,
    view: &'a LinkView,
}

/// The story, the chain of causes, the faults, the moment, and what helps.
pub(super) fn story(view: &ExplanationView) -> Markup {
    let too_late = view.unavoidable.as_ref().map(|it| it.link);
    let story = Story {
        view,
        paragraphs: view.story.iter().map(|sentences| sentences.join(" ")).collect(),
        runs: short_count(view.runs, "run", "runs"),
        chain: (0..).zip(&view.chain).map(|(i, it)| link(it, too_late == Some(i))).collect(),
        faults: view
            .faults
            .iter()
            .map(|fault| {
                let class = if fault.concerned() { "bad" } else { "faint" };
                (class, need(fault), fault)
            })
            .collect(),
        unavoidable: view.unavoidable.as_ref().map(|it| [it.at.to_string(), it.event.clone()]),
        curve: turns(&view.curve).into_iter().map(|it| future(&view.curve[it.0], it.1)).collect(),
        changes: view
            .changes
            .iter()
            .map(|change| {
                let class = match () {
                    () if change.holds() => "good",
                    () if change.failed < change.failed_before => "doubt",
                    () => "faint",
                };
                (class, share_of(change), change)
            })
            .collect(),
    };
    Markup::of(&story)
}

fn future<'a>(point: &'a CurveView, event: &'a str) -> (String, &'a str, &'a CurveView) {
    let side = if point.after { "after" } else { "before" };
    (format!("{side} {}", point.at), event, point)
}

fn link(view: &LinkView, too_late: bool) -> Link<'_> {
    let (chatter, others) = view.left_out;
    let left_out = match chatter + others {
        0 | 1 => String::new(),
        n => format!("{} lines left out", grouped(n)),
    };
    let (sign, class) = match (view.witness, view.fault) {
        (true, _) => ("\u{2691}", "proof"),
        (false, true) => ("\u{26a1}", "fault"),
        (false, false) => ("", ""),
    };
    let time = view.time.to_string();
    Link { time, who: speaker(view), sign, class, left_out, too_late, view }
}
