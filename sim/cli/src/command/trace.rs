//! `oncesim run --trace`: the trace of one run, whole or a part of it.

use std::sync::Arc;

use oncesim::types::{ActorId, Instant, RecordId};
use oncesim::{Outcome, RunOptions};
use oncesim_render::{Around, Lens, events_of_clients, events_of_record, lanes_text, with_events};
use oncesim_spec::Scenario;

use crate::args::{Format, RunArgs};
use crate::exit::{Exit, Refusal};
use crate::{convert, output};

/// Runs once and prints the trace; the exit code is that of the run.
pub(crate) fn trace(args: &RunArgs, scenario: &Arc<Scenario>, seed: u64) -> Result<Exit, Refusal> {
    if args.format == Format::Json {
        let fix = "leave --format out, or --trace";
        return Err(Refusal::new("a trace is text, not a document", "--trace", fix));
    }
    let options =
        RunOptions { seed, keep_trace: true, keep_history: true, ..RunOptions::default() };
    let outcome = oncesim::run(scenario, &options);
    let history = outcome.history.clone().unwrap_or_default();
    for name in &args.view.actor {
        actor(&outcome, name, "--actor")?;
    }
    let mut events = match &args.view.record {
        None => events_of_clients(&history),
        Some(text) => {
            let events = events_of_record(&history, record(&outcome, text)?);
            if events.is_empty() {
                let fix = "count from 0 to what the producer sends";
                return Err(Refusal::new(format!("no event concerns `{text}`"), "--record", fix));
            }
            events
        }
    };
    if let Some(Around::Event(event)) = args.view.around {
        let count = history.events.len();
        if event as usize >= count {
            return Err(Refusal::new(
                format!("this run has no event {event}"),
                "--around",
                format!("events go from 0 to {}; a time has a unit: 250ms", count.max(1) - 1),
            ));
        }
        events.push(event);
    }
    let lines = with_events(convert::trace_lines(&outcome), &history, &events);
    let lens = Lens {
        actors: args.view.actor.clone(),
        around: args.view.around,
        events_only: args.view.record.is_some(),
        width: terminal_size::terminal_size_of(std::io::stdout())
            .map(|(width, _)| usize::from(width.0)),
    };
    output::result(&lanes_text(&lines, &lens, output::styled()))?;
    Ok(convert::judgement(oncesim::judge(scenario, &outcome)).into())
}

/// The actor with this name.
fn actor(outcome: &Outcome, name: &str, option: &str) -> Result<ActorId, Refusal> {
    let position = outcome.actor_names.iter().position(|known| known == name);
    position.and_then(|position| u16::try_from(position).ok()).map(ActorId).ok_or_else(|| {
        Refusal::new(
            format!("no actor of this run is called `{name}`"),
            option,
            format!("one of {}", outcome.actor_names.join(", ")),
        )
    })
}

/// A record as reports name it: `shop #7`.
fn record(outcome: &Outcome, text: &str) -> Result<RecordId, Refusal> {
    let parts = text.rsplit_once('#').and_then(|(name, n)| Some((name.trim(), n.parse().ok()?)));
    // An ordinal is kept in 40 bits.
    match parts.filter(|(_, ordinal)| *ordinal < 1_u64 << 40) {
        Some((name, ordinal)) => Ok(RecordId::new(actor(outcome, name, "--record")?, ordinal)),
        None => Err(Refusal::new(
            format!("`{text}` is no record"),
            "--record",
            "name it as reports do, by producer and number: --record shop#7",
        )),
    }
}

/// An event by its number, or a moment of virtual time with its unit.
pub(crate) fn around(text: &str) -> Result<Around, String> {
    if let Ok(event) = text.parse() {
        return Ok(Around::Event(event));
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let nanos = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => f64::NAN,
    };
    match number.parse::<f64>().map(|n| n * nanos) {
        Ok(ns) if (0.0..1e18).contains(&ns) => Ok(Around::Time(Instant(ns.round() as u64))),
        _ => Err("the number of an event, or a time with a unit (us, ms, s), such as 0.25s".into()),
    }
}
