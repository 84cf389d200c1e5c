//! Results of a campaign as a file: what every scenario's seeds have in common, shard by shard, so
//! that a campaign that was killed goes on, and the shards of several machines add up.
//!
//! The file holds what was counted (`oncesim::Part`) and what was told, never a verdict: that is
//! computed from the parts whenever somebody asks.

mod journal;
mod merge;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use oncesim::{Nondeterminism, Part, ScenarioFacts, Sum};
use oncesim_render::{CampaignView, Judgement, RegressionView, ShrinkView, SummaryView};
use serde::{Deserialize, Serialize};

use crate::artifact;
use crate::command::run::{quoted, quoted_path};
use crate::convert::{self, Kept};
use crate::exit::{Exit, Refusal};

pub(crate) use journal::Journal;
pub(crate) use merge::merge;

/// What the first field of such a file says.
const FORMAT: &str = "oncesim-results";
/// Its shape; files of another one are refused.
const SCHEMA: u32 = 1;

/// The results of a campaign over several scenarios, or of some shards of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) format: String,
    pub(crate) schema: u32,
    /// The version of oncesim: another one may mean other runs by the same seeds.
    pub(crate) version: String,
    /// The shards whose results these are.
    pub(crate) shards: Vec<Shard>,
    /// In the order in which they run.
    pub(crate) scenarios: Vec<ScenarioResults>,
    /// What known regressions do.
    pub(crate) regressions: Vec<RegressionView>,
}

/// One process's share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Shard {
    /// The first seed of the whole.
    pub(crate) from: u64,
    /// Of so many shards ...
    pub(crate) of: u64,
    /// ... this one, from 1.
    pub(crate) shard: u64,
    /// Whether it came to its end; else it was killed or interrupted.
    pub(crate) finished: bool,
    /// Wall time.
    pub(crate) wall_ms: u64,
}

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScenarioResults {
    /// What is known of it; its identity is the hash of its text with every `--set`.
    pub(crate) facts: ScenarioFacts,
    /// How runs are chosen.
    pub(crate) strategy: String,
    /// How many per cent of the seeds run twice.
    pub(crate) recheck: u8,
    /// Whether the first failure ends it.
    pub(crate) fail_fast: bool,
    /// As given to `--set`.
    pub(crate) sets: Vec<String>,
    /// Whether its seeds are through, and everything is told.
    pub(crate) finished: bool,
    /// What was counted; none if it did not run.
    pub(crate) parts: Vec<Part>,
    /// What people are told of its failures, by fingerprint.
    pub(crate) told: BTreeMap<String, Told>,
}

/// What people are told of a failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The first seed that shows it.
    pub(crate) seed: u64,
    /// What happened.
    pub(crate) sentence: String,
    /// The file to replay.
    pub(crate) file: Option<String>,
    /// Its text; none for a regression, which is in the repository.
    pub(crate) text: Option<String>,
    /// How it was made smaller.
    pub(crate) shrunk: Option<ShrinkView>,
}

impl ScenarioResults {
    /// What its parts say together.
    pub(crate) fn view(&self) -> Option<CampaignView> {
        let parts: Vec<&Part> = self.parts.iter().collect();
        if parts.is_empty() {
            return None;
        }
        let mut sum = Sum::of(&self.facts, &parts);
        if self.strategy == oncesim::StrategyKind::Guided.name() {
            sum.is_no_sample();
        }
        let kept = self.told.iter().map(|(id, told)| {
            let Told { sentence, file, shrunk, .. } = told.clone();
            (id.clone(), Kept { sentence, file, shrunk })
        });
        let mut view = convert::campaign(&self.facts, &sum, kept.collect());
        for found in &mut view.nondeterminism {
            found.command = self.again(found.seed);
        }
        Some(view)
    }

    /// The command that runs one of its seeds; empty where a seed alone does not say what runs.
    fn again(&self, seed: u64) -> String {
        if self.strategy != oncesim::StrategyKind::Swarm.name() {
            return String::new();
        }
        let path = quoted_path(Path::new(&self.facts.path));
        let sets: String = self.sets.iter().map(|set| format!(" --set {}", quoted(set))).collect();
        format!("oncesim run {path} --seed {seed}{sets}")
    }

    /// What another file has otherwise, if it does not speak of the same scenario run in the same
    /// way: a fragment.
    fn differs(&self, other: &ScenarioResults) -> Option<String> {
        let (our, their) = (&self.facts, &other.facts);
        if our.path != their.path {
            return Some(format!("{} is in the place of {}", their.path, our.path));
        }
        if our != their {
            return Some(format!("{} is not the same scenario in both", our.path));
        }
        let ways = [self, other].map(|it| {
            let fast = if it.fail_fast { " --fail-fast" } else { "" };
            format!("--strategy {} --recheck {}{fast}", it.strategy, it.recheck)
        });
        let [our, their] = ways;
        (our != their).then(|| format!("{} ran with {their} and not {our}", self.facts.path))
    }
}

impl Results {
    /// Nothing has run yet.
    pub(crate) fn begin(shard: Shard, scenarios: Vec<ScenarioResults>) -> Results {
        Results {
            format: FORMAT.to_owned(),
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            shards: vec![shard],
            scenarios,
            regressions: Vec::new(),
        }
    }

    /// Reads a file; refuses what is none of ours.
    pub(crate) fn read(path: &Path) -> Result<Results, Refusal> {
        let place = path.display().to_string();
        let refuse = |cause: String, fix: &str| Refusal::new(cause, place.clone(), fix);
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| {
                refuse("these are no results: not text in UTF-8".to_owned(), WRITTEN_BY)
            })?,
            Err(error) => {
                let cause = format!("the results cannot be read: {}", artifact::reason(&error));
                return Err(refuse(cause, WRITTEN_BY));
            }
        };
        #[derive(Deserialize)]
        struct Head {
            format: String,
            schema: u32,
            version: String,
        }
        let head: Head = match serde_json::from_str(&text) {
            Ok(head) => head,
            Err(error) => {
                return Err(refuse(format!("these are no results: {error}"), WRITTEN_BY));
            }
        };
        if head.format != FORMAT {
            let cause = format!("these are no results of oncesim but `{}`", head.format);
            return Err(refuse(cause, WRITTEN_BY));
        }
        let ours = (SCHEMA, env!("CARGO_PKG_VERSION"));
        if (head.schema, head.version.as_str()) != ours {
            let cause = format!(
                "these results are of oncesim {} (schema {}), and this is oncesim {} (schema {})",
                head.version, head.schema, ours.1, ours.0,
            );
            return Err(refuse(
                cause,
                "use one version for all shards: seeds mean other runs in another",
            ));
        }
        let results: Results = serde_json::from_str(&text)
            .map_err(|error| refuse(format!("the results are damaged: {error}"), WRITTEN_BY))?;
        match results.inconsistent() {
            Some(cause) => Err(refuse(format!("the results are damaged: {cause}"), WRITTEN_BY)),
            None => Ok(results),
        }
    }

    /// What no process of ours writes.
    fn inconsistent(&self) -> Option<String> {
        let shard = |shard: u64, of: u64| {
            (!(1..=of).contains(&shard)).then(|| format!("shard {shard}/{of}"))
        };
        let shards = self.shards.iter().find_map(|it| shard(it.shard, it.of));
        let parts = self.scenarios.iter().flat_map(|scenario| &scenario.parts);
        let part = |part: &Part| {
            let more = part.seeds.count().is_some_and(|count| part.done > count);
            let few = part.done < part.failing.max(part.vacuous).max(part.expected);
            let unnamed = part.found.values().any(|found| found.seeds.is_empty());
            shard(part.seeds.shard, part.seeds.of).or_else(|| {
                (more || few || unnamed).then(|| format!("counts of shard {}", part.seeds.shard))
            })
        };
        shards.or_else(|| parts.clone().find_map(part))
    }

    /// Writes the file, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Refusal> {
        let mut text = serde_json::to_string(self).expect("results are strings and numbers");
        text.push('\n');
        artifact::write(path, &text)
    }

    /// Everything together.
    pub(crate) fn summary(&self) -> SummaryView {
        let views = self.scenarios.iter().map(|scenario| (scenario, scenario.view()));
        let (mut campaigns, mut skipped) = (Vec::new(), Vec::new());
        for (scenario, view) in views {
            match view {
                Some(view) => campaigns.push(view),
                None => skipped.push(scenario.facts.path.clone()),
            }
        }
        SummaryView {
            regressions: self.regressions.clone(),
            campaigns,
            skipped,
            missing: self.missing(),
            wall: Duration::from_millis(self.shards.iter().map(|shard| shard.wall_ms).sum()),
        }
    }

    /// Shards that are not there: `2/3`.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut campaigns: Vec<(u64, u64)> =
            self.shards.iter().map(|it| (it.from, it.of)).collect();
        campaigns.dedup();
        for (from, of) in campaigns {
            let there = |shard: &u64| {
                self.shards.iter().any(|it| (it.from, it.of, it.shard) == (from, of, *shard))
            };
            missing.extend(
                (1..=of).filter(|shard| !there(shard)).map(|shard| format!("{shard}/{of}")),
            );
        }
        missing
    }

    /// The exit code of everything together. With a shard missing nothing is proved.
    pub(crate) fn exit(&self, summary: &SummaryView) -> Exit {
        // A shard of a campaign with fewer scenarios and seeds than shards has nothing to do.
        let idle = self.shards.iter().any(|shard| shard.of > 1 && shard.finished);
        let nothing = if idle { Judgement::AsClaimed } else { Judgement::Vacuous };
        summary.worst().unwrap_or(nothing).into()
    }
}

/// Where such files come from.
const WRITTEN_BY: &str = "give files that `oncesim fuzz --results FILE` or --resume wrote";

/// Tells nondeterminism in the words of reports, while its histories are at hand.
pub(crate) fn in_words(found: &mut Nondeterminism) {
    if let Some((event, histories)) = found.event.zip(found.histories.as_deref()) {
        found.sides = histories.each_ref().map(|history| convert::event_in_words(history, event));
    }
}
