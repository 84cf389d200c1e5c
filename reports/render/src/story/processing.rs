//! Why a record was processed twice, or never.

use oncesim_history::PositionReason;
use oncesim_spec::Mistake;

use super::facts::{Facts, Touched};

/// A record that nobody processes any more, or whose output is not there.
pub(super) fn lost(facts: &Facts<'_>) -> Option<Vec<String>> {
    let record = facts.input()?;
    let polled = facts.polled(record).first().copied()?;
    let name = facts.name(record);
    let who = facts.actor(polled.actor);
    let mut story = Vec::new();
    let end = facts.anomaly.witness.time;
    let commit = facts.committed_past(polled.partition, polled.offset, polled.time);
    let processed = facts.processed(record).first().copied();
    let place = facts.place(polled.partition, polled.offset);
    let got = format!("{who} polled {name} ({place}) at {}", polled.time);
    match (commit, processed) {
        (Some((at, actor, to)), Some(done)) => {
            story.push(format!("{got} and made its output at {}.", done.time));
            let by = if actor == polled.actor { "It" } else { facts.actor(actor) };
            let order = if at >= done.time {
                "before the output was safely in the log"
            } else {
                "before it made that output"
            };
            story.push(format!("{by} committed offset {to} at {at}, {order}."));
        }
        (Some((at, _, to)), None) => story.push(format!(
            "{got} and committed offset {to} at {at}, before anybody had processed the record."
        )),
        (None, Some(done)) => {
            story.push(format!("{got} and made its output at {}.", done.time));
        }
        (None, None) => story.push(format!("{got} and had not processed it yet.")),
    }
    let upheaval = facts.upheaval(polled.actor, polled.time, end);
    if let Some((at, died)) = upheaval {
        let what = if died { "died with the record in its hands" } else { "stood still" };
        story.push(format!("At {at} {who} {what}."));
    } else if facts.mistaken(Mistake::NoSeekAfterAbort) {
        story.push(format!(
            "The transaction with the output was aborted, and {who} went on with the next poll instead \
             of seeking back to the last committed offset: an abort takes outputs and offsets back, \
             but not the consumer's position in memory."
        ));
    }
    if let Some((at, actor, to, reason)) = facts.resumed_at(polled.partition, polled.time)
        && to > polled.offset
    {
        let why = match reason {
            PositionReason::Committed => "the committed offset",
            _ => "where it was told to",
        };
        let place = facts.place(polled.partition, to);
        let again = upheaval.is_some_and(|(_, died)| died) && actor == polled.actor;
        let next = match again {
            true => format!("After its restart it went on at {place} ({why}, {at})"),
            false => format!("At {at} {} went on at {place} ({why})", facts.actor(actor)),
        };
        story.push(format!(
            "{next}, behind the record: to the group it counts as done, and nobody will poll it \
             again."
        ));
    }
    Some(story)
}

/// A record that two processes, or one twice, processed.
pub(super) fn doubled(facts: &Facts<'_>) -> Option<Vec<String>> {
    let record = facts.input()?;
    let done = facts.processed(record);
    let (first, last) = (done.first().copied()?, done.last().copied()?);
    let polled = facts.polled(record);
    let holder = polled.first().copied()?;
    let name = facts.name(record);
    if first.actor == last.actor && first.incarnation == last.incarnation {
        return Some(vec![format!(
            "{} processed {name} at {} and again at {}, in the same process: its position had gone \
             back in between.",
            facts.actor(first.actor),
            first.time,
            last.time
        )]);
    }
    // Who got it first and was done with it last slept in between.
    if holder.actor == last.actor && holder.incarnation == last.incarnation && done.len() > 1 {
        return Some(zombie(facts, &name, holder, first, last));
    }
    Some(redelivered(facts, &name, first, last))
}

/// The first owner wakes up and goes on with what it holds.
fn zombie(
    facts: &Facts<'_>,
    name: &str,
    holder: Touched,
    first: Touched,
    last: Touched,
) -> Vec<String> {
    let (sleeper, successor) = (facts.actor(holder.actor), facts.actor(first.actor));
    let mut story = Vec::new();
    let place = facts.place(holder.partition, holder.offset);
    let still = facts.stillness(holder.actor, holder.time, last.time).unwrap_or(holder.time);
    story.push(format!(
        "{sleeper} polled {name} ({place}) at {} and stood still from {still} on, with the batch in \
         its hands.",
        holder.time
    ));
    story.push(handed_over(facts, holder, successor));
    let from = facts.resumed_at(holder.partition, still).filter(|(at, ..)| *at <= first.time);
    let from = from.map_or(String::new(), |(_, _, to, _)| {
        format!(" went on at the committed offset {to} and")
    });
    story.push(format!("{successor}{from} processed the record at {}.", first.time));
    story.push(format!(
        "When {sleeper} went on at {}, it knew nothing of that: a consumer learns of a rebalance \
         when it polls, and before that it finished its batch. It processed {name} a second time \
         ({}).",
        facts.back(holder.actor, still, last.time).unwrap_or(last.time),
        last.time
    ));
    story.push(if facts.mistaken(Mistake::NoGroupMetadata) {
        "Its transaction committed all the same: offsets that are sent without the group's \
         metadata carry no generation, so the coordinator could not tell that they came from a \
         member that it had replaced (KIP-447)."
            .to_owned()
    } else {
        format!(
            "The coordinator refuses a commit of {sleeper} that carries the old generation, but \
             what it has processed by then is done."
        )
    });
    story
}

/// The group gives a partition to somebody else.
pub(super) fn handed_over(facts: &Facts<'_>, holder: Touched, successor: &str) -> String {
    let partition = facts.history.partition_name(holder.partition);
    match facts.removed(holder.actor, holder.time) {
        Some((at, true)) => format!(
            "It sent no heartbeats any more, so at {at} its session timed out (session.timeout.ms), \
             and the coordinator gave {partition} to {successor}."
        ),
        Some((at, false)) => format!(
            "Its heartbeats went on, but it did not poll: at {at} max.poll.interval.ms was over, its \
             client left the group, and the coordinator gave {partition} to {successor}."
        ),
        None => format!("Meanwhile the group gave {partition} to {successor}."),
    }
}

/// What was processed was not committed, and came again.
fn redelivered(facts: &Facts<'_>, name: &str, first: Touched, last: Touched) -> Vec<String> {
    let (before, after) = (facts.actor(first.actor), facts.actor(last.actor));
    let mut story = Vec::new();
    let commit = facts.committed_past(first.partition, first.offset, first.time);
    let commit = commit.filter(|(at, ..)| *at < last.time);
    let upheaval = facts.upheaval(first.actor, first.time, last.time);
    let end = match upheaval {
        Some((at, true)) => format!("died at {at}"),
        Some((at, false)) => format!("stood still at {at}"),
        None => match facts.removed(first.actor, first.time) {
            Some((at, true)) => {
                format!("lost the partition at {at}, when its session timed out")
            }
            Some((at, false)) => format!("lost the partition at {at}, when it left the group"),
            None => "lost the partition in a rebalance".to_owned(),
        },
    };
    let committed = match commit {
        Some((at, _, to)) if upheaval.is_none_or(|(end, _)| at < end) => {
            format!(", asked to commit offset {to} at {at}, and then {end}")
        }
        _ => format!(", and {end}, before it had committed that"),
    };
    story.push(format!("{before} processed {name} at {}{committed}.", first.time));
    if let Some((at, actor, to, _)) = facts.resumed_at(first.partition, first.time)
        && at <= last.time
    {
        story.push(format!(
            "A group remembers nothing but its committed offset, which was {}: {} went on there at \
             {at}.",
            facts.place(first.partition, to),
            facts.actor(actor)
        ));
    }
    story.push(format!(
        "So {after} polled {name} again and processed it a second time at {}. Processing and \
         committing are two steps, and what was done between them is done again.",
        last.time
    ));
    story
}
