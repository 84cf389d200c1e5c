//! Why a transaction was not one: aborted records that are seen, ends that hit another transaction,
//! transactions that nobody ends. The last resort of all families, too.

use super::facts::Facts;

/// Transactions, and whatever has no family.
pub(super) fn transaction(facts: &Facts<'_>) -> Option<Vec<String>> {
    Some(match facts.anomaly.id() {
        "delayed-endtxn" | "decision-mismatch" | "torn-txn" => {
            let mut story = Vec::new();
            if let Some(link) = facts.view.chain.iter().find(|link| link.text.starts_with("EndTxn"))
            {
                story.push(format!(
                    "The request that ends the first of them was on its way until {}. The client had \
                     given up waiting, sent it again on another connection, and gone on to its next \
                     transaction.",
                    link.time
                ));
            }
            story.push(
                "Under transaction version 1 all transactions of a session have the same producer epoch, \
                 so when the old request came at last, the coordinator had no way to tell which \
                 transaction it meant, and ended the one that was open."
                    .to_owned(),
            );
            story
        }
        "hanging-txn" | "stuck-lso" | "drain-incomplete" | "late-append-after-marker" => {
            let mut story = Vec::new();
            if let Some(record) = facts.record().or_else(|| facts.records.first().copied())
                && let Some(appended) = facts.appended(record, true).last()
            {
                story.push(format!(
                    "The batch with {} came late: {} appended it at {} ({}), when its transaction had \
                     been aborted and its marker written.",
                    facts.name(record),
                    facts.actor(appended.broker),
                    facts.place(appended.partition, appended.offset),
                    appended.time
                ));
            }
            story.push(
                "To the partition's leader it looks like the beginning of a new transaction. The \
                 coordinator knows of none, so nobody will ever write the marker that ends it, and the \
                 last stable offset stays where it is: readers at read_committed wait for ever."
                    .to_owned(),
            );
            story
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
