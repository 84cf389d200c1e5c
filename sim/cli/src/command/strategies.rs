//! `oncesim mutants --strategies`: how long each strategy hunts each planted bug.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use oncesim::kafka::mutation::Mutation;
use oncesim::{Hunt, StrategyKind, hunt};
use oncesim_render::{
    HuntCell, HuntRow, StrategyTable, strategies_json, strategies_markdown, strategies_text,
};
use oncesim_spec::Scenario;

use crate::args::{MutantsArgs, TableFormat};
use crate::command::fuzz::cores;
use crate::exit::{Exit, Refusal};
use crate::{output, source};

/// Seeds of a hunt, unless somebody says otherwise.
const MOST: u64 = 300;

/// From one master seed to the next: hunts share no seed.
const APART: u64 = 1_000_000;

/// One hunt: row, strategy, and the number of its master seed.
type Task = (usize, usize, u64);

pub(crate) fn strategies(args: &MutantsArgs, format: TableFormat) -> Result<Exit, Refusal> {
    let paths = source::discover(std::slice::from_ref(&args.path))?;
    let scenarios = source::load_all(&paths, &[])?;
    let mut table = StrategyTable {
        strategies: StrategyKind::ALL.iter().map(|kind| kind.name().to_owned()).collect(),
        masters: args.masters,
        most: args.seeds.unwrap_or(MOST),
        rows: scenarios.iter().map(row).collect::<Result<_, _>>()?,
    };
    for ((row, strategy, _), hunt, wall) in all(&scenarios, &table, args) {
        table.rows[row].cells[strategy].hunts.push((hunt.runs, hunt.found, wall));
    }
    output::result(&match format {
        TableFormat::Text => strategies_text(&table),
        TableFormat::Json => strategies_json(&table),
        TableFormat::Markdown => strategies_markdown(&table),
    })?;
    Ok(Exit::AsClaimed)
}

fn row(scenario: &Arc<Scenario>) -> Result<HuntRow, Refusal> {
    let planted = Mutation::ALL.iter().find(|&&mutation| scenario.mutations.has(mutation));
    let (Some(mutation), Some(_)) = (planted, &scenario.expect) else {
        return Err(super::mutants::no_hunt(scenario));
    };
    Ok(HuntRow {
        id: mutation.id().to_owned(),
        scenario: scenario.path.clone(),
        drawn: scenario.swarm.is_some(),
        cells: vec![HuntCell::default(); StrategyKind::ALL.len()],
    })
}

/// All hunts, in order; each on one thread.
fn all(
    scenarios: &[Arc<Scenario>],
    table: &StrategyTable,
    args: &MutantsArgs,
) -> Vec<(Task, Hunt, Duration)> {
    let mut tasks: Vec<Task> = Vec::new();
    for row in 0..scenarios.len() {
        for strategy in 0..StrategyKind::ALL.len() {
            tasks.extend((0..table.masters).map(|master| (row, strategy, master)));
        }
    }
    let bar = ProgressBar::new(tasks.len() as u64);
    let template = "strategies {wide_bar} {pos}/{len} hunts  {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.map_or_else(cores, usize::from) {
            scope.spawn(|| {
                while let Some(&task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (row, strategy, master) = task;
                    let began = Instant::now();
                    let kind = StrategyKind::ALL[strategy];
                    let hunt = hunt(&scenarios[row], kind, master * APART, table.most);
                    done.lock().expect("nobody panics with it").push((task, hunt, began.elapsed()));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().expect("nobody panics with it");
    done.sort_by_key(|(task, ..)| *task);
    done
}
