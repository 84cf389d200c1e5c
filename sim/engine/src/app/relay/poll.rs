//! A poller: a query for what is not published, and marks.
//!
//! Mirrors the relays of the transactional outbox pattern ("polling publisher") and the modes
//! `incrementing` and `query` of Kafka Connect's JDBC source (`TableQuerier`): the cursor is the
//! column of the last row that was read. Rows that another transaction commits later with a smaller
//! number are behind the cursor: nobody looks there again.
//!
//! Simplification: the query and each mark are transactions of their own, as with `autocommit`; two
//! pollers may read the same rows.

use oncesim_external::{Execute, Parameters, Request, Rows};
use oncesim_spec::{RelayKind, RelayMarking};
use oncesim_types::{Instant, RecordId, StatementId, StatementRole};

use super::super::AppEffect;
use super::event::events;
use super::{Doing, RelayApp, Round};

impl RelayApp {
    pub(super) fn select(&mut self, statement: StatementId, out: &mut Vec<AppEffect>) {
        let parameters = Parameters { batch: i64::from(self.spec.batch), ..self.parameters() };
        let role = StatementRole::RelaySelect;
        self.execute(Doing::Fetching, (statement, role), None, parameters, out);
    }

    /// Parameters that every statement of a relay has.
    pub(super) fn parameters(&self) -> Parameters {
        Parameters { cursor: self.position.unwrap_or(-1), ..Parameters::default() }
    }

    pub(super) fn execute(
        &mut self,
        doing: Doing,
        (statement, role): (StatementId, StatementRole),
        record: Option<RecordId>,
        parameters: Parameters,
        out: &mut Vec<AppEffect>,
    ) {
        let execute = Execute { statement, role, effect: None, record, parameters };
        self.ask(doing, Request::Execute(Box::new(execute)), out);
    }

    pub(super) fn selected(&mut self, now: Instant, rows: &Rows, out: &mut Vec<AppEffect>) {
        let events = events(&self.naming, rows);
        let next = events.last().map(|event| event.cursor);
        let full = !events.is_empty() && rows.rows.len() as u64 >= u64::from(self.spec.batch);
        self.fetched(now, Round { events, next, full, given_up: false }, out);
    }

    // ---- marks ----

    pub(super) fn marking(&self) -> Option<RelayMarking> {
        match self.spec.kind {
            RelayKind::Poll { mark, .. } => mark,
            RelayKind::Capture { .. } => None,
        }
    }

    fn execute_mark(
        &mut self,
        doing: Doing,
        statement: StatementId,
        at: usize,
        out: &mut Vec<AppEffect>,
    ) {
        let event = self.round.events[at];
        let parameters = Parameters {
            id: event.id,
            key: event.key.map(i64::from),
            value: event.value,
            cursor: event.cursor,
            ..self.parameters()
        };
        let role = StatementRole::RelayMark;
        self.execute(doing, (statement, role), Some(event.record), parameters, out);
    }

    /// Marks what is published, from this event on; then the round is over.
    pub(super) fn mark(&mut self, now: Instant, at: usize, out: &mut Vec<AppEffect>) {
        match self.marking() {
            Some(mark) if !mark.before_ack && at < self.round.events.len() => {
                self.execute_mark(Doing::Marking(at), mark.statement, at, out);
            }
            _ => {
                self.move_on(out);
                self.store(now, out);
            }
        }
    }

    /// The mistake: marks this event, and sends it then.
    pub(super) fn mark_first(
        &mut self,
        now: Instant,
        mark: RelayMarking,
        at: usize,
        out: &mut Vec<AppEffect>,
    ) {
        if at < self.round.events.len() {
            self.execute_mark(Doing::MarkingFirst(at), mark.statement, at, out);
        } else {
            self.all_sent(now, out);
        }
    }

    pub(super) fn marked_first(
        &mut self,
        now: Instant,
        at: usize,
        marked: bool,
        out: &mut Vec<AppEffect>,
    ) {
        match self.marking() {
            Some(mark) if marked => {
                self.send_event(now, at, out);
                self.mark_first(now, mark, at + 1, out);
            }
            _ => {
                self.round.given_up = true;
                self.await_acks(now, out);
            }
        }
    }
}
