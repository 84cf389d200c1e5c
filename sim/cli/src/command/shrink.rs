//! `oncesim shrink`: the same failure, smaller.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use oncesim::{RunOptions, ShrinkOptions, Shrunk};
use oncesim_render::{ExplanationView, ShrinkView, shrink_story, shrink_text};
use oncesim_spec::FaultPlan;

use crate::args::ShrinkArgs;
use crate::command::fuzz::{cores, stop_on_interrupt};
use crate::exit::{Exit, Refusal};
use crate::explained::{self, Told};
use crate::progress::ShrinkLine;
use crate::source::Loaded;
use crate::{artifact, convert, output, source};

pub(crate) fn shrink(args: &ShrinkArgs) -> Result<Exit, Refusal> {
    let loaded = source::load(&args.file, &[])?;
    let origin = loaded.replay.as_ref().map(|replay| replay.scenario.clone());
    let origin = origin.filter(|path| !path.is_empty());
    let origin = origin.unwrap_or_else(|| loaded.scenario.path.clone());
    let (seed, plan) = which_run(args, &loaded)?;
    let out = args.out.clone().unwrap_or_else(|| beside(&args.file));
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    artifact::ensure_writable(folder.unwrap_or_else(|| Path::new(".")))?;
    let options = ShrinkOptions {
        jobs: args.jobs.map_or_else(cores, usize::from),
        stop: stop_on_interrupt(),
        ..ShrinkOptions::default()
    };
    let began = Instant::now();
    let mut line = ShrinkLine::new(&args.file.display().to_string());
    let done = oncesim::shrink(&loaded.scenario, &plan, seed, &options, &mut |p| line.update(p));
    line.finish();
    let Ok(shrunk) = done else {
        return Err(Refusal::new(
            format!("the run of seed {seed} does not fail: there is nothing to shrink"),
            args.file.display().to_string(),
            "`oncesim replay` shows what it does today; `oncesim fuzz` finds runs that fail",
        ));
    };
    let recorded = loaded.replay.map(|replay| replay.fingerprint).filter(|id| !id.is_empty());
    if let Some(recorded) = recorded.filter(|id| *id != shrunk.fingerprint) {
        let now = &shrunk.fingerprint;
        output::note(&format!("the file recorded {recorded}; today it shows {now}"));
    }
    let view = convert::shrunk(&shrunk, &origin, began.elapsed(), &options);
    artifact::write(&out, &text(&shrunk, &view))?;
    let shown = crate::command::run::quoted_path(&out);
    output::result(&shrink_text(&view, &shown, output::styled()))?;
    Ok(view.judgement.into())
}

/// What led to the failure, as far as the run itself says it; `None`: no anomaly says what failed.
fn told(shrunk: &Shrunk) -> Option<ExplanationView> {
    let (scenario, first) = (&shrunk.scenario, &shrunk.outcome);
    // What was cut short may have faults that it does not need.
    let told = oncesim::tell(scenario, &first.plan, first.seed, shrunk.ended.is_none()).ok()?;
    let (wall, budget, commands) = Default::default();
    Some(explained::view(&told, Told { scenario, wall, budget, commands }))
}

fn which_run(args: &ShrinkArgs, loaded: &Loaded) -> Result<(u64, FaultPlan), Refusal> {
    let seed = loaded.seed(args.seed)?.ok_or_else(|| source::which_run(&args.file))?;
    Ok((seed, oncesim::plan(&loaded.scenario, seed)))
}

/// `reports/out/a.toml` becomes `reports/out/a-shrunk.toml`, and stays that.
fn beside(file: &Path) -> PathBuf {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let stem = stem.unwrap_or_default();
    let stem = stem.strip_suffix("-shrunk").unwrap_or(&stem);
    file.with_file_name(format!("{stem}-shrunk.toml"))
}

/// The file of a shrunk run, with its story: read back and run once, so that it is known to be that
/// run.
pub(crate) fn text(shrunk: &Shrunk, view: &ShrinkView) -> String {
    let text = source::shrunk(shrunk, &shrink_story(view, told(shrunk).as_ref()));
    let read = oncesim_spec::parse(&shrunk.scenario.path, &text, None)
        .unwrap_or_else(|errors| panic!("a shrunk scenario is valid: {}", errors.render(false)));
    let seed = shrunk.outcome.seed;
    let again =
        oncesim::run(&Arc::new(read.scenario), &RunOptions { seed, ..RunOptions::default() });
    assert_eq!(
        again.digest, shrunk.outcome.digest,
        "a shrunk run that is written and read back is the same run"
    );
    text
}
