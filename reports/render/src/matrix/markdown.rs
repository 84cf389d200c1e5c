//! The matrix as a page of Markdown, for documentation: the same for the same seeds.

use std::fmt::Write;

use super::{
    Checked, Delivery, MatrixCellView, MatrixSectionView, MatrixView, check_in_words, checked,
    proofs, ruling,
};
use crate::number::grouped;

/// A page: the advice with its rulings, then a table per section with proofs.
#[must_use]
pub fn matrix_markdown(view: &MatrixView) -> String {
    let mut out = format!("# {}\n\n", view.title);
    if !view.about.is_empty() {
        let _ = writeln!(out, "{}\n", view.about);
    }
    if !view.advice.is_empty() {
        out.push_str("## What people say\n\n");
        for advice in &view.advice {
            advice_markdown(&mut out, view, advice);
        }
    }
    columns(&mut out, view);
    for section in &view.sections {
        section_markdown(&mut out, view, section);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn advice_markdown(out: &mut String, view: &MatrixView, advice: &super::MatrixAdviceView) {
    let checks: Vec<_> = advice.checks.iter().map(|check| checked(view, check)).collect();
    let _ = writeln!(out, "### \"{}\"\n", advice.says);
    let note = if advice.note.is_empty() { "" } else { " " };
    let ruling = ruling(&checks).words();
    let first = ruling.get(..1).unwrap_or_default().to_uppercase();
    let _ = writeln!(out, "**{first}{}.**{note}{}\n", &ruling[1..], advice.note);
    for check in &checks {
        check_markdown(out, view, check);
    }
    out.push('\n');
}

fn check_markdown(out: &mut String, view: &MatrixView, check: &Checked<'_>) {
    let _ = writeln!(out, "- {}.", check_in_words(view, check));
    if let Some(found) = &check.total.cheapest {
        let _ = writeln!(out, "  `{}`: {}", found.anomaly, sentence(&found.sentence));
        let _ = writeln!(out, "  ```sh\n  {}\n  ```", found.command);
    }
}

/// A sentence that ends.
fn sentence(text: &str) -> String {
    let text = text.replace('|', "\\|");
    if text.ends_with('.') { text } else { format!("{text}.") }
}

fn columns(out: &mut String, view: &MatrixView) {
    let _ = writeln!(
        out,
        "## Reading the tables\n\nEach cell is {} seeds of a configuration under a class of faults, \
         from seed {}. A seed counts only if a fault of the class struck it and the guarantee was \
         exercised. Below the verdict stands the share of seeds that are not exactly once, or the \
         95 % bound on it when there is none.\n",
        grouped(view.seeds),
        view.from
    );
    out.push_str("| verdict | meaning |\n|---|---|\n");
    for delivery in Delivery::ALL {
        let _ = writeln!(out, "| {} | {} |", delivery.words(), delivery.meaning());
    }
    out.push_str("| ..., disorder | and some seeds break the order of a producer's records |\n");
    out.push_str("\n| fault class | what happens |\n|---|---|\n");
    for column in &view.columns {
        let _ = writeln!(out, "| {} | {} |", column.title, column.about);
    }
    out.push('\n');
}

fn cell_markdown(cell: &MatrixCellView, section: &MatrixSectionView) -> String {
    let delivery = cell.delivery(section.level);
    let strong = if delivery == Delivery::Exactly { "" } else { "**" };
    let order = if cell.out_of_order() { ", disorder" } else { "" };
    match cell.share(section.level) {
        _ if delivery == Delivery::Unknown => format!("unknown<br>{}", cell.why_unknown()),
        Some(share) => format!("{strong}{}{order}{strong}<br>{share}", delivery.words()),
        None => format!("{strong}{}{order}{strong}", delivery.words()),
    }
}

fn section_markdown(out: &mut String, view: &MatrixView, section: &MatrixSectionView) {
    let _ = writeln!(out, "## {}\n", section.title);
    if !section.about.is_empty() {
        let _ = writeln!(out, "{}\n", section.about);
    }
    let _ = write!(out, "| {} level |", section.level.name());
    for column in &section.columns {
        let _ = write!(out, " {} |", view.columns[*column].title);
    }
    let _ = write!(out, "\n|---|");
    out.push_str(&"---|".repeat(section.columns.len()));
    out.push('\n');
    for row in &section.rows {
        let _ = write!(out, "| {} |", row.title.replace('|', "\\|"));
        for cell in &row.cells {
            let _ = write!(out, " {} |", cell_markdown(cell, section));
        }
        out.push('\n');
    }
    out.push('\n');
    for row in &section.rows {
        for (verb, column, found) in proofs(section, row) {
            let _ = writeln!(
                out,
                "- **{}** {verb}, {}, `{}`: {}",
                row.title,
                view.columns[column].title,
                found.anomaly,
                sentence(&found.sentence),
            );
            let _ = writeln!(out, "  ```sh\n  {}\n  ```", found.command);
        }
    }
    out.push('\n');
}
