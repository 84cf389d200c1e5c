//! Why a database and the log disagree about an event.

use oncesim_types::{Instant, RecordId, StatementRole};

use super::facts::Facts;

/// Dual writes, outboxes and relays.
pub(super) fn outbox(facts: &Facts<'_>) -> Option<Vec<String>> {
    let record = facts.record()?;
    let name = facts.name(record);
    let service = record.origin();
    let who = facts.actor(service);
    let business = facts.row(record, StatementRole::Business);
    let row = facts.row(record, StatementRole::Outbox).or(business);
    let end = facts.anomaly.witness.time;
    let mut story = Vec::new();
    match facts.anomaly.id() {
        "outbox-missing" => missing(facts, record, row, &mut story),
        "outbox-phantom" => {
            let appended = facts.appended(record, true).first().copied();
            if let Some(at) = appended {
                story.push(format!(
                    "{who} sends before it commits: {name} was in the log at {} since {}, for everybody \
                     to see.",
                    facts.place(at.partition, at.offset),
                    at.time
                ));
                story.push(match facts.upheaval(service, at.time, end) {
                    Some((died, true)) => {
                        format!("Then {who} died ({died}), and the database rolled its transaction back.")
                    }
                    _ => "Then the database did not commit the transaction, and what is in the log cannot \
                          be taken back."
                        .to_owned(),
                });
            }
        }
        "outbox-premature-mark" => {
            let mark = facts.row(record, StatementRole::RelayMark);
            let commit = mark.map_or(String::new(), |(_, commit)| format!(" (commit {commit})"));
            story.push(format!(
                "The relay marks a row as sent when it has handed the record to its producer, and not \
                 when the log has it; so it did with the row of {name}{commit}."
            ));
            let from = row.map_or(Instant::ZERO, |(at, _)| at);
            story.push(match facts.relay_gone(from, end) {
                Some((relay, at, true)) => format!(
                    "At {at} {} died, and with it what its producer had not sent.",
                    facts.actor(relay)
                ),
                _ => "Its send did not get through.".to_owned(),
            });
            story.push(
                "The relay that came after it asks the database for rows without a mark, and so never \
                 sees this one."
                    .to_owned(),
            );
        }
        "outbox-duplicate" => duplicate(facts, record, &mut story),
        "outbox-skip-gap" => {
            if let Some((at, commit)) = row {
                story.push(format!(
                    "Sequence numbers are drawn when transactions begin, and rows become visible when \
                     they commit: the row of {name} was committed late, at {at} (commit {commit})."
                ));
            }
            story.push(
                "By then the relay had seen a higher number and moved its cursor past this one; a query \
                 for what is above the cursor will never return the row."
                    .to_owned(),
            );
        }
        "outbox-order" => {
            story.push(
                "Sequence numbers are drawn when transactions begin, not when they commit. Two \
                 transactions on one aggregate ran side by side, the one with the higher number \
                 committed first, and the relay published in the order of what it could see."
                    .to_owned(),
            );
        }
        _ => return None,
    }
    (!story.is_empty()).then_some(story)
}

/// A row whose event nobody sent.
fn missing(
    facts: &Facts<'_>,
    record: RecordId,
    row: Option<(Instant, u64)>,
    story: &mut Vec<String>,
) {
    let service = record.origin();
    let who = facts.actor(service);
    let name = facts.name(record);
    let end = facts.anomaly.witness.time;
    if let Some((at, commit)) = row {
        story.push(format!(
            "{who} writes twice: first it commits in the database, then it sends the event. \
             Commit {commit} was durable at {at}."
        ));
        let doubt = facts.doubtful(record);
        story.push(match (doubt, facts.upheaval(service, at, end)) {
            (Some(doubt), _) => format!(
                "But the answer to the commit never reached {who} ({doubt}): to {who} the \
                 operation had failed, and it did not send {name}."
            ),
            (None, Some((died, true))) => {
                format!("{who} died at {died}, before it had sent {name}.")
            }
            (None, _) => format!("The event itself, {name}, never got into the log."),
        });
    }
    story.push(
        "No transaction spans a database and a log, so one of the two writes can always be \
         missing."
            .to_owned(),
    );
}

/// An event that a relay published twice.
fn duplicate(facts: &Facts<'_>, record: RecordId, story: &mut Vec<String>) {
    let name = facts.name(record);
    let all = facts.appended(record, true);
    if let (Some(first), Some(second)) = (all.first(), all.get(1)) {
        story.push(format!(
            "The relay published {name} at {} ({}), and before it had written down that it had, \
             it was gone.",
            facts.place(first.partition, first.offset),
            first.time
        ));
        story.push(format!(
            "Its successor went on from what was written down, and published it again at {} \
             ({}). Publishing and remembering are two writes, so a relay is at-least-once.",
            facts.place(second.partition, second.offset),
            second.time
        ));
    }
}
