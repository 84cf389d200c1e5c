//! The table of strategies: how long each hunts each planted bug.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::number::grouped;
use crate::table::{pad, widest};

/// What strategies need for one planted bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HuntRow {
    /// The bug's id: `repl.truncate-to-hw`.
    pub id: String,
    /// The scenario that hunts it.
    pub scenario: String,
    /// Whether faults are drawn; else every run has the faults that the scenario scripts.
    pub drawn: bool,
    /// One cell for each strategy, in the order of [`StrategyTable::strategies`].
    pub cells: Vec<HuntCell>,
}

/// What one strategy needs for one planted bug.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HuntCell {
    /// Of each hunt: its runs, whether it found the bug, and its wall time.
    pub hunts: Vec<(u64, bool, Duration)>,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrategyTable {
    /// Names of the strategies.
    pub strategies: Vec<String>,
    /// Hunts per bug and strategy, each from a master seed of its own.
    pub masters: u64,
    /// Runs per hunt, at most.
    pub most: u64,
    /// The bugs.
    pub rows: Vec<HuntRow>,
}

impl HuntCell {
    /// The median of the runs; `None`: more than half of the hunts ended without the bug.
    #[must_use]
    pub fn median_runs(&self) -> Option<u64> {
        let mut runs: Vec<u64> = self
            .hunts
            .iter()
            .map(|(runs, found, _)| if *found { *runs } else { u64::MAX })
            .collect();
        median(&mut runs).filter(|runs| *runs != u64::MAX)
    }

    /// The median of the wall times, of those that found nothing as well.
    #[must_use]
    pub fn median_wall(&self) -> Option<Duration> {
        let mut walls: Vec<Duration> = self.hunts.iter().map(|(_, _, wall)| *wall).collect();
        median(&mut walls)
    }

    /// Hunts that ended without the bug.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.hunts.iter().filter(|(_, found, _)| !found).count()
    }

    fn words(&self, most: u64) -> String {
        let runs = self.median_runs().map_or_else(|| format!("> {}", grouped(most)), grouped);
        let wall = self.median_wall().unwrap_or_default();
        let mut words = format!("{runs} ({})", short(wall));
        if self.missed() > 0 {
            let _ = write!(words, ", {} missed", self.missed());
        }
        words
    }
}

/// The lower median.
fn median<T: Ord + Copy>(values: &mut [T]) -> Option<T> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

fn short(wall: Duration) -> String {
    let millis = wall.as_millis();
    if millis < 1_000 { format!("{millis} ms") } else { format!("{:.1} s", wall.as_secs_f64()) }
}

impl StrategyTable {
    /// How often each strategy was the quickest in runs, alone or with others, among the bugs for
    /// which some strategy needs more than `easy` runs.
    #[must_use]
    pub fn wins(&self, easy: u64) -> Vec<(String, usize, usize)> {
        let hard: Vec<Vec<u64>> = self.medians(easy);
        let best = |i: usize| {
            let is = |row: &&Vec<u64>| row.iter().min() == Some(&row[i]);
            hard.iter().filter(is).count()
        };
        let names = self.strategies.iter().enumerate();
        names.map(|(i, name)| (name.clone(), best(i), hard.len())).collect()
    }

    /// For how many of these bugs a strategy needs fewer runs (median) than the first one, and for
    /// how many more.
    #[must_use]
    pub fn against_first(&self, strategy: usize, easy: u64) -> (usize, usize) {
        let hard = self.medians(easy);
        let fewer = hard.iter().filter(|row| row[strategy] < row[0]).count();
        (fewer, hard.iter().filter(|row| row[strategy] > row[0]).count())
    }

    /// How many times the runs of the first strategy another one needs for these bugs: the geometric
    /// mean over bugs of the means over hunts, of which one that found nothing counts with all its
    /// runs.
    #[must_use]
    pub fn times_first(&self, strategy: usize, easy: u64) -> f64 {
        let mean = |cell: &HuntCell| {
            let runs: f64 = cell.hunts.iter().map(|(runs, ..)| to_f64(*runs)).sum();
            runs / to_f64(cell.hunts.len() as u64)
        };
        let hard = self.rows.iter().filter(|row| medians(row).iter().any(|runs| *runs > easy));
        let ratios: Vec<f64> =
            hard.map(|row| (mean(&row.cells[strategy]) / mean(&row.cells[0])).ln()).collect();
        (ratios.iter().sum::<f64>() / to_f64(ratios.len().max(1) as u64)).exp()
    }

    /// Medians of the rows for which some strategy needs more than `easy` runs.
    fn medians(&self, easy: u64) -> Vec<Vec<u64>> {
        let rows = self.rows.iter().map(medians);
        rows.filter(|medians| medians.iter().any(|runs| *runs > easy)).collect()
    }
}

/// Medians of one bug, by strategy.
fn medians(row: &HuntRow) -> Vec<u64> {
    row.cells.iter().map(|cell| cell.median_runs().unwrap_or(u64::MAX)).collect()
}

fn to_f64(n: u64) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// Bugs that some strategy does not find within so many runs are those where a strategy matters.
pub const EASY: u64 = 5;

fn caption(table: &StrategyTable) -> String {
    format!(
        "Median seeds (and wall time) until a planted bug is found, over {} master seeds; a hunt ends \
         after {} seeds.",
        table.masters,
        grouped(table.most)
    )
}

fn summary(table: &StrategyTable) -> Vec<String> {
    let wins = table.wins(EASY);
    let hard = wins.first().map_or(0, |(_, _, hard)| *hard);
    let mut lines = vec![format!(
        "{} of {} planted bugs need more than {EASY} seeds (median) of some strategy. Among them:",
        hard,
        table.rows.len()
    )];
    for (i, (name, best, _)) in wins.into_iter().enumerate() {
        let fewest = format!("{name} needs the fewest seeds for {best}");
        lines.push(if i == 0 {
            fewest
        } else {
            let (fewer, more) = table.against_first(i, EASY);
            let (first, times) = (&table.strategies[0], table.times_first(i, EASY));
            format!(
                "{fewest}; fewer than {first} for {fewer}, more for {more}; {times:.2} times its \
                 seeds over all of them (geometric mean of the means)"
            )
        });
    }
    lines
}

/// For people.
#[must_use]
pub fn strategies_text(table: &StrategyTable) -> String {
    let mut out = format!("{}\n\n", caption(table));
    let rows = cells(table);
    let head: Vec<String> =
        std::iter::once("planted bug".to_owned()).chain(table.strategies.iter().cloned()).collect();
    let columns = head.len();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(&rows).collect();
    let widths: Vec<usize> =
        (0..columns).map(|i| widest(all.iter().map(|row| row[i].as_str()))).collect();
    for row in all {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| pad(cell, *w)).collect();
        let _ = writeln!(out, "{}", line.join("  ").trim_end());
    }
    out.push('\n');
    for line in summary(table) {
        let _ = writeln!(out, "{line}");
    }
    out
}

fn cells(table: &StrategyTable) -> Vec<Vec<String>> {
    let row = |row: &HuntRow| {
        let name = if row.drawn { row.id.clone() } else { format!("{} (scripted)", row.id) };
        let cells = row.cells.iter().map(|cell| cell.words(table.most));
        std::iter::once(name).chain(cells).collect()
    };
    table.rows.iter().map(row).collect()
}

/// The page `docs/strategies.md`.
#[must_use]
pub fn strategies_markdown(table: &StrategyTable) -> String {
    let mut out = format!("{STRATEGIES_HEADER}\n{}\n\n", caption(table));
    let _ = writeln!(out, "| planted bug | {} |", table.strategies.join(" | "));
    let _ = writeln!(out, "|---|{}", "--:|".repeat(table.strategies.len()));
    for row in cells(table) {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    let mut lines = summary(table).into_iter();
    let _ = writeln!(out, "\n{}\n", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(out, "- {line}");
    }
    out
}

/// What `docs/strategies.md` begins with.
pub const STRATEGIES_HEADER: &str = "# Strategies

`oncesim fuzz --strategy` chooses how a campaign finds its runs:

- `random`: each seed draws up to as many faults as are declared, of all declared kinds alike, at any
  moment, on anybody. Its worlds are those of `swarm`.
- `swarm`: each seed first draws what it is like, then its faults. Nine seeds in ten have as many faults
  as are declared; one in five favours some of the kinds, and some leave kinds out; three in ten have
  their faults in a burst, somewhere between 50 ms and the whole run; in half of the seeds half of the
  faults strike just after a message, mostly one of the victim's own; one broker in seven is named by
  what it does (the leader, the coordinator) when the fault strikes. Its world is one of the scenario's
  networks and of the values that it varies.
- `guided`: keeps the plans that reached something new, and varies them: a fault more or less, at
  another moment, on somebody else, two plans in one. The other six runs in ten are those of `swarm`. What is new is a pair or a triple of steps of
  the protocol that no earlier run had, or a count of them. The proposal of a run knows the runs up
  to 16 before it, in order, so that a master seed means the same campaign with any number of jobs
  (more than 16 wait for each other). `--from` is the master seed, and each shard has its own. What
  it finds is told by its counterexample, not by a seed, and its runs are no sample: it gives no
  bound.

Which one? Most planted bugs fall to any of them within a few seeds. Where a bug is hard to find, it
takes faults that meet within a moment, or one just after a certain message, and seeds that differ in
character find that sooner than seeds that are all alike; the last lines of this page count it. `swarm` is
the default: its seed is a whole run (`oncesim run --seed`), its seeds are a sample from which a
bound follows, and shards of it add up. `guided` needs about as many runs as `swarm` here, where hunts are
short; it is for long campaigns, which it leads to what they have not seen. State bounds with the default.

Classic swarm testing leaves out half of the kinds in each seed. Here that costs more than it gains:
scenarios declare few kinds, and a bug that takes two of them together is then out of reach of three
seeds in four.

A bug that is scripted has the same faults in every run; only the seed of the world differs.

This page is written by `oncesim mutants --strategies --masters 20 --seeds 200 --format markdown`: one hunt for
each planted bug, strategy and master seed, each on one thread. Times are wall times of the machine
that wrote it; seeds are the same everywhere. Missed hunts count as longer than any other.
";

/// One document.
#[must_use]
pub fn strategies_json(table: &StrategyTable) -> String {
    let cell = |(name, cell): (&String, &HuntCell)| -> Value {
        json!({
            "strategy": name,
            "median_seeds": cell.median_runs(),
            "median_wall_ms": cell.median_wall().map(|wall| wall.as_secs_f64() * 1e3),
            "missed": cell.missed(),
            "seeds": cell.hunts.iter().map(|(runs, ..)| runs).collect::<Vec<_>>(),
        })
    };
    let rows: Vec<Value> = table
        .rows
        .iter()
        .map(|row| {
            let cells: Vec<Value> = table.strategies.iter().zip(&row.cells).map(cell).collect();
            json!({
                "id": row.id,
                "scenario": row.scenario,
                "drawn": row.drawn,
                "strategies": cells,
            })
        })
        .collect();
    let document = json!({
        "schema": 1,
        "masters": table.masters,
        "most": table.most,
        "bugs": rows,
    });
    format!("{document:#}\n")
}
