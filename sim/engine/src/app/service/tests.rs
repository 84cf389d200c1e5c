//! The service with nobody around it: the test is its database and its log.

use oncesim_external::Rows;
use oncesim_kafka::config::ProducerConfig;
use oncesim_types::{ErrorCode, Offset, Ratio, SystemId, TopicId};

use super::*;

const SERVICE: ActorId = ActorId(7);
const ORDER: StatementId = StatementId(0);
const OUTBOX: StatementId = StatementId(1);

fn spec(announce: Announce) -> ServiceSpec {
    ServiceSpec {
        name: "shop".to_owned(),
        instances: 1,
        database: SystemId(0),
        statements: vec![ORDER],
        announce,
        to: TopicId(0),
        records: 2,
        keys: 3,
        interval: Duration::from_millis(5),
        hold: Duration::ZERO,
        abort: Ratio::ZERO,
        tombstones: Ratio::ZERO,
        producer: ProducerConfig::default(),
    }
}

/// What the service did, in words as short as its work.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Did {
    Intend(u64),
    Begin,
    Business(u64),
    Outbox(u64),
    Commit,
    Rollback,
    HangUp,
    Send(u64, u32),
    Ended(u64, AskOutcome),
    Wake(u64),
    Close,
    Finish,
}

use AskOutcome::{Ok as Done, Refused, Unknown};
use Did::*;
use SystemError as E;

fn did(effect: AppEffect) -> Did {
    match effect {
        AppEffect::Intended { record, .. } => Intend(record.ordinal()),
        AppEffect::IntentEnded { record, outcome } => Ended(record.ordinal(), outcome),
        AppEffect::Ask { body: Request::Begin, .. } => Begin,
        AppEffect::Ask { body: Request::Commit, .. } => Commit,
        AppEffect::Ask { body: Request::Rollback, .. } => Rollback,
        AppEffect::Ask { body: Request::Execute(execute), .. } => {
            let record = execute.record.expect("it is about one");
            assert_eq!(execute.parameters.id, record.0.cast_signed());
            match execute.role {
                StatementRole::Business => Business(record.ordinal()),
                StatementRole::Outbox => Outbox(record.ordinal()),
                other => panic!("{other:?} is no business of a service"),
            }
        }
        AppEffect::HangUp(_) => HangUp,
        AppEffect::Call {
            body: Call::Producer(ProducerCall::Send { record, .. }),
            attempt,
            ..
        } => Send(record.id.ordinal(), attempt),
        AppEffect::Call { body: Call::Producer(ProducerCall::Close), .. } => Close,
        AppEffect::Wake(after) => Wake(after.0 / 1_000_000),
        AppEffect::Finished => Finish,
        other => panic!("{other:?}"),
    }
}

struct Test {
    app: ServiceApp,
    now: Instant,
}

impl Test {
    fn new(spec: ServiceSpec) -> Test {
        Test { app: ServiceApp::new(SERVICE, spec, 1), now: Instant(1) }
    }

    fn act(
        &mut self,
        input: impl FnOnce(&mut ServiceApp, Instant, &mut Vec<AppEffect>),
    ) -> Vec<Did> {
        let mut out = Vec::new();
        input(&mut self.app, self.now, &mut out);
        out.into_iter().map(did).collect()
    }

    fn start(&mut self) -> Vec<Did> {
        self.act(|app, now, out| app.start(now, out))
    }

    fn after(&mut self, millis: u64) -> Vec<Did> {
        self.now += Duration::from_millis(millis);
        self.act(|app, now, out| app.wake(now, out))
    }

    fn answer(&mut self, answer: Answer) -> Vec<Did> {
        let call = self.app.awaited;
        self.act(|app, now, out| app.answered(now, call, answer, out))
    }

    /// What was asked for is done.
    fn ok(&mut self) -> Vec<Did> {
        let response = match self.app.doing {
            Doing::Beginning => Response::Begun { sequence: 1 },
            Doing::Executing(_) => Response::Executed { changed: 1, rows: Rows::default() },
            Doing::Committing => Response::Committed,
            Doing::RollingBack(_) => Response::RolledBack,
            other => panic!("{other:?} asks for nothing"),
        };
        self.answer(Ok(response))
    }

    fn error(&mut self, error: SystemError) -> Vec<Did> {
        self.answer(Err(error))
    }

    fn sent(&mut self, error: ErrorCode, maybe_appended: bool) -> Vec<Did> {
        let sent = SendResult { partition: None, error, offset: Offset::UNKNOWN, maybe_appended };
        let call = self.app.awaited;
        let end = ProducerCompletion::Sent(sent);
        self.act(|app, now, out| app.completed(now, call, end, out))
    }

    fn acked(&mut self) -> Vec<Did> {
        self.sent(ErrorCode::None, false)
    }

    fn closed(&mut self) -> Vec<Did> {
        let call = self.app.awaited;
        self.act(|app, now, out| app.completed(now, call, ProducerCompletion::Closed, out))
    }
}

#[test]
fn an_operation_and_its_outbox_row_are_one_transaction() {
    let mut test = Test::new(spec(Announce::Outbox(OUTBOX)));
    assert_eq!(test.start(), [Intend(0), Begin]);
    assert_eq!(test.ok(), [Business(0)]);
    assert_eq!(test.ok(), [Outbox(0)]);
    assert_eq!(test.ok(), [Commit]);
    assert_eq!(test.ok(), [Ended(0, Done), Wake(5)]);
    assert_eq!(test.after(2), [Wake(3)]);
    assert_eq!(test.after(3), [Intend(1), Begin]);
    assert_eq!(test.ok(), [Business(1)]);
    assert_eq!(test.ok(), [Outbox(1)]);
    assert_eq!(test.ok(), [Commit]);
    assert!(test.app.is_settled().is_err());
    assert_eq!(test.ok(), [Ended(1, Done), Close]);
    assert_eq!(test.closed(), [HangUp, Finish]);
    assert_eq!(test.app.is_settled(), Ok(()));
}

#[test]
fn an_operation_that_took_long_is_followed_at_once() {
    let mut test = Test::new(spec(Announce::Outbox(OUTBOX)));
    test.start();
    test.ok();
    assert_eq!(test.after(7), []);
    test.ok();
    test.ok();
    assert_eq!(test.ok(), [Ended(0, Done), Intend(1), Begin]);
}

#[test]
fn it_may_work_inside_of_the_transaction_before_its_first_statement() {
    let mut test = Test::new(ServiceSpec {
        hold: Duration::from_millis(20),
        ..spec(Announce::Outbox(OUTBOX))
    });
    assert_eq!(test.start(), [Intend(0), Begin]);
    assert_eq!(test.ok(), [Wake(20)]);
    assert_eq!(test.after(5), [Wake(15)]);
    assert_eq!(test.after(15), [Business(0)]);
}

#[test]
fn a_crash_forgets_the_operation_and_not_its_number() {
    let mut test = Test::new(spec(Announce::Outbox(OUTBOX)));
    test.start();
    test.ok();
    let stale = test.app.awaited;
    assert_eq!(test.start(), [Intend(1), Begin]);
    let did = test.act(|app, now, out| app.answered(now, stale, Err(E::ConnectionLost), out));
    assert_eq!(did, []);
    test.ok();
    assert_eq!(test.start(), [Close]);
}

/// The end of an operation after `error` was the answer to its n-th request.
fn ends(announce: Announce, step: usize, error: SystemError) -> Vec<Did> {
    let mut test = Test::new(spec(announce));
    test.start();
    for _ in 0..step {
        if test.app.doing == Doing::Sending {
            test.acked()
        } else {
            test.ok()
        };
    }
    test.error(error)
}

#[test]
fn what_is_refused_and_passes_is_done_again() {
    let outbox = Announce::Outbox(OUTBOX);
    for (step, error, expected) in [
        (0, E::ConnectionLost, vec![Wake(100)]),
        (0, E::Timeout, vec![Wake(100)]),
        (0, E::Unavailable, vec![Wake(100)]),
        (1, E::LockTimeout, vec![Wake(100)]),
        (1, E::ConnectionLost, vec![Wake(100)]),
        (1, E::Unavailable, vec![Rollback]),
        (2, E::Constraint, vec![Rollback]),
        (2, E::IdleTimeout, vec![Ended(0, Refused(E::IdleTimeout)), Wake(5)]),
        (3, E::Deadlock, vec![Wake(100)]),
        (3, E::Unavailable, vec![Rollback]),
        (3, E::NoTransaction, vec![Ended(0, Refused(E::NoTransaction)), Wake(5)]),
        // It may be committed: to do it again could double it.
        (3, E::ConnectionLost, vec![Ended(0, Unknown(E::ConnectionLost)), Wake(5)]),
        (3, E::Timeout, vec![Ended(0, Unknown(E::Timeout)), Wake(5)]),
    ] {
        assert_eq!(ends(outbox, step, error), expected, "{error:?} after {step}");
    }
}

#[test]
fn retries_are_new_transactions_and_have_an_end() {
    let mut test = Test::new(spec(Announce::Outbox(OUTBOX)));
    test.start();
    for _ in 0..RETRIES {
        test.ok();
        assert_eq!(test.error(E::Deadlock), [Wake(100)]);
        assert_eq!(test.after(99), [Wake(1)]);
        assert_eq!(test.after(1), [Begin]);
    }
    test.ok();
    assert_eq!(test.error(E::Deadlock), [Ended(0, Refused(E::Deadlock)), Intend(1), Begin]);
    test.ok();
    assert_eq!(test.error(E::Deadlock), [Wake(100)]);
}

#[test]
fn a_session_that_refuses_to_roll_back_is_given_up() {
    let mut test = Test::new(spec(Announce::Outbox(OUTBOX)));
    test.start();
    test.ok();
    assert_eq!(test.error(E::Statement), [Rollback]);
    assert_eq!(test.error(E::Unavailable), [HangUp, Ended(0, Refused(E::Statement)), Wake(5)]);
}

#[test]
fn an_operation_may_change_its_mind() {
    let mut test =
        Test::new(ServiceSpec { abort: Ratio::new(1, 1), ..spec(Announce::Outbox(OUTBOX)) });
    test.start();
    test.ok();
    test.ok();
    assert_eq!(test.ok(), [Rollback]);
    assert_eq!(test.ok(), [Ended(0, Refused(E::Constraint)), Wake(5)]);
}

#[test]
fn what_an_operation_is_does_not_depend_on_what_became_of_others() {
    let plans = |skipped: u64| {
        let mut app = Test::new(ServiceSpec {
            abort: Ratio::new(1, 2),
            tombstones: Ratio::new(1, 2),
            ..spec(Announce::Outbox(OUTBOX))
        })
        .app;
        app.current = skipped;
        format!("{:?}", app.plan())
    };
    let mut app = Test::new(ServiceSpec {
        abort: Ratio::new(1, 2),
        tombstones: Ratio::new(1, 2),
        ..spec(Announce::Outbox(OUTBOX))
    })
    .app;
    for n in 0..50 {
        app.current = n;
        assert_eq!(format!("{:?}", app.plan()), plans(n));
    }
    assert!(app.plans.iter().any(|plan| plan.aborts && !plan.deletes));
    assert!(app.plans.iter().any(|plan| !plan.aborts && plan.deletes));
}

#[test]
fn a_dual_write_commits_and_then_sends() {
    let mut test = Test::new(spec(Announce::DatabaseFirst));
    assert_eq!(test.start(), [Intend(0), Begin]);
    assert_eq!(test.ok(), [Business(0)]);
    assert_eq!(test.ok(), [Commit]);
    assert_eq!(test.ok(), [Send(0, 1)]);
    // Logged, and that is all: the caller's order is in the database.
    assert_eq!(test.sent(ErrorCode::RequestTimedOut, false), [Ended(0, Done), Wake(5)]);
    // A commit that may have taken place is not announced.
    let unknown = vec![Ended(0, Unknown(E::Timeout)), Wake(5)];
    assert_eq!(ends(Announce::DatabaseFirst, 2, E::Timeout), unknown);
}

#[test]
fn a_dual_write_sends_and_then_commits() {
    let mut test = Test::new(spec(Announce::LogFirst));
    assert_eq!(test.start(), [Intend(0), Send(0, 1)]);
    assert_eq!(test.acked(), [Begin]);
    assert_eq!(test.ok(), [Business(0)]);
    assert_eq!(test.error(E::LockTimeout), [Wake(100)]);
    // The event is not sent again: the transaction alone is done again.
    assert_eq!(test.after(100), [Begin]);
    test.ok();
    assert_eq!(test.ok(), [Commit]);
    assert_eq!(test.ok(), [Ended(0, Done), Intend(1), Send(1, 1)]);
    let refused = Ended(1, Refused(E::Unavailable));
    assert_eq!(test.sent(ErrorCode::RequestTimedOut, false), [refused, Close]);
}

#[test]
fn a_dual_write_sends_inside_of_the_transaction() {
    let mut test = Test::new(spec(Announce::InsideTransaction));
    assert_eq!(test.start(), [Intend(0), Begin]);
    assert_eq!(test.ok(), [Business(0)]);
    assert_eq!(test.ok(), [Send(0, 1)]);
    assert_eq!(test.acked(), [Commit]);
    // All of it again, the event as well.
    assert_eq!(test.error(E::Deadlock), [Wake(100)]);
    assert_eq!(test.after(100), [Begin]);
    test.ok();
    assert_eq!(test.ok(), [Send(0, 2)]);
    assert_eq!(test.sent(ErrorCode::RequestTimedOut, true), [Rollback]);
    assert_eq!(test.ok(), [Ended(0, Unknown(E::Timeout)), Intend(1), Begin]);
}
