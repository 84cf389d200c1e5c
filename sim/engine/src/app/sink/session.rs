//! One session: a plan of requests, what was answered, and what is done again.
//!
//! A refusal is definite: what is open is rolled back, and after a pause the part of the plan that
//! met it is done again. An unknown outcome takes the connection with it: whatever was open there is
//! rolled back by the system, but a commit, or a request that is a transaction of its own, may have
//! been executed; the application does it again, or takes it for done. One whose offsets are stored in
//! the transaction knows better: it reads its offset first.

use oncesim_external::{Request, Response, Rows};
use oncesim_spec::OnUnknown;
use oncesim_types::{CallId, Duration, Instant, SystemError};

use super::{Again, Delivery, Progress, Sink, Turn};
use crate::app::{Answer, AppEffect};

/// A request of a plan. Numbers are those of records in the batch.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Forget marks that are old.
    Evict(usize),
    /// Was the record seen?
    Check(usize),
    /// Remember it.
    Mark(usize),
    /// Read what its effect is computed from.
    Read(usize),
    /// Open a transaction for these records.
    Begin(Unit),
    /// A step of a record's effect.
    Effect(usize, u16),
    /// Store the offset after the record.
    Offset(usize),
    /// Commit the transaction for these records.
    Commit(Unit),
    /// Ask an API for a record's side effect.
    Perform(usize),
    /// A request that is complete; its response is kept.
    Ready(Request),
}

/// The records of a transaction.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) records: Vec<usize>,
    /// Their offsets are stored in it, also when they had been seen.
    pub(super) stores: bool,
}

/// A step and where the application begins again when it fails.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) step: Step,
    pub(super) again: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// The step under way waits for its answer.
    Asking,
    /// The transaction is rolled back; then this.
    RollingBack(AfterRollback),
    /// Until it asks again.
    Pausing { since: Instant, until: Instant },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterRollback {
    /// Try again after a pause.
    Retry,
    /// At once: a record turned out to have been seen.
    Repeat,
    /// Give up.
    End(Progress),
}

/// What is under way.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) batch: Vec<Delivery>,
    plan: Vec<Planned>,
    at: usize,
    again: Again,
    awaited: CallId,
    doing: Doing,
    /// A transaction is open.
    in_transaction: bool,
    /// Failures of what begins at this step of the plan.
    failures: (usize, u32),
    /// Which records had been seen before, as far as it is known.
    pub(super) seen: Vec<bool>,
    /// A commit of this session may have been executed, and the stored offset tells.
    unsure: bool,
    /// What was read for each record.
    pub(super) reads: Vec<Option<i64>>,
}

impl Session {
    pub(super) fn new(batch: Vec<Delivery>, plan: Vec<Planned>, again: Again) -> Self {
        Session {
            plan,
            at: 0,
            again,
            awaited: CallId(0),
            doing: Doing::Asking,
            in_transaction: false,
            failures: (0, 0),
            seen: vec![false; batch.len()],
            unsure: false,
            reads: vec![None; batch.len()],
            batch,
        }
    }

    pub(super) fn of_requests(requests: Vec<Request>) -> Self {
        let requests = requests.into_iter().enumerate();
        let plan = requests.map(|(again, it)| Planned { step: Step::Ready(it), again });
        Session::new(Vec::new(), plan.collect(), Again::Part)
    }

    pub(super) fn awaits(&self, call: CallId) -> bool {
        self.awaited == call && !matches!(self.doing, Doing::Pausing { .. })
    }

    /// How long it still pauses, if it does. A clock that was set back must not hold it up.
    pub(super) fn pause_left(&self, now: Instant) -> Option<Duration> {
        match self.doing {
            Doing::Pausing { since, until } if since <= now && now < until => {
                Some(until.since(now))
            }
            Doing::Pausing { .. } => Some(Duration::ZERO),
            Doing::Asking | Doing::RollingBack(_) => None,
        }
    }

    /// Which attempt this is, from 1.
    pub(super) fn attempt(&self) -> i64 {
        i64::from(self.failures_so_far()) + 1
    }

    /// Where the application begins again when the step under way fails.
    fn beginning(&self) -> usize {
        match self.again {
            Again::Part | Again::FromStored => self.plan[self.at].again,
            Again::Batch => 0,
        }
    }

    fn failures_so_far(&self) -> u32 {
        if self.failures.0 == self.beginning() { self.failures.1 } else { 0 }
    }

    /// Whether a step has nothing to do, because its records had been seen before.
    fn is_void(&self, step: &Step) -> bool {
        match step {
            Step::Evict(record)
            | Step::Check(record)
            | Step::Mark(record)
            | Step::Read(record)
            | Step::Effect(record, _)
            | Step::Perform(record) => self.seen[*record],
            Step::Begin(unit) | Step::Commit(unit) => {
                !unit.stores && unit.records.iter().all(|record| self.seen[*record])
            }
            Step::Offset(_) | Step::Ready(_) => false,
        }
    }

    /// Whether an unknown outcome of a step leaves open what became of an effect, or of its
    /// bookkeeping: what happened inside of a transaction that was not committed is gone.
    fn may_have_happened(&self, step: &Step) -> bool {
        match step {
            Step::Commit(_) | Step::Perform(_) => true,
            Step::Mark(_) | Step::Effect(..) | Step::Offset(_) => !self.in_transaction,
            Step::Ready(request) => {
                matches!(request, Request::Prepare(_) | Request::Finish { .. })
            }
            Step::Evict(_) | Step::Check(_) | Step::Read(_) | Step::Begin(_) => false,
        }
    }
}

impl Sink {
    /// Makes the next request of the plan.
    pub(super) fn advance(&mut self, turn: &mut Turn<'_>) -> Progress {
        let Some(mut session) = self.session.take() else { return Progress::Done };
        if session.unsure {
            return Progress::Unsure;
        }
        while session.plan.get(session.at).is_some_and(|it| session.is_void(&it.step)) {
            if matches!(session.plan[session.at].step, Step::Commit(_)) && session.in_transaction {
                break;
            }
            session.at += 1;
        }
        let Some(planned) = session.plan.get(session.at) else {
            for (delivery, seen) in session.batch.iter().zip(&session.seen) {
                self.effects_done(delivery, *seen, turn.out);
            }
            return Progress::Done;
        };
        let step = planned.step.clone();
        let (effect, request) = self.request(&session, &step, turn.now);
        session.awaited = turn.ask(self.spec.system, effect, request);
        session.doing = Doing::Asking;
        self.session = Some(session);
        Progress::UnderWay
    }

    pub(super) fn take_answer(&mut self, answer: Answer, turn: &mut Turn<'_>) -> Progress {
        let Some(mut session) = self.session.take() else { return Progress::UnderWay };
        if let Doing::RollingBack(then) = session.doing {
            if answer.is_err() {
                // Nobody knows in what state the connection is: it is thrown away.
                turn.out.push(AppEffect::HangUp(self.spec.system));
            }
            session.in_transaction = false;
            return self.rolled_back(session, then, turn);
        }
        let step = session.plan[session.at].step.clone();
        match answer {
            Ok(response) => self.step_done(session, &step, response, turn),
            Err(error) if error.is_unknown() => {
                let assumed = self.spec.on_unknown == OnUnknown::AssumeDone;
                let done = assumed && session.may_have_happened(&step);
                session.in_transaction = false;
                let stored = session.again == Again::FromStored;
                session.unsure |= stored && matches!(step, Step::Commit(_));
                if done {
                    if matches!(step, Step::Ready(_)) {
                        self.responses.push(Response::Refused(error));
                    }
                    return self.go_on(session, turn);
                }
                self.retry(session, turn)
            }
            Err(error) => self.refused(session, &step, error, turn),
        }
    }

    fn step_done(
        &mut self,
        mut session: Session,
        step: &Step,
        response: Response,
        turn: &mut Turn<'_>,
    ) -> Progress {
        match (step, response) {
            (Step::Begin(_), _) => session.in_transaction = true,
            (Step::Commit(_), _) => session.in_transaction = false,
            (Step::Ready(_), response) => self.responses.push(response),
            (Step::Perform(record), Response::Performed { replayed, .. }) => {
                session.seen[*record] = replayed;
            }
            (Step::Check(record), Response::Executed { rows, .. }) => {
                session.seen[*record] = !rows.rows.is_empty();
            }
            (Step::Mark(record), Response::Executed { changed: 0, .. }) => {
                session.seen[*record] |= self.marks_tell();
            }
            (Step::Read(record), Response::Executed { rows, .. }) => {
                session.reads[*record] = first_integer(&rows);
            }
            (Step::Offset(_), Response::Executed { changed: 0, .. })
                if self.offsets().is_some_and(|offsets| offsets.fenced) =>
            {
                return self.end(session, Progress::Fenced, turn);
            }
            _ => {}
        }
        self.go_on(session, turn)
    }

    fn go_on(&mut self, mut session: Session, turn: &mut Turn<'_>) -> Progress {
        session.at += 1;
        self.session = Some(session);
        self.advance(turn)
    }

    /// A definite refusal.
    fn refused(
        &mut self,
        mut session: Session,
        step: &Step,
        error: SystemError,
        turn: &mut Turn<'_>,
    ) -> Progress {
        match (step, error) {
            // The mark exists: the record had been seen.
            (Step::Mark(record), SystemError::Constraint) => {
                session.seen[*record] |= self.marks_tell();
                if session.in_transaction {
                    return self.roll_back(session, AfterRollback::Repeat, turn);
                }
                self.go_on(session, turn)
            }
            // A mistake in the program, which trying again does not mend: it is logged and dropped.
            (Step::Perform(record), SystemError::KeyReused) => {
                session.seen[*record] = true;
                self.go_on(session, turn)
            }
            // So is a transaction that the sink has forgotten, or that ended the other way.
            (Step::Ready(Request::Finish { .. }), SystemError::UnknownTransaction) => {
                self.responses.push(Response::Refused(error));
                self.go_on(session, turn)
            }
            // Whoever took the partition over has ended what it might have prepared.
            (Step::Ready(Request::Prepare(_)), SystemError::UnknownTransaction)
            | (_, SystemError::Fenced) => self.end(session, Progress::Fenced, turn),
            _ if session.in_transaction => self.roll_back(session, AfterRollback::Retry, turn),
            _ => self.retry(session, turn),
        }
    }

    fn roll_back(
        &mut self,
        mut session: Session,
        then: AfterRollback,
        turn: &mut Turn<'_>,
    ) -> Progress {
        session.doing = Doing::RollingBack(then);
        session.awaited = turn.ask(self.spec.system, None, Request::Rollback);
        self.session = Some(session);
        Progress::UnderWay
    }

    fn rolled_back(
        &mut self,
        mut session: Session,
        then: AfterRollback,
        turn: &mut Turn<'_>,
    ) -> Progress {
        match then {
            AfterRollback::Retry => self.retry(session, turn),
            AfterRollback::Repeat => {
                session.at = session.plan[session.at].again;
                self.session = Some(session);
                self.advance(turn)
            }
            AfterRollback::End(progress) => progress,
        }
    }

    fn end(&mut self, session: Session, how: Progress, turn: &mut Turn<'_>) -> Progress {
        if session.in_transaction {
            return self.roll_back(session, AfterRollback::End(how), turn);
        }
        how
    }

    /// Tries again after a pause, if it may.
    fn retry(&mut self, mut session: Session, turn: &mut Turn<'_>) -> Progress {
        let (again, before) = (session.beginning(), session.failures_so_far());
        if before >= self.spec.retries {
            return Progress::Failed;
        }
        session.failures = (again, before + 1);
        session.at = again;
        if session.again == Again::Batch {
            session.seen.fill(false);
        }
        session.doing = Doing::Pausing { since: turn.now, until: turn.now + self.spec.retry_after };
        turn.out.push(AppEffect::Wake(self.spec.retry_after));
        self.session = Some(session);
        Progress::UnderWay
    }
}

/// The first column of the first row that a query returned.
pub(crate) fn first_integer(rows: &Rows) -> Option<i64> {
    rows.rows.first()?.first()?.integer()
}
