//! The event queue: a binary heap of (time, sequence), with the events beside it in a slab.
//!
//! Events of one moment come out in the order in which they went in. A heap entry is one 128-bit
//! number, so that sifting compares and moves no payload.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use oncesim_types::Instant;

/// Events by time, first in first out within one moment.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<u128>>,
    slab: Vec<Option<E>>,
    free: Vec<u32>,
    sequence: u32,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { heap: BinaryHeap::new(), slab: Vec::new(), free: Vec::new(), sequence: 0 }
    }
}

impl<E> Queue<E> {
    /// Puts an event at `time`.
    ///
    /// # Panics
    /// After 2^32 events: a run's event budget is far below.
    pub fn push(&mut self, time: Instant, event: E) {
        let slot = if let Some(slot) = self.free.pop() {
            self.slab[slot as usize] = Some(event);
            slot
        } else {
            self.slab.push(Some(event));
            u32::try_from(self.slab.len() - 1).expect("fewer than 2^32 events wait")
        };
        let key = u128::from(time.0) << 64 | u128::from(self.sequence) << 32 | u128::from(slot);
        self.sequence = self.sequence.checked_add(1).expect("the event budget is below 2^32");
        self.heap.push(Reverse(key));
    }

    /// Takes the earliest event.
    pub fn pop(&mut self) -> Option<(Instant, E)> {
        let Reverse(key) = self.heap.pop()?;
        let slot = (key & 0xffff_ffff) as u32;
        let event = self.slab[slot as usize].take().expect("a queued slot is full");
        self.free.push(slot);
        Some((Instant((key >> 64) as u64), event))
    }

    /// The time of the earliest event.
    #[must_use]
    pub fn peek_time(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(key)| Instant((key >> 64) as u64))
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn events_come_out_by_time_then_by_age(times in prop::collection::vec(0u64..20, 0..200)) {
            let mut queue = Queue::default();
            for (n, time) in times.iter().enumerate() {
                queue.push(Instant(*time), n);
            }
            let mut expected: Vec<(u64, usize)> =
                times.iter().enumerate().map(|(n, time)| (*time, n)).collect();
            expected.sort();
            let mut out = Vec::new();
            while let Some((time, n)) = queue.pop() {
                out.push((time.0, n));
            }
            prop_assert_eq!(out, expected);
        }
    }
}
