//! A producer application that writes in transactions: so many of its items in each.
//!
//! Mirrors the loop that the documentation of `KafkaProducer` shows, and what KIP-1050 tells an
//! application to do after each class of error.
//!
//! What it remembers across a crash: which items are settled, and how far the transaction under way
//! had come. One that was not being committed is aborted by `initTransactions()`, and its items may
//! be sent again as new records. Whether a commit that never returned took place, Kafka tells
//! nobody: an application that sends those records again sends the same ones, and may double them.
//!
//! Simplification: `send()` does not block the thread; the producer lets calls wait in its own queue.

use oncesim_kafka::log::batch::Record;
use oncesim_kafka::machine::Call;
use oncesim_kafka::producer::{ErrorClass, ProducerCall, ProducerCompletion, TransactionError};
use oncesim_spec::{Mistake, ProducerSpec, RestartStrategy, TransactionsSpec};
use oncesim_types::{
    ActorId, CallId, Duration, Instant, RecordId, TopicId, TransactionNumber, TransactionResult,
};

use super::AppEffect;
use crate::draw::{Draws, Purpose};

/// Amounts of transfers are from 1 to this.
const AMOUNT_MAX: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Initializing,
    Beginning,
    Sending,
    Holding,
    Ending(TransactionResult),
    Closing,
    Stopped,
}

/// What comes when the client is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Afterwards {
    Finished,
    Restart,
}

/// An item of the workload: one record, or the two of a transfer.
#[derive(Debug, Clone, Copy)]
struct Item {
    key: Option<u32>,
    amount: i64,
    /// It is a tombstone, unless it is a transfer.
    deletes: bool,
}

/// The application of one producer instance. Its checkpoint survives crashes.
#[derive(Debug)]
pub(crate) struct TransactionalApp {
    actor: ActorId,
    spec: ProducerSpec,
    transactions: TransactionsSpec,
    workload: Draws,
    decisions: Draws,
    deletions: Draws,
    items: Vec<Item>,
    doing: Doing,
    afterwards: Afterwards,
    calls: u64,
    awaited: CallId,
    incarnation: u32,
    begun: u32,
    /// Items before this one are settled.
    settled: u64,
    /// Items of the transaction under way that were given to `send()`.
    sent: u64,
    /// Records made so far in the run, and the first of the transaction under way.
    records: u64,
    first_record: u64,
    /// Records that this attempt has given to `send()`.
    made: u64,
    /// How often the records of the transaction under way were sent.
    attempt: u32,
    /// The commit of the transaction under way was asked for, and may take place.
    committing: bool,
    /// How the application means to end the transaction under way, all being well.
    decision: TransactionResult,
    /// The transaction under way failed: its items come again.
    redo: bool,
    finished: bool,
}

impl TransactionalApp {
    pub(crate) fn new(
        actor: ActorId,
        spec: ProducerSpec,
        transactions: TransactionsSpec,
        seed: u64,
    ) -> Self {
        TransactionalApp {
            actor,
            transactions,
            workload: Draws::new(seed, Purpose::Workload, actor.0, 0),
            decisions: Draws::new(seed, Purpose::Workload, actor.0, 1),
            deletions: Draws::new(seed, Purpose::Workload, actor.0, 2),
            items: Vec::new(),
            doing: Doing::Stopped,
            afterwards: Afterwards::Finished,
            calls: 0,
            awaited: CallId(0),
            incarnation: 0,
            begun: 0,
            settled: 0,
            sent: 0,
            records: 0,
            first_record: 0,
            made: 0,
            attempt: 1,
            decision: TransactionResult::Commit,
            committing: false,
            redo: false,
            finished: false,
            spec,
        }
    }

    pub(crate) fn spec(&self) -> &ProducerSpec {
        &self.spec
    }

    pub(crate) fn transactions(&self) -> &TransactionsSpec {
        &self.transactions
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Items that are neither committed nor given up.
    pub(crate) fn pending(&self) -> u64 {
        self.spec.records - self.settled
    }

    /// The process starts (again).
    pub(crate) fn start(&mut self, incarnation: u32, out: &mut Vec<AppEffect>) {
        self.incarnation = incarnation;
        self.begun = 0;
        match self.spec.restart {
            RestartStrategy::Continue => self.settle(),
            RestartStrategy::ResendUnacknowledged if self.committing => self.send_again(),
            RestartStrategy::ResendUnacknowledged => self.start_over(),
        }
        self.await_call(Doing::Initializing, ProducerCall::InitTransactions, out);
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.transactions.mistakes.contains(&mistake)
    }

    /// The items of the transaction under way need nothing more.
    fn settle(&mut self) {
        self.settled += self.sent;
        self.start_over();
    }

    /// They come again, as new records.
    fn start_over(&mut self) {
        self.sent = 0;
        self.made = 0;
        self.attempt = 1;
        self.first_record = self.records;
        self.committing = false;
        self.redo = false;
    }

    /// They come again, as the same records.
    fn send_again(&mut self) {
        self.sent = 0;
        self.made = 0;
        self.attempt += 1;
        self.committing = false;
        self.redo = false;
    }

    fn await_call(&mut self, doing: Doing, body: ProducerCall, out: &mut Vec<AppEffect>) {
        self.doing = doing;
        self.calls += 1;
        // Ids of `send()`s have their attempt, from 1, in the low half.
        self.awaited = CallId(self.calls << 16);
        let body = Call::Producer(body);
        out.push(AppEffect::Call { call: self.awaited, attempt: 0, body });
    }

    /// A call ended.
    pub(crate) fn completed(
        &mut self,
        now: Instant,
        call: CallId,
        end: &ProducerCompletion,
        out: &mut Vec<AppEffect>,
    ) {
        if call != self.awaited {
            // A `send()`: one that failed makes the commit throw.
            return;
        }
        match (self.doing, end) {
            (Doing::Closing, ProducerCompletion::Closed) => {
                self.doing = Doing::Stopped;
                self.finished = self.afterwards == Afterwards::Finished;
                out.push(match self.afterwards {
                    Afterwards::Finished => AppEffect::Finished,
                    Afterwards::Restart => AppEffect::Restart,
                });
            }
            (_, ProducerCompletion::Transaction(Err(error))) => self.failed(*error, out),
            (Doing::Initializing, ProducerCompletion::Transaction(Ok(()))) => {
                self.next_transaction(out);
            }
            (Doing::Beginning, ProducerCompletion::Transaction(Ok(()))) => {
                self.doing = Doing::Sending;
                self.wake(now, out);
            }
            (Doing::Ending(result), ProducerCompletion::Transaction(Ok(()))) => {
                self.ended(result, out);
            }
            _ => {}
        }
    }

    fn next_transaction(&mut self, out: &mut Vec<AppEffect>) {
        if self.settled == self.spec.records {
            return self.close(Afterwards::Finished, out);
        }
        self.begun += 1;
        // One draw per transaction: what became of others does not change it.
        self.decision = if self.decisions.chance(self.transactions.abort) {
            TransactionResult::Abort
        } else {
            TransactionResult::Commit
        };
        let number = u64::from(self.incarnation) << 32 | u64::from(self.begun);
        let number = TransactionNumber(number);
        self.await_call(Doing::Beginning, ProducerCall::BeginTransaction { number }, out);
    }

    /// Time to send, or to end the transaction.
    pub(crate) fn wake(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        match self.doing {
            Doing::Sending => {}
            Doing::Holding => return self.end(self.decision, out),
            _ => return,
        }
        let size = self.transactions.size.min(self.spec.records - self.settled);
        while self.sent < size {
            self.send(now, out);
            if self.spec.interval > Duration::ZERO {
                out.push(AppEffect::Wake(self.spec.interval));
                return;
            }
        }
        self.doing = Doing::Holding;
        if self.transactions.hold > Duration::ZERO {
            out.push(AppEffect::Wake(self.transactions.hold));
        } else {
            self.end(self.decision, out);
        }
    }

    fn end(&mut self, result: TransactionResult, out: &mut Vec<AppEffect>) {
        self.committing |= result == TransactionResult::Commit;
        self.await_call(Doing::Ending(result), ProducerCall::EndTransaction(result), out);
    }

    fn ended(&mut self, result: TransactionResult, out: &mut Vec<AppEffect>) {
        let size = self.transactions.size.min(self.spec.records - self.settled);
        let complete = self.sent == size && !self.redo;
        match result {
            TransactionResult::Commit => self.settle(),
            TransactionResult::Abort if complete => self.settle(),
            TransactionResult::Abort => self.start_over(),
        }
        self.next_transaction(out);
    }

    // ---- errors ----

    /// A call of the transaction API threw.
    fn failed(&mut self, error: TransactionError, out: &mut Vec<AppEffect>) {
        let mistaken = self.makes(Mistake::AbortAfterCommitTimeout);
        match (error.class, self.doing) {
            (ErrorClass::Timeout, Doing::Initializing) => {
                self.await_call(Doing::Initializing, ProducerCall::InitTransactions, out);
            }
            (ErrorClass::Timeout, Doing::Ending(TransactionResult::Commit)) if mistaken => {
                self.abort(out);
            }
            // The only legal next call is the same one again.
            (ErrorClass::Timeout, Doing::Ending(result)) => self.end(result, out),
            (
                ErrorClass::Abortable,
                Doing::Ending(TransactionResult::Commit) | Doing::Beginning,
            ) => {
                self.abort(out);
            }
            _ => {
                self.committing &= error.maybe_done || !is_commit(self.doing);
                self.fatal(out);
            }
        }
    }

    /// Aborts because something went wrong: the items come again.
    fn abort(&mut self, out: &mut Vec<AppEffect>) {
        self.redo = true;
        self.committing = false;
        self.end(TransactionResult::Abort, out);
    }

    fn fatal(&mut self, out: &mut Vec<AppEffect>) {
        if !self.makes(Mistake::ContinueAfterFatal) {
            return self.close(Afterwards::Restart, out);
        }
        // As if nothing had happened to what was sent.
        self.settle();
        out.push(AppEffect::NewProducer(self.actor));
        self.await_call(Doing::Initializing, ProducerCall::InitTransactions, out);
    }

    fn close(&mut self, afterwards: Afterwards, out: &mut Vec<AppEffect>) {
        self.afterwards = afterwards;
        self.await_call(Doing::Closing, ProducerCall::Close, out);
    }

    // ---- items ----

    fn item(&mut self, index: u64) -> Item {
        let index = usize::try_from(index).expect("a workload fits in memory");
        while self.items.len() <= index {
            let key = (self.spec.keys > 0).then(|| {
                let key = self.workload.below_inclusive(u64::from(self.spec.keys) - 1);
                u32::try_from(key).expect("keys are numbered in 32 bits")
            });
            let amount = self.workload.between(1, AMOUNT_MAX).cast_signed();
            let ratio = self.spec.tombstones;
            let deletes = !ratio.is_zero() && self.deletions.chance(ratio);
            self.items.push(Item { key, amount, deletes });
        }
        self.items[index]
    }

    /// Gives the next item to `send()`.
    fn send(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        let index = self.settled + self.sent;
        let item = self.item(index);
        self.sent += 1;
        let to = self.spec.to;
        match self.transactions.transfer_to {
            None => {
                let record = self.next_record();
                let value = (!item.deletes).then_some(index.cast_signed());
                self.send_record(now, to, (record, item.key, value), out);
            }
            Some(other) => {
                for (to, amount) in [(to, -item.amount), (other, item.amount)] {
                    let record = self.next_record();
                    if self.attempt == 1 {
                        out.push(AppEffect::Transfer { record, amount });
                    }
                    self.send_record(now, to, (record, item.key, Some(amount)), out);
                }
            }
        }
    }

    fn next_record(&mut self) -> RecordId {
        let ordinal = self.first_record + self.made;
        self.made += 1;
        self.records = self.records.max(ordinal + 1);
        RecordId::new(self.actor, ordinal)
    }

    fn send_record(
        &self,
        now: Instant,
        topic: TopicId,
        (id, key, value): (RecordId, Option<u32>, Option<i64>),
        out: &mut Vec<AppEffect>,
    ) {
        let size = self.spec.record_size;
        let record = Record { id, key, value, size, timestamp: now };
        let body = Call::Producer(ProducerCall::Send { topic, partition: None, record });
        let call = CallId(id.ordinal() << 16 | u64::from(self.attempt));
        out.push(AppEffect::Call { call, attempt: self.attempt, body });
    }
}

fn is_commit(doing: Doing) -> bool {
    doing == Doing::Ending(TransactionResult::Commit)
}
