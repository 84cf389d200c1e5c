//! The definition of a matrix, as data: configurations (rows) against fault classes (columns), and
//! the advice that people give about them.
//!
//! A row is a scenario with edits, a column is a class of faults, said as edits as well: each cell
//! is what `oncesim run SCENARIO --set ... --seed N` runs, and can be run like that.

mod read;

use std::path::{Path, PathBuf};

use oncesim_semantics::{Guarantee, Level};

use crate::diagnostic::{Diagnostics, nearest};
use crate::fault::FaultKind;
use crate::scenario::Scenario;

/// Rows, columns and advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixSpec {
    /// The file, as reports name it; empty for one that was made of plain scenarios.
    pub path: String,
    /// What it is about.
    pub title: String,
    /// A paragraph for people; may be empty.
    pub about: String,
    /// Seeds per cell, unless somebody says otherwise.
    pub seeds: u64,
    /// The fault classes.
    pub columns: Vec<MatrixColumn>,
    /// The configurations, in sections that share a level.
    pub sections: Vec<MatrixSection>,
    /// What people say, and which cells decide it.
    pub advice: Vec<MatrixAdvice>,
}

/// A fault class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixColumn {
    /// Its name on the command line.
    pub id: String,
    /// Its head in reports.
    pub title: String,
    /// What happens, in a sentence; may be empty.
    pub about: String,
    /// The kinds that swarm draws from; none: nothing is drawn.
    pub kinds: Vec<FaultKind>,
    /// How many of them at most.
    pub count: u32,
    /// At whom they aim; empty: anybody.
    pub targets: Vec<String>,
    /// Without one of these a seed has not exercised the class; empty: nothing has to strike.
    pub strikes: Vec<FaultKind>,
    /// Further edits; `{topic}` in a value is the scenario's first topic.
    pub sets: Vec<(String, String)>,
}

/// Configurations that are read at one level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixSection {
    /// Its name on the command line.
    pub id: String,
    /// Its head in reports.
    pub title: String,
    /// A sentence or two for people; may be empty.
    pub about: String,
    /// Which level its tables show.
    pub level: Level,
    /// Indices of its columns.
    pub columns: Vec<usize>,
    /// The configurations.
    pub rows: Vec<MatrixRow>,
}

/// A configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixRow {
    /// Its name on the command line.
    pub id: String,
    /// Its head in reports.
    pub title: String,
    /// The scenario that it starts from.
    pub scenario: PathBuf,
    /// What it changes in there.
    pub sets: Vec<(String, String)>,
}

/// What people say, with the guarantees that would hold if it were true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixAdvice {
    /// Its name.
    pub id: String,
    /// The advice.
    pub says: String,
    /// What to know, in prose; may be empty.
    pub note: String,
    /// What must hold for it to be right.
    pub checks: Vec<MatrixCheck>,
}

/// A guarantee that a configuration is said to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixCheck {
    /// The section and the row in it.
    pub row: (usize, usize),
    /// Where; that of the section unless the definition says otherwise.
    pub level: Level,
    /// Which; `None`: order.
    pub guarantee: Option<Guarantee>,
    /// Under which fault classes: indices of columns.
    pub columns: Vec<usize>,
}

/// The fault classes of matrices that do not name their own.
const STANDARD: &str = include_str!("matrix/standard.toml");

impl MatrixSpec {
    /// Reads a definition; rows that name scenarios look them up beside it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<MatrixSpec, Diagnostics> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let help = "name a matrix definition or a scenario";
            Diagnostics::unreadable(&shown, &error, help)
        })?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        read::definition(&shown, &text, folder)
    }

    /// A matrix of plain scenarios, each with its own configuration, against the standard fault
    /// classes.
    #[must_use]
    pub fn of_scenarios(scenarios: &[(PathBuf, &Scenario)]) -> MatrixSpec {
        let columns = read::standard();
        let mut sections: Vec<MatrixSection> = Vec::new();
        for (path, scenario) in scenarios {
            let level = shown_level(scenario);
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let row = MatrixRow {
                id: stem.unwrap_or_default(),
                title: scenario.title.clone(),
                scenario: path.clone(),
                sets: Vec::new(),
            };
            match sections.iter_mut().find(|section| section.level == level) {
                Some(section) => section.rows.push(row),
                None => sections.push(MatrixSection {
                    id: level.name().to_owned(),
                    title: "As configured".to_owned(),
                    about: String::new(),
                    level,
                    columns: (0..columns.len()).collect(),
                    rows: vec![row],
                }),
            }
        }
        MatrixSpec {
            path: String::new(),
            title: "Scenarios as they are, under each fault class".to_owned(),
            about: String::new(),
            seeds: read::SEEDS,
            columns,
            sections,
            advice: Vec::new(),
        }
    }

    /// Whether a text is a definition rather than a scenario: it has `sections`.
    #[must_use]
    pub fn is_definition(text: &str) -> bool {
        let (document, _) = toml::de::DeTable::parse_recoverable(text);
        document.get_ref().iter().any(|(key, _)| key.get_ref() == "sections")
    }
}

impl MatrixSpec {
    /// Leaves only some rows (by name, or all of a section by its name) and columns; empty: all.
    /// The advice goes, unless everything stays: it is judged by the whole matrix.
    ///
    /// # Errors
    /// The first name that is neither, with those that are.
    pub fn select(&mut self, rows: &[String], columns: &[String]) -> Result<(), UnknownName> {
        let known = |names: Vec<&str>, wanted: &[String], what| {
            let missing = wanted.iter().find(|name| !names.contains(&name.as_str()));
            missing.map_or(Ok(()), |name| Err(UnknownName::new(what, name, &names)))
        };
        let sections = self.sections.iter();
        let of_rows = sections.flat_map(|section| {
            let rows = section.rows.iter().map(|row| row.id.as_str());
            std::iter::once(section.id.as_str()).chain(rows)
        });
        known(of_rows.collect(), rows, "row")?;
        known(self.columns.iter().map(|it| it.id.as_str()).collect(), columns, "column")?;
        if !rows.is_empty() {
            for section in self.sections.iter_mut().filter(|it| !rows.contains(&it.id)) {
                section.rows.retain(|row| rows.contains(&row.id));
            }
        }
        if !columns.is_empty() {
            let kept: Vec<usize> = (0..self.columns.len())
                .filter(|at| columns.contains(&self.columns[*at].id))
                .collect();
            self.columns.retain(|column| columns.contains(&column.id));
            for section in &mut self.sections {
                section.columns =
                    section.columns.iter().filter_map(|at| kept.binary_search(at).ok()).collect();
            }
        }
        if !rows.is_empty() || !columns.is_empty() {
            self.advice.clear();
        }
        self.sections.retain(|section| !section.rows.is_empty() && !section.columns.is_empty());
        Ok(())
    }
}

/// A row or a column that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    /// `row` or `column`.
    pub what: &'static str,
    /// What was asked for.
    pub name: String,
    /// What to write instead.
    pub help: String,
}

impl UnknownName {
    fn new(what: &'static str, name: &str, known: &[&str]) -> UnknownName {
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of: {}", known.join(", ")),
        };
        UnknownName { what, name: name.to_owned(), help }
    }
}

/// The level that a scenario is about: the outermost that it claims, or what it has.
fn shown_level(scenario: &Scenario) -> Level {
    let claimed = scenario
        .claim
        .and_then(|claim| Level::ALL.into_iter().rev().find(|level| claim.at(*level).is_some()));
    claimed.unwrap_or(if !scenario.sinks.is_empty() {
        Level::Effect
    } else if scenario.consumers.is_empty() && scenario.processors.is_empty() {
        Level::Log
    } else {
        Level::Processing
    })
}

impl MatrixColumn {
    /// The edits that put `base` under this fault class and no other.
    #[must_use]
    pub fn edits(&self, base: &Scenario) -> Vec<(String, String)> {
        let topic = base.topics.iter().find(|topic| !topic.config.is_internal());
        let topic = topic.map_or("", |topic| topic.name.as_str());
        let mut sets: Vec<(String, String)> = Vec::new();
        if !base.scripted.is_empty() && !self.sets.iter().any(|(path, _)| path == "fault") {
            sets.push(("fault".to_owned(), "[]".to_owned()));
        }
        for (path, value) in &self.sets {
            sets.push((path.clone(), value.replace("{topic}", topic)));
        }
        if !self.kinds.is_empty() {
            sets.push(("faults".to_owned(), format!("{{swarm={{{}}}}}", self.swarm())));
        } else if base.swarm.is_some() || base.walk {
            sets.push(("faults".to_owned(), "{}".to_owned()));
        }
        sets
    }

    fn swarm(&self) -> String {
        let quoted = |texts: &[&str]| {
            texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(",")
        };
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        let mut swarm = format!("kinds=[{}],count={}", quoted(&kinds), self.count);
        if !self.targets.is_empty() {
            let targets: Vec<&str> = self.targets.iter().map(String::as_str).collect();
            swarm.push_str(&format!(",targets=[{}]", quoted(&targets)));
        }
        swarm
    }
}

#[cfg(test)]
mod tests;
