//! Why a transaction was not one: aborted records that are seen, ends that hit another transaction,
//! transactions that nobody ends. The last resort of all families, too.

use super::facts::Facts;

/// Transactions, and whatever has no family.
pub(super) fn transaction(facts: &Facts<'_>) -> Option<Vec<String>> {
    Some(match facts.anomaly.id() {
        "delayed-endtxn" | "decision-mismatch" | "torn-txn" => misdirected(facts),
        "hanging-txn" | "stuck-lso" | "drain-incomplete" | "late-append-after-marker" => {
            hanging(facts)
        }
        "aborted-read" | "precommitted-read" | "read-uncommitted-leak" => {
            vec![
                "Records of a transaction are in the log before it ends, and stay there when it is \
                 aborted; it is the reader that leaves them out, if it asks to."
                    .to_owned(),
                "This one reads at isolation.level=read_uncommitted, Kafka's default for consumers: it \
                 gets everything up to the high watermark."
                    .to_owned(),
            ]
        }
        "zombie-commit" | "zombie-write-after-fence" | "late-commit" => {
            vec![facts.anomaly.class.meaning.to_owned()]
        }
        _ => vec![facts.anomaly.class.meaning.to_owned(), facts.anomaly.class.causes.to_owned()],
    })
}

/// The end of one transaction comes late, and ends another.
fn misdirected(facts: &Facts<'_>) -> Vec<String> {
    let mut story = Vec::new();
    let found = facts.misdirected();
    if let Some(found) = found {
        let (first, second) = (found.issued, found.applied);
        if let Some((at, client)) = facts.asked_to_end(first) {
            let client = facts.actor(client);
            story.push(format!(
                "{client} sent the EndTxn request of {first} at {at}, and it was held up on its way. \
                 {client} gave up waiting, and sent the request again on another connection."
            ));
        }
        if let Some(at) = facts.ended(first).filter(|at| *at < found.at) {
            let begun = facts.begun(second);
            let begun = begun.map_or(String::new(), |at| format!(", and {second} began at {at}"));
            story.push(format!("That one arrived and ended {first} at {at}{begun}."));
        }
    }
    let (who, which) = found.map_or(("the coordinator".to_owned(), String::new()), |found| {
        let at = format!(
            ": the {} of {} hit {} ({})",
            found.result, found.issued, found.applied, found.at
        );
        (facts.actor(found.coordinator).to_owned(), at)
    });
    story.push(format!(
        "Under transaction version 1 all transactions of a session carry the same producer epoch. \
         When the first request came at last, {who} could not tell which transaction it meant, and \
         ended the one that was open{which}."
    ));
    story
}

/// A batch that comes behind the marker of its transaction.
fn hanging(facts: &Facts<'_>) -> Vec<String> {
    let mut story = Vec::new();
    let record = facts.record().or_else(|| facts.records.first().copied());
    let late = record.and_then(|it| facts.appended(it, true).last().copied().map(|at| (it, at)));
    if let Some((record, late)) = late {
        let name = facts.name(record);
        if let Some((sent, shop)) = facts.sent(record) {
            let shop = facts.actor(shop);
            let gave_up = facts.gave_up(record).filter(|(at, _)| *at < late.time);
            let gave_up = gave_up.map_or(String::new(), |(at, error)| {
                format!(" The client gave up waiting at {at} ({error}).")
            });
            story.push(format!(
                "{shop} sent {name} at {sent}, and its batch was held up on its way.{gave_up}"
            ));
        }
        let marker = facts.marker(late.partition, late.producer_id, late.time);
        if let Some((at, offset, result)) = marker {
            story.push(format!(
                "The coordinator ended the transaction without it: the {result} marker is at {} \
                 ({at}).",
                facts.place(late.partition, offset)
            ));
        }
        story.push(format!(
            "At {} the batch came after all, and {} appended it at {}, behind the marker, without \
             asking anybody whether its transaction was still open.",
            late.time,
            facts.actor(late.broker),
            facts.place(late.partition, late.offset)
        ));
    }
    let stays = late.map_or(String::new(), |(_, late)| format!(" at {}", late.offset));
    story.push(
        "To a leader such a batch is the beginning of a new transaction. The coordinator knows of \
         none, so nobody will ever write the marker that ends it."
            .to_owned(),
    );
    story.push(format!(
        "The last stable offset (LSO) therefore stays{stays}, and consumers at read_committed wait \
         there for ever."
    ));
    story
}
