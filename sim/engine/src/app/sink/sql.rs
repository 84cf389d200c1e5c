//! Effects by statements of a database.
//!
//! A transaction is what a handler with `@Transactional` does: it looks whether it has seen the record
//! (a dedup table, or an inbox), marks it, executes the statements of the effect, stores how far it
//! has come, and commits. A mark that changes no row or breaks a constraint says that the record had
//! been seen; the latter costs the transaction, which is done again without that record.
//!
//! What goes wrong on purpose: a mark in a transaction of its own before or after the effect
//! ([`DedupPlacement`]), a read outside of the transaction, statements without a transaction.
//!
//! Simplifications:
//! - The mark comes before the effect in their common transaction; which of the two is first makes no
//!   difference to anybody who sees only what is committed.
//! - A record without a value, where no statement is given for it, asks for nothing: it is neither
//!   checked nor marked.
//! - After an error that is no fault (a constraint that an effect breaks) the application tries again
//!   as after any other and ends its process at last: it cannot tell the two apart.

use oncesim_external::{Execute, Parameters, Request};
use oncesim_spec::{DedupPlacement, DedupSpec, SinkTransaction, SqlSink};
use oncesim_types::{EffectId, Instant, StatementId, StatementRole, TopicPartition};

use super::session::{Planned, Session, Step, Unit};
use super::{Delivery, Sink};

/// How many statements make up the effect of a record.
pub(super) fn statements_of(sql: &SqlSink, delivery: &Delivery) -> u16 {
    let count = match delivery.polled.record.value {
        Some(_) => sql.effect.len(),
        None => usize::from(sql.tombstone.is_some()),
    };
    u16::try_from(count).expect("an effect has a few steps")
}

/// The requests for a batch.
pub(super) fn plan(sql: &SqlSink, batch: &[Delivery]) -> Vec<Planned> {
    let mut plan = Plan { sql, batch, steps: Vec::new() };
    let all: Vec<usize> = (0..batch.len()).collect();
    match sql.transaction {
        SinkTransaction::PerPoll => plan.unit(&all),
        SinkTransaction::PerRecord | SinkTransaction::None => {
            for record in all {
                plan.unit(&[record]);
            }
        }
    }
    plan.steps
}

struct Plan<'a> {
    sql: &'a SqlSink,
    batch: &'a [Delivery],
    steps: Vec<Planned>,
}

impl Plan<'_> {
    /// A step that is done again by itself.
    fn alone(&mut self, step: Step) {
        let again = self.steps.len();
        self.steps.push(Planned { step, again });
    }

    /// What goes into one transaction, if there are transactions.
    fn unit(&mut self, records: &[usize]) {
        let asking = |record: &usize| statements_of(self.sql, &self.batch[*record]) > 0;
        let asking: Vec<usize> = records.iter().copied().filter(asking).collect();
        let dedup = self.sql.dedup;
        let placement = dedup.map(|dedup| dedup.placement);
        let outside = dedup.filter(|it| it.placement != DedupPlacement::SameTransaction);
        for record in &asking {
            if let Some(dedup) = outside {
                self.look(dedup, *record, None);
                if placement == Some(DedupPlacement::BeforeEffect) {
                    self.alone(Step::Mark(*record));
                }
            }
        }
        self.transaction(records, &asking);
        if placement == Some(DedupPlacement::AfterEffect) {
            for record in &asking {
                self.alone(Step::Mark(*record));
            }
        }
    }

    /// Was the record seen? `again` is where the transaction begins, inside of one.
    fn look(&mut self, dedup: DedupSpec, record: usize, again: Option<usize>) {
        if dedup.evict.is_some() {
            self.push(Step::Evict(record), again);
        }
        if dedup.check.is_some() {
            self.push(Step::Check(record), again);
        }
    }

    fn push(&mut self, step: Step, again: Option<usize>) {
        let again = again.unwrap_or(self.steps.len());
        self.steps.push(Planned { step, again });
    }

    fn transaction(&mut self, records: &[usize], asking: &[usize]) {
        let start = self.steps.len();
        let opens = self.sql.transaction != SinkTransaction::None;
        let again = opens.then_some(start);
        let ends = if self.sql.offsets.is_some() { self.ends(records) } else { Vec::new() };
        if self.sql.read.is_some() {
            for record in asking {
                self.push(Step::Read(*record), again);
            }
        }
        if asking.is_empty() && ends.is_empty() {
            return;
        }
        let stores = !ends.is_empty();
        let unit = Unit { records: if stores { records } else { asking }.to_vec(), stores };
        if opens {
            self.push(Step::Begin(unit.clone()), again);
        }
        for record in asking {
            if let Some(dedup) = self.sql.dedup
                && dedup.placement == DedupPlacement::SameTransaction
            {
                self.look(dedup, *record, again);
                self.push(Step::Mark(*record), again);
            }
            for step in 0..statements_of(self.sql, &self.batch[*record]) {
                self.push(Step::Effect(*record, step), again);
            }
        }
        for record in ends {
            self.push(Step::Offset(record), again);
        }
        if opens {
            self.push(Step::Commit(unit), again);
        }
    }

    /// The last record of each partition, in the order of the batch.
    fn ends(&self, records: &[usize]) -> Vec<usize> {
        let partition = |record: &usize| self.batch[*record].polled.partition;
        let is_last = |record: &&usize| {
            records.iter().rfind(|other| partition(other) == partition(record)) == Some(*record)
        };
        records.iter().filter(is_last).copied().collect()
    }
}

impl Sink {
    /// Whether a mark that exists says that the record need not be processed.
    pub(super) fn marks_tell(&self) -> bool {
        let dedup = self.sql().and_then(|sql| sql.dedup);
        dedup.is_some_and(|dedup| dedup.placement != DedupPlacement::AfterEffect)
    }

    /// What a step asks for.
    pub(super) fn request(
        &mut self,
        session: &Session,
        step: &Step,
        now: Instant,
    ) -> (Option<EffectId>, Request) {
        match step {
            Step::Begin(_) => (None, Request::Begin),
            Step::Commit(_) => (None, Request::Commit),
            Step::Ready(request) => (None, request.clone()),
            Step::Perform(record) => self.perform(&session.batch[*record]),
            Step::Evict(record)
            | Step::Check(record)
            | Step::Mark(record)
            | Step::Read(record)
            | Step::Effect(record, _)
            | Step::Offset(record) => self.execute(session, step, *record, now),
        }
    }

    fn execute(
        &self,
        session: &Session,
        step: &Step,
        record: usize,
        now: Instant,
    ) -> (Option<EffectId>, Request) {
        let sql = self.sql().expect("statements belong to a SQL sink");
        let delivery = &session.batch[record];
        let (statement, role) = statement(sql, step, delivery);
        let effect = match step {
            Step::Effect(_, number) => Some(self.effect_id(delivery, *number)),
            _ => None,
        };
        let mut parameters = self.parameters(delivery);
        parameters.read = session.reads[record];
        parameters.attempt = session.attempt();
        if let Some((_, window)) = sql.dedup.and_then(|dedup| dedup.evict) {
            let horizon = now.0.saturating_sub(window.as_nanos());
            parameters.horizon = millis(horizon);
        }
        let record = Some(delivery.polled.record.id);
        let body = Execute { statement, role, effect, record, parameters };
        (effect, Request::Execute(Box::new(body)))
    }

    fn parameters(&self, delivery: &Delivery) -> Parameters {
        let it = &delivery.polled;
        Parameters {
            id: self.identities.business_id(it),
            key: it.record.key.map(i64::from),
            value: it.record.value,
            version: self.identities.version(it),
            partition: Some(it.partition),
            offset: it.offset.0,
            next: it.offset.next().0,
            token: delivery.token,
            ..Parameters::default()
        }
    }

    /// How far was a partition consumed? Of a sink with offsets.
    pub(crate) fn offset_read(&self, partition: TopicPartition, token: i64) -> Option<Request> {
        let statement = self.offsets()?.read;
        let parameters =
            Parameters { partition: Some(partition), token, attempt: 1, ..Parameters::default() };
        let role = StatementRole::OffsetRead;
        let body = Execute { statement, role, effect: None, record: None, parameters };
        Some(Request::Execute(Box::new(body)))
    }
}

fn statement(sql: &SqlSink, step: &Step, delivery: &Delivery) -> (StatementId, StatementRole) {
    let found = match step {
        Step::Evict(_) => {
            let evict = sql.dedup.and_then(|dedup| dedup.evict);
            (evict.map(|(statement, _)| statement), StatementRole::DedupEvict)
        }
        Step::Check(_) => (sql.dedup.and_then(|dedup| dedup.check), StatementRole::DedupCheck),
        Step::Mark(_) => (sql.dedup.map(|dedup| dedup.mark), StatementRole::DedupMark),
        Step::Read(_) => (sql.read, StatementRole::Read),
        Step::Effect(_, number) => {
            let statement = match delivery.polled.record.value {
                Some(_) => sql.effect.get(usize::from(*number)).copied(),
                None => sql.tombstone,
            };
            (statement, StatementRole::Effect)
        }
        Step::Offset(_) => (sql.offsets.map(|offsets| offsets.write), StatementRole::OffsetWrite),
        Step::Begin(_) | Step::Commit(_) | Step::Perform(_) | Step::Ready(_) => {
            (None, StatementRole::Effect)
        }
    };
    (found.0.expect("a plan has the steps that its sink has statements for"), found.1)
}

fn millis(nanos: u64) -> i64 {
    i64::try_from(nanos / 1_000_000).expect("a run is shorter than 292 million years")
}
