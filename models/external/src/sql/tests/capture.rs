//! Change data capture: commit order, whatever the order of numbers.

use super::*;
use crate::CapturedRow;

const SCHEMA: &str = "CREATE TABLE outbox(sequence INTEGER PRIMARY KEY, id INTEGER, value INTEGER);
CREATE TABLE other(id INTEGER PRIMARY KEY);
INSERT INTO outbox VALUES (0, 0, 0);";
const INSERT: (&str, StatementRole) =
    ("INSERT INTO outbox VALUES (:sequence, :id, :value)", StatementRole::Outbox);
const DELETE: (&str, StatementRole) =
    ("DELETE FROM outbox WHERE id = :id", StatementRole::RelayMark);
const OTHER: (&str, StatementRole) = ("INSERT INTO other VALUES (:id)", StatementRole::Business);

fn outbox() -> Lab {
    lab_with(SCHEMA, &[INSERT, DELETE, OTHER], &["outbox"])
}

fn capture(lab: &mut Lab, after: LogPosition, max: u32) -> Vec<CapturedRow> {
    match lab.ask(C, Request::Capture { after, max }) {
        Response::Captured { rows } => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn changes_are_read_in_commit_order_from_any_position() {
    let mut lab = outbox();
    assert_eq!((lab.begin(A), lab.begin(B)), (1, 2));
    lab.execute(B, 0, record(20, 0, 1)).unwrap();
    lab.execute(B, 1, record(20, 0, 1)).unwrap();
    assert_eq!(capture(&mut lab, LogPosition::default(), 10), [], "nothing is committed");
    lab.commit(B);
    lab.execute(C, 2, record(5, 0, 0)).unwrap();
    lab.execute(A, 0, record(10, 0, 1)).unwrap();
    lab.commit(A);
    let all = capture(&mut lab, LogPosition::default(), 10);
    let shape: Vec<(u64, u32, bool, Datum)> = all
        .iter()
        .map(|row| (row.position.commit, row.position.changes, row.deleted, row.values[1].clone()))
        .collect();
    // A row that came and went in one transaction is in the log all the same.
    assert_eq!(
        shape,
        [
            (1, 1, false, Datum::Integer(20)),
            (1, 2, true, Datum::Integer(20)),
            (3, 1, false, Datum::Integer(10)),
        ]
    );
    assert_eq!(all[0].table, "outbox");
    assert_eq!(capture(&mut lab, LogPosition::default(), 1), all[..1]);
    assert_eq!(capture(&mut lab, all[0].position, 10), all[1..]);
    assert_eq!(capture(&mut lab, all[2].position, 10), []);
    lab.crash();
    assert_eq!(capture(&mut lab, all[1].position, 10), all[2..]);
}

#[test]
fn a_snapshot_is_the_table_at_a_position() {
    let mut lab = outbox();
    lab.begin(A);
    lab.execute(A, 0, record(10, 0, 1)).unwrap();
    let snapshot = lab.send(C, Request::Snapshot { table: "outbox".to_owned() });
    assert_eq!(lab.answer(snapshot), None, "it would see what is not committed");
    lab.commit(A);
    let Some(Response::Snapshot { rows, position }) = lab.answer(snapshot) else { panic!() };
    assert_eq!(rows.columns, ["sequence", "id", "value"]);
    assert_eq!(rows.rows.len(), 2);
    assert_eq!(capture(&mut lab, position, 10), []);
    lab.execute(B, 0, record(11, 0, 1)).unwrap();
    assert_eq!(capture(&mut lab, position, 10).len(), 1);
    let missing = lab.ask(C, Request::Snapshot { table: "nowhere".to_owned() });
    assert_eq!(missing, Response::Refused(SystemError::Statement));
}
