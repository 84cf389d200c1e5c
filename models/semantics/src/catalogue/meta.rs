//! Anomalies of the check itself: a history or a run that proves less than it seems to.

use super::NOTHING;
use crate::anomaly::AnomalyClass;
use crate::guarantee::Level;

pub(crate) static HISTORY_MALFORMED: AnomalyClass = AnomalyClass {
    id: "history-malformed",
    level: Level::Log,
    violates: NOTHING,
    jepsen: None,
    meaning: "The history contradicts itself: an end without a beginning, time that goes back, or \
              a reference to nothing.",
    causes: "A recorder that loses or reorders events, or an import that went wrong.",
    fixes: "Record again; no other verdict on this history counts.",
    example: "send() of shop #7 ends twice, and was called once.",
};

pub(crate) static VACUOUS_PASS: AnomalyClass = AnomalyClass {
    id: "vacuous-pass",
    level: Level::Log,
    violates: NOTHING,
    jepsen: Some("empty-transaction-graph"),
    meaning: "Something that the verdict is about never happened, so nothing is proved.",
    causes: "No record was acknowledged, none was read, or no final read took place.",
    fixes: "Send more records, inject fewer faults, or let the run settle.",
    example: "All 100 sends of a run timed out: at-least-once was never put to the test.",
};

pub(crate) static UNNAMED_INVARIANT: AnomalyClass = AnomalyClass {
    id: "unnamed-invariant",
    level: Level::Log,
    violates: NOTHING,
    jepsen: None,
    meaning: "The model broke an internal invariant that has no row of its own here.",
    causes: "A defect of the model, or an id that the catalogue does not know.",
    fixes: "The sentence of the witness names the invariant.",
    example: "An event reports the invariant flux-limit, which the catalogue does not list.",
};
