//! `oncesim fuzz`: many seeds of many scenarios.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oncesim::{
    Campaign, CampaignOptions, Failure, Judgement, Nondeterminism, ShrinkOptions, Standing,
};
use oncesim_render::{
    ShrinkView, SummaryView, campaign_json, campaign_text, regressions_text, summary_text,
};
use oncesim_spec::Scenario;

use crate::args::{Format, FuzzArgs};
use crate::command::regressions::{self, Known};
use crate::command::shrink;
use crate::exit::{Exit, Refusal};
use crate::progress::{ProgressLine, ShrinkLine};
use crate::report::Reports;
use crate::results::{self, Journal, Told};
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
    for (path, option) in [(&args.results, "--results"), (&args.resume, "--resume")] {
        path.as_deref().map_or(Ok(()), |path| artifact::ensure_file(path, option))?;
    }
    let mut search = Search {
        args,
        stop: stop_on_interrupt(),
        known: Known::new(),
        journal: Journal::open(args, &scenarios)?,
    };
    search.journal.results.regressions = replay_first(args, &kept, &mut search.known)?;
    let regressions = &search.journal.results.regressions;
    if args.format == Format::Text {
        output::result(&regressions_text(regressions, output::styled()))?;
    }
    let mut worst = regressions.iter().map(|one| one.judgement).max();
    for (i, scenario) in scenarios.iter().enumerate() {
        let left = scenarios.len() - i;
        search.scenario(i, left, scenario, worst)?;
        let Some(view) = search.journal.results.scenarios[i].view() else { continue };
        if args.format == Format::Text {
            output::result(&campaign_text(&view, output::styled()))?;
        }
        worst = worst.max(Some(view.judgement));
    }
    search.journal.results.shards[0].finished = !search.stop.load(Ordering::Relaxed);
    let saved = search.journal.save();
    let results = &search.journal.results;
    let mut summary = results.summary();
    // The other shards are elsewhere, not missing.
    summary.missing.clear();
    let stored = args.results.as_deref().map_or(Ok(()), |path| results.write(path));
    report(&summary, &reports, args.format)?;
    saved.and(stored)?;
    Ok(results.exit(&summary))
}

/// Leaves every report of a campaign, and prints what is still to be printed.
pub(crate) fn report(
    summary: &SummaryView,
    reports: &Reports,
    format: Format,
) -> Result<(), Refusal> {
    // A report that cannot be written takes nothing away from the result.
    let written = reports.write(summary);
    reports.annotate(summary, format)?;
    match format {
        Format::Text => output::result(&summary_text(summary, output::styled()))?,
        Format::Json => output::result(&campaign_json(summary))?,
    }
    written
}

/// A campaign over several scenarios.
struct Search<'a> {
    args: &'a FuzzArgs,
    stop: Arc<AtomicBool>,
    known: Known,
    journal: Journal,
}

/// The regressions that are replayed, and the scenarios that are searched.
fn split(args: &FuzzArgs) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Refusal> {
    let found = source::discover(&args.paths)?;
    let (mut kept, mut files): (Vec<_>, Vec<_>) = found.into_iter().partition(|file| {
        // What is in that folder without a recorded run is a scenario like any other.
        let records = || source::load_quietly(file, &args.set).is_ok_and(|l| l.replay.is_some());
        regressions::is_kept(file) && records()
    });
    kept.extend(regressions::beside(&args.paths, &files, &args.set));
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

/// Seeds of a claim are shared between shards. The search for an expected anomaly is not: it
/// belongs to one shard as a whole, because only the whole can say that it was not found.
fn mine(args: &FuzzArgs, scenario: &Scenario, i: usize) -> bool {
    match args.shard {
        Some((k, n)) if scenario.expect.is_some() => i as u64 % n + 1 == k,
        _ => true,
    }
}

/// How many seeds a scenario has.
fn seeds(args: &FuzzArgs, scenario: &Scenario) -> u64 {
    match (&scenario.expect, args.seeds, args.budget) {
        (Some(expect), _, _) => expect.within,
        // A walk is gone to its end.
        (None, Some(seeds), _) if scenario.walk => seeds.max(scenario.scripted.len() as u64),
        (None, Some(seeds), _) => seeds,
        (None, None, Some(_)) => u64::MAX,
        (None, None, None) => SEEDS,
    }
}

impl Search<'_> {
    /// Runs the seeds of a scenario that have not run, unless something says that it is enough.
    fn scenario(
        &mut self,
        i: usize,
        left: usize,
        scenario: &Arc<Scenario>,
        worst: Option<oncesim_render::Judgement>,
    ) -> Result<(), Refusal> {
        let args = self.args;
        let budget = args.budget.map(|budget| {
            let own = self.journal.results.scenarios[i].parts.iter().map(|part| part.wall_ms).sum();
            let own = Duration::from_millis(own);
            let others = self.journal.spent().saturating_sub(own);
            let share = budget.saturating_sub(others) / u32::try_from(left).unwrap_or(u32::MAX);
            share.saturating_sub(own)
        });
        let failed = worst.is_some_and(|worst| worst != oncesim_render::Judgement::AsClaimed);
        // The same input, another run: no result of this machine can be trusted.
        let unsound = worst == Some(oncesim_render::Judgement::Nondeterministic);
        let campaign = self.campaign(scenario, budget);
        self.journal.check(i, campaign.seeds())?;
        let done = self.stop.load(Ordering::Relaxed)
            || self.journal.results.scenarios[i].finished
            || budget == Some(Duration::ZERO)
            || (args.fail_fast && failed)
            || unsound
            || !mine(args, scenario, i)
            || campaign.seeds().count() == Some(0);
        if done {
            return Ok(());
        }
        let position = format!("{}/{} {}", i + 1, i + left, stem(&scenario.path));
        self.run(i, &position, &campaign)
    }

    fn campaign(&self, scenario: &Arc<Scenario>, budget: Option<Duration>) -> Campaign {
        let args = self.args;
        let expected = scenario.expect.is_some();
        Campaign {
            scenario: Arc::clone(scenario),
            options: CampaignOptions {
                from: args.from,
                seeds: seeds(args, scenario),
                budget,
                jobs: args.jobs.map_or_else(cores, usize::from),
                strategy: args.strategy.into(),
                shard: if expected { None } else { args.shard },
                fail_fast: args.fail_fast || expected,
                recheck: args.recheck,
                stop: Arc::clone(&self.stop),
            },
        }
    }

    fn run(&mut self, i: usize, position: &str, campaign: &Campaign) -> Result<(), Refusal> {
        let (args, scenario) = (self.args, &campaign.scenario);
        let part = self.journal.part(i).unwrap_or_else(|| campaign.start());
        let seeds = campaign.options.seeds;
        let total = (seeds < u64::MAX / 2).then_some(seeds);
        let mut line = ProgressLine::new(position, total);
        let mut watch = |standing: &Standing<'_>| {
            line.update(&standing.part.progress());
            self.journal.note(i, standing);
        };
        let report = campaign.go_on(part, &mut watch, &oncesim::run);
        let mut report = report.map_err(|cause| self.journal.refuse(&cause))?;
        line.finish();
        let left = campaign.options.budget;
        let left = left.map(|left| left.saturating_sub(report.sum.wall).max(SHRINK_TIME / 20));
        let options = ShrinkOptions {
            jobs: args.jobs.map_or_else(cores, usize::from).min(cores()),
            max_runs: SHRINK_RUNS,
            budget: Some(left.map_or(SHRINK_TIME, |left| left.min(SHRINK_TIME))),
            stop: Arc::clone(&self.stop),
            ..ShrinkOptions::default()
        };
        for found in &mut report.part.nondeterministic {
            evidence(args, scenario, found)?;
        }
        let mut told = BTreeMap::new();
        for failure in &report.failures {
            // What does not run the same way twice cannot be made smaller.
            let whole = args.no_shrink || !report.part.nondeterministic.is_empty();
            let options = (!whole).then_some(&options);
            let id = failure.fingerprint.clone();
            told.insert(id, keep(args, scenario, failure, options, &self.known)?);
        }
        let results = &mut self.journal.results.scenarios[i];
        results.finished = !self.stop.load(Ordering::Relaxed);
        results.parts = vec![report.part];
        results.told = told;
        self.journal.save()
    }
}

/// One file per distinct failure, whole or not at all: first the run as it was found, then the
/// smaller one in its place. What is known as a regression has its file.
fn keep(
    args: &FuzzArgs,
    scenario: &Arc<Scenario>,
    failure: &Failure,
    options: Option<&ShrinkOptions>,
    known: &Known,
) -> Result<Told, Refusal> {
    let mut told = Told {
        seed: failure.seeds.first().copied().unwrap_or_default(),
        sentence: convert::sentence(&failure.fingerprint, &failure.first),
        file: None,
        text: None,
        shrunk: None,
    };
    if let Some(file) = known.get(&regressions::key(&scenario.path, &failure.fingerprint)) {
        return Ok(Told { file: Some(file.clone()), ..told });
    }
    let path = args.out.join(file_name(scenario, failure));
    let mut text = source::counterexample(scenario, failure);
    artifact::write(&path, &text)?;
    // A pitfall that was found as expected is no failure that somebody has to understand.
    let options = options.filter(|_| failure.judgement != Judgement::AsClaimed);
    if let Some((small, view)) = options.and_then(|it| smaller(scenario, failure, it)) {
        artifact::write(&path, &small)?;
        text = small;
        told.shrunk = Some(view);
    }
    Ok(Told { file: Some(path.display().to_string()), text: Some(text), ..told })
}

/// Keeps the histories of two runs that should have been one: they may never differ again.
fn evidence(
    args: &FuzzArgs,
    scenario: &Scenario,
    found: &mut Nondeterminism,
) -> Result<(), Refusal> {
    results::in_words(found);
    let Some(histories) = &found.histories else { return Ok(()) };
    let path = |which: &str| {
        args.out.join(format!("{}-{}-{which}-run.jsonl", stem(&scenario.path), found.seed))
    };
    let paths = [path("first"), path("second")];
    for (path, history) in paths.iter().zip(histories.iter()) {
        artifact::write(path, &oncesim::history::jsonl::write_jsonl(history))?;
    }
    found.files = Some(paths.map(|path| path.display().to_string()));
    Ok(())
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
