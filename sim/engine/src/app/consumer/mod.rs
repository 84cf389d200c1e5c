//! A consumer application: poll, process, commit, in the order that its scenario chose.
//!
//! With a sink, processing a record is what happens outside of Kafka for it: it takes as long as the
//! sink's answers do, and it is over when the sink says so. Rebalance callbacks come inside of `poll()`
//! only, so that nothing interrupts it; an application that is paused meanwhile, and whose partitions
//! have become another's, goes on when it wakes as if nothing had happened.
//!
//! Three strategies leave the pattern. Offsets in the sink (`rebalance.rs`): the application seeks to
//! what its sink stores, and commits nothing to the group. Kafka Connect (`connect.rs`). Two phases
//! (`two_phase.rs`).
//!
//! Simplifications:
//! - An application whose sink fails too often ends its process without closing its consumer, as one
//!   does that runs into an error in another thread: its group waits for its session to time out.
//! - A worker beside the thread that polls gives the sink one record at a time.

mod connect;
mod process;
mod rebalance;
#[cfg(test)]
mod tests;
mod two_phase;

use std::collections::VecDeque;

use oncesim_kafka::consumer::{ConsumerCall, ConsumerCompletion, PolledRecord};
use oncesim_kafka::machine::Call;
use oncesim_spec::{CommitStrategy, ConsumerGroupSpec};
use oncesim_types::{CallId, Duration, ErrorCode, Instant, LeaderEpoch, Offset, TopicPartition};

use self::rebalance::TakingOver;
use self::two_phase::Stage;
use super::sink::{Progress, Sink, Turn};
use super::{Answer, AppEffect, set_consumed};

/// The timeout of `poll()`, of which only an application with something left to commit takes notice.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// What the application's thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Subscribing,
    Polling,
    Processing,
    /// What its sink does for the records at hand.
    Asking,
    /// The same in two phases.
    Staging(Stage),
    /// Committing, and what comes after.
    Committing(Then),
    /// In a callback, waiting for its commit.
    InCallback,
    /// In a callback, finding out from where to go on.
    TakingOver(TakingOver),
    Closing,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Poll,
    Process,
    Close,
}

/// The worker beside the thread that polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worker {
    Idle,
    /// A wake-up for it is under way.
    Processing,
    /// It waits for its sink.
    Asking,
}

/// The application of one consumer instance. All of it is memory: a crash forgets it.
#[derive(Debug)]
pub(crate) struct ConsumerApp {
    spec: ConsumerGroupSpec,
    sink: Option<Sink>,
    /// The moment of the turn under way.
    now: Instant,
    doing: Doing,
    calls: u64,
    /// The commit that its thread waits for.
    awaited: CallId,
    /// Records handed over by `poll()` and not processed yet.
    todo: VecDeque<PolledRecord>,
    /// How many of them have had their processing time.
    worked: usize,
    /// How many of them its sink is busy with.
    put: usize,
    /// Processed and not committed: the next offset per partition.
    processed: Vec<(TopicPartition, Offset, LeaderEpoch)>,
    /// The generation in which each partition was assigned.
    tokens: Vec<(TopicPartition, i64)>,
    /// What the callback under way takes away.
    revoked: Vec<TopicPartition>,
    /// Where the group is in the partitions that the callback under way adds.
    committed: Vec<(TopicPartition, Option<Offset>)>,
    /// Calls of `commitAsync()` that have not ended.
    async_commits: u32,
    /// The next wake-up is the end of a `poll()`'s timeout.
    poll_timeout: bool,
    /// Leave the group and come back at the next opportunity.
    leave: bool,
    worker: Worker,
    /// When Kafka Connect commits the next time.
    next_flush: Instant,
}

impl ConsumerApp {
    /// `sink` is what it does outside of Kafka, if it does anything there.
    pub(crate) fn new(spec: ConsumerGroupSpec, sink: Option<Sink>) -> Self {
        ConsumerApp {
            spec,
            sink,
            now: Instant::ZERO,
            doing: Doing::Stopped,
            calls: 0,
            awaited: CallId(0),
            todo: VecDeque::new(),
            worked: 0,
            put: 0,
            processed: Vec::new(),
            tokens: Vec::new(),
            revoked: Vec::new(),
            committed: Vec::new(),
            async_commits: 0,
            poll_timeout: false,
            leave: false,
            worker: Worker::Idle,
            next_flush: Instant::ZERO,
        }
    }

    pub(crate) fn spec(&self) -> &ConsumerGroupSpec {
        &self.spec
    }

    /// Whether it waits in `poll()` with nothing left to process or commit.
    pub(crate) fn is_idle(&self) -> bool {
        self.doing == Doing::Polling && self.todo.is_empty() && self.processed.is_empty()
    }

    /// What it waits for, in words.
    pub(crate) fn state(&self) -> String {
        format!("{:?}, {} records to process", self.doing, self.todo.len())
    }

    /// The process starts (again).
    pub(crate) fn start(&mut self, now: Instant, incarnation: u32, out: &mut Vec<AppEffect>) {
        self.now = now;
        if let Some(sink) = &mut self.sink {
            sink.start(incarnation);
        }
        self.todo.clear();
        self.worked = 0;
        self.put = 0;
        self.processed.clear();
        self.tokens.clear();
        self.async_commits = 0;
        self.poll_timeout = false;
        self.leave = false;
        self.worker = Worker::Idle;
        self.next_flush = self.flush_after(now);
        self.doing = Doing::Subscribing;
        let topics = self.spec.from.clone();
        self.call(ConsumerCall::Subscribe(topics), out);
    }

    /// Asks it to close its consumer and start anew, as a deployment does.
    pub(crate) fn leave_and_rejoin(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        self.now = now;
        self.leave = true;
        if self.doing == Doing::Polling {
            self.poll_or_leave(out);
        }
    }

    fn call(&mut self, body: ConsumerCall, out: &mut Vec<AppEffect>) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        out.push(AppEffect::Call { call, attempt: 0, body: Call::Consumer(body) });
        call
    }

    /// `commitSync()`, and what comes after.
    fn commit_sync(&mut self, then: Then, out: &mut Vec<AppEffect>) {
        self.doing = Doing::Committing(then);
        let offsets = self.processed.clone();
        self.awaited = self.call(ConsumerCall::CommitSync(Some(offsets)), out);
    }

    fn commit_async(&mut self, out: &mut Vec<AppEffect>) {
        let offsets = self.processed.clone();
        self.async_commits += 1;
        self.call(ConsumerCall::CommitAsync(Some(offsets)), out);
    }

    fn poll_or_leave(&mut self, out: &mut Vec<AppEffect>) {
        if self.leave {
            return self.close(out);
        }
        self.flush_if_due(out);
        self.doing = Doing::Polling;
        self.await_poll_timeout(out);
        self.call(ConsumerCall::Poll, out);
    }

    fn close(&mut self, out: &mut Vec<AppEffect>) {
        if self.is_connect() && !self.processed.is_empty() {
            return self.commit_sync(Then::Close, out);
        }
        self.doing = Doing::Closing;
        self.awaited = self.call(ConsumerCall::Close, out);
    }

    /// A commit that failed is made again by the next round of the application's loop; without
    /// records that round begins when `poll()` times out.
    fn await_poll_timeout(&mut self, out: &mut Vec<AppEffect>) {
        if !self.processed.is_empty() {
            self.poll_timeout = true;
            let flush = self.until_flush().max(Duration::from_millis(1));
            let timeout = if self.is_connect() { flush } else { POLL_TIMEOUT };
            out.push(AppEffect::Wake(timeout));
        }
    }

    /// A call ended.
    pub(crate) fn completed(
        &mut self,
        now: Instant,
        call: CallId,
        end: ConsumerCompletion,
        out: &mut Vec<AppEffect>,
    ) {
        self.now = now;
        if let ConsumerCompletion::Committed { offsets, error, .. } = &end {
            self.committed(offsets, *error);
            if call != self.awaited {
                self.async_commits = self.async_commits.saturating_sub(1);
                return;
            }
        }
        match (self.doing, end) {
            (Doing::Subscribing, _) => self.poll_or_leave(out),
            (Doing::Polling, ConsumerCompletion::Polled(records)) => self.polled(records, out),
            (Doing::Polling, ConsumerCompletion::Failed(_)) => {
                // Fatal for this consumer: an application that follows the documentation closes it
                // and starts a new one.
                self.leave = true;
                self.poll_or_leave(out);
            }
            (Doing::Committing(then), ConsumerCompletion::Committed { error, .. }) => {
                match then {
                    Then::Poll => self.next_record_or_poll(out),
                    Then::Process if error.is_ok() => self.process(out),
                    // Nobody knows who owns these records now: at-most-once drops them.
                    Then::Process => {
                        self.todo.clear();
                        self.poll_or_leave(out);
                    }
                    // Whether or not it came through: what is not committed comes again.
                    Then::Close => {
                        self.processed.clear();
                        self.close(out);
                    }
                }
            }
            (Doing::InCallback, ConsumerCompletion::Committed { .. }) => {
                // Whether or not the commit came through: these partitions are another's now.
                let revoked = std::mem::take(&mut self.revoked);
                self.processed.retain(|(partition, ..)| !revoked.contains(partition));
                self.return_from_callback(out);
            }
            (Doing::TakingOver(TakingOver::Committed), ConsumerCompletion::Offsets(found)) => {
                self.take_over_from(found, out);
            }
            (Doing::Staging(stage), end) => self.decision(stage, &end, out),
            (Doing::Closing, ConsumerCompletion::Done) if call == self.awaited => {
                self.doing = Doing::Stopped;
                out.push(AppEffect::Restart);
            }
            _ => {}
        }
    }

    fn committed(&mut self, offsets: &[(TopicPartition, Offset)], error: ErrorCode) {
        if error.is_ok() {
            self.processed.retain(|(partition, next, _)| !offsets.contains(&(*partition, *next)));
        }
    }

    fn polled(&mut self, records: Vec<PolledRecord>, out: &mut Vec<AppEffect>) {
        if records.is_empty() {
            return self.commit_again_or_poll(out);
        }
        match self.spec.commit {
            CommitStrategy::AutoAsyncProcessing => {
                self.todo.extend(records);
                self.start_worker(out);
                self.poll_or_leave(out);
            }
            CommitStrategy::BeforeProcessing => {
                let mut offsets = Vec::new();
                for record in &records {
                    set_consumed(&mut offsets, record);
                }
                self.todo.extend(records);
                self.doing = Doing::Committing(Then::Process);
                self.awaited = self.call(ConsumerCall::CommitSync(Some(offsets)), out);
            }
            _ => {
                self.todo.extend(records);
                self.process(out);
            }
        }
    }

    /// A round of the loop without records: an earlier commit may have failed, because the group
    /// was rebalancing or its coordinator could not be reached.
    fn commit_again_or_poll(&mut self, out: &mut Vec<AppEffect>) {
        if self.processed.is_empty() || self.async_commits > 0 || self.leave {
            self.poll_or_leave(out);
        } else {
            self.all_processed(out);
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
        self.now = now;
        let progress = self.with_sink(out, |sink, turn| sink.answered(call, answer, turn));
        self.sink_progressed(progress, out);
    }

    /// Lets the sink do something; without one there is nothing to do.
    fn with_sink(
        &mut self,
        out: &mut Vec<AppEffect>,
        act: impl FnOnce(&mut Sink, &mut Turn<'_>) -> Progress,
    ) -> Progress {
        let Some(sink) = &mut self.sink else { return Progress::Done };
        act(sink, &mut Turn { now: self.now, calls: &mut self.calls, out })
    }

    /// What the sink was busy with has come further.
    fn sink_progressed(&mut self, progress: Progress, out: &mut Vec<AppEffect>) {
        match (progress, self.doing) {
            (Progress::UnderWay, _) => {}
            (Progress::Failed, Doing::Asking) if self.is_connect() => self.leave_group(out),
            (Progress::Fenced, Doing::Polling | Doing::Asking | Doing::Staging(_)) => {
                self.worker = Worker::Idle;
                self.leave_group(out);
            }
            (Progress::Unsure, Doing::Asking) => self.rewind(out),
            (Progress::Failed | Progress::Fenced | Progress::Unsure, _) => {
                self.doing = Doing::Stopped;
                out.push(AppEffect::Restart);
            }
            (Progress::Done, Doing::Asking) => {
                if self.batch_done(out) {
                    self.put_next(out);
                }
            }
            (Progress::Done, Doing::Staging(stage)) => self.staged(stage, out),
            (Progress::Done, Doing::TakingOver(step)) => self.taken_over(step, out),
            (Progress::Done, _) => self.worker_done(out),
        }
    }

    /// Gives up what it has not processed, and its place in the group.
    fn leave_group(&mut self, out: &mut Vec<AppEffect>) {
        self.todo.clear();
        self.leave = true;
        self.poll_or_leave(out);
    }

    /// Some time has passed.
    pub(crate) fn wake(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        self.now = now;
        let asks = matches!(self.doing, Doing::Asking | Doing::Staging(_) | Doing::TakingOver(_));
        if asks || self.worker == Worker::Asking {
            let progress = self.with_sink(out, Sink::wake);
            return self.sink_progressed(progress, out);
        }
        if self.spec.commit == CommitStrategy::AutoAsyncProcessing {
            return self.worker_worked(out);
        }
        let poll_timeout = std::mem::take(&mut self.poll_timeout);
        match self.doing {
            Doing::Polling if poll_timeout => {
                self.await_poll_timeout(out);
                self.call(ConsumerCall::PollTimeout, out);
            }
            Doing::Processing => {
                self.worked += 1;
                self.record_worked(out);
            }
            _ => {}
        }
    }
}
