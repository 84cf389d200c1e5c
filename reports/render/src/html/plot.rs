//! Plots as inline SVG: they take the colours of the page, in light, in dark and on paper.

use askama::Template;

use super::page::Markup;
use crate::number::grouped;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;

#[derive(Template)]
#[template(path = "plot.svg", ext = "html")]
struct Drawing<'a> {
    title: &'a str,
    x_label: &'a str,
    y_label: &'a str,
    path: String,
    dots: Vec<(String, String, String)>,
    x_ticks: Vec<(String, String)>,
    y_ticks: Vec<(String, String)>,
}

/// How a plot is labelled.
pub(super) struct Labels<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
}

/// A staircase from the first point to `end`: what had been reached after how many.
pub(super) fn staircase(labels: &Labels<'_>, points: &[(u64, u64)], end: u64) -> Markup {
    let end = points.last().map_or(end, |last| last.0.max(end)).max(1);
    let top = points.iter().map(|it| it.1).max().unwrap_or(0).max(1);
    let (x, y) = (|n: u64| across(n, end), |n: u64| up(n, top));
    let mut path = String::new();
    for (i, (at, reached)) in points.iter().enumerate() {
        let command = if i == 0 {
            format!("M{:.1} {:.1}", x(*at), y(*reached))
        } else {
            format!("H{:.1}V{:.1}", x(*at), y(*reached))
        };
        path.push_str(&command);
    }
    if !points.is_empty() {
        path.push_str(&format!("H{:.1}", x(end)));
    }
    drawing(labels, path, Vec::new(), end, top)
}

/// Dots with a text each, shown when they are pointed at; `(x, y, text)`.
pub(super) fn dots(labels: &Labels<'_>, points: &[(u64, u64, String)]) -> Markup {
    let end = points.iter().map(|it| it.0).max().unwrap_or(0).max(1);
    let top = points.iter().map(|it| it.1).max().unwrap_or(0).max(1);
    let dots = points
        .iter()
        .map(|(x, y, text)| {
            (format!("{:.1}", across(*x, end)), format!("{:.1}", up(*y, top)), text.clone())
        })
        .collect();
    drawing(labels, String::new(), dots, end, top)
}

fn drawing(
    labels: &Labels<'_>,
    path: String,
    dots: Vec<(String, String, String)>,
    end: u64,
    top: u64,
) -> Markup {
    let place = |at: f64| format!("{at:.1}");
    Markup::of(&Drawing {
        title: labels.title,
        x_label: labels.x,
        y_label: labels.y,
        path,
        dots,
        x_ticks: ticks(end).into_iter().map(|n| (place(across(n, end)), grouped(n))).collect(),
        y_ticks: ticks(top).into_iter().map(|n| (place(up(n, top)), grouped(n))).collect(),
    })
}

fn across(n: u64, end: u64) -> f64 {
    LEFT + n as f64 / end as f64 * (WIDTH - LEFT - RIGHT)
}

fn up(n: u64, top: u64) -> f64 {
    HEIGHT - BOTTOM - n as f64 / top as f64 * (HEIGHT - BOTTOM - TOP)
}

/// Round numbers from 0 to `end`: at most seven, 1, 2 or 5 times a power of ten apart.
fn ticks(end: u64) -> Vec<u64> {
    let mut step = 1;
    for factor in [2, 5, 10].into_iter().cycle() {
        if end / step <= 6 {
            break;
        }
        // 1, 2, 5, 10, 20, 50, ...
        step = match factor {
            2 => step * 2,
            5 => step / 2 * 5,
            _ => step * 2,
        };
    }
    (0..=end / step).map(|n| n * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for (end, expected) in [
            (1, vec![0, 1]),
            (7, vec![0, 2, 4, 6]),
            (33, vec![0, 5, 10, 15, 20, 25, 30]),
            (100, vec![0, 20, 40, 60, 80, 100]),
            (999, vec![0, 200, 400, 600, 800]),
            (10_000, vec![0, 2_000, 4_000, 6_000, 8_000, 10_000]),
        ] {
            assert_eq!(ticks(end), expected, "{end}");
        }
        assert!(ticks(u64::MAX / 16).len() <= 7);
    }

    #[test]
    fn a_staircase_ends_where_the_campaign_does() {
        let labels = Labels { title: "t <", x: "seeds", y: "points" };
        let svg = staircase(&labels, &[(1, 10), (5, 20)], 10).to_string();
        assert!(svg.contains("H544.0\""), "the last step is flat to the end: {svg}");
        assert!(svg.contains("t &#60;"), "{svg}");
        assert!(staircase(&labels, &[], 0).to_string().contains("<svg"), "nothing is a plot too");
    }
}
