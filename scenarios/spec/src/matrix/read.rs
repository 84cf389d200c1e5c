//! From TOML to a matrix definition, or to everything that is wrong with it.

use std::path::Path;

use oncesim_semantics::{Guarantee, Level};

use super::{
    MatrixAdvice, MatrixCheck, MatrixColumn, MatrixRow, MatrixSection, MatrixSpec, STANDARD,
};
use crate::diagnostic::{Diagnostic, Diagnostics, Place, nearest};
use crate::fault::FaultKind;
use crate::id;
use crate::node::{self, Entry};
use crate::section::{Section, word};

/// Seeds per cell when a definition does not say.
pub(super) const SEEDS: u64 = 200;

/// The most seeds that a cell can be asked for.
const SEEDS_MAX: i64 = 1_000_000;

/// The columns of [`STANDARD`].
pub(super) fn standard() -> Vec<MatrixColumn> {
    let mut out = Diagnostics::default();
    let source = out.source("standard.toml", STANDARD);
    let root = node::read(STANDARD, source, &mut out);
    let mut top = Section::new(&root, "the standard columns", Place::default());
    let columns = columns(&mut top, &mut out);
    assert!(out.is_empty(), "the standard columns are well-formed: {}", out.render(false));
    columns
}

/// The whole definition.
pub(super) fn definition(
    shown: &str,
    text: &str,
    folder: &Path,
) -> Result<MatrixSpec, Diagnostics> {
    let mut out = Diagnostics::default();
    let source = out.source(shown, text);
    let root = node::read(text, source, &mut out);
    let broken = out.has_errors();
    let mut top = Section::new(&root, "the matrix", Place::default());
    let title = top.required_text("title", "\"What is compared\"", &mut out);
    let about = top.text("about", &mut out).map_or("", |(text, _)| text);
    let seeds = top.integer("seeds", (1, SEEDS_MAX), &mut out);
    let columns = if top.has("columns") { columns(&mut top, &mut out) } else { standard() };
    let sections = sections(&mut top, &columns, folder, &mut out);
    let advice = advice(&mut top, &columns, &sections, &mut out);
    top.finish(&mut out);
    if broken {
        out.only_certain();
    }
    out.sort();
    if out.has_errors() {
        return Err(out);
    }
    Ok(MatrixSpec {
        path: shown.to_owned(),
        title: title.map_or_else(String::new, |(text, _)| text.to_owned()),
        about: about.trim().to_owned(),
        seeds: seeds.map_or(SEEDS, i64::unsigned_abs),
        columns,
        sections,
        advice,
    })
}

/// The entries of a table of tables, each with its name.
fn tables<'t>(
    top: &mut Section<'t>,
    key: &'static str,
    out: &mut Diagnostics,
) -> Vec<(&'t Entry, Section<'t>)> {
    let Some(entry) = top.get(key) else { return Vec::new() };
    let Some(all) = Section::of(entry, &format!("`{key}`"), out) else { return Vec::new() };
    let named = |entry: &'t Entry, out: &mut Diagnostics| {
        Section::of(entry, &format!("[{key}.{}]", entry.key), out).map(|section| (entry, section))
    };
    all.entries().iter().filter_map(|entry| named(entry, out)).collect()
}

fn columns(top: &mut Section<'_>, out: &mut Diagnostics) -> Vec<MatrixColumn> {
    let words: Vec<_> = FaultKind::ALL.iter().map(|kind| (kind.name(), *kind)).collect();
    let mut columns = Vec::new();
    for (entry, mut section) in tables(top, "columns", out) {
        let title = section.text("title", out).map_or(entry.key.as_str(), |(text, _)| text);
        let about = section.text("about", out).map_or("", |(text, _)| text);
        let mut kinds = |key, out: &mut Diagnostics| {
            let given = section.texts(key, out)?;
            Some(given.into_iter().filter_map(|(t, p)| word(t, p, key, &words, out)).collect())
        };
        let drawn: Vec<FaultKind> = kinds("kinds", out).unwrap_or_default();
        let strikes = kinds("strikes", out).unwrap_or_else(|| drawn.clone());
        let count = section.integer("count", (1, 1_000), out).unwrap_or(3);
        let targets = section.texts("targets", out).unwrap_or_default();
        let sets = sets(&mut section, out);
        section.finish(out);
        columns.push(MatrixColumn {
            id: entry.key.clone(),
            title: title.to_owned(),
            about: about.trim().to_owned(),
            kinds: drawn,
            count: u32::try_from(count).expect("checked above"),
            targets: targets.into_iter().map(|(text, _)| text.to_owned()).collect(),
            strikes,
            sets,
        });
    }
    columns
}

/// `set = ["PATH=VALUE"]`, as `--set` takes it.
fn sets(section: &mut Section<'_>, out: &mut Diagnostics) -> Vec<(String, String)> {
    let mut sets = Vec::new();
    for (text, place) in section.texts("set", out).unwrap_or_default() {
        match text.split_once('=') {
            Some((path, value)) if !path.trim().is_empty() => {
                sets.push((path.trim().to_owned(), value.trim().to_owned()));
            }
            _ => out.push(
                Diagnostic::error(id::BAD_SET, format!("`{text}` does not say what to change"))
                    .at(place)
                    .help("write PATH=VALUE: \"producers.shop.config.acks=1\""),
            ),
        }
    }
    sets
}

fn levels() -> Vec<(&'static str, Level)> {
    Level::ALL.iter().map(|level| (level.name(), *level)).collect()
}

/// The indices of columns that are named, or all of them.
fn chosen(
    section: &mut Section<'_>,
    columns: &[MatrixColumn],
    out: &mut Diagnostics,
) -> Option<Vec<usize>> {
    let words: Vec<&str> = columns.iter().map(|column| column.id.as_str()).collect();
    let mut found = |key, out: &mut Diagnostics| -> Option<Vec<usize>> {
        let given = section.texts(key, out)?;
        Some(given.iter().filter_map(|(t, p)| position(t, *p, "column", &words, out)).collect())
    };
    let named = found("columns", out);
    let without = found("without", out).unwrap_or_default();
    if named.is_none() && without.is_empty() {
        return None;
    }
    let all = named.unwrap_or_else(|| (0..columns.len()).collect());
    Some(all.into_iter().filter(|column| !without.contains(column)).collect())
}

/// Which of the names a text is.
fn position(
    text: &str,
    place: Place,
    what: &str,
    names: &[&str],
    out: &mut Diagnostics,
) -> Option<usize> {
    let at = names.iter().position(|name| *name == text);
    if at.is_none() {
        let message = format!("there is no {what} `{text}`");
        let item = Diagnostic::error(id::UNKNOWN_WORD, message).at(place);
        out.push(match nearest(text, names.iter().copied()) {
            Some(near) => item.help(format!("did you mean \"{near}\"?")),
            None => item.help(format!("one of: {}", names.join(", "))),
        });
    }
    at
}

fn sections(
    top: &mut Section<'_>,
    columns: &[MatrixColumn],
    folder: &Path,
    out: &mut Diagnostics,
) -> Vec<MatrixSection> {
    if !top.has("sections") {
        top.missing("sections", "a table for each group of rows: [sections.log.rows.NAME]", out);
    }
    let mut seen: Vec<(String, Place)> = Vec::new();
    let mut sections = Vec::new();
    for (entry, mut section) in tables(top, "sections", out) {
        let title = section.text("title", out).map_or(entry.key.as_str(), |(text, _)| text);
        let about = section.text("about", out).map_or("", |(text, _)| text);
        if !section.has("level") {
            section.missing("level", "\"log\" (or \"processing\", \"effect\")", out);
        }
        let level = section.word("level", &levels(), out).unwrap_or(Level::Log);
        let scenario = section.text("scenario", out).map(|(text, _)| text.to_owned());
        let chosen = chosen(&mut section, columns, out);
        let mut rows = Vec::new();
        for (row_entry, row) in tables(&mut section, "rows", out) {
            if let Some((_, first)) = seen.iter().find(|(id, _)| *id == row_entry.key) {
                out.push(
                    Diagnostic::error(id::DUPLICATE, format!("two rows are `{}`", row_entry.key))
                        .at(row_entry.key_place)
                        .also(*first, "the first")
                        .help("rows are chosen by their names: give one of them another"),
                );
            }
            seen.push((row_entry.key.clone(), row_entry.key_place));
            rows.extend(self::row(row_entry, row, scenario.as_deref(), folder, out));
        }
        if rows.is_empty() {
            section.missing(
                "rows",
                "a table for each configuration: [sections.NAME.rows.NAME]",
                out,
            );
        }
        section.finish(out);
        sections.push(MatrixSection {
            id: entry.key.clone(),
            title: title.to_owned(),
            about: about.trim().to_owned(),
            level,
            columns: chosen.unwrap_or_else(|| (0..columns.len()).collect()),
            rows,
        });
    }
    sections
}

fn row(
    entry: &Entry,
    mut section: Section<'_>,
    inherited: Option<&str>,
    folder: &Path,
    out: &mut Diagnostics,
) -> Option<MatrixRow> {
    let title = section.text("title", out).map_or(entry.key.as_str(), |(text, _)| text);
    let scenario = match section.text("scenario", out) {
        Some((text, _)) => Some(text),
        None => inherited,
    };
    if scenario.is_none() {
        section.missing("scenario", "\"base.toml\" (here, or in its section)", out);
    }
    let sets = sets(&mut section, out);
    section.finish(out);
    Some(MatrixRow {
        id: entry.key.clone(),
        title: title.to_owned(),
        scenario: folder.join(scenario?),
        sets,
    })
}

fn advice(
    top: &mut Section<'_>,
    columns: &[MatrixColumn],
    sections: &[MatrixSection],
    out: &mut Diagnostics,
) -> Vec<MatrixAdvice> {
    let mut advice = Vec::new();
    for (entry, mut section) in tables(top, "advice", out) {
        let says = section.required_text("says", "\"what people say\"", out);
        let note = section.text("note", out).map_or("", |(text, _)| text);
        let checks = checks(&mut section, columns, sections, out);
        section.finish(out);
        advice.push(MatrixAdvice {
            id: entry.key.clone(),
            says: says.map_or("", |(text, _)| text).trim().to_owned(),
            note: note.trim().to_owned(),
            checks,
        });
    }
    advice
}

/// `checks.ROW = { guarantee, level, columns }`, or with `row` under another name.
fn checks(
    section: &mut Section<'_>,
    columns: &[MatrixColumn],
    sections: &[MatrixSection],
    out: &mut Diagnostics,
) -> Vec<MatrixCheck> {
    let rows: Vec<(&str, (usize, usize))> = (0..)
        .zip(sections)
        .flat_map(|(s, section)| {
            (0..).zip(&section.rows).map(move |(r, row)| (row.id.as_str(), (s, r)))
        })
        .collect();
    let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    let mut guarantees: Vec<(&str, Option<Guarantee>)> =
        Guarantee::ALL.iter().map(|guarantee| (guarantee.name(), Some(*guarantee))).collect();
    guarantees.push(("ordering", None));
    let mut checks = Vec::new();
    let mut any = false;
    for (entry, mut check) in tables(section, "checks", out) {
        any = true;
        let (text, place) = match check.text("row", out) {
            Some(named) => named,
            None => (entry.key.as_str(), entry.key_place),
        };
        let row = position(text, place, "row", &names, out);
        if !check.has("guarantee") {
            check.missing("guarantee", "\"at-least-once\"", out);
        }
        let guarantee = check.word("guarantee", &guarantees, out);
        let level = check.word("level", &levels(), out);
        let chosen = chosen(&mut check, columns, out);
        check.finish(out);
        let (Some(row), Some(guarantee)) = (row.map(|row| rows[row].1), guarantee) else {
            continue;
        };
        let home = &sections[row.0];
        checks.push(MatrixCheck {
            row,
            level: level.unwrap_or(home.level),
            guarantee,
            columns: chosen.unwrap_or_else(|| home.columns.clone()),
        });
    }
    if !any {
        section.missing(
            "checks",
            "what would hold: { ROW = { guarantee = \"at-least-once\" } }",
            out,
        );
    }
    checks
}
