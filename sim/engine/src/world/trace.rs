//! The trace for people: one line per message and event, kept only when it is asked for.

use oncesim_kafka::message::{Request, Response};
use oncesim_kafka::note::Note;
use oncesim_types::{ActorId, ErrorCode};

use super::World;
use crate::network::{Body, Message};
use crate::outcome::TraceLine;

impl World {
    /// Writes a line that is not about a message.
    pub(super) fn trace_text(&mut self, actor: ActorId, peer: Option<ActorId>, text: &str) {
        let event = u32::try_from(self.recorder.history.events.len().saturating_sub(1)).ok();
        if let Some(trace) = &mut self.trace {
            let text = text.to_owned();
            trace.push(TraceLine { time: self.now, actor, peer, event, text });
        }
    }

    /// Writes a line about a message: at its arrival, or where it ended.
    #[inline]
    pub(super) fn trace_message(&mut self, message: &Message, fate: &str) {
        if self.trace.is_some() {
            self.write_message(message, fate);
        }
    }

    fn write_message(&mut self, message: &Message, fate: &str) {
        let what = match &message.body {
            Body::Request(body) => request(body),
            Body::Response(body) => response(body),
        };
        let text = if fate.is_empty() { what } else { format!("{what}  ({fate})") };
        self.trace_text(message.from, Some(message.to), &text);
    }

    /// Writes down what a machine noted, where people want to see it.
    pub(super) fn watch(&mut self, actor: ActorId, note: &Note) {
        if self.trace.is_none() {
            return;
        }
        let name = |world: &World, partition| world.recorder.history.partition_name(partition);
        let text = match note {
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
            Note::BrokerFenced { broker, fenced } => format!(
                "{} {}",
                if *fenced { "fences" } else { "unfences" },
                self.actor(*broker).name
            ),
            _ => return,
        };
        self.trace_text(actor, None, &text);
    }
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
        Response::InitProducerId(init) => format!("{} {}", with(init.error), init.producer_id),
        Response::FindCoordinator(find) => with(find.error),
        Response::OffsetFetch(fetch) => with(fetch.error),
        Response::AlterPartition(alter) => with(alter.error),
        _ => format!("{name} answered"),
    }
}
