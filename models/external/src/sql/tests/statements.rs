//! What statements see, and what is noted about them.

use super::*;
use oncesim_types::{Offset, RowChange};

const SCHEMA: &str =
    "CREATE TABLE ledger(id INTEGER PRIMARY KEY, customer INTEGER, amount INTEGER);
CREATE TABLE seen(id INTEGER PRIMARY KEY);
CREATE TABLE offsets(\"partition\" TEXT PRIMARY KEY, next INTEGER, token INTEGER);
CREATE TABLE balance(customer INTEGER PRIMARY KEY, amount INTEGER);
INSERT INTO balance VALUES (0, 100);";

const STATEMENTS: &[(&str, StatementRole)] = &[
    ("INSERT INTO ledger VALUES (:id, :key, :value)", StatementRole::Effect),
    ("INSERT INTO seen VALUES (:id) ON CONFLICT DO NOTHING", StatementRole::DedupMark),
    (
        "INSERT INTO offsets VALUES (:partition, :next, :token) ON CONFLICT DO UPDATE
         SET next = excluded.next, token = excluded.token WHERE excluded.token >= token",
        StatementRole::OffsetWrite,
    ),
    ("SELECT next FROM offsets WHERE \"partition\" = :partition", StatementRole::OffsetRead),
    ("SELECT amount FROM balance WHERE customer = :key", StatementRole::Read),
    ("REPLACE INTO balance VALUES (:key, :read + :value)", StatementRole::Effect),
    ("DELETE FROM seen", StatementRole::DedupEvict),
    ("SELECT count(*), sum(id) FROM ledger", StatementRole::DedupCheck),
];

#[test]
fn what_is_committed_is_noted_in_order_and_nothing_before() {
    let mut lab = lab(SCHEMA, STATEMENTS);
    assert_eq!(lab.begin(A), 1);
    let stored = Parameters { next: 5, token: 3, ..record(4, 0, 0) };
    lab.execute(A, 1, record(4, 0, 7)).unwrap();
    lab.execute(A, 0, Parameters { token: 3, ..record(4, 0, 7) }).unwrap();
    lab.execute(A, 2, stored).unwrap();
    assert_eq!(lab.notes(), [], "nothing is durable yet");
    lab.commit(A);
    let notes = lab.notes();
    let [mark, applied, offset] = notes.as_slice() else { panic!("{notes:?}") };
    assert_eq!(
        *mark,
        Note::Committed {
            role: StatementRole::DedupMark,
            record: Some(RecordId(4)),
            commit: 1,
            sequence: 1,
            changed: 1,
        }
    );
    let Note::Applied { commit: 1, changes, key: None, token: Some(3), read_at: None, .. } =
        applied
    else {
        panic!("{applied:?}")
    };
    assert!(matches!(changes[..], [RowChange { before: 0, after: 1.., .. }]), "{changes:?}");
    let partition = TopicPartition::new(TopicId(0), 2);
    let next = Offset(5);
    assert_eq!(
        *offset,
        Note::OffsetStored { partition, next, token: 3, commit: 1, accepted: true }
    );
    // An older owner's token changes nothing.
    lab.execute(B, 2, Parameters { next: 4, token: 2, ..record(3, 0, 0) }).unwrap();
    let [Note::OffsetStored { commit: 2, accepted: false, .. }] = lab.notes()[..] else { panic!() };
    let (_, rows) = lab.execute(B, 3, record(0, 0, 0)).unwrap();
    assert_eq!(rows.rows, [[Datum::Integer(5)]]);
    assert_eq!(lab.notes(), [Note::OffsetServed { partition, next: Some(next) }]);
    let elsewhere = Some(TopicPartition::new(TopicId(1), 0));
    lab.execute(B, 3, Parameters { partition: elsewhere, ..record(0, 0, 0) }).unwrap();
    assert!(matches!(lab.notes()[..], [Note::OffsetServed { next: None, .. }]));
}

#[test]
fn an_effect_that_changes_nothing_is_noted_without_changes() {
    let set = "UPDATE balance SET amount = :value WHERE customer = :key";
    let mut lab = lab(SCHEMA, &[(set, StatementRole::Effect)]);
    let changes = |lab: &mut Lab| match &lab.notes()[..] {
        [Note::Applied { changes, .. }] => changes.clone(),
        other => panic!("{other:?}"),
    };
    lab.execute(A, 0, record(1, 0, 7)).unwrap();
    let first = changes(&mut lab);
    assert!(first[0].before != 0 && first[0].before != first[0].after);
    lab.execute(A, 0, record(1, 0, 7)).unwrap();
    let again = changes(&mut lab);
    assert_eq!((again[0].before, again[0].after), (first[0].after, first[0].after));
    assert_eq!(again[0].row, first[0].row);
    lab.execute(A, 0, record(1, 5, 7)).unwrap();
    assert_eq!(changes(&mut lab), []);
}

#[test]
fn a_row_has_one_net_change_per_statement() {
    let mut lab = lab(SCHEMA, STATEMENTS);
    lab.execute(A, 4, record(1, 0, 0)).unwrap();
    lab.execute(A, 5, Parameters { read: Some(100), ..record(1, 0, 11) }).unwrap();
    let notes = lab.notes();
    let [Note::Applied { changes, read_at: Some(0), .. }] = &notes[..] else { panic!("{notes:?}") };
    // REPLACE deletes and inserts: one row that changed.
    assert!(matches!(changes[..], [RowChange { before: 1.., after: 1.., .. }]), "{changes:?}");
    assert_ne!(changes[0].before, changes[0].after);
    // What was read before the newest commit is said.
    lab.execute(B, 4, record(2, 0, 0)).unwrap();
    lab.execute(A, 0, record(9, 0, 0)).unwrap();
    lab.execute(B, 5, Parameters { read: Some(111), ..record(2, 0, 11) }).unwrap();
    let read_at: Vec<(u64, Option<u64>)> = lab
        .notes()
        .iter()
        .filter_map(|note| match note {
            Note::Applied { commit, read_at, .. } => Some((*commit, *read_at)),
            _ => None,
        })
        .collect();
    assert_eq!(read_at, [(2, None), (3, Some(1))]);
}

#[test]
fn rows_are_known_by_their_key() {
    let schema = "CREATE TABLE plain(a); CREATE TABLE compound(a, b, c, PRIMARY KEY (a, b));
        CREATE TABLE keyed(a TEXT PRIMARY KEY, b) WITHOUT ROWID;
        INSERT INTO plain VALUES (1), (1); INSERT INTO compound VALUES (1, 2, 3);
        INSERT INTO keyed VALUES ('x', 1);";
    let statements = [
        "UPDATE plain SET a = 2",
        "UPDATE compound SET c = c + 1",
        "UPDATE compound SET b = b + 1",
        "UPDATE keyed SET b = b + :value",
        "DELETE FROM keyed",
    ];
    let mut lab = lab(schema, &statements.map(|text| (text, StatementRole::Effect)));
    let mut changes = |statement: u16| {
        lab.execute(A, statement, record(1, 0, 1)).unwrap();
        match &lab.notes()[..] {
            [Note::Applied { changes, .. }] => changes.clone(),
            other => panic!("{other:?}"),
        }
    };
    let plain = changes(0);
    assert_eq!(plain.len(), 2, "two rows with the same values are two");
    assert_eq!((plain[0].before, plain[0].after), (plain[1].before, plain[1].after));
    let value = changes(1);
    assert_eq!(value.len(), 1);
    let key = changes(2);
    assert_eq!(key.len(), 2, "a row whose key changes goes, and another one comes");
    assert_eq!((key[0].row, key[0].before, key[0].after), (value[0].row, value[0].after, 0));
    assert_eq!(key[1].before, 0);
    let keyed = changes(3);
    let gone = changes(4);
    assert_eq!((gone[0].row, gone[0].before, gone[0].after), (keyed[0].row, keyed[0].after, 0));
}

#[test]
fn triggers_of_the_schema_do_what_they_do_elsewhere() {
    // With recursive triggers this one would never end.
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, touched TEXT);
        CREATE TRIGGER touch AFTER UPDATE ON t
        BEGIN UPDATE t SET touched = CURRENT_TIMESTAMP WHERE id = NEW.id; END;
        INSERT INTO t(id, a) VALUES (1, 1);";
    let update = ("UPDATE t SET a = :value WHERE id = 1", StatementRole::Effect);
    let mut lab = lab(schema, &[update, ("SELECT touched FROM t", StatementRole::Read)]);
    lab.now = Instant::ZERO + Duration::from_secs(90);
    lab.execute(A, 0, record(1, 0, 5)).unwrap();
    let notes = lab.notes();
    let [Note::Applied { changes, .. }] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!(changes.len(), 1);
    let (_, rows) = lab.execute(A, 1, record(1, 0, 5)).unwrap();
    assert_eq!(rows.rows, [[Datum::Text("1970-01-01 00:01:30".to_owned())]]);
}

#[test]
fn what_is_replaced_is_seen_also_beside_triggers_of_the_schema() {
    let trigger = "CREATE TABLE audit(n);
        CREATE TRIGGER count AFTER INSERT ON t BEGIN INSERT INTO audit VALUES (NEW.id); END;";
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, code TEXT UNIQUE, a);
        INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2);";
    let replace = ("REPLACE INTO t VALUES (:id, 'x', :value)", StatementRole::Effect);
    let ignore = ("INSERT OR IGNORE INTO t VALUES (:id, 'x', :value)", StatementRole::Effect);
    let upsert = (
        "INSERT INTO t VALUES (:id, 'z', :value) ON CONFLICT DO UPDATE SET a = :value",
        StatementRole::Effect,
    );
    let run = |schema: &str, audited: usize| {
        let mut lab = lab(schema, &[replace, ignore, upsert]);
        let mut changes = |statement: u16, id: i64, value: i64| {
            lab.execute(A, statement, record(id, 0, value)).unwrap();
            match &lab.notes()[..] {
                [Note::Applied { changes, .. }] => changes.clone(),
                other => panic!("{other:?}"),
            }
        };
        // Row 1 is replaced by itself, and then, over its code, by row 2, which is replaced, too.
        let itself = changes(0, 1, 9);
        let again = changes(0, 1, 9);
        let other = changes(0, 2, 9);
        let ignored = changes(1, 3, 9);
        let updated = changes(2, 2, 7);
        assert_eq!(itself.len(), 1 + audited);
        assert_eq!(again[0].before, again[0].after);
        assert_eq!(other.len(), 2 + audited);
        let gone = other.iter().find(|change| change.row == itself[0].row).unwrap();
        assert_eq!((gone.before, gone.after), (itself[0].after, 0));
        assert_eq!(ignored, []);
        assert!(matches!(updated[..], [RowChange { before: 1.., after: 1.., .. }]));
        let rows = |changes: &[RowChange]| {
            let mut rows = changes.to_vec();
            rows.sort_by_key(|change| (change.row, change.before, change.after));
            rows
        };
        (rows(&itself[..1]), rows(&updated))
    };
    let plain = run(table, 0);
    assert_eq!(plain, run(&format!("{table}{trigger}"), 1));
}

#[test]
fn keys_that_are_null_tell_nothing() {
    let schema =
        "CREATE TABLE t(id TEXT PRIMARY KEY, a); INSERT INTO t VALUES (NULL, 1), (NULL, 2);";
    let mut lab = lab(schema, &[("UPDATE t SET a = a + 10", StatementRole::Effect)]);
    lab.execute(A, 0, record(1, 0, 0)).unwrap();
    let notes = lab.notes();
    let [Note::Applied { changes, .. }] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!(changes.len(), 2);
}

#[test]
fn statements_see_virtual_time_and_their_placeholders() {
    let schema = "CREATE TABLE t(a, b DEFAULT CURRENT_DATE, c DEFAULT (random()))";
    let all = "SELECT :topic, :partition, :now, :value, :read, CURRENT_TIME, :batch";
    let insert = "INSERT INTO t(a) VALUES (:sequence) RETURNING a, b, c, random()";
    let statements = [(all, StatementRole::Read), (insert, StatementRole::Business)];
    let run = || {
        let mut lab = lab(schema, &statements);
        lab.now = Instant::ZERO + Duration::from_millis(86_400_000 + 3_661_500);
        let parameters = Parameters { value: None, batch: 9, ..record(1, 2, 3) };
        let (_, rows) = lab.execute(A, 0, parameters).unwrap();
        let text = |text: &str| Datum::Text(text.to_owned());
        assert_eq!(
            rows.rows[0],
            [
                text("orders"),
                text("orders-2"),
                Datum::Integer(90_061_500),
                Datum::Null,
                Datum::Null,
                text("01:01:01"),
                Datum::Integer(9),
            ]
        );
        lab.begin(A);
        let (changed, rows) = lab.execute(A, 1, parameters).unwrap();
        assert_eq!((changed, &rows.rows[0][0]), (1, &Datum::Integer(1)));
        assert_eq!(rows.rows[0][1], text("1970-01-02"));
        assert_ne!(rows.rows[0][2], rows.rows[0][3]);
        rows
    };
    assert_eq!(run(), run(), "random() is drawn from the seed");
}

#[test]
fn a_constraint_refuses_the_statement_alone() {
    let mut lab = lab(SCHEMA, STATEMENTS);
    lab.begin(A);
    lab.execute(A, 0, record(1, 0, 7)).unwrap();
    assert_eq!(lab.execute(A, 0, record(1, 0, 7)), Err(SystemError::Constraint));
    lab.execute(A, 0, record(2, 0, 7)).unwrap();
    lab.commit(A);
    assert_eq!(lab.notes().len(), 2);
    assert_eq!(lab.query(7), [[Some(2), Some(3)]]);
}

#[test]
fn a_statement_may_roll_its_transaction_back() {
    let or_rollback = "INSERT OR ROLLBACK INTO ledger VALUES (:id, 0, 0)";
    let count = "SELECT count(*) FROM ledger";
    let statements = [(or_rollback, StatementRole::Effect), (count, StatementRole::Read)];
    let mut lab = lab(SCHEMA, &statements);
    lab.begin(A);
    lab.execute(A, 0, record(1, 0, 0)).unwrap();
    assert_eq!(lab.execute(A, 0, record(1, 0, 0)), Err(SystemError::Constraint));
    assert_eq!(lab.notes(), [Note::RolledBack { record: Some(RecordId(1)) }]);
    let commit = lab.ask(A, Request::Commit);
    assert_eq!(commit, Response::Refused(SystemError::NoTransaction));
    assert_eq!(lab.query(1), [[Some(0)]]);
}

#[test]
fn a_deferred_constraint_refuses_the_commit_and_leaves_the_transaction_open() {
    let schema = "CREATE TABLE parent(id INTEGER PRIMARY KEY);
        CREATE TABLE child(id INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED);";
    let child = ("INSERT INTO child VALUES (:id)", StatementRole::Effect);
    let parent = ("INSERT INTO parent VALUES (:id)", StatementRole::Effect);
    let mut lab = lab(schema, &[child, parent]);
    lab.begin(A);
    lab.execute(A, 0, record(1, 0, 0)).unwrap();
    assert_eq!(lab.ask(A, Request::Commit), Response::Refused(SystemError::Constraint));
    lab.execute(A, 1, record(1, 0, 0)).unwrap();
    lab.commit(A);
    assert_eq!(lab.notes().len(), 2);
}

#[test]
fn marks_that_are_forgotten_are_counted() {
    let mut lab = lab(SCHEMA, STATEMENTS);
    lab.execute(A, 6, record(0, 0, 0)).unwrap();
    lab.execute(A, 1, record(1, 0, 0)).unwrap();
    lab.execute(A, 1, record(2, 0, 0)).unwrap();
    lab.execute(A, 1, record(2, 0, 0)).unwrap();
    lab.execute(A, 6, record(0, 0, 0)).unwrap();
    let notes = lab.notes();
    let changed = notes.iter().filter_map(|note| match note {
        Note::Committed { changed, .. } => Some(*changed),
        _ => None,
    });
    assert_eq!(changed.collect::<Vec<_>>(), [1, 1, 0]);
    assert!(matches!(notes.last(), Some(Note::DedupEvicted { commit: 5, rows: 2 })));
}

#[test]
fn an_endless_statement_ends() {
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
        SELECT count(*) FROM n";
    let mut lab = lab(SCHEMA, &[(endless, StatementRole::Read), STATEMENTS[0]]);
    assert_eq!(lab.execute(A, 0, record(0, 0, 0)), Err(SystemError::Statement));
    lab.execute(A, 1, record(0, 0, 0)).unwrap();
}
