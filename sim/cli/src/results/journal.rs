//! The results of a campaign while it runs: with `--resume FILE` they are in the file at any time,
//! whole, and at most a moment old. A seed that the file does not have yet runs again and counts
//! once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oncesim::{Part, ScenarioFacts, Seeds, Standing, StrategyKind};
use oncesim_spec::Scenario;

use super::{Results, ScenarioResults, Shard};
use crate::args::FuzzArgs;
use crate::exit::Refusal;
use crate::output;

/// How old the file may be. Writing takes a twentieth of the time at most.
const MOMENT: Duration = Duration::from_millis(250);

/// Results, and where they go.
pub(crate) struct Journal {
    pub(crate) results: Results,
    path: Option<PathBuf>,
    began: Instant,
    /// Wall time of earlier processes.
    before: Duration,
    due: Instant,
}

impl Journal {
    /// The results that `--resume` names, or none yet.
    pub(crate) fn open(args: &FuzzArgs, scenarios: &[Arc<Scenario>]) -> Result<Journal, Refusal> {
        let (shard, of) = args.shard.unwrap_or((1, 1));
        let shard = Shard { from: args.from, of, shard, finished: false, wall_ms: 0 };
        let each = scenarios.iter().map(|scenario| ScenarioResults {
            facts: ScenarioFacts::of(scenario),
            strategy: StrategyKind::from(args.strategy).name().to_owned(),
            recheck: args.recheck,
            fail_fast: args.fail_fast,
            sets: args.set.clone(),
            finished: false,
            parts: Vec::new(),
            told: Default::default(),
        });
        let mut results = Results::begin(shard, each.collect());
        if let Some(path) = args.resume.as_deref().filter(|path| path.exists()) {
            let old = Results::read(path)?;
            match other(&results, &old) {
                Some(cause) => return Err(not_this(path, &cause)),
                None => results = old,
            }
        }
        let before = Duration::from_millis(results.shards[0].wall_ms);
        let now = Instant::now();
        let path = args.resume.clone();
        let mut journal = Journal { results, path, began: now, before, due: now };
        journal.results.shards[0].finished = false;
        Ok(journal)
    }

    /// Wall time of this process and those before it.
    pub(crate) fn spent(&self) -> Duration {
        self.before + self.began.elapsed()
    }

    /// What is known of a scenario's seeds.
    pub(crate) fn part(&self, i: usize) -> Option<Part> {
        self.results.scenarios[i].parts.first().cloned()
    }

    /// Refuses to go on with other seeds than those that were begun.
    pub(crate) fn check(&self, i: usize, wanted: Seeds) -> Result<(), Refusal> {
        let known = self.results.scenarios[i].parts.first();
        let Some(part) = known.filter(|part| part.seeds != wanted) else { return Ok(()) };
        let seeds = |planned: Option<u64>| {
            planned.map_or_else(|| "as many seeds as fit".to_owned(), |n| format!("{n} seeds"))
        };
        let (then, now) = (seeds(part.seeds.planned), seeds(wanted.planned));
        Err(self.refuse(&format!("it has {then} per scenario, and this one {now}")))
    }

    /// A campaign that cannot go on from what the file has of it.
    pub(crate) fn refuse(&self, cause: &str) -> Refusal {
        not_this(self.path.as_deref().unwrap_or(Path::new("")), cause)
    }

    /// Takes in where a scenario stands; writes it down from time to time.
    pub(crate) fn note(&mut self, i: usize, standing: &Standing<'_>) {
        let began = Instant::now();
        if self.path.is_none() || began < self.due {
            return;
        }
        self.results.scenarios[i].parts = vec![standing.checkpoint()];
        if let Err(refusal) = self.save() {
            output::note(&format!("{refusal}\n"));
        }
        self.due = Instant::now() + MOMENT.max(began.elapsed() * 20);
    }

    /// Writes the file.
    pub(crate) fn save(&mut self) -> Result<(), Refusal> {
        self.results.shards[0].wall_ms =
            u64::try_from(self.spent().as_millis()).unwrap_or(u64::MAX);
        self.path.as_deref().map_or(Ok(()), |path| self.results.write(path))
    }
}

/// Why a file is of another campaign.
fn other(new: &Results, old: &Results) -> Option<String> {
    let [shard] = &old.shards[..] else {
        return Some("it is merged from several shards".to_owned());
    };
    let asked = &new.shards[0];
    let name =
        |shard: &Shard| format!("shard {}/{} from seed {}", shard.shard, shard.of, shard.from);
    if (shard.from, shard.of, shard.shard) != (asked.from, asked.of, asked.shard) {
        return Some(format!("it is {}, and this one {}", name(shard), name(asked)));
    }
    if old.scenarios.len() != new.scenarios.len() {
        let (n, m) = (old.scenarios.len(), new.scenarios.len());
        return Some(format!("it has {n} scenarios, and this one {m}"));
    }
    let pairs = old.scenarios.iter().zip(&new.scenarios);
    pairs.filter_map(|(old, new)| new.differs(old)).next()
}

fn not_this(path: &Path, cause: &str) -> Refusal {
    Refusal::new(
        format!("the file holds another campaign: {cause}"),
        path.display().to_string(),
        "repeat the options with which it was begun, or name a new file: --resume FILE",
    )
}
