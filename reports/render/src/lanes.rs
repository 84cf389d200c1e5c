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

use oncesim_history::trace::LineKind;
use oncesim_history::{ClientKind, EventKind, History};
use oncesim_types::{ActorId, Instant};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::number::{grouped, seconds, short_count};
use crate::row::{Journeys, Recording, Row, has_line, rows};
use crate::style::{BAD, DOUBT, FAINT, GOOD, STRONG, paint};
use crate::subject::{Matter, Subjects};
use crate::table::{pad, widest};

/// What to centre on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// An event of the history.
    Event(u32),
    /// A moment of virtual time.
    Time(Instant),
}

/// Which part of a trace to show, and how. What it names is combined: a row has to pass all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lens {
    /// Rows of these actors only; empty: of all.
    pub actors: Vec<ActorId>,
    /// Rows about these only.
    pub subjects: Subjects,
    /// Rows around this only.
    pub around: Option<Around>,
    /// Columns; `None`: lines are not cut.
    pub width: Option<usize>,
}

/// Rows before and after what a lens centres on.
const AROUND: usize = 20;

/// Whether an event is worth a row of its own: what clients do, but for the polls that ask and those
/// that return nothing.
fn of_clients(kind: &EventKind) -> bool {
    match kind {
        EventKind::Client(ClientKind::PollInvoke) | EventKind::World(_) => false,
        EventKind::Client(ClientKind::PollEnd { records, .. }) => records.len > 0,
        EventKind::Client(_) | EventKind::External(_) => true,
    }
}

/// What clients do, by its position in the history.
pub(crate) fn events_of_clients(history: &History) -> impl Iterator<Item = u32> {
    (0..).zip(&history.events).filter(|(_, it)| of_clients(&it.kind)).map(|(position, _)| position)
}

/// The events that are rows of their own: those of clients; through a lens with subjects, whatever
/// concerns them and has no line.
fn events(history: &History, lens: &Lens) -> BTreeSet<u32> {
    let told = |kind: &EventKind| match kind {
        EventKind::World(event) => !lens.subjects.is_empty() && !has_line(event),
        kind => of_clients(kind),
    };
    let matter = Matter::new(history, &lens.subjects);
    let concerning = (0..)
        .zip(&history.events)
        .filter(|(_, event)| told(&event.kind) && matter.event(event))
        .map(|(position, _)| position);
    let mut events: BTreeSet<u32> = concerning.collect();
    if let Some(Around::Event(event)) = lens.around {
        events.insert(event);
    }
    events
}

/// What a row is, drawn in its actor's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Symbol {
    Message,
    Repeated,
    Lost,
    Client,
    Note,
    Fault,
    Down,
    Pause,
    Up,
    Phase,
    Stuck,
}

impl Symbol {
    fn of(row: &Row<'_>) -> Symbol {
        let Some(line) = row.line() else {
            return if row.is_clients() { Symbol::Client } else { Symbol::Note };
        };
        match line.kind {
            LineKind::Arrived => Symbol::Message,
            LineKind::Repeated => Symbol::Repeated,
            LineKind::Lost | LineKind::Unheard | LineKind::ConnectionGone => Symbol::Lost,
            LineKind::Started | LineKind::Resumed { .. } => Symbol::Up,
            LineKind::Crashed { .. } => Symbol::Down,
            LineKind::Paused { .. } => Symbol::Pause,
            LineKind::Fault(_) | LineKind::Healed(_) => Symbol::Fault,
            LineKind::Phase => Symbol::Phase,
            LineKind::Stuck => Symbol::Stuck,
            LineKind::Note => Symbol::Note,
        }
    }

    const fn mark(self) -> char {
        match self {
            Symbol::Message | Symbol::Repeated => 'o',
            Symbol::Lost => 'x',
            Symbol::Client => '*',
            Symbol::Note => '.',
            Symbol::Fault => '!',
            Symbol::Down => 'X',
            Symbol::Pause => '=',
            Symbol::Up => '^',
            Symbol::Phase => '~',
            Symbol::Stuck => '?',
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Symbol::Message => "o--> a message arrives",
            Symbol::Repeated => "o==> a message is sent that will arrive twice",
            Symbol::Lost => "o--x a message, or its connection, is lost",
            Symbol::Client => "* what a client did or saw",
            Symbol::Note => ". what happens inside",
            Symbol::Fault => "! a fault strikes or heals",
            Symbol::Down => "X crashes or loses power",
            Symbol::Pause => "= stands still",
            Symbol::Up => "^ starts or goes on",
            Symbol::Phase => "~ the run enters another phase",
            Symbol::Stuck => "? what has not come to rest",
        }
    }

    fn paint(self, styled: bool, text: &str) -> String {
        match self {
            Symbol::Message | Symbol::Note | Symbol::Phase => text.to_owned(),
            Symbol::Lost | Symbol::Fault | Symbol::Down | Symbol::Stuck => paint(styled, BAD, text),
            Symbol::Pause | Symbol::Repeated => paint(styled, DOUBT, text),
            Symbol::Up => paint(styled, GOOD, text),
            Symbol::Client => paint(styled, STRONG, text),
        }
    }
}

/// The rows that a lens lets through, by position, and the one that it centres on.
fn select(rows: &[Row<'_>], history: &History, lens: &Lens) -> (Vec<usize>, Option<usize>) {
    let matter = Matter::new(history, &lens.subjects);
    let centre = match lens.around {
        None => None,
        Some(Around::Event(event)) => rows.iter().position(|row| row.event() == Some(event)),
        // Behind the last row: its end.
        Some(Around::Time(time)) => {
            Some(rows.iter().position(|row| row.time() >= time).unwrap_or(rows.len()))
        }
    };
    let shown = |i: &usize| {
        let row = &rows[*i];
        let ends = |actor: &ActorId| row.actor() == *actor || row.peer() == Some(*actor);
        // Events are rows because they concern the subjects.
        let about = row.line().is_none_or(|line| lens.subjects.is_empty() || matter.line(line));
        about && (lens.actors.is_empty() || lens.actors.iter().any(ends))
    };
    let mut lines: Vec<usize> = (0..rows.len()).filter(shown).collect();
    if let Some(centre) = centre {
        let at = lines.partition_point(|&i| i < centre);
        let end = lines.len().min(at + AROUND + 1);
        lines.truncate(end);
        lines.drain(..at.saturating_sub(AROUND).min(end));
    }
    (lines, centre)
}

/// The trace through a lens, with a header of actors and the legend of the symbols seen.
#[must_use]
pub fn lanes_text(recording: &Recording, lens: &Lens, styled: bool) -> String {
    let Recording { history, trace } = recording;
    let rows = rows(recording, events(history, lens));
    let (lines, centre) = select(&rows, history, lens);
    if lines.is_empty() {
        let all = short_count(rows.len() as u64, "line", "lines");
        return format!("nothing to show: none of {all} passes\n");
    }
    let ends = lines.iter().flat_map(|&i| [Some(rows[i].actor_name()), rows[i].peer_name()]);
    let names: BTreeSet<&str> = ends.flatten().collect();
    let names: Vec<&str> = names.into_iter().collect();
    let times: Vec<String> = lines.iter().map(|&i| rows[i].time().to_string()).collect();
    let times = widest(times.iter().map(String::as_str));
    let lanes = Lanes::new(&names, lens.width.unwrap_or(usize::MAX), times);
    let journeys = Journeys::of(trace);
    let mut out = String::new();
    let head = format!("{}{}", " ".repeat(times + 4), lanes.header());
    let _ = writeln!(out, "{}", paint(styled, FAINT, head.trim_end()));
    let mut seen: BTreeSet<Symbol> = BTreeSet::new();
    let mut last = None;
    for &i in &lines {
        if let Some(before) = last.filter(|&before| i > before + 1) {
            gap(&mut out, &rows, before, i, times, styled);
        }
        last = Some(i);
        let row = &rows[i];
        let symbol = Symbol::of(row);
        seen.insert(symbol);
        let mark = if centre == Some(i) { ">" } else { " " };
        let used = 2 + times + 2 + lanes.total + 1;
        let text = told(row, &journeys, lens.width.map(|width| width.saturating_sub(used)));
        let drawn = format!("{} {}", lanes.row(row, symbol), text);
        let time = row.time().to_string();
        let drawn = symbol.paint(styled, drawn.trim_end());
        let _ = writeln!(out, "{mark} {time:>times$}  {drawn}");
    }
    if !lanes.keys.is_empty() {
        let _ = writeln!(out, "{}", paint(styled, FAINT, lanes.keys.join("  ")));
    }
    for symbol in seen {
        let _ = writeln!(out, "{}", paint(styled, FAINT, symbol.meaning()));
    }
    let all = short_count(rows.len() as u64, "line", "lines");
    let count = format!("{} of {all}; times are virtual", grouped(lines.len() as u64));
    let _ = writeln!(out, "{}", paint(styled, FAINT, count));
    out
}

/// A row in words, and when its message was sent if that matters, which is never cut.
fn told(row: &Row<'_>, journeys: &Journeys, width: Option<usize>) -> String {
    let sent = row.line().and_then(|line| journeys.sent(line));
    let sent = sent.map_or_else(String::new, |at| format!("  (sent {at})"));
    let text = cut(&row.text(), width.map(|width| width.saturating_sub(sent.len())));
    format!("{text}{sent}")
}

/// Says how much is left out, where time passes as well.
fn gap(out: &mut String, rows: &[Row<'_>], a: usize, b: usize, times: usize, styled: bool) {
    let time = seconds(crate::number::virtual_seconds(rows[b].time().since(rows[a].time())));
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
    fn row(&self, row: &Row<'_>, symbol: Symbol) -> String {
        let mut drawn = vec![' '; self.total];
        let from = self.lane(row.actor_name());
        match row.peer_name() {
            Some(peer) => {
                let to = self.lane(peer);
                let (low, high) = (from.min(to), from.max(to));
                drawn[low..=high].fill(if symbol == Symbol::Repeated { '=' } else { '-' });
                drawn[from] = 'o';
                let head = if to >= from { '>' } else { '<' };
                drawn[to] = if symbol == Symbol::Lost { 'x' } else { head };
            }
            None => drawn[from] = symbol.mark(),
        }
        drawn.into_iter().collect()
    }
}

/// `a`, `b`, ... `z`, `a1`, ...
fn key(i: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(i % 26).unwrap_or(0));
    if i < 26 { letter.to_string() } else { format!("{letter}{}", i / 26) }
}
