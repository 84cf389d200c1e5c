//! Anomalies of outboxes, relays and inboxes.
