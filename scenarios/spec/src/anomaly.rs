//! The anomalies that a scenario may expect: what the checkers report.

use oncesim_semantics::{DUPLICATE_KINDS, catalogue, find};

/// Ids and sub-kinds.
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    catalogue().iter().map(|class| class.id).chain(DUPLICATE_KINDS.iter().map(|(kind, _)| *kind))
}

/// Whether some checker reports it.
pub(crate) fn known(id: &str) -> bool {
    find(id).is_some()
}
