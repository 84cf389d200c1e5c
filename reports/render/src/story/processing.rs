//! Why a record was processed twice, or never.

use oncesim_history::PositionReason;
use oncesim_types::Instant;

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
    let work = match processed {
        Some(done) => format!("made its output at {}", done.time),
        None => "had not processed it yet".to_owned(),
    };
    match commit {
        Some((at, actor, to)) => {
            let order = match processed {
                Some(done) if at >= done.time => {
                    format!(
                        "It {work}, and the offset was committed to {to} at {at}, before the \
                             output was safely in the log"
                    )
                }
                Some(_) => format!("The offset was committed to {to} at {at}; only then it {work}"),
                None => format!("The offset was committed to {to} at {at}, when it {work}"),
            };
            story.push(format!("{who} polled {name} ({place}) at {}.", polled.time));
            story.push(format!(
                "{order}{}.",
                if actor == polled.actor {
                    String::new()
                } else {
                    format!(" ({})", facts.actor(actor))
                }
            ));
        }
        None => {
            story.push(format!("{who} polled {name} ({place}) at {}, and {work}.", polled.time))
        }
    }
    if let Some((at, died)) = facts.upheaval(polled.actor, polled.time, end) {
        let what = if died { "died, and the record in its hands was gone" } else { "stood still" };
        story.push(format!("At {at} {who} {what}."));
    } else if facts.scenario.source.contains("no-seek-after-abort") {
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
        story.push(format!(
            "{} went on at {} ({why}, {at}), behind the record: to the group it counts as done, and \
             nobody will look at it again.",
            facts.actor(actor),
            facts.place(polled.partition, to)
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
        "{sleeper} had polled {name} ({place}) at {} when it stood still ({still}).",
        holder.time
    ));
    story.push(handed_over(facts, holder, successor, first.time));
    story.push(format!(
        "When {sleeper} went on at {} it had not heard of any of this; it finished the batch that it \
         had in its hands, and {name} with it ({}).",
        facts.back(holder.actor, still, last.time).unwrap_or(last.time),
        last.time
    ));
    if facts.scenario.source.contains("no-group-metadata") {
        story.push(
            "Its transaction committed all the same: offsets that are sent without the group's \
             metadata carry no generation, so the coordinator could not tell that they came from a \
             member that it had replaced (KIP-447)."
                .to_owned(),
        );
    }
    story
}

/// The group gives a partition to somebody else.
fn handed_over(facts: &Facts<'_>, holder: Touched, successor: &str, by: Instant) -> String {
    let partition = facts.history.partition_name(holder.partition);
    let removed = facts.removed(holder.actor, holder.time).filter(|(at, _)| *at <= by);
    let why = match removed {
        Some((at, true)) => format!("At {at} its session timed out, and the group gave"),
        Some((at, false)) => {
            format!("At {at} its client left the group (max.poll.interval.ms was over), which gave")
        }
        None => "Meanwhile the group gave".to_owned(),
    };
    let from = facts.resumed_at(holder.partition, removed.map_or(holder.time, |(at, _)| at));
    let from = from.filter(|(at, ..)| *at <= by).map_or(String::new(), |(_, _, to, _)| {
        format!(" went on at the committed offset {to} and")
    });
    format!("{why} {partition} to {successor}, which{from} processed the record at {by}.")
}

/// What was processed was not committed, and came again.
fn redelivered(facts: &Facts<'_>, name: &str, first: Touched, last: Touched) -> Vec<String> {
    let (before, after) = (facts.actor(first.actor), facts.actor(last.actor));
    let mut story = Vec::new();
    let commit = facts.committed_past(first.partition, first.offset, first.time);
    let commit = commit.filter(|(at, ..)| *at < last.time);
    let upheaval = facts.upheaval(first.actor, first.time, last.time);
    let end = match upheaval {
        Some((at, true)) => format!("then it died ({at})"),
        Some((at, false)) => format!("then it stood still ({at})"),
        None => match facts.removed(first.actor, first.time) {
            Some((at, _)) => format!("then it lost the partition ({at})"),
            None => "then it lost the partition".to_owned(),
        },
    };
    let committed = match commit {
        Some((at, _, to)) if upheaval.is_none_or(|(end, _)| at < end) => {
            format!("and asked to commit up to {to} at {at}; ")
        }
        _ => "and had not committed that yet; ".to_owned(),
    };
    story.push(format!("{before} processed {name} at {}, {committed}{end}.", first.time));
    if let Some((at, actor, to, _)) = facts.resumed_at(first.partition, first.time)
        && at <= last.time
    {
        story.push(format!(
            "What a group remembers is the committed offset, and that was {}: {} went on there at {at}.",
            facts.place(first.partition, to),
            facts.actor(actor)
        ));
    }
    story.push(format!(
        "So {after} got {name} again and processed it a second time at {}. Processing and committing \
         are two steps, and whatever lies between them is done again.",
        last.time
    ));
    story
}
