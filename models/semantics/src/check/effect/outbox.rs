//! Table H: outboxes, relays and inboxes.

use oncesim_history::{Event, ExternalEvent};

use super::Evidence;
use crate::check::Context;
use crate::check::findings::Findings;

/// What services announced, and what relays made of it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {}

impl Outbox {
    /// What a service, a relay or a system did.
    #[expect(clippy::unused_self, reason = "the rows of the table come next")]
    pub(crate) fn on_event(
        &mut self,
        _context: &Context<'_>,
        _findings: &mut Findings,
        _position: u32,
        _event: &Event,
        _external: &ExternalEvent,
    ) {
    }

    /// Reports what only the end can tell.
    #[expect(clippy::unused_self, reason = "the rows of the table come next")]
    pub(crate) fn check(
        &mut self,
        _context: &Context<'_>,
        _evidence: &Evidence<'_>,
        _findings: &mut Findings,
    ) {
    }

    /// Whether there are services or relays, and nothing proves that they did their work.
    #[expect(clippy::unused_self, reason = "the rows of the table come next")]
    pub(crate) fn unproved(&self, context: &Context<'_>) -> bool {
        !context.history.announcements.is_empty() || !context.history.relays.is_empty()
    }

    /// What was seen.
    #[expect(clippy::unused_self, reason = "the rows of the table come next")]
    pub(crate) fn witnesses(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
