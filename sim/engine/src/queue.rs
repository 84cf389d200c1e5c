//! The event queue: keys of (time, sequence), with the events beside them in a slab.
//!
//! Events of one moment come out in the order in which they went in. A key is one 128-bit number,
//! so that ordering compares and moves no payload. The few earliest keys lie sorted in a short
//! list, everything later in a binary heap: a message that is sent arrives soon, so most keys never
//! see the heap, and the many timers that wait long are in nobody's way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use oncesim_types::Instant;

/// How many keys the sorted list holds; half of them move at once when it is full or empty.
const NEAR: usize = 32;

/// Events by time, first in first out within one moment.
#[derive(Debug)]
pub struct Queue<E> {
    /// The earliest keys, the next one last.
    near: Vec<u128>,
    /// All keys from here on lie in `far`.
    border: u128,
    far: BinaryHeap<Reverse<u128>>,
    slab: Vec<E>,
    free: Vec<u32>,
    sequence: u32,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue {
            near: Vec::with_capacity(NEAR),
            border: u128::MAX,
            far: BinaryHeap::new(),
            slab: Vec::new(),
            free: Vec::new(),
            sequence: 0,
        }
    }
}

impl<E: Copy> Queue<E> {
    /// Puts an event at `time`.
    ///
    /// # Panics
    /// After 2^32 events: a run's event budget is far below.
    #[inline]
    pub fn push(&mut self, time: Instant, event: E) {
        let slot = if let Some(slot) = self.free.pop() {
            self.slab[slot as usize] = event;
            slot
        } else {
            self.slab.push(event);
            u32::try_from(self.slab.len() - 1).expect("fewer than 2^32 events wait")
        };
        let key = u128::from(time.0) << 64 | u128::from(self.sequence) << 32 | u128::from(slot);
        self.sequence = self.sequence.checked_add(1).expect("the event budget is below 2^32");
        if key >= self.border {
            self.far.push(Reverse(key));
            return;
        }
        if self.near.len() == NEAR {
            self.make_room();
            if key >= self.border {
                self.far.push(Reverse(key));
                return;
            }
        }
        let after = self.near.iter().rposition(|later| *later > key).map_or(0, |at| at + 1);
        self.near.insert(after, key);
    }

    /// The later half of the list goes to the heap.
    #[cold]
    fn make_room(&mut self) {
        self.border = self.near[NEAR / 2 - 1];
        self.far.extend(self.near.drain(..NEAR / 2).map(Reverse));
    }

    /// The list is empty: the earliest of the heap come over.
    #[cold]
    fn refill(&mut self) {
        while self.near.len() < NEAR / 2
            && let Some(Reverse(key)) = self.far.pop()
        {
            self.near.push(key);
        }
        self.near.reverse();
        self.border = self.far.peek().map_or(u128::MAX, |Reverse(key)| *key);
    }

    /// Takes the earliest event.
    #[inline]
    pub fn pop(&mut self) -> Option<(Instant, E)> {
        if self.near.is_empty() {
            self.refill();
        }
        let key = self.near.pop()?;
        let slot = (key & 0xffff_ffff) as u32;
        self.free.push(slot);
        Some((Instant((key >> 64) as u64), self.slab[slot as usize]))
    }

    /// The time of the earliest event.
    #[must_use]
    pub fn peek_time(&self) -> Option<Instant> {
        let key = self.near.last().copied().or_else(|| self.far.peek().map(|key| key.0))?;
        Some(Instant((key >> 64) as u64))
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.near.len() + self.far.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

        #[test]
        fn pushes_between_pops_keep_the_order(
            steps in prop::collection::vec((0u64..500, 0usize..4), 0..400),
        ) {
            // Against a sorted list: (time, age) is the order, whatever lies in list or heap.
            let mut queue = Queue::default();
            let mut model: Vec<(u64, usize)> = Vec::new();
            let mut now = 0;
            for (age, (after, pops)) in steps.into_iter().enumerate() {
                queue.push(Instant(now + after), age);
                model.push((now + after, age));
                model.sort_unstable();
                for _ in 0..pops.saturating_sub(1) {
                    prop_assert_eq!(queue.peek_time(), model.first().map(|(time, _)| Instant(*time)));
                    let next = queue.pop().map(|(time, age)| (time.0, age));
                    prop_assert_eq!(next, (!model.is_empty()).then(|| model.remove(0)));
                    now = next.map_or(now, |(time, _)| time);
                }
                prop_assert_eq!(queue.len(), model.len());
            }
        }
    }
}
