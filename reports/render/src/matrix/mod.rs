//! The matrix: configurations against fault classes, and which guarantee holds.

mod html;
pub(crate) mod json;
mod markdown;
mod text;

use oncesim_semantics::{Guarantee, Holds, Level};

use crate::number::{grouped, percent};

pub use html::matrix_html;
pub use json::matrix_json;
pub use markdown::matrix_markdown;
pub use text::matrix_text;

/// A whole matrix, with what its seeds said.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixView {
    /// Its definition's path; empty for plain scenarios.
    pub definition: String,
    /// What it is about.
    pub title: String,
    /// A paragraph for people; may be empty.
    pub about: String,
    /// First seed of each cell.
    pub from: u64,
    /// Seeds per cell.
    pub seeds: u64,
    /// Wall time.
    pub wall: std::time::Duration,
    /// The fault classes.
    pub columns: Vec<MatrixColumnView>,
    /// The configurations.
    pub sections: Vec<MatrixSectionView>,
    /// What people say, and what decides it.
    pub advice: Vec<MatrixAdviceView>,
}

/// A fault class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixColumnView {
    /// Its name on the command line.
    pub id: String,
    /// Its head.
    pub title: String,
    /// What happens, in a sentence.
    pub about: String,
}

/// Configurations that are read at one level.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSectionView {
    /// Its name on the command line.
    pub id: String,
    /// Its head.
    pub title: String,
    /// A sentence or two.
    pub about: String,
    /// Which level its table shows.
    pub level: Level,
    /// Indices of its columns.
    pub columns: Vec<usize>,
    /// The configurations.
    pub rows: Vec<MatrixRowView>,
}

/// A configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixRowView {
    /// Its name on the command line.
    pub id: String,
    /// Its head.
    pub title: String,
    /// The scenario's path.
    pub scenario: String,
    /// What it changes in there, as `--set` takes it.
    pub sets: Vec<String>,
    /// One cell for each column of its section.
    pub cells: Vec<MatrixCellView>,
}

/// A configuration under a fault class.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixCellView {
    /// Seeds that ran.
    pub seeds: u64,
    /// Those in which a fault of the class struck.
    pub struck: u64,
    /// Seeds that never came to rest.
    pub not_live: u64,
    /// A bug of oncesim that a seed met, in a sentence.
    pub bug: Option<String>,
    /// Each guarantee at each level, and order.
    pub promises: Vec<MatrixPromiseView>,
}

/// How a guarantee fared in a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixPromiseView {
    /// Which, and where; `None`: order.
    pub what: Option<(Level, Guarantee)>,
    /// Seeds that keep it.
    pub held: u64,
    /// Seeds that break it.
    pub violated: u64,
    /// Seeds that decide nothing.
    pub unknown: u64,
    /// Upper 95 % bound on the share of exercising seeds that break it.
    pub bound_95: f64,
    /// The seed with the fewest faults that breaks it.
    pub cheapest: Option<MatrixCounterexample>,
}

/// A seed that breaks a guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixCounterexample {
    /// The seed.
    pub seed: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Events of the kernel.
    pub events: u64,
    /// The id of the anomaly.
    pub anomaly: String,
    /// What happened, in a sentence.
    pub sentence: String,
    /// The command that shows it.
    pub command: String,
}

/// What people say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixAdviceView {
    /// Its name.
    pub id: String,
    /// The advice.
    pub says: String,
    /// What to know, in prose; may be empty.
    pub note: String,
    /// What must hold for it to be right.
    pub checks: Vec<MatrixCheckView>,
}

/// A guarantee that a configuration is said to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixCheckView {
    /// Section, and row in it.
    pub row: (usize, usize),
    /// Which, and where; `None`: order.
    pub what: Option<(Level, Guarantee)>,
    /// Under which fault classes: indices of columns.
    pub columns: Vec<usize>,
}

impl MatrixPromiseView {
    pub(crate) fn exercised(&self) -> u64 {
        self.held + self.violated
    }

    /// Broken by any seed, held by at least one, or unknown.
    #[must_use]
    pub fn holds(&self) -> Holds {
        Holds::together(self.held, self.violated)
    }

    /// `holds in 200 of 200 exercised seeds (at most 1.5 % break it, 95 % confidence)`.
    pub(crate) fn in_words(&self) -> String {
        let seeds = self.exercised();
        match self.holds() {
            Holds::Holds => format!(
                "{seeds} of {seeds} exercised seeds (at most {} break it, 95 % confidence)",
                percent(self.bound_95)
            ),
            Holds::Violated => format!("{} of {seeds} exercised seeds", self.violated),
            Holds::Unknown => "not exercised".to_owned(),
        }
    }
}

/// `log at-most-once`, `ordering`.
pub(crate) fn name_of(what: Option<(Level, Guarantee)>) -> String {
    what.map_or_else(
        || "ordering".to_owned(),
        |(level, guarantee)| format!("{} {}", level.name(), guarantee.name()),
    )
}

/// What a cell says about delivery, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Delivery {
    /// Each record counts once.
    Exactly,
    /// Never lost, sometimes doubled.
    AtLeast,
    /// Never doubled, sometimes lost.
    AtMost,
    /// Each once, but what should not count does, or is half done or out of date.
    Inexact,
    /// Lost and doubled.
    Neither,
    /// Doubled; whether anything is lost is not known.
    Doubles,
    /// Lost; whether anything is doubled is not known.
    Loses,
    /// Not exercised.
    Unknown,
}

impl Delivery {
    pub(crate) const ALL: [Delivery; 8] = [
        Delivery::Exactly,
        Delivery::AtLeast,
        Delivery::AtMost,
        Delivery::Inexact,
        Delivery::Neither,
        Delivery::Doubles,
        Delivery::Loses,
        Delivery::Unknown,
    ];

    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Delivery::Exactly => "=1",
            Delivery::AtLeast => ">=1",
            Delivery::AtMost => "<=1",
            Delivery::Inexact => "~1",
            Delivery::Neither => "X",
            Delivery::Doubles => "2?",
            Delivery::Loses => "0?",
            Delivery::Unknown => "?",
        }
    }

    pub(crate) const fn words(self) -> &'static str {
        match self {
            Delivery::Exactly => "exactly once",
            Delivery::AtLeast => "at least once",
            Delivery::AtMost => "at most once",
            Delivery::Inexact => "once, not exact",
            Delivery::Neither => "neither",
            Delivery::Doubles => "doubles",
            Delivery::Loses => "loses",
            Delivery::Unknown => "unknown",
        }
    }

    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Delivery::Exactly => "no seed loses, doubles or shows what should not count",
            Delivery::AtLeast => "some seeds double, none loses",
            Delivery::AtMost => "some seeds lose, none doubles",
            Delivery::Inexact => {
                "no seed loses or doubles, but some show what should not count, or leave it half \
                 done or out of date"
            }
            Delivery::Neither => "some seeds lose, some double",
            Delivery::Doubles => "some seeds double; whether any loses was not exercised",
            Delivery::Loses => "some seeds lose; whether any doubles was not exercised",
            Delivery::Unknown => "no seed exercised it: never a pass",
        }
    }
}

impl MatrixCellView {
    /// A guarantee, by its name.
    pub(crate) fn promise(&self, what: Option<(Level, Guarantee)>) -> Option<&MatrixPromiseView> {
        self.promises.iter().find(|promise| promise.what == what)
    }

    fn at(&self, level: Level, guarantee: Guarantee) -> Holds {
        self.promise(Some((level, guarantee))).map_or(Holds::Unknown, MatrixPromiseView::holds)
    }

    pub(crate) fn delivery(&self, level: Level) -> Delivery {
        use Holds::{Holds as Held, Unknown, Violated};
        let once = self.at(level, Guarantee::AtMostOnce);
        let least = self.at(level, Guarantee::AtLeastOnce);
        match (once, least, self.at(level, Guarantee::ExactlyOnce)) {
            (Violated, Violated, _) => Delivery::Neither,
            (Violated, Held, _) => Delivery::AtLeast,
            (Held, Violated, _) => Delivery::AtMost,
            (Violated, Unknown, _) => Delivery::Doubles,
            (Unknown, Violated, _) => Delivery::Loses,
            (_, _, Violated) => Delivery::Inexact,
            (Held, Held, Held) => Delivery::Exactly,
            _ => Delivery::Unknown,
        }
    }

    pub(crate) fn out_of_order(&self) -> bool {
        self.promise(None).is_some_and(|promise| promise.violated > 0)
    }

    /// The share of seeds that are not exactly once, or the bound on it: `34 %`, `<1.5 %`.
    pub(crate) fn share(&self, level: Level) -> Option<String> {
        let exactly = self.promise(Some((level, Guarantee::ExactlyOnce)))?;
        match exactly.holds() {
            Holds::Holds => Some(format!("<{}", percent(exactly.bound_95))),
            Holds::Violated => Some(percent(exactly.violated as f64 / exactly.exercised() as f64)),
            Holds::Unknown => None,
        }
    }

    /// Why it says nothing, if it does not.
    pub(crate) fn why_unknown(&self) -> &'static str {
        if self.struck == 0 { "no fault of this class struck" } else { "nothing was decided" }
    }
}

/// What a row can do wrong at a level, worst first: the guarantee that it breaks, and a verb.
pub(crate) fn wrongs(level: Level) -> [(Option<(Level, Guarantee)>, &'static str); 4] {
    [
        (Some((level, Guarantee::AtLeastOnce)), "loses"),
        (Some((level, Guarantee::AtMostOnce)), "doubles"),
        (Some((level, Guarantee::ExactlyOnce)), "is not exact"),
        (None, "breaks the order"),
    ]
}

/// The cheapest proof that a row does something wrong, with the column that shows it.
pub(crate) fn proof(
    section: &MatrixSectionView,
    row: &MatrixRowView,
    what: Option<(Level, Guarantee)>,
) -> Option<(usize, MatrixCounterexample)> {
    let cells = section.columns.iter().zip(&row.cells);
    let found = cells.filter_map(|(column, cell)| {
        let cheapest = cell.promise(what)?.cheapest.as_ref()?;
        Some((cheapest.faults, cheapest.events, *column, cheapest))
    });
    let best = found.min_by_key(|(faults, events, column, _)| (*faults, *events, *column))?;
    Some((best.2, best.3.clone()))
}

/// What a row does wrong at its section's level, each with its cheapest proof. That it is not exact
/// says nothing new about one that loses or doubles, and one proof is enough for what it shows.
pub(crate) fn proofs(
    section: &MatrixSectionView,
    row: &MatrixRowView,
) -> Vec<(&'static str, usize, MatrixCounterexample)> {
    let mut proofs = Vec::new();
    for (what, verb) in wrongs(section.level) {
        let exactly = matches!(what, Some((_, Guarantee::ExactlyOnce)));
        if exactly && !proofs.is_empty() {
            continue;
        }
        let Some((column, found)) = proof(section, row, what) else { continue };
        let known = proofs.iter().any(|(_, at, it): &(_, usize, MatrixCounterexample)| {
            (*at, it.seed, &it.anomaly) == (column, found.seed, &found.anomaly)
        });
        if !known {
            proofs.push((verb, column, found));
        }
    }
    proofs
}

/// Whether advice is right, by what the matrix says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    Right,
    HalfRight,
    Wrong,
    Open,
}

impl Ruling {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Ruling::Right => "right",
            Ruling::HalfRight => "half right",
            Ruling::Wrong => "wrong",
            Ruling::Open => "not decided",
        }
    }
}

/// One check of an advice, over its fault classes.
#[derive(Debug, Clone)]
pub(crate) struct Checked<'a> {
    pub(crate) row: &'a MatrixRowView,
    pub(crate) name: String,
    pub(crate) total: MatrixPromiseView,
    /// Columns that break it, the worst first: index, violated, exercised.
    pub(crate) broken: Vec<(usize, u64, u64)>,
    /// Columns that were asked for and never exercised.
    pub(crate) open: Vec<usize>,
}

/// Sums a check up over its columns.
pub(crate) fn checked<'a>(view: &'a MatrixView, check: &MatrixCheckView) -> Checked<'a> {
    let section = &view.sections[check.row.0];
    let row = &section.rows[check.row.1];
    let mut total = MatrixPromiseView {
        what: check.what,
        held: 0,
        violated: 0,
        unknown: 0,
        bound_95: 1.0,
        cheapest: None,
    };
    let (mut broken, mut open) = (Vec::new(), Vec::new());
    for (column, cell) in section.columns.iter().zip(&row.cells) {
        if !check.columns.contains(column) {
            continue;
        }
        let Some(promise) = cell.promise(check.what) else { continue };
        total.held += promise.held;
        total.violated += promise.violated;
        total.unknown += promise.unknown;
        match promise.holds() {
            Holds::Violated => broken.push((*column, promise.violated, promise.exercised())),
            Holds::Unknown => open.push(*column),
            Holds::Holds => {}
        }
        let cost = |it: &MatrixCounterexample| (it.faults, it.events, it.seed);
        if let Some(cheapest) = &promise.cheapest
            && total.cheapest.as_ref().is_none_or(|best| cost(cheapest) < cost(best))
        {
            total.cheapest = Some(cheapest.clone());
        }
    }
    broken.sort_by(|a, b| (b.1 * a.2).cmp(&(a.1 * b.2)).then(a.0.cmp(&b.0)));
    Checked { row, name: name_of(check.what), total, broken, open }
}

/// `transactions TV2: processing exactly-once holds in 1,600 of 1,600 exercised seeds (...)`.
pub(crate) fn check_in_words(view: &MatrixView, check: &Checked<'_>) -> String {
    let title = |column: &usize| view.columns[*column].title.as_str();
    let seeds = check.total.exercised();
    let mut text = format!("{}: {} ", check.row.title, check.name);
    if check.total.violated > 0 {
        let classes: Vec<String> = check
            .broken
            .iter()
            .map(|(column, violated, of)| format!("{} {violated} of {of}", title(column)))
            .collect();
        text.push_str(&format!(
            "is violated in {} of {} exercised seeds ({})",
            grouped(check.total.violated),
            grouped(seeds),
            classes.join(", "),
        ));
    } else if seeds > 0 {
        text.push_str(&format!(
            "holds in {0} of {0} exercised seeds (at most {1} break it, 95 % confidence)",
            grouped(seeds),
            percent(rule_of_three(seeds)),
        ));
    } else {
        text.push_str("is unknown");
    }
    if !check.open.is_empty() {
        let open: Vec<&str> = check.open.iter().map(title).collect();
        text.push_str(&format!("; not exercised: {}", open.join(", ")));
    }
    text
}

/// Upper 95 % bound on a share after no violation in so many seeds.
fn rule_of_three(seeds: u64) -> f64 {
    1.0 - 0.05_f64.powf(1.0 / seeds as f64)
}

/// Right if every check holds, wrong if none does.
pub(crate) fn ruling(checks: &[Checked<'_>]) -> Ruling {
    let broken = checks.iter().filter(|check| check.total.violated > 0).count();
    let held = checks.iter().filter(|check| check.total.holds() == Holds::Holds).count();
    match (held, broken) {
        (_, 0) if held == checks.len() => Ruling::Right,
        (0, 1..) => Ruling::Wrong,
        (1.., 1..) => Ruling::HalfRight,
        _ => Ruling::Open,
    }
}

#[cfg(test)]
mod tests;
