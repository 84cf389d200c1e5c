//! The progress line: runs per second, virtual time covered, failures. On a terminal only.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use oncesim::{ExploreProgress, Outcome, Progress, ShrinkProgress};
use oncesim_render::{grouped, seconds, short_count, sizes_text};

use crate::convert;

/// A line on standard error that shows how far a campaign is.
pub(crate) struct ProgressLine {
    bar: ProgressBar,
    began: Instant,
    drawn: Option<Instant>,
    counted: Progress,
}

impl ProgressLine {
    /// A line for `seeds` seeds; `None`: as many as a budget allows.
    pub(crate) fn new(name: &str, seeds: Option<u64>) -> Self {
        let bar = seeds.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = if seeds.is_some() {
            "{prefix} {wide_bar} {pos}/{len} seeds  {msg}"
        } else {
            "{prefix} {spinner} {pos} seeds  {msg}"
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        bar.set_prefix(name.to_owned());
        ProgressLine { bar, began: Instant::now(), drawn: None, counted: Progress::default() }
    }

    /// Shows how far it is; cheap, because it draws ten times per second at most.
    pub(crate) fn update(&mut self, progress: &Progress) {
        let now = Instant::now();
        if self.drawn.is_some_and(|drawn| now - drawn < Duration::from_millis(100)) {
            return;
        }
        self.drawn = Some(now);
        let wall = (now - self.began).as_secs_f64();
        let rate = if wall > 0.0 { progress.done as f64 / wall } else { 0.0 };
        let covered = seconds(progress.virtual_time.as_nanos() as f64 / 1e9);
        let failures = grouped(progress.failures);
        self.bar.set_position(progress.done);
        self.bar.set_message(format!("{rate:.0} runs/s, {covered} virtual, {failures} failing"));
    }

    /// Counts one more run, for commands that run seeds themselves.
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        let mut counted = std::mem::take(&mut self.counted);
        counted.done += 1;
        counted.virtual_time = counted.virtual_time + outcome.virtual_time;
        self.update(&counted);
        self.counted = counted;
    }

    /// Takes the line away.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// A line on standard error that shows how many runs of a matrix are done.
pub(crate) struct MatrixLine(ProgressBar);

impl MatrixLine {
    pub(crate) fn new(cells: u64, seeds: u64) -> Self {
        let bar = ProgressBar::new(cells * seeds);
        let template = "{prefix} {wide_bar} {pos}/{len} runs  {per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        bar.set_prefix(format!("{cells} cells"));
        MatrixLine(bar)
    }

    /// Shows how far it is.
    pub(crate) fn update(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Takes the line away.
    pub(crate) fn finish(self) {
        self.0.finish_and_clear();
    }
}

/// A line on standard error that shows how small a failure has become.
pub(crate) struct ShrinkLine(ProgressBar);

impl ShrinkLine {
    pub(crate) fn new(name: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("shrinking {prefix} {spinner} {pos} runs  {msg}");
        bar.set_style(style.expect("the template is valid"));
        bar.set_prefix(name.to_owned());
        ShrinkLine(bar)
    }

    /// Shows how far it is.
    pub(crate) fn update(&mut self, progress: &ShrinkProgress) {
        self.0.set_position(progress.runs);
        self.0.set_message(sizes_text(&convert::sizes(&progress.before, &progress.now)));
    }

    /// Takes the line away.
    pub(crate) fn finish(self) {
        self.0.finish_and_clear();
    }
}

/// A line on standard error that says what takes so long.
pub(crate) struct Working(ProgressBar);

impl Working {
    pub(crate) fn new(what: &str, name: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{msg} {prefix} {spinner} {elapsed}");
        bar.set_style(style.expect("the template is valid"));
        bar.set_prefix(name.to_owned());
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Working(bar)
    }

    /// Takes the line away.
    pub(crate) fn finish(self) {
        self.0.finish_and_clear();
    }
}

/// A line on standard error that shows how many placements were run.
pub(crate) struct ExploreLine(ProgressBar);

impl ExploreLine {
    pub(crate) fn new(name: &str) -> Self {
        let bar = ProgressBar::new(0);
        let template = "{prefix} {wide_bar} {pos}/{len} runs  {msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        bar.set_prefix(name.to_owned());
        ExploreLine(bar)
    }

    /// Shows how far it is.
    pub(crate) fn update(&mut self, progress: &ExploreProgress) {
        self.0.set_length(progress.runs);
        self.0.set_position(progress.done);
        let faults = short_count(u64::from(progress.faults), "fault", "faults");
        self.0.set_message(format!("{faults}, {} found", grouped(progress.found)));
    }

    /// Takes the line away.
    pub(crate) fn finish(self) {
        self.0.finish_and_clear();
    }
}

/// A line on standard error that shows how much of a long file was read.
pub(crate) struct ReadLine {
    bar: ProgressBar,
    began: Instant,
    drawn: Option<Instant>,
}

impl ReadLine {
    /// A line for a file of so many bytes.
    pub(crate) fn new(name: &str, bytes: u64) -> Self {
        let bar = ProgressBar::new(bytes);
        let template = "reading {prefix} {wide_bar} {bytes}/{total_bytes}  {msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        bar.set_prefix(name.to_owned());
        ReadLine { bar, began: Instant::now(), drawn: None }
    }

    /// Shows how far it is; cheap, and nothing in the first half second.
    pub(crate) fn update(&mut self, bytes: u64, lines: u64) {
        if !lines.is_multiple_of(1024) {
            return;
        }
        let now = Instant::now();
        if now - self.drawn.unwrap_or(self.began + Duration::from_millis(400))
            < Duration::from_millis(100)
        {
            return;
        }
        self.drawn = Some(now);
        self.bar.set_position(bytes);
        self.bar.set_message(format!("{} lines", grouped(lines)));
    }

    /// The rest of the time goes into the checkers.
    pub(crate) fn judging(&mut self, events: u64) {
        if self.drawn.is_some() {
            let template = "judging {prefix} {spinner} {msg}  {elapsed}";
            let style = ProgressStyle::with_template(template).expect("the template is valid");
            self.bar.set_style(style);
            self.bar.set_message(format!("{} events", grouped(events)));
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
    }

    /// Takes the line away.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
