use proptest::prelude::*;

use super::*;

const LEDGER: &str =
    "CREATE TABLE ledger(id INTEGER PRIMARY KEY, customer INTEGER, amount INTEGER);
CREATE TABLE balance(customer INTEGER PRIMARY KEY, amount INTEGER NOT NULL, version INTEGER);
CREATE TABLE account(id INTEGER PRIMARY KEY, amount INTEGER NOT NULL);
INSERT INTO account(id, amount) VALUES (1, 100), (2, 100);
CREATE TABLE log(amount INTEGER);";

/// The complaint about a schema, with the text from its place on.
fn schema_complaint(schema: &str) -> (String, Option<String>) {
    let complaint = check_schema(schema).expect_err(schema);
    (complaint.message, complaint.offset.map(|at| schema[at..].to_owned()))
}

fn statement_complaint(statement: &str) -> (String, Option<String>) {
    let complaint = check_statement(LEDGER, statement).expect_err(statement);
    (complaint.message, complaint.offset.map(|at| statement[at..].to_owned()))
}

#[test]
fn a_schema_is_whatever_sqlite_takes() {
    for schema in [
        "",
        "-- nothing",
        LEDGER,
        "CREATE TABLE date(time DATE(10), datetime TIME (6)); CREATE INDEX i ON date(time);",
        "CREATE TABLE t(a TEXT DEFAULT CURRENT_TIMESTAMP, b DEFAULT (random()), c AS (a || b));
         INSERT INTO t(a) VALUES ('x');",
        "CREATE TABLE t(a PRIMARY KEY, b) WITHOUT ROWID;
         CREATE TRIGGER touch AFTER UPDATE ON t BEGIN
             UPDATE t SET b = CASE WHEN 1 THEN CURRENT_TIMESTAMP END WHERE a = NEW.a; END;
         CREATE VIEW v AS SELECT a FROM t;",
        "CREATE TABLE \"odd \"\" name\"(\"a b\" INTEGER, [c d] TEXT, rowid, oid);",
    ] {
        assert_eq!(check_schema(schema), Ok(()), "{schema}");
    }
}

#[test]
fn complaints_about_a_schema_count_from_its_beginning() {
    for (schema, words, rest) in [
        ("CREATE TABLE t(a);\nCREATE TABEL u(b);", "syntax error", "TABEL u"),
        ("CREATE TABLE t(a);\nCREATE INDEX i ON t(b);", "no such column: b", "b);"),
        ("CREATE TABLE t(a); CREATE TABLE t(b)", "already exists", "t(b)"),
        ("CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES (1), (1)", "UNIQUE", "INSERT"),
        ("CREATE TABLE t(a); BEGIN; ", "BEGIN is not available", "BEGIN"),
        ("PRAGMA foreign_keys = ON; CREATE TABLE t(a)", "PRAGMA is not available", "PRAGMA"),
        ("ATTACH 'x.db' AS x", "no files", "ATTACH"),
        ("VACUUM INTO 'x.db'", "no files", "VACUUM"),
        ("CREATE VIRTUAL TABLE f USING fts5(a)", "virtual table", "CREATE"),
        ("CREATE TEMP TABLE t(a)", "leave TEMP out", "CREATE"),
        ("CREATE TABLE t(a DEFAULT (1 + datetime('now')))", "write :now", "datetime("),
        ("CREATE TABLE t(a); INSERT INTO t VALUES (date('now'))", "write :now", "date("),
        (
            "CREATE TABLE t(a);
             CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = unixepoch(); END;",
            "write :now",
            "unixepoch(",
        ),
        (
            "CREATE TABLE t(a, b AS (a));
             CREATE TRIGGER x AFTER UPDATE OF a ON t BEGIN SELECT time('now'); END;",
            "write :now",
            "time(",
        ),
        ("CREATE TABLE t(a); CREATE VIEW v AS SELECT julianday()", "write :now", "julianday("),
        ("CREATE TABLE t(a); INSERT INTO t VALUES (:id)", "no placeholders", ":id"),
        ("CREATE TABLE t(a)\0;", "NUL", "\0"),
    ] {
        let (message, place) = schema_complaint(schema);
        assert!(message.contains(words), "{schema}: {message}");
        assert!(place.as_deref().is_some_and(|it| it.starts_with(rest)), "{schema}: {place:?}");
    }
    let trigger = "CREATE TABLE t(a);
        CREATE TRIGGER x AFTER DELETE ON t BEGIN INSERT INTO nowhere VALUES (1); END;";
    assert!(schema_complaint(trigger).0.contains("no such table"));
}

#[test]
fn statements_say_what_they_are() {
    let shape = |text: &str| check_statement(LEDGER, text).expect(text);
    let insert = shape("INSERT INTO ledger VALUES (:id, :key, :value + :key); -- done");
    assert_eq!(insert.parameters, ["id", "key", "value"]);
    assert!(insert.columns.is_empty() && !insert.reads_only);
    let select = shape("SELECT amount, version AS v FROM balance WHERE customer = :key");
    assert_eq!(select.columns, ["amount", "v"]);
    assert!(select.reads_only);
    let returning = shape("DELETE FROM ledger WHERE id = :id RETURNING amount");
    assert_eq!(returning.columns, ["amount"]);
    assert!(!returning.reads_only);
}

#[test]
fn complaints_about_a_statement_name_the_place() {
    for (statement, words, rest) in [
        ("", "no statement", ""),
        ("-- nothing", "no statement", "--"),
        ("SELEC 1", "syntax error", "SELEC"),
        ("INSERT INTO ledgr VALUES (1)", "no such table: ledgr", "ledgr"),
        ("  UPDATE ledger SET amout = 1", "no such column: amout", "amout"),
        (
            "INSERT INTO ledger VALUES (:id, :kye, 1)",
            ":kye is not a placeholder: there are :id,",
            ":kye",
        ),
        ("INSERT INTO ledger VALUES (?, ?, ?)", "? is not a placeholder", "?, ?, ?"),
        ("DELETE FROM ledger; DELETE FROM balance", "several statements", "DELETE FROM balance"),
        ("BEGIN", "transactions are opened and ended", "BEGIN"),
        ("commit;", "transactions are opened and ended", "commit"),
        ("CREATE TABLE x(a)", "CREATE belongs into the schema", "CREATE"),
        ("INSERT INTO ledger(id) VALUES (strftime('%s', 'now'))", "write :now", "strftime"),
        ("INSERT INTO ledger(id) VALUES (hex(randomblob(8)))", "write random()", "randomblob"),
        ("INSERT INTO ledger(id) VALUES (\"datetime\"('now'))", "write :now", "INSERT"),
        ("INSERT OR FAIL INTO ledger VALUES (1, 2, 3)", "half of a statement", "FAIL"),
        ("SELECT load_extension('x')", "no extensions", "load_extension"),
        ("SELECT oncesim_row(0, 0)", "simulator's own", "SELECT"),
    ] {
        let (message, place) = statement_complaint(statement);
        assert!(message.contains(words), "{statement}: {message}");
        assert!(place.as_deref().is_some_and(|it| it.starts_with(rest)), "{statement}: {place:?}");
    }
}

#[test]
fn effects_are_tried() {
    for (effect, absorbs, overwrites) in [
        // A plain insert with a key of its own is refused the second time, without one it doubles.
        (&["INSERT INTO ledger VALUES (:id, :key, :value)"][..], true, false),
        (&["INSERT INTO ledger(customer, amount) VALUES (:key, :value)"], false, false),
        (&["INSERT INTO log VALUES (:value)"], false, false),
        (&["INSERT INTO ledger VALUES (:id, :key, :value) ON CONFLICT DO NOTHING"], true, false),
        // A set is absorbed, and overwrites; with a version it does not.
        (
            &["INSERT INTO balance VALUES (:key, :value, 0)
               ON CONFLICT DO UPDATE SET amount = excluded.amount"],
            true,
            true,
        ),
        (&["REPLACE INTO balance VALUES (:key, :value, :version)"], true, true),
        (
            &["INSERT INTO balance VALUES (:key, :value, :version) ON CONFLICT DO UPDATE
               SET amount = excluded.amount, version = excluded.version
               WHERE excluded.version > balance.version"],
            true,
            false,
        ),
        // An increment doubles, in whatever order; so does what was computed from a read.
        (&["UPDATE account SET amount = amount + :value WHERE id = :key"], false, false),
        (&["UPDATE account SET amount = :read + :value WHERE id = :key"], false, false),
        // A step that is refused takes the others with it.
        (
            &[
                "UPDATE account SET amount = amount + :value WHERE id = :key",
                "INSERT INTO ledger VALUES (:id, :key, :value)",
            ],
            true,
            false,
        ),
        // A row that other statements are to insert.
        (&["UPDATE ledger SET amount = -1 WHERE id = :id"], true, false),
        // The time of the last writing changes with every application.
        (&["REPLACE INTO balance VALUES (:key, :value, :now)"], false, true),
    ] {
        let traits = effect_traits(LEDGER, effect);
        assert_eq!(traits, Ok(EffectTraits { absorbs, overwrites }), "{effect:?}");
    }
}

#[test]
fn an_effect_that_does_nothing_is_no_effect() {
    let nothing = effect_traits(LEDGER, &["DELETE FROM ledger WHERE id = -:id - 1"]);
    assert!(nothing.expect_err("no row").message.contains("changes no row"));
    let refused = effect_traits(LEDGER, &["INSERT INTO account VALUES (:key, NULL)"]);
    let message = refused.expect_err("not null").message;
    assert!(message.contains("NOT NULL constraint failed: account.amount"), "{message}");
    let endless = effect_traits(
        LEDGER,
        &["INSERT INTO log WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
           SELECT count(*) FROM n"],
    );
    assert!(endless.expect_err("endless").message.contains("interrupt"));
}

/// Words that make up SQL, more or less.
fn noise() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "CREATE",
        "TABLE",
        "TRIGGER",
        "VIEW",
        "INSERT",
        "INTO",
        "UPDATE",
        "SET",
        "DELETE",
        "FROM",
        "SELECT",
        "WHERE",
        "VALUES",
        "ledger",
        "balance",
        "id",
        "amount",
        "(",
        ")",
        ",",
        ";",
        "'",
        "\"",
        "[",
        "]",
        "`",
        "--",
        "/*",
        "*/",
        "\n",
        ":id",
        ":key",
        ":",
        "?",
        "@a",
        "$b",
        "=",
        "+",
        "DEFAULT",
        "date",
        "random",
        "BEGIN",
        "END",
        "ON",
        "CONFLICT",
        "DO",
        "NOTHING",
        "REPLACE",
        "OR",
        "ROLLBACK",
        "ABORT",
        "x'",
        "1",
        "1e9",
        "\0",
        "\u{e9}",
        "\u{1f600}",
        "AS",
        "WITH",
        "RECURSIVE",
        "t",
        "a",
        "AFTER",
        "NEW",
        ".",
        "CASE",
        "RAISE",
        "PRIMARY",
        "KEY",
        "WITHOUT",
        "ROWID",
        "RETURNING",
        "*",
        "EXPLAIN",
        "TEMP",
    ]);
    let words = prop::collection::vec(word, 0..24).prop_map(|words| words.join(" "));
    prop_oneof![4 => words, 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_text_is_too_odd(schema in noise(), text in noise()) {
        let inside = |complaint: &SqlComplaint, text: &str| {
            complaint.offset.is_none_or(|at| at <= text.len() && text.is_char_boundary(at))
        };
        if let Err(complaint) = check_schema(&schema) {
            prop_assert!(inside(&complaint, &schema), "{complaint:?}");
        }
        if let Err(complaint) = check_statement(LEDGER, &text) {
            prop_assert!(inside(&complaint, &text), "{complaint:?}");
        }
        let _ = check_statement(&schema, &text);
        let _ = effect_traits(&schema, &[&text]);
        if let Err(complaint) = effect_traits(LEDGER, &[&text, &schema]) {
            prop_assert!(!complaint.message.is_empty());
        }
    }
}
