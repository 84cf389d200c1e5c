//! Why an effect outside of Kafka was doubled, lost, or undone.

use oncesim_types::StatementRole;

use super::facts::{Applied, Facts, Touched};
use super::processing::handed_over;

/// An old process had the last word.
pub(super) fn zombie(facts: &Facts<'_>) -> Option<Vec<String>> {
    let mut applied: Vec<Applied> =
        facts.records.iter().flat_map(|record| facts.applied(*record)).collect();
    applied.sort_by_key(|it| it.time);
    let last = *applied.last()?;
    let system = facts.actor(last.system);
    let asker = facts.last_asker(last.record, last.time)?;
    let slept = facts.stillness(asker, oncesim_types::Instant::ZERO, last.time)?;
    let who = facts.actor(asker);
    let name = facts.name(last.record);
    let mut story = Vec::new();
    let polled = facts.polled(last.record);
    match polled.iter().find(|it| it.actor == asker) {
        Some(holder) => {
            let place = facts.place(holder.partition, holder.offset);
            story
                .push(format!("{who} had polled {name} ({place}) when it stood still at {slept}."));
            let successor = polled.iter().find(|it| it.actor != asker);
            let successor = successor.map_or("another member", |it| facts.actor(it.actor));
            story.push(handed_over(facts, Touched { time: slept, ..*holder }, successor));
            story.push(format!("{successor} did the work of {name} and went further."));
        }
        None => story.push(format!("{who} held {name} when it stood still at {slept}.")),
    }
    let back = facts.back(asker, slept, last.time);
    let woke = back.map_or(String::new(), |at| format!(" at {at}"));
    story.push(format!(
        "{who} went on{woke} as if nothing had happened: a consumer learns of a rebalance when it \
         polls, and {system} does not ask the group. It wrote its old work in commit {} ({}).",
        last.commit, last.time
    ));
    story.push(match facts.anomaly.id() {
        "zombie-effect" => format!(
            "Kafka's fencing ends at Kafka: {system} is asked by a client that it has no reason to \
             refuse, because the statement does not compare the fencing token (here {}) with the \
             newest that was accepted.",
            last.token
        ),
        "tombstone-resurrect" => format!(
            "The statement of {system} overwrites whatever is there, and a deleted row leaves nothing \
             behind that could say that it was deleted later."
        ),
        _ => format!(
            "The statement of {system} overwrites whatever is there: without a version in the row the \
             last writer wins, and not the newest record."
        ),
    });
    Some(story)
}

/// An effect happened more than once.
pub(super) fn doubled(facts: &Facts<'_>) -> Option<Vec<String>> {
    let applied: Vec<(Applied, Applied)> = facts
        .records
        .iter()
        .filter_map(|record| {
            let all = facts.applied(*record);
            Some((*all.first()?, *all.get(1)?))
        })
        .collect();
    let Some((first, second)) = applied.first().copied() else {
        return asked_twice(facts);
    };
    let name = facts.name(first.record);
    let system = facts.actor(first.system);
    let askers = facts.askers(first.record);
    let (_, who, incarnation) = *askers.first()?;
    let actor = facts.actor(who);
    let unanswered = facts.unanswered(first.record).filter(|(at, _)| *at < second.time);
    let upheaval = facts.upheaval(who, first.time, second.time);
    let mut story = vec![match (unanswered, upheaval) {
        (Some((at, _)), None) => format!(
            "{actor} never learned of commit {}: its request ended without an answer at {at}. It \
             could not know whether {system} had done what it asked for, and asked again.",
            first.commit
        ),
        (_, Some((at, died))) => {
            let what = if died { "died" } else { "stood still" };
            let (_, next, other) = askers.get(1).copied().unwrap_or((at, who, incarnation + 1));
            let again = if (next, other) == (who, incarnation) {
                "When it went on, it".to_owned()
            } else if next == who {
                "After its restart it".to_owned()
            } else {
                format!("{}, which got the partition,", facts.actor(next))
            };
            format!(
                "{actor} {what} at {at}, after commit {} and before its offset was committed, so the \
                 group delivered {name} again. {again} asked for the effect once more.",
                first.commit
            )
        }
        (None, None) => match facts.appended(first.record, true).as_slice() {
            [one, .., other] if (one.partition, one.offset) != (other.partition, other.offset) => {
                format!(
                    "The topic has {name} more than once, at {} and at {}.",
                    facts.place(one.partition, one.offset),
                    facts.place(other.partition, other.offset)
                )
            }
            _ => format!("{name} was delivered again."),
        },
    }];
    let ledger = format!("at {} in commit {}", second.time, second.commit);
    story.push(match facts.anomaly.id() {
        "dedup-window-miss" => format!(
            "{system} would have recognised it, but it keeps what it has seen for a limited time only: \
             {} later, {ledger}, it had forgotten, and applied it again.",
            second.time.since(first.time)
        ),
        "dedup-after-effect" => format!(
            "The mark that says \"seen\" is written in a transaction of its own, after the effect: it \
             was not there yet, and {system} applied the effect again {ledger}."
        ),
        "idem-key-instability" => format!(
            "Each attempt made up a new idempotency key, so {system} took the second for another \
             request and applied it again {ledger}."
        ),
        _ => format!(
            "Nothing in the statement says that this record was seen before, so {system} applied it \
             again {ledger}. At-least-once delivery repeats records, and the effect has to absorb \
             that."
        ),
    });
    Some(story)
}

/// Two requests for one effect, under other keys.
fn asked_twice(facts: &Facts<'_>) -> Option<Vec<String>> {
    let record = facts.record()?;
    let askers = facts.askers(record);
    let (at, who, _) = *askers.first()?;
    let again = facts.unanswered(record).map_or(String::new(), |(at, _)| {
        format!(" It ended without an answer at {at}, so it was asked again.")
    });
    Some(vec![format!(
        "{} asked for the effect of {} at {at}.{again}",
        facts.actor(who),
        facts.name(record)
    )])
}

/// An effect that will never happen, or only half of it.
pub(super) fn lost(facts: &Facts<'_>) -> Option<Vec<String>> {
    let record = facts.record()?;
    let name = facts.name(record);
    let (asked, who, _) = *facts.askers(record).first()?;
    let actor = facts.actor(who);
    let mut story = Vec::new();
    let mark = facts.row(record, StatementRole::DedupMark);
    if let Some((at, commit)) = mark {
        story.push(format!(
            "{actor} marked {name} as seen in commit {commit} ({at}), in a transaction of its own, \
             before the effect."
        ));
    } else {
        story.push(format!("{actor} began with the effect of {name} at {asked}."));
    }
    let from = mark.map_or(asked, |(at, _)| at);
    match facts.upheaval(who, asked.min(from), facts.anomaly.witness.time) {
        Some((at, true)) => story.push(format!("At {at} it died, and the rest never happened.")),
        Some((at, false)) => story.push(format!("At {at} it stood still.")),
        None => {
            if let Some((at, _)) = facts.unanswered(record) {
                story.push(format!("The request for the effect ended without an answer at {at}."));
            }
        }
    }
    story.push(match facts.anomaly.id() {
        "partial-effect" => {
            let offset = facts.polled(record).first().and_then(|polled| {
                facts.committed_past(polled.partition, polled.offset, polled.time)
            });
            let again = match offset {
                Some((at, _, to)) => format!(
                    " The offset had been committed to {to} at {at} already, so the record does not come \
                     again"
                ),
                None => " And it does not come again".to_owned(),
            };
            format!(
                "Its statements are committed one by one: without a transaction around them a process \
                 can die in between.{again}."
            )
        }
        _ if mark.is_some() => "When the record was delivered again the mark said \"seen\", and it was \
                                skipped: the mark outlived the work that it stands for."
            .to_owned(),
        _ => "Its offset is committed, so nobody asks for the effect again.".to_owned(),
    });
    Some(story)
}

/// Keys of others, reads of others, transactions of others.
pub(super) fn others(facts: &Facts<'_>) -> Option<Vec<String>> {
    let record = facts.record()?;
    let name = facts.name(record);
    Some(match facts.anomaly.id() {
        "idem-key-collision" => vec![
            format!(
                "An idempotency key says which requests are the same. Here it is made of the customer's \
                 key, which other records have as well, so to the API {name} was a repetition."
            ),
            "It gave the stored answer of the earlier request, the client took that for success, and \
             nothing was applied. It happens whenever one customer has two records within the life of \
             a key."
                .to_owned(),
        ],
        "lost-update" => vec![
            "The effect is computed from a value that was read before, outside of the transaction that \
             writes it."
                .to_owned(),
            "Between the read and the write somebody else changed the row, and the write put the old \
             value, plus its own, on top: a read and a write that depends on it belong in one \
             statement, or need a check that nothing changed."
                .to_owned(),
        ],
        _ => {
            let applied = facts.records.iter().find_map(|it| facts.applied(*it).first().copied());
            let at = applied.map_or(String::new(), |it| {
                format!(" ({} applied it in commit {} at {})", facts.actor(it.system), it.commit, it.time)
            });
            vec![
                format!(
                    "The effect was asked for while a transaction of Kafka was open{at}. That transaction \
                     was aborted, which takes outputs and offsets back, but not what happened outside."
                ),
                "So the record is processed again, and the effect is asked for again.".to_owned(),
            ]
        }
    })
}
