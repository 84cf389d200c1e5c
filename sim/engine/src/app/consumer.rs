//! A consumer application: poll, process, commit, in the order that its scenario chose.

use std::collections::VecDeque;

use oncesim_kafka::consumer::{ConsumerCall, ConsumerCompletion, PolledRecord, RebalanceCallback};
use oncesim_kafka::machine::Call;
use oncesim_spec::{CommitStrategy, ConsumerGroupSpec};
use oncesim_types::{CallId, Duration, ErrorCode, Instant, LeaderEpoch, Offset, TopicPartition};

use super::sink::Sink;
use super::{Answer, AppEffect, set_consumed};

/// The timeout of `poll()`, of which only an application with something left to commit takes notice.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// What the application's thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Subscribing,
    Polling,
    Processing,
    /// Committing, and what comes after.
    Committing(Then),
    /// In a callback, waiting for its commit.
    InCallback,
    Closing,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Poll,
    Process,
}

/// The application of one consumer instance. All of it is memory: a crash forgets it.
#[derive(Debug)]
pub(crate) struct ConsumerApp {
    spec: ConsumerGroupSpec,
    #[expect(dead_code, reason = "sessions come next")]
    sink: Option<Sink>,
    doing: Doing,
    calls: u64,
    /// The commit that its thread waits for.
    awaited: CallId,
    /// Records handed over by `poll()` and not processed yet.
    todo: VecDeque<PolledRecord>,
    /// Processed and not committed: the next offset per partition.
    processed: Vec<(TopicPartition, Offset, LeaderEpoch)>,
    /// What the callback under way takes away.
    revoked: Vec<TopicPartition>,
    /// Calls of `commitAsync()` that have not ended.
    async_commits: u32,
    /// The next wake-up is the end of a `poll()`'s timeout.
    poll_timeout: bool,
    /// Leave the group and come back at the next opportunity.
    leave: bool,
    /// A wake-up for the worker is under way.
    worker_busy: bool,
}

impl ConsumerApp {
    /// `sink` is what it does outside of Kafka, if it does anything there.
    pub(crate) fn new(spec: ConsumerGroupSpec, sink: Option<Sink>) -> Self {
        ConsumerApp {
            spec,
            sink,
            doing: Doing::Stopped,
            calls: 0,
            awaited: CallId(0),
            todo: VecDeque::new(),
            processed: Vec::new(),
            revoked: Vec::new(),
            async_commits: 0,
            poll_timeout: false,
            leave: false,
            worker_busy: false,
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
    pub(crate) fn start(&mut self, _now: Instant, _incarnation: u32, out: &mut Vec<AppEffect>) {
        self.todo.clear();
        self.processed.clear();
        self.async_commits = 0;
        self.poll_timeout = false;
        self.leave = false;
        self.worker_busy = false;
        self.doing = Doing::Subscribing;
        let topics = self.spec.from.clone();
        self.call(ConsumerCall::Subscribe(topics), out);
    }

    /// Asks it to close its consumer and start anew, as a deployment does.
    pub(crate) fn leave_and_rejoin(&mut self, _now: Instant, out: &mut Vec<AppEffect>) {
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

    fn poll_or_leave(&mut self, out: &mut Vec<AppEffect>) {
        if self.leave {
            self.doing = Doing::Closing;
            self.call(ConsumerCall::Close, out);
        } else {
            self.doing = Doing::Polling;
            self.await_poll_timeout(out);
            self.call(ConsumerCall::Poll, out);
        }
    }

    /// A commit that failed is made again by the next round of the application's loop; without
    /// records that round begins when `poll()` times out.
    fn await_poll_timeout(&mut self, out: &mut Vec<AppEffect>) {
        if !self.processed.is_empty() {
            self.poll_timeout = true;
            out.push(AppEffect::Wake(POLL_TIMEOUT));
        }
    }

    /// A call ended.
    pub(crate) fn completed(
        &mut self,
        _now: Instant,
        call: CallId,
        end: ConsumerCompletion,
        out: &mut Vec<AppEffect>,
    ) {
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
                }
            }
            (Doing::InCallback, ConsumerCompletion::Committed { .. }) => {
                self.doing = Doing::Polling;
                // Whether or not the commit came through: these partitions are another's now.
                let revoked = std::mem::take(&mut self.revoked);
                self.processed.retain(|(partition, ..)| !revoked.contains(partition));
                self.return_from_callback(out);
            }
            (Doing::Closing, ConsumerCompletion::Done) => {
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

    /// Processes what `poll()` gave, one record after the other.
    fn process(&mut self, out: &mut Vec<AppEffect>) {
        self.doing = Doing::Processing;
        // One that was to come within this record's time comes for the record instead.
        self.poll_timeout = false;
        if self.spec.processing_time > Duration::ZERO {
            out.push(AppEffect::Wake(self.spec.processing_time));
            return;
        }
        if self.spec.commit == CommitStrategy::PerRecord {
            return self.finish_one_and_commit(out);
        }
        while self.finish_one(out) {}
        self.all_processed(out);
    }

    /// A system has answered, or will not.
    pub(crate) fn answered(
        &mut self,
        _now: Instant,
        _call: CallId,
        _answer: Answer,
        _out: &mut Vec<AppEffect>,
    ) {
    }

    /// The processing of one record is over.
    pub(crate) fn wake(&mut self, _now: Instant, out: &mut Vec<AppEffect>) {
        if self.spec.commit == CommitStrategy::AutoAsyncProcessing {
            self.worker_busy = false;
            self.finish_one(out);
            self.start_worker(out);
            return;
        }
        let poll_timeout = std::mem::take(&mut self.poll_timeout);
        match self.doing {
            Doing::Polling if poll_timeout => {
                self.await_poll_timeout(out);
                self.call(ConsumerCall::PollTimeout, out);
                return;
            }
            Doing::Processing => {}
            _ => return,
        }
        if self.spec.commit == CommitStrategy::PerRecord {
            return self.finish_one_and_commit(out);
        }
        self.finish_one(out);
        if self.todo.is_empty() {
            self.all_processed(out);
        } else {
            out.push(AppEffect::Wake(self.spec.processing_time));
        }
    }

    fn start_worker(&mut self, out: &mut Vec<AppEffect>) {
        if !self.worker_busy && !self.todo.is_empty() {
            self.worker_busy = true;
            out.push(AppEffect::Wake(self.spec.processing_time));
        }
    }

    /// Records the outcome of the next record; false when there is none.
    fn finish_one(&mut self, out: &mut Vec<AppEffect>) -> bool {
        let Some(record) = self.todo.pop_front() else { return false };
        if self.commits_what_it_processed() {
            set_consumed(&mut self.processed, &record);
        }
        let PolledRecord { partition, offset, record, .. } = record;
        out.push(AppEffect::Processed { partition, offset, record: record.id });
        true
    }

    fn commits_what_it_processed(&self) -> bool {
        matches!(
            self.spec.commit,
            CommitStrategy::AfterProcessing
                | CommitStrategy::AsyncAfterProcessing
                | CommitStrategy::PerRecord
        )
    }

    fn finish_one_and_commit(&mut self, out: &mut Vec<AppEffect>) {
        self.finish_one(out);
        self.doing = Doing::Committing(Then::Poll);
        let offsets = self.processed.clone();
        self.awaited = self.call(ConsumerCall::CommitSync(Some(offsets)), out);
    }

    fn next_record_or_poll(&mut self, out: &mut Vec<AppEffect>) {
        if self.todo.is_empty() { self.poll_or_leave(out) } else { self.process(out) }
    }

    fn all_processed(&mut self, out: &mut Vec<AppEffect>) {
        match self.spec.commit {
            CommitStrategy::AfterProcessing | CommitStrategy::PerRecord => {
                self.doing = Doing::Committing(Then::Poll);
                let offsets = self.processed.clone();
                self.awaited = self.call(ConsumerCall::CommitSync(Some(offsets)), out);
            }
            CommitStrategy::AsyncAfterProcessing => {
                let offsets = self.processed.clone();
                self.async_commits += 1;
                self.call(ConsumerCall::CommitAsync(Some(offsets)), out);
                self.poll_or_leave(out);
            }
            _ => self.poll_or_leave(out),
        }
    }

    /// A rebalance callback, inside `poll()` or `close()`.
    pub(crate) fn callback(
        &mut self,
        _now: Instant,
        callback: &RebalanceCallback,
        out: &mut Vec<AppEffect>,
    ) {
        match callback {
            RebalanceCallback::Assigned { .. } => self.return_from_callback(out),
            RebalanceCallback::Lost { partitions } => {
                self.processed.retain(|(partition, ..)| !partitions.contains(partition));
                self.return_from_callback(out);
            }
            RebalanceCallback::Revoked { partitions } => {
                let offsets: Vec<_> = self
                    .processed
                    .iter()
                    .filter(|(partition, ..)| partitions.contains(partition))
                    .copied()
                    .collect();
                if offsets.is_empty() || self.doing == Doing::Closing {
                    return self.return_from_callback(out);
                }
                self.doing = Doing::InCallback;
                self.revoked.clone_from(partitions);
                self.awaited = self.call(ConsumerCall::CommitSync(Some(offsets)), out);
            }
        }
    }

    fn return_from_callback(&mut self, out: &mut Vec<AppEffect>) {
        out.push(AppEffect::CallbackReturned);
        self.call(ConsumerCall::CallbackDone, out);
    }
}
