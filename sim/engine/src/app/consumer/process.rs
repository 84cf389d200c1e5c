//! What happens between a `poll()` and the next one.

use oncesim_kafka::consumer::PolledRecord;
use oncesim_spec::CommitStrategy;
use oncesim_types::{Duration, TopicPartition};

use super::super::sink::{Again, Delivery, Progress, Sink};
use super::super::{AppEffect, set_consumed};
use super::{ConsumerApp, Doing, Then, Worker};

impl ConsumerApp {
    /// Processes what `poll()` gave, one record after the other.
    pub(super) fn process(&mut self, out: &mut Vec<AppEffect>) {
        self.doing = Doing::Processing;
        // One that was to come within this record's time comes for the record instead.
        self.poll_timeout = false;
        if self.spec.processing_time > Duration::ZERO {
            out.push(AppEffect::Wake(self.spec.processing_time));
            return;
        }
        self.worked = self.todo.len();
        self.record_worked(out);
    }

    /// A record has had its processing time; its effects come next, or the next record of a batch
    /// that the sink takes as a whole.
    pub(super) fn record_worked(&mut self, out: &mut Vec<AppEffect>) {
        if self.takes_batches() && self.worked < self.todo.len() {
            out.push(AppEffect::Wake(self.spec.processing_time));
        } else if self.spec.commit == CommitStrategy::TwoPhase {
            self.stage_next(out);
        } else {
            self.put_next(out);
        }
    }

    /// Whether its sink takes all records of a poll together.
    fn takes_batches(&self) -> bool {
        let two_phase = self.spec.commit == CommitStrategy::TwoPhase;
        let of_polls = self.is_connect() || self.sink.as_ref().is_some_and(Sink::takes_polls);
        two_phase || (of_polls && self.sink.is_some())
    }

    /// Gives records that have been worked on to the sink, until it waits or none is left.
    pub(super) fn put_next(&mut self, out: &mut Vec<AppEffect>) {
        loop {
            match self.put(out) {
                Progress::Done => {
                    if !self.batch_done(out) {
                        return;
                    }
                }
                progress => {
                    self.doing = Doing::Asking;
                    return self.sink_progressed(progress, out);
                }
            }
        }
    }

    fn put(&mut self, out: &mut Vec<AppEffect>) -> Progress {
        self.put = if self.takes_batches() { self.todo.len() } else { 1 };
        if self.sink.is_none() {
            return Progress::Done;
        }
        let again = match self.spec.commit {
            CommitStrategy::Connect { .. } => Again::Batch,
            CommitStrategy::InSink => Again::FromStored,
            _ => Again::Part,
        };
        let batch = self.todo.iter().take(self.put).map(|it| self.delivery(it)).collect();
        self.with_sink(out, |sink, turn| sink.put(batch, again, turn))
    }

    pub(super) fn delivery(&self, polled: &PolledRecord) -> Delivery {
        Delivery { polled: *polled, token: self.token(polled.partition) }
    }

    pub(super) fn token(&self, partition: TopicPartition) -> i64 {
        let token = self.tokens.iter().find(|(at, _)| *at == partition);
        token.map_or(-1, |(_, token)| *token)
    }

    /// The effects of what the sink was given are there. Whether the next record can follow at once.
    pub(super) fn batch_done(&mut self, out: &mut Vec<AppEffect>) -> bool {
        for _ in 0..self.put {
            self.finish_one(out);
        }
        self.worked = self.worked.saturating_sub(self.put);
        if self.spec.commit == CommitStrategy::PerRecord {
            self.commit_sync(Then::Poll, out);
        } else if self.todo.is_empty() {
            self.all_processed(out);
        } else if self.worked == 0 {
            self.doing = Doing::Processing;
            out.push(AppEffect::Wake(self.spec.processing_time));
        } else {
            return true;
        }
        false
    }

    /// Records the outcome of the next record; false when there is none.
    pub(super) fn finish_one(&mut self, out: &mut Vec<AppEffect>) -> bool {
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
                | CommitStrategy::Connect { .. }
        )
    }

    pub(super) fn next_record_or_poll(&mut self, out: &mut Vec<AppEffect>) {
        if self.todo.is_empty() { self.poll_or_leave(out) } else { self.process(out) }
    }

    pub(super) fn all_processed(&mut self, out: &mut Vec<AppEffect>) {
        match self.spec.commit {
            CommitStrategy::AfterProcessing | CommitStrategy::PerRecord => {
                self.commit_sync(Then::Poll, out);
            }
            CommitStrategy::AsyncAfterProcessing => {
                self.commit_async(out);
                self.poll_or_leave(out);
            }
            _ => self.poll_or_leave(out),
        }
    }

    // ---- the worker beside the thread that polls ----

    pub(super) fn start_worker(&mut self, out: &mut Vec<AppEffect>) {
        if self.worker == Worker::Idle && !self.todo.is_empty() {
            self.worker = Worker::Processing;
            out.push(AppEffect::Wake(self.spec.processing_time));
        }
    }

    /// Its record has had its processing time.
    pub(super) fn worker_worked(&mut self, out: &mut Vec<AppEffect>) {
        self.worker = Worker::Idle;
        let Some(record) = self.todo.front() else { return };
        let batch = vec![self.delivery(record)];
        let progress = self.with_sink(out, |sink, turn| sink.put(batch, Again::Part, turn));
        match progress {
            Progress::Done => self.worker_done(out),
            progress => {
                self.worker = Worker::Asking;
                self.sink_progressed(progress, out);
            }
        }
    }

    pub(super) fn worker_done(&mut self, out: &mut Vec<AppEffect>) {
        self.worker = Worker::Idle;
        self.finish_one(out);
        self.start_worker(out);
    }
}
