//! Why a run fails: sentences first, then the timeline, the faults, the moment, what helps.

use std::collections::BTreeSet;
use std::fmt::Write;

use oncesim_history::{ClientKind, EventKind, History, WorldEvent};
use oncesim_types::{MemberId, RecordId, TopicPartition};
use schemars::JsonSchema;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::event::event_text;
use crate::json::{SCHEMA, document, millis};
use crate::model::{
    ChangeView, CurveView, ExplanationView, LinkView, NecessityView, UnavoidableView,
};
use crate::number::{grouped, seconds, short_count};
use crate::problem::quoted;
use crate::style::{BAD, DOUBT, FAINT, GOOD, STRONG, of_judgement, paint};
use crate::table::widest;

/// A change that needs more text is told in words only; JSON has it whole.
const LONGEST_SET: usize = 160;
/// Columns of sentences.
const COLUMNS: usize = 98;

/// An event as a link of a chain: of many records only those that the anomaly is about.
#[must_use]
pub fn link_text(history: &History, event: u32, records: &BTreeSet<RecordId>) -> String {
    let Some(event) = history.events.get(event as usize) else { return String::new() };
    match &event.kind {
        EventKind::Client(ClientKind::PollEnd { records: span, .. }) => {
            let all = history.polled(*span);
            let named: Vec<String> = all
                .iter()
                .filter(|polled| records.contains(&polled.record))
                .map(|polled| {
                    let place = history.partition_name(polled.partition);
                    format!("{} ({place}@{})", history.record_name(polled.record), polled.offset)
                })
                .collect();
            match (named.len(), all.len() - named.len()) {
                (0, 0) => "poll returns nothing".to_owned(),
                (0, others) => {
                    format!("poll returns {}", short_count(others as u64, "record", "records"))
                }
                (_, 0) => format!("poll returns {}", some(&named)),
                (_, others) => format!("poll returns {}, and {others} more", some(&named)),
            }
        }
        EventKind::World(WorldEvent::Append {
            partition,
            base_offset,
            records: span,
            len,
            leader,
            ..
        }) => {
            let all = history.appended(*span);
            let verb = if *leader { "appends" } else { "copies" };
            let place = history.partition_name(*partition);
            let named: Vec<String> = (base_offset.0..)
                .zip(all)
                .filter(|(_, id)| records.contains(id))
                .map(|(offset, id)| format!("{} at {place}@{offset}", history.record_name(*id)))
                .collect();
            if named.is_empty() || *len == 1 {
                return event_text(history, event);
            }
            format!("{verb} {} (in a batch of {len})", some(&named))
        }
        EventKind::World(WorldEvent::Fault { index }) => {
            history.faults.get(*index as usize).cloned().unwrap_or_default()
        }
        EventKind::World(WorldEvent::Healed { index }) => {
            let fault = history.faults.get(*index as usize).map_or("", String::as_str);
            format!("over: {fault}")
        }
        EventKind::World(WorldEvent::MemberRemoved { group, member, expired }) => {
            let why = if *expired { "its session timed out" } else { "it left" };
            let (group, member) = (history.group_name(*group), member_name(history, *member));
            format!("removes {member} from group {group}: {why}")
        }
        EventKind::World(WorldEvent::Generation { group, generation, assignment, .. }) => {
            let owner = |&(member, partition): &(MemberId, TopicPartition)| {
                let partition = history.partition_name(partition);
                format!("{partition} to {}", member_name(history, member))
            };
            let owners: Vec<String> = history.assignment(*assignment).iter().map(owner).collect();
            let group = history.group_name(*group);
            format!("{group} is in generation {}: {}", generation.0, owners.join(", "))
        }
        _ => event_text(history, event),
    }
}

/// The client that is a member of a group: its members say so when they are assigned something.
pub(crate) fn member_name(history: &History, member: MemberId) -> String {
    let is = |event: &oncesim_history::Event| match &event.kind {
        EventKind::Client(ClientKind::Assigned { member: other, .. }) => *other == member,
        _ => false,
    };
    match history.events.iter().find(|event| is(event)) {
        Some(event) => history.actor_name(event.actor).to_owned(),
        None => member.to_string(),
    }
}

/// The first few of a list.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}

/// The report of `oncesim explain`.
#[must_use]
pub fn explain_text(view: &ExplanationView, styled: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", paint(styled, STRONG, &view.title));
    let _ = writeln!(out, "{}, seed {}", view.scenario, view.seed);
    let id = paint(styled, of_judgement(view.judgement), &view.anomaly);
    let _ = writeln!(out, "explained: {id}{}", beside(view));
    for paragraph in &view.story {
        let _ = writeln!(out, "\n{}", wrapped(&paragraph.join(" "), COLUMNS).join("\n"));
    }
    timeline(&mut out, view, styled);
    faults(&mut out, view, styled);
    moment(&mut out, view, styled);
    changes(&mut out, view, styled);
    commands(&mut out, view, styled);
    out
}

/// `, beside dup-processing`: what else the run shows.
pub(crate) fn beside(view: &ExplanationView) -> String {
    let with: Vec<&str> = view.id.split('+').filter(|id| *id != view.anomaly).collect();
    if with.is_empty() { String::new() } else { format!(", beside {}", with.join(", ")) }
}

fn heading(out: &mut String, text: &str, note: &str, styled: bool) {
    let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
    let _ = writeln!(out, "\n{}{}", paint(styled, STRONG, text), paint(styled, FAINT, note));
}

fn timeline(out: &mut String, view: &ExplanationView, styled: bool) {
    heading(out, "What led to it", "virtual time; > is what proves it, ! a fault", styled);
    let times: Vec<String> = view.chain.iter().map(|link| link.time.to_string()).collect();
    let who: Vec<String> = view.chain.iter().map(speaker).collect();
    let time_width = times.iter().map(String::len).max().unwrap_or(0);
    let width = who.iter().map(|name| name.width()).max().unwrap_or(0);
    for ((link, time), name) in view.chain.iter().zip(&times).zip(&who) {
        if let Some(gap) = gap(link) {
            let _ = writeln!(out, "  {:time_width$}   {}", "", paint(styled, FAINT, gap));
        }
        let padding = " ".repeat(width - name.width());
        let mark = match (link.witness, link.fault) {
            (true, _) => ">",
            (false, true) => "!",
            (false, false) => " ",
        };
        let text = format!("{mark} {time:>time_width$}  {name}{padding}  {}", link.text);
        let text = match (link.witness, link.fault) {
            (true, _) => paint(styled, STRONG, text.trim_end()),
            (false, true) => paint(styled, BAD, text.trim_end()),
            (false, false) => text.trim_end().to_owned(),
        };
        let _ = writeln!(out, "{text}");
    }
}

pub(crate) fn speaker(link: &LinkView) -> String {
    match &link.peer {
        Some(peer) => format!("{} -> {peer}", link.actor),
        None => link.actor.clone(),
    }
}

/// `... 212 heartbeats and fetches, 14 other lines left out`.
fn gap(link: &LinkView) -> Option<String> {
    let (chatter, others) = link.left_out;
    let chatter_text = match chatter {
        0 => None,
        1 => Some("1 heartbeat or fetch".to_owned()),
        n => Some(format!("{} heartbeats and fetches", grouped(n))),
    };
    let others_text = match (chatter, others) {
        (_, 0) => None,
        (0, n) => Some(short_count(n, "line", "lines")),
        (_, n) => Some(short_count(n, "other line", "other lines")),
    };
    let parts: Vec<String> = chatter_text.into_iter().chain(others_text).collect();
    (chatter + others > 1).then(|| format!("... {} left out", parts.join(", ")))
}

fn faults(out: &mut String, view: &ExplanationView, styled: bool) {
    if view.faults.is_empty() && view.without_any.is_none() {
        return;
    }
    heading(out, "Faults", "each left out of the same run", styled);
    let words: Vec<&str> = view.faults.iter().map(need).collect();
    let word_width = widest(words.iter().copied());
    for (fault, word) in view.faults.iter().zip(&words) {
        let style = match (fault.concerned(), fault.struck) {
            (true, _) => BAD,
            (false, Some(_)) => GOOD,
            (false, None) => FAINT,
        };
        let padding = " ".repeat(word_width - word.len());
        let at = fault.struck.map_or(String::new(), |at| format!("{at}  "));
        let _ =
            writeln!(out, "  {}{padding}  {at}{}", paint(styled, style, word), fault.description);
        for line in wrapped(&fault.without, COLUMNS - word_width - 4) {
            let _ = writeln!(out, "  {:word_width$}  {}", "", paint(styled, FAINT, line));
        }
    }
    for line in view.without_any.iter().flat_map(|text| wrapped(text, COLUMNS - 2)) {
        let _ = writeln!(out, "  {line}");
    }
}

impl NecessityView {
    /// Whether it belongs to the story.
    pub(crate) fn concerned(&self) -> bool {
        self.necessary || self.either || self.for_this_one
    }
}

pub(crate) fn need(fault: &NecessityView) -> &'static str {
    match (fault.necessary, fault.either, fault.struck) {
        (false, false, Some(_)) if fault.for_this_one => "for this one",
        (false, false, Some(_)) if !fault.known => "not tried",
        (true, _, _) => "necessary",
        (false, true, _) => "one of these",
        (false, false, Some(_)) => "not needed",
        (false, false, None) => "never struck",
    }
}

fn moment(out: &mut String, view: &ExplanationView, styled: bool) {
    let Some(sentence) = &view.moment else { return };
    heading(out, "When it was too late", "forks of the run, with other draws", styled);
    if let Some(found) = &view.unavoidable {
        let _ = writeln!(out, "  {}  {}", paint(styled, STRONG, found.at.to_string()), found.event);
    }
    for line in wrapped(sentence, COLUMNS - 2) {
        let _ = writeln!(out, "  {line}");
    }
    curve(out, &view.curve, styled);
}

/// How many forks fail at each point: a row where that changes, and the ends.
fn curve(out: &mut String, points: &[CurveView], styled: bool) {
    let Some(first) = points.first() else { return };
    let head = format!("without  with  further faults: how many of {} forks fail", first.without.1);
    let _ = writeln!(out, "  {}", paint(styled, FAINT, head));
    let times: Vec<String> = points.iter().map(|point| point.at.to_string()).collect();
    let width = widest(times.iter().map(String::as_str));
    for (at, event) in turns(points) {
        let (point, time) = (&points[at], &times[at]);
        let side = if point.after { "after " } else { "before" };
        let (without, kept) = (point.without.0, point.kept.0);
        let text = format!("  {without:>7}  {kept:>4}  {side} {time:>width$}  {event}");
        let _ = writeln!(out, "{}", text.trim_end());
    }
}

/// The points of a curve that say something: its ends, and those beside a change. With each what
/// happens there, unless the row above has said it.
pub(crate) fn turns(points: &[CurveView]) -> Vec<(usize, &str)> {
    let differ = |a: &CurveView, b: &CurveView| (a.without, a.kept) != (b.without, b.kept);
    let mut shown: Vec<(usize, &str)> = Vec::new();
    for (at, point) in points.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &points[before]);
        let turns = before.is_none_or(|before| differ(before, point))
            || points.get(at + 1).is_none_or(|next| differ(point, next));
        if turns {
            let said = shown.last().is_some_and(|(last, _)| points[*last].link == point.link);
            shown.push((at, if said { "" } else { &point.event }));
        }
    }
    shown
}

fn changes(out: &mut String, view: &ExplanationView, styled: bool) {
    if view.changes_over.is_empty() {
        return;
    }
    heading(out, "What helps", "", styled);
    for line in wrapped(&view.changes_over, COLUMNS - 2) {
        let _ = writeln!(out, "  {}", paint(styled, FAINT, line));
    }
    if view.changes.is_empty() {
        let _ = writeln!(out, "  Nothing of what was tried lowers the rate.");
    }
    for change in &view.changes {
        let (mark, style) = if change.holds() {
            ("holds ", GOOD)
        } else if change.failed < change.failed_before {
            ("better", DOUBT)
        } else {
            ("better", FAINT)
        };
        let _ = writeln!(
            out,
            "  {}  {}",
            paint(styled, style, mark),
            paint(styled, STRONG, &change.what)
        );
        let mut lines = vec![share_of(change)];
        lines.extend(change.remarks());
        for line in lines.iter().flat_map(|line| wrapped(line, COLUMNS - 10)) {
            let _ = writeln!(out, "          {line}");
        }
        let sets: Vec<String> =
            change.set.iter().map(|set| format!("--set {}", quoted(set))).collect();
        if sets.iter().map(String::len).sum::<usize>() <= LONGEST_SET {
            for line in wrapped_words(&sets, COLUMNS - 10) {
                let _ = writeln!(out, "          {}", paint(styled, FAINT, line));
            }
        } else {
            let whole = "(several lines of SQL and settings: --format json has them)";
            let _ = writeln!(out, "          {}", paint(styled, FAINT, whole));
        }
    }
}

/// `0 of 96 seeds that draw their own faults fail (17 without it), 0 of 32 with the faults above`.
pub(crate) fn share_of(change: &ChangeView) -> String {
    let seeds = match change.same_faults {
        Some(_) => "seeds that draw their own faults fail",
        None => "seeds fail",
    };
    let mut text = format!(
        "{} of {} {seeds} ({} without it)",
        grouped(change.failed),
        grouped(change.seeds),
        grouped(change.failed_before)
    );
    if let Some((failed, of, before)) = change.same_faults {
        let _ = write!(text, ", {failed} of {of} with the faults above ({before} without it)");
    }
    text
}

fn commands(out: &mut String, view: &ExplanationView, styled: bool) {
    out.push('\n');
    let width = view.commands.iter().map(|(command, _)| command.width()).max().unwrap_or(0);
    for (command, what) in &view.commands {
        let padding = " ".repeat(width - command.width());
        let what = paint(styled, FAINT, what);
        let _ = writeln!(out, "{}{padding}  {what}", paint(styled, STRONG, command));
    }
    let early = view.ended.as_ref().map(|why| format!("; ended early: {why}"));
    let line = format!(
        "explained by {} in {} wall{}",
        short_count(view.runs, "run", "runs"),
        seconds(view.wall.as_secs_f64()),
        early.unwrap_or_default(),
    );
    let _ = writeln!(out, "{}", paint(styled, FAINT, line));
}

/// `text` in lines of at most `columns`.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    wrapped_words(&words, columns)
}

fn wrapped_words(words: &[impl AsRef<str>], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.iter().map(AsRef::as_ref) {
        match lines.last_mut() {
            Some(last) if last.width() + 1 + word.width() <= columns => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct ExplanationDoc<'a> {
    schema: u32,
    scenario: &'a str,
    seed: u64,
    fingerprint: &'a str,
    anomaly: &'a str,
    outcome: &'static str,
    /// Sentences.
    story: Vec<&'a str>,
    /// How many of them each paragraph has.
    paragraphs: Vec<usize>,
    chain: Vec<LinkDoc<'a>>,
    faults: Vec<FaultDoc<'a>>,
    without_any_fault: Option<&'a str>,
    /// When it was too late: no luck could have saved it, even without further faults.
    unavoidable: Option<UnavoidableDoc<'a>>,
    /// When luck was decided, with the faults that were still to come; null: it took none.
    sealed: Option<UnavoidableDoc<'a>>,
    moment: Option<&'a str>,
    /// How sure it was at points of the chain, in the order of time.
    curve: Vec<CurveDoc<'a>>,
    changes: Vec<ChangeDoc<'a>>,
    runs: u64,
    wall_ms: u64,
    complete: bool,
}

#[derive(Serialize, JsonSchema)]
struct LinkDoc<'a> {
    virtual_ns: u64,
    actor: &'a str,
    peer: Option<&'a str>,
    event: Option<u32>,
    step: u32,
    text: &'a str,
    witness: bool,
    fault: bool,
    left_out: u64,
}

#[derive(Serialize, JsonSchema)]
struct FaultDoc<'a> {
    fault: &'a str,
    struck_virtual_ns: Option<u64>,
    /// Whether it is known if the failure needs it; false: it never struck, or there was no time.
    known: bool,
    necessary: bool,
    /// Whether it decided which record it is: without it the first one is another.
    for_this_one: bool,
    one_of_several: bool,
    without: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct UnavoidableDoc<'a> {
    virtual_ns: u64,
    event: &'a str,
    link: usize,
    before: ShareDoc,
    after: ShareDoc,
}

#[derive(Serialize, JsonSchema)]
struct CurveDoc<'a> {
    virtual_ns: u64,
    /// Just after the event; else just before it.
    after: bool,
    event: &'a str,
    /// The position of the event in the chain.
    link: usize,
    /// Forks without the faults that had not struck by then.
    without_further_faults: ShareDoc,
    /// Forks with them.
    with_faults_to_come: ShareDoc,
}

#[derive(Serialize, JsonSchema)]
struct ShareDoc {
    failed: u64,
    forks: u64,
}

#[derive(Serialize, JsonSchema)]
struct ChangeDoc<'a> {
    change: &'a str,
    /// Why it works; empty if there is nothing to say.
    because: &'a str,
    set: &'a [String],
    failed: u64,
    seeds: u64,
    failed_before: u64,
    same_faults: Option<SameFaultsDoc>,
    holds: bool,
    note: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct SameFaultsDoc {
    failed: u64,
    seeds: u64,
    failed_before: u64,
}

/// One explanation.
#[must_use]
pub fn explain_json(view: &ExplanationView) -> String {
    document(&ExplanationDoc {
        schema: SCHEMA,
        scenario: &view.scenario,
        seed: view.seed,
        fingerprint: &view.id,
        anomaly: &view.anomaly,
        outcome: view.judgement.name(),
        story: view.story.iter().flatten().map(String::as_str).collect(),
        paragraphs: view.story.iter().map(Vec::len).collect(),
        chain: view.chain.iter().map(link_doc).collect(),
        faults: view
            .faults
            .iter()
            .map(|fault| FaultDoc {
                fault: &fault.description,
                struck_virtual_ns: fault.struck.map(|at| at.0),
                known: fault.known,
                necessary: fault.necessary,
                for_this_one: fault.for_this_one,
                one_of_several: fault.either,
                without: &fault.without,
            })
            .collect(),
        without_any_fault: view.without_any.as_deref(),
        unavoidable: view.unavoidable.as_ref().map(unavoidable_doc),
        sealed: view.sealed.as_ref().map(unavoidable_doc),
        moment: view.moment.as_deref(),
        curve: view.curve.iter().map(curve_doc).collect(),
        changes: view.changes.iter().map(change_doc).collect(),
        runs: view.runs,
        wall_ms: millis(view.wall),
        complete: view.ended.is_none(),
    })
}

fn share_doc((failed, forks): (u64, u64)) -> ShareDoc {
    ShareDoc { failed, forks }
}

fn unavoidable_doc(found: &UnavoidableView) -> UnavoidableDoc<'_> {
    UnavoidableDoc {
        virtual_ns: found.at.0,
        event: &found.event,
        link: found.link,
        before: share_doc(found.before),
        after: share_doc(found.after),
    }
}

fn curve_doc(point: &CurveView) -> CurveDoc<'_> {
    CurveDoc {
        virtual_ns: point.at.0,
        after: point.after,
        event: &point.event,
        link: point.link,
        without_further_faults: share_doc(point.without),
        with_faults_to_come: share_doc(point.kept),
    }
}

fn link_doc(link: &LinkView) -> LinkDoc<'_> {
    LinkDoc {
        virtual_ns: link.time.0,
        actor: &link.actor,
        peer: link.peer.as_deref(),
        event: link.event,
        step: link.step,
        text: &link.text,
        witness: link.witness,
        fault: link.fault,
        left_out: link.left_out.0 + link.left_out.1,
    }
}

fn change_doc(change: &ChangeView) -> ChangeDoc<'_> {
    ChangeDoc {
        change: &change.what,
        because: &change.because,
        set: &change.set,
        failed: change.failed,
        seeds: change.seeds,
        failed_before: change.failed_before,
        same_faults: change.same_faults.map(|(failed, seeds, failed_before)| SameFaultsDoc {
            failed,
            seeds,
            failed_before,
        }),
        holds: change.holds(),
        note: change.remarks(),
    }
}
