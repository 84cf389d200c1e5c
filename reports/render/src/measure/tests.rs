//! Golden reports of figures that were made up.

use super::*;
use crate::html::measure_html;
use oncesim_types::Duration;

fn row(subject: &str, cells: Vec<Option<Figure>>) -> RowView {
    RowView { subject: subject.to_owned(), cells }
}

fn time(micros: u64) -> Option<Figure> {
    Some(Figure::time(Duration::from_micros(micros)))
}

/// The tables of one run in which everything takes `factor` times as long.
fn sections(factor: u64) -> Vec<SectionView> {
    let summary = SectionView {
        id: "summary",
        title: "summary",
        note: "the workload until all faults have healed",
        columns: vec![("value", "")],
        rows: vec![
            row("input records", vec![Some(Figure::count(2_000))]),
            row("end to end, p99", vec![time(12_345 * factor)]),
            row("time in commits", vec![Some(Figure::new(Unit::Share, 0.1 / factor as f64))]),
            row("requests", vec![Some(Figure::new(Unit::PerInput, 314.0 * factor as f64 / 100.0))]),
        ],
    };
    let latency = SectionView {
        id: "latency",
        title: "latency",
        note: "from the first send()",
        columns: vec![("records", "records"), ("p50", "p50"), ("max", "max")],
        rows: vec![
            row(
                "acknowledged by orders",
                vec![Some(Figure::count(2_000)), time(4_180 * factor), time(17_100 * factor)],
            ),
            row("committed | in invoices", vec![Some(Figure::count(1_999)), time(24_200), None]),
        ],
    };
    vec![summary, latency]
}

fn point(values: &[&str], sections: Vec<SectionView>) -> PointView {
    PointView {
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        sections,
        judgement: Judgement::AsClaimed,
        vacuous: false,
        notes: Vec::new(),
    }
}

fn one() -> MeasureView {
    let mut point = point(&[], sections(1));
    point.notes.push("nobody consumes: the way ends where send() is acknowledged".to_owned());
    MeasureView {
        scenario: "orders.toml".to_owned(),
        title: "Orders <become> invoices".to_owned(),
        seeds: (3, 1),
        sweeps: Vec::new(),
        points: vec![point],
        command: "oncesim measure orders.toml --seed 3".to_owned(),
    }
}

/// Three seeds, and a grid of which one corner was not measured.
fn grid() -> MeasureView {
    let runs = |factor| merged(vec![sections(factor), sections(factor + 1), sections(factor + 4)]);
    MeasureView {
        seeds: (0, 3),
        sweeps: vec![
            ("processors.billing.commit-interval".to_owned(), vec!["0s".into(), "100ms".into()]),
            ("cluster.brokers".to_owned(), vec!["1".into(), "3".into()]),
        ],
        points: vec![
            point(&["0s", "1"], runs(1)),
            point(&["0s", "3"], runs(2)),
            point(&["100ms", "1"], runs(3)),
            point(&["100ms", "3"], Vec::new()),
        ],
        command: "oncesim measure orders.toml --seeds 3 --sweep ...".to_owned(),
        ..one()
    }
}

#[test]
fn one_run_for_people() {
    insta::assert_snapshot!(measure_text(&one(), 100, false));
}

#[test]
fn several_seeds_for_people() {
    let mut view = grid();
    view.sweeps.clear();
    view.points.truncate(1);
    insta::assert_snapshot!(measure_text(&view, 100, false));
}

#[test]
fn a_sweep_for_people() {
    insta::assert_snapshot!(measure_text(&grid(), 80, false));
}

#[test]
fn as_markdown() {
    insta::assert_snapshot!("one_run_as_markdown", measure_markdown(&one()));
    insta::assert_snapshot!("a_sweep_as_markdown", measure_markdown(&grid()));
}

#[test]
fn as_json() {
    insta::assert_snapshot!("one_run_as_json", measure_json(&one()));
    let document: serde_json::Value =
        serde_json::from_str(&measure_json(&grid())).expect("a document");
    assert_eq!(document["points"][1]["set"]["cluster.brokers"], "3");
    let figure = &document["points"][0]["measures"]["summary"][1]["value"];
    assert_eq!(figure["unit"], "virtual ns");
    assert_eq!(figure["n"], 3);
    assert_eq!(figure["low"], 12_345_000);
}

#[test]
fn a_plot_fits_its_terminal() {
    for width in [20, 60, 100, 400] {
        for line in measure_text(&grid(), width, false).lines() {
            let bars = line.contains('█');
            assert!(
                !bars || unicode_width::UnicodeWidthStr::width(line) <= width.max(80),
                "{line}"
            );
        }
    }
}

#[test]
fn a_page_escapes_and_draws() {
    let page = measure_html(&grid());
    assert_eq!(page.matches("<figure>").count(), 4, "a plot per figure that varies");
    let mut same = grid();
    same.points.pop();
    assert_eq!(measure_html(&same).matches("<figure>").count(), 3, "the input does not");
    assert!(page.contains("cluster.brokers=1"), "a legend of the series");
    assert!(!page.contains("Orders <become>"), "{page}");
    assert!(!page.contains("<script"), "it needs no program");
    assert!(measure_html(&one()).contains("<h2>latency</h2>"));
}
