//! The trace for people: one line per message and event, kept only when it is asked for.

use oncesim_history::History;
use oncesim_kafka::log::batch::{LogBatch, Records};
use oncesim_kafka::message::{Request, Response, TxnMarker};
use oncesim_kafka::note::Note;
use oncesim_types::{
    ActorId, ErrorCode, Instant, Offset, ProducerId, TopicPartition, TransactionalId,
};

use super::trace_external::answer;
use super::{World, about};
use crate::network::{Body, Message};
use oncesim_history::trace::{About, LineKind, StepId, TraceLine};

impl World {
    /// Writes a line about one actor.
    pub(super) fn trace_note(&mut self, actor: ActorId, kind: LineKind, text: &str) {
        self.trace_text(actor, None, kind, text);
    }

    /// Writes a line that is not about a message.
    pub(super) fn trace_text(
        &mut self,
        actor: ActorId,
        peer: Option<ActorId>,
        kind: LineKind,
        text: &str,
    ) {
        if self.tracing.is_some() {
            self.write_line((actor, peer), kind, None, About::default(), text.to_owned());
        }
    }

    fn write_line(
        &mut self,
        (actor, peer): (ActorId, Option<ActorId>),
        kind: LineKind,
        sent: Option<(Instant, StepId)>,
        about: About,
        text: String,
    ) {
        let event = u32::try_from(self.recorder.history.events.len().saturating_sub(1)).ok();
        let (time, step) = (self.now, self.steps);
        if let Some(tracing) = &mut self.tracing {
            let line = TraceLine { time, actor, peer, event, step, sent, kind, about, text };
            tracing.trace.lines.push(line);
        }
    }

    /// Writes a line about a message: at its arrival, or where it ended.
    #[inline]
    pub(super) fn trace_message(&mut self, message: &Message, kind: LineKind) {
        if self.tracing.is_some() {
            self.write_message(message, kind);
        }
    }

    fn write_message(&mut self, message: &Message, kind: LineKind) {
        let what = match &message.body {
            Body::Request(body) => {
                transaction_request(body, &self.recorder.history).unwrap_or_else(|| request(body))
            }
            Body::Response(body) => response(body),
            Body::Ask(body, operation) => self.ask_in_words(message.to, body, *operation),
            Body::Answer(body, operation) => answer(body, *operation),
        };
        let text = match kind {
            LineKind::Lost => format!("{what}  (lost with its connection)"),
            LineKind::Unheard => format!("{what}  (arrives at nobody)"),
            LineKind::Repeated => format!("{what}  (will arrive twice)"),
            _ => what,
        };
        let path = (message.from, Some(message.to));
        let about = self.tracing.as_mut().map(|it| it.about(message)).unwrap_or_default();
        self.write_line(path, kind, Some(message.sent), about, text);
    }

    /// Writes down what a machine noted, where people want to see it.
    pub(super) fn watch(&mut self, actor: ActorId, note: &Note) {
        if self.tracing.is_none() {
            return;
        }
        let name = |world: &World, partition| world.recorder.history.partition_name(partition);
        let text = match note {
            Note::Append { partition, batch, leader } if is_marker(batch) => format!(
                "{} the marker of {} at {} of {}",
                if *leader { "appends" } else { "copies" },
                batch.batch.producer_id,
                batch.base_offset,
                name(self, *partition),
            ),
            Note::Append { partition, batch, leader } => format!(
                "{} {}..{} at {} (epoch {})",
                if *leader { "appends" } else { "copies" },
                batch.base_offset,
                batch.last_offset(),
                name(self, *partition),
                batch.leader_epoch,
            ),
            Note::Truncate { partition, to } => {
                format!("truncates {} to {to}", name(self, *partition))
            }
            Note::HighWatermark { partition, high_watermark, .. } => {
                format!("high watermark of {} is {high_watermark}", name(self, *partition))
            }
            Note::BecameLeader { partition, leader_epoch, log_end } => format!(
                "leads {} with epoch {leader_epoch} from offset {log_end}",
                name(self, *partition)
            ),
            Note::PartitionChanged { partition, leader, leader_epoch, isr, .. } => format!(
                "{}: leader {} epoch {leader_epoch}, in sync {}",
                name(self, *partition),
                leader.map_or("none", |id| self.actor(id).name.as_str()),
                isr.iter().map(|id| self.actor(*id).name.as_str()).collect::<Vec<_>>().join(" "),
            ),
            Note::Generation { group, generation, assignment, .. } => format!(
                "group {} has generation {generation} with {} members",
                self.recorder.history.group_name(*group),
                assignment.len(),
            ),
            Note::Rebalance { group, reason } => {
                format!("group {} rebalances: {reason}", self.recorder.history.group_name(*group))
            }
            Note::MemberRemoved { group, member, expired } => format!(
                "group {} loses {member}{}",
                self.recorder.history.group_name(*group),
                if *expired { ": its session timed out" } else { "" },
            ),
            Note::Retry { partition, attempt, error } => {
                format!("retries {} (attempt {attempt}) after {error}", name(self, *partition))
            }
            Note::TransactionState { transactional_id, producer_epoch, from, to, .. } => format!(
                "{}: {} to {} (epoch {producer_epoch})",
                transactional_name(&self.recorder.history, *transactional_id),
                from.name(),
                to.name(),
            ),
            Note::TransactionTimedOut { transactional_id, .. } => format!(
                "the transaction of {} has timed out",
                transactional_name(&self.recorder.history, *transactional_id)
            ),
            Note::LastStableOffset { partition, last_stable_offset } => {
                format!("last stable offset of {} is {last_stable_offset}", name(self, *partition))
            }
            Note::MarkerRejected { partition, producer_id, error, .. } => {
                format!(
                    "refuses the marker of {producer_id} in {}: {error}",
                    name(self, *partition)
                )
            }
            Note::BrokerFenced { broker, fenced } => format!(
                "{} {}",
                if *fenced { "fences" } else { "unfences" },
                self.actor(*broker).name
            ),
            _ => return,
        };
        self.write_line((actor, None), LineKind::Note, None, about::of_note(note), text);
    }
}

fn is_marker(batch: &LogBatch) -> bool {
    matches!(batch.batch.records, Records::Control(_))
}

fn transactional_name(history: &History, id: TransactionalId) -> &str {
    history.transactional_ids.get(usize::from(id.0)).map_or("?", String::as_str)
}

/// Requests of transactions say which transactional id they are about.
fn transaction_request(body: &Request, history: &History) -> Option<String> {
    let name = body.api_key().name();
    let id = |id| transactional_name(history, id);
    let list = |partitions: &[TopicPartition]| {
        let names: Vec<String> = partitions.iter().map(|it| history.partition_name(*it)).collect();
        names.join(" ")
    };
    Some(match body {
        Request::InitProducerId(init) => format!("{name} {}", id(init.transactional_id?)),
        Request::AddPartitionsToTxn(add) => format!(
            "{name} {} (epoch {}): {}{}",
            id(add.transactional_id),
            add.producer_epoch,
            list(&add.partitions),
            if add.verify_only { ", verify only" } else { "" }
        ),
        Request::AddOffsetsToTxn(add) => format!(
            "{name} {} (epoch {}): group {}",
            id(add.transactional_id),
            add.producer_epoch,
            history.group_name(add.group)
        ),
        Request::EndTxn(end) => format!(
            "{name} {} (epoch {}): {}",
            id(end.transactional_id),
            end.producer_epoch,
            end.result.name()
        ),
        Request::TxnOffsetCommit(commit) => {
            let offset = |it: &(TopicPartition, Offset, _)| {
                format!("{}={}", history.partition_name(it.0), it.1)
            };
            let offsets: Vec<String> = commit.offsets.iter().map(offset).collect();
            format!(
                "{name} {} (epoch {}, generation {}): {}",
                id(commit.transactional_id),
                commit.producer_epoch,
                commit.consumer.generation,
                offsets.join(" ")
            )
        }
        Request::WriteTxnMarkers(write) => {
            let marker = |it: &TxnMarker| {
                let (who, how) = (it.producer_id, it.result.name());
                format!("{who} (epoch {}) {how}: {}", it.producer_epoch, list(&it.partitions))
            };
            let markers: Vec<String> = write.markers.iter().map(marker).collect();
            format!("{name} {}", markers.join("; "))
        }
        _ => return None,
    })
}

fn request(body: &Request) -> String {
    let name = body.api_key().name();
    match body {
        Request::Produce(produce) => {
            let batches: Vec<String> = produce
                .batches
                .iter()
                .map(|(partition, batch)| {
                    format!(
                        "p{} {} records seq {}",
                        partition.partition,
                        batch.len(),
                        batch.base_sequence
                    )
                })
                .collect();
            format!("{name} {}", batches.join(", "))
        }
        Request::OffsetCommit(commit) => {
            let offsets: Vec<String> = commit
                .offsets
                .iter()
                .map(|(partition, offset, _)| format!("p{}={offset}", partition.partition))
                .collect();
            format!("{name} {} (generation {})", offsets.join(" "), commit.generation)
        }
        Request::Heartbeat(heartbeat) => format!("{name} (generation {})", heartbeat.generation),
        _ => name.to_owned(),
    }
}

fn response(body: &Response) -> String {
    let name = body.api_key().name();
    let with = |error: ErrorCode| {
        if error.is_ok() { format!("{name} ok") } else { format!("{name} {error}") }
    };
    match body {
        Response::Produce(partitions) => {
            let parts: Vec<String> = partitions
                .iter()
                .map(|part| {
                    let index = part.partition.partition;
                    if part.error.is_ok() {
                        format!("p{index} at {}", part.base_offset)
                    } else {
                        format!("p{index} {}", part.error)
                    }
                })
                .collect();
            format!("{name} answered: {}", parts.join(", "))
        }
        Response::Fetch(fetch) => {
            let records: i64 = fetch
                .partitions
                .iter()
                .flat_map(|part| part.batches.iter().map(|batch| batch.batch.len()))
                .sum();
            let error = fetch.partitions.iter().find(|part| !part.error.is_ok());
            match error {
                Some(part) => format!("{name} answered: {}", part.error),
                None => format!("{name} answered: {records} records"),
            }
        }
        Response::OffsetCommit(partitions) => {
            with(partitions.iter().map(|(_, e)| *e).find(|e| !e.is_ok()).unwrap_or(ErrorCode::None))
        }
        Response::JoinGroup(join) => {
            format!("{} generation {}", with(join.error), join.generation)
        }
        Response::SyncGroup(sync) => with(sync.error),
        Response::Heartbeat(error) | Response::LeaveGroup(error) => with(*error),
        Response::InitProducerId(init) if init.error.is_ok() => {
            format!("{} {} epoch {}", with(init.error), init.producer_id, init.producer_epoch)
        }
        Response::InitProducerId(init) => with(init.error),
        Response::FindCoordinator(find) => with(find.error),
        Response::OffsetFetch(fetch) => with(fetch.error),
        Response::AlterPartition(alter) => with(alter.error),
        Response::AddOffsetsToTxn(error) => with(*error),
        Response::EndTxn(end) if end.error.is_ok() && end.producer_id != ProducerId::NONE => {
            format!("{} {} epoch {}", with(end.error), end.producer_id, end.producer_epoch)
        }
        Response::EndTxn(end) => with(end.error),
        Response::AddPartitionsToTxn(partitions) | Response::TxnOffsetCommit(partitions) => {
            with(partitions.iter().map(|(_, e)| *e).find(|e| !e.is_ok()).unwrap_or(ErrorCode::None))
        }
        Response::WriteTxnMarkers(written) => {
            let mut errors = written.iter().flat_map(|(_, partitions)| partitions);
            let failed = errors.find(|(_, error)| !error.is_ok());
            with(failed.map_or(ErrorCode::None, |(_, error)| *error))
        }
        _ => format!("{name} answered"),
    }
}
