//! Sessions: who holds the lock, who waits for it, and for how long.
//!
//! Mirrors SQLite's rule that one transaction writes at a time (here: one transaction at all, since
//! its first statement takes the lock), a server's sessions that end with their connection, and the
//! two timeouts that servers have for them (`lock_timeout` and
//! `idle_in_transaction_session_timeout` of PostgreSQL).
//!
//! Simplification: the lock is the whole database's. With row locks more would run at the same time;
//! what is committed would be a serial order as well, since a transaction that waits for a row sees
//! it as committed. What isolation levels below serializable permit is not shown.

use std::collections::{BTreeMap, VecDeque};

use oncesim_types::{ActorId, ConnectionId, CorrelationId, Duration, Instant};
use oncesim_types::{Offset, StatementRole, SystemError};

use super::Database;
use super::journal::{Work, is_noted};
use super::placeholder::Surroundings;
use crate::machine::{Effect, Effects, SystemFault, TimerKey};
use crate::message::{Execute, Request, Response, Rows};
use crate::note::Note;

/// A session: one connection of a client.
#[derive(Debug)]
pub(super) struct Session {
    client: ActorId,
    transaction: Option<Transaction>,
    /// The transaction was rolled back, and the client does not know it yet: why.
    rolled_back: Option<SystemError>,
    /// What waits for the lock.
    waiting: Option<(CorrelationId, Request)>,
    /// What came while something waited.
    backlog: VecDeque<(CorrelationId, Request)>,
    /// When it was last active.
    active: Instant,
    /// The database has broken the connection: nothing that still arrives on it counts.
    broken: bool,
}

/// An open transaction.
#[derive(Debug)]
struct Transaction {
    /// Whether it holds the lock: it has executed a statement.
    locked: bool,
    work: Work,
}

/// All sessions, and the lock.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<ConnectionId, Session>,
    /// Whose transaction holds the lock.
    holder: Option<ConnectionId>,
    /// Who waits for it, in order.
    queue: VecDeque<ConnectionId>,
}

impl Sessions {
    /// Sessions with an open transaction.
    pub(super) fn open_transactions(&self) -> usize {
        self.all.values().filter(|session| session.transaction.is_some()).count()
    }
}

/// How a request was served.
enum Served {
    /// With this answer.
    Answer(Response),
    /// It was executed and the connection breaks.
    Break,
    /// It waits for the lock.
    Waits(Request),
}

use Served::{Answer, Break, Waits};

fn refused(error: SystemError) -> Served {
    Answer(Response::Refused(error))
}

/// The timer of a session's wait for the lock.
fn lock_timer(connection: ConnectionId) -> TimerKey {
    TimerKey(u64::from(connection.0) * 2)
}

/// The timer of a session's idleness.
fn idle_timer(connection: ConnectionId) -> TimerKey {
    TimerKey(u64::from(connection.0) * 2 + 1)
}

impl Database {
    /// A request arrived.
    pub(super) fn on_request(
        &mut self,
        now: Instant,
        from: ActorId,
        connection: ConnectionId,
        request: (CorrelationId, Request),
        effects: &mut Effects,
    ) {
        let session = self.sessions.all.entry(connection).or_insert_with(|| Session {
            client: from,
            transaction: None,
            rolled_back: None,
            waiting: None,
            backlog: VecDeque::new(),
            active: now,
            broken: false,
        });
        if session.broken {
            return;
        }
        session.backlog.push_back(request);
        self.serve(now, connection, effects);
        self.grant(now, effects);
    }

    /// Serves what a session has asked for, until something waits.
    fn serve(&mut self, now: Instant, connection: ConnectionId, effects: &mut Effects) {
        while let Some(session) = self.sessions.all.get_mut(&connection) {
            if session.waiting.is_some() || session.broken {
                return;
            }
            let Some((correlation, request)) = session.backlog.pop_front() else { return };
            let served = self.serve_one(now, connection, request, effects);
            self.conclude(now, connection, correlation, served, effects);
        }
    }

    /// Gives the lock to those who wait for it, while it is free.
    fn grant(&mut self, now: Instant, effects: &mut Effects) {
        while self.sessions.holder.is_none() {
            let Some(connection) = self.sessions.queue.pop_front() else { return };
            let session = self.sessions.all.get_mut(&connection);
            let Some((correlation, request)) = session.and_then(|it| it.waiting.take()) else {
                continue;
            };
            effects.0.push(Effect::CancelTimer(lock_timer(connection)));
            let served = self.serve_one(now, connection, request, effects);
            self.conclude(now, connection, correlation, served, effects);
            self.serve(now, connection, effects);
        }
    }

    /// Answers a request, or remembers that it waits.
    fn conclude(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        correlation: CorrelationId,
        served: Served,
        effects: &mut Effects,
    ) {
        let after = self.service_time + self.faults.delay();
        let session = self.sessions.all.get_mut(&connection).expect("who is served has a session");
        match served {
            Answer(body) => {
                session.active = now + after;
                let to = session.client;
                effects.0.push(Effect::Reply { to, connection, correlation, after, body });
            }
            Break => {
                session.broken = true;
                session.backlog.clear();
                effects.0.push(Effect::CloseConnection { connection });
            }
            Waits(request) => {
                session.waiting = Some((correlation, request));
                self.sessions.queue.push_back(connection);
                let key = lock_timer(connection);
                effects.0.push(Effect::SetTimer { key, after: self.lock_timeout });
            }
        }
    }

    fn serve_one(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        request: Request,
        effects: &mut Effects,
    ) -> Served {
        if self.faults.contains(SystemFault::Errors) {
            return refused(SystemError::Unavailable);
        }
        match request {
            Request::Begin => self.begin(now, connection, effects),
            Request::Execute(execute) => match self.refuse_or_wait(connection) {
                Some(Ok(error)) => refused(error),
                Some(Err(())) => Waits(Request::Execute(execute)),
                None => self.execute(now, connection, &execute, effects),
            },
            Request::Snapshot { table } => match self.refuse_or_wait(connection) {
                Some(Ok(error)) => refused(error),
                Some(Err(())) => Waits(Request::Snapshot { table }),
                None => self.snapshot(&table),
            },
            Request::Commit => self.commit(connection, effects),
            Request::Rollback => {
                self.end_transaction(connection, effects);
                Answer(Response::RolledBack)
            }
            Request::Capture { after, max } => {
                Answer(Response::Captured { rows: self.journal.capture(after, max) })
            }
            Request::Perform(_)
            | Request::Prepare(_)
            | Request::Finish { .. }
            | Request::Pending { .. } => refused(SystemError::Statement),
        }
    }

    fn session(&mut self, connection: ConnectionId) -> &mut Session {
        self.sessions.all.get_mut(&connection).expect("who is served has a session")
    }

    fn begin(&mut self, now: Instant, connection: ConnectionId, effects: &mut Effects) -> Served {
        if self.session(connection).transaction.is_some() {
            return refused(SystemError::Statement);
        }
        let sequence = self.journal.draw();
        let session = self.session(connection);
        session.rolled_back = None;
        session.active = now;
        session.transaction = Some(Transaction { locked: false, work: Work::new(sequence) });
        let key = idle_timer(connection);
        effects.0.push(Effect::SetTimer { key, after: self.idle_timeout });
        Answer(Response::Begun { sequence })
    }

    /// Whether a statement of this session cannot be executed now: it is refused (`Ok`), or waits
    /// for the lock.
    fn refuse_or_wait(&mut self, connection: ConnectionId) -> Option<Result<SystemError, ()>> {
        if let Some(error) = self.session(connection).rolled_back {
            return Some(Ok(error));
        }
        match self.sessions.holder {
            Some(holder) if holder != connection => Some(Err(())),
            _ => None,
        }
    }

    /// Executes a statement, in the session's transaction or as one of its own. Nobody else holds
    /// the lock.
    fn execute(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        execute: &Execute,
        effects: &mut Effects,
    ) -> Served {
        let Some(statement) = self.statements.get(usize::from(execute.statement.0)) else {
            return refused(SystemError::Statement);
        };
        let writes = !statement.reads_only || is_noted(execute.role);
        let session = self.sessions.all.get_mut(&connection).expect("who is served has a session");
        let client = session.client;
        let mut alone = None;
        let work = match &mut session.transaction {
            Some(transaction) => {
                if !transaction.locked {
                    if let Err(refusal) = self.connection.begin() {
                        return refused(refusal.error);
                    }
                    transaction.locked = true;
                    self.sessions.holder = Some(connection);
                }
                &mut transaction.work
            }
            None if writes && self.faults.contains(SystemFault::Deadlocks) => {
                return refused(SystemError::Deadlock);
            }
            None => {
                let sequence = if writes { self.journal.draw() } else { 0 };
                alone.insert(Work::new(sequence))
            }
        };
        work.begin_statement(execute);
        let now_ms = i64::try_from(now.0 / 1_000_000).unwrap_or(i64::MAX);
        let surroundings = Surroundings { now_ms, sequence: work.sequence };
        let wants_images = execute.role == StatementRole::Effect && execute.effect.is_some();
        let executed =
            self.connection.execute(statement, &execute.parameters, surroundings, wants_images);
        let mut executed = match executed {
            Ok(executed) => executed,
            Err(refusal) => {
                if alone.is_none() && !self.connection.in_transaction() {
                    // `OR ROLLBACK`: the statement ended the transaction.
                    self.forget_transaction(connection, effects);
                }
                return refused(refusal.error);
            }
        };
        let read_at = self.journal.read_at(client, execute.effect);
        work.add(execute, &mut executed, writes, read_at);
        self.note_read(client, execute, &executed.rows, effects);
        if let Some(work) = alone {
            self.journal.commit(work, &self.connection, effects);
            if writes && self.faults.contains(SystemFault::UnknownCommits) {
                return Break;
            }
        }
        Answer(Response::Executed { changed: executed.changed, rows: executed.rows })
    }

    /// Notes what a client was told that its effects and positions depend on.
    fn note_read(
        &mut self,
        client: ActorId,
        execute: &Execute,
        rows: &Rows,
        effects: &mut Effects,
    ) {
        match execute.role {
            StatementRole::Read => {
                let record = execute.record.or(execute.effect.map(|effect| effect.record));
                if let Some(record) = record {
                    self.journal.read(client, record);
                }
            }
            StatementRole::OffsetRead => {
                if let Some(partition) = execute.parameters.partition {
                    let first = rows.rows.first().and_then(|row| row.first());
                    let next = first.and_then(crate::Datum::integer).map(Offset);
                    effects.note(Note::OffsetServed { partition, next });
                }
            }
            _ => {}
        }
    }

    fn snapshot(&mut self, table: &str) -> Served {
        match self.connection.snapshot(table) {
            Ok(rows) => Answer(Response::Snapshot { rows, position: self.journal.end() }),
            Err(refusal) => refused(refusal.error),
        }
    }

    fn commit(&mut self, connection: ConnectionId, effects: &mut Effects) -> Served {
        let session = self.session(connection);
        if let Some(error) = session.rolled_back.take() {
            return refused(error);
        }
        let Some(transaction) = &session.transaction else {
            return refused(SystemError::NoTransaction);
        };
        let (locked, writes) = (transaction.locked, transaction.work.writes);
        if writes && self.faults.contains(SystemFault::Deadlocks) {
            self.end_transaction(connection, effects);
            return refused(SystemError::Deadlock);
        }
        if locked && let Err(refusal) = self.connection.commit() {
            // A deferred constraint is violated: the transaction stays open, as SQLite has it.
            if !self.connection.in_transaction() {
                self.forget_transaction(connection, effects);
            }
            return refused(refusal.error);
        }
        let transaction = self.session(connection).transaction.take();
        if let Some(transaction) = transaction {
            self.journal.commit(transaction.work, &self.connection, effects);
        }
        self.unlock(connection, effects);
        if writes && self.faults.contains(SystemFault::UnknownCommits) {
            return Break;
        }
        Answer(Response::Committed)
    }

    /// Rolls the session's transaction back, if it has one. The client knows.
    fn end_transaction(&mut self, connection: ConnectionId, effects: &mut Effects) {
        if self.sessions.holder == Some(connection) {
            self.connection.rollback();
        }
        self.forget_transaction(connection, effects);
    }

    /// The session's transaction, if it has one, has been rolled back.
    fn forget_transaction(&mut self, connection: ConnectionId, effects: &mut Effects) {
        let Some(session) = self.sessions.all.get_mut(&connection) else { return };
        session.rolled_back = None;
        if let Some(transaction) = session.transaction.take() {
            transaction.work.roll_back(effects);
            self.unlock(connection, effects);
        }
    }

    /// A transaction has ended.
    fn unlock(&mut self, connection: ConnectionId, effects: &mut Effects) {
        effects.0.push(Effect::CancelTimer(idle_timer(connection)));
        if self.sessions.holder == Some(connection) {
            self.sessions.holder = None;
        }
    }

    /// A timer is due.
    pub(super) fn on_timer(&mut self, now: Instant, key: TimerKey, effects: &mut Effects) {
        let Ok(connection) = u32::try_from(key.0 / 2).map(ConnectionId) else { return };
        if key == lock_timer(connection) {
            self.on_lock_timeout(now, connection, effects);
        } else {
            self.on_idle_timeout(now, connection, effects);
        }
        self.grant(now, effects);
    }

    fn on_lock_timeout(&mut self, now: Instant, connection: ConnectionId, effects: &mut Effects) {
        let Some(session) = self.sessions.all.get_mut(&connection) else { return };
        let Some((correlation, _)) = session.waiting.take() else { return };
        self.sessions.queue.retain(|waiting| *waiting != connection);
        if session.transaction.is_some() {
            self.end_transaction(connection, effects);
            self.session(connection).rolled_back = Some(SystemError::LockTimeout);
        }
        let served = refused(SystemError::LockTimeout);
        self.conclude(now, connection, correlation, served, effects);
        self.serve(now, connection, effects);
    }

    fn on_idle_timeout(&mut self, now: Instant, connection: ConnectionId, effects: &mut Effects) {
        let idle_timeout = self.idle_timeout;
        let Some(session) = self.sessions.all.get_mut(&connection) else { return };
        if session.transaction.is_none() {
            return;
        }
        let idle =
            if session.waiting.is_some() { Duration::ZERO } else { now.since(session.active) };
        if idle < idle_timeout {
            // It was active since the timer was set.
            let after = idle_timeout + session.active.since(now) - idle;
            effects.0.push(Effect::SetTimer { key: idle_timer(connection), after });
            return;
        }
        self.end_transaction(connection, effects);
        self.session(connection).rolled_back = Some(SystemError::IdleTimeout);
    }

    /// A connection closed.
    pub(super) fn on_connection_closed(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        effects: &mut Effects,
    ) {
        self.end_transaction(connection, effects);
        if let Some(session) = self.sessions.all.remove(&connection)
            && session.waiting.is_some()
        {
            self.sessions.queue.retain(|waiting| *waiting != connection);
            effects.0.push(Effect::CancelTimer(lock_timer(connection)));
        }
        self.grant(now, effects);
    }
}
