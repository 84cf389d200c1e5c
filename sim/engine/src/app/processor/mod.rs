//! A processor application: consume, transform, produce.
//!
//! Mirrors what Kafka's documentation tells applications to do (`ExactlyOnceMessageProcessor`), and
//! for stateful transforms what Kafka Streams does under `exactly_once_v2` (`StreamThread`,
//! `TaskManager`, `StoreChangelogReader`): one thread, a consumer, a producer, and a restore consumer
//! for changelogs. With an id per input partition it has a producer for each, as Kafka Streams had
//! under `exactly_once` before KIP-447 (`StreamTask`, one `RecordCollector` per task): `session.rs`.
//!
//! Simplifications:
//! - `send()` does not block the thread: the producer lets calls wait in its own queue. No back
//!   pressure; a commit waits for all of them.
//! - A store is restored inside `onPartitionsAssigned`, as the documentation of
//!   `ConsumerRebalanceListener` proposes, and not beside the polls as Streams does with paused
//!   partitions: records of a partition are processed after its store is restored in both.
//! - Where a changelog ends is told at once and without a message (`StoreChangelogReader` asks an
//!   admin client): the answer is one that a `ListOffsets` of that moment could give.

mod commit;
mod effect;
mod restore;
mod session;
mod transform;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use oncesim_kafka::consumer::{ConsumerCall, ConsumerCompletion, PolledRecord, RebalanceCallback};
use oncesim_kafka::machine::{Call, Completion};
use oncesim_kafka::message::GroupMetadata;
use oncesim_kafka::producer::{ErrorClass, ProducerCall, ProducerCompletion, TransactionError};
use oncesim_spec::{Mistake, ProcessorCommit, ProcessorSpec};
use oncesim_types::{
    ActorId, CallId, Duration, Instant, Offset, TopicPartition, TransactionNumber,
    TransactionResult,
};

use self::restore::Stores;
use self::session::Session;
use super::sink::Sink;
use super::{Answer, AppEffect};

/// The timeout of `poll()`, of which only an application with something left to do takes notice.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// What the application's thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// `initTransactions()`; afterwards it goes on where it was.
    Initializing(Option<After>),
    Subscribing,
    Polling,
    /// `beginTransaction()`, for the next record.
    Beginning,
    Processing,
    /// What its sink does for the next record.
    Asking,
    Flushing(After),
    SendingOffsets(After),
    Ending(TransactionResult, After),
    CommittingSync(After),
    /// `committed()`, to go back to there.
    Rewinding(After),
    Restoring(After),
    ClosingConsumer,
    /// One producer after the other; all of them before the process starts anew.
    ClosingProducer(Option<After>),
    Stopped,
}

/// What comes after a commit, an abort or a restoration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next record, or the next poll.
    NextRecord,
    /// What is left to do for partitions that are taken away, then the callback returns.
    GiveUp(TransactionResult),
    /// What is left to do for partitions that were assigned, then the callback returns.
    TakeOver,
    /// The rebalance callback returns.
    Return,
}

/// The application of one processor instance. All of it is memory: a crash forgets it.
#[derive(Debug)]
pub(crate) struct ProcessorApp {
    spec: ProcessorSpec,
    sink: Option<Sink>,
    /// Its producers' actors, the origin of its records: one for everything, or one for each
    /// partition that it could be assigned.
    producers: Vec<(Option<TopicPartition>, ActorId)>,
    /// The producers in use.
    sessions: Vec<Session>,
    /// The one whose call is under way, or was the last.
    current: usize,
    doing: Doing,
    calls: u64,
    /// The call that its thread waits for.
    awaited: CallId,
    /// The `poll()` under way; a rebalance callback returns into it.
    poll: CallId,
    /// Records made since the beginning of the run: their ids are never used again.
    records: u64,
    /// The process, and how many transactions it has begun.
    incarnation: u32,
    transactions: u32,
    /// Who its consumer is in its group, as of the last `onPartitionsAssigned`.
    member: GroupMetadata,
    owned: Vec<TopicPartition>,
    /// What the callback under way takes away.
    taken: Vec<TopicPartition>,
    /// Where reading of each owned partition began.
    first: Vec<(TopicPartition, Offset)>,
    /// Records handed over by `poll()` and not processed yet.
    todo: VecDeque<PolledRecord>,
    /// Records since the last commit.
    since_commit: u64,
    last_commit: Instant,
    /// The work on the next record: since when, until when.
    work: Option<(Instant, Instant)>,
    /// The next record has been worked on.
    worked: bool,
    /// The effects of the next record are there.
    effect_done: bool,
    /// The generation in which each partition was assigned.
    tokens: Vec<(TopicPartition, i64)>,
    /// A `send()` failed since the last flush.
    send_failed: bool,
    /// Close and start anew at the next opportunity.
    leave: bool,
    stores: Stores,
}

impl ProcessorApp {
    /// `sink` is what it does outside of Kafka, if it does anything there.
    pub(crate) fn new(
        spec: ProcessorSpec,
        producers: Vec<(Option<TopicPartition>, ActorId)>,
        sink: Option<Sink>,
    ) -> Self {
        ProcessorApp {
            spec,
            sink,
            producers,
            sessions: Vec::new(),
            current: 0,
            doing: Doing::Stopped,
            calls: 0,
            awaited: CallId(0),
            poll: CallId(0),
            records: 0,
            incarnation: 0,
            transactions: 0,
            member: GroupMetadata::NONE,
            owned: Vec::new(),
            taken: Vec::new(),
            first: Vec::new(),
            todo: VecDeque::new(),
            since_commit: 0,
            last_commit: Instant::ZERO,
            work: None,
            worked: false,
            effect_done: false,
            tokens: Vec::new(),
            send_failed: false,
            leave: false,
            stores: Stores::default(),
        }
    }

    pub(crate) fn spec(&self) -> &ProcessorSpec {
        &self.spec
    }

    /// Whether it waits in `poll()` with nothing left to process or commit.
    pub(crate) fn is_idle(&self) -> bool {
        let nothing_to_commit = match self.spec.commit {
            ProcessorCommit::Transaction => !self.has_open_transaction(),
            _ => !self.has_uncommitted(),
        };
        self.doing == Doing::Polling && self.todo.is_empty() && nothing_to_commit
    }

    /// What it waits for, in words.
    pub(crate) fn state(&self) -> String {
        let open = if self.has_open_transaction() { ", its transaction is open" } else { "" };
        format!("{:?}, {} records to process{open}", self.doing, self.todo.len())
    }

    /// The process starts (again).
    pub(crate) fn start(&mut self, now: Instant, incarnation: u32, out: &mut Vec<AppEffect>) {
        self.incarnation = incarnation;
        self.transactions = 0;
        self.sessions.clear();
        self.current = 0;
        self.member = GroupMetadata::NONE;
        self.owned.clear();
        self.taken.clear();
        self.first.clear();
        self.todo.clear();
        self.since_commit = 0;
        self.last_commit = now;
        self.work = None;
        self.worked = false;
        self.effect_done = false;
        self.tokens.clear();
        if let Some(sink) = &mut self.sink {
            sink.start(incarnation);
        }
        self.send_failed = false;
        self.leave = false;
        self.stores = Stores::default();
        for &(partition, actor) in &self.producers {
            if partition.is_none() {
                self.sessions.push(Session::new(partition, actor));
            }
        }
        if self.is_transactional() && !self.sessions.is_empty() {
            self.initialize(None, out);
        } else {
            self.subscribe(out);
        }
    }

    /// Asks it to close its clients and start anew, as a deployment does.
    pub(crate) fn leave_and_rejoin(&mut self, out: &mut Vec<AppEffect>) {
        self.leave = true;
        if self.doing == Doing::Polling {
            // `wakeup()`.
            self.consumer_call(ConsumerCall::PollTimeout, out);
        }
    }

    fn is_transactional(&self) -> bool {
        self.spec.commit == ProcessorCommit::Transaction
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.spec.mistakes.contains(&mistake)
    }

    // ---- calls ----

    fn consumer_call(&mut self, body: ConsumerCall, out: &mut Vec<AppEffect>) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        out.push(AppEffect::Call { call, attempt: 0, body: Call::Consumer(body) });
        call
    }

    fn producer_call(&mut self, body: ProducerCall, out: &mut Vec<AppEffect>) -> CallId {
        self.calls += 1;
        // Ids of `send()`s have their attempt, from 1, in the low half.
        let call = CallId(self.calls << 16);
        let producer = self.session().actor;
        out.push(AppEffect::Produce { producer, call, attempt: 0, body });
        call
    }

    fn await_consumer(&mut self, doing: Doing, body: ConsumerCall, out: &mut Vec<AppEffect>) {
        self.doing = doing;
        self.awaited = self.consumer_call(body, out);
    }

    fn await_producer(&mut self, doing: Doing, body: ProducerCall, out: &mut Vec<AppEffect>) {
        self.doing = doing;
        self.awaited = self.producer_call(body, out);
    }

    /// A call ended.
    pub(crate) fn completed(
        &mut self,
        now: Instant,
        call: CallId,
        end: Completion,
        out: &mut Vec<AppEffect>,
    ) {
        if let Completion::Producer(ProducerCompletion::Sent(sent)) = &end {
            self.send_failed |= !sent.error.is_ok();
            return;
        }
        if call != self.awaited {
            return;
        }
        match end {
            Completion::Producer(end) => self.producer_completed(now, end, out),
            Completion::Consumer(end) => self.consumer_completed(now, end, out),
        }
    }

    /// A system has answered, or will not.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        call: CallId,
        answer: Answer,
        out: &mut Vec<AppEffect>,
    ) {
        self.with_sink(now, out, |sink, turn| sink.answered(call, answer, turn));
    }

    fn producer_completed(
        &mut self,
        now: Instant,
        end: ProducerCompletion,
        out: &mut Vec<AppEffect>,
    ) {
        match (self.doing, end) {
            (Doing::Initializing(resume), ProducerCompletion::Transaction(result)) => {
                self.initialized(now, resume, result, out);
            }
            (Doing::Beginning, ProducerCompletion::Transaction(result)) => match result {
                Ok(()) => {
                    self.session_mut().in_transaction = true;
                    self.go_on(now, out);
                }
                Err(error) => self.failed(now, error, After::NextRecord, out),
            },
            (Doing::Flushing(after), ProducerCompletion::Flushed) => self.flushed(now, after, out),
            (Doing::SendingOffsets(after), ProducerCompletion::Transaction(result)) => match result
            {
                Ok(()) => self.end_transaction(TransactionResult::Commit, after, out),
                Err(error) => self.failed(now, error, after, out),
            },
            (Doing::Ending(how, after), ProducerCompletion::Transaction(result)) => match result {
                Ok(()) => self.ended(now, how, after, out),
                Err(error) => self.failed(now, error, after, out),
            },
            (Doing::ClosingProducer(after), ProducerCompletion::Closed) => {
                self.producer_closed(now, after, out);
            }
            _ => {}
        }
    }

    fn consumer_completed(
        &mut self,
        now: Instant,
        end: ConsumerCompletion,
        out: &mut Vec<AppEffect>,
    ) {
        match (self.doing, end) {
            (Doing::Subscribing, ConsumerCompletion::Done) => self.poll_or_leave(now, out),
            (Doing::Polling, ConsumerCompletion::Polled(records)) => self.polled(now, records, out),
            // Fatal for this consumer: an application that follows the documentation closes it and
            // starts a new one.
            (Doing::Polling, ConsumerCompletion::Failed(_)) => self.close(out),
            (Doing::CommittingSync(after), ConsumerCompletion::Committed { error, .. }) => {
                self.committed_sync(now, after, error.is_ok(), out);
            }
            (Doing::Rewinding(after), ConsumerCompletion::Offsets(found)) => {
                self.rewind_to(now, found, after, out);
            }
            (Doing::ClosingConsumer, ConsumerCompletion::Done) => {
                self.close_producers(out);
            }
            _ => {}
        }
    }

    // ---- start and end ----

    fn initialize(&mut self, resume: Option<After>, out: &mut Vec<AppEffect>) {
        let call = ProducerCall::InitTransactions;
        self.await_producer(Doing::Initializing(resume), call, out);
    }

    fn initialized(
        &mut self,
        now: Instant,
        resume: Option<After>,
        result: Result<(), TransactionError>,
        out: &mut Vec<AppEffect>,
    ) {
        match (result, resume) {
            (Ok(()), None) => self.subscribe(out),
            (Ok(()), Some(after)) => self.proceed(now, after, out),
            (Err(error), _) if error.class == ErrorClass::Timeout => self.initialize(resume, out),
            (Err(_), None) => self.close(out),
            (Err(_), Some(after)) => self.close_from(after, out),
        }
    }

    fn subscribe(&mut self, out: &mut Vec<AppEffect>) {
        let topics = self.spec.from.clone();
        self.await_consumer(Doing::Subscribing, ConsumerCall::Subscribe(topics), out);
    }

    /// Closes its clients and starts anew.
    fn close(&mut self, out: &mut Vec<AppEffect>) {
        self.todo.clear();
        self.await_consumer(Doing::ClosingConsumer, ConsumerCall::Close, out);
    }

    /// The same from wherever it is: an exception leaves a callback as well.
    fn close_from(&mut self, after: After, out: &mut Vec<AppEffect>) {
        if after != After::NextRecord {
            self.return_from_callback(out);
        }
        self.close(out);
    }

    // ---- the loop ----

    fn poll_or_leave(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        if self.leave {
            return self.close(out);
        }
        if self.has_uncommitted() {
            out.push(AppEffect::Wake(self.until_commit(now)));
        }
        self.await_consumer(Doing::Polling, ConsumerCall::Poll, out);
        self.poll = self.awaited;
    }

    /// How long `poll()` may take before a commit is due.
    fn until_commit(&self, now: Instant) -> Duration {
        let due = self.last_commit + self.spec.commit_interval;
        if self.is_commit_due(now) { POLL_TIMEOUT } else { due.since(now) }
    }

    fn is_commit_due(&self, now: Instant) -> bool {
        // A clock that was set back must not hold a commit up.
        now < self.last_commit || now >= self.last_commit + self.spec.commit_interval
    }

    fn polled(&mut self, now: Instant, records: Vec<PolledRecord>, out: &mut Vec<AppEffect>) {
        for record in &records {
            if self.first.iter().all(|(partition, _)| *partition != record.partition) {
                self.first.push((record.partition, record.offset));
            }
        }
        let before = self.spec.commit == ProcessorCommit::BeforeProcessing && !records.is_empty();
        self.todo.extend(records);
        if before { self.commit_before(out) } else { self.go_on(now, out) }
    }

    /// Goes on with the records at hand, then polls.
    fn go_on(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        while let Some(next) = self.todo.front() {
            self.current = self.session_of(next.partition);
            if self.is_transactional() && !self.session().in_transaction {
                return self.begin(out);
            }
            let span = self.spec.processing_time;
            if span > Duration::ZERO && !std::mem::take(&mut self.worked) {
                self.doing = Doing::Processing;
                self.work = Some((now, now + span));
                out.push(AppEffect::Wake(span));
                return;
            }
            if !self.effect_of_next(now, out) {
                return;
            }
            self.process(now, out);
            if self.since_commit >= self.spec.batch {
                return self.commit(now, After::NextRecord, out);
            }
        }
        if self.has_uncommitted() && (self.is_commit_due(now) || self.leave) {
            self.commit(now, After::NextRecord, out);
        } else {
            self.poll_or_leave(now, out);
        }
    }

    /// Some time has passed.
    pub(crate) fn wake(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        match (self.doing, self.work) {
            (Doing::Polling, _) if self.has_uncommitted() => {
                out.push(AppEffect::Wake(self.until_commit(now)));
                self.consumer_call(ConsumerCall::PollTimeout, out);
            }
            // One that was asked for earlier.
            (Doing::Processing, Some((since, until))) if since <= now && now < until => {
                out.push(AppEffect::Wake(until.since(now)));
            }
            (Doing::Processing, _) => {
                self.work = None;
                self.worked = true;
                self.go_on(now, out);
            }
            (Doing::Asking, _) => self.with_sink(now, out, Sink::wake),
            (Doing::Restoring(_), _) => self.restore_poll_timeout(out),
            _ => {}
        }
    }

    fn begin(&mut self, out: &mut Vec<AppEffect>) {
        self.transactions += 1;
        let count = u64::from(self.transactions);
        let number = TransactionNumber(u64::from(self.incarnation) << 32 | count);
        self.await_producer(Doing::Beginning, ProducerCall::BeginTransaction { number }, out);
    }

    /// What was under way is over.
    fn proceed(&mut self, now: Instant, after: After, out: &mut Vec<AppEffect>) {
        match after {
            After::NextRecord if self.todo.is_empty() => self.poll_or_leave(now, out),
            After::NextRecord => self.go_on(now, out),
            After::GiveUp(how) => self.give_up(how, out),
            After::TakeOver => self.take_over(now, out),
            After::Return => self.return_from_callback(out),
        }
    }

    // ---- rebalances ----

    /// A rebalance callback, inside `poll()` or `close()`.
    pub(crate) fn callback(
        &mut self,
        now: Instant,
        callback: &RebalanceCallback,
        out: &mut Vec<AppEffect>,
    ) {
        if self.doing != Doing::Polling {
            return self.return_from_callback(out);
        }
        match callback {
            RebalanceCallback::Assigned { member, generation, added, owned } => {
                self.set_tokens(*generation, added);
                self.member = GroupMetadata {
                    member: Some(*member),
                    instance: self.spec.consumer.instance,
                    generation: *generation,
                };
                self.owned.clone_from(owned);
                self.take_over(now, out);
            }
            RebalanceCallback::Revoked { partitions } => {
                self.taken.clone_from(partitions);
                if self.is_transactional() {
                    self.give_up(TransactionResult::Commit, out);
                } else {
                    self.commit(now, After::Return, out);
                }
            }
            RebalanceCallback::Lost { partitions } => {
                self.taken.clone_from(partitions);
                self.give_up(TransactionResult::Abort, out);
            }
        }
    }

    fn return_from_callback(&mut self, out: &mut Vec<AppEffect>) {
        // Whether or not a commit came through: these partitions are another's now.
        let taken = std::mem::take(&mut self.taken);
        self.owned.retain(|partition| !taken.contains(partition));
        self.first.retain(|(partition, _)| !taken.contains(partition));
        for session in &mut self.sessions {
            session.uncommitted.retain(|(partition, ..)| !taken.contains(partition));
        }
        self.stores.keep_only(&self.owned);
        if self.doing != Doing::ClosingConsumer {
            self.doing = Doing::Polling;
            self.awaited = self.poll;
        }
        out.push(AppEffect::CallbackReturned);
        self.consumer_call(ConsumerCall::CallbackDone, out);
    }
}
