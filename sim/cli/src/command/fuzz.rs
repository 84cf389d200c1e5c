//! `oncesim fuzz`: many seeds of many scenarios.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oncesim::{Campaign, CampaignOptions, CampaignReport};
use oncesim_render::{CampaignView, SummaryView, campaign_json, campaign_text, summary_text};
use oncesim_spec::Scenario;

use crate::args::{Format, FuzzArgs};
use crate::exit::{Exit, Refusal};
use crate::progress::ProgressLine;
use crate::report::Reports;
use crate::{artifact, convert, output, source};

/// Seeds per scenario, unless somebody says otherwise.
const SEEDS: u64 = 1_000;
/// One seed in so many runs twice.
const RECHECK_EVERY: u64 = 64;

pub(crate) fn fuzz(args: &FuzzArgs) -> Result<Exit, Refusal> {
    let scenarios = source::load_all(&source::discover(&args.paths)?, &args.set)?;
    artifact::ensure_writable(&args.out)?;
    let reports = Reports::prepare(&args.reports)?;
    let stop = stop_on_interrupt();
    let began = Instant::now();
    let mut summary =
        SummaryView { campaigns: Vec::new(), skipped: Vec::new(), wall: Duration::ZERO };
    for (i, scenario) in scenarios.iter().enumerate() {
        let left = scenarios.len() - i;
        let budget = args.budget.map(|budget| {
            budget.saturating_sub(began.elapsed()) / u32::try_from(left).unwrap_or(u32::MAX)
        });
        let done = stop.load(Ordering::Relaxed)
            || budget == Some(Duration::ZERO)
            || (args.fail_fast && failed(&summary))
            || !mine(args, scenario, i);
        if done {
            summary.skipped.push(scenario.path.clone());
            continue;
        }
        let view = one(args, scenario, budget, &stop, &format!("{}/{}", i + 1, scenarios.len()))?;
        if args.format == Format::Text {
            output::result(&campaign_text(&view, output::styled()))?;
        }
        summary.campaigns.push(view);
    }
    summary.wall = began.elapsed();
    // A report that cannot be written takes nothing away from the result.
    let written = reports.write(&summary);
    reports.annotate(&summary, args.format)?;
    match args.format {
        Format::Text => output::result(&summary_text(&summary, output::styled()))?,
        Format::Json => output::result(&campaign_json(&summary))?,
    }
    written?;
    let worst = summary.campaigns.iter().map(|campaign| campaign.judgement).max();
    Ok(worst.map_or(Exit::Vacuous, Exit::from))
}

fn failed(summary: &SummaryView) -> bool {
    summary.campaigns.iter().any(|c| c.judgement != oncesim_render::Judgement::AsClaimed)
}

/// Seeds of a claim are shared between shards. The search for an expected anomaly is not: it
/// belongs to one shard as a whole, because only the whole can say that it was not found.
fn mine(args: &FuzzArgs, scenario: &Scenario, i: usize) -> bool {
    match args.shard {
        Some((k, n)) if scenario.expect.is_some() => i as u64 % n + 1 == k,
        _ => true,
    }
}

fn one(
    args: &FuzzArgs,
    scenario: &Arc<Scenario>,
    budget: Option<Duration>,
    stop: &Arc<AtomicBool>,
    position: &str,
) -> Result<CampaignView, Refusal> {
    let expected = scenario.expect.as_ref();
    let seeds = match (expected, args.seeds, budget) {
        (Some(expect), _, _) => expect.within,
        (None, Some(seeds), _) => seeds,
        (None, None, Some(_)) => u64::MAX,
        (None, None, None) => SEEDS,
    };
    let campaign = Campaign {
        scenario: Arc::clone(scenario),
        options: CampaignOptions {
            from: args.from,
            seeds,
            budget,
            jobs: args.jobs.map_or_else(cores, usize::from),
            shard: if expected.is_some() { None } else { args.shard },
            fail_fast: args.fail_fast || expected.is_some(),
            recheck_every: RECHECK_EVERY,
            stop: Arc::clone(stop),
        },
    };
    let known = (seeds < u64::MAX / 2).then_some(seeds);
    let mut line = ProgressLine::new(&format!("{position} {}", stem(&scenario.path)), known);
    let report = campaign.run(&mut |progress| line.update(progress));
    line.finish();
    let files = write_counterexamples(&args.out, scenario, &report)?;
    Ok(convert::campaign(scenario, &report, files))
}

/// One file per distinct failure, whole or not at all.
fn write_counterexamples(
    folder: &Path,
    scenario: &Scenario,
    report: &CampaignReport,
) -> Result<Vec<Option<String>>, Refusal> {
    let mut files = Vec::new();
    for failure in &report.failures {
        let name: String = failure
            .fingerprint
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
            .take(80)
            .collect();
        let file = format!("{}-{name}-{}.toml", stem(&scenario.path), failure.first.seed);
        let path: PathBuf = folder.join(file);
        artifact::write(&path, &source::counterexample(scenario, failure))?;
        files.push(Some(path.display().to_string()));
    }
    Ok(files)
}

fn stem(path: &str) -> String {
    Path::new(path).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A flag that Ctrl-C sets: the seeds in hand are finished and everything found is kept. A second
/// Ctrl-C ends at once.
fn stop_on_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    // Without a handler Ctrl-C ends the process, which loses only what was not yet printed.
    let _ = ctrlc::set_handler(handler);
    stop
}
