//! A run for ShiViz: a log of events with vector clocks, from which it draws the space-time
//! diagram.
//!
//! Mirrors the log format that ShiViz describes on its page, in the order of an uploaded file: the
//! regular expression that reads the log (its default one), the delimiter of several executions
//! (none), then two lines per event, its text and its host with its clock. Hosts and clocks are
//! those of [`crate::causality`]; an event is what one host does in one step.

use std::collections::BTreeMap;
use std::fmt::Write;

use oncesim_history::trace::LineKind;

use crate::causality::{Causality, Moment, Told};
use crate::lanes::events_of_clients;
use crate::row::Recording;

/// How ShiViz reads the log.
const EXPRESSION: &str = r"(?<event>.*)\n(?<host>\S*) (?<clock>{.*})";

/// The log. Times are virtual.
#[must_use]
pub fn shiviz_log(recording: &Recording) -> String {
    let causality = Causality::of(recording, events_of_clients(&recording.history));
    let names = names(recording, &causality);
    let mut out = format!("{EXPRESSION}\n\n");
    for moment in &causality.moments {
        if moment.told.is_empty() {
            continue;
        }
        let clock: BTreeMap<&str, u32> =
            names.iter().map(String::as_str).zip(moment.clock.iter().copied()).collect();
        let clock: BTreeMap<&str, u32> =
            clock.into_iter().filter(|(_, count)| *count > 0).collect();
        let clock = serde_json::to_string(&clock).expect("names and numbers");
        let _ = writeln!(out, "{}", text(recording, moment));
        let _ = writeln!(out, "{} {clock}", names[moment.host]);
    }
    out
}

/// The names of hosts: without spaces, and each once.
fn names(recording: &Recording, causality: &Causality<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for host in &causality.hosts {
        let name = host.map_or("world", |actor| recording.history.actor_name(actor));
        let bare = |c: char| c.is_whitespace() || c.is_control();
        let mut name: String = name.chars().map(|c| if bare(c) { '_' } else { c }).collect();
        while names.contains(&name) || name.is_empty() {
            name.push('_');
        }
        names.push(name);
    }
    names
}

/// A moment on one line: when, then everything that is done.
fn text(recording: &Recording, moment: &Moment<'_>) -> String {
    let time = recording.trace.steps.get(moment.step as usize).map(|step| step.time);
    let told: Vec<String> = moment.told.iter().map(|told| one(recording, told)).collect();
    let text = format!("{} {}", time.unwrap_or_default(), told.join("; "));
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn one(recording: &Recording, told: &Told<'_>) -> String {
    let Recording { history, trace } = recording;
    // Of a process with several clients: which of them.
    let client = |actor| {
        if trace.process_of(actor) == actor {
            String::new()
        } else {
            format!("{}: ", history.actor_name(actor))
        }
    };
    match told {
        Told::Sends(line) => {
            let peer = line.peer.map_or("?", |peer| history.actor_name(peer));
            // What became of it is told where that is known.
            let what = line.text.split("  (").next().unwrap_or_default();
            format!("{}to {peer}: {what}", client(line.actor))
        }
        Told::Row(row) => match row.line() {
            Some(line) if matches!(line.kind, LineKind::Arrived | LineKind::Unheard) => {
                let peer = line.peer.unwrap_or(line.actor);
                format!("{}from {}: {}", client(peer), row.actor_name(), line.text)
            }
            _ => format!("{}{}", client(row.actor()), row.text()),
        },
    }
}
