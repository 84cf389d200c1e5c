//! Anomalies of outboxes, relays and inboxes.

use super::{ATOMICITY, DUPLICATE, ISOLATION, LIVENESS, LOSS, ORDER};
use crate::anomaly::{AnomalyClass, Violates};
use crate::guarantee::Level;

pub(crate) static OUTBOX_MISSING: AnomalyClass = AnomalyClass {
    id: "outbox-missing",
    level: Level::Effect,
    violates: Violates { at_least_once: true, ..ATOMICITY },
    jepsen: None,
    meaning: "A service committed an operation in its database, and the topic does not have the \
              event that announces it, and nobody will publish it any more.",
    causes: "A dual write that died between the commit and the send; a relay that went past the \
             row without publishing it; an outbox that no relay reads; an acknowledgement that \
             promised little.",
    fixes: "An outbox row in the same transaction, and a relay that goes on only after the log \
            has acknowledged the event with acks=all.",
    example: "orders-0 commits order #4 and dies before send(); the topic orders never has #4.",
};

pub(crate) static OUTBOX_PHANTOM: AnomalyClass = AnomalyClass {
    id: "outbox-phantom",
    level: Level::Effect,
    violates: Violates { at_most_once: true, ..ISOLATION },
    jepsen: None,
    meaning: "The topic has an event that announces an operation of which no transaction was ever \
              committed in the database.",
    causes: "A dual write that sends before it commits, and a commit that fails, is rolled back, \
             or dies with its process.",
    fixes: "An outbox: the event is a row of the transaction, and a relay publishes what is \
            committed.",
    example: "orders-0 sends order #4, and the transaction is rolled back because of a deadlock.",
};

pub(crate) static OUTBOX_DUPLICATE: AnomalyClass = AnomalyClass {
    id: "outbox-duplicate",
    level: Level::Effect,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "A relay published one row of the outbox at two offsets. A relay is at-least-once, so \
              this is legal; where effects of a sink come of the topic, it is only counted, and \
              the effects tell whether it mattered.",
    causes: "A crash between the acknowledgement and the mark, or before the cursor was stored; \
             two relays that read the same rows; the same row written twice.",
    fixes: "An inbox at the consumer, or effects that absorb repetition; or events and position in \
            one transaction of Kafka.",
    example: "The relay publishes order #4 and dies before it deletes the row; its successor \
              publishes #4 again.",
};

pub(crate) static OUTBOX_SKIP_GAP: AnomalyClass = AnomalyClass {
    id: "outbox-skip-gap",
    level: Level::Effect,
    violates: LOSS,
    jepsen: None,
    meaning: "A relay's cursor went past a number whose transaction was still open; the row was \
              committed behind the cursor, and is never published. Numbers are drawn in the order \
              of transactions' beginnings, not of their commits.",
    causes: "Polling with WHERE sequence > :cursor while transactions run side by side.",
    fixes: "Change data capture, which reads in the order of commits; or marks on rows instead of \
            a cursor; or a cursor that waits for gaps.",
    example: "T1 draws 7, T2 draws 8 and commits; the relay publishes 8 and stores cursor 8; T1 \
              commits 7.",
};

pub(crate) static OUTBOX_ORDER: AnomalyClass = AnomalyClass {
    id: "outbox-order",
    level: Level::Effect,
    violates: ORDER,
    jepsen: None,
    meaning: "Two events of one aggregate are in the log in another order than their operations \
              were committed in. The first place of each event counts.",
    causes: "Order of a sequence instead of commits; several relays, or dual writes of several \
             instances, on one aggregate; a producer that may reorder when it retries.",
    fixes: "One relay that follows the order of commits, with enable.idempotence=true; or a \
            version in the event that consumers check.",
    example: "Order 3 is paid in commit 7 and shipped in commit 8; the topic has shipped, then \
              paid.",
};

pub(crate) static OUTBOX_PREMATURE_MARK: AnomalyClass = AnomalyClass {
    id: "outbox-premature-mark",
    level: Level::Effect,
    violates: LOSS,
    jepsen: None,
    meaning: "A relay marked or deleted a row of the outbox before the log had acknowledged its \
              event, and the event is not in the log.",
    causes: "The mark is committed with the select, or right after send() without waiting for its \
             callback; then the process dies, or the batch expires.",
    fixes: "Mark a row when its acknowledgement has arrived.",
    example: "The relay sets sent = 1 for order #4 and dies; the record was still in its buffer.",
};

pub(crate) static OUTBOX_STUCK: AnomalyClass = AnomalyClass {
    id: "outbox-stuck",
    level: Level::Effect,
    violates: Violates { at_least_once: true, ..LIVENESS },
    jepsen: None,
    meaning: "A committed row of the outbox is not published although everything has healed and \
              come to rest; the relay has not gone past it, and does not come to it.",
    causes: "A relay that stopped, that waits for a lock or an answer for ever, or whose query \
             does not return the row.",
    fixes: "Time limits on everything that a relay waits for, and a query that returns every row \
            that is not published.",
    example: "The relay's session was rolled back as idle; it waits for the answer to its commit.",
};

pub(crate) static INBOX_DUP: AnomalyClass = AnomalyClass {
    id: "inbox-dup",
    level: Level::Effect,
    violates: DUPLICATE,
    jepsen: None,
    meaning: "An inbox took one event for new twice, and its effect was applied twice.",
    causes: "The mark names the offset and not the event; marks that are forgotten earlier than \
             the event comes again; a mark outside of the effect's transaction.",
    fixes: "Mark the event's own id, in the transaction of the effect, for longer than an event \
            can be late.",
    example: "Event #4 comes at offsets 4 and 9; both are marked, and both are booked.",
};

pub(crate) static INBOX_MISS: AnomalyClass = AnomalyClass {
    id: "inbox-miss",
    level: Level::Effect,
    violates: LOSS,
    jepsen: None,
    meaning: "An inbox has an event marked as seen, and its effect was never applied: whoever gets \
              the event again skips it.",
    causes: "The mark is committed before the effect, in a transaction of its own, and the process \
             dies in between.",
    fixes: "Mark and effect in one transaction.",
    example: "Event #4 is marked; the process dies; the redelivery of #4 finds the mark.",
};
