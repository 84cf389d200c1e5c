//! `oncesim bench`: the figures to reach, measured on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use oncesim::{Campaign, CampaignOptions, CampaignReport, RunOptions};
use oncesim_render::{BenchLine, bench_json, bench_text, grouped, seconds};
use oncesim_spec::Scenario;

use crate::args::{BenchArgs, Format};
use crate::exit::{Exit, Refusal};
use crate::progress::ProgressLine;
use crate::{output, source};

/// Where the scenario is looked for that is measured unless another is given.
const CORPUS: &str = "scenarios/corpus";

pub(crate) fn bench(args: &BenchArgs) -> Result<Exit, Refusal> {
    if cfg!(debug_assertions) {
        output::note(
            "note: this build checks its assertions; `cargo run --release -- bench` measures \
             without them",
        );
    }
    let path = match &args.scenario {
        Some(path) => path.clone(),
        None => default_scenario()?,
    };
    let scenario = source::load(&path, &[])?.scenario;
    let scale = if args.quick { 1 } else { 10 };
    let mut lines = vec![kernel(100_000 * scale)];
    throughput(&scenario, 100 * scale, &mut lines);
    lines.push(history_bytes(&scenario));
    lines.push(memory(&scenario, 1_000, 1_000 * scale));
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

/// The first scenario of the corpus that claims exactly-once, else the first with a claim.
fn default_scenario() -> Result<PathBuf, Refusal> {
    use oncesim::semantics::Guarantee;
    let mut second = None;
    for path in source::discover(&[PathBuf::from(CORPUS)])? {
        let Ok(loaded) = source::load_quietly(&path, &[]) else { continue };
        match loaded.scenario.claim {
            Some(claim) if claim.log == Some(Guarantee::ExactlyOnce) => return Ok(path),
            Some(_) if second.is_none() => second = Some(path),
            _ => {}
        }
    }
    second.ok_or_else(|| {
        Refusal::new("no scenario with a claim", CORPUS, "name one: --scenario SCENARIO")
    })
}

fn campaign(scenario: &Arc<Scenario>, from: u64, seeds: u64, jobs: usize) -> CampaignReport {
    let campaign = Campaign {
        scenario: Arc::clone(scenario),
        options: CampaignOptions {
            from,
            seeds,
            budget: None,
            jobs,
            shard: None,
            fail_fast: false,
            recheck_every: 0,
            stop: Arc::new(AtomicBool::new(false)),
        },
    };
    let mut line = ProgressLine::new(&format!("bench, {jobs} jobs"), Some(seeds));
    let report = campaign.run(&mut |progress| line.update(progress));
    line.finish();
    report
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

/// Messages and runs per second on one core, and what a second core adds.
fn throughput(scenario: &Arc<Scenario>, seeds: u64, lines: &mut Vec<BenchLine>) {
    campaign(scenario, 0, seeds / 10, 1);
    let one = campaign(scenario, 0, seeds, 1);
    let two = campaign(scenario, 0, seeds, 2);
    let messages = rate(one.messages, one.wall);
    lines.push(BenchLine {
        what: "protocol messages, one core".to_owned(),
        measured: format!("{} messages/s (wall)", grouped(messages as u64)),
        target: "1,000,000 messages/s".to_owned(),
        met: Some(messages >= 1e6),
    });
    let alone = rate(one.seeds, one.wall);
    lines.push(BenchLine {
        what: "runs, one core".to_owned(),
        measured: format!("{alone:.0} runs/s (wall)"),
        target: String::new(),
        met: None,
    });
    let both = rate(two.seeds, two.wall);
    lines.push(BenchLine {
        what: "runs, two cores".to_owned(),
        measured: format!("{both:.0} runs/s (wall)"),
        target: "1,000 runs/s".to_owned(),
        met: Some(both >= 1e3),
    });
    lines.push(BenchLine {
        what: "second core".to_owned(),
        measured: format!("{:.2} times one core", both / alone),
        target: "1.9 times".to_owned(),
        met: Some(both / alone >= 1.9),
    });
    let covered = one.virtual_time.as_nanos() as f64 / 1e9 / one.wall.as_secs_f64().max(1e-9);
    lines.push(BenchLine {
        what: "virtual time, one core".to_owned(),
        measured: format!("{} per second (wall)", seconds(covered)),
        target: String::new(),
        met: None,
    });
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
    campaign(scenario, warm, seeds, 2);
    let after = resident_kib();
    let what = format!("memory over {} seeds", grouped(warm + seeds));
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
