//! What an application does outside of Kafka for each record.
//!
//! Mirrors what handlers of records do by hand and what frameworks do for them: `JdbcTemplate` in a
//! `@Transactional` handler, the sink tasks of Kafka Connect, HTTP clients that send an
//! `Idempotency-Key`, sinks with two phases as Flink's `TwoPhaseCommitSinkFunction`. A session brings
//! the effects of a batch of records about by a plan of requests, one after the other, as a thread
//! does that waits for each answer (`session.rs`); `sql.rs`, `api.rs` and `two_phase.rs` know the
//! plans.
//!
//! An application that meets a fault of a system tries again after a pause, so and so often, and then
//! ends its process: it knows no better.
//!
//! Simplifications:
//! - One connection, and one request at a time: a pool or a pipeline changes who waits for whom, not
//!   what may happen to an effect.
//! - The pause is always the same (no exponential backoff): it decides when, not what.

mod api;
mod identity;
mod session;
mod sql;
#[cfg(test)]
mod tests;
mod two_phase;

use std::sync::Arc;

use oncesim_external::{Request, Response};
use oncesim_kafka::consumer::PolledRecord;
use oncesim_spec::{SinkKind, SinkOffsets, SinkSpec, SinkTransaction, SqlSink};
use oncesim_types::{ActorId, CallId, Duration, EffectId, Instant};

pub(crate) use identity::Identities;

pub(crate) use self::session::first_integer;

use self::session::Session;
use super::{Answer, AppEffect};

/// One turn of an application's thread: when it is, and what it wants.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    /// The application's counter of calls.
    pub(crate) calls: &'a mut u64,
    pub(crate) out: &'a mut Vec<AppEffect>,
}

/// A record as a sink takes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) polled: PolledRecord,
    /// The generation in which its partition was assigned to the application.
    pub(crate) token: i64,
}

/// How far a sink has come with what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits for an answer, or until it asks again.
    UnderWay,
    /// It is done.
    Done,
    /// A commit may have been executed: what is stored tells.
    Unsure,
    /// The system refuses: somebody with a higher token owns the partition.
    Fenced,
    /// It has tried as often as it may.
    Failed,
}

/// What is done again after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// The transaction, or the request, that met it.
    Part,
    /// The same; but after an unknown commit the application goes on from the stored offset.
    FromStored,
    /// The whole batch, as `WorkerSinkTask` calls `put()` again.
    Batch,
}

/// An application's use of a system. All of it is memory: a crash forgets it.
#[derive(Debug)]
pub(crate) struct Sink {
    spec: Arc<SinkSpec>,
    identities: Identities,
    actor: ActorId,
    incarnation: u32,
    /// What was numbered by this process.
    numbered: u32,
    session: Option<Session>,
    responses: Vec<Response>,
}

impl Sink {
    /// Of the application of `actor`.
    pub(crate) fn new(spec: Arc<SinkSpec>, identities: Identities, actor: ActorId) -> Self {
        Sink {
            spec,
            identities,
            actor,
            incarnation: 0,
            numbered: 0,
            session: None,
            responses: Vec::new(),
        }
    }

    /// The process starts (again).
    pub(crate) fn start(&mut self, incarnation: u32) {
        self.incarnation = incarnation;
        self.numbered = 0;
        self.session = None;
        self.responses.clear();
    }

    /// Whether all records of a poll go into one transaction.
    pub(crate) fn takes_polls(&self) -> bool {
        self.sql().is_some_and(|sql| sql.transaction == SinkTransaction::PerPoll)
    }

    /// Where it keeps offsets, if it does.
    pub(crate) fn offsets(&self) -> Option<SinkOffsets> {
        self.sql()?.offsets
    }

    fn sql(&self) -> Option<&SqlSink> {
        match &self.spec.kind {
            SinkKind::Sql(sql) => Some(sql),
            SinkKind::Api { .. } | SinkKind::TwoPhase => None,
        }
    }

    /// Brings the effects of a batch about.
    pub(crate) fn put(
        &mut self,
        batch: Vec<Delivery>,
        again: Again,
        turn: &mut Turn<'_>,
    ) -> Progress {
        let plan = match &self.spec.kind {
            SinkKind::Sql(sql) => sql::plan(sql, &batch),
            SinkKind::Api { .. } => api::plan(&batch),
            SinkKind::TwoPhase => Vec::new(),
        };
        self.session = Some(Session::new(batch, plan, again));
        self.advance(turn)
    }

    /// Makes requests, one after the other, until each is answered: [`Sink::responses`].
    pub(crate) fn ask(&mut self, requests: Vec<Request>, turn: &mut Turn<'_>) -> Progress {
        self.responses.clear();
        self.session = Some(Session::of_requests(requests));
        self.advance(turn)
    }

    /// What the requests of [`Sink::ask`] were answered, in their order.
    pub(crate) fn responses(&mut self) -> Vec<Response> {
        std::mem::take(&mut self.responses)
    }

    /// A system has answered, or will not.
    pub(crate) fn answered(
        &mut self,
        call: CallId,
        answer: Answer,
        turn: &mut Turn<'_>,
    ) -> Progress {
        match &self.session {
            Some(session) if session.awaits(call) => self.take_answer(answer, turn),
            _ => Progress::UnderWay,
        }
    }

    /// Some time has passed.
    pub(crate) fn wake(&mut self, turn: &mut Turn<'_>) -> Progress {
        let Some(session) = &self.session else { return Progress::UnderWay };
        match session.pause_left(turn.now) {
            None => Progress::UnderWay,
            Some(Duration::ZERO) => self.advance(turn),
            Some(left) => {
                turn.out.push(AppEffect::Wake(left));
                Progress::UnderWay
            }
        }
    }

    /// A number that nobody else in the run uses.
    fn unique(&mut self) -> u64 {
        self.numbered += 1;
        let who = u64::from(self.actor.0) << 48 | u64::from(self.incarnation & 0xffff) << 32;
        who | u64::from(self.numbered)
    }

    fn effect_id(&self, delivery: &Delivery, step: u16) -> EffectId {
        EffectId { record: delivery.polled.record.id, sink: self.spec.id, step }
    }

    /// How many effects a record asks for.
    fn steps_of(&self, delivery: &Delivery) -> u16 {
        match &self.spec.kind {
            SinkKind::Sql(sql) => sql::statements_of(sql, delivery),
            SinkKind::Api { .. } | SinkKind::TwoPhase => 1,
        }
    }

    /// The application goes on as if the effects of `delivery` were there.
    pub(crate) fn effects_done(
        &self,
        delivery: &Delivery,
        skipped: bool,
        out: &mut Vec<AppEffect>,
    ) {
        for step in 0..self.steps_of(delivery) {
            let effect = self.effect_id(delivery, step);
            out.push(AppEffect::EffectDone { effect, skipped });
        }
    }
}

impl Turn<'_> {
    fn ask(
        &mut self,
        system: oncesim_types::SystemId,
        effect: Option<EffectId>,
        body: Request,
    ) -> CallId {
        *self.calls += 1;
        let call = CallId(*self.calls);
        self.out.push(AppEffect::Ask { system, call, effect, body });
        call
    }
}
