//! The data of a run's page: one compact JSON document, in columns.

use std::collections::BTreeSet;

use oncesim_history::trace::{About, StepId, Trace};
use oncesim_history::{ActorRole, History};
use oncesim_semantics::Anomaly;
use serde_json::{Value, json};

use super::intern::{Lists, Texts};
use super::rows::{Focus, Row, rows};
use super::state::Changes;

/// Everything that a page draws.
pub(super) struct Data {
    /// The rows.
    pub(super) rows: Vec<Row>,
    /// The events that prove anomalies.
    pub(super) witness: BTreeSet<u32>,
    /// As the page reads it.
    pub(super) json: String,
}

/// Rows that make a view worth showing first.
const ENOUGH: usize = 12;

/// The data of a run. `anomalies` come in order of weight; the first ones say what matters.
pub(super) fn data(
    history: &History,
    trace: &Trace,
    anomalies: &[&Anomaly],
    telling: usize,
    chain: &[StepId],
) -> Data {
    let witness: BTreeSet<u32> =
        anomalies.iter().flat_map(|it| it.witness.events.iter().copied()).collect();
    let first = || anomalies.iter().take(telling);
    let told = first().flat_map(|it| it.witness.events.iter().copied()).collect();
    let records = first().filter_map(|it| it.witness.record).collect();
    let focus = Focus::new(trace, witness, &told, records, chain);
    let mut changes = Changes::new(history);
    let rows = rows(history, trace, &focus, &mut changes);
    changes.finish();
    let partitions = changes.partitions();
    let Changes { mut texts, ops, spans, .. } = changes;
    let columns = columns(history, &rows, &mut texts);
    let proofs: Vec<Value> = rows
        .iter()
        .enumerate()
        .filter_map(|(i, row)| {
            let event = row.event?;
            let of = |it: &&Anomaly| it.witness.events.contains(&event);
            let proved: Vec<usize> = (0..anomalies.len()).filter(|&n| of(&anomalies[n])).collect();
            (!proved.is_empty()).then(|| json!([i, proved]))
        })
        .collect();
    let shown = |rank: u8| rows.iter().filter(|row| row.rank <= rank).count();
    let level = (1..3).find(|rank| shown(*rank) >= ENOUGH).unwrap_or(3);
    let document = json!({
        "actors": history.actors.iter().map(|it| json!([it.name, role(&it.role)])).collect::<Vec<_>>(),
        "parts": partitions,
        "groups": history.groups.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(),
        "txns": history.transactional_ids,
        "rows": columns,
        "spans": spans,
        "ops": ops,
        "witness": proofs,
        "anomalies": anomalies.iter().map(|it| it.id()).collect::<Vec<_>>(),
        "quiet": quiet(&rows),
        "level": level,
        "texts": texts.texts(),
    });
    Data { rows, witness: focus.witness, json: document.to_string() }
}

/// Kinds of what a row can be about. The page knows the numbers.
fn tags(history: &History, about: &About, names: &mut Texts) -> Vec<usize> {
    let partitions = about.partitions.iter().map(|it| format!("p{}", history.partition_name(*it)));
    let ids = about.transactional_ids.iter().map(|it| {
        let name = history.transactional_ids.get(usize::from(it.0));
        format!("t{}", name.map_or("?", String::as_str))
    });
    let groups = about.groups.iter().map(|it| format!("g{}", history.group_name(*it)));
    let records = about.records.iter().map(|it| format!("r{}", history.record_name(*it)));
    partitions.chain(ids).chain(groups).chain(records).map(|it| names.add(&it)).collect()
}

fn columns(history: &History, rows: &[Row], texts: &mut Texts) -> Value {
    let mut names = Texts::default();
    let mut lists = Lists::default();
    let steps: Vec<StepId> = rows.iter().map(|row| row.step).collect();
    // Behind which row a message was sent, as a distance; 0: it is no message.
    let from = |(i, row): (usize, &Row)| {
        let Some((_, step)) = row.sent else { return 0 };
        let behind = steps[..i].partition_point(|it| *it <= step);
        i + 1 - behind.min(i)
    };
    let mut before = (0, 0);
    let (mut times, mut at) = (Vec::new(), Vec::new());
    let (mut about, mut text) = (Vec::new(), Vec::new());
    for row in rows {
        times.push(row.time.0.saturating_sub(before.0));
        at.push(row.step.saturating_sub(before.1));
        before = (row.time.0, row.step);
        about.push(lists.add(tags(history, &row.about, &mut names)));
        text.push(texts.add(&row.text));
    }
    let column = |of: &dyn Fn(&Row) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
    json!({
        "t": times,
        "s": at,
        "k": column(&|row| i64::from(row.kind as u8)),
        "a": column(&|row| i64::from(row.actor.0)),
        "p": column(&|row| row.peer.map_or(-1, |it| i64::from(it.0))),
        "r": column(&|row| i64::from(row.rank)),
        "e": column(&|row| row.event.map_or(-1, i64::from)),
        "f": rows.iter().enumerate().map(from).collect::<Vec<_>>(),
        "d": column(&|row| row.sent.map_or(-1, |(sent, _)| {
            i64::try_from(row.time.since(sent).0).unwrap_or(i64::MAX)
        })),
        "x": text,
        "g": about,
        "tags": names.texts(),
        "lists": lists.lists(),
    })
}

const fn role(role: &ActorRole) -> &'static str {
    match role {
        ActorRole::Controller => "controller",
        ActorRole::Broker => "broker",
        ActorRole::Producer(_) => "producer",
        ActorRole::Consumer(_) => "consumer",
        ActorRole::Auditor => "auditor",
        ActorRole::System(_) => "system",
        ActorRole::Other => "other",
    }
}

/// Nothing of interest for longer than this is quiet time, and folded: twenty times the usual
/// distance of rows that matter, and 20 ms at least.
fn quiet(rows: &[Row]) -> u64 {
    let times: Vec<u64> = rows.iter().filter(|row| row.rank <= 2).map(|row| row.time.0).collect();
    let mut gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
    usual.saturating_mul(20).max(20_000_000)
}
