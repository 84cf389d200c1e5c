//! The matrix for a terminal: a table per section, as many columns beside each other as fit.

use std::collections::BTreeSet;
use std::fmt::Write;

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::{
    Delivery, MatrixCellView, MatrixRowView, MatrixSectionView, MatrixView, Ruling, checked,
    proofs, ruling,
};
use crate::number::{seconds, short_count};
use crate::style::{BAD, DOUBT, FAINT, GOOD, STRONG, paint};
use crate::table::{pad, widest};

const fn style_of(delivery: Delivery) -> Style {
    match delivery {
        Delivery::Exactly => GOOD,
        Delivery::AtLeast | Delivery::AtMost | Delivery::Inexact => DOUBT,
        Delivery::Neither | Delivery::Doubles | Delivery::Loses => BAD,
        Delivery::Unknown => FAINT,
    }
}

/// Tables, one proof for each row that does something wrong, and the advice. `width`: columns of the
/// terminal.
#[must_use]
pub fn matrix_text(view: &MatrixView, width: Option<usize>, styled: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", paint(styled, STRONG, &view.title));
    for section in &view.sections {
        section_text(&mut out, view, section, width.unwrap_or(usize::MAX), styled);
    }
    legend(&mut out, view, styled);
    for advice in &view.advice {
        let checks: Vec<_> = advice.checks.iter().map(|check| checked(view, check)).collect();
        let ruling = ruling(&checks);
        let style = match ruling {
            Ruling::Right => GOOD,
            Ruling::HalfRight | Ruling::Open => DOUBT,
            Ruling::Wrong => BAD,
        };
        let _ = writeln!(out, "{}: {}", paint(styled, style, ruling.words()), advice.says);
    }
    let cells: usize = view.sections.iter().map(|it| it.rows.len() * it.columns.len()).sum();
    let _ = writeln!(
        out,
        "{} of {} each, from seed {}; {} wall",
        short_count(cells as u64, "cell", "cells"),
        short_count(view.seeds, "seed", "seeds"),
        view.from,
        seconds(view.wall.as_secs_f64()),
    );
    out
}

/// `>=1 34 %`, with `/o` if the order breaks.
fn cell_text(cell: &MatrixCellView, section: &MatrixSectionView) -> String {
    let delivery = cell.delivery(section.level);
    let order = if cell.out_of_order() { "/o" } else { "" };
    let share = cell.share(section.level).map(|share| format!(" {}", share.replace(' ', "")));
    format!("{}{order}{}", delivery.sign(), share.unwrap_or_default())
}

fn section_text(
    out: &mut String,
    view: &MatrixView,
    section: &MatrixSectionView,
    width: usize,
    styled: bool,
) {
    let title = format!("{} ({} level)", section.title, section.level.name());
    let _ = writeln!(out, "\n{}", paint(styled, STRONG, title));
    let ids = widest(section.rows.iter().map(|row| row.id.as_str()));
    let texts: Vec<Vec<String>> = (0..section.columns.len())
        .map(|at| section.rows.iter().map(|row| cell_text(&row.cells[at], section)).collect())
        .collect();
    let widths: Vec<usize> = (section.columns.iter().zip(&texts))
        .map(|(column, texts)| {
            widest(texts.iter().map(String::as_str)).max(view.columns[*column].id.width())
        })
        .collect();
    let mut from = 0;
    while from < section.columns.len() {
        let mut upto = from;
        let mut used = ids;
        while upto < section.columns.len() && (upto == from || used + 2 + widths[upto] <= width) {
            used += 2 + widths[upto];
            upto += 1;
        }
        let head: String = (from..upto)
            .map(|at| format!("  {}", pad(&view.columns[section.columns[at]].id, widths[at])))
            .collect();
        let _ = writeln!(out, "{}{}", pad("", ids), paint(styled, FAINT, head.trim_end()));
        for (r, row) in section.rows.iter().enumerate() {
            let mut line = pad(&row.id, ids);
            for at in from..upto {
                let style = style_of(row.cells[at].delivery(section.level));
                let gap = " ".repeat(widths[at] - texts[at][r].width());
                let _ = write!(line, "  {}{gap}", paint(styled, style, &texts[at][r]));
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
        from = upto;
    }
    for row in &section.rows {
        row_text(out, view, section, row, styled);
    }
}

/// The worst that a row does, and how to see it.
fn row_text(
    out: &mut String,
    view: &MatrixView,
    section: &MatrixSectionView,
    row: &MatrixRowView,
    styled: bool,
) {
    let all = proofs(section, row);
    if let Some((verb, column, found)) = all.first() {
        let title = &view.columns[*column].title;
        let _ = writeln!(
            out,
            "{} {verb} ({}, {title}): {}",
            paint(styled, STRONG, &row.id),
            found.anomaly,
            found.sentence
        );
        let _ = writeln!(out, "    {}", found.command);
    }
    for cell in &row.cells {
        if let Some(bug) = &cell.bug {
            let _ = writeln!(out, "{} {}", paint(styled, BAD, &row.id), paint(styled, BAD, bug));
        }
    }
}

/// The signs that were used.
fn legend(out: &mut String, view: &MatrixView, styled: bool) {
    let mut used = BTreeSet::new();
    let mut order = false;
    for section in &view.sections {
        for cell in section.rows.iter().flat_map(|row| &row.cells) {
            used.insert(cell.delivery(section.level));
            order |= cell.out_of_order();
        }
    }
    out.push('\n');
    for delivery in Delivery::ALL.into_iter().filter(|it| used.contains(it)) {
        let sign = paint(styled, style_of(delivery), pad(delivery.sign(), 4));
        let _ = writeln!(out, "{sign} {}: {}", delivery.words(), delivery.meaning());
    }
    if order {
        let _ = writeln!(out, "/o   some seeds break the order of a producer's records");
    }
    let _ = writeln!(
        out,
        "34%  the share of seeds that are not exactly once; <1.5% the 95 % bound when none is"
    );
}
