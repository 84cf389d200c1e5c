//! The tables of one run.

use oncesim_history::History;
use oncesim_history::traffic::Traffic;
use oncesim_semantics::measure::{
    CallKind, CallMeasure, FaultMeasure, Measures, Service, Stage, StageMeasure,
};
use oncesim_types::Duration;

use super::figure::{Figure, Unit};
use super::{RowView, SectionView};

/// A fault of a run, as its plan describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredFault {
    /// Its kind: `crash`.
    pub kind: String,
    /// In words.
    pub description: String,
}

/// One run, measured.
#[derive(Debug, Clone, Copy)]
pub struct MeasuredRun<'a> {
    /// For the names.
    pub history: &'a History,
    /// What it cost.
    pub measures: &'a Measures,
    /// What its history does not say.
    pub traffic: &'a Traffic,
    /// The faults, in plan order.
    pub faults: &'a [MeasuredFault],
    /// Whether faults of the same kind are one line: those of several seeds are not the same.
    pub by_kind: bool,
}

/// The tables of one run; the first sums up.
#[must_use]
pub fn measured_sections(run: MeasuredRun<'_>) -> Vec<SectionView> {
    let all = [
        summary(run),
        latency(run),
        calls(run),
        throughput(run),
        unavailability(run),
        stable(run),
        work(run),
    ];
    all.into_iter().filter(|section| !section.rows.is_empty()).collect()
}

fn stage_name(history: &History, stage: Stage) -> String {
    let topic = |id: oncesim_types::TopicId| {
        history.topics.get(usize::from(id.0)).map_or("?", |topic| topic.name.as_str())
    };
    match stage {
        Stage::Sent(id) => format!("sent to {}", topic(id)),
        Stage::Acknowledged(id) => format!("acknowledged by {}", topic(id)),
        Stage::Committed(id) => format!("committed in {}", topic(id)),
        Stage::Visible(group) => {
            let committed = history.actors.iter().any(|actor| {
                actor.role == oncesim_history::ActorRole::Consumer(group) && actor.read_committed
            });
            let level = if committed { "read_committed" } else { "read_uncommitted" };
            format!("visible to {} ({level})", history.group_name(group))
        }
        Stage::Processed(group) => format!("processed by {}", history.group_name(group)),
        Stage::Effect(sink) => {
            let name = history.sinks.get(usize::from(sink.0)).map_or("?", |sink| &sink.name);
            format!("effect in {name}")
        }
    }
}

const fn call_name(kind: CallKind) -> &'static str {
    match kind {
        CallKind::InitTransactions => "initTransactions()",
        CallKind::SendOffsets => "sendOffsetsToTransaction()",
        CallKind::CommitTransaction => "commitTransaction()",
        CallKind::Markers => "markers, after the decision",
        CallKind::CommitSync => "commitSync()",
        CallKind::CommitAsync => "commitAsync() or auto commit",
    }
}

const fn service_name(service: Service) -> &'static str {
    match service {
        Service::Produce => "produce",
        Service::Consume => "consume",
        Service::Commit => "commit",
    }
}

fn per_second(stage: &StageMeasure) -> Option<Figure> {
    let rate = stage.per_1000_seconds()? as f64 / 1e3;
    Some(Figure::new(Unit::PerSecond, rate))
}

fn per_input(run: MeasuredRun<'_>, unit: Unit, n: u64) -> Option<Figure> {
    let inputs = run.measures.inputs;
    (inputs > 0).then(|| Figure::new(unit, n as f64 / inputs as f64))
}

fn row(subject: impl Into<String>, cells: Vec<Option<Figure>>) -> RowView {
    RowView { subject: subject.into(), cells }
}

// ---- the tables ----

fn summary(run: MeasuredRun<'_>) -> SectionView {
    let measures = run.measures;
    let mut rows = vec![
        row("input records", vec![Some(Figure::count(measures.inputs))]),
        row("time for the input", vec![Some(Figure::time(measures.makespan))]),
    ];
    if let Some(last) = measures.last_stage() {
        rows.push(row("end to end, p50", vec![Some(Figure::time(last.latency.p50))]));
        rows.push(row("end to end, p99", vec![Some(Figure::time(last.latency.p99))]));
        rows.push(row("throughput", vec![per_second(last)]));
    }
    let commits = |kind| measures.calls.iter().find(|call: &&CallMeasure| call.kind == kind);
    let commit = commits(CallKind::CommitTransaction).or_else(|| commits(CallKind::CommitSync));
    if let Some(commit) = commit {
        rows.push(row("commit, p50", vec![Some(Figure::time(commit.latency.p50))]));
        let share = Figure::new(Unit::Share, measures.blocked_ppm as f64 / 1e6);
        rows.push(row("time in commits", vec![Some(share)]));
    }
    let outage = measures.faults.iter().flat_map(|fault| &fault.outages).map(|it| it.longest).max();
    if let Some(outage) = outage {
        rows.push(row("longest outage", vec![Some(Figure::time(outage))]));
    }
    if let Some(longest) = measures.stable.iter().map(|one| one.longest).max() {
        rows.push(row("longest LSO standstill", vec![Some(Figure::time(longest))]));
    }
    let requests: u64 = run.traffic.requests.values().sum();
    rows.push(row("requests", vec![per_input(run, Unit::PerInput, requests)]));
    rows.push(row("appended records", vec![per_input(run, Unit::PerInput, appended(measures))]));
    rows.push(row("appended bytes", vec![per_input(run, Unit::BytesPerInput, bytes(run.traffic))]));
    rows.retain(|row| row.cells.iter().any(Option::is_some));
    SectionView {
        id: "summary",
        title: "summary",
        note: "the workload until all faults have healed",
        columns: vec![("value", "")],
        rows,
    }
}

/// Everything that every replica appended.
fn appended(measures: &Measures) -> u64 {
    let work = &measures.work;
    work.records.all() + work.markers.all() + work.coordinators.all()
}

fn bytes(traffic: &Traffic) -> u64 {
    traffic.by_leaders.total() + traffic.by_followers.total()
}

const PERCENTILES: [(&str, &str); 5] =
    [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99_9", "p99.9"), ("max", "max")];

fn percentiles(of: &oncesim_semantics::measure::Percentiles) -> Vec<Option<Figure>> {
    [of.p50, of.p90, of.p99, of.p999, of.max].map(|it| Some(Figure::time(it))).to_vec()
}

fn latency(run: MeasuredRun<'_>) -> SectionView {
    let stages = run.measures.stages.iter().filter(|stage| !matches!(stage.stage, Stage::Sent(_)));
    let rows = stages.map(|stage| {
        let mut cells = vec![Some(Figure::count(stage.latency.count))];
        cells.extend(percentiles(&stage.latency));
        row(stage_name(run.history, stage.stage), cells)
    });
    SectionView {
        id: "latency",
        title: "latency",
        note: "from the first send() of the input record to where it arrives first; what arrives \
               while the world comes to rest counts too",
        columns: [("records", "records")].into_iter().chain(PERCENTILES).collect(),
        rows: rows.collect(),
    }
}

fn calls(run: MeasuredRun<'_>) -> SectionView {
    let rows = run.measures.calls.iter().map(|call| {
        let mut cells = vec![Some(Figure::count(call.latency.count))];
        cells.extend(percentiles(&call.latency));
        let share = Figure::new(Unit::Share, call.blocked_ppm as f64 / 1e6);
        cells.push((call.blocked_ppm > 0).then_some(share));
        row(call_name(call.kind), cells)
    });
    let blocked = [("blocked", "of the time")];
    SectionView {
        id: "calls",
        title: "calls",
        note: "those that succeeded, repetitions included; the share of the workload's time that \
               an application stands still for them",
        columns: [("calls", "calls")].into_iter().chain(PERCENTILES).chain(blocked).collect(),
        rows: rows.collect(),
    }
}

fn throughput(run: MeasuredRun<'_>) -> SectionView {
    let rows = run.measures.stages.iter().filter(|stage| stage.arrived > 0).map(|stage| {
        let cells = vec![
            per_second(stage),
            Some(Figure::count(stage.arrived)),
            Some(Figure::time(stage.span)),
        ];
        row(stage_name(run.history, stage.stage), cells)
    });
    SectionView {
        id: "throughput",
        title: "throughput",
        note: "distinct records from the first send() to the last arrival at the stage; coming to \
               rest and the drain are left out",
        columns: vec![("rate", "records"), ("records", "arrived"), ("span", "within")],
        rows: rows.collect(),
    }
}

fn unavailability(run: MeasuredRun<'_>) -> SectionView {
    let mut columns =
        vec![("struck", "at"), ("first", "first success"), ("longest", "longest gap")];
    if run.by_kind {
        columns.remove(0);
    }
    let mut rows: Vec<RowView> = Vec::new();
    for fault in &run.measures.faults {
        rows.extend(outages(run, fault));
    }
    if run.by_kind {
        rows = collapsed(rows);
    }
    SectionView {
        id: "unavailability",
        title: "unavailability",
        note: "after each fault, in the partition or client that was hit worst: until the first \
               success, and the longest wait before the next fault; waits while nobody wants \
               anything do not count",
        columns,
        rows,
    }
}

fn outages(run: MeasuredRun<'_>, fault: &FaultMeasure) -> Vec<RowView> {
    let known = usize::try_from(fault.index).ok().and_then(|index| run.faults.get(index));
    let (kind, words) = known.map_or(("fault", "fault"), |known| (&known.kind, &known.description));
    let struck = Figure::time(Duration(fault.struck.0));
    if fault.outages.is_empty() && !run.by_kind {
        return vec![row(format!("{words}: nothing was wanted"), vec![Some(struck), None, None])];
    }
    let rows = fault.outages.iter().map(|outage| {
        let service = service_name(outage.service);
        let first = Some(Figure::time(outage.first));
        let longest = Some(Figure::time(outage.longest));
        if run.by_kind {
            return row(format!("{kind}: {service}"), vec![first, longest]);
        }
        let never = if outage.recovered { "" } else { ", not again in this run" };
        let subject = format!("{words}: {service} ({}{never})", outage.worst);
        row(subject, vec![Some(struck.clone()), first, longest])
    });
    rows.collect()
}

/// Lines of the same subject as one.
fn collapsed(rows: Vec<RowView>) -> Vec<RowView> {
    let section =
        |rows| vec![SectionView { id: "", title: "", note: "", columns: Vec::new(), rows }];
    let runs = rows.into_iter().map(|row| section(vec![row])).collect();
    super::merged(runs).pop().map_or_else(Vec::new, |section| section.rows)
}

fn stable(run: MeasuredRun<'_>) -> SectionView {
    let rows = run.measures.stable.iter().map(|one| {
        let cells = vec![
            Some(Figure::time(one.longest)),
            Some(Figure::time(one.total)),
            Some(Figure::count(one.times)),
        ];
        row(run.history.partition_name(one.partition), cells)
    });
    SectionView {
        id: "last_stable_offset",
        title: "last stable offset",
        note: "how long it stood still below the high watermark, at most and in all, by partition \
               that was written in transactions",
        columns: vec![("longest", "longest"), ("total", "in all"), ("times", "times")],
        rows: rows.collect(),
    }
}

fn work(run: MeasuredRun<'_>) -> SectionView {
    let work = &run.measures.work;
    let traffic = run.traffic;
    let mut rows = Vec::new();
    let mut add = |subject: &str, unit: Unit, n: u64| {
        if n > 0 {
            let ratio = if unit == Unit::Bytes { Unit::BytesPerInput } else { Unit::PerInput };
            let all = Some(Figure::new(unit, n as f64));
            rows.push(row(subject, vec![all, per_input(run, ratio, n)]));
        }
    };
    add("requests", Unit::Count, traffic.requests.values().sum());
    let mut requests: Vec<_> = traffic.requests.iter().collect();
    requests.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    for (name, n) in requests {
        add(&format!("  {name}"), Unit::Count, *n);
    }
    add("records, by leaders", Unit::Count, work.records.by_leaders);
    add("records, by all replicas", Unit::Count, work.records.all());
    add("markers, by leaders", Unit::Count, work.markers.by_leaders);
    add("markers, by all replicas", Unit::Count, work.markers.all());
    add("coordinator records, by leaders", Unit::Count, work.coordinators.by_leaders);
    add("coordinator records, by all replicas", Unit::Count, work.coordinators.all());
    add("batches, by all replicas", Unit::Count, work.batches.all());
    add("bytes of records, by all replicas", Unit::Bytes, both(traffic, |it| it.records));
    add("bytes of markers, by all replicas", Unit::Bytes, both(traffic, |it| it.markers));
    add("bytes of coordinators, by all replicas", Unit::Bytes, both(traffic, |it| it.coordinators));
    add("batches sent again", Unit::Count, work.retries);
    add("flushes", Unit::Count, traffic.flushes);
    add("effects asked of systems", Unit::Count, work.effects);
    SectionView {
        id: "work",
        title: "work",
        note: "while the workload lasted, and per input record",
        columns: vec![("total", "in all"), ("per_input", "per input")],
        rows,
    }
}

fn both(traffic: &Traffic, of: impl Fn(&oncesim_history::traffic::AppendedBytes) -> u64) -> u64 {
    of(&traffic.by_leaders) + of(&traffic.by_followers)
}
