//! What an explanation found out, as what reports show.

use std::time::Duration;

use oncesim::history::{EventKind, History, WorldEvent};
use oncesim::kafka::message::Acks;
use oncesim::{
    Change, Changes, CurvePoint, Explanation, Link, LinkWhat, Necessities, Sealed, Seen, Share,
    Unavoidable,
};
use oncesim_render as render;
use oncesim_spec::{ProducerSpec, Scenario};

use crate::convert;

/// What only the command line knows.
pub(crate) struct Told<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) wall: Duration,
    pub(crate) budget: Duration,
    pub(crate) commands: Vec<(String, String)>,
}

pub(crate) fn view(explanation: &Explanation, told: Told<'_>) -> render::ExplanationView {
    let Told { scenario, wall, budget, commands } = told;
    let necessities = &explanation.necessities;
    let history = explanation.outcome.history.as_ref();
    let ended = explanation.cut_short.then(|| {
        format!("its {} of wall time were used up", render::seconds(budget.as_secs_f64()))
    });
    let mut view = render::ExplanationView {
        scenario: scenario.path.clone(),
        title: scenario.title.clone(),
        seed: explanation.outcome.seed,
        id: explanation.fingerprint.clone(),
        anomaly: explanation.anomaly.id().to_owned(),
        judgement: convert::judgement(explanation.judgement),
        story: Vec::new(),
        chain: explanation.chain.iter().map(|it| link(explanation, history, it)).collect(),
        faults: faults(explanation),
        without_any: without_any(necessities, explanation.anomaly.id()),
        unavoidable: None,
        sealed: None,
        moment: None,
        curve: Vec::new(),
        changes: explanation.changes.iter().flat_map(|it| &it.found).map(change).collect(),
        changes_over: explanation.changes.as_ref().map_or(String::new(), changes_over),
        runs: explanation.runs,
        wall,
        ended,
        commands,
    };
    if let Some(found) = &explanation.moment {
        view.sealed = found.sealed.and_then(|it| sealed(&it, &view.chain));
        (view.unavoidable, view.moment) = moment(found, &view.chain, view.sealed.as_ref());
    }
    let points = explanation.curve.iter();
    view.curve = points.filter_map(|point| curve_point(point, &view.chain)).collect();
    if let Some(history) = history {
        let facts = render::Facts {
            history,
            scenario,
            anomaly: &explanation.anomaly,
            records: &explanation.subject.records,
            view: &view,
            acks,
        };
        view.story = render::story(&facts);
    }
    view
}

/// `acks`, as configured.
fn acks(producer: &ProducerSpec) -> &'static str {
    match producer.config.acks {
        Acks::None => "0",
        Acks::Leader => "1",
        Acks::All => "all",
    }
}

fn link(explanation: &Explanation, history: Option<&History>, link: &Link) -> render::LinkView {
    let outcome = &explanation.outcome;
    let name = |actor: oncesim::types::ActorId| {
        outcome.actor_names.get(usize::from(actor.0)).cloned().unwrap_or_else(|| actor.to_string())
    };
    let left_out = (link.left_out.chatter, link.left_out.others);
    let (witness, step) = (link.witness, link.step);
    match link.what {
        LinkWhat::Line(number) => {
            let line = &outcome.trace.lines[number as usize];
            let late = line.sent.filter(|(sent, _)| line.time.since(*sent).as_millis() >= 500);
            let late = late.map_or(String::new(), |(sent, _)| format!(", sent at {sent}"));
            render::LinkView {
                time: line.time,
                actor: name(line.actor),
                peer: line.peer.map(name),
                event: None,
                step,
                text: format!("{}{late}", line.text),
                witness,
                fault: false,
                left_out,
            }
        }
        LinkWhat::Event(position) => {
            let history = history.expect("an explanation keeps its history");
            let event = &history.events[position as usize];
            let fault = matches!(&event.kind, EventKind::World(WorldEvent::Fault { .. }));
            let world = matches!(
                &event.kind,
                EventKind::World(WorldEvent::Fault { .. } | WorldEvent::Healed { .. })
            );
            render::LinkView {
                time: event.time,
                actor: if world { "fault".to_owned() } else { name(event.actor) },
                peer: None,
                event: Some(position),
                step,
                text: render::link_text(history, position, &explanation.subject.records),
                witness,
                fault,
                left_out,
            }
        }
    }
}

const fn pair(share: Share) -> (u64, u64) {
    (share.failed, share.of)
}

fn event(link: &render::LinkView) -> String {
    format!("{}: {}", link.actor, link.text)
}

/// When luck was decided. A fault that does so is one of those that were still to come.
fn sealed(found: &Sealed, chain: &[render::LinkView]) -> Option<render::UnavoidableView> {
    let link = chain.get(found.link).filter(|link| !link.fault)?;
    let (before, after) = (pair(found.before), pair(found.after));
    Some(render::UnavoidableView {
        at: link.time,
        event: event(link),
        link: found.link,
        before,
        after,
    })
}

fn curve_point(point: &CurvePoint, chain: &[render::LinkView]) -> Option<render::CurveView> {
    let link = chain.get(point.link)?;
    Some(render::CurveView {
        at: link.time,
        after: point.after,
        event: event(link),
        link: point.link,
        without: pair(point.without),
        kept: pair(point.kept),
    })
}

/// When it became unavoidable, and a sentence about it.
fn moment(
    found: &Unavoidable,
    chain: &[render::LinkView],
    sealed: Option<&render::UnavoidableView>,
) -> (Option<render::UnavoidableView>, Option<String>) {
    let luck = sealed.filter(|it| found.link != Some(it.link)).map(|it| {
        format!(
            " Luck was decided at {} ({}): with the faults that were still to come, {} of {} forks \
             before that fail, and {} of {} after it.",
            it.at, it.event, it.before.0, it.before.1, it.after.0, it.after.1
        )
    });
    let (before, after) = (pair(found.before), pair(found.after));
    let Some(link) = found.link.and_then(|at| chain.get(at).map(|link| (at, link))) else {
        return (
            None,
            Some(format!(
                "It was never certain before its end: {} of {} forks fail from its first link on, \
                 {} of {} even after its last.{}",
                before.0,
                before.1,
                after.0,
                after.1,
                luck.unwrap_or_else(|| " It took luck at every step.".to_owned())
            )),
        );
    };
    let (at, link) = link;
    let sentence = match (found.earlier, at.checked_sub(1).and_then(|at| chain.get(at))) {
        (true, None) => {
            "It was certain from the beginning: no luck on the way would have changed it."
                .to_owned()
        }
        (true, Some(earlier)) => format!(
            "It was decided between this and {} ({}: {}).",
            earlier.time, earlier.actor, earlier.text
        ),
        (false, _) => "From then on nothing that was still open could have saved it.".to_owned(),
    };
    let kept = match found.kept {
        _ if found.before.certain() => String::new(),
        _ if luck.is_some() => luck.unwrap_or_default(),
        Share { failed, of } if found.kept.certain() => format!(
            " Luck had no part in it: with the faults that were still to come, {failed} of {of} \
             forks before it fail as well."
        ),
        Share { failed, of } => format!(
            " It took luck: with the faults that were still to come, {failed} of {of} forks before \
             it fail."
        ),
    };
    let sentence = format!("{sentence}{kept}");
    let view =
        render::UnavoidableView { at: link.time, event: event(link), link: at, before, after };
    (Some(view), Some(sentence))
}

fn change(change: &Change) -> render::ChangeView {
    let (with, before) = change.fresh.unwrap_or(change.same_faults);
    let same = change.fresh.map(|_| change.same_faults);
    render::ChangeView {
        what: change.what.clone(),
        because: change.because.clone(),
        set: change.sets.clone(),
        failed: with.failed,
        seeds: with.of,
        failed_before: before.failed,
        same_faults: same.map(|(with, before)| (with.failed, with.of, before.failed)),
        instead: change.instead.iter().map(|id| (*id).to_owned()).collect(),
        note: note(change),
    }
}

fn note(change: &Change) -> Option<String> {
    let mut notes: Vec<String> = Vec::new();
    if change.stuck > 0 {
        let runs = render::short_count(change.stuck, "run", "runs");
        notes.push(format!("{runs} never come to rest"));
    }
    if change.refused > 0 {
        notes.push(format!("{} % more of the sends fail", change.refused));
    }
    notes.extend(change.note.map(str::to_owned));
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn changes_over(changes: &Changes) -> String {
    let tried = render::short_count(changes.tried as u64, "change", "changes");
    match changes.fresh {
        Some(fresh) => format!(
            "{tried} tried, over {fresh} seeds that draw their own faults and {} seeds with the \
             faults above; those that lower the rate:",
            changes.seeds
        ),
        None => format!(
            "{tried} tried, over {} seeds with the faults above; those that lower the rate:",
            changes.seeds
        ),
    }
}

fn faults(explanation: &Explanation) -> Vec<render::NecessityView> {
    let necessities = &explanation.necessities;
    let view = |(at, fault): (usize, &oncesim::Necessity)| {
        let either = necessities.either.contains(&at);
        let without = match (&fault.without, fault.struck) {
            (_, None) => String::new(),
            // Something else than a run without it has shown that.
            (None, Some(_)) if fault.necessary => String::new(),
            (None, Some(_)) => "There was no time to try the run without it.".to_owned(),
            (Some(seen), _) if fault.for_this_one => format!(
                "Without it another record is the first: {}.",
                seen.same.as_deref().unwrap_or_default()
            ),
            (Some(seen), _) => without(seen, explanation),
        };
        render::NecessityView {
            description: fault.description.clone(),
            struck: fault.struck,
            known: fault.necessary || fault.without.is_some(),
            necessary: fault.necessary,
            for_this_one: fault.for_this_one,
            either,
            without,
        }
    };
    let mut faults: Vec<_> = necessities.faults.iter().enumerate().map(view).collect();
    // In the order in which they struck, those that never did last.
    faults.sort_by_key(|fault| (fault.struck.is_none(), fault.struck));
    faults
}

/// What the run without a fault does, in a sentence.
fn without(seen: &Seen, explanation: &Explanation) -> String {
    let anomaly = explanation.anomaly.id();
    let others = seen.others.join(", ");
    match (&seen.same, seen.live) {
        (Some(same), _) if *same == explanation.anomaly.witness.sentence => {
            "Without it the same happens.".to_owned()
        }
        (Some(same), _) => format!("Without it there is {anomaly} all the same: {same}."),
        (None, false) => {
            format!("Without it there is no {anomaly}, but the system never comes to rest.")
        }
        (None, true) if others.is_empty() => "Without it nothing goes wrong.".to_owned(),
        (None, true) => format!("Without it there is no {anomaly}; what is left is {others}."),
    }
}

fn without_any(necessities: &Necessities, anomaly: &str) -> Option<String> {
    let seen = necessities.without_any.as_ref()?;
    if let Some(same) = &seen.same {
        return Some(match necessities.faults.is_empty() {
            true => "The plan has no fault: it happens by itself.".to_owned(),
            false => format!("It needs no fault at all. With none of them: {same}."),
        });
    }
    let named = |at: &usize| format!("\"{}\"", necessities.faults[*at].description);
    let either: Vec<String> = necessities.either.iter().map(named).collect();
    match either.as_slice() {
        [] if necessities.needed().is_empty() => Some(format!(
            "No single fault is necessary; without all of them there is no {anomaly}."
        )),
        [] => None,
        [one] => Some(format!(
            "No single fault is necessary: without {one} another one strikes in its place; without \
             any of them there is no {anomaly}."
        )),
        [a, b] => Some(format!(
            "No single fault is necessary: either of {a} and {b} is enough; without both there is \
             no {anomaly}."
        )),
        more => Some(format!(
            "No single fault is necessary: any of {} is enough; without all of them there is no \
             {anomaly}.",
            more.join(", ")
        )),
    }
}
