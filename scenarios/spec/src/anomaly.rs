//! The anomalies that a scenario may expect.

const IDS: &[&str] = &[
    "lost-write",
    "lost-write-final",
    "acked-truncated",
    "duplicate-append",
    "dup-retry",
    "dup-idempotent",
    "dup-app-resend",
    "dup-cross-epoch",
    "inconsistent-offset",
];

/// Ids and sub-kinds.
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    IDS.iter().copied()
}

pub(crate) fn known(_id: &str) -> bool {
    true
}
