//! How long it takes, on this machine:
//! `cargo test -p oncesim-external --release speed -- --ignored --nocapture`

#![expect(clippy::disallowed_types, reason = "it measures wall time")]
#![expect(clippy::print_stdout, reason = "the figures are for whoever asked for them")]

use std::time::Instant as WallInstant;

use super::*;

const SCHEMA: &str = "CREATE TABLE balance(customer INTEGER PRIMARY KEY, amount INTEGER);
CREATE TABLE seen(id INTEGER PRIMARY KEY, at INTEGER);
CREATE TABLE offsets(\"partition\" TEXT PRIMARY KEY, next INTEGER, token INTEGER);";

const STATEMENTS: &[(&str, StatementRole)] = &[
    ("INSERT INTO seen VALUES (:id, :now) ON CONFLICT DO NOTHING", StatementRole::DedupMark),
    (
        "INSERT INTO balance VALUES (:key, :value) ON CONFLICT DO UPDATE
         SET amount = amount + excluded.amount",
        StatementRole::Effect,
    ),
    (
        "INSERT INTO offsets VALUES (:partition, :next, :token) ON CONFLICT DO UPDATE
         SET next = excluded.next, token = excluded.token WHERE excluded.token >= token",
        StatementRole::OffsetWrite,
    ),
];

#[test]
#[ignore = "it measures"]
fn speed() {
    let mut opening = Vec::new();
    for _ in 0..300 {
        let start = WallInstant::now();
        std::hint::black_box(lab(SCHEMA, STATEMENTS));
        opening.push(start.elapsed());
    }
    let mut lab = lab(SCHEMA, STATEMENTS);
    let mut effects = Vec::new();
    for batch in 0..100 {
        let start = WallInstant::now();
        for id in batch * 100..(batch + 1) * 100 {
            lab.begin(A);
            let parameters = Parameters { next: id + 1, ..record(id, id % 10, 1) };
            for statement in 0..3 {
                lab.execute(A, statement, parameters).unwrap();
            }
            lab.commit(A);
            lab.replies.clear();
            lab.order.clear();
        }
        effects.push(start.elapsed() / 100);
    }
    for (what, times) in [("opening a database", &mut opening), ("one effect", &mut effects)] {
        times.sort();
        println!("{what}: {:?} at best, {:?} in the middle", times[0], times[times.len() / 2]);
    }
    assert_eq!(lab.notes().len(), 30_000);
}
