//! The arguments, as data.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Does this pipeline really deliver at most once, at least once or exactly once when processes
/// crash, acknowledgements are lost and zombies wake up?
#[derive(Debug, Parser)]
#[command(
    name = "oncesim",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 as claimed; 1 a claimed guarantee was violated; 2 the scenario or \
                  the command is wrong; 3 the system never recovered; 4 nondeterminism; 5 nothing \
                  was proved; 101 a bug of oncesim."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) color: colorchoice_clap::Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one seed of a scenario: its world, its verdict, and the facts behind it
    Run(RunArgs),
    /// Run many seeds: counts, distinct failures, a statistical bound
    Fuzz(FuzzArgs),
    /// Add up the results of shards: one result, as if one machine had run them all
    Merge(MergeArgs),
    /// Run a counterexample again
    Replay(ReplayArgs),
    /// Make a counterexample smaller: the same failure with fewer faults, records, actors
    Shrink(ShrinkArgs),
    /// Say why a run fails: its causal chain, the faults it needs, when it was too late, what helps
    Explain(ExplainArgs),
    /// Run every placement of up to K faults in a small scenario, and say what that proves
    Explore(ExploreArgs),
    /// Say everything that is wrong with scenarios; runs nothing
    Check(CheckArgs),
    /// Write a commented scenario to start from
    New(NewArgs),
    /// List scenarios with what they claim
    List(ListArgs),
    /// Judge a history that was recorded elsewhere, by the same checkers
    Verify(VerifyArgs),
    /// Explain anomalies: what they mean, an example, causes, fixes
    Anomalies(AnomaliesArgs),
    /// Hunt the planted bugs: found or missed, by which anomaly, after how many seeds
    Mutants(MutantsArgs),
    /// Measure a scenario in virtual time: latency, throughput, outages, work
    Measure(MeasureArgs),
    /// Configurations against fault classes: which guarantee holds, how often, and what breaks it
    Matrix(MatrixArgs),
    /// Measure: events, messages and runs per second, memory, cold start
    Bench(BenchArgs),
    /// Print a JSON Schema: of scenarios, for editors; of what a command prints as JSON
    Schema(SchemaArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A scenario file
    pub(crate) scenario: PathBuf,
    /// A number, or the hash of a commit [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = seed)]
    pub(crate) seed: Option<u64>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Write what the clients saw: JSON Lines, or Jepsen's operations for a FILE.edn
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// Write a page: verdict, space-time diagram, the state at any moment (docs/reports.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Change one value of the scenario: producers.shop.config.acks=1 (may be repeated)
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) export: ExportArgs,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

/// The trace of a run for other viewers.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write the trace for ui.perfetto.dev and chrome://tracing (docs/viewers.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) perfetto: Option<PathBuf>,
    /// Write the trace for ShiViz: events with vector clocks (docs/viewers.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) shiviz: Option<PathBuf>,
}

/// Which part of a run's trace to show; what is named is combined.
#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    /// Show the trace instead: one line per event, a column per actor
    #[arg(long)]
    pub(crate) trace: bool,
    /// Only what is around an event (by its number) or a time: 0.25s
    #[arg(long, value_name = "EVENT|TIME", requires = "trace", allow_hyphen_values = true,
          value_parser = crate::command::trace::around)]
    pub(crate) around: Option<oncesim_render::Around>,
    /// Only what concerns this actor (may be repeated)
    #[arg(long, value_name = "NAME", requires = "trace")]
    pub(crate) actor: Vec<String>,
    /// Only what happened to this record: shop#7
    #[arg(long, value_name = "ID", requires = "trace")]
    pub(crate) record: Option<String>,
    /// Only what concerns this transactional id: its requests, states, records and markers
    #[arg(long, value_name = "ID", requires = "trace")]
    pub(crate) txn: Option<String>,
    /// Only what concerns this partition: orders-0
    #[arg(long, value_name = "NAME", requires = "trace")]
    pub(crate) partition: Option<String>,
}

/// How a campaign chooses its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Strategy {
    /// Faults of all declared kinds alike
    Random,
    /// Each seed draws what it is like, then its faults
    #[default]
    Swarm,
    /// Keeps plans that reached something new, and varies them
    Guided,
}

impl From<Strategy> for oncesim::StrategyKind {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Random => oncesim::StrategyKind::Random,
            Strategy::Swarm => oncesim::StrategyKind::Swarm,
            Strategy::Guided => oncesim::StrategyKind::Guided,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Scenario files, or folders of them
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Seeds per scenario [default: 1000; with --budget, as many as fit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,
    /// The first seed: a number, or the hash of a commit
    #[arg(long, value_name = "N", default_value = "0", allow_hyphen_values = true,
          value_parser = seed)]
    pub(crate) from: u64,
    /// Wall time for everything: 60s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = wall_time)]
    pub(crate) budget: Option<Duration>,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    /// How runs are chosen
    #[arg(long, value_name = "STRATEGY", default_value = "swarm")]
    pub(crate) strategy: Strategy,
    /// Run only the K-th of N parts, to share a campaign between machines
    #[arg(long, value_name = "K/N", value_parser = shard)]
    pub(crate) shard: Option<(u64, u64)>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Where counterexamples are written
    #[arg(long, value_name = "DIR", default_value = "reports/out")]
    pub(crate) out: PathBuf,
    /// Stop at the first failure
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// So many per cent of the seeds run twice; another digest ends the campaign (exit code 4)
    #[arg(long, value_name = "PERCENT", default_value = "5",
          value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) recheck: u8,
    /// Write failing runs as they were found [default: shrunk, in 400 runs or 10 s each at most]
    #[arg(long)]
    pub(crate) no_shrink: bool,
    #[command(flatten)]
    pub(crate) reports: ReportArgs,
    /// Write the results as a file that `oncesim merge` adds up with those of other shards
    #[arg(long, value_name = "FILE")]
    pub(crate) results: Option<PathBuf>,
    /// Keep the results in FILE while it runs; go on from there if it was killed
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,
    /// Change one value of every scenario (may be repeated)
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
}

/// What a campaign leaves for machines, besides its result.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Write JUnit XML, one test case per scenario
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write SARIF 2.1.0, one result per distinct failure
    #[arg(long, value_name = "FILE")]
    pub(crate) sarif: Option<PathBuf>,
    /// Write a page on the campaign, and beside it one for each distinct failure (docs/reports.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print annotations for GitHub, and write the job summary
    #[arg(long)]
    pub(crate) github: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Results that `oncesim fuzz --results FILE` wrote, or `oncesim merge --out FILE`
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Write the merged results
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Where the counterexamples that are in the results are written
    #[arg(long, value_name = "DIR", default_value = "reports/out")]
    pub(crate) counterexamples: PathBuf,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) reports: ReportArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A counterexample that `oncesim fuzz` wrote, or a scenario
    pub(crate) file: PathBuf,
    /// The seed, when FILE is a scenario
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = seed)]
    pub(crate) seed: Option<u64>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Write a page: verdict, space-time diagram, the state at any moment (docs/reports.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) export: ExportArgs,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShrinkArgs {
    /// A counterexample that `oncesim fuzz` wrote, or a scenario
    pub(crate) file: PathBuf,
    /// Where the smaller counterexample is written [default: beside FILE, as NAME-shrunk.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The seed, when FILE is a scenario
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = seed)]
    pub(crate) seed: Option<u64>,
    /// Threads; the result does not depend on them [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A counterexample that `oncesim fuzz` wrote, or a scenario
    pub(crate) file: PathBuf,
    /// The seed, when FILE is a scenario [default: the first that shows what it expects]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = seed)]
    pub(crate) seed: Option<u64>,
    /// Threads; the result does not depend on them [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    /// Wall time, at most [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = wall_time)]
    pub(crate) budget: Option<Duration>,
    /// Change one value of the scenario: producers.shop.config.acks=1 (may be repeated)
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Write a page: the story, and what a run's page shows (docs/reports.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExploreArgs {
    /// A small scenario
    pub(crate) scenario: PathBuf,
    /// Up to how many faults are placed
    #[arg(long, value_name = "K", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) faults: u32,
    /// Which kinds of fault [default: those of [faults] swarm, else those of processes and the
    /// network]
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    pub(crate) kinds: Vec<String>,
    /// Whose latencies the world has: a number, or the hash of a commit
    #[arg(long, value_name = "N", default_value = "0", allow_hyphen_values = true,
          value_parser = seed)]
    pub(crate) seed: u64,
    /// Wall time: 60s, 5m, 1h; a world that is too large for it is explored in part
    #[arg(long, value_name = "TIME", value_parser = wall_time)]
    pub(crate) budget: Option<Duration>,
    /// Threads; the result does not depend on them [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Where counterexamples are written
    #[arg(long, value_name = "DIR", default_value = "reports/out")]
    pub(crate) out: PathBuf,
    /// Change one value of the scenario (may be repeated)
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Scenario files, or folders of them
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Its name, in kebab-case; the file is NAME.toml
    pub(crate) name: String,
    /// What to start from
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) template: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// A scenario, or a folder of them
    #[arg(default_value = "scenarios", value_name = "PATH")]
    pub(crate) path: PathBuf,
}

/// How a history is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Input {
    /// JSON Lines of client events (docs/history-format.md)
    Jsonl,
    /// Jepsen's history.edn
    JepsenEdn,
    /// The same as JSON
    JepsenJson,
}

impl Input {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Input::Jsonl => "jsonl",
            Input::JepsenEdn => "jepsen-edn",
            Input::JepsenJson => "jepsen-json",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A history, plain or compressed with gzip or zstd
    pub(crate) history: PathBuf,
    /// How it is written down [default: by its name and first line]
    #[arg(long, value_name = "INPUT")]
    pub(crate) input: Option<Input>,
    /// Judge exactly as Jepsen's checker does, under its names
    #[arg(long)]
    pub(crate) parity: bool,
    /// Skip lines that cannot be understood, and count them
    #[arg(long)]
    pub(crate) lenient: bool,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct AnomaliesArgs {
    /// One anomaly: lost-write
    pub(crate) id: Option<String>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Print docs/anomalies.md
    #[arg(long, conflicts_with_all = ["format", "id"])]
    pub(crate) markdown: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MutantsArgs {
    /// Scenarios with a planted bug
    #[arg(default_value = "scenarios/mutants", value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Compare strategies instead: how long each hunts each planted bug
    #[arg(long)]
    pub(crate) strategies: bool,
    /// Hunts per planted bug and strategy, each from a master seed of its own
    #[arg(long, value_name = "N", requires = "strategies", default_value = "20",
          value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) masters: u64,
    /// Threads of the comparison; a hunt has one [default: one per core]
    #[arg(long, value_name = "N", requires = "strategies",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    /// Seeds per planted bug, or per hunt, at most [default: what its scenario says; 300]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: TableFormat,
    /// Print the table of docs/mutants.md: the same as --format markdown
    #[arg(long, conflicts_with = "format")]
    pub(crate) markdown: bool,
}

/// How tables are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum TableFormat {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// Tables for a page
    Markdown,
}

#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// A scenario file
    pub(crate) scenario: PathBuf,
    /// The (first) seed: a number, or the hash of a commit [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = seed)]
    pub(crate) seed: Option<u64>,
    /// How many seeds; figures are then medians with their range [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,
    /// Compare values: producers.shop.interval=1ms,10ms (several make a grid)
    #[arg(long, value_name = "PATH=V1,V2,...")]
    pub(crate) sweep: Vec<String>,
    /// Change one value of the scenario (may be repeated)
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Of a sweep, only this figure of the summary: "throughput" (may be repeated)
    #[arg(long, value_name = "NAME", requires = "sweep")]
    pub(crate) figure: Vec<String>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: TableFormat,
    /// Write a page: tables, and a plot of each figure over the sweep
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MatrixArgs {
    /// A matrix definition, or scenarios (files or folders): as they are, under each fault class
    #[arg(default_value = "scenarios/matrix/guarantees.toml", value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Seeds per cell [default: what the definition says, or 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) seeds: Option<u64>,
    /// The first seed: a number, or the hash of a commit
    #[arg(long, value_name = "N", default_value = "0", allow_hyphen_values = true,
          value_parser = seed)]
    pub(crate) from: u64,
    /// Threads; the result does not depend on them [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: TableFormat,
    /// Write a page: every count and command of every cell
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Only these rows, or all rows of these sections
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) rows: Vec<String>,
    /// Only these fault classes
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The scenario that is measured
    #[arg(long, value_name = "SCENARIO")]
    pub(crate) scenario: Option<PathBuf>,
    /// Measure less, in a few seconds
    #[arg(long)]
    pub(crate) quick: bool,
    /// How many seeds the memory is watched over
    #[arg(long, value_name = "N")]
    pub(crate) seeds: Option<u64>,
    /// Let the cost grow to 1,000,000 records, which takes a minute more
    #[arg(long)]
    pub(crate) million: bool,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// scenario, or the command whose document it is: run, fuzz, verify, ... [default: scenario]
    #[arg(value_name = "KIND")]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
}

/// A seed: an unsigned 64-bit number, or the hash of a commit (7 to 40 hexadecimal digits, with a
/// letter among them). A hash counts by its first 7 digits, so that its abbreviations name the same
/// seed.
fn seed(text: &str) -> Result<u64, String> {
    if let Ok(seed) = text.parse() {
        return Ok(seed);
    }
    let hexadecimal = text.chars().all(|c| c.is_ascii_hexdigit());
    let letter = text.chars().any(|c| c.is_ascii_alphabetic());
    if hexadecimal && letter && (7..=40).contains(&text.len()) {
        return u64::from_str_radix(&text[..7], 16).map_err(|error| error.to_string());
    }
    Err(format!("seeds go from 0 to {}, or are the hash of a commit (7 to 40 digits)", u64::MAX))
}

/// `K/N`, with K from 1 to N.
fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((k, n)) if (1..=n).contains(&k) => Ok((k, n)),
        _ => Err("a shard is K/N with K from 1 to N, such as 1/4".to_owned()),
    }
}

/// Wall time with a unit: `500ms`, `60s`, `5m`, `1h`.
fn wall_time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a number with one of the units ms, s, m, h, such as 60s".to_owned()),
    };
    let millis = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
    match millis {
        Some(n @ 1..) => Ok(Duration::from_millis(n)),
        _ => Err("a positive number with a unit, such as 60s".to_owned()),
    }
}
