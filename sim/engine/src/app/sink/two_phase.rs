//! Effects in two phases: they are prepared under a name, and the offset that the group commits
//! decides whether they become visible.
//!
//! Mirrors Flink's `TwoPhaseCommitSinkFunction` with the group's committed offset in the place of a
//! checkpoint: what is prepared up to a committed offset was decided, the rest was not. The group's
//! generation fences owners of before, so that what they prepare late is not taken for decided.

use oncesim_external::{Prepare, Request, StagedName};
use oncesim_types::Offset;

use super::{AppEffect, Delivery, Sink};

impl Sink {
    /// First phase of records of one partition, in order: the name, and the request.
    pub(crate) fn prepare(&mut self, batch: &[Delivery]) -> Option<(StagedName, Request)> {
        let Delivery { polled: first, token } = *batch.first()?;
        let last = batch.last()?.polled;
        let name = StagedName {
            partition: first.partition,
            first: first.offset,
            next: last.offset.next(),
            attempt: self.unique(),
        };
        let effects = batch
            .iter()
            .map(|it| (self.effect_id(it, 0), self.identities.payload(&it.polled)))
            .collect();
        Some((name, Request::Prepare(Box::new(Prepare { name, token, effects }))))
    }

    /// What became of what is prepared: whatever ends at or before the group's offset was decided.
    pub(crate) fn decide(name: StagedName, committed: Option<Offset>) -> Request {
        Request::Finish { name, commit: committed.is_some_and(|offset| name.next <= offset) }
    }

    /// The effects of `batch` are visible, or, if `skipped`, the sink knows nothing of them any more.
    pub(crate) fn staged_done(&self, batch: &[Delivery], skipped: bool, out: &mut Vec<AppEffect>) {
        for delivery in batch {
            self.effects_done(delivery, skipped, out);
        }
    }
}
