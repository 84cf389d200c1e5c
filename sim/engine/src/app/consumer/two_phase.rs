//! Effects in two phases: prepare, commit the offset, finish.
//!
//! The group's committed offset is the decision, as the completed checkpoint is in Flink
//! (`TwoPhaseCommitSinkFunction`): nothing is prepared before it that is not also in the sink, and
//! what is prepared beyond it is dropped by whoever takes the partition over.
//!
//! A commit whose outcome is unknown is made again, for it changes nothing when it was executed;
//! once the group refuses this member, its offset says whether an earlier attempt came through. It
//! cannot say so wrongly: an owner that came later has ended what was prepared before it committed.
//!
//! Simplification: partitions of a poll are prepared and decided one after the other.

use oncesim_external::{Request, Response, StagedName};
use oncesim_kafka::consumer::{ConsumerCall, ConsumerCompletion};
use oncesim_types::{ErrorCode, Offset, TopicPartition};

use super::super::AppEffect;
use super::super::sink::{Delivery, Sink};
use super::{ConsumerApp, Doing};

/// How far the records of one partition have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// They are being prepared.
    Preparing(StagedName),
    /// Their offset is being committed, maybe for the second time: an earlier attempt ended without
    /// an answer.
    Deciding(StagedName, bool),
    /// The group is asked what it has committed.
    Learning(StagedName),
    /// They are being committed in the sink, or dropped.
    Finishing(StagedName, bool),
}

impl ConsumerApp {
    /// Prepares the records of the first partition at hand.
    pub(super) fn stage_next(&mut self, out: &mut Vec<AppEffect>) {
        let Some(first) = self.todo.front() else { return self.all_processed(out) };
        let batch = self.staged_batch(first.partition);
        let Some((name, request)) = self.sink.as_mut().and_then(|sink| sink.prepare(&batch)) else {
            return self.poll_or_leave(out);
        };
        self.stage(Stage::Preparing(name), request, out);
    }

    fn staged_batch(&self, partition: TopicPartition) -> Vec<Delivery> {
        let records = self.todo.iter().filter(|it| it.partition == partition);
        records.map(|it| self.delivery(it)).collect()
    }

    fn stage(&mut self, stage: Stage, request: Request, out: &mut Vec<AppEffect>) {
        self.doing = Doing::Staging(stage);
        let progress = self.with_sink(out, |sink, turn| sink.ask(vec![request], turn));
        self.sink_progressed(progress, out);
    }

    /// The sink has answered.
    pub(super) fn staged(&mut self, stage: Stage, out: &mut Vec<AppEffect>) {
        match stage {
            Stage::Preparing(name) => self.decide(name, false, out),
            Stage::Finishing(name, committed) => self.finished(name, committed, out),
            Stage::Deciding(..) | Stage::Learning(_) => {}
        }
    }

    fn decide(&mut self, name: StagedName, again: bool, out: &mut Vec<AppEffect>) {
        let last = self.todo.iter().rfind(|it| it.partition == name.partition);
        let Some(last) = last else { return };
        let offsets = vec![(name.partition, name.next, last.leader_epoch)];
        self.doing = Doing::Staging(Stage::Deciding(name, again));
        self.awaited = self.call(ConsumerCall::CommitSync(Some(offsets)), out);
    }

    /// The group has answered.
    pub(super) fn decision(
        &mut self,
        stage: Stage,
        end: &ConsumerCompletion,
        out: &mut Vec<AppEffect>,
    ) {
        match (stage, end) {
            (
                Stage::Deciding(name, again),
                ConsumerCompletion::Committed { error, maybe_committed, .. },
            ) => match error {
                ErrorCode::None => self.finish(name, true, out),
                ErrorCode::RequestTimedOut if *maybe_committed => self.decide(name, true, out),
                // A refusal says nothing of the attempt before it.
                _ if *maybe_committed || again => self.learn(name, out),
                _ => self.finish(name, false, out),
            },
            (Stage::Learning(name), ConsumerCompletion::Offsets(Ok(found))) => {
                let offset = found.iter().find(|(at, _)| *at == name.partition);
                let offset: Option<Offset> = offset.and_then(|(_, offset)| *offset);
                self.finish(name, offset.is_some_and(|offset| name.next <= offset), out);
            }
            (Stage::Learning(name), ConsumerCompletion::Offsets(Err(_))) => self.learn(name, out),
            _ => {}
        }
    }

    fn learn(&mut self, name: StagedName, out: &mut Vec<AppEffect>) {
        self.doing = Doing::Staging(Stage::Learning(name));
        self.awaited = self.call(ConsumerCall::Committed(vec![name.partition]), out);
    }

    fn finish(&mut self, name: StagedName, commit: bool, out: &mut Vec<AppEffect>) {
        self.stage(Stage::Finishing(name, commit), Request::Finish { name, commit }, out);
    }

    fn finished(&mut self, name: StagedName, committed: bool, out: &mut Vec<AppEffect>) {
        let responses = self.sink.as_mut().map(Sink::responses).unwrap_or_default();
        if committed {
            let forgotten = matches!(responses[..], [Response::Refused(_)]);
            let batch = self.staged_batch(name.partition);
            if let Some(sink) = &self.sink {
                sink.staged_done(&batch, forgotten, out);
            }
            for Delivery { polled, .. } in batch {
                let (partition, offset, record) =
                    (polled.partition, polled.offset, polled.record.id);
                out.push(AppEffect::Processed { partition, offset, record });
            }
        } else {
            // If the partition is still its own, it reads the records again.
            self.call(ConsumerCall::Seek(name.partition, name.first), out);
        }
        self.todo.retain(|it| it.partition != name.partition);
        self.worked = self.todo.len();
        self.stage_next(out);
    }
}
