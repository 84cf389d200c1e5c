//! What a consumer application does when partitions come and go.
//!
//! With offsets in its sink it seeks to what the sink stores before it reads a partition, as the
//! documentation of `KafkaConsumer` says ("Storing Offsets Outside Kafka"); where nothing is stored,
//! the group has no offset either and the reset policy decides. With two phases it ends what earlier
//! owners of its partitions left prepared.

use oncesim_external::{Request, Response};
use oncesim_kafka::consumer::{ConsumerCall, RebalanceCallback};
use oncesim_spec::CommitStrategy;
use oncesim_types::{ErrorCode, GenerationId, Offset, TopicPartition};

use super::super::AppEffect;
use super::super::sink::{Sink, first_integer};
use super::{ConsumerApp, Doing};

/// What it waits for before it reads new partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakingOver {
    /// The offsets that its sink stores.
    Stored,
    /// The offsets of its group.
    Committed,
    /// What its sink has prepared.
    Pending,
    /// Its sink ends that.
    Finishing,
    /// The offsets that its sink stores, after a commit whose outcome is unknown.
    Rewinding,
}

impl ConsumerApp {
    /// A rebalance callback, inside `poll()` or `close()`.
    pub(crate) fn callback(
        &mut self,
        now: oncesim_types::Instant,
        callback: &RebalanceCallback,
        out: &mut Vec<AppEffect>,
    ) {
        self.now = now;
        match callback {
            RebalanceCallback::Assigned { generation, added, .. } => {
                self.assigned(*generation, added, out);
            }
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

    fn assigned(
        &mut self,
        generation: GenerationId,
        added: &[TopicPartition],
        out: &mut Vec<AppEffect>,
    ) {
        if self.sink.is_some() {
            self.tokens.retain(|(partition, _)| !added.contains(partition));
            let token = i64::from(generation.0);
            self.tokens.extend(added.iter().map(|partition| (*partition, token)));
        }
        let waits = !added.is_empty() && self.doing != Doing::Closing;
        match self.spec.commit {
            CommitStrategy::InSink if waits => {
                self.committed = added.iter().map(|partition| (*partition, None)).collect();
                let Some(sink) = &self.sink else { return self.return_from_callback(out) };
                let reads = added.iter().map(|it| sink.offset_read(*it, self.token(*it)));
                let requests = reads.flatten().collect();
                self.take_over(TakingOver::Stored, requests, out);
            }
            CommitStrategy::TwoPhase if waits => self.ask_committed(added.to_vec(), out),
            _ => self.return_from_callback(out),
        }
    }

    fn ask_committed(&mut self, partitions: Vec<TopicPartition>, out: &mut Vec<AppEffect>) {
        self.committed = partitions.iter().map(|partition| (*partition, None)).collect();
        self.doing = Doing::TakingOver(TakingOver::Committed);
        self.awaited = self.call(ConsumerCall::Committed(partitions), out);
    }

    /// The group's offsets are known, or not: then it asks again.
    pub(super) fn take_over_from(
        &mut self,
        found: Result<Vec<(TopicPartition, Option<Offset>)>, ErrorCode>,
        out: &mut Vec<AppEffect>,
    ) {
        let Ok(found) = found else {
            let partitions = self.committed.iter().map(|(partition, _)| *partition).collect();
            return self.ask_committed(partitions, out);
        };
        self.committed = found;
        let pending = self.committed.iter().map(|(partition, _)| Request::Pending {
            partition: *partition,
            token: self.token(*partition),
        });
        let pending = pending.collect();
        self.take_over(TakingOver::Pending, pending, out);
    }

    fn take_over(&mut self, step: TakingOver, asks: Vec<Request>, out: &mut Vec<AppEffect>) {
        self.doing = Doing::TakingOver(step);
        let progress = self.with_sink(out, |sink, turn| sink.ask(asks, turn));
        self.sink_progressed(progress, out);
    }

    /// The sink has answered.
    pub(super) fn taken_over(&mut self, step: TakingOver, out: &mut Vec<AppEffect>) {
        let responses = self.sink.as_mut().map(Sink::responses).unwrap_or_default();
        let partitions = std::mem::take(&mut self.committed);
        match step {
            TakingOver::Stored => {
                for ((partition, _), response) in partitions.iter().zip(&responses) {
                    if let Some(next) = stored_offset(response) {
                        self.call(ConsumerCall::Seek(*partition, next), out);
                    }
                }
                self.return_from_callback(out);
            }
            TakingOver::Rewinding => {
                for ((partition, _), response) in partitions.iter().zip(&responses) {
                    self.go_back(*partition, stored_offset(response), out);
                }
                self.todo.clear();
                self.worked = 0;
                self.poll_or_leave(out);
            }
            TakingOver::Pending => {
                let finishes = partitions.iter().zip(responses).flat_map(|(at, response)| {
                    let Response::Pending(pending) = response else { return Vec::new() };
                    let finish =
                        |it: oncesim_external::PendingTransaction| Sink::decide(it.name, at.1);
                    pending.into_iter().map(finish).collect()
                });
                let finishes = finishes.collect();
                self.take_over(TakingOver::Finishing, finishes, out);
            }
            TakingOver::Committed | TakingOver::Finishing => self.return_from_callback(out),
        }
    }

    /// Nobody knows whether a commit of the sink took place: as after a restart, the stored offsets
    /// tell from where to go on.
    pub(super) fn rewind(&mut self, out: &mut Vec<AppEffect>) {
        let mut partitions: Vec<_> = self.todo.iter().map(|it| it.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        self.committed = partitions.iter().map(|partition| (*partition, None)).collect();
        let Some(sink) = &self.sink else { return };
        let reads = partitions.iter().map(|it| sink.offset_read(*it, self.token(*it)));
        let reads = reads.flatten().collect();
        self.take_over(TakingOver::Rewinding, reads, out);
    }

    /// The records before `stored` were done; reading goes on there.
    fn go_back(
        &mut self,
        partition: TopicPartition,
        stored: Option<Offset>,
        out: &mut Vec<AppEffect>,
    ) {
        let records = self.todo.iter().filter(|it| it.partition == partition);
        let Some(first) = records.clone().next() else { return };
        let to = stored.unwrap_or(first.offset);
        for polled in records.filter(|it| it.offset < to) {
            if let Some(sink) = &self.sink {
                sink.effects_done(&self.delivery(polled), true, out);
            }
            let (offset, record) = (polled.offset, polled.record.id);
            out.push(AppEffect::Processed { partition, offset, record });
        }
        self.call(ConsumerCall::Seek(partition, to), out);
    }

    pub(super) fn return_from_callback(&mut self, out: &mut Vec<AppEffect>) {
        if matches!(self.doing, Doing::InCallback | Doing::TakingOver(_)) {
            self.doing = Doing::Polling;
        }
        out.push(AppEffect::CallbackReturned);
        self.call(ConsumerCall::CallbackDone, out);
    }
}

/// What a query for an offset found: `NULL` and no row say that nothing is stored.
fn stored_offset(response: &Response) -> Option<Offset> {
    let Response::Executed { rows, .. } = response else { return None };
    first_integer(rows).map(Offset)
}
