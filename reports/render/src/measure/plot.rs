//! Figures over a sweep: what is compared, as bars of block characters, and as SVG.

use unicode_width::UnicodeWidthStr;

use super::figure::Figure;
use super::text::named;
use super::{MeasureView, PointView};
use crate::table::{pad, widest};

/// A figure of the summary at every point: its name, and the points with it.
pub(crate) type Compared<'a> = Vec<(String, Option<&'a Figure>)>;

/// The figures of the summaries, by name, in the order of the first point that has them.
pub(crate) fn compared(view: &MeasureView) -> Vec<(&str, Compared<'_>)> {
    let mut names: Vec<&str> = Vec::new();
    for row in view.points.iter().flat_map(summary) {
        if !names.contains(&row.subject.as_str()) {
            names.push(&row.subject);
        }
    }
    let of = |name: &str, point| {
        let found = summary(point).iter().find(|row| row.subject == name);
        found.and_then(|row| row.cells.first()?.as_ref())
    };
    names
        .into_iter()
        .map(|name| {
            let points = view.points.iter();
            (name, points.map(|point| (named(view, point), of(name, point))).collect())
        })
        .collect()
}

/// Whether a figure is worth a plot: it is not the same at every point.
pub(crate) fn varies(points: &Compared<'_>) -> bool {
    let mut texts = points.iter().map(|(_, figure)| figure.map(|it| (it.text(), it.range())));
    let first = texts.next();
    texts.any(|other| Some(other) != first)
}

pub(super) fn summary(point: &PointView) -> &[super::RowView] {
    point.sections.iter().find(|section| section.id == "summary").map_or(&[], |it| &it.rows)
}

/// A bar per point, in eighths of a column, from 0 to the highest.
pub(super) fn bars(rows: &Compared<'_>, width: usize) -> Vec<String> {
    let texts: Vec<String> =
        rows.iter().map(|(_, it)| it.map_or_else(|| "-".to_owned(), Figure::text)).collect();
    let names = widest(rows.iter().map(|(name, _)| name.as_str()));
    let values = widest(texts.iter().map(String::as_str));
    let ranges: Vec<String> =
        rows.iter().map(|(_, it)| it.map_or(String::new(), Figure::range)).collect();
    let beside = widest(ranges.iter().map(String::as_str));
    let room = width.saturating_sub(names + values + beside + 8).clamp(8, 60);
    let highest = rows.iter().filter_map(|(_, it)| it.map(|it| it.median)).fold(0.0, f64::max);
    let lines = rows.iter().zip(texts).zip(ranges).map(|(((name, it), text), range)| {
        let share = it.map_or(0.0, |it| if highest > 0.0 { it.median / highest } else { 0.0 });
        let value = format!("{}{text}", " ".repeat(values - text.width()));
        let bar = bar(share, room);
        let line = format!("{}  {value}  {}  {range}", pad(name, names), pad(&bar, room));
        line.trim_end().to_owned()
    });
    lines.collect()
}

fn bar(share: f64, room: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share * room as f64 * 8.0).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}
