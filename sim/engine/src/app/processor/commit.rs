//! How a processor commits, and what it does when that fails.

use oncesim_kafka::consumer::ConsumerCall;
use oncesim_kafka::message::GroupMetadata;
use oncesim_kafka::producer::{ErrorClass, ProducerCall, TransactionError};
use oncesim_spec::{Mistake, ProcessorCommit};
use oncesim_types::{ErrorCode, Instant, Offset, TopicPartition, TransactionResult, Transform};

use super::super::{AppEffect, set_consumed};
use super::{After, Doing, ProcessorApp};

impl ProcessorApp {
    /// Commits what is processed.
    pub(super) fn commit(&mut self, now: Instant, after: After, out: &mut Vec<AppEffect>) {
        match self.spec.commit {
            // One transaction after the other (`TaskManager.commitAll`).
            ProcessorCommit::Transaction => {
                match self.sessions.iter().position(|session| session.in_transaction) {
                    Some(session) => self.commit_transaction(session, after, out),
                    None => self.proceed(now, after, out),
                }
            }
            ProcessorCommit::AfterProcessing if self.has_uncommitted() => {
                self.flush(after, out);
            }
            _ => self.proceed(now, after, out),
        }
    }

    /// Otherwise it has committed before, or its consumer does on its own.
    pub(super) fn commits_what_it_processed(&self) -> bool {
        matches!(self.spec.commit, ProcessorCommit::Transaction | ProcessorCommit::AfterProcessing)
    }

    fn committed(&mut self, now: Instant) {
        let session = self.session_mut();
        session.in_transaction = false;
        session.uncommitted.clear();
        self.since_commit = 0;
        self.last_commit = now;
    }

    // ---- without transactions ----

    fn flush(&mut self, after: After, out: &mut Vec<AppEffect>) {
        self.await_producer(Doing::Flushing(after), ProducerCall::Flush, out);
    }

    pub(super) fn flushed(&mut self, now: Instant, after: After, out: &mut Vec<AppEffect>) {
        if self.is_transactional() {
            // A send that failed makes the next call throw.
            self.send_offsets(after, out);
        } else if std::mem::take(&mut self.send_failed) {
            // Outputs are missing: what they were made from must come again.
            self.close_from(after, out);
        } else if !self.has_uncommitted() {
            self.proceed(now, after, out);
        } else {
            let offsets = self.session().uncommitted.clone();
            let call = ConsumerCall::CommitSync(Some(offsets));
            self.await_consumer(Doing::CommittingSync(after), call, out);
        }
    }

    /// At most once: commits what `poll()` has returned before it is processed.
    pub(super) fn commit_before(&mut self, out: &mut Vec<AppEffect>) {
        let mut offsets = Vec::new();
        for record in &self.todo {
            set_consumed(&mut offsets, record);
        }
        let call = ConsumerCall::CommitSync(Some(offsets));
        self.await_consumer(Doing::CommittingSync(After::NextRecord), call, out);
    }

    pub(super) fn committed_sync(
        &mut self,
        now: Instant,
        after: After,
        committed: bool,
        out: &mut Vec<AppEffect>,
    ) {
        if self.spec.commit == ProcessorCommit::BeforeProcessing {
            if !committed {
                // Nobody knows who owns these records now: at-most-once drops them.
                self.todo.clear();
            }
            return self.go_on(now, out);
        }
        if committed {
            self.committed(now);
        } else {
            // The next round commits again, unless a rebalance takes the partitions away.
            self.since_commit = 0;
            self.last_commit = now;
        }
        self.proceed(now, after, out);
    }

    // ---- transactions ----

    pub(super) fn commit_transaction(
        &mut self,
        session: usize,
        after: After,
        out: &mut Vec<AppEffect>,
    ) {
        self.current = session;
        // Streams flushes first (`RecordCollectorImpl.flush`): a later owner of the partition that
        // waits for these offsets then finds all of the changelog.
        if matches!(self.spec.transform, Transform::Aggregate { .. }) {
            self.flush(after, out);
        } else {
            self.send_offsets(after, out);
        }
    }

    fn send_offsets(&mut self, after: After, out: &mut Vec<AppEffect>) {
        // What fences a zombie without group metadata is the id of its partition.
        let unnamed = self.session().partition.is_some() || self.makes(Mistake::NoGroupMetadata);
        let consumer = if unnamed { GroupMetadata::NONE } else { self.member };
        let call = ProducerCall::SendOffsets {
            group: self.spec.group,
            offsets: self.session().uncommitted.clone(),
            consumer,
        };
        self.await_producer(Doing::SendingOffsets(after), call, out);
    }

    pub(super) fn end_transaction(
        &mut self,
        how: TransactionResult,
        after: After,
        out: &mut Vec<AppEffect>,
    ) {
        self.await_producer(Doing::Ending(how, after), ProducerCall::EndTransaction(how), out);
    }

    pub(super) fn ended(
        &mut self,
        now: Instant,
        how: TransactionResult,
        after: After,
        out: &mut Vec<AppEffect>,
    ) {
        match how {
            TransactionResult::Commit => {
                self.committed(now);
                match after {
                    After::NextRecord => self.commit(now, after, out),
                    _ => self.proceed(now, after, out),
                }
            }
            TransactionResult::Abort if self.makes(Mistake::NoSeekAfterAbort) => {
                self.session_mut().in_transaction = false;
                self.since_commit = 0;
                self.last_commit = now;
                self.proceed(now, after, out);
            }
            TransactionResult::Abort => {
                self.committed(now);
                self.rewind(now, after, out);
            }
        }
    }

    /// A call of the transaction API threw.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        error: TransactionError,
        after: After,
        out: &mut Vec<AppEffect>,
    ) {
        let aborting = matches!(self.doing, Doing::Ending(TransactionResult::Abort, _));
        match (error.class, self.doing) {
            (ErrorClass::Timeout, Doing::Ending(TransactionResult::Commit, _))
                if self.makes(Mistake::AbortAfterCommitTimeout) =>
            {
                self.end_transaction(TransactionResult::Abort, after, out);
            }
            // The only legal next call is the same one again.
            (ErrorClass::Timeout, Doing::Ending(how, _)) => self.end_transaction(how, after, out),
            (ErrorClass::Timeout, Doing::SendingOffsets(_)) => self.send_offsets(after, out),
            (ErrorClass::Abortable, _) if !aborting => {
                self.end_transaction(TransactionResult::Abort, after, out);
            }
            _ => self.fatal(now, after, out),
        }
    }

    fn fatal(&mut self, now: Instant, after: After, out: &mut Vec<AppEffect>) {
        if !self.makes(Mistake::ContinueAfterFatal) {
            return self.close_from(after, out);
        }
        let session = self.session_mut();
        session.in_transaction = false;
        let actor = session.actor;
        self.since_commit = 0;
        self.last_commit = now;
        out.push(AppEffect::NewProducer(actor));
        self.initialize(Some(after), out);
    }

    // ---- back to what is committed ----

    /// Goes back to the committed offsets: an abort does not do that.
    fn rewind(&mut self, now: Instant, after: After, out: &mut Vec<AppEffect>) {
        let session = &self.sessions[self.current];
        self.todo.retain(|record| !session.serves(record.partition));
        self.worked = false;
        let kept = self.owned.iter().copied();
        let kept: Vec<_> =
            kept.filter(|owned| session.serves(*owned) && !self.taken.contains(owned)).collect();
        if kept.is_empty() {
            return self.proceed(now, after, out);
        }
        self.await_consumer(Doing::Rewinding(after), ConsumerCall::Committed(kept), out);
    }

    pub(super) fn rewind_to(
        &mut self,
        now: Instant,
        found: Result<Vec<(TopicPartition, Option<Offset>)>, ErrorCode>,
        after: After,
        out: &mut Vec<AppEffect>,
    ) {
        let Ok(found) = found else { return self.rewind(now, after, out) };
        let mut kept = Vec::new();
        for (partition, committed) in found {
            kept.push(partition);
            // Nothing committed yet: back to where reading began.
            let first = || self.first.iter().find(|(at, _)| *at == partition).map(|(_, it)| *it);
            if let Some(offset) = committed.or_else(first) {
                self.consumer_call(ConsumerCall::Seek(partition, offset), out);
            }
        }
        self.stores.forget(&kept);
        self.restore(now, &kept, after, out);
    }
}
