//! `committed()`: the application asks for its group's offsets.
//!
//! Mirrors `ConsumerCoordinator.fetchCommittedOffsets` and `OffsetFetchResponseHandler` (KIP-447:
//! offsets of open transactions are waited for).
//!
//! Simplifications: one call at a time, as one thread makes them; no cache of the last answer.

use oncesim_types::{CallId, ErrorCode, Instant, Offset, TopicPartition};

use super::ConsumerCompletion;
use super::machine::{Consumer, Purpose, complete};
use crate::machine::Effects;
use crate::message::{OffsetFetchRequest, OffsetFetchResponse, Request};

/// A `committed()` that has not returned.
#[derive(Debug)]
pub(super) struct CommittedCall {
    call: CallId,
    /// Not answered yet.
    missing: Vec<TopicPartition>,
    found: Vec<(TopicPartition, Option<Offset>)>,
    in_flight: Option<u32>,
    /// Given up at this moment.
    deadline: Instant,
    /// Not (again) before this moment.
    not_before: Instant,
}

impl Consumer {
    pub(super) fn committed_call(
        &mut self,
        now: Instant,
        call: CallId,
        partitions: Vec<TopicPartition>,
        effects: &mut Effects,
    ) {
        if self.config.group.is_none() {
            let refused = ConsumerCompletion::Offsets(Err(ErrorCode::InvalidRequest));
            return complete(call, refused, effects);
        }
        let deadline = now + self.config.default_api_timeout;
        self.committed = Some(CommittedCall {
            call,
            missing: partitions,
            found: Vec::new(),
            in_flight: None,
            deadline,
            not_before: now,
        });
    }

    /// Sends what is due, and ends a call that is complete or has waited for too long.
    pub(super) fn advance_committed(&mut self, now: Instant, effects: &mut Effects) {
        let Some(pending) = &mut self.committed else { return };
        let id = pending.call;
        let end = if pending.missing.is_empty() {
            Ok(std::mem::take(&mut pending.found))
        } else if pending.deadline <= now {
            Err(ErrorCode::RequestTimedOut)
        } else {
            let (deadline, not_before) = (pending.deadline, pending.not_before);
            let idle = pending.in_flight.is_none();
            self.wake_at(deadline);
            if idle && not_before > now {
                self.wake_at(not_before);
            } else if idle {
                self.fetch_committed(now, effects);
            }
            return;
        };
        self.committed = None;
        complete(id, ConsumerCompletion::Offsets(end), effects);
    }

    fn fetch_committed(&mut self, now: Instant, effects: &mut Effects) {
        let Some(group) = self.config.group else { return };
        let Some(coordinator) = self.ensure_coordinator(now, effects) else { return };
        let ticket = self.next_ticket();
        let Some(pending) = &mut self.committed else { return };
        pending.in_flight = Some(ticket);
        let partitions = pending.missing.clone();
        let request = OffsetFetchRequest { group, partitions, require_stable: true };
        let purpose = Purpose::Committed(ticket);
        self.connections.send(now, coordinator, Request::OffsetFetch(request), purpose, effects);
    }

    pub(super) fn committed_fetched(
        &mut self,
        now: Instant,
        ticket: u32,
        response: &OffsetFetchResponse,
    ) {
        self.coordinator_error(response.error);
        let again = now + self.config.retry_backoff;
        let Some(pending) = &mut self.committed else { return };
        if pending.in_flight != Some(ticket) {
            return;
        }
        pending.in_flight = None;
        pending.not_before = again;
        if response.error != ErrorCode::None {
            return;
        }
        for &(partition, error, offset) in &response.offsets {
            // UNSTABLE_OFFSET_COMMIT: an open transaction decides; ask again.
            if error == ErrorCode::None && pending.missing.contains(&partition) {
                pending.missing.retain(|it| *it != partition);
                pending.found.push((partition, offset.map(|(offset, _)| offset)));
            }
        }
    }

    pub(super) fn committed_lost(&mut self, now: Instant, ticket: u32) {
        let again = now + self.config.retry_backoff;
        if let Some(pending) = &mut self.committed
            && pending.in_flight == Some(ticket)
        {
            pending.in_flight = None;
            pending.not_before = again;
        }
    }
}
