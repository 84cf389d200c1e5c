//! `--trace` of `oncesim run` and `oncesim replay`: the trace of one run, whole or a part of it.

use oncesim::types::{ActorId, Instant, RecordId, TopicPartition, TransactionalId};
use oncesim_render::{Around, Lens, Recording, Subjects, lanes_text, partition_names};

use crate::args::{Format, ViewArgs};
use crate::exit::Refusal;
use crate::output;

/// Names that are listed when another was wanted.
const LISTED: usize = 40;

/// Refuses what makes no sense before anything runs.
pub(crate) fn sensible(view: &ViewArgs, format: Format) -> Result<(), Refusal> {
    if view.trace && format == Format::Json {
        let fix = "leave --format out, or --trace";
        return Err(Refusal::new("a trace is text, not a document", "--trace", fix));
    }
    Ok(())
}

/// Prints the trace, or the part of it that was asked for.
pub(crate) fn trace(view: &ViewArgs, recording: &Recording) -> Result<(), Refusal> {
    let lens = lens(view, recording)?;
    let text = lanes_text(recording, &lens, output::styled());
    if text.starts_with("nothing to show") && view.record.is_some() && lens.actors.is_empty() {
        let what = view.record.as_deref().unwrap_or_default();
        let fix = "count from 0 to what the producer sends";
        return Err(Refusal::new(format!("no event concerns `{what}`"), "--record", fix));
    }
    output::result(&text)
}

fn lens(view: &ViewArgs, recording: &Recording) -> Result<Lens, Refusal> {
    let actors: Result<Vec<ActorId>, Refusal> =
        view.actor.iter().map(|name| actor(recording, name, "--actor")).collect();
    let record = view.record.as_ref().map(|text| record(recording, text)).transpose()?;
    let transactional_id = view.txn.as_ref().map(|id| transactional(recording, id)).transpose()?;
    let partition = view.partition.as_ref().map(|name| partition(recording, name)).transpose()?;
    if let Some(Around::Event(event)) = view.around {
        let count = recording.history.events.len();
        if event as usize >= count {
            return Err(Refusal::new(
                format!("this run has no event {event}"),
                "--around",
                format!("events go from 0 to {}; a time has a unit: 250ms", count.max(1) - 1),
            ));
        }
    }
    Ok(Lens {
        actors: actors?,
        subjects: Subjects { record, transactional_id, partition },
        around: view.around,
        width: terminal_size::terminal_size_of(std::io::stdout())
            .map(|(width, _)| usize::from(width.0)),
    })
}

/// The position of a name; else which names there are.
fn named(
    what: &str,
    name: &str,
    option: &str,
    all: impl ExactSizeIterator<Item = String> + Clone,
) -> Result<usize, Refusal> {
    all.clone().position(|known| known == name).ok_or_else(|| {
        let count = all.len();
        let mut listed: Vec<String> = all.take(LISTED).collect();
        if count > LISTED {
            listed.push(format!("{} more", count - LISTED));
        }
        let fix = match count {
            0 => format!("this run has none: leave {option} out"),
            _ => format!("one of {}", listed.join(", ")),
        };
        Refusal::new(format!("no {what} of this run is called `{name}`"), option, fix)
    })
}

/// The actor with this name.
fn actor(recording: &Recording, name: &str, option: &str) -> Result<ActorId, Refusal> {
    let names = recording.history.actors.iter().map(|actor| actor.name.clone());
    let position = named("actor", name, option, names)?;
    Ok(ActorId(u16::try_from(position).expect("fewer than 65536 actors")))
}

/// The transactional id with this name.
fn transactional(recording: &Recording, name: &str) -> Result<TransactionalId, Refusal> {
    let names = recording.history.transactional_ids.iter().cloned();
    let position = named("transactional id", name, "--txn", names)?;
    Ok(TransactionalId(u16::try_from(position).expect("fewer than 65536 ids")))
}

/// The partition with this name.
fn partition(recording: &Recording, name: &str) -> Result<TopicPartition, Refusal> {
    let all = partition_names(&recording.history);
    let names = all.iter().map(|(name, _)| name.clone());
    named("partition", name, "--partition", names).map(|position| all[position].1)
}

/// A record as reports name it: `shop #7`.
fn record(recording: &Recording, text: &str) -> Result<RecordId, Refusal> {
    let parts = text.rsplit_once('#').and_then(|(name, n)| Some((name.trim(), n.parse().ok()?)));
    // An ordinal is kept in 40 bits.
    match parts.filter(|(_, ordinal)| *ordinal < 1_u64 << 40) {
        Some((name, ordinal)) => Ok(RecordId::new(actor(recording, name, "--record")?, ordinal)),
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
