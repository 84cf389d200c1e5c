//! `oncesim fuzz`: many seeds of many scenarios.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oncesim::{
    Campaign, CampaignOptions, Failure, Judgement, Nondeterminism, ScenarioFacts, ShrinkOptions,
};
use oncesim_render::{
    CampaignView, ShrinkView, SummaryView, campaign_json, campaign_text, regressions_text,
    summary_text,
};
use oncesim_spec::Scenario;

use crate::args::{Format, FuzzArgs};
use crate::command::regressions::{self, Known};
use crate::command::{run, shrink};
use crate::convert::Kept;
use crate::exit::{Exit, Refusal};
use crate::progress::{ProgressLine, ShrinkLine};
use crate::report::Reports;
use crate::{artifact, convert, output, source};

/// Seeds per scenario, unless somebody says otherwise.
const SEEDS: u64 = 1_000;
/// Runs that shrinking one failure may take ...
pub(crate) const SHRINK_RUNS: u64 = 400;
/// ... and its wall time.
pub(crate) const SHRINK_TIME: Duration = Duration::from_secs(10);

pub(crate) fn fuzz(args: &FuzzArgs) -> Result<Exit, Refusal> {
    let (kept, files) = split(args)?;
    let scenarios = source::load_all(&files, &args.set)?;
    artifact::ensure_writable(&args.out)?;
    let reports = Reports::prepare(&args.reports)?;
    let stop = stop_on_interrupt();
    let began = Instant::now();
    let mut known = Known::new();
    let mut summary = SummaryView {
        regressions: replay_first(args, &kept, &mut known)?,
        campaigns: Vec::new(),
        skipped: Vec::new(),
        wall: Duration::ZERO,
    };
    if args.format == Format::Text {
        output::result(&regressions_text(&summary.regressions, output::styled()))?;
    }
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
        let position = format!("{}/{}", i + 1, scenarios.len());
        let view = one(args, scenario, budget, &stop, &position, &known)?;
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
    Ok(summary.worst().map_or(Exit::Vacuous, Exit::from))
}

/// The regressions that are replayed, and the scenarios that are searched.
fn split(args: &FuzzArgs) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Refusal> {
    let found = source::discover(&args.paths)?;
    let (mut kept, mut files): (Vec<_>, Vec<_>) = found.into_iter().partition(|file| {
        // What is in that folder without a recorded run is a scenario like any other.
        let records = || source::load_quietly(file, &args.set).is_ok_and(|l| l.replay.is_some());
        regressions::is_kept(file) && records()
    });
    kept.extend(regressions::in_folder(&args.out));
    for list in [&mut kept, &mut files] {
        let mut seen = std::collections::BTreeSet::new();
        list.retain(|file| seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())));
    }
    Ok((kept, files))
}

fn replay_first(
    args: &FuzzArgs,
    kept: &[PathBuf],
    known: &mut Known,
) -> Result<Vec<oncesim_render::RegressionView>, Refusal> {
    let mut views = Vec::new();
    for (i, file) in (0u64..).zip(kept) {
        // Each is replayed by one shard, and is known to all of them.
        let view = regressions::replay(file, &args.set, known)?;
        if args.shard.is_none_or(|(k, n)| i % n + 1 == k) {
            views.extend(view);
        }
    }
    Ok(views)
}

fn failed(summary: &SummaryView) -> bool {
    summary.worst().is_some_and(|worst| worst != oncesim_render::Judgement::AsClaimed)
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
    known: &Known,
) -> Result<CampaignView, Refusal> {
    let expected = scenario.expect.as_ref();
    let seeds = match (expected, args.seeds, budget) {
        (Some(expect), _, _) => expect.within,
        // A walk is gone to its end.
        (None, Some(seeds), _) if scenario.walk => seeds.max(scenario.scripted.len() as u64),
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
            strategy: args.strategy.into(),
            shard: if expected.is_some() { None } else { args.shard },
            fail_fast: args.fail_fast || expected.is_some(),
            recheck: args.recheck,
            stop: Arc::clone(stop),
        },
    };
    let total = (seeds < u64::MAX / 2).then_some(seeds);
    let mut line = ProgressLine::new(&format!("{position} {}", stem(&scenario.path)), total);
    let report = campaign.run(&mut |progress| line.update(progress));
    line.finish();
    let left = budget.map(|budget| budget.saturating_sub(report.sum.wall).max(SHRINK_TIME / 20));
    let options = ShrinkOptions {
        jobs: args.jobs.map_or_else(cores, usize::from).min(cores()),
        max_runs: SHRINK_RUNS,
        budget: Some(left.map_or(SHRINK_TIME, |left| left.min(SHRINK_TIME))),
        stop: Arc::clone(stop),
    };
    let mut kept = BTreeMap::new();
    for failure in &report.failures {
        let id = failure.fingerprint.clone();
        kept.insert(id, keep(args, scenario, failure, &options, known)?);
    }
    let mut view = convert::campaign(&ScenarioFacts::of(scenario), &report.sum, kept);
    for (found, shown) in report.sum.nondeterministic.iter().zip(&mut view.nondeterminism) {
        shown.command = again(args, scenario, found.seed);
        shown.histories = evidence(args, scenario, found)?;
    }
    Ok(view)
}

/// One file per distinct failure, whole or not at all: first the run as it was found, then the
/// smaller one in its place. What is known as a regression has its file.
fn keep(
    args: &FuzzArgs,
    scenario: &Arc<Scenario>,
    failure: &Failure,
    options: &ShrinkOptions,
    known: &Known,
) -> Result<Kept, Refusal> {
    let sentence = convert::sentence(&failure.fingerprint, &failure.first);
    if let Some(file) = known.get(&regressions::key(&scenario.path, &failure.fingerprint)) {
        return Ok(Kept { sentence, file: Some(file.clone()), shrunk: None });
    }
    let path = args.out.join(file_name(scenario, failure));
    artifact::write(&path, &source::counterexample(scenario, failure))?;
    // A pitfall that was found as expected is no failure that somebody has to understand.
    let shrunk = if args.no_shrink || failure.judgement == Judgement::AsClaimed {
        None
    } else {
        smaller(scenario, failure, options)
    };
    if let Some((text, _)) = &shrunk {
        artifact::write(&path, text)?;
    }
    let shrunk = shrunk.map(|(_, view)| view);
    Ok(Kept { sentence, file: Some(path.display().to_string()), shrunk })
}

/// The command that runs one seed of a campaign.
fn again(args: &FuzzArgs, scenario: &Scenario, seed: u64) -> String {
    let path = run::quoted_path(Path::new(&scenario.path));
    let sets = args.set.iter().map(|set| format!(" --set {}", run::quoted(set)));
    format!("oncesim run {path} --seed {seed}{}", sets.collect::<String>())
}

/// Keeps the histories of two runs that should have been one: they may never differ again.
fn evidence(
    args: &FuzzArgs,
    scenario: &Scenario,
    found: &Nondeterminism,
) -> Result<Option<[String; 2]>, Refusal> {
    let Some(histories) = &found.histories else { return Ok(None) };
    let path = |which: &str| {
        args.out.join(format!("{}-{}-{which}-run.jsonl", stem(&scenario.path), found.seed))
    };
    let paths = [path("first"), path("second")];
    for (path, history) in paths.iter().zip(histories.iter()) {
        artifact::write(path, &oncesim::history::jsonl::write_jsonl(history))?;
    }
    Ok(Some(paths.map(|path| path.display().to_string())))
}

pub(crate) fn smaller(
    scenario: &Arc<Scenario>,
    failure: &Failure,
    options: &ShrinkOptions,
) -> Option<(String, ShrinkView)> {
    let began = Instant::now();
    let mut line = ShrinkLine::new(&failure.fingerprint);
    let (plan, seed) = (&failure.first.plan, failure.first.seed);
    let done = oncesim::shrink(scenario, plan, seed, options, &mut |p| line.update(p));
    line.finish();
    // A run that fails only once has been reported as nondeterminism, or will be.
    let shrunk = done.ok().filter(|shrunk| shrunk.fingerprint == failure.fingerprint)?;
    if shrunk.runs == 1 {
        return None; // there was no time for more than the run itself
    }
    let view = convert::shrunk(&shrunk, &scenario.path, began.elapsed(), options);
    Some((shrink::text(&shrunk, &view), view))
}

pub(crate) fn file_name(scenario: &Scenario, failure: &Failure) -> String {
    let name: String = failure
        .fingerprint
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        .take(80)
        .collect();
    format!("{}-{name}-{}.toml", stem(&scenario.path), failure.first.seed)
}

fn stem(path: &str) -> String {
    Path::new(path).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A flag that Ctrl-C sets: the seeds in hand are finished and everything found is kept. A second
/// Ctrl-C ends at once.
pub(crate) fn stop_on_interrupt() -> Arc<AtomicBool> {
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
