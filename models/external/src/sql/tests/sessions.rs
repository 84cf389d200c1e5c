//! Who gets the lock, and what becomes of transactions.

use super::*;

const SCHEMA: &str =
    "CREATE TABLE ledger(id INTEGER PRIMARY KEY, customer INTEGER, amount INTEGER)";
const INSERT: (&str, StatementRole) =
    ("INSERT INTO ledger VALUES (:id, :key, :value)", StatementRole::Effect);
const ALL: (&str, StatementRole) = ("SELECT id FROM ledger ORDER BY id", StatementRole::Read);

fn ledger() -> Lab {
    lab(SCHEMA, &[INSERT, ALL])
}

fn ids(lab: &mut Lab) -> Vec<i64> {
    lab.query(1).into_iter().map(|row| row[0].unwrap()).collect()
}

#[test]
fn one_transaction_at_a_time_in_the_order_of_their_first_statements() {
    let mut lab = ledger();
    // Numbers are drawn by Begin: B is the older one by its number, A by the lock.
    assert_eq!((lab.begin(B), lab.begin(A), lab.begin(C)), (1, 2, 3));
    lab.execute(A, 0, record(10, 0, 0)).unwrap();
    let of_c = lab.statement(0, record(30, 0, 0));
    let of_c = lab.send(C, of_c);
    let of_b = lab.statement(1, record(0, 0, 0));
    let of_b = lab.send(B, of_b);
    assert_eq!((lab.answer(of_b), lab.answer(of_c)), (None, None));
    lab.commit(A);
    assert!(matches!(lab.answer(of_c), Some(Response::Executed { changed: 1, .. })));
    assert_eq!(lab.answer(of_b), None);
    assert_eq!(lab.ask(C, Request::Rollback), Response::RolledBack);
    let Some(Response::Executed { rows, .. }) = lab.answer(of_b) else { panic!() };
    assert_eq!(rows.rows, [[Datum::Integer(10)]], "it sees what was committed, and only that");
    lab.commit(B);
    let notes = lab.notes();
    assert!(
        matches!(
            notes[..],
            [Note::Applied { commit: 1, .. }, Note::RolledBack { record: Some(RecordId(30)) }]
        ),
        "{notes:?}"
    );
}

#[test]
fn requests_of_a_session_keep_their_order_behind_one_that_waits() {
    let mut lab = ledger();
    lab.begin(A);
    lab.execute(A, 0, record(1, 0, 0)).unwrap();
    let (first, second) = (lab.statement(0, record(2, 0, 0)), lab.statement(0, record(3, 0, 0)));
    let asked = [
        lab.send(B, Request::Begin),
        lab.send(B, first),
        lab.send(B, second),
        lab.send(B, Request::Commit),
        lab.send(B, Request::Begin),
    ];
    assert!(lab.answer(asked[0]).is_some() && lab.answer(asked[1]).is_none());
    lab.commit(A);
    let order: Vec<CorrelationId> =
        lab.replies.iter().filter(|it| it.0 == B).map(|it| it.1).collect();
    assert_eq!(order, asked);
    assert_eq!(lab.answer(asked[4]), Some(Response::Begun { sequence: 3 }));
    assert_eq!(ids(&mut lab), [1, 2, 3]);
}

#[test]
fn who_waits_too_long_is_refused() {
    let mut lab = ledger();
    lab.begin(A);
    lab.execute(A, 0, record(1, 0, 0)).unwrap();
    lab.begin(B);
    let in_transaction = lab.statement(0, record(2, 0, 0));
    let in_transaction = lab.send(B, in_transaction);
    let alone = lab.statement(0, record(3, 0, 0));
    let alone = lab.send(C, alone);
    lab.pass(LOCK);
    let timeout = Response::Refused(SystemError::LockTimeout);
    assert_eq!(lab.answer(in_transaction), Some(timeout.clone()));
    assert_eq!(lab.answer(alone), Some(timeout));
    // What B goes on with is not executed outside of the transaction that it lost.
    assert_eq!(lab.execute(B, 0, record(2, 0, 0)), Err(SystemError::LockTimeout));
    lab.commit(A);
    lab.begin(B);
    lab.execute(B, 0, record(4, 0, 0)).unwrap();
    lab.commit(B);
    assert_eq!(ids(&mut lab), [1, 4]);
    assert!(lab.timers.is_empty(), "{:?}", lab.timers);
}

#[test]
fn an_idle_transaction_is_rolled_back_and_its_client_told() {
    let mut lab = ledger();
    lab.begin(A);
    lab.execute(A, 0, record(1, 0, 0)).unwrap();
    lab.pass(IDLE - Duration::from_secs(1));
    lab.execute(A, 0, record(2, 0, 0)).unwrap();
    let waits = lab.statement(0, record(3, 0, 0));
    lab.pass(IDLE - Duration::from_secs(1));
    let waits = lab.send(B, waits);
    assert_eq!(lab.answer(waits), None, "it was active in between");
    lab.pass(Duration::from_secs(2));
    assert!(matches!(lab.answer(waits), Some(Response::Executed { .. })), "the lock is free");
    assert_eq!(lab.execute(A, 0, record(4, 0, 0)), Err(SystemError::IdleTimeout));
    assert_eq!(lab.ask(A, Request::Commit), Response::Refused(SystemError::IdleTimeout));
    lab.begin(A);
    lab.commit(A);
    assert_eq!(ids(&mut lab), [3]);
    let rolled_back = Note::RolledBack { record: Some(RecordId(1)) };
    assert_eq!(lab.notes().iter().filter(|&note| *note == rolled_back).count(), 1);
}

#[test]
fn a_connection_that_closes_rolls_back() {
    let mut lab = ledger();
    lab.begin(A);
    lab.execute(A, 0, record(1, 0, 0)).unwrap();
    lab.begin(B);
    let waits = lab.statement(0, record(2, 0, 0));
    let waits = lab.send(B, waits);
    let behind = lab.statement(0, record(3, 0, 0));
    let behind = lab.send(C, behind);
    lab.input(Input::ConnectionClosed { connection: B });
    lab.input(Input::ConnectionClosed { connection: A });
    assert_eq!(lab.answer(waits), None);
    assert!(lab.answer(behind).is_some());
    assert_eq!(ids(&mut lab), [3]);
    assert!(lab.timers.is_empty(), "{:?}", lab.timers);
}

#[test]
fn a_crash_keeps_what_was_committed() {
    let mut lab = ledger();
    lab.begin(A);
    lab.execute(A, 0, record(1, 0, 0)).unwrap();
    lab.commit(A);
    lab.begin(A);
    lab.execute(A, 0, record(2, 0, 0)).unwrap();
    let waits = lab.statement(0, record(3, 0, 0));
    lab.send(B, waits);
    lab.crash();
    assert_eq!(ids(&mut lab), [1]);
    assert_eq!(lab.begin(C), 3, "numbers are never given back");
    lab.execute(C, 0, record(2, 0, 0)).unwrap();
    lab.commit(C);
    assert!(matches!(lab.notes().last(), Some(Note::Applied { commit: 2, .. })));
}

#[test]
fn faults() {
    let mut lab = ledger();
    lab.input(Input::Fault(SystemFault::Errors, true));
    assert_eq!(lab.ask(A, Request::Begin), Response::Refused(SystemError::Unavailable));
    assert_eq!(lab.execute(A, 0, record(1, 0, 0)), Err(SystemError::Unavailable));
    lab.input(Input::Fault(SystemFault::Errors, false));

    // Two that overlap end one by one.
    lab.input(Input::Fault(SystemFault::Errors, true));
    lab.input(Input::Fault(SystemFault::Errors, true));
    lab.input(Input::Fault(SystemFault::Errors, false));
    assert_eq!(lab.ask(A, Request::Begin), Response::Refused(SystemError::Unavailable));
    lab.input(Input::Fault(SystemFault::Errors, false));
    lab.input(Input::Fault(SystemFault::Slow(Duration::from_secs(1)), true));
    lab.execute(A, 0, record(1, 0, 0)).unwrap();
    assert_eq!(lab.replies.last().unwrap().2, SERVICE + Duration::from_secs(1));
    lab.input(Input::Fault(SystemFault::Slow(Duration::from_secs(1)), false));

    lab.input(Input::Fault(SystemFault::Deadlocks, true));
    assert_eq!(lab.begin(A), 2);
    lab.execute(A, 1, record(1, 0, 0)).unwrap();
    lab.commit(A);
    lab.begin(A);
    lab.execute(A, 0, record(2, 0, 0)).unwrap();
    assert_eq!(lab.ask(A, Request::Commit), Response::Refused(SystemError::Deadlock));
    assert_eq!(lab.execute(A, 0, record(2, 0, 0)), Err(SystemError::Deadlock));
    assert_eq!(lab.ask(A, Request::Commit), Response::Refused(SystemError::NoTransaction));
    lab.input(Input::Fault(SystemFault::Deadlocks, false));

    lab.input(Input::Fault(SystemFault::UnknownCommits, true));
    lab.begin(A);
    lab.execute(A, 0, record(3, 0, 0)).unwrap();
    let commit = lab.send(A, Request::Commit);
    assert_eq!((lab.answer(commit), lab.closed.as_slice()), (None, &[A][..]));
    let late = lab.statement(0, record(9, 0, 0));
    let late = lab.send(A, late);
    assert_eq!(lab.answer(late), None, "the connection is broken");
    lab.input(Input::ConnectionClosed { connection: A });
    let alone = lab.statement(0, record(4, 0, 0));
    let alone = lab.send(B, alone);
    assert_eq!((lab.answer(alone), lab.closed.len()), (None, 2));
    lab.input(Input::Fault(SystemFault::UnknownCommits, false));
    assert_eq!(ids(&mut lab), [1, 3, 4]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut lab = ledger();
    assert_eq!(lab.ask(A, Request::Commit), Response::Refused(SystemError::NoTransaction));
    assert_eq!(lab.ask(A, Request::Rollback), Response::RolledBack);
    lab.begin(A);
    assert_eq!(lab.ask(A, Request::Begin), Response::Refused(SystemError::Statement));
    lab.execute(A, 0, record(1, 0, 0)).unwrap();
    lab.commit(A);
    lab.roles.push(StatementRole::Effect);
    assert_eq!(lab.execute(A, 2, record(1, 0, 0)), Err(SystemError::Statement));
    assert_eq!(ids(&mut lab), [1]);
}
