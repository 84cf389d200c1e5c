//! `oncesim bench`: the figures to reach, measured on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use oncesim::{Campaign, CampaignOptions, Outcome, RunOptions, StrategyKind, Sum};
use oncesim_render::{BenchLine, bench_json, bench_text, grouped, seconds};
use oncesim_spec::{FaultPlan, Scenario};

use crate::args::{BenchArgs, Format};
use crate::exit::{Exit, Refusal};
use crate::progress::ProgressLine;
use crate::{output, source};

/// The scenario that is measured unless another is given.
const MEASURED: &str = "scenarios/corpus/exactly-once/\
                        the-idempotent-producer-under-every-process-and-network-fault.toml";

/// The scenario that a processor is measured with.
const PROCESSOR: &str = "scenarios/corpus/exactly-once/orders-to-invoices.toml";

/// The scenario that effects outside of Kafka are measured with.
const EFFECTS: &str = "scenarios/corpus/external/\
                       a-dedup-table-in-the-same-transaction-is-effectively-once.toml";

pub(crate) fn bench(args: &BenchArgs) -> Result<Exit, Refusal> {
    if cfg!(debug_assertions) {
        output::note(
            "note: this build checks its assertions; `cargo run --release -- bench` measures \
             without them",
        );
    }
    let path = args.scenario.clone().unwrap_or_else(|| PathBuf::from(MEASURED));
    let scenario = source::load(&path, &[])?.scenario;
    let mut lines = vec![kernel(if args.quick { 200_000 } else { 1_000_000 })];
    throughput(&scenario, args.quick, &mut lines);
    lines.extend(transactions(args.quick));
    lines.extend(effects(if args.quick { 40 } else { 200 }));
    let records = if args.quick { 2_000 } else { 20_000 };
    lines.push(long_run(&scenario, records));
    lines.push(by_brokers(&scenario));
    lines.push(by_records(&scenario, if args.million { 1_000_000 } else { 100_000 }));
    lines.push(history_bytes(&scenario));
    let seeds = args.seeds.unwrap_or(if args.quick { 2_000 } else { 20_000 });
    lines.push(memory(&scenario, 1_000.min(seeds), seeds));
    lines.push(cold_start(&path));
    let text = match args.format {
        Format::Text => {
            let head = format!("{}: {}\n", scenario.path, scenario.title);
            format!("{head}{}", bench_text(&lines, output::styled()))
        }
        Format::Json => bench_json(&lines),
    };
    output::result(&text)?;
    Ok(Exit::AsClaimed)
}

fn campaign(scenario: &Arc<Scenario>, from: u64, seeds: u64, jobs: usize) -> Sum {
    let campaign = Campaign {
        scenario: Arc::clone(scenario),
        options: CampaignOptions {
            from,
            seeds,
            budget: None,
            jobs,
            strategy: StrategyKind::default(),
            shard: None,
            fail_fast: false,
            recheck: 0,
            stop: Arc::new(AtomicBool::new(false)),
        },
    };
    let mut line = ProgressLine::new(&format!("bench, {jobs} jobs"), Some(seeds));
    let report = campaign.run(&mut |progress| line.update(progress));
    line.finish();
    report.sum
}

/// The kernel against a bare event loop with the same messages, in turn.
fn kernel(messages: u64) -> BenchLine {
    let cost = oncesim::bench::kernel(messages, 5);
    let ratio = cost.kernel_ns / cost.bare_ns;
    BenchLine {
        what: "kernel against a bare event loop".to_owned(),
        measured: format!(
            "{ratio:.2} times ({:.0} ns against {:.0} ns per message, wall)",
            cost.kernel_ns, cost.bare_ns
        ),
        target: "at most 1.15 times".to_owned(),
        met: Some(ratio <= 1.15),
    }
}

fn rate(n: u64, wall: Duration) -> f64 {
    n as f64 / wall.as_secs_f64().max(1e-9)
}

/// The middle one: other programs disturb some measurements, not most.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

/// CPU time of this process so far, where the system tells. Unlike wall time it does not count
/// what other programs take.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: &str| field.parse::<u64>().ok();
    // utime and stime, in hundredths of a second.
    Some(Duration::from_millis((ticks(fields.get(11)?)? + ticks(fields.get(12)?)?) * 10))
}

/// One scenario on one core and on two, in turn.
#[derive(Default)]
struct Rounds {
    messages: Vec<f64>,
    per_cpu: Vec<f64>,
    alone: Vec<f64>,
    both: Vec<f64>,
    ratio: Vec<f64>,
    covered: Vec<f64>,
}

impl Rounds {
    fn measure(scenario: &Arc<Scenario>, rounds: u64) -> Rounds {
        let warm = campaign(scenario, 0, 200, 1);
        // Half a second or so each.
        let seeds = (rate(warm.seeds, warm.wall) / 2.0) as u64 + 50;
        let mut all = Rounds::default();
        for round in 0..rounds {
            let from = round * seeds;
            let before = cpu_time();
            let one = campaign(scenario, from, seeds, 1);
            if let (Some(before), Some(after)) = (before, cpu_time()) {
                all.per_cpu.push(rate(one.messages, after.saturating_sub(before)));
            }
            let two = campaign(scenario, from, seeds, 2);
            all.messages.push(rate(one.messages, one.wall));
            all.alone.push(rate(one.seeds, one.wall));
            all.both.push(rate(two.seeds, two.wall));
            all.ratio.push(one.wall.as_secs_f64() / two.wall.as_secs_f64().max(1e-9));
            all.covered.push(rate(one.virtual_time.as_nanos(), one.wall) / 1e9);
        }
        all
    }
}

/// Messages and runs per second on one core, and what a second core adds.
fn throughput(scenario: &Arc<Scenario>, quick: bool, lines: &mut Vec<BenchLine>) {
    let rounds = Rounds::measure(scenario, if quick { 3 } else { 7 });
    let messages = median(rounds.messages);
    let per_cpu = median(rounds.per_cpu);
    lines.push(BenchLine {
        what: "protocol messages, one core".to_owned(),
        measured: format!(
            "{} messages/s (wall), {} (CPU time)",
            grouped(messages as u64),
            grouped(per_cpu as u64)
        ),
        target: "1,000,000 messages/s".to_owned(),
        met: Some(messages.max(per_cpu) >= 1e6),
    });
    let (alone, both) = (median(rounds.alone), median(rounds.both));
    lines.push(BenchLine {
        what: "runs, one core".to_owned(),
        measured: format!("{alone:.0} runs/s (wall)"),
        target: String::new(),
        met: None,
    });
    lines.push(BenchLine {
        what: "runs, two cores".to_owned(),
        measured: format!("{both:.0} runs/s (wall)"),
        target: "1,000 runs/s".to_owned(),
        met: Some(both >= 1e3),
    });
    let ratio = median(rounds.ratio);
    lines.push(BenchLine {
        what: "second core".to_owned(),
        measured: format!("{ratio:.2} times one core (wall, in turn)"),
        target: "1.9 times".to_owned(),
        met: Some(ratio >= 1.9),
    });
    lines.push(BenchLine {
        what: "virtual time, one core".to_owned(),
        measured: format!("{} per second (wall)", seconds(median(rounds.covered))),
        target: String::new(),
        met: None,
    });
}

/// Runs per second of one transactional processor: 3 brokers, 100 records, up to six drawn faults.
fn transactions(quick: bool) -> Option<BenchLine> {
    let sets = ["producers.shop.records=100", "processors.billing.instances=1"].map(str::to_owned);
    let scenario = source::load_quietly(Path::new(PROCESSOR), &sets).ok()?.scenario;
    let rounds = Rounds::measure(&scenario, if quick { 3 } else { 7 });
    let (alone, both) = (median(rounds.alone), median(rounds.both));
    Some(BenchLine {
        what: "runs of a transactional processor, two cores".to_owned(),
        measured: format!("{both:.0} runs/s, {alone:.0} on one core (wall)"),
        target: "1,000 runs/s".to_owned(),
        met: Some(both >= 1e3),
    })
}

/// A run with 100 effects in a SQL database: dedup mark and effect in one transaction.
fn effects(rounds: u64) -> Option<BenchLine> {
    let sets = ["producers.shop.records=100"].map(str::to_owned);
    let scenario = source::load_quietly(Path::new(EFFECTS), &sets).ok()?.scenario;
    let run = |seed| quiet_run(&scenario, seed).1 / 1e6;
    run(0);
    let median = median((1..=rounds).map(run).collect());
    Some(BenchLine {
        what: "a run with 100 effects in a SQL database".to_owned(),
        measured: format!("{median:.2} ms (wall)"),
        target: "5 ms".to_owned(),
        met: Some(median < 5.0),
    })
}

/// The scenario with other sizes, and with room for them.
fn sized(scenario: &Scenario, brokers: u16, records: u64) -> Arc<Scenario> {
    let mut sized = scenario.clone();
    sized.brokers = brokers;
    for producer in &mut sized.producers {
        producer.records = records;
    }
    sized.limits.events = u64::from(u32::MAX);
    sized.limits.duration = oncesim::types::Duration::from_secs(1_000_000);
    Arc::new(sized)
}

/// One run without faults: its outcome, and wall nanoseconds.
fn quiet_run(scenario: &Arc<Scenario>, seed: u64) -> (Outcome, f64) {
    let options = RunOptions { seed, plan: Some(FaultPlan::default()), ..RunOptions::default() };
    let began = Instant::now();
    let outcome = oncesim::run(scenario, &options);
    (outcome, began.elapsed().as_nanos() as f64)
}

/// Where set-up no longer counts: the price of a message, of a record, of an event.
fn long_run(scenario: &Scenario, records: u64) -> BenchLine {
    let long = sized(scenario, scenario.brokers, records);
    let (mut per_second, mut events) = (Vec::new(), Vec::new());
    for seed in 0..5 {
        let (outcome, ns) = quiet_run(&long, seed);
        per_second.push(outcome.messages as f64 * 1e9 / ns);
        events.push(outcome.events as f64 * 1e9 / ns);
    }
    let (messages, events) = (median(per_second), median(events));
    BenchLine {
        what: format!("protocol messages, {} records", grouped(records)),
        measured: format!(
            "{} messages/s of {} events/s (wall)",
            grouped(messages as u64),
            grouped(events as u64)
        ),
        target: "1,000,000 messages/s".to_owned(),
        met: Some(messages >= 1e6),
    }
}

/// Cost per event of a large world against a small one, in turn: how it grows.
fn growth(what: String, small: &Arc<Scenario>, large: &Arc<Scenario>, rounds: u64) -> BenchLine {
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Several small runs, so that both take about as long.
        for seed in 0..20 {
            let (outcome, ns) = quiet_run(small, round * 20 + seed);
            few.push(ns / outcome.events.max(1) as f64);
        }
        let (outcome, ns) = quiet_run(large, round);
        many.push(ns / outcome.events.max(1) as f64);
    }
    let (few, many) = (median(few), median(many));
    let times = many / few.max(1e-9);
    BenchLine {
        what,
        measured: format!("{times:.2} times ({few:.0} ns, then {many:.0} ns per event, wall)"),
        target: "within 2 times".to_owned(),
        met: Some(times <= 2.0),
    }
}

fn by_brokers(scenario: &Scenario) -> BenchLine {
    let what = "cost of an event, 3 to 300 brokers".to_owned();
    growth(what, &sized(scenario, 3, 1_000), &sized(scenario, 300, 1_000), 3)
}

fn by_records(scenario: &Scenario, most: u64) -> BenchLine {
    let what = format!("cost of an event, 1,000 to {} records", grouped(most));
    let brokers = scenario.brokers;
    growth(what, &sized(scenario, brokers, 1_000), &sized(scenario, brokers, most), 3)
}

/// What the recorder keeps for one event of the kernel.
fn history_bytes(scenario: &Arc<Scenario>) -> BenchLine {
    let options = RunOptions { seed: 1, keep_history: true, ..RunOptions::default() };
    let outcome = oncesim::run(scenario, &options);
    let bytes = outcome.history.map_or(0, |history| {
        size_of_val(&history.events[..])
            + size_of_val(&history.polled[..])
            + size_of_val(&history.commits[..])
            + size_of_val(&history.appended[..])
    });
    let per_event = bytes as f64 / outcome.events.max(1) as f64;
    BenchLine {
        what: "history, per event of the kernel".to_owned(),
        measured: format!("{per_event:.1} bytes"),
        target: String::new(),
        met: None,
    }
}

/// Resident memory after `warm` seeds and after `seeds` more.
fn memory(scenario: &Arc<Scenario>, warm: u64, seeds: u64) -> BenchLine {
    campaign(scenario, 0, warm, 2);
    let before = resident_kib();
    campaign(scenario, warm, seeds.saturating_sub(warm), 2);
    let after = resident_kib();
    let what = format!("memory over {} seeds", grouped(seeds));
    let target = "flat after the first 1,000".to_owned();
    let (Some(before), Some(after)) = (before, after) else {
        let measured = "not measurable on this system".to_owned();
        return BenchLine { what, measured, target, met: None };
    };
    BenchLine {
        what,
        measured: format!("{} KiB, then {} KiB", grouped(before), grouped(after)),
        target,
        met: Some(after <= before + before / 10),
    }
}

/// Resident memory of this process, where the system tells.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// One seed in a fresh process; the best of five.
fn cold_start(path: &Path) -> BenchLine {
    let best = (0..5).filter_map(|_| one_process(path)).min();
    let target = "150 ms".to_owned();
    let what = "one seed, cold process".to_owned();
    match best {
        Some(best) => BenchLine {
            what,
            measured: format!("{} (wall)", seconds(best.as_secs_f64())),
            target,
            met: Some(best < Duration::from_millis(150)),
        },
        None => BenchLine { what, measured: "could not start".to_owned(), target, met: None },
    }
}

fn one_process(path: &Path) -> Option<Duration> {
    let program = std::env::current_exe().ok()?;
    let began = Instant::now();
    let mut command = Command::new(program);
    command.arg("run").arg(path).args(["--seed", "42", "--format", "json"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    Some(began.elapsed())
}
