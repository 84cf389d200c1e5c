//! Who waits for which records: `flush()` and `close()`.
//!
//! Mirrors `RecordAccumulator.awaitFlushCompletion` and `IncompleteBatches`.
//!
//! Simplifications: a flush closes the batches that are open, so that each batch belongs to one
//! side of it; a batch may be closed at any time, so this is one of the things that can happen.

use std::collections::VecDeque;

use oncesim_types::CallId;

use crate::machine::{Completion, Effect, Effects};
use crate::producer::ProducerCompletion;

#[derive(Debug, Default)]
struct Group {
    /// Records sent before the flush, and after the one before, that are not complete.
    outstanding: u64,
    /// The flush; `None` only for the last group.
    waiter: Option<(CallId, ProducerCompletion)>,
}

/// Records grouped by the flush that waits for them.
#[derive(Debug)]
pub(super) struct Flushes {
    groups: VecDeque<Group>,
    /// Number of the first group.
    first: u64,
}

impl Flushes {
    pub(super) fn new() -> Self {
        Flushes { groups: VecDeque::from([Group::default()]), first: 0 }
    }

    /// The number of the group that new records belong to.
    pub(super) fn current(&self) -> u64 {
        self.first + self.groups.len() as u64 - 1
    }

    /// Whether a flush is waiting.
    pub(super) fn is_waiting(&self) -> bool {
        self.groups.len() > 1
    }

    /// A record is sent: its group.
    pub(super) fn begin(&mut self) -> u64 {
        self.groups.back_mut().expect("there is always a last group").outstanding += 1;
        self.current()
    }

    /// `count` records of `group` are complete.
    pub(super) fn end(&mut self, group: u64, count: usize, effects: &mut Effects) {
        let index = usize::try_from(group - self.first).expect("there are not that many flushes");
        self.groups[index].outstanding -= count as u64;
        self.settle(effects);
    }

    /// `call` waits for every record so far.
    pub(super) fn wait(
        &mut self,
        call: CallId,
        completion: ProducerCompletion,
        effects: &mut Effects,
    ) {
        let last = self.groups.back_mut().expect("there is always a last group");
        last.waiter = Some((call, completion));
        self.groups.push_back(Group::default());
        self.settle(effects);
    }

    fn settle(&mut self, effects: &mut Effects) {
        while let Some(&Group { outstanding: 0, waiter: Some((call, completion)) }) =
            self.groups.front()
        {
            effects.0.push(Effect::Return(call, Completion::Producer(completion)));
            self.groups.pop_front();
            self.first += 1;
        }
    }
}
