//! Events of a history in words, without time and actor.

use oncesim_history::{
    ClientKind, CommitEntry, Event, EventKind, History, Outcome, PolledRecord, PositionReason,
    WorldEvent,
};
use oncesim_types::{Offset, RecordId, TopicPartition, TransactionResult};

use crate::external::external_text;

/// Entries of a list that are shown.
const SHOWN: usize = 6;

/// What happened, in words.
#[must_use]
pub fn event_text(history: &History, event: &Event) -> String {
    match &event.kind {
        EventKind::Client(client) => client_text(history, client),
        EventKind::World(world) => world_text(history, world),
        EventKind::External(event) => external_text(history, event),
    }
}

/// A record as checkers name it: `shop #7`.
fn record(history: &History, record: RecordId) -> String {
    format!("{} #{}", history.actor_name(record.origin()), record.ordinal())
}

/// `orders-0@7`.
fn at(history: &History, partition: TopicPartition, offset: Offset) -> String {
    format!("{}@{offset}", history.partition_name(partition))
}

fn ending(outcome: Outcome) -> String {
    match outcome {
        Outcome::Ok => "succeeded".to_owned(),
        Outcome::Fail(error) => format!("failed: {error}"),
        Outcome::Info(error) => format!("ended without an answer: {error}"),
    }
}

fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    let count = items.len();
    let mut shown: Vec<String> = items.take(SHOWN).collect();
    if count > SHOWN {
        shown.push(format!("and {} more", count - SHOWN));
    }
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

fn partitions(history: &History, partitions: &[TopicPartition]) -> String {
    list(partitions.iter().map(|partition| history.partition_name(*partition)))
}

fn polled(history: &History, records: &[PolledRecord]) -> String {
    list(records.iter().map(|polled| {
        format!(
            "{} ({})",
            at(history, polled.partition, polled.offset),
            record(history, polled.record)
        )
    }))
}

fn commits(history: &History, entries: &[CommitEntry]) -> String {
    list(entries.iter().map(|entry| at(history, entry.partition, entry.offset)))
}

fn client_text(history: &History, client: &ClientKind) -> String {
    match client {
        ClientKind::SendInvoke { record: id, attempt, .. } => {
            let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            format!("sends {}{again}", record(history, *id))
        }
        ClientKind::SendEnd { record: id, partition, outcome, offset, .. } => {
            let place = match (partition, offset) {
                (Some(partition), Some(offset)) => {
                    format!(" at {}", at(history, *partition, *offset))
                }
                (Some(partition), None) => format!(" to {}", history.partition_name(*partition)),
                (None, _) => String::new(),
            };
            format!("send of {}{place} {}", record(history, *id), ending(*outcome))
        }
        ClientKind::ProducerSession { producer_id, producer_epoch } => {
            format!("has producer id {}, epoch {}", producer_id.0, producer_epoch.0)
        }
        ClientKind::Subscribe { group } => format!("subscribes in {}", history.group_name(*group)),
        ClientKind::Assign => "assigns itself its partitions".to_owned(),
        ClientKind::Assigned { generation, added, owned, .. } => format!(
            "is assigned {} (generation {}; owns {})",
            partitions(history, history.partitions(*added)),
            generation.0,
            partitions(history, history.partitions(*owned)),
        ),
        ClientKind::Revoked { partitions: span, .. } => {
            format!("gives back {}", partitions(history, history.partitions(*span)))
        }
        ClientKind::Lost { partitions: span, .. } => {
            format!("has lost {}", partitions(history, history.partitions(*span)))
        }
        ClientKind::PollInvoke => "polls".to_owned(),
        ClientKind::PollEnd { records, .. } => {
            format!("poll returns {}", polled(history, history.polled(*records)))
        }
        ClientKind::Processed { partition, offset, record: id, .. } => {
            format!("processed {} ({})", at(history, *partition, *offset), record(history, *id))
        }
        ClientKind::CommitInvoke { call, offsets, .. } => {
            format!("{call} commits {}", commits(history, history.commits(*offsets)))
        }
        ClientKind::CommitEnd { call, outcome } => format!("{call} {}", ending(*outcome)),
        ClientKind::PositionReset { partition, to, reason, .. } => {
            let why = match reason {
                PositionReason::Committed => "the committed offset",
                PositionReason::NoCommittedOffset => "there is no committed offset",
                PositionReason::OutOfRange => "the position was out of range",
                PositionReason::Truncated => "the log was truncated",
                PositionReason::Seek => "the application asked",
            };
            format!("goes on at {}: {why}", at(history, *partition, *to))
        }
        ClientKind::Closed => "closes its client".to_owned(),
        ClientKind::Drained { partition, from, to } => {
            format!("has read {} from {from} to its end, {to}", history.partition_name(*partition))
        }
        _ => transaction_text(history, client),
    }
}

/// What clients do with transactions, and processors with records.
fn transaction_text(history: &History, client: &ClientKind) -> String {
    let id_name = |id: oncesim_types::TransactionalId| {
        history.transactional_ids.get(usize::from(id.0)).map_or("?", String::as_str)
    };
    match client {
        ClientKind::InitTransactions { call, transactional_id } => {
            format!("{call} begins a session as {}", id_name(*transactional_id))
        }
        ClientKind::TransactionBegin { number } => format!("begins {number}"),
        ClientKind::SendOffsets { call, number, offsets, .. } => format!(
            "{call} adds offsets {} to {number}",
            commits(history, history.commits(*offsets))
        ),
        ClientKind::EndTransaction { call, number, result } => {
            format!("{call} asks to {} {number}", result.name())
        }
        ClientKind::InitTransactionsEnd { call, outcome }
        | ClientKind::SendOffsetsEnd { call, outcome }
        | ClientKind::TransactionEnd { call, outcome } => format!("{call} {}", ending(*outcome)),
        ClientKind::Emitted { record: id, input, partition, offset, .. } => format!(
            "makes {} from {} ({})",
            record(history, *id),
            at(history, *partition, *offset),
            record(history, *input)
        ),
        ClientKind::StateRestored { changelog, to, keys, .. } => format!(
            "has restored {keys} keys from {} up to {to}",
            history.partition_name(*changelog)
        ),
        ClientKind::Transfer { record: id, amount } => {
            format!("{} moves {amount}", record(history, *id))
        }
        _ => String::new(),
    }
}

fn world_text(history: &History, event: &WorldEvent) -> String {
    let name = |partition: &TopicPartition| history.partition_name(*partition);
    match event {
        WorldEvent::Started => "starts".to_owned(),
        WorldEvent::Crashed { power: true } => "dies in a power failure".to_owned(),
        WorldEvent::Crashed { power: false } => "dies".to_owned(),
        WorldEvent::Paused => "stands still".to_owned(),
        WorldEvent::Resumed => "goes on".to_owned(),
        WorldEvent::Fault { index } => format!("fault: {}", fault(history, *index)),
        WorldEvent::Healed { index } => format!("healed: {}", fault(history, *index)),
        WorldEvent::QuiesceBegin => "all faults have healed".to_owned(),
        WorldEvent::Settled => "everything has settled".to_owned(),
        WorldEvent::NotSettled => "not everything has settled".to_owned(),
        WorldEvent::Append { partition, base_offset, records, len, leader, .. } => format!(
            "{} {} ({})",
            if *leader { "appends" } else { "copies" },
            at(history, *partition, *base_offset),
            match history.appended(*records) {
                [] => format!("{len} offsets"),
                ids => list(ids.iter().map(|id| record(history, *id))),
            },
        ),
        WorldEvent::Truncate { partition, to } => format!("truncates {} to {to}", name(partition)),
        WorldEvent::DiskLoss { partition, to } => {
            format!("has lost {} from {to} on with the power", name(partition))
        }
        WorldEvent::Flushed { partition, to } => format!("flushed {} up to {to}", name(partition)),
        WorldEvent::HighWatermark { partition, high_watermark, isr, min_isr, .. } => format!(
            "high watermark of {} is {high_watermark} ({isr} in sync, {min_isr} required)",
            name(partition)
        ),
        WorldEvent::BecameLeader { partition, leader_epoch, log_end } => {
            format!("leads {} in epoch {} from {log_end} on", name(partition), leader_epoch.0)
        }
        WorldEvent::BecameFollower { partition, leader, leader_epoch } => format!(
            "follows {} for {} in epoch {}",
            leader.map_or("nobody", |leader| history.actor_name(leader)),
            name(partition),
            leader_epoch.0
        ),
        WorldEvent::AckedAll { partition, next_offset, isr, .. } => {
            format!("acknowledges {} up to {next_offset} ({isr} in sync)", name(partition))
        }
        _ => inside_text(history, event),
    }
}

fn fault(history: &History, index: u32) -> &str {
    history.faults.get(index as usize).map_or("?", String::as_str)
}

/// Events of controller and coordinators, and what went wrong inside.
fn inside_text(history: &History, event: &WorldEvent) -> String {
    let name = |partition: &TopicPartition| history.partition_name(*partition);
    let group_name = |group| history.group_name(group);
    match event {
        WorldEvent::ProducerStateRejected { partition, error, .. } => {
            format!("refuses a batch of {}: {error}", name(partition))
        }
        WorldEvent::Served { partition, from, to, .. } => {
            format!("serves {} from {from} to {to}", name(partition))
        }
        WorldEvent::PartitionChanged { partition, leader, leader_epoch, isr, unclean, .. } => {
            let members = history.actor_list(*isr);
            format!(
                "{} is led by {} in epoch {}{}, in sync {}",
                name(partition),
                leader.map_or("nobody", |leader| history.actor_name(leader)),
                leader_epoch.0,
                if *unclean { " (unclean)" } else { "" },
                list(members.iter().map(|actor| history.actor_name(*actor).to_owned())),
            )
        }
        WorldEvent::BrokerRegistered { broker, epoch, clean } => format!(
            "registers {} with epoch {}{}",
            history.actor_name(*broker),
            epoch.0,
            if *clean { "" } else { " after an unclean shutdown" },
        ),
        WorldEvent::BrokerFenced { broker, fenced } => {
            let verb = if *fenced { "fences" } else { "unfences" };
            format!("{verb} {}", history.actor_name(*broker))
        }
        WorldEvent::Generation { group, generation, assignment, .. } => format!(
            "{} is in generation {}: {}",
            group_name(*group),
            generation.0,
            list(history.assignment(*assignment).iter().map(|(member, partition)| {
                format!("{} to {member}", history.partition_name(*partition))
            })),
        ),
        WorldEvent::Rebalance { group, reason } => {
            format!("{} rebalances: {reason}", group_name(*group))
        }
        WorldEvent::MemberRemoved { group, member, expired } => format!(
            "{} loses {member}{}",
            group_name(*group),
            if *expired { ": its session timed out" } else { "" }
        ),
        WorldEvent::OffsetAccepted { group, generation, current, partition, offset, .. } => {
            format!(
                "{} commits {} (generation {} of {})",
                group_name(*group),
                at(history, *partition, *offset),
                generation.0,
                current.0,
            )
        }
        WorldEvent::OffsetRejected { group, generation, error, .. } => format!(
            "{} refuses a commit of generation {}: {error}",
            group_name(*group),
            generation.0
        ),
        WorldEvent::CoordinatorLoaded { partition, .. } => {
            format!("has loaded the coordinator's {}", name(partition))
        }
        WorldEvent::Retry { partition, attempt, error } => {
            format!("retries {} (attempt {attempt}) after {error}", name(partition))
        }
        WorldEvent::MutationHit => "a planted bug changes what happens".to_owned(),
        WorldEvent::InvariantBroken { id, detail, .. } | WorldEvent::Stuck { id, detail, .. } => {
            format!("{id}: {detail}")
        }
        _ => coordinator_text(history, event),
    }
}

/// Events of transaction coordinators, and of what they write into partitions.
fn coordinator_text(history: &History, event: &WorldEvent) -> String {
    let name = |partition: &TopicPartition| history.partition_name(*partition);
    let id_name = |id: oncesim_types::TransactionalId| {
        history.transactional_ids.get(usize::from(id.0)).map_or("?", String::as_str)
    };
    match event {
        WorldEvent::TransactionState {
            transactional_id, producer_epoch, from, to, number, ..
        } => format!(
            "{} goes from {} to {} ({number}, epoch {})",
            id_name(*transactional_id),
            from.name(),
            to.name(),
            producer_epoch.0
        ),
        WorldEvent::EndTxnApplied { transactional_id, issued, applied, result, .. } => {
            let meant = match issued == applied {
                true => String::new(),
                false => format!(", although the client meant {issued}"),
            };
            format!("{}: {} of {applied}{meant}", id_name(*transactional_id), result.name())
        }
        WorldEvent::TransactionTimedOut { transactional_id, number } => {
            format!("aborts {number} of {}: it took too long", id_name(*transactional_id))
        }
        WorldEvent::Marker { partition, offset, producer_id, result, leader, .. } => format!(
            "{} {}: {} of {producer_id}",
            if *leader { "appends" } else { "copies" },
            at(history, *partition, *offset),
            result.name()
        ),
        WorldEvent::MarkerRejected { partition, producer_id, error, .. } => {
            format!(
                "refuses the end of a transaction of {producer_id} in {}: {error}",
                name(partition)
            )
        }
        WorldEvent::LastStableOffset { partition, last_stable_offset } => {
            format!("last stable offset of {} is {last_stable_offset}", name(partition))
        }
        WorldEvent::OffsetPending { group, producer_id, partition, offset, .. } => format!(
            "{} holds {} for the transaction of {producer_id}",
            history.group_name(*group),
            at(history, *partition, *offset)
        ),
        WorldEvent::OffsetResolved { group, partition, offset, result, .. } => format!(
            "{} {} {}",
            history.group_name(*group),
            match result {
                TransactionResult::Commit => "commits",
                TransactionResult::Abort => "drops",
            },
            at(history, *partition, *offset)
        ),
        _ => String::new(),
    }
}
