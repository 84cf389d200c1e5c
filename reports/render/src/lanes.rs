//! The compact trace: one aligned line per event, a column per actor, a legend of what was seen.
//!
//! ```text
//!              b1 b2 shop
//!   0.108425s  <-----o     Produce p0 54 records seq -1
//!   0.108425s  .           appends 0..53 at orders-0 (epoch 0)
//! > 0.109094s  o----->     Produce answered: p0 at 0
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;

use oncesim_history::{ClientKind, EventKind, History, WorldEvent};
use oncesim_types::{Instant, RecordId};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::model::TraceView;
use crate::number::{grouped, seconds, short_count};
use crate::style::{BAD, DOUBT, FAINT, GOOD, STRONG, paint};
use crate::table::{pad, widest};

/// What to centre on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// An event of the history.
    Event(u32),
    /// A moment of virtual time.
    Time(Instant),
}

/// Which part of a trace to show, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lens {
    /// Lines of these actors only; empty: of all.
    pub actors: Vec<String>,
    /// Lines around this only.
    pub around: Option<Around>,
    /// Lines that belong to an event of the history only: those of one record.
    pub events_only: bool,
    /// Columns; `None`: lines are not cut.
    pub width: Option<usize>,
}

/// Lines before and after what a lens centres on.
const AROUND: usize = 20;

/// Events of the history that concern a record: its sends, its appends, who got and processed it.
#[must_use]
pub fn events_of_record(history: &History, record: RecordId) -> Vec<u32> {
    let concerns = |kind: &EventKind| match kind {
        EventKind::Client(
            ClientKind::SendInvoke { record: id, .. }
            | ClientKind::SendEnd { record: id, .. }
            | ClientKind::Processed { record: id, .. },
        ) => *id == record,
        EventKind::Client(ClientKind::PollEnd { records, .. }) => {
            history.polled(*records).iter().any(|polled| polled.record == record)
        }
        EventKind::World(WorldEvent::Append { records, .. }) => {
            history.appended(*records).contains(&record)
        }
        _ => false,
    };
    (0..).zip(&history.events).filter(|(_, e)| concerns(&e.kind)).map(|(i, _)| i).collect()
}

/// Events that clients did or saw, without the polls that ask and those that return nothing.
#[must_use]
pub fn events_of_clients(history: &History) -> Vec<u32> {
    let told = |kind: &EventKind| match kind {
        EventKind::Client(ClientKind::PollInvoke) | EventKind::World(_) => false,
        EventKind::Client(ClientKind::PollEnd { records, .. }) => records.len > 0,
        EventKind::Client(_) | EventKind::External(_) => true,
    };
    (0..).zip(&history.events).filter(|(_, e)| told(&e.kind)).map(|(i, _)| i).collect()
}

/// What a line is, drawn in its actor's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Symbol {
    Message,
    Lost,
    Client,
    Note,
    Fault,
    Down,
    Pause,
    Up,
}

impl Symbol {
    fn of(line: &TraceView) -> Symbol {
        let text = line.text.as_str();
        if line.peer.is_some() {
            let lost = ["lost", "dropped", "arrives at nobody"];
            let fate = text.rsplit_once("  (").map_or("", |(_, fate)| fate);
            let gone = text == "connection is gone";
            let gone = gone || lost.iter().any(|word| fate.contains(word));
            return if gone { Symbol::Lost } else { Symbol::Message };
        }
        match text {
            "starts" | "goes on" | "its application goes on" => Symbol::Up,
            "crashes" | "loses power" | "dies" | "dies in a power failure" => Symbol::Down,
            "is paused" | "its application is paused" | "stands still" => Symbol::Pause,
            _ if text.starts_with("FAULT") || text.starts_with("STUCK") => Symbol::Fault,
            _ if line.event.is_some() => Symbol::Client,
            _ => Symbol::Note,
        }
    }

    const fn mark(self) -> char {
        match self {
            Symbol::Message => 'o',
            Symbol::Lost => 'x',
            Symbol::Client => '*',
            Symbol::Note => '.',
            Symbol::Fault => '!',
            Symbol::Down => 'X',
            Symbol::Pause => '=',
            Symbol::Up => '^',
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Symbol::Message => "o--> a message arrives",
            Symbol::Lost => "o--x a message, or its connection, is lost",
            Symbol::Client => "* what a client did or saw, or the record's event",
            Symbol::Note => ". what happens inside",
            Symbol::Fault => "! a fault strikes or heals",
            Symbol::Down => "X crashes or loses power",
            Symbol::Pause => "= stands still",
            Symbol::Up => "^ starts or goes on",
        }
    }

    fn paint(self, styled: bool, text: &str) -> String {
        match self {
            Symbol::Message | Symbol::Note => text.to_owned(),
            Symbol::Lost | Symbol::Fault | Symbol::Down => paint(styled, BAD, text),
            Symbol::Pause => paint(styled, DOUBT, text),
            Symbol::Up => paint(styled, GOOD, text),
            Symbol::Client => paint(styled, STRONG, text),
        }
    }
}

/// The lines that a lens lets through, by position, and the one that it centres on.
fn select(trace: &[TraceView], lens: &Lens) -> (Vec<usize>, Option<usize>) {
    let shown = |line: &TraceView| {
        let who = |name: &String| *name == line.actor || line.peer.as_ref() == Some(name);
        (lens.actors.is_empty() || lens.actors.iter().any(who))
            && (!lens.events_only || line.event.is_some())
    };
    let mut lines: Vec<usize> = (0..trace.len()).filter(|&i| shown(&trace[i])).collect();
    let centre = match lens.around {
        None => return (lines, None),
        Some(Around::Event(event)) => trace.iter().position(|line| line.event == Some(event)),
        Some(Around::Time(time)) => trace.iter().position(|line| line.time >= time),
    };
    // Behind the last line: its end.
    let centre = centre.unwrap_or(trace.len());
    let at = lines.partition_point(|&i| i < centre);
    let end = lines.len().min(at + AROUND + 1);
    lines.truncate(end);
    lines.drain(..at.saturating_sub(AROUND).min(end));
    (lines, Some(centre))
}

/// The trace through a lens, with a header of actors and the legend of the symbols seen.
#[must_use]
pub fn lanes_text(trace: &[TraceView], lens: &Lens, styled: bool) -> String {
    let (lines, centre) = select(trace, lens);
    if lines.is_empty() {
        return format!("nothing to show: no line of {} passes\n", trace.len());
    }
    let mut names: Vec<&str> = Vec::new();
    for name in lines.iter().flat_map(|&i| [Some(&trace[i].actor), trace[i].peer.as_ref()]) {
        let Some(name) = name else { continue };
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let times: Vec<String> = lines.iter().map(|&i| trace[i].time.to_string()).collect();
    let times = widest(times.iter().map(String::as_str));
    let lanes = Lanes::new(&names, lens.width.unwrap_or(usize::MAX), times);
    let mut out = String::new();
    let head = format!("{}{}", " ".repeat(times + 4), lanes.header());
    let _ = writeln!(out, "{}", paint(styled, FAINT, head.trim_end()));
    let mut seen: BTreeSet<Symbol> = BTreeSet::new();
    let mut last = None;
    for &i in &lines {
        if let Some(before) = last.filter(|&before| i > before + 1) {
            gap(&mut out, trace, before, i, times, styled);
        }
        last = Some(i);
        let line = &trace[i];
        let symbol = Symbol::of(line);
        seen.insert(symbol);
        let mark = if centre == Some(i) { ">" } else { " " };
        let used = 2 + times + 2 + lanes.total + 1;
        let text = cut(&line.text, lens.width.map(|width| width.saturating_sub(used)));
        let row = format!("{} {}", lanes.row(line, symbol), text);
        let time = line.time.to_string();
        let row = symbol.paint(styled, row.trim_end());
        let _ = writeln!(out, "{mark} {time:>times$}  {row}");
    }
    if !lanes.keys.is_empty() {
        let _ = writeln!(out, "{}", paint(styled, FAINT, lanes.keys.join("  ")));
    }
    for symbol in seen {
        let _ = writeln!(out, "{}", paint(styled, FAINT, symbol.meaning()));
    }
    let all = short_count(trace.len() as u64, "line", "lines");
    let count = format!("{} of {all}; times are virtual", grouped(lines.len() as u64));
    let _ = writeln!(out, "{}", paint(styled, FAINT, count));
    out
}

/// Says how much is left out, where time passes as well.
fn gap(out: &mut String, trace: &[TraceView], a: usize, b: usize, times: usize, styled: bool) {
    let time = seconds(crate::number::virtual_seconds(trace[b].time.since(trace[a].time)));
    let lines = short_count((b - a - 1) as u64, "line", "lines");
    let text = format!("... {lines}, {time} (virtual) ...");
    let _ = writeln!(out, "  {:times$}  {}", "", paint(styled, FAINT, text));
}

/// `text` in at most `width` columns; at least some of it is shown.
fn cut(text: &str, width: Option<usize>) -> String {
    let Some(width) = width.map(|width| width.max(24)) else { return text.to_owned() };
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used + 3 <= width
    };
    format!("{}...", text.chars().take_while(fits).collect::<String>())
}

/// The columns of the actors.
struct Lanes<'a> {
    names: &'a [&'a str],
    /// Where each begins.
    starts: Vec<usize>,
    total: usize,
    /// What the letters above the columns stand for; empty: the columns bear the names.
    keys: Vec<String>,
}

impl<'a> Lanes<'a> {
    /// Columns that bear names if they leave half of the width to the text, else letters.
    fn new(names: &'a [&'a str], width: usize, times: usize) -> Self {
        let full: usize = names.iter().map(|name| name.width() + 1).sum();
        let letters = full > width.saturating_sub(times + 4) / 2;
        let mut starts = Vec::new();
        let mut total = 0;
        let mut keys = Vec::new();
        for (i, name) in names.iter().enumerate() {
            starts.push(total);
            let key = key(i);
            total += if letters { key.len().max(2) + 1 } else { name.width() + 1 };
            if letters {
                keys.push(format!("{key} {name}"));
            }
        }
        Lanes { names, starts, total, keys }
    }

    fn header(&self) -> String {
        let mut out = String::new();
        for (i, name) in self.names.iter().enumerate() {
            let next = self.starts.get(i + 1).copied().unwrap_or(self.total);
            let head = if self.keys.is_empty() { (*name).to_owned() } else { key(i) };
            out.push_str(&pad(&head, next - self.starts[i]));
        }
        out
    }

    fn lane(&self, name: &str) -> usize {
        self.names.iter().position(|known| *known == name).map_or(0, |i| self.starts[i])
    }

    /// A symbol in its column, or an arrow from column to column.
    fn row(&self, line: &TraceView, symbol: Symbol) -> String {
        let mut row = vec![' '; self.total];
        let from = self.lane(&line.actor);
        match &line.peer {
            Some(peer) => {
                let to = self.lane(peer);
                let (low, high) = (from.min(to), from.max(to));
                row[low..=high].fill('-');
                row[from] = 'o';
                let head = if to >= from { '>' } else { '<' };
                row[to] = if symbol == Symbol::Lost { 'x' } else { head };
            }
            None => row[from] = symbol.mark(),
        }
        row.into_iter().collect()
    }
}

/// `a`, `b`, ... `z`, `a1`, ...
fn key(i: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(i % 26).unwrap_or(0));
    if i < 26 { letter.to_string() } else { format!("{letter}{}", i / 26) }
}
