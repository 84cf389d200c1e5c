use std::time::Duration;

use oncesim_semantics::{Guarantee, Holds, Level};

use super::*;

fn promise(
    what: Option<(Level, Guarantee)>,
    (held, violated, unknown): (u64, u64, u64),
    found: Option<(u64, &str, &str)>,
) -> MatrixPromiseView {
    MatrixPromiseView {
        what,
        held,
        violated,
        unknown,
        bound_95: if violated > 0 { 0.5 } else { 0.015 },
        cheapest: found.map(|(seed, anomaly, command)| MatrixCounterexample {
            seed,
            faults: 1,
            events: 1_000 + seed,
            anomaly: anomaly.to_owned(),
            sentence: format!("shop #{seed} is <gone>"),
            command: format!("oncesim run {command} --seed {seed}"),
        }),
    }
}

/// A cell of 200 seeds at the log level: how many double and lose, of how many that are exercised.
fn cell(doubles: u64, loses: u64, of: u64, command: &str) -> MatrixCellView {
    let log = |guarantee| Some((Level::Log, guarantee));
    let counts = |violated: u64| (of - violated, violated, 200 - of);
    let found = |n: u64, seed, anomaly| (n > 0).then_some((seed, anomaly, command));
    let either = doubles.max(loses);
    let proof = found(loses, 7, "lost-write").or(found(doubles, 3, "dup-retry"));
    MatrixCellView {
        seeds: 200,
        struck: of,
        not_live: 0,
        bug: None,
        promises: vec![
            promise(log(Guarantee::AtMostOnce), counts(doubles), found(doubles, 3, "dup-retry")),
            promise(log(Guarantee::AtLeastOnce), counts(loses), found(loses, 7, "lost-write")),
            promise(log(Guarantee::ExactlyOnce), counts(either), proof),
            promise(None, counts(u64::from(doubles > 60)), None),
        ],
    }
}

fn view() -> MatrixView {
    let column = |id: &str, title: &str, about: &str| MatrixColumnView {
        id: id.to_owned(),
        title: title.to_owned(),
        about: about.to_owned(),
    };
    let row = |id: &str, title: &str, sets: &[&str], cells: Vec<MatrixCellView>| MatrixRowView {
        id: id.to_owned(),
        title: title.to_owned(),
        scenario: "log.toml".to_owned(),
        sets: sets.iter().map(|&set| set.to_owned()).collect(),
        cells,
    };
    let check = |row: usize, guarantee| MatrixCheckView {
        row: (0, row),
        what: Some((Level::Log, guarantee)),
        columns: vec![0, 1, 2],
    };
    let plain = "log.toml --set producers.shop.config.acks=1";
    MatrixView {
        definition: "m.toml".to_owned(),
        title: "Which guarantee holds".to_owned(),
        about: "Counted, not quoted.".to_owned(),
        from: 0,
        seeds: 200,
        wall: Duration::from_millis(61_500),
        columns: vec![
            column("none", "no fault", "nothing goes wrong"),
            column("crash", "crash", "processes die and start again"),
            column("sink", "sink trouble", "databases refuse"),
        ],
        sections: vec![MatrixSectionView {
            id: "log".to_owned(),
            title: "Producers".to_owned(),
            about: "From send() into the log.".to_owned(),
            level: Level::Log,
            columns: vec![0, 1, 2],
            rows: vec![
                row(
                    "acks-1",
                    "acks=1",
                    &["producers.shop.config.acks=1"],
                    vec![cell(0, 0, 200, plain), cell(80, 30, 190, plain), cell(0, 0, 0, plain)],
                ),
                row(
                    "acks-all",
                    "acks=all | safe",
                    &[],
                    vec![cell(0, 0, 200, ""), cell(2, 0, 180, "log.toml"), cell(0, 0, 0, "")],
                ),
                row(
                    "idempotent",
                    "idempotent",
                    &[],
                    vec![cell(0, 0, 200, ""), cell(0, 0, 180, ""), cell(0, 4, 10, "log.toml")],
                ),
            ],
        }],
        advice: vec![
            MatrixAdviceView {
                id: "loss".to_owned(),
                says: "acks=all means no loss".to_owned(),
                note: "It means every replica that is in sync.".to_owned(),
                checks: vec![check(1, Guarantee::AtLeastOnce), check(2, Guarantee::AtLeastOnce)],
            },
            MatrixAdviceView {
                id: "doubles".to_owned(),
                says: "acks=1 doubles nothing".to_owned(),
                note: String::new(),
                checks: vec![check(0, Guarantee::AtMostOnce)],
            },
        ],
    }
}

#[test]
fn a_terminal_shows_tables_proofs_a_legend_and_rulings() {
    insta::assert_snapshot!("matrix", matrix_text(&view(), None, false));
}

#[test]
fn a_narrow_terminal_gets_the_columns_below_each_other() {
    let text = matrix_text(&view(), Some(30), false);
    let tables = text.split("Producers").nth(1).unwrap_or_default();
    let tables = tables.split("\nacks-1 loses").next().unwrap_or_default();
    assert!(tables.lines().skip(1).all(|line| line.len() <= 30), "{tables}");
    assert_eq!(tables.matches("idempotent").count(), 3, "one table for each column:\n{tables}");
    assert!(matrix_text(&view(), Some(30), true).contains("\u{1b}["), "colours where asked for");
}

#[test]
fn documentation_gets_a_page() {
    insta::assert_snapshot!("matrix_markdown", matrix_markdown(&view()));
}

#[test]
fn machines_get_every_count() {
    insta::assert_snapshot!("matrix_json", matrix_json(&view()));
}

#[test]
fn a_page_escapes_what_it_is_given_and_holds_every_cell() {
    let html = matrix_html(&view());
    assert!(!html.contains("<gone>"), "escaped");
    assert_eq!(html.matches("data-cell=").count(), 9);
    assert!(html.contains("oncesim run log.toml --set producers.shop.config.acks=1 --seed 7"));
    insta::assert_snapshot!("matrix_html", html.split("<body>").nth(1).unwrap_or_default());
}

#[test]
fn delivery_follows_from_three_guarantees() {
    use Holds::{Holds as Held, Unknown, Violated};
    for (once, least, exactly, delivery) in [
        (Held, Held, Held, Delivery::Exactly),
        (Held, Held, Violated, Delivery::Inexact),
        (Violated, Held, Violated, Delivery::AtLeast),
        (Held, Violated, Violated, Delivery::AtMost),
        (Violated, Violated, Violated, Delivery::Neither),
        (Violated, Unknown, Violated, Delivery::Doubles),
        (Unknown, Violated, Violated, Delivery::Loses),
        (Unknown, Unknown, Violated, Delivery::Inexact),
        (Unknown, Unknown, Unknown, Delivery::Unknown),
        (Held, Unknown, Unknown, Delivery::Unknown),
    ] {
        let counts = |holds| match holds {
            Held => (1, 0, 0),
            Violated => (0, 1, 0),
            Unknown => (0, 0, 1),
        };
        let of = |guarantee, holds| promise(Some((Level::Log, guarantee)), counts(holds), None);
        let cell = MatrixCellView {
            seeds: 1,
            struck: 1,
            not_live: 0,
            bug: None,
            promises: vec![
                of(Guarantee::AtMostOnce, once),
                of(Guarantee::AtLeastOnce, least),
                of(Guarantee::ExactlyOnce, exactly),
            ],
        };
        assert_eq!(cell.delivery(Level::Log), delivery, "{once:?} {least:?} {exactly:?}");
    }
}

#[test]
fn advice_is_right_if_every_check_holds_and_wrong_if_none_does() {
    let view = view();
    let rule = |rows: &[(usize, Guarantee)]| {
        let what = |(row, guarantee): &(usize, Guarantee)| MatrixCheckView {
            row: (0, *row),
            what: Some((Level::Log, *guarantee)),
            columns: vec![0, 1, 2],
        };
        let checks: Vec<_> = rows.iter().map(what).collect();
        ruling(&checks.iter().map(|check| checked(&view, check)).collect::<Vec<_>>())
    };
    use Guarantee::{AtLeastOnce, AtMostOnce};
    assert_eq!(rule(&[(1, AtLeastOnce)]), Ruling::Right);
    assert_eq!(rule(&[(0, AtMostOnce), (2, AtLeastOnce)]), Ruling::Wrong);
    assert_eq!(rule(&[(1, AtLeastOnce), (2, AtLeastOnce)]), Ruling::HalfRight);
    let open =
        MatrixCheckView { row: (0, 0), what: Some((Level::Log, AtMostOnce)), columns: vec![2] };
    assert_eq!(ruling(&[checked(&view, &open)]), Ruling::Open);
}
